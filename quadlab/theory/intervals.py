"""Intervals of admissible values: one object that checks input, draws test points and prints itself."""

import sys
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from quadlab.theory.elementary import exact_arithmetic, is_arb, is_symbolic

__all__ = [
    "Interval", "admit", "admit_broadcast", "admit_numbers", "extended_non_negative", "extended_positive",
    "momentum_range", "non_negative", "positive", "real", "refuse", "require_broadcast", "shown",
    "whole_positive",
]  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """An interval of the extended real line, open or closed at either end.

    `whole` admits whole numbers only. `typical` is the range that test points are drawn from
    (uniformly in the logarithm when it is positive and spans more than a factor 20).

    >>> positive.check("learning_rate", 0.1)
    np.float64(0.1)
    >>> positive.check("learning_rate", -0.1)
    Traceback (most recent call last):
    ...
    ValueError: learning_rate must be positive and finite, got -0.1
    """

    lower: float
    upper: float
    lower_closed: bool = False
    upper_closed: bool = False
    whole: bool = False
    typical: tuple[float, float] = (0.0, 1.0)
    words: str = ""

    def __str__(self):
        left, right = "[" if self.lower_closed else "(", "]" if self.upper_closed else ")"
        members = "whole numbers in " if self.whole else ""
        return f"{members}{left}{self.lower:g}, {self.upper:g}{right}"

    def between(self, lower, upper):
        """The same interval with test points drawn from [lower, upper]."""
        return replace(self, typical=(lower, upper))

    def check(self, name, value):
        """Return `value` as float64 (symbols and balls unchanged); ValueError unless all of it lies inside.

        A symbolic value, or a ball that straddles an end, is refused only when it certainly lies outside.
        """
        if is_symbolic(value) or is_arb(value):
            self._check_exact(name, value)
            return value
        refusal = f"{name} must be {self._accepted()}, got"
        try:
            array = value if type(value).__module__.partition(".")[0] == "cupy" else np.asarray(value)
        except ValueError:
            raise ValueError(f"{refusal} rows of unequal length") from None
        if array.dtype == object and array.ndim <= _MOST_AXES and exact_arithmetic(array):
            for element in array.flat:
                self.check(name, element)
            return array
        if array.ndim > _MOST_AXES:
            raise ValueError(f"{refusal} an array of {array.ndim} axes")
        if array.dtype.kind not in "iufO" or _holds_other_than_numbers(array):
            raise ValueError(f"{refusal} {shown(value)}")
        try:
            with np.errstate(over="ignore"):
                doubles = array.astype(np.float64) + 0.0  # turns -0.0 into 0.0
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{refusal} {shown(value)}") from None
        overflowed = np.isinf(doubles) & (array != doubles)
        inside = self._contains(doubles) & ~overflowed
        if not inside.all():
            raise ValueError(f"{refusal} {float(doubles[~inside].flat[0])!r}")
        return doubles[()]

    def check_one(self, name, value):
        """As `check`, for exactly one number, returned as a float.

        >>> positive.check_one("learning_rate", [0.1])
        Traceback (most recent call last):
        ...
        ValueError: learning_rate must be one number, got shape (1,)
        """
        checked = self.check(name, value)
        if np.ndim(checked):
            raise ValueError(f"{name} must be one number, got shape {np.shape(checked)}")
        try:
            return float(checked)
        except TypeError:
            raise ValueError(f"{name} must be a number, got {value}") from None

    def draw(self, rng, size=None):
        """Random members of the typical range."""
        low, high = self.typical
        if self.whole:
            return rng.integers(int(low), int(high), size=size, endpoint=True).astype(float)[()]
        if low > 0 and high > 20 * low:
            return np.exp(rng.uniform(np.log(low), np.log(high), size=size))
        return rng.uniform(low, high, size=size)

    def _accepted(self):
        return self.words or f"in {self}"

    def _contains(self, array):
        above = array >= self.lower if self.lower_closed else array > self.lower
        below = array <= self.upper if self.upper_closed else array < self.upper
        inside = above & below
        return inside & (array == np.floor(array)) if self.whole else inside

    def _check_exact(self, name, value):
        if is_arb(value):
            impossible = value.is_nan() or (self.whole and not value.contains_integer())
        else:
            sympy = sys.modules["sympy"]
            impossible = not isinstance(value, sympy.Expr) or value.is_extended_real is False
            impossible = impossible or value is sympy.nan
            if self.whole and not impossible:
                impossible = value.is_integer is False or (value.is_number and (value % 1).is_zero is False)
        if not impossible:
            outside = (
                value < self.lower if self.lower_closed else value <= self.lower,
                value > self.upper if self.upper_closed else value >= self.upper,
            )
            impossible = any(relation == True for relation in outside)  # noqa: E712 (SymPy's true is not True)
        if impossible:
            raise ValueError(f"{name} must be {self._accepted()}, got {value}")


def shown(value):
    """What an error message says of a value, also where Python refuses to write so long an integer."""
    try:
        return repr(value)
    except ValueError:
        return "an integer of thousands of digits"


def _holds_other_than_numbers(array):
    others = (bool, np.bool_, str, bytes, type(None))
    return array.dtype == object and any(isinstance(element, others) for element in array.flat)


def admit(**arguments):
    """Check each `name=(value, interval)` and return the values, in this order, in one arithmetic.

    Numbers become float64; next to a symbol or a ball they become SymPy numbers or balls, so that 1 stays one.
    ValueError when a value is not admissible.

    >>> admit(learning_rate=(1, positive), momentum=([0, 0.9], momentum_range))
    [np.float64(1.0), array([0. , 0.9])]
    """
    checked = {name: interval.check(name, value) for name, (value, interval) in arguments.items()}
    exact = exact_arithmetic(*checked.values())
    if exact is None:
        return list(checked.values())
    convert = np.vectorize(exact, otypes=[object])
    return [convert(np.asarray(value, dtype=object))[()] for value, _ in arguments.values()]


def admit_numbers(**arguments):
    """As `admit`, for what has no symbolic form: symbols and balls are refused."""
    values = {name: np.asarray(interval.check(name, value)) for name, (value, interval) in arguments.items()}
    for name, value in values.items():
        if exact_arithmetic(value):
            raise ValueError(f"{name} must be numbers, neither symbols nor balls, got {value}")
    return list(values.values())


def admit_broadcast(**arguments):
    """As `admit`, for arguments that must broadcast against each other."""
    values = admit(**arguments)
    require_broadcast(**dict(zip(arguments, values, strict=True)))
    return values


def require_broadcast(**values):
    """ValueError naming the arguments and their shapes unless they broadcast against each other.

    >>> require_broadcast(eigenvalues=np.ones(3), gradient=np.ones(2))
    Traceback (most recent call last):
    ...
    ValueError: shapes do not broadcast: eigenvalues (3,), gradient (2,)
    """
    shapes = {name: np.shape(value) for name, value in values.items()}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"shapes do not broadcast: {listed}") from None


def refuse(violated, requirement, **arguments):
    """ValueError stating the requirement and the offending values where it is certainly violated.

    >>> refuse(np.array([False, True]), "momentum must be below rate", momentum=0.5, rate=np.array([1.0, 0.2]))
    Traceback (most recent call last):
    ...
    ValueError: momentum must be below rate, got momentum 0.5, rate 0.2
    """
    violated, *values = np.broadcast_arrays(violated, *arguments.values())
    for index in np.ndindex(violated.shape):
        if violated[index] == True:  # noqa: E712 (SymPy's true is not True, an undecided relation is neither)
            listed = ", ".join(f"{name} {value[index]}" for name, value in zip(arguments, values, strict=True))
            raise ValueError(f"{requirement}, got {listed}")


positive = Interval(0, inf, typical=(1e-3, 1e3), words="positive and finite")
non_negative = Interval(0, inf, lower_closed=True, typical=(1e-3, 1e3), words="non-negative and finite")
extended_non_negative = Interval(
    0, inf, lower_closed=True, upper_closed=True, typical=(1e-3, 1e3), words="non-negative"
)
extended_positive = Interval(0, inf, upper_closed=True, typical=(1e-3, 1e3), words="positive")
real = Interval(-inf, inf, typical=(-3, 3), words="finite")
momentum_range = Interval(0, 1, lower_closed=True, typical=(0, 0.99), words="in [0, 1)")
whole_positive = Interval(1, inf, lower_closed=True, whole=True, typical=(1, 20), words="a whole number >= 1")

# NumPy's iterators go no further.
_MOST_AXES = 32

"""Intervals of admissible values: one object that checks input, draws test points and prints itself."""

import sys
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from quadlab.theory.elementary import is_arb, is_symbolic

__all__ = [
    "Interval", "extended_non_negative", "extended_positive", "momentum_range", "non_negative", "positive",
    "real", "whole_positive",
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
        array = value if type(value).__module__.partition(".")[0] == "cupy" else np.asarray(value)
        if array.dtype == object and any(is_symbolic(v) or is_arb(v) for v in array.flat):
            for element in array.flat:
                self.check(name, element)
            return array
        if array.dtype.kind not in "iuf":
            try:
                array = np.asarray(value, dtype=object).astype(np.float64)
            except (TypeError, ValueError):
                raise ValueError(f"{name} must be {self._accepted()}, got {value!r}") from None
            if np.asarray(value).dtype.kind in "bSU":
                raise ValueError(f"{name} must be {self._accepted()}, got {value!r}")
        array = array.astype(np.float64)
        inside = self._contains(array)
        if not inside.all():
            raise ValueError(f"{name} must be {self._accepted()}, got {array[~inside].flat[0]:.17g}")
        return array[()]

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
        return inside & ((array == np.floor(array)) | np.isinf(array)) if self.whole else inside

    def _check_exact(self, name, value):
        sympy = sys.modules.get("sympy")
        if is_arb(value):
            impossible = value.is_nan()
        else:
            impossible = value is sympy.nan or value.is_extended_real is False
            impossible |= self.whole and value.is_integer is False and value.is_infinite is not True
        if not impossible:
            outside = (
                value < self.lower if self.lower_closed else value <= self.lower,
                value > self.upper if self.upper_closed else value >= self.upper,
            )
            impossible = any(relation == True for relation in outside)  # noqa: E712 (SymPy's true is not True)
        if impossible:
            raise ValueError(f"{name} must be {self._accepted()}, got {value}")


positive = Interval(0, inf, typical=(1e-3, 1e3), words="positive and finite")
non_negative = Interval(0, inf, lower_closed=True, typical=(1e-3, 1e3), words="non-negative and finite")
extended_non_negative = Interval(
    0, inf, lower_closed=True, upper_closed=True, typical=(1e-3, 1e3), words="non-negative"
)
extended_positive = Interval(0, inf, upper_closed=True, typical=(1e-3, 1e3), words="positive")
real = Interval(-inf, inf, typical=(-3, 3), words="finite")
momentum_range = Interval(0, 1, lower_closed=True, typical=(0, 0.99), words="in [0, 1)")
whole_positive = Interval(
    1, inf, lower_closed=True, whole=True, typical=(1, 20), words="a whole number >= 1"
)

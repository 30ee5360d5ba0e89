"""Strict inequalities on whole boxes, rigorously, by ball arithmetic (python-flint) and bisection."""

import math
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

__all__ = ["Enclosure", "enclose_positive"]


@dataclass(frozen=True)
class Enclosure:
    """What bisection found: `proved` is True, False (see `witness`) or None (see `reason`).

    `smallest` is a rigorous lower bound of the function on the box (-inf unless proved, and not sharp);
    `boxes` counts the sub-boxes that were enclosed.

    >>> Enclosure(True, None, 1, 0.25, "positive on every sub-box").proved
    True
    """

    proved: bool | None
    witness: dict[str, float] | None
    boxes: int
    smallest: float
    reason: str


def enclose_positive(function, box, *, max_boxes=20_000, precision=100, logarithmic=()):
    """Whether `function(**balls) > 0` on all of the closed `box`, as an `Enclosure`; ValueError on a bad box.

    `box` maps each name to (low, high), taken exactly; sides named in `logarithmic` are cut at their
    geometric mean. A sub-box on which the function raises ValueError or ArithmeticError, or is NaN, is
    bisected. Refuted means that the function is certainly <= 0 at the witness: a corner of the box or the
    middle of a sub-box. The function must be honest on wide balls: one that branches on a comparison of
    balls has to raise when that comparison is undecided, as `quadlab.verify.formula.Formula` does.
    Arb's precision belongs to the process: threads share it, which costs sharpness but never rigour.

    >>> enclose_positive(lambda x: x * x - x + 1, {"x": (-10, 10)}).proved
    True
    >>> enclose_positive(lambda x: x * x - x, {"x": (-10, 10)}).witness
    {'x': 0.0}
    """
    import flint

    sides = {name: (_exact(name, low), _exact(name, high)) for name, (low, high) in box.items()}
    _check(sides, max_boxes, logarithmic)
    with flint.ctx.workprec(precision):
        return _bisect(_Probe(function, sides), max_boxes, logarithmic)


class _Probe:
    """The function on boxes and at points, with the trouble it ran into."""

    def __init__(self, function, sides):
        self.function, self.sides, self.trouble = function, sides, ""

    def __call__(self, balls):
        """The enclosing ball, or None where the function is not defined on all of it."""
        from flint import arb, fmpq, fmpz

        try:
            value = self.function(**dict(zip(self.sides, balls, strict=True)))
        except (ValueError, ArithmeticError) as error:
            self.trouble = f"; the function said: {error}"
            return None
        if not isinstance(value, (arb, fmpq, fmpz, int)):
            # a float has lost what it was rounded by, and would pass for exact
            raise TypeError(f"the function must return an Arb ball, got {type(value).__name__}")
        return arb(value)

    def refutes(self, point):
        value = self(map(_ball, point))
        return value is not None and value <= 0


def _bisect(probe, max_boxes, logarithmic):
    root = tuple(probe.sides.values())
    # A violation on the boundary alone is never met in the middle of a sub-box.
    for corner in product(*root) if len(root) <= 6 else ():
        if probe.refutes(corner):
            return _refuted(probe, corner, 0)
    # First in, first out refines all regions evenly: a hard one cannot hide a violation elsewhere.
    waiting, smallest = deque([root]), math.inf
    for boxes in range(1, max_boxes + 1):
        current = waiting.popleft()
        value = probe([_ball(low).union(_ball(high)) for low, high in current])
        if value is not None and value > 0:
            smallest = min(smallest, max(0.0, math.nextafter(float(value.lower()), -math.inf)))
            if not waiting:
                return Enclosure(True, None, boxes, smallest, "positive on every sub-box")
            continue
        middle = tuple(
            _middle(low, high, name in logarithmic) for name, (low, high) in zip(probe.sides, current, strict=True)
        )
        if probe.refutes(middle):
            return _refuted(probe, middle, boxes)
        axis = _widest(current, root, middle, [name in logarithmic for name in probe.sides])
        if axis is None:
            return _undecided(probe, current, boxes, "it cannot be halved further")
        low, high = current[axis]
        for half in ((low, middle[axis]), (middle[axis], high)):
            waiting.append((*current[:axis], half, *current[axis + 1 :]))
    return _undecided(probe, waiting[0], max_boxes, f"stopped after {max_boxes} sub-boxes")


def _refuted(probe, point, boxes):
    witness = dict(zip(probe.sides, map(float, point), strict=True))
    return Enclosure(False, witness, boxes, -math.inf, f"certainly not positive at {witness}")


def _undecided(probe, current, boxes, why):
    where = {name: (float(low), float(high)) for name, (low, high) in zip(probe.sides, current, strict=True)}
    return Enclosure(None, None, boxes, -math.inf, f"the sub-box {where} resisted: {why}{probe.trouble}")


def _ball(number):
    """The thinnest ball around an exact number at the present precision."""
    from flint import arb, fmpq

    return arb(fmpq(number.numerator, number.denominator))


def _middle(low, high, logarithmic):
    """A double strictly between the ends, exactly; `low` if there is none."""
    middle = math.sqrt(low) * math.sqrt(high) if logarithmic else float((low + high) / 2)
    return Fraction(middle) if low < Fraction(middle) < high else low


def _widest(current, root, middle, logarithmic):
    """The divisible side that is widest relative to the whole box; None if there is none."""
    widths = {}
    for axis, (low, high) in enumerate(current):
        if low < middle[axis]:
            scale = math.log if logarithmic[axis] else float
            first, last = map(scale, root[axis])
            widths[axis] = (scale(high) - scale(low)) / ((last - first) or 1.0)
    return max(widths, key=widths.__getitem__, default=None)


def _exact(name, end):
    try:
        exact = Fraction(end)
        float(exact)
        return exact
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must run between finite rational or floating ends, got {end!r}") from None


def _check(sides, max_boxes, logarithmic):
    for name, (low, high) in sides.items():
        if low > high:
            raise ValueError(f"{name} must run from low to high, got ({low}, {high})")
        if name in logarithmic and low <= 0:
            raise ValueError(f"{name} must be positive to be cut logarithmically, got low end {low}")
    if unknown := set(logarithmic) - set(sides):
        raise ValueError(f"logarithmic names {sorted(unknown)} that are not sides of the box")
    if not sides or max_boxes < 1:
        raise ValueError(f"a box with at least one side and max_boxes >= 1 are needed, got {max_boxes}")

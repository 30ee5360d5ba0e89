"""A challenging formula held against the theorem's own: the same everywhere, or different at a point.

Evidence that was made for the theorem's formula need not look where another one goes wrong. This does: at points far
out, at the ends of intervals and where the other formula has its branches, in exact arithmetic, and then as an
identity over the whole domain. A formula that gives no number at a point differs there: SymPy reduces sqrt(x)**2 to x
for negative x as well.
"""

import inspect
import numbers
import re
import sys
from itertools import combinations

import numpy as np
import sympy

from quadlab.verify.certify import NotAlgebraic, prove
from quadlab.verify.computed import balls, gives_no_number
from quadlab.verify.domain import Directions
from quadlab.verify.symbolic import reduces_to_zero
from quadlab.verify.symbols import conditions, declared, lengths
from quadlab.verify.theorem import IDENTITY, LOWER, TIGHT, UPPER
from quadlab.verify.verdict import INCONCLUSIVE, REFUTED, VERIFIED, Evidence, Verdict, told_apart

__all__ = ["as_identity", "at_points", "difference"]

POINTS = 150
FAR_POINTS = 250
FARTHEST = 1e30
MOST_CONSTANTS = 20
DIGITS = (30, 100, 400)
# of the value; a closed form may hold a constant that was rounded to double precision
SMALLEST_DIFFERENCE = 1e-12


def at_points(claim, candidate, rng):
    """(Evidence, the first point at which the two formulas differ or None)."""
    points = [
        *claim.domain.draw(rng, POINTS),
        *claim.domain.draw_far(rng, FAR_POINTS, FARTHEST),
        *_around(_constants(candidate), claim.domain, rng),
        *_with_equal_arguments(claim.domain, rng),
    ]
    judged, readable = [], True
    for point in points:
        try:
            found = difference(claim, candidate, point)
        except (TypeError, AttributeError, NotImplementedError):
            readable = False
            break
        if found is None:
            continue
        judged.append(point)
        if found[0] != found[1]:
            return _differing(claim, point, *found), point
    figures = {"points": len(judged), "drawn_from": _ranges(judged)}
    reason = "agrees with the theorem's formula at all points" if judged else "agrees at no point that can be evaluated"
    if not readable:
        reason = "the formulas cannot be evaluated in exact arithmetic"
    return Evidence("compared", Verdict(INCONCLUSIVE, reason), claim.name, figures), None


def difference(claim, candidate, point):
    """(value, the theorem's value) at a point as floats, equal if they agree; None where that cannot be told.

    The value is NaN where the formula gives no number and the theorem's does.
    """
    import flint

    for digits in DIGITS:
        own = None
        with flint.ctx.workdps(digits):
            lifted = {name: balls(value) for name, value in point.items()}
            try:
                one, other = (_ball(formula(**lifted)) for formula in (candidate, claim.formula))
            except (ValueError, ArithmeticError):
                continue
            if not (one.is_finite() and other.is_finite()):
                own = float(other) if other.is_finite() else None
                continue
            gap, size = abs(one - other), max(abs(float(one)), abs(float(other)))
            if gap < SMALLEST_DIFFERENCE * size or one == other:
                return float(other), float(other)
            if gap > SMALLEST_DIFFERENCE * size:
                return _apart(one, other)
    return (np.nan, own) if own is not None and gives_no_number(candidate, point) else None


def as_identity(claim, candidate):
    """Evidence that the difference of the two formulas is zero on the whole domain, or not."""
    symbolic = [declared(claim.domain, length) for length in lengths(claim.domain)]
    if symbolic[0] is None:
        return Evidence("compared", Verdict(INCONCLUSIVE, "an argument is a matrix"), claim.name)
    verdicts = [_identity(claim, candidate, symbols) for symbols in symbolic]
    undecided = [verdict for verdict in verdicts if verdict.word != VERIFIED]
    figures = {"lengths": list(lengths(claim.domain))} if len(verdicts) > 1 else {}
    reduced = "reduces to the theorem's own formula on the whole domain"
    return Evidence("compared", undecided[0] if undecided else Verdict(VERIFIED, reduced), claim.name, figures)


def _identity(claim, candidate, symbols):
    arrays = {name: np.array(value) if isinstance(value, list) else value for name, value in symbols.items()}
    one, other = (sympy.sympify(np.squeeze(f(**arrays))[()]) for f in (candidate, claim.formula))
    if reduces_to_zero(one - other):
        return Verdict(VERIFIED)
    try:
        proof = prove(sympy.Eq(one, other, evaluate=False), conditions(claim.domain, symbols))
    except NotAlgebraic as error:
        return Verdict(INCONCLUSIVE, f"the difference did not reduce to zero, and {error}")
    except ValueError as error:
        return Verdict(INCONCLUSIVE, f"the difference did not reduce to zero: {error}")
    if proof.proved:
        return Verdict(VERIFIED)
    if proof.proved is None or claim.kind not in (IDENTITY, TIGHT):
        return Verdict(INCONCLUSIVE, f"the difference did not reduce to zero: {proof.reason}")
    return _counterexample(claim, candidate, proof.counterexample)


def _counterexample(claim, candidate, values):
    """The verdict on a point that the prover found: in the domain, and a difference there, or nothing."""
    point = {}
    for name, entry in claim.domain.items():
        own = [float(value) for symbol, value in values.items() if symbol.rpartition("_")[0] == name]
        point[name] = np.array(own) if isinstance(entry, Directions) else float(values.get(name, entry.typical[0]))
    found = difference(claim, candidate, point) if claim.domain.contains(point) else None
    if found is None or found[0] == found[1]:
        return Verdict(
            INCONCLUSIVE, f"the difference did not reduce to zero; the prover's point {values} was not confirmed"
        )
    return _differing(claim, point, *found).verdict


def _differing(claim, point, value, own):
    texts = told_apart(value, own)
    witness = {**point, "formula": value, "theorem": own}
    if claim.kind in (IDENTITY, TIGHT) or np.isnan(value):
        verdict = Verdict(REFUTED, "formula {}, the theorem's {}".format(*texts), witness)
    else:
        word = {UPPER: ("weaker", "stronger"), LOWER: ("stronger", "weaker")}.get(claim.kind, ("another", "another"))
        which = word[0] if value > own else word[1]
        what = f"{which} {'bound' if claim.kind in (UPPER, LOWER) else 'formula'} than the theorem's"
        verdict = Verdict(INCONCLUSIVE, "{}: {} for {}".format(what, *texts), witness)
    return Evidence("compared", verdict, claim.name)


def _ball(value):
    flint = sys.modules["flint"]
    if np.size(value) != 1:
        raise ValueError(f"the formula must give one number, got shape {np.shape(value)}")
    (single,) = np.ravel(value)
    if not isinstance(single, (flint.arb, flint.acb, numbers.Number)):
        raise TypeError(f"the formula must give a number, got {single!r}")
    return single if isinstance(single, flint.arb) else flint.arb(single)


def _apart(one, other):
    """The two balls as different floats, also where they round to the same."""
    value, own = float(one), float(other)
    if value == own:
        value = float(np.nextafter(own, np.inf if one > other else -np.inf))
    return value, own


def _constants(candidate):
    """Zero and the numbers that a formula holds: near them it may change its course."""
    written = re.findall(r"(?<![\w.])\d+\.?\d*(?:[eE][+-]?\d+)?", getattr(candidate, "text", ""))
    code = getattr(inspect.unwrap(candidate), "__code__", None)
    held = [value for value in code.co_consts if type(value) in (int, float)] if code else []
    return sorted({0.0, *map(float, written), *map(float, held)})[:MOST_CONSTANTS]


def _around(constants, domain, rng):
    """Points with one argument near, at or beyond a constant."""
    points = []
    names = [name for name, entry in domain.items() if hasattr(entry, "typical")]
    for constant in constants:
        for name in names:
            for factor in (0.5, 0.999, 1.0, 1.001, 2.0) if constant else (1.0,):
                point = {**domain.draw(rng, 1)[0], name: constant * factor}
                if domain.contains(point):
                    points.append(point)
    return points


def _with_equal_arguments(domain, rng):
    """A point for each pair of arguments that may have one value in common: differences of the two vanish there."""
    points = []
    for one, other in combinations([name for name, entry in domain.items() if hasattr(entry, "typical")], 2):
        (point,) = domain.draw(rng, 1)
        points.append({**point, one: point[other]})
    return [point for point in points if domain.contains(point)]


def _ranges(points):
    if not points:
        return {}
    columns = {name: np.concatenate([np.ravel(point[name]) for point in points]) for name in points[0]}
    return {name: [float(np.min(values)), float(np.max(values))] for name, values in columns.items()}

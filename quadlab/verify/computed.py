"""Evidence by exact computation: the formula against an oracle on points drawn from its whole domain."""

import sys

import numpy as np

from quadlab.estimate import convergence_order
from quadlab.verify.formula import Formula
from quadlab.verify.independence import closed_forms_called
from quadlab.verify.statistics import one_number
from quadlab.verify.theorem import ASYMPTOTIC, LIMIT, LOWER, UPPER
from quadlab.verify.verdict import (
    ERROR,
    INCONCLUSIVE,
    OUT_OF_DOMAIN,
    REFUTED,
    SKIPPED,
    VERIFIED,
    Evidence,
    Verdict,
    combine,
    told_apart,
)

__all__ = ["at_point", "balls", "gives_no_number", "prepare"]

ROUNDING = 1e-12
FAR_SHARE = 5  # of the points drawn in the typical ranges, one in five is drawn beyond them as well
PROFILED = 5  # points at which the oracle is watched: it may go another way at one
COARSEST = 1e-3  # of the value: an error that a scale may let pass
NARROWEST = 1e-2  # spread of the points, relative to their size


def prepare(claim, *, rng, further=()):
    """Draw points and compute the oracle once; return what judges a candidate formula by them.

    further : points that are judged first, where the oracle can.
    """
    if claim.kind in (ASYMPTOTIC, LIMIT):
        return _prepare_window(claim, rng)
    drawn = claim.domain.draw(rng, claim.points)
    far = claim.domain.draw_far(rng, -(-claim.points // FAR_SHARE), claim.reach)
    points = [*(point for point in further if _answered(claim, point)), *drawn, *far]
    shared = closed_forms_called(claim.formula, claim.oracle, *drawn[:PROFILED])
    exact = [_oracle_value(claim, point) for point in points]
    scales = [claim.scale(**point) if claim.scale else abs(value) for point, value in zip(points, exact, strict=True)]
    figures = {
        "points": len(points),
        "tolerance": claim.tolerance,
        "drawn_from": _ranges(points),
        "resolution": _resolution(claim.tolerance, exact, scales),
    }
    objection = _objection(claim, points, figures["resolution"], shared)

    def judge(candidate):
        worst, witness, nearest, finite, outside = 0.0, None, np.inf, False, 0
        for point, value, scale in zip(points, exact, scales, strict=True):
            predicted = _evaluate(candidate, point)
            error = _violation(claim.kind, predicted, value)
            if not _allowed(error, scale, claim.tolerance):
                predicted = _without_rounding(candidate, point)
                unfinished = isinstance(candidate, Formula) and not np.isfinite(predicted)
                if unfinished and not gives_no_number(candidate, point):
                    outside += 1
                    continue
                error = _violation(claim.kind, predicted, value)
            if not _allowed(error, scale, claim.tolerance) and witness is None:
                witness = {**point, "formula": predicted, "oracle": value}
            finite = finite or np.isfinite(predicted) or predicted == value
            worst, nearest = max(worst, error / scale if scale > 0 else error), min(nearest, -error)
        own = {"smallest_gap": nearest} if claim.kind in (UPPER, LOWER) else {"largest_error": worst}
        if witness is not None:
            reason = "formula {}, oracle {}".format(*told_apart(witness["formula"], witness["oracle"]))
            return Evidence("computed", Verdict(REFUTED, reason, witness), claim.name, {**figures, **own})
        reason = objection
        if claim.kind in (UPPER, LOWER) and not finite:
            reason = reason or "the bound is infinite at all points"
        if outside:
            reason = reason or f"the formula leaves the range of floating point at {outside} points"
        verdict = Verdict(INCONCLUSIVE, reason) if reason else Verdict(VERIFIED)
        return Evidence("computed", verdict, claim.name, {**figures, **own})

    return judge


def at_point(claim, point):
    """The formula against the oracle at one point, as Evidence; OUT_OF_DOMAIN where the claim says nothing."""
    try:
        point = claim.domain.check(point)
    except ValueError as error:
        return Evidence("computed", Verdict(OUT_OF_DOMAIN, str(error)), claim.name)
    if claim.oracle is None:
        return Evidence("computed", Verdict(SKIPPED, "the claim has no oracle"), claim.name)
    try:
        predicted, value = _evaluate(claim.formula, point), _oracle_value(claim, point)
    except Exception as error:
        return Evidence("computed", Verdict(ERROR, f"{type(error).__name__}: {error}"), claim.name)
    figures = {"formula": predicted, "oracle": value}
    if claim.window is not None:
        reason = "an asymptotic statement is not decided by one point"
        return Evidence("computed", Verdict(INCONCLUSIVE, reason), claim.name, figures)
    scale = claim.scale(**point) if claim.scale else abs(value)
    if _allowed(_violation(claim.kind, predicted, value), scale, claim.tolerance):
        return Evidence("computed", Verdict(VERIFIED), claim.name, figures)
    return Evidence("computed", Verdict(REFUTED, witness={**point, **figures}), claim.name, figures)


def _oracle_value(claim, point):
    value = claim.oracle(**point)
    exact = one_number("oracle", value)
    if np.isnan(exact):
        raise ValueError(f"oracle must give a real number, got {value} at {_plain(point)}")
    return exact


def _answered(claim, point):
    try:
        _oracle_value(claim, point)
    except Exception:
        return False
    return True


def _plain(point):
    return ", ".join(f"{name} = {np.asarray(value).tolist()}" for name, value in point.items())


def _evaluate(candidate, point):
    with np.errstate(all="ignore"):
        return one_number("formula", candidate(**point))


def _objection(claim, points, resolution, shared):
    """Why agreement would show nothing; "" where it does."""
    if shared:
        return f"the oracle is not independent: it calls {', '.join(shared)} as the formula does"
    if resolution > COARSEST:
        return f"tolerance and scale let an error of {resolution:.2g} of the value pass, more than {COARSEST:g}"
    if claim.domain and all(
        high - low <= NARROWEST * max(abs(low), abs(high)) for low, high in _ranges(points).values()
    ):
        return f"all points lie within {NARROWEST:g} of each other"
    return ""


def _resolution(tolerance, exact, scales):
    """The relative error that passes at half of the points, where the value is more than what cancels leaves."""
    pairs = zip(scales, exact, strict=True)
    sizes = [scale / abs(value) for scale, value in pairs if np.isfinite(value) and abs(value) > ROUNDING * scale]
    return tolerance * float(np.median(sizes)) if sizes else 0.0


def _without_rounding(candidate, point):
    """The value of a text formula in 100 digits, so that cancellation in its form is not held against it."""
    predicted = _evaluate(candidate, point)
    if not isinstance(candidate, Formula):
        return predicted
    import flint

    try:
        with flint.ctx.workdps(100):
            exact = candidate(**{name: balls(value) for name, value in point.items()})
            if np.size(exact) == 1:
                (exact,) = np.ravel(exact)
            known = exact.is_finite() and exact.rad() <= np.finfo(float).eps * max(abs(exact.mid()), abs(predicted))
            return float(exact) if known else predicted
    except (ValueError, ArithmeticError, AttributeError, TypeError):
        return predicted


def gives_no_number(candidate, point):
    """Whether floating point finds no number; what leaves its range may be one."""
    try:
        with np.errstate(all="ignore", over="raise", under="raise"):
            return not np.isfinite(float(np.squeeze(candidate(**point))))
    except Exception:
        return False


def balls(value):
    """A number as an Arb ball, an array as an array of them."""
    arb = sys.modules["flint"].arb
    if np.ndim(value) == 0:
        return arb(float(value))
    return np.vectorize(lambda entry: arb(float(entry)), otypes=[object])(value)


def _violation(kind, predicted, value):
    """By how much the assertion fails; negative or zero where it holds. Equal infinities agree, a NaN never does."""
    if predicted == value:
        return 0.0
    if kind == UPPER:
        return value - predicted
    if kind == LOWER:
        return predicted - value
    return abs(predicted - value)


def _allowed(error, scale, tolerance):
    return error <= tolerance * (scale if np.isfinite(scale) else 0.0)


def _ranges(points):
    """The smallest and the largest value that each argument took."""
    columns = {name: np.concatenate([np.ravel(point[name]) for point in points]) for name in points[0]}
    return {name: [np.min(values), np.max(values)] for name, values in columns.items()}


def _prepare_window(claim, rng):
    """Order at which formula / oracle - 1 vanishes, as a confidence interval, in the window fixed in advance."""
    window = claim.window
    grid = np.geomspace(window.low, window.high, 9)
    points = claim.domain.draw(rng, max(1, claim.points // len(grid)))
    lines = [[{**point, window.parameter: x} for x in grid] for point in points]
    shared = closed_forms_called(claim.formula, claim.oracle, *(line[-1] for line in lines[:PROFILED]))
    exact = [[_oracle_value(claim, point) for point in line] for line in lines]

    def judge(candidate):
        verdicts, worst = [], np.inf
        for line, values in zip(lines, exact, strict=True):
            errors = np.abs(np.divide([_without_rounding(candidate, p) for p in line], values) - 1)
            verdict, surplus = _order_verdict(window, grid, errors, line[-1])
            verdicts.append(verdict)
            worst = min(worst, surplus)
        if shared:
            verdicts.append(Verdict(INCONCLUSIVE, _objection(claim, points, 0.0, shared)))
        figures = {
            "points": len(lines) * len(grid),
            "window": [window.parameter, window.low, window.high],
            "expected_order": window.order,
            "tolerance": window.tolerance,
            "smallest_surplus": worst,
        }
        return Evidence("computed", combine(verdicts), claim.name, figures)

    return judge


def _order_verdict(window, grid, errors, point):
    """The verdict on one line of errors, and by how much the order certainly exceeds the expected one.

    A remainder of higher order satisfies the statement, and so does none but rounding.
    """
    if errors.max() < ROUNDING:
        return Verdict(VERIFIED), np.inf
    sign = 1 if window.order > 0 else -1
    if not (np.isfinite(errors).all() and errors.all()):
        witness = {**point, "expected_order": window.order}
        return Verdict(REFUTED, "formula / oracle - 1 is zero or not finite in parts of the window", witness), -np.inf
    found = convergence_order(grid, errors, limit="small" if sign > 0 else "large")
    surplus, at_most = sorted((sign * found.low - abs(window.order), sign * found.high - abs(window.order)))
    if surplus >= -window.tolerance:
        return Verdict(VERIFIED), surplus
    if at_most >= -window.tolerance:
        return Verdict(INCONCLUSIVE, f"order {found}, expected {window.order:.4g}: the interval is too wide"), surplus
    witness = {**point, "order": found.value, "expected_order": window.order}
    return Verdict(REFUTED, f"order {found}, expected {window.order:.4g}", witness), surplus

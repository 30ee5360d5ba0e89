"""Evidence by exact computation: the formula against an oracle on points drawn from its whole domain."""

import numpy as np

from quadlab.estimate import convergence_order
from quadlab.verify.formula import Formula
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
)

__all__ = ["at_point", "prepare"]

ROUNDING = 1e-12


def prepare(claim, *, rng):
    """Draw points and compute the oracle once; return what judges a candidate formula by them."""
    if claim.kind in (ASYMPTOTIC, LIMIT):
        return _prepare_window(claim, rng)
    points = claim.domain.draw(rng, claim.points)
    drawn_from = {name: [np.min(values), np.max(values)] for name, values in _columns(points).items()}
    exact = [float(np.squeeze(claim.oracle(**point))) for point in points]
    scales = [claim.scale(**point) if claim.scale else abs(value) for point, value in zip(points, exact, strict=True)]

    def judge(candidate):
        worst, witness, nearest = 0.0, None, np.inf
        for point, value, scale in zip(points, exact, scales, strict=True):
            predicted = _evaluate(candidate, point)
            error = _violation(claim.kind, predicted, value)
            if not _allowed(error, scale, claim.tolerance):
                predicted = _without_rounding(candidate, point)
                error = _violation(claim.kind, predicted, value)
            if not _allowed(error, scale, claim.tolerance) and witness is None:
                witness = {**point, "formula": predicted, "oracle": value}
            worst, nearest = max(worst, error / scale if scale > 0 else error), min(nearest, -error)
        figures = {"points": len(points), "tolerance": claim.tolerance, "drawn_from": drawn_from}
        if claim.kind in (UPPER, LOWER):
            figures["smallest_gap"] = nearest
        else:
            figures["largest_error"] = worst
        if witness is None:
            return Evidence("computed", Verdict(VERIFIED), claim.name, figures)
        reason = f"formula {witness['formula']:.6g}, oracle {witness['oracle']:.6g}"
        return Evidence("computed", Verdict(REFUTED, reason, witness), claim.name, figures)

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
        predicted, value = (_evaluate(side, point) for side in (claim.formula, claim.oracle))
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


def _evaluate(candidate, point):
    with np.errstate(all="ignore"):
        return float(np.squeeze(candidate(**point)))


def _without_rounding(candidate, point):
    """The value of a text formula in 100 digits, so that cancellation in its form is not held against it."""
    predicted = _evaluate(candidate, point)
    if not isinstance(candidate, Formula) or any(np.ndim(value) for value in point.values()):
        return predicted
    import flint

    try:
        with flint.ctx.workdps(100):
            exact = candidate(**{name: flint.arb(float(value)) for name, value in point.items()})
            return predicted if exact.is_nan() else float(exact)
    except (ValueError, ArithmeticError):
        return predicted


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


def _columns(points):
    """All values that each argument took."""
    return {name: np.concatenate([np.ravel(point[name]) for point in points]) for name in points[0]}


def _prepare_window(claim, rng):
    """Order at which formula / oracle - 1 vanishes, as a confidence interval, in the window fixed in advance."""
    window = claim.window
    grid = np.geomspace(window.low, window.high, 9)
    points = claim.domain.draw(rng, max(1, claim.points // len(grid)))
    lines = [[{**point, window.parameter: x} for x in grid] for point in points]
    exact = [[claim.oracle(**point) for point in line] for line in lines]

    def judge(candidate):
        verdicts, worst = [], np.inf
        for line, values in zip(lines, exact, strict=True):
            errors = np.abs(np.divide([_without_rounding(candidate, p) for p in line], values) - 1)
            verdict, surplus = _order_verdict(window, grid, errors, line[-1])
            verdicts.append(verdict)
            worst = min(worst, surplus)
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

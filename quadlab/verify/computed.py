"""Evidence by exact computation: the formula against an oracle on points drawn from its whole domain."""

import numpy as np

from quadlab.verify.theorem import ASYMPTOTIC, LIMIT, LOWER, UPPER
from quadlab.verify.verdict import INCONCLUSIVE, OUT_OF_DOMAIN, REFUTED, SKIPPED, VERIFIED, Evidence, Verdict

__all__ = ["at_point", "prepare"]


def prepare(claim, *, rng):
    """Draw points and compute the oracle once; return what judges a candidate formula by them."""
    if claim.kind in (ASYMPTOTIC, LIMIT):
        return _prepare_window(claim, rng)
    points = claim.domain.draw(rng, claim.points)
    exact = [float(np.squeeze(claim.oracle(**point))) for point in points]
    scales = [claim.scale(**point) if claim.scale else abs(value) for point, value in zip(points, exact, strict=True)]

    def judge(candidate):
        worst, witness, nearest = 0.0, None, np.inf
        for point, value, scale in zip(points, exact, scales, strict=True):
            predicted = float(np.squeeze(candidate(**point)))
            error = _violation(claim.kind, predicted, value)
            if not _allowed(error, scale, claim.tolerance) and witness is None:
                witness = {**point, "formula": predicted, "oracle": value}
            worst, nearest = max(worst, error / scale if scale > 0 else error), min(nearest, -error)
        figures = {"points": len(points), "tolerance": claim.tolerance}
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
    predicted, value = (float(np.squeeze(side(**point))) for side in (claim.formula, claim.oracle))
    figures = {"formula": predicted, "oracle": value}
    if claim.window is not None:
        reason = "an asymptotic statement is not decided by one point"
        return Evidence("computed", Verdict(INCONCLUSIVE, reason), claim.name, figures)
    scale = claim.scale(**point) if claim.scale else abs(value)
    if _allowed(_violation(claim.kind, predicted, value), scale, claim.tolerance):
        return Evidence("computed", Verdict(VERIFIED), claim.name, figures)
    return Evidence("computed", Verdict(REFUTED, witness={**point, **figures}), claim.name, figures)


def _violation(kind, predicted, value):
    """By how much the assertion fails; negative or zero where it holds."""
    if kind == UPPER:
        return value - predicted
    if kind == LOWER:
        return predicted - value
    # equal infinities agree; a NaN never does
    return 0.0 if predicted == value else abs(predicted - value)


def _allowed(error, scale, tolerance):
    return error <= tolerance * (scale if np.isfinite(scale) else 0.0)


def _prepare_window(claim, rng):
    """Slope of log |formula / oracle - 1| against the log of the parameter, in the window fixed in advance."""
    window = claim.window
    grid = np.geomspace(window.low, window.high, 9)
    points = claim.domain.draw(rng, max(1, claim.points // len(grid)))
    lines = [[{**point, window.parameter: x} for x in grid] for point in points]
    exact = [[claim.oracle(**point) for point in line] for line in lines]

    def judge(candidate):
        worst, witness = 0.0, None
        for line, values in zip(lines, exact, strict=True):
            errors = [abs(float(candidate(**p) / value - 1)) for p, value in zip(line, values, strict=True)]
            with np.errstate(divide="ignore"):
                logs = np.log(errors)
            slope = np.polyfit(np.log(grid), logs, 1)[0] if np.isfinite(logs).all() else np.nan
            miss = abs(slope - window.order)
            if not miss <= window.tolerance and witness is None:
                witness = {**line[-1], "slope": slope, "expected_slope": window.order}
            worst = float(np.fmax(worst, miss)) if np.isfinite(miss) else np.inf
        figures = {
            "points": len(lines) * len(grid),
            "window": [window.parameter, window.low, window.high],
            "expected_slope": window.order,
            "largest_slope_error": worst,
        }
        if witness is None:
            return Evidence("computed", Verdict(VERIFIED), claim.name, figures)
        reason = f"slope {witness['slope']:.4g}, expected {window.order:.4g}"
        return Evidence("computed", Verdict(REFUTED, reason, witness), claim.name, figures)

    return judge

"""Sample sizes and decisions: equivalence within a margin, at error rates that are fixed for a whole run.

A run may make at most COMPARISONS statistical decisions on true statements; each has a two-sided false-alarm rate of
FAMILY_FALSE_ALARM / COMPARISONS (Bonferroni). A true statement is VERIFIED, rather than left inconclusive, with
probability 1 - MISSED.
"""

from math import ceil, isfinite

from scipy.stats import norm

from quadlab.verify.verdict import INCONCLUSIVE, REFUTED, VERIFIED, Verdict

__all__ = ["COMPARISONS", "FAMILY_FALSE_ALARM", "MARGINS", "decide_equivalence", "decide_sign", "sample_size"]

FAMILY_FALSE_ALARM = 1e-6
COMPARISONS = 1000
MISSED = 1e-6
MARGINS = {"quick": 0.02, "standard": 0.01, "deep": 0.005}

CONFIDENCE = float(norm.isf(FAMILY_FALSE_ALARM / COMPARISONS / 2))
POWER = float(norm.isf(MISSED / 2))


def sample_size(spread, margin):
    """Replicas for which a difference of zero is decided within +-margin, `spread` being one replica's deviation.

    >>> sample_size(1.0, 0.01)
    1210231
    """
    if not (isfinite(spread) and spread >= 0 and isfinite(margin) and margin > 0):
        raise ValueError(f"spread must be non-negative and margin positive, both finite, got {spread} and {margin}")
    return max(2, ceil(((CONFIDENCE + POWER) * spread / margin) ** 2))


def decide_equivalence(estimate, standard_error, prediction, margin):
    """VERIFIED if the confidence interval of estimate - prediction lies in [-margin, margin], REFUTED if outside it.

    `needed` of an inconclusive verdict is the factor by which the sample would have to grow.
    """
    distance, half_width = abs(estimate - prediction), CONFIDENCE * standard_error
    if distance + half_width <= margin:
        return Verdict(VERIFIED)
    if not distance - half_width <= margin:
        reason = f"measured {estimate:.6g} +- {standard_error:.2g}, predicted {prediction:.6g}, margin {margin:.2g}"
        return Verdict(REFUTED, reason)
    gap = abs(margin - distance)
    needed = (half_width / gap) ** 2 if gap > 0 else float("inf")
    return Verdict(INCONCLUSIVE, f"the interval straddles the margin; {needed:.3g} times the sample", needed=needed)


def decide_sign(estimate, standard_error, sign):
    """VERIFIED if the estimate has the given sign beyond its confidence interval, REFUTED if the opposite one."""
    lower = sign * estimate - CONFIDENCE * standard_error
    upper = sign * estimate + CONFIDENCE * standard_error
    if lower > 0:
        return Verdict(VERIFIED)
    if not upper >= 0:
        return Verdict(
            REFUTED, f"measured {estimate:.6g} +- {standard_error:.2g}, predicted {'+' if sign > 0 else '-'}"
        )
    needed = (CONFIDENCE * standard_error / abs(estimate)) ** 2 if estimate else float("inf")
    return Verdict(INCONCLUSIVE, f"the sign is not resolved; {needed:.3g} times the sample", needed=needed)

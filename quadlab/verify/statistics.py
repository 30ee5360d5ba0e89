"""Sample sizes and decisions: equivalence within a margin, at error rates that are fixed for a whole run.

A run may make at most COMPARISONS statistical decisions on true statements; each has a two-sided false-alarm rate of
FAMILY_FALSE_ALARM / COMPARISONS (Bonferroni). A true statement is VERIFIED, rather than left inconclusive, with
probability 1 - MISSED.

Where a right formula is VERIFIED within a margin, one whose prediction lies more than two margins from it is REFUTED by
the same sample: RESOLVED margins are what every kind of evidence with a margin promises to see.
"""

from math import ceil, isfinite, nan, sqrt
from typing import Any

import numpy as np
from scipy.stats import chi2, norm

from quadlab.verify.verdict import INCONCLUSIVE, REFUTED, SKIPPED, VERIFIED, Verdict

__all__ = [
    "COMPARISONS", "FAMILY_FALSE_ALARM", "MARGINS", "RESOLVED",
    "check_spread", "decide_equivalence", "decide_sign", "one_number", "resolution", "sample_size", "scaled",
]  # fmt: skip

FAMILY_FALSE_ALARM = 1e-6
COMPARISONS = 1000
MISSED = 1e-6
MOST_REPLICAS = 10**9
MARGINS = {"quick": 0.02, "standard": 0.01, "deep": 0.005}
RESOLVED = 3
PROBES = tuple(2.0**-k for k in range(10))

CONFIDENCE = float(norm.isf(FAMILY_FALSE_ALARM / COMPARISONS / 2))
POWER = float(norm.isf(MISSED / 2))


def sample_size(spread, margin):
    """Replicas for which a difference of zero is decided within +-margin, `spread` being one replica's deviation.

    >>> sample_size(1.0, 0.01)
    1210231
    """
    if not (isfinite(spread) and spread >= 0 and isfinite(margin) and margin > 0):
        raise ValueError(f"spread must be non-negative and margin positive, both finite, got {spread} and {margin}")
    count = ((CONFIDENCE + POWER) * spread / margin) ** 2
    if count > MOST_REPLICAS:
        raise ValueError(
            f"a spread of {spread:.3g} and a margin of {margin:.3g} ask for {count:.3g} replicas, at most"
            f" {MOST_REPLICAS:.0e} are simulated"
        )
    return max(2, ceil(count))


def check_spread(spread, standard_error, replicas):
    """ValueError unless a sample scatters no more than the stated spread of one replica allows.

    A normal sample of spread s has a deviation above s sqrt(chi2 / (n - 1)) at the rate of one false alarm; twice the
    spread is allowed to any sample, for the sake of heavy tails.

    >>> check_spread(1e-9, 0.5, 2)
    Traceback (most recent call last):
    ...
    ValueError: spread is stated as 1e-09, but the 2 replicas deviate by 0.707 from their mean
    """
    if spread > 0 and replicas < 2:
        raise ValueError(f"replicas must be at least 2 to show their spread, got {replicas}")
    if not (isfinite(standard_error) and standard_error >= 0):
        raise ValueError(f"standard_error must be finite and >= 0, got {standard_error}")
    deviation = standard_error * sqrt(replicas)
    rate = FAMILY_FALSE_ALARM / COMPARISONS
    most = spread * max(2.0, sqrt(chi2.isf(rate, max(replicas - 1, 1)) / max(replicas - 1, 1)))
    if deviation > most:
        raise ValueError(
            f"spread is stated as {spread:.3g}, but the {replicas} replicas deviate by {deviation:.3g} from their mean"
        )


def scaled(formula, factor):
    """The function `factor` times a formula, of the same arguments."""
    return lambda *positional, **named: factor * formula(*positional, **named)


def resolution(formula, moved):
    """The least of the relative changes 1, 1/2, ..., 1/512 of a formula such that it and all larger ones are seen.

    moved : (changed formula) -> whether the change is certainly seen at some setting.

    It stands as `resolution` among the figures of the evidence on a claim's own formula: where they VERIFY it,
    (1 + resolution) times the formula must be REFUTED. None: the evidence promises to see no such factor (the formula
    is zero, or a bound that may be far away on its own side).

    >>> resolution(lambda a: 5 * a, lambda changed: changed(2.0) > 10.5)
    0.0625
    """
    seen = None
    for size in PROBES:
        if not moved(scaled(formula, 1 + size)):
            break
        seen = size
    return seen


def one_number(name, value):
    """The real number that a value is, NaN for a complex one; ValueError names it where it is none or several.

    >>> one_number("prediction", [[2.0]]), one_number("prediction", 1j)
    (2.0, nan)
    >>> one_number("prediction", [1.0, 2.0])
    Traceback (most recent call last):
    ...
    ValueError: prediction must be one number, got 2 of them; is a sum over directions missing?
    """
    if np.size(value) != 1:
        count = np.size(value)
        raise ValueError(f"{name} must be one number, got {count} of them; is a sum over directions missing?")
    item: Any = np.asarray(value).item()
    try:
        if isinstance(item, str):
            raise TypeError("a text may spell a number and is none")
        number = complex(item)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, got {value!r}") from None
    return nan if number.imag != 0 else number.real


def decide_equivalence(estimate, standard_error, prediction, margin, rounding=0.0):
    """VERIFIED if the confidence interval of estimate - prediction lies in [-margin, margin], REFUTED if outside it.

    rounding : bound on what rounding changed the estimate by; it widens the interval. Where it exceeds the margin the
        comparison decides nothing but a refutation, and is SKIPPED.

    `needed` of an inconclusive verdict is the factor by which the sample would have to grow.
    """
    distance, half_width = abs(estimate - prediction), CONFIDENCE * standard_error + rounding
    if distance + half_width <= margin:
        return Verdict(VERIFIED)
    if not distance - half_width <= margin:
        reason = f"measured {estimate:.6g} +- {standard_error:.2g}, predicted {prediction:.6g}, margin {margin:.2g}"
        return Verdict(REFUTED, reason)
    if rounding > margin:
        return Verdict(SKIPPED, f"rounding of up to {rounding:.2g} hides a margin of {margin:.2g}")
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

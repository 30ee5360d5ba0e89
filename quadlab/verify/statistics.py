"""Sample sizes and decisions: equivalence within a margin, at error rates that are fixed for a whole run.

A run may make at most COMPARISONS statistical decisions on true statements; each has a two-sided false-alarm rate of
FAMILY_FALSE_ALARM / COMPARISONS (Bonferroni). A true statement is VERIFIED, rather than left inconclusive, with
probability 1 - MISSED.

Where a right formula is VERIFIED within a margin, one whose prediction lies more than two margins from it is REFUTED by
the same sample: RESOLVED margins are what every kind of evidence with a margin promises to see.
"""

from math import ceil, isfinite, nan
from typing import Any

import numpy as np
from scipy.stats import norm

from quadlab.verify.verdict import INCONCLUSIVE, REFUTED, VERIFIED, Verdict

__all__ = [
    "COMPARISONS", "FAMILY_FALSE_ALARM", "MARGINS", "RESOLVED",
    "decide_equivalence", "decide_sign", "one_number", "resolution", "sample_size", "scaled",
]  # fmt: skip

FAMILY_FALSE_ALARM = 1e-6
COMPARISONS = 1000
MISSED = 1e-6
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
    return max(2, ceil(((CONFIDENCE + POWER) * spread / margin) ** 2))


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
        # complex() would read a text
        number = complex(item, 0) if isinstance(item, str) else complex(item)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, got {value!r}") from None
    return nan if number.imag != 0 else number.real


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

"""The order at which an error vanishes, with a confidence interval, from errors at several step sizes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from quadlab.theory.intervals import Interval, non_negative, positive

__all__ = ["CONFIDENCE", "Order", "convergence_order"]

CONFIDENCE = 0.9999
UNIT = Interval(0, 1)
SPAN = 1e-6  # the logarithms are rounded at 1e-15, which then leaves the slope eight digits


@dataclass(frozen=True)
class Order:
    """An order of convergence: its estimate, a confidence interval, and the errors it was read from.

    value : slope of log error against log step at the end of the window that is nearest the limit.
    low, high : interval at the stated confidence; equal to value when the errors leave nothing unexplained.
    """

    value: float
    low: float
    high: float
    confidence: float
    steps: Any
    errors: Any

    def __str__(self):
        return f"{self.value:.4f} in [{self.low:.4f}, {self.high:.4f}]"


def convergence_order(steps, errors, *, limit="small", confidence=CONFIDENCE):
    """The exponent p of error ~ C step^p, with a confidence interval.

    log error = c + p u + q u^2 + noise,  u = log(step / nearest step)

    The square takes up the next term of the expansion, so that p is the slope at the end of the window nearest the
    limit; what the three terms leave is treated as independent noise, and the interval is Student's.

    Parameters
    ----------
    steps : at least 5 distinct positive numbers, shape (n,); fix them before looking at the errors.
    errors : their errors, >= 0, shape (n,).
    limit : "small" or "large", where the steps go in the statement.
    confidence : of the interval.

    Returns
    -------
    Order. All errors zero: an order of infinity.

    Raises
    ------
    ValueError: fewer than 5 steps, shapes that differ, values that are not finite or not positive, some errors zero.

    >>> steps = np.geomspace(0.01, 0.1, 9)
    >>> print(convergence_order(steps, steps**2 * (1 + steps)))
    1.9979 in [1.9708, 2.0250]
    """
    from scipy.stats import t

    if not isinstance(limit, str) or limit not in ("small", "large"):
        raise ValueError(f"limit must be small or large, got {limit!r}")
    confidence = UNIT.check_one("confidence", confidence)
    steps, errors = np.asarray(positive.check("steps", steps)), np.asarray(non_negative.check("errors", errors))
    if object in (steps.dtype, errors.dtype):
        raise ValueError(f"steps and errors must be numbers, got {steps.tolist()} and {errors.tolist()}")
    if steps.ndim != 1 or len(np.unique(steps)) < 5:
        raise ValueError(f"steps must be at least 5 distinct numbers, got {steps.tolist()}")
    if errors.shape != steps.shape:
        raise ValueError(f"errors must have shape {steps.shape} like steps, got {errors.shape}")
    if not errors.any():
        return Order(np.inf, np.inf, np.inf, confidence, steps, errors)
    if not errors.all():
        raise ValueError("errors must be positive at every step or zero at every step, got some of each")
    nearest = steps.min() if limit == "small" else steps.max()
    u = np.log(steps) - np.log(nearest)
    span = np.abs(u).max()
    if span < SPAN:
        raise ValueError(f"steps must span at least a factor 1 + {SPAN:g}, got {steps.tolist()}")
    design = np.column_stack([np.ones_like(u), u / span, (u / span) ** 2])
    coefficients, *_ = np.linalg.lstsq(design, np.log(errors))
    rest = np.log(errors) - design @ coefficients
    freedom = len(u) - 3
    variance = rest @ rest / freedom * np.linalg.inv(design.T @ design)[1, 1]
    reach = float(t.ppf((1 + confidence) / 2, freedom) * np.sqrt(variance) / span)
    value = float(coefficients[1] / span)
    return Order(value, value - reach, value + reach, confidence, steps, errors)

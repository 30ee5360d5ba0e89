"""Checks that several closed forms of the modified loss share."""

import numpy as np

from quadlab.theory.elementary import exact_arithmetic, is_arb
from quadlab.theory.intervals import shown

__all__ = [
    "require_axes",
    "require_count",
    "require_order",
    "require_shape",
    "require_symmetric",
    "within_range",
]  # fmt: skip


def require_count(name, value, lowest, highest):
    """`value` as an int; ValueError unless it is an integer from `lowest` to `highest` (booleans are none).

    >>> require_count("stages", 5, 1, 4)
    Traceback (most recent call last):
    ...
    ValueError: stages must be an integer from 1 to 4, got 5
    """
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not lowest <= value <= highest:
        raise ValueError(f"{name} must be an integer from {lowest} to {highest}, got {shown(value)}")
    return int(value)


def require_order(order):
    """The order of a truncated series as an int."""
    return require_count("order", order, 0, _HIGHEST_ORDER)


def require_shape(name, value, shape):
    """`value` as an array; ValueError unless it has this shape (None: any extent but 0)."""
    array = np.asarray(value)
    fits = array.ndim == len(shape) and array.size > 0
    if not fits or any(wanted not in (None, found) for wanted, found in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("at least 1" if extent is None else str(extent) for extent in shape)
        raise ValueError(f"{name} must have shape ({wanted}{',' * (len(shape) == 1)}), got {array.shape}")
    return array


def require_axes(name, value, trailing):
    """`value` as an array; ValueError unless it ends with as many non-empty axes as `trailing` names."""
    array = np.asarray(value)
    if array.ndim < len(trailing) or 0 in array.shape[-len(trailing) :]:
        raise ValueError(f"{name} must have shape (..., {', '.join(trailing)}) without empty axes, got {array.shape}")
    return array


def require_symmetric(name, array):
    """ValueError where a matrix (or tensor) certainly changes when two neighbouring axes are swapped."""
    for axis in range(array.ndim - 1):
        swapped = np.swapaxes(array, axis, axis + 1)
        if array.dtype == object:
            differs = [_certainly_differ(x, y) for x, y in zip(array.flat, swapped.flat, strict=True)]
        else:
            unit = np.abs(array).max() or 1  # in which no difference overflows and no rounding underflows
            differs = np.abs(array / unit - swapped / unit) > _ROUNDING
        if np.any(differs):
            x, y = next(pair for *pair, wrong in zip(array.flat, swapped.flat, np.ravel(differs), strict=True) if wrong)
            raise ValueError(f"{name} must be symmetric in all its axes, got the entries {x} and {y}")


def _certainly_differ(x, y):
    return not x.overlaps(y) if is_arb(x) else (x - y).is_zero is False


def within_range(value, **arguments):
    """`value`, a number or an array; ValueError where overflow has made it infinite or NaN."""
    if not exact_arithmetic(value) and not np.isfinite(value).all():
        listed = ", ".join(f"{name} {np.asarray(given).tolist()}" for name, given in arguments.items())
        raise ValueError(f"{', '.join(arguments)} must keep the result in the range of doubles, got {listed}")
    return value


# Of a truncated series: each further term takes work, and long before it the series has converged or overflowed.
_HIGHEST_ORDER = 10_000
# Relative asymmetry that the rounding of a computed matrix may leave.
_ROUNDING = 1e-10

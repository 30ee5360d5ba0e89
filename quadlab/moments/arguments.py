"""What the exact oracles are given, checked: numbers, matrices, results within the range of doubles."""

from numbers import Real

import numpy as np

from quadlab.theory.intervals import Interval, real

__all__ = [
    "checked_covariance",
    "checked_order",
    "checked_steps",
    "checked_symmetric",
    "checked_tensor",
    "finite",
    "numeric",
]

STEPS = Interval(0, np.inf, lower_closed=True, whole=True, words="a whole number >= 0")
SYMMETRIC, SEMIDEFINITE = 1e-8, 1e-12


def checked_order(order):
    """The order of the moments: 2 or 4."""
    if not isinstance(order, Real) or order not in (2, 4):
        raise ValueError(f"order must be 2 or 4, got {order!r}")
    return 4 if order == 4 else 2


def checked_steps(steps):
    """The number of steps as an int."""
    return int(STEPS.check_one("steps", steps))


def numeric(name, value, interval=real):
    """The value as a float64 array; ValueError for symbols and balls too."""
    array = np.asarray(interval.check(name, value))
    if array.dtype == object:
        raise ValueError(f"{name} must be numbers, got {value}")
    return array


def checked_tensor(name, value, shape):
    """The value as a float64 array of exactly this shape."""
    array = numeric(name, value)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    return array


def checked_symmetric(name, value):
    """The value as a float64 matrix, symmetric up to rounding in units of its largest entry, and not empty."""
    matrix = numeric(name, value)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ValueError(f"{name} must be a symmetric matrix, got shape {matrix.shape}")
    if np.abs(matrix / 2 - matrix.T / 2).max() > SYMMETRIC * np.abs(matrix).max():
        raise ValueError(f"{name} must be a symmetric matrix, got {matrix.tolist()}")
    return matrix


def checked_covariance(name, value):
    """The value as a float64 matrix, symmetric and positive semidefinite up to rounding."""
    matrix = checked_symmetric(name, value)
    values = np.linalg.eigvalsh(matrix)
    if (values < -SEMIDEFINITE * np.abs(values).max()).any():
        raise ValueError(f"{name} must be positive semidefinite, got eigenvalues {values}")
    return matrix


def finite(result, *arguments):
    """The result; ValueError naming the arguments that carry it out of the range of doubles."""
    if not np.isfinite(result).all():
        raise ValueError(
            f"{', '.join(arguments)} must keep the result within the range of doubles, got one that is not"
        )
    return result

"""Arrays as problems accept and keep them: float64, finite, of a known shape, read-only."""

import numpy as np

from quadlab.theory.intervals import real, require_broadcast

__all__ = ["numbers", "read_only", "vectors"]

_SHAPES = ("a number", "a non-empty vector", "a non-empty matrix")


def numbers(name, value, domain=real):
    """`value` as a float64 array; ValueError unless all of it lies in `domain`.

    >>> numbers("weights", [[1, 2], [3]])
    Traceback (most recent call last):
    ...
    ValueError: weights must have rows of equal length, got [[1, 2], [3]]
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must have rows of equal length, got {value!r}") from None
    try:
        return np.asarray(domain.check(name, array), dtype=np.float64)
    except TypeError:
        raise ValueError(f"{name} must be {domain.words}, got {value!r}") from None


def read_only(name, value, dimensions, domain=real):
    """A read-only float64 copy of `value`, a number, vector or matrix (0, 1 or 2 dimensions).

    >>> read_only("targets", [1, 2], dimensions=1)
    array([1., 2.])
    >>> read_only("features", [1, 2], dimensions=2)
    Traceback (most recent call last):
    ...
    ValueError: features must be a non-empty matrix, got shape (2,)
    """
    array = numbers(name, value, domain)
    if array.ndim != dimensions or array.size == 0:
        raise ValueError(f"{name} must be {_SHAPES[dimensions]}, got shape {array.shape}")
    array.setflags(write=False)
    return array


def vectors(dimension, **values):
    """The `name=value` given as float64 arrays of shape (..., dimension), broadcast against each other.

    >>> weights, vector = vectors(2, weights=[[1, 2], [3, 4]], vector=[0, 1])
    >>> vector
    array([[0., 1.],
           [0., 1.]])
    >>> vectors(3, weights=[1, 2])
    Traceback (most recent call last):
    ...
    ValueError: weights must have shape (..., 3), got shape (2,)
    """
    arrays = {name: numbers(name, value) for name, value in values.items()}
    for name, array in arrays.items():
        if array.ndim == 0 or array.shape[-1] != dimension:
            raise ValueError(f"{name} must have shape (..., {dimension}), got shape {array.shape}")
    require_broadcast(**arrays)
    return np.broadcast_arrays(*arrays.values())

"""Arrays as problems accept and keep them, float64, finite, read-only, and products whose steps do not overflow."""

from functools import reduce
from operator import mul

import numpy as np

from quadlab.theory.intervals import real, require_broadcast

__all__ = ["matrix_product", "numbers", "product", "read_only", "vectors", "weighted_squares"]

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


# Powers of two are exact: taken out of the factors and put back into the result, they change no digit, and only what
# leaves the range itself overflows to infinity, or underflows.


def product(*factors):
    """The product of arrays, in which one factor may make up for the size of another.

    >>> product(1e200, 1e200, 1e-300)
    np.float64(1e+100)
    """
    mantissas, exponents = zip(*map(np.frexp, factors), strict=True)
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(reduce(mul, mantissas), reduce(np.add, exponents))


def weighted_squares(vectors, weights=1.0):
    """sum_i weights_i vectors_i^2 over the last axis.

    >>> weighted_squares(np.array([2.0**600, 2.0**601]), 2.0**-1000) == 5 * 2.0**200
    np.True_
    """
    weights, powers = np.frexp(weights)
    odd = powers % 2
    weights, powers = np.ldexp(weights, odd), (powers - odd) // 2
    vectors = np.where(weights != 0, vectors, 0.0)
    exponents = np.where(vectors != 0, np.frexp(vectors)[1] + powers, np.iinfo(np.int32).min // 4)
    largest = exponents.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore", under="ignore"):
        total = (np.ldexp(vectors, powers - largest) ** 2 * weights).sum(axis=-1)
        return np.ldexp(total, 2 * largest[..., 0])


def matrix_product(left, right, divisor=1.0):
    """left @ right / divisor, again in scaled form where sums on the way overflow.

    >>> matrix_product(np.array([1e308, 1e308, -1e308]), np.ones((3, 1)))
    array([1.e+308])
    """
    with np.errstate(all="ignore"):
        result = left @ right / divisor
        lost = ~np.isfinite(result)
        if lost.any():
            powers = [np.frexp(np.abs(factor).max(initial=0))[1] for factor in (left, right)]
            scaled = np.ldexp(left, -powers[0]) @ np.ldexp(right, -powers[1]) / divisor
            result = np.where(lost, np.ldexp(scaled, sum(powers)), result)
    return result

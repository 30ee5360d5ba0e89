"""What the spectra accept as an operator, and its products with blocks of row vectors."""

from dataclasses import dataclass
from math import frexp, isfinite, sqrt
from typing import Any

import array_api_compat
import numpy as np

from quadlab.bridge.arrays import Backend, backend, backend_of, host, namespace

__all__ = ["Outgrown", "Products", "check_symmetric", "here", "products_of"]


class Outgrown(ArithmeticError):
    """A product is far too large for the scale that an earlier one set. From now on the scale is its own."""


@dataclass
class Products:
    """Counts the products of an operator with rows (k, n), and divides them by `scale`.

    The scale is `sign` times the power of two that brings the first product that is not zero to order one, so that
    squares of operators of any size neither overflow nor vanish.
    """

    operator: Any
    backend: Backend
    dimension: int
    sign: int = 1
    count: int = 0
    scale: float = 1.0
    scaled: bool = False

    def __call__(self, rows):
        """(k, n) for rows (k, n); ValueError where they are not finite real numbers of that shape."""
        xp, expected = self.backend.namespace, (self.dimension, rows.shape[0])
        # NaN and infinity are announced below
        with np.errstate(over="ignore", invalid="ignore"):
            product = self.operator @ xp.permute_dims(rows, (1, 0))
        if not array_api_compat.is_array_api_obj(product):
            product = np.asarray(product)
        if tuple(product.shape) != expected:
            raise ValueError(f"operator @ vectors must have shape {expected}, got {tuple(product.shape)}")
        if not namespace(product).isdtype(product.dtype, ("bool", "integral", "real floating")):
            raise ValueError(f"operator @ vectors must be real, got dtype {product.dtype}")
        product = self.backend.array(product)
        largest = float(xp.max(xp.abs(product)))
        if not isfinite(largest):
            raise ValueError("operator @ vectors must be finite, got NaN or infinity")
        self.count += rows.shape[0]
        # up to the fourth root of the largest number, so that sums of squares stay far from overflow
        growth = frexp(largest)[1] - frexp(self.scale)[1]
        outgrown = self.scaled and growth > np.finfo(self.backend.dtype).maxexp // 4
        if largest > 0 and (outgrown or not self.scaled):
            self.scaled, self.scale = True, self.sign * 2.0 ** (frexp(largest)[1] - 1)
        if outgrown:
            raise Outgrown("operator @ vectors grew from hardly anything")
        return xp.permute_dims(product, (1, 0)) / self.scale

    def random(self, rng, count):
        """Gaussian rows (count, n), drawn on the host."""
        return self.backend.array(rng.standard_normal((count, self.dimension)))


def products_of(operator, sign=1):
    """The products of anything with a square `.shape` and `@`; it lives on its `.backend`, or is NumPy float64.

    >>> products_of(np.diag([1.0, 2.0]))(np.eye(2))
    array([[0.5, 0. ],
           [0. , 1. ]])
    """
    shape = getattr(operator, "shape", None)
    if shape is None or not hasattr(operator, "__matmul__"):
        raise ValueError(f"operator must have a shape and @, got {type(operator).__name__}")
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 1:
        raise ValueError(f"operator must be square with at least one row, got shape {tuple(shape)}")
    where = getattr(operator, "backend", None)
    return Products(operator, where if isinstance(where, Backend) else backend(), int(shape[0]), sign)


def check_symmetric(one, other, sizes, where):
    """ValueError where numbers x^T A y and y^T A x differ by more than half of the digits of their `sizes`.

    >>> check_symmetric(np.array([1.0]), np.array([1.1]), np.array([1.0]), backend())
    Traceback (most recent call last):
    ...
    ValueError: operator must be symmetric, but x^T A y and y^T A x differ by 0.1 of |A y|
    """
    apart, size = float(np.linalg.norm(one - other)), float(np.linalg.norm(sizes))
    if apart > sqrt(np.finfo(where.dtype).eps) * size:
        raise ValueError(f"operator must be symmetric, but x^T A y and y^T A x differ by {apart / size:.2g} of |A y|")


def here(name, values, where):
    """NumPy numbers, or an array of the backend `where`, as a finite array of that backend."""
    if not array_api_compat.is_array_api_obj(values):
        values = np.asarray(values)
    if array_api_compat.is_numpy_array(values):
        if values.dtype.kind not in "biuf":
            raise ValueError(f"{name} must be real numbers, got dtype {values.dtype}")
    elif backend_of(values).name != where.name:
        raise ValueError(f"{name} must be NumPy or {where.name} arrays, got {type(values).__name__}")
    array = where.array(values)
    finite = where.namespace.isfinite(array)
    if not bool(where.namespace.all(finite)):
        raise ValueError(f"{name} must be finite, got {float(host(array)[~host(finite)][0])}")
    return array

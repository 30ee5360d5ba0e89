"""A curvature matrix of a problem at fixed parameters, known by its products."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from quadlab.bridge.arrays import host

__all__ = ["CurvatureOperator"]


@dataclass(frozen=True, eq=False)
class CurvatureOperator:
    """The Hessian or Gauss-Newton matrix (n, n), symmetric; `operator @ vectors` for vectors (n,) or (n, k).

    >>> import numpy as np
    >>> from quadlab import bridge
    >>> problem = bridge.Problem(bridge.mlp([1, 1]), [[1.0], [2.0]], [[0.0], [0.0]])
    >>> hessian = problem.hessian([0.3, -0.1])
    >>> hessian @ np.array([1.0, 0.0])
    array([2.5, 1.5])
    >>> np.linalg.eigvalsh(hessian.dense()).round(6)
    array([0.072949, 3.427051])
    """

    problem: Any
    parameters: Any
    method: str

    @property
    def shape(self):
        """(n, n)."""
        return (self.problem.dimension, self.problem.dimension)

    @property
    def backend(self):
        """Where its vectors live."""
        return self.problem.backend

    @property
    def dtype(self):
        """The NumPy dtype of its products' numbers."""
        return np.dtype(self.backend.dtype)

    def __matmul__(self, vectors):
        vectors = vectors if hasattr(vectors, "shape") else np.asarray(vectors)
        return getattr(self.problem, self.method)(self.parameters, vectors)

    def dense(self):
        """The matrix itself, (n, n) on the host: for small n."""
        return host(self @ np.eye(self.problem.dimension))

    def to_scipy(self):
        """A scipy.sparse.linalg.LinearOperator, with vectors on the host."""
        from scipy.sparse.linalg import LinearOperator

        def product(vectors):
            return host(self @ np.ascontiguousarray(vectors))

        return LinearOperator(self.shape, matvec=product, rmatvec=product, matmat=product, dtype=self.dtype)

    def __repr__(self):
        return f"{self.method.removesuffix('_product')} {self.shape} of {self.problem!r}"

"""An operator in the coordinates in which a diagonal preconditioner is the identity."""

from dataclasses import dataclass
from typing import Any

from quadlab.bridge.arrays import Backend, host
from quadlab.bridge.spectra.products import here, products_of

__all__ = ["PreconditionedOperator", "preconditioned"]


@dataclass(frozen=True, eq=False)
class PreconditionedOperator:
    """D^(-1/2) A D^(-1/2) with scale = D^(-1/2) (n, 1)."""

    operator: Any
    scale: Any
    backend: Backend

    @property
    def shape(self):
        """(n, n)."""
        return tuple(self.operator.shape)

    def __matmul__(self, vectors):
        vectors = here("vectors", vectors, self.backend)
        if vectors.ndim not in (1, 2) or vectors.shape[0] != self.shape[0]:
            n = self.shape[0]
            raise ValueError(f"vectors must have shape ({n},) or ({n}, k), got {tuple(vectors.shape)}")
        scale = self.scale[:, 0] if vectors.ndim == 1 else self.scale
        return scale * (self.operator @ (scale * vectors))


def preconditioned(operator, diagonal):
    """The operator D^(-1/2) A D^(-1/2), D = diag(diagonal), with the eigenvalues of D^(-1) A.

    The largest is the preconditioned sharpness: gradient descent preconditioned by D is stable while it is below
    2 / learning_rate. For IVON, diagonal = h + weight decay; for Adam, the root of the second moment plus epsilon.

    Parameters
    ----------
    operator : `.shape` (n, n) and `@`, symmetric; on its `.backend`, or NumPy float64 without one.
    diagonal : (n,), positive, NumPy or on the operator's backend.

    Returns
    -------
    An operator with `.shape`, `@` and `.backend`. Its eigenvectors are D^(1/2) times those of D^(-1) A.

    Raises
    ------
    ValueError: the diagonal does not fit, or is not positive and finite.

    Source: Cohen et al. 2022 (adaptive gradient methods at the edge of stability).

    >>> import numpy as np
    >>> preconditioned(np.diag([2.0, 3.0]), [4.0, 1.0]) @ np.ones(2)
    array([0.5, 3. ])
    """
    products = products_of(operator)
    diagonal = here("diagonal", diagonal, products.backend)
    if tuple(diagonal.shape) != (products.dimension,):
        raise ValueError(f"diagonal must have shape ({products.dimension},), got {tuple(diagonal.shape)}")
    positive = host(diagonal > 0)
    if not positive.all():
        raise ValueError(f"diagonal must be positive and finite, got {float(host(diagonal)[~positive][0])}")
    scale = (1 / products.backend.namespace.sqrt(diagonal))[:, None]
    return PreconditionedOperator(operator, scale, products.backend)

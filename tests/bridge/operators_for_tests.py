"""Symmetric operators with known spectra, on NumPy and on a device that refuses implicit copies to the host."""

from dataclasses import dataclass, field

import array_api_strict
import numpy as np

from quadlab.bridge.arrays import Backend

DEVICE = array_api_strict.Device("device1")


@dataclass(eq=False)
class OnDevice:
    """A matrix held on `device1` in a dtype, as an operator."""

    matrix: np.ndarray
    dtype: str = "float64"
    backend: Backend = field(init=False)

    def __post_init__(self):
        self.backend = Backend(array_api_strict, DEVICE, self.dtype)
        self.shape, self.held = self.matrix.shape, self.backend.array(self.matrix)

    def __matmul__(self, vectors):
        return self.held @ vectors


@dataclass(eq=False)
class Counted:
    """A NumPy operator that counts the vectors and the widest block it was given, with an optional backend."""

    matrix: np.ndarray
    backend: Backend | None = None
    vectors: int = 0
    widest: int = 0

    @property
    def shape(self):
        return self.matrix.shape

    def __matmul__(self, vectors):
        width = 1 if vectors.ndim == 1 else vectors.shape[1]
        self.vectors, self.widest = self.vectors + width, max(self.widest, width)
        return self.matrix @ vectors


def symmetric(values, seed=0):
    """A matrix with these eigenvalues in a random basis, and the basis, most often in no order."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    matrix = (basis * values) @ basis.T
    return (matrix + matrix.T) / 2, basis


def like_a_hessian(dimension, seed=0):
    """Twelve outliers from 10 to 1.7, a bulk near zero, a tenth of it negative; falling."""
    rng = np.random.default_rng(seed)
    negative = dimension // 10
    outliers = [10, 9, 7.5, 6, 5, 4, 3.5, 3, 2.6, 2.3, 2, 1.7]
    bulk = 0.02 * rng.exponential(size=dimension - negative - len(outliers))
    return np.sort(np.concatenate([outliers, bulk, -0.3 * rng.random(negative) ** 3]))[::-1]

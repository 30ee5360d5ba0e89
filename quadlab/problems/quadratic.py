"""A quadratic loss: Hessian, minimizer, spectrum, and loss and gradient on batches of weights."""

from dataclasses import dataclass, field
from functools import cached_property
from math import inf

import numpy as np

from quadlab.problems.arrays import matrix_product, read_only, weighted_squares
from quadlab.problems.smooth import SmoothProblem
from quadlab.theory.intervals import non_negative
from quadlab.theory.seeds import generator

__all__ = ["Quadratic"]

_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Quadratic(SmoothProblem):
    """A quadratic loss around its minimizer.

    loss(w) = minimum + (w - w*)' H (w - w*) / 2

    Parameters
    ----------
    hessian : H, shape (dimension, dimension), symmetric and positive semidefinite to 1e-12 of its scale
    minimizer : w*, shape (dimension,); the origin when left out
    minimum : loss at the minimizer
    name : what reports call the problem

    All arrays, the spectrum included, are read-only float64 copies. Units: loss / parameter**2 for the
    Hessian and its eigenvalues.

    Raises
    ------
    ValueError: an argument has the wrong shape, is not finite, or the Hessian is asymmetric or indefinite, or has an
    eigenvalue beyond double precision.

    >>> problem = Quadratic([[2.0, 1.0], [1.0, 2.0]], minimizer=[1.0, 0.0])
    >>> problem.loss([[1.0, 0.0], [2.0, 1.0]]).round(12)
    array([0., 3.])
    >>> problem.gradient([2.0, 1.0])
    array([3., 3.])
    >>> round(problem.sharpness, 12), round(problem.condition_number, 12)
    (3.0, 3.0)
    """

    hessian: np.ndarray
    minimizer: np.ndarray | None = None
    minimum: float = 0.0
    name: str = field(default="quadratic", kw_only=True)

    def __post_init__(self):
        hessian = read_only("hessian", self.hessian, dimensions=2)
        if hessian.shape[0] != hessian.shape[1]:
            raise ValueError(f"hessian must be square, got shape {hessian.shape}")
        with np.errstate(over="ignore"):
            asymmetry = np.abs(hessian - hessian.T).max()
        if asymmetry > _TOLERANCE * np.abs(hessian).max():
            raise ValueError(f"hessian must be symmetric to 1e-12 relative, got entries that differ by {asymmetry:.3g}")
        # the mean of equal entries, the largest and the smallest numbers among them, must be that number
        mean = np.where(hessian == hessian.T, hessian, hessian / 2 + hessian.T / 2)
        hessian = read_only("hessian", mean, dimensions=2)
        given = np.zeros(len(hessian)) if self.minimizer is None else self.minimizer
        minimizer = read_only("minimizer", given, dimensions=1)
        if len(minimizer) != len(hessian):
            raise ValueError(f"minimizer must have shape ({len(hessian)},), got shape {minimizer.shape}")
        minimum = float(read_only("minimum", self.minimum, dimensions=0))
        vars(self).update(hessian=hessian, minimizer=minimizer, minimum=minimum)
        self._spectrum  # noqa: B018 (refuses an indefinite Hessian now, not at first use)

    @classmethod
    def diagonal(cls, eigenvalues, minimizer=None, minimum=0.0):
        """The quadratic whose Hessian is diag(eigenvalues), in the order given.

        Parameters: eigenvalues of shape (dimension,), >= 0; minimizer and minimum as for `Quadratic`.
        Raises ValueError when an eigenvalue is negative or not finite.

        >>> Quadratic.diagonal([4.0, 1.0]).gradient([1.0, 1.0])
        array([4., 1.])
        """
        values = read_only("eigenvalues", eigenvalues, dimensions=1, domain=non_negative)
        return Quadratic(np.diag(values), minimizer, minimum)

    @classmethod
    def random(cls, eigenvalues, rng=None, minimizer=None, minimum=0.0):
        """A quadratic with this spectrum, in a basis drawn uniformly from the orthogonal group.

        H = V diag(eigenvalues) V',  V Haar distributed

        Parameters: eigenvalues of shape (dimension,), >= 0; rng is None, a seed, a SeedSequence or a
        Generator; minimizer and minimum as for `Quadratic`.
        Raises ValueError when an eigenvalue is negative or not finite.

        >>> Quadratic.random([1.0, 2.0, 5.0], rng=0).eigenvalues.round(12)
        array([1., 2., 5.])
        """
        values = read_only("eigenvalues", eigenvalues, dimensions=1, domain=non_negative)
        gaussian = generator(rng, "random basis").standard_normal((len(values), len(values)))
        # the signs that QR fixes by convention cancel in H
        basis = np.linalg.qr(gaussian).Q
        return Quadratic((basis * values) @ basis.T, minimizer, minimum)

    @cached_property
    def _spectrum(self):
        values, vectors = np.linalg.eigh(self.hessian)
        if not np.isfinite(values).all():
            largest = np.abs(self.hessian).max()
            raise ValueError(f"hessian must have finite eigenvalues, got larger ones for entries up to {largest:g}")
        if values[0] < -_TOLERANCE * np.abs(values).max():
            raise ValueError(f"hessian must be positive semidefinite, got the eigenvalue {values[0]:.6g}")
        values = np.maximum(values, 0)
        return read_only("eigenvalues", values, 1), read_only("eigenvectors", vectors, 2)

    @property
    def eigenvalues(self):
        """Eigenvalues of the Hessian, ascending, shape (dimension,); none is negative."""
        return self._spectrum[0]

    @property
    def eigenvectors(self):
        """Orthonormal eigenvectors, shape (dimension, dimension): column i belongs to eigenvalue i."""
        return self._spectrum[1]

    @property
    def dimension(self):
        """Number of weights."""
        return len(self.hessian)

    @property
    def sharpness(self):
        """Largest eigenvalue of the Hessian."""
        return float(self.eigenvalues[-1])

    @property
    def condition_number(self):
        """Largest eigenvalue over smallest; infinite when the smallest is zero or the ratio overflows."""
        return self.sharpness / float(self.eigenvalues[0]) if self.eigenvalues[0] > 0 else inf

    def excess_loss(self, weights):
        """Loss above the minimum, (w - w*)' H (w - w*) / 2, never negative.

        Parameters: weights of shape (..., dimension). Returns an array of shape (...).
        Raises ValueError when the weights do not fit or the excess loss is not finite there.

        >>> Quadratic.diagonal([1.0, 4.0], minimum=7.0).excess_loss([1.0, 1.0])
        np.float64(2.5)
        """
        return self._evaluate("excess loss", self._excess_loss, weights=weights)

    def _excess_loss(self, weights):
        # a sum of squares cannot round below zero, which the quadratic form itself can
        modes = matrix_product(weights - self.minimizer, self.eigenvectors)
        return weighted_squares(modes, self.eigenvalues / 2)

    def _loss(self, weights):
        return self.minimum + self._excess_loss(weights)

    def _gradient(self, weights):
        return matrix_product(weights - self.minimizer, self.hessian)

    def _hessian_product(self, weights, vector):
        return matrix_product(vector, self.hessian)

    def _third_derivative_product(self, weights, first, second):
        return np.zeros(weights.shape)

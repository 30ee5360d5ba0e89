"""A quadratic loss: Hessian, minimizer, spectrum, and loss and gradient on batches of weights."""

from dataclasses import dataclass, field
from functools import cached_property
from math import inf

import numpy as np

from quadlab.problems.arrays import read_only, vectors
from quadlab.theory.intervals import non_negative
from quadlab.theory.seeds import generator

__all__ = ["Quadratic"]

_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Quadratic:
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
    ValueError: an argument has the wrong shape, is not finite, or the Hessian is asymmetric or indefinite.

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
        asymmetry = np.abs(hessian - hessian.T).max()
        if asymmetry > _TOLERANCE * np.abs(hessian).max():
            raise ValueError(f"hessian must be symmetric to 1e-12 relative, got entries that differ by {asymmetry:.3g}")
        hessian = read_only("hessian", (hessian + hessian.T) / 2, dimensions=2)
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
        """Largest eigenvalue over smallest; infinite when the smallest is zero."""
        return self.sharpness / float(self.eigenvalues[0]) if self.eigenvalues[0] > 0 else inf

    def excess_loss(self, weights):
        """Loss above the minimum, (w - w*)' H (w - w*) / 2, never negative.

        Parameters: weights of shape (..., dimension). Returns an array of shape (...).
        Raises ValueError when the weights are not finite or their last axis does not fit.

        >>> Quadratic.diagonal([1.0, 4.0], minimum=7.0).excess_loss([1.0, 1.0])
        np.float64(2.5)
        """
        # a sum of squares cannot round below zero, which the quadratic form itself can
        return (self._displacement(weights) @ self.eigenvectors) ** 2 @ self.eigenvalues / 2

    def loss(self, weights):
        """Loss, minimum + (w - w*)' H (w - w*) / 2.

        Parameters: weights of shape (..., dimension). Returns an array of shape (...).
        Raises ValueError when the weights are not finite or their last axis does not fit.

        >>> Quadratic.diagonal([1.0, 4.0], minimum=7.0).loss([[1.0, 1.0], [0.0, 0.0]])
        array([9.5, 7. ])
        """
        return self.minimum + self.excess_loss(weights)

    def gradient(self, weights):
        """Gradient of the loss, H (w - w*).

        Parameters: weights of shape (..., dimension). Returns an array of the same shape.
        Raises ValueError when the weights are not finite or their last axis does not fit.

        >>> Quadratic.diagonal([1.0, 4.0]).gradient([[1.0, 1.0], [0.0, 2.0]])
        array([[1., 4.],
               [0., 8.]])
        """
        return self._displacement(weights) @ self.hessian

    def hessian_product(self, weights, vector):
        """Hessian times a vector, H v: the same at all weights.

        Parameters: weights and vector of shape (..., dimension), leading axes broadcast. Returns that shape.
        Raises ValueError when an argument is not finite or the shapes do not fit.

        >>> Quadratic.diagonal([1.0, 4.0]).hessian_product([5.0, 5.0], [1.0, 2.0])
        array([1., 8.])
        """
        _, vector = vectors(self.dimension, weights=weights, vector=vector)
        return vector @ self.hessian

    def third_derivative_product(self, weights, first, second):
        """Third derivative contracted with two vectors: zero, the Hessian is constant.

        Parameters: weights, first and second of shape (..., dimension), leading axes broadcast. Returns that shape.
        Raises ValueError when an argument is not finite or the shapes do not fit.

        >>> Quadratic.diagonal([1.0, 4.0]).third_derivative_product([5.0, 5.0], [1.0, 2.0], [[3.0, 4.0]])
        array([[0., 0.]])
        """
        weights, _, _ = vectors(self.dimension, weights=weights, first=first, second=second)
        return np.zeros(weights.shape)

    def _displacement(self, weights):
        (weights,) = vectors(self.dimension, weights=weights)
        return weights - self.minimizer

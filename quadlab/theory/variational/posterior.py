"""How the posterior enters: covariance against the Hessian, preconditioners, heavy tails, and SAM as a rival."""

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from quadlab.theory.extended_range import ExtendedRange, extended, rounded
from quadlab.theory.intervals import (
    Interval,
    admit_broadcast,
    admit_numbers,
    non_negative,
    positive,
    real,
    whole_positive,
)

__all__ = ["EdgeCrossing", "Projections", "edge_crossing", "hessian_projections", "student_t_variance"]

_finite_variance = Interval(2, inf, upper_closed=True, typical=(2.1, 30), words="greater than 2")


@dataclass(frozen=True)
class Projections:
    """What the variational functions need of a Hessian, a gradient and a noise covariance, in ascending order."""

    eigenvalues: np.ndarray
    gradient: np.ndarray
    noise_variances: np.ndarray


@dataclass(frozen=True)
class EdgeCrossing:
    """The gradient norm at which two descent edges coincide, and the sharpness there."""

    gradient_norm: Any
    sharpness: Any


def student_t_variance(scale_squared, degrees_of_freedom):
    """Variance of a Student-t variable, which is all of it that the expected loss change sees: q alpha / (alpha - 2).

    Parameters
    ----------
    scale_squared : q, in parameter**2, >= 0
    degrees_of_freedom : alpha in (2, inf]

    Returns
    -------
    Variance in parameter**2; broadcasts over both arguments.

    Raises
    ------
    ValueError: an argument lies outside its interval (the variance is infinite for alpha <= 2), or the shapes do not
        broadcast.

    Source: noise of Ghosh et al. 2025, figure 7.

    >>> float(student_t_variance(1.0, 3.0))
    3.0
    """
    scale, freedom = admit_broadcast(
        scale_squared=(scale_squared, non_negative),
        degrees_of_freedom=(degrees_of_freedom, _finite_variance),
    )
    scale, freedom = extended(scale, freedom)
    return rounded(scale * (1 + 2 / (freedom - 2)))


def edge_crossing(noise_variance, learning_rate, samples, ascent_radius):
    """The gradient at which the variational descent edge and that of sharpness-aware minimisation coincide.

    g = 2 r / (rho k (1 + k)), sharpness (2/rho) / (1 + k), k = N r^2 / s^2; for smaller gradients the variational edge
    is the lower one, for larger gradients the other.

    Parameters
    ----------
    noise_variance : s^2, variance of one weight sample along the direction, > 0
    learning_rate : rho, > 0
    samples : N, independent weight samples per step, a whole number >= 1
    ascent_radius : r, distance of the ascent step, > 0

    Returns
    -------
    EdgeCrossing(gradient_norm, sharpness), each broadcasting over the arguments.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: derived here from Ghosh et al. 2025, Theorem 3.1, and Long and Bartlett 2023.

    >>> crossing = edge_crossing(0.01, 0.1, 1, 0.1)
    >>> round(float(crossing.gradient_norm), 12), round(float(crossing.sharpness), 12)
    (1.0, 10.0)
    """
    noise, rate, samples, radius = admit_broadcast(
        noise_variance=(noise_variance, positive),
        learning_rate=(learning_rate, positive),
        samples=(samples, whole_positive),
        ascent_radius=(ascent_radius, positive),
    )
    noise, rate, samples, radius = extended(noise, rate, samples, radius)
    strength = samples * radius**2 / noise
    sharpness = 2 / (1 + strength) / rate
    return EdgeCrossing(rounded(radius / strength * sharpness), rounded(sharpness))


def hessian_projections(hessian, gradient, noise_covariance, preconditioner=None):
    """Eigenvalues of a Hessian, and gradient and noise variances along its eigenvectors.

    For Q = V diag(lambda) V': lambda, V'g and the diagonal of V' Sigma V. With a preconditioner P (the step is
    rho P^-1 times the gradient) the same for P^(-1/2) Q P^(-1/2), P^(-1/2) g and P^(1/2) Sigma P^(1/2).

    Parameters
    ----------
    hessian : Q, symmetric positive semi-definite, shape (d, d)
    gradient : g at the mean, shape (d,)
    noise_covariance : Sigma of one weight sample, symmetric positive semi-definite, shape (d, d)
    preconditioner : P, positive, shape (d,), or symmetric positive definite, shape (d, d); optional

    Returns
    -------
    Projections(eigenvalues, gradient, noise_variances), each of shape (d,), eigenvalues ascending. The signs of the
    gradient are arbitrary, and inside a repeated eigenvalue so is the basis.

    Raises
    ------
    ValueError: a shape does not fit, or a matrix is not symmetric, or not (semi-)definite.

    Source: Ghosh et al. 2025, Theorem 3.1; the preconditioned case is derived here.

    >>> found = hessian_projections([[2, 1], [1, 2]], [1, 0], [[1, 0], [0, 4]])
    >>> found.eigenvalues.round(12), (found.gradient**2).round(12), found.noise_variances.round(12)
    (array([1., 3.]), array([0.5, 0.5]), array([2.5, 2.5]))
    """
    hessian, gradient, covariance = admit_numbers(
        hessian=(hessian, real), gradient=(gradient, real), noise_covariance=(noise_covariance, real)
    )
    gradient = extended(np.atleast_1d(gradient))
    size = gradient.mantissa.size
    if gradient.mantissa.shape != (size,) or size == 0:
        raise ValueError(f"gradient must have shape (d,), got {gradient.mantissa.shape}")
    hessian = _semidefinite("hessian", hessian, size)
    covariance = _semidefinite("noise_covariance", covariance, size)
    if preconditioner is not None:
        hessian, gradient, covariance = _preconditioned(preconditioner, hessian, gradient, covariance)
    eigenvalues, vectors, unit = _principal_axes(hessian)
    noise, noise_unit = _in_one_unit(covariance)
    variances = np.sum(vectors * (noise @ vectors), axis=0)
    return Projections(
        rounded(ExtendedRange(np.maximum(eigenvalues, 0), unit)),
        rounded((vectors.T * gradient).sum(axis=-1)),
        rounded(ExtendedRange(np.maximum(variances, 0), noise_unit)),
    )


def _preconditioned(preconditioner, hessian, gradient, covariance):
    """P^(-1/2) Q P^(-1/2), P^(-1/2) g and P^(1/2) Sigma P^(1/2) on the principal axes of P."""
    size = gradient.mantissa.size
    (preconditioner,) = admit_numbers(preconditioner=(preconditioner, real))
    if preconditioner.ndim == 1:
        diagonal = positive.check("preconditioner", preconditioner)
        if diagonal.shape != (size,):
            raise ValueError(f"preconditioner must have shape {(size,)} or {(size, size)}, got {diagonal.shape}")
        scales = extended(diagonal)
    else:
        eigenvalues, axes, unit = _principal_axes(_symmetric("preconditioner", preconditioner, size))
        scales = ExtendedRange(eigenvalues, unit)
        if eigenvalues[0] <= 0:
            lowest = float(rounded(scales[0]))
            raise ValueError(f"preconditioner must be positive definite, got the eigenvalue {lowest!r}")
        gradient = (axes.T * gradient).sum(axis=-1)
        hessian, covariance = (
            ExtendedRange(axes.T @ matrix @ axes, unit) for matrix, unit in map(_in_one_unit, (hessian, covariance))
        )
    root = np.sqrt(scales)
    stretch = root * root[:, np.newaxis]
    return hessian / stretch, gradient / root, covariance * stretch


def _symmetric(name, matrix, size):
    """The matrix without the rounding of its symmetry, of extended range."""
    if matrix.shape != (size, size):
        raise ValueError(f"{name} must have shape {(size, size)}, got {matrix.shape}")
    matrix, transposed = extended(matrix, matrix.T)
    doubles, unit = _in_one_unit(matrix)
    asymmetry = np.abs(doubles - doubles.T).max()
    if asymmetry > _ROUNDING * np.abs(doubles).max():
        difference = rounded(ExtendedRange(asymmetry, unit))
        raise ValueError(f"{name} must be symmetric, got entries that differ by {difference:.3g}")
    return (matrix + transposed) / 2


def _semidefinite(name, matrix, size):
    matrix = _symmetric(name, matrix, size)
    eigenvalues, _, unit = _principal_axes(matrix)
    if eigenvalues[0] < -_ROUNDING * np.abs(eigenvalues).max():
        lowest = float(rounded(ExtendedRange(eigenvalues[0], unit)))
        raise ValueError(f"{name} must be positive semi-definite, got the eigenvalue {lowest!r}")
    return matrix


def _in_one_unit(matrix):
    """As doubles in units of a power of two near the largest entry, and the exponent of that."""
    unit = matrix.exponent.max()
    return rounded(ExtendedRange(matrix.mantissa, matrix.exponent - unit)), unit


def _principal_axes(matrix):
    """Eigenvalues in the unit that comes third, and eigenvectors."""
    doubles, unit = _in_one_unit(matrix)
    return *np.linalg.eigh(doubles), unit


# Relative asymmetry and negativity that the rounding of a computed matrix may leave.
_ROUNDING = 1e-10

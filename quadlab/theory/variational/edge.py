"""The edge of one direction: the curvature below which a noisy step lowers the expected loss."""

from numbers import Real

import numpy as np

from quadlab.theory.elementary import asinh, quotient, sinh, sqrt, where
from quadlab.theory.extended_range import ExtendedRange, extended, rounded
from quadlab.theory.intervals import admit_broadcast, extended_non_negative, positive, shown
from quadlab.theory.stability import sam_sharpness_edge

__all__ = [
    "descent_sharpness_gap",
    "descent_sharpness_limit",
    "edge_fraction",
    "posterior_optimal_sharpness_limit",
    "variational_factor",
]


def variational_factor(signal_to_noise, learning_rate):
    """Descent edge as a fraction of gradient descent's 2 / rho.

    The root s in [0, 1] of s^3 = zeta (1 - s), zeta = rho^2 z / 4, that is
    VF(z) = rho sqrt(z/3) sinh(asinh((3/rho) sqrt(3/z)) / 3).

    Parameters
    ----------
    signal_to_noise : z = samples * gradient**2 / noise_variance along the direction, a squared curvature, in [0, inf]
    learning_rate : rho, > 0

    Returns
    -------
    Dimensionless factor in [0, 1]; broadcasts over both arguments.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: Ghosh et al. 2025, Theorem 3.1 and equation 7.

    >>> round(float(variational_factor(1.0, 1.0)), 12)
    0.5
    """
    signal, rate = _admit_edge(signal_to_noise, learning_rate)
    return rounded(quotient(1, 1 + _noise_at_edge(signal, rate)))


def descent_sharpness_limit(signal_to_noise, learning_rate):
    """Largest curvature at which one variational step lowers the expected loss along one direction.

    The root h in [0, 2/rho] of h^3 / z + h = 2 / rho, that is
    h = 2 sqrt(z/3) sinh(asinh((3/rho) sqrt(3/z)) / 3) = (2/rho) VF(z).

    Parameters
    ----------
    signal_to_noise : z = samples * gradient**2 / noise_variance along the direction, a squared curvature, in [0, inf]
    learning_rate : rho, > 0

    Returns
    -------
    Curvature in loss / parameter**2; broadcasts over both arguments.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: Ghosh et al. 2025, Theorem 3.1 and equation 7.

    >>> round(float(descent_sharpness_limit(1.0, 1.0)), 12)
    1.0
    """
    signal, rate = _admit_edge(signal_to_noise, learning_rate)
    return rounded(quotient(2, 1 + _noise_at_edge(signal, rate)) / extended(rate))


def descent_sharpness_gap(signal_to_noise, learning_rate):
    """Distance of the descent edge below gradient descent's, 2 / rho - h, without cancellation.

    h^3 / z with h the descent edge; tends to 8 / (rho^3 z) for large z.

    Parameters
    ----------
    signal_to_noise : z = samples * gradient**2 / noise_variance along the direction, a squared curvature, in [0, inf]
    learning_rate : rho, > 0

    Returns
    -------
    Curvature in loss / parameter**2; broadcasts over both arguments.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: derived here from Ghosh et al. 2025, equation 7.

    >>> f"{descent_sharpness_gap(1e12, 1.0):.12e}"
    '7.999999999904e-12'
    """
    signal, rate = _admit_edge(signal_to_noise, learning_rate)
    return rounded(quotient(2, 1 + quotient(1, _noise_at_edge(signal, rate))) / extended(rate))


def posterior_optimal_sharpness_limit(signal_to_noise, learning_rate):
    """Descent edge when the noise covariance is that of the optimal posterior, inverse Hessian / ess.

    (w/2) (sqrt(1 + 8 / (rho w)) - 1), the edge of sharpness-aware minimisation with w in the place of g / r.

    Parameters
    ----------
    signal_to_noise : w = samples * effective_sample_size * gradient**2 along the direction, a curvature (not the z
        of the other functions), in [0, inf]
    learning_rate : rho, > 0

    Returns
    -------
    Curvature in loss / parameter**2; broadcasts over both arguments.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: derived here from Ghosh et al. 2025, Theorem 3.1, with noise_variance = 1 / (ess * curvature).

    >>> round(float(posterior_optimal_sharpness_limit(8.0, 1.0)), 12)
    1.656854249492
    """
    signal, rate = _admit_edge(signal_to_noise, learning_rate)
    return sam_sharpness_edge(signal, rate, 1)


def edge_fraction(signal, order):
    """Descent edge as a fraction of 2 / rho when the gradient's noise variance grows as curvature^(order - 1).

    The root s in [0, 1] of s^p = zeta (1 - s). Order 1: additive gradient noise; 2: the optimal posterior, and
    sharpness-aware minimisation; 3: fixed weight noise.

    Parameters
    ----------
    signal : zeta, dimensionless, in [0, inf]
    order : p, one of 1, 2, 3

    Returns
    -------
    Dimensionless fraction in [0, 1], of the shape of the signal.

    Raises
    ------
    ValueError: the signal is negative or the order is not 1, 2 or 3.

    Source: derived here; order 3 is Ghosh et al. 2025, equation 7.

    >>> round(float(edge_fraction(6.0, 1)), 12)
    0.857142857143
    """
    (signal,) = admit_broadcast(signal=(signal, extended_non_negative))
    if not isinstance(order, Real) or isinstance(order, bool) or order not in (1, 2, 3):
        raise ValueError(f"order must be 1, 2 or 3, got {shown(order)}")
    if order == 1:
        return rounded(quotient(1, 1 + quotient(1, extended(signal))))
    return posterior_optimal_sharpness_limit(signal, 2) if order == 2 else variational_factor(signal, 2)


def _admit_edge(signal_to_noise, learning_rate):
    return admit_broadcast(
        signal_to_noise=(signal_to_noise, extended_non_negative), learning_rate=(learning_rate, positive)
    )


def _noise_at_edge(signal, rate):
    """Relative variance of the sampled gradient at the edge, h^2 / z = (4/3) sinh(A)^2, sinh(3 A) = (3/rho) sqrt(3/z).

    The edge is 2 / (rho (1 + relative variance)): no term cancels, and a vanishing or infinite signal needs no case
    of its own.
    """
    signal, rate = extended(signal, rate)
    root_three = sqrt(3 + 0 * rate)  # in the arithmetic of the arguments
    return 4 * _sinh_of_third(quotient(3 * root_three / rate, sqrt(signal))) ** 2 / 3


def _sinh_of_third(x):
    """sinh(asinh(x) / 3): the root w of 4 w^3 + 3 w = x, where the rounding of a large logarithm has cost digits."""
    if not isinstance(x, ExtendedRange):
        return sinh(asinh(x) / 3)
    w = where(x > 1e30, np.cbrt(x / 4), np.sinh(np.arcsinh(rounded(x)) / 3))
    return where(x == np.inf, x, w - (4 * w**3 + 3 * w - x) / (12 * w**2 + 3))

"""Expected loss change of one variational step in several directions, and what it takes to make it negative."""

import numpy as np

from quadlab.theory.elementary import greater, quotient, where
from quadlab.theory.extended_range import extended, rounded
from quadlab.theory.intervals import admit, non_negative, positive, real, require_broadcast, whole_positive

__all__ = ["critical_samples", "descent_learning_rate_limit", "expected_loss_change"]


def expected_loss_change(eigenvalues, gradient, noise_variances, learning_rate, samples):
    """Exact expected change of a quadratic loss in one step m+ = m - rho Q (m + mean of the weight samples' noise).

    sum_i  -rho g_i^2 + (rho^2/2) lambda_i g_i^2 + (rho^2/(2N)) s_i^2 lambda_i^3, for any noise law.

    Parameters
    ----------
    eigenvalues : lambda_i of the Hessian, >= 0; the last axis is the direction and is summed over
    gradient : projections g_i of the gradient of the loss at the mean, real; the same last axis
    noise_variances : s_i^2, variance of one weight sample along each eigenvector, >= 0; the same last axis.
        The three broadcast: one number is isotropic noise
    learning_rate : rho, > 0; broadcasts against the remaining axes
    samples : N, independent weight samples per step, a whole number >= 1; broadcasts against the remaining axes

    Returns
    -------
    Loss difference, negative for descent; of the broadcast shape of the remaining axes.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: the identity behind Ghosh et al. 2025, Theorem 3.1.

    >>> round(float(expected_loss_change([2.0, 0.5], [1.0, -2.0], [0.25, 0.04], 0.3, 4)), 12)
    -1.29744375
    """
    *directions, rate, samples = admit(
        eigenvalues=(eigenvalues, non_negative),
        gradient=(gradient, real),
        noise_variances=(noise_variances, non_negative),
        learning_rate=(learning_rate, positive),
        samples=(samples, whole_positive),
    )
    squared, curved, noise = _sums(*directions, learning_rate=rate, samples=samples)
    rate, samples = extended(rate, samples)
    return rounded(rate * (rate * (curved + noise / samples) / 2 - squared))


def descent_learning_rate_limit(eigenvalues, gradient, noise_variances, samples):
    """Learning rate below which, and only below which, one step lowers the expected loss.

    2 G / (B + C/N) with G = sum g_i^2, B = sum lambda_i g_i^2, C = sum s_i^2 lambda_i^3. Half of it is the best rate.

    Parameters
    ----------
    eigenvalues : lambda_i of the Hessian, >= 0; the last axis is the direction and is summed over
    gradient : projections g_i of the gradient of the loss at the mean, real; the same last axis
    noise_variances : s_i^2, variance of one weight sample along each eigenvector, >= 0; the same last axis
    samples : N, independent weight samples per step, a whole number >= 1; broadcasts against the remaining axes

    Returns
    -------
    Learning rate in parameter**2 / loss: 0 without gradient, infinite where nothing limits it.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: derived here from Ghosh et al. 2025, Theorem 3.1, whose conditions on single directions are sufficient only.

    >>> float(descent_learning_rate_limit([2.0], [1.0], [0.25], 1))
    0.5
    """
    *directions, samples = admit(
        eigenvalues=(eigenvalues, non_negative),
        gradient=(gradient, real),
        noise_variances=(noise_variances, non_negative),
        samples=(samples, whole_positive),
    )
    squared, curved, noise = _sums(*directions, samples=samples)
    return rounded(quotient(2 * squared, curved + noise / extended(samples)))


def critical_samples(eigenvalues, gradient, noise_variances, learning_rate):
    """Number of weight samples above which, and only above which, one step lowers the expected loss.

    rho C / (2 G - rho B) with G = sum g_i^2, B = sum lambda_i g_i^2, C = sum s_i^2 lambda_i^3. The decrease per
    sample is largest at twice this number.

    Parameters
    ----------
    eigenvalues : lambda_i of the Hessian, >= 0; the last axis is the direction and is summed over
    gradient : projections g_i of the gradient of the loss at the mean, real; the same last axis
    noise_variances : s_i^2, variance of one weight sample along each eigenvector, >= 0; the same last axis
    learning_rate : rho, > 0; broadcasts against the remaining axes

    Returns
    -------
    Real number of samples >= 0, infinite where no number suffices (2 G <= rho B).

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: derived here from Ghosh et al. 2025, Theorem 3.1.

    >>> round(float(critical_samples([1.0], [1.0], [6.0], 0.5)), 12)
    2.0
    """
    *directions, rate = admit(
        eigenvalues=(eigenvalues, non_negative),
        gradient=(gradient, real),
        noise_variances=(noise_variances, non_negative),
        learning_rate=(learning_rate, positive),
    )
    squared, curved, noise = _sums(*directions, learning_rate=rate)
    rate = extended(rate)
    slope = 2 * squared - rate * curved
    return rounded(where(greater(slope, 0), quotient(rate * noise, slope), np.inf))


def _sums(eigenvalues, gradient, noise_variances, **others):
    """The sums G, B, C over directions, of extended range."""
    require_broadcast(eigenvalues=eigenvalues, gradient=gradient, noise_variances=noise_variances)
    directions = np.broadcast_arrays(*np.atleast_1d(eigenvalues, gradient, noise_variances))
    if directions[0].shape[-1] == 0:
        raise ValueError("eigenvalues, gradient and noise_variances must hold at least one direction, got none")
    require_broadcast(**{"leading axes of eigenvalues, gradient, noise_variances": directions[0][..., 0]}, **others)
    curvature, gradient, noise = extended(*directions)
    return [terms.sum(axis=-1) for terms in (gradient**2, curvature * gradient**2, curvature**3 * noise)]

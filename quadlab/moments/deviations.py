"""Exact standard deviations of what simulations average: they fix sample sizes beforehand."""

import numpy as np

from quadlab.dynamics.rule import checked_rule
from quadlab.moments.arguments import checked_covariance, checked_symmetric, checked_tensor, finite
from quadlab.moments.modes import propagate

__all__ = ["gaussian_loss_deviation", "gaussian_quadratic_deviation", "loss_deviation"]


def loss_deviation(rule, *, eigenvalues, steps, initial, **parameters):
    """Standard deviation, over replicas, of the loss sum_i lambda_i x_i^2 / 2 after `steps` steps from a fixed start.

    From the fourth-moment operator of the rule. Raises ValueError for noise shared by the modes: their losses are then
    dependent; and where fourth moments leave the range of doubles, as after many unstable steps.

    >>> from quadlab.dynamics import variational_gradient_descent
    >>> deviation = loss_deviation(variational_gradient_descent(), eigenvalues=[0.6], steps=1, initial=1 / 0.6,
    ...                            learning_rate=1.0, noise_variance=1.0, samples=2)
    >>> round(float(deviation / 0.646), 3)
    0.288
    """
    if any(noise.shared for noise in checked_rule(rule).noises):
        raise ValueError(f"the modes of {rule.name} must have independent noise, got noise they share")
    if eigenvalues is None:
        raise ValueError(f"eigenvalues must be given for the loss of {rule.name}, got None")
    moments = propagate(rule, eigenvalues=eigenvalues, steps=steps, initial=initial, order=4, **parameters)
    second, fourth = moments.second[:, 0, 0], moments.fourth[:, 0, 0, 0, 0]
    with np.errstate(all="ignore"):
        # without noise the difference is rounding alone, of either sign
        deviations = np.asarray(eigenvalues, dtype=float) * np.sqrt(np.maximum(fourth - second**2, 0))
        return finite(np.sqrt(np.sum(deviations**2)) / 2, "eigenvalues", "steps", "initial")


def gaussian_quadratic_deviation(linear, quadratic, covariance):
    """Standard deviation of b'e + e'A e / 2 for e normal with mean zero: sqrt(b'C b + tr((A C)^2) / 2).

    >>> gaussian_quadratic_deviation([0.0], [[2.0]], [[1.0]]).round(12)
    np.float64(1.414213562373)
    """
    quadratic = checked_symmetric("quadratic", quadratic)
    linear = checked_tensor("linear", linear, quadratic.shape[:1])
    covariance = checked_tensor("covariance", checked_covariance("covariance", covariance), quadratic.shape)
    with np.errstate(all="ignore"):
        product = quadratic @ covariance
        # where the covariance is singular either term may be rounding alone, of either sign
        variance = np.maximum(linear @ covariance @ linear, 0) + np.maximum(np.sum(product * product.T), 0) / 2
    return np.sqrt(finite(variance, "linear", "quadratic", "covariance"))


def gaussian_loss_deviation(hessian, covariance):
    """Standard deviation of the excess loss of weights that are normal with the minimiser as their mean.

    Around another mean, `gaussian_quadratic_deviation` with hessian @ (mean - minimizer) as its linear part.
    """
    hessian = checked_symmetric("hessian", hessian)
    return gaussian_quadratic_deviation(np.zeros(len(hessian)), hessian, covariance)

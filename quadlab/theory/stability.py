"""Largest curvature (sharpness) at which an optimiser is stable: deterministic, perturbed, multiplicative noise.

A limit beyond the largest double is infinite.
"""

from quadlab.theory.elementary import maximum, quotient, sqrt
from quadlab.theory.extended_range import extended, rounded
from quadlab.theory.intervals import (
    admit_broadcast,
    extended_non_negative,
    momentum_range,
    non_negative,
    positive,
)

__all__ = [
    "gradient_descent_sharpness_limit",
    "heavy_ball_sharpness_limit",
    "multiplicative_heavy_ball_best_momentum",
    "multiplicative_heavy_ball_limit",
    "nesterov_sharpness_limit",
    "sam_sharpness_edge",
]


def gradient_descent_sharpness_limit(learning_rate):
    """Curvature below which gradient descent contracts: 2 / rho.

    Parameters
    ----------
    learning_rate : rho, > 0, in parameter**2 / loss

    Returns
    -------
    Curvature in loss / parameter**2, of the shape of the argument.

    Raises
    ------
    ValueError: the learning rate is not positive and finite.

    Source: Cohen et al. 2021, section 2; abs(1 - rho lambda) < 1.

    >>> float(gradient_descent_sharpness_limit(0.1))
    20.0
    """
    (rate,) = admit_broadcast(learning_rate=(learning_rate, positive))
    return quotient(2, rate)


def heavy_ball_sharpness_limit(learning_rate, momentum):
    """Curvature below which Polyak's heavy ball contracts: (2 + 2 b) / rho.

    The rule is x+ = x - rho lambda x + b (x - x-); with the gradient weighted by 1 - b, divide rho by it.

    Parameters
    ----------
    learning_rate : rho, > 0
    momentum : b in [0, 1)

    Returns
    -------
    Curvature in loss / parameter**2; broadcasts over both arguments.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: Cohen et al. 2021, appendix B; Jury's criterion for mu^2 - (1 + b - rho lambda) mu + b.

    >>> round(float(heavy_ball_sharpness_limit(0.1, 0.9)), 12)
    38.0
    """
    rate, momentum = admit_broadcast(learning_rate=(learning_rate, positive), momentum=(momentum, momentum_range))
    return quotient(2 + 2 * momentum, rate)


def nesterov_sharpness_limit(learning_rate, momentum):
    """Curvature below which Nesterov's method contracts: (2 + 2 b) / (rho (1 + 2 b)).

    The rule is y = x + b (x - x-), x+ = y - rho lambda y.

    Parameters
    ----------
    learning_rate : rho, > 0
    momentum : b in [0, 1)

    Returns
    -------
    Curvature in loss / parameter**2, never above gradient descent's; broadcasts over both arguments.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: Cohen et al. 2021, appendix B; Jury's criterion for mu^2 - (1 + b) p mu + b p, p = 1 - rho lambda.

    >>> float(nesterov_sharpness_limit(0.05, 0.5))
    30.0
    """
    rate, momentum = admit_broadcast(learning_rate=(learning_rate, positive), momentum=(momentum, momentum_range))
    return quotient((2 + 2 * momentum) / (1 + 2 * momentum), rate)


def sam_sharpness_edge(gradient_norm, learning_rate, ascent_radius):
    """Curvature below which one step of sharpness-aware minimisation lowers a quadratic loss.

    (g / (2 r)) (sqrt(1 + 8 r / (rho g)) - 1) = (4 / rho) / (1 + sqrt(1 + 8 r / (rho g))), for a gradient aligned
    with the direction of that curvature. It tends to 2 / rho for large g and to sqrt(2 g / (rho r)) for small g.

    Parameters
    ----------
    gradient_norm : g, norm of the unperturbed gradient, in [0, inf]
    learning_rate : rho, > 0
    ascent_radius : r, distance of the ascent step, >= 0

    Returns
    -------
    Curvature in loss / parameter**2; broadcasts. Zero for g = 0 < r, 2 / rho for r = 0.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: Long and Bartlett 2023, "Sharpness-Aware Minimization and the Edge of Stability".

    >>> round(float(sam_sharpness_edge(1.0, 0.1, 0.05)), 10)
    12.360679775
    """
    gradient, rate, radius = admit_broadcast(
        gradient_norm=(gradient_norm, extended_non_negative),
        learning_rate=(learning_rate, positive),
        ascent_radius=(ascent_radius, non_negative),
    )
    gradient, rate, radius = extended(gradient, rate, radius)
    perturbation = quotient(8 * radius / rate, gradient)
    return rounded(quotient(4, 1 + sqrt(1 + perturbation)) / rate)


def multiplicative_heavy_ball_limit(momentum, relative_variance):
    """Limit on learning rate times mean curvature for heavy ball with random curvature, in mean square.

    2 (1 - b^2) / ((1 - b) + v (1 + b)), the harmonic mean of the limits 2 (1 + b) and 2 (1 - b) / v, halved.
    The rule is x+ = (1 + b - a h) x - b x-, with h independent in each step, E h = 1, Var h = v.

    Parameters
    ----------
    momentum : b in [0, 1)
    relative_variance : v = Var(h) / E(h)^2 of the curvature of a batch, >= 0

    Returns
    -------
    Largest a = learning_rate * curvature, dimensionless; broadcasts over both arguments.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: derived here from the second-moment operator on (x x, x x-, x- x-).

    >>> round(float(multiplicative_heavy_ball_limit(0.9, 0.1)), 12)
    1.310344827586
    """
    momentum, variance = admit_broadcast(
        momentum=(momentum, momentum_range), relative_variance=(relative_variance, non_negative)
    )
    return 2 / (1 / (1 + momentum) + quotient(variance, 1 - momentum))


def multiplicative_heavy_ball_best_momentum(relative_variance):
    """Momentum with the largest multiplicative_heavy_ball_limit: max(0, (1 - sqrt v) / (1 + sqrt v)).

    Parameters
    ----------
    relative_variance : v = Var(h) / E(h)^2 of the curvature of a batch, > 0 (at v = 0 the supremum b -> 1 is not
        attained)

    Returns
    -------
    Momentum in [0, 1), zero for v >= 1; of the shape of the argument. The limit there is 4 / (1 + sqrt v)^2.

    Raises
    ------
    ValueError: the relative variance is not positive and finite.

    Source: derived here; minimises 1/(1 + b) + v/(1 - b).

    >>> float(multiplicative_heavy_ball_best_momentum(0.25))
    0.3333333333333333
    """
    (variance,) = admit_broadcast(relative_variance=(relative_variance, positive))
    root = sqrt(variance)
    return maximum(0, (1 - variance) / (1 + root) / (1 + root))

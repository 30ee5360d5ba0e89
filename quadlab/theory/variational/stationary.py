"""Where the descent edge meets the noise: balls around the minimum, stationary laws, equilibrium of the sharpness."""

from quadlab.theory.elementary import erf, erf_between, greater, quotient, sqrt, where
from quadlab.theory.extended_range import extended, rounded
from quadlab.theory.intervals import (
    admit_broadcast,
    extended_non_negative,
    non_negative,
    positive,
    real,
    refuse,
    whole_positive,
)

__all__ = [
    "descent_probability",
    "equilibrium_sharpness",
    "noise_ball_radius",
    "stationary_edge_probability",
    "stationary_variance",
]


def descent_probability(eigenvalue, mean, noise_variance, learning_rate, samples):
    """Probability that one realised step along an eigenvector lowers the loss, for Gaussian weight noise.

    P = Phi(k c) + Phi(k) - 1, k = sqrt(N) abs(m) / s, c = 2 / (rho lambda) - 1.

    Parameters
    ----------
    eigenvalue : lambda, > 0
    mean : m, distance of the mean from the minimiser along the eigenvector, real
    noise_variance : s^2, variance of one weight sample along the eigenvector, >= 0
    learning_rate : rho, > 0
    samples : N, independent weight samples per step, a whole number >= 1

    Returns
    -------
    Probability of a strict decrease, in [0, 1]: 0 at the minimum; without noise 1 if rho lambda < 2, else 0.
    Broadcasts.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: derived here; the exact law behind the concentration bound of Ghosh et al. 2025, Lemma 3.2.

    >>> round(float(descent_probability(1.5, 1.0, 1.0, 1.0, 1)), 12)
    0.471903405887
    """
    curvature, mean, noise, rate, samples = admit_broadcast(
        eigenvalue=(eigenvalue, positive),
        mean=(mean, real),
        noise_variance=(noise_variance, non_negative),
        learning_rate=(learning_rate, positive),
        samples=(samples, whole_positive),
    )
    curvature, mean, noise, rate, samples = extended(curvature, mean, noise, rate, samples)
    spread = 2 * sqrt(noise / (2 * samples))
    reach = 2 / (rate * curvature)  # far side of the descent region from the mean, in distances of the mean
    ends = (abs(mean) * (1 - reach), abs(mean), abs(mean) * reach)
    probability = erf_between(*(rounded(quotient(end, spread)) for end in ends)) / 2
    without_noise = where(greater(reach, 1), 1, 0)
    return where(mean == 0, 0, where(noise == 0, without_noise, probability))


def noise_ball_radius(eigenvalue, noise_variance, learning_rate, samples):
    """Distance from the minimum beyond which one step lowers the expected loss along an eigenvector.

    r = sqrt( (s^2 / N) rho lambda / (2 - rho lambda) ).

    Parameters
    ----------
    eigenvalue : lambda, > 0
    noise_variance : s^2, variance of one weight sample along the eigenvector, >= 0
    learning_rate : rho, > 0, with rho lambda < 2
    samples : N, independent weight samples per step, a whole number >= 1

    Returns
    -------
    Distance in parameter units; broadcasts.

    Raises
    ------
    ValueError: an argument lies outside its interval, learning_rate * eigenvalue >= 2, or the shapes do not broadcast.

    Source: Ghosh et al. 2025, Theorem 3.1, at fixed distance instead of fixed gradient.

    >>> round(float(noise_ball_radius(1.5, 1.0, 1.0, 1)), 12)
    1.732050807569
    """
    curvature, noise, rate, samples = _admit_stable(eigenvalue, noise_variance, learning_rate, samples)
    curvature, noise, rate, samples = extended(curvature, noise, rate, samples)
    return rounded(sqrt(noise / samples * (rate * curvature / (2 - rate * curvature))))


def stationary_variance(eigenvalue, noise_variance, learning_rate, samples):
    """Variance of the mean along an eigenvector at stationarity, the squared radius of the noise ball.

    V = (s^2 / N) rho lambda / (2 - rho lambda), the fixed point of V+ = (1 - rho lambda)^2 V + rho^2 lambda^2 s^2 / N.

    Parameters
    ----------
    eigenvalue : lambda, > 0
    noise_variance : s^2, variance of one weight sample along the eigenvector, >= 0
    learning_rate : rho, > 0, with rho lambda < 2
    samples : N, independent weight samples per step, a whole number >= 1

    Returns
    -------
    Variance in parameter**2; broadcasts.

    Raises
    ------
    ValueError: an argument lies outside its interval, learning_rate * eigenvalue >= 2, or the shapes do not broadcast.

    Source: derived here from the update rule of Ghosh et al. 2025.

    >>> round(float(stationary_variance(1.5, 1.0, 1.0, 1)), 12)
    3.0
    """
    curvature, noise, rate, samples = _admit_stable(eigenvalue, noise_variance, learning_rate, samples)
    curvature, noise, rate, samples = extended(curvature, noise, rate, samples)
    return rounded(noise / samples * (rate * curvature / (2 - rate * curvature)))


def stationary_edge_probability(level, eigenvalue, learning_rate):
    """Probability, at stationarity, that the instantaneous descent edge lies at or below a level.

    P[H(z_t) <= y] = erf( sqrt( y^3 (2 - rho lambda) / (2 lambda^3 (2 - rho y)) ) ) below y = 2 / rho, one beyond; at
    y = lambda it is erf(1 / sqrt 2) = 0.6827 whatever the noise, the samples and the learning rate.

    Parameters
    ----------
    level : y, a curvature, in [0, inf]
    eigenvalue : lambda, the curvature of the direction, > 0
    learning_rate : rho, > 0, with rho lambda < 2

    Returns
    -------
    Probability in [0, 1]; broadcasts.

    Raises
    ------
    ValueError: an argument lies outside its interval, learning_rate * eigenvalue >= 2, or the shapes do not broadcast.

    Source: derived here, for Gaussian weight noise.

    >>> round(float(stationary_edge_probability(0.8, 1.0, 1.0)), 12)
    0.486370886607
    """
    level, curvature, rate = admit_broadcast(
        level=(level, extended_non_negative),
        eigenvalue=(eigenvalue, positive),
        learning_rate=(learning_rate, positive),
    )
    _refuse_unstable(curvature, rate)
    level, curvature, rate = extended(level, curvature, rate)
    ratio = quotient(level, curvature)
    below = 2 - rate * level
    signal = ratio * sqrt(ratio * (2 - rate * curvature) / (2 * below))
    return where(greater(below, 0), erf(rounded(signal)), 1)


def equilibrium_sharpness(sharpening, sharpness_gradient_squared, noise_variance, learning_rate, samples):
    """Curvature at which progressive sharpening and noisy self-stabilisation balance.

    S = (2/rho) / (1 + s^2 / (N (2a/b - s^2))), the descent edge at the distance E x^2 = 2a/b - s^2.

    Parameters
    ----------
    sharpening : a = -grad L . grad S, growth of the sharpness S per unit of learning_rate * steps, > 0
    sharpness_gradient_squared : b = abs(grad S)^2, > 0
    noise_variance : s^2, variance of one weight sample in every direction, >= 0 and below 2a/b
    learning_rate : rho, > 0
    samples : N, independent weight samples per step, a whole number >= 1

    Returns
    -------
    Curvature in loss / parameter**2, 2 / rho without noise; broadcasts.

    Raises
    ------
    ValueError: an argument lies outside its interval, noise_variance >= 2a/b (smoothing alone stops the sharpening),
        or the shapes do not broadcast.

    Source: derived here on the two-parameter model of Damian, Nichani and Lee 2022, for slow sharpness (b -> 0).

    >>> round(float(equilibrium_sharpness(1e-3, 0.25, 1e-3, 0.2, 1)), 12)
    8.75
    """
    growth, restoring, noise, rate, samples = admit_broadcast(
        sharpening=(sharpening, positive),
        sharpness_gradient_squared=(sharpness_gradient_squared, positive),
        noise_variance=(noise_variance, non_negative),
        learning_rate=(learning_rate, positive),
        samples=(samples, whole_positive),
    )
    a, b, variance = extended(growth, restoring, noise)
    smoothing, drive = b * variance, 2 * a
    refuse(
        smoothing >= drive,
        "noise_variance must be below 2 sharpening / sharpness_gradient_squared",
        noise_variance=noise,
        sharpening=growth,
        sharpness_gradient_squared=restoring,
    )
    rate, samples = extended(rate, samples)
    return rounded(2 / (1 + smoothing / samples / (drive - smoothing)) / rate)


def _admit_stable(eigenvalue, noise_variance, learning_rate, samples):
    curvature, noise, rate, samples = admit_broadcast(
        eigenvalue=(eigenvalue, positive),
        noise_variance=(noise_variance, non_negative),
        learning_rate=(learning_rate, positive),
        samples=(samples, whole_positive),
    )
    _refuse_unstable(curvature, rate)
    return curvature, noise, rate, samples


def _refuse_unstable(eigenvalue, learning_rate):
    rate, curvature = extended(learning_rate, eigenvalue)
    refuse(
        rate * curvature >= 2,
        "learning_rate * eigenvalue must be below 2",
        eigenvalue=eigenvalue,
        learning_rate=learning_rate,
    )

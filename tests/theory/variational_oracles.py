"""Independent routes to every closed form: polynomial roots, enumeration, quadrature, spectral radii (mpmath)."""

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import NamedTuple

from mpmath import mp

from quadlab.theory import stability, variational


class Case(NamedTuple):
    """A closed form at one rational point of its domain, and another way to its value there."""

    function: Callable
    arguments: dict
    oracle: Callable

    def __str__(self):
        return self.function.__name__


def positive_root(coefficients):
    (root,) = (
        mp.re(r) for r in mp.polyroots(coefficients, maxsteps=500, extraprec=400) if abs(mp.im(r)) < 1e-40 < r.real
    )
    return root


def bisect(holds, low, high):
    """The boundary of a condition that holds at `low` and fails at `high`."""
    for _ in range(190):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def enumerated_change(eigenvalues, gradient, noise_variances, learning_rate, samples):
    """E l(m+) - l(m) by running the update on every outcome of `samples` two-point draws per direction."""
    total = mp.mpf(0)
    for curvature, slope, variance in zip(eigenvalues, gradient, noise_variances, strict=True):
        mean = slope / curvature
        outcomes = list(product((-1, 1), repeat=int(samples)))
        for signs in outcomes:
            noise = mp.sqrt(variance) * sum(signs) / int(samples)
            moved = mean - learning_rate * curvature * (mean + noise)
            total += curvature * (moved**2 - mean**2) / 2 / len(outcomes)
    return total


def one_direction_change(curvature, slope, variance, rate, samples):
    return enumerated_change([curvature], [slope], [variance], rate, samples)


def edge_from_polynomial(signal, rate):
    return positive_root([1, 0, signal, -2 * signal / rate])


def best_rate_boundary(eigenvalues, gradient, noise_variances, samples):
    return bisect(
        lambda rate: enumerated_change(eigenvalues, gradient, noise_variances, rate, samples) < 0,
        mp.mpf(1e-9),
        mp.mpf(100),
    )


def samples_from_two_counts(eigenvalues, gradient, noise_variances, rate):
    """The change is affine in 1/N; extrapolate it to zero from one and two samples."""
    one, two = (enumerated_change(eigenvalues, gradient, noise_variances, rate, count) for count in (1, 2))
    return 2 * (one - two) / (one - 2 * two)


def edge_of_optimal_posterior(signal, rate):
    """Unit gradient, one sample: noise of variance 1 / (ess * curvature) with ess = signal."""
    return bisect(
        lambda curvature: one_direction_change(curvature, mp.mpf(1), 1 / (signal * curvature), rate, 1) < 0,
        mp.mpf(1e-9),
        2 / rate,
    )


def probability_by_quadrature(curvature, mean, variance, rate, samples):
    spread = mp.sqrt(variance / samples)
    far = abs(mean) * (2 / (rate * curvature) - 1)
    return mp.quad(lambda x: mp.npdf(x, 0, spread), [-abs(mean), (far - abs(mean)) / 2, far])


def stationary_probability_by_quadrature(level, curvature, rate):
    """Unit weight noise, one sample: normal mass of the states whose descent edge lies below the level."""
    spread = mp.sqrt(rate**2 * curvature**2 / (1 - (1 - rate * curvature) ** 2))
    reach = bisect(lambda x: edge_from_polynomial((curvature * x) ** 2, rate) < level, mp.mpf(1e-6), mp.mpf(100))
    return 2 * mp.quad(lambda x: mp.npdf(x, 0, spread), [0, reach / 2, reach])


def ball_by_root(curvature, variance, rate, samples):
    return bisect(
        lambda m: one_direction_change(curvature, curvature * m, variance, rate, samples) > 0,
        mp.mpf(1e-9),
        mp.mpf(1000),
    )


def fixed_point_of_recursion(curvature, variance, rate, samples):
    return rate**2 * curvature**2 * variance / samples / (1 - (1 - rate * curvature) ** 2)


def variance_by_quadrature(scale_squared, freedom):
    weight = lambda t: (1 + t**2 / freedom) ** (-(freedom + 1) / 2)  # noqa: E731
    return scale_squared * mp.quad(lambda t: t**2 * weight(t), [0, 1, 10, mp.inf]) / mp.quad(weight, [0, 1, 10, mp.inf])


def sharpness_by_balance(growth, restoring, variance, rate, samples):
    """Sharpness stationary: E x^2 + s^2 = 2a/b. Position stationary: the noise injected is what contraction removes."""
    second_moment = 2 * growth / restoring - variance

    def contraction_wins(sharpness):
        step = rate * sharpness
        return second_moment * (1 - (1 - step) ** 2) > step**2 * variance / samples

    return bisect(contraction_wins, mp.mpf(1e-9), 2 / rate)


def sam_by_update(gradient, rate, radius):
    def descends(curvature):
        position = gradient / curvature
        return abs(position - rate * curvature * (position + radius)) < position

    return bisect(descends, mp.mpf(1e-9), 2 / rate)


def crossing_by_bisection(variance, rate, samples, radius):
    def variational_edge(gradient):
        return edge_from_polynomial(samples * gradient**2 / variance, rate)

    gradient = bisect(lambda g: variational_edge(g) < sam_by_update(g, rate, radius), mp.mpf(1e-6), mp.mpf(1e3))
    return [gradient, variational_edge(gradient)]


def spectral_radius_limit(operator, upper):
    def contracts(step):
        return max(map(abs, mp.eig(mp.matrix(operator(step)), left=False, right=False))) < 1

    return bisect(contracts, mp.mpf(1e-6), upper)


def heavy_ball(rate, momentum):
    return spectral_radius_limit(lambda a: [[1 + momentum - a, -momentum], [1, 0]], mp.mpf(5)) / rate


def nesterov(rate, momentum):
    def operator(a):
        return [[(1 - a) * (1 + momentum), -(1 - a) * momentum], [1, 0]]

    return spectral_radius_limit(operator, mp.mpf(5)) / rate


def multiplicative(momentum, variance):
    """Kronecker square of the mean transition plus the square of its fluctuation."""

    def operator(a):
        mean = mp.matrix([[1 + momentum - a, -momentum], [1, 0]])
        noise = mp.matrix([[-a, 0], [0, 0]])
        return [
            [mean[i, k] * mean[j, m] + variance * noise[i, k] * noise[j, m] for k in (0, 1) for m in (0, 1)]
            for i in (0, 1)
            for j in (0, 1)
        ]

    return spectral_radius_limit(operator, mp.mpf(5))


def best_momentum(variance):
    """Where the derivative of 1/(1+b) + v/(1-b) vanishes."""
    return bisect(lambda b: mp.diff(lambda t: 1 / (1 + t) + variance / (1 - t), b) < 0, mp.mpf(0), 1 - mp.mpf(1e-6))


def _edge_cases():
    point = {"signal_to_noise": Fraction(7, 3), "learning_rate": Fraction(2, 5)}
    yield Case(variational.variational_factor, point, lambda z, rho: rho * edge_from_polynomial(z, rho) / 2)
    yield Case(variational.descent_sharpness_limit, point, edge_from_polynomial)
    yield Case(variational.descent_sharpness_gap, point, lambda z, rho: 2 / rho - edge_from_polynomial(z, rho))
    yield Case(variational.posterior_optimal_sharpness_limit, point, edge_of_optimal_posterior)


def _descent_cases():
    directions = {
        "eigenvalues": [Fraction(17, 10), Fraction(4, 5)],
        "gradient": [Fraction(3, 5), Fraction(-11, 10)],
        "noise_variances": [Fraction(1, 2), Fraction(2)],
    }
    rate, samples = {"learning_rate": Fraction(1, 2)}, {"samples": Fraction(3)}
    yield Case(variational.expected_loss_change, directions | rate | samples, enumerated_change)
    yield Case(variational.descent_learning_rate_limit, directions | samples, best_rate_boundary)
    yield Case(variational.critical_samples, directions | rate, samples_from_two_counts)


def _stationary_cases():
    stable = {
        "eigenvalue": Fraction(3, 2),
        "noise_variance": Fraction(1, 3),
        "learning_rate": Fraction(4, 5),
        "samples": Fraction(2),
    }
    probability = {
        "eigenvalue": Fraction(3, 2),
        "mean": Fraction(-3, 4),
        "noise_variance": Fraction(1, 3),
        "learning_rate": Fraction(3, 2),
        "samples": Fraction(2),
    }
    yield Case(variational.noise_ball_radius, stable, ball_by_root)
    yield Case(variational.stationary_variance, stable, fixed_point_of_recursion)
    yield Case(variational.descent_probability, probability, probability_by_quadrature)
    yield Case(
        variational.descent_probability, probability | {"learning_rate": Fraction(1, 2)}, probability_by_quadrature
    )
    yield Case(
        variational.stationary_edge_probability,
        {"level": Fraction(6, 5), "eigenvalue": Fraction(3, 2), "learning_rate": Fraction(4, 5)},
        stationary_probability_by_quadrature,
    )
    yield Case(
        variational.equilibrium_sharpness,
        {
            "sharpening": Fraction(1, 2),
            "sharpness_gradient_squared": Fraction(2),
            "noise_variance": Fraction(3, 10),
            "learning_rate": Fraction(1, 20),
            "samples": Fraction(3),
        },
        sharpness_by_balance,
    )


def _posterior_cases():
    yield Case(
        variational.student_t_variance,
        {"scale_squared": Fraction(3, 7), "degrees_of_freedom": Fraction(6)},
        variance_by_quadrature,
    )
    yield Case(
        variational.edge_crossing,
        {
            "noise_variance": Fraction(1, 2),
            "learning_rate": Fraction(1, 5),
            "samples": Fraction(4),
            "ascent_radius": Fraction(1, 3),
        },
        crossing_by_bisection,
    )


def _stability_cases():
    momentum = {"learning_rate": Fraction(1, 10), "momentum": Fraction(3, 5)}
    yield Case(
        stability.gradient_descent_sharpness_limit,
        {"learning_rate": Fraction(3, 10)},
        lambda rate: bisect(lambda h: abs(1 - rate * h) < 1, mp.mpf(1e-9), mp.mpf(100)),
    )
    yield Case(stability.heavy_ball_sharpness_limit, momentum, heavy_ball)
    yield Case(stability.nesterov_sharpness_limit, momentum, nesterov)
    yield Case(
        stability.sam_sharpness_edge,
        {"gradient_norm": Fraction(2, 3), "learning_rate": Fraction(1, 10), "ascent_radius": Fraction(1, 20)},
        sam_by_update,
    )
    yield Case(
        stability.multiplicative_heavy_ball_limit,
        {"momentum": Fraction(3, 10), "relative_variance": Fraction(1, 4)},
        multiplicative,
    )
    yield Case(stability.multiplicative_heavy_ball_best_momentum, {"relative_variance": Fraction(1, 10)}, best_momentum)


CASES = [*_edge_cases(), *_descent_cases(), *_stationary_cases(), *_posterior_cases(), *_stability_cases()]

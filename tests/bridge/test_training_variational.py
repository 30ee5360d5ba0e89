"""Variational rules: pathwise on a linear network, in moments by enumeration, and IVON against plain arithmetic."""

import re
from itertools import product

import numpy as np
import pytest
from training_problems import classifier, iterates, quadratic

from quadlab import dynamics, moments
from quadlab.bridge import host
from quadlab.bridge.training import gradient_descent, ivon, variational_gradient_descent
from quadlab.theory.variational import student_t_variance

START = np.linspace(-1, 1, 8)
# a few products of order one per step, a few steps
ROUNDING = 200 * np.finfo(float).eps


class Signs:
    """Stands in for a generator: gives prescribed draws."""

    def __init__(self, draws):
        self.draws = iter(draws)

    def standard_normal(self, dimension):
        return next(self.draws)


def test_mean_and_second_moment_by_enumeration_of_signs():
    """Moments up to the second need of the noise its variance alone, so that signs do for a Gaussian."""
    problem, hessian, slope = quadratic(outputs=1, examples=3, inputs=1)
    values, vectors = np.linalg.eigh(hessian)
    minimum, start = np.linalg.solve(hessian, slope), np.array([0.5, -2.0])
    samples, steps, settings = 2, 2, {"learning_rate": 0.4, "noise_variance": 0.09}
    rule = variational_gradient_descent(**settings, samples=samples)
    signs = np.array(list(product([1.0, -1.0], repeat=2)))
    ends = [
        vectors.T @ (iterates(rule, problem, start, steps, rng=Signs(draws))[-1] - minimum)
        for draws in product(signs, repeat=samples * steps)
    ]
    exact = moments.propagate(
        dynamics.variational_gradient_descent(samples), eigenvalues=values, steps=steps,
        initial=vectors.T @ (start - minimum), **settings,
    )  # fmt: skip
    np.testing.assert_allclose(np.mean(ends, axis=0), exact.mean[:, 0], rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(np.mean(np.square(ends), axis=0), exact.second[:, 0, 0], rtol=0, atol=ROUNDING)


def noise_felt(draws, scale):
    """How far from gradient descent a step of rate 0.4 ends on the quadratic, for the mean of these draws."""
    _, hessian, _ = quadratic()
    return -0.4 * hessian @ (scale * np.mean(draws, axis=0))


@pytest.mark.parametrize("variance", [0.25, np.linspace(0.0, 1.0, 8)])
def test_gaussian_draws_are_the_generators(variance):
    problem, _, _ = quadratic()
    descended = iterates(gradient_descent(0.4), problem, START, 1)[-1]
    found = iterates(
        variational_gradient_descent(0.4, variance, samples=3), problem, START, 1, rng=np.random.default_rng(6)
    )[-1]
    draws = np.random.default_rng(6).standard_normal((3, 8))
    np.testing.assert_allclose(found - descended, noise_felt(draws, np.sqrt(variance)), rtol=0, atol=ROUNDING)


def test_student_t_at_equal_scale_and_at_equal_variance():
    problem, _, _ = quadratic()
    descended = iterates(gradient_descent(0.4), problem, START, 1)[-1]
    draws = np.random.default_rng(6).standard_t(5, (2, 8))
    scaled = variational_gradient_descent(0.4, scale_squared=0.04, samples=2, degrees_of_freedom=5)
    matched = variational_gradient_descent(
        0.4, student_t_variance(0.04, 5), samples=2, degrees_of_freedom=5
    )  # fmt: skip
    for rule in (scaled, matched):
        found = iterates(rule, problem, START, 1, rng=np.random.default_rng(6))[-1]
        np.testing.assert_allclose(found - descended, noise_felt(draws, 0.2), rtol=0, atol=ROUNDING)


def test_antithetic_pairs_are_gradient_descent_on_a_quadratic():
    problem, _, _ = quadratic()
    descended = iterates(gradient_descent(0.4), problem, START, 5)
    pairs = variational_gradient_descent(0.4, 1.0, samples=4, antithetic=True)
    np.testing.assert_allclose(
        iterates(pairs, problem, START, 5, rng=np.random.default_rng(6)), descended, rtol=0, atol=ROUNDING
    )
    odd = variational_gradient_descent(0.4, 1.0, samples=3, antithetic=True)
    alone = np.random.default_rng(6).standard_normal((2, 8))[1]
    found = iterates(odd, problem, START, 1, rng=np.random.default_rng(6))[-1]
    np.testing.assert_allclose(found - descended[1], noise_felt([alone], 1.0) / 3, rtol=0, atol=ROUNDING)


def test_pairs_keep_the_smoothing_of_a_network():
    problem = classifier()
    start = problem.network.initial(1)
    shift = 0.3 * np.random.default_rng(6).standard_normal(problem.dimension)
    expected = start - 0.4 * (problem.gradient(start + shift) + problem.gradient(start - shift)) / 2
    rule = variational_gradient_descent(0.4, 0.09, samples=2, antithetic=True)
    np.testing.assert_allclose(
        iterates(rule, problem, start, 1, rng=np.random.default_rng(6))[-1], expected, rtol=0, atol=ROUNDING
    )
    assert abs(expected - (start - 0.4 * problem.gradient(start))).max() > 1e-3


@pytest.mark.parametrize(
    "rule",
    [
        variational_gradient_descent(0.3, 0.04, samples=2, batch_size=5),
        variational_gradient_descent(0.3, 0.04, degrees_of_freedom=4),
        ivon(0.1, 100, 0.5, hessian_decay=0.9, weight_decay=0.1, batch_size=5),
    ],
    ids=["gaussian", "student-t", "ivon"],
)
def test_both_precisions_see_the_same_noise(rule):
    start = classifier().network.initial(1)
    single, double = (
        iterates(rule, classifier(dtype), start, 4, rng=np.random.default_rng(2)) for dtype in ("float32", "float64")
    )
    assert single.dtype == np.float32
    # four steps, each a few hundred roundings of numbers of order one at most, that the steps do not amplify much
    np.testing.assert_allclose(single, double, rtol=0, atol=300 * np.finfo(np.float32).eps)
    assert abs(double[-1] - iterates(rule, classifier(), start, 4, rng=np.random.default_rng(3))[-1]).max() > 1e-3


def ivon_by_arithmetic(problem, parameters, steps, rng, *, rate, ess, first, delta, beta1, beta2, samples):
    """Shen et al. 2024, algorithm 1, one number after the other."""
    n = len(parameters)
    mean, hessian, average = list(parameters), [first] * n, [0.0] * n
    for t in range(1, steps + 1):
        variance = [1 / (ess * (h + delta)) for h in hessian]
        slopes, curvatures = [0.0] * n, [0.0] * n
        for _ in range(samples):
            draw = rng.standard_normal(n)
            weights = [m + v**0.5 * e for m, v, e in zip(mean, variance, draw, strict=True)]
            gradient = problem.gradient(np.array(weights))
            for i in range(n):
                slopes[i] += gradient[i] / samples
                curvatures[i] += gradient[i] * (weights[i] - mean[i]) / variance[i] / samples
        for i in range(n):
            average[i] = beta1 * average[i] + (1 - beta1) * slopes[i]
            old = hessian[i]
            correction = 0.5 * (1 - beta2) ** 2 * (old - curvatures[i]) ** 2 / (old + delta)
            hessian[i] = beta2 * old + (1 - beta2) * curvatures[i] + correction
            mean[i] -= rate * (average[i] / (1 - beta1**t) + delta * mean[i]) / (hessian[i] + delta)
    return np.array(mean), np.array(hessian)


@pytest.mark.parametrize("samples", [1, 3])
def test_ivon_is_its_algorithm(samples):
    problem = classifier()
    start = problem.network.initial(1)
    rule = ivon(0.1, 50, 0.4, weight_decay=0.2, momentum=0.7, hessian_decay=0.8, samples=samples)
    mean, hessian = ivon_by_arithmetic(
        problem, start, 4, np.random.default_rng(9), rate=0.1, ess=50, first=0.4, delta=0.2, beta1=0.7, beta2=0.8,
        samples=samples,
    )  # fmt: skip
    parameters, state, rng = start, rule.start(problem), np.random.default_rng(9)
    for _ in range(4):
        parameters, state = rule(problem, parameters, state, rng)
    # F divides a difference w + e - w, of rounding eps |w|, by sigma^2: the arithmetic above loses eps / sigma^2
    lost = ROUNDING * 50
    np.testing.assert_allclose(parameters, mean, rtol=0, atol=lost)
    np.testing.assert_allclose(state["hessian"], hessian, rtol=0, atol=lost)


def test_ivon_that_learns_nothing_is_variational_descent():
    problem = classifier()
    start = problem.network.initial(1)
    first = np.linspace(0.5, 2.0, problem.dimension)
    frozen = ivon(0.3, 40, first, momentum=0.0, hessian_decay=1.0, samples=2)
    draws = np.random.default_rng(4)
    expected = start
    for _ in range(5):
        shifts = draws.standard_normal((2, problem.dimension)) / np.sqrt(40 * first)
        expected = expected - 0.3 / first * np.mean([problem.gradient(expected + e) for e in shifts], axis=0)
    np.testing.assert_allclose(
        iterates(frozen, problem, start, 5, rng=np.random.default_rng(4))[-1], expected, rtol=0, atol=ROUNDING
    )
    plain = variational_gradient_descent(0.3 / 0.8, 1 / (40 * 0.8), samples=2, batch_size=5)
    frozen = ivon(0.3, 40, 0.8, momentum=0.0, hessian_decay=1.0, samples=2, batch_size=5)
    paths = [iterates(rule, problem, start, 5, rng=np.random.default_rng(4)) for rule in (plain, frozen)]
    np.testing.assert_allclose(paths[0], paths[1], rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_ivons_precision_at_most_halves(decay):
    problem = classifier()
    rule = ivon(0.05, 5, 0.01, weight_decay=0.01, hessian_decay=decay)
    parameters, state, rng = problem.network.initial(1), rule.start(problem), np.random.default_rng(0)
    fell = False
    for _ in range(50):
        before = host(state["hessian"]) + 0.01
        parameters, state = rule(problem, parameters, state, rng)
        ratio = (host(state["hessian"]) + 0.01) / before
        assert (ratio >= 0.5 * (1 - 1e-12)).all()
        fell = fell or (ratio < 1).any()
    assert fell


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: variational_gradient_descent(0.1), "exactly one of noise_variance and scale_squared, got None and"),
        (lambda: variational_gradient_descent(0.1, 1.0, scale_squared=1.0), "got 1.0 and 1.0"),
        (lambda: variational_gradient_descent(0.1, -1.0), "noise_variance must be non-negative and finite, got -1.0"),
        (lambda: variational_gradient_descent(0.1, scale_squared=np.nan), "scale_squared must be non-negative"),
        (
            lambda: variational_gradient_descent(0.1, 1.0, degrees_of_freedom=2),
            "noise_variance needs degrees_of_freedom above 2, got degrees_of_freedom 2.0",
        ),
        (lambda: variational_gradient_descent(0.1, 1.0, degrees_of_freedom=0), "degrees_of_freedom must be positive"),
        (lambda: variational_gradient_descent(0.1, 1.0, samples=0), "samples must be a whole number >= 1, got 0.0"),
        (
            lambda: variational_gradient_descent(0.1, [1.0]).start(quadratic()[0]),
            "noise_variance must be one number or have shape (8,), got (1,)",
        ),
        (lambda: ivon(0.1, 0, 1.0), "effective_sample_size must be positive and finite, got 0.0"),
        (lambda: ivon(0.1, 10, 0.0), "hessian_initial + weight_decay must be positive and finite, got 0.0"),
        (lambda: ivon(0.1, 10, np.inf), "hessian_initial must be finite, got inf"),
        (lambda: ivon(0.1, 10, "small"), "hessian_initial must be finite, got 'small'"),
        (lambda: ivon(0.1, 10, [[1.0], [1.0, 2.0]]), "hessian_initial must be finite, got rows of unequal length"),
        (lambda: ivon(0.1, 10, 1.0, weight_decay=-1), "weight_decay must be non-negative and finite, got -1.0"),
        (lambda: ivon(0.1, 10, 1.0, hessian_decay=1.1), "hessian_decay must be in [0, 1], got 1.1"),
        (lambda: ivon(0.1, 10, 1.0, momentum=1.0), "momentum must be in [0, 1), got 1.0"),
        (
            lambda: ivon(0.1, 10, np.ones(3)).start(quadratic()[0]),
            "hessian_initial must be one number or have shape (8,), got (3,)",
        ),
    ],
)
def test_unfit_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_a_name_tells_every_setting():
    variants = [
        {}, {"samples": 2}, {"antithetic": True}, {"degrees_of_freedom": 5}, {"batch_size": 3}, {"learning_rate": 0.2},
        {"noise_variance": 0.2}, {"noise_variance": np.full(3, 0.1)}, {"noise_variance": np.full(3, 0.2)},
    ]  # fmt: skip
    names = {variational_gradient_descent(**({"learning_rate": 0.1, "noise_variance": 0.1} | v)).name for v in variants}
    assert len(names) == len(variants)
    variants = [
        {}, {"samples": 2}, {"antithetic": True}, {"batch_size": 3}, {"learning_rate": 0.2}, {"weight_decay": 0.1},
        {"momentum": 0.1}, {"hessian_decay": 0.1}, {"hessian_initial": 2.0}, {"effective_sample_size": 3},
    ]  # fmt: skip
    first = {"learning_rate": 0.1, "effective_sample_size": 10, "hessian_initial": 1.0}
    assert len({ivon(**(first | variant)).name for variant in variants}) == len(variants)

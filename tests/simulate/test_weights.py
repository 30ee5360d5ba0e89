"""The full-matrix simulator: exact steps, reproducibility, divergence, bad input."""

import numpy as np
import pytest

from quadlab import simulate
from quadlab.moments import CoupledMoments, gaussian_loss_deviation
from quadlab.problems import LeastSquares, Quadratic
from quadlab.simulate import DivergenceError, simulate_weights

PROBLEM = Quadratic.random([0.3, 0.9, 1.7], 0, minimizer=np.array([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("dataset", ["diabetes", "breast_cancer"])
def test_stationary_growth_of_the_loss_on_real_data(dataset):
    """From the minimiser the exact covariance after some steps gives loss and standard error."""
    from quadlab.dynamics import variational_gradient_descent

    problem = LeastSquares.from_dataset(dataset)
    rate = 1 / problem.sharpness
    found = simulate_weights(
        problem, simulate.VariationalGradientDescent(rate, 1, 0.5), steps=8, replicas=40_000, rng=4
    )
    operator = CoupledMoments(
        variational_gradient_descent(),
        hessian=problem.hessian,
        noise_covariance=0.5 * np.eye(problem.dimension),
        learning_rate=rate,
        samples=1,
    )
    covariance = operator.propagate(np.zeros_like(problem.hessian), 8)
    exact = np.trace(problem.hessian @ covariance) / 2
    spread = gaussian_loss_deviation(problem.hessian, covariance)
    assert abs(found.mean["excess_loss"][0] - exact) < 5 * found.standard_error["excess_loss"][0]
    assert found.standard_error["excess_loss"][0] == pytest.approx(spread / 200, rel=0.05)


def test_a_preconditioner_divides_the_gradient():
    preconditioner = np.diag([1.0, 2.0, 4.0]) + 0.1
    optimiser = simulate.VariationalGradientDescent(0.3, 1, 0.0, preconditioner=preconditioner)
    weights = {"weights": lambda problem, now, first: now.T}
    start = np.zeros(3)
    found = simulate_weights(PROBLEM, optimiser, steps=1, replicas=1, initial=start, observables=weights)
    step = -0.3 * np.linalg.inv(preconditioner) @ PROBLEM.gradient(start)
    np.testing.assert_allclose(found.mean["weights"][0], step, rtol=1e-12)


def test_result_does_not_depend_on_the_executor():
    from concurrent.futures import ThreadPoolExecutor

    options = {"steps": 3, "replicas": 80_000, "rng": 2}
    optimiser = simulate.StochasticGradientDescent(0.5, noise_covariance=1.0)
    reference = simulate_weights(PROBLEM, optimiser, **options)
    with ThreadPoolExecutor(1) as single:
        other = simulate_weights(PROBLEM, optimiser, executor=single, **options)
    assert np.array_equal(reference.mean["excess_loss"], other.mean["excess_loss"])


def test_a_users_own_optimiser():
    def normalised(weights, previous, gradient, generator):
        direction = gradient(weights)
        return weights - 0.1 * direction / np.linalg.norm(direction, axis=1, keepdims=True)

    moved = {"moved": lambda problem, now, first: np.linalg.norm(now - first, axis=1)}
    found = simulate_weights(PROBLEM, normalised, steps=1, replicas=1, initial=np.zeros(3), observables=moved)
    assert found.mean["moved"][0] == pytest.approx(0.1)


def test_divergence_stops_at_once():
    with pytest.raises(DivergenceError, match="5 of 5 replicas") as caught:
        simulate_weights(PROBLEM, simulate.GradientDescent(10.0), steps=10_000, replicas=5, initial=np.zeros(3))
    assert caught.value.step < 200


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: simulate.GradientDescent(0.0), "learning_rate must be positive and finite, got 0"),
        (lambda: simulate.HeavyBall(0.1, 1.0), r"momentum must be in \[0, 1\), got 1"),
        (lambda: simulate.Nesterov(0.1, -0.1), r"momentum must be in \[0, 1\), got -0.1"),
        (lambda: simulate.VariationalGradientDescent(0.1, 0, 1.0), "samples must be a whole number >= 1, got 0"),
        (lambda: simulate.VariationalGradientDescent(0.1, 1, -1.0), "noise_covariance must be non-negative"),
        (lambda: simulate.VariationalGradientDescent(0.1, 1, np.nan), "noise_covariance must be finite, got nan"),
        (lambda: simulate.VariationalGradientDescent(0.1, 1, [[1, 1], [0, 1]]), "a number or a symmetric matrix"),
        (lambda: simulate.VariationalGradientDescent(0.1, 1, np.diag([1, 0])), "noise_covariance must be positive def"),
        (
            lambda: simulate.VariationalGradientDescent(0.1, 1, 1.0, degrees_of_freedom=0),
            "degrees_of_freedom must be positive and finite, got 0",
        ),
        (
            lambda: simulate.VariationalGradientDescent(0.1, 1, 1.0, preconditioner=np.zeros((2, 2))),
            "preconditioner must be positive definite",
        ),
        (lambda: simulate.VariationalGradientDescent(0.1, 1, 1.0, preconditioner=0.0), "preconditioner must be posi"),
        (lambda: simulate.StochasticGradientDescent(0.1, -np.eye(2)), "noise_covariance must be positive definite"),
        (lambda: simulate.StochasticGradientDescent(0.1, relative_variance=-1.0), "relative_variance must be non-neg"),
        (lambda: simulate.StochasticGradientDescent(-1.0), "learning_rate must be positive and finite, got -1"),
    ],
)
def test_bad_optimisers_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": [1.0]}, r"initial must be finite with shape \(3,\), got shape \(1,\)"),
        ({"observables": ["energy"]}, "observables must be among excess_loss, .* got 'energy'"),
        ({"initial": [np.nan, 0.0, 0.0]}, "initial must be finite"),
        ({"observables": []}, "observables must name at least one"),
        ({"steps": 0}, "steps must be a whole number"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        simulate_weights(PROBLEM, simulate.GradientDescent(0.1), **{"steps": 1, "replicas": 1, **options})


def test_a_covariance_of_the_wrong_shape_is_named():
    optimiser = simulate.VariationalGradientDescent(0.1, 1, np.eye(2))
    with pytest.raises(ValueError, match=r"noise_covariance must have shape \(3, 3\), got \(2, 2\)"):
        simulate_weights(PROBLEM, optimiser, steps=1, replicas=1)


def test_a_number_preconditions_like_a_multiple_of_the_identity():
    one, two = (
        simulate_weights(
            PROBLEM, simulate.VariationalGradientDescent(0.3, 1, 1.0, preconditioner=form), steps=3, replicas=5, rng=0
        ).mean["excess_loss"]
        for form in (2.0, 2 * np.eye(3))
    )
    np.testing.assert_allclose(one, two, rtol=1e-13)


@pytest.mark.parametrize(("rate", "descends"), [(0.1, 1.0), (3.0, 0.0)])
def test_descending_means_a_lower_loss_than_at_the_start(rate, descends):
    found = simulate_weights(
        PROBLEM, simulate.GradientDescent(rate), steps=1, replicas=2, initial=np.zeros(3),
        observables=("descends", "loss_change"),
    ).mean  # fmt: skip
    assert found["descends"][0] == descends == float(found["loss_change"][0] < 0)


def test_divergence_is_seen_on_either_side():
    steps = set()
    for start in (1.0, -1.0):
        with pytest.raises(DivergenceError) as caught:
            simulate_weights(
                Quadratic.diagonal([3.0]), simulate.GradientDescent(1.0), steps=1000, replicas=1, initial=[start]
            )
        steps.add(caught.value.step)
    assert len(steps) == 1

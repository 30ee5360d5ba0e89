"""Flows and paths against closed forms, invariants and each other."""

import numpy as np
import pytest
from scipy.linalg import expm

from quadlab.estimate import convergence_order
from quadlab.problems import GradientPenalty, LeastSquares, LogisticRegression, ProductModel, Quadratic
from quadlab.simulate import (
    GradientDescent,
    HeavyBall,
    StochasticGradientDescent,
    descend,
    flow,
    flows,
    global_error,
    gradient_flow,
    local_error,
    modified_flow,
)

MODEL, START = ProductModel(), np.array([2.8, 3.5])
MATRIX = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])
BOWL = Quadratic(MATRIX, minimizer=[1.0, -1.0, 2.0])
CORNER = np.array([2.0, 0.0, -1.0])
TIMES = np.linspace(0, 4, 17)


class Bowl:
    """The same quadratic without its spectrum, so that its flow has to be integrated."""

    def gradient(self, weights):
        return (weights - BOWL.minimizer) @ MATRIX

    def hessian_product(self, weights, vector):
        return MATRIX @ vector

    def third_derivative_product(self, weights, first, second):
        return np.zeros(3)


def test_a_linear_field_gives_the_matrix_exponential():
    spin = np.array([[-0.1, 2.0, 0.0], [-2.0, -0.1, 1.0], [0.0, 0.3, -0.2]])
    path = flow(lambda theta: spin @ theta, CORNER, TIMES)
    exact = np.array([expm(t * spin) @ CORNER for t in TIMES])
    np.testing.assert_allclose(path, exact, rtol=0, atol=1e-12 * np.abs(exact).max())


def test_one_time_and_many_agree_and_time_zero_is_the_start():
    path = gradient_flow(MODEL, START, TIMES)
    np.testing.assert_allclose(gradient_flow(MODEL, START, TIMES[5]), path[5], rtol=1e-12)
    np.testing.assert_array_equal(path[0], START)
    np.testing.assert_array_equal(gradient_flow(MODEL, START, 0.0), START)
    np.testing.assert_array_equal(gradient_flow(MODEL, START, [0.0]), [START])


def test_gradient_flow_conserves_the_difference_of_squares_to_twelve_digits():
    path = gradient_flow(MODEL, START, np.linspace(0, 20, 201))
    np.testing.assert_allclose(path[:, 0] ** 2 - path[:, 1] ** 2, -4.41, rtol=1e-12)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_closed_form_and_integration_agree_on_a_quadratic(order):
    closed = modified_flow(BOWL, CORNER, TIMES, 0.1, order=order)
    np.testing.assert_allclose(modified_flow(Bowl(), CORNER, TIMES, 0.1, order=order), closed, rtol=0, atol=4e-12)


def test_iterates_lie_on_the_whole_series_of_a_quadratic():
    path = descend(BOWL, GradientDescent(0.2), CORNER, steps=30)
    exact = modified_flow(BOWL, CORNER, 0.2 * np.arange(31), 0.2, order=None)
    np.testing.assert_allclose(path, exact, rtol=0, atol=1e-13)


def test_the_first_order_is_the_gradient_flow_of_the_modified_loss():
    one = modified_flow(MODEL, START, TIMES, 0.02)
    other = gradient_flow(GradientPenalty(MODEL, 0.02 / 4), START, TIMES)
    np.testing.assert_allclose(one, other, rtol=1e-11)
    np.testing.assert_array_equal(modified_flow(MODEL, START, TIMES, 0.0), gradient_flow(MODEL, START, TIMES))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_errors_vanish_with_their_orders(order):
    """Local error h^(order + 2), global error h^(order + 1): slopes in a window fixed in advance."""
    rates = np.geomspace(1e-3, 4e-3, 9)

    def follow(start, times, learning_rate):
        return modified_flow(MODEL, start, times, learning_rate, order=order)

    local = [np.linalg.norm(local_error(MODEL, START, h, flow=follow)) for h in rates]
    found = convergence_order(rates, local)
    assert order + 1.9 < found.low < found.high < order + 2.1
    overall = [global_error(MODEL, START, h, 0.1, flow=follow) for h in rates]
    slope = np.polyfit(np.log(rates), np.log(overall), 1)[0]
    assert slope == pytest.approx(order + 1, abs=0.15)


def test_golden_local_errors_of_the_product_model():
    np.testing.assert_allclose(local_error(MODEL, START, 1e-3), (-9.8322274464e-6, -8.9088438752e-6), rtol=1e-9)

    def follow(start, times, learning_rate):
        return gradient_flow(MODEL, start, times)

    plain = local_error(MODEL, START, 1e-3, flow=follow)
    np.testing.assert_allclose(plain, (-4.3512231925e-4, -4.0036879241e-4), rtol=1e-9)


def test_global_error_compares_up_to_the_duration_and_no_further():
    errors = {h: global_error(MODEL, START, h, 0.1) for h in (0.04, 0.05, 0.1)}
    path = descend(MODEL, GradientDescent(0.04), START, steps=2)
    exact = modified_flow(MODEL, START, [0.04, 0.08], 0.04)
    assert errors[0.04] == pytest.approx(np.linalg.norm(path[1:] - exact, axis=1).max(), rel=1e-12)
    assert errors[0.1] == pytest.approx(np.linalg.norm(local_error(MODEL, START, 0.1)), rel=1e-12)


def test_global_error_reaches_the_last_step_that_fits():
    """0.3 / 0.1 is just below three in floating point."""

    def behind(start, times, learning_rate):
        return np.asarray(times)[:, None] * np.ones(1)

    assert global_error(Quadratic([[0.0]]), [0.0], 0.1, 0.3, flow=behind) == pytest.approx(0.3)


@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-200, 1e-30])
def test_flows_start_at_the_origin(size):
    found = flow(lambda theta: 1 - theta, np.full(2, size), [0.5, 1.0, 30.0])
    np.testing.assert_allclose(found, 1 - np.exp(-np.array([[0.5], [1.0], [30.0]])) * np.ones(2), rtol=1e-11)
    problem = LogisticRegression([[1.0, 2.0], [-1.0, 1.0], [0.5, -1.0]], [0, 1, 1])
    near = gradient_flow(problem, [1e-9, 0.0], 1.0)
    np.testing.assert_allclose(gradient_flow(problem, np.full(2, size), 1.0), near, atol=1e-8)
    assert np.isfinite(local_error(problem, np.full(2, size), 0.1)).all()


def test_a_flow_of_no_time_stays_whatever_its_rate():
    np.testing.assert_allclose(modified_flow(BOWL, CORNER, 0.0, 1e300, order=5), CORNER, rtol=0, atol=1e-14)


def test_noise_differs_without_a_seed():
    noisy = StochasticGradientDescent(0.1, noise_covariance=1.0)
    one, other = (descend(BOWL, noisy, CORNER, steps=2) for _ in range(2))
    assert not np.allclose(one, other)


def test_explicit_regularization_is_descent_on_a_penalised_problem():
    """Gradient descent with mu = -h/4 tracks plain gradient flow to second order."""
    start, errors = [1.6, 1.9], []
    for rate in (8e-3, 4e-3, 2e-3, 1e-3):
        path = descend(GradientPenalty(MODEL, -rate / 4), GradientDescent(rate), start, steps=round(0.4 / rate))
        plain = gradient_flow(MODEL, start, rate * np.arange(1, len(path)))
        errors.append(np.linalg.norm(path[1:] - plain, axis=1).max())
    assert errors == pytest.approx([2.68e-4, 6.50e-5, 1.60e-5, 3.97e-6], rel=5e-3)


def test_descend_runs_any_optimiser():
    path = descend(BOWL, HeavyBall(0.1, 0.5), CORNER, steps=3, previous=CORNER + 1)
    now, before = CORNER, CORNER + 1
    for row in path[1:]:
        now, before = now - 0.1 * BOWL.gradient(now) + 0.5 * (now - before), now
        np.testing.assert_allclose(row, now, rtol=1e-14)
    noisy = StochasticGradientDescent(0.1, noise_covariance=1.0)
    one, other = (descend(BOWL, noisy, CORNER, steps=5, rng=3) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert not np.allclose(one, descend(BOWL, noisy, CORNER, steps=5, rng=4))


def test_real_data_follow_the_flow_along_their_spectrum():
    problem = LeastSquares.from_dataset("diabetes")
    rate = 0.9 / problem.sharpness
    path = descend(problem, GradientDescent(rate), np.zeros(problem.dimension), steps=200)
    exact = modified_flow(problem, path[0], rate * np.arange(201), rate, order=None)
    np.testing.assert_allclose(path, exact, rtol=0, atol=1e-10 * np.abs(path).max())


def test_divergence_is_an_error_not_a_nan(monkeypatch):
    with pytest.raises(ArithmeticError, match="the iterates diverge: step 4 exceeds"):
        descend(MODEL, GradientDescent(1.0), [20.0, 30.0], steps=100)
    with pytest.raises(ArithmeticError, match=r"the flow cannot be followed to time 3: near (1|0.99999\d*) "):
        flow(lambda theta: theta**2, [1.0], times=3.0)
    with pytest.raises(ArithmeticError, match="near 0.4.* it leaves the range in which the field is finite"):
        flow(lambda theta: np.where(theta > 1.5, np.nan, 1.0), [1.0], times=3.0)
    monkeypatch.setattr(flows, "MOST_EVALUATIONS", 1000)
    with pytest.raises(ArithmeticError, match="1000 evaluations do not suffice"):
        flow(lambda theta: -1e6 * theta, [1.0], times=1.0)
    far = Quadratic([[1.0]], minimizer=[-1.7e308])
    with pytest.raises(ArithmeticError, match="the flow of order 1 leaves the floating-point range"):
        modified_flow(far, [1.7e308], 1.0, 0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: modified_flow(BOWL, CORNER, 1.0, 0.5, order=None), r"learning_rate \* sharpness < 1, got .*complex"),
        (lambda: modified_flow(BOWL, CORNER, 1.0, 0.1, order=-1), "order must be a whole number >= 0 or None, got -1"),
        (lambda: modified_flow(BOWL, CORNER, 1.0, 0.1, order=True), "order must be a whole number >= 0 or None"),
        (lambda: modified_flow(MODEL, START, 1.0, 0.1, order=None), "order must be 0, 1 or 2 unless"),
        (lambda: modified_flow(MODEL, START, 1.0, 0.1, order=3), "order must be 0, 1 or 2 unless"),
        (lambda: modified_flow(MODEL, START, 1.0, -0.1), "learning_rate must be non-negative and finite, got -0.1"),
        (lambda: modified_flow(MODEL, START, 1.0, [0.1]), "learning_rate must be one number"),
        (lambda: modified_flow(BOWL, [1.0], 1.0, 0.1), r"start must have shape \(3,\), got \(1,\)"),
        (lambda: gradient_flow(MODEL, START, -1.0), "times must be non-negative and finite, got -1.0"),
        (lambda: gradient_flow(MODEL, START, [1.0, 0.5]), "times must be one time or a strictly increasing vector"),
        (lambda: gradient_flow(MODEL, [[1.0, 2.0]], 1.0), "start must be a non-empty vector"),
        (lambda: modified_flow(Quadratic([[2.0]]), [1.0], 1.0, 0.5, order=None), r"sharpness < 1, got 1:"),
        (lambda: flow(lambda theta: theta * np.nan, [1.0], 1.0), "field must return finite real numbers at the start"),
        (lambda: flow(lambda theta: 1j * theta, [1.0], 1.0), "field must return finite real numbers at the start"),
        (lambda: descend(MODEL, lambda *_: np.ones((1, 1)), START, 1), r"optimiser must return shape \(1, 2\) like"),
        (lambda: local_error(MODEL, START, [0.1]), "learning_rate must be one number"),
        (lambda: flow(lambda theta: np.zeros(3), START, 1.0), r"field must return shape \(2,\) like start, got \(3,\)"),
        (lambda: descend(MODEL, GradientDescent(0.1), START, steps=0), "steps must be a whole number >= 1, got 0"),
        (lambda: descend(MODEL, GradientDescent(0.1), START, 1, previous=[1.0]), r"previous must have shape \(2,\)"),
        (lambda: descend(MODEL, GradientDescent(0.1), [np.nan, 1.0], 1), "start must be finite, got nan"),
        (lambda: local_error(MODEL, START, 0.0), "learning_rate must be positive and finite, got 0.0"),
        (lambda: global_error(MODEL, START, 0.1, 0.0), "duration must be positive and finite, got 0.0"),
        (lambda: global_error(MODEL, START, 0.1, 0.05), "duration must be at least one step of 0.1, got 0.05"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

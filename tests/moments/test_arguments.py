"""Values that no oracle can answer for: each is refused with a ValueError that names the argument."""

from functools import partial

import numpy as np
import pytest
import sympy

from quadlab import derive, dynamics, moments
from quadlab.dynamics import Noise, UpdateRule, parameter

BALL, WEIGHTS = dynamics.heavy_ball(), dynamics.variational_gradient_descent()
SHARED = dynamics.heavy_ball_multiplicative_noise()
OPTIONS = {"eigenvalues": [10.0], "steps": 2, "initial": 1.0, "learning_rate": 1.0, "momentum": 0.5}
HESSIAN = {"hessian": np.eye(2), "learning_rate": 0.5, "momentum": 0.5, "relative_variance": 0.5}
RANGE = "must keep the result within the range of doubles"
X, LEVEL = sympy.Symbol("x"), parameter("level")
INVERSE = UpdateRule("inverse", (X,), (X * sympy.sqrt(1 - LEVEL) / (LEVEL - 1),))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 600}, f"steps, initial {RANGE}"),
        ({"steps": []}, r"steps must be one number, got shape \(0,\)"),
        ({"order": np.array([2, 4])}, "order must be 2 or 4"),
        ({"initial": X}, "initial must be numbers, got x"),
        ({"initial": 1e200}, f"initial {RANGE}"),
        ({"momentum": X}, "momentum must be numbers, got x"),
        ({"curvature": 1.0}, "the curvature is given by eigenvalues"),
        ({"eigenvalues": [1e200]}, f"eigenvalues, learning_rate, momentum {RANGE}"),
    ],
)
def test_propagated_moments_are_finite_or_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        moments.propagate(BALL, **{**OPTIONS, **changed})


@pytest.mark.parametrize("level", [1.0, 2.0])
def test_a_step_without_a_real_value_is_refused(level):
    with pytest.raises(ValueError, match=f"level {RANGE}"):
        moments.second_moment_operator(INVERSE, level=level)


def test_deviations_and_stationary_moments_are_finite_or_refused():
    with pytest.raises(ValueError, match=f"steps, initial {RANGE}"):
        moments.loss_deviation(BALL, **{**OPTIONS, "steps": 200})
    with pytest.raises(ValueError, match="eigenvalues must be given for the loss of heavy ball, got None"):
        moments.loss_deviation(BALL, **{**OPTIONS, "eigenvalues": None})
    with pytest.raises(ValueError, match=f"eigenvalues, learning_rate, noise_variance, samples {RANGE}"):
        moments.stationary_covariance(WEIGHTS, eigenvalues=[19.999], learning_rate=0.1, noise_variance=1e308, samples=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hessian": 1e200 * np.eye(2)}, f"hessian, learning_rate, momentum, relative_variance {RANGE}"),
        ({"hessian": [[1e-10, 5e-11], [0.0, 1e-10]]}, "hessian must be a symmetric matrix"),
        ({"momentum": X}, "momentum must be numbers, got x"),
    ],
)
def test_moments_on_a_hessian_are_finite_or_refused(options, message):
    with pytest.raises(ValueError, match=message):
        moments.spectral_radius(moments.fourth_moment_operator(SHARED, **{**HESSIAN, **options}))


def test_unstable_moments_on_a_hessian_are_refused_when_they_overflow():
    operator = moments.second_moment_operator(SHARED, **{**HESSIAN, "learning_rate": 100.0})
    with pytest.raises(ValueError, match=f"second, steps {RANGE}"):
        operator.propagate(np.eye(4), 200)
    with pytest.raises(ValueError, match="steps must be a whole number >= 0, got -1"):
        operator.propagate(np.eye(4), -1)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (moments.noise_points, (WEIGHTS, {}), "values must give samples, which epsilon_mean depends on"),
        (moments.noise_points, (WEIGHTS, None), "values must be a mapping from names to numbers, got None"),
        (moments.noise_points, (WEIGHTS, {"samples": 0}), "samples must be a whole number >= 1, got 0"),
        (moments.noise_points, (WEIGHTS, {"samples": 2}, 7), "degree must be a whole number from 0 to 5, got 7"),
        (moments.spectral_radius, (np.eye(2),), "operator must be a MomentOperator or CoupledMoments"),
        (moments.finite_law, ([[1e-10, 5e-11], [0.0, 1e-10]],), "covariance must be a symmetric matrix"),
        (moments.finite_law, ([[1.0, 2.0], [3.0]],), "covariance must be finite, got rows of unequal length"),
        (moments.enumerate_samples, (None, 2), "points must be finite, got None"),
        (moments.enumerate_samples, ([1.0, -1.0], 2), r"points must have shape \(n, d\) with n, d >= 1, got \(2,\)"),
        (moments.enumerate_samples, (np.eye(2), 1e160), "samples must leave at most 16777216 outcomes of 2 points"),
        (moments.gaussian_quadratic_deviation, ([1.0], np.eye(2), np.eye(2)), r"linear must have shape \(2,\)"),
        (moments.gaussian_quadratic_deviation, ([1.0], [[1.0]], np.eye(2)), r"covariance must have shape \(1, 1\)"),
        (
            moments.gaussian_quadratic_deviation,
            ([0.0, 0.0], [[1.0, 1.0], [0.0, 1.0]], np.eye(2)),
            "quadratic must be a",
        ),
        (moments.gaussian_quadratic_deviation, ([1e200], [[1.0]], [[1.0]]), f"linear, quadratic, covariance {RANGE}"),
        (moments.gaussian_loss_deviation, (1.0, [[1.0]]), r"hessian must be a symmetric matrix, got shape \(\)"),
    ],
)
def test_bad_arguments_of_the_helpers_are_named(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


@pytest.mark.parametrize(
    "call",
    [
        derive.transition_matrix, derive.sharpness_limit, derive.mean_square_limit, derive.stationary_covariance,
        derive.expected_change, derive.second_moment_recursion, moments.second_moment_operator,
        partial(moments.second_moment_operator, hessian=np.eye(1)), moments.stationary_mean,
        partial(moments.noise_points, values={}),
        partial(moments.loss_deviation, eigenvalues=[1.0], steps=1, initial=1.0),
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused(call):
    with pytest.raises(ValueError, match="rule must be an UpdateRule, got None"):
        call(rule=None)


def test_a_singular_covariance_leaves_no_negative_variance():
    """The direction is orthogonal to the only one that varies, up to rounding."""
    axis = np.array([1.0, 3.0, 7.0]) / np.sqrt(59)
    linear = np.cross(axis, [0.1, 0.7, 0.2])
    found = moments.gaussian_quadratic_deviation(linear, np.zeros((3, 3)), np.outer(axis, axis))
    assert 0 <= found < 1e-7


def test_a_rule_without_parameters_has_moments():
    xi = sympy.Symbol("xi", real=True)
    rule = UpdateRule("halved", (X,), (X / 2 + xi,), (Noise(xi),))
    assert moments.stationary_covariance(rule).item() == pytest.approx(4 / 3, rel=1e-15)
    assert moments.propagate(rule, steps=1, initial=2.0).second.item() == pytest.approx(2.0, rel=1e-15)

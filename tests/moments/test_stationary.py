"""Stationary moments of rules that drift: derived, numeric and run to the end agree with values found by hand."""

import numpy as np
import pytest
import sympy

from quadlab import derive, dynamics, moments
from quadlab.dynamics import Noise, UpdateRule, heavy_ball, parameter

X, BEFORE, XI = sympy.symbols("x before xi", real=True)
CURVATURE, RATE, DECAY, ANCHOR, BIAS = map(parameter, ("curvature", "learning_rate", "decay", "anchor", "bias"))
MOMENTUM = parameter("momentum")
SLOPE = RATE * (CURVATURE * X - BIAS)

DRIFTING = [
    pytest.param(
        UpdateRule("shrunk about -c", (X,), ((1 - DECAY) * (X + ANCHOR) - ANCHOR - RATE * (CURVATURE * X + XI),),
                   (Noise(XI),)),
        {"learning_rate": 0.5, "decay": 0.2, "anchor": 2.0}, -4 / 7, 25 / 91,
        id="weights shrink towards another point",
    ),
    pytest.param(
        UpdateRule("anchored", (X,), (X - RATE * (CURVATURE * X + DECAY * (X - ANCHOR) + XI),), (Noise(XI),)),
        {"learning_rate": 0.5, "decay": 0.2, "anchor": 3.0}, 1 / 2, 25 / 84,
        id="decay towards an anchor",
    ),
    pytest.param(
        UpdateRule("drifting heavy ball", (X, BEFORE), (X - SLOPE + MOMENTUM * (X - BEFORE), X)),
        {"learning_rate": 0.5, "momentum": 0.5, "bias": 0.5}, 1 / 2, 0.0,
        id="heavy ball without noise",
    ),
    pytest.param(
        UpdateRule("biased descent", (X,), (X - SLOPE,)), {"learning_rate": 0.5, "bias": 1.0}, 1.0, 0.0,
        id="descent with a biased gradient",
    ),
    pytest.param(  # variance v: v = v / 4 + E[((x + 1) / 5)^2] = v / 4 + (v + 4) / 25
        UpdateRule("mixed", (X,), (X - SLOPE + (X + 1) * XI / 5,), (Noise(XI),)),
        {"learning_rate": 0.5, "bias": 1.0}, 1.0, 16 / 71,
        id="one noise added and multiplied",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "values", "mean", "variance"), DRIFTING)
def test_stationary_moments_know_the_mean(rule, values, mean, variance):
    by_hand = {"mean": mean, "covariance": variance, "second_moment": variance + mean**2}
    at = {parameter(name): sympy.nsimplify(value) for name, value in {**values, "curvature": 1.0}.items()}
    for kind, expected in by_hand.items():
        derived = getattr(derive, f"stationary_{kind}")(rule).subs(at)
        numeric = getattr(moments, f"stationary_{kind}")(rule, eigenvalues=[1.0], **values)
        assert float(derived[0, 0]) == pytest.approx(expected, rel=1e-14)
        assert numeric.flat[0] == pytest.approx(expected, rel=1e-14)
        # without noise the state variables of the heavy ball are one and the same
        np.testing.assert_allclose(np.array(derived, dtype=float).ravel(), numeric.ravel(), rtol=1e-14)
    after = moments.propagate(rule, eigenvalues=[1.0], steps=400, initial=0.0, **values)
    assert after.second[0, 0, 0] == pytest.approx(by_hand["second_moment"], rel=1e-12)


@pytest.mark.parametrize(("rule", "values", "mean", "variance"), DRIFTING)
def test_the_second_moment_recursion_carries_the_mean(rule, values, mean, variance):
    matrix, offset = derive.second_moment_recursion(rule)
    at = {parameter(name): sympy.nsimplify(value) for name, value in {**values, "curvature": 1.0}.items()}
    before = dict(zip(rule.state, sympy.Rational(3, 2) * sympy.ones(len(rule.state), 1), strict=True))
    start = sympy.Matrix([a * b for k, a in enumerate(before.values()) for b in list(before.values())[k:]])
    derived = (matrix * start + offset.subs(before)).subs(at)
    after = moments.propagate(rule, eigenvalues=[1.0], steps=1, initial=1.5, **values)
    assert float(derived[0]) == pytest.approx(after.second[0, 0, 0], rel=1e-14)


def test_the_loss_of_weights_that_are_normal_off_the_minimiser_deviates_as_the_fourth_moments_say():
    """The anchored rule with the eigenvalue .6 keeps its weights normal."""
    rule, values, *_ = DRIFTING[1].values
    after = moments.propagate(rule, eigenvalues=[0.6], steps=7, initial=0.4, **values)
    mean, variance = after.mean[0, 0], after.second[0, 0, 0] - after.mean[0, 0] ** 2
    exact = moments.gaussian_quadratic_deviation([0.6 * mean], [[0.6]], [[variance]])
    found = moments.loss_deviation(rule, eigenvalues=[0.6], steps=7, initial=0.4, **values)
    assert found == pytest.approx(float(exact), rel=1e-13)


def test_a_state_that_is_never_forgotten_has_no_stationary_moments():
    walk = UpdateRule("walk", (X,), (X + XI,), (Noise(XI),))
    for function in (derive.stationary_mean, derive.stationary_second_moment, derive.stationary_covariance):
        with pytest.raises(ValueError, match="of walk has no stationary value"):
            function(walk)
    growing = UpdateRule("growing", (X,), (X * XI,), (Noise(XI),))
    assert derive.stationary_mean(growing) == sympy.zeros(1)
    with pytest.raises(ValueError, match="the second moment of growing has no stationary value"):
        derive.stationary_covariance(growing)


def test_without_drift_the_second_moment_is_the_covariance():
    values = {"learning_rate": 0.7, "noise_variance": 0.5, "samples": 3}
    rule = dynamics.variational_gradient_descent()
    covariance = moments.stationary_covariance(rule, eigenvalues=[0.4, 2.0], **values)
    np.testing.assert_array_equal(moments.stationary_second_moment(rule, eigenvalues=[0.4, 2.0], **values), covariance)
    assert derive.stationary_second_moment(heavy_ball()) == derive.stationary_covariance(heavy_ball()) == sympy.zeros(2)

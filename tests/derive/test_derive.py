"""Derived limits and moments against numbers found without them."""

import numpy as np
import pytest
import sympy
from scipy.optimize import brentq

from quadlab import derive, dynamics, moments
from quadlab.dynamics import UpdateRule, parameter

VALUES = {"learning_rate": 0.7, "momentum": 0.6, "relative_variance": 0.4, "noise_variance": 0.5, "samples": 3}


def number(expression, **values):
    return float(expression.subs({parameter(name): value for name, value in {**VALUES, **values}.items()}))


def used(rule):
    return {s.name: VALUES[s.name] for s in rule.parameters if s.name != "curvature"}


X, BEFORE = sympy.symbols("x before")
DELAYED = UpdateRule("delayed", (X, BEFORE), (X - parameter("learning_rate") * parameter("curvature") * BEFORE, X))


@pytest.mark.parametrize("rule", [dynamics.gradient_descent(), dynamics.heavy_ball(), dynamics.nesterov(), DELAYED])
def test_sharpness_limit_is_where_the_spectral_radius_is_one(rule):
    matrix = derive.transition_matrix(rule)

    def excess(curvature):
        values = {parameter(name): value for name, value in {**VALUES, "curvature": curvature}.items()}
        return np.abs(np.linalg.eigvals(np.array(matrix.subs(values).tolist(), dtype=float))).max() - 1

    assert number(derive.sharpness_limit(rule)) == pytest.approx(brentq(excess, 0.5, 10), rel=1e-10)


@pytest.mark.parametrize(
    "rule",
    [
        dynamics.sgd_additive_noise(),
        dynamics.sgd_multiplicative_noise(),
        dynamics.heavy_ball_multiplicative_noise(),
        dynamics.variational_gradient_descent(),
    ],
    ids=lambda rule: rule.name,
)
def test_mean_square_limit_is_where_the_moment_operator_has_radius_one(rule):
    def excess(curvature):
        operator = moments.second_moment_operator(rule, eigenvalues=[curvature], **used(rule))
        return moments.spectral_radius(operator) - 1

    assert number(derive.mean_square_limit(rule)) == pytest.approx(brentq(excess, 0.05, 10), rel=1e-10)


@pytest.mark.parametrize("rule", [dynamics.sgd_additive_noise(), dynamics.variational_gradient_descent()])
def test_stationary_covariance_matches_the_numeric_fixed_point(rule):
    exact = moments.stationary_second_moment(rule, eigenvalues=[1.3], **used(rule))
    assert number(derive.stationary_covariance(rule)[0, 0], curvature=1.3) == pytest.approx(exact[0, 0, 0], rel=1e-12)


def test_stationary_covariance_of_two_state_variables_solves_its_recursion():
    x, before, xi = sympy.symbols("x before xi")
    rate, curvature, momentum = map(parameter, ("learning_rate", "curvature", "momentum"))
    rule = UpdateRule(
        "noisy heavy ball",
        (x, before),
        (x - rate * (curvature * x + xi) + momentum * (x - before), x),
        (dynamics.Noise(xi),),
    )
    exact = moments.stationary_second_moment(rule, eigenvalues=[1.1], learning_rate=0.7, momentum=0.6)[0]
    derived = derive.stationary_covariance(rule).applyfunc(lambda entry: number(entry, curvature=1.1))
    np.testing.assert_allclose(np.array(derived, dtype=float).reshape(2, 2), exact, rtol=1e-11)


def test_expected_change_equals_enumeration_over_signs():
    """Three draws of +-s have the rule's variance: the mean change over all eight outcomes."""
    curvature, position, rate, scale = 1.3, 0.7, 0.4, np.sqrt(0.5)
    draws = moments.enumerate_samples(scale * np.array([[1.0], [-1.0]]), 3)[:, 0]
    after = position - rate * curvature * (position + draws)
    exact = np.mean(curvature * (after**2 - position**2) / 2)
    rule = dynamics.variational_gradient_descent()
    change = derive.expected_change(rule).subs(rule.state[0], position)
    assert number(change, curvature=curvature, learning_rate=rate) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("samples", [1, 2, 4])
def test_written_out_samples_change_the_loss_like_their_mean(samples):
    literal = derive.expected_change(dynamics.variational_gradient_descent(samples))
    averaged = derive.expected_change(dynamics.variational_gradient_descent())
    assert sympy.expand(literal - averaged.subs(parameter("samples"), samples)) == 0


def test_the_variational_cubic_is_depressed_with_the_signal_as_linear_term():
    linear, constant = derive.depressed_cubic(derive.descent_polynomial(dynamics.variational_gradient_descent()))
    signal = parameter("samples") * derive.gradient_symbol**2 / parameter("noise_variance")
    assert sympy.simplify(linear - signal) == 0
    assert sympy.simplify(constant + 2 * signal / parameter("learning_rate")) == 0


def test_expectation_refuses_what_is_not_a_polynomial_in_the_noise():
    xi = sympy.Symbol("xi")
    with pytest.raises(ValueError, match="must be a polynomial"):
        derive.expectation(sympy.exp(xi), (dynamics.Noise(xi),))


def test_derivations_refuse_rules_that_are_not_affine():
    rule = dynamics.progressive_sharpening()
    for derivation in (derive.transition_matrix, derive.second_moment_recursion):
        with pytest.raises(ValueError, match="must be affine in its state"):
            derivation(rule)


def test_cubics_with_a_square_term_are_refused():
    u = sympy.Symbol("u")
    with pytest.raises(ValueError, match="no square term"):
        derive.depressed_cubic(sympy.Poly(u**3 + u**2 + 1, u))
    with pytest.raises(ValueError, match="must be a cubic, got degree 2"):
        derive.depressed_cubic(sympy.Poly(u**2 + 1, u))


def test_a_limit_needs_at_most_two_state_variables():
    x, y, z = sympy.symbols("x y z")
    with pytest.raises(ValueError, match="at most two state variables, mine has 3"):
        derive.sharpness_limit(UpdateRule("mine", (x, y, z), (y, z, -parameter("curvature") * x)))


def test_without_noise_the_descent_polynomial_changes_sign_at_two_over_the_learning_rate():
    polynomial = derive.descent_polynomial(dynamics.variational_gradient_descent()).as_expr()
    silent = sympy.Poly(polynomial.subs(parameter("noise_variance"), 0), parameter("curvature"))
    assert set(sympy.roots(silent)) == {2 / parameter("learning_rate")}

"""The product model's closed forms against its own descent, its flow and quadrature."""

from math import pi

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp

from quadlab.theory.modified_loss import (
    product_model_difference_ratio,
    product_model_drift_exponent,
    product_model_flow_limit,
    product_model_noisy_loss,
)

X, Y = 1.3, 0.6


def gradient(point):
    a, b = point
    return X * (X * a * b - Y) * np.array([b, a])


@given(a=st.floats(-3, 3), b=st.floats(-3, 3), rate=st.floats(0, 0.5))
def test_difference_ratio_of_one_step(a, b, rate):
    after = np.array([a, b]) - rate * gradient((a, b))
    ratio = product_model_difference_ratio(X * a * b - Y, rate, X)
    scale = (1 + abs(rate * X * (X * a * b - Y))) ** 2 * (a * a + b * b)
    assert abs(after[0] ** 2 - after[1] ** 2 - ratio * (a * a - b * b)) <= 1e-14 * scale


@pytest.mark.parametrize("start", [(2.8, 3.5), (-1, 0.5), (0.1, -0.3), (0.0, 0.2), (-3.0, -0.01), (0.4, 0.4)])
@pytest.mark.parametrize("sign", [1, -1])
def test_flow_limit_is_where_the_flow_ends(start, sign):
    if start == (0.4, 0.4) and sign < 0:
        start = (0.4, -0.4)

    def field(point):
        return -X * (X * point[0] * point[1] - sign * Y) * point[::-1]

    end = solve_ivp(lambda _, point: field(point), (0, 200), start, "DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
    np.testing.assert_allclose(product_model_flow_limit(start, X, sign * Y), end, rtol=1e-9, atol=1e-9)


def test_flow_limit_special_points():
    np.testing.assert_array_equal(product_model_flow_limit([[0, 0], [2, -2], [3, 0]], 1, 0), [[0, 0], [0, 0], [3, 0]])
    # next to the diagonal of the saddle, and of lengths whose squares leave the range of doubles
    np.testing.assert_array_equal(product_model_flow_limit([[1e-200, 0], [0, -1e-200]], 1, 1), [[1, 1], [-1, -1]])
    np.testing.assert_allclose(product_model_flow_limit([1e250, 1e-250], 1, 1e50), [1e250, 1e-200], rtol=1e-15)
    np.testing.assert_allclose(product_model_flow_limit([4e200, 5e200], 1, 0), [0, 3e200], rtol=1e-15)
    np.testing.assert_allclose(product_model_flow_limit([3e-200, 5e-200], 1, 0), [0, 4e-200], rtol=1e-15)


@pytest.mark.parametrize("start", [(2.8, 3.5), (0.9, 0.52), (0.9, 0.5), (-0.2, 0.4), (3.0, 0.1)])
def test_drift_exponent_of_gradient_descent(start):
    """ln(D_end / D_start) / h of gradient descent, extrapolated to h = 0."""
    drifts = []
    for rate in (2e-3, 1e-3):
        logarithm, point = 0.0, np.array(start)
        while abs(residual := X * point[0] * point[1] - Y) > 1e-13:
            logarithm += np.log1p(-((rate * X * residual) ** 2))
            point = point - rate * gradient(point)
        drifts.append(-logarithm / rate)
    expected = product_model_drift_exponent(start, X, Y)
    np.testing.assert_allclose(2 * drifts[1] - drifts[0], expected, rtol=1e-3)
    assert abs(drifts[1] / expected - 1) < 0.02


@given(a=st.floats(0.1, 3), b=st.floats(-3, 3), x=st.floats(0.2, 2), y=st.floats(-2, 2))
def test_drift_exponent_by_quadrature(a, b, x, y):
    assume(abs(abs(a) - abs(b)) > 1e-3)
    gap, residual = a * a - b * b, a * b * x - y
    expected, _ = quad(
        lambda u: residual**2 * u / np.hypot(gap, 2 * (residual * u + y) / x),
        0,
        1,
        epsabs=1e-15,
        epsrel=1e-12,
        limit=200,
    )
    np.testing.assert_allclose(product_model_drift_exponent((a, b), x, y), expected, rtol=1e-9, atol=1e-14)


def test_drift_exponent_near_a_minimum():
    """There it is r_0^2 / (2 s) to leading order, of which the closed form keeps no digit."""
    a, b = 2.0, 0.3
    for distance in (1e-3, 1e-6, 1e-9):
        target = a * b - distance
        expected = (a * b - target) ** 2 / (2 * (a * a + b * b))
        found = product_model_drift_exponent((a, b), 1.0, target)
        assert found == pytest.approx(expected, rel=distance, abs=0)
    # dyadic numbers, so that the residual is exact, and between the two ways of computing
    for power in (8, 16, 26):
        target = 0.75 - 2.0**-power
        expected, _ = quad(lambda r: r / np.hypot(2.0, 2 * (r + target)), 0, 0.75 - target, epsabs=0, epsrel=1e-13)  # noqa: B023
        assert product_model_drift_exponent((1.5, 0.5), 1.0, target) == pytest.approx(expected, rel=1e-12, abs=0)
    # the second target over 3 is not the double 0.1, but 0.1 times 3 is the second target
    assert product_model_drift_exponent([(2.0, 0.5), (1.0, 0.1)], [1.0, 3.0], [1.0, 0.1 * 3.0]).tolist() == [0, 0]


def test_drift_exponent_of_huge_and_tiny_starts():
    """Lengths scaled by c and the target by c^2 scale the exponent by c^2."""
    expected = product_model_drift_exponent((2.0, 3.0), 1.0, 0.75)
    for scale in (2.0**-400, 2.0**400):
        found = product_model_drift_exponent((2 * scale, 3 * scale), 1.0, 0.75 * scale**2)
        assert found == expected * scale**2


@pytest.mark.parametrize("multiplicative", [False, True])
def test_noisy_loss_by_gauss_hermite(multiplicative):
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    weights = np.outer(weights, weights) / (2 * pi)
    a, b, noise = 1.3, -0.7, 0.4
    scale_a, scale_b = (a, b) if multiplicative else (1, 1)
    losses = (Y - X * (a + noise * scale_a * nodes[:, None]) * (b + noise * scale_b * nodes)) ** 2 / 2
    found = product_model_noisy_loss((a, b), noise, X, Y, multiplicative)
    np.testing.assert_allclose(found, np.sum(weights * losses), rtol=1e-14)

"""Printed values, limits and identities of the stability thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp

from quadlab.theory.stability import (
    gradient_descent_sharpness_limit,
    heavy_ball_sharpness_limit,
    multiplicative_heavy_ball_best_momentum,
    multiplicative_heavy_ball_limit,
    nesterov_sharpness_limit,
    sam_sharpness_edge,
)

EXTREMES = [5e-324, 1e-300, 1e-160, 1e-8, 1.0, 1e8, 1e160, 1e300, 1.7e308]
extremes = st.sampled_from(EXTREMES)
momenta = st.floats(0, 1, exclude_max=True)
moderate = st.floats(1e-6, 1e6)


@pytest.mark.parametrize(
    ("rate", "momentum", "descent", "heavy_ball", "nesterov"),
    [
        (0.1, 0, 20, 20, 20),
        (0.1, 0.9, 20, 38, 13.5714285714286),
        (0.05, 0.5, 40, 60, 30),
        (2, 0.25, 1, 1.25, 0.833333333333333),
    ],
)
def test_deterministic_golden(rate, momentum, descent, heavy_ball, nesterov):
    found = [
        gradient_descent_sharpness_limit(rate),
        heavy_ball_sharpness_limit(rate, momentum),
        nesterov_sharpness_limit(rate, momentum),
    ]
    np.testing.assert_allclose(found, [descent, heavy_ball, nesterov], rtol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "edge"),
    [
        ((1, 0.1, 0.05), 12.3606797749979),
        ((0.01, 0.1, 0.05), 1.90249843945008),
        ((5, 0.02, 0.2), 39.0388203202208),
        ((1, 1, 1), 1),
        ((1e-8, 0.1, 0.05), 0.0019999000025),
        ((1e8, 0.1, 0.05), 19.9999998),
    ],
)
def test_sam_golden(arguments, edge):
    np.testing.assert_allclose(sam_sharpness_edge(*arguments), edge, rtol=1e-14)


@pytest.mark.parametrize(
    ("momentum", "variance", "limit"),
    [
        (0, 1, 1),
        (0.9, 0, 3.8),
        (0.9, 0.1, 1.31034482758621),
        (0.5, 2, 0.428571428571429),
        (0.3, 0.25, 1.77560975609756),
        (0.99, 1e-3, 3.31943286071726),
    ],
)
def test_multiplicative_golden(momentum, variance, limit):
    np.testing.assert_allclose(multiplicative_heavy_ball_limit(momentum, variance), limit, rtol=1e-14)


@pytest.mark.parametrize(
    ("variance", "momentum", "limit"),
    [
        (0.04, 0.666666666666667, 2.77777777777778),
        (0.25, 0.333333333333333, 1.77777777777778),
        (1, 0, 1),
        (4, 0, 0.4),
    ],
)
def test_best_momentum_golden(variance, momentum, limit):
    best = multiplicative_heavy_ball_best_momentum(variance)
    np.testing.assert_allclose([best, multiplicative_heavy_ball_limit(best, variance)], [momentum, limit], rtol=1e-14)


@pytest.mark.parametrize("gradient", [0, 1e-300, 1.0, np.inf])
def test_sam_without_ascent_is_gradient_descent(gradient):
    assert sam_sharpness_edge(gradient, 0.1, 0) == 20


def test_sam_degenerate():
    assert sam_sharpness_edge(0, 0.1, 0.3) == 0
    assert sam_sharpness_edge(np.inf, 0.1, 0.3) == 20


def test_sam_keeps_digits_where_the_printed_form_loses_them():
    np.testing.assert_allclose(sam_sharpness_edge(1, 0.1, 1e-17), 20, rtol=1e-15)


@pytest.mark.parametrize("momentum", [1, 1.5, -0.1])
@pytest.mark.parametrize("limit", [heavy_ball_sharpness_limit, nesterov_sharpness_limit])
def test_momentum_domain(limit, momentum):
    with pytest.raises(ValueError, match=r"^momentum must be in \[0, 1\), got"):
        limit(0.1, momentum)
    with pytest.raises(ValueError, match=r"^momentum must be in \[0, 1\), got"):
        multiplicative_heavy_ball_limit(momentum, 1)


def test_without_noise_no_momentum_is_best():
    with pytest.raises(ValueError, match="relative_variance must be positive and finite, got 0"):
        multiplicative_heavy_ball_best_momentum(0)


@given(g=st.floats(1e-3, 1e3), rate=st.floats(1e-3, 1e3), radius=st.floats(1e-3, 1e3))
def test_sam_edge_solves_the_overshoot_equation(g, rate, radius):
    """At the edge the perturbed step lands on the mirror image of where it began."""
    edge = sam_sharpness_edge(g, rate, radius)
    position = g / edge
    landed = position - rate * edge * (position + radius)
    assert landed == pytest.approx(-position, rel=1e-12, abs=0)


@pytest.mark.parametrize("g", EXTREMES)
@pytest.mark.parametrize("rate", EXTREMES)
def test_sam_extremes(g, rate):
    """The root of r h^2 / g + h = 2 / rho by Newton's method, wherever doubles can hold it; never a warning."""
    for radius in EXTREMES:
        edge = sam_sharpness_edge(g, rate, radius)
        with mp.workdps(700):
            bend, descent = mp.mpf(radius) / mp.mpf(g), 2 / mp.mpf(rate)
            root = min(descent, mp.sqrt(descent / bend))
            for _ in range(12):
                root -= (bend * root**2 + root - descent) / (2 * bend * root + 1)
        np.testing.assert_allclose(edge, float(root), rtol=1e-14, atol=1e-307)


@given(momentum=momenta)
def test_momentum_raises_one_limit_and_lowers_the_other(momentum):
    assert nesterov_sharpness_limit(1, momentum) <= gradient_descent_sharpness_limit(1)
    assert gradient_descent_sharpness_limit(1) <= heavy_ball_sharpness_limit(1, momentum)


@given(momentum=momenta, variance=st.floats(0, 1e6))
def test_multiplicative_limit_is_where_the_operator_has_eigenvalue_one(momentum, variance):
    step = multiplicative_heavy_ball_limit(momentum, variance)
    c = 1 + momentum - step
    operator = np.array([[c**2 + step**2 * variance, -2 * momentum * c, momentum**2], [c, -momentum, 0], [1, 0, 0]])
    terms = np.abs(operator).max() ** 2
    assert abs(np.linalg.det(np.eye(3) - operator)) <= 1e-12 * terms


@given(momentum=momenta)
def test_multiplicative_limit_without_noise_is_heavy_ball(momentum):
    np.testing.assert_allclose(
        multiplicative_heavy_ball_limit(momentum, 0), heavy_ball_sharpness_limit(1, momentum), rtol=1e-15
    )


@given(variance=moderate, other=momenta)
def test_no_momentum_beats_the_best(variance, other):
    best = multiplicative_heavy_ball_best_momentum(variance)
    reached = multiplicative_heavy_ball_limit(best, variance)
    assert multiplicative_heavy_ball_limit(other, variance) <= reached * (1 + 1e-12)
    expected = 4 / (1 + np.sqrt(variance)) ** 2 if variance <= 1 else 2 / (1 + variance)
    np.testing.assert_allclose(reached, expected, rtol=1e-9)


@given(rate=extremes, momentum=momenta, variance=extremes)
def test_extremes_give_no_warning_and_no_nan(rate, momentum, variance):
    found = [
        gradient_descent_sharpness_limit(rate),
        heavy_ball_sharpness_limit(rate, momentum),
        nesterov_sharpness_limit(rate, momentum),
        multiplicative_heavy_ball_limit(momentum, variance),
        multiplicative_heavy_ball_best_momentum(variance),
    ]
    assert all(value >= 0 for value in found)

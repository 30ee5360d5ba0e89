"""Modified eigenvalues against the optimisers themselves, companion matrices, tableaux and series."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import logm
from scipy.special import eval_legendre

from quadlab.theory.modified_loss import (
    equal_loss_observable,
    heavy_ball_modified_eigenvalue,
    modified_eigenvalue,
    principal_flow_coefficient,
    runge_kutta_modified_eigenvalue,
)

# Butcher tableaux of the classical methods: matrix, weights.
TABLEAUX = {
    1: ([[0]], [1]),
    2: ([[0, 0], [1 / 2, 0]], [0, 1]),
    3: ([[0, 0, 0], [1 / 2, 0, 0], [-1, 2, 0]], [1 / 6, 2 / 3, 1 / 6]),
    4: ([[0, 0, 0, 0], [1 / 2, 0, 0, 0], [0, 1 / 2, 0, 0], [0, 0, 1, 0]], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
}
away_from_the_pole = st.floats(-3, 3).filter(lambda z: abs(z - 1) > 1e-6)


@given(z=away_from_the_pole, rate=st.floats(1e-3, 1e3), steps=st.integers(1, 6))
def test_flow_passes_through_every_iterate_of_gradient_descent(z, rate, steps):
    eigenvalue = z / rate
    theta = 1.0
    for _ in range(steps):
        theta -= rate * eigenvalue * theta
    found = np.exp(-steps * rate * modified_eigenvalue(eigenvalue, rate))
    np.testing.assert_allclose(found, theta, rtol=1e-13, atol=1e-13)
    coefficient = principal_flow_coefficient(eigenvalue, rate)
    np.testing.assert_allclose(np.exp(steps * rate * eigenvalue * coefficient), theta, rtol=1e-13, atol=1e-13)


@given(z=away_from_the_pole, rate=st.floats(1e-3, 1e3))
def test_coefficient_is_minus_the_relative_rate(z, rate):
    eigenvalue = z / rate
    expected = -eigenvalue * principal_flow_coefficient(eigenvalue, rate)
    np.testing.assert_allclose(modified_eigenvalue(eigenvalue, rate), expected, rtol=1e-15)


def test_matrix_logarithm():
    half = np.random.default_rng(1).normal(size=(4, 4))
    hessian, rate = half @ half.T, 0.03
    eigenvalues, vectors = np.linalg.eigh(hessian)
    assert rate * eigenvalues[-1] < 1
    generator = vectors * modified_eigenvalue(eigenvalues, rate) @ vectors.T
    np.testing.assert_allclose(generator, -logm(np.eye(4) - rate * hessian) / rate, rtol=1e-12, atol=1e-12)


@given(z=st.floats(0, 0.98), order=st.integers(0, 30))
def test_remainder_of_the_truncation(z, order):
    remainder = modified_eigenvalue(z, 1.0) - modified_eigenvalue(z, 1.0, order)
    bound = z ** (order + 2) / (order + 2)
    assert bound - 1e-14 <= remainder <= bound / (1 - z) + 1e-14


@given(z=st.floats(-5, 8), momentum=st.floats(0, 0.99), rate=st.floats(1e-2, 1e2))
def test_heavy_ball_is_the_dominant_eigenvalue_of_the_companion_matrix(z, momentum, rate):
    multiplier = np.exp(-rate * heavy_ball_modified_eigenvalue(z / rate, rate, momentum))
    companion = np.array([[1 + momentum - z, -momentum], [1, 0]])
    roots = np.linalg.eigvals(companion)
    assert np.imag(multiplier) >= -1e-14
    assert abs(multiplier) == pytest.approx(max(abs(roots)), rel=1e-7, abs=0)
    np.testing.assert_allclose(multiplier**2 - (1 + momentum - z) * multiplier + momentum, 0, atol=1e-13 * (1 + z**2))


def test_heavy_ball_recursion_settles_on_the_rate():
    eigenvalue, rate, momentum = 2.0, 0.1, 0.3
    now, before = 1.0, 1.0
    for _ in range(250):
        now, before = now - rate * eigenvalue * now + momentum * (now - before), now
    found = heavy_ball_modified_eigenvalue(eigenvalue, rate, momentum)
    np.testing.assert_allclose(np.exp(-rate * found), now / before, rtol=1e-14)


@given(z=st.floats(-3, 3), rate=st.floats(1e-3, 1e3), order=st.sampled_from([None, 0, 1, 7]))
def test_heavy_ball_without_momentum_is_gradient_descent(z, rate, order):
    found = heavy_ball_modified_eigenvalue(z / rate, rate, 0, order)
    expected = modified_eigenvalue(z / rate, rate, order)
    assert type(found) is type(expected)
    near_pole = abs(1 - z) < 1e-3 or abs(2 - z) < 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-6 if near_pole else 1e-12, atol=1e-13 / rate)


@pytest.mark.parametrize("momentum", [0.1, 0.5, 0.9])
def test_heavy_ball_series_is_legendre(momentum):
    rate, memory = 0.01, (1 + momentum) / (1 - momentum)
    zeta = 0.8 * (1 - np.sqrt(momentum)) ** 2 / (1 - momentum)
    eigenvalue = zeta * (1 - momentum) / rate
    terms = [zeta**k / k * eval_legendre(k - 1, memory) / rate for k in range(1, 196)]
    for order in (0, 1, 4, 30):
        found = heavy_ball_modified_eigenvalue(eigenvalue, rate, momentum, order)
        np.testing.assert_allclose(found, sum(terms[: order + 1]), rtol=1e-13)
    np.testing.assert_allclose(heavy_ball_modified_eigenvalue(eigenvalue, rate, momentum), sum(terms), rtol=1e-13)


def test_heavy_ball_order_beyond_the_overflow_of_legendre_polynomials():
    """P_k(19) overflows from k = 196; the sum must still converge to the whole series."""
    exact = heavy_ball_modified_eigenvalue(1.0, 1e-3, 0.9)
    np.testing.assert_allclose(heavy_ball_modified_eigenvalue(1.0, 1e-3, 0.9, order=1000), exact, rtol=2e-15)


def test_heavy_ball_zones_join():
    """On each side of (1 -+ sqrt b)^2 the value differs by the square root of the distance, not by a jump."""
    for boundary in ((1 - np.sqrt(0.5)) ** 2, (1 + np.sqrt(0.5)) ** 2):
        below, above = heavy_ball_modified_eigenvalue([boundary - 1e-10, boundary + 1e-10], 1.0, 0.5)
        assert abs(below - above) < 1e-4


@given(z=st.floats(-3, 3), rate=st.floats(1e-2, 1e2), stages=st.sampled_from([1, 2, 3, 4]))
def test_runge_kutta_tableau(z, rate, stages):
    matrix, weights = TABLEAUX[stages]
    slopes = []
    for row in matrix:
        slopes.append(-z * (1 + sum(a * slope for a, slope in zip(row, slopes, strict=False))))
    multiplier = 1 + sum(weight * slope for weight, slope in zip(weights, slopes, strict=True))
    found = runge_kutta_modified_eigenvalue(z / rate, rate, stages)
    np.testing.assert_allclose(np.exp(-rate * found), multiplier, rtol=1e-13, atol=1e-14)
    if abs(multiplier) > 1e-12:
        assert np.iscomplexobj(found) == (multiplier < 0)


@pytest.mark.parametrize(("stages", "coefficient"), [(1, 1 / 2), (2, -1 / 6), (3, 1 / 24), (4, -1 / 120)])
def test_runge_kutta_leading_correction(stages, coefficient):
    z = 1e-2
    found = runge_kutta_modified_eigenvalue(z, 1.0, stages)
    assert (found - z) / z ** (stages + 1) == pytest.approx(coefficient, rel=0.02)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.24])
def test_equal_loss_observable_at_the_iterates_of_gradient_descent(rate):
    eigenvalues, start = np.array([0, 0.1, 1, 4]), np.array([3, 2, 1, -1.5])
    state = start.copy()
    for _ in range(7):
        state = state - rate * eigenvalues * state
        loss = np.sum(eigenvalues * state**2) / 2
        for weights in (eigenvalues**2, np.ones(4), np.array([1, -2, 0, 3])):
            found = equal_loss_observable(eigenvalues, start, weights, loss, rate)
            np.testing.assert_allclose(found, weights @ state**2, rtol=1e-13)


@given(seed=st.integers(0, 10**6), order=st.sampled_from([None, 1, 2, 5]))
def test_larger_rates_leave_a_smaller_gradient_at_equal_loss(seed, order):
    rng = np.random.default_rng(seed)
    eigenvalues, start = np.exp(rng.uniform(-3, 0, 4)), rng.normal(size=4)
    loss = rng.uniform(0.01, 0.9) * (eigenvalues @ start**2) / 2
    rates = np.sort(rng.uniform(0, 0.99 / eigenvalues.max(), 2))
    slopes = [equal_loss_observable(eigenvalues, start, eigenvalues**2, loss, rate, order) for rate in rates]
    states = [equal_loss_observable(eigenvalues, start, np.ones(4), loss, rate, order) for rate in rates]
    assert slopes[1] <= slopes[0] * (1 + 1e-12)
    assert states[1] >= states[0] * (1 - 1e-12)
    itself = equal_loss_observable(eigenvalues, start, eigenvalues / 2, loss, rates[1], order)
    np.testing.assert_allclose(itself, loss, rtol=1e-13)


def test_equal_loss_at_the_start():
    assert equal_loss_observable([1.0, 2.0, 0.0], [1.0, 1.0, 5.0], [1.0, 1.0, 1.0], 1.5, 0.1) == 27


def test_the_time_of_a_tiny_loss_does_not_overflow():
    """Both modes far apart, or a loss far below: the initial loss over the loss leaves the range of doubles."""
    far = equal_loss_observable([1e-200, 1e200], [1, 1], [1, 1], 1e-201, 0)
    np.testing.assert_allclose(far, 0.2, rtol=1e-12)
    tiny = equal_loss_observable([1, 2], [1, 1], [1, 1], 1e-300, 0.1)
    np.testing.assert_allclose(tiny, 2e-300, rtol=1e-9)

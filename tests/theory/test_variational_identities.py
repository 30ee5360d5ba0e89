"""Identities of the variational closed forms, on random and on extreme arguments."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mpmath import mp

from quadlab.theory import variational
from quadlab.theory.stability import sam_sharpness_edge
from quadlab.theory.variational import (
    critical_samples,
    descent_learning_rate_limit,
    descent_probability,
    descent_sharpness_gap,
    descent_sharpness_limit,
    edge_crossing,
    edge_fraction,
    equilibrium_sharpness,
    expected_loss_change,
    noise_ball_radius,
    posterior_optimal_sharpness_limit,
    stationary_edge_probability,
    stationary_variance,
    student_t_variance,
    variational_factor,
)

EXTREMES = [5e-324, 1e-300, 1e-160, 1e-8, 1.0, 1e8, 1e160, 1e300, 1.7e308]
extremes = st.sampled_from(EXTREMES)
wide = st.floats(-150, 150).map(lambda exponent: 10.0**exponent)
moderate = st.floats(1e-3, 1e3)
counts = st.integers(1, 50)
shares = st.floats(1e-3, 0.999)  # rho lambda / 2


@given(signal=wide, rate=wide)
def test_factor_inverts_to_the_dimensionless_signal(signal, rate):
    """zeta = s^3 / (1 - s), with 1 - s taken from the gap."""
    share, gap = variational_factor(signal, rate), descent_sharpness_gap(signal, rate)
    assume(gap > 1e-305)
    found = 3 * np.log(share) - np.log(gap * (rate / 2))
    assert found == pytest.approx(2 * np.log(rate) + np.log(signal) - np.log(4), abs=2e-12)


@given(signal=moderate, rate=moderate)
def test_limit_solves_the_cubic(signal, rate):
    edge = descent_sharpness_limit(signal, rate)
    assert edge**3 / signal + edge == pytest.approx(2 / rate, rel=1e-14, abs=0)


@given(signal=wide, rate=wide)
def test_gap_and_limit_add_up(signal, rate):
    limit, gap = descent_sharpness_limit(signal, rate), descent_sharpness_gap(signal, rate)
    assert limit + gap == pytest.approx(2 / rate, rel=1e-15, abs=0)
    assert limit == pytest.approx(2 / rate * variational_factor(signal, rate), rel=1e-15, abs=0)


@pytest.mark.parametrize("zeta", [1e6, 1e9, 1e12, 1e15, 1e100])
def test_gap_keeps_its_digits(zeta):
    """Fuss-Catalan series of 1 - VF in 1/zeta."""
    series = (1 - (3 - (12 - 55 / zeta) / zeta) / zeta) / zeta
    np.testing.assert_allclose(descent_sharpness_gap(zeta, 2), series, rtol=2e-15)


@pytest.mark.parametrize("zeta", [1e-8, 1e-20, 1e-100, 1e-200])
def test_factor_follows_the_small_signal_series(zeta):
    q = np.cbrt(zeta)
    series = q * (1 - q / 3 * (1 - q**2 / 27 - q**3 / 81))
    np.testing.assert_allclose(variational_factor(zeta, 2), series, rtol=2e-14)


@given(signal=st.floats(5e-324, 1.7e308), rate=st.floats(5e-324, 1.7e308))
def test_factor_stays_between_its_bounds(signal, rate):
    share = variational_factor(signal, rate)
    log_zeta = 2 * np.log(rate) + np.log(signal) - np.log(4)
    upper = min(0.0, log_zeta / 3)
    lower = -np.logaddexp(0, -log_zeta)
    with np.errstate(divide="ignore"):
        assert lower - 1e-12 <= np.log(share) <= upper + 1e-12 or upper < -690
    assert 0 <= share <= 1


@pytest.mark.parametrize(("signal", "rate"), list(product(EXTREMES, EXTREMES)))
def test_limit_at_extreme_arguments(signal, rate):
    """Never a warning; the cubic's root, which a bracket on logarithms finds, wherever doubles can hold it."""
    limit, gap = descent_sharpness_limit(signal, rate), descent_sharpness_gap(signal, rate)
    with mp.workdps(700):
        signal, rate = mp.mpf(float(signal)), mp.mpf(float(rate))
        expected = mp.mpf(2) / rate
        scale = min(expected, mp.cbrt(2 * signal / rate))
        for _ in range(60):  # Newton's method on the convex cubic from above
            scale -= (scale**3 + signal * scale - 2 * signal / rate) / (3 * scale**2 + signal)
        rest = scale**3 / signal
        exponent = float(mp.asinh(3 * mp.sqrt(3 / signal) / rate))
    # sinh(exponent / 3)^2 turns rounding of the exponent, one ulp, and of its third, half an ulp, into relative errors
    rounding = (exponent + 10) * np.finfo(float).eps
    np.testing.assert_allclose(limit, float(scale), rtol=rounding, atol=1e-307)
    np.testing.assert_allclose(gap, float(rest), rtol=rounding, atol=1e-307)


@given(signal=extremes, rate=extremes)
def test_limits_in_the_signal(signal, rate):
    found = [
        function(end, rate)
        for end in (0, np.inf)
        for function in (variational_factor, descent_sharpness_limit, descent_sharpness_gap)
    ]
    descent = 2 / rate if rate > 2e-308 else np.inf
    np.testing.assert_allclose(found, [0, 0, descent, 1, descent, 0], rtol=0, atol=5e-324)


@given(signal=wide, order=st.sampled_from([1, 2, 3]))
def test_edge_fraction_solves_its_equation(signal, order):
    share = edge_fraction(signal, order)
    if share < 0.9:
        assert share**order / (1 - share) == pytest.approx(signal, rel=2e-13, abs=0) or signal < 1e-100
    assert 0 < share <= 1


@given(signal=wide)
def test_edge_fractions_cross_at_no_interior_point(signal):
    """s^p = zeta (1 - s) with s < 1: a higher order has the larger root."""
    first, second, third = (edge_fraction(signal, order) for order in (1, 2, 3))
    assert first <= second * (1 + 1e-13)
    assert second <= third * (1 + 1e-13)


@given(signal=moderate, rate=moderate)
def test_optimal_posterior_solves_the_cubic_with_its_own_variance(signal, rate):
    """Noise variance 1 / (ess * curvature) at the edge: z = w * curvature."""
    edge = posterior_optimal_sharpness_limit(signal, rate)
    assert descent_sharpness_limit(signal * edge, rate) == pytest.approx(edge, rel=1e-13, abs=0)


@given(share=shares, variance=moderate, rate=moderate, samples=counts)
def test_stationarity_returns_the_curvature(share, variance, rate, samples):
    """H(z_stat) = lambda, and on the noise ball the expected change is zero."""
    curvature = 2 * share / rate
    second_moment = stationary_variance(curvature, variance, rate, samples)
    signal = samples * curvature**2 * second_moment / variance
    assert descent_sharpness_limit(signal, rate) == pytest.approx(curvature, rel=1e-12, abs=0)
    radius = noise_ball_radius(curvature, variance, rate, samples)
    assert radius**2 == pytest.approx(second_moment, rel=1e-14, abs=0)
    unit = rate * (curvature * radius) ** 2
    assert expected_loss_change(curvature, curvature * radius, variance, rate, samples) == pytest.approx(
        0, abs=1e-14 * unit
    )


@given(share=shares, variance=moderate, rate=moderate, samples=counts)
def test_stationary_variance_is_the_fixed_point(share, variance, rate, samples):
    curvature = 2 * share / rate
    fixed = stationary_variance(curvature, variance, rate, samples)
    injected = (rate * curvature) ** 2 * variance / samples
    assert (1 - 2 * share) ** 2 * fixed + injected == pytest.approx(fixed, rel=1e-12, abs=0)


@given(share=shares)
def test_two_thirds_of_the_time_the_edge_lies_below_the_curvature(share):
    one_sigma = 0.6826894921370859
    assert stationary_edge_probability(2 * share, 2 * share, 1) == pytest.approx(one_sigma, rel=1e-14, abs=0)


@given(share=st.floats(0.01, 0.99), rate=moderate, samples=counts)
def test_descent_probability_on_the_edge(share, rate, samples):
    """Between 1/2 and 0.6827, symmetric under s <-> 1 - s."""
    found = []
    for s in (share, 1 - share):
        curvature = 2 * s / rate
        # On the edge zeta = s^3 / (1 - s), so k^2 = z / lambda^2 = s / (1 - s).
        found.append(descent_probability(curvature, np.sqrt(s / (1 - s) / samples), 1.0, rate, samples))
    assert found[0] == pytest.approx(found[1], rel=1e-12, abs=0)
    assert 0.5 < found[0] <= 0.6826894921370860


@pytest.mark.parametrize("step", [1e-3, 0.5, 1.9, 2.1, 4.0, 100.0])
@pytest.mark.parametrize("distance", [1e-12, 1e-4, 0.3, 2.0, 12.0])
def test_descent_probability_keeps_its_digits(step, distance):
    with mp.workdps(40):
        k, c = mp.mpf(distance), 2 / mp.mpf(step) - 1
        expected = mp.quad(mp.npdf, mp.linspace(-k, k * c, 12)) if k * c < 50 else (1 + mp.erf(k / mp.sqrt(2))) / 2
    # c itself is rounded: near rho lambda = 2 that costs digits in the tail.
    np.testing.assert_allclose(descent_probability(step, distance, 1, 1, 1), float(expected), rtol=1e-13)


@given(curvature=extremes, mean=extremes, variance=extremes, rate=extremes, samples=counts)
def test_extremes_give_no_warning_and_no_nan(curvature, mean, variance, rate, samples):
    crossing = edge_crossing(variance, rate, samples, mean)
    found = [
        descent_probability(curvature, mean, variance, rate, samples),
        posterior_optimal_sharpness_limit(mean, rate),
        student_t_variance(variance, 3),
        crossing.gradient_norm,
        crossing.sharpness,
        not np.isnan(expected_loss_change(curvature, mean, variance, rate, samples)),
        descent_learning_rate_limit(curvature, mean, variance, samples),
        critical_samples(curvature, mean, variance, rate),
        *(edge_fraction(mean, order) for order in (1, 2, 3)),
    ]
    for function, arguments in [
        (stationary_variance, (curvature, variance, rate, samples)),
        (noise_ball_radius, (curvature, variance, rate, samples)),
        (stationary_edge_probability, (mean, curvature, rate)),
        (equilibrium_sharpness, (curvature, mean, variance, rate, samples)),
    ]:
        try:
            found.append(function(*arguments))
        except ValueError as refused:
            assert "must be below 2" in str(refused)  # noqa: PT017 (only this refusal is allowed)
    assert [value for value in found if not value >= 0] == []


def test_small_arguments_keep_their_digits():
    assert noise_ball_radius(1e-200, 1, 1e-200, 1) == pytest.approx(np.sqrt(0.5) * 1e-200, rel=1e-14, abs=0)
    assert edge_fraction(1e-310, 1) == 1e-310
    assert edge_crossing(1e-300, 1, 1, 1e-200).gradient_norm == pytest.approx(2e-100, rel=1e-14, abs=0)


@given(freedom=st.floats(2.001, 1e6), scale=moderate)
def test_student_t_variance_is_above_the_scale(freedom, scale):
    assert student_t_variance(scale, freedom) * (freedom - 2) == pytest.approx(scale * freedom, rel=1e-13, abs=0)


@given(variance=moderate, rate=moderate, samples=counts, radius=moderate)
def test_edges_cross(variance, rate, samples, radius):
    crossing = edge_crossing(variance, rate, samples, radius)
    gradient = crossing.gradient_norm
    for share, sign in ((0.9, -1), (1.0, 0), (1.1, 1)):
        noisy = descent_sharpness_limit(samples * (share * gradient) ** 2 / variance, rate)
        perturbed = sam_sharpness_edge(share * gradient, rate, radius)
        if sign == 0:
            assert [noisy, perturbed] == pytest.approx([crossing.sharpness] * 2, rel=1e-11, abs=0)
        else:
            assert sign * (noisy / perturbed - 1) > -1e-13


@given(growth=moderate, restoring=moderate, share=st.floats(1e-6, 0.999), rate=moderate, samples=counts)
def test_equilibrium_is_the_edge_at_the_stationary_distance(growth, restoring, share, rate, samples):
    variance = share * 2 * growth / restoring
    sharpness = equilibrium_sharpness(growth, restoring, variance, rate, samples)
    distance_squared = 2 * growth / restoring - variance
    signal = samples * sharpness**2 * distance_squared / variance
    assert descent_sharpness_limit(signal, rate) == pytest.approx(sharpness, rel=1e-11, abs=0)


def test_everything_public_is_exported():
    assert all(hasattr(variational, name) for name in variational.__all__)

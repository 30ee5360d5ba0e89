"""The expected loss change in several directions against enumeration, and what follows from its sign."""

from itertools import product

import numpy as np
import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

from quadlab.theory.variational import (
    critical_samples,
    descent_learning_rate_limit,
    descent_sharpness_limit,
    expected_loss_change,
)

moderate = st.floats(1e-3, 1e3)
counts = st.integers(1, 50)


def directions(size):
    return st.tuples(
        st.lists(st.floats(0.01, 3), min_size=size, max_size=size),
        st.lists(st.floats(-3, 3), min_size=size, max_size=size),
        st.lists(st.floats(0, 3), min_size=size, max_size=size),
    )


@given(data=directions(3), rate=st.floats(0.01, 2), samples=st.integers(1, 4))
def test_change_by_enumeration(data, rate, samples):
    """One direction at a time on all outcomes of +-s draws."""
    total = 0.0
    for curvature, slope, variance in zip(*data, strict=True):
        signs = np.array(list(product((-1, 1), repeat=samples)))
        mean = slope / curvature
        moved = mean - rate * curvature * (mean + np.sqrt(variance) * signs.mean(axis=1))
        total += curvature * (np.mean(moved**2) - mean**2) / 2
    scale = 1 + sum((g / h) ** 2 * h for h, g in zip(*data[:2], strict=True))
    assert expected_loss_change(*data, rate, samples) == pytest.approx(total, abs=1e-12 * scale)


@given(data=directions(2), samples=counts)
def test_change_vanishes_at_the_rate_limit_and_is_least_at_half_of_it(data, samples):
    squared = sum(g**2 for g in data[1])
    assume(squared > 1e-6)
    limit = descent_learning_rate_limit(*data, samples)
    best = expected_loss_change(*data, limit / 2, samples)
    assert expected_loss_change(*data, limit, samples) == pytest.approx(0, abs=1e-14 * limit * squared)
    assert best == pytest.approx(-limit * squared / 4, rel=1e-13, abs=0)
    assert expected_loss_change(*data, limit * 0.49, samples) >= best
    assert expected_loss_change(*data, limit * 0.51, samples) >= best


@given(data=directions(2), rate=st.floats(0.01, 2))
def test_change_has_the_sign_of_the_missing_samples(data, rate):
    needed = critical_samples(*data, rate)
    above, below = (np.floor(needed) + 1, np.floor(needed)) if needed < 1e6 else (1.0, 1.0)
    squared = sum(g**2 for g in data[1])
    assume(squared > 1e-6)
    if np.isinf(needed):
        assert expected_loss_change(*data, rate, 1_000_000) >= -1e-12 * squared
    elif needed < 1e6 and 1e-6 < needed % 1 < 1 - 1e-6:
        assert expected_loss_change(*data, rate, above) < 0
        assert below < 1 or expected_loss_change(*data, rate, below) > 0


@given(z=moderate, rate=moderate, samples=counts)
def test_the_edge_is_where_the_change_turns(z, rate, samples):
    edge = descent_sharpness_limit(z, rate)
    below, above = (expected_loss_change(edge * x, 1.0, samples / z, rate, samples) for x in (0.999, 1.001))
    assert below < 0 < above


def test_scale_of_gradient_and_noise_is_immaterial():
    """Squares of these gradients leave the range of doubles, the limits do not."""
    for scale in (1e-200, 1e-3, 1e150):
        directions = [2.0, 0.5], np.multiply([1.0, -2.0], scale), np.multiply([0.25, 0.04], scale) * scale
        if scale == 1e-200:
            directions = *directions[:2], [0.0, 0.0]
            assert descent_learning_rate_limit(*directions, 4) == pytest.approx(2 * 5 / 4, rel=1e-15, abs=0)
            assert critical_samples(*directions, 0.3) == 0
            continue
        assert descent_learning_rate_limit(*directions, 4) == pytest.approx(2.22160510969175, rel=1e-14, abs=0)
        assert critical_samples(*directions, 0.3) == pytest.approx(0.0683522727272727, rel=1e-14, abs=0)
    assert expected_loss_change(2, 1e200, 0, 0.5, 1) == -np.inf
    assert expected_loss_change(1e-20, 0, 1e-300, 1e160, 1) == pytest.approx(5e-41, rel=1e-14, abs=0)
    assert expected_loss_change(2, 1e200, 0, 1.0, 1) == 0
    assert expected_loss_change(1e110, 0, 0, 1.0, 1) == 0


def test_directions_are_summed_over_the_last_axis():
    rates = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    change = expected_loss_change([1.0, 2.0, 3.0], 1.0, 0.5, rates, 2)
    single = [sum(expected_loss_change(h, 1.0, 0.5, rate, 2) for h in (1.0, 2.0, 3.0)) for rate in rates]
    np.testing.assert_allclose(change, single, rtol=1e-14, atol=1e-15)
    batch = np.ones((4, 1, 3))
    assert expected_loss_change(batch, 1.0, 0.5, rates, 2).shape == (4, 5)
    assert descent_learning_rate_limit(batch, 1.0, 0.5, [1, 2]).shape == (4, 2)
    assert critical_samples([1.0, 2.0], 1.0, 0.5, 0.1).shape == ()
    with pytest.raises(ValueError, match=r"leading axes .* \(4,\), learning_rate \(5,\)"):
        expected_loss_change(np.ones((4, 3)), 1.0, 0.5, rates, 2)
    with pytest.raises(ValueError, match="at least one direction"):
        expected_loss_change([], [], [], 1, 1)


def test_symbols_give_the_polynomial():
    h1, h2, g1, g2, v, rate, samples = symbols = sympy.symbols("h1 h2 g1 g2 v rho N", positive=True)
    change = expected_loss_change([h1, h2], [g1, g2], v, rate, samples)
    noise = rate**2 * v * (h1**3 + h2**3) / (2 * samples)
    expected = -rate * (g1**2 + g2**2) + rate**2 * (h1 * g1**2 + h2 * g2**2) / 2 + noise
    assert sympy.expand(change - expected) == 0
    assert change.free_symbols == set(symbols)

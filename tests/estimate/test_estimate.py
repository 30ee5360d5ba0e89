"""Estimators on sequences whose field or order is known."""

import numpy as np
import pytest
import sympy

from quadlab import derive, estimate
from quadlab.problems import ProductModel
from quadlab.simulate import GradientDescent, descend

STEPS = np.geomspace(1e-3, 8e-3, 9)


@pytest.mark.parametrize("power", [0.5, 1, 2, 5])
def test_an_exact_power_is_found_exactly(power):
    found = estimate.convergence_order(STEPS, 7 * STEPS**power)
    assert found.value == pytest.approx(power, abs=1e-9)
    assert found.high - found.low < 1e-9


@pytest.mark.parametrize("bend", [-20, 1, 20, 60])
def test_the_next_term_of_the_expansion_does_not_bias_the_order(bend):
    errors = STEPS**2 * np.exp(bend * STEPS)
    straight = np.polyfit(np.log(STEPS), np.log(errors), 1)[0]
    found = estimate.convergence_order(STEPS, errors)
    # the slope at the smallest step is 2 + bend * 1e-3
    assert abs(found.value - 2) < max(0.3 * abs(straight - 2), 0.01)
    assert found.low <= 2 + bend * 1e-3 <= found.high


def test_the_interval_covers_at_its_confidence():
    rng = np.random.default_rng(0)
    errors = STEPS**3 * np.exp(0.05 * rng.standard_normal((4000, 9)))
    found = [estimate.convergence_order(STEPS, row, confidence=0.9) for row in errors]
    covered = np.mean([order.low <= 3 <= order.high for order in found])
    assert abs(covered - 0.9) < 5 * np.sqrt(0.09 / 4000)


def test_a_large_limit_is_read_at_the_other_end():
    steps = np.geomspace(10, 1000, 9)
    near_one, near_two = estimate.convergence_order(steps, 1 / steps + 50 / steps**2, limit="large"), 0
    near_two = estimate.convergence_order(steps, 1 / steps + 50 / steps**2, limit="small")
    assert near_one.value > near_two.value
    assert near_one.value == pytest.approx(-1, abs=0.15)


def test_steps_of_any_size_have_an_order():
    for steps in (np.geomspace(1e-300, 1e300, 9), 1 + np.linspace(1e-5, 1e-4, 9)):
        assert estimate.convergence_order(steps, np.sqrt(steps)).value == pytest.approx(0.5, abs=1e-6)


def test_no_error_at_all_has_every_order():
    found = estimate.convergence_order(STEPS, 0 * STEPS)
    assert found.value == found.low == found.high == np.inf


def test_an_order_prints_itself():
    assert str(estimate.convergence_order(STEPS, STEPS)) == "1.0000 in [1.0000, 1.0000]"


@pytest.mark.parametrize(
    ("steps", "errors", "options", "message"),
    [
        (STEPS[:4], STEPS[:4], {}, "steps must be at least 5 distinct numbers"),
        (STEPS[[0, 0, 0, 1, 1, 1]], np.ones(6), {}, "steps must be at least 5 distinct numbers"),
        (-STEPS, STEPS, {}, "steps must be positive and finite"),
        (STEPS, -STEPS, {}, "errors must be non-negative and finite"),
        (STEPS, STEPS[1:], {}, r"errors must have shape \(9,\) like steps, got \(8,\)"),
        (STEPS, STEPS * (STEPS > 0.005), {}, "errors must be positive at every step or zero at every step"),
        (STEPS, STEPS * np.nan, {}, "errors must be non-negative and finite"),
        (STEPS, STEPS, {"limit": "zero"}, "limit must be small or large, got 'zero'"),
        (STEPS, STEPS, {"confidence": 1}, r"confidence must be in \(0, 1\), got 1"),
        (STEPS, STEPS, {"confidence": "high"}, r"confidence must be in \(0, 1\), got 'high'"),
        (STEPS, STEPS, {"limit": STEPS}, "limit must be small or large"),
        ([], [], {}, r"steps must be at least 5 distinct numbers, got \[\]"),
        (sympy.symbols("a:6", positive=True), STEPS[:6], {}, "steps and errors must be numbers"),
        (1 + 1e-9 * STEPS, STEPS, {}, "steps must span at least a factor 1"),
    ],
)
def test_bad_windows_are_refused(steps, errors, options, message):
    with pytest.raises(ValueError, match=message):
        estimate.convergence_order(steps, errors, **options)


def test_the_field_through_iterates_of_the_product_model():
    """Golden values to ten digits, and the symbolic modified equation that they converge to."""
    path = descend(ProductModel(), GradientDescent(1e-3), [2.8, 3.5], steps=6)
    golden = [
        (-32.2, -25.76), (-32.638123523, -26.1627555629), (-32.6515708423, -26.1755652161),
        (-32.6522183278, -26.1761901953), (-32.6522605472, -26.1762312428), (-32.6522640015, -26.1762346167),
    ]  # fmt: skip
    for n, expected in enumerate(golden, 1):
        np.testing.assert_allclose(estimate.modified_vector_field(path[: n + 1], 1e-3), expected, rtol=2e-11)
    a, b = sympy.symbols("a b")
    loss = (sympy.Rational(3, 5) - a * b) ** 2 / 2
    fields = derive.modified_equation([-sympy.diff(loss, a), -sympy.diff(loss, b)], [a, b], 5)
    total = sum((f * sympy.Rational(1, 1000) ** k for k, f in enumerate(fields)), sympy.zeros(2, 1))
    exact = np.array(total.subs({a: 2.8, b: 3.5}), dtype=float).ravel()
    errors = [np.linalg.norm(estimate.modified_vector_field(path[: n + 1], 1e-3) - exact) for n in range(2, 6)]
    assert errors == pytest.approx([1.96e-2, 9.4e-4, 5.3e-5, 5.0e-6], rel=0.3)


def test_on_a_quadratic_it_is_the_logarithm():
    path = 0.9 ** np.arange(13)[:, None]
    assert estimate.modified_vector_field(path, 0.5)[0] == pytest.approx(np.log(0.9) / 0.5, rel=1e-11)


@pytest.mark.parametrize(
    ("iterates", "rate", "message"),
    [
        ([[1.0]], 0.1, r"iterates must have shape \(N \+ 1, P\) with N, P >= 1, got shape \(1, 1\)"),
        ([1.0, 2.0], 0.1, "iterates must have shape"),
        ([[1.0], [np.nan]], 0.1, "iterates must be finite, got nan"),
        ([[1.0], [2.0]], 0.0, "learning_rate must be positive and finite, got 0.0"),
        ([[1.0], [2.0]], [0.1], "learning_rate must be one number"),
        ([[1.0], [2.0]], 1e-320, "learning_rate must keep the field in the range of doubles, got 1e-320"),
        ([[1e308], [-1e308]], 0.1, "iterates must have differences in the range of doubles"),
        ([[sympy.Symbol("y")], [2.0]], 0.1, "iterates must be numbers"),
    ],
)
def test_bad_iterates_are_refused(iterates, rate, message):
    with pytest.raises(ValueError, match=message):
        estimate.modified_vector_field(iterates, rate)

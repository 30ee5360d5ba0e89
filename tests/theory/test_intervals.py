"""Intervals check, draw and print; arguments enter one arithmetic."""

from fractions import Fraction

import flint
import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from quadlab.theory.intervals import (
    Interval,
    admit,
    admit_broadcast,
    extended_non_negative,
    extended_positive,
    momentum_range,
    non_negative,
    positive,
    real,
    refuse,
    require_broadcast,
    whole_positive,
)

inf, nan = np.inf, np.nan
LARGEST = np.finfo(float).max
MEMBERS = {
    positive: ([5e-324, 1, LARGEST], [0, -0.0, -1, inf, nan]),
    non_negative: ([0, -0.0, 1, LARGEST], [-5e-324, inf, nan]),
    extended_non_negative: ([0, 1, inf], [-1, -inf, nan]),
    extended_positive: ([5e-324, inf], [0, -1, nan]),
    real: ([-LARGEST, 0, LARGEST], [inf, -inf, nan]),
    momentum_range: ([0, 0.5, np.nextafter(1, 0)], [1, -1e-300, nan]),
    whole_positive: ([1, 2.0, 1e15], [0, -1, 0.5, 1.5, inf, nan]),
    Interval(0, inf, upper_closed=True, whole=True): ([1, inf], [0, 1.5]),
}


@pytest.mark.parametrize(("interval", "value"), [(i, v) for i, (good, _) in MEMBERS.items() for v in good])
def test_members_pass_as_float64(interval, value):
    checked = interval.check("rate", value)
    assert checked == value
    assert isinstance(checked, np.float64)
    assert not np.signbit(checked) or value < 0
    array = interval.check("rate", [[value, value]])
    assert array.shape == (1, 2)
    assert array.dtype == np.float64


@pytest.mark.parametrize(("interval", "value"), [(i, v) for i, (_, bad) in MEMBERS.items() for v in bad])
def test_others_are_refused_by_name_and_value(interval, value):
    for given_value in (
        value,
        [interval.typical[1], value],
        np.float32(value) if value not in (-5e-324, -1e-300) else value,
    ):
        with pytest.raises(ValueError, match=r"^rate must be ") as caught:
            interval.check("rate", given_value)
        assert str(caught.value).endswith(f"got {float(value) + 0.0!r}")


@pytest.mark.parametrize(
    "value", ["1", b"1", None, 1j, True, [True], [1, None], [1, "2"], np.array([1, True], dtype=object),
        np.array(["1"], dtype=object), {}, object(), 10**400, [[1], [1, 2]], sympy.true],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
@pytest.mark.parametrize("interval", MEMBERS, ids=str)
def test_other_kinds_are_refused(interval, value):
    with pytest.raises(ValueError, match=r"^rate must be .*, got"):
        interval.check("rate", value)


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.float16, np.float32, np.longdouble])
def test_every_numeric_type_becomes_float64(dtype):
    assert positive.check("rate", np.ones(2, dtype=dtype)).dtype == np.float64


def test_input_is_not_modified_or_shared():
    values = np.array([1.0, 2.0])
    checked = positive.check("rate", values)
    checked[0] = 7
    assert values[0] == 1


def test_fractions_and_object_arrays_of_numbers():
    assert positive.check("rate", Fraction(1, 4)) == 0.25
    np.testing.assert_array_equal(positive.check("rate", np.array([1, Fraction(1, 2)], dtype=object)), [1, 0.5])


@pytest.mark.parametrize(
    "value",
    [
        sympy.Symbol("x"), sympy.Symbol("x", positive=True), sympy.Rational(1, 3), sympy.Symbol("x") - 1, sympy.pi,
        flint.arb(1), flint.arb(0, 1),
    ],
)  # fmt: skip
def test_exact_values_pass_unchanged_unless_certainly_outside(value):
    assert positive.check("rate", value) is value


@pytest.mark.parametrize(
    "value",
    [
        sympy.Integer(0), sympy.Integer(-1), sympy.Symbol("x", negative=True), sympy.I, sympy.nan, sympy.oo, sympy.zoo,
        sympy.Symbol("x", imaginary=True), sympy.Symbol("x") > 0, flint.arb(0), flint.arb(-1, 0.5), flint.arb("nan"),
        np.array([sympy.Symbol("x"), -1]), [flint.arb(1), flint.arb(-1)],
    ],
    ids=str,
)  # fmt: skip
def test_exact_values_certainly_outside_are_refused(value):
    with pytest.raises(ValueError, match=r"^rate must be positive and finite, got"):
        positive.check("rate", value)


def test_whole_exact_values():
    for good in (sympy.Integer(3), sympy.Float(3), sympy.Symbol("n"), sympy.Symbol("n", integer=True), flint.arb(3)):
        assert whole_positive.check("samples", good) is good
    for bad in (
        sympy.Rational(5, 2),
        sympy.Float(2.5),
        sympy.Symbol("n", integer=False),
        flint.arb(2.5),
        sympy.pi,
        sympy.sqrt(2) + 0.5,
    ):
        with pytest.raises(ValueError, match="samples must be a whole number >= 1, got"):
            whole_positive.check("samples", bad)


@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("interval", MEMBERS, ids=str)
def test_draws_are_members_of_the_typical_range(interval, seed):
    low, high = interval.typical
    if interval.whole:
        interval, (low, high) = interval.between(1, 9), (1, 9)
    drawn = interval.draw(np.random.default_rng(seed), size=20)
    interval.check("drawn", drawn[drawn > 0] if interval.lower == 0 else drawn)
    assert ((drawn >= low) & (drawn <= high)).all()


def test_draws_spread_over_decades_and_counts():
    rng = np.random.default_rng(0)
    assert np.mean(positive.draw(rng, size=4000) < 1) == pytest.approx(0.5, abs=0.05)
    assert np.mean(real.draw(rng, size=4000) < 0) == pytest.approx(0.5, abs=0.05)
    assert set(whole_positive.between(1, 3).draw(rng, size=200)) == {1, 2, 3}


def test_intervals_print_themselves():
    assert str(momentum_range) == "[0, 1)"
    assert str(whole_positive) == "whole numbers in [1, inf)"
    with pytest.raises(ValueError, match=r"^x must be in \(2, 3\], got 4.0"):
        Interval(2, 3, upper_closed=True).check("x", 4)


def test_admit_keeps_order_and_chooses_one_arithmetic():
    x = sympy.Symbol("x")
    assert admit(a=(2, positive), b=(3.5, positive)) == [2, 3.5]
    exact = admit(a=(2, positive), b=(x, positive), c=([1, 0.5], positive))
    assert exact[:2] == [sympy.Integer(2), x]
    assert list(exact[2]) == [sympy.Integer(1), sympy.Float(0.5)]
    balls = admit(a=(np.int64(2), positive), b=(flint.arb(1), positive), c=(Fraction(1, 3), positive))
    assert all(isinstance(value, flint.arb) for value in balls)
    assert (balls[2] * 3).contains(1)


def test_shapes_must_broadcast():
    require_broadcast(a=np.ones((2, 1)), b=np.ones(3), c=1.0)
    with pytest.raises(ValueError, match=r"^shapes do not broadcast: a \(2,\), b \(3,\)$"):
        admit_broadcast(a=([1, 2], positive), b=([1, 2, 3], positive))


def test_refuse_names_the_first_offender():
    rate = np.array([1.0, 3.0, 4.0])
    refuse(rate > 5, "rate must be at most 5", rate=rate)
    with pytest.raises(ValueError, match=r"^rate must be at most 2, got rate 3.0$"):
        refuse(rate > 2, "rate must be at most 2", rate=rate)
    x = sympy.Symbol("x")
    refuse(x > 2, "x must be at most 2", x=x)
    with pytest.raises(ValueError, match="x must be at most 2, got x 3"):
        refuse(sympy.Integer(3) > 2, "x must be at most 2", x=sympy.Integer(3))
    refuse(flint.arb(2, 1) > 2, "x must be at most 2", x=flint.arb(2, 1))

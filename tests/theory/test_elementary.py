"""The elementary functions on every kind of value they serve."""

import subprocess
import sys

import flint
import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp

from quadlab.theory import elementary
from quadlab.theory.elementary import (
    cbrt,
    erf_between,
    exact_arithmetic,
    greater,
    hypot,
    is_arb,
    is_symbolic,
    maximum,
    quotient,
    where,
)

ONE_ARGUMENT = ["asinh", "cbrt", "cos", "cosh", "erf", "erfc", "exp", "log", "log1p", "sin", "sinh", "sqrt"]
TWO_ARGUMENTS = {
    "hypot": lambda x, y: mp.sqrt(x * x + y * y),
    "maximum": max,
    "quotient": lambda x, y: x / y,
}
x = sympy.Symbol("x", positive=True)
y = sympy.Symbol("y", positive=True)


@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_one_argument_on_every_kind(name):
    function = getattr(elementary, name)
    with mp.workdps(30):
        expected = getattr(mp, name)(mp.mpf(3) / 4)
    assert isinstance(function(0.75), float)
    np.testing.assert_allclose(function(0.75), float(expected), rtol=1e-15)
    np.testing.assert_allclose(function(np.array([[0.75]])), [[float(expected)]], rtol=1e-15)
    symbolic = function(x)
    assert is_symbolic(symbolic)
    assert abs(symbolic.subs(x, sympy.Rational(3, 4)).evalf(25) - sympy.Float(mp.nstr(expected, 28), 25)) < 1e-24
    assert function(flint.arb(0.75)).overlaps(flint.arb(mp.nstr(expected, 25)))
    mixed = function(np.array([x, flint.arb(0.75)], dtype=object))
    assert mixed[0] == symbolic
    assert is_arb(mixed[1])


@pytest.mark.parametrize("name", TWO_ARGUMENTS)
def test_two_arguments_on_every_kind(name):
    function = getattr(elementary, name)
    with mp.workdps(30):
        expected = TWO_ARGUMENTS[name](mp.mpf(3) / 4, mp.mpf(5) / 8)
    assert isinstance(function(0.75, 0.625), float)
    np.testing.assert_allclose(function(0.75, 0.625), float(expected), rtol=1e-14)
    np.testing.assert_allclose(function(np.array([[0.75]]), 0.625), [[float(expected)]], rtol=1e-14)
    symbolic = function(x, y).subs({x: sympy.Rational(3, 4), y: sympy.Rational(5, 8)})
    assert not symbolic.atoms(sympy.Float)
    assert abs(symbolic.evalf(25) - sympy.Float(mp.nstr(expected, 28), 25)) < 1e-24
    assert function(flint.arb(0.75), flint.arb(0.625)).overlaps(flint.arb(mp.nstr(expected, 25)))
    assert list(function(np.array([x, x]), y)) == [function(x, y)] * 2


def test_a_number_next_to_a_symbol_becomes_symbolic():
    assert hypot(1, x) == sympy.sqrt(1 + x**2)
    assert maximum(0, x) == x
    assert greater(x, y) == (x > y)
    assert is_arb(hypot(1, flint.arb(2)))


@given(st.floats(min_value=0), st.floats(min_value=0))
def test_quotient_of_extremes(top, bottom):
    result = quotient(np.float64(top), np.float64(bottom))
    if top == 0 or bottom == np.inf:
        assert result == 0
    elif bottom == 0 or top == np.inf:
        assert result == np.inf
    else:
        assert result * bottom == pytest.approx(top, rel=1e-9, abs=0) or not 1e-300 < result < np.inf or bottom < 1e-300


@pytest.mark.parametrize("number", [sympy.Integer, flint.arb, np.float64])
def test_quotient_conventions(number):
    infinity = {sympy.Integer: sympy.oo}.get(number, number("inf") if number is not sympy.Integer else None)
    assert quotient(number(0), number(0)) == 0
    assert quotient(number(3), number(0)) == infinity
    assert quotient(number(3), infinity) == 0
    assert quotient(infinity, infinity) == 0
    assert quotient(number(3), number(4)) == number(3) / 4


LOWS = [-25.0, -1.0, -1e-9, 0.0, 1e-300, 1e-9, 0.3, 1.0, 5.0, 20.0]


@pytest.mark.parametrize("width", [1e-300, 1e-20, 1e-9, 1e-3, 0.03, 0.3, 1.0, 7.0])
def test_erf_between_keeps_its_digits(width):
    with mp.workdps(1000):
        highs = [mp.mpf(low) + mp.mpf(width) for low in LOWS]
        expected = [mp.erf(high) - mp.erf(mp.mpf(low)) for low, high in zip(LOWS, highs, strict=True)]
        found = erf_between(np.array(LOWS), np.array(highs, dtype=float), width)
        for low, value, exact in zip(LOWS, found, expected, strict=True):
            # exp(-x^2) turns the rounding of x into 2 x^2 as much
            allowed = 4 * np.finfo(float).eps * (1 + 2 * low**2) * max(exact, np.finfo(float).tiny)
            assert abs(value - exact) < allowed


def test_erf_between_on_symbols_and_balls():
    assert erf_between(x, y, y - x) == sympy.erf(y) - sympy.erf(x)
    third = erf_between(flint.arb(1) / 3, flint.arb(1), flint.arb(2) / 3)
    assert third.overlaps(flint.arb(str(sympy.N(sympy.erf(1) - sympy.erf(sympy.Rational(1, 3)), 30))))


def test_hypot_neither_overflows_nor_underflows():
    assert hypot(3e200, 4e200) == pytest.approx(5e200, rel=1e-14, abs=0)
    assert hypot(3e-200, 4e-200) == pytest.approx(5e-200, rel=1e-14, abs=0)


@pytest.mark.parametrize("name", ["sqrt", "cbrt", "sinh", "cosh", "asinh", "exp", "log", "log1p"])
def test_balls_reach_infinity(name):
    assert getattr(elementary, name)(flint.arb("inf")) == np.inf


def test_cube_root_of_a_zero_ball():
    assert cbrt(flint.arb(0)) == 0


def test_where_decides_when_it_can():
    assert where(x > -1, x, y) == x
    assert where(x > y, x, y) == sympy.Piecewise((x, x > y), (y, True))
    assert where(sympy.false, x, 0) is sympy.S.Zero
    assert where(True, 1, 2.5) == 1
    assert isinstance(where(True, 1, 2.5), float)
    assert is_arb(where(False, 1, flint.arb(2)))
    np.testing.assert_array_equal(where(np.array([True, False]), 1, np.array([5.0, 6.0])), [1, 6])
    assert list(where(np.array([True, False]), x, 0)) == [x, 0]
    assert list(where(np.array([x > y, sympy.true]), x, 0)) == [where(x > y, x, 0), x]


def test_exact_arithmetic():
    assert exact_arithmetic(1, 2.5, np.ones(3)) is None
    assert exact_arithmetic(1, x)(2) is sympy.Integer(2)
    assert exact_arithmetic(np.array([1, x]))(2) is sympy.Integer(2)
    third = exact_arithmetic(flint.arb(1))(sympy.Rational(1, 3).p / 3)
    assert third.overlaps(flint.arb(1) / 3)
    with pytest.raises(ValueError, match="do not mix"):
        exact_arithmetic(x, flint.arb(1))


def test_closed_forms_import_numpy_alone():
    heavy = ("scipy", "sympy", "numba", "flint", "matplotlib", "z3")
    program = (
        "import sys; from quadlab.theory import variational, stability; "
        f"variational.descent_sharpness_limit(1.0, 1.0); assert not sys.modules.keys() & {set(heavy)!r}"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_theory_lists_and_loads_its_submodules():
    import quadlab

    assert {"stability", "variational", "elementary"} <= set(dir(quadlab.theory))
    assert quadlab.theory.stability.__name__ == "quadlab.theory.stability"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = quadlab.theory.nonsense


def test_integers_beyond_doubles_and_arguments_beyond_exponents():
    for function in (elementary.exp, elementary.erfc):
        with pytest.raises(ValueError, match="takes numbers in the range of doubles, got an integer beyond 1.79"):
            function(10**400)
    with pytest.raises(ValueError, match="maximum takes numbers in the range"):
        maximum(0.0, -(10**400))
    assert [float(elementary.erfc(sympy.Float(x))) for x in (1e300, -1e300)] == [0, 2]

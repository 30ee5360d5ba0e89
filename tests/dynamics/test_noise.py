"""Moments of a mean of draws, against enumeration of a law whose outcomes can be listed."""

from itertools import product

import numpy as np
import pytest
import sympy

from quadlab.dynamics import Law, Noise, normal, student_t

COIN = Law("fair sign", (sympy.Integer(1),) * 4, "rng.integers(0, 2) * 2.0 - 1.0")


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("order", [0, 1, 2, 3, 4, 6, 8])
def test_moments_of_a_mean_of_signs(count, order):
    outcomes = np.array(list(product([-1.0, 1.0], repeat=count))).mean(axis=1)
    noise = Noise(sympy.Symbol("xi"), COIN, count)
    assert float(noise.moment(order)) == pytest.approx(np.mean(outcomes**order), abs=1e-14)


def test_mean_of_normals_is_normal():
    n = sympy.Symbol("n", positive=True)
    noise = Noise(sympy.Symbol("xi"), normal, n)
    assert [sympy.simplify(noise.moment(k) * n ** (k // 2)) for k in (2, 4, 6, 8)] == [1, 3, 15, 105]


@pytest.mark.parametrize(("degrees", "order"), [(5, 2), (5, 4), (10, 2), (10, 4)])
def test_student_t_moments_by_quadrature(degrees, order):
    a, t = sympy.Symbol("a", positive=True), sympy.Symbol("t", real=True)
    density = (1 + t**2 / degrees) ** (-sympy.Rational(degrees + 1, 2))
    exact = sympy.Integral(t**order * density, (t, 0, sympy.oo)).evalf(15) / sympy.Integral(
        density, (t, 0, sympy.oo)
    ).evalf(15)
    assert float(student_t(a).moment(order).subs(a, degrees)) == pytest.approx(float(exact), rel=1e-10)


def test_a_law_refuses_moments_it_does_not_state():
    with pytest.raises(ValueError, match="moments up to 8, not 10"):
        normal.moment(10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("xi",), "symbol must be a SymPy symbol, got 'xi'"),
        ((sympy.Symbol("xi"), "normal"), "law must be a Law, got 'normal'"),
        ((sympy.Symbol("xi"), normal, 0), "count must be a whole number >= 1, got 0"),
        ((sympy.Symbol("xi"), normal, sympy.Rational(5, 2)), "count must be a whole number >= 1, got 5/2"),
    ],
)
def test_bad_noises_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Noise(*arguments)

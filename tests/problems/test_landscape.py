"""Landscapes: compiled derivatives against high-precision ones, and every expression that is not smooth named."""

import pickle

import mpmath
import numpy as np
import pytest
import sympy

from quadlab.problems import Landscape
from quadlab.problems.landscape import _SMOOTH

A, B = sympy.symbols("a b")


@pytest.mark.parametrize("name", _SMOOTH)
def test_derivatives_of_each_function_to_third_order(name):
    at = 1.3 if name == "acosh" else 0.3
    problem = Landscape(getattr(sympy, name)(A), [A])
    values = [
        problem.loss([[at]]),
        problem.gradient([[at]])[:, 0],
        problem.hessian_product([[at]], [1.0])[:, 0],
        problem.third_derivative_product([[at]], [1.0], [1.0])[:, 0],
    ]
    with mpmath.workdps(40):
        expected = [float(mpmath.diff(getattr(mpmath, name), mpmath.mpf(at), order)) for order in range(4)]
    np.testing.assert_allclose(np.ravel(values), expected, rtol=1e-12)


def test_derivatives_of_a_mixed_expression():
    problem = Landscape(A**3 * B**2, [B, A])
    weights = [3.0, 2.0]
    assert problem.loss(weights) == 72
    np.testing.assert_array_equal(problem.gradient(weights), [48, 108])
    np.testing.assert_array_equal(problem.hessian_product(weights, [1.0, 0.0]), [16, 72])
    np.testing.assert_array_equal(problem.hessian_product(weights, [0.0, 1.0]), [72, 108])
    np.testing.assert_array_equal(problem.third_derivative_product(weights, [1.0, 0.0], [0.0, 1.0]), [24, 72])
    np.testing.assert_array_equal(problem.third_derivative_product(weights, [0.0, 1.0], [0.0, 1.0]), [72, 54])


@pytest.mark.parametrize(
    "symbols",
    [
        sympy.symbols("lambda if"),
        sympy.symbols("x' y-z"),
        sympy.symbols("exp numpy"),
        (sympy.Symbol("x"), sympy.Symbol("x", positive=True)),
        (sympy.Dummy("x"), sympy.Dummy("x")),
    ],
    ids=str,
)
def test_symbols_may_have_any_name(symbols):
    p, q = symbols
    problem = Landscape(sympy.exp(p) * q**2, symbols)
    np.testing.assert_allclose(problem.gradient([0.0, 3.0]), [9, 6], rtol=1e-15)


def test_constants_and_unused_parameters():
    problem = Landscape(sympy.pi * A**2 + 10**30, [A, B])
    np.testing.assert_allclose(problem.gradient([[1.0, 5.0], [2.0, 5.0]]), [[2 * np.pi, 0], [4 * np.pi, 0]])
    constant = Landscape(3, [A])
    np.testing.assert_array_equal(constant.loss([[1.0], [2.0]]), [3, 3])
    np.testing.assert_array_equal(constant.gradient([[1.0], [2.0]]), [[0], [0]])
    assert constant.loss([1.0]).dtype == constant.gradient([1.0]).dtype == np.float64


def test_a_landscape_names_itself_and_pickles():
    problem = Landscape(A * sympy.sin(B), (A, B), name="waves")
    assert repr(problem) == "Landscape('waves': a*sin(b))"
    assert problem.dimension == 2
    assert problem.parameters == (A, B)
    problem.gradient([1.0, 2.0])
    copy = pickle.loads(pickle.dumps(problem))
    assert (copy.name, copy.expression, copy.parameters) == (problem.name, problem.expression, problem.parameters)
    np.testing.assert_array_equal(copy.gradient([1.0, 2.0]), problem.gradient([1.0, 2.0]))


@pytest.mark.parametrize(
    ("loss", "culprit"),
    [
        (sympy.Abs(A) * B, "Abs"),
        (sympy.sqrt(A**2), "Abs"),
        (sympy.sqrt((A - B) ** 2), "Abs"),
        (sympy.Abs(A) ** 3, "Abs"),
        (sympy.Max(A, B), "Max"),
        (sympy.Min(A, 1), "Min"),
        (sympy.Piecewise((A, A > 0), (0, True)), "Piecewise"),
        (sympy.floor(A), "floor"),
        (A * sympy.sign(B), "sign"),
        (sympy.Heaviside(A), "Heaviside"),
        (sympy.Mod(A, 2), "Mod"),
        (sympy.gamma(A), "gamma"),
        (sympy.Function("f")(A), "f"),
        (sympy.Derivative(sympy.Abs(A), A), "Derivative"),
        (sympy.I * A, "ImaginaryUnit"),
        (sympy.oo * A, "Infinity"),
        (float("nan"), "NaN"),
        (sympy.Matrix([A]), "ImmutableDenseMatrix"),
    ],
    ids=str,
)
def test_what_is_not_smooth_is_named(loss, culprit):
    with pytest.raises(ValueError, match=f"^loss must be real and smooth, made of .*; got {culprit} in "):
        Landscape(loss, [A, B])


def test_absolute_values_that_vanish_for_real_parameters_are_smooth():
    np.testing.assert_array_equal(Landscape(sympy.Abs(A) ** 2, [A]).gradient([-3.0]), [-6])
    np.testing.assert_array_equal(Landscape(sympy.conjugate(A), [A]).gradient([-3.0]), [1])


@pytest.mark.parametrize("loss", ["a + b", A > 0, None, [A], True], ids=str)
def test_only_expressions_are_losses(loss):
    with pytest.raises(ValueError, match="^loss must be a SymPy expression, got "):
        Landscape(loss, [A, B])


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (A + sympy.Symbol("d") + sympy.Symbol("c"), "loss must have no symbols but the parameters a, b, got c, d$"),
        (sympy.Symbol("a", real=True), "but the parameters a, b, got a with other assumptions$"),
    ],
    ids=str,
)
def test_symbols_left_over_are_named(loss, message):
    with pytest.raises(ValueError, match=message):
        Landscape(loss, [A, B])


@pytest.mark.parametrize(
    "parameters",
    [[], [A, A], A, "ab", [A, 1], [A + B], None, [sympy.Symbol("a", imaginary=True)]],
    ids=str,
)
def test_parameters_must_be_distinct_real_symbols(parameters):
    with pytest.raises(ValueError, match="^parameters must be distinct real symbols, at least one, got "):
        Landscape(sympy.Integer(1), parameters)


@pytest.mark.parametrize(
    ("loss", "weights", "refused"),
    [
        (sympy.log(A), [-1.0], 4),
        (1 / A, [0.0], 4),
        (sympy.exp(A), [1000.0], 4),
        (A ** sympy.Rational(3, 2), [0.0], 2),
        (A ** sympy.Rational(5, 2), [0.0], 1),
        (A ** sympy.Rational(7, 2), [0.0], 0),
    ],
    ids=str,
)
def test_weights_outside_the_domain_are_refused(loss, weights, refused):
    problem = Landscape(loss, [A], name="edge")
    calls = [
        ("loss", problem.loss, (weights,)),
        ("gradient", problem.gradient, (weights,)),
        ("Hessian product", problem.hessian_product, (weights, [1.0])),
        ("third-derivative product", problem.third_derivative_product, (weights, [1.0], [1.0])),
    ]
    for _, method, arguments in calls[: 4 - refused]:
        assert not np.any(method(*arguments))
    for quantity, method, arguments in calls[4 - refused :]:
        with pytest.raises(ValueError, match=rf"must keep the {quantity} of edge finite, got weights \[.*\]"):
            method(*arguments)


def test_constants_beyond_double_precision_are_refused():
    with pytest.raises(ValueError, match="loss must have constants that double precision holds, got 1000"):
        Landscape(sympy.Integer(10) ** 400 * A, [A]).loss([1.0])

"""Landscapes: compiled derivatives against high-precision ones, and every expression that is not smooth named."""

import pickle

import mpmath
import numpy as np
import pytest
import sympy

from quadlab.problems import Landscape, LogisticRegression
from quadlab.problems.landscape import _SMOOTH

A, B = sympy.symbols("a b")
EPS = np.finfo(float).eps


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


SOFTPLUS, LOGISTIC, TANH = sympy.log(1 + sympy.exp(A)), 1 / (1 + sympy.exp(-A)), sympy.tanh(A)
FAR_OUT = {
    "softplus": SOFTPLUS,
    "softplus of softplus": SOFTPLUS.subs(A, SOFTPLUS),
    "log cosh": sympy.log(sympy.cosh(A)),
    "log of a sum": sympy.log(2 * sympy.exp(3 * A + 1) + sympy.exp(-A) / 3 + sympy.cosh(A) + 5),
    "log of many": sympy.log(sum(sympy.exp(k * A) for k in range(12))),
    "logistic": LOGISTIC,
    "logistic as a quotient": sympy.exp(A) / (1 + sympy.exp(A)),
    "softmax": sympy.exp(2 * A) / (sympy.exp(A) + sympy.exp(2 * A) + sympy.exp(-A)),
    "cross entropy": -sympy.log(LOGISTIC) / 3 - 2 * sympy.log(1 - LOGISTIC) / 3,
    "squared error": (LOGISTIC - 1) ** 2,
    "variance": LOGISTIC * (1 - LOGISTIC),
    "tanh": TANH,
    "tanh as a quotient": sympy.sinh(A) / sympy.cosh(A),
    "tanh in exponentials": (sympy.exp(2 * A) - 1) / (sympy.exp(2 * A) + 1),
    "1 - tanh^2": 1 - TANH**2,
    "log of 1 + tanh": sympy.log(1 + TANH) + sympy.log(1 - TANH),
    "root": 1 / sympy.sqrt(1 + sympy.exp(2 * A)),
    "sums and products": SOFTPLUS * TANH / sympy.cosh(A / 2) + A * LOGISTIC,
}


@pytest.mark.parametrize("expression", FAR_OUT.values(), ids=FAR_OUT)
def test_sums_of_exponentials_keep_all_digits_far_out(expression):
    problem, at = Landscape(expression, [A]), [0.3, -40.0, 40.0, 360.0, -720.0, 800.0]
    weights = np.reshape(at, (-1, 1))
    values = [
        problem.loss(weights),
        problem.gradient(weights)[:, 0],
        problem.hessian_product(weights, [1.0])[:, 0],
        problem.third_derivative_product(weights, [1.0], [1.0])[:, 0],
    ]
    formulas = [sympy.lambdify(A, sympy.diff(expression, A, order), "mpmath") for order in range(4)]
    for place, number in enumerate(at):
        # where 1 is added to e^-|12 a| and taken away again
        with mpmath.workprec(200 + round(12 * abs(number) / np.log(2))):
            expected = [float(formula(mpmath.mpf(number))) for formula in formulas]
        # below the normal numbers each factor is rounded to 2^-1074, and then multiplied by others
        np.testing.assert_allclose([v[place] for v in values], expected, rtol=64 * EPS, atol=1000 * 2.0**-1074)


def test_a_landscape_far_out_is_the_logistic_regression_that_it_states():
    rng = np.random.default_rng(3)
    features, signs = rng.normal(size=(6, 2)).round(3), np.array([1, -1, 1, 1, -1, -1])
    scores = [sign * (row[0] * A + row[1] * B) for row, sign in zip(features, signs.tolist(), strict=True)]
    stated = Landscape(sum(sympy.log(1 + sympy.exp(-score)) for score in scores) / 6, [A, B])
    problem, weights = LogisticRegression(features, signs), [[3e4, -1e5], [-40.0, 30.0], [0.1, 0.2]]
    vector, other = [1.0, -2.0], [0.5, 1.0]
    close = {"rtol": 1e-13, "atol": 1e-16}
    np.testing.assert_allclose(stated.loss(weights), problem.loss(weights), **close)
    np.testing.assert_allclose(stated.gradient(weights), problem.gradient(weights), **close)
    np.testing.assert_allclose(
        stated.third_derivative_product(weights, vector, other),
        problem.third_derivative_product(weights, vector, other),
        **close,
    )


def test_what_overflows_for_good_is_refused():
    problem = Landscape(SOFTPLUS.subs(A, sympy.exp(A)) + LOGISTIC, [A], name="steep")
    assert problem.gradient([-720.0])[0] > 0
    for weights in ([720.0], [1e300]):
        with pytest.raises(ValueError, match="must keep the loss of steep finite, got weights"):
            problem.loss(weights)


def chain(layers):
    weights, value = sympy.symbols(f"w:{layers}"), sympy.Rational(1, 2)
    for weight in weights:
        value = sympy.tanh(weight * value)
    return Landscape((value - 1) ** 2, weights)


@pytest.mark.parametrize("order", range(4))
def test_each_layer_of_a_chain_adds_as_many_lines(order):
    lines = [len(chain(layers)._program(order)[0]) for layers in (2, 4, 6, 8)]
    assert len(set(np.diff(lines))) == 1
    assert lines[0] < lines[1]


def test_the_derivatives_of_a_chain_of_tanh():
    problem, at, vector = chain(8), np.linspace(0.8, 1.4, 8), np.linspace(-1, 1, 8)

    def along(t):
        value = mpmath.mpf(1) / 2
        for weight, slope in zip(at.tolist(), vector.tolist(), strict=True):
            value = mpmath.tanh((weight + t * slope) * value)
        return (value - 1) ** 2

    with mpmath.workdps(60):
        expected = [float(mpmath.diff(along, 0, order)) for order in range(4)]
    values = [
        problem.loss(at),
        problem.gradient(at) @ vector,
        problem.hessian_product(at, vector) @ vector,
        problem.third_derivative_product(at, vector, vector) @ vector,
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-12)


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

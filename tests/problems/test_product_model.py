"""The product model against its SymPy derivatives and the numbers worked by hand."""

import pickle

import numpy as np
import pytest
import sympy

from quadlab.problems import Landscape, ProductModel, hessian_matrix, third_derivative_tensor

START = (2.8, 3.5)
A, B = sympy.symbols("a b")


def test_values_at_the_start_of_figure_one():
    problem = ProductModel()
    assert problem.residual(START) == pytest.approx(9.2, rel=1e-15)
    assert problem.loss(START) == pytest.approx(42.32, rel=1e-15)
    np.testing.assert_allclose(problem.gradient(START), [32.2, 25.76], rtol=1e-15)
    np.testing.assert_allclose(hessian_matrix(problem, START), [[12.25, 19], [19, 7.84]], rtol=1e-15)
    tensor = third_derivative_tensor(problem, START)
    np.testing.assert_allclose(tensor, [[[0, 7], [7, 5.6]], [[7, 5.6], [5.6, 0]]], rtol=1e-15)


@pytest.mark.parametrize(("data_input", "target"), [(1, 0.6), (-2.5, 0.75), (3, -4), (0.5, 0)])
def test_all_derivatives_are_those_of_sympy(data_input, target):
    x, y = sympy.nsimplify(data_input), sympy.nsimplify(target)
    loss = (y - x * A * B) ** 2 / 2
    problem = ProductModel(data_input, target)
    for point in [(1, 2), (-3, sympy.Rational(1, 2)), (0, 5), (0, 0)]:
        weights = [float(value) for value in point]
        at = {A: point[0], B: point[1]}
        gradient = [sympy.diff(loss, p).subs(at) for p in (A, B)]
        hessian = [[sympy.diff(loss, p, q).subs(at) for q in (A, B)] for p in (A, B)]
        tensor = [[[sympy.diff(loss, p, q, r).subs(at) for r in (A, B)] for q in (A, B)] for p in (A, B)]
        tight = {"rtol": 1e-14, "atol": 1e-14}
        np.testing.assert_allclose(problem.loss(weights), float(loss.subs(at)), **tight)
        np.testing.assert_allclose(problem.residual(weights), float((x * A * B - y).subs(at)), **tight)
        np.testing.assert_allclose(problem.gradient(weights), np.array(gradient, float), **tight)
        np.testing.assert_allclose(hessian_matrix(problem, weights), np.array(hessian, float), **tight)
        np.testing.assert_allclose(third_derivative_tensor(problem, weights), np.array(tensor, float), **tight)


def test_the_gradient_is_the_complex_step_derivative():
    problem = ProductModel(1.3, 0.4)

    def loss(a, b):
        return (0.4 - 1.3 * a * b) ** 2 / 2

    step = 1e-30
    expected = [loss(2.8 + 1j * step, 3.5).imag / step, loss(2.8, 3.5 + 1j * step).imag / step]
    np.testing.assert_allclose(problem.gradient(START), expected, rtol=1e-14)


def test_it_equals_its_landscape():
    problem = ProductModel(1.3, 0.4)
    landscape = Landscape((0.4 - 1.3 * A * B) ** 2 / 2, [A, B])
    weights, first, second = np.random.default_rng(0).normal(size=(3, 4, 2))
    for method, arguments in {
        "loss": (weights,),
        "gradient": (weights,),
        "hessian_product": (weights, first),
        "third_derivative_product": (weights, first, second),
    }.items():
        closed, compiled = (getattr(p, method)(*arguments) for p in (problem, landscape))
        np.testing.assert_allclose(closed, compiled, rtol=1e-12, atol=1e-14)


def test_the_minima_form_a_hyperbola_with_sharpness_of_the_squared_norm():
    problem = ProductModel(2.0, 3.0)
    a = np.array([-3.0, 0.5, 1.0, 40.0])
    minima = np.stack([a, 1.5 / a], axis=-1)
    np.testing.assert_allclose(problem.loss(minima), 0, atol=1e-28)
    np.testing.assert_allclose(problem.gradient(minima), 0, atol=1e-13)
    eigenvalues = np.linalg.eigvalsh(hessian_matrix(problem, minima))
    np.testing.assert_allclose(eigenvalues[:, 1], 4 * (minima**2).sum(axis=-1), rtol=1e-13)
    np.testing.assert_allclose(eigenvalues[:, 0], 0, atol=1e-11)


def test_equal_models_are_equal_and_pickle():
    problem = ProductModel(2, 1)
    assert repr(problem) == "ProductModel(data_input=2.0, target=1.0, name='product model')"
    assert pickle.loads(pickle.dumps(problem)) == problem
    assert problem != ProductModel(2.0, 1.5)
    assert ProductModel(name="toy").name == "toy"
    assert problem.dimension == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data_input": 0}, "data_input must be finite and not zero, got 0.0"),
        ({"data_input": -0.0}, "data_input must be finite and not zero, got 0.0"),
        ({"data_input": np.nan}, "data_input must be finite, got nan"),
        ({"data_input": [1.0]}, r"data_input must be a number, got shape \(1,\)"),
        ({"data_input": "1"}, "data_input must be finite, got array"),
        ({"target": np.inf}, "target must be finite, got inf"),
        ({"target": [1.0, 2.0]}, r"target must be a number, got shape \(2,\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ProductModel(**arguments)


def test_overflow_is_named_with_its_weights():
    weights = [[1.0, 2.0], [1e200, 3e200]]
    problem = ProductModel(name="toy")
    got = r"got weights \[1.e\+200 3.e\+200\]"
    for method, quantity in {"loss": "loss", "gradient": "gradient", "residual": "residual"}.items():
        with pytest.raises(ValueError, match=f"^weights must keep the {quantity} of toy finite, {got}$"):
            getattr(problem, method)(weights)
    with pytest.raises(ValueError, match="must keep the gradient of toy finite"):
        problem.gradient([1e300, 1.0])  # its second component alone overflows
    message = rf"^weights and vector must keep the Hessian product of toy finite, {got}, vector \[1. 0.\]$"
    with pytest.raises(ValueError, match=message):
        problem.hessian_product(weights, [1.0, 0.0])
    with pytest.raises(ValueError, match="weights and first and second must keep the third-derivative product of toy"):
        problem.third_derivative_product(weights, [1e200, 0.0], [1.0, 1.0])

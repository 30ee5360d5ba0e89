"""Gradient penalties: the quadratic they make of a quadratic, exact derivatives from SymPy, and any object inside."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import sympy

from quadlab.problems import GradientPenalty, Landscape, ProductModel, Quadratic, hessian_matrix

A, B = sympy.symbols("a b")


@pytest.mark.parametrize("strength", [0.3, 0, -0.1, 25.0])
def test_a_penalised_quadratic_is_the_quadratic_with_a_larger_hessian(strength):
    inner = Quadratic.random([0.5, 1.0, 3.0], rng=1, minimizer=[1.0, -2.0, 0.5], minimum=0.7)
    problem = GradientPenalty(inner, strength)
    hessian = inner.hessian + 2 * strength * inner.hessian @ inner.hessian
    outer = Quadratic(hessian, inner.minimizer, inner.minimum)
    weights, vector = np.random.default_rng(2).normal(size=(2, 4, 3))
    np.testing.assert_allclose(problem.loss(weights), outer.loss(weights), rtol=1e-13)
    np.testing.assert_allclose(problem.gradient(weights), outer.gradient(weights), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        problem.hessian_product(weights, vector), outer.hessian_product(weights, vector), rtol=1e-12, atol=1e-12
    )


def test_the_gradient_of_an_integer_quadratic_is_exact():
    problem = GradientPenalty(Quadratic([[2.0, 1.0], [1.0, 2.0]]), 0.25)
    np.testing.assert_array_equal(problem.gradient([1.0, 2.0]), np.array([[4.5, 3], [3, 4.5]]) @ [1, 2])


@pytest.mark.parametrize("strength", [0.00625, 0.5, -0.25])
def test_the_penalised_product_model_is_its_landscape(strength):
    loss = (sympy.Rational(3, 5) - A * B) ** 2 / 2
    penalised = loss + strength * (sympy.diff(loss, A) ** 2 + sympy.diff(loss, B) ** 2)
    problem, landscape = GradientPenalty(ProductModel(), strength), Landscape(penalised, [A, B])
    weights = np.array([[2.8, 3.5], [-1.0, 0.4], [0.0, 0.0]])
    np.testing.assert_allclose(problem.loss(weights), landscape.loss(weights), rtol=1e-13)
    np.testing.assert_allclose(problem.gradient(weights), landscape.gradient(weights), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(
        hessian_matrix(problem, weights), hessian_matrix(landscape, weights), rtol=1e-12, atol=1e-13
    )


def test_the_modified_loss_of_the_product_model_is_the_loss_times_one_plus_half_h_s():
    learning_rate, weights = 0.025, np.array([2.8, 3.5])
    problem = GradientPenalty(ProductModel(), learning_rate / 4)
    factor = 1 + learning_rate / 2 * (weights**2).sum()
    assert problem.loss(weights) == pytest.approx(42.32 * factor, rel=1e-14)


def test_it_runs_on_any_object_with_the_methods():
    # E = w^4 / 4 by hand: E + s w^6
    power = SimpleNamespace(
        name="quartic",
        dimension=1,
        loss=lambda w: (w**4).sum(axis=-1) / 4,
        gradient=lambda w: w**3,
        hessian_product=lambda w, v: 3 * w**2 * v,
        third_derivative_product=lambda w, u, v: 6 * w * u * v,
    )
    problem = GradientPenalty(power, 0.5)
    assert problem.name == "gradient penalty 0.5 on quartic"
    assert problem.dimension == 1
    assert problem.loss([2.0]) == 4 + 0.5 * 64
    np.testing.assert_array_equal(problem.gradient([2.0]), [8 + 0.5 * 6 * 32])
    np.testing.assert_array_equal(problem.hessian_product([2.0], [1.0]), [12 + 0.5 * 30 * 16])


def test_the_third_derivative_says_what_it_would_need():
    problem = GradientPenalty(ProductModel(), 0.25)
    message = (
        "the third derivative of gradient penalty 0.25 on product model needs the fourth derivative of product model"
    )
    with pytest.raises(NotImplementedError, match=message):
        problem.third_derivative_product([1.0, 2.0], [1.0, 0.0], [0.0, 1.0])
    with pytest.raises(NotImplementedError, match=message):
        GradientPenalty(problem, 1.0).hessian_product([1.0, 2.0], [1.0, 0.0])


def test_equal_penalties_are_equal_and_pickle():
    problem = GradientPenalty(ProductModel(), 1)
    assert pickle.loads(pickle.dumps(problem)) == problem
    assert isinstance(problem.strength, float)


@pytest.mark.parametrize(
    ("problem", "strength", "message"),
    [
        (ProductModel(), np.nan, "strength must be finite, got nan"),
        (ProductModel(), [0.1, 0.2], r"strength must be a number, got shape \(2,\)"),
        (ProductModel(), "0.1", "strength must be finite, got array"),
        (np.cos, 0.1, "problem must have name, dimension, loss, .*, got <ufunc 'cos'> without name"),
        (
            SimpleNamespace(name="x", dimension=1, loss=0, gradient=0, hessian_product=0),
            0.1,
            r"got namespace\(.*\) without third_derivative_product",
        ),
    ],
)
def test_bad_arguments_are_refused(problem, strength, message):
    with pytest.raises(ValueError, match=message):
        GradientPenalty(problem, strength)


def test_overflow_of_the_penalty_is_named():
    with pytest.raises(ValueError, match=r"weights must keep the loss of .* on quadratic finite, got .*e\+200"):
        GradientPenalty(Quadratic.diagonal([1e-100, 1.0]), 1e200).loss([1e200, 1.0])

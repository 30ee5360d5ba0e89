"""Every problem: each derivative is the difference quotient of the one below, on batches as on single weights."""

import numpy as np
import pytest
import sympy

from quadlab.problems import (
    GradientPenalty,
    Landscape,
    LeastSquares,
    LogisticRegression,
    ProductModel,
    Quadratic,
    hessian_matrix,
    third_derivative_tensor,
)

EPS = np.finfo(float).eps
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(9, 3))
A, B, C = sympy.symbols("a b c")
TILTED = Landscape((A * B - 1) ** 2 / 2 + sympy.exp(A) * sympy.sin(C) + sympy.log(1 + B**2 * C**2), [A, B, C])

SMOOTH = {
    "quadratic": Quadratic.random([0.5, 1.0, 4.0], rng=1, minimizer=[1.0, 2.0, 3.0], minimum=0.5),
    "least squares": LeastSquares(FEATURES, RNG.normal(size=9)),
    "product model": ProductModel(data_input=-1.7, target=0.9),
    "logistic regression": LogisticRegression(FEATURES, ["a", "b", "b"] * 3, ridge=0.3),
    "landscape": TILTED,
}
PENALISED = {f"penalised {name}": GradientPenalty(problem, -0.2) for name, problem in SMOOTH.items()}
TWICE = {"penalised twice": GradientPenalty(PENALISED["penalised landscape"], 0.05)}


def by_name(*groups):
    problems = [problem for group in groups for problem in group.items()]
    return pytest.mark.parametrize("problem", [p for _, p in problems], ids=[name for name, _ in problems])


def points(problem, count=3, seed=2):
    return np.random.default_rng(seed).normal(size=(count, problem.dimension))


def derivative_along(function, weights, direction, step=1e-3):
    """Central differences at two steps, extrapolated to an error of fourth order."""

    def quotient(step):
        return (function(weights + step * direction) - function(weights - step * direction)) / (2 * step)

    return (4 * quotient(step / 2) - quotient(step)) / 3


def rounded(problem, weights):
    """The sum of the magnitudes of the terms of a loss, to which its rounding is relative."""
    if isinstance(problem, GradientPenalty):
        penalty = abs(problem.strength) * np.sum(problem.problem.gradient(weights) ** 2)
        return rounded(problem.problem, weights) + penalty
    if isinstance(problem, Landscape):
        values = dict(zip(problem.parameters, weights, strict=True))
        return sum(abs(float(term.subs(values))) for term in problem.expression.args)
    return problem.loss(weights)


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-9 * (1 + np.abs(expected).max()))


@by_name(SMOOTH, PENALISED, TWICE)
def test_gradient_is_the_slope_of_the_loss(problem):
    weights, direction, _ = points(problem)
    assert_close(derivative_along(problem.loss, weights, direction), problem.gradient(weights) @ direction)


@by_name(SMOOTH, PENALISED)
def test_hessian_product_is_the_slope_of_the_gradient(problem):
    weights, direction, _ = points(problem)
    assert_close(derivative_along(problem.gradient, weights, direction), problem.hessian_product(weights, direction))


@by_name(SMOOTH)
def test_third_derivative_product_is_the_slope_of_the_hessian_product(problem):
    weights, vector, direction = points(problem)
    slope = derivative_along(lambda w: problem.hessian_product(w, vector), weights, direction)
    assert_close(slope, problem.third_derivative_product(weights, vector, direction))


@by_name(SMOOTH, PENALISED)
def test_dense_hessians_are_symmetric_and_hold_the_products(problem):
    weights, vector, _ = points(problem)
    hessian = hessian_matrix(problem, weights)
    assert hessian.shape == (problem.dimension,) * 2
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-13 * np.abs(hessian).max())
    np.testing.assert_allclose(hessian @ vector, problem.hessian_product(weights, vector), atol=1e-11)


@by_name(SMOOTH)
def test_dense_third_derivatives_are_symmetric_and_hold_the_products(problem):
    weights, first, second = points(problem)
    tensor = third_derivative_tensor(problem, weights)
    assert tensor.shape == (problem.dimension,) * 3
    for order in [(0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)]:
        np.testing.assert_allclose(tensor, tensor.transpose(order), rtol=0, atol=1e-13 * (1 + np.abs(tensor).max()))
    product = problem.third_derivative_product(weights, first, second)
    np.testing.assert_allclose(np.einsum("ijk,j,k", tensor, first, second), product, atol=1e-11)


@by_name(SMOOTH, PENALISED)
@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (0,)], ids=str)
def test_batches_broadcast_and_equal_their_members(problem, batch):
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(*batch, problem.dimension))
    vector, other = rng.normal(size=(2, 4, 1, 1, problem.dimension))
    losses, gradients = problem.loss(weights), problem.gradient(weights)
    products = problem.hessian_product(weights, vector)
    dense = hessian_matrix(problem, weights)
    assert losses.shape == batch
    assert gradients.shape == weights.shape
    assert products.shape == np.broadcast_shapes(weights.shape, vector.shape)
    assert dense.shape == (*weights.shape, problem.dimension)
    products = np.broadcast_to(products, (4, *(1,) * (2 - len(batch)), *weights.shape))
    for index in np.ndindex(batch):
        member = weights[index]
        assert abs(losses[index] - problem.loss(member)) <= 100 * EPS * rounded(problem, member)
        np.testing.assert_allclose(gradients[index], problem.gradient(member), atol=1e-12)
        np.testing.assert_allclose(dense[index], hessian_matrix(problem, member), atol=1e-12)
        place = (3, *(0,) * (2 - len(batch)), *index)
        np.testing.assert_allclose(products[place], problem.hessian_product(member, vector[3, 0, 0]), atol=1e-12)
    if problem in SMOOTH.values():
        thirds = problem.third_derivative_product(weights, vector, other)
        assert thirds.shape == np.broadcast_shapes(weights.shape, vector.shape)
        tensors = third_derivative_tensor(problem, weights)
        for index in np.ndindex(batch):
            np.testing.assert_allclose(tensors[index], third_derivative_tensor(problem, weights[index]), atol=1e-12)


@by_name(SMOOTH, PENALISED)
def test_results_are_float64(problem):
    ones = [1] * problem.dimension
    results = [problem.loss(ones), problem.gradient(ones), problem.hessian_product(ones, ones)]
    assert [result.dtype for result in results] == [np.float64] * 3
    assert isinstance(results[0], np.float64)


@by_name(SMOOTH, PENALISED)
def test_bad_vectors_are_refused(problem):
    size = problem.dimension
    good, long = np.ones(size), np.ones(size + 1)
    with pytest.raises(ValueError, match=rf"weights must have shape \(\.\.\., {size}\), got shape \({size + 1},\)"):
        problem.loss(long)
    with pytest.raises(ValueError, match=rf"weights must have shape \(\.\.\., {size}\), got shape \(\)"):
        problem.gradient(1.0)
    with pytest.raises(ValueError, match="weights must be finite, got nan"):
        problem.gradient(good * np.nan)
    with pytest.raises(ValueError, match=rf"vector must have shape \(\.\.\., {size}\), got shape \({size + 1},\)"):
        problem.hessian_product(good, long)
    with pytest.raises(ValueError, match="vector must be finite, got inf"):
        problem.hessian_product(good, good * np.inf)
    shapes = rf"shapes do not broadcast: weights \(2, {size}\), vector \(3, {size}\)"
    with pytest.raises(ValueError, match=shapes):
        problem.hessian_product(np.ones((2, size)), np.ones((3, size)))
    with pytest.raises(ValueError, match=rf"second must have shape \(\.\.\., {size}\), got shape \({size + 1},\)"):
        problem.third_derivative_product(good, good, long)
    with pytest.raises(ValueError, match=rf"weights must have shape \(\.\.\., {size}\), got shape \(\)"):
        hessian_matrix(problem, 0.0)
    with pytest.raises(ValueError, match=rf"weights must have shape \(\.\.\., {size}\), got shape \({size + 1},\)"):
        third_derivative_tensor(problem, long)

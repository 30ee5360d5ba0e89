"""Problems at the ends of the floating-point range: the right number where there is one, else an error that says so."""

from fractions import Fraction

import numpy as np
import pytest

from quadlab.problems import (
    GradientPenalty,
    LeastSquares,
    LogisticRegression,
    ProductModel,
    Quadratic,
    hessian_matrix,
)
from quadlab.problems.arrays import weighted_squares

EPS = np.finfo(float).eps


@pytest.mark.parametrize("entry", [1.7e308, 1e308, 1.0, 5e-324])
def test_a_hessian_may_hold_any_finite_number(entry):
    problem = Quadratic([[entry]])
    assert problem.hessian[0, 0] == problem.sharpness == entry
    assert problem.gradient([1.0])[0] == problem.hessian_product([0.0], [1.0])[0] == entry
    assert problem.condition_number == 1
    assert problem.loss([1.0]) == entry / 2


def test_losses_whose_squares_leave_the_range():
    assert Quadratic([[2.0**-1000]]).loss([2.0**900]) == 2.0**799
    assert Quadratic([[2.0**1000]]).loss([2.0**-900]) == 2.0**-801
    # each term from factors at both ends, and a flat direction far away
    problem = Quadratic.diagonal([2.0**100, 2.0**-100, 0.0])
    assert problem.loss([2.0**-550, 2.0**-450, 2.0**1000]) == 2.0**-1000
    assert problem.loss([0.0, 2.0**560, 1e300]) == 2.0**1019
    assert problem.loss([0.0, 0.0, 0.0]) == 0
    assert Quadratic([[1.0, -0.5], [-0.5, 1.0]]).gradient([1.2e308, 1.2e308])[0] == pytest.approx(0.6e308, rel=4 * EPS)


def test_weighted_squares_are_the_sum_in_rational_arithmetic():
    rng = np.random.default_rng(0)
    for _ in range(50):
        vectors, weights = (rng.normal(size=4) * 2.0 ** rng.integers(-400, 400, 4) for _ in range(2))
        exact = [
            Fraction(w) * Fraction(v) ** 2 for v, w in zip(vectors.tolist(), np.abs(weights).tolist(), strict=True)
        ]
        try:
            expected = float(sum(exact))
        except OverflowError:
            expected = np.inf
        np.testing.assert_allclose(weighted_squares(vectors, np.abs(weights)), expected, rtol=4 * EPS, atol=2.0**-1073)


HOSTILE = {
    "quadratic": (Quadratic([[1.0]]), [1e200]),
    "steep quadratic": (Quadratic([[1e308]]), [1e200]),
    "product model": (ProductModel(), [1e200, 1e200]),
    "logistic regression": (LogisticRegression([[1e200, 1.0], [-1e200, 1.0]], [0, 1]), [1e200, 1.0]),
    "penalised": (GradientPenalty(Quadratic([[1.0]]), -1.0), [1e160]),
}


@pytest.mark.parametrize(("problem", "weights"), HOSTILE.values(), ids=HOSTILE)
def test_a_loss_that_overflows_is_refused_with_its_weights(problem, weights):
    with pytest.raises(ValueError, match=r"weights must keep the loss of .* finite, got weights \[.*1\.e\+"):
        problem.loss(weights)


def test_what_a_quadratic_cannot_hold_is_named():
    with pytest.raises(
        ValueError, match=r"hessian must have finite eigenvalues, got larger ones for entries up to 1.5e\+308"
    ):
        Quadratic(np.full((2, 2), 1.5e308))
    with pytest.raises(ValueError, match="hessian must be symmetric to 1e-12 relative"):
        Quadratic([[1.0, 1.7e308], [-1.7e308, 1.0]])
    with pytest.raises(ValueError, match="weights must keep the excess loss of quadratic finite, got weights"):
        Quadratic([[1.0]]).excess_loss([1e200])
    with pytest.raises(ValueError, match="weights and vector must keep the Hessian product of quadratic finite"):
        Quadratic([[1e200]]).hessian_product([1.0], [1e200])
    assert Quadratic.diagonal([1e-308, 1e308]).condition_number == np.inf


@pytest.mark.parametrize("power", [-660, 660])
def test_factors_of_a_product_model_make_up_for_each_other(power):
    size = 2.0**power
    plain, problem = ProductModel(2.0, 0.5), ProductModel(2.0 / size, 0.5)
    assert problem.loss([3.0 * size, 5.0]) == plain.loss([3.0, 5.0])
    np.testing.assert_array_equal(problem.gradient([3.0 * size, 5.0]) * [size, 1], plain.gradient([3.0, 5.0]))
    vector, other = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    scale = [size, 1.0]
    np.testing.assert_array_equal(
        problem.hessian_product([3.0 * size, 5.0], vector * scale) * scale, plain.hessian_product([3.0, 5.0], vector)
    )
    np.testing.assert_array_equal(
        problem.third_derivative_product([3.0 * size, 5.0], vector * scale, other * scale) * scale,
        plain.third_derivative_product([3.0, 5.0], vector, other),
    )


def test_a_small_strength_makes_up_for_a_large_gradient():
    size = 2.0**600
    problem, plain = GradientPenalty(Quadratic([[size]]), 0.25 / size), GradientPenalty(Quadratic([[1.0]]), 0.25)
    assert problem.loss([3.0]) / size == plain.loss([3.0])
    assert problem.gradient([3.0])[0] / size == plain.gradient([3.0])[0]
    assert problem.hessian_product([3.0], [1.0])[0] / size == plain.hessian_product([3.0], [1.0])[0]


@pytest.mark.parametrize("power", [-480, 480])
def test_least_squares_of_data_of_any_size(power):
    rng, size = np.random.default_rng(1), 2.0**power
    features, targets = rng.normal(size=(7, 3)), rng.normal(size=7)
    plain, scaled = LeastSquares(features, targets), LeastSquares(features * size, targets * size)
    np.testing.assert_allclose(scaled.minimizer, plain.minimizer, rtol=1e-13)
    np.testing.assert_allclose(scaled.eigenvalues / size / size, plain.eigenvalues, rtol=1e-13)
    np.testing.assert_allclose(scaled.loss([1.0, 2.0, 3.0]) / size / size, plain.loss([1.0, 2.0, 3.0]), rtol=1e-13)
    assert LeastSquares(features, targets * 2.0**-700).minimizer == pytest.approx(
        plain.minimizer * 2.0**-700, rel=1e-13
    )


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_data_beyond_a_hessian_of_double_precision_are_refused_or_standardized(size):
    features, targets = np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 5.0, 3.0])
    with pytest.raises(ValueError, match="features must have a Hessian .* standardize=True scales them"):
        LeastSquares(features * size, targets)
    standardized = LeastSquares(features * size, targets, standardize=True)
    np.testing.assert_allclose(standardized.features, LeastSquares(features, targets, standardize=True).features)
    with pytest.raises(ValueError, match="targets must have a minimizer and a minimum in the range"):
        LeastSquares(features, targets * 1e200)


def test_means_of_the_largest_numbers():
    wide = np.full((8, 1), 1e154)
    assert LeastSquares(wide, np.zeros(8)).sharpness == pytest.approx(1e308, rel=8 * EPS)
    problem = LogisticRegression(np.full((4, 1), 1.5e308) * [[1], [1], [1], [-1]], [0, 0, 0, 1])
    assert problem.gradient([0.0])[0] == pytest.approx(0.75e308, rel=8 * EPS)
    assert problem.loss([1.0]) == pytest.approx(1.5e308, rel=8 * EPS)


class Unguarded:
    name, dimension = "unguarded", 1

    def hessian_product(self, weights, vector):
        return np.full(np.broadcast_shapes(np.shape(weights), np.shape(vector)), np.nan)


def test_dense_derivatives_of_other_problems_are_never_nan():
    with pytest.raises(ValueError, match="weights must keep the Hessian of unguarded finite, got NaN"):
        hessian_matrix(Unguarded(), [1.0])


DESIGNS = {
    "hours": ([[0], [1], [2], [3], [4], [5]], [1, 1, 5, 5, 9, 9], 1, 1),
    "factorial": ([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], range(8), 3, 3),
    "repeated columns": ([[1, 1], [2, 2], [4, 4]], [1, 2, 3], 1, 1),
    "repeated rows": ([[1, 2], [1, 2], [1, 2], [3, 1]], [1, 2, 3, 4], 2, 1),
    "sum of columns": ([[1, 2, 3], [4, 1, 5], [2, 2, 4], [7, 1, 8]], [1, 2, 3, 4], 2, 2),
    "one row": ([[3, 4]], [5], 1, None),
    "one column": ([[3], [4], [0]], [5, 6, 7], 1, 1),
}


@pytest.mark.parametrize(("features", "targets", "rank", "standardized"), DESIGNS.values(), ids=DESIGNS)
def test_small_designs_have_their_rank_and_solve_the_normal_equations(features, targets, rank, standardized):
    problems = [(LeastSquares(features, targets), rank)]
    if standardized is None:
        with pytest.raises(ValueError, match="features must have a column that varies"):
            LeastSquares(features, targets, standardize=True)
    else:
        problems.append((LeastSquares(features, targets, standardize=True), standardized))
    for problem, expected in problems:
        assert np.count_nonzero(problem.eigenvalues) == expected
        np.testing.assert_allclose(
            problem.features.T @ (problem.features @ problem.minimizer - problem.targets), 0, atol=1e-12
        )
        assert np.linalg.norm(problem.minimizer) <= np.linalg.norm(
            np.linalg.pinv(problem.features) @ problem.targets
        ) * (1 + 1e-12)

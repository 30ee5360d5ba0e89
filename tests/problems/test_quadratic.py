"""Quadratic losses against finite differences, sums over entries and the spectrum they were built from."""

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import sympy

from quadlab.problems import Quadratic
from quadlab.problems.arrays import numbers

SPECTRUM = [0.01, 0.5, 2.0, 2.0, 30.0]


@pytest.fixture
def problem():
    return Quadratic.random(SPECTRUM, rng=3, minimizer=[1.0, -2.0, 0.5, 3.0, 0.0], minimum=0.7)


def test_loss_is_the_double_sum_over_the_hessian(problem):
    weights = np.random.default_rng(0).normal(size=problem.dimension)
    away = weights - problem.minimizer
    expected = 0.7 + sum(
        away[i] * problem.hessian[i, j] * away[j] / 2
        for i in range(problem.dimension)
        for j in range(problem.dimension)
    )
    np.testing.assert_allclose(problem.loss(weights), expected, rtol=1e-13)
    np.testing.assert_allclose(problem.excess_loss(weights), expected - 0.7, rtol=1e-13)


def test_gradient_and_hessian_are_finite_differences_of_the_loss(problem):
    # central differences of a quadratic have no truncation error, so a large step is the accurate one
    weights, steps = np.random.default_rng(1).normal(size=problem.dimension), np.eye(problem.dimension)
    slope = (problem.loss(weights + steps) - problem.loss(weights - steps)) / 2
    np.testing.assert_allclose(problem.gradient(weights), slope, rtol=0, atol=1e-12)
    curvature = (problem.gradient(weights + steps) - problem.gradient(weights - steps)) / 2
    np.testing.assert_allclose(problem.hessian, curvature, rtol=0, atol=1e-13)


def test_the_minimizer_is_stationary_and_attains_the_minimum(problem):
    assert problem.loss(problem.minimizer) == 0.7
    np.testing.assert_array_equal(problem.gradient(problem.minimizer), np.zeros(5))


def test_the_spectrum_is_the_one_asked_for(problem):
    np.testing.assert_allclose(problem.eigenvalues, SPECTRUM, rtol=1e-12)
    np.testing.assert_allclose(
        problem.hessian @ problem.eigenvectors, problem.eigenvectors * problem.eigenvalues, atol=1e-13
    )
    np.testing.assert_allclose(problem.eigenvectors.T @ problem.eigenvectors, np.eye(5), atol=1e-14)
    assert problem.sharpness == pytest.approx(30, rel=1e-13)
    assert problem.condition_number == pytest.approx(3000, rel=1e-12)
    assert problem.dimension == 5


def test_a_diagonal_hessian_keeps_the_order_given_and_exact_eigenvalues():
    problem = Quadratic.diagonal([1.0, 1e-20, 4.0])
    np.testing.assert_array_equal(problem.hessian, np.diag([1.0, 1e-20, 4.0]))
    np.testing.assert_array_equal(problem.eigenvalues, [1e-20, 1.0, 4.0])
    assert problem.condition_number == pytest.approx(4e20, rel=1e-15)


@pytest.mark.parametrize("eigenvalues", [[0.0], [0.0, 3.0]])
def test_a_singular_hessian_has_infinite_condition_number(eigenvalues):
    assert Quadratic.diagonal(eigenvalues).condition_number == np.inf


def test_rounding_does_not_make_eigenvalues_or_excess_losses_negative():
    problem = Quadratic(np.diag([1.0, -1e-13, 2.0]))
    np.testing.assert_array_equal(problem.eigenvalues, [0, 1, 2])
    assert problem.excess_loss([0.0, 1e8, 0.0]) == 0
    factor = np.random.default_rng(5).normal(size=(3, 12))
    problem = Quadratic(factor.T @ factor)
    flat = problem.eigenvectors[:, :9].T * 1e8
    assert problem.eigenvalues[0] >= 0
    assert np.all(problem.excess_loss(flat) >= 0)


def test_random_bases_follow_the_generator_and_are_uniform():
    one, same, other = (Quadratic.random([1.0, 3.0], rng=seed).hessian for seed in (7, np.random.SeedSequence(7), 8))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    # in the plane H_00 = 2 - cos(2 angle): mean 2 and second moment 1/2 about it, for a uniform angle
    rng = np.random.default_rng(0)
    entries = np.array([Quadratic.random([1.0, 3.0], rng).hessian for _ in range(2000)])
    assert abs(entries[:, 0, 0].mean() - 2) < 6 * np.sqrt(0.5 / 2000)
    assert abs(entries[:, 0, 1].mean()) < 6 * np.sqrt(0.5 / 2000)
    assert abs(entries[:, 0, 0].var() - 0.5) < 6 * np.sqrt(0.125 / 2000)


@pytest.mark.parametrize("batch", [(), (1,), (4,), (2, 3), (0,)])
def test_batches_keep_their_shape_and_equal_their_members(problem, batch):
    weights = np.random.default_rng(2).normal(size=(*batch, 5))
    losses, gradients = problem.loss(weights), problem.gradient(weights)
    assert losses.shape == problem.excess_loss(weights).shape == batch
    assert gradients.shape == weights.shape
    for index in np.ndindex(batch):
        np.testing.assert_allclose(losses[index], problem.loss(weights[index]), rtol=1e-14)
        np.testing.assert_allclose(gradients[index], problem.gradient(weights[index]), atol=1e-13)


def test_arrays_are_read_only_copies():
    given, minimizer = np.eye(2), np.zeros(2)
    problem = Quadratic(given, minimizer)
    given[0, 0] = minimizer[0] = 9
    assert problem.hessian[0, 0] == 1
    assert problem.minimizer[0] == 0
    for array in (problem.hessian, problem.minimizer, problem.eigenvalues, problem.eigenvectors):
        assert array.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(FrozenInstanceError):
        problem.minimum = 1.0


def test_symmetric_up_to_rounding_is_accepted_and_made_symmetric():
    problem = Quadratic([[2.0, 1.0], [1.0 + 1e-13, 2.0]])
    np.testing.assert_array_equal(problem.hessian, problem.hessian.T)


def test_pickles(problem):
    copy = pickle.loads(pickle.dumps(problem))
    np.testing.assert_array_equal(copy.hessian, problem.hessian)
    np.testing.assert_array_equal(copy.eigenvalues, problem.eigenvalues)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hessian": [1.0, 2.0]}, r"hessian must be a non-empty matrix, got shape \(2,\)"),
        ({"hessian": np.zeros((0, 0))}, r"hessian must be a non-empty matrix, got shape \(0, 0\)"),
        ({"hessian": np.zeros((2, 3))}, r"hessian must be square, got shape \(2, 3\)"),
        (
            {"hessian": [[1.0, 2.0], [3.0]]},
            r"hessian must have rows of equal length, got \[\[1.0, 2.0\], \[3.0",
        ),
        ({"hessian": [[np.nan]]}, "hessian must be finite, got nan"),
        ({"hessian": [[np.inf]]}, "hessian must be finite, got inf"),
        ({"hessian": [["1"]]}, "hessian must be finite, got array"),
        ({"hessian": [[1j]]}, "hessian must be finite, got array"),
        ({"hessian": [[sympy.Symbol("a")]]}, r"hessian must be finite, got \[\[a\]\]"),
        ({"hessian": None}, "hessian must be finite, got "),
        ({"hessian": [[1.0, 0.1], [0.0, 1.0]]}, "hessian must be symmetric .* differ by 0.1$"),
        ({"hessian": [[1.0, 1e-11], [0.0, 1.0]]}, "hessian must be symmetric .* differ by 1e-11$"),
        (
            {"hessian": [[1.0, 2.0], [2.0, 1.0]]},
            "hessian must be positive semidefinite, got the eigenvalue -1$",
        ),
        ({"hessian": [[-1e-30]]}, "hessian must be positive semidefinite, got the eigenvalue -1e-30"),
        ({"hessian": np.eye(2), "minimizer": [1.0]}, r"minimizer must have shape \(2,\), got shape \(1,\)"),
        (
            {"hessian": np.eye(2), "minimizer": np.eye(2)},
            r"minimizer must be a non-empty vector, .* \(2, 2\)",
        ),
        ({"hessian": np.eye(2), "minimizer": [0.0, np.nan]}, "minimizer must be finite, got nan"),
        ({"hessian": np.eye(2), "minimum": np.inf}, "minimum must be finite, got inf"),
        ({"hessian": np.eye(2), "minimum": [1.0]}, r"minimum must be a number, got shape \(1,\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Quadratic(**arguments)


@pytest.mark.parametrize("build", [Quadratic.diagonal, Quadratic.random])
@pytest.mark.parametrize(
    ("eigenvalues", "message"),
    [
        ([1.0, -0.5], "eigenvalues must be non-negative and finite, got -0.5"),
        ([np.nan], "eigenvalues must be non-negative and finite, got nan"),
        ([], r"eigenvalues must be a non-empty vector, got shape \(0,\)"),
        (2.0, r"eigenvalues must be a non-empty vector, got shape \(\)"),
    ],
)
def test_bad_eigenvalues_are_refused(build, eigenvalues, message):
    with pytest.raises(ValueError, match=message):
        build(eigenvalues)


@pytest.mark.parametrize("method", ["loss", "gradient", "excess_loss"])
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (1.0, r"weights must have shape \(\.\.\., 5\), got shape \(\)"),
        (np.zeros((5, 4)), r"weights must have shape \(\.\.\., 5\), got shape \(5, 4\)"),
        (np.zeros(1), r"weights must have shape \(\.\.\., 5\), got shape \(1,\)"),
        ([0, 0, np.nan, 0, 0], "weights must be finite, got nan"),
        (["a"] * 5, "weights must be finite, got array"),
        ([[1.0], [1.0, 2.0]], "weights must have rows of equal length"),
    ],
)
def test_bad_weights_are_refused(problem, method, weights, message):
    with pytest.raises(ValueError, match=message):
        getattr(problem, method)(weights)


def test_second_and_third_derivatives_are_those_of_a_quadratic_everywhere(problem):
    weights, vector, other = np.random.default_rng(4).normal(size=(3, 2, problem.dimension))
    expected = [[row @ column for column in problem.hessian.T] for row in vector]
    np.testing.assert_allclose(problem.hessian_product(weights, vector), expected, rtol=1e-12)
    np.testing.assert_array_equal(
        problem.hessian_product(1e6 * weights, vector), problem.hessian_product(weights, vector)
    )
    third = problem.third_derivative_product(weights[:, None, :], vector, other)
    assert third.shape == (2, 2, 5)
    assert not third.any()


def test_numbers_takes_exact_numbers_but_no_text():
    np.testing.assert_array_equal(numbers("x", [sympy.Rational(1, 2), 2]), [0.5, 2.0])
    with pytest.raises(ValueError, match="x must be finite"):
        numbers("x", "1.5")

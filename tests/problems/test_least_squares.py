"""Least squares against the sum of squares it stands for, and against scikit-learn's own data."""

import pickle

import numpy as np
import pytest
from sklearn import datasets
from sklearn.linear_model import LinearRegression

from quadlab.problems import LeastSquares, Quadratic

SHAPES = {"breast_cancer": (569, 30), "diabetes": (442, 10), "digits": (1797, 61)}


def random_problem(rows, columns, rng=0, **options):
    rng = np.random.default_rng(rng)
    return LeastSquares(rng.normal(size=(rows, columns)), rng.normal(size=rows), **options)


@pytest.fixture(params=[(20, 4), (4, 4), (5, 12), (1, 3), (6, 1)], ids=str)
def problem(request):
    return random_problem(*request.param)


@pytest.fixture(params=SHAPES)
def dataset(request):
    return LeastSquares.from_dataset(request.param)


def mean_squared_error(problem, weights):
    residuals = [row @ weights - target for row, target in zip(problem.features, problem.targets, strict=True)]
    return sum(residual**2 for residual in residuals) / (2 * len(residuals))


def test_loss_is_half_the_mean_squared_residual(problem):
    weights = np.random.default_rng(1).normal(size=(3, problem.dimension))
    expected = [mean_squared_error(problem, row) for row in weights]
    np.testing.assert_allclose(problem.loss(weights), expected, rtol=1e-12)


def test_gradient_and_hessian_are_finite_differences_of_the_squared_residual(problem):
    weights, steps = np.random.default_rng(2).normal(size=problem.dimension), np.eye(problem.dimension)
    error = np.vectorize(lambda step: mean_squared_error(problem, weights + step), signature="(n)->()")
    np.testing.assert_allclose(problem.gradient(weights), (error(steps) - error(-steps)) / 2, atol=1e-12)
    pairs = steps[:, None] + steps[None, :]
    curvature = error(pairs) - error(steps)[:, None] - error(steps)[None, :] + error(0 * steps[0])
    np.testing.assert_allclose(problem.hessian, curvature, atol=1e-11)


def test_minimizer_is_stationary_and_of_smallest_norm(problem):
    features, residuals = problem.features, problem.features @ problem.minimizer - problem.targets
    np.testing.assert_allclose(features.T @ residuals, 0, atol=1e-12)
    np.testing.assert_allclose(problem.minimizer, np.linalg.pinv(features) @ problem.targets, atol=1e-12)
    # smallest norm: no component that the features cannot see
    visible = features.T @ np.linalg.lstsq(features.T, problem.minimizer)[0]
    np.testing.assert_allclose(visible, problem.minimizer, atol=1e-12)
    assert problem.loss(problem.minimizer) == pytest.approx(np.mean(residuals**2) / 2, abs=1e-28)


def test_spectrum_from_the_features_agrees_with_the_hessian(problem):
    np.testing.assert_allclose(problem.eigenvalues, np.linalg.eigvalsh(problem.hessian), atol=1e-13)
    np.testing.assert_allclose(
        problem.hessian @ problem.eigenvectors, problem.eigenvectors * problem.eigenvalues, atol=1e-13
    )
    np.testing.assert_allclose(problem.eigenvectors.T @ problem.eigenvectors, np.eye(problem.dimension), atol=1e-13)
    assert np.all(np.diff(problem.eigenvalues) >= 0)


def test_more_features_than_rows_leave_exactly_flat_directions():
    problem = random_problem(5, 12)
    assert np.count_nonzero(problem.eigenvalues == 0) == 7
    assert problem.condition_number == np.inf
    assert np.count_nonzero(random_problem(5, 12, standardize=True).eigenvalues == 0) == 8
    assert LeastSquares(np.zeros((2, 2)), [1.0, 2.0]).sharpness == 0


def test_small_eigenvalues_keep_their_digits():
    # 1e-9 squares to 1e-18: the Gram matrix cannot hold it beside 1, the features can
    problem = LeastSquares([[1.0, 1.0], [1e-9, 0.0], [0.0, 1e-9]], np.zeros(3))
    np.testing.assert_allclose(problem.eigenvalues * 3, [1e-18, 2.0], rtol=1e-6)


def test_standardized_features_have_mean_zero_and_variance_one():
    rng = np.random.default_rng(4)
    features = np.column_stack(
        [rng.normal(5, 2, 50), rng.normal(size=50) * 1e200, rng.normal(size=50) * 1e-200, np.full(50, 0.1)]
    )
    problem = LeastSquares(features, rng.normal(9, 1, 50), feature_names="abcd", standardize=True)
    np.testing.assert_allclose(problem.features.mean(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(np.mean(problem.features**2, axis=0), 1, rtol=1e-14)
    assert abs(problem.targets.mean()) < 1e-14
    assert problem.feature_names == ("a", "b", "c")
    assert problem.dropped == ("d",)
    untouched = LeastSquares(features[:, :1], problem.targets + 3)
    np.testing.assert_array_equal(untouched.features, features[:, :1])
    assert untouched.dropped == ()
    assert untouched.feature_names == ("x1",)


def test_dataset_spectra(dataset):
    assert dataset.features.shape == SHAPES[dataset.name]
    assert np.all(dataset.eigenvalues > 0)
    assert np.trace(dataset.hessian) == pytest.approx(dataset.dimension, rel=1e-12)
    assert dataset.eigenvalues.sum() == pytest.approx(dataset.dimension, rel=1e-12)
    assert dataset.condition_number > 100
    np.testing.assert_allclose(dataset.gradient(dataset.minimizer), 0, atol=1e-12)


def test_dataset_hessian_is_the_correlation_matrix(dataset):
    np.testing.assert_allclose(dataset.hessian, np.corrcoef(dataset.features, rowvar=False), atol=1e-12)


def test_minimum_is_that_of_linear_regression_with_intercept(dataset):
    data = getattr(datasets, f"load_{dataset.name}")()
    fitted = LinearRegression().fit(data.data, data.target).predict(data.data)
    assert dataset.minimum == pytest.approx(np.mean((fitted - data.target) ** 2) / 2, rel=1e-9)


def test_digits_drops_the_blank_pixels_only_when_standardizing():
    problem = LeastSquares.from_dataset("digits")
    assert problem.dropped == ("pixel_0_0", "pixel_4_0", "pixel_4_7")
    assert len(problem.feature_names) == 61
    raw = LeastSquares.from_dataset("digits", standardize=False)
    assert raw.features.shape == (1797, 64)
    assert raw.dropped == ()
    assert raw.condition_number == np.inf


def test_a_problem_names_itself():
    problem = LeastSquares.from_dataset("diabetes")
    assert problem.name == "diabetes"
    assert problem.feature_names[:3] == ("age", "sex", "bmi")
    assert repr(problem) == "LeastSquares('diabetes': 442 rows, 10 features)"
    assert random_problem(3, 2).name == "least squares"
    assert isinstance(problem, Quadratic)


def test_arrays_are_read_only_copies():
    features, targets = np.eye(3), np.ones(3)
    problem = LeastSquares(features, targets)
    features[0, 0] = targets[0] = 9
    assert problem.features[0, 0] == problem.targets[0] == 1
    for standardize in (False, True):
        problem = LeastSquares(np.eye(3), np.ones(3), standardize=standardize)
        for array in (problem.features, problem.targets, problem.eigenvalues, problem.eigenvectors):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1


def test_pickles():
    problem = LeastSquares.from_dataset("diabetes")
    copy = pickle.loads(pickle.dumps(problem))
    assert repr(copy) == repr(problem)
    np.testing.assert_array_equal(copy.minimizer, problem.minimizer)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": [1.0, 2.0]}, r"features must be a non-empty matrix, got shape \(2,\)"),
        ({"features": np.zeros((2, 0))}, r"features must be a non-empty matrix, got shape \(2, 0\)"),
        ({"features": [[1.0], [np.nan]]}, "features must be finite, got nan"),
        ({"targets": [1.0, np.inf]}, "targets must be finite, got inf"),
        ({"targets": [1.0]}, r"targets must have shape \(2,\) like features, got shape \(1,\)"),
        ({"targets": np.eye(2)}, r"targets must be a non-empty vector, got shape \(2, 2\)"),
        ({"feature_names": ["a"]}, r"feature_names must be 2 distinct names, got \('a',\)"),
        ({"feature_names": ["a", "a"]}, r"feature_names must be 2 distinct names, got \('a', 'a'\)"),
        ({"feature_names": ["a", "b", "a"]}, "feature_names must be 2 distinct names"),
        (
            {"features": [[1.0, 2.0], [1.0, 2.0]], "standardize": True},
            "features must have a column that varies, got 2 constant",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    good = {"features": np.eye(2), "targets": np.ones(2)}
    with pytest.raises(ValueError, match=message):
        LeastSquares(**good | arguments)


@pytest.mark.parametrize(("name", "guess"), [("diabetis", "diabetes"), ("DIGITS", "digits"), (["x"], "")])
def test_unknown_datasets_are_refused(name, guess):
    with pytest.raises(ValueError, match="name must be one of breast_cancer, diabetes, digits") as failure:
        LeastSquares.from_dataset(name)
    assert f"got {name!r}; the closest is '{guess}" in str(failure.value)


def test_standardized_shares_that_sum_to_one_leave_one_exactly_flat_direction():
    rng = np.random.default_rng(6)
    shares = rng.dirichlet([1, 1, 1, 1000], size=40)
    problem = LeastSquares(shares, rng.normal(size=40), standardize=True)
    assert np.count_nonzero(problem.eigenvalues == 0) == 1
    assert problem.condition_number == np.inf
    spread = shares.std(axis=0)
    np.testing.assert_allclose(problem.minimizer @ spread / np.linalg.norm(spread), 0, atol=1e-10)


@pytest.mark.parametrize("column", [[0.3, 0.1 + 0.2, 0.3, 0.3], [0.1 + 0.2 + 0.7, 1, 1, 0.7 + 0.2 + 0.1]], ids=str)
def test_columns_constant_up_to_rounding_are_dropped(column):
    problem = LeastSquares(np.column_stack([[1, 2, 3, 5], column]), [1, 2, 3, 4], standardize=True)
    assert problem.dropped == ("x2",)
    with pytest.raises(ValueError, match="features must have a column that varies, got 1 constant up to rounding"):
        LeastSquares(np.reshape(column, (4, 1)), [1, 2, 3, 4], standardize=True)


def test_targets_of_any_size_are_shifted_to_mean_zero():
    # the sum of the targets is no double, their mean is
    problem = LeastSquares(np.eye(5), np.array([0.0, 2.0, 10.0, 12.0, 16.0]) + 2**53, standardize=True)
    np.testing.assert_array_equal(problem.targets, [-8, -6, 2, 4, 8])

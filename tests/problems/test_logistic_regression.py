"""Logistic regression against the sum it stands for, scikit-learn's fit and the limits of large weights."""

import pickle

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn import datasets
from sklearn.linear_model import LogisticRegression as ScikitLogisticRegression

from quadlab.problems import LogisticRegression, hessian_matrix

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(12, 3))
SIGNS = np.array([1, -1, -1] * 4)


@pytest.fixture
def problem():
    return LogisticRegression(FEATURES, SIGNS, ridge=0.2)


def written_out(weights, ridge=0.2):
    rows = [np.log(1 + np.exp(-s * sum(x * weights))) for x, s in zip(FEATURES, SIGNS, strict=True)]
    return sum(rows) / len(rows) + ridge * sum(weights**2) / 2


def test_loss_is_the_mean_over_rows_and_the_gradient_its_complex_step(problem):
    weights = np.array([0.3, -1.2, 0.8])
    assert problem.loss(weights) == pytest.approx(written_out(weights), rel=1e-14)
    step = 1e-30
    expected = [written_out(weights + 1j * step * unit).imag / step for unit in np.eye(3)]
    np.testing.assert_allclose(problem.gradient(weights), expected, rtol=1e-13)


def test_hessian_is_the_weighted_second_moment_of_the_features(problem):
    weights = np.array([0.3, -1.2, 0.8])
    odds = np.exp(FEATURES @ weights)
    moment = sum(np.outer(x, x) * o / (1 + o) ** 2 for x, o in zip(FEATURES, odds, strict=True)) / 12
    np.testing.assert_allclose(hessian_matrix(problem, weights), moment + 0.2 * np.eye(3), rtol=1e-13)


def test_at_zero_weights_the_loss_is_log_two_and_the_third_derivative_vanishes(problem):
    zero = np.zeros(3)
    assert problem.loss(zero) == np.log(2)
    np.testing.assert_allclose(problem.gradient(zero), -(SIGNS @ FEATURES) / 24, rtol=1e-13)
    assert not problem.third_derivative_product(zero, [1.0, 2.0, 3.0], [1.0, 0.0, 0.0]).any()


def test_the_gradient_vanishes_at_the_minimiser():
    problem = LogisticRegression.from_dataset("breast_cancer", ridge=0.01)
    found = minimize(
        problem.loss,
        np.zeros(problem.dimension),
        jac=problem.gradient,
        hess=lambda weights: hessian_matrix(problem, weights),
        method="trust-exact",
        options={"gtol": 1e-13},
    )
    np.testing.assert_allclose(problem.gradient(found.x), 0, atol=1e-12)
    labels = datasets.load_breast_cancer().target
    fit = ScikitLogisticRegression(
        C=1 / (0.01 * len(labels)), fit_intercept=False, tol=1e-12, solver="newton-cholesky"
    ).fit(problem.features, labels)
    np.testing.assert_allclose(problem.gradient(fit.coef_[0]), 0, atol=1e-12)
    np.testing.assert_allclose(found.x, fit.coef_[0], atol=1e-10)


@pytest.mark.parametrize("scale", [1e4, 1e8])
def test_large_weights_do_not_overflow(scale):
    problem = LogisticRegression([[1.0], [2.0]], ["no", "yes"])
    # the first row is wrong by `scale`, the second right beyond any doubt; and the reverse
    np.testing.assert_allclose(problem.loss([[scale], [-scale]]), [scale / 2, scale], rtol=1e-14)
    np.testing.assert_allclose(problem.gradient([[scale], [-scale]]), [[0.5], [-1.0]], rtol=1e-14)
    assert not problem.hessian_product([[scale], [-scale]], [1.0]).any()
    assert not problem.third_derivative_product([[scale], [-scale]], [1.0], [1.0]).any()


def test_small_losses_keep_their_digits():
    problem = LogisticRegression([[1.0], [-1.0]], [1, 0])
    tail, at, one = np.exp(-50), [50.0], [1.0]
    np.testing.assert_allclose(problem.loss(at), tail, rtol=1e-12)
    np.testing.assert_allclose(problem.gradient(at), [-tail], rtol=1e-12)
    np.testing.assert_allclose(problem.hessian_product(at, one), [tail], rtol=1e-12)
    np.testing.assert_allclose(problem.third_derivative_product(at, one, one), [-tail], rtol=1e-12)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([0, 1, 1], (0.0, 1.0)),
        ([-1.5, 7.0, 7.0], (-1.5, 7.0)),
        (["a", "b", "b"], ("a", "b")),
        (np.array(["no", "yes", "yes"]), ("no", "yes")),
        (np.array(["no", "yes", "yes"], dtype=object), ("no", "yes")),
        ([False, True, True], (False, True)),
        (np.array([0, 1, 1]) > 0, (False, True)),
    ],
    ids=str,
)
def test_the_larger_label_counts_as_plus_one(labels, classes):
    problem = LogisticRegression(np.eye(3), labels)
    assert problem.classes == classes
    np.testing.assert_array_equal(problem.signs, [-1, 1, 1])
    np.testing.assert_allclose(problem.gradient([0.0, 0.0, 0.0]), [1 / 6, -1 / 6, -1 / 6], rtol=1e-14)
    assert f"classes {classes[0]} and {classes[1]})" in repr(problem)


def test_the_bundled_data_set():
    data = datasets.load_breast_cancer()
    problem = LogisticRegression.from_dataset("breast_cancer", ridge=0.5)
    assert repr(problem) == "LogisticRegression('breast_cancer': 569 rows, 30 features, classes 0.0 and 1.0)"
    assert problem.feature_names == tuple(data.feature_names)
    assert problem.ridge == 0.5
    np.testing.assert_array_equal(problem.signs, np.where(data.target == 1, 1, -1))
    np.testing.assert_allclose(problem.features.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(np.mean(problem.features**2, axis=0), 1, rtol=1e-13)
    raw = LogisticRegression.from_dataset("breast_cancer", standardize=False)
    np.testing.assert_array_equal(raw.features, data.data)
    assert raw.ridge == 0


def test_csv_files(tmp_path):
    path = tmp_path / "visits.csv"
    path.write_text("age,returned,flat\n40,2,7\n60,3,7\n50,2,7\n")
    problem = LogisticRegression.from_csv(path, "returned", standardize=True, ridge=0.1)
    assert (problem.name, problem.feature_names, problem.dropped) == ("visits", ("age",), ("flat",))
    assert (problem.classes, problem.ridge) == ((2.0, 3.0), 0.1)
    np.testing.assert_allclose(problem.features[:, 0], [-(1.5**0.5), 1.5**0.5, 0], atol=1e-15)
    raw = LogisticRegression.from_csv(path, "returned")
    np.testing.assert_array_equal(raw.features, [[40, 7], [60, 7], [50, 7]])
    with pytest.raises(ValueError, match="labels must have two distinct values, got 3: 40.0, 50.0, 60.0"):
        LogisticRegression.from_csv(path, "age")


def test_arrays_are_read_only_copies_and_pickle(problem):
    features = FEATURES.copy()
    kept = LogisticRegression(features, SIGNS)
    features[0, 0] = 99
    assert kept.features[0, 0] == FEATURES[0, 0]
    for array in (kept.features, kept.signs):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    copy = pickle.loads(pickle.dumps(problem))
    assert repr(copy) == repr(problem)
    np.testing.assert_array_equal(copy.gradient([1.0, 2.0, 3.0]), problem.gradient([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": [1.0, 2.0]}, r"features must be a non-empty matrix, got shape \(2,\)"),
        ({"features": [[np.nan], [1.0]]}, "features must be finite, got nan"),
        ({"labels": [1, 1]}, "labels must have two distinct values, got 1: 1.0"),
        ({"labels": ["a", "a"]}, "labels must have two distinct values, got 1: a"),
        ({"features": np.eye(3), "labels": [1, 2, 3]}, "labels must have two distinct values, got 3: 1.0, 2.0, 3.0"),
        ({"features": np.eye(6), "labels": range(6)}, r"got 6: 0.0, 1.0, 2.0, 3.0, 4.0, \.\.\."),
        ({"labels": [0, np.nan]}, "labels must be finite numbers, texts or truth values, all of one kind, got nan"),
        ({"labels": ["a", 1]}, "labels must be finite numbers, texts or truth values, all of one kind, got array"),
        ({"labels": [True, 2]}, "labels must be finite numbers, texts or truth values, all of one kind, got array"),
        ({"labels": None}, "labels must be finite numbers, texts or truth values"),
        ({"labels": "ab"}, "labels must be finite numbers, texts or truth values"),
        ({"labels": []}, r"labels must be a non-empty vector, got shape \(0,\)"),
        ({"labels": [[0, 1]]}, r"labels must be a non-empty vector, got shape \(1, 2\)"),
        ({"labels": [0, 1, 1]}, r"labels must have shape \(2,\) like features, got shape \(3,\)"),
        ({"ridge": -0.1}, "ridge must be non-negative and finite, got -0.1"),
        ({"ridge": np.inf}, "ridge must be non-negative and finite, got inf"),
        ({"ridge": [0.1]}, r"ridge must be a number, got shape \(1,\)"),
        ({"feature_names": ["a"]}, r"feature_names must be 2 distinct names, got \('a',\)"),
        (
            {"features": [[1.0, 2.0]] * 2, "standardize": True},
            "features must have a column that varies",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    good = {"features": np.eye(2), "labels": [0, 1]}
    with pytest.raises(ValueError, match=message):
        LogisticRegression(**good | arguments)


def test_data_sets_with_other_targets_are_refused():
    with pytest.raises(ValueError, match="name must be one of breast_cancer, got 'digits'"):
        LogisticRegression.from_dataset("digits")

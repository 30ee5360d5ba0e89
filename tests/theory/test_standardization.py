"""Standardized columns against exact rational arithmetic, at every size a double can have."""

from fractions import Fraction

import numpy as np
import pytest

from quadlab.theory.standardization import standardization

EPS = np.finfo(float).eps
COLUMNS = {
    "ordinary": [5.0, 1.5, -2.25, 7.0, 0.1],
    "far from zero": [1e15 + 1, 1e15 + 3, 1e15 + 4, 1e15 + 9, 1e15],
    "first far from the others": [1e6, 1.0, 1.5, 1.25, 1.75],
    "large": [3e200, 1e200, -2e200, 5e199, 0.0],
    "small": [3e-200, 1e-200, -2e-200, 5e-201, 0.0],
    "largest": [1.7e308, -1.7e308, 1e308, 0.0, 1e300],
    "smallest": [5e-324, 0.0, 1.5e-323, 1e-323, 5e-324],
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_columns_of_any_size_have_mean_zero_and_variance_one(column):
    exact = [Fraction(x) for x in column]
    mean = sum(exact) / len(exact)
    # a ratio of rationals first: the variance of the largest leaves the floating-point range
    expected = [float((x - mean) * abs(x - mean) / (sum((y - mean) ** 2 for y in exact) / len(exact))) for x in exact]
    given = np.array(column)[:, None]
    result = standardization(given)(given)[:, 0]
    np.testing.assert_allclose(result * np.abs(result), expected, rtol=0, atol=8 * EPS * np.abs(expected).max())


@pytest.mark.parametrize(
    ("column", "varies"),
    [
        ([0.3, 0.1 + 0.2, 0.3, 0.3], False),
        ([0.1] * 7, False),
        ([0.0, 0.0, 0.0], False),
        ([1e200, 1e200 * (1 + 2 * EPS)], False),
        ([-3e-320, -3e-320], False),
        ([1.0, 1 + 16 * EPS], False),
        ([1.0, 1 + 18 * EPS], True),
        ([-1.0, -1 + 18 * EPS], True),
        ([0.0, 5e-324], True),
        ([0.0, 0.0, 1e-300], True),
        (np.float32([0.3, 0.3 + 1e-7, 0.3]), False),
        (np.array([2**53, 2**53 + 2]), False),
    ],
    ids=str,
)
def test_constant_up_to_rounding_is_constant(column, varies):
    column = np.asarray(column)[:, None]
    standardize = standardization(column)
    assert standardize.varies.tolist() == [varies]
    assert (standardize.rounding > 0).tolist() == [varies]


@pytest.mark.parametrize("shares", [2, 3, 10, 30])
def test_shares_add_up_to_a_constant_column(shares):
    weights = np.random.default_rng(shares).random((500, shares))
    parts = weights / weights.sum(axis=1, keepdims=True)
    total = np.array([sum(row) for row in parts.tolist()])
    assert np.ptp(total) > 0
    assert not standardization(total[:, None]).varies.any()


def test_further_rows_get_the_shift_and_scale_of_those_given():
    given = np.float32([[1, 7], [3, 7]])
    standardize = standardization(given)
    further = standardize(np.float32([[2, 8], [7, 6]]))
    np.testing.assert_array_equal(further, [[0, 1], [5, -1]])
    assert further.dtype == np.float32
    np.testing.assert_array_equal(standardize.centred(np.array([[2, 8]])), [[0, 1]])

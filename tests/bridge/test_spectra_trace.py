"""XTrace against its definition with explicit projectors, and its standard error against its spread."""

import numpy as np
import pytest
from operators_for_tests import Counted, OnDevice, like_a_hessian, symmetric
from scipy.sparse import diags

from quadlab.bridge.arrays import backend
from quadlab.bridge.spectra import trace

SPECTRA = {
    "flat": np.linspace(1, 3, 150),
    "exponential decay": 0.9 ** np.arange(150),
    "power law": 1 / np.arange(1, 151),
    "of either sign": np.random.default_rng(1).standard_normal(150),
    "like a Hessian": like_a_hessian(150),
}


def by_projectors(matrix, vectors, left_out):
    """The estimate with each of the vectors left out of the projector, and its variance given the projector."""
    basis = np.linalg.qr(matrix @ vectors[[i for i in range(len(vectors)) if i not in left_out]].T)[0]
    outside = np.eye(len(matrix)) - basis @ basis.T
    rest, size = outside @ matrix @ outside, len(matrix) - basis.shape[1]
    unit = outside @ vectors[left_out].T
    unit = unit / np.linalg.norm(unit, axis=0)
    quotients = np.sum(unit * (rest @ unit), axis=0)
    variances = 2 * size * np.sum((rest @ unit - quotients * unit) ** 2, axis=0)
    return np.trace(basis.T @ matrix @ basis) + size * quotients, variances


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize(("products", "groups", "factor"), [
    (4, [[0, 1]], 7.8998),
    (7, [[0, 1], [1, 2]], 3.2310),
    (8, [[0, 1, 2], [1, 2, 3]], 2.1525),
    (12, [[0, 1, 2], [3, 4, 5]], 1.4897),
    (34, [[i, i + 1, i + 2] for i in (0, 3, 6, 9, 12, 14)], 1.0),
])  # fmt: skip
def test_value_and_error_are_those_of_explicit_projectors(spectrum, products, groups, factor):
    """The factors are quarters of the 99.95 % quantiles of Student's t in tables."""
    matrix, _ = symmetric(SPECTRA[spectrum])
    found = trace(matrix, rng=np.random.default_rng(7), products=products)
    count = products // 2
    vectors = np.random.default_rng(7).standard_normal((count, 150))
    values, alone = np.concatenate([by_projectors(matrix, vectors, [i]) for i in range(count)], axis=1)
    assert found.value == pytest.approx(values.mean(), rel=1e-11, abs=1e-11)
    more = np.mean([np.mean(by_projectors(matrix, vectors, group)[1] - alone[group]) for group in groups])
    variance = alone.mean() / count + max(more, 0) / (len(groups[0]) - 1)
    assert found.standard_error == pytest.approx(factor * np.sqrt(variance), rel=1e-4)
    assert found.products == 2 * count


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_variance_given_the_projector_is_unbiased(spectrum):
    """For one random vector beside a projector of two; at five sigma over 2,000."""
    values = SPECTRA[spectrum]
    rng = np.random.default_rng(0)
    matrix, _ = symmetric(values)
    estimates, variances = by_projectors(matrix, rng.standard_normal((2002, 150)), list(range(2, 2002)))
    spread = (estimates - np.trace(matrix)) ** 2 - variances
    assert abs(estimates.mean() - np.trace(matrix)) < 5 * estimates.std() / np.sqrt(2000)
    assert abs(spread.mean()) < 5 * spread.std() / np.sqrt(2000)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_value_is_unbiased_and_the_error_neither_too_small_nor_far_too_large(spectrum):
    matrix, _ = symmetric(SPECTRA[spectrum])
    found = [trace(matrix, rng=seed, products=20) for seed in range(200)]
    deviations = np.array([one.value for one in found]) - SPECTRA[spectrum].sum()
    errors = np.array([one.standard_error for one in found])
    assert abs(deviations.mean()) < 5 * deviations.std() / np.sqrt(200)
    size = np.sqrt(np.mean(deviations**2))
    # five relative standard deviations of a root mean square of 200
    assert size * (1 - 5 / np.sqrt(400)) < np.sqrt(np.mean(errors**2)) < 2.5 * size


@pytest.mark.parametrize("bulk", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_an_outlier_that_no_vector_shows_is_in_the_error(bulk, extra):
    """Ten vectors and about as many outliers; with seed 578 they hardly span the ten."""
    values = np.where(np.arange(120) < 10 + extra, 100.0, bulk)
    found = [trace(diags(values), rng=np.random.default_rng(seed), products=20) for seed in [578, *range(150)]]
    scores = [abs(one.value - values.sum()) / one.standard_error for one in found]
    # by chance 4 in 1,000 would be too many; of 151 none is expected
    assert max(scores) < 4
    if (bulk, extra) == (0.01, 0):
        assert found[0].value == pytest.approx(901.1324, abs=1e-4)
        assert found[0].standard_error > 25


def test_fewer_products_than_random_signs_would_take():
    matrix, _ = symmetric(SPECTRA["exponential decay"])
    error = np.sqrt(np.mean([(trace(matrix, rng=seed).value - np.trace(matrix)) ** 2 for seed in range(50)]))
    # the variance of the mean of 60 Gaussian quadratic forms is 2 |A|_F^2 / 60
    assert error < 0.2 * np.sqrt(2 * np.sum(matrix**2) / 60)


@pytest.mark.parametrize("rank", [0, 1, 5, 29])
@pytest.mark.parametrize("scale", [1e-250, 1.0, 1e250])
def test_low_rank_is_exact(rank, scale):
    values = np.where(np.arange(200) < rank, 1.0 + np.arange(200), 0.0)
    matrix, _ = symmetric(values)
    found = trace(matrix * scale, rng=0, products=60)
    # the remainder, of relative size eps, is multiplied by n
    bound = 200 * 30 * np.finfo(float).eps * max(rank, 1) * scale
    assert found.value == pytest.approx(scale * values.sum(), abs=bound)
    assert found.standard_error <= bound
    assert found.products == 30 + rank


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_eigenvalues_lost_in_the_rounding_are_within_the_error(dtype):
    """Many of a fraction of an epsilon each: they sum up to more than ten thousand epsilons."""
    n, tail = 200_000, float(np.finfo(dtype).eps) / 4
    values = np.full(n, tail)
    values[:3] = 1, 2, 3
    found = trace(Counted(diags(values.astype(dtype)), backend("numpy", dtype)), rng=0)
    # all of one sign, the worst that a Frobenius norm allows; 27 probes tell it to a few thousandths
    missed = abs(found.value - 6 - n * tail)
    assert missed == pytest.approx(n * tail, rel=1e-4)
    assert found.standard_error == pytest.approx(missed, rel=0.01)


def test_multiples_of_the_identity_are_exact():
    found = trace(3 * np.eye(100), rng=0, products=10)
    assert found.value == pytest.approx(300, abs=1e-11)
    assert found.standard_error < 1e-11


@pytest.mark.parametrize("n", [1, 3, 60])
def test_up_to_as_many_rows_as_products_it_is_exact(n):
    operator = Counted(symmetric(np.arange(n) - 1.5)[0])
    found = trace(operator)
    assert found.value == pytest.approx(n * (n - 1) / 2 - 1.5 * n, abs=1e-11)
    assert (found.standard_error, found.products, operator.vectors) == (0.0, n, n)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [20, 100])
def test_the_same_numbers_on_either_namespace(n, dtype):
    matrix, _ = symmetric(np.linspace(1, 2, n))
    operator = Counted(matrix.astype(dtype), backend("numpy", dtype))
    exact = trace(matrix, rng=3, products=30)
    for found in [trace(operator, rng=3, products=30), trace(OnDevice(matrix, dtype), rng=3, products=30)]:
        assert found.value == pytest.approx(exact.value, rel=100 * float(np.finfo(dtype).eps))
        # a hundredth of the value, from which it is left by cancellation
        assert found.standard_error == pytest.approx(exact.standard_error, rel=1e4 * float(np.finfo(dtype).eps))
        assert isinstance(found.value, float)


@pytest.mark.parametrize("make", [lambda: 3, lambda: np.random.SeedSequence(3), lambda: np.random.default_rng(3)])
def test_the_seed_decides(make):
    matrix, _ = symmetric(SPECTRA["flat"])
    assert trace(matrix, rng=make()) == trace(matrix, rng=make())
    assert trace(matrix, rng=make()) != trace(matrix, rng=4)


@pytest.mark.parametrize(
    ("operator", "options", "message"),
    [
        (np.eye(50), {"products": 3}, "products must be at least 4, or n, got 3"),
        (np.eye(50), {"products": 0}, "products must be a whole number >= 1, got 0"),
        (np.eye(50), {"rng": -3}, "rng must be None, a non-negative int"),
        (np.full((70, 70), np.inf), {}, "operator @ vectors must be finite, got NaN or infinity"),
        (np.triu(np.ones((70, 70))), {}, r"operator must be symmetric, but x\^T A y and y\^T A x differ by 1\.\d+ of"),
        (np.triu(np.ones((50, 50))), {}, r"operator must be symmetric, but x\^T A y and y\^T A x differ by 1\.\d+ of"),
        (np.outer(np.arange(70), np.ones(70)), {}, "operator must be symmetric"),
        (np.ones(3), {}, r"operator must be square with at least one row, got shape \(3,\)"),
    ],
)
def test_bad_input_is_refused(operator, options, message):
    with pytest.raises(ValueError, match=message):
        trace(operator, **options)

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


def estimates_by_projectors(matrix, vectors):
    """t_i, and t_i without w_j, from the range of what is left in, as they are defined."""

    def estimate(i, left_out):
        kept = [j for j in range(len(vectors)) if j not in left_out]
        basis = np.linalg.qr(matrix @ vectors[kept].T)[0]
        rest = vectors[i] - basis @ (basis.T @ vectors[i])
        scale = (len(matrix) - len(kept)) / (rest @ rest)
        return np.trace(basis.T @ matrix @ basis) + scale * (rest @ matrix @ rest)

    count = len(vectors)
    return np.array([[estimate(i, {i, j}) for j in range(count)] for i in range(count)])


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("products", [4, 5, 12, 16])
def test_value_and_error_are_those_of_explicit_projectors(spectrum, products):
    matrix, _ = symmetric(SPECTRA[spectrum])
    found = trace(matrix, rng=np.random.default_rng(7), products=products)
    count = products // 2
    table = estimates_by_projectors(matrix, np.random.default_rng(7).standard_normal((count, 150)))
    samples = np.diagonal(table)
    changes = samples[:, None] - table
    covariance = np.sum(changes * changes.T) / (count * (count - 1))
    assert found.value == pytest.approx(samples.mean(), rel=1e-11, abs=1e-11)
    variance = samples.var(ddof=1) / count + max(covariance, 0)
    assert found.standard_error == pytest.approx(np.sqrt(variance), rel=1e-8)
    assert found.products == 2 * count


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_standard_error_is_calibrated(spectrum):
    """Squared standard errors average to the variance, and the mean to the trace; at five sigma over 300 seeds."""
    matrix, _ = symmetric(SPECTRA[spectrum])
    found = [trace(matrix, rng=seed, products=40) for seed in range(300)]
    deviations = np.array([one.value for one in found]) - SPECTRA[spectrum].sum()
    differences = deviations**2 - np.array([one.standard_error for one in found]) ** 2
    assert abs(deviations.mean()) < 5 * deviations.std() / np.sqrt(300)
    assert abs(differences.mean()) < 5 * differences.std() / np.sqrt(300)


def test_dependence_of_the_samples_counts():
    """Where the sample variance alone would be too small: by half for this decay."""
    matrix, _ = symmetric(SPECTRA["exponential decay"])
    found = [trace(matrix, rng=seed, products=40) for seed in range(300)]
    variance = np.var([one.value for one in found])
    spread = 5 * np.sqrt(2 / 300)
    assert np.mean([one.standard_error**2 for one in found]) == pytest.approx(variance, rel=spread)


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
    """A million of a fraction of an epsilon each: they sum up to more than a thousand epsilons of the largest."""
    n, tail = 1_000_000, float(np.finfo(dtype).eps) / 20
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
        (np.ones(3), {}, r"operator must be square with at least one row, got shape \(3,\)"),
    ],
)
def test_bad_input_is_refused(operator, options, message):
    with pytest.raises(ValueError, match=message):
        trace(operator, **options)

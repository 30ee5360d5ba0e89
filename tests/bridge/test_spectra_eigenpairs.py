"""Extreme eigenpairs against dense eigenvalues, ARPACK, and spectra on which Krylov methods go wrong."""

import numpy as np
import pytest
from operators_for_tests import DEVICE, Counted, OnDevice, like_a_hessian, symmetric
from scipy.sparse import diags
from scipy.sparse.linalg import LinearOperator, eigsh

from quadlab import bridge
from quadlab.bridge.arrays import backend, host
from quadlab.bridge.spectra import top_eigenpairs
from quadlab.bridge.spectra.eigenpairs import _combined_start
from quadlab.bridge.spectra.products import products_of

EPS = np.finfo(float).eps
SPECTRA = {
    "generic": lambda rng, n: rng.standard_normal(n),
    "low rank": lambda rng, n: np.where(np.arange(n) < rng.integers(0, 6), rng.standard_normal(n), 0.0),
    "few values": lambda rng, n: rng.choice([3.0, 1.0, 0.0, -2.0], n),
    "clusters": lambda rng, n: rng.integers(-2, 3, n) + 1e-10 * rng.standard_normal(n),
    "one value": lambda rng, n: np.full(n, rng.standard_normal()),
    "decay of either sign": lambda rng, n: rng.choice([-1, 1], n) / np.arange(1, n + 1) ** 2,
    "repeated outlier": lambda rng, n: np.where(np.arange(n) < 5, 1.0, rng.uniform(-0.5, 0.5, n)),
}


def wanted(values, which, k):
    """The k eigenvalues asked for, by sorting."""
    order = {"largest": -values, "smallest": values, "magnitude": -np.abs(values)}[which]
    return values[np.argsort(order, kind="stable")][:k]


def largest(values):
    return np.abs(values).max() or 1.0


def check(found, matrix, which="largest", tolerance=1e-8):
    """Right values in the right order, orthonormal vectors and residuals as they are said to be."""
    values, k = np.linalg.eigvalsh(matrix), len(found.values)
    vectors, norm = host(found.vectors), largest(values)
    assert found.converged
    expected = wanted(values, which, k)
    if which == "magnitude":
        # two values of one magnitude and opposite signs may come in either order
        assert np.abs(found.values) == pytest.approx(np.abs(expected), abs=tolerance * norm)
    else:
        assert found.values == pytest.approx(expected, abs=tolerance * norm)
    assert found.values.dtype == np.float64
    assert np.abs(vectors.T @ vectors - np.eye(k)).max() < 1e-13
    residuals = np.linalg.norm(matrix / norm @ vectors - vectors * (found.values / norm), axis=0)
    # the norm in the residuals is a Ritz value, below the operator's norm by little once the pairs are found
    assert np.all(residuals <= tolerance + 100 * EPS)
    assert np.all(found.residuals <= tolerance)


@pytest.mark.parametrize("which", ["largest", "smallest", "magnitude"])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_dense_eigenvalues_whatever_the_size_rank_multiplicity_and_block(spectrum, which):
    rng = np.random.default_rng(11)
    for n in [1, 2, 3, 5, 10, 30, 60, 120]:
        for block in [None, 1, 2, 3, 200]:
            matrix, _ = symmetric(SPECTRA[spectrum](rng, n), seed=n)
            k = int(rng.integers(1, min(n, 10) + 1))
            check(top_eigenpairs(matrix, k, rng=n, block=block, which=which), matrix, which)


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_all_pairs_at_once(n):
    matrix, _ = symmetric(np.arange(n) % 3 - 1.0)
    check(top_eigenpairs(matrix, n, rng=0), matrix)


@pytest.mark.parametrize("scale", [1e-250, 1.0, 1e250])
@pytest.mark.parametrize("which", ["largest", "smallest"])
def test_low_rank_beyond_the_rank_and_whatever_the_scale(scale, which):
    """Where cupyx's eigsh returns wrong values."""
    rng = np.random.default_rng(3)
    factor = rng.standard_normal((400, 3))
    matrix = factor @ np.diag([1.0, -1.0, 0.5]) @ factor.T * scale
    operator = LinearOperator((400, 400), matvec=lambda v: matrix @ v, dtype=float)
    found = top_eigenpairs(operator, 6, rng=0, which=which)
    check(found, matrix, which)
    # rank + 1 products end a Krylov space; each other one finds a zero; and six for the residuals
    assert found.products <= 4 * 2 + 2 * 6


def test_low_rank_under_noise_is_low_rank():
    values = np.where(np.arange(200) < 3, 3.0 - np.arange(200), 0.0)
    rng = np.random.default_rng(0)

    class Noisy(Counted):
        def __matmul__(self, vectors):
            return super().__matmul__(vectors) + 1e-14 * rng.standard_normal(vectors.shape)

    found = top_eigenpairs(Noisy(symmetric(values)[0]), 6, rng=0)
    assert found.values == pytest.approx([3, 2, 1, 0, 0, 0], abs=1e-8)
    assert found.products <= 4 * 2 + 2 * 6


def test_what_was_found_is_not_searched_again():
    found = top_eigenpairs(np.diag(np.maximum(5.0 - np.arange(100), 0)), 2, rng=0, block=1)
    # six distinct values, one direction to find that no copy is missing, and the residuals
    assert found.products == 6 + 1 + 2


def test_the_full_space_ends_the_search():
    found = top_eigenpairs(np.diag([2.0, 2, 1, 1, 0]), 3, rng=0, block=1)
    assert found.values == pytest.approx([2, 2, 1], abs=1e-14)
    assert found.products == 5 + 3


def test_residuals_are_relative_to_the_other_end_of_the_spectrum_if_it_is_larger():
    values = np.concatenate([np.linspace(-1, 1, 199), [100.0]])
    matrix, _ = symmetric(values)
    found = top_eigenpairs(matrix, 2, rng=0, which="smallest", tolerance=1e-4)
    residuals = np.linalg.norm(matrix @ found.vectors - found.vectors * found.values, axis=0)
    assert found.residuals == pytest.approx(residuals / 100, rel=1e-3)


@pytest.mark.parametrize("n", [1, 5, 100])
def test_the_zero_operator(n):
    found = top_eigenpairs(np.zeros((n, n)), min(n, 3), rng=0)
    assert found.converged
    assert not found.values.any()
    assert not found.residuals.any()


@pytest.mark.parametrize("k", [1, 5, 10])
@pytest.mark.parametrize("which", ["LA", "SA", "LM"])
def test_arpack_finds_the_same(k, which):
    matrix, _ = symmetric(like_a_hessian(500))
    name = {"LA": "largest", "SA": "smallest", "LM": "magnitude"}[which]
    found = top_eigenpairs(matrix, k, rng=0, which=name, tolerance=1e-10)
    expected = eigsh(matrix, k, which=which, return_eigenvectors=False)
    assert found.values == pytest.approx(wanted(expected, name, k), abs=1e-12 * 10)


def test_a_hard_spectrum_needs_restarts_and_little_memory():
    """The edge of a semicircle: gaps of n^(-2/3)."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((300, 300))
    matrix = matrix + matrix.T
    for basis in [None, 7]:
        operator = Counted(matrix)
        found = top_eigenpairs(operator, 3, rng=0, basis=basis, max_products=20_000)
        check(found, matrix)
        assert operator.vectors == found.products > 100
        assert operator.widest == 3


@pytest.mark.parametrize("multiplicity", [2, 3, 7])
@pytest.mark.parametrize("block", [1, 2])
def test_copies_beyond_the_block_are_found(multiplicity, block):
    values = np.concatenate([np.full(multiplicity, 5.0), np.linspace(-1, 4, 300)])
    matrix, _ = symmetric(values)
    check(top_eigenpairs(matrix, multiplicity + 1, rng=0, block=block), matrix)


@pytest.mark.parametrize("which", ["largest", "smallest", "magnitude"])
@pytest.mark.parametrize("tolerance", [1e-8, 1e-3])
@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_a_start_in_an_invariant_subspace_hides_nothing(noise, tolerance, which):
    """The wanted pairs but the first, and some more, when the first is 1 % away; for several spectra."""
    n = 150
    for seed in range(2):
        rng = np.random.default_rng(seed)
        rests = [rng.uniform(-0.5, 0.5, n), rng.uniform(-1, 0.99, n), 1 - 1e-3 * np.arange(n), rng.uniform(-3, 0.9, n)]
        for rest, columns in zip(rests, [1, 2, 3, 1], strict=True):
            values = np.concatenate([[1.01, 1.0, 0.995], rest[3:]])
            order = {"largest": -values, "smallest": values, "magnitude": -np.abs(values)}[which].argsort()
            start = np.eye(n)[:, order[1 : columns + 1]] + noise * rng.standard_normal((n, columns))
            found = top_eigenpairs(diags(values), columns, rng=seed, start=start, which=which, tolerance=tolerance)
            assert found.converged
            expected = wanted(values, which, columns)
            assert np.abs(found.values - expected).max() <= tolerance * largest(values)


@pytest.mark.parametrize("k", [1, 3])
def test_a_search_cut_short_does_not_claim_convergence(k):
    matrix, basis = symmetric(like_a_hessian(400))
    for search, converged in [(1, False), (200, True)]:
        found = top_eigenpairs(matrix, k, rng=0, start=basis[:, 1 : k + 1], search=search)
        assert found.converged == converged
        assert found.residuals.max() <= 1e-8
    assert found.values == pytest.approx(like_a_hessian(400)[:k], abs=1e-7)


def test_a_loose_tolerance_from_random_directions_takes_no_mixture_for_the_largest():
    """Two values 1 % apart, far above the others: a random direction has more of the second in half of all cases."""
    values = np.concatenate([[1.01, 1.0], np.random.default_rng(0).uniform(-1, 0.5, 98)])
    for seed in range(40):
        found = top_eigenpairs(diags(values), rng=seed, tolerance=1e-2)
        assert found.values[0] == pytest.approx(1.01, abs=1e-5)


def test_a_loose_tolerance_does_not_take_a_random_direction_for_rounding():
    """Its component along what is missed is about 1/500, below a hundredth of the tolerance."""
    values = np.zeros(250_000)
    values[:2] = 1, 0.9
    start = np.zeros(250_000)
    start[1] = 1
    assert top_eigenpairs(diags(values), rng=0, start=start, tolerance=0.5).values[0] > 0.99


def test_a_start_saves_products():
    """Some, as it takes most of them to see that nothing larger was missed."""
    rng = np.random.default_rng(0)
    semicircle, change = (matrix + matrix.T for matrix in rng.standard_normal((2, 300, 300)))
    outliers, _ = symmetric(like_a_hessian(300))
    for matrix, k, share in [(semicircle, 1, 0.9), (semicircle, 3, 0.9), (outliers, 1, 1.0), (outliers, 5, 1.0)]:
        moved = matrix + 1e-4 * change * np.linalg.norm(matrix, 2) / np.linalg.norm(change, 2)
        former = top_eigenpairs(matrix, k, rng=np.random.default_rng(0), tolerance=1e-3)
        cold = top_eigenpairs(moved, k, rng=np.random.default_rng(1), tolerance=1e-3)
        warm = top_eigenpairs(moved, k, rng=np.random.default_rng(1), tolerance=1e-3, start=former.vectors)
        check(warm, moved, tolerance=1e-3)
        assert warm.products <= share * cold.products


@pytest.mark.parametrize("k", [1, 4, 10])
@pytest.mark.parametrize("block", [None, "k"])
def test_an_exact_start_costs_itself_the_search_and_the_residuals(k, block):
    values = np.concatenate([np.linspace(20, 10, k), np.random.default_rng(0).uniform(-1, 1, 500)])
    matrix, basis = symmetric(values)
    found = top_eigenpairs(matrix, k, rng=0, start=basis[:, :k], block=k if block else None)
    check(found, matrix)
    # a combination of k eigenvectors spans them after k products, and shows that nothing is left by then
    assert found.products <= k + 5 + k


@pytest.mark.parametrize("which", ["largest", "smallest"])
@pytest.mark.parametrize("scale", [1e-250, 1e250])
def test_a_first_product_that_is_zero_does_not_set_the_scale(which, scale):
    values = np.where(np.arange(50) < 5, -1.0, 0.0) + np.where(np.arange(50) > 45, 2.0, 0.0)
    found = top_eigenpairs(diags(scale * values), 3, rng=0, start=np.eye(50)[:, 20], which=which)
    assert found.values / scale == pytest.approx([2, 2, 2] if which == "largest" else [-1, -1, -1], rel=1e-12)


@pytest.mark.parametrize(("dtype", "small"), [("float32", 1e-25), ("float64", 1e-200)])
@pytest.mark.parametrize("which", ["largest", "smallest", "magnitude"])
def test_a_start_near_the_null_space_does_not_set_the_scale(which, dtype, small):
    """Squares of numbers in units of its product would overflow."""
    values = np.concatenate([[small], np.linspace(1, 2, 20), np.linspace(-3, -2, 20)])
    operator = Counted(np.diag(values).astype(dtype), backend("numpy", dtype))
    found = top_eigenpairs(operator, 2, rng=0, start=np.eye(41)[:, 0], which=which, max_products=120)
    assert found.converged
    # 20 eps in the residual, and half an eps for rounding the matrix
    allowed = 3 * max(1e-8, 21 * float(np.finfo(dtype).eps))
    assert found.values == pytest.approx(wanted(values, which, 2), abs=allowed)
    assert found.products == operator.vectors
    few = top_eigenpairs(operator, 2, rng=0, start=np.eye(41)[:, 0], which=which, max_products=5)
    assert few.values.shape == (2,)
    assert not few.converged


@pytest.mark.parametrize("which", ["largest", "smallest"])
def test_values_a_few_tolerances_apart_are_told_apart(which):
    """Copies of 1 and of -1 in units of 1e8, of which a Krylov space finds one each at first."""
    matrix, _ = symmetric(np.where(np.arange(60) < 3, 1e8, 1.0) * np.where(np.arange(60) % 2, 1, -1))
    check(top_eigenpairs(matrix, 9, rng=0, which=which, block=1, search=None), matrix, which)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_a_start_counts_whatever_its_scale_and_its_copies_do_not(scale):
    matrix, basis = symmetric(np.concatenate([[20.0], np.random.default_rng(0).uniform(-1, 1, 200)]))
    start = np.stack([basis[:, 0], -basis[:, 0], 0 * basis[:, 0]], axis=1) * scale
    # the start, the search of five, the residual
    assert top_eigenpairs(matrix, 1, rng=0, start=start, block=3).products <= 3 + 5 + 1
    rows = _combined_start(start, products_of(matrix).backend, 201, 3, np.random.default_rng(0))
    assert rows.shape == (1, 201)


def test_useless_starts_do_no_harm():
    matrix, basis = symmetric(like_a_hessian(100))
    repeated = np.stack([basis[:, 0], 1e-200 * basis[:, 0], np.zeros(100), basis[:, 60]], axis=1)
    for start in [repeated, np.zeros(100), basis, np.ones(100), 1e300 * np.ones((100, 3))]:
        for block in [None, 6]:
            check(top_eigenpairs(matrix, 3, rng=0, start=start, block=block), matrix)


def test_giving_up_is_said_and_the_best_is_returned():
    matrix, _ = symmetric(np.linspace(0, 1, 300))
    previous = np.inf
    for budget in [10, 30, 60]:
        found = top_eigenpairs(matrix, 2, rng=0, max_products=budget)
        assert not found.converged
        assert found.products <= budget
        assert found.residuals.max() < previous
        assert np.all(found.values <= wanted(np.linspace(0, 1, 300), "largest", 2) + 10 * EPS)
        previous = found.residuals.max()
        vectors = found.vectors
        residuals = np.linalg.norm(matrix @ vectors - vectors * found.values, axis=0)
        assert found.residuals == pytest.approx(residuals / found.values[0], rel=1e-6)


@pytest.mark.parametrize("options", [{}, {"basis": 6}, {"start": np.eye(80)[:, :3]}])
def test_giving_up_at_any_moment(options):
    matrix, _ = symmetric(np.repeat(np.linspace(0, 1, 40), 2))
    for budget in range(8, 50):
        found = top_eigenpairs(matrix, 3, rng=0, max_products=budget, tolerance=1e-6, **options)
        assert found.products <= budget
        residuals = np.linalg.norm(matrix @ found.vectors - found.vectors * found.values, axis=0)
        # the largest Ritz value met is in [0, 1]
        assert np.all(found.residuals >= residuals - 100 * EPS)


def test_converged_residuals_without_a_completed_search_are_not_convergence():
    matrix, basis = symmetric(like_a_hessian(100))
    found = top_eigenpairs(matrix, 1, rng=0, start=basis[:, 0], max_products=4, search=None)
    assert found.residuals[0] < 1e-8
    assert not found.converged


def test_an_operator_that_is_not_symmetric_shows_in_the_residuals():
    matrix = np.triu(np.random.default_rng(0).standard_normal((100, 100)))
    assert not top_eigenpairs(matrix, 2, rng=0, max_products=400).converged
    for n in [2, 5, 10]:
        for k in [1, n - 1, n]:
            found = top_eigenpairs(matrix[:n, :n], k, rng=0)
            assert not found.converged
            assert found.products < 100


def test_float32_and_its_floor():
    matrix, _ = symmetric(like_a_hessian(300))
    single = Counted(matrix.astype(np.float32), backend("numpy", "float32"))
    found = top_eigenpairs(single, 4, rng=0)
    floor = 20 * np.finfo(np.float32).eps
    assert found.vectors.dtype == np.float32
    assert found.converged
    assert 1e-9 < found.residuals.max() <= floor
    # the error of an eigenvalue of a symmetric matrix is at most the residual; and the matrix itself was rounded
    error = np.abs(found.values - wanted(np.linalg.eigvalsh(matrix), "largest", 4)).max()
    assert error <= 10 * (floor + 20 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_float32_converges_whatever_the_rank(spectrum):
    rng = np.random.default_rng(5)
    for n in [3, 21, 120]:
        matrix, _ = symmetric(SPECTRA[spectrum](rng, n))
        k, single = min(n, 4), Counted(matrix.astype(np.float32), backend("numpy", "float32"))
        found = top_eigenpairs(single, k, rng=0)
        assert found.converged
        values = np.linalg.eigvalsh(matrix)
        # 20 eps that the residual allows, and half an eps of the Frobenius norm for rounding the matrix
        allowed = float((20 + np.sqrt(n) / 2) * np.finfo(np.float32).eps * largest(values))
        assert found.values == pytest.approx(wanted(values, "largest", k), abs=allowed)


def test_rounding_beyond_the_tolerance_ends_the_search():
    rng = np.random.default_rng(0)

    class Noisy(Counted):
        def __matmul__(self, vectors):
            product = super().__matmul__(vectors)
            return product + 1e-6 * rng.standard_normal(product.shape) / np.sqrt(len(product))

    found = top_eigenpairs(Noisy(symmetric(like_a_hessian(200))[0]), 2, rng=0)
    assert not found.converged
    assert found.products < 200
    assert found.values == pytest.approx([10, 9], abs=1e-5)
    assert found.residuals.max() < 1e-5


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("which", ["largest", "smallest", "magnitude"])
def test_a_device_that_refuses_copies_to_the_host(which, dtype):
    matrix, _ = symmetric(np.concatenate([[3.0, 3.0, -4.0, -3.5], np.linspace(-1, 1, 60)]))
    operator = OnDevice(matrix, dtype)
    found = top_eigenpairs(operator, 3, rng=0, which=which, basis=12)
    expected = wanted(np.linalg.eigvalsh(matrix), which, 3)
    assert found.values == pytest.approx(expected, abs=1e-7 if dtype == "float64" else 1e-4)
    assert found.converged
    assert found.vectors.device == DEVICE
    for start in [found.vectors, host(found.vectors)]:
        again = top_eigenpairs(operator, 3, rng=1, which=which, start=start)
        assert again.values == pytest.approx(expected, abs=1e-7 if dtype == "float64" else 1e-4)
        assert again.products < found.products


def test_the_same_numbers_on_either_namespace():
    matrix, _ = symmetric(like_a_hessian(80))
    here, there = (top_eigenpairs(operator, 3, rng=5) for operator in (matrix, OnDevice(matrix)))
    assert here.products == there.products
    assert there.values == pytest.approx(here.values, abs=1e-13 * 10)
    assert np.abs(np.sum(here.vectors * host(there.vectors), axis=0)) == pytest.approx(np.ones(3), abs=1e-12)


@pytest.mark.parametrize("make", [lambda: 3, lambda: np.random.SeedSequence(3), lambda: np.random.default_rng(3)])
def test_the_seed_decides(make):
    matrix, _ = symmetric(like_a_hessian(80))
    first, second = (top_eigenpairs(matrix, 2, rng=make()) for _ in range(2))
    assert np.array_equal(first.vectors, second.vectors)
    assert not np.array_equal(first.vectors, top_eigenpairs(matrix, 2, rng=4).vectors)


def test_the_hessian_of_a_network():
    rng = np.random.default_rng(0)
    network = bridge.mlp([4, 6, 3], activation="tanh")
    inputs, targets = rng.standard_normal((20, 4)), rng.standard_normal((20, 3))
    parameters = network.initial(0)
    hessian = bridge.Problem(network, inputs, targets).hessian(parameters)
    check(top_eigenpairs(hessian, 3, rng=0), hessian.dense())
    check(top_eigenpairs(hessian, 3, rng=0, which="smallest"), hessian.dense(), "smallest")

"""Lanczos quadrature: exactness for polynomials, breakdown, and error bars that mean what they say."""

import numpy as np
import pytest
from operators_for_tests import DEVICE, Counted, OnDevice, like_a_hessian, symmetric
from scipy.sparse.linalg import LinearOperator
from scipy.special import ndtr

from quadlab.bridge.arrays import backend
from quadlab.bridge.spectra import SpectralDensity, spectral_density
from quadlab.bridge.spectra.density import _tridiagonal
from quadlab.bridge.spectra.products import products_of


def probes_of(seed, count, dimension):
    """The unit vectors that the seed gives, as rows."""
    rows = np.random.default_rng(seed).standard_normal((count, dimension))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("steps", [1, 2, 5, 9])
def test_each_rule_is_exact_for_polynomials_up_to_twice_its_steps_less_one(steps):
    values = np.random.default_rng(0).uniform(-1, 1, 60)
    matrix, _ = symmetric(values)
    found = spectral_density(matrix, rng=np.random.default_rng(3), probes=4, steps=steps)
    probes = probes_of(3, 4, 60)
    for power in range(2 * steps):
        expected = np.sum(probes * (probes @ np.linalg.matrix_power(matrix, power)), axis=1)
        assert np.sum(found.weights * found.nodes**power, axis=1) == pytest.approx(expected, abs=1e-13)
        value, error = found.moment(power)
        assert value == pytest.approx(expected.mean(), abs=1e-13)
        assert error == pytest.approx(expected.std(ddof=1) / 2, abs=1e-13)
    expected = np.sum(probes * (probes @ np.linalg.matrix_power(matrix, 2 * steps)), axis=1)
    assert np.abs(np.sum(found.weights * found.nodes ** (2 * steps), axis=1) - expected).min() > 1e-9


def test_with_all_steps_the_rule_is_the_spectrum_seen_by_the_probe():
    values = np.sort(np.random.default_rng(0).standard_normal(20))
    matrix, basis = symmetric(values)
    found = spectral_density(matrix, rng=np.random.default_rng(1), probes=3, steps=50)
    assert found.nodes == pytest.approx(np.tile(values, (3, 1)), abs=1e-13)
    assert found.weights == pytest.approx((probes_of(1, 3, 20) @ basis) ** 2, abs=1e-11)
    assert found.products == 60


def test_no_ghosts_of_outliers():
    """Without reorthogonalisation converged eigenvalues come back, and split their weight."""
    values = like_a_hessian(400) * np.where(np.arange(400) < 12, 1e3, 1.0)
    matrix, _ = symmetric(values)
    found = spectral_density(matrix, rng=0, probes=3, steps=100)
    for nodes in found.nodes:
        assert np.sum(nodes > 1000) == 12
        assert np.sort(nodes)[-12:] == pytest.approx(np.sort(values)[-12:], rel=1e-11)


@pytest.mark.parametrize("scale", [1e-250, 1.0, 1e250])
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_a_recurrence_ends_where_its_space_does(rank, scale):
    """At the end of the space, the coupling b is rounding, but relative to the last component s of the null vector.

    The characteristic polynomial p of the rule, applied to the rounded matrix, leaves p'(0) times its rounding of the
    probe's null part q: b <= |rounding| |q| p'(0) / product of the couplings = |rounding| / s. For a small s, the
    recurrence cannot know its end. Its next vector, rounding in the null space, has no product: there it ends.
    """
    values = np.where(np.arange(50) < rank, 1.0 + np.arange(50), 0.0)
    matrix, basis = symmetric(values)
    found = spectral_density(matrix * scale, rng=np.random.default_rng(0), probes=5, steps=20)
    assert found.weights.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-14)
    assert 5 * (rank + 1) <= found.products <= 5 * (rank + 2 if rank else 1)
    # the last coupling is at most 100 eps of the norm, the matrix rounded to n eps of it; eigenvalues are 1 apart
    rounding = (100 + 50) * np.finfo(float).eps * rank
    seen = (probes_of(0, 5, 50) @ basis) ** 2
    for nodes, weights, parts in zip(found.nodes / scale, found.weights, seen, strict=True):
        near = np.abs(nodes[:, None] - np.arange(rank + 1)) <= rounding
        assert near[weights > 0].any(axis=1).all()
        assert weights @ near == pytest.approx([parts[rank:].sum(), *parts[:rank]], rel=0, abs=2 * rounding + 1e-14)
        assert not nodes[weights == 0].any()


def test_probes_end_one_by_one():
    matrix = np.diag([1.0, 2.0, 3.0, 4.0])
    rows = np.array([[0, 0, 1.0, 0], [1.0, 1, 1, 1], [1, 1, 0, 0]])
    diagonals, couplings = _tridiagonal(products_of(matrix), rows, 4)
    assert [int(np.argmin(coupling > 0)) for coupling in couplings] == [0, 3, 1]
    # an eigenvalue, the mean of four, and the mean of two; the first product was divided by its scale
    assert diagonals[:, 0] * products_of_scale(matrix, rows) == pytest.approx([3, 2.5, 1.5], abs=1e-14)
    assert not diagonals[0, 1:].any()


def products_of_scale(matrix, rows):
    products = products_of(matrix)
    products(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    return products.scale


def test_standard_errors_are_calibrated():
    """Squared standard errors average to the variance; their spread over seeds gives the bounds, at five sigma."""
    for values in [np.random.default_rng(1).standard_normal(150), like_a_hessian(150)]:
        matrix, _ = symmetric(values)
        found = [spectral_density(matrix, rng=seed, probes=10, steps=4) for seed in range(200)]
        for power in [1, 2, 4]:
            estimates, errors = np.array([one.moment(power) for one in found]).T
            deviations = estimates - np.mean(values**power)
            differences = deviations**2 - errors**2
            assert abs(differences.mean()) < 5 * differences.std() / np.sqrt(200)
            assert abs(deviations.mean()) < 5 * deviations.std() / np.sqrt(200)
            # the variance of q^T B q for q uniform on the sphere
            powers = values**power
            variance = 2 * np.var(powers) / (150 + 2) / 10
            assert np.mean(errors**2) == pytest.approx(variance, abs=5 * np.std(errors**2) / np.sqrt(200))


def test_z_scores_have_the_spread_of_student_s_t():
    """Near-Gaussian moments: 30 probes of a dense spectrum; the variance of t with 29 degrees is 29/27."""
    values = np.random.default_rng(1).standard_normal(200)
    matrix, _ = symmetric(values)
    found = [spectral_density(matrix, rng=seed, probes=30, steps=3).moment(2) for seed in range(200)]
    scores = np.array([(value - np.mean(values**2)) / error for value, error in found])
    # the variance of a sample variance of 200 scores with the kurtosis 3 + 6 / 25 of that t
    spread = np.sqrt((2 + 6 / 25) / 200) * 29 / 27
    assert np.var(scores) == pytest.approx(29 / 27, abs=5 * spread)


def test_density_is_the_derivative_of_the_smoothed_cumulative():
    matrix, _ = symmetric(like_a_hessian(80))
    found = spectral_density(matrix, rng=0, steps=12)
    points, step = np.linspace(-1, 11, 30), 1e-5
    values, errors = found.density(points, 0.3)
    above, below = found.cumulative(points + step, 0.3)[0], found.cumulative(points - step, 0.3)[0]
    assert values == pytest.approx((above - below) / (2 * step), abs=1e-7)
    bells = np.exp(-(((points[3] - found.nodes) / 0.3) ** 2) / 2) / 0.3 / np.sqrt(2 * np.pi)
    each = np.sum(found.weights * bells, axis=1)
    assert values[3] == pytest.approx(each.mean(), abs=1e-14)
    assert errors[3] == pytest.approx(each.std(ddof=1) / np.sqrt(8), abs=1e-14)


def test_the_cumulative_is_a_share_of_eigenvalues():
    values = np.random.default_rng(0).standard_normal(30)
    found = spectral_density(symmetric(values)[0], rng=0, probes=400, steps=30)
    points = np.array([[-3.0, -0.5], [0.25, 3.0]])
    shares, errors = found.cumulative(points)
    assert shares.shape == errors.shape == (2, 2)
    exact = np.mean(values[:, None, None] <= points, axis=0)
    assert np.all(np.abs(shares - exact) <= 5 * errors + 1e-12)
    assert shares[0, 0] == 0
    assert shares[1, 1] == pytest.approx(1, abs=1e-14)
    by_hand = SpectralDensity(np.array([[0.0, 2.0]]), np.array([[0.25, 0.75]]), 4)
    assert by_hand.cumulative([-1e-9, 0.0, 1.9, 2.0])[0].tolist() == [0, 0.25, 0.25, 1]


@pytest.mark.parametrize("steps", [8, 64])
def test_a_step_at_an_eigenvalue_counts_it_whatever_the_seed(steps):
    """Rank 5 of 200: nodes lie at zero but for rounding, and 195 of 200 eigenvalues are not above it."""
    matrix, _ = symmetric(np.where(np.arange(200) < 5, 1.0 + np.arange(200), 0.0))
    for seed in range(20):
        found = spectral_density(matrix, rng=seed, steps=steps)
        values, errors = found.cumulative([-1e-3, 0.0, 1e-3, 3.0, 6.0])
        exact = [0, 0.975, 0.975, 0.99, 1]
        assert np.all(np.abs(values - exact) <= 5 * errors + 1e-12)
        assert errors.max() < 0.02


@pytest.mark.parametrize("width", [1e-17, 1e-3])
def test_widths_below_what_the_nodes_resolve_are_in_the_error(width):
    """Narrower than rounding at a known eigenvalue, and than the gaps between 6 nodes for 200 eigenvalues."""
    spike, spread = np.where(np.arange(200) < 5, 1.0, 0.0), np.linspace(0, 1, 200)
    for values, points, steps in [(spike, [0.0, 1.0], 8), (spread, np.linspace(0.1, 0.9, 9), 6)]:
        matrix, _ = symmetric(values)
        distances = (np.asarray(points)[:, None] - values) / width
        densities = np.mean(np.exp(-(distances**2) / 2), axis=1) / width / np.sqrt(2 * np.pi)
        for seed in range(5):
            found = spectral_density(matrix, rng=seed, steps=steps, probes=16)
            for (estimates, errors), exact in [
                (found.cumulative(points, width), np.mean(ndtr(distances), axis=1)),
                (found.density(points, width), densities),
            ]:
                assert np.all(np.abs(estimates - exact) <= 5 * errors)


@pytest.mark.parametrize("steps", [3, 10])
def test_an_atom_that_the_rules_have_not_found_is_in_the_error(steps):
    """Half of the eigenvalues are zero, the others just above it: all nodes lie on one side of it."""
    values = np.concatenate([np.zeros(100), np.linspace(1e-4, 1, 100)])
    matrix, _ = symmetric(values)
    for seed in range(10):
        found = spectral_density(matrix, rng=seed, steps=steps)
        points = np.array([-1e-3, 0.0, 1e-2, 0.5])
        shares, errors = found.cumulative(points)
        assert np.all(np.abs(shares - np.mean(values <= points[:, None], axis=1)) <= 4 * errors)


def test_moments_beyond_those_that_the_rules_give_have_what_is_missing_in_their_error():
    values = np.linspace(-1, 2, 100)
    matrix, _ = symmetric(values)
    for seed in range(10):
        found = spectral_density(matrix, rng=seed, steps=2, probes=40)
        value, error = found.moment(8)
        assert value < np.mean(values**8)
        assert np.mean(values**8) - value < 4 * error
    # an ended recurrence misses nothing
    ended = spectral_density(np.diag([2.0, 2.0, -1.0]), rng=0, steps=3)
    each = np.sum(ended.weights * ended.nodes**9, axis=1)
    assert ended.moment(9)[1] == pytest.approx(each.std(ddof=1) / np.sqrt(8), rel=1e-9)


def test_one_probe_has_no_standard_error():
    found = spectral_density(symmetric(like_a_hessian(40))[0], rng=0, probes=1)
    assert found.moment(1)[1] == np.inf
    assert np.all(found.density([0.0, 1.0], 0.1)[1] == np.inf)


def test_probes_go_together():
    operator = Counted(symmetric(like_a_hessian(40))[0])
    found = spectral_density(operator, rng=0, probes=6, steps=7)
    assert operator.vectors == found.products == 42
    assert operator.widest == 6


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_same_numbers_on_either_namespace(dtype):
    matrix, _ = symmetric(like_a_hessian(60))
    on_device = OnDevice(matrix, dtype)
    assert on_device.held.device == DEVICE
    there = spectral_density(on_device, rng=2, probes=3, steps=6)
    here = spectral_density(Counted(matrix.astype(dtype), backend("numpy", dtype)), rng=2, probes=3, steps=6)
    exact = spectral_density(matrix, rng=2, probes=3, steps=6)
    eps = float(np.finfo(dtype).eps)
    for found in [here, there]:
        assert found.nodes.dtype == np.float64
        for power in [1, 2, 5]:
            assert found.moment(power)[0] == pytest.approx(exact.moment(power)[0], rel=200 * eps)


@pytest.mark.parametrize(("scale", "width"), [(1e200, 1.0), (1.0, 1e-320)])
def test_what_lies_many_widths_away_counts_as_such(scale, width):
    found = spectral_density(scale * np.diag([-1.0, 2.0, 3.0]), rng=0)
    assert not found.density([0.0, scale], width)[0].any()
    assert np.array_equal(found.cumulative([0.0, scale], width), found.cumulative([0.0, scale]))


@pytest.mark.parametrize("make", [lambda: 3, lambda: np.random.SeedSequence(3), lambda: np.random.default_rng(3)])
def test_the_seed_decides(make):
    matrix, _ = symmetric(like_a_hessian(40))
    operator = LinearOperator(matrix.shape, matvec=lambda v: matrix @ v, dtype=float)
    first, second = (spectral_density(operator, rng=make(), steps=5) for _ in range(2))
    assert np.array_equal(first.nodes, second.nodes)
    assert not np.array_equal(first.nodes, spectral_density(operator, rng=4, steps=5).nodes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spectral_density(np.eye(3), probes=0), "probes must be a whole number >= 1, got 0"),
        (lambda: spectral_density(np.eye(3), steps=0), "steps must be a whole number >= 1, got 0"),
        (lambda: spectral_density(np.eye(3), rng=1.5), "rng must be None, a non-negative int"),
        (lambda: spectral_density(np.triu(np.ones((9, 9))), probes=1, steps=2), "operator must be symmetric, but x"),
        (lambda: spectral_density(np.triu(np.ones((9, 9))), probes=2, steps=1), "operator must be symmetric, but x"),
        (lambda: spectral_density(np.outer(np.arange(9), np.ones(9))), "operator must be symmetric, but x"),
        (lambda: spectral_density(np.ones((2, 3))), r"operator must be square .*, got shape \(2, 3\)"),
        (lambda: spectral_density(np.full((2, 2), np.nan)), "operator @ vectors must be finite, got NaN or infinity"),
        (lambda: spectral_density(np.eye(3)).density([0.0], 0), "width must be positive and finite, got 0"),
        (lambda: spectral_density(np.eye(3)).density([np.nan], 1), "points must be finite, got nan"),
        (lambda: spectral_density(np.eye(3)).cumulative([0.0], -1), "width must be non-negative and finite, got -1"),
        (
            lambda: spectral_density(np.diag([-1e200, 1e200]), rng=0).moment(3),
            "power must keep the powers of the nodes",
        ),
        (lambda: spectral_density(np.eye(1)).density([1.0], 1e-320), "width must be large enough for a finite density"),
        (lambda: spectral_density(np.eye(3)).moment(-1), "power must be a whole number >= 0, got -1"),
        (lambda: spectral_density(np.eye(3)).moment(0.5), "power must be a whole number >= 0, got 0.5"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

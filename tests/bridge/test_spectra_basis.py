"""The basis of the eigenpairs through growth and restarts, and the decisions on what may be missing from it."""

import numpy as np
import pytest
from operators_for_tests import like_a_hessian, symmetric

from quadlab.bridge.spectra.basis import RitzBasis, combined, orthonormal
from quadlab.bridge.spectra.completeness import copies_may_be_missing, nothing_hides, steps_needed, unknown
from quadlab.bridge.spectra.products import products_of


def test_a_ritz_basis_holds_the_projection_through_restarts():
    matrix, _ = symmetric(like_a_hessian(150))
    basis = RitzBasis(products_of(matrix), 20)
    directions, _, _ = orthonormal(np.random.default_rng(0).standard_normal((3, 150)), basis.rows, 0.0)
    for _ in range(12):
        directions = basis.expand(directions, 1e-14)
        pairs, rows = basis.pairs(np.asarray), basis.rows
        assert np.abs(rows @ rows.T - np.eye(basis.count)).max() < 1e-14 * 10
        assert np.abs(directions @ rows.T).max() < 1e-14 * 10
        vectors = combined(pairs.coefficients.T, rows).T
        scaled = matrix / basis.products.scale
        assert vectors.T @ scaled @ vectors == pytest.approx(np.diag(pairs.values), abs=1e-13 * 10)
        residuals = np.linalg.norm(scaled @ vectors - vectors * pairs.values, axis=0)
        assert pairs.residuals == pytest.approx(residuals, abs=1e-13 * 10)
        if basis.count + 3 > 20:
            basis.keep(pairs.first(8))
            kept = basis.pairs(np.asarray)
            assert kept.values == pytest.approx(pairs.values[:8], abs=1e-15)
            assert kept.residuals == pytest.approx(pairs.residuals[:8], abs=1e-15)


def test_a_full_basis_grows_no_more():
    basis = RitzBasis(products_of(symmetric(like_a_hessian(30))[0]), 30)
    directions, _, _ = orthonormal(np.random.default_rng(0).standard_normal((30, 30)), basis.rows, 0.0)
    assert basis.expand(directions, 0.0).shape == (0, 30)


def test_combinations_do_not_depend_on_the_columns_taken_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    coefficients, rows = rng.standard_normal((3, 5)), rng.standard_normal((5, 17))
    monkeypatch.setattr("quadlab.bridge.spectra.basis.COLUMNS_AT_ONCE", 4)
    assert combined(coefficients, rows) == pytest.approx(coefficients @ rows, abs=1e-14)
    expected = coefficients @ rows
    combined(coefficients, rows, out=rows)
    assert rows[:3] == pytest.approx(expected, abs=1e-14)


def test_vanishing_directions_are_left_out_and_small_ones_are_orthogonal():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((50, 4)))[0].T
    rows = rng.standard_normal((3, 4)) @ basis
    rows[0] += 1e-10 * rng.standard_normal(50)
    directions, coefficients, remainder = orthonormal(rows, basis, 1e-13)
    assert directions.shape == (1, 50)
    assert np.abs(directions @ basis.T).max() < 1e-15 * 10
    assert coefficients == pytest.approx(rows @ basis.T, abs=1e-14)
    outside = rows - (rows @ basis.T) @ basis
    assert np.linalg.norm(remainder, axis=0) == pytest.approx(np.linalg.norm(outside, axis=1), abs=1e-14)


@pytest.mark.parametrize("gap", [0.01, 0.5, 3.0])
def test_steps_needed_are_those_of_the_chebyshev_polynomial(gap):
    """Two wanted values, and a bulk in [-1, 1]; a slack widens the gap."""
    edge, n = 1 + 2 * gap, 10_000
    sizes, residuals = np.array([edge + 9, edge, 0.5, -0.5]), np.array([0.0, 0.0, 0.5, 0.5])
    needed = steps_needed(sizes, residuals, 2, n, 0.0)
    stretch = [np.polynomial.chebyshev.chebval(1 + 2 * gap, np.eye(steps + 1)[steps]) for steps in range(80)]
    assert needed == next(steps for steps in range(80) if stretch[steps] >= 1000 * np.sqrt(n))
    assert steps_needed(np.abs(sizes), residuals, 2, n, 0.0, two_sided=True) == needed
    closer = np.array([edge + 9, edge - 0.01 * gap, 0.5, -0.5])
    assert steps_needed(closer, residuals, 2, n, 0.01 * gap) == needed


def test_without_a_gap_no_number_of_steps_will_do_and_without_other_values_one():
    assert steps_needed(np.array([3.0, 2.5]), np.array([0.0, 0.5]), 1, 100, 0.0) == np.inf
    assert steps_needed(np.array([3.0, 2.0, 1.0]), np.zeros(3), 3, 100, 0.0) == 1
    assert steps_needed(np.array([3.0, 2.0, 2.0]), np.zeros(3), 1, 100, 0.0) == 1


def test_a_residual_bounds_what_a_random_direction_could_hide():
    values, new = np.array([10.0, 9.0, 1.0, -8.0]), np.array([False, False, True, True])
    assert nothing_hides(values, np.array([0, 0, 8e-5, 8.0]), new, 2, 10_000, 0.0)
    assert not nothing_hides(values, np.array([0, 0, 9e-5, 8.0]), new, 2, 10_000, 0.0)
    assert nothing_hides(values, np.array([0, 0, 9e-5, 8.0]), new, 2, 10_000, 1.0)
    # as magnitudes the other end counts too
    turned = values[[0, 1, 3, 2]]
    assert not nothing_hides(turned, np.array([0, 0, 2e-5, 8e-5]), new, 2, 10_000, 0.0, two_sided=True)
    assert nothing_hides(turned, np.array([0, 0, 1e-5, 8e-5]), new, 2, 10_000, 0.0, two_sided=True)
    # a wanted value that is fresh itself may be two that are close, up to the slack
    fresh = np.array([False, True, True, True])
    assert not nothing_hides(values, np.array([0, 1e-4, 0, 0]), fresh, 2, 10_000, 0.01)
    assert nothing_hides(values, np.array([0, 9e-6, 8.0, 8.0]), fresh, 2, 10_000, 0.01)
    assert not nothing_hides(values[:2], np.zeros(2), np.array([False, False]), 2, 10_000, 0.0)


def test_copies_beyond_the_last_wanted_value_alone_matter():
    values = np.array([2.0, 2.0, 2.0])
    new = np.ones(3, dtype=bool)
    assert not copies_may_be_missing(values, values, new, 1, 1e-8)
    values = np.array([2.0, 2.0, 1.0])
    assert copies_may_be_missing(values, values, new, 1, 1e-8)
    assert not copies_may_be_missing(values, values, new, 3, 1e-8)
    # as magnitudes these are two and one
    values = np.array([2.0, -2.0, 1.0])
    assert not copies_may_be_missing(values, np.abs(values), new, 2, 1e-8)
    assert unknown(np.array([1.0, 1.0, 0.5]), np.array([0.5, 1.0]), 1e-8).tolist() == [False, True, False]

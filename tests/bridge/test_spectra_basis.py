"""The basis of the eigenpairs through growth and restarts, and the decisions on what may be missing from it."""

import numpy as np
import pytest
from operators_for_tests import like_a_hessian, symmetric

from quadlab.bridge.spectra.basis import RitzBasis, combined, orthonormal
from quadlab.bridge.spectra.completeness import copies_may_be_missing, steps_needed, unknown
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


@pytest.mark.parametrize("gap", [0.1, 0.5, 3.0])
@pytest.mark.parametrize("known", [True, False])
def test_steps_needed_are_those_of_the_chebyshev_polynomial(gap, known):
    """Two wanted values, one more that is separate, and a bulk in [-1, 1]."""
    edge, n = 1 + 2 * gap, 10_000
    sizes = np.array([edge + 9, edge, 0.5, -0.5])
    residuals = np.array([0.0, 0.0, 0.5, 0.5])
    fresh = np.array([not known, not known, True, True])
    needed = steps_needed(sizes, residuals, fresh, 2, n) - (0 if known else 2)
    stretch = [np.polynomial.chebyshev.chebval(1 + 2 * gap, np.eye(steps + 1)[steps]) for steps in range(40)]
    assert needed == next(steps for steps in range(40) if stretch[steps] >= 10 * np.sqrt(n))
    assert steps_needed(sizes, residuals, fresh, 2, n, randoms=2) - (0 if known else 1) == needed
    both_sides = steps_needed(sizes, residuals, fresh, 2, n, two_sided=True) - (0 if known else 2)
    assert both_sides == needed


def test_without_other_ritz_values_each_new_one_takes_a_step():
    sizes, residuals = np.array([3.0, 2.0, 1.0]), np.zeros(3)
    assert steps_needed(sizes, residuals, np.array([True, True, False]), 3, 100) == 3
    assert steps_needed(sizes, residuals, np.array([True, True, True]), 3, 100, randoms=3) == 2


def test_separate_eigenvalues_count_as_a_step_each_instead_of_widening_the_bulk():
    fresh = np.array([False, True, True, True])
    residuals = np.array([0.0, 1e-3, 0.5, 0.5])
    with_one = steps_needed(np.array([10, 9.9, 0.5, -0.5]), residuals, fresh, 1, 10_000)
    without = steps_needed(np.array([10, 0.5, -0.5]), residuals[[0, 2, 3]], fresh[:3], 1, 10_000)
    assert with_one == without + 1
    # not separate: a mixture with something beyond the edge
    mixed = steps_needed(np.array([10, 9.9, 0.5, -0.5]), residuals + np.array([0, 0.05, 0, 0]), fresh, 1, 10_000)
    assert mixed > with_one


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

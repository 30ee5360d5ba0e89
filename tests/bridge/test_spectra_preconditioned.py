"""The preconditioned operator has the eigenvalues of the generalised problem, wherever it lives."""

import numpy as np
import pytest
from operators_for_tests import DEVICE, OnDevice, like_a_hessian, symmetric
from scipy.linalg import eigh
from scipy.sparse import csr_array

from quadlab.bridge.arrays import host
from quadlab.bridge.spectra import preconditioned, spectral_density, top_eigenpairs, trace

DIAGONAL = np.random.default_rng(0).uniform(0.1, 3, 80)
MATRIX, _ = symmetric(like_a_hessian(80))


def test_it_is_the_matrix_of_its_formula():
    root = np.diag(DIAGONAL**-0.5)
    operator = preconditioned(csr_array(MATRIX), DIAGONAL)
    assert operator.shape == (80, 80)
    assert operator @ np.eye(80) == pytest.approx(root @ MATRIX @ root, abs=1e-13)
    assert operator @ DIAGONAL == pytest.approx(root @ MATRIX @ root @ DIAGONAL, abs=1e-12)


def test_its_top_is_the_generalised_eigenvalue():
    found = top_eigenpairs(preconditioned(MATRIX, DIAGONAL), 3, rng=0)
    values, vectors = eigh(MATRIX, np.diag(DIAGONAL))
    assert found.values == pytest.approx(values[::-1][:3], abs=1e-11)
    ours = found.vectors[:, 0] / np.sqrt(DIAGONAL)
    assert abs(ours @ (DIAGONAL * vectors[:, -1])) == pytest.approx(1, abs=1e-11)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_stays_on_the_device(dtype):
    on_device = OnDevice(MATRIX, dtype)
    diagonal = on_device.backend.array(DIAGONAL)
    here = preconditioned(MATRIX, DIAGONAL)
    for given in [diagonal, DIAGONAL]:
        there = preconditioned(on_device, given)
        assert there.backend == on_device.backend
        product = there @ on_device.backend.array(np.eye(80))
        assert product.device == DEVICE
        assert host(product) == pytest.approx(here @ np.eye(80), abs=1000 * float(np.finfo(dtype).eps))
    found = top_eigenpairs(there, 1, rng=0)
    assert found.values[0] == pytest.approx(top_eigenpairs(here, 1, rng=0).values[0], rel=1e-5)
    assert trace(there, products=80).value == pytest.approx(np.sum(np.diagonal(MATRIX) / DIAGONAL), rel=1e-5)
    assert np.isfinite(spectral_density(there, rng=0, steps=5).moment(2)[0])


@pytest.mark.parametrize(
    ("diagonal", "message"),
    [
        (DIAGONAL[:5], r"diagonal must have shape \(80,\), got \(5,\)"),
        (np.diag(DIAGONAL), r"diagonal must have shape \(80,\), got \(80, 80\)"),
        (DIAGONAL * np.where(np.arange(80) == 7, 0, 1), "diagonal must be positive and finite, got 0.0"),
        (-DIAGONAL, "diagonal must be positive and finite, got -"),
        (DIAGONAL * np.inf, "diagonal must be finite, got inf"),
        (DIAGONAL + 1j, "diagonal must be real numbers, got dtype complex128"),
    ],
)
def test_bad_diagonals_are_refused(diagonal, message):
    with pytest.raises(ValueError, match=message):
        preconditioned(MATRIX, diagonal)


def test_bad_operators_and_vectors_are_refused():
    with pytest.raises(ValueError, match="operator must have a shape and @, got str"):
        preconditioned("hessian", DIAGONAL)
    operator = preconditioned(MATRIX, DIAGONAL)
    for vectors in [np.ones(5), np.ones((5, 80)), np.ones((80, 2, 2))]:
        with pytest.raises(ValueError, match=r"vectors must have shape \(80,\) or \(80, k\), got"):
            operator @ vectors

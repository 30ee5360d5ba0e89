"""Projections on the Hessian's eigenvectors against traces that know no eigenvectors."""

import dataclasses

import numpy as np
import pytest

from quadlab.theory.variational import Projections, expected_loss_change, hessian_projections

HESSIAN, GRADIENT, COVARIANCE = [[2, 1], [1, 2]], [1, 0], [[1, 0], [0, 4]]


def change_from_traces(hessian, gradient, covariance, preconditioner, rate, samples):
    inverse = np.linalg.inv(np.diag(preconditioner) if np.ndim(preconditioner) == 1 else preconditioner)
    step = inverse @ gradient
    noise = np.trace(covariance @ hessian @ inverse @ hessian @ inverse @ hessian)
    return -rate * gradient @ step + rate**2 / 2 * (step @ hessian @ step + noise / samples)


def random_problem(seed, size):
    rng = np.random.default_rng(seed)
    hessian, covariance, preconditioner = (
        factor @ factor.T for factor in rng.standard_normal((3, size, size)) / np.sqrt(size)
    )
    return hessian, rng.standard_normal(size), covariance, preconditioner + np.eye(size) / 10


def test_golden():
    found = hessian_projections(HESSIAN, GRADIENT, COVARIANCE)
    np.testing.assert_allclose(found.eigenvalues, [1, 3], rtol=1e-14)
    np.testing.assert_allclose(found.gradient**2, [0.5, 0.5], rtol=1e-14)
    np.testing.assert_allclose(found.noise_variances, [2.5, 2.5], rtol=1e-14)
    change = expected_loss_change(found.eigenvalues, found.gradient, found.noise_variances, 0.3, 2)
    np.testing.assert_allclose(change, 1.365, rtol=1e-14)


@pytest.mark.parametrize("preconditioner", [[1, 4], np.diag([1, 4])])
def test_golden_with_preconditioner(preconditioner):
    found = hessian_projections(HESSIAN, GRADIENT, COVARIANCE, preconditioner)
    np.testing.assert_allclose(found.eigenvalues, [0.348612181134003, 2.151387818865997], rtol=2e-15)
    np.testing.assert_allclose(found.gradient**2, [0.0839748528310782, 0.916025147168922], rtol=5e-15)
    np.testing.assert_allclose(found.noise_variances, [14.7403772075338, 2.25962279246617], rtol=5e-15)
    change = expected_loss_change(found.eigenvalues, found.gradient, found.noise_variances, 0.3, 2)
    np.testing.assert_allclose(change, 0.3103125, rtol=1e-14)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", ["none", "vector", "matrix"])
def test_change_equals_the_trace_formula(seed, shape):
    hessian, gradient, covariance, matrix = random_problem(seed, 5)
    preconditioner = {"none": None, "vector": np.diag(matrix), "matrix": matrix}[shape]
    found = hessian_projections(hessian, gradient, covariance, preconditioner)
    change = expected_loss_change(found.eigenvalues, found.gradient, found.noise_variances, 0.3, 2)
    reference = np.ones(5) if preconditioner is None else preconditioner
    expected = change_from_traces(hessian, gradient, covariance, reference, 0.3, 2)
    np.testing.assert_allclose(change, expected, rtol=1e-11)
    assert (np.diff(found.eigenvalues) >= 0).all()


def test_change_by_running_the_update_on_points_with_the_covariance():
    """The points +-sqrt(d) L e_j have mean zero and covariance L L'; no eigenvector is involved."""
    hessian, gradient, covariance, _ = random_problem(7, 3)
    root = np.linalg.cholesky(covariance)
    points = np.sqrt(3) * np.concatenate([root.T, -root.T])
    mean = np.linalg.solve(hessian, gradient)
    moved = mean - 0.4 * (mean + points) @ hessian
    expected = np.mean(np.einsum("ni,ij,nj->n", moved, hessian, moved)) / 2 - mean @ hessian @ mean / 2
    found = hessian_projections(hessian, gradient, covariance)
    change = expected_loss_change(found.eigenvalues, found.gradient, found.noise_variances, 0.4, 1)
    np.testing.assert_allclose(change, expected, rtol=1e-11)


def test_singular_matrices_leave_nothing_negative():
    factor = np.random.default_rng(3).standard_normal((6, 2))
    found = hessian_projections(factor @ factor.T, np.ones(6), factor @ factor.T)
    assert (found.eigenvalues >= 0).all()
    assert (found.noise_variances >= 0).all()


def test_result_is_frozen():
    found = hessian_projections(HESSIAN, GRADIENT, COVARIANCE)
    assert isinstance(found, Projections)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.gradient = None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hessian": [[2, 1], [0, 2]]}, "hessian must be symmetric, got entries that differ by 1"),
        ({"hessian": [[1, 2], [2, 1]]}, "hessian must be positive semi-definite, got the eigenvalue -1.0"),
        ({"hessian": [1, 2]}, r"hessian must have shape \(2, 2\), got \(2,\)"),
        ({"hessian": np.eye(3)}, r"hessian must have shape \(2, 2\), got \(3, 3\)"),
        ({"hessian": [[np.nan, 0], [0, 1]]}, "hessian must be finite, got nan"),
        ({"hessian": [["a", 0], [0, 1]]}, "hessian must be finite, got"),
        ({"gradient": [[1, 0]]}, r"gradient must have shape \(d,\), got \(1, 2\)"),
        ({"gradient": []}, r"gradient must have shape \(d,\), got \(0,\)"),
        ({"gradient": [np.inf, 0]}, "gradient must be finite, got inf"),
        ({"noise_covariance": [[1, 1], [0, 1]]}, "noise_covariance must be symmetric"),
        ({"noise_covariance": [[-1, 0], [0, 1]]}, "noise_covariance must be positive semi-definite, .* -1.0"),
        ({"noise_covariance": 1.0}, r"noise_covariance must have shape \(2, 2\), got \(\)"),
        ({"preconditioner": [1, 0]}, "preconditioner must be positive and finite, got 0.0"),
        ({"preconditioner": [1, 1, 1]}, r"preconditioner must have shape \(2,\) or \(2, 2\), got \(3,\)"),
        ({"preconditioner": [[1, 2], [2, 1]]}, "preconditioner must be positive definite, got the eigenvalue -1.0"),
        ({"preconditioner": [[1, 1], [1, 1]]}, "preconditioner must be positive definite, got the eigenvalue"),
        ({"preconditioner": [[1, 2], [0, 9]]}, "preconditioner must be symmetric"),
        ({"preconditioner": 2.0}, r"preconditioner must have shape"),
    ],
)
def test_refusals(change, message):
    arguments = {"hessian": HESSIAN, "gradient": GRADIENT, "noise_covariance": COVARIANCE} | change
    with pytest.raises(ValueError, match=message):
        hessian_projections(**arguments)


@pytest.mark.parametrize("shape", ["none", "vector", "matrix"])
@pytest.mark.parametrize("scales", [(1000, -1000, 900), (-1000, 500, -900)])
def test_powers_of_two_scale_the_results_exactly(shape, scales):
    hessian, gradient, covariance, matrix = random_problem(1, 4)
    hessian, covariance = np.round(hessian + hessian.T, 8), np.round(covariance + covariance.T, 8)
    preconditioner = {"none": None, "vector": np.diag(matrix), "matrix": matrix}[shape]
    units = [2.0**power for power in scales]
    found = hessian_projections(hessian * units[0], gradient * units[1], covariance * units[2], preconditioner)
    expected = hessian_projections(hessian, gradient, covariance, preconditioner)
    for field, unit in zip(dataclasses.fields(Projections), units, strict=True):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name) * unit)

"""Hessians that can be written down, the Gauss-Newton matrix from the Jacobian, and what relates the two."""

import numpy as np
import pytest
from helpers import SHORT, directions, point_of, problem_of, richardson

from quadlab import bridge
from quadlab.bridge.losses import LOSSES

SOME = pytest.mark.parametrize("network", SHORT.values(), ids=SHORT)
LOSS = pytest.mark.parametrize("loss", LOSSES)


def with_ones(inputs):
    """(x, 1), in whose products the flat order of W and b is that of one matrix (fan_in + 1, outputs)."""
    return np.column_stack([inputs, np.ones(len(inputs))])


def softmax(outputs):
    weights = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def assert_close(found, expected, relative=1e-13):
    assert np.linalg.norm(found - expected) <= relative * np.linalg.norm(expected)


def test_linear_regression():
    network = bridge.mlp([4, 3])
    problem, point = problem_of(network, examples=11), point_of(network)
    rows, residual = with_ones(problem.inputs), problem.predict(point) - problem.targets
    hessian = np.kron(rows.T @ rows / 11, np.eye(3))
    assert_close(problem.hessian(point).dense(), hessian)
    assert_close(problem.gauss_newton(point).dense(), hessian)
    assert_close(problem.gradient(point), (rows.T @ residual / 11).ravel())
    assert problem.loss(point) == pytest.approx(np.sum(residual**2) / 22, rel=1e-14)


def test_softmax_regression():
    network = bridge.mlp([4, 3])
    problem, point = problem_of(network, "cross_entropy", examples=11), point_of(network)
    rows, chances = with_ones(problem.inputs), softmax(with_ones(problem.inputs) @ point.reshape(5, 3))
    hessian = sum(
        np.kron(np.outer(x, x), np.diag(p) - np.outer(p, p)) for x, p in zip(rows, chances, strict=True)
    ) / 11  # fmt: skip
    assert_close(problem.hessian(point).dense(), hessian)
    assert_close(problem.gauss_newton(point).dense(), hessian)
    assert_close(problem.gradient(point), (rows.T @ (chances - problem.targets) / 11).ravel())
    labels = np.argmax(problem.targets, axis=1)
    assert problem.loss(point) == pytest.approx(-np.mean(np.log(chances[np.arange(11), labels])), rel=1e-14)


def test_logistic_regression():
    """Softmax of two outputs is the logistic function of their difference."""
    network = bridge.mlp([4, 2])
    problem, point = problem_of(network, "cross_entropy", examples=11), point_of(network)
    rows, weights = with_ones(problem.inputs), point.reshape(5, 2)
    chance = 1 / (1 + np.exp(-rows @ (weights[:, 1] - weights[:, 0])))
    curvature = rows.T @ (rows * (chance * (1 - chance))[:, None]) / 11
    assert_close(problem.hessian(point).dense(), np.kron(curvature, [[1, -1], [-1, 1]]))


def test_probabilities_as_targets():
    """The loss is linear in its targets: soft ones give the mean over labels."""
    network, inputs = bridge.mlp([2, 3, 3]), np.array([[0.3, -1.0]])
    point, chances = point_of(network), np.array([0.2, 0.5, 0.3])

    def loss_with(targets):
        return bridge.Problem(network, inputs, targets, loss="cross_entropy").loss(point)

    expected = sum(chance * loss_with([label]) for label, chance in enumerate(chances))
    assert loss_with(chances[None, :]) == pytest.approx(expected, rel=1e-14)


def test_probabilities_are_made_to_sum_to_one():
    """Rounded ones are accepted, and the gradient is that of the loss all the same."""
    network = bridge.mlp([2, 3, 3])
    problem = bridge.Problem(network, [[0.3, -1.0]], [[0.33333, 0.33333, 0.33333]], loss="cross_entropy")
    point, direction = point_of(network), directions(network, 1)[:, 0]
    slope = richardson(lambda t: problem.loss(point + t * direction), 2.0**-5)
    assert problem.gradient(point) @ direction == pytest.approx(slope, abs=1e-11)


@pytest.mark.parametrize(("excess", "accepted"), [(5e-7, True), (-5e-7, True), (1e-4, False), (-1e-4, False)])
def test_how_far_from_one_probabilities_may_sum(excess, accepted):
    def make():
        targets = [[0.4, 0.6 + excess]]
        return bridge.Problem(bridge.mlp([1, 2]), [[1.0]], targets, loss="cross_entropy")

    if accepted:
        assert make().targets.sum() == pytest.approx(1, abs=1e-15)
        return
    with pytest.raises(ValueError, match="must be probabilities that sum to one"):
        make()


def jacobian(problem, point):
    """Derivatives of all outputs, (examples, outputs, n), by differences along the axes."""
    columns = [
        richardson(lambda t, e=axis: problem.predict(point + t * e), 2.0**-9, levels=3)
        for axis in np.eye(problem.dimension)
    ]
    return np.stack(columns, axis=-1)


@SOME
@LOSS
def test_gauss_newton_is_the_outputs_curvature_pulled_back(network, loss):
    problem, point = problem_of(network, loss), point_of(network)
    chances = softmax(problem.predict(point))
    classes = chances.shape[1]
    inner = [np.eye(classes) if loss == "squared_error" else np.diag(p) - np.outer(p, p) for p in chances]
    expected = sum(j.T @ h @ j for j, h in zip(jacobian(problem, point), inner, strict=True)) / problem.examples
    found = problem.gauss_newton(point).dense()
    assert_close(found, expected, 1e-9)
    assert np.linalg.norm(found - found.T) <= 1e-13 * np.linalg.norm(found)
    eigenvalues = np.linalg.eigvalsh(found)
    assert eigenvalues[0] >= -1e-13 * eigenvalues[-1]


@SOME
def test_squared_error_leaves_the_residuals_curvature(network):
    """<v, (H - Gauss-Newton) u> = mean of residual * second derivative of the outputs along u and v."""
    problem, point = problem_of(network), point_of(network)
    residual, (u, v) = problem.predict(point) - problem.targets, directions(network, 2).T

    def paired(s, t):
        return np.sum(residual * problem.predict(point + s * u + t * v)) / problem.examples

    expected = richardson(lambda s: richardson(lambda t: paired(s, t), 2.0**-4), 2.0**-4)
    whole, part = (float(v @ method(point, u)) for method in (problem.hessian_product, problem.gauss_newton_product))
    assert abs(expected) > 1e-3 * abs(whole)
    # rounding: 1e-16 over the product of the smallest steps, 2^-16
    assert whole - part == pytest.approx(expected, abs=1e-10)


def test_huge_outputs_stay_finite():
    """Scores of +-1e5, whose exponentials overflow: the loss is the distance to the largest score."""
    network = bridge.mlp([1, 3])
    problem = bridge.Problem(network, [[1.0], [1.0]], [0, 2], loss="cross_entropy")
    point = np.array([1e5, 0.0, -1e5, 0.0, 0.0, 0.0])
    assert problem.loss(point) == pytest.approx(1e5, rel=1e-15)
    gradient = np.array([0.5, 0.0, -0.5])
    np.testing.assert_array_equal(problem.gradient(point), np.tile(gradient, 2))
    np.testing.assert_array_equal(problem.hessian_product(point, np.ones(6)), np.zeros(6))
    np.testing.assert_array_equal(problem.gauss_newton_product(point, np.eye(6)), np.zeros((6, 6)))


@LOSS
def test_operators_are_those_of_scipy(loss):
    network = SHORT["mlp 3-4-3-2 gelu"]
    problem, point, vectors = problem_of(network, loss), point_of(network), directions(network, 3)
    for operator in (problem.hessian(point), problem.gauss_newton(point)):
        dense, wrapped = operator.dense(), operator.to_scipy()
        assert wrapped.shape == operator.shape == dense.shape
        assert wrapped.dtype == operator.dtype == dense.dtype
        for product in (wrapped @ vectors, wrapped.T @ vectors, operator @ vectors):
            assert_close(product, dense @ vectors)
        assert_close(wrapped @ vectors[:, 0], dense @ vectors[:, 0])

"""Gradients and Hessian products of every network, activation and loss against differences, and among themselves."""

import numpy as np
import pytest
from helpers import NETWORKS, SHORT, directions, point_of, problem_of, relu_signs, richardson

from quadlab.bridge import operations
from quadlab.bridge import problem as problem_module
from quadlab.bridge.losses import LOSSES
from quadlab.bridge.operations import Operation

EVERY = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
SOME = pytest.mark.parametrize("network", SHORT.values(), ids=SHORT)
LOSS = pytest.mark.parametrize("loss", LOSSES)
STEP = 2.0**-5


def smooth_step(problem, point, direction):
    """A step within which no ReLU changes sign, and which leaves differences of 1e-9: rounding of 1e-15 / step."""
    step, signs = STEP, relu_signs(problem, point)
    while any((relu_signs(problem, point + t * direction) != signs).any() for t in np.linspace(-step, step, 33)):
        step /= 2
    assert step >= 2.0**-10
    return step


def test_networks_use_every_operation():
    used = {step.operation.name for network in NETWORKS.values() for step in network.steps}
    exported = [getattr(operations, name) for name in operations.__all__]
    assert used == {each.name for each in exported if isinstance(each, Operation)}


@EVERY
@LOSS
def test_gradient_against_differences_of_the_loss(network, loss):
    problem, point = problem_of(network, loss), point_of(network)
    value, gradient = problem.loss_and_gradient(point)
    assert value == pytest.approx(problem.loss(point), rel=1e-14)
    for direction in directions(network, 2).T:
        step = smooth_step(problem, point, direction)
        expected = richardson(lambda t, d=direction: problem.loss(point + t * d), step)
        assert abs(gradient @ direction - expected) <= 1e-9 * np.linalg.norm(gradient)


@EVERY
@LOSS
def test_hessian_product_against_differences_of_the_gradient(network, loss):
    problem, point = problem_of(network, loss), point_of(network)
    for direction in directions(network, 2).T:
        product = problem.hessian_product(point, direction)
        step = smooth_step(problem, point, direction)
        expected = richardson(lambda t, d=direction: problem.gradient(point + t * d), step)
        assert np.linalg.norm(product - expected) <= 1e-9 * np.linalg.norm(product)


def norm(matrix):
    return np.linalg.norm(matrix, 2)


@EVERY
@LOSS
def test_hessian_is_symmetric(network, loss):
    problem = problem_of(network, loss)
    dense = problem.hessian(point_of(network)).dense()
    assert dense.shape == (network.dimension, network.dimension)
    assert norm(dense - dense.T) <= 1e-13 * norm(dense)


@SOME
@LOSS
def test_vectors_together_equal_one_at_a_time(network, loss):
    problem, point, vectors = problem_of(network, loss), point_of(network), directions(network, 40)
    hessian = problem.hessian(point)
    for method in ("hessian_product", "gauss_newton_product"):
        together = getattr(problem, method)(point, vectors)
        assert together.shape == vectors.shape
        # at either side of the 32 that go through the network at once
        for number in (0, 31, 32, 39):
            alone = getattr(problem, method)(point, vectors[:, number])
            assert alone.shape == (network.dimension,)
            assert np.linalg.norm(together[:, number] - alone) <= 1e-14 * norm(together)
    np.testing.assert_array_equal(hessian @ vectors, problem.hessian_product(point, vectors))
    # rounding of n products of numbers up to |H|
    assert norm(hessian.dense() @ vectors - hessian @ vectors) <= 1e-13 * norm(hessian @ vectors)


@pytest.mark.parametrize(("fit", "together"), [(0.5, 1), (1, 1), (3.5, 3), (1e6, 32)])
def test_directions_go_together_while_their_tangents_stay_in_the_cache(monkeypatch, fit, together):
    network, counts = NETWORKS["mlp 3-4-3-2 gelu"], []

    class Counted(problem_module.Linearization):
        def hessian_product(self, directions):
            counts.append(directions[0].shape[0])
            return super().hessian_product(directions)

    expected = problem_of(network, examples=20).hessian_product(point_of(network), directions(network, 35))
    # the widest layer has 4 outputs for each of 20 examples
    monkeypatch.setattr(problem_module, "CACHED_BYTES", int(fit * 8 * 20 * 4))
    monkeypatch.setattr(problem_module, "Linearization", Counted)
    found = problem_of(network, examples=20).hessian_product(point_of(network), directions(network, 35))
    assert counts == [together] * (35 // together) + [35 % together] * (35 % together > 0)
    assert np.linalg.norm(found - expected) <= 1e-14 * np.linalg.norm(expected)


@SOME
@LOSS
@pytest.mark.parametrize("batch", [1, 4, 9, 100])
def test_batch_changes_no_numbers(network, loss, batch):
    whole, parts = (problem_of(network, loss, examples=9, batch=size) for size in (None, batch))
    point, vectors = point_of(network), directions(network, 35)
    assert parts.loss(point) == pytest.approx(whole.loss(point), rel=1e-14)
    assert parts.loss_and_gradient(point)[0] == pytest.approx(whole.loss(point), rel=1e-14)
    for name, arguments in [
        ("gradient", ()),
        ("predict", ()),
        ("predict", (whole.inputs[2:5],)),
        ("hessian_product", (vectors,)),
        ("gauss_newton_product", (vectors[:, 0],)),
    ]:
        expected, found = (getattr(each, name)(point, *arguments) for each in (whole, parts))
        assert found.shape == expected.shape
        assert np.linalg.norm(found - expected) <= 1e-13 * np.linalg.norm(expected)


@SOME
@LOSS
def test_subset_is_the_problem_of_its_rows(network, loss):
    whole, rows = problem_of(network, loss, examples=9, batch=3), [7, 0, 0, 4]
    part, point = whole.subset(rows), point_of(network)
    assert (part.examples, part.batch, whole.examples) == (4, 3, 9)
    expected = np.mean([whole.subset([row]).loss(point) for row in rows])
    assert part.loss(point) == pytest.approx(expected, rel=1e-14)
    each = [whole.subset([row]).hessian_product(point, np.ones(network.dimension)) for row in range(9)]
    mean = whole.hessian_product(point, np.ones(network.dimension))
    np.testing.assert_allclose(np.mean(each, axis=0), mean, rtol=0, atol=1e-13 * np.linalg.norm(mean))


@EVERY
@LOSS
def test_single_precision_follows_double(network, loss):
    double, single = (problem_of(network, loss, dtype=dtype) for dtype in ("float64", "float32"))
    # a point that single precision holds exactly
    point, vectors = (array.astype(np.float32) for array in (point_of(network), directions(network, 3)))
    sums = max(parameter.fan_in for parameter in network.parameters)
    # each step rounds once, and the longest sums round in each of their terms
    accepted = float(np.finfo(np.float32).eps) * (len(network.steps) + sums)
    assert single.loss(point) == pytest.approx(double.loss(point), rel=accepted)
    for name, arguments in [
        ("gradient", ()),
        ("predict", ()),
        ("hessian_product", (vectors,)),
        ("gauss_newton_product", (vectors,)),
    ]:
        expected, found = (getattr(each, name)(point, *arguments) for each in (double, single))
        assert (found.dtype, expected.dtype) == (np.float32, np.float64)
        assert 0 < np.linalg.norm(found - expected) <= accepted * np.linalg.norm(expected)

"""Products at the same parameters share a pass: what must not be shared, and what that leaves to a caller."""

import numpy as np
import pytest
from helpers import SHORT, directions, point_of, problem_of

from quadlab import bridge
from quadlab.bridge import problem as problem_module

NETWORK = SHORT["mlp 3-4-3-2 gelu"]
VECTORS = directions(NETWORK, 2)
# a weight of the second layer: products need its value, unlike that of the first layer's
INNER = 20


def fresh_product(point, loss="squared_error", **options):
    """The product on a problem that has never been asked before."""
    return problem_of(NETWORK, loss, **options).hessian_product(point, VECTORS)


@pytest.fixture
def passes(monkeypatch):
    """How often the network was passed through with its activations kept."""
    made = []

    class Counted(problem_module.Linearization):
        def __init__(self, *arguments):
            made.append(1)
            super().__init__(*arguments)

    monkeypatch.setattr(problem_module, "Linearization", Counted)
    return made


def test_products_at_one_point_share_a_pass(passes):
    problem, point = problem_of(NETWORK), point_of(NETWORK)
    first = problem.hessian_product(point, VECTORS)
    np.testing.assert_array_equal(problem.hessian_product(point.copy(), VECTORS), first)
    problem.gauss_newton_product(point, VECTORS)
    assert len(passes) == 1
    problem.hessian_product(point + 1e-15, VECTORS)
    assert len(passes) == 2


def test_a_gradient_and_products_at_one_point_share_a_pass(passes):
    problem, point = problem_of(NETWORK), point_of(NETWORK)
    for _ in range(2):
        problem.gradient(point)
        problem.hessian_product(point, VECTORS)
    assert len(passes) == 1
    problem.gradient(2 * point)
    assert len(passes) == 2


def test_batches_keep_nothing(passes):
    problem, point = problem_of(NETWORK, batch=2), point_of(NETWORK)
    for _ in range(2):
        problem.hessian_product(point, VECTORS)
    assert len(passes) == 6
    assert problem._latest is None


def test_parameters_changed_in_place():
    former = point_of(NETWORK)
    # the change must reach neither what is compared with the next parameters nor the pass that is kept
    for moved in (True, False):
        problem, point = problem_of(NETWORK), former.copy()
        problem.hessian_product(point, VECTORS)
        point[INNER] += 0.5
        asked = point if moved else former
        np.testing.assert_array_equal(problem.hessian_product(asked, VECTORS), fresh_product(asked))


def test_operators_stay_where_they_were_made():
    problem, point = problem_of(NETWORK), point_of(NETWORK)
    for matrix in (problem.hessian(point), problem.gauss_newton(point)):
        before = matrix @ VECTORS
        point[INNER] += 0.5
        np.testing.assert_array_equal(matrix @ VECTORS, before)
        point[INNER] -= 0.5


def test_results_changed_in_place():
    problem, point = problem_of(NETWORK), point_of(NETWORK)
    product, gradient = problem.hessian_product(point, VECTORS), problem.gradient(point)
    outputs = problem.predict(point)
    for array in (product, gradient, outputs):
        array[...] = 0
    np.testing.assert_array_equal(problem.hessian_product(point, VECTORS), fresh_product(point))
    assert np.linalg.norm(problem.gradient(point)) > 0
    assert np.linalg.norm(problem.predict(point)) > 0


def test_data_changed_in_place():
    inputs, targets = np.random.default_rng(0).normal(size=(2, 4, 3))
    targets = targets[:, :2]
    problem, point = bridge.Problem(NETWORK, inputs, targets), point_of(NETWORK)
    loss, product = problem.loss(point), problem.hessian_product(point, VECTORS)
    inputs *= 2
    targets *= 3
    assert problem.loss(point) == loss
    np.testing.assert_array_equal(problem.hessian_product(point + 0, VECTORS), product)
    np.testing.assert_array_equal(problem.subset(range(4)).hessian_product(point, VECTORS), product)


def test_subsets_have_their_own(passes):
    problem, point = problem_of(NETWORK), point_of(NETWORK)
    whole = problem.hessian_product(point, VECTORS)
    part = problem.subset([1, 2])
    found = part.hessian_product(point, VECTORS)
    assert np.linalg.norm(found - whole) > 0.01 * np.linalg.norm(whole)
    np.testing.assert_array_equal(found, problem.subset([1, 2]).hessian_product(point, VECTORS))
    np.testing.assert_array_equal(problem.hessian_product(point, VECTORS), whole)
    assert len(passes) == 3


def test_a_gradient_between_products():
    problem, point, other = problem_of(NETWORK), point_of(NETWORK), point_of(NETWORK, seed=5)
    for where in (point, other, point):
        found = problem.hessian_product(where, VECTORS)
        np.testing.assert_array_equal(found, fresh_product(where))
        np.testing.assert_array_equal(problem.gradient(other), problem_of(NETWORK).gradient(other))
        np.testing.assert_array_equal(problem.hessian_product(where, VECTORS), found)


def test_losses_do_not_meet():
    point = point_of(NETWORK)
    squared, entropy = (fresh_product(point, loss) for loss in ("squared_error", "cross_entropy"))
    assert np.linalg.norm(squared - entropy) > 0.01 * np.linalg.norm(squared)


def test_another_thread_may_replace_the_shared_pass_between_two_looks_at_it():
    problem = problem_of(NETWORK)
    here, there = (NETWORK.initial(seed) for seed in range(2))
    expected = problem.hessian_product(here, VECTORS)
    problem.hessian_product(there, VECTORS)
    others = problem._latest
    problem.hessian_product(here, VECTORS)
    mine = problem._latest

    class Replaced:
        def __eq__(self, flat):
            problem._latest = others
            return mine[0] == flat

        __hash__ = None

    problem._latest = (Replaced(), mine[1])
    np.testing.assert_array_equal(problem.hessian_product(here, VECTORS), expected)

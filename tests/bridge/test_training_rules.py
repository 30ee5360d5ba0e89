"""Rules against their formulas: on a linear network the iterates are known exactly."""

import re
from itertools import chain

import numpy as np
import pytest
from training_problems import classifier, iterates, quadratic

from quadlab import bridge
from quadlab.bridge.training import Recorder, explicit_gradient_regularization, gradient_descent, nesterov, sam, train

START = np.linspace(-1, 1, 8)
# a few products of order one per step, ten steps
ROUNDING = 200 * np.finfo(float).eps


def by_matrix_powers(matrix, constant, start, steps):
    """The states z+ = M z + k as powers of one matrix on (z, 1)."""
    size = len(start)
    augmented = np.block([[matrix, constant[:, None]], [np.zeros((1, size)), np.ones((1, 1))]])
    return (np.linalg.matrix_power(augmented, steps) @ np.append(start, 1))[:size]


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_heavy_ball_is_a_matrix_power(momentum):
    problem, hessian, slope = quadratic()
    rate, one = 0.3, np.eye(8)
    matrix = np.block([[one - rate * hessian, momentum * one], [-rate * hessian, momentum * one]])
    expected = by_matrix_powers(matrix, rate * np.tile(slope, 2), np.append(START, np.zeros(8)), 10)[:8]
    found = iterates(gradient_descent(rate, momentum), problem, START, 10)[-1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)


def test_nesterov_is_a_matrix_power():
    problem, hessian, slope = quadratic()
    rate, b, one = 0.3, 0.6, np.eye(8)
    shrunk = one - rate * hessian
    matrix = np.block([[shrunk, b * shrunk], [shrunk - one, b * shrunk]])
    expected = by_matrix_powers(matrix, rate * np.tile(slope, 2), np.append(START, np.zeros(8)), 10)[:8]
    found = iterates(nesterov(rate, b), problem, START, 10)[-1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("normalize", [True, False])
def test_sam_ascends_before_it_descends(normalize):
    problem, hessian, slope = quadratic()
    gradient = hessian @ START - slope
    ascent = 0.4 * (gradient / np.sqrt(sum(g * g for g in gradient)) if normalize else gradient)
    expected = START - 0.3 * (hessian @ (START + ascent) - slope)
    found = iterates(sam(0.3, 0.4, normalize), problem, START, 1)[-1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e-23), ("float32", 1e-44), ("float64", 1e-200)])
def test_sam_ascends_as_far_whatever_the_size_of_the_gradient(dtype, size):
    """E = (w + b - t)^2 / 2 at w = b = 0: after the ascent by 0.05 along (1, 1) the gradient is 0.05 sqrt(2) (1, 1)."""
    problem = bridge.Problem(bridge.mlp([1, 1]), [[1.0]], [[-size]], dtype=dtype)
    found = iterates(sam(1.0, 0.05), problem, [0.0, 0.0], 1)[-1]
    np.testing.assert_allclose(found, -0.05 * np.sqrt(2), rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_records_of_single_precision_neither_overflow_nor_vanish(size):
    """|g|^2 = |w - w_0|^2 = 2 t^2 and (v'g)^2 for the Hessian (1, 1)'(1, 1)."""
    problem = bridge.Problem(bridge.mlp([1, 1]), [[1.0]], [[-size]], dtype="float32")
    problem.loss_and_gradient = lambda w, ours=problem.loss_and_gradient: (0.0, ours(w)[1])
    history = train(problem, gradient_descent(1.0), [0.0, 0.0], 1, recorder=Recorder(sharpness=1)).history
    for name in ("gradient_norm_squared", "gradient_projections_squared"):
        assert np.ravel(history[name].values)[0] / size**2 == pytest.approx(2, rel=1e-5)
    assert history["displacement"].values[1] / size == pytest.approx(np.sqrt(2), rel=1e-6)


def test_sam_stays_at_a_stationary_point():
    problem, _, _ = quadratic(outputs=1, examples=2, inputs=1)
    problem.inputs[...], problem.targets[...] = 1.0, 0.0
    assert (iterates(sam(0.3, 0.4), problem, [1.0, -1.0], 2) == [1.0, -1.0]).all()


def test_explicit_regularization_follows_the_gradient_of_the_penalised_loss():
    problem, rate, strength = classifier(), 0.2, 0.7
    start = problem.network.initial(1)

    def penalised(parameters):
        return problem.loss(parameters) + strength * np.sum(problem.gradient(parameters) ** 2)

    def difference(direction, width):
        return (penalised(start + width * direction) - penalised(start - width * direction)) / (2 * width)

    # Richardson: (4 D(h/2) - D(h)) / 3 has error h^4 times a fifth derivative of order one, and rounding eps / h
    width = 2e-3
    slope = [(4 * difference(e, width / 2) - difference(e, width)) / 3 for e in np.eye(problem.dimension)]
    found = iterates(explicit_gradient_regularization(rate, strength), problem, start, 1)[-1]
    np.testing.assert_allclose((start - found) / rate, slope, rtol=0, atol=10 * width**4)


class Chooses:
    """Stands in for a problem: keeps what a rule takes of it."""

    examples, dimension = 10, 1

    def __init__(self):
        self.chosen = []

    def subset(self, indices):
        self.chosen.append(list(indices))
        return self

    def gradient(self, parameters):
        return 0 * parameters


def test_each_epoch_takes_every_example_once_in_a_new_order():
    problem, rng = Chooses(), np.random.default_rng(0)
    parameters, state = np.zeros(1), {}
    for _ in range(6):
        parameters, state = gradient_descent(0.1, batch_size=4)(problem, parameters, state, rng)
    assert [len(batch) for batch in problem.chosen] == [4, 4, 2] * 2
    first, second = (list(chain(*problem.chosen[i : i + 3])) for i in (0, 3))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


@pytest.mark.parametrize(
    "rule",
    [
        gradient_descent(0.3, 0.5, batch_size=4),
        nesterov(0.3, 0.5, batch_size=4),
        sam(0.3, 0.4, batch_size=4),
        explicit_gradient_regularization(0.3, 0.1, batch_size=4),
    ],
    ids=lambda rule: rule.name.partition("(")[0],
)
def test_a_minibatch_step_is_a_full_step_on_those_examples(rule):
    problem, _, _ = quadratic()
    order = np.random.default_rng(5).permutation(7)
    whole = {"gradient_descent": gradient_descent(0.3, 0.5), "nesterov": nesterov(0.3, 0.5), "sam": sam(0.3, 0.4)}
    full = whole.get(rule.name.partition("(")[0], explicit_gradient_regularization(0.3, 0.1))
    parameters, state = START, full.start(problem)
    for chosen in (order[:4], order[4:]):
        parameters, state = full(problem.subset(chosen), parameters, state, None)
    assert (iterates(rule, problem, START, 2, rng=np.random.default_rng(5))[-1] == parameters).all()


def test_a_name_tells_every_setting():
    rules = [
        gradient_descent(0.1), gradient_descent(0.2), gradient_descent(0.1, 0.9), gradient_descent(0.1, batch_size=2),
        nesterov(0.1, 0.0), nesterov(0.1, 0.1), nesterov(0.1, 0.1, 2), nesterov(0.2, 0.1),
        sam(0.1, 0.1), sam(0.2, 0.1), sam(0.1, 0.2), sam(0.1, 0.1, False), sam(0.1, 0.1, True, 2),
        explicit_gradient_regularization(0.1, 0.1), explicit_gradient_regularization(0.1, 0.2),
        explicit_gradient_regularization(0.2, 0.1), explicit_gradient_regularization(0.1, 0.1, 2),
    ]  # fmt: skip
    assert len({rule.name for rule in rules}) == len(rules)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gradient_descent(-0.1), "learning_rate must be positive and finite, got -0.1"),
        (lambda: gradient_descent(0.1, 1.0), "momentum must be in [0, 1), got 1.0"),
        (lambda: gradient_descent(0.1, batch_size=0), "batch_size must be a whole number >= 1, got 0.0"),
        (lambda: nesterov(0.1, -0.5), "momentum must be in [0, 1), got -0.5"),
        (lambda: sam(0.1, -1), "ascent_radius must be non-negative and finite, got -1.0"),
        (lambda: explicit_gradient_regularization(0.1, np.inf), "strength must be non-negative and finite, got inf"),
        (
            lambda: iterates(gradient_descent(0.1, batch_size=8), quadratic()[0], START, 1),
            "batch_size must be at most the 7 examples, got 8",
        ),
    ],
)
def test_unfit_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()

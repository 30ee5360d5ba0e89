"""The flow of a gradient penalty against an integrator that shares no code, and points of equal loss on known paths."""

import re

import numpy as np
import pytest

from quadlab import bridge, simulate
from quadlab.bridge.training import LossPath, loss_path, modified_flow, train


def small_problem(seed=0):
    rng = np.random.default_rng(seed)
    inputs, targets = rng.standard_normal((12, 3)), rng.integers(0, 2, 12)
    return bridge.Problem(bridge.mlp([3, 4, 2]), inputs, targets, loss="cross_entropy")


@pytest.mark.parametrize("strength", [0.0, 0.2])
def test_runge_kutta_steps_follow_the_modified_flow(strength):
    problem, rule = small_problem(), modified_flow(strength)
    start = problem.network.initial(1, weights="normal")
    end = train(problem, rule, start, 6).parameters
    time = 0.25 * sum(1.05**k for k in range(6))
    exact = simulate.modified_flow(problem, start, time, learning_rate=4 * strength)
    assert end == pytest.approx(exact, abs=1e-6)
    assert np.linalg.norm(end - simulate.modified_flow(problem, start, time, learning_rate=0.1 + 4 * strength)) > 1e-3


def test_steps_grow_from_a_quarter_to_the_time_step():
    rule, problem = modified_flow(time_step=2.0), small_problem()
    assert rule.start(problem) == {"time_step": 0.5}
    start = problem.network.initial(0)
    assert rule.step(problem, start, {"time_step": 1.0}, None)[1] == {"time_step": 1.05}
    assert rule.step(problem, start, {"time_step": 1.99}, None)[1] == {"time_step": 2.0}


@pytest.mark.parametrize("first", [0, 7])
def test_points_of_a_loss_are_exact_for_cubics_in_the_log_loss(first):
    times = np.linspace(0, 3, 12)
    path = LossPath(np.exp(-times), np.stack([times**3 - times, 2 * times**2, 1 + 0 * times], axis=1))
    time = (times[first] + times[first + 1]) / 2
    assert path.at(np.exp(-time)) == pytest.approx([time**3 - time, 2 * time**2, 1.0], abs=1e-12)


def test_points_of_a_loss_are_found_between_the_four_nearest_points():
    times = np.linspace(0, 3, 13)
    found = LossPath(np.exp(-times), np.exp(times)[:, None]).at(np.exp(-1.6))
    # remainder of the cubic through 1.25, 1.5, 1.75 and 2: a fourth derivative of at most exp(2), the distances, 1/4!
    assert abs(found[0] - np.exp(1.6)) <= np.exp(2) / 24 * 0.35 * 0.1 * 0.15 * 0.4


@pytest.mark.parametrize(
    ("losses", "used"),
    [
        ([0.9, 0.5, 0.6, 0.3, 0.2, 0.1], [2, 3, 4]),
        ([0.9, 0.51, 0.5, 0.3, 0.2, 0.1], [2, 3, 4]),
        ([0.9, 0.7, 0.5, 0.3, 0.35, 0.1], [1, 2, 3]),
        ([0.9, 0.7, 0.5, 0.3, 0.299, 0.1], [1, 2, 3]),
        ([0.9, 0.7, 0.5, 0.3, 0.0], [1, 2, 3]),
        ([0.6, 0.5, 0.5, 0.3], [2, 3]),
        ([0.5, 0.3, 0.2, 0.1], [0, 1, 2, 3]),
        ([0.5, 0.3, 0.2, 0.21], [0, 1, 2]),
    ],
)
def test_points_where_the_loss_does_not_fall_are_left_out(losses, used):
    """Lagrange's polynomial, through the others."""
    heights, path = np.log(losses[: len(losses) - (losses[-1] == 0)]), np.arange(1.0, len(losses) + 1)[:, None] ** 2
    expected = sum(
        path[i] * np.prod([(np.log(0.4) - heights[j]) / (heights[i] - heights[j]) for j in used if j != i])
        for i in used
    )
    assert LossPath(np.array(losses), path).at(0.4) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (float("nan"), "loss must be positive and finite, got nan"),
        ("low", "loss must be positive and finite, got 'low'"),
        (0.25, "loss must lie between positive losses of the path, got 0.25 before 0.0"),
    ],
)
def test_a_loss_that_cannot_be_met_is_refused(loss, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        LossPath(np.array([1.0, 0.5, 0.0]), np.eye(3)).at(loss)


@pytest.mark.parametrize("loss", [1.5, 0.04])
def test_a_loss_off_the_path_is_refused(loss):
    path = LossPath(np.array([1.0, 0.5, 0.05]), np.eye(3))
    with pytest.raises(ValueError, match=r"loss must lie on the path, from 1 to 0\.05, got"):
        path.at(loss)


def test_a_path_ends_below_its_loss_or_raises():
    problem = small_problem()
    start, rule = problem.network.initial(0), bridge.gradient_descent(0.2)
    path = loss_path(problem, rule, start, last=0.6)
    assert path.losses[-1] < 0.6 <= path.losses[-2]
    assert problem.loss(path.parameters[-1]) == path.losses[-1]
    assert problem.loss(path.parameters[0]) == pytest.approx(problem.loss(start), rel=1e-15)
    sparse = loss_path(problem, rule, start, last=0.6, every=3)
    np.testing.assert_array_equal(sparse.losses[:3], path.losses[:7:3])
    with pytest.raises(ArithmeticError, match=r"did not bring the loss below 0\.01 in 10 steps"):
        loss_path(problem, rule, start, last=0.01, most_steps=10)

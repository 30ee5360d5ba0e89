"""Training runs compared where their loss is the same, and the flow of a gradient penalty to compare them with."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from quadlab.bridge.training.loop import train
from quadlab.bridge.training.recorder import Recorder
from quadlab.bridge.training.rule import Rule
from quadlab.theory.intervals import non_negative, positive, whole_positive

__all__ = ["LossPath", "loss_path", "modified_flow"]

LEAST_FALL = 0.1


def modified_flow(strength=0.0, time_step=1.0):
    """Runge-Kutta steps of order four on the gradient flow of E + mu |grad E|^2:  w' = -g - 2 mu H g.

    Parameters
    ----------
    strength : mu >= 0, in parameter**2 / loss; 0 is gradient flow, learning_rate / 4 the modified loss of gradient
        descent.
    time_step : of later steps. The first is a quarter of it and each next one 5 % longer, as the curvature along a
        path from new weights is highest in its first moments.

    Source: Barrett, Dherin 2021, theorem 3.1.

    >>> from quadlab import bridge
    >>> problem = bridge.Problem(bridge.mlp([1, 1]), [[0.0]], [[0.0]])  # E = b^2 / 2, so w' = -(1 + 2 mu) b
    >>> rule = modified_flow(0.5, time_step=0.4)
    >>> moved, state = rule(problem, np.array([0.0, 1.0]), rule.start(problem), None)
    >>> bool(abs(moved[1] - np.exp(-0.2)) < 1e-5)
    True
    """
    mu = non_negative.check_one("strength", strength)
    longest = positive.check_one("time_step", time_step)

    def velocity(problem, weights):
        gradient = problem.gradient(weights)
        return -gradient - 2 * mu * problem.hessian_product(weights, gradient) if mu else -gradient

    def step(problem, weights, state, rng):
        time = state["time_step"]
        first = velocity(problem, weights)
        second = velocity(problem, weights + time / 2 * first)
        third = velocity(problem, weights + time / 2 * second)
        fourth = velocity(problem, weights + time * third)
        moved = weights + time / 6 * (first + 2 * second + 2 * third + fourth)
        return moved, {"time_step": min(1.05 * time, longest)}

    return Rule.named("modified_flow", step, lambda problem: {"time_step": longest / 4}, strength=mu, time_step=longest)


@dataclass(frozen=True, eq=False)
class LossPath:
    """Losses (m,) and parameters (m, n) along a training run, on the host."""

    losses: Any
    parameters: Any

    def at(self, loss):
        """Parameters where the run first has a loss > 0: the cubic in log loss through the four points around it.

        Beyond the two next to it points count only as long as the loss falls by a tenth of what it falls between these:
        a cubic through points that rise, or hardly fall, says nothing about what lies between others.
        """
        losses, loss = self.losses, positive.check_one("loss", loss)
        if not losses[-1] < loss <= losses[0]:
            raise ValueError(f"loss must lie on the path, from {losses[0]:g} to {losses[-1]:g}, got {loss}")
        below = int(np.argmax(losses < loss))
        if losses[below] <= 0:
            raise ValueError(f"loss must lie between positive losses of the path, got {loss} before {losses[below]}")
        least = (losses[below - 1] / losses[below]) ** LEAST_FALL
        lowest, first, last = max(below - 2, 0), below - 1, below
        while first > lowest and losses[first - 1] > least * losses[first]:
            first -= 1
        while last < min(lowest + 3, len(losses) - 1) and losses[last] > least * losses[last + 1] > 0:
            last += 1
        near = np.log(losses[first : last + 1] / loss)
        return np.polyfit(near, self.parameters[first : last + 1], len(near) - 1)[-1]


def loss_path(problem, rule, parameters, last, *, every=1, most_steps=20_000):
    """The path of a rule from `parameters` to the first loss below `last`, of every `every`-th step.

    To compare runs at a loss, let `last` lie a little below it, so that a point beyond is on the path.

    Raises
    ------
    ArithmeticError: the loss is not reached within `most_steps`, or the run diverges.

    >>> from quadlab import bridge
    >>> problem = bridge.Problem(bridge.mlp([1, 1]), [[0.0]], [[0.0]])
    >>> path = loss_path(problem, modified_flow(time_step=0.1), np.array([0.0, 1.0]), last=0.1)
    >>> bool(abs(path.at(0.125)[1] - 0.5) < 1e-6)
    True
    """
    positive.check_one("last", last)
    steps = int(whole_positive.check_one("most_steps", most_steps))
    recorder = Recorder(every=every, schedule={"accuracy": 0}, extra={"weights": lambda problem, weights: weights})
    history = train(problem, rule, parameters, steps, recorder=recorder, stop=lambda at: at["loss"] < last).history
    losses = history["loss"].values
    if losses[-1] >= last:
        raise ArithmeticError(f"{rule} did not bring the loss below {last:g} in {steps} steps")
    return LossPath(losses, history["weights"].values)

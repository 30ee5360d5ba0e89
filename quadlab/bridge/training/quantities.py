"""What can be measured at a point of a training run, by name; each a function of a `Point`, one pass for all."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from quadlab.bridge.arrays import norm

__all__ = ["QUANTITIES", "Evaluations", "Point", "accuracy", "finite", "has_labels"]


class Evaluations:
    """A problem that remembers the loss and the gradient it was last asked to measure, and is the problem otherwise.

    What the recorder measured before a step costs a rule nothing that asks for the gradient at the same parameters.
    """

    def __init__(self, problem):
        self.unwrapped = problem
        self.forget()

    def __getattr__(self, name):
        return getattr(self.unwrapped, name)

    def forget(self):
        """The next gradient is computed."""
        self._parameters, self._loss, self._gradient = None, 0.0, None

    def measure(self, parameters):
        """The loss and the gradient, remembered until `forget`; nobody may change these parameters until then."""
        if not self._knows(parameters):
            self._loss, self._gradient = self.unwrapped.loss_and_gradient(parameters)
            self._parameters = parameters
        return self._loss, self._gradient

    def loss_and_gradient(self, parameters):
        """As the problem's."""
        if not self._knows(parameters):
            return self.unwrapped.loss_and_gradient(parameters)
        return self._loss, self.unwrapped.backend.namespace.asarray(self._gradient, copy=True)

    def gradient(self, parameters):
        """As the problem's."""
        return self.loss_and_gradient(parameters)[1]

    def _knows(self, parameters):
        if self._parameters is None or self._parameters.shape != parameters.shape:
            return False
        return bool(self.unwrapped.backend.namespace.all(self._parameters == parameters))


@dataclass(frozen=True)
class Point:
    """Where a training run is; what several quantities need is measured once."""

    problem: Evaluations
    parameters: Any
    state: Any
    start: Any
    test: Any

    @cached_property
    def measured(self):
        """The loss and the gradient."""
        return self.problem.measure(self.parameters)

    @cached_property
    def gradient_norm_squared(self):
        """|g|^2."""
        size = norm(self.measured[1])
        # a power of a float would raise an OverflowError
        return size * size


def accuracy(problem, parameters):
    """The share of examples whose largest output is at the label."""
    xp = problem.backend.namespace
    right = xp.argmax(problem.predict(parameters), axis=-1) == xp.argmax(problem.targets, axis=-1)
    return int(xp.count_nonzero(right)) / problem.examples


def has_labels(problem):
    """Whether the targets are one-hot rows."""
    xp, targets = problem.backend.namespace, problem.targets
    if len(targets.shape) != 2 or targets.shape[1] < 2:
        return False
    binary = xp.all((targets == 0) | (targets == 1))
    return bool(binary & xp.all(xp.sum(targets, axis=1) == 1))


QUANTITIES = {
    "loss": lambda at: at.measured[0],
    "gradient_norm_squared": lambda at: at.gradient_norm_squared,
    "regularizer": lambda at: at.gradient_norm_squared / at.problem.dimension,
    "displacement": lambda at: norm(at.parameters - at.start),
    "accuracy": lambda at: accuracy(at.problem, at.parameters),
    "test_loss": lambda at: at.test.loss(at.parameters),
    "test_accuracy": lambda at: accuracy(at.test, at.parameters),
}


def finite(name, value):
    """The value, a number or an array on the host; FloatingPointError if it is not finite."""
    if not np.all(np.isfinite(value)):
        raise FloatingPointError(f"{name} is {value}")
    return value

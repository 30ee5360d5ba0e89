"""Simulations as a theorem needs them: measured, and with the exact spread that fixes their size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quadlab.dynamics import UpdateRule
from quadlab.moments import loss_deviation, propagate
from quadlab.simulate import simulate, simulate_weights
from quadlab.verify.sampled import Measurement

__all__ = ["RuleExperiment", "WeightsExperiment"]


@dataclass(frozen=True)
class RuleExperiment:
    """An observable of a rule, simulated on the modes of a quadratic.

    bind : setting -> the keyword arguments of `simulate` that it stands for: eigenvalues, initial, the rule's
        parameters.
    observable : loss, loss_change, squared_position, position, descends or decreases, taken after `steps` steps.
    """

    rule: UpdateRule
    bind: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    observable: str = "loss_change"
    steps: int = 1

    def measure(self, setting, replicas, rng, executor=None):
        """The observable's mean over replicas."""
        ensemble = simulate(
            self.rule,
            steps=self.steps,
            replicas=replicas,
            observables=self.observable,
            rng=rng,
            executor=executor,
            **self.bind(setting),
        )
        return Measurement.of(ensemble, self.observable)

    def spread(self, setting):
        """Exact standard deviation of one replica; 1/2 bounds that of an event."""
        if self.observable in ("descends", "decreases"):
            return 0.5
        arguments = self.bind(setting)
        if self.observable in ("loss", "loss_change"):
            return float(loss_deviation(self.rule, steps=self.steps, **arguments))
        after = propagate(self.rule, steps=self.steps, order=4, **arguments)
        if self.observable == "position":
            return float(np.sqrt(max(after.second[0, 0, 0] - after.mean[0, 0] ** 2, 0.0)))
        return float(np.sqrt(max(after.fourth[0, 0, 0, 0, 0] - after.second[0, 0, 0] ** 2, 0.0)))

    def exact(self, setting):
        """The observable's exact mean from the moment operator: loss, loss_change or squared_position."""
        if self.observable not in ("loss", "loss_change", "squared_position"):
            raise ValueError(
                f"the exact mean is known of loss, loss_change, squared_position, not of {self.observable}"
            )
        arguments = self.bind(setting)
        second = propagate(self.rule, steps=self.steps, **arguments).second[:, 0, 0]
        if self.observable == "squared_position":
            return float(np.squeeze(second))
        curvatures = np.atleast_1d(arguments["eigenvalues"])
        initial = np.asarray(arguments["initial"])
        # a row for each mode, where the state is more than the weights
        before = np.square(initial[:, 0] if initial.ndim > 1 else initial) if self.observable == "loss_change" else 0.0
        return float(np.sum(curvatures * (second - before)) / 2)


@dataclass(frozen=True)
class WeightsExperiment:
    """An observable of an optimiser on the weights of a quadratic, through full matrices.

    deviation : exact standard deviation of one replica. initial : weights at step 0, the minimiser by default.
    """

    problem: Any
    optimiser: Callable
    deviation: float
    observable: str = "loss_change"
    steps: int = 1
    initial: Any = None

    def measure(self, setting, replicas, rng, executor=None):
        """The observable's mean over replicas."""
        ensemble = simulate_weights(
            self.problem,
            self.optimiser,
            steps=self.steps,
            replicas=replicas,
            initial=self.initial,
            observables=(self.observable,),
            rng=rng,
            executor=executor,
        )
        return Measurement.of(ensemble, self.observable)

    def spread(self, setting):
        """The given standard deviation."""
        return self.deviation

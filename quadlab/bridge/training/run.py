"""A training run: where it ended, and what it holds while it goes on."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import array_api_compat
import numpy as np

from quadlab.bridge.spectra.products import here
from quadlab.bridge.training.averages import Average
from quadlab.bridge.training.history import History
from quadlab.bridge.training.quantities import Evaluations
from quadlab.bridge.training.recorder import Recording
from quadlab.bridge.training.rule import Rule
from quadlab.theory.seeds import generator

__all__ = ["Run", "Training", "TrainingDiverged", "begin"]


@dataclass(frozen=True, eq=False)
class Training:
    """Where a training run ended: after `step` steps, the averages by name, and the history of the recorder.

    rng and memory, the generator as it was left and what the recorder goes on from, are for `train`, which continues a
    run from its Training.
    """

    parameters: Any
    state: Mapping[str, Any]
    step: int
    history: History
    averages: Mapping[str, Any]
    rng: np.random.Generator | None = None
    memory: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self):
        return f"Training({self.step} steps, {self.history!r})"


class TrainingDiverged(ArithmeticError):
    """Numbers overflowed. `training` is the run up to its last finite parameters, with all that was recorded."""

    def __init__(self, reason, training):
        self.reason, self.training = reason, training
        super().__init__(f"training diverged after step {training.step}: {reason}; lower the learning rate")

    def __reduce__(self):
        return type(self), (self.reason, self.training)


@dataclass
class Run:
    """A training run in progress."""

    problem: Evaluations
    rule: Rule
    kept: tuple[Average, ...]
    parameters: Any
    state: Mapping[str, Any]
    averages: dict[str, Any]
    rng: np.random.Generator
    recording: Recording
    step: int = 0

    @property
    def latest(self):
        """What was recorded latest, by name."""
        return self.recording.log.latest

    def result(self):
        """The run so far."""
        history, memory = self.recording.log.history(), self.recording.memory
        # the caller may go on drawing from the generator
        rng = copy.deepcopy(self.rng)
        return Training(self.parameters, self.state, self.step, history, self.averages, rng, memory)

    def advance(self):
        """One step of the rule. FloatingPointError where it leads to numbers that are not finite."""
        size, xp = self.problem.dimension, self.problem.backend.namespace
        # a copy, as a rule may change the array it is given, and these may be the last that are finite
        returned = self.rule(self.problem, _copied(self.parameters), self.state, self.rng)
        if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(returned[1], Mapping):
            kinds = [type(each).__name__ for each in returned] if isinstance(returned, tuple) else type(returned)
            raise ValueError(f"rule must return parameters and a mapping, its state, got {kinds}")
        moved, state = returned
        if tuple(getattr(moved, "shape", ())) != (size,):
            found = getattr(moved, "shape", type(moved).__name__)
            raise ValueError(f"rule must return parameters of shape ({size},), got {found}")
        moved = self.problem.backend.array(moved)
        if not np.isfinite(float(xp.sum(moved))):
            raise FloatingPointError("the parameters are no longer finite")
        self.problem.forget()
        self.parameters, self.state, self.step = moved, state, self.step + 1
        self.average()

    def average(self):
        """Take the iterate into the averages."""
        for kept in self.kept:
            if self.step == kept.start:
                self.averages[kept.name] = _copied(self.parameters)
            elif self.step > kept.start:
                self.averages[kept.name] = kept.update(self.step, self.parameters, self.averages[kept.name])


def begin(problem, rule, parameters, averages, recorder, rng):
    """A run from parameters (n,), or from where a Training ended."""
    earlier = parameters if isinstance(parameters, Training) else None
    values = here("parameters", parameters if earlier is None else earlier.parameters, problem.backend)
    if tuple(values.shape) != (problem.dimension,):
        raise ValueError(f"parameters must have shape ({problem.dimension},), got {tuple(values.shape)}")
    recording = Recording(recorder, problem, _copied(values))
    random = generator(rng, "train")
    run = Run(Evaluations(problem), rule, tuple(averages), values, rule.start(problem), {}, random, recording)
    if earlier is None:
        run.average()
    else:
        _go_on(run, earlier, rng)
    return run


def _go_on(run, earlier, rng):
    run.step, run.averages = earlier.step, dict(earlier.averages)
    # what another rule left is taken as it is, and what it did not leave starts anew
    run.state = {**run.state, **{name: _copied(value) for name, value in earlier.state.items()}}
    run.recording.go_on(earlier.history, earlier.memory)
    if rng is None and earlier.rng is not None:
        run.rng = copy.deepcopy(earlier.rng)
    for kept in run.kept:
        if kept.name not in run.averages and kept.start <= run.step:
            raise ValueError(f"averages must be those of the run, or start after its step {run.step}, got {kept}")


def _copied(value):
    if array_api_compat.is_array_api_obj(value):
        return array_api_compat.array_namespace(value).asarray(value, copy=True)
    return copy.deepcopy(value)

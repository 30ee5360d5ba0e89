"""The training loop."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quadlab.bridge.spectra.products import generator, here
from quadlab.bridge.training import checkpoints
from quadlab.bridge.training.averages import Average
from quadlab.bridge.training.history import History
from quadlab.bridge.training.progress import bar
from quadlab.bridge.training.quantities import Evaluations
from quadlab.bridge.training.recorder import Recording
from quadlab.bridge.training.rule import Rule, rule_of
from quadlab.theory.intervals import whole_positive

__all__ = ["Training", "TrainingDiverged", "train"]

LARGE_RUN = 2**30


@dataclass(frozen=True, eq=False)
class Training:
    """Where a training run ended: after `step` steps, the averages by name, and the history of the recorder."""

    parameters: Any
    state: Mapping[str, Any]
    step: int
    history: History
    averages: Mapping[str, Any]

    def __repr__(self):
        return f"Training({self.step} steps, {self.history!r})"


class TrainingDiverged(ArithmeticError):
    """Numbers overflowed. `training` is the run up to its last finite parameters, with all that was recorded."""

    def __init__(self, reason, training):
        self.reason, self.training = reason, training
        super().__init__(f"training diverged after step {training.step}: {reason}; lower the learning rate")

    def __reduce__(self):
        return type(self), (self.reason, self.training)


def train(
    problem,
    rule,
    parameters,
    steps,
    *,
    rng=None,
    recorder=None,
    averages=(),
    checkpoint=None,
    checkpoint_every=1000,
    resume=False,
    progress=False,
    stop=None,
):
    """Make `steps` steps of a rule from `parameters`, and record them.

    Parameters
    ----------
    problem : a `quadlab.bridge.Problem`.
    rule : `gradient_descent(0.1)` and the like, or any function (problem, parameters, state, rng) ->
        (parameters, state): see the example.
    parameters : (n,), finite; not changed.
    steps : whole number, counted from the start of the run, also of a continued one.
    rng : SPEC 7; for minibatches and noise, drawn by NumPy and transferred, so that every backend sees the same.
    recorder : a `Recorder`.
    averages : of the iterates, as `tail_average(1000)` and `exponential_average(0.99)`.
    checkpoint : an .npz file, written after every `checkpoint_every` steps and at the end.
    resume : continue the run in `checkpoint` if there is one; the result is that of a run without the interruption.
    progress : a bar, on a terminal.
    stop : function of the mapping of what was recorded latest; True ends the training, as in
        `stop=lambda latest: latest["loss"] < 0.01`.

    Returns
    -------
    Training with the parameters, the rule's state, the step, `history` (name -> steps, values) and the averages.

    Raises
    ------
    TrainingDiverged: a number is no longer finite; it carries what was recorded.
    ValueError: an argument does not fit; a checkpoint is of another problem, rule, recorder or averages.

    >>> from quadlab import bridge
    >>> from quadlab.bridge.training import tail_average
    >>> problem = bridge.Problem(bridge.mlp([1, 1]), [[1.0], [2.0]], [[0.0], [0.0]])
    >>> def sign_descent(problem, parameters, state, rng):
    ...     xp = problem.backend.namespace
    ...     rate = state.get("rate", 0.5)
    ...     return parameters - rate * xp.sign(problem.gradient(parameters)), {"rate": rate / 2}
    >>> training = train(problem, sign_descent, [2.0, 0.0], steps=3, averages=[tail_average(1)])
    >>> training.parameters, training.averages["tail_average(1)"]
    (array([ 1.125, -0.875]), array([ 1.29166667, -0.70833333]))
    """
    rule, steps = rule_of(rule), int(whole_positive.check_one("steps", steps))
    _check(averages, recorder, stop, checkpoint, resume)
    whole_positive.check_one("checkpoint_every", checkpoint_every)
    run = _start(problem, rule, parameters, averages, recorder, generator(rng))
    identity = checkpoints.identity(problem, rule, averages, recorder) if checkpoint is not None else None
    if resume and checkpoints.exists(checkpoint):
        checkpoints.load(checkpoint, identity, run)
        if run.step > steps:
            raise ValueError(f"steps must be at least the {run.step} of the checkpoint {checkpoint}, got {steps}")
    _announce(problem, recorder)
    with bar(steps, run.step, show=progress) as shown:
        while not _ends(run, steps, stop):
            _advance(run)
            if checkpoint is not None and (run.step % checkpoint_every == 0 or run.step == steps):
                checkpoints.save(checkpoint, identity, run)
            shown(run)
    return run.result()


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
    recording: Recording | None = None
    step: int = 0

    @property
    def latest(self):
        """What was recorded latest, by name."""
        return {} if self.recording is None else self.recording.log.latest

    def result(self):
        """The run so far."""
        history = History() if self.recording is None else self.recording.log.history()
        return Training(self.parameters, self.state, self.step, history, self.averages)

    def average(self):
        """Take the iterate into the averages."""
        for kept in self.kept:
            if self.step == kept.start:
                self.averages[kept.name] = self.problem.backend.namespace.asarray(self.parameters, copy=True)
            elif self.step > kept.start:
                self.averages[kept.name] = kept.update(self.step, self.parameters, self.averages[kept.name])


def _start(problem, rule, parameters, averages, recorder, rng):
    values = here("parameters", parameters, problem.backend)
    if tuple(values.shape) != (problem.dimension,):
        raise ValueError(f"parameters must have shape ({problem.dimension},), got {tuple(values.shape)}")
    recording = None if recorder is None else Recording(recorder, problem, values)
    # a copy, as a rule may change the array it is given
    start = problem.backend.namespace.asarray(values, copy=True)
    run = Run(Evaluations(problem), rule, tuple(averages), start, rule.start(problem), {}, rng, recording)
    run.average()
    return run


def _ends(run, steps, stop):
    """Record what is due; whether the run is at its end."""
    if run.recording is not None:
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                recorded = run.recording.record(run.step, run.problem, run.parameters, run.state)
        except FloatingPointError as error:
            raise TrainingDiverged(str(error), run.result()) from error
        if recorded and stop is not None and stop(run.latest):
            return True
    return run.step == steps


def _advance(run):
    problem, size = run.problem, run.problem.dimension
    try:
        # what overflows is announced below
        with np.errstate(all="ignore"):
            moved, state = run.rule(problem, run.parameters, run.state, run.rng)
            if tuple(moved.shape) != (size,):
                raise ValueError(f"rule must return parameters of shape ({size},), got {tuple(moved.shape)}")
            moved = problem.backend.array(moved)
            if not np.isfinite(float(problem.backend.namespace.sum(moved))):
                raise FloatingPointError("the parameters are no longer finite")
    except FloatingPointError as error:
        raise TrainingDiverged(str(error), run.result()) from error
    problem.forget()
    run.parameters, run.state, run.step = moved, state, run.step + 1
    run.average()


def _check(averages, recorder, stop, checkpoint, resume):
    names = [getattr(average, "name", None) for average in averages]
    if not all(isinstance(average, Average) for average in averages) or len(set(names)) < len(names):
        raise ValueError(f"averages must be different averages such as tail_average(100), got {list(averages)!r}")
    if stop is not None and recorder is None:
        raise ValueError("stop needs a recorder, as it is asked about what was recorded, got None")
    if resume and checkpoint is None:
        raise ValueError("resume needs a checkpoint to continue, got None")
    if checkpoint is not None and not Path(checkpoint).absolute().parent.is_dir():
        raise ValueError(f"checkpoint must be a file in a folder that exists, got {checkpoint}")


def _announce(problem, recorder):
    """One line before a run that takes much memory."""
    vectors = 1 if recorder is None else max(recorder.sharpness, 1)
    need = problem.memory(vectors)
    if need > LARGE_RUN:
        print(
            f"training needs about {need / 2**30:.1f} GiB at batch={problem.batch}; a smaller batch needs less",
            file=sys.stderr,
        )

"""The training loop."""

import sys
from pathlib import Path

import numpy as np

from quadlab.bridge.training import checkpoints
from quadlab.bridge.training.averages import Average
from quadlab.bridge.training.progress import bar
from quadlab.bridge.training.recorder import Recorder
from quadlab.bridge.training.rule import rule_of
from quadlab.bridge.training.run import TrainingDiverged, begin
from quadlab.theory.intervals import whole_positive

__all__ = ["train"]

LARGE_RUN = 2**30


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
    parameters : (n,), finite; not changed. Or the Training of an earlier call, which goes on: its state, random
        numbers, averages and history, so that with the same settings the result is that of one long run. The rule
        and the recorder may be others; what the state lacks for the rule starts anew.
    steps : whole number, counted from the start of the run, also of a continued one.
    rng : SPEC 7; for minibatches and noise, drawn by NumPy and transferred, so that every backend sees the same. None
        goes on with the generator of a Training.
    recorder : a `Recorder`.
    averages : of the iterates, as `tail_average(1000)` and `exponential_average(0.99)`.
    checkpoint : an .npz file, written after every `checkpoint_every` steps and where the run ends or is stopped.
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
    ValueError: an argument does not fit; a checkpoint is damaged, or of another problem, rule, recorder or averages:
        what they hold and do decides, code and the values in closures included, not their names.

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
    >>> train(problem, sign_descent, training, steps=4).parameters
    array([ 1.0625, -0.9375])
    """
    rule, steps = rule_of(rule), int(whole_positive.check_one("steps", steps))
    _check(problem, averages, recorder, stop, checkpoint, resume)
    whole_positive.check_one("checkpoint_every", checkpoint_every)
    run = begin(problem, rule, parameters, averages, recorder, rng)
    identity = checkpoints.identity(problem, rule, averages, recorder) if checkpoint is not None else None
    if resume and checkpoints.exists(checkpoint):
        checkpoints.load(checkpoint, identity, run)
    if run.step > steps:
        raise ValueError(f"steps must be at least the {run.step} that the run has made already, got {steps}")
    _announce(problem, recorder)
    with bar(steps, run.step, show=progress) as shown:
        while not _ends(run, steps, stop):
            _advance(run)
            if checkpoint is not None and run.step % checkpoint_every == 0:
                checkpoints.save(checkpoint, identity, run)
            shown(run)
    if checkpoint is not None:
        checkpoints.save(checkpoint, identity, run)
    return run.result()


def _ends(run, steps, stop):
    """Record what is due; whether the run is at its end."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            recorded = run.recording.record(run.step, run.problem, run.parameters, run.state)
    except FloatingPointError as error:
        raise TrainingDiverged(str(error), run.result()) from error
    return (recorded and stop is not None and bool(stop(run.latest))) or run.step == steps


def _advance(run):
    try:
        # what overflows is announced below
        with np.errstate(all="ignore"):
            run.advance()
    except FloatingPointError as error:
        raise TrainingDiverged(str(error), run.result()) from error


def _check(problem, averages, recorder, stop, checkpoint, resume):
    if not hasattr(problem, "loss_and_gradient"):
        raise ValueError(f"problem must be a quadlab.bridge.Problem, got {problem!r}")
    if recorder is not None and not isinstance(recorder, Recorder):
        raise ValueError(f"recorder must be a Recorder or None, got {recorder!r}")
    listed = isinstance(averages, (list, tuple)) and all(isinstance(average, Average) for average in averages)
    if not listed or len({average.name for average in averages}) < len(averages):
        raise ValueError(f"averages must be a list of different averages such as tail_average(100), got {averages!r}")
    if stop is not None and not callable(stop):
        raise ValueError(f"stop must be a function of what was recorded latest, got {stop!r}")
    if stop is not None and recorder is None:
        raise ValueError("stop needs a recorder, as it is asked about what was recorded, got None")
    if resume and checkpoint is None:
        raise ValueError("resume needs a checkpoint to continue, got None")
    if checkpoint is not None:
        path = Path(checkpoint).absolute() if isinstance(checkpoint, (str, Path)) else None
        if path is None or path.is_dir() or not path.parent.is_dir():
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

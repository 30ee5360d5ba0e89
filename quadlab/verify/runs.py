"""Expensive runs, each made once on worker processes and kept: what a replicated claim is judged by."""

import json
import sys
import warnings
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor, Future
from contextlib import redirect_stdout
from dataclasses import dataclass
from math import isfinite
from typing import Any
from zlib import crc32

import numpy as np
from threadpoolctl import threadpool_limits

from quadlab.simulate.chunks import seed_number
from quadlab.verify.statistics import one_number
from quadlab.verify.workers import Portable, portable_error, processes, stop

__all__ = ["PremiseNotMet", "Run", "Runs", "missing_premise"]


class PremiseNotMet(ArithmeticError):
    """What a run was to be measured under did not come about; the text says what was missing."""


@dataclass(frozen=True)
class Run:
    """The numbers measured in one run, and its seed: `run(setting, SeedSequence(seed), budget)` gives them again.

    missing : the premise that the run did not meet, as a text; nothing is measured then.
    """

    seed: int
    measured: Mapping[str, float]
    missing: str = ""


class Runs:
    """Runs of one experiment, each made once and shared by all claims that hold this object.

    run : (setting, SeedSequence, budget) -> {name: number} measured in one run; the numbers must be finite. It raises
        PremiseNotMet where there is nothing to measure. So does training that diverges or does not reach a loss: any
        ArithmeticError counts, but a division by zero or an overflow. Runs go on other processes: what a run changes
        beside its result is lost, unless `executor` stays in this process.

    The runs of the latest rng and budget are kept, no others. Run i of a setting has a seed that depends on
    (rng, setting, i) alone: more runs extend fewer, and claims about some of the settings share the runs of all.

    >>> runs = Runs(lambda setting, seed, budget: {"height": np.random.default_rng(seed).normal(setting["mean"])})
    >>> few, many = (runs.made([{"mean": 3.0}], count, rng=0, budget="quick") for count in (2, 4))
    >>> few[0] == many[0][:2]
    True
    """

    def __init__(self, run):
        self.run = run
        self._kept: tuple[Any, dict[int, Run]] = (None, {})

    def made(self, settings, count, *, rng, budget, executor=None):
        """For each setting the list of its first `count` Runs; they go through `executor`, or on worker processes.

        RuntimeError names the setting and the seed of a run that failed or did not meet its premise; those that did
        not fail are kept.
        """
        rows = self.tried(settings, count, rng=rng, budget=budget, executor=executor)
        for setting, row in zip(settings, rows, strict=True):
            for run in row:
                if run.missing:
                    raise RuntimeError(f"the run at {_text(setting)} with seed {run.seed} failed: {run.missing}")
        return rows

    def tried(self, settings, count, *, rng, budget, executor=None):
        """The same with the runs that did not meet their premise among them."""
        root = seed_number(rng)
        seeds = [[_run_seed(root, setting, index) for index in range(count)] for setting in settings]
        latest, kept = self._kept
        made = dict(kept) if latest == (root, budget) else {}
        missing = [
            (setting, seed) for setting, row in zip(settings, seeds, strict=True) for seed in row if seed not in made
        ]
        outcomes = _outcomes(Portable(self.run), missing, budget, executor)
        made.update(
            (seed, Run(seed, found) if isinstance(found, dict) else Run(seed, {}, missing_premise(found)))
            for (_, seed), found in zip(missing, outcomes, strict=True)
            if isinstance(found, dict) or missing_premise(found)
        )
        self._kept = ((root, budget), made)
        for (setting, seed), found in zip(missing, outcomes, strict=True):
            if seed not in made:
                reason = f"{type(found).__name__}: {found}"
                if isinstance(found, BrokenExecutor):
                    reason = "a worker process died in it or in a run beside it, perhaps for lack of memory"
                raise RuntimeError(f"the run at {_text(setting)} with seed {seed} failed: {reason}") from found
        return [[made[seed] for seed in row] for row in seeds]


def _run_seed(root, setting, index):
    key = crc32(json.dumps(dict(setting), sort_keys=True).encode())
    return seed_number(np.random.SeedSequence(root, spawn_key=(key, index)))


def _outcomes(run, tasks, budget, executor):
    """Measured numbers, or the exception raised instead, in the order of the tasks."""
    if not tasks:
        return []
    own, task = executor is None, _one
    if own:
        executor, run, task = processes(len(tasks)), run.encoded(), _one_apart
    futures: list[Future] = []
    # the runs already fill the cores, and products on more threads would sum in another order
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        # loky replaces a worker that left when it was idle too long; as an error the warning would end them all
        warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
        try:
            futures.extend(_submitted(executor, task, run, setting, seed, budget) for setting, seed in tasks)
            return [_outcome(future) for future in futures]
        except BaseException:
            # a worker that got no interrupt would finish its run, and this process wait for it
            if own:
                stop(executor)
            raise
        finally:
            for future in futures:
                future.cancel()


def _submitted(executor, *task):
    try:
        return executor.submit(*task)
    except BrokenExecutor as error:
        refused: Future = Future()
        refused.set_exception(error)
        return refused


def _one_apart(*task):
    # in a worker process: standard output belongs to results, which may be JSON
    with redirect_stdout(sys.stderr):
        try:
            return _one(*task)
        except Exception as error:
            raise portable_error(error) from None


def _one(run, setting, seed, budget):
    # the caller's limit does not hold in a worker process; what a run sets there must not reach the next
    with threadpool_limits(1, user_api="blas"), np.errstate():
        measured = run(setting, np.random.SeedSequence(seed), budget)
    if not isinstance(measured, Mapping):
        raise ValueError(f"a run must return a mapping of names to numbers, got {type(measured).__name__}")
    numbers = {str(name): one_number(str(name), value) for name, value in measured.items()}
    for name, value in numbers.items():
        if not isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}")
    return numbers


def _outcome(future):
    try:
        return future.result()
    except (Exception, SystemExit) as error:
        return error


def missing_premise(error):
    """What was missing in a run that ended in this error; nothing where the error is of another kind."""
    mistake = isinstance(error, (ZeroDivisionError, OverflowError))
    return " ".join(str(error).split()) if isinstance(error, ArithmeticError) and not mistake else ""


def _text(setting):
    return ", ".join(f"{name} = {value}" for name, value in setting.items())

"""What is recorded along a training run, and how often."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quadlab.bridge import spectra
from quadlab.bridge.training.history import History, Log
from quadlab.bridge.training.quantities import QUANTITIES, Point, finite, has_labels
from quadlab.theory.intervals import Interval, positive, whole_positive

__all__ = ["Recorder", "Recording"]

_count = Interval(0, float("inf"), lower_closed=True, whole=True, words="a whole number >= 0")


@dataclass(frozen=True)
class Recorder:
    """What to record, at the steps that are multiples of `every`, before the step is made; step 0 is the start.

    Always: "loss"; "gradient_norm_squared" |g|^2; "regularizer" |g|^2 / n; "displacement" |w - w_0|; "accuracy" where
    the targets are labels.

    Parameters
    ----------
    every : steps between records.
    sharpness : k, the number of largest Hessian eigenvalues, by warm-started Lanczos; 0 for none. Recorded as
        "sharpness" (the largest), "eigenvalues" (m, k), "eigenvalue_residuals" (m, k), "eigenvalues_converged",
        "eigenvalue_products", and "gradient_projections_squared" (v_i' g)^2, (m, k).
    test : a second problem with the same network, for "test_loss" and "test_accuracy".
    extra : functions (problem, parameters) -> a number or an array, by the names to record them under.
    schedule : for some quantities an `every` of their own, 0 for never; "sharpness" stands for all that comes with it.
    preconditioner : state -> p (n,), positive, for the eigenvalues of p^-1/2 H p^-1/2 and the projections of
        p^-1/2 g instead; for IVON `lambda state: state["hessian"] + weight_decay`.
    tolerance, max_products : of `top_eigenpairs`. What did not converge is recorded as it is, with its residuals.
    seed : of the eigenvectors' random starts. They do not touch the random numbers of the training.

    >>> Recorder(every=10, sharpness=1, schedule={"sharpness": 100}).every_of("sharpness")
    100
    """

    every: int = 1
    sharpness: int = 0
    test: Any = None
    extra: Mapping[str, Callable] = field(default_factory=dict)
    schedule: Mapping[str, int] = field(default_factory=dict)
    preconditioner: Callable | None = None
    tolerance: float = 1e-4
    max_products: int | None = None
    seed: int = 0

    def __post_init__(self):
        whole_positive.check_one("every", self.every)
        _count.check_one("sharpness", self.sharpness)
        _count.check_one("seed", self.seed)
        positive.check_one("tolerance", self.tolerance)
        for name, function in self.extra.items():
            if name in (*QUANTITIES, *_SPECTRAL) or not callable(function):
                raise ValueError(f"extra must hold functions under names of their own, got {name!r}: {function!r}")
        for name, every in self.schedule.items():
            if name not in (*QUANTITIES, "sharpness", *self.extra):
                known = ", ".join((*QUANTITIES, "sharpness", *self.extra))
                raise ValueError(f"schedule must name quantities among {known}, got {name!r}")
            _count.check_one(f"schedule[{name!r}]", every)

    def every_of(self, name):
        """Steps between records of a quantity; 0 if it is never recorded."""
        return self.schedule.get(name, self.every)

    @property
    def settings(self):
        """What a continued run must share with the one that it continues, as text."""
        tested = None if self.test is None else self.test.name
        return (
            f"every {self.every}, schedule {dict(self.schedule)}, sharpness {self.sharpness} to {self.tolerance} in"
            f" {self.max_products} products with seed {self.seed}, preconditioned {self.preconditioner is not None},"
            f" extra {list(self.extra)}, test {tested}"
        )


_SPECTRAL = (
    "sharpness", "eigenvalues", "eigenvalue_residuals", "eigenvalues_converged", "eigenvalue_products",
    "gradient_projections_squared",
)  # fmt: skip


class Recording:
    """The records of one run so far, and what the next ones start from: `vectors` (n, k) and `start` (n,)."""

    def __init__(self, recorder, problem, start, history=None, vectors=None):
        self.recorder, self.start, self.vectors = recorder, start, vectors
        self.log = Log(history or History())
        test = recorder.test
        if test is not None and (test.dimension, test.backend) != (problem.dimension, problem.backend):
            raise ValueError(f"test must be on the same network and backend as {problem!r}, got {test!r}")
        if recorder.sharpness > problem.dimension:
            raise ValueError(f"sharpness must be at most the {problem.dimension} parameters, got {recorder.sharpness}")
        absent = {
            "accuracy": not has_labels(problem),
            "test_loss": test is None,
            "test_accuracy": test is None or not has_labels(test),
            "sharpness": not recorder.sharpness,
        }
        names = (*QUANTITIES, "sharpness", *recorder.extra)
        self._every = {name: recorder.every_of(name) for name in names if not absent.get(name)}

    def record(self, step, problem, parameters, state):
        """Measure what is due at this step; False if nothing is. FloatingPointError where a number is not finite."""
        due = [name for name, every in self._every.items() if every and step % every == 0]
        point = Point(problem, parameters, state, self.start, self.recorder.test)
        for name in due:
            if name in QUANTITIES:
                self.log.add(step, name, finite(name, QUANTITIES[name](point)))
            elif name == "sharpness":
                for quantity, value in self._spectrum(point).items():
                    self.log.add(step, quantity, value)
            else:
                self.log.add(step, name, self.recorder.extra[name](problem.unwrapped, parameters))
        return bool(due)

    def _spectrum(self, at):
        recorder, xp = self.recorder, at.problem.backend.namespace
        operator, gradient = at.problem.hessian(at.parameters), at.measured[1]
        if recorder.preconditioner is not None:
            diagonal = recorder.preconditioner(at.state)
            operator, gradient = spectra.preconditioned(operator, diagonal), gradient / xp.sqrt(diagonal)
        found = spectra.top_eigenpairs(
            operator, recorder.sharpness, rng=np.random.default_rng(recorder.seed), start=self.vectors,
            tolerance=recorder.tolerance, max_products=recorder.max_products,
        )  # fmt: skip
        self.vectors = found.vectors
        return {
            "sharpness": found.values[0],
            "eigenvalues": found.values,
            "eigenvalue_residuals": found.residuals,
            "eigenvalues_converged": found.converged,
            "eigenvalue_products": found.products,
            "gradient_projections_squared": (gradient @ found.vectors) ** 2,
        }

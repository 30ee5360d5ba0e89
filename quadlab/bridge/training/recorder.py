"""What is recorded along a training run, and how often."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quadlab.bridge import spectra
from quadlab.bridge.arrays import host
from quadlab.bridge.training.history import Log
from quadlab.bridge.training.quantities import QUANTITIES, Point, finite, has_labels
from quadlab.theory.intervals import Interval, whole_positive

__all__ = ["MEMORY", "Recorder", "Recording"]

MEMORY = ("start", "vectors", "scale")

_count = Interval(0, float("inf"), lower_closed=True, whole=True, words="a whole number >= 0")
_tolerance = Interval(0, 1, words="in (0, 1)")


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
        With the latest eigenvectors v_i, which may be older than the step, it asks for two more: "gradient_projections"
        v_i' g, (m, k), and "eigenvectors" (m, n, k). So {"sharpness": 50, "gradient_projections": 1} follows the
        gradient along the top eigenvector at every step.
    preconditioner : state -> p (n,), positive, for the eigenvalues of p^-1/2 H p^-1/2 and the projections of
        p^-1/2 g instead, p as of the latest eigenvalues; for IVON `lambda state: state["hessian"] + weight_decay`.
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
        _tolerance.check_one("tolerance", self.tolerance)
        if self.max_products is not None:
            whole_positive.check_one("max_products", self.max_products)
        if self.preconditioner is not None and not callable(self.preconditioner):
            raise ValueError(f"preconditioner must be a function of the rule's state, got {self.preconditioner!r}")
        for name, value in (("extra", self.extra), ("schedule", self.schedule)):
            if not isinstance(value, Mapping):
                raise ValueError(f"{name} must be a mapping of names, got {value!r}")
        for name, function in self.extra.items():
            if not isinstance(name, str) or name in (*QUANTITIES, *_SPECTRAL, *_LATEST) or not callable(function):
                raise ValueError(f"extra must hold functions under names of their own, got {name!r}: {function!r}")
        for name, every in self.schedule.items():
            if name not in self.names:
                raise ValueError(f"schedule must name quantities among {', '.join(self.names)}, got {name!r}")
            _count.check_one(f"schedule[{name!r}]", every)
            if name in _LATEST and every and not (self.sharpness and self.every_of("sharpness")):
                raise ValueError(f"schedule[{name!r}] must be 0 where sharpness is never recorded, got {every}")

    @property
    def names(self):
        """What a schedule can name."""
        return (*QUANTITIES, "sharpness", *_LATEST, *self.extra)

    def every_of(self, name):
        """Steps between records of a quantity; 0 if it is never recorded."""
        return self.schedule.get(name, 0 if name in _LATEST else self.every)

    @property
    def settings(self):
        """What a continued run must share with the one that it continues, as text."""
        tested = None if self.test is None else self.test.name
        return (
            f"every {self.every}, schedule {dict(sorted(self.schedule.items()))},"
            f" sharpness {self.sharpness} to {self.tolerance} in {self.max_products} products with seed {self.seed},"
            f" preconditioned {self.preconditioner is not None}, extra {list(self.extra)}, test {tested}"
        )

    @property
    def functions(self):
        """What the settings name, with all that it holds."""
        return {"preconditioner": self.preconditioner, "extra": dict(self.extra), "test": self.test}


_SPECTRAL = (
    "sharpness", "eigenvalues", "eigenvalue_residuals", "eigenvalues_converged", "eigenvalue_products",
    "gradient_projections_squared",
)  # fmt: skip


_LATEST = ("gradient_projections", "eigenvectors")


class Recording:
    """The records of one run so far, and what the next ones need: `memory`, arrays by name.

    "start" (n,), from which displacements count; "vectors" (n, k), the latest eigenvectors; "scale" (n,), p^-1/2 of the
    preconditioner with which they were found.
    """

    def __init__(self, recorder, problem, start):
        self.recorder, self.memory, self.log = recorder, {"start": start}, Log()
        self._every = {} if recorder is None else _schedule(recorder, problem)

    def go_on(self, history, memory):
        """Take up what another run of this problem has recorded."""
        self.log, self.memory = Log(history), self.memory | dict(memory)

    def record(self, step, problem, parameters, state):
        """Measure what is due at this step; False if nothing is. FloatingPointError where a number is not finite."""
        due = [name for name, every in self._every.items() if every and step % every == 0]
        point = Point(problem, parameters, state, self.memory["start"], self.recorder.test if due else None)
        for name in due:
            # a continued run has the records of its first step already
            if not self.log.has(step, name):
                for quantity, value in self._measured(name, point).items():
                    self.log.add(step, quantity, value)
        return bool(due)

    def _measured(self, name, at):
        if name in QUANTITIES:
            return {name: finite(name, QUANTITIES[name](at))}
        if name == "sharpness":
            return self._spectrum(at)
        if name in self.recorder.extra:
            return {name: self.recorder.extra[name](at.problem.unwrapped, at.parameters)}
        if "vectors" not in self.memory:
            return {}
        return {name: self._projections(name, at) if name == "gradient_projections" else self.memory["vectors"]}

    def _projections(self, name, at):
        gradient, scale = at.measured[1], self.memory.get("scale")
        return finite(name, host((gradient if scale is None else scale * gradient) @ self.memory["vectors"]))

    def _spectrum(self, at):
        recorder, operator = self.recorder, at.problem.hessian(at.parameters)
        if recorder.preconditioner is not None:
            operator = spectra.preconditioned(operator, recorder.preconditioner(at.state))
        found = spectra.top_eigenpairs(
            operator, recorder.sharpness, rng=int(recorder.seed),
            start=self.memory.get("vectors"), tolerance=recorder.tolerance, max_products=recorder.max_products,
        )  # fmt: skip
        self.memory = {"start": self.memory["start"], "vectors": found.vectors}
        if recorder.preconditioner is not None:
            self.memory["scale"] = operator.scale[:, 0]
        # squares of single precision would vanish below 1e-23
        squares = self._projections("gradient_projections", at).astype(np.float64) ** 2
        return {
            "sharpness": found.values[0],
            "eigenvalues": found.values,
            "eigenvalue_residuals": found.residuals,
            "eigenvalues_converged": found.converged,
            "eigenvalue_products": found.products,
            "gradient_projections_squared": finite("gradient_projections_squared", squares),
        }


def _schedule(recorder, problem):
    """Steps between records by name, of what this problem has. ValueError: the recorder does not fit it."""
    test = recorder.test
    if test is not None and not hasattr(test, "backend"):
        raise ValueError(f"test must be a problem or None, got {test!r}")
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
    return {name: recorder.every_of(name) for name in recorder.names if not absent.get(name)}

"""Evidence by running a deterministic method at several step sizes: the order at which its error vanishes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quadlab.estimate import convergence_order
from quadlab.verify.verdict import INCONCLUSIVE, REFUTED, VERIFIED, Evidence, Verdict, combine

__all__ = ["ErrorOrder"]


@dataclass(frozen=True)
class ErrorOrder:
    """The error of a run vanishes with a predicted order of the step size.

    settings : points of the claim's domain (they may carry further keys that the functions below use).
    error : (formula, setting, step size) -> the error of a run, >= 0.
    steps : the window of step sizes, fixed in advance; at least five.
    order : (formula, setting) -> the predicted order.
    margin : the interval of the order must lie within it on both sides.

    A claim whose formula predicts the order uses it in `order` alone, one whose formula enters the flow uses it in
    `error`; the one that ignores it may cache its runs.
    """

    settings: tuple[Mapping[str, Any], ...]
    error: Callable
    steps: tuple[float, ...]
    order: Callable
    margin: float = 0.1
    observable: str = "order of the error"

    def prepare(self, formula, *, rng=None, budget="standard", executor=None, claim=""):
        """Nothing is random here: return what runs the method and judges a candidate formula."""

        def judge(candidate):
            verdicts, rows = [], []
            for setting in self.settings:
                errors = np.array([float(self.error(candidate, setting, step)) for step in self.steps])
                predicted = float(self.order(candidate, setting))
                verdict, row = self._decide(errors, predicted)
                if verdict.word == REFUTED:
                    verdict = Verdict(REFUTED, verdict.reason, {**setting, "predicted_order": predicted})
                verdicts.append(verdict)
                rows.append({"setting": dict(setting), "errors": errors.tolist(), "prediction": predicted, **row})
            figures = {"comparisons": rows, "steps": list(self.steps), "observable": self.observable}
            return Evidence("sampled", combine(verdicts), claim, figures)

        return judge

    def _decide(self, errors, predicted):
        """VERIFIED if the order's interval lies within the margin of the prediction, REFUTED if it lies outside."""
        if not (np.isfinite(errors).all() and (errors > 0).all()):
            return Verdict(REFUTED, "the error is zero or not finite at some step size"), {}
        found = convergence_order(self.steps, errors)
        row = {"estimate": found.value, "interval": [found.low, found.high], "margin": self.margin}
        if max(abs(found.low - predicted), abs(found.high - predicted)) <= self.margin:
            return Verdict(VERIFIED), row
        if found.high < predicted - self.margin or found.low > predicted + self.margin:
            return Verdict(REFUTED, f"measured order {found}, predicted {predicted:g} +- {self.margin:g}"), row
        return Verdict(INCONCLUSIVE, f"measured order {found} straddles {predicted:g} +- {self.margin:g}"), row

"""Evidence by running a deterministic method at several step sizes: the order at which its error vanishes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quadlab.estimate import convergence_order
from quadlab.verify.statistics import one_number, resolution
from quadlab.verify.unfinished import finite, limited_runs
from quadlab.verify.verdict import INCONCLUSIVE, REFUTED, VERIFIED, Evidence, Verdict, combine

__all__ = ["ErrorOrder"]

# of a formula that makes a whole number of whole numbers in a few dozen floating-point operations
ROUNDING = 2**10 * np.finfo(float).eps


@dataclass(frozen=True, kw_only=True)
class ErrorOrder:
    """The error of a run vanishes with a predicted order of the step size.

    settings : points of the claim's domain (they may carry further keys that the functions below use).
    error : (formula, setting, step size) -> the error of a run, >= 0.
    steps : the window of step sizes, fixed in advance; at least five.
    order : (formula, setting) -> the predicted order.
    spacing : the possible orders are its multiples: whole numbers by default, 1/2 where the error goes by square roots.
    margin : the interval of the measured order must lie within it about one of them; below half the spacing.

    The interval only has to tell which multiple of the spacing the order is; the prediction has to be that number, to
    rounding. A claim whose formula predicts the order uses it in `order` alone, one whose formula enters the flow uses
    it in `error`; the one that ignores it may cache its runs.

    The figures show the margin and the `resolution` (quadlab.verify.statistics.resolution).

    All runs of a formula together are limited in work (quadlab.verify.unfinished): beyond it the evidence is
    INCONCLUSIVE. Where a run leaves the floating-point range the formula is REFUTED.
    """

    settings: tuple[Mapping[str, Any], ...]
    error: Callable
    steps: tuple[float, ...]
    order: Callable
    spacing: float = 1.0
    margin: float = 0.1
    observable: str = "order of the error"

    def __post_init__(self):
        if not self.settings:
            raise ValueError("settings must be at least one, got none")
        if not 0 < self.spacing <= 1:
            raise ValueError(f"spacing must be positive and at most 1, got {self.spacing}")
        if not 0 < self.margin < self.spacing / 2:
            raise ValueError(
                f"margin must be positive and below half the spacing of the orders, {self.spacing / 2:g},"
                f" got {self.margin}"
            )

    def prepare(self, formula, *, rng=None, budget="standard", executor=None, claim=""):
        """Nothing is random here: return what runs the method and judges a candidate formula."""

        def comparisons(candidate):
            verdicts: list[Verdict] = []
            rows, setting = [], self.settings[0]
            with limited_runs(verdicts, lambda: setting):
                for setting in self.settings:
                    verdict, row = self._compare(finite(candidate), setting)
                    verdicts.append(verdict)
                    rows.append({"setting": dict(setting), **row})
            return combine(verdicts), rows

        def judge(candidate):
            verdict, rows = comparisons(candidate)
            figures = {"comparisons": rows, "steps": list(self.steps), "observable": self.observable}
            if candidate is formula:
                figures["resolution"] = resolution(formula, lambda changed: comparisons(changed)[0].word == REFUTED)
            return Evidence("sampled", verdict, claim, figures)

        return judge

    def _compare(self, candidate, setting):
        errors = np.array([one_number("error", self.error(candidate, setting, step)) for step in self.steps])
        predicted = one_number("order", self.order(candidate, setting))
        row = {"errors": errors.tolist(), "prediction": predicted, "margin": self.margin, "spacing": self.spacing}
        if not (np.isfinite(errors).all() and (errors > 0).all()):
            return Verdict(REFUTED, "the error is zero or not finite at some step size", dict(setting)), row
        found = convergence_order(self.steps, errors)
        word, reason = self._decide(found, predicted)
        witness = {**setting, "measured_order": found.value, "predicted_order": predicted} if word == REFUTED else None
        return Verdict(word, reason, witness), {**row, "estimate": found.value, "interval": [found.low, found.high]}

    def _decide(self, found, predicted):
        """VERIFIED if the interval singles out the predicted order, REFUTED if another or none that is possible."""
        nearest = round(found.value / self.spacing) * self.spacing
        possible = round(predicted / self.spacing) * self.spacing if np.isfinite(predicted) else np.nan
        if not abs(predicted - possible) <= ROUNDING * max(1.0, abs(possible)):
            return REFUTED, f"measured order {found}, predicted {predicted:.12g}, no multiple of {self.spacing:g}"
        if nearest - self.margin <= found.low and found.high <= nearest + self.margin:
            if possible == nearest:
                return VERIFIED, ""
            return REFUTED, f"measured order {found}, which is {nearest:g}, predicted {possible:g}"
        if found.high < possible - self.margin or found.low > possible + self.margin:
            return REFUTED, f"measured order {found}, predicted {possible:g}"
        return INCONCLUSIVE, f"measured order {found} straddles {possible:g} +- {self.margin:g}"

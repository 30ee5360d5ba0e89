"""Evidence by simulation: sample sizes from exact variances, decisions within margins fixed beforehand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from quadlab.verify.statistics import (
    MARGINS,
    PROBES,
    RESOLVED,
    decide_equivalence,
    decide_sign,
    resolution,
    sample_size,
)
from quadlab.verify.verdict import REFUTED, Evidence, Verdict, combine

__all__ = ["EdgeBracket", "Equivalence", "Measurement"]


@dataclass(frozen=True)
class Measurement:
    """An estimate, its standard error and the number of replicas behind it."""

    value: float
    standard_error: float
    replicas: int

    @classmethod
    def of(cls, ensemble, observable, index=-1):
        """An observable of an Ensemble at its last recorded step (or at `index`)."""
        value, error = ensemble.mean[observable][index], ensemble.standard_error[observable][index]
        return cls(float(np.squeeze(value)), float(np.squeeze(error)), ensemble.replicas)


@dataclass(frozen=True)
class Equivalence:
    """A measured quantity equals the prediction within a relative margin.

    settings : points of the claim's domain (they may carry further keys that `measure` and `predict` use).
    measure : (setting, replicas, rng, executor) -> Measurement.
    spread : setting -> exact (or bounding) standard deviation of one replica's observable.
    predict : (formula, setting) -> prediction; the formula at the setting by default.
    scale : setting -> what the margin is relative to; the prediction of the right formula by default. A scale so large
        that the formula could be doubled unseen at every setting is refused.

    The figures show the margins and the `resolution` (quadlab.verify.statistics.resolution).
    """

    settings: tuple[Mapping[str, Any], ...]
    measure: Callable
    spread: Callable
    predict: Callable = lambda formula, setting: formula(**setting)
    scale: Callable | None = None
    observable: str = ""

    def prepare(self, formula, *, rng, budget, executor=None, claim=""):
        """Run the simulations once; return what judges a candidate formula by them."""
        margins, measured = [], []
        for setting, seed in zip(self.settings, rng.spawn(len(self.settings)), strict=True):
            unit = self.scale(setting) if self.scale else abs(float(np.squeeze(self.predict(formula, setting))))
            margin, spread = MARGINS[budget] * unit, self.spread(setting)
            measurement = self.measure(setting, sample_size(spread, margin), seed, executor)
            # the exact spread guards against a sample that has not yet seen its own tails
            error = max(measurement.standard_error, spread / sqrt(measurement.replicas))
            margins.append(margin)
            measured.append(Measurement(measurement.value, error, measurement.replicas))
        seen = self._resolution(formula, margins)

        def judge(candidate):
            verdicts, rows = [], []
            for setting, margin, m in zip(self.settings, margins, measured, strict=True):
                prediction = float(np.squeeze(self.predict(candidate, setting)))
                verdict = decide_equivalence(m.value, m.standard_error, prediction, margin)
                verdicts.append(_with_witness(verdict, setting, m.value, prediction))
                rows.append(
                    {
                        "setting": dict(setting),
                        "estimate": m.value,
                        "standard_error": m.standard_error,
                        "prediction": prediction,
                        "margin": margin,
                        "replicas": m.replicas,
                    }
                )
            figures = {"comparisons": rows, "observable": self.observable, "resolution": seen}
            return Evidence("sampled", combine(verdicts), claim, figures)

        return judge

    def _resolution(self, formula, margins):
        right = [float(np.squeeze(self.predict(formula, setting))) for setting in self.settings]

        def moved(changed):
            new = [float(np.squeeze(self.predict(changed, setting))) for setting in self.settings]
            return any(abs(a - b) >= RESOLVED * m for a, b, m in zip(new, right, margins, strict=True))

        seen = resolution(formula, moved)
        if seen is None and any(right):
            raise ValueError(
                "scale must be so small that the margin shows when the formula is doubled, got margins of"
                f" {', '.join(f'{m:.3g}' for m in margins)} for predictions of {', '.join(f'{p:.3g}' for p in right)}"
            )
        return seen


@dataclass(frozen=True)
class EdgeBracket:
    """A measured change is negative just below the predicted edge and positive just above it.

    settings : points of the claim's domain.
    measure : (setting, edge value, replicas, rng, executor) -> Measurement of the change there.
    spread : (setting, edge value) -> standard deviation of one replica's change.
    effect : (setting, edge value) -> exact expected change, which designs the sample size.

    The figures show the margins and the `resolution`: the bracket of an edge that lies further off than its own width
    has both its sides on one side of the true edge.
    """

    settings: tuple[Mapping[str, Any], ...]
    measure: Callable
    spread: Callable
    effect: Callable
    observable: str = ""

    def prepare(self, formula, *, rng, budget, executor=None, claim=""):
        """Fix the sample sizes by the right formula; return what brackets a candidate's edge."""
        margin = MARGINS[budget]
        sizes = []
        for setting in self.settings:
            edge = float(formula(**setting))
            sizes.append(
                max(
                    sample_size(self.spread(setting, x), 0.9 * abs(self.effect(setting, x)))
                    for x in ((1 - margin) * edge, (1 + margin) * edge)
                )
            )
        seeds = rng.spawn(2 * len(self.settings))

        def judge(candidate):
            verdicts, rows = [], []
            for k, (setting, size) in enumerate(zip(self.settings, sizes, strict=True)):
                edge = float(candidate(**setting))
                if not 0 < edge < float("inf"):
                    reason = f"an edge must be positive and finite, the formula gives {edge:.6g}"
                    verdicts.append(Verdict(REFUTED, reason, {**setting, "predicted": edge}))
                    continue
                for sign, seed in ((-1, seeds[2 * k]), (1, seeds[2 * k + 1])):
                    value = (1 + sign * margin) * edge
                    m = self.measure(setting, value, size, seed, executor)
                    verdict = decide_sign(m.value, m.standard_error, sign)
                    verdicts.append(_with_witness(verdict, setting, m.value, f"{'>' if sign > 0 else '<'} 0"))
                    rows.append(
                        {
                            "setting": dict(setting),
                            "at": value,
                            "estimate": m.value,
                            "standard_error": m.standard_error,
                            "predicted_sign": sign,
                            "margin": margin * edge,
                            "replicas": m.replicas,
                        }
                    )
            figures = {
                "comparisons": rows,
                "observable": self.observable,
                "resolution": min(size for size in PROBES if size >= RESOLVED * margin),
            }
            return Evidence("sampled", combine(verdicts), claim, figures)

        return judge


def _with_witness(verdict, setting, measured, predicted):
    if verdict.word != REFUTED:
        return verdict
    return Verdict(REFUTED, verdict.reason, {**setting, "measured": measured, "predicted": predicted})

"""Evidence by simulation: sample sizes from exact variances, decisions within margins fixed beforehand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

from quadlab.verify.statistics import (
    MARGINS,
    PROBES,
    RESOLVED,
    check_spread,
    decide_equivalence,
    decide_sign,
    one_number,
    resolution,
    sample_size,
)
from quadlab.verify.unfinished import limited_runs
from quadlab.verify.verdict import INCONCLUSIVE, REFUTED, SKIPPED, Evidence, Verdict, combine

__all__ = ["EdgeBracket", "Equivalence", "Measurement"]


@dataclass(frozen=True)
class Measurement:
    """An estimate, its standard error and the number of replicas behind it.

    rounding : a bound on what floating-point arithmetic changed the value by, where that can matter.
    """

    value: float
    standard_error: float
    replicas: int
    rounding: float = 0.0

    @classmethod
    def of(cls, ensemble, observable, index=-1):
        """An observable of an Ensemble at its last recorded step (or at `index`)."""
        value, error = ensemble.mean[observable][index], ensemble.standard_error[observable][index]
        return cls(one_number(observable, value), one_number("standard_error", error), ensemble.replicas)


@dataclass(frozen=True)
class Equivalence:
    """A measured quantity equals the prediction within a relative margin.

    settings : points of the claim's domain (they may carry further keys that `measure` and `predict` use).
    measure : (setting, replicas, rng, executor) -> Measurement.
    spread : setting -> exact (or bounding) standard deviation of one replica's observable; a sample that scatters
        more is an error, and no verdict on a formula.
    predict : (formula, setting) -> prediction; the formula at the setting by default.
    scale : setting -> what the margin is relative to; the prediction of the right formula by default. A scale so large
        that the formula could be doubled unseen at every setting is refused.

    A setting at which rounding hides the margin is SKIPPED; where all are, the evidence is INCONCLUSIVE.
    The figures show the margins and the `resolution` (quadlab.verify.statistics.resolution).
    """

    settings: tuple[Mapping[str, Any], ...]
    measure: Callable
    spread: Callable
    predict: Callable = lambda formula, setting: formula(**setting)
    scale: Callable | None = None
    observable: str = ""

    def __post_init__(self):
        if not self.settings:
            raise ValueError("settings must be at least one, got none")

    def prepare(self, formula, *, rng, budget, executor=None, claim=""):
        """Run the simulations once; return what judges a candidate formula by them."""
        margins, measured = [], []
        for setting, seed in zip(self.settings, rng.spawn(len(self.settings)), strict=True):
            margin = MARGINS[budget] * self._unit(formula, setting)
            spread = one_number("spread", self.spread(setting))
            found = self.measure(setting, sample_size(spread, margin), seed, executor)
            margins.append(margin)
            measured.append(_checked(found, spread))
        seen = self._resolution(formula, margins, measured)

        def judge(candidate):
            verdicts: list[Verdict] = []
            rows, setting = [], self.settings[0]
            with limited_runs(verdicts, lambda: setting):
                for setting, margin, m in zip(self.settings, margins, measured, strict=True):
                    prediction = self._prediction(candidate, setting)
                    verdict = decide_equivalence(m.value, m.standard_error, prediction, margin, m.rounding)
                    verdicts.append(_with_witness(verdict, setting, m.value, prediction))
                    rows.append(
                        {
                            "setting": dict(setting),
                            "estimate": m.value,
                            "standard_error": m.standard_error,
                            "prediction": prediction,
                            "margin": margin,
                            "rounding": m.rounding,
                            "replicas": m.replicas,
                        }
                    )
            verdict = combine(verdicts)
            if verdict.word == SKIPPED:
                verdict = Verdict(INCONCLUSIVE, verdict.reason)
            figures = {"comparisons": rows, "observable": self.observable, "resolution": seen}
            return Evidence("sampled", verdict, claim, figures)

        return judge

    def _prediction(self, formula, setting):
        return one_number("prediction", self.predict(formula, setting))

    def _unit(self, formula, setting):
        """What the margin is relative to."""
        unit = one_number("scale", self.scale(setting)) if self.scale else abs(self._prediction(formula, setting))
        if not (isfinite(unit) and unit > 0):
            name = "scale" if self.scale else "prediction"
            reason = f"{name} must be finite and not zero, got {unit} at {dict(setting)}"
            raise ValueError(reason if self.scale else f"{reason}; a prediction of zero needs a scale of its own")
        return unit

    def _resolution(self, formula, margins, measured):
        right = [self._prediction(formula, setting) for setting in self.settings]

        def moved(changed):
            return any(
                abs(self._prediction(changed, setting) - prediction) >= RESOLVED * (margin + m.rounding)
                for setting, prediction, margin, m in zip(self.settings, right, margins, measured, strict=True)
            )

        seen = resolution(formula, moved)
        if seen is None and self.scale and any(right):
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
    spread : (setting, edge value) -> standard deviation of one replica's change; a sample that scatters more is an
        error, and no verdict on a formula.
    effect : (setting, edge value) -> exact expected change, which designs the sample size.

    The figures show the margins and the `resolution`: the bracket of an edge that lies further off than its own width
    has both its sides on one side of the true edge.
    """

    settings: tuple[Mapping[str, Any], ...]
    measure: Callable
    spread: Callable
    effect: Callable
    observable: str = ""

    def __post_init__(self):
        if not self.settings:
            raise ValueError("settings must be at least one, got none")

    def prepare(self, formula, *, rng, budget, executor=None, claim=""):
        """Fix the sample sizes by the right formula; return what brackets a candidate's edge."""
        margin = MARGINS[budget]
        sizes = []
        for setting in self.settings:
            edge = one_number("edge", formula(**setting))
            sizes.append(
                max(
                    sample_size(
                        one_number("spread", self.spread(setting, x)),
                        0.9 * abs(one_number("effect", self.effect(setting, x))),
                    )
                    for x in ((1 - margin) * edge, (1 + margin) * edge)
                )
            )
        seeds = rng.spawn(2 * len(self.settings))

        def judge(candidate):
            verdicts, rows = [], []
            for k, (setting, size) in enumerate(zip(self.settings, sizes, strict=True)):
                edge = one_number("edge", candidate(**setting))
                if not 0 < edge < float("inf"):
                    reason = f"an edge must be positive and finite, the formula gives {edge:.6g}"
                    verdicts.append(Verdict(REFUTED, reason, {**setting, "predicted": edge}))
                    continue
                for sign, seed in ((-1, seeds[2 * k]), (1, seeds[2 * k + 1])):
                    value = (1 + sign * margin) * edge
                    found = self.measure(setting, value, size, seed, executor)
                    if isfinite(found.value):
                        m = _checked(found, one_number("spread", self.spread(setting, value)))
                        verdict = decide_sign(m.value, m.standard_error, sign)
                    else:
                        m, verdict = found, _overflowed(found.value, sign)
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


def _checked(found, spread):
    """The measurement with an error that its own sample and the stated spread both allow."""
    value, error = one_number("estimate", found.value), one_number("standard_error", found.standard_error)
    if not (isfinite(value) and isfinite(found.rounding) and found.rounding >= 0):
        raise ValueError(f"estimate must be finite, got {found.value}, with a rounding of {found.rounding}")
    if isfinite(spread):
        check_spread(spread, error, found.replicas)
    # the exact spread guards against a sample that has not yet seen its own tails
    return Measurement(value, max(error, spread / sqrt(found.replicas)), found.replicas, found.rounding)


def _overflowed(value, sign):
    """The verdict on a change that the simulation could not hold: it did not fall, and if infinite it rose."""
    reason = f"the change is {value}, too large for the simulation"
    return Verdict(REFUTED if sign < 0 else INCONCLUSIVE, reason)


def _with_witness(verdict, setting, measured, predicted):
    if verdict.word != REFUTED:
        return verdict
    return Verdict(REFUTED, verdict.reason, {**setting, "measured": measured, "predicted": predicted})

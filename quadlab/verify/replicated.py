"""Evidence by replicated runs: a prediction held against what an expensive run measures, on several seeds.

One run (a network trained, say) gives one number; its spread is not known beforehand and only a few runs can be paid
for. Intervals are therefore Student's, at a stated confidence for each setting, and the margin is fixed beforehand.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any, ClassVar

import numpy as np
from scipy.stats import t as student

from quadlab.verify.runs import Runs
from quadlab.verify.statistics import MARGINS, RESOLVED, one_number, resolution
from quadlab.verify.theorem import LOWER, TIGHT, UPPER
from quadlab.verify.verdict import INCONCLUSIVE, REFUTED, VERIFIED, Evidence, Verdict, combine

__all__ = ["Replication", "at_least", "decide_interval", "student_intervals"]

MOST_SEEDS = 1000
LARGEST_DIFFERENCE = 1e100
# at a half, twice the prediction and nothing at all could both pass for it
LARGEST_MARGIN = 0.5


def student_intervals(differences, confidence):
    """Student's intervals of the mean of each row, with a spread pooled over the rows.

    mean_j +- t e_j,   e_j = max(s_j, s) / sqrt(n),   s^2 = (s_1^2 + … + s_K^2) / K,
    with t the quantile at K (n - 1) degrees of freedom.
    For normal numbers of equal spread in all K rows they cover with at least the confidence, exactly for K = 1.
    A row that scatters more than the others is judged by its own s_j.

    Parameters
    ----------
    differences : (…, K rows, n seeds), n >= 2
    confidence : in (0, 1)

    Returns
    -------
    Mean, standard error e and half-width t e of each row, each of shape (…, K), in the units of the differences.

    Source: Student 1908; pooled spread as in the analysis of variance (Fisher 1925).

    >>> mean, error, half_width = student_intervals([[1.0, 3.0], [5.0, 7.0]], 0.99)
    >>> mean.tolist(), error.round(12).tolist(), half_width.round(4).tolist()
    ([2.0, 6.0], [1.0, 1.0], [9.9248, 9.9248])
    """
    differences = np.asarray(differences, dtype=float)
    rows, seeds = differences.shape[-2:]
    own = differences.var(axis=-1, ddof=1)
    error = np.sqrt(np.maximum(own, own.mean(axis=-1, keepdims=True)) / seeds)
    return differences.mean(axis=-1), error, _quantile(confidence, rows * (seeds - 1)) * error


def decide_interval(interval, allowed):
    """VERIFIED if an interval (low, high) lies within the allowed one, REFUTED if outside it, INCONCLUSIVE otherwise.

    >>> decide_interval((0.1, 0.3), (-inf, 0.2))
    'INCONCLUSIVE'
    """
    (low, high), (least, most) = interval, allowed
    if least <= low and high <= most:
        return VERIFIED
    return REFUTED if high < least or low > most else INCONCLUSIVE


def at_least(name, least, missing):
    """The premise that a number measured in a run is at least `least(setting, measured)`; what is `missing` if not.

    >>> at_least("steps", lambda setting, measured: 10, "the training was too short")({}, {"steps": 7})
    'the training was too short: steps 7, needed 10'
    """

    def premise(setting, measured):
        needed = least(setting, measured)
        return "" if measured[name] >= needed else f"{missing}: {name} {measured[name]:.4g}, needed {needed:.4g}"

    return premise


def _quantile(confidence, degrees):
    return student.isf((1 - confidence) / 2, degrees)


@dataclass(frozen=True, kw_only=True)
class Replication:
    """A number measured in runs equals a prediction, or stays below or above it, within a margin fixed beforehand.

    settings : points of the claim's domain (with further keys that the functions below use): numbers and texts.
    runs : the Runs; claims that share them hold the same object.
    observed : (setting, measured) -> the number held against the prediction.
    predict : (formula, setting, measured) -> prediction for that run; the formula at the setting by default.
    scale : (setting, measured) -> what differences are divided by; the size of the right formula's prediction by
        default, which makes the margin relative.
    premise : (setting, measured) -> what the run lacks for the statement to speak of it, as a text; "" where it lacks
        nothing. It may use the right formula, never the candidate.
    margin : bound on the mean of (observed - predicted) / scale; may be zero for upper and lower claims. Without a
        scale of its own it is below LARGEST_MARGIN; with one, so small that the formula could not be doubled unseen.
    observable, units : what is observed, as text.
    seeds : number of runs for each budget, at least 2.

    For each setting the interval of the mean difference (`student_intervals`) is held against the margin: VERIFIED if
    it lies within, REFUTED if it lies outside. An upper claim asks that it lies below +margin, a lower one that it
    lies above -margin. A refutation of a statement that holds within the margin has a probability of at most
    1 - confidence for each setting, if the scaled differences are normal and their spread is that of the other
    settings of the claim. (Where one of three settings scatters alone and the truth lies on the margin: 5, 2, 1 % on
    2, 4, 8 seeds.) Symmetric heavy tails are refuted less often, skewed ones more: log-normal differences with the
    spread 1 of their logarithm are missed at 2, 8, 9 % by a single setting.

    A setting at which a run does not meet its premise, or says so itself (PremiseNotMet), is INCONCLUSIVE, with what
    was missing: the other runs there would be a selection.

    The figures show the margin and, for equalities, the `resolution` (quadlab.verify.statistics.resolution).

    >>> runs = Runs(lambda setting, seed, budget: {"found": np.random.default_rng(seed).normal(setting["a"], 1e-3)})
    >>> evidence = Replication(
    ...     settings=({"a": 1.0}, {"a": 2.0}), runs=runs, observed=lambda setting, run: run["found"], margin=0.02,
    ...     observable="what is found",
    ... )
    >>> judge = evidence.prepare(lambda a: a, rng=0, budget="standard")
    >>> judge(lambda a: a).verdict.word, judge(lambda a: a**2).verdict.witness["a"]
    ('VERIFIED', 2.0)
    """

    kind: ClassVar[str] = "replicated"

    settings: tuple[Mapping[str, Any], ...]
    runs: Runs
    observed: Callable
    predict: Callable = lambda formula, setting, measured: formula(**setting)
    premise: Callable = lambda setting, measured: ""
    margin: float
    observable: str
    units: str = ""
    scale: Callable | None = None
    seeds: Mapping[str, int] = field(default_factory=lambda: {"quick": 2, "standard": 4, "deep": 8})
    confidence: float = 0.99

    def __post_init__(self):
        try:
            texts = [json.dumps(dict(setting), sort_keys=True) for setting in self.settings]
        except (TypeError, ValueError) as error:
            raise ValueError(f"settings must hold plain numbers and texts, got {self.settings!r}") from error
        if not texts or len(set(texts)) < len(texts):
            raise ValueError(f"settings must be at least one, all different, got {self.settings!r}")
        if not isinstance(self.runs, Runs):
            raise ValueError(f"runs must be a Runs, got {type(self.runs).__name__}")
        if not (isfinite(self.margin) and self.margin >= 0):
            raise ValueError(f"margin must be finite and >= 0, got {self.margin}")
        if self.scale is None and not self.margin < LARGEST_MARGIN:
            raise ValueError(f"margin must be below {LARGEST_MARGIN} where it is relative, got {self.margin}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie in (0, 1), got {self.confidence}")
        if set(self.seeds) != set(MARGINS) or any(not isinstance(n, int) or n < 2 for n in self.seeds.values()):
            raise ValueError(
                f"seeds must give a whole number >= 2 for each of {', '.join(MARGINS)}, got {dict(self.seeds)}"
            )

    def prepare(self, formula, *, rng, budget, executor=None, claim="", claim_kind=TIGHT):
        """Make the runs once; return what judges a candidate formula by them."""
        if self.margin == 0 and claim_kind not in (UPPER, LOWER):
            raise ValueError(f"margin must be positive for claims that are not upper or lower, got {self.margin}")
        least = -inf if claim_kind == UPPER else -self.margin
        most = inf if claim_kind == LOWER else self.margin
        replicas = self.runs.tried(self.settings, self.seeds[budget], rng=rng, budget=budget, executor=executor)
        made, unmet = [], []
        for setting, row in zip(self.settings, replicas, strict=True):
            if missing := self._missing(setting, row):
                runs = [{"seed": run.seed, "missing": run.missing, "measured": dict(run.measured)} for run in row]
                unmet.append({"setting": dict(setting), "missing": missing, "runs": runs})
            else:
                made.append((setting, row))
        left_open = [Verdict(INCONCLUSIVE, row["missing"]) for row in unmet]
        about = {
            "observable": self.observable,
            "units": self.units,
            "confidence": self.confidence,
            "comparisons": [],
            "premise_not_met": unmet,
        }
        if not made:
            return lambda candidate: Evidence(self.kind, combine(left_open), claim, about)
        if all(run.measured == row[0].measured for _, row in made for run in row):
            raise ValueError("runs must depend on their seeds, got the same numbers from all of them")
        observed = _finite(made, self.observed, "observed")
        scales = np.abs(_finite(made, self.scale or (lambda *point: self.predict(formula, *point)), "scale"))
        if not (scales > 0).all():
            raise ValueError("scale must not be zero, got zero; a prediction of zero needs a scale of its own")
        seen = None if claim_kind in (UPPER, LOWER) else self._resolution(formula, made, scales)

        def judge(candidate):
            predicted = _numbers(made, lambda *point: self.predict(candidate, *point))
            with np.errstate(over="ignore", invalid="ignore"):
                differences = (observed - predicted) / scales
                # beyond a number whose square is still finite no interval can be drawn
                near = (np.abs(differences) < LARGEST_DIFFERENCE).all(axis=1)
            if not near.all():
                worst, _ = made[int(np.argmin(near))]
                reason = "the formula gives no finite number, or one beyond all measure"
                return Evidence(self.kind, Verdict(REFUTED, reason, dict(worst)), claim, about)
            intervals = student_intervals(differences, self.confidence)
            rows = [
                {
                    "setting": dict(setting),
                    "estimate": float(seen.mean()),
                    "prediction": float(expected.mean()),
                    "difference": float(difference),
                    "standard_error": float(error),
                    "interval": [float(difference - half_width), float(difference + half_width)],
                    "allowed": [least, most],
                    "margin": self.margin,
                    "seeds": len(row),
                    "pooled_settings": len(made),
                    "runs": [
                        {"seed": run.seed, "observed": float(y), "predicted": float(p), "measured": dict(run.measured)}
                        for run, y, p in zip(row, seen, expected, strict=True)
                    ],
                }
                for (setting, row), seen, expected, difference, error, half_width in zip(
                    made, observed, predicted, *intervals, strict=True
                )
            ]
            verdict = combine([*map(self._decide, rows), *left_open])
            return Evidence(self.kind, verdict, claim, {**about, "comparisons": rows, "resolution": seen})

        return judge

    def _missing(self, setting, row):
        """The premise that runs at a setting do not meet, in how many of them; "" if all meet it."""
        missing = [text for run in row if (text := run.missing or self.premise(setting, run.measured))]
        where = ", ".join(f"{name} = {value}" for name, value in setting.items())
        return f"{missing[0]} (in {len(missing)} of {len(row)} runs at {where})" if missing else ""

    def _resolution(self, formula, made, scales):
        right = _finite(made, lambda *point: self.predict(formula, *point), "prediction")

        def moved(changed):
            new = _numbers(made, lambda *point: self.predict(changed, *point))
            mean, _, half_width = student_intervals((new - right) / scales, self.confidence)
            return (abs(mean) - half_width >= RESOLVED * self.margin).any()

        seen = resolution(formula, moved)
        hidden = (abs(right / scales).mean(axis=1) <= 2 * self.margin).all()
        if seen is None and hidden and right.any():
            raise ValueError(
                "margin must be so small that it shows when the formula is doubled, got"
                f" {self.margin} for predictions of {(right / scales).tolist()} in units of the scale"
            )
        return seen

    def _decide(self, row):
        (low, high), (least, most) = row["interval"], row["allowed"]
        word = decide_interval((low, high), (least, most))
        if word == VERIFIED:
            return Verdict(VERIFIED)
        found = f"difference in [{low:.3g}, {high:.3g}] on {row['seeds']} seeds, allowed [{least:.3g}, {most:.3g}]"
        if word == REFUTED:
            witness = {**row["setting"], "measured": row["estimate"], "predicted": row["prediction"]}
            return Verdict(REFUTED, found, witness)
        count = self._seeds_needed(row)
        advice = f"about {count:.0f} seeds would decide" if isfinite(count) else f"not decided by {MOST_SEEDS} seeds"
        return Verdict(INCONCLUSIVE, f"{found}; {advice}", needed=count / row["seeds"])

    def _seeds_needed(self, row):
        """Seeds at which an interval of the same spread about the same mean would clear the nearest end."""
        gap = min(abs(row["difference"] - end) for end in row["allowed"])
        counts = np.arange(row["seeds"] + 1, MOST_SEEDS + 1)
        half_widths = _quantile(self.confidence, row["pooled_settings"] * (counts - 1)) * row["standard_error"]
        enough = counts[half_widths * np.sqrt(row["seeds"] / counts) <= gap]
        return float(enough[0]) if enough.size else inf


def _numbers(made, function, name="prediction"):
    """function(setting, measured) for each setting and run, as an array of shape (settings, seeds)."""
    return np.array([[one_number(name, function(setting, run.measured)) for run in row] for setting, row in made])


def _finite(made, function, name):
    values = _numbers(made, function, name)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite in every run, got {values.tolist()}")
    return values

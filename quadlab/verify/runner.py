"""Verify a theorem: every kind of evidence on every claim, and the same evidence on every mutant."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np

from quadlab.simulate.chunks import seed_number
from quadlab.verify import computed, proved, symbolic
from quadlab.verify.certify import NotAlgebraic
from quadlab.verify.limits import time_limit
from quadlab.verify.replicated import Replication
from quadlab.verify.statistics import MARGINS
from quadlab.verify.verdict import ERROR, INCONCLUSIVE, REFUTED, SKIPPED, VERIFIED, Evidence, Verdict, combine

__all__ = ["MutantResult", "Report", "judges", "verify"]

EXACT_KINDS = ("symbolic", "certified", "enclosed")
EXACT_SECONDS = 15.0


@dataclass(frozen=True)
class MutantResult:
    """What each kind of evidence said of one wrong version of a claim."""

    claim: str
    name: str
    verdicts: Mapping[str, Verdict]

    @property
    def killed(self):
        """Refuted by every kind of evidence that applies to it, and by at least one."""
        applicable = [verdict.word for verdict in self.verdicts.values() if verdict.word != SKIPPED]
        return set(applicable) == {REFUTED}


@dataclass(frozen=True)
class Report:
    """The outcome of verifying one theorem."""

    id: str
    title: str
    paper: str
    kind: str
    verdict: Verdict
    evidence: tuple[Evidence, ...]
    mutants: tuple[MutantResult, ...]
    seconds: float
    seed: int
    budget: str
    problem: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def survivors(self):
        """Mutants that some applicable evidence did not refute."""
        return tuple(mutant for mutant in self.mutants if not mutant.killed)


def verify(theorem, *, rng=None, budget="standard", problem=None, executor=None, progress=None):
    """Verify a theorem and report a verdict with its evidence.

    Parameters
    ----------
    theorem : a Theorem (see `load` for those that come with quadlab).
    rng : SPEC 7: None for fresh entropy, an int, a SeedSequence or a Generator. The report's `seed` is an int that
        gives the same report.
    budget : "quick", "standard" or "deep": simulations decide within 2 %, 1 % or 0.5 %; experiments on networks
        make more runs, within margins of their own.
    problem : a quadratic (quadlab.problems) on which to check a theorem that can be; the diabetes data when None.
        Mutants are held against the diabetes data only: other data may not be able to tell them apart.
        For an experiment on networks, a quadlab.bridge.Dataset: its main claim alone is held against runs on these
        data instead of the digits.
    executor : any concurrent.futures.Executor for the simulations.
    progress : called with a line of text before each piece of evidence.

    The verdict is VERIFIED when all evidence is and every mutant is refuted by every kind that applies to it.
    """
    if budget not in MARGINS:
        raise ValueError(f"budget must be one of {', '.join(MARGINS)}, got {budget!r}")
    seed = seed_number(rng)
    seeds = np.random.SeedSequence(seed, spawn_key=(crc32(theorem.id.encode()),))
    started = time.perf_counter()
    evidence: list[Evidence] = []
    mutants: list[MutantResult] = []
    if problem is not None and isinstance(theorem.simulation, Replication):
        return _on_data(theorem, problem, seeds, budget=budget, executor=executor, progress=progress, seed=seed)
    given = problem is not None
    if not given and theorem.on_problem and not isinstance(theorem.simulation, Replication):
        from quadlab.problems import LeastSquares

        problem = LeastSquares.from_dataset("diabetes")
    *claim_seeds, runs_seed = seeds.spawn(len(theorem.claims) + 1)
    for claim, claim_seed in zip(theorem.claims, claim_seeds, strict=True):
        checked = claim is theorem and theorem.on_problem and problem is not None
        on_problem = partial(theorem.on_problem, problem) if checked else None
        prepared = judges(claim, claim_seed, budget, executor, on_problem, getattr(problem, "name", ""), runs_seed)
        against: dict[str, dict[str, Verdict]] = {name: {} for name in claim.mutants}
        for label, prepare in prepared.items():
            if progress is not None:
                progress(f"{theorem.id}: {label}" + ("" if claim.name == "main" else f", {claim.name}"))
            kind = label.partition(" ")[0]
            try:
                judge = prepare()
            except Exception as error:
                evidence.append(Evidence(kind, _error(error), claim.name))
                continue
            evidence.append(_attempt(judge, claim.formula, kind, claim.name))
            if given and label != kind:
                continue
            for name, mutant in claim.mutants.items():
                against[name][label] = _attempt(judge, mutant, kind, claim.name, mutant=True).verdict
        mutants.extend(MutantResult(claim.name, name, verdicts) for name, verdicts in against.items())
    return Report(
        id=theorem.id,
        title=theorem.title,
        paper=theorem.source,
        kind=theorem.kind,
        verdict=_overall(evidence, mutants),
        evidence=tuple(evidence),
        mutants=tuple(mutants),
        seconds=time.perf_counter() - started,
        seed=seed,
        budget=budget,
        problem=getattr(problem, "name", "") if theorem.on_problem else "",
    )


def _on_data(experiment, data, seeds, *, budget, executor, progress, seed):
    """The report of an experiment's main claim on a user's data, which need not tell mutants apart."""
    if experiment.on_problem is None:
        raise ValueError(f"{experiment.id} cannot be run on data of your own")
    started, claim = time.perf_counter(), f"main on {data.name}"
    if progress is not None:
        progress(f"{experiment.id}: {Replication.kind} on {data.name}")
    try:
        replication = experiment.on_problem(data)
        options = {"rng": seeds, "budget": budget, "executor": executor, "claim": claim}
        judge = replication.prepare(experiment.formula, claim_kind=experiment.kind, **options)
        evidence = _attempt(judge, experiment.formula, Replication.kind, claim)
    except Exception as error:
        evidence = Evidence(Replication.kind, _error(error), claim)
    return Report(
        id=experiment.id,
        title=experiment.title,
        paper=experiment.source,
        kind=experiment.kind,
        verdict=evidence.verdict,
        evidence=(evidence,),
        mutants=(),
        seconds=time.perf_counter() - started,
        seed=seed,
        budget=budget,
        problem=data.name,
    )


def judges(claim, seed, budget, executor=None, on_problem=None, problem_name="", runs_seed=None):
    """For each kind of evidence the claim has, a function that prepares it and returns its judge of a formula.

    Replicated evidence takes `runs_seed`, where given: the claims of a theorem share its runs.
    """
    computed_seed, sampled_seed, problem_seed = seed.spawn(3)
    options = {"budget": budget, "executor": executor, "claim": claim.name}
    prepared = {}
    if claim.derivation:
        prepared["symbolic"] = lambda: lambda formula: symbolic.judge(claim, formula)
    if claim.oracle:
        prepared["computed"] = lambda: computed.prepare(claim, rng=np.random.default_rng(computed_seed))
    if claim.certificate:
        prepared["certified"] = lambda: lambda formula: proved.judge_certified(claim, formula)
    if claim.enclosure:
        prepared["enclosed"] = lambda: lambda formula: proved.judge_enclosed(claim, formula)
    if claim.simulation:
        kind = getattr(claim.simulation, "kind", "sampled")
        own = {**options, "rng": sampled_seed}
        if kind == Replication.kind:
            own |= {"rng": runs_seed or sampled_seed, "claim_kind": claim.kind}
        prepared[kind] = lambda: claim.simulation.prepare(claim.formula, **own)
    if on_problem:
        prepared[f"sampled on {problem_name}"] = lambda: on_problem().prepare(
            claim.formula, rng=problem_seed, **{**options, "claim": f"{claim.name} on {problem_name}"}
        )
    return prepared


def _attempt(judge, formula, kind, claim, mutant=False):
    try:
        # a formula's infinities and NaNs are judged as values, not announced
        with np.errstate(all="ignore"), time_limit(EXACT_SECONDS if kind in EXACT_KINDS else 0):
            return judge(formula)
    except TimeoutError as error:
        verdict = Verdict(INCONCLUSIVE, str(error))
    except NotAlgebraic as error:
        verdict = Verdict(SKIPPED, str(error))
    except (TypeError, AttributeError) as error:
        # a formula written for numbers alone cannot be judged on symbols or balls
        verdict = Verdict(SKIPPED, str(error)) if kind in EXACT_KINDS and mutant else _error(error)
    except Exception as error:
        verdict = _error(error)
    return Evidence(kind, verdict, claim)


def _error(error):
    return Verdict(ERROR, f"{type(error).__name__}: {' '.join(str(error).split())}")


def _overall(evidence, mutants):
    verdict = combine(item.verdict for item in evidence)
    survivors = [f"{m.claim}: {m.name}" if m.claim != "main" else m.name for m in mutants if not m.killed]
    if verdict.word == VERIFIED and survivors:
        return Verdict(INCONCLUSIVE, f"mutants survive: {'; '.join(survivors)}")
    return verdict

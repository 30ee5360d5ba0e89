"""Verify a theorem: every kind of evidence on every claim, and the same evidence on every mutant."""

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np

from quadlab.simulate.chunks import seed_number
from quadlab.verify import computed, proved, symbolic
from quadlab.verify.apart import Apart, GaveUp
from quadlab.verify.certify import NotAlgebraic
from quadlab.verify.probes import Probes, counted
from quadlab.verify.replicated import Replication
from quadlab.verify.runs import missing_premise
from quadlab.verify.statistics import MARGINS
from quadlab.verify.verdict import ERROR, INCONCLUSIVE, REFUTED, SKIPPED, VERIFIED, Evidence, Verdict, combine

__all__ = ["MutantResult", "Report", "attempt", "failure", "judges", "verify"]

EXACT_KINDS = ("symbolic", "certified", "enclosed")
EXACT_SECONDS = 15.0  # of processor time, for one formula


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
    trials = []
    for claim, claim_seed in zip(theorem.claims, claim_seeds, strict=True):
        checked = claim is theorem and theorem.on_problem and problem is not None
        on_problem = partial(theorem.on_problem, problem) if checked else None
        prepared = judges(claim, claim_seed, budget, executor, on_problem, getattr(problem, "name", ""), runs_seed)
        probes = Probes.of(claim, np.random.default_rng(0))
        trials += [_Trial(claim, label, prepare, probes, given) for label, prepare in prepared.items()]
    exact = Apart([work for trial in trials for work in trial.exact_works()], seconds=EXACT_SECONDS)
    try:
        for trial in trials:
            if progress is not None:
                progress(
                    f"{theorem.id}: {trial.label}" + ("" if trial.claim.name == "main" else f", {trial.claim.name}")
                )
            trial.run()
        outcomes = iter(exact.outcomes())
    finally:
        exact.stop()
    against: dict = {(claim.name, name): {} for claim in theorem.claims for name in claim.mutants}
    for trial in trials:
        evidence.append(trial.evidence(outcomes))
        for name, verdict in trial.mutants.items():
            against[trial.claim.name, name][trial.label] = verdict
    mutants = [MutantResult(claim, name, verdicts) for (claim, name), verdicts in against.items()]
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


class _Trial:
    """One kind of evidence for one claim: on its formula, its mutants and the probes."""

    def __init__(self, claim, label, prepare, probes, given):
        self.claim, self.label, self.prepare, self.probes = claim, label, prepare, probes
        self.kind = label.partition(" ")[0]
        self.exact = self.kind in EXACT_KINDS
        own = label == self.kind
        # other data than those that a theorem ships need not be able to tell mutants apart
        self.candidates = dict(claim.mutants) if own or not given else {}
        self.probed = own
        self.mutants: dict[str, Verdict] = {}
        self.found: list[Evidence] = []
        self.names: list[str] = []

    def exact_works(self):
        """The pieces of work that go to another process: one for each formula."""
        if not self.exact:
            return []
        judge = self.prepare()
        formulas = [*self.candidates.values(), *(self.probes.for_resolution(0).values() if self.probed else ())]
        own = partial(attempt, judge, self.claim.formula, self.kind, self.claim.name)
        return [own, *(partial(attempt, judge, f, self.kind, self.claim.name, mutant=True) for f in formulas)]

    def run(self):
        """Judge all formulas here, where the evidence is not exact."""
        if self.exact:
            return
        try:
            judge = self.prepare()
        except Exception as error:
            self.found = [Evidence(self.kind, failure(error), self.claim.name)]
            self.candidates, self.probed = {}, False
            return
        item = attempt(judge, self.claim.formula, self.kind, self.claim.name)
        resolution = item.figures.get("resolution") or 0.0
        probes = self.probes.for_resolution(resolution) if self.probed and item.verdict.word == VERIFIED else {}
        self.probed = bool(probes)
        formulas = [*self.candidates.values(), *probes.values()]
        self.found = [item, *(attempt(judge, f, self.kind, self.claim.name, mutant=True) for f in formulas)]
        self.names = list(probes)

    def evidence(self, outcomes):
        """The evidence on the claim's own formula, once all have been judged; `mutants` holds the others' verdicts."""
        if self.exact:
            self.names = list(self.probes.for_resolution(0)) if self.probed else []
            count = 1 + len(self.candidates) + len(self.names)
            self.found = [_answer(outcome, self.kind, self.claim.name) for outcome in itertools.islice(outcomes, count)]
        item, *others = self.found
        verdicts = [other.verdict for other in others]
        self.mutants = dict(zip(self.candidates, verdicts, strict=False))
        if not self.probed:
            return item
        probed = dict(zip(self.names, verdicts[len(self.candidates) :], strict=True))
        refuted = any(verdict.word == REFUTED for verdict in self.mutants.values())
        promises = item.figures.get("resolution", 0.0) is not None
        verdict, unseen = counted(self.claim, item.verdict, probed, refuted, promises)
        if verdict.word == SKIPPED != item.verdict.word:
            self.mutants = {}
        figures = {**item.figures, "probes": list(probed), "cannot_see": unseen}
        return Evidence(item.kind, verdict, item.claim, figures)


def _answer(outcome, kind, claim):
    try:
        return outcome()
    except GaveUp as error:
        return Evidence(kind, Verdict(INCONCLUSIVE, str(error)), claim)
    except Exception as error:
        return Evidence(kind, failure(error), claim)


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
        evidence = attempt(judge, experiment.formula, Replication.kind, claim)
    except Exception as error:
        missing = missing_premise(error)
        verdict = Verdict(INCONCLUSIVE, missing) if missing else failure(error)
        evidence = Evidence(Replication.kind, verdict, claim)
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


def judges(claim, seed, budget, executor=None, on_problem=None, problem_name="", runs_seed=None, further=()):
    """For each kind of evidence the claim has, a function that prepares it and returns its judge of a formula.

    Replicated evidence takes `runs_seed`, where given: the claims of a theorem share its runs. `further` points are
    judged by the oracle too.
    """
    computed_seed, sampled_seed, problem_seed = seed.spawn(3)
    options = {"budget": budget, "executor": executor, "claim": claim.name}
    prepared = {}
    if claim.derivation:
        prepared["symbolic"] = lambda: lambda formula: symbolic.judge(claim, formula)
    if claim.oracle:
        prepared["computed"] = lambda: computed.prepare(
            claim, rng=np.random.default_rng(computed_seed), further=further
        )
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


def attempt(judge, formula, kind, claim, mutant=False):
    """What a judge says of a formula, as Evidence, whatever happens."""
    try:
        # a formula's infinities and NaNs are judged as values, not announced
        with np.errstate(all="ignore"):
            return judge(formula)
    except NotAlgebraic as error:
        verdict = Verdict(SKIPPED, str(error))
    except (TypeError, AttributeError) as error:
        # a formula written for numbers alone cannot be judged on symbols or balls
        verdict = Verdict(SKIPPED, str(error)) if kind in EXACT_KINDS and mutant else failure(error)
    except (RecursionError, OverflowError, MemoryError) as error:
        # what exact arithmetic cannot hold of a foreign formula is not decided
        verdict = failure(error)
        verdict = Verdict(INCONCLUSIVE, verdict.reason) if kind in EXACT_KINDS and mutant else verdict
    except Exception as error:
        verdict = failure(error)
    return Evidence(kind, verdict, claim)


def failure(error):
    """The verdict of evidence that failed."""
    return Verdict(ERROR, f"{type(error).__name__}: {' '.join(str(error).split())}")


def _overall(evidence, mutants):
    verdict = combine(item.verdict for item in evidence)
    if verdict.word not in (VERIFIED, SKIPPED):
        return verdict
    shown = {item.claim.partition(" on ")[0] for item in evidence if item.verdict.word == VERIFIED}
    bare = [item for item in evidence if item.claim not in shown and item.claim.partition(" on ")[0] not in shown]
    if bare:
        return Verdict(INCONCLUSIVE, f"nothing was shown: {bare[0].kind} ({bare[0].claim}) {bare[0].verdict.reason}")
    survivors = [f"{m.claim}: {m.name}" if m.claim != "main" else m.name for m in mutants if not m.killed]
    if survivors:
        return Verdict(INCONCLUSIVE, f"mutants survive: {'; '.join(survivors)}")
    return verdict

"""Put another formula in the place of a theorem's, and let its evidence judge it."""

from dataclasses import dataclass

import numpy as np

from quadlab.simulate.chunks import seed_number
from quadlab.verify.formula import Formula, parse
from quadlab.verify.runner import _attempt, _error, judges
from quadlab.verify.statistics import MARGINS
from quadlab.verify.verdict import INCONCLUSIVE, SKIPPED, Evidence, Verdict, combine

__all__ = ["Challenge", "challenge"]


@dataclass(frozen=True)
class Challenge:
    """The verdict on a challenging formula, the evidence behind it, and the seed that gives the same again."""

    id: str
    formula: str
    verdict: Verdict
    evidence: tuple[Evidence, ...]
    seed: int


def challenge(theorem, formula, *, claim="main", rng=None, budget="standard", executor=None):
    """Judge `formula`, a text in the arguments of the claim or a function of them, by the theorem's evidence.

    A text uses + - * / **, comparisons and the functions of quadlab.theory.elementary; it is parsed, never run.
    The verdict is REFUTED with the point at which the formula is wrong, VERIFIED when no evidence objects, or
    INCONCLUSIVE. Exact evidence that cannot read the formula is skipped.

    >>> from quadlab.verify import load
    >>> challenge(load("vl.noise-ball"), "sqrt(noise_variance / samples)", rng=0).verdict.word
    'REFUTED'
    """
    if budget not in MARGINS:
        raise ValueError(f"budget must be one of {', '.join(MARGINS)}, got {budget!r}")
    chosen = [entry for entry in theorem.claims if entry.name == claim]
    if not chosen:
        raise ValueError(f"claim must be one of {', '.join(c.name for c in theorem.claims)}, got {claim!r}")
    target = chosen[0]
    candidate = parse(formula, tuple(target.domain)) if isinstance(formula, str) else formula
    if isinstance(candidate, Formula) and candidate.is_relation:
        raise ValueError(f"formula must be a number, not a comparison, got {formula!r}")
    if not callable(candidate):
        raise ValueError(f"formula must be a text or a function, got {type(formula).__name__}")
    seed = seed_number(rng)
    found = []
    for label, prepare in judges(target, np.random.SeedSequence(seed), budget, executor).items():
        kind = label.partition(" ")[0]
        try:
            judge = prepare()
        except Exception as error:
            found.append(Evidence(kind, _error(error), target.name))
            continue
        item = _attempt(judge, candidate, kind, target.name, mutant=True)
        if item.kind == "symbolic" and item.verdict.word == INCONCLUSIVE and "branches" not in item.verdict.reason:
            # SymPy may fail to bring a right formula in another form to zero: that is no objection
            item = Evidence(item.kind, Verdict(SKIPPED, item.verdict.reason), item.claim, item.figures)
        found.append(item)
    text = formula if isinstance(formula, str) else getattr(formula, "__name__", repr(formula))
    verdict = combine(item.verdict for item in found)
    if verdict.word == SKIPPED:
        verdict = Verdict(INCONCLUSIVE, "none of the evidence can read this formula")
    return Challenge(theorem.id, text, verdict, tuple(found), seed)

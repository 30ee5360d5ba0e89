"""Put another formula in the place of a theorem's, and let its evidence judge it."""

from dataclasses import dataclass

import numpy as np

from quadlab.theory.seeds import seed_number, seed_sequence
from quadlab.verify import compared
from quadlab.verify.apart import GaveUp, apart
from quadlab.verify.formula import Formula, parse
from quadlab.verify.replicated import Replication
from quadlab.verify.runner import attempt, failure, judges
from quadlab.verify.statistics import MARGINS
from quadlab.verify.verdict import (
    CONSISTENT,
    ERROR,
    INCONCLUSIVE,
    REFUTED,
    SKIPPED,
    VERIFIED,
    Evidence,
    Verdict,
    combine,
)

__all__ = ["Challenge", "challenge"]

# of processor time, for one kind of evidence; all of them together stay below ten
SECONDS = {"compared": 2.0, "symbolic": 1.5, "certified": 1.5, "enclosed": 1.0, "computed": 1.5, "sampled": 2.0}


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

    The verdict is VERIFIED where the formula reduces to the theorem's own on the whole domain; its evidence is then
    the theorem's. REFUTED comes with a point at which the formula is wrong. CONSISTENT says that no evidence objects
    and none covers the whole domain: how many points agreed, from which ranges, and what was not proved.
    INCONCLUSIVE: nothing could read the formula. Each kind of evidence has a limit of processor time, about ten
    seconds together; what it stopped is said. Runs of networks have none.

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
    compared_seed, evidence_seed = seed_sequence(seed, "challenge").spawn(2)
    comparison, differing = _comparison(target, candidate, compared_seed)
    same = comparison.verdict.word == VERIFIED
    found = [comparison]
    for label, prepare in judges(target, evidence_seed, budget, executor, further=differing).items():
        # a text is the theorem's formula by then; a function may still compute something else from numbers
        judged = target.formula if same and isinstance(candidate, Formula) else candidate
        found.append(_judged(target, label.partition(" ")[0], prepare, judged))
    text = formula if isinstance(formula, str) else getattr(formula, "__name__", repr(formula))
    return Challenge(theorem.id, text, _overall(found, same), tuple(found), seed)


def _comparison(claim, candidate, seed):
    """(Evidence against the theorem's own formula, points at which the two differ: none or one)."""

    def at_points():
        return compared.at_points(claim, candidate, np.random.default_rng(seed))

    def as_identity():
        return compared.as_identity(claim, candidate)

    try:
        with np.errstate(all="ignore"):
            found, differing = apart(at_points, seconds=SECONDS["compared"])
    except Exception as error:
        found, differing = _unread("compared", claim, error), None
    if differing is not None:
        return found, (differing,)
    try:
        identity = apart(as_identity, seconds=SECONDS["compared"])
    except Exception as error:
        identity = _unread("compared", claim, error)
    return Evidence("compared", identity.verdict, claim.name, {**found.figures, **identity.figures}), ()


def _unread(kind, claim, error):
    """What prevents a comparison is no objection to the formula, and the reason why it stays open."""
    reason = str(error) if isinstance(error, GaveUp) else failure(error).reason
    return Evidence(kind, Verdict(INCONCLUSIVE, reason), claim.name)


def _judged(claim, kind, prepare, formula):
    def work():
        return attempt(prepare(), formula, kind, claim.name, mutant=True)

    try:
        item = work() if kind == Replication.kind else apart(work, seconds=SECONDS[kind])
    except GaveUp as error:
        return Evidence(kind, Verdict(INCONCLUSIVE, str(error)), claim.name)
    except Exception as error:
        return Evidence(kind, failure(error), claim.name)
    return item


def _overall(found, same):
    """VERIFIED only as the theorem's own formula; refuted by the kind whose witness is in the formula's arguments."""
    verdicts = [item.verdict for item in sorted(found, key=lambda item: item.kind not in ("computed", "compared"))]
    worst = combine(verdict for verdict in verdicts if verdict.word in (REFUTED, ERROR))
    comparison = found[0]
    if worst.word != SKIPPED:
        return worst
    if same:
        return Verdict(VERIFIED, comparison.verdict.reason)
    points = max(item.figures.get("points", 0) for item in found)
    if not points and all(item.verdict.word != VERIFIED for item in found):
        return Verdict(INCONCLUSIVE, "none of the evidence can read this formula")
    differs = comparison.verdict.witness is not None
    undecided = [item for item in found[differs:] if item.verdict.word in (INCONCLUSIVE, SKIPPED)]
    proof = "; ".join(f"{item.kind}: {item.verdict.reason}" for item in undecided)
    ranges: dict = next((item.figures["drawn_from"] for item in found if item.figures.get("drawn_from")), {})
    where = ", ".join(f"{name} from {low:.3g} to {high:.3g}" for name, (low, high) in ranges.items())
    at = f" at {points} points ({where})" if points else ""
    parts = [f"{comparison.verdict.reason}"] * differs + [f"no evidence objects{at}"]
    return Verdict(CONSISTENT, "; ".join(parts + [f"not proved ({proof})"] * bool(proof)))

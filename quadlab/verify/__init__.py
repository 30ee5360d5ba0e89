"""Theorems, the kinds of evidence for them, and verdicts."""

from quadlab.theory.intervals import Interval
from quadlab.verify.batch import verify_all
from quadlab.verify.challenge import Challenge, challenge
from quadlab.verify.domain import Directions, Domain, SymmetricMatrix
from quadlab.verify.experiments import RuleExperiment, WeightsExperiment
from quadlab.verify.formula import parse
from quadlab.verify.library import experiments, file_of, load, paper_of, papers, theorem_files, theorems
from quadlab.verify.orders import ErrorOrder
from quadlab.verify.replicated import Replication, at_least
from quadlab.verify.runner import Report, verify
from quadlab.verify.runs import PremiseNotMet, Run, Runs
from quadlab.verify.sampled import EdgeBracket, Equivalence, Measurement
from quadlab.verify.store import Store, record
from quadlab.verify.theorem import (
    ASYMPTOTIC,
    IDENTITY,
    LIMIT,
    LOWER,
    TIGHT,
    UPPER,
    Claim,
    Derivation,
    Inequality,
    Statement,
    Theorem,
    Window,
)
from quadlab.verify.verdict import (
    CONSISTENT,
    ERROR,
    INCONCLUSIVE,
    OUT_OF_DOMAIN,
    REFUTED,
    SKIPPED,
    VERIFIED,
    Evidence,
    Verdict,
)

__all__ = [
    "ASYMPTOTIC",
    "CONSISTENT",
    "ERROR",
    "IDENTITY",
    "INCONCLUSIVE",
    "LIMIT",
    "LOWER",
    "OUT_OF_DOMAIN",
    "REFUTED",
    "SKIPPED",
    "TIGHT",
    "UPPER",
    "VERIFIED",
    "Challenge",
    "Claim",
    "Derivation",
    "Directions",
    "Domain",
    "EdgeBracket",
    "Equivalence",
    "ErrorOrder",
    "Evidence",
    "Inequality",
    "Interval",
    "Measurement",
    "PremiseNotMet",
    "Replication",
    "Report",
    "RuleExperiment",
    "Run",
    "Runs",
    "Statement",
    "Store",
    "SymmetricMatrix",
    "Theorem",
    "Verdict",
    "WeightsExperiment",
    "Window",
    "at_least",
    "challenge",
    "experiments",
    "file_of",
    "load",
    "paper_of",
    "papers",
    "parse",
    "record",
    "theorem_files",
    "theorems",
    "verify",
    "verify_all",
]

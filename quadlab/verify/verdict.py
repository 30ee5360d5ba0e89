"""What a check says: a word computed from numbers, with what it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ERROR", "INCONCLUSIVE", "OUT_OF_DOMAIN", "REFUTED", "SKIPPED", "VERIFIED", "Evidence", "Verdict", "combine"]

VERIFIED, REFUTED, INCONCLUSIVE = "VERIFIED", "REFUTED", "INCONCLUSIVE"
OUT_OF_DOMAIN, SKIPPED, ERROR = "OUT_OF_DOMAIN", "SKIPPED", "ERROR"
WORDS = (REFUTED, ERROR, INCONCLUSIVE, OUT_OF_DOMAIN, VERIFIED, SKIPPED)


@dataclass(frozen=True)
class Verdict:
    """One of VERIFIED, REFUTED (with a witness), INCONCLUSIVE (with what is needed), OUT_OF_DOMAIN, SKIPPED, ERROR.

    It has no truth value: compare `word`.
    """

    word: str
    reason: str = ""
    witness: Mapping[str, Any] | None = None
    needed: float | None = None

    def __post_init__(self):
        if self.word not in WORDS:
            raise ValueError(f"word must be one of {', '.join(WORDS)}, got {self.word!r}")

    def __bool__(self):
        raise TypeError(f"a verdict has no truth value; compare its word, here {self.word}")

    def __str__(self):
        return f"{self.word}: {self.reason}" if self.reason else self.word


@dataclass(frozen=True)
class Evidence:
    """The verdict of one kind of evidence on one claim, and the figures behind it."""

    kind: str
    verdict: Verdict
    claim: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


def combine(verdicts):
    """The verdict of several that all have to hold: the worst, where skipped ones do not count.

    >>> combine([Verdict(VERIFIED), Verdict(SKIPPED, "no symbols")]).word
    'VERIFIED'
    """
    verdicts = list(verdicts)
    if not verdicts:
        return Verdict(SKIPPED, "there is nothing to decide")
    return min(verdicts, key=lambda verdict: WORDS.index(verdict.word))

"""What a check says: a word computed from numbers, with what it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "CONSISTENT", "ERROR", "INCONCLUSIVE", "OUT_OF_DOMAIN", "REFUTED", "SKIPPED", "VERIFIED",
    "Evidence", "Verdict", "combine", "told_apart",
]  # fmt: skip

VERIFIED, CONSISTENT, REFUTED, INCONCLUSIVE = "VERIFIED", "CONSISTENT", "REFUTED", "INCONCLUSIVE"
OUT_OF_DOMAIN, SKIPPED, ERROR = "OUT_OF_DOMAIN", "SKIPPED", "ERROR"
WORDS = (REFUTED, ERROR, INCONCLUSIVE, OUT_OF_DOMAIN, CONSISTENT, VERIFIED, SKIPPED)


@dataclass(frozen=True)
class Verdict:
    """One of VERIFIED, REFUTED (with a witness), INCONCLUSIVE (with what is needed), OUT_OF_DOMAIN, SKIPPED, ERROR.

    CONSISTENT is said of a challenge alone: no evidence objects, and none covers the whole domain.

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


def told_apart(*values):
    """The numbers as text, with as many digits (six at least) as show where they differ.

    >>> told_apart(25.29340001, 25.29340002)
    ['25.29340001', '25.29340002']
    """
    for digits in range(6, 18):
        texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(set(values)):
            return texts
    return [repr(float(value)) for value in values]

"""Small errors that every kind of evidence is shown: what cannot see any of them is no evidence."""

import inspect
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import isfinite
from typing import Any

import numpy as np

from quadlab.verify.statistics import one_number
from quadlab.verify.theorem import ASYMPTOTIC, LIMIT, LOWER, UPPER
from quadlab.verify.verdict import REFUTED, SKIPPED, VERIFIED, Verdict

__all__ = ["Probes", "counted"]

SMALL = Fraction(1, 100)
POINTS = 5


@dataclass(frozen=True)
class Probes:
    """Changed versions of a claim's formula, by name: `for_resolution` makes them as large as a kind promises to see.

    One hundredth of the value more, a term of that size more, and two arguments exchanged, each where it truly differs
    from the formula at points of the domain. Bounds are moved to both sides.
    """

    claim: Any
    typical: float
    exchanged: tuple[str, str] | None

    @classmethod
    def of(cls, claim, rng):
        """The probes of a claim, made at a few points of its domain."""
        points = claim.domain.draw(rng, POINTS) if len(claim.domain) else [{}]
        values = [_value(claim.formula, point) for point in points]
        sizes = [abs(value) for value in values if value is not None and isfinite(value)]
        pairs = combinations(claim.domain, 2)
        exchanged = next((pair for pair in pairs if _differs(claim, pair, points, values)), None)
        return cls(claim, float(np.median(sizes)) if sizes else 0.0, exchanged)

    def for_resolution(self, resolution):
        """{name: formula}, changed by at least `resolution` of the value."""
        share = max(SMALL, Fraction(resolution).limit_denominator(1024))
        formula, kind = self.claim.formula, self.claim.kind
        found = {}
        if self.typical > 0:
            found[f"{float(1 + share):g} times"] = _affine(formula, 1 + share, 0)
            if kind in (UPPER, LOWER):
                found[f"{float(1 - share):g} times"] = _affine(formula, 1 - share, 0)
        if kind not in (ASYMPTOTIC, LIMIT):
            term = share * Fraction(self.typical or 1.0).limit_denominator(10**6) or share
            found["a small term more"] = _affine(formula, 1, term)
            if kind in (UPPER, LOWER):
                found["a small term less"] = _affine(formula, 1, -term)
        if self.exchanged:
            found[f"{' and '.join(self.exchanged)} exchanged"] = _exchanged(formula, *self.exchanged)
        return found


def counted(claim, verdict, probed, refuted_a_mutant, promises=True):
    """The verdict of a kind of evidence, SKIPPED if it could see too little to count; and what it did not see.

    probed : {name: verdict on the changed formula}. Evidence for an equality has to see the value changed, or a term
    added; evidence for a bound or a limit, which may hold with room to spare, some change or some mutant; so does
    evidence with a margin of its own for a formula that is zero, of which it promises to see no share.
    """
    unseen = [name for name, found in probed.items() if found.word != REFUTED]
    if verdict.word != VERIFIED or not probed:
        return verdict, unseen
    seen = [name for name in probed if name not in unseen]
    loose = claim.kind in (UPPER, LOWER, ASYMPTOTIC, LIMIT) or not promises
    if seen and (loose or any("exchanged" not in name for name in seen)):
        return verdict, unseen
    if loose and refuted_a_mutant:
        return verdict, unseen
    return Verdict(SKIPPED, f"does not count, as it cannot see: {', '.join(unseen)}"), unseen


def _affine(formula, factor, term):
    """factor * formula + term, exact on numbers, symbols and balls."""
    bottom = factor.denominator * Fraction(term).denominator
    top, rest = int(factor * bottom), int(term * bottom)

    def changed(*positional, **named):
        return (formula(*positional, **named) * top + rest) / bottom

    return changed


def _exchanged(formula, one, other):
    signature = inspect.signature(formula)

    def changed(*positional, **named):
        bound = signature.bind(*positional, **named).arguments
        rest = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")
        values = bound | bound.pop(rest, {})
        return formula(**{**values, one: values[other], other: values[one]})

    return changed


def _differs(claim, pair, points, values):
    """Whether exchanging two arguments changes the formula by more than SMALL wherever it is drawn."""
    try:
        swapped = [_value(_exchanged(claim.formula, *pair), point) for point in points]
    except (TypeError, ValueError, KeyError):
        return False
    return all(
        other is not None and value is not None and isfinite(other) and abs(other - value) > 2 * SMALL * abs(value)
        for value, other in zip(values, swapped, strict=True)
    )


def _value(formula, point):
    try:
        with np.errstate(all="ignore"):
            return one_number("formula", formula(**point))
    except Exception:
        return None

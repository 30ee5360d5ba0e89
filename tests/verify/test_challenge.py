"""Challenges: what each verdict needs, and that none of them goes on for ever."""

import sys

import numpy as np
import pytest
from test_runner import A, B, area, theorem

from quadlab import verify as v
from quadlab.theory.elementary import is_arb, is_symbolic
from quadlab.theory.intervals import Interval, positive, real, whole_positive

EXACT = {"simulation": None, "enclosure": None}


def judged(text, **changes):
    return theorem(**{**EXACT, **changes}).challenge(text, rng=0)


@pytest.mark.parametrize(
    ("formula", "word"),
    [
        ("a * b", v.VERIFIED),
        ("((a + b)**2 - (a - b)**2) / 4", v.VERIFIED),
        ("sqrt(a**2) * abs(b)", v.VERIFIED),
        ("exp(log(a) + log(b))", v.VERIFIED),
        ("max(a * b, -1)", v.VERIFIED),  # the prover knows that sides are positive
        ("a * b * (1 + (a / 5000)**400)", v.REFUTED),
        ("a * b + (abs(a - 5000) + a - 5000) / 2", v.REFUTED),
        ("a * b + sqrt((a - 5000)**2) - abs(5000 - a) + max(b - 10**9, 0)", v.REFUTED),
        ("a * b + where(a > 10**20, 1, 0)", v.REFUTED),
        ("a * b + where(abs(a - 3.7) < 1e-9, 1, 0)", v.REFUTED),  # found by the prover
        ("a * b + where(abs(a - pi) < 1e-9, exp(-a), 0)", v.CONSISTENT),  # too fine for points, no algebra
        ("a * b * (1 + 1e-9)", v.REFUTED),
        ("1.02 * a * b", v.REFUTED),
        ("a * b**1.001", v.REFUTED),
        ("a", v.REFUTED),
    ],
)
def test_verified_is_said_of_the_theorems_own_formula_alone(formula, word):
    result = judged(formula)
    assert result.verdict.word == word
    if word == v.REFUTED:
        witness = result.verdict.witness
        assert {"a", "b", "formula"} <= set(witness)
        assert witness["formula"] != witness.get("oracle", witness.get("theorem"))
    if word == v.CONSISTENT:
        assert "no evidence objects at" in result.verdict.reason
        assert "not proved (compared: " in result.verdict.reason


@pytest.mark.parametrize(
    "formula",
    [
        "a * b + 0 * log(a - 3)",
        "a * b * sqrt(3 - a) / sqrt(3 - a)",
        "exp(log(a - 3) + log(b)) + 3 * b",
        "(a - 3)**0.5 * (a - 3)**0.5 * b + 3 * b",
        "a * b * (a - 3) / (a - 3)",
        "a * b * (a**2 - b**2) / (a - b) / (a + b)",
    ],
)
@pytest.mark.parametrize("kind", [v.IDENTITY, v.UPPER])
def test_a_formula_that_gives_no_number_somewhere_is_refuted_there(formula, kind):
    """SymPy reduces each of them to a * b."""
    verdict = judged(formula, kind=kind, derivation=None, certificate=None).verdict
    assert verdict.word == v.REFUTED
    assert np.isnan(verdict.witness["formula"])
    assert verdict.reason.startswith("formula nan, the theorem's ")


def test_no_number_at_zero_or_for_negative_arguments():
    signed = {"domain": v.Domain(a=real, b=real), "certificate": None}
    for formula in ("exp(log(a)) * b", "sqrt(a * b)**2", "a**(1/3) * a**(2/3) * b", "a**2 * b / a"):
        assert judged(formula, **signed).verdict.word == v.REFUTED
    # too large for floating point, but a number
    assert judged("log(exp(exp(a) + 0 * b)) * 0 + a * b").verdict.word == v.VERIFIED
    assert judged("exp(a * b) / exp(a * b) * a * b", **signed).verdict.word == v.VERIFIED


def test_leaving_the_range_of_floating_point_refutes_nothing():
    equal = "a * b + sin(exp(a))**2 + cos(exp(a))**2 + erf(a) + erfc(a) - 2"
    result = judged(equal, domain=v.Domain(a=positive, b=positive), derivation=None, certificate=None)
    assert result.verdict.word == v.CONSISTENT
    assert "leaves the range of floating point at" in result.verdict.reason


def test_functions_of_directions_are_given_arrays():
    claim = {"domain": v.Domain(a=v.Directions(real, 1, 3), b=positive), "derivation": None, "certificate": None}
    squares = {"formula": lambda a, b: b * (a**2).sum(), "oracle": lambda a, b: b * float(np.dot(a, a))}
    assert judged("sum(b * a**2)", **claim, **squares, mutants={"sum": "b * sum(a)"}).verdict.word == v.VERIFIED


def other_on_numbers(a, b):
    return a * b if is_symbolic(a) or is_arb(a) else 2 * a * b


def error_on_numbers(a, b):
    if not is_symbolic(a):
        raise ValueError("no number is good enough")
    return a * b


def other_at_three(a, b):
    return 0 * a if a == 3 else a * b


def nothing(a, b):
    return None


@pytest.mark.parametrize(
    ("formula", "word"),
    [(other_on_numbers, v.REFUTED), (error_on_numbers, v.ERROR), (other_at_three, v.REFUTED), (nothing, v.ERROR)],
)
def test_a_function_is_judged_by_what_it_computes(formula, word):
    assert judged(formula).verdict.word == word


def test_the_evidence_of_an_equal_formula_is_the_theorems():
    result = judged("(a * b + 10**14) - 10**14")
    assert {item.kind: item.verdict.word for item in result.evidence} == dict.fromkeys(
        ("compared", "symbolic", "computed", "certified"), v.VERIFIED
    )


@pytest.mark.parametrize(("kind", "bound", "weaker", "stronger"), [(v.UPPER, 1, 5, 0.5), (v.LOWER, -1, -5, -0.5)])
def test_another_bound_that_holds_is_said_to_be_weaker_or_stronger(kind, bound, weaker, stronger):
    only = {"derivation": None, "certificate": None}
    claim = {"kind": kind, "formula": v.parse(f"a * b + {bound}", ("a", "b")), **only}
    claim["mutants"] = {"wrong side": f"a * b - 2 * ({bound})"}
    for shift, word in ((weaker, "weaker"), (stronger, "stronger")):
        result = judged(f"a * b + {shift}", **claim)
        assert result.verdict.word == v.CONSISTENT
        assert f"{word} bound than the theorem's" in result.verdict.reason


def test_symbols_are_tested_where_the_domain_lies():
    """An equal form for whole numbers differs between them; so does one for values above 2."""
    whole = {"domain": v.Domain(a=whole_positive, b=positive), "certificate": None}
    assert judged("a * b + sin(pi * a)**2", **whole).verdict.word == v.VERIFIED
    above = {"domain": v.Domain("a * b > 2", a=positive.between(1, 10), b=positive.between(1, 10)), "certificate": None}
    assert judged("where(a * b > 2, a * b, 7)", **above).verdict.word == v.VERIFIED
    assert judged("where(a * b > 2.001, a * b, 7)", **above).verdict.word == v.REFUTED


def test_directions_are_compared_for_every_length_of_the_domain():
    lengths = v.Directions(real, 1, 3)
    claim = {
        "domain": v.Domain(a=lengths, b=positive), "formula": v.parse("b * sum(a**2)", ("a", "b")),
        "derivation": None, "certificate": None, "oracle": lambda a, b: b * float(np.dot(a, a)),
        "mutants": {"sum squared": "b * sum(a)**2"},
    }  # fmt: skip
    assert judged("sum(b * a**2)", **claim).verdict.word == v.VERIFIED
    assert (
        judged("sum((sqrt(b) * a + 10**6)**2 - 10**12 - 2 * 10**6 * sqrt(b) * a)", **claim).verdict.word == v.VERIFIED
    )
    assert judged("b * sum(a**2) + where(sum(a) > 1000, 1, 0)", **claim).verdict.word == v.REFUTED
    beyond_one = "where(sum(1 + 0 * a) > 3/2, where(abs(b - pi) < 1e-9, exp(-b), 0), 0)"
    assert judged(f"b * sum(a**2) + {beyond_one}", **claim).verdict.word == v.CONSISTENT
    assert "is a sum over directions missing?" in judged("b * a**2", **claim).verdict.reason


def test_the_first_witness_is_in_the_arguments_of_the_formula():
    x, y = A.func("x", positive=True), B.func("y", positive=True)
    derivation = {"derivation": lambda formula: v.Derivation((), {"residual": formula(x, y) - x * y})}
    assert set(judged("a + b", oracle=None, certificate=None, **derivation).verdict.witness) == {
        "a",
        "b",
        "formula",
        "theorem",
    }
    bound = {"kind": v.UPPER, "certificate": None, "mutants": {"half": "a * b / 2"}}
    witness = judged("a * b / 2", **bound, **derivation).verdict.witness
    assert set(witness) == {"a", "b", "formula", "oracle"}


@pytest.mark.parametrize(
    "formula",
    [
        "a * b + 1 - abs(a * b)**2.001 * 0 - 1 + abs(a - b)**2.001",
        "a**1000 * b**1000",
        "a * b * exp(exp(exp(exp(a))))",
        "(a + b)**999 + (a - b)**999",
        "max(" + ", ".join(f"a**{k}" for k in range(1, 50)) + ")",
    ],
)
def test_no_challenge_is_endless(formula):
    assert judged(formula).verdict.word == v.REFUTED


def test_evidence_that_goes_on_for_ever_gives_up(monkeypatch):
    monkeypatch.setattr(
        sys.modules["quadlab.verify.challenge"], "SECONDS", dict.fromkeys(("compared", "symbolic", "computed"), 0.2)
    )
    subject = theorem(
        **EXACT, certificate=None, oracle=lambda a, b: pow(7, 10**9), derivation=lambda formula: pow(7, 10**9)
    )
    result = subject.challenge(area, rng=0)
    words = {item.kind: (item.verdict.word, item.verdict.reason) for item in result.evidence}
    assert words["symbolic"] == words["computed"] == (v.INCONCLUSIVE, "gave up after 0.2 s of processor time")
    assert words["compared"][0] == v.VERIFIED


def test_an_interval_without_zero_at_its_end_is_respected():
    momentum = {"domain": v.Domain(a=Interval(0, 1, lower_closed=True), b=positive), "certificate": None}
    assert judged("where(a < 1, a, 0) * b", **momentum).verdict.word == v.VERIFIED
    assert judged("where(a > 0, a, 1) * b", **momentum).verdict.word == v.REFUTED

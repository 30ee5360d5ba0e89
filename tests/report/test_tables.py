"""Results as text, and what a theorem's own file prints."""

import sys
from dataclasses import replace

import pytest
import sympy

from quadlab import verify as v
from quadlab.report import run
from quadlab.report.tables import COLOURS, describe, evidence_kinds, one_line, table, witness_text
from quadlab.theory.intervals import positive

A = sympy.Symbol("a", positive=True)
SQUARE = v.Theorem(
    id="mine.square", title="a square", source="me", statement="a^2", kind=v.IDENTITY, domain=v.Domain(a=positive),
    formula=lambda a: a**2, oracle=lambda a: a * a, mutants={"cube": "a**3"},
)  # fmt: skip
SIDE = v.Claim(
    name="side", kind=v.IDENTITY, domain=v.Domain(b=positive), formula=lambda b: b, mutants={"double": "2 * b"},
    derivation=lambda formula: v.Derivation((("take the root", sympy.sqrt(A**2)),), {"root": formula(A) - A}),
)  # fmt: skip


def entry(word, reason=""):
    evidence = [{"kind": "symbolic", "verdict": "SKIPPED"}, {"kind": "computed", "verdict": word}]
    mutants = {"killed": 1, "total": 2}
    return {"id": f"mine.{word}", "kind": "tight", "verdict": word, "reason": reason, "evidence": evidence,
            "mutants": mutants, "seconds": 1.0}  # fmt: skip


@pytest.mark.parametrize("word", COLOURS)
def test_a_table_shows_every_verdict_with_its_reason_as_it_is(word, capsys):
    """A reason may hold what a terminal library takes for markup."""
    reason = "[/] not in [0, 1)"
    table([entry(word, reason)])
    printed = capsys.readouterr().out
    for text in (word, f"mine.{word}", "tight", "1 of 2", reason):
        assert text in printed
    assert one_line(entry(word, reason)).endswith(reason)


def test_a_verdict_has_a_colour():
    assert set(COLOURS) >= {v.VERIFIED, v.REFUTED, v.INCONCLUSIVE, v.ERROR, v.SKIPPED}


def test_skipped_evidence_is_not_listed():
    assert evidence_kinds(entry("VERIFIED")) == ["computed"]


def test_witnesses_are_short_and_not_rounded_away():
    assert (
        witness_text({"a": 1.23456789, "b": [0.5, (2, "x")], "c": "1/3"}) == "a = 1.23457, b = [0.5, [2, x]], c = 1/3"
    )


def test_a_corollary_is_described_with_its_domain_and_derivation():
    text = describe(replace(SQUARE, corollaries=(SIDE,)))
    assert text.index("side") < text.index("b in (0, inf)") < text.index("1. take the root")
    assert "these must vanish: root" in text


@pytest.mark.parametrize(
    ("changes", "code", "lines"),
    [
        ({}, 0, ["mutants refuted: 1 of 1", "VERIFIED   ("]),
        ({"formula": lambda a: a}, 1, ["REFUTED", "at a = "]),
        ({"mutants": {"it": "a * a", "cube": "a**3"}}, 2, ["mutants refuted: 1 of 2", "it survives"]),
    ],
    ids=["verified", "refuted", "inconclusive"],
)
def test_a_theorem_file_prints_its_evidence_and_returns_the_exit_code(changes, code, lines, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["square.py"])
    assert run(replace(SQUARE, **changes)) == code
    printed = capsys.readouterr().out
    for text in ("mine.square: a square", *lines):
        assert text in printed

"""Theorem files that show nothing: none of them is VERIFIED, whatever their evidence says."""

import re
from functools import cache, partial

import numpy as np
import pytest
import sympy
from test_runner import BOX, A, B, measure, theorem

from quadlab import verify as v
from quadlab.theory.intervals import Interval, positive

ALONE = dict.fromkeys(("derivation", "oracle", "simulation", "certificate", "enclosure"))


def verdict(**changes):
    return v.verify(theorem(**{**ALONE, **changes}), rng=0).verdict


def product(a, b):
    return a * b


def window(parameter="a", **options):
    domain = v.Domain(a=Interval(1, 2, True, True), b=positive)
    return {"kind": v.ASYMPTOTIC, "domain": domain, "window": v.Window(parameter, **options)}


NUMERIC = {"mutants": {"numbers alone": lambda a, b: np.sqrt(float(a)) * b}}


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (
            {"derivation": lambda formula: v.Derivation((), {"it": (A + B) ** 2 - A**2 - 2 * A * B - B**2}), **NUMERIC},
            "symbolic .* cannot see: 1.01 times, a small term more",
        ),
        (
            {"certificate": lambda formula: [v.Statement("true", sympy.Eq(A * B, B * A, evaluate=False))], **NUMERIC},
            "cannot see: 1.01 times",
        ),
        (
            {"kind": v.UPPER, "certificate": lambda formula: [v.Statement("true", A * B > 0)], **NUMERIC},
            "cannot see: 1.01 times, 0.99 times",
        ),
        (
            {"enclosure": lambda formula: [v.Inequality("positive", lambda a, b: formula(a, b) + 1, BOX)]},
            "cannot see: 1.01 times, a small term more",
        ),
        ({"oracle": product, "scale": lambda a, b: 1e9 * a * b}, "let an error of 0.1 of the value pass"),
        ({"oracle": product, "scale": lambda a, b: 1e30}, "cannot see: 1.01 times"),
        ({"oracle": lambda a, b: theorem().formula(a, b)}, "calls the formula"),
        (
            {"oracle": product, "domain": v.Domain("abs(a - 1) < 1e-9", "abs(b - 1) < 1e-9",
             a=positive.between(1 - 1e-10, 1 + 1e-10), b=positive.between(1 - 1e-10, 1 + 1e-10))},
            "all points lie within 0.01 of each other",
        ),
    ],
)  # fmt: skip
def test_evidence_that_cannot_fail_does_not_count(evidence, reason):
    found = verdict(**evidence)
    assert found.word == v.INCONCLUSIVE
    assert re.search(reason, found.reason), found.reason


class Area:
    def __call__(self, a, b):
        return a * b


TEXT = v.parse("a * b", ("a", "b"))


@pytest.mark.parametrize(
    ("formula", "oracle"),
    [
        (partial(product), product),
        (partial(partial(product)), cache(product)),
        (cache(product), partial(product)),
        (Area(), Area()),
        (Area(), partial(Area().__call__)),
        (TEXT, lambda a, b: TEXT(a, b) + 0),
        (TEXT, v.parse("a * b", ("a", "b"))),
        (product, lambda a, b: product(a, b) if a > 1 else a * b),
    ],
)
def test_an_oracle_that_calls_the_formula_in_any_dress_does_not_count(formula, oracle):
    assert "it calls the formula" in verdict(formula=formula, oracle=oracle).reason


def test_an_oracle_may_evaluate_other_texts():
    other = v.parse("log(a) + log(b)", ("a", "b"))
    assert verdict(formula=TEXT, oracle=lambda a, b: np.exp(other(a, b))).word == v.VERIFIED


@pytest.mark.parametrize(("kind", "sign"), [(v.UPPER, 1), (v.LOWER, -1)])
def test_an_infinite_bound_shows_nothing(kind, sign):
    bound = {"kind": kind, "formula": lambda a, b: sign * np.inf * a, "mutants": {"other side": f"a * b - {sign}"}}
    assert "the bound is infinite at all points" in verdict(oracle=product, **bound).reason


@pytest.mark.parametrize("value", [1j, 2 + 1j, float("nan"), [1.0, 2.0], "1", None])
def test_an_oracle_that_gives_no_real_number_is_an_error(value):
    assert verdict(oracle=lambda a, b: value).word == v.ERROR


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (window(low=1e-12, high=1e-10, order=1), "window must lie in .*, got a from 1e-12 to 1e-10"),
        (window(parameter="c", low=1, high=2, order=1), "window must be in a numeric argument of the domain, got 'c'"),
        ({"tolerance": 1.0}, "tolerance must lie in .*, got 1.0"),
        ({"tolerance": float("nan")}, "tolerance must lie in"),
        ({"reach": 0.5}, "reach must be a number >= 1, got 0.5"),
        ({"domain": v.Domain(a=Interval(1, 1, True, True), b=Interval(2, 2, True, True))}, "more than one point"),
        ({"domain": v.Domain(a=positive.between(1, 1), b=positive.between(2, 2))}, "more than one point"),
    ],
)
def test_claims_that_hide_errors_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        theorem(**changes)


def test_what_a_kind_cannot_see_is_listed():
    report = v.verify(theorem(simulation=v.Equivalence(({"a": 2.0, "b": 2.0},), measure, lambda setting: 0.5)), rng=0)
    unseen = {item.kind: item.figures["cannot_see"] for item in report.evidence}
    assert report.verdict.word == v.VERIFIED
    assert unseen["computed"] == unseen["symbolic"] == []
    assert "1.01 times" in report.evidence[0].figures["probes"]


def test_exchanged_arguments_are_a_probe_where_it_matters():
    lopsided = theorem(**{**ALONE, "oracle": lambda a, b: a * b * b, "formula": lambda a, b: a * b**2})
    assert "a and b exchanged" in v.verify(lopsided, rng=0).evidence[0].figures["probes"]
    symmetric = v.verify(theorem(**{**ALONE, "oracle": product}), rng=0)
    assert not any("exchanged" in name for name in symmetric.evidence[0].figures["probes"])


def test_a_margin_about_zero_counts_by_the_mutants_that_it_refutes():
    def nothing(setting, replicas, rng, executor):
        return v.Measurement(0.0, 0.0, replicas)

    zero = v.Equivalence(({"a": 2.0, "b": 3.0},), nothing, lambda setting: 0.5, scale=lambda setting: 10.0)
    claim = {"formula": lambda a, b: 0.0 * a, "simulation": zero}
    assert verdict(**claim, mutants={"one": "1 + 0 * a"}).word == v.VERIFIED
    assert verdict(**claim, mutants={"a thousandth": "a / 1000"}).word == v.INCONCLUSIVE


@pytest.mark.parametrize(
    ("low", "high", "order", "tolerance", "message"),
    [
        (1, 2, 0.04, 0.05, r"tolerance must lie in \[0, \|order\|\)"),
        (1, 2, 0, 0, "for order 0"),
        (1, 2, 1, float("nan"), "got nan for order 1"),
        (2, 1, 1, 0.05, "low < high"),
        (0, 1, 1, 0.05, "0 < low"),
    ],
)
def test_windows_in_which_everything_passes_are_refused(low, high, order, tolerance, message):
    with pytest.raises(ValueError, match=message):
        v.Window("a", low, high, order, tolerance)

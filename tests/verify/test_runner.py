"""Verifying a small theorem by every kind of evidence, and failing to, in every way."""

from dataclasses import replace

import numpy as np
import pytest
import sympy

from quadlab import verify as v
from quadlab.theory.elementary import sqrt
from quadlab.theory.intervals import positive
from quadlab.verify.theorem import Window

A, B = sympy.symbols("a b", positive=True)
DOMAIN = v.Domain(a=positive.between(0.1, 10), b=positive.between(0.1, 10))


def area(a, b):
    return a * b


def measure(setting, replicas, rng, executor):
    """The area under a random line of mean height: normal noise of known spread."""
    draws = np.random.default_rng(rng).normal(setting["a"] * setting["b"], 0.5, replicas)
    return v.Measurement(draws.mean(), draws.std() / np.sqrt(replicas), replicas)


BOX = {"a": (1, 1.1), "b": (1, 1.1)}
SAMPLED = v.Equivalence(({"a": 2.0, "b": 3.0},), measure, lambda setting: 0.5)


def bracketed(setting, edge, replicas, rng, executor):
    draws = np.random.default_rng(rng).normal(edge - setting["a"] * setting["b"], 0.5, replicas)
    return v.Measurement(draws.mean(), draws.std() / np.sqrt(replicas), replicas)


BRACKET = v.EdgeBracket(
    ({"a": 2.0, "b": 3.0},),
    bracketed,
    spread=lambda setting, edge: 0.5,
    effect=lambda setting, edge: edge - setting["a"] * setting["b"],
)


def theorem(**changes):
    options = {
        "id": "test.area",
        "title": "area of a rectangle",
        "source": "Euclid",
        "statement": "ab",
        "kind": v.IDENTITY,
        "domain": DOMAIN,
        "formula": area,
        "derivation": lambda formula: v.Derivation((("integrate", A * B),), {"area": formula(A, B) - A * B}),
        "oracle": lambda a, b: float(np.sum(np.full(1000, a * b / 1000))),
        "simulation": SAMPLED,
        "certificate": lambda formula: [v.Statement("ratio", sympy.Eq(formula(A, B) / A, B))],
        "enclosure": lambda formula: [
            v.Inequality("upper side", lambda a, b: a * b * 1.01 - formula(a, b), BOX),
            v.Inequality("lower side", lambda a, b: formula(a, b) - a * b * 0.99, BOX),
        ],
        "mutants": {"half": "a * b / 2", "perimeter": "2 * (a + b)"},
    }
    return v.Theorem(**{**options, **changes})


KINDS = ["symbolic", "computed", "certified", "enclosed", "sampled"]


def test_every_kind_verifies_and_refutes_every_mutant():
    report = v.verify(theorem(), rng=0)
    assert report.verdict.word == v.VERIFIED
    assert [item.kind for item in report.evidence] == KINDS
    for mutant in report.mutants:
        assert {kind: verdict.word for kind, verdict in mutant.verdicts.items()} == dict.fromkeys(KINDS, "REFUTED")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_alone_refutes_a_wrong_formula(kind):
    fields = dict(zip(KINDS, ["derivation", "oracle", "certificate", "enclosure", "simulation"], strict=True))
    others = {field: None for name, field in fields.items() if name != kind}
    report = v.verify(theorem(formula=lambda a, b: a * b * sympy.Rational(102, 100) if hasattr(a, "free_symbols")
                              else a * b * 102 / 100, mutants={"right": "a * b"}, **others), rng=0)  # fmt: skip
    word = report.evidence[0].verdict.word
    if kind == "sampled":
        # the margin belongs to the (wrong) formula, 2 % off: beyond it
        assert word == v.REFUTED
    assert word == v.REFUTED
    assert report.verdict.word == v.REFUTED


def test_an_edge_is_bracketed():
    report = v.verify(
        theorem(kind=v.TIGHT, simulation=BRACKET, mutants={"2 % off": "1.02 * a * b", "negative": "-a * b"})
    )
    assert report.verdict.word == v.VERIFIED
    assert report.mutants[0].verdicts["sampled"].word == v.REFUTED
    assert "must be positive" in report.mutants[1].verdicts["sampled"].reason


def test_a_surviving_mutant_leaves_the_theorem_inconclusive():
    report = v.verify(theorem(simulation=None, mutants={"the formula itself": "a * b"}), rng=0)
    assert report.verdict.word == v.INCONCLUSIVE
    assert report.verdict.reason == "mutants survive: the formula itself"


def test_a_mutant_must_be_refuted_by_every_kind_that_applies():
    """Equal to the formula where it is simulated: other kinds refute it, sampling does not, so it survives."""
    report = v.verify(theorem(mutants={"right at one point": "a * b + (a - 2)"}), rng=0)
    assert report.mutants[0].verdicts["computed"].word == v.REFUTED
    assert not report.mutants[0].killed
    assert report.verdict.word == v.INCONCLUSIVE


def test_a_numeric_mutant_is_skipped_by_exact_kinds():
    mutant = {"numeric": lambda a, b: np.sqrt(a) * b}
    report = v.verify(theorem(mutants=mutant), rng=0)
    verdicts = report.mutants[0].verdicts
    assert verdicts["symbolic"].word == v.SKIPPED
    assert verdicts["computed"].word == v.REFUTED
    assert report.verdict.word == v.VERIFIED


def test_a_transcendental_formula_cannot_be_certified():
    certificate = {"certificate": lambda formula: [v.Statement("sine", sympy.sin(A) < 2)]}
    report = v.verify(theorem(**certificate), rng=0)
    assert next(e for e in report.evidence if e.kind == "certified").verdict.word == v.SKIPPED


def test_an_error_in_the_evidence_is_an_error_not_a_verdict():
    def broken(a, b):
        raise ZeroDivisionError("my oracle is broken")

    report = v.verify(theorem(oracle=broken), rng=0)
    assert report.verdict.word == v.ERROR
    assert "my oracle is broken" in report.verdict.reason


def test_the_witness_is_where_the_formula_is_wrong():
    report = v.verify(theorem(formula=lambda a, b: a + b, derivation=None, certificate=None, enclosure=None,
                              simulation=None, mutants={"right": "a * b"}), rng=0)  # fmt: skip
    witness = report.verdict.witness
    assert witness["formula"] == pytest.approx(witness["a"] + witness["b"])
    assert witness["oracle"] == pytest.approx(witness["a"] * witness["b"])


@pytest.mark.parametrize(
    ("kind", "formula", "mutant"), [(v.UPPER, "a * b + 1", "a * b - 1"), (v.LOWER, "a * b - 1", "a * b + 1")]
)
def test_one_sided_claims(kind, formula, mutant):
    bound = v.parse(formula, ("a", "b"))
    only = {"derivation": None, "certificate": None, "enclosure": None, "simulation": None}
    report = v.verify(theorem(kind=kind, formula=bound, mutants={"wrong side": mutant}, **only), rng=0)
    assert report.verdict.word == v.VERIFIED
    assert report.evidence[0].figures["smallest_gap"] == pytest.approx(1)


def test_asymptotic_claims_fit_an_order():
    report = v.verify(
        theorem(
            kind=v.ASYMPTOTIC,
            formula=lambda a, b: a,
            oracle=lambda a, b: a * sqrt(1 + b**2),
            window=Window("b", 1e-4, 1e-2, 2),
            mutants={"factor": "2 * a", "wrong order": "a * (1 + b)"},
            derivation=None, certificate=None, enclosure=None, simulation=None,
        ),
        rng=0,
    )  # fmt: skip
    assert report.verdict.word == v.VERIFIED
    assert abs(report.evidence[0].figures["smallest_surplus"]) < 1e-3


def asymptotic(oracle, window):
    found = v.verify(
        theorem(
            kind=v.ASYMPTOTIC, formula=lambda a, b: a, oracle=oracle, window=window, mutants={"factor": "2 * a"},
            derivation=None, certificate=None, enclosure=None, simulation=None,
        ),
        rng=0,
    )  # fmt: skip
    return found.evidence[0].verdict.word


def test_an_order_at_infinity_is_read_there():
    window = Window("b", 1e2, 1e3, -1)
    assert asymptotic(lambda a, b: a / (1 + 1 / (b + 20)), window) == v.VERIFIED
    assert asymptotic(lambda a, b: a / (1 + b**-0.7), window) == v.REFUTED
    assert asymptotic(lambda a, b: a / (1 + b**-1.5), window) == v.VERIFIED


def test_an_order_that_scatters_is_left_open():
    word = asymptotic(lambda a, b: a / (1 + b * (1 + 0.1 * np.sin(1e4 * b))), Window("b", 1e-3, 1e-2, 1))
    assert word == v.INCONCLUSIVE


def test_the_same_seed_gives_the_same_report_and_other_theorems_do_not_matter():
    one, two = v.verify(theorem(), rng=5), v.verify(theorem(), rng=5)
    assert one.evidence == two.evidence
    other = v.verify(theorem(id="test.other"), rng=5)
    assert other.evidence[-1] != one.evidence[-1]


def test_budgets_set_the_margin():
    rows = {}
    for budget in ("quick", "standard", "deep"):
        report = v.verify(theorem(), rng=0, budget=budget)
        rows[budget] = report.evidence[-1].figures["comparisons"][0]
    assert [rows[b]["margin"] / 6 for b in rows] == pytest.approx([0.02, 0.01, 0.005])
    assert rows["deep"]["replicas"] == pytest.approx(16 * rows["quick"]["replicas"], rel=0.01)


def test_corollaries_are_verified_too():
    corollary = v.Claim(
        name="side", kind=v.IDENTITY, domain=DOMAIN, formula=lambda a, b: a, oracle=lambda a, b: a * b / b,
        mutants={"other side": "b"},
    )  # fmt: skip
    report = v.verify(theorem(corollaries=(corollary,)), rng=0)
    assert [item.claim for item in report.evidence][-1] == "side"
    assert [mutant.claim for mutant in report.mutants] == ["main", "main", "side"]
    wrong = v.verify(theorem(corollaries=(replace(corollary, formula=lambda a, b: 2 * a),)), rng=0)
    assert wrong.verdict.word == v.REFUTED


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "obvious"}, "kind must be identity, .* got 'obvious'"),
        ({"mutants": {}}, "mutants must name at least one"),
        ({"window": Window("a", 1, 2, 1)}, "window must be given for asymptotic"),
        ({"mutants": {"typo": "a * c"}}, "the name 'c'"),
        (
            dict.fromkeys(("derivation", "oracle", "simulation", "certificate", "enclosure")),
            "needs at least one kind of evidence",
        ),
    ],
)
def test_a_theorem_that_cannot_be_checked_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        theorem(**changes)


def test_an_unknown_budget_is_refused():
    with pytest.raises(ValueError, match="budget must be one of quick, standard, deep, got 'huge'"):
        v.verify(theorem(), budget="huge")


@pytest.mark.parametrize(
    ("formula", "word"),
    [("a * b", v.VERIFIED), ("b * a + 0 * a", v.VERIFIED), ("1.02 * a * b", v.REFUTED), (area, v.VERIFIED)],
)
def test_challenges(formula, word):
    result = theorem().challenge(formula, rng=0)
    assert result.verdict.word == word
    if word == v.REFUTED:
        assert result.verdict.witness


@pytest.mark.parametrize(
    ("formula", "options", "message"),
    [
        ("a * c", {}, "the name 'c'"),
        ("__import__('os')", {}, "not understood"),
        ("  ", {}, "an empty formula"),
        ("a < b", {}, "formula must be a number, not a comparison, got 'a < b'"),
        (3, {}, "formula must be a text or a function, got int"),
        ("a", {"claim": "side"}, "claim must be one of main, got 'side'"),
        ("a", {"budget": "huge"}, "budget must be one of"),
    ],
)
def test_bad_challenges_are_named(formula, options, message):
    with pytest.raises(ValueError, match=message):
        theorem().challenge(formula, **options)


@pytest.mark.parametrize(
    ("options", "point", "word"),
    [
        ({}, {"a": 2.0, "b": 3.0}, v.VERIFIED),
        ({}, {"a": -2.0, "b": 3.0}, v.OUT_OF_DOMAIN),
        ({}, {"a": 2.0}, v.OUT_OF_DOMAIN),
        ({"oracle": None}, {"a": 2.0, "b": 3.0}, v.SKIPPED),
        ({"formula": lambda a, b: a + b + 1e-6}, {"a": 2.0, "b": 2.0}, v.REFUTED),
        ({"kind": v.ASYMPTOTIC, "window": Window("b", 1e-4, 1e-2, 2)}, {"a": 2.0, "b": 3.0}, v.INCONCLUSIVE),
    ],
)
def test_a_theorem_at_one_point(options, point, word):
    assert theorem(**options).at(**point).verdict.word == word


def test_a_point_outside_says_why():
    assert "a must be positive and finite, got -2.0" in theorem().at(a=-2.0, b=3.0).verdict.reason


def test_mutants_are_not_held_against_data_that_cannot_tell_them_apart():
    from quadlab.problems import Quadratic

    blind = v.Equivalence(({"a": 1.0, "b": 1.0},), measure, lambda setting: 0.5)
    blind_to = {"mutants": {"cube": "a**3 * b"}, "on_problem": lambda problem: blind}
    given = v.verify(theorem(simulation=None, **blind_to), rng=0, problem=Quadratic([[1.0]], name="mine"))
    assert [item.claim for item in given.evidence][-1] == "main on mine"
    assert given.verdict.word == v.VERIFIED
    shipped = v.verify(theorem(simulation=None, **blind_to), rng=0)
    assert shipped.problem == "diabetes"
    assert shipped.verdict.word == v.INCONCLUSIVE


def test_cancellation_in_the_form_of_a_right_formula_is_not_held_against_it():
    assert (
        theorem(simulation=None, enclosure=None).challenge("(a * b + 10**14) - 10**14", rng=0).verdict.word
        == v.VERIFIED
    )
    assert (
        theorem(simulation=None, enclosure=None).challenge("(a * b + 10**14) - 10**14 + a / 10**9", rng=0).verdict.word
        == v.REFUTED
    )


def test_a_formula_that_nothing_can_read_is_inconclusive():
    only = {"derivation": None, "oracle": None, "simulation": None, "enclosure": None}
    numbers_alone = theorem(formula=lambda a, b: a.item() * b, **only)
    result = numbers_alone.challenge("a * exp(b)", rng=0)
    assert result.verdict.word == v.INCONCLUSIVE
    assert result.verdict.reason == "none of the evidence can read this formula"


def test_a_derivation_without_end_is_stopped(monkeypatch):
    def endless(formula):
        return pow(7, 10**9)

    monkeypatch.setattr("quadlab.verify.runner.EXACT_SECONDS", 0.05)
    report = v.verify(theorem(derivation=endless), rng=0)
    assert report.evidence[0].verdict.word == v.INCONCLUSIVE
    assert report.evidence[0].verdict.reason == "gave up after 0.05 s of processor time"


@pytest.mark.parametrize("formula", ["a * (1 + b**4)", "a"])
def test_a_better_approximation_satisfies_an_asymptotic_claim(formula):
    only = {"derivation": None, "certificate": None, "enclosure": None, "simulation": None}
    claim = theorem(
        kind=v.ASYMPTOTIC, formula=lambda a, b: a * (1 + b**2), oracle=lambda a, b: a,
        window=Window("b", 1e-3, 1e-1, 2), mutants={"first order": "a * (1 + b)"}, **only,
    )  # fmt: skip
    assert claim.challenge(formula, rng=0).verdict.word == v.CONSISTENT
    assert claim.challenge("a * (1 + b**2)", rng=0).verdict.word == v.VERIFIED
    assert claim.challenge("a * (1 + b)", rng=0).verdict.word == v.REFUTED


def test_an_oracle_that_fails_at_a_point_is_an_error():
    def broken(a, b):
        raise ZeroDivisionError("no")

    assert theorem(oracle=broken).at(a=1.0, b=1.0).verdict.word == v.ERROR


def test_evidence_says_where_its_points_came_from():
    report = v.verify(theorem(), rng=0)
    low, high = report.evidence[1].figures["drawn_from"]["a"]
    assert 0.1 / v.Claim.reach <= low < 1e-3
    assert 1e3 < high <= 10 * v.Claim.reach
    near = v.verify(theorem(reach=1), rng=0).evidence[1].figures["drawn_from"]["a"]
    assert 0.1 <= near[0] < 0.2
    assert 5 < near[1] <= 10

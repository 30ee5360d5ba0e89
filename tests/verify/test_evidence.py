"""Each kind of evidence at its edges: what is not a number, not decided, not there, or not its own business."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import sympy
from test_runner import BRACKET, SAMPLED, A, B, area, theorem

from quadlab import dynamics
from quadlab import verify as v
from quadlab.problems import Quadratic
from quadlab.simulate import flow
from quadlab.theory.intervals import positive
from quadlab.verify.computed import _without_rounding
from quadlab.verify.runner import MutantResult, attempt, failure, judges
from quadlab.verify.statistics import MARGINS, check_spread, sample_size
from quadlab.verify.symbolic import judge as judge_symbolic
from quadlab.verify.theorem import Window

ALONE = dict.fromkeys(("derivation", "oracle", "simulation", "certificate", "enclosure"))


def only(**changes):
    return theorem(**{**ALONE, **changes})


def product(a, b):
    return a * b


def first(subject, formula=None):
    """The first kind of evidence of a theorem on its own formula, whether or not it sees enough to count."""
    label, prepare = next(iter(judges(subject, np.random.SeedSequence(0), "standard").items()))
    try:
        judge = prepare()
    except Exception as error:
        return v.Evidence(label, failure(error), subject.name)
    return attempt(judge, formula or subject.formula, label, subject.name)


@pytest.mark.parametrize(
    ("field", "empty", "message"),
    [
        ("derivation", lambda formula: v.Derivation((), {}), "must return at least one residual, got none"),
        ("certificate", lambda formula: [], "must make at least one statement, got none"),
        ("enclosure", lambda formula: [], "must make at least one inequality, got none"),
    ],
)
def test_evidence_that_checks_nothing_is_an_error(field, empty, message):
    report = v.verify(only(**{field: empty}), rng=0)
    assert report.verdict.word == v.ERROR
    assert message in report.verdict.reason


def test_evidence_needs_a_point():
    with pytest.raises(ValueError, match="points must be a whole number >= 1, got 0"):
        theorem(points=0)


@pytest.mark.parametrize(
    ("residual", "word"),
    [
        ((A + B) ** 2 - A**2 - 2 * A * B - B**2, v.VERIFIED),
        (A - B, v.REFUTED),
        (B - A, v.REFUTED),
        (sympy.nan, v.REFUTED),
        (sympy.zoo, v.REFUTED),
        (sympy.Abs(A - 1000) + A - 1000, v.INCONCLUSIVE),
    ],
    ids=str,
)
def test_only_a_residual_that_reduces_to_zero_is_verified(residual, word):
    """The last one vanishes at small numbers alone."""
    assert first(only(derivation=lambda formula: v.Derivation((), {"it": residual}))).verdict.word == word


def test_an_undecided_derivation_is_no_objection_to_a_challenge_and_a_decided_one_is():
    small = sympy.Abs(A - 1000) + A - 1000
    undecided = only(oracle=product, derivation=lambda formula: v.Derivation((), {"it": small}))
    assert v.verify(undecided, rng=0).verdict.word == v.INCONCLUSIVE
    result = undecided.challenge("b * a", rng=0)
    assert result.verdict.word == v.VERIFIED
    assert result.evidence[1].verdict.word == v.INCONCLUSIVE
    assert only(derivation=theorem().derivation).challenge("2 * a * b", rng=0).verdict.word == v.REFUTED


def test_a_challenge_reports_broken_evidence():
    def broken(a, b):
        raise ZeroDivisionError("my oracle is broken")

    assert "my oracle is broken" in only(oracle=broken).challenge("a * b").verdict.reason


def test_a_challenge_without_a_seed_draws_fresh_points():
    assert len({only(oracle=product).challenge("a").seed for _ in range(3)}) == 3


def test_assumptions_are_used():
    certificate = {"certificate": lambda formula: [v.Statement("larger", formula(A, B) > A, (B > 1,))]}
    assert first(only(**certificate)).verdict.word == v.VERIFIED


@pytest.mark.parametrize(("field", "prover"), [("certificate", "prove"), ("enclosure", "enclose_positive")])
def test_what_no_prover_decides_is_inconclusive(field, prover, monkeypatch):
    undecided = SimpleNamespace(proved=None, reason="too hard", checks=(), boxes=1, smallest=0.0)
    monkeypatch.setattr(f"quadlab.verify.proved.{prover}", lambda *arguments, **options: undecided)
    verdict = first(only(**{field: getattr(theorem(), field)})).verdict
    assert verdict.word == v.INCONCLUSIVE
    assert "too hard" in verdict.reason


@pytest.mark.parametrize("kind", [v.IDENTITY, v.UPPER, v.LOWER])
@pytest.mark.parametrize(
    ("formula", "oracle", "word"),
    [
        (np.nan, 1.0, v.REFUTED),
        (1.0, np.nan, v.ERROR),
        (np.nan, np.nan, v.ERROR),
        (1.0, 1 + 1j, v.ERROR),
        (1.0, [1.0, 2.0], v.ERROR),
        (1j, 1.0, v.REFUTED),
        (np.inf, np.inf, v.VERIFIED),
        (-np.inf, -np.inf, v.VERIFIED),
    ],
)
def test_only_real_numbers_and_equal_infinities_agree(kind, formula, oracle, word):
    subject = only(kind=kind, formula=lambda a, b: formula, oracle=lambda a, b: oracle)
    assert first(subject).verdict.word == word
    assert subject.at(a=1.0, b=1.0).verdict.word == word


@pytest.mark.parametrize(("formula", "oracle"), [(1.0, np.inf), (np.inf, 1.0), (np.inf, -np.inf)])
def test_a_number_is_not_infinity(formula, oracle):
    subject = only(formula=lambda a, b: formula, oracle=lambda a, b: oracle)
    assert first(subject).verdict.word == v.REFUTED
    assert subject.at(a=1.0, b=1.0).verdict.word == v.REFUTED


def test_the_largest_error_is_relative():
    figures = first(only(formula=lambda a, b: a * b * (1 + 1e-11), oracle=product)).figures
    assert figures["largest_error"] == pytest.approx(1e-11, rel=1e-3)


def test_a_point_names_both_sides():
    figures = only(formula=lambda a, b: a + b, oracle=product).at(a=2.0, b=5.0).verdict.witness
    assert (figures["formula"], figures["oracle"]) == (7.0, 10.0)


@pytest.mark.parametrize("kind", [v.ASYMPTOTIC, v.LIMIT])
def test_an_asymptotic_formula_that_is_not_a_number_is_refuted(kind):
    window = Window("b", 1e-4, 1e-2, 1)
    subject = only(kind=kind, formula=lambda a, b: a * np.nan, oracle=lambda a, b: a * (1 + b), window=window)
    item = first(subject)
    assert item.verdict.word == v.REFUTED
    assert -np.inf in item.figures.values()
    with pytest.raises(ValueError, match="window must be given"):
        only(kind=kind, oracle=product)


def measured(value, standard_error):
    return lambda setting, replicas, rng, executor: v.Measurement(value, standard_error, replicas)


def comparison(simulation):
    return first(only(simulation=simulation)).figures["comparisons"][0]


SETTINGS = ({"a": 2.0, "b": 3.0},)


def test_the_larger_of_measured_and_exact_error_counts():
    quiet = comparison(v.Equivalence(SETTINGS, measured(6.0, 0.0), lambda setting: 0.5))
    assert quiet["standard_error"] == pytest.approx(0.5 / np.sqrt(quiet["replicas"]))
    loud = 1.5 * quiet["standard_error"]
    assert comparison(v.Equivalence(SETTINGS, measured(6.0, loud), lambda setting: 0.5))["standard_error"] == loud


@pytest.mark.parametrize("spread", [1e-9, 0.0, 1e-3, 0.1])
@pytest.mark.parametrize("design", ["equivalence", "bracket"])
def test_a_spread_that_the_sample_contradicts_is_an_error_and_no_verdict_on_the_formula(spread, design):
    if design == "equivalence":
        subject = only(simulation=replace(SAMPLED, spread=lambda setting: spread))
    else:
        subject = only(simulation=replace(BRACKET, spread=lambda setting, edge: spread))
    verdict = first(subject).verdict
    assert verdict.word == v.ERROR
    assert "spread is stated as" in verdict.reason


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("draw", ["standard_normal", "standard_exponential"])
def test_a_right_spread_is_not_contradicted(seed, draw):
    for replicas in (2, 3, 10, 1000):
        sample = getattr(np.random.default_rng(seed), draw)(replicas)
        check_spread(1.0, sample.std(ddof=1) / np.sqrt(replicas), replicas)


@pytest.mark.parametrize(
    ("value", "error", "replicas", "message"),
    [
        (np.nan, 0.1, 100, "estimate must be finite, got nan"),
        (np.inf, 0.1, 100, "estimate must be finite, got inf"),
        (6.0 + 1j, 0.1, 100, "estimate must be finite"),
        (6.0, np.nan, 100, "standard_error must be finite and >= 0, got nan"),
        (6.0, -0.1, 100, "standard_error must be finite and >= 0, got -0.1"),
        (6.0, 0.1, 1, "replicas must be at least 2 to show their spread, got 1"),
        (np.ones(2), 0.1, 100, "estimate must be one number, got 2 of them"),
    ],
)
def test_a_measurement_that_is_none_is_an_error(value, error, replicas, message):
    broken = v.Equivalence(SETTINGS, lambda *how: v.Measurement(value, error, replicas), lambda setting: 0.5)
    verdict = first(only(simulation=broken)).verdict
    assert verdict.word == v.ERROR
    assert message in verdict.reason


@pytest.mark.parametrize("simulation", [SAMPLED, BRACKET])
@pytest.mark.parametrize(
    ("formula", "word"),
    [
        (lambda a, b: np.nan, v.REFUTED),
        (lambda a, b: np.inf, v.REFUTED),
        (lambda a, b: a * b * (1 + 1e-9j), v.REFUTED),
        (lambda a, b: a * b + 0j, v.VERIFIED),
        (lambda a, b: np.array([a * b, a * b]), v.ERROR),
        (lambda a, b: "6", v.ERROR),
    ],
)
def test_a_prediction_that_is_not_one_real_number_passes_for_none(simulation, formula, word):
    assert only(simulation=simulation).challenge(formula, rng=0).verdict.word == word


@pytest.mark.parametrize(
    ("rate", "word"), [(1.0, v.VERIFIED), (1e9, v.INCONCLUSIVE), (-1e300, v.REFUTED), (np.nan, v.REFUTED)]
)
def test_predictions_by_flows_end(rate, word):
    def predict(formula, setting):
        found = formula(**setting)
        return flow(lambda w: -found * w, [1.0], 1.0)[0] if np.isfinite(found) else found

    decay = v.Equivalence(SETTINGS, measured(np.exp(-1), 0.0), lambda setting: 0.0, predict=predict)
    with np.errstate(all="ignore"):
        judge = decay.prepare(lambda a, b: 1.0, rng=np.random.SeedSequence(0), budget="quick")
        assert judge(lambda a, b: rate).verdict.word == word


def test_a_run_that_overflows_has_not_fallen():
    def measure(setting, edge, replicas, rng, executor):
        return v.Measurement(np.nan if edge > 10 else edge - 6.0, 0.0, replicas)

    overflowing = only(simulation=replace(BRACKET, measure=measure))
    assert first(overflowing).verdict.word == v.VERIFIED
    verdict = first(overflowing, v.parse("100 * a * b", ("a", "b"))).verdict
    assert (verdict.word, "too large for the simulation" in verdict.reason) == (v.REFUTED, True)


def test_rounding_hides_a_margin_and_not_a_wrong_formula():
    def at(value, rounding):
        return lambda setting, replicas, rng, executor: v.Measurement(value, 0.0, replicas, rounding)

    hidden = only(simulation=v.Equivalence(SETTINGS, at(6.3, 0.5), lambda setting: 0.0))
    assert first(hidden).verdict.word == v.INCONCLUSIVE
    assert "rounding of up to 0.5 hides a margin" in first(hidden).verdict.reason
    assert hidden.challenge("2 * a * b", rng=0).verdict.word == v.REFUTED
    settings = ({"a": 2.0, "b": 3.0}, {"a": 3.0, "b": 3.0})
    one = v.Equivalence(
        settings,
        lambda setting, *how: at(6.3, 0.5)(setting, *how) if setting["a"] == 2 else at(9.0, 1e-9)(setting, *how),
        lambda setting: 0.0,
    )
    assert first(only(simulation=one)).verdict.word == v.VERIFIED


@pytest.mark.parametrize("simulation", [SAMPLED, BRACKET])
def test_a_simulation_without_settings_is_refused(simulation):
    with pytest.raises(ValueError, match="settings must be at least one, got none"):
        replace(simulation, settings=())


def test_a_prediction_of_zero_needs_a_scale():
    verdict = first(only(simulation=SAMPLED, formula=lambda a, b: 0.0 * a)).verdict
    assert verdict.word == v.ERROR
    assert "a prediction of zero needs a scale of its own" in verdict.reason


def test_a_sample_that_would_never_end_is_not_begun():
    with pytest.raises(ValueError, match=r"ask for 1.21e\+10 replicas, at most 1e\+09"):
        sample_size(1.0, 1e-4)


def test_the_margin_is_relative_to_the_scale_or_to_the_size_of_the_prediction():
    scaled = v.Equivalence(SETTINGS, measured(6.0, 0.0), lambda setting: 0.5, scale=lambda setting: 200.0)
    assert comparison(scaled)["margin"] == pytest.approx(0.01 * 200)
    negative = v.Equivalence(
        SETTINGS, measured(-6.0, 0.0), lambda setting: 0.5, predict=lambda formula, setting: -formula(**setting)
    )
    assert comparison(negative)["margin"] == pytest.approx(0.01 * 6)


@pytest.mark.parametrize("budget", ["quick", "deep"])
@pytest.mark.parametrize("simulation", [SAMPLED, BRACKET])
def test_the_stated_resolution_is_seen(simulation, budget):
    judge = simulation.prepare(area, rng=np.random.SeedSequence(0), budget=budget)
    found = judge(area)
    size = found.figures["resolution"]
    assert (found.verdict.word, 2 * MARGINS[budget] < size <= 4 * MARGINS[budget]) == (v.VERIFIED, True)
    for factor in (1 + size, 1 - size):
        assert judge(lambda a, b, factor=factor: factor * a * b).verdict.word == v.REFUTED


def test_a_scale_that_hides_the_formula_is_an_error():
    hidden = v.Equivalence(SETTINGS, measured(6.0, 0.0), lambda setting: 0.5, scale=lambda setting: 1e9)
    verdict = first(only(simulation=hidden)).verdict
    assert verdict.word == v.ERROR
    assert "scale must be so small that the margin shows when the formula is doubled" in verdict.reason


def test_a_formula_that_is_zero_promises_to_see_no_factor():
    zero = v.Equivalence(SETTINGS, measured(0.0, 0.0), lambda setting: 0.5, scale=lambda setting: 1.0)
    found = first(only(simulation=zero, formula=lambda a, b: 0.0 * a))
    assert (found.verdict.word, found.figures["resolution"]) == (v.VERIFIED, None)


def test_a_refuted_simulation_names_its_setting():
    witness = first(only(simulation=v.Equivalence(SETTINGS, measured(7.0, 0.0), lambda setting: 0.5))).verdict.witness
    assert witness == {"a": 2.0, "b": 3.0, "measured": 7.0, "predicted": 6.0}


@pytest.mark.parametrize("formula", ["0.98 * a * b", "1.02 * a * b", "a * b / 0 ** 2"])
def test_an_edge_is_wrong_on_either_side(formula):
    assert only(simulation=BRACKET).challenge(formula, rng=0).verdict.word != v.VERIFIED


def test_an_infinite_edge_is_refused():
    assert "must be positive and finite" in first(only(simulation=BRACKET), lambda a, b: np.inf).verdict.reason


def test_every_measurement_of_an_edge_has_its_own_seed():
    seeds = []

    def measure(setting, edge, replicas, rng, executor):
        seeds.append(rng.generate_state(4).tobytes())
        return BRACKET.measure(setting, edge, replicas, rng, executor)

    settings = ({"a": 2.0, "b": 3.0}, {"a": 1.0, "b": 3.0})
    bracket = v.EdgeBracket(settings, measure, BRACKET.spread, BRACKET.effect)
    bracket.prepare(area, rng=np.random.SeedSequence(0), budget="standard")(area)
    assert len(set(seeds)) == len(seeds) == 4


def test_a_formula_for_numbers_alone_is_an_error_where_the_theorem_claims_symbols():
    report = v.verify(theorem(formula=lambda a, b: np.sqrt(a) ** 2 * b, oracle=None, simulation=None), rng=0)
    assert report.verdict.word == v.ERROR


def test_a_mutant_that_cannot_be_called_is_not_refuted():
    report = v.verify(only(oracle=product, mutants={"one argument": lambda a: a}), rng=0)
    assert report.mutants[0].verdicts["computed"].word == v.ERROR
    assert report.verdict.word == v.INCONCLUSIVE


def test_a_mutant_that_no_evidence_can_judge_is_not_killed():
    assert not MutantResult("main", "it", {"symbolic": v.Verdict(v.SKIPPED)}).killed


CLAIM = v.Claim(name="side", kind=v.IDENTITY, domain=theorem().domain, formula=lambda a, b: a,
                oracle=lambda a, b: a * b / b, mutants={"other side": "b"})  # fmt: skip


def test_the_simulation_on_a_problem_belongs_to_the_main_claim_and_has_its_own_seed():
    subject = only(simulation=SAMPLED, on_problem=lambda problem: SAMPLED, corollaries=(CLAIM,))
    report = v.verify(subject, rng=0, problem=Quadratic([[1.0]], name="mine"))
    assert [item.claim for item in report.evidence] == ["main", "main on mine", "side"]
    one, two = (item.figures["comparisons"][0]["estimate"] for item in report.evidence[:2])
    assert one != two


def test_a_problem_is_named_only_where_it_is_used():
    assert v.verify(theorem(), rng=0, problem=Quadratic([[1.0]], name="mine")).problem == ""


def test_a_problem_that_a_theorem_cannot_use_is_an_error_of_its_evidence():
    def unusable(problem):
        raise IndexError("too small for me")

    report = v.verify(only(oracle=product, on_problem=unusable), rng=0, problem=Quadratic([[1.0]], name="mine"))
    assert [item.verdict.word for item in report.evidence] == [v.VERIFIED, v.ERROR]
    assert "too small for me" in report.verdict.reason


def test_the_seed_of_a_report_repeats_it():
    children = np.random.SeedSequence([1, 2]).spawn(2)
    reports = [v.verify(only(simulation=SAMPLED), rng=child) for child in children]
    assert reports[0].evidence != reports[1].evidence
    for report in reports:
        assert v.verify(only(simulation=SAMPLED), rng=report.seed).evidence == report.evidence


RULE = dynamics.variational_gradient_descent()
BOUND = {"eigenvalues": [0.8], "initial": 0.6, "learning_rate": 0.7, "noise_variance": 0.5, "samples": 2}


@pytest.mark.parametrize("observable", ["loss", "loss_change", "squared_position", "position"])
def test_an_experiment_knows_the_mean_and_the_spread_of_what_it_measures(observable):
    experiment = v.RuleExperiment(RULE, lambda setting: BOUND, observable, steps=3)
    found = experiment.measure({}, 100_000, 0)
    spread = experiment.spread({})
    assert found.standard_error * np.sqrt(found.replicas) == pytest.approx(spread, rel=0.02)
    if observable == "position":
        with pytest.raises(ValueError, match="not of position"):
            experiment.exact({})
    else:
        assert abs(found.value - experiment.exact({})) < 5 * found.standard_error


@pytest.mark.parametrize("observable", ["descends", "decreases"])
def test_the_spread_of_an_event_is_bounded_whatever_its_probability(observable):
    chances = np.linspace(0, 1, 101)
    bound = v.RuleExperiment(RULE, lambda setting: BOUND, observable).spread({})
    assert bound == pytest.approx(np.sqrt(chances * (1 - chances)).max())


def test_an_experiment_on_weights_starts_where_it_is_told():
    from quadlab.simulate import GradientDescent

    problem, start = Quadratic([[2.0, 1.0], [1.0, 2.0]]), np.array([1.0, 0.0])
    experiment = v.WeightsExperiment(problem, GradientDescent(0.1), deviation=0.3, initial=start)
    after = start - 0.1 * problem.hessian @ start
    change = (after @ problem.hessian @ after - start @ problem.hessian @ start) / 2
    assert experiment.measure({}, 2, 0).value == pytest.approx(change)
    assert experiment.spread({}) == 0.3


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_no_symbol_keeps_its_value_at_the_symbolic_test_points(count):
    """Else a residual with the factor (symbol - value) would look like zero."""
    symbols = sympy.symbols(f"a1:{count + 1}", positive=True)
    for k, symbol in enumerate(symbols):
        for value in {sympy.Rational(3 + 2 * k + s, 7 + 3 * k + t * s) for s in range(4) for t in (2, 3)}:
            residual = sum(symbols) * (symbol - value)
            claim = v.Claim(
                kind=v.IDENTITY, domain=v.Domain(**{s.name: positive for s in symbols}), formula=lambda **_: 0,
                derivation=lambda formula, r=residual: v.Derivation((), {"r": r}), mutants={"one": "1"},
            )  # fmt: skip
            assert judge_symbolic(claim, claim.formula).verdict.word == v.REFUTED


def test_a_second_look_that_knows_no_digit_changes_nothing():
    """The argument of the sine has 476 digits, and 100 are looked at."""
    wild = v.parse("a * b + sin(exp(exp(a)))", ("a", "b"))
    assert np.isnan(_without_rounding(wild, {"a": 7.0, "b": 1.0}))

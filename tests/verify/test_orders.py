"""Evidence by orders of errors: verified, refuted and undecided for the right reasons."""

from dataclasses import replace

import numpy as np
import pytest

from quadlab import verify as v
from quadlab.simulate import flow
from quadlab.simulate.flows import WorkLimitReached, work_limit
from quadlab.theory.intervals import whole_positive
from quadlab.verify import unfinished
from quadlab.verify.formula import parse

STEPS = tuple(np.geomspace(1e-3, 8e-3, 9))
NOISE = np.random.default_rng(0).standard_normal(9)
EVIDENCE = v.ErrorOrder(
    settings=({"power": 1}, {"power": 3}),
    error=lambda formula, setting, step: 5 * step ** setting["power"] * (1 + step),
    steps=STEPS,
    order=lambda formula, setting: formula(**setting),
)


def judge(evidence, formula):
    return evidence.prepare(formula, rng=np.random.SeedSequence(0), budget="quick", claim="main")(formula)


def test_the_right_order_is_verified_and_recorded():
    found = judge(EVIDENCE, lambda power: power)
    assert found.verdict.word == v.VERIFIED
    assert found.kind == "sampled"
    assert found.claim == "main"
    low, high = found.figures["comparisons"][1]["interval"]
    assert low < 3.01 < high + 0.01
    assert found.figures["steps"] == list(STEPS)


@pytest.mark.parametrize(
    ("wrong", "at"), [(lambda power: power + 1, 1), (lambda power: power - 0.2, 1), (lambda power: 1, 3)]
)
def test_a_wrong_order_is_refuted_with_its_setting(wrong, at):
    found = judge(EVIDENCE, wrong)
    assert found.verdict.word == v.REFUTED
    assert found.verdict.witness["power"] == at
    assert "measured order" in found.verdict.reason


@pytest.mark.parametrize("wrong", ["1.02 * power", "power + 0.04", "power - 1e-9", "1.5 * power"])
def test_an_order_is_a_whole_number(wrong):
    """The interval of a slope only has to tell which: within it there is room for no other prediction."""
    found = judge(EVIDENCE, parse(wrong, ("power",)))
    assert found.verdict.word == v.REFUTED
    assert "no multiple of 1" in found.verdict.reason
    assert judge(EVIDENCE, lambda power: (power + 0.1) - 0.1).verdict.word == v.VERIFIED


def test_orders_may_be_half_whole():
    halves = replace(EVIDENCE, error=lambda formula, setting, step: step**1.5, spacing=0.5, settings=({"power": 1.5},))
    assert judge(halves, lambda power: power).verdict.word == v.VERIFIED
    assert judge(halves, lambda power: power + 0.25).verdict.word == v.REFUTED
    assert judge(halves, lambda power: power + 0.5).verdict.word == v.REFUTED
    assert judge(replace(halves, spacing=1.0), lambda power: 2.0).verdict.word == v.REFUTED


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"margin": 10.0}, "margin must be positive and below half the spacing of the orders, 0.5, got 10"),
        ({"margin": 0.5}, "margin must be positive and below half"),
        ({"margin": 0.3, "spacing": 0.5}, "below half the spacing of the orders, 0.25, got 0.3"),
        ({"margin": np.nan}, "margin must be positive"),
        ({"spacing": 0.0}, "spacing must be positive and at most 1, got 0"),
        ({"settings": ()}, "settings must be at least one"),
    ],
)
def test_a_margin_that_cannot_tell_orders_apart_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(EVIDENCE, **changes)


def test_the_figures_say_what_change_of_the_formula_is_seen():
    assert judge(EVIDENCE, lambda power: power).figures["resolution"] == 1 / 512
    entering = replace(
        EVIDENCE,
        settings=({},),
        error=lambda formula, setting, step: abs(step / 4 - formula(step)) + step**2,
        order=lambda formula, setting: 2,
    )
    seen = judge(entering, lambda step: step / 4).figures["resolution"]
    assert 1 / 512 <= seen <= 1 / 4
    assert judge(entering, lambda step: (1 + seen) * step / 4).verdict.word == v.REFUTED


@pytest.mark.parametrize("value", [np.array([1.0, 2.0]), "two", None])
def test_an_order_or_an_error_that_is_no_number_is_named(value):
    with pytest.raises(ValueError, match="order must be"):
        judge(EVIDENCE, lambda power: value)
    with pytest.raises(ValueError, match="error must be"):
        judge(replace(EVIDENCE, error=lambda *point: value), lambda power: power)


@pytest.mark.parametrize("value", [1e-3j, np.nan, np.inf])
def test_an_order_that_is_not_real_and_finite_is_refuted(value):
    assert judge(EVIDENCE, lambda power: power + value).verdict.word == v.REFUTED


@pytest.mark.parametrize("scatter", [0.05, 0.2])
def test_errors_that_scatter_leave_it_open(scatter):
    """Even where the estimate itself lies within the margin."""
    noisy = replace(
        EVIDENCE,
        error=lambda formula, setting, step: step * np.exp(scatter * NOISE[STEPS.index(step)]),
        settings=({"power": 1},),
    )
    found = judge(noisy, lambda power: power)
    assert found.verdict.word == v.INCONCLUSIVE
    if scatter == 0.05:
        assert abs(found.figures["comparisons"][0]["estimate"] - 1) < 0.1


@pytest.mark.parametrize("error", [0.0, np.nan, np.inf])
def test_an_error_that_is_no_positive_number_is_refuted(error):
    for where in (STEPS, STEPS[:1]):
        broken = replace(EVIDENCE, error=lambda formula, setting, step, where=where: error if step in where else step)
        assert judge(broken, lambda power: power).verdict.word == v.REFUTED


def test_a_formula_may_enter_the_run_instead():
    gain = replace(
        EVIDENCE,
        settings=({"power": 1},),
        error=lambda formula, setting, step: abs(step / 4 - formula(step)) + step**2,
        order=lambda formula, setting: 2,
    )
    assert judge(gain, lambda step: step / 4).verdict.word == v.VERIFIED
    assert judge(gain, lambda step: step / 2).verdict.word == v.REFUTED


def test_a_theorem_can_rest_on_it():
    theorem = v.Theorem(
        id="test.order",
        title="an order",
        source="none",
        kind=v.IDENTITY,
        domain=v.Domain(power=whole_positive),
        formula=lambda power: power,
        simulation=EVIDENCE,
        mutants={"one more": "power + 1"},
    )
    report = v.verify(theorem, rng=0, budget="quick")
    assert report.verdict.word == v.VERIFIED
    assert not report.survivors
    assert theorem.challenge("2 * power", rng=0).verdict.word == v.REFUTED


def entering():
    """A formula that enters a flow as its rate, against the rate 1."""
    return v.ErrorOrder(
        settings=({"power": 1}, {"power": 2}),
        error=lambda formula, setting, step: abs(flow(lambda w: -formula(step) * w, [1.0], 1.0)[0] - np.exp(-1) + step),
        steps=STEPS,
        order=lambda formula, setting: 1,
    )


@pytest.mark.parametrize(
    ("rate", "word", "reason"),
    [
        (lambda step: 1.0, v.VERIFIED, ""),
        (lambda step: 1e9, v.INCONCLUSIVE, "the runs do not end: the flow cannot be followed to time 1"),
        (lambda step: -1e300, v.REFUTED, "the flow cannot be followed to time 1: near 0 it leaves"),
        (lambda step: np.nan, v.REFUTED, "no finite real number, but nan"),
        (lambda step: 1 + 1e-3j, v.REFUTED, "no finite real number"),
    ],
)
def test_runs_of_a_wild_formula_end(rate, word, reason, monkeypatch):
    monkeypatch.setattr(unfinished, "MOST_EVALUATIONS", 20_000)
    with np.errstate(all="ignore"):
        verdict = judge(entering(), rate).verdict
    assert verdict.word == word
    assert reason in verdict.reason


def test_the_limit_is_shared_by_all_runs_and_ends_with_them():
    calls = []

    def field(theta):
        calls.append(1)
        return -theta

    def follow_ten():
        with work_limit(200):
            for _ in range(10):
                flow(field, [1.0], 1.0)

    with pytest.raises(WorkLimitReached, match="200 evaluations do not suffice"):
        follow_ten()
    assert len(calls) <= 210
    assert flow(field, [1.0], 10.0)[0] == pytest.approx(np.exp(-10), rel=1e-6)


@pytest.mark.parametrize("error", [ZeroDivisionError, OverflowError, KeyError])
def test_a_mistake_in_a_run_is_an_error_and_no_verdict(error):
    def broken(formula, setting, step):
        raise error("no")

    with pytest.raises(error):
        judge(replace(EVIDENCE, error=broken), lambda power: power)

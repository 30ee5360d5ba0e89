"""Evidence by replicated runs: error rates, seeds that extend, runs that are shared, failures that are named."""

import json
import re
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from math import inf, sqrt
from multiprocessing import get_context

import numpy as np
import pytest
from scipy.stats import t as student
from threadpoolctl import threadpool_info, threadpool_limits

from quadlab import verify as v
from quadlab.theory.intervals import positive
from quadlab.verify.store import record

SETTINGS = ({"rate": 0.1}, {"rate": 0.2}, {"rate": 0.4})


def train(setting, seed, budget):
    """A stand-in for a network: 2/rate with a relative spread of 1/1000."""
    noise = np.random.default_rng(seed).standard_normal()
    return {"sharpness": 2 / setting["rate"] * (1 + 1e-3 * noise), "noise": noise}


def threads(setting, seed, budget):
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return {"threads": max(library["num_threads"] for library in libraries), "seed": seed.generate_state(1)[0]}


def edge(rate):
    return 2 / rate


def replication(run=train, **changes):
    options = {
        "settings": SETTINGS,
        "observed": lambda setting, measured: measured["sharpness"],
        "margin": 0.02,
        "observable": "",
    }
    return v.Replication(runs=v.Runs(run), **{**options, **changes})


def judged(evidence, formula=edge, *, right=edge, budget="standard", rng=0, **options):
    return evidence.prepare(right, rng=rng, budget=budget, **options)(formula)


def test_the_evidence_shows_every_run():
    found = judged(replication(observable="sharpness at the end", units="loss"))
    assert (found.verdict.word, found.kind) == (v.VERIFIED, "replicated")
    assert (found.figures["observable"], found.figures["units"]) == ("sharpness at the end", "loss")
    for row, setting in zip(found.figures["comparisons"], SETTINGS, strict=True):
        values = [run["measured"]["sharpness"] for run in row["runs"]]
        assert row["setting"] == setting
        assert row["estimate"] == pytest.approx(np.mean(values), rel=1e-14)
        assert row["prediction"] == 2 / setting["rate"]
        assert row["difference"] == pytest.approx(np.mean(values) * setting["rate"] / 2 - 1, abs=1e-14)
        assert np.mean(row["interval"]) == pytest.approx(row["difference"], abs=1e-14)
        half = student.ppf(0.995, 9) * row["standard_error"]
        assert np.ptp(row["interval"]) == pytest.approx(2 * half, rel=1e-12)
        assert (row["margin"], row["allowed"], row["seeds"]) == (0.02, [-0.02, 0.02], 4)
        for run in row["runs"]:
            again = train(setting, np.random.SeedSequence(run["seed"]), "standard")
            assert run["measured"] == again
            assert (run["observed"], run["predicted"]) == (again["sharpness"], 2 / setting["rate"])


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_a_wrong_formula_is_refuted_at_its_setting(factor):
    found = judged(replication(), lambda rate: (factor if rate == 0.2 else 1) * 2 / rate)
    assert found.verdict.word == v.REFUTED
    assert found.verdict.witness["rate"] == 0.2
    assert found.verdict.witness["predicted"] == pytest.approx(factor * 10)
    assert found.verdict.witness["measured"] == pytest.approx(10, rel=5e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e308, -1e200])
def test_a_formula_without_a_finite_value_is_refuted(value):
    found = judged(replication(), lambda rate: value if rate == 0.4 else 2 / rate)
    assert (found.verdict.word, found.verdict.witness) == (v.REFUTED, {"rate": 0.4})


@pytest.mark.parametrize(
    ("claim_kind", "low", "high"),
    [(v.UPPER, v.REFUTED, v.VERIFIED), (v.LOWER, v.VERIFIED, v.REFUTED), (v.TIGHT, v.REFUTED, v.REFUTED)],
)
def test_a_bound_may_be_far_away_on_its_own_side(claim_kind, low, high):
    for factor, word in ((0.5, low), (1.5, high)):
        found = judged(replication(), lambda rate, factor=factor: factor * 2 / rate, claim_kind=claim_kind)
        assert found.verdict.word == word


def test_a_trend_needs_no_margin():
    """Observed: how much the quantity grows; predicted: at least nothing."""
    growth = replication(observed=lambda setting, run: run["sharpness"] - 1, scale=lambda setting, run: 1.0, margin=0)
    for formula, word in ((lambda rate: 0, v.VERIFIED), (lambda rate: 50, v.REFUTED)):
        assert judged(growth, formula, claim_kind=v.LOWER).verdict.word == word
    with pytest.raises(ValueError, match="margin must be positive for claims that are not upper or lower, got 0"):
        judged(growth)


def test_a_prediction_may_use_what_was_measured_in_the_run():
    evidence = replication(predict=lambda formula, setting, run: formula(setting["rate"]) * (1 + 1e-3 * run["noise"]))
    row = judged(evidence).figures["comparisons"][0]
    assert row["standard_error"] < 1e-15
    assert abs(row["difference"]) < 1e-15


def test_differences_are_relative_to_the_right_prediction_or_to_the_scale():
    wrong = judged(replication(), lambda rate: 20 / rate).figures["comparisons"][0]
    assert wrong["difference"] == pytest.approx(-9, rel=0.01)
    negative = judged(
        replication(observed=lambda setting, run: -run["sharpness"]),
        lambda rate: -20 / rate,
        right=lambda rate: -2 / rate,
    )
    assert negative.figures["comparisons"][0]["difference"] == pytest.approx(9, rel=0.01)
    absolute = replication(scale=lambda setting, run: 4.0, margin=0.5)
    assert judged(absolute, lambda rate: 2 / rate + 8).figures["comparisons"][0]["difference"] == pytest.approx(
        -2, abs=0.1
    )
    with pytest.raises(ValueError, match="a prediction of zero needs a scale"):
        judged(replication(), right=lambda rate: 0.0)


def test_the_stated_resolution_is_seen():
    evidence = replication()
    size = judged(evidence).figures["resolution"]
    assert size == 1 / 16
    for factor in (1 + size, 1 - size):
        assert judged(evidence, lambda rate, factor=factor: factor * 2 / rate).verdict.word == v.REFUTED
    scattered = replication(predict=lambda formula, setting, run: formula(setting["rate"]) * (1 + run["noise"]))
    assert judged(scattered, budget="quick").figures["resolution"] != size
    assert judged(evidence, claim_kind=v.UPPER).figures["resolution"] is None


def test_a_margin_that_hides_the_formula_is_refused():
    with pytest.raises(ValueError, match=r"margin must be below 0.5 where it is relative, got 1.0"):
        replication(margin=1.0)
    with pytest.raises(ValueError, match="margin must be so small that it shows when the formula is doubled, got 0.4"):
        judged(replication(margin=0.4, scale=lambda setting, run: 1e9))


@pytest.mark.parametrize("margin", [1.5e-3, 3e-3, 4e-3])
def test_an_open_verdict_says_how_many_seeds_would_decide(margin):
    found = judged(replication(margin=margin), budget="quick")
    assert found.verdict.word == v.INCONCLUSIVE
    count = round(found.verdict.needed * 2)
    assert f"about {count} seeds would decide" in found.verdict.reason
    row = next(row for row in found.figures["comparisons"] if max(map(abs, row["interval"])) > margin)
    gap = margin - abs(row["difference"])

    def half_width(seeds):
        return student.ppf(0.995, 3 * (seeds - 1)) * row["standard_error"] * sqrt(2 / seeds)

    assert half_width(count) <= gap < half_width(count - 1)


def test_on_the_edge_no_number_of_seeds_decides():
    found = judged(replication(), lambda rate: 2 / rate / 1.02, right=lambda rate: 2 / rate / 1.02)
    exact = replication(margin=abs(found.figures["comparisons"][0]["difference"]))
    (row, *_) = judged(exact, lambda rate: 2 / rate / 1.02, right=lambda rate: 2 / rate / 1.02).figures["comparisons"]
    verdict = exact._decide(row)
    assert (verdict.word, verdict.needed) == (v.INCONCLUSIVE, inf)
    assert "not decided by 1000 seeds" in verdict.reason


def test_more_seeds_extend_fewer_and_settings_keep_theirs():
    runs = v.Runs(train)
    quick = runs.made(SETTINGS, 2, rng=3, budget="quick")
    deep = v.Runs(train).made(SETTINGS, 8, rng=3, budget="deep")
    assert [row[:2] for row in deep] == quick
    assert runs.made(SETTINGS[::-1], 2, rng=3, budget="quick") == quick[::-1]
    assert v.Runs(train).made(SETTINGS[1:], 2, rng=np.random.SeedSequence(3), budget="quick") != quick[1:]
    assert v.Runs(train).made(SETTINGS[1:], 2, rng=3, budget="quick") == quick[1:]
    assert v.Runs(train).made(SETTINGS, 2, rng=4, budget="quick") != quick
    assert len({run.seed for row in deep for run in row}) == 24


def test_any_executor_gives_the_same_runs_with_one_thread_each(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    expected = v.Runs(threads).made(SETTINGS, 4, rng=0, budget="quick")
    for pool in (ThreadPoolExecutor(3), ProcessPoolExecutor(2, get_context("spawn"))):
        with pool as executor, threadpool_limits(2, user_api="blas"):
            assert v.Runs(threads).made(SETTINGS, 4, rng=0, budget="quick", executor=executor) == expected
    assert {entry.measured["threads"] for row in expected for entry in row} == {1}


def counted(calls):
    def run(setting, seed, budget):
        calls.append((setting["rate"], budget))
        return train(setting, seed, budget)

    return run


def theorem(runs, **changes):
    claim = {
        "kind": v.TIGHT,
        "domain": v.Domain(rate=positive),
        "formula": edge,
        "simulation": replace(replication(), runs=runs),
        "mutants": {"half": "1 / rate", "square": "2 / rate**2"},
    }
    below = {
        **claim,
        "kind": v.UPPER,
        "simulation": replace(replication(), runs=runs, settings=SETTINGS[:2]),
        "formula": lambda rate: 2.5 / rate,
        "mutants": {"too low": "1.5 / rate"},
    }
    return v.Theorem(
        id="test.edge",
        title="an edge",
        source="none",
        corollaries=(v.Claim(name="below", **below),),
        **claim,
        **changes,
    )


@pytest.fixture
def here():
    """An executor in this process, where runs may leave traces."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def test_a_theorem_rests_on_runs_that_its_claims_and_mutants_share(here):
    calls = []
    report = v.verify(theorem(v.Runs(counted(calls))), rng=0, executor=here)
    assert report.verdict.word == v.VERIFIED
    assert [item.kind for item in report.evidence] == ["replicated", "replicated"]
    assert len(report.mutants) == 3
    assert not report.survivors
    assert sorted(calls) == sorted([(setting["rate"], "standard") for setting in SETTINGS] * 4)
    entry = json.loads(json.dumps(record(report, "deep_nets"), allow_nan=False))
    assert entry["evidence"][1]["comparisons"][0]["allowed"] == ["-inf", 0.02]
    main, below = entry["evidence"]
    assert main["comparisons"][0]["runs"] == [{**run, "predicted": 20.0} for run in below["comparisons"][0]["runs"]]


def test_runs_of_the_latest_seed_and_budget_are_kept_and_no_others(here):
    calls = []
    runs = v.Runs(counted(calls))
    for rng, budget, count in ((0, "quick", 2), (0, "quick", 3), (0, "deep", 4), (1, "deep", 4), (1, "deep", 4)):
        runs.made(SETTINGS[:1], count, rng=rng, budget=budget, executor=here)
    assert [budget for _, budget in calls] == ["quick"] * 3 + ["deep"] * 8
    runs.made(SETTINGS[:1], 2, rng=0, budget="quick", executor=here)
    assert len(calls) == 13


def test_a_challenge_is_judged_by_the_runs():
    subject = theorem(v.Runs(train))
    assert subject.challenge("2 / rate", rng=0).verdict.word == v.VERIFIED
    result = subject.challenge("2.1 / rate", rng=0, budget="quick")
    assert {item.kind: item.verdict.word for item in result.evidence} == dict.fromkeys(
        ("compared", "replicated"), v.REFUTED
    )
    assert subject.challenge("1.9 / rate", claim="below", rng=0).verdict.word == v.REFUTED


def test_a_failed_run_is_an_error_that_names_its_setting_and_seed_and_costs_no_other(here):
    calls = []

    def fails(setting, seed, budget):
        calls.append(setting["rate"])
        if setting["rate"] == 0.2 and len(calls) <= 8:
            raise OSError("disk is full")
        return train(setting, seed, budget)

    runs = v.Runs(fails)
    report = v.verify(replace(theorem(runs), corollaries=()), rng=0, executor=here)
    assert report.verdict.word == v.ERROR
    told = re.search(r"the run at rate = 0.2 with seed (\d+) failed: OSError: disk is full", str(report.verdict))
    assert told is not None
    assert len(calls) == 12
    again = v.verify(replace(theorem(runs), corollaries=()), rng=0, executor=here)
    assert again.verdict.word == v.VERIFIED
    assert calls[12:] == [0.2] * 4
    assert int(told[1]) == again.evidence[0].figures["comparisons"][1]["runs"][0]["seed"]


def told(error):
    def run(setting, seed, budget):
        if setting["rate"] == 0.2:
            raise error
        return train(setting, seed, budget)

    return run


@pytest.mark.parametrize(
    "error",
    [v.PremiseNotMet("the edge was not reached"), ArithmeticError("the edge was not reached"),
     FloatingPointError("the edge was not reached")],
)  # fmt: skip
def test_a_run_without_its_premise_leaves_its_setting_open(error):
    evidence = replication(told(error))
    found = judged(evidence)
    assert found.verdict.word == v.INCONCLUSIVE
    assert found.verdict.reason == "the edge was not reached (in 4 of 4 runs at rate = 0.2)"
    assert [row["setting"]["rate"] for row in found.figures["comparisons"]] == [0.1, 0.4]
    (row,) = found.figures["premise_not_met"]
    assert (row["setting"], [run["missing"] for run in row["runs"]]) == (
        {"rate": 0.2},
        ["the edge was not reached"] * 4,
    )
    assert judged(evidence, lambda rate: 2.2 / rate).verdict.word == v.REFUTED
    with pytest.raises(RuntimeError, match="the run at rate = 0.2 with seed .* failed: the edge was not reached"):
        evidence.runs.made(SETTINGS, 4, rng=0, budget="standard")
    alone = judged(replace(evidence, settings=SETTINGS[1:2]))
    assert (alone.verdict.word, alone.verdict.reason) == (v.INCONCLUSIVE, found.verdict.reason)


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), OverflowError("too large"), ValueError("no")])
def test_a_mistake_in_a_run_is_no_missing_premise(error):
    with pytest.raises(RuntimeError, match="the run at rate = 0.2 with seed .* failed"):
        judged(replication(told(error)))


def test_a_premise_is_asked_of_every_run_of_a_claim():
    """A shared run may meet the premise of one claim and not of another."""

    def premise(setting, run):
        return "the sharpness is still rising" if run["noise"] > 0 and setting["rate"] == 0.1 else ""

    noises = [run.measured["noise"] for run in v.Runs(train).made(SETTINGS[:1], 8, rng=0, budget="deep")[0]]
    count = sum(noise > 0 for noise in noises)
    assert 0 < count < 8
    found = judged(replication(premise=premise), budget="deep")
    assert found.verdict.word == v.INCONCLUSIVE
    assert found.verdict.reason == f"the sharpness is still rising (in {count} of 8 runs at rate = 0.1)"
    assert judged(replication(), budget="deep").verdict.word == v.VERIFIED


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_an_error(value):
    with pytest.raises(RuntimeError, match="rate = 0.1 with seed .*ValueError: loss must be finite"):
        judged(replication(lambda *point: {**train(*point), "loss": value}))
    with pytest.raises(ValueError, match="observed must be finite in every run"):
        judged(replication(observed=lambda setting, run: value))
    with pytest.raises(ValueError, match="scale must be finite in every run"):
        judged(replication(), right=lambda rate: value)


@pytest.mark.parametrize(
    ("value", "word"), [(1j, v.REFUTED), (0j, v.VERIFIED), (np.zeros(2), None), (np.array([[0.0]]), v.VERIFIED)]
)
def test_a_prediction_is_one_real_number(value, word):
    if word is None:
        with pytest.raises(ValueError, match="prediction must be one number, got 2 of them"):
            judged(replication(), lambda rate: 2 / rate + value)
    else:
        assert judged(replication(), lambda rate: 2 / rate + value).verdict.word == word


@pytest.mark.parametrize(
    ("value", "message"),
    [(1j, "loss must be finite, got nan"), (np.ones(2), "loss must be one number"), ("1.0", "loss must be a number")],
)
def test_a_run_measures_real_numbers(value, message):
    with pytest.raises(RuntimeError, match=f"rate = 0.1 with seed .*ValueError: {message}"):
        judged(replication(lambda *point: {**train(*point), "loss": value}))


def test_an_interruption_cancels_what_has_not_started():
    futures = []

    class Interrupted(Executor):
        def submit(self, *task):
            futures.append(Future())
            if len(futures) == 1:
                futures[0].set_exception(KeyboardInterrupt())
            return futures[-1]

    with pytest.raises(KeyboardInterrupt):
        judged(replication(), executor=Interrupted())
    assert all(future.cancelled() for future in futures[1:])


def test_runs_that_ignore_their_seed_are_refused():
    with pytest.raises(ValueError, match="runs must depend on their seeds"):
        judged(replication(lambda setting, seed, budget: {"sharpness": 2 / setting["rate"]}))
    one_is_fixed = replication(
        lambda setting, *how: {"sharpness": 20.0} if setting["rate"] == 0.1 else train(setting, *how)
    )
    assert judged(one_is_fixed).verdict.word == v.VERIFIED


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": ()}, "settings must be at least one, all different"),
        ({"settings": (SETTINGS[0], SETTINGS[0])}, "settings must be at least one, all different"),
        ({"settings": ({"rate": np.sin},)}, "settings must hold plain numbers and texts"),
        ({"runs": train}, "runs must be a Runs, got function"),
        ({"margin": -0.1}, "margin must be finite and >= 0, got -0.1"),
        ({"margin": np.nan}, "margin must be finite and >= 0, got nan"),
        ({"confidence": 1.0}, "confidence must lie in .0, 1., got 1.0"),
        ({"seeds": {"quick": 2}}, "seeds must give a whole number >= 2 for each of quick, standard, deep"),
        ({"seeds": {"quick": 1, "standard": 2, "deep": 2}}, "seeds must give a whole number >= 2"),
        ({"seeds": {"quick": 2, "standard": 2.5, "deep": 4}}, "seeds must give a whole number >= 2"),
    ],
)
def test_bad_designs_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(replication(), **changes)

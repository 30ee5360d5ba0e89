"""The pieces of the experiments on implicit gradient regularization, on networks that train in no time."""

import sys
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import brentq

from quadlab import bridge, simulate
from quadlab import verify as v
from quadlab.problems import ProductModel
from quadlab.verify import REFUTED, VERIFIED, Runs

ENDS: dict[str, dict] = {
    "regularizer_at_equal_loss": {"LOSSES": (0.65, 0.6)},
    "flatness_at_equal_loss": {"LOSSES": (0.65, 0.6)},
    "parameter_noise": {"LOSS": 0.65, "PAIRS": 3},
    "accuracy_at_equal_loss": {"LOSSES": (0.65, 0.6), "SMALL_RATE": 0.25},
    "local_error": {},
}


def module_of(name):
    file = next(path for path in v.theorem_files("deep_nets") if path.stem == name)
    theorem = v.load(str(file))
    return next(m for m in list(sys.modules.values()) if getattr(m, "THEOREM", None) is theorem)


def small_problem(seed=0, loss="cross_entropy", sizes=(3, 4, 2)):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, sizes[-1], 12) if loss == "cross_entropy" else rng.standard_normal((12, sizes[-1]))
    return bridge.Problem(bridge.mlp(list(sizes)), rng.standard_normal((12, sizes[0])), targets, loss=loss)


def words(claim, run, *, settings=None):
    """What a claim's evidence says of its formula and of its mutants, on the numbers of a run made up."""
    evidence = replace(claim.simulation, runs=Runs(run), **({"settings": settings} if settings else {}))
    judge = evidence.prepare(claim.formula, rng=0, budget="quick", claim_kind=claim.kind)
    return judge(claim.formula).verdict.word, {judge(mutant).verdict.word for mutant in claim.mutants.values()}


def noisy(seed, size=1e-3):
    return 1 + size * np.random.default_rng(seed).standard_normal()


@pytest.mark.parametrize("name", ENDS)
def test_a_run_is_finite_and_depends_on_its_seed_alone(name, monkeypatch):
    module = module_of(name)
    for attribute, value in ENDS[name].items():
        monkeypatch.setattr(module, attribute, value)
    tiny = small_problem()
    makers = {"accuracy_at_equal_loss": ("problems", (tiny, small_problem(1))), "local_error": ("new_problem", tiny)}
    maker, made = makers.get(name, ("problem_of", tiny))
    monkeypatch.setattr(module, maker, lambda *budget: made)
    runs, setting = module.THEOREM.simulation.runs, module.THEOREM.simulation.settings[-1]
    first, second, other = (runs.run(setting, np.random.SeedSequence(seed), "quick") for seed in (1, 1, 2))
    assert np.isfinite(list(first.values())).all()
    assert first == second
    assert first != other
    found = {key.replace("0.65", "0.5").replace("0.6", "0.1"): value for key, value in first.items()}
    for claim in module.THEOREM.claims:
        if claim.simulation.runs is runs:
            assert np.isfinite(claim.simulation.observed(setting, found))
            assert np.isfinite(claim.simulation.predict(claim.formula, setting, found))


def changes_of_flow(module, factor, response=-0.02):
    """A run whose descent changes every quantity `factor` times as much as the modified flow does."""

    def run(setting, seed, budget):
        rate = setting["learning_rate"]
        found = {"learning rate": rate}
        for loss in (0.5, 0.1):
            found[f"sharpness at {loss}"] = 1.0
            for before, after in (("", f" at {loss}"), ("trace of ", f" at {loss}"), ("sharpness of ", f" at {loss}")):
                found[f"{before}modified flow{after}"] = rate * response
                found[f"{before}descent{after}"] = (factor(rate) + noisy(seed) - 1) * rate * response
        return found

    return run


@pytest.mark.parametrize("name", ["regularizer_at_equal_loss", "flatness_at_equal_loss"])
def test_changes_at_equal_loss_are_judged_in_size(name):
    module = module_of(name)
    claims = [claim for claim in module.THEOREM.claims if claim.formula is module.penalty]
    assert len(claims) == {"regularizer_at_equal_loss": 2, "flatness_at_equal_loss": 4}[name]
    for claim in claims:
        assert words(claim, changes_of_flow(module, lambda rate: 1 + rate / 2)) == (VERIFIED, {REFUTED})
        for wrong in (0.0, 0.5, 2.0, -1.0):
            assert words(claim, changes_of_flow(module, lambda rate, wrong=wrong: wrong))[0] == REFUTED


def test_an_explicit_penalty_adds_to_a_quarter_of_the_rate():
    module = module_of("regularizer_at_equal_loss")
    (claim,) = (claim for claim in module.THEOREM.claims if claim.name == "explicit penalty")

    def run_of(penalty_of):
        def run(setting, seed, budget):
            rate, mu, plain = (setting[name] for name in ("learning_rate", "explicit_penalty", "plain_rate"))
            changes = {"descent": -0.02 * plain, "explicit": -0.08 * penalty_of(rate, mu) * noisy(seed)}
            return {"sharpness": 1.3, **changes}

        return run

    assert words(claim, run_of(lambda rate, mu: mu + rate / 4)) == (VERIFIED, {REFUTED})
    for wrong in (lambda rate, mu: mu, lambda rate, mu: mu + rate / 2, lambda rate, mu: rate / 4):
        assert words(claim, run_of(wrong))[0] == REFUTED


def test_the_next_orders_of_penalized_and_of_plain_descent_lie_apart_as_on_a_quadratic():
    module, curvature = module_of("regularizer_at_equal_loss"), 0.7
    gaps = []
    for size in (0.02, 0.01):
        setting = module.explicit_setting(size)
        rate, mu = setting["learning_rate"], setting["explicit_penalty"]
        plain = -np.log1p(-size * curvature) / size - curvature
        explicit = -np.log1p(-rate * curvature * (1 + 2 * mu * curvature)) / rate - curvature
        scale = module.orders_apart(setting, {"sharpness": curvature, "descent": 1.0})
        gaps.append((1 - explicit / plain) / scale)
    assert 2 * gaps[1] - gaps[0] == pytest.approx(1, abs=1e-3)


def test_penalized_descent_follows_the_flow_of_the_penalty(monkeypatch):
    module, problem, seed = module_of("regularizer_at_equal_loss"), small_problem(), np.random.SeedSequence(4)
    start = problem.network.initial(np.random.default_rng(seed), weights="normal")
    level = 0.7 * problem.loss(start)
    monkeypatch.setattr(module, "problem_of", lambda budget: problem)
    monkeypatch.setattr(module, "LOSSES", (level,))
    found = module.penalized(module.explicit_setting(0.1), seed, "quick")

    def regularizer(rate):
        flow = partial(simulate.modified_flow, problem, start, learning_rate=rate)
        time = brentq(lambda time: problem.loss(flow(time)) - level, 1e-3, 20, xtol=1e-6)
        return np.log(np.sum(problem.gradient(flow(time)) ** 2))

    change = pytest.approx(regularizer(0.1) - regularizer(0), rel=2 / 3 * 0.1 * found["sharpness"])
    assert [found["descent"], found["explicit"]] == [change, change]
    assert found["sharpness"] > np.linalg.eigvalsh(problem.hessian(start).dense())[-1] * (1 - 1e-5)


def test_beyond_stability_the_gradient_must_be_larger():
    claim = module_of("regularizer_at_equal_loss").THEOREM.corollaries[-1]
    assert words(claim, lambda setting, seed, budget: {"log ratio": 2 * noisy(seed)}) == (VERIFIED, {REFUTED})
    assert words(claim, lambda setting, seed, budget: {"log ratio": 0.02 * noisy(seed)})[0] == REFUTED


@pytest.mark.parametrize(("data", "seed", "level", "rate"), [(1, 5, 0.99, 2.0), (0, 3, 0.92, 3.0)])
def test_beyond_stability_the_losses_are_the_same(data, seed, level, rate, monkeypatch):
    module, problem, seed = module_of("regularizer_at_equal_loss"), small_problem(data), np.random.SeedSequence(seed)
    monkeypatch.setattr(module, "problem_of", lambda budget: problem)
    start = problem.network.initial(np.random.default_rng(seed), weights="normal")
    monkeypatch.setattr(module, "LOSSES", (level * problem.loss(start),))
    end = start
    while problem.loss(end) >= module.LOSSES[0]:
        end = end - rate * problem.gradient(end)
    reached = problem.loss(end)
    time = brentq(
        lambda time: problem.loss(simulate.gradient_flow(problem, start, time)) - reached, 1e-3, 20, xtol=1e-6
    )
    slopes = [np.sum(problem.gradient(at) ** 2) for at in (end, simulate.gradient_flow(problem, start, time))]
    found = module.beyond_stability({"learning_rate": rate}, seed, "quick")["log ratio"]
    assert found == pytest.approx(np.log(slopes[0] / slopes[1]), abs=1e-4)
    assert abs(found) > 0.1


def test_the_miss_of_a_step_is_that_of_two_parameter_models():
    local, model = module_of("local_error"), ProductModel()
    start = np.array([2.8, 3.5])
    gradient = model.gradient(start)
    assert local.miss(model, start, gradient, 1e-3, 1) == pytest.approx(simulate.local_error(model, start, 1e-3))
    plain = simulate.local_error(
        model, start, 1e-3, flow=lambda at, times, rate: simulate.gradient_flow(model, at, times)
    )
    assert local.miss(model, start, gradient, 1e-3, 0) == pytest.approx(plain)


def test_terms_are_derivatives_of_the_gradient():
    local, problem = module_of("local_error"), small_problem()
    weights = problem.network.initial(np.random.default_rng(2))
    gradient, turned, twice, third = local.terms(problem, weights)
    hessian = problem.hessian(weights).dense()
    assert turned == pytest.approx(hessian @ gradient, rel=1e-10, abs=1e-14)
    assert twice == pytest.approx(hessian @ hessian @ gradient, rel=1e-10, abs=1e-14)
    # Romberg's table of central differences of the Hessian along g: an error of order step^6
    table = [
        np.subtract(*(problem.hessian(weights + side * h * gradient).dense() for side in (1, -1))) @ gradient / (2 * h)
        for h in (0.2, 0.1, 0.05)
    ]
    fourth = [(4 * fine - coarse) / 3 for coarse, fine in pairwise(table)]
    exact = (16 * fourth[1] - fourth[0]) / 15
    assert np.linalg.norm(third - exact) < 1e-8 * np.linalg.norm(exact)


def test_extrapolation_drops_the_next_order():
    local = module_of("local_error")
    assert local.extrapolated(3 * local.RATES**2 - 5 * local.RATES**3, local.RATES, 2) == pytest.approx(3, rel=1e-12)


def local_run(penalty=0.25, third=1.0, orders=(2, 3)):
    def run(setting, seed, budget):
        found = {"learning rate": 0.1, "penalty": penalty * noisy(seed, 1e-4), "sharpness": 1.0}
        found |= {f"order {k}": order * noisy(seed, 1e-4) for k, order in enumerate(orders)}
        for direction, (twice, along) in (("gradient", (1.0, 0.5)), ("third", (-0.2, 0.6))):
            found[f"error along {direction}"] = -(twice / 3 + third * along / 12) * noisy(seed, 1e-4)
            found[f"twice along {direction}"], found[f"third along {direction}"] = twice, along
            found[f"size along {direction}"] = abs(twice) / 3 + abs(along) / 12
        return found

    return run


def test_the_local_error_is_judged_by_penalty_terms_and_orders():
    main, gradient, third, plain, modified = module_of("local_error").THEOREM.claims
    for claim in (main, gradient, third, plain, modified):
        assert words(claim, local_run()) == (VERIFIED, {REFUTED})
    assert words(main, local_run(penalty=0.5))[0] == REFUTED
    assert words(third, local_run(third=0.0))[0] == REFUTED
    assert words(plain, local_run(orders=(3, 3)))[0] == REFUTED
    assert words(modified, local_run(orders=(2, 2)))[0] == REFUTED


def test_noise_costs_half_the_trace_on_a_quadratic_whatever_the_noise():
    noise_file, problem = module_of("parameter_noise"), small_problem(loss="squared_error", sizes=(3, 2))
    weights, noise = np.array([0.5, -1, 2, 0.1, 0.3, -0.7, 1.5, -0.2]), np.random.default_rng(0).standard_normal((2, 8))
    hessian = problem.hessian(weights).dense()
    found = noise_file.costs_and_traces(problem, weights, noise)
    traces = {"additive": np.trace(hessian), "multiplicative": np.sum(weights**2 * np.diag(hessian))}
    for kind, trace in traces.items():
        assert found[f"{kind} trace"] == pytest.approx(trace, rel=1e-12)
        assert found[f"{kind} cost"] == pytest.approx(noise_file.NOISE_SD**2 / 2 * trace, rel=1e-9)
    scaled = noise * weights
    each = noise_file.cost(problem, weights, "multiplicative", noise, 0.2)
    assert each == pytest.approx(0.02 * np.sum((scaled @ hessian) * scaled, axis=1), rel=1e-9)


def noise_run(cost=1.0, change=1.05, multiplicative=-0.3):
    def run(setting, seed, budget):
        scale, first = 0.03**2 / 2, -0.013 * setting["learning_rate"]
        return {
            "additive trace": 20.0, "multiplicative trace": 0.7, "sharpness": 1.0,
            "additive cost": cost * scale * 20.0 * noisy(seed),
            "multiplicative cost": cost * scale * 0.7 * noisy(seed),
            "additive change of modified flow": first,
            "additive change of descent": first * (change + noisy(seed) - 1),
            "multiplicative change of descent": -first * change * multiplicative * noisy(seed),
        }  # fmt: skip

    return run


def test_robustness_to_noise_is_judged_by_traces_and_by_the_modified_flow():
    main, weighted, rates, weighted_rates = module_of("parameter_noise").THEOREM.claims
    for claim in (main, weighted, rates, weighted_rates):
        assert words(claim, noise_run()) == (VERIFIED, {REFUTED})
    for claim in (main, weighted):
        assert words(claim, noise_run(cost=1.1))[0] == REFUTED
    assert words(rates, noise_run(change=0.0))[0] == REFUTED
    assert words(rates, noise_run(change=-1.0))[0] == REFUTED
    assert words(weighted_rates, noise_run(multiplicative=-1.2))[0] == REFUTED


def test_accuracy_counts_the_largest_output():
    problem = bridge.Problem(bridge.mlp([2, 2]), [[1.0, 0], [0, 1], [2, 1]], [0, 1, 1], loss="cross_entropy")
    assert module_of("accuracy_at_equal_loss").accuracy(problem, np.array([1.0, 0, 0, 1, 0, 0])) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("gain", "loss", "word"), [(0.002, 0.001, VERIFIED), (0.02, 0.02, REFUTED), (-0.02, -0.02, REFUTED)]
)
def test_a_gain_of_a_hundredth_would_be_seen(gain, loss, word):
    def run(setting, seed, budget):
        found = {f"gain at {at}": gain * noisy(seed) for at in (0.5, 0.1)} | {"learning rate": setting["learning_rate"]}
        return found | {f"log test loss at {at}": loss * noisy(seed) for at in (0.5, 0.1)}

    for claim in module_of("accuracy_at_equal_loss").THEOREM.claims:
        said, mutants = words(claim, run)
        assert said == word
        assert word != VERIFIED or mutants == {REFUTED}


def test_the_flow_for_comparison_is_that_of_a_small_rate(monkeypatch):
    module = module_of("accuracy_at_equal_loss")
    monkeypatch.setattr(module, "LOSSES", (0.65, 0.6))
    monkeypatch.setattr(module, "problems", lambda *budget: (small_problem(), small_problem(1)))
    same = module.trained({"learning_rate": module.SMALL_RATE}, np.random.SeedSequence(0), "quick")
    other = module.trained({"learning_rate": 0.5}, np.random.SeedSequence(0), "quick")
    for loss in (0.65, 0.6):
        assert same[f"gain at {loss}"] == same[f"log test loss at {loss}"] == 0
        assert other[f"log test loss at {loss}"] != 0


def my_data(targets="labels", seed=0):
    """Inputs of two numbers on other scales and a constant one, with labels or numbers to learn."""
    rng = np.random.default_rng(seed)
    inputs = np.concat([rng.standard_normal((24, 2)) * [1000, 0.1] + 7, np.full((24, 1), 5.0)], axis=1)
    numbers = 30 * inputs[:, :2] + rng.standard_normal((24, 2))
    values = (inputs[:, 0] > 7).astype(int) if targets == "labels" else numbers
    return bridge.Dataset("mine", inputs[:16], values[:16], inputs[16:], values[16:])


@pytest.mark.parametrize("targets", ["labels", "numbers"])
@pytest.mark.parametrize("name", ENDS)
def test_on_other_data_rates_are_shares_of_the_edge_of_a_new_network(name, targets, monkeypatch):
    module, dataset = module_of(name), my_data(targets)
    if name == "parameter_noise":
        monkeypatch.setattr(module, "PAIRS", 3)
    evidence = module.THEOREM.on_problem(dataset)
    setting = evidence.settings[-1]
    found = evidence.runs.run(setting, np.random.SeedSequence(3), "quick")
    assert np.isfinite(evidence.observed(setting, found))
    assert np.isfinite(evidence.predict(module.THEOREM.formula, setting, found))
    if name == "parameter_noise":
        assert (
            abs(evidence.observed(setting, found) / evidence.predict(module.THEOREM.formula, setting, found) - 1) < 0.1
        )
        return
    if name == "local_error":
        assert found["penalty"] == pytest.approx(1 / 4, rel=(found["learning rate"] * found["sharpness"]) ** 2)
    inputs, values = dataset.standardized().inputs, dataset.standardized().targets
    loss = "cross_entropy" if targets == "labels" else "squared_error"
    problem = bridge.Problem(bridge.mlp([3, 32, 2]), inputs, values, loss=loss)
    hessian = problem.hessian(problem.network.initial(np.random.default_rng(3), weights="normal")).dense()
    share = setting.get("share", module.RATE / 2 if name == "local_error" else None)
    assert found["learning rate"] == pytest.approx(2 * share / np.linalg.eigvalsh(hessian)[-1], rel=1e-4)


@pytest.mark.parametrize("name", ENDS)
def test_data_with_nothing_to_learn_meet_no_premise(name):
    same = replace(my_data(), targets=np.zeros(16, dtype=int), test_targets=np.zeros(8, dtype=int))
    evidence = module_of(name).THEOREM.on_problem(same)
    with pytest.raises(v.PremiseNotMet, match="does not curve upwards on these data: sharpness 0"):
        evidence.runs.run(evidence.settings[0], np.random.SeedSequence(0), "quick")


@pytest.mark.parametrize("name", ["regularizer_at_equal_loss", "flatness_at_equal_loss"])
def test_on_other_data_the_loss_is_one_the_flow_reaches_early(name):
    module, problem = module_of(name), small_problem()
    start = problem.network.initial(np.random.default_rng(1))
    rate, time_step, losses, last = module.course_on_data(problem, start, 2.0, 0.3)
    assert (rate, time_step) == pytest.approx((0.3, 0.25))
    # steps of Runge and Kutta that grow by 5 % from a quarter of the time step
    time = sum(min(1.05**k / 4, 1) * time_step for k in range(100))
    end = problem.loss(simulate.gradient_flow(problem, start, time))
    begin = problem.loss(start)
    assert list(losses.values()) == pytest.approx([end + (begin - end) / 4], rel=1e-6)
    assert last == pytest.approx(end + (begin - end) / 5, rel=1e-6)


def test_without_examples_to_test_there_is_no_accuracy():
    empty = replace(my_data(), test_inputs=np.empty((0, 3)), test_targets=np.empty(0, dtype=int))
    with pytest.raises(ValueError, match="test_inputs must hold examples to compare accuracies on, got none"):
        module_of("accuracy_at_equal_loss").THEOREM.on_problem(empty)


def test_on_other_data_changes_are_judged_at_their_own_rates():
    module = module_of("regularizer_at_equal_loss")
    evidence, name = module.on_data(my_data()), "three quarters lost"

    def run_of(ratio):
        def run(setting, seed, budget):
            rate, first = 0.1 * setting["share"], -0.02 * setting["share"]
            changes = {f"modified flow at {name}": first, f"descent at {name}": ratio * first * noisy(seed)}
            return {"learning rate": rate, f"sharpness at {name}": 20.0, **changes}

        return run

    for ratio, word in ((1.02, VERIFIED), (0.5, REFUTED), (2.0, REFUTED)):
        judge = replace(evidence, runs=Runs(run_of(ratio))).prepare(module.penalty, rng=0, budget="quick")
        assert judge(module.penalty).verdict.word == word


def no_signal(setting, seed, budget):
    name, rate = "three quarters lost", 1e-13 * np.random.default_rng(seed).standard_normal()
    changes = {f"{what} {kind} at {name}": rate for what in ("trace of", "") for kind in ("modified flow", "descent")}
    return {"learning rate": 0.1, f"sharpness at {name}": 20.0, **{key.strip(): y for key, y in changes.items()}}


@pytest.mark.parametrize("name", ["regularizer_at_equal_loss", "flatness_at_equal_loss"])
def test_a_change_that_is_lost_in_rounding_is_not_judged(name):
    module = module_of(name)
    judge = replace(module.on_data(my_data()), runs=Runs(no_signal)).prepare(module.penalty, rng=0, budget="quick")
    verdict = judge(module.penalty).verdict
    assert (verdict.word, "changes" in verdict.reason) == (v.INCONCLUSIVE, True)


def test_few_examples_to_test_on_leave_an_accuracy_open():
    module = module_of("accuracy_at_equal_loss")
    rows = np.random.default_rng(0).standard_normal((100, 3))
    many = replace(my_data(), test_inputs=rows, test_targets=np.arange(100) % 2)
    for data, word in ((my_data(), v.INCONCLUSIVE), (many, v.VERIFIED)):
        runs = Runs(
            lambda setting, seed, budget: {"gain at three quarters lost": 1e-3 * noisy(seed), "learning rate": 0.1}
        )
        judge = replace(module.on_data(data), runs=runs).prepare(module.no_difference, rng=0, budget="quick")
        assert judge(module.no_difference).verdict.word == word


@pytest.mark.parametrize(
    ("order", "word"), [("order + 2", VERIFIED), ("order + 2.04", REFUTED), ("1.02 * order + 2", REFUTED)]
)
def test_the_orders_of_a_step_are_whole_numbers(order, word):
    claim = next(
        c
        for c in module_of("local_error").THEOREM.claims
        if c.simulation.observable == "order of the local error in h"
        and c.simulation.predict(lambda order: order, None, None) == 1
    )
    runs = Runs(lambda setting, seed, budget: {"order 1": 3 + 0.01 * noisy(seed), "order 0": 2.0})
    formula = v.parse(order, ("order",))
    judge = replace(claim.simulation, runs=runs).prepare(claim.formula, rng=0, budget="quick")
    assert judge(formula).verdict.word == word

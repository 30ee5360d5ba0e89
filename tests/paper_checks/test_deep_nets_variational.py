"""The experiments on networks trained with weight noise: what one run measures, and what their evidence refutes."""

import sys
from dataclasses import replace
from inspect import signature
from itertools import pairwise

import numpy as np
import pytest

from quadlab import bridge
from quadlab import verify as v
from quadlab.bridge.data import digits
from quadlab.bridge.training import ivon, train, variational_gradient_descent
from quadlab.theory import variational

FILES = {path.stem: path for path in v.theorem_files("deep_nets")}
NAMES = ("variational_edge", "curve_share", "antithetic_pairs", "student_t_tails", "ivon_sharpness")
THEOREMS = {name: v.load(FILES[name]) for name in NAMES}
MODULES = {name: sys.modules[theorem.simulation.runs.run.__module__] for name, theorem in THEOREMS.items()}
FEW = digits(30)
RATE = 0.4


@pytest.fixture
def small(monkeypatch):
    """25 steps, and 50 more that are measured, on 30 digits."""
    for module in MODULES.values():
        monkeypatch.setattr(module, "data", lambda examples: FEW)
        monkeypatch.setitem(module.STEPS, "quick", (25, 50))


@pytest.fixture
def exact(monkeypatch):
    for name in ("variational_edge", "curve_share", "ivon_sharpness"):
        monkeypatch.setattr(MODULES[name], "TOLERANCE", 1e-12)
        monkeypatch.setattr(MODULES[name], "BETWEEN_CHECKS", 5)


def tiny_problem():
    rng = np.random.default_rng(0)
    problem = bridge.Problem(bridge.mlp([3, 4, 2]), rng.standard_normal((8, 3)), rng.standard_normal((8, 2)))
    return problem, problem.network.initial(np.random.default_rng(1))


def top(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return values[-1], vectors[:, -1]


def judged(name, measure, claim=0):
    """The verdict on a claim, and on each of its mutants, had the runs measured `measure(setting, rng)`."""
    claim = THEOREMS[name].claims[claim]
    runs = v.Runs(lambda setting, seed, budget: measure(setting, np.random.default_rng(seed)))
    judge = replace(claim.simulation, runs=runs).prepare(claim.formula, rng=0, budget="standard", claim_kind=claim.kind)
    return judge(claim.formula).verdict.word, {key: judge(wrong).verdict.word for key, wrong in claim.mutants.items()}


def variational_rules(setting):
    return [variational_gradient_descent(**setting)]


def pairs_and_not(setting):
    return [variational_gradient_descent(**setting, samples=2, antithetic=pairs) for pairs in (True, False)]


def student_and_gaussian(setting):
    variance = variational.student_t_variance(**setting)
    gaussian = [variational_gradient_descent(RATE, noise_variance=factor * variance) for factor in (0.5, 1, 2)]
    return [variational_gradient_descent(RATE, **setting), *gaussian]


def learning_and_frozen(setting):
    given = (setting["learning_rate"], setting["effective_sample_size"], 0.1)
    return [ivon(*given, weight_decay=1e-3, momentum=0, hessian_decay=decay) for decay in (0.999, 1)]


RULES = {
    "variational_edge": variational_rules,
    "curve_share": variational_rules,
    "antithetic_pairs": pairs_and_not,
    "student_t_tails": student_and_gaussian,
    "ivon_sharpness": learning_and_frozen,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_run_follows_its_rules_and_depends_on_its_seed_alone(small, monkeypatch, name):
    trainings = []

    def spied(problem, rule, parameters, *others, **options):
        trainings.append((rule.name, bridge.host(parameters)))
        return train(problem, rule, parameters, *others, **options)

    monkeypatch.setattr(bridge, "train", spied)
    setting = THEOREMS[name].simulation.settings[0]
    first, again, other = (MODULES[name].trained(setting, np.random.SeedSequence(seed), "quick") for seed in (1, 1, 2))
    assert all(np.isfinite(value) for value in first.values())
    assert first == again
    assert all(first[key] != other[key] for key in first if not key.startswith(("below ", "falling")))
    once = trainings[: len(trainings) // 3]
    assert list(dict.fromkeys(rule for rule, _ in once)) == [rule.name for rule in RULES[name](setting)]
    if name in ("antithetic_pairs", "student_t_tails"):
        # each rule makes two trainings, the first of them from the common start
        assert all(np.array_equal(start, once[0][1]) for _, start in once[::2])


def new_problem(dataset):
    inputs = dataset.inputs.reshape(len(dataset.inputs), -1)
    return bridge.Problem(bridge.mlp([inputs.shape[1], 50, 50, dataset.outputs]), inputs, dataset.targets)


def sharpness_of_new(dataset):
    """The mean over four networks, before any step."""
    problem = new_problem(dataset)
    starts = map(problem.network.initial, map(np.random.default_rng, range(4)))
    return np.mean([bridge.top_eigenpairs(problem.hessian(w), rng=1, tolerance=1e-6).values[0] for w in starts])


# powers of the sharpness that leave a number without units
UNITS = {"learning_rate": 1, "noise_variance": 1, "scale_squared": 1}
UNITS_OF_IVON = {"hessian_initial": -1}


@pytest.mark.parametrize("name", NAMES)
def test_on_other_data_rules_are_the_same_in_units_of_the_sharpness(small, monkeypatch, name):
    values = np.random.default_rng(0).standard_normal((20, 3, 2))
    dataset = bridge.Dataset("mine", values, values[:, :2, 0], values, values[:, :2, 0])
    evidence, own, made, problems = THEOREMS[name].on_problem(dataset), THEOREMS[name].simulation, [], []

    def remembered(rule):
        def spied(*values, **options):
            made.append(dict(signature(rule).bind(*values, **options).arguments))
            return rule(*values, **options)

        return spied

    def spied(problem, *others, **options):
        problems.append(problem)
        return train(problem, *others, **options)

    for rule in (variational_gradient_descent, ivon):
        monkeypatch.setattr(bridge, rule.__name__, remembered(rule))
    monkeypatch.setattr(bridge, "train", spied)
    found = [
        run(setting, np.random.SeedSequence(1), "quick")
        for run, settings in ((own.runs.run, own.settings), (evidence.runs.run, evidence.settings))
        for setting in settings
    ]
    assert all(np.isfinite(list(numbers.values())).all() for numbers in found)
    half, unit = len(made) // 2, sharpness_of_new(FEW) / sharpness_of_new(dataset)
    units = UNITS_OF_IVON if name == "ivon_sharpness" else UNITS
    for mine, on_digits in zip(made[half:], made[:half], strict=True):
        # eigenvalues in float32 with residuals of 1e-2, whose squares are their errors
        expected = {key: value * unit ** units.get(key, 0) for key, value in on_digits.items() if value is not None}
        assert {key: value for key, value in mine.items() if value is not None} == pytest.approx(expected, rel=2e-3)
    rightly = new_problem(dataset)
    start = rightly.network.initial(np.random.default_rng(0))
    # in float32, whose losses are sums over 20 examples
    for problem in problems[len(problems) // 2 :]:
        assert problem.loss(start) == pytest.approx(rightly.loss(start), rel=1e-5)


def test_slopes_are_along_the_latest_top_eigenvector(exact):
    problem, w = tiny_problem()
    rule = variational_gradient_descent(0.3, 1e-3)
    found = MODULES["variational_edge"].along_top_eigenvector(problem, rule, w, 10, np.random.default_rng(2))
    shares = MODULES["curve_share"].along_top_eigenvector(problem, rule, w, 10, np.random.default_rng(2))
    rng, sharpness, squares, losses = np.random.default_rng(2), [], [], []
    for step in range(10):
        if step % 5 == 0:
            value, vector = top(problem.hessian(w).dense())
            sharpness.append(value)
        squares.append((problem.gradient(w) @ vector) ** 2)
        losses.append(problem.loss(w))
        w = w - 0.3 * problem.gradient(w + np.sqrt(1e-3) * rng.standard_normal(w.size))
    # the residuals are at most 1e-12 of the sharpness, and the gaps of this Hessian above a hundredth of it
    right = (sharpness, squares, np.repeat(sharpness, 5), losses, squares)
    for values, expected in zip((*found, *shares), right, strict=True):
        assert np.allclose(values, expected, rtol=1e-8, atol=0)


def test_ivon_is_followed_in_its_own_coordinates_without_a_break(exact):
    problem, w = tiny_problem()
    module = MODULES["ivon_sharpness"]
    rule = ivon(0.1, 1e4, 0.5, weight_decay=module.WEIGHT_DECAY, momentum=0.5, hessian_decay=0.9)
    settled = train(problem, rule, w, 5, rng=np.random.default_rng(3))
    sharpness, squares, end = module.along_top_eigenvector(problem, rule, settled, 10)
    rng, expected, slopes = np.random.default_rng(3), [], []
    state = rule.start(problem)
    for step in range(15):
        if step >= 5:
            if step % 5 == 0:
                root = np.sqrt(state["hessian"] + module.WEIGHT_DECAY)
                value, vector = top(problem.hessian(w).dense() / np.outer(root, root))
                expected.append(value)
            slopes.append((problem.gradient(w) / root @ vector) ** 2)
        w, state = rule(problem, w, state, rng)
    assert np.array_equal(end.parameters, w)
    assert np.array_equal(end.state["hessian"], state["hessian"])
    # as above
    assert np.allclose(sharpness, expected, rtol=1e-8, atol=0)
    assert np.allclose(squares, slopes, rtol=1e-8, atol=0)


def test_sharpness_off_the_edge_is_refuted():
    module = MODULES["variational_edge"]

    def at_edge(setting, rng, factor=1):
        mean_square = rng.uniform(1e-3, 2e-3) * setting["noise_variance"] / 1e-4
        sharpness = factor * module.edge(mean_square, **setting) * rng.normal(1, 0.01)
        found = {"sharpness": sharpness, "mean_square": mean_square, "initial": 1.5 * sharpness / factor**3}
        return {**found, "arrived": sharpness}

    for claim in range(3):
        word, mutants = judged("variational_edge", at_edge, claim)
        assert word == v.VERIFIED
        assert set(mutants.values()) == {v.REFUTED}
        assert judged("variational_edge", lambda *point: at_edge(*point, factor=2), claim)[0] == v.REFUTED
    assert judged("variational_edge", lambda *point: at_edge(*point, factor=0.6))[0] == v.INCONCLUSIVE


def test_the_edge_counts_samples_and_variance_once():
    edge, square = MODULES["variational_edge"].edge, 2e-3
    limit = edge(square, 0.4, 1e-4, 3)
    # the cubic that defines it, h^3 / z + h = 2 / rho
    assert limit**3 / (3 * square / 1e-4) + limit == pytest.approx(5, rel=1e-14)


def test_shares_count_the_steps_with_a_signal_below_that_of_the_level():
    rng, sharpness = np.random.default_rng(4), np.array([2.0] * 20 + [3.0] * 20)
    setting = {"learning_rate": RATE, "noise_variance": 1e-4, "samples": 2}
    squares, losses = rng.uniform(1e-5, 2e-3, 40), rng.uniform(size=40)
    found = MODULES["curve_share"].shares(setting, sharpness, losses, squares)
    for level in (0.6, 1.0):
        # H(z) < y where z < rho y^3 / (2 - rho y)
        y = level * sharpness
        assert found[f"below {level}"] == np.mean(2 * squares / 1e-4 < RATE * y**3 / (2 - RATE * y))
    assert found["falling"] == sum(after < before for before, after in pairwise(losses)) / 39
    assert found["sharpness"] == 2.5


def test_shares_of_a_settled_direction_are_met_and_others_refuted():
    def settled(setting, rng, power=1, edge=2.0):
        slopes = np.abs(rng.standard_normal(4000)) ** power
        sharpness, rate = 2.0, setting["learning_rate"]
        signals = rate * sharpness**3 / (2 - rate * sharpness) * slopes**2
        limits = variational.descent_sharpness_limit(signals, rate)
        shares = {f"below {level}": np.mean(limits < level * sharpness) for level in (0.6, 1.0)}
        return {"sharpness": sharpness, "edge": edge, "falling": rng.binomial(4000, 0.5) / 4000, **shares}

    for claim in range(3):
        word, mutants = judged("curve_share", settled, claim)
        assert word == v.VERIFIED
        assert set(mutants.values()) == {v.REFUTED}
    assert judged("curve_share", lambda *point: settled(*point, power=4), 1)[0] == v.REFUTED
    assert judged("curve_share", lambda *point: settled(*point, power=4, edge=3.0), 1)[0] == v.INCONCLUSIVE


def test_a_share_is_not_judged_where_noise_is_too_small_to_decide():
    premise = THEOREMS["curve_share"].simulation.premise
    setting = {"learning_rate": RATE}
    assert premise(setting, {"sharpness": 4.0, "edge": 4.2}) == ""
    assert "97% of 2 / rho" in premise(setting, {"sharpness": 4.85, "edge": 4.9})
    assert "the edge was not reached: sharpness 3, edge 4" in premise(setting, {"sharpness": 3.0, "edge": 4.0})


def test_pairs_that_only_halve_the_noise_are_refuted():
    def found(setting, rng, pairs, arrived=1.0):
        sharpness, slope = (5, 40) if setting["noise_variance"] < 5e-4 else (1.6, 0.3)
        return {
            "pairs": pairs * sharpness * rng.normal(1, 0.01),
            "pairs arrived": arrived * sharpness,
            "independent": 0.9 * sharpness * rng.normal(1, 0.01),
            "pairs mean_square": slope * setting["noise_variance"] * rng.normal(1, 0.1),
        }

    for claim in range(5):
        word, mutants = judged("antithetic_pairs", lambda setting, rng: found(setting, rng, 1), claim)
        assert word == v.VERIFIED
        assert set(mutants.values()) == {v.REFUTED}
    assert judged("antithetic_pairs", lambda setting, rng: found(setting, rng, 0.85))[0] == v.REFUTED
    assert judged("antithetic_pairs", lambda setting, rng: found(setting, rng, 0.85, 0.85))[0] == v.INCONCLUSIVE
    assert judged("antithetic_pairs", lambda setting, rng: found(setting, rng, 0.85), 1)[0] == v.REFUTED
    assert judged("antithetic_pairs", lambda setting, rng: found(setting, rng, 2), 2)[0] == v.REFUTED


@pytest.mark.parametrize(("student", "factor"), [(3.0, 0.5), (2.5, 1.0), (2.0, 2.0)])
def test_effective_variance_is_that_of_the_gaussian_noise_of_equal_sharpness(student, factor):
    found = MODULES["student_t_tails"].effective_variance(
        {"scale_squared": 1e-4, "degrees_of_freedom": 4}, {"below": 3.0, "same": 2.5, "above": 2.0, "student": student}
    )
    # the Student-t noise has the variance 2e-4
    assert found == pytest.approx(factor * 2e-4, rel=1e-14)


def test_tails_that_act_by_their_scale_are_refuted():
    def found(setting, rng, acts):
        variance = variational.student_t_variance(**setting)
        noises = {"below": variance / 2, "same": variance, "above": 2 * variance, "student": acts(setting, variance)}
        return {name: 0.1 * noise**-0.4 * rng.normal(1, 0.01) for name, noise in noises.items()}

    for claim in range(3):
        word, mutants = judged(
            "student_t_tails", lambda *point: found(*point, lambda setting, variance: variance), claim
        )
        assert word == v.VERIFIED
        assert set(mutants.values()) == {v.REFUTED}
    by_scale = judged(
        "student_t_tails", lambda *point: found(*point, lambda setting, variance: setting["scale_squared"])
    )
    assert by_scale[0] == v.REFUTED
    flat = judged(
        "student_t_tails",
        lambda setting, rng: dict.fromkeys(("below", "same", "above", "student"), rng.normal(3, 0.01)),
    )
    assert flat[0] == v.INCONCLUSIVE


def test_ivon_off_its_edge_is_refuted():
    module = MODULES["ivon_sharpness"]

    def at_edge(setting, rng, factor=1):
        mean_square = rng.uniform(4e-2, 6e-2)
        limit = module.edge(mean_square, setting["learning_rate"], setting["effective_sample_size"])
        sharpness = factor * limit * rng.normal(1, 0.01)
        return {"sharpness": sharpness, "arrived": sharpness, "mean_square": mean_square}

    for claim in range(2):
        word, mutants = judged("ivon_sharpness", at_edge, claim)
        assert word == v.VERIFIED
        assert set(mutants.values()) == {v.REFUTED}
    assert judged("ivon_sharpness", lambda *point: at_edge(*point, factor=1.2))[0] == v.REFUTED
    assert judged("ivon_sharpness", lambda *point: at_edge(*point, factor=0.8))[0] == v.INCONCLUSIVE

"""The experiments at the deterministic edges: what a run measures, and what it would say of another rule."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse.linalg import eigsh

from quadlab import bridge
from quadlab import verify as v
from quadlab.bridge.training import History, Series, train
from quadlab.theory import stability

FILES = {path.stem: path for path in v.theorem_files("deep_nets")}
GRADIENT_DESCENT, HEAVY_BALL, SAM = (
    v.load(FILES[name]) for name in ("gradient_descent_edge", "heavy_ball_edge", "sam_edge")
)
FEW = bridge.digits(30)
STEPS, CHECKS = 8, 4


def module_of(theorem):
    return sys.modules[theorem.simulation.runs.run.__module__]


@pytest.fixture
def small(monkeypatch):
    """Trainings of 8 steps on 30 digits."""
    for theorem in (GRADIENT_DESCENT, HEAVY_BALL, SAM):
        module = module_of(theorem)
        monkeypatch.setattr(module, "data", lambda examples=1000: FEW)
        monkeypatch.setitem(module.CHECKS, "quick", CHECKS)
    for theorem in (HEAVY_BALL, SAM):
        monkeypatch.setitem(module_of(theorem).STEPS, "quick", STEPS)
    monkeypatch.setitem(module_of(GRADIENT_DESCENT).SHARE_OF_STEPS, "quick", 1)


def small_setting(theorem):
    setting = theorem.simulation.settings[0]
    return {**setting, "steps": STEPS} if "steps" in setting else setting


def problem_on_few(activation="tanh", loss="squared_error"):
    network = bridge.mlp([64, 50, 50, 10], activation=activation)
    return bridge.Problem(network, FEW.inputs, FEW.targets, loss=loss)


def iterates(problem, step, seed):
    """The iterates of `step(gradient, w, previous) -> w+`, the first two of them equal."""
    w = previous = problem.network.initial(np.random.default_rng(seed))
    found = [w]
    for _ in range(STEPS):
        w, previous = step(problem.gradient, w, previous), w
        found.append(w)
    return found


def top(problem, w):
    values, vectors = eigsh(problem.hessian(w).to_scipy(), k=1, which="LA", tol=1e-6, v0=np.ones(problem.dimension))
    return values[0], vectors[:, 0]


def heavy_ball_step(gradient, w, previous):
    return w + 0.5 * (w - previous) - 0.45 * gradient(w)


def nesterov_step(gradient, w, previous):
    ahead = w + 0.5 * (w - previous)
    return ahead - 0.3 * gradient(ahead)


def sam_step(gradient, w, previous):
    ascent = gradient(w)
    return w - 0.4 * gradient(w + 0.05 * ascent / np.linalg.norm(ascent))


# float32 products and residuals of 1e-2, whose squares are the errors, against float64 and machine precision
CLOSE = 2e-3


@pytest.mark.parametrize(("activation", "loss"), [("relu", "squared_error"), ("tanh", "cross_entropy")])
def test_gradient_descent_is_measured_in_the_second_half_of_its_own_iterates(small, activation, loss):
    module = module_of(GRADIENT_DESCENT)
    found = module.trained(module.setting_of(0.3, STEPS, activation, loss), np.random.SeedSequence(3), "quick")
    problem = problem_on_few(activation=activation, loss=loss)
    path = iterates(problem, lambda gradient, w, _: w - 0.3 * gradient(w), 3)
    assert found["sharpness"] == pytest.approx(np.mean([top(problem, w)[0] for w in path[4:]]), rel=CLOSE)
    start = top(problem, problem.network.initial(np.random.default_rng(3)))[0]
    assert found["initial"] == pytest.approx(start, rel=CLOSE)


@pytest.mark.parametrize(
    ("method", "rate", "step"), [("heavy ball", 0.45, heavy_ball_step), ("Nesterov", 0.3, nesterov_step)]
)
def test_momentum_is_measured_after_half_of_its_own_iterates(small, method, rate, step):
    module = module_of(HEAVY_BALL)
    found = module.trained(module.setting_of(method, rate, 0.5), np.random.SeedSequence(3), "quick")
    problem = problem_on_few()
    path = iterates(problem, step, 3)
    assert found["sharpness"] == pytest.approx(np.mean([top(problem, path[t])[0] for t in (6, 8)]), rel=CLOSE)


def test_sam_is_measured_with_the_norm_and_the_projection_of_its_gradient(small):
    module = module_of(SAM)
    found = module.trained(module.setting_of(0.4, 0.05), np.random.SeedSequence(3), "quick")
    problem = problem_on_few()
    late = iterates(problem, sam_step, 3)[4:]
    gradients = [problem.gradient(w) for w in late]
    pairs = [top(problem, w) for w in late]
    norms = np.linalg.norm(gradients, axis=1)
    projections = np.abs([g @ vector for g, (_, vector) in zip(gradients, pairs, strict=True)])
    assert found["sharpness"] == pytest.approx(np.mean([value for value, _ in pairs]), rel=CLOSE)
    assert found["gradient_norm"] == pytest.approx(norms.mean(), rel=CLOSE)
    # a vector's error is of the order of its residual itself
    assert found["projection"] == pytest.approx(projections.mean(), abs=0.02 * norms.mean())
    assert found["cosine"] == pytest.approx((projections / norms).mean(), abs=0.02)


@pytest.mark.parametrize("theorem", [GRADIENT_DESCENT, HEAVY_BALL, SAM], ids=lambda theorem: theorem.id)
def test_a_run_depends_on_its_seed_alone(small, theorem):
    trained, setting = module_of(theorem).trained, small_setting(theorem)
    first, again, other = (trained(setting, np.random.SeedSequence(seed), "quick") for seed in (1, 1, 2))
    assert first == again
    assert first["sharpness"] != other["sharpness"]
    assert np.isfinite(list(first.values())).all()


@pytest.mark.parametrize("theorem", [GRADIENT_DESCENT, HEAVY_BALL, SAM], ids=lambda theorem: theorem.id)
def test_an_eigenvalue_that_did_not_converge_ends_the_run(small, theorem, monkeypatch):
    module, setting = module_of(theorem), small_setting(theorem)

    def unconverged(problem, rule, parameters, steps, recorder=None):
        training = train(problem, rule, parameters, 2, recorder=recorder)
        history = dict(training.history)
        if history:
            last = history["eigenvalues_converged"]
            history["eigenvalues_converged"] = Series(last.steps, np.arange(len(last.steps)) > 0)
        return replace(training, history=History(history))

    monkeypatch.setattr(module, "train", unconverged)
    with pytest.raises(ArithmeticError, match="did not converge"):
        module.trained(setting, np.random.SeedSequence(0), "quick")


def on_edges(claim, measure):
    """The verdict of a claim's evidence on runs that measure this, up to a percent."""

    def run(setting, seed, budget):
        scatter = 1 + 0.01 * np.random.default_rng(seed).uniform(-1, 1)
        return {name: scatter * value for name, value in measure(setting).items()}

    evidence = replace(claim.simulation, runs=v.Runs(run))
    judge = evidence.prepare(claim.formula, rng=0, budget="standard", claim_kind=claim.kind)
    return judge(claim.formula).verdict.word


@pytest.mark.parametrize(
    ("arrived", "edge", "word"),
    [
        (2.0, 2.0, v.VERIFIED),
        (2.0, 1.0, v.REFUTED),
        (1.8, 1.7, v.REFUTED),
        (3.0, 3.0, v.REFUTED),
        (1.0, 1.0, v.INCONCLUSIVE),
        (1.7, 2.0, v.INCONCLUSIVE),
    ],
)
def test_only_networks_at_two_over_the_rate_agree_with_gradient_descent(arrived, edge, word):
    """One that is still on its way there when its sharpness is first taken says nothing."""
    found = lambda s: {"sharpness": edge / s["learning_rate"], "arrived": arrived / s["learning_rate"]}  # noqa: E731
    assert on_edges(GRADIENT_DESCENT, found) == word


def test_cross_entropy_at_the_edge_and_a_start_above_it_are_refuted():
    below, entropy = GRADIENT_DESCENT.corollaries
    assert on_edges(below, lambda s: {"initial": 1.0}) == v.VERIFIED
    assert on_edges(below, lambda s: {"initial": 2.2 / s["learning_rate"]}) == v.REFUTED
    assert on_edges(entropy, lambda s: {"sharpness": 0.1 / s["learning_rate"]}) == v.VERIFIED
    assert on_edges(entropy, lambda s: {"sharpness": 2 / s["learning_rate"]}) == v.REFUTED


@pytest.mark.parametrize("claim", HEAVY_BALL.claims, ids=lambda claim: claim.name)
def test_each_momentum_method_is_told_from_the_other_and_from_gradient_descent(claim):
    rules = {
        stability.heavy_ball_sharpness_limit: "main",
        stability.nesterov_sharpness_limit: "Nesterov",
        lambda rate, momentum: 2 / rate: "gradient descent",
    }
    for edge, name in rules.items():
        own = {"main": stability.heavy_ball_sharpness_limit, "Nesterov": stability.nesterov_sharpness_limit}[claim.name]

        def found(s, edge=edge, own=own):
            return {name: limit(s["learning_rate"], s["momentum"]) for name, limit in
                    (("sharpness", edge), ("arrived", own))}  # fmt: skip

        assert on_edges(claim, found) == (v.VERIFIED if name == claim.name else v.REFUTED), name


def test_sam_is_judged_by_the_norm_of_the_gradient_and_not_by_its_projection():
    def at(norm, projection, share=1.0):
        def measure(setting):
            edge = stability.sam_sharpness_edge(0.2, **setting)
            return {
                "sharpness": edge,
                "gradient_norm": norm,
                "projection": projection,
                "share of the edge": share,
            }

        return measure

    main, not_aligned = SAM.claims
    assert on_edges(main, at(0.2, 0.04)) == v.VERIFIED
    assert on_edges(main, at(0.04, 0.2)) == v.REFUTED
    assert on_edges(not_aligned, at(0.2, 0.04)) == v.VERIFIED
    assert on_edges(not_aligned, at(0.2, 0.4)) == v.REFUTED
    for claim in (main, not_aligned):
        assert on_edges(claim, at(0.04, 0.4, share=0.8)) == v.INCONCLUSIVE


def test_at_sams_edge_a_displacement_at_right_angles_to_the_gradient_is_reversed():
    rate, radius, norm, small = 0.4, 0.05, 0.2, 1e-6
    curvatures = np.array([1.0, stability.sam_sharpness_edge(norm, rate, radius)])

    def step(w):
        gradient = curvatures * w
        return w - rate * curvatures * (w + radius * gradient / np.linalg.norm(gradient))

    after = step(np.array([norm, small]))[1]
    # the direction of the ascent is linear in the displacement up to its cube
    assert after / small == pytest.approx(-1, abs=1e-8)


def other_data():
    values = np.random.default_rng(0).standard_normal((20, 3, 2))
    return bridge.Dataset("mine", values, values[:, :2, 0], values, values[:, :2, 0])


def sharpness_of_new(dataset):
    """The mean over four networks, before any step."""
    inputs = dataset.inputs.reshape(len(dataset.inputs), -1)
    problem = bridge.Problem(bridge.mlp([inputs.shape[1], 50, 50, dataset.outputs]), inputs, dataset.targets)
    return np.mean([top(problem, problem.network.initial(np.random.default_rng(seed)))[0] for seed in range(4)])


@pytest.mark.parametrize(
    ("theorem", "edge"),
    [(GRADIENT_DESCENT, lambda s: 2 / s["learning_rate"]), (HEAVY_BALL, lambda s: 3 / s["learning_rate"])],
    ids=["gradient descent", "heavy ball at momentum 0.5"],
)
def test_on_other_data_the_edges_are_set_by_the_sharpness_of_a_new_network(small, theorem, edge):
    evidence, start = theorem.on_problem(other_data()), sharpness_of_new(other_data())
    assert [edge(setting) for setting in evidence.settings] == pytest.approx([3 * start, 2.25 * start], rel=CLOSE)
    assert {setting.get("momentum", 0.5) for setting in evidence.settings} == {0.5}


def test_on_other_data_sams_ascent_moves_the_outputs_as_far_as_on_digits(small):
    evidence = SAM.on_problem(other_data())
    start, on_digits = sharpness_of_new(other_data()), sharpness_of_new(FEW)
    for mine, own in zip(evidence.settings, SAM.simulation.settings, strict=True):
        assert mine["learning_rate"] * start == pytest.approx(own["learning_rate"] * on_digits, rel=CLOSE)
        moved, expected = mine["ascent_radius"] ** 2 * start, own["ascent_radius"] ** 2 * on_digits
        assert moved == pytest.approx(expected, rel=CLOSE)


@pytest.mark.parametrize("theorem", [GRADIENT_DESCENT, HEAVY_BALL, SAM], ids=lambda theorem: theorem.id)
def test_on_other_data_these_are_what_the_network_is_trained_on(small, theorem, monkeypatch):
    module, problems = module_of(theorem), []

    def spied(problem, *others, **options):
        problems.append(problem)
        return train(problem, *others, **options)

    evidence, dataset = theorem.on_problem(other_data()), other_data()
    monkeypatch.setattr(module, "train", spied)
    setting = evidence.settings[0]
    steps = {"steps": STEPS} if "steps" in setting else {}
    found = evidence.runs.run({**setting, **steps}, np.random.SeedSequence(0), "quick")
    assert np.isfinite(list(found.values())).all()
    rightly = bridge.Problem(bridge.mlp([6, 50, 50, 2]), dataset.inputs.reshape(20, 6), dataset.targets)
    start = rightly.network.initial(np.random.default_rng(0))
    assert problems
    # in float32, whose losses are sums over 20 examples
    assert all(problem.loss(start) == pytest.approx(rightly.loss(start), rel=1e-5) for problem in problems)

"""The compiled simulator: exact moments, reproducibility, observables, divergence, bad input."""

import pickle
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import sympy

from quadlab import dynamics, moments
from quadlab.dynamics import Noise, UpdateRule, parameter
from quadlab.simulate import DivergenceError, simulate
from quadlab.simulate.chunks import chunk_sizes
from quadlab.simulate.ensemble import Ensemble, Moments

RULE = dynamics.variational_gradient_descent()
ARGUMENTS = {"eigenvalues": [0.5, 1.5], "learning_rate": 0.8, "noise_variance": [1.0, 0.3], "samples": 2}


def run(**changes):
    options = {"steps": 6, "replicas": 70_000, "initial": [1.0, -0.5], "rng": 7, **ARGUMENTS}
    return simulate(RULE, **{**options, **changes})


@pytest.mark.parametrize(
    ("rule", "parameters"),
    [
        (RULE, {"noise_variance": [1.0, 0.3], "samples": 2}),
        (dynamics.variational_gradient_descent(3), {"noise_variance": 0.4}),
        (dynamics.variational_gradient_descent(3, antithetic=True), {"noise_variance": 0.4}),
        (
            dynamics.variational_gradient_descent(law="student_t"),
            {"noise_variance": 0.4, "samples": 3, "degrees_of_freedom": 12.0},
        ),
        (dynamics.sgd_additive_noise(), {"noise_variance": 0.4}),
        (dynamics.sgd_multiplicative_noise(), {"relative_variance": 0.2}),
        (dynamics.heavy_ball_multiplicative_noise(), {"relative_variance": 0.2, "momentum": 0.4}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_means_agree_with_the_moment_operator(rule, parameters):
    arguments = {"eigenvalues": [0.5, 1.5], "learning_rate": 0.8, **parameters}
    found = simulate(
        rule, steps=5, replicas=200_000, initial=[1.0, -0.5], rng=11, observables=("position", "squared_position"),
        **arguments,
    )  # fmt: skip
    exact = moments.propagate(rule, steps=5, initial=[1.0, -0.5], **arguments)
    for name, value in (("position", exact.mean[:, 0]), ("squared_position", exact.second[:, 0, 0])):
        misses = (found.mean[name][0] - value) / found.standard_error[name][0]
        assert np.abs(misses).max() < 5


def test_standard_errors_are_those_of_the_exact_variance():
    found = run(observables="squared_position")
    exact = moments.propagate(RULE, steps=6, initial=[1.0, -0.5], order=4, **ARGUMENTS)
    spread = np.sqrt((exact.fourth[:, 0, 0, 0, 0] - exact.second[:, 0, 0] ** 2) / found.replicas)
    np.testing.assert_allclose(found.standard_error["squared_position"][0], spread, rtol=0.03)


class Backwards(Executor):
    """Runs jobs only when the first result is asked for, last submitted first."""

    def __init__(self):
        self.waiting = []

    def submit(self, function, *arguments):
        future = Future()
        self.waiting.append((future, function, arguments))
        original = future.result

        def result(timeout=None):
            while self.waiting:
                job, call, values = self.waiting.pop()
                job.set_result(call(*values))
            return original(timeout)

        future.result = result
        return future


@pytest.mark.parametrize(
    "executor",
    [ThreadPoolExecutor(1), ThreadPoolExecutor(2), ThreadPoolExecutor(5), Backwards()],
    ids=["one thread", "two threads", "five threads", "backwards"],
)
def test_result_is_the_same_to_the_bit_whatever_runs_the_chunks(executor):
    reference, other = run(replicas=150_000), run(replicas=150_000, executor=executor)
    for name in reference.mean:
        assert np.array_equal(reference.mean[name], other.mean[name])
        assert np.array_equal(reference.variance[name], other.variance[name])


def test_result_is_the_same_on_other_processes():
    import multiprocessing

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        other = run(executor=pool)
    assert np.array_equal(run().mean["squared_position"], other.mean["squared_position"])


@pytest.mark.parametrize("rng", [3, np.random.SeedSequence(3)])
def test_the_same_seed_gives_the_same_result(rng):
    assert np.array_equal(run(rng=rng).mean["position"], run(rng=rng).mean["position"])


def test_a_generator_moves_on():
    generator = np.random.default_rng(3)
    assert not np.array_equal(run(rng=generator).mean["position"], run(rng=generator).mean["position"])


def test_no_seed_means_fresh_entropy():
    assert not np.array_equal(run(rng=None).mean["position"], run(rng=None).mean["position"])


def test_recording_does_not_change_the_path():
    assert np.array_equal(run(record=range(7)).mean["position"][-1], run().mean["position"][-1])


def test_recorded_steps_start_from_the_initial_state():
    found = run(record=[0, 1, 6])
    assert found.steps.tolist() == [0, 1, 6]
    np.testing.assert_array_equal(found.mean["position"][0], [1.0, -0.5])


def test_losses_compare_with_start_and_with_the_step_before():
    """Without noise x is multiplied by 1 - rate * curvature at each step, so every loss is known."""
    found = simulate(
        dynamics.gradient_descent(),
        eigenvalues=[0.5, 1.8],
        learning_rate=1.0,
        initial=[1.0, 2.0],
        steps=3,
        replicas=2,
        record=[1, 3],
        observables=("loss", "loss_change", "descends", "decreases"),
    )
    loss = [0.25 * 0.5 ** (2 * t) + 3.6 * 0.8 ** (2 * t) for t in range(4)]
    np.testing.assert_allclose(found.mean["loss"], [loss[1], loss[3]], rtol=1e-13)
    np.testing.assert_allclose(found.mean["loss_change"], [loss[1] - loss[0], loss[3] - loss[0]], rtol=1e-13)
    assert found.mean["descends"].tolist() == [1, 1]
    assert found.mean["decreases"].tolist() == [1, 1]


def test_decreases_looks_one_step_back_and_descends_to_the_start():
    """Heavy ball overshoots: the loss rises in the last step and is still below the first."""
    path = simulate(
        dynamics.heavy_ball(), eigenvalues=[1.0], learning_rate=0.1, momentum=0.9, initial=1.0, steps=60, replicas=1,
        record=range(61), observables=("loss", "decreases", "descends"),
    )  # fmt: skip
    loss = path.mean["loss"]
    np.testing.assert_array_equal(path.mean["decreases"][1:], (np.diff(loss) < 0).astype(float))
    np.testing.assert_array_equal(path.mean["descends"], (loss < loss[0]).astype(float))
    assert 0 < path.mean["decreases"][1:].mean() < 1


def test_a_custom_observable_sees_modes_and_replicas():
    def product(now):
        return now.state["position"][0] * now.state["position"][1]

    found = run(observables={"product": product})
    exact = np.prod([x * (1 - 0.8 * c) ** 6 for x, c in ((1.0, 0.5), (-0.5, 1.5))])
    assert abs(found.mean["product"][0] - exact) < 5 * found.standard_error["product"][0]


def test_shared_noise_is_one_draw_for_all_modes():
    x, xi = sympy.symbols("x xi")
    rule = UpdateRule("kicked", (x,), (x - parameter("learning_rate") * (parameter("curvature") * x + xi),),
                      (Noise(xi, shared=True),))  # fmt: skip
    apart = {"apart": lambda now: np.abs(now.state["x"][0] - now.state["x"][1])}
    together = simulate(
        rule, eigenvalues=[1.0, 1.0], steps=20, replicas=50, observables=apart, learning_rate=0.5, rng=0
    )
    assert together.mean["apart"][0] == 0
    alone = UpdateRule("kicked", rule.state, rule.update, (Noise(xi),))
    separate = simulate(
        alone, eigenvalues=[1.0, 1.0], steps=20, replicas=50, observables=apart, learning_rate=0.5, rng=0
    )
    assert separate.mean["apart"][0] > 0.1


def test_initial_state_may_be_drawn():
    found = run(
        initial=lambda generator, shape: generator.standard_normal(shape), record=[0], observables="squared_position"
    )
    np.testing.assert_allclose(found.mean["squared_position"][0], 1.0, atol=0.03)


def test_initial_state_by_name():
    found = simulate(
        dynamics.heavy_ball(), eigenvalues=[1.0], learning_rate=0.1, momentum=0.5, steps=1, replicas=1,
        initial={"position": 1.0, "previous_position": 3.0},
    )  # fmt: skip
    assert found.mean["position"][0, 0] == pytest.approx(1 - 0.1 + 0.5 * (1 - 3))


def test_divergence_is_reported_with_its_step():
    with pytest.raises(
        DivergenceError, match="40 of 40 replicas exceeded 1e\\+100 in absolute value by step 1000"
    ) as caught:
        simulate(
            dynamics.gradient_descent(), eigenvalues=[3.0], learning_rate=1.0, initial=1.0, steps=2000, replicas=40,
            record=[10, 1000, 2000],
        )  # fmt: skip
    assert (caught.value.diverged, caught.value.step) == (40, 1000)


def test_progress_counts_replicas():
    seen = []
    run(progress=lambda finished, total: seen.append((finished, total)))
    assert seen[-1] == (70_000, 70_000)
    assert [finished for finished, _ in seen] == sorted({finished for finished, _ in seen})


def test_an_error_in_a_chunk_reaches_the_caller():
    def broken(now):
        raise RuntimeError("my observable is broken")

    with pytest.raises(RuntimeError, match="my observable is broken"):
        run(observables={"broken": broken})


def test_merged_moments_are_those_of_the_whole_sample():
    values = np.random.default_rng(0).standard_normal((2, 1000)) * 3 + 1e6
    merged = Moments.of(values[:, :137]) + Moments.of(values[:, 137:400]) + Moments.of(values[:, 400:])
    np.testing.assert_allclose(merged.mean, values.mean(axis=1), rtol=1e-15)
    np.testing.assert_allclose(merged.squares / 999, values.var(axis=1, ddof=1), rtol=1e-10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be positive and finite, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive and finite, got nan"),
        ({"eigenvalues": [-1.0]}, "eigenvalues must be non-negative and finite, got -1"),
        ({"eigenvalues": None}, "needs eigenvalues, got None"),
        ({"samples": 0}, "samples must be a whole number >= 1, got 0"),
        ({"samples": 2.5}, "samples must be a whole number >= 1, got 2.5"),
        (
            {"noise_variance": [1.0, 2.0, 3.0]},
            r"noise_variance must be a number or have shape \(2,\), got shape \(3,\)",
        ),
        ({"steps": 0}, "steps must be a whole number >= 1, got 0"),
        ({"replicas": -5}, "replicas must be a whole number >= 1, got -5"),
        ({"record": [3, 2]}, "record must be increasing whole numbers from 0 to steps = 6"),
        ({"record": [2, 2]}, "record must be increasing whole numbers from 0 to steps = 6"),
        ({"record": [-1]}, "record must be increasing whole numbers from 0 to steps = 6"),
        ({"record": [7]}, "record must be increasing whole numbers from 0 to steps = 6"),
        ({"observables": ["energy"]}, "observables must be among position, .* got 'energy'"),
        ({"observables": []}, "observables must name at least one"),
        ({"observables": {}}, "observables must name at least one"),
        ({"eigenvalues": []}, "eigenvalues must be a non-empty vector"),
        ({"eigenvalues": [[0.5, 1.5]]}, r"eigenvalues must be a non-empty vector, got shape \(1, 2\)"),
        ({"initial": [1.0, 2.0, 3.0]}, r"initial must be a number or have shape \(2,\), got shape \(3,\)"),
        ({"initial": "start"}, "initial must be finite, got 'start'"),
        ({"initial": {"position": 1.0, "speed": 1.0}}, "initial must give position and may give nothing else"),
        ({"initial": float("inf")}, "initial must be finite"),
        ({"initial": {"speed": 1.0}}, "initial must give position"),
        ({"momentum": 0.9}, "has no parameter momentum"),
        ({"curvature": 0.9}, "curvature is given by eigenvalues"),
        ({"rng": -1}, "rng must be None, a non-negative int"),
        ({"rng": True}, "rng must be None, a non-negative int"),
        ({"rng": "seed"}, "rng must be None, a non-negative int"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        run(**changes)


def test_chunks_draw_numbers_of_their_own():
    jobs = []

    class Recording(ThreadPoolExecutor):
        def submit(self, *arguments):
            jobs.append(super().submit(*arguments))
            return jobs[-1]

    with Recording(1) as executor:
        run(executor=executor)
    means = [job.result()["position"].mean[0, 0] for job in jobs]
    assert len(set(means)) == len(means) == 3


def test_children_of_a_seed_sequence_give_different_results():
    one, two = (run(rng=child).mean["position"] for child in np.random.SeedSequence(3).spawn(2))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("how", ["child", "generator's child", "root"])
def test_draws_of_the_callers_own_are_no_draws_of_the_simulation(how):
    """x+ = xi, from an x that the caller drew of the same seed: E[x+ x] = 0."""
    x, xi = sympy.symbols("x xi")
    rule, root = UpdateRule("noise", (x,), (xi,), (Noise(xi),)), np.random.SeedSequence(1)
    mine = {"child": root.spawn(1)[0], "generator's child": np.random.default_rng(1).spawn(1)[0], "root": 1}[how]
    start = np.random.default_rng(mine).standard_normal((1, 10_000))
    product = {"product": lambda now: now.state["x"][0] * now.initial["x"][0]}
    rng = root if how == "child" else 1
    found = simulate(rule, steps=1, replicas=10_000, initial=lambda *_: start, observables=product, rng=rng)
    assert abs(found.mean["product"][0]) < 5 * found.standard_error["product"][0]


@pytest.mark.parametrize("replicas", [1, 32768, 32769, 100_000])
def test_chunks_divide_the_replicas(replicas):
    sizes = chunk_sizes(replicas, 2)
    assert sum(sizes) == replicas
    assert min(sizes) > 0


@pytest.mark.parametrize("shared", [False, True])
def test_every_replica_has_its_own_noise(shared):
    """More replicas than a kernel takes at a time."""
    x, xi = sympy.symbols("x xi")
    rule = UpdateRule("noise", (x,), (xi,), (Noise(xi, shared=shared),))
    count = {"distinct": lambda now: np.full(5000, len(np.unique(now.state["x"])))}
    assert simulate(rule, steps=1, replicas=5000, observables=count, rng=0).mean["distinct"][0] == 5000


def test_decreases_looks_at_the_last_step_when_only_the_last_is_recorded():
    options = {"eigenvalues": [1.0], "learning_rate": 0.1, "momentum": 0.9, "initial": 1.0, "replicas": 1}
    for steps in range(1, 40, 3):
        loss, decreases = (
            simulate(dynamics.heavy_ball(), steps=steps, record=record, observables=name, **options).mean[name]
            for name, record in (("loss", [steps - 1, steps]), ("decreases", None))
        )
        assert decreases[0] == (loss[1] < loss[0])


@pytest.mark.parametrize("initial", [-1.0, 1.0])
def test_divergence_is_seen_on_either_side_and_when_the_state_is_not_a_number(initial):
    with pytest.raises(DivergenceError):
        simulate(
            dynamics.gradient_descent(), eigenvalues=[3.0], learning_rate=1.0, initial=initial, steps=1000, replicas=1
        )
    x = sympy.Symbol("x")
    with pytest.raises(DivergenceError):
        simulate(UpdateRule("cubic", (x,), (x**3 - x**2,)), initial=10 * initial, steps=12, replicas=1)


def test_a_divergence_comes_back_from_another_process():
    error = DivergenceError(3, 40, 1000)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.diverged, copy.replicas, copy.step) == (str(error), 3, 40, 1000)


def test_the_variance_is_the_unbiased_one():
    values = np.array([1.0, 2.0, 4.0])
    ensemble = Ensemble.from_moments([0], {"x": Moments.of(values)})
    assert ensemble.variance["x"] == pytest.approx(values.var(ddof=1))
    assert ensemble.standard_error["x"] == pytest.approx(values.std(ddof=1) / np.sqrt(3))


def test_each_chunk_draws_its_own_initial_state():
    """One draw for all replicas of a chunk: what varies, varies between chunks."""

    def one_draw(generator, shape):
        return generator.standard_normal((shape[0], 1)) * np.ones(shape)

    assert run(initial=one_draw, record=[0], observables="position").variance["position"].min() > 0.01


def test_state_variables_can_be_observed():
    found = simulate(
        dynamics.heavy_ball(), eigenvalues=[1.0], learning_rate=0.1, momentum=0.5, initial=2.0, steps=5, replicas=1,
        record=range(6), observables=("position", "previous_position"),
    ).mean  # fmt: skip
    np.testing.assert_array_equal(found["previous_position"][1:], found["position"][:-1])


def test_a_rule_without_curvature_has_no_eigenvalues_and_no_loss():
    x = sympy.Symbol("x")
    rule = UpdateRule("shrink", (x,), (x / 2,))
    with pytest.raises(ValueError, match="has no curvature, so eigenvalues must be None"):
        simulate(rule, eigenvalues=[1.0], steps=1, replicas=1)
    with pytest.raises(ValueError, match="the observable needs eigenvalues"):
        simulate(rule, steps=1, replicas=1, observables="loss")


def test_an_observable_that_is_not_finite_is_named():
    with pytest.raises(
        ValueError, match="the observable logarithm must be finite for every replica, it is not at step 6"
    ):
        run(observables={"logarithm": lambda now: np.where(now.state["position"][0] > 0, 1.0, np.nan)})

"""The bridge's benchmark: what it counts and decides is right, and it runs end to end without a card."""

import importlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import array_api_compat.numpy as xp
import numpy as np
import pytest

from quadlab import bridge
from quadlab.bridge.linearization import Linearization
from quadlab.bridge.losses import LOSSES
from quadlab.bridge.operations import LAYER_NORM, MATMUL, MEAN, SCALE, SOFTMAX, SWAP

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _on_path(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    # a collection takes a tenth of a second where all of SymPy is loaded
    monkeypatch.setattr(module("bridge_timing"), "gc", SimpleNamespace(collect=lambda: None))


class Clock:
    """Stands still but for what calls say that they took, and a microsecond at each look."""

    now = 0.0

    def perf_counter(self):
        self.now += 1e-6
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module("bridge_timing"), "time", clock)
    return clock


def module(name):
    return importlib.import_module(name)


def tiny_size():
    gpu = module("bridge_gpu")
    networks = {"perceptron": (lambda: bridge.mlp([5, 7, 3]), 6)}
    return replace(gpu.SIZES["small"], networks=networks, square=16, seconds=0.01, eigenpairs=2, steps=3)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(module("bridge_gpu").SIZES, "small", tiny_size())
    return ["--backend", "numpy", "--size", "small", "--only", "perceptron", "--rivals"]


class Counting:
    """The NumPy namespace, counting the multiply-adds of its matrix products."""

    def __init__(self):
        self.work = 0

    def __getattr__(self, name):
        return getattr(xp, name)

    def matmul(self, x, y):
        product = xp.matmul(x, y)
        self.work += product.size * x.shape[-1]
        return product


def attention():
    """Tokens mapped to queries, keys and values: products of two activations beside dense layers."""
    draft = bridge.Draft((4, 3))
    x = draft.apply(LAYER_NORM, draft.dense(draft.input, 6))
    query, key, value = (draft.dense(x, 5) for _ in range(3))
    scores = draft.apply(SCALE, draft.apply(MATMUL, query, draft.apply(SWAP, key)), factor=0.4)
    mixed = draft.apply(MATMUL, draft.apply(SOFTMAX, scores), value)
    return draft.network("attention", draft.dense(draft.apply(MEAN, mixed), 2))


@pytest.mark.parametrize("network", [bridge.mlp([5, 7, 6, 3]), attention()], ids=lambda network: network.name)
def test_matrix_work_is_what_the_bridge_multiplies(network):
    examples, vectors, rng = 4, 3, np.random.default_rng(0)
    counting, shapes = Counting(), [parameter.shape for parameter in network.parameters]
    at = Linearization(
        network, counting, [rng.standard_normal(shape) for shape in shapes],
        rng.standard_normal((examples, *network.input_shape)), np.zeros((examples, *network.output.shape)),
        LOSSES["squared_error"], 1.0,
    )  # fmt: skip
    at.gradient()
    work = module("bridge_card").matrix_work(network)
    assert counting.work == examples * work["gradient"]
    counting.work = 0
    at.hessian_product([rng.standard_normal((vectors, *shape)) for shape in shapes])
    assert counting.work == examples * vectors * work["warm"]


def test_wide_layers_cost_three_and_six_products():
    work = module("bridge_card").matrix_work(bridge.mlp([2, 3, 4, 5]))
    first, rest = 2 * 3, 3 * 4 + 4 * 5
    assert work == {"gradient": 2 * first + 3 * rest, "warm": 2 * first + 6 * rest}


def test_full_perceptron_is_as_large_as_promised():
    make, examples = module("bridge_gpu").SIZES["full"].networks["perceptron"]
    assert make().dimension >= 50_000_000
    assert examples >= 10_000


def fake_side(name="other", held=0, released=None):
    return SimpleNamespace(
        name=name, numbers=np.asarray, held=lambda: held, release=lambda: released is not None and released.append(name)
    )


def waiting(seconds, clock):
    def call():
        clock.now += seconds
        return np.full((2, 3), seconds)

    return lambda: call


def failing(error):
    def call():
        raise error

    return lambda: call


def test_fastest_way_wins_and_failures_are_named(clock):
    ways = {
        "slow": waiting(0.02, clock),
        "too large": failing(RuntimeError("CUDA out of memory. Tried to allocate")),
        "fast": waiting(0.001, clock),
        "broken": failing(TypeError("no such rule\nat line 3")),
        "slower": waiting(0.03, clock),
    }
    tried, seconds, call, result, held = module("bridge_timing").fastest(fake_side(held=7), ways, patience=1.0)
    assert tried["too large"].startswith("out of memory")
    assert tried["broken"] == "TypeError: no such rule"
    assert (seconds, tried["slow"]) == (tried["fast"], pytest.approx(0.020001))
    assert call()[0, 0] == result[0][0] == 0.001
    assert held == 7


def test_patience_ends_the_search(clock):
    ways = {"slow": waiting(0.02, clock), "never tried": failing(AssertionError())}
    tried, *_ = module("bridge_timing").fastest(fake_side(), ways, patience=0.01)
    assert list(tried) == ["slow"]


def test_lack_of_memory_empties_the_pools_and_tries_again():
    released, made = [], []

    def needs_room():
        made.append(len(released))
        if not released:
            raise MemoryError("full")

    times, failed = module("bridge_timing").in_turn({"a": needs_room}, [fake_side("b", released=released)], 1e-9, False)
    # once in vain; then each of three rounds empties, warms up and times
    assert made == [0, 1, 1, 2, 2, 3, 3]
    assert len(times["a"]) == 3
    assert not failed


def test_calls_that_go_on_failing_leave_the_others_their_turns():
    calls = {"bad": failing(MemoryError("full"))(), "good": lambda: None}
    times, failed = module("bridge_timing").in_turn(calls, [], 1e-9, False)
    assert list(failed) == ["bad"]
    assert failed["bad"].startswith("out of memory")
    assert len(times["good"]) == 3


def test_sides_that_do_not_fit_beside_each_other_are_crowded(clock):
    timing, released = module("bridge_timing"), []
    sides = [fake_side("a", 40, released), fake_side("b", 40, released)]
    counts = []
    for memory in (0, 1000, 100):
        released.clear()
        timing.measured(sides, lambda side: {"only": lambda: lambda: np.zeros(3)}, {}, 0.05, memory)
        counts.append(len(released))
    # each side once after its search; then, only if crowded, all before each call
    assert counts[:2] == [2, 2]
    assert counts[2] >= 2 + 3 * 2 * 2


def test_an_extra_call_replaces_the_sides_own():
    timing, made = module("bridge_timing"), []
    extra = {"a": lambda: made.append("warm"), "a cold": lambda: made.append("cold")}
    found, _ = timing.measured([fake_side("a")], lambda side: {"only": lambda: lambda: np.zeros(3)}, extra, 0.05, 0)
    assert made.count("cold") == made.count("warm") == found["rounds"]["a"] == found["rounds"]["a cold"] >= 3


def test_warm_products_reuse_the_network_and_cold_ones_do_not(monkeypatch):
    made = []
    real = Linearization.__init__
    monkeypatch.setattr(Linearization, "__init__", lambda self, *rest: (made.append(1), real(self, *rest))[1])
    problem = bridge.Problem(bridge.mlp([2, 3]), np.ones((4, 2)), [0, 1, 2, 0], loss="cross_entropy")
    calls = module("bridge_sides").cold_and_warm(problem, np.ones(9), np.ones((2, 9)))
    for name, expected in (("bridge cold", 1), ("bridge warm", 0), ("bridge warm", 0), ("bridge cold", 1)):
        made.clear()
        calls[name]()
        assert len(made) == expected


def test_the_batch_is_halved_until_products_fit(monkeypatch):
    gpu = module("bridge_gpu")
    run = gpu.Run(gpu.SIZES["small"], "numpy", 1.0, 0.0, (), None)
    data = gpu.Data(bridge.mlp([2, 3]), np.ones((10, 2)), np.zeros(10, dtype=int), None, None, None)
    problem = gpu.problem_for(run, data, 1)
    assert problem.batch == 10
    smaller = bridge.Problem(problem.network, data.inputs, data.labels, loss="cross_entropy", dtype="float32", batch=3)
    monkeypatch.setattr(gpu, "available_memory", lambda where: (smaller.memory(1) + 1) / gpu.MEMORY_SHARE)
    assert gpu.problem_for(run, data, 1).batch == 3


def test_verdicts_and_failures():
    gpu = module("bridge_gpu")
    cases = {
        "perceptron, fp32, product with 1": {
            "seconds": {"bridge cold": 2.0, "torch": 3.0, "jax": 1.0},
            "share_of_matrix_rate": {"bridge cold": 0.59},
            "tried": {"bridge cold": {"all": 2.0}, "torch": {"all": "TypeError: no"}},
        },
        "residual, fp32, product with 8": {
            "seconds": {"torch": 1.0},
            "share_of_matrix_rate": {},
            "tried": {"bridge cold": {"all": "out of memory (full)"}},
        },
        "residual, fp32, gradient": {"seconds": {}, "tried": {"bridge": {"all": "ValueError: bad"}}},
        "residual, fp32, spectral density": {"failed": "TypeError: bad"},
        "residual, fp32, top": {"not run": "out of time"},
    }
    assert gpu.verdicts(cases) == [
        "perceptron, fp32, product with 1: bridge cold faster than torch: yes (1.50)",
        "perceptron, fp32, product with 1: bridge cold faster than jax: no (0.50)",
        "perceptron, fp32, product with 1: bridge cold >= 60% of matrix rate: no (0.59)",
    ]
    assert gpu.failures(cases) == ["residual, fp32, gradient", "residual, fp32, spectral density"]


def test_runs_end_to_end(tiny, tmp_path, capsys):
    gpu, path = module("bridge_gpu"), tmp_path / "new" / "found.json"
    assert gpu.main([*tiny, "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    assert report["schema"] == gpu.SCHEMA
    assert [case.removeprefix("perceptron, fp32, ") for case in report["cases"]] == [
        "gradient", "product with 1", "product with 8", "product with 32",
        "top 2 eigenpairs", "spectral density, 2 probes, 3 steps",
    ]  # fmt: skip
    case = report["cases"]["perceptron, fp32, product with 8"]
    seconds, work = case["seconds"]["bridge warm"], module("bridge_card").matrix_work(bridge.mlp([5, 7, 3]))
    assert case["tflops"]["bridge warm"] == pytest.approx(2e-12 * 6 * 8 * work["warm"] / seconds)
    share = case["tflops"]["bridge warm"] / max(report["rates"]["fp32"].values())
    assert case["share_of_matrix_rate"]["bridge warm"] == pytest.approx(share)
    assert case["errors"]["bridge warm"] < case["error_bound"]
    assert str(Path.home()) not in path.read_text()
    assert str(BENCHMARKS.parent) not in path.read_text()
    assert "of matrix rate" in capsys.readouterr().out


def test_wrong_numbers_end_a_network_and_no_other(tiny, tmp_path, monkeypatch):
    gpu, path = module("bridge_gpu"), tmp_path / "found.json"
    networks = {"residual": (lambda: bridge.mlp([5, 4, 3]), 6), "perceptron": (lambda: bridge.mlp([5, 7, 3]), 6)}
    monkeypatch.setitem(gpu.SIZES, "small", replace(tiny_size(), networks=networks))
    real = bridge.Problem.hessian_product

    def wrong(problem, parameters, vectors):
        ours = problem.backend.dtype == "float32" and problem.dimension == bridge.mlp([5, 4, 3]).dimension
        return (1.01 if ours else 1.0) * real(problem, parameters, vectors)

    monkeypatch.setattr(bridge.Problem, "hessian_product", wrong)
    every = ["--backend", "numpy", "--size", "small", "--rivals"]
    assert gpu.main([*every, "--json", str(path)]) == 1
    report = json.loads(path.read_text())
    (why,) = report["wrong"]
    assert why.startswith("residual, fp32, product with 1: relative errors")
    assert list(report["cases"])[:2] == ["residual, fp32, gradient", "residual, fp32, product with 1"]
    assert [case.split(",")[0] for case in report["cases"]] == ["residual"] * 2 + ["perceptron"] * 6
    assert not any("residual" in line for line in gpu.verdicts(report["cases"]))
    named = {**report["cases"]["residual, fp32, product with 1"], "seconds": {"bridge cold": 1.0, "torch": 2.0}}
    assert not gpu.verdicts({"residual, product": named})


def test_a_mode_without_its_rates_is_a_failure_that_is_saved(tiny, tmp_path, monkeypatch):
    gpu, path = module("bridge_gpu"), tmp_path / "found.json"

    def no_memory(*_):
        raise MemoryError("none")

    monkeypatch.setattr(gpu, "matrix_rates", no_memory)
    assert gpu.main([*tiny, "--json", str(path)]) == 1
    report = json.loads(path.read_text())
    assert report["cases"] == {"fp32": {"failed": "out of memory (MemoryError: none)"}}


def test_products_that_are_not_float32_end_their_mode(tiny, tmp_path, monkeypatch):
    gpu, path = module("bridge_gpu"), tmp_path / "found.json"
    monkeypatch.setattr(gpu, "rounding", lambda where: {"two stacks": {"rounds_like": "tf32"}})
    assert gpu.main([*tiny, "--json", str(path)]) == 1
    report = json.loads(path.read_text())
    assert "float32 products are not float32" in report["cases"]["fp32"]["failed"]
    assert report["failures"] == ["fp32"]


@pytest.mark.skipif(bridge.backend("auto").name == "cupy", reason="a device is there")
def test_a_missing_device_is_one_sentence(capsys):
    with pytest.raises(SystemExit):
        module("bridge_gpu").main([])
    assert "backend 'cupy' has no usable device" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("program", "version"), [("echo 1.2; echo 3.4", "1.2"), ("exit 9", "unknown"), (None, "unknown")]
)
def test_the_driver_is_one_version(tmp_path, monkeypatch, program, version):
    if program:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module("bridge_card")._driver() == version


def test_no_case_begins_after_the_limit(tiny, tmp_path):
    path = tmp_path / "found.json"
    assert module("bridge_gpu").main([*tiny, "--json", str(path), "--limit", "1e-9"]) == 0
    assert {json.dumps(case) for case in json.loads(path.read_text())["cases"].values()} == {
        '{"not run": "out of time"}'
    }

"""Memory: what is estimated, what is used, and what is said when it runs out."""

import gc
import platform
import subprocess
import sys
import tracemalloc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import data, point_of, problem_of

from quadlab import bridge
from quadlab.bridge import problem as problem_module
from quadlab.bridge.arrays import Backend, available_memory

NETWORKS = {
    "narrow": bridge.mlp([64, 50, 50, 10]),
    "wide": bridge.mlp([64, 256, 256, 10], "gelu"),
    "residual": bridge.residual_network((8, 8, 1)),
    "transformer": bridge.vision_transformer((8, 8, 1)),
}


def peak_of(function):
    """The most bytes allocated at once during a call, beyond what was there before."""
    gc.collect()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("examples", "batch", "vectors", "dtype"),
    [(100, None, 1, "float64"), (30, None, 8, "float32"), (60, 30, 0, "float32"), (12, 6, 40, "float64")],
)
@pytest.mark.parametrize("name", NETWORKS)
def test_estimate_is_within_twice_the_peak(name, examples, batch, vectors, dtype):
    network = NETWORKS[name]
    problem, point = problem_of(network, examples=examples, batch=batch, dtype=dtype), point_of(network)
    directions = np.ones((network.dimension, max(vectors, 1)))
    peak = peak_of(lambda: problem.hessian_product(point, directions) if vectors else problem.gradient(point))
    assert peak / 2 <= problem.memory(vectors) <= 2 * peak


@pytest.mark.parametrize("method", ["predict", "loss", "gradient"])
def test_batch_bounds_the_peak(method):
    """More examples, in the same batches, need the memory of one batch."""
    network = NETWORKS["residual"]
    peaks = []
    for examples, batch in ((40, 40), (160, 40), (160, 160)):
        problem = problem_of(network, examples=examples, batch=batch)
        peaks.append(peak_of(lambda p=problem: getattr(p, method)(point_of(network))))
    assert peaks[1] <= 1.1 * peaks[0]
    assert peaks[2] >= 3 * peaks[0]


@pytest.mark.parametrize("method", ["predict", "loss"])
def test_values_are_dropped_once_nothing_needs_them(method):
    """Ten times as many layers of one width need the memory of as many, but for their parameters."""
    peaks = []
    for layers in (3, 30):
        network = bridge.mlp([20] * (layers + 1))
        problem, point = problem_of(network, examples=2000), point_of(network)
        peaks.append(peak_of(lambda p=problem, w=point: getattr(p, method)(w)))
    assert peaks[1] <= 1.1 * peaks[0]


PRODUCTS = """
import resource
import numpy as np
from quadlab import bridge

network = bridge.mlp([64, 512, 512, 10])
problem = bridge.Problem(network, np.ones((1000, 64)), np.zeros(1000, dtype=int), loss="cross_entropy")
point = network.initial(0)
for number in range(1, 5):
    problem.gradient(point / number)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    problem.hessian_product(0.9 * point / number, point)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    problem.hessian_product(point, point)
print(faults * resource.getpagesize())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries of C are not told to keep memory")
def test_products_at_new_parameters_reuse_the_memory_of_former_ones():
    done = subprocess.run([sys.executable, "-c", PRODUCTS], capture_output=True, text=True, check=True)
    # less than one layer's activations was fetched anew, of the fifteen or so that a product holds
    assert int(done.stdout) < 8 * 1000 * 512


def test_estimate_grows_with_batch_and_vectors():
    network = NETWORKS["residual"]
    estimates = [problem_of(network, examples=64, batch=batch).memory(1) for batch in (1, 2, 4)]
    assert estimates[2] - estimates[1] == 2 * (estimates[1] - estimates[0]) > 0
    problem = problem_of(network, examples=64, batch=8)
    assert problem.memory(0) < problem.memory(1) < problem.memory(32) < problem.memory(33)
    single = problem_of(network, examples=64, batch=8, dtype="float32")
    assert 2 * single.memory(3) == problem.memory(3)


def run_out(*arguments, **options):
    raise MemoryError("no more")


@pytest.mark.parametrize("method", ["loss", "predict", "gradient", "hessian_product", "gauss_newton_product"])
def test_running_out_names_a_batch_that_fits(monkeypatch, method):
    network = NETWORKS["transformer"]
    problem, point = problem_of(network, examples=50), point_of(network)
    arguments, vectors = ((np.ones((network.dimension, 3)),), 3) if "product" in method else ((), 0)
    monkeypatch.setattr(problem_module, "Linearization", run_out)
    monkeypatch.setattr(problem_module, "evaluate", run_out)
    left = bridge.Problem(network, *data(network, examples=50), batch=10).memory(vectors)
    monkeypatch.setattr(problem_module, "available_memory", lambda where: left)
    with pytest.raises(
        MemoryError, match=r"50 examples and . vectors at once need about .* GiB: batch=\d+ would fit"
    ) as error:
        getattr(problem, method)(point, *arguments)
    batch = int(str(error.value).partition("batch=")[2].partition(" ")[0])
    fixed = problem_of(network, examples=50, batch=1).memory(vectors)
    # a fifth of what is left over is kept back
    assert batch == pytest.approx(0.8 * 10, abs=1.5)
    assert fixed < problem_of(network, examples=50, batch=batch).memory(vectors) < left


@pytest.mark.parametrize("batch", [50, 20])
@pytest.mark.parametrize("method", ["gradient", "hessian_product"])
def test_what_failed_does_not_count_as_taken(monkeypatch, method, batch):
    network = NETWORKS["narrow"]
    problem, point, passes, seen = problem_of(network, examples=50, batch=batch), point_of(network), [], []

    class Pass(problem_module.Linearization):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            passes.append(weakref.ref(self))

        value = hessian_product = run_out

    def counted(where):
        seen.append(sum(each() is not None for each in passes))
        return 2**60

    monkeypatch.setattr(problem_module, "Linearization", Pass)
    monkeypatch.setattr(problem_module, "available_memory", counted)
    with pytest.raises(MemoryError, match=f"batch={batch // 2} would fit"):
        getattr(problem, method)(point, *[point] * (method == "hessian_product"))
    assert (len(passes), seen) == (1, [0])


def test_the_kept_pass_goes_before_the_next_is_made(monkeypatch):
    network = NETWORKS["narrow"]
    problem, point, passes, seen = problem_of(network), point_of(network), [], []

    class Pass(problem_module.Linearization):
        def __init__(self, *arguments):
            seen.append(sum(each() is not None for each in passes))
            passes.append(weakref.ref(self))
            super().__init__(*arguments)

    monkeypatch.setattr(problem_module, "Linearization", Pass)
    for scale in (1.0, 0.9, 0.8):
        problem.hessian_product(scale * point, point)
    problem.gradient(point)
    assert seen == [0] * 4


def test_a_machine_that_does_not_say_what_is_free(monkeypatch):
    def refuse(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr("os.sysconf", refuse)
    problem, point = problem_of(NETWORKS["narrow"], examples=50), point_of(NETWORKS["narrow"])
    monkeypatch.setattr(problem_module, "Linearization", run_out)
    with pytest.raises(MemoryError, match="batch=25 would fit"):
        problem.gradient(point)


@pytest.mark.parametrize(("limit", "expected"), [(0, 1000 + 30), (400, 400 - 100 + 30), (5000, 1000 + 30)])
def test_memory_of_a_card_within_the_limit_of_its_pool(monkeypatch, limit, expected):
    pool = SimpleNamespace(get_limit=lambda: limit, total_bytes=lambda: 100, free_bytes=lambda: 30)
    runtime = SimpleNamespace(memGetInfo=lambda: (1000, 8000))
    made_up = SimpleNamespace(get_default_memory_pool=lambda: pool, cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "cupy", made_up)
    card = Backend(SimpleNamespace(__name__="array_api_compat.cupy"))
    assert available_memory(card) == expected


@pytest.mark.parametrize(
    "message",
    [
        "cudaErrorMemoryAllocation: out of memory",
        "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "cudaErrorIllegalAddress: an illegal memory access was encountered",
    ],
)
def test_what_libraries_of_a_card_say(monkeypatch, message):
    def fail(*arguments):
        raise RuntimeError(message)

    problem, point = problem_of(NETWORKS["narrow"], examples=50), point_of(NETWORKS["narrow"])
    monkeypatch.setattr(problem_module, "Linearization", fail)
    monkeypatch.setattr(problem_module, "available_memory", lambda where: 2**60)
    expected = (RuntimeError, message) if "Illegal" in message else (MemoryError, "batch=25 would fit")
    with pytest.raises(expected[0], match=expected[1]):
        problem.gradient(point)


def test_room_for_the_vectors_alone_may_run_out(monkeypatch):
    problem, point = problem_of(NETWORKS["narrow"], examples=50), point_of(NETWORKS["narrow"])
    monkeypatch.setattr(problem_module, "contiguous", run_out)
    with pytest.raises(MemoryError, match="50 examples and 2 vectors at once need about"):
        problem.hessian_product(point, np.ones((point.size, 2)))


def test_what_failed_is_not_advised(monkeypatch):
    network = NETWORKS["narrow"]
    problem, point = problem_of(network, examples=50, batch=20), point_of(network)
    problem.hessian_product(point, np.ones(network.dimension))
    monkeypatch.setattr(problem_module, "Linearization", run_out)
    monkeypatch.setattr(problem_module, "available_memory", lambda where: 2**60)
    with pytest.raises(MemoryError, match="^20 examples and 1 vectors at once need about .* GiB: batch=10 would fit$"):
        problem.gradient(point)
    monkeypatch.setattr(problem_module, "available_memory", lambda where: 0)
    with pytest.raises(MemoryError, match="not even batch=1 would fit"):
        problem.gradient(point)
    alone = problem_of(network, examples=50, batch=1)
    monkeypatch.setattr(problem_module, "available_memory", lambda where: 2**60)
    with pytest.raises(MemoryError, match="not even batch=1 would fit"):
        alone.gradient(point)


def test_running_out_lets_go_of_the_kept_pass(monkeypatch):
    network = NETWORKS["narrow"]
    problem, point = problem_of(network), point_of(network)
    problem.hessian_product(point, np.ones(network.dimension))
    assert problem._latest is not None
    monkeypatch.setattr(problem_module, "evaluate", run_out)
    with pytest.raises(MemoryError):
        problem.loss(point)
    assert problem._latest is None

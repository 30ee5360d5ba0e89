"""Cost of the compiled simulator, in one run, against what a user would pick instead.

    python benchmarks/simulate.py            ratios: draws alone, NumPy loop, and JAX and PyTorch where installed
    python benchmarks/simulate.py --memory   peak memory of 1e6 replicas of 64 modes for 1000 steps (minutes)

Every figure is the median of repeated timings taken in turn, so that the ratios hold on a machine whose speed drifts.
"""

import argparse
import importlib.util
import resource
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from quadlab.dynamics import variational_gradient_descent
from quadlab.simulate import simulate
from quadlab.simulate.compiled import kernel, kernel_source

CURVATURES = np.linspace(0.1, 1.5, 16)
REPLICAS, STEPS, RATE, VARIANCE = 65_536, 50, 1.0, 0.5
COORDINATE_STEPS = len(CURVATURES) * REPLICAS * STEPS
RULE = variational_gradient_descent()


@numba.njit(nogil=True)
def draw_alone(rng, buffer, times):
    for _ in range(times):
        for index in range(buffer.shape[0]):
            buffer[index] = rng.standard_normal()


def quadlab_kernel():
    """The compiled recurrence alone, one thread."""
    advance, rng = kernel(kernel_source(RULE)), np.random.default_rng(0)
    table = np.stack([CURVATURES, np.full(16, RATE), np.full(16, VARIANCE), np.ones(16)])
    state = np.zeros((1, 16, 4096))
    previous = state.copy()

    def run():
        for _ in range(REPLICAS // 4096):
            advance(rng, state, previous, table, STEPS)

    return run


def normals_alone():
    """The same number of normals, from the same generator, inside Numba, one thread."""
    rng, buffer = np.random.default_rng(0), np.empty(2048)
    return lambda: draw_alone(rng, buffer, COORDINATE_STEPS // 2048)


def quadlab_simulate(threads):
    """The public function: chunks, seeds, moments of an observable included."""
    executor = ThreadPoolExecutor(threads)
    return lambda: simulate(
        RULE, eigenvalues=CURVATURES, learning_rate=RATE, noise_variance=VARIANCE, samples=1, steps=STEPS,
        replicas=REPLICAS, observables="squared_position", rng=0, executor=executor,
    )  # fmt: skip


def numpy_loop():
    """A vectorised NumPy loop over time."""
    rng = np.random.default_rng(0)
    shrink, kick = (1 - RATE * CURVATURES)[:, None], (RATE * CURVATURES * np.sqrt(VARIANCE))[:, None]

    def run():
        position = np.zeros((16, REPLICAS))
        for _ in range(STEPS):
            position = shrink * position - kick * rng.standard_normal(position.shape)
        return np.square(position).mean(axis=1)

    return run


def jax_scan():
    import jax
    import jax.numpy as jnp

    shrink, kick = jnp.asarray(1 - RATE * CURVATURES), jnp.asarray(RATE * CURVATURES * np.sqrt(VARIANCE))

    @jax.jit
    def go(key):
        def step(position, key):
            return shrink[:, None] * position - kick[:, None] * jax.random.normal(key, position.shape), None

        last, _ = jax.lax.scan(step, jnp.zeros((16, REPLICAS)), jax.random.split(key, STEPS))
        return (last**2).mean(axis=1)

    return lambda: go(jax.random.key(0)).block_until_ready()


def torch_loop():
    import torch

    shrink = torch.tensor(1 - RATE * CURVATURES)[:, None]
    kick = torch.tensor(RATE * CURVATURES * np.sqrt(VARIANCE))[:, None]

    def run():
        position = torch.zeros(16, REPLICAS, dtype=torch.float64)
        for _ in range(STEPS):
            position = shrink * position - kick * torch.randn(16, REPLICAS, dtype=torch.float64)
        return position.square().mean(dim=1)

    return run


def speed(repeats):
    jobs = {
        "normals alone, one thread": normals_alone(),
        "quadlab kernel, one thread": quadlab_kernel(),
        "quadlab simulate, one thread": quadlab_simulate(1),
        "quadlab simulate, two threads": quadlab_simulate(2),
        "NumPy loop": numpy_loop(),
    }
    for name, package, build in (("JAX scan (float32)", "jax", jax_scan), ("PyTorch loop", "torch", torch_loop)):
        if importlib.util.find_spec(package):
            jobs[name] = build()
        else:
            print(f"{name}: not installed")
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
    for _ in range(repeats):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - started)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    for name, value in median.items():
        print(f"{name:<32} {1e9 * value / COORDINATE_STEPS:6.2f} ns per coordinate-step")

    def ratio(text, above, below):
        pairs = [a / b for a, b in zip(seconds[above], seconds[below], strict=True)]
        print(f"{text:<52} {statistics.median(pairs):5.2f}   ({min(pairs):.2f} to {max(pairs):.2f})")

    print()
    alone = "normals alone, one thread"
    ratio("kernel / normals alone (one thread; at most 1.4)", "quadlab kernel, one thread", alone)
    ratio("simulate / normals alone (one thread; at most 1.4)", "quadlab simulate, one thread", alone)
    ratio("NumPy loop / simulate (two threads; at least 3)", "NumPy loop", "quadlab simulate, two threads")
    for name in jobs.keys() & {"JAX scan (float32)", "PyTorch loop"}:
        ratio(f"{name} / simulate (two threads)", name, "quadlab simulate, two threads")


def memory():
    started = time.perf_counter()
    simulate(
        RULE, eigenvalues=np.linspace(0.1, 1.5, 64), learning_rate=RATE, noise_variance=VARIANCE, samples=1,
        steps=1000, replicas=1_000_000, observables="squared_position", record=range(0, 1001, 100), rng=0,
    )  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.perf_counter() - started
    print(f"1e6 replicas x 64 modes x 1000 steps: peak {peak:.0f} MiB (at most 286 = 300 MB), {seconds:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    memory() if arguments.memory else speed(arguments.repeats)

"""The deep-net bridge on a card, in one run, against PyTorch, JAX and the card's own matrix rate.

    python benchmarks/bridge_gpu.py                                  CuPy, three networks that fill a card, 10 minutes
    python benchmarks/bridge_gpu.py --backend numpy --size small     the same on a processor, in two minutes
    python benchmarks/bridge_gpu.py --json benchmarks/results/bridge_card.json

Without an installed quadlab, run it in the checkout with PYTHONPATH=. A library that is missing is left out and named.

Everything is float32, with the same rounding on all sides: in "fp32" the factors of matrix products keep 24 bits, in
"tf32" they may be cut to 11; whether CuPy does so is seen from products of each kind. The Hessian products of every
side are held against the bridge's in float64; where they differ by more than rounding the network is given up, and
named as wrong.

Times are medians of calls taken in turn, with a synchronisation after each. "cold" is a product at parameters not seen
before, which a rival does in each call; "warm" is one more at the same. All examples go through a network at once, or
else the largest half, quarter, … for which `Problem.memory` is within 3/4 of what is free; a rival may have all, that
batch, or that batch with 8 vectors at a time, and the fastest of these counts. Every case is saved when it is done.
On a processor give all sides one core (`OMP_NUM_THREADS=1 taskset -c 0`): their idle threads disturb each other.
"""

import argparse
import importlib.util
import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bridge_card import (
    free_pool,
    machine,
    matrix_rates,
    matrix_work,
    rounding,
    rounding_bound,
    set_rounding,
)
from bridge_sides import bridge_side, cold_and_warm, jax_side, torch_side
from bridge_timing import MEMORY_SHARE, measured, reason

from quadlab import bridge
from quadlab.bridge.arrays import Backend, available_memory

SCHEMA = 1
VECTORS = (1, 8, 32)
MODES = ("fp32", "tf32")
PROMISED_SHARE = 0.6


@dataclass(frozen=True)
class Size:
    """Networks with their numbers of examples, and how much is measured on them."""

    networks: dict[str, tuple[Callable, int]]
    square: int
    seconds: float
    eigenpairs: int
    probes: int
    steps: int


# silu and gelu, not relu: where the slope jumps, rounding would decide the Hessian
SIZES = {
    "full": Size(
        {
            "perceptron": (lambda: bridge.mlp([3072, 4608, 4608, 4608, 10], "tanh"), 10_240),
            "residual": (lambda: bridge.residual_network((32, 32, 3), (32, 64, 128), activation="silu"), 4096),
            "transformer": (lambda: bridge.vision_transformer((32, 32, 3), 4, width=256, layers=6, heads=4), 4096),
        },
        square=8192, seconds=8.0, eigenpairs=10, probes=2, steps=30,
    ),
    "small": Size(
        {
            "perceptron": (lambda: bridge.mlp([64, 512, 512, 10], "tanh"), 512),
            "residual": (lambda: bridge.residual_network((16, 16, 3), (8, 16), activation="silu"), 128),
            "transformer": (lambda: bridge.vision_transformer((16, 16, 3), 4, width=32), 128),
        },
        square=1024, seconds=2.0, eigenpairs=3, probes=2, steps=10,
    ),
}  # fmt: skip


class WrongNumbersError(Exception):
    """A side's Hessian product differs from the float64 one by more than rounding can explain."""


@dataclass
class Run:
    """What was asked for, what has been found, and when it has to end."""

    size: Size
    backend: str
    seconds: float
    ends: float
    rivals: tuple[str, ...]
    path: Path | None
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def out_of_time(self):
        return time.perf_counter() > self.ends

    def record(self, case, found):
        """Print a case, and save all so far, so that it survives whatever comes."""
        cases = self.report["cases"]
        cases[case] = found
        self.report |= {"verdicts": verdicts(cases), "failures": failures(cases)}
        print(case, json.dumps({key: value for key, value in found.items() if key != "tried"}), flush=True)
        self.save()

    def save(self):
        if self.path:
            self.path.write_text(json.dumps(self.report, indent=1) + "\n")


@dataclass
class Data:
    """A network with its parameters, examples and float32 directions; and true products of the first, 8th and last."""

    network: bridge.Network
    inputs: np.ndarray
    labels: np.ndarray
    where: Backend
    parameters: Any
    rows: Any
    exact: dict[int, np.ndarray] = field(default_factory=dict)


def problem_for(run, data, vectors, dtype="float32"):
    """The problem with the largest batch whose products with so many vectors fit."""
    batch = len(data.inputs)
    while True:
        problem = bridge.Problem(
            data.network, data.inputs, data.labels, loss="cross_entropy", backend=run.backend, dtype=dtype, batch=batch
        )
        free = available_memory(problem.backend)
        if batch == 1 or not free or problem.memory(vectors) <= MEMORY_SHARE * free:
            return problem
        batch = -(-batch // 2)


def data_for(run, name):
    """Random images with random labels, random signs as directions, and their products in float64."""
    make, examples = run.size.networks[name]
    network, generator = make(), np.random.default_rng(0)
    inputs = generator.standard_normal((examples, *network.input_shape), dtype=np.float32)
    labels = generator.integers(0, network.output.shape[0], examples)
    where = bridge.backend(run.backend, "float32")
    parameters, rows = where.array(network.initial(generator)), where.zeros((max(VECTORS), network.dimension))
    for i in range(max(VECTORS)):
        rows[i, :] = where.array(2 * generator.integers(0, 2, network.dimension, dtype=np.int8) - 1)
    data = Data(network, inputs, labels, where, parameters, rows)
    set_rounding(where, "fp32")
    problem = problem_for(run, data, 1, "float64")
    for i in sorted({0, *(k - 1 for k in VECTORS)}):
        exact = bridge.host(problem.hessian_product(parameters, rows[i, :]))
        data.exact[i] = exact.astype(np.float32)
    return data


def rivals_of(run, problem, data):
    """The rivals that are there, and why the others are not."""
    makers = {
        "torch": lambda: torch_side(problem, data.parameters),
        "torch.compile": lambda: torch_side(problem, data.parameters, compiled=True),
        "jax": lambda: jax_side(problem, data.parameters),
    }
    sides, missing = [], {}
    for name in run.rivals:
        if not importlib.util.find_spec(name.partition(".")[0]):
            missing[name] = "not installed"
            continue
        try:
            sides.append(makers[name]())
        except Exception as error:
            missing[name] = reason(error)
    return sides, missing


def ways_of(side, batch, examples, rows):
    """The few ways a side may choose from: (examples at once, vectors together)."""
    k = rows.shape[0]
    ways = [(batch, k)] if side.name.startswith("bridge") else [(examples, k), (batch, k), (batch, min(k, 8))]
    return {f"{b} examples, {t} vectors": (lambda b=b, t=t: side.products(rows, b, t)) for b, t in dict.fromkeys(ways)}


def relative_error(result, exact):
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(result, exact, strict=True))


def compare(run, name, mode, data, best_rate, memory):
    """Gradient and Hessian products of a network on all sides; the promises are held against the best rate."""
    rivals, missing = rivals_of(run, problem_for(run, data, 1), data)
    for side in rivals:
        side.precision(mode)
    set_rounding(data.where, mode)
    for k in (0, *VECTORS):
        case = f"{name}, {mode}, " + (f"product with {k}" if k else "gradient")
        if run.out_of_time:
            run.record(case, {"not run": "out of time"})
            continue
        problem = problem_for(run, data, max(k, 1))
        measure = partial(products_case, k=k) if k else gradient_case
        found = measure(run, problem, data, rivals, memory=memory)
        found |= {"batch": problem.batch, "missing": missing}
        if k:
            found["error_bound"] = rounding_bound(data.network, problem.examples, mode)
        work = matrix_work(data.network)
        products = {"bridge": work["gradient"], "bridge warm": k * work["warm"]}
        products["bridge cold"] = products["bridge"] + products["bridge warm"]
        found["tflops"] = {
            who: 2e-12 * problem.examples * products[who] / seconds
            for who, seconds in found["seconds"].items()
            if who in products
        }
        found["share_of_matrix_rate"] = {who: rate / best_rate for who, rate in found["tflops"].items()}
        wrong = {who: error for who, error in found.get("errors", {}).items() if not error <= found["error_bound"]}
        run.record(case, found | ({"wrong": wrong} if wrong else {}))
        if wrong:
            raise WrongNumbersError(f"{case}: relative errors {wrong}, at most {found['error_bound']:.1e} is rounding")
        # the next batch is chosen by what is free
        problem = None
        for side in rivals:
            side.release()
        free_pool(data.where)


def gradient_case(run, problem, data, rivals, memory):
    batches = dict.fromkeys((problem.examples, problem.batch))

    def ways(side):
        return {f"{batch} examples": (lambda batch=batch: side.gradient(batch)) for batch in batches}

    return measured([bridge_side(problem, data.parameters, "bridge"), *rivals], ways, {}, run.seconds, memory)[0]


def products_case(run, problem, data, rivals, k, memory):
    rows, whole = data.rows[:k, :], problem.batch == problem.examples
    side = bridge_side(problem, data.parameters, "bridge warm" if whole else "bridge cold")
    extra = cold_and_warm(problem, data.parameters, rows) if whole else {}
    found, results = measured(
        [side, *rivals], lambda side: ways_of(side, problem.batch, problem.examples, rows), extra, run.seconds, memory
    )
    exact = [data.exact[0], data.exact[k - 1]]
    found["errors"] = {who: relative_error(result, exact) for who, result in results.items()}
    return found


def spectra(run, name, data):
    """Top eigenpairs and spectral density, by the bridge alone."""
    set_rounding(data.where, "fp32")
    size, count = run.size, run.size.eigenpairs
    jobs = {
        f"top {count} eigenpairs": lambda hessian: eigenpairs(hessian, count),
        f"spectral density, {size.probes} probes, {size.steps} steps": lambda hessian: density(hessian, size),
    }
    for what, job in jobs.items():
        case = f"{name}, fp32, {what}"
        if run.out_of_time:
            run.record(case, {"not run": "out of time"})
            continue
        problem = problem_for(run, data, 2)
        free_pool(problem.backend)
        try:
            started = time.perf_counter()
            found = job(problem.hessian(data.parameters))
            run.record(case, {"seconds": time.perf_counter() - started, "batch": problem.batch, **found})
        except Exception as error:
            run.record(case, {"failed": reason(error)})


def eigenpairs(hessian, count):
    """At 1e-3 of the largest eigenvalue, which float32 products resolve."""
    found = bridge.top_eigenpairs(hessian, count, rng=0, tolerance=1e-3, max_products=400)
    return {
        "values": [float(value) for value in found.values],
        "largest_residual": float(max(found.residuals)),
        "products": found.products,
        "converged": found.converged,
    }


def density(hessian, size):
    found = bridge.spectral_density(hessian, rng=0, probes=size.probes, steps=size.steps)
    return {"smallest_node": float(np.min(found.nodes)), "largest_node": float(np.max(found.nodes))}


def verdicts(cases):
    """The promises, held against the cases."""
    lines = []
    for case, found in cases.items():
        seconds = found.get("seconds")
        if not isinstance(seconds, dict) or "product" not in case or "wrong" in found:
            continue
        for rival in (who for who in seconds if not who.startswith("bridge")):
            for ours in (who for who in seconds if who.startswith("bridge")):
                ratio = seconds[rival] / seconds[ours]
                lines.append(f"{case}: {ours} faster than {rival}: {'yes' if ratio > 1 else 'no'} ({ratio:.2f})")
        for ours, share in found["share_of_matrix_rate"].items():
            if case.startswith("perceptron"):
                kept = "yes" if share >= PROMISED_SHARE else "no"
                lines.append(f"{case}: {ours} >= {PROMISED_SHARE:.0%} of matrix rate: {kept} ({share:.2f})")
    return lines


def failures(cases):
    """Cases in which the bridge failed, other than for lack of time or memory."""
    failed = []
    for case, found in cases.items():
        ways = [
            way for who, tried in found.get("tried", {}).items() if who.startswith("bridge") for way in tried.values()
        ]
        said = [text for text in (found.get("failed"), *ways) if isinstance(text, str)]
        if case in MODES or any(not text.startswith("out of memory") for text in said):
            failed.append(case)
    return failed


def go(run, names, modes):
    """Everything, fp32 first. Returns the exit status."""
    where = bridge.backend(run.backend, "float32")
    run.report = {"schema": SCHEMA, "machine": machine(where), "rates": {}, "rounding": {}, "cases": {}}
    run.report |= {"verdicts": [], "failures": [], "wrong": []}
    memory = available_memory(where) if where.name == "cupy" else 0
    for mode in modes:
        try:
            one_mode(run, names, mode, where, memory)
        except Exception as error:
            # without rates and rounding a mode says nothing; the other may
            traceback.print_exc()
            run.record(mode, {"failed": reason(error)})
    failed = [
        *(f"failed: {case}" for case in run.report["failures"]),
        *(f"wrong: {why}" for why in run.report["wrong"]),
    ]
    print(*run.report["verdicts"], *failed, sep="\n")
    return int(bool(failed))


def one_mode(run, names, mode, where, memory):
    set_rounding(where, mode)
    run.report["rounding"][mode] = found = rounding(where)
    if mode == "fp32" and any(kind["rounds_like"] != "fp32" for kind in found.values()):
        raise WrongNumbersError(f"float32 products are not float32: {found}")
    wide, examples = run.size.networks["perceptron"]
    run.report["rates"][mode] = rates = matrix_rates(where, wide(), examples, run.size.square)
    free_pool(where)
    for name in names:
        try:
            data = data_for(run, name)
            compare(run, name, mode, data, max(rates.values()), memory)
            if mode == "fp32":
                spectra(run, name, data)
        except WrongNumbersError as error:
            run.report["wrong"].append(str(error))
            run.save()
        except Exception as error:
            # the other networks may still say something
            traceback.print_exc()
            run.record(f"{name}, {mode}", {"failed": reason(error)})
        data = None
        free_pool(where)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=("cupy", "numpy"), default="cupy")
    parser.add_argument("--size", choices=tuple(SIZES), default="full")
    parser.add_argument("--only", nargs="+", choices=tuple(SIZES["full"].networks), help="networks; all by default")
    parser.add_argument("--modes", nargs="+", choices=MODES, help="fp32 and, on a card, tf32 by default")
    parser.add_argument("--rivals", nargs="*", default=("torch", "jax"), choices=("torch", "torch.compile", "jax"))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--seconds-per-case", type=float, metavar="S", help="spent on repetitions")
    parser.add_argument("--limit", type=float, default=540.0, metavar="S", help="no case begins after so many seconds")
    asked = parser.parse_args(arguments)
    size = SIZES[asked.size]
    seconds = size.seconds if asked.seconds_per_case is None else asked.seconds_per_case
    if not (0 < seconds < np.inf and 0 < asked.limit < np.inf):
        parser.error("seconds per case and limit must be positive and finite")
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
    try:
        bridge.backend(asked.backend)
    except ValueError as error:
        parser.error(str(error))
    run = Run(size, asked.backend, seconds, time.perf_counter() + asked.limit, tuple(asked.rivals), asked.json)
    modes = asked.modes or (MODES if asked.backend == "cupy" else MODES[:1])
    return go(run, asked.only or tuple(size.networks), modes)


if __name__ == "__main__":
    raise SystemExit(main())

"""Cost of the bridge's Hessian products on the CPU, in one run: against gradients, and together against one by one.

    python benchmarks/bridge_cpu.py                 the table, with PyTorch and JAX where installed
    python benchmarks/bridge_cpu.py --json FILE     also writes the figures with the machine described

Warm products are at the same parameters as the one before, cold ones at new parameters each time. Every figure is the
median of the ratios of timings taken in turn, so that it holds on a machine whose speed drifts.
"""

import argparse
import importlib.util
import itertools
import json
import statistics
import time
from pathlib import Path

import numpy as np
from bridge_card import machine
from bridge_sides import jax_side, torch_side

from quadlab import bridge

SMALL, WIDE = (64, 50, 50, 10), (64, 512, 512, 10)
VECTORS = 16
SINGLE_SIZES = ((SMALL, 1000), (WIDE, 64), (WIDE, 256), (WIDE, 1000))
TOGETHER_SIZES = ((WIDE, 16), (WIDE, 64), (WIDE, 256), (WIDE, 1000))
RIVALS = {"torch": torch_side, "jax": jax_side}


def setting(widths, examples):
    """A problem on random data, and parameters."""
    rng, network = np.random.default_rng(0), bridge.mlp(widths)
    labels = rng.integers(0, widths[-1], examples)
    problem = bridge.Problem(network, rng.normal(size=(examples, widths[0])), labels, loss="cross_entropy")
    return problem, network.initial(1)


def moved(point):
    """Parameters that differ each time they are asked for, by too little to change the cost of anything."""
    steps = itertools.count(1)
    return lambda: point * (1 + 1e-9 * next(steps))


def single_jobs(problem, point):
    """A gradient, and a product with one vector: at new parameters, and at those of the product before."""
    fresh, vector = moved(point), np.random.default_rng(2).normal(size=problem.dimension)
    jobs = {
        "gradient": (fresh, problem.gradient),
        "cold": (fresh, lambda at: problem.hessian_product(at, vector)),
        "warm": (lambda: point, lambda at: problem.hessian_product(at, vector)),
    }
    return jobs, {"cold product / gradient": ("cold", "gradient"), "warm product / gradient": ("warm", "gradient")}


def together_jobs(problem, point):
    """Products with 16 vectors, one by one and together."""
    fresh, vectors = moved(point), np.random.default_rng(2).normal(size=(problem.dimension, VECTORS))
    columns = [np.ascontiguousarray(column) for column in vectors.T]

    def separate_cold(points):
        return [problem.hessian_product(at, column) for at, column in zip(points, columns, strict=True)]

    jobs = {
        "separate cold": (lambda: [fresh() for _ in columns], separate_cold),
        "together cold": (fresh, lambda at: problem.hessian_product(at, vectors)),
        "separate warm": (lambda: point, lambda at: [problem.hessian_product(at, column) for column in columns]),
        "together warm": (lambda: point, lambda at: problem.hessian_product(at, vectors)),
    }
    for name, side in sides(problem, point).items():
        jobs[name] = (lambda: None, rival_products(side, problem, vectors))
    ratios = {
        f"{VECTORS} separate / together, cold": ("separate cold", "together cold"),
        f"{VECTORS} separate / together, warm": ("separate warm", "together warm"),
    }
    return jobs, ratios | {f"{name} / together, cold": (name, "together cold") for name in jobs.keys() & RIVALS.keys()}


def sides(problem, point):
    """PyTorch and JAX on the same numbers, where they are installed."""
    present = [name for name in RIVALS if importlib.util.find_spec(name)]
    if "jax" in present:
        import jax

        jax.config.update("jax_enable_x64", True)
    return {name: RIVALS[name](problem, point) for name in present}


def rival_products(side, problem, vectors):
    run = side.products(np.ascontiguousarray(vectors.T), problem.examples, VECTORS)
    return lambda _: run()


def seconds_of(jobs, repeats):
    """Seconds of each job, taken in turn; what makes a job's parameters is not timed.

    A warm job runs once untimed first, since the others have left the problem at their parameters.
    """
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(repeats + 1):
        for name, (make, job) in jobs.items():
            argument = make()
            if "warm" in name:
                job(argument)
            started = time.perf_counter()
            job(argument)
            # the first round fetches memory and compiles
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def figures(repeats):
    """One row for each network, number of examples and ratio."""
    rows = []
    for sizes, build in ((SINGLE_SIZES, single_jobs), (TOGETHER_SIZES, together_jobs)):
        for widths, examples in sizes:
            jobs, ratios = build(*setting(widths, examples))
            seconds = seconds_of(jobs, repeats)
            for text, (above, below) in ratios.items():
                pairs = [a / b for a, b in zip(seconds[above], seconds[below], strict=True)]
                rows.append(
                    {
                        "network": "-".join(map(str, widths)),
                        "examples": examples,
                        "ratio": text,
                        "median": statistics.median(pairs),
                        "least": min(pairs),
                        "most": max(pairs),
                        "seconds": [statistics.median(seconds[above]), statistics.median(seconds[below])],
                    }
                )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    for name in RIVALS:
        if not importlib.util.find_spec(name):
            print(f"{name}: not installed")
    rows = figures(arguments.repeats)
    for row in rows:
        where = f"{row['network']:<15} {row['examples']:>5} examples  {row['ratio']:<32}"
        print(f"{where} {row['median']:6.2f}   ({row['least']:.2f} to {row['most']:.2f})")
    if arguments.json:
        report = {"machine": machine(bridge.backend("numpy")), "repeats": arguments.repeats, "figures": rows}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

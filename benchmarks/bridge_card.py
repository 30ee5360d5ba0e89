"""What the bridge's benchmark runs on: the machine, its matrix rate and rounding, and what networks need of these."""

import importlib.metadata
import os
import platform
import statistics
import subprocess
import time
from math import prod, sqrt
from pathlib import Path

import numpy as np

from quadlab import bridge
from quadlab.bridge.network import Parameter

__all__ = [
    "free_pool",
    "held_by_pool",
    "machine",
    "matrix_rates",
    "matrix_work",
    "rounding",
    "rounding_bound",
    "set_rounding",
    "wait",
]

PACKAGES = ("numpy", "cupy-cuda12x", "cupy-cuda13x", "torch", "jax", "jaxlib", "array-api-compat")
# halfway, in digits, between the roundings 2^-24 and 2^-11 of factors
FP32_OR_TF32 = 2.0**-17.5


def machine(where):
    """Hardware and versions; nothing that names the host."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    words = {"processor": _processor(), "cores": cores, "python": platform.python_version(), "versions": versions}
    if where.name != "cupy":
        return words
    import cupy

    runtime = cupy.cuda.runtime
    card = runtime.getDeviceProperties(0)
    return words | {
        "card": card["name"].decode(),
        "card_memory_gib": round(card["totalGlobalMem"] / 2**30, 1),
        "multiprocessors": card["multiProcessorCount"],
        "driver": _driver(),
        "cuda_of_driver": runtime.driverGetVersion(),
        "cuda_of_cupy": runtime.runtimeGetVersion(),
    }


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _driver():
    question = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(question, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    # a line for each card, of which one is used
    return next(iter(said.split()), "unknown")


def wait(where):
    """Until the device has done all it was given."""
    if where.name == "cupy":
        import cupy

        cupy.cuda.runtime.deviceSynchronize()


def set_rounding(where, mode):
    """What CuPy's float32 products round to: "fp32" or "tf32", by cuBLAS's mode.

    CuPy's own switch CUPY_TF32 reaches products of two matrices only, not those of stacks.
    """
    if where.name == "cupy":
        import cupy
        from cupy_backends.cuda.libs import cublas

        default_math, tf32_math = 0, 3
        cublas.setMathMode(cupy.cuda.Device().cublas_handle, tf32_math if mode == "tf32" else default_math)


def free_pool(where):
    """Give back the memory that CuPy keeps for later."""
    if where.name == "cupy":
        import cupy

        cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()


def held_by_pool(where):
    """Bytes on the device that CuPy uses or keeps."""
    if where.name != "cupy":
        return 0
    import cupy

    return cupy.get_default_memory_pool().total_bytes()


def rounding(where, size=256):
    """Relative errors of the three kinds of product that the bridge makes, and what their factors were rounded to."""
    xp, generator = where.namespace, np.random.default_rng(0)
    x, y = generator.standard_normal((2, 4, size, size)).astype(np.float32)
    device_x, device_y = where.array(x), where.array(y)
    products = {
        "two matrices": (xp.matmul(device_x[0, ...], device_y[0, ...]), x[0].astype(float) @ y[0]),
        "a matrix and a stack": (xp.matmul(device_x[0, ...], device_y), x[0].astype(float) @ y),
        "two stacks": (xp.matmul(device_x, device_y), x.astype(float) @ y),
    }
    found = {}
    for name, (product, exact) in products.items():
        error = float(np.linalg.norm(bridge.host(product) - exact) / np.linalg.norm(exact))
        found[name] = {"relative_error": error, "rounds_like": "fp32" if error < FP32_OR_TF32 else "tf32"}
    return found


def matrix_rates(where, network, examples, square, seconds=0.5):
    """TFLOP/s of single products: the three of the network's widest layer, and one of square matrices."""
    xp, generator = where.namespace, np.random.default_rng(0)
    widest = max((step.arguments[1].shape for step in network.steps if step.operation.name == "dense"), key=prod)
    rates = {}

    def random(*shape):
        return where.array(generator.standard_normal(shape, dtype=np.float32))

    def measure(name, left, right):
        times: list[float] = []
        xp.matmul(left, right)
        wait(where)
        ends = time.perf_counter() + seconds
        while len(times) < 3 or (len(times) < 100 and time.perf_counter() < ends):
            started = time.perf_counter()
            xp.matmul(left, right)
            wait(where)
            times.append(time.perf_counter() - started)
        rates[name] = 2e-12 * prod(left.shape) * right.shape[1] / statistics.median(times)

    inputs, weights, cotangents = random(examples, widest[0]), random(*widest), random(examples, widest[1])
    measure(f"inputs {inputs.shape} @ weights {weights.shape}", inputs, weights)
    measure(f"cotangents {cotangents.shape} @ weights.T", cotangents, xp.matrix_transpose(weights))
    measure("inputs.T @ cotangents", xp.matrix_transpose(inputs), cotangents)
    del inputs, weights, cotangents
    measure(f"square {square}", random(square, square), random(square, square))
    return rates


def matrix_work(network):
    """Multiply-adds of matrix products that one example needs: for the gradient, and for a vector of a warm product.

    A product of two arguments costs one for the value and one more in the gradient for each argument that depends on
    parameters; in the Hessian product one tangent and one cotangent pulled back for each of these, and one more for
    each that the other argument's tangent changes: 3 and 6 in all, or 2 and 2 for a layer on the data.

    >>> matrix_work(bridge.mlp([3, 5, 2]))
    {'gradient': 60, 'warm': 90}
    """
    moving: set[int] = set()
    gradient = warm = 0
    for step in network.steps:
        moves = [isinstance(a, Parameter) or a.number in moving for a in step.arguments]
        if any(moves):
            moving.add(step.output.number)
        if step.operation.name in ("dense", "matmul"):
            first, second = step.arguments[:2]
            size, count = prod(first.shape) * second.shape[-1], sum(moves[:2])
            gradient += size * (1 + count)
            warm += size * (2 * count + count * (count - 1))
    return {"gradient": gradient, "warm": warm}


def rounding_bound(network, examples, mode):
    """How far a float32 Hessian product may lie from the float64 one, relative to its norm.

    About 4 products follow each other per layer. Each rounds two factors to 2^-11 in tf32 (2^-24 is nothing in fp32)
    and sums L terms, whose roundings of 2^-24 add up as a random walk: 4 layers (2 * 2^-11 + sqrt(L) 2^-24), with the
    longest sum L over inputs, or over examples and places.
    """
    dense = [step for step in network.steps if step.operation.name == "dense"]
    longest = max(max(step.arguments[0].shape[-1], examples * prod(step.output.shape[:-1])) for step in dense)
    return 4 * len(dense) * ((2 * 2.0**-11 if mode == "tf32" else 0) + sqrt(longest) * 2.0**-24)

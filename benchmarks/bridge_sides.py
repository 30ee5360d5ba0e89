"""The sides of the bridge's benchmark: the bridge, and its networks in PyTorch and in JAX, each library's way.

All share the flat parameters, data and loss. A convolution is the library's own, the Hessian product is `vmap` of `jvp`
of `grad`. Attention is written as products and a softmax, since fused kernels have no forward derivative.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from bridge_card import free_pool, held_by_pool, set_rounding, wait

from quadlab import bridge
from quadlab.bridge.network import Parameter

__all__ = ["Side", "bridge_side", "cold_and_warm", "jax_side", "torch_side"]


@dataclass(frozen=True)
class Side:
    """One library's way to the same numbers.

    gradient(batch) and products(rows, batch, together) return functions without arguments that wait for their result;
    batch is how many examples go through the network at once, together how many vectors; rows (k, n) is an array of the
    bridge's backend; numbers(result) is on the host.
    precision("fp32" or "tf32") sets what matrix products may round to; held() is the bytes of device memory kept.
    """

    name: str
    gradient: Callable
    products: Callable
    numbers: Callable
    precision: Callable
    release: Callable
    held: Callable


def bridge_side(problem, parameters, name):
    """The bridge, with products at the same parameters each time: warm where the batch holds all examples."""
    where, xp = problem.backend, problem.backend.namespace

    def waiting(function):
        def call():
            result = function()
            wait(where)
            return result

        return call

    def products(rows, batch, together):
        return waiting(
            lambda: xp.permute_dims(problem.hessian_product(parameters, xp.permute_dims(rows, (1, 0))), (1, 0))
        )

    return Side(
        name,
        lambda batch: waiting(lambda: problem.gradient(parameters)),
        products,
        bridge.host,
        lambda mode: set_rounding(where, mode),
        lambda: free_pool(where),
        lambda: held_by_pool(where),
    )


def cold_and_warm(problem, parameters, rows):
    """A product at parameters that the call before did not have, and one at those that the cold one had."""
    where, xp = problem.backend, problem.backend.namespace
    here, other = [parameters], [parameters * (1 + 2.0**-10)]

    def warm():
        problem.hessian_product(here[0], xp.permute_dims(rows, (1, 0)))
        wait(where)

    def cold():
        here[0], other[0] = other[0], here[0]
        warm()

    return {"bridge cold": cold, "bridge warm": warm}


class Patches(NamedTuple):
    """An image and the windows a convolution sees, until the dense layer that makes the convolution of it."""

    image: Any
    size: int
    stride: int
    padding: int


def apply(network, table, flat, inputs):
    """The network's outputs, with a library's operations by name."""
    arrays = [
        flat[where].reshape(parameter.shape)
        for where, parameter in zip(network.slices(), network.parameters, strict=True)
    ]
    values = {0: inputs}
    for step in network.steps:
        arguments = [arrays[a.number] if isinstance(a, Parameter) else values[a.number] for a in step.arguments]
        values[step.output.number] = table[step.operation.name](*arguments, **step.options)
    return values[network.output.number]


def shared_operations():
    """What reads the same in both libraries."""
    return {
        "patches": lambda x, size, stride=1, padding=0: Patches(x, size, stride, padding),
        "gain": lambda x, gain: x * gain,
        "shift": lambda x, shift: x + shift,
        "add": lambda x, y: x + y,
        "matmul": lambda x, y: x @ y,
        "swap": lambda x: x.swapaxes(-1, -2),
        "scale": lambda x, factor: x * factor,
        "reshape": lambda x, shape: x.reshape(x.shape[0], *shape),
        "mean": lambda x: x.mean(tuple(range(1, x.ndim - 1))),
        "split heads": lambda x, heads: x.reshape(*x.shape[:2], heads, x.shape[2] // heads).swapaxes(1, 2),
        "merge heads": lambda x: x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3]),
        "average pool": lambda x, size: x.reshape(
            x.shape[0], x.shape[1] // size, size, x.shape[2] // size, size, x.shape[3]
        ).mean((2, 4)),
    }


def torch_operations():
    import torch
    from torch.nn import functional

    def dense(x, weights, bias):
        if not isinstance(x, Patches):
            return functional.linear(x, weights.T, bias)
        kernel = weights.reshape(x.size, x.size, x.image.shape[-1], -1).permute(3, 2, 0, 1)
        image = x.image.permute(0, 3, 1, 2)
        return functional.conv2d(image, kernel, bias, stride=x.stride, padding=x.padding).permute(0, 2, 3, 1)

    return shared_operations() | {
        "dense": dense,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "silu": functional.silu,
        "gelu": functional.gelu,
        "layer norm": lambda x: functional.layer_norm(x, x.shape[-1:], eps=1e-5),
        "softmax": lambda x: torch.softmax(x, -1),
    }


def jax_operations():
    import jax
    from jax import lax

    def dense(x, weights, bias):
        if not isinstance(x, Patches):
            return x @ weights + bias
        kernel, edge = weights.reshape(x.size, x.size, x.image.shape[-1], -1), (x.padding, x.padding)
        convolved = lax.conv_general_dilated(
            x.image, kernel, (x.stride, x.stride), (edge, edge), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return convolved + bias

    return shared_operations() | {
        "dense": dense,
        "tanh": jax.numpy.tanh,
        "relu": jax.nn.relu,
        "silu": jax.nn.silu,
        "gelu": lambda x: jax.nn.gelu(x, approximate=False),
        "layer norm": lambda x: jax.nn.standardize(x, axis=-1, epsilon=1e-5),
        "softmax": jax.nn.softmax,
    }


def torch_side(problem, parameters, compiled=False):
    """PyTorch on the problem's inputs and targets, which it shares without a copy."""
    import torch

    table = torch_operations()
    inputs, targets, flat = (torch.from_dlpack(a) for a in (problem.inputs, problem.targets, parameters))
    on_card = inputs.is_cuda

    def loss(w, x, y):
        outputs = apply(problem.network, table, w, x)
        if problem.loss_name == "cross_entropy":
            return -(y * torch.log_softmax(outputs, -1)).sum() / problem.examples
        return (outputs - y).square().sum() / (2 * problem.examples)

    gradient = torch.func.grad(loss)

    def product(w, vectors, x, y):
        def along(v):
            return torch.func.jvp(lambda at: gradient(at, x, y), (w,), (v,))[1]

        return along(vectors[0])[None] if vectors.shape[0] == 1 else torch.func.vmap(along)(vectors)

    if compiled:
        gradient, product = torch.compile(gradient), torch.compile(product)

    def summed(function, batch):
        total = None
        for start in range(0, problem.examples, batch):
            part = function(inputs[start : start + batch], targets[start : start + batch])
            total = part if total is None else total.add_(part)
        if on_card:
            torch.cuda.synchronize()
        return total

    def products(rows, batch, together):
        groups = torch.from_dlpack(rows).split(together)

        def run():
            parts = [summed(lambda x, y, v=vectors: product(flat, v, x, y), batch) for vectors in groups]
            return parts[0] if len(parts) == 1 else torch.cat(parts)

        return run

    def precision(mode):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = mode == "tf32"

    return Side(
        "torch.compile" if compiled else "torch",
        lambda batch: lambda: summed(lambda x, y: gradient(flat, x, y), batch),
        products,
        lambda result: result.detach().cpu().numpy(),
        precision,
        torch.cuda.empty_cache if on_card else lambda: None,
        torch.cuda.memory_reserved if on_card else lambda: 0,
    )


def jax_side(problem, parameters):
    """JAX on the problem's inputs and targets.

    On a card its memory goes back after each call, since XLA's own pool never shrinks and would starve the others;
    set `XLA_PYTHON_CLIENT_ALLOCATOR` to have it otherwise.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("XLA_PYTHON_CLIENT_ALLOCATOR", "platform")
    import jax

    def shared(array):
        return jax.numpy.from_dlpack(array)

    table = jax_operations()
    inputs, targets, flat = shared(problem.inputs), shared(problem.targets), shared(parameters)
    if problem.backend.name == "cupy" and inputs.device.platform not in ("gpu", "cuda"):
        raise RuntimeError(f"JAX has no GPU, only {inputs.device.platform}")

    def loss(w, x, y):
        outputs = apply(problem.network, table, w, x)
        if problem.loss_name == "cross_entropy":
            return -(y * jax.nn.log_softmax(outputs)).sum() / problem.examples
        return ((outputs - y) ** 2).sum() / (2 * problem.examples)

    gradient = jax.jit(jax.grad(loss))

    def product(w, vectors, x, y):
        def along(v):
            return jax.jvp(lambda at: jax.grad(loss)(at, x, y), (w,), (v,))[1]

        return along(vectors[0])[None] if vectors.shape[0] == 1 else jax.vmap(along)(vectors)

    product = jax.jit(product)

    def summed(function, batch):
        total = None
        for start in range(0, problem.examples, batch):
            # a slice of all would be a copy
            whole = batch >= problem.examples
            x, y = (inputs, targets) if whole else (inputs[start : start + batch], targets[start : start + batch])
            total = function(x, y) if total is None else total + function(x, y)
        return total

    def products(rows, batch, together):
        vectors = shared(rows)
        # slices are copies in JAX: made once, outside the timing
        whole = together >= vectors.shape[0]
        groups = [vectors] if whole else [vectors[i : i + together] for i in range(0, vectors.shape[0], together)]

        def run():
            parts = [summed(lambda x, y, v=group: product(flat, v, x, y), batch) for group in groups]
            return (parts[0] if len(parts) == 1 else jax.numpy.concatenate(parts)).block_until_ready()

        return run

    def precision(mode):
        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if mode == "tf32" else "highest")

    return Side(
        "jax",
        lambda batch: lambda: summed(lambda x, y: gradient(flat, x, y), batch).block_until_ready(),
        products,
        np.asarray,
        precision,
        lambda: None,
        lambda: 0,
    )

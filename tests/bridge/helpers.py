"""Networks, problems and differences that the bridge's tests share."""

import os
from itertools import pairwise

import numpy as np
import pytest

from quadlab import bridge
from quadlab.bridge.arrays import Backend
from quadlab.bridge.linearization import Linearization
from quadlab.bridge.losses import LOSSES
from quadlab.bridge.operations import ACTIVATIONS

IMAGE = (4, 4, 1)


def small_networks():
    """Every network with every activation, small: name to network."""
    networks = {"mlp 3-2": bridge.mlp([3, 2])}
    for name in ACTIVATIONS:
        for hidden in ([4], [4, 3], [4, 3, 3]):
            widths = [3, *hidden, 2]
            networks[f"mlp {'-'.join(map(str, widths))} {name}"] = bridge.mlp(widths, name)
        networks[f"residual {name}"] = bridge.residual_network(IMAGE, (2, 3), outputs=3, activation=name)
        networks[f"transformer {name}"] = bridge.vision_transformer(
            IMAGE, width=4, layers=1, outputs=3, activation=name
        )
    return networks


NETWORKS = small_networks()
SHORT = {name: NETWORKS[name] for name in ("mlp 3-4-3-2 gelu", "residual tanh", "transformer silu")}


def data(network, loss="squared_error", examples=5, seed=7):
    """Random inputs with labels, or with numbers for the squared error."""
    rng = np.random.default_rng(seed)
    classes = network.output.shape[0]
    inputs = rng.normal(size=(examples, *network.input_shape))
    labels = rng.integers(0, classes, examples)
    return inputs, labels if loss == "cross_entropy" else rng.normal(size=(examples, classes))


def problem_of(network, loss="squared_error", examples=5, **options):
    """A problem on random data."""
    return bridge.Problem(network, *data(network, loss, examples), loss=loss, **options)


def point_of(network, seed=11):
    """Parameters at which no bias is zero."""
    return network.initial(np.random.default_rng(seed)) + 0.1 * np.random.default_rng(seed + 1).normal(
        size=network.dimension
    )


def directions(network, count, seed=13):
    """Random directions of length one, (n, count)."""
    vectors = np.random.default_rng(seed).normal(size=(network.dimension, count))
    return vectors / np.linalg.norm(vectors, axis=0)


def richardson(function, step, levels=5):
    """The derivative of a function of one number at zero: central differences, extrapolated to order 2 * levels."""
    steps = [step / 2**level for level in range(levels)]
    column = [(function(h) - function(-h)) / (2 * h) for h in steps]
    for order in range(1, levels):
        column = [b + (b - a) / (4**order - 1) for a, b in pairwise(column)]
    return column[0]


def relu_signs(problem, parameters):
    """Which inputs of the network's ReLUs are positive, as one array; empty without ReLU."""
    arrays = [
        parameters[where].reshape(parameter.shape)
        for where, parameter in zip(problem.network.slices(), problem.network.parameters, strict=True)
    ]
    at = Linearization(
        problem.network, problem.backend.namespace, arrays, problem.inputs, problem.targets, LOSSES["squared_error"], 1
    )
    pairs = zip(problem.network.steps, at.points, strict=True)
    signs = [(point.arguments[0] > 0).ravel() for step, point in pairs if step.operation is ACTIVATIONS["relu"]]
    return np.concatenate(signs) if signs else np.zeros(0, dtype=bool)


def strict_backend(dtype="float64"):
    """array-api-strict on a device that is not the default: copies to the host that nobody asked for fail."""
    import array_api_strict

    return Backend(array_api_strict, array_api_strict.Device("device1"), dtype)


def card_backend():
    """CuPy on a usable device; else the test is skipped, or fails if QUADLAB_REQUIRE_GPU=1."""
    try:
        return bridge.backend("cupy")
    except ValueError as error:
        if os.environ.get("QUADLAB_REQUIRE_GPU") == "1":
            pytest.fail(f"QUADLAB_REQUIRE_GPU=1, but {error}")
        pytest.skip(str(error))

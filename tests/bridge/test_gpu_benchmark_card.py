"""The benchmark's card and its rivals: how products round, what a card is asked, and that all compute the same."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from quadlab import bridge


@pytest.fixture(autouse=True)
def _on_path(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")


def module(name):
    return importlib.import_module(name)


def cut_to_11_bits(array):
    fraction, exponent = np.frexp(array)
    return np.ldexp(np.round(fraction * 2**11) / 2**11, exponent).astype(np.float32)


def test_rounding_tells_fp32_from_tf32():
    rounding = module("bridge_card").rounding
    assert {kind["rounds_like"] for kind in rounding(bridge.backend("numpy", "float32")).values()} == {"fp32"}
    coarse = SimpleNamespace(matmul=lambda x, y: cut_to_11_bits(x) @ cut_to_11_bits(y))
    where = SimpleNamespace(namespace=coarse, array=lambda values: values)
    assert {kind["rounds_like"] for kind in rounding(where).values()} == {"tf32"}


def test_on_a_card_the_driver_and_the_products_mode_are_asked_for(monkeypatch):
    card, modes, waited = module("bridge_card"), [], []
    runtime = SimpleNamespace(
        getDeviceProperties=lambda number: {"name": b"A card", "totalGlobalMem": 3 * 2**30, "multiProcessorCount": 7},
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 12090,
        deviceSynchronize=lambda: waited.append(True),
    )
    pool = SimpleNamespace(free_all_blocks=lambda: modes.append("freed"), total_bytes=lambda: 5)
    cuda = SimpleNamespace(runtime=runtime, Device=lambda: SimpleNamespace(cublas_handle=11))
    libraries = SimpleNamespace(cublas=SimpleNamespace(setMathMode=lambda handle, mode: modes.append((handle, mode))))
    fake = SimpleNamespace(cuda=cuda, get_default_memory_pool=lambda: pool, get_default_pinned_memory_pool=lambda: pool)
    for name, made in {"cupy": fake, "cupy_backends": fake, "cupy_backends.cuda": cuda}.items():
        monkeypatch.setitem(sys.modules, name, made)
    monkeypatch.setitem(sys.modules, "cupy_backends.cuda.libs", libraries)
    where = SimpleNamespace(name="cupy")
    assert {"card": "A card", "card_memory_gib": 3.0, "cuda_of_driver": 13000}.items() <= card.machine(where).items()
    card.set_rounding(where, "tf32")
    card.set_rounding(where, "fp32")
    card.free_pool(where)
    card.wait(where)
    # CUBLAS_TF32_TENSOR_OP_MATH and CUBLAS_DEFAULT_MATH
    assert modes == [(11, 3), (11, 0), "freed", "freed"]
    assert waited == [True]
    assert card.held_by_pool(where) == 5


def test_rounding_bound_lies_between_what_roundings_do_and_what_a_wrong_product_does():
    card, rng = module("bridge_card"), np.random.default_rng(0)
    network, examples = bridge.mlp([20, 30, 30, 5]), 64
    data = rng.standard_normal((examples, 20)), rng.integers(0, 5, examples)
    weights, vector = network.initial(rng), rng.standard_normal(network.dimension)
    exact, rounded = (
        bridge.Problem(network, *data, loss="cross_entropy", dtype=dtype) for dtype in ("float64", "float32")
    )
    truth = exact.hessian_product(weights, vector)
    error = np.linalg.norm(rounded.hessian_product(weights, vector) - truth) / np.linalg.norm(truth)
    other = np.linalg.norm(exact.gauss_newton_product(weights, vector) - truth) / np.linalg.norm(truth)
    assert (
        error < card.rounding_bound(network, examples, "fp32") < card.rounding_bound(network, examples, "tf32") < other
    )


# PyTorch uses its own deprecated function when jvp is first called
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize(
    "network",
    [
        bridge.mlp([5, 7, 6, 3], "gelu"),
        bridge.residual_network((8, 8, 2), (3, 4), outputs=3, activation="silu"),
        bridge.vision_transformer((8, 8, 2), patch=4, width=6, outputs=3),
    ],
    ids=lambda network: network.name,
)
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_rivals_compute_the_same_function(library, network, loss):
    pytest.importorskip(library)
    card, sides, rng = module("bridge_card"), module("bridge_sides"), np.random.default_rng(0)
    data = rng.standard_normal((7, *network.input_shape)), rng.integers(0, 3, 7)
    problem = bridge.Problem(network, *data, loss=loss, dtype="float32")
    parameters = network.initial(rng).astype(np.float32)
    rows = rng.standard_normal((5, network.dimension)).astype(np.float32)
    side = {"torch": sides.torch_side, "jax": sides.jax_side}[library](problem, parameters)
    side.precision("fp32")
    exact = bridge.Problem(network, *data, loss=loss)
    bound = card.rounding_bound(network, 7, "fp32")
    for batch, together in ((7, 5), (3, 2), (7, 1)):
        gradient = side.numbers(side.gradient(batch)())
        truth = exact.gradient(parameters)
        assert np.linalg.norm(gradient - truth) < bound * np.linalg.norm(truth)
        products = side.numbers(side.products(rows, batch, together)())
        truth = exact.hessian_product(parameters, rows.T).T
        assert np.linalg.norm(products - truth) < bound * np.linalg.norm(truth)

"""Choosing a backend: what is said where CuPy or its device is missing, and what is imported."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import strict_backend

from quadlab import bridge
from quadlab.bridge import arrays
from quadlab.bridge.arrays import (
    Backend,
    available_memory,
    backend_of,
    contiguous,
    error_function,
    matrix_products,
    norm,
    unit,
)
from quadlab.bridge.operations import LAYER_NORM


class Trial:
    """An array of a made-up CuPy whose product is off, or fails."""

    def __init__(self, total):
        self.total = total

    def __matmul__(self, other):
        if self.total is None:
            raise RuntimeError("libcublas.so.12 not found")
        return self

    def __add__(self, other):
        return self

    def sum(self):
        return self.total


def made_up_cupy(devices, total=12.0):
    def count():
        if devices is None:
            raise RuntimeError("driver too old")
        return devices

    runtime = SimpleNamespace(getDeviceCount=count)
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime), ndarray=Trial, ones=lambda shape: Trial(total))


MISSING = [
    (made_up_cupy(0), "CuPy finds no device"),
    (made_up_cupy(None), r"a trial product on the device fails \(RuntimeError: driver too old\)"),
    (made_up_cupy(1, None), r"a trial product on the device fails \(RuntimeError: libcublas.so.12 not found\)"),
    (made_up_cupy(1, 11.0), "a trial product on the device is wrong"),
]


@pytest.mark.parametrize(("module", "reason"), MISSING)
def test_cupy_without_a_device_says_what_is_missing(monkeypatch, module, reason):
    monkeypatch.setitem(sys.modules, "cupy", module)
    assert_refused(reason)


def test_cupy_that_cannot_be_imported(monkeypatch, tmp_path):
    (tmp_path / "cupy.py").write_text('raise ImportError("libnvrtc.so.12 is missing")')
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert_refused(r"CuPy cannot be imported \(libnvrtc.so.12 is missing\)")


def assert_refused(reason):
    with pytest.raises(ValueError, match=rf"'cupy' has no usable device: {reason}.*; install quadlab\[cuda12\] or"):
        bridge.backend("cupy")
    with pytest.raises(ValueError, match="'cupy' has no usable device"):
        bridge.Problem(bridge.mlp([1, 1]), [[1.0]], [[0.0]], backend="cupy")
    assert bridge.backend("auto").name == "numpy"
    assert bridge.Problem(bridge.mlp([1, 1]), [[1.0]], [[0.0]], backend="auto").loss([2.0, 0.0]) == 2.0


def test_the_backend_of_a_card_is_that_of_its_arrays(monkeypatch):
    device, library = object(), SimpleNamespace(__name__="array_api_compat.cupy")
    monkeypatch.setattr(arrays, "_why_no_cupy", lambda: None)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(Device=lambda: device)))
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", library)
    monkeypatch.setattr("array_api_compat.cupy", library, raising=False)
    monkeypatch.setattr("array_api_compat.array_namespace", lambda array: library)
    where = bridge.backend("cupy", "float32")
    assert where.name == "cupy"
    assert backend_of(SimpleNamespace(device=device, dtype="float32")) == where


def test_wrong_names_are_refused():
    with pytest.raises(ValueError, match='backend must be "numpy", "cupy" or "auto", got \'torch\''):
        bridge.backend("torch")
    with pytest.raises(ValueError, match="dtype must be one of float64, float32, got 'float16'"):
        bridge.backend("numpy", "float16")


def test_a_backend_of_ones_own_keeps_its_device():
    where = strict_backend()
    assert bridge.backend(where, "float32") == Backend(where.namespace, where.device, "float32")
    array = bridge.backend(where, "float32").array([1, 2])
    assert backend_of(array) == bridge.backend(where, "float32")
    assert backend_of(where.zeros((2,))) == where
    assert (where.itemsize, bridge.backend(where, "float32").itemsize) == (8, 4)
    assert bridge.backend("numpy").array([1, 2], dtype="int64").dtype == np.int64


@pytest.mark.parametrize(
    ("dtype", "sizes"), [("float64", [5e-324, 1e-200, 1, 1e300]), ("float32", [1e-44, 1e-23, 1e37])]
)
def test_norms_of_any_size(dtype, sizes):
    for where in (bridge.backend("numpy", dtype), strict_backend(dtype)):
        for size in sizes:
            vector = where.array(np.array([3.0, 0.0, -4.0]) * size)
            assert norm(vector) == pytest.approx(
                5 * size, rel=4 * float(np.finfo(dtype).eps), abs=0 if size > 1e-40 else 1e-45
            )
            ours = bridge.host(unit(vector))
            assert ours == pytest.approx([0.6, 0, -0.8], rel=4 * float(np.finfo(dtype).eps) if size > 1e-40 else 0.1)
        assert norm(where.zeros((3,))) == 0
        assert not bridge.host(unit(where.zeros((3,)))).any()
    assert norm(np.array([1.0, np.inf])) == np.inf


@pytest.mark.parametrize(
    ("dtype", "size"), [("float64", 1e200), ("float32", 1e25), ("float32", 1.0), ("float64", 1e-9)]
)
def test_layers_are_normalised_whatever_their_size(dtype, size):
    rows = np.random.default_rng(0).standard_normal((3, 8)) * size
    found = LAYER_NORM.value(bridge.backend().namespace, rows.astype(dtype))
    scaled = (rows - rows.mean(axis=1, keepdims=True)) / size
    expected = scaled / np.sqrt(np.mean(scaled**2, axis=1, keepdims=True) + (np.sqrt(1e-5) / size) ** 2)
    assert found == pytest.approx(expected, abs=20 * float(np.finfo(dtype).eps))


def test_error_function_and_order_in_memory():
    # erf(1) = 2/sqrt(pi) sum (-1)^n / (n! (2n+1))
    terms, factorial = 0.0, 1.0
    for n in range(30):
        factorial *= max(n, 1)
        terms += (-1) ** n / (factorial * (2 * n + 1))
    for where in (bridge.backend("numpy"), strict_backend()):
        value = error_function(where.array([1.0]))
        assert backend_of(value) == backend_of(where.array([1.0]))
        assert bridge.host(value)[0] == pytest.approx(2 / np.sqrt(np.pi) * terms, rel=1e-15)
    table = np.arange(6.0).reshape(2, 3).T
    assert contiguous(table).flags.c_contiguous
    np.testing.assert_array_equal(contiguous(table), table)
    strict = strict_backend().zeros((2,))
    assert contiguous(strict) is strict


@pytest.mark.parametrize("stacked", [(True, True), (True, False), (False, True)])
def test_products_of_stacks_on_a_card_are_taken_one_by_one(monkeypatch, stacked):
    rng, calls = np.random.default_rng(0), []
    x, y = (rng.normal(size=(5, *size) if many else size) for many, size in zip(stacked, ((2, 3), (3, 4)), strict=True))

    def dot(a, b, out):
        calls.append((a.shape, b.shape))
        return np.dot(a, b, out=out)

    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(empty=np.empty, dot=dot))
    monkeypatch.setattr("array_api_compat.is_cupy_array", lambda array: True)
    found = matrix_products(np, x, y)
    np.testing.assert_allclose(found, x @ y, rtol=0, atol=1e-14)
    assert calls == [((2, 3), (3, 4))] * 5


def test_memory_of_this_machine():
    assert 2**20 < available_memory(bridge.backend("numpy")) < 2**50


def test_importing_the_bridge_imports_no_other_library():
    code = (
        "import sys, quadlab.bridge as bridge; bridge.Problem(bridge.mlp([1, 1]), [[1.0]], [[0.0]]).gradient([1.0, 0]);"
        "print(*{'cupy', 'cupyx', 'sympy', 'numba', 'matplotlib', 'torch', 'jax', 'sklearn'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

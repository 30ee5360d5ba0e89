"""Everything a problem does away from the host: on array-api-strict's second device, and on CuPy where there is one."""

import numpy as np
import pytest
from helpers import NETWORKS, card_backend, directions, point_of, problem_of, strict_backend

from quadlab import bridge
from quadlab.bridge.arrays import available_memory, backend_of
from quadlab.bridge.losses import LOSSES
from quadlab.bridge.operations import elementwise

EVERY = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
LOSS = pytest.mark.parametrize("loss", LOSSES)


def assert_same(found, expected, where):
    """The same numbers, to rounding of sums in another order, and on the device."""
    assert backend_of(found) == where
    numbers = bridge.host(found)
    assert isinstance(numbers, np.ndarray)
    assert numbers.shape == expected.shape
    assert np.linalg.norm(numbers - expected) <= 1e-13 * np.linalg.norm(expected)


@EVERY
@LOSS
def test_a_device_gives_the_numbers_of_numpy(network, loss, device_backend):
    on_host, point, vectors = problem_of(network, loss), point_of(network), directions(network, 3)
    there = problem_of(network, loss, backend=device_backend)
    assert there.loss(point) == pytest.approx(on_host.loss(point), rel=1e-13)
    # parameters and vectors are taken from the host or from the device
    for move in (lambda array: array, device_backend.array):
        w, v = move(point), move(vectors)
        value, gradient = there.loss_and_gradient(w)
        assert value == pytest.approx(on_host.loss(point), rel=1e-13)
        assert_same(gradient, on_host.gradient(point), device_backend)
        assert_same(there.predict(w), on_host.predict(point), device_backend)
        assert_same(there.predict(w, on_host.inputs[:2]), on_host.predict(point)[:2], device_backend)
        for method in ("hessian_product", "gauss_newton_product"):
            expected = getattr(on_host, method)(point, vectors)
            assert_same(getattr(there, method)(w, v), expected, device_backend)
            assert_same(getattr(there, method)(w, v[:, 0]), expected[:, 0], device_backend)


def test_operators_subsets_and_batches_on_a_device(device_backend):
    network = NETWORKS["transformer gelu"]
    on_host, point = problem_of(network), point_of(network)
    there = problem_of(network, backend=device_backend, batch=2)
    hessian = there.hessian(device_backend.array(point))
    assert hessian.backend == device_backend
    dense = on_host.hessian(point).dense()
    assert np.linalg.norm(hessian.dense() - dense) <= 1e-13 * np.linalg.norm(dense)
    vector = directions(network, 1)[:, 0]
    product = hessian.to_scipy() @ vector
    assert np.linalg.norm(product - dense @ vector) <= 1e-12 * np.linalg.norm(product)
    part = there.subset([3, 1])
    assert part.loss(point) == pytest.approx(on_host.subset([3, 1]).loss(point), rel=1e-13)
    assert_same(
        part.hessian_product(point, vector), on_host.subset([3, 1]).hessian_product(point, vector), device_backend
    )


def test_single_precision_on_a_device(device_backend):
    network = NETWORKS["mlp 3-4-3-2 tanh"]
    single = problem_of(network, backend=device_backend, dtype="float32")
    found = single.hessian_product(point_of(network), np.eye(network.dimension))
    assert backend_of(found).dtype == "float32"
    expected = problem_of(network).hessian(point_of(network)).dense()
    assert np.linalg.norm(bridge.host(found) - expected) <= 1e-6 * np.linalg.norm(expected)


def test_a_copy_to_the_host_fails_away_from_it():
    """What the strict device is for: an operation that calls NumPy works on NumPy, and nowhere else."""
    wrong = elementwise("host tanh", lambda xp, x: xp.asarray(np.tanh(np.asarray(x))), lambda xp, x, y: 1 - y * y)
    draft = bridge.Draft((3,))
    network = draft.network("wrong", draft.apply(wrong, draft.dense(draft.input, 2)))
    assert np.isfinite(problem_of(network).loss(point_of(network)))
    problem = problem_of(network, backend=strict_backend())
    with pytest.raises(RuntimeError, match="device1"):
        problem.loss(point_of(network))


def test_arrays_of_another_library_are_refused():
    network, where = NETWORKS["mlp 3-2"], strict_backend()
    with pytest.raises(ValueError, match="parameters must be NumPy or numpy arrays, got Array"):
        problem_of(network).loss(where.array(point_of(network)))


def test_a_missing_device_fails_in_strict_mode(monkeypatch):
    def refuse(name):
        raise ValueError(f"{name} has no usable device")

    monkeypatch.setattr(bridge, "backend", refuse)
    monkeypatch.setenv("QUADLAB_REQUIRE_GPU", "1")
    with pytest.raises(pytest.fail.Exception, match="QUADLAB_REQUIRE_GPU=1, but cupy has no usable device"):
        card_backend()
    for setting in ("0", ""):
        monkeypatch.setenv("QUADLAB_REQUIRE_GPU", setting)
        with pytest.raises(pytest.skip.Exception, match="cupy has no usable device"):
            card_backend()
    monkeypatch.setattr(bridge, "backend", lambda name: name)
    assert card_backend() == "cupy"


@pytest.mark.gpu
def test_auto_takes_the_card():
    where = card_backend()
    assert bridge.backend("auto") == where
    assert where.name == "cupy"
    assert available_memory(where) > 0

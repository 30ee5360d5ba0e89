"""Data of a user's own, and scikit-learn's digits: what is read, split and refused."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from quadlab import bridge
from quadlab.bridge.spectra import initial

INPUTS, LABELS = np.random.default_rng(0).normal(size=(11, 3)), np.arange(11) % 3


@pytest.fixture
def file_of(tmp_path):
    """An .npz file of arrays."""

    def write(**arrays):
        np.savez_compressed(tmp_path / "mine.npz", **arrays)
        return tmp_path / "mine.npz"

    return write


def refused(sentence):
    return pytest.raises(ValueError, match=re.escape(sentence))


def rows_of(data):
    """Inputs and labels of all examples, sorted."""
    inputs, labels = np.concatenate([data.inputs, data.test_inputs]), np.concatenate([data.targets, data.test_targets])
    return np.array(sorted(np.column_stack([inputs, labels]).tolist()))


def test_a_fifth_is_kept_to_test_on(file_of):
    path = file_of(inputs=INPUTS, targets=LABELS)
    data = bridge.from_npz(path, order=3)
    assert (len(data.inputs), len(data.test_inputs), data.outputs, data.name) == (9, 2, 3, "mine")
    np.testing.assert_array_equal(rows_of(data), np.array(sorted(np.column_stack([INPUTS, LABELS]).tolist())))
    np.testing.assert_array_equal(bridge.from_npz(path, order=3).test_inputs, data.test_inputs)
    assert any((bridge.from_npz(path, order=order).test_inputs != data.test_inputs).any() for order in range(3))


def test_a_test_set_of_ones_own(file_of):
    data = bridge.from_npz(file_of(inputs=INPUTS, targets=LABELS, test_inputs=INPUTS[:2] + 1, test_targets=[1, 6]))
    np.testing.assert_array_equal(data.inputs, INPUTS)
    np.testing.assert_array_equal(data.test_inputs, INPUTS[:2] + 1)
    # a class that only the test set has still needs an output
    assert data.outputs == 7
    numbers = bridge.from_npz(file_of(inputs=INPUTS.astype(np.float32), targets=np.ones((11, 2), dtype=int)))
    assert (numbers.outputs, numbers.inputs.dtype, numbers.targets.dtype) == (2, np.float64, np.float64)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"inputs": INPUTS.astype(str)}, "inputs must be real numbers, got dtype <U"),
        ({"inputs": INPUTS + 1j}, "inputs must be real numbers, got dtype complex128"),
        ({"inputs": INPUTS * np.nan}, "inputs must be finite, got NaN or infinity"),
        ({"targets": np.where(LABELS, 1.0, np.inf)}, "targets must be finite, got NaN or infinity"),
        ({"inputs": INPUTS[:, 0]}, "inputs must be (N, …) and targets (N,) or (N, c), got (11,) and (11,)"),
        ({"inputs": INPUTS[:, :0]}, "inputs must be (N, …) and targets (N,) or (N, c), got (11, 0) and (11,)"),
        ({"targets": np.ones((11, 0))}, "inputs must be (N, …) and targets (N,) or (N, c), got (11, 3) and (11, 0)"),
        ({"targets": LABELS[:4]}, "inputs must be (N, …) and targets (N,) or (N, c), got (11, 3) and (4,)"),
        ({"targets": 3}, "inputs must be (N, …) and targets (N,) or (N, c), got (11, 3) and ()"),
        ({"targets": LABELS - 1}, "targets must be whole labels from 0 or have shape (N, c)"),
        ({"targets": LABELS * 1.0}, "targets must be whole labels from 0 or have shape (N, c)"),
        ({"inputs": INPUTS[:4], "targets": LABELS[:4]}, "inputs must hold at least 5 examples, got 4"),
        ({"test_inputs": INPUTS}, "must hold an array test_targets, got inputs, targets, test_inputs"),
        (
            {"test_inputs": INPUTS[:, :2], "test_targets": LABELS},
            "test_inputs and test_targets must have the shapes of inputs and targets",
        ),
        (
            {"test_inputs": INPUTS, "test_targets": np.eye(3)[LABELS]},
            "test_inputs and test_targets must have the shapes of inputs and targets",
        ),
    ],
)
def test_arrays_that_are_refused(file_of, changes, sentence):
    with refused(sentence):
        bridge.from_npz(file_of(**({"inputs": INPUTS, "targets": LABELS} | changes)))


def test_a_file_of_pickled_objects_is_not_opened(file_of):
    with refused("cannot be read as an .npz file of numbers: Object arrays cannot be loaded"):
        bridge.from_npz(file_of(inputs=INPUTS.astype(object), targets=LABELS))


def test_files_that_are_no_npz(tmp_path, file_of):
    path = tmp_path / "other.npz"
    with refused(f"there is no file {path}"):
        bridge.from_npz(path)
    with refused("path must be a file's name, got None"):
        bridge.from_npz(None)
    whole = file_of(inputs=INPUTS, targets=LABELS).read_bytes()
    for content in (b"", b"text", whole[:200], whole[:60] + bytes(200) + whole[260:]):
        path.write_bytes(content)
        with refused(f"{path} cannot be read as an .npz file of numbers: "):
            bridge.from_npz(path)
    with path.open("wb") as stream:
        np.save(stream, INPUTS)
    with refused(f"{path} cannot be read as an .npz file of numbers: "):
        bridge.from_npz(path)
    np.savez(path, INPUTS)
    with refused("must hold an array inputs, got arr_0"):
        bridge.from_npz(path)


@pytest.mark.parametrize("order", ["1", -1, 1.5, None])
def test_orders_that_are_refused(file_of, order):
    for make in (
        lambda: bridge.from_npz(file_of(inputs=INPUTS, targets=LABELS), order=order),
        lambda: bridge.digits(order=order),
    ):
        with refused(f"order must be a whole number >= 0, got {order!r}"):
            make()


def test_digits():
    raw, scaled = bridge.digits(700, scaling="range", order=2), bridge.digits(700, order=2)
    assert raw.inputs.shape == scaled.inputs.shape == (700, 64)
    np.testing.assert_array_equal(raw.targets, scaled.targets)
    # pixels are whole numbers from 0 to 16
    pixels = 16 * (np.concatenate([raw.inputs, raw.test_inputs]) + 0.3)
    np.testing.assert_allclose(pixels, np.round(pixels), rtol=0, atol=1e-13)
    assert (round(pixels.min()), round(pixels.max())) == (0, 16)
    expected = (pixels - pixels.mean(axis=0)) / (pixels.std(axis=0) + 0.01)
    found = np.concatenate([scaled.inputs, scaled.test_inputs])
    assert expected.max() > 5
    np.testing.assert_allclose(found, np.clip(expected, -5, 5), rtol=0, atol=1e-11)
    with refused("train must be below 1797, got 1797"):
        bridge.digits(1797)
    with refused('scaling must be "standardized" or "range", got None'):
        bridge.digits(scaling=None)


def mine(targets, train=16):
    """Two columns of very different sizes and a constant one."""
    rng = np.random.default_rng(0)
    inputs = np.column_stack([rng.normal(5, 3, 24), rng.normal(-2, 1e-3, 24), np.full(24, 7.0)])
    return bridge.Dataset("mine", inputs[:train], targets[:train], inputs[train:], targets[train:])


def test_standardized_data_have_mean_zero_and_deviation_one_where_they_train():
    data = mine(np.random.default_rng(1).normal(40, 9, (24, 2))).standardized()
    for values in (data.inputs, data.targets):
        assert values.mean(axis=0) == pytest.approx(np.zeros(values.shape[1]), abs=1e-9)
        assert values.std(axis=0)[:2] == pytest.approx([1, 1], rel=1e-9)
    assert not data.inputs[:, 2].any()


def test_examples_to_test_are_scaled_as_those_to_train():
    given = mine(np.random.default_rng(1).normal(40, 9, (24, 2)))
    scaled = given.standardized()
    for name in ("inputs", "targets"):
        before, after = (np.concat([getattr(d, name), getattr(d, f"test_{name}")])[:, :2] for d in (given, scaled))
        deviation = getattr(given, name)[:, :2].std(axis=0)
        np.testing.assert_allclose(np.diff(after, axis=0) * deviation, np.diff(before, axis=0), rtol=1e-9)


def test_inputs_of_any_size_or_constant_up_to_rounding_are_standardized():
    inputs = np.array([[1e200, 1e-200, 0.3], [3e200, 3e-200, 0.1 + 0.2]])
    labels = np.array([0, 1])
    data = bridge.Dataset("extreme", inputs, labels, inputs[:1], labels[:1]).standardized()
    np.testing.assert_allclose(data.inputs, [[-1, -1, 0], [1, 1, 0]], atol=1e-16)
    with refused("test_inputs must be finite once standardized like inputs"):
        bridge.Dataset("far", inputs[:, 1:], labels, inputs[:, :2], labels).standardized()
    with refused("inputs must be finite numbers of at least one example"):
        bridge.Dataset("unknown", inputs * np.nan, labels, inputs, labels).standardized()


def test_labels_are_kept_and_images_become_rows():
    images, labels = np.random.default_rng(2).normal(size=(5, 2, 3, 1)), np.arange(5)
    data = bridge.Dataset("images", images, labels, images[:0], labels[:0]).standardized()
    assert (data.inputs.shape, data.test_inputs.shape, data.targets is labels) == ((5, 6), (0, 6), True)


def test_the_problem_of_a_dataset_is_a_perceptron_on_its_rows():
    images, labels = np.random.default_rng(2).normal(size=(5, 2, 3, 1)), np.array([0, 2, 1, 1, 0])
    data = bridge.Dataset("images", images, labels, images[:0], labels[:0])
    problem = data.problem([4], activation="gelu", loss="cross_entropy", dtype="float32")
    by_hand = bridge.Problem(bridge.mlp([6, 4, 3], "gelu"), images.reshape(5, 6), labels, loss="cross_entropy")
    point = by_hand.network.initial(0)
    assert problem.backend.dtype == "float32"
    assert problem.loss(point) == pytest.approx(by_hand.loss(point), rel=1e-5)


def test_the_initial_sharpness_is_the_mean_over_new_networks():
    problem = bridge.digits(30).problem([5])
    starts = [problem.network.initial(np.random.default_rng(seed)) for seed in range(3)]
    tops = [np.linalg.eigvalsh(problem.hessian(start).dense())[-1] for start in starts]
    assert bridge.initial_sharpness(problem, networks=3, tolerance=1e-8) == pytest.approx(np.mean(tops), rel=1e-12)
    with refused("networks must be a whole number >= 1, got 0"):
        bridge.initial_sharpness(problem, networks=0)


def test_an_initial_sharpness_that_was_not_found_is_an_error(monkeypatch):
    monkeypatch.setattr(initial, "top_eigenpairs", lambda *_, **options: SimpleNamespace(converged=False, values=[1.0]))
    with pytest.raises(ArithmeticError, match="of the new network 0 did not converge"):
        bridge.initial_sharpness(bridge.digits(30).problem([5]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bridge.mlp([2, 10**400]), "widths must be a whole number >= 1, got 1000"),
        (lambda: bridge.digits(100, order=10**400), "order must be a whole number >= 0, got 1000"),
        (lambda: bridge.digits(100).problem(3), "hidden must be a list of the widths of the hidden layers, got 3"),
        (lambda: bridge.initial_sharpness(None), "problem must be a quadlab.bridge.Problem, got None"),
    ],
)
def test_hostile_values_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

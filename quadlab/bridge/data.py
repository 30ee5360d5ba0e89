"""Data for networks: scikit-learn's digits, or a user's own arrays in an .npz file."""

import os
import zipfile
import zlib
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from quadlab.bridge.architectures import mlp
from quadlab.bridge.arrays import real_numbers
from quadlab.bridge.network import is_whole
from quadlab.bridge.problem import Problem
from quadlab.theory.intervals import whole_positive
from quadlab.theory.standardization import standardization

__all__ = ["Dataset", "digits", "from_npz"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs (N, …) with targets, whole labels (N,) or numbers (N, c); some to train on, the others to test on."""

    name: str
    inputs: Any
    targets: Any
    test_inputs: Any
    test_targets: Any

    @property
    def outputs(self):
        """How many outputs a network needs: classes, or numbers per example."""
        if self.targets.ndim == 2:
            return self.targets.shape[1]
        return int(max(self.targets.max(), self.test_targets.max(initial=0))) + 1

    def problem(self, hidden, *, activation="tanh", **options):
        """A perceptron with these hidden layers on the examples to train on, in rows; options are those of `Problem`.

        >>> digits(600).problem([50, 50], activation="relu")
        Problem(perceptron 64-50-50-10 relu, squared_error, 600 examples, 6310 parameters, numpy float64)
        """
        if not isinstance(hidden, list | tuple):
            raise ValueError(f"hidden must be a list of the widths of the hidden layers, got {hidden!r}")
        rows = self.inputs.reshape(len(self.inputs), prod(self.inputs.shape[1:]))
        return Problem(mlp([rows.shape[1], *hidden, self.outputs], activation), rows, self.targets, **options)

    def standardized(self):
        """The same data with (x - mean) / standard deviation for each number of the inputs, in rows (N, numbers).

        Mean and deviation are those of the examples to train on; what is constant there up to rounding (16 eps of its
        largest value) is shifted alone. Targets that are numbers are treated alike, labels kept.

        Raises ValueError when there are no examples to train on, or a number is not finite once standardized.

        >>> labels, train, test = np.array([0, 1]), np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[2.0, 6.0]])
        >>> data = Dataset("two", train, labels, test, labels[:1]).standardized()
        >>> data.inputs.tolist(), data.test_inputs.tolist()
        ([[-1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0]])
        """
        scaled = {"inputs": self.inputs} | ({"targets": self.targets} if self.targets.ndim == 2 else {})
        changes: dict[str, Any] = {}
        for name, values in scaled.items():
            size = prod(values.shape[1:])
            parts = {name: values, f"test_{name}": getattr(self, f"test_{name}")}
            rows = {part: array.reshape(len(array), size) for part, array in parts.items()}
            if not values.size or not np.isfinite(values).all():
                raise ValueError(f"{name} must be finite numbers of at least one example, got shape {values.shape}")
            standardize = standardization(rows[name])
            changes |= {part: standardize(array) for part, array in rows.items()}
            for part in parts:
                if not np.isfinite(changes[part]).all():
                    raise ValueError(f"{part} must be finite once standardized like {name}, got NaN or infinity")
        return replace(self, **changes)

    def __repr__(self):
        sizes = f"{len(self.inputs)} to train, {len(self.test_inputs)} to test"
        return f"Dataset({self.name}, inputs {self.inputs.shape[1:]}, {self.outputs} outputs, {sizes})"


def digits(train=1000, *, scaling="standardized", order=0):
    """scikit-learn's 1797 images of digits, 64 numbers each: the first `train` of a permutation, the others to test.

    scaling : "standardized", (x - mean) / (standard deviation + 0.01) of each pixel over all images, clipped to +-5;
        or "range", x / 16 - 0.3.
    order : seed of the permutation.

    >>> digits(train=600, scaling="range")
    Dataset(digits, inputs (64,), 10 outputs, 600 to train, 1197 to test)
    """
    from sklearn.datasets import load_digits

    inputs, targets = load_digits(return_X_y=True)
    train = int(whole_positive.check_one("train", train))
    if train >= len(inputs):
        raise ValueError(f"train must be below {len(inputs)}, got {train}")
    if scaling == "standardized":
        inputs = np.clip((inputs - inputs.mean(axis=0)) / (inputs.std(axis=0) + 0.01), -5, 5)
    elif scaling == "range":
        inputs = inputs / 16 - 0.3
    else:
        raise ValueError(f'scaling must be "standardized" or "range", got {scaling!r}')
    return _split("digits", inputs, targets, train, order)


def from_npz(path, *, order=0):
    """Arrays `inputs` and `targets` of an .npz file, with `test_inputs` and `test_targets` or a fifth kept to test on.

    targets : whole labels from 0, shape (N,), or numbers, shape (N, c). Nothing is rescaled.
    order : seed of the permutation that takes the fifth.

    Raises ValueError for a file that cannot be read, lacks an array or holds anything but finite numbers.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path must be a file's name, got {path!r}")
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (
        ValueError, TypeError, AttributeError, OSError, EOFError, RuntimeError, OverflowError, MemoryError, KeyError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise ValueError(f"{path} cannot be read as an .npz file of numbers: {error}") from error
    inputs, targets = _pair(path, arrays, "inputs", "targets")
    if "test_inputs" in arrays or "test_targets" in arrays:
        test_inputs, test_targets = _pair(path, arrays, "test_inputs", "test_targets")
        if test_inputs.shape[1:] != inputs.shape[1:] or test_targets.shape[1:] != targets.shape[1:]:
            raise ValueError(f"{path}: test_inputs and test_targets must have the shapes of inputs and targets")
        return Dataset(path.stem, inputs, targets, test_inputs, test_targets)
    if len(inputs) < 5:
        raise ValueError(f"{path}: inputs must hold at least 5 examples, got {len(inputs)}")
    return _split(path.stem, inputs, targets, len(inputs) - len(inputs) // 5, order)


def _split(name, inputs, targets, train, order):
    if not is_whole(order) or order < 0:
        raise ValueError(f"order must be a whole number >= 0, got {order!r}")
    places = np.random.default_rng(int(order)).permutation(len(inputs))
    first, rest = places[:train], places[train:]
    return Dataset(name, inputs[first], targets[first], inputs[rest], targets[rest])


def _pair(path, arrays, first, second):
    for name in (first, second):
        if name not in arrays:
            raise ValueError(f"{path} must hold an array {name}, got {', '.join(arrays) or 'none'}")
        arrays[name] = real_numbers(f"{path}: {name}", arrays[name])
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{path}: {name} must be finite, got NaN or infinity")
    inputs, targets = arrays[first].astype(float), arrays[second]
    if (
        inputs.ndim < 2
        or targets.ndim not in (1, 2)
        or len(inputs) != len(targets)
        or not inputs.size
        or not targets.size
    ):
        raise ValueError(
            f"{path}: {first} must be (N, …) and {second} (N,) or (N, c), got {inputs.shape} and {targets.shape}"
        )
    if targets.ndim == 1 and (targets.dtype.kind not in "iu" or targets.min() < 0):
        raise ValueError(f"{path}: {second} must be whole labels from 0 or have shape (N, c)")
    return inputs, targets if targets.ndim == 1 else targets.astype(float)

"""What a training recorded: one series of numbers for each quantity."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from quadlab.bridge.arrays import host

__all__ = ["DAMAGED", "History", "Log", "Series"]

# what a file that is no archive, or not whole, or holds anything else makes its readers raise
DAMAGED = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, IndexError, TypeError, AttributeError, OverflowError,
    NotImplementedError, RuntimeError, MemoryError,
)  # fmt: skip


class Series(NamedTuple):
    """The steps (m,) at which a quantity was recorded, and its values (m,) or (m, …); `plt.plot(*series)` draws it."""

    steps: Any
    values: Any


class History(Mapping):
    """Quantities by name, each a `Series`.

    >>> history = History({"loss": Series(np.array([0, 10]), np.array([1.0, 0.5]))})
    >>> history["loss"].values
    array([1. , 0.5])
    >>> history
    History(loss: 2)
    """

    def __init__(self, series=()):
        self._series = dict(series)

    def __getitem__(self, name):
        try:
            return self._series[name]
        except KeyError:
            raise KeyError(f"{name!r} was not recorded, only {', '.join(self._series) or 'nothing'}") from None

    def __iter__(self):
        return iter(self._series)

    def __len__(self):
        return len(self._series)

    def __repr__(self):
        return f"History({', '.join(f'{name}: {len(series.steps)}' for name, series in self.items())})"

    def arrays(self):
        """All arrays, called "name/steps" and "name/values", as `save` writes them."""
        return {f"{name}/{part}": array for name, series in self.items() for part, array in series._asdict().items()}

    @classmethod
    def of_arrays(cls, arrays):
        """The history whose `arrays()` these are."""
        names = dict.fromkeys(key.rpartition("/")[0] for key in arrays)
        return cls({name: Series(arrays[f"{name}/steps"], arrays[f"{name}/values"]) for name in names})

    def save(self, path):
        """Write an .npz file."""
        # an open file, as a bare name gets an ending it was not given
        with Path(path).open("wb") as file:
            np.savez(file, **self.arrays())

    @classmethod
    def load(cls, path):
        """The history in a file that `save` wrote. ValueError if it is none, or damaged."""
        try:
            with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                return cls.of_arrays(dict(arrays))
        except FileNotFoundError:
            raise
        except (*DAMAGED, ValueError) as error:
            raise ValueError(f"{path} is not a file written by History.save ({error})") from error


class Log:
    """Values as they come, on the host."""

    def __init__(self, history=()):
        self._steps = {name: list(series.steps) for name, series in dict(history).items()}
        self._values = {name: list(series.values) for name, series in dict(history).items()}

    def add(self, step, name, value):
        """One more value of a quantity, numbers of the shape of those before."""
        try:
            value = np.array(host(value))
        except ValueError:
            raise ValueError(f"{name} must be numbers, got rows of unequal length at step {step}") from None
        if value.dtype.kind not in "biuf":
            raise ValueError(f"{name} must be real numbers, got dtype {value.dtype} at step {step}")
        values = self._values.setdefault(name, [])
        if values and np.shape(values[0]) != value.shape:
            raise ValueError(f"{name} must keep its shape {np.shape(values[0])}, got {value.shape} at step {step}")
        values.append(value)
        self._steps.setdefault(name, []).append(step)

    def has(self, step, name):
        """Whether a quantity was recorded at a step, or after it."""
        return name in self._steps and self._steps[name][-1] >= step

    @property
    def latest(self):
        """The latest value of each quantity."""
        return {name: values[-1] for name, values in self._values.items()}

    def history(self):
        """All of it as arrays."""
        return History({n: Series(np.array(self._steps[n]), np.array(self._values[n])) for n in self._steps})

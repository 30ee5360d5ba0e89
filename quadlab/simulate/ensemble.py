"""Means over replicas: what a simulation returns, and how pieces of it are merged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["DivergenceError", "Ensemble", "Moments"]

LARGEST_STATE = 1e100


class DivergenceError(ArithmeticError):
    """Replicas left the range in which their squares are finite numbers."""

    def __init__(self, diverged, replicas, step):
        self.diverged, self.replicas, self.step = diverged, replicas, step
        super().__init__(
            f"{diverged} of {replicas} replicas exceeded {LARGEST_STATE:g} in absolute value by step {step}: "
            "the learning rate is beyond the stability limit for these eigenvalues"
        )

    def __reduce__(self):
        return type(self), (self.diverged, self.replicas, self.step)


@dataclass(frozen=True)
class Moments:
    """Number, mean and sum of squared deviations of a sample; `+` merges two samples (Chan, Golub, LeVeque)."""

    count: int
    mean: Any
    squares: Any

    @classmethod
    def of(cls, values, name="values", step=0):
        """Moments along the last axis (NumPy sums pairwise); ValueError naming the observable if one is not finite."""
        if not np.isfinite(values).all():
            raise ValueError(f"the observable {name} must be finite for every replica, it is not at step {step}")
        mean = values.mean(axis=-1)
        return cls(values.shape[-1], mean, np.square(values - mean[..., None]).sum(axis=-1))

    @classmethod
    def stack(cls, parts):
        """The moments of several recorded steps in one record, the step as first axis."""
        return cls(parts[0].count, np.stack([m.mean for m in parts]), np.stack([m.squares for m in parts]))

    def __add__(self, other):
        count = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        squares = self.squares + other.squares + np.square(shift) * (self.count * other.count / count)
        return Moments(count, mean, squares)


@dataclass(frozen=True)
class Ensemble:
    """Statistics over replicas at the recorded steps.

    mean, variance, standard_error : for each observable an array whose first axis is `steps`; a second axis is
        the mode, where the observable has one value per mode.
    """

    steps: np.ndarray
    replicas: int
    mean: Mapping[str, np.ndarray]
    variance: Mapping[str, np.ndarray]
    standard_error: Mapping[str, np.ndarray]

    @classmethod
    def from_moments(cls, steps, moments):
        """The ensemble of merged moments, one `Moments` per observable."""
        count = next(iter(moments.values())).count
        degrees = max(count - 1, 1)
        variance = {name: m.squares / degrees for name, m in moments.items()}
        return cls(
            steps=np.asarray(steps),
            replicas=count,
            mean={name: m.mean for name, m in moments.items()},
            variance=variance,
            standard_error={name: np.sqrt(v / count) for name, v in variance.items()},
        )

"""Optimisers on weight vectors: whole gradients, whole matrices, no eigenbasis and no update rule from `dynamics`.

Each optimiser is a step (weights, previous weights, gradient, generator) -> next weights on arrays of shape
(replicas, dimension); a user's own function of that form works as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from quadlab.simulate.chunks import chunk_sizes, recorded_steps, run_chunks
from quadlab.simulate.ensemble import LARGEST_STATE, DivergenceError, Ensemble, Moments
from quadlab.theory.intervals import momentum_range, non_negative, positive, real, whole_positive
from quadlab.theory.seeds import seed_sequence

__all__ = [
    "GradientDescent",
    "HeavyBall",
    "Nesterov",
    "StochasticGradientDescent",
    "VariationalGradientDescent",
    "simulate_weights",
]


@dataclass(frozen=True)
class GradientDescent:
    """w+ = w - learning_rate * gradient(w)."""

    learning_rate: float

    def __post_init__(self):
        positive.check("learning_rate", self.learning_rate)

    def __call__(self, weights, previous, gradient, generator):
        return weights - self.learning_rate * gradient(weights)


@dataclass(frozen=True)
class HeavyBall:
    """w+ = w - learning_rate * gradient(w) + momentum * (w - w-)."""

    learning_rate: float
    momentum: float

    def __post_init__(self):
        positive.check("learning_rate", self.learning_rate)
        momentum_range.check("momentum", self.momentum)

    def __call__(self, weights, previous, gradient, generator):
        return weights - self.learning_rate * gradient(weights) + self.momentum * (weights - previous)


@dataclass(frozen=True)
class Nesterov:
    """y = w + momentum * (w - w-), w+ = y - learning_rate * gradient(y)."""

    learning_rate: float
    momentum: float

    def __post_init__(self):
        positive.check("learning_rate", self.learning_rate)
        momentum_range.check("momentum", self.momentum)

    def __call__(self, weights, previous, gradient, generator):
        ahead = weights + self.momentum * (weights - previous)
        return ahead - self.learning_rate * gradient(ahead)


@dataclass(frozen=True)
class StochasticGradientDescent:
    """w+ = w - learning_rate * ((1 + r) * gradient(w) + e) + momentum * (w - w-), r and e normal.

    noise_covariance : of e, a number >= 0 or a positive definite (dimension, dimension).
    relative_variance : of r, one number a step.
    """

    learning_rate: float
    noise_covariance: Any = 0.0
    relative_variance: float = 0.0
    momentum: float = 0.0

    def __post_init__(self):
        positive.check("learning_rate", self.learning_rate)
        _check_matrix("noise_covariance", self.noise_covariance, non_negative)
        non_negative.check("relative_variance", self.relative_variance)
        momentum_range.check("momentum", self.momentum)

    def __call__(self, weights, previous, gradient, generator):
        factor = 1 + np.sqrt(self.relative_variance) * generator.standard_normal((len(weights), 1))
        sampled = factor * gradient(weights) + correlated_normals(self.noise_covariance, weights.shape, generator)
        return weights - self.learning_rate * sampled + self.momentum * (weights - previous)


@dataclass(frozen=True)
class VariationalGradientDescent:
    """w+ = w - learning_rate * P^-1 mean_k gradient(w + eps_k), k = 1..samples, Cov eps_k = noise_covariance.

    noise_covariance : of one weight sample, a number >= 0 or a positive definite (dimension, dimension).
    antithetic : samples come in pairs (+eps, -eps); a last odd one stays alone.
    degrees_of_freedom : Student-t weights, whose squared scale is `noise_covariance`; None for Gaussian ones.
    preconditioner : the symmetric positive definite P, a number or (dimension, dimension).
    """

    learning_rate: float
    samples: int
    noise_covariance: Any
    antithetic: bool = False
    degrees_of_freedom: float | None = None
    preconditioner: Any = None

    def __post_init__(self):
        positive.check("learning_rate", self.learning_rate)
        whole_positive.check("samples", self.samples)
        _check_matrix("noise_covariance", self.noise_covariance, non_negative)
        if self.degrees_of_freedom is not None:
            positive.check("degrees_of_freedom", self.degrees_of_freedom)
        if self.preconditioner is not None:
            _check_matrix("preconditioner", self.preconditioner, positive)

    def __call__(self, weights, previous, gradient, generator):
        total, draw = np.zeros_like(weights), 0.0
        for sample in range(int(self.samples)):
            if self.antithetic and sample % 2:
                draw = -draw
            else:
                draw = correlated_normals(self.noise_covariance, weights.shape, generator, self.degrees_of_freedom)
            total += gradient(weights + draw)
        step = total / self.samples
        if self.preconditioner is not None:
            preconditioner = np.asarray(self.preconditioner, dtype=float)
            step = np.linalg.solve(preconditioner, step.T).T if preconditioner.ndim else step / preconditioner
        return weights - self.learning_rate * step


def _check_matrix(name, value, number):
    """ValueError unless `value` is a number in the interval `number` or a symmetric positive definite matrix."""
    matrix = np.asarray(real.check(name, value))
    if matrix.ndim == 0:
        number.check(name, value)
    elif matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.allclose(matrix, matrix.T):
        raise ValueError(f"{name} must be a number or a symmetric matrix, got {matrix.tolist()}")
    elif not (np.linalg.eigvalsh(matrix) > 0).all():
        raise ValueError(f"{name} must be positive definite, got eigenvalues {np.linalg.eigvalsh(matrix)}")


def correlated_normals(covariance, shape, generator, degrees_of_freedom=None):
    """Rows with the given covariance (squared scale, for Student-t), through its Cholesky factor."""
    covariance = np.asarray(covariance, dtype=float)
    if covariance.ndim == 0 and covariance == 0:
        return 0.0
    if degrees_of_freedom is None:
        draws = generator.standard_normal(shape)
    else:
        draws = generator.standard_t(degrees_of_freedom, shape)
    if covariance.ndim == 0:
        return np.sqrt(covariance) * draws
    if covariance.shape != (shape[1], shape[1]):
        raise ValueError(f"noise_covariance must have shape {(shape[1],) * 2}, got {covariance.shape}")
    return draws @ np.linalg.cholesky(covariance).T


def _excess_loss(problem, now, start):
    return 0.5 * np.einsum("rd,rd->r", now - problem.minimizer, problem.gradient(now))


def _loss_change(problem, now, start):
    return _excess_loss(problem, now, start) - _excess_loss(problem, start, start)


def _descends(problem, now, start):
    return (_loss_change(problem, now, start) < 0).astype(float)


OBSERVABLES = {"excess_loss": _excess_loss, "loss_change": _loss_change, "descends": _descends}


def simulate_weights(
    problem,
    optimiser,
    *,
    steps,
    replicas,
    initial=None,
    observables=("excess_loss",),
    record=None,
    rng=None,
    executor=None,
    progress=None,
):
    """Means of observables over independent replicas of an optimiser on the weights of a problem.

    Parameters
    ----------
    problem : a quadratic: gradient(weights) on (replicas, dimension), and `minimizer`.
    optimiser : one of this module's, or a function (weights, previous, gradient, generator) -> weights.
    initial : (dimension,) weights at step 0; the minimiser by default.
    observables : names among excess_loss, loss_change (since step 0), descends (0 or 1), or a mapping from a name
        to a function of (problem, weights, initial weights) that returns (replicas,) or (k, replicas).
    steps, replicas, record, rng, executor, progress : as in `simulate`.

    Returns
    -------
    Ensemble.

    >>> from quadlab.problems import Quadratic
    >>> ensemble = simulate_weights(Quadratic([[2.0, 1.0], [1.0, 2.0]]), GradientDescent(0.1), steps=1, replicas=1,
    ...                             initial=[1.0, 0.0], observables=["loss_change"])
    >>> round(float(ensemble.mean["loss_change"][0]), 12)
    -0.43
    """
    steps = int(whole_positive.check("steps", steps))
    replicas = int(whole_positive.check("replicas", replicas))
    start = np.asarray(problem.minimizer if initial is None else initial, dtype=float)
    if start.shape != problem.minimizer.shape or not np.isfinite(start).all():
        raise ValueError(f"initial must be finite with shape {problem.minimizer.shape}, got shape {start.shape}")
    if isinstance(observables, str):
        observables = (observables,)
    if not isinstance(observables, Mapping):
        for name in observables:
            if name not in OBSERVABLES:
                raise ValueError(f"observables must be among {', '.join(OBSERVABLES)}, got {name!r}")
        observables = {name: OBSERVABLES[name] for name in observables}
    if not observables:
        raise ValueError(f"observables must name at least one of {', '.join(OBSERVABLES)}, got none")
    recorded = recorded_steps(record, steps)
    task = partial(
        _run_chunk,
        problem=problem,
        optimiser=optimiser,
        start=start,
        recorded=recorded,
        observables=dict(observables),
    )
    sizes, seeds = chunk_sizes(replicas, len(start)), seed_sequence(rng, "simulate_weights")
    moments = run_chunks(task, sizes, seeds, executor=executor, progress=progress)
    return Ensemble.from_moments(recorded, moments)


def _run_chunk(size, seed, *, problem, optimiser, start, recorded, observables):
    generator = np.random.Generator(np.random.PCG64(seed))
    initial = np.broadcast_to(start, (size, len(start)))
    weights = previous = initial
    parts: dict[str, list] = {name: [] for name in observables}
    done = 0
    for step in recorded.tolist():
        while done < step:
            weights, previous = optimiser(weights, previous, problem.gradient, generator), weights
            done += 1
            diverged = ~(np.abs(weights) <= LARGEST_STATE).all(axis=1)
            if diverged.any():
                raise DivergenceError(int(diverged.sum()), size, done)
        for name, function in observables.items():
            parts[name].append(Moments.of(function(problem, weights, initial), name, step))
    return {name: Moments.stack(pieces) for name, pieces in parts.items()}

"""Exact finite stand-ins for random laws: an expectation becomes a weighted sum over points."""

from functools import lru_cache, reduce
from itertools import product
from math import inf

import numpy as np
import sympy

from quadlab.theory.intervals import real, whole_positive

__all__ = ["enumerate_samples", "finite_law", "noise_points"]

DEGREE = 5


def noise_points(rule, values):
    """Points (n, noises) and weights (n,) with the moments of the rule's noises up to order five.

    Each noise is replaced by -r, 0, r with r^2 = m4/m2 and outer weights m2^2/(2 m4), which has the same second
    and fourth moment and the same vanishing odd ones; the sources are independent.

    Raises ValueError where a fourth moment is infinite.

    >>> from quadlab.dynamics import sgd_additive_noise
    >>> points, weights = noise_points(sgd_additive_noise(), {})
    >>> [round(float(weights @ points[:, 0]**k), 12) + 0.0 for k in range(6)]  # + 0.0 makes -0.0 a 0.0
    [1.0, 0.0, 1.0, 0.0, 3.0, 0.0]
    """
    columns, weights = [], []
    for noise in rule.noises:
        second, fourth = noise_moments(noise, values)
        if fourth == inf:
            raise ValueError(f"the fourth moment of {noise.symbol} is infinite under the {noise.law.name} law")
        reach, weight = np.sqrt(fourth / second), second**2 / (2 * fourth)
        columns.append((-reach, 0.0, reach))
        weights.append((weight, 1 - 2 * weight, weight))
    combined = np.array([np.prod(combination) for combination in product(*weights)])
    return np.array(list(product(*columns))).reshape(len(combined), len(rule.noises)), combined


def noise_moments(noise, values):
    """Second and fourth moment of a noise for the given parameter values; infinite where they do not exist."""
    names, tail, second, fourth = _compiled_moments(noise)
    numbers = [values[name] for name in names]
    finite_below = tail(*numbers)
    return tuple(
        float(moment(*numbers)) if order < finite_below else inf for order, moment in ((2, second), (4, fourth))
    )


@lru_cache(maxsize=256)
def _compiled_moments(noise):
    """Names of the parameters a noise depends on; tail, second and fourth moment as functions of them."""
    expressions = [sympy.sympify(e) for e in (noise.law.tail, noise.moment(2), noise.moment(4))]
    symbols = sorted(set().union(*(e.free_symbols for e in expressions)), key=lambda symbol: symbol.name)
    functions = (sympy.lambdify(symbols, e, modules="math", dummify=True) for e in expressions)
    return [symbol.name for symbol in symbols], *functions


def checked_covariance(name, covariance):
    """The covariance as a float64 matrix; ValueError unless it is symmetric and positive semidefinite."""
    covariance = real.check(name, covariance)
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1] or not np.allclose(covariance, covariance.T):
        raise ValueError(f"{name} must be a symmetric matrix, got {covariance.tolist()}")
    values = np.linalg.eigvalsh(covariance)
    if (values < -1e-12 * np.abs(values).max(initial=0.0)).any():
        raise ValueError(f"{name} must be positive semidefinite, got eigenvalues {values}")
    return covariance


def finite_law(covariance):
    """Points (2d, d), equally likely, with mean zero and the given covariance: +-sqrt(d) times the columns of a factor.

    >>> points = finite_law([[4.0, 0.0], [0.0, 1.0]])
    >>> np.round(points.T @ points / len(points), 12)
    array([[4., 0.],
           [0., 1.]])
    """
    covariance = checked_covariance("covariance", np.atleast_2d(covariance))
    values, vectors = np.linalg.eigh(covariance)
    factor = vectors * np.sqrt(np.clip(values, 0, None))
    columns = np.sqrt(len(covariance)) * factor.T
    return np.concatenate([columns, -columns])


def enumerate_samples(points, samples, *, antithetic=False):
    """All outcomes, equally likely, of the mean of `samples` independent draws from `points`: (len(points)^samples, d).

    With `antithetic` each draw is followed by its negative; a last odd draw stays alone.

    >>> enumerate_samples(np.array([[1.0], [-1.0]]), 2).ravel()
    array([ 1.,  0.,  0., -1.])
    """
    samples = int(whole_positive.check("samples", samples))
    pairs, alone = divmod(samples, 2) if antithetic else (0, samples)
    outcomes = np.zeros((1, points.shape[1]))
    for sign in [0.0] * pairs + [1.0] * alone:
        outcomes = (outcomes[:, None, :] + sign * points[None, :, :]).reshape(-1, points.shape[1])
    return outcomes / samples


def kronecker_power(matrices, order):
    """Kronecker powers of a stack of square matrices (..., n, n)."""
    return reduce(_kronecker, [matrices] * order)


def _kronecker(a, b):
    size = a.shape[-1] * b.shape[-1]
    return np.einsum("...ab,...cd->...acbd", a, b).reshape(*a.shape[:-2], size, size)

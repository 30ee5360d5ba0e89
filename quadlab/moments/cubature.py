"""Exact finite stand-ins for random laws: an expectation becomes a weighted sum over points."""

from collections.abc import Mapping
from functools import lru_cache, reduce
from itertools import product
from math import inf

import numpy as np
import sympy

from quadlab.dynamics.rule import checked_rule
from quadlab.moments.arguments import checked_covariance, finite, numeric
from quadlab.theory.intervals import Interval, whole_positive

__all__ = ["enumerate_samples", "finite_law", "noise_points"]

DEGREE = 5
DEGREES = Interval(0, DEGREE, lower_closed=True, upper_closed=True, whole=True, words="a whole number from 0 to 5")
OUTCOMES = 2**24


def noise_points(rule, values, degree=DEGREE):
    """Points (n, noises) and weights (n,) with the moments of the rule's noises up to order `degree`, 5 at most.

    Up to order three each noise is replaced by -r and r, r^2 = m2, alike likely; up to order five by -r, 0, r with
    r^2 = m4/m2 and outer weights m2^2/(2 m4). Odd moments vanish, and the sources are independent.

    Raises ValueError where a moment that is needed is infinite, or a parameter that a noise depends on is not given.

    >>> from quadlab.dynamics import sgd_additive_noise
    >>> points, weights = noise_points(sgd_additive_noise(), {})
    >>> [round(float(weights @ points[:, 0]**k), 12) + 0.0 for k in range(6)]  # + 0.0 makes -0.0 a 0.0
    [1.0, 0.0, 1.0, 0.0, 3.0, 0.0]
    """
    degree = DEGREES.check_one("degree", degree)
    domain = checked_rule(rule).domain
    if not isinstance(values, Mapping):
        raise ValueError(f"values must be a mapping from names to numbers, got {values!r}")
    values = {name: domain[name].check_one(name, value) for name, value in values.items() if name in domain}
    columns: list[tuple] = []
    weights: list[tuple] = []
    for noise in rule.noises:
        reach = np.sqrt(noise_variance(noise, values))
        if degree <= 3:
            columns.append((-reach, reach))
            weights.append((0.5, 0.5))
        else:
            kurtosis = noise_kurtosis(noise, values)
            columns.append((-np.sqrt(kurtosis) * reach, 0.0, np.sqrt(kurtosis) * reach))
            weights.append((0.5 / kurtosis, 1 - 1 / kurtosis, 0.5 / kurtosis))
    combined = np.array([np.prod(combination) for combination in product(*weights)])
    return np.array(list(product(*columns))).reshape(len(combined), len(rule.noises)), combined


def noise_variance(noise, values):
    """E noise^2 for the given parameter values; ValueError where it is infinite."""
    return _evaluated(noise, 2, values)


def noise_kurtosis(noise, values):
    """E noise^4 / (E noise^2)^2 for the given parameter values; ValueError where it is infinite."""
    return _evaluated(noise, 4, values)


def _evaluated(noise, order, values):
    names, tail, moment = _compiled_moment(noise, order)
    missing = [name for name in names if name not in values]
    if missing:
        raise ValueError(f"values must give {', '.join(missing)}, which {noise.symbol} depends on, got {values}")
    numbers = [float(values[name]) for name in names]
    at = ", ".join(f"{name} {number:g}" for name, number in zip(names, numbers, strict=True))
    if order >= tail(*numbers):
        word = {2: "second", 4: "fourth"}[order]
        raise ValueError(f"the {word} moment of {noise.symbol} is infinite under the {noise.law.name} law at {at}")
    try:
        return float(finite(moment(*numbers), *names))
    except OverflowError:
        return float(finite(inf, *names))


@lru_cache(maxsize=256)
def _compiled_moment(noise, order):
    """Names of the parameters a noise depends on; its tail, and its variance or kurtosis, as functions of them."""
    variance = noise.moment(2)
    moment = variance if order == 2 or variance == 0 else sympy.simplify(noise.moment(4) / variance**2)
    expressions = [sympy.sympify(noise.law.tail), sympy.sympify(moment)]
    symbols = sorted(set().union(*(e.free_symbols for e in expressions)), key=lambda symbol: symbol.name)
    functions = (sympy.lambdify(symbols, e, modules="math", dummify=True) for e in expressions)
    return [symbol.name for symbol in symbols], *functions


def finite_law(covariance):
    """Points (2d, d), equally likely, with mean zero and the given covariance: +-sqrt(d) times the columns of a factor.

    >>> points = finite_law([[4.0, 0.0], [0.0, 1.0]])
    >>> np.round(points.T @ points / len(points), 12)
    array([[4., 0.],
           [0., 1.]])
    """
    covariance = checked_covariance("covariance", np.atleast_2d(numeric("covariance", covariance)))
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
    points, samples = numeric("points", points), int(whole_positive.check_one("samples", samples))
    if points.ndim != 2 or points.size == 0:
        raise ValueError(f"points must have shape (n, d) with n, d >= 1, got {points.shape}")
    if not isinstance(antithetic, bool | np.bool_):
        raise ValueError(f"antithetic must be true or false, got {antithetic!r}")
    pairs, alone = divmod(samples, 2) if antithetic else (0, samples)
    if (pairs + alone) * np.log(len(points)) > np.log(OUTCOMES) or pairs + alone > OUTCOMES:
        raise ValueError(f"samples must leave at most {OUTCOMES} outcomes of {len(points)} points, got {samples:g}")
    outcomes = np.zeros((1, points.shape[1]))
    with np.errstate(all="ignore"):
        for sign in [0.0] * pairs + [1.0] * alone:
            outcomes = (outcomes[:, None, :] + sign * points[None, :, :]).reshape(-1, points.shape[1])
    return finite(outcomes, "points", "samples") / samples


def kronecker_power(matrices, order):
    """Kronecker powers of a stack of square matrices (..., n, n)."""
    return reduce(_kronecker, [matrices] * order)


def _kronecker(a, b):
    size = a.shape[-1] * b.shape[-1]
    return np.einsum("...ab,...cd->...acbd", a, b).reshape(*a.shape[:-2], size, size)

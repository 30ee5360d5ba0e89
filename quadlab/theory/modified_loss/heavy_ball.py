"""Modified eigenvalues of heavy ball: the rate of the flow that passes through its dominant mode."""

from math import comb, pi

import numpy as np

from quadlab.theory.elementary import exact_arithmetic, is_arb, sqrt
from quadlab.theory.extended_range import extended
from quadlab.theory.intervals import admit_broadcast, momentum_range, non_negative, real
from quadlab.theory.modified_loss.arguments import require_order
from quadlab.theory.modified_loss.rates import (
    HUGE,
    elementwise,
    log_of_product,
    nested_sum,
    rate_of_ball,
    rate_of_numbers,
    rate_of_symbols,
)

__all__ = ["heavy_ball_modified_eigenvalue"]


def heavy_ball_modified_eigenvalue(eigenvalue, learning_rate, momentum, order=None):
    """Rate at which the modified flow of heavy ball decays along an eigenvector of the Hessian.

    -log(mu) / h, mu the root of larger modulus (Im >= 0) of mu^2 - (1 + b - h l) mu + b. Truncated at the order N it is
    sum_{k <= N+1} h^(k-1) l^k P_{k-1}(rho) / (k (1 - b)^k), rho = (1 + b) / (1 - b), P the Legendre polynomials; order
    1 is the modified loss E + (h/4) (1 + b) / (1 - b)^2 |grad E|^2, followed at speed 1 / (1 - b).

    Parameters
    ----------
    eigenvalue : l of the Hessian, real, in loss / parameter**2
    learning_rate : h, >= 0
    momentum : b in [0, 1); the rule is theta+ = theta - h l theta + b (theta - theta-)
    order : None for the whole series, or the integer N of its last term, from 0 to 10,000

    Returns
    -------
    Rate l~ of theta(t) = theta(0) exp(-l~ t), t = h times the number of steps, in the unit of the eigenvalue;
    broadcasts. l / (1 - b) where h = 0. Real where h l <= (1 - sqrt b)^2; if h l is larger anywhere, the whole result
    is complex128, with real part -ln(b) / (2 h) up to (1 + sqrt b)^2 and imaginary part -pi / h beyond. At b = 0 it is
    modified_eigenvalue.

    Raises
    ------
    ValueError: an argument lies outside its interval, the shapes do not broadcast, the order is not an integer from 0
        to 10,000, or a ball h l may exceed (1 - sqrt b)^2.

    Source: Ghosh, Lyu, Zhang and Wang 2023 for order 1; the sum is derived here from the rule.

    >>> round(float(heavy_ball_modified_eigenvalue(1.0, 0.001, 0.9)), 12)
    11.189151487011
    >>> round(float(heavy_ball_modified_eigenvalue(1.0, 0.001, 0.9, order=1)), 12)
    10.95
    """
    curvature, rate, momentum = admit_broadcast(
        eigenvalue=(eigenvalue, real), learning_rate=(learning_rate, non_negative), momentum=(momentum, momentum_range)
    )
    exact = exact_arithmetic(curvature, rate, momentum)
    if order is None:
        return elementwise(_exact, curvature, rate, momentum) if exact else _dominant_mode(curvature, rate, momentum)
    order = require_order(order)
    if exact:
        return sum(_term(curvature, rate, momentum, k) for k in range(1, order + 2))
    return _truncated(curvature, rate, momentum, order)


def _dominant_mode(curvature, rate, momentum):
    with np.errstate(all="ignore"):
        z = curvature * rate
        root = np.sqrt(momentum)
        lower, upper = ((1 - momentum) / (1 + root)) ** 2, (1 + root) ** 2
        # separate roots: the product of the differences may overflow
        spread = np.sqrt(np.abs(lower - z)) * np.sqrt(np.abs(upper - z))
        monotone, oscillating = z <= lower, (lower < z) & (z < upper)
        # (1 - mu) / z, where 1 - mu by subtraction would cancel
        ratio = np.where(monotone, 2 / (1 - momentum + z + spread), np.inf)
        trace = 1 + momentum - z
        log_size = np.where(oscillating, np.log(momentum) / 2, np.log((np.abs(trace) + spread) / 2))
        log_size = np.where(np.abs(z) > HUGE, log_of_product(curvature, rate), log_size)
        angle = np.where(monotone, 0, np.where(oscillating, np.arctan2(spread, trace), pi))
        return rate_of_numbers(curvature, rate, ratio, log_size, angle)


def _truncated(curvature, rate, momentum, order):
    """The ratios P_{k+1} / P_k of Legendre polynomials stay between 1 and 2 rho where P_k itself overflows."""
    curvature, rate, momentum = np.broadcast_arrays(curvature, rate, momentum)
    rho = (1 + momentum) / (1 - momentum)
    legendre = [rho]
    for k in range(1, order):
        legendre.append(((2 * k + 1) * rho - k / legendre[-1]) / (k + 1))
    curvature, rate, slowness = extended(curvature, rate, 1 - momentum)
    first = curvature / slowness
    return nested_sum(first, [rate * first * ratio for ratio in legendre[:order]])


def _term(curvature, rate, momentum, k):
    binomials = sum(comb(k - 1, j) ** 2 * momentum**j for j in range(k))
    return rate ** (k - 1) * curvature**k * binomials / (k * (1 - momentum) ** (2 * k - 1))


def _exact(curvature, rate, momentum):
    z = curvature * rate
    root = sqrt(momentum)
    lower, upper = (1 - root) ** 2, (1 + root) ** 2
    if is_arb(z):
        return _of_ball(curvature, rate, momentum, lower, upper)
    # On the principal branch this product, unlike the root of the product, picks the larger modulus in every zone.
    spread = sqrt(lower - z) * sqrt(upper - z)
    return rate_of_symbols(rate, (1 + momentum - z + spread) / 2, curvature / (1 - momentum))


def _of_ball(curvature, rate, momentum, lower, upper):
    z = curvature * rate
    if not z <= lower:
        raise ValueError(
            "learning_rate * eigenvalue must, for balls, certainly be at most (1 - sqrt(momentum))^2 (no ball holds a "
            f"complex rate), got learning_rate {rate}, eigenvalue {curvature}, momentum {momentum}"
        )
    spread = sqrt((lower - z) * (upper - z))
    if 1 - momentum + z < 0:
        return rate_of_ball(curvature, rate, (1 - momentum + z - spread) / (2 * z))
    return rate_of_ball(curvature, rate, 2 / (1 - momentum + z + spread))

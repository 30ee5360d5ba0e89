"""Modified eigenvalues: the rate of the flow that a discrete optimiser follows along an eigenvector of a quadratic."""

from functools import partial
from math import factorial, log, pi

import numpy as np

from quadlab.theory.elementary import exact_arithmetic, is_arb
from quadlab.theory.extended_range import extended
from quadlab.theory.intervals import admit_broadcast, non_negative, real
from quadlab.theory.modified_loss.arguments import require_count, require_order
from quadlab.theory.modified_loss.rates import (
    HUGE,
    as_complex,
    elementwise,
    log_of_product,
    nested_sum,
    rate_of_ball,
    rate_of_numbers,
    rate_of_symbols,
    speed_up,
    speed_up_of_ball,
)

__all__ = ["modified_eigenvalue", "principal_flow_coefficient", "runge_kutta_modified_eigenvalue"]


def modified_eigenvalue(eigenvalue, learning_rate, order=None):
    """Rate at which the modified flow of gradient descent decays along an eigenvector of the Hessian.

    -log(1 - h l) / h; truncated at the order N it is l sum_{k <= N} (h l)^k / (k + 1). Order 1 is the modified loss
    E + (h/4) |grad E|^2.

    Parameters
    ----------
    eigenvalue : l of the Hessian, real, in loss / parameter**2
    learning_rate : h, >= 0
    order : None for the whole series, or the integer N of its last term, from 0 to 10,000

    Returns
    -------
    Rate l~ of theta(t) = theta(0) exp(-l~ t), in the unit of the eigenvalue; broadcasts. l where h = 0, inf where
    h l = 1 (one step lands on the minimum). If h l > 1 anywhere, gradient descent jumps across the minimum, no real
    flow does, and the whole result is complex128: -(ln(h l - 1) + i pi) / h there. A finite order is always real.

    Raises
    ------
    ValueError: an argument lies outside its interval, the shapes do not broadcast, the order is not an integer from 0
        to 10,000, or a ball h l may exceed 1.

    Source: Barrett and Dherin 2021, Theorem 3.1, for order 1; derived here from theta+ = (1 - h l) theta otherwise.

    >>> round(float(modified_eigenvalue(5.0, 0.1)), 12), float(modified_eigenvalue(5.0, 0.1, order=1))
    (6.931471805599, 6.25)
    >>> modified_eigenvalue([1.0, 15.0], 0.1).round(6)
    array([1.053605 +0.j      , 6.931472-31.415927j])
    """
    curvature, rate = _admit(eigenvalue, learning_rate)
    exact = exact_arithmetic(curvature, rate)
    if order is not None:
        order = require_order(order)
        if exact:
            return sum(rate**k * curvature ** (k + 1) / (k + 1) for k in range(order + 1))
        curvature, rate = extended(*np.broadcast_arrays(curvature, rate))
        return nested_sum(curvature, [curvature * rate] * order)
    if exact:
        return elementwise(_exact_gradient_descent, curvature, rate)
    with np.errstate(over="ignore"):
        return rate_of_numbers(curvature, rate, 1, _log_multiplier(curvature, rate), pi * (curvature * rate > 1))


def principal_flow_coefficient(eigenvalue, learning_rate):
    """Factor by which the principal flow multiplies the gradient along an eigenvector of the Hessian.

    alpha = log(1 - h l) / (h l); on a quadratic theta' = alpha l theta passes through every iterate of gradient
    descent. Its real part changes sign at h l = 2, the stability limit.

    Parameters
    ----------
    eigenvalue : l of the Hessian, real, in loss / parameter**2
    learning_rate : h, >= 0

    Returns
    -------
    Dimensionless, always complex128 for numbers; broadcasts. -1 where h l = 0, -inf + 0i where h l = 1, imaginary part
    pi / (h l) where h l > 1.

    Raises
    ------
    ValueError: an argument lies outside its interval, the shapes do not broadcast, or a ball h l may exceed 1.

    Source: Rosca, Wu, Qin and Dherin 2023, the principal flow.

    >>> complex(principal_flow_coefficient(0.0, 0.1))
    (-1+0j)
    >>> complex(principal_flow_coefficient(20.0, 0.1).round(6))
    1.570796j
    """
    curvature, rate = _admit(eigenvalue, learning_rate)
    if exact_arithmetic(curvature, rate):
        return elementwise(_exact_coefficient, curvature, rate)
    with np.errstate(all="ignore"):
        z = curvature * rate
        real_part = np.where(np.abs(z) < 1 / 2, -speed_up(z), _log_multiplier(curvature, rate) / z)
        return as_complex(real_part, np.where(z > 1, pi / z, 0))


def runge_kutta_modified_eigenvalue(eigenvalue, learning_rate, stages):
    """Rate of the flow that the classical Runge-Kutta method of s stages follows along an eigenvector of the Hessian.

    -log(R) / h with R = sum_{k <= s} (-h l)^k / k!: no term of order h but for s = 1, which is gradient descent.

    Parameters
    ----------
    eigenvalue : l of the Hessian, real, in loss / parameter**2
    learning_rate : h, >= 0
    stages : s, 1, 2, 3 or 4, equal to the order of the method

    Returns
    -------
    Rate in the unit of the eigenvalue; broadcasts. l where h = 0, inf where R = 0. If R < 0 anywhere (s = 1 or 3) the
    whole result is complex128: -(ln(-R) + i pi) / h there.

    Raises
    ------
    ValueError: an argument lies outside its interval, the shapes do not broadcast, stages is not 1, 2, 3 or 4, or a
        ball R may be negative.

    Source: derived here; Barrett and Dherin 2021 compare gradient descent with a Runge-Kutta method.

    >>> [round(float(runge_kutta_modified_eigenvalue(5.0, 0.1, stages)), 12) for stages in (1, 2, 4)]
    [6.931471805599, 4.700036292457, 4.99604099022]
    """
    stages = require_count("stages", stages, 1, 4)
    curvature, rate = _admit(eigenvalue, learning_rate)
    if exact_arithmetic(curvature, rate):
        return elementwise(partial(_exact_runge_kutta, stages), curvature, rate)
    with np.errstate(all="ignore"):
        z = curvature * rate
        ratio = _lost_share(z, stages)
        multiplier = 1 - z * ratio
        leading = stages * log_of_product(curvature, rate) - log(factorial(stages))
        huge = np.abs(z) > HUGE
        negative = np.where(huge, (z > 0) & (stages % 2 == 1), multiplier < 0)
        return rate_of_numbers(
            curvature, rate, ratio, np.where(huge, leading, np.log(np.abs(multiplier))), pi * negative
        )


def _admit(eigenvalue, learning_rate):
    return admit_broadcast(eigenvalue=(eigenvalue, real), learning_rate=(learning_rate, non_negative))


def _log_multiplier(curvature, rate):
    with np.errstate(all="ignore"):
        z = curvature * rate
        return np.where(np.abs(z) > HUGE, log_of_product(curvature, rate), np.log(np.abs(1 - z)))


def _exact_gradient_descent(curvature, rate):
    if is_arb(rate):
        return rate_of_ball(curvature, rate)
    return rate_of_symbols(rate, 1 - rate * curvature, curvature)


def _exact_coefficient(curvature, rate):
    if is_arb(rate):
        return -speed_up_of_ball(curvature, rate)
    # -log(1 - z) / z is the rate of a step z along the eigenvalue 1
    z = curvature * rate
    return -rate_of_symbols(z, 1 - z, z**0)


def _lost_share(z, stages):
    """(1 - R) / z."""
    share = z * 0 + 1
    for k in range(stages, 1, -1):
        share = 1 - z * share / k
    return share


def _exact_runge_kutta(stages, curvature, rate):
    z = curvature * rate
    share = _lost_share(z, stages)
    return rate_of_ball(curvature, rate, share) if is_arb(z) else rate_of_symbols(rate, 1 - z * share, curvature)

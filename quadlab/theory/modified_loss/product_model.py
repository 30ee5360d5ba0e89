"""The two-parameter model E = (y - a b x)^2 / 2: its step, its gradient flow, its drift and its robustness."""

import numpy as np

from quadlab.theory.elementary import quotient, where
from quadlab.theory.extended_range import extended, rounded
from quadlab.theory.intervals import (
    admit,
    admit_broadcast,
    admit_numbers,
    non_negative,
    real,
    refuse,
    require_broadcast,
    shown,
)
from quadlab.theory.modified_loss.arguments import require_axes, within_range

__all__ = [
    "product_model_difference_ratio", "product_model_drift_exponent", "product_model_flow_limit",
    "product_model_noisy_loss",
]  # fmt: skip


def product_model_difference_ratio(residual, learning_rate, data_input=1):
    """Factor by which one gradient step changes a^2 - b^2: 1 - h^2 x^2 r^2, r = a b x - y.

    Gradient flow conserves a^2 - b^2. Where |h x r| > 1 the step jumps across a diagonal, which no flow can do.

    Parameters
    ----------
    residual : r, real
    learning_rate : h, >= 0
    data_input : x, real

    Returns
    -------
    Dimensionless factor, at most 1; broadcasts over all arguments.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: derived here for the two-parameter model of Barrett and Dherin 2021, figure 1.

    >>> round(float(product_model_difference_ratio(9.2, 0.025)), 12)
    0.9471
    """
    residual, rate, data_input = admit_broadcast(
        residual=(residual, real), learning_rate=(learning_rate, non_negative), data_input=(data_input, real)
    )
    h, x, r = extended(rate, data_input, residual)
    stretch = h * x * r
    return within_range(
        rounded((1 - stretch) * (1 + stretch)), residual=residual, learning_rate=rate, data_input=data_input
    )


def product_model_flow_limit(start, data_input, target):
    """End point of gradient flow on (y - a b x)^2 / 2.

    The point of the hyperbola a b = y / x on the side of the start with the same a^2 - b^2.

    Parameters
    ----------
    start : (a, b), shape (..., 2)
    data_input : x, not zero; broadcasts against the leading axes
    target : y, real; broadcasts against the leading axes

    Returns
    -------
    (a, b) at the end, shape (..., 2).

    Raises
    ------
    ValueError: an argument is not a finite number, x is zero, a shape does not fit, or the flow ends at the saddle
        (0, 0): starts with a = b or a = -b on the diagonal that holds no minimum.

    Source: derived here for the two-parameter model of Barrett and Dherin 2021, figure 1.

    >>> product_model_flow_limit([2.8, 3.5], 1.0, 0.6).round(6)
    array([0.283152, 2.119003])
    """
    start, first, second, data_input, target = _admit_numbers(start, data_input, target)
    sign = np.sign(data_input) * np.sign(target)
    refuse(
        (np.abs(first) == np.abs(second)) & (np.sign(first) * np.sign(second) * sign <= 0) & (target != 0),
        "start must not lie on the diagonal that gradient flow takes to the saddle (0, 0)",
        a=first,
        b=second,
    )
    swap = np.abs(first) < np.abs(second)
    a, b, x, y = extended(first, second, data_input, target)
    gap = np.abs((a - b) * (a + b))
    larger = np.sqrt((np.hypot(gap, 2 * (y / x)) + gap) / 2) * np.sign(np.where(swap, second, first))
    smaller = quotient(y / x, larger)
    ends = where(swap, smaller, larger), where(swap, larger, smaller)
    end = np.stack([rounded(coordinate) for coordinate in ends], axis=-1)
    return within_range(end, start=start, data_input=data_input, target=target)


def product_model_drift_exponent(start, data_input, target):
    """First-order effect of the learning rate on a^2 - b^2: I in ln(D_end / D_start) = -h I + O(h^2).

    I = integral of r / s over r from 0 to the residual r_0 of the start, s = sqrt(D^2 + 4 (r + y)^2 / x^2), D = a^2 -
    b^2; that is (x^2/4) (s_0 - s_G) - (x y / 2) (asinh(2 a b / |D|) - asinh(2 y / (x |D|))), s_G = s at r = 0.

    Parameters
    ----------
    start : (a, b) with a^2 not equal to b^2, shape (..., 2)
    data_input : x, not zero; broadcasts against the leading axes
    target : y, real; broadcasts against the leading axes

    Returns
    -------
    I >= 0, in 1 / learning rate, for gradient descent and for the flow of E + (h/4) |grad E|^2 alike; of the broadcast
    shape of the leading axes.

    Raises
    ------
    ValueError: an argument is not a finite number, x is zero, a shape does not fit, or a^2 = b^2 at the start.

    Source: derived here for the two-parameter model of Barrett and Dherin 2021, figure 1.

    >>> round(float(product_model_drift_exponent([2.8, 3.5], 1.0, 0.6)), 12)
    3.30140252213
    """
    start, first, second, data_input, target = _admit_numbers(start, data_input, target)
    refuse(
        np.abs(first) == np.abs(second),
        "start must have a^2 different from b^2 (equal squares stay equal)",
        a=first,
        b=second,
    )
    a, b, x, y = extended(first, second, data_input, target)
    gap, product, distance = np.abs((a - b) * (a + b)), a * b, (a * b * x - y) / x
    close = np.abs(distance) < 0.3 * np.hypot(gap, 2 * product)
    drift = x**2 * where(close, _integrated(gap, y / x, distance), _closed(gap, product, y / x))
    return within_range(rounded(drift), start=start, data_input=data_input, target=target)


def product_model_noisy_loss(parameters, noise_sd, data_input, target, multiplicative=False):
    """Mean of (y - a b x)^2 / 2 when independent Gaussian noise perturbs both parameters.

    Additive, a + sigma xi: (r^2 + x^2 sigma^2 (a^2 + b^2) + x^2 sigma^4) / 2, r = a b x - y.
    Multiplicative, a (1 + sigma xi): (r^2 + x^2 a^2 b^2 ((1 + sigma^2)^2 - 1)) / 2, the same at every minimum.

    Parameters
    ----------
    parameters : (a, b), shape (..., 2)
    noise_sd : sigma, >= 0: in the unit of the parameters, or dimensionless if multiplicative; broadcasts against the
        leading axes, as do the following
    data_input : x, real
    target : y, real
    multiplicative : whether the noise scales with the parameter

    Returns
    -------
    Expected loss, of the broadcast shape of the leading axes.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not fit.

    Source: derived here, for Prediction 2.4 of Barrett and Dherin 2021.

    >>> [round(float(product_model_noisy_loss([3.0, 0.2], 0.1, 1.0, 0.6, kind)), 12) for kind in (False, True)]
    [0.04525, 0.003618]
    """
    if not isinstance(multiplicative, (bool, np.bool_)):
        raise ValueError(f"multiplicative must be True or False, got {shown(multiplicative)}")
    parameters, noise, data_input, target = admit(
        parameters=(parameters, real),
        noise_sd=(noise_sd, non_negative),
        data_input=(data_input, real),
        target=(target, real),
    )
    a, b = _pair("parameters", parameters, noise_sd=noise, data_input=data_input, target=target)
    a, b, deviation, x, y = extended(a, b, noise, data_input, target)
    variance = deviation**2
    spread = variance * (2 + variance) * (a * b) ** 2 if multiplicative else variance * (a**2 + b**2 + variance)
    loss = rounded(((a * b * x - y) ** 2 + x**2 * spread) / 2)
    return within_range(loss, parameters=parameters, noise_sd=noise, data_input=data_input, target=target)


def _pair(name, value, **others):
    """The two parameters, after a look at the shapes."""
    array = require_axes(name, value, ("2",))
    if array.shape[-1] != 2:
        raise ValueError(f"{name} must have shape (..., 2), got {array.shape}")
    require_broadcast(**{f"leading axes of {name}": array[..., 0]}, **others)
    return array[..., 0], array[..., 1]


def _admit_numbers(start, data_input, target):
    start, x, y = admit_numbers(start=(start, real), data_input=(data_input, real), target=(target, real))
    a, b = _pair("start", start, data_input=x, target=y)
    refuse(x == 0, "data_input must not be zero: the loss would be constant", data_input=x)
    return start, a, b, x, y


def _integrated(gap, end, distance):
    """I / x^2 by Gauss-Legendre: near a minimum the closed form is a small difference of large terms."""
    nodes, weights = np.polynomial.legendre.leggauss(30)
    reached = distance[..., np.newaxis] * ((1 + nodes) / 2)
    length = np.hypot(gap[..., np.newaxis], 2 * (end[..., np.newaxis] + reached))
    return distance / 2 * (reached / length * weights).sum(axis=-1)


def _closed(gap, product, end):
    """I / x^2 = (s_0 - s_G) / 4 - (q / 2) (asinh(2 p / D) - asinh(2 q / D)) from p = a b to q = y / x."""
    start_length, end_length = np.hypot(gap, 2 * product), np.hypot(gap, 2 * end)
    progress = 4 * (product - end) * (product + end)
    # asinh A - asinh B = asinh((A^2 - B^2) / (A sqrt(1 + B^2) + B sqrt(1 + A^2))) where A and B have one sign
    same_side = np.arcsinh(progress / (2 * product * end_length + 2 * end * start_length))
    across = np.arcsinh(2 * product / gap) - np.arcsinh(2 * end / gap)
    angle = np.where(product * end > 0, same_side, across)
    return (progress / (start_length + end_length) - 2 * end * angle) / 4

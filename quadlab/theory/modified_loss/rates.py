"""Rate of the linear flow whose time-h map is a given multiplier: -log(mu) / h, on numbers, symbols and balls.

A mode that an optimiser multiplies by mu = 1 - h l q per step follows theta(0) exp(-l~ t) with l~ = -log(mu) / h
= l q phi(h l q), phi(w) = -log(1 - w) / w. The second form keeps its digits for small h l, where the first loses them.
"""

import sys
from math import inf

import numpy as np

from quadlab.theory.elementary import exact_arithmetic, log, log1p
from quadlab.theory.extended_range import rounded

__all__ = [
    "HUGE", "as_complex", "elementwise", "log_of_product", "nested_sum", "rate_of_ball", "rate_of_numbers",
    "rate_of_symbols", "speed_up", "speed_up_of_ball",
]  # fmt: skip

# Beyond this, 1 - z is -z to the last digit, and z itself may overflow.
HUGE = 1e30


def elementwise(function, *arguments):
    """The function of symbols or balls, element by element."""
    return np.vectorize(function, otypes=[object])(*arguments)[()]


def log_of_product(eigenvalue, learning_rate):
    """ln |h l| where h l itself may overflow."""
    return np.log(np.abs(eigenvalue)) + np.log(learning_rate)


def speed_up(w):
    """phi(w) = -log(1 - w) / w of numbers below 1."""
    with np.errstate(all="ignore"):
        return np.where(w == 0, 1, -np.log1p(-w) / w)


def speed_up_of_ball(eigenvalue, learning_rate, ratio=1):
    """phi(h l q); ValueError unless h l q certainly stays at or below 1, where it is real."""
    lost = eigenvalue * learning_rate * ratio
    if not lost <= 1:
        raise ValueError(
            "learning_rate * eigenvalue must, for balls, certainly be small enough for the multiplier of one step to "
            f"stay real and >= 0 (no ball holds a complex rate), got learning_rate {learning_rate}, "
            f"eigenvalue {eigenvalue}"
        )
    # phi increases, so its values at the ends enclose it even where the ball contains 0.
    lower, upper = map(_speed_up_at, (lost.lower(), lost.upper()))
    return lower.union(upper)


def _speed_up_at(point):
    if point == 0:
        return point + 1
    return exact_arithmetic(point)(inf) if point == 1 else -log1p(-point) / point


def rate_of_numbers(eigenvalue, learning_rate, ratio, log_size, angle):
    """-log(mu) / h for mu = exp(log_size + i angle), equal to 1 - h l ratio wherever that is near 1.

    float64 if every angle is zero, otherwise complex128 throughout.
    """
    with np.errstate(all="ignore"):
        lost = eigenvalue * learning_rate * ratio
        real = np.where(np.abs(lost) < 1 / 2, eigenvalue * ratio * speed_up(lost), -log_size / learning_rate)
        if not np.any(angle):
            return real[()]
        imaginary = np.where(angle == 0, 0, -angle / learning_rate)
    return as_complex(real, imaginary)


def as_complex(real, imaginary):
    """real + i imaginary, also where one of them is infinite and arithmetic would make the other NaN."""
    result = np.empty(np.broadcast_shapes(np.shape(real), np.shape(imaginary)), dtype=np.complex128)
    result.real, result.imag = real, imaginary
    return result[()]


def rate_of_symbols(learning_rate, multiplier, gradient_flow):
    """-log(mu) / h on the principal branch; `gradient_flow`, its limit, where h is zero."""
    if learning_rate.is_zero:
        return gradient_flow
    return sys.modules["sympy"].oo if multiplier.is_zero else -log(multiplier) / learning_rate


def rate_of_ball(eigenvalue, learning_rate, ratio=1):
    """l q phi(h l q); ValueError unless h l q certainly stays at or below 1."""
    return eigenvalue * ratio * speed_up_of_ball(eigenvalue, learning_rate, ratio)


def nested_sum(first, ratios):
    """sum_k a_k / (k + 1) with a_0 = first and a_{k+1} = ratios[k] a_k, of extended range; from the last term on."""
    total = first / (len(ratios) + 1)
    for k in reversed(range(len(ratios))):
        total = total * ratios[k] + first / (k + 1)
    return rounded(total)

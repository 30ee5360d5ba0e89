"""Activation functions, with first and second derivatives."""

from math import pi, sqrt

from quadlab.bridge.arrays import error_function
from quadlab.bridge.operations.core import elementwise

__all__ = ["ACTIVATIONS", "GELU", "RELU", "SILU", "TANH"]

TANH = elementwise(
    "tanh",
    lambda xp, x: xp.tanh(x),
    lambda xp, x, y: 1 - y * y,
    lambda xp, x, y: -2 * y * (1 - y * y),
)


def _positive_part(xp, x):
    # NaN must stay NaN, or a diverged network looks silent
    return xp.where(x < 0, xp.zeros_like(x), x)


# the second derivative is zero away from the kink, at which the slope is taken as 0
RELU = elementwise("relu", _positive_part, lambda xp, x, y: xp.astype(x > 0, x.dtype))


def _sigmoid(xp, x):
    return (1 + xp.tanh(x / 2)) / 2


def _silu_slope(xp, x, y):
    s = _sigmoid(xp, x)
    return s * (1 + x * (1 - s))


def _silu_bend(xp, x, y):
    s = _sigmoid(xp, x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


SILU = elementwise("silu", lambda xp, x: x * _sigmoid(xp, x), _silu_slope, _silu_bend)


def _normal_density(xp, x):
    return xp.exp(-x * x / 2) / sqrt(2 * pi)


def _normal_distribution(xp, x):
    return (1 + error_function(x / sqrt(2))) / 2


def _gelu_bend(xp, x, y):
    # x**2 alone may overflow where the density is zero
    density = _normal_density(xp, x)
    return 2 * density - x * (x * density)


GELU = elementwise(
    "gelu",
    lambda xp, x: x * _normal_distribution(xp, x),
    lambda xp, x, y: _normal_distribution(xp, x) + x * _normal_density(xp, x),
    _gelu_bend,
)

ACTIVATIONS = {operation.name: operation for operation in (TANH, RELU, SILU, GELU)}

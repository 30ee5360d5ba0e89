"""Stochastic gradient descent: noise added to the gradient, or multiplying the curvature."""

import sympy

from quadlab.dynamics.deterministic import POSITION, PREVIOUS
from quadlab.dynamics.noise import Noise
from quadlab.dynamics.rule import UpdateRule, parameter

__all__ = ["heavy_ball_multiplicative_noise", "sgd_additive_noise", "sgd_multiplicative_noise"]

XI = sympy.Symbol("xi", real=True)


def sgd_additive_noise():
    """x+ = x - learning_rate * (curvature * x + sqrt(noise_variance) * xi), Var xi = 1.

    `noise_variance` is that of the sampled gradient along the mode.
    """
    gradient = parameter("curvature") * POSITION + sympy.sqrt(parameter("noise_variance")) * XI
    moved = POSITION - parameter("learning_rate") * gradient
    return UpdateRule("SGD with additive noise", (POSITION,), (moved,), (Noise(XI),))


def sgd_multiplicative_noise():
    """x+ = x - learning_rate * curvature * h * x, h = 1 + sqrt(relative_variance) * xi, Var xi = 1."""
    moved = POSITION - parameter("learning_rate") * _sampled_curvature() * POSITION
    return UpdateRule("SGD with multiplicative noise", (POSITION,), (moved,), (Noise(XI),))


def heavy_ball_multiplicative_noise():
    """Heavy ball on a sampled curvature: x+ = x - learning_rate * curvature * h * x + momentum * (x - x-)."""
    moved = (
        POSITION
        - parameter("learning_rate") * _sampled_curvature() * POSITION
        + parameter("momentum") * (POSITION - PREVIOUS)
    )
    return UpdateRule("heavy ball with multiplicative noise", (POSITION, PREVIOUS), (moved, POSITION), (Noise(XI),))


def _sampled_curvature():
    return parameter("curvature") * (1 + sympy.sqrt(parameter("relative_variance")) * XI)

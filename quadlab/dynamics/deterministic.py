"""Deterministic optimisers: gradient descent, heavy ball, Nesterov."""

import sympy

from quadlab.dynamics.rule import UpdateRule, parameter

__all__ = ["gradient_descent", "heavy_ball", "nesterov"]

POSITION, PREVIOUS = sympy.symbols("position previous_position", real=True)


def gradient_descent():
    """x+ = x - learning_rate * curvature * x."""
    gradient = parameter("curvature") * POSITION
    return UpdateRule("gradient descent", (POSITION,), (POSITION - parameter("learning_rate") * gradient,))


def heavy_ball():
    """x+ = x - learning_rate * curvature * x + momentum * (x - x-)."""
    gradient = parameter("curvature") * POSITION
    moved = POSITION - parameter("learning_rate") * gradient + parameter("momentum") * (POSITION - PREVIOUS)
    return UpdateRule("heavy ball", (POSITION, PREVIOUS), (moved, POSITION))


def nesterov():
    """y = x + momentum * (x - x-), x+ = y - learning_rate * curvature * y."""
    ahead = POSITION + parameter("momentum") * (POSITION - PREVIOUS)
    moved = ahead - parameter("learning_rate") * parameter("curvature") * ahead
    return UpdateRule("Nesterov", (POSITION, PREVIOUS), (moved, POSITION))

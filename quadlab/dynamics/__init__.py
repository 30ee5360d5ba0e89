"""Optimisers as data: one update rule from which derivations, oracles and simulators are made."""

from quadlab.dynamics.averaging import with_running_average
from quadlab.dynamics.deterministic import gradient_descent, heavy_ball, nesterov
from quadlab.dynamics.noise import Law, Noise, normal, student_t
from quadlab.dynamics.rule import UpdateRule, parameter
from quadlab.dynamics.stochastic import (
    heavy_ball_multiplicative_noise,
    sgd_additive_noise,
    sgd_multiplicative_noise,
)
from quadlab.dynamics.variational import progressive_sharpening, variational_gradient_descent

__all__ = [
    "Law",
    "Noise",
    "UpdateRule",
    "gradient_descent",
    "heavy_ball",
    "heavy_ball_multiplicative_noise",
    "nesterov",
    "normal",
    "parameter",
    "progressive_sharpening",
    "sgd_additive_noise",
    "sgd_multiplicative_noise",
    "student_t",
    "variational_gradient_descent",
    "with_running_average",
]

"""Simulation: a rule on eigenmodes, compiled; and optimisers on full matrices, which know no eigenbasis."""

from quadlab.simulate.ensemble import DivergenceError, Ensemble
from quadlab.simulate.modes import Snapshot, simulate
from quadlab.simulate.weights import (
    GradientDescent,
    HeavyBall,
    Nesterov,
    StochasticGradientDescent,
    VariationalGradientDescent,
    simulate_weights,
)

__all__ = [
    "DivergenceError",
    "Ensemble",
    "GradientDescent",
    "HeavyBall",
    "Nesterov",
    "Snapshot",
    "StochasticGradientDescent",
    "VariationalGradientDescent",
    "simulate",
    "simulate_weights",
]

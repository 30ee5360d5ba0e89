"""Simulation: a rule on eigenmodes, compiled; optimisers on full matrices, which know no eigenbasis; single paths of an
optimiser on any smooth loss, and the flows they are compared with.
"""

from quadlab.simulate.ensemble import DivergenceError, Ensemble
from quadlab.simulate.flows import flow, gradient_flow, modified_flow
from quadlab.simulate.modes import Snapshot, simulate
from quadlab.simulate.paths import descend, global_error, local_error
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
    "descend",
    "flow",
    "global_error",
    "gradient_flow",
    "local_error",
    "modified_flow",
    "simulate",
    "simulate_weights",
]

"""Deep networks on NumPy or CuPy, with exact Hessians: what the theory of quadratics predicts, met on real networks.

A part of quadlab of its own: it needs neither PyTorch nor JAX, and CuPy only for a GPU.
"""

from quadlab.bridge.architectures import mlp, residual_network, vision_transformer
from quadlab.bridge.arrays import backend, host
from quadlab.bridge.network import Draft, Network
from quadlab.bridge.operator import CurvatureOperator
from quadlab.bridge.problem import Problem

__all__ = [
    "CurvatureOperator",
    "Draft",
    "Network",
    "Problem",
    "backend",
    "host",
    "mlp",
    "residual_network",
    "vision_transformer",
]

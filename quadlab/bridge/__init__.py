"""Deep networks on NumPy or CuPy, with exact Hessians: what the theory of quadratics predicts, met on real networks.

A part of quadlab of its own: it needs neither PyTorch nor JAX, and CuPy only for a GPU.
"""

from quadlab.bridge.architectures import mlp, residual_network, vision_transformer
from quadlab.bridge.arrays import backend, host
from quadlab.bridge.data import Dataset, digits, from_npz
from quadlab.bridge.network import Draft, Network
from quadlab.bridge.operator import CurvatureOperator
from quadlab.bridge.problem import Problem
from quadlab.bridge.spectra import initial_sharpness, preconditioned, spectral_density, top_eigenpairs, trace
from quadlab.bridge.training import (
    Recorder,
    TrainingDiverged,
    explicit_gradient_regularization,
    exponential_average,
    gradient_descent,
    ivon,
    loss_path,
    modified_flow,
    nesterov,
    sam,
    tail_average,
    train,
    variational_gradient_descent,
)

__all__ = [
    "CurvatureOperator",
    "Dataset",
    "Draft",
    "Network",
    "Problem",
    "Recorder",
    "TrainingDiverged",
    "backend",
    "digits",
    "explicit_gradient_regularization",
    "exponential_average",
    "from_npz",
    "gradient_descent",
    "host",
    "initial_sharpness",
    "ivon",
    "loss_path",
    "mlp",
    "modified_flow",
    "nesterov",
    "preconditioned",
    "residual_network",
    "sam",
    "spectral_density",
    "tail_average",
    "top_eigenpairs",
    "trace",
    "train",
    "variational_gradient_descent",
    "vision_transformer",
]

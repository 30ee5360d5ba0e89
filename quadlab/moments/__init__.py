"""Exact numeric oracles: moment operators of a rule, their spectral radii, propagation, enumerated expectations."""

from quadlab.moments.coupled import CoupledMoments
from quadlab.moments.cubature import enumerate_samples, finite_law, noise_points
from quadlab.moments.deviations import gaussian_loss_deviation, gaussian_quadratic_deviation, loss_deviation
from quadlab.moments.modes import (
    MomentOperator,
    Propagated,
    propagate,
    stationary_covariance,
    stationary_mean,
    stationary_second_moment,
)
from quadlab.moments.operators import fourth_moment_operator, second_moment_operator, spectral_radius

__all__ = [
    "CoupledMoments",
    "MomentOperator",
    "Propagated",
    "enumerate_samples",
    "finite_law",
    "fourth_moment_operator",
    "gaussian_loss_deviation",
    "gaussian_quadratic_deviation",
    "loss_deviation",
    "noise_points",
    "propagate",
    "second_moment_operator",
    "spectral_radius",
    "stationary_covariance",
    "stationary_mean",
    "stationary_second_moment",
]

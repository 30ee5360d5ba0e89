"""Variational learning at the edge of stability (Ghosh et al. 2025, arXiv 2506.12903).

Gradient descent on the mean m of a Gaussian with fixed covariance, the gradient averaged over N weight samples:
m+ = m - rho Q (m + mean of the samples' noise). `edge` holds the descent edge of one direction, `descent` the exact
expected change in several, `stationary` probabilities and stationary laws, `posterior` covariances and their rivals.
A result beyond the largest double is infinite, one below the smallest zero; nothing on the way there overflows.
"""

from quadlab.theory.variational.descent import (
    critical_samples,
    descent_learning_rate_limit,
    expected_loss_change,
)
from quadlab.theory.variational.edge import (
    descent_sharpness_gap,
    descent_sharpness_limit,
    edge_fraction,
    posterior_optimal_sharpness_limit,
    variational_factor,
)
from quadlab.theory.variational.posterior import (
    EdgeCrossing,
    Projections,
    edge_crossing,
    hessian_projections,
    student_t_variance,
)
from quadlab.theory.variational.stationary import (
    descent_probability,
    equilibrium_sharpness,
    noise_ball_radius,
    stationary_edge_probability,
    stationary_variance,
)

__all__ = [
    "EdgeCrossing",
    "Projections",
    "critical_samples",
    "descent_learning_rate_limit",
    "descent_probability",
    "descent_sharpness_gap",
    "descent_sharpness_limit",
    "edge_crossing",
    "edge_fraction",
    "equilibrium_sharpness",
    "expected_loss_change",
    "hessian_projections",
    "noise_ball_radius",
    "posterior_optimal_sharpness_limit",
    "stationary_edge_probability",
    "stationary_variance",
    "student_t_variance",
    "variational_factor",
]

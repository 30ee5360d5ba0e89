"""Implicit gradient regularization (Barrett and Dherin 2021, arXiv 2009.11162) and what followed it.

Gradient descent with step h follows the gradient flow of E + (h/4) |grad E|^2 one order more closely than that of E.
`eigenvalues` and `heavy_ball` sum the whole series on quadratics, `penalties` holds the terms added to the loss,
`step_errors` what remains, `equal_loss` and `product_model` what the learning rate does to the solution.
A rate or weight beyond the largest double is infinite; a penalty, a step or an end point there is refused.
"""

from quadlab.theory.modified_loss.eigenvalues import (
    modified_eigenvalue,
    principal_flow_coefficient,
    runge_kutta_modified_eigenvalue,
)
from quadlab.theory.modified_loss.equal_loss import equal_loss_observable
from quadlab.theory.modified_loss.heavy_ball import heavy_ball_modified_eigenvalue
from quadlab.theory.modified_loss.penalties import (
    batch_variance_penalty,
    combined_penalty,
    kernel_gradient_penalty,
    minibatch_gradient_penalty,
    regularization_rate,
)
from quadlab.theory.modified_loss.product_model import (
    product_model_difference_ratio,
    product_model_drift_exponent,
    product_model_flow_limit,
    product_model_noisy_loss,
)
from quadlab.theory.modified_loss.step_errors import (
    adam_modified_field,
    gradient_flow_step_error,
    modified_flow_step_error,
)

__all__ = [
    "adam_modified_field",
    "batch_variance_penalty",
    "combined_penalty",
    "equal_loss_observable",
    "gradient_flow_step_error",
    "heavy_ball_modified_eigenvalue",
    "kernel_gradient_penalty",
    "minibatch_gradient_penalty",
    "modified_eigenvalue",
    "modified_flow_step_error",
    "principal_flow_coefficient",
    "product_model_difference_ratio",
    "product_model_drift_exponent",
    "product_model_flow_limit",
    "product_model_noisy_loss",
    "regularization_rate",
    "runge_kutta_modified_eigenvalue",
]

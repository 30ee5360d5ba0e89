"""A good call of every modified-loss closed form, of numbers that are exact in binary."""

from quadlab.theory.modified_loss import (
    adam_modified_field,
    batch_variance_penalty,
    combined_penalty,
    equal_loss_observable,
    gradient_flow_step_error,
    heavy_ball_modified_eigenvalue,
    kernel_gradient_penalty,
    minibatch_gradient_penalty,
    modified_eigenvalue,
    modified_flow_step_error,
    principal_flow_coefficient,
    product_model_difference_ratio,
    product_model_drift_exponent,
    product_model_flow_limit,
    product_model_noisy_loss,
    regularization_rate,
    runge_kutta_modified_eigenvalue,
)

__all__ = ["GOOD"]

GOOD = {
    regularization_rate: {"learning_rate": 0.5, "parameter_count": 3},
    combined_penalty: {"learning_rate": 0.5, "explicit_penalty": -0.25},
    modified_eigenvalue: {"eigenvalue": 1.25, "learning_rate": 0.5},
    principal_flow_coefficient: {"eigenvalue": 1.25, "learning_rate": 0.5},
    runge_kutta_modified_eigenvalue: {"eigenvalue": 1.25, "learning_rate": 0.5, "stages": 3},
    heavy_ball_modified_eigenvalue: {"eigenvalue": 0.25, "learning_rate": 0.25, "momentum": 0.25},
    minibatch_gradient_penalty: {"batch_gradients": [[1.0, 2.0], [3.0, -1.0]], "learning_rate": 0.5},
    batch_variance_penalty: {"sample_gradients": [[1.0, 2.0], [3.0, -1.0]], "learning_rate": 0.5, "batch_size": 1},
    kernel_gradient_penalty: {
        "residuals": [1.0, -2.0], "kernel": [[2.0, 0.5], [0.5, 1.0]], "learning_rate": 0.5, "loss_scale": 0.5,
    },
    gradient_flow_step_error: {"hessian": [[2.0, 0.5], [0.5, 1.0]], "gradient": [1.0, -0.5], "learning_rate": 0.5},
    modified_flow_step_error: {
        "hessian": [[2.0, 0.5], [0.5, 1.0]], "gradient": [1.0, -0.5],
        "third_derivative": [[[1.0, 2.0], [2.0, 3.0]], [[2.0, 3.0], [3.0, 4.0]]], "learning_rate": 0.5,
    },
    adam_modified_field: {
        "hessian": [[2.0, 0.5], [0.5, 1.0]], "gradient": [1.0, -0.5], "learning_rate": 0.25,
        "first_decay": 0.5, "second_decay": 0.75, "epsilon": 0.25,
    },
    equal_loss_observable: {
        "eigenvalues": [0.5, 1.0], "initial_state": [1.0, 2.0], "weights": [1.0, 1.0], "loss": 0.5,
        "learning_rate": 0.25,
    },
    product_model_difference_ratio: {"residual": 1.5, "learning_rate": 0.25, "data_input": 2.0},
    product_model_flow_limit: {"start": [1.0, 2.0], "data_input": 2.0, "target": 0.5},
    product_model_drift_exponent: {"start": [1.0, 2.0], "data_input": 2.0, "target": 0.5},
    product_model_noisy_loss: {"parameters": [1.0, 2.0], "noise_sd": 0.5, "data_input": 2.0, "target": 0.5},
}  # fmt: skip

"""Symbolic derivations: an update rule in, a theorem out."""

from quadlab.derive.backward_error import (
    elementary_differentials,
    modified_equation,
    modified_loss,
    numeric_field,
    written_out,
)
from quadlab.derive.descent import depressed_cubic, descent_polynomial, expected_change, gradient_symbol
from quadlab.derive.expectation import expectation
from quadlab.derive.linear import sharpness_limit, transition_matrix
from quadlab.derive.moments import (
    mean_square_limit,
    second_moment_recursion,
    stationary_covariance,
    stationary_mean,
    stationary_second_moment,
)
from quadlab.derive.taylor import taylor_loss
from quadlab.derive.trees import elementary_differential

__all__ = [
    "depressed_cubic",
    "descent_polynomial",
    "elementary_differential",
    "elementary_differentials",
    "expectation",
    "expected_change",
    "gradient_symbol",
    "mean_square_limit",
    "modified_equation",
    "modified_loss",
    "numeric_field",
    "second_moment_recursion",
    "sharpness_limit",
    "stationary_covariance",
    "stationary_mean",
    "stationary_second_moment",
    "taylor_loss",
    "transition_matrix",
    "written_out",
]

"""Problems with known derivatives: quadratics, least squares on real data, and losses that are not quadratic.

Each has a `name` and a `dimension`, and on weights of shape (..., dimension)

    loss(weights)                                       shape (...)
    gradient(weights)                                   shape (..., dimension)
    hessian_product(weights, vector)                    H v, without forming H
    third_derivative_product(weights, first, second)    sum_jk T_ijk first_j second_k

so that trajectories and error measurements run on any of them, or on a class of your own with the same methods.
"""

from quadlab.problems.dense import hessian_matrix, third_derivative_tensor
from quadlab.problems.landscape import Landscape
from quadlab.problems.least_squares import LeastSquares
from quadlab.problems.logistic_regression import LogisticRegression
from quadlab.problems.penalty import GradientPenalty
from quadlab.problems.product_model import ProductModel
from quadlab.problems.quadratic import Quadratic

__all__ = [
    "GradientPenalty",
    "Landscape",
    "LeastSquares",
    "LogisticRegression",
    "ProductModel",
    "Quadratic",
    "hessian_matrix",
    "third_derivative_tensor",
]

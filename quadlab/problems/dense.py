"""Second and third derivatives as dense arrays, put together from products with unit vectors."""

import numpy as np

from quadlab.problems.arrays import vectors

__all__ = ["hessian_matrix", "third_derivative_tensor"]


def hessian_matrix(problem, weights):
    """Hessian of a problem's loss, H_ij.

    Parameters: a problem, and weights of shape (..., dimension). Returns shape (..., dimension, dimension), in
    loss / parameter**2, symmetric to rounding.
    Raises ValueError when the weights do not fit or the Hessian is not finite there.

    >>> from quadlab.problems import ProductModel
    >>> hessian_matrix(ProductModel(target=0.5), [1.0, 2.0])
    array([[4. , 3.5],
           [3.5, 1. ]])
    """
    (weights,) = vectors(problem.dimension, weights=weights)
    return _finite(problem.hessian_product(weights[..., None, :], np.eye(problem.dimension)), "Hessian", problem)


def third_derivative_tensor(problem, weights):
    """Third derivative of a problem's loss, T_ijk.

    Parameters: a problem, and weights of shape (..., dimension). Returns shape (..., dimension, dimension,
    dimension), in loss / parameter**3, symmetric to rounding.
    Raises ValueError when the weights do not fit or the derivative is not finite there.

    >>> from quadlab.problems import ProductModel
    >>> third_derivative_tensor(ProductModel(), [1.0, 2.0])
    array([[[0., 4.],
            [4., 2.]],
           [[4., 2.],
            [2., 0.]]])
    """
    (weights,) = vectors(problem.dimension, weights=weights)
    units = np.eye(problem.dimension)
    tensor = problem.third_derivative_product(weights[..., None, None, :], units[:, None, :], units)
    return _finite(tensor, "third derivative", problem)


def _finite(values, quantity, problem):
    # problems of others may return what those of quadlab refuse
    if not np.isfinite(values).all():
        raise ValueError(f"weights must keep the {quantity} of {problem.name} finite, got NaN or infinite entries")
    return values

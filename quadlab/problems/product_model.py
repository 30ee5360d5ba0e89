"""The product model: two weights whose product is fitted to one target, the smallest loss with a curve of minima."""

from dataclasses import dataclass, field

import numpy as np

from quadlab.problems.arrays import product, read_only
from quadlab.problems.smooth import SmoothProblem

__all__ = ["ProductModel"]


@dataclass(frozen=True)
class ProductModel(SmoothProblem):
    """A linear network of one hidden unit, fitted to one data point.

    loss(a, b) = (y - x a b)^2 / 2

    Parameters
    ----------
    data_input : x, finite and not zero
    target : y, finite
    name : what reports call the problem

    Weights are (a, b), shape (..., 2). The minima form the hyperbola x a b = y, with sharpness x^2 (a^2 + b^2).

    Raises
    ------
    ValueError: data_input is zero, or either is not one finite number.

    Source: Barrett and Dherin 2021, Figure 1.

    >>> problem = ProductModel(data_input=1.0, target=0.5)
    >>> problem.loss([[1.0, 2.0], [1.0, 0.5]])
    array([1.125, 0.   ])
    >>> problem.gradient([1.0, 2.0])
    array([3. , 1.5])
    >>> problem.hessian_product([1.0, 2.0], [[1.0, 0.0], [0.0, 1.0]])
    array([[4. , 3.5],
           [3.5, 1. ]])
    """

    data_input: float = 1.0
    target: float = 0.6
    name: str = field(default="product model", kw_only=True)

    def __post_init__(self):
        data_input = float(read_only("data_input", self.data_input, dimensions=0))
        if data_input == 0:
            raise ValueError(f"data_input must be finite and not zero, got {data_input}")
        vars(self).update(data_input=data_input, target=float(read_only("target", self.target, dimensions=0)))

    @property
    def dimension(self):
        """Number of weights, 2."""
        return 2

    def residual(self, weights):
        """Prediction minus target, x a b - y.

        Parameters: weights of shape (..., 2). Returns an array of shape (...).
        Raises ValueError when the weights do not fit or the residual is not finite there.

        >>> ProductModel(data_input=2.0, target=0.5).residual([1.0, 3.0])
        np.float64(5.5)
        """
        return self._evaluate("residual", self._residual, weights=weights)

    def _residual(self, weights):
        return product(self.data_input, weights[..., 0], weights[..., 1]) - self.target

    def _loss(self, weights):
        residual = self._residual(weights)
        return product(residual, residual, 0.5)

    def _gradient(self, weights):
        return product(self.data_input, self._residual(weights)[..., None], weights[..., ::-1])

    def _hessian_product(self, weights, vector):
        x, (a, b), (v, u) = self.data_input, np.moveaxis(weights, -1, 0), np.moveaxis(vector, -1, 0)

        def mixed(component):
            return product(2, x, x, a, b, component) - product(x, self.target, component)

        return np.stack([product(x, b, x, b, v) + mixed(u), mixed(v) + product(x, a, x, a, u)], axis=-1)

    def _third_derivative_product(self, weights, first, second):
        # only T_aab = 2 x^2 b and T_abb = 2 x^2 a, with their permutations, are not zero
        (a, b), (v, u), (p, q) = (np.moveaxis(array, -1, 0) for array in (weights, first, second))

        def entry(weight, one, other):
            return product(2, self.data_input, self.data_input, weight, one, other)

        return np.stack(
            [
                entry(b, v, q) + entry(b, u, p) + entry(a, u, q),
                entry(b, v, p) + entry(a, v, q) + entry(a, u, p),
            ],
            axis=-1,
        )

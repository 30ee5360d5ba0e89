"""What problems share: checked batches of weights, and derivatives as products with vectors."""

from abc import ABC, abstractmethod

import numpy as np

from quadlab.problems.arrays import vectors

__all__ = ["SmoothProblem"]


class SmoothProblem(ABC):
    """A smooth loss with its first three derivatives, on batches of weights.

    A subclass has a `name`, a `dimension` and the formulas `_loss`, `_gradient`, `_hessian_product` and
    `_third_derivative_product`, which receive finite float64 arrays of one common shape (..., dimension).
    """

    name: str

    @property
    @abstractmethod
    def dimension(self):
        """Number of weights."""

    def loss(self, weights):
        """Loss.

        Parameters: weights of shape (..., dimension). Returns an array of shape (...).
        Raises ValueError when the weights do not fit or the loss is not finite there.
        """
        return self._evaluate("loss", self._loss, weights=weights)

    def gradient(self, weights):
        """Gradient of the loss.

        Parameters: weights of shape (..., dimension). Returns an array of the same shape.
        Raises ValueError when the weights do not fit or the gradient is not finite there.
        """
        return self._evaluate("gradient", self._gradient, weights=weights)

    def hessian_product(self, weights, vector):
        """Hessian at the weights times a vector.

        Parameters: weights and vector of shape (..., dimension), leading axes broadcast. Returns that shape.
        Raises ValueError when an argument does not fit or the product is not finite.
        """
        return self._evaluate("Hessian product", self._hessian_product, weights=weights, vector=vector)

    def third_derivative_product(self, weights, first, second):
        """Third derivative T at the weights contracted with two vectors, sum_jk T_ijk first_j second_k.

        Parameters: weights, first and second of shape (..., dimension), leading axes broadcast. Returns that shape.
        Raises ValueError when an argument does not fit or the product is not finite.
        """
        return self._evaluate(
            "third-derivative product", self._third_derivative_product, weights=weights, first=first, second=second
        )

    @abstractmethod
    def _loss(self, weights):
        pass

    @abstractmethod
    def _gradient(self, weights):
        pass

    @abstractmethod
    def _hessian_product(self, weights, vector):
        pass

    @abstractmethod
    def _third_derivative_product(self, weights, first, second):
        pass

    def _evaluate(self, quantity, formula, **arguments):
        arrays = vectors(self.dimension, **arguments)
        # what overflows or leaves the domain is named below, with its weights, instead of warned about
        with np.errstate(all="ignore"):
            result = formula(*arrays)
        finite = np.isfinite(result)
        if result.ndim == arrays[0].ndim:
            finite = finite.all(axis=-1)
        if not finite.all():
            index = tuple(np.argwhere(~finite)[0])
            got = ", ".join(f"{name} {_short(array[index])}" for name, array in zip(arguments, arrays, strict=True))
            raise ValueError(f"{' and '.join(arguments)} must keep the {quantity} of {self.name} finite, got {got}")
        return result[()]


def _short(vector):
    return np.array2string(vector, threshold=6, max_line_width=1000)

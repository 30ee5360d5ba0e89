"""A problem with a penalty on the squared norm of its gradient: the modified loss, and explicit regularization."""

from dataclasses import dataclass, field
from typing import Any

from quadlab.problems.arrays import product, read_only, weighted_squares
from quadlab.problems.smooth import SmoothProblem

__all__ = ["GradientPenalty"]

_NEEDED = ("name", "dimension", "loss", "gradient", "hessian_product", "third_derivative_product")


@dataclass(frozen=True)
class GradientPenalty(SmoothProblem):
    """A problem with its squared gradient added to the loss.

    loss(w) = E(w) + strength |g(w)|^2,   gradient g + 2 strength H g,
    Hessian product H v + 2 strength (H H v + T[g, v]),   with E, g, H and T of the given problem

    At strength = learning_rate / 4 this is the modified loss, whose gradient flow gradient descent on E follows
    to one order more than the flow of E; gradient descent on it at other strengths is explicit gradient
    regularization.

    Parameters
    ----------
    problem : anything with the methods of a problem; its name and dimension are passed on
    strength : finite, negative to reward large gradients; in units of parameter**2 / loss

    The third derivative would need the fourth of the given problem: `third_derivative_product` raises
    NotImplementedError.

    Raises
    ------
    ValueError: the problem lacks a method, or the strength is not one finite number.

    Source: Barrett and Dherin 2021, Theorem 3.1.

    >>> from quadlab.problems.quadratic import Quadratic
    >>> problem = GradientPenalty(Quadratic.diagonal([1.0, 2.0]), strength=0.25)
    >>> problem.name
    'gradient penalty 0.25 on quadratic'
    >>> problem.loss([1.0, 1.0]), problem.gradient([1.0, 1.0])
    (np.float64(2.75), array([1.5, 4. ]))
    """

    problem: Any
    strength: float
    name: str = field(init=False)

    def __post_init__(self):
        missing = [attribute for attribute in _NEEDED if not hasattr(self.problem, attribute)]
        if missing:
            raise ValueError(f"problem must have {', '.join(_NEEDED)}, got {self.problem!r} without {missing[0]}")
        strength = float(read_only("strength", self.strength, dimensions=0))
        vars(self).update(strength=strength, name=f"gradient penalty {strength:g} on {self.problem.name}")

    @property
    def dimension(self):
        """Number of weights."""
        return self.problem.dimension

    def _loss(self, weights):
        return self.problem.loss(weights) + weighted_squares(self.problem.gradient(weights), self.strength)

    def _gradient(self, weights):
        gradient = self.problem.gradient(weights)
        return gradient + self.problem.hessian_product(weights, product(2, self.strength, gradient))

    def _hessian_product(self, weights, vector):
        # the strength goes in first: it may make up for the size of what it is multiplied by
        gradient = product(2, self.strength, self.problem.gradient(weights))
        once = self.problem.hessian_product(weights, vector)
        twice = self.problem.hessian_product(weights, product(2, self.strength, once))
        return once + twice + self.problem.third_derivative_product(weights, gradient, vector)

    def _third_derivative_product(self, weights, first, second):
        raise NotImplementedError(
            f"the third derivative of {self.name} needs the fourth derivative of {self.problem.name}, "
            "which problems do not offer"
        )

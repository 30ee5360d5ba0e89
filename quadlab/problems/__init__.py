"""Problems whose training dynamics are known exactly: quadratic losses, and least squares on real data."""

from quadlab.problems.least_squares import LeastSquares
from quadlab.problems.quadratic import Quadratic

__all__ = ["LeastSquares", "Quadratic"]

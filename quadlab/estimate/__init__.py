"""Estimators for a user's own trajectories: orders of convergence, the field that iterates follow."""

from quadlab.estimate.iterates import modified_vector_field
from quadlab.estimate.orders import Order, convergence_order

__all__ = ["Order", "convergence_order", "modified_vector_field"]

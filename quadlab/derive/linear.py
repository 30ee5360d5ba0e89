"""From a rule to its mean dynamics: transition matrix, characteristic polynomial, stability limit."""

import sympy

from quadlab.derive.expectation import expectation
from quadlab.derive.limits import stability_limit
from quadlab.dynamics.rule import checked_rule

__all__ = ["sharpness_limit", "transition_matrix"]


def transition_matrix(rule):
    """The matrix T of E[next state | state] = T state + constant.

    Raises ValueError when the rule is not affine in its state.

    >>> from quadlab.dynamics import heavy_ball
    >>> transition_matrix(heavy_ball())
    Matrix([
    [-curvature*learning_rate + momentum + 1, -momentum],
    [                                      1,         0]])
    """
    mean = sympy.Matrix([expectation(expression, rule.noises) for expression in checked_rule(rule).update])
    matrix = mean.jacobian(rule.state)
    if matrix.free_symbols & set(rule.state):
        raise ValueError(f"the rule must be affine in its state, {rule.name} is not")
    return matrix.applyfunc(sympy.expand)


def sharpness_limit(rule):
    """The curvature L such that the mean iteration contracts below it, and not at it, for all parameters of the rule.

    An eigenvalue of the transition matrix leaves the unit circle at +1, at -1, or as a complex pair; for one or
    two state variables these are the zeros in the curvature of p(1), p(-1) and 1 - det (Jury). Which of them is
    the limit is decided by the spectral radius, over the whole domain of the parameters; where that depends on them,
    the limit is a Piecewise. Beyond the limit the iteration may contract again. L <= 0: it contracts nowhere.

    ValueError where no such limit exists (the iteration contracts, but not from curvature zero on) or none was found.

    >>> from quadlab.dynamics import nesterov
    >>> sharpness_limit(nesterov())
    2*(momentum + 1)/(learning_rate*(2*momentum + 1))
    """
    matrix = transition_matrix(rule)
    if matrix.rows > 2:
        raise ValueError(f"the rule must have at most two state variables, {rule.name} has {matrix.rows}")
    identity = sympy.eye(matrix.rows)
    crossings = [(identity - matrix).det(), (identity + matrix).det()]
    if matrix.rows == 2:
        crossings.append(1 - matrix.det())
    return stability_limit(rule, matrix, crossings, "means")

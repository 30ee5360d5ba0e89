"""From a rule to its mean dynamics: transition matrix, characteristic polynomial, stability limit."""

import sympy

from quadlab.derive.expectation import expectation
from quadlab.dynamics import parameter

__all__ = ["sharpness_limit", "smallest_positive_root", "transition_matrix"]


def transition_matrix(rule):
    """The matrix T of E[next state | state] = T state + constant.

    Raises ValueError when the rule is not affine in its state.

    >>> from quadlab.dynamics import heavy_ball
    >>> transition_matrix(heavy_ball())
    Matrix([
    [-curvature*learning_rate + momentum + 1, -momentum],
    [                                      1,         0]])
    """
    mean = sympy.Matrix([expectation(expression, rule.noises) for expression in rule.update])
    matrix = mean.jacobian(rule.state)
    if matrix.free_symbols & set(rule.state):
        raise ValueError(f"the rule must be affine in its state, {rule.name} is not")
    return matrix.applyfunc(sympy.expand)


def sharpness_limit(rule):
    """Curvature below which the mean iteration contracts, as an expression in the rule's parameters.

    An eigenvalue of the transition matrix leaves the unit circle at +1, at -1, or as a complex pair; for one or
    two state variables these are the zeros in the curvature of p(1), p(-1) and 1 - det (Jury).

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
    return smallest_positive_root(sympy.prod(crossings), parameter("curvature"))


def smallest_positive_root(polynomial, unknown):
    """The positive root that comes first, where one root is first for all admissible parameters.

    The order of the roots is read off at test points of the other symbols; ValueError if it changes between them.
    """
    polynomial = sympy.Poly(sympy.expand(polynomial), unknown)
    found = sympy.roots(polynomial)
    if sum(found.values()) != polynomial.degree():
        raise ValueError(f"the roots of {polynomial.as_expr()} in {unknown} have no closed form that SymPy finds")
    roots = [sympy.factor(root) for root in found]
    others = sorted({s for root in roots for s in root.free_symbols}, key=lambda s: s.name)
    winners = set()
    for shift in range(11):
        # fractions below one are admissible for rates, momenta and variances alike
        point = {symbol: sympy.Rational((5 * shift + 7 * k) % 11 + 1, 12) for k, symbol in enumerate(others)}
        values = [(root.subs(point), root) for root in roots]
        admissible = [(value, root) for value, root in values if value.is_real and value > 0]
        winners.add(min(admissible, key=lambda pair: pair[0])[1] if admissible else sympy.oo)
    if len(winners) > 1:
        raise ValueError(f"which root of {polynomial.as_expr()} comes first depends on the parameters: {winners}")
    return winners.pop()

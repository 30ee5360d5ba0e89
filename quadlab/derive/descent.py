"""From a rule to the expected change of the quadratic loss in one step, and the sharpness at which it vanishes."""

import sympy

from quadlab.derive.expectation import expectation
from quadlab.dynamics import parameter
from quadlab.dynamics.rule import checked_rule

__all__ = ["depressed_cubic", "descent_polynomial", "expected_change", "gradient_symbol"]

gradient_symbol = sympy.Symbol("gradient", real=True)


def expected_change(rule, *, at_gradient=False):
    """E[curvature x+^2 / 2] - curvature x^2 / 2 along one mode, given the state.

    With `at_gradient` the position is written as gradient / curvature, the state in which the edge is stated.

    >>> from quadlab.dynamics import gradient_descent
    >>> sympy.factor(expected_change(gradient_descent(), at_gradient=True))
    gradient**2*learning_rate*(curvature*learning_rate - 2)/2
    """
    curvature, position = parameter("curvature"), checked_rule(rule).state[0]
    change = curvature * (expectation(rule.update[0] ** 2, rule.noises) - position**2) / 2
    if at_gradient:
        change = change.subs(position, gradient_symbol / curvature)
    return sympy.expand(change)


def descent_polynomial(rule):
    """The polynomial in the curvature with the sign of the expected change at fixed gradient, leading term first.

    >>> from quadlab.dynamics import variational_gradient_descent
    >>> descent_polynomial(variational_gradient_descent()).degree()
    3
    """
    change = sympy.factor(expected_change(rule, at_gradient=True))
    numerator, _ = sympy.fraction(sympy.together(change))
    polynomial = sympy.Poly(numerator, parameter("curvature"))
    content = sympy.Mul(*(factor for factor, _ in sympy.factor_list(polynomial.LC())[1] if factor.is_positive))
    return sympy.Poly(polynomial.as_expr() / content, parameter("curvature"))


def depressed_cubic(polynomial):
    """(p, q) of h^3 + p h + q, the monic form of a cubic without square term.

    ValueError if the polynomial is not such a cubic.
    """
    if polynomial.degree() != 3:
        raise ValueError(f"polynomial must be a cubic, got degree {polynomial.degree()}")
    _, square, linear, constant = (sympy.factor(c / polynomial.LC()) for c in polynomial.all_coeffs())
    if square != 0:
        raise ValueError(f"polynomial must have no square term, got {square}")
    return linear, constant

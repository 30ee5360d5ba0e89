"""Exact expectation over the noise of one step, symbolically."""

import sympy

__all__ = ["expectation"]


def expectation(expression, noises):
    """E of a polynomial in the (independent) noise symbols.

    Raises ValueError if the expression is not a polynomial in them.

    >>> from quadlab.dynamics import Noise
    >>> x, xi = sympy.symbols("x xi")
    >>> expectation((x + xi) ** 4, (Noise(xi),))
    x**4 + 6*x**2 + 3
    """
    if not noises:
        return sympy.expand(expression)
    symbols = [noise.symbol for noise in noises]
    try:
        polynomial = sympy.Poly(sympy.expand(expression), *symbols)
    except sympy.PolynomialError:
        raise ValueError(f"the expression must be a polynomial in {symbols}, got {expression}") from None
    total = sympy.Integer(0)
    for orders, coefficient in polynomial.terms():
        moments = (noise.moment(order) for noise, order in zip(noises, orders, strict=True))
        total += coefficient * sympy.Mul(*moments)
    return sympy.expand(total)

"""A loss with a free symbol for every derivative: what holds for it at the origin holds for any smooth loss."""

from itertools import combinations_with_replacement

import sympy

from quadlab.derive.backward_error import checked_order, checked_symbols

__all__ = ["taylor_loss"]


def taylor_loss(parameters, degree):
    """The Taylor polynomial at the origin of an undetermined loss.

    sum over n = 1 .. degree of sum_{i <= j <= ...} E_ij... theta_i theta_j ... / (multiplicities!)

    A statement about finitely many derivatives of a loss at a point, proved for this polynomial at the origin, is
    proved for all losses.

    Parameters
    ----------
    parameters : distinct symbols, at most 9.
    degree : of the polynomial, >= 1.

    Returns
    -------
    An expression; its symbols E_1, E_12, E_112, ... are the derivatives with respect to the parameters numbered so.

    Raises
    ------
    ValueError: the parameters are not 1 to 9 distinct symbols, or the degree is not a whole number >= 1.

    >>> a, b = sympy.symbols("a b")
    >>> taylor_loss([a, b], 2)
    E_1*a + E_11*a**2/2 + E_12*a*b + E_2*b + E_22*b**2/2
    """
    symbols = checked_symbols("parameters", parameters)
    if len(symbols) > 9:
        raise ValueError(f"parameters must be at most 9, got {len(symbols)}")
    degree = checked_order(degree, "degree", least=1)
    terms = []
    for n in range(1, degree + 1):
        for numbers in combinations_with_replacement(range(len(symbols)), n):
            derivative = sympy.Symbol("E_" + "".join(str(k + 1) for k in numbers), real=True)
            if derivative in symbols:
                raise ValueError(f"parameters must not be called like a derivative, got {derivative}")
            repeated = sympy.prod([sympy.factorial(numbers.count(k)) for k in set(numbers)])
            terms.append(derivative * sympy.Mul(*(symbols[k] for k in numbers)) / repeated)
    return sympy.Add(*terms)

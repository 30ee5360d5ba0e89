"""Elementary functions that pick their implementation by the type they are given.

NumPy or CuPy arrays and numbers, SymPy expressions, Arb balls (python-flint): a closed form written with
these is one function for calling, deriving and enclosing. Neither SymPy nor python-flint is imported here:
a value of their types can only exist once they have been.
"""

import sys
from math import inf
from numbers import Rational

import numpy as np

__all__ = [
    "asinh", "cbrt", "cos", "cosh", "erf", "erf_between", "erfc", "exact_arithmetic", "exp", "greater", "hypot",
    "is_arb", "is_symbolic", "log", "log1p", "maximum", "quotient", "sin", "sinh", "sqrt", "where",
]  # fmt: skip


def is_symbolic(value):
    """True for a SymPy expression or relation."""
    sympy = sys.modules.get("sympy")
    return sympy is not None and isinstance(value, sympy.Basic)


def is_arb(value):
    """True for a python-flint ball."""
    flint = sys.modules.get("flint")
    return flint is not None and isinstance(value, flint.arb)


def exact_arithmetic(*values):
    """What makes any number a SymPy number, if one of the values (or array elements) is symbolic; an Arb ball,
    if one of them is; None if all of them are ordinary numbers.
    """
    elements = [x for value in values for x in (value.flat if _holds_objects(value) else (value,))]
    symbolic, ball = any(map(is_symbolic, elements)), any(map(is_arb, elements))
    if symbolic and ball:
        raise ValueError("SymPy expressions and Arb balls do not mix in one call")
    if symbolic:
        return sys.modules["sympy"].sympify
    return _to_ball if ball else None


def _to_ball(x):
    arb = sys.modules["flint"].arb
    return arb(int(x.numerator)) / int(x.denominator) if isinstance(x, Rational) else arb(x)


def _holds_objects(value):
    return isinstance(value, np.ndarray) and value.dtype == object


def _elementwise(name, numeric, symbolic=None, ball=None, doc=None):
    """A function of numbers or arrays (`numeric`), expressions (`symbolic`, or SymPy's function of this name)
    and balls (`ball`, or Arb's method of this name).
    """

    def function(*arguments):
        if any(map(_holds_objects, arguments)):
            return np.vectorize(function, otypes=[object])(*arguments)
        if any(map(is_symbolic, arguments)):
            sympy = sys.modules["sympy"]
            return (symbolic or getattr(sympy, name))(*map(sympy.sympify, arguments))
        if any(map(is_arb, arguments)):
            balls = map(_to_ball, arguments)
            return ball(*balls) if ball else getattr(next(balls), name)(*balls)
        if any(type(x) is int and abs(x) > sys.float_info.max for x in arguments):
            raise ValueError(
                f"{name} takes numbers in the range of doubles, got an integer beyond {sys.float_info.max}"
            )
        return numeric(*arguments)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc or f"{name}(x) on a number, an array, a SymPy expression or an Arb ball."
    return function


def _special(name):
    """A function of scipy.special, or of its CuPy twin; imported when first called on numbers."""

    def numeric(x):
        if type(x).__module__.partition(".")[0] == "cupy":
            from cupyx.scipy import special
        else:
            from scipy import special
        return getattr(special, name)(x)

    return numeric


sqrt = _elementwise("sqrt", np.sqrt)
cbrt = _elementwise("cbrt", np.cbrt, ball=lambda x: x if x in (0, inf) else x.root(3))
exp = _elementwise("exp", np.exp)
log = _elementwise("log", np.log)
log1p = _elementwise("log1p", np.log1p, symbolic=lambda x: log(1 + x))
sin = _elementwise("sin", np.sin)
cos = _elementwise("cos", np.cos)
sinh = _elementwise("sinh", np.sinh)
cosh = _elementwise("cosh", np.cosh)
asinh = _elementwise("asinh", np.arcsinh)
erf = _elementwise("erf", _special("erf"))


def _erfc_of_symbol(x):
    try:
        return sys.modules["sympy"].erfc(x)
    except OverflowError:  # a floating-point argument so large that no exponent holds the value
        return 1 - erf(x)


erfc = _elementwise("erfc", _special("erfc"), symbolic=_erfc_of_symbol)


def _square_root_of_sum_of_squares(x, y):
    return sqrt(x**2 + y**2)


def _larger(x, y):
    return sys.modules["sympy"].Max(x, y)


hypot = _elementwise(
    "hypot",
    np.hypot,
    symbolic=_square_root_of_sum_of_squares,
    ball=_square_root_of_sum_of_squares,
    doc="sqrt(x^2 + y^2) without intermediate overflow.",
)
maximum = _elementwise(
    "maximum",
    np.maximum,
    symbolic=_larger,
    ball=lambda x, y: x.max(y),
    doc="The larger of two values.",
)


def _certainly_greater(x, y):
    # both x > y and x <= y are False for balls that overlap, and "no" would be a wrong answer for part of them
    if not (x > y or x <= y):
        raise ValueError(f"the balls {x} and {y} overlap, so they cannot be compared")
    return x > y


greater = _elementwise(
    "greater",
    np.greater,
    symbolic=lambda x, y: x > y,
    ball=_certainly_greater,
    doc="x > y; a relation for expressions; ValueError for balls that overlap.",
)


def _divide_numbers(x, y):
    with np.errstate(all="ignore"):
        return np.where((x == 0) | (y == inf), 0, np.divide(x, y))[()]


def _divide_symbols(x, y):
    sympy = sys.modules["sympy"]
    if x.is_zero or y is sympy.oo:
        return sympy.Integer(0)
    return sympy.oo if y.is_zero else x / y


def _divide_balls(x, y):
    if x == 0 or y == inf:
        return _to_ball(0)
    return _to_ball(inf) if y == 0 else x / y


quotient = _elementwise(
    "quotient",
    _divide_numbers,
    symbolic=_divide_symbols,
    ball=_divide_balls,
    doc="x / y for x, y >= 0, where zero or something over infinity is 0, x / 0 infinite; overflow is infinite.",
)


def _erf_between_numbers(low, high, width):
    with np.errstate(all="ignore"):
        reflected = low + high < 0
        low, high = np.where(reflected, -high, low), np.where(reflected, -low, high)
        apart = np.where(low > 0, erfc(low) - erfc(high), erf(high) - erf(low))
        close = (low > 0) & ((low + high) * width < 1)
        return np.where(close, _erf_across(low + width / 2, width / 2), apart)[()]


def _erf_across(middle, half):
    """erf(m + d) - erf(m - d) = (4 d / sqrt(pi)) exp(-m^2) sum over even n of H_n(m) d^n / (n + 1)!, for 4 m d <= 1."""
    before, term, total = 0, 1, 1
    for n in range(16):
        before, term = term, (2 * middle * half * term - 2 * half**2 * before) / (n + 1)
        total = total + (n % 2) * term / (n + 2)
    return 4 / sqrt(np.pi) * half * exp(-(middle**2)) * total


erf_between = _elementwise(
    "erf_between",
    _erf_between_numbers,
    symbolic=lambda low, high, width: erf(high) - erf(low),
    ball=lambda low, high, width: erf(high) - erf(low),
    doc="erf(high) - erf(low) for high = low + width; the width, > 0, by itself where high - low would have lost it.",
)


def where(condition, if_true, if_false):
    """`if_true` where the condition holds, else `if_false`; a SymPy Piecewise when it cannot be decided.

    >>> where(np.array([True, False]), 1.0, 2.0)
    array([1., 2.])
    """
    if is_symbolic(condition) and condition not in (True, False):
        return sys.modules["sympy"].Piecewise((if_true, condition), (if_false, True))
    exact = exact_arithmetic(if_true, if_false)
    if _holds_objects(condition) or (exact and any(map(np.ndim, (condition, if_true, if_false)))):
        return np.vectorize(where, otypes=[object])(condition, if_true, if_false)
    if exact:
        return exact(if_true if condition else if_false)
    return np.where(condition, if_true, if_false)[()]

"""Elementary functions that pick their implementation by the type they are given.

NumPy or CuPy arrays and numbers, SymPy expressions, Arb balls (python-flint): a closed form written with
these is one function for calling, deriving and enclosing. Neither SymPy nor python-flint is imported here:
a value of their types can only exist once they have been.
"""

import sys

import numpy as np

__all__ = [
    "asinh", "cos", "cosh", "erf", "erfc", "exp", "is_arb", "is_symbolic", "log", "sin", "sinh", "sqrt", "where",
]  # fmt: skip


def is_symbolic(value):
    """True for a SymPy expression or relation."""
    sympy = sys.modules.get("sympy")
    return sympy is not None and isinstance(value, sympy.Basic)


def is_arb(value):
    """True for a python-flint ball."""
    flint = sys.modules.get("flint")
    return flint is not None and isinstance(value, flint.arb)


def _elementwise(name, numeric):
    """The function `name` of SymPy, of Arb, or `numeric` of NumPy."""

    def function(x):
        if is_symbolic(x):
            return getattr(sys.modules["sympy"], name)(x)
        if is_arb(x):
            return getattr(x, name)()
        if isinstance(x, np.ndarray) and x.dtype == object:
            return np.vectorize(function, otypes=[object])(x)
        return numeric(x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{name}(x) on a number, an array, a SymPy expression or an Arb ball."
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
exp = _elementwise("exp", np.exp)
log = _elementwise("log", np.log)
sin = _elementwise("sin", np.sin)
cos = _elementwise("cos", np.cos)
sinh = _elementwise("sinh", np.sinh)
cosh = _elementwise("cosh", np.cosh)
asinh = _elementwise("asinh", np.arcsinh)
erf = _elementwise("erf", _special("erf"))
erfc = _elementwise("erfc", _special("erfc"))


def where(condition, if_true, if_false):
    """`if_true` where the condition holds, else `if_false`; a SymPy Piecewise when it cannot be decided.

    >>> where(np.array([True, False]), 1.0, 2.0)
    array([1., 2.])
    """
    if is_symbolic(condition):
        sympy = sys.modules["sympy"]
        return sympy.Piecewise((if_true, condition), (if_false, True))
    if isinstance(condition, (bool, np.bool_)):
        return if_true if condition else if_false
    return np.where(condition, if_true, if_false)

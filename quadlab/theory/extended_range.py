"""Doubles with exponents of their own: a formula written with them rounds as in doubles, but its intermediate values
neither overflow nor underflow.

    >>> squared = extended(1e-200) ** 2
    >>> float(rounded(squared * 1e300)), float(rounded(squared))
    (1e-100, 0.0)

Multiplying by a power of two is exact, so wherever doubles suffice each operation gives the double it gives there.
"""

from collections.abc import Callable
from numbers import Integral

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from quadlab.theory.elementary import exact_arithmetic, where

__all__ = ["ExtendedRange", "extended", "rounded"]

# Of zero and of infinity: beyond the exponent of every product of finite doubles.
_LOWEST, _HIGHEST = -(2**40), 2**40
# A term so many binary places below another does not count beside it, and no double lies so far from one.
_FAR = 3000


def extended(*values):
    """The values as numbers of extended range, or as they are if one of them is a symbol or a ball; one alone bare."""
    if not exact_arithmetic(*values):
        values = tuple(ExtendedRange(value) for value in values)
    return values if len(values) > 1 else values[0]


def rounded(value):
    """The nearest double (infinite beyond the largest); anything but a number of extended range as it is."""
    if not isinstance(value, ExtendedRange):
        return value
    return _in_units_of(value, 0)[()]


class ExtendedRange(NDArrayOperatorsMixin):
    """mantissa * 2**exponent, arrays of one shape. NumPy's operators and the functions below work on it."""

    def __init__(self, mantissa, exponent=0):
        with np.errstate(all="ignore"):
            self.mantissa, shift = np.frexp(mantissa)
        self.exponent = shift + np.int64(1) * exponent
        vanishes, infinite = self.mantissa == 0, np.isinf(self.mantissa)
        if vanishes.any() or infinite.any():
            self.exponent = np.where(vanishes, _LOWEST, np.where(infinite, _HIGHEST, self.exponent))

    def __array_ufunc__(self, ufunc, method, *inputs):
        function = _FUNCTIONS.get(ufunc)
        if function is None or method != "__call__":
            return NotImplemented
        with np.errstate(all="ignore"):
            if ufunc is np.power:
                return function(*inputs)
            return function(*(x if isinstance(x, ExtendedRange) else ExtendedRange(x) for x in inputs))

    def __array_function__(self, function, types, arguments, keywords):
        if function is not np.where:
            return NotImplemented
        condition, *values = arguments
        yes, no = (x if isinstance(x, ExtendedRange) else ExtendedRange(x) for x in values)
        chosen = np.where(condition, yes.mantissa, no.mantissa), np.where(condition, yes.exponent, no.exponent)
        return ExtendedRange(*chosen)

    def __getitem__(self, index):
        return ExtendedRange(self.mantissa[index], self.exponent[index])

    def sum(self, axis):
        """Sum over one axis, or several."""
        unit = self.exponent.max(axis=axis, keepdims=True)
        return ExtendedRange(_in_units_of(self, unit).sum(axis=axis), unit.squeeze(axis))


def _in_units_of(x, unit):
    with np.errstate(all="ignore"):
        shift = np.minimum(np.maximum(x.exponent - unit, -_FAR), _FAR)
        return np.ldexp(x.mantissa, shift.astype(np.intc))


def _added(x, y):
    unit = np.maximum(x.exponent, y.exponent)
    return ExtendedRange(_in_units_of(x, unit) + _in_units_of(y, unit), unit)


def _power(base, exponent):
    if not isinstance(exponent, Integral):
        raise TypeError(f"a number of extended range has whole powers only, got {exponent!r}")
    return ExtendedRange(base.mantissa**exponent, base.exponent * exponent)


def _square_root(x):
    odd = x.exponent % 2
    return ExtendedRange(np.sqrt(x.mantissa * (1 + odd)), (x.exponent - odd) // 2)


def _cube_root(x):
    third = x.exponent % 3
    return ExtendedRange(np.cbrt(x.mantissa * 2.0**third), (x.exponent - third) // 3)


def _hypotenuse(x, y):
    unit = np.maximum(x.exponent, y.exponent)
    return ExtendedRange(np.hypot(_in_units_of(x, unit), _in_units_of(y, unit)), unit)


def _logarithm(x):
    """As a double."""
    inside = np.abs(x.exponent) < 1000
    return np.where(inside, np.log(rounded(x)), np.log(x.mantissa) + x.exponent * np.log(2))[()]


def _exponential(x):
    x = rounded(x)
    doublings = np.where(np.abs(x) < 700, 0, np.rint(np.minimum(np.maximum(x, -1e9), 1e9) / np.log(2)))
    return ExtendedRange(np.exp(x - doublings * np.log(2)), doublings.astype(np.int64))


def _area_sine(x):
    """Where x is tiny it is x itself, where x is huge log(2 x)."""
    huge, tiny = x.exponent > 100, x.exponent < -100
    magnitude = np.where(huge, _logarithm(2 * np.abs(x)), np.arcsinh(rounded(np.abs(x))))
    return where(tiny, x, ExtendedRange(np.sign(x.mantissa) * magnitude))


_FUNCTIONS: dict[np.ufunc, Callable] = {
    np.add: _added,
    np.subtract: lambda x, y: _added(x, -y),
    np.multiply: lambda x, y: ExtendedRange(x.mantissa * y.mantissa, x.exponent + y.exponent),
    np.true_divide: lambda x, y: ExtendedRange(x.mantissa / y.mantissa, x.exponent - y.exponent),
    np.power: _power,
    np.negative: lambda x: ExtendedRange(-x.mantissa, x.exponent),
    np.absolute: lambda x: ExtendedRange(np.abs(x.mantissa), x.exponent),
    np.sign: lambda x: np.sign(x.mantissa),
    np.sqrt: _square_root,
    np.cbrt: _cube_root,
    np.hypot: _hypotenuse,
    np.log: _logarithm,
    np.exp: _exponential,
    np.arcsinh: _area_sine,
    np.greater: lambda x, y: (x - y).mantissa > 0,
    np.greater_equal: lambda x, y: (x - y).mantissa >= 0,
    np.less: lambda x, y: (x - y).mantissa < 0,
    np.less_equal: lambda x, y: (x - y).mantissa <= 0,
    np.equal: lambda x, y: (x.mantissa == y.mantissa) & (x.exponent == y.exponent),
}

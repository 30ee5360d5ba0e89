"""Sums of exponentials, and what is made of them, in forms that neither overflow nor cancel far out.

    log(sum_i e^a_i) = LogSumExp(a),   (sum_i e^a_i)^p = PowerOfSum(p, a),   log cosh u = LogCosh(u)

Softplus, logistic functions, softmax and tanh are of these, and so are all their derivatives: a derivative is a sum of
products in which each factor has all its digits, 1 - logistic(u) being logistic(-u).
"""

from functools import cache, reduce
from typing import Any

import numpy as np
import sympy
from sympy.codegen.cfunctions import log1p

__all__ = ["NUMERIC", "stable"]

# above so many terms a sum is one of sums: derivatives take the square of the number of terms
_TERMS = 8


class LogSumExp(sympy.Function):
    """log(e^a_1 + ... + e^a_n)."""

    def fdiff(self, argindex=1):
        return Share(argindex, *self.args)


class PowerOfSum(sympy.Function):
    """(e^a_1 + ... + e^a_n)^p, with arguments p, a_1, ..., a_n."""

    def fdiff(self, argindex=1):
        power, *terms = self.args
        return self * LogSumExp(*terms) if argindex == 1 else power * self * Share(argindex - 1, *terms)


class Share(sympy.Function):
    """e^a_i / (e^a_1 + ... + e^a_n), with arguments i, a_1, ..., a_n."""

    def fdiff(self, argindex=1):
        index, *terms = self.args
        if index != argindex - 1:
            return -self * Share(argindex - 1, *terms)
        return self * sympy.Add(*(Share(k, *terms) for k in range(1, len(terms) + 1) if k != index))

    def along(self, _, *slopes):
        """Derivative where the terms have these slopes, by their differences: terms that grow alike cancel exactly."""
        index, *terms = self.args
        others = (Share(k + 1, *terms) * (slopes[index - 1] - slope) for k, slope in enumerate(slopes))
        return self * sympy.Add(*others)


class LogCosh(sympy.Function):
    """log cosh u."""

    def fdiff(self, argindex=1):
        return Tanh(*self.args)


class Tanh(sympy.Function):
    """tanh u, with a derivative that does not cancel."""

    def fdiff(self, argindex=1):
        return SquaredSech(*self.args)


class SquaredSech(sympy.Function):
    """1 - tanh^2 u = 1 / cosh^2 u."""

    def fdiff(self, argindex=1):
        return -2 * self * Tanh(*self.args)


def _log_sum_exp(*terms):
    if len(terms) == 2:
        return np.logaddexp(*terms)
    *others, top = np.sort(np.broadcast_arrays(*terms), axis=0)
    return top + np.log1p(np.exp(others - top).sum(axis=0))


def _power_of_sum(power, *terms):
    top = reduce(np.maximum, terms)
    return np.exp(power * top) * sum(np.exp(term - top) for term in terms) ** (power * 1.0)


def _share(index, *terms):
    top = reduce(np.maximum, terms)
    return np.exp(terms[index - 1] - top) / sum(np.exp(term - top) for term in terms)


def _log_cosh(u):
    size = np.abs(u)
    near = np.log1p(2 * np.sinh(np.minimum(size, 1) / 2) ** 2)
    return np.where(size < 1, near, size + np.log1p(np.exp(-2 * size)) - np.log(2))


def _squared_sech(u):
    # without squaring, which leaves the range of double precision first
    return np.cosh(u) ** -2.0


NUMERIC = {
    "LogSumExp": _log_sum_exp,
    "PowerOfSum": _power_of_sum,
    "Share": _share,
    "LogCosh": _log_cosh,
    "Tanh": np.tanh,
    "SquaredSech": _squared_sech,
}


def stable(expression):
    """The same function of its real symbols, with logarithms and powers of sums of exponentials as one operation each.

    >>> u = sympy.Symbol("u", real=True)
    >>> stable(sympy.log(1 + sympy.exp(u))), stable(sympy.exp(u) / (1 + sympy.exp(u)))
    (LogSumExp(0, u), PowerOfSum(-1, -u, 0))
    """

    @cache
    def visit(node):
        if not node.args:
            return node
        arguments = [visit(argument) for argument in node.args]
        if any(new is not old for new, old in zip(arguments, node.args, strict=True)):
            node = node.func(*arguments)
        if isinstance(node, sympy.tanh):
            return Tanh(*node.args)
        if isinstance(node, sympy.log):
            return _log(*node.args)
        if node.is_Mul or node.is_Pow:
            return _product(sympy.Mul.make_args(node))
        return _complements(node) if node.is_Add else node

    return visit(expression)


def _log(argument):
    positive, others = _positive(sympy.Mul.make_args(argument))
    if positive is not None and (positive[1] or not positive[0].is_number):
        rest, sums = positive
        value = sympy.Add(rest, *(power * _log_sum(terms) for terms, power in sums.items()))
        return value if not others else value + _log(sympy.Mul(*others))
    constant, rest = argument.as_coeff_Add()
    return log1p(rest) if constant == 1 else sympy.log(argument)


def _product(factors):
    """The product, its positive factors as one, in which what overflows and what underflows meet as logarithms."""
    numbers = [factor for factor in factors if factor.is_number]
    positive, others = _positive([factor for factor in factors if not factor.is_number])
    if positive is None:
        return sympy.Mul(*factors)
    growing = next((factor for factor in others if factor.is_Add and any(map(_grows, factor.args))), None)
    if growing is not None:
        rest = list(factors)
        rest.remove(growing)
        return sympy.Add(*(_product(sympy.Mul.make_args(sympy.Mul(term, *rest))) for term in growing.args))
    hyperbolic = [factor.args[0] for factor in others if isinstance(factor, sympy.sinh)]
    if len(numbers) + len(others) + 1 == len(factors) and not hyperbolic:
        (alone,) = set(factors) - set(numbers) - set(others)
        if not alone.is_Pow or (alone.exp.is_Integer and alone.exp > 0):
            return sympy.Mul(*factors)
    others = [Tanh(*factor.args) if isinstance(factor, sympy.sinh) else factor for factor in others]
    rest, sums = positive
    return sympy.Mul(*numbers, *others, _exponential(sympy.Add(rest, *map(LogCosh, hyperbolic)), sums))


def _grows(term):
    return any(isinstance(factor, sympy.exp | sympy.cosh | sympy.sinh) for factor in sympy.Mul.make_args(term))


def _positive(factors):
    """The logarithm of the product of all factors that are positive by their form, None if none is, and the others."""
    logarithms = {factor: _logarithm(factor) for factor in factors}
    known = [value for value in logarithms.values() if value is not None]
    others = [factor for factor, value in logarithms.items() if value is None]
    return (_sum_of_logarithms(known) if known else None), others


def _logarithm(node):
    """The logarithm, as a rest and powers of sums of exponentials, of what is positive by its form; else None."""
    if node.is_number:
        return (sympy.log(node), {}) if node.is_positive else None
    if isinstance(node, sympy.exp):
        return node.args[0], {}
    if isinstance(node, sympy.cosh):
        return LogCosh(*node.args), {}
    if isinstance(node, SquaredSech):
        return -2 * LogCosh(*node.args), {}
    if isinstance(node, PowerOfSum):
        return sympy.Integer(0), {node.args[1:]: node.args[0]}
    if node.is_Pow:
        inner = _logarithm(node.base)
        return inner and (node.exp * inner[0], {terms: node.exp * power for terms, power in inner[1].items()})
    if not (node.is_Mul or node.is_Add):
        return None
    parts = [_logarithm(argument) for argument in node.args]
    if None in parts:
        return None
    if node.is_Mul:
        return _sum_of_logarithms(parts)
    logarithms = (sympy.Add(rest, *(p * _log_sum(terms) for terms, p in sums.items())) for rest, sums in parts)
    return sympy.Integer(0), {tuple(logarithms): sympy.Integer(1)}


def _sum_of_logarithms(logarithms):
    sums: dict = {}
    for _, more in logarithms:
        for terms, power in more.items():
            sums[terms] = sums.get(terms, 0) + power
    return sympy.Add(*(rest for rest, _ in logarithms)), sums


def _log_sum(terms):
    return LogSumExp(*_grouped(terms)) if len(terms) > 1 else terms[0]


def _exponential(rest, sums):
    """exp(rest) times powers of sums, each of which takes up the part of the rest that is one of its terms."""
    powers = [(list(terms), power) for terms, power in sums.items() if power != 0]
    if not powers or not (all(p.is_negative for _, p in powers) or all(p.is_positive for _, p in powers)):
        return sympy.exp(sympy.Add(rest, *(power * _log_sum(terms) for terms, power in powers)))
    parts = [rest, *(rest.args if rest.is_Add else ())]
    for part in parts:
        for place, (terms, power) in enumerate(powers):
            if rest != 0 and -part / power in terms:
                powers[place] = [term + part / power for term in terms], power
                rest -= part
                break
        if rest == 0:
            break
    terms, power = powers[0]
    powers[0] = [term + rest / power for term in terms], power
    return sympy.Mul(*(PowerOfSum(power, *_grouped(terms)) for terms, power in powers))


def _grouped(terms):
    while len(terms) > _TERMS:
        terms = [_log_sum(terms[i : i + _TERMS]) for i in range(0, len(terms), _TERMS)]
    return terms


def _complements(total):
    """The sum with 1 - logistic, 1 +- tanh and 1 - tanh^2 as what they are far out, where they cancel."""
    constant, _ = total.as_coeff_Add()
    for term in total.args if constant != 0 else ():
        size, factor = term.as_coeff_Mul()
        other: Any = None
        if isinstance(factor, PowerOfSum) and factor.args[0] == -1 and 0 in factor.args[1:] and size == -constant:
            terms = list(factor.args[1:])
            terms.remove(0)
            other = PowerOfSum(-1, -_log_sum(terms), 0)
        elif isinstance(factor, Tanh) and size in (constant, -constant):
            other = 2 * PowerOfSum(-1, 0, -2 * size / constant * factor.args[0])
        elif factor.is_Pow and isinstance(factor.base, Tanh) and factor.exp == 2 and size == -constant:
            other = SquaredSech(*factor.base.args)
        if other is not None:
            return total - constant - term + constant * other
    return total

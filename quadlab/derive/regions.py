"""A parameter domain cut up by the signs of expressions: points in its parts, and a formula by cases over them."""

from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np
import sympy

__all__ = ["Parts", "cells", "evaluator", "real_roots", "same_sign"]

POINTS, LINES, CASES = 40, 8, 3
CLOSE = 1e-8
ROOT = 1e-6  # above the error of a double root


@dataclass(frozen=True)
class Parts:
    """The domain of the symbols, one interval each, and the expressions (separators) whose signs cut it up."""

    symbols: list[Any]
    intervals: list[Any]
    separators: list[Any]

    def sample(self, rng):
        """Points in general position, and one in each cell that the separators cut the lines through some into."""
        points = [tuple(_draw(rng, interval) for interval in self.intervals) for _ in range(POINTS)]
        if not self.separators:
            return points[:LINES]
        for k, interval in self._lines():
            roots = self._roots_along(k, self.separators)
            for point in points[:LINES]:
                inside = cells(roots(point), interval.lower, interval.upper)
                points += [(*point[:k], x, *point[k + 1 :]) for x in inside]
        return points

    def ends(self, points):
        """Some of the points moved to each end that belongs to the domain."""
        moved = []
        for k, interval in enumerate(self.intervals):
            ends = [(interval.lower, interval.lower_closed), (interval.upper, interval.upper_closed)]
            for end in (end for end, closed in ends if closed and isfinite(end)):
                moved += [(*point[:k], end, *point[k + 1 :]) for point in points[:LINES]]
        return moved

    def decision(self, answers, points, admitted):
        """One of the answers, or a Piecewise of them, that is admitted at every point.

        admitted : (points, answers), booleans. As few nested signs as will do, CASES at most; None where they do not.
        """
        signs = evaluator(self.symbols, self.separators)
        table = np.array([np.sign(signs(point).real) for point in points]).reshape(len(points), len(self.separators))
        for depth in range(CASES + 1):
            tree = _tree(table, np.asarray(admitted), depth)
            if tree is not None:
                pieces = self._pieces(tree, points, evaluator(self.symbols, answers), answers, {})
                return pieces[0][0] if len(pieces) == 1 else sympy.Piecewise(*pieces)
        return None

    def _pieces(self, tree, points, values, answers, path):
        """(answer, condition), tried in order; path: the signs on the way to this tree."""
        if isinstance(tree, int):
            return [(answers[tree], sympy.true)]
        k, above, below = tree
        separator = self.separators[k]
        infinite = any(_divides(separator, answers[leaf]) for leaf in _leaves(above))
        strict = infinite or self._nearer(k, below, above, points, values, path)
        condition = separator > 0 if strict else separator >= 0
        first = self._pieces(above, points, values, answers, {**path, k: 1})
        rest = self._pieces(below, points, values, answers, {**path, k: -1})
        return [*((answer, sympy.And(condition, more)) for answer, more in first), *rest]

    def _nearer(self, k, one, other, points, values, path):
        """Whether the answer of one tree lies below that of the other where the k-th separator vanishes.

        It is the right one there: roots meet or appear.
        """
        numbers = evaluator(self.symbols, self.separators)
        for point in self._on(k, points):
            signs = np.sign(numbers(point).real)
            if all(signs[i] == sign for i, sign in path.items()):
                answers = values(point)
                left, right = (answers[_leaf(tree, signs)] for tree in (one, other))
                if np.isfinite(left) and not right.real * (1 - ROOT) <= left.real:
                    return True
        return False

    def _on(self, k, points):
        """Some points of the domain at which a separator vanishes."""
        for line, _ in self._lines():
            roots = self._roots_along(line, [self.separators[k]])
            for point in points[:LINES]:
                yield from ((*point[:line], x, *point[line + 1 :]) for x in roots(point))

    def _lines(self):
        return [(k, interval) for k, interval in enumerate(self.intervals) if not interval.whole]

    def _roots_along(self, k, separators):
        """Point -> where, along its k-th coordinate and inside the domain, one of the separators vanishes."""
        symbol, interval = self.symbols[k], self.intervals[k]
        polynomials = [s.as_poly(symbol) for s in separators if s.has(symbol)]
        others = [*self.symbols[:k], *self.symbols[k + 1 :]]
        rows = sympy.lambdify(others, [p.all_coeffs() for p in polynomials if p is not None], "numpy")

        def roots(point):
            found = [root for row in rows(*point[:k], *point[k + 1 :]) for root in real_roots(row)]
            return sorted({float(root) for root in found if interval.lower < root < interval.upper})

        return roots


def cells(roots, lower, upper):
    """One number inside each interval that sorted roots cut the interval (lower, upper) into.

    >>> cells([1.0, 3.0], 0.0, float("inf"))
    [0.5, 2.0, 6.0]
    """
    if not roots:
        if isfinite(lower) and isfinite(upper):
            return [(lower + upper) / 2]
        return [lower + 1 if isfinite(lower) else upper - 1 if isfinite(upper) else 0.0]
    before = (lower + roots[0]) / 2 if isfinite(lower) else roots[0] - 1 - abs(roots[0])
    beyond = roots[-1] - lower if isfinite(lower) else 1 + abs(roots[-1])
    after = (upper + roots[-1]) / 2 if isfinite(upper) else roots[-1] + beyond
    return [before, *((a + b) / 2 for a, b in pairwise(roots)), after]


def real_roots(coefficients):
    """The real roots of a polynomial, leading coefficient first; a double one may be lost to rounding."""
    with np.errstate(all="ignore"):
        roots = np.roots(np.array(coefficients, dtype=float))
    return roots.real[np.abs(roots.imag) <= CLOSE * np.abs(roots)]


def evaluator(symbols, expressions):
    """Point -> complex values of the expressions, infinite or NaN where they have none."""
    algebraic = {
        number: number.evalf(20) for e in expressions for number in sympy.sympify(e).atoms(sympy.ComplexRootOf)
    }
    function = sympy.lambdify(symbols, [sympy.sympify(e).xreplace(algebraic) for e in expressions], "numpy")

    def values(point):
        with np.errstate(all="ignore"):
            return np.array(function(*map(np.complex128, point)), dtype=complex)

    return values


def same_sign(expression, symbols, intervals):
    """Whether an expression is shown to have one sign inside the domain.

    Each parameter is written through a positive one that runs over its interval; then coefficients of one sign show it.
    """
    written = {symbol: _unfolded(interval) for symbol, interval in zip(symbols, intervals, strict=True)}
    parts = sympy.fraction(sympy.together(expression.subs(written, simultaneous=True)))
    return all((part.is_positive or part.is_negative) is True for part in map(sympy.expand, parts))


def _unfolded(interval):
    free = sympy.Dummy("t", positive=True)
    lower, upper = (sympy.nsimplify(end, rational=True) for end in (interval.lower, interval.upper))
    if lower.is_finite and upper.is_finite:
        return (lower + upper * free) / (1 + free)
    if lower.is_finite:
        return lower + free
    return upper - free if upper.is_finite else sympy.Dummy("t", real=True)


def _draw(rng, interval):
    """A member of an interval, from all its decades where it is unbounded."""
    reach = 10 ** rng.uniform(-3, 3)
    if isfinite(interval.lower) and isfinite(interval.upper):
        number = rng.uniform(interval.lower, interval.upper)
    elif isfinite(interval.lower):
        number = interval.lower + reach
    else:
        number = interval.upper - reach if isfinite(interval.upper) else rng.choice([-1, 1]) * reach
    return float(np.ceil(number)) if interval.whole else float(number)


def _tree(table, admitted, depth):
    """The index of an answer, or (separator, tree where it is positive, tree where it is negative)."""
    everywhere = admitted.all(axis=0)
    if everywhere.any():
        return int(everywhere.argmax())
    for k in range(table.shape[1]) if depth else ():
        sides = [table[:, k] == sign for sign in (1, -1)]
        if all(side.any() for side in sides):
            above, below = (_tree(table[side], admitted[side], depth - 1) for side in sides)
            if above is not None and below is not None:
                return k, above, below
    return None


def _leaves(tree):
    return [tree] if isinstance(tree, int) else [*_leaves(tree[1]), *_leaves(tree[2])]


def _leaf(tree, signs):
    return tree if isinstance(tree, int) else _leaf(tree[1 if signs[tree[0]] > 0 else 2], signs)


def _divides(factor, expression):
    """Whether the factor stands in the denominator of the expression."""
    powers = sympy.fraction(sympy.together(expression))[1].factor().as_powers_dict()
    return factor in powers or -factor in powers

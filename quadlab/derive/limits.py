"""Where stability ends: closed-form candidates, judged by the spectral radius all over the domain of the parameters."""

from itertools import combinations, pairwise
from math import inf, isfinite

import numpy as np
import sympy

from quadlab.derive.regions import Parts, cells, evaluator, real_roots, same_sign

__all__ = ["stability_limit"]

SURE, SAME = 1e-6, 1e-12  # a spectral radius nearer to one than SURE decides nothing, nearer than SAME it is one
CLOSE = 1e-8


def stability_limit(rule, matrix, crossings, moments):
    """The curvature that ends the first interval of curvatures on which the spectral radius of `matrix` is below one.

    crossings : expressions of which one vanishes wherever the radius passes one, and only where it is one or more.
    moments : what converges, for messages.

    The roots of the crossings are the candidates. Which of them comes first, and that the step is stable before it, is
    computed at points all over the domain of the rule's parameters: on both sides of every hypersurface on which two
    roots meet, one vanishes, becomes complex or passes infinity, since the answer can change nowhere else.
    """
    search = _Search(rule, matrix, crossings, moments)
    symbols, intervals = search.symbols, [rule.domain[symbol.name] for symbol in search.symbols]
    parts = Parts(symbols, intervals, [s for s in search.separators() if not same_sign(s, symbols, intervals)])
    rng = np.random.default_rng(0)
    answers = [*search.candidates, sympy.oo, sympy.nsimplify(search.lower, rational=True)]
    drawn = parts.sample(rng)
    points, admitted = search.judged(drawn, answers)
    if 2 * len(points) < len(drawn):
        raise ValueError(f"{rule.name} keeps {moments} too near the edge of stability to find a limit")
    limit = parts.decision(answers, points, admitted)
    if limit is None or not _holds(search, limit, parts.sample(rng), parts.ends(points)):
        raise ValueError(
            f"where {moments} of {rule.name} cease to converge has no closed form in {', '.join(map(str, symbols))} "
            "that could be found: give some of them numbers, or narrow the rule's domain"
        )
    return limit


def _holds(search, limit, fresh, ends):
    """Whether the limit is right at fresh points, and at the ends of the domain where it has a value there."""
    values = evaluator(search.symbols, [limit])
    finite = [point for point in ends if np.isfinite(values(point)).all()]
    return all(search.judged(points, [limit])[1].all() for points in (fresh, finite))


class _Search:
    """The candidates of a rule, and what its spectral radius says about them at numbers for the parameters."""

    def __init__(self, rule, matrix, crossings, moments):
        self.name, self.moments = rule.name, moments
        if "curvature" not in rule.domain:
            raise ValueError(f"{rule.name} has no parameter curvature, so {moments} have no limit in it")
        self.curvature, domain = rule.symbol("curvature"), rule.domain["curvature"]
        self.lower, self.upper = domain.lower, domain.upper
        pieces = [piece for crossing in crossings for piece in self._pieces(crossing)]
        self.factors = [self._polynomial(piece) for piece in pieces if piece.has(self.curvature)]
        self.contents = [piece for piece in pieces if not piece.has(self.curvature)]
        self.symbols = sorted(matrix.free_symbols - {self.curvature}, key=lambda symbol: symbol.name)
        roots = {factor: _closed_roots(factor) for factor in self.factors}
        self.solved = [factor for factor, found in roots.items() if found]
        self.candidates = sorted((root for found in roots.values() for root in found), key=sympy.count_ops)
        self._coefficients = sympy.lambdify(self.symbols, [factor.all_coeffs() for factor in self.factors], "numpy")
        self._matrix = sympy.lambdify([self.curvature, *self.symbols], matrix.tolist(), "numpy")

    def _pieces(self, crossing):
        """The irreducible factors whose zeros make the crossing vanish or infinite."""
        for part in sympy.fraction(sympy.together(sympy.nsimplify(crossing, rational=True))):
            if sympy.expand(part) == 0:
                raise ValueError(f"{self.moments} of {self.name} converge at no curvature: a part never decays")
            yield from _irreducible(part)

    def _polynomial(self, factor):
        polynomial = factor.as_poly(self.curvature)
        if polynomial is None:
            raise ValueError(
                f"the update of {self.name} must be rational in the curvature to have a limit, got {factor}"
            )
        return polynomial

    def separators(self):
        """Expressions in the parameters whose signs decide how the roots lie: irreducible, each once."""
        found = [*self.contents, *(end for factor in self.factors for end in (factor.LC(), factor.eval(self.lower)))]
        # factors without closed roots are left to the points: theirs can take minutes, and no limit is made of them
        found += [factor.discriminant() for factor in self.solved if factor.degree() > 1]
        found += [sympy.resultant(a, b) for a, b in combinations(self.solved, 2)]
        pieces: list = []
        for expression in found:
            for piece in _irreducible(sympy.fraction(sympy.together(expression))[0]):
                if piece not in pieces and -piece not in pieces:
                    pieces.append(piece)
        return pieces

    def judged(self, points, answers):
        """The points at which the radius is clear, and for each which of the answers are right: (points, answers)."""
        values, kept, table = evaluator(self.symbols, answers), [], []
        for point in points:
            regions = self._regions(point)
            if regions is not None:
                kept.append(point)
                table.append(self._right(point, regions, values(point)))
        return kept, np.array(table)

    def _right(self, point, regions, values):
        stable = [(left, right) for left, right, holds in regions if holds and left < self.upper]
        with np.errstate(invalid="ignore"):
            real = np.abs(values.imag) <= CLOSE * np.abs(values)
        if not stable:
            return real & (values.real <= self.lower)
        if stable[0][0] > self.lower:
            at = ", ".join(f"{symbol} = {value:.6g}" for symbol, value in zip(self.symbols, point, strict=True))
            listed = " and ".join(f"({a:.6g}, {b:.6g})" for a, b in stable)
            raise ValueError(
                f"{self.moments} of {self.name} have no limit below which they converge: "
                f"{f'at {at} ' if at else ''}they converge for curvatures in {listed}, not from {self.lower:g} on"
            )
        end = stable[0][1]
        return real & np.isclose(values.real, end, rtol=CLOSE, atol=0) if isfinite(end) else values.real == inf

    def _regions(self, point):
        """(left, right, stable) between neighbouring crossings; None where a radius is too near one to tell."""
        roots = {float(root) for row in self._coefficients(*point) for root in real_roots(row) if root > self.lower}
        edges = [self.lower, *sorted(roots), inf]
        inside = cells(edges[1:-1], self.lower, inf)
        with np.errstate(all="ignore"):
            matrices = np.array([self._matrix(curvature, *point) for curvature in inside], dtype=float)
        if not np.isfinite(matrices).all():
            return None
        radii = np.abs(np.linalg.eigvals(matrices)).max(axis=1)
        gaps = np.abs(radii - 1)
        if ((gaps > SAME) & (gaps < SURE)).any():
            return None
        return [(*edge, radius < 1 - SAME) for edge, radius in zip(pairwise(edges), radii, strict=True)]


def _irreducible(expression):
    factors = sympy.Mul.make_args(sympy.factor(expression))
    return [factor.as_base_exp()[0] for factor in factors if factor.free_symbols]


def _closed_roots(factor):
    """The roots of a factor in closed form, if any; a quadratic's so written that its leading term may vanish.

    Of degree three and more, only where its unknown has one scale.
    """
    if factor.degree() == 1:
        slope, constant = factor.all_coeffs()
        return [sympy.factor(-constant / slope)]
    if factor.degree() == 2:
        _, slope, constant = factor.all_coeffs()
        reach = sympy.sqrt(sympy.factor(factor.discriminant()))
        return [2 * constant / (-slope + sign * reach) for sign in (1, -1)]
    scale = _scale(factor)
    if scale is None:
        return []
    unknown = sympy.Symbol("u")
    alone = sympy.cancel(factor.as_expr().subs(factor.gen, unknown / scale) / factor.TC())
    return [root / scale for root in sympy.Poly(alone, unknown).real_roots()]


def _scale(factor):
    """The s for which the factor is a constant times a polynomial in s times its unknown, numbers for coefficients.

    None where there is no such s.
    """
    ratios = {k: sympy.cancel(c / factor.TC()) for k, c in enumerate(reversed(factor.all_coeffs())) if k and c}
    first = min(ratios)
    scale = ratios[first] if first == 1 else sympy.root(sympy.Abs(ratios[first]), first)
    numbers = (sympy.cancel(ratio / scale**k) for k, ratio in ratios.items())
    return scale if all(number.is_Rational for number in numbers) else None

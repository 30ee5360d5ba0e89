"""Evidence by derivation: residuals that have to reduce to zero."""

import sympy

from quadlab.verify.symbols import test_points
from quadlab.verify.verdict import INCONCLUSIVE, REFUTED, VERIFIED, Evidence, Verdict, combine

__all__ = ["judge", "reduces_to_zero"]

SMALLEST = sympy.Float("1e-25")


def judge(claim, candidate):
    """Reduce every residual that the claim's derivation makes for a candidate formula."""
    residuals = claim.derivation(candidate).residuals
    if not residuals:
        raise ValueError(f"the derivation of {claim.name} must return at least one residual, got none")
    verdicts = {name: _decide(name, sympy.sympify(residual), claim.domain) for name, residual in residuals.items()}
    return Evidence("symbolic", combine(verdicts.values()), claim.name, {"residuals": list(residuals)})


def reduces_to_zero(expression):
    """Whether SymPy brings the expression to the literal 0, by one of a few standard reductions.

    >>> x = sympy.Symbol("x", positive=True)
    >>> reduces_to_zero(sympy.sinh(3 * x) - 3 * sympy.sinh(x) - 4 * sympy.sinh(x) ** 3)
    True
    """
    reductions = (
        sympy.expand,
        lambda e: sympy.cancel(sympy.together(e)),
        sympy.radsimp,
        sympy.simplify,
        lambda e: sympy.simplify(sympy.expand(e.rewrite(sympy.exp))),
        lambda e: sympy.simplify(sympy.expand_trig(e)),
    )
    return any(reduce(expression) == 0 for reduce in reductions)


def _decide(name, residual, domain):
    point, value = _somewhere_nonzero(residual, domain)
    if point is not None:
        return Verdict(REFUTED, f"{name} leaves {sympy.N(value, 6)}", {s.name: str(p) for s, p in point.items()})
    if reduces_to_zero(residual):
        return Verdict(VERIFIED)
    branches = " and has branches" if residual.has(sympy.Piecewise, sympy.Min, sympy.Max) else ""
    return Verdict(INCONCLUSIVE, f"{name} vanishes at test points but did not reduce to zero{branches}")


def _somewhere_nonzero(residual, domain):
    """A rational point at which the residual is certainly not zero, and its value there; or (None, None).

    A residual that is not a number counts where it is one at no test point: single points may be singular.
    """
    points = test_points(residual.free_symbols, domain)
    values = [residual.subs(point).evalf(40) for point in points]
    unreal = [value.has(sympy.nan, sympy.zoo, sympy.oo) for value in values]
    for point, value, bad in zip(points, values, unreal, strict=True):
        if (bad and all(unreal)) or (not bad and value.is_number and abs(value) > SMALLEST):
            return point, value
    return None, None

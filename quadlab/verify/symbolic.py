"""Evidence by derivation: residuals that have to reduce to zero."""

import sympy

from quadlab.verify.verdict import INCONCLUSIVE, REFUTED, VERIFIED, Evidence, Verdict, combine

__all__ = ["judge", "reduces_to_zero"]


def judge(claim, candidate):
    """Reduce every residual that the claim's derivation makes for a candidate formula."""
    residuals = claim.derivation(candidate).residuals
    if not residuals:
        raise ValueError(f"the derivation of {claim.name} must return at least one residual, got none")
    verdicts = {name: _decide(name, sympy.sympify(residual)) for name, residual in residuals.items()}
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


def _decide(name, residual):
    point, value = _somewhere_nonzero(residual)
    if point is not None:
        return Verdict(REFUTED, f"{name} leaves {sympy.N(value, 6)}", {**point, "residual": str(sympy.N(value, 12))})
    if reduces_to_zero(residual):
        return Verdict(VERIFIED)
    branches = " and has branches" if residual.has(sympy.Piecewise, sympy.Min, sympy.Max) else ""
    return Verdict(INCONCLUSIVE, f"{name} vanishes at test points but did not reduce to zero{branches}")


def _somewhere_nonzero(residual):
    """A rational point at which the residual is certainly not zero, and its value there; or (None, None)."""
    symbols = sorted(residual.free_symbols, key=lambda symbol: symbol.name)
    for shift, whole in enumerate((1, 2, 7, 100)):
        point = {s: sympy.Rational(3 + 2 * k + shift, 7 + 3 * k + 3 * shift) for k, s in enumerate(symbols)}
        point |= {s: sympy.Integer(whole) for s in symbols if s.name == "samples"}
        value = residual.subs(point).evalf(40)
        if value.has(sympy.nan, sympy.zoo, sympy.oo):
            return {s.name: str(p) for s, p in point.items()}, value
        if value.is_number and abs(value) > sympy.Float("1e-25"):
            return {s.name: str(p) for s, p in point.items()}, value
    return None, None

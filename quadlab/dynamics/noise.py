"""Sources of randomness as data: a law with its moments, and how many fresh draws of it a step averages."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import sympy

from quadlab.theory.intervals import whole_positive

__all__ = ["Law", "Noise", "normal", "student_t"]


@dataclass(frozen=True)
class Law:
    """A symmetric law with mean zero.

    `even_moments` are E xi^2, E xi^4, ... (SymPy); those of order `tail` and above are infinite.
    `draw` is the expression that makes one draw inside a compiled kernel, from `rng` (a NumPy Generator)
    and the names of `parameters` (symbols that moments and draw may use). `stable`: the mean of n draws has
    the law of one draw divided by sqrt(n).
    """

    name: str
    even_moments: tuple[Any, ...]
    draw: str
    tail: Any = sympy.oo
    parameters: tuple[sympy.Symbol, ...] = ()
    stable: bool = False

    def moment(self, order):
        """E xi^order, exact, where it is finite."""
        if order % 2:
            return sympy.Integer(0)
        if order // 2 > len(self.even_moments):
            raise ValueError(f"the {self.name} law states moments up to {2 * len(self.even_moments)}, not {order}")
        return self.even_moments[order // 2 - 1] if order else sympy.Integer(1)


normal = Law("standard normal", tuple(map(sympy.Integer, (1, 3, 15, 105))), "rng.standard_normal()", stable=True)


def student_t(degrees_of_freedom):
    """Student's t with squared scale 1: variance a/(a-2) for a > 2, fourth moment 3a^2/((a-2)(a-4)) for a > 4.

    `degrees_of_freedom` is a symbol, bound when the rule is simulated.

    >>> student_t(sympy.Symbol("a")).moment(2).subs("a", 3)
    3
    """
    a = degrees_of_freedom
    moments = (a / (a - 2), 3 * a**2 / ((a - 2) * (a - 4)))
    return Law("Student t", moments, f"rng.standard_t({a})", a, (a,))


@dataclass(frozen=True)
class Noise:
    """The mean of `count` fresh independent draws from `law`, called `symbol` in the update.

    `shared`: one draw acts on all modes of a replica; otherwise each mode has its own.
    """

    symbol: sympy.Symbol
    law: Law = normal
    count: Any = 1
    shared: bool = False

    def __post_init__(self):
        if not isinstance(self.symbol, sympy.Symbol):
            raise ValueError(f"symbol must be a SymPy symbol, got {self.symbol!r}")
        if not isinstance(self.law, Law):
            raise ValueError(f"law must be a Law, got {self.law!r}")
        if not sympy.sympify(self.count).free_symbols:
            whole_positive.check("count", self.count)

    def moment(self, order):
        """E symbol^order, exact, through the cumulants of the law.

        >>> n = sympy.Symbol("n", positive=True)
        >>> sympy.factor(Noise(sympy.Symbol("xi"), normal, n).moment(4))
        3/n**2
        """
        if order % 2:
            return sympy.Integer(0)
        return _moment_of_mean(self.law, sympy.sympify(self.count), order)


@cache
def _moment_of_mean(law, count, order):
    if count == 1:
        return law.moment(order)
    moments = [law.moment(k) for k in range(order + 1)]
    cumulants: list = [sympy.Integer(0)]
    for k in range(1, order + 1):
        mixed = sum(sympy.binomial(k - 1, j - 1) * cumulants[j] * moments[k - j] for j in range(1, k))
        cumulants.append(moments[k] - mixed)
    of_sum: list = [sympy.Integer(1)]
    for k in range(1, order + 1):
        of_sum.append(sum(sympy.binomial(k - 1, j - 1) * count * cumulants[j] * of_sum[k - j] for j in range(1, k + 1)))
    return sympy.simplify(of_sum[order] / count**order)

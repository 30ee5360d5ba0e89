"""An optimiser as data: the stochastic recurrence it performs on one coordinate of a quadratic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy

from quadlab.dynamics.noise import Noise
from quadlab.theory import intervals

__all__ = ["UpdateRule", "parameter"]

# what `simulate` takes beside the values of parameters
ARGUMENTS = {
    "eigenvalues", "executor", "initial", "observables", "progress", "record", "replicas", "rng", "rule", "steps",
}  # fmt: skip

PARAMETERS = {
    "curvature": intervals.non_negative,
    "learning_rate": intervals.positive,
    "momentum": intervals.momentum_range,
    "noise_variance": intervals.non_negative,
    "samples": intervals.whole_positive,
    "degrees_of_freedom": intervals.Interval(2, float("inf"), words="above 2 and finite"),
    "relative_variance": intervals.non_negative,
    "sharpening": intervals.positive,
    "sharpness_gradient_squared": intervals.positive,
}


def parameter(name):
    """The symbol of a parameter: positive, or non-negative where zero is admitted.

    >>> parameter("learning_rate").is_positive, parameter("momentum").is_positive
    (True, None)
    """
    interval = PARAMETERS.get(name, intervals.positive)
    if name != "curvature" and interval.lower_closed and interval.lower == 0:
        return sympy.Symbol(name, nonnegative=True)
    return sympy.Symbol(name, positive=True)


def _assumed(symbol):
    """The interval that SymPy takes a symbol to lie in, which what is derived relies on."""
    if symbol.is_positive:
        return intervals.positive
    return intervals.non_negative if symbol.is_nonnegative else intervals.real


@dataclass(frozen=True)
class UpdateRule:
    """One step of an optimiser on one mode: state, noise and parameters in, next state out.

    state : symbols; the first is the coordinate of the weights, measured from the minimiser.
    update : one expression for each state symbol, in the state, the noise and the parameters.
    noises : the sources of randomness, drawn afresh each step.
    domain : interval of each parameter (the well-known names have theirs already; any other is positive, non-negative
        or real, as its symbol says).

    The parameter `curvature` is the Hessian's eigenvalue along the mode. Everything else is made from this
    one statement: transition matrices and limits (quadlab.derive), moment operators (quadlab.moments) and
    the compiled simulator (quadlab.simulate).

    >>> x, curvature, learning_rate = sympy.Symbol("x"), parameter("curvature"), parameter("learning_rate")
    >>> rule = UpdateRule("gradient descent", (x,), (x - learning_rate * curvature * x,))
    >>> [symbol.name for symbol in rule.parameters]
    ['curvature', 'learning_rate']
    """

    name: str
    state: tuple[sympy.Symbol, ...]
    update: tuple[sympy.Expr, ...]
    noises: tuple[Noise, ...] = ()
    domain: Mapping[str, intervals.Interval] = field(default_factory=dict)
    parameters: tuple[Any, ...] = field(init=False)

    def __post_init__(self):
        update = tuple(sympy.sympify(expression) for expression in self.update)
        if len(update) != len(self.state):
            raise ValueError(
                f"update must have one expression for each of the {len(self.state)} state symbols, got {len(update)}"
            )
        own = {*self.state, *(noise.symbol for noise in self.noises)}
        if len(own) != len(self.state) + len(self.noises):
            raise ValueError(f"state and noise symbols must be distinct, got {self.state} and {self.noises}")
        used = {symbol for expression in update for symbol in expression.free_symbols}
        for noise in self.noises:
            used |= sympy.sympify(noise.count).free_symbols | set(noise.law.parameters)
        free = sorted(used - own, key=lambda symbol: symbol.name)
        names = [symbol.name for symbol in (*free, *own)]
        if len(set(names)) != len(names):
            raise ValueError(f"symbols must have distinct names, got {sorted(names)}")
        for symbol in free:
            if symbol.name in ARGUMENTS:
                taken = ", ".join(sorted(ARGUMENTS))
                raise ValueError(f"a parameter must not have a name of simulate's own, {taken}, got {symbol.name!r}")
        unknown = sorted(set(self.domain) - {symbol.name for symbol in free})
        if unknown:
            raise ValueError(f"domain must name parameters of the rule, got {', '.join(unknown)}")
        domain = {s.name: self.domain.get(s.name) or PARAMETERS.get(s.name) or _assumed(s) for s in free}
        object.__setattr__(self, "update", update)
        object.__setattr__(self, "parameters", tuple(free))
        object.__setattr__(self, "domain", domain)

    def __hash__(self):
        return hash((self.name, self.state, self.update, self.noises))

    def symbol(self, name):
        """The state, noise or parameter symbol called `name`."""
        known = (*self.state, *self.parameters, *(noise.symbol for noise in self.noises))
        for symbol in known:
            if symbol.name == name:
                return symbol
        raise ValueError(f"{self.name} has no symbol {name!r}, only {', '.join(s.name for s in known)}")

    def check_parameters(self, values):
        """Return the parameter values as float64; ValueError if one is missing, unknown or out of its domain."""
        missing = [s.name for s in self.parameters if s.name not in values]
        unknown = sorted(set(values) - {s.name for s in self.parameters})
        if missing:
            raise ValueError(f"{self.name} needs a value for {', '.join(missing)}")
        if unknown:
            raise ValueError(
                f"{self.name} has no parameter {', '.join(unknown)}, only "
                + (", ".join(s.name for s in self.parameters) or "none")
            )
        return {name: interval.check(name, values[name]) for name, interval in self.domain.items()}

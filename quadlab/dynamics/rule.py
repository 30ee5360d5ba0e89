"""An optimiser as data: the stochastic recurrence it performs on one coordinate of a quadratic."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy

from quadlab.dynamics.noise import Noise
from quadlab.theory import intervals

__all__ = ["UpdateRule", "checked_rule", "parameter"]

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


# what a random draw is commonly called, alone or as a part of a name, unless the name goes on to say how large it is
DRAWS = {
    "xi", "eps", "epsilon", "varepsilon", "eta", "zeta", "z", "dw", "noise", "normal", "gauss", "gaussian", "random",
    "rand", "randn", "draw", "draws", "sample", "kick", "shock", "wiener", "brownian", "ξ", "ε", "η", "ζ",
}  # fmt: skip
SIZES = {
    "variance", "covariance", "scale", "level", "std", "sd", "deviation", "strength", "amplitude", "size", "rate",
    "temperature", "ratio", "correlation", "power", "count",
}  # fmt: skip


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

    Every other symbol is a parameter: made by `parameter`, assumed real, or named in `domain`. One that may be a noise
    left out of `noises` (no sign assumed, and called like a draw or not even assumed real) is a ValueError.

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
        state, noises = _checked_parts("state", self.state, sympy.Symbol), _checked_parts("noises", self.noises, Noise)
        update = tuple(map(_checked_expression, _checked_parts("update", self.update, object)))
        if len(update) != len(state):
            raise ValueError(
                f"update must have one expression for each of the {len(state)} state symbols, got {len(update)}"
            )
        own = {*state, *(noise.symbol for noise in noises)}
        if len(own) != len(state) + len(noises):
            raise ValueError(f"state and noise symbols must be distinct, got {state} and {noises}")
        used = {symbol for expression in update for symbol in expression.free_symbols}
        for noise in noises:
            used |= sympy.sympify(noise.count).free_symbols | set(noise.law.parameters)
        free = sorted(used - own, key=lambda symbol: symbol.name)
        _check_names([symbol.name for symbol in own], [symbol.name for symbol in free])
        unknown = sorted(set(self.domain) - {symbol.name for symbol in free})
        if unknown:
            raise ValueError(f"domain must name parameters of the rule, got {', '.join(unknown)}")
        for symbol in free:
            _check_declared(symbol, self.domain.get(symbol.name))
        domain = {s.name: self.domain.get(s.name) or PARAMETERS.get(s.name) or _assumed(s) for s in free}
        for name, value in {"state": state, "update": update, "noises": noises, "domain": domain}.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "parameters", tuple(free))

    def __hash__(self):
        return hash((self.name, self.state, self.update, self.noises))

    def symbol(self, name):
        """The state, noise or parameter symbol called `name`."""
        known = (*self.state, *self.parameters, *(noise.symbol for noise in self.noises))
        found = _found(name, {symbol.name: symbol for symbol in known})
        if found is None:
            raise ValueError(f"{self.name} has no symbol {name!r}, only {', '.join(s.name for s in known)}")
        return found

    def check_parameters(self, values):
        """Return the parameter values as float64; ValueError if one is missing, unknown or out of its domain.

        Python reads a keyword in its normal form (NFKC): it names the one parameter that has this form, too.
        """
        names = {symbol.name: symbol.name for symbol in self.parameters}
        given = {_found(name, names) or name: value for name, value in values.items()}
        missing = [name for name in names if name not in given]
        unknown = sorted(set(given) - set(names))
        if missing:
            raise ValueError(f"{self.name} needs a value for {', '.join(missing)}")
        if unknown:
            raise ValueError(f"{self.name} has no parameter {', '.join(unknown)}, only " + (", ".join(names) or "none"))
        if len(given) < len(values):
            raise ValueError(f"{self.name} takes each parameter once, got {', '.join(values)}")
        return {name: interval.check(name, given[name]) for name, interval in self.domain.items()}


def checked_rule(rule):
    """The rule; ValueError for anything else."""
    if not isinstance(rule, UpdateRule):
        raise ValueError(f"rule must be an UpdateRule, got {rule!r}")
    return rule


def _checked_parts(name, parts, kind):
    """The parts as a tuple; ValueError unless they are a sequence of the given kind."""
    if not isinstance(parts, tuple | list):
        raise ValueError(f"{name} must be a tuple, got {parts!r}")
    for part in parts:
        if not isinstance(part, kind):
            raise ValueError(f"{name} must hold objects of the class {kind.__name__}, got {part!r}")
    return tuple(parts)


def _checked_expression(expression):
    expression = sympy.sympify(expression)
    if not isinstance(expression, sympy.Expr) or expression.has(sympy.nan, sympy.oo, -sympy.oo, sympy.zoo):
        raise ValueError(f"update must hold finite expressions, got {expression}")
    return expression


def _check_names(own, free):
    names = [*own, *free]
    if len(set(names)) != len(names):
        raise ValueError(
            f"symbols must have distinct names, and one name the same assumptions everywhere, got {sorted(names)}"
        )
    for name in names:
        form = _normal_form(name)
        if form != name and form in PARAMETERS:
            raise ValueError(f"a symbol's name must not be read as {form} by Python and be another, got {name!r}")
    for name in free:
        if _normal_form(name) in ARGUMENTS:
            taken = ", ".join(sorted(ARGUMENTS))
            raise ValueError(f"a parameter must not have a name of simulate's own, {taken}, got {name!r}")


def _found(name, known):
    """What is known by a name, or by the one name whose normal form is that of `name`; None if there is none."""
    if name in known:
        return known[name]
    forms = [entry for other, entry in known.items() if _normal_form(other) == _normal_form(name)]
    return forms[0] if len(forms) == 1 else None


def _check_declared(symbol, interval):
    """ValueError unless it is clear that a symbol is a parameter, and of which range."""
    name, assumed = symbol.name, _assumed(symbol)
    if name == "curvature" and symbol != parameter(name):
        raise ValueError("the symbol curvature must be parameter('curvature'), got one with other assumptions")
    if interval is not None:
        if not isinstance(interval, intervals.Interval):
            raise ValueError(f"domain must give an Interval for {name}, got {interval!r}")
        if interval.lower < assumed.lower:
            raise ValueError(f"the domain of {name} must lie inside what its symbol assumes, {assumed}, got {interval}")
        return
    if symbol.is_nonnegative or (symbol.is_real and (name in PARAMETERS or not _called_like_a_draw(name))):
        return
    raise ValueError(
        f"{name} is neither a state nor a noise. If it is random, list it: noises=(Noise({name}),). If it is a "
        f"parameter, write it as parameter({name!r}), or give its range: domain={{{name!r}: Interval(...)}}"
    )


def _called_like_a_draw(name):
    form = _normal_form(name).lower()
    words = set(re.split(r"[\W\d_]+", form))
    return (bool(words & DRAWS) or "noise" in form) and not words & SIZES


def _normal_form(name):
    return unicodedata.normalize("NFKC", name) if isinstance(name, str) else name

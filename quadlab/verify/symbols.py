"""The arguments of a claim as symbols: declared as its domain says, and at rational points inside it."""

import itertools

import sympy

from quadlab.theory.intervals import Interval
from quadlab.verify.domain import Directions

__all__ = ["conditions", "declared", "lengths", "test_points"]

ENOUGH = 4
ATTEMPTS = 200
WHOLE = (1, 2, 7, 100)
SCALES = (sympy.Rational(1, 5), 3, sympy.Rational(1, 40), 12, 1, 60, sympy.Rational(1, 2))


def declared(domain, length=0):
    """A symbol, or for directions a list of `length` symbols, for each argument; None if an argument is a matrix."""
    symbols = {}
    for name, entry in domain.items():
        if isinstance(entry, Directions):
            assumptions = _assumptions(entry.interval)
            symbols[name] = [sympy.Symbol(f"{name}_{k}", **assumptions) for k in range(1, length + 1)]
        elif isinstance(entry, Interval):
            symbols[name] = sympy.Symbol(name, **_assumptions(entry))
        else:
            return None
    return symbols


def lengths(domain):
    """Each number of directions that points of the domain may have; (0,) where no argument has directions."""
    entries = [entry for entry in domain.values() if isinstance(entry, Directions)]
    return tuple(range(entries[0].least, entries[0].most + 1)) if entries else (0,)


def conditions(domain, symbols):
    """Relations that say of the symbols of `declared` what their assumptions do not: finite ends, and relations."""
    found = []
    for name, entry in domain.items():
        interval = entry.interval if isinstance(entry, Directions) else entry
        for symbol in symbols[name] if isinstance(entry, Directions) else [symbols[name]]:
            for end, closed, below in (
                (interval.lower, interval.lower_closed, True),
                (interval.upper, interval.upper_closed, False),
            ):
                if sympy.Float(end).is_finite and not (below and end == 0):
                    side = sympy.Rational(end)
                    relation = (sympy.Ge if closed else sympy.Gt) if below else (sympy.Le if closed else sympy.Lt)
                    found.append(relation(symbol, side))
    for relation in domain.relations:
        value = relation(**{name: symbols[name] for name in relation.names})
        found += list(value.flat) if hasattr(value, "flat") else [value]
    return [relation for relation in found if relation != True]  # noqa: E712 (SymPy's true is not True)


def test_points(symbols, domain):
    """A few rational points: inside the domain as far as the symbols are its arguments, of the sign and kind declared.

    Every symbol takes a different value at each.
    """
    ordered = sorted(symbols, key=lambda symbol: symbol.name)
    candidates = (
        {symbol: _value(symbol, k, shift, domain) for k, symbol in enumerate(ordered)} for shift in range(ATTEMPTS)
    )
    return list(itertools.islice((point for point in candidates if _admitted(point, domain)), ENOUGH))


def _assumptions(interval):
    facts = {"integer": True} if interval.whole else {"real": True}
    if interval.lower > 0 or (interval.lower == 0 and not interval.lower_closed):
        facts["positive"] = True
    elif interval.lower == 0:
        facts["nonnegative"] = True
    if interval.upper < 0 or (interval.upper == 0 and not interval.upper_closed):
        facts["negative"] = True
    return facts


def _value(symbol, k, shift, domain):
    interval = domain.get(symbol.name)
    fraction = sympy.Rational(3 + 2 * k + shift, 7 + 3 * k + 3 * shift)
    if shift >= ENOUGH:  # relations may admit none of the first points, whose values are of one size
        fraction *= SCALES[shift * (k + 1) // 2 % len(SCALES)]
    if isinstance(interval, Interval):
        low, high = map(sympy.Rational, interval.typical)
        if interval.whole:
            return low + (WHOLE[shift % len(WHOLE)] - 1 + k * (shift // len(WHOLE))) % (high - low + 1)
        if low < fraction < high or shift >= ENOUGH:
            return fraction
        return sympy.nsimplify(low + (high - low) * fraction, rational=True, tolerance=(high - low) / 1000)
    if symbol.is_integer or symbol.name == "samples":
        fraction = sympy.Integer(WHOLE[shift % len(WHOLE)] + k * (shift // len(WHOLE)))
    return -fraction if symbol.is_negative else fraction


def _admitted(point, domain):
    values = {symbol.name: float(value) for symbol, value in point.items()}
    try:
        for name in values.keys() & domain.keys():
            if isinstance(domain[name], Interval):
                domain[name].check(name, values[name])
        return all(relation(**{n: values[n] for n in relation.names}) for relation in domain.relations
                   if set(relation.names) <= set(values))  # fmt: skip
    except ValueError:
        return False

"""The one curve behind every variational edge rises from 0 to 1, bends downwards, and stays between simple bounds.

In the dimensionless signal zeta = rho^2 z / 4 the edge, as a fraction s of gradient descent's 2 / rho, solves
s^3 = zeta (1 - s). The bounds follow from 0 < s < 1: s^3 < s gives s > zeta / (1 + zeta), the edge of plain gradient
noise (and more than 1 - 1 / zeta); 1 - s < 1 gives s < zeta^(1/3). Read the other way, zeta is the rational function
s^3 / (1 - s) of the fraction, so that a solver for polynomial inequalities certifies them for every signal.
"""

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.intervals import Interval, positive
from quadlab.theory.variational import variational_factor
from quadlab.verify import LOWER, UPPER, Claim, Derivation, Domain, Inequality, Statement, Theorem, parse

FRACTION, CONTACT = sympy.symbols("fraction contact", positive=True)
lower_bound = parse("signal / (1 + signal)", ("signal",))
upper_bound = parse("min(1, signal**(1/3))", ("signal",))


def signal_of(fraction):
    return fraction**3 / (1 - fraction)


def root_of_cubic(signal):
    """The root in (0, 1) of s^3 = zeta (1 - s), by bracketing."""
    return brentq(lambda s: s**3 - signal * (1 - s), 0, 1, xtol=1e-300, maxiter=1000, rtol=1e-15)


def factor(signal):
    """The curve by its closed form: at learning rate 2 the signal to noise z is the dimensionless signal."""
    return variational_factor(signal, 2)


def stays_below(bound):
    yield Statement("the bound lies strictly below the curve", bound(signal_of(FRACTION)) < FRACTION, (FRACTION < 1,))


def stays_above(bound):
    yield Statement("the bound lies strictly above the curve", bound(signal_of(FRACTION)) > FRACTION, (FRACTION < 1,))


def encloses_from_below(bound):
    yield Inequality(
        "curve - bound", lambda signal: factor(signal) - bound(signal), {"signal": (1e-6, 30)}, ("signal",)
    )


def encloses_from_above(bound):
    yield Inequality(
        "bound - curve", lambda signal: bound(signal) - factor(signal), {"signal": (1e-6, 1e6)}, ("signal",)
    )


def tangent(fraction, contact):
    """Height, at the signal of `fraction`, of the tangent that touches the curve at the height `contact`."""
    slope = (1 - contact) ** 2 / (contact**2 * (3 - 2 * contact))
    return contact + slope * (signal_of(fraction) - signal_of(contact))


def from_inverse(formula):
    rise = sympy.factor(sympy.diff(signal_of(FRACTION), FRACTION))
    line = formula(FRACTION, CONTACT)
    return Derivation(
        steps=(
            ("d zeta / d s, positive", rise),
            ("d^2 zeta / d s^2, positive: the inverse is convex, the curve concave", sympy.factor(rise.diff(FRACTION))),
            ("the tangent at height c, at the signal of s", line),
        ),
        residuals={
            "touches the curve": line.subs(FRACTION, CONTACT) - CONTACT,
            "with its slope": line.diff(FRACTION).subs(FRACTION, CONTACT) - 1,
            "is straight": sympy.diff(line.diff(FRACTION) / rise, FRACTION),
        },
    )


def lies_above(formula):
    line, inside = formula(FRACTION, CONTACT), (FRACTION < 1, CONTACT < 1)
    yield Statement("concave: below its tangents", line > FRACTION, (*inside, sympy.Ne(FRACTION, CONTACT)))
    yield Statement("increasing: so are they", sympy.Implies(FRACTION > CONTACT, line > CONTACT), inside)


def curve_and_bounds(rng):
    fine, coarse = np.geomspace(1e-3, 1e3, 181), np.geomspace(1e-3, 1e3, 13)
    return [
        *theory("curve", "descent edge", fine, factor(fine)),
        *computed("curve", "descent edge", coarse, [root_of_cubic(signal) for signal in coarse]),
        *theory("curve", "upper bound, min(1, ζ^(1/3))", fine, upper_bound(fine)),
        *theory("curve", "lower bound, ζ / (1 + ζ)", fine, lower_bound(fine)),
    ]


def shade(axes, rows):
    signal = np.geomspace(1e-3, 1e3, 181)
    axes.fill_between(signal, lower_bound(signal), upper_bound(signal), color="0.85", zorder=0)
    axes.set_ylim(5e-3, 1.5)


THEOREM = Theorem(
    id="vl.factor-bounds",
    title="the universal curve: bounds, monotone, concave",
    source="derived here",
    kind=LOWER,
    statement=r"\tfrac{\zeta}{1 + \zeta} < \mathrm{VF} < \min(1, \zeta^{1/3}),"
    r"\quad \zeta = \rho^2 z / 4;\qquad \mathrm{VF}\text{ strictly increasing and strictly concave in }\zeta",
    domain=Domain(signal=positive.between(1e-6, 1e4)),
    formula=lower_bound,
    oracle=root_of_cubic,
    certificate=stays_below,
    enclosure=encloses_from_below,
    mutants={
        "noise counted half": "1 - 1 / (2 * signal)",
        "next order kept": "1 - 1 / signal + 3 / signal**2",
        "twice the signal": "2 * signal / (1 + 2 * signal)",
        "the upper bound": upper_bound,
    },
    corollaries=(
        Claim(
            name="upper bound",
            statement=r"\mathrm{VF} < \min(1, \zeta^{1/3})",
            kind=UPPER,
            domain=Domain(signal=positive.between(1e-6, 1e4)),
            formula=upper_bound,
            oracle=root_of_cubic,
            certificate=stays_above,
            enclosure=encloses_from_above,
            mutants={
                "1 - 1 / zeta": "1 - 1 / signal",
                "the edge of gradient noise": "signal / (1 + signal)",
                "two terms of the small-signal series": "signal**(1/3) - signal**(2/3) / 3",
                "exponent 1/2": "sqrt(signal)",
            },
        ),
        Claim(
            name="increasing and concave",
            statement=r"\mathrm{VF}\text{ lies below its tangents, which rise}",
            kind=UPPER,
            domain=Domain(**dict.fromkeys(("fraction", "contact"), Interval(0, 1, typical=(0.05, 0.95)))),
            formula=tangent,
            derivation=from_inverse,
            oracle=lambda fraction, contact: root_of_cubic(signal_of(fraction)),
            certificate=lies_above,
            mutants={
                "convex: below its chords from the origin": "fraction**3 / (1 - fraction) * (1 - contact) / contact**2",
                "convex: the tangent mirrored in the curve": lambda fraction, contact: (
                    2 * fraction - tangent(fraction, contact)
                ),
                "slope of the bound zeta^(1/3)": lambda fraction, contact: (
                    contact + (signal_of(fraction) - signal_of(contact)) / (3 * contact**2)
                ),
            },
        ),
    ),
    caveats=("The inequalities are strict; they turn into equalities only in the limits of small and large signals.",),
    figure=Figure(
        data=curve_and_bounds,
        panels=(
            Panel(
                "curve",
                x_label="signal ζ = ρ²z/4 (dimensionless)",
                y_label="edge / (2/ρ), VF (dimensionless)",
                title="The universal curve between its bounds",
                x_scale="log",
                y_scale="log",
                decorate=shade,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

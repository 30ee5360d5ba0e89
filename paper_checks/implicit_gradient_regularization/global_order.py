"""Over a fixed time gradient descent stays within O(h^2) of the modified flow, within O(h) of plain gradient flow.

A local error of order h^(N+2), committed in each of duration / h steps, adds up to order h^(N+1) (Gronwall). So the
penalty (h/4) |grad E|^2 gains one order, no other multiple of it gains anything, and each further term of the modified
equation gains one more. On a quadratic the leading error is known in full: each mode arrives early or late by a time
proportional to duration * h^(N+1) * eigenvalue^(N+1).
"""

from functools import cache

import mpmath
import numpy as np
import sympy

from quadlab import derive
from quadlab.problems import ProductModel
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import flow, global_error
from quadlab.theory.intervals import Interval, positive
from quadlab.verify import ASYMPTOTIC, IDENTITY, Claim, Derivation, Domain, ErrorOrder, Theorem, Window

RATE, EIGENVALUE, DURATION = sympy.symbols("learning_rate eigenvalue duration", positive=True)
START, TIME = np.array([2.8, 3.5]), 0.4
# the duration is a whole number of steps for each of them
RATES = tuple(TIME / steps for steps in (400, 320, 250, 200, 160, 125, 100))


A, B = sympy.symbols("a b")
LOSS = (sympy.Rational(3, 5) - A * B) ** 2 / 2


@cache
def terms():
    """f_0, ..., f_4 of the modified equation on the product model."""
    return derive.modified_equation([-LOSS.diff(A), -LOSS.diff(B)], [A, B], 4)


@cache
def product_field(order):
    return derive.numeric_field(terms()[: order + 1], [A, B])


@cache
def penalised_field():
    """Minus the gradient of E + strength |grad E|^2, a function of the weights and the strength."""
    squared = LOSS.diff(A) ** 2 + LOSS.diff(B) ** 2
    return derive.numeric_field([[-part.diff(A), -part.diff(B)] for part in (LOSS, squared)], [A, B])


@cache
def distance(order, learning_rate):
    """Largest distance of gradient descent from the flow of the field cut off after h^order, up to time 0.4."""
    velocity = product_field(order)

    def follow(start, times, rate):
        return flow(lambda theta: velocity(theta, rate), start, times)

    return global_error(ProductModel(), START, learning_rate, TIME, flow=follow)


def distance_with_penalty(strength, learning_rate):
    """The same from the gradient flow of E + strength |grad E|^2."""
    velocity = penalised_field()

    def follow(start, times, rate):
        return flow(lambda theta: velocity(theta, strength), start, times)

    return global_error(ProductModel(), START, learning_rate, TIME, flow=follow)


def order_of_a_mode(formula):
    """On a quadratic: the first power of h in which (1 - h l)^(t/h) and the truncated flow's exponential differ."""
    exact = sympy.series(sympy.log(1 - RATE * EIGENVALUE) / RATE, RATE, 0, 7).removeO()
    residuals = {}
    for order in range(5):
        rate = sum(RATE**k * EIGENVALUE ** (k + 1) / (k + 1) for k in range(order + 1))
        left = sympy.Poly(sympy.expand(exact + rate), RATE)
        first = min(power for (power,) in left.monoms())
        residuals[f"order {order}"] = formula(sympy.Integer(order)) - first
    return Derivation((("rate of gradient descent's decay, in powers of h", exact),), residuals)


def order_of_penalty(formula):
    """The rate of a mode with the penalty, l + 2 c l^2, must agree with -log(1 - h l)/h to first order in h."""
    exact = sympy.series(-sympy.log(1 - RATE * EIGENVALUE) / RATE, RATE, 0, 3).removeO()
    rate = EIGENVALUE + 2 * formula(RATE) * EIGENVALUE**2
    missing = sympy.limit((exact - rate) / RATE, RATE, 0)
    return Derivation(
        (("rate of gradient descent's decay", exact), ("with the penalty", rate)), {"first order": missing}
    )


def leading_error(learning_rate, eigenvalue, duration, order):
    """Of one mode, relative to its start: -duration exp(-l duration) h^(N+1) l^(N+2) / (N + 2)."""
    decayed = sympy.exp(-eigenvalue * duration) if isinstance(duration, sympy.Basic) else np.exp(-eigenvalue * duration)
    return -duration * decayed * learning_rate ** (order + 1) * eigenvalue ** (order + 2) / (order + 2)


def error_of_mode(learning_rate, eigenvalue, duration, order):
    """Gradient descent minus the truncated flow after a time, in 40 digits."""
    with mpmath.workdps(40):
        step, curvature, time = map(mpmath.mpf, (learning_rate, eigenvalue, duration))
        rate = sum(step**k * curvature ** (k + 1) / (k + 1) for k in range(int(order) + 1))
        return float((1 - step * curvature) ** (time / step) - mpmath.exp(-rate * time))


def expansion_of_mode(formula):
    residuals = {}
    for order in range(4):
        exponent = -DURATION * RATE ** (order + 1) * EIGENVALUE ** (order + 2) / (order + 2)
        leading = sympy.exp(-EIGENVALUE * DURATION) * exponent
        given = formula(RATE, EIGENVALUE, DURATION, sympy.Integer(order))
        residuals[f"order {order}"] = sympy.simplify((given - leading) / RATE ** (order + 1))
    exact = sympy.series(sympy.log(1 - RATE * EIGENVALUE) / RATE, RATE, 0, 6).removeO()
    return Derivation((("log of the decay in unit time", exact),), residuals)


def errors_against_step(rng):
    rates = np.array([TIME / steps for steps in (400, 280, 200, 140, 100, 70, 50)])
    rows = []
    for order in range(5):
        errors = [distance(order, rate) for rate in rates]
        slope = np.polyfit(np.log(rates[:4]), np.log(errors[:4]), 1)[0]
        name = f"N = {order}: slope {slope:.2f}"
        rows += theory("global", name, rates, errors[0] * (rates / rates[0]) ** (order + 1))
        rows += computed("global", name, rates, errors)
    return rows


def few_ticks(axes, rows):
    axes.set_xticks([1e-3, 2e-3, 4e-3, 8e-3], ["0.001", "0.002", "0.004", "0.008"])
    axes.minorticks_off()
    axes.set_ylim(1e-13, 1)


WHOLE = Interval(0, 4, lower_closed=True, upper_closed=True, whole=True, typical=(0, 4))
# at eigenvalue * duration = 8/3 the first correction vanishes for order 0
STABLE = {"eigenvalue": positive.between(0.5, 2), "duration": positive.between(0.2, 0.8)}

THEOREM = Theorem(
    id="igr.global-order",
    title="over a fixed time the modified flow is met to O(h^2), plain flow to O(h)",
    source="consequence of Barrett & Dherin 2021, Theorem 3.1; derived here",
    kind=IDENTITY,
    statement=r"\max_{nh \le t} |\theta_n - \tilde\theta^{(N)}(nh)| \sim h^{N+1},\quad"
    r" N = 0: \nabla E,\ N = 1: \nabla\big(E + \tfrac h4 |\nabla E|^2\big),\ \dots",
    domain=Domain(order=WHOLE),
    formula=lambda order: order + 1,
    derivation=order_of_a_mode,
    simulation=ErrorOrder(
        settings=tuple({"order": order} for order in range(5)),
        error=lambda formula, setting, rate: distance(setting["order"], rate),
        steps=RATES,
        order=lambda formula, setting: formula(**setting),
    ),
    mutants={
        "the order of one step": "order + 2",
        "the order of the last term": "order",
        "O(h^3) for the modified loss": "2 * order + 1",
        "plain flow as good as the modified one": "max(order, 1) + 1",
    },
    corollaries=(
        Claim(
            name="penalty",
            statement=r"|\theta_n - \Phi^{E + c |\nabla E|^2}_{nh}(\theta_0)| = O(h^2) \iff c = \tfrac h4 + O(h^2)",
            kind=IDENTITY,
            domain=Domain(learning_rate=positive),
            formula=lambda learning_rate: learning_rate / 4,
            derivation=order_of_penalty,
            simulation=ErrorOrder(
                settings=({"target order": 2},),
                error=lambda formula, setting, rate: distance_with_penalty(float(formula(rate)), rate),
                steps=RATES,
                order=lambda formula, setting: setting["target order"],
            ),
            mutants={
                "h/2": "learning_rate / 2",
                "none: plain flow": "0 * learning_rate",
                "opposite sign": "-learning_rate / 4",
                "h/3": "learning_rate / 3",
            },
        ),
        Claim(
            name="leading error on a quadratic",
            statement=r"(1 - hl)^{t/h} - e^{-\tilde l_N t} = -t e^{-lt} \frac{h^{N+1} l^{N+2}}{N + 2} (1 + O(h))",
            kind=ASYMPTOTIC,
            domain=Domain(
                learning_rate=positive,
                **STABLE,
                order=Interval(0, np.inf, lower_closed=True, whole=True, typical=(0, 5)),
            ),
            window=Window("learning_rate", 1e-5, 1e-3, order=1),
            formula=leading_error,
            derivation=expansion_of_mode,
            oracle=error_of_mode,
            points=180,
            mutants={
                "N + 1 for N + 2": lambda learning_rate, eigenvalue, duration, order: (
                    leading_error(learning_rate, eigenvalue, duration, order) * (order + 2) / (order + 1)
                ),
                "one step's error": lambda learning_rate, eigenvalue, duration, order: (
                    leading_error(learning_rate, eigenvalue, duration, order) * learning_rate / duration
                ),
                "ahead of the flow": lambda learning_rate, eigenvalue, duration, order: (
                    -leading_error(learning_rate, eigenvalue, duration, order)
                ),
            },
        ),
    ),
    caveats=(
        "Constants grow with the duration unless the flow contracts; near a non-degenerate minimum they stay bounded.",
        "At equal time close to convergence every penalty passes: both sides have arrived.",
    ),
    figure=Figure(
        data=errors_against_step,
        panels=(
            Panel(
                "global",
                x_label="learning rate h (parameter² / loss)",
                y_label="largest distance up to time 0.4 (parameter)",
                title="Gradient descent against the field cut off after h^N",
                x_scale="log",
                y_scale="log",
                decorate=few_ticks,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""Momentum leaves a still smaller gradient at equal loss; implicit Euler and Runge-Kutta of even order a larger one.

What a method does at equal loss is decided by the rate l~ at which it shrinks a mode. Where l~ / l grows with h l sharp
modes gain speed, and the gradient is smaller (igr.prediction-ratio): on the modified flow of gradient descent of every
order, and for heavy ball when momentum grows at a fixed effective step h / (1 - b), whose first-order effect is
(1 + b) / (1 - b) times as large. A Runge-Kutta method of s stages has the sign (-1)^s. Beyond h l = 1 iterates
overshoot, and gradient descent itself has no fixed sign: near h l = 2 the sharpest mode hardly decays at all.
"""

from functools import cache
from itertools import pairwise
from math import factorial

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.elementary import log, where
from quadlab.theory.intervals import Interval, momentum_range, non_negative, positive, real
from quadlab.theory.modified_loss import heavy_ball_modified_eigenvalue, modified_eigenvalue
from quadlab.theory.modified_loss import runge_kutta_modified_eigenvalue as runge_kutta
from quadlab.verify import ASYMPTOTIC, IDENTITY, Claim, Derivation, Directions, Domain, Theorem, Window

RATE, MOMENTUM, TIME = sympy.symbols("learning_rate momentum time", positive=True)
MODES, STATE = sympy.symbols("l_1:3", positive=True), sympy.symbols("theta_1:3", positive=True)


def at_loss(rates, shares, remaining_loss):
    """Loss shares, decaying at twice the rates, when their sum has fallen to a fraction: by bracketing."""
    goal = np.log(remaining_loss * shares.sum())
    latest = -np.log(remaining_loss) / (2 * rates.min())

    def excess(time):
        return np.log(shares @ np.exp(-2 * rates * time)) - goal

    return shares * np.exp(-2 * rates * brentq(excess, 0, 1.1 * latest, xtol=1e-15, rtol=1e-15))


def direction(rates, smaller, larger):
    """Oracle: the sign of the change of sum l^(1 + p) theta^2 at equal loss between two values of one argument.

    rates(eigenvalues, value, others) are those of the flow through the iterates, from their multipliers.
    """

    def oracle(eigenvalues, initial_state, remaining_loss, exponent=1, **others):
        values = others.pop(smaller), others.pop(larger)
        shares = eigenvalues * initial_state**2
        before, after = (at_loss(rates(eigenvalues, value, **others), shares, remaining_loss) for value in values)
        change = eigenvalues**exponent @ (after - before) / (eigenvalues**exponent @ before)
        return np.sign(change) if abs(change) > 1e-12 else 0.0

    return oracle


def rates_of_order(eigenvalues, learning_rate, order):
    return sum(learning_rate**k * eigenvalues ** (k + 1) / (k + 1) for k in range(int(order) + 1))


def rates_of_heavy_ball(eigenvalues, momentum, effective_learning_rate):
    """From the companion matrix of theta+ = theta - h l theta + b (theta - theta-), per effective step."""
    z = (1 - momentum) * effective_learning_rate * eigenvalues
    return -np.log([np.linalg.eigvals([[1 + momentum - entry, -momentum], [1, 0]]).real.max() for entry in z])


def step_of_method(z, stages):
    """What one step multiplies a mode by, z = h l: classical Runge-Kutta; implicit Euler for no explicit stage."""
    return sum((-z) ** k / factorial(k) for k in range(int(stages) + 1)) if stages else 1 / (1 + z)


def rates_of_method(eigenvalues, learning_rate, stages):
    if learning_rate == 0:
        return eigenvalues  # of the flow itself
    return -np.log(step_of_method(learning_rate * eigenvalues, stages))


def rates_of_envelope(eigenvalues, learning_rate):
    return -np.log(np.abs(1 - learning_rate * eigenvalues))


@cache
def leading_excess(stages):
    """First term of h l~ beyond z = h l, at z = 1."""
    z = sympy.Symbol("z", positive=True)
    beyond = sympy.series(-sympy.log(step_of_method(z, stages)) - z, z, 0, stages + 3).removeO()
    return beyond.as_leading_term(z).subs(z, 1)


def from_expansion_of_step(formula):
    """Sharp modes gain speed with h where this term is positive, and leave a smaller gradient."""
    point = (MODES, STATE, RATE, 2 * RATE, sympy.Rational(1, 2))
    return Derivation(
        steps=(("first terms of h l~ beyond z = h l, over a power of z", [leading_excess(s) for s in range(5)]),),
        residuals={f"{s} stages": formula(*point, sympy.Integer(s)) + sympy.sign(leading_excess(s)) for s in range(5)},
    )


def first_order_change(eigenvalues, state, time, learning_rate, momentum):
    """-h (1 + b) / (1 - b) t (|Hg|^2 - (g.Hg)^2 / |g|^2), h the effective step."""
    g_hh_g, g_h_g, g_g = (sum(mode**k * x**2 for mode, x in zip(eigenvalues, state, strict=True)) for k in (4, 3, 2))
    return -learning_rate * (1 + momentum) / (1 - momentum) * time * (g_hh_g - g_h_g**2 / g_g)


@cache
def change_at_equal_loss():
    """Expand the dominant root of the mode equation, then delay the flow until its loss is that of plain flow."""
    zeta, kappa, small, delay = sympy.symbols("zeta kappa small delay")
    root = sympy.exp(-(zeta + kappa * zeta**2))
    equation = root**2 - (1 + MOMENTUM - (1 - MOMENTUM) * zeta) * root + MOMENTUM
    curvature = sympy.solve(sympy.series(equation, zeta, 0, 3).removeO().coeff(zeta, 2), kappa)[0]
    states = [
        x * sympy.exp(mode * TIME - (mode + small * RATE * curvature * mode**2) * (TIME + small * delay))
        for mode, x in zip(MODES, STATE, strict=True)
    ]
    loss_slope, gradient_slope = (
        sum(mode**k * x**2 for mode, x in zip(MODES, states, strict=True)).diff(small).subs(small, 0) for k in (1, 2)
    )
    solved = sympy.solve(loss_slope, delay)[0]
    return sympy.factor(curvature), sympy.factor(solved), sympy.factor(gradient_slope.subs(delay, solved))


def from_equal_loss(formula):
    curvature, delay, change = change_at_equal_loss()
    return Derivation(
        steps=(("rate beyond l, over h l^2", curvature), ("delay per unit of h", delay), ("change", change)),
        residuals={"change": formula(MODES, STATE, TIME, RATE, MOMENTUM) - change},
    )


def change_between_flows(eigenvalues, state, time, learning_rate, momentum):
    """|grad E|^2 on the two flows at equal loss, from the start whose plain flow is in `state` after `time`."""
    rates = rates_of_heavy_ball(eigenvalues, momentum, learning_rate)
    plain = eigenvalues * state**2
    start = plain * np.exp(2 * eigenvalues * time)
    return eigenvalues @ (at_loss(rates, start, plain.sum() / start.sum()) - plain)


def sign_beyond_one(flat_eigenvalue, sharp_eigenvalue, initial_state, remaining_loss, learning_rate, larger_rate):
    """-1 if the sharp mode gains more speed than the flat one as the rate grows, +1 otherwise."""
    flat, sharp = (
        [log(abs(1 - rate * mode)) for rate in (learning_rate, larger_rate)]
        for mode in (flat_eigenvalue, sharp_eigenvalue)
    )
    return where(sharp[1] * flat[0] > sharp[0] * flat[1], -1, 1)


def direction_of_envelopes(flat_eigenvalue, sharp_eigenvalue, initial_state, remaining_loss, **rates):
    """The same from the envelopes |1 - h l|^n: at equal loss |grad E|^2 follows the share of the sharp mode."""
    eigenvalues = np.array([flat_eigenvalue, sharp_eigenvalue])
    shares = eigenvalues * np.array([initial_state, 1.0]) ** 2
    before, after = (
        at_loss(rates_of_envelope(eigenvalues, rates[name]), shares, remaining_loss)[1]
        for name in ("learning_rate", "larger_rate")
    )
    return np.sign(after / before - 1)


EXAMPLE = np.array([0.1, 1.0, 4.0]), np.array([2.0, 1.0, 1.0])
METHODS = {
    "heavy ball, b = 0.1": (
        lambda modes, h: heavy_ball_modified_eigenvalue(modes, 0.9 * h, 0.1),
        lambda modes, h: rates_of_heavy_ball(modes, 0.1, h),
    ),
    "gradient descent": (modified_eigenvalue, lambda modes, h: rates_of_method(modes, h, 1)),
    "Runge-Kutta 4": (lambda modes, h: runge_kutta(modes, h, 4), lambda modes, h: rates_of_method(modes, h, 4)),
    "Runge-Kutta 2": (lambda modes, h: runge_kutta(modes, h, 2), lambda modes, h: rates_of_method(modes, h, 2)),
    "implicit Euler": (lambda modes, h: -modified_eigenvalue(-modes, h), lambda modes, h: rates_of_method(modes, h, 0)),
}


def squared_gradient(rates):
    """At loss 0.3, on the flow with these rates."""
    modes, start = EXAMPLE
    shares = modes * start**2
    return modes @ at_loss(rates, shares, 0.6 / shares.sum())


def landings(steps):
    """Learning rates whose iterate after this many steps has loss 0.3, and |grad E|^2 there."""
    modes, start = EXAMPLE

    def excess(h):
        return modes @ (start * (1 - h * modes) ** steps) ** 2 / 2 - 0.3

    brackets = [pair for pair in pairwise(np.linspace(0.01, 0.49, 97)) if excess(pair[0]) * excess(pair[1]) < 0]
    found = np.array([brentq(excess, *pair) for pair in brackets])
    return found, [np.sum((modes * start * (1 - h * modes) ** steps) ** 2) for h in found]


def across_methods(rng):
    modes, _ = EXAMPLE
    plain, rows = squared_gradient(modes), []
    for name, (line, marker) in METHODS.items():
        # with this momentum the sharpest mode oscillates beyond
        last = 0.129 if "heavy" in name else 0.24
        for role, h, of in (
            (theory, np.linspace(1e-3, last, 60), line),
            (computed, np.linspace(0.03, last, 6), marker),
        ):
            rows += role("methods", name, h, [squared_gradient(of(modes, rate)) / plain for rate in h])
    # at h = 1/4 the sharpest mode lands on the minimum
    fine = np.concatenate([np.linspace(1e-3, 0.2499, 80), np.linspace(0.2501, 0.49, 120)])
    envelopes = [squared_gradient(rates_of_envelope(modes, h)) / plain for h in fine]
    rows += theory("beyond", "envelopes |1 − hl|ⁿ", 4 * fine, envelopes)
    for steps in (2, 3, 4, 6, 9, 14):
        found, squared = landings(steps)
        rows += computed("beyond", "gradient descent", 4 * found, np.divide(squared, plain))
    return rows


def overshoot(axes, rows):
    axes.axvline(1, color="0.5", linewidth=1)
    axes.set_yticks([1, 2, 4, 6], ["1", "2", "4", "6"])
    axes.minorticks_off()


# the variance of the eigenvalues is not tiny, so that the sign of the change is not lost in rounding
SPREAD = "sum(1 + 0 * eigenvalues) * sum(eigenvalues**2) - sum(eigenvalues)**2 > 0.02"
ORDERED = "larger_learning_rate * eigenvalues < 1", "learning_rate < larger_learning_rate"
EIGENVALUES, STATES = Directions(positive.between(0.1, 1), least=2), Directions(real.between(0.3, 2))
EXCITED = {"eigenvalues": EIGENVALUES, "initial_state": STATES}
RATES = {"learning_rate": non_negative.between(0.02, 0.4), "larger_learning_rate": positive.between(0.45, 0.95)}
LEFT = {"remaining_loss": Interval(0, 1, typical=(0.02, 0.8))}
ORDER = Interval(0, np.inf, lower_closed=True, whole=True, typical=(0, 5))
STAGES = Interval(0, 4, lower_closed=True, upper_closed=True, whole=True, typical=(0, 4))
EXPONENT = Interval(-np.inf, np.inf, whole=True, typical=(-2, 2))

THEOREM = Theorem(
    id="igr.equal-loss-methods",
    title="at equal loss momentum shrinks the gradient further, implicit Euler and even Runge-Kutta orders enlarge it",
    source="derived here: Barrett & Dherin 2021, Prediction 2.1, for other methods; heavy ball as in Ghosh et al. 2023",
    kind=ASYMPTOTIC,
    statement=r"\Delta|\nabla E|^2 = -h \tfrac{1+b}{1-b}\, t\, \Big(|Hg|^2 - \tfrac{(g^T H g)^2}{|g|^2}\Big)"
    r" (1 + O(h)) \text{ at the loss of gradient flow},\quad h \text{ the effective step, momentum } b",
    domain=Domain(
        SPREAD,
        eigenvalues=EIGENVALUES,
        state=STATES,
        time=positive.between(0.5, 2),
        learning_rate=positive,
        momentum=momentum_range.between(0, 0.6),
    ),
    window=Window("learning_rate", 1e-3, 2e-2, order=1),
    formula=first_order_change,
    derivation=from_equal_loss,
    oracle=change_between_flows,
    points=90,
    mutants={
        "momentum only rescales the step": "-learning_rate * time * (sum(eigenvalues**4 * state**2)"
        " - sum(eigenvalues**3 * state**2)**2 / sum(eigenvalues**2 * state**2))",
        "the whole of Hg": "-learning_rate * (1 + momentum) / (1 - momentum) * time * sum(eigenvalues**4 * state**2)",
        "twice": lambda *point, **named: 2 * first_order_change(*point, **named),
        "the gradient grows": lambda *point, **named: -first_order_change(*point, **named),
    },
    corollaries=(
        Claim(
            name="direction of the change",
            statement=r"\mathrm{sign}\,\Delta \sum_i l_i^{1+p} \theta_i^2 = -\mathrm{sign}(p)\ (N \ge 1),"
            r"\quad 0\ (N = 0)\quad\text{on the flows of order } N",
            kind=IDENTITY,
            domain=Domain(SPREAD, *ORDERED, **EXCITED, **RATES, **LEFT, order=ORDER, exponent=EXPONENT),
            formula=lambda order, exponent, **_: -np.sign(exponent) * (order > 0),
            oracle=direction(rates_of_order, "learning_rate", "larger_learning_rate"),
            reach=1,
            mutants={
                "|theta|^2 decreases too": "where(order > 0, where(exponent == 0, 0, -1), 0)",
                "plain flow shows it too": "where(exponent > 0, -1, where(exponent < 0, 1, 0))",
                "sharp modes lag behind": "where(order > 0, where(exponent > 0, 1, where(exponent < 0, -1, 0)), 0)",
                "only from order 2 on": "where(order > 1, where(exponent > 0, -1, where(exponent < 0, 1, 0)), 0)",
            },
        ),
        Claim(
            name="heavy ball",
            statement=r"\tfrac{h}{1-b} \text{ fixed},\ b_1 < b_2,\ h\max_i l_i < (1 - \sqrt{b_2})^2:\quad"
            r" \mathrm{sign}\,\Delta|\nabla E|^2 = -1",
            kind=IDENTITY,
            domain=Domain(
                SPREAD,
                "effective_learning_rate * (1 + sqrt(larger_momentum)) * eigenvalues < 1 - sqrt(larger_momentum)",
                "momentum < larger_momentum",
                **EXCITED,
                **LEFT,
                effective_learning_rate=positive.between(0.02, 0.3),
                momentum=momentum_range.between(0, 0.2),
                larger_momentum=momentum_range.between(0.25, 0.5),
            ),
            formula=lambda **_: -1.0,
            oracle=direction(rates_of_heavy_ball, "momentum", "larger_momentum"),
            reach=1,
            points=100,
            mutants={
                "only the effective step counts": "0 * momentum",
                "momentum favours flat modes": "1 + 0 * momentum",
            },
        ),
        Claim(
            name="other methods",
            statement=r"\text{Runge-Kutta of } s \text{ stages; } s = 0 \text{: implicit Euler}:\quad"
            r" \mathrm{sign}\,\Delta|\nabla E|^2 = (-1)^s",
            kind=IDENTITY,
            domain=Domain(SPREAD, *ORDERED, **EXCITED, **RATES, **LEFT, stages=STAGES),
            formula=lambda eigenvalues, initial_state, learning_rate, larger_learning_rate, remaining_loss, stages: (
                (-1) ** stages
            ),
            derivation=from_expansion_of_step,
            oracle=direction(rates_of_method, "learning_rate", "larger_learning_rate"),
            reach=1,
            points=100,
            mutants={
                "as for gradient descent": "-1 + 0 * stages",
                "no effect beyond one stage": "where(stages > 1, 0, where(stages > 0, -1, 1))",
                "explicit methods all alike": "where(stages > 0, -1, 1)",
            },
        ),
        Claim(
            name="beyond one",
            statement=r"h_2 l < 2,\ \text{two modes, envelopes } |1 - hl|^n:\quad \mathrm{sign}\,\Delta|\nabla E|^2 ="
            r" -\mathrm{sign}\Big(\tfrac{\ln|1 - h_2 l_2|}{\ln|1 - h_2 l_1|} - \tfrac{\ln|1 - h_1 l_2|}"
            r"{\ln|1 - h_1 l_1|}\Big)",
            kind=IDENTITY,
            domain=Domain(
                "flat_eigenvalue < sharp_eigenvalue",
                "learning_rate < larger_rate",
                "larger_rate * sharp_eigenvalue < 2",
                flat_eigenvalue=positive.between(0.05, 0.5),
                sharp_eigenvalue=positive.between(0.6, 1),
                initial_state=positive.between(0.5, 2),
                **LEFT,
                learning_rate=positive.between(0.1, 0.6),
                larger_rate=positive.between(0.7, 1.95),
            ),
            formula=sign_beyond_one,
            oracle=direction_of_envelopes,
            reach=1,
            points=100,
            mutants={
                "smaller up to the stability limit": "-1 + 0 * learning_rate",
                "larger as soon as a mode overshoots": "where(larger_rate * sharp_eigenvalue > 1, 1, -1)",
            },
        ),
    ),
    caveats=(
        "At equal loss, not at equal time: the plain flow of the same method may be faster or slower.",
        "The first-order size vanishes where the gradient is an eigenvector of the Hessian.",
        "Heavy ball by its dominant mode, which the iterates meet once the other has died out.",
    ),
    figure=Figure(
        data=across_methods,
        panels=(
            Panel(
                "methods",
                x_label="effective step h (parameter² / loss)",
                y_label="|∇E|² / |∇E|² of gradient flow",
                title="At equal loss E = 0.3: l = (0.1, 1, 4), start (2, 1, 1)",
            ),
            Panel(
                "beyond",
                x_label="h times the largest eigenvalue",
                y_label="|∇E|² / |∇E|² of gradient flow",
                title="Gradient descent up to its stability limit, E = 0.3",
                y_scale="log",
                decorate=overshoot,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

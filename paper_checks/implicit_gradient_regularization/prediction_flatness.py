"""Larger learning rates reach flatter minima of the product model, on the flow of the modified loss.

The loss (y - x a b)^2 / 2 has a curve of minima; on it x^2 s, s = a^2 + b^2, is the sharpness, and everywhere it is the
ratio of R = |grad E|^2 / 2 to E. Gradient flow conserves D = a^2 - b^2, and s = sqrt(D^2 + 4 (a b)^2) says that only a
smaller |D| makes a flatter end. While the residual r falls the modified flow shrinks |D|, at a rate that grows with h
and falls with |D|: by the comparison theorem a larger h has the smaller |D| and s at every loss, down to a floor that
no h passes. Gradient descent begins so (igr.drift-exponent), but its ends are not monotone in h, and some pass below.
"""

from functools import cache
from math import sqrt

import numpy as np
import sympy
from scipy.integrate import solve_ivp

from quadlab.derive import modified_loss
from quadlab.problems import GradientPenalty, ProductModel
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import flow
from quadlab.theory.intervals import Interval, non_negative, positive, real
from quadlab.theory.modified_loss import product_model_drift_exponent
from quadlab.verify import IDENTITY, LIMIT, LOWER, UPPER, Claim, Derivation, Domain, Statement, Theorem, Window

A, B, X, Y, H = sympy.symbols("a b data_input target learning_rate", positive=True)
RESIDUAL, SPREAD, MORE = sympy.symbols("residual spread more", positive=True)
LOSS = (Y - X * A * B) ** 2 / 2
SLOPE = LOSS.diff(A) ** 2 + LOSS.diff(B) ** 2
MODIFIED = modified_loss(LOSS, (A, B), H)
# so large a rate that the loss itself no longer counts, only the squared gradient
HUGE = 1e100


def drift_rate(residual, spread, learning_rate, data_input, target):
    """d ln|D| / dr on the flow of E~, r the residual and s = a^2 + b^2 the spread."""
    kernel = data_input**2 * spread
    pull = learning_rate * data_input**2 * residual
    return pull / ((1 + learning_rate / 2 * kernel) * kernel + pull * (residual + target))


def velocity_of(quantity):
    """Time derivative on the flow of E~."""
    return -sum(quantity.diff(w) * MODIFIED.diff(w) for w in (A, B))


@cache
def quotient_of_velocities():
    """(dD/dt) / D over dr/dt, in residual and spread."""
    difference = A**2 - B**2
    quotient = sympy.cancel(velocity_of(difference) / difference / velocity_of(X * A * B))
    product = (RESIDUAL + Y) / X
    sides = [sympy.sqrt(SPREAD + 2 * product), sympy.sqrt(SPREAD - 2 * product)]
    return sympy.cancel(sympy.expand(quotient.subs({A: (sides[0] + sides[1]) / 2, B: (sides[0] - sides[1]) / 2})))


def from_velocities(formula):
    quotient = quotient_of_velocities()
    residual = formula(RESIDUAL, SPREAD, H, X, Y) - quotient
    return Derivation((("(dD/dt) / D over dr/dt", quotient),), {"d ln|D| / dr": residual})


def comparison(formula):
    """What makes the comparison theorem for differential equations apply."""
    drift = formula(RESIDUAL, SPREAD, H, X, Y)
    larger_rate, larger_spread = (drift.subs(v, v + MORE, simultaneous=True) for v in (H, SPREAD))
    yield Statement("it is the quotient of the velocities", sympy.Eq(drift, quotient_of_velocities()))
    yield Statement("it increases with the learning rate", sympy.factor(larger_rate - drift) > 0)
    yield Statement("it decreases with the spread", sympy.factor(larger_spread - drift) < 0)


def drift_by_gradients(residual, spread, learning_rate, data_input, target):
    """The same from the gradient of the penalised problem."""
    product = (residual + target) / data_input
    long, short = sqrt(spread + 2 * product), sqrt(spread - 2 * product)
    weights = np.array([long + short, long - short]) / 2
    velocity = -GradientPenalty(ProductModel(data_input, target), learning_rate / 4).gradient(weights)
    along = data_input * weights[::-1] @ velocity
    return 2 * (weights * [1, -1]) @ velocity / (weights[0] ** 2 - weights[1] ** 2) / along


def kernel_on_flow(learning_rate, a, b, data_input, target, remaining=0.0):
    """x^2 s on the flow of E~ where the residual has fallen to a fraction, by the equation for ln|D|."""
    start = data_input * a * b - target

    def spread(r, log_difference):
        return np.hypot(np.exp(log_difference[0]), 2 * (r + target) / data_input)

    def rate(r, log_difference):
        return [drift_rate(r, spread(r, log_difference), learning_rate, data_input, target)]

    ends, initial = (start, remaining * start), [np.log(abs(a**2 - b**2))]
    drift = solve_ivp(rate, ends, initial, method="DOP853", rtol=1e-12, atol=1e-13)
    return data_input**2 * spread(ends[1], drift.y[:, -1])


@cache
def velocity_per_residual():
    """Velocity of the weights on the flow of E~ while the residual falls by one unit; regular at the minimum."""
    velocity = [sympy.cancel(-velocity_of(w) / velocity_of(X * A * B)) for w in (A, B)]
    return sympy.lambdify((A, B, H, X, Y), velocity)


def kernel_by_weights(learning_rate, a, b, data_input, target, remaining=0.0):
    """The same from the two weights, followed with the residual as the clock."""

    def field(weights):
        return np.array(velocity_per_residual()(*weights, learning_rate, data_input, target))

    return data_input**2 * np.sum(flow(field, [a, b], (1 - remaining) * (data_input * a * b - target)) ** 2)


def larger(larger_learning_rate, learning_rate, **point):
    """Oracle of a comparison: the flow of the larger rate."""
    return kernel_by_weights(larger_learning_rate, **point)


def smaller(rate=lambda small, large: small):
    return lambda learning_rate, larger_learning_rate, **point: kernel_on_flow(
        rate(learning_rate, larger_learning_rate), **point
    )


def floor(learning_rate, **point):
    return kernel_on_flow(HUGE, **point)


def descend(a, b, learning_rate):
    """Iterates of gradient descent at x = 1 and y = 0.6, until the residual is below 1e-13."""
    path = [(a, b)]
    while abs(residual := a * b - 0.6) > 1e-13 and len(path) < 10**6:
        a, b = a - learning_rate * residual * b, b - learning_rate * residual * a
        path.append((a, b))
    return np.array(path)


def end_by_differences(learning_rate, a, b):
    """End sharpness of gradient descent from D_end = D_0 prod (1 - h^2 r^2), at x = 1 and y = 0.6."""
    difference, spread, r, h = a**2 - b**2, a**2 + b**2, a * b - 0.6, learning_rate
    while abs(r) > 1e-15:
        difference *= (1 - h * r) * (1 + h * r)
        spread, r = spread * (1 + (h * r) ** 2) - 4 * h * r * (r + 0.6), r * (1 - h * spread + h**2 * r * (r + 0.6))
    return np.hypot(difference, 1.2)


def end_of_descent(learning_rate, a, b):
    """The same as the larger eigenvalue of the Hessian where gradient descent stops."""
    end = descend(a, b, learning_rate)[-1]
    return np.linalg.eigvalsh(ProductModel().hessian_product(end, np.eye(2))).max()


def never_sharper(learning_rate, a, b):
    """What monotonicity in h would give: the flattest end of this and smaller learning rates."""
    return min(end_by_differences(h, a, b) for h in learning_rate * np.arange(1, 6) / 5)


START = 2.8, 3.5


def flow_with_length(problem, duration, count=200):
    """Path of a gradient flow from the start, and its length."""

    def field(state):
        velocity = -problem.gradient(state[:2])
        return np.append(velocity, np.linalg.norm(velocity))

    path = flow(field, [*START, 0.0], duration * np.linspace(0, 1, count) ** 3)
    return path[:, :2], path[-1, 2]


def figure_one(rng):
    problem, rows = ProductModel(), []
    flows = (
        ("flow of E", problem, 5.0),
        ("flow of Ẽ, h = 0.025", GradientPenalty(problem, 0.025 / 4), 5.0),
        ("flow of E + |∇E|²/2", GradientPenalty(problem, 0.5), 2.0),
    )
    for name, modified, duration in flows:
        path, covered = flow_with_length(modified, duration)
        rows += theory("plane", f"{name}: {covered:.3f}", *path.T)
    for h in (0.001, 0.025, 0.05):
        path = descend(*START, h)
        covered = np.append(0, np.linalg.norm(np.diff(path, axis=0), axis=1).cumsum())
        shown = path[np.unique(np.searchsorted(covered, np.arange(0, covered[-1], 0.2)))]
        rows += computed("plane", f"descent, h = {h:g}: {covered[-1]:.3f}", *np.vstack([shown, path[-1]]).T)
    fine, coarse = np.linspace(0, 0.1, 26), (0.001, 0.0125, 0.025, 0.0375, 0.05, 0.0625, 0.075, 0.0875, 0.1)
    point = {"a": START[0], "b": START[1], "data_input": 1.0, "target": 0.6}
    first = (START[0] ** 2 - START[1] ** 2) * np.exp(-fine * product_model_drift_exponent(START, 1.0, 0.6))
    rows += computed("sharpness", "gradient descent", coarse, [end_of_descent(h, *START) for h in coarse])
    rows += theory("sharpness", "flow of Ẽ", fine, [kernel_on_flow(h, **point) for h in fine])
    rows += theory("sharpness", "first order, D₀ exp(−hI)", fine, np.hypot(first, 1.2))
    return rows + theory("sharpness", "floor, flow of |∇E|²", fine, kernel_on_flow(HUGE, **point) + 0 * fine)


def landscape(axes, rows):
    problem = ProductModel()
    a, b = np.meshgrid(np.linspace(-0.1, 3.0, 120), np.linspace(0.4, 3.6, 120))
    weights = np.stack([a, b], axis=-1)
    axes.contour(a, b, problem.loss(weights), levels=np.geomspace(0.05, 40, 9), colors="0.8", linewidths=0.7, zorder=0)
    coarse = weights[8::14, 8::14]
    downhill = -problem.gradient(coarse)
    downhill /= np.linalg.norm(downhill, axis=-1, keepdims=True)
    axes.quiver(
        *np.moveaxis(coarse, -1, 0), *np.moveaxis(downhill, -1, 0), color="0.75", scale=30, width=0.003, zorder=0
    )
    minima = np.linspace(0.17, 1.5, 100)
    axes.plot(minima, 0.6 / minima, "--", color="black", linewidth=1)
    axes.plot([sqrt(0.6)], [sqrt(0.6)], "x", color="black")
    axes.set(xlim=(-0.1, 3.0), ylim=(0.4, 3.6))


PLACE = {"a": positive.between(0.8, 2), "b": positive.between(0.8, 2), "data_input": positive.between(0.7, 1.3),
         "target": non_negative.between(0.05, 0.4)}  # fmt: skip
PROPER = "data_input * a * b > target", "a != b"
TWO_RATES = {"learning_rate": non_negative.between(0.01, 0.5), "larger_learning_rate": positive.between(0.5, 20)}
ORDERED = "learning_rate < larger_learning_rate"
PLANE = {"a": real, "b": real, "data_input": positive.between(0.5, 2), "target": real}
ROUTE = {"residual": positive.between(0.1, 2), "spread": positive.between(1, 20),
         "learning_rate": positive.between(0.01, 1), "data_input": positive.between(0.5, 2),
         "target": non_negative.between(0.05, 2)}  # fmt: skip

THEOREM = Theorem(
    id="igr.prediction-flatness",
    title="larger learning rates reach flatter minima of the product model, on the modified flow",
    source="Barrett & Dherin 2021, Predictions 2.1 and 2.2, Figure 1; sharp forms derived here",
    statement=r"E = \tfrac12 (y - xab)^2,\ r = xab - y,\ s = a^2 + b^2,\ D = a^2 - b^2,\ \text{flow of } \tilde E:\quad"
    r" \frac{d\ln|D|}{dr} = \frac{hx^2 r}{(1 + \tfrac h2 x^2 s)\,x^2 s + hx^2 r(r + y)},"
    r"\text{ increasing in } h, \text{ decreasing in } |D|",
    kind=IDENTITY,
    domain=Domain("data_input * spread > 2 * (residual + target)", **ROUTE),
    formula=drift_rate,
    derivation=from_velocities,
    oracle=drift_by_gradients,
    reach=1,
    certificate=comparison,
    points=100,
    mutants={
        "residual that falls as on E": "learning_rate * data_input**2 * residual / (data_input**2 * spread)",
        "without the turn of the penalty": "learning_rate * data_input**2 * residual"
        " / ((1 + learning_rate / 2 * data_input**2 * spread) * data_input**2 * spread)",
        "h/4": lambda residual, spread, learning_rate, data_input, target: drift_rate(
            residual, spread, learning_rate / 2, data_input, target
        ),
    },
    corollaries=(
        Claim(
            name="ratio",
            statement=r"R/E = \tfrac12|\nabla E|^2 / E = x^2 s",
            kind=IDENTITY,
            domain=Domain("data_input * a * b != target", **PLANE),
            formula=lambda a, b, data_input, target: data_input**2 * (a**2 + b**2),
            derivation=lambda formula: Derivation(
                (("|grad E|^2", sympy.factor(SLOPE)),), {"R / E": formula(A, B, X, Y) - SLOPE / 2 / LOSS}
            ),
            oracle=lambda a, b, data_input, target: (
                (ProductModel(data_input, target).gradient([a, b]) ** 2).mean()
                / ProductModel(data_input, target).loss([a, b])
            ),
            points=100,
            mutants={
                "2 x^2 s": "2 * data_input**2 * (a**2 + b**2)",
                "x for its square": "data_input * (a**2 + b**2)",
                "the cross terms of the Hessian": "data_input**2 * (a + b)**2",
            },
        ),
        Claim(
            name="modified loss",
            statement=r"\tilde E / E = 1 + \tfrac h2 x^2 s",
            kind=IDENTITY,
            domain=Domain("data_input * a * b != target", learning_rate=positive, **PLANE),
            formula=lambda learning_rate, a, b, data_input, target: (
                1 + learning_rate / 2 * data_input**2 * (a**2 + b**2)
            ),
            derivation=lambda formula: Derivation(
                (("modified loss", sympy.factor(MODIFIED)),), {"over E": formula(H, A, B, X, Y) - MODIFIED / LOSS}
            ),
            oracle=lambda learning_rate, a, b, data_input, target: (
                GradientPenalty(ProductModel(data_input, target), learning_rate / 4).loss([a, b])
                / ProductModel(data_input, target).loss([a, b])
            ),
            points=100,
            mutants={
                "h/4": "1 + learning_rate / 4 * data_input**2 * (a**2 + b**2)",
                "h": "1 + learning_rate * data_input**2 * (a**2 + b**2)",
            },
        ),
        Claim(
            name="at every loss",
            statement=r"\text{flows of } \tilde E \text{ at equal loss, } h_1 < h_2:\quad"
            r" x^2 s\,\big|_{h_2} < x^2 s\,\big|_{h_1},\ |D|_{h_2} < |D|_{h_1}",
            kind=UPPER,
            domain=Domain(*PROPER, ORDERED, **TWO_RATES, **PLACE, remaining=Interval(0, 1, typical=(0.05, 0.9))),
            formula=smaller(),
            oracle=larger,
            points=20,
            mutants={
                "already at the floor": smaller(lambda small, large: HUGE),
                "a still larger rate": smaller(lambda small, large: small + large),
            },
        ),
        Claim(
            name="end sharpness",
            statement=r"\text{ends of the flows of } \tilde E:\quad s_{\text{end}}(h_2) < s_{\text{end}}(h_1)",
            kind=UPPER,
            domain=Domain(*PROPER, ORDERED, **TWO_RATES, **PLACE),
            formula=smaller(),
            oracle=larger,
            points=20,
            mutants={
                "the flattest minimum": "2 * data_input * target + 0 * learning_rate",
                "a still larger rate": smaller(lambda small, large: small + large),
            },
        ),
        Claim(
            name="floor",
            statement=r"s_{\text{end}}(h) \ge s_{\text{end}}(\infty),\text{ the end of the flow of } |\nabla E|^2",
            kind=LOWER,
            domain=Domain(*PROPER, learning_rate=positive.between(0.01, 20), **PLACE),
            formula=floor,
            oracle=kernel_by_weights,
            points=20,
            mutants={
                "the end of gradient flow": "data_input**2 * sqrt((a**2 - b**2)**2 + 4 * (target / data_input)**2)",
                "that of h = 1": lambda learning_rate, **point: kernel_on_flow(1.0, **point),
            },
        ),
        Claim(
            name="limit",
            statement=r"s_{\text{end}}(h) = s_{\text{end}}(\infty)\,(1 + O(1/h)),\quad"
            r" s_{\text{end}}(\infty) > 2y/x \text{, the flattest}",
            kind=LIMIT,
            domain=Domain(*PROPER, learning_rate=positive, **PLACE),
            window=Window("learning_rate", 1e2, 1e4, order=-1),
            formula=floor,
            oracle=kernel_by_weights,
            points=27,
            mutants={
                "the flattest minimum": "2 * data_input * target + 0 * learning_rate",
                "half way to it": lambda **point: (floor(**point) + 2 * point["data_input"] * point["target"]) / 2,
            },
        ),
        Claim(
            name="gradient descent at any rate",
            statement=r"s_{\text{end}}^2 = D_0^2 \prod_n (1 - h^2 x^2 r_n^2)^2 + 4y^2/x^2:\text{ not monotone in } h",
            kind=IDENTITY,
            domain=Domain(
                learning_rate=positive.between(0.01, 0.15), a=positive.between(2.7, 2.9), b=positive.between(3.4, 3.6)
            ),
            formula=end_by_differences,
            oracle=end_of_descent,
            reach=1,
            tolerance=1e-8,
            points=40,
            mutants={
                "flatter and flatter up to divergence": never_sharper,
                "gradient flow's": "sqrt((a**2 - b**2)**2 + 1.44)",
                "the modified flow's": lambda learning_rate, a, b: kernel_on_flow(learning_rate, a, b, 1.0, 0.6),
            },
        ),
    ),
    caveats=(
        "Once h x^2 s_0 is of order one, gradient descent leaves the modified flow and ends now flatter, now sharper.",
        "A matter of third derivatives: on a quadratic every learning rate ends alike (igr.quadratic-minima).",
    ),
    figure=Figure(
        data=figure_one,
        panels=(
            Panel(
                "plane",
                x_label="weight a",
                y_label="weight b",
                title="From (2.8, 3.5), y = 0.6: path and its length",
                decorate=landscape,
            ),
            Panel(
                "sharpness",
                x_label="learning rate h (parameter² / loss)",
                y_label="end sharpness s (loss / parameter²)",
                title="Where the paths end",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

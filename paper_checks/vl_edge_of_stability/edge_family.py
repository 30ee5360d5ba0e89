"""Gradient noise, an optimal posterior or SAM, and weight noise have one edge: s^p = zeta (1 - s) with p = 1, 2, 3.

What counts is how the variance of the sampled gradient grows with the curvature. If it is c lambda^(p - 1), one step
lowers the expected loss exactly where s = rho lambda / 2 is below the root of s^p = zeta (1 - s), with the signal
zeta = (g^2 / c) (rho / 2)^(p - 1), a pure number. For a small gradient the edge goes like zeta^(1/p).
"""

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab import derive, dynamics
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory import variational
from quadlab.theory.intervals import Interval, positive, whole_positive
from quadlab.verify import (
    ASYMPTOTIC,
    TIGHT,
    Claim,
    Derivation,
    Domain,
    EdgeBracket,
    RuleExperiment,
    Statement,
    Theorem,
    Window,
)

ORDERS = Interval(1, 3, lower_closed=True, upper_closed=True, whole=True, typical=(1, 3))
CURVATURE, RATE, NOISE = map(dynamics.parameter, ("curvature", "learning_rate", "noise_variance"))
GRADIENT, SCALE = derive.gradient_symbol, sympy.Symbol("noise_scale", positive=True)
RULES = {1: dynamics.sgd_additive_noise(), 2: dynamics.variational_gradient_descent(1)}
RULES[3] = RULES[2]
VARIANCES = {1: SCALE, 2: SCALE / CURVATURE, 3: SCALE}


def edge(gradient, noise_scale, learning_rate, order):
    """The curvature at which a step does not change the expected loss, for gradient variance c lambda^(order - 1)."""
    signal = gradient**2 / noise_scale * (learning_rate / 2) ** (order - 1)
    return 2 / learning_rate * variational.edge_fraction(signal, order)


def expected_change(order):
    """From the rules: noise in the gradient, weights of variance c / curvature, weights of fixed variance c."""
    return sympy.expand(derive.expected_change(RULES[order], at_gradient=True).subs(NOISE, VARIANCES[order]))


def from_update_rules(formula):
    """The change must vanish at the candidate; for p = 3 the gradient is written so that the root is elementary."""
    angle, steps, residuals = sympy.Symbol("A", positive=True), [], {}
    for order in (1, 2, 3):
        change = sympy.expand(expected_change(order) / RATE)
        gradient = sympy.Symbol("gradient", positive=True)
        if order == 3:
            gradient = sympy.sqrt(27 * SCALE) / (RATE * sympy.sinh(3 * angle))
        root = formula(gradient, SCALE, RATE, order).subs(sympy.asinh(sympy.sinh(3 * angle)), 3 * angle)
        steps.append((f"expected change over the learning rate, p = {order}", change))
        residuals[f"change at the edge, p = {order}"] = change.subs(GRADIENT, gradient).subs(CURVATURE, root)
    return Derivation(tuple(steps), residuals)


def change_of_two_outcomes(curvature, gradient, variance, learning_rate):
    """Mean loss change over a sampled gradient of g +- its deviation."""
    moved = -learning_rate * (gradient + np.sqrt(variance) * np.array([1.0, -1.0]))
    return np.mean(gradient * moved + curvature * moved**2 / 2)


def root_of_change(gradient, noise_scale, learning_rate, order):
    """Root in the curvature of the change averaged over the two outcomes."""

    def change(curvature):
        return change_of_two_outcomes(curvature, gradient, noise_scale * curvature ** (order - 1), learning_rate)

    return brentq(change, 0, 2.001 / learning_rate, xtol=1e-300, maxiter=1000)


def descends_exactly_below(formula):
    """The edges of order 1 and 2 are algebraic; all three are certified in the signal they need."""
    gradient = sympy.Symbol("gradient", positive=True)
    for order in (1, 2):
        change, candidate = expected_change(order).subs(GRADIENT, gradient), formula(gradient, SCALE, RATE, order)
        goal = sympy.Equivalent(change < 0, candidate > CURVATURE)
        yield Statement(f"descent in expectation if and only if the curvature is below the edge, p = {order}", goal)


def at_curvature(setting, curvature):
    """One step at the setting's gradient, on a curvature."""
    scale = setting["noise_scale"] / curvature if setting["order"] == 2 else setting["noise_scale"]
    arguments = {
        "eigenvalues": [curvature],
        "initial": setting["gradient"] / curvature,
        "noise_variance": scale,
        "learning_rate": setting["learning_rate"],
    }
    return RuleExperiment(RULES[setting["order"]], lambda setting: arguments)


def needed_signal(fraction, order):
    """The edge solved for its signal."""
    return fraction**order / (1 - fraction)


def signal_without_change(fraction, order):
    """Signal at which the two-outcome change vanishes, at gradient and learning rate 1; it is affine in the scale."""
    curvature, unit = 2 * fraction, (2 * fraction) ** -order

    def change(noise_scale):
        return change_of_two_outcomes(curvature, 1.0, noise_scale * curvature ** (order - 1), 1.0)

    noise_scale = unit * change(0.0) / (change(0.0) - change(unit))
    return 0.5 ** (order - 1) / noise_scale


def descends_exactly_above(formula):
    """Below 2 / rho, for all three orders and all real arguments."""
    for order in (1, 2, 3):
        signal = GRADIENT**2 / SCALE * (RATE / 2) ** (order - 1)
        goal = sympy.Equivalent(expected_change(order) < 0, signal > formula(RATE * CURVATURE / 2, order))
        name = f"descent in expectation if and only if the signal exceeds the one needed, p = {order}"
        yield Statement(name, goal, (RATE * CURVATURE < 2, sympy.Ne(GRADIENT, 0)))


POSTERIOR = dynamics.variational_gradient_descent()
SLOPE, SIZE, RADIUS = sympy.symbols("gradient effective_sample_size radius", positive=True)
SAMPLES = POSTERIOR.symbol("samples")
# weights of the variance of the optimal posterior; SAM's step w+ = w - rho lambda (w + r) at w = g / lambda > 0
OPTIMAL = derive.expected_change(POSTERIOR, at_gradient=True).subs(NOISE, 1 / (SIZE * CURVATURE)).subs(GRADIENT, SLOPE)
ASCENT = CURVATURE * ((SLOPE / CURVATURE - RATE * (SLOPE + CURVATURE * RADIUS)) ** 2 - (SLOPE / CURVATURE) ** 2) / 2


def edge_at_optimum(gradient, effective_sample_size, samples, learning_rate):
    signal = samples * effective_sample_size * gradient**2
    return variational.posterior_optimal_sharpness_limit(signal, learning_rate)


def vanishes(change, *arguments):
    """The change, per learning rate, at the candidate."""

    def derivation(formula):
        root = formula(*arguments)
        residual = sympy.expand(change / RATE).subs(CURVATURE, root)
        return Derivation((("change of the loss", change), ("edge", root)), {"change at the edge": residual})

    return derivation


def falls_exactly_below(change, *arguments):
    """The change is negative below the candidate and nowhere else, for all positive real arguments."""
    name = "descent if and only if the curvature is below the edge"
    return lambda formula: [Statement(name, sympy.Equivalent(change < 0, formula(*arguments) > CURVATURE))]


def root_at_optimum(gradient, effective_sample_size, samples, learning_rate):
    """Root in the curvature of the change with weights of variance 1 / (ess curvature), over two outcomes."""

    def change(curvature):
        variance = curvature**2 / (effective_sample_size * curvature) / samples
        return change_of_two_outcomes(curvature, gradient, variance, learning_rate)

    return brentq(change, 1e-300, 2.001 / learning_rate, xtol=1e-300, maxiter=1000)


def root_at_ascent(gradient, radius, learning_rate):
    """Root in the curvature of SAM's own change of the loss."""

    def change(curvature):
        moved = -learning_rate * (gradient + curvature * radius)
        return gradient * moved + curvature * moved**2 / 2

    return brentq(change, 0, 2.001 / learning_rate, xtol=1e-300, maxiter=1000)


def fractions(rng):
    """Edge over 2 / rho against the signal, for the three orders."""
    rows, grid = [], np.geomspace(1e-4, 1e3, 200)
    names = {1: "p = 1, gradient noise", 2: "p = 2, optimal posterior or SAM", 3: "p = 3, weight noise"}
    for order, name in names.items():
        rows += theory("fraction", name, grid, variational.edge_fraction(grid, order))
        spots = np.geomspace(1e-4, 1e3, 15)
        roots = [root_of_change(1.0, 1 / (spot * 2 ** (order - 1)), 1.0, order) / 2 for spot in spots]
        rows += computed("fraction", name, spots, roots)
    return rows


def small_gradients(axes, rows):
    signal = np.array([1e-4, 1.0])
    for order in (1, 2, 3):
        axes.plot(signal, signal ** (1 / order), color="0.5", linewidth=0.8, linestyle=":")
    axes.axhline(1, color="0.5", linewidth=0.8)
    axes.set_ylim(5e-5, 3)


THEOREM = Theorem(
    id="vl.edge-family",
    title="one family of descent edges",
    source="derived here; the edge of SAM (p = 2) is Long and Bartlett 2023, p = 3 Ghosh et al. 2025, Theorem 3.1",
    kind=TIGHT,
    statement=r"\operatorname{Var}\hat g = c_p\lambda^{p-1}:\quad \mathbb E\,\ell(m^+) < \ell(m) \iff "
    r"\rho\lambda/2 < s,\quad s^p = \zeta(1-s),\quad \zeta = \frac{g^2}{c_p}\Big(\frac\rho2\Big)^{p-1}",
    domain=Domain(
        gradient=positive.between(0.01, 100),
        noise_scale=positive.between(0.01, 100),
        learning_rate=positive.between(0.01, 10),
        order=ORDERS,
    ),
    formula=edge,
    derivation=from_update_rules,
    oracle=root_of_change,
    reach=100,
    certificate=descends_exactly_below,
    simulation=EdgeBracket(
        settings=tuple(
            {"gradient": 1.0, "noise_scale": scale, "learning_rate": 1.0, "order": order}
            for order, scale in ((1, 1.0), (2, 1.0), (3, 0.5))
        ),
        measure=lambda setting, curvature, *how: at_curvature(setting, curvature).measure(setting, *how),
        spread=lambda setting, curvature: at_curvature(setting, curvature).spread(setting),
        effect=lambda setting, curvature: at_curvature(setting, curvature).exact(setting),
        observable="sign of the mean loss change just below and just above the edge",
    ),
    mutants={
        "p and p - 1 exchanged in the signal": lambda gradient, noise_scale, learning_rate, order: edge(
            gradient, 2 * noise_scale / learning_rate, learning_rate, order
        ),
        "gradient noise whatever the order": "2 / learning_rate"
        " / (1 + noise_scale / gradient**2 / (learning_rate / 2)**(order - 1))",
        "weight noise whatever the order": lambda gradient, noise_scale, learning_rate, order: edge(
            gradient, noise_scale * (learning_rate / 2) ** (3 - order), learning_rate, 3
        ),
        "the small-gradient law everywhere": "2 / learning_rate"
        " * (gradient**2 / noise_scale * (learning_rate / 2)**(order - 1))**(1 / order)",
    },
    corollaries=(
        Claim(
            name="signal needed",
            statement=r"s = \rho\lambda/2 < 1:\quad \mathbb E\,\ell(m^+) < \ell(m) \iff \zeta > \frac{s^p}{1 - s}",
            kind=TIGHT,
            domain=Domain(fraction=Interval(0, 1, typical=(0.01, 0.99)), order=ORDERS),
            formula=needed_signal,
            oracle=signal_without_change,
            certificate=descends_exactly_above,
            mutants={
                "power p - 1": "fraction**(order - 1) / (1 - fraction)",
                "quadratic for weight noise": "fraction**min(order, 2) / (1 - fraction)",
                "small-gradient law": "fraction**order",
            },
        ),
        Claim(
            name="small gradients",
            statement=r"\zeta = s^p\,\big(1 + O(s)\big)\quad(s \to 0)",
            kind=ASYMPTOTIC,
            domain=Domain(fraction=Interval(0, 1, typical=(1e-5, 1e-2)), order=ORDERS),
            formula=lambda fraction, order: fraction**order,
            oracle=signal_without_change,
            window=Window("fraction", 1e-5, 1e-2, order=1),
            mutants={
                "exponent 1/2 for weight noise": "fraction**min(order, 2)",
                "exponent 1/(p + 1)": "fraction**(order + 1)",
                "twice the signal": "2 * fraction**order",
            },
        ),
        Claim(
            name="optimal posterior",
            statement=r"\Sigma = Q^{-1}/\mathrm{ess}:\quad \mathbb E\,\ell(m^+) < \ell(m) \iff "
            r"\lambda < \frac w2\Big(\sqrt{1 + \tfrac{8}{\rho w}} - 1\Big),\quad w = N\,\mathrm{ess}\,g^2",
            kind=TIGHT,
            domain=Domain(
                gradient=positive.between(0.01, 100),
                effective_sample_size=positive.between(1, 1e4),
                samples=whole_positive,
                learning_rate=positive.between(0.01, 10),
            ),
            formula=edge_at_optimum,
            derivation=vanishes(OPTIMAL, SLOPE, SIZE, SAMPLES, RATE),
            oracle=root_at_optimum,
            certificate=falls_exactly_below(OPTIMAL, SLOPE, SIZE, SAMPLES, RATE),
            mutants={
                "4 for 8": "samples * effective_sample_size * gradient**2 / 2"
                " * (sqrt(1 + 4 / (learning_rate * samples * effective_sample_size * gradient**2)) - 1)",
                "divided by the sample size": lambda gradient, effective_sample_size, samples, learning_rate: (
                    edge_at_optimum(gradient, 1 / effective_sample_size, samples, learning_rate)
                ),
                "z for w": lambda gradient, effective_sample_size, samples, learning_rate: (
                    variational.descent_sharpness_limit(samples * effective_sample_size * gradient**2, learning_rate)
                ),
            },
        ),
        Claim(
            name="sharpness-aware minimisation",
            statement=r"\ell(w^+) < \ell(w) \iff \lambda < \frac{g}{2r}\Big(\sqrt{1 + \tfrac{8r}{\rho g}} - 1\Big)",
            kind=TIGHT,
            domain=Domain(
                gradient=positive.between(0.01, 100),
                radius=positive.between(0.01, 10),
                learning_rate=positive.between(0.01, 10),
            ),
            formula=lambda gradient, radius, learning_rate: variational.posterior_optimal_sharpness_limit(
                gradient / radius, learning_rate
            ),
            derivation=vanishes(ASCENT, SLOPE, RADIUS, RATE),
            oracle=root_at_ascent,
            certificate=falls_exactly_below(ASCENT, SLOPE, RADIUS, RATE),
            mutants={
                "w = g r": lambda gradient, radius, learning_rate: variational.posterior_optimal_sharpness_limit(
                    gradient * radius, learning_rate
                ),
                "order 3": lambda gradient, radius, learning_rate: variational.descent_sharpness_limit(
                    (gradient / radius) ** 2, learning_rate
                ),
            },
        ),
    ),
    caveats=(
        "For p = 2 the covariance is held at the quadratic's optimum Q^-1 / ess; it is not learned along the path.",
        "One direction and one step; SAM's gradient is taken along that direction, and its step is not random.",
    ),
    figure=Figure(
        data=fractions,
        panels=(
            Panel(
                "fraction",
                x_label="signal ζ (dimensionless)",
                y_label="edge over 2/ρ, s (dimensionless)",
                title="Edge against signal; dotted: ζ^(1/p)",
                x_scale="log",
                y_scale="log",
                decorate=small_gradients,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""At stationarity the instantaneous edge H(z_t) lies below the curvature on 68.27 % of the steps, whatever the setting.

The position is normal, so the signal z_t is a squared normal variable in units of its mean, and H(z_t) has a law
without free parameters. H(z_t) below the curvature means that the loss is expected to rise, which is so most of the
time. Yet the loss does fall on exactly half of the steps, because successive positions are exchangeable.
"""

from functools import cache

import numpy as np
import sympy
from scipy.integrate import quad
from scipy.linalg import solve_discrete_lyapunov
from scipy.optimize import brentq
from scipy.special import ndtr

from quadlab import derive, dynamics, moments
from quadlab.report import Figure, Panel, measured, run, theory
from quadlab.simulate import simulate
from quadlab.theory import variational
from quadlab.theory.intervals import non_negative, positive, whole_positive
from quadlab.verify import IDENTITY, Claim, Derivation, Domain, Equivalence, Measurement, RuleExperiment, Theorem, parse

RULE = dynamics.variational_gradient_descent()
CURVATURE, RATE, NOISE, SAMPLES = map(RULE.symbol, ("curvature", "learning_rate", "noise_variance", "samples"))
SETTING = ("eigenvalue", "noise_variance", "learning_rate", "samples")
STEPS = 24


@cache
def probability(level):
    """P[H(z_t) <= level] from the update rule: |x_t| is below the distance at which a step does not change the loss."""
    variance = derive.stationary_covariance(RULE)[0, 0]
    change = derive.expected_change(RULE, at_gradient=True).subs(CURVATURE, level)
    squared = sympy.Symbol("squared", positive=True)
    (edge,) = sympy.solve(change.subs(derive.gradient_symbol, sympy.sqrt(squared)), squared)
    normal, reach = sympy.Symbol("xi", real=True), sympy.Symbol("q", positive=True)
    density = sympy.exp(-(normal**2) / 2) / sympy.sqrt(2 * sympy.pi)
    within = sympy.integrate(density, (normal, -reach, reach))
    return within.subs(reach, sympy.sqrt(sympy.factor(edge / (CURVATURE**2 * variance))))


def law_from_update_rule(formula):
    """Levels and curvatures below 2 / rho are written as 2 u / (rho (1 + u))."""
    u, v = sympy.symbols("u v", positive=True)
    level, curvature = 2 * u / ((1 + u) * RATE), 2 * v / ((1 + v) * RATE)
    law = probability(level).subs(CURVATURE, curvature)
    return Derivation(
        steps=(
            ("stationary variance of the position", derive.stationary_covariance(RULE)[0, 0]),
            ("expected change at a gradient", derive.expected_change(RULE, at_gradient=True)),
            ("probability that the gradient is too small for descent at the level", law),
        ),
        residuals={"candidate minus probability": formula(level, curvature, RATE) - law},
    )


def frequency_from_update_rule(formula):
    """The same probability where the level is the curvature itself."""
    law = sympy.simplify(probability(CURVATURE))
    return Derivation(
        steps=(("probability of H(z_t) below the curvature", law),),
        residuals={"candidate minus probability": formula(CURVATURE, NOISE, RATE, SAMPLES) - law},
    )


def exchangeable(formula):
    """x+ - x and x+ + x have opposite signs with probability 1/2 - asin(correlation) / pi; they are uncorrelated."""
    variance, position = derive.stationary_covariance(RULE)[0, 0], RULE.state[0]
    product = derive.expectation(RULE.update[0] ** 2 - position**2, RULE.noises)
    covariance = sympy.simplify(product.subs(position**2, variance))
    half = sympy.Rational(1, 2) - sympy.asin(covariance / variance) / sympy.pi
    return Derivation(
        steps=(("E (x+ - x)(x+ + x) at stationarity", covariance), ("P[ |x+| < |x| ]", half)),
        residuals={"candidate minus probability": formula(CURVATURE, NOISE, RATE, SAMPLES) - half},
    )


def transition(eigenvalue, noise_variance, learning_rate, samples):
    """x+ = contraction x + kick xi, with the deviation of x that solves the discrete Lyapunov equation."""
    contraction, kick = 1 - learning_rate * eigenvalue, learning_rate * eigenvalue * np.sqrt(noise_variance / samples)
    return contraction, kick, np.sqrt(solve_discrete_lyapunov([[contraction]], [[kick**2]]).item())


def integrated_law(level, eigenvalue, learning_rate, noise_variance=1.0, samples=1.0):
    """Normal density integrated over the gradients at which the enumerated change at the level is not negative."""
    noise = moments.enumerate_samples(moments.finite_law([[noise_variance]]), int(samples)).ravel()

    def change(gradient):
        moved = -learning_rate * (gradient + level * noise)
        return np.mean(gradient * moved + level * moved**2 / 2)

    far = level
    while change(far) > 0:
        if far > 1e8 * level:
            return 1.0  # at this level the loss rises whatever the gradient
        far *= 2
    *_, deviation = transition(eigenvalue, noise_variance, learning_rate, samples)
    reach = brentq(change, 0, far, xtol=1e-300, maxiter=1000) / (eigenvalue * deviation)
    return 2 * quad(lambda x: np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), 0, reach, epsabs=0, epsrel=1e-12)[0]


def integrated_decrease(**setting):
    """The probability that |x+| < |x|, averaged over the stationary law of x."""
    contraction, kick, deviation = transition(**setting)

    def descends(xi):
        ends = np.array([1 - contraction, -1 - contraction]) * xi * deviation / kick
        return np.exp(-(xi**2) / 2) * np.sqrt(2 / np.pi) * (ndtr(ends[0]) - ndtr(ends[1]))

    return quad(descends, 0, 12, epsabs=0, epsrel=1e-12, limit=200)[0]


def bind(setting):
    return {
        "eigenvalues": [setting["eigenvalue"]],
        "initial": 0.0,
        "noise_variance": setting["noise_variance"],
        "learning_rate": setting["learning_rate"],
        "samples": setting["samples"],
    }


def below(setting, levels, replicas, rng, executor=None):
    """Fractions of replicas with H(z_t) at or below each level."""

    def fraction(now, level):
        signal = setting["samples"] * (setting["eigenvalue"] * now.state["position"]) ** 2 / setting["noise_variance"]
        return (variational.descent_sharpness_limit(signal, setting["learning_rate"]) <= level).astype(float)

    observables = {str(level): lambda now, level=level: fraction(now, level) for level in levels}
    run_of = {"observables": observables, "replicas": replicas, "rng": rng, "executor": executor}
    return simulate(RULE, steps=setting.get("steps", STEPS), **run_of, **bind(setting))


def measure_below(setting, *how):
    level = setting.get("level", setting["eigenvalue"])
    return Measurement.of(below(setting, [level], *how), str(level))


def distribution_functions(rng):
    """The law against level / curvature, for three learning rates."""
    rows, grid = [], np.linspace(0.02, 2.2, 300)
    seeds = np.random.SeedSequence(rng).spawn(3)
    for product, steps, seed in zip((0.2, 1.0, 1.9), (60, 2, 120), seeds, strict=True):
        name = f"ρλ = {product:g}"
        rows += theory("law", name, grid, variational.stationary_edge_probability(grid, 1.0, product))
        levels = np.round(np.linspace(0.2, min(2.1, 2 / product - 1e-3), 9), 3)
        setting = {"eigenvalue": 1.0, "noise_variance": 0.5, "learning_rate": product, "samples": 2, "steps": steps}
        found = below(setting, levels, 20_000, seed)
        for level in levels:
            point = Measurement.of(found, str(level))
            rows += measured("law", name, level, point.value, point.standard_error)
    return rows


def mark_curvature(axes, rows):
    axes.axvline(1, color="0.5", linewidth=0.8)
    axes.axhline(0.6827, color="0.5", linewidth=0.8)
    axes.annotate("0.6827", (2.2, 0.6827), xytext=(-4, -4), textcoords="offset points", ha="right", va="top")


SETTINGS = (
    {"eigenvalue": 1.0, "noise_variance": 0.5, "learning_rate": 0.6, "samples": 4},
    {"eigenvalue": 3.5, "noise_variance": 2.0, "learning_rate": 0.4, "samples": 2},
)
ANY = Domain(
    "learning_rate * eigenvalue < 2",
    eigenvalue=positive.between(0.05, 5),
    noise_variance=positive.between(0.01, 10),
    learning_rate=positive.between(0.05, 2),
    samples=whole_positive.between(1, 4),
)
CURVES = {
    "level": non_negative.between(0.05, 5),
    "eigenvalue": positive.between(0.05, 5),
    "learning_rate": positive.between(0.05, 2),
}
DECREASES = RuleExperiment(RULE, bind, observable="decreases", steps=STEPS)

THEOREM = Theorem(
    id="vl.stationary-curve-law",
    title="the parameter-free 68.27 %",
    source="derived here",
    kind=IDENTITY,
    statement=r"\mathbb P[H(z_t) \le y] = \operatorname{erf}\sqrt{\frac{y^3(2-\rho\lambda)}{2\lambda^3(2-\rho y)}}"
    r"\ (y < 2/\rho),\qquad \mathbb P[\lambda > H(z_t)] = \operatorname{erf}(1/\sqrt2)",
    domain=Domain("learning_rate * eigenvalue < 2", "learning_rate * level < 2", **CURVES),
    formula=variational.stationary_edge_probability,
    derivation=law_from_update_rule,
    oracle=integrated_law,
    reach=1,
    simulation=Equivalence(
        settings=({**SETTINGS[0], "level": 0.8}, {**SETTINGS[1], "level": 3.8}),
        measure=measure_below,
        spread=lambda setting: 0.5,
        predict=lambda formula, setting: formula(setting["level"], setting["eigenvalue"], setting["learning_rate"]),
        observable="fraction of replicas whose instantaneous edge lies below the level",
    ),
    mutants={
        "no square root": "erf(level**3 * (2 - learning_rate * eigenvalue)"
        " / (2 * eigenvalue**3 * (2 - learning_rate * level)))",
        "without 1/2": "erf(sqrt(level**3 * (2 - learning_rate * eigenvalue)"
        " / (eigenvalue**3 * (2 - learning_rate * level))))",
        "the complementary event": "1 - erf(sqrt(level**3 * (2 - learning_rate * eigenvalue)"
        " / (2 * eigenvalue**3 * (2 - learning_rate * level))))",
        "gradient noise for weight noise": "erf(sqrt(level**2 * (2 - learning_rate * eigenvalue)"
        " / (2 * eigenvalue**2 * (2 - learning_rate * level))))",
        "small learning rates": "erf(sqrt(level**3 / (2 * eigenvalue**3)))",
    },
    corollaries=(
        Claim(
            name="levels beyond 2 / rho",
            statement=r"\mathbb P[H(z_t) \le y] = 1\quad(y \ge 2/\rho)",
            kind=IDENTITY,
            domain=Domain("learning_rate * eigenvalue < 2", "learning_rate * level >= 2", **CURVES),
            formula=variational.stationary_edge_probability,
            oracle=integrated_law,
            points=100,
            simulation=Equivalence(
                settings=({**SETTINGS[0], "eigenvalue": 3.2, "level": 3.5},),
                measure=measure_below,
                # nothing is random about a certain event
                spread=lambda setting: 0.0,
                predict=lambda formula, setting: formula(
                    setting["level"], setting["eigenvalue"], setting["learning_rate"]
                ),
                observable="fraction of replicas whose instantaneous edge lies below the level",
            ),
            mutants={
                "small learning rates": "erf(sqrt(level**3 / (2 * eigenvalue**3)))",
                "the frequency at the curvature": "erf(1 / sqrt(2))",
                "never reached": "0",
            },
        ),
        Claim(
            name="below the curvature",
            statement=r"\mathbb P[H(z_t) \le \lambda] = \operatorname{erf}(1/\sqrt2) = 0.6827",
            kind=IDENTITY,
            domain=ANY,
            formula=parse("erf(1 / sqrt(2))", SETTING),
            derivation=frequency_from_update_rule,
            oracle=lambda eigenvalue, **rest: integrated_law(eigenvalue, eigenvalue, **rest),
            reach=100,
            points=100,
            simulation=Equivalence(
                settings=SETTINGS,
                measure=measure_below,
                spread=lambda setting: 0.5,
                observable="fraction of replicas whose instantaneous edge lies below the curvature",
            ),
            mutants={
                "half of the time": "0.5",
                "the complementary event": "1 - erf(1 / sqrt(2))",
                "no square root": "erf(1 / 2)",
                "a frequency that depends on N": "erf(sqrt(samples / 2))",
            },
        ),
        Claim(
            name="decreasing steps",
            statement=r"\mathbb P[\ell(m_{t+1}) < \ell(m_t)] = \tfrac12",
            kind=IDENTITY,
            domain=ANY,
            formula=parse("1 / 2", SETTING),
            derivation=exchangeable,
            oracle=integrated_decrease,
            reach=10,
            points=100,
            simulation=Equivalence(
                settings=SETTINGS,
                measure=DECREASES.measure,
                spread=DECREASES.spread,
                observable="fraction of steps on which the loss decreases",
            ),
            mutants={
                "as often as on the edge at its best": "erf(1 / sqrt(2))",
                "whenever the curvature is below the edge": "1 - erf(1 / sqrt(2))",
                "as on the edge": "(erf(sqrt(learning_rate * eigenvalue / (2 - learning_rate * eigenvalue) / 2))"
                " + erf(sqrt((2 - learning_rate * eigenvalue) / (learning_rate * eigenvalue) / 2))) / 2",
            },
        ),
    ),
    caveats=(
        "Gaussian weight noise and a frozen curvature; in a net the curvature drifts.",
        "The mean of H(z_t) over time is not the curvature but lies below it, by 20 % at rho lambda = 1 (Jensen).",
    ),
    figure=Figure(
        data=distribution_functions,
        panels=(
            Panel(
                "law",
                x_label="level / curvature, y / λ",
                y_label="probability of H(z) ≤ y (dimensionless)",
                title="Law of the instantaneous edge",
                decorate=mark_curvature,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

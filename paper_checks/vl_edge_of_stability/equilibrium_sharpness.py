"""In a minimal model of the edge of stability, noise fixes the sharpness: S = (2/rho) / (1 + s^2 / (N E x^2)).

The sharpness S grows at the rate a and is pushed down by b/2 times the square of each sampled weight x + s eps. It can
stand still only where E x^2 = 2a/b - s^2; and x can have that mean square only where S is the explicit descent edge at
that distance. The first balance is exact. The second takes S as frozen while x settles, which is right for b -> 0.
"""

from functools import cache
from itertools import product

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab import derive, dynamics
from quadlab.report import Figure, Panel, measured, run, theory
from quadlab.simulate import simulate
from quadlab.theory import variational
from quadlab.theory.intervals import positive, whole_positive
from quadlab.verify import (
    ASYMPTOTIC,
    IDENTITY,
    LIMIT,
    Claim,
    Derivation,
    Domain,
    Equivalence,
    Measurement,
    Statement,
    Theorem,
    Window,
)

RULES = {samples: dynamics.progressive_sharpening(samples) for samples in range(1, 7)}
POSITION, SHARPNESS = RULES[1].state
SHARPENING, SELF, NOISE, RATE = map(
    RULES[1].symbol, ("sharpening", "sharpness_gradient_squared", "noise_variance", "learning_rate")
)
SQUARE = sympy.Symbol("mean_square", positive=True)


def drift(samples):
    """Expected change of S at E x^2 = mean_square."""
    rule = RULES[samples]
    return derive.expectation(rule.update[1] - SHARPNESS, rule.noises).subs(POSITION**2, SQUARE)


def growth(samples):
    """Expected change of x^2 at E x^2 = mean_square, for slow sharpness (b = 0), divided by S."""
    rule = RULES[samples]
    change = derive.expectation(rule.update[0] ** 2 - POSITION**2, rule.noises).subs(POSITION**2, SQUARE)
    return sympy.expand(change.subs(SELF, 0) / SHARPNESS)


def sharpness_where(second_moment, sharpness_gradient_squared, noise_variance, learning_rate, samples):
    """The equilibrium in terms of the second moment 2a/b of the sampled weights, at which b may go to zero."""
    sharpening = second_moment * sharpness_gradient_squared / 2
    return variational.equilibrium_sharpness(
        sharpening, sharpness_gradient_squared, noise_variance, learning_rate, samples
    )


def at_rest(formula, samples):
    """The candidate where the drift of S vanishes at E x^2 = mean_square."""
    (sharpening,) = sympy.solve(drift(samples), SHARPENING)
    return formula(sympy.factor(2 * sharpening / SELF), SELF, NOISE, RATE, samples)


def two_balances(formula):
    """Where S stands still, x^2 must too, at the candidate."""
    return Derivation(
        steps=(
            ("expected change of S", drift(1)),
            ("expected change of x^2 over S, at b = 0 and N = 1", growth(1)),
            ("the same for N = 2", growth(2)),
        ),
        residuals={
            f"growth of x^2, N = {samples}": growth(samples).subs(SHARPNESS, at_rest(formula, samples))
            for samples in (1, 2, 4)
        },
    )


def grows_exactly_above(formula):
    """Where S stands still, x^2 grows above the candidate and shrinks below it."""
    for samples in (1, 2, 4):
        goal = sympy.Equivalent(growth(samples) > 0, at_rest(formula, samples) < SHARPNESS)
        yield Statement(f"x^2 grows if and only if S exceeds the candidate, N = {samples}", goal)


def stands_still(formula):
    """The expected change of S at the candidate mean square."""
    still = drift(2).subs(SQUARE, formula(SHARPENING, SELF, NOISE))
    return Derivation((("expected change of S", drift(2)),), {"drift at the candidate": still})


def falls_exactly_above(formula):
    """S falls above the candidate mean square and rises below it, whatever S and x do."""
    goal = sympy.Equivalent(drift(2) < 0, formula(SHARPENING, SELF, NOISE) < SQUARE)
    yield Statement("S falls if and only if the mean square exceeds the candidate", goal)


@cache
def enumerable(samples):
    """The rule as a function of numbers, and the points +-1 of its noises: only their squares enter the changes."""
    rule = RULES[samples]
    arguments = [*rule.state, *rule.parameters, *(noise.symbol for noise in rule.noises)]
    points = np.array(list(product((-1.0, 1.0), repeat=len(rule.noises))))
    return sympy.lambdify(arguments, rule.update, "numpy"), points.T


def root_in_square(sharpening, sharpness_gradient_squared, noise_variance, samples=1):
    """Root in x^2 of the enumerated change of S."""
    update, points = enumerable(int(samples))

    def change(square):
        _, after = update(np.sqrt(square), 0.0, 1.0, noise_variance, sharpening, sharpness_gradient_squared, *points)
        return np.mean(after)

    return brentq(change, 0, 2.001 * sharpening / sharpness_gradient_squared, xtol=1e-300, maxiter=1000)


def root_in_sharpness(second_moment, sharpness_gradient_squared, noise_variance, learning_rate, samples):
    """Root in S of the enumerated change of x^2 where S stands still, terms of relative order b included."""
    update, points = enumerable(int(samples))
    sharpening = second_moment * sharpness_gradient_squared / 2
    square = root_in_square(sharpening, sharpness_gradient_squared, noise_variance, samples)
    parameters = (learning_rate, noise_variance, sharpening, sharpness_gradient_squared)

    def change(sharpness):
        after, _ = update(np.sqrt(square), sharpness, *parameters, *points)
        return np.mean(after**2) - square

    return brentq(change, 0.02 / learning_rate, 3 / learning_rate, xtol=1e-300, maxiter=1000)


def gap_of_frozen_model(sharpening, sharpness_gradient_squared, noise_variance, learning_rate, samples):
    """Gap below 2 / rho at which X+ = (1 - rho S)^2 X + (rho S s)^2 / N rests at X = 2a/b - s^2."""
    square = 2 * sharpening / sharpness_gradient_squared - noise_variance

    def excess(gap):
        contraction, kick = learning_rate * gap - 1, (2 - learning_rate * gap) ** 2 * noise_variance / samples
        return kick / (1 - contraction**2) / square - 1

    return brentq(excess, 1e-9 / learning_rate, 1 / learning_rate, xtol=1e-300, maxiter=1000)


def leading_gap(formula):
    """The balance of x^2 at S = 2 / rho - gap must hold to first order in the noise variance."""
    gap = formula(SHARPENING, SELF, NOISE, RATE, 2)
    square = sympy.solve(drift(2), SQUARE)[0]
    balance = growth(2).subs(SHARPNESS, 2 / RATE - gap).subs(SQUARE, square)
    first = sympy.diff(balance, NOISE).subs(NOISE, 0)
    return Derivation((("balance of x^2 at the gap", balance),), {"first order in the noise variance": first})


def linearised(second_moment, sharpness_gradient_squared, noise_variance, learning_rate, samples):
    """Relaxation rate r of S, and the deviations of S and of the average of x^2 over 1/r steps, to leading order in b.

    Near equilibrium S is an Ornstein-Uhlenbeck process: the mean square at frozen S pulls it back, and the noise of
    y = mean_k (x + s eps_k)^2 drives it. At frequency w then x^2 = f - r g / (r + i w), with f and g what x^2 and y do
    at frozen S; their covariances, summed over lags, are closed Gaussian integrals.
    """
    square, noise = second_moment - noise_variance, noise_variance / samples
    contraction = (noise - square) / (noise + square)
    rate = learning_rate**2 * sharpness_gradient_squared * noise / (1 + contraction) ** 2
    correlated = square**2 / (1 - contraction**2)
    white = (square + noise) ** 2 + noise_variance**2 * (samples - 1) / samples**2
    of_sharpness = learning_rate * sharpness_gradient_squared / 2 * np.sqrt((white + 2 * correlated) / rate)
    return rate, of_sharpness, np.sqrt(rate * (contraction**2 * correlated + white / 2))


def settled(setting, replicas, rng, executor=None):
    """The model from S = 1.7 / rho, over nine relaxation times or more, with x^2 averaged over about the last."""
    values = dict(setting)
    rule = dynamics.progressive_sharpening(values.pop("samples"))
    relaxation = 1 / linearised(**setting)[0]
    return simulate(
        dynamics.with_running_average(rule, POSITION**2),
        steps=int(max(9 * relaxation, 6000)),
        replicas=replicas,
        observables=("sharpness", "average"),
        initial={"position": 0.0, "sharpness": 1.7 / values["learning_rate"], "average": 0.0},
        rng=rng,
        executor=executor,
        memory=relaxation,
        sharpening=values.pop("second_moment") * values["sharpness_gradient_squared"] / 2,
        **values,
    )


def setting_of(second_moment, sharpness_gradient_squared, noise_variance, samples):
    return {
        "second_moment": second_moment,
        "sharpness_gradient_squared": sharpness_gradient_squared,
        "noise_variance": noise_variance,
        "learning_rate": 0.2,
        "samples": samples,
    }


def equilibria(rng):
    """Sharpness and mean square against the noise variance, for three numbers of samples; 2a/b = 0.008."""
    rows, grid = [], np.linspace(0, 7.99e-3, 200)
    seeds = iter(np.random.SeedSequence(rng).spawn(15))
    for samples in (1, 4, 16):
        name = f"N = {samples}"
        rows += theory("sharpness", name, 1e3 * grid, sharpness_where(**setting_of(8e-3, 2.5, grid, samples)))
        for noise_variance in (1e-3, 2e-3, 3e-3, 4.5e-3, 6e-3):
            found = settled(setting_of(8e-3, 2.5, noise_variance, samples), 64, next(seeds))
            for panel, observable, unit in (("sharpness", "sharpness", 1), ("square", "average", 1e3)):
                point = Measurement.of(found, observable)
                rows += measured(panel, name, 1e3 * noise_variance, unit * point.value, unit * point.standard_error)
    rows += theory("sharpness", "edge of gradient descent", [0, 8], [10, 10])
    return rows + theory("square", "2a/b − s²", [0, 8], [8, 0])


def mark_end(axes, rows):
    axes.axvline(8, color="0.5", linewidth=0.8)


POINT = {
    "sharpening": positive.between(0.3, 3),
    "sharpness_gradient_squared": positive.between(0.3, 3),
    "noise_variance": positive.between(0.01, 2),
}
BELOW = "noise_variance * sharpness_gradient_squared < 2 * sharpening"

THEOREM = Theorem(
    id="vl.equilibrium-sharpness",
    title="a minimal edge of stability in closed form",
    source="derived here, on the model of Damian, Nichani and Lee 2022 with weight noise",
    kind=LIMIT,
    statement=r"\mathbb E\,x^2 = \tfrac{2a}{b} - s^2,\qquad "
    r"S \to \frac{2}{\rho}\Big/\Big(1 + \frac{s^2}{N(2a/b - s^2)}\Big)\quad(b \to 0,\ 2a/b \text{ fixed})",
    domain=Domain(
        "noise_variance < 0.9 * second_moment",
        second_moment=positive.between(0.5, 2),
        sharpness_gradient_squared=positive.between(1e-7, 1e-4),
        noise_variance=positive.between(0.1, 1),
        learning_rate=positive.between(0.1, 2),
        samples=whole_positive.between(1, 6),
    ),
    formula=sharpness_where,
    derivation=two_balances,
    oracle=root_in_sharpness,
    window=Window("sharpness_gradient_squared", 1e-7, 1e-4, order=1),
    certificate=grows_exactly_above,
    simulation=Equivalence(
        settings=(setting_of(0.04, 0.25, 0.01, 1), setting_of(0.025, 0.25, 0.01, 2), setting_of(0.035, 0.25, 0.02, 4)),
        measure=lambda setting, *how: Measurement.of(settled(setting, *how), "sharpness"),
        spread=lambda setting: linearised(**setting)[1],
        observable="sharpness after nine relaxation times",
    ),
    mutants={
        "smoothing forgotten": "2 / learning_rate / (1 + noise_variance / (samples * second_moment))",
        "smoothing of the wrong sign": "2 / learning_rate"
        " / (1 + noise_variance / (samples * (second_moment + noise_variance)))",
        "a/b for 2a/b": "2 / learning_rate"
        " / (1 + noise_variance / (samples * abs(second_moment / 2 - noise_variance)))",
        "N in the smoothing": "2 / learning_rate"
        " / (1 + noise_variance / (samples * (second_moment - noise_variance / samples)))",
        "plain 2 / rho": "2 / learning_rate",
        "N^2 / 3 beyond two samples": "2 / learning_rate"
        " / (1 + noise_variance / (where(samples > 2, samples**2 / 3, samples) * (second_moment - noise_variance)))",
    },
    corollaries=(
        Claim(
            name="mean square",
            statement=r"\mathbb E\,S_{t+1} = \mathbb E\,S_t \iff \mathbb E\,x_t^2 = \tfrac{2a}{b} - s^2",
            kind=IDENTITY,
            domain=Domain(BELOW, **POINT),
            formula=lambda sharpening, sharpness_gradient_squared, noise_variance: (
                2 * sharpening / sharpness_gradient_squared - noise_variance
            ),
            derivation=stands_still,
            oracle=root_in_square,
            scale=lambda sharpening, sharpness_gradient_squared, noise_variance: (
                2 * sharpening / sharpness_gradient_squared
            ),
            certificate=falls_exactly_above,
            simulation=Equivalence(
                settings=(setting_of(0.04, 1.0, 0.01, 1), setting_of(0.025, 1.0, 0.01, 2)),
                measure=lambda setting, *how: Measurement.of(settled(setting, *how), "average"),
                spread=lambda setting: linearised(**setting)[2],
                predict=lambda formula, setting: formula(
                    setting["second_moment"] * setting["sharpness_gradient_squared"] / 2,
                    setting["sharpness_gradient_squared"],
                    setting["noise_variance"],
                ),
                observable="running average of the squared position",
            ),
            mutants={
                "smoothing forgotten": "2 * sharpening / sharpness_gradient_squared",
                "smoothing of the wrong sign": "2 * sharpening / sharpness_gradient_squared + noise_variance",
                "without the factor 2": "sharpening / sharpness_gradient_squared - noise_variance",
                "N = 2 in the smoothing": "2 * sharpening / sharpness_gradient_squared - noise_variance / 2",
            },
        ),
        Claim(
            name="gap at small noise",
            statement=r"\tfrac2\rho - S = \frac{b s^2}{\rho a N}\,\big(1 + O(s^2)\big)\quad(s \to 0)",
            kind=ASYMPTOTIC,
            domain=Domain(**POINT, learning_rate=positive.between(0.1, 2), samples=whole_positive.between(2, 6)),
            formula=lambda sharpening, sharpness_gradient_squared, noise_variance, learning_rate, samples: (
                sharpness_gradient_squared * noise_variance / (learning_rate * sharpening * samples)
            ),
            derivation=leading_gap,
            oracle=gap_of_frozen_model,
            window=Window("noise_variance", 1e-5, 1e-3, order=1),
            mutants={
                "half the gap": "sharpness_gradient_squared * noise_variance"
                " / (2 * learning_rate * sharpening * samples)",
                "without N": "sharpness_gradient_squared * noise_variance / (learning_rate * sharpening)",
                "without rho": "sharpness_gradient_squared * noise_variance / (sharpening * samples)",
            },
        ),
    ),
    caveats=(
        "One unstable direction, and no higher orders in it.",
        "At b > 0 the sharpness fluctuates and its mean lies lower, relatively by about rho^2 b s^2 (0.03 % in the"
        " simulated settings).",
        "Without noise S circles around 2 / rho; at s^2 >= 2a/b smoothing alone stops the sharpening, and no edge is"
        " reached.",
        "S takes N (2 - rho S)^2 / (rho^2 b s^2) steps to relax, often above 10^4: shorter runs mislead.",
    ),
    figure=Figure(
        data=equilibria,
        panels=(
            Panel(
                "sharpness",
                x_label="noise variance s² (10⁻³ parameter²)",
                y_label="sharpness S (loss / parameter²)",
                title="Equilibrium sharpness; bar at s² = 2a/b",
                decorate=mark_end,
            ),
            Panel(
                "square",
                x_label="noise variance s² (10⁻³ parameter²)",
                y_label="mean square E x² (10⁻³ parameter²)",
                title="Mean square; bar at s² = 2a/b",
                decorate=mark_end,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""Samples in pairs (+eps, -eps) remove the perturbation of the step and keep the smoothing of the loss.

On a quadratic the gradients of a pair average to the gradient itself: the step is that of gradient descent, draw by
draw, and only an unpaired sample disturbs it. On any other loss the pair still sees the mean of the loss around m, so
that its gradient keeps the term (1/2) s^2 l'''. Pairs against independent samples tell the two mechanisms apart.
"""

from functools import cache
from itertools import product

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab import derive, dynamics, moments
from quadlab.report import Figure, Panel, measured, run, theory
from quadlab.simulate import simulate
from quadlab.theory import variational
from quadlab.theory.intervals import Interval, non_negative, positive, real
from quadlab.verify import (
    IDENTITY,
    TIGHT,
    Claim,
    Derivation,
    Directions,
    Domain,
    Equivalence,
    Measurement,
    RuleExperiment,
    Statement,
    Theorem,
)

PAIRS = Interval(0, np.inf, lower_closed=True, whole=True, typical=(0, 3))
UNPAIRED = Interval(0, 1, lower_closed=True, upper_closed=True, whole=True)
DROP = "sum(learning_rate**2 / 2 * eigenvalues * gradient**2 - learning_rate * gradient**2)"
NOISE_OF_ONE = "sum(learning_rate**2 / 2 * noise_variances * eigenvalues**3)"
SLOPE = "second_derivative * mean + third_derivative * mean**2 / 2 + fourth_derivative * mean**3 / 6"
THIRD = "(third_derivative + fourth_derivative * mean)"
RATE, NOISE = map(dynamics.parameter, ("learning_rate", "noise_variance"))
SHARPNESS = dynamics.progressive_sharpening(1).state[1]


def paired_change(eigenvalues, gradient, noise_variances, learning_rate, pairs, unpaired):
    """Expected loss change with N = 2 pairs + unpaired samples: that of noise variance s^2 unpaired / N."""
    samples = 2 * pairs + unpaired
    left_over = [variance * unpaired / samples for variance in noise_variances]
    return variational.expected_loss_change(eigenvalues, gradient, left_over, learning_rate, samples)


def rule_of(pairs, unpaired):
    return dynamics.variational_gradient_descent(int(2 * pairs + unpaired), antithetic=True)


def from_update_rules(formula):
    """Each rule writes its draws out, with their signs; those of a pair cancel in the update already."""
    steps, residuals, gradient = [], {}, derive.gradient_symbol
    for pairs, unpaired in ((1, 0), (0, 1), (1, 1), (2, 1)):
        rule = rule_of(pairs, unpaired)
        change = derive.expected_change(rule, at_gradient=True)
        predicted = formula([rule.symbol("curvature")], [gradient], [NOISE], RATE, pairs, unpaired)
        steps += [(f"update, {rule.name}", sympy.expand(rule.update[0])), ("expected change", change)]
        residuals[rule.name] = predicted - change
    return Derivation(tuple(steps), residuals)


def displacements(noise_variances, pairs, unpaired):
    """All outcomes of the fresh draws, each as one displacement for every sample, those of a pair mirrored."""
    points, fresh = moments.finite_law(np.diag(noise_variances)), int(pairs + unpaired)
    outcomes = np.array(list(product(points, repeat=fresh)))
    return np.concatenate([outcomes, -outcomes[:, : int(pairs)]], axis=1)


def enumerated(eigenvalues, gradient, noise_variances, learning_rate, pairs, unpaired):
    """Mean over all outcomes of the fresh draws; every sample has its own gradient."""
    gradients = gradient + eigenvalues * displacements(noise_variances, pairs, unpaired)
    moved = -learning_rate * gradients.mean(axis=1)
    return np.mean(moved @ gradient + np.square(moved) @ eigenvalues / 2)


def size_of_terms(eigenvalues, gradient, noise_variances, learning_rate, pairs, unpaired):
    """What rounding is measured against: the terms may cancel."""
    drop = learning_rate * np.sum(gradient**2)
    return drop + learning_rate**2 * np.sum(eigenvalues**3 * noise_variances + eigenvalues * gradient**2)


def one_step(setting):
    arguments = {
        "eigenvalues": setting["eigenvalues"],
        "initial": np.divide(setting["gradient"], setting["eigenvalues"]),
        "noise_variance": setting["noise_variances"],
        "learning_rate": setting["learning_rate"],
    }
    return RuleExperiment(rule_of(setting["pairs"], setting["unpaired"]), lambda setting: arguments)


def loss_slope(second_derivative, third_derivative, fourth_derivative, mean):
    """l' at the mean, for a loss of fourth degree whose gradient vanishes at 0; the derivatives are those at 0."""
    return second_derivative * mean + third_derivative * mean**2 / 2 + fourth_derivative * mean**3 / 6


def smoothed_slope(second_derivative, third_derivative, fourth_derivative, mean, noise_variance):
    """l' + (1/2) s^2 l''', the gradient of the smoothed loss; exact up to the fourth degree."""
    slope = loss_slope(second_derivative, third_derivative, fourth_derivative, mean)
    return slope + noise_variance * (third_derivative + fourth_derivative * mean) / 2


DERIVATIVES = sympy.symbols("second_derivative third_derivative fourth_derivative", real=True)
MEAN, EPSILON = sympy.symbols("mean epsilon", real=True)
SLOPES_OF_PAIR = [loss_slope(*DERIVATIVES, MEAN + sign * sympy.sqrt(NOISE) * EPSILON) for sign in (1, -1)]
GRADIENT_OF_PAIR = dynamics.UpdateRule(
    "gradient of a pair", (MEAN,), (sum(SLOPES_OF_PAIR) / 2,), (dynamics.Noise(EPSILON),)
)


def mean_over_pairs(formula):
    """The mean of the pair's gradient over its one draw."""
    mean = derive.expectation(GRADIENT_OF_PAIR.update[0], GRADIENT_OF_PAIR.noises)
    return Derivation((("mean", mean),), {"candidate minus mean": formula(*DERIVATIVES, MEAN, NOISE) - mean})


def by_quadrature(second_derivative, third_derivative, fourth_derivative, mean, noise_variance):
    """Gauss-Hermite quadrature of the pair's gradient."""
    loss = np.polynomial.Polynomial([0, 0, second_derivative / 2, third_derivative / 6, fourth_derivative / 24])
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    shifts = np.sqrt(noise_variance) * nodes
    return weights @ (loss.deriv()(mean + shifts) + loss.deriv()(mean - shifts)) / (2 * weights.sum())


def measure_pair(setting, replicas, rng, executor=None):
    parameters = {name: value for name, value in setting.items() if name != "mean"}
    how = {"initial": setting["mean"], "replicas": replicas, "rng": rng, "executor": executor}
    return Measurement.of(simulate(GRADIENT_OF_PAIR, steps=1, observables="mean", **how, **parameters), "mean")


def paired_sharpness(second_moment, noise_variance, learning_rate, pairs, unpaired):
    """Slow equilibrium of the model of vl.equilibrium-sharpness: smoothing s^2, perturbation s^2 unpaired / N^2.

    `second_moment` is 2a/b, the mean square of a sampled weight at which the sharpness stands still.
    """
    perturbation = noise_variance * unpaired / (2 * pairs + unpaired) ** 2
    return 2 / learning_rate / (1 + perturbation / (second_moment - noise_variance))


@cache
def balance(pairs, unpaired):
    """Where the sharpness stands still on average: 2a/b, and the change of x^2 over S for slow S, at mean_square."""
    square, b = sympy.Symbol("mean_square", positive=True), dynamics.parameter("sharpness_gradient_squared")
    rule = dynamics.progressive_sharpening(2 * pairs + unpaired, antithetic=True)
    position, sharpness = rule.state
    drift = derive.expectation(rule.update[1] - sharpness, rule.noises).subs(position**2, square)
    change = (rule.update[0] ** 2 - position**2).subs(b, 0)
    growth = derive.expectation(change, rule.noises).subs(position**2, square)
    second_moment = sympy.factor(2 * sympy.solve(drift, rule.symbol("sharpening"))[0] / b)
    return second_moment, sympy.expand(growth / sharpness)


def balances(formula):
    """For several kinds of samples: their name, the change of x^2 over S, S, and the candidate for it."""
    for pairs, unpaired in ((1, 0), (0, 1), (1, 1), (2, 1), (3, 1)):
        second_moment, growth = balance(pairs, unpaired)
        candidate = formula(second_moment, NOISE, RATE, pairs, unpaired)
        yield f"pairs = {pairs}, unpaired = {unpaired}", growth, SHARPNESS, candidate


def from_model(formula):
    """Where S stands still, x^2 must too, at the candidate."""
    found = list(balances(formula))
    return Derivation(
        steps=tuple((f"change of x^2 over S, {name}", growth) for name, growth, _, _ in found),
        residuals={name: growth.subs(sharpness, candidate) for name, growth, sharpness, candidate in found},
    )


def grows_exactly_above(formula):
    """x^2 grows above the candidate and shrinks below it."""
    for name, growth, sharpness, candidate in balances(formula):
        goal = sympy.Equivalent(growth > 0, candidate < sharpness)
        yield Statement(f"x^2 grows if and only if S exceeds the candidate, {name}", goal)


def sharpness_by_enumeration(second_moment, noise_variance, learning_rate, pairs, unpaired):
    """Root in S of the enumerated change of x^2 over S, at the x whose samples have the mean square 2a/b."""
    shifts = displacements([noise_variance], pairs, unpaired)[..., 0]
    ends = 0, 2 * np.sqrt(second_moment)
    x = brentq(lambda x: np.mean((x + shifts) ** 2) - second_moment, *ends, xtol=1e-300, rtol=1e-15, maxiter=1000)
    averages = np.mean(x + shifts, axis=1)

    def growth(sharpness):
        return learning_rate * np.mean(averages * (learning_rate * sharpness * averages - 2 * x))

    return brentq(growth, 0, 3 / learning_rate, xtol=1e-300, rtol=1e-15, maxiter=1000)


def relaxation(second_moment, noise_variance, learning_rate, pairs, unpaired, sharpness_gradient_squared):
    """Relaxation rate of S, and its deviation, to leading order in b: as in vl.equilibrium-sharpness.

    Only how far the mean square over the samples, y, goes with the next positions is different: the unpaired draw
    enters y and, once over N, the position.
    """
    samples = 2 * pairs + unpaired
    square, kick = second_moment - noise_variance, noise_variance * unpaired / samples**2
    contraction = (kick - square) / (kick + square)
    rate = learning_rate**2 * sharpness_gradient_squared * kick / (1 + contraction) ** 2
    later = square**2 + (samples - 1) * (kick * (1 - contraction)) ** 2
    white = square**2 + 2 * square * kick + noise_variance**2 * (4 * pairs + unpaired) / samples**2
    long_run = white + 2 * later / (1 - contraction**2)
    return rate, learning_rate * sharpness_gradient_squared / 2 * np.sqrt(long_run / rate)


def settled(setting, replicas, rng, executor=None):
    """The model from S = 1.4 / rho, over six relaxation times: a start 17 % off is then 0.04 % off."""
    rate, _ = relaxation(**setting)
    return Measurement.of(
        simulate(
            dynamics.progressive_sharpening(2 * setting["pairs"] + setting["unpaired"], antithetic=True),
            steps=int(6 / rate),
            replicas=replicas,
            observables="sharpness",
            initial={"position": 0.0, "sharpness": 1.4 / setting["learning_rate"]},
            rng=rng,
            executor=executor,
            sharpening=setting["second_moment"] * setting["sharpness_gradient_squared"] / 2,
            **{name: setting[name] for name in ("sharpness_gradient_squared", "noise_variance", "learning_rate")},
        ),
        "sharpness",
    )


def equilibria(rng):
    """Sharpness and mean square of the model against the noise variance, with pairs and without; 2a/b = 0.008."""
    rows, grid = [], np.linspace(0, 7.99e-3, 200)
    cases = {
        "one sample": (1, False, paired_sharpness(8e-3, grid, 0.2, pairs=0, unpaired=1)),
        "two samples": (2, False, variational.equilibrium_sharpness(1e-2, 2.5, grid, 0.2, samples=2)),
        "one pair": (2, True, paired_sharpness(8e-3, grid, 0.2, pairs=1, unpaired=0)),
        "one pair and one more": (3, True, paired_sharpness(8e-3, grid, 0.2, pairs=1, unpaired=1)),
    }
    seeds = iter(np.random.SeedSequence(rng).spawn(20))
    for name, (samples, antithetic, curve) in cases.items():
        rows += theory("sharpness", name, 1e3 * grid, np.broadcast_to(curve, grid.shape))
        rule = dynamics.progressive_sharpening(samples, antithetic=antithetic)
        for noise_variance in (1e-3, 2e-3, 3e-3, 4.5e-3, 6e-3):
            found = simulate(
                dynamics.with_running_average(rule, rule.state[0] ** 2),
                steps=40_000,
                replicas=64,
                observables=("sharpness", "average"),
                initial={"position": np.sqrt(8e-3 - noise_variance), "sharpness": 9.5, "average": 0.0},
                rng=next(seeds),
                sharpening=1e-2,
                sharpness_gradient_squared=2.5,
                noise_variance=noise_variance,
                learning_rate=0.2,
                memory=4000,
            )
            for panel, unit in (("sharpness", 1), ("average", 1e3)):
                point = Measurement.of(found, panel)
                rows += measured(panel, name, 1e3 * noise_variance, unit * point.value, unit * point.standard_error)
    return rows + theory("average", "2a/b − s²", [0, 8], [8, 0])


THEOREM = Theorem(
    id="vl.antithetic",
    title="pairs remove the perturbation and keep the smoothing",
    source="derived here",
    kind=IDENTITY,
    statement=r"\ell(m) = \tfrac12 m^\top Q m:\ \hat g = g \text{ for even } N,\ "
    r"\operatorname{Cov}\hat g = Q\Sigma Q / N^2 \text{ for odd } N;\qquad "
    r"\mathbb E\,\hat g = \nabla\ell + \tfrac12\nabla\operatorname{Tr}(\Sigma\nabla^2\ell) + O(\Sigma^2)",
    domain=Domain(
        "pairs + unpaired >= 1",
        eigenvalues=Directions(non_negative.between(0.1, 5), most=2),
        gradient=Directions(real),
        noise_variances=Directions(non_negative.between(0.01, 10)),
        learning_rate=positive.between(0.05, 5),
        pairs=PAIRS,
        unpaired=UNPAIRED,
    ),
    formula=paired_change,
    derivation=from_update_rules,
    oracle=enumerated,
    scale=size_of_terms,
    points=100,
    simulation=Equivalence(
        settings=tuple(
            {
                "eigenvalues": (0.9, 0.3),
                "gradient": (0.6, -0.8),
                "noise_variances": (2.0, 1.0),
                "learning_rate": 1.0,
                "pairs": 1,
                "unpaired": unpaired,
            }
            for unpaired in (0, 1)
        ),
        measure=lambda setting, *how: one_step(setting).measure(setting, *how),
        # without an unpaired sample there is nothing random
        spread=lambda setting: one_step(setting).spread(setting) if setting["unpaired"] else 0.0,
        observable="loss change in one step",
    ),
    mutants={
        "pairs halve the variance": f"{DROP} + {NOISE_OF_ONE} / (2 * (2 * pairs + unpaired))",
        "a pair counts as one sample": f"{DROP} + {NOISE_OF_ONE} / (pairs + unpaired)",
        "unpaired remainder over N": f"{DROP} + {NOISE_OF_ONE} * unpaired / (2 * pairs + unpaired)",
        "unpaired remainder forgotten": DROP,
    },
    corollaries=(
        Claim(
            name="smoothing",
            statement=r"\mathbb E\,\hat g = \ell'(m) + \tfrac12 s^2\,\ell^{(3)}(m)\quad(\ell \text{ of degree} \le 4)",
            kind=IDENTITY,
            domain=Domain(
                second_derivative=real,
                third_derivative=real,
                fourth_derivative=real,
                mean=real,
                noise_variance=non_negative.between(0.01, 3),
            ),
            formula=smoothed_slope,
            derivation=mean_over_pairs,
            oracle=by_quadrature,
            scale=lambda second_derivative, third_derivative, fourth_derivative, mean, noise_variance: (
                abs(second_derivative) + (1 + noise_variance) * (abs(third_derivative) + abs(fourth_derivative))
            ),
            simulation=Equivalence(
                settings=(
                    {
                        "second_derivative": 1.0,
                        "third_derivative": 0.5,
                        "fourth_derivative": 2.0,
                        "mean": 0.5,
                        "noise_variance": 0.4,
                    },
                ),
                measure=measure_pair,
                # the only random term is (third + fourth * mean) s^2 eps^2 / 2
                spread=lambda setting: (
                    abs(setting["third_derivative"] + setting["fourth_derivative"] * setting["mean"])
                    * setting["noise_variance"]
                    / np.sqrt(2)
                ),
                observable="gradient averaged over a pair",
            ),
            mutants={
                "gradient descent on every loss": SLOPE,
                "smoothing without 1/2": f"{SLOPE} + noise_variance * {THIRD}",
                "smoothing halved by the pair": f"{SLOPE} + noise_variance * {THIRD} / 4",
            },
        ),
        Claim(
            name="equilibrium sharpness",
            statement=r"S = \frac2\rho \text{ for even } N,\quad "
            r"S = \frac2\rho\Big/\Big(1 + \frac{s^2}{N^2(2a/b - s^2)}\Big) \text{ for odd } N",
            kind=TIGHT,
            domain=Domain(
                "noise_variance < second_moment",
                "pairs + unpaired >= 1",
                second_moment=positive,
                noise_variance=non_negative,
                learning_rate=positive,
                pairs=PAIRS,
                unpaired=UNPAIRED,
            ),
            formula=paired_sharpness,
            derivation=from_model,
            oracle=sharpness_by_enumeration,
            certificate=grows_exactly_above,
            simulation=Equivalence(
                settings=(
                    {
                        "second_moment": 0.212,
                        "noise_variance": 0.2,
                        "learning_rate": 0.2,
                        "pairs": 2,
                        "unpaired": 1,
                        "sharpness_gradient_squared": 0.05,
                    },
                ),
                measure=settled,
                spread=lambda setting: relaxation(**setting)[1],
                predict=lambda formula, setting: formula(
                    **{name: value for name, value in setting.items() if name != "sharpness_gradient_squared"}
                ),
                observable="sharpness after six relaxation times",
            ),
            mutants={
                "as with independent samples": "2 / learning_rate"
                " / (1 + noise_variance / ((2 * pairs + unpaired) * (second_moment - noise_variance)))",
                "pairs remove the smoothing too": "2 / learning_rate"
                " / (1 + noise_variance * unpaired / ((2 * pairs + unpaired)**2 * second_moment))",
                "1 + 8 pairs for N^2": "2 / learning_rate"
                " / (1 + noise_variance * unpaired / ((1 + 8 * pairs) * (second_moment - noise_variance)))",
                "unpaired remainder over N": "2 / learning_rate"
                " / (1 + noise_variance * unpaired / ((2 * pairs + unpaired) * (second_moment - noise_variance)))",
            },
        ),
    ),
    caveats=(
        "On nets both mechanisms flatten; which one dominates depends on the noise variance.",
        "Beyond the fourth degree the smoothed gradient has further terms, of fourth order in s.",
    ),
    figure=Figure(
        data=equilibria,
        panels=(
            Panel(
                "sharpness",
                x_label="noise variance s² (10⁻³ parameter²)",
                y_label="sharpness S (loss / parameter²)",
                title="Perturbation: 2/ρ = 10 with pairs",
            ),
            Panel(
                "average",
                x_label="noise variance s² (10⁻³ parameter²)",
                y_label="mean square E x² (10⁻³ parameter²)",
                title="Smoothing: the same for all",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""Samples in pairs (+eps, -eps) remove the perturbation of the step and keep the smoothing of the loss.

On a quadratic the gradients of a pair average to the gradient itself: the step is that of gradient descent, draw by
draw, and only an unpaired sample disturbs it. On any other loss the pair still sees the mean of the loss around m, so
that its gradient keeps the term (1/2) s^2 l'''. Pairs against independent samples tell the two mechanisms apart:
vl.antithetic-equilibrium shows what becomes of the sharpness.
"""

from itertools import product

import numpy as np
import sympy

from quadlab import derive, dynamics, moments
from quadlab.report import Figure, Panel, measured, run, theory
from quadlab.simulate import simulate
from quadlab.theory import variational
from quadlab.theory.intervals import Interval, non_negative, positive, real
from quadlab.verify import (
    IDENTITY,
    Claim,
    Derivation,
    Directions,
    Domain,
    Equivalence,
    Measurement,
    RuleExperiment,
    Theorem,
)

PAIRS = Interval(0, np.inf, lower_closed=True, whole=True, typical=(0, 3))
UNPAIRED = Interval(0, 1, lower_closed=True, upper_closed=True, whole=True)
DROP = "sum(learning_rate**2 / 2 * eigenvalues * gradient**2 - learning_rate * gradient**2)"
NOISE_OF_ONE = "sum(learning_rate**2 / 2 * noise_variances * eigenvalues**3)"
SLOPE = "second_derivative * mean + third_derivative * mean**2 / 2 + fourth_derivative * mean**3 / 6"
THIRD = "(third_derivative + fourth_derivative * mean)"
SETTING = {"eigenvalues": (0.9, 0.3), "gradient": (0.6, -0.8), "noise_variances": (2.0, 1.0), "learning_rate": 1.0}
QUARTIC = {
    "second_derivative": 1.0,
    "third_derivative": 0.5,
    "fourth_derivative": 2.0,
    "mean": 0.5,
    "noise_variance": 0.4,
}
RATE, NOISE = map(dynamics.parameter, ("learning_rate", "noise_variance"))


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


def enumerated(eigenvalues, gradient, noise_variances, learning_rate, pairs, unpaired):
    """Mean over all outcomes of the fresh draws, those of a pair mirrored; every sample has its own gradient."""
    points, fresh = moments.finite_law(np.diag(noise_variances)), int(pairs + unpaired)
    outcomes = np.array(list(product(points, repeat=fresh)))
    displacements = np.concatenate([outcomes, -outcomes[:, : int(pairs)]], axis=1)
    moved = -learning_rate * (gradient + eigenvalues * displacements).mean(axis=1)
    return np.mean(moved @ gradient + np.square(moved) @ eigenvalues / 2)


def size_of_terms(eigenvalues, gradient, noise_variances, learning_rate, pairs, unpaired):
    """What rounding is measured against: the terms may cancel."""
    drop = learning_rate * np.sum(gradient**2)
    return drop + learning_rate**2 * np.sum(eigenvalues**3 * noise_variances + eigenvalues * gradient**2)


def arguments(setting):
    """The weight at which a mode has its gradient, and the rest, by the names of the rule."""
    return {
        "eigenvalues": setting["eigenvalues"],
        "initial": np.divide(setting["gradient"], setting["eigenvalues"]),
        "noise_variance": setting["noise_variances"],
        "learning_rate": setting["learning_rate"],
    }


def one_step(setting):
    return RuleExperiment(rule_of(setting["pairs"], setting["unpaired"]), arguments)


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


def changes_against_samples(seed):
    """Expected loss change in one step for N samples, in pairs as far as they go or independent."""
    rows, counts, seeds = [], np.arange(1, 9), iter(seed.spawn(16))
    point = {**SETTING, **{name: np.array(SETTING[name]) for name in ("eigenvalues", "gradient", "noise_variances")}}
    for name, antithetic in (("independent", False), ("in pairs", True)):
        splits = [divmod(int(n), 2) if antithetic else (0, n) for n in counts]
        curve = [paired_change(**point, pairs=pairs, unpaired=unpaired) for pairs, unpaired in splits]
        rows += theory("change", name, counts, curve)
        for n in counts:
            rule = dynamics.variational_gradient_descent(int(n), antithetic=antithetic)
            found = RuleExperiment(rule, arguments).measure(SETTING, 4000, next(seeds))
            rows += measured("change", name, n, found.value, found.standard_error)
    return rows


def slopes_against_variance(seed):
    """Gradient averaged over a pair, and the gradient at the mean, on a loss of fourth degree."""
    grid, loss = np.linspace(0, 0.6, 50), {name: QUARTIC[name] for name in QUARTIC if name != "noise_variance"}
    rows = theory("slope", "a pair", grid, smoothed_slope(**loss, noise_variance=grid))
    rows += theory("slope", "gradient descent", grid, np.full_like(grid, loss_slope(**loss)))
    for child, noise_variance in zip(seed.spawn(5), (0.05, 0.15, 0.3, 0.45, 0.6), strict=True):
        found = measure_pair({**loss, "noise_variance": noise_variance}, 4000, child)
        rows += measured("slope", "a pair", noise_variance, found.value, found.standard_error)
    return rows


def pairs_and_independent_samples(rng):
    """Both parts of the figure, with seeds of their own."""
    changes, slopes = np.random.SeedSequence(rng).spawn(2)
    return changes_against_samples(changes) + slopes_against_variance(slopes)


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
        settings=tuple({**SETTING, "pairs": 1, "unpaired": unpaired} for unpaired in (0, 1)),
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
            reach=1,
            scale=lambda second_derivative, third_derivative, fourth_derivative, mean, noise_variance: (
                abs(second_derivative) + (1 + noise_variance) * (abs(third_derivative) + abs(fourth_derivative))
            ),
            simulation=Equivalence(
                settings=(QUARTIC,),
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
    ),
    caveats=(
        "On nets both mechanisms flatten; which one dominates depends on the noise variance.",
        "Beyond the fourth degree the smoothed gradient has further terms, of fourth order in s.",
    ),
    figure=Figure(
        data=pairs_and_independent_samples,
        panels=(
            Panel(
                "change",
                x_label="samples N",
                y_label="expected loss change in one step",
                title="Perturbation: an odd sample only",
            ),
            Panel(
                "slope",
                x_label="noise variance s² (parameter²)",
                y_label="mean gradient (loss / parameter)",
                title="Smoothing: pairs keep s² l‴ / 2",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""How many weight samples a step needs to lower the expected loss, and how many serve best.

On a quadratic the number N and the covariance enter only through covariance / N, so the expected change is a constant
plus a term in 1/N. If plain gradient descent lowers the loss, enough samples do so too, and the count at which the
change vanishes is exact; if it does not, no number suffices. Each sample costs one gradient, and the decrease bought
per gradient is largest at twice the critical number. Off quadratics more samples do not lead back to gradient descent.
"""

from fractions import Fraction
from itertools import product
from math import factorial

import numpy as np
import sympy

from quadlab import derive, dynamics
from quadlab.report import Figure, Panel, computed, measured, run, theory
from quadlab.theory import variational
from quadlab.theory.elementary import sqrt
from quadlab.theory.intervals import non_negative, positive, real
from quadlab.verify import (
    IDENTITY,
    TIGHT,
    Claim,
    Derivation,
    Directions,
    Domain,
    Equivalence,
    RuleExperiment,
    Statement,
    Theorem,
    parse,
)

RULE = dynamics.variational_gradient_descent()
CURVATURE, RATE, NOISE, SAMPLES = map(RULE.symbol, ("curvature", "learning_rate", "noise_variance", "samples"))
CHANGE = derive.expected_change(RULE, at_gradient=True)
GRADIENT = derive.gradient_symbol


ONE = {"eigenvalues": [CURVATURE], "gradient": [GRADIENT], "noise_variances": [NOISE], "learning_rate": RATE}
TWO = {
    "eigenvalues": [CURVATURE, 2 * CURVATURE],
    "gradient": [GRADIENT, 3 * GRADIENT],
    "noise_variances": [NOISE, NOISE / 5],
    "learning_rate": RATE,
}


def finite(candidate):
    """The finite value of a candidate's expression, and the condition under which it is finite."""
    candidate = sympy.piecewise_fold(sympy.sympify(candidate))
    return candidate.args[0] if isinstance(candidate, sympy.Piecewise) else (candidate, sympy.true)


def from_update_rule(formula):
    """The expected change of the update rule vanishes at the critical number, in one and in two directions."""
    one, two = finite(formula(**ONE))[0], finite(formula(**TWO))[0]
    second = {CURVATURE: 2 * CURVATURE, GRADIENT: 3 * GRADIENT, NOISE: NOISE / 5}
    return Derivation(
        steps=(("expected change in one direction", CHANGE), ("it vanishes at the number of samples", one)),
        residuals={
            "one direction": CHANGE.subs(SAMPLES, one),
            "two directions": (CHANGE + CHANGE.subs(second, simultaneous=True)).subs(SAMPLES, two),
        },
    )


def certificate(formula):
    """Descent if and only if the critical number is finite and exceeded, for all real positive parameters."""
    number, exists = finite(formula(**ONE))
    descent = sympy.Equivalent(CHANGE < 0, sympy.ITE(exists, number < SAMPLES, False))
    yield Statement("descent if and only if the number is exceeded", descent, (sympy.Ne(GRADIENT, 0),))


def enumerated(eigenvalues, gradient, noise_variances, learning_rate, samples):
    """The expected change in exact fractions: over all outcomes of draws of 1 or -v with mean zero and variance v."""
    total, rate = Fraction(0), Fraction(float(learning_rate))
    for row in np.broadcast(eigenvalues, gradient, noise_variances):
        curvature, slope, variance = map(Fraction, map(float, row))
        values = ((Fraction(1), variance / (1 + variance)), (-variance, 1 / (1 + variance)))
        for draws in product(values, repeat=samples):
            weight = np.prod([probability for _, probability in draws])
            step = -rate * (slope + curvature * sum(value for value, _ in draws) / samples)
            total += weight * (slope * step + curvature * step**2 / 2)
    return total


def count_without_change(**point):
    """Where the constant plus a multiple of 1/N through the exact changes for one and two samples vanishes."""
    one, two = (enumerated(**point, samples=count) for count in (1, 2))
    constant, multiple = 2 * two - one, 2 * (one - two)
    return multiple / -constant if constant < 0 else np.inf


def size_after_cancellation(eigenvalues, gradient, noise_variances, learning_rate):
    """What rounding is measured against: 2 G - rho B may cancel."""
    drop, curved = 2 * np.sum(gradient**2), learning_rate * np.sum(eigenvalues * gradient**2)
    return learning_rate * np.sum(noise_variances * eigenvalues**3) * (drop + curved) / (drop - curved) ** 2


def cheapest_count(**point):
    """The vertex of the parabola in 1/N through the exact changes per gradient for one, two and three samples."""
    x = [Fraction(1, count) for count in (1, 2, 3)]
    y = [enumerated(**point, samples=count) / count for count in (1, 2, 3)]
    slope = (y[1] - y[0]) / (x[1] - x[0])
    bend = ((y[2] - y[1]) / (x[2] - x[1]) - slope) / (x[2] - x[0])
    return 1 / ((x[0] + x[1] - slope / bend) / 2) if bend else 0  # without noise fewer are always cheaper


def from_stationarity(formula):
    """The change per gradient is stationary at the best number."""
    best, slope = finite(formula(**ONE))[0], sympy.diff(CHANGE / SAMPLES, SAMPLES)
    return Derivation(
        steps=(("expected change per gradient", CHANGE / SAMPLES), ("its slope vanishes at", best)),
        residuals={"slope at the best number": slope.subs(SAMPLES, best)},
    )


def no_number_is_cheaper(formula):
    """For all real numbers of samples the change per gradient is no lower than at the candidate."""
    best = finite(formula(**ONE))[0]
    above = CHANGE / SAMPLES - CHANGE.subs(SAMPLES, best) / best
    known = (RATE * CURVATURE < 2, NOISE > 0, sympy.Ne(GRADIENT, 0))
    yield Statement("change per gradient at least that at the best number", above >= 0, known)


PLAIN = "curvature * position + third_derivative * position**2 / 2 + fourth_derivative * position**3 / 6"
SMOOTHING = "noise_variance * (third_derivative + fourth_derivative * position) / 2"


def from_expectation(formula):
    """The mean gradient of a loss of fourth order, over a normal weight around the position."""
    position, *derivatives, variance = sympy.symbols((*DERIVATIVES, "noise_variance"), positive=True)
    deviate = sympy.Symbol("deviate")
    moved = gradient_of_fourth_order(position + sympy.sqrt(variance) * deviate, *derivatives)
    mean = derive.expectation(moved, (dynamics.Noise(deviate),))
    return Derivation(
        steps=(("gradient at a random weight", moved), ("its mean", mean)),
        residuals={"mean gradient": formula(position, *derivatives, variance) - mean},
    )


def gradient_of_fourth_order(position, *derivatives):
    """The sum over k of the derivative of order k + 1 at the origin times position^k / k!, k = 1, 2, 3."""
    return sum(d * position ** (k + 1) / factorial(k + 1) for k, d in enumerate(derivatives))


def quadrature(position, curvature, third_derivative, fourth_derivative, noise_variance):
    """The same mean by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(6)
    places = position + np.sqrt(noise_variance) * nodes
    gradients = gradient_of_fourth_order(places, curvature, third_derivative, fourth_derivative)
    return weights @ gradients / weights.sum()


ONE_STEP = RuleExperiment(
    RULE,
    lambda setting: {
        "eigenvalues": np.array(setting["eigenvalues"]),
        "initial": np.divide(setting["gradient"], setting["eigenvalues"]),
        "noise_variance": setting["noise_variances"],
        "learning_rate": setting["learning_rate"],
        "samples": setting["samples"],
    },
)


def predicted_change(formula, setting):
    """Gradient descent's change, times one minus the critical number over the number of samples."""
    point = {name: setting[name] for name in DOMAIN}
    eigenvalues, squared = np.array(setting["eigenvalues"]), np.square(setting["gradient"])
    rate = setting["learning_rate"]
    return np.sum(rate**2 / 2 * eigenvalues * squared - rate * squared) * (1 - formula(**point) / setting["samples"])


def counts(rng):
    """Expected change, and decrease per gradient, against the number of samples for two noise variances."""
    rows, seeds = [], iter(np.random.SeedSequence(rng).spawn(16))
    many = np.linspace(1, 16, 301)
    for variance in (6.0, 12.0):
        point = {**EXAMPLE, "noise_variances": [variance]}
        name = f"s² = {variance:g}, critical number {variational.critical_samples(**point):g}"
        change = variational.expected_loss_change([1.0], [1.0], variance / many[:, None], 0.5, 1)
        rows += theory("change", name, many, change) + theory("price", name, many, -change / many)
        best = int(cheapest_count(**point))
        rows += computed("price", name, best, -enumerated(**point, samples=best) / best)
        for count in (1, 2, 3, 4, 6, 8, 12, 16):
            found = ONE_STEP.measure({**point, "samples": count}, 200_000, next(seeds))
            rows += measured("change", name, count, found.value, found.standard_error)
            rows += measured("price", name, count, -found.value / count, found.standard_error / count)
    return rows


def zero_line(axes, rows):
    axes.axhline(0, color="0.4", linewidth=0.8)
    axes.set_xticks(range(0, 17, 2))


def near_zero(axes, rows):
    zero_line(axes, rows)
    axes.set_ylim(-0.13, 0.06)


EXAMPLE = {"eigenvalues": [1.0], "gradient": [1.0], "noise_variances": [6.0], "learning_rate": 0.5}
SECOND = {"eigenvalues": [1.5, 0.6], "gradient": [0.6, -1.0], "noise_variances": [4.0, 9.0], "learning_rate": 0.7}
DOMAIN = Domain(
    eigenvalues=Directions(non_negative.between(0.05, 3), most=3),
    gradient=Directions(real),
    noise_variances=Directions(non_negative.between(0.1, 5)),
    learning_rate=positive.between(0.05, 1.5),
)
DERIVATIVES = dict.fromkeys(("position", "curvature", "third_derivative", "fourth_derivative"), real)

THEOREM = Theorem(
    id="vl.samples",
    title="how many samples are needed, and how many serve best",
    source="the role of the number of samples: Ghosh et al. 2025; count and optimum are derived here",
    kind=TIGHT,
    statement=r"\mathbb E\,\ell(m^+) < \ell(m) \iff N > \frac{\rho \sum s_i^2\lambda_i^3}"
    r"{2\sum g_i^2 - \rho \sum \lambda_i g_i^2}\ \text{(a positive denominator)}",
    domain=DOMAIN,
    formula=variational.critical_samples,
    derivation=from_update_rule,
    oracle=count_without_change,
    scale=size_after_cancellation,
    certificate=certificate,
    points=100,
    simulation=Equivalence(
        settings=({**EXAMPLE, "samples": 1}, {**EXAMPLE, "samples": 8}, {**SECOND, "samples": 2}),
        measure=ONE_STEP.measure,
        spread=ONE_STEP.spread,
        predict=predicted_change,
        observable="loss change in one step",
    ),
    mutants={
        "without the learning rate": lambda learning_rate, **rest: (
            variational.critical_samples(learning_rate=learning_rate, **rest) / learning_rate
        ),
        "2 G - B below": lambda learning_rate, **rest: (
            variational.critical_samples(learning_rate=1, **rest) * learning_rate
        ),
        "standard deviation divided by N": lambda **point: sqrt(variational.critical_samples(**point)),
        "without the factor 2 of G": lambda learning_rate, **rest: variational.critical_samples(
            learning_rate=2 * learning_rate, **rest
        ),
    },
    corollaries=(
        Claim(
            name="best number",
            statement=r"N = 2 N_c \text{ maximises } \big(\ell(m) - \mathbb E\,\ell(m^+)\big) / N"
            r"\quad (\rho\lambda_i < 2)",
            kind=TIGHT,
            domain=Domain("learning_rate * eigenvalues < 2", **DOMAIN.intervals),
            formula=lambda **point: 2 * variational.critical_samples(**point),
            derivation=from_stationarity,
            oracle=cheapest_count,
            scale=size_after_cancellation,
            certificate=no_number_is_cheaper,
            points=60,
            mutants={
                "the critical number": variational.critical_samples,
                "decrease per squared number": lambda **point: 3 * variational.critical_samples(**point) / 2,
            },
        ),
        Claim(
            name="off quadratics",
            statement=r"\mathbb E\,\ell'(x + \epsilon) = \ell'(x) + \tfrac{s^2}{2}\,\ell^{(3)}(x)"
            r"\quad\text{for losses of fourth order, whatever } N",
            kind=IDENTITY,
            domain=Domain(**DERIVATIVES, noise_variance=non_negative.between(0.1, 3)),
            formula=parse(f"{PLAIN} + {SMOOTHING}", (*DERIVATIVES, "noise_variance")),
            derivation=from_expectation,
            oracle=quadrature,
            scale=lambda **point: sum(map(abs, point.values())) ** 4,
            mutants={
                "many samples are gradient descent": PLAIN,
                "smoothing by the whole trace": f"{PLAIN} + 2 * {SMOOTHING}",
                "smoothing of the third derivative only": f"{PLAIN} + noise_variance * third_derivative / 2",
            },
        ),
    ),
    caveats=(
        "On losses that are not quadratic averaging removes the noise of the step but not the smoothing: the mean"
        " gradient is that of the loss plus half the trace of covariance times Hessian (see vl.antithetic).",
    ),
    figure=Figure(
        data=counts,
        panels=(
            Panel(
                "change",
                x_label="samples per step N",
                y_label="expected loss change (units of loss)",
                title="One step, λ = g = 1, ρ = 1/2",
                decorate=zero_line,
            ),
            Panel(
                "price",
                x_label="samples per step N",
                y_label="expected decrease per gradient",
                title="Best at twice the critical number",
                decorate=near_zero,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

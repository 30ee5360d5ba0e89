"""How robust a minimum is to parameter noise depends on the noise: flatness helps against additive noise alone.

On the product model, E = (y - x a b)^2 / 2, both kinds of noise leave an expected loss in closed form. Additive noise
costs half of sigma^2 times the trace of the Hessian, and more, so of two minima the flatter one is the more robust.
Multiplicative noise scales a and b, and at a minimum it costs the same whatever a and b are: such noise cannot see the
flatness that a larger learning rate brings (igr.prediction-flatness). On a quadratic additive noise adds the same at
every point, so it cannot tell learning rates apart at all.
"""

from itertools import product

import numpy as np
import sympy

from quadlab.problems import Quadratic
from quadlab.report import Figure, Panel, measured, run, theory
from quadlab.theory.intervals import non_negative, positive, real, whole_positive
from quadlab.theory.modified_loss import product_model_noisy_loss
from quadlab.verify import (
    IDENTITY,
    Claim,
    Derivation,
    Directions,
    Domain,
    Equivalence,
    Measurement,
    Statement,
    Theorem,
)

A, B, SD, X, Y, SHARPNESS, MORE = sympy.symbols("a b noise_sd data_input target sharpness more", positive=True)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
CHUNK = 250_000


def noisy_loss(multiplicative):
    """The closed form as a function of the two weights."""

    def formula(a, b, noise_sd, data_input, target):
        parameters = np.stack(np.broadcast_arrays(a, b), axis=-1)
        return product_model_noisy_loss(parameters, noise_sd, data_input, target, multiplicative)

    return formula


def perturbed_loss(first, second, a, b, noise_sd, data_input, target, multiplicative):
    """The loss at weights that two standard normal numbers have perturbed."""
    scale = (noise_sd * a, noise_sd * b) if multiplicative else (noise_sd, noise_sd)
    return (target - data_input * (a + scale[0] * first) * (b + scale[1] * second)) ** 2 / 2


def by_quadrature(multiplicative, power=1):
    """E of the loss, to a power, by Gauss and Hermite: exact, as the degree in each number is at most 4."""

    def oracle(a, b, noise_sd, data_input, target):
        loss = perturbed_loss(*np.meshgrid(NODES, NODES), a, b, noise_sd, data_input, target, multiplicative)
        return WEIGHTS @ loss**power @ WEIGHTS / WEIGHTS.sum() ** 2

    return oracle


def mean_over(numbers, loss):
    """E of a polynomial in two independent standard normal numbers, of degree 2 in each: their moments are 1, 0, 1."""
    moments = {0: 1, 1: 0, 2: 1}
    return sum(coefficient * moments[i] * moments[j] for (i, j), coefficient in sympy.Poly(loss, *numbers).terms())


def by_moments(multiplicative):
    """Expand the perturbed loss and put in the moments of the noise."""

    def derivation(formula):
        numbers = sympy.symbols("xi eta")
        loss = perturbed_loss(*numbers, A, B, SD, X, Y, multiplicative)
        mean = mean_over(numbers, loss)
        return Derivation(
            steps=(("perturbed loss", sympy.expand(loss)), ("its mean", sympy.factor(mean))),
            residuals={"mean": formula(A, B, SD, X, Y) - mean},
        )

    return derivation


def sampled(multiplicative):
    """Mean loss over sampled noise, at a minimum and away from one."""

    def measure(setting, replicas, rng, executor):
        generator = np.random.default_rng(rng)
        total = squares = 0.0
        for start in range(0, replicas, CHUNK):
            noise = generator.standard_normal((2, min(CHUNK, replicas - start)))
            loss = perturbed_loss(*noise, **setting, multiplicative=multiplicative)
            total, squares = total + loss.sum(), squares + loss @ loss
        mean = total / replicas
        return Measurement(mean, np.sqrt((squares / replicas - mean**2) / replicas), replicas)

    def spread(setting):
        mean, square = (by_quadrature(multiplicative, power)(**setting) for power in (1, 2))
        return np.sqrt(square - mean**2)

    return Equivalence(
        settings=(
            {"a": 3.0, "b": 0.2, "noise_sd": 0.1, "data_input": 1.0, "target": 0.6},
            {"a": 1.5, "b": 0.4, "noise_sd": 0.5, "data_input": 0.8, "target": 0.3},
        ),
        measure=measure,
        spread=spread,
        observable="loss under parameter noise",
    )


def cost_at_minimum(sharpness, noise_sd, data_input, target):
    """sigma^2 / 2 times the sharpness, and x^2 sigma^4 / 2."""
    return noise_sd**2 / 2 * sharpness + data_input**2 * noise_sd**4 / 2


def minimum_of_sharpness(sharpness, data_input, target):
    """The minimum a >= b > 0 with this largest eigenvalue of the Hessian, x^2 (a^2 + b^2)."""
    long, short = (np.sqrt(sharpness / data_input**2 + sign * 2 * target / data_input) for sign in (1, -1))
    return (long + short) / 2, (long - short) / 2


def cost_by_quadrature(multiplicative):
    def oracle(sharpness, noise_sd, data_input, target):
        weights = minimum_of_sharpness(sharpness, data_input, target)
        return by_quadrature(multiplicative)(*weights, noise_sd, data_input, target)

    return oracle


def from_mean_loss(multiplicative):
    """The mean loss where x a b = y, with the sharpness as the trace of the Hessian there."""

    def derivation(formula):
        loss = (Y - X * A * B) ** 2 / 2
        hessian = sympy.hessian(loss, (A, B)).subs(Y, X * A * B)
        mean = noisy_loss(multiplicative)(A, B, SD, X, X * A * B)
        return Derivation(
            steps=(("Hessian at a minimum", hessian), ("mean loss", mean), ("of rank", hessian.rank())),
            residuals={
                "mean": formula(hessian.trace(), SD, X, X * A * B) - mean,
                "one eigenvalue is zero": hessian.det(),
            },
        )

    return derivation


def flatter_is_cheaper(formula):
    """At fixed noise, input and target; and the cost is the quadratic approximation's, up to sigma^4."""
    cost = formula(SHARPNESS, SD, X, Y)
    yield Statement("the cost grows with the sharpness", formula(SHARPNESS + MORE, SD, X, Y) > cost)
    yield Statement("it exceeds that of the Hessian alone", cost > SD**2 / 2 * SHARPNESS)
    yield Statement("by no more than sigma^4 x^2 / 2", cost <= SD**2 / 2 * SHARPNESS + SD**4 / 2 * X**2)


def same_at_every_minimum(formula):
    cost = formula(SHARPNESS, SD, X, Y)
    yield Statement("the sharpness does not matter", sympy.Eq(formula(SHARPNESS + MORE, SD, X, Y), cost))
    yield Statement("the cost exceeds sigma^2 y^2", cost > SD**2 * Y**2)
    yield Statement("by no more than sigma^4 y^2 / 2", cost <= SD**2 * Y**2 + SD**4 * Y**2 / 2)


def cost_along_descent(eigenvalues, initial_state, noise_sd, learning_rate, steps):
    """Mean loss under noise minus the loss, at an iterate; the noise is a sign in each direction."""
    size = len(eigenvalues)
    basis = np.linalg.qr(np.random.default_rng(size).standard_normal((size, size))).Q
    problem = Quadratic((basis * eigenvalues) @ basis.T)
    weights = np.array(initial_state)
    for _ in range(int(steps)):
        weights = weights - learning_rate * problem.gradient(weights)
    noise = noise_sd * np.array(list(product((-1, 1), repeat=size)))
    return problem.loss(weights + noise).mean() - problem.loss(weights)


def mean_on_a_quadratic(formula):
    """Two weights, a Hessian in general position, independent noise with variance sigma^2."""
    diagonal, mixed = sympy.symbols("h_1:3", positive=True), sympy.Symbol("h_12", real=True)
    hessian = sympy.Matrix([[diagonal[0], mixed], [mixed, diagonal[1]]])
    numbers, weights = sympy.symbols("xi eta"), sympy.Matrix([A, B])
    before, after = ((at.T * hessian * at)[0] / 2 for at in (weights, weights + SD * sympy.Matrix(numbers)))
    mean = sympy.expand(mean_over(numbers, after))
    cost = formula(list(hessian.eigenvals(multiple=True)), (A, B), SD, X, Y)
    return Derivation(
        steps=(("mean loss", sympy.factor(mean)),),
        residuals={"cost": sympy.expand(cost) - sympy.expand(mean - before)},
    )


def cost_against_sharpness(rng):
    """Mean loss at minima of y = 0.6, x = 1 under noise of standard deviation 0.1."""
    setting = {"noise_sd": 0.1, "data_input": 1.0, "target": 0.6}
    fine, coarse = np.geomspace(1.2, 30, 60), np.geomspace(1.25, 28, 7)
    rows = []
    for name, multiplicative in (("additive noise", False), ("multiplicative noise", True)):
        line = noisy_loss(multiplicative)(*minimum_of_sharpness(fine, 1.0, 0.6), **setting)
        rows += theory("cost", name, fine, line)
        for seed, sharpness in enumerate(coarse):
            a, b = minimum_of_sharpness(sharpness, 1.0, 0.6)
            mean = sampled(multiplicative).measure({"a": a, "b": b, **setting}, 4000, [rng, seed], None)
            rows += measured("cost", name, sharpness, mean.value, mean.standard_error)
    return rows


def few_ticks(axes, rows):
    axes.set_xticks([1.5, 3, 6, 12, 24], ["1.5", "3", "6", "12", "24"])
    axes.minorticks_off()


PLANE = {"a": real, "b": real, "noise_sd": non_negative.between(0.05, 2), "data_input": real, "target": real}
AT_MINIMUM = Domain(
    "sharpness >= 2 * data_input * target",
    sharpness=positive.between(2, 20),
    noise_sd=positive.between(0.05, 1),
    data_input=positive.between(0.5, 1),
    target=positive.between(0.1, 1),
)

THEOREM = Theorem(
    id="igr.prediction-robustness",
    title="flat minima are robust to additive parameter noise, all minima alike to multiplicative noise",
    source="made decidable here: Barrett & Dherin 2021, Prediction 2.4",
    kind=IDENTITY,
    statement=r"E = \tfrac12 (y - xab)^2,\ r = xab - y:\quad"
    r" \mathbb E\, E(a + \sigma\xi, b + \sigma\eta) = \tfrac12\big(r^2 + x^2\sigma^2(a^2 + b^2) + x^2\sigma^4\big),"
    r"\quad \mathbb E\, E(a(1 + \sigma\xi), b(1 + \sigma\eta))"
    r" = \tfrac12\big(r^2 + x^2 a^2 b^2((1 + \sigma^2)^2 - 1)\big)",
    domain=Domain(**PLANE),
    formula=noisy_loss(multiplicative=False),
    derivation=by_moments(multiplicative=False),
    oracle=by_quadrature(multiplicative=False),
    simulation=sampled(multiplicative=False),
    mutants={
        "sigma^4 dropped": "((data_input * a * b - target)**2 + data_input**2 * noise_sd**2 * (a**2 + b**2)) / 2",
        "sigma^2 s without x^2": "((data_input * a * b - target)**2 + noise_sd**2 * (a**2 + b**2)"
        " + data_input**2 * noise_sd**4) / 2",
        "standard deviation for variance": "((data_input * a * b - target)**2"
        " + data_input**2 * noise_sd * (a**2 + b**2) + data_input**2 * noise_sd**2) / 2",
        "without 1/2": "(data_input * a * b - target)**2 + data_input**2 * noise_sd**2 * (a**2 + b**2)"
        " + data_input**2 * noise_sd**4",
        "one noise for both weights": "((data_input * a * b - target)**2"
        " + data_input**2 * noise_sd**2 * (a + b)**2 + 2 * (data_input * a * b - target) * data_input * noise_sd**2"
        " + 3 * data_input**2 * noise_sd**4) / 2",
    },
    corollaries=(
        Claim(
            name="multiplicative noise",
            statement=r"\mathbb E\, E(a(1 + \sigma\xi), b(1 + \sigma\eta))"
            r" = \tfrac12\big(r^2 + x^2 a^2 b^2((1 + \sigma^2)^2 - 1)\big)",
            kind=IDENTITY,
            domain=Domain(**PLANE),
            formula=noisy_loss(multiplicative=True),
            derivation=by_moments(multiplicative=True),
            oracle=by_quadrature(multiplicative=True),
            simulation=sampled(multiplicative=True),
            mutants={
                "2 sigma^2 only": "((data_input * a * b - target)**2"
                " + data_input**2 * a**2 * b**2 * 2 * noise_sd**2) / 2",
                "standard deviation for variance": "((data_input * a * b - target)**2"
                " + data_input**2 * a**2 * b**2 * ((1 + noise_sd)**2 - 1)) / 2",
                "additive noise": noisy_loss(multiplicative=False),
            },
        ),
        Claim(
            name="additive noise at a minimum",
            statement=r"xab = y,\ \lambda = x^2(a^2 + b^2) \text{ the sharpness}:\quad"
            r" \mathbb E\, E = \tfrac{\sigma^2}{2}\lambda + \tfrac{x^2\sigma^4}{2},\text{ increasing in } \lambda",
            kind=IDENTITY,
            domain=AT_MINIMUM,
            formula=cost_at_minimum,
            derivation=from_mean_loss(multiplicative=False),
            oracle=cost_by_quadrature(multiplicative=False),
            reach=1e3,
            certificate=flatter_is_cheaper,
            mutants={
                "the same at every minimum": "noise_sd**2 * data_input * target + data_input**2 * noise_sd**4 / 2",
                "sigma^4 dropped": "noise_sd**2 / 2 * sharpness",
                "without 1/2": "noise_sd**2 * sharpness + data_input**2 * noise_sd**4",
                "sharper is cheaper": "data_input**2 * noise_sd**4 / 2 - noise_sd**2 / 2 * sharpness",
            },
        ),
        Claim(
            name="multiplicative noise at a minimum",
            statement=r"xab = y:\quad \mathbb E\, E = \tfrac{y^2}{2}\big((1 + \sigma^2)^2 - 1\big),"
            r"\text{ the same at every minimum}",
            kind=IDENTITY,
            domain=AT_MINIMUM,
            formula=lambda sharpness, noise_sd, data_input, target: target**2 / 2 * ((1 + noise_sd**2) ** 2 - 1),
            derivation=from_mean_loss(multiplicative=True),
            oracle=cost_by_quadrature(multiplicative=True),
            reach=1,
            certificate=same_at_every_minimum,
            mutants={
                "flatter minima are more robust": cost_at_minimum,
                "noise on the scale of the target, times the sharpness": "noise_sd**2 / 2 * sharpness * target",
                "2 sigma^2 only": "target**2 * noise_sd**2",
            },
        ),
        Claim(
            name="quadratic",
            statement=r"E = \tfrac12\theta^T H\theta:\quad \mathbb E\, E(\theta_n + \sigma\xi) - E(\theta_n)"
            r" = \tfrac{\sigma^2}{2}\operatorname{tr} H \text{ for every } \theta_n \text{ and } h < \tfrac{2}{\max l}",
            kind=IDENTITY,
            domain=Domain(
                "learning_rate * eigenvalues < 2",
                eigenvalues=Directions(positive.between(0.1, 1)),
                initial_state=Directions(real),
                noise_sd=positive.between(0.2, 2),
                learning_rate=positive.between(0.1, 2.5),
                steps=whole_positive.between(1, 10),
            ),
            formula=lambda eigenvalues, initial_state, noise_sd, learning_rate, steps: (
                noise_sd**2 / 2 * sum(eigenvalues)
            ),
            derivation=mean_on_a_quadratic,
            oracle=cost_along_descent,
            reach=1,
            points=60,
            mutants={
                "larger rates are more robust": "noise_sd**2 / 2"
                " * sum(eigenvalues * (1 - learning_rate * eigenvalues / 2))",
                "without 1/2": "noise_sd**2 * sum(eigenvalues)",
                "standard deviation for variance": "noise_sd / 2 * sum(eigenvalues)",
                "the squared trace": "noise_sd**2 / 2 * sum(eigenvalues)**2",
            },
        ),
    ),
    caveats=(
        "Noise in proportion to the weights cannot see the flatness that a learning rate brings here.",
        "Which noise an experiment uses decides what it can show.",
    ),
    figure=Figure(
        data=cost_against_sharpness,
        panels=(
            Panel(
                "cost",
                x_label="sharpness of the minimum, x²(a² + b²) (loss / parameter²)",
                y_label="mean loss under noise",
                title="Minima of the product model, y = 0.6, σ = 0.1",
                x_scale="log",
                y_scale="log",
                decorate=few_ticks,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

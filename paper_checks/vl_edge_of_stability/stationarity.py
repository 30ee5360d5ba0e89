"""At stationarity the edge formula returns the curvature, whatever the curvature: H(mean z) = lambda.

For rho lambda < 2, gradient descent's limit, the second moment along an eigenvector converges to the squared radius of
the noise ball. The signal of that second moment, N lambda^2 V / s^2, is just what the edge needs at the curvature
lambda: averaged over a stationary state the expected change is zero, and that is what the edge says. So a sharpness
that follows the edge of the mean signal is no evidence of flattening by noise; every stationary direction does it.
"""

from functools import partial

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab import derive, dynamics, moments, simulate
from quadlab.report import Figure, Panel, measured, run, theory
from quadlab.theory import stability, variational
from quadlab.theory.intervals import Interval, positive, real, whole_positive
from quadlab.verify import (
    IDENTITY,
    TIGHT,
    Claim,
    Derivation,
    Domain,
    Equivalence,
    Measurement,
    RuleExperiment,
    Statement,
    Theorem,
    parse,
)

RULE = dynamics.variational_gradient_descent()
CURVATURE, RATE, NOISE, SAMPLES = map(RULE.symbol, ("curvature", "learning_rate", "noise_variance", "samples"))
FACTOR, SOURCE = (matrix[0, 0] for matrix in derive.second_moment_recursion(RULE))  # E x+^2 = FACTOR E x^2 + SOURCE
MOMENT = sympy.Symbol("second_moment", positive=True)


def from_recursion(formula):
    """The second moment that the update rule leaves as it is."""
    variance = formula(CURVATURE, NOISE, RATE, SAMPLES)
    return Derivation(
        steps=(("second moment after a step", FACTOR * MOMENT + SOURCE), ("it stays at", variance)),
        residuals={"change of the second moment": FACTOR * variance + SOURCE - variance},
    )


def attraction(formula):
    """Below 2 / rho, a second moment grows in a step if and only if it lies below the candidate."""
    variance = formula(CURVATURE, NOISE, RATE, SAMPLES)
    grows = sympy.Equivalent(FACTOR * MOMENT + SOURCE > MOMENT, variance > MOMENT)
    yield Statement("the second moment moves towards the candidate", grows, (RATE * CURVATURE < 2,))


def through_steps(formula):
    """After one step more the formula must be what the recursion makes of it; at step 0, the squared start."""
    steps, initial = sympy.Symbol("steps", integer=True, nonnegative=True), sympy.Symbol("initial", positive=True)
    now, then = (formula(CURVATURE, NOISE, RATE, SAMPLES, initial, count) for count in (steps, steps + 1))
    return Derivation(
        steps=(("second moment after a step", FACTOR * MOMENT + SOURCE), ("after t steps", now)),
        residuals={
            "step 0": formula(CURVATURE, NOISE, RATE, SAMPLES, initial, 0) - initial**2,
            "step t + 1 from step t": then - (FACTOR * now + SOURCE),
        },
    )


def root_of_edge(formula):
    """The edge at the candidate's signal: the cubic of the update rule vanishes at the curvature itself."""
    signal = formula(CURVATURE, NOISE, RATE, SAMPLES)
    gradient = sympy.sqrt(signal * NOISE / SAMPLES)
    linear, constant = derive.depressed_cubic(derive.descent_polynomial(RULE))
    cubic = (CURVATURE**3 + linear * CURVATURE + constant).subs(derive.gradient_symbol, gradient)
    return Derivation(
        steps=(("signal of the stationary second moment", signal), ("cubic of the edge at the curvature", cubic)),
        residuals={"cubic at the curvature": cubic},
    )


def fixed_point(eigenvalue, noise_variance, learning_rate, samples):
    """The second moment that the moment operator of the rule leaves as it is, from a linear system."""
    rest = {"noise_variance": noise_variance, "learning_rate": learning_rate, "samples": samples}
    return moments.stationary_second_moment(RULE, eigenvalues=[eigenvalue], **rest)[0, 0, 0]


def propagated(eigenvalue, noise_variance, learning_rate, samples, initial, steps):
    """The second moment after a number of applications of the moment operator."""
    rest = {"noise_variance": noise_variance, "learning_rate": learning_rate, "samples": samples}
    after = moments.propagate(RULE, eigenvalues=[eigenvalue], steps=steps, initial=initial, **rest)
    return after.second[0, 0, 0]


def limit_of_convergence(signal_to_noise, learning_rate):
    """The curvature at which the spectral radius of the second-moment operator passes one."""

    def excess(curvature):
        rest = {"noise_variance": 1 / signal_to_noise, "learning_rate": learning_rate, "samples": 1}
        return moments.second_moment_operator(RULE, eigenvalues=[curvature], **rest).radius - 1

    return brentq(excess, 1 / learning_rate, 10 / learning_rate, xtol=1e-300, maxiter=1000)


def contraction(formula):
    """The second moment contracts if and only if the curvature lies below the candidate, whatever the signal."""
    limit = formula(sympy.Symbol("signal", positive=True), RATE)
    yield Statement("contraction exactly below", sympy.Equivalent(FACTOR < 1, limit > CURVATURE))


def after(steps):
    """The squared position after a number of steps from the minimiser."""
    return RuleExperiment(
        RULE,
        lambda setting: {
            "eigenvalues": [setting["eigenvalue"]],
            "initial": 0.0,
            "noise_variance": setting["noise_variance"],
            "learning_rate": setting["learning_rate"],
            "samples": setting["samples"],
        },
        observable="squared_position",
        steps=steps,
    )


def relative_moment(problem, weights, initial, *, axes, scales):
    return np.square((weights - problem.minimizer) @ axes) @ scales


def on_problem(problem):
    """Twelve steps from the minimiser of a real quadratic: an average over eigendirections of x_i^2 / E x_i^2.

    The exact moments behind it are those of the full Hessian. Directions with rho lambda between 0.15 and 1.85 are
    within 2 % of stationarity by then, (1 - 0.15)^24 = 0.02; flat ones are still on their way. Noise is no smaller than
    the minimiser: rounding of the weights would hide it.
    """
    rate, samples, steps = 1.4 / problem.sharpness, 2, 12
    noise = max(1.0, np.linalg.norm(problem.minimizer)) ** 2 / 2
    size = problem.dimension
    curved = problem.eigenvalues > 1e-6 * problem.sharpness
    eigenvalues, axes = problem.eigenvalues[curved], problem.eigenvectors[:, curved]
    operator = moments.second_moment_operator(
        RULE, hessian=problem.hessian, noise_covariance=noise * np.eye(size), learning_rate=rate, samples=samples
    )
    covariance = operator.propagate(np.zeros((size, size)), steps)
    exact, weights = np.einsum("ai,ab,bi->i", axes, covariance, axes), np.sqrt(eigenvalues)
    scales = weights / weights.sum() / exact
    observable = partial(relative_moment, axes=axes, scales=scales)
    optimiser = simulate.VariationalGradientDescent(rate, samples, noise)
    point = {"eigenvalue": eigenvalues, "noise_variance": noise, "learning_rate": rate, "samples": samples}

    def measure(setting, replicas, rng, executor):
        ensemble = simulate.simulate_weights(
            problem,
            optimiser,
            steps=steps,
            replicas=replicas,
            observables={"relative moment": observable},
            rng=rng,
            executor=executor,
        )
        return Measurement.of(ensemble, "relative moment")

    return Equivalence(
        settings=(point,),
        measure=measure,
        spread=lambda setting: moments.gaussian_loss_deviation(2 * (axes * scales) @ axes.T, covariance),
        predict=lambda formula, setting: (
            np.broadcast_to(formula(**point), exact.shape) * (1 - (1 - rate * eigenvalues) ** (2 * steps)) @ scales
        ),
        observable="average over eigendirections of the squared position over its exact mean",
    )


def diagonal(rng):
    """The edge of the simulated mean signal after 120 steps against the curvature, both in units of 2 / rho."""
    rows, seeds = theory("diagonal", "edge = curvature", [0, 1], [0, 1]), iter(np.random.SeedSequence(rng).spawn(24))
    for first, noise, samples in ((0.05, 1.0, 1), (0.08, 0.1, 4), (0.11, 5.0, 16)):
        for fraction in np.arange(first, 1, 0.12):
            curvature = 2 * fraction
            setting = {"eigenvalue": curvature, "noise_variance": noise, "learning_rate": 1.0, "samples": samples}
            moment = after(120).measure(setting, 6000, next(seeds))
            signal = samples * curvature**2 / noise * moment.value
            edge = variational.descent_sharpness_limit(signal, 1.0)
            error = (2 - edge) / (3 * edge**2 + signal) * signal * moment.standard_error / moment.value
            rows += measured("diagonal", f"s² = {noise:g}, N = {samples}", fraction, edge / 2, error / 2)
    return rows


POINT = {
    "eigenvalue": positive.between(0.01, 10),
    "noise_variance": positive.between(0.01, 10),
    "learning_rate": positive.between(0.01, 10),
    "samples": whole_positive,
}
NAMES = tuple(POINT)
VARIANCE = "noise_variance / samples * learning_rate * eigenvalue / (2 - learning_rate * eigenvalue)"
WAY = f"{VARIANCE} + (1 - learning_rate * eigenvalue)**(2 * steps) * (initial**2 - {VARIANCE})"
ON_THE_WAY = parse(WAY, (*NAMES, "initial", "steps"))
SIGNAL = "learning_rate * eigenvalue**3 / (2 - learning_rate * eigenvalue)"
STABLE = Domain("learning_rate * eigenvalue < 2", **POINT)


def edge_at(variance):
    """The edge of the signal of a variance."""

    def edge(eigenvalue, noise_variance, learning_rate, samples):
        signal = samples * eigenvalue**2 / noise_variance * variance(eigenvalue, noise_variance, learning_rate, samples)
        return variational.descent_sharpness_limit(signal, learning_rate)

    return edge


THEOREM = Theorem(
    id="vl.stationarity-identity",
    title="the edge formula returns the curvature at stationarity",
    source="consequence of the update rule of Ghosh et al. 2025; derived here",
    kind=IDENTITY,
    statement=r"\mathbb E\,x_t^2 \to V = \frac{s^2}{N}\,\frac{\rho\lambda}{2-\rho\lambda}\ (\rho\lambda < 2),\qquad"
    r" H\big(N\lambda^2 V / s^2;\rho\big) = \lambda",
    domain=STABLE,
    formula=variational.stationary_variance,
    derivation=from_recursion,
    oracle=fixed_point,
    reach=10,
    points=40,
    certificate=attraction,
    simulation=Equivalence(
        settings=(
            {"eigenvalue": 1.0, "noise_variance": 2.0, "learning_rate": 0.5, "samples": 3},
            {"eigenvalue": 3.0, "noise_variance": 0.3, "learning_rate": 0.5, "samples": 2},
        ),
        measure=after(10).measure,
        spread=after(10).spread,
        observable="squared position after ten steps from the minimiser",
    ),
    on_problem=on_problem,
    mutants={
        "small learning rate": VARIANCE.replace("(2 - learning_rate * eigenvalue)", "2"),
        "1 - rho lambda": VARIANCE.replace("(2 -", "(1 -"),
        "divided by N twice": f"{VARIANCE} / samples",
        "gradient noise": f"{VARIANCE} / eigenvalue**2",
    },
    corollaries=(
        Claim(
            name="on the way",
            statement=r"\mathbb E\,x_t^2 = V + (1 - \rho\lambda)^{2t} (x_0^2 - V)",
            kind=IDENTITY,
            domain=Domain(
                "learning_rate * eigenvalue < 3",
                **POINT,
                initial=real,
                steps=Interval(0, np.inf, lower_closed=True, whole=True, typical=(0, 30)),
            ),
            formula=ON_THE_WAY,
            derivation=through_steps,
            oracle=propagated,
            points=40,
            mutants={
                "half as fast": WAY.replace("(2 * steps)", "steps"),
                "one step ahead": WAY.replace("(2 * steps)", "(2 * steps + 2)"),
                "start not squared": WAY.replace("initial**2", "abs(initial)"),
            },
        ),
        Claim(
            name="mean-square limit",
            statement=r"\mathbb E\,x_t^2 \text{ converges} \iff \lambda < 2 / \rho,\ \text{whatever the signal}",
            kind=TIGHT,
            domain=Domain(signal_to_noise=positive.between(0.01, 100), learning_rate=positive.between(0.01, 10)),
            formula=lambda signal_to_noise, learning_rate: stability.gradient_descent_sharpness_limit(learning_rate),
            oracle=limit_of_convergence,
            points=5,
            certificate=contraction,
            mutants={
                "lost at the edge": variational.descent_sharpness_limit,
                "monotone convergence": "1 / learning_rate",
            },
        ),
        Claim(
            name="signal at stationarity",
            statement=r"N\lambda^2 V / s^2 = \rho\lambda^3 / (2 - \rho\lambda)",
            kind=IDENTITY,
            domain=STABLE,
            formula=parse(SIGNAL, NAMES),
            derivation=root_of_edge,
            oracle=lambda eigenvalue, noise_variance, learning_rate, samples: (
                samples
                * eigenvalue**2
                / noise_variance
                * fixed_point(eigenvalue, noise_variance, learning_rate, samples)
            ),
            reach=10,
            points=50,
            mutants={
                "curvature squared": SIGNAL.replace("**3", "**2"),
                "small learning rate": SIGNAL.replace("(2 - learning_rate * eigenvalue)", "2"),
            },
        ),
        Claim(
            name="edge at stationarity",
            statement=r"H\big(N\lambda^2 V / s^2;\rho\big) = \lambda",
            kind=IDENTITY,
            domain=STABLE,
            formula=edge_at(variational.stationary_variance),
            oracle=lambda eigenvalue, **rest: eigenvalue,
            mutants={
                "small learning rate": edge_at(lambda h, s2, rate, samples: s2 / samples * rate * h / 2),
                "N forgotten in the variance": edge_at(lambda h, s2, rate, n: s2 * rate * h / (2 - rate * h)),
                "2 / rho": "2 / learning_rate",
            },
        ),
    ),
    caveats=(
        "That a sharpness follows the edge of the mean signal is therefore partly a tautology: any stationary direction"
        " does, flattened or not. It says something only if the mechanism is tested, or the signal is not stationary.",
        "The edge of the mean signal, not the mean edge: the average of H(z_t) lies about 20 % below the curvature.",
        "Frozen curvature and a quadratic loss.",
    ),
    figure=Figure(
        data=diagonal,
        panels=(
            Panel(
                "diagonal",
                x_label="curvature / gradient descent's edge, ρλ/2",
                y_label="edge of the mean signal, ρ H(mean z) / 2",
                title="Every stationary direction lies on its edge",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

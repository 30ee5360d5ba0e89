"""One step of variational gradient descent changes the expected loss by an exact amount, for any noise law.

The gradient is averaged over N random weights m + eps_k. Along eigenvector i the sampled gradient is
lambda_i (m_i + mean_k eps_ki): noise of variance s_i^2 in the weights is noise of variance lambda_i^2 s_i^2 / N in the
gradient, and the loss turns it into lambda_i^3 s_i^2 / N. Nothing else about the noise enters, not even whether its
covariance commutes with the Hessian.
"""

import numpy as np
import sympy

from quadlab import derive, dynamics, moments, simulate
from quadlab.problems import Quadratic
from quadlab.report import Figure, Panel, measured, run, theory
from quadlab.theory import variational
from quadlab.theory.intervals import non_negative, positive, real, whole_positive
from quadlab.verify import (
    IDENTITY,
    Derivation,
    Directions,
    Domain,
    Equivalence,
    RuleExperiment,
    Theorem,
    WeightsExperiment,
)

RULE = dynamics.variational_gradient_descent()
DROP = "sum(learning_rate**2 / 2 * eigenvalues * gradient**2 - learning_rate * gradient**2)"
NOISE = "sum(learning_rate**2 / (2 * samples) * noise_variances * eigenvalues**3)"


def from_update_rule(formula):
    """E of the loss after the rule's update, minus the loss, along one eigenvector at gradient g."""
    names = ("curvature", "noise_variance", "learning_rate", "samples")
    curvature, noise_variance, learning_rate, samples = map(RULE.symbol, names)
    change = derive.expected_change(RULE, at_gradient=True)
    gradient = derive.gradient_symbol
    return Derivation(
        steps=(
            ("update", RULE.update[0]),
            ("expected loss after, minus before, at position = gradient / curvature", change),
            (
                "the loss is a sum over eigenvectors, so in two directions the change is",
                formula(
                    sympy.symbols("lambda_1:3"), sympy.symbols("g_1:3"), sympy.symbols("s2_1:3"), learning_rate, samples
                ),
            ),
        ),
        residuals={
            "one direction": formula([curvature], [gradient], [noise_variance], learning_rate, samples) - change,
            "two directions": formula(
                [curvature, 2 * curvature], [gradient, 0], [noise_variance] * 2, learning_rate, samples
            )
            - change
            - change.subs(curvature, 2 * curvature).subs(gradient, 0),
        },
    )


def enumerated(eigenvalues, gradient, noise_variances, learning_rate, samples):
    """The same expectation as a finite sum, over every outcome of draws of a law with this covariance.

    The Hessian and the covariance are turned into a common random basis, so that no eigenvector is an axis. The mean
    of N independent draws has 1/N of one draw's covariance, and the loss is quadratic: a large number of draws is
    reached on the line in 1/N through one and two.
    """
    if samples > 3:
        point = (eigenvalues, gradient, noise_variances, learning_rate)
        one, two = (enumerated(*point, count) for count in (1, 2))
        return 2 * two - one + 2 * (one - two) / samples
    eigenvalues, gradient, noise_variances = np.broadcast_arrays(
        *map(np.atleast_1d, (eigenvalues, gradient, noise_variances))
    )
    size = len(eigenvalues)
    basis, _ = np.linalg.qr(np.random.default_rng(size).standard_normal((size, size)))
    hessian = (basis * eigenvalues) @ basis.T
    at = basis @ gradient
    noise = moments.enumerate_samples(moments.finite_law((basis * noise_variances) @ basis.T), int(samples))
    moved = -learning_rate * (at + noise @ hessian)
    return np.mean(moved @ at + np.einsum("ra,ab,rb->r", moved, hessian, moved) / 2)


def size_of_terms(eigenvalues, gradient, noise_variances, learning_rate, samples):
    """What rounding is measured against: the terms may cancel."""
    drop = learning_rate * np.sum(gradient**2)
    return drop + learning_rate**2 * np.sum(eigenvalues**3 * noise_variances + eigenvalues * gradient**2)


ONE_STEP = RuleExperiment(
    RULE,
    lambda setting: {
        "eigenvalues": np.asarray(setting["eigenvalues"]),
        "initial": np.divide(setting["gradient"], setting["eigenvalues"]),
        "noise_variance": setting["noise_variances"],
        "learning_rate": setting["learning_rate"],
        "samples": setting["samples"],
    },
)


def on_problem(problem):
    """A step on a real quadratic, from twice the isotropic noise away from the minimiser, by full matrices.

    From further away where descent would be less than twice what the noise adds: a change in which they cancel takes a
    sample without end. The noise is no smaller than the minimiser, or rounding of the weights would hide it.
    """
    learning_rate, samples, hessian = 1 / problem.sharpness, 2, problem.hessian
    unit = max(1.0, np.linalg.norm(problem.minimizer))
    covariance = unit**2 * np.eye(problem.dimension)
    away = 2 * unit * np.random.default_rng(0).standard_normal(problem.dimension)
    gradient = hessian @ away
    down = learning_rate * (gradient @ gradient - learning_rate * gradient @ hessian @ gradient / 2)
    up = learning_rate**2 / (2 * samples) * np.trace(hessian @ hessian @ hessian @ covariance)
    further = max(1.0, np.sqrt(2 * up / down))
    away, gradient = further * away, further * gradient
    along = variational.hessian_projections(hessian, gradient, covariance)

    linear = -learning_rate * (gradient @ hessian - learning_rate * gradient @ hessian @ hessian)
    quadratic = learning_rate**2 * hessian @ hessian @ hessian
    optimiser = simulate.VariationalGradientDescent(learning_rate, samples, covariance)
    spread = moments.gaussian_quadratic_deviation(linear, quadratic, covariance / samples)
    experiment = WeightsExperiment(problem, optimiser, spread, initial=problem.minimizer + away)
    setting = {
        "eigenvalues": along.eigenvalues,
        "gradient": along.gradient,
        "noise_variances": along.noise_variances,
        "learning_rate": learning_rate,
        "samples": samples,
    }
    return Equivalence((setting,), experiment.measure, experiment.spread, observable="loss change in one step")


def random_problems(rng):
    """Predicted against simulated change for 40 random Hessians, half of them with a covariance that commutes."""
    generator, rows = np.random.default_rng(rng), []
    for index in range(40):
        commuting = index % 2 == 0
        curvatures = generator.uniform(0.05, 1.5, 6)
        problem = Quadratic.random(curvatures, generator)
        spread = generator.uniform(0.2, 3.0, 6)
        covariance = problem.hessian / 2 if commuting else Quadratic.random(spread, generator).hessian
        away = generator.standard_normal(6) * generator.uniform(0.3, 2)
        along = variational.hessian_projections(problem.hessian, problem.hessian @ away, covariance)
        change = variational.expected_loss_change(
            along.eigenvalues, along.gradient, along.noise_variances, learning_rate=1.0, samples=1
        )
        ensemble = simulate.simulate_weights(
            problem,
            simulate.VariationalGradientDescent(1.0, 1, covariance),
            initial=away,
            steps=1,
            replicas=20_000,
            observables="loss_change",
            rng=generator,
        )
        name = "covariance commutes with the Hessian" if commuting else "covariance does not commute"
        error = ensemble.standard_error["loss_change"]
        rows += measured("change", name, change, ensemble.mean["loss_change"], error)
    ends = [min(row.x for row in rows), max(row.x for row in rows)]
    return theory("change", "simulated = predicted", ends, ends) + rows


THEOREM = Theorem(
    id="vl.expected-descent",
    title="exact expected loss change of one step",
    source="Ghosh et al. 2025, identity behind Theorem 3.1",
    kind=IDENTITY,
    statement=r"\mathbb E\,\ell(m^+) - \ell(m) = \sum_i -\rho g_i^2 + \tfrac{\rho^2}{2}\lambda_i g_i^2"
    r" + \tfrac{\rho^2}{2N} s_i^2 \lambda_i^3",
    domain=Domain(
        eigenvalues=Directions(non_negative.between(0.01, 3), most=3),
        gradient=Directions(real),
        noise_variances=Directions(non_negative.between(0, 3)),
        learning_rate=positive.between(0.01, 100),
        samples=whole_positive.between(1, 64),
    ),
    formula=variational.expected_loss_change,
    derivation=from_update_rule,
    oracle=enumerated,
    reach=10,
    scale=size_of_terms,
    simulation=Equivalence(
        settings=(
            {"eigenvalues": [0.6], "gradient": [1.0], "noise_variances": [1.0], "learning_rate": 1.0, "samples": 2},
            {
                "eigenvalues": [1.7, 0.8, 0.3],
                "gradient": [0.6, -1.1, 0.2],
                "noise_variances": [0.5, 2.0, 3.0],
                "learning_rate": 0.6,
                "samples": 3,
            },
        ),
        measure=ONE_STEP.measure,
        spread=ONE_STEP.spread,
        observable="loss change in one step",
    ),
    on_problem=on_problem,
    mutants={
        "gradient noise taken for weight noise": f"{DROP} + {NOISE.replace('**3', '**2')}",
        "noise term without 1/2": f"{DROP} + 2 * {NOISE}",
        "noise term without 1/N": f"{DROP} + samples * {NOISE}",
        "noise term with 1/N^2": f"{DROP} + {NOISE} / samples",
        "second-order term without 1/2": f"2 * {DROP} + learning_rate * sum(gradient**2) + {NOISE}",
    },
    caveats=(
        "One step, conditional on the mean m; an expectation, not what a typical path does.",
        "An equality on quadratics only.",
    ),
    figure=Figure(
        data=random_problems,
        panels=(
            Panel(
                "change",
                x_label="predicted change of the expected loss (units of loss)",
                y_label="simulated change, ± 1 standard error",
                title="One step, 40 random problems in six dimensions",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

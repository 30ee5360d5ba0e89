"""In several directions too the descent limit is exact: one step lowers the expected loss if and only if rho < rho*.

The expected change is a parabola in the learning rate, -rho G + (rho^2 / 2) (B + C / N), with the squared gradient
G = sum g_i^2, its curvature B = sum lambda_i g_i^2, and what the weight noise adds, C = sum s_i^2 lambda_i^3. It
crosses zero at rho* = 2 G / (B + C / N) and is lowest halfway. The paper's condition on every direction implies
rho < rho*, and so does the one on the top eigenvalue and traces, but neither is needed.
"""

from functools import reduce

import numpy as np
import sympy
from scipy.optimize import brentq, minimize_scalar

from quadlab import derive, dynamics, moments
from quadlab.report import Figure, Panel, measured, run, theory
from quadlab.theory import variational
from quadlab.theory.elementary import maximum
from quadlab.theory.intervals import positive, real, whole_positive
from quadlab.verify import (
    TIGHT,
    Claim,
    Derivation,
    Directions,
    Domain,
    EdgeBracket,
    Equivalence,
    RuleExperiment,
    Statement,
    Theorem,
)

RULE = dynamics.variational_gradient_descent()
CURVATURE, RATE, NOISE, SAMPLES = map(RULE.symbol, ("curvature", "learning_rate", "noise_variance", "samples"))
GRADIENT = derive.gradient_symbol
CHANGE = derive.expected_change(RULE, at_gradient=True)
TWO = {
    "eigenvalues": sympy.symbols("curvature_1:3", positive=True),
    "gradient": sympy.symbols("gradient_1:3", real=True),
    "noise_variances": sympy.symbols("noise_variance_1:3", positive=True),
    "samples": SAMPLES,
}
CHANGE_OF_TWO = sum(
    CHANGE.subs({CURVATURE: curvature, GRADIENT: gradient, NOISE: noise})
    for curvature, gradient, noise in zip(TWO["eigenvalues"], TWO["gradient"], TWO["noise_variances"], strict=True)
)
DOMAIN = Domain(
    "sum(gradient**2) > 0",
    eigenvalues=Directions(positive.between(0.05, 20), most=3),
    gradient=Directions(real),
    noise_variances=Directions(positive.between(0.01, 10)),
    samples=whole_positive.between(1, 3),
)
GOLDEN = {
    "eigenvalues": (1.7, 0.8, 0.05),
    "gradient": (0.6, -1.1, 0.02),
    "noise_variances": (0.5, 2.0, 3.0),
    "samples": 3,
}
LOWEST = 0.573073500763600


def change_at_limit(formula):
    """The change from the update rule, divided by the learning rate, must vanish at the candidate."""
    limit = formula(**TWO)
    per_rate = sympy.expand(CHANGE_OF_TWO / RATE)
    return Derivation(
        steps=(
            ("expected change along one eigenvector", CHANGE),
            ("in two directions the changes add; divided by the learning rate", per_rate),
            ("zero of it", limit),
        ),
        residuals={"change per learning rate at the limit": per_rate.subs(RATE, limit)},
    )


def enumerated(eigenvalues, gradient, noise_variances, samples):
    """Expected change as a function of the learning rate, by averaging over every outcome of the noise."""
    noise = moments.enumerate_samples(moments.finite_law(np.diag(noise_variances)), int(samples))
    sampled = gradient + eigenvalues * noise

    def change(learning_rate):
        moved = -learning_rate * sampled
        return np.mean(moved @ gradient + np.square(moved) @ eigenvalues / 2)

    return change


def root_of_enumerated(**point):
    """Where the enumerated change per learning rate crosses zero."""
    change = enumerated(**point)
    return brentq(lambda rate: change(rate) / rate, 1e-12, 2.001 / min(point["eigenvalues"]), xtol=1e-300, maxiter=1000)


def deepest_enumerated(**point):
    """The largest decrease over all learning rates, by a search that knows no derivative."""
    change = enumerated(**point)
    return -minimize_scalar(change, bracket=(0, 1 / max(point["eigenvalues"])), method="brent").fun


def if_and_only_if(formula):
    """Two directions: the change is negative exactly below the candidate, for all real arguments."""
    yield Statement(
        "descent in expectation if and only if the learning rate lies below the limit",
        sympy.Equivalent(CHANGE_OF_TWO < 0, formula(**TWO) > RATE),
        (sympy.Ne(TWO["gradient"][0], 0),),
    )


def bound_and_reached(formula):
    """No learning rate descends by more than the candidate, and one descends by as much."""
    decrease = formula(**TWO)
    best = sympy.solve(sympy.diff(CHANGE_OF_TWO, RATE), RATE)[0]
    some_gradient = (sympy.Ne(TWO["gradient"][0], 0),)
    yield Statement("no learning rate does better", -decrease <= CHANGE_OF_TWO, some_gradient)
    yield Statement("one does as well", CHANGE_OF_TWO.subs(RATE, best) <= -decrease, some_gradient)


def at_rate(learning_rate):
    return RuleExperiment(
        RULE,
        lambda setting: {
            "eigenvalues": np.array(setting["eigenvalues"]),
            "initial": np.divide(setting["gradient"], setting["eigenvalues"]),
            "noise_variance": np.array(setting["noise_variances"]),
            "learning_rate": learning_rate,
            "samples": setting["samples"],
        },
    )


def single_directions(eigenvalues, gradient, noise_variances, samples):
    """The smallest of the limits of single directions: the condition of Theorem 3.1 in every direction."""
    each = zip(eigenvalues, gradient, noise_variances, strict=True)
    resistances = [
        1 / variational.descent_learning_rate_limit([curvature], [slope], [noise], samples)
        for curvature, slope, noise in each
    ]
    return 1 / reduce(maximum, resistances)


def top_curvature(eigenvalues, gradient, noise_variances, samples):
    """The limit with the curvature of the gradient replaced by the largest eigenvalue."""
    squared = sum(slope**2 for slope in gradient)
    noise = sum(s * curvature**3 for s, curvature in zip(noise_variances, eigenvalues, strict=True))
    return 2 * squared / (reduce(maximum, eigenvalues) * squared + noise / samples)


def parabola(rng):
    """The change against the learning rate in three directions, and three limits."""
    slopes = {name: np.array(value) for name, value in GOLDEN.items() if name != "samples"}
    rates = np.linspace(0.01, 1.4, 140)
    change = variational.expected_loss_change(*slopes.values(), rates, GOLDEN["samples"])
    rows = theory("change", "expected change", rates, change)
    for rate, seed in zip(np.linspace(0.1, 1.4, 14), np.random.SeedSequence(rng).spawn(14), strict=True):
        found = at_rate(rate).measure(GOLDEN, 20_000, seed)
        rows += measured("change", "expected change", rate, found.value, found.standard_error)
    total, top = np.sum(slopes["gradient"] ** 2), slopes["eigenvalues"].max()
    trace = variational.descent_learning_rate_limit(
        [top], [np.sqrt(total)], [slopes["noise_variances"].sum()], GOLDEN["samples"]
    )
    marked = {
        "exact limit ρ*": variational.descent_learning_rate_limit(**GOLDEN),
        "every direction below its edge": single_directions(**GOLDEN),
        "top eigenvalue and traces": trace,
    }
    for name, limit in marked.items():
        rows += theory("change", name, [limit, limit], [-0.45, 0.1])
    return rows


THEOREM = Theorem(
    id="vl.exact-learning-rate-limit",
    title="the descent limit in several directions, both ways",
    source="derived here; Ghosh et al. 2025, Theorem 3.1, is the sufficient condition",
    kind=TIGHT,
    statement=r"\mathbb E\,\ell(m^+) < \ell(m) \iff \rho < \rho^* = "
    r"\frac{2\sum_i g_i^2}{\sum_i \lambda_i g_i^2 + \tfrac1N \sum_i s_i^2\lambda_i^3}",
    domain=DOMAIN,
    formula=variational.descent_learning_rate_limit,
    derivation=change_at_limit,
    oracle=root_of_enumerated,
    reach=10,
    certificate=if_and_only_if,
    simulation=EdgeBracket(
        settings=(GOLDEN,),
        measure=lambda setting, rate, *how: at_rate(rate).measure(setting, *how),
        spread=lambda setting, rate: at_rate(rate).spread(setting),
        effect=lambda setting, rate: at_rate(rate).exact(setting),
        observable="sign of the mean loss change just below and just above the limit",
    ),
    mutants={
        "where the decrease is largest": "sum(gradient**2)"
        " / (sum(eigenvalues * gradient**2) + sum(noise_variances * eigenvalues**3) / samples)",
        "noise multiplied by N": "2 * sum(gradient**2)"
        " / (sum(eigenvalues * gradient**2) + sum(noise_variances * eigenvalues**3) * samples)",
        "gradient not squared": "2 * sqrt(sum(gradient**2))"
        " / (sum(eigenvalues * gradient**2) + sum(noise_variances * eigenvalues**3) / samples)",
        "largest eigenvalue for the gradient's curvature": top_curvature,
        "smallest limit of single directions": single_directions,
    },
    corollaries=(
        Claim(
            name="largest decrease",
            statement=r"\max_\rho\,\big(\ell(m) - \mathbb E\,\ell(m^+)\big) = \frac{\rho^*}{4}\sum_i g_i^2",
            kind=TIGHT,
            domain=DOMAIN,
            formula=lambda eigenvalues, gradient, noise_variances, samples: (
                -variational.expected_loss_change(
                    eigenvalues,
                    gradient,
                    noise_variances,
                    variational.descent_learning_rate_limit(eigenvalues, gradient, noise_variances, samples) / 2,
                    samples,
                )
            ),
            oracle=deepest_enumerated,
            reach=1,
            certificate=bound_and_reached,
            simulation=Equivalence(
                settings=(GOLDEN,),
                measure=lambda setting, *how: at_rate(LOWEST).measure(setting, *how),
                spread=lambda setting: at_rate(LOWEST).spread(setting),
                predict=lambda formula, setting: -formula(**setting),
                observable="mean loss change at half the limit",
            ),
            mutants={
                "without 1/2": "sum(gradient**2)**2"
                " / (sum(eigenvalues * gradient**2) + sum(noise_variances * eigenvalues**3) / samples)",
                "gradient not squared twice": "sum(gradient**2)"
                " / (2 * (sum(eigenvalues * gradient**2) + sum(noise_variances * eigenvalues**3) / samples))",
                "without noise": "sum(gradient**2)**2 / (2 * sum(eigenvalues * gradient**2))",
            },
        ),
    ),
    caveats=(
        "The limit needs Tr(Sigma Q^3): it is not a function of the top eigenvalue alone.",
        "One step, in expectation; beyond the limit nothing diverges.",
    ),
    figure=Figure(
        data=parabola,
        panels=(
            Panel(
                "change",
                x_label="learning rate ρ (parameter² / loss)",
                y_label="expected loss change (units of loss)",
                title="One step in three directions, N = 3",
                decorate=lambda axes, rows: axes.axhline(0, color="0.5", linewidth=0.8),
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

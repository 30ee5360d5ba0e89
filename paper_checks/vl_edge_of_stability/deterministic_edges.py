"""Sharpness limits without noise: gradient descent at 2/rho, heavy ball above it, Nesterov below it.

On one curvature an optimiser is a linear map, and it contracts as long as every eigenvalue of that map lies inside the
unit circle. Jury's conditions say so in polynomial inequalities; the one that fails first as the curvature grows is
det(1 + T) > 0, an eigenvalue leaving through -1, where every step reverses the last. Heavy ball adds the last
displacement, which then points back and shortens the step; Nesterov takes the gradient after it, further up the slope.
"""

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab import derive
from quadlab.dynamics import UpdateRule, gradient_descent, heavy_ball, nesterov, parameter
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory import stability
from quadlab.theory.intervals import momentum_range, positive
from quadlab.verify import TIGHT, Claim, Derivation, Domain, Statement, Theorem
from quadlab.verify.certify import jury_conditions

CURVATURE, RATE, MOMENTUM = map(parameter, ("curvature", "learning_rate", "momentum"))


def averaged_gradient():
    """Heavy ball on a running average, as it stands in Adam: v+ = b v + (1 - b) gradient, x+ = x - rho v+."""
    position, velocity = sympy.symbols("position velocity", real=True)
    average = MOMENTUM * velocity + (1 - MOMENTUM) * CURVATURE * position
    return UpdateRule("averaged gradient", (position, velocity), (position - RATE * average, average))


def sharpness_limit_by_eigenvalues(rule):
    """The curvature at which the spectral radius of a rule's step passes one, as a function of its parameters."""
    step = sympy.lambdify((*rule.state, *rule.parameters), rule.update)

    def excess(curvature, parameters):
        # the columns of the linear map are the images of the unit vectors
        images = [step(*unit, curvature=curvature, **parameters) for unit in np.eye(len(rule.state))]
        return np.abs(np.linalg.eigvals(np.transpose(images))).max() - 1

    def limit(learning_rate, **others):
        # in units of 1 / learning rate: only their product with the curvature matters
        parameters = {"learning_rate": 1.0, **others}
        return brentq(excess, 1e-3, 1e4, args=(parameters,), xtol=1e-14, maxiter=1000) / learning_rate

    return limit


def evidence(rule):
    """What judges a formula for the sharpness limit of a rule: each piece is made from the rule alone."""
    arguments = {symbol.name: symbol for symbol in rule.parameters if symbol != CURVATURE}
    matrix, eigenvalue = derive.transition_matrix(rule), sympy.Symbol("eigenvalue")

    def from_update_rule(formula):
        limit = derive.sharpness_limit(rule)
        return Derivation(
            steps=(
                ("next state = T state, T", matrix),
                ("an eigenvalue passes -1 where this vanishes", sympy.factor((sympy.eye(matrix.rows) + matrix).det())),
                ("the smallest curvature at which an eigenvalue reaches the unit circle", limit),
            ),
            residuals={"limit": formula(**arguments) - limit},
        )

    def certificate(formula):
        conditions = jury_conditions(matrix.charpoly(eigenvalue).as_expr(), eigenvalue)
        inside = sympy.And(*(condition > 0 for condition in conditions))
        yield Statement(
            "the step contracts if and only if the curvature is below the limit",
            sympy.Equivalent(inside, formula(**arguments) > CURVATURE),
            (MOMENTUM < 1,) if MOMENTUM in matrix.free_symbols else (),
        )

    ranges = {"learning_rate": positive, "momentum": momentum_range}
    return {
        "kind": TIGHT,
        "domain": Domain(**{name: ranges[name] for name in arguments}),
        "derivation": from_update_rule,
        "oracle": sharpness_limit_by_eigenvalues(rule),
        "points": 80,
        "certificate": certificate,
    }


def limits_against_momentum(rng):
    """rho times the limit: lines from the formulas, markers from eigenvalues."""
    rows, fine, coarse = [], np.linspace(0, 0.99, 100), np.linspace(0.0, 0.96, 9)
    cases = (
        ("heavy ball", heavy_ball, lambda b: stability.heavy_ball_sharpness_limit(1.0, b)),
        ("gradient descent", gradient_descent, lambda b: stability.gradient_descent_sharpness_limit(1.0) + 0 * b),
        ("Nesterov", nesterov, lambda b: stability.nesterov_sharpness_limit(1.0, b)),
    )
    for name, make_rule, formula in cases:
        rule = make_rule()
        limit = sharpness_limit_by_eigenvalues(rule)
        momentum = [{"momentum": b} if MOMENTUM in rule.parameters else {} for b in coarse]
        rows += theory("limit", name, fine, formula(fine))
        rows += computed("limit", name, coarse, [limit(1.0, **settings) for settings in momentum])
    return rows


THEOREM = Theorem(
    id="stability.deterministic-edges",
    title="sharpness limits of gradient descent, heavy ball and Nesterov",
    source="Cohen et al. 2021, section 2 and appendix B; proof by Jury's criterion derived here",
    statement=r"\text{contraction} \iff \lambda < \tfrac{2}{\rho}\ \text{(gradient descent)},\quad"
    r" \lambda < \tfrac{2 + 2b}{\rho}\ \text{(heavy ball)},\quad"
    r" \lambda < \tfrac{2 + 2b}{\rho(1 + 2b)}\ \text{(Nesterov)}",
    **evidence(gradient_descent()),
    formula=stability.gradient_descent_sharpness_limit,
    mutants={
        "no overshoot, 1 / rho": "1 / learning_rate",
        "one over the square root": "2 / sqrt(learning_rate)",
    },
    corollaries=(
        Claim(
            name="heavy ball",
            statement=r"\text{contraction} \iff \lambda < \frac{2 + 2b}{\rho}",
            **evidence(heavy_ball()),
            formula=stability.heavy_ball_sharpness_limit,
            mutants={
                "effective learning rate rho / (1 - b)": "2 * (1 - momentum) / learning_rate",
                "learning rate reduced to rho (1 - b)": "2 / (learning_rate * (1 - momentum))",
                "limit of averaged gradients": "(2 + 2 * momentum) / ((1 - momentum) * learning_rate)",
                "momentum ignored": "2 / learning_rate",
            },
        ),
        Claim(
            name="Nesterov",
            statement=r"\text{contraction} \iff \lambda < \frac{2 + 2b}{\rho(1 + 2b)}",
            **evidence(nesterov()),
            formula=stability.nesterov_sharpness_limit,
            mutants={
                "1 + b for 1 + 2 b": "(2 + 2 * momentum) / (learning_rate * (1 + momentum))",
                "heavy ball's limit, above gradient descent's": "(2 + 2 * momentum) / learning_rate",
            },
        ),
        Claim(
            name="averaged gradient",
            statement=r"v^+ = bv + (1 - b)\lambda x,\ x^+ = x - \rho v^+:\quad "
            r"\text{contraction} \iff \lambda < \frac{2 + 2b}{\rho(1 - b)}",
            **evidence(averaged_gradient()),
            reach=1,
            formula=lambda learning_rate, momentum: (2 + 2 * momentum) / ((1 - momentum) * learning_rate),
            mutants={
                "plain heavy ball's limit": stability.heavy_ball_sharpness_limit,
                "no momentum, learning rate reduced to rho (1 - b)": "2 / ((1 - momentum) * learning_rate)",
            },
        ),
    ),
    caveats=(
        "Contraction of the iterates on one fixed curvature, not a rate and not a statement about networks.",
        "Weighting the gradient by 1 - b makes another rule: at b = 0.9 its limit is 38 / rho, not 3.8 / rho.",
        "Additive weight noise changes none of these limits in mean square; it changes the one-step descent edge.",
    ),
    figure=Figure(
        data=limits_against_momentum,
        panels=(
            Panel(
                "limit",
                x_label="momentum b (dimensionless)",
                y_label="limit × learning rate, ρλ (dimensionless)",
                title="Largest stable sharpness",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

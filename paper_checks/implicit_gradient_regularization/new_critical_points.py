"""The modified loss of the product model has critical points that the loss has not, once h > 2/(x y).

They need H g = -(2/h) g (igr.critical-points). On E = (y - x a b)^2 / 2 with x y > 0 that happens on the diagonal
a = b only: at h = 2/(x y) a pair +-(u, u) leaves the origin by a pitchfork, while the origin itself turns from a saddle
of the loss into a minimum of the modified loss. Both new points are saddles, the passes between the new minimum and the
old ones. At such learning rates E~ no longer describes gradient descent, whose critical points are those of E alone.
"""

import numpy as np
import sympy
from numpy.polynomial import Chebyshev
from scipy.optimize import brentq

from quadlab import derive
from quadlab.problems import GradientPenalty, ProductModel
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.intervals import positive
from quadlab.verify import IDENTITY, TIGHT, Claim, Derivation, Domain, Statement, Theorem

A, B = sympy.symbols("first_weight second_weight", real=True)
RATE, X, Y = sympy.symbols("learning_rate data_input target", positive=True)
SQUARE = sympy.Symbol("u_squared", real=True)
MODIFIED = derive.modified_loss((Y - X * A * B) ** 2 / 2, (A, B), RATE)
HESSIAN = sympy.hessian(MODIFIED, (A, B))
# what is left of grad E~ where the residual is not zero, and of that on a = b, away from the origin
NEW = [sympy.expand(sympy.cancel(MODIFIED.diff(p) / (X * A * B - Y))) for p in (A, B)]
ON_DIAGONAL = sympy.expand(NEW[0].subs(B, A) / A).subs(A**2, SQUARE)
DIAGONAL = np.ones(2)
TARGET, SHOWN = 0.6, (1.0, 10 / 3, 5.0, 8.0)


def modified_problem(learning_rate, data_input, target):
    return GradientPenalty(ProductModel(data_input, target), learning_rate / 4)


def new_square(learning_rate, data_input, target):
    """u^2 of the critical points +-(u, u) of E~ that are none of E; negative where they are no points of the plane.

    E~ on the diagonal is a cubic in u^2, whose slope also vanishes at the minimum of E, where u^2 = y/x is larger.
    """
    modified, minimum = modified_problem(learning_rate, data_input, target), target / data_input
    cubic = Chebyshev.interpolate(lambda s: modified.loss(np.outer(np.sqrt(s * minimum), DIAGONAL)), 3, domain=[0, 2])
    return minimum * cubic.deriv().roots().min()


def new_point(learning_rate, data_input, target):
    return np.sqrt(new_square(learning_rate, data_input, target)) * DIAGONAL


def learning_rate_of_new_points(data_input, target):
    """The learning rate at which the new critical points leave the origin, by bracketing."""
    ends = np.array([0.1, 100]) / (data_input * target)
    return brentq(lambda rate: new_square(rate, data_input, target), *ends, xtol=1e-300, rtol=1e-15)


def curvature(point, at, direction):
    """Second derivative of E~ along a direction, from its values on a line, where it is of degree 6."""
    modified, reach = modified_problem(**point), np.sqrt(point["target"] / point["data_input"])
    line = Chebyshev.interpolate(lambda t: modified.loss(at + np.outer(t, direction)), 6, domain=[-reach, reach])
    return line.deriv(2)(0)


def from_gradient(formula):
    return Derivation(
        steps=(("grad E~ / (x a b - y)", sympy.Matrix(NEW)), ("its components on a = b, over a", ON_DIAGONAL)),
        residuals={"on the diagonal": ON_DIAGONAL.subs(SQUARE, formula(RATE, X, Y))},
    )


def all_new_points(formula):
    zero = sympy.And(sympy.Eq(NEW[0], 0), sympy.Eq(NEW[1], 0))
    found = sympy.And(sympy.Eq(A, B), sympy.Eq(A**2, formula(RATE, X, Y)))
    origin = sympy.And(sympy.Eq(A, 0), sympy.Eq(B, 0))
    goal = sympy.Equivalent(zero, sympy.Or(origin, found))
    yield Statement("grad E~ / r vanishes at the origin and at +-(u, u), nowhere else", goal)


def at_the_fork(formula):
    hessian, there = HESSIAN.subs({A: 0, B: 0}), {RATE: formula(X, Y)}
    return Derivation(
        steps=(("Hess E~ at the origin", hessian), ("u^2 solves", sympy.Eq(ON_DIAGONAL, 0))),
        residuals={
            "curvature along (1, 1)": (hessian[0, 0] + hessian[0, 1]).subs(there),
            "u = 0": ON_DIAGONAL.subs(SQUARE, 0).subs(there),
        },
    )


def pitchfork(formula):
    hessian, late = HESSIAN.subs({A: 0, B: 0}), formula(X, Y) < RATE
    minimum = sympy.Equivalent(sympy.And(hessian[0, 0] > 0, hessian.det() > 0), late)
    yield Statement("the origin is a minimum if and only if h is beyond", minimum)
    new = sympy.Implies(sympy.Eq(ON_DIAGONAL, 0), sympy.Equivalent(SQUARE > 0, late))
    yield Statement("u^2 is positive if and only if h is beyond", new)


def saddle(sign):
    """Evidence for the curvature of E~ at (u, u) along (1, sign) / sqrt(2)."""
    direction = np.array([1, sign]) / np.sqrt(2)

    def derivation(formula):
        (square,) = sympy.solve(ON_DIAGONAL, SQUARE)
        general = sympy.expand((HESSIAN[0, 0] + sign * HESSIAN[0, 1]).subs(B, A))
        found = sympy.factor(general.subs(A**4, square**2).subs(A**2, square))
        return Derivation((("u^2", square), ("curvature there", found)), {"curvature": formula(RATE, X, Y) - found})

    return {
        "kind": IDENTITY,
        "domain": BEYOND,
        "derivation": derivation,
        "oracle": lambda **point: curvature(point, new_point(**point), direction),
        "scale": lambda learning_rate, data_input, target: learning_rate * (data_input * target) ** 2,
        "points": 60,
    }


def along_the_diagonal(rng):
    """E~ of the product model on a = b, its critical points found from its values; then where they are."""
    way, rows = np.linspace(-1.05, 1.05, 211), []
    for rate in SHOWN:
        rows += theory("diagonal", f"h = {rate:.3g}", way, (TARGET - way**2) ** 2 / 2 * (1 + rate * way**2))
    rows += computed("diagonal", "minimum of E", np.sqrt(TARGET) * np.array([-1, 1]), [0, 0])
    for rate in SHOWN[2:]:
        at = np.outer([-1, 1], new_point(rate, 1.0, TARGET))
        rows += computed("diagonal", "new saddle", at[:, 0], modified_problem(rate, 1.0, TARGET).loss(at))
    fine, coarse = np.geomspace(2 / TARGET, 30, 121), np.geomspace(3.5, 30, 9)
    for name, sign in (("+u", 1), ("-u", -1)):
        rows += theory("pitchfork", name, fine, sign * np.sqrt((TARGET - 2 / fine) / 3))
        rows += computed("pitchfork", name, coarse, [sign * new_point(r, 1.0, TARGET)[0] for r in coarse])
    rows += theory("pitchfork", "origin, saddle", [1, 2 / TARGET], [0, 0])
    return rows + theory("pitchfork", "origin, minimum", [2 / TARGET, 30], [0, 0])


def mark_points(axes, rows):
    for line in axes.lines:
        if line.get_label() in ("minimum of E", "new saddle"):
            line.set(color="black", zorder=5)
    axes.set_ylim(-0.02, 0.55)


def name_branches(axes, rows):
    axes.plot([2 / TARGET] * 2, [-0.5, 0.25], color="0.5", linewidth=0.8)
    axes.text(2 / TARGET * 0.96, -0.42, "h = 2/(xy)", ha="right", fontsize=9)
    axes.set_ylim(-0.5, 0.75)


MODERATE = positive.between(0.1, 10)
BEYOND = Domain("learning_rate * data_input * target > 2", learning_rate=MODERATE, data_input=MODERATE, target=MODERATE)
STRENGTH = "learning_rate * data_input * target"

THEOREM = Theorem(
    id="igr.new-critical-points",
    title="the product model's modified loss has two saddles of its own",
    source="derived here, for the modified loss of Barrett & Dherin 2021 and their product model",
    kind=IDENTITY,
    statement=r"E = \tfrac12 (y - xab)^2,\ h > \tfrac{2}{xy}:\quad \nabla\tilde E = 0 \ne g \iff"
    r" a = b = \pm u,\ u^2 = \frac{xy - 2/h}{3x^2}",
    domain=BEYOND,
    formula=lambda learning_rate, data_input, target: (data_input * target - 2 / learning_rate) / (3 * data_input**2),
    derivation=from_gradient,
    oracle=new_square,
    certificate=all_new_points,
    scale=lambda learning_rate, data_input, target: target / data_input,
    points=100,
    mutants={
        "without the 3": "(data_input * target - 2 / learning_rate) / data_input**2",
        "1/h for 2/h": "(data_input * target - 1 / learning_rate) / (3 * data_input**2)",
        "no points but those of E": "target / data_input",
        "x for x^2": "(data_input * target - 2 / learning_rate) / (3 * data_input)",
    },
    corollaries=(
        Claim(
            name="pitchfork",
            statement=r"\text{new points exist} \iff h > \tfrac2{xy} \iff \tilde E \text{ has a minimum at the origin}",
            kind=TIGHT,
            domain=Domain(data_input=MODERATE, target=MODERATE),
            formula=lambda data_input, target: 2 / (data_input * target),
            derivation=at_the_fork,
            oracle=learning_rate_of_new_points,
            certificate=pitchfork,
            points=30,
            mutants={
                "1/(x y), the stability limit at the flattest minimum": "1 / (data_input * target)",
                "4/(x y)": "4 / (data_input * target)",
                "2/(x^2 y), from x in the sharpness": "2 / (data_input**2 * target)",
            },
        ),
        Claim(
            name="new points fall along the diagonal",
            statement=r"v = (1, 1)/\sqrt2:\quad v^\top \nabla^2\tilde E\, v = -\frac{2 (hxy - 2)(hxy + 1)}{3h} < 0",
            **saddle(1),
            formula=lambda learning_rate, data_input, target: (
                -2
                * (learning_rate * data_input * target - 2)
                * (learning_rate * data_input * target + 1)
                / (3 * learning_rate)
            ),
            mutants={
                "a minimum": f"2 * ({STRENGTH} - 2) * ({STRENGTH} + 1) / (3 * learning_rate)",
                "level": "0 * learning_rate",
                "as at the origin": f"{STRENGTH} * ({STRENGTH} - 2) / (2 * learning_rate)",
            },
        ),
        Claim(
            name="new points rise across the diagonal",
            statement=r"v = (1, -1)/\sqrt2:\quad v^\top \nabla^2\tilde E\, v = \frac{4 (hxy + 1)^2}{9h} > 0",
            **saddle(-1),
            formula=lambda learning_rate, data_input, target: (
                4 * (learning_rate * data_input * target + 1) ** 2 / (9 * learning_rate)
            ),
            mutants={
                "2/9 for 4/9": f"2 * ({STRENGTH} + 1)**2 / (9 * learning_rate)",
                "a maximum": f"-4 * ({STRENGTH} + 1)**2 / (9 * learning_rate)",
                "as at the origin": f"{STRENGTH} * ({STRENGTH} + 2) / (2 * learning_rate)",
            },
        ),
    ),
    caveats=(
        "Learning rates at which new points appear lie outside the regime in which E~ describes gradient descent.",
        "The new points are artefacts of cutting the series off: gradient descent has only the critical points of E.",
        "Explicit gradient regularization does follow E + kappa |g|^2, and there they are real.",
    ),
    figure=Figure(
        data=along_the_diagonal,
        panels=(
            Panel(
                "diagonal",
                x_label="a = b (parameter)",
                y_label="modified loss Ẽ",
                title="Passes appear on the diagonal, target 0.6",
                decorate=mark_points,
            ),
            Panel(
                "pitchfork",
                x_label="learning rate h (parameter² / loss)",
                y_label="new critical points a = b (parameter)",
                title="They leave the origin at h = 10/3",
                x_scale="log",
                decorate=name_branches,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

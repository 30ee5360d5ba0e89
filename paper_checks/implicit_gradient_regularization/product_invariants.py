"""One step on the product model, exactly: what gradient flow conserves, gradient descent shrinks by 1 - (h x r)^2.

The loss (y - x a b)^2 / 2 has the gradient x r (b, a), r = x a b - y. Hence a step multiplies a + b by 1 - h x r and
a - b by 1 + h x r; their product D = a^2 - b^2 tells the minima of one hyperbola apart. In a small step the two factors
cancel, and the flow, a hyperbolic rotation, keeps D for ever; a finite step loses (h x r)^2 of it. That loss is all the
implicit regularization there is here: smaller |D| is a flatter minimum. Where h x |r| > 1 the sign of D flips.
"""

from fractions import Fraction

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab.problems import ProductModel
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import GradientDescent, descend, gradient_flow
from quadlab.theory import modified_loss
from quadlab.theory.elementary import sqrt
from quadlab.theory.intervals import positive, real
from quadlab.verify import IDENTITY, Claim, Derivation, Domain, Equivalence, Measurement, Statement, Theorem

A, B, INPUT, TARGET = sympy.symbols("a b data_input target", real=True)
RESIDUAL = sympy.Symbol("residual", real=True)
RATE = sympy.Symbol("learning_rate", positive=True)
MODEL = {"a": A, "b": B, "data_input": INPUT, "target": TARGET}


def step(a, b, data_input, target, learning_rate):
    """Along minus the gradient of (y - x a b)^2 / 2; on numbers, fractions or symbols."""
    slope = data_input * (data_input * a * b - target)
    return a - learning_rate * slope * b, b - learning_rate * slope * a


def ratio_from_update_rule(formula):
    a, b = step(A, B, INPUT, INPUT * A * B - RESIDUAL, RATE)
    left = a**2 - b**2 - formula(RESIDUAL, RATE, INPUT) * (A**2 - B**2)
    return Derivation(
        (("a + b after one step", sympy.factor(a + b)), ("a - b after one step", sympy.factor(a - b))),
        {"D after the step minus formula times D": left},
    )


def ratio_in_fractions(residual, learning_rate, data_input):
    """D after the step over D before, by a step in exact rational numbers."""
    r, h, x = (Fraction(float(value)) for value in (residual, learning_rate, data_input))
    a, b = step(Fraction(2), Fraction(1), x, 2 * x - r, h)
    return float((a**2 - b**2) / 3)


def sign_flips(formula):
    flipped = RATE**2 * INPUT**2 * RESIDUAL**2 > 1
    goal = sympy.Equivalent(formula(RESIDUAL, RATE, INPUT) < 0, flipped)
    yield Statement("D changes its sign if and only if h x |r| > 1", goal)


def path_of(setting):
    problem = ProductModel(setting["data_input"], setting["target"])
    path = descend(problem, GradientDescent(setting["learning_rate"]), setting["start"], setting["steps"])
    return path, problem.residual(path)


def last_over_first(setting, replicas, rng, executor=None):
    path, _ = path_of(setting)
    difference = path[:, 0] ** 2 - path[:, 1] ** 2
    return Measurement(float(difference[-1] / difference[0]), 0.0, replicas)


def product_of_ratios(formula, setting):
    residuals = path_of(setting)[1][:-1]
    return np.prod([formula(r, setting["learning_rate"], setting["data_input"]) for r in residuals])


def residual_after(a, b, data_input, target, learning_rate):
    """r (1 - h x^2 s + h^2 x^3 p r) with s = a^2 + b^2, p = a b = (r + y) / x."""
    r = data_input * a * b - target
    stretch = learning_rate * data_input**2 * (a**2 + b**2)
    return r * (1 - stretch + learning_rate**2 * data_input**3 * a * b * r)


def square_after(a, b, data_input, target, learning_rate):
    """s (1 + h^2 x^2 r^2) - 4 h x r p."""
    r = data_input * a * b - target
    return (a**2 + b**2) * (1 + (learning_rate * data_input * r) ** 2) - 4 * learning_rate * data_input * r * a * b


def evidence_after(quantity):
    """What judges a formula for a quantity of (a, b, x, y) after one step."""

    def derivation(formula):
        after = step(A, B, INPUT, TARGET, RATE)
        found = sympy.expand(quantity(*after, INPUT, TARGET))
        given = formula(*MODEL.values(), RATE)
        return Derivation((("a, b after one step", sympy.Tuple(*after)),), {"quantity after the step": given - found})

    def oracle(**point):
        point = {name: Fraction(float(value)) for name, value in point.items()}
        return float(quantity(*step(**point), point["data_input"], point["target"]))

    def scale(a, b, data_input, target, learning_rate):
        """The sum of the sizes of all terms: the same with signs that let none cancel."""
        signs = abs(a), abs(b), abs(data_input), -abs(target)
        return quantity(*step(*signs, -learning_rate), *signs[2:])

    return {
        "kind": IDENTITY,
        "domain": Domain(**dict.fromkeys(MODEL, real), learning_rate=positive.between(1e-2, 1)),
        "derivation": derivation,
        "oracle": oracle,
        "tolerance": 1e-13,
        "scale": scale,
    }


def change_along_flow(formula):
    velocity = [after.diff(RATE) for after in step(**MODEL, learning_rate=RATE)]
    change = 2 * A * velocity[0] - 2 * B * velocity[1]
    return Derivation((("velocity of the flow", sympy.Tuple(*velocity)),), {"dD/dt": formula(**MODEL) - change})


def change_by_integration(a, b, data_input, target):
    """Slope of D over a short stretch of the flow, by an ODE solver."""
    duration = 0.3 / (data_input**2 * (a**2 + b**2) + abs(target))
    end = gradient_flow(ProductModel(data_input, target), [a, b], duration)
    return (end[0] ** 2 - end[1] ** 2 - (a**2 - b**2)) / duration


def end_of_flow(a, b, data_input, target):
    """The first weight at the end of gradient flow."""
    return modified_loss.product_model_flow_limit([a, b], data_input, target)[0]


def end_by_rotation(a, b, data_input, target):
    """In the time in which the field is (-b, -a) the flow is a hyperbolic rotation: turn until a b = y / x."""

    total, difference, product = a + b, a - b, target / data_input

    def turned(angle):
        """What is then left of a + b, and a - b; their product stays."""
        return total * np.exp(-angle), difference * np.exp(angle)

    def excess(angle):
        total, difference = turned(angle)
        return (total**2 - difference**2) / 4 - product

    # far enough for either of the two to outweigh the other and 2 sqrt(|y / x|)
    most, least = abs(total) + abs(difference) + 2 * np.sqrt(abs(product)), min(abs(total), abs(difference))
    reach = 1 + np.log(most / least)
    return sum(turned(brentq(excess, -reach, reach, xtol=1e-15, rtol=1e-15, maxiter=500))) / 2


def end_by_integration(setting, replicas, rng, executor=None):
    problem = ProductModel(setting["data_input"], setting["target"])
    return Measurement(gradient_flow(problem, [setting["a"], setting["b"]], 60.0)[0], 0.0, replicas)


def square_at_end(a, b, data_input, target):
    """a^2 at the end of gradient flow, (S + D) / 2 with S = sqrt(D^2 + 4 y^2 / x^2)."""
    difference = a**2 - b**2
    return (sqrt(difference**2 + 4 * (target / data_input) ** 2) + difference) / 2


def at_the_minimum(formula):
    first = formula(**MODEL)
    second = first - (A**2 - B**2)  # D is what it was
    missed = first * second - (TARGET / INPUT) ** 2
    # minus the b^2 of the minimum has the same product; at D = 0 it is -|y / x|
    alike = first.subs(B, A) - abs(TARGET / INPUT)
    return Derivation(
        (("a^2", first), ("b^2", second)),
        {"a^2 b^2 minus y^2 / x^2": missed, "a^2 minus |y / x| as b tends to a": alike},
    )


STANDARD = {"start": (2.8, 3.5), "data_input": 1.0, "target": 0.6}


def orbits(rng):
    """Residual and squared norm along gradient descent, on the curves of constant D; and D step by step."""
    rows, shown = [], np.unique(np.geomspace(1, 121, 14).astype(int)) - 1
    for rate in (0.005, 0.025, 0.05, 0.1):
        path, residual = path_of({**STANDARD, "learning_rate": rate, "steps": 120})
        rows += computed("plane", f"h = {rate:g}", residual[shown], (path[shown] ** 2).sum(axis=1))
        steps = np.arange(13)
        ratios = modified_loss.product_model_difference_ratio(residual[:12], rate)
        rows += theory("difference", f"h = {rate:g}", steps, np.cumprod([1, *ratios]))
        found = path[:13, 0] ** 2 - path[:13, 1] ** 2
        rows += computed("difference", f"h = {rate:g}", steps, found / found[0])
    r = np.linspace(-1.6, 5.5, 72)
    for difference in (4.41, 2.5, 0.6):
        rows += theory("plane", f"|D| = {difference:g}", r, np.sqrt(difference**2 + 4 * (r + 0.6) ** 2))
    return rows


def mark_minima(axes, rows):
    axes.plot([0, 0], [0, 5.6], color="0.5", linewidth=0.8)
    axes.text(0.15, 0.3, "minima: r = 0", fontsize=9, color="0.3")
    axes.set_xlim(-1.7, 5.6)
    axes.set_ylim(0, 13)


# for formulas as text: the residual, the squared norm and the difference of squares
R, S, D = "(data_input * a * b - target)", "(a**2 + b**2)", "(a**2 - b**2)"
BOX = {"a": real.between(-2, 2), "b": real.between(-2, 2), "data_input": positive.between(0.5, 2)}
THEOREM = Theorem(
    id="igr.product-invariants",
    title="one step on the product model, and what its flow conserves",
    source="model of Barrett & Dherin 2021, Figure 1; derived here",
    kind=IDENTITY,
    statement=r"E = \tfrac12 (y - xab)^2,\ r = xab - y,\ D = a^2 - b^2,\ s = a^2 + b^2,\ p = ab = \tfrac{r + y}{x}:"
    r"\quad D' = D\,(1 - h^2x^2r^2),\quad r' = r\,(1 - hx^2s + h^2x^3pr),\quad s' = s\,(1 + h^2x^2r^2) - 4hxrp;"
    r"\quad \text{gradient flow conserves } D",
    domain=Domain(residual=real, learning_rate=positive.between(1e-2, 1), data_input=real),
    formula=modified_loss.product_model_difference_ratio,
    derivation=ratio_from_update_rule,
    oracle=ratio_in_fractions,
    tolerance=1e-13,
    scale=lambda residual, learning_rate, data_input: 1 + (residual * learning_rate * data_input) ** 2,
    certificate=sign_flips,
    simulation=Equivalence(
        settings=(
            {**STANDARD, "learning_rate": 0.025, "steps": 300},
            {"start": (1.5, 1.2), "data_input": 1.8, "target": -0.4, "learning_rate": 0.05, "steps": 300},
        ),
        measure=last_over_first,
        spread=lambda setting: 0.0,
        predict=product_of_ratios,
        observable="D after 300 steps over D at the start",
    ),
    mutants={
        "residual not squared": "1 - learning_rate**2 * data_input**2 * residual",
        "the rate of a flow, h for h^2": "1 - learning_rate * data_input**2 * residual**2",
        "both factors alike": "(1 - learning_rate * data_input * residual)**2",
        "input not squared": "1 - learning_rate**2 * data_input * residual**2",
        "grows": "1 + learning_rate**2 * data_input**2 * residual**2",
        "conserved by the step, too": "1 + 0 * residual",
    },
    corollaries=(
        Claim(
            name="residual after one step",
            statement=r"r' = r\,(1 - hx^2s + h^2x^3pr)",
            **evidence_after(lambda a, b, data_input, target: data_input * a * b - target),
            formula=residual_after,
            mutants={
                "without the term of order h^2": f"{R} * (1 - learning_rate * data_input**2 * {S})",
                "x^2 for x^3": f"{R} * (1 - learning_rate * data_input**2 * {S}"
                f" + learning_rate**2 * data_input**2 * a * b * {R})",
                "y for r + y": f"{R} * (1 - learning_rate * data_input**2 * {S}"
                f" + learning_rate**2 * data_input**2 * target * {R})",
                "sign of the term of order h^2": f"{R} * (1 - learning_rate * data_input**2 * {S}"
                f" - learning_rate**2 * data_input**3 * a * b * {R})",
            },
        ),
        Claim(
            name="squared norm after one step",
            statement=r"s' = s\,(1 + h^2x^2r^2) - 4hxrp",
            **evidence_after(lambda a, b, data_input, target: a**2 + b**2),
            formula=square_after,
            mutants={
                "2 for 4": f"{S} * (1 + (learning_rate * data_input * {R})**2)"
                f" - 2 * learning_rate * data_input * {R} * a * b",
                "shrinks as D does": f"{S} * (1 - (learning_rate * data_input * {R})**2)"
                f" - 4 * learning_rate * data_input * {R} * a * b",
                "without the term of order h^2": f"{S} - 4 * learning_rate * data_input * {R} * a * b",
            },
        ),
        Claim(
            name="conserved by the flow",
            statement=r"\theta' = -\nabla E:\quad \tfrac{d}{dt}(a^2 - b^2) = 0",
            kind=IDENTITY,
            domain=Domain(**BOX, target=real),
            formula=lambda a, b, data_input, target: 0 * a,
            derivation=change_along_flow,
            oracle=change_by_integration,
            points=40,
            tolerance=1e-11,
            scale=lambda a, b, data_input, target: (a**2 + b**2) * (data_input**2 * (a**2 + b**2) + abs(target)),
            mutants={
                "rate of a unit step": f"-{D} * data_input**2 * {R}**2",
                "of a^2 + b^2 instead": f"-4 * data_input * a * b * {R}",
                "of a^2 alone": f"-2 * data_input * a * b * {R}",
            },
        ),
        Claim(
            name="end of the flow",
            statement=r"S = \sqrt{D^2 + 4y^2/x^2}:\quad a_\infty = \mathrm{sign}(a_0)\sqrt{\tfrac{S + D}2}"
            r"\ (D > 0),\quad a_\infty = \frac{y/x}{b_\infty},\ b_\infty = \mathrm{sign}(b_0)\sqrt{\tfrac{S - D}2}"
            r"\ (D < 0)",
            kind=IDENTITY,
            domain=Domain("a**2 != b**2", **BOX, target=real),
            formula=end_of_flow,
            oracle=end_by_rotation,
            tolerance=1e-12,
            scale=lambda a, b, data_input, target: sqrt(a**2 + b**2 + abs(target / data_input)),
            simulation=Equivalence(
                settings=(
                    {"a": 2.8, "b": 3.5, "data_input": 1.0, "target": 0.6},
                    {"a": -1.0, "b": 0.5, "data_input": 2.0, "target": 1.0},
                    {"a": 0.1, "b": -0.3, "data_input": 1.0, "target": 0.6},
                ),
                measure=end_by_integration,
                spread=lambda setting: 0.0,
                observable="first weight after the flow for time 60",
            ),
            mutants={
                "D with the wrong sign": "where(a > 0, 1, -1)"
                f" * sqrt((sqrt({D}**2 + 4 * (target / data_input)**2) - {D}) / 2)",
                "the nearest point on the diagonal": "where(a > 0, 1, -1) * sqrt(abs(target) / data_input)",
                "the weight stays": "a",
            },
        ),
        Claim(
            name="square at the end of the flow",
            statement=r"a_\infty^2 = \tfrac12 \big(\sqrt{D^2 + 4y^2/x^2} + D\big)",
            kind=IDENTITY,
            domain=Domain("a**2 != b**2", **BOX, target=real),
            formula=square_at_end,
            derivation=at_the_minimum,
            oracle=lambda **point: end_by_rotation(**point) ** 2,
            tolerance=1e-12,
            scale=lambda a, b, data_input, target: a**2 + b**2 + abs(target / data_input),
            mutants={
                "D with the wrong sign": f"(sqrt({D}**2 + 4 * (target / data_input)**2) - {D}) / 2",
                "2 y / x without the 2": f"(sqrt({D}**2 + (target / data_input)**2) + {D}) / 2",
                "y for y / x": f"(sqrt({D}**2 + 4 * target**2) + {D}) / 2",
                "the negative root": f"({D} - sqrt({D}**2 + 4 * (target / data_input)**2)) / 2",
            },
        ),
    ),
    caveats=(
        "Where h x |r| > 1 the iterate jumps across a diagonal a = b or a = -b, which no flow can do.",
        "From a start with a^2 = b^2 the flow stays on its diagonal; on the one without a minimum it ends at (0, 0).",
    ),
    figure=Figure(
        data=orbits,
        panels=(
            Panel(
                "plane",
                x_label="residual r = xab − y",
                y_label="squared norm s = a² + b² (parameter²)",
                title="From (2.8, 3.5): the flow stays on |D| = 4.41",
                decorate=mark_minima,
            ),
            Panel(
                "difference",
                x_label="step n",
                y_label="D / D at the start",
                title="D = a² − b² step by step, x = 1, y = 0.6",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

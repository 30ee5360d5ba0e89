"""At order h^2 gradient descent follows no loss at all: the second term of its field has a curl.

The first term, f_1 = -H g / 2, is a gradient for every loss. The second is not, and the product model
E = (y - x a b)^2 / 2 is the smallest loss to show it: going once round a small square in the plane of a and b against
f_2 costs work. This curl vanishes on the diagonals a = +-b and on the hyperbola of minima, and nowhere else. Which part
of f_2 has a curl on any loss, and why quadratics have none, is igr.second-order-field.
"""

from itertools import pairwise

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab import derive
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.intervals import real
from quadlab.verify import IDENTITY, Claim, Derivation, Domain, Statement, Theorem

NODES, WEIGHTS = np.polynomial.legendre.leggauss(5)
SQUARE, HALF_SIDES = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]), np.array([0.4, 0.6, 0.8, 1.0])
CIRCLE = np.exp(2j * np.pi * np.arange(16) / 16)
TARGET = 0.6


def field_of_iterates(gradient, points, order, radius):
    """f_order at points (..., P), from order + 1 steps of gradient descent: h D~ = log(1 + Delta).

    Polynomials in h, of degree 13 where the gradient is cubic and the order 2: the mean over a circle of rates picks
    the coefficient of h^(order + 1), exact up to rounding, which a radius near 1 / curvature keeps small.
    """
    rates = radius * CIRCLE.reshape(-1, *[1] * points.ndim)
    iterates = [points + 0 * rates]
    for _ in range(order + 1):
        iterates.append(iterates[-1] - rates * gradient(iterates[-1]))
    logarithm = sum((-1) ** (n - 1) / n * np.diff(iterates, n, axis=0)[0] for n in range(1, order + 2))
    return (logarithm / rates ** (order + 1)).mean(axis=0).real


def curl(field, centre, size):
    """Circulation of a plane polynomial field of degree <= 7 round ever smaller squares, per area.

    It is an even polynomial of degree 6 in the side, so four sides give its value at zero.
    """
    half = size * HALF_SIDES
    corners = centre + half[:, None, None] * SQUARE
    legs = np.diff(corners, axis=1)
    points = corners[:, :-1, None] + (1 + NODES[:, None]) / 2 * legs[:, :, None]
    circulation = np.einsum("slqp,slp,q->s", field(points), legs, WEIGHTS) / 2
    return np.linalg.solve(np.vander(HALF_SIDES**2, increasing=True), circulation / (2 * half) ** 2)[0]


def product_gradient(data_input, target):
    """Gradient of (y - x a b)^2 / 2 at points of shape (..., 2), which complex rates make complex."""

    def gradient(theta):
        residual = data_input * theta[..., :1] * theta[..., 1:] - target
        return data_input * residual * theta[..., ::-1]

    return gradient


def largest_curvature(first_weight, second_weight, data_input, target):
    """A bound on the second derivatives, on squares around the weights that have sides of 0.1 at least.

    Its cube is what rounding of f_2's curl is measured against: that is a sum of products of three such derivatives.
    """
    return data_input**2 * (first_weight**2 + second_weight**2 + 0.01) + abs(data_input * target)


def curl_of_product_model(order):
    """The oracle of the curl of f_order on the product model."""

    def oracle(first_weight, second_weight, data_input, target):
        gradient, centre = product_gradient(data_input, target), np.array([first_weight, second_weight])
        size = 0.2 * max(np.linalg.norm(centre), 0.5)
        # without an input the loss is constant, and any radius does
        radius = 0.3 / (largest_curvature(*centre, data_input, target) or 1.0)
        return curl(lambda points: field_of_iterates(gradient, points, order, radius), centre, size)

    return oracle


A, B, X, Y = sympy.symbols("first_weight second_weight data_input target", real=True)


def field_and_curl(loss, order):
    """f_order of gradient descent on a loss of a and b, by the recursion of the modified equation, and its curl."""
    field = derive.modified_equation([-loss.diff(A), -loss.diff(B)], (A, B), order)[order]
    return field, sympy.expand(field[1].diff(A) - field[0].diff(B))


def of_product_model(order):
    """The derivation of the curl of f_order on the product model, and of there being none at order 1 on any loss."""

    def derivation(formula):
        field, found = field_and_curl((Y - X * A * B) ** 2 / 2, order)
        residuals = {"curl": formula(A, B, X, Y) - found}
        if order == 1:
            residuals["curl, any loss"] = field_and_curl(derive.taylor_loss((A, B), 3), 1)[1].subs({A: 0, B: 0})
        return Derivation(((f"f_{order}", field), ("its curl", sympy.factor(found))), residuals)

    return derivation


def zero_lines(formula):
    """Where the curl vanishes, over all weights, inputs and targets."""
    lines = sympy.Or(sympy.Eq(A, B), sympy.Eq(A, -B), sympy.Eq(X * A * B, Y))
    goal = sympy.Equivalent(sympy.Eq(formula(A, B, X, Y), 0), lines)
    yield Statement("the curl vanishes on the diagonals and the minima, nowhere else", goal, (sympy.Ne(X, 0),))


def curl_of_second_term(first_weight, second_weight, data_input, target):
    """-(1/3) x^5 D s r with D = a^2 - b^2, s = a^2 + b^2, r = x a b - y; D s = a^4 - b^4."""
    residual = data_input * first_weight * second_weight - target
    return -(data_input**5) * (first_weight**4 - second_weight**4) * residual / 3


def on_a_ring(radius, angle):
    return {
        "first_weight": radius * np.cos(angle),
        "second_weight": radius * np.sin(angle),
        "data_input": 1.0,
        "target": TARGET,
    }


def zeros_on_a_ring(radius):
    """Angles at which the circulation of f_2 changes its sign, by bracketing."""
    circulation = curl_of_product_model(2)
    edges = np.linspace(0.05, 0.05 + 2 * np.pi, 61)
    values = [circulation(**on_a_ring(radius, angle)) for angle in edges]
    return [
        brentq(lambda angle: circulation(**on_a_ring(radius, angle)), *ends, xtol=1e-9)
        for ends, signs in zip(pairwise(edges), pairwise(values), strict=True)
        if signs[0] * signs[1] < 0
    ]


def plane_and_ring(rng):
    """Zero lines of the curl in the plane, markers where the circulation changes sign; then the curl on a ring."""
    rows, ends = [], np.array([-2.0, 2.0])
    branch = np.geomspace(TARGET / 2, 2, 41)
    rows += theory("plane", "a = b", ends, ends)
    rows += theory("plane", "a = -b", ends, -ends)
    rows += theory("plane", "minima, ab = y/x", branch, TARGET / branch)
    rows += theory("plane", "minima, other branch", -branch, -TARGET / branch)
    for radius in (0.7, 1.3, 1.9):
        angles = np.array(zeros_on_a_ring(radius))
        rows += computed("plane", "circulation zero", radius * np.cos(angles), radius * np.sin(angles))
    fine, coarse = np.linspace(0, 2 * np.pi, 241), np.linspace(0, 2 * np.pi, 25)
    for order, formula in ((1, no_curl), (2, curl_of_second_term)):
        exact = [curl_of_product_model(order)(**on_a_ring(1.3, angle)) for angle in coarse]
        rows += theory("ring", f"curl of f{'₁₂'[order - 1]}", fine / np.pi, formula(**on_a_ring(1.3, fine)))
        rows += computed("ring", f"curl of f{'₁₂'[order - 1]}", coarse / np.pi, exact)
    return rows


def shade_sign(axes, rows):
    """The sign of the curl as a tint."""
    a, b = np.meshgrid(np.linspace(-2, 2, 201), np.linspace(-2, 2, 201))
    sign = np.sign(curl_of_second_term(a, b, 1.0, TARGET))
    axes.contourf(a, b, sign, levels=[-2, 0, 2], colors=["#CFE4F3", "#FBE3D0"])
    for line in axes.lines:
        if line.get_label() == "circulation zero":
            line.set(color="black", marker="o")
        else:
            line.set(color="#009E73" if "minima" in line.get_label() else "0.35", linestyle="-")
    for x, y in ((-1.5, 0.0), (0.2, -1.55)):
        relation = ">" if curl_of_second_term(x, y, 1.0, TARGET) > 0 else "<"
        axes.text(x, y, f"curl {relation} 0", fontsize=9, ha="center", va="center")
    axes.text(0.85, 1.55, "a = b", fontsize=9, color="0.35", ha="center")
    axes.text(1.4, 0.62, "minima", fontsize=9, color="#00664B", ha="center")
    axes.set(xlim=(-2, 2), ylim=(-2, 2))
    axes.set_aspect("equal")


def room_for_legend(axes, rows):
    axes.set_ylim(-1, 1.6)


def no_curl(first_weight, second_weight, data_input, target):
    """The curl of f_1, which is a gradient."""
    return 0 * first_weight


WEIGHT, INPUT = real.between(-3, 3), real.between(-2, 2)
PLANE = Domain(first_weight=WEIGHT, second_weight=WEIGHT, data_input=INPUT, target=WEIGHT)
FOURTH_POWERS = "(first_weight**4 - second_weight**4)"
RESIDUAL = "(data_input * first_weight * second_weight - target)"

THEOREM = Theorem(
    id="igr.not-a-gradient",
    title="at order h^2 there is no modified loss: the field has a curl",
    source="derived here, from the second term of the modified equation; compare Miyagawa 2022",
    kind=IDENTITY,
    statement=r"E = \tfrac12 (y - xab)^2:\quad \partial_a (f_2)_b - \partial_b (f_2)_a"
    r" = -\tfrac13 x^5 (a^2 - b^2)(a^2 + b^2)(xab - y)",
    domain=PLANE,
    formula=curl_of_second_term,
    derivation=of_product_model(2),
    oracle=curl_of_product_model(2),
    scale=lambda **point: largest_curvature(**point) ** 3,
    points=100,
    mutants={
        "a modified loss exists": no_curl,
        "x^3 for x^5": f"-data_input**3 * {FOURTH_POWERS} * {RESIDUAL} / 3",
        "1/6 for 1/3": f"-data_input**5 * {FOURTH_POWERS} * {RESIDUAL} / 6",
        "5 a b - 3 kept for every input and target": f"-data_input**5 * {FOURTH_POWERS}"
        " * (5 * first_weight * second_weight - 3) / 15",
        "turned the other way": f"data_input**5 * {FOURTH_POWERS} * {RESIDUAL} / 3",
        "without a^2 + b^2": f"-data_input**5 * (first_weight**2 - second_weight**2) * {RESIDUAL} / 3",
    },
    corollaries=(
        Claim(
            name="first order",
            statement=r"\partial_a (f_1)_b - \partial_b (f_1)_a = 0",
            kind=IDENTITY,
            domain=PLANE,
            formula=no_curl,
            derivation=of_product_model(1),
            oracle=curl_of_product_model(1),
            scale=lambda **point: largest_curvature(**point) ** 2,
            points=50,
            mutants={
                "the curl of f_2": curl_of_second_term,
                "one power of H less": f"-data_input**3 * (first_weight**2 - second_weight**2) * {RESIDUAL} / 3",
            },
        ),
        Claim(
            name="zero lines",
            statement=r"x \ne 0:\quad \partial_a (f_2)_b = \partial_b (f_2)_a \iff a = \pm b \text{ or } xab = y",
            kind=IDENTITY,
            domain=PLANE,
            formula=curl_of_second_term,
            certificate=zero_lines,
            mutants={
                "zero everywhere": no_curl,
                "one diagonal only": f"-data_input**5 * (first_weight - second_weight) * {RESIDUAL} / 3",
                "residual without the input": f"-data_input**5 * {FOURTH_POWERS}"
                " * (first_weight * second_weight - target) / 3",
                "the saddle for the minima": f"-data_input**5 * {FOURTH_POWERS}"
                " * (2 * data_input * first_weight * second_weight - target) / 3",
            },
        ),
    ),
    caveats=(
        "A modified loss may still exist on an invariant manifold of the iterates, or in another metric.",
        "The curl vanishes on the minima, so close to them the effect is weak.",
        "Nothing here says that gradient descent circulates; it says that no scalar explains its field at order h^2.",
    ),
    figure=Figure(
        data=plane_and_ring,
        panels=(
            Panel(
                "plane",
                x_label="first weight a (parameter)",
                y_label="second weight b (parameter)",
                title="Sign and zeros of the curl of f₂, target 0.6",
                decorate=shade_sign,
                legend=False,
            ),
            Panel(
                "ring",
                x_label="angle / π on the ring a² + b² = 1.69",
                y_label="curl (loss³ / parameter⁶)",
                title="First and second term of the field",
                decorate=room_for_legend,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

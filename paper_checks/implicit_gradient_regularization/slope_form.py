"""The penalty of the modified loss is the squared slope of the loss surface: E~ = E + (h/4) tan^2(alpha).

The graph of the loss over the P parameters is a surface in P + 1 dimensions. Its tangent space at a point makes an
angle alpha with the parameter plane, the angle between its normal (-g, 1) and the vertical. Level ground has alpha = 0,
and the tangent of alpha is |g|, the rise per unit of length up the steepest path, whatever the number of parameters.
So among points of equal loss the modified loss prefers those where the surface is less steep. Slope is not curvature:
at a critical point the penalty vanishes, whether the minimum is sharp or flat.
"""

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab import derive
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.elementary import cos, sin, sqrt
from quadlab.theory.intervals import Interval, non_negative, positive, whole_positive
from quadlab.verify import IDENTITY, Claim, Derivation, Domain, Theorem

RATE = sympy.Symbol("learning_rate", positive=True)
TARGET, SHOWN = 0.6, np.array([0.35, 1.0, 1.25])
ACUTE = Interval(0, np.pi / 2, lower_closed=True, typical=(0.05, 1.5))


def normal_of_surface(gradient):
    """Unit normal of the graph: what the tangent vectors (e_i, d_i E) leave free, by singular values."""
    tangents = np.column_stack([np.eye(len(gradient)), gradient])
    return np.linalg.svd(tangents).Vh[-1]


def angle_of_surface(gradient):
    """Angle between the normal and the vertical; the arc tangent of sides keeps its digits where the cosine is flat."""
    normal = normal_of_surface(gradient)
    return np.arctan2(np.linalg.norm(normal[:-1]), abs(normal[-1]))


def random_gradient(gradient_norm, parameter_count):
    direction = np.random.default_rng(int(parameter_count)).standard_normal(int(parameter_count))
    return gradient_norm * direction / np.linalg.norm(direction)


def penalty_at_angle(learning_rate, angle):
    """(h/4) |g|^2 on a bowl E = |theta|^2/2 + sum theta_i^4/4, at the point of a ray where alpha is the angle."""
    direction = np.random.default_rng(3).standard_normal(4)

    def gradient(reach):
        return reach * direction + (reach * direction) ** 3

    far = 1.0
    while angle_of_surface(gradient(far)) < angle:
        far *= 2
    reach = brentq(lambda t: angle_of_surface(gradient(t)) - angle, 0, far, xtol=1e-300, rtol=1e-15)
    return learning_rate / 4 * (gradient(reach) ** 2).sum()


def geometry(count):
    """Loss gradient symbols and the cosine of the angle between normal and vertical, from the tangent vectors."""
    slopes = sympy.symbols(f"g_1:{count + 1}", real=True)
    tangents = sympy.Matrix(count, count + 1, lambda i, j: slopes[i] if j == count else int(i == j))
    (normal,) = tangents.nullspace()
    vertical = sympy.Matrix([0] * count + [1])
    return slopes, tangents, normal, normal.dot(vertical) / sympy.sqrt(normal.dot(normal))


def from_normal(residual):
    """The derivation of a formula whose residual is given by the gradient's symbols and the cosine of the angle."""

    def derivation(formula):
        _, tangents, normal, cosine = geometry(2)
        return Derivation(
            steps=(
                ("tangent vectors of the graph of E, one a row, P = 2", tangents),
                ("a normal", normal),
                ("cosine of its angle with the vertical", cosine),
            ),
            residuals={
                f"P = {count}": residual(formula, slopes, cosine)
                for count in (1, 2, 3)
                for slopes, _, _, cosine in (geometry(count),)
            },
        )

    return derivation


def penalty_minus_modified_loss(formula, slopes, cosine):
    """The formula at the angle, minus what the modified loss adds to a loss of this gradient at the origin."""
    thetas = sympy.symbols(f"theta_1:{len(slopes) + 1}", real=True)
    loss = sum(g * theta for g, theta in zip(slopes, thetas, strict=True)) + thetas[0] ** 2
    added = (derive.modified_loss(loss, thetas, RATE) - loss).subs(dict.fromkeys(thetas, 0))
    return formula(RATE, sympy.acos(cosine)) - added


def norm(slopes):
    return sympy.sqrt(sum(g**2 for g in slopes))


def tangent_minus_formula(formula, slopes, cosine):
    return formula(norm(slopes), sympy.Integer(len(slopes))) - sympy.sqrt(1 - cosine**2) / cosine


def cosine_minus_formula(formula, slopes, cosine):
    return formula(norm(slopes), sympy.Integer(len(slopes))) - cosine


def on_the_diagonal(way):
    """Loss and slope of the product model on a = b, as functions of the way sqrt(2) a along the diagonal."""
    residual = way**2 / 2 - TARGET
    return residual**2 / 2, residual * way


def section_and_slope(rng):
    """The diagonal cut with tangents and normals at three points; then tan^2 and sin^2 of the angle against |g|^2."""
    way = np.linspace(0, 2.0, 161)
    rows = theory("section", "E", way, on_the_diagonal(way)[0])
    for number, at in enumerate(SHOWN * np.sqrt(2)):
        height, slope = on_the_diagonal(at)
        normal = normal_of_surface(slope * np.ones(2) / np.sqrt(2))
        normal *= 0.3 * np.sign(normal[-1])
        sideways = normal[:2].sum() / np.sqrt(2)
        rows += theory("section", f"tangent {number + 1}", *_segment(at, height, normal[2], -sideways))
        rows += theory("section", f"normal {number + 1}", *_segment(at, height, sideways, normal[2], one_sided=True))
        rows += computed("section", "points", [at], [height])
    squared = np.geomspace(1e-2, 1e2, 81)
    markers = np.geomspace(1e-2, 1e2, 9)
    angles = np.array([angle_of_surface(np.sqrt(s / 2) * np.ones(2)) for s in markers])
    rows += theory("slope", "tan² α = |g|²", squared, squared)
    rows += computed("slope", "tan² α = |g|²", markers, np.tan(angles) ** 2)
    rows += theory("slope", "sin² α = |g|²/(1 + |g|²)", squared, squared / (1 + squared))
    return rows + computed("slope", "sin² α = |g|²/(1 + |g|²)", markers, np.sin(angles) ** 2)


def _segment(x, y, dx, dy, one_sided=False):
    ends = np.array([0.0 if one_sided else -1.0, 1.0])
    return x + dx * ends, y + dy * ends


def as_geometry(axes, rows):
    """One unit on both axes, so that right angles look right; the angle as a wedge between level ground and tangent."""
    from matplotlib.patches import Arc

    for line in axes.lines:
        if line.get_label().startswith(("tangent", "normal")):
            line.set(color="0.35", linestyle="-", linewidth=1.2)
        elif line.get_label() == "points":
            line.set(color="black", marker="o")
    for at in SHOWN * np.sqrt(2):
        height, slope = on_the_diagonal(at)
        angle = np.degrees(np.arctan(slope))
        axes.plot([at, at + 0.28], [height, height], color="0.6", linewidth=0.9, linestyle=":")
        low, high = sorted((0.0, angle))
        axes.add_patch(Arc((at, height), 0.4, 0.4, theta1=low, theta2=high, color="#D55E00", linewidth=1.4))
        axes.text(at + 0.26, height + 0.03, "α", fontsize=9, color="#D55E00")
    axes.set_aspect("equal")
    axes.set(xlim=(0, 2.1), ylim=(-0.1, 1.1))


THEOREM = Theorem(
    id="igr.slope-form",
    title="the penalty is the squared slope of the loss surface",
    source="Barrett & Dherin 2021, appendix on the geometry of the loss surface; algebra derived here",
    kind=IDENTITY,
    statement=r"\tilde E = E + \tfrac h4 \tan^2\alpha,\quad \alpha = \angle\big((-g, 1), (0, 1)\big):\quad"
    r" \tan\alpha = |g|,\quad \cos\alpha = \frac1{\sqrt{1 + |g|^2}}",
    domain=Domain(learning_rate=non_negative, angle=ACUTE),
    formula=lambda learning_rate, angle: learning_rate / 4 * (sin(angle) / cos(angle)) ** 2,
    derivation=from_normal(penalty_minus_modified_loss),
    oracle=penalty_at_angle,
    reach=1e3,
    points=100,
    mutants={
        "sine for tangent": "learning_rate / 4 * sin(angle)**2",
        "angle between the normal and the plane (cotangent)": "learning_rate / 4 * (cos(angle) / sin(angle))**2",
        "without the square": "learning_rate / 4 * sin(angle) / cos(angle)",
        "the angle itself": "learning_rate / 4 * angle**2",
        "h/2": "learning_rate / 2 * (sin(angle) / cos(angle))**2",
    },
    corollaries=(
        Claim(
            name="tangent",
            statement=r"\tan\alpha = |g|",
            kind=IDENTITY,
            domain=Domain(gradient_norm=positive, parameter_count=whole_positive.between(1, 8)),
            formula=lambda gradient_norm, parameter_count: gradient_norm,
            derivation=from_normal(tangent_minus_formula),
            oracle=lambda gradient_norm, parameter_count: np.tan(
                angle_of_surface(random_gradient(gradient_norm, parameter_count))
            ),
            reach=10,
            mutants={
                "root mean square of the derivatives": "gradient_norm / sqrt(parameter_count)",
                "squared": "gradient_norm**2",
                "the sine": "gradient_norm / sqrt(1 + gradient_norm**2)",
                "angle between the normal and the plane": "1 / gradient_norm",
            },
        ),
        Claim(
            name="cosine",
            statement=r"\cos\alpha = \frac1{\sqrt{1 + |g|^2}}",
            kind=IDENTITY,
            domain=Domain(gradient_norm=positive, parameter_count=whole_positive.between(1, 8)),
            formula=lambda gradient_norm, parameter_count: 1 / sqrt(1 + gradient_norm**2),
            derivation=from_normal(cosine_minus_formula),
            oracle=lambda gradient_norm, parameter_count: abs(
                normal_of_surface(random_gradient(gradient_norm, parameter_count))[-1]
            ),
            reach=10,
            mutants={
                "without the root": "1 / (1 + gradient_norm**2)",
                "norm not squared": "1 / sqrt(1 + gradient_norm)",
                "the sine": "gradient_norm / sqrt(1 + gradient_norm**2)",
                "one for each parameter": "1 / sqrt(parameter_count + gradient_norm**2)",
            },
        ),
    ),
    caveats=(
        "Slope is not curvature: at every critical point, sharp or flat, the penalty vanishes.",
        "Angles need a unit in which loss and parameters are lengths; in another unit alpha is another angle.",
    ),
    figure=Figure(
        data=section_and_slope,
        panels=(
            Panel(
                "section",
                x_label="way along the diagonal, √2 a (parameter)",
                y_label="loss E",
                title="Tangents, normals and the angle α",
                decorate=as_geometry,
                legend=False,
            ),
            Panel(
                "slope",
                x_label="squared gradient |g|²",
                y_label="tan² α and sin² α (dimensionless)",
                title="Angle of the surface, from its normal",
                x_scale="log",
                y_scale="log",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

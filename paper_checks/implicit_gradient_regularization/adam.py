"""Adam's first-order bias: a smoothed one-norm of the gradient.

Adam divides an average of gradients by the root of an average of their squares. Both averages lag behind the current
gradient, the first by b_1 / (1 - b_1) steps, the second by b_2 / (1 - b_2); a lagging numerator acts as a penalty on
the gradient, a lagging denominator as a reward. What they penalise or reward is the sum over coordinates of
D_i = sqrt(g_i^2 + eps), whose gradient is H (g / D). With the discretization error of a step the factor is
rho_1 - rho_2 g^2 / D^2, rho = (1 + b) / (1 - b); its sign is the subject of igr.adam-sign.
"""

from functools import cache

import numpy as np
import sympy

from quadlab.estimate import modified_vector_field
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.elementary import sqrt
from quadlab.theory.intervals import momentum_range, positive, real
from quadlab.theory.modified_loss import adam_modified_field
from quadlab.verify import ASYMPTOTIC, IDENTITY, Claim, Derivation, Domain, ErrorOrder, Theorem, Window

NAMES = ("gradient", "other_gradient", "curvature", "mixed_curvature")
GRADIENT, OTHER, CURVATURE, MIXED = POINT = sympy.symbols(NAMES, real=True)
RATE, EPSILON = sympy.symbols("learning_rate epsilon", positive=True)
FIRST, SECOND = DECAYS = sympy.symbols("first_decay second_decay", positive=True)


def velocity(gradient, other_gradient, curvature, mixed_curvature, learning_rate, first_decay, second_decay, epsilon):
    """First coordinate of Adam's field on two; the other's own curvature does not enter it to this order."""
    hessian = [[curvature, mixed_curvature], [mixed_curvature, 0 * curvature]]
    field = adam_modified_field(hessian, [gradient, other_gradient], learning_rate, first_decay, second_decay, epsilon)
    return field[0]


def without_bias(gradient, other_gradient, curvature, mixed_curvature, learning_rate, *decays, **named):
    """The leading term alone."""
    return velocity(gradient, other_gradient, curvature, mixed_curvature, 0 * learning_rate, *decays, **named)


def mean_age(decay):
    """Of what an exponential average (1 - b) sum_k b^k holds: (1 - b) sum_k k b^k, in steps."""
    x = sympy.Symbol("x")
    return sympy.factor(((1 - decay) * x * (1 / (1 - x)).diff(x)).subs(x, decay))


@cache
def first_order_of_adam():
    """The velocity at h = 0 and its derivative, from the update.

    Gradients k steps ago were g - k h H theta'; a step of the flow is h theta' + (h^2/2) theta''.
    """
    leading, other = (-g / sympy.sqrt(g**2 + EPSILON) for g in (GRADIENT, OTHER))
    change = CURVATURE * leading + MIXED * other
    first_average = GRADIENT - RATE * mean_age(FIRST) * change
    second_average = GRADIENT**2 - RATE * mean_age(SECOND) * 2 * GRADIENT * change
    step = -first_average / sympy.sqrt(second_average + EPSILON)
    # the gradient changes at the rate H theta', and with it the velocity
    acceleration = leading.diff(GRADIENT) * change
    return leading, step.diff(RATE).subs(RATE, 0) - acceleration / 2


def from_averages(formula):
    start, slope = first_order_of_adam()
    found = formula(*POINT, RATE, *DECAYS, EPSILON)
    return Derivation(
        steps=(
            ("mean age of the first average", mean_age(FIRST)),
            ("velocity at h = 0", start),
            ("its derivative in h", slope),
        ),
        residuals={
            "velocity at h = 0": sympy.simplify(found.subs(RATE, 0) - start),
            "derivative in h": sympy.together(found.diff(RATE).subs(RATE, 0) - slope),
        },
    )


def adam_path(gradient_of, start, steps, learning_rate, first_decay, second_decay, epsilon):
    """Displacements of bias-corrected Adam on two weights, eps inside the root: small, so they keep their digits."""
    moved, first, second, path = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [[0.0, 0.0]]
    first_left = second_left = 1.0
    for _ in range(steps):
        slopes = gradient_of((start[0] + moved[0], start[1] + moved[1]))
        first_left, second_left = first_left * first_decay, second_left * second_decay
        for i, slope in enumerate(slopes):
            first[i] += (1 - first_decay) * (slope - first[i])
            second[i] += (1 - second_decay) * (slope * slope - second[i])
            corrected = second[i] / (1 - second_left) + epsilon
            moved[i] -= learning_rate * first[i] / (1 - first_left) / corrected**0.5
        path.append(list(moved))
    return np.array(path)


def velocity_of_iterates(
    gradient, other_gradient, curvature, mixed_curvature, learning_rate, first_decay, second_decay, epsilon
):
    """The velocity read from Adam's own iterates as they pass the origin, once the start is forgotten.

    The loss has this gradient and Hessian at the origin, and third derivatives besides. The start is moved until the
    path goes through the origin.
    """
    settings = (learning_rate, first_decay, second_decay, epsilon)

    def gradient_of(theta):
        a, b = theta
        return (
            gradient + curvature * a + mixed_curvature * b + 0.3 * a * a - 0.2 * a * b,
            other_gradient + mixed_curvature * a + 0.7 * b - 0.1 * a * a + 0.4 * b * b,
        )

    settling = int(np.ceil(30 / -np.log(max(first_decay, second_decay, 0.1))))
    start = np.zeros(2)
    for _ in range(14):
        missed = start + adam_path(gradient_of, start, settling, *settings)[-1]
        start = start - missed
        if np.abs(missed).max() < 1e-14:
            break
    path = adam_path(gradient_of, start, settling + 3, *settings)
    return modified_vector_field(path[settling:], learning_rate)[0]


A, B = sympy.symbols("a b")
LOSS = sympy.log(sympy.cosh(A)) + sympy.cosh(B / 2) + sympy.sin(A) * B / 2 + A - B
slopes_of_loss = sympy.lambdify([(A, B)], (LOSS.diff(A), LOSS.diff(B)), "math")
hessian_of_loss = sympy.lambdify([(A, B)], sympy.hessian(LOSS, (A, B)), "numpy")
BEGIN = np.array([0.3, -0.2])


@cache
def settled(learning_rate, first_decay, second_decay, epsilon):
    """Adam's iterate on this loss after 30 / (1 - b) steps, and its velocity there."""
    settings = (learning_rate, first_decay, second_decay, epsilon)
    steps = round(30 / (1 - max(first_decay, second_decay)))
    path = adam_path(slopes_of_loss, BEGIN, steps + 3, *settings)
    return BEGIN + path[steps], modified_vector_field(path[steps:], learning_rate)


def error_of_velocity(formula, setting, learning_rate):
    """Distance of the velocity of Adam's settled iterates from a formula there."""
    decays = setting.values()
    theta, found = settled(learning_rate, *decays)
    slopes, hessian = slopes_of_loss(theta), hessian_of_loss(theta)
    predicted = [
        formula(slopes[i], slopes[1 - i], hessian[i, i], hessian[0, 1], learning_rate, *decays) for i in range(2)
    ]
    return np.linalg.norm(predicted - found)


SETTINGS = tuple(
    {"first_decay": first, "second_decay": second, "epsilon": epsilon}
    for first, second, epsilon in ((0.9, 0.95, 1e-2), (0.5, 0.8, 1e-6), (0.8, 0.5, 1e-2))
)


def one_norm_slope(gradient, other_gradient, curvature, mixed_curvature, epsilon):
    """First coordinate of H (g / D)."""
    return curvature * gradient / sqrt(gradient**2 + epsilon) + mixed_curvature * other_gradient / sqrt(
        other_gradient**2 + epsilon
    )


def one_norm_derivative(gradient, other_gradient, curvature, mixed_curvature, epsilon, step=1e-30):
    """Derivative of sum_i sqrt(g_i^2 + eps) along the first weight, by a complex step."""
    moved = [gradient + 1j * step * curvature, other_gradient + 1j * step * mixed_curvature]
    return float(sum(np.sqrt(g**2 + epsilon) for g in moved).imag / step)


def from_one_norm(formula):
    a = sympy.Symbol("a", real=True)
    norm = sympy.sqrt((GRADIENT + CURVATURE * a) ** 2 + EPSILON) + sympy.sqrt((OTHER + MIXED * a) ** 2 + EPSILON)
    slope = norm.diff(a).subs(a, 0)
    return Derivation((("smoothed one-norm", norm),), {"derivative": formula(*POINT, EPSILON) - slope})


def errors_of_velocity(rng):
    rows, rates = [], np.geomspace(1e-5, 1e-4, 9)
    for name, formula, order in (("with B: slope 2", velocity, 2), ("without B: slope 1", without_bias, 1)):
        errors = np.array([error_of_velocity(formula, SETTINGS[0], h) for h in rates])
        rows += theory("error", name, rates, errors[0] * (rates / rates[0]) ** order)
        rows += computed("error", name, rates, errors)
    return rows


def variant(factor, steepness="sqrt({}**2 + epsilon)"):
    """Text of the field with another factor or another D."""
    own, other = steepness.format("gradient"), steepness.format("other_gradient")
    norm = f"(curvature * gradient / ({own}) + mixed_curvature * other_gradient / ({other}))"
    return f"-(gradient + learning_rate / 2 * ({factor}) * {norm}) / ({own})"


RHO_1, RHO_2 = "(1 + first_decay) / (1 - first_decay)", "(1 + second_decay) / (1 - second_decay)"
LAG_1, LAG_2 = "first_decay / (1 - first_decay)", "second_decay / (1 - second_decay)"
SHARE = "epsilon / (gradient**2 + epsilon)"
RIGHT = f"{RHO_1} - {RHO_2} + {RHO_2} * {SHARE}"
AWAY, LINE, DECAY = real.between(0.5, 2), real.between(-1, 1), momentum_range.between(0, 0.8)
WEIGHTS = {"gradient": AWAY, "other_gradient": AWAY, "curvature": LINE, "mixed_curvature": LINE}
SMALL = Window("learning_rate", 3e-5, 3e-4, order=2)

THEOREM = Theorem(
    id="igr.adam",
    title="Adam's first-order bias, a smoothed one-norm of the gradient",
    source="Cattaneo, Klusowski & Shigida 2024; derived here from the update",
    kind=ASYMPTOTIC,
    statement=r"\dot\theta_j = -\frac{g_j + B_j}{D_j} + O(h^2),\quad D_j = \sqrt{g_j^2 + \epsilon},\quad"
    r" B_j = \frac h2\Big(\rho_1 - \rho_2 + \frac{\rho_2\,\epsilon}{g_j^2 + \epsilon}\Big)"
    r" \partial_j \sum_i D_i,\quad \rho_i = \frac{1 + b_i}{1 - b_i}",
    domain=Domain(
        **WEIGHTS,
        learning_rate=positive.between(3e-5, 3e-4),
        first_decay=DECAY,
        second_decay=DECAY,
        epsilon=positive.between(0.1, 1),
    ),
    window=SMALL,
    formula=velocity,
    derivation=from_averages,
    oracle=velocity_of_iterates,
    points=63,
    simulation=ErrorOrder(
        settings=SETTINGS,
        error=error_of_velocity,
        steps=tuple(np.geomspace(1e-5, 1e-4, 9)),
        order=lambda formula, setting: 2,
        observable="order of the error in the velocity of settled iterates",
    ),
    mutants={
        "eps outside the root": variant(RIGHT, "abs({}) + epsilon"),
        "root of eps outside the root": variant(RIGHT, "abs({}) + sqrt(epsilon)"),
        "rho_1 and rho_2 exchanged in sign": variant(f"{RHO_2} - {RHO_1} + {RHO_2} * {SHARE}"),
        "eps term missing": variant(f"{RHO_1} - {RHO_2}"),
        "b / (1 - b) for rho": variant(f"{LAG_1} - {LAG_2} + {LAG_2} * {SHARE}"),
        "no Euler term, memory alone": variant(f"2 * ({LAG_1} - {LAG_2} + {LAG_2} * {SHARE})"),
        "h for h/2": variant(f"2 * ({RIGHT})"),
        "no bias at all": without_bias,
    },
    corollaries=(
        Claim(
            name="one-norm",
            statement=r"H\,\tfrac gD = \nabla \sum_i \sqrt{g_i^2 + \epsilon}",
            kind=IDENTITY,
            domain=Domain(**{**WEIGHTS, "gradient": real, "other_gradient": real}, epsilon=positive.between(0.01, 10)),
            formula=one_norm_slope,
            derivation=from_one_norm,
            oracle=one_norm_derivative,
            scale=lambda curvature, mixed_curvature, **rest: abs(curvature) + abs(mixed_curvature),
            mutants={
                "gradient of the squared norm": "2 * (curvature * gradient + mixed_curvature * other_gradient)",
                "signs of the gradient, eps ignored": "curvature * gradient / abs(gradient)"
                " + mixed_curvature * other_gradient / abs(other_gradient)",
                "own coordinate alone": "curvature * gradient / sqrt(gradient**2 + epsilon)",
            },
        ),
    ),
    caveats=(
        "It needs h rho_2 |H| / D << 1: with b_2 = 0.999 that is 2000 h, and at h = 1e-3 the expansion is meaningless.",
        "The averages must have settled, and no gradient may change its sign on the scale sqrt(eps).",
        "eps stands inside the root; outside it, another formula holds, and eps^2 for eps is not a translation.",
    ),
    figure=Figure(
        data=errors_of_velocity,
        panels=(
            Panel(
                "error",
                x_label="learning rate h (weight)",
                y_label="error of the velocity (dimensionless)",
                title="Velocity of Adam, b₁ = 0.9, b₂ = 0.95, ε = 0.01",
                x_scale="log",
                y_scale="log",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

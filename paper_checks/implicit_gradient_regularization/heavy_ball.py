"""Heavy ball follows gradient descent's modified loss at step h / (1 - b), with (1 + b) / (1 - b) times its penalty.

A velocity remembers old gradients. Once it has settled, the iterates lie on a flow of speed 1 / (1 - b), and matching
powers of h in theta(t + h) - theta(t) + h grad L = b (theta(t) - theta(t - h)) gives the loss that this flow descends:
L + h (1 + b) / (4 (1 - b)^2) |grad L|^2. Part of the penalty is memory, which one step already has; the rest is the
discretization error of gradient descent with the effective step h / (1 - b). A start at rest is not on such a flow: the
velocity has to build up first, and the flow that the iterates join starts uphill of them.
"""

from functools import cache, partial

import mpmath
import numpy as np
import sympy

from quadlab import derive
from quadlab.estimate import modified_vector_field
from quadlab.problems import ProductModel
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import HeavyBall, descend, flow
from quadlab.theory.intervals import momentum_range, positive
from quadlab.verify import ASYMPTOTIC, Claim, Derivation, Domain, ErrorOrder, Theorem, Window

RATE, MOMENTUM, GRADIENT = sympy.symbols("learning_rate momentum gradient", positive=True)
MODEL, START = ProductModel(), np.array([1.6, 1.9])
STEPS = tuple(0.1 / n for n in (16, 20, 25, 32, 40, 50, 64, 80, 100))
MOMENTS = np.array([0.1, 0.2, 0.3])


def penalty(learning_rate, momentum):
    """Weight of |grad L|^2 in the loss that heavy ball descends."""
    return learning_rate * (1 + momentum) / (4 * (1 - momentum) ** 2)


def memory(learning_rate, momentum):
    """The part of the penalty that a single step feels."""
    return learning_rate * momentum / (2 * (1 - momentum) ** 2)


def start_shift(gradient, learning_rate, momentum):
    """Where the flow starts, seen from a start at rest."""
    return learning_rate * momentum / (1 - momentum) ** 2 * gradient


@cache
def any_loss():
    """At the origin of any loss: its gradient, the slope of |grad L|^2, and orders 0 and 1 of theta'' and of theta'."""
    parameters = sympy.symbols("x y")
    loss = derive.taylor_loss(parameters, 2)
    gradient = sympy.Matrix([loss.diff(p) for p in parameters])
    slope = sympy.Matrix([gradient.dot(gradient).diff(p) for p in parameters])
    acceleration = gradient.jacobian(parameters) * gradient / (1 - MOMENTUM) ** 2
    _, first = derive.modified_equation(-gradient, parameters, 1, momentum=MOMENTUM)
    return tuple(column.subs(dict.fromkeys(parameters, 0)) for column in (gradient, slope, acceleration, first))


def leading(formula):
    """The candidate weight over h, as h vanishes."""
    return sympy.limit(formula(RATE, MOMENTUM) / RATE, RATE, 0)


def from_update_and_series(formula):
    """theta(t + h) - theta + h grad L = b (theta - theta(t - h)) along the flow; and the general modified equation."""
    gradient, slope, acceleration, first = any_loss()
    change = -leading(formula) * slope / (1 - MOMENTUM)
    velocity = -gradient / (1 - MOMENTUM) + RATE * change
    ahead, back = (sign * RATE * velocity + RATE**2 / 2 * acceleration for sign in (1, -1))
    defect = ahead + RATE * gradient + MOMENTUM * back
    residuals = {}
    for i in range(2):
        residuals[f"h^2 of the step equation, coordinate {i}"] = sympy.expand(defect[i]).coeff(RATE, 2)
        residuals[f"modified equation, coordinate {i}"] = change[i] - first[i]
    steps = (
        ("h^2 of theta(t + h) - theta(t), before the penalty", sympy.factor(acceleration[0] / 2)),
        ("h of the modified equation, first coordinate", sympy.factor(first[0])),
    )
    return Derivation(steps, residuals)


def from_effective_step(formula):
    """The same for a formula of the effective step h / (1 - b)."""
    return from_update_and_series(lambda learning_rate, momentum: formula(learning_rate / (1 - momentum), momentum))


def from_one_step(formula):
    """A step along the flow that heavy ball settles on, against one down L + formula |grad L|^2."""
    _, slope, acceleration, first = any_loss()
    gap = first + acceleration / 2 + leading(formula) * slope / (1 - MOMENTUM)
    discretization = RATE / (1 - MOMENTUM) / 4
    residuals = {f"h^2 of one step, coordinate {i}": gap[i] for i in range(2)}
    residuals["memory and h_e/4 make the whole"] = formula(RATE, MOMENTUM) + discretization - penalty(RATE, MOMENTUM)
    return Derivation((("discretization at the effective step", discretization),), residuals)


def from_modes(formula):
    """From rest the slow mode of a quadratic carries more than the start: theta_n ~ A mu^n with A > 1."""
    slow = sympy.Symbol("multiplier", positive=True)
    # both roots of mu^2 - (1 + b - h l) mu + b
    fast, z = MOMENTUM / slow, (1 - slow) * (slow - MOMENTUM) / slow
    # theta_0 = A + B = 1 and theta_{-1} = A / slow + B / fast = 1
    share = (1 / fast - 1) / (1 / fast - 1 / slow)
    limit = sympy.limit(sympy.cancel((share - 1) / z), slow, 1)
    found = sympy.limit(formula(GRADIENT, RATE, MOMENTUM) / (RATE * GRADIENT), RATE, 0)
    steps = (("share of the slow mode", sympy.factor(share)), ("(A - 1) / (h l) as h vanishes", limit))
    return Derivation(steps, {"shift / (h gradient)": found - limit})


def penalty_of_velocity(learning_rate, momentum, differences=4, steps=120):
    """The weight of |grad L|^2 in the velocity of settled iterates, from differences; 1 is that of a single step.

    L = cosh(theta), from theta = 1 at rest, in 30 digits: the penalty is of order h in a difference quotient.
    """
    with mpmath.workdps(30):
        h, b = mpmath.mpf(float(learning_rate)), mpmath.mpf(float(momentum))
        path = [mpmath.mpf(1), mpmath.mpf(1)]
        for _ in range(steps + differences):
            path.append(path[-1] - h * mpmath.sinh(path[-1]) + b * (path[-1] - path[-2]))
        origin, *_ = settled = path[-differences - 1 :]
        moved = [[float(theta - origin)] for theta in settled]
    velocity = modified_vector_field(moved, learning_rate)[0]
    gradient, hessian = np.sinh(float(origin)), np.cosh(float(origin))
    return (-(1 - momentum) * velocity - gradient) / (2 * hessian * gradient)


def start_of_flow(gradient, learning_rate, momentum, steps=100):
    """How far from the start the flow must begin: heavy ball from rest, and from where it is the flow run backwards.

    L' is sinh, placed so that it takes this value at the start.
    """
    origin = now = before = np.arcsinh(gradient)
    for _ in range(steps):
        now, before = now - learning_rate * np.sinh(now) + momentum * (now - before), now
    weight = penalty(learning_rate, momentum)
    back = flow(
        lambda theta: np.sinh(theta) * (1 + 2 * weight * np.cosh(theta)) / (1 - momentum), [now], steps * learning_rate
    )
    return float(back[0] - origin)


@cache
def penalised_field():
    """(theta, weight) -> -grad(L + weight |grad L|^2) of the product model."""
    a, b = parameters = sympy.symbols("a b")
    loss = (a * b - MODEL.target) ** 2 / 2
    squared = sum(loss.diff(p) ** 2 for p in parameters)
    return derive.numeric_field([[-part.diff(p) for p in parameters] for part in (loss, squared)], parameters)


@cache
def heavy_ball_path(momentum, learning_rate, at_rest):
    """Heavy ball on the product model at the moments, from rest or with its previous iterate on the modified flow."""
    field, weight = penalised_field(), penalty(learning_rate, momentum)
    before = flow(lambda theta: -field(theta, weight), START, learning_rate / (1 - momentum))
    steps = round(MOMENTS[-1] / learning_rate)
    path = descend(MODEL, HeavyBall(learning_rate, momentum), START, steps, previous=START if at_rest else before)
    return path[np.round(MOMENTS / learning_rate).astype(int)]


def distance(learning_rate, momentum, weight, shift=None):
    """Largest distance from the flow of the penalised loss; with a shift, from rest and a start moved uphill by it."""
    field, path = penalised_field(), heavy_ball_path(momentum, learning_rate, shift is not None)
    start = START + (0 if shift is None else shift)
    along = flow(lambda theta: field(theta, weight), start, MOMENTS / (1 - momentum))
    return np.linalg.norm(path - along, axis=1).max()


def distance_settled(formula, setting, learning_rate):
    return distance(learning_rate, **setting, weight=formula(learning_rate, **setting))


def distance_from_rest(formula, setting, learning_rate):
    shift = [formula(gradient, learning_rate, **setting) for gradient in MODEL.gradient(START)]
    return distance(learning_rate, **setting, weight=penalty(learning_rate, **setting), shift=shift)


def parts_and_distances(rng):
    """The two parts of the penalty against momentum, and distances from flows against the learning rate."""
    rows, fine, few, rate = [], np.linspace(0.02, 0.8, 79), np.linspace(0.08, 0.8, 10), 1e-6
    whole, one_step = (np.array([penalty_of_velocity(rate, b, differences=n) for b in few]) * 4 / rate for n in (4, 1))
    for name, line, found in (
        ("whole", penalty(4, fine), whole),
        ("memory", memory(4, fine), one_step),
        ("discretization", 1 / (1 - fine), whole - one_step),
    ):
        rows += theory("parts", name, fine, line) + computed("parts", name, few, found)
    rates, setting = np.array(STEPS), {"momentum": 0.5}
    for name, order, error, formula in (
        ("L", 1, distance_settled, lambda h, momentum: 0.0),
        ("L + penalty", 2, distance_settled, penalty),
        ("from rest", 1, distance_from_rest, lambda gradient, h, momentum: 0.0),
        ("from rest, start shifted", 2, distance_from_rest, start_shift),
    ):
        errors = [error(formula, setting, h) for h in STEPS]
        rows += theory("distances", f"{name}: slope {order}", rates, errors[-1] * (rates / rates[-1]) ** order)
        rows += computed("distances", f"{name}: slope {order}", rates, errors)
    return rows


def few_ticks(axes, rows):
    axes.set_xticks([0.001, 0.002, 0.004, 0.006], ["0.001", "0.002", "0.004", "0.006"])
    axes.minorticks_off()
    axes.set_ylim(4e-6, 0.1)


SMALL, ORDER_ONE = positive.between(1e-5, 1e-4), positive.between(0.3, 2)
SETTLING, MEMORY = momentum_range.between(0, 0.7), momentum_range.between(0.1, 0.7)
RATES = Window("learning_rate", 1e-5, 1e-4, order=1)
on_product_model = partial(
    ErrorOrder,
    settings=({"momentum": 0.5}, {"momentum": 0.25}),
    steps=STEPS,
    order=lambda formula, setting: 2,
    observable="order of the distance from the flow at fixed times, product model",
)

THEOREM = Theorem(
    id="igr.heavy-ball",
    title="heavy ball's modified loss: its effective step's, with (1 + b) / (1 - b) times the penalty",
    source="Ghosh et al. 2023 for the penalty; Cattaneo & Shigida for the memory; constants derived here",
    kind=ASYMPTOTIC,
    statement=r"\theta_{n+1} = \theta_n - h \nabla L + b(\theta_n - \theta_{n-1}):\quad"
    r" \dot\theta = -\tfrac{1}{1-b}\,\nabla\Big[L + \tfrac{h(1+b)}{4(1-b)^2}|\nabla L|^2\Big] + O(h^2)",
    domain=Domain(learning_rate=SMALL, momentum=SETTLING),
    window=RATES,
    formula=penalty,
    derivation=from_update_and_series,
    oracle=penalty_of_velocity,
    points=45,
    simulation=on_product_model(error=distance_settled),
    mutants={
        "wrong power, h/(4(1-b)) times 1 + b": "learning_rate * (1 + momentum) / (4 * (1 - momentum))",
        "effective step alone, 1/(1-b)": "learning_rate / (4 * (1 - momentum))",
        "1 + b alone": "learning_rate * (1 + momentum) / 4",
        "memory alone, right for one step": memory,
        "gradient descent's h/4": "learning_rate / 4 + 0 * momentum",
        "factor squared": "learning_rate * (1 + momentum)**2 / (4 * (1 - momentum)**2)",
    },
    corollaries=(
        Claim(
            name="effective step",
            statement=r"h_e = \tfrac{h}{1-b}:\quad \text{penalty } \tfrac{h_e}{4}\,\tfrac{1+b}{1-b}",
            kind=ASYMPTOTIC,
            domain=Domain(effective_rate=SMALL, momentum=SETTLING),
            window=Window("effective_rate", 2e-5, 2e-4, order=1),
            formula=lambda effective_rate, momentum: effective_rate / 4 * (1 + momentum) / (1 - momentum),
            derivation=from_effective_step,
            oracle=lambda effective_rate, momentum: penalty_of_velocity(effective_rate * (1 - momentum), momentum),
            points=27,
            mutants={
                "gradient descent's with the effective step": "effective_rate / 4 + 0 * momentum",
                "1 + b alone": "effective_rate / 4 * (1 + momentum)",
                "factor squared": "effective_rate / 4 * ((1 + momentum) / (1 - momentum))**2",
            },
        ),
        Claim(
            name="memory",
            statement=r"\theta_{n+1} - \theta_n = -h_e \nabla\Big[L + \tfrac{hb}{2(1-b)^2}|\nabla L|^2\Big] + O(h^3),"
            r"\quad \tfrac{hb}{2(1-b)^2} + \tfrac{h_e}{4} = \tfrac{h(1+b)}{4(1-b)^2}",
            kind=ASYMPTOTIC,
            domain=Domain(learning_rate=SMALL, momentum=MEMORY),
            window=RATES,
            formula=memory,
            derivation=from_one_step,
            oracle=partial(penalty_of_velocity, differences=1),
            points=27,
            mutants={
                "the whole penalty": penalty,
                "half of it": "learning_rate * momentum / (4 * (1 - momentum)**2)",
                "one power of 1 - b": "learning_rate * momentum / (2 * (1 - momentum))",
            },
        ),
        Claim(
            name="start from rest",
            statement=r"\theta_{-1} = \theta_0:\quad \text{the flow starts at }"
            r" \theta_0 + \tfrac{hb}{(1-b)^2}\nabla L(\theta_0)",
            kind=ASYMPTOTIC,
            domain=Domain(gradient=ORDER_ONE, learning_rate=SMALL, momentum=MEMORY),
            window=RATES,
            formula=start_shift,
            derivation=from_modes,
            oracle=start_of_flow,
            points=27,
            simulation=on_product_model(error=distance_from_rest),
            mutants={
                "no shift": "0 * gradient * learning_rate * momentum",
                "opposite side": "-learning_rate * momentum / (1 - momentum)**2 * gradient",
                "one power of 1 - b": "learning_rate * momentum / (1 - momentum) * gradient",
                "one lost step": "learning_rate / (1 - momentum) * gradient",
            },
        ),
    ),
    caveats=(
        "The flow is followed once the velocity has settled; from rest it has to start shifted uphill.",
        "Only the first order in h is stated; on quadratics the whole series is known, see igr.heavy-ball-series.",
    ),
    figure=Figure(
        data=parts_and_distances,
        panels=(
            Panel(
                "parts",
                x_label="momentum b (dimensionless)",
                y_label="penalty / gradient descent's h/4",
                title="Memory and discretization",
                y_scale="log",
            ),
            Panel(
                "distances",
                x_label="learning rate h (parameter² / loss)",
                y_label="distance from flow (parameter)",
                title="Product model, b = 0.5",
                x_scale="log",
                y_scale="log",
                decorate=few_ticks,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""No learning rate changes where a quadratic ends: gradient descent and every modified flow reach the same minimum.

The gradient and all fields that the modified equation makes of it lie in the range of the Hessian, H phi(h H) theta: a
mode of eigenvalue zero keeps its value, the others decay. So from theta_0 the end is the minimum nearest to theta_0,
its distance from the minimum of least norm is |P theta_0| with P the projection onto the kernel, and the learning rate
only sets the pace. Reaching flatter minima (igr.prediction-flatness) lives on third derivatives.
"""

import numpy as np
import sympy
from scipy.linalg import expm

from quadlab.problems import Quadratic
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import GradientDescent, descend
from quadlab.theory.intervals import Interval, positive, real
from quadlab.theory.modified_loss import modified_eigenvalue
from quadlab.verify import IDENTITY, Claim, Derivation, Directions, Domain, Theorem


def degenerate(eigenvalues, initial_state, flat_component):
    """In a random basis: a Hessian with one zero eigenvalue, a start, and the unit vector of the kernel."""
    size = len(eigenvalues) + 1
    basis = np.linalg.qr(np.random.default_rng(size).standard_normal((size, size))).Q
    return basis * np.append(eigenvalues, 0) @ basis.T, basis @ np.append(initial_state, flat_component), basis[:, -1]


def end_of_descent(eigenvalues, initial_state, flat_component, learning_rate):
    """By a power of the matrix of one step."""
    hessian, start, _ = degenerate(eigenvalues, initial_state, flat_component)
    return np.linalg.matrix_power(np.eye(len(start)) - learning_rate * hessian, 4096) @ start


def distance_after_descent(**point):
    return np.linalg.norm(end_of_descent(**point))


def kernel_part_after_descent(eigenvalues, **others):
    *_, kernel = degenerate(eigenvalues, 0 * eigenvalues, 0)
    return kernel @ end_of_descent(eigenvalues, **others)


def distance_after_flow(eigenvalues, initial_state, flat_component, learning_rate, order):
    """Of the end of the modified flow of an order, by the exponential of its matrix."""
    hessian, start, _ = degenerate(eigenvalues, initial_state, flat_component)
    power, field = hessian, 0
    for k in range(int(order) + 1):
        field, power = field + power / (k + 1), learning_rate * power @ hessian
    return np.linalg.norm(expm(-200 * field) @ start)


def distance_by_modes(eigenvalues, initial_state, flat_component, learning_rate, order=None, time=200):
    """Each mode decays at its modified eigenvalue; that of the eigenvalue 0 is 0."""
    decay = np.exp(-time * modified_eigenvalue(np.append(eigenvalues, 0), learning_rate, order))
    return np.linalg.norm(decay * np.append(initial_state, flat_component))


def one_step_on_two_weights(formula):
    """A step on E = (v . theta)^2 / 2 in general position leaves the part across v unchanged."""
    v, theta = (sympy.Matrix(sympy.symbols(f"{name}_1:3", positive=True)) for name in ("v", "theta"))
    rate = sympy.Symbol("learning_rate", positive=True)
    after = theta - rate * v * (v.T * theta)
    across = sympy.Matrix([-v[1], v[0]]) / sympy.sqrt(v.dot(v))
    kept = formula([v.dot(v)], [v.dot(theta) / sympy.sqrt(v.dot(v))], theta.dot(across), rate)
    return Derivation((("after a step", after),), {"part across v": kept - after.dot(across)})


EXAMPLE = {"eigenvalues": np.array([1.0, 0.2]), "initial_state": np.array([2.0, 1.0]), "flat_component": 0.5}


def along_the_way(rng):
    """Distance from the minimum of least norm after n steps."""
    hessian, start, _ = degenerate(**EXAMPLE)
    rows, fine, shown = [], np.geomspace(1, 300, 80), np.unique(np.geomspace(1, 300, 14).round().astype(int))
    for rate in (0.1, 0.3, 0.95):
        path = descend(Quadratic(hessian), GradientDescent(rate), start, shown[-1])[shown]
        line = [distance_by_modes(**EXAMPLE, learning_rate=rate, time=n * rate) for n in fine]
        rows += theory("way", f"h = {rate:g}", fine, line)
        rows += computed("way", f"h = {rate:g}", shown, np.linalg.norm(path, axis=1))
    return rows


def kernel_part(axes, rows):
    axes.axhline(EXAMPLE["flat_component"], color="black", linewidth=1, linestyle=":")
    axes.set_ylim(0, None)


MODEL = {"eigenvalues": Directions(positive.between(0.3, 1)), "initial_state": Directions(real)}
RATE, ONE_RATE = positive.between(0.05, 0.95), "learning_rate * eigenvalues < 1"
ORDER = Interval(0, np.inf, lower_closed=True, whole=True, typical=(0, 5))
NEARER = "flat_component * (1 - learning_rate / 10)"

THEOREM = Theorem(
    id="igr.quadratic-minima",
    title="on a quadratic every learning rate, and the modified flow of every order, ends at the same minimum",
    source="derived here, as a limit of Barrett & Dherin 2021, Prediction 2.2",
    kind=IDENTITY,
    statement=r"E = \tfrac12\theta^T H\theta,\ 0 < h < 1/\lambda_{\max}(H):\quad \theta_n \to P_{\ker H}\,\theta_0,"
    r"\text{ at the distance } |P_{\ker H}\,\theta_0| \text{ from the minimum of least norm, for every } h",
    domain=Domain(ONE_RATE, **MODEL, flat_component=positive, learning_rate=RATE),
    formula=lambda eigenvalues, initial_state, flat_component, learning_rate: flat_component,
    derivation=one_step_on_two_weights,
    oracle=distance_after_descent,
    reach=1,
    points=60,
    mutants={
        "larger rates end nearer": NEARER,
        "the start's distance": "sqrt(flat_component**2 + sum(initial_state**2))",
        "the minimum of least norm itself": "0 * flat_component",
    },
    corollaries=(
        Claim(
            name="part in the kernel",
            statement=r"v \in \ker H:\quad v^T\theta_n = v^T\theta_0, \text{ with its sign}",
            kind=IDENTITY,
            domain=Domain(ONE_RATE, **MODEL, flat_component=real, learning_rate=RATE),
            formula=lambda eigenvalues, initial_state, flat_component, learning_rate: flat_component,
            oracle=kernel_part_after_descent,
            reach=10,
            points=60,
            mutants={"larger rates end nearer": NEARER, "on one side": "abs(flat_component)"},
        ),
        Claim(
            name="modified flows",
            statement=r"\text{the same distance for the flow of every order } N",
            kind=IDENTITY,
            domain=Domain(ONE_RATE, **MODEL, flat_component=positive, learning_rate=RATE, order=ORDER),
            formula=lambda order, **point: distance_by_modes(order=int(order), **point),
            oracle=distance_after_flow,
            reach=1,
            points=60,
            mutants={
                "larger rates end nearer": NEARER,
                "higher orders end nearer": "flat_component / (1 + order * learning_rate)",
            },
        ),
    ),
    caveats=(
        "The end is the same, the route is not: at equal loss the shares of the modes differ (igr.prediction-ratio).",
        "Least squares alone: any third derivative lets the learning rate choose (igr.prediction-flatness).",
    ),
    figure=Figure(
        data=along_the_way,
        panels=(
            Panel(
                "way",
                x_label="steps n",
                y_label="distance from the minimum of least norm",
                title="l = (1, 0.2, 0), start (2, 1, 0.5): all end at 0.5",
                x_scale="log",
                decorate=kernel_part,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

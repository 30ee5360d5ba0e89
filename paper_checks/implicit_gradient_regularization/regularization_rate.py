"""The rate of implicit gradient regularization grows with the number of parameters, its regularizer falls: P cancels.

Gradient descent adds h f_1 = -(h/2) H g to the field of gradient flow. That is minus the gradient of (h/4) |g|^2, which
Barrett and Dherin write as a rate lambda = h P / 4 times the mean squared gradient R = |g|^2 / P. The split is a
convention: only the product acts, and the product does not contain P. Its gradient turns g into (I + (h/2) H) g, so a
steep direction of large curvature counts for more. What follows is exact algebra at order h; how closely gradient
descent obeys it is igr.modified-loss.
"""

from itertools import pairwise

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab import derive
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.intervals import non_negative, positive, real, whole_positive
from quadlab.theory.modified_loss import regularization_rate
from quadlab.verify import IDENTITY, Claim, Derivation, Domain, Theorem

RATE, COUNT = sympy.Symbol("learning_rate", positive=True), sympy.Symbol("parameter_count", positive=True, integer=True)
TINY = 1e-30  # step of a complex-step derivative, which subtracts nothing and so may be as small as it likes
NODES, WEIGHTS = np.polynomial.legendre.leggauss(4)
SECTION = {"target": 0.6, "rates": (0.025, 0.1, 0.3)}


def random_loss(parameter_count):
    """Gradient of a convex quartic in P parameters with minimum 0: E = sum_k u_k^2/2 + ..., u_k = v_k . theta."""
    rng = np.random.default_rng(int(parameter_count))
    directions = rng.standard_normal((int(parameter_count) + 1, int(parameter_count))) / np.sqrt(parameter_count)
    cubic, quartic = rng.uniform(-1, 1, len(directions)), rng.uniform(1, 2, len(directions))

    def gradient(theta):
        u = directions @ theta
        return directions.T @ (u + cubic * u**2 / 2 + quartic * u**3 / 6)

    return gradient


def added_field(gradient, theta):
    """f_1 from two steps: log(1 + Delta) has -Delta^2 / 2, and Delta^2 theta = -h (g(theta - h g) - g(theta))."""
    return gradient(theta - 1j * TINY * gradient(theta)).imag / (2 * TINY)


def derivatives(function, theta):
    """Gradient of a scalar function, by complex steps."""
    return np.array([function(theta + 1j * TINY * unit).imag / TINY for unit in np.eye(len(theta))])


def work(gradient, corners):
    """Minus the integral of f_1 along straight legs between corners: exact for a polynomial of degree 7."""
    total = 0.0
    for start, end in pairwise(corners):
        points = start + np.multiply.outer((1 + NODES) / 2, end - start)
        total -= sum(w / 2 * (added_field(gradient, p) @ (end - start)) for w, p in zip(WEIGHTS, points, strict=True))
    return total


def rate_of_iterates(learning_rate, parameter_count):
    """The factor between what gradient descent adds and minus the gradient of R = |g|^2 / P, on a random loss."""
    gradient = random_loss(parameter_count)
    theta = np.random.default_rng(0).standard_normal(int(parameter_count))
    slope = derivatives(lambda at: (gradient(at) ** 2).sum() / parameter_count, theta)
    return -learning_rate * (added_field(gradient, theta) @ slope) / (slope @ slope)


def penalty_of_iterates(learning_rate, parameter_count, squared_gradient):
    """The work against what gradient descent adds, on a bent path from the minimum to a point of given |g|^2."""
    gradient = random_loss(parameter_count)
    direction, detour = np.random.default_rng(1).standard_normal((2, int(parameter_count)))
    reach = 1.0
    while (gradient(reach * direction) ** 2).sum() < squared_gradient:
        reach *= 2
    length = brentq(
        lambda t: (gradient(t * direction) ** 2).sum() - squared_gradient, 0, reach, xtol=1e-300, rtol=1e-15
    )
    end = length * direction
    return learning_rate * work(gradient, [0 * end, length * detour, end])


def modified_component(eigenvalue, gradient, learning_rate):
    """Derivative of E + (h/4) |g|^2 along an eigenvector of H, on a random quartic in three parameters."""
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.standard_normal((3, 3))).Q
    hessian = (basis * [eigenvalue, *rng.standard_normal(2)]) @ basis.T
    start = basis @ [gradient, *rng.standard_normal(2)]
    directions, cubic, quartic = rng.standard_normal((4, 3)), *rng.standard_normal((2, 4))

    def modified(theta):
        u = directions @ theta
        loss = start @ theta + theta @ hessian @ theta / 2 + (cubic * u**3 / 6 + quartic * u**4 / 24).sum()
        slope = start + hessian @ theta + directions.T @ (cubic * u**2 / 2 + quartic * u**3 / 6)
        return loss + learning_rate / 4 * (slope @ slope)

    return modified(1j * TINY * basis[:, 0]).imag / TINY


def any_loss(count):
    """Parameters, a loss of which nothing is known, and f_1 of gradient descent on it, by the recursion."""
    thetas = sympy.symbols(f"theta_1:{count + 1}", real=True)
    loss = derive.taylor_loss(thetas, 3)
    return thetas, loss, derive.modified_equation([-loss.diff(theta) for theta in thetas], thetas, 1)[1]


def from_update_rule(formula):
    """h f_1 must be minus the rate times the gradient of R, for one, two and three parameters."""
    residuals, steps = {}, [("R", "sum of squared derivatives / P")]
    for count in (1, 2, 3):
        thetas, loss, field = any_loss(count)
        origin, rate = dict.fromkeys(thetas, 0), formula(RATE, sympy.Integer(count))
        mean_square = sum(loss.diff(theta) ** 2 for theta in thetas) / count
        for theta, component in zip(thetas, field, strict=True):
            residuals[f"P = {count}, along {theta}"] = (rate * mean_square.diff(theta) + RATE * component).subs(origin)
        steps.append((f"h f_1 at the origin, first component, P = {count}", RATE * field[0].subs(origin)))
    return Derivation(tuple(steps), residuals)


def from_potential(formula):
    """The penalty vanishes with the gradient, and its own gradient is -h f_1."""
    residuals = {"at a critical point": formula(RATE, COUNT, sympy.Integer(0))}
    for count in (1, 2):
        thetas, loss, field = any_loss(count)
        penalty = formula(RATE, sympy.Integer(count), sum(loss.diff(theta) ** 2 for theta in thetas))
        for theta, component in zip(thetas, field, strict=True):
            remainder = penalty.diff(theta) + RATE * component
            residuals[f"P = {count}, along {theta}"] = remainder.subs(dict.fromkeys(thetas, 0))
    return Derivation((("minus h f_1 is the gradient of", formula(RATE, COUNT, sympy.Symbol("S"))),), residuals)


def from_differentiation(formula):
    """grad E~ at the origin, in the eigenbasis of the Hessian."""
    thetas = sympy.symbols("theta_1:3", real=True)
    loss = derive.taylor_loss(thetas, 3).subs(sympy.Symbol("E_12", real=True), 0)
    modified = derive.modified_loss(loss, thetas, RATE)
    found = [modified.diff(theta).subs(dict.fromkeys(thetas, 0)) for theta in thetas]
    slopes, eigenvalues = sympy.symbols("E_1 E_2", real=True), sympy.symbols("E_11 E_22", real=True)
    return Derivation(
        steps=(("loss in its Hessian's eigenbasis", loss), ("grad E~ at the origin", sympy.Matrix(found))),
        residuals={f"component {k + 1}": formula(eigenvalues[k], slopes[k], RATE) - found[k] for k in range(2)},
    )


def along_the_diagonal(rng):
    """E and E~ on a = b; markers add to E the work against f_1 from the minimum. Then lambda, R and their product."""
    target, rows = SECTION["target"], []
    fine, coarse = np.linspace(0, 1.4, 141), np.linspace(0.05, 1.4, 10)

    def gradient(theta):
        return (theta[0] * theta[1] - target) * theta[::-1]

    def loss(u):
        return (target - u**2) ** 2 / 2

    bottom = np.sqrt(target) * np.ones(2)
    spent = np.array([work(gradient, [bottom, u * np.ones(2)]) for u in coarse])
    rows += theory("diagonal", "E", fine, loss(fine))
    for rate in SECTION["rates"]:
        squared = 2 * fine**2 * (fine**2 - target) ** 2
        mean_square = squared / 2
        rows += theory("diagonal", f"Ẽ, h = {rate:g}", fine, loss(fine) + regularization_rate(rate, 2) * mean_square)
        rows += computed("diagonal", f"Ẽ, h = {rate:g}", coarse, loss(coarse) + rate * spent)
    counts = np.array([1, 2, 4, 8, 16, 32])
    rate = np.array([rate_of_iterates(0.1, count) for count in counts])
    penalty = np.array([penalty_of_iterates(0.1, count, 1.0) for count in counts])
    rows += theory("count", "rate λ = hP/4", counts, regularization_rate(0.1, counts))
    rows += computed("count", "rate λ = hP/4", counts, rate)
    rows += theory("count", "regularizer R = |g|²/P", counts, 1 / counts)
    rows += theory("count", "penalty λR", counts, np.full(len(counts), 0.1 / 4))
    return rows + computed("count", "penalty λR", counts, penalty)


def mark_minimum(axes, rows):
    axes.plot([np.sqrt(SECTION["target"])], [0], "*", color="black", markersize=12, zorder=5)
    axes.text(np.sqrt(SECTION["target"]), 0.08, "common zero", ha="center", fontsize=9)
    axes.set_ylim(-0.05, 1.6)


def above_the_lines(axes, rows):
    axes.set_ylim(5e-3, 60)


THEOREM = Theorem(
    id="igr.regularization-rate",
    title="rate and regularizer: the number of parameters cancels",
    source="Barrett & Dherin 2021, Theorem 3.1 and definitions",
    kind=IDENTITY,
    statement=r"\lambda = \tfrac{hP}{4},\ R = \tfrac1P |g|^2:\quad \lambda R = \tfrac h4 |g|^2,\quad"
    r" \nabla\tilde E = \big(I + \tfrac h2 H\big)\,g",
    domain=Domain(learning_rate=non_negative, parameter_count=whole_positive),
    formula=regularization_rate,
    derivation=from_update_rule,
    oracle=rate_of_iterates,
    mutants={
        "h/4 without P": "learning_rate / 4",
        "h P / 2": "learning_rate * parameter_count / 2",
        "P / 4 without h": "parameter_count / 4",
        "root-mean-square: h sqrt(P) / 4": "learning_rate * sqrt(parameter_count) / 4",
        "h / (4 P)": "learning_rate / (4 * parameter_count)",
        "the sign of a reward": "-learning_rate * parameter_count / 4",
    },
    corollaries=(
        Claim(
            name="penalty",
            statement=r"\lambda R = \tfrac h4 |g|^2",
            kind=IDENTITY,
            domain=Domain(learning_rate=non_negative, parameter_count=whole_positive, squared_gradient=positive),
            formula=lambda learning_rate, parameter_count, squared_gradient: learning_rate / 4 * squared_gradient,
            derivation=from_potential,
            oracle=penalty_of_iterates,
            points=100,
            mutants={
                "rate with P, R without 1/P": "learning_rate * parameter_count / 4 * squared_gradient",
                "rate without P, R with 1/P": "learning_rate / (4 * parameter_count) * squared_gradient",
                "h/2": "learning_rate / 2 * squared_gradient",
                "norm, not its square": "learning_rate / 4 * sqrt(squared_gradient)",
            },
        ),
        Claim(
            name="modified gradient",
            statement=r"H v = \ell v:\quad v \cdot \nabla\tilde E = \big(1 + \tfrac{h\ell}{2}\big)\, v \cdot g",
            kind=IDENTITY,
            domain=Domain(eigenvalue=real, gradient=real, learning_rate=non_negative.between(0.01, 1)),
            formula=lambda eigenvalue, gradient, learning_rate: gradient * (1 + learning_rate * eigenvalue / 2),
            derivation=from_differentiation,
            oracle=modified_component,
            scale=lambda eigenvalue, gradient, learning_rate: (
                (1 + abs(gradient)) * (1 + learning_rate * abs(eigenvalue))
            ),
            mutants={
                "I + h H": "gradient * (1 + learning_rate * eigenvalue)",
                "I + h H / 4": "gradient * (1 + learning_rate * eigenvalue / 4)",
                "I - h H / 2": "gradient * (1 - learning_rate * eigenvalue / 2)",
                "(I + h H / 2)^2": "gradient * (1 + learning_rate * eigenvalue / 2)**2",
            },
        ),
    ),
    caveats=(
        "Because P cancels, the modified loss does not say that larger networks are regularized more.",
        "An effect of P on |g|^2 itself must come from elsewhere, such as the initialization.",
    ),
    figure=Figure(
        data=along_the_diagonal,
        panels=(
            Panel(
                "diagonal",
                x_label="a = b (parameter)",
                y_label="loss E, modified loss Ẽ",
                title="Product model, target 0.6, on the diagonal",
                decorate=mark_minimum,
            ),
            Panel(
                "count",
                x_label="number of parameters P",
                y_label="λ, R and λR where |g|² = 1",
                title="Random quartic losses, h = 0.1",
                x_scale="log",
                y_scale="log",
                decorate=above_the_lines,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

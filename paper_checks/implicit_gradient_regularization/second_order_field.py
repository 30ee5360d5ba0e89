"""At order h^2 the field of gradient descent is a gradient but for a sixth of H^2 g, whatever the loss.

Its second term is f_2 = -grad(g^T H g) / 12 - H^2 g / 6. The Jacobian of H^2 g is symmetric only where the Hessian H
commutes with T[g], its own rate of change along the gradient: elsewhere f_2 has a curl and no modified loss explains
it, as igr.not-a-gradient shows on the product model. Quadratics have T = 0, and there the terms of every order are
gradients, f_k that of minus theta^T H^(k+1) theta / (2 (k + 1)).
"""

from functools import cache

import numpy as np
import sympy

from quadlab import derive
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.intervals import Interval, real
from quadlab.verify import IDENTITY, Claim, Derivation, Domain, Theorem

CIRCLE = np.exp(2j * np.pi * np.arange(16) / 16)


def second_field(gradient, theta):
    """f_2 at points (..., 3), from three steps: the coefficient of h^3 in log(1 + Delta) theta.

    That is -11/6 theta_0 + 3 theta_1 - 3/2 theta_2 + 1/3 theta_3, of degree 13 in h where the gradient is cubic.
    """
    # where the gradient is steep, a fixed rate would lose h^3 among the higher powers
    reach = 1 / max(10.0, np.abs(gradient(theta)).max())
    rates, iterates = reach * CIRCLE.reshape(-1, *[1] * theta.ndim), [theta]
    for _ in range(3):
        iterates.append(iterates[-1] - rates * gradient(iterates[-1]))
    return ((3 * iterates[1] - 3 / 2 * iterates[2] + iterates[3] / 3) / rates**3).mean(axis=0)


def derivative(function, at, direction):
    """Derivative along a direction of a polynomial of degree < 16, from its values on a circle round the point."""
    turn = CIRCLE.reshape(-1, *[1] * at.ndim) / max(2.0, np.abs(direction).max())
    return (function(at + turn * direction) / turn).mean(axis=0)


def random_quartic(eigenvalues, gradient, mixed_derivative):
    """Eigenvectors of H at 0, and the gradient of a quartic: H and g at 0 given in this basis, and T[g]_12."""
    rng = np.random.default_rng(5)
    basis = np.linalg.qr(rng.standard_normal((3, 3))).Q
    directions, (cubic, quartic) = rng.standard_normal((4, 3)), rng.standard_normal((2, 4))
    start, hessian = basis @ gradient, (basis * eigenvalues) @ basis.T
    weights = (directions @ basis[:, 0]) * (directions @ basis[:, 1]) * (directions @ start)
    cubic = cubic + (mixed_derivative - weights @ cubic) * weights / (weights @ weights)

    def slope(theta):
        u = theta @ directions.T
        return start + theta @ hessian + (cubic / 2 * u**2 + quartic / 6 * u**3) @ directions

    return basis.T, slope


def rest_of_second_field(eigenvalue, gradient):
    """Component of f_2 + grad(g^T H g) / 12 along an eigenvector of H."""
    basis, slope = random_quartic([eigenvalue, 1.3, -0.7], [gradient, -0.8, 1.1], mixed_derivative=0.5)

    def slope_times_turned(theta):
        """g^T H g, with H g from the gradient a little further along g."""
        here = slope(theta)
        return (here * derivative(slope, theta, here)).sum(axis=-1, keepdims=True)

    split = derivative(slope_times_turned, np.zeros(3), basis[0])[0]
    return (basis[0] @ second_field(slope, np.zeros(3)) + split / 12).real


def antisymmetric_part(first_eigenvalue, second_eigenvalue, mixed_derivative):
    """(J_12 - J_21) / 2 of f_2, between two eigenvectors of H."""
    eigenvalues = [first_eigenvalue, second_eigenvalue, -0.7]
    (first, second, _), slope = random_quartic(eigenvalues, [0.4, -0.8, 1.1], mixed_derivative)
    along_first, along_second = (
        derivative(lambda theta: second_field(slope, theta), np.zeros(3), direction) for direction in (first, second)
    )
    return (first @ along_second - second @ along_first).real / 2


def work_on_quadratic(order, eigenvalue, position):
    """Work against f_order on a crooked path from the minimum of a quadratic to a point on an eigenvector.

    With h = 1 the last term of log(1 + Delta) is f_order itself, a linear field: amid a leg it has its mean.
    """
    rng = np.random.default_rng(6)
    basis = np.linalg.qr(rng.standard_normal((3, 3))).Q
    hessian = (basis * [eigenvalue, 1.3, -0.7]) @ basis.T
    corners = np.array([np.zeros(3), *rng.standard_normal((3, 3)), position * basis[:, 0]])
    iterates = [(corners[1:] + corners[:-1]) / 2]
    for _ in range(int(order) + 1):
        iterates.append(iterates[-1] - iterates[-1] @ hessian)
    field = (-1) ** order / (order + 1) * np.diff(iterates, int(order) + 1, axis=0)[0]
    return -(field * np.diff(corners, axis=0)).sum()


def terms(loss, parameters, order):
    """f_0, ..., f_order of gradient descent, by the recursion of the modified equation."""
    return derive.modified_equation([-loss.diff(p) for p in parameters], parameters, order)


def unknown_loss(count):
    parameters = sympy.symbols(f"theta_1:{count + 1}", real=True)
    return parameters, sympy.Function("E")(*parameters)


def at_origin(expression, parameters, loss):
    """The unknown loss as a Taylor polynomial, in axes along which its Hessian at the origin is diagonal.

    It comes in this late because the recursion is fast on E and its derivatives, and slow on their polynomials.
    """
    known = derive.taylor_loss(parameters, 4).subs(dict.fromkeys(sympy.symbols("E_12 E_13 E_23", real=True), 0))
    return sympy.expand(expression.subs(loss, known).doit().subs(dict.fromkeys(parameters, 0)))


@cache
def rest_for_any_loss():
    """f_2 + grad(g^T H g) / 12 at the origin, for a loss of two parameters."""
    parameters, loss = unknown_loss(2)
    gradient = sympy.Matrix([loss.diff(p) for p in parameters])
    split = (gradient.T * gradient.jacobian(parameters) * gradient)[0]
    rest = zip(terms(loss, parameters, 2)[2], parameters, strict=True)
    return [at_origin(field + split.diff(p) / 12, parameters, loss) for field, p in rest]


def from_split(formula):
    rest, eigenvalues = rest_for_any_loss(), sympy.symbols("E_11 E_22", real=True)
    slopes = sympy.symbols("E_1 E_2", real=True)
    residuals = {f"component {k + 1}": formula(eigenvalues[k], slopes[k]) - rest[k] for k in range(2)}
    return Derivation((("f_2 + grad(g^T H g) / 12, E_i... the derivatives", sympy.Matrix(rest)),), residuals)


@cache
def entry_for_any_loss():
    """(J_12 - J_21) / 2 of f_2 at the origin, for a loss of three parameters."""
    parameters, loss = unknown_loss(3)
    field = terms(loss, parameters, 2)[2]
    return at_origin(field[0].diff(parameters[1]) - field[1].diff(parameters[0]), parameters, loss) / 2


def from_jacobian(formula):
    found, (first, second) = entry_for_any_loss(), sympy.symbols("E_11 E_22", real=True)
    mixed = sum(sympy.Mul(*sympy.symbols(names, real=True)) for names in ("E_112 E_1", "E_122 E_2", "E_123 E_3"))
    steps = (("(J_12 - J_21) / 2, with E_1, E_11, ... the derivatives of the loss", sympy.factor(found)),)
    return Derivation(steps, {"entry 1 2": formula(first, second, mixed) - found})


@cache
def quadratic_and_terms():
    """Parameters, eigenvalues, components along eigenvectors turned by the angle of a 3-4-5 triangle, loss, fields."""
    parameters, eigenvalues = sympy.symbols("u v", real=True), sympy.symbols("l_1:3", real=True)
    modes = sympy.Matrix([[3, 4], [-4, 3]]) / 5 * sympy.Matrix(parameters)
    loss = sum(h * mode**2 / 2 for h, mode in zip(eigenvalues, modes, strict=True))
    return parameters, eigenvalues, modes, loss, terms(loss, parameters, 4)


def from_linear_field(formula):
    parameters, eigenvalues, modes, loss, fields = quadratic_and_terms()
    residuals = {}
    for order, field in enumerate(fields):
        potential = sum(formula(sympy.Integer(order), h, m) for h, m in zip(eigenvalues, modes, strict=True))
        for parameter, component in zip(parameters, field, strict=True):
            residuals[f"f_{order} along {parameter}"] = component + potential.diff(parameter)
    return Derivation((("loss", loss), ("f_1, first component", sympy.factor(fields[1][0]))), residuals)


def rest(eigenvalue, gradient):
    """What f_2 has besides a gradient: -(1/6) H^2 g along an eigenvector."""
    return -(eigenvalue**2) * gradient / 6


def commutator(first_eigenvalue, second_eigenvalue, mixed_derivative):
    """-(1/12) (H T[g] - T[g] H) between two eigenvectors of H."""
    return -(first_eigenvalue - second_eigenvalue) * mixed_derivative / 12


def potential_on_quadratic(order, eigenvalue, position):
    return eigenvalue ** (order + 1) * position**2 / (2 * (order + 1))


def curl_and_potentials(rng):
    """(J_12 - J_21) / 2 against an eigenvalue, the other being 1; then the potentials of f_0 to f_3 on a quadratic."""
    rows, fine, coarse = [], np.linspace(-2, 4, 2), np.linspace(-2, 4, 7)
    for mixed in (-1.0, 0.0, 1.0, 2.0):
        name = f"T[g]₁₂ = {mixed:g}"
        rows += theory("curl", name, fine, commutator(fine, 1.0, mixed))
        rows += computed("curl", name, coarse, [antisymmetric_part(x, 1.0, mixed) for x in coarse])
    fine, coarse = np.linspace(-1, 1, 81), np.linspace(-1, 1, 9)
    for order in range(4):
        name = f"order {order}"
        rows += theory("potential", name, fine, potential_on_quadratic(order, 1.2, fine))
        rows += computed("potential", name, coarse, [work_on_quadratic(order, 1.2, x) for x in coarse])
    return rows


def mark_commuting(axes, rows):
    axes.plot([1, 1], [-0.55, 0.2], color="0.5", linewidth=0.8)
    axes.text(1.08, -0.42, "H and T[g] commute", fontsize=9)
    axes.set_ylim(-0.55, 0.9)


ORDER = Interval(0, np.inf, lower_closed=True, whole=True, typical=(0, 6))

THEOREM = Theorem(
    id="igr.second-order-field",
    title="at order h^2 the field is a gradient but for H^2 g / 6",
    source="derived here, from the second term of the modified equation; compare Miyagawa 2022",
    kind=IDENTITY,
    statement=r"f_2 = -\tfrac1{12} \nabla(g^\top H g) - \tfrac16 H^2 g,\quad"
    r" \tfrac12 (J - J^\top) = -\tfrac1{12} \big(H\,T[g] - T[g]\,H\big)",
    domain=Domain(eigenvalue=real, gradient=real),
    formula=rest,
    derivation=from_split,
    oracle=rest_of_second_field,
    points=40,
    scale=lambda eigenvalue, gradient: (1 + eigenvalue**2) * (1 + gradient**2),
    mutants={
        "f_2 is a gradient": "0 * gradient",
        "1/3, as in f_2 itself": "-eigenvalue**2 * gradient / 3",
        "1/4": "-eigenvalue**2 * gradient / 4",
        "plus": "eigenvalue**2 * gradient / 6",
    },
    corollaries=(
        Claim(
            name="antisymmetric part",
            statement=r"H e_i = \ell_i e_i:\quad \tfrac12 (J_{12} - J_{21})"
            r" = -\tfrac1{12} (\ell_1 - \ell_2)\, T[g]_{12}",
            kind=IDENTITY,
            domain=Domain(first_eigenvalue=real, second_eigenvalue=real, mixed_derivative=real),
            formula=commutator,
            derivation=from_jacobian,
            oracle=antisymmetric_part,
            scale=lambda **point: 1 + sum(abs(value) for value in point.values()) ** 2,
            points=50,
            mutants={
                "a modified loss exists": "0 * mixed_derivative",
                "sum for commutator": "-(first_eigenvalue + second_eigenvalue) * mixed_derivative / 12",
                "without the half": "-(first_eigenvalue - second_eigenvalue) * mixed_derivative / 6",
                "the other order": "(first_eigenvalue - second_eigenvalue) * mixed_derivative / 12",
                "H^2 for H": "-(first_eigenvalue**2 - second_eigenvalue**2) * mixed_derivative / 12",
            },
        ),
        Claim(
            name="quadratics",
            statement=r"E = \tfrac12 \theta^\top H \theta:\quad"
            r" f_k = -\nabla\, \tfrac{1}{2(k + 1)} \theta^\top H^{k+1} \theta",
            kind=IDENTITY,
            domain=Domain(order=ORDER, eigenvalue=real.between(-2, 2), position=real),
            formula=potential_on_quadratic,
            derivation=from_linear_field,
            oracle=work_on_quadratic,
            reach=1,
            points=100,
            scale=lambda order, eigenvalue, position: 10 * 2.0 ** (order + 1) / (order + 1),
            mutants={
                "alternating signs, as for y' = y": "(-1)**order * eigenvalue**(order + 1) * position**2"
                " / (2 * (order + 1))",
                "every order with 1/2": "eigenvalue**(order + 1) * position**2 / 2",
                "1 / (order + 2)": "eigenvalue**(order + 1) * position**2 / (order + 2)",
                "one power of H less": "eigenvalue**order * position**2 / (2 * (order + 1))",
            },
        ),
    ),
    caveats=(
        "The split is not unique, but whatever gradient is taken out, what is left has the curl of f_2.",
        "That H and T[g] commute at one point proves nothing: a potential needs it all over a region without holes.",
        "A modified loss may still exist on an invariant manifold of the iterates, or in another metric.",
    ),
    figure=Figure(
        data=curl_and_potentials,
        panels=(
            Panel(
                "curl",
                x_label="first eigenvalue, the second being 1 (loss / parameter²)",
                y_label="(J₁₂ - J₂₁) / 2 of f₂",
                title="Any loss: the part of f₂ that is no gradient",
                decorate=mark_commuting,
            ),
            Panel(
                "potential",
                x_label="position along an eigenvector (parameter)",
                y_label="work against f₀ to f₃ from the minimum",
                title="A quadratic: potentials of every order, ℓ = 1.2",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""The modified loss keeps every critical point of the loss, and can turn it: curvature l becomes l (1 + h l / 2).

Its gradient is (I + (h/2) H) g, so it vanishes wherever g does, and there its Hessian is H + (h/2) H^2. Minima stay
minima; a direction in which the loss falls with l < -2/h rises after all. The same number decides where the modified
loss can have critical points of its own: only where H g = -(2/h) g, so that the gradient and its correction cancel.
With an explicit penalty kappa |g|^2 it is -1/(2 kappa). igr.new-critical-points finds such points.
"""

import numpy as np
import sympy
from numpy.polynomial import Chebyshev
from scipy.optimize import brentq

from quadlab import derive
from quadlab.problems import GradientPenalty, ProductModel
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.intervals import positive, real
from quadlab.theory.modified_loss import modified_eigenvalue
from quadlab.verify import IDENTITY, TIGHT, Claim, Derivation, Domain, Statement, Theorem

RATE, PENALTY = sympy.symbols("learning_rate explicit_penalty", positive=True)
EIGENVALUE, PARAMETERS = sympy.Symbol("eigenvalue", real=True), sympy.symbols("theta_1:3", real=True)
GRADIENT, CURVATURES, MIXED = (sympy.symbols(names, real=True) for names in ("E_1:3", "E_11 E_22", "E_12"))


def modified_quartic(eigenvalue, learning_rate, slope=0.0):
    """E~ of a quartic in three parameters, and an eigenvector of its Hessian at 0, along which its slope is given.

    Without a slope it is critical at 0; with one it has slopes in the other directions, too.
    """
    rng = np.random.default_rng(8)
    basis = np.linalg.qr(rng.standard_normal((3, 3))).Q
    hessian = (basis * [eigenvalue, 1.3, -0.7]) @ basis.T
    directions, (cubic, quartic) = rng.standard_normal((4, 3)), rng.standard_normal((2, 4))
    start = slope * basis @ [1, -0.8, 1.1]

    def function(theta):
        u, turned = theta @ directions.T, theta @ hessian
        loss = theta @ start + (theta * turned).sum(axis=-1) / 2 + u**3 @ cubic / 6 + u**4 @ quartic / 24
        gradient = start + turned + (cubic * u**2 / 2 + quartic * u**3 / 6) @ directions
        return loss + learning_rate / 4 * (gradient**2).sum(axis=-1)

    return function, basis[:, 0]


def derivative(function, direction, count, reach=1.0):
    """A derivative at 0 along a direction, of a polynomial of degree 6, from seven of its values."""
    line = Chebyshev.interpolate(lambda t: function(np.outer(t, direction)), 6, domain=[-reach, reach])
    return line.deriv(count)(0)


def curvature(function, direction, reach=1.0):
    return derivative(function, direction, 2, reach)


def slope_along_eigenvector(eigenvalue, gradient, learning_rate):
    return derivative(*modified_quartic(eigenvalue, learning_rate, gradient), 1)


def eigenvalue_at_critical_point(eigenvalue, learning_rate):
    """The eigenvalue of Hess E~ that belongs to an eigenvector of H."""
    function, direction = modified_quartic(eigenvalue, learning_rate)
    hessian = [[curvature(function, u + v) - curvature(function, u - v) for u in np.eye(3)] for v in np.eye(3)]
    values, vectors = np.linalg.eigh(np.array(hessian) / 4)
    return values[np.argmax(np.abs(direction @ vectors))]


def turning_eigenvalue(learning_rate):
    """The negative eigenvalue of H at which E~ is flat along its eigenvector, by bracketing."""
    # a curvature as small as 1/h is lost among the higher powers unless the line is as short
    reach, ends = min(1.0, 1 / learning_rate), np.array([-100, -0.1]) / learning_rate

    def along(eigenvalue):
        return curvature(*modified_quartic(eigenvalue, learning_rate), reach)

    return brentq(along, *ends, xtol=1e-15 / learning_rate, rtol=1e-15)


def curvature_along_gradient(strength):
    """H g / g where E + strength |g|^2 has a critical point between the saddle and a minimum of a product model."""
    problem = ProductModel(target=1 / strength)
    minimum, penalised = np.sqrt([problem.target, problem.target]), GradientPenalty(problem, strength)
    way = Chebyshev.interpolate(lambda t: penalised.loss(np.outer(t, minimum)), 6)
    at = brentq(way.deriv(), 0.1, 0.9, xtol=1e-15, rtol=1e-15) * minimum
    gradient = problem.gradient(at)
    return (problem.hessian_product(at, gradient) / gradient)[0]


def at_origin(expression):
    return expression.subs(dict.fromkeys(PARAMETERS, 0))


def any_loss():
    """A loss of which nothing is known, in axes along which its Hessian at the origin is diagonal."""
    return derive.taylor_loss(PARAMETERS, 3).subs(MIXED, 0)


def from_gradient(formula):
    """Both components of grad E~ at the origin; where g vanishes, they and the formula have to."""
    modified, slope = derive.modified_loss(any_loss(), PARAMETERS, RATE), formula(EIGENVALUE, sympy.Integer(0), RATE)
    found = [at_origin(modified.diff(p)) for p in PARAMETERS]
    residuals = {f"component {k + 1}": formula(CURVATURES[k], GRADIENT[k], RATE) - found[k] for k in range(2)}
    residuals |= {f"component {k + 1} where g = 0": slope - found[k].subs(dict.fromkeys(GRADIENT, 0)) for k in range(2)}
    return Derivation((("grad E~ in the eigenbasis of H", sympy.Matrix(found).applyfunc(sympy.factor)),), residuals)


def hessian_at_critical_point():
    """Of E~, where the gradient of E vanishes."""
    modified = derive.modified_loss(any_loss().subs(dict.fromkeys(GRADIENT, 0)), PARAMETERS, RATE)
    return at_origin(sympy.hessian(modified, PARAMETERS))


def from_hessian(formula):
    hessian = hessian_at_critical_point()
    residuals = {"between eigenvectors": hessian[0, 1]}
    residuals |= {f"eigenvalue {k + 1}": formula(CURVATURES[k], RATE) - hessian[k, k] for k in range(2)}
    return Derivation((("Hess E~ where g = 0, with E_11 and E_22 the eigenvalues of H", hessian),), residuals)


def from_sign(formula):
    factor = sympy.cancel(hessian_at_critical_point()[0, 0] / CURVATURES[0])
    return Derivation(
        (("an eigenvalue of Hess E~, over that of H", factor),),
        {"this factor at the turn": factor.subs(CURVATURES[0], formula(RATE))},
    )


def sign_of_curvature(formula):
    found = hessian_at_critical_point()[0, 0].subs(CURVATURES[0], EIGENVALUE)
    rising = sympy.Or(EIGENVALUE > 0, formula(RATE) > EIGENVALUE)
    yield Statement("E~ rises if and only if l > 0 or l is below the turn", sympy.Equivalent(found > 0, rising))


def condition(symbol, strength):
    """Evidence for the curvature along the gradient at a new critical point of E + strength |grad E|^2."""
    slope, along = GRADIENT[0], CURVATURES[0]
    component = at_origin(derive.modified_loss(any_loss(), PARAMETERS, 4 * strength).diff(PARAMETERS[0]))

    def derivation(formula):
        return Derivation(
            (("gradient along an eigenvector of H", sympy.factor(component)),),
            {"where H g is that multiple of g": component.subs(along, formula(symbol))},
        )

    def certificate(formula):
        expected = sympy.Or(sympy.Eq(slope, 0), sympy.Eq(along, formula(symbol)))
        goal = sympy.Equivalent(sympy.Eq(component, 0), expected)
        yield Statement("the component vanishes if and only if that of g does or the eigenvalue is this", goal)

    return {
        "kind": IDENTITY,
        "domain": Domain(**{symbol.name: positive}),
        "derivation": derivation,
        "certificate": certificate,
        "oracle": lambda **point: curvature_along_gradient(float(strength.subs(symbol, point[symbol.name]))),
        "points": 50,
    }


def curvature_and_turn(rng):
    """Curvature of E~ at a critical point, against that of E; then what a learning rate turns, and its new points."""
    rows, fine, coarse = [], np.linspace(-3, 1.5, 91), np.linspace(-3, 1.5, 10)
    for rate in (0.0, 0.5, 1.0, 2.0):
        name = f"h = {rate:g}" if rate else "loss itself"
        rows += theory("curvature", name, fine, modified_eigenvalue(fine, rate, order=1))
        if rate:
            rows += computed("curvature", name, coarse, [eigenvalue_at_critical_point(x, rate) for x in coarse])
    fine, coarse = np.geomspace(0.3, 10, 61), np.geomspace(0.35, 9, 7)
    rows += theory("turn", "-2/h", fine, -2 / fine)
    rows += computed("turn", "Ẽ flat at a critical point", coarse, [turning_eigenvalue(rate) for rate in coarse])
    between = np.sqrt(coarse[1:] * coarse[:-1])
    return rows + computed("turn", "Hg/g at a new one", between, [curvature_along_gradient(r / 4) for r in between])


def tint_turned(axes, rows):
    axes.fill_between([-3.1, 0], 0, 6.5, color="#FBE3D0", zorder=0)
    axes.text(-0.75, 1.3, "E falls, Ẽ rises", fontsize=9, ha="center")
    axes.set(xlim=(-3.1, 1.6), ylim=(-3.3, 6.5))


THEOREM = Theorem(
    id="igr.critical-points",
    title="critical points of the loss stay critical, with new curvature",
    source="derived here, for the modified loss of Barrett & Dherin 2021",
    kind=IDENTITY,
    statement=r"\nabla\tilde E = \big(I + \tfrac h2 H\big) g;\quad"
    r" g = 0:\ \nabla^2\tilde E = H + \tfrac h2 H^2,\ \ell \mapsto \ell\big(1 + \tfrac{h\ell}2\big);\quad"
    r" \text{new points: } H g = -\tfrac2h\, g",
    domain=Domain(eigenvalue=real, learning_rate=positive.between(0.01, 3)),
    formula=lambda eigenvalue, learning_rate: modified_eigenvalue(eigenvalue, learning_rate, order=1),
    derivation=from_hessian,
    oracle=eigenvalue_at_critical_point,
    scale=lambda eigenvalue, learning_rate: (1 + abs(eigenvalue)) * (1 + learning_rate * (1 + abs(eigenvalue))),
    points=60,
    mutants={
        "H (1 + h H)": "eigenvalue * (1 + learning_rate * eigenvalue)",
        "H itself": "eigenvalue",
        "the penalty's Hessian h H^2 / 4": "eigenvalue * (1 + learning_rate * eigenvalue / 4)",
        "curvature lowered": "eigenvalue * (1 - learning_rate * eigenvalue / 2)",
    },
    corollaries=(
        Claim(
            name="stay critical",
            statement=r"H v = \ell v:\quad v \cdot \nabla\tilde E = \big(1 + \tfrac{h\ell}2\big)\, v \cdot g,\quad"
            r" \text{so that } g = 0 \text{ implies } \nabla\tilde E = 0",
            kind=IDENTITY,
            domain=Domain(eigenvalue=real, gradient=real, learning_rate=positive.between(0.01, 3)),
            formula=lambda eigenvalue, gradient, learning_rate: gradient * (1 + learning_rate * eigenvalue / 2),
            derivation=from_gradient,
            oracle=slope_along_eigenvector,
            scale=lambda eigenvalue, gradient, learning_rate: (
                (1 + abs(gradient)) * (1 + learning_rate * (1 + abs(eigenvalue)) * (1 + abs(gradient)))
            ),
            points=60,
            mutants={
                "moved along a direction of curvature": "gradient + learning_rate * eigenvalue / 2",
                "1 + h l": "gradient * (1 + learning_rate * eigenvalue)",
                "turned about": "gradient * (1 - learning_rate * eigenvalue / 2)",
                "the gradient itself": "gradient",
                "a penalty on the loss, not on its gradient": "gradient * (1 + learning_rate / 2)",
            },
        ),
        Claim(
            name="turned directions",
            statement=r"g = 0,\ \ell \ne 0:\quad \tilde E \text{ rises} \iff \ell > 0 \text{ or } \ell < -\tfrac2h",
            kind=TIGHT,
            domain=Domain(learning_rate=positive),
            formula=lambda learning_rate: -2 / learning_rate,
            derivation=from_sign,
            oracle=turning_eigenvalue,
            reach=1e3,
            certificate=sign_of_curvature,
            points=20,
            mutants={
                "-1/h": "-1 / learning_rate",
                "-4/h": "-4 / learning_rate",
                "the stability limit with a sign: 2/h": "2 / learning_rate",
            },
        ),
        Claim(
            name="condition for new points",
            statement=r"\nabla\tilde E = 0 \ne g:\quad H g = -\tfrac2h\, g",
            **condition(RATE, RATE / 4),
            formula=lambda learning_rate: -2 / learning_rate,
            mutants={
                "-1/h": "-1 / learning_rate",
                "2/h": "2 / learning_rate",
                "zero curvature": "0 / learning_rate",
            },
        ),
        Claim(
            name="condition with an explicit penalty",
            statement=r"\nabla(E + \kappa |g|^2) = 0 \ne g:\quad H g = -\tfrac1{2\kappa}\, g",
            **condition(PENALTY, PENALTY),
            formula=lambda explicit_penalty: -1 / (2 * explicit_penalty),
            mutants={
                "penalty taken for the learning rate": "-2 / explicit_penalty",
                "-1/(4 kappa)": "-1 / (4 * explicit_penalty)",
                "-1/kappa": "-1 / explicit_penalty",
            },
        ),
    ),
    caveats=(
        "Directions turn and new points appear at learning rates beyond those at which E~ describes gradient descent.",
        "The condition is necessary and sufficient at a point; it does not say that a loss has such a point.",
        "Explicit gradient regularization does follow E + kappa |g|^2, whatever kappa is.",
    ),
    figure=Figure(
        data=curvature_and_turn,
        panels=(
            Panel(
                "curvature",
                x_label="eigenvalue ℓ of the loss (loss / parameter²)",
                y_label="eigenvalue of the modified loss",
                title="At a critical point",
                decorate=tint_turned,
            ),
            Panel(
                "turn",
                x_label="learning rate h (parameter² / loss)",
                y_label="curvature (loss / parameter²)",
                title="The curvature at which correction and gradient cancel",
                x_scale="log",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

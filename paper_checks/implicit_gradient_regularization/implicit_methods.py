"""Implicit Euler rewards large gradients as much as gradient descent penalises them; implicit midpoint does neither.

Implicit Euler takes the slope at the end of the step, theta_1 = theta_0 + h f(theta_1). Read from its end, this is a
step of gradient descent with learning rate -h, so its flow is that of gradient descent at -h: it follows
E - (h/4) |grad E|^2, and a mode of a quadratic decays with the rate log(1 + h l) / h, slower than l. The implicit
midpoint rule looks the same from both ends: its rate has even powers of h only, and no penalty of order h.
"""

from fractions import Fraction
from functools import cache

import mpmath
import numpy as np
import sympy

from quadlab import derive
from quadlab.problems import GradientPenalty, ProductModel
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import descend, gradient_flow
from quadlab.theory.elementary import log1p
from quadlab.theory.intervals import Interval, positive, real
from quadlab.theory.modified_loss import modified_eigenvalue
from quadlab.verify import ASYMPTOTIC, IDENTITY, Claim, Derivation, Domain, ErrorOrder, Theorem, Window

CURVATURE, RATE = sympy.symbols("eigenvalue learning_rate", positive=True)
Z = sympy.Symbol("z")
MODEL, START, TIME = ProductModel(), np.array([1.6, 1.9]), 0.2
STEPS = tuple(TIME / n for n in (10, 12, 14, 17, 20, 24, 28, 34, 40))


def euler(after, z):
    """What a step of implicit Euler from 1 makes zero, on a mode with h l = z."""
    return after - 1 + z * after


def midpoint(after, z):
    """What a step of the implicit midpoint rule from 1 makes zero."""
    return after - 1 + z * (after + 1) / 2


def solution(equation, z):
    """The weight after a step; the equations are linear in it."""
    at_zero, at_one = equation(0, z), equation(1, z)
    return at_zero / (at_zero - at_one)


def euler_rate(eigenvalue, learning_rate):
    return log1p(learning_rate * eigenvalue) / learning_rate


def midpoint_rate(eigenvalue, learning_rate):
    z = learning_rate * eigenvalue
    return log1p(2 * z / (2 - z)) / learning_rate


def log_of(fraction):
    """Logarithm of a fraction in the working precision, to all digits near 0 and near 1."""
    near_one = abs(fraction - 1) < Fraction(1, 2)
    number = fraction - 1 if near_one else fraction
    return (mpmath.log1p if near_one else mpmath.log)(mpmath.mpf(number.numerator) / number.denominator)


def evidence(equation):
    """What judges a formula for the rate of an implicit method: both pieces are made from its equation alone."""

    def from_equation(formula):
        after = sympy.Symbol("after")
        (root,) = sympy.solve(equation(after, RATE * CURVATURE), after)
        found = sympy.exp(-RATE * formula(CURVATURE, RATE))
        return Derivation((("weight after a step from 1", root),), {"multiplier": found - root})

    def rate_of_step(eigenvalue, learning_rate):
        size = Fraction(float(learning_rate))
        after = solution(equation, Fraction(float(eigenvalue)) * size)
        with mpmath.workdps(40):
            return float(-log_of(after) * size.denominator / size.numerator)

    return {"kind": IDENTITY, "derivation": from_equation, "oracle": rate_of_step, "points": 60}


def from_backward_step(formula):
    """A step is Euler's with -h, taken from theta_1 to theta_0, so its field is Euler's f + h f_1 at -h."""
    state = sympy.symbols("a b")
    loss = derive.taylor_loss(state, 2)
    slope = sympy.Matrix([loss.diff(w) for w in state])
    squared, at_origin = slope.dot(slope), dict.fromkeys(state, 0)
    first = derive.modified_equation(-slope, state, 1)[1].subs(at_origin)
    weight = formula(RATE).diff(RATE).subs(RATE, 0)
    residuals = {
        f"order h, along {w}": term - weight * squared.diff(w).subs(at_origin)
        for term, w in zip(first, state, strict=True)
    }
    residuals["penalty without a step"] = formula(RATE).subs(RATE, 0)
    return Derivation((("loss", loss), ("f_1 of Euler's method at the origin", first)), residuals)


def penalty_of_step(learning_rate):
    """Weight of |grad E|^2 in one step of implicit Euler on E = cosh(theta) from theta = 1, as seen from outside.

    The flow of theta' = -sinh(theta) (1 + 2 w cosh(theta)) takes the time h from start to end if w has this value; it
    is linear in w to the order wanted.
    """
    with mpmath.workdps(30):
        h = mpmath.mpf(float(learning_rate))
        end = mpmath.findroot(lambda theta: theta - 1 + h * mpmath.sinh(theta), mpmath.mpf(1))
        # without penalty the flow needs the integral of 1 / sinh from end to start
        time = mpmath.log(mpmath.tanh(mpmath.mpf(1) / 2) / mpmath.tanh(end / 2))
        return float((time - h) / (2 * mpmath.log(mpmath.sinh(1) / mpmath.sinh(end))))


@cache
def end_of_path(learning_rate, iterations=25):
    """Implicit Euler on the product model; each step's equation is solved by a contraction with factor about h l."""

    def implicit_euler(weights, previous, gradient, generator):
        after = weights
        for _ in range(iterations):
            after = weights - learning_rate * gradient(after)
        return after

    return descend(MODEL, implicit_euler, START, round(TIME / learning_rate))[-1]


def error_at_end(formula, setting, learning_rate):
    """Distance of implicit Euler from the flow of E + formula |grad E|^2 on the product model, at a fixed time."""
    penalised = GradientPenalty(MODEL, formula(learning_rate))
    return np.linalg.norm(end_of_path(learning_rate) - gradient_flow(penalised, START, TIME))


def midpoint_coefficients(nodes=64):
    """Taylor coefficients in z of the implicit midpoint rule's h rate, by Cauchy's integral formula."""
    z = np.exp(2j * np.pi * np.arange(nodes) / nodes)
    return (np.fft.fft(-np.log(solution(midpoint, z))) / nodes).real


def midpoint_series(term):
    """Coefficient of z^n in log((2 + z) / (2 - z))."""
    return (1 - (-1) ** int(term)) / (sympy.Integer(int(term)) * 2 ** int(term))


def from_symmetry(formula, terms=9):
    """(h rate)' against minus the logarithmic derivative of the weight after a step, below z^terms."""
    after = sympy.cancel(solution(midpoint, Z))
    numerator, denominator = sympy.fraction(sympy.cancel(-after.diff(Z) / after))
    slope = sum(n * formula(n) * Z ** (n - 1) for n in range(1, terms + 1))
    defect = sympy.rem(slope * denominator - numerator, Z**terms, Z)
    return Derivation((("weight after a step from 1", after),), {f"(h rate)' below z^{terms}": defect})


def rates_and_errors(rng):
    rows, fine, coarse = [], np.linspace(-0.9, 0.9, 90), np.array([-0.8, -0.6, -0.4, -0.2, 0.2, 0.4, 0.6, 0.8])
    rows += theory("rate", "gradient descent", fine, modified_eigenvalue(fine, 1.0) / fine)
    for name, formula, equation in (("midpoint", midpoint_rate, midpoint), ("implicit Euler", euler_rate, euler)):
        rows += theory("rate", name, fine, formula(fine, 1.0) / fine)
        rows += computed("rate", name, coarse, [evidence(equation)["oracle"](z, 1.0) / z for z in coarse])
    steps = np.array(STEPS)
    for name, sign, order in (("E + (h/4)|∇E|²", 1, 1), ("E", 0, 1), ("E − (h/4)|∇E|²", -1, 2)):
        errors = [error_at_end(lambda h, sign=sign: sign * h / 4, {}, h) for h in STEPS]
        label = f"{name}: slope {order}"
        rows += theory("error", label, steps, errors[-1] * (steps / steps[-1]) ** order)
        rows += computed("error", label, steps, errors)
    return rows


def mark_gradient_flow(axes, rows):
    axes.axhline(1, color="0.5", linewidth=0.8)
    axes.text(0.42, 0.925, "gradient flow", fontsize=9, color="0.35")
    axes.set_ylim(0.55, 2.15)


TIMES = "learning_rate * eigenvalue"
MODE = {"eigenvalue": real, "learning_rate": positive.between(1e-3, 1)}
TERM = Interval(1, 16, lower_closed=True, upper_closed=True, whole=True, typical=(1, 9))

THEOREM = Theorem(
    id="igr.implicit-methods",
    title="implicit Euler has the opposite penalty, implicit midpoint none of order h",
    source="derived here; Hairer, Lubich, Wanner, Geometric Numerical Integration, II.3 and IX.2",
    statement=r"\theta_1 = \theta_0 - h \nabla E(\theta_1):\quad"
    r" h\tilde l = \log(1 + z) = z - \tfrac{z^2}{2} + \dots,\quad z = hl",
    **evidence(euler),
    domain=Domain(f"{TIMES} > -1", **MODE),
    formula=euler_rate,
    mutants={
        "explicit Euler": f"-log(1 - {TIMES}) / learning_rate",
        "velocity of the end point": f"eigenvalue / (1 + {TIMES})",
        "without 1/h": f"log(1 + {TIMES})",
    },
    corollaries=(
        Claim(
            name="penalty of implicit Euler",
            statement=r"\text{implicit Euler follows}\ E - \tfrac h4 |\nabla E|^2",
            kind=ASYMPTOTIC,
            domain=Domain(learning_rate=positive.between(1e-4, 1e-3)),
            window=Window("learning_rate", 1e-4, 1e-3, order=1),
            formula=lambda learning_rate: -learning_rate / 4,
            derivation=from_backward_step,
            oracle=penalty_of_step,
            points=9,
            simulation=ErrorOrder(
                settings=({},),
                error=error_at_end,
                steps=STEPS,
                order=lambda formula, setting: 2,
                observable="order of the distance from the flow of E - (h/4) |grad E|^2, product model",
            ),
            mutants={
                "explicit Euler's": "learning_rate / 4",
                "twice as much": "-learning_rate / 2",
                "none": "0 * learning_rate",
            },
        ),
        Claim(
            name="implicit midpoint",
            statement=r"\theta_1 = \theta_0 - h \nabla E\big(\tfrac{\theta_0 + \theta_1}{2}\big):\quad"
            r" h\tilde l = \log\tfrac{2 + z}{2 - z}",
            **evidence(midpoint),
            domain=Domain(f"abs({TIMES}) < 2", **MODE),
            formula=midpoint_rate,
            mutants={
                "implicit Euler's": f"log(1 + {TIMES}) / learning_rate",
                "without halving": f"log((1 + {TIMES}) / (1 - {TIMES})) / learning_rate",
                "two terms as exact": f"eigenvalue * (1 + ({TIMES})**2 / 12)",
            },
        ),
        Claim(
            name="series of implicit midpoint",
            statement=r"h\tilde l = \sum_{n\ \text{odd}} \frac{z^n}{n\,2^{n-1}}"
            r" = z + \tfrac{z^3}{12} + \tfrac{z^5}{80} + \dots",
            kind=IDENTITY,
            domain=Domain(term=TERM),
            formula=midpoint_series,
            derivation=from_symmetry,
            oracle=lambda term: midpoint_coefficients()[int(term)],
            # every other coefficient is zero
            scale=lambda term: 2.0**-term,
            # enough to meet every coefficient
            points=200,
            mutants={
                "odd and even powers": "1 / (term * 2**(term - 1))",
                "z^3/24": lambda term: midpoint_series(term) / (2 if term == 3 else 1),
                "alternating": lambda term: midpoint_series(term) * (-1) ** (int(term) // 2),
            },
        ),
    ),
    caveats=(
        "Rewarding large gradients does not make implicit Euler unstable: it contracts every mode with l > 0.",
        "Off quadratics a step solves a nonlinear equation; the solution meant is the one that tends to the start.",
        "For h l > 2 implicit midpoint still contracts, but with alternating sign, and its rate is complex.",
    ),
    figure=Figure(
        data=rates_and_errors,
        panels=(
            Panel(
                "rate",
                x_label="z = hl (dimensionless)",
                y_label="rate / eigenvalue, l̃ / l (dimensionless)",
                title="Rate of one mode",
                decorate=mark_gradient_flow,
            ),
            Panel(
                "error",
                x_label="learning rate h (weight² / loss)",
                y_label="distance at time 0.2 (weight)",
                title="Implicit Euler and the flow of three losses",
                x_scale="log",
                y_scale="log",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""Higher-order integrators of gradient flow have no penalty of order h.

The penalty is the error of Euler's method, not a property of small steps: a Runge-Kutta method of order s multiplies a
mode of a quadratic by the Taylor polynomial R of exp(-h l) of degree s, which is the flow with rate -log(R) / h. This
first leaves l at the order h^s, with the constant (-1)^(s+1) / (s+1)!: for s = 1 the penalty (h/4) |grad E|^2, for
s = 4 nearly nothing. Off quadratics a method of order s still stays within h^s of gradient flow. Methods that solve an
equation at each step are the subject of igr.implicit-methods.
"""

from fractions import Fraction
from functools import cache
from math import factorial

import mpmath
import numpy as np
import sympy

from quadlab.problems import ProductModel
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import gradient_flow
from quadlab.theory.elementary import log
from quadlab.theory.intervals import Interval, positive, real, whole_positive
from quadlab.theory.modified_loss import runge_kutta_modified_eigenvalue
from quadlab.verify import ASYMPTOTIC, IDENTITY, Claim, Derivation, Domain, ErrorOrder, Theorem, Window

CURVATURE, RATE = sympy.symbols("eigenvalue learning_rate", positive=True)
Z = sympy.Symbol("z")

# Stages of the methods: weights of earlier slopes, and weights of all slopes in the step.
TABLEAUS = {
    1: (((),), (1,)),
    2: (((), (Fraction(1, 2),)), (0, 1)),
    3: (((), (Fraction(1, 2),), (-1, 2)), (Fraction(1, 6), Fraction(2, 3), Fraction(1, 6))),
    4: (
        ((), (Fraction(1, 2),), (0, Fraction(1, 2)), (0, 0, 1)),
        (Fraction(1, 6), Fraction(1, 3), Fraction(1, 3), Fraction(1, 6)),
    ),
}
MODEL, START, TIME = ProductModel(), np.array([1.6, 1.9]), 0.2


def step(field, theta, size, stages):
    """One step of the method with so many stages on theta' = field(theta), in numbers of any kind."""
    earlier, last = TABLEAUS[stages]
    slopes: list = []
    for weights in earlier:
        slopes.append(field(theta + sum(size * w * slope for w, slope in zip(weights, slopes, strict=True))))
    return theta + sum(size * w * slope for w, slope in zip(last, slopes, strict=True))


@cache
def multiplier(stages):
    """What a step does to a mode, as a polynomial in z = h l."""
    return sympy.expand(step(lambda theta: -Z * theta, sympy.Integer(1), 1, stages))


@cache
def expanded_rate(stages):
    """-log R to the first power beyond z."""
    return sympy.series(-sympy.log(multiplier(stages)), Z, 0, stages + 2).removeO()


def log_of(fraction):
    """Logarithm of a fraction in the working precision, to all digits near 0 and near 1."""
    near_one = abs(fraction - 1) < Fraction(1, 2)
    number = fraction - 1 if near_one else fraction
    return (mpmath.log1p if near_one else mpmath.log)(mpmath.mpf(number.numerator) / number.denominator)


def rate_of_step(eigenvalue, learning_rate, stages):
    """-log of what a step on theta' = -l theta, taken in rational numbers, multiplies by, over h; complex."""
    curvature, size = Fraction(float(eigenvalue)), Fraction(float(learning_rate))
    after = step(lambda theta: -curvature * theta, Fraction(1), size, stages)
    return -log_of(after) / mpmath.mpf(float(size))


def excess_of_step(eigenvalue, learning_rate, stages):
    """The rate of a step less l; complex."""
    with mpmath.workdps(40):
        return complex(rate_of_step(eigenvalue, learning_rate, stages) - mpmath.mpf(float(eigenvalue)))


def decay_of_step(eigenvalue, learning_rate, stages):
    with mpmath.workdps(40):
        return complex(rate_of_step(eigenvalue, learning_rate, stages)).real


def rate(eigenvalue, learning_rate, stages):
    return runge_kutta_modified_eigenvalue(eigenvalue, learning_rate, int(stages))


def one_term_short(eigenvalue, learning_rate, stages):
    return rate(eigenvalue, learning_rate, stages - 1) if stages > 1 else eigenvalue


def uphill(eigenvalue, learning_rate, stages):
    """-log R(+z) / h."""
    growth = sum((learning_rate * eigenvalue) ** k / factorial(k) for k in range(int(stages) + 1))
    return -log(growth) / learning_rate


def leading_correction(eigenvalue, learning_rate, stages):
    """First term of rate - l."""
    order = int(stages)
    return (-1) ** (order + 1) * learning_rate**order * eigenvalue ** (order + 1) / factorial(order + 1)


def series_coefficient(stages, term):
    """Coefficient of z^n in -log R: 1/n times the sum of the n-th powers of the reciprocal roots of R(-z).

    Newton's identities give these sums from the elementary symmetric functions, which are 1/k!, k <= s.
    """
    sums: list = []
    for n in range(1, int(term) + 1):
        last = sympy.Rational((-1) ** (n - 1) * n, factorial(n)) if n <= stages else 0
        earlier = ((-1) ** (k - 1) * sums[n - k - 1] / factorial(k) for k in range(1, min(n - 1, int(stages)) + 1))
        sums.append(last + sum(earlier))
    return sums[-1] / int(term)


@cache
def power_sum(stages, term):
    """The same coefficient from numerical roots of the tableau's polynomial."""
    polynomial = [float(c) for c in sympy.Poly(multiplier(int(stages)), Z).all_coeffs()]
    return float(np.sum(np.roots(polynomial) ** -float(term)).real / term)


def from_step(formula):
    """exp(-h rate) is what the tableau multiplies a mode by."""
    return Derivation(
        steps=tuple((f"multiplier, {stages} stages", multiplier(stages)) for stages in TABLEAUS),
        residuals={
            f"{stages} stages": sympy.exp(-RATE * formula(CURVATURE, RATE, stages))
            - multiplier(stages).subs(Z, RATE * CURVATURE)
            for stages in TABLEAUS
        },
    )


def from_logarithm(formula):
    """h rate - z to the first power beyond z, from the logarithm of the multiplier."""
    return Derivation(
        steps=tuple((f"h rate, {stages} stages", expanded_rate(stages)) for stages in TABLEAUS),
        residuals={
            f"{stages} stages": RATE * formula(CURVATURE, RATE, stages)
            - (expanded_rate(stages) - Z).subs(Z, RATE * CURVATURE)
            for stages in TABLEAUS
        },
    )


def from_logarithmic_derivative(formula, terms=8):
    """(h rate)' R + R' = 0 for h rate = -log R, compared below z^terms."""
    residuals = {}
    for stages in TABLEAUS:
        slope = sum(n * formula(stages, n) * Z ** (n - 1) for n in range(1, terms + 1))
        defect = slope * multiplier(stages) + multiplier(stages).diff(Z)
        residuals[f"{stages} stages"] = sympy.rem(defect, Z**terms, Z)
    return Derivation(tuple((f"R, {stages} stages", multiplier(stages)) for stages in TABLEAUS), residuals)


@cache
def local_order(stages):
    """The least power of h in one step minus the flow of the product model, E = (y - x a b)^2 / 2, from any weights."""
    series, h, a, b, x, y = sympy.ring("h, a, b, x, y", sympy.QQ)
    start = np.array([a, b])

    def cut(element):
        return series.from_dict({powers: c for powers, c in element.items() if powers[0] <= stages + 1})

    def field(theta):
        missed = cut(y - x * theta[0] * theta[1])
        return np.array([cut(x * theta[1] * missed), cut(x * theta[0] * missed)])

    followed = start
    for _ in range(stages + 1):
        slopes = [{powers: c for powers, c in slope.items() if powers[0] <= stages} for slope in field(followed)]
        # the integral over h from 0
        longer = [{(p[0] + 1, *p[1:]): c / (p[0] + 1) for p, c in slope.items()} for slope in slopes]
        followed = start + np.array([series.from_dict(element) for element in longer])
    gap = step(field, start, np.array([h, h]), stages) - followed
    return min(powers[0] for element in gap for powers in cut(element))


def from_one_step(formula):
    """Errors of h^(s + 1) in each of t / h steps add up to h^s."""
    found = {stages: local_order(stages) for stages in TABLEAUS}
    return Derivation(
        steps=tuple((f"power of h in the error of a step, {stages} stages", power) for stages, power in found.items()),
        residuals={f"{stages} stages": formula(sympy.Integer(stages)) - (power - 1) for stages, power in found.items()},
    )


@cache
def error_at_end(stages, learning_rate):
    """Distance of the method from gradient flow on the product model at a fixed time."""
    theta = START
    for _ in range(round(TIME / learning_rate)):
        theta = step(lambda weights: -MODEL.gradient(weights), theta, learning_rate, stages)
    return float(np.linalg.norm(theta - gradient_flow(MODEL, START, TIME)))


def scaled_corrections(rng):
    rows, fine = [], np.concatenate([np.linspace(-0.9, -0.06, 43), np.linspace(0.06, 0.9, 43)])
    coarse = np.array([-0.8, -0.6, -0.4, -0.2, 0.2, 0.4, 0.6, 0.8])
    for stages in TABLEAUS:
        values = (rate(fine, 1.0, stages) - fine) / fine ** (stages + 1)
        found = [excess_of_step(z, 1.0, stages).real / z ** (stages + 1) for z in coarse]
        name = f"s = {stages}: {leading_correction(1, Fraction(1), stages)} at 0".replace("-", "−")
        rows += theory("correction", name, fine, values)
        rows += computed("correction", name, coarse, found)
    return rows


def mark_limits(axes, rows):
    for stages in TABLEAUS:
        axes.plot([0], [leading_correction(1, 1, stages)], "*", color="black", markersize=9)
    axes.set_ylim(-0.35, 1.2)


STAGES = Interval(1, 4, lower_closed=True, upper_closed=True, whole=True, typical=(1, 4))
TIMES = "learning_rate * eigenvalue"
STIFF = Domain(
    # away from the poles of the rate, where rounding of h l is amplified
    f"abs(1 - {TIMES}) + abs(stages - 1) > 1e-6",
    f"abs(1 - {TIMES} + ({TIMES})**2 / 2 - ({TIMES})**3 / 6) + abs(stages - 3) > 1e-6",
    eigenvalue=positive.between(0.5, 60),
    learning_rate=positive.between(0.05, 0.1),
    stages=STAGES,
)

THEOREM = Theorem(
    id="igr.runge-kutta",
    title="Runge-Kutta methods of order two and more have no penalty of order h",
    source="derived here; Barrett & Dherin 2021 compare gradient descent with a Runge-Kutta method",
    kind=IDENTITY,
    statement=r"h\tilde l = -\log R_s(-z),\ R_s(-z) = \sum_{k \le s} \tfrac{(-z)^k}{k!},\ z = hl:\quad"
    r" z + \tfrac{z^2}{2} + \tfrac{z^3}{3} + \dots,\quad z - \tfrac{z^3}{6} - \tfrac{z^4}{8} - \tfrac{z^5}{20},"
    r"\quad z + \tfrac{z^4}{24} + \tfrac{z^5}{30} + \tfrac{z^6}{72},\quad z - \tfrac{z^5}{120} - \tfrac{z^6}{144}"
    r"\quad(s = 1, 2, 3, 4)",
    domain=Domain(f"{TIMES} < 1", eigenvalue=real, learning_rate=positive.between(1e-3, 1), stages=STAGES),
    formula=rate,
    derivation=from_step,
    oracle=decay_of_step,
    mutants={
        "Euler's rate for every method": f"-log(1 - {TIMES}) / learning_rate",
        "the penalty (h/4) |grad E|^2 for every method": "eigenvalue + learning_rate * eigenvalue**2 / 2",
        "no error at all": "eigenvalue",
        "R(+z), the step uphill": uphill,
        "one term short": one_term_short,
    },
    corollaries=(
        Claim(
            name="leading term",
            statement=r"\tilde l - l = \tfrac{(-1)^{s+1}}{(s+1)!}\,h^s l^{s+1}\,(1 + O(h))",
            kind=ASYMPTOTIC,
            domain=Domain(
                eigenvalue=positive.between(0.5, 2), learning_rate=positive.between(1e-4, 1e-3), stages=STAGES
            ),
            window=Window("learning_rate", 1e-4, 1e-3, order=1),
            formula=leading_correction,
            derivation=from_logarithm,
            oracle=lambda **point: excess_of_step(**point).real,
            points=108,
            mutants={
                "Euler's penalty for every method": "learning_rate * eigenvalue**2 / 2",
                "sign not alternating": lambda eigenvalue, learning_rate, stages: (
                    (-1) ** (stages + 1) * leading_correction(eigenvalue, learning_rate, stages)
                ),
                "s! for (s + 1)!": lambda eigenvalue, learning_rate, stages: (
                    (stages + 1) * leading_correction(eigenvalue, learning_rate, stages)
                ),
                "one order earlier": lambda eigenvalue, learning_rate, stages: (
                    leading_correction(eigenvalue, learning_rate, stages - 1) if stages > 1 else 0 * eigenvalue
                ),
            },
        ),
        Claim(
            name="series",
            statement=r"[z^n]\,h\tilde l = \tfrac1n \sum_{r:\,R_s(-r) = 0} r^{-n};"
            r"\quad 0\ \text{for}\ 2 \le n \le s",
            kind=IDENTITY,
            domain=Domain(stages=STAGES, term=whole_positive.between(1, 8)),
            formula=series_coefficient,
            derivation=from_logarithmic_derivative,
            oracle=power_sum,
            scale=lambda stages, term: 1.0,
            # enough to meet every one of the 32 coefficients
            points=400,
            mutants={
                "RK4 with Euler's penalty": lambda stages, term: (
                    sympy.Rational(1, 2) if (stages, term) == (4, 2) else series_coefficient(stages, term)
                ),
                "z^3/6 with the other sign": lambda stages, term: (
                    series_coefficient(stages, term) * (-1 if (stages, term) == (2, 3) else 1)
                ),
                "R(+z)": lambda stages, term: (-1) ** int(term) * series_coefficient(stages, term),
                "ending at z^s": lambda stages, term: series_coefficient(stages, term) if term <= stages else 0,
                "one stage more": lambda stages, term: series_coefficient(stages + 1, term),
            },
        ),
        Claim(
            name="decay beyond the pole",
            statement=r"\mathrm{Re}\,\tilde l = -\tfrac1h \ln|R_s(-z)|",
            kind=IDENTITY,
            domain=STIFF,
            formula=lambda **point: np.real(rate(**point)),
            oracle=decay_of_step,
            scale=lambda eigenvalue, learning_rate, stages: 1 / learning_rate,
            mutants={
                "Euler's": f"-log(abs(1 - {TIMES})) / learning_rate",
                "no error at all": "eigenvalue",
                "one term short": lambda **point: np.real(one_term_short(**point)),
            },
        ),
        Claim(
            name="alternation",
            statement=r"\mathrm{Im}\,\tilde l = -\tfrac\pi h\ \text{where}\ R_s(-z) < 0\ (s = 1, 3),"
            r"\ 0\ \text{elsewhere}",
            kind=IDENTITY,
            domain=STIFF,
            formula=lambda **point: np.imag(rate(**point)),
            oracle=lambda **point: excess_of_step(**point).imag,
            scale=lambda eigenvalue, learning_rate, stages: 1 / learning_rate,
            mutants={
                "the conjugate branch": lambda **point: -np.imag(rate(**point)),
                "real for every method": "0 * eigenvalue",
                "as for Euler": f"where({TIMES} > 1, -pi / learning_rate, 0)",
            },
        ),
        Claim(
            name="order off quadratics",
            statement=r"|\theta_n - \Phi_{nh}(\theta_0)| = \Theta(h^s)\ \text{at fixed}\ nh:"
            r"\ \text{no term of order } h"
            r"\ \text{for}\ s \ge 2",
            kind=IDENTITY,
            domain=Domain(stages=STAGES),
            formula=lambda stages: stages,
            derivation=from_one_step,
            simulation=ErrorOrder(
                settings=tuple({"stages": stages} for stages in TABLEAUS),
                error=lambda formula, setting, h: error_at_end(setting["stages"], h),
                steps=tuple(TIME / n for n in (10, 12, 14, 17, 20, 24, 28, 34, 40)),
                order=lambda formula, setting: formula(**setting),
                observable="order of the distance from gradient flow, product model",
            ),
            mutants={"order one for all": "1 + 0 * stages", "one better": "stages + 1"},
        ),
    ),
    caveats=(
        "R_3(-z) vanishes at z = 1.59607, a pole of the rate; the rates change sign at z = 2, 2, 2.51275, 2.78529.",
        "A comparison with a Runge-Kutta method isolates the penalty only if both use the same h.",
        "On a loss that is not quadratic the remaining error of order h^s is in general not a gradient.",
    ),
    figure=Figure(
        data=scaled_corrections,
        panels=(
            Panel(
                "correction",
                x_label="z = hl (dimensionless)",
                y_label="(h l̃ − z) / z^(s + 1)",
                title="What s stages leave of the rate",
                decorate=mark_limits,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""Small noise leaves a gap 8 / (rho^3 z) below 2 / rho; a small gradient leaves an edge (2 z / rho)^(1/3).

Both laws are first terms of power series in the dimensionless signal zeta = rho^2 z / 4. With t = 1 / zeta the edge, as
a fraction s of 2 / rho, solves s = 1 - t s^3, the equation of the Fuss-Catalan numbers; with q = zeta^(1/3) it solves
s = q (1 - s)^(1/3), where Lagrange's inversion gives binomials of thirds. The cubic has a double root at zeta = -27/4:
the first series converges outside the circle |zeta| = 27/4, the second inside.
"""

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab import derive
from quadlab.dynamics import parameter, variational_gradient_descent
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory import variational
from quadlab.theory.elementary import cbrt
from quadlab.theory.intervals import Interval, positive
from quadlab.verify import ASYMPTOTIC, IDENTITY, Claim, Derivation, Domain, Theorem, Window

RATE, NOISE, SAMPLES = map(parameter, ("learning_rate", "noise_variance", "samples"))
SIGNAL, EDGE, ANGLE, SMALL = sympy.symbols("signal_to_noise edge angle small", positive=True)
LINEAR, CONSTANT = (
    coefficient.subs(derive.gradient_symbol, sympy.sqrt(SIGNAL * NOISE / SAMPLES))
    for coefficient in derive.depressed_cubic(derive.descent_polynomial(variational_gradient_descent()))
)
CUBIC = EDGE**3 + LINEAR * EDGE + CONSTANT  # zero at the edge
TERMS = 9


def edge_of_cubic(signal_to_noise, learning_rate):
    """The root in (0, 2 / rho) of the cubic lambda^3 = z (2 / rho - lambda), by bracketing."""
    top = 2 / learning_rate
    return brentq(lambda h: h**3 - signal_to_noise * (top - h), 0, top, xtol=1e-300, maxiter=1000, rtol=1e-15)


def gap_of_cubic(signal_to_noise, learning_rate):
    """2 / rho minus that root, bracketed itself so that it keeps its digits where it is small."""
    top = 2 / learning_rate
    options = {"xtol": 1e-300, "rtol": 1e-15, "maxiter": 1000}
    return brentq(lambda gap: (top - gap) ** 3 - signal_to_noise * gap, 0, top, **options)


def at_large_signal(formula):
    leading = sympy.limit(CUBIC.subs(EDGE, 2 / RATE - formula(SIGNAL, RATE)), SIGNAL, sympy.oo)
    return Derivation((("the cubic of the edge", CUBIC),), {"the cubic at 2 / rho - gap as z grows": leading})


def at_small_signal(formula):
    leading = sympy.limit(CUBIC.subs(EDGE, formula(SIGNAL, RATE)) / SIGNAL, SIGNAL, 0)
    return Derivation((("the cubic of the edge", CUBIC),), {"its leading order as z vanishes": leading})


def from_cubic(formula):
    """The gap must solve the cubic, for z written as 27 / (rho sinh 3A)^2."""
    signal = 27 / (RATE * sympy.sinh(3 * ANGLE)) ** 2
    gap = formula(signal, RATE).subs(sympy.asinh(sympy.sinh(3 * ANGLE)), 3 * ANGLE)
    residual = CUBIC.subs(SIGNAL, signal).subs(EDGE, 2 / RATE - gap)
    return Derivation((("the cubic of the edge", CUBIC), ("the gap", gap)), {"the cubic at 2 / rho - gap": residual})


def large_signal_coefficient(order):
    """(-1)^n binom(3n, n) / (2n + 1), of zeta^-n: 1, -1, 3, -12, 55, -273, ..."""
    n = sympy.Integer(int(order))
    return (-1) ** n * sympy.binomial(3 * n, n) / (2 * n + 1)


def small_signal_coefficient(order):
    """(-1)^(n - 1) binom(n/3, n - 1) / n, of q^n: 0, 1, -1/3, 0, 1/81, 1/243, 0, -4/6561, ..."""
    n = sympy.Integer(int(order))
    return (-1) ** (n - 1) * sympy.binomial(n / 3, n - 1) / n if n else n


def lowest_terms(candidate, equation, order):
    """What the partial sum of a candidate series leaves of an equation, below an order in the small parameter."""
    partial = sum(candidate(n) * SMALL**n for n in range(TERMS))
    rest = sympy.Poly(equation(partial), SMALL)
    return sum(coefficient * SMALL**power for (power,), coefficient in rest.terms() if power < order)


def fixed_point_at_large_signal(candidate):
    branch_points = sympy.factor(sympy.discriminant(EDGE**3 + SIGNAL * EDGE - SIGNAL, EDGE))
    return Derivation(
        steps=(
            ("series in 1 / zeta, t below", sympy.Eq(EDGE, 1 - SMALL * EDGE**3)),
            ("roots of s^3 + zeta s - zeta merge where this vanishes: zeta = -27/4", branch_points),
        ),
        residuals={"s + t s^3 - 1": lowest_terms(candidate, lambda s: s + SMALL * s**3 - 1, TERMS)},
    )


def fixed_point_at_small_signal(candidate):
    return Derivation(
        steps=(("series in q = zeta^(1/3)", sympy.Eq(EDGE, SMALL * cbrt(1 - EDGE))),),
        residuals={"s^3 - q^3 (1 - s)": lowest_terms(candidate, lambda s: s**3 - SMALL**3 * (1 - s), TERMS + 2)},
    )


def series_of_root(polynomial, near, radius, nodes=128):
    """Power-series coefficients of the root of polynomial(x) that lies next to near(x), by Cauchy's integral formula.

    The root is followed on a circle inside the disc of convergence; the trapezoidal rule is a Fourier transform.
    """
    circle = radius * np.exp(2j * np.pi * np.arange(nodes) / nodes)
    roots = [min(np.roots(polynomial(x)), key=lambda root, x=x: abs(root - near(x))) for x in circle]
    return np.fft.fft(roots).real / nodes / radius ** np.arange(nodes)


AT_LARGE_SIGNAL = series_of_root(lambda t: [t, 0, 1, -1], lambda t: 1 - t, 0.1)
AT_SMALL_SIGNAL = series_of_root(lambda q: [1, 0, q**3, -(q**3)], lambda q: q - q**2 / 3, 1.0)


def edge_and_gap(rng):
    fine, coarse = np.geomspace(1e-4, 1e4, 161), np.geomspace(1e-4, 1e4, 13)
    large, small = fine[fine >= 0.5], fine[fine <= 30]
    return [
        *theory("laws", "edge h", fine, variational.descent_sharpness_limit(fine, 2.0)),
        *computed("laws", "edge h", coarse, [edge_of_cubic(zeta, 2.0) for zeta in coarse]),
        *theory("laws", "gap 2/ρ − h", fine, variational.descent_sharpness_gap(fine, 2.0)),
        *computed("laws", "gap 2/ρ − h", coarse, [gap_of_cubic(zeta, 2.0) for zeta in coarse]),
        *theory("laws", "ζ^(1/3)", small, np.cbrt(small)),
        *theory("laws", "1/ζ", large, 1 / large),
    ]


def mark_radius(axes, rows):
    axes.axvline(27 / 4, color="0.5", linewidth=0.8)
    axes.text(27 / 4 * 1.15, 1.4e-4, "ζ = 27/4,\nradius of\nconvergence\nof both series", fontsize=8, color="0.3")
    axes.set_ylim(8e-5, 4)


ORDER = Interval(0, np.inf, lower_closed=True, whole=True, typical=(0, 12))
NEAR_ONE = positive.between(0.5, 2)
THEOREM = Theorem(
    id="vl.factor-asymptotics",
    title="small noise, small gradient: leading laws and full series of the edge",
    source="derived here",
    kind=ASYMPTOTIC,
    statement=r"\tfrac2\rho - H = \tfrac{8}{\rho^3 z}\,(1 + O(1/\zeta)),\quad"
    r" \mathrm{VF} = \sum_{n \ge 0} \tfrac{(-1)^n}{2n+1}\tbinom{3n}{n}\zeta^{-n};\qquad"
    r" H = (2z/\rho)^{1/3}(1 + O(\zeta^{1/3})),\quad"
    r" \mathrm{VF} = \sum_{n \ge 1} \tfrac{(-1)^{n-1}}{n}\tbinom{n/3}{n-1}\zeta^{n/3}",
    domain=Domain(signal_to_noise=positive, learning_rate=NEAR_ONE),
    window=Window("signal_to_noise", 1e4, 1e8, order=-1),
    formula=lambda signal_to_noise, learning_rate: 8 / (learning_rate**3 * signal_to_noise),
    derivation=at_large_signal,
    oracle=gap_of_cubic,
    mutants={
        "4 for 8": "4 / (learning_rate**3 * signal_to_noise)",
        "learning rate squared": "8 / (learning_rate**2 * signal_to_noise)",
        "square root of the noise": "8 / (learning_rate**2 * sqrt(signal_to_noise))",
    },
    corollaries=(
        Claim(
            name="exact gap",
            statement=r"\tfrac2\rho - H = \delta \text{ is the root of } (2/\rho - \delta)^3 = z\,\delta",
            kind=IDENTITY,
            domain=Domain(signal_to_noise=positive.between(1e-3, 1e12), learning_rate=positive),
            formula=variational.descent_sharpness_gap,
            derivation=from_cubic,
            oracle=gap_of_cubic,
            mutants={
                "leading law everywhere": "8 / (learning_rate**3 * signal_to_noise)",
                "gap of gradient noise": "2 / learning_rate / (1 + learning_rate**2 * signal_to_noise / 4)",
                "gap of the factor, without 2 / rho": lambda signal_to_noise, learning_rate: (
                    1 - variational.variational_factor(signal_to_noise, learning_rate)
                ),
            },
        ),
        Claim(
            name="small gradient",
            statement=r"H = (2z/\rho)^{1/3} (1 + O(\zeta^{1/3}))",
            kind=ASYMPTOTIC,
            domain=Domain(signal_to_noise=positive, learning_rate=NEAR_ONE),
            window=Window("signal_to_noise", 1e-10, 1e-7, order=1 / 3),
            formula=lambda signal_to_noise, learning_rate: cbrt(2 * signal_to_noise / learning_rate),
            derivation=at_small_signal,
            oracle=edge_of_cubic,
            mutants={
                "exponent 1/2": "sqrt(2 * signal_to_noise / learning_rate)",
                "without the 2": "(signal_to_noise / learning_rate) ** (1/3)",
            },
        ),
        Claim(
            name="series at large signal",
            statement=r"[\zeta^{-n}]\,\mathrm{VF} = \tfrac{(-1)^n}{2n+1}\tbinom{3n}{n}",
            kind=IDENTITY,
            domain=Domain(order=ORDER),
            formula=large_signal_coefficient,
            derivation=fixed_point_at_large_signal,
            oracle=lambda order: AT_LARGE_SIGNAL[int(order)],
            mutants={
                "9 for 12": lambda order: large_signal_coefficient(order) + 3 * (order == 3),
                "15 for 12": lambda order: large_signal_coefficient(order) - 3 * (order == 3),
                "signs forgotten": lambda order: abs(large_signal_coefficient(order)),
                "Catalan numbers": lambda order: (-1) ** int(order) * sympy.catalan(int(order)),
            },
        ),
        Claim(
            name="series at small signal",
            statement=r"[\zeta^{n/3}]\,\mathrm{VF} = \tfrac{(-1)^{n-1}}{n}\tbinom{n/3}{n-1}",
            kind=IDENTITY,
            domain=Domain(order=ORDER),
            formula=small_signal_coefficient,
            derivation=fixed_point_at_small_signal,
            oracle=lambda order: AT_SMALL_SIGNAL[int(order)],
            scale=lambda order: (27 / 4) ** (-order / 3),
            mutants={
                "signs forgotten": lambda order: abs(small_signal_coefficient(order)),
                "1/n of Lagrange's formula forgotten": lambda order: small_signal_coefficient(order) * int(order),
            },
        ),
    ),
    caveats=(
        "The gap is stated for a given gradient; with E x^2 in place of x^2 it becomes the stochastic sharpness gap of"
        " vl.equilibrium-sharpness.",
        "Neither series converges on the whole axis: near zeta = 27/4 use the closed form.",
    ),
    figure=Figure(
        data=edge_and_gap,
        panels=(
            Panel(
                "laws",
                x_label="signal ζ = ρ²z/4 (dimensionless)",
                y_label="curvature / (2/ρ) (dimensionless)",
                title="Edge and gap with their leading laws",
                x_scale="log",
                y_scale="log",
                decorate=mark_radius,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""The edge of every direction, learning rate and noise level lies on one curve, the root of s^3 = zeta (1 - s).

Here s = rho lambda / 2 is the curvature as a fraction of gradient descent's edge 2 / rho, and zeta = rho^2 z / 4 is the
signal z = N g^2 / s_i^2 without its unit. The linear coefficient of the cubic is positive, so the hyperbolic sine
solves it everywhere, by sinh 3A = 3 sinh A + 4 sinh^3 A, and no branch has to be chosen. Read backwards, as
zeta = s^3 / (1 - s), the curve is rational.
"""

import numpy as np
import sympy

from quadlab import derive, dynamics, moments
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory import variational
from quadlab.theory.intervals import Interval, extended_non_negative, positive
from quadlab.verify import IDENTITY, Claim, Derivation, Domain, Statement, Theorem

RULE = dynamics.variational_gradient_descent()
CURVATURE, RATE, NOISE, SAMPLES = map(RULE.symbol, ("curvature", "learning_rate", "noise_variance", "samples"))
FRACTION, ZETA = sympy.symbols("fraction zeta", positive=True)


def from_update_rule(formula):
    """The factor must solve the cubic of the update rule in its dimensionless form, whatever the learning rate."""
    polynomial = derive.descent_polynomial(RULE)
    gradient = sympy.sqrt(4 * ZETA * NOISE / SAMPLES) / RATE
    linear, constant = (c.subs(derive.gradient_symbol, gradient) for c in derive.depressed_cubic(polynomial))
    curvature = 2 * FRACTION / RATE
    cubic = sympy.factor(RATE**3 / 8 * (curvature**3 + linear * curvature + constant))

    angle = sympy.Symbol("A", positive=True)
    signal = 27 / (4 * sympy.sinh(3 * angle) ** 2)
    factor = formula(4 * signal / RATE**2, RATE).subs(sympy.asinh(sympy.sinh(3 * angle)), 3 * angle)
    return Derivation(
        steps=(
            ("at fixed gradient the expected change has the sign of", polynomial.as_expr()),
            ("with curvature 2 s / rho and signal 4 zeta / rho^2, times rho^3 / 8", cubic),
            ("with zeta = 27 / (2 sinh 3A)^2 its root is", factor),
        ),
        residuals={
            "the cubic at the root": cubic.subs({FRACTION: factor, ZETA: signal}),
            "one curve for all learning rates": formula(4 * ZETA / RATE**2, RATE) - formula(ZETA, 2),
        },
    )


def root_to_forty_digits(signal_to_noise, learning_rate):
    """The real root of the cubic with exact coefficients, found at 40 digits together with its complex pair."""
    zeta = sympy.Rational(float(learning_rate)) ** 2 * sympy.Rational(float(signal_to_noise)) / 4
    roots = sympy.Poly([1, 0, zeta, -zeta], FRACTION).nroots(n=40, maxsteps=200)
    return float(next(root for root in roots if root.is_real))


def signal_without_change(fraction):
    """At learning rate 2 and gradient 1, where s = lambda and zeta = z: the signal at which the loss stays as it is.

    The moment operator's change is affine in the noise variance 1 / z, so that two evaluations fix it.
    """

    def change(noise_variance):
        after = moments.propagate(
            RULE,
            eigenvalues=[fraction],
            steps=1,
            initial=1 / fraction,
            noise_variance=noise_variance,
            learning_rate=2,
            samples=1,
        )
        return fraction * (after.second[0, 0, 0] - 1 / fraction**2) / 2

    drop, unit = change(0), 1 / fraction**3
    return (change(unit) - drop) / unit / -drop


def certificate(formula):
    """For all positive parameters: descent in expectation if and only if zeta exceeds the candidate."""
    zeta = RATE**2 * SAMPLES * derive.gradient_symbol**2 / (4 * NOISE)
    yield Statement(
        "descent in expectation if and only if the dimensionless signal exceeds the inverse of the factor",
        sympy.Equivalent(
            derive.expected_change(RULE, at_gradient=True) < 0, zeta > formula(fraction=RATE * CURVATURE / 2)
        ),
        (RATE * CURVATURE < 2, NOISE > 0, sympy.Ne(derive.gradient_symbol, 0)),
    )


def universal_curve(rng):
    """The factor at three learning rates against zeta, its elementary bounds and the roots of the cubic."""
    zeta = np.geomspace(1e-3, 1e4, 141)
    rows = theory("curve", "the factor VF", zeta, variational.variational_factor(zeta, 2))
    rows += theory("curve", "below: ζ/(1 + ζ)", zeta, zeta / (1 + zeta))
    rows += theory("curve", "above: min(1, ζ^(1/3))", zeta, np.minimum(1, np.cbrt(zeta)))
    spots = np.geomspace(2e-3, 5e3, 12)
    for rate, some in ((0.05, spots[::3]), (1.0, spots[1::3]), (20.0, spots[2::3])):
        roots = [root_to_forty_digits(4 * zeta / rate**2, rate) for zeta in some]
        rows += computed("curve", f"root of the cubic, ρ = {rate:g}", some, roots)
    return rows


def gradient_descent_edge(axes, rows):
    axes.axhline(1, color="0.4", linewidth=0.8)
    axes.annotate("gradient descent, 2 / ρ", (1.5e-3, 1), xytext=(0, 3), textcoords="offset points", fontsize=9)
    axes.set_ylim(-0.02, 1.1)


THEOREM = Theorem(
    id="vl.edge-closed-form",
    title="one universal curve for the edge",
    source="Ghosh et al. 2025, equation 7; the dimensionless form is derived here",
    kind=IDENTITY,
    statement=r"s^3 = \zeta\,(1 - s),\quad \zeta = \tfrac{\rho^2 z}{4} \;\Longrightarrow\; s = \mathrm{VF}(z;\rho) = "
    r"2\sqrt{\zeta/3}\,\sinh\!\big(\tfrac13\operatorname{asinh}(\tfrac32\sqrt{3/\zeta})\big)",
    domain=Domain(signal_to_noise=extended_non_negative.between(1e-9, 1e9), learning_rate=positive),
    formula=variational.variational_factor,
    derivation=from_update_rule,
    oracle=root_to_forty_digits,
    reach=1e3,
    points=120,
    mutants={
        "the root taken of z alone": "learning_rate * sqrt(signal_to_noise) / 3"
        " * sinh(asinh(3 / learning_rate * sqrt(3 / signal_to_noise)) / 3)",
        "z / 3 inside as well": "learning_rate * sqrt(signal_to_noise / 3)"
        " * sinh(asinh(3 / learning_rate * sqrt(signal_to_noise / 3)) / 3)",
        "half the angle": "learning_rate * sqrt(signal_to_noise / 3)"
        " * sinh(asinh(3 / learning_rate * sqrt(3 / signal_to_noise)) / 2)",
        "the branch of the hyperbolic cosine": "learning_rate * sqrt(signal_to_noise / 3) * cosh(log("
        "3 / learning_rate * sqrt(3 / signal_to_noise)"
        " + sqrt(max(27 / (learning_rate**2 * signal_to_noise) - 1, 0))) / 3)",
        "without the leading learning rate": "sqrt(signal_to_noise / 3)"
        " * sinh(asinh(3 / learning_rate * sqrt(3 / signal_to_noise)) / 3)",
    },
    corollaries=(
        Claim(
            name="inverse",
            statement=r"\zeta = s^3 / (1 - s)",
            kind=IDENTITY,
            domain=Domain(fraction=Interval(0, 1, typical=(1e-3, 0.999))),
            formula=lambda fraction: fraction**3 / (1 - fraction),
            oracle=signal_without_change,
            reach=10,
            points=60,
            certificate=certificate,
            mutants={
                "gradient noise": "fraction / (1 - fraction)",
                "optimal posterior": "fraction**2 / (1 - fraction)",
                "squared denominator": "fraction**3 / (1 - fraction)**2",
                "plus for minus": "fraction**3 / (1 + fraction)",
            },
        ),
    ),
    caveats=(
        "The curve is the edge of one step in expectation along one direction (see vl.descent-edge).",
        "It is universal in zeta, not in z: the signal z is a squared curvature, and learning rates enter with it.",
    ),
    figure=Figure(
        data=universal_curve,
        panels=(
            Panel(
                "curve",
                x_label="dimensionless signal, ζ = ρ² N g² / (4 s²)",
                y_label="edge / gradient descent's edge, ρλ/2",
                title="One curve for all learning rates",
                x_scale="log",
                decorate=gradient_descent_edge,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

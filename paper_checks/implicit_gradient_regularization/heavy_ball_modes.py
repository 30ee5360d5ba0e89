"""On a quadratic the modified equation of heavy ball is known to all orders: a decay at the rate of its larger root.

Along an eigenvector two modes decay, with the roots of mu^2 - (1 + b - h l) mu + b as multipliers. The larger lasts,
and the flow through it decays at the rate -log(mu) / h. Where the two roots meet, at h l = (1 - sqrt b)^2, they become
a complex pair, whose modulus sqrt b no longer depends on the curvature. Past (1 + sqrt b)^2 both are real and negative,
and from h l = 2 (1 + b) on the larger one grows. The series of the rate is that of igr.heavy-ball-series.
"""

from fractions import Fraction
from functools import partial

import mpmath
import numpy as np
import sympy
from scipy.optimize import bisect

from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.elementary import sqrt
from quadlab.theory.intervals import momentum_range, positive, real
from quadlab.theory.modified_loss import heavy_ball_modified_eigenvalue
from quadlab.theory.stability import heavy_ball_sharpness_limit
from quadlab.verify import IDENTITY, TIGHT, Claim, Derivation, Domain, Statement, Theorem

RATE, CURVATURE = sympy.symbols("learning_rate eigenvalue", positive=True)
MOMENTUM, ROOT, MULTIPLIER = sympy.symbols("momentum root_of_momentum multiplier", positive=True)
CHARACTERISTIC = MULTIPLIER**2 - (1 + MOMENTUM - RATE * CURVATURE) * MULTIPLIER + MOMENTUM


def one_step(z, momentum):
    """(theta, previous theta) -> (next, theta) along an eigenvector, z = h l."""
    return [[1 + momentum - z, -momentum], [1, 0]]


def rate(eigenvalue, learning_rate, momentum):
    """-log(mu) / h, complex, of the eigenvalue mu of largest modulus, Im mu >= 0, of one step.

    40 digits, and as many more as mu shares with 1; what of the logarithm is beyond them counts as zero.
    """
    if eigenvalue == 0:
        return 0j  # the larger multiplier is 1, whatever the momentum
    h, b, curvature = (mpmath.mpf(float(x)) for x in (learning_rate, momentum, eigenvalue))
    digits = 40 + max(0, -int(mpmath.mag(h * curvature) * 0.302))
    with mpmath.workdps(digits):
        values, _ = mpmath.eig(mpmath.matrix(one_step(h * curvature, b)))
        larger = mpmath.chop(max(values, key=abs), 1e-25)
        logarithm = mpmath.log(mpmath.mpc(larger.real, abs(larger.imag)))
        return complex(-mpmath.chop(logarithm, mpmath.mpf(10) ** (10 - digits)) / h)


def from_mode_equation(formula):
    """exp(-h rate) solves the mode equation, and it is the root that is 1 where the curvature is 0."""
    found = sympy.exp(-RATE * formula(CURVATURE, RATE, ROOT**2))
    flat = sympy.exp(-RATE * formula(sympy.Integer(0), RATE, sympy.Rational(1, 4)))
    equation = CHARACTERISTIC.subs({MULTIPLIER: found, MOMENTUM: ROOT**2})
    return Derivation((("mode equation", CHARACTERISTIC),), {"mode equation": equation, "flat, b = 1/4": flat - 1})


def boundary(learning_rate, momentum):
    """Curvature up to which both multipliers of a step are real."""
    return ((1 - momentum) / (1 + sqrt(momentum))) ** 2 / learning_rate


def boundary_by_eigenvalues(learning_rate, momentum):
    """By bisection on whether the eigenvalues of a step are real, decided in fractions."""

    def are_real(z):
        (a, b), (c, d) = one_step(Fraction(float(z)), Fraction(float(momentum)))
        return ((a - d) ** 2 >= -4 * b * c) - 0.5

    return bisect(are_real, 0, 1 + momentum, xtol=1e-300, rtol=1e-15, maxiter=1000) / learning_rate


def from_discriminant(formula):
    discriminant = sympy.factor((1 + ROOT**2 - RATE * CURVATURE) ** 2 - 4 * ROOT**2)
    merged = sympy.solve(discriminant, CURVATURE)
    smaller = min(merged, key=lambda value: value.subs({RATE: 1, ROOT: sympy.Rational(1, 2)}))
    steps = (("discriminant of the mode equation", discriminant), ("the multipliers merge first at", smaller))
    return Derivation(steps, {"boundary": formula(RATE, ROOT**2) - smaller})


def real_up_to_boundary(formula):
    b = sympy.Symbol("momentum", nonnegative=True)
    are_real = (1 + b - RATE * CURVATURE) ** 2 >= 4 * b
    goal = sympy.Equivalent(are_real, formula(RATE, b) >= CURVATURE)
    yield Statement("the multipliers are real up to the boundary", goal, (b < 1, 1 + b > RATE * CURVATURE))


def limit_by_rate(learning_rate, momentum):
    """Curvature at which the modified rate, the real part of the exact sum, changes its sign."""
    decay = partial(heavy_ball_modified_eigenvalue, learning_rate=1.0, momentum=momentum)
    return bisect(lambda z: np.real(decay(z)), 1.5, 10.0, xtol=1e-14, rtol=1e-14) / learning_rate


def from_alternation(formula):
    at = sympy.solve(CHARACTERISTIC.subs(MULTIPLIER, -1), CURVATURE)[0]
    return Derivation((("a multiplier is -1 at", at),), {"limit": formula(RATE, MOMENTUM) - at})


def contraction(formula):
    """Multipliers off the real axis come in pairs of modulus sqrt b < 1; so only a real one can reach the circle."""
    multiplier, b = sympy.Symbol("multiplier", real=True), sympy.Symbol("momentum", nonnegative=True)
    value = CHARACTERISTIC.subs({MULTIPLIER: multiplier, MOMENTUM: b})
    below, above = formula(RATE, b) > CURVATURE, formula(RATE, b) < CURVATURE
    contracts = sympy.Implies(below, multiplier**2 < 1)
    yield Statement("below the limit every real multiplier contracts", contracts, (b < 1, sympy.Eq(value, 0)))
    # the parabola opens upwards: negative at -1, it has a root on the left of -1
    grows = sympy.Implies(above, value.subs(multiplier, -1) < 0)
    yield Statement("above it one lies beyond -1", grows, (b < 1,))


def sign_below_limit(eigenvalue, learning_rate, momentum):
    """+1 for curvatures between 0 and the limit, -1 outside."""
    return np.sign(eigenvalue * (heavy_ball_sharpness_limit(learning_rate, momentum) - eigenvalue))


def smaller_beyond(eigenvalue, learning_rate, momentum):
    """The rate of the smaller root where the larger one alternates; the product of both is b."""
    larger = np.real(heavy_ball_modified_eigenvalue(eigenvalue, learning_rate, momentum))
    alternating = learning_rate * eigenvalue > (1 + np.sqrt(momentum)) ** 2
    return -np.log(momentum) / learning_rate - larger if alternating else larger


def rates_against_curvature(rng):
    """Rates in units of gradient flow's, against the curvature in units of the zone boundary."""
    rows, fine, coarse = [], np.linspace(0.01, 1.25, 125), np.linspace(0.05, 1.25, 13)
    for momentum in (0.0, 0.05, 0.9):
        edge = boundary(1.0, momentum)
        fines, few = (x[x < 1] * edge if momentum == 0 else x * edge for x in (fine, coarse))
        exact = np.real(heavy_ball_modified_eigenvalue(fines, 1.0, momentum))
        found = [rate(z, 1.0, momentum).real for z in few]
        rows += theory("momentum", f"b = {momentum:g}", fines / edge, exact * (1 - momentum) / fines)
        rows += computed("momentum", f"b = {momentum:g}", few / edge, np.array(found) * (1 - momentum) / few)
    return rows


def mark_boundary(axes, rows):
    axes.axvline(1, color="0.6", linewidth=0.8)
    axes.set_xlim(0, 1.28)
    axes.text(1.02, 0.86, "oscillating", fontsize=9, color="0.35")
    axes.set_ylim(0.8, 3.6)


Z = "learning_rate * eigenvalue"
LIMIT_OF_Z = "2 * (1 + momentum)"
SPLIT = f"sqrt((1 + momentum - {Z})**2 - 4 * momentum)"
in_every_zone = partial(
    Claim,
    kind=IDENTITY,
    domain=Domain(
        f"abs({Z} - 1) + momentum > 1e-6",
        eigenvalue=positive.between(0.5, 50),
        learning_rate=positive.between(0.05, 0.1),
        momentum=momentum_range.between(0, 0.7),
    ),
    scale=lambda eigenvalue, learning_rate, momentum: 1 / learning_rate,
    points=100,
)

THEOREM = Theorem(
    id="igr.heavy-ball-modes",
    title="heavy ball's exact rate on a quadratic: that of the larger root",
    source="derived here from the rule; Ghosh et al. 2023 for the first order",
    kind=IDENTITY,
    statement=r"hl < (1 - \sqrt b)^2:\quad \tilde l = -\tfrac1h\log\mu_+,\quad"
    r" \mu_+ = 1 - \tfrac{2hl}{1 - b + hl + S},\ S^2 = (1 - b - hl)^2 - 4bhl",
    domain=Domain(
        f"{Z} < (1 - sqrt(momentum))**2",
        eigenvalue=real,
        learning_rate=positive.between(1e-3, 1),
        momentum=momentum_range.between(0, 0.9),
    ),
    formula=heavy_ball_modified_eigenvalue,
    derivation=from_mode_equation,
    oracle=lambda **point: rate(**point).real,
    points=100,
    mutants={
        "the smaller root": f"-log((1 + momentum - {Z} - {SPLIT}) / 2) / learning_rate",
        "powers of rho for Legendre polynomials": "-log(1 - learning_rate * eigenvalue * (1 + momentum)"
        " / (1 - momentum)**2) * (1 - momentum) / (learning_rate * (1 + momentum))",
        "gradient descent at the effective step": f"-log(1 - {Z} / (1 - momentum)) / learning_rate",
        "the penalised loss as exact": partial(heavy_ball_modified_eigenvalue, order=1),
    },
    corollaries=(
        in_every_zone(
            name="decay in every zone",
            statement=r"\mathrm{Re}\,\tilde l = -\tfrac1h\ln|\mu|;\quad = -\tfrac{\ln b}{2h}\ \text{for}\ "
            r"(1 - \sqrt b)^2 \le hl \le (1 + \sqrt b)^2",
            formula=lambda **point: np.real(heavy_ball_modified_eigenvalue(**point)),
            oracle=lambda **point: rate(**point).real,
            mutants={
                "constant everywhere": "-log(momentum) / (2 * learning_rate) + 0 * eigenvalue",
                "the smaller root beyond the boundaries": smaller_beyond,
                "gradient descent at the effective step": f"-log(abs(1 - {Z} / (1 - momentum))) / learning_rate",
            },
        ),
        in_every_zone(
            name="frequency",
            statement=r"\mathrm{Im}\,\tilde l = -\tfrac1h\arg\mu,\quad 0\ \text{up to}\ (1 - \sqrt b)^2,"
            r"\ -\tfrac\pi h\ \text{from}\ (1 + \sqrt b)^2\ \text{on}",
            formula=lambda **point: np.imag(heavy_ball_modified_eigenvalue(**point)),
            oracle=lambda **point: rate(**point).imag,
            mutants={
                "the conjugate root": lambda **point: -np.imag(heavy_ball_modified_eigenvalue(**point)),
                "real everywhere": "0 * eigenvalue * learning_rate * momentum",
                "alternating from the first boundary on": f"where({Z} < (1 - sqrt(momentum))**2,"
                " 0, -pi / learning_rate)",
            },
        ),
        Claim(
            name="zone boundary",
            statement=r"b > 0:\quad \tilde l\ \text{is real up to}\ l = \tfrac{(1 - \sqrt b)^2}{h}",
            kind=TIGHT,
            domain=Domain("momentum > 0", learning_rate=positive, momentum=momentum_range.between(0.01, 0.95)),
            formula=boundary,
            derivation=from_discriminant,
            oracle=boundary_by_eigenvalues,
            certificate=real_up_to_boundary,
            points=30,
            mutants={
                "the second boundary": "(1 + sqrt(momentum))**2 / learning_rate",
                "(1 - b)^2": "(1 - momentum)**2 / learning_rate",
                "1 - b": "(1 - momentum) / learning_rate",
            },
        ),
        Claim(
            name="stability",
            statement=r"l > 0:\quad \mathrm{Re}\,\tilde l > 0 \iff hl < 2(1 + b)",
            kind=TIGHT,
            domain=Domain(learning_rate=positive, momentum=momentum_range),
            formula=heavy_ball_sharpness_limit,
            derivation=from_alternation,
            oracle=limit_by_rate,
            certificate=contraction,
            points=40,
            mutants={
                "gradient descent's limit": "2 / learning_rate + 0 * momentum",
                "gradient descent's at the effective step": "2 * (1 - momentum) / learning_rate",
                "the second zone boundary": "(1 + sqrt(momentum))**2 / learning_rate",
            },
        ),
        Claim(
            name="sign of the rate",
            statement=r"\mathrm{sgn}\,\mathrm{Re}\,\tilde l = +1\ (0 < hl < 2(1 + b)),\quad"
            r" -1\ (hl < 0\ \text{or}\ hl > 2(1 + b))",
            kind=IDENTITY,
            domain=Domain(
                "eigenvalue != 0",
                f"abs({Z} - {LIMIT_OF_Z}) > 1e-9",
                f"abs({Z} - 1) + momentum > 1e-6",
                eigenvalue=real.between(-4, 8),
                learning_rate=positive.between(0.3, 1),
                momentum=momentum_range.between(0, 0.9),
            ),
            formula=sign_below_limit,
            oracle=lambda **point: np.sign(rate(**point).real),
            points=100,
            mutants={
                "positive for negative curvature": f"where({Z} < {LIMIT_OF_Z}, 1, -1)",
                "gradient descent's limit": f"where({Z} < 0, -1, where({Z} < 2, 1, -1))",
                "never negative beyond": f"where({Z} < 0, -1, 1)",
            },
        ),
    ),
    caveats=(
        "It is the rate of the larger root: from rest the smaller one takes part at first, see igr.heavy-ball.",
        "Near h l = (1 - sqrt b)^2 the rate has a square-root singularity, and rounding of h l is amplified.",
        "The exact sum is one of quadratics; off them igr.heavy-ball states the first order only.",
    ),
    figure=Figure(
        data=rates_against_curvature,
        panels=(
            Panel(
                "momentum",
                x_label="curvature / zone boundary, hl / (1 − √b)² (dimensionless)",
                y_label="Re rate / gradient flow's, l̃ (1 − b) / l",
                title="Speed-up by a finite step",
                decorate=mark_boundary,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

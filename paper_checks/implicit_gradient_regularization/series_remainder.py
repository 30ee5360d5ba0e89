"""Cut off after h^N, the rate of a mode misses gradient descent's by z^(N+1) / (N + 2), up to a factor 1 / (1 - z).

On a quadratic the modified equation is a power series: the rate along an eigenvector is l phi(z), z = h l, with
phi(z) = 1 + z/2 + z^2/3 + ... = -log(1 - z)/z; see igr.quadratic-flow. It converges for h |l| < 1: while no step jumps
across the minimum, though gradient descent is stable up to h l = 2. What a partial sum leaves out is known from both
sides: for z > 0 every finite order decays too slowly, the more so the closer h l is to 1.
"""

from fractions import Fraction

import numpy as np
import sympy

from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.intervals import Interval, positive, real
from quadlab.theory.modified_loss import modified_eigenvalue
from quadlab.verify import (
    ASYMPTOTIC,
    IDENTITY,
    LOWER,
    UPPER,
    Claim,
    Derivation,
    Domain,
    Inequality,
    SymmetricMatrix,
    Theorem,
    Window,
)

RATE = sympy.Symbol("learning_rate", positive=True)
EIGENVALUE, PRODUCT = sympy.symbols("eigenvalue product", real=True)
PLACE = np.array([1.0, -0.6, 1.7])
NODES, WEIGHTS = np.polynomial.legendre.leggauss(120)


def remainder(product, order):
    """phi - phi_N with phi(z) = sum z^k / (k + 1), by quadrature of u^(N+1) z^(N+1) / (1 - z u) over [0, 1]."""
    u = (1 + NODES) / 2
    return product ** (order + 1) * (u ** (order + 1) / (1 - product * u)) @ WEIGHTS / 2


def remainder_ball(product, order):
    """(phi - phi_N) / z^(N+1) on a ball of z; it increases with z, so that its values at the ends enclose it."""

    def at(z):
        rest = -(1 - z).log() / z - sum(z**k / (k + 1) for k in range(order + 1))
        return rest / z ** (order + 1)

    return at(product.lower()).union(at(product.upper()))


def bound_on_boxes(sign, side=1):
    """Inequalities that say: sign * (formula / |z|^(N+1) - the size of the remainder) > 0, z of the sign `side`.

    A bound that is wrong by a per cent fails at small |z| alone, where boxes have to be as narrow as z^2 / N^2.
    """
    name = "product" if side > 0 else "size"

    def enclosure(formula):
        for order in (*range(4), 150):

            def gap(order=order, **ball):
                size = ball[name]
                bound = formula(size, order) / size ** (order + 1)
                return sign * (bound - remainder_ball(side * size, order))

            yield Inequality(
                f"order {order}", gap, {name: (2e-3 * 2**order if order < 4 else 0.8, 0.95)}, logarithmic=(name,)
            )

    return enclosure


def leading_of_remainder(formula):
    residuals = {}
    for order in range(4):
        rest = sympy.series(-sympy.log(1 - PRODUCT) / PRODUCT, PRODUCT, 0, order + 3).removeO()
        leading = sympy.limit(formula(PRODUCT, sympy.Integer(order)) / PRODUCT ** (order + 1), PRODUCT, 0)
        residuals[f"order {order}"] = leading - rest.coeff(PRODUCT, order + 1)
    return Derivation((("phi", sympy.series(-sympy.log(1 - PRODUCT) / PRODUCT, PRODUCT, 0, 4)),), residuals)


def truncated(eigenvalue, learning_rate, order):
    return modified_eigenvalue(eigenvalue, learning_rate, order=int(order))


def series_of_logarithm(formula):
    exact = sympy.series(-sympy.log(1 - RATE * EIGENVALUE) / RATE, RATE, 0, 6).removeO()
    residuals = {
        f"order {order}": formula(EIGENVALUE, RATE, sympy.Integer(order))
        - sum(exact.coeff(RATE, k) * RATE**k for k in range(order + 1))
        for order in range(5)
    }
    return Derivation((("-log(1 - h l)/h in powers of h", exact),), residuals)


def terms_from_exponential(eigenvalue, learning_rate, order):
    """The terms of h^0, ..., h^N in F(h)/h with exp(-F) = 1 - h l, from (exp F)' = F' exp F; in fractions."""
    curvature, rate = Fraction(float(eigenvalue)), Fraction(float(learning_rate))
    target = [Fraction(1), -curvature] + [Fraction(0)] * int(order)  # coefficients of exp(-F)
    exponent = [Fraction(0)]
    for n in range(1, len(target)):
        known = sum(k * exponent[k] * target[n - k] for k in range(1, n))
        exponent.append((n * target[n] - known) / n)
    return [-c * rate**k for k, c in enumerate(exponent[1:])]


def series_from_exponential(eigenvalue, learning_rate, order):
    return float(sum(terms_from_exponential(eigenvalue, learning_rate, order)))


def radius_of_ratios(learning_rate):
    """Ratios of successive terms at l = 1 tend to h / radius, linearly in 1/n; extrapolated to 1/n = 0."""
    terms = terms_from_exponential(1, learning_rate, 40)
    before, last = terms[39] / terms[38], terms[40] / terms[39]
    return float(1 / (41 * last - 40 * before))


def ratio_of_coefficients(formula):
    k = sympy.Symbol("k", positive=True)
    limit = sympy.limit((RATE**k / (k + 1)) / (RATE ** (k + 1) / (k + 2)), k, sympy.oo)
    return Derivation((("ratio of the coefficients of l^k and l^(k + 1)", limit),), {"radius": formula(RATE) - limit})


def truncated_loss(hessian, learning_rate, order):
    """(1/2) theta^T R theta at a fixed theta, R with the eigenvectors of the Hessian and the truncated rates."""
    values, vectors = np.linalg.eigh(hessian)
    return (PLACE @ vectors) ** 2 @ truncated(values, learning_rate, order) / 2


def powers_of_matrix(hessian, learning_rate, order):
    turned, total = hessian @ PLACE, 0.0
    for k in range(int(order) + 1):
        total += learning_rate**k * PLACE @ turned / (k + 1) / 2
        turned = hessian @ turned
    return total


def sums_and_remainders(rng):
    """phi against z with its partial sums; and what they leave out, in units of z^(N+1) / (N + 2)."""
    near = np.geomspace(0.06, 0.002, 12)
    z = np.concatenate([np.linspace(-2, -0.02, 100), np.linspace(0.02, 0.92, 46), 1 - near, [1.0]])
    z = np.concatenate([z, 1 + near[::-1], np.linspace(1.08, 2, 47)])
    rows = theory("series", "exact, real part", z, modified_eigenvalue(z, 1.0).real / z)
    for order in (1, 2, 3, 5, 10, 20):
        value = modified_eigenvalue(z, 1.0, order) / z
        rows += theory("series", f"N = {order}", z[abs(value) < 20], value[abs(value) < 20])
    fine, positive_side = np.linspace(-0.99, 0.95, 98), np.linspace(0, 0.95, 2)
    rows += theory("remainder", "upper bound", fine, np.maximum(1 / (1 - fine), 1))
    rows += theory("remainder", "lower bound", positive_side, np.ones(2))
    for order in (0, 1, 3, 8):
        coarse = np.concatenate([np.linspace(-0.9, -0.1, 5), np.linspace(0.1, 0.9, 9)])
        left = [remainder(x, order) * (order + 2) / x ** (order + 1) for x in coarse]
        rows += computed("remainder", f"N = {order}", coarse, left)
    return rows


def mark_radius(axes, rows):
    for edge in (-1, 1):
        axes.axvline(edge, color="0.5", linewidth=0.8)
    axes.axvspan(-1, 1, color="0.5", alpha=0.08)
    axes.text(-0.02, -0.85, "the series converges", fontsize=9, color="0.3", ha="center")
    axes.set_ylim(-1, 6)


def plain_ticks(axes, rows):
    axes.set_yticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    axes.minorticks_off()


WHOLE = Interval(0, np.inf, lower_closed=True, whole=True, typical=(0, 8))
UNIT = Interval(0, 1, typical=(1e-4, 0.98))

THEOREM = Theorem(
    id="igr.series-remainder",
    title="what the series of the modified rate leaves out after h^N, from both sides",
    source="order 1 is the modified loss of Barrett & Dherin 2021, Theorem 3.1; remainders derived here",
    kind=UPPER,
    statement=r"\tilde l = l\,\varphi(z),\ z = hl,\ \varphi(z) = \sum_{k \ge 0} \tfrac{z^k}{k + 1}\ (|z| < 1):\quad"
    r" \frac{z^{N+1}}{N + 2} \le \varphi(z) - \varphi_N(z) \le \frac{z^{N+1}}{(N + 2)(1 - z)}\ (0 < z < 1)",
    # a bound that is wrong for many terms alone must fail; z^(N + 1) stays above the smallest float
    domain=Domain(product=UNIT.between(0.03, 0.98), order=WHOLE.between(0, 180)),
    formula=lambda product, order: product ** (order + 1) / ((order + 2) * (1 - product)),
    oracle=remainder,
    enclosure=bound_on_boxes(1),
    mutants={
        "the bound from below": "product**(order + 1) / (order + 2)",
        "N + 3 for N + 2": "product**(order + 1) / ((order + 3) * (1 - product))",
        "one order better": "product**(order + 2) / ((order + 2) * (1 - product))",
        "1 - 0.99 z for 1 - z": "product**(order + 1) / ((order + 2) * (1 - 0.99 * product))",
    },
    corollaries=(
        Claim(
            name="from below",
            statement=r"0 < z < 1:\quad \varphi(z) - \varphi_N(z) \ge \frac{z^{N+1}}{N + 2}",
            kind=LOWER,
            domain=Domain(product=UNIT, order=WHOLE),
            formula=lambda product, order: product ** (order + 1) / (order + 2),
            oracle=remainder,
            enclosure=bound_on_boxes(-1),
            mutants={
                "the bound from above": "product**(order + 1) / ((order + 2) * (1 - product))",
                "N + 1 for N + 2": "product**(order + 1) / (order + 1)",
                "one order worse": "product**order / (order + 2)",
                "one per cent more": "1.01 * product**(order + 1) / (order + 2)",
                "N + 1.98 for N + 2": "product**(order + 1) / (order + 1.98)",
            },
        ),
        Claim(
            name="alternating series",
            statement=r"z = -s,\ 0 < s < 1:\quad |\varphi(z) - \varphi_N(z)| \le \frac{s^{N+1}}{N + 2}",
            kind=UPPER,
            domain=Domain(size=UNIT, order=WHOLE),
            formula=lambda size, order: size ** (order + 1) / (order + 2),
            oracle=lambda size, order: abs(remainder(-size, order)),
            enclosure=bound_on_boxes(1, side=-1),
            mutants={
                "N + 3 for N + 2": "size**(order + 1) / (order + 3)",
                "one order better": "size**(order + 2) / (order + 2)",
                "divided by 1 - z": "size**(order + 1) / ((order + 2) * (1 + size))",
                "one per cent less": "0.99 * size**(order + 1) / (order + 2)",
                "N + 2.02 for N + 2": "size**(order + 1) / (order + 2.02)",
            },
        ),
        Claim(
            name="leading term",
            statement=r"\varphi(z) - \varphi_N(z) = \frac{z^{N+1}}{N + 2}\,(1 + O(z))",
            kind=ASYMPTOTIC,
            domain=Domain(product=UNIT, order=WHOLE),
            window=Window("product", 1e-4, 1e-2, order=1),
            formula=lambda product, order: product ** (order + 1) / (order + 2),
            derivation=leading_of_remainder,
            oracle=remainder,
            points=54,
            mutants={
                "N + 1 for N + 2": "product**(order + 1) / (order + 1)",
                "one order better": "product**(order + 2) / (order + 2)",
                "opposite sign": "-product**(order + 1) / (order + 2)",
            },
        ),
        Claim(
            name="truncation",
            statement=r"\tilde l_N = \sum_{k=0}^N \frac{h^k l^{k+1}}{k + 1}",
            kind=IDENTITY,
            domain=Domain(eigenvalue=real, learning_rate=positive.between(0.1, 1), order=WHOLE),
            formula=truncated,
            derivation=series_of_logarithm,
            oracle=series_from_exponential,
            tolerance=1e-13,
            scale=lambda eigenvalue, learning_rate, order: truncated(abs(eigenvalue), learning_rate, order),
            mutants={
                "N terms, not N + 1": lambda eigenvalue, learning_rate, order: (
                    truncated(eigenvalue, learning_rate, order)
                    - learning_rate**order * eigenvalue ** (order + 1) / (order + 1)
                ),
                "1/k! for 1/(k + 1)": lambda eigenvalue, learning_rate, order: sum(
                    learning_rate**k * eigenvalue ** (k + 1) / sympy.factorial(k + 1) for k in range(int(order) + 1)
                ),
                "alternating": lambda eigenvalue, learning_rate, order: -truncated(-eigenvalue, learning_rate, order),
                "geometric series": lambda eigenvalue, learning_rate, order: sum(
                    learning_rate**k * eigenvalue ** (k + 1) for k in range(int(order) + 1)
                ),
            },
        ),
        Claim(
            name="radius of convergence",
            statement=r"\lim_{N \to \infty} \tilde l_N = \tilde l \text{ for } |l| < \tfrac1h,"
            r" \text{ diverges for } |l| > \tfrac1h",
            kind=IDENTITY,
            domain=Domain(learning_rate=positive),
            formula=lambda learning_rate: 1 / learning_rate,
            derivation=ratio_of_coefficients,
            oracle=radius_of_ratios,
            points=40,
            mutants={
                "2/h, the stability limit": "2 / learning_rate",
                "1/(2h)": "1 / (2 * learning_rate)",
                "h": "learning_rate",
            },
        ),
        Claim(
            name="truncated loss in matrices",
            statement=r"\tilde E_N = \tfrac12\,\theta^\top \sum_{k=0}^N \frac{h^k H^{k+1}}{k + 1}\,\theta",
            kind=IDENTITY,
            domain=Domain(
                hessian=SymmetricMatrix(real.between(-0.95, 0.95), 3),
                learning_rate=positive.between(0.2, 1),
                order=WHOLE,
            ),
            formula=truncated_loss,
            oracle=powers_of_matrix,
            points=60,
            tolerance=1e-12,
            scale=lambda hessian, learning_rate, order: (
                PLACE @ PLACE * truncated(np.abs(np.linalg.eigvalsh(hessian)).max(), learning_rate, order)
            ),
            mutants={
                "N terms, not N + 1": lambda hessian, learning_rate, order: powers_of_matrix(
                    hessian, learning_rate, order - 1
                ),
                "h/2 (H theta)^2 for h/4": lambda hessian, learning_rate, order: (
                    powers_of_matrix(hessian, learning_rate, order) + learning_rate / 4 * np.sum((hessian @ PLACE) ** 2)
                ),
            },
        ),
    ),
    caveats=(
        "The radius belongs to quadratics: elsewhere the series of igr.backward-error in general diverges for every h.",
        "The bounds are relative to l and hold for one mode; over n steps a missing rate adds up to n h times it.",
        "For z < 0, where the loss is concave, odd orders grow too slowly and even ones too fast.",
    ),
    figure=Figure(
        data=sums_and_remainders,
        panels=(
            Panel(
                "series",
                x_label="learning rate × eigenvalue, z = hl (dimensionless)",
                y_label="rate / eigenvalue (dimensionless)",
                title="The rate −log(1 − z)/z and its partial sums",
                decorate=mark_radius,
            ),
            Panel(
                "remainder",
                x_label="learning rate × eigenvalue, z = hl (dimensionless)",
                y_label="(φ − φ_N) (N + 2) / z^(N + 1)",
                title="What a partial sum leaves out, and its bounds",
                y_scale="log",
                decorate=plain_ticks,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

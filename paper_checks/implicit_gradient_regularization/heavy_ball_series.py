"""The series of heavy ball's rate on a quadratic is one of Legendre polynomials; it converges up to its first boundary.

With z = h l the rate of igr.heavy-ball-modes, times h, has the derivative 1/S, where S^2 = (1 - b - z)^2 - 4 b z: the
generating function of Legendre polynomials. The series stops converging where S first vanishes, at
|z| = (1 - sqrt b)^2; for positive z the two roots meet there.
"""

from functools import partial

import mpmath
import numpy as np
import sympy

from quadlab.problems import Quadratic
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import HeavyBall, descend
from quadlab.theory.elementary import sqrt
from quadlab.theory.intervals import Interval, momentum_range, whole_positive
from quadlab.theory.modified_loss import heavy_ball_modified_eigenvalue
from quadlab.verify import IDENTITY, LIMIT, Claim, Derivation, Domain, ErrorOrder, Theorem, Window

MOMENTUM, ROOT = sympy.symbols("momentum root_of_momentum", positive=True)
TERM = Interval(1, 30, lower_closed=True, upper_closed=True, whole=True, typical=(1, 10))


def series_coefficient(term, momentum):
    """Coefficient of h^(term - 1) l^term in the rate: the last term of its truncation."""
    last = int(term) - 1
    one = sympy.Integer(1) if isinstance(momentum, sympy.Expr) else 1.0
    truncated = partial(heavy_ball_modified_eigenvalue, one, one, momentum)
    return truncated(order=last) - truncated(order=last - 1) if last else truncated(order=0)


def from_square_root(formula, terms=4):
    """d(h rate)/dz = 1/S on the larger root, S^2 = (1 - b - z)^2 - 4 b z; its series, squared, times S^2 is 1."""
    z = sympy.Symbol("z")
    square = (1 - MOMENTUM - z) ** 2 - 4 * MOMENTUM * z
    slope = [k * formula(sympy.Integer(k), MOMENTUM) for k in range(1, terms + 1)]
    series = np.convolve(np.convolve(slope, slope), sympy.Poly(square, z).all_coeffs()[::-1])
    residuals = {f"z^{k}": series[k] - int(k == 0) for k in range(terms)}
    residuals["positive branch"] = formula(sympy.Integer(1), MOMENTUM) - 1 / (1 - MOMENTUM)
    return Derivation((("S^2", square),), residuals)


def coefficient_on_circle(term, momentum, nodes=128):
    """Taylor coefficient in z = h l of -log of the larger root, by Cauchy's integral formula inside the radius."""
    with mpmath.workdps(40):
        b, total = mpmath.mpf(float(momentum)), mpmath.mpf(0)
        radius = (1 - mpmath.sqrt(b)) ** 2 * 7 / 10
        for k in range(nodes):
            z = radius * mpmath.expjpi(mpmath.mpf(2 * k) / nodes)
            middle = (1 + b - z) / 2
            half = mpmath.sqrt(middle**2 - b)
            larger = max(middle + half, middle - half, key=abs)
            total -= (mpmath.log(larger) * mpmath.expjpi(-mpmath.mpf(2 * k * int(term)) / nodes)).real
        return float(total / nodes / radius ** int(term))


def ratio_of_coefficients(momentum, term):
    """Coefficient `term` of the series over the next one, by the recurrence of Legendre polynomials at rho.

    Coefficients of a square-root singularity fall like k^(-3/2) radius^-k; the power of k is taken out.
    """
    ratio = rho = (1 + momentum) / (1 - momentum)
    for k in range(1, round(term)):
        ratio = ((2 * k + 1) * rho - k / ratio) / (k + 1)
    ratio = (1 - momentum) * (round(term) + 1) / round(term) / ratio
    return ratio * (round(term) / (round(term) + 1)) ** 1.5


def from_branch_points(formula):
    """The rate is singular where S = 0; the nearest such point to 0 is the radius of convergence."""
    z = sympy.Symbol("z")
    square = (1 - ROOT**2 - z) ** 2 - 4 * ROOT**2 * z
    nearest = min(sympy.roots(square, z), key=lambda root: abs(root.subs(ROOT, sympy.Rational(1, 2))))
    found = formula(ROOT**2, sympy.Symbol("term", positive=True))
    return Derivation((("S^2", square), ("its root nearest to 0", nearest)), {"radius": found - nearest})


def miss_of_truncation(formula, setting, learning_rate, momentum=0.25, time=1.0):
    """Distance at a fixed time between heavy ball, started on its larger root, and the decay at a truncated rate."""
    larger = np.roots([1, learning_rate - 1 - momentum, momentum]).max()
    optimiser = HeavyBall(learning_rate, momentum)
    path = descend(Quadratic([[1.0]]), optimiser, [1.0], round(time / learning_rate), previous=[1 / larger])
    truncated = heavy_ball_modified_eigenvalue(1.0, learning_rate, momentum, order=setting["order"])
    return abs(path[-1, 0] - np.exp(-truncated * time))


def order_of_truncation(order):
    """The least power of h in the rate beyond its truncation, at l = 1: h rate is the integral of 1/S over z.

    1/S is expanded by the binomial series in u = (2 (1 + b) z - z^2) / (1 - b)^2, as S^2 = (1 - b)^2 (1 - u).
    """
    z, learning_rate = sympy.symbols("z learning_rate")
    u = (2 * (1 + MOMENTUM) * z - z**2) / (1 - MOMENTUM) ** 2
    inverse = sum(sympy.binomial(2 * k, k) / sympy.Integer(4) ** k * u**k for k in range(order + 2)) / (1 - MOMENTUM)
    rate = sympy.Poly(inverse, z).integrate().as_expr().subs(z, learning_rate) / learning_rate
    truncated = heavy_ball_modified_eigenvalue(sympy.Integer(1), learning_rate, MOMENTUM, order=order)
    beyond = sympy.expand(rate - truncated)
    return next(k for k in range(order + 2) if sympy.cancel(beyond.coeff(learning_rate, k)) != 0)


def from_series(formula):
    """exp(-rate t) minus exp(-truncated rate t) vanishes, at fixed t, as the rates' difference does."""
    found = {order: order_of_truncation(order) for order in range(4)}
    return Derivation(
        steps=tuple((f"first power of h beyond order {order}", power) for order, power in found.items()),
        residuals={f"order {order}": formula(sympy.Integer(order)) - power for order, power in found.items()},
    )


def truncations_against_curvature(rng, momentum=0.5):
    """Rates in units of gradient flow's, against the curvature in units of the radius; and the larger root's."""
    rows, fine, coarse = [], np.linspace(0.01, 1.25, 125), np.linspace(0.05, 1.25, 13)
    radius = (1 - np.sqrt(momentum)) ** 2
    for name, order in (("exact rate", None), *((f"order {n}", n) for n in (0, 1, 3, 10))):
        values = np.real(heavy_ball_modified_eigenvalue(fine * radius, 1.0, momentum, order))
        rows += theory("order", name, fine, values * (1 - momentum) / (fine * radius))
    larger = np.array([max(abs(np.roots([1, z - 1 - momentum, momentum]))) for z in coarse * radius])
    return rows + computed("order", "larger root", coarse, -np.log(larger) * (1 - momentum) / (coarse * radius))


def mark_radius(axes, rows):
    axes.axvline(1, color="0.6", linewidth=0.8)
    axes.set_xlim(0, 1.28)
    axes.text(1.02, 0.86, "oscillating", fontsize=9, color="0.35")
    axes.set_ylim(0.8, 2.9)


THEOREM = Theorem(
    id="igr.heavy-ball-series",
    title="the series of heavy ball's rate on a quadratic, by Legendre polynomials",
    source="derived here from the rule; Ghosh et al. 2023 for the first order",
    statement=r"[h^{k-1} l^k]\,\tilde l = \frac{P_{k-1}(\rho)}{k(1-b)^k}"
    r" = \frac{\sum_j \tbinom{k-1}{j}^2 b^j}{k(1-b)^{2k-1}},\quad \rho = \tfrac{1+b}{1-b}",
    kind=IDENTITY,
    domain=Domain(term=TERM, momentum=momentum_range.between(0, 0.9)),
    formula=series_coefficient,
    derivation=from_square_root,
    oracle=coefficient_on_circle,
    reach=10,
    points=40,
    mutants={
        "powers of rho for Legendre polynomials, or binomials not squared": "(1 + momentum)**(term - 1)"
        " / (term * (1 - momentum)**(2 * term - 1))",
        "without 1/k": lambda term, momentum: int(term) * series_coefficient(term, momentum),
        "P_k for P_{k-1}": lambda term, momentum: (
            (1 - momentum) * (int(term) + 1) * series_coefficient(int(term) + 1, momentum) / int(term)
        ),
        "truncation off by one": lambda term, momentum: (
            series_coefficient(int(term) - 1, momentum) if term > 1 else 0 * momentum
        ),
    },
    corollaries=(
        Claim(
            name="radius",
            statement=r"\text{the series converges for}\ |hl| < (1 - \sqrt b)^2",
            kind=LIMIT,
            domain=Domain(momentum=momentum_range.between(0.05, 0.9), term=whole_positive),
            window=Window("term", 100, 5000, order=-2),
            formula=lambda momentum, term: (1 - sqrt(momentum)) ** 2,
            derivation=from_branch_points,
            oracle=ratio_of_coefficients,
            points=36,
            mutants={
                "(1 - b)^2": "(1 - momentum)**2 + 0 * term",
                "the second boundary": "(1 + sqrt(momentum))**2 + 0 * term",
                "1 - sqrt b": "1 - sqrt(momentum) + 0 * term",
                "half a thousandth more": "1.0005 * (1 - sqrt(momentum))**2",
            },
        ),
        Claim(
            name="truncations",
            statement=r"\text{order } N \le 3:\ \theta_n - e^{-\tilde l_N nh}\,\theta_0 = O(h^{N+1})"
            r"\ \text{at fixed}\ nh",
            kind=IDENTITY,
            domain=Domain(order=Interval(0, 3, lower_closed=True, upper_closed=True, whole=True, typical=(0, 3))),
            formula=lambda order: order + 1,
            derivation=from_series,
            simulation=ErrorOrder(
                settings=tuple({"order": order} for order in range(4)),
                error=miss_of_truncation,
                steps=tuple(1 / n for n in (50, 60, 72, 85, 100, 120, 144, 170, 200)),
                order=lambda formula, setting: formula(**setting),
                observable="order of the distance at a fixed time",
            ),
            mutants={"one order more": "order + 2", "one order less": "order", "no gain": "1 + 0 * order"},
        ),
    ),
    caveats=("On quadratics only; off them igr.heavy-ball states the first order.",),
    figure=Figure(
        data=truncations_against_curvature,
        panels=(
            Panel(
                "order",
                x_label="curvature / radius, hl / (1 − √b)² (dimensionless)",
                y_label="Re rate / gradient flow's, l̃ (1 − b) / l",
                title="Truncated series, b = 0.5",
                decorate=mark_radius,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

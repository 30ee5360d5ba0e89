"""Heavy ball on a randomly sampled curvature: second moments converge below a harmonic mean of two limits.

The curvature of each batch is h times its mean, with relative variance v. Momentum b lifts the limit 2 of the mean
iteration to 2 (1 + b), and it lets the noise add up over 1 / (1 - b) steps, which alone would limit the rate to
2 (1 - b) / v. The two resistances add: 1 / limit = (1/2) (1 / (1 + b) + v / (1 - b)). Beyond v = 1 momentum never pays.

There is no simulation here, on purpose: near the limit typical paths die while their second moments grow, so that
sample means are wrong by any factor. The moment operator decides.
"""

import numpy as np
import sympy
from scipy.optimize import brentq, minimize_scalar

from quadlab import derive, dynamics, moments
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory import stability
from quadlab.theory.elementary import greater, sqrt, where
from quadlab.theory.intervals import Interval, momentum_range, non_negative, positive
from quadlab.verify import IDENTITY, TIGHT, Claim, Derivation, Domain, Statement, Theorem
from quadlab.verify.certify import jury_conditions

RULE = dynamics.heavy_ball_multiplicative_noise()
RATE, CURVATURE, MOMENTUM, VARIANCE = map(RULE.symbol, ("learning_rate", "curvature", "momentum", "relative_variance"))
STEP = sympy.Symbol("a", positive=True)
LARGEST_MOMENTUM = 1 - 1e-5
LIMIT = RATE * derive.mean_square_limit(RULE)


def converges(momentum, variance):
    """Whether all eigenvalues of the recursion of (E x x, E x x-, E x- x-) lie inside the unit circle, by Jury."""
    matrix, _ = derive.second_moment_recursion(RULE)
    matrix = matrix.subs({CURVATURE: STEP / RATE, MOMENTUM: momentum, VARIANCE: variance})
    root = sympy.Symbol("root")
    return sympy.And(*(condition > 0 for condition in jury_conditions(matrix.charpoly(root).as_expr(), root)))


def from_update_rule(formula):
    """The second-moment recursion keeps the cone of covariances, so its radius passes 1 where det(I - A) = 0."""
    matrix, _ = derive.second_moment_recursion(RULE)
    determinant = sympy.factor((sympy.eye(3) - matrix).det())
    return Derivation(
        steps=(
            ("update", RULE.update[0]),
            ("second moments (E x x, E x x-, E x- x-) are multiplied by", matrix),
            ("det(I - A)", determinant),
            ("its positive zero, in learning rate times curvature", LIMIT),
        ),
        residuals={"the first zero of det(I - A)": formula(MOMENTUM, VARIANCE) - LIMIT},
    )


def largest_stable(momentum, relative_variance):
    """Where the spectral radius of the Kronecker operator of the rule reaches one.

    Its entries are quadratic in the rate: their values at three rates give them at all.
    """
    nodes = np.array([0.0, 1.0, 2.0])
    operator = moments.second_moment_operator(
        RULE, eigenvalues=nodes, learning_rate=1.0, momentum=momentum, relative_variance=relative_variance
    )
    weights = np.linalg.inv(np.vander(nodes, increasing=True))

    def excess(rate):
        matrix = np.tensordot(rate ** np.arange(3) @ weights, operator.matrices, axes=1)
        return np.abs(np.linalg.eigvals(matrix)).max() - 1

    mean_limit = 2 * (1 + momentum)
    return brentq(excess, 1e-6 * mean_limit / (1 + relative_variance), 1.001 * mean_limit, xtol=1e-14)


def largest_over_momenta(relative_variance):
    """The largest of the limits of the Kronecker operator over all momenta, of which zero may be the best."""
    found = minimize_scalar(
        lambda momentum: -largest_stable(momentum, relative_variance),
        bounds=(0, LARGEST_MOMENTUM),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return max(-found.fun, largest_stable(0.0, relative_variance))


def equal_limits(relative_variance):
    """The positive momentum at which the limit of the Kronecker operator is again that without momentum."""
    without = largest_stable(0.0, relative_variance)

    def gain(momentum):
        return (largest_stable(momentum, relative_variance) - without) / momentum

    return brentq(gain, 1e-3, LARGEST_MOMENTUM, xtol=1e-14)


def certificate(formula):
    """Jury's criterion, for all real momenta and variances."""
    candidate = formula(MOMENTUM, VARIANCE)
    yield Statement(
        "second moments converge if and only if the rate lies below the limit",
        sympy.Equivalent(converges(MOMENTUM, VARIANCE), candidate > STEP),
        (MOMENTUM < 1,),
    )


def stationary_momentum(formula):
    """Below v = 1 the best momentum is a zero of the limit's derivative; every v < 1 is (u / (2 + u))^2."""
    u = sympy.Symbol("u", positive=True)
    variance = (u / (2 + u)) ** 2
    candidate = sympy.simplify(formula(variance))
    slope = sympy.factor(sympy.diff(LIMIT, MOMENTUM))
    return Derivation(
        steps=(("slope of the limit in the momentum", slope), ("best momentum at v = (u / (2 + u))^2", candidate)),
        residuals={"slope at the best momentum": slope.subs({MOMENTUM: candidate, VARIANCE: variance})},
    )


def best_of_all(formula):
    """No momentum has a higher limit than the candidate, which is admissible."""
    best = formula(VARIANCE)
    assumptions = (VARIANCE > 0, MOMENTUM < 1)
    yield Statement("an admissible momentum", sympy.And(best >= 0, best < 1), assumptions)
    limit_there = LIMIT.subs(MOMENTUM, best)
    yield Statement("at least the limit of every other momentum", limit_there >= LIMIT, assumptions)


def largest_limit(relative_variance):
    """The limit at the best momentum."""
    root = sqrt(relative_variance)
    return where(greater(1, relative_variance), 4 / (1 + root) ** 2, 2 / (1 + relative_variance))


def largest_of_all(formula):
    """No momentum has a limit above the candidate, and one reaches it."""
    candidate, root = formula(VARIANCE), sympy.sqrt(VARIANCE)
    yield Statement("no momentum has a higher limit", candidate >= LIMIT, (VARIANCE > 0, MOMENTUM < 1))
    best = sympy.Max(0, (1 - root) / (1 + root))
    yield Statement("some momentum reaches it", LIMIT.subs(MOMENTUM, best) >= candidate, (VARIANCE > 0,))


def momentum_pays(formula):
    """The limit exceeds that without momentum exactly below the candidate."""
    without = LIMIT.subs(MOMENTUM, 0)
    yield Statement(
        "momentum raises the limit exactly below this momentum",
        sympy.Equivalent(without < LIMIT, formula(VARIANCE) > MOMENTUM),
        (MOMENTUM > 0, MOMENTUM < 1, VARIANCE < 1),
    )


def limits(rng):
    """Limits against momentum for five variances; and in units of E h^2 / E h, against the variance."""
    rows, grid = [], np.linspace(0, 0.995, 200)
    for variance in (0.0, 0.04, 0.25, 1.0, 4.0):
        name = f"v = {variance:g}"
        rows += theory("momentum", name, grid, stability.multiplicative_heavy_ball_limit(grid, variance))
        spots = np.linspace(0.05, 0.95, 7)
        rows += computed("momentum", name, spots, [largest_stable(b, variance) for b in spots])
    variances = np.geomspace(1e-4, 1e4, 200)
    for momentum in (0.0, 0.5, 0.9):
        name = f"b = {momentum:g}"
        scaled = (1 + variances) * stability.multiplicative_heavy_ball_limit(momentum, variances)
        rows += theory("variance", name, variances, scaled)
        spots = np.geomspace(1e-3, 1e3, 7)
        rows += computed("variance", name, spots, [(1 + v) * largest_stable(momentum, v) for v in spots])
    return rows


def mark_best(axes, rows):
    for variance in (0.04, 0.25, 1.0, 4.0):
        best = stability.multiplicative_heavy_ball_best_momentum(variance)
        height = stability.multiplicative_heavy_ball_limit(best, variance)
        axes.plot(best, height, "*", color="black", markersize=10, clip_on=False, zorder=4)


def mark_plateaus(axes, rows):
    for momentum in (0.5, 0.9):
        for level in (2 * (1 + momentum), 2 * (1 - momentum)):
            axes.axhline(level, color="0.6", linewidth=0.8, linestyle=":")


THEOREM = Theorem(
    id="stability.multiplicative-heavy-ball",
    title="momentum against multiplicative noise",
    source="derived here",
    kind=TIGHT,
    statement=r"\lim_t \mathbb E\,x_t^2 = 0 \iff \rho\lambda < \frac{2(1-b^2)}{(1-b) + v(1+b)},\qquad "
    r"\frac1{\text{limit}} = \frac12\Big(\frac1{1+b} + \frac v{1-b}\Big)",
    # towards one the eigenvalues of the operator lose as many digits as the square of 1 - b
    domain=Domain(momentum=momentum_range.between(0, 0.95), relative_variance=non_negative.between(1e-3, 30)),
    formula=stability.multiplicative_heavy_ball_limit,
    derivation=from_update_rule,
    oracle=largest_stable,
    reach=1,
    points=80,
    certificate=certificate,
    mutants={
        "limits of mean and noise multiplied": "2 * (1 + momentum) / (1 + relative_variance)",
        "noise not accumulated": "2 * (1 - momentum**2) / ((1 - momentum) + relative_variance)",
        "weights exchanged": "2 * (1 - momentum**2) / ((1 + momentum) + relative_variance * (1 - momentum))",
        "noise weighted by 1 + b alone": "2 * (1 + momentum) / (1 + relative_variance * (1 + momentum))",
        "the limit of the mean": "2 * (1 + momentum)",
    },
    corollaries=(
        Claim(
            name="best momentum",
            statement=r"\arg\max_b \text{limit} = \max\Big(0, \frac{1 - \sqrt v}{1 + \sqrt v}\Big)",
            kind=IDENTITY,
            domain=Domain(relative_variance=positive),
            formula=stability.multiplicative_heavy_ball_best_momentum,
            derivation=stationary_momentum,
            certificate=best_of_all,
            mutants={
                "where momentum stops paying": "max(0, (1 - relative_variance) / (1 + relative_variance))",
                "variance for its square root": "max(0, (1 - sqrt(relative_variance)) / (1 + relative_variance))",
                "root of the wrong sum": "max(0, 1 - sqrt(relative_variance))",
            },
        ),
        Claim(
            name="largest limit",
            statement=r"\max_b \text{limit} = \frac{4}{(1 + \sqrt v)^2}\ (v < 1),\quad \frac{2}{1 + v}\ (v \ge 1)",
            kind=TIGHT,
            domain=Domain(relative_variance=positive),
            formula=largest_limit,
            oracle=largest_over_momenta,
            reach=10,
            points=40,
            certificate=largest_of_all,
            mutants={
                "momentum always pays": "4 / (1 + sqrt(relative_variance))**2",
                "momentum never pays": "2 / (1 + relative_variance)",
                "no square root": "where(relative_variance < 1, 4 / (1 + relative_variance)**2,"
                " 2 / (1 + relative_variance))",
            },
        ),
        Claim(
            name="where momentum stops paying",
            statement=r"v < 1,\ b > 0:\quad \text{limit}(b) > \text{limit}(0) \iff b < \frac{1 - v}{1 + v}",
            kind=TIGHT,
            domain=Domain(relative_variance=Interval(0, 1, typical=(1e-3, 0.95))),
            formula=lambda relative_variance: (1 - relative_variance) / (1 + relative_variance),
            oracle=equal_limits,
            reach=1,
            points=40,
            certificate=momentum_pays,
            mutants={
                "the best momentum": "(1 - sqrt(relative_variance)) / (1 + sqrt(relative_variance))",
                "any momentum pays below v = 1": "where(relative_variance < 1, 1, 0)",
            },
        ),
    ),
    caveats=(
        "Noise of the curvature alone, one number shared by the direction; additive noise does not move the limit.",
        "A statement about second moments: single paths can converge far beyond the limit.",
        "The best momentum at v = 0 is a supremum, b -> 1, not attained.",
    ),
    figure=Figure(
        data=limits,
        panels=(
            Panel(
                "momentum",
                x_label="momentum b",
                y_label="limit on rate × curvature (dimensionless)",
                title="Best momenta are starred",
                decorate=mark_best,
            ),
            Panel(
                "variance",
                x_label="relative variance v of the curvature",
                y_label="(1 + v) × limit (dimensionless)",
                title="From 2(1 + b) down to 2(1 − b)",
                x_scale="log",
                decorate=mark_plateaus,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

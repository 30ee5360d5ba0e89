"""Adam usually rewards large gradients: the sign of its penalty on the one-norm of the gradient.

Adam follows the loss with a penalty (h/2) (rho_1 - rho_2 g^2 / (g^2 + eps)) on the smoothed one-norm of the gradient
(igr.adam), rho = (1 + b) / (1 - b). With the customary b_2 > b_1 the second term wins wherever the gradient is large
against sqrt(eps): Adam then rewards large gradients. With b_2 <= b_1 it never does, and with b_2 > b_1 no longer above
a threshold of eps. As eps grows the second average stops mattering, and heavy ball on averaged gradients is back.
"""

from functools import cache

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.intervals import Interval, positive, real
from quadlab.theory.modified_loss import heavy_ball_modified_eigenvalue
from quadlab.verify import IDENTITY, LIMIT, TIGHT, Claim, Derivation, Domain, Statement, Theorem, Window

GRADIENT = sympy.Symbol("gradient", real=True, nonzero=True)
CURVATURE, STEP, EPSILON = sympy.symbols("curvature step epsilon", positive=True)
FIRST, SECOND = DECAYS = sympy.symbols("first_decay second_decay", positive=True)


def factor(gradient, first_decay, second_decay, epsilon):
    """rho_1 - rho_2 g^2 / (g^2 + eps)."""
    share = gradient**2 / (gradient**2 + epsilon)
    return (1 + first_decay) / (1 - first_decay) - (1 + second_decay) / (1 - second_decay) * share


def velocity_of_iterates(gradient, curvature, first_decay, second_decay, epsilon):
    """Velocity of Adam at h = 0, and what a unit of h adds, from the derivatives of its iterates in h at h = 0.

    Adam runs on one weight, with each quantity carried as its value at h = 0 and its derivative there. The start is
    chosen so that the settled iterates reach the weight with this gradient.
    """
    root = (gradient**2 + epsilon) ** 0.5
    settling = int(np.ceil(60 / -np.log(max(first_decay, second_decay, 0.1))))
    moments, steps = [0 * root, 0 * root], []
    for count in range(settling + 2):
        # at h = 0 the gradient is constant, so are the bias-corrected averages, and steps are -h g / D
        slope = curvature * (settling - count) * gradient / root
        left = first_decay ** (count + 1), second_decay ** (count + 1)
        moments[0] = first_decay * moments[0] + (1 - first_decay) * slope
        moments[1] = second_decay * moments[1] + (1 - second_decay) * 2 * gradient * slope
        first, second = moments[0] / (1 - left[0]), moments[1] / (1 - left[1])
        steps.append(-(first / root - gradient * second / (2 * root**3)))
    # half of what the step gains by the next one is the flow's own acceleration
    return -gradient / root, steps[-2] - (steps[-1] - steps[-2]) / 2


def factor_of_iterates(gradient, first_decay, second_decay, epsilon):
    """What multiplies (h/2) H (g / D), read from Adam's iterates on one weight with curvature 1."""
    _, added = velocity_of_iterates(gradient, 1.0, first_decay, second_decay, epsilon)
    return -2 * added * (gradient**2 + epsilon) / gradient


def lagging(value, change, decay):
    """A settled running average of what has this value now and changes so much a step; it changes as much."""
    average = sympy.Symbol("average")
    return sympy.solve(decay * (average - change) + (1 - decay) * value - average, average)[0]


@cache
def velocity():
    """Adam's velocity on one weight at h = 0, and what a unit of h adds, from the update."""
    rate = sympy.Symbol("learning_rate", positive=True)
    start = -GRADIENT / sympy.sqrt(GRADIENT**2 + EPSILON)
    change = rate * CURVATURE * start
    squares = lagging(GRADIENT**2, 2 * GRADIENT * change, SECOND)
    moved = -lagging(GRADIENT, change, FIRST) / sympy.sqrt(squares + EPSILON)
    # over one step the flow itself speeds up by half the change of its velocity
    return start, (moved - start.diff(GRADIENT) * change / 2).diff(rate).subs(rate, 0)


@cache
def derived_factor():
    _, added = velocity()
    return sympy.factor(sympy.simplify(-2 * added * (GRADIENT**2 + EPSILON) / (CURVATURE * GRADIENT)))


def from_averages(formula):
    found = derived_factor()
    steps = (("first average", lagging(GRADIENT, sympy.Symbol("change"), FIRST)), ("factor of (h/2) H (g / D)", found))
    return Derivation(steps, {"factor": formula(GRADIENT, *DECAYS, EPSILON) - found})


def difference_of_memories(gradient, first_decay, second_decay, epsilon):
    """rho_1 - rho_2."""
    return 2 * (first_decay - second_decay) / ((1 - first_decay) * (1 - second_decay))


def from_small_epsilon(formula):
    limit = sympy.factor(derived_factor().subs(EPSILON, 0))
    return Derivation((("factor at eps = 0", limit),), {"factor": formula(GRADIENT, *DECAYS, EPSILON) - limit})


def sign_by_decays(formula):
    value = formula(GRADIENT, *DECAYS, EPSILON)
    below_one = (FIRST < 1, SECOND < 1)
    yield Statement("negative if and only if b_2 > b_1", sympy.Equivalent(value < 0, SECOND > FIRST), below_one)
    yield Statement("positive if and only if b_2 < b_1", sympy.Equivalent(value > 0, SECOND < FIRST), below_one)


def threshold(gradient, first_decay, second_decay):
    """The eps at which the factor vanishes."""
    return 2 * (second_decay - first_decay) * gradient**2 / ((1 + first_decay) * (1 - second_decay))


def threshold_of_iterates(gradient, first_decay, second_decay):
    """The same by bracketing, where Adam's iterates move as they would without the penalty."""

    def at(log_share):
        return factor_of_iterates(gradient, first_decay, second_decay, gradient**2 * np.exp(log_share))

    return gradient**2 * np.exp(brentq(at, -20, 20, xtol=1e-14))


def from_root(formula):
    found = derived_factor()
    return Derivation((("factor", found),), {"factor there": found.subs(EPSILON, formula(GRADIENT, *DECAYS))})


def sign_by_epsilon(formula):
    goal = sympy.Equivalent(derived_factor() < 0, formula(GRADIENT, *DECAYS) > EPSILON)
    yield Statement("the factor is negative if and only if eps is below", goal, (FIRST < 1, SECOND < 1))


def heavy_ball_velocity(gradient, curvature, step, first_decay, second_decay, epsilon):
    """Heavy ball with averaged gradients and this step, in time units of the step: learning rate step (1 - b_1)."""
    rate = heavy_ball_modified_eigenvalue(curvature, step * (1 - first_decay), first_decay, order=1)
    return -(1 - first_decay) * rate * gradient / curvature


def adam_with_large_epsilon(gradient, curvature, step, first_decay, second_decay, epsilon):
    """Adam's velocity in the same units: its learning rate is step sqrt(eps)."""
    start, added = velocity_of_iterates(gradient, curvature, first_decay, second_decay, epsilon)
    return (start + step * np.sqrt(epsilon) * added) * np.sqrt(epsilon)


@cache
def limiting_velocity():
    root = sympy.Symbol("root_of_epsilon", positive=True)
    start, added = (term.subs(EPSILON, root**2) for term in velocity())
    return sympy.factor(sympy.limit(sympy.simplify((start + STEP * root * added) * root), root, sympy.oo))


def from_large_epsilon(formula):
    limit = limiting_velocity()
    found = formula(GRADIENT, CURVATURE, STEP, *DECAYS, EPSILON)
    return Derivation((("velocity / step as eps grows", limit),), {"velocity": found - limit})


def factors(rng):
    rows, fine, coarse = [], np.geomspace(1e-4, 1e6, 121), np.geomspace(1e-4, 1e6, 11)
    for decays in CUSTOMARY, CUSTOMARY[::-1]:
        name, larger = "b₁ = {}, b₂ = {}".format(*decays), (1 + max(decays)) / (1 - max(decays))
        rows += theory("factor", name, fine, factor(1.0, *decays, fine) / larger)
        rows += computed("factor", name, coarse, factor_of_iterates(1.0, *decays, coarse) / larger)
    return rows


def mark_zero(axes, rows):
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.text(2e-4, 0.06, "regularizes", fontsize=9, color="0.35")
    axes.text(2e-4, -0.16, "anti-regularizes", fontsize=9, color="0.35")
    axes.plot([threshold(1.0, *CUSTOMARY)], [0], "*", color="black", markersize=9)


CUSTOMARY = 0.9, 0.999
RHO_1, RHO_2 = "(1 + first_decay) / (1 - first_decay)", "(1 + second_decay) / (1 - second_decay)"
SHARE = "gradient**2 / (gradient**2 + epsilon)"
NOT_ZERO, SIZE = "abs(gradient) > 0", real.between(-3, 3)
# iterates settle in reasonable time
DECAY = Interval(0, 0.999, lower_closed=True, upper_closed=True, typical=(0, 0.99))
PAIR = {"first_decay": DECAY, "second_decay": DECAY}

THEOREM = Theorem(
    id="igr.adam-sign",
    title="Adam penalises the one-norm of the gradient only if b_2 <= b_1 or eps is large",
    source="Cattaneo, Klusowski & Shigida 2024; derived here from the update",
    kind=IDENTITY,
    statement=r"B_j = \frac h2\,c_j\,\partial_j \sum_i \sqrt{g_i^2 + \epsilon},\quad"
    r" c_j = \rho_1 - \rho_2 \frac{g_j^2}{g_j^2 + \epsilon},\quad \rho_i = \frac{1 + b_i}{1 - b_i}",
    domain=Domain(NOT_ZERO, gradient=SIZE, **PAIR, epsilon=positive.between(1e-3, 1e3)),
    formula=factor,
    derivation=from_averages,
    oracle=factor_of_iterates,
    scale=lambda gradient, first_decay, second_decay, epsilon: 1 / (1 - max(first_decay, second_decay)),
    mutants={
        "rho_1 and rho_2 exchanged": f"{RHO_2} - {RHO_1} * {SHARE}",
        "opposite sign": f"{RHO_2} * {SHARE} - {RHO_1}",
        "eps ignored": f"{RHO_1} - {RHO_2}",
        "both averages scaled by eps": f"({RHO_1} - {RHO_2}) * {SHARE}",
        "no discretization error, memory alone": f"({RHO_1} - 1) - ({RHO_2} - 1) * {SHARE}",
        "gradient for its square": f"{RHO_1} - {RHO_2} * abs(gradient) / (abs(gradient) + epsilon)",
    },
    corollaries=(
        Claim(
            name="small eps",
            statement=r"\epsilon \to 0:\quad c \to \rho_1 - \rho_2,\ \text{negative if and only if } b_2 > b_1",
            kind=LIMIT,
            domain=Domain(
                NOT_ZERO,
                "abs(second_decay - first_decay) > 0.1",
                gradient=real.between(0.5, 2),
                **PAIR,
                epsilon=positive.between(1e-8, 1e-5),
            ),
            window=Window("epsilon", 1e-8, 1e-5, order=1),
            formula=difference_of_memories,
            derivation=from_small_epsilon,
            oracle=factor_of_iterates,
            certificate=sign_by_decays,
            points=45,
            mutants={
                "opposite sign": f"{RHO_2} - {RHO_1}",
                "first average alone": RHO_1,
                "second average alone": f"-{RHO_2}",
            },
        ),
        Claim(
            name="threshold",
            statement=r"c < 0 \iff \epsilon < \frac{2(b_2 - b_1)}{(1 + b_1)(1 - b_2)}\,g^2",
            kind=TIGHT,
            domain=Domain(NOT_ZERO, "second_decay - first_decay > 0.01", gradient=SIZE, **PAIR),
            formula=threshold,
            derivation=from_root,
            oracle=threshold_of_iterates,
            certificate=sign_by_epsilon,
            points=60,
            mutants={
                "eps against the gradient": "gradient**2",
                "ratio of the lags": "gradient**2 * (second_decay / (1 - second_decay)"
                " / (first_decay / (1 - first_decay)) - 1)",
                "eps outside the root": "abs(gradient) * 2 * (second_decay - first_decay)"
                " / ((1 + first_decay) * (1 - second_decay))",
            },
        ),
        Claim(
            name="large eps",
            statement=r"\epsilon \to \infty,\ s = h/\sqrt\epsilon:\quad \dot\theta\sqrt\epsilon \to"
            r" -\big(g + \tfrac s2 \rho_1 H g\big),\ \text{heavy ball on averaged gradients}",
            kind=LIMIT,
            domain=Domain(
                gradient=real.between(0.5, 2),
                curvature=positive.between(0.5, 2),
                step=positive.between(0.01, 0.1),
                first_decay=DECAY.between(0, 0.9),
                second_decay=DECAY.between(0, 0.9),
                epsilon=positive.between(1e4, 1e7),
            ),
            window=Window("epsilon", 1e4, 1e7, order=-1),
            formula=heavy_ball_velocity,
            derivation=from_large_epsilon,
            oracle=adam_with_large_epsilon,
            points=45,
            mutants={
                "gradient descent": "-(gradient + step / 2 * curvature * gradient)",
                "the second average kept": f"-(gradient + step / 2 * ({RHO_1} - {RHO_2}) * curvature * gradient)",
                "heavy ball's own learning rate": "-(gradient + step / 2 * (1 + first_decay) / (1 - first_decay)**2"
                " * curvature * gradient)",
            },
        ),
    ),
    caveats=(
        "The sign of a term of order h: where h rho_2 |H| / D is not small, it does not decide what Adam does.",
        "With b_1 = 0.9 and b_2 = 0.999 the threshold is eps = 104 g^2: there Adam is nearly heavy ball.",
        "It is the sign at one point of the path, for one coordinate; it does not say where Adam ends.",
    ),
    figure=Figure(
        data=factors,
        panels=(
            Panel(
                "factor",
                x_label="ε / g² (dimensionless)",
                y_label="factor / larger ρ (dimensionless)",
                title="Factor of the one-norm penalty",
                x_scale="log",
                decorate=mark_zero,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

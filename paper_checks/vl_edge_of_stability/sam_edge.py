"""Sharpness-aware minimisation (SAM) has an edge of its own, and it crosses the variational one exactly once.

SAM takes the gradient at a point uphill by a fixed radius r: on one curvature w+ = w - rho lambda (w + r) for w > 0.
Variational learning takes it at N random points of standard deviation s. Each lowers the loss only outside a ball
around the minimum, of radius r kappa for SAM and s sqrt(kappa / N) in expectation for the other, where
kappa = rho lambda / (2 - rho lambda). As functions of the gradient g = lambda w the two edges fall with slopes 1/2 and
2/3 towards small gradients, and they cross where the balls are equal.
"""

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab import derive
from quadlab.dynamics import parameter, variational_gradient_descent
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory import stability, variational
from quadlab.theory.elementary import sqrt
from quadlab.theory.intervals import positive, whole_positive
from quadlab.verify import ASYMPTOTIC, TIGHT, Claim, Derivation, Domain, Statement, Theorem, Window

CURVATURE, RATE, NOISE, SAMPLES = map(parameter, ("curvature", "learning_rate", "noise_variance", "samples"))
GRADIENT, RADIUS, WEIGHT = sympy.symbols("gradient_norm ascent_radius weight", positive=True)
NEXT = WEIGHT - RATE * CURVATURE * (WEIGHT + RADIUS)
# SAM steps downhill from w > 0: the loss falls if and only if w+ > -w, that is, at fixed gradient, if this is positive.
SAM = sympy.expand(CURVATURE * (NEXT + WEIGHT).subs(WEIGHT, GRADIENT / CURVATURE))
# The expected loss of the variational step falls if and only if this is negative.
VARIATIONAL = derive.descent_polynomial(variational_gradient_descent()).as_expr().subs(derive.gradient_symbol, GRADIENT)


def from_update_rule(formula):
    edge = formula(GRADIENT, RATE, RADIUS)
    steps = (("w+, for w > 0", NEXT), ("lambda (w+ + w) at w = g / lambda", SAM), ("its positive root", edge))
    return Derivation(steps, {"lambda (w+ + w) at the edge": SAM.subs(CURVATURE, edge)})


def certificate(formula):
    lower = sympy.Abs(NEXT.subs(WEIGHT, GRADIENT / CURVATURE)) < GRADIENT / CURVATURE
    below = formula(GRADIENT, RATE, RADIUS) > CURVATURE
    yield Statement("the loss falls if and only if the curvature is below the edge", sympy.Equivalent(lower, below))


def ball_certificate(formula):
    goal = sympy.Equivalent(sympy.Abs(NEXT) < WEIGHT, formula(CURVATURE, RATE, RADIUS) < WEIGHT)
    yield Statement("the loss falls if and only if the weight is outside the ball", goal, (RATE * CURVATURE < 2,))


def at_small_gradient(formula):
    leading = sympy.limit(SAM.subs(CURVATURE, formula(GRADIENT, RATE, RADIUS)) / GRADIENT, GRADIENT, 0)
    return Derivation((("lambda (w+ + w)", SAM),), {"its leading order as g vanishes": leading})


def rise(weight, curvature, learning_rate, perturbations):
    """The squared weight after a step less that before, summed over equally likely perturbations."""
    moves = [-learning_rate * curvature * (weight + perturbation) for perturbation in perturbations]
    return sum(move * (2 * weight + move) for move in moves)


def edge_at_gradient(gradient, learning_rate, perturbations):
    """The curvature at which a step from this gradient begins to raise the loss, by bracketing."""
    scale = 1 / learning_rate
    return brentq(
        lambda curvature: rise(gradient / curvature, curvature, learning_rate, perturbations),
        1e-9 * scale, 2.1 * scale, xtol=1e-24 * scale, rtol=1e-15, maxiter=1000,
    )  # fmt: skip


def sam_edge(gradient_norm, learning_rate, ascent_radius):
    return edge_at_gradient(gradient_norm, learning_rate, [ascent_radius])


def sam_ball(eigenvalue, learning_rate, ascent_radius):
    """The weight beyond which a step lowers the loss, by bracketing."""
    ends = 1e-9 * ascent_radius, 1e9 * ascent_radius
    return brentq(
        lambda weight: rise(weight, eigenvalue, learning_rate, [ascent_radius]),
        *ends,
        xtol=1e-300,
        maxiter=1000,
        rtol=1e-15,
    )


def variational_edge(gradient_norm, noise_variance, learning_rate, samples):
    """As for SAM, with two equally likely perturbations that have the variance of the averaged weight samples."""
    reach = np.sqrt(noise_variance / samples)
    return edge_at_gradient(gradient_norm, learning_rate, [-reach, reach])


def crossing_gradient(noise_variance, learning_rate, samples, ascent_radius):
    """Where the two edges, each found by bracketing, change their order."""

    def order(log_gradient):
        g = np.exp(log_gradient)
        rival = sam_edge(g, learning_rate, ascent_radius)
        return np.log(variational_edge(g, noise_variance, learning_rate, samples) / rival)

    return np.exp(brentq(order, np.log(1e-10), np.log(1e6), xtol=1e-14))


def crossing_evidence(unknown):
    """Derivation and certificate of the crossing, as a gradient or as a curvature."""
    arguments = {symbol.name: symbol for symbol in (NOISE, RATE, SAMPLES, RADIUS)}

    def from_both_edges(formula):
        (gradient,) = sympy.solve(SAM, GRADIENT)
        common = sympy.numer(sympy.factor(VARIATIONAL.subs(GRADIENT, gradient)))
        (curvature,) = sympy.solve(common, CURVATURE)
        found = {CURVATURE: curvature, GRADIENT: sympy.factor(gradient.subs(CURVATURE, curvature))}
        steps = (
            ("the gradient at which a curvature is on SAM's edge", gradient),
            ("the cubic of the variational edge there", common),
            ("its positive root", curvature),
            ("the crossing", found[unknown]),
        )
        return Derivation(steps, {"crossing": formula(**arguments) - found[unknown]})

    def below_crossing(formula):
        goal = sympy.Equivalent(VARIATIONAL > 0, formula(**arguments) > unknown)
        name = "on SAM's edge, the variational edge is exceeded if and only if the crossing is not yet reached"
        yield Statement(name, goal, (sympy.Eq(SAM, 0), NOISE > 0))

    ranges = dict.fromkeys(("noise_variance", "learning_rate", "ascent_radius"), positive.between(0.1, 10))
    domain = Domain(**{name: ranges.get(name, whole_positive) for name in arguments})
    return {"kind": TIGHT, "domain": domain, "derivation": from_both_edges, "certificate": below_crossing, "points": 50}


SETTING = {"noise_variance": 0.01, "learning_rate": 0.1, "samples": 1, "ascent_radius": 0.1}


def edges_against_gradient(rng):
    """Both edges as fractions of gradient descent's, in a setting whose crossing is at gradient 1."""
    noise, rate, samples, radius = SETTING.values()
    fine, coarse = np.geomspace(1e-3, 1e3, 121), np.geomspace(1e-3, 1e3, 13)
    sam = stability.sam_sharpness_edge(fine, rate, radius)
    noisy = variational.descent_sharpness_limit(samples * fine**2 / noise, rate)
    rows = theory("edge", "gradient descent", fine[[0, -1]], [1.0, 1.0])
    rows += theory("edge", "SAM", fine, rate / 2 * sam)
    rows += computed("edge", "SAM", coarse, [rate / 2 * sam_edge(g, rate, radius) for g in coarse])
    rows += theory("edge", "variational", fine, rate / 2 * noisy)
    found = [variational_edge(g, noise, rate, samples) for g in coarse]
    return rows + computed("edge", "variational", coarse, rate / 2 * np.array(found))


def mark_crossing(axes, rows):
    crossing = variational.edge_crossing(**SETTING)
    x, y = crossing.gradient_norm, crossing.sharpness * SETTING["learning_rate"] / 2
    axes.plot([x], [y], "*", color="black", markersize=12)
    axes.annotate("crossing", (x, y), (2.5 * x, 0.55 * y), arrowprops={"arrowstyle": "-", "color": "0.4"})
    axes.text(2e-3, 0.1, "slope 1/2", rotation=29)
    axes.text(1.5e-2, 0.0165, "slope 2/3", rotation=36)


ORDER_ONE = positive.between(0.5, 2)
STRENGTH = "(samples * ascent_radius**2 / noise_variance)"
THEOREM = Theorem(
    id="stability.sam-edge",
    title="the edge of sharpness-aware minimisation, and where the variational one crosses it",
    source="Long and Bartlett 2023 for the edge; ball and crossing derived here",
    kind=TIGHT,
    statement=r"\ell(w^+) < \ell(w) \iff \lambda < \frac{g}{2r}\Big(\sqrt{1 + \tfrac{8r}{\rho g}} - 1\Big)"
    r" \iff |w| > \frac{r\rho\lambda}{2 - \rho\lambda};\quad\text{crossing at }"
    r"\ g = \frac{2r}{\rho\kappa_0(1 + \kappa_0)},\ \lambda = \frac{2/\rho}{1 + \kappa_0},\ "
    r"\kappa_0 = \frac{N r^2}{s^2}",
    domain=Domain(gradient_norm=positive, learning_rate=positive, ascent_radius=positive),
    formula=stability.sam_sharpness_edge,
    derivation=from_update_rule,
    oracle=sam_edge,
    reach=100,
    certificate=certificate,
    mutants={
        "4 r for 8 r": "gradient_norm / (2 * ascent_radius)"
        " * (sqrt(1 + 4 * ascent_radius / (learning_rate * gradient_norm)) - 1)",
        "gradient and radius exchanged under the root": "gradient_norm / (2 * ascent_radius)"
        " * (sqrt(1 + 8 * ascent_radius * gradient_norm / learning_rate) - 1)",
        "r g in place of r / g": "(sqrt(1 + 8 * ascent_radius * gradient_norm / learning_rate) - 1)"
        " / (2 * ascent_radius * gradient_norm)",
        "small-gradient law everywhere": "sqrt(2 * gradient_norm / (learning_rate * ascent_radius))",
    },
    corollaries=(
        Claim(
            name="ball",
            statement=r"\rho\lambda < 2:\quad \ell(w^+) < \ell(w) \iff |w| > \frac{r\rho\lambda}{2 - \rho\lambda}",
            kind=TIGHT,
            domain=Domain(
                "learning_rate * eigenvalue < 2",
                eigenvalue=positive.between(1e-2, 10),
                learning_rate=positive.between(1e-2, 10),
                ascent_radius=positive,
            ),
            formula=lambda eigenvalue, learning_rate, ascent_radius: (
                ascent_radius * learning_rate * eigenvalue / (2 - learning_rate * eigenvalue)
            ),
            oracle=sam_ball,
            reach=10,
            certificate=ball_certificate,
            mutants={
                "square root, as for weight noise": "ascent_radius"
                " * sqrt(learning_rate * eigenvalue / (2 - learning_rate * eigenvalue))",
                "inverse": "ascent_radius * (2 - learning_rate * eigenvalue) / (learning_rate * eigenvalue)",
                "the ascent radius itself": "ascent_radius",
            },
        ),
        Claim(
            name="small gradient",
            statement=r"\lambda_{\text{edge}} = \sqrt{\frac{2g}{\rho r}}\,\big(1 + O(\sqrt g)\big)\quad(g \to 0)",
            kind=ASYMPTOTIC,
            window=Window("gradient_norm", 1e-8, 1e-6, order=1 / 2),
            domain=Domain(
                **dict.fromkeys(("gradient_norm", "learning_rate", "ascent_radius"), positive.between(0.5, 2))
            ),
            formula=lambda gradient_norm, learning_rate, ascent_radius: sqrt(
                2 * gradient_norm / (learning_rate * ascent_radius)
            ),
            derivation=at_small_gradient,
            oracle=sam_edge,
            mutants={
                "exponent 2/3, as for weight noise": "(2 * gradient_norm / (learning_rate * ascent_radius)) ** (2/3)",
                "without the 2": "sqrt(gradient_norm / (learning_rate * ascent_radius))",
            },
        ),
        Claim(
            name="gradient at the crossing",
            statement=r"g = \frac{2r}{\rho\kappa_0(1 + \kappa_0)},\quad \kappa_0 = \frac{N r^2}{s^2}",
            **crossing_evidence(GRADIENT),
            formula=lambda *point, **named: variational.edge_crossing(*point, **named).gradient_norm,
            oracle=crossing_gradient,
            reach=1,
            mutants={
                "radius not squared": f"2 * ascent_radius / (learning_rate * {STRENGTH.replace('**2', '')}"
                f" * (1 + {STRENGTH.replace('**2', '')}))",
                "without N": "2 * noise_variance**2"
                " / (learning_rate * ascent_radius * (noise_variance + ascent_radius**2))",
            },
        ),
        Claim(
            name="sharpness at the crossing",
            statement=r"\lambda = \frac{2/\rho}{1 + \kappa_0},\quad \kappa_0 = \frac{N r^2}{s^2}",
            **crossing_evidence(CURVATURE),
            formula=lambda *point, **named: variational.edge_crossing(*point, **named).sharpness,
            oracle=lambda learning_rate, ascent_radius, **noise: sam_edge(
                crossing_gradient(learning_rate=learning_rate, ascent_radius=ascent_radius, **noise),
                learning_rate,
                ascent_radius,
            ),
            reach=1,
            mutants={
                "radius not squared": f"2 / (learning_rate * (1 + {STRENGTH.replace('**2', '')}))",
                "inverted strength": f"2 / (learning_rate * (1 + 1 / {STRENGTH}))",
            },
        ),
    ),
    caveats=(
        "SAM's edge is for a gradient aligned with the eigenvector of the curvature, one step, no noise.",
        "The variational edge is one of expectation, SAM's is not: the crossing compares unlike events.",
    ),
    figure=Figure(
        data=edges_against_gradient,
        panels=(
            Panel(
                "edge",
                x_label="gradient norm g (loss / parameter)",
                y_label="edge / (2/ρ) (dimensionless)",
                title="r = 0.1, s² = 0.01, ρ = 0.1, N = 1",
                x_scale="log",
                y_scale="log",
                decorate=mark_crossing,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

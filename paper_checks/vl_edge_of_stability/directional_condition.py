"""Several directions: where every curvature lies below its edge the expected loss falls, and that is not necessary.

Nor is the second sufficient condition, on the largest curvature and the traces; neither implies the other. The reason
is geometric. With rho lambda_i < 2 throughout, the expected loss falls exactly outside an ellipsoid around the
minimiser, while the first condition asks for a place outside the slab |m_i| <= r_i in every direction. The box of these
slabs has its corners on the ellipsoid; all that lies between the two is given away.

A condition becomes a bound: 0 where it holds, and elsewhere the expected change without its first-order term.
"""

from functools import reduce
from math import prod

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab import derive, dynamics, moments
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory import variational
from quadlab.theory.elementary import greater, maximum, where
from quadlab.theory.intervals import positive, real, whole_positive
from quadlab.verify import (
    LOWER,
    TIGHT,
    UPPER,
    Claim,
    Derivation,
    Directions,
    Domain,
    EdgeBracket,
    Measurement,
    RuleExperiment,
    Statement,
    Theorem,
    parse,
)

RULE = dynamics.variational_gradient_descent()
CURVATURE, RATE, NOISE, SAMPLES = map(RULE.symbol, ("curvature", "learning_rate", "noise_variance", "samples"))
CURVATURES, NOISES = sympy.symbols("curvature_1:3", positive=True), sympy.symbols("noise_1:3", positive=True)
GRADIENTS, DIRECTION = sympy.symbols("gradient_1:3", real=True), sympy.symbols("direction_1:3", positive=True)


def below_edge(eigenvalue, signal, learning_rate):
    """1 where the curvature lies below the closed form of the edge, else 0."""
    return where(greater(variational.descent_sharpness_limit(signal, learning_rate), eigenvalue), 1, 0)


def enough_signal(eigenvalue, signal, learning_rate):
    """The same solved for the signal, which is rational: a solver can decide it for all real numbers."""
    return where(greater(signal * (2 - learning_rate * eigenvalue), learning_rate * eigenvalue**3), 1, 0)


def every(test):
    """The condition that the test holds in all directions."""
    return lambda *point: prod(_one_by_one(test, *point))


def some(test):
    """The condition that the test holds in at least one direction."""
    return lambda *point: 1 - prod(1 - passed for passed in _one_by_one(test, *point))


def top(test):
    """The condition that the test holds in the direction of largest curvature."""
    return lambda eigenvalues, *point: _one_by_one(test, eigenvalues, *point)[np.argmax(eigenvalues)]


def _one_by_one(test, eigenvalues, gradient, noise_variances, learning_rate, samples):
    directions = zip(eigenvalues, gradient, noise_variances, strict=True)
    return [test(h, samples * g**2 / s, learning_rate) for h, g, s in directions]


def overall(test, noise):
    """The test of the largest curvature against the whole gradient and a summary of the noise, such as its trace."""

    def condition(eigenvalues, gradient, noise_variances, learning_rate, samples):
        signal = samples * sum(g**2 for g in gradient) / noise(noise_variances)
        return test(reduce(maximum, eigenvalues), signal, learning_rate)

    return condition


def falls(condition):
    """Upper bound of the expected change: 0 where the condition holds, the second-order terms elsewhere."""

    def bound(eigenvalues, gradient, noise_variances, learning_rate, samples):
        directions = zip(eigenvalues, gradient, noise_variances, strict=True)
        curved = sum(h * g**2 + s * h**3 / samples for h, g, s in directions)
        holds = condition(eigenvalues, gradient, noise_variances, learning_rate, samples)
        return (1 - holds) * learning_rate**2 * curved / 2

    return bound


def rises(condition):
    """Lower bound of the expected change: 0 where the condition fails, the first-order term elsewhere."""

    def bound(eigenvalues, gradient, noise_variances, learning_rate, samples):
        holds = condition(eigenvalues, gradient, noise_variances, learning_rate, samples)
        return -holds * learning_rate * sum(g**2 for g in gradient)

    return bound


def wrong_conditions(test):
    return {
        "any direction suffices": falls(some(test)),
        "the top direction alone": falls(top(test)),
        "the whole gradient against one variance": falls(overall(test, lambda variances: variances[0])),
    }


def enumerated(eigenvalues, gradient, noise_variances, learning_rate, samples):
    """The expected change as a finite sum, over every outcome of draws of a law with this covariance."""
    noise = moments.enumerate_samples(moments.finite_law(np.diag(noise_variances)), int(samples))
    moved = -learning_rate * (gradient + noise * eigenvalues)
    return np.mean(moved @ gradient + moved**2 @ eigenvalues / 2)


def change_at(gradients):
    """The expected change that the update rule gives, summed over two directions."""
    one = derive.expected_change(RULE, at_gradient=True)
    triples = zip(CURVATURES, gradients, NOISES, strict=True)
    places = [{CURVATURE: h, derive.gradient_symbol: g, NOISE: s} for h, g, s in triples]
    return sum(one.subs(place, simultaneous=True) for place in places)


def certificate(relation):
    """The expected change on the right side of its bound in two directions, for all gradients and parameters."""

    def statements(formula):
        bound = formula(CURVATURES, GRADIENTS, NOISES, RATE, SAMPLES)
        yield Statement("change and bound", relation(change_at(GRADIENTS), bound), (sympy.Ne(GRADIENTS[0], 0),))

    return statements


ELLIPSOID = (
    "sqrt(learning_rate / samples * sum(noise_variances * eigenvalues**3)"
    " / sum(eigenvalues**2 * (2 - learning_rate * eigenvalues) * direction**2))"
)
NAMES = ("eigenvalues", "direction", "noise_variances", "learning_rate", "samples")
PLACE = [h * u for h, u in zip(CURVATURES, DIRECTION, strict=True)]


def from_update_rule(formula):
    """The expected change vanishes at the distance; the direction of the box's corner reaches it after one unit."""
    distance = formula(CURVATURES, DIRECTION, NOISES, RATE, SAMPLES)
    corner = [variational.noise_ball_radius(h, s, RATE, SAMPLES) for h, s in zip(CURVATURES, NOISES, strict=True)]
    return Derivation(
        steps=(
            ("expected change in two directions", change_at(GRADIENTS)),
            ("at gradient_i = curvature_i * distance * direction_i it vanishes for the distance", distance),
            ("the corner of the box of noise balls is", corner),
        ),
        residuals={
            "change on the ellipsoid": change_at([distance * gradient for gradient in PLACE]),
            "corner of the box": formula(CURVATURES, corner, NOISES, RATE, SAMPLES) - 1,
        },
    )


def outside(formula):
    """Descent in expectation if and only if the point lies outside the ellipsoid, in two directions."""
    yield Statement(
        "descent exactly outside",
        sympy.Equivalent(change_at(PLACE) < 0, formula(CURVATURES, DIRECTION, NOISES, RATE, SAMPLES) ** 2 < 1),
        tuple(RATE * curvature < 2 for curvature in CURVATURES),
    )


def root_along(eigenvalues, direction, noise_variances, learning_rate, samples):
    """The distance along the direction at which the enumerated expected change passes through zero."""

    def change(logarithm):
        gradient = np.exp(logarithm) * np.multiply(eigenvalues, direction)
        return enumerated(eigenvalues, gradient, noise_variances, learning_rate, samples)

    return np.exp(brentq(change, -30, 30, xtol=1e-14))


def start_at(distance):
    """One step from this distance along the setting's direction."""
    return RuleExperiment(
        RULE,
        lambda setting: {
            "eigenvalues": setting["eigenvalues"],
            "initial": distance * np.array(setting["direction"]),
            "noise_variance": setting["noise_variances"],
            "learning_rate": setting["learning_rate"],
            "samples": setting["samples"],
        },
    )


def decrease(setting, distance, *how):
    """The measured decrease of the loss, negative inside the ellipsoid and positive outside."""
    found = start_at(distance).measure(setting, *how)
    return Measurement(-found.value, found.standard_error, found.replicas)


def plane(rng):
    """Ellipse, box and trace condition around the minimiser, for curvatures 1.6 and 0.4 and noise variance 1/2."""
    curvatures, noise = np.array([1.6, 0.4]), np.array([0.5, 0.5])
    turn = np.linspace(0, 2 * np.pi, 181)
    circle = np.array([np.cos(turn), np.sin(turn)])
    distance = parse(ELLIPSOID, NAMES)
    ellipse = circle * [distance(curvatures, along, noise, 1.0, 1) for along in circle.T]
    few = circle[:, 5::14]
    found = few * [root_along(curvatures, along, noise, 1.0, 1) for along in few.T]
    radii = variational.noise_ball_radius(curvatures, noise, 1.0, 1)
    box = radii[:, None] * [[1, -1, -1, 1, 1], [1, 1, -1, -1, 1]]
    needed = np.sqrt(noise.sum() * 1.6**3 / (2 - 1.6))
    rows = theory("plane", "no expected change", *ellipse) + computed("plane", "no expected change", *found)
    rows += theory("plane", "box of the noise balls, |m| = r", *box)
    return rows + theory("plane", "edge of the trace condition", *(needed * circle / curvatures[:, None]))


def regions(axes, rows):
    """Shade where both curvatures lie below their edges, hatch where the loss falls without that."""
    box = [(row.x, row.y) for row in rows if row.series.startswith("box")]
    right, upper = np.max(box, axis=0)
    far = 4.5
    across, up = np.meshgrid(np.linspace(-far, far, 401), np.linspace(-far, far, 401))
    ring = np.array([(row.x, row.y) for row in rows if row.series == "no expected change" and row.role == "theory"])
    beyond = (across / ring[:, 0].max()) ** 2 + (up / ring[:, 1].max()) ** 2 > 1
    both = (abs(across) > right) & (abs(up) > upper)
    axes.contourf(across, up, both, levels=[0.5, 1.5], colors=["#0072B2"], alpha=0.18)
    axes.contourf(across, up, beyond & ~both, levels=[0.5, 1.5], colors="none", hatches=["//"])
    axes.set(xlim=(-3.2, 3.2), ylim=(-far, far))


DOMAIN = Domain(
    eigenvalues=Directions(positive.between(1, 2), least=2, most=4),
    gradient=Directions(real.between(-2, 2)),
    noise_variances=Directions(positive.between(0.02, 5)),
    learning_rate=positive.between(0.8, 1),
    samples=whole_positive.between(1, 2),
)

THEOREM = Theorem(
    id="vl.directional-condition",
    title="several directions: sufficient conditions and the exact ellipsoid",
    source="Ghosh et al. 2025, Theorem 3.1; converse, trace condition and geometry are derived here",
    kind=UPPER,
    statement=r"\lambda_i < Hig(N g_i^2 / s_i^2;hoig)\ orall i \;\Longrightarrow\;"
    r" \mathbb E\,\ell(m^+) < \ell(m)",
    domain=DOMAIN,
    formula=falls(every(below_edge)),
    oracle=enumerated,
    mutants=wrong_conditions(below_edge),
    corollaries=(
        Claim(
            name="solved for the signal",
            kind=UPPER,
            domain=DOMAIN,
            formula=falls(every(enough_signal)),
            oracle=enumerated,
            certificate=certificate(sympy.Lt),
            mutants=wrong_conditions(enough_signal),
        ),
        Claim(
            name="converse",
            kind=LOWER,
            domain=DOMAIN,
            formula=rises(some(enough_signal)),
            oracle=enumerated,
            certificate=certificate(sympy.Ge),
            mutants={
                "if and only if": rises(every(enough_signal)),
                "the top direction alone": rises(top(enough_signal)),
                "the trace condition is necessary": rises(overall(enough_signal, sum)),
            },
        ),
        Claim(
            name="trace condition",
            kind=UPPER,
            domain=Domain(
                eigenvalues=Directions(positive.between(1.4, 2), least=3, most=4),
                gradient=Directions(real.between(-4, 4)),
                noise_variances=Directions(positive.between(0.3, 1)),
                learning_rate=positive.between(0.8, 1),
                samples=whole_positive.between(1, 2),
            ),
            formula=falls(overall(enough_signal, sum)),
            oracle=enumerated,
            certificate=certificate(sympy.Lt),
            mutants={
                "the variance of one coordinate": falls(overall(enough_signal, lambda variances: variances[0])),
                "the largest variance": falls(overall(enough_signal, lambda v: reduce(maximum, v))),
                "the mean variance": falls(overall(enough_signal, lambda v: sum(v) / len(v))),
            },
        ),
        Claim(
            name="ellipsoid",
            kind=TIGHT,
            domain=Domain(
                "learning_rate * eigenvalues < 2",
                eigenvalues=Directions(positive.between(0.1, 2), most=3),
                direction=Directions(real.between(-2, 2)),
                noise_variances=Directions(positive.between(0.05, 1)),
                learning_rate=positive.between(0.1, 1),
                samples=whole_positive.between(1, 3),
            ),
            formula=parse(ELLIPSOID, NAMES),
            derivation=from_update_rule,
            oracle=root_along,
            certificate=outside,
            points=60,
            simulation=EdgeBracket(
                settings=(
                    {
                        "eigenvalues": [1.6, 0.4],
                        "direction": [1.0, 0.1],
                        "noise_variances": [0.5, 0.5],
                        "learning_rate": 1.0,
                        "samples": 2,
                    },
                ),
                measure=decrease,
                spread=lambda setting, distance: start_at(distance).spread(setting),
                effect=lambda setting, distance: start_at(distance).exact(setting),
                observable="sign of the mean loss change just inside and just outside the ellipsoid",
            ),
            mutants={
                "curvature squared in the noise": ELLIPSOID.replace("**3", "**2"),
                "1 - rho lambda": ELLIPSOID.replace("(2 -", "(1 -"),
                "without N": ELLIPSOID.replace("/ samples ", ""),
                "curvature for its square": ELLIPSOID.replace("eigenvalues**2", "eigenvalues"),
            },
        ),
    ),
    caveats=(
        "Sufficient, not necessary: with curvatures (1.6, 0.4), variance 1/2 and rho = N = 1 the loss falls in"
        " expectation at m = (1.5, 0), where the second curvature exceeds its edge, 0.",
        "The trace condition holds at m = (2.5, 0) there and the first does not; at (1.5, 0.5) it is the other way.",
        "With repeated eigenvalues the signals depend on the basis chosen inside the eigenspace E; the form without a"
        " basis has z_E = N |P_E g|^2 / Tr(P_E Sigma).",
    ),
    figure=Figure(
        data=plane,
        panels=(
            Panel(
                "plane",
                x_label="distance along the first eigenvector, m₁",
                y_label="distance along the second, m₂",
                title="Falls: shaded, below both edges; hatched, above one",
                decorate=regions,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

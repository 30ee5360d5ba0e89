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
        "the whole gradient against the largest variance": falls(overall(test, lambda v: reduce(maximum, v))),
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
    """Certifies `change relation bound` in two directions, for all real gradients and positive parameters."""

    def statements(formula):
        bound = formula(CURVATURES, GRADIENTS, NOISES, RATE, SAMPLES)
        yield Statement("expected change against its bound", relation(change_at(GRADIENTS), bound))

    return statements


ELLIPSOID = (
    "sqrt(learning_rate / samples * sum(noise_variances * eigenvalues**3)"
    " / sum(eigenvalues**2 * (2 - learning_rate * eigenvalues) * direction**2))"
)


def from_update_rule(formula):
    """The expected change vanishes at the distance; the direction of the box's corner reaches it after one unit."""
    distance = formula(CURVATURES, DIRECTION, NOISES, RATE, SAMPLES)
    corner = [variational.noise_ball_radius(h, s, RATE, SAMPLES) for h, s in zip(CURVATURES, NOISES, strict=True)]
    change = change_at([h * distance * u for h, u in zip(CURVATURES, DIRECTION, strict=True)])
    return Derivation(
        steps=(
            ("expected change in two directions", change_at(GRADIENTS)),
            ("with gradient_i = curvature_i * distance * direction_i it vanishes at distance", distance),
            ("the corner of the box of noise balls", corner),
        ),
        residuals={
            "change on the ellipsoid": change,
            "corner of the box": formula(CURVATURES, corner, NOISES, RATE, SAMPLES) - 1,
        },
    )


def root_along(eigenvalues, direction, noise_variances, learning_rate, samples):
    """The distance along the direction at which the enumerated expected change passes through zero."""

    def change(logarithm):
        gradient = eigenvalues * np.exp(logarithm) * direction
        return enumerated(eigenvalues, gradient, noise_variances, learning_rate, samples)

    return np.exp(brentq(change, -30, 30, xtol=1e-14))


def start_at(distance):
    """One step from this distance along the setting's direction."""
    return RuleExperiment(
        RULE,
        lambda setting: {
            "eigenvalues": np.array(setting["eigenvalues"]),
            "initial": distance * np.array(setting["direction"]),
            "noise_variance": np.array(setting["noise_variances"]),
            "learning_rate": setting["learning_rate"],
            "samples": setting["samples"],
        },
    )


def decrease(setting, distance, *how):
    """The measured loss decrease, negative inside the ellipsoid and positive outside."""
    found = start_at(distance).measure(setting, *how)
    return Measurement(-found.value, found.standard_error, found.replicas)


def plane(rng):
    """The ellipse, the box and the boundary of the trace condition for curvatures 1.6 and 0.4, noise variance 1/2."""
    curvatures, noise, turn = np.array([1.6, 0.4]), np.array([0.5, 0.5]), np.linspace(0, 2 * np.pi, 181)
    radii = variational.noise_ball_radius(curvatures, noise, 1.0, 1)
    distance = parse(ELLIPSOID, tuple(THEOREM.corollaries[-1].domain))

    def ellipse(angles):
        return [distance(curvatures, [np.cos(a), np.sin(a)], noise, 1.0, 1) for a in angles]

    def at(angles, distances):
        return distances * np.cos(angles), distances * np.sin(angles)

    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1], [1, 1]]) * radii
    traces = np.sqrt(noise.sum() * curvatures.max() ** 3 / (2 - curvatures.max()))
    few = turn[5::20]
    found = [root_along(curvatures, np.array([np.cos(a), np.sin(a)]), noise, 1.0, 1) for a in few]
    rows = theory("plane", "no expected change", *at(turn, ellipse(turn)))
    rows += computed("plane", "no expected change", *at(few, found))
    rows += theory("plane", "box of noise balls, |m_i| = r_i", *corners.T)
    return rows + theory("plane", "edge of the trace condition", *(traces * np.array([np.cos(turn), np.sin(turn)]).T / curvatures).T)

"""Sharpness-aware minimisation (SAM) has an edge of its own, and it crosses the variational one exactly once.

SAM takes the gradient at a point uphill by a fixed radius r, so that on one curvature w+ = w - rho lambda (w + r) for
w > 0. Variational learning takes it at random points of standard deviation s. Each lowers the loss only outside a
ball around the minimum, and the balls grow differently with the curvature: r kappa against s sqrt(kappa / N), with
kappa = rho lambda / (2 - rho lambda). Hence slopes 1/2 and 2/3 of the two edges at small gradients, and one crossing.
"""

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab import derive
from quadlab.dynamics import parameter, variational_gradient_descent
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory import stability, variational
from quadlab.theory.intervals import positive, whole_positive
from quadlab.verify import ASYMPTOTIC, TIGHT, Claim, Derivation, Domain, Statement, Theorem, Window

CURVATURE, RATE, NOISE, SAMPLES = map(parameter, ("curvature", "learning_rate", "noise_variance", "samples"))
GRADIENT, RADIUS, WEIGHT = sympy.symbols("gradient_norm ascent_radius weight", positive=True)
NEXT = WEIGHT - RATE * CURVATURE * (WEIGHT + RADIUS)
# SAM lowers the loss if and only if this is positive: twice the distance, minus the step, at fixed gradient
MARGIN = sympy.expand(CURVATURE * (NEXT + WEIGHT).subs(WEIGHT, GRADIENT / CURVATURE))
VARIATIONAL = derive.descent_polynomial(variational_gradient_descent()).as_expr().subs(derive.gradient_symbol, GRADIENT)


def from_update_rule(formula):
    edge = formula(GRADIENT, RATE, RADIUS)
    return Derivation(
        steps=(
            ("update, always downhill from w > 0; the loss falls unless it overshoots beyond -w", NEXT),
            ("lambda (w+ + w) at w = g / lambda, decreasing in lambda", MARGIN),
            ("its positive root", edge),
        ),
        residuals={"overshoot to exactly -w": MARGIN.subs(CURVATURE, edge)},
    )


def certificate(formula):
    lower = sympy.Abs(NEXT.subs(WEIGHT, GRADIENT / CURVATURE)) < GRADIENT / CURVATURE
    below = formula(GRADIENT, RATE, RADIUS) > CURVATURE
    yield Statement("the loss falls if and only if the curvature is below the edge", sympy.Equivalent(lower, below))


def ball_certificate(formula):
    outside = formula(CURVATURE, RATE, RADIUS) < WEIGHT
    yield Statement(
        "the loss falls if and only if the weight is outside the ball",
        sympy.Equivalent(sympy.Abs(NEXT) < WEIGHT, outside),
        (RATE * CURVATURE < 2,),
    )


def rise(weight, curvature, learning_rate, perturbations):
    """Mean over perturbations of the squared weight after a step, less that before: a difference of products."""
    moves = -learning_rate * curvature * (weight + perturbations)
    return np.mean(moves * (2 * weight + moves))


def edge_at_gradient(gradient_norm, learning_rate, perturbations):
    """The curvature at which a step at this gradient starts to raise the loss, by bracketing."""
    return brentq(
        lambda h: rise(gradient_norm / h, h, learning_rate, perturbations),
        1e-7 / learning_rate,
        2 / learning_rate,
        xtol=1e-22 / learning_rate,
        rtol=1e-15,
    )


def sam_edge(gradient_norm, learning_rate, ascent_radius):
    return edge_at_gradient(gradient_norm, learning_rate, np.array([ascent_radius]))


def variational_edge(gradient_norm, learning_rate, noise_variance, samples):
    """The same with the noise of the averaged weight samples replaced by two points of the same variance."""
    return edge_at_gradient(gradient_norm, learning_rate, np.sqrt(noise_variance / samples) * np.array([-1, 1]))


def crossing_gradient(noise_variance, learning_rate, samples, ascent_radius):
    """Where the two edges, each found by bracketing, change their order."""

    def order(log_gradient):
        gradient = np.exp(log_gradient)
        return np.log(
            variational_edge(gradient, learning_rate, noise_variance, samples)
            / sam_edge(gradient, learning_rate, ascent_radius)
        )

    return np.exp(brentq(order, np.log(1e-10), np.log(1e6), xtol=1e-15))

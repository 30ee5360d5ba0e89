"""Variational gradient descent: the gradient is averaged over random weights around the mean."""

import sympy

from quadlab.dynamics.deterministic import POSITION
from quadlab.dynamics.noise import Noise, normal, student_t
from quadlab.dynamics.rule import UpdateRule, parameter
from quadlab.theory.intervals import whole_positive

__all__ = ["progressive_sharpening", "variational_gradient_descent"]

SHARPNESS = sympy.Symbol("sharpness", positive=True)


def variational_gradient_descent(samples=None, *, antithetic=False, law="gaussian"):
    """x+ = x - learning_rate * mean_k curvature * (x + sqrt(noise_variance) * eps_k), k = 1..samples.

    samples : a whole number writes every draw out as its own noise symbol; None leaves the number a
        parameter `samples` and states the draws through their mean.
    antithetic : draws come in pairs (+eps, -eps); an odd sample stays alone. Needs a number of samples.
    law : "gaussian", or "student_t" with the parameter `degrees_of_freedom`. `noise_variance` is then the
        squared scale of one weight sample, not its variance.
    """
    draws, noises = _weight_draws("epsilon", samples, antithetic, law)
    curvature, scale = parameter("curvature"), sympy.sqrt(parameter("noise_variance"))
    gradient = sum(curvature * (POSITION + scale * draw) for draw in draws) / len(draws)
    moved = POSITION - parameter("learning_rate") * gradient
    return UpdateRule(_name("variational gradient descent", samples, antithetic, law), (POSITION,), (moved,), noises)


def progressive_sharpening(samples=1, *, antithetic=False, law="gaussian"):
    """Variational gradient descent on S x^2 / 2 with a sharpness S that grows by itself.

    Loss (S_0 + sqrt(b) y) x^2/2 - (a/sqrt(b)) y with a = sharpening and b = sharpness_gradient_squared, in the
    coordinates x and S = S_0 + sqrt(b) y; weight noise acts on x and on y:

        x+ = x - rho mean_k (S + sqrt(b s2) eta_k)(x + sqrt(s2) eps_k)
        S+ = S - rho (b mean_k (x + sqrt(s2) eps_k)^2 / 2 - a)
    """
    if samples is None:
        raise ValueError("samples must be a whole number >= 1 here, got None: the update is not linear in the noise")
    position_draws, position_noises = _weight_draws("epsilon", samples, antithetic, law)
    sharpness_draws, sharpness_noises = _weight_draws("eta", samples, antithetic, law)
    a, b = parameter("sharpening"), parameter("sharpness_gradient_squared")
    rate, scale = parameter("learning_rate"), sympy.sqrt(parameter("noise_variance"))
    positions = [POSITION + scale * draw for draw in position_draws]
    curvatures = [SHARPNESS + sympy.sqrt(b) * scale * draw for draw in sharpness_draws]
    gradient = sum(s * x for s, x in zip(curvatures, positions, strict=True)) / len(positions)
    growth = a - b / 2 * sum(x**2 for x in positions) / len(positions)
    return UpdateRule(
        _name("progressive sharpening", samples, antithetic, law),
        (POSITION, SHARPNESS),
        (POSITION - rate * gradient, SHARPNESS + rate * growth),
        position_noises + sharpness_noises,
    )


def _weight_draws(name, samples, antithetic, law):
    """The random displacements whose gradients are averaged, and the noises they are made of."""
    laws = {"gaussian": lambda: normal, "student_t": lambda: student_t(parameter("degrees_of_freedom"))}
    if law not in laws:
        raise ValueError(f"law must be one of {', '.join(laws)}, got {law!r}")
    if samples is None:
        if antithetic:
            raise ValueError("samples must be a whole number >= 1 when antithetic, got None")
        mean = sympy.Symbol(f"{name}_mean", real=True)
        return [mean], (Noise(mean, laws[law](), parameter("samples")),)
    samples = int(whole_positive.check("samples", samples))
    fresh = sympy.symbols(f"{name}_1:{(samples + 1) // 2 + 1 if antithetic else samples + 1}", real=True)
    draws = [sign * draw for draw in fresh for sign in (1, -1)][:samples] if antithetic else list(fresh)
    return draws, tuple(Noise(symbol, laws[law]()) for symbol in fresh)


def _name(base, samples, antithetic, law):
    count = "" if samples is None else f", {samples} {'antithetic ' if antithetic else ''}samples"
    return base + count + (", Student-t weights" if law == "student_t" else "")

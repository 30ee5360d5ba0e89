"""Rules whose gradients are taken at random weights around the mean: fixed covariance, or IVON's learned diagonal."""

from math import inf, sqrt

import numpy as np

from quadlab.bridge.training.rule import Rule, batch_size_of, minibatch
from quadlab.theory.intervals import (
    Interval,
    momentum_range,
    non_negative,
    positive,
    real,
    refuse,
    whole_positive,
)

__all__ = ["ivon", "variational_gradient_descent"]

_decay = Interval(0, 1, lower_closed=True, upper_closed=True, words="in [0, 1]")
_tails = Interval(0, inf, upper_closed=True, words="positive (infinity: Gaussian)")


def variational_gradient_descent(
    learning_rate,
    noise_variance=None,
    samples=1,
    *,
    antithetic=False,
    scale_squared=None,
    degrees_of_freedom=inf,
    batch_size=None,
):
    """Descent of the mean of a distribution of weights:  w+ = w - rho (1/N) sum_k grad(w + e_k),  e_k ~ (0, Sigma).

    Parameters
    ----------
    learning_rate : rho > 0.
    noise_variance : sigma^2 >= 0, the variance of one draw in each coordinate, in parameter**2; one number, or (n,).
    samples : N, fresh draws in each step.
    antithetic : draws come in pairs (e, -e); an odd last one stays alone.
    degrees_of_freedom : alpha; each coordinate is Student-t, independently. Infinite: Gaussian.
    scale_squared : q, in place of `noise_variance`: its variance is q alpha / (alpha - 2). So degrees of freedom at
        equal `noise_variance` compare shapes at equal variance, and at equal `scale_squared` they do not.
    batch_size : as for `gradient_descent`; all draws of a step see the same examples.

    Raises
    ------
    ValueError: not exactly one of noise_variance and scale_squared; a variance that alpha <= 2 does not have.

    Source: Ghosh et al. 2025; pairs after Geweke 1988.

    >>> from quadlab import bridge
    >>> problem = bridge.Problem(bridge.mlp([1, 1]), [[1.0], [2.0]], [[0.0], [0.0]])
    >>> pairs = variational_gradient_descent(0.1, 0.01, samples=2, antithetic=True)
    >>> pairs(problem, np.array([2.0, 0.0]), {}, np.random.default_rng(0))[0].round(12)
    array([ 1.5, -0.3])
    """
    rho = positive.check_one("learning_rate", learning_rate)
    tails = _tails.check_one("degrees_of_freedom", degrees_of_freedom)
    scale = _scale(noise_variance, scale_squared, tails)
    count, size = int(whole_positive.check_one("samples", samples)), batch_size_of(batch_size)

    def start(problem):
        _check_diagonal("noise_variance" if scale_squared is None else "scale_squared", scale, problem)
        return {}

    def step(problem, parameters, state, rng):
        part, epoch = minibatch(problem, size, state, rng)
        total = problem.backend.zeros((problem.dimension,))
        for draw in _draws(rng, problem.dimension, count, antithetic, tails):
            total = total + part.gradient(parameters + problem.backend.array(scale * draw))
        return parameters - (rho / count) * total, epoch

    return Rule.named(
        "variational_gradient_descent", step, start, learning_rate=rho, scale=scale, degrees_of_freedom=tails,
        samples=count, antithetic=bool(antithetic), batch_size=size,
    )  # fmt: skip


def ivon(
    learning_rate,
    effective_sample_size,
    hessian_initial,
    *,
    weight_decay=0.0,
    momentum=0.9,
    hessian_decay=0.99999,
    samples=1,
    antithetic=False,
    batch_size=None,
):
    """IVON: variational descent with a learned diagonal, sigma^2 = 1 / (ess (h + delta)) for each parameter.

    With e ~ N(0, sigma^2), means over the draws, and t = 1, 2, …:

        G = mean grad(w + e),   F = mean grad(w + e) e / sigma^2   (E F = E diag Hessian, by Stein's identity)
        a+ = beta1 a + (1 - beta1) G,   d = (1 - beta2) (F - h),   h+ = h + d + d^2 / (2 (h + delta))
        w+ = w - rho (a+ / (1 - beta1^t) + delta w) / (h+ + delta)

    The square keeps h+ + delta >= (h + delta) / 2 > 0, as 1 + x + x^2/2 >= 1/2.

    Parameters
    ----------
    learning_rate : rho > 0, in units of 1 (the step is preconditioned): rho / (h + delta) is a learning rate.
    effective_sample_size : ess > 0, the number of examples over the temperature.
    hessian_initial : h at first, one number or (n,), with h + delta > 0.
    weight_decay : delta >= 0. momentum : beta1 in [0, 1). hessian_decay : beta2 in [0, 1]; 1 keeps h.
    samples, antithetic, batch_size : as for `variational_gradient_descent`, which with rate rho / h is what
        beta1 = 0, beta2 = 1, delta = 0 gives.

    The state holds "hessian" (h), "average" (a) and "count" (t).

    Source: Shen et al. 2024 (arXiv 2402.17641), algorithm 1; the square after Lin, Schmidt, Khan 2020.

    >>> ivon(0.1, 1000, 0.5, weight_decay=1e-4).name[:58]
    'ivon(learning_rate=0.1, effective_sample_size=1000.0, hess'
    """
    rho = positive.check_one("learning_rate", learning_rate)
    ess = positive.check_one("effective_sample_size", effective_sample_size)
    delta = non_negative.check_one("weight_decay", weight_decay)
    beta1 = momentum_range.check_one("momentum", momentum)
    beta2 = _decay.check_one("hessian_decay", hessian_decay)
    first = np.asarray(real.check("hessian_initial", hessian_initial))
    positive.check("hessian_initial + weight_decay", first + delta)
    count, size = int(whole_positive.check_one("samples", samples)), batch_size_of(batch_size)

    def start(problem):
        _check_diagonal("hessian_initial", first, problem)
        hessian = problem.backend.array(np.broadcast_to(first, (problem.dimension,)).copy())
        return {"hessian": hessian, "average": problem.backend.zeros((problem.dimension,)), "count": 0}

    def step(problem, parameters, state, rng):
        part, epoch = minibatch(problem, size, state, rng)
        precision = state["hessian"] + delta
        deviation = 1 / (sqrt(ess) * problem.backend.namespace.sqrt(precision))
        slope, curvature = problem.backend.zeros((problem.dimension,)), problem.backend.zeros((problem.dimension,))
        for draw in _draws(rng, problem.dimension, count, antithetic, inf):
            standard = problem.backend.array(draw)
            gradient = part.gradient(parameters + deviation * standard)
            slope, curvature = slope + gradient, curvature + gradient * (standard / deviation)
        change = (1 - beta2) * (curvature / count - state["hessian"])
        hessian = state["hessian"] + change + change * (change / (2 * precision))
        average = beta1 * state["average"] + ((1 - beta1) / count) * slope
        t = state["count"] + 1
        moved = parameters - rho * (average / (1 - beta1**t) + delta * parameters) / (hessian + delta)
        return moved, {"hessian": hessian, "average": average, "count": t, **epoch}

    return Rule.named(
        "ivon", step, start, learning_rate=rho, effective_sample_size=ess, hessian_initial=first[()],
        weight_decay=delta, momentum=beta1, hessian_decay=beta2, samples=count, antithetic=bool(antithetic),
        batch_size=size,
    )  # fmt: skip


def _draws(rng, dimension, count, antithetic, degrees_of_freedom):
    """Standard draws (n,), one after the other, on the host: the same numbers whatever the backend and its dtype."""
    draw = np.zeros(0)
    for i in range(count):
        if antithetic and i % 2:
            draw = -draw
        elif degrees_of_freedom == inf:
            draw = rng.standard_normal(dimension)
        else:
            draw = rng.standard_t(degrees_of_freedom, dimension)
        yield draw


def _scale(noise_variance, scale_squared, degrees_of_freedom):
    """The square root of q, from whichever of the two is given."""
    if (noise_variance is None) == (scale_squared is None):
        raise ValueError(
            f"give exactly one of noise_variance and scale_squared, got {noise_variance!r} and {scale_squared!r}"
        )
    if scale_squared is not None:
        return np.sqrt(non_negative.check("scale_squared", scale_squared))
    refuse(
        degrees_of_freedom <= 2,
        "noise_variance needs degrees_of_freedom above 2",
        degrees_of_freedom=degrees_of_freedom,
    )
    variance = non_negative.check("noise_variance", noise_variance)
    return np.sqrt(variance * (1 - 2 / degrees_of_freedom))


def _check_diagonal(name, values, problem):
    if np.shape(values) not in ((), (problem.dimension,)):
        raise ValueError(f"{name} must be one number or have shape ({problem.dimension},), got {np.shape(values)}")

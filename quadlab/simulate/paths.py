"""The path of one optimiser from one start, and how far it strays from a flow."""

from functools import partial
from math import floor

import numpy as np

from quadlab.simulate.ensemble import LARGEST_STATE
from quadlab.simulate.flows import modified_flow
from quadlab.simulate.weights import GradientDescent
from quadlab.theory.intervals import positive, real, whole_positive
from quadlab.theory.seeds import generator

__all__ = ["descend", "global_error", "local_error"]


def descend(problem, optimiser, start, steps, *, previous=None, rng=None):
    """The iterates of an optimiser on the weights of a problem, smooth or quadratic.

    Parameters
    ----------
    problem : anything with gradient(weights); a quadlab.problems.GradientPenalty for explicit gradient regularization.
    optimiser : one of `quadlab.simulate`'s, or a function (weights, previous, gradient, generator) -> weights on arrays
        of shape (1, P).
    start : weights at step 0, shape (P,).
    steps : number of steps.
    previous : weights at step -1 for optimisers with memory; the start by default, that is, at rest.
    rng : None, a seed, a SeedSequence or a Generator, for optimisers that draw noise.

    Returns
    -------
    Array of shape (steps + 1, P).

    Raises
    ------
    ValueError: start is not a finite vector. ArithmeticError: the iterates diverge; the message says at which
    step.

    >>> from quadlab.problems import ProductModel
    >>> descend(ProductModel(), GradientDescent(0.025), [2.8, 3.5], steps=2)
    array([[2.8       , 3.5       ],
           [1.995     , 2.856     ],
           [1.63102279, 2.60175121]])
    """
    steps = int(whole_positive.check("steps", steps))
    now = np.atleast_1d(real.check("start", start))
    if now.ndim != 1 or not now.size:
        raise ValueError(f"start must be a non-empty vector, got shape {now.shape}")
    before = now if previous is None else np.atleast_1d(real.check("previous", previous))
    if before.shape != now.shape:
        raise ValueError(f"previous must have shape {now.shape} like start, got {before.shape}")
    random = generator(rng, "descend")
    path = np.empty((steps + 1, now.size))
    path[0], now, before = now, now[None], before[None]
    with np.errstate(all="ignore"):
        for step in range(1, steps + 1):
            moved = np.asarray(optimiser(now, before, problem.gradient, random))
            if moved.shape != now.shape:
                raise ValueError(f"optimiser must return shape {now.shape} like the weights, got {moved.shape}")
            now, before = moved, now
            if not (np.abs(now) <= LARGEST_STATE).all():
                raise ArithmeticError(f"the iterates diverge: step {step} exceeds {LARGEST_STATE:g} or is not a number")
            path[step] = now[0]
    return path


def local_error(problem, start, learning_rate, *, flow=None):
    """One step of gradient descent minus the flow for the same time, theta_1 - Phi_h(theta_0), shape (P,).

    flow : function (start, times, learning_rate) -> positions; the modified loss's by default. Others are
        `functools.partial(modified_flow, problem, order=2)` and a lambda around `gradient_flow` or `flow`.

    >>> from quadlab.problems import ProductModel
    >>> local_error(ProductModel(), [2.8, 3.5], 1e-3)
    array([-9.8322...e-06, -8.9088...e-06])
    """
    rate = positive.check_one("learning_rate", learning_rate)
    follow = partial(modified_flow, problem) if flow is None else flow
    path = descend(problem, GradientDescent(rate), start, steps=1)
    return path[1] - follow(path[0], rate, rate)


def global_error(problem, start, learning_rate, duration, *, flow=None):
    """Largest distance of the iterates from the flow up to a time: max over n h <= duration of |theta_n - theta(n h)|.

    flow : as for `local_error`. Fix the duration while the learning rate shrinks: the statement is about fixed time.

    >>> from quadlab.problems import ProductModel
    >>> errors = [global_error(ProductModel(), [2.8, 3.5], h, duration=0.4) for h in (0.004, 0.002)]
    >>> [f"{error:.2e}" for error in errors]
    ['2.16e-03', '5.31e-04']
    """
    rate, duration = positive.check_one("learning_rate", learning_rate), positive.check_one("duration", duration)
    steps = floor(duration / rate * (1 + 1e-9))
    if steps < 1:
        raise ValueError(f"duration must be at least one step of {rate:g}, got {duration:g}")
    follow = partial(modified_flow, problem) if flow is None else flow
    path = descend(problem, GradientDescent(rate), start, steps)
    return float(np.linalg.norm(path[1:] - follow(path[0], rate * np.arange(1, steps + 1), rate), axis=1).max())

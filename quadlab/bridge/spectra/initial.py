"""The curvature of new networks, in units of which learning rates carry over from one data set to another."""

import numpy as np

from quadlab.bridge.spectra.eigenpairs import top_eigenpairs
from quadlab.theory.intervals import whole_positive

__all__ = ["initial_sharpness"]


def initial_sharpness(problem, *, networks=4, tolerance=1e-2):
    """The mean over new networks of the largest eigenvalue of the Hessian, in units of loss / parameter**2.

    networks : how many, initialised with the seeds 0, 1, …
    tolerance : of `top_eigenpairs`; the error of an eigenvalue is of the order of its square.

    Raises ArithmeticError if an eigenvalue did not converge, ValueError for what is no problem.

    >>> from quadlab import bridge
    >>> round(initial_sharpness(bridge.digits(200).problem([20])), 1)
    4.5
    """
    if not hasattr(problem, "hessian"):
        raise ValueError(f"problem must be a quadlab.bridge.Problem, got {problem!r}")
    total = 0.0
    for seed in range(int(whole_positive.check_one("networks", networks))):
        top = top_eigenpairs(
            problem.hessian(problem.network.initial(np.random.default_rng(seed))), rng=0, tolerance=tolerance
        )
        if not top.converged:
            raise ArithmeticError(f"the top eigenvalue of the new network {seed} did not converge")
        total += float(top.values[0])
    return total / networks

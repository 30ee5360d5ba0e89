"""Second- and fourth-moment operators: per mode, or on a full Hessian."""

from quadlab.moments.coupled import CoupledMoments
from quadlab.moments.modes import MomentOperator, mode_operator

__all__ = ["fourth_moment_operator", "second_moment_operator", "spectral_radius"]


def second_moment_operator(rule, *, eigenvalues=None, hessian=None, noise_covariance=None, **parameters):
    """The linear map from E[u u'] to E[u u'] after one step.

    With `eigenvalues` a `MomentOperator`: a small matrix for each mode. With `hessian` (and `noise_covariance`)
    a `CoupledMoments`: a matrix-free SciPy LinearOperator on all (p d)^2 moments.

    >>> from quadlab.dynamics import sgd_multiplicative_noise
    >>> operator = second_moment_operator(sgd_multiplicative_noise(), eigenvalues=[1.0],
    ...                                   learning_rate=0.5, relative_variance=2.0)
    >>> operator.matrices.round(12)      # (1 - 0.5)^2 + 0.25 * 2
    array([[[0.75]]])
    """
    return _operator(rule, 2, eigenvalues, hessian, noise_covariance, parameters)


def fourth_moment_operator(rule, *, eigenvalues=None, hessian=None, noise_covariance=None, **parameters):
    """The linear map on fourth moments: whether, and how well, a second moment can be estimated by sampling."""
    return _operator(rule, 4, eigenvalues, hessian, noise_covariance, parameters)


def spectral_radius(operator):
    """Largest modulus of the eigenvalues of the homogeneous part: below 1 the moments converge.

    >>> from quadlab.dynamics import gradient_descent
    >>> spectral_radius(second_moment_operator(gradient_descent(), eigenvalues=[1.0, 3.0], learning_rate=0.5))
    0.25
    """
    if not isinstance(operator, MomentOperator | CoupledMoments):
        raise ValueError(f"operator must be a MomentOperator or CoupledMoments, got {operator!r}")
    return operator.radius


def _operator(rule, order, eigenvalues, hessian, noise_covariance, parameters):
    if hessian is None:
        if noise_covariance is not None:
            raise ValueError("noise_covariance goes with hessian; with eigenvalues give the parameter noise_variance")
        return mode_operator(rule, order, eigenvalues, parameters)
    if eigenvalues is not None:
        raise ValueError("give either eigenvalues or hessian, got both")
    return CoupledMoments(rule, hessian=hessian, noise_covariance=noise_covariance, order=order, **parameters)

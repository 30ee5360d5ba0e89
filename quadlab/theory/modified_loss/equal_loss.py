"""What a learning rate changes on a quadratic besides speed: an observable at the moment of equal loss."""

import numpy as np

from quadlab.theory.extended_range import extended, rounded
from quadlab.theory.intervals import admit_numbers, non_negative, positive, real, refuse
from quadlab.theory.modified_loss.arguments import require_order, require_shape, within_range
from quadlab.theory.modified_loss.eigenvalues import modified_eigenvalue

__all__ = ["equal_loss_observable"]

NO_REAL_FLOW = (
    "learning_rate * eigenvalues must be below 1 for order=None: from there on gradient descent lands on the minimum "
    "or jumps across it in one step, so no real flow passes through its iterates (modified_eigenvalue and "
    "principal_flow_coefficient are infinite or complex there; a finite order is not restricted)"
)
_ROUNDING = 1e-12


def equal_loss_observable(eigenvalues, initial_state, weights, loss, learning_rate, order=None):
    """sum_i c_i theta_i^2 at the moment when the modified flow on a quadratic has reached a given loss.

    theta_i(t) = theta_i(0) exp(-l~_i t) with the modified eigenvalues l~, and (1/2) sum_i l_i theta_i(t)^2 = loss.
    For c_i / l_i growing with l_i, as for |grad E|^2, it falls with the learning rate; for c_i / l_i falling it grows.

    Parameters
    ----------
    eigenvalues : l_i of the Hessian, >= 0 and not all zero, shape (n,)
    initial_state : theta_i(0) along the eigenvectors, shape (n,)
    weights : c_i, real, shape (n,): l^2 for |grad E|^2, ones for |theta|^2
    loss : loss at which to compare, in (0, initial loss]
    learning_rate : h, >= 0; 0 is gradient flow
    order : None for the flow through the iterates of gradient descent (h max l < 1), or an integer as in
        modified_eigenvalue

    Returns
    -------
    The observable in the unit of weights * parameters**2.

    Raises
    ------
    ValueError: an argument lies outside its interval, a shape does not fit, the loss is never reached, or
        h max l >= 1 with order=None.

    Source: sharp form, derived here, of Prediction 2.1 of Barrett and Dherin 2021.

    >>> modes = [0.1, 1.0, 4.0], [2.0, 1.0, 1.0], [0.01, 1.0, 16.0]
    >>> [round(float(equal_loss_observable(*modes, 0.3, rate)), 9) for rate in (0, 0.1, 0.2)]
    [0.327663291, 0.298407262, 0.283274364]
    """
    eigenvalues, state, weights, loss, rate = admit_numbers(
        eigenvalues=(eigenvalues, non_negative),
        initial_state=(initial_state, real),
        weights=(weights, real),
        loss=(loss, positive),
        learning_rate=(learning_rate, non_negative),
    )
    eigenvalues = require_shape("eigenvalues", eigenvalues, (None,))
    state = require_shape("initial_state", state, eigenvalues.shape)
    weights = require_shape("weights", weights, eigenvalues.shape)
    require_shape("loss", loss, ())
    require_shape("learning_rate", rate, ())
    if not eigenvalues.any():
        raise ValueError("eigenvalues must not all be zero: the loss would be constant")
    if order is None:
        refuse(extended(rate) * eigenvalues >= 1, NO_REAL_FLOW, learning_rate=rate, eigenvalues=eigenvalues)
    else:
        require_order(order)
    rates = within_range(modified_eigenvalue(eigenvalues, rate, order), eigenvalues=eigenvalues, learning_rate=rate)
    squares = extended(state) ** 2
    shares = eigenvalues * squares / 2
    left = np.exp(extended(-_decays_until_loss(shares, rates, loss)))
    # Dividing by the loss as it has come out takes the rounding of the time, which exp amplifies, out of the result.
    observable = loss * (weights * squares * left).sum(axis=-1) / (shares * left).sum(axis=-1)
    return within_range(rounded(observable), eigenvalues=eigenvalues, initial_state=state, weights=weights)


def _decays_until_loss(shares, rates, loss):
    """2 rates_i t at the time t at which sum_i shares_i exp(-2 rates_i t) has fallen to `loss`."""
    initial = shares.sum(axis=-1)
    if loss >= initial * (1 - _ROUNDING):
        if loss > initial * (1 + _ROUNDING):
            raise ValueError(f"loss must be in (0, initial loss], got {loss} with the initial loss {rounded(initial)}")
        return np.zeros_like(rates)
    logarithms, goal = np.log(shares / initial), np.log(loss / initial)
    moving = shares > 0
    # Were all modes as fast as the slowest, or as the fastest, the time would be one of these, in units of the later.
    speeds = rounded(rates / extended(rates[moving].min()))
    early, late = 1 / speeds[moving].max(), 1.0
    with np.errstate(all="ignore"):
        while early < (middle := early + (late - early) / 2) < late:
            terms = (logarithms + goal * speeds * middle)[moving]
            if np.log(np.exp(terms - terms.max()).sum()) + terms.max() > goal:
                early = middle
            else:
                late = middle
        return -goal * speeds * late

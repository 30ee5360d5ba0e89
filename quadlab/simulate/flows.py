"""Flows in continuous time: of any field, of minus a gradient, and of the modified loss that gradient descent follows.

A problem is anything with loss, gradient, hessian_product and third_derivative_product on weights (quadlab.problems).
"""

from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral

import numpy as np

from quadlab.problems import Quadratic
from quadlab.theory.intervals import non_negative, real
from quadlab.theory.modified_loss import modified_eigenvalue

__all__ = ["WorkLimitReached", "flow", "gradient_flow", "modified_flow", "work_limit"]

# the smallest that SciPy's Runge-Kutta methods take seriously is 100 machine epsilons
RELATIVE_TOLERANCE = 3e-14
MOST_EVALUATIONS = 1_000_000
# evaluations that all flows of a block may still make, and all it may make
_LEFT: ContextVar[list[int] | None] = ContextVar("evaluations_left", default=None)


class WorkLimitReached(ArithmeticError):
    """The flows of a block have made all the evaluations that `work_limit` allows them."""


@contextmanager
def work_limit(evaluations):
    """All flows in the block together evaluate their fields at most so often; WorkLimitReached beyond that.

    >>> with work_limit(1000):
    ...     flow(lambda theta: -1e9 * theta, [1.0], times=1.0)
    Traceback (most recent call last):
    ...
    quadlab.simulate.flows.WorkLimitReached: the flow cannot be followed to time 1: ... 1000 evaluations do not ...
    """
    token = _LEFT.set([evaluations, evaluations])
    try:
        yield
    finally:
        _LEFT.reset(token)


def flow(field, start, times):
    """Solution of theta' = field(theta) at given times, by an eighth-order Runge-Kutta method (DOP853).

    Parameters
    ----------
    field : function of (P,) that returns (P,), real.
    start : theta(0), shape (P,).
    times : one time >= 0, or a strictly increasing vector of them.

    Returns
    -------
    Array of shape (P,) for one time, (times, P) for several. Where the flow contracts, the error is about 1e-12 of the
    size of the start (not of what is left of it), or of a thousandth of the way at the first velocity if that is more.

    Raises
    ------
    ValueError: start or times are not finite, the times do not increase, or the field does not return finite numbers
    of the start's shape there.
    ArithmeticError: the solution leaves the floating-point range or takes more than a million evaluations (stiff, or
    not smooth); the message says when.

    >>> flow(lambda theta: -2 * theta, [1.0], times=[0.0, 0.5, 1.0]).ravel().round(12)
    array([1.        , 0.36787944, 0.13533528])
    """
    from scipy.integrate import solve_ivp

    position, moments = _checked_start(start), _checked_times(times)
    late = moments[-1]
    followed = _Followed(field, position, late)
    if late == 0:
        path = np.broadcast_to(position, (len(moments), len(position))).copy()
        return path if np.ndim(times) else path[0]
    # a start at the origin has no scale of its own
    size = max(np.abs(position).max(), 1e-3 * late * np.abs(followed.first).max(), np.finfo(float).tiny)
    with np.errstate(all="ignore"):
        solution = solve_ivp(
            followed,
            (0.0, late),
            position,
            method="DOP853",
            t_eval=moments,
            rtol=RELATIVE_TOLERANCE,
            atol=RELATIVE_TOLERANCE * size,
        )
    if not solution.success or not np.isfinite(solution.y).all():
        followed.give_up("it leaves the floating-point range")
    return solution.y.T if np.ndim(times) else solution.y[:, 0]


class _Followed:
    """The field of a flow, watched: finite real values, a bounded number of evaluations, how far it came."""

    def __init__(self, field, start, late):
        self.field, self.late, self.evaluations, self.reached = field, late, 0, 0.0
        image = np.asarray(field(start))
        if image.shape != start.shape:
            raise ValueError(f"field must return shape {start.shape} like start, got {image.shape}")
        if image.dtype.kind not in "iuf" or not np.isfinite(image).all():
            raise ValueError(f"field must return finite real numbers at the start, got {image}")
        self.first = image.astype(float)

    def __call__(self, time, theta):
        if (left := _LEFT.get()) is not None:
            left[0] -= 1
            if left[0] < 0:
                self.give_up(f"{left[1]} evaluations do not suffice, it is stiff or not smooth", WorkLimitReached)
        self.evaluations += 1
        if self.evaluations > MOST_EVALUATIONS:
            self.give_up(f"{MOST_EVALUATIONS} evaluations do not suffice, it is stiff or not smooth")
        value = self.field(theta)
        if not np.isfinite(value).all():
            self.give_up("it leaves the range in which the field is finite")
        self.reached = max(self.reached, time)
        return value

    def give_up(self, why, error=ArithmeticError):
        raise error(f"the flow cannot be followed to time {self.late:g}: near {self.reached:g} {why}")


def gradient_flow(problem, start, times):
    """Solution of theta' = -grad E(theta); parameters and errors as for `flow`.

    >>> from quadlab.problems import ProductModel
    >>> end = gradient_flow(ProductModel(), [2.8, 3.5], times=20.0)
    >>> end.round(8), round(end[0] ** 2 - end[1] ** 2, 12)  # the difference of squares stays at -4.41
    (array([0.28315199, 2.11900331]), np.float64(-4.41))
    """
    return flow(lambda theta: -problem.gradient(theta), start, times)


def modified_flow(problem, start, times, learning_rate, *, order=1):
    """The flow that gradient descent with a learning rate follows, to a given order in the learning rate.

    theta' = -g - (h/2) H g - h^2 (H^2 g/3 + T[g,g]/12) - ...

    Parameters
    ----------
    problem : a loss; its order 1 is the gradient flow of E + (h/4) |grad E|^2.
    start, times : as for `flow`; iterate n is met at time n h.
    learning_rate : h >= 0; 0 gives gradient flow.
    order : 0 (gradient flow), 1 or 2; on a quadratic any whole number, or None for the sum of the whole series, on
        which the iterates lie exactly. Quadratics are solved in closed form along their spectrum.

    Returns
    -------
    As `flow`.

    Raises
    ------
    ValueError: an order that is not offered; order None where learning_rate * sharpness >= 1.

    Source: Barrett & Dherin 2021, Theorem 3.1; for the other orders see `quadlab.derive.modified_equation`.

    >>> from quadlab.problems import Quadratic
    >>> float(modified_flow(Quadratic([[2.0]]), [1.0], 3 * 0.1, learning_rate=0.1, order=None)[0])  # 0.8 ** 3
    0.512...
    """
    rate = non_negative.check_one("learning_rate", learning_rate)
    degree = _checked_order(order)
    if isinstance(problem, Quadratic):
        return _modified_flow_of_quadratic(problem, start, times, rate, degree)
    if degree is None or degree > 2:
        raise ValueError(f"order must be 0, 1 or 2 unless the problem is a Quadratic, got {order}")

    def field(theta):
        gradient = problem.gradient(theta)
        velocity = -gradient
        if degree >= 1:
            turned = problem.hessian_product(theta, gradient)
            velocity = velocity - rate / 2 * turned
        if degree >= 2:
            twice = problem.hessian_product(theta, turned)
            velocity = velocity - rate**2 * (
                twice / 3 + problem.third_derivative_product(theta, gradient, gradient) / 12
            )
        return velocity

    return flow(field, start, times)


def _modified_flow_of_quadratic(problem, start, times, rate, order):
    position, moments = _checked_start(start), _checked_times(times)
    if len(position) != problem.dimension:
        raise ValueError(f"start must have shape ({problem.dimension},), got {position.shape}")
    if order is None and rate * problem.sharpness >= 1:
        raise ValueError(
            "order None needs learning_rate * sharpness < 1, got"
            f" {rate * problem.sharpness:.6g}: gradient descent then lands on or jumps across the minimum, and no real"
            " flow runs through its iterates; quadlab.theory.modified_loss.modified_eigenvalue gives the complex rate"
        )
    rates = modified_eigenvalue(problem.eigenvalues, rate, order)
    with np.errstate(over="ignore", invalid="ignore"):
        modes = (position - problem.minimizer) @ problem.eigenvectors
        decay = np.exp(-np.where(moments[:, None] > 0, np.outer(moments, rates), 0.0))
        path = problem.minimizer + (decay * modes) @ problem.eigenvectors.T
    if not np.isfinite(path).all():
        raise ArithmeticError(f"the flow of order {order} leaves the floating-point range before time {moments[-1]:g}")
    return path if np.ndim(times) else path[0]


def _checked_order(order):
    if order is None:
        return None
    if isinstance(order, bool) or not isinstance(order, Integral) or int(order) < 0:
        raise ValueError(f"order must be a whole number >= 0 or None, got {order!r}")
    return int(order)


def _checked_start(start):
    position = np.array(real.check("start", start), dtype=float)
    if position.ndim != 1 or not position.size:
        raise ValueError(f"start must be a non-empty vector, got shape {position.shape}")
    return position


def _checked_times(times):
    moments = np.atleast_1d(non_negative.check("times", times))
    if moments.ndim != 1 or not moments.size or not (np.diff(moments) > 0).all():
        raise ValueError(f"times must be one time or a strictly increasing vector of them, got {times!r}")
    return moments

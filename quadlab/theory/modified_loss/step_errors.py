"""What one gradient step leaves behind the flow it follows, and the first-order modified flow of Adam."""

from quadlab.theory.elementary import sqrt
from quadlab.theory.extended_range import extended, rounded
from quadlab.theory.intervals import admit, momentum_range, non_negative, positive, real
from quadlab.theory.modified_loss.arguments import require_shape, require_symmetric, within_range

__all__ = ["adam_modified_field", "gradient_flow_step_error", "modified_flow_step_error"]


def gradient_flow_step_error(hessian, gradient, learning_rate):
    """Leading difference of one gradient step from the time-h gradient flow of the loss: -(h^2/2) H g.

    Parameters
    ----------
    hessian : H, symmetric, possibly indefinite, shape (P, P)
    gradient : g, shape (P,)
    learning_rate : h, >= 0

    Returns
    -------
    Step minus flow up to O(h^3), in the unit of the parameters, shape (P,).

    Raises
    ------
    ValueError: an argument is not real and finite, a shape does not fit, or the Hessian is not symmetric.

    Source: proof of Theorem 3.1 of Barrett and Dherin 2021; the constant is derived here.

    >>> gradient_flow_step_error([[2, 1], [1, 2]], [1, 0], 0.1).round(12)
    array([-0.01 , -0.005])
    """
    hessian, gradient, rate = admit(
        hessian=(hessian, real), gradient=(gradient, real), learning_rate=(learning_rate, non_negative)
    )
    hessian, gradient = _local_quadratic(hessian, gradient, learning_rate=rate)
    h, matrix, slope = extended(rate, hessian, gradient)
    error = rounded(-(h**2) / 2 * _product(matrix, slope))
    return within_range(error, hessian=hessian, gradient=gradient, learning_rate=rate)


def modified_flow_step_error(hessian, gradient, third_derivative, learning_rate):
    """Leading difference of one gradient step from the time-h flow of E + (h/4) |g|^2: -h^3 (H^2 g / 3 + T[g, g] / 12).

    Parameters
    ----------
    hessian : H, symmetric, possibly indefinite, shape (P, P)
    gradient : g, shape (P,)
    third_derivative : T, symmetric in all axes, shape (P, P, P); T[g, g]_i = sum_jk T_ijk g_j g_k
    learning_rate : h, >= 0

    Returns
    -------
    Step minus flow up to O(h^4), in the unit of the parameters, shape (P,).

    Raises
    ------
    ValueError: an argument is not real and finite, a shape does not fit, or H or T is not symmetric.

    Source: Theorem 3.1 of Barrett and Dherin 2021 for the order; the constant is derived here.

    >>> modified_flow_step_error([[2, 1], [1, 2]], [1, 0], [[[12, 0], [0, 0]], [[0, 0], [0, 0]]], 0.1).round(12)
    array([-0.00266667, -0.00133333])
    """
    hessian, gradient, third, rate = admit(
        hessian=(hessian, real),
        gradient=(gradient, real),
        third_derivative=(third_derivative, real),
        learning_rate=(learning_rate, non_negative),
    )
    hessian, gradient = _local_quadratic(hessian, gradient, learning_rate=rate)
    third = require_shape("third_derivative", third, (gradient.size,) * 3)
    require_symmetric("third_derivative", third)
    h, matrix, slope, tensor = extended(rate, hessian, gradient, third)
    twice = _product(matrix, _product(matrix, slope))
    error = rounded(-(h**3) * (twice / 3 + _product(_product(tensor, slope), slope) / 12))
    return within_range(error, hessian=hessian, gradient=gradient, third_derivative=third, learning_rate=rate)


def adam_modified_field(hessian, gradient, learning_rate, first_decay, second_decay, epsilon):
    """Velocity of the flow that Adam follows to first order in the learning rate, once its averages have settled.

    -(g_j + B_j) / D_j with D_j = sqrt(g_j^2 + eps) and
    B_j = (h/2) (rho_1 - rho_2 g_j^2 / D_j^2) (H (g / D))_j, rho_i = (1 + b_i) / (1 - b_i).
    H (g / D) is the gradient of sum_i D_i, a smoothed one-norm of the gradient, which b_2 > b_1 makes larger.

    Parameters
    ----------
    hessian : H, symmetric, possibly indefinite, shape (P, P)
    gradient : g, shape (P,)
    learning_rate : h, >= 0
    first_decay : b_1 in [0, 1) of the average of gradients
    second_decay : b_2 in [0, 1) of the average of squared gradients
    epsilon : eps, > 0, inside the square root, in the unit of a squared gradient

    Returns
    -------
    d theta / dt, t = h times the number of steps, shape (P,). Meaningful where h rho_2 |H| / D is small.

    Raises
    ------
    ValueError: an argument lies outside its interval, a shape does not fit, or the Hessian is not symmetric.

    Source: Cattaneo, Klusowski and Shigida 2024.

    >>> adam_modified_field([[2, 0.5], [0.5, 1]], [1, -0.5], 0.001, 0.9, 0.99, 0.01).round(6)
    array([-0.862197,  0.898944])
    """
    hessian, gradient, rate, first, second, epsilon = admit(
        hessian=(hessian, real),
        gradient=(gradient, real),
        learning_rate=(learning_rate, non_negative),
        first_decay=(first_decay, momentum_range),
        second_decay=(second_decay, momentum_range),
        epsilon=(epsilon, positive),
    )
    hessian, gradient = _local_quadratic(
        hessian, gradient, learning_rate=rate, first_decay=first, second_decay=second, epsilon=epsilon
    )
    h, matrix, slope, offset, b1, b2 = extended(rate, hessian, gradient, epsilon, first, second)
    squared = slope**2 + offset
    direction = slope / sqrt(squared)
    # rho_1 - rho_2 g^2 / D^2, whose terms cancel where the decays are alike and epsilon is small
    memory = ((1 + b1) / (1 - b1) * offset + 2 * (b1 - b2) / (1 - b1) / (1 - b2) * slope**2) / squared
    field = rounded(-direction - h / 2 * memory * _product(matrix, direction) / sqrt(squared))
    return within_range(field, hessian=hessian, gradient=gradient, learning_rate=rate, epsilon=epsilon)


def _product(tensor, vector):
    return (tensor * vector).sum(axis=-1)


def _local_quadratic(hessian, gradient, **scalars):
    """The Hessian and the gradient as arrays, after a look at all shapes."""
    gradient = require_shape("gradient", gradient, (None,))
    hessian = require_shape("hessian", hessian, (gradient.size, gradient.size))
    for name, value in scalars.items():
        require_shape(name, value, ())
    require_symmetric("hessian", hessian)
    return hessian, gradient

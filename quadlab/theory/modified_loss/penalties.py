"""Penalties that a finite learning rate adds to the loss: full batch, minibatches, least squares, an explicit one."""

from quadlab.theory.extended_range import extended, rounded
from quadlab.theory.intervals import (
    admit,
    admit_broadcast,
    non_negative,
    positive,
    real,
    require_broadcast,
    whole_positive,
)
from quadlab.theory.modified_loss.arguments import (
    require_axes,
    require_count,
    require_shape,
    require_symmetric,
    within_range,
)

__all__ = [
    "batch_variance_penalty", "combined_penalty", "kernel_gradient_penalty", "minibatch_gradient_penalty",
    "regularization_rate",
]  # fmt: skip


def regularization_rate(learning_rate, parameter_count):
    """Rate of implicit gradient regularization: lambda = h P / 4, the weight of R = |grad E|^2 / P in E + lambda R.

    Parameters
    ----------
    learning_rate : h, >= 0
    parameter_count : P, a whole number >= 1; it cancels in lambda R = (h/4) |grad E|^2

    Returns
    -------
    Rate in the unit of the learning rate; broadcasts over both arguments.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: Barrett and Dherin 2021, Theorem 3.1.

    >>> float(regularization_rate(0.025, 2))
    0.0125
    """
    rate, count = admit_broadcast(
        learning_rate=(learning_rate, non_negative), parameter_count=(parameter_count, whole_positive)
    )
    rate, count = extended(rate, count)
    return rounded(rate / 4 * count)


def combined_penalty(learning_rate, explicit_penalty):
    """Weight of |grad E|^2 that gradient descent on E + mu |grad E|^2 follows: mu + h/4.

    Exact to first order in h with mu proportional to h; mu = -h/4 leaves the gradient flow of E itself.

    Parameters
    ----------
    learning_rate : h, >= 0
    explicit_penalty : mu, real, in the unit of the learning rate

    Returns
    -------
    Penalty in the unit of the learning rate; broadcasts over both arguments.

    Raises
    ------
    ValueError: an argument lies outside its interval, or the shapes do not broadcast.

    Source: explicit gradient regularization of Barrett and Dherin 2021; the sum is derived here.

    >>> float(combined_penalty(0.1, 0.5))
    0.525
    """
    rate, penalty = admit_broadcast(
        learning_rate=(learning_rate, non_negative), explicit_penalty=(explicit_penalty, real)
    )
    rate, penalty = extended(rate, penalty)
    return rounded(penalty + rate / 4)


def minibatch_gradient_penalty(batch_gradients, learning_rate):
    """What random reshuffling adds to the loss of its mean iterate: (h / (4 m)) sum_k |g_k|^2.

    It is (h/4) |g|^2 of the full batch plus (h/4) times the variance of the m minibatch gradients.

    Parameters
    ----------
    batch_gradients : g_k of the m minibatches of one epoch, shape (..., m, P)
    learning_rate : h, >= 0, of one minibatch step; broadcasts against the leading axes

    Returns
    -------
    Penalty in the unit of the loss, of the broadcast shape of the leading axes.

    Raises
    ------
    ValueError: an argument is not real and finite, the gradients have fewer than two axes or an empty last one, or the
        shapes do not broadcast.

    Source: Smith, Dherin, Barrett and De 2021.

    >>> round(float(minibatch_gradient_penalty([[1, 2], [3, -1], [0, 2]], 0.1)), 12)
    0.158333333333
    """
    gradients, rate = admit(batch_gradients=(batch_gradients, real), learning_rate=(learning_rate, non_negative))
    gradients = require_axes("batch_gradients", gradients, ("m", "P"))
    require_broadcast(**{"leading axes of batch_gradients": gradients[..., 0, 0]}, learning_rate=rate)
    batches = gradients.shape[-2]
    gradients, rate = extended(gradients, rate)
    penalty = rounded(rate * (gradients**2).sum(axis=(-2, -1)) / (4 * batches))
    return within_range(penalty, batch_gradients=batch_gradients, learning_rate=learning_rate)


def batch_variance_penalty(sample_gradients, learning_rate, batch_size):
    """Mean over random batches of the part of the minibatch penalty beyond (h/4) |g|^2.

    (N - B) / (N - 1) (h / (4 B)) Gamma with Gamma = (1/N) sum_i |g_i - g|^2, batches drawn without replacement.

    Parameters
    ----------
    sample_gradients : g_i of the N samples, shape (N, P)
    learning_rate : h, >= 0, of one minibatch step
    batch_size : B, an integer from 1 to N

    Returns
    -------
    Penalty in the unit of the loss; zero for B = N.

    Raises
    ------
    ValueError: an argument is not real and finite, a shape does not fit, or the batch size is not an integer from 1
        to N.

    Source: Smith, Dherin, Barrett and De 2021.

    >>> gradients = [[1, 0], [0, 2], [3, -1], [-2, 1], [0, 0], [4, 4]]
    >>> [round(float(batch_variance_penalty(gradients, 0.1, size)), 12) for size in (1, 2, 6)]
    [0.166666666667, 0.066666666667, 0.0]
    """
    gradients, rate = admit(sample_gradients=(sample_gradients, real), learning_rate=(learning_rate, non_negative))
    gradients = require_shape("sample_gradients", gradients, (None, None))
    require_shape("learning_rate", rate, ())
    samples = len(gradients)
    batch_size = require_count("batch_size", batch_size, 1, samples)
    gradients, rate = extended(gradients, rate)
    variance = ((gradients - gradients.sum(axis=0) / samples) ** 2).sum(axis=(0, 1)) / samples
    penalty = rounded((samples - batch_size) * rate * variance / (max(samples - 1, 1) * 4 * batch_size))
    return within_range(penalty, sample_gradients=sample_gradients, learning_rate=learning_rate)


def kernel_gradient_penalty(residuals, kernel, learning_rate, loss_scale=1):
    """(h/4) |grad E|^2 of least squares from the residuals and the tangent kernel: h c^2 e^T K e.

    E = c sum_i e_i^2, and K_ij = grad e_i . grad e_j at the current parameters.

    Parameters
    ----------
    residuals : e, shape (n,)
    kernel : K, symmetric, shape (n, n)
    learning_rate : h, >= 0
    loss_scale : c, > 0; 1/2 for the usual quadratic loss, 1/n for a mean

    Returns
    -------
    Penalty in the unit of the loss.

    Raises
    ------
    ValueError: an argument is not real and finite, a shape does not fit, or the kernel is not symmetric.

    Source: Barrett and Dherin 2021, appendix on the neural tangent kernel.

    >>> round(float(kernel_gradient_penalty([0.5, -1, 2], [[2, 1, 0], [1, 3, 1], [0, 1, 4]], 0.1)), 12)
    1.45
    """
    residuals, kernel, rate, scale = admit(
        residuals=(residuals, real),
        kernel=(kernel, real),
        learning_rate=(learning_rate, non_negative),
        loss_scale=(loss_scale, positive),
    )
    residuals = require_shape("residuals", residuals, (None,))
    kernel = require_shape("kernel", kernel, (residuals.size, residuals.size))
    require_shape("learning_rate", rate, ())
    require_shape("loss_scale", scale, ())
    require_symmetric("kernel", kernel)
    e, gram, h, c = extended(residuals, kernel, rate, scale)
    penalty = rounded(h * c**2 * (e * (gram * e).sum(axis=-1)).sum(axis=-1))
    return within_range(penalty, residuals=residuals, kernel=kernel, learning_rate=rate, loss_scale=scale)

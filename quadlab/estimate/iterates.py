"""What a few consecutive iterates say about the flow through them."""

import numpy as np

from quadlab.theory.intervals import positive, real

__all__ = ["modified_vector_field"]


def modified_vector_field(iterates, learning_rate):
    """The field at the first iterate whose flow runs through the iterates, by differences.

    f~(theta_0) = (1/h) sum_{n=1}^N (-1)^(n-1)/n Delta^n theta_0,  from  h D~ = log(1 + Delta)

    Parameters
    ----------
    iterates : theta_0, ..., theta_N of gradient descent, shape (N + 1, P), N >= 1.
    learning_rate : h > 0.

    Returns
    -------
    Array of shape (P,), exact up to O(h^N).

    Raises
    ------
    ValueError: the iterates are fewer than two, not finite or not a matrix; the learning rate is not positive.

    Source: Hairer, Lubich, Wanner, Geometric Numerical Integration, chapter IX; the twin of
    `quadlab.derive.modified_equation` on numbers.

    >>> halving = [[8.0], [4.0], [2.0], [1.0]]
    >>> modified_vector_field(halving, learning_rate=0.5)  # tends to 8 log(1/2) / 0.5 = -11.09
    array([-10.66666667])
    """
    step = positive.check_one("learning_rate", learning_rate)
    points = np.asarray(real.check("iterates", iterates))
    if points.dtype == object:
        raise ValueError(f"iterates must be numbers, got {iterates}")
    if points.ndim != 2 or len(points) < 2 or points.shape[1] == 0:
        raise ValueError(f"iterates must have shape (N + 1, P) with N, P >= 1, got shape {points.shape}")
    total, difference = np.zeros(points.shape[1]), points
    with np.errstate(all="ignore"):
        for n in range(1, len(points)):
            difference = np.diff(difference, axis=0)
            total += (-1) ** (n - 1) / n * difference[0]
        field = total / step
    if not np.isfinite(total).all():
        raise ValueError(f"iterates must have differences in the range of doubles, got {len(points)} that do not")
    if not np.isfinite(field).all():
        raise ValueError(f"learning_rate must keep the field in the range of doubles, got {step}")
    return field

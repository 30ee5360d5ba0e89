"""From a rule to its second moments: recursion, mean-square limit, stationary covariance."""

import sympy

from quadlab.derive.expectation import expectation
from quadlab.derive.linear import smallest_positive_root
from quadlab.dynamics import parameter

__all__ = ["mean_square_limit", "second_moment_recursion", "stationary_covariance"]


def second_moment_recursion(rule):
    """The matrix A and offset c of v+ = A v + c for the second moments v = (E x1^2, E x1 x2, ..., E xp^2).

    The mean of the state is taken as zero, where it stays for a rule without constant drift.

    >>> from quadlab.dynamics import sgd_additive_noise
    >>> second_moment_recursion(sgd_additive_noise())
    (Matrix([[curvature**2*learning_rate**2 - 2*curvature*learning_rate + 1]]),
     Matrix([[learning_rate**2*noise_variance]]))
    """
    pairs = [(a, b) for a in range(len(rule.state)) for b in range(a, len(rule.state))]
    products = [rule.state[a] * rule.state[b] for a, b in pairs]
    rows, offsets = [], []
    for a, b in pairs:
        moment = sympy.Poly(expectation(rule.update[a] * rule.update[b], rule.noises), *rule.state)
        if moment.total_degree() > 2:
            raise ValueError(f"the rule must be affine in its state, {rule.name} is not")
        rows.append([moment.coeff_monomial(product) for product in products])
        offsets.append(moment.coeff_monomial(1))
    return sympy.Matrix(rows), sympy.Matrix(offsets)


def mean_square_limit(rule):
    """Curvature below which second moments converge: the first zero of det(I - A).

    A preserves the cone of positive semidefinite moments, so its spectral radius is an eigenvalue and can pass 1
    only where det(I - A) = 0.

    >>> from quadlab.dynamics import sgd_multiplicative_noise
    >>> mean_square_limit(sgd_multiplicative_noise())
    2/(learning_rate*(relative_variance + 1))
    """
    matrix, _ = second_moment_recursion(rule)
    determinant = (sympy.eye(matrix.rows) - matrix).det(method="berkowitz")
    return smallest_positive_root(determinant, parameter("curvature"))


def stationary_covariance(rule):
    """The stationary covariance of the state, a p x p matrix; valid below `mean_square_limit`.

    >>> from quadlab.dynamics import variational_gradient_descent
    >>> stationary_covariance(variational_gradient_descent())
    Matrix([[-curvature*learning_rate*noise_variance/(samples*(curvature*learning_rate - 2))]])
    """
    matrix, offset = second_moment_recursion(rule)
    solution = (sympy.eye(matrix.rows) - matrix).LUsolve(offset)
    size = len(rule.state)
    covariance, entries = sympy.zeros(size, size), iter(solution)
    for a in range(size):
        for b in range(a, size):
            covariance[a, b] = covariance[b, a] = sympy.factor(next(entries))
    return covariance

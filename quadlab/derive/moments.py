"""From a rule to its second moments: recursion, mean-square limit, stationary moments."""

import sympy

from quadlab.derive.expectation import expectation
from quadlab.derive.limits import stability_limit
from quadlab.derive.linear import transition_matrix
from quadlab.dynamics.rule import checked_rule

__all__ = [
    "mean_square_limit",
    "second_moment_recursion",
    "stationary_covariance",
    "stationary_mean",
    "stationary_second_moment",
]


def second_moment_recursion(rule):
    """The matrix A and offset c of v+ = A v + c for the second moments v = (E x1^2, E x1 x2, ..., E xp^2), not centred.

    Where the rule drifts, or one noise is both added to the state and multiplies it, c depends on the mean: the state
    symbols in it stand for their means (their own recursion is `transition_matrix`).

    >>> from quadlab.dynamics import sgd_additive_noise
    >>> second_moment_recursion(sgd_additive_noise())
    (Matrix([[curvature**2*learning_rate**2 - 2*curvature*learning_rate + 1]]),
     Matrix([[learning_rate**2*noise_variance]]))
    """
    pairs = _pairs(checked_rule(rule))
    products = [rule.state[a] * rule.state[b] for a, b in pairs]
    rows, offsets = [], []
    for a, b in pairs:
        moment = sympy.Poly(expectation(rule.update[a] * rule.update[b], rule.noises), *rule.state)
        if moment.total_degree() > 2:
            raise ValueError(f"the rule must be affine in its state, {rule.name} is not")
        rows.append([moment.coeff_monomial(product) for product in products])
        means = [moment.coeff_monomial(symbol) * symbol for symbol in rule.state]
        offsets.append(moment.coeff_monomial(1) + sum(means))
    return sympy.Matrix(rows), sympy.Matrix(offsets)


def mean_square_limit(rule):
    """The curvature below which second moments converge, and at which they do not: a zero of det(I - A).

    A preserves the cone of positive semidefinite moments, so its spectral radius is an eigenvalue and can pass 1
    only where det(I - A) = 0. The zero is chosen, and cases told apart or refused, as in `sharpness_limit`.

    >>> from quadlab.dynamics import sgd_multiplicative_noise
    >>> mean_square_limit(sgd_multiplicative_noise())
    2/(learning_rate*(relative_variance + 1))
    """
    matrix, _ = second_moment_recursion(rule)
    determinant = (sympy.eye(matrix.rows) - matrix).det(method="berkowitz")
    return stability_limit(rule, matrix, [determinant], "second moments")


def stationary_mean(rule):
    """The stationary mean of the state, p x 1: zero for a rule without drift; valid below `sharpness_limit`.

    ValueError where the mean has no stationary value whatever the parameters, as for a random walk.

    >>> from quadlab.dynamics import UpdateRule, parameter
    >>> x, decay = sympy.Symbol("x"), parameter("decay")
    >>> stationary_mean(UpdateRule("drifting", (x,), ((1 - decay) * x + 1,)))
    Matrix([[1/decay]])
    """
    matrix = transition_matrix(rule)
    at_zero = dict.fromkeys(rule.state, 0)
    drift = sympy.Matrix([expectation(expression.subs(at_zero), rule.noises) for expression in rule.update])
    return _fixed_point(rule, "mean", matrix, drift)


def stationary_second_moment(rule):
    """The stationary E[u u'] of the state u, p x p, not centred; valid below `mean_square_limit`."""
    matrix, offset = second_moment_recursion(rule)
    means = dict(zip(rule.state, stationary_mean(rule), strict=True))
    solution = _fixed_point(rule, "second moment", matrix, offset.subs(means, simultaneous=True))
    moment = sympy.zeros(len(rule.state))
    for (a, b), entry in zip(_pairs(rule), solution, strict=True):
        moment[a, b] = moment[b, a] = entry
    return moment


def stationary_covariance(rule):
    """The stationary covariance of the state, p x p, centred: E[u u'] - E u E u'; valid below `mean_square_limit`.

    >>> from quadlab.dynamics import variational_gradient_descent
    >>> stationary_covariance(variational_gradient_descent())
    Matrix([[-curvature*learning_rate*noise_variance/(samples*(curvature*learning_rate - 2))]])
    """
    mean = stationary_mean(rule)
    return (stationary_second_moment(rule) - mean * mean.T).applyfunc(sympy.factor)


def _pairs(rule):
    return [(a, b) for a in range(len(rule.state)) for b in range(a, len(rule.state))]


def _fixed_point(rule, name, matrix, offset):
    """v = matrix v + offset, as a column."""
    system = sympy.eye(matrix.rows) - matrix
    if sympy.factor(system.det(method="berkowitz")) == 0:
        raise ValueError(
            f"the {name} of {rule.name} has no stationary value: its recursion keeps a part of it for ever"
        )
    return system.LUsolve(offset).applyfunc(sympy.factor)

"""Rooted trees and the elementary differentials they stand for.

A tree is the sorted tuple of its branches: () is one vertex, f; ((),) is f'f; ((), ((),)) is f''(f, f'f). The number of
branches of a vertex is the order of the derivative of f that stands there.
"""

import sympy

__all__ = ["elementary_differential", "graft", "tree_name", "vertices"]


def graft(branch, tree):
    """All trees made by attaching `branch` to one vertex of `tree`, one for each vertex.

    The derivative of the elementary differential of `tree` along that of `branch` is their sum.

    >>> graft((), ((),))
    [((), ()), (((),),)]
    """
    grown = [tuple(sorted((*tree, branch)))]
    for k, part in enumerate(tree):
        rest = tree[:k] + tree[k + 1 :]
        grown += [tuple(sorted((*rest, larger))) for larger in graft(branch, part)]
    return grown


def vertices(tree):
    """Number of vertices, which is the number of factors f.

    >>> vertices(((), ((),)))
    4
    """
    return 1 + sum(map(vertices, tree))


def tree_name(tree):
    """The elementary differential in the usual notation.

    >>> tree_name(((), ((),))), tree_name((((),),))
    ("f''(f,f'f)", "f'f'f")
    """
    if not tree:
        return "f"
    branches = ",".join(map(tree_name, tree))
    primes = "'" * len(tree)
    return f"f'{branches}" if len(tree) == 1 else f"f{primes}({branches})"


def elementary_differential(tree, vector_field, state):
    """The column f^(k)(F_1, ..., F_k), where F_j are the elementary differentials of the k branches of `tree`.

    Parameters: a tree, P expressions and the P symbols they are functions of. Returns a P x 1 matrix. Raises ValueError
    when the numbers of components and symbols differ.

    >>> y = sympy.Symbol("y")
    >>> elementary_differential(((), ()), [y**3], [y])
    Matrix([[6*y**7]])
    """
    column, symbols = sympy.Matrix(list(vector_field)), list(state)
    if len(column) != len(symbols):
        raise ValueError(f"vector_field must have {len(symbols)} components like the state, got {len(column)}")
    values: dict = {}
    derivative = column
    for k, branch in enumerate(tree):
        # directions stay constant while f is differentiated
        direction = [sympy.Dummy(f"direction{k}") for _ in symbols]
        derivative = derivative.jacobian(symbols) * sympy.Matrix(direction)
        values |= dict(zip(direction, elementary_differential(branch, column, symbols), strict=True))
    return derivative.xreplace(values).applyfunc(sympy.expand)

"""Small problems on which training is tested."""

import numpy as np

from quadlab import bridge
from quadlab.theory.seeds import generator


def quadratic(outputs=2, examples=7, inputs=3, dtype="float64", backend="numpy"):
    """A linear network, whose squared error is w'Hw/2 - c'w + constant: the problem, H and c from the data alone."""
    rng = np.random.default_rng(8)
    rows, targets = rng.normal(size=(examples, inputs)), rng.normal(size=(examples, outputs))
    problem = bridge.Problem(bridge.mlp([inputs, outputs]), rows, targets, dtype=dtype, backend=backend)
    extended = np.column_stack([rows, np.ones(examples)])
    # W row by row, then b: the parameter of feature i and output j is number i * outputs + j
    hessian = np.kron(extended.T @ extended / examples, np.eye(outputs))
    return problem, hessian, (extended.T @ targets / examples).ravel()


def classifier(dtype="float64", backend="numpy", seed=3, activation="tanh", **options):
    """A small tanh network on labels, with cross entropy; not a quadratic."""
    rng = np.random.default_rng(seed)
    rows, labels = rng.normal(size=(12, 3)), rng.integers(0, 3, size=12)
    network = bridge.mlp([3, 4, 3], activation=activation)
    return bridge.Problem(network, rows, labels, loss="cross_entropy", dtype=dtype, backend=backend, **options)


def iterates(rule, problem, start, steps, rng=None):
    """All iterates of a rule called by hand, (steps + 1, n) on the host."""
    parameters, state = problem.backend.array(start), rule.start(problem)
    path = [bridge.host(parameters)]
    random = rng if hasattr(rng, "standard_normal") else generator(rng, "train")
    for _ in range(steps):
        parameters, state = rule(problem, parameters, state, random)
        path.append(bridge.host(parameters))
    return np.array(path)

"""Theorems that are checked on a user's data hold on odd but ordinary ones, and tell a wrong formula there."""

import itertools

import numpy as np
import pytest

from quadlab import verify as v
from quadlab.problems import LeastSquares
from quadlab.verify.statistics import scaled

ON_DATA = [t for t in v.theorems().values() if t.on_problem and not isinstance(t.simulation, v.Replication)]
RNG = np.random.default_rng(5)
NORMAL, FACTORIAL = RNG.standard_normal((20, 3)), np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
STANDARDISED = (NORMAL - NORMAL.mean(axis=0)) / NORMAL.std(axis=0)
WHOLE = RNG.integers(-3, 4, (12, 3)).astype(float)
DATA = {
    "six hours": (np.arange(6.0)[:, None], [1, 1, 5, 5, 9, 9]),
    "a factorial design": (FACTORIAL, [1, 4, 2, 7, 3, 3, 9, 1]),
    "standardised columns": (STANDARDISED, STANDARDISED @ [1, 2, 3] + RNG.standard_normal(20)),
    "two rows": ([[1.0, 5.0, 3.0], [2.0, 9.0, -1.0]], [3, 7]),
    "duplicated rows": (np.repeat([[1.0, 2], [3, 5], [4, 4]], 4, axis=0), np.repeat([1, 2, 4], 4)),
    "one-hot columns": (np.repeat(np.eye(3), 4, axis=0), RNG.integers(0, 9, 12)),
    "collinear columns": (NORMAL @ [[1, 0, 1, 2], [0, 1, 1, 0], [0, 0, 0, 0]], RNG.standard_normal(20)),
    "an exact fit of whole numbers": (WHOLE, WHOLE @ [1, 2, -1]),
    "a constant target": (NORMAL, np.full(20, 3.0)),
    "more columns than rows": (RNG.standard_normal((5, 12)), RNG.standard_normal(5)),
    "tiny units": (1e-9 * NORMAL, 1e-12 * RNG.standard_normal(20)),
    "huge units": (1e9 * NORMAL, 1e15 * RNG.standard_normal(20)),
    "mixed units": (NORMAL * [1e-6, 1, 1e6], RNG.standard_normal(20)),
    "far from zero": (NORMAL + 1e6, RNG.standard_normal(20) + 1e6),
}


RAW = ("duplicated rows", "collinear columns", "a constant target", "tiny units", "mixed units", "far from zero")


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("theorem", ON_DATA, ids=lambda theorem: theorem.id)
def test_a_true_theorem_is_verified_on_odd_data(theorem, data):
    problem = LeastSquares(*DATA[data], standardize=data not in RAW)
    judge = theorem.on_problem(problem).prepare(theorem.formula, rng=np.random.SeedSequence(0), budget="quick")
    found = judge(theorem.formula)
    assert found.verdict.word == v.VERIFIED, found.verdict
    changed = scaled(theorem.formula, 1 + found.figures["resolution"])
    assert judge(changed).verdict.word == v.REFUTED

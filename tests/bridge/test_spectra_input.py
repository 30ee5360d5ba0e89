"""Operators and arguments of the eigenpairs that are refused, and what is said."""

import numpy as np
import pytest
from operators_for_tests import Counted, OnDevice

from quadlab.bridge.spectra import top_eigenpairs


@pytest.mark.parametrize(
    ("operator", "options", "message"),
    [
        ([[1.0]], {}, "operator must have a shape and @, got list"),
        (np.ones(3), {}, r"operator must be square with at least one row, got shape \(3,\)"),
        (np.ones((3, 2)), {}, r"operator must be square with at least one row, got shape \(3, 2\)"),
        (np.ones((0, 0)), {}, r"operator must be square with at least one row, got shape \(0, 0\)"),
        (np.eye(3), {"k": 0}, "k must be a whole number >= 1, got 0"),
        (np.eye(3), {"k": 4}, "k must be at most n = 3, got 4"),
        (np.eye(3), {"k": 1.5}, "k must be a whole number >= 1, got 1.5"),
        (np.eye(3), {"block": 0}, "block must be a whole number >= 1, got 0"),
        (np.eye(3), {"search": 0}, "search must be a whole number >= 1, got 0"),
        (np.eye(3), {"tolerance": 0}, r"tolerance must be in \(0, 1\), got 0"),
        (np.eye(3), {"which": "top"}, 'which must be "largest", "smallest" or "magnitude", got \'top\''),
        (
            np.eye(3),
            {"which": ["largest"]},
            'which must be "largest", "smallest" or "magnitude", got \\[\'largest\'\\]',
        ),
        (np.eye(3), {"rng": "seed"}, "rng must be None, a non-negative int, a SeedSequence or a Generator, got 'seed'"),
        (np.eye(3), {"rng": -1}, "rng must be None, a non-negative int"),
        (np.eye(3), {"rng": True}, "rng must be None, a non-negative int"),
        (np.eye(3), {"start": np.ones(2)}, r"start must have shape \(3,\) or \(3, j\), got \(2,\)"),
        (np.eye(3), {"start": np.ones((3, 0))}, r"start must have shape \(3,\) or \(3, j\), got \(3, 0\)"),
        (np.eye(3), {"start": [0, np.nan, 1]}, "start must be finite, got nan"),
        (np.eye(3), {"start": ["a", "b", "c"]}, "start must be real numbers, got dtype <U1"),
        (np.eye(3), {"start": OnDevice(np.eye(3)).held}, "start must be NumPy or numpy arrays, got Array"),
        (np.eye(50), {"k": 3, "basis": 4}, "basis must be at least 5 for these k and block, got 4"),
        (np.eye(50), {"k": 3, "max_products": 7}, "max_products must be at least 8 for these k and block, got 7"),
        (np.eye(3), {"block": 200, "max_products": 4}, "max_products must be at least 5 for these k and block, got 4"),
        (np.full((3, 3), np.nan), {}, "operator @ vectors must be finite, got NaN or infinity"),
        (np.diag([1.0, np.inf, 1.0]), {}, "operator @ vectors must be finite, got NaN or infinity"),
        (1j * np.eye(3), {}, "operator @ vectors must be real, got dtype complex128"),
    ],
)
def test_bad_input_is_refused(operator, options, message):
    with pytest.raises(ValueError, match=message):
        top_eigenpairs(operator, **options)


def test_products_of_a_wrong_shape_are_refused():
    class Wrong(Counted):
        def __matmul__(self, vectors):
            return vectors[:-1]

    with pytest.raises(ValueError, match=r"operator @ vectors must have shape \(3, 1\), got \(2, 1\)"):
        top_eigenpairs(Wrong(np.eye(3)))

"""The check of an operation, on the bridge's own and on ones that are wrong."""

from dataclasses import replace

import numpy as np
import pytest

from quadlab.bridge import operations
from quadlab.bridge.operations import ADD, DENSE, GAIN, MATMUL, SCALE, SHIFT, TANH, Operation, check, elementwise

RIGHT = [
    (TANH, [(5,)], {}),
    (operations.RELU, [(5,)], {}),
    (operations.SILU, [(2, 3)], {}),
    (operations.GELU, [(5,)], {}),
    (ADD, [(4,), (4,)], {}),
    (DENSE, [(3,), (3, 4), (4,)], {}),
    (DENSE, [(2, 2, 3), (3, 4), (4,)], {}),
    (SHIFT, [(2, 3), (3,)], {}),
    (SHIFT, [(2, 3), (2, 3)], {}),
    (GAIN, [(2, 3), (3,)], {}),
    (operations.LAYER_NORM, [(2, 5)], {}),
    (operations.SOFTMAX, [(2, 4)], {}),
    (MATMUL, [(2, 3, 4), (2, 4, 2)], {}),
    (operations.SWAP, [(2, 3)], {}),
    (SCALE, [(3,)], {"factor": 0.3}),
    (operations.SPLIT_HEADS, [(3, 4)], {"heads": 2}),
    (operations.MERGE_HEADS, [(2, 3, 2)], {}),
    (operations.PATCHES, [(4, 4, 2)], {"size": 3, "padding": 1}),
    (operations.PATCHES, [(4, 4, 2)], {"size": 2, "stride": 2}),
    (operations.PATCHES, [(5, 4, 2)], {"size": 2, "stride": 3, "padding": 1}),
    (operations.AVERAGE_POOL, [(4, 6, 2)], {"size": 2}),
    (operations.MEAN, [(2, 3, 4)], {}),
    (operations.RESHAPE, [(2, 6)], {"shape": (3, 4)}),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("operation", "shapes", "options"), RIGHT, ids=lambda part: getattr(part, "name", ""))
def test_operations_of_the_bridge_pass(operation, shapes, options, seed):
    # rounding of the second differences, 4 * 1e-16 / (2^-9)^2, is the largest part of the error
    assert 0 <= check(operation, *shapes, rng=seed, **options) < 1e-9


def test_every_operation_is_among_them():
    exported = [getattr(operations, name) for name in operations.__all__]
    names = {each.name for each in exported if isinstance(each, Operation)}
    assert names == {operation.name for operation, _, _ in RIGHT}


def scaled(function, factor=1.01):
    return lambda point, directions: factor * function(point, directions)


def with_entry(operation, field, key, function):
    """The operation with one entry replaced."""
    entries = getattr(operation, field)
    if isinstance(key, int):
        changed = tuple(function if number == key else entry for number, entry in enumerate(entries))
        return replace(operation, **{field: changed})
    return replace(operation, **{field: {**entries, key: function}})


@pytest.mark.parametrize("key", [0, 1, 2])
@pytest.mark.parametrize("field", ["derivatives", "transposed"])
def test_a_wrong_first_derivative_is_named(field, key):
    wrong = with_entry(DENSE, field, key, scaled(getattr(DENSE, field)[key]))
    with pytest.raises(ValueError, match=rf"dense: {field}\[{key}\] differs from .* by 0\.0.* relative"):
        check(wrong, (3,), (3, 4), (4,), rng=0)


def test_a_derivative_that_is_nan_is_named():
    wrong = with_entry(DENSE, "derivatives", 1, scaled(DENSE.derivatives[1], np.nan))
    with pytest.raises(ValueError, match=r"dense: derivatives\[1\] differs from .* by nan relative"):
        check(wrong, (3,), (3, 4), (4,), rng=0)


@pytest.mark.parametrize("key", [(0, 1), (1, 0)])
def test_a_wrong_curvature_is_named(key):
    wrong = with_entry(MATMUL, "curvature", key, scaled(MATMUL.curvature[key]))
    with pytest.raises(ValueError, match=rf"matmul: curvature\[{key[0]}, {key[1]}\] differs from differences of the"):
        check(wrong, (2, 3), (3, 2), rng=0)


@pytest.mark.parametrize("key", [(0, 1), (1, 0)])
def test_a_missing_curvature_counts_as_zero(key):
    wrong = replace(MATMUL, curvature={pair: each for pair, each in MATMUL.curvature.items() if pair != key})
    with pytest.raises(ValueError, match=rf"matmul: curvature\[{key[0]}, {key[1]}\] differs from differences of the"):
        check(wrong, (2, 3), (3, 2), rng=0)


def test_a_curvature_too_many_is_named():
    wrong = with_entry(ADD, "curvature", (0, 1), lambda point, tangent: tangent * point.cotangent)
    with pytest.raises(ValueError, match=r"add: curvature\[0, 1\] differs from differences of the value"):
        check(wrong, (2,), (2,), rng=0)


def test_curvature_must_be_symmetric():
    # too small for the differences of the value to notice, far above rounding
    wrong = with_entry(MATMUL, "curvature", (0, 1), scaled(MATMUL.curvature[0, 1], 1 + 1e-9))
    with pytest.raises(ValueError, match=r"curvature\[0, 1\] differs from curvature\[1, 0\]'s transpose by .*e-"):
        check(wrong, (2, 3), (3, 2), rng=0)


def test_shapes_of_answers_are_checked():
    wrong = with_entry(TANH, "transposed", 0, lambda point, cotangent: point.namespace.sum(cotangent, axis=0))
    with pytest.raises(ValueError, match=r"tanh: transposed\[0\] must answer directions with shape \(2, 3, 4\)"):
        check(wrong, (4,), rng=0)
    narrow = with_entry(SCALE, "derivatives", 0, lambda point, tangent: tangent[..., :2])
    with pytest.raises(ValueError, match=r"scale: derivatives\[0\] must answer .* \(2, 3, 4\), got \(2, 3, 2\)"):
        check(narrow, (4,), rng=0, factor=2.0)


def test_a_fresh_operation_returns_new_arrays():
    with pytest.raises(
        ValueError, match=r"add: derivatives\[0\] must return a new array, since the operation is fresh"
    ):
        check(replace(ADD, fresh=True), (3,), (3,), rng=0)


def test_what_cannot_be_checked_is_refused():
    logarithm = elementwise("logarithm", lambda xp, x: xp.log(xp.maximum(x, 0 * x)), lambda xp, x, y: 1 / x)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="logarithm must be finite at magnitudes"):
        check(logarithm, (4,), rng=0)
    with pytest.raises(ValueError, match="add takes 2 arguments, got 1 shapes"):
        check(ADD, (4,))
    with pytest.raises(ValueError, match="operation must be an Operation, got function"):
        check(lambda x: x, (4,))
    with pytest.raises(ValueError, match="odd: derivatives and transposed must have one entry per argument each"):
        Operation("odd", lambda xp, x: x, derivatives=(lambda point, t: t,), transposed=())

"""Operations of attention: layer normalisation, softmax, products of two activations, splitting into heads."""

from math import sqrt

from quadlab.bridge.operations.core import Operation, linear

__all__ = ["LAYER_NORM", "MATMUL", "MERGE_HEADS", "SCALE", "SOFTMAX", "SPLIT_HEADS", "SWAP"]

EPSILON = 1e-5


def _centred(xp, x):
    return x - xp.mean(x, axis=-1, keepdims=True)


def _inverse_deviation(xp, x):
    centred = _centred(xp, x)
    largest = xp.max(xp.abs(centred), axis=-1, keepdims=True)
    # squares of large numbers overflow, also where their inverse root does not
    scale = xp.where(largest > 1, largest, xp.ones_like(largest))
    variance = xp.mean((centred / scale) ** 2, axis=-1, keepdims=True) + (sqrt(EPSILON) / scale) ** 2
    return 1 / xp.sqrt(variance) / scale


def _normalise(xp, x):
    """(x - mean) / sqrt(variance + 1e-5) over the last axis."""
    return _centred(xp, x) * _inverse_deviation(xp, x)


def _mean_product(xp, x, y):
    return xp.mean(x * y, axis=-1, keepdims=True)


def _project(xp, y, tangent):
    """What remains of a tangent after its mean and its part along y are taken away."""
    return _centred(xp, tangent) - y * _mean_product(xp, y, tangent)


def _normalise_along(point, tangent):
    return point.saved * _project(point.namespace, point.output, tangent)


def _normalise_curvature(point, tangent):
    xp, y, c = point.namespace, point.output, point.cotangent
    along = _normalise_along(point, tangent)
    shrink = -point.saved * _mean_product(xp, y, tangent)
    turn = along * _mean_product(xp, y, c) + y * _mean_product(xp, along, c)
    return point.saved * (shrink * _project(xp, y, c) - turn)


LAYER_NORM = Operation(
    "layer norm",
    _normalise,
    (_normalise_along,),
    (_normalise_along,),
    {(0, 0): _normalise_curvature},
    prepare=lambda xp, arguments, output, options: _inverse_deviation(xp, arguments[0]),
)


def _softmax(xp, x):
    exponentials = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return exponentials / xp.sum(exponentials, axis=-1, keepdims=True)


def _inner(xp, x, y):
    return xp.sum(x * y, axis=-1, keepdims=True)


def _softmax_along(point, tangent):
    y = point.output
    return y * (tangent - _inner(point.namespace, y, tangent))


def _softmax_curvature(point, tangent):
    xp, y, c = point.namespace, point.output, point.cotangent
    along = _softmax_along(point, tangent)
    return along * (c - _inner(xp, y, c)) - y * _inner(xp, along, c)


SOFTMAX = Operation("softmax", _softmax, (_softmax_along,), (_softmax_along,), {(0, 0): _softmax_curvature})


def _swapped(xp, array):
    return xp.matrix_transpose(array)


MATMUL = Operation(
    "matmul",
    lambda xp, x, y: xp.matmul(x, y),
    derivatives=(
        lambda point, tangent: point.namespace.matmul(tangent, point.arguments[1]),
        lambda point, tangent: point.namespace.matmul(point.arguments[0], tangent),
    ),
    transposed=(
        lambda point, c: point.namespace.matmul(c, _swapped(point.namespace, point.arguments[1])),
        lambda point, c: point.namespace.matmul(_swapped(point.namespace, point.arguments[0]), c),
    ),
    curvature={
        (0, 1): lambda point, tangent: point.namespace.matmul(_swapped(point.namespace, tangent), point.cotangent),
        (1, 0): lambda point, tangent: point.namespace.matmul(point.cotangent, _swapped(point.namespace, tangent)),
    },
)

SWAP = linear("swap", _swapped, lambda xp, y, shape: _swapped(xp, y))

SCALE = linear("scale", lambda xp, x, factor: x * factor, lambda xp, y, shape, factor: y * factor)


def _split_heads(xp, x, heads):
    """(examples, tokens, heads * width) to (examples, heads, tokens, width)."""
    examples, tokens, features = x.shape
    return xp.permute_dims(xp.reshape(x, (examples, tokens, heads, features // heads)), (0, 2, 1, 3))


def _merge_heads(xp, x):
    examples, heads, tokens, width = x.shape
    return xp.reshape(xp.permute_dims(x, (0, 2, 1, 3)), (examples, tokens, heads * width))


SPLIT_HEADS = linear("split heads", _split_heads, lambda xp, y, shape, heads: _merge_heads(xp, y))
MERGE_HEADS = linear("merge heads", _merge_heads, lambda xp, y, shape: _split_heads(xp, y, shape[1]))

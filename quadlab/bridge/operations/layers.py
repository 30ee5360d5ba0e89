"""Operations with parameters: dense layers, gains and shifts; and the sum of two branches."""

from quadlab.bridge.arrays import matrix_products
from quadlab.bridge.operations.core import Operation

__all__ = ["ADD", "DENSE", "GAIN", "SHIFT"]


def _rows(xp, array, leading=0):
    """Examples and positions as one axis: (…, f) to (m, f), after `leading` axes that stay."""
    return xp.reshape(array, (*array.shape[:leading], -1, array.shape[-1]))


def _dense(xp, x, weights, bias):
    product = xp.matmul(_rows(xp, x), weights)
    product += bias
    return xp.reshape(product, (*x.shape[:-1], weights.shape[1]))


def _times_weights(point, tangent):
    xp, weights = point.namespace, point.arguments[1]
    return xp.reshape(xp.matmul(_rows(xp, tangent), weights), (*tangent.shape[:-1], weights.shape[1]))


def _inputs_times_tangent(point, tangent):
    xp, x = point.namespace, point.arguments[0]
    product = matrix_products(xp, _rows(xp, x), tangent)
    return xp.reshape(product, (tangent.shape[0], *x.shape[:-1], tangent.shape[-1]))


def _along_shift(point, tangent):
    """A tangent of a parameter added to each example: (k, 1 …, *shape) so that it broadcasts."""
    between = point.output.ndim - (tangent.ndim - 1)
    return point.namespace.reshape(tangent, (tangent.shape[0], *(1,) * between, *tangent.shape[1:]))


def _times_transposed_weights(point, cotangent):
    xp, weights = point.namespace, point.arguments[1]
    product = xp.matmul(_rows(xp, cotangent), xp.matrix_transpose(weights))
    return xp.reshape(product, (*cotangent.shape[:-1], weights.shape[0]))


def _inputs_against(point, cotangent):
    xp, x = point.namespace, point.arguments[0]
    return matrix_products(xp, xp.matrix_transpose(_rows(xp, x)), _rows(xp, cotangent, leading=1))


def _summed(point, cotangent, shape):
    """The sum of (k, examples, …, *shape) over examples and positions: (k, *shape)."""
    return point.namespace.sum(cotangent, axis=tuple(range(1, cotangent.ndim - len(shape))))


def _tangent_against_cotangent(point, tangent):
    xp = point.namespace
    return matrix_products(xp, xp.matrix_transpose(_rows(xp, tangent, leading=1)), _rows(xp, point.cotangent))


def _cotangent_times_tangent(point, tangent):
    xp, x = point.namespace, point.arguments[0]
    product = matrix_products(xp, _rows(xp, point.cotangent), xp.matrix_transpose(tangent))
    return xp.reshape(product, (tangent.shape[0], *x.shape))


# the bias alone has a derivative that is a view: nothing is added to it, as the weights' comes first
DENSE = Operation(
    "dense",
    _dense,
    derivatives=(_times_weights, _inputs_times_tangent, _along_shift),
    transposed=(
        _times_transposed_weights,
        _inputs_against,
        lambda point, cotangent: _summed(point, cotangent, point.arguments[2].shape),
    ),
    curvature={(0, 1): _tangent_against_cotangent, (1, 0): _cotangent_times_tangent},
    parameters=(1, 2),
    fresh=True,
)

SHIFT = Operation(
    "shift",
    lambda xp, x, shift: x + shift,
    derivatives=(
        lambda point, tangent: tangent,
        lambda point, tangent: point.namespace.broadcast_to(
            _along_shift(point, tangent), (tangent.shape[0], *point.output.shape)
        ),
    ),
    transposed=(
        lambda point, cotangent: cotangent,
        lambda point, cotangent: _summed(point, cotangent, point.arguments[1].shape),
    ),
    parameters=(1,),
)

GAIN = Operation(
    "gain",
    lambda xp, x, gain: x * gain,
    derivatives=(
        lambda point, tangent: tangent * point.arguments[1],
        lambda point, tangent: point.arguments[0] * _along_shift(point, tangent),
    ),
    transposed=(
        lambda point, cotangent: cotangent * point.arguments[1],
        lambda point, cotangent: _summed(point, cotangent * point.arguments[0], point.arguments[1].shape),
    ),
    curvature={
        (0, 1): lambda point, tangent: _summed(point, tangent * point.cotangent, point.arguments[1].shape),
        (1, 0): lambda point, tangent: point.cotangent * _along_shift(point, tangent),
    },
    parameters=(1,),
)

ADD = Operation(
    "add",
    lambda xp, x, y: x + y,
    derivatives=(lambda point, tangent: tangent,) * 2,
    transposed=(lambda point, cotangent: cotangent,) * 2,
)

"""What an operation of a network is: its value, and everything first and second derivatives need of it.

Shapes, everywhere in the bridge: an activation has the examples first, (examples, …); a parameter has its own shape.
Tangents and cotangents of either carry an axis of k directions in front, (k, examples, …) or (k, …), so that NumPy's
broadcasting pairs them with values, and all directions share one matrix product.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Operation", "Point", "elementwise", "linear"]


@dataclass
class Point:
    """An operation where it was evaluated: arguments, output, what `prepare` saved, and the loss's derivative there.

    `cotangent` is the derivative of the loss with respect to the output; it is set by the pass that computes the
    gradient, before any curvature is asked for. `memo` is for what a curvature wants to compute once.
    """

    namespace: Any
    arguments: tuple[Any, ...]
    output: Any
    options: Mapping[str, Any]
    saved: Any = None
    cotangent: Any = None
    memo: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """A function f of arguments (activations or parameters) with its first and second derivatives, one per argument.

    value(xp, *arguments, **options) -> f, on arrays of the namespace xp, for any number of examples.
    derivatives[i](point, tangent) -> the derivative of f along a tangent of argument i.
    transposed[i](point, cotangent) -> its transpose: a cotangent of f, (k, examples, …), pulled back to argument i.
    curvature[i, j](point, tangent) -> d/dx_i along the tangent of transposed[j](point, point.cotangent): the second
        derivative of <cotangent, f> in arguments i and j, times the tangent. Pairs that are left out are zero.
    prepare(xp, arguments, output, options) -> what the derivatives share; kept in point.saved.
    parameters : which arguments are parameters.
    fresh : all derivatives and transposed return new arrays of full shape, never their argument or a view of it, so
        that further terms may be added in place.

    `quadlab.bridge.operations.check` holds all of it against differences of the value.
    """

    name: str
    value: Callable
    derivatives: tuple[Callable, ...]
    transposed: tuple[Callable, ...]
    curvature: Mapping[tuple[int, int], Callable] = field(default_factory=dict)
    prepare: Callable | None = None
    parameters: tuple[int, ...] = ()
    fresh: bool = False

    def __post_init__(self):
        if len(self.derivatives) != len(self.transposed):
            raise ValueError(
                f"{self.name}: derivatives and transposed must have one entry per argument each,"
                f" got {len(self.derivatives)} and {len(self.transposed)}"
            )

    def at(self, namespace, arguments, options):
        """Evaluate and keep what derivatives need."""
        output = self.value(namespace, *arguments, **options)
        saved = self.prepare(namespace, arguments, output, options) if self.prepare else None
        return Point(namespace, arguments, output, options, saved)


def elementwise(name, value, slope, bend=None):
    """An activation function from f(xp, x), f'(xp, x, f(x)) and f''(xp, x, f(x)); no `bend` where f'' is zero.

    >>> import numpy as np
    >>> square = elementwise("square", lambda xp, x: x**2, lambda xp, x, y: 2 * x, lambda xp, x, y: 2 + 0 * x)
    >>> point = square.at(np, (np.array([[3.0]]),), {})
    >>> square.derivatives[0](point, np.ones((1, 1, 1)))
    array([[[6.]]])
    """

    def prepare(xp, arguments, output, options):
        return slope(xp, arguments[0], output)

    def along(point, tangent):
        return point.saved * tangent

    def bent(point, tangent):
        if "bent" not in point.memo:
            point.memo["bent"] = point.cotangent * bend(point.namespace, point.arguments[0], point.output)
        return point.memo["bent"] * tangent

    curvature = {} if bend is None else {(0, 0): bent}
    return Operation(name, value, (along,), (along,), curvature, prepare, fresh=True)


def linear(name, value, adjoint):
    """A linear map of each example: value(xp, x, **options), and its transpose adjoint(xp, y, shape of x, **options).

    Both see plain examples: directions are merged into the axis of examples, which costs nothing.
    """

    def derivative(point, tangent):
        return _merged(point, lambda flat: value(point.namespace, flat, **point.options), tangent)

    def transposed(point, cotangent):
        shape = point.arguments[0].shape[1:]
        return _merged(
            point, lambda flat: adjoint(point.namespace, flat, (flat.shape[0], *shape), **point.options), cotangent
        )

    return Operation(name, value, (derivative,), (transposed,))


def _merged(point, function, array):
    """Apply a function of examples (m, …) to an array (k, examples, …), the two axes taken as one."""
    xp = point.namespace
    out = function(xp.reshape(array, (array.shape[0] * array.shape[1], *array.shape[2:])))
    return xp.reshape(out, (*array.shape[:2], *out.shape[1:]))

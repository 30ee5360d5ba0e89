"""Whether the derivatives an operation states are those of its value: for whoever adds one."""

from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from quadlab.bridge.operations.core import Operation, Point
from quadlab.theory.seeds import generator

__all__ = ["check"]

EXAMPLES, DIRECTIONS = 3, 2
STEP = 2.0**-6
LEVELS = 4
# values that are smooth over a radius have differences that err by about (STEP / radius)^8 / 4096, 2e-8 for 0.05, and
# by rounding, 4 * 1e-16 / (STEP / 8)^2 = 1e-10 in the second order; a wrong formula errs by far more
DIFFERENCES_AGREE = 1e-7
# two sums of a few hundred products of the same numbers
SUMS_AGREE = 1e-12
TINY = np.finfo(float).tiny


def check(operation, *shapes, rng=None, **options):
    """Hold an operation's derivatives against differences of its value; the largest relative error is returned.

    derivatives[i]     against  d/ds f(x_i + s t)  at s = 0, by central differences extrapolated to order 8;
    transposed[i]      <cotangent, derivatives[i](t)> = <transposed[i](cotangent), t>;
    curvature[i, j]    against  d^2/ds du <cotangent, f(x_i + s t, x_j + u v)>  at s = u = 0, and symmetric:
                       <curvature[i, j](t), v> = <curvature[j, i](v), t>; pairs that are left out count as zero.

    Points have magnitudes from 0.2 to 1.5 and no difference reaches below 0.16, so that a kink at zero is not met.

    Parameters
    ----------
    shapes : one for each argument; of one example for an activation, all of it for a parameter.
    rng : SPEC 7.
    options : of the operation.

    Raises
    ------
    ValueError: an entry is wrong; the message names it and says by how much.

    >>> from quadlab import bridge
    >>> from quadlab.bridge.operations import elementwise
    >>> def value(xp, x):
    ...     return xp.log1p(xp.exp(x))
    >>> def slope(xp, x, y):
    ...     return 1 - xp.exp(-y)
    >>> def bend(xp, x, y):
    ...     return xp.exp(-y) * (1 - xp.exp(-y))
    >>> softplus = elementwise("softplus", value, slope, bend)
    >>> check(softplus, (4,), rng=0) < 1e-9
    True
    >>> check(elementwise("softplus", value, slope), (4,), rng=0)
    Traceback (most recent call last):
    ...
    ValueError: softplus: curvature[0, 0] differs from differences of the value by 0.058 relative, ...
    >>> draft = bridge.Draft((2,))
    >>> draft.network("softplus 2-3-1", draft.dense(draft.apply(softplus, draft.dense(draft.input, 3)), 1))
    Network(softplus 2-3-1, 13 parameters, (2,) -> (1,))
    """
    if not isinstance(operation, Operation):
        raise ValueError(f"operation must be an Operation, got {type(operation).__name__}")
    count = len(operation.derivatives)
    if len(shapes) != count:
        raise ValueError(f"{operation.name} takes {count} arguments, got {len(shapes)} shapes")
    for shape in shapes:
        if not isinstance(shape, tuple | list) or not all(isinstance(size, int) and size >= 1 for size in shape):
            raise ValueError(f"shapes must be tuples of whole numbers >= 1, got {shape!r}")
    trial = _trial(operation, shapes, options, generator(rng, "check"))
    errors = [error for i in range(count) for error in _first_order(trial, i)]
    pairs = combinations_with_replacement(range(count), 2)
    return float(max(errors + [error for i, j in pairs for error in _second_order(trial, i, j)]))


@dataclass(frozen=True, eq=False)
class _Trial:
    """An operation at random arguments, with directions (k, …) of each argument and of the output."""

    operation: Operation
    point: Point
    tangents: list[Any]
    cotangents: Any

    def value(self, moves):
        """The value with the arguments of some numbers moved."""
        moved = (x + moves.get(number, 0.0) for number, x in enumerate(self.point.arguments))
        return self.operation.value(xp, *moved, **self.point.options)


def _trial(operation, shapes, options, random):
    sizes = [(*shape,) if i in operation.parameters else (EXAMPLES, *shape) for i, shape in enumerate(shapes)]
    arguments = tuple(random.choice([-1, 1], size) * random.uniform(0.2, 1.5, size) for size in sizes)
    try:
        point = operation.at(xp, arguments, options)
    except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
        raise ValueError(
            f"{operation.name} cannot be applied to shapes {', '.join(map(str, shapes))}: {error}"
        ) from error
    if not np.isfinite(point.output).all():
        raise ValueError(f"{operation.name} must be finite at magnitudes from 0.2 to 1.5, got NaN or infinity")
    cotangents = random.uniform(-1, 1, (DIRECTIONS, *point.output.shape))
    point.cotangent = cotangents[0]
    return _Trial(operation, point, [random.uniform(-1, 1, (DIRECTIONS, *size)) for size in sizes], cotangents)


def _first_order(trial, i):
    """Errors of derivatives[i] and of transposed[i]."""
    operation, tangents, output = trial.operation, trial.tangents[i], trial.point.output
    shape = (DIRECTIONS, *output.shape)
    given = _answer(trial, "derivatives", i, tangents, shape, whole=operation.fresh and i == 0)
    back = _answer(trial, "transposed", i, trial.cotangents, (DIRECTIONS, *trial.point.arguments[i].shape))

    def difference(h):
        return np.stack([(trial.value({i: h * t}) - trial.value({i: -h * t})) / (2 * h) for t in tangents])

    name, paired = operation.name, _inner(trial.cotangents, given)
    yield _compared(f"{name}: derivatives[{i}]", given, _extrapolated(difference), output)
    yield _compared(f"{name}: transposed[{i}]", _inner(back, tangents), paired, output, f"derivatives[{i}]'s transpose")


def _second_order(trial, i, j):
    """Errors of curvature[i, j] and of curvature[j, i]."""
    cotangent, name = trial.point.cotangent, trial.operation.name
    forward = _inner(_curvature(trial, i, j), trial.tangents[j])
    backward = forward if i == j else _inner(_curvature(trial, j, i), trial.tangents[i])

    def paired(s, t, u, v):
        moves = {i: s * t + u * v} if i == j else {i: s * t, j: u * v}
        return np.sum(cotangent * trial.value(moves))

    def difference(h):
        corners = [(h, h), (h, -h), (-h, h), (-h, -h)]
        signs = np.array([1, -1, -1, 1]) / (4 * h * h)
        return np.array(
            [[signs @ [paired(s, t, u, v) for s, u in corners] for v in trial.tangents[j]] for t in trial.tangents[i]]
        )

    expected, scale = _extrapolated(difference), np.sum(np.abs(cotangent * trial.point.output))
    yield _compared(f"{name}: curvature[{i}, {j}]", forward, expected, scale)
    yield _compared(f"{name}: curvature[{j}, {i}]", backward, expected.T, scale)
    yield _compared(f"{name}: curvature[{i}, {j}]", forward, backward.T, scale, f"curvature[{j}, {i}]'s transpose")


def _curvature(trial, i, j):
    shape = (DIRECTIONS, *trial.point.arguments[j].shape)
    if (i, j) not in trial.operation.curvature:
        return np.zeros(shape)
    return _answer(trial, "curvature", (i, j), trial.tangents[i], shape)


def _answer(trial, field, key, directions, shape, whole=True):
    """What an entry answers; of that shape, or one that broadcasts to it where it need not be `whole`."""
    name, must_be_new = trial.operation.name, trial.operation.fresh and (field == "transposed" or key == 0)
    entry = f"{name}: {field}[{key if isinstance(key, int) else ', '.join(map(str, key))}]"
    answer = np.asarray(getattr(trial.operation, field)[key](trial.point, directions))
    broadcasts = answer.ndim == len(shape) and all(a in (1, b) for a, b in zip(answer.shape, shape, strict=True))
    if answer.shape != shape and (whole or not broadcasts):
        raise ValueError(f"{entry} must answer directions with shape {shape}, got {answer.shape}")
    if must_be_new and np.shares_memory(answer, directions):
        raise ValueError(f"{entry} must return a new array, since the operation is fresh, got a view of its argument")
    return np.broadcast_to(answer, shape)


def _extrapolated(difference):
    """The limit of difference(h) for h to 0, whose error is even in h."""
    column = [difference(STEP / 2**level) for level in range(LEVELS)]
    for order in range(1, LEVELS):
        column = [b + (b - a) / (4**order - 1) for a, b in pairwise(column)]
    return column[0]


def _inner(rows, others):
    """<rows[a], others[b]> for all a and b, (k, k)."""
    return rows.reshape(len(rows), -1) @ others.reshape(len(others), -1).T


def _compared(entry, given, expected, scale, reference=""):
    """The largest difference relative to the largest number, refused where it is too large."""
    error = np.max(np.abs(given - expected)) / max(np.max(np.abs(expected)), np.max(np.abs(scale)), TINY)
    accepted = SUMS_AGREE if reference else DIFFERENCES_AGREE
    if not error <= accepted:
        against = reference or "differences of the value"
        raise ValueError(f"{entry} differs from {against} by {error:.2g} relative, at most {accepted:g} is accepted")
    return error

"""Linear operations on images (examples, height, width, channels) and on rows of tokens: patches, means, reshapes."""

from math import prod

from quadlab.bridge.operations.core import linear

__all__ = ["AVERAGE_POOL", "MEAN", "PATCHES", "RESHAPE"]


def _windows(height, width, size, stride, padding):
    """For each place in a patch, the slice of the padded image it sees."""
    rows = (height + 2 * padding - size) // stride + 1
    columns = (width + 2 * padding - size) // stride + 1
    slices = [
        (slice(None), slice(i, i + stride * (rows - 1) + 1, stride), slice(j, j + stride * (columns - 1) + 1, stride))
        for i in range(size)
        for j in range(size)
    ]
    return rows, columns, slices


def _patches(xp, x, size, stride=1, padding=0):
    """The patch around each place, flattened row by row: a convolution is a dense layer on patches."""
    examples, height, width, channels = x.shape
    rows, columns, slices = _windows(height, width, size, stride, padding)
    if padding:
        inner, x = x, xp.zeros(
            (examples, height + 2 * padding, width + 2 * padding, channels), dtype=x.dtype, device=x.device
        )  # fmt: skip
        x[:, padding : padding + height, padding : padding + width, :] = inner
    return xp.reshape(
        xp.stack([x[(*place, slice(None))] for place in slices], axis=3),
        (examples, rows, columns, size * size * channels),
    )


def _from_patches(xp, y, shape, size, stride=1, padding=0):
    examples, height, width, channels = shape
    rows, columns, slices = _windows(height, width, size, stride, padding)
    parts = xp.reshape(y, (examples, rows, columns, size * size, channels))
    x = xp.zeros((examples, height + 2 * padding, width + 2 * padding, channels), dtype=y.dtype, device=y.device)
    for number, place in enumerate(slices):
        x[(*place, slice(None))] += parts[:, :, :, number, :]
    return x[:, padding : padding + height, padding : padding + width, :]


PATCHES = linear("patches", _patches, _from_patches)


def _average_pool(xp, x, size):
    examples, height, width, channels = x.shape
    blocks = xp.reshape(x, (examples, height // size, size, width // size, size, channels))
    return xp.mean(blocks, axis=(2, 4))


def _spread(xp, y, shape, size):
    examples, height, width, channels = shape
    blocks = xp.broadcast_to(
        y[:, :, None, :, None, :] / size**2, (examples, height // size, size, width // size, size, channels)
    )
    return xp.reshape(blocks, shape)


AVERAGE_POOL = linear("average pool", _average_pool, _spread)


def _mean(xp, x):
    """Over all positions: (examples, …, features) to (examples, features)."""
    return xp.mean(x, axis=tuple(range(1, x.ndim - 1)))


def _mean_adjoint(xp, y, shape):
    count = prod(shape[1:-1])
    return xp.broadcast_to(xp.reshape(y / count, (shape[0], *(1,) * (len(shape) - 2), shape[-1])), shape)


MEAN = linear("mean", _mean, _mean_adjoint)

RESHAPE = linear(
    "reshape",
    lambda xp, x, shape: xp.reshape(x, (x.shape[0], *shape)),
    lambda xp, y, full, shape: xp.reshape(y, full),
)

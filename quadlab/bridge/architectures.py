"""Networks that come with the bridge: a perceptron, a small residual network, a small vision transformer."""

from collections.abc import Sequence
from math import sqrt

import numpy as np

from quadlab.bridge.network import Draft, is_whole
from quadlab.bridge.operations import (
    ACTIVATIONS,
    ADD,
    AVERAGE_POOL,
    LAYER_NORM,
    MATMUL,
    MEAN,
    MERGE_HEADS,
    PATCHES,
    RESHAPE,
    SCALE,
    SHIFT,
    SOFTMAX,
    SPLIT_HEADS,
    SWAP,
)

__all__ = ["mlp", "residual_network", "vision_transformer"]


def _activation(name):
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]


def _whole(name, value):
    if not is_whole(value) or value < 1:
        raise ValueError(f"{name} must be a whole number >= 1, got {value!r}")
    return int(value)


def _is_list(values):
    if isinstance(values, np.ndarray):
        return values.ndim == 1
    return isinstance(values, Sequence) and not isinstance(values, str | bytes)


def _image(shape):
    if not _is_list(shape) or len(shape) != 3:
        raise ValueError(f"image_shape must be (height, width, channels), got {shape!r}")
    return tuple(_whole("image_shape", size) for size in shape)


def mlp(widths, activation="tanh"):
    """A multilayer perceptron: x @ W + b with W of shape (fan_in, fan_out), an activation after all but the last.

    widths : numbers of inputs, of hidden units in each layer, and of outputs; at least two.
    activation : "tanh", "relu", "silu" or "gelu" (with the exact error function).

    >>> mlp([64, 50, 50, 10], activation="tanh")
    Network(perceptron 64-50-50-10 tanh, 6310 parameters, (64,) -> (10,))
    """
    function = _activation(activation)
    if not _is_list(widths) or len(widths) < 2:
        raise ValueError(f"widths must name inputs and outputs at least, got {widths}")
    widths = [_whole("widths", width) for width in widths]
    draft = Draft((widths[0],))
    x = draft.dense(draft.input, widths[1])
    for width in widths[2:]:
        x = draft.dense(draft.apply(function, x), width)
    return draft.network(f"perceptron {'-'.join(map(str, widths))} {activation}", x)


def _convolution(draft, x, channels, size=3, stride=1):
    return draft.dense(draft.apply(PATCHES, x, size=size, stride=stride, padding=size // 2), channels)


def residual_network(image_shape, channels=(8, 16), blocks=1, outputs=10, activation="relu"):
    """A residual convolutional network without normalisation: examples do not see each other.

    A 3 x 3 convolution, then for each number of channels `blocks` blocks of two 3 x 3 convolutions with the
    activation before each, added to their input; a 2 x 2 average pooling and a 1 x 1 convolution between stages, the
    mean over places and a dense layer at the end.

    image_shape : (height, width, channels); height and width divisible by 2 for each stage after the first.

    >>> residual_network((8, 8, 1))
    Network(residual 8-16 relu, 6202 parameters, (8, 8, 1) -> (10,))
    """
    function = _activation(activation)
    image = _image(image_shape)
    if not _is_list(channels) or not len(channels):
        raise ValueError(f"channels must name one stage at least, got {channels!r}")
    stages = [_whole("channels", count) for count in channels]
    draft = Draft(image)
    x = _convolution(draft, draft.input, stages[0])
    for number, count in enumerate(stages):
        if number:
            x = _convolution(draft, draft.apply(AVERAGE_POOL, x, size=2), count, size=1)
        for _ in range(_whole("blocks", blocks)):
            y = _convolution(draft, draft.apply(function, x), count)
            x = draft.apply(ADD, x, _convolution(draft, draft.apply(function, y), count))
    x = draft.apply(MEAN, draft.apply(function, x))
    name = f"residual {'-'.join(map(str, stages))} {activation}"
    return draft.network(name, draft.dense(x, _whole("outputs", outputs)))


def _attention(draft, x, heads):
    width = x.shape[-1]
    query, key, value = (draft.apply(SPLIT_HEADS, draft.dense(x, width), heads=heads) for _ in range(3))
    scores = draft.apply(MATMUL, query, draft.apply(SWAP, key))
    shares = draft.apply(SOFTMAX, draft.apply(SCALE, scores, factor=1 / sqrt(width // heads)))
    return draft.dense(draft.apply(MERGE_HEADS, draft.apply(MATMUL, shares, value)), width)


def _normalised(draft, x):
    return draft.gain_and_shift(draft.apply(LAYER_NORM, x))


def vision_transformer(image_shape, patch=2, width=16, layers=2, heads=2, outputs=10, activation="gelu"):
    """A small vision transformer with normalisation before attention and before each two-layer perceptron.

    The image is cut into patches, each mapped to `width` numbers, with a learned position added; the last
    normalisation is averaged over tokens and mapped to the outputs. The perceptrons are 4 * width wide.

    image_shape : (height, width, channels), height and width divisible by `patch`; `width` divisible by `heads`.

    >>> vision_transformer((8, 8, 1))
    Network(transformer 2 x 16 gelu, 7098 parameters, (8, 8, 1) -> (10,))
    """
    function = _activation(activation)
    rows, columns, _ = image = _image(image_shape)
    patch, width, heads = _whole("patch", patch), _whole("width", width), _whole("heads", heads)
    if rows % patch or columns % patch:
        raise ValueError(f"patch must divide the image's height and width {rows} x {columns}, got {patch}")
    if width % heads:
        raise ValueError(f"heads must divide width {width}, got {heads}")
    draft = Draft(image)
    x = draft.dense(draft.apply(PATCHES, draft.input, size=patch, stride=patch), width)
    tokens = (rows // patch) * (columns // patch)
    x = draft.apply(RESHAPE, x, shape=(tokens, width))
    x = draft.apply(SHIFT, x, draft.parameter("positions", (tokens, width), fan_in=width))
    layers = _whole("layers", layers)
    for _ in range(layers):
        x = draft.apply(ADD, x, _attention(draft, _normalised(draft, x), heads))
        hidden = draft.apply(function, draft.dense(_normalised(draft, x), 4 * width))
        x = draft.apply(ADD, x, draft.dense(hidden, width))
    name = f"transformer {layers} x {width} {activation}"
    return draft.network(name, draft.dense(draft.apply(MEAN, _normalised(draft, x)), _whole("outputs", outputs)))

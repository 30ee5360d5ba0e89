"""The operations networks are made of. A new one is an `Operation` in one place; `check` says whether it is right."""

from quadlab.bridge.operations.activations import ACTIVATIONS, GELU, RELU, SILU, TANH
from quadlab.bridge.operations.attention import LAYER_NORM, MATMUL, MERGE_HEADS, SCALE, SOFTMAX, SPLIT_HEADS, SWAP
from quadlab.bridge.operations.check import check
from quadlab.bridge.operations.core import Operation, Point, elementwise, linear
from quadlab.bridge.operations.images import AVERAGE_POOL, MEAN, PATCHES, RESHAPE
from quadlab.bridge.operations.layers import ADD, DENSE, GAIN, SHIFT

__all__ = [
    "ACTIVATIONS",
    "ADD",
    "AVERAGE_POOL",
    "DENSE",
    "GAIN",
    "GELU",
    "LAYER_NORM",
    "MATMUL",
    "MEAN",
    "MERGE_HEADS",
    "PATCHES",
    "RELU",
    "RESHAPE",
    "SCALE",
    "SHIFT",
    "SILU",
    "SOFTMAX",
    "SPLIT_HEADS",
    "SWAP",
    "TANH",
    "Operation",
    "Point",
    "check",
    "elementwise",
    "linear",
]

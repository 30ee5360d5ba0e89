"""Losses of outputs (examples, c): summed over examples, with the first derivative and the Hessian's products."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quadlab.bridge.arrays import real_numbers

__all__ = ["LOSSES", "Loss"]


@dataclass(frozen=True)
class Loss:
    """A loss of each example's outputs.

    value(xp, outputs, targets) -> sum over the examples, a 0-d array; gradient(xp, outputs, targets) -> (examples, c);
    hessian_product(xp, outputs, targets, tangents) -> tangents (k, examples, c) times each example's Hessian.
    """

    name: str
    value: Callable
    gradient: Callable
    hessian_product: Callable


SQUARED_ERROR = Loss(
    "squared_error",
    lambda xp, outputs, targets: xp.sum((outputs - targets) ** 2) / 2,
    lambda xp, outputs, targets: outputs - targets,
    lambda xp, outputs, targets, tangents: tangents,
)


def _log_softmax(xp, outputs):
    shifted = outputs - xp.max(outputs, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def _curved(xp, outputs, targets, tangents):
    chances = xp.exp(_log_softmax(xp, outputs))
    weighted = chances * tangents
    return weighted - chances * xp.sum(weighted, axis=-1, keepdims=True)


CROSS_ENTROPY = Loss(
    "cross_entropy",
    lambda xp, outputs, targets: -xp.sum(targets * _log_softmax(xp, outputs)),
    lambda xp, outputs, targets: xp.exp(_log_softmax(xp, outputs)) - targets,
    _curved,
)

LOSSES = {loss.name: loss for loss in (SQUARED_ERROR, CROSS_ENTROPY)}


def targets_of(values, examples, classes, loss):
    """Targets as an array (examples, classes): given as such, or as whole labels, of which one-hot rows are made.

    >>> targets_of([1, 0], 2, 3, "cross_entropy")
    array([[0., 1., 0.],
           [1., 0., 0.]])
    """
    array = real_numbers("targets", values)
    if array.shape[:1] != (examples,):
        raise ValueError(f"targets must have one entry for each of the {examples} examples, got shape {array.shape}")
    if array.ndim == 1 and array.dtype.kind in "iu":
        outside = array[(array < 0) | (array >= classes)]
        if outside.size:
            raise ValueError(f"targets must be labels from 0 to {classes - 1}, got {outside[0]}")
        return np.eye(classes)[array]
    if array.shape != (examples, classes):
        raise ValueError(
            f"targets must be whole labels ({examples},) or have shape ({examples}, {classes}), got {array.shape}"
            f" of dtype {array.dtype}"
        )
    array = array.astype(float)
    if not np.isfinite(array).all():
        raise ValueError("targets must be finite, got NaN or infinity")
    if loss != "cross_entropy":
        return array
    sums = array.sum(axis=1, keepdims=True)
    if not (np.all(array >= 0) and np.allclose(sums, 1, atol=1e-6)):
        raise ValueError("targets of the cross entropy must be probabilities that sum to one for each example")
    # the gradient, softmax - targets, is that of the loss only where they do
    return array / sums

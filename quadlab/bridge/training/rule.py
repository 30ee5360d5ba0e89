"""What a rule is, and what rules share: their names and their minibatches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

from quadlab.theory.intervals import whole_positive

__all__ = ["Rule", "batch_size_of", "minibatch", "rule_of"]


@dataclass(frozen=True)
class Rule:
    """An update rule: step(problem, parameters, state, rng) -> (parameters, state), new arrays on problem.backend.

    name : says the settings too: a checkpoint of one rule is not continued by another.
    state : a mapping of names to arrays and numbers. Arrays of whole numbers stay on the host.
    start : problem -> the state before the first step; empty by default. The place to refuse an unfit problem.
    """

    name: str
    step: Callable[..., tuple[Any, Mapping[str, Any]]]
    start: Callable[..., Mapping[str, Any]] = lambda problem: {}

    @classmethod
    def named(cls, factory, step, start=None, **settings):
        """The rule called `factory(settings)`.

        >>> Rule.named("descent", None, learning_rate=0.1, noise_variance=np.ones(2)).name
        'descent(learning_rate=0.1, noise_variance=array 2 #...)'
        """
        listed = ", ".join(f"{name}={_written(value)}" for name, value in settings.items())
        return cls(f"{factory}({listed})", step, *([start] if start else []))

    def __call__(self, problem, parameters, state, rng):
        return self.step(problem, parameters, state, rng)

    def __repr__(self):
        return self.name


def rule_of(rule):
    """A Rule as it is, any other function as a rule that starts from the empty state."""
    if isinstance(rule, Rule):
        return rule
    if not callable(rule):
        raise ValueError(
            f"rule must be a function (problem, parameters, state, rng) -> (parameters, state), got {rule!r}"
        )
    return Rule(getattr(rule, "__qualname__", type(rule).__qualname__), rule)


def batch_size_of(batch_size):
    """None or a whole number of examples."""
    return None if batch_size is None else int(whole_positive.check_one("batch_size", batch_size))


def minibatch(problem, batch_size, state, rng):
    """The problem on the next `batch_size` examples, and what the state must keep for the one after.

    Each epoch is a new random order of all examples; its last batch is what is left. None: all examples, always.
    """
    if batch_size is None:
        return problem, {}
    if batch_size > problem.examples:
        raise ValueError(f"batch_size must be at most the {problem.examples} examples, got {batch_size}")
    order, position = state.get("order"), state.get("position", problem.examples)
    if position >= problem.examples:
        order, position = rng.permutation(problem.examples), 0
    end = position + batch_size
    return problem.subset(order[position:end]), {"order": order, "position": end}


def _written(value):
    if np.ndim(value):
        array = np.ascontiguousarray(value)
        return f"array {'x'.join(map(str, array.shape))} #{crc32(array.tobytes()):08x}"
    return value.item() if isinstance(value, np.generic) else value

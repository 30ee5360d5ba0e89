"""A network: operations in order, what each takes, and the layout of its flat parameter vector."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import isfinite, prod, sqrt
from typing import Any

import array_api_compat.numpy
import numpy as np

from quadlab.bridge.operations import DENSE, GAIN, SHIFT, Operation
from quadlab.theory.seeds import generator

__all__ = ["Draft", "Network", "Parameter", "Step", "Value", "is_whole"]


def is_whole(value):
    """Whether a value is a whole number that 64 bits hold: 3 or 3.0, but not True and not "3".

    >>> is_whole(3.0), is_whole(True), is_whole(float("nan"))
    (True, False, False)
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return -(2**63) <= value < 2**63 and int(value) == value


def _sizes(shape):
    """The sizes of a shape as a tuple of ints; an empty one where it is no shape."""
    sizes = tuple(shape) if np.iterable(shape) else ()
    return tuple(int(size) for size in sizes) if all(is_whole(size) and size >= 1 for size in sizes) else ()


@dataclass(frozen=True)
class Value:
    """An activation of the network: number 0 is the input, number i + 1 the output of step i."""

    number: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Parameter:
    """One array of parameters. `fan_in` scales its initial values; without it they are `initial`."""

    number: int
    name: str
    shape: tuple[int, ...]
    fan_in: int = 0
    initial: float = 0.0


@dataclass(frozen=True)
class Step:
    """One operation with what it is applied to."""

    operation: Operation
    arguments: tuple[Value | Parameter, ...]
    options: dict[str, Any]
    output: Value


@dataclass(frozen=True)
class Network:
    """A function of parameters and inputs; see `Draft` for making one, and `mlp`, `residual_network`, ….

    The flat parameter vector holds the parameters in the order in which they were made, each row by row:
    W1, b1, W2, b2, … for a perceptron.
    """

    name: str
    steps: tuple[Step, ...]
    parameters: tuple[Parameter, ...]
    input_shape: tuple[int, ...]
    output: Value

    @property
    def dimension(self):
        """The number of parameters."""
        return sum(prod(parameter.shape) for parameter in self.parameters)

    def initial(self, rng=None, weights="uniform"):
        """Random initial parameters (n,), in float64.

        weights : "uniform" on +-1/sqrt(fan_in), or "normal" with variance 1/fan_in. Biases are zero, gains one.
        rng : SPEC 7.

        >>> from quadlab import bridge
        >>> bridge.mlp([2, 3, 1]).initial(0).shape
        (13,)
        """
        if weights not in ("uniform", "normal"):
            raise ValueError(f'weights must be "uniform" or "normal", got {weights!r}')
        random = generator(rng, "initial")
        pieces = []
        for parameter in self.parameters:
            if not parameter.fan_in:
                pieces.append(np.full(prod(parameter.shape), float(parameter.initial)))
                continue
            scale = 1 / sqrt(parameter.fan_in)
            draw = random.standard_normal if weights == "normal" else lambda size: random.uniform(-1, 1, size)
            pieces.append(scale * draw(prod(parameter.shape)))
        return np.concatenate(pieces)

    @cached_property
    def varying(self):
        """Numbers of the values that depend on parameters; what only depends on the inputs has no derivatives."""
        found: set[int] = set()
        for step in self.steps:
            if any(isinstance(argument, Parameter) or argument.number in found for argument in step.arguments):
                found.add(step.output.number)
        return frozenset(found)

    def slices(self):
        """Where each parameter lies in the flat vector."""
        ends = np.cumsum([0, *(prod(parameter.shape) for parameter in self.parameters)])
        return [slice(int(a), int(b)) for a, b in pairwise(ends)]

    def __repr__(self):
        return f"Network({self.name}, {self.dimension} parameters, {self.input_shape} -> {self.output.shape})"


@dataclass
class Draft:
    """A network in the making.

    Each method applies one operation to values of the draft and returns the value it makes; shapes are of one example.

    >>> from quadlab.bridge.operations import TANH
    >>> draft = Draft((4,))
    >>> hidden = draft.apply(TANH, draft.dense(draft.input, 8))
    >>> draft.network("two layers", draft.dense(hidden, 3))
    Network(two layers, 67 parameters, (4,) -> (3,))
    """

    input_shape: tuple[int, ...]
    steps: list[Step] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)

    def __post_init__(self):
        sizes = _sizes(self.input_shape)
        if not sizes:
            raise ValueError(f"input_shape must be a tuple of whole numbers >= 1, got {self.input_shape!r}")
        self.input_shape = sizes

    @property
    def input(self):
        """The network's input."""
        return Value(0, self.input_shape)

    def parameter(self, name, shape, fan_in=0, initial=0.0):
        """A new array of parameters: random with scale 1/sqrt(fan_in), or constant if fan_in is 0."""
        sizes = _sizes(shape)
        if not sizes:
            raise ValueError(f"shape of the parameter {name} must have whole sizes >= 1, got {shape!r}")
        if not is_whole(fan_in) or fan_in < 0:
            raise ValueError(f"fan_in of the parameter {name} must be a whole number >= 0, got {fan_in!r}")
        if not isinstance(initial, int | float) or not isfinite(initial):
            raise ValueError(f"initial of the parameter {name} must be a finite number, got {initial!r}")
        made = Parameter(len(self.parameters), name, sizes, int(fan_in), float(initial))
        self.parameters.append(made)
        return made

    def apply(self, operation, *arguments, **options):
        """Apply an operation; its output's shape is found by running it on one example of zeros."""
        xp = array_api_compat.numpy
        if not isinstance(operation, Operation):
            raise ValueError(f"operation must be an Operation, got {type(operation).__name__}")
        if len(arguments) != len(operation.derivatives):
            raise ValueError(f"{operation.name} takes {len(operation.derivatives)} arguments, got {len(arguments)}")
        for number, argument in enumerate(arguments):
            self._own(f"argument {number} of {operation.name}", argument, number in operation.parameters)
        shapes = ", ".join(str(argument.shape) for argument in arguments)
        trial = [np.zeros(a.shape if isinstance(a, Parameter) else (1, *a.shape)) for a in arguments]
        try:
            shape = operation.value(xp, *trial, **options).shape[1:]
        except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
            raise ValueError(f"{operation.name} cannot be applied to shapes {shapes}: {error}") from error
        if 0 in shape:
            raise ValueError(f"{operation.name} leaves nothing of shapes {shapes}, its output has shape {shape}")
        output = Value(len(self.steps) + 1, shape)
        self.steps.append(Step(operation, arguments, options, output))
        return output

    def dense(self, x, width):
        """x @ W + b on the last axis, with W of shape (fan_in, width)."""
        self._own("x", x)
        fan_in, number = x.shape[-1], sum(step.operation is DENSE for step in self.steps) + 1
        weights = self.parameter(f"W{number}", (fan_in, width), fan_in)
        return self.apply(DENSE, x, weights, self.parameter(f"b{number}", (width,)))

    def gain_and_shift(self, x):
        """A learned gain (from one) and shift (from zero) of the last axis."""
        self._own("x", x)
        number = sum(step.operation is GAIN for step in self.steps) + 1
        x = self.apply(GAIN, x, self.parameter(f"gain{number}", x.shape[-1:], initial=1.0))
        return self.apply(SHIFT, x, self.parameter(f"shift{number}", x.shape[-1:]))

    def network(self, name, output):
        """The finished network, whose output is a vector for each example."""
        self._own("output", output)
        if len(output.shape) != 1:
            raise ValueError(f"the output must be a vector for each example, got shape {output.shape}")
        network = Network(name, tuple(self.steps), tuple(self.parameters), self.input_shape, output)
        if output.number not in network.varying:
            raise ValueError(f"the output of {name} must depend on a parameter")
        return network

    def _own(self, name, given, parameter=False):
        """Refuse what is not a value of this draft, or not a parameter of it."""
        own = self.parameters if parameter else [self.input, *(step.output for step in self.steps)]
        if not isinstance(given, Value | Parameter) or given not in own:
            what = given if isinstance(given, Value | Parameter) else type(given).__name__
            raise ValueError(f"{name} must be a {'parameter' if parameter else 'value'} of this draft, got {what}")

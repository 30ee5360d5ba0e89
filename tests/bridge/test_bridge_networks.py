"""The networks against plain NumPy, their parameters' order and initial values, and networks of a user's own."""

from dataclasses import replace
from math import erf, sqrt

import numpy as np
import pytest
from helpers import directions, point_of, problem_of, richardson

from quadlab import bridge
from quadlab.bridge.operations import ADD, DENSE, GELU, LAYER_NORM, MATMUL, MEAN, SHIFT, SOFTMAX, SWAP, TANH
from quadlab.theory.seeds import generator

PLAIN = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * (1 + np.vectorize(erf)(x / sqrt(2))) / 2,
}


class Reader:
    """Arrays taken from the front of a flat vector, row by row."""

    def __init__(self, flat):
        self.flat, self.at = flat, 0

    def take(self, *shape):
        start, self.at = self.at, self.at + int(np.prod(shape))
        return self.flat[start : self.at].reshape(shape)

    def dense(self, x, width):
        weights = self.take(x.shape[-1], width)
        return np.einsum("...i,ij->...j", x, weights) + self.take(width)


def predicted(network, flat, inputs):
    """The bridge's outputs, through a problem whose targets do not matter."""
    targets = np.zeros((len(inputs), network.output.shape[0]))
    return bridge.Problem(network, inputs, targets).predict(flat)


def assert_same(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("activation", PLAIN)
@pytest.mark.parametrize("widths", [[3, 2], [3, 5, 2], [3, 5, 4, 4, 2]])
def test_mlp(widths, activation):
    network = bridge.mlp(widths, activation)
    flat, inputs = point_of(network), np.random.default_rng(0).normal(size=(6, 3))
    reader, x = Reader(flat), inputs
    for number, width in enumerate(widths[1:]):
        x = reader.dense(PLAIN[activation](x) if number else x, width)
    assert reader.at == network.dimension
    assert_same(predicted(network, flat, inputs), x)


def convolution(image, kernel, bias):
    """Cross-correlation of (height, width, channels) with (size, size, channels, out), zeros around, place by place."""
    size = kernel.shape[0]
    around = size // 2
    padded = np.pad(image, ((around, around), (around, around), (0, 0)))
    return np.array(
        [
            [np.tensordot(padded[i : i + size, j : j + size], kernel, axes=3) + bias for j in range(image.shape[1])]
            for i in range(image.shape[0])
        ]
    )


@pytest.mark.parametrize("activation", PLAIN)
def test_residual_network(activation):
    network = bridge.residual_network((4, 6, 2), (3, 2), blocks=2, outputs=3, activation=activation)
    flat, inputs, f = point_of(network), np.random.default_rng(0).normal(size=(2, 4, 6, 2)), PLAIN[activation]
    reader = Reader(flat)
    shapes = [(3, 2, 3)] + [(3, 3, 3)] * 4 + [(1, 3, 2)] + [(3, 2, 2)] * 4
    kernels = [(reader.take(size, size, channels, out), reader.take(out)) for size, channels, out in shapes]
    last, bias = reader.take(2, 3), reader.take(3)
    assert reader.at == network.dimension

    def outputs(image):
        layers = iter(kernels)
        x = convolution(image, *next(layers))
        for stage in range(2):
            if stage:
                pooled = (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4
                x = convolution(pooled, *next(layers))
            for _ in range(2):
                inner = convolution(f(x), *next(layers))
                x = x + convolution(f(inner), *next(layers))
        return f(x).mean(axis=(0, 1)) @ last + bias

    assert_same(predicted(network, flat, inputs), np.array([outputs(image) for image in inputs]))


def normalised(x, reader):
    y = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    return y * reader.take(x.shape[-1]) + reader.take(x.shape[-1])


def attention(x, reader, heads):
    width = x.shape[-1]
    query, key, value = (reader.dense(x, width) for _ in range(3))
    found = []
    for columns in np.split(np.arange(width), heads):
        scores = np.exp(query[:, columns] @ key[:, columns].T / sqrt(width / heads))
        found.append(scores / scores.sum(axis=1, keepdims=True) @ value[:, columns])
    return reader.dense(np.concatenate(found, axis=1), width)


@pytest.mark.parametrize("activation", PLAIN)
def test_vision_transformer(activation):
    network = bridge.vision_transformer((4, 6, 2), 2, 6, layers=2, heads=3, outputs=4, activation=activation)
    flat, inputs = point_of(network), np.random.default_rng(0).normal(size=(2, 4, 6, 2))

    def outputs(image):
        reader = Reader(flat)
        tokens = [image[i : i + 2, j : j + 2].ravel() for i in (0, 2) for j in (0, 2, 4)]
        x = reader.dense(np.array(tokens), 6)
        x = x + reader.take(6, 6)
        for _ in range(2):
            x = x + attention(normalised(x, reader), reader, 3)
            x = x + reader.dense(PLAIN[activation](reader.dense(normalised(x, reader), 24)), 6)
        result = reader.dense(normalised(x, reader).mean(axis=0), 4)
        assert reader.at == network.dimension
        return result

    assert_same(predicted(network, flat, inputs), np.array([outputs(image) for image in inputs]))


@pytest.mark.parametrize(("weights", "largest", "variance"), [("uniform", 1.0, 1 / 3), ("normal", np.inf, 1.0)])
def test_initial_parameters(weights, largest, variance):
    network = bridge.vision_transformer((4, 4, 1), width=16, heads=2)
    flat = network.initial(3, weights=weights)
    np.testing.assert_array_equal(flat, network.initial(generator(3, "initial"), weights=weights))
    for where, parameter in zip(network.slices(), network.parameters, strict=True):
        values = flat[where]
        if not parameter.fan_in:
            assert set(values) == {1.0 if parameter.name.startswith("gain") else 0.0}
            continue
        scaled = values * sqrt(parameter.fan_in)
        assert np.abs(scaled).max() <= largest
        assert abs(np.mean(scaled)) <= 6 * sqrt(variance / values.size)
        # the square of a draw varies by at most sqrt(2) times its mean: six standard deviations
        assert abs(np.mean(scaled**2) - variance) <= 6 * sqrt(2) * variance / sqrt(values.size)


def assert_derivatives(network):
    """Gradient and Hessian product against differences, and symmetry."""
    for loss in ("squared_error", "cross_entropy"):
        problem, point, (direction,) = problem_of(network, loss), point_of(network), directions(network, 1).T
        slope, bend = (
            richardson(lambda t, f=function, w=point, d=direction: f(w + t * d), 2.0**-5)
            for function in (problem.loss, problem.gradient)
        )
        assert problem.gradient(point) @ direction == pytest.approx(slope, abs=1e-9)
        product = problem.hessian_product(point, direction)
        assert np.linalg.norm(product - bend) <= 1e-9 * np.linalg.norm(product)
        dense = problem.hessian(point).dense()
        assert np.linalg.norm(dense - dense.T) <= 1e-13 * np.linalg.norm(dense)


def test_a_parameter_used_twice():
    draft = bridge.Draft((3,))
    weights, bias = draft.parameter("W", (3, 3), fan_in=3), draft.parameter("b", (3,))
    x = draft.input
    for _ in range(2):
        x = draft.apply(TANH, draft.apply(DENSE, x, weights, bias))
    network = draft.network("shared", x)
    assert network.dimension == 12
    assert_derivatives(network)
    flat, inputs = point_of(network), np.random.default_rng(0).normal(size=(4, 3))
    w, b = flat[:9].reshape(3, 3), flat[9:]
    assert_same(predicted(network, flat, inputs), np.tanh(np.tanh(inputs @ w + b) @ w + b))


def test_a_value_used_three_times():
    draft = bridge.Draft((3,))
    x = draft.dense(draft.input, 4)
    branch = draft.apply(ADD, draft.apply(TANH, x), x)
    assert_derivatives(draft.network("thrice", draft.apply(ADD, draft.apply(GELU, branch), x)))


def test_a_value_multiplied_with_itself():
    draft = bridge.Draft((2, 3))
    x = draft.dense(draft.input, 3)
    product = draft.apply(MATMUL, x, draft.apply(SWAP, x))
    assert_derivatives(draft.network("squared", draft.dense(draft.apply(MEAN, product), 2)))


def test_a_parameter_that_meets_the_input_first():
    draft = bridge.Draft((3,))
    x = draft.apply(SHIFT, draft.input, draft.parameter("centre", (3,), fan_in=3))
    assert_derivatives(draft.network("shifted", draft.dense(draft.apply(TANH, draft.dense(x, 4)), 2)))


def test_a_gain_that_meets_the_input_first():
    draft = bridge.Draft((3,))
    x = draft.apply(LAYER_NORM, draft.gain_and_shift(draft.input))
    assert_derivatives(draft.network("scaled", draft.dense(x, 2)))


def test_a_step_after_the_output_changes_nothing():
    draft = bridge.Draft((3,))
    output = draft.dense(draft.input, 2)
    draft.apply(TANH, output)
    assert_derivatives(draft.network("trailing", output))


def test_relu_has_slope_zero_at_its_kink():
    network = bridge.mlp([1, 1, 1], "relu")
    problem = bridge.Problem(network, [[1.0]], [[1.0]])
    # the hidden unit is 0 there; only the last bias moves the output
    np.testing.assert_array_equal(problem.gradient([0.0, 0.0, 3.0, 0.0]), [0, 0, 0, -1])


@pytest.mark.parametrize("size", [30.0, 1e20, 3e38])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("activation", PLAIN)
def test_far_from_zero_activations_are_straight(activation, sign, size):
    """Scale and slope of a unit that is moved far from zero: those of its two asymptotes, in single precision too."""
    network = bridge.mlp([1, 1, 1], activation)
    problem = bridge.Problem(network, [[1.0]], [[0.0]], dtype="float32")
    # the hidden unit is at sign * size, and the output its value over size
    size = float(np.float32(size))
    point = np.array([0.0, sign * size, 1 / size, 0.0])
    value, slope = (float(sign), 0.0) if activation == "tanh" else (max(sign * size, 0.0), float(sign > 0))
    output = np.float32(value / size)
    # a few roundings, and what is left of the slowest exponential at 30
    accepted = {"rtol": 4 * np.finfo(np.float32).eps, "atol": 30 * np.exp(-30)}
    np.testing.assert_allclose(problem.predict(point), [[output]], **accepted)
    expected = [output * slope / size, output * slope / size, output * value, output]
    np.testing.assert_allclose(problem.gradient(point), expected, **accepted)
    assert np.isfinite(problem.hessian_product(point, [0, 1e-6, 0, 0])).all()


def test_attention_with_large_scores():
    """Scores whose exponentials overflow: each token attends to the one with the largest score."""
    draft = bridge.Draft((2, 3))
    shifted = draft.apply(SHIFT, draft.input, draft.parameter("shift", (3,), fan_in=1))
    network = draft.network("shares", draft.apply(MEAN, draft.apply(SOFTMAX, shifted)))
    found = predicted(network, np.zeros(3), np.array([[[1e5, 0, -1e5], [0, 800, 0]]]))
    np.testing.assert_array_equal(found, [[0.5, 0.5, 0]])


def counting(operation, field):
    """The operation, and a list that grows with each call of its first such entry."""
    calls, (entry, *others) = [], getattr(operation, field)

    def counted(point, directions):
        calls.append(1)
        return entry(point, directions)

    return replace(operation, **{field: (counted, *others)}), calls


def test_nothing_is_pulled_back_to_the_inputs():
    dense, calls = counting(DENSE, "transposed")
    draft = bridge.Draft((3,))
    x = draft.input
    for number in range(2):
        shapes = (f"W{number}", (3, 3)), (f"b{number}", (3,))
        x = draft.apply(dense, x, *(draft.parameter(*shape, fan_in=3) for shape in shapes))
    network = draft.network("two layers", x)
    problem = problem_of(network)
    problem.gradient(point_of(network))
    assert len(calls) == 1


def test_a_product_at_the_same_point_makes_no_gradient():
    tanh, calls = counting(TANH, "transposed")
    draft = bridge.Draft((3,))
    network = draft.network("wide", draft.dense(draft.apply(tanh, draft.dense(draft.input, 4)), 2))
    problem, point = problem_of(network), point_of(network)
    for made in (2, 3):
        problem.hessian_product(point, point)
        assert len(calls) == made


def test_a_parameter_that_nothing_uses():
    draft = bridge.Draft((2,))
    draft.parameter("unused", (4,))
    network = draft.network("linear", draft.dense(draft.input, 1))
    problem = problem_of(network)
    point = np.arange(7.0)
    np.testing.assert_array_equal(problem.gradient(point)[:4], np.zeros(4))
    np.testing.assert_array_equal(problem.hessian(point).dense()[:4], np.zeros((4, 7)))

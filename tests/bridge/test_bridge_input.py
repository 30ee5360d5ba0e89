"""Bad input: one sentence that names the argument, the value and what is accepted."""

import re

import numpy as np
import pytest
from helpers import strict_backend

from quadlab import bridge
from quadlab.bridge.network import Draft
from quadlab.bridge.operations import ADD, AVERAGE_POOL, DENSE, MEAN, PATCHES, SHIFT, TANH, check

NETWORK = bridge.mlp([3, 4, 2])
INPUTS, LABELS = np.random.default_rng(0).normal(size=(5, 3)), np.array([0, 1, 1, 0, 1])
NUMBERS = np.ones((5, 2))
POINT = NETWORK.initial(0)


def refused(sentence):
    return pytest.raises(ValueError, match=re.escape(sentence))


def make(inputs=INPUTS, targets=NUMBERS, network=NETWORK, **options):
    return bridge.Problem(network, inputs, targets, **options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"network": "mlp"}, "network must be a quadlab.bridge.Network, got str"),
        ({"loss": "hinge"}, "loss must be one of squared_error, cross_entropy, got 'hinge'"),
        ({"backend": "jax"}, 'backend must be "numpy", "cupy" or "auto", got \'jax\''),
        ({"dtype": "float16"}, "dtype must be one of float64, float32, got 'float16'"),
        ({"batch": 0}, "batch must be a whole number >= 1 or None, got 0"),
        ({"batch": 2.5}, "batch must be a whole number >= 1 or None, got 2.5"),
        ({"batch": True}, "batch must be a whole number >= 1 or None, got True"),
        ({"batch": "4"}, "batch must be a whole number >= 1 or None, got '4'"),
        ({"batch": np.nan}, "batch must be a whole number >= 1 or None, got nan"),
        ({"batch": [4]}, "batch must be a whole number >= 1 or None, got [4]"),
        ({"inputs": INPUTS[:, :2]}, "inputs must have shape (examples, 3), got (5, 2)"),
        ({"inputs": INPUTS[0]}, "inputs must have shape (examples, 3), got (3,)"),
        ({"inputs": INPUTS[:0], "targets": NUMBERS[:0]}, "inputs must have shape (examples, 3), got (0, 3)"),
        ({"inputs": INPUTS.astype(str)}, "inputs must be real numbers, got dtype <U32"),
        ({"inputs": INPUTS + 1j}, "inputs must be real numbers, got dtype complex128"),
        ({"inputs": np.where(INPUTS > 1, np.nan, INPUTS)}, "inputs must be finite in float64, got NaN or infinity"),
        ({"inputs": np.where(INPUTS > 1, np.inf, INPUTS)}, "inputs must be finite in float64, got NaN or infinity"),
        (
            {"inputs": INPUTS * 1e300, "dtype": "float32"},
            "inputs must be finite in float32, got NaN or infinity",
        ),
        (
            {"targets": NUMBERS * 1e300, "dtype": "float32"},
            "targets must be finite in float32, got NaN or infinity",
        ),
        (
            {"inputs": [[1.0], [1.0, 2.0]]},
            "inputs must be real numbers in rows of equal length, got [[1.0], [1.0, 2.0]]",
        ),
        ({"targets": [[1], [1, 2]]}, "targets must be real numbers in rows of equal length, got [[1], [1, 2]]"),
        ({"inputs": None}, "inputs must be real numbers, got dtype object"),
        ({"dtype": np.dtype("float32")}, "dtype must be one of float64, float32, got dtype('float32')"),
        ({"backend": np.array(["numpy", "auto"])}, 'backend must be "numpy", "cupy" or "auto", got array('),
        ({"targets": NUMBERS.astype(object)}, "targets must be real numbers, got dtype object"),
        ({"targets": NUMBERS[:4]}, "targets must have one entry for each of the 5 examples, got shape (4, 2)"),
        ({"targets": 1.0}, "targets must have one entry for each of the 5 examples, got shape ()"),
        ({"targets": np.array([0, 1, 2, 0, 1])}, "targets must be labels from 0 to 1, got 2"),
        ({"targets": np.array([0, 1, -1, 0, 1])}, "targets must be labels from 0 to 1, got -1"),
        (
            {"targets": LABELS.astype(float)},
            "targets must be whole labels (5,) or have shape (5, 2), got (5,) of dtype float64",
        ),
        (
            {"targets": LABELS == 1},
            "targets must be whole labels (5,) or have shape (5, 2), got (5,) of dtype bool",
        ),
        ({"targets": np.ones((5, 3))}, "targets must be whole labels (5,) or have shape (5, 2), got (5, 3)"),
        ({"targets": NUMBERS * np.nan}, "targets must be finite, got NaN or infinity"),
        (
            {"targets": NUMBERS, "loss": "cross_entropy"},
            "targets of the cross entropy must be probabilities that sum to one for each example",
        ),
        (
            {"targets": [[2.0, -1.0]] * 5, "loss": "cross_entropy"},
            "targets of the cross entropy must be probabilities that sum to one for each example",
        ),
    ],
)
def test_problems(options, sentence):
    with refused(sentence):
        make(**options)


def test_labels_become_rows():
    np.testing.assert_array_equal(make(targets=LABELS).targets, [[1, 0], [0, 1], [0, 1], [1, 0], [0, 1]])


@pytest.mark.parametrize("batch", [1, np.int64(2), 4.0, 100, None])
def test_batches_that_are_accepted(batch):
    assert make(batch=batch).batch == min(5 if batch is None else batch, 5)


METHODS = {
    "loss": (),
    "gradient": (),
    "loss_and_gradient": (),
    "predict": (),
    "hessian_product": (POINT,),
    "gauss_newton_product": (POINT,),
}


@pytest.mark.parametrize("method", METHODS)
def test_parameters(method):
    function, vectors = getattr(make(), method), METHODS[method]
    with refused("parameters must have shape (26,), got (25,)"):
        function(POINT[:-1], *vectors)
    with refused("parameters must have shape (26,), got (26, 1)"):
        function(POINT[:, None], *vectors)
    with refused("parameters must be real numbers, got dtype <U32"):
        function(POINT.astype(str), *vectors)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_no_array(method):
    function, vectors = getattr(make(), method), METHODS[method]
    with refused("parameters must be real numbers in rows of equal length, got [[1], [1, 2]]"):
        function([[1], [1, 2]], *vectors)
    with refused("parameters must be real numbers, got dtype object"):
        function(None, *vectors)
    if vectors:
        with refused("vectors must be real numbers in rows of equal length, got [[1], [1, 2]]"):
            function(POINT, [[1], [1, 2]])


def test_complex_arrays_of_a_device_are_refused():
    where = strict_backend()
    problem = make(backend=where)
    turned = where.namespace.astype(where.array(POINT), where.namespace.complex128)
    with refused("parameters must be real numbers, got dtype"):
        problem.loss(turned)
    with refused("vectors must be real numbers, got dtype"):
        problem.hessian_product(POINT, turned)


def test_what_overflows_single_precision_is_announced():
    single = make(dtype="float32")
    for method, arguments in [("gradient", (1e300 * POINT,)), ("hessian_product", (POINT, 1e300 * POINT))]:
        with pytest.raises(FloatingPointError, match="what it was asked at is not finite"):
            getattr(single, method)(*arguments)


def test_numbers_whose_sum_alone_overflows_are_returned():
    linear = bridge.mlp([1, 4])
    problem = bridge.Problem(linear, [[1.0]], np.zeros((1, 4)), dtype="float32")
    huge = np.float32(2.0**127)
    point = np.array([0, 0, 0, 0] + [huge] * 4)
    np.testing.assert_array_equal(problem.predict(point), [[huge] * 4])
    np.testing.assert_array_equal(problem.gradient(point), [huge] * 8)
    np.testing.assert_array_equal(problem.hessian_product(np.zeros(8), point), [huge] * 8)


def test_infinities_of_both_signs_are_announced():
    network = bridge.mlp([3, 4, 2], "relu")
    point = network.initial(0)
    point[-2:] = np.inf, -np.inf
    with pytest.raises(FloatingPointError, match="the prediction is not finite"):
        make(network=network).predict(point)


@pytest.mark.parametrize("vectors", ["2", -1, 1.5, np.nan, None])
def test_memory_of_no_number_of_vectors(vectors):
    with refused(f"vectors must be a whole number >= 0, got {vectors!r}"):
        make().memory(vectors)


@pytest.mark.parametrize("rng", ["0", -1, 1.5, True])
def test_random_numbers_come_from_a_seed_or_a_generator(rng):
    sentence = f"rng must be None, a non-negative int, a SeedSequence or a Generator, got {rng!r}"
    with refused(sentence):
        NETWORK.initial(rng)
    with refused(sentence):
        check(TANH, (3,), rng=rng)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
def test_nothing_returns_nan_in_silence(method, bad, loss):
    problem, point = make(targets=LABELS, loss=loss), POINT.copy()
    # the last bias, which no activation bounds
    point[-1] = bad
    if method == "loss" and loss == "squared_error" and bad == np.inf:
        assert problem.loss(point) == np.inf
        return
    if method == "gauss_newton_product" and loss == "squared_error":
        # the matrix of a squared error does not depend on the last bias
        np.testing.assert_array_equal(
            problem.gauss_newton_product(point, POINT), make(targets=LABELS).gauss_newton_product(POINT, POINT)
        )
        return
    with pytest.raises(FloatingPointError, match="what it was asked at is not finite, or the network overflows"):
        getattr(problem, method)(point, *METHODS[method])


@pytest.mark.parametrize("activation", ["tanh", "relu", "silu", "gelu"])
def test_nan_goes_through_every_activation(activation):
    network = bridge.mlp([3, 4, 2], activation)
    point = network.initial(0)
    point[0] = np.nan
    for method in ("loss", "gradient", "predict"):
        with pytest.raises(FloatingPointError, match="asked at is not finite"):
            getattr(make(network=network), method)(point)


@pytest.mark.parametrize("method", ["hessian_product", "gauss_newton_product"])
def test_vectors(method):
    product = getattr(make(), method)
    for vectors in (np.ones(25), np.ones((26, 0)), np.ones((26, 2, 1)), np.float64(1.0)):
        with refused(f"vectors must have shape (26,) or (26, k), got {np.shape(vectors)}"):
            product(POINT, vectors)
    with refused("vectors must be real numbers, got dtype complex128"):
        product(POINT, POINT + 1j)
    with pytest.raises(FloatingPointError, match=f"the {method.replace('_', ' ')} is not finite"):
        product(POINT, POINT * np.nan)


def test_inputs_of_predictions():
    with refused("inputs must have shape (examples, 3), got (2, 4)"):
        make().predict(POINT, np.ones((2, 4)))
    with refused("inputs must be finite in float64, got NaN or infinity"):
        make().predict(POINT, INPUTS * np.nan)


def test_indices_of_subsets():
    problem = make()
    for indices, shape in (
        ([[0]], "(1, 1) of dtype int64"),
        ([], "(0,) of dtype float64"),
        ([0.0], "(1,) of dtype float64"),
        ([True], "(1,) of dtype bool"),
    ):
        with refused(f"indices must be a list of whole numbers, got shape {shape}"):
            problem.subset(indices)
    for indices in ([5], [-1]):
        with refused(f"indices must lie from 0 to 4, got {indices[0]} to {indices[0]}"):
            problem.subset(indices)


@pytest.mark.parametrize(
    ("make_network", "sentence"),
    [
        (lambda: bridge.mlp([3]), "widths must name inputs and outputs at least, got [3]"),
        (lambda: bridge.mlp(3), "widths must name inputs and outputs at least, got 3"),
        (lambda: bridge.mlp([3, 0]), "widths must be a whole number >= 1, got 0"),
        (lambda: bridge.mlp([3, 2.5, 1]), "widths must be a whole number >= 1, got 2.5"),
        (lambda: bridge.mlp([3, np.nan]), "widths must be a whole number >= 1, got nan"),
        (lambda: bridge.mlp([3, True]), "widths must be a whole number >= 1, got True"),
        (lambda: bridge.mlp(["3", "2"]), "widths must be a whole number >= 1, got '3'"),
        (lambda: bridge.mlp([3, 2], "swish"), "activation must be one of tanh, relu, silu, gelu, got 'swish'"),
        (lambda: bridge.mlp([[1, 2], [3]]), "widths must be a whole number >= 1, got [1, 2]"),
        (lambda: bridge.mlp("12"), "widths must name inputs and outputs at least, got 12"),
        (lambda: bridge.mlp(np.ones((2, 2))), "widths must name inputs and outputs at least, got [[1. 1.]"),
        (lambda: bridge.residual_network("881"), "image_shape must be (height, width, channels), got '881'"),
        (lambda: bridge.residual_network((8, 8)), "image_shape must be (height, width, channels), got (8, 8)"),
        (lambda: bridge.residual_network(8), "image_shape must be (height, width, channels), got 8"),
        (lambda: bridge.residual_network((8, 8, 0)), "image_shape must be a whole number >= 1, got 0"),
        (lambda: bridge.residual_network((8, 8, 1), ()), "channels must name one stage at least, got ()"),
        (lambda: bridge.residual_network((8, 8, 1), 8), "channels must name one stage at least, got 8"),
        (lambda: bridge.residual_network((8, 8, 1), (8, -1)), "channels must be a whole number >= 1, got -1"),
        (lambda: bridge.residual_network((8, 8, 1), blocks=0), "blocks must be a whole number >= 1, got 0"),
        (lambda: bridge.residual_network((8, 8, 1), outputs=None), "outputs must be a whole number >= 1, got None"),
        (lambda: bridge.residual_network((7, 8, 1)), "average pool cannot be applied to shapes (7, 8, 8): "),
        (
            lambda: bridge.vision_transformer((8, 8, 1), 3),
            "patch must divide the image's height and width 8 x 8, got 3",
        ),
        (lambda: bridge.vision_transformer((8, 8, 1), heads=3), "heads must divide width 16, got 3"),
        (lambda: bridge.vision_transformer((8, 8, 1), layers=0), "layers must be a whole number >= 1, got 0"),
        (lambda: NETWORK.initial(0, "xavier"), 'weights must be "uniform" or "normal", got \'xavier\''),
        (lambda: Draft(()), "input_shape must be a tuple of whole numbers >= 1, got ()"),
        (lambda: Draft((3, 0)), "input_shape must be a tuple of whole numbers >= 1, got (3, 0)"),
        (lambda: Draft((3,)).parameter("W", (3, 0)), "shape of the parameter W must have whole sizes >= 1, got (3, 0)"),
        (lambda: Draft((3,)).parameter("W", ()), "shape of the parameter W must have whole sizes >= 1, got ()"),
        (lambda: Draft(3), "input_shape must be a tuple of whole numbers >= 1, got 3"),
        (lambda: Draft((3,)).parameter("W", 3), "shape of the parameter W must have whole sizes >= 1, got 3"),
        (
            lambda: Draft((3,)).parameter("W", (3,), fan_in=-1),
            "fan_in of the parameter W must be a whole number >= 0, got -1",
        ),
        (
            lambda: Draft((3,)).parameter("W", (3,), initial=np.nan),
            "initial of the parameter W must be a finite number, got nan",
        ),
        (lambda: Draft((3,)).apply("tanh", Draft((3,)).input), "operation must be an Operation, got str"),
        (lambda: Draft((3,)).apply(TANH, "x"), "argument 0 of tanh must be a value of this draft, got str"),
        (lambda: Draft((3,)).dense("x", 2), "x must be a value of this draft, got str"),
        (lambda: Draft((3,)).gain_and_shift("x"), "x must be a value of this draft, got str"),
        (lambda: Draft((3,)).network("none", "x"), "output must be a value of this draft, got str"),
        (
            lambda: Draft((3,)).apply(TANH, Draft((3,)).parameter("W", (2, 3))),
            "argument 0 of tanh must be a value of this draft, got Parameter(number=0, name='W', shape=(2, 3)",
        ),
        (
            lambda: Draft((3,)).apply(SHIFT, *[Draft((3,)).input] * 2),
            "argument 1 of shift must be a parameter of this draft, got Value(number=0, shape=(3,))",
        ),
        (
            lambda: Draft((3,)).apply(TANH, Draft((3,)).dense(Draft((3,)).input, 3)),
            "argument 0 of tanh must be a value of this draft, got Value(number=1, shape=(3,))",
        ),
        (
            lambda: Draft((3,)).apply(SHIFT, Draft((3,)).input, Draft((3,)).parameter("b", (3,))),
            "argument 1 of shift must be a parameter of this draft, got Parameter(number=0, name='b', shape=(3,)",
        ),
        (lambda: check(TANH, 3), "shapes must be tuples of whole numbers >= 1, got 3"),
        (lambda: check(TANH, (0,)), "shapes must be tuples of whole numbers >= 1, got (0,)"),
        (lambda: check(TANH, (2.0,)), "shapes must be tuples of whole numbers >= 1, got (2.0,)"),
        (lambda: check(DENSE, (3,), (4, 4), (4,)), "dense cannot be applied to shapes (3,), (4, 4), (4,): "),
        (
            lambda: Draft((3,)).dense(Draft((3,)).input, 2.5),
            "the parameter W1 must have whole sizes >= 1, got (3, 2.5)",
        ),
        (lambda: Draft((3,)).apply(ADD, Draft((3,)).input), "add takes 2 arguments, got 1"),
        (
            lambda: Draft((4, 6, 1)).apply(AVERAGE_POOL, Draft((4, 6, 1)).input, size=0),
            "average pool cannot be applied to shapes (4, 6, 1): ",
        ),
        (lambda: Draft((3,)).apply(TANH, Draft((3,)).input, slope=2), "tanh cannot be applied to shapes (3,): "),
        (
            lambda: Draft((2, 2, 1)).apply(PATCHES, Draft((2, 2, 1)).input, size=3),
            "patches leaves nothing of shapes (2, 2, 1), its output has shape (0, 0, 9)",
        ),
        (
            lambda: Draft((2, 3)).network("plane", Draft((2, 3)).input),
            "the output must be a vector for each example, got shape (2, 3)",
        ),
        (lambda: Draft((3,)).network("same", Draft((3,)).input), "the output of same must depend on a parameter"),
    ],
)
def test_networks(make_network, sentence):
    with refused(sentence):
        make_network()


def test_an_output_without_parameters_is_refused():
    draft = Draft((2, 3))
    draft.dense(draft.input, 2)
    with refused("the output of constant must depend on a parameter"):
        draft.network("constant", draft.apply(MEAN, draft.input))


@pytest.mark.parametrize("name", [["tanh"], None, {"tanh"}])
def test_names_that_are_no_text_are_refused_like_unknown_ones(name):
    with pytest.raises(ValueError, match="activation must be one of tanh, relu, silu, gelu, got"):
        bridge.mlp([2, 2], activation=name)
    with pytest.raises(ValueError, match="loss must be one of squared_error, cross_entropy, got"):
        bridge.Problem(bridge.mlp([2, 2]), np.ones((3, 2)), np.ones((3, 2)), loss=name)

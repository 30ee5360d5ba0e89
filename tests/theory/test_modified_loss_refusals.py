"""What the modified-loss closed forms refuse, and what they say then."""

from math import inf

import numpy as np
import pytest
import sympy
from flint import arb
from modified_loss_calls import GOOD

from quadlab.theory.modified_loss import (
    adam_modified_field,
    batch_variance_penalty,
    equal_loss_observable,
    gradient_flow_step_error,
    heavy_ball_modified_eigenvalue,
    kernel_gradient_penalty,
    minibatch_gradient_penalty,
    modified_eigenvalue,
    modified_flow_step_error,
    product_model_difference_ratio,
    product_model_drift_exponent,
    product_model_flow_limit,
    product_model_noisy_loss,
    regularization_rate,
    runge_kutta_modified_eigenvalue,
)

h, curvature, b, x, y, p, q = sympy.symbols("h l b x y p q", real=True)
third, tenth = sympy.Rational(1, 3), sympy.Rational(1, 10)

COUNTS = ("stages", "batch_size")
every_function = pytest.mark.parametrize("function", GOOD, ids=lambda function: function.__name__)
every_argument = pytest.mark.parametrize(
    ("function", "name"),
    [(function, name) for function, good in GOOD.items() for name in good if name not in COUNTS],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)


@every_argument
@pytest.mark.parametrize("bad", [float("nan"), inf, 1j, "1", None, True, sympy.nan, arb("nan")], ids=str)
def test_what_is_no_finite_number_is_refused(function, name, bad):
    good = GOOD[function][name]
    value = np.broadcast_to(np.array(bad, dtype=object), np.shape(good)).tolist() if np.ndim(good) else bad
    with pytest.raises(ValueError, match=rf"^{name} must be "):
        function(**(GOOD[function] | {name: value}))


@pytest.mark.parametrize("bad", [-0.1, -tenth, arb(-0.5)], ids=["number", "rational", "ball"])
@every_function
def test_negative_learning_rates_are_refused(function, bad):
    if "learning_rate" in GOOD[function]:
        with pytest.raises(
            ValueError, match=r"^learning_rate must be non-negative and finite, got -(0\.1|1/10|0\.50+)$"
        ):
            function(**(GOOD[function] | {"learning_rate": bad}))


@pytest.mark.parametrize(
    "call",
    [
        lambda order: modified_eigenvalue(1.0, 0.1, order),
        lambda order: modified_eigenvalue(curvature, h, order),
        lambda order: heavy_ball_modified_eigenvalue(1.0, 0.1, 0.5, order),
        lambda order: heavy_ball_modified_eigenvalue(arb(1), arb(0.1), arb(0.5), order),
        lambda order: equal_loss_observable([1.0], [1.0], [1.0], 0.1, 0.1, order),
    ],
)
@pytest.mark.parametrize(
    "order", [-1, 1.0, 1.5, True, np.True_, "1", [1], np.array(1), np.array([1]), 10_001], ids=repr
)
def test_order_is_an_integer(call, order):
    with pytest.raises(ValueError, match=r"^order must be an integer from 0 to 10000, got "):
        call(order)
    assert str(call(np.int64(1))) == str(call(1))


@pytest.mark.parametrize("stages", [0, 5, 2.0, True, None])
def test_stages(stages):
    with pytest.raises(ValueError, match=rf"^stages must be an integer from 1 to 4, got {stages}"):
        runge_kutta_modified_eigenvalue(1.0, 0.1, stages)


@pytest.mark.parametrize("size", [0, 3, 1.0, True])
def test_batch_size(size):
    with pytest.raises(ValueError, match=rf"^batch_size must be an integer from 1 to 2, got {size}"):
        batch_variance_penalty([[1.0], [2.0]], 0.1, size)
    assert batch_variance_penalty([[3.0, 4.0]], 0.1, 1) == 0
    assert batch_variance_penalty([[1.0], [2.0]], 0.1, 2) == 0


def test_other_intervals():
    for momentum in (1, -0.1, sympy.Integer(1)):
        with pytest.raises(ValueError, match=rf"^momentum must be in \[0, 1\), got {momentum}"):
            heavy_ball_modified_eigenvalue(1, tenth, momentum)
        with pytest.raises(ValueError, match=r"^second_decay must be in \[0, 1\), got "):
            adam_modified_field(**(GOOD[adam_modified_field] | {"second_decay": momentum}))
    for count in (0, 1.5, -1):
        with pytest.raises(ValueError, match=rf"^parameter_count must be a whole number >= 1, got {float(count)}"):
            regularization_rate(0.1, count)
    with pytest.raises(ValueError, match=r"^epsilon must be positive and finite, got 0"):
        adam_modified_field(**(GOOD[adam_modified_field] | {"epsilon": 0}))
    with pytest.raises(ValueError, match=r"^loss_scale must be positive and finite, got 0"):
        kernel_gradient_penalty([1.0], [[1.0]], 0.1, 0)
    with pytest.raises(ValueError, match=r"^noise_sd must be non-negative and finite, got -0.1"):
        product_model_noisy_loss([1.0, 1.0], -0.1, 1, 1)


def test_shapes():
    refusals = [
        (lambda: minibatch_gradient_penalty([1.0, 2.0], 0.1), r"batch_gradients must have shape \(..., m, P\)"),
        (lambda: minibatch_gradient_penalty(np.ones((0, 2)), 0.1), r"batch_gradients .* got \(0, 2\)"),
        (lambda: minibatch_gradient_penalty(np.ones((2, 0)), 0.1), r"batch_gradients .* got \(2, 0\)"),
        (lambda: minibatch_gradient_penalty(np.ones((3, 1, 1)), [1, 2]), r"shapes do not broadcast: leading axes"),
        (lambda: batch_variance_penalty([1.0], 0.1, 1), r"sample_gradients must have shape \(at least 1, at least 1\)"),
        (lambda: batch_variance_penalty([[1.0]], [0.1], 1), r"learning_rate must have shape \(\), got \(1,\)"),
        (lambda: kernel_gradient_penalty([1.0], np.eye(2), 0.1), r"kernel must have shape \(1, 1\), got \(2, 2\)"),
        (lambda: kernel_gradient_penalty([], np.eye(2), 0.1), r"residuals must have shape \(at least 1,\), got \(0,\)"),
        (lambda: kernel_gradient_penalty([1.0], [[1]], [0.1]), r"learning_rate must have shape \(\), got \(1,\)"),
        (lambda: gradient_flow_step_error([1.0], [1.0], 0.1), r"hessian must have shape \(1, 1\), got \(1,\)"),
        (lambda: gradient_flow_step_error([[1.0]], [1.0], [0.1]), r"learning_rate must have shape \(\), got \(1,\)"),
        (lambda: modified_flow_step_error([[1.0]], [1.0], [[1.0]], 0.1), r"third_derivative must have shape \(1, 1, 1"),
        (lambda: equal_loss_observable([1.0, 2.0], [1.0], [1.0], 0.1, 0), r"initial_state must have shape \(2,\), got"),
        (lambda: equal_loss_observable([1.0], [1.0], [1.0], [0.1], 0), r"loss must have shape \(\), got \(1,\)"),
        (lambda: product_model_flow_limit([1.0], 1, 1), r"start must have shape \(..., 2\), got \(1,\)"),
        (lambda: product_model_flow_limit(1.0, 1, 1), r"start must have shape \(..., 2\)"),
        (
            lambda: product_model_drift_exponent(np.ones((3, 2)), [1, 1], 1),
            r"shapes do not broadcast: leading axes of start",
        ),
        (lambda: product_model_noisy_loss([1, 2], 0.1, 1, 1, "no"), "multiplicative must be True or False, got 'no'"),
        (lambda: product_model_noisy_loss([1, 2, 3], 0.1, 1, 1), r"parameters must have shape \(..., 2\), got \(3,\)"),
        (lambda: modified_eigenvalue([1, 2], [1, 2, 3]), r"shapes do not broadcast: eigenvalue \(2,\), learning_rate"),
        (lambda: minibatch_gradient_penalty([[1, 2], [3]], 0.1), r"batch_gradients .* got rows of unequal length"),
    ]
    for call, message in refusals:
        with pytest.raises(ValueError, match=f"^{message}"):
            call()


def test_symmetry():
    tensor = np.zeros((2, 2, 2))
    tensor[0, 0, 1] = tensor[0, 1, 0] = 1
    last_axes_only = np.zeros((2, 2, 2))
    last_axes_only[0, 0, 1] = 1
    refusals = [
        (lambda: modified_flow_step_error(np.eye(2), [1, 1], last_axes_only, 0.1), r"third_derivative .* 1.0 and 0.0"),
        (lambda: kernel_gradient_penalty([1, 2], [[1, 2], [3, 4]], 0.1), r"kernel .* got the entries 2.0 and 3.0"),
        (lambda: gradient_flow_step_error([[1, 2], [3, 4]], [1, 1], h), r"hessian .* got the entries 2 and 3"),
        (
            lambda: adam_modified_field([[1, 2], [3, 4]], [1, 1], 0.1, 0, 0, 1),
            r"hessian .* got the entries 2.0 and 3.0",
        ),
        (
            lambda: gradient_flow_step_error([[arb(1), arb(2)], [arb(3), arb(4)]], [1, 1], 0.1),
            r"hessian .* got the entries 2.0+ and 3.0+",
        ),
        (lambda: modified_flow_step_error(np.eye(2), [1, 1], tensor, 0.1), r"third_derivative .* entries 1.0 and 0.0"),
    ]
    for call, message in refusals:
        with pytest.raises(ValueError, match=f"^{message}".replace(" .* ", " must be symmetric in all its axes, .*")):
            call()
    assert np.all(np.isfinite(gradient_flow_step_error([[1, 2 + 1e-13], [2, 1]], [1, 1], 0.1)))


def test_equal_loss_needs_a_real_flow():
    for rate in (0.5, 0.7):
        with pytest.raises(ValueError, match="no real flow passes through its iterates") as caught:
            equal_loss_observable([0.1, 2.0], [1.0, 1.0], [1.0, 1.0], 0.3, rate)
        for words in (
            "order=None",
            "jumps across",
            "modified_eigenvalue",
            "principal_flow_coefficient",
            "finite order",
        ):
            assert words in str(caught.value)
        assert f"got learning_rate {rate}, eigenvalues 2.0" in str(caught.value)
        assert equal_loss_observable([0.1, 2.0], [1.0, 1.0], [1.0, 1.0], 0.3, rate, order=2) > 0


def test_equal_loss_domain():
    with pytest.raises(ValueError, match="^eigenvalues must not all be zero"):
        equal_loss_observable([0.0], [1.0], [1.0], 0.3, 0.1)
    with pytest.raises(ValueError, match="^eigenvalues must be non-negative and finite, got -1"):
        equal_loss_observable([-1.0], [1.0], [1.0], 0.3, 0.1)
    with pytest.raises(ValueError, match=r"^loss must be in \(0, initial loss\], got 0.6 with the initial loss 0.5"):
        equal_loss_observable([1.0], [1.0], [1.0], 0.6, 0.1)
    with pytest.raises(ValueError, match="^loss must be positive and finite, got 0"):
        equal_loss_observable([1.0], [1.0], [1.0], 0, 0.1)
    for rounding in (1e-14, -1e-14):
        found = equal_loss_observable([1.0], [1.0], [1.0], 0.5 * (1 + rounding), 0.1)
        assert found == pytest.approx(1 + rounding, rel=1e-15, abs=0)
    for exact in (curvature, arb(1)):
        with pytest.raises(ValueError, match=r"^loss must be numbers, neither symbols nor balls, got (l|1.0+)$"):
            equal_loss_observable([1], [1], [1], exact, 0.1)


def test_product_model_refusals():
    for function in (product_model_flow_limit, product_model_drift_exponent):
        with pytest.raises(ValueError, match=r"^data_input must not be zero"):
            function([1.0, 2.0], [1, 0], 1)
        with pytest.raises(ValueError, match=r"^start must be numbers, neither symbols nor balls"):
            function([x, y], 1, 1)
    for start, target in (((1.0, -1.0), 0.5), ((1.0, 1.0), -0.5), ((0.0, 0.0), 0.5)):
        with pytest.raises(ValueError, match=r"^start must not lie on the diagonal .* saddle \(0, 0\), got a "):
            product_model_flow_limit([(1.0, 2.0), start], 1, target)
    with pytest.raises(ValueError, match=r"^start must have a\^2 different from b\^2 .* got a 1.0, b -1.0"):
        product_model_drift_exponent([(1.0, 2.0), (1.0, -1.0)], 1, 0.5)


def test_overflow_is_refused_rather_than_returned_as_nan():
    refusals = [
        lambda: minibatch_gradient_penalty([[1e200]], 1),
        lambda: batch_variance_penalty([[1e200], [-1e200]], 1, 1),
        lambda: kernel_gradient_penalty([1e200, -1e200], [[1, 2], [2, 1]], 1),
        lambda: gradient_flow_step_error([[1e200]], [1e200], 1),
        lambda: product_model_difference_ratio(1.0, 1e200, 1e200),
        lambda: modified_flow_step_error([[1e200]], [1e200], [[[0]]], 1),
        lambda: adam_modified_field([[1e250]], [1e-100], 1.0, 0.9, 0.99, 1e-200),
        lambda: product_model_noisy_loss([1e200, 0], 1e200, 1, 0),
        lambda: product_model_flow_limit([1e308, 1], 1e-320, 1e300),
        lambda: product_model_drift_exponent([1e200, 1e199], 1, 1),
        lambda: equal_loss_observable([1.0], [1e200], [1e300], 1e200, 0.1),
    ]
    for call in refusals:
        with pytest.raises(ValueError, match="must keep the result in the range of doubles, got"):
            call()

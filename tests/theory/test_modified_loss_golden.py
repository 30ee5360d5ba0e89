"""Values of the modified-loss closed forms that were computed elsewhere with 25 to 50 digits."""

import numpy as np
import pytest

from quadlab.theory.modified_loss import (
    adam_modified_field,
    batch_variance_penalty,
    combined_penalty,
    equal_loss_observable,
    gradient_flow_step_error,
    heavy_ball_modified_eigenvalue,
    kernel_gradient_penalty,
    minibatch_gradient_penalty,
    modified_eigenvalue,
    modified_flow_step_error,
    principal_flow_coefficient,
    product_model_difference_ratio,
    product_model_drift_exponent,
    product_model_flow_limit,
    product_model_noisy_loss,
    regularization_rate,
    runge_kutta_modified_eigenvalue,
)

inf = np.inf
HESSIAN, GRADIENT = [[12.25, 19], [19, 7.84]], [32.2, 25.76]
THIRD = [[[0, 7], [7, 5.6]], [[7, 5.6], [5.6, 0]]]
STARTS = [((2.8, 3.5), 1, 0.6), ((75, 74.925), 1, 0.6), ((-1, 0.5), 2, 1), ((0.1, -0.3), 1, 0.6), ((2, 1), 1, 0)]


@pytest.mark.parametrize(("arguments", "rate"), [((0.1, 1), 0.025), ((0.025, 2), 0.0125), ((1e-3, 1000000), 250)])
def test_regularization_rate(arguments, rate):
    np.testing.assert_allclose(regularization_rate(*arguments), rate, rtol=1e-15)


@pytest.mark.parametrize(
    ("eigenvalue", "rate", "exact", "truncated"),
    [
        (2, 0.1, 2.231435513142098, (2.2, 2.2266666666667, 2.2306666666667, 2.2314133333333)),
        (5, 0.1, 6.931471805599453, (6.25, 6.6666666666667, 6.8229166666667, 6.9114583333333)),
        (9, 0.1, 23.02585092994046, (13.05, 15.48, 17.12025, 19.186965)),
        (9.9, 0.1, 46.05170185988091, (14.8005, 18.03483, 20.436320025, 23.907433707135)),
        (-3, 0.5, -1.832581463748310, (-0.75, -3, -0.46875, 0.290625)),
        (-40, 0.5, -6.089044875446846, (360, -4973.3333333333, 75026.666666667, 20128360)),
        (1e-9, 0.01, 1.000000000005e-9, (1.000000000005e-9,) * 4),
        (15, 0.1, 6.931471805599453 - 31.41592653589793j, (26.25, 37.5, 50.15625, 84.328125)),
        (21, 0.1, -0.9531017980432486 - 31.41592653589793j, (43.05, 73.92, 122.54025, 347.165805)),
        (10, 0.1, inf, (15, 18.333333333333, 20.833333333333, 24.5)),
    ],
)
def test_modified_eigenvalue(eigenvalue, rate, exact, truncated):
    # at h l = .99 and 2.1 the rounding of h l itself is amplified by 1 / |(1 - z) log|1 - z||
    np.testing.assert_allclose(modified_eigenvalue(eigenvalue, rate), exact, rtol=6e-15)
    found = [modified_eigenvalue(eigenvalue, rate, order) for order in (1, 2, 3, 5)]
    np.testing.assert_allclose(found, truncated, rtol=5e-14)


@pytest.mark.parametrize(
    ("eigenvalue", "rate", "coefficient"),
    [
        (0, 0.1, -1),
        (2, 0.1, -1.11571775657105),
        (9, 0.1, -2.5584278811045),
        (15, 0.1, -0.462098120373297 + 2.0943951023932j),
        (18, 0.1, -0.123968639619005 + 1.74532925199433j),
        (20, 0.1, 1.5707963267949j),
        (21, 0.1, 0.0453857999068214 + 1.49599650170943j),
        (-3, 0.5, -0.610860487916103),
        (10, 0.1, -inf),
    ],
)
def test_principal_flow_coefficient(eigenvalue, rate, coefficient):
    np.testing.assert_allclose(principal_flow_coefficient(eigenvalue, rate), coefficient, rtol=3e-14)


@pytest.mark.parametrize(
    ("mode", "exact", "truncated"),
    [
        (
            (1, 0.001, 0.9),
            11.18915148701052,
            (10, 10.95, 11.130333333333, 11.173130833333, 11.189146476949),
        ),
        (
            (2.5, 0.001, 0.9),
            40.82199452025513,
            (25, 30.9375, 33.755208333333, 35.426985677083, 39.262747383710),
        ),
        ((0.5, 0.1, 0.5), 1.220793825737637, (1, 1.15, 1.1933333333333, 1.2090833333333, 1.220715587644)),
        ((0.8, 0.1, 0.5), 2.561430413823337, (1.6, 1.984, 2.1614933333333, 2.2647125333333, 2.488995968916)),
        ((-2, 0.1, 0.5), -2.789180730058, (-4, -1.6, -4.3733333333333, -0.34133333333333, -209.41497350324)),
        (
            (1, 0.1, 0.25),
            1.520499011704210,
            (1.3333333333333, 1.4814814814815, 1.5104526748971, 1.5176223136717, 1.5204977179467),
        ),
        (
            (5, 0.1, 0.5),
            3.465735902799727 - 7.853981633974483j,
            (10, 25, 68.333333333333, 225.83333333333, 9196451.3654401),
        ),
        ((29, 0.1, 0.5), 3.465735902799727 - 29.99695598985629j, (58, 562.6)),
        ((31, 0.1, 0.5), -1.605578857836481 - 31.41592653589793j, (62, 638.6)),
        (
            (15, 0.1, 0),
            6.931471805599453 - 31.41592653589793j,
            (15, 26.25, 37.5, 50.15625, 319.78676694399),
        ),
    ],
)
def test_heavy_ball_modified_eigenvalue(mode, exact, truncated):
    np.testing.assert_allclose(heavy_ball_modified_eigenvalue(*mode), exact, rtol=2e-13)
    found = [
        heavy_ball_modified_eigenvalue(*mode, order) for order, _ in zip((0, 1, 2, 3, 10), truncated, strict=False)
    ]
    np.testing.assert_allclose(found, truncated, rtol=5e-13)


def test_heavy_ball_at_its_boundaries():
    # the square root at the zone boundary turns a rounding of 1e-17 in h l into 1e-8
    np.testing.assert_allclose(heavy_ball_modified_eigenvalue(2.5, 0.1, 0.25), 6.931471805599453, rtol=1e-7)
    found = [heavy_ball_modified_eigenvalue(2.5, 0.1, 0.25, order) for order in (0, 1, 2, 3, 10)]
    expected = [3.3333333333333, 4.2592592592593, 4.7119341563786, 4.9919981710105, 5.741011831445]
    np.testing.assert_allclose(found, expected, rtol=5e-13)
    np.testing.assert_allclose(heavy_ball_modified_eigenvalue(30, 0.1, 0.5), -31.41592653589793j, atol=1e-14)
    assert [heavy_ball_modified_eigenvalue(30, 0.1, 0.5, order) for order in (0, 1)] == [60, 600]


@pytest.mark.parametrize(
    ("eigenvalue", "stages", "rate"),
    [
        (5, 1, 6.9314718055995), (5, 2, 4.7000362924574), (5, 3, 5.0390518092142), (5, 4, 4.9960409902203),
        (9, 1, 23.025850929940), (9, 2, 6.8319684970678), (9, 3, 9.5841565817483), (9, 4, 8.8955751979700),
        (20, 1, -31.415926535898j), (20, 2, 0), (20, 3, 10.986122886681 - 31.415926535898j), (20, 4, 10.986122886681),
    ],
)  # fmt: skip
def test_runge_kutta_modified_eigenvalue(eigenvalue, stages, rate):
    np.testing.assert_allclose(runge_kutta_modified_eigenvalue(eigenvalue, 0.1, stages), rate, rtol=1e-13, atol=1e-15)


def test_penalties():
    found = minibatch_gradient_penalty([[[1], [4], [6], [4]]], [0.1, 0.2])
    np.testing.assert_allclose(found, [0.43125, 0.8625], rtol=1e-15)
    assert minibatch_gradient_penalty([[3.75]], 0.1) == 0.3515625
    np.testing.assert_allclose(
        minibatch_gradient_penalty([[1, 2], [3, -1], [0, 2]], 0.1), 0.158333333333333, rtol=3e-15
    )
    assert combined_penalty(0.1, -0.025) == 0
    assert combined_penalty(0.1, 0.5) == 0.525
    residuals, kernel = (0.5, -1, 2), [[2, 1, 0], [1, 3, 1], [0, 1, 4]]
    np.testing.assert_allclose(kernel_gradient_penalty(residuals, kernel, 0.1), 1.45, rtol=1e-15)
    np.testing.assert_allclose(kernel_gradient_penalty(residuals, kernel, 0.1, loss_scale=0.5), 0.3625, rtol=1e-15)
    gradients = [[1, 0], [0, 2], [3, -1], [-2, 1], [0, 0], [4, 4]]
    found = [batch_variance_penalty(gradients, 0.1, size) for size in (1, 2, 3, 6)]
    np.testing.assert_allclose(found, [1 / 6, 1 / 15, 1 / 30, 0], rtol=1e-15)


def test_step_errors():
    found = gradient_flow_step_error(HESSIAN, GRADIENT, 1e-3)
    np.testing.assert_allclose(found, [-4.41945e-4, -4.068792e-4], rtol=1e-14)
    found = modified_flow_step_error(HESSIAN, GRADIENT, THIRD, 1e-3)
    np.testing.assert_allclose(found, [-1.004040758e-5, -9.103589152e-6], rtol=1e-14)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ((0.001, 0.9, 0.99, 0.01), (-0.86219668666287, 0.89894351835511)),
        ((0.01, 0.5, 0.8, 0.01), (-0.95093186758186, 0.95379946138973)),
        ((0, 0.9, 0.999, 1e-8), (-0.999999995, 0.99999998)),
        ((0.001, 0.9, 0.999, 1e-8), (0.4849999825825, 0.010000074429994)),
    ],
)
def test_adam_modified_field(settings, field):
    np.testing.assert_allclose(adam_modified_field([[2, 0.5], [0.5, 1]], (1, -0.5), *settings), field, rtol=1e-12)


@pytest.mark.parametrize(
    ("rate", "order", "gradient_squared"),
    [
        (0, None, 0.32766329082075),
        (0.05, None, 0.31201008001738),
        (0.1, None, 0.29840726208658),
        (0.2, None, 0.28327436422872),
        (0.24, None, 0.28195801954574),
        (0.2, 1, 0.29295804447296),
        (0.2, 3, 0.28476205449638),
        (0.2, 0, 0.32766329082075),
    ],
)
def test_equal_loss_observable(rate, order, gradient_squared):
    found = equal_loss_observable((0.1, 1, 4), (2, 1, 1), (0.01, 1, 16), 0.3, rate, order)
    np.testing.assert_allclose(found, gradient_squared, rtol=5e-14)


def test_parameters_at_equal_loss():
    found = [equal_loss_observable((0.1, 1, 4), (2, 1, 1), (1, 1, 1), 0.3, rate) for rate in (0, 0.1, 0.24)]
    np.testing.assert_allclose(found, [3.7112009081, 3.7455317143, 3.7804284591], rtol=2e-11)


def test_product_model_difference_ratio():
    np.testing.assert_allclose(product_model_difference_ratio(9.2, 0.025), 0.9471, rtol=1e-15)
    assert product_model_difference_ratio(2, 0.5, data_input=3) == -8


def test_product_model_flow_limit():
    expected = [
        (0.2831519874548, 2.1190033147684), (3.3580203043695, 0.17867670401495), (-1, -0.5),
        (-0.74922083202145, -0.80083197684341), (1.7320508075689, 0),
    ]  # fmt: skip
    np.testing.assert_allclose([product_model_flow_limit(*start) for start in STARTS], expected, rtol=3e-13)


def test_product_model_drift_exponent():
    expected = [3.3014025221305, 2804.6136846622, 2.1972245773362, 0.9529702202447, 0.5]
    np.testing.assert_allclose([product_model_drift_exponent(*start) for start in STARTS], expected, rtol=5e-14)


def test_product_model_noisy_loss():
    minima = [(np.sqrt(0.6), np.sqrt(0.6)), (3, 0.2)]
    np.testing.assert_allclose(product_model_noisy_loss(minima, 0.1, 1, 0.6), [0.00605, 0.04525], rtol=1e-14)
    np.testing.assert_allclose(product_model_noisy_loss(minima, 0.1, 1, 0.6, True), [0.003618] * 2, rtol=1e-14)

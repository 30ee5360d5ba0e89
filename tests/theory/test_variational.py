"""Printed values and degenerate inputs of the variational closed forms."""

import numpy as np
import pytest

from quadlab.theory.variational import (
    critical_samples,
    descent_learning_rate_limit,
    descent_probability,
    descent_sharpness_gap,
    descent_sharpness_limit,
    edge_crossing,
    edge_fraction,
    equilibrium_sharpness,
    expected_loss_change,
    noise_ball_radius,
    posterior_optimal_sharpness_limit,
    stationary_edge_probability,
    stationary_variance,
    student_t_variance,
    variational_factor,
)

inf = np.inf


@pytest.mark.parametrize(
    ("signal", "rate", "factor", "limit", "gap"),
    [
        (1, 1, 0.5, 1, 1),
        (0.04, 1, 0.2, 0.4, 1.6),
        (0.2, 1, 0.323417546597376, 0.646835093194752, 1.35316490680525),
        (2, 1, 0.589754512301458, 1.17950902460292, 0.820490975397083),
        (10, 1, 0.797281058315576, 1.59456211663115, 0.405437883368847),
        (50, 1, 0.934675938976763, 1.86935187795353, 0.130648122046474),
        (0.5, 0.3, 0.207367839975459, 1.38245226650306, 5.28421440016361),
        (10, 0.05, 0.172906582583785, 6.91626330335140, 33.0837366966486),
        (400, 0.1, 0.682327803828019, 13.6465560765604, 6.35344392343961),
        (1e8, 0.2, 0.999999000003, 9.99999000003, 9.99997000012e-6),
        (1e12, 1, 0.999999999996, 1.999999999992, 7.999999999904e-12),
        (1e-6, 2, 0.00996666679053497, 0.00996666679053497, 0.990033333209465),
        (1e-12, 1, 6.29947296605339e-5, 1.25989459321068e-4, 1.99987401054068),
        (0, 0.4, 0, 0, 5),
        (inf, 0.4, 1, 5, 0),
    ],
)
def test_edge_golden(signal, rate, factor, limit, gap):
    found = [function(signal, rate) for function in (variational_factor, descent_sharpness_limit)]
    np.testing.assert_allclose(found, [factor, limit], rtol=1e-14)
    np.testing.assert_allclose(descent_sharpness_gap(signal, rate), gap, rtol=3e-13 if signal == 1e8 else 1e-14)


@pytest.mark.parametrize(
    ("zeta", "share"),
    [
        (0.01, 0.2),
        (0.1, 0.393002738971105),
        (0.5, 0.589754512301458),
        (1, 0.682327803828019),
        (2, 0.770916997059248),
        (27 / 4, 0.894107456974982),
        (10, 0.921698994204679),
        (100, 0.990288524054573),
        (1e4, 0.999900029988005),
    ],
)
@pytest.mark.parametrize("rate", [1e-3, 0.2, 7.0])
def test_universal_curve_golden(zeta, share, rate):
    np.testing.assert_allclose(variational_factor(4 * zeta / rate**2, rate), share, rtol=2e-15)


@pytest.mark.parametrize(
    ("eigenvalues", "gradient", "noise_variances", "rate", "samples", "change", "best_rate", "count"),
    [
        ([2], [1], [0.25], 0.3, 1, -0.12, 0.5, 0.428571428571429),
        ([2, 0.5], [1, -2], [0.25, 0.04], 0.3, 4, -1.29744375, 2.22160510969175, 0.0683522727272727),
        (
            [1.7, 0.8, 0.05], [0.6, -1.1, 0.02], [0.5, 2, 3], 1, 3,
            -0.200244166666667, 1.14614700152720, 2.23021502069478,
        ),
        ([4, 1], [0.1, 0.1], [0.3, 0.2], 0.25, 2, 0.2996875, 0.00410256410256410, 176.363636363636),
    ],
)  # fmt: skip
def test_descent_golden(eigenvalues, gradient, noise_variances, rate, samples, change, best_rate, count):
    directions = eigenvalues, gradient, noise_variances
    found = [
        expected_loss_change(*directions, rate, samples),
        descent_learning_rate_limit(*directions, samples),
        critical_samples(*directions, rate),
    ]
    np.testing.assert_allclose(found, [change, best_rate, count], rtol=3e-15)


@pytest.mark.parametrize(
    ("arguments", "probability"),
    [
        ((1, 1, 1, 1, 1), 0.682689492137086),
        ((1.5, 1, 1, 1, 1), 0.471903405886779),
        ((0.5, 2, 1, 0.5, 4), 0.999968328758167),
        ((3, 0.2, 0.1, 0.6, 2), 0.354035351507100),
        ((2.5, 1, 1, 1, 1), 0.262085036629440),
        ((1, 0.01, 1, 1, 1), 0.00797871262926321),
        ((1.9, -1, 0.04, 1, 1), 0.603785272146128),
    ],
)
def test_descent_probability_golden(arguments, probability):
    np.testing.assert_allclose(descent_probability(*arguments), probability, rtol=3e-15)


@pytest.mark.parametrize(
    ("arguments", "variance", "radius"),
    [
        ((1, 1, 1, 1), 1, 1),
        ((1.5, 1, 1, 1), 3, 1.73205080756888),
        ((0.5, 0.3, 0.4, 5), 0.00666666666666667, 0.0816496580927726),
        ((10, 0.02, 0.15, 2), 0.03, 0.173205080756888),
        ((1.99, 1, 1, 1), 199, 14.1067359796659),
    ],
)
def test_stationary_golden(arguments, variance, radius):
    found = stationary_variance(*arguments), noise_ball_radius(*arguments)
    np.testing.assert_allclose(found, [variance, radius], rtol=2e-14)


@pytest.mark.parametrize(
    ("signal", "rate", "limit"),
    [
        (1, 1, 1),
        (8, 1, 1.65685424949238),
        (0.5, 0.3, 1.59277869895800),
        (1e-6, 1, 0.00141371365076144),
        (1e6, 0.1, 19.9996000159992),
        (0, 0.1, 0),
        (inf, 0.1, 20),
    ],
)
def test_posterior_optimal_golden(signal, rate, limit):
    np.testing.assert_allclose(posterior_optimal_sharpness_limit(signal, rate), limit, rtol=3e-15)


@pytest.mark.parametrize(
    ("scale", "freedom", "variance"),
    [
        (1, 3, 3), (1, 6, 1.5), (0.5, 4, 1), (0.002, 6, 0.003), (2, 10, 2.5), (0.1, 2.5, 0.5),
        (0.7, inf, 0.7), (0, 3, 0), (0, inf, 0),
    ],
)  # fmt: skip
def test_student_t_golden(scale, freedom, variance):
    np.testing.assert_allclose(student_t_variance(scale, freedom), variance, rtol=1e-15)


@pytest.mark.parametrize(
    ("arguments", "sharpness"),
    [
        ((1e-3, 0.25, 1e-3, 0.2, 1), 8.75),
        ((1e-3, 0.25, 1e-3, 0.2, 4), 9.65517241379310),
        ((1e-3, 0.25, 3e-3, 0.2, 16), 9.63855421686747),
        ((1e-3, 0.25, 6e-3, 0.2, 1), 2.5),
        ((0.5, 2, 0.3, 0.05, 3), 26.6666666666667),
        ((0.5, 2, 0, 0.05, 3), 40),
    ],
)
def test_equilibrium_golden(arguments, sharpness):
    np.testing.assert_allclose(equilibrium_sharpness(*arguments), sharpness, rtol=2e-15)


@pytest.mark.parametrize(
    ("arguments", "probability"),
    [
        ((1, 1, 1), 0.682689492137086),
        ((0.8, 1, 1), 0.486370886606876),
        ((0.5, 1, 1), 0.227170007315553),
        ((1.5, 1, 1), 0.990625231540565),
        ((1.2, 1.8, 1), 0.214505252881646),
        ((3, 4, 0.4), 0.353966408542898),
        ((2, 1, 1), 1),
        ((2.5, 1, 1), 1),
        ((inf, 1, 1), 1),
        ((0, 1, 1), 0),
    ],
)
def test_stationary_edge_probability_golden(arguments, probability):
    np.testing.assert_allclose(stationary_edge_probability(*arguments), probability, rtol=3e-15)


@pytest.mark.parametrize(
    ("arguments", "gradient", "sharpness"),
    [
        ((0.01, 0.1, 1, 0.1), 1, 10),
        ((0.001, 0.2, 4, 0.05), 0.00454545454545455, 0.909090909090909),
        ((1, 1, 1, 1), 1, 1),
    ],
)
def test_edge_crossing_golden(arguments, gradient, sharpness):
    crossing = edge_crossing(*arguments)
    np.testing.assert_allclose([crossing.gradient_norm, crossing.sharpness], [gradient, sharpness], rtol=2e-15)


@pytest.mark.parametrize(
    ("zeta", "shares"),
    [
        (0.01, (0.00990099009900990, 0.0951249219725039, 0.2)),
        (0.5, (0.333333333333333, 0.5, 0.589754512301458)),
        (1, (0.5, 0.618033988749895, 0.682327803828019)),
        (2, (0.666666666666667, 0.732050807568877, 0.770916997059248)),
        (6, (0.857142857142857, 0.872983346207417, 0.884622200396905)),
        (100, (0.990099009900990, 0.990195135927848, 0.990288524054573)),
        (0, (0, 0, 0)),
        (inf, (1, 1, 1)),
    ],
)
def test_edge_fraction_golden(zeta, shares):
    np.testing.assert_allclose([edge_fraction(zeta, order) for order in (1, 2, 3)], shares, rtol=2e-15)


@pytest.mark.parametrize("order", [0, 4, 1.5, -1, "2", None, float("nan")])
def test_edge_fraction_refuses_other_orders(order):
    with pytest.raises(ValueError, match="order must be 1, 2 or 3, got"):
        edge_fraction(1, order)


def test_flat_or_noiseless_directions_are_ordinary():
    assert expected_loss_change([0, 2], [1, 1], [5, 0], 0.5, 1) == pytest.approx(-0.5 - 0.25, rel=1e-15, abs=0)


def test_learning_rate_limit_degenerate():
    assert descent_learning_rate_limit([1, 2], [0, 0], [1, 1], 1) == 0
    assert descent_learning_rate_limit([1, 2], [0, 0], [0, 0], 1) == 0
    assert descent_learning_rate_limit([0, 0], [1, 0], [1, 1], 1) == inf
    assert descent_learning_rate_limit([0, 3], [1, 0], [1, 0], 1) == inf


def test_critical_samples_degenerate():
    assert critical_samples([1], [0], [1], 1) == inf
    assert critical_samples([1], [0], [0], 1) == inf
    assert critical_samples([2], [1], [0], 1) == inf
    assert critical_samples([3], [1], [1], 1) == inf
    assert critical_samples([1], [1], [0], 1) == 0


def test_descent_probability_degenerate():
    np.testing.assert_array_equal(
        descent_probability(1, [0, 0, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 1.9, 2, 3], 1), [0, 0, 1, 0, 0]
    )
    assert isinstance(descent_probability(1, 0, 1, 1, 1), float)
    with pytest.raises(ValueError, match="eigenvalue must be positive and finite, got 0"):
        descent_probability(0, 1, 1, 1, 1)


@pytest.mark.parametrize("function", [noise_ball_radius, stationary_variance])
def test_no_ball_without_noise_or_stability(function):
    assert function(1, 0, 1, 1) == 0
    with pytest.raises(ValueError, match="eigenvalue must be positive and finite, got 0"):
        function(0, 1, 1, 1)
    with pytest.raises(ValueError, match=r"learning_rate \* eigenvalue must be below 2, got eigenvalue 2.5, .* 0.8"):
        function([1, 2.5], 1, 0.8, 1)
    with pytest.raises(ValueError, match=r"learning_rate \* eigenvalue must be below 2"):
        function(2, 1, 1, 1)


def test_stationary_edge_probability_needs_stability():
    with pytest.raises(ValueError, match=r"learning_rate \* eigenvalue must be below 2, got eigenvalue 4.0, .* 0.5"):
        stationary_edge_probability(1, 4, 0.5)


@pytest.mark.parametrize("freedom", [2, 1.5, 0])
def test_student_t_refuses_infinite_variance(freedom):
    with pytest.raises(ValueError, match="degrees_of_freedom must be greater than 2, got"):
        student_t_variance(1, freedom)


@pytest.mark.parametrize("noise", [0.5, 0.7])
def test_smoothing_stops_the_sharpening(noise):
    with pytest.raises(ValueError, match=rf"noise_variance must be below 2 .*, got noise_variance {noise}, sharpening"):
        equilibrium_sharpness(0.5, 2, noise, 0.05, 3)


@pytest.mark.parametrize("name", ["noise_variance", "ascent_radius"])
def test_edge_crossing_refuses_zero(name):
    good = {"noise_variance": 1, "learning_rate": 1, "samples": 1, "ascent_radius": 1}
    with pytest.raises(ValueError, match=f"{name} must be positive and finite, got 0"):
        edge_crossing(**(good | {name: 0}))

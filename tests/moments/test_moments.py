"""Moment operators against enumeration, closed Gaussian integrals and each other."""

import numpy as np
import pytest

from quadlab import dynamics, moments
from quadlab.problems import Quadratic

WEIGHT_NOISE = dynamics.variational_gradient_descent()
SHARED = dynamics.heavy_ball_multiplicative_noise()


@pytest.mark.parametrize(
    ("rule", "values", "exact"),
    [
        (dynamics.sgd_additive_noise(), {}, [1, 0, 1, 0, 3, 0]),
        (WEIGHT_NOISE, {"samples": 4.0}, [1, 0, 1 / 4, 0, 3 / 16, 0]),
        (
            dynamics.variational_gradient_descent(law="student_t"),
            {"samples": 1.0, "degrees_of_freedom": 10.0},
            [1, 0, 10 / 8, 0, 300 / 48, 0],
        ),
    ],
    ids=["normal", "mean of normals", "Student t"],
)
def test_noise_points_match_moments_up_to_five(rule, values, exact):
    points, weights = moments.noise_points(rule, values)
    found = [weights @ points[:, 0] ** order for order in range(6)]
    np.testing.assert_allclose(found, exact, atol=1e-12)


def test_noise_points_refuse_an_infinite_fourth_moment():
    rule = dynamics.variational_gradient_descent(law="student_t")
    with pytest.raises(ValueError, match="fourth moment of epsilon_mean is infinite"):
        moments.noise_points(rule, {"samples": 1.0, "degrees_of_freedom": 4.0})


def test_propagation_of_all_four_moments_is_that_of_a_gaussian():
    """x stays normal: mean phi^t x0, variance V (1 - phi^2t), fourth moment from those two."""
    curvature, rate, variance, steps = 1.3, 0.6, 0.8, 7
    after = moments.propagate(
        WEIGHT_NOISE, eigenvalues=[curvature], initial=2.0, steps=steps, order=4,
        learning_rate=rate, noise_variance=variance, samples=3,
    )  # fmt: skip
    shrink = 1 - rate * curvature
    mean = 2.0 * shrink**steps
    spread = sum(shrink ** (2 * k) for k in range(steps)) * (rate * curvature) ** 2 * variance / 3
    assert after.mean[0, 0] == pytest.approx(mean, rel=1e-12)
    assert after.second[0, 0, 0] == pytest.approx(mean**2 + spread, rel=1e-12)
    fourth = mean**4 + 6 * mean**2 * spread + 3 * spread**2
    assert after.fourth[0, 0, 0, 0, 0] == pytest.approx(fourth, rel=1e-12)


def test_two_state_variables_propagate_like_the_enumerated_paths():
    """Heavy ball with a noise of three points: all 27 paths of three steps."""
    arguments = {"learning_rate": 0.4, "momentum": 0.5, "relative_variance": 0.7}
    points, weights = moments.noise_points(SHARED, arguments)
    paths = [(1.5, 1.5, 1.0)]
    for _ in range(3):
        paths = [
            (x - 0.4 * 0.9 * (1 + np.sqrt(0.7) * xi) * x + 0.5 * (x - before), x, weight * w)
            for x, before, weight in paths
            for (xi,), w in zip(points, weights, strict=True)
        ]
    x, before, weight = np.array(paths).T
    after = moments.propagate(SHARED, eigenvalues=[0.9], initial=1.5, steps=3, order=4, **arguments)
    assert after.second[0, 0, 1] == pytest.approx(weight @ (x * before), rel=1e-12)
    assert after.fourth[0, 0, 0, 0, 1] == pytest.approx(weight @ (x**3 * before), rel=1e-12)


def test_coupled_moments_of_non_commuting_noise():
    problem, covariance = Quadratic.random([0.2, 0.9, 1.6], 0), Quadratic.random([0.3, 1.0, 2.0], 1).hessian
    operator = moments.second_moment_operator(
        WEIGHT_NOISE, hessian=problem.hessian, noise_covariance=covariance, learning_rate=0.7, samples=2
    )
    start = np.outer([1.0, 2.0, -1.0], [1.0, 2.0, -1.0])
    step = np.eye(3) - 0.7 * problem.hessian
    added = 0.49 * problem.hessian @ covariance @ problem.hessian / 2
    np.testing.assert_allclose(operator.propagate(start, 1), step @ start @ step + added, rtol=1e-12)
    np.testing.assert_allclose(operator.matvec(start.ravel()).reshape(3, 3), step @ start @ step, rtol=1e-12)


def test_coupled_and_modewise_operators_agree_on_a_diagonal_hessian():
    arguments = {"learning_rate": 0.7, "samples": 2}
    operator = moments.fourth_moment_operator(
        WEIGHT_NOISE, hessian=np.diag([0.5, 1.5]), noise_covariance=np.diag([1.0, 3.0]), **arguments
    )
    modes = moments.propagate(
        WEIGHT_NOISE,
        eigenvalues=[0.5, 1.5],
        initial=[1.0, 2.0],
        steps=4,
        order=4,
        noise_variance=[1.0, 3.0],
        **arguments,
    )
    start = np.array([1.0, 2.0])
    second, fourth = operator.propagate(np.outer(start, start), 4, np.einsum("a,b,c,d->abcd", *[start] * 4))
    np.testing.assert_allclose(np.diag(second), modes.second[:, 0, 0], rtol=1e-12)
    np.testing.assert_allclose([fourth[k, k, k, k] for k in (0, 1)], modes.fourth[:, 0, 0, 0, 0], rtol=1e-12)
    # directions with independent noise: the mixed fourth moment is the product of the second ones
    assert fourth[0, 0, 1, 1] == pytest.approx(second[0, 0] * second[1, 1], rel=1e-12)


def test_noise_shared_by_all_directions_couples_their_squares():
    """One factor h on the whole gradient: E x1^2 x2^2 is not the product of E x1^2 and E x2^2."""
    arguments = {"learning_rate": 0.5, "relative_variance": 0.6}
    rule = dynamics.sgd_multiplicative_noise()
    operator = moments.fourth_moment_operator(rule, hessian=np.diag([0.8, 1.4]), **arguments)
    start = np.ones(2)
    _, fourth = operator.propagate(np.outer(start, start), 1, np.ones((2, 2, 2, 2)))
    points, weights = moments.noise_points(rule, arguments)
    factor = 1 + np.sqrt(0.6) * points[:, 0]
    exact = weights @ ((1 - 0.4 * factor) ** 2 * (1 - 0.7 * factor) ** 2)
    assert fourth[0, 0, 1, 1] == pytest.approx(exact, rel=1e-12)


def test_spectral_radius_of_many_modes_needs_no_matrix():
    curvatures = np.linspace(0.01, 1.5, 150)
    problem = Quadratic.random(curvatures, 0)
    operator = moments.second_moment_operator(
        WEIGHT_NOISE, hessian=problem.hessian, noise_covariance=np.eye(150), learning_rate=1.0, samples=1
    )
    assert operator.shape == (22500, 22500)
    assert moments.spectral_radius(operator) == pytest.approx(0.99**2, rel=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9])
def test_coupled_radius_equals_the_largest_modewise_radius(momentum):
    arguments = {"learning_rate": 0.3, "momentum": momentum, "relative_variance": 0.5}
    modes = moments.second_moment_operator(SHARED, eigenvalues=[0.5, 2.0], **arguments)
    coupled = moments.second_moment_operator(SHARED, hessian=np.diag([0.5, 2.0]), **arguments)
    assert moments.spectral_radius(coupled) == pytest.approx(moments.spectral_radius(modes), rel=1e-8)


def test_stationary_second_moment_is_a_fixed_point():
    arguments = {"learning_rate": 0.7, "noise_variance": 0.5, "samples": 1}
    fixed = moments.stationary_second_moment(WEIGHT_NOISE, eigenvalues=[0.4, 2.0], **arguments)[:, 0, 0]
    for curvature, value in zip((0.4, 2.0), fixed, strict=True):
        assert value == pytest.approx((1 - 0.7 * curvature) ** 2 * value + 0.49 * curvature**2 * 0.5, rel=1e-12)


def test_stationary_second_moment_refuses_a_divergent_rule():
    with pytest.raises(ValueError, match="do not converge: spectral radius 1.21"):
        moments.stationary_second_moment(
            WEIGHT_NOISE, eigenvalues=[3.0], learning_rate=0.7, noise_variance=1.0, samples=1
        )


def test_fourth_moments_warn_before_a_second_moment_is_sampled():
    """Second moments converge while fourth moments grow: no sample mean of x^2 can be trusted there."""
    arguments = {"eigenvalues": [1.0], "learning_rate": 0.5, "relative_variance": 2.5}
    rule = dynamics.sgd_multiplicative_noise()
    assert moments.spectral_radius(moments.second_moment_operator(rule, **arguments)) < 1
    assert moments.spectral_radius(moments.fourth_moment_operator(rule, **arguments)) > 1


def test_gaussian_quadratic_deviation_by_enumeration_of_quadrature_nodes():
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    weights = weights / weights.sum()
    linear, quadratic = np.array([0.3, -1.0]), np.array([[1.0, 0.4], [0.4, -0.5]])
    factor = np.array([[1.0, 0.0], [0.6, 0.8]])
    first, second = np.meshgrid(nodes, nodes, indexing="ij")
    draws = np.stack([first, second], axis=-1) @ factor.T
    values = draws @ linear + np.einsum("xya,ab,xyb->xy", draws, quadratic, draws) / 2
    joint = np.outer(weights, weights)
    exact = np.sqrt(np.sum(joint * values**2) - np.sum(joint * values) ** 2)
    found = moments.gaussian_quadratic_deviation(linear, quadratic, factor @ factor.T)
    assert found == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_enumerated_samples_have_the_variance_of_the_mean(samples, antithetic):
    points = moments.finite_law([[2.0, 0.5], [0.5, 1.0]])
    outcomes = moments.enumerate_samples(points, samples, antithetic=antithetic)
    alone = samples % 2 if antithetic else samples
    np.testing.assert_allclose(outcomes.mean(axis=0), 0, atol=1e-14)
    expected = np.array([[2.0, 0.5], [0.5, 1.0]]) * alone / samples**2
    np.testing.assert_allclose(outcomes.T @ outcomes / len(outcomes), expected, atol=1e-13)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="either eigenvalues or hessian"):
        moments.second_moment_operator(WEIGHT_NOISE, eigenvalues=[1.0], hessian=np.eye(1), learning_rate=1, samples=1)
    with pytest.raises(ValueError, match="needs noise_covariance"):
        moments.second_moment_operator(WEIGHT_NOISE, hessian=np.eye(2), learning_rate=1, samples=1)
    with pytest.raises(ValueError, match="hessian must be a symmetric matrix"):
        moments.second_moment_operator(WEIGHT_NOISE, hessian=[[1.0, 2.0], [0.0, 1.0]], learning_rate=1, samples=1)
    with pytest.raises(ValueError, match="order must be 2 or 4"):
        moments.propagate(
            WEIGHT_NOISE, eigenvalues=[1.0], initial=0.0, steps=1, order=3, learning_rate=1, samples=1, noise_variance=1
        )
    with pytest.raises(ValueError, match="must be affine"):
        moments.propagate(
            dynamics.progressive_sharpening(), steps=1, initial=0.0, learning_rate=1,
            noise_variance=1, sharpening=1, sharpness_gradient_squared=1,
        )  # fmt: skip
    with pytest.raises(ValueError, match="positive semidefinite"):
        moments.finite_law([[1.0, 0.0], [0.0, -1.0]])

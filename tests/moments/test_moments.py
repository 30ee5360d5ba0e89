"""Moment operators against enumeration, closed Gaussian integrals and each other."""

import numpy as np
import pytest
import sympy

from quadlab import dynamics, moments
from quadlab.dynamics import parameter
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


STUDENT_T = dynamics.variational_gradient_descent(law="student_t")


def test_noise_points_refuse_an_infinite_fourth_moment():
    with pytest.raises(ValueError, match="fourth moment of epsilon_mean is infinite"):
        moments.noise_points(STUDENT_T, {"samples": 1.0, "degrees_of_freedom": 4.0})


@pytest.mark.parametrize("freedom", [2.5, 3.0, 4.0])
def test_second_moments_need_no_fourth_moments(freedom):
    """One step from the minimiser at rate 1 and curvature 1 is a draw, for three degrees of freedom of variance one."""
    values = {"learning_rate": 1.0, "samples": 1, "degrees_of_freedom": freedom}
    variance = freedom / (freedom - 2) / 3
    after = moments.propagate(STUDENT_T, eigenvalues=[1.0], steps=1, initial=0.0, noise_variance=1 / 3, **values)
    still = moments.stationary_second_moment(STUDENT_T, eigenvalues=[1.0], noise_variance=1 / 3, **values)
    coupled = moments.second_moment_operator(STUDENT_T, hessian=np.eye(1), noise_covariance=np.eye(1) / 3, **values)
    for found in (after.second, still, coupled.source):
        assert found.item() == pytest.approx(variance, rel=1e-14)
    with pytest.raises(ValueError, match="fourth moment of epsilon_mean is infinite under the Student t law"):
        moments.loss_deviation(STUDENT_T, eigenvalues=[1.0], steps=1, initial=0.0, noise_variance=1 / 3, **values)


def test_fourth_moments_of_noise_that_is_added_need_a_normal_law():
    values = {"learning_rate": 1.0, "samples": 1, "degrees_of_freedom": 9.0}
    start = np.zeros((1, 1)), 1, np.zeros((1, 1, 1, 1))
    heavy = moments.fourth_moment_operator(STUDENT_T, hessian=np.eye(1), noise_covariance=np.eye(1), **values)
    with pytest.raises(ValueError, match="fourth must be None where a noise that is added to the state is not normal"):
        heavy.propagate(*start)
    second = moments.second_moment_operator(SHARED, hessian=np.eye(1), learning_rate=1.0, momentum=0.1,
                                            relative_variance=1.0)  # fmt: skip
    with pytest.raises(ValueError, match=r"second must have shape \(2, 2\), got \(1, 1\)"):
        second.propagate(*start)
    with pytest.raises(ValueError, match="fourth must be None for an operator of order 2"):
        second.propagate(np.zeros((2, 2)), 1, np.zeros((2, 2, 2, 2)))


def test_the_mean_of_very_many_draws_has_moments():
    points, weights = moments.noise_points(WEIGHT_NOISE, {"samples": 1e160})
    assert weights @ points[:, 0] ** 2 == pytest.approx(1e-160, rel=1e-14)


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
    curvatures = np.linspace(0.01, 1.5, 40)
    problem = Quadratic.random(curvatures, 0)
    operator = moments.second_moment_operator(
        WEIGHT_NOISE, hessian=problem.hessian, noise_covariance=np.eye(40), learning_rate=1.0, samples=1
    )
    assert operator.shape == (1600, 1600)
    assert moments.spectral_radius(operator) == pytest.approx(0.99**2, rel=1e-12)


@pytest.mark.parametrize("relative_variance", [None, 0.0, 1e-9, 1e-4, 0.5])
def test_the_radius_of_many_eigenvalues_of_almost_equal_modulus(relative_variance):
    """Heavy ball turns all ten directions at the modulus momentum; the noise lifts one eigenvalue a little."""
    rule = dynamics.heavy_ball() if relative_variance is None else SHARED
    arguments = {"learning_rate": 0.5, "momentum": 0.9}
    arguments |= {} if relative_variance is None else {"relative_variance": relative_variance}
    curvatures = np.linspace(0.1, 1.5, 10)
    coupled = moments.second_moment_operator(rule, hessian=np.diag(curvatures), **arguments)
    modes = moments.second_moment_operator(rule, eigenvalues=curvatures, **arguments)
    assert coupled.radius == pytest.approx(modes.radius, rel=1e-10)
    if not relative_variance:
        assert coupled.radius == pytest.approx(0.9, rel=1e-12)


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


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize(
    ("rule", "more"),
    [(dynamics.heavy_ball(), {}), (SHARED, {"relative_variance": 0.5})],
    ids=["complex pairs", "shared noise"],
)
def test_the_radius_is_the_same_with_and_without_a_matrix(rule, more, order, monkeypatch):
    """Without noise all eigenvalues of the heavy ball have modulus momentum^(order / 2), most of them complex."""
    arguments = {"learning_rate": 0.3, "momentum": 0.9, **more}
    modes = moments.fourth_moment_operator if order == 4 else moments.second_moment_operator
    known = modes(rule, eigenvalues=[0.5, 2.0], **arguments).radius
    if not more:
        assert known == pytest.approx(0.9 ** (order / 2), rel=1e-6)
    for dense in (10**6, 0):
        monkeypatch.setattr("quadlab.moments.coupled.DENSE", dense)
        coupled = modes(rule, hessian=np.diag([0.5, 2.0]), **arguments)
        assert coupled.shape == (4**order,) * 2
        assert coupled.radius == pytest.approx(known, rel=1e-6)


def test_a_step_onto_the_minimiser_has_radius_zero():
    rule = dynamics.gradient_descent()
    assert moments.second_moment_operator(rule, hessian=2 * np.eye(20), learning_rate=0.5).radius == 0


def test_second_moments_on_the_edge_have_no_stationary_state():
    for curvature in (0.0, 2.0):
        with pytest.raises(ValueError, match="do not converge: spectral radius 1"):
            moments.stationary_second_moment(dynamics.gradient_descent(), eigenvalues=[curvature], learning_rate=1.0)


def test_powers_of_a_noise_are_refused_where_its_stand_in_is_not_exact():
    x, xi = sympy.symbols("x xi")
    rule = dynamics.UpdateRule("squared", (x,), (x * xi**2 * parameter("curvature"),), (dynamics.Noise(xi),))
    assert moments.second_moment_operator(rule, eigenvalues=[1.0]).radius == pytest.approx(3)
    for where in ({"eigenvalues": [1.0]}, {"hessian": [[1.0]]}):
        with pytest.raises(ValueError, match="order 4 of squared need noise moments above order 5"):
            moments.fourth_moment_operator(rule, **where)


def test_without_noise_a_loss_does_not_deviate():
    found = moments.loss_deviation(
        dynamics.gradient_descent(), eigenvalues=[0.3, 0.7], steps=3, initial=[1.1, 0.37], learning_rate=0.7
    )
    assert found == pytest.approx(0, abs=1e-8)


def test_losses_of_modes_that_share_their_noise_are_refused():
    x, xi = sympy.symbols("x xi")
    rule = dynamics.UpdateRule(
        "kicked", (x,), (x * (1 - parameter("curvature")) + xi,), (dynamics.Noise(xi, shared=True),)
    )
    with pytest.raises(ValueError, match="modes of kicked must have independent noise"):
        moments.loss_deviation(rule, eigenvalues=[0.3, 0.7], steps=1, initial=0.0)


U, XI = sympy.symbols("u xi")
TWICE = dynamics.UpdateRule("twice", (U,), (U * (1 + XI) + parameter("curvature") * XI,), (dynamics.Noise(XI),))
DRIFT = dynamics.UpdateRule("drift", (U,), (U * parameter("curvature") + 1 + XI,), (dynamics.Noise(XI),))


@pytest.mark.parametrize(
    ("rule", "arguments", "message"),
    [
        (WEIGHT_NOISE, {"hessian": [[np.nan]]}, "hessian must be finite, got nan"),
        (WEIGHT_NOISE, {"hessian": np.zeros((0, 0))}, "hessian must be a symmetric matrix"),
        (WEIGHT_NOISE, {"noise_covariance": np.eye(3)}, r"must have the shape \(2, 2\) of hessian, got \(3, 3\)"),
        (WEIGHT_NOISE, {"noise_covariance": [[1.0, 1.0], [0.0, 1.0]]}, "noise_covariance must be a symmetric matrix"),
        (WEIGHT_NOISE, {"noise_covariance": -np.eye(2)}, "noise_covariance must be positive semidefinite"),
        (WEIGHT_NOISE, {"noise_covariance": [[np.nan]]}, "noise_covariance must be finite, got nan"),
        (WEIGHT_NOISE, {"noise_variance": 2.0}, "noise_variance is given by noise_covariance"),
        (WEIGHT_NOISE, {"curvature": 2.0}, "curvature is given by hessian"),
        (WEIGHT_NOISE, {"learning_rate": [0.1, 0.2]}, "learning_rate must be one number for all directions"),
        (dynamics.gradient_descent(), {}, "gradient descent has no parameter noise_variance, so"),
        (TWICE, {"noise_covariance": None}, "must either multiply the state or be added to it"),
        (DRIFT, {"noise_covariance": None}, "what drift adds to the state must be linear in the noise"),
        (WEIGHT_NOISE, {"hessian": None}, "noise_covariance goes with hessian"),
    ],
)
def test_bad_coupled_input_is_named(rule, arguments, message):
    values = {symbol.name: 1.0 for symbol in rule.parameters if symbol.name not in ("curvature", "noise_variance")}
    options = {"hessian": np.eye(2), "noise_covariance": np.eye(2), **values, **arguments}
    with pytest.raises(ValueError, match=message):
        moments.second_moment_operator(rule, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": -1}, "steps must be a whole number >= 0, got -1"),
        ({"steps": 2.5}, "steps must be a whole number >= 0, got 2.5"),
        ({"initial": np.nan}, "initial must be finite, got nan"),
        ({"initial": [1.0, 2.0, 3.0]}, r"initial must be a number or have shape \(2,\)"),
        ({"eigenvalues": [[1.0, 2.0]]}, r"eigenvalues must be a non-empty vector, got shape \(1, 2\)"),
        ({"eigenvalues": []}, "eigenvalues must be a non-empty vector"),
        ({"learning_rate": [0.1, 0.2, 0.3]}, r"learning_rate must be a number or have shape \(2,\), got shape \(3,\)"),
    ],
)
def test_bad_input_to_propagate_is_named(arguments, message):
    options = {"eigenvalues": [1.0, 2.0], "steps": 1, "initial": 1.0, "learning_rate": 0.5, "noise_variance": 1.0}
    with pytest.raises(ValueError, match=message):
        moments.propagate(WEIGHT_NOISE, **{**options, "samples": 1, **arguments})


@pytest.mark.parametrize("covariance", [[[1.0, 0.5], [0.0, 1.0]], [[1.0, 0.0]], [[np.nan]]])
def test_a_covariance_is_a_finite_symmetric_matrix(covariance):
    with pytest.raises(ValueError, match="covariance must be"):
        moments.finite_law(covariance)
    with pytest.raises(ValueError, match="covariance must be"):
        moments.gaussian_quadratic_deviation(np.zeros(len(covariance)), np.eye(len(covariance)), covariance)


def test_a_mean_needs_a_sample():
    with pytest.raises(ValueError, match="samples must be a whole number >= 1, got 0"):
        moments.enumerate_samples(np.eye(2), 0)

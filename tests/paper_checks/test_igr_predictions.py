"""Numbers of the four predictions of implicit gradient regularization, from runs of the dynamics themselves."""

import sys

import numpy as np
import pytest

from quadlab import verify as v
from quadlab.problems import GradientPenalty, ProductModel
from quadlab.simulate import GradientDescent, descend, global_error, gradient_flow, modified_flow
from quadlab.theory import modified_loss
from quadlab.verify.computed import at_point

START = np.array([2.8, 3.5])
PLACE = {"a": 2.8, "b": 3.5, "data_input": 1.0, "target": 0.6}
PROBLEM = ProductModel()


def module_of(name):
    file = next(path for path in v.theorem_files("implicit_gradient_regularization") if path.stem == name)
    theorem = v.load(str(file))
    return next(m for m in list(sys.modules.values()) if getattr(m, "THEOREM", None) is theorem)


@pytest.fixture(scope="module")
def ratio():
    return module_of("prediction_ratio")


@pytest.fixture(scope="module")
def methods():
    return module_of("equal_loss_methods")


@pytest.fixture(scope="module")
def flatness():
    return module_of("prediction_flatness")


@pytest.fixture(scope="module")
def drift():
    return module_of("drift_exponent")


@pytest.fixture(scope="module")
def held_out():
    return module_of("prediction_test_error")


@pytest.fixture(scope="module")
def robustness():
    return module_of("prediction_robustness")


MODES, FROM = np.array([0.1, 1.0, 4.0]), np.array([2.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("rate", "squared_gradient", "squared_error"),
    [
        (0.0, 0.32766329082075, 3.7112009081),
        (0.1, 0.29840726208658, 3.7455317143),
        (0.24, 0.28195801954574, 3.7804284591),
    ],
)
def test_the_gradient_shrinks_and_the_error_grows_at_loss_03(methods, rate, squared_gradient, squared_error):
    rates = -np.log1p(-rate * MODES) / rate if rate else MODES
    shares = methods.at_loss(rates, MODES * FROM**2, 0.6 / (MODES @ FROM**2))
    assert MODES @ shares == pytest.approx(squared_gradient, rel=1e-12)
    assert np.sum(shares / MODES) == pytest.approx(squared_error, rel=1e-10)


def test_gradient_descent_hits_the_loss_with_the_value_of_the_closed_form(ratio):
    for steps in (3, 7, 40):
        rate = ratio.rate_that_lands_on(0.3, steps)
        state = ratio.iterate(MODES, FROM, rate, steps)
        assert MODES @ state**2 / 2 == pytest.approx(0.3, rel=1e-12)
        closed = modified_loss.equal_loss_observable(MODES, FROM, MODES**2, 0.3, rate)
        assert np.sum((MODES * state) ** 2) == pytest.approx(closed, rel=1e-11)


def comparisons(count):
    """Four modes scaled to a largest eigenvalue of 1, from a normal start, at 1 % to 90 % of the initial loss."""
    rng = np.random.default_rng(2021)
    for _ in range(count):
        modes = np.exp(rng.uniform(-3, 0, 4))
        yield modes / modes.max(), rng.standard_normal(4), rng.uniform(0.01, 0.9)


def test_beyond_one_the_order_of_the_gradients_reverses_in_nearly_every_case(methods):
    larger = 0
    for modes, start, remaining in comparisons(500):
        squares = [
            modes @ methods.at_loss(methods.rates_of_envelope(modes, rate), modes * start**2, remaining)
            for rate in (0.5, 1.8)
        ]
        larger += squares[1] > squares[0]
    assert 0.96 < larger / 500 < 1


def test_below_one_no_random_case_violates_the_comparison_at_any_order():
    for modes, start, remaining in comparisons(60):
        loss = remaining * (modes @ start**2) / 2
        for order in (None, 1, 2, 5):
            small, large = (
                modified_loss.equal_loss_observable(modes, start, modes**2, loss, rate, order) for rate in (0.1, 0.9)
            )
            assert large <= small * (1 + 1e-12)


@pytest.mark.parametrize(
    ("rate", "end", "difference", "sharpness", "covered"),
    [
        (1e-3, (0.28360528389, 2.11561643627), -4.39540094835, 4.55626486244, 2.9048652),
        (1e-2, (0.28792063047, 2.08390763465), -4.25977274031, 4.42556931920, 2.9170565),
        (2.5e-2, (0.29651742563, 2.02348984623), -4.00658857411, 4.18243374152, 2.9407370),
        (5e-2, (0.32062209693, 1.87136197332), -3.39919710613, 3.60479416421, 3.0004088),
        (0.1, (0.60107578417, 0.99821023539), -0.63513157573, 1.35771577235, 5.2027837),
        (0.15, (-2.01860208529, -0.29723540086), 3.98640549521, 4.16310326226, 6.2531528),
        (0.2, (0.73933593328, 0.81153907580), -0.11197804932, 1.20521329379, 15.9136888),
    ],
)
def test_gradient_descent_ends_where_the_table_says(flatness, rate, end, difference, sharpness, covered):
    path = flatness.descend(*START, rate)
    np.testing.assert_allclose(path[-1], end, rtol=1e-9)
    assert path[-1, 0] ** 2 - path[-1, 1] ** 2 == pytest.approx(difference, rel=1e-9)
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).sum() == pytest.approx(covered, rel=1e-7)
    assert flatness.end_of_descent(rate, *START) == pytest.approx(sharpness, rel=1e-9)
    assert flatness.end_by_differences(rate, *START) == pytest.approx(sharpness, rel=1e-9)


def test_the_theorems_path_is_that_of_the_simulator(flatness):
    path = flatness.descend(*START, 0.025)
    np.testing.assert_allclose(path[1:4], [(1.995, 2.856), (1.631022792, 2.601751215), (1.39403476802, 2.45318479316)])
    np.testing.assert_allclose(descend(PROBLEM, GradientDescent(0.025), START, 50), path[:51], rtol=1e-14)


@pytest.mark.parametrize(
    ("strength", "duration", "end", "sharpness", "covered"),
    [
        (0.0, 6.0, (0.28315198745, 2.11900331477), 4.57035009600, 2.9035729),
        (2.5e-2 / 4, 6.0, (0.29264296595, 2.05027993091), 4.28928770063, 2.9298775),
        (5e-2 / 4, 6.0, (0.29965884895, 2.00227692962), 4.09890832864, 2.9483204),
        (0.5, 3.0, (0.35351287884, 1.69725075356), 3.00563147596, 3.0635746),
        (0.25, 3.0, (0.34692109662, 1.72949989449), 3.11152413234, 3.0517364),
    ],
)
def test_the_flows_end_where_the_table_says(flatness, strength, duration, end, sharpness, covered):
    problem = GradientPenalty(PROBLEM, strength)
    path, measured = flatness.flow_with_length(problem, duration, count=2)
    np.testing.assert_allclose(path[-1], end, rtol=1e-10)
    assert measured == pytest.approx(covered, rel=1e-7)
    for follow in (flatness.kernel_on_flow, flatness.kernel_by_weights):
        assert follow(4 * strength, **PLACE) == pytest.approx(sharpness, rel=1e-10)


def test_the_floor_of_the_modified_flow_and_gradient_descent_below_it(flatness):
    floor = flatness.floor(0.1, **PLACE)
    assert floor == pytest.approx(2.87371208717, rel=1e-10)
    assert flatness.kernel_by_weights(1e6, **PLACE) == pytest.approx(floor, rel=1e-6)
    assert flatness.end_of_descent(0.1, *START) < floor


def test_explicit_regularization_by_gradient_descent(flatness):
    path = descend(GradientPenalty(PROBLEM, 0.5), GradientDescent(1e-3), START, 3000)
    np.testing.assert_allclose(path[-1], (0.36148131870, 1.65983681305), rtol=1e-9)
    lengths = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert lengths.sum() == pytest.approx(3.0800504, rel=1e-7)


@pytest.mark.parametrize(
    ("rate", "descent", "flow", "first_order"),
    [
        (1e-3, -0.0033159342, -0.0032737127, -0.0033014025),
        (1e-2, -0.0346588779, -0.0304704510, -0.0330140252),
        (2.5e-2, -0.0959345399, -0.0685051650, -0.0825350631),
    ],
)
def test_the_drift_of_the_difference_of_squares(flatness, drift, rate, descent, flow, first_order):
    assert drift.drift_of_descent(rate, **PLACE) == pytest.approx(descent, abs=1e-10)
    end = np.sqrt(flatness.kernel_by_weights(rate, **PLACE) ** 2 - 4 * 0.6**2)
    assert np.log(end / 4.41) == pytest.approx(flow, abs=1e-10)
    assert drift.sharpness_of_modified_flow(rate, **PLACE) == pytest.approx(np.hypot(end, 1.2), rel=1e-9)
    assert drift.first_order(rate, **PLACE) == pytest.approx(first_order, abs=1e-10)
    assert -rate * drift.exponent(**PLACE) == pytest.approx(first_order, abs=1e-10)


@pytest.mark.parametrize(("sign", "expected"), [(-1, 1.79633020e-4), (1, 1.75960466e-4)])
def test_one_step_from_far_up_the_diagonal_lands_on_the_flattest_minimum(flatness, sign, expected):
    flattest = sign * np.sqrt(0.6)
    rate = 1 / (75 * (75 + flattest))
    assert rate == pytest.approx(expected, rel=1e-8)
    np.testing.assert_allclose(flatness.descend(75.0, 75.0, rate)[1], [flattest, flattest], rtol=1e-9)


@pytest.mark.parametrize(
    ("rate", "sharpness"),
    [
        (1e-4, 7.378515),
        (1.7e-4, 1.552087),
        (1.78e-4, 1.200004),
        (1.8e-4, 1.22728870),
        (2e-4, 3.167230),
        (2.5e-4, 9.735601),
        (3.5e-4, 47.969445),
    ],
)
def test_from_the_far_start_gradient_descent_lands_by_chance(flatness, rate, sharpness):
    assert flatness.end_of_descent(rate, 75.0, 74.925) == pytest.approx(sharpness, abs=1e-6)


def test_the_flows_from_the_far_start(flatness):
    far = {"a": 75.0, "b": 74.925, "data_input": 1.0, "target": 0.6}
    for rate, sharpness in ((0.0, 11.308226), (1.8e-4, 8.358638)):
        assert flatness.kernel_on_flow(rate, **far) == pytest.approx(sharpness, abs=1e-6)
        assert flatness.kernel_by_weights(rate, **far) == pytest.approx(sharpness, abs=1e-6)


def test_distances_at_matched_time():
    for flow, farthest in (
        (None, 0.11892683),
        (lambda start, times, _: gradient_flow(PROBLEM, start, times), 0.26961055),
    ):
        assert global_error(PROBLEM, START, 0.025, duration=0.25, flow=flow) == pytest.approx(farthest, abs=1e-8)
    later = descend(PROBLEM, GradientDescent(0.025), START, 10)[-1]
    assert np.linalg.norm(later - gradient_flow(PROBLEM, START, 0.25)) == pytest.approx(0.11537574, abs=1e-8)
    assert np.linalg.norm(later - modified_flow(PROBLEM, START, 0.25, 0.025)) == pytest.approx(0.02977815, abs=1e-8)


def test_the_test_loss_falls_rises_or_stays(held_out):
    at = {steps: held_out.rate_that_lands_on(0.3, steps) for steps in (24, 6, 3)}
    for tau, sign in ((MODES**2 / 2, -1), (MODES, 0), (np.ones(3), 1)):
        losses = [tau @ held_out.iterate(MODES, FROM, rate, steps) ** 2 / 2 for steps, rate in at.items()]
        assert (np.sign(np.diff(losses).round(12)) == sign).all()


def test_two_modes_by_hand(held_out):
    """u = exp(-2 t) solves u^2 + u = 2 E for l = (1, 2), theta = (1, 1 / sqrt 2): one root, both losses."""
    loss = 0.3
    u = (np.sqrt(1 + 8 * loss) - 1) / 2
    state = held_out.state_at_loss(MODES := np.array([1.0, 2.0]), MODES, np.array([1, np.sqrt(0.5)]), loss)
    np.testing.assert_allclose(state**2, [u, u**2 / 2], rtol=1e-12)


TWO_MODES = {"eigenvalues": np.array([0.1, 0.5]), "initial_state": np.ones(2)}
AT_REST = {**TWO_MODES, "initial_state": np.zeros(2)}
CONVERGED = {"ratios": np.ones(2), "flat_curvature": 1.0}


@pytest.mark.parametrize(
    ("claim", "point", "word"),
    [
        ("convergence", {**TWO_MODES, **CONVERGED, "flat_component": 1.0, "learning_rate": 0.01}, v.VERIFIED),
        ("convergence", {**TWO_MODES, **CONVERGED, "flat_component": 0.0, "learning_rate": 0.5}, v.VERIFIED),
        ("direction", {**TWO_MODES, "remaining_loss": 0.3, "learning_rate": 0.0, "exponent": 2}, v.VERIFIED),
        ("main", {**AT_REST, "ratios": np.ones(2), "learning_rate": 0.0, "steps": 2}, v.OUT_OF_DOMAIN),
        ("proportional", {**AT_REST, "factor": 1.0, "learning_rate": 0.5, "steps": 2}, v.OUT_OF_DOMAIN),
    ],
)
def test_the_test_loss_at_small_rates_and_at_the_minimum(held_out, claim, point, word):
    (found,) = (c for c in held_out.THEOREM.claims if c.name == claim)
    point = {"larger_learning_rate": 0.5, **point} if "larger_learning_rate" in found.domain else point
    assert at_point(found, point).verdict.word == word


def test_noise_is_not_compared_along_a_divergent_descent(robustness):
    (found,) = (c for c in robustness.THEOREM.claims if c.name == "quadratic")
    point = {"eigenvalues": [0.9, 0.5], "initial_state": [1.0, 1.0], "noise_sd": 1.0, "steps": 100}
    assert at_point(found, {**point, "learning_rate": 3.0}).verdict.word == v.OUT_OF_DOMAIN
    assert at_point(found, {**point, "learning_rate": 2.0}).verdict.word == v.VERIFIED


def test_noise_at_two_minima(robustness):
    setting = {"noise_sd": 0.1, "data_input": 1.0, "target": 0.6}
    for (a, b), additive in (((np.sqrt(0.6), np.sqrt(0.6)), 0.00605), ((3.0, 0.2), 0.04525)):
        assert robustness.by_quadrature(False)(a, b, **setting) == pytest.approx(additive, rel=1e-12)
        assert robustness.by_quadrature(True)(a, b, **setting) == pytest.approx(0.003618, rel=1e-12)


def test_the_end_of_a_larger_rate_withstands_additive_noise_better_and_multiplicative_noise_no_better(
    flatness, robustness
):
    costs = {
        kind: [
            robustness.by_quadrature(kind)(*flatness.descend(*START, rate)[-1], 0.1, 1.0, 0.6) for rate in (1e-3, 5e-2)
        ]
        for kind in (False, True)
    }
    assert costs[False][1] < 0.9 * costs[False][0]
    assert costs[True][1] == pytest.approx(costs[True][0], rel=1e-10)

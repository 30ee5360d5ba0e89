"""Adam, Runge-Kutta and implicit methods: their theorem files give numbers that were found elsewhere."""

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import brentq

from quadlab.problems import GradientPenalty
from quadlab.simulate import global_error, gradient_flow
from quadlab.theory.modified_loss import adam_modified_field

FILES = Path(__file__).resolve().parents[2] / "paper_checks" / "implicit_gradient_regularization"


def functions_of(name):
    return SimpleNamespace(**run_path(str(FILES / f"{name}.py")))


@pytest.mark.parametrize("setting", range(3))
def test_adam_needs_its_bias_for_second_order(setting):
    module = functions_of("adam")
    point = module.SETTINGS[setting]
    for formula, low, high in ((module.velocity, 1.98, 2.02), (module.without_bias, 0.98, 1.02)):
        coarse, fine = (module.error_of_velocity(formula, point, h) for h in (2e-5, 1e-5))
        assert low < np.log2(coarse / fine) < high


def test_the_bias_exceeds_the_leading_term_where_the_expansion_fails():
    hessian, gradient, decays = [[2, 0.5], [0.5, 1]], [1, -0.5], (0.9, 0.999, 1e-8)
    leading, field = (adam_modified_field(hessian, gradient, h, *decays) for h in (0.0, 1e-3))
    assert leading == pytest.approx([-1, 1], abs=1e-6)
    assert (np.abs(field - leading) > 0.9).all()
    assert field[0] > 0


@pytest.mark.parametrize(("epsilon", "direction"), [(103.0, 1), (105.0, -1)])
def test_customary_decays_reward_large_gradients_below_their_threshold(epsilon, direction):
    assert functions_of("adam_sign").threshold(1.0, 0.9, 0.999) == pytest.approx(104.2, abs=0.05)
    still, moving = (adam_modified_field([[1]], [1], h, 0.9, 0.999, epsilon)[0] for h in (0.0, 1.0))
    assert np.sign(moving - still) == direction


@pytest.mark.parametrize("decays", [(0.5, 0.8), (0.8, 0.5), (0.0, 0.7)])
def test_derivative_of_adams_iterates_is_their_slope_at_small_steps(decays):
    start, added = functions_of("adam_sign").velocity_of_iterates(1.3, 0.6, *decays, 0.4)
    run = functions_of("adam").velocity_of_iterates
    slopes = [(run(1.3, 0.9, 0.6, 0.0, h, *decays, 0.4) - start) / h for h in (2e-4, 1e-4)]
    assert 2 * slopes[1] - slopes[0] == pytest.approx(added, rel=1e-5)
    field = [adam_modified_field([[0.6]], [1.3], h, *decays, 0.4)[0] for h in (0.0, 1.0)]
    assert field == pytest.approx([start, start + added], rel=1e-13)


@pytest.mark.parametrize("name", ["quadratic_flow", "runge_kutta", "implicit_methods", "heavy_ball_modes"])
@pytest.mark.parametrize(("eigenvalue", "rate"), [(1e-50, 0.1), (-1e-120, 0.5), (2.0, 1e-80), (1e-150, 1e-150), (0, 1)])
def test_rates_of_steps_too_small_for_forty_digits(name, eigenvalue, rate):
    theorem = functions_of(name).THEOREM
    others = {"stages": 2, "momentum": 0.0}
    point = {"eigenvalue": eigenvalue, "learning_rate": rate}
    point |= {key: value for key, value in others.items() if key in theorem.domain}
    assert theorem.oracle(**point) == pytest.approx(eigenvalue, rel=1e-15, abs=0)
    assert theorem.at(**point).verdict.word == "VERIFIED"


@pytest.mark.parametrize(("eigenvalue", "rate"), [(1e-50, 0.1), (-1e-120, 0.5), (2.0, 1e-80)])
def test_principal_flow_of_steps_too_small_for_forty_digits(eigenvalue, rate):
    assert functions_of("principal_flow").growth_of_iterates(eigenvalue, rate) == -1


@pytest.mark.parametrize("name", ["quadratic_flow", "runge_kutta"])
def test_rates_next_to_the_step_that_lands_on_the_minimum(name):
    theorem, z = functions_of(name).THEOREM, 1 - 1e-9
    others = {"stages": 1} if "stages" in theorem.domain else {}
    assert theorem.oracle(eigenvalue=z, learning_rate=1.0, **others) == pytest.approx(-np.log(1 - z), rel=1e-14)


@pytest.mark.parametrize("z", [1 - 1e-9, 1 + 1e-9, 1 + 1e-12])
def test_principal_flow_next_to_the_step_that_lands_on_the_minimum(z):
    growth = functions_of("principal_flow").growth_of_iterates(z, 1.0)
    assert growth == pytest.approx(np.log(abs(1 - z)) / z, rel=1e-14)


def test_implicit_euler_with_a_large_step():
    oracle = functions_of("implicit_methods").THEOREM.oracle
    assert oracle(1e300, 1.0) == pytest.approx(300 * np.log(10), rel=1e-14)


@pytest.mark.parametrize("momentum", [0.3, 0.999999])
def test_heavy_ball_does_not_move_in_flat_directions(momentum):
    assert functions_of("heavy_ball_modes").rate(0.0, 0.1, momentum) == 0


def test_coefficients_of_the_runge_kutta_series():
    coefficient = functions_of("runge_kutta").series_coefficient
    expected = {
        1: "1 1/2 1/3 1/4 1/5 1/6",
        2: "1 0 -1/6 -1/8 -1/20",
        3: "1 0 0 1/24 1/30 1/72",
        4: "1 0 0 0 -1/120 -1/144",
    }
    for stages, text in expected.items():
        found = [coefficient(stages, n) for n in range(1, len(text.split()) + 1)]
        assert " ".join(map(str, found)) == text


@pytest.mark.parametrize(("stages", "limit"), [(1, 2), (2, 2), (3, 2.51274533), (4, 2.78529356)])
def test_stability_limits_of_runge_kutta_methods(stages, limit):
    excess = functions_of("runge_kutta").excess_of_step
    found = brentq(lambda z: z + excess(z, 1.0, stages).real, 1.8, 3, xtol=1e-13)
    assert found == pytest.approx(limit, abs=6e-9)


def test_the_third_order_method_lands_on_the_minimum_at_one_step_size():
    rate = functions_of("runge_kutta").THEOREM.formula
    negative = [np.imag(rate(z, 1.0, 3)) < 0 for z in (1.5960716379833 - 1e-12, 1.5960716379833 + 1e-12)]
    assert negative == [False, True]


def test_series_of_the_implicit_methods():
    module = functions_of("implicit_methods")
    series = module.THEOREM.corollaries[2].formula
    assert " ".join(str(series(n)) for n in range(1, 6)) == "1 0 1/12 0 1/80"
    z = 1e-3
    assert module.euler_rate(z, 1.0) == pytest.approx(z - z**2 / 2 + z**3 / 3, rel=1e-9)


def test_gradient_descent_on_the_rewarded_loss_tracks_gradient_flow():
    """With the penalty -(h/4) |grad E|^2 in the loss, gradient descent undoes its own."""
    module = functions_of("implicit_methods")
    errors = [
        global_error(
            GradientPenalty(module.MODEL, module.THEOREM.corollaries[0].formula(h)),
            module.START,
            h,
            duration=0.4,
            flow=lambda start, times, learning_rate: gradient_flow(module.MODEL, start, times),
        )
        for h in (0.008, 0.004, 0.002, 0.001)
    ]
    assert errors == pytest.approx([2.68e-4, 6.50e-5, 1.60e-5, 3.97e-6], rel=2e-3)

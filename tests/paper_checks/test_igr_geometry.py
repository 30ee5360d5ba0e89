"""Numbers that the geometry of the modified loss has to give, from the oracles of the theorem files."""

import importlib.util

import numpy as np
import pytest
import sympy

from quadlab.problems import hessian_matrix
from quadlab.verify import VERIFIED, theorem_files
from quadlab.verify.computed import at_point

START = np.array([2.8, 3.5])


@pytest.fixture(scope="module")
def module():
    files = {path.stem: path for path in theorem_files("implicit_gradient_regularization")}

    def load(name):
        spec = importlib.util.spec_from_file_location(f"golden_{name}", files[name])
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded

    return load


@pytest.mark.parametrize(("rate", "count", "expected"), [(0.1, 1, 0.025), (0.025, 2, 0.0125), (1e-3, 40, 0.01)])
def test_the_rate_is_what_two_steps_add_per_regularizer(module, rate, count, expected):
    theorem_file = module("regularization_rate")
    assert theorem_file.rate_of_iterates(rate, count) == pytest.approx(expected, rel=1e-12)
    assert theorem_file.THEOREM.formula(rate, count) == pytest.approx(expected, rel=1e-15)


def test_a_million_parameters_have_rate_250(module):
    assert module("regularization_rate").THEOREM.formula(1e-3, 1_000_000) == pytest.approx(250, rel=1e-15)


def test_work_from_a_minimum_to_the_start_is_a_quarter_of_the_squared_gradient(module):
    def gradient(theta):
        return (theta[0] * theta[1] - 0.6) * theta[::-1]

    work = module("regularization_rate").work
    paths = [[np.sqrt([0.6, 0.6]), START], [np.array([3.0, 0.2]), np.array([-1.0, 2.0]), START]]
    for path in paths:
        assert 4 * work(gradient, path) == pytest.approx(1700.4176, rel=1e-12)


def test_the_angle_at_the_start_has_tangent_squared_1700(module):
    angle = module("slope_form").angle_of_surface(np.array([32.2, 25.76]))
    assert np.tan(angle) ** 2 == pytest.approx(1700.4176, rel=1e-11)


@pytest.mark.parametrize(("loss_scale", "expected"), [(1.0, 1.45), (0.5, 0.3625)])
def test_the_gradient_of_a_model_with_this_kernel(module, loss_scale, expected):
    point = ((0.5, -1.0, 2.0), [[2.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 4.0]], 0.1, loss_scale)
    theorem = module("kernel_form").THEOREM
    assert theorem.oracle(*point) == pytest.approx(expected, rel=1e-12)
    assert theorem.formula(*point) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("point", "order", "expected"),
    [
        ((1.0, 1.0), 0, (-0.4, -0.4)),
        ((1.0, 1.0), 1, (-12 / 25, -12 / 25)),
        ((1.0, 1.0), 2, (-106 / 125, -106 / 125)),
        (START, 1, (-441.945, -406.8792)),
        (START, 2, (-10040.40758, -9103.589152)),
    ],
)
def test_the_terms_of_the_field_from_iterates(module, point, order, expected):
    theorem_file = module("not_a_gradient")
    gradient = theorem_file.product_gradient(1.0, 0.6)
    field = theorem_file.field_of_iterates(gradient, np.asarray(point), order, radius=0.01)
    np.testing.assert_allclose(field, expected, rtol=1e-10)


def test_three_steps_give_the_second_term(module):
    gradient = module("not_a_gradient").product_gradient(1.0, 0.6)
    field = module("second_order_field").second_field(gradient, np.ones(2))
    np.testing.assert_allclose(field, -106 / 125, rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "claim", "point"),
    [
        ("second_order_field", "main", {"eigenvalue": 1.0, "gradient": 300.0}),
        ("second_order_field", "main", {"eigenvalue": 1.0, "gradient": -1e5}),
        ("second_order_field", "antisymmetric part", dict.fromkeys(("first_eigenvalue", "mixed_derivative"), 300.0)),
        ("regularization_rate", "modified gradient", {"eigenvalue": -30.0, "gradient": 0.0, "learning_rate": 0.1}),
        ("critical_points", "stay critical", {"eigenvalue": -30.0, "gradient": 0.0, "learning_rate": 0.1}),
        ("critical_points", "stay critical", {"eigenvalue": 500.0, "gradient": 300.0, "learning_rate": 2.0}),
    ],
)
def test_claims_hold_on_steep_losses_and_where_the_gradient_vanishes(module, name, claim, point):
    (found,) = (c for c in module(name).THEOREM.claims if c.name == claim)
    point = {"second_eigenvalue": 2.0, **point} if "second_eigenvalue" in found.domain else point
    assert at_point(found, point).verdict.word == VERIFIED


def test_the_curl_at_the_start(module):
    """D = -4.41, s = 20.09 and r = 9.2 give 4.41 * 20.09 * 9.2 / 3 for f_2; f_1 has none."""
    theorem_file = module("not_a_gradient")
    assert theorem_file.curl_of_product_model(2)(*START, 1.0, 0.6) == pytest.approx(271.69716, rel=1e-10)
    assert theorem_file.curl_of_product_model(1)(*START, 1.0, 0.6) == pytest.approx(0, abs=1e-9)


def test_new_critical_points_at_learning_rate_five(module):
    """x = 1, y = 3/5, h = 5: saddles at +-(1, 1)/sqrt(15), a minimum at the origin."""
    theorem_file = module("new_critical_points")
    point = {"learning_rate": 5.0, "data_input": 1.0, "target": 0.6}
    at = theorem_file.new_point(**point)
    np.testing.assert_allclose(at, 0.25819889, atol=5e-9)
    np.testing.assert_allclose(theorem_file.modified_problem(**point).gradient(at), 0, atol=1e-14)
    diagonals = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    for place, expected in ((at, [-8 / 15, 64 / 45]), (np.zeros(2), [0.3, 1.5])):
        found = [theorem_file.curvature(point, place, direction) for direction in diagonals]
        np.testing.assert_allclose(found, expected, rtol=1e-10)
        hessian = hessian_matrix(theorem_file.modified_problem(**point), place)
        np.testing.assert_allclose(np.linalg.eigvalsh(hessian), expected, rtol=1e-10)


def test_the_system_has_these_three_real_solutions_and_no_other(module):
    theorem_file = module("new_critical_points")
    values = {theorem_file.RATE: 5, theorem_file.X: 1, theorem_file.Y: sympy.Rational(3, 5)}
    system = [equation.subs(values) for equation in theorem_file.NEW]
    solutions = sympy.solve(system, (theorem_file.A, theorem_file.B))
    u = sympy.sqrt(15) / 15
    assert set(solutions) == {(0, 0), (u, u), (-u, -u)}


def test_the_fork_of_the_example_is_at_ten_thirds(module):
    fork = module("new_critical_points").learning_rate_of_new_points(1.0, 0.6)
    assert fork == pytest.approx(10 / 3, rel=1e-12)


def test_a_saddle_turns_at_minus_two_over_the_learning_rate(module):
    """h = 5: curvature -2/5 becomes flat; -3/5, of the product model's saddle, becomes 3/10."""
    theorem_file = module("critical_points")
    assert theorem_file.turning_eigenvalue(5.0) == pytest.approx(-0.4, rel=1e-10)
    assert theorem_file.curvature_along_gradient(5 / 4) == pytest.approx(-0.4, rel=1e-10)
    assert theorem_file.eigenvalue_at_critical_point(-0.6, 5.0) == pytest.approx(0.3, rel=1e-10)


@pytest.mark.parametrize(("order", "expected"), [(0, 1.0), (1, 1.0), (2, 4 / 3)])
def test_the_potentials_on_a_quadratic(module, order, expected):
    """l = 2 and theta = 1: 2/2, 4/4 and 8/6."""
    assert module("second_order_field").work_on_quadratic(order, 2.0, 1.0) == pytest.approx(expected, rel=1e-12)

"""Numbers that the dynamics must give: product model, explicit penalties, quadratic flow and series, principal flow."""

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest

from quadlab.problems import GradientPenalty, LeastSquares, ProductModel
from quadlab.simulate import GradientDescent, descend, flow, global_error, gradient_flow
from quadlab.verify import REFUTED, VERIFIED

FILES = Path(__file__).resolve().parents[2] / "paper_checks" / "implicit_gradient_regularization"
START = [2.8, 3.5]


def functions_of(name):
    return SimpleNamespace(**run_path(str(FILES / f"{name}.py")))


@pytest.fixture(scope="module")
def product():
    return functions_of("product_invariants")


@pytest.fixture(scope="module")
def explicit():
    return functions_of("explicit_regularization")


@pytest.fixture(scope="module")
def quadratic():
    return functions_of("quadratic_flow")


@pytest.fixture(scope="module")
def series():
    return functions_of("series_remainder")


@pytest.fixture(scope="module")
def principal():
    return functions_of("principal_flow")


@pytest.fixture(scope="module")
def general():
    return functions_of("principal_flow_general")


def orders(errors):
    """Slopes between learning rates that halve."""
    return -np.diff(np.log2(errors))


@pytest.mark.parametrize(
    ("start", "data_input", "target", "end"),
    [
        (START, 1.0, 0.6, (0.2831519874548, 2.1190033147684)),
        ((75.0, 74.925), 1.0, 0.6, (3.3580203043695, 0.17867670401495)),
        ((-1.0, 0.5), 2.0, 1.0, (-1.0, -0.5)),
        ((0.1, -0.3), 1.0, 0.6, (-0.74922083202145, -0.80083197684341)),
        ((2.0, 1.0), 1.0, 0.0, (1.7320508075689, 0.0)),
    ],
)
def test_the_flow_of_the_product_model_ends_where_its_rotation_ends(product, start, data_input, target, end):
    a, b = start
    assert product.end_by_rotation(a, b, data_input, target) == pytest.approx(end[0], rel=1e-12)
    assert product.end_by_rotation(b, a, data_input, target) == pytest.approx(end[1], rel=1e-12, abs=1e-12)


def test_the_flow_ends_where_its_rotation_ends_next_to_a_diagonal(product):
    point = {"a": 1.0, "b": -1 + 1e-9, "data_input": 1.0, "target": 1.0}
    assert product.end_by_rotation(**point) == pytest.approx(product.end_of_flow(**point), rel=1e-12)
    assert product.end_by_rotation(**point) == pytest.approx(1 + 5e-10, rel=1e-12)


@pytest.mark.parametrize(
    ("rate", "end", "difference"),
    [
        (2.5e-2, (0.29651742563, 2.02348984623), -4.00658857411),
        (5e-2, (0.32062209693, 1.87136197332), -3.39919710613),
        (0.1, (0.60107578417, 0.99821023539), -0.63513157573),
        (0.15, (-2.01860208529, -0.29723540086), 3.98640549521),
        (0.2, (0.73933593328, 0.81153907580), -0.11197804932),
    ],
)
def test_gradient_descent_on_the_product_model_ends_where_the_ratios_say(product, rate, end, difference):
    setting = {"data_input": 1.0, "target": 0.6, "start": START, "learning_rate": rate, "steps": 600}
    path, residual = product.path_of(setting)
    assert abs(residual[-1]) < 1e-12
    np.testing.assert_allclose(path[-1], end, rtol=1e-10)
    ratio = product.product_of_ratios(product.THEOREM.formula, setting)
    assert ratio * (START[0] ** 2 - START[1] ** 2) == pytest.approx(difference, rel=1e-11)
    assert product.last_over_first(setting, 1, None).value == pytest.approx(ratio, rel=1e-12)


def test_first_iterates_of_the_product_model(product):
    point = {"a": START[0], "b": START[1], "data_input": 1.0, "target": 0.6}
    expected = [(1.995, 2.856), (1.631022792, 2.601751215), (1.39403476802, 2.45318479316)]
    for pair in expected:
        residual, norm = (f(**point, learning_rate=0.025) for f in (product.residual_after, product.square_after))
        point["a"], point["b"] = product.step(**point, learning_rate=0.025)
        assert (point["a"], point["b"]) == pytest.approx(pair, rel=1e-9)
        assert (pair[0] * pair[1] - 0.6, pair[0] ** 2 + pair[1] ** 2) == pytest.approx((residual, norm), rel=1e-9)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(0.0, (2.01, 2.01, 2.00)), (0.25, (2.01, 2.00, 2.00)), (1.0, (1.98, 1.99, 1.99)), (-0.25, (2.04, 2.02, 2.01))],
)
def test_orders_with_explicit_penalties(explicit, ratio, expected):
    with_sum, alone = [], []
    for rate in (8e-3, 4e-3, 2e-3, 1e-3):
        trained = GradientPenalty(ProductModel(), ratio * rate)
        for errors, strength in ((with_sum, explicit.total_penalty(rate, ratio)), (alone, ratio * rate)):
            followed = GradientPenalty(ProductModel(), float(strength))
            errors.append(
                global_error(
                    trained,
                    explicit.START,
                    rate,
                    explicit.TIME,
                    flow=lambda s, t, _, f=followed: gradient_flow(f, s, t),
                )
            )
    np.testing.assert_allclose(orders(with_sum), expected, atol=0.006)
    surplus = np.abs(orders(alone) - 1)
    assert (np.diff(surplus) < 0).all()
    assert surplus[-1] < 0.03
    if ratio == -0.25:
        np.testing.assert_allclose(with_sum, [2.68e-4, 6.50e-5, 1.60e-5, 3.97e-6], rtol=2e-3)


def test_ends_of_flows_with_strong_penalties(explicit):
    velocity = explicit.compiled_field()
    for strength, end in ((0.5, (0.35351287884, 1.69725075356)), (0.25, (0.34692109662, 1.72949989449))):
        found = flow(lambda theta, mu=strength: np.array(velocity(*theta, mu, 0.0)), START, 8.0)
        np.testing.assert_allclose(found, end, rtol=1e-9)
    alone = flow(lambda theta: np.subtract(velocity(*theta, 1.0, 0.0), velocity(*theta, 0.0, 0.0)), START, 2.5)
    np.testing.assert_allclose(alone, (0.36231182321, 1.65603207395), rtol=1e-9)
    a, b = START
    for _ in range(5000):
        slope = velocity(a, b, 0.5, 0.0)
        a, b = a + 1e-3 * slope[0], b + 1e-3 * slope[1]
    assert (a, b) == pytest.approx((0.36148131870, 1.65983681305), rel=1e-9)


def test_the_compiled_field_is_the_penalised_gradient(explicit):
    trained = GradientPenalty(ProductModel(), 0.3)
    twice = GradientPenalty(trained, 0.07)
    velocity = explicit.compiled_field()
    np.testing.assert_allclose(velocity(1.3, 0.8, 0.3, 0.0), -trained.gradient([1.3, 0.8]), rtol=1e-13)
    np.testing.assert_allclose(velocity(1.3, 0.8, 0.3, 0.07), -twice.gradient([1.3, 0.8]), rtol=1e-13)
    end = descend(trained, GradientDescent(explicit.TIME / 50), explicit.START, 50)[-1]
    np.testing.assert_allclose(explicit.trained(0.3, explicit.TIME / 50), end, rtol=1e-12)


@pytest.mark.parametrize(
    ("eigenvalue", "rate", "decay"),
    [
        (2.0, 0.1, 2.231435513142098),
        (5.0, 0.1, 6.931471805599453),
        (9.0, 0.1, 23.02585092994046),
        (9.9, 0.1, 46.05170185988091),
        (-3.0, 0.5, -1.832581463748310),
        (-40.0, 0.5, -6.089044875446846),
        (1e-9, 0.01, 1.000000000005e-9),
        (15.0, 0.1, 6.931471805599453 - 31.41592653589793j),
        (21.0, 0.1, -0.9531017980432486 - 31.41592653589793j),
    ],
)
def test_iterates_decay_at_the_rate_that_the_series_sums_to(quadratic, eigenvalue, rate, decay):
    # 0.1 is no binary fraction: near h l = 1 the product's rounding is magnified
    accuracy = 1e-12 / min(1.0, abs(1 - rate * eigenvalue))
    assert quadratic.rate_of_iterates(eigenvalue, rate) == pytest.approx(np.real(decay), rel=accuracy)
    assert quadratic.turn_of_iterates(eigenvalue, rate) == pytest.approx(np.imag(decay), abs=1e-12)
    formula = quadratic.THEOREM.formula(eigenvalue, rate)
    assert complex(formula) == pytest.approx(complex(decay), rel=accuracy)


def test_partial_sums_fall_short_of_the_speed_up(quadratic, series):
    products = (0.1, 0.5, 0.9, 0.99)
    exact = [quadratic.rate_of_iterates(z, 1.0) / z for z in products]
    paper = [series.series_from_exponential(z, 1.0, 1) / z for z in products]
    np.testing.assert_allclose(exact, [1.053605, 1.386294, 2.558428, 4.651687], atol=5e-7)
    np.testing.assert_allclose(paper, [1.05, 1.25, 1.45, 1.495], rtol=1e-14)
    for z, whole, part in zip(products, exact, paper, strict=True):
        assert whole - part == pytest.approx(series.remainder(z, 1), rel=1e-12)
    table = {1: 13.05, 2: 15.48, 3: 17.12025, 5: 19.186965}
    for order, value in table.items():
        assert series.series_from_exponential(9.0, 0.1, order) == pytest.approx(value, rel=1e-13)


def test_the_rates_hold_on_data_with_flat_directions(quadratic):
    features = np.array([[1.0, 2.0, 3.0], [2.0, 1.0, 3.0], [0.5, -1.0, -0.5], [1.0, 0.0, 1.0]])
    problem = LeastSquares(features, [1.0, 0.0, 2.0, -1.0])
    assert problem.eigenvalues[0] == 0
    judge = quadratic.on_problem(problem).prepare(
        quadratic.THEOREM.formula, rng=np.random.SeedSequence(0), budget="deep"
    )
    assert judge(quadratic.THEOREM.formula).verdict.word == VERIFIED
    assert judge(quadratic.THEOREM.mutants["the modified loss, called exact"]).verdict.word == REFUTED


@pytest.mark.parametrize(
    ("eigenvalue", "rate", "value"),
    [
        (2.0, 0.1, -1.11571775657105),
        (9.0, 0.1, -2.5584278811045),
        (15.0, 0.1, -0.462098120373297 + 2.0943951023932j),
        (18.0, 0.1, -0.123968639619005 + 1.74532925199433j),
        (20.0, 0.1, 1.5707963267949j),
        (21.0, 0.1, 0.0453857999068214 + 1.49599650170943j),
        (-3.0, 0.5, -0.610860487916103),
    ],
)
def test_coefficients_of_the_principal_flow_from_iterates(principal, eigenvalue, rate, value):
    assert principal.growth_of_iterates(eigenvalue, rate) == pytest.approx(np.real(value), abs=1e-13)
    assert principal.argument_over_product(eigenvalue, rate) == pytest.approx(np.imag(value), abs=1e-13)
    assert complex(principal.principal_flow_coefficient(eigenvalue, rate)) == pytest.approx(complex(value), abs=1e-13)


def test_errors_of_the_principal_flow_off_quadratics(general):
    rates = (0.02, 0.01, 0.005, 0.0025)
    plain = [general.strayed(0, 0, rate) for rate in rates]
    corrected = [general.strayed(1, 0, rate) for rate in rates]
    modified = [global_error(general.PROBLEM, general.START, rate, general.TIME) for rate in rates]
    np.testing.assert_allclose(modified, [9.870e-3, 2.334e-3, 5.709e-4, 1.413e-4], rtol=4e-4)
    np.testing.assert_allclose(plain, [1.734e-3, 3.584e-4, 8.217e-5, 1.972e-5], rtol=4e-4)
    np.testing.assert_allclose(corrected, [7.377e-4, 8.052e-5, 9.474e-6, 1.151e-6], rtol=6e-4)
    np.testing.assert_allclose(orders(plain), [2.27, 2.12, 2.06], atol=0.006)
    np.testing.assert_allclose(orders(corrected), [3.20, 3.09, 3.04], atol=0.006)


def test_gradient_descent_diverges_where_the_real_part_changes_sign(principal):
    first = {"eigenvalues": principal.TWICE, "start": (-0.35, -0.2), "steps": 1}
    for rate, sign in ((0.9, -1), (0.99, -1), (1.01, 1), (1.05, 1)):
        now, later = (
            principal.final_loss({**first, "learning_rate": rate, "steps": steps}, 1, None).value for steps in (20, 60)
        )
        assert np.sign(later - now) == sign
        assert np.sign(principal.growth(principal.TWICE[0], rate)) == sign

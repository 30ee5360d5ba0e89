"""Modified-loss closed forms on arrays, symbols and balls: shapes, kinds of result, limits and refusals."""

from math import inf, pi

import flint
import numpy as np
import pytest
import sympy
from flint import arb
from modified_loss_calls import GOOD

from quadlab.theory.modified_loss import (
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

h, curvature, b, x, y, p, q = sympy.symbols("h l b x y p q", real=True)
third, tenth = sympy.Rational(1, 3), sympy.Rational(1, 10)

NUMBERS_ONLY = {equal_loss_observable, product_model_flow_limit, product_model_drift_exponent}
COUNTS = ("stages", "batch_size")
SCALAR_FORMS = [
    regularization_rate, combined_penalty, modified_eigenvalue, principal_flow_coefficient,
    runge_kutta_modified_eigenvalue, heavy_ball_modified_eigenvalue, product_model_difference_ratio,
]  # fmt: skip
every_function = pytest.mark.parametrize("function", GOOD, ids=lambda function: function.__name__)


def converted(arguments, convert):
    def each(value):
        return [each(item) for item in value] if isinstance(value, list) else convert(value)

    return {name: value if name in COUNTS else each(value) for name, value in arguments.items()}


def elements(value):
    return list(np.asarray(value, dtype=object).flat)


@every_function
def test_rationals_stay_exact_and_agree_with_the_number(function):
    if function in NUMBERS_ONLY:
        return
    exact = elements(function(**converted(GOOD[function], sympy.Rational)))
    numbers = elements(function(**GOOD[function]))
    for expression, number in zip(exact, numbers, strict=True):
        assert not expression.atoms(sympy.Float)
        assert complex(number) == pytest.approx(complex(expression.evalf(30)), rel=1e-14, abs=0)


@every_function
def test_symbols_agree_after_substitution(function):
    if function in NUMBERS_ONLY:
        return
    known = {}

    def symbol(value):
        # one symbol for each value, so that symmetric arrays stay symmetric
        return known.setdefault(value, sympy.Symbol(f"v{len(known)}", real=True))

    found = elements(function(**converted(GOOD[function], symbol)))
    substitution = {name: sympy.Rational(value) for value, name in known.items()}
    exact = elements(function(**converted(GOOD[function], sympy.Rational)))
    for expression, expected in zip(found, exact, strict=True):
        assert expression.free_symbols
        assert not expression.atoms(sympy.Float)
        assert sympy.simplify(expression.subs(substitution) - expected) == 0


@every_function
def test_balls_enclose_the_exact_value(function):
    if function in NUMBERS_ONLY:
        return
    narrow = elements(function(**converted(GOOD[function], arb)))
    wide = elements(function(**converted(GOOD[function], lambda value: arb(value, 1e-4 * abs(value)))))
    exact = elements(function(**converted(GOOD[function], sympy.Rational)))
    for small, big, expression in zip(narrow, wide, exact, strict=True):
        value = arb(str(expression.evalf(40)))
        assert small.overlaps(value)
        assert small.rad() < 1e-14 * max(1, abs(small.mid()))
        assert big.contains(value)
        assert big.rad() < 0.1


@pytest.mark.parametrize("function", SCALAR_FORMS, ids=lambda function: function.__name__)
def test_scalar_forms_broadcast(function):
    good = GOOD[function]
    names = [name for name in good if name not in COUNTS]
    first, last = names[0], names[1]
    column, row = good[first] * np.array([[1.0], [2.0]]), good[last] * np.array([1.0, 2.0, 3.0])
    table = function(**(good | {first: column, last: row}))
    assert table.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        single = function(**(good | {first: column[i, 0], last: row[j]}))
        assert isinstance(single, np.generic)
        np.testing.assert_array_equal(table[i, j], single)
    symbols = function(**(good | {first: np.array([[curvature], [2 * curvature]]), last: [h, 2 * h, 3 * h]}))
    assert symbols.shape == (2, 3)
    assert symbols[1, 0] == function(**(good | {first: 2 * curvature, last: h}))


def test_truncations_broadcast():
    for order in (0, 1, 4):
        table = modified_eigenvalue([[1], [2], [3]], np.array([1, 2]), order)
        assert table.shape == (3, 2)
        assert table[2, 1] == modified_eigenvalue(3, 2, order)
        cube = heavy_ball_modified_eigenvalue([[1.0], [2.0]], [0.1, 0.2, 0.3], [[[0.5]], [[0.9]]], order)
        assert cube.shape == (2, 2, 3)
        assert cube[1, 0, 2] == heavy_ball_modified_eigenvalue(1.0, 0.3, 0.9, order)
    assert isinstance(modified_eigenvalue(1, 2, 0), np.float64)
    assert isinstance(heavy_ball_modified_eigenvalue(1, 2, 0.5, 0), np.float64)


def test_arrays_of_leading_axes():
    gradients = np.arange(24.0).reshape(2, 3, 4)
    found = minibatch_gradient_penalty(gradients, [[0.1], [0.2], [0.3]])
    assert found.shape == (3, 2)
    assert found[2, 1] == minibatch_gradient_penalty(gradients[1], 0.3)
    starts = np.array([[[1.0, 2.0]], [[3.0, -0.5]]])
    targets = np.array([0.5, 1.0, 2.0])
    for function in (product_model_flow_limit, product_model_drift_exponent):
        found = function(starts, 2.0, targets)
        assert found.shape[:2] == (2, 3)
        np.testing.assert_allclose(found[1, 2], function([3.0, -0.5], 2.0, 2.0), rtol=1e-15)
    found = product_model_noisy_loss(starts, [0.1, 0.2, 0.3], 2.0, targets)
    assert found[1, 2] == product_model_noisy_loss([3.0, -0.5], 0.3, 2.0, 2.0)


@pytest.mark.parametrize(
    ("rate_of", "pole", "beyond"),
    [
        (lambda eigenvalue: modified_eigenvalue(eigenvalue, 0.5), 2.0, 2.5),
        (lambda eigenvalue: runge_kutta_modified_eigenvalue(eigenvalue, 0.5, 1), 2.0, 2.5),
        (lambda eigenvalue: runge_kutta_modified_eigenvalue(eigenvalue, 0.5, 3), None, 3.5),
        (lambda eigenvalue: heavy_ball_modified_eigenvalue(eigenvalue, 0.5, 0.0), 2.0, 2.5),
        (lambda eigenvalue: heavy_ball_modified_eigenvalue(eigenvalue, 0.5, 0.25), None, 0.75),
    ],
)
def test_one_complex_entry_makes_the_whole_result_complex(rate_of, pole, beyond):
    real = rate_of([-3.0, 0.0, 0.25])
    assert real.dtype == np.float64
    mixed = rate_of([-3.0, 0.0, 0.25, beyond])
    assert mixed.dtype == np.complex128
    np.testing.assert_array_equal(mixed[:3].real, real)
    np.testing.assert_array_equal(mixed[:3].imag, 0)
    assert mixed[3].imag < 0
    if pole:
        assert rate_of(pole) == inf
        assert isinstance(rate_of(pole), np.float64)
        assert (rate_of([pole, beyond])[0].real, rate_of([pole, beyond])[0].imag) == (inf, 0)


def test_complex_results_hold_no_nan():
    found = modified_eigenvalue([15.0, 1.0, 0.0], [0.1, 0.0, 0.0])
    np.testing.assert_array_equal(found[1:], [1, 0])
    assert not np.signbit(found.imag[1:]).any()
    # pi / h overflows where -ln(z - 1) / h does not
    found = modified_eigenvalue(1.7e308, 1e-308)
    assert (found.imag, found.real) == (-inf, pytest.approx(-np.log(0.7) * 1e308))


def test_branch_of_the_principal_flow():
    found = principal_flow_coefficient([0.0, 1.0, 1.5, 2.0, -3.0], 1.0)
    assert found.dtype == np.complex128
    np.testing.assert_array_equal(found.imag, [0, 0, pi / 1.5, pi / 2, 0])
    assert (found[0], found[1].real, found[3].real) == (-1, -inf, 0)
    assert isinstance(principal_flow_coefficient(0, 0), np.complex128)


def test_penalties_overflow_to_infinity():
    assert combined_penalty(1.7e308, 1.7e308) == regularization_rate(1.7e308, 100) == inf


def test_limit_of_gradient_flow():
    curvatures = [-3.0, 0.0, 1e-300, 2.0, 1e300]
    np.testing.assert_array_equal(modified_eigenvalue(curvatures, 0), curvatures)
    np.testing.assert_array_equal(modified_eigenvalue(curvatures, 0, 5), curvatures)
    np.testing.assert_array_equal(principal_flow_coefficient(curvatures, 0), -1)
    np.testing.assert_array_equal(heavy_ball_modified_eigenvalue(curvatures, 0, 0.5), np.multiply(curvatures, 2))
    np.testing.assert_array_equal(heavy_ball_modified_eigenvalue(curvatures, 0, 0.5, 5), np.multiply(curvatures, 2))
    for stages in (1, 2, 3, 4):
        np.testing.assert_array_equal(runge_kutta_modified_eigenvalue(curvatures, 0, stages), curvatures)
        assert runge_kutta_modified_eigenvalue(curvature, 0, stages) == curvature
        assert runge_kutta_modified_eigenvalue(arb(3), arb(0), stages) == 3
    assert modified_eigenvalue(curvature, 0) == modified_eigenvalue(curvature, 0, 2) == curvature
    assert principal_flow_coefficient(curvature, 0) == -1
    assert (
        heavy_ball_modified_eigenvalue(curvature, 0, third)
        == heavy_ball_modified_eigenvalue(curvature, 0, third, 3)
        == curvature * 3 / 2
    )
    assert modified_eigenvalue(arb(3), arb(0)) == 3
    assert principal_flow_coefficient(arb(0), arb(3)) == -1
    np.testing.assert_array_equal(minibatch_gradient_penalty([[1.0]], 0), 0)


def test_steps_that_land_on_the_minimum():
    assert modified_eigenvalue(10, tenth) is sympy.oo
    assert principal_flow_coefficient(10, tenth) is -sympy.oo
    assert runge_kutta_modified_eigenvalue(10, tenth, 1) is sympy.oo
    assert heavy_ball_modified_eigenvalue(10, tenth, 0) is sympy.oo
    assert modified_eigenvalue(arb(2), arb(0.5)) == inf
    assert principal_flow_coefficient(arb(2), arb(0.5)) == -inf


@pytest.mark.parametrize("eigenvalue", [1e300, -1e300])
@pytest.mark.parametrize("rate", [1e300, 1e10, 1e-100, 1e-290])
def test_rates_where_powers_overflow(eigenvalue, rate):
    """There l~ is -ln(|h l|^s / s!) / h."""
    logarithm = np.log(abs(eigenvalue)) + np.log(rate)
    for stages in (1, 2, 3, 4):
        found = runge_kutta_modified_eigenvalue(eigenvalue, rate, stages)
        size = stages * logarithm - np.log([1, 1, 2, 6, 24][stages])
        assert found.real == pytest.approx(-size / rate, rel=1e-8, abs=0)
        assert np.iscomplexobj(found) == (eigenvalue > 0 and stages % 2 == 1)
    for found in (modified_eigenvalue(eigenvalue, rate), heavy_ball_modified_eigenvalue(eigenvalue, rate, 0.3)):
        assert found.real == pytest.approx(-logarithm / rate, rel=1e-8, abs=0)
        assert np.iscomplexobj(found) == (eigenvalue > 0)
    assert np.isfinite(principal_flow_coefficient(eigenvalue, rate))
    for order in (0, 1, 2, 3, 60):
        truncated = modified_eigenvalue(eigenvalue, rate, order)
        assert np.sign(truncated) == (-1 if eigenvalue < 0 and order % 2 == 0 else 1)
        truncated = heavy_ball_modified_eigenvalue(eigenvalue, rate, 0.9, order)
        assert np.sign(truncated) == (-1 if eigenvalue < 0 and order % 2 == 0 else 1)


@pytest.mark.parametrize("rate", [1e-300, 1e-10, 1e10, 1e290])
def test_tiny_eigenvalues_are_their_own_rate(rate):
    for eigenvalue in (1e-300, -1e-300):
        assert modified_eigenvalue(eigenvalue, rate) == modified_eigenvalue(eigenvalue, rate, 3)
        assert modified_eigenvalue(eigenvalue, rate) == pytest.approx(eigenvalue, rel=1e-9, abs=0)
        for stages in (1, 2, 3, 4):
            found = runge_kutta_modified_eigenvalue(eigenvalue, rate, stages)
            assert found == pytest.approx(eigenvalue, rel=1e-9, abs=0)
        found = heavy_ball_modified_eigenvalue(eigenvalue, rate, 0.5)
        assert found == pytest.approx(2 * eigenvalue, rel=1e-8, abs=0)


def test_symbolic_identities():
    assert sympy.expand(sympy.exp(-h * modified_eigenvalue(curvature, h)) - (1 - h * curvature)) == 0
    assert sympy.simplify(modified_eigenvalue(curvature, h) + curvature * principal_flow_coefficient(curvature, h)) == 0
    assert (
        sympy.expand(
            modified_eigenvalue(curvature, h, 2) - (curvature + h * curvature**2 / 2 + h**2 * curvature**3 / 3)
        )
        == 0
    )
    multiplier = sympy.exp(-h * heavy_ball_modified_eigenvalue(curvature, h, b))
    assert sympy.simplify(sympy.expand(multiplier**2 - (1 + b - h * curvature) * multiplier + b)) == 0
    for order in (2, 3, 6):
        exact = heavy_ball_modified_eigenvalue(sympy.Rational(3, 4), tenth, sympy.Rational(1, 4), order)
        found = heavy_ball_modified_eigenvalue(0.75, 0.1, 0.25, order)
        assert float(found) == pytest.approx(float(exact), rel=1e-14, abs=0)
    first_order = curvature / (1 - b) + h * curvature**2 * (1 + b) / (2 * (1 - b) ** 3)
    assert sympy.simplify(heavy_ball_modified_eigenvalue(curvature, h, b, 1) - first_order) == 0
    rest = sympy.series(modified_eigenvalue(curvature, h), h, 0, 4).removeO() - modified_eigenvalue(curvature, h, 3)
    assert sympy.expand(rest) == 0
    numeric = heavy_ball_modified_eigenvalue(curvature, h, third)
    for z in (sympy.Rational(-7, 2), sympy.Rational(1, 20), sympy.Rational(3, 2), sympy.Integer(3)):
        expected = heavy_ball_modified_eigenvalue(float(z), 1.0, 1 / 3)
        assert complex(numeric.subs({curvature: z, h: 1}).evalf(20)) == pytest.approx(complex(expected), rel=1e-13)
    for stages, coefficient in ((1, third * 3 / 2), (2, -third / 2), (3, third / 8), (4, -third / 40)):
        series = sympy.series(runge_kutta_modified_eigenvalue(curvature, h, stages), h, 0, stages + 1).removeO()
        assert sympy.expand(series - curvature - coefficient * h**stages * curvature ** (stages + 1)) == 0


def test_symbolic_arrays():
    hessian, slope = [[x, y], [y, b]], [p, q]
    found = gradient_flow_step_error(hessian, slope, h)
    assert sympy.expand(found[0] + h**2 / 2 * (x * p + y * q)) == 0
    found = kernel_gradient_penalty([x, y], [[p, q], [q, b]], h)
    assert sympy.expand(found - h * (p * x**2 + 2 * q * x * y + b * y**2)) == 0
    assert minibatch_gradient_penalty([[x], [y]], h) == h * (x**2 + y**2) / 8
    assert sympy.expand(product_model_difference_ratio(p, h, x) - (1 - (h * x * p) ** 2)) == 0
    assert sympy.expand(product_model_difference_ratio(p, h) - (1 - (h * p) ** 2)) == 0
    ratio = kernel_gradient_penalty([x], [[1]], h) / x**2
    assert ratio == h


def test_step_errors_from_the_taylor_series_of_the_flows():
    loss = (q - x * p * y) ** 2 / 2
    state = sympy.Matrix([x, y])
    slope = sympy.Matrix([loss]).jacobian(state).T
    hessian = slope.jacobian(state)
    tensor = [[[sympy.diff(loss, u, v, w) for w in state] for v in state] for u in state]

    def step_minus_flow(field, order):
        """Coefficient of h^order in theta - h grad E minus the time-h flow of the field."""
        flow, term = state, field
        for k in range(1, order + 1):
            flow, term = flow + h**k / sympy.factorial(k) * term, term.jacobian(state) * field
        return (state - h * slope - flow).applyfunc(lambda entry: sympy.expand(entry).coeff(h, order))

    modified = loss + h / 4 * (slope.T * slope)[0]
    better = -sympy.Matrix([modified]).jacobian(state).T
    assert step_minus_flow(better, 2) == sympy.zeros(2, 1)
    arguments = hessian.tolist(), slope.T.tolist()[0]
    plain = gradient_flow_step_error(*arguments, h)
    assert sympy.expand(step_minus_flow(-slope, 2) - sympy.Matrix(plain) / h**2) == sympy.zeros(2, 1)
    found = modified_flow_step_error(*arguments, tensor, h)
    assert sympy.expand(step_minus_flow(better, 3) - sympy.Matrix(found) / h**3) == sympy.zeros(2, 1)


def test_balls_that_may_reach_complex_rates_are_refused():
    for eigenvalue in (arb(2.5), arb(2, 1e-3), arb(1.9, 0.2)):
        for function in (modified_eigenvalue, principal_flow_coefficient):
            with pytest.raises(ValueError, match=r"learning_rate \* eigenvalue must, for balls, certainly be small"):
                function(eigenvalue, arb(0.5))
        with pytest.raises(ValueError, match=r"certainly be small enough .* got learning_rate 0.5"):
            runge_kutta_modified_eigenvalue(eigenvalue, arb(0.5), 1)
        assert modified_eigenvalue(eigenvalue, arb(0.5), 3).is_finite()
        assert runge_kutta_modified_eigenvalue(eigenvalue, arb(0.5), 4).is_finite()
    with pytest.raises(ValueError, match=r"must, for balls, certainly be at most \(1 - sqrt\(momentum\)\)\^2"):
        heavy_ball_modified_eigenvalue(arb(0.25, 0.01), arb(1), arb(0.25))


def test_wide_balls_around_zero():
    """The function is increasing: the ends of a ball that holds h l = 0 give its ends."""
    for function in (modified_eigenvalue, lambda *mode: -principal_flow_coefficient(*mode)):
        found = function(arb(0.25, 0.5), arb(1))
        for inside in (-0.2, 0.0, 0.7):
            assert found.contains(function(arb(inside), arb(1)))
    found = heavy_ball_modified_eigenvalue(arb(0, 0.2), arb(1), arb(0.25))
    for inside in (-0.19, 0.0, 0.19):
        assert found.contains(heavy_ball_modified_eigenvalue(arb(inside), arb(1), arb(0.25)))
    for steep in (-0.5, -5.0, -5e6):
        ball = heavy_ball_modified_eigenvalue(arb(steep), arb(1), arb(0.25))
        assert ball.rad() < 1e-13
        assert float(ball.mid()) == pytest.approx(float(heavy_ball_modified_eigenvalue(steep, 1, 0.25)), rel=1e-14)


def test_more_digits_of_balls():
    with flint.ctx.workprec(200):
        ball = modified_eigenvalue(arb(5), arb(1) / 10)
        assert ball.overlaps(10 * arb(2).log())
        assert ball.rad() < 1e-55

"""What every closed form of this layer owes: one function for numbers, symbols and balls, and refusals that say why."""

import inspect
from dataclasses import fields, is_dataclass
from fractions import Fraction

import flint
import numpy as np
import pytest
import sympy
from mpmath import mp
from variational_oracles import CASES

from quadlab.theory import stability, variational

DIGITS = 40
every_case = pytest.mark.parametrize("case", CASES, ids=str)
ONE_PER_FUNCTION = {case.function: case for case in CASES}
every_argument = pytest.mark.parametrize(
    ("function", "name"),
    [(function, name) for function, case in ONE_PER_FUNCTION.items() for name in case.arguments],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
FINITE_ONLY = ("learning_rate", "samples", "momentum", "relative_variance", "eigenvalue", "eigenvalues", "mean")


def converted(arguments, convert):
    return {
        name: [convert(x) for x in value] if isinstance(value, list) else convert(value)
        for name, value in arguments.items()
    }


def values(result):
    return [getattr(result, field.name) for field in fields(result)] if is_dataclass(result) else [result]


def to_symbol(x):
    return sympy.Rational(x.numerator, x.denominator)


def to_ball(x):
    return flint.arb(x.numerator) / x.denominator


def to_mpf(x):
    return mp.mpf(x.numerator) / x.denominator


@pytest.fixture(scope="module")
def reference():
    """Values of the oracles, computed once at 60 digits."""
    known = {}

    def look_up(case):
        if id(case) not in known:
            with mp.workdps(60):
                result = case.oracle(*converted(case.arguments, to_mpf).values())
            known[id(case)] = result if isinstance(result, list) else [result]
        return known[id(case)]

    return look_up


def test_every_closed_form_has_a_case():
    # edge_fraction takes an order and hessian_projections matrices: they are tested on their own.
    elsewhere = {"edge_fraction", "hessian_projections", "Projections", "EdgeCrossing"}
    public = {*variational.__all__, *stability.__all__} - elsewhere
    assert public == {function.__name__ for function in ONE_PER_FUNCTION}


@every_case
def test_argument_order_is_the_documented_one(case):
    assert list(inspect.signature(case.function).parameters) == list(case.arguments)


@every_case
def test_numbers_agree_with_the_oracle(case, reference):
    found = values(case.function(**converted(case.arguments, float)))
    np.testing.assert_allclose(found, np.array([float(x) for x in reference(case)]), rtol=5e-15)
    assert all(isinstance(value, float) for value in found)


@every_case
def test_rationals_stay_exact(case, reference):
    found = values(case.function(**converted(case.arguments, to_symbol)))
    for expression, expected in zip(found, reference(case), strict=True):
        assert not expression.atoms(sympy.Float)
        with mp.workdps(60):
            assert abs(mp.mpf(str(expression.evalf(DIGITS + 5))) / expected - 1) < mp.mpf(10) ** -DIGITS


@every_case
def test_symbols_evaluate_exactly_after_substitution(case, reference):
    symbols = {
        name: [sympy.Symbol(f"{name}{i}", real=True) for i in range(len(value))]
        if isinstance(value, list)
        else sympy.Symbol(name, real=True)
        for name, value in case.arguments.items()
    }
    substitution = {}
    for name, value in case.arguments.items():
        several = isinstance(value, list)
        pairs = zip(symbols[name], value, strict=True) if several else [(symbols[name], value)]
        substitution.update({symbol: to_symbol(x) for symbol, x in pairs})
    for expression, expected in zip(values(case.function(**symbols)), reference(case), strict=True):
        assert not expression.atoms(sympy.Float)
        with mp.workdps(60):
            found = mp.mpf(str(expression.subs(substitution).evalf(DIGITS + 5)))
            assert abs(found / expected - 1) < mp.mpf(10) ** -DIGITS


@every_case
def test_an_integer_next_to_a_symbol_stays_exact(case):
    for name, value in case.arguments.items():
        others = {other: 1 for other in case.arguments if other != name}
        if isinstance(value, list) or "degrees_of_freedom" in others or "momentum" in others:
            continue
        found = values(case.function(**{name: sympy.Symbol(name, positive=True)}, **others))
        assert not any(expression.atoms(sympy.Float) for expression in found)


@every_case
def test_balls_enclose_the_oracle_and_the_number(case, reference):
    balls = values(case.function(**converted(case.arguments, to_ball)))
    numbers = values(case.function(**converted(case.arguments, float)))
    for ball, number, expected in zip(balls, numbers, reference(case), strict=True):
        assert ball.rad() < 1e-13 * abs(ball)
        assert ball.overlaps(flint.arb(mp.nstr(expected, 50)))
        assert (ball * flint.arb(1, 1e-14)).contains(flint.arb(float(number)))


@every_case
def test_wide_balls_enclose_the_values_inside(case):
    widened = converted(case.arguments, to_ball)
    name = next(reversed([name for name in widened if name not in ("samples", "eigenvalues")]))
    center = widened[name]
    wide = [x * flint.arb(1, 1e-3) for x in center] if isinstance(center, list) else center * flint.arb(1, 1e-3)
    for share in (-0.9, 0.7):
        inside = [x * (1 + share * 1e-3) for x in center] if isinstance(center, list) else center * (1 + share * 1e-3)
        outer, inner = (values(case.function(**(widened | {name: value}))) for value in (wide, inside))
        assert all(big.contains(small) for big, small in zip(outer, inner, strict=True))


def around(name, value, count):
    return np.arange(1.0, count + 1) if name == "samples" else value * np.linspace(1, 1.01, count)


@every_case
def test_arguments_broadcast(case):
    """A column of the first argument times a row of the last gives the table of the single values."""
    arguments = converted(case.arguments, float)
    first, *_, last = [name for name, value in arguments.items() if not isinstance(value, list)] * 2
    column, row = around(first, arguments[first], 2), around(last, arguments[last], 3)
    row = row if last != first else column[:1]
    table = values(case.function(**(arguments | {last: row, first: column[:, None]})))
    for i, j in np.ndindex(table[0].shape):
        single = values(case.function(**(arguments | {last: row[j], first: column[i]})))
        np.testing.assert_allclose([entry[i, j] for entry in table], single, rtol=1e-15)
    assert all(entry.shape == (2, row.size) for entry in table)


@every_case
def test_lists_are_arrays(case):
    arguments = converted(case.arguments, float)
    scalars = [name for name, value in arguments.items() if not isinstance(value, list)]
    listed = case.function(**(arguments | {name: [arguments[name]] * 2 for name in scalars}))
    for entry, single in zip(values(listed), values(case.function(**arguments)), strict=True):
        np.testing.assert_array_equal(entry, [single, single])


def refusal(function, name, bad):
    good = converted(ONE_PER_FUNCTION[function].arguments, float)
    with pytest.raises(ValueError, match=rf"^{name} must be ") as caught:
        function(**(good | {name: bad}))
    return str(caught.value)


def admissible(function, name):
    value = ONE_PER_FUNCTION[function].arguments[name]
    return float(value[0] if isinstance(value, list) else value)


@every_argument
def test_not_a_number_is_refused(function, name):
    assert refusal(function, name, float("nan")).endswith(", got nan")
    assert refusal(function, name, [admissible(function, name), float("nan")]).endswith(", got nan")
    assert refusal(function, name, sympy.nan).endswith(", got nan")
    assert refusal(function, name, flint.arb("nan")).endswith(", got nan")


@every_argument
def test_negative_values_are_refused(function, name):
    if name in ("gradient", "mean"):
        assert refusal(function, name, -np.inf).endswith(", got -inf")
        return
    assert refusal(function, name, -0.25).endswith(", got -0.25")
    assert refusal(function, name, [admissible(function, name), -2.5]).endswith(", got -2.5")
    assert refusal(function, name, sympy.Rational(-1, 4)).endswith(", got -1/4")
    assert refusal(function, name, flint.arb(-0.25)).endswith(", got -0.250000000000000")


@every_argument
def test_infinity_is_refused_unless_it_has_a_limit(function, name):
    if name in FINITE_ONLY:
        assert refusal(function, name, np.inf).endswith(", got inf")
        assert refusal(function, name, sympy.oo).endswith(", got oo")


@pytest.mark.parametrize("function", [f for f, c in ONE_PER_FUNCTION.items() if "samples" in c.arguments])
@pytest.mark.parametrize("bad", [0, -1, 2.5, [1, 2.5], sympy.Rational(5, 2), flint.arb(2.5)], ids=str)
def test_samples_are_counted(function, bad):
    assert "samples must be a whole number >= 1" in refusal(function, "samples", bad)


@pytest.mark.parametrize("function", [f for f, c in ONE_PER_FUNCTION.items() if len(c.arguments) > 1])
def test_shape_mismatch_names_arguments_and_shapes(function):
    arguments = converted(ONE_PER_FUNCTION[function].arguments, float)
    first, second = [name for name in arguments if name != "eigenvalue"][:2]
    bad = arguments | {first: [arguments[first]] * 2, second: [arguments[second]] * 3}
    if "gradient" in arguments:
        bad = arguments | {"eigenvalues": [1.0, 1.0], "gradient": [1.0, 1.0, 1.0]}
        first, second = "eigenvalues", "gradient"
    with pytest.raises(ValueError, match=rf"^shapes do not broadcast: .*{first} \(2,\).*{second} \(3,\)"):
        function(**bad)


def test_expressions_and_balls_do_not_mix():
    with pytest.raises(ValueError, match="do not mix"):
        variational.descent_sharpness_limit(sympy.Symbol("z"), flint.arb(1))


def test_fractions_are_numbers():
    assert variational.descent_sharpness_limit(Fraction(1), Fraction(1)) == variational.descent_sharpness_limit(1, 1)
    assert variational.descent_sharpness_limit(Fraction(1, 3), sympy.Integer(1)).is_number

"""Formulas from text: one meaning on numbers, symbols and balls, and no way to run anything else."""

import ast
import inspect
import pickle
import sys
from fractions import Fraction

import flint
import numpy as np
import pytest
import sympy

from quadlab.theory import elementary
from quadlab.verify.formula import NotAlgebraic, degrees, parse

x, y = sympy.symbols("x y", real=True)

ONE_VARIABLE = [
    "x",
    "1/3",
    "-x**2 + 3*x - 1/7",
    "+x / (1 + x) - 0.1",
    "2 * sqrt(x/3) * sinh(asinh(3/sqrt(x/3)) / 3)",
    "erf(x) + erfc(x/2) * exp(-x) + log(x) * cos(x) - sin(x) / cosh(x)",
    "where(x < 1, x, 2 - x)",
    "max(x, 1, 2.5) - min(x, 0.25) + abs(x - 3)",
    "pi * x - e ** x",
    "where(0 < x <= 2 and not x == 1 or x > 5, 1, 0)",
    "x ** 0.5 + x ** -2",
    "5. * .5e1 + 1_000 * x",
]


@pytest.mark.parametrize("text", ONE_VARIABLE)
@pytest.mark.parametrize("point", [Fraction(3, 8), Fraction(5, 4), Fraction(3), Fraction(11, 2)])
def test_a_formula_means_the_same_on_numbers_symbols_and_balls(text, point):
    formula = parse(text, ["x"])
    reference = float(eval(text, {name: getattr(elementary, name) for name in elementary.__all__}
                           | {"x": np.float64(float(point)), "pi": np.pi, "e": np.e}))  # fmt: skip
    exact = formula(x=x).subs(x, sympy.Rational(point.numerator, point.denominator))
    ball = formula(x=flint.arb(flint.fmpq(point.numerator, point.denominator)))
    for value in (formula(x=float(point)), float(exact), float(ball)):
        assert value == pytest.approx(reference, rel=1e-13, abs=1e-13)
    array = formula(x=np.full((2, 3), float(point)))
    assert np.allclose(array, reference, rtol=1e-13, atol=1e-13)


def test_literals_are_exact_as_soon_as_a_value_is():
    assert parse("1/3 + 0.1", ["x"])(x=x) == sympy.Rational(13, 30)
    assert parse("x/3", ["x", "y"])(x=1, y=y) == sympy.Rational(1, 3)
    assert parse("0.1 * x", ["x"])(x=x).atoms(sympy.Float) == set()
    with flint.ctx.workprec(200):
        assert parse("1/3 + 0.1", ["x"])(x=flint.arb(0)).rad() < flint.arb("1e-58")
        assert parse("1/3 + 0.1", ["x"])(x=flint.arb(0)).contains(flint.fmpq(13, 30))
    assert isinstance(parse("1/3", [])(), np.float64)
    assert parse("2 ** 10 * x", ["x"])(x=x) == 1024 * x


def test_numbers_stay_real_numbers():
    with pytest.warns(RuntimeWarning):
        assert np.isnan(parse("(0 - 8) ** x", ["x"])(x=1 / 3))
    assert parse("2 ** x", ["x"])(x=np.array([-1, 2])).tolist() == [0.5, 4.0]
    assert parse("x / y", ["x", "y"])(x=1, y=np.array([3])) == 1 / 3
    assert parse("x ** y", ["x", "y"])(x=2, y=np.array([-1])) == 0.5


def test_arrays_of_symbols_are_symbolic():
    values = parse("x / 3 + 0.5", ["x"])(x=np.array([x, 1], dtype=object))
    assert list(values) == [x / 3 + sympy.Rational(1, 2), sympy.Rational(5, 6)]
    assert list(parse("x / y", ["x", "y"])(np.array([1, x], dtype=object), 3)) == [sympy.Rational(1, 3), x / 3]
    clipped = parse("max(x, 2) + where(x < 1 and y > 0, 1, 0)", ["x", "y"])(np.array([x, 1], dtype=object), y)
    assert clipped[1] == 2
    assert clipped[0] == sympy.Max(2, x) + sympy.Piecewise((1, sympy.And(x < 1, y > 0)), (0, True))
    balls = parse("x / y", ["x", "y"])(np.array([1, flint.arb(2)], dtype=object), np.array([3, 3]))
    assert all(ball.contains(flint.fmpq(k, 3)) and not ball.is_exact() for k, ball in enumerate(balls, 1))


def test_relations():
    stable = parse("learning_rate * eigenvalue < 2", ["learning_rate", "eigenvalue"])
    assert stable(learning_rate=0.1, eigenvalue=np.array([10.0, 20.0, 30.0])).tolist() == [True, False, False]
    assert stable(learning_rate=x, eigenvalue=y) == sympy.Lt(x * y, 2)
    between = parse("0 < x <= 1 and not x == 0.5", ["x"])
    assert between(x=x) == sympy.And(sympy.Lt(0, x), x <= 1, sympy.Ne(x, sympy.Rational(1, 2)))
    assert between(x=np.array([0.0, 0.5, 1.0])).tolist() == [False, False, True]
    assert parse("x < 1 or x != x", ["x"])(x=2.0) == False  # noqa: E712 (NumPy's)


def test_an_undecided_comparison_of_balls_is_not_taken_for_no():
    clipped = parse("where(x < 1, x, 2)", ["x"])
    assert clipped(x=flint.arb(0, 0.5)).contains(flint.arb(0.25))
    assert clipped(x=flint.arb(3, 0.5)) == 2
    with pytest.raises(ValueError, match="overlap"):
        clipped(x=flint.arb(1, 0.5))
    with pytest.raises(ValueError, match="overlap"):
        parse("not x < 1", ["x"])(x=flint.arb(1, 0.5))
    with pytest.raises(ValueError, match="overlap"):
        parse("x == 1", ["x"])(x=flint.arb(1, 0.5))


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')", "__import__", "x.real", "x.__class__", "().__class__", "lambda: 1", "lambda x: x",
        "x[0]", "'x'", '"x"', "(y := 2)", "9**9**9", "9**9**9**9", "(9**9)**(9**9)", "2**1001", "2**-1001",
        "x**(10**5)", "x**exp(exp(9))", "[x for x in x]", "{x}", "x if x else 1", "x, 1", "(x, 1)", "f(x)",
        "sqrt()", "sqrt(x, x)", "sqrt(x=x)", "sqrt(x, y=x)", "sqrt(*x)", "max(x)", "where(x, 1, 2)", "sqrt",
        "exp(sqrt)",        "x % 2", "x // 2", "x @ x", "x << 2", "x & 1", "~x", "x ^ 2", "x is 1",
        "x in x", "x = 1", "x == ",
        "True", "None", "...", "2j", "1e999", "1e-999", "1e-999999999", "9" * 400, "0x" + "f" * 400, "9" * 5000,
        "(x < 1) + 1", "1 < (x < 2)", "x and 1", "not x", "await x", "yield", "import os", "x; x", "", "  ",
        "x # y", "x \\\n", "print(x)", "eval(x)", "f'{x}'", "b''", "\x00", "x<1or x<2", "1if x else 2", "x y",
        "(" * 250 + "x" + ")" * 250, "-" * 9000 + "x", "+".join(["x"] * 3000),
        "+".join(["x"] * 200), "x" * 10_001, "((((x",
    ],
)  # fmt: skip
def test_whatever_is_not_arithmetic_is_refused(text):
    with pytest.raises(ValueError, match=r"not understood|at most|deep"):
        parse(text, ["x"])


def test_bombs_hidden_behind_variables_are_defused():
    with pytest.raises(ValueError, match="too large"):
        parse("9 ** (x**0 * 10**9)", ["x"])(x=x)
    with pytest.raises(ValueError, match="too large"):
        parse("((9*x)**1000)**(x - x + 10**6)", ["x"])(x=x)
    with np.errstate(over="ignore"):
        assert parse("((x**1000)**1000)**1000", ["x"])(x=9) == np.inf
    chained = "x"
    for _ in range(45):
        chained = f"where(0 < {chained} < 1, x, x)"
    assert parse(chained, ["x"])(x=0.5) == 0.5
    assert parse("0e999999999 + x", ["x"])(x=x) == x
    assert parse("(1 - x) ** y", ["x", "y"])(x=x, y=sympy.Integer(5000)) == (1 - x) ** 5000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2 / learning_rat", r"'learning_rat' at column 5 \(did you mean learning_rate\?\).*eigenvalue, pi, e"),
        ("1 + sqr(eigenvalue)", r"'sqr' at column 5 \(did you mean sqrt\?\)"),
        ("eigenvalue ^ 2", r"'\^' at column 12 \(write \*\* for a power\)"),
        ("  1 + eigenvalue.real", r"'eigenvalue.real' at column 7 "),
        ("1 +\n (eigenvalue % 2)", r"'%' at column 18 "),
        ("eigenvalue" + " " * 10_000, r"at most 10000 characters, got 10010"),
        ("1 + ", r"the syntax at column \d+ "),
        ("1 + (eigenvalue < 2)", r"column 6 \(a number must stand here\)"),
        ("sqrt(1, 2)", r"sqrt takes 1 argument\)"),
        ("2 ** 1001", r"'1001' at column 6 \(constant exponents must be at most 1000 in size\)"),
    ],
)
def test_errors_name_what_where_and_what_instead(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text, ["learning_rate", "eigenvalue"])


def test_a_formula_is_a_value():
    formula = parse("x * e", ["x", "e"])
    assert formula(x=2.0, e=3.0) == 6.0
    assert formula == parse("x * e", ("x", "e"))
    assert pickle.loads(pickle.dumps(formula))(x=2.0, e=3.0) == 6.0
    with pytest.raises(TypeError, match="needs x, e; got x"):
        formula(x=1.0)


def nested(text, times):
    inner = "x"
    for _ in range(times):
        inner = text.replace("@", inner)
    return inner


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<".join(["1"] * 5000), False),
        ("<=".join(["1.5"] * 2000), True),
        (" and ".join(["x<1"] * 1100), True),
        ("max(" + ",".join(["max(" + ",".join(["1.5"] * 39) + ")"] * 50) + ")", 1.5),
        (nested("where(@ < 1, x, 2)", 49), 0.5),
        (nested("-(@)", 94), 0.5),
    ],
)
def test_long_formulas_are_read_in_one_pass(text, value, monkeypatch):
    with monkeypatch.context() as patched:
        # each looks at the whole text again
        patched.setattr(ast, "get_source_segment", None)
        patched.setattr(ast, "walk", None)
        formula = parse(text, ["x"])
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(len(inspect.stack()) + 40)
        number, ball = formula(x=0.5), formula(x=flint.arb(0.5))
    finally:
        sys.setrecursionlimit(limit)
    assert number == ball == value


SYMBOLS_DECLINE = {
    "x**2.001": "root of degree 1000; at most 12",
    "1 - abs(x * y)**2.001": "root of degree 1000",
    "x**(y + 0.001)": "root of degree 1000",
    "exp(2.001 * log(x))": "root of degree 1000",
    "(x**0.1)**0.1": "root of degree 100",
    nested("(@**2 + y)", 20): "19 functions, powers or chains inside each other; symbols take at most 8",
    nested("(@)**2", 60): "59 functions, powers or chains",
    "((x + y)**1000)**1000": "degree 1000000; at most 10000",
    "((1 + 1e-300)**900)**900 * x": "too large to be computed exactly",
    "where(x / (x - x) < 1, x, 2)": "not a real number, so it cannot be compared",
    "max(x / (x - x), 1)": "not a real number, so it cannot be compared",
    "min(sqrt(-x), 1)": "not a real number, so it cannot be compared",
    nested("where(0 < @ < 1, x, y)", 9): "inside each other; symbols take at most 8",
    nested("sqrt(1 - @)", 25): "25 functions, powers or chains inside each other",
    "max(" + ",".join(f"{k} * x - y * {k * k}" for k in range(50)) + ")": "2500 comparisons; symbols take at most 400",
    "where(" + "<".join(["x"] * 4900) + ", x, y)": "symbols take at most 1000",
}


@pytest.mark.parametrize(("text", "reason"), SYMBOLS_DECLINE.items())
def test_what_sympy_would_not_survive_is_for_numbers_and_balls(text, reason):
    formula = parse(text, ["x", "y"])
    positive = sympy.symbols("x y", positive=True)
    with pytest.raises(NotAlgebraic, match=reason):
        formula(*positive)
    with pytest.raises(NotAlgebraic, match=reason):
        formula(np.array([positive[0], 1], dtype=object), positive[1])
    with np.errstate(all="ignore"):
        number = formula(0.7, 0.3)
    if np.isfinite(number) and "x - x" not in text and "1 - @" not in text:
        assert abs(formula(flint.arb(0.7), flint.arb(0.3)) - flint.arb(float(number))) < 1e-9 * (1 + abs(number))


def test_exponents_that_are_cheap_stay_exact():
    p = sympy.Symbol("p", positive=True)
    assert parse("x**0.5 + x**1.5 + x**2 + x**-0.25", ["x"])(p) == sympy.sqrt(p) + p * sympy.sqrt(p) + p**2 + 1 / p ** (
        sympy.Rational(1, 4)
    )
    assert parse("e**(0.001 * x)", ["x"])(p) == sympy.exp(p / 1000)
    assert degrees(sympy.sqrt(p**3 + 1) / (p - 1) + sympy.exp(p)) == (3, 1)


@pytest.mark.parametrize(
    "text",
    [
        "exp(exp(exp(1e300)))", "x + exp(710)", "exp(-1e300) * x", "erfc(1e300)", "where(0/0 < 1, x, 2)", "x * (1/0)",
        "log(0)", "sqrt(-1) * x", "(0 - 8)**(1/3)", "max(1, 1e300 * 1e300)", "((9**9)**9)**9", "(1e-300)**1000 + x",
    ],
)  # fmt: skip
def test_constant_parts_are_numbers_of_double_precision(text):
    with pytest.raises(ValueError, match="must be a number in the range of double precision"):
        parse(text, ["x"])


def test_names_are_what_python_makes_of_them():
    assert parse("\ufb01t * \uff58", ["\ufb01t", "x"])(2.0, 3.0) == 6.0
    values = {"\ufb01t": 2.0, "\uff58": 3.0}
    assert parse("fit * x", tuple(values))(**values) == 6.0
    with pytest.raises(ValueError, match="must differ after"):
        parse("x", ["x", "\uff58"])
    assert parse("12_000.5", [])() == 12_000.5
    for digits in ("\uff11\uff12", "\u0661", "1\u0662", "1__2", "1_"):
        with pytest.raises(ValueError, match="not understood"):
            parse(digits, ["x"])

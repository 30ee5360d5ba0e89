"""Modified equations: against exact iterates, elementary differentials, and the steps they must reproduce."""

import itertools
from math import factorial

import mpmath
import numpy as np
import pytest
import sympy
from sympy import Rational

from quadlab import derive
from quadlab.derive.trees import graft, tree_name, vertices

A, B, H = sympy.symbols("a b h")
PRODUCT = (Rational(3, 5) - A * B) ** 2 / 2
FIELD = [-sympy.diff(PRODUCT, A), -sympy.diff(PRODUCT, B)]
START = {A: Rational(14, 5), B: Rational(7, 2)}
CUBIC_FIELD = [A**2 - B + A * B, B**2 * A - 2 * A + 1]

# Hairer, Lubich, Wanner, chapter IX, extended to f_5
COEFFICIENTS = {
    "f": 1,
    "f'f": Rational(-1, 2),
    "f'f'f": Rational(1, 3), "f''(f,f)": Rational(1, 12),
    "f'f'f'f": Rational(-1, 4), "f'f''(f,f)": Rational(-1, 12), "f''(f,f'f)": Rational(-1, 12), "f'''(f,f,f)": 0,
    "f'f'f'f'f": Rational(1, 5), "f'f'f''(f,f)": Rational(3, 40), "f'f''(f,f'f)": Rational(1, 10),
    "f'f'''(f,f,f)": Rational(1, 180), "f''(f'f,f'f)": Rational(1, 60), "f''(f,f'f'f)": Rational(1, 20),
    "f''(f,f''(f,f))": Rational(1, 120), "f'''(f,f,f'f)": Rational(-1, 120), "f''''(f,f,f,f)": Rational(-1, 720),
    "f'f'f'f'f'f": Rational(-1, 6), "f'f'f'f''(f,f)": Rational(-1, 15), "f'f'f''(f,f'f)": Rational(-1, 10),
    "f'f'f'''(f,f,f)": Rational(-1, 120), "f'f''(f'f,f'f)": Rational(-1, 40), "f'f''(f,f'f'f)": Rational(-1, 15),
    "f'f''(f,f''(f,f))": Rational(-1, 60), "f'f''''(f,f,f,f)": Rational(1, 720), "f''(f'f,f'f'f)": Rational(-1, 60),
    "f''(f,f'f'f'f)": Rational(-1, 30), "f''(f,f'f''(f,f))": Rational(-1, 120),
    "f''(f,f'''(f,f,f))": Rational(1, 360), "f'''(f,f'f,f'f)": Rational(1, 120), "f'''(f,f,f'f'f)": Rational(1, 120),
    "f'''(f,f,f''(f,f))": Rational(1, 240), "f''''(f,f,f,f'f)": Rational(1, 360), "f'''''(f,f,f,f,f)": 0,
    "f''(f,f''(f,f'f))": 0, "f''(f'f,f''(f,f))": 0, "f'f'''(f,f,f'f)": 0,
}  # fmt: skip


def by_logarithm_of_the_shift(field, start, order):
    """f_0 ... f_order at a point, from log(1 + Delta) on Euler iterates, which are polynomials in the step there."""
    step = sympy.Poly(H, H)
    iterates = [{symbol: sympy.Poly(value, H) for symbol, value in start.items()}]
    fields = dict(zip(start, (sympy.Poly(f, *start) for f in field), strict=True))

    def at(polynomial, values):
        terms = (
            coefficient * sympy.prod([values[s] ** power for s, power in zip(start, powers, strict=True)])
            for powers, coefficient in polynomial.terms()
        )
        return sum(terms, sympy.Poly(0, H))

    for _ in range(order + 1):
        now = iterates[-1]
        iterates.append({symbol: y + step * at(fields[symbol], now) for symbol, y in now.items()})
    columns = []
    for symbol in start:
        values = [row[symbol] for row in iterates]
        total = sympy.Poly(0, H)
        for n in range(1, order + 2):
            values = [later - earlier for earlier, later in itertools.pairwise(values)]
            total += values[0] * Rational((-1) ** (n - 1), n)
        columns.append([total.coeff_monomial(H ** (k + 1)) for k in range(order + 1)])
    return [list(row) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("field", [FIELD, CUBIC_FIELD], ids=["product model", "no gradient"])
@pytest.mark.parametrize("start", [{A: Rational(14, 5), B: Rational(7, 2)}, {A: Rational(-1, 3), B: 2}])
def test_agrees_with_the_logarithm_of_the_shift(field, start):
    found = derive.modified_equation(field, [A, B], 4)
    assert [list(f.subs(start)) for f in found] == by_logarithm_of_the_shift(field, start, 4)


def test_coefficients_of_elementary_differentials_to_fifth_order():
    found = {tree_name(tree): c for terms in derive.elementary_differentials(5) for tree, c in terms.items()}
    assert found == COEFFICIENTS


@pytest.mark.parametrize("momentum", [0, Rational(1, 3)])
@pytest.mark.parametrize("field", [FIELD, CUBIC_FIELD], ids=["product model", "no gradient"])
def test_fields_are_sums_of_elementary_differentials(field, momentum):
    fields = derive.modified_equation(field, [A, B], 3, momentum)
    for expected, terms in zip(fields, derive.elementary_differentials(3, momentum), strict=True):
        total = sum(
            (c * derive.elementary_differential(tree, field, [A, B]) for tree, c in terms.items()), sympy.zeros(2, 1)
        )
        assert (total - expected).expand().is_zero_matrix


def test_tall_and_bushy_trees():
    terms = {tree: c for level in derive.elementary_differentials(8) for tree, c in level.items()}
    tall, bushy = (), ()
    for n in range(1, 10):
        assert terms[tall] == Rational((-1) ** (n - 1), n)
        tall = (tall,)
    for k in range(2, 9):
        bushy = ((),) * k
        assert terms[bushy] == sympy.bernoulli(k) / factorial(k)


def test_every_rooted_tree_appears():
    # 1, 1, 2, 4, 9, 20, 48 rooted trees with 1, 2, ... vertices
    levels = derive.elementary_differentials(6)
    assert [len(terms) for terms in levels] == [1, 1, 2, 4, 9, 20, 48]
    assert all(vertices(tree) == k + 1 for k, terms in enumerate(levels) for tree in terms)


def test_grafting_is_the_derivative():
    tree, branch = ((), ((),)), ((),)
    field = sympy.Matrix(CUBIC_FIELD)
    left = derive.elementary_differential(tree, field, [A, B]).jacobian([A, B])
    left *= derive.elementary_differential(branch, field, [A, B])
    right = sum((derive.elementary_differential(t, field, [A, B]) for t in graft(branch, tree)), sympy.zeros(2, 1))
    assert (left - right).expand().is_zero_matrix


def test_linear_fields_give_the_logarithm():
    y = sympy.Symbol("y")
    fields = derive.modified_equation([-y], [y], 8)
    assert [f[0] for f in fields] == [-y / (k + 1) for k in range(9)]


def test_known_series():
    y = sympy.Symbol("y")
    coefficients = [1, -1, Rational(3, 2), Rational(-8, 3), Rational(31, 6), Rational(-157, 15), Rational(649, 30)]
    squared = derive.modified_equation([y**2], [y], 7)
    assert [f[0] for f in squared[:7]] == [c * y ** (k + 2) for k, c in enumerate(coefficients)]
    assert squared[7][0] == Rational(-9427, 210) * y**9
    cosine = derive.modified_equation([sympy.cos(y)], [y], 4)
    assert [f[0].subs(y, 0) for f in cosine] == [1, 0, Rational(-1, 12), 0, Rational(1, 144)]


def test_product_model_in_exact_numbers():
    at_one, at_start = {A: 1, B: 1}, START
    fields = derive.modified_equation(FIELD, [A, B], 5)
    numerators = (-2, -12, -106, -1104, -62612, -148652)
    denominators = (5, 25, 125, 625, 15625, 15625)
    for f, p, q in zip(fields, numerators, denominators, strict=True):
        assert list(f.subs(at_one)) == [Rational(p, q)] * 2
    golden = [
        (-32.2, -25.76), (-441.945, -406.8792), (-10040.40758, -9103.589152), (-270784.10073645, -244831.34746476),
        (-7943168.1256430, -7148046.2798785), (-241631132.12980, -216379505.44665),
    ]  # fmt: skip
    for f, expected in zip(fields, golden, strict=True):
        assert [float(value) for value in f.subs(at_start)] == pytest.approx(expected, rel=1e-13)


def test_undefined_functions_and_parameters_are_welcome():
    y, k = sympy.symbols("y k")
    f = sympy.Function("f")(y)
    second = derive.modified_equation([k * f], [y], 2)[2][0]
    assert sympy.expand(second - k**3 * (f * f.diff(y) ** 2 / 3 + f**2 * f.diff(y, 2) / 12)) == 0


@pytest.mark.parametrize(("momentum", "order"), [(0.5, 0), (0, 1), (0.5, 2)])
def test_the_flow_satisfies_the_two_step_equation_to_its_order(momentum, order):
    """What the truncated flow leaves of y+ - y - b (y - y-) = h f(y) shrinks by 2^(order + 2) when h is halved."""
    y = sympy.Symbol("y")
    fields = derive.modified_equation([sympy.sin(y) + y**2 / 2], [y], order, momentum)
    evaluate = sympy.lambdify((y, H), sum(H**k * f[0] for k, f in enumerate(fields)), "mpmath")
    start, left = mpmath.mpf(2) / 3, []
    with mpmath.workdps(30):
        for step in (mpmath.mpf(1) / 256, mpmath.mpf(1) / 512):
            ahead, back = (
                mpmath.odefun(lambda _, z, sign=sign, step=step: sign * evaluate(z, step), 0, start)(step)
                for sign in (1, -1)
            )
            left.append(ahead - start - momentum * (start - back) - step * evaluate(start, 0) * (1 - momentum))
    assert float(mpmath.log(left[0] / left[1], 2)) == pytest.approx(order + 2, abs=0.1)


@pytest.mark.parametrize("momentum", [0, Rational(1, 3), 0.5, sympy.Symbol("c"), sympy.sqrt(sympy.Symbol("c"))])
@pytest.mark.parametrize("factor", [1, sympy.Symbol("k"), sympy.sqrt(2), 0.25, 1 / sympy.Symbol("k"), sympy.pi])
def test_polynomials_and_other_expressions_give_the_same(momentum, factor):
    """A zero in the disguise of a sine keeps the general way of computing from being passed over."""
    hidden, y = sympy.Symbol("hidden"), sympy.Symbol("y")
    plain = derive.modified_equation([factor * y**2 - A, A * y], [y, A], 2, momentum)
    general = derive.modified_equation([factor * y**2 - A + sympy.sin(hidden), A * y], [y, A], 2, momentum)
    for one, other in zip(plain, general, strict=True):
        assert not any(sympy.expand(entry) for entry in (one - other.subs(hidden, 0)))


def test_heavy_ball_on_a_line_is_a_legendre_series():
    y, b = sympy.symbols("y b")
    for k, f in enumerate(derive.modified_equation([-y], [y], 4, b)):
        memory = sympy.legendre(k, (1 + b) / (1 - b)) / ((k + 1) * (1 - b) ** (k + 1))
        assert sympy.simplify(f[0] + memory * y) == 0


def test_the_second_order_field_is_no_gradient_but_the_first_is():
    fields = derive.modified_equation(FIELD, [A, B], 2)
    curls = [sympy.expand(sympy.diff(f[1], A) - sympy.diff(f[0], B)) for f in fields]
    assert curls[:2] == [0, 0]
    r, s, d = A * B - Rational(3, 5), A**2 + B**2, A**2 - B**2
    assert sympy.expand(curls[2] + d * s * r / 3) == 0


def test_modified_loss_has_the_first_two_fields_as_its_gradient():
    loss = sympy.cosh(A - B**2) + A**4 * B
    field = [-sympy.diff(loss, A), -sympy.diff(loss, B)]
    f0, f1 = derive.modified_equation(field, [A, B], 1)
    modified = derive.modified_loss(loss, (A, B), H)
    for k, symbol in enumerate((A, B)):
        assert sympy.simplify(sympy.diff(modified, symbol) + f0[k] + H * f1[k]) == 0
    product = derive.modified_loss(PRODUCT, (A, B), H)
    assert sympy.expand(product - PRODUCT * (1 + H * (A**2 + B**2) / 2)) == 0
    assert derive.modified_loss(PRODUCT, (A, B), 0) == PRODUCT


def test_a_column_matrix_is_as_good_as_a_sequence():
    column = derive.modified_equation(sympy.Matrix(FIELD), sympy.Matrix([A, B]), 1)
    assert column == derive.modified_equation(FIELD, (A, B), 1)


def test_trees_are_written_in_the_notation_of_the_literature():
    levels = derive.elementary_differentials(2, sympy.Rational(1, 2))
    assert derive.written_out(levels[1]) == "-6 f'f"
    assert derive.written_out({(): 0}) == "0"
    assert derive.written_out(derive.elementary_differentials(1, sympy.Symbol("b"))[1]).endswith("f'f")


t = sympy.Symbol("t")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([A**2], [A], -1), "order must be a whole number >= 0, got -1"),
        (([A**2], [A], True), "order must be a whole number >= 0, got True"),
        (([A**2], [A], 1.5), "order must be a whole number >= 0, got 1.5"),
        (([A, B], [A], 1), "vector_field must have one component for each of the 1 state symbols, got 2"),
        (([A, B], [A, A], 1), "state must be distinct symbols, got a, a"),
        (([], [], 1), "state must be a non-empty sequence of symbols"),
        (([A], ["a"], 1), "state must be a non-empty sequence of symbols"),
        (([A], A, 1), "state must be a sequence, got a"),
        ((["a**2"], [A], 1), "vector_field must be a SymPy expression, got 'a\\*\\*2'"),
        (([sympy.Lt(A, 1)], [A], 1), "vector_field must be a SymPy expression"),
        (([sympy.Abs(A)], [A], 1), r"vector_field must be smooth, got Abs\(a\)"),
        (([sympy.Max(A, 0)], [A], 1), r"vector_field must be smooth, got Max\(0, a\)"),
        (([sympy.Piecewise((A, A > 0), (0, True))], [A], 1), "vector_field must be smooth, got Piecewise"),
        (([sympy.sign(A)], [A], 1), "vector_field must be smooth, got sign"),
        (([A * t], [A], 1), "vector_field must not depend on time, got t; make time a state symbol"),
        (([sympy.Function("a")(t)], [A], 1), "vector_field must be written in the state symbols, got the function a"),
        (([sympy.Symbol("a", real=True)], [A], 1), "another symbol called a"),
        (([B], [A], 1), "vector_field must depend on the state a, got only b"),
        (([A], [A], 1, 1), r"momentum must be in \[0, 1\), got 1"),
        (([A], [A], 1, -0.1), r"momentum must be in \[0, 1\), got -0.1"),
        (([A], [A], 1, A), "momentum must not depend on the state a, got a"),
        (([sympy.sqrt(A**2)], [A], 1), r"vector_field must be smooth, got Abs\(a\)"),
        (([sympy.frac(A)], [A], 1), "vector_field must be smooth, got frac"),
        (([A * sympy.oo], [A], 1), "vector_field must be finite"),
        ((sympy.eye(2), [A, B], 1), r"vector_field must be a sequence or a column, got shape \(2, 2\)"),
    ],
)  # fmt: skip
def test_bad_fields_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        derive.modified_equation(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((sympy.Abs(A), [A], H), r"loss must be smooth, got Abs\(a\)"),
        ((A**2, [], H), "parameters must be a non-empty sequence of symbols"),
        ((A**2, [A], -1), "learning_rate must be a symbol or a number >= 0, got -1"),
        ((A**2, [A], A), "learning_rate must not depend on the parameters a, got a"),
        ((A**2, [A], sympy.oo), "learning_rate must be a symbol or a number >= 0, got oo"),
        ((sympy.nan, [A], H), "loss must be finite, got nan"),
        ((A**2, [A], float("nan")), "learning_rate must be a symbol or a number >= 0, got nan"),
        ((A**2, [A], "h"), "learning_rate must be a SymPy expression, got 'h'"),
        ((sympy.Symbol("a", real=True) ** 2, [A], H), "loss must be written in the parameters symbols themselves"),
    ],
)
def test_bad_losses_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        derive.modified_loss(*arguments)


def test_an_elementary_differential_needs_matching_symbols():
    with pytest.raises(ValueError, match="vector_field must have 1 components like the state, got 2"):
        derive.elementary_differential((), FIELD, [A])


def test_a_field_in_time_can_be_made_autonomous():
    first = derive.modified_equation([A * t, 1], [A, t], 1)[1]
    assert sympy.expand(first[0] + (A * t**2 + A) / 2) == 0


def test_a_field_on_numbers_sums_its_series():
    fields = derive.modified_equation(FIELD, [A, B], 3)
    numeric = derive.numeric_field(fields, [A, B])
    exact = sum((Rational(1, 50) ** k * f.subs(START) for k, f in enumerate(fields)), sympy.zeros(2, 1))
    np.testing.assert_allclose(numeric(np.array([2.8, 3.5]), 0.02), np.array(exact, dtype=float).ravel(), rtol=1e-13)


def test_a_field_with_free_symbols_has_no_numbers():
    with pytest.raises(ValueError, match="coefficients must hold no symbols but the state a, got b"):
        derive.numeric_field(derive.modified_equation([A * B], [A], 1), [A])
    with pytest.raises(ValueError, match="coefficients must hold no symbols but the state a, got f"):
        derive.numeric_field([[sympy.Function("f")(A)]], [A])


def test_a_field_on_numbers_checks_shapes_and_values():
    field = derive.numeric_field([[sympy.sqrt(A)]], [A])
    with pytest.raises(ArithmeticError, match="the field is not finite at"):
        field([-1.0], 0.1)
    with pytest.raises(ValueError, match=r"theta must have shape \(1,\) like the state, got \(2,\)"):
        field([1.0, 2.0], 0.1)
    for wrong in ([], [[A, B]]):
        with pytest.raises(ValueError, match="coefficients must be columns of 1 components like the state"):
            derive.numeric_field(wrong, [A])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_taylor_loss_has_its_symbols_as_derivatives(count):
    parameters = sympy.symbols("u v w")[:count]
    loss = derive.taylor_loss(parameters, 4)
    origin = dict.fromkeys(parameters, 0)
    expected = {}
    for n in range(1, 5):
        for numbers in itertools.combinations_with_replacement(range(count), n):
            name = "E_" + "".join(str(k + 1) for k in numbers)
            expected[name] = loss.diff(*(parameters[k] for k in numbers)).subs(origin)
    assert all(str(value) == name for name, value in expected.items())
    assert {str(symbol) for symbol in loss.free_symbols} - set(map(str, parameters)) == set(expected)
    assert loss.subs(origin) == 0


@pytest.mark.parametrize(
    ("parameters", "degree", "message"),
    [
        ([A], 0, "degree must be a whole number >= 1, got 0"),
        ([A], True, "degree must be a whole number >= 1, got True"),
        ([A, A], 2, "parameters must be distinct symbols"),
        (sympy.symbols("a1:11"), 2, "parameters must be at most 9, got 10"),
        ([sympy.Symbol("E_1", real=True)], 2, "parameters must not be called like a derivative, got E_1"),
    ],
)
def test_bad_taylor_losses_are_refused(parameters, degree, message):
    with pytest.raises(ValueError, match=message):
        derive.taylor_loss(parameters, degree)

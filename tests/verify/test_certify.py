"""Universal statements: true ones are proved twice, false ones refuted by an exact point, traps are noticed."""

import random
from fractions import Fraction

import numpy as np
import pytest
import sympy
from sympy import Abs, And, Eq, Equivalent, Implies, Max, Min, Ne, Not, Or, Piecewise, Rational, sqrt

from quadlab.verify import certify
from quadlab.verify.certify import NotAlgebraic, count_real_roots, jury_conditions, prove

curvature, momentum, rate, distance, variance, samples = sympy.symbols("lambda b rho m s2 N", real=True)
curvature2, gradient, gradient2, variance2 = sympy.symbols("lambda2 g g2 s22", real=True)
x, y = sympy.symbols("x y", real=True)
mu = sympy.Symbol("mu")

HEAVY_BALL = [curvature > 0, momentum >= 0, momentum < 1, rate > 0]
NOISE_BALL = [curvature > 0, variance >= 0, rate > 0, rate * curvature < 2, samples >= 1]
TWO_DIRECTIONS = [curvature > 0, curvature2 > 0, variance > 0, variance2 > 0, rate > 0, samples >= 1]


def expected_change(h, g, s2):
    return -rate * g**2 + rate**2 * h * g**2 / 2 + rate**2 * s2 * h**3 / (2 * samples)


def below_edge(h, g, s2):
    """h < H(N g^2/s^2), the edge being the positive root of a cubic."""
    z = samples * g**2 / s2
    return h**3 + z * h < 2 * z / rate


def assert_refuted(proof, goal, assumptions):
    """The counterexample must be one, by evaluation here."""
    assert proof.proved is False, proof.reason
    symbols = {str(s): s for s in sympy.And(*map(sympy.S, [goal, *assumptions])).free_symbols}
    point = {symbols[name]: value for name, value in proof.counterexample.items()}
    assert all(value.is_number and value.is_real and not value.has(sympy.Float) for value in point.values())
    assert sympy.S(goal).subs(point) == sympy.false
    assert all(sympy.S(assumption).subs(point) == sympy.true for assumption in assumptions)


@pytest.mark.parametrize(("factor", "holds"), [(2 + 2 * momentum, True), (2 + momentum, False), (2, False)])
def test_heavy_ball_is_stable_below_its_edge(factor, holds):
    trace, determinant = 1 + momentum - rate * curvature, momentum
    stable = And(Abs(determinant) < 1, Abs(trace) < 1 + determinant)
    goal = Equivalent(stable, curvature < factor / rate)
    proof = prove(goal, HEAVY_BALL)
    if holds:
        assert proof.proved is True, proof.reason
        assert len(set(proof.checks)) == 2
        assert proof.work < certify.LARGEST_WORK / 20
        assert "lambda" in proof.statement
    else:
        assert_refuted(proof, goal, HEAVY_BALL)


BALL = variance / samples * rate * curvature / (2 - rate * curvature)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (distance**2 > BALL, True),
        (Abs(distance) > sqrt(BALL), True),
        (Abs(distance) > BALL, False),
        (distance**2 > BALL * samples, False),
        (distance**2 > variance / samples * (2 - rate * curvature) / (rate * curvature), False),
    ],
)
def test_expected_descent_happens_outside_the_noise_ball(condition, holds):
    goal = Equivalent(expected_change(curvature, curvature * distance, variance) < 0, condition)
    proof = prove(goal, NOISE_BALL)
    if holds:
        assert proof.proved is True, proof.reason
    else:
        assert_refuted(proof, goal, NOISE_BALL)


def test_two_directions_below_their_edges_descend_together():
    first, second = below_edge(curvature, gradient, variance), below_edge(curvature2, gradient2, variance2)
    total = expected_change(curvature, gradient, variance) + expected_change(curvature2, gradient2, variance2)
    assert prove(total < 0, [*TWO_DIRECTIONS, first, second]).proved is True
    for goal, assumptions in [
        (total < 0, [*TWO_DIRECTIONS, curvature2 <= curvature, first]),
        (Implies(total < 0, And(first, second)), TWO_DIRECTIONS),
        (Implies(Or(first, second), total < 0), TWO_DIRECTIONS),
    ]:
        assert_refuted(prove(goal, assumptions), goal, assumptions)


def test_bounds_of_the_variational_factor():
    zeta, s = sympy.symbols("zeta s", positive=True)
    root = [Eq(s**3 + zeta * s - zeta, 0)]
    lower, upper = Max(zeta / (1 + zeta), 1 - 1 / zeta), Min(1, zeta ** Rational(1, 3))
    assert prove(And(lower < s, s < upper), root).proved is True
    for goal in (s < sqrt(zeta), s <= zeta / (1 + zeta), s > zeta ** Rational(1, 3) / 2):
        assert_refuted(prove(goal, root), goal, root)


def test_assumptions_that_cannot_hold_are_an_error():
    for assumptions in ([x > 1, x < 0], [Eq(x**2, -1)], [sympy.Symbol("p", positive=True) < 0, sympy.false]):
        with pytest.raises(ValueError, match="no point satisfies the assumptions"):
            prove(x > 5, assumptions)
    positive = sympy.Symbol("p", positive=True)
    with pytest.raises(ValueError, match="no point"):
        prove(x > 5, [positive + x < 0, x > 0])


def test_division_by_zero_is_neither_free_nor_forgotten():
    # z3 gives 1/0 any value, so this query would be decided by an invented one.
    proof = prove(1 / x**2 > 0)
    assert proof.proved is None
    assert "x is not zero" in proof.reason
    assert prove(1 / x**2 > 0, [Ne(x, 0)]).proved is True
    assert prove(1 / (x**2 + 1) > 0).proved is True
    # False where it is defined, so the pole does not matter.
    assert_refuted(prove(1 / x > 0), 1 / x > 0, [])
    # Nothing after an assumption may make it meaningful in retrospect, and no assumption defines itself.
    assert prove(x > 0, [x / y > 0, y > 0]).proved is None
    assert prove(x > 0, [y > 0, x / y > 0]).proved is True
    assert prove(Ne(y, 0), [Ne(x / y, 2)]).proved is None


def test_roots_need_a_non_negative_radicand():
    proof = prove(sqrt(x) >= 0)
    assert proof.proved is None
    assert "x is not negative" in proof.reason
    # The definition of the root implies what has to be shown; it must not be used for it.
    assert prove(x >= 0, [sqrt(x) >= 0]).proved is None
    assert prove(sqrt(x) >= 0, [x >= 0]).proved is True
    assert prove(sqrt(sqrt(x) - 1) < sqrt(x), [x >= 1]).proved is True
    assert prove(sqrt(sqrt(x) - 1) < sqrt(x), [x >= 0]).proved is None
    assert prove(sqrt(x * y) <= (x + y) / 2, [x >= 0, y >= 0]).proved is True
    assert_refuted(prove(sqrt(x) <= x, [x > 0]), sqrt(x) <= x, [x > 0])
    assert prove(x ** Rational(-2, 3) > 1, [x > 0, x < 1]).proved is True
    assert prove(x ** Rational(-2, 3) > 1, [x >= 0, x < 1]).proved is None
    assert prove(sqrt(2) < Rational(3, 2)).proved is True


def test_conditions_guard_their_own_branch():
    assert prove(Implies(x > 0, 1 / x + sqrt(x) > 0)).proved is True
    assert prove(Implies(x >= 0, 1 / x > 0)).proved is None
    assert prove(Piecewise((1 / x, x > 0), (x**2, True)) >= 0).proved is True
    assert prove(Piecewise((1 / x, x >= 0), (x**2, True)) >= 0).proved is None
    pieces = And(Implies(x > 1, sqrt(x) > 1), Implies(And(x >= 0, x <= 1), sqrt(x) <= 1))
    assert prove(pieces).proved is True
    partial = Piecewise((x, x > 0), (-x, x < -1)) >= 0
    assert prove(partial).proved is None
    assert prove(partial, [Or(x > 1, x < -2)]).proved is True
    assert prove(sympy.ITE(x > 0, 1 / x > 0, x <= 0)).proved is True


def test_functions_of_order():
    assert prove(Eq(Max(x, y) + Min(x, y), x + y)).proved is True
    assert prove(Abs(x + y) <= Abs(x) + Abs(y)).proved is True
    assert prove(Eq(sympy.sign(x) * Abs(x), x)).proved is True
    assert prove(Equivalent(Eq(sympy.sign(x), y), Eq(y, 0)), [Eq(x * 1, 0)]).proved is True
    assert prove(Not(And(x > y, y > x))).proved is True
    assert_refuted(prove(Max(x, y) > Min(x, y)), Max(x, y) > Min(x, y), [])


def test_counterexamples_are_exact():
    for goal in (Ne(x**2, 2), Ne(x**3 + x, 1), Ne(x**2 + y**2, 3), x**2 > 2):
        assert_refuted(prove(goal), goal, [])
    assert prove(Ne(x**2, 2), [x > 0]).counterexample == {"x": sqrt(2)}
    assert set(prove(x**2 > 2, [y > 7]).counterexample) == {"x", "y"}


def test_what_symbols_were_declared_to_be_is_used():
    p = sympy.Symbol("p", positive=True)
    n = sympy.Symbol("n", integer=True)
    assert prove(p + 1 / p >= 2).proved is True
    assert prove(n**2 + 1 > n).proved is True
    # True for integers only: a fractional counterexample is none.
    assert prove(n**2 >= n).proved is None
    assert_refuted(prove(n > 0), n > 0, [])
    with pytest.raises(ValueError, match="one name"):
        prove(sympy.Symbol("x") < x)
    with pytest.raises(ValueError, match="real"):
        prove(sympy.Symbol("w", imaginary=True) ** 2 < x)


@pytest.mark.parametrize(
    ("goal", "name"),
    [
        (sympy.sinh(x) > x, "sinh"),
        (sympy.exp(x) > x, "exp"),
        (sympy.erf(x) < 2, "erf"),
        (sympy.log(x) < x, "log"),
        (x < sympy.pi, "pi"),
        (2**x > x, r"2\*\*x"),
    ],
)
def test_transcendental_statements_are_declined_by_name(goal, name):
    with pytest.raises(NotAlgebraic, match=f"^{name} is not algebraic"):
        prove(goal)
    with pytest.raises(NotAlgebraic):
        prove(x > 0, [goal])


@pytest.mark.parametrize("goal", ["x > 0", x, x + 1, None, 1])
def test_a_goal_is_a_relation(goal):
    with pytest.raises(ValueError, match="relations"):
        prove(goal)


def test_floating_point_numbers_are_declined():
    with pytest.raises(ValueError, match="exact"):
        prove(x < 0.1, [x < 0])


def test_giving_up_is_said():
    variables = sympy.symbols("a0:12", real=True)
    triples = list(zip(variables, variables[1:], variables[2:], strict=False))
    chain = [a * b - c**3 > 1 for a, b, c in triples]
    sphere = Eq(sum(a**3 * b**2 * c for a, b, c in triples), 1)
    quartic = sum(a**4 for a in variables) >= sum(a * b * c for a, b, c in triples)
    proofs = [prove(quartic, [*chain, sphere], work=20_000) for _ in range(2)]
    assert proofs[0] == proofs[1]
    assert proofs[0].proved is None
    assert "stopped after 20000 units of work" in proofs[0].reason
    assert 20_000 <= proofs[0].work < 25_000


def test_an_interrupt_is_no_answer(monkeypatch):
    import z3

    monkeypatch.setattr(z3.Solver, "check", lambda solver: z3.unknown)
    monkeypatch.setattr(z3.Solver, "reason_unknown", lambda solver: "interrupted from keyboard")
    with pytest.raises(KeyboardInterrupt):
        prove(x > 0)


@pytest.mark.parametrize(
    "name", ["root 0", "root 1", "b!0", "b!1", "k!0", "x!0", "/0", "+", "true", "x", "\uff58", "_x"]
)
def test_a_name_is_only_a_name(name):
    other = sympy.Symbol(name)
    free = sympy.Symbol("x" if name != "x" else "y", real=True)
    goal = Eq(sqrt(free), other)
    assert_refuted(prove(goal, [free > 0]), goal, [free > 0])
    assert prove(Eq(sqrt(free), other), [free > 0, other > 0, Eq(other**2, free)]).proved is True


def test_roots_in_different_branches_are_different_roots():
    # the conditions differ only deep inside, where their printed form is cut short
    premises = [x >= 0, x >= -1]
    for level in range(30):
        premises = [Or(And(premise, y > level), y < -level) for premise in premises]
    right, wrong = (Implies(premise, (sqrt(x) - 1) ** 2 >= 0) for premise in premises)
    assert prove(right, [y > 100, right]).proved is True
    assert prove(wrong, [y > 100, right]).proved is None


@pytest.mark.parametrize(
    ("goal", "reason"),
    [
        (x ** Rational(499, 1000) < 1 + x, "root of degree 1000; at most 12 is read"),
        (x ** Rational(2999, 1000) < 1 + x, "root of degree 1000; at most 12 is read"),
        (x ** Rational(33, 100) * (1 - x) < x, "root of degree 100; at most 12 is read"),
        (x**1000 > y, "polynomial of degree 1000; at most 200"),
        ((1 + 1 / x) ** 300 > x, "polynomial of degree 301; at most 200"),
        (x * 10**4000 > y, "number has more than 10000 bits"),
        (x * 10**9000 > y, "number has more than 10000 bits"),
    ],
)
def test_what_would_take_too_long_is_declined(goal, reason):
    with pytest.raises(NotAlgebraic, match=reason):
        prove(goal, [x > 0])
    with pytest.raises(NotAlgebraic, match=reason):
        prove(x > 0, [x > 0, goal])


def test_a_power_that_the_model_leaves_as_it_is():
    import z3

    power = z3.RealVal("1/2") ** 100
    assert certify._value(power, 3) == Rational(1, 2) ** 100
    with pytest.raises(ValueError, match="too large"):
        certify._value(z3.RealVal("1/2") ** 100_000, 3)
    goal = 2 * x >= Rational(1, 2) ** 120
    assert_refuted(prove(goal, [x**100 > 0, x**5 > 0, x < Rational(1, 2) ** 130]), goal, [x > 0])


def test_a_counterexample_lies_where_everything_is_defined():
    x0 = {x: sympy.Integer(0), y: sympy.Integer(2)}
    for undefined in (Eq(1 / (1 + 1 / x), 0), Ne(1 / x, y), Implies(y > 0, 1 / x > 0), Eq(sqrt(-y), 1), 0 / x < 1 / x):
        with pytest.raises((ArithmeticError, TypeError)):
            certify._exact(undefined, x0)
    assert certify._exact(Implies(x > 0, 1 / x > 0), x0) == sympy.true
    assert certify._exact(Piecewise((1 / x, x > 0), (y, True)) > 1, x0) == sympy.true
    assert certify._exact(And(y > 3, x < 1), x0) == sympy.false


def test_a_proof_needs_the_second_opinion(monkeypatch):
    monkeypatch.setattr(certify._Inquiry, "second", lambda self, constraints: ("unknown", None))
    assert prove(x**2 >= x - 1).proved is None
    assert "answered unknown" in prove(x**2 >= x - 1).reason


def test_a_proof_needs_a_point_where_the_assumptions_hold(monkeypatch):
    first, answers = certify._Inquiry.first, [("unknown", None)]
    monkeypatch.setattr(certify._Inquiry, "first", lambda *query: answers.pop() if answers else first(*query))
    proof = prove(x > 0, [x > 1])
    assert proof.proved is None
    assert "assumptions can hold" in proof.reason


def test_a_counterexample_needs_exact_evaluation(monkeypatch):
    monkeypatch.setattr(certify, "_value", lambda number, digits: sympy.Integer(5))
    assert prove(x < 3).proved is False
    assert prove(x > 3).proved is None


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
@pytest.mark.parametrize("leading", ["1", "-3", "a"])
def test_jury_conditions_against_roots(degree, leading):
    a = sympy.Symbol("a", real=True)
    unknowns = sympy.symbols(f"c1:{degree + 1}", real=True)
    polynomial = sympy.sympify(leading, {"a": a}) * mu**degree
    polynomial += sum(c * mu ** (degree - k) for k, c in enumerate(unknowns, 1))
    conditions = sympy.lambdify([*unknowns, a], jury_conditions(polynomial, mu), "math")
    generator = random.Random(7 * degree)
    outcomes = []
    for _ in range(100 // degree):
        radius = generator.choice([0.7, 1.1])
        roots = [generator.uniform(-radius, radius) for _ in range(degree)]
        if degree > 1 and generator.random() < 0.6:
            pair = complex(roots[0], generator.uniform(-radius, radius))
            roots[:2] = [pair, pair.conjugate()]
        top = int(leading) if leading != "a" else generator.choice([-2, 3])
        values = [Fraction(int(2**40 * top * c), 2**40) for c in np.poly(roots).real[1:]]
        largest = max(abs(np.roots([top, *map(float, values)])))
        if abs(largest - 1) < 1e-6:
            continue
        stable = all(condition > 0 for condition in conditions(*values, Fraction(top)))
        assert stable == (largest < 1)
        outcomes.append(stable)
    assert {True, False} == set(outcomes)


def test_jury_conditions_of_heavy_ball_certify_its_edge():
    polynomial = mu**2 - (1 + momentum - rate * curvature) * mu + momentum
    stable = And(*(condition > 0 for condition in jury_conditions(polynomial, mu)))
    assert prove(Equivalent(stable, curvature < (2 + 2 * momentum) / rate), HEAVY_BALL).proved is True
    assert len(jury_conditions(mu**3 + x * mu**2 + y, mu)) == 5
    for bad in (x + 0 * mu, sympy.sin(mu), 1 / mu):
        with pytest.raises(ValueError, match="polynomial in mu of degree >= 1"):
            jury_conditions(bad, mu)


def test_real_roots_are_counted_once_and_to_the_ends():
    polynomial = (x - 1) ** 2 * (x - 2) * x * (x**2 + 1)
    assert count_real_roots(polynomial, x) == 3
    assert count_real_roots(polynomial, x, 0, 1) == 2
    assert count_real_roots(polynomial, x, 1, 1) == 1
    assert count_real_roots(polynomial, x, Rational(1, 10), Rational(9, 10)) == 0
    assert count_real_roots(polynomial, x, Rational(3, 2)) == 1
    assert count_real_roots(sympy.Integer(7), x) == 0
    for bad in (
        (0 * x, 0, 1),
        (x * y, 0, 1),
        (x, 1, 0),
        (sympy.exp(x), 0, 1),
        (x, 0, sqrt(2)),
        (x * sqrt(2), 0, 1),
        (x**200, 0, 1),
    ):
        with pytest.raises(ValueError, match=r"needed|rational|degree must be at most 60, got 200"):
            count_real_roots(bad[0], x, *bad[1:])

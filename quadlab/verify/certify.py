"""Statements about all real numbers, decided by z3: proved with a second opinion, or refuted by an exact point."""

import time
from dataclasses import dataclass

import sympy

__all__ = ["NotAlgebraic", "Proof", "count_real_roots", "jury_conditions", "prove"]


class NotAlgebraic(ValueError):
    """A statement uses a function that real closed fields do not know; the message names it."""


@dataclass(frozen=True)
class Proof:
    """The outcome of `prove`: `proved` is True, False (see `counterexample`) or None (see `reason`).

    `checks` names what decided and what checked the decision again.

    >>> Proof(None, None, "timeout", "x > 0", 20.0, ()).proved is None
    True
    """

    proved: bool | None
    counterexample: dict[str, sympy.Expr] | None
    reason: str
    statement: str
    seconds: float
    checks: tuple[str, ...]


def prove(goal, assumptions=(), *, timeout=20.0, seed=0):
    """Whether `goal` holds for all real values of its symbols that satisfy the assumptions, as a `Proof`.

    Both are SymPy relations, joined by And, Or, Not, Implies, Equivalent or ITE, between expressions built
    from rational numbers, + - * /, rational powers, Abs, sign, Min, Max and Piecewise. What a symbol was
    declared to be (positive, nonzero, ...) is assumed too. A symbol declared an integer ranges over the
    reals, so that a proof covers the integers; a counterexample counts only if it is an integer.

    Proved: two fresh solvers in different configurations find no counterexample, and both prove that
    every denominator is nonzero and every base of a fractional power is non-negative (inside Piecewise and
    the conclusion of Implies: under their condition; inside an assumption: from the assumptions before
    it). Until then these conditions are demanded of counterexamples, which are checked by exact evaluation.
    Anything else is undecided. `timeout` bounds the whole, in seconds, as far as z3 obeys.

    Raises
    ------
    ValueError: no point satisfies the assumptions; a floating-point number; a symbol that is not real.
    NotAlgebraic: a transcendental function, a variable exponent.

    >>> from sympy.abc import x
    >>> prove(x**2 + 1 > x).proved
    True
    >>> prove(x**2 > x, [x > 0]).counterexample
    {'x': 1/2}
    """
    import z3

    started = time.monotonic()
    statement = f"{', '.join(map(str, assumptions))} => {goal}" if assumptions else str(goal)
    inquiry = _Inquiry(z3.Context(), started + timeout, seed)

    def verdict(proved, reason, checks=(), counterexample=None):
        return Proof(proved, counterexample, reason, statement, time.monotonic() - started, tuple(checks))

    formula = _Translation(z3, inquiry.context)
    for assumption in assumptions:
        formula.steps.append(("fact", formula.boolean(assumption), str(assumption)))
    premises = len(formula.steps)
    negation = z3.Not(formula.boolean(goal))
    facts = [fact for _, fact, _ in formula.steps]

    possible, _ = inquiry.first(facts[:premises])
    if possible == "unsat":
        raise ValueError(f"no point satisfies the assumptions {', '.join(map(str, assumptions))}")
    outcome, model = inquiry.first([*facts, negation])
    if outcome == "sat":
        point = _exact_counterexample(model, formula.variables, goal, assumptions)
        if point is None:
            return verdict(None, "a counterexample was proposed but did not survive exact evaluation")
        named = {str(symbol): value for symbol, value in point.items()}
        return verdict(False, f"fails at {named}", (inquiry.names[0], "exact evaluation (SymPy)"), named)
    if outcome != "unsat":
        return verdict(None, f"{inquiry.names[0]} gave up: {outcome}")
    if possible != "sat":
        return verdict(None, f"could not show that the assumptions can hold: {possible}")
    for position, (kind, fact, text) in enumerate(formula.steps):
        if kind == "obligation":
            query = [*facts[:position], z3.Not(fact)]
            outcomes = {inquiry.first(query)[0], inquiry.second(query)[0]}
            if outcomes != {"unsat"}:
                return verdict(None, f"not shown from the assumptions before it: {text}")
    outcome, _ = inquiry.second([*facts, negation])
    if outcome != "unsat":
        return verdict(None, f"proved by {inquiry.names[0]}, but {inquiry.names[1]} answered {outcome}")
    return verdict(True, "no counterexample exists", inquiry.names)


class _Inquiry:
    """Two ways to ask z3, each time with a fresh solver, until a common deadline."""

    names = ("z3 QF_NRA", "z3 qfnra-nlsat in the given variable order")

    def __init__(self, context, deadline, seed):
        self.context, self.deadline, self.seed = context, deadline, seed

    def first(self, constraints):
        import z3

        solver = z3.SolverFor("QF_NRA", ctx=self.context)
        solver.set("random_seed", self.seed)
        return self.ask(solver, constraints)

    def second(self, constraints):
        import z3

        tactic = z3.With(z3.Tactic("qfnra-nlsat", self.context), seed=self.seed + 1, reorder=False)
        return self.ask(tactic.solver(), constraints)

    def ask(self, solver, constraints):
        """("sat", model), ("unsat", None) or (why not, None)."""
        remaining = int(1000 * (self.deadline - time.monotonic()))
        if remaining <= 0:
            return "timeout", None
        solver.set("timeout", remaining)
        solver.add(*constraints)
        outcome = str(solver.check())
        if outcome == "unknown":
            return solver.reason_unknown(), None
        return outcome, solver.model() if outcome == "sat" else None


class _Translation:
    """SymPy to z3, noting on the way, in order, what defines auxiliary variables and what has to be shown.

    `steps` holds (kind, z3 formula, text) with kind "fact" or "obligation"; an obligation may use only the
    steps before it, for the definition of a root already implies that its radicand is non-negative.
    """

    def __init__(self, z3, context):
        self.z3, self.context = z3, context
        self.variables, self.steps, self.roots, self.path = {}, [], {}, []

    def boolean(self, expression):
        z3 = self.z3
        if isinstance(expression, (bool, sympy.logic.boolalg.BooleanAtom)):
            return z3.BoolVal(bool(expression), self.context)
        arguments: tuple = getattr(expression, "args", ())
        match expression:
            case sympy.Eq() | sympy.Ne() | sympy.Lt() | sympy.Le() | sympy.Gt() | sympy.Ge():
                left, right = map(self.number, arguments)
                return {
                    "==": left == right, "!=": left != right, "<": left < right,
                    "<=": left <= right, ">": left > right, ">=": left >= right,
                }[expression.rel_op]  # fmt: skip
            case sympy.Not():
                return z3.Not(self.boolean(arguments[0]))
            case sympy.And():
                return z3.And(*map(self.boolean, arguments))
            case sympy.Or():
                return z3.Or(*map(self.boolean, arguments))
            case sympy.Equivalent():
                first, *rest = map(self.boolean, arguments)
                return z3.And(*(first == other for other in rest))
            case sympy.Implies():
                premise = self.boolean(arguments[0])
                return z3.Implies(premise, self.under(premise, self.boolean, arguments[1]))
            case sympy.ITE():
                return self.cases(self.boolean, [(arguments[1], arguments[0]), (arguments[2], True)])
        raise ValueError(f"goal and assumptions must be relations or combinations of them, got {expression!r}")

    def number(self, expression):
        z3 = self.z3
        arguments = expression.args
        match expression:
            case sympy.Symbol():
                return self.variable(expression)
            case sympy.Rational():
                return z3.RealVal(f"{expression.p}/{expression.q}", self.context)
            case sympy.Float():
                raise ValueError(f"numbers must be exact, got {expression}; write it as a Rational")
            case sympy.Add():
                return z3.Sum(*map(self.number, arguments))
            case sympy.Mul():
                return z3.Product(*map(self.number, arguments))
            case sympy.Pow(exp=sympy.Rational()):
                return self.power(expression)
            case sympy.Abs():
                value = self.number(arguments[0])
                return z3.If(value >= 0, value, -value)
            case sympy.sign():
                value = self.number(arguments[0])
                return z3.If(value > 0, self.number(sympy.S.One), z3.If(value < 0, -1, 0))
            case sympy.Min() | sympy.Max():
                best, *rest = map(self.number, arguments)
                for value in rest:
                    better = value < best if isinstance(expression, sympy.Min) else value > best
                    best = z3.If(better, value, best)
                return best
            case sympy.Piecewise():
                return self.cases(self.number, arguments)
        if expression.is_number and expression.is_extended_real is not True:
            raise ValueError(f"{expression} is not a real number")
        name = str(expression) if expression.is_Atom or expression.is_Pow else type(expression).__name__
        raise NotAlgebraic(f"{name} is not algebraic, so it cannot be decided over the real numbers")

    def variable(self, symbol):
        """The variable of a symbol; what the symbol was declared to be becomes a fact."""
        if symbol not in self.variables:
            if symbol.is_extended_real is False or str(symbol) in map(str, self.variables):
                raise ValueError(f"each symbol must be real and have one name, got {symbol}")
            value = self.variables[symbol] = self.z3.Real(str(symbol), self.context)
            declared = {
                "positive": value > 0, "negative": value < 0, "nonnegative": value >= 0,
                "nonpositive": value <= 0, "nonzero": value != 0, "zero": value == 0,
            }  # fmt: skip
            for name, fact in declared.items():
                if getattr(symbol, f"is_{name}"):
                    self.steps.append(("fact", fact, f"{symbol} is {name}"))
        return self.variables[symbol]

    def power(self, expression):
        base, exponent = expression.args
        value = self.number(base)
        if exponent.q > 1:
            value = self.root(base, value, int(exponent.q))
        if exponent.p < 0:
            self.note("obligation", value != 0, f"{base} is not zero")
        powered = value ** abs(int(exponent.p))
        return powered if exponent.p > 0 else 1 / powered

    def root(self, base, value, degree):
        """The auxiliary variable r >= 0 with r**degree == base, which needs base >= 0."""
        key = (base, degree, tuple(map(str, self.path)))
        if key not in self.roots:
            self.note("obligation", value >= 0, f"{base} is not negative")
            root = self.roots[key] = self.z3.Real(f"root {len(self.roots)}", self.context)
            self.note("fact", self.z3.And(root >= 0, root**degree == value), f"root of {base}")
        return self.roots[key]

    def note(self, kind, condition, text):
        """Remember a condition that matters only where the present branch is taken."""
        for premise in self.path:
            condition = self.z3.Implies(premise, condition)
        self.steps.append((kind, condition, text))

    def under(self, condition, translate, expression):
        self.path.append(condition)
        try:
            return translate(expression)
        finally:
            self.path.pop()

    def cases(self, translate, branches):
        """The value of the first branch whose condition holds; one of them has to."""
        z3 = self.z3
        (expression, condition), *rest = branches
        holds = self.boolean(condition)
        value = self.under(holds, translate, expression)
        if condition == True:  # noqa: E712 (SymPy's true is not True)
            return value
        if not rest:
            self.note("obligation", holds, f"{condition} where no earlier case applies")
            return value
        return z3.If(holds, value, self.under(z3.Not(holds), lambda others: self.cases(translate, others), rest))


def _exact_counterexample(model, variables, goal, assumptions):
    """Values, rational if possible, at which exact evaluation makes the assumptions true and the goal false."""
    for digits in (3, 20, None):
        point = {symbol: _value(model.eval(variable, True), digits) for symbol, variable in variables.items()}
        try:
            if (
                all(_matches(symbol, value) for symbol, value in point.items())
                and all(sympy.S(item).subs(point, simultaneous=True) == sympy.true for item in assumptions)
                and sympy.S(goal).subs(point, simultaneous=True) == sympy.false
            ):
                return point
        except (TypeError, ArithmeticError, NotImplementedError):
            continue
    return None


def _value(number, digits):
    """A z3 value as a SymPy number: exactly, or an algebraic number rounded to `digits` decimals."""
    import z3

    if isinstance(number, z3.AlgebraicNumRef):
        if digits is None:
            coefficients = [sympy.Rational(str(c.as_fraction())) for c in number.poly()]
            polynomial = sympy.Poly(coefficients[::-1], sympy.Symbol("x"))
            return sympy.rootof(polynomial, number.index() - 1)
        number = number.approx(digits)
    return sympy.Rational(number.numerator_as_long(), number.denominator_as_long())


def _matches(symbol, value):
    return all(getattr(value, f"is_{fact}") is truth for fact, truth in symbol.assumptions0.items())


def jury_conditions(polynomial, variable):
    """Expressions that are all positive if and only if every root lies strictly inside the unit circle.

    The Jury table of a real polynomial of degree n >= 1 with a nonzero leading coefficient of either
    sign: 2, 3 or, for n >= 3, 2 n - 1 expressions. ValueError if it is constant or not a polynomial.

    >>> T, D, mu = sympy.symbols("T D mu")
    >>> jury_conditions(mu**2 - T*mu + D, mu)
    (D - T + 1, D + T + 1, 1 - D)
    """
    row = _polynomial(polynomial, variable, 1).all_coeffs()
    if not row[0].is_positive:
        factor = -1 if row[0].is_negative else row[0]
        row = [factor * coefficient for coefficient in row]
    degree = len(row) - 1
    at_minus_one = sum(coefficient * (-1) ** position for position, coefficient in enumerate(row))
    conditions = [sum(row), at_minus_one]
    while len(row) > 2:
        first, last = row[0], row[-1]
        conditions.append(first - last)
        if len(row) > 3:
            conditions.append(first + last)
        row = [first * a - last * b for a, b in zip(row[:-1], row[:0:-1], strict=True)]
    return tuple(sympy.expand(condition) for condition in conditions[: max(2, 2 * degree - 1)])


def count_real_roots(polynomial, variable, lower=-sympy.oo, upper=sympy.oo):
    """The number of distinct real roots in the closed interval [lower, upper], by a Sturm sequence, exactly.

    Coefficients and finite ends are rational; ValueError otherwise.

    >>> x = sympy.Symbol("x")
    >>> count_real_roots((x - 1)**2 * (x - 2), x, 0, 1)
    1
    """
    exact = _polynomial(polynomial, variable, 0)
    lower, upper = sympy.S(lower), sympy.S(upper)
    if not exact.domain.is_ZZ and not exact.domain.is_QQ:
        raise ValueError(f"coefficients must be rational numbers, got {polynomial}")
    for end in (lower, upper):
        if not (end.is_Rational or end.is_infinite) or lower > upper:
            raise ValueError(f"the interval must run between rational or infinite ends, got [{lower}, {upper}]")
    return int(exact.count_roots(lower, upper))


def _polynomial(expression, variable, least_degree):
    try:
        polynomial = sympy.Poly(expression, variable)
    except sympy.PolynomialError:
        polynomial = None
    if polynomial is None or polynomial.degree() < least_degree or polynomial.is_zero:
        raise ValueError(f"a polynomial in {variable} of degree >= {least_degree} is needed, got {expression}")
    return polynomial

"""Statements about all real numbers, decided by z3: proved with a second opinion, or refuted by an exact point."""

from dataclasses import dataclass

import sympy

from quadlab.verify.formula import LARGEST_ROOT, NotAlgebraic, degrees

__all__ = ["NotAlgebraic", "Proof", "count_real_roots", "jury_conditions", "prove"]

# Twenty times what the hardest statement of a shipped theorem needs; seconds would depend on the machine.
LARGEST_WORK = 5_000_000
# z3 does not look at its limits while it isolates roots of large degree or multiplies polynomials out; roots are
# limited as in a formula's text.
LARGEST_DEGREE = 200
LARGEST_NUMBER_BITS = 10_000
# The coefficients of a Sturm sequence grow so fast that a hundred degrees take seconds, two hundred minutes.
LARGEST_STURM_DEGREE = 60


@dataclass(frozen=True)
class Proof:
    """The outcome of `prove`: `proved` is True, False (see `counterexample`) or None (see `reason`).

    `work` counts z3's own units, the same on every machine; `checks` names what decided and what checked the
    decision again.

    >>> Proof(None, None, "z3 gave up", "x > 0", 5_000_000, ()).proved is None
    True
    """

    proved: bool | None
    counterexample: dict[str, sympy.Expr] | None
    reason: str
    statement: str
    work: int
    checks: tuple[str, ...]


def prove(goal, assumptions=(), *, work=LARGEST_WORK, seed=0):
    """Whether `goal` holds for all real values of its symbols that satisfy the assumptions, as a `Proof`.

    Both are SymPy relations, joined by And, Or, Not, Implies, Equivalent or ITE, between expressions built
    from rational numbers, + - * /, rational powers, Abs, sign, Min, Max and Piecewise. What a symbol was
    declared to be (positive, nonzero, ...) is assumed too. A symbol declared an integer ranges over the
    reals, so that a proof covers the integers; a counterexample counts only if it is an integer.

    Proved: two fresh solvers in different configurations find no counterexample, and both prove that
    every denominator is nonzero and every base of a fractional power is non-negative (inside Piecewise and
    the conclusion of Implies: under their condition; inside an assumption: from the assumptions before
    it). Until then these conditions are demanded of counterexamples, which are checked by exact evaluation.
    Anything else is undecided. `work` bounds the whole in z3's units of resource, whatever the machine's speed.

    Raises
    ------
    ValueError: no point satisfies the assumptions; a floating-point number; a symbol that is not real.
    NotAlgebraic: a transcendental function, a variable exponent; roots, degrees and numbers too large to decide.

    >>> from sympy.abc import x
    >>> prove(x**2 + 1 > x).proved
    True
    >>> prove(x**2 > x, [x > 0]).counterexample
    {'x': 1/2}
    """
    import z3

    inquiry = _Inquiry(z3.Context(), work, seed)

    def verdict(proved, reason, checks=(), counterexample=None):
        return Proof(proved, counterexample, reason, statement, inquiry.spent, tuple(checks))

    formula = _Translation(z3, inquiry.context)
    for assumption in assumptions:
        formula.steps.append(("fact", formula.boolean(assumption), str(assumption)))
    premises = len(formula.steps)
    negation = z3.Not(formula.boolean(goal))
    facts = [fact for _, fact, _ in formula.steps]
    statement = f"{', '.join(map(str, assumptions))} => {goal}" if assumptions else str(goal)

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
    """Two ways to ask z3, each time with a fresh solver, out of one supply of work.

    They differ in the order of the variables and in how they project polynomials. z3's own choice of a strategy
    for real arithmetic would change with the clock.
    """

    names = ("z3 nlsat", "z3 nlsat in Brown's order, without levelwise projection")

    def __init__(self, context, work, seed):
        self.context, self.work, self.seed, self.spent = context, work, seed, 0

    def first(self, constraints):
        return self.ask(constraints, seed=self.seed)

    def second(self, constraints):
        return self.ask(constraints, seed=self.seed + 1, variable_ordering_strategy=1, lws=False)

    def ask(self, constraints, **options):
        """("sat", model), ("unsat", None) or (why not, None)."""
        import z3

        exhausted = f"stopped after {self.work} units of work"
        if self.spent >= self.work:
            return exhausted, None
        solver = z3.With(z3.Tactic("qfnra-nlsat", self.context), **options).solver()
        solver.set("rlimit", self.work - self.spent)
        solver.add(*constraints)
        try:
            outcome = str(solver.check())
        except z3.Z3Exception as error:
            return str(error), None
        self.spent = max([self.spent, *(count for name, count in solver.statistics() if name == "rlimit count")])
        if outcome == "unknown":
            reason = solver.reason_unknown()
            if reason == "interrupted from keyboard":
                raise KeyboardInterrupt
            return exhausted if self.spent >= self.work or "resource limit" in reason else reason, None
        return outcome, solver.model() if outcome == "sat" else None


class _Translation:
    """SymPy to z3, noting on the way, in order, what defines auxiliary variables and what has to be shown.

    No name of a symbol enters z3, so that none can meet an auxiliary variable's or a name that z3 reads otherwise.
    `steps` holds (kind, z3 formula, text) with kind "fact" or "obligation"; an obligation may use only the
    steps before it, for the definition of a root already implies that its radicand is non-negative.
    """

    def __init__(self, z3, context):
        self.z3, self.context = z3, context
        self.variables, self.steps, self.roots, self.path = {}, [], {}, []

    def fresh(self):
        return self.z3.FreshReal(ctx=self.context)

    def boolean(self, expression):
        z3 = self.z3
        if isinstance(expression, (bool, sympy.logic.boolalg.BooleanAtom)):
            return z3.BoolVal(bool(expression), self.context)
        arguments: tuple = getattr(expression, "args", ())
        match expression:
            case sympy.Eq() | sympy.Ne() | sympy.Lt() | sympy.Le() | sympy.Gt() | sympy.Ge():
                if (degree := max(degrees(expression))) > LARGEST_DEGREE:
                    raise NotAlgebraic(f"a polynomial of degree {degree}; at most {LARGEST_DEGREE} is decided")
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
                return self.rational(int(expression.p), int(expression.q))
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

    def rational(self, numerator, denominator):
        if numerator.bit_length() + denominator.bit_length() > LARGEST_NUMBER_BITS:
            raise NotAlgebraic(f"a number has more than {LARGEST_NUMBER_BITS} bits, too many to decide")
        return self.z3.RealVal(f"{numerator}/{denominator}", self.context)

    def variable(self, symbol):
        """The variable of a symbol; what the symbol was declared to be becomes a fact."""
        if symbol not in self.variables:
            if symbol.is_extended_real is False or str(symbol) in map(str, self.variables):
                raise ValueError(f"each symbol must be real and have one name, got {symbol}")
            value = self.variables[symbol] = self.fresh()
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
        key = (base, degree, tuple(condition.get_id() for condition in self.path))
        if key not in self.roots:
            self.note("obligation", value >= 0, f"{base} is not negative")
            root = self.roots[key] = self.fresh()
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
        try:
            point = {symbol: _value(model.eval(variable, True), digits) for symbol, variable in variables.items()}
            if (
                all(_matches(symbol, value) for symbol, value in point.items())
                and all(_exact(item, point) == sympy.true for item in map(sympy.S, assumptions))
                and _exact(sympy.S(goal), point) == sympy.false
            ):
                return point
        except (TypeError, ValueError, ArithmeticError, NotImplementedError):
            continue
    return None


def _value(number, digits):
    """A z3 value as a SymPy number: exactly, or an algebraic number rounded to `digits` decimals."""
    import z3

    if number.decl().kind() == z3.Z3_OP_POWER:
        # the model leaves a large power of a rational number as it is
        base, exponent = (_value(part, digits) for part in number.children())
        if exponent.is_Integer and abs(exponent) * max(base.p.bit_length(), base.q.bit_length()) < LARGEST_NUMBER_BITS:
            return base**exponent
        raise ValueError(f"{number} is too large to be evaluated exactly")
    if isinstance(number, z3.AlgebraicNumRef):
        if digits is None:
            coefficients = [sympy.Rational(str(c.as_fraction())) for c in number.poly()]
            if len(coefficients) > LARGEST_ROOT + 1:
                raise ValueError(f"{number} is a root of too large a degree to be evaluated exactly")
            polynomial = sympy.Poly(coefficients[::-1], sympy.Symbol("x"))
            return sympy.rootof(polynomial, number.index() - 1)
        number = number.approx(digits)
    return sympy.Rational(number.numerator_as_long(), number.denominator_as_long())


def _exact(expression, point):
    """The value at a point; ArithmeticError where any part of it that counts there is not a real number.

    SymPy's own substitution passes through infinity: 1 / (1 + 1/x) would be 0 at x = 0.
    """
    match expression:
        case sympy.Symbol():
            return point[expression]
        case sympy.And() | sympy.Or():
            ends = sympy.false if isinstance(expression, sympy.And) else sympy.true
            values = (_exact(part, point) for part in expression.args)
            return ends if any(value == ends for value in values) else sympy.Not(ends)
        case sympy.Implies():
            premise, conclusion = expression.args
            return _exact(conclusion, point) if _exact(premise, point) == sympy.true else sympy.true
        case sympy.ITE():
            condition, *branches = expression.args
            return _exact(branches[_exact(condition, point) != sympy.true], point)
        case sympy.Piecewise():
            for branch, condition in expression.args:
                if _exact(condition, point) == sympy.true:
                    return _exact(branch, point)
            raise ArithmeticError(f"{expression} has no branch there")
    if not expression.args:
        return expression
    value = expression.func(*(_exact(part, point) for part in expression.args))
    if isinstance(value, sympy.Expr) and not value.is_real:
        raise ArithmeticError(f"{expression} is not a real number there")
    if not isinstance(value, sympy.Expr) and value not in (sympy.true, sympy.false):
        raise ArithmeticError(f"{expression} is not decided there")
    return value


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

    Coefficients and finite ends are rational, the degree is at most 60; ValueError otherwise.

    >>> x = sympy.Symbol("x")
    >>> count_real_roots((x - 1)**2 * (x - 2), x, 0, 1)
    1
    """
    exact = _polynomial(polynomial, variable, 0)
    lower, upper = sympy.S(lower), sympy.S(upper)
    if not exact.domain.is_ZZ and not exact.domain.is_QQ:
        raise ValueError(f"coefficients must be rational numbers, got {polynomial}")
    if exact.degree() > LARGEST_STURM_DEGREE:
        raise ValueError(f"the degree must be at most {LARGEST_STURM_DEGREE}, got {exact.degree()}")
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

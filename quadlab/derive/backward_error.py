"""Backward error analysis: the vector field whose flow runs through the iterates of a method, order by order.

A step of size h sends y to y + h f(y); the flow of f~ for time h sends y to y + sum_i h^i/i! D~^(i-1) f~, where
D~ v = v' f~ is the derivative along f~. Equating powers of h gives f~ = f_0 + h f_1 + h^2 f_2 + ... term by term.
With momentum the step equation is y+ - y - momentum (y - y-) = h f(y), and each 1/i! becomes (1 + (-1)^i momentum)/i!.
"""

from numbers import Integral

import numpy as np
import sympy

from quadlab.derive.trees import graft, tree_name

__all__ = ["elementary_differentials", "modified_equation", "modified_loss", "numeric_field", "written_out"]

NOT_SMOOTH = (
    sympy.Abs, sympy.Max, sympy.Min, sympy.Piecewise, sympy.sign, sympy.Heaviside, sympy.DiracDelta, sympy.floor,
    sympy.ceiling, sympy.frac, sympy.Mod, sympy.re, sympy.im, sympy.arg, sympy.conjugate, sympy.SingularityFunction,
)  # fmt: skip
TIME = ("t", "time")


def modified_equation(vector_field, state, order, momentum=0):
    """Coefficients f_0, ..., f_order of the field f~ = sum_k h^k f_k whose flow runs through the iterates.

    f_n = - sum_{i=2}^{n+1} 1/i! sum_{k_1+...+k_i = n+1-i} D_{k_1} ... D_{k_(i-1)} f_{k_i},  D_j v = v' f_j

    Parameters
    ----------
    vector_field : P smooth expressions f in the state; for gradient descent, minus the gradient of the loss.
    state : P distinct symbols.
    order : the last k, a whole number >= 0.
    momentum : of heavy ball, a number in [0, 1) or a symbol; the flow is then the one iterates settle on. 0 for Euler
        steps, y+ = y + h f(y).

    Returns
    -------
    List of P x 1 column matrices. As a power series in h it is asymptotic, in general divergent.

    Raises
    ------
    ValueError: the field is not smooth, depends on time or on no state symbol, or does not fit the state; an order that
    is not a whole number >= 0; a momentum outside [0, 1).

    Source: Hairer, Lubich, Wanner, Geometric Numerical Integration, chapter IX; Barrett & Dherin 2021, section 2.

    >>> y = sympy.Symbol("y")
    >>> modified_equation([y**2], [y], 3)
    [Matrix([[y**2]]), Matrix([[-y**3]]), Matrix([[3*y**4/2]]), Matrix([[-8*y**5/3]])]
    """
    field, symbols = _checked_field(vector_field, state)
    order, momentum = checked_order(order), _checked_momentum(momentum, symbols)
    series = _polynomial_series(field, symbols, order, momentum)
    if series is None:

        def along(direction, components):
            return components.jacobian(symbols) * direction

        series = _series(field, along, _combine_fields, order, momentum)
    return [_divided(numerator, momentum, k) for k, numerator in enumerate(series)]


def numeric_field(coefficients, state):
    """The field sum_k h^k f_k as a function (theta, learning_rate) -> velocity on arrays, for `quadlab.simulate.flow`.

    Parameters: coefficients as `modified_equation` returns them, free of symbols other than the P of the state. theta
    and the velocity have shape (P,). Raises ValueError when a symbol has no value or a shape does not fit; the field
    raises ArithmeticError where it is not finite.

    >>> y = sympy.Symbol("y")
    >>> field = numeric_field(modified_equation([-y], [y], 2), [y])
    >>> field([3.0], 0.1)  # -3 (1 + 0.1/2 + 0.01/3)
    array([-3.16])
    """
    symbols, rate = checked_symbols("state", state), sympy.Dummy("learning_rate")
    columns = [sympy.Matrix(column) for column in coefficients]
    if not columns or any(column.shape != (len(symbols), 1) for column in columns):
        raise ValueError(f"coefficients must be columns of {len(symbols)} components like the state, at least one")
    total = sum((rate**k * column for k, column in enumerate(columns)), sympy.zeros(len(symbols), 1))
    unknown = total.free_symbols - {rate, *symbols} | total.atoms(sympy.core.function.AppliedUndef)
    if unknown:
        raise ValueError(f"coefficients must hold no symbols but the state {_listed(symbols)}, got {_listed(unknown)}")
    function = sympy.lambdify((symbols, rate), list(total), cse=True, dummify=True)

    def field(theta, learning_rate):
        position = np.asarray(theta, dtype=float)
        if position.shape != (len(symbols),):
            raise ValueError(f"theta must have shape ({len(symbols)},) like the state, got {position.shape}")
        with np.errstate(all="ignore"):
            velocity = np.array(function(position, learning_rate), dtype=float)
        if not np.isfinite(velocity).all():
            raise ArithmeticError(f"the field is not finite at {position}")
        return velocity

    return field


def elementary_differentials(order, momentum=0):
    """The coefficient of every elementary differential of f in the modified equation, for each order.

    Parameters: order and momentum as for `modified_equation`. Returns a list whose entry k maps rooted trees with k + 1
    vertices to numbers: a tree is the tuple of its branches, () is f, ((),) is f'f, ((), ()) is f''(f, f). Raises
    ValueError as `modified_equation`.

    Source: the same recursion on rooted trees, where the derivative along a field grafts it to every vertex.

    >>> for terms in elementary_differentials(2):
    ...     print(written_out(terms))
    f
    -1/2 f'f
    1/12 f''(f,f) + 1/3 f'f'f
    """
    start = {(): sympy.Integer(1)}
    series = _series(start, _graft_along, _combine_trees, checked_order(order), _checked_momentum(momentum))
    return [{tree: _divided(c, momentum, k) for tree, c in terms.items()} for k, terms in enumerate(series)]


def written_out(terms):
    """Elementary differentials with their coefficients, in the notation of the numerical literature.

    >>> written_out({((), ()): sympy.Rational(1, 12), (((),),): sympy.Rational(-1, 3)})
    "1/12 f''(f,f) - 1/3 f'f'f"
    """
    parts = []
    for tree in sorted(terms):
        coefficient = sympy.sympify(terms[tree])
        if coefficient == 0:
            continue
        negative = coefficient.could_extract_minus_sign()
        size = -coefficient if negative else coefficient
        factor = "" if size == 1 else f"({size}) " if size.is_Add else f"{size} "
        parts.append(("- " if negative else "+ ") + factor + tree_name(tree))
    text = " ".join(parts)
    return (text.removeprefix("+ ") if text.startswith("+ ") else text.replace("- ", "-", 1)) or "0"


def modified_loss(loss, parameters, learning_rate):
    """The loss whose gradient flow gradient descent follows one order more closely: E + (h/4) |grad E|^2.

    Parameters
    ----------
    loss : a smooth expression E.
    parameters : the symbols it is trained in.
    learning_rate : h, a symbol or a number >= 0.

    Returns
    -------
    An expression. The penalty is -f_1 of the modified equation, integrated; at order h^2 no loss exists in general.

    Raises
    ------
    ValueError: the loss is not smooth in the parameters; they are not distinct symbols; a negative learning rate.

    Source: Barrett & Dherin 2021, Theorem 3.1.

    >>> a, b, h = sympy.symbols("a b h")
    >>> sympy.factor(modified_loss((1 - a * b) ** 2 / 2, (a, b), h))
    (a*b - 1)**2*(a**2*h + b**2*h + 2)/4
    """
    symbols = checked_symbols("parameters", parameters)
    rate = _sympified("learning_rate", learning_rate)
    _require_other_symbols("learning_rate", rate, symbols, "parameters")
    if rate.is_negative or rate in (sympy.nan, sympy.oo, sympy.zoo) or (rate.is_number and not rate.is_real):
        raise ValueError(f"learning_rate must be a symbol or a number >= 0, got {learning_rate}")
    expression = _sympified("loss", loss)
    _require_smooth("loss", [expression], symbols)
    _require_known_symbols("loss", [expression], symbols, "parameters")
    return expression + rate / 4 * sum(sympy.diff(expression, symbol) ** 2 for symbol in symbols)


def _series(start, along, combine, order, momentum):
    """Numerators F_k of f_k = F_k / (1 - momentum)^(2k+1), which are polynomials in the momentum.

    sums[i, m] is the sum over k_1 + ... + k_i = m of D_{k_1} ... D_{k_(i-1)} F_{k_i}.
    """
    sums = {(1, 0): start}
    for n in range(1, order + 1):
        terms = []
        for i in range(2, n + 2):
            m = n + 1 - i
            sums[i, m] = combine([(1, along(sums[1, k], sums[i - 1, m - k])) for k in range(m + 1)])
            weight = (1 + (-1) ** i * momentum) * (1 - momentum) ** (i - 2) / sympy.factorial(i)
            terms.append((-weight, sums[i, m]))
        sums[1, n] = combine(terms)
    return [sums[1, k] for k in range(order + 1)]


def _polynomial_series(field, symbols, order, momentum):
    """The same for a polynomial field, in sparse polynomials, which are many times faster; None for other fields."""
    unknowns = sorted((field.free_symbols | momentum.free_symbols) - set(symbols), key=str)
    generators = [*symbols, *unknowns]
    given = [*field, momentum]
    if any(entry.has(sympy.Float) or not entry.is_polynomial(*generators) for entry in given):
        return None
    try:
        polynomials = sympy.ring(generators, sympy.QQ)[0]
        *start, _ = [polynomials.from_expr(entry) for entry in given]
    except (ValueError, sympy.CoercionFailed):
        # a coefficient such as sqrt(2) is no rational number
        return None
    variables = polynomials.gens[: len(symbols)]

    def along(direction, components):
        pairs = list(zip(variables, direction, strict=True))
        return [sum((c.diff(x) * d for x, d in pairs), polynomials.zero) for c in components]

    def combine(weighted):
        factors = [polynomials.from_expr(sympy.expand(weight)) for weight, _ in weighted]
        return [
            sum((f * part[k] for f, (_, part) in zip(factors, weighted, strict=True)), polynomials.zero)
            for k in range(len(symbols))
        ]

    series = _series(start, along, combine, order, momentum)
    return [sympy.Matrix([component.as_expr() for component in components]) for components in series]


def _divided(numerator, momentum, k):
    # left as a product: multiplied out, the powers of 1 - momentum would spread over every term
    return numerator if momentum == 0 else numerator / (1 - momentum) ** (2 * k + 1)


def _combine_fields(weighted):
    # what is left unexpanded at one order swells at the next
    total = sum((weight * column for weight, column in weighted[1:]), weighted[0][0] * weighted[0][1])
    return total.applyfunc(sympy.expand)


def _combine_trees(weighted):
    total: dict = {}
    for weight, terms in weighted:
        for tree, coefficient in terms.items():
            total[tree] = sympy.expand(total.get(tree, 0) + weight * coefficient)
    return total


def _graft_along(direction, terms):
    """The derivative of a combination of trees along another: each tree of one on every vertex of each of the other."""
    total: dict = {}
    for branch, weight in direction.items():
        for tree, coefficient in terms.items():
            for grown in graft(branch, tree):
                total[grown] = total.get(grown, 0) + weight * coefficient
    return total


def _checked_field(vector_field, state):
    symbols = checked_symbols("state", state)
    components = [_sympified("vector_field", component) for component in _sequence("vector_field", vector_field)]
    if len(components) != len(symbols):
        raise ValueError(
            f"vector_field must have one component for each of the {len(symbols)} state symbols, got {len(components)}"
        )
    _require_smooth("vector_field", components, symbols)
    _require_known_symbols("vector_field", components, symbols, "state")
    free = set().union(*(component.free_symbols for component in components))
    for symbol in free - set(symbols):
        if symbol.name in TIME:
            raise ValueError(
                f"vector_field must not depend on time, got {symbol}; make time a state symbol whose component is 1"
            )
    if free and not free & set(symbols):
        raise ValueError(f"vector_field must depend on the state {_listed(symbols)}, got only {_listed(free)}")
    return sympy.Matrix(components), symbols


def checked_symbols(name, given):
    """`given` as a list; ValueError unless it is a non-empty sequence of distinct symbols."""
    symbols = _sequence(name, given)
    if not symbols or not all(isinstance(symbol, sympy.Symbol) for symbol in symbols):
        raise ValueError(f"{name} must be a non-empty sequence of symbols, got {given}")
    if len(set(symbols)) != len(symbols):
        raise ValueError(f"{name} must be distinct symbols, got {_listed(symbols)}")
    return symbols


def _require_smooth(name, expressions, symbols):
    # on real numbers sqrt(y**2) shows that it is abs(y)
    real = {symbol: sympy.Dummy(symbol.name, real=True) for symbol in symbols}
    for expression in expressions:
        if expression.has(sympy.nan, sympy.oo, -sympy.oo, sympy.zoo):
            raise ValueError(f"{name} must be finite, got {expression}")
        kinks = expression.xreplace(real).atoms(*NOT_SMOOTH)
        if kinks:
            raise ValueError(f"{name} must be smooth, got {str(min(kinks, key=str)).replace('_', '')}")


def _require_other_symbols(name, value, symbols, role):
    if value.free_symbols & set(symbols):
        raise ValueError(f"{name} must not depend on the {role} {_listed(symbols)}, got {value}")


def _require_known_symbols(name, expressions, symbols, role):
    """ValueError when a symbol looks like one of `symbols` but is another, or hides in a function of time."""
    names = {symbol.name: symbol for symbol in symbols}
    for expression in expressions:
        for symbol in expression.free_symbols - set(symbols):
            if symbol.name in names:
                raise ValueError(
                    f"{name} must be written in the {role} symbols themselves, got another symbol called"
                    f" {symbol.name} (assumptions {_assumptions(symbol)}, in {role} {_assumptions(names[symbol.name])})"
                )
        for call in expression.atoms(sympy.core.function.AppliedUndef):
            if call.func.__name__ in names:
                raise ValueError(f"{name} must be written in the {role} symbols, got the function {call}")


def _assumptions(symbol):
    return ", ".join(key for key, value in sorted(symbol.assumptions0.items()) if value) or "none"


def checked_order(order, name="order", least=0):
    """`order` as an int; ValueError unless it is a whole number >= `least`."""
    if isinstance(order, bool) or not isinstance(order, Integral) or int(order) < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {order!r}")
    return int(order)


def _checked_momentum(momentum, state=()):
    value = _sympified("momentum", momentum)
    _require_other_symbols("momentum", value, state, "state")
    if value.is_number and not (value.is_real and 0 <= value < 1):
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    return value


def _sequence(name, given):
    if isinstance(given, sympy.MatrixBase):
        if given.cols != 1:
            raise ValueError(f"{name} must be a sequence or a column, got shape {given.shape}")
        return list(given)
    try:
        return list(given)
    except TypeError:
        raise ValueError(f"{name} must be a sequence, got {given!r}") from None


def _sympified(name, value):
    try:
        expression = sympy.sympify(value, strict=True)
    except sympy.SympifyError:
        raise ValueError(f"{name} must be a SymPy expression, got {value!r}") from None
    if not isinstance(expression, sympy.Expr):
        raise ValueError(f"{name} must be a SymPy expression, got {value!r}")
    return expression


def _listed(symbols):
    return ", ".join(sorted(map(str, symbols)))

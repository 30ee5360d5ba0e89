"""A loss from a SymPy expression: its derivatives by differentiation, compiled to NumPy."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from quadlab.problems.smooth import SmoothProblem

__all__ = ["Landscape"]

# closed under differentiation, so that a loss made of these has all its derivatives made of these
_SMOOTH = (
    "exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
    "erf", "erfc",
)  # fmt: skip


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Landscape(SmoothProblem):
    """Any smooth loss of a few weights, written as a SymPy expression.

    Parameters
    ----------
    loss : real expression of sums, products, powers and exp, log, sin, cos, tan, asin, acos, atan, sinh, cosh,
        tanh, asinh, acosh, atanh, erf, erfc; kept as `expression`
    parameters : the distinct symbols it depends on, taken as real, in the order of the weights
    name : what reports call the problem

    Each derivative is compiled when first asked for, in time proportional to the size of the loss. Logarithms, powers
    and quotients of sums of exponentials (softplus, logistic, softmax, log cosh, tanh) keep their digits far out, where
    the sums overflow or cancel. Weights at which a derivative or the loss has no finite value, as log(a) at a = -1, are
    refused.

    Raises
    ------
    ValueError: the parameters are not distinct real symbols, the loss has other symbols, or it contains a
    function that is not smooth or not among those above (the sentence names it).

    >>> import sympy
    >>> a, b = sympy.symbols("a b")
    >>> problem = Landscape((a * b - 1) ** 2 / 2 + sympy.cosh(a - 1), [a, b], name="tilted product")
    >>> problem
    Landscape('tilted product': (a*b - 1)**2/2 + cosh(a - 1))
    >>> problem.loss([1.0, 2.0]), problem.gradient([1.0, 2.0])
    (np.float64(1.5), array([2., 1.]))
    >>> softplus = Landscape(sympy.log(1 + sympy.exp(a)), [a])
    >>> softplus.loss([1e5]), softplus.gradient([-720.0])
    (np.float64(100000.0), array([2.0322308e-313]))
    """

    expression: Any = field(init=False)
    parameters: tuple[Any, ...] = field(init=False)
    name: str = field(init=False)

    def __init__(self, loss, parameters, name="landscape"):
        parameters = _distinct_symbols(parameters)
        vars(self).update(expression=_real_expression(loss, parameters), parameters=parameters, name=name)
        self._weights_and_loss  # noqa: B018 (refuses what is not smooth now, not at first use)

    def __repr__(self):
        return f"Landscape({self.name!r}: {self.expression})"

    def __reduce__(self):
        # compiled functions do not pickle, expressions do
        return Landscape, (self.expression, self.parameters, self.name)

    @property
    def dimension(self):
        """Number of weights."""
        return len(self.parameters)

    @cached_property
    def _weights_and_loss(self):
        """The loss on real symbols whose names are no others', whatever the parameters are called."""
        import sympy

        weights = [sympy.Symbol(f"weight_{i}", real=True) for i in range(self.dimension)]
        loss = self.expression.xreplace(dict(zip(self.parameters, weights, strict=True)))
        _require_smooth(loss, self.expression)
        return weights, loss

    def _program(self, order):
        """Lines that compute the loss and a derivative along order - 1 vectors, their arguments and their results."""
        import sympy

        from quadlab.problems.differentiation import Program
        from quadlab.problems.stable import stable

        weights, loss = self._weights_and_loss
        vectors = [
            [sympy.Symbol(f"vector_{n}_{i}", real=True) for i in range(self.dimension)] for n in range(order - 1)
        ]
        program = Program()
        loss = program.add(stable(loss))
        components = program.gradient(loss, weights) if order else []
        for vector in vectors:
            components = program.derivative(components, weights, vector)
        outputs = [loss, *components]
        return program.lines_for(outputs), [weights, *vectors], outputs

    def _compile(self, order):
        """NumPy function of weights and order - 1 vectors: the loss, then the gradient differentiated along these."""
        import sympy

        from quadlab.problems.stable import NUMERIC

        lines, arguments, outputs = self._program(order)
        modules = [NUMERIC, "scipy", "numpy"]
        return sympy.lambdify(arguments, outputs, modules=modules, cse=lambda outputs: (lines, outputs))

    @cached_property
    def _functions(self):
        return {}

    def _values(self, *arrays, order):
        if order not in self._functions:
            self._functions[order] = self._compile(order)
        try:
            values = self._functions[order](*(np.moveaxis(array, -1, 0) for array in arrays))
        except OverflowError:
            raise ValueError(f"loss must have constants that double precision holds, got {self.expression}") from None
        shape = arrays[0].shape[:-1]
        result = np.empty((*shape, len(values)))
        for i, value in enumerate(values):
            result[..., i] = value
        return result

    def _derivatives(self, *arrays, order):
        values = self._values(*arrays, order=order)
        # a derivative such as that of log(a) has values where the loss itself has none
        return np.where(np.isfinite(values[..., :1]), values[..., 1:], np.nan)

    def _loss(self, weights):
        return self._values(weights, order=0)[..., 0]

    def _gradient(self, weights):
        return self._derivatives(weights, order=1)

    def _hessian_product(self, weights, vector):
        return self._derivatives(weights, vector, order=2)

    def _third_derivative_product(self, weights, first, second):
        return self._derivatives(weights, first, second, order=3)


def _distinct_symbols(parameters):
    import sympy

    try:
        symbols = tuple(parameters)
    except TypeError:
        symbols = ()
    real = all(isinstance(symbol, sympy.Symbol) and symbol.is_extended_real is not False for symbol in symbols)
    if not symbols or not real or len(set(symbols)) != len(symbols):
        raise ValueError(f"parameters must be distinct real symbols, at least one, got {parameters!r}")
    return symbols


def _real_expression(loss, parameters):
    import sympy

    try:
        expression = sympy.sympify(loss, strict=True)
    except sympy.SympifyError:
        expression = None
    if not isinstance(expression, sympy.Expr):
        raise ValueError(f"loss must be a SymPy expression, got {loss!r}")
    unknown = sorted(expression.free_symbols - set(parameters), key=str)
    if unknown:
        names = {symbol.name for symbol in parameters}
        hint = " with other assumptions" if names & {symbol.name for symbol in unknown} else ""
        raise ValueError(
            f"loss must have no symbols but the parameters {', '.join(map(str, parameters))}, "
            f"got {', '.join(map(str, unknown))}{hint}"
        )
    return expression


def _require_smooth(loss, expression):
    import sympy

    plain = (sympy.Symbol, sympy.Rational, sympy.Float, sympy.NumberSymbol, sympy.Add, sympy.Mul, sympy.Pow)
    smooth = tuple(getattr(sympy, name) for name in _SMOOTH)
    for node in sympy.preorder_traversal(loss):
        if not isinstance(node, plain + smooth):
            raise ValueError(
                f"loss must be real and smooth, made of sums, products, powers and {', '.join(_SMOOTH)}; "
                f"got {node.func.__name__} in {expression}"
            )

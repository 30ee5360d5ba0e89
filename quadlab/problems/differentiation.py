"""Derivatives of an expression as a program of elementary lines, whose length grows with the expression's own.

Symbolic differentiation repeats every inner function in every derivative; here the gradient is one sweep back over the
lines of the loss, and each further derivative along a vector one sweep forward over all lines so far.
"""

import sympy

__all__ = ["Program"]


class Program:
    """Lines (symbol, operation on symbols and constants), none twice, in an order in which they can be computed."""

    def __init__(self):
        self.lines = []
        self._symbols = {}

    def add(self, expression):
        """The symbol or constant that stands for an expression; lines are added for what has none yet."""
        if expression in self._symbols:
            return self._symbols[expression]
        if not expression.args:
            return expression
        operands = [self.add(argument) for argument in expression.args]
        operation = expression.func(*operands)
        if not operation.args or not any(operand.is_Symbol for operand in operands):
            result = operation
        elif operation in self._symbols:
            result = self._symbols[operation]
        else:
            result = sympy.Symbol(f"line_{len(self.lines)}", real=True)
            self.lines.append((result, operation))
            self._symbols[operation] = result
        self._symbols[expression] = result
        return result

    def gradient(self, output, weights):
        """Symbols of the partial derivatives of one symbol, by one sweep back."""
        adjoints = {output: [sympy.Integer(1)]}
        for symbol, operation in reversed(list(self.lines)):
            if symbol in adjoints:
                adjoint = self.add(sympy.Add(*adjoints[symbol]))
                for operand, slope in _slopes(symbol, operation):
                    adjoints.setdefault(operand, []).append(self.add(adjoint * slope))
        return [self.add(sympy.Add(*adjoints.get(weight, []))) for weight in weights]

    def derivative(self, outputs, weights, vector):
        """Symbols of the derivatives of other symbols along a vector, by one sweep forward."""
        tangents = dict(zip(weights, vector, strict=True))
        for symbol, operation in list(self.lines):
            if operation.free_symbols.isdisjoint(tangents):
                continue
            if hasattr(operation, "along"):
                tangent = operation.along(*(tangents.get(operand, 0) for operand in operation.args))
            else:
                slopes = _slopes(symbol, operation)
                tangent = sympy.Add(*(self.add(tangents[s] * slope) for s, slope in slopes if s in tangents))
            tangents[symbol] = self.add(tangent)
        return [tangents.get(output, sympy.Integer(0)) for output in outputs]

    def lines_for(self, outputs):
        """The lines that these symbols need."""
        needed, lines = set(outputs), []
        for symbol, operation in reversed(self.lines):
            if symbol in needed:
                needed |= operation.free_symbols
                lines.append((symbol, operation))
        return lines[::-1]


def _slopes(symbol, operation):
    """Each symbol in an operation, with the operation's partial derivative by it."""
    operands = sorted(operation.free_symbols, key=str)
    if operation.is_Add:
        coefficients = operation.as_coefficients_dict()
        return [(operand, coefficients[operand]) for operand in operands]
    return [(operand, sympy.diff(operation, operand).xreplace({operation: symbol})) for operand in operands]

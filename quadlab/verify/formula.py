"""The text of a formula as a callable on numbers, SymPy expressions and Arb balls; the text is never run."""

import ast
import difflib
import itertools
import math
import operator
import re
import sys
import warnings
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial, reduce
from typing import Any

import numpy as np

from quadlab.theory import elementary
from quadlab.theory.elementary import is_arb, is_symbolic

__all__ = ["Formula", "NotAlgebraic", "parse"]

LONGEST_TEXT = 10_000
DEEPEST_NESTING = 100
TOO_DEEP = f"the formula must not be nested more than {DEEPEST_NESTING} deep"
LARGEST_EXPONENT = 1000
LARGEST_EXACT_POWER_BITS = 10**7
HINTS = {"^": "write ** for a power", "&": "write and", "|": "write or", "~": "write not"}


class NotAlgebraic(ValueError):
    """A formula or statement that exact algebra does not take; the message says why. Numbers and balls may."""


@dataclass(frozen=True)
class Formula:
    """A formula in the variables `names`; calling it with one value for each gives a number, or a relation where
    `is_relation`.

    Arrays broadcast. As soon as one value is symbolic (or a ball), whole and decimal numbers in the text
    count as exact rationals (or as balls around them). A comparison of overlapping balls raises ValueError.

    >>> Formula("learning_rate * eigenvalue < 2", ("learning_rate", "eigenvalue"))(
    ...     learning_rate=0.1, eigenvalue=np.array([10.0, 30.0]))
    array([ True, False])
    """

    text: str
    names: tuple[str, ...]
    is_relation: bool = field(init=False, repr=False, compare=False)
    _tree: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "names", tuple(self.names))
        reader = _Reader(self.text, self.names)
        object.__setattr__(self, "_tree", reader.tree())
        object.__setattr__(self, "is_relation", reader.is_relation)

    def __call__(self, *positional, **values):
        values |= dict(zip(self.names, positional, strict=False))
        if set(values) != set(self.names):
            raise TypeError(f"the formula needs {', '.join(self.names)}; got {', '.join(values) or 'nothing'}")
        values = {name: _array(value) for name, value in values.items()}
        lift = _lift_for(values.values())
        lifted = {name: lift(value) for name, value in values.items()}
        return _evaluate(self._tree, _constants(lift) | lifted, lift)


def parse(text, names):
    """The `Formula` that `text` spells in the variables `names`; ValueError says what is wrong, and where.

    Accepted: numbers, + - * / **, comparisons, and, or, not, pi, e (unless they are among the names) and the
    functions of `quadlab.theory.elementary`, abs, min, max and sum (over the last axis, the directions).

    >>> import sympy
    >>> parse("2 / learning_rate - 0.5", ["learning_rate"])(learning_rate=sympy.Symbol("rho"))
    -1/2 + 2/rho
    >>> parse("2 / learning_rat", ["learning_rate"])
    Traceback (most recent call last):
    ...
    ValueError: the name 'learning_rat' at column 5 (did you mean learning_rate?) was not understood; ...
    """
    return Formula(text, tuple(names))


def _evaluate(tree, values, lift):
    """A tree is a Fraction, the name of a value, or an operation followed by its arguments."""
    if isinstance(tree, Fraction):
        return lift(tree)
    if isinstance(tree, str):
        return values[tree]
    operation, *arguments = tree
    return operation(*(_evaluate(argument, values, lift) for argument in arguments))


def _lift_for(values):
    """The function that turns a number into the richest kind among `values`: symbol, ball or float64."""
    entries = [entry for value in values for entry in (value.flat if _is_object_array(value) else (value,))]
    if any(map(is_symbolic, entries)):
        return _to_symbol
    return _to_ball if any(map(is_arb, entries)) else _to_float


def _array(value):
    """A sequence as an array (of objects, where symbols or balls are among them); anything else unchanged."""
    if not isinstance(value, (list, tuple)):
        return value
    exact = any(is_symbolic(entry) or is_arb(entry) for entry in value)
    return np.array(value, dtype=object if exact else np.float64)


def _is_object_array(value):
    return isinstance(value, np.ndarray) and value.dtype == object


def _to_symbol(value):
    sympy = sys.modules["sympy"]
    if isinstance(value, Fraction):
        return sympy.Rational(value.numerator, value.denominator)
    return value if isinstance(value, np.ndarray) else sympy.sympify(value, strict=True)


def _to_ball(value):
    flint = sys.modules["flint"]
    if isinstance(value, Fraction):
        return flint.arb(flint.fmpq(value.numerator, value.denominator))
    return value if isinstance(value, (np.ndarray, flint.arb)) else flint.arb(value)


def _to_float(value):
    if type(value).__module__.partition(".")[0] == "cupy":
        return value
    return np.asarray(float(value) if isinstance(value, Fraction) else value, dtype=np.float64)[()]


def _constants(lift):
    if lift is _to_symbol:
        sympy = sys.modules["sympy"]
        return {"pi": sympy.pi, "e": sympy.E}
    if lift is _to_ball:
        arb = sys.modules["flint"].arb
        return {"pi": arb.pi(), "e": arb.const_e()}
    return {"pi": np.float64(np.pi), "e": np.float64(np.e)}


def _power(base, exponent):
    if is_symbolic(base) and is_symbolic(exponent) and exponent.is_Rational:
        rationals = base.atoms(sys.modules["sympy"].Rational)
        bits = sum(int(number.p).bit_length() + int(number.q).bit_length() for number in rationals)
        if bits * abs(exponent) > LARGEST_EXACT_POWER_BITS:
            raise ValueError(f"the power {base} ** {exponent} is too large to be computed exactly")
    return base**exponent


def _compare(name, opposite, left, right):
    """Overlapping balls answer False to both a < b and a >= b, which must not pass for "no"."""
    if _is_object_array(left) or _is_object_array(right):
        return np.vectorize(partial(_compare, name, opposite), otypes=[object])(left, right)
    if is_symbolic(left) or is_symbolic(right):
        return getattr(sys.modules["sympy"], name.capitalize())(left, right)
    holds = getattr(operator, name)(left, right)
    if (is_arb(left) or is_arb(right)) and not holds and not getattr(operator, opposite)(left, right):
        raise ValueError(f"the balls {left} and {right} overlap, so they cannot be compared")
    return holds


def _chain(comparisons, *sides):
    """a < b < c with b evaluated once: twice, in nested formulas, would be exponentially often."""
    links = [compare(*pair) for compare, pair in zip(comparisons, itertools.pairwise(sides), strict=True)]
    return links[0] if len(links) == 1 else _LOGIC[ast.And](*links)


def _choose(symbolic, ball, numeric, *values):
    """SymPy's `symbolic`, Arb's `ball` or the array function `numeric`, whichever suits all the values."""
    if any(map(is_symbolic, values)):
        return getattr(sys.modules["sympy"], symbolic)(*values)
    if any(map(is_arb, values)):
        return reduce(getattr(sys.modules["flint"].arb, ball), values)
    return numeric(*values) if len(values) == 1 else reduce(numeric, values)


def _total(value):
    """The sum over the last axis, which holds the directions; a number is its own sum."""
    return np.sum(value, axis=-1) if isinstance(value, np.ndarray) and value.ndim else value


_COMPARISONS = {
    ast.Lt: partial(_compare, "lt", "ge"), ast.LtE: partial(_compare, "le", "gt"),
    ast.Gt: partial(_compare, "gt", "le"), ast.GtE: partial(_compare, "ge", "lt"),
    ast.Eq: partial(_compare, "eq", "ne"), ast.NotEq: partial(_compare, "ne", "eq"),
}  # fmt: skip
_ARITHMETIC = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: _power, ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip
_LOGIC = {
    ast.And: partial(_choose, "And", "", np.logical_and), ast.Or: partial(_choose, "Or", "", np.logical_or),
    ast.Not: partial(_choose, "Not", "", np.logical_not),
}  # fmt: skip
_FUNCTIONS = {
    name: (getattr(elementary, name), 1, 1)
    for name in ("sqrt", "exp", "log", "log1p", "sin", "cos", "sinh", "cosh", "asinh", "erf", "erfc")
} | {
    "where": (elementary.where, 3, 3), "abs": (abs, 1, 1), "sum": (_total, 1, 1),
    "min": (partial(_choose, "Min", "min", np.minimum), 2, 50),
    "max": (partial(_choose, "Max", "max", np.maximum), 2, 50),
}  # fmt: skip


class _Reader:
    """Turns one text into a tree, or into a ValueError."""

    def __init__(self, text, names):
        self.text, self.names = text, names

    def tree(self):
        if len(self.text) > LONGEST_TEXT:
            raise ValueError(f"a formula has at most {LONGEST_TEXT} characters, got {len(self.text)}")
        if stray := re.search(r"[^\w\s.+\-*/(),<>=!]", self.text):
            raise self.error(f"{stray[0]!r}", stray.start(), HINTS.get(stray[0], ""))
        self.source = re.sub(r"\s", " ", self.text).lstrip()
        self.indent = len(self.text) - len(self.source)
        if not self.source:
            raise self.error("an empty formula", 0)
        try:
            with warnings.catch_warnings(action="error"):
                body = ast.parse(self.source, mode="eval").body
        except SyntaxError as error:
            raise self.error("the syntax", self.indent + max((error.offset or 1) - 1, 0)) from None
        except (RecursionError, MemoryError):
            raise ValueError(TOO_DEEP) from None
        self.is_relation = _is_relation(body)
        return self.read(body, self.is_relation, 0)

    def read(self, node, relation, depth):
        """The tree of one node, which must be a relation or must be a number."""
        if depth > DEEPEST_NESTING:
            raise ValueError(TOO_DEEP)
        if _is_relation(node) != relation:
            raise self.refusal(node, f"a {'comparison' if relation else 'number'} must stand here")
        number, test = partial(self.read, relation=False), partial(self.read, relation=True)
        depth += 1
        match node:
            case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
                return self.literal(node)
            case ast.Name(id=name) if name in (*self.names, "pi", "e"):
                return name
            case ast.Name(id=name):
                raise self.unknown(name, node, [*self.names, "pi", "e"])
            case ast.UnaryOp(op=ast.Not()):
                return (_LOGIC[ast.Not], test(node.operand, depth=depth))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                return (_ARITHMETIC[type(node.op)], number(node.operand, depth=depth))
            case ast.BoolOp():
                return (_LOGIC[type(node.op)], *(test(value, depth=depth) for value in node.values))
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                left, right = number(node.left, depth=depth), number(node.right, depth=depth)
                if isinstance(node.op, ast.Pow):
                    self.check_exponent(node.right, right)
                return (_ARITHMETIC[type(node.op)], left, right)
            case ast.Compare() if all(type(op) in _COMPARISONS for op in node.ops):
                sides = [number(side, depth=depth) for side in (node.left, *node.comparators)]
                return (partial(_chain, [_COMPARISONS[type(op)] for op in node.ops]), *sides)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self.call(node, name, args, depth)
        raise self.refusal(node)

    def call(self, node, name, arguments, depth):
        if name not in _FUNCTIONS:
            raise self.unknown(name, node, list(_FUNCTIONS))
        function, fewest, most = _FUNCTIONS[name]
        if not fewest <= len(arguments) <= most:
            count = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise self.refusal(node, f"{name} takes {count} argument{'s' * (most > 1)}")
        wants = [name == "where" and position == 0 for position in range(len(arguments))]
        pairs = zip(arguments, wants, strict=True)
        return (function, *(self.read(argument, relation, depth) for argument, relation in pairs))

    def literal(self, node):
        """The exact number as written; refused before every digit of 1e-999999999 is written out."""
        written = ast.get_source_segment(self.source, node) or ""
        try:
            size = abs(float(node.value))
        except OverflowError:
            size = math.inf
        underflow = size == 0 and re.search("[1-9]", written.lower().partition("e")[0])
        if underflow or size == math.inf:
            raise self.refusal(node, "numbers must lie in the range of double precision")
        return Fraction(written) if isinstance(node.value, float) and size > 0 else Fraction(node.value)

    def check_exponent(self, node, tree):
        if any(isinstance(part, ast.Name) and part.id in self.names for part in ast.walk(node)):
            return
        with np.errstate(all="ignore"):
            small = abs(_evaluate(tree, _constants(_to_float), _to_float)) <= LARGEST_EXPONENT
        if not small:
            raise self.refusal(node, f"constant exponents must be at most {LARGEST_EXPONENT} in size")

    def unknown(self, name, node, known):
        close = difflib.get_close_matches(name, known, 1)
        return self.error(f"the name {name!r}", self.start(node), close and f"did you mean {close[0]}?")

    def refusal(self, node, hint=""):
        written = ast.get_source_segment(self.source, node) or ""
        return self.error(f"{written[:40]!r}", self.start(node), hint)

    def start(self, node):
        return self.indent + len(self.source.encode()[: node.col_offset].decode())

    def error(self, what, position, hint=""):
        names = ", ".join((*self.names, "pi", "e"))
        accepted = f"numbers, {names}, + - * / **, comparisons, and, or, not, {', '.join(_FUNCTIONS)}"
        place = f"at column {position + 1}" + (f" ({hint})" if hint else "")
        return ValueError(f"{what} {place} was not understood; accepted are {accepted}")


def _is_relation(node):
    """True where the text compares: a name or a call is always a number."""
    return isinstance(node, (ast.Compare, ast.BoolOp)) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    )

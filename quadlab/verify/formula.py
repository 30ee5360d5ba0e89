"""The text of a formula as a callable on numbers, SymPy expressions and Arb balls; the text is never run."""

import ast
import difflib
import itertools
import math
import operator
import re
import sys
import unicodedata
import warnings
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial, reduce

import numpy as np

from quadlab.theory import elementary
from quadlab.theory.elementary import is_arb, is_symbolic

__all__ = ["LARGEST_ROOT", "Formula", "NotAlgebraic", "degrees", "parse"]

LONGEST_TEXT = 10_000
DEEPEST_NESTING = 100
TOO_DEEP = f"the formula must not be nested more than {DEEPEST_NESTING} deep"
LARGEST_EXPONENT = 1000
# What SymPy still handles: beyond it takes minutes over one comparison, simplification or power.
LARGEST_ROOT = 12
LARGEST_SYMBOLIC_DEGREE = 10_000
LARGEST_SYMBOLIC_SIZE = 1000
DEEPEST_SYMBOLIC_CALLS = 8
MOST_SYMBOLIC_CHOICES = 400
LARGEST_EXACT_POWER_BITS = 10**5
HINTS = {"^": "write ** for a power", "&": "write and", "|": "write or", "~": "write not"}


class NotAlgebraic(ValueError):
    """A formula or statement that exact algebra does not take; the message says why. Numbers and balls may."""


@dataclass(frozen=True)
class Formula:
    """A formula in the variables `names`; calling it with one value for each gives a number, or a relation where
    `is_relation`.

    Arrays broadcast. As soon as one value is symbolic (or a ball), whole and decimal numbers in the text
    count as exact rationals (or as balls around them). A comparison of overlapping balls raises ValueError.
    NotAlgebraic says that symbols cannot enter: x**2.001 would be a root of degree 1000.

    >>> Formula("learning_rate * eigenvalue < 2", ("learning_rate", "eigenvalue"))(
    ...     learning_rate=0.1, eigenvalue=np.array([10.0, 30.0]))
    array([ True, False])
    """

    text: str
    names: tuple[str, ...]
    is_relation: bool = field(init=False, repr=False, compare=False)
    _program: tuple = field(init=False, repr=False, compare=False)
    _not_symbolic: str = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "names", tuple(self.names))
        reader = _Reader(self.text, self.names)
        object.__setattr__(self, "_program", reader.program())
        object.__setattr__(self, "is_relation", reader.is_relation)
        object.__setattr__(self, "_not_symbolic", reader.not_symbolic())

    def __call__(self, *positional, **values):
        values |= dict(zip(self.names, positional, strict=False))
        if set(values) != set(self.names):
            raise TypeError(f"the formula needs {', '.join(self.names)}; got {', '.join(values) or 'nothing'}")
        values = {name: _array(value) for name, value in values.items()}
        lift = _lift_for(values.values())
        lifted = _constants(lift) | {name: lift(value) for name, value in values.items()}
        return self._symbolic(lifted) if lift is _to_symbol else _evaluate(self._program, lifted, lift)

    def _symbolic(self, values):
        if self._not_symbolic:
            raise NotAlgebraic(self._not_symbolic)
        try:
            value = _evaluate(self._program, values, _to_symbol)
            for entry in value.flat if _is_object_array(value) else (value,):
                if is_symbolic(entry) and (degree := max(degrees(entry))) > LARGEST_SYMBOLIC_DEGREE:
                    raise NotAlgebraic(f"the formula has degree {degree}; at most {LARGEST_SYMBOLIC_DEGREE} on symbols")
        except RecursionError:
            raise NotAlgebraic("the formula is nested too deeply for symbols") from None
        return value


def parse(text, names):
    """The `Formula` that `text` spells in the variables `names`; ValueError says what is wrong, and where.

    Accepted: numbers, + - * / **, comparisons, and, or, not, pi, e (unless they are among the names) and the
    functions of `quadlab.theory.elementary`, abs, min, max and sum (over the last axis, the directions). Numbers are
    written as in Python (12_000 is twelve thousand); names that Unicode's NFKC makes one are one. A part without
    variables must be a number of double precision.

    >>> import sympy
    >>> parse("2 / learning_rate - 0.5", ["learning_rate"])(learning_rate=sympy.Symbol("rho"))
    -1/2 + 2/rho
    >>> parse("2 / learning_rat", ["learning_rate"])
    Traceback (most recent call last):
    ...
    ValueError: the name 'learning_rat' at column 5 (did you mean learning_rate?) was not understood; ...
    """
    return Formula(text, tuple(names))


def degrees(expression):
    """Degrees of numerator and denominator of a SymPy expression, once all fractions are brought together.

    Roots and other functions count as variables; NotAlgebraic names a root of a degree above LARGEST_ROOT, such as
    x**2.001.

    >>> from sympy.abc import x
    >>> degrees((x**3 + 1) ** 2 / x + x / (1 - x))
    (7, 2)
    """
    sympy = sys.modules["sympy"]
    if isinstance(expression, sympy.Symbol):
        return 1, 0
    if isinstance(expression, sympy.Pow):
        return _degrees_of_power(*expression.args)
    parts = [degrees(part) for part in expression.args]
    above, below = ([part[side] for part in parts] for side in (0, 1))
    if isinstance(expression, (sympy.Add, sympy.core.relational.Relational)):
        together = sum(below)
        return max(numerator + together - denominator for numerator, denominator in parts), together
    if isinstance(expression, sympy.Mul):
        return sum(above), sum(below)
    return max(above, default=0), max(below, default=0)


def _degrees_of_power(base, exponent):
    sympy = sys.modules["sympy"]
    for number in exponent.atoms(sympy.Rational):
        if number.q > LARGEST_ROOT:
            raise NotAlgebraic(
                f"{base} to the power {exponent} is a root of degree {number.q}; at most {LARGEST_ROOT} is read exactly"
            )
    above, below = degrees(base)
    if not exponent.is_Rational:
        exponent_above, exponent_below = degrees(exponent)
        return max(above, exponent_above, 1), max(below, exponent_below)
    if exponent.q > 1:
        above, below = max(above, below + exponent.q), 0
    above, below = above * abs(int(exponent.p)), below * abs(int(exponent.p))
    return (above, below) if exponent.p > 0 else (below, above)


def _evaluate(program, values, lift):
    """The value of a program: Fractions and names of values, and operations with the number of values they take."""
    stack = []
    for item in program:
        if isinstance(item, Fraction):
            stack.append(lift(item))
        elif isinstance(item, str):
            stack.append(values[item])
        else:
            operation, count = item
            stack[-count:] = [operation(*stack[-count:])]
    return stack[0]


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
    if isinstance(value, np.ndarray):
        return np.vectorize(_to_symbol, otypes=[object])(value)
    if isinstance(value, Fraction):
        return sympy.Rational(value.numerator, value.denominator)
    return sympy.sympify(value, strict=True)


def _to_ball(value):
    flint = sys.modules["flint"]
    if isinstance(value, np.ndarray):
        return np.vectorize(_to_ball, otypes=[object])(value)
    if isinstance(value, Fraction):
        return flint.arb(flint.fmpq(value.numerator, value.denominator))
    return (
        value if isinstance(value, flint.arb) else flint.arb(value.item() if isinstance(value, np.generic) else value)
    )


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
            # not even written out: Python refuses to print numbers of more than 4300 digits
            what = "a number" if base.is_number else str(base)[:40]
            raise NotAlgebraic(f"the power {what} ** {exponent} is too large to be computed exactly")
    return base**exponent


def _compare(name, opposite, left, right):
    """Overlapping balls answer False to both a < b and a >= b, which must not pass for "no"."""
    if _is_object_array(left) or _is_object_array(right):
        return np.vectorize(partial(_compare, name, opposite), otypes=[object])(left, right)
    if is_symbolic(left) or is_symbolic(right):
        _require_real(left, right)
        return getattr(sys.modules["sympy"], name.capitalize())(left, right)
    holds = getattr(operator, name)(left, right)
    if (is_arb(left) or is_arb(right)) and not holds and not getattr(operator, opposite)(left, right):
        raise ValueError(f"the balls {left} and {right} overlap, so they cannot be compared")
    return holds


def _require_real(*values):
    """SymPy's comparisons break on 0/0, 1/0 and the square root of -1."""
    sympy = sys.modules["sympy"]
    for value in map(sympy.sympify, values):
        if value.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo) or getattr(value, "is_extended_real", None) is False:
            raise NotAlgebraic(f"{value} is not a real number, so it cannot be compared")


def _chain(comparisons, *sides):
    """a < b < c with b evaluated once: twice, in nested formulas, would be exponentially often."""
    links = [compare(*pair) for compare, pair in zip(comparisons, itertools.pairwise(sides), strict=True)]
    return links[0] if len(links) == 1 else _LOGIC[ast.And](*links)


def _choose(symbolic, ball, numeric, *values):
    """SymPy's `symbolic`, Arb's `ball` or the array function `numeric`, whichever suits all the values."""
    if any(map(_is_object_array, values)):
        return np.vectorize(partial(_choose, symbolic, ball, numeric), otypes=[object])(*values)
    if any(map(is_symbolic, values)):
        _require_real(*values)
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
    """Turns one text into a program, or into a ValueError."""

    def __init__(self, text, names):
        self.text = text
        self.names = {unicodedata.normalize("NFKC", name): name for name in names}
        if len(self.names) < len(names):
            raise ValueError(f"names must differ after Unicode's NFKC normalisation, got {', '.join(names)}")
        self.items, self.choices, self.calls = [], 0, 0

    def program(self):
        if len(self.text) > LONGEST_TEXT:
            raise ValueError(f"a formula has at most {LONGEST_TEXT} characters, got {len(self.text)}")
        if stray := re.search(r"[^\w\s.+\-*/(),<>=!]", self.text):
            raise self.error(f"{stray[0]!r}", stray.start(), HINTS.get(stray[0], ""))
        self.source = re.sub(r"\s", " ", self.text).lstrip()
        self.encoded = self.source.encode()
        self.indent = len(self.text) - len(self.source)
        if not self.source:
            raise self.error("an empty formula", 0)
        try:
            with warnings.catch_warnings(action="error"):
                body = ast.parse(self.source, mode="eval").body
            self.is_relation = _is_relation(body)
            with np.errstate(all="ignore"):
                self.read(body, self.is_relation, 0, 0)
        except SyntaxError as error:
            raise self.error("the syntax", self.indent + max((error.offset or 1) - 1, 0)) from None
        except (RecursionError, MemoryError):
            raise ValueError(TOO_DEEP) from None
        return tuple(self.items)

    def not_symbolic(self):
        """Why SymPy should not be given this formula; "" if it may."""
        limits = (
            (len(self.items), LARGEST_SYMBOLIC_SIZE, "operations and operands"),
            (self.calls, DEEPEST_SYMBOLIC_CALLS, "functions, powers or chains inside each other"),
            (self.choices, MOST_SYMBOLIC_CHOICES, "comparisons"),
        )
        return next(
            (f"{count} {what}; symbols take at most {most}" for count, most, what in limits if count > most), ""
        )

    def read(self, node, relation, depth, calls):
        """Append the program of one node, which must be a relation or must be a number; its value if constant."""
        if depth > DEEPEST_NESTING:
            raise ValueError(TOO_DEEP)
        if _is_relation(node) != relation:
            raise self.refusal(node, f"a {'comparison' if relation else 'number'} must stand here")
        self.calls = max(self.calls, calls)
        match node:
            case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
                return self.leaf(self.literal(node))
            case ast.Name(id=name) if name in self.names:
                self.items.append(self.names[name])
                return None
            case ast.Name(id="pi" | "e" as name):
                return self.leaf(name)
            case ast.Name(id=name):
                raise self.unknown(name, node, [*self.names, "pi", "e"])
            case ast.UnaryOp(op=ast.Not()):
                return self.operation(node, _LOGIC[ast.Not], [node.operand], [True], depth, calls)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                return self.operation(node, _ARITHMETIC[type(node.op)], [node.operand], [False], depth, calls)
            case ast.BoolOp(values=values):
                self.choices += len(values)
                return self.operation(node, _LOGIC[type(node.op)], values, [True] * len(values), depth, calls)
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                sides = [node.left, node.right]
                # SymPy asks for the sign of a base, and of all that stands in it
                calls += isinstance(node.op, ast.Pow) and not isinstance(node.left, (ast.Name, ast.Constant))
                return self.operation(node, _ARITHMETIC[type(node.op)], sides, [False, False], depth, calls)
            case ast.Compare() if all(type(op) in _COMPARISONS for op in node.ops):
                sides = [node.left, *node.comparators]
                # SymPy compares the conditions of a conjunction with each other
                self.choices += len(node.ops) ** 2
                chain = partial(_chain, [_COMPARISONS[type(op)] for op in node.ops])
                return self.operation(node, chain, sides, [False] * len(sides), depth, calls + len(sides) - 2)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self.call(node, name, args, depth, calls)
        raise self.refusal(node)

    def call(self, node, name, arguments, depth, calls):
        if name not in _FUNCTIONS:
            raise self.unknown(name, node, list(_FUNCTIONS))
        function, fewest, most = _FUNCTIONS[name]
        if not fewest <= len(arguments) <= most:
            count = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise self.refusal(node, f"{name} takes {count} argument{'s' * (most > 1)}")
        if most > 1:
            self.choices += len(arguments) ** 2
        wants = [name == "where" and position == 0 for position in range(len(arguments))]
        return self.operation(node, function, arguments, wants, depth, calls + 1)

    def operation(self, node, function, arguments, relations, depth, calls):
        """Append the programs of the arguments and the function; its value if all of them are constant."""
        pairs = zip(arguments, relations, strict=True)
        constants = [self.read(argument, relation, depth + 1, calls) for argument, relation in pairs]
        if function is _power and constants[1] is not None and not abs(constants[1]) <= LARGEST_EXPONENT:
            raise self.refusal(node.right, f"constant exponents must be at most {LARGEST_EXPONENT} in size")
        self.items.append((function, len(arguments)))
        if any(constant is None for constant in constants):
            return None
        value = function(*constants)
        vanishing = function in (elementary.exp, elementary.erfc) or (function is _power and constants[0] != 0)
        if not np.isfinite(value) or (vanishing and value == 0):
            raise self.refusal(node, "its value must be a number in the range of double precision")
        return value

    def leaf(self, item):
        self.items.append(item)
        return _constants(_to_float)[item] if isinstance(item, str) else _to_float(item)

    def literal(self, node):
        """The exact number as written; refused before every digit of 1e-999999999 is written out."""
        written = self.written(node)
        try:
            size = abs(float(node.value))
        except OverflowError:
            size = math.inf
        underflow = size == 0 and re.search("[1-9]", written.lower().partition("e")[0])
        if underflow or size == math.inf:
            raise self.refusal(node, "numbers must lie in the range of double precision")
        return Fraction(written) if isinstance(node.value, float) and size > 0 else Fraction(node.value)

    def written(self, node):
        # the whole text is one line; ast.get_source_segment would split it again for each number
        return self.encoded[node.col_offset : node.end_col_offset].decode()

    def unknown(self, name, node, known):
        close = difflib.get_close_matches(name, known, 1)
        return self.error(f"the name {name!r}", self.start(node), close and f"did you mean {close[0]}?")

    def refusal(self, node, hint=""):
        return self.error(f"{self.written(node)[:40]!r}", self.start(node), hint)

    def start(self, node):
        return self.indent + len(self.encoded[: node.col_offset].decode())

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

"""The modified equation of gradient descent is a sum over rooted trees with universal coefficients.

Every term of the field is a combination of elementary differentials f'f, f'f'f, f''(f,f), ..., one for each rooted
tree. The tall trees f'...f'f carry the logarithm, log(1 + h)/h; the bushy trees f''...'(f,...,f) carry the Bernoulli
numbers of the Euler-Maclaurin formula. A single tree is singled out by the field with one variable for each vertex,
y_v' = product of the variables of v's branches: at the origin all other elementary differentials of the root vanish.
There the coefficient is read off Euler's iterates, without any recursion, through h D~ = log(1 + Delta).
"""

from fractions import Fraction
from functools import cache
from itertools import pairwise
from math import factorial

import numpy as np
import sympy

from quadlab import derive
from quadlab.derive.trees import graft, tree_name, vertices
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.intervals import Interval
from quadlab.verify import IDENTITY, Claim, Derivation, Domain, Theorem

STEP = sympy.Symbol("learning_rate", positive=True)
HIGHEST = 5
COEFFICIENTS = {tree: c for terms in derive.elementary_differentials(HIGHEST) for tree, c in sorted(terms.items())}
TREES = list(COEFFICIENTS)


def logarithm_of_the_shift(values, order):
    """Coefficients of h, ..., h^(order+1) in log(1 + Delta) y_0, from iterates that are polynomials in h."""
    total = np.zeros(1, dtype=object)
    for n in range(1, order + 2):
        values = [np.polynomial.polynomial.polysub(later, earlier) for earlier, later in pairwise(values)]
        total = np.polynomial.polynomial.polyadd(total, values[0] * Fraction((-1) ** (n - 1), n))
    total = np.concatenate([total, np.zeros(order + 2, dtype=object)])
    return total[1 : order + 2]


def tree_field(tree):
    """Variables and field with one component for each vertex: y_v' = product of the variables of v's branches."""
    symbols, field = [], []

    def grow(branches):
        own = len(symbols)
        symbols.append(sympy.Symbol(f"y{own}"))
        field.append(None)
        field[own] = sympy.Mul(*(symbols[grow(branch)] for branch in branches))
        return own

    grow(tree)
    return symbols, field


def symmetry(tree):
    """Number of ways in which a tree maps to itself."""
    same = [tree.count(branch) for branch in dict.fromkeys(tree)]
    return int(np.prod([factorial(count) for count in same] + [symmetry(branch) for branch in tree], dtype=object))


@cache
def coefficient_by_iterates(index):
    """A tree's coefficient from Euler iterates of its own field, started at the origin; every variable is a power."""
    tree = TREES[int(index)]
    order = vertices(tree) - 1

    def iterates(branch):
        # y_v after n steps, as polynomials in h: h times the running sum of the product of the branches' variables
        parts = [iterates(sub) for sub in branch]
        values, total = [], np.array([Fraction(0)], dtype=object)
        for n in range(order + 2):
            values.append(total)
            product = np.array([Fraction(1)], dtype=object)
            for part in parts:
                product = np.convolve(product, part[n])
            total = np.polynomial.polynomial.polyadd(total, np.concatenate([[Fraction(0)], product]))
        return values

    return float(logarithm_of_the_shift(iterates(tree), order)[order] / symmetry(tree))


def coefficient(index):
    """The coefficient of tree number `index`, from the recursion on trees."""
    return COEFFICIENTS[TREES[int(index)]]


def wrong_recursion(weight=lambda i: sympy.Rational(1, factorial(i)), first=0, along_field_only=False):
    """Coefficients by a recursion with one thing wrong in it."""

    def series():
        fields = [{(): sympy.Integer(1)}]
        for n in range(1, HIGHEST + 1):
            total: dict = {}
            for i in range(2, n + 2):
                for tree, value in chains(fields, i, n + 1 - i).items():
                    total[tree] = total.get(tree, 0) - weight(i) * value
            fields.append(total)
        return fields

    def chains(fields, length, degree):
        if length == 1:
            return fields[degree] if first <= degree < len(fields) else {}
        total: dict = {}
        for k in range(first, degree + 1):
            direction = fields[0] if along_field_only else fields[k]
            for branch, one in direction.items():
                for tree, other in chains(fields, length - 1, degree - k).items():
                    for grown in graft(branch, tree):
                        total[grown] = total.get(grown, 0) + one * other
        return total

    table = cache(series)

    def formula(index):
        tree = TREES[int(index)]
        return table()[vertices(tree) - 1].get(tree, sympy.Integer(0))

    return formula


@cache
def coefficients_by_fields():
    """By number: the root component of the modified equation of the tree's own field."""
    found = {}
    for index, tree in enumerate(TREES):
        symbols, field = tree_field(tree)
        root = derive.modified_equation(field, symbols, vertices(tree) - 1)[-1][0]
        found[index] = root.subs(dict.fromkeys(symbols, 0)) / symmetry(tree)
    return found


def trees_by_their_fields(formula):
    found = coefficients_by_fields()
    return Derivation(
        steps=tuple((f"coefficient of {tree_name(TREES[index])}", value) for index, value in found.items()),
        residuals={tree_name(TREES[k]): formula(sympy.Integer(k)) - value for k, value in found.items()},
    )


def tall(order):
    """(-1)^n / (n + 1), of f' ... f' f with n factors f'."""
    return (-1) ** int(order) / (sympy.Integer(int(order)) + 1)


def bushy(order):
    """B_k / k!, of the k-th derivative applied to k factors f; B_1 = -1/2."""
    k = int(order)
    return (sympy.bernoulli(k) if k != 1 else -sympy.Rational(1, 2)) / factorial(k)


def tall_by_logarithm(formula):
    y = sympy.Symbol("y")
    fields = derive.modified_equation([y], [y], 8)
    terms = sympy.series(sympy.log(1 + STEP) / STEP, STEP, 0, 9).removeO()
    return Derivation(
        steps=(("y' = y: the flow through the iterates has the rate log(1 + h)/h", terms),),
        residuals={f"order {n}": formula(sympy.Integer(n)) - f[0] / y for n, f in enumerate(fields)},
    )


def bushy_by_generating_function(formula):
    terms = sympy.series(STEP / (sympy.exp(STEP) - 1), STEP, 0, 10).removeO()
    return Derivation(
        steps=(("sum of B_k h^k / k! = h / (exp(h) - 1), the inverse of a step's mean", terms),),
        residuals={f"order {k}": formula(sympy.Integer(k)) - terms.coeff(STEP, k) for k in range(1, 10)},
    )


def tall_by_iterates(order):
    growth = [np.array([Fraction(1)], dtype=object)]
    for _ in range(int(order) + 1):
        growth.append(np.convolve(growth[-1], [Fraction(1), Fraction(1)]))
    return float(logarithm_of_the_shift(growth, int(order))[-1])


def bushy_by_iterates(order):
    """y' = 1, z' = y^k: left Riemann sums of y^k; F(bushy)_z = k!."""
    k = int(order)
    sums = [sum(j**k for j in range(n)) for n in range(k + 3)]
    values = [np.array([Fraction(0)] * (k + 1) + [Fraction(total)], dtype=object) for total in sums]
    return float(logarithm_of_the_shift(values, k)[k] / factorial(k))


def coefficients_by_order(rng):
    """Absolute values: tall and bushy trees by their formulas, every tree from Euler's iterates."""
    rows, orders = [], np.arange(10)
    families = (
        ("tall: 1/(n + 1)", tall, tall_by_iterates, orders),
        ("bushy: |B_n|/n!, n even", bushy, bushy_by_iterates, orders[2::2]),
    )
    for name, formula, exact, chosen in families:
        rows += theory("coefficients", name, chosen, [abs(float(formula(n))) for n in chosen])
        rows += computed("coefficients", name, chosen, [abs(exact(n)) for n in chosen])
    others = [
        (vertices(tree) - 1, abs(coefficient_by_iterates(index)))
        for index, tree in enumerate(TREES)
        if len(tree_name(tree).replace("f'", "")) > 1 and tree != ((),) * len(tree) and coefficient_by_iterates(index)
    ]
    return rows + computed("coefficients", "all other trees to f_5", *np.transpose(others))


def whole_ticks(axes, rows):
    axes.set_xticks(range(10))
    axes.set_ylim(1e-7, 3)


WHOLE = Interval(0, np.inf, lower_closed=True, whole=True, typical=(0, 12))
INDEX = Interval(0, len(TREES) - 1, lower_closed=True, upper_closed=True, whole=True, typical=(0, len(TREES) - 1))
F2, F22 = TREES.index(((),)), TREES.index(((), ()))

THEOREM = Theorem(
    id="igr.elementary-differentials",
    title="coefficients of the elementary differentials: logarithm and Bernoulli numbers",
    source="Hairer, Lubich & Wanner, Geometric Numerical Integration, chapter IX; coefficients to f_5 derived here",
    kind=IDENTITY,
    statement=r"[f' \cdots f' f]\, f_n = \frac{(-1)^n}{n + 1},\qquad [f^{(k)}(f, \dots, f)]\, f_k = \frac{B_k}{k!}",
    domain=Domain(order=WHOLE),
    formula=tall,
    derivation=tall_by_logarithm,
    oracle=tall_by_iterates,
    points=200,
    mutants={
        "1/(n + 1)!": lambda order: (-1) ** int(order) / sympy.factorial(int(order) + 1),
        "no signs": "1 / (order + 1)",
        "1/(n + 2)": "(-1)**order / (order + 2)",
    },
    corollaries=(
        Claim(
            name="every tree to f_5",
            statement=r"f_4 = \tfrac15 f'f'f'f'f + \tfrac3{40} f'f'f''(f,f) + \tfrac1{10} f'f''(f,f'f) + \dots,\quad"
            r" f_5 = -\tfrac16 f'f'f'f'f'f - \dots",
            kind=IDENTITY,
            domain=Domain(index=INDEX),
            formula=coefficient,
            derivation=trees_by_their_fields,
            oracle=coefficient_by_iterates,
            scale=lambda index: 1.0,
            tolerance=1e-14,
            points=600,
            mutants={
                "1/i for 1/i!": wrong_recursion(weight=lambda i: sympy.Rational(1, i)),
                "derivatives along f_0 alone": wrong_recursion(along_field_only=True),
                "f_0 left out of the sums": wrong_recursion(first=1),
                "f''(f,f) with 1/6": lambda index: coefficient(index) * (2 if int(index) == F22 else 1),
                "f'f with +1/2": lambda index: coefficient(index) * (-1 if int(index) == F2 else 1),
                "symmetry factors divided out twice": lambda index: coefficient(index) / symmetry(TREES[int(index)]),
            },
        ),
        Claim(
            name="bushy trees",
            statement=r"[f^{(k)}(f, \dots, f)]\, f_k = \frac{B_k}{k!}",
            kind=IDENTITY,
            domain=Domain(order=Interval(1, np.inf, lower_closed=True, whole=True, typical=(1, 12))),
            formula=bushy,
            derivation=bushy_by_generating_function,
            oracle=bushy_by_iterates,
            points=200,
            scale=lambda order: 1 / (2 * np.pi) ** order,
            mutants={
                "B_1 = +1/2": lambda order: abs(bushy(order)) if int(order) == 1 else bushy(order),
                "B_k without k!": lambda order: bushy(order) * factorial(int(order)),
                "B_k / (k + 1)!": lambda order: bushy(order) / (int(order) + 1),
            },
        ),
    ),
    caveats=(
        "Coefficients multiply the elementary differentials as they stand; symmetry factors are already divided out.",
        "Of the trees to f_5, these have coefficient zero: f'''(f,f,f), f^(5)(f,f,f,f,f), f''(f,f''(f,f'f)),"
        " f''(f'f,f''(f,f)) and f'f'''(f,f,f'f).",
    ),
    figure=Figure(
        data=coefficients_by_order,
        panels=(
            Panel(
                "coefficients",
                x_label="order n of the term h^n f_n",
                y_label="size of the coefficient (dimensionless)",
                title="Elementary differentials of the modified equation",
                y_scale="log",
                decorate=whole_ticks,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

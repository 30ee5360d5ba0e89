"""Seconds for the modified equation of the two-parameter product model, against doing it by hand in SymPy.

    python benchmarks/modified_equation.py

By hand: the logarithm of the shift, h D~ = log(1 + Delta), on Euler iterates kept as expressions in the state and h;
the same f_0, ..., f_N come out. The ratio is the median over repeated pairs in one run.
"""

import argparse
import time
from itertools import pairwise
from statistics import median

import sympy

from quadlab import derive

A, B, H = sympy.symbols("a b h")
LOSS = (sympy.Rational(3, 5) - A * B) ** 2 / 2
FIELD = [-LOSS.diff(A), -LOSS.diff(B)]


def by_hand(order):
    iterates = [[A, B]]
    for _ in range(order + 1):
        now = dict(zip((A, B), iterates[-1], strict=True))
        moved = [y + H * f.subs(now, simultaneous=True) for y, f in zip(iterates[-1], FIELD, strict=True)]
        iterates.append([sympy.expand(y) for y in moved])
    columns = []
    for k in range(2):
        values, total = [row[k] for row in iterates], sympy.Integer(0)
        for n in range(1, order + 2):
            values = [later - earlier for earlier, later in pairwise(values)]
            total += values[0] * sympy.Rational((-1) ** (n - 1), n)
        polynomial = sympy.Poly(sympy.expand(total), H)
        columns.append([polynomial.coeff_monomial(H ** (n + 1)) for n in range(order + 1)])
    return [sympy.Matrix(pair) for pair in zip(*columns, strict=True)]


def seconds(function, *arguments):
    sympy.core.cache.clear_cache()
    started = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - started, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    for order in (1, 2):
        ratios = []
        for _ in range(options.repeats):
            slow, expected = seconds(by_hand, order)
            fast, found = seconds(derive.modified_equation, FIELD, [A, B], order)
            assert all((one - other).expand().is_zero_matrix for one, other in zip(found, expected, strict=True))
            ratios.append(slow / fast)
        print(f"order {order}: by hand / modified_equation {median(ratios):.1f}")
    for order in (2, 4, 6):
        times = [seconds(derive.modified_equation, FIELD, [A, B], order)[0] for _ in range(options.repeats)]
        print(f"order {order}: {median(times):.2f} s")
    heavy = [seconds(derive.modified_equation, FIELD, [A, B], 4, sympy.Symbol("b_"))[0] for _ in range(options.repeats)]
    print(f"order 4, heavy ball with a symbol for the momentum: {median(heavy):.2f} s")
    trees = [seconds(derive.elementary_differentials, 8) for _ in range(options.repeats)]
    count = sum(map(len, trees[0][1]))
    print(f"coefficients of all {count} elementary differentials to f_8: {median(t for t, _ in trees):.2f} s")


if __name__ == "__main__":
    main()

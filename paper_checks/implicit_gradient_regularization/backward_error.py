"""Backward error analysis of gradient descent: the field whose flow runs through the iterates, term by term.

A step y + h f(y) is the time-h flow of f~ = f - (h/2) f'f + h^2 (f'f'f/3 + f''(f,f)/12) - ... The terms follow one
after the other by equating powers of h. The same field follows from the iterates alone: the shift along them is
exp(h D~), so h D~ = log(1 + Delta), a sum of differences. Cut off after h^N, the flow misses one step by h^(N+2). For
f = -grad E the first two terms are -Hg/2 and -(H^2 g/3 + T[g,g]/12); which elementary differentials come with which
coefficient in general is igr.elementary-differentials. The series is asymptotic, in general divergent.
"""

from fractions import Fraction
from functools import cache
from itertools import pairwise
from math import factorial

import numpy as np
import sympy

from quadlab import derive
from quadlab.estimate import convergence_order, modified_vector_field
from quadlab.problems import ProductModel
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import GradientDescent, descend, flow
from quadlab.theory.intervals import Interval, real
from quadlab.verify import IDENTITY, Claim, Derivation, Domain, ErrorOrder, Theorem

START = np.array([2.8, 3.5])
RATES = tuple(np.geomspace(1e-3, 4e-3, 9))
HIGHEST = 5


def logarithm_of_the_shift(values, order):
    """Coefficients of h, ..., h^(order+1) in log(1 + Delta) y_0, from iterates that are polynomials in h."""
    total = np.zeros(1, dtype=object)
    for n in range(1, order + 2):
        values = [np.polynomial.polynomial.polysub(later, earlier) for earlier, later in pairwise(values)]
        total = np.polynomial.polynomial.polyadd(total, values[0] * Fraction((-1) ** (n - 1), n))
    total = np.concatenate([total, np.zeros(order + 2, dtype=object)])
    return total[1 : order + 2]


def euler_on_a_loss(derivatives, order):
    """f_order at 0 for E' = g + H y + T y^2/2 + ..., by gradient descent in exact polynomials of h."""
    slopes = [Fraction(value) / factorial(k) for k, value in enumerate(derivatives)]
    iterates = [np.array([Fraction(0)], dtype=object)]
    for _ in range(order + 1):
        y, slope = iterates[-1], np.array([Fraction(0)], dtype=object)
        for coefficient in reversed(slopes):
            slope = np.polynomial.polynomial.polyadd(np.convolve(slope, y), [coefficient])
        step = np.concatenate([[Fraction(0)], -slope])
        # powers of h beyond the order do not come back
        iterates.append(np.polynomial.polynomial.polyadd(y, step)[: order + 2])
    return logarithm_of_the_shift(iterates, order)[order]


def by_iterates(order):
    """The oracle of f_order on a line: derivatives of the loss in, exact value out."""
    return lambda **derivatives: float(euler_on_a_loss(derivatives.values(), order))


def by_recursion(order, *names):
    """The derivation of f_order on a line: the modified equation of a Taylor polynomial, at the origin."""
    y, symbols = sympy.Symbol("y"), sympy.symbols(names, real=True)
    slope = sum(s * y**k / sympy.factorial(k) for k, s in enumerate(symbols))

    def derivation(formula):
        term = sympy.expand(derive.modified_equation([-slope], [y], order)[order][0].subs(y, 0))
        given = formula(**dict(zip(names, symbols, strict=True)))
        return Derivation(
            steps=(("minus the gradient", -slope), (f"f_{order} where y = 0", term)),
            residuals={f"f_{order}": given - term},
        )

    return derivation


def second_field(gradient, hessian, third_derivative):
    """f_2 = -(H^2 g/3 + T[g, g]/12), on a line."""
    return -(hessian**2 * gradient / 3 + third_derivative * gradient**2 / 12)


def third_field(gradient, hessian, third_derivative, fourth_derivative):
    """f_3 = -(H^3 g/4 + H T[g, g]/12 + T[g, H g]/12); the fourth derivative has coefficient zero."""
    turned = hessian * gradient
    return -(
        hessian**2 * turned / 4 + (hessian * third_derivative * gradient**2 + third_derivative * gradient * turned) / 12
    )


@cache
def terms(order):
    """f_0, ..., f_order of the modified equation on the product model, and its weights."""
    a, b = sympy.symbols("a b")
    loss = (sympy.Rational(3, 5) - a * b) ** 2 / 2
    return derive.modified_equation([-loss.diff(a), -loss.diff(b)], [a, b], order), [a, b]


@cache
def product_field(order):
    fields, weights = terms(HIGHEST)
    return derive.numeric_field(fields[: order + 1], weights)


@cache
def one_step_error(order, learning_rate):
    """Gradient descent on the product model against the flow of the field truncated at an order."""
    end = descend(ProductModel(), GradientDescent(learning_rate), START, steps=1)[1]
    velocity = product_field(order)
    return float(np.linalg.norm(end - flow(lambda theta: velocity(theta, learning_rate), START, learning_rate)))


@cache
def difference_error(differences, learning_rate):
    """The field from N differences of iterates against the symbolic one, three orders beyond."""
    path = descend(ProductModel(), GradientDescent(learning_rate), START, steps=differences)
    exact = product_field(differences + 2)(START, learning_rate)
    return float(np.linalg.norm(modified_vector_field(path, learning_rate) - exact))


def errors_against_step(rng):
    rates, rows = np.geomspace(1e-3, 8e-3, 10), []
    fields, weights = terms(HIGHEST + 1)
    for order in range(HIGHEST + 1):
        following = np.array(fields[order + 1].subs(dict(zip(weights, START, strict=True))), dtype=float)
        errors = [one_step_error(order, h) for h in rates]
        name = f"N = {order}: slope {convergence_order(rates, errors).value:.2f}"
        rows += theory("error", name, rates, np.linalg.norm(following) * rates ** (order + 2))
        rows += computed("error", name, rates, errors)
    return rows


def few_ticks(axes, rows):
    axes.set_xticks([1e-3, 2e-3, 4e-3, 8e-3], ["0.001", "0.002", "0.004", "0.008"])
    axes.minorticks_off()
    axes.set_ylim(1e-16, 0.2)


LINE = real.between(-2, 2)

THEOREM = Theorem(
    id="igr.backward-error",
    title="the modified equation of gradient descent to any order",
    source="Hairer, Lubich & Wanner, Geometric Numerical Integration, chapter IX; Barrett & Dherin 2021, section 2",
    kind=IDENTITY,
    statement=r"\tilde f = \sum_k h^k f_k,\quad f_n = -\sum_{i=2}^{n+1} \tfrac{1}{i!}"
    r" \sum_{k_1 + \dots + k_i = n+1-i} D_{k_1} \cdots D_{k_{i-1}} f_{k_i};\quad"
    r" f = -g:\ f_1 = -\tfrac12 Hg,\ f_2 = -\big(\tfrac13 H^2 g + \tfrac1{12} T[g,g]\big)",
    domain=Domain(gradient=LINE, hessian=LINE, third_derivative=LINE),
    formula=second_field,
    derivation=by_recursion(2, "gradient", "hessian", "third_derivative"),
    oracle=by_iterates(2),
    scale=lambda gradient, hessian, third_derivative: hessian**2 * abs(gradient) + abs(third_derivative) * gradient**2,
    mutants={
        "without the 1/12 term": "-hessian**2 * gradient / 3",
        "1/6 for 1/12": "-(hessian**2 * gradient / 3 + third_derivative * gradient**2 / 6)",
        "-1/12 for 1/12": "-(hessian**2 * gradient / 3 - third_derivative * gradient**2 / 12)",
        "1/i for 1/i!": "-(hessian**2 * gradient / 6 - third_derivative * gradient**2 / 12)",
        "1/4 for 1/3": "-(hessian**2 * gradient / 4 + third_derivative * gradient**2 / 12)",
        "sign of the whole": "hessian**2 * gradient / 3 + third_derivative * gradient**2 / 12",
    },
    corollaries=(
        Claim(
            name="first order",
            statement=r"f_1 = -\tfrac12 f'f = -\tfrac12 Hg",
            kind=IDENTITY,
            domain=Domain(gradient=LINE, hessian=LINE),
            formula=lambda gradient, hessian: -hessian * gradient / 2,
            derivation=by_recursion(1, "gradient", "hessian"),
            oracle=by_iterates(1),
            mutants={"Hg": "-hessian * gradient", "Hg/4": "-hessian * gradient / 4", "+Hg/2": "hessian * gradient / 2"},
        ),
        Claim(
            name="third order",
            statement=r"f_3 = -\big(\tfrac14 H^3 g + \tfrac1{12} H\,T[g,g] + \tfrac1{12} T[g,Hg]"
            r" + 0\,E''''[g,g,g]\big)",
            kind=IDENTITY,
            domain=Domain(gradient=LINE, hessian=LINE, third_derivative=LINE, fourth_derivative=LINE),
            formula=third_field,
            derivation=by_recursion(3, "gradient", "hessian", "third_derivative", "fourth_derivative"),
            oracle=by_iterates(3),
            scale=lambda gradient, hessian, third_derivative, fourth_derivative: (
                abs(hessian**3 * gradient) + abs(hessian * third_derivative) * gradient**2 + abs(gradient) ** 3
            ),
            mutants={
                "a fourth derivative": "-(hessian**3 * gradient / 4 + hessian * third_derivative * gradient**2 / 6"
                " + fourth_derivative * gradient**3 / 720)",
                "one of the two terms with T": "-(hessian**3 * gradient / 4"
                " + hessian * third_derivative * gradient**2 / 12)",
            },
        ),
        Claim(
            name="from differences of iterates",
            statement=r"\tfrac1h \sum_{n=1}^{N} \tfrac{(-1)^{n-1}}{n} \Delta^n \theta_0 = \tilde f(\theta_0) + O(h^N)",
            kind=IDENTITY,
            domain=Domain(differences=Interval(1, 3, lower_closed=True, upper_closed=True, whole=True, typical=(1, 3))),
            formula=lambda differences: differences,
            simulation=ErrorOrder(
                settings=tuple({"differences": n} for n in range(1, 4)),
                error=lambda formula, setting, rate: difference_error(setting["differences"], rate),
                steps=tuple(np.geomspace(1e-4, 4e-4, 9)),
                order=lambda formula, setting: formula(**setting),
            ),
            mutants={"one order less": "differences - 1", "one order more": "differences + 1", "always first": "1"},
        ),
        Claim(
            name="local error",
            statement=r"\theta_1 - \tilde\Phi^{(N)}_h(\theta_0) = h^{N+2} f_{N+1} + O(h^{N+3})",
            kind=IDENTITY,
            domain=Domain(order=Interval(0, 4, lower_closed=True, upper_closed=True, whole=True, typical=(0, 4))),
            formula=lambda order: order + 2,
            simulation=ErrorOrder(
                settings=tuple({"order": order} for order in range(5)),
                error=lambda formula, setting, rate: one_step_error(setting["order"], rate),
                steps=RATES,
                order=lambda formula, setting: formula(**setting),
            ),
            mutants={
                "as the global error": "order + 1",
                "one better": "order + 3",
                "two orders a term": "2 * order + 2",
            },
        ),
    ),
    caveats=(
        "The series is asymptotic: for y' = y^2 the coefficients of h^k y^(k + 2) are 1, -1, 3/2, -8/3, 31/6, -157/15.",
        "A field, not a loss: from order h^2 on it is no gradient in general, see igr.not-a-gradient.",
        "The fields are checked on a line, where some elementary differentials coincide;"
        " igr.elementary-differentials tells them apart.",
    ),
    figure=Figure(
        data=errors_against_step,
        panels=(
            Panel(
                "error",
                x_label="learning rate h (parameter² / loss)",
                y_label="one-step error (parameter)",
                title="Gradient descent against the field cut off after h^N",
                x_scale="log",
                y_scale="log",
                decorate=few_ticks,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

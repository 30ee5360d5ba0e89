"""Off quadratics the principal flow is of the order of the modified loss: terms with third derivatives are missing.

The principal flow moves along each eigenvector of the Hessian at the speed that is exact on quadratics (see
igr.principal-flow). So it keeps the part -H^k g / (k + 1) of every term of the modified equation and none of the parts
with third and higher derivatives T. The first of them, h^2 T[g,g] / 12, leaves an error of order h^3 in one step and of
order h^2 over a fixed time, as the modified loss does, which misses H^2 g / 3 besides. With it added one order more is
gained; what is then missing is h^3 (H T[g,g] + T[g,Hg]) / 12.
"""

from functools import cache

import numpy as np
import sympy

from quadlab import derive
from quadlab.problems import ProductModel, hessian_matrix
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import flow, global_error, gradient_flow, local_error, modified_flow
from quadlab.theory.intervals import Interval, positive
from quadlab.theory.modified_loss import principal_flow_coefficient
from quadlab.verify import ASYMPTOTIC, IDENTITY, Claim, Derivation, Domain, ErrorOrder, Theorem, Window

RATE, PRODUCT = sympy.symbols("learning_rate product", positive=True)
PROBLEM, START, TIME = ProductModel(), np.array([2.0, 2.5]), 0.3
RATES = tuple(TIME / steps for steps in (240, 192, 150, 120, 96, 75, 60))


def bend(theta, first, second):
    """T[first, second] of the product model."""
    return PROBLEM.third_derivative_product(theta, first, second)


def principal_flow(corrected):
    """The flow (start, times, h) -> positions on the product model, with -h^2 T[g,g] / 12 added if corrected."""

    def follow(start, times, rate):
        def field(theta):
            values, vectors = np.linalg.eigh(hessian_matrix(PROBLEM, theta))
            gradient = PROBLEM.gradient(theta)
            velocity = vectors @ (principal_flow_coefficient(values, rate).real * (vectors.T @ gradient))
            return velocity - rate**2 / 12 * bend(theta, gradient, gradient) if corrected else velocity

        return flow(field, start, times)

    return follow


def what_is_missing(theta, corrected):
    """The vector that the flow lacks at the first order in h: T[g,g], or H T[g,g] + T[g,Hg]."""
    gradient = PROBLEM.gradient(theta)
    bent = bend(theta, gradient, gradient)
    if not corrected:
        return bent
    turned = PROBLEM.hessian_product(theta, gradient)
    return PROBLEM.hessian_product(theta, bent) + bend(theta, gradient, turned)


def measured_strength(corrected):
    """The oracle: what one step asks for along the missing vector, per time and beyond the flow."""

    def strength(learning_rate, a, b):
        start = np.array([a, b])
        along = what_is_missing(start, corrected)
        miss = local_error(PROBLEM, start, learning_rate, flow=principal_flow(corrected))
        return -(miss @ along) / (learning_rate * along @ along)

    return strength


@cache
def strayed(corrected, local, learning_rate):
    follow = principal_flow(corrected)
    if local:
        return float(np.linalg.norm(local_error(PROBLEM, START, learning_rate, flow=follow)))
    return global_error(PROBLEM, START, learning_rate, TIME, flow=follow)


@cache
def terms_left_out():
    """Of a general loss at the origin: f_0, f_1, f_2 of the modified equation less those of the principal flow; T[g,g].

    The principal flow's are the powers of h H in alpha(h H) g.
    """
    state = sympy.symbols("a b")
    loss = derive.taylor_loss(state, 3)
    gradient, hessian = sympy.Matrix([loss.diff(p) for p in state]), sympy.hessian(loss, state)
    alpha = sympy.series(principal_flow_coefficient(PRODUCT, 1), PRODUCT, 0, 3).removeO()
    followed = [alpha.coeff(PRODUCT, k) * hessian**k * gradient for k in range(3)]
    fields = derive.modified_equation(list(-gradient), state, 2)
    bent = sympy.Matrix([(gradient.T * hessian.diff(p) * gradient)[0] for p in state])
    columns = [*(f - p for f, p in zip(fields, followed, strict=True)), bent]
    *left_out, bent = (column.subs(dict.fromkeys(state, 0)).applyfunc(sympy.expand) for column in columns)
    return left_out, bent


def third_derivatives_left_out(formula):
    left_out, bent = terms_left_out()
    strength = sympy.limit(formula(RATE, *sympy.symbols("place_1 place_2")) / RATE**2, RATE, 0)
    residuals = {f"f_2 along {k + 1}": sympy.expand(left_out[2][k] + strength * bent[k]) for k in range(2)}
    return Derivation((("f_2 less its part -H^2 g / 3", left_out[2]),), residuals)


def further_terms_left_out(formula):
    """With f = -g, f'f''(f,f) = H T[g,g] and f''(f,f'f) = T[g,Hg]; the tall tree f'f'f'f belongs to the flow."""
    terms = derive.elementary_differentials(3)[3]
    left_out = {tree: -coefficient for tree, coefficient in terms.items() if tree != ((((),),),)}
    strength = sympy.limit(formula(RATE, *sympy.symbols("place_1 place_2")) / RATE**3, RATE, 0)
    return Derivation(
        (("f_3", derive.written_out(terms)),),
        {
            "H T[g,g]": strength - left_out.pop((((), ()),)),
            "T[g,Hg]": strength - left_out.pop(((), ((),))),
            "fourth derivatives": sum(left_out.values()),
        },
    )


def first_power_missed(formula):
    """One more than the first power of h at which a field misses the modified equation; one less for a fixed time."""
    left_out, bent = terms_left_out()
    residuals = {}
    for corrected in (0, 1):
        fields = [*left_out[:2], left_out[2] + corrected * bent / 12]
        first = next((k for k, field in enumerate(fields) if any(map(sympy.expand, field))), 3)
        for local in (0, 1):
            given = formula(sympy.Integer(corrected), sympy.Integer(local))
            residuals[f"corrected {corrected}, local {local}"] = given - (first + local)
    return Derivation((("left out of f_0, f_1, f_2", sympy.Tuple(*left_out)),), residuals)


def errors_of_flows(rng):
    """One step and a fixed time: gradient flow, modified loss, principal flow, corrected."""
    gradient = PROBLEM.gradient(START)
    turned = PROBLEM.hessian_product(START, gradient)
    thirds = PROBLEM.hessian_product(START, turned) / 3 + what_is_missing(START, corrected=False) / 12
    flows = {
        "gradient flow": (lambda start, times, rate: gradient_flow(PROBLEM, start, times), 2, turned / 2),
        "modified loss": (lambda start, times, rate: modified_flow(PROBLEM, start, times, rate), 3, thirds),
        "principal flow": (principal_flow(False), 3, what_is_missing(START, False) / 12),
        "corrected": (principal_flow(True), 4, what_is_missing(START, True) / 12),
    }
    rates, rows = np.array(RATES), []
    for name, (follow, order, leading) in flows.items():
        rows += theory("step", name, rates, np.linalg.norm(leading) * rates**order)
        steps = [np.linalg.norm(local_error(PROBLEM, START, rate, flow=follow)) for rate in RATES]
        rows += computed("step", name, rates, steps)
        errors = [global_error(PROBLEM, START, rate, TIME, flow=follow) for rate in RATES]
        rows += theory("time", name, rates, errors[0] * (rates / rates[0]) ** (order - 1))
        rows += computed("time", name, rates, errors)
    return rows


def few_ticks(axes, rows):
    axes.set_xticks([0.00125, 0.0025, 0.005], ["0.00125", "0.0025", "0.005"])
    axes.minorticks_off()
    axes.set_ylim(top=axes.get_ylim()[1] * 300)


SWITCH = Interval(0, 1, lower_closed=True, upper_closed=True, whole=True)
PLACES = {"learning_rate": positive, "a": positive.between(1.2, 2), "b": positive.between(1.2, 2)}

THEOREM = Theorem(
    id="igr.principal-flow-general",
    title="off quadratics the principal flow misses h^2 T[g,g]/12, and so gains no order",
    source="flow of Rosca, Wu, Qin & Dherin 2023; error derived here",
    kind=ASYMPTOTIC,
    statement=r"\theta_1 - \Phi^{\mathrm{PF}}_h(\theta_0) = -\tfrac{h^3}{12}\,T[g,g] + O(h^4),\quad"
    r" \text{global error } O(h^2);\qquad \text{with } -\tfrac{h^2}{12}T[g,g] \text{ added: } O(h^4),\ O(h^3)",
    domain=Domain(**PLACES),
    window=Window("learning_rate", 5e-4, 5e-3, order=1),
    formula=lambda learning_rate, a, b: learning_rate**2 / 12,
    derivation=third_derivatives_left_out,
    oracle=measured_strength(corrected=False),
    points=27,
    mutants={
        "h^2/6": "learning_rate**2 / 6",
        "opposite sign": "-learning_rate**2 / 12",
        "nothing": "0 * learning_rate",
        "h/12": "learning_rate / 12",
    },
    corollaries=(
        Claim(
            name="what the corrected flow misses",
            statement=r"\theta_1 - \Phi^{\mathrm{PF} - \frac{h^2}{12}T[g,g]}_h(\theta_0)"
            r" = -\tfrac{h^4}{12}\big(H\,T[g,g] + T[g,Hg]\big) + O(h^5)",
            kind=ASYMPTOTIC,
            domain=Domain(**PLACES),
            window=Window("learning_rate", 1e-3, 1e-2, order=1),
            formula=lambda learning_rate, a, b: learning_rate**3 / 12,
            derivation=further_terms_left_out,
            oracle=measured_strength(corrected=True),
            points=27,
            mutants={
                "h^3/24": "learning_rate**3 / 24",
                "h^3/4, as of H^3 g": "learning_rate**3 / 4",
                "opposite sign": "-learning_rate**3 / 12",
                "no order gained": "learning_rate**2 / 12",
            },
        ),
        Claim(
            name="orders",
            statement=r"\text{local error } O(h^3), \text{ with } -\tfrac{h^2}{12} T[g,g] \text{ added } O(h^4);\quad"
            r" \text{over a fixed time one order less}",
            kind=IDENTITY,
            domain=Domain(corrected=SWITCH, local=SWITCH),
            formula=lambda corrected, local: 2 + corrected + local,
            derivation=first_power_missed,
            simulation=ErrorOrder(
                settings=tuple({"corrected": c, "local": local} for c in (0, 1) for local in (0, 1)),
                error=lambda formula, setting, rate: strayed(setting["corrected"], setting["local"], rate),
                steps=RATES,
                order=lambda formula, setting: formula(**setting),
            ),
            mutants={
                "h^3 over a fixed time": "3 + corrected",
                "no gain by the correction": "2 + local",
                "no better than gradient flow": "1 + corrected + local",
                "all orders": "3 + corrected + local",
            },
        ),
    ),
    caveats=(
        "Whether its error is smaller than that of the modified loss, of the same order, depends on H^2 g and T[g,g].",
        "The corrected flow is no principal flow: its field is no function of gradient and Hessian alone.",
        "Eigenvectors of the Hessian may cross along the way; the flow is then not smooth in them one by one.",
    ),
    figure=Figure(
        data=errors_of_flows,
        panels=(
            Panel(
                "step",
                x_label="learning rate h (parameter² / loss)",
                y_label="one-step error (parameter)",
                title="One step on the product model, from (2, 2.5)",
                x_scale="log",
                y_scale="log",
                decorate=few_ticks,
            ),
            Panel(
                "time",
                x_label="learning rate h (parameter² / loss)",
                y_label="distance up to time 0.3 (parameter)",
                title="Over a fixed time: one order less",
                x_scale="log",
                y_scale="log",
                decorate=few_ticks,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

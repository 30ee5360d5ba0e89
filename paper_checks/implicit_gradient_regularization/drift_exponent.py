"""To first order every learning rate moves the end of a path by the same exponent: ln(D_end / D_0) = -h I.

On the product model (y - x a b)^2 / 2 gradient flow conserves D = a^2 - b^2. A step of gradient descent multiplies it
by 1 - h^2 x^2 r^2, r the residual; over all steps this makes h times I, the integral of r / s over the residual, with
s = a^2 + b^2. The flow of the modified loss loses as much. A minimum has the sharpness x^2 s, and there s depends on D
alone, s^2 = D^2 + 4 y^2 / x^2: so the exponent says how much flatter a small learning rate ends.
"""

import numpy as np
import sympy
from scipy.integrate import quad

from quadlab.problems import GradientPenalty, ProductModel
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import flow
from quadlab.theory.elementary import log, sqrt
from quadlab.theory.intervals import non_negative, positive, real
from quadlab.theory.modified_loss import product_model_drift_exponent
from quadlab.verify import ASYMPTOTIC, IDENTITY, Claim, Derivation, Domain, Theorem, Window

A, B, X, Y, H = sympy.symbols("a b data_input target learning_rate", positive=True)
LOSS = (Y - X * A * B) ** 2 / 2


def first_order(learning_rate, a, b, data_input, target):
    """-h I"""
    return -learning_rate * product_model_drift_exponent(np.stack([a, b], axis=-1), data_input, target)


def drift_of_descent(learning_rate, a, b, data_input, target):
    """ln(D_end / D_0) of gradient descent; what is left of the residual would change it by its square."""
    start = a**2 - b**2
    while abs(residual := data_input * a * b - target) > 1e-10:
        pull = learning_rate * data_input * residual
        a, b = a - pull * b, b - pull * a
    return np.log((a**2 - b**2) / start)


def exponent(a, b, data_input, target):
    """I = (x^2/4) (s_0 - s_G) - (x y / 2) ln((a + b)^2 / (2 y / x + s_G)), s_G that of the end of gradient flow."""
    end = sqrt((a**2 - b**2) ** 2 + 4 * (target / data_input) ** 2)
    angle = log((a + b) ** 2 / (2 * target / data_input + end))
    return data_input**2 / 4 * (a**2 + b**2 - end) - data_input * target / 2 * angle


def along_gradient_flow(formula):
    """Each step multiplies D by 1 - h^2 x^2 r^2 and moves (a, b) by -h x r (b, a): so (b d_a + a d_b) I = x r."""
    candidate = formula(A, B, X, Y)
    residual = X * A * B - Y
    step = [w - H * LOSS.diff(w) for w in (A, B)]
    ratio = sympy.factor((step[0] ** 2 - step[1] ** 2) / (A**2 - B**2))
    at_minimum = formula(A, B, X, X * A * B).replace(
        lambda e: e.is_Pow and e.exp == sympy.Rational(1, 2), lambda e: sympy.sqrt(sympy.factor(e.base))
    )
    pull = sympy.factor((1 - ratio) / (H**2 * X * residual))
    return Derivation(
        steps=(("D+ / D", ratio), ("I must grow along (b, a) by", pull)),
        residuals={
            "growth along the flow": B * candidate.diff(A) + A * candidate.diff(B) - pull,
            "zero at a minimum": at_minimum,
        },
    )


def integral_of_drift(a, b, data_input, target):
    """I by quadrature of r / s over the residual."""
    difference = a**2 - b**2

    def integrand(r):
        return r / np.hypot(difference, 2 * (r + target) / data_input)

    return quad(integrand, 0, data_input * a * b - target, epsabs=0, epsrel=1e-12)[0]


def sharpness_to_first_order(learning_rate, a, b, data_input, target):
    difference = (a**2 - b**2) * np.exp(-learning_rate * exponent(a, b, data_input, target))
    return data_input**2 * np.hypot(difference, 2 * target / data_input)


def end_of_modified_flow(learning_rate, a, b, data_input, target):
    """Weights on the flow of E + (h/4) |grad E|^2, the residual its clock, just before the end, where it stands."""
    problem = GradientPenalty(ProductModel(data_input, target), learning_rate / 4)

    def field(weights):
        gradient = problem.gradient(weights)
        return -gradient / (data_input * weights[::-1] @ gradient)

    return flow(field, [a, b], (1 - 1e-12) * (data_input * a * b - target))


def sharpness_of_modified_flow(learning_rate, a, b, data_input, target):
    end = end_of_modified_flow(learning_rate, a, b, data_input, target)
    return np.linalg.eigvalsh(ProductModel(data_input, target).hessian_product(end, np.eye(2))).max()


def from_hessian_at_minimum(formula):
    hessian = sympy.hessian(LOSS, (A, B)).subs(Y, X * A * B)
    eigenvector = sympy.Matrix([B, A])
    along_a, along_b = formula(A, X, X * A * B) * eigenvector - hessian * eigenvector
    return Derivation((("Hessian at a minimum", hessian),), {"along a": along_a, "along b": along_b})


START = {"a": 2.8, "b": 3.5, "data_input": 1.0, "target": 0.6}


def drift_per_rate(rng):
    """-ln(D_end / D_0) / h from (2.8, 3.5), for smaller and smaller h."""
    rates = np.geomspace(1e-3, 5e-2, 8)
    descents = [-drift_of_descent(h, **START) / h for h in rates]
    ends = [end_of_modified_flow(h, **START) for h in rates]
    flows = [
        -np.log((a**2 - b**2) / (START["a"] ** 2 - START["b"] ** 2)) / h for h, (a, b) in zip(rates, ends, strict=True)
    ]
    rows = theory("drift", "exponent I", rates[[0, -1]], [exponent(**START)] * 2)
    rows += computed("drift", "gradient descent", rates, descents) + computed("drift", "flow of Ẽ", rates, flows)
    targets = np.linspace(0, 9.5, 60)
    rows += theory("exponent", "closed form", targets, [exponent(**{**START, "target": y}) for y in targets])
    return rows + computed(
        "exponent", "integral", targets[::8], [integral_of_drift(**{**START, "target": y}) for y in targets[::8]]
    )


PLACE = {"a": positive.between(0.8, 2), "b": positive.between(0.8, 2), "data_input": positive.between(0.7, 1.3),
         "target": non_negative.between(0.05, 0.4)}  # fmt: skip
START_ABOVE = "data_input * a * b > target"
END = r"\tfrac{x^2}{4}(s_0 - s_G) - \tfrac{xy}{2}\ln\tfrac{(a + b)^2}{2y/x + s_G}"
WITHOUT_LOGARITHM = "data_input**2 / 4 * (a**2 + b**2 - sqrt((a**2 - b**2)**2 + 4 * (target / data_input)**2))"
GRADIENT_FLOW = "data_input**2 * sqrt((a**2 - b**2)**2 + 4 * (target / data_input)**2)"

THEOREM = Theorem(
    id="igr.drift-exponent",
    title="on the product model a path's a^2 - b^2 shrinks by exp(-h I), and its end is flatter for it",
    source="Barrett & Dherin 2021, Prediction 2.2; law derived here",
    kind=ASYMPTOTIC,
    statement=r"E = \tfrac12 (y - xab)^2,\ s = a^2 + b^2,\ D = a^2 - b^2:\quad"
    rf" \ln\frac{{D_{{\text{{end}}}}}}{{D_0}} = -hI + O(h^2),\quad I = {END},\ s_G^2 = D_0^2 + \tfrac{{4y^2}}{{x^2}}",
    domain=Domain(START_ABOVE, "a != b", learning_rate=positive, **PLACE),
    window=Window("learning_rate", 1e-3, 8e-3, order=1),
    formula=first_order,
    oracle=drift_of_descent,
    points=63,
    mutants={
        "I without the logarithm": f"-learning_rate * {WITHOUT_LOGARITHM}",
        "D conserved, as by gradient flow": "0 * learning_rate",
        "the penalty h/2": lambda *point, **named: 2 * first_order(*point, **named),
        "D grows": lambda *point, **named: -first_order(*point, **named),
        "h^2, the drift of one step": "-(learning_rate * data_input * (data_input * a * b - target))**2",
    },
    corollaries=(
        Claim(
            name="modified flow",
            statement=r"\text{flow of } \tilde E:\quad s_{\text{end}} = \sqrt{D_0^2 e^{-2hI} + 4y^2/x^2}\,(1 + O(h^2)),"
            r"\quad \text{sharpness } x^2 s_{\text{end}}",
            kind=ASYMPTOTIC,
            # at a smaller D every rate has the same end but for rounding
            domain=Domain(START_ABOVE, "abs(a**2 - b**2) > 0.1", learning_rate=positive, **PLACE),
            window=Window("learning_rate", 1.5e-3, 1.2e-2, order=2),
            formula=sharpness_to_first_order,
            oracle=sharpness_of_modified_flow,
            points=27,
            mutants={
                "sharpness falls as D": lambda learning_rate, **point: (
                    sharpness_to_first_order(0.0, **point) * np.exp(-learning_rate * exponent(**point))
                ),
                "the end of gradient flow": GRADIENT_FLOW,
            },
        ),
        Claim(
            name="exponent",
            statement=rf"I = \int_0^{{r_0}} \frac{{r\,dr}}{{\sqrt{{D_0^2 + 4(r + y)^2/x^2}}}} = {END}",
            kind=IDENTITY,
            domain=Domain(START_ABOVE, **PLACE),
            formula=exponent,
            derivation=along_gradient_flow,
            oracle=integral_of_drift,
            scale=lambda a, b, data_input, target: data_input**2 * (a**2 + b**2),
            points=100,
            mutants={
                "without the logarithm": WITHOUT_LOGARITHM,
                "logarithm without 1/2": lambda a, b, data_input, target: (
                    2 * exponent(a, b, data_input, target) - exponent(a, b, data_input, 0 * target)
                ),
                "end at the origin": "data_input**2 / 4 * (a**2 + b**2 - sqrt((a**2 - b**2)**2))",
            },
        ),
        Claim(
            name="sharpness at a minimum",
            statement=r"xab = y:\quad \lambda_{\max}(H) = x^2 (a^2 + b^2)",
            kind=IDENTITY,
            domain=Domain(a=positive.between(0.2, 3), data_input=positive.between(0.5, 2), target=real),
            formula=lambda a, data_input, target: data_input**2 * a**2 + (target / a) ** 2,
            derivation=from_hessian_at_minimum,
            oracle=lambda a, data_input, target: np.linalg.eigvalsh(
                ProductModel(data_input, target).hessian_product([a, target / (data_input * a)], np.eye(2))
            ).max(),
            points=100,
            mutants={
                "the flattest minimum's, 2 x y": "2 * data_input * abs(target)",
                "twice": "2 * (data_input**2 * a**2 + (target / a)**2)",
            },
        ),
    ),
    caveats=(
        "First order in h: from (2.8, 3.5) at h x^2 s_0 = 1/2 gradient descent drifts a sixth more than h I.",
        "Where a^2 = b^2 at the start nothing drifts: equal squares stay equal.",
    ),
    figure=Figure(
        data=drift_per_rate,
        panels=(
            Panel(
                "drift",
                x_label="learning rate h (parameter² / loss)",
                y_label="−ln(D_end / D₀) / h (loss / parameter²)",
                title="From (2.8, 3.5), y = 0.6",
                x_scale="log",
            ),
            Panel(
                "exponent",
                x_label="target y (the loss vanishes at the start for y = 9.8)",
                y_label="exponent I (loss / parameter²)",
                title="From (2.8, 3.5)",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""Least squares: the penalty of the modified loss is a quadratic form of the residuals with the tangent kernel.

For E = c sum_i e_i^2 the gradient is g = 2 c J^T e, J the Jacobian of the residuals, so |g|^2 = 4 c^2 e^T K e with the
tangent kernel K = J J^T: K_ij is the inner product of the gradients of e_i and e_j. The penalty is h c^2 e^T K e. A
residual counts by how fast the parameters can remove it, and residuals whose gradients agree count together. The factor
c appears squared: with the usual c = 1/2 the penalty is (h/4) e^T K e, with c = 1 it is h e^T K e.
"""

import numpy as np
import sympy

from quadlab import derive
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.intervals import non_negative, positive, real
from quadlab.theory.modified_loss import kernel_gradient_penalty
from quadlab.verify import IDENTITY, Claim, Derivation, Directions, Domain, SymmetricMatrix, Theorem

RATE, SCALE = sympy.symbols("learning_rate loss_scale", positive=True)
TINY = 1e-30  # step of a complex-step derivative, which subtracts nothing and so may be as small as it likes
SIZE = 3


def derivatives(function, theta):
    """Jacobian (or gradient) of a function by complex steps; the parameters are the last axis."""
    return np.array([function(theta + 1j * TINY * unit).imag / TINY for unit in np.eye(len(theta))]).T


def model_with_kernel(residuals, kernel, parameter_count=5):
    """Residuals e_i(theta) = e_i + sin(j_i . theta) + (v_i . theta)^2 whose kernel at the origin is the given one."""
    rng = np.random.default_rng(4)
    values, vectors = np.linalg.eigh(kernel)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    frame = np.linalg.qr(rng.standard_normal((parameter_count, len(residuals)))).Q.T
    slopes, bends = root @ frame, rng.standard_normal((len(residuals), parameter_count))
    return lambda theta: residuals + np.sin(slopes @ theta) + (bends @ theta) ** 2


def penalty_of_gradient(residuals, kernel, learning_rate, loss_scale):
    """(h/4) |g|^2 with g the gradient of the loss itself, for a model of five parameters that has this kernel."""
    model = model_with_kernel(np.asarray(residuals, dtype=float), np.asarray(kernel, dtype=float))
    gradient = derivatives(lambda theta: loss_scale * (model(theta) ** 2).sum(), np.zeros(5))
    return learning_rate / 4 * (gradient @ gradient)


def size_of_terms(residuals, kernel, learning_rate, loss_scale):
    """What rounding is measured against: the form may be far below the largest eigenvalue."""
    return learning_rate * loss_scale**2 * np.abs(kernel).sum() * (np.asarray(residuals) ** 2).sum()


def local_model(count, parameter_count):
    """Residuals to second order in the parameters, with free coefficients, and the kernel of their first order."""
    thetas = sympy.symbols(f"theta_1:{parameter_count + 1}", real=True)
    residuals = sympy.symbols(f"e_1:{count + 1}", real=True)
    jacobian = sympy.Matrix(count, parameter_count, lambda i, j: sympy.Symbol(f"J_{i + 1}{j + 1}", real=True))
    bends = sympy.symbols(f"q_1:{count + 1}", real=True)
    first = jacobian * sympy.Matrix(thetas)
    model = [e + f + q * thetas[0] ** 2 for e, f, q in zip(residuals, first, bends, strict=True)]
    return thetas, residuals, jacobian * jacobian.T, model


def from_chain_rule(loss_scale, *constants):
    """The derivation for a loss scale; `constants` are the further arguments of the formula."""

    def derivation(formula):
        residuals, steps = {}, ()
        for count, parameter_count in ((1, 2), (2, 1), (2, 2), (3, 2)):
            thetas, values, kernel, model = local_model(count, parameter_count)
            loss = loss_scale * sum(e**2 for e in model)
            added = (derive.modified_loss(loss, thetas, RATE) - loss).subs(dict.fromkeys(thetas, 0))
            given = formula(np.array(values, dtype=object), np.array(kernel.tolist(), dtype=object), RATE, *constants)
            residuals[f"{count} residuals, {parameter_count} parameters"] = given - added
            if (count, parameter_count) == (2, 2):
                steps = (("kernel J J^T", kernel), ("(h/4) |grad E|^2 at the origin", sympy.factor(added)))
        return Derivation(steps, residuals)

    return derivation


def form(residuals, kernel):
    """e^T K e."""
    e = np.asarray(residuals)
    return e @ np.asarray(kernel) @ e


def inverse_form(residuals, kernel):
    """e^T K^-1 e; a kernel of symbols by SymPy."""
    kernel = np.asarray(kernel)
    if kernel.dtype == object:
        vector = sympy.Matrix(list(residuals))
        return (vector.T * sympy.Matrix(kernel.tolist()).pinv() * vector)[0]
    return form(residuals, np.linalg.pinv(kernel))


def mean_form(residuals, kernel):
    """trace(K) sum_i e_i^2 / n: as if every direction had the mean eigenvalue."""
    return np.trace(np.asarray(kernel)) * (np.asarray(residuals) ** 2).sum() / len(residuals)


FORM = "sum(residuals * sum(kernel * residuals))"
INPUTS = np.linspace(-1, 1, 9)
PARAMETERS = np.concatenate([[0.8, -1.1, 0.6], [2.5, 1.5, 3.0], [0.5, -0.6, 1.0]])


def network(theta, inputs=INPUTS):
    """Three tanh units on one input: output weights, input weights, biases."""
    outer, inner, bias = np.split(theta, 3)
    return np.tanh(np.multiply.outer(inputs, inner) + bias) @ outer


def hand_written_jacobian(inputs):
    """Derivatives of the network's output by its nine parameters, one row an input."""
    outer, inner, bias = np.split(PARAMETERS, 3)
    active = np.tanh(np.multiply.outer(inputs, inner) + bias)
    through = outer * (1 - active**2)
    return np.hstack([active, through * inputs[:, None], through])


def kernel_and_contributions(rng):
    """Rows of the kernel of a small network, and each point's share of e^T K e, on a sine with one outlier."""
    targets = np.sin(3 * INPUTS)
    targets[6] -= 1
    errors = network(PARAMETERS) - targets
    fine = np.linspace(-1, 1, 101)
    jacobian = derivatives(network, PARAMETERS)
    rows = []
    for index in (1, 4, 6):
        name = f"x = {INPUTS[index]:g}"
        smooth = hand_written_jacobian(fine) @ hand_written_jacobian(INPUTS[[index]])[0]
        rows += theory("kernel", name, fine, smooth)
        rows += computed("kernel", name, INPUTS, jacobian @ jacobian[index])
    written = hand_written_jacobian(INPUTS)
    rate = 0.1
    gradient = derivatives(lambda theta: ((network(theta) - targets) ** 2).sum() / 2, PARAMETERS)
    shares = rate / 4 * errors * (written @ written.T @ errors)
    rows += theory("share", "(h/4) eᵢ (Ke)ᵢ", INPUTS, shares)
    rows += computed("share", "(h/4) eᵢ (Ke)ᵢ", INPUTS, rate / 4 * errors * (jacobian @ gradient))
    return rows + theory("share", "(h/4) Kᵢᵢ eᵢ², alone", INPUTS, rate / 4 * errors**2 * (written**2).sum(axis=1))


def room_for_legend(axes, rows):
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.35 * (high - low))


ERRORS = Directions(real, least=SIZE, most=SIZE)
KERNEL = SymmetricMatrix(non_negative.between(0.1, 5), SIZE)
MODERATE = positive.between(0.1, 10)


def at_scale(loss_scale, divisor, statement, mutants):
    """The claim for one loss scale, where the penalty is h e^T K e over a whole number."""
    return {
        "statement": statement,
        "kind": IDENTITY,
        "domain": Domain(residuals=ERRORS, kernel=KERNEL, learning_rate=non_negative),
        "formula": lambda residuals, kernel, learning_rate: learning_rate / divisor * form(residuals, kernel),
        "derivation": from_chain_rule(loss_scale),
        "oracle": lambda **point: penalty_of_gradient(**point, loss_scale=float(loss_scale)),
        "scale": lambda **point: size_of_terms(**point, loss_scale=float(loss_scale)),
        "points": 60,
        "mutants": mutants,
    }


THEOREM = Theorem(
    id="igr.kernel-form",
    title="least squares: the penalty is a kernel quadratic form of the residuals",
    source="Barrett & Dherin 2021, appendix on the neural tangent kernel; algebra derived here",
    kind=IDENTITY,
    statement=r"E = c \sum_i e_i^2,\ K_{ij} = \nabla e_i \cdot \nabla e_j:\quad"
    r" \tfrac h4 |\nabla E|^2 = h c^2\, e^\top K e",
    domain=Domain(residuals=ERRORS, kernel=KERNEL, learning_rate=non_negative, loss_scale=MODERATE),
    formula=kernel_gradient_penalty,
    derivation=from_chain_rule(SCALE, SCALE),
    oracle=penalty_of_gradient,
    scale=size_of_terms,
    points=100,
    mutants={
        "c for c^2": f"learning_rate * loss_scale * {FORM}",
        "factor 1/4 kept": f"learning_rate / 4 * loss_scale**2 * {FORM}",
        "mean loss treated as sum loss": f"learning_rate * {FORM}",
        "no off-diagonal entries": lambda residuals, kernel, learning_rate, loss_scale: (
            learning_rate * loss_scale**2 * (np.diag(np.asarray(kernel)) * np.asarray(residuals) ** 2).sum()
        ),
        "inverse kernel": lambda residuals, kernel, learning_rate, loss_scale: (
            learning_rate * loss_scale**2 * inverse_form(residuals, kernel)
        ),
        "mean eigenvalue": lambda residuals, kernel, learning_rate, loss_scale: (
            learning_rate * loss_scale**2 * mean_form(residuals, kernel)
        ),
    },
    corollaries=(
        Claim(
            name="sum of squares",
            **at_scale(
                sympy.Integer(1),
                1,
                r"c = 1:\quad \tilde E = E + h\, e^\top K e",
                {"factor 1/4 kept": f"learning_rate / 4 * {FORM}", "factor 1/2": f"learning_rate / 2 * {FORM}"},
            ),
        ),
        Claim(
            name="half the sum of squares",
            **at_scale(
                sympy.Rational(1, 2),
                4,
                r"c = \tfrac12:\quad \tilde E = E + \tfrac h4\, e^\top K e",
                {"factor 1": f"learning_rate * {FORM}", "factor 1/2, as in the loss": f"learning_rate / 2 * {FORM}"},
            ),
        ),
    ),
    caveats=(
        "K is the kernel at the current parameters, not at initialization; it moves with them.",
        "A model with several outputs has one residual, and one row of K, for each output of each point.",
    ),
    figure=Figure(
        data=kernel_and_contributions,
        panels=(
            Panel(
                "kernel",
                x_label="input x' (dimensionless)",
                y_label="kernel K(x, x') (1 / parameter²)",
                title="Tangent kernel of a network of three tanh units",
                decorate=room_for_legend,
            ),
            Panel(
                "share",
                x_label="input x (dimensionless)",
                y_label="share of the penalty (loss)",
                title="What each point adds; an outlier at x = 0.5, h = 0.1",
                decorate=room_for_legend,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""On a quadratic the whole modified equation sums: gradient descent lies exactly on a flow of rates -log(1 - h l) / h.

Along an eigenvector a step multiplies by 1 - h l, a linear flow of rate l~ by exp(-h l~) in the time h. The two agree
for l~ = -log(1 - h l) / h = l (1 + h l/2 + (h l)^2/3 + ...). The second term is the modified loss, the others follow:
sharp directions decay faster than any finite order says (by how much: igr.series-remainder). At h l = 1 one step lands
on the minimum; beyond it, iterates jump across, and only a flow with a complex rate, half a turn per step, follows.
"""

from fractions import Fraction

import mpmath
import numpy as np
import sympy
from scipy.linalg import logm

from quadlab.problems import LeastSquares, Quadratic
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import GradientDescent, descend
from quadlab.theory.elementary import is_symbolic
from quadlab.theory.intervals import Interval, positive, real
from quadlab.theory.modified_loss import modified_eigenvalue
from quadlab.verify import IDENTITY, Claim, Derivation, Domain, Equivalence, Measurement, SymmetricMatrix, Theorem

RATE, GAP = sympy.symbols("learning_rate gap", positive=True)
EIGENVALUE = sympy.Symbol("eigenvalue", real=True)
PLACE = np.array([1.0, -0.6, 1.7])


def from_one_step(formula):
    rate = formula(EIGENVALUE, RATE)
    return Derivation(
        steps=(("a step multiplies by", 1 - RATE * EIGENVALUE), ("the flow by", sympy.exp(-RATE * rate))),
        residuals={"flow for the time h minus step": sympy.exp(-RATE * rate) - (1 - RATE * EIGENVALUE)},
    )


def iterate(eigenvalue, learning_rate, steps):
    """Gradient descent from 1 on one eigenvalue, step by step in exact fractions; backwards if steps < 0."""
    position, factor = Fraction(1), 1 - Fraction(float(learning_rate)) * Fraction(float(eigenvalue))
    for _ in range(abs(int(steps))):
        position = position * factor if steps > 0 else position / factor
    return position


def log_of(fraction):
    """Logarithm of a fraction in the working precision, to all digits near 0 and near 1."""
    near_one = abs(fraction - 1) < Fraction(1, 2)
    number = fraction - 1 if near_one else fraction
    return (mpmath.log1p if near_one else mpmath.log)(mpmath.mpf(number.numerator) / number.denominator)


def rate_of_iterates(eigenvalue, learning_rate, steps=5):
    """-log |theta_n / theta_0| / (n h), in 40 digits, however near theta_n is to theta_0."""
    with mpmath.workdps(40):
        logarithm = log_of(abs(iterate(eigenvalue, learning_rate, steps)))
        return float(-logarithm / (steps * mpmath.mpf(float(learning_rate))))


def on_quadratic(problem, learning_rate, away, counts):
    """Gradient descent by full matrices, against the loss that a formula for the rates predicts.

    A step rounds the weights in their last place, and the gradient by as many places as it sums directions. Later steps
    do not stretch an error of the weights by more than 1; an error d of the last ones changes the loss by up to
    sqrt(2 E l) d + l d^2/2, l the sharpness.
    """
    seen = problem.eigenvalues > 0
    values = problem.eigenvalues[seen]
    modes = values * (away @ problem.eigenvectors[:, seen]) ** 2 / 2

    def measure(setting, replicas, rng, executor=None):
        path = descend(problem, GradientDescent(learning_rate), problem.minimizer + away, setting["steps"])
        loss, places = float(problem.excess_loss(path[-1])), np.linalg.norm(path, axis=1)
        distances = np.linalg.norm(path - problem.minimizer, axis=1)
        error = np.finfo(float).eps * np.sum(places + (problem.dimension + 3) * distances)
        rounding = np.sqrt(2 * loss * problem.sharpness) * error + problem.sharpness * error**2 / 2
        return Measurement(loss, 0.0, replicas, rounding)

    def predict(formula, setting):
        rates = np.array([formula(value, learning_rate) for value in values])
        return modes @ np.exp(-2 * setting["steps"] * learning_rate * rates)

    return Equivalence(
        settings=tuple({"steps": count, "learning_rate": learning_rate} for count in counts),
        measure=measure,
        spread=lambda setting: 0.0,
        predict=predict,
        observable="loss after so many steps",
    )


def on_problem(problem):
    """On a real quadratic, below 1/sharpness, from a random place as far from the minimiser as that is from 0, or 1.

    Where all directions are steep the loss is soon lost in rounding: fewer steps are compared then, one at least.
    """
    away = np.random.default_rng(0).standard_normal(problem.dimension)
    away *= max(1.0, np.linalg.norm(problem.minimizer))
    return on_quadratic(problem, 0.9 / problem.sharpness, away, counts=(1, 4, 16, 64))


def iterate_of_flow(eigenvalue, learning_rate, steps):
    """Re exp(-n h l~): the complex flow at an integer time."""
    value = steps * learning_rate * modified_eigenvalue(eigenvalue, learning_rate)
    return sympy.exp(-value) if is_symbolic(value) else np.real(np.exp(-value))


def iterates_on_both_sides(formula):
    residuals = {}
    for name, multiplier in (("before the jump", GAP), ("beyond it", -GAP)):
        for steps in (-2, 1, 2, 3):
            left = formula((1 - multiplier) / RATE, RATE, sympy.Integer(steps)) - multiplier**steps
            residuals[f"{name}, n = {steps}"] = left
    return Derivation((("a step beyond h l = 1 multiplies by a negative number", -GAP),), residuals)


def turn_per_time(eigenvalue, learning_rate):
    """Im l~."""
    rate = modified_eigenvalue(eigenvalue, learning_rate)
    return sympy.im(rate) if is_symbolic(rate) else np.imag(rate)


def turn_of_iterates(eigenvalue, learning_rate):
    """Minus the principal argument of what a step multiplies by, over h."""
    return -np.angle(1 - learning_rate * eigenvalue + 0j) / learning_rate


def half_turns(formula):
    return Derivation(
        (("argument of a negative multiplier", sympy.arg(-GAP)), ("of a positive one", sympy.arg(GAP))),
        {
            "beyond the jump": formula((1 + GAP) / RATE, RATE) + sympy.arg(-GAP) / RATE,
            "before it": formula((1 - GAP / (1 + GAP)) / RATE, RATE) + sympy.arg(GAP) / RATE,
        },
    )


def loss_in_matrices(hessian, learning_rate, order=None):
    """(1/2) theta^T R theta at a fixed theta, R with the eigenvectors of the Hessian and the modified eigenvalues."""
    values, vectors = np.linalg.eigh(hessian)
    return (PLACE @ vectors) ** 2 @ modified_eigenvalue(values, learning_rate, order) / 2


def logarithm_of_matrix(hessian, learning_rate):
    return -PLACE @ logm(np.eye(3) - learning_rate * hessian) @ PLACE / (2 * learning_rate)


def iterates_and_spectrum(rng):
    """Single modes step by step; and the decay along the spectrum of the diabetes data."""
    rows = []
    for product in (0.5, 0.9, 1.5, 1.9):
        times, steps = np.linspace(0, 6, 121), np.arange(7)
        rows += theory("modes", f"hl = {product:g}", times, iterate_of_flow(product, 1.0, times))
        rows += computed("modes", f"hl = {product:g}", steps, [float(iterate(product, 1.0, n)) for n in steps])
    problem = LeastSquares.from_dataset("diabetes")
    # further steps would take the sharpest direction, at 1/20 per step, down to the rounding of the minimizer
    rate, steps = 0.95 / problem.sharpness, 2
    away = problem.eigenvectors.sum(axis=1)  # one unit along each eigenvector
    path = descend(problem, GradientDescent(rate), problem.minimizer + away, steps)
    reached = (path[-1] - problem.minimizer) @ problem.eigenvectors
    fine = np.linspace(0.001, problem.sharpness, 120)
    rows += theory("spectrum", "−log(1 − hl)/h", fine, modified_eigenvalue(fine, rate))
    rows += computed("spectrum", "−log(1 − hl)/h", problem.eigenvalues, -np.log(reached) / (steps * rate))
    rows += theory("spectrum", "modified loss, l + hl²/2", fine, modified_eigenvalue(fine, rate, order=1))
    return rows + theory("spectrum", "gradient flow, l", fine, fine)


def room_for_legend(axes, rows):
    axes.set_ylim(-1.1, 1.9)


STEPS = Interval(-50, 50, lower_closed=True, upper_closed=True, whole=True, typical=(-8, 8))

THEOREM = Theorem(
    id="igr.quadratic-flow",
    title="on a quadratic the modified equation sums to the rate -log(1 - hl)/h",
    source="classical; its first order is the modified loss of Barrett & Dherin 2021, Theorem 3.1",
    kind=IDENTITY,
    statement=r"\tilde l = -\tfrac1h \log(1 - hl):\quad e^{-nh\tilde l} = (1 - hl)^n\ (n \in \mathbb Z),\quad"
    r" \tilde E = -\tfrac1{2h}\,\theta^\top \log(I - hH)\,\theta",
    domain=Domain("learning_rate * eigenvalue < 1", eigenvalue=real, learning_rate=positive.between(1e-2, 1)),
    formula=modified_eigenvalue,
    derivation=from_one_step,
    oracle=rate_of_iterates,
    tolerance=1e-11,
    simulation=on_quadratic(
        Quadratic.random([0.2, 1.0, 3.0, 7.0], 1), 0.13, np.array([1.0, -2.0, 0.5, 1.5]), counts=(1, 3, 10)
    ),
    on_problem=on_problem,
    mutants={
        "log(1 + h l) / h": "log(1 + learning_rate * eigenvalue) / learning_rate",
        "not divided by h": "-log(1 - learning_rate * eigenvalue)",
        "opposite sign": "log(1 - learning_rate * eigenvalue) / learning_rate",
        "1/k! for 1/(k + 1)": "(exp(learning_rate * eigenvalue) - 1) / learning_rate",
        "geometric series": "eigenvalue / (1 - learning_rate * eigenvalue)",
        "the modified loss, called exact": "eigenvalue + learning_rate * eigenvalue**2 / 2",
        "plain gradient flow": "eigenvalue + 0 * learning_rate",
    },
    corollaries=(
        Claim(
            name="iterates",
            statement=r"hl \ne 1:\quad e^{-nh\tilde l} = (1 - hl)^n\quad (n \in \mathbb Z)",
            kind=IDENTITY,
            domain=Domain(
                # powers of the multiplier neither overflow nor vanish
                "abs(1 - learning_rate * eigenvalue) > 1e-6",
                "abs(learning_rate * eigenvalue) < 100",
                eigenvalue=real,
                learning_rate=positive.between(0.1, 1),
                steps=STEPS,
            ),
            formula=iterate_of_flow,
            derivation=iterates_on_both_sides,
            oracle=lambda **point: float(iterate(**point)),
            mutants={
                "the absolute value beyond h l = 1": "abs(1 - learning_rate * eigenvalue)**steps",
                "one step too many": lambda eigenvalue, learning_rate, steps: iterate_of_flow(
                    eigenvalue, learning_rate, steps + 1
                ),
                "backwards": lambda eigenvalue, learning_rate, steps: iterate_of_flow(
                    eigenvalue, learning_rate, -steps
                ),
                "plain gradient flow": "exp(-steps * learning_rate * eigenvalue)",
            },
        ),
        Claim(
            name="half a turn per step",
            statement=r"\mathrm{Im}\,\tilde l = 0\ (hl < 1),\quad \mathrm{Im}\,\tilde l = -\tfrac{\pi}h\ (hl > 1)",
            kind=IDENTITY,
            domain=Domain(
                "learning_rate * eigenvalue != 1",
                eigenvalue=real.between(0, 6),
                learning_rate=positive.between(0.1, 1),
            ),
            formula=turn_per_time,
            derivation=half_turns,
            oracle=turn_of_iterates,
            mutants={
                "real everywhere": "0 * eigenvalue",
                "the conjugate branch": "where(learning_rate * eigenvalue > 1, pi / learning_rate, 0)",
                "complex everywhere": "-pi / learning_rate + 0 * eigenvalue",
                "not divided by h": "where(learning_rate * eigenvalue > 1, -pi, 0)",
            },
        ),
        Claim(
            name="modified loss in matrices",
            statement=r"\tilde E = -\tfrac1{2h}\,\theta^\top \log(I - hH)\,\theta",
            kind=IDENTITY,
            domain=Domain(
                hessian=SymmetricMatrix(real.between(-0.95, 0.95), 3), learning_rate=positive.between(0.2, 1)
            ),
            formula=loss_in_matrices,
            oracle=logarithm_of_matrix,
            reach=1,
            points=20,
            scale=lambda hessian, learning_rate: np.abs(hessian).max() + 1,
            mutants={
                "without the 1/2": lambda hessian, learning_rate: 2 * loss_in_matrices(hessian, learning_rate),
                "log(I + hH)": lambda hessian, learning_rate: -loss_in_matrices(-hessian, learning_rate),
                "to first order only": lambda hessian, learning_rate: loss_in_matrices(hessian, learning_rate, order=1),
            },
        ),
    ),
    caveats=(
        "For h l > 1 there is no real flow through the iterates of a single mode: its rate is complex.",
        "A statement about quadratics: elsewhere the series of igr.backward-error is asymptotic, not convergent.",
        "The rate belongs to time n h; it says nothing of which minimum is reached.",
        "Iterates are compared with the flow for at most 50 steps either way, h l < 100 and not within 1e-6 of 1.",
    ),
    figure=Figure(
        data=iterates_and_spectrum,
        panels=(
            Panel(
                "modes",
                x_label="time / h (steps)",
                y_label="θ / θ at the start, real part",
                title="The flow of rate −log(1 − hl)/h meets each iterate",
                decorate=room_for_legend,
            ),
            Panel(
                "spectrum",
                x_label="eigenvalue l (loss / parameter²)",
                y_label="decay rate (loss / parameter²)",
                title="Diabetes least squares, h = 0.95 / sharpness",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

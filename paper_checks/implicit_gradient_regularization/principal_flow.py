"""The principal flow follows gradient descent through instability: each eigendirection at its own complex speed.

It moves along every eigenvector u_i of the Hessian with alpha_i (g . u_i), alpha = log(1 - h l) / (h l). On a quadratic
it meets every iterate, for any learning rate: beyond h l = 1, where iterates jump across the minimum, it goes there
through the complex plane, half a turn per step. Its real part changes sign at h l = 2, where gradient descent begins to
diverge, which no modified loss shows. What it misses off quadratics says igr.principal-flow-general.
"""

from fractions import Fraction

import mpmath
import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab.problems import Quadratic
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import GradientDescent, descend
from quadlab.theory.elementary import is_symbolic
from quadlab.theory.intervals import Interval, positive, real
from quadlab.theory.modified_loss import principal_flow_coefficient
from quadlab.verify import IDENTITY, TIGHT, Claim, Derivation, Domain, Equivalence, Measurement, Statement, Theorem

RATE, GAP = sympy.symbols("learning_rate gap", positive=True)
EIGENVALUE = sympy.Symbol("eigenvalue", real=True)


def growth(eigenvalue, learning_rate):
    """Re alpha = ln|1 - h l| / (h l)."""
    value = principal_flow_coefficient(eigenvalue, learning_rate)
    return sympy.re(value) if is_symbolic(value) else np.real(value)


def turn(eigenvalue, learning_rate):
    """Im alpha: pi / (h l) beyond h l = 1, zero before."""
    value = principal_flow_coefficient(eigenvalue, learning_rate)
    return sympy.im(value) if is_symbolic(value) else np.imag(value)


def size_of_step(formula):
    """The flow for the time h changes the size of a mode by exp(h l Re alpha)."""
    left = sympy.exp(2 * RATE * EIGENVALUE * formula(EIGENVALUE, RATE)) - (1 - RATE * EIGENVALUE) ** 2
    return Derivation((("a step multiplies by", 1 - RATE * EIGENVALUE),), {"squared size, flow minus step": left})


def iterate(eigenvalue, learning_rate, steps):
    position = 1
    for _ in range(int(steps)):
        position -= learning_rate * eigenvalue * position
    return position


def log_of(fraction):
    """Logarithm of a fraction in the working precision, to all digits near 0 and near 1."""
    near_one = abs(fraction - 1) < Fraction(1, 2)
    number = fraction - 1 if near_one else fraction
    return (mpmath.log1p if near_one else mpmath.log)(mpmath.mpf(number.numerator) / number.denominator)


def growth_of_iterates(eigenvalue, learning_rate, steps=6):
    """log |theta_n / theta_0| / (n h l) of gradient descent in fractions, in 40 digits however small the move."""
    curvature, rate = Fraction(float(eigenvalue)), Fraction(float(learning_rate))
    time = steps * rate * curvature
    with mpmath.workdps(40):
        logarithm = log_of(abs(iterate(curvature, rate, steps)))
        return float(logarithm * time.denominator / time.numerator)


def final_loss(setting, replicas, rng, executor=None):
    problem = Quadratic.random(setting["eigenvalues"], 3)
    path = descend(problem, GradientDescent(setting["learning_rate"]), setting["start"], setting["steps"])
    return Measurement(float(problem.excess_loss(path[-1])), 0.0, replicas)


def predicted_loss(formula, setting):
    problem = Quadratic.random(setting["eigenvalues"], 3)
    modes = (np.array(setting["start"]) @ problem.eigenvectors) ** 2
    rate, values = setting["learning_rate"], problem.eigenvalues
    exponents = [2 * setting["steps"] * rate * value * formula(value, rate) for value in values]
    return modes @ (values * np.exp(exponents)) / 2


def argument_of_step(formula):
    beyond, before = (1 + GAP) / RATE, (1 - GAP / (1 + GAP)) / RATE
    return Derivation(
        steps=(("argument of a step beyond h l = 1", sympy.arg(-GAP)), ("before", sympy.arg(GAP))),
        residuals={
            "beyond": RATE * beyond * formula(beyond, RATE) - sympy.arg(-GAP),
            "before": RATE * before * formula(before, RATE) - sympy.arg(GAP),
            "negative curvature": formula(-GAP, RATE),
        },
    )


def argument_over_product(eigenvalue, learning_rate):
    product = float(learning_rate) * float(eigenvalue)
    return float(mpmath.arg(mpmath.mpc(1 - product, 0)) / product)


def position_of_flow(eigenvalue, learning_rate, steps):
    """Re exp(n h l alpha), where the flow from 1 is at the time n h."""
    exponent = steps * learning_rate * eigenvalue * principal_flow_coefficient(eigenvalue, learning_rate)
    return sympy.exp(exponent) if is_symbolic(exponent) else np.real(np.exp(exponent))


def off_the_axis(eigenvalue, learning_rate, steps):
    """Im exp(n h l alpha), relative to the size of the flow."""
    exponent = steps * learning_rate * eigenvalue * principal_flow_coefficient(eigenvalue, learning_rate)
    return np.sin(np.imag(exponent))


def positions_on_both_sides(formula):
    residuals = {}
    for name, multiplier in (("before the jump", GAP), ("beyond it", -GAP)):
        for steps in (1, 2, 3):
            left = formula((1 - multiplier) / RATE, RATE, sympy.Integer(steps)) - multiplier**steps
            residuals[f"{name}, n = {steps}"] = left
    return Derivation((("a step beyond h l = 1 multiplies by a negative number", -GAP),), residuals)


def neutral_step(formula):
    edge = formula(RATE)
    return Derivation((("size of a step there", sympy.Abs(1 - RATE * edge)),), {"Re alpha there": growth(edge, RATE)})


def contraction(formula):
    curvature = sympy.Symbol("eigenvalue", positive=True)
    goal = sympy.Equivalent(sympy.Abs(1 - RATE * curvature) < 1, formula(RATE) > curvature)
    yield Statement("a step contracts, ln|1 - h l| < 0, if and only if the eigenvalue is below the limit", goal)


def edge_of_growth(learning_rate):
    """Where twenty steps of gradient descent neither shrink nor grow, by bracketing."""
    scale = 1 / learning_rate
    return brentq(lambda edge: abs(iterate(edge, learning_rate, 20)) - 1, 1.1 * scale, 3 * scale, xtol=1e-15 * scale)


def flat_direction(formula):
    limit = sympy.limit(sympy.log(1 - RATE * EIGENVALUE) / (RATE * EIGENVALUE), EIGENVALUE, 0)
    return Derivation((("alpha as l vanishes", limit),), {"limit": formula(RATE) - limit})


SHOWN = {"hl = 0.7": 0.7, "hl = 1.5": 1.5, "hl = 1.8": 1.8, "hl = 2.1": 2.1}


def coefficients_and_trajectories(rng):
    near = np.geomspace(0.08, 0.003, 10)
    z = np.concatenate([np.linspace(-1, -0.02, 40), np.linspace(0.02, 0.9, 40), 1 - near, 1 + near[::-1]])
    z = np.concatenate([z, np.linspace(1.1, 3, 60)])
    values, coarse = principal_flow_coefficient(z, 1.0), [-0.8, -0.4, 0.3, 0.6, 1.25, 1.5, 1.75, 2.0, 2.4, 2.8]
    rows = theory("coefficient", "Re α", z, values.real)
    rows += computed("coefficient", "Re α", coarse, [growth_of_iterates(x, 1.0) for x in coarse])
    rows += theory("coefficient", "Im α", [*z[z < 1], 1, *z[z > 1]], [*values.imag[z < 1], np.nan, *values.imag[z > 1]])
    for name, product in SHOWN.items():
        times = np.linspace(0, 4, 161)
        path = np.exp(times * product * complex(principal_flow_coefficient(product, 1.0)))
        rows += theory("plane", name, path.real, path.imag)
        steps = [iterate(product, 1.0, n) for n in range(5)]
        rows += computed("plane", name, steps, np.zeros(5))
    return rows


def mark_edge(axes, rows):
    axes.axvline(2, color="0.5", linewidth=0.8)
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.text(2.05, -2.6, "gradient descent\ndiverges beyond", fontsize=9, color="0.3")
    axes.set_ylim(-4, 4)


def room_for_legend(axes, rows):
    axes.set_aspect("equal")
    axes.set_xlim(-3.7, 1.7)
    axes.set_ylim(-1.65, 1.65)


ANY = {"eigenvalue": real.between(-4, 6), "learning_rate": positive.between(0.1, 1)}
JUMP = "learning_rate * eigenvalue != 1"
STEPS = Interval(0, 100, lower_closed=True, upper_closed=True, whole=True, typical=(1, 9))
TWICE = (2.0, 0.02)  # the Hessian of theta' A theta with A = diag(1, 0.01)

THEOREM = Theorem(
    id="igr.principal-flow",
    title="the principal flow: gradient descent on quadratics, exactly, through instability",
    source="Rosca, Wu, Qin & Dherin 2023",
    kind=IDENTITY,
    statement=r"\theta' = \sum_i \alpha_i\,(g \cdot u_i)\,u_i,\ \alpha = \tfrac{\log(1 - hl)}{hl}:\quad"
    r" e^{nhl\alpha} = (1 - hl)^n,\quad \mathrm{Re}\,\alpha = \tfrac{\ln|1 - hl|}{hl} < 0 \iff hl < 2\ (l > 0)",
    domain=Domain(JUMP, "eigenvalue != 0", **ANY),
    formula=growth,
    derivation=size_of_step,
    oracle=growth_of_iterates,
    scale=lambda eigenvalue, learning_rate: 1 + abs(growth_of_iterates(eigenvalue, learning_rate)),
    simulation=Equivalence(
        settings=tuple(
            {"eigenvalues": TWICE, "start": (-0.35, -0.2), "learning_rate": rate, "steps": steps}
            for rate, steps in ((0.3, 3), (0.9, 5), (0.9, 200), (0.5, 300), (1.0, 200), (1.05, 40))
        ),
        measure=final_loss,
        spread=lambda setting: 0.0,
        predict=predicted_loss,
        observable="loss after so many steps",
    ),
    mutants={
        "divided by z^2": "log(abs(1 - learning_rate * eigenvalue)) / (learning_rate * eigenvalue)**2",
        "opposite sign": "-log(abs(1 - learning_rate * eigenvalue)) / (learning_rate * eigenvalue)",
        "log(1 + z)": "-log(abs(1 + learning_rate * eigenvalue)) / (learning_rate * eigenvalue)",
        "not divided by h": "log(abs(1 - learning_rate * eigenvalue)) / eigenvalue",
        "the modified loss": "-(1 + learning_rate * eigenvalue / 2)",
        "gradient flow": "-1 + 0 * eigenvalue",
    },
    corollaries=(
        Claim(
            name="half a turn per step",
            statement=r"\mathrm{Im}\,\alpha = 0\ (hl < 1),\quad \mathrm{Im}\,\alpha = +\tfrac{\pi}{hl}\ (hl > 1)",
            kind=IDENTITY,
            domain=Domain(JUMP, "eigenvalue != 0", **ANY),
            formula=turn,
            derivation=argument_of_step,
            oracle=argument_over_product,
            mutants={
                "the conjugate branch": "where(learning_rate * eigenvalue > 1, -pi / (learning_rate * eigenvalue), 0)",
                "real everywhere": "0 * eigenvalue",
                "pi, not over z": "where(learning_rate * eigenvalue > 1, pi, 0)",
                "complex everywhere": "pi / (learning_rate * eigenvalue)",
            },
        ),
        Claim(
            name="integer times",
            statement=r"hl \ne 1:\quad e^{nhl\alpha} = (1 - hl)^n\quad (n = 0, 1, 2, \dots)",
            kind=IDENTITY,
            domain=Domain(JUMP, **ANY, steps=STEPS),
            formula=position_of_flow,
            derivation=positions_on_both_sides,
            oracle=iterate,
            reach=1,
            mutants={
                "real part only, called exact": "exp(steps * log(abs(1 - learning_rate * eigenvalue)))",
                "gradient flow": "exp(-steps * learning_rate * eigenvalue)",
                "the modified loss": "exp(-steps * learning_rate * eigenvalue * (1 + learning_rate * eigenvalue / 2))",
                "one step early": lambda eigenvalue, learning_rate, steps: position_of_flow(
                    eigenvalue, learning_rate, steps - 1
                ),
            },
        ),
        Claim(
            name="back on the real axis",
            statement=r"\mathrm{Im}\,e^{nhl\alpha} = 0\quad (n = 0, 1, 2, \dots),\quad"
            r" \text{and for } hl > 1 \text{ not in between}",
            kind=IDENTITY,
            domain=Domain(
                "learning_rate * eigenvalue > 1",
                eigenvalue=positive.between(1, 6),
                learning_rate=positive.between(0.3, 1),
                steps=Interval(0, 100, upper_closed=True, typical=(0.1, 4)),
            ),
            formula=off_the_axis,
            oracle=lambda eigenvalue, learning_rate, steps: float(mpmath.sinpi(float(steps))),
            scale=lambda eigenvalue, learning_rate, steps: 1.0,
            tolerance=1e-12,
            mutants={
                "never leaves it": "0 * steps",
                "the conjugate branch": lambda eigenvalue, learning_rate, steps: (
                    -off_the_axis(eigenvalue, learning_rate, steps)
                ),
                "a full turn per step": lambda eigenvalue, learning_rate, steps: off_the_axis(
                    eigenvalue, learning_rate, 2 * steps
                ),
            },
        ),
        Claim(
            name="stability limit",
            statement=r"\mathrm{Re}\,\alpha\,l = 0 \iff l = \tfrac2h\quad (l > \tfrac1h)",
            kind=TIGHT,
            domain=Domain(learning_rate=positive),
            formula=lambda learning_rate: 2 / learning_rate,
            derivation=neutral_step,
            oracle=edge_of_growth,
            points=60,
            certificate=contraction,
            mutants={
                "1/h, where it is infinite": "1 / learning_rate",
                "e/h": "e / learning_rate",
                "4/h": "4 / learning_rate",
            },
        ),
        Claim(
            name="flat directions",
            statement=r"\lim_{l \to 0} \alpha = -1",
            kind=IDENTITY,
            domain=Domain(learning_rate=positive),
            formula=lambda learning_rate: growth(0 * learning_rate, learning_rate),
            derivation=flat_direction,
            oracle=lambda learning_rate: growth_of_iterates(1e-16 / learning_rate, learning_rate),
            points=40,
            mutants={"+1": "1 + 0 * learning_rate", "0": "0 * learning_rate", "-h": "-learning_rate"},
        ),
    ),
    caveats=(
        "For h l > 1 the flow leaves real space between integer times: no real training path does.",
        "Exact on quadratics alone: elsewhere third derivatives are missing, see igr.principal-flow-general.",
    ),
    figure=Figure(
        data=coefficients_and_trajectories,
        panels=(
            Panel(
                "coefficient",
                x_label="learning rate × eigenvalue, hl (dimensionless)",
                y_label="coefficient α (dimensionless)",
                title="Re α changes sign at the stability limit hl = 2",
                decorate=mark_edge,
            ),
            Panel(
                "plane",
                x_label="Re θ (units of the start)",
                y_label="Im θ (units of the start)",
                title="Four steps: the flow meets each iterate",
                decorate=room_for_legend,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

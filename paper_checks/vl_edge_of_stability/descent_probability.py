"""The probability that one realised step lowers the loss, exactly; on the edge it lies between 1/2 and 0.6827.

From the distance m > 0 the step lands at (1 - rho lambda) m - rho lambda e, with e normal of variance s^2 / N. The loss
falls when that lies strictly between -m and m, which means -m < e < c m with c = 2 / (rho lambda) - 1. The edge, where
the mean change vanishes, is not where half of the steps descend: on it rare large ascents balance frequent descents.
"""

from functools import cache

import numpy as np
import sympy
from scipy import special, stats
from scipy.optimize import brentq

from quadlab import derive, dynamics
from quadlab.report import Figure, Panel, computed, measured, run, theory
from quadlab.theory import variational
from quadlab.theory.elementary import erfc
from quadlab.theory.intervals import Interval, positive, real, whole_positive
from quadlab.verify import (
    IDENTITY,
    LIMIT,
    TIGHT,
    UPPER,
    Claim,
    Derivation,
    Domain,
    Equivalence,
    Inequality,
    RuleExperiment,
    Statement,
    Theorem,
    Window,
    parse,
)

RULE = dynamics.variational_gradient_descent()
CURVATURE, RATE, NOISE, SAMPLES = map(RULE.symbol, ("curvature", "learning_rate", "noise_variance", "samples"))
MEAN, ODDS = sympy.symbols("mean odds", positive=True)
DEVIATE = sympy.Symbol("deviate", real=True)
LANDING = RULE.update[0].subs({RULE.state[0]: MEAN, RULE.noises[0].symbol: DEVIATE})  # E deviate^2 = 1 / samples

REACH = "sqrt(samples) * abs(mean) / sqrt(noise_variance)"
FAR = "(2 / (learning_rate * eigenvalue) - 1)"
EXPONENT = f"samples * mean**2 / noise_variance * min(1, {FAR})**2 / 2"
ON_EDGE = "(erf(sqrt(fraction / (1 - fraction) / 2)) + erf(sqrt((1 - fraction) / fraction / 2))) / 2"


def normal(text):
    """The text of the normal distribution function of a text."""
    return f"(1 + erf({text} / sqrt(2))) / 2"


@cache
def derived_probability():
    """The normal weight of the deviates between those that leave the loss as it is."""
    ends = [sympy.solve(LANDING - end, DEVIATE)[0] for end in (MEAN, -MEAN)]
    density = sympy.sqrt(SAMPLES / (2 * sympy.pi)) * sympy.exp(-SAMPLES * DEVIATE**2 / 2)
    return sympy.simplify(sympy.integrate(density, (DEVIATE, *ends)))


def from_update_rule(formula):
    """The formula must be that weight."""
    probability = derived_probability()
    return Derivation(
        steps=(("the step from m lands at", LANDING), ("weight of landing between -m and m", probability)),
        residuals={"probability": formula(CURVATURE, MEAN, NOISE, RATE, SAMPLES) - probability},
    )


def on_the_edge(formula):
    """The same at the distance where the expected change vanishes; the odds are s / (1 - s), s = rho lambda / 2."""
    fraction = ODDS / (1 + ODDS)
    change = derive.expected_change(RULE).subs({RULE.state[0]: MEAN, RATE: 2 * fraction / CURVATURE})
    (distance,) = sympy.solve(change, MEAN)
    probability = derived_probability().subs({RATE: 2 * fraction / CURVATURE, MEAN: distance})
    half = sympy.Rational(1, 2)
    return Derivation(
        steps=(("no expected change at the distance", distance), ("probability there", probability)),
        residuals={
            "probability on the edge": formula(sympy.simplify(fraction)) - probability,
            "0.6827 where rho lambda = 1": formula(half) - sympy.erf(sympy.sqrt(half)),
            "the same at s and 1 - s": formula(sympy.simplify(fraction)) - formula(sympy.simplify(1 - fraction)),
        },
    )


def landing_law(eigenvalue, mean, noise_variance, learning_rate, samples):
    """The squared landing point over the squared distance is noncentral chi-squared; its argument and parameters."""
    spread = learning_rate * eigenvalue * np.sqrt(noise_variance / samples)
    return (mean / spread) ** 2, 1, ((1 - learning_rate * eigenvalue) * mean / spread) ** 2


def chi_squared(**point):
    """The weight of the noncentral chi-squared law below the squared distance."""
    return stats.ncx2.cdf(*landing_law(**point))


def chi_squared_on_edge(fraction):
    """The same where the expected change vanishes: (1 - 2s)^2 m^2 + 4 s^2 = m^2 for unit variance, rho lambda = 2s."""
    mean = np.sqrt(4 * fraction**2 / (1 - (1 - 2 * fraction) ** 2))
    return chi_squared(eigenvalue=fraction, mean=mean, noise_variance=1, learning_rate=2, samples=1)


def without_descent(**point):
    """The weight of the noncentral chi-squared law above the squared distance."""
    return stats.ncx2.sf(*landing_law(**point))


def decay(eigenvalue, mean, noise_variance, learning_rate, samples):
    """Fall of the logarithm of the weight above, per sample, from N to 2N samples; too small for the weight itself."""

    def logarithm(count):
        reach = mean * np.sqrt(count / noise_variance)
        return special.log_ndtr([-reach, -reach * (2 / (learning_rate * eigenvalue) - 1)])

    once, twice = (np.logaddexp(*logarithm(count)) for count in (samples, 2 * samples))
    return (once - twice) / samples


def end_of_descent(eigenvalue, mean, learning_rate):
    """The deviate, in units of m, that turns the weights from m to -m in one step, by bracketing."""
    return mean * brentq(
        lambda deviate: 2 - learning_rate * eigenvalue * (1 + deviate), -9, 1e9, xtol=1e-300, maxiter=1000
    )


def interval(formula):
    """For all deviates: descent if and only if the deviate lies between -m and the candidate."""
    landing = LANDING.subs(NOISE, 1)
    inside = sympy.And(DEVIATE > -MEAN, DEVIATE - formula(CURVATURE, MEAN, RATE) < 0)
    yield Statement("descent in exactly this interval", sympy.Equivalent(landing**2 < MEAN**2, inside))


def exceeds(formula):
    """The bound lies above the failure probability, itself enclosed, for two samples of variance 1 at rate 1."""

    def gap(eigenvalue, mean):
        far = mean * (2 / eigenvalue - 1)
        return 2 * formula(eigenvalue, mean, 1, 1, 2) - erfc(mean) - erfc(far)

    yield Inequality("bound above the probability", gap, {"eigenvalue": (0.1, 1.95), "mean": (1e-3, 2)}, ("mean",))


def within(formula):
    """More than half, and less than 0.683."""
    box = {"fraction": (1e-3, 0.999)}
    yield Inequality("more than half of the steps", lambda fraction: 2 * formula(fraction) - 1, box)
    yield Inequality("less than 0.683", lambda fraction: 683 - 1000 * formula(fraction), box)


ONE_STEP = RuleExperiment(
    RULE,
    lambda setting: {
        "eigenvalues": [setting["eigenvalue"]],
        "initial": setting["mean"],
        "noise_variance": setting["noise_variance"],
        "learning_rate": setting["learning_rate"],
        "samples": setting["samples"],
    },
    observable="descends",
)


def probabilities(rng):
    """At gradient 1 and N = 10 against the curvature, for four variances; and on the edge against rho lambda / 2."""
    rows, seeds = [], iter(np.random.SeedSequence(rng).spawn(100))

    def simulated(panel, series, x, **setting):
        found = ONE_STEP.measure(setting, 20_000, next(seeds))
        return measured(panel, series, x, found.value, found.standard_error)

    for precision in (0.02, 0.2, 1.0, 5.0):
        name = f"s² = {1 / precision:g}"
        rest = {"noise_variance": 1 / precision, "learning_rate": 1.0, "samples": 10}
        curvatures = np.linspace(0.02, 2.5, 200)
        rows += theory("map", name, curvatures, variational.descent_probability(curvatures, 1 / curvatures, **rest))
        for spot in np.linspace(0.2, 2.4, 6):
            rows += simulated("map", name, spot, eigenvalue=spot, mean=1 / spot, **rest)
    fractions = np.linspace(0.004, 0.996, 249)
    on_edge = THEOREM.corollaries[-1].formula(fractions)
    rows += theory("map", "on the edge", 2 * fractions, on_edge) + theory("edge", "on the edge", fractions, on_edge)
    for fraction in np.linspace(0.1, 0.9, 9):
        rows += computed("edge", "on the edge", fraction, chi_squared_on_edge(fraction))
        mean = np.sqrt(fraction / (1 - fraction))
        setting = {"eigenvalue": fraction, "mean": mean, "noise_variance": 1, "learning_rate": 2, "samples": 1}
        rows += simulated("edge", "on the edge", fraction, **setting)
    return rows


def legend_below(axes, rows):
    axes.axhline(0.5, color="0.4", linewidth=0.8, label="half of the steps")
    axes.legend(loc="lower left", fontsize=9)


def room_below(axes, rows):
    axes.axhline(0.5, color="0.4", linewidth=0.8)
    axes.set_ylim(0.45, 0.7)


POINT = {
    "eigenvalue": positive.between(0.1, 10),
    "mean": real,
    "noise_variance": positive.between(0.1, 5),
    "learning_rate": positive.between(0.05, 5),
    "samples": whole_positive.between(1, 64),
}

THEOREM = Theorem(
    id="vl.descent-probability",
    title="probability that one realised step descends",
    source="replaces the bound of Ghosh et al. 2025, Lemma 3.2, by the exact law in one direction; derived here",
    kind=IDENTITY,
    statement=r"P[\ell(m^+) < \ell(m)] = \Phi(k c) + \Phi(k) - 1,\quad k = \sqrt N\,|m| / s,\quad"
    r" c = \tfrac{2}{\rho\lambda} - 1",
    domain=Domain("learning_rate * eigenvalue < 3", **POINT),
    formula=variational.descent_probability,
    derivation=from_update_rule,
    oracle=chi_squared,
    reach=1,
    simulation=Equivalence(
        settings=(
            {"eigenvalue": 1.0, "mean": 1.0, "noise_variance": 1.0, "learning_rate": 1.0, "samples": 1},
            {"eigenvalue": 1.5, "mean": 0.7, "noise_variance": 1.0, "learning_rate": 1.0, "samples": 2},
        ),
        measure=ONE_STEP.measure,
        spread=ONE_STEP.spread,
        observable="fraction of steps that lower the loss",
    ),
    mutants={
        "far side alone": normal(f"({REACH} * {FAR})"),
        "N for its root": f"{normal(f'(samples**0.5 * {REACH} * {FAR})')} + {normal(f'(samples**0.5 * {REACH})')} - 1",
        "c of the wrong sign": f"{normal(f'(-{REACH} * {FAR})')} + {normal(REACH)} - 1",
        "difference": f"{normal(REACH)} - {normal(f'({REACH} * {FAR})')}",
    },
    corollaries=(
        Claim(
            name="interval",
            statement=r"\ell(m^+) < \ell(m) \iff -m < \bar\epsilon < c\,m\quad (m > 0)",
            kind=TIGHT,
            domain=Domain(
                **{name: POINT[name] for name in ("eigenvalue", "mean", "learning_rate")} | {"mean": positive}
            ),
            formula=lambda eigenvalue, mean, learning_rate: (2 / (learning_rate * eigenvalue) - 1) * mean,
            oracle=end_of_descent,
            reach=1e3,
            certificate=interval,
            mutants={
                "half as far": "(1 / (learning_rate * eigenvalue) - 1) * mean",
                "wrong sign": "(1 - 2 / (learning_rate * eigenvalue)) * mean",
                "symmetric": "mean",
            },
        ),
        Claim(
            name="bound",
            kind=UPPER,
            statement=r"P[\ell(m^+) \ge \ell(m)] \le \exp(-k^2 \min(1, c)^2 / 2)",
            domain=Domain("learning_rate * eigenvalue < 2", **POINT | {"mean": positive.between(1e-4, 3)}),
            formula=parse(f"exp(-{EXPONENT})", tuple(POINT)),
            oracle=without_descent,
            reach=1,
            enclosure=exceeds,
            mutants={
                "the farther end": f"exp(-{EXPONENT.replace('min', 'max')})",
                "without 1/2": f"exp(-2 * {EXPONENT})",
                "the near end alone": "exp(-samples * mean**2 / noise_variance / 2)",
                "0.95 of it": f"0.95 * exp(-{EXPONENT})",
            },
        ),
        Claim(
            name="decay with the number of samples",
            statement=r"-\tfrac1N \log P[\ell(m^+) \ge \ell(m)] \to \tfrac{m^2}{2 s^2} \min(1, c)^2",
            kind=LIMIT,
            domain=Domain(
                "abs(learning_rate * eigenvalue - 1) > 0.05",
                "abs(learning_rate * eigenvalue - 1) < 0.5",
                **POINT | {"mean": positive.between(1, 3)},
            ),
            formula=parse(EXPONENT.removeprefix("samples * "), tuple(POINT)),
            oracle=decay,
            window=Window("samples", 1e4, 1e7, -1),
            mutants={
                "linear in the distance to 2 / rho": EXPONENT.removeprefix("samples * ").replace(")**2 / 2", ") / 2"),
                "without 1/2": EXPONENT.removeprefix("samples * ").replace("**2 / 2", "**2"),
            },
        ),
        Claim(
            name="on the edge",
            statement=r"P = \tfrac12\Big(\operatorname{erf}\sqrt{\tfrac{s}{2(1-s)}} +"
            r" \operatorname{erf}\sqrt{\tfrac{1-s}{2s}}\Big) \in (\tfrac12, 0.683),\quad s = \tfrac{\rho\lambda}{2}",
            kind=IDENTITY,
            domain=Domain(fraction=Interval(0, 1, typical=(1e-3, 0.999))),
            formula=parse(ON_EDGE, ("fraction",)),
            derivation=on_the_edge,
            oracle=chi_squared_on_edge,
            enclosure=within,
            mutants={
                "half of the steps": "1/2",
                "one side alone": normal("sqrt(fraction / (1 - fraction))"),
                "difference": ON_EDGE.replace(") + erf(", ") - erf("),
            },
        ),
    ),
    caveats=(
        "The law needs Gaussian noise; heavier tails of the same variance descend more often (see vl.student-t).",
        "The curvature at which half of the steps descend lies strictly between the edge and 2 / rho: at gradient 1,"
        " rho = 1 and z = 1 it is 1.2113 against 1.",
        "One direction: in several the loss is a sum, and that it falls is another event.",
    ),
    figure=Figure(
        data=probabilities,
        panels=(
            Panel(
                "map",
                x_label="curvature λ (gradient 1, ρ = 1, N = 10)",
                y_label="probability of descent",
                title="The edge is not where half of the steps descend",
                decorate=legend_below,
                legend=False,
            ),
            Panel(
                "edge",
                x_label="edge / gradient descent's edge, ρλ/2",
                y_label="probability of descent on the edge",
                title="On the edge, Gaussian noise",
                decorate=room_below,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""Heavy tails act on the expected loss through the variance alone; how often a step descends depends on the shape.

The expected change of a quadratic loss uses the mean and covariance of the noise and nothing else. Student-t weights
of squared scale q and alpha degrees of freedom, normal / sqrt(Gamma(alpha/2, scale 2/alpha)), have variance
q alpha / (alpha - 2): every threshold of this paper holds with that in the place of s^2. "Heavier tails find flatter
minima" at equal scale is "larger variance finds flatter minima"; a test of the tails has to match the variances.
"""

from math import atan, cos, inf, pi, sqrt

import numpy as np
import sympy
from scipy.integrate import quad
from scipy.special import stdtr

from quadlab import derive, dynamics
from quadlab.report import Figure, Panel, computed, measured, run, theory
from quadlab.theory import variational
from quadlab.theory.elementary import where
from quadlab.theory.intervals import Interval, non_negative, positive
from quadlab.verify import IDENTITY, Claim, Derivation, Domain, Equivalence, RuleExperiment, Theorem

GAUSSIAN = dynamics.variational_gradient_descent()
STUDENT = dynamics.variational_gradient_descent(law="student_t")
SCALE, FREEDOM = map(STUDENT.symbol, ("noise_variance", "degrees_of_freedom"))


def from_construction(formula):
    """E 1/G for the Gamma variable under the root, at alpha = 2 + 2 b; then the rule's own expected change."""
    excess, x = sympy.symbols("b x", positive=True)
    shape = 1 + excess
    density = shape**shape * x**excess * sympy.exp(-shape * x) / sympy.gamma(shape)
    inverse = sympy.gammasimp(sympy.integrate(density / x, (x, 0, sympy.oo)))
    variance = formula(SCALE, 2 * shape)
    change = derive.expected_change(STUDENT).subs(FREEDOM, 2 * shape)
    return Derivation(
        steps=(
            ("density of G at alpha = 2 + 2 b", density),
            ("E t^2 = E 1/G", inverse),
            ("expected change under Student-t weights of squared scale noise_variance", change),
        ),
        residuals={
            "variance": variance - SCALE * inverse,
            "expected change at equal variance": change - derive.expected_change(GAUSSIAN).subs(SCALE, variance),
        },
    )


def second_moment(scale_squared, degrees_of_freedom):
    """Quadrature of t^2 against the density, in y = 1 / (1 + t^2/alpha), where both integrals are algebraic."""

    def integral(at_zero, at_one):
        return quad(lambda y: 1.0, 0, 1, weight="alg", wvar=(at_zero, at_one))[0]

    half = degrees_of_freedom / 2
    return scale_squared * degrees_of_freedom * integral(half - 2, 1 / 2) / integral(half - 1, -1 / 2)


def second_moment_or_infinite(scale_squared, degrees_of_freedom):
    """Infinite when the stretches (T, 2T), (2T, 4T), ... of the integral do not shrink far out in the tail."""

    def stretch(start):
        power = -(degrees_of_freedom + 1) / 2
        return quad(lambda t: t**2 * (1 + t**2 / degrees_of_freedom) ** power, start, 2 * start)[0]

    far = 1e6
    return inf if stretch(2 * far) >= stretch(far) else second_moment(scale_squared, degrees_of_freedom)


def probability_at_scale(eigenvalue, mean, scale_squared, learning_rate, degrees_of_freedom):
    """P[-m < t < c m], c = 2 / (rho lambda) - 1, for one Student-t weight sample t."""
    near = abs(mean) / np.sqrt(scale_squared)
    far = (2 / (learning_rate * eigenvalue) - 1) * near
    return stdtr(degrees_of_freedom, far) + stdtr(degrees_of_freedom, near) - 1


def probability_at_variance(eigenvalue, mean, noise_variance, learning_rate, degrees_of_freedom):
    """The same for a weight sample of given variance."""
    scale_squared = noise_variance * (degrees_of_freedom - 2) / degrees_of_freedom
    return probability_at_scale(eigenvalue, mean, scale_squared, learning_rate, degrees_of_freedom)


def integrated_density(eigenvalue, mean, noise_variance, learning_rate, degrees_of_freedom):
    """Quadrature of the density over the descending region, in the angle with t = sqrt(alpha) tan(angle)."""
    unit = sqrt(noise_variance * (degrees_of_freedom - 2))
    ends = atan(-mean / unit), atan((2 / (learning_rate * eigenvalue) - 1) * mean / unit)
    below, total = (
        quad(lambda angle: cos(angle) ** (degrees_of_freedom - 1), *limits, epsabs=0, epsrel=1e-12)[0]
        for limits in (ends, (-pi / 2, pi / 2))
    )
    return below / total


def unit_step(mean, observable):
    """One step of the rule at curvature, learning rate and sample number one; a setting gives the tails."""
    return RuleExperiment(
        STUDENT,
        lambda setting: {
            "eigenvalues": np.ones(1),
            "initial": mean,
            "noise_variance": setting["scale_squared"],
            "degrees_of_freedom": setting["degrees_of_freedom"],
            "learning_rate": 1.0,
            "samples": 1,
        },
        observable,
    )


def at_variance_one(degrees_of_freedom):
    unit = dict.fromkeys(("eigenvalue", "mean", "noise_variance", "learning_rate"), 1.0)
    scale_squared = (degrees_of_freedom - 2) / degrees_of_freedom
    return unit | {"degrees_of_freedom": degrees_of_freedom, "scale_squared": scale_squared}


FROM_MINIMUM, DESCENDS = unit_step(0.0, "loss_change"), unit_step(1.0, "descends")


def change_from_minimum(variance):
    return variational.expected_loss_change([1.0], [0.0], np.reshape(variance, (-1, 1)), 1.0, 1)


def tails(rng):
    """Expected change from the minimum, and descent probability, against the degrees of freedom."""
    fine, seeds = np.geomspace(2.2, 40, 80), iter(np.random.SeedSequence(rng).spawn(12))
    heavy, light, all_tails = (2.3, 3.0, 5.0), (10.0, 15.0, 30.0), (2.5, 3.0, 4.0, 6.0, 10.0, 20.0)
    scales = {"equal scale q = 1": lambda alpha: 1 + 0 * alpha, "equal variance 1": lambda alpha: (alpha - 2) / alpha}
    rows = []
    for name, scale in scales.items():
        rows += theory("change", name, fine, change_from_minimum(variational.student_t_variance(scale(fine), fine)))
        rows += computed("change", name, heavy, [second_moment(scale(alpha), alpha) / 2 for alpha in heavy])
        for alpha in light:
            setting = {"scale_squared": scale(alpha), "degrees_of_freedom": alpha}
            found = FROM_MINIMUM.measure(setting, 100_000, next(seeds))
            rows += measured("change", name, alpha, found.value, found.standard_error)
    rows += theory("descent", "Student t", fine, probability_at_variance(1.0, 1.0, 1.0, 1.0, fine))
    for alpha in all_tails:
        found = DESCENDS.measure(at_variance_one(alpha), 100_000, next(seeds))
        rows += measured("descent", "Student t", alpha, found.value, found.standard_error)
    gaussian = variational.descent_probability(1.0, 1.0, 1.0, 1.0, 1)
    return rows + theory("descent", "Gaussian", fine[[0, -1]], gaussian)


def readable_ticks(axes, rows):
    axes.set_xticks([], minor=True)
    axes.set_xticks([2, 3, 5, 10, 20, 40], ["2", "3", "5", "10", "20", "40"])


FREEDOM_RANGE = Interval(2, inf, typical=(2.1, 30), words="greater than 2 and finite")
VARIANCE = "scale_squared * degrees_of_freedom / (degrees_of_freedom - 2)"
THEOREM = Theorem(
    id="vl.student-t",
    title="heavy tails act on the edge through the variance only",
    source="noise of Ghosh et al. 2025, figure 7; statement derived here",
    kind=IDENTITY,
    statement=r"\varepsilon \sim \sqrt q\, t_\alpha \implies s^2 = \frac{q\,\alpha}{\alpha - 2}\ (\alpha > 2)"
    r"\text{ in every expected change and edge};\quad"
    r"P[\text{descent}] = F_\alpha(kc) + F_\alpha(k) - 1,\ k = |m|/\sqrt q,\ c = \tfrac{2}{\rho\lambda} - 1",
    domain=Domain(scale_squared=non_negative, degrees_of_freedom=FREEDOM_RANGE),
    formula=variational.student_t_variance,
    derivation=from_construction,
    oracle=second_moment,
    reach=1,
    simulation=Equivalence(
        settings=({"scale_squared": 1.0, "degrees_of_freedom": 10.0},),
        measure=FROM_MINIMUM.measure,
        spread=FROM_MINIMUM.spread,
        predict=lambda formula, setting: change_from_minimum(formula(**setting)),
        observable="loss change in one step from the minimum, at curvature, learning rate and sample number one",
    ),
    mutants={
        "variance = squared scale": "scale_squared",
        "inverted": "scale_squared * (degrees_of_freedom - 2) / degrees_of_freedom",
        "one degree lost, not two": "scale_squared * degrees_of_freedom / (degrees_of_freedom - 1)",
        "kurtosis counted as well": f"{VARIANCE} * (1 + 6 / (degrees_of_freedom + 4))",
    },
    corollaries=(
        Claim(
            name="finite only above two",
            statement=r"s^2 = \frac{q\,\alpha}{\alpha - 2}\ (\alpha > 2),\quad s^2 = \infty\ (\alpha \le 2)",
            kind=IDENTITY,
            domain=Domain(scale_squared=positive, degrees_of_freedom=positive.between(0.5, 6)),
            formula=lambda scale_squared, degrees_of_freedom: where(
                degrees_of_freedom > 2, scale_squared * degrees_of_freedom / (degrees_of_freedom - 2), inf
            ),
            oracle=second_moment_or_infinite,
            reach=1,
            mutants={
                "finite for every tail": "scale_squared * degrees_of_freedom / abs(degrees_of_freedom - 2)",
                "infinite up to four, like the fourth moment": lambda scale_squared, degrees_of_freedom: where(
                    degrees_of_freedom > 4, scale_squared * degrees_of_freedom / (degrees_of_freedom - 2), inf
                ),
            },
        ),
        Claim(
            name="descent probability at equal variance",
            statement=r"P[\ell(m^+) < \ell(m)] = F_\alpha(kc) + F_\alpha(k) - 1,\quad "
            r"k = \frac{|m|}{s}\sqrt{\frac{\alpha}{\alpha - 2}},\ c = \tfrac{2}{\rho\lambda} - 1",
            kind=IDENTITY,
            domain=Domain(
                eigenvalue=positive.between(0.2, 2.5),
                mean=positive.between(0.1, 3),
                noise_variance=positive.between(0.1, 3),
                learning_rate=positive.between(0.2, 1.5),
                degrees_of_freedom=FREEDOM_RANGE,
            ),
            formula=probability_at_variance,
            oracle=integrated_density,
            reach=1,
            simulation=Equivalence(
                settings=tuple(map(at_variance_one, (3.0, 5.0))),
                measure=DESCENDS.measure,
                spread=DESCENDS.spread,
                predict=lambda formula, setting: formula(
                    **{name: value for name, value in setting.items() if name != "scale_squared"}
                ),
                observable="fraction of steps that lower the loss",
            ),
            mutants={
                "Gaussian of the same variance": lambda eigenvalue, mean, noise_variance, learning_rate, **tail: (
                    variational.descent_probability(eigenvalue, mean, noise_variance, learning_rate, 1)
                ),
                "variance taken for the squared scale": lambda noise_variance, **point: probability_at_scale(
                    scale_squared=noise_variance, **point
                ),
            },
        ),
    ),
    caveats=(
        "Equal means are not equal paths: at equal variance heavy tails descend more often, with rarer larger ascents.",
        "The descent probability is for one sample: the mean of several Student-t draws is not Student-t.",
        "For alpha <= 4 the loss change has infinite variance: its mean cannot be found by simulation.",
    ),
    figure=Figure(
        data=tails,
        panels=(
            Panel(
                "change",
                x_label="degrees of freedom α (dimensionless)",
                y_label="expected loss change (units of loss)",
                title="One step from the minimum",
                x_scale="log",
                decorate=readable_ticks,
            ),
            Panel(
                "descent",
                x_label="degrees of freedom α (dimensionless)",
                y_label="probability of descent",
                title="One step at equal variance, z = ρ = λ = 1",
                x_scale="log",
                decorate=readable_ticks,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

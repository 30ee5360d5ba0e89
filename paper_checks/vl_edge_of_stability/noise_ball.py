"""Around the minimum lies a ball in which every step raises the expected loss, however flat the direction.

At fixed distance the edge needs no cubic. The expected loss falls along an eigenvector exactly where the weights are
farther than r from the minimiser, r^2 = (s^2 / N) rho lambda / (2 - rho lambda); or, read as a limit on the curvature,
where lambda < (2/rho) / (1 + s^2 / (N m^2)). The ball is no instability: r^2 is where the second moment settles (see
vl.stationarity-identity).
"""

import numpy as np
import sympy
from scipy.optimize import brentq
from scipy.stats import binom

from quadlab import derive, dynamics, moments, simulate
from quadlab.report import Figure, Panel, measured, run, theory
from quadlab.theory import variational
from quadlab.theory.intervals import non_negative, positive, whole_positive
from quadlab.verify import (
    TIGHT,
    Claim,
    Derivation,
    Domain,
    EdgeBracket,
    Equivalence,
    Measurement,
    RuleExperiment,
    Statement,
    Theorem,
    WeightsExperiment,
    parse,
)

RULE = dynamics.variational_gradient_descent()
CURVATURE, RATE, NOISE, SAMPLES = map(RULE.symbol, ("curvature", "learning_rate", "noise_variance", "samples"))
DISTANCE = sympy.Symbol("distance", positive=True)
CHANGE = derive.expected_change(RULE).subs(RULE.state[0], DISTANCE)


def from_update_rule(formula):
    """The expected change of the update rule vanishes at the radius."""
    radius = formula(CURVATURE, NOISE, RATE, SAMPLES)
    return Derivation(
        steps=(("expected change at a distance", sympy.factor(CHANGE)), ("it vanishes at the radius", radius)),
        residuals={"change at the radius": CHANGE.subs(DISTANCE, radius)},
    )


def certificate(formula):
    """Descent in expectation if and only if the distance exceeds the radius, for all positive parameters."""
    outside = formula(CURVATURE, NOISE, RATE, SAMPLES) ** 2 < DISTANCE**2
    yield Statement("descent exactly outside", sympy.Equivalent(CHANGE < 0, outside), (RATE * CURVATURE < 2,))


def enumerated_change(eigenvalue, distance, noise_variance, learning_rate, samples):
    """The expected change as a finite sum, over the number of draws of +-s that are +s."""
    positive_draws = np.arange(int(samples) + 1)
    noise = np.sqrt(noise_variance) * (2 * positive_draws / samples - 1)
    move = -learning_rate * eigenvalue * (distance + noise)
    return eigenvalue * binom.pmf(positive_draws, int(samples), 0.5) @ (move * (2 * distance + move)) / 2


def distance_without_change(eigenvalue, noise_variance, learning_rate, samples):
    """The distance at which the enumerated change passes through zero, by bracketing its logarithm."""

    def change(logarithm):
        return enumerated_change(eigenvalue, np.exp(logarithm), noise_variance, learning_rate, samples)

    if noise_variance == 0:
        return 0.0
    return np.exp(brentq(change, -30, 30, xtol=1e-14))


def curvature_without_change(distance, noise_variance, learning_rate, samples):
    """The curvature at which it does, the distance being held."""
    ends = 1e-30 / learning_rate, 2.1 / learning_rate  # without noise it is 2 / rho

    def change(curvature):
        return enumerated_change(curvature, distance, noise_variance, learning_rate, samples) / curvature**2

    return brentq(change, *ends, xtol=1e-300, maxiter=1000)


def flat_enough(formula):
    """Descent in expectation if and only if the curvature lies below the candidate."""
    below = formula(DISTANCE, NOISE, RATE, SAMPLES) > CURVATURE
    yield Statement("descent exactly below", sympy.Equivalent(CHANGE < 0, below))


def loss_suffices(formula):
    """Descent in expectation if and only if the loss along the direction exceeds the candidate."""
    above = formula(CURVATURE, NOISE, RATE, SAMPLES) < CURVATURE * DISTANCE**2 / 2
    yield Statement("descent exactly above", sympy.Equivalent(CHANGE < 0, above), (RATE * CURVATURE < 2,))


def start_at(distance):
    """One step from this distance."""
    return RuleExperiment(
        RULE,
        lambda setting: {
            "eigenvalues": [setting["eigenvalue"]],
            "initial": distance,
            "noise_variance": setting["noise_variance"],
            "learning_rate": setting["learning_rate"],
            "samples": setting["samples"],
        },
    )


def decrease(setting, distance, *how):
    """The measured decrease of the loss, negative inside the ball and positive outside."""
    found = start_at(distance).measure(setting, *how)
    return Measurement(-found.value, found.standard_error, found.replicas)


def on_problem(problem):
    """A step on a real quadratic from half and from one and a half radii in all directions, by full matrices.

    Noise has half the size of the minimiser, at least 1/2: rounding of the weights would hide a smaller one.
    """
    noise = max(1.0, np.linalg.norm(problem.minimizer)) ** 2 / 4
    hessian, rate, samples = problem.hessian, 0.8 / problem.sharpness, 2
    curved = problem.eigenvalues > 1e-6 * problem.sharpness
    eigenvalues, axes = problem.eigenvalues[curved], problem.eigenvectors[:, curved]
    point = {"eigenvalue": eigenvalues, "noise_variance": noise, "learning_rate": rate, "samples": samples}
    radii, weights = variational.noise_ball_radius(**point), rate * eigenvalues**2 * (2 - rate * eigenvalues) / 2
    optimiser = simulate.VariationalGradientDescent(rate, samples, noise)

    def start(setting):
        away = axes @ (setting["multiple"] * radii)
        linear = -rate * (np.eye(problem.dimension) - rate * hessian) @ hessian @ hessian @ away
        quadratic, covariance = rate**2 * hessian @ hessian @ hessian, noise / samples * np.eye(problem.dimension)
        spread = moments.gaussian_quadratic_deviation(linear, quadratic, covariance)
        return WeightsExperiment(problem, optimiser, spread, initial=problem.minimizer + away)

    return Equivalence(
        settings=({"multiple": 0.5, **point}, {"multiple": 1.5, **point}),
        measure=lambda setting, *how: start(setting).measure(setting, *how),
        spread=lambda setting: start(setting).spread(setting),
        predict=lambda formula, setting: np.sum(
            weights * (np.square(formula(**point)) - np.square(setting["multiple"] * radii))
        ),
        # 1 % of the radius moves the prediction by 2 % of what the noise adds
        scale=lambda setting: 2 * np.sum(weights * radii**2),
        observable="loss change in one step",
    )


def parabolas(rng):
    """Expected change against the distance, in units that leave one parabola for each rho lambda."""
    rows, spots = [], np.linspace(0.2, 1.8, 9)
    seeds = iter(np.random.SeedSequence(rng).spawn(3 * len(spots)))
    for stretch in (0.2, 1.0, 1.6):
        point = {"eigenvalue": stretch, "noise_variance": 2.0, "learning_rate": 1.0, "samples": 4}
        name, radius = f"ρλ = {stretch:g}", variational.noise_ball_radius(**point)
        unit, ratios = stretch**2 * radius**2, np.linspace(0, 2, 101)
        change = variational.expected_loss_change(
            [stretch], stretch * radius * ratios[:, None], [2.0], learning_rate=1.0, samples=4
        )
        rows += theory("change", name, ratios, change / unit)
        for spot in spots:
            found = start_at(spot * radius).measure(point, 40_000, next(seeds))
            rows += measured("change", name, spot, found.value / unit, found.standard_error / unit)
    return rows


def the_ball(axes, rows):
    axes.axhline(0, color="0.4", linewidth=0.8)
    axes.axvspan(0, 1, color="0.92")


POINT = {
    "eigenvalue": positive.between(0.01, 10),
    "noise_variance": non_negative.between(0.01, 10),
    "learning_rate": positive.between(0.01, 10),
    "samples": whole_positive.between(1, 50),
}
NAMES = tuple(POINT)
KAPPA = "learning_rate * eigenvalue / (2 - learning_rate * eigenvalue)"
FLAT = "2 / learning_rate / (1 + noise_variance / (samples * distance**2))"
FLOOR = "learning_rate * eigenvalue**2 * noise_variance / (2 * samples * (2 - learning_rate * eigenvalue))"

THEOREM = Theorem(
    id="vl.noise-ball",
    title="the edge at fixed distance: a ball of noise",
    source="consequence of Ghosh et al. 2025, Theorem 3.1; derived here",
    kind=TIGHT,
    statement=r"\mathbb E\,\ell(m^+) < \ell(m) \iff |m| > r = \sqrt{\frac{s^2}{N}\,\frac{\rho\lambda}{2 - \rho\lambda}}"
    r" \iff \lambda < \frac{2/\rho}{1 + s^2 / (N m^2)}",
    domain=Domain("learning_rate * eigenvalue < 2", **POINT),
    formula=variational.noise_ball_radius,
    derivation=from_update_rule,
    oracle=distance_without_change,
    reach=1e3,
    certificate=certificate,
    simulation=EdgeBracket(
        settings=({"eigenvalue": 3.0, "noise_variance": 2.0, "learning_rate": 0.4, "samples": 2},),
        measure=decrease,
        spread=lambda setting, distance: start_at(distance).spread(setting),
        effect=lambda setting, distance: start_at(distance).exact(setting),
        observable="sign of the mean loss change just inside and just outside the ball",
    ),
    on_problem=on_problem,
    mutants={
        "the squared radius": f"noise_variance / samples * {KAPPA}",
        "1 - rho lambda": "sqrt(noise_variance / samples * learning_rate * eigenvalue"
        " / abs(1 - learning_rate * eigenvalue))",
        "N outside the root": f"sqrt(noise_variance * {KAPPA}) / samples",
        "standard deviation for variance": f"sqrt(sqrt(noise_variance) / samples * {KAPPA})",
        "kappa inverted": f"sqrt(noise_variance / samples / ({KAPPA}))",
    },
    corollaries=(
        Claim(
            name="limit on the curvature",
            statement=r"\mathbb E\,\ell(m^+) < \ell(m) \iff \lambda < \frac{2/\rho}{1 + s^2 / (N m^2)}",
            kind=TIGHT,
            domain=Domain(distance=positive.between(0.1, 10), **{name: POINT[name] for name in NAMES[1:]}),
            formula=parse(FLAT, ("distance", *NAMES[1:])),
            oracle=curvature_without_change,
            reach=1e3,
            certificate=flat_enough,
            points=100,
            mutants={
                "distance not squared": FLAT.replace("distance**2", "distance"),
                "without N": FLAT.replace("samples * ", ""),
                "plain 2 / rho": "2 / learning_rate",
            },
        ),
        Claim(
            name="floor of the loss",
            statement=r"\mathbb E\,\ell(m^+) < \ell(m) \iff \tfrac12\lambda m^2 >"
            r" \frac{\rho\lambda^2 s^2}{2N(2 - \rho\lambda)}",
            kind=TIGHT,
            domain=Domain("learning_rate * eigenvalue < 2", **POINT),
            formula=parse(FLOOR, NAMES),
            oracle=lambda **point: point["eigenvalue"] * distance_without_change(**point) ** 2 / 2,
            reach=1e3,
            certificate=loss_suffices,
            points=100,
            mutants={
                "curvature not squared": FLOOR.replace("**2", ""),
                "without the 2 of the loss": FLOOR.replace("(2 * samples", "(samples"),
            },
        ),
    ),
    caveats=(
        "Inside the ball the expected loss rises at every curvature, however flat: the ball is not an instability.",
        "There is no ball at rho lambda >= 2, where the expected loss rises everywhere.",
        "In several directions the expected loss may fall inside the slab of one of them (see"
        " vl.directional-condition).",
    ),
    figure=Figure(
        data=parabolas,
        panels=(
            Panel(
                "change",
                x_label="distance / radius of the ball, m / r",
                y_label="expected loss change / (ρ λ² r²)",
                title="The loss rises inside the ball, falls outside",
                decorate=the_ball,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

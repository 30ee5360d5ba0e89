"""With momentum the sharpness of a network stays at the momentum method's own edge, above or below gradient descent's.

Heavy ball is stable on a quadratic up to 2 (1 + b) / learning_rate, nearly twice gradient descent's edge at b = 0.9;
Nesterov's method, which takes the gradient ahead, up to 2 (1 + b) / ((1 + 2 b) learning_rate), below it. Networks
trained with either sharpen up to that edge.

Both move 1 / (1 - b) times as far per step, so that with the learning rate that counts for speed, learning_rate /
(1 - b), one would expect 2 (1 - b) / learning_rate: a tenth of gradient descent's edge, and wrong by a factor 19 for
heavy ball at b = 0.9. The edge is where the iterates begin to alternate; averages over steps do not matter to it.
"""

from dataclasses import replace
from functools import cache, partial

import numpy as np

from quadlab.bridge.data import digits
from quadlab.bridge.spectra import initial_sharpness
from quadlab.bridge.training import Recorder, gradient_descent, nesterov, train
from quadlab.report import Figure, Panel, measured, run, theory
from quadlab.theory import stability
from quadlab.theory.intervals import momentum_range, positive
from quadlab.verify import TIGHT, Claim, Domain, Replication, Runs, Theorem, at_least

STEPS = {"quick": 400, "standard": 1200, "deep": 2400}
CHECKS = {"quick": 8, "standard": 24, "deep": 48}
EXAMPLES = {"quick": 500, "standard": 1000, "deep": 1000}
# the error of an eigenvalue is of the order of the square of its residual: below a tenth of a percent
TOLERANCE = 1e-2
RULES = {"heavy ball": gradient_descent, "Nesterov": nesterov}
EDGES = {"heavy ball": stability.heavy_ball_sharpness_limit, "Nesterov": stability.nesterov_sharpness_limit}


@cache
def data(examples=1000):
    """The first digits of a permutation."""
    return digits(examples)


def setting_of(method, learning_rate, momentum):
    return {"method": method, "learning_rate": learning_rate, "momentum": momentum}


def problem_of(dataset=None):
    """A perceptron with two hidden layers of 50 on the digits, or on another dataset."""
    return (data() if dataset is None else dataset).problem([50, 50], dtype="float32")


def sharpness_along(setting, seed, steps, checks, dataset=None):
    """The steps at which the top eigenvalue of the Hessian was found, and its values."""
    problem = problem_of(dataset)
    rule = RULES[setting["method"]](setting["learning_rate"], setting["momentum"])
    recorder = Recorder(every=steps // checks, sharpness=1, tolerance=TOLERANCE, schedule={"accuracy": 0})
    history = train(
        problem, rule, problem.network.initial(np.random.default_rng(seed)), steps, recorder=recorder
    ).history
    if not history["eigenvalues_converged"].values.all():
        raise ArithmeticError("the top eigenvalue did not converge")
    return history["sharpness"]


def trained(setting, seed, budget, dataset=None):
    """The mean sharpness over the checks in the second half of a training, and its highest up to early there."""
    dataset = data(EXAMPLES[budget]) if dataset is None else dataset
    steps, sharpness = sharpness_along(setting, seed, STEPS[budget], CHECKS[budget], dataset)
    half = STEPS[budget] // 2
    return {"arrived": sharpness[steps <= 5 * half // 4].max(), "sharpness": sharpness[steps > half].mean()}


def trajectory(setting, seed, budget):
    """The sharpness at 15 steps of a training."""
    return {str(step): value for step, value in zip(*sharpness_along(setting, seed, 1500, 15), strict=True)}


RUNS = Runs(trained)
# under half the distance to gradient descent's edge at b = 0.3, 23 %
MARGIN = 0.1


def replication(method, *points):
    return Replication(
        settings=tuple(setting_of(method, *point) for point in points),
        runs=RUNS,
        observed=lambda setting, found: found["sharpness"],
        predict=lambda formula, setting, found: formula(setting["learning_rate"], setting["momentum"]),
        premise=at_least(
            "arrived",
            lambda setting, found: (1 - MARGIN) * EDGES[method](setting["learning_rate"], setting["momentum"]),
            "the edge was not reached",
        ),
        margin=MARGIN,
        observable="mean sharpness in the second half of training",
        units="loss / parameter**2",
        # with momentum two runs differ by some percent
        seeds={"quick": 6, "standard": 4, "deep": 8},
    )


def on_data(dataset):
    """Heavy ball at momentum 0.5 on other data, with edges at 3 and 2.25 times the sharpness of a new network.

    At momentum 0.8 some networks diverge as they come to the edge (see the caveats), on some data most of them.
    `quadlab verify net.heavy-ball-edge --data mine.npz` runs it.
    """
    start = initial_sharpness(problem_of(dataset))
    rates = (float(stability.heavy_ball_sharpness_limit(factor * start, 0.5)) for factor in (3, 2.25))
    settings = tuple(setting_of("heavy ball", rate, 0.5) for rate in rates)
    return replace(THEOREM.simulation, settings=settings, runs=Runs(partial(trained, dataset=dataset)))


DOMAIN = Domain(learning_rate=positive.between(0.1, 0.5), momentum=momentum_range.between(0.3, 0.9))


def against_momentum(rng):
    """Late sharpness against momentum, and its way there, at rates that put each method's edge at 8."""
    grid = np.linspace(0, 0.95, 96)
    points = [(method, momentum) for method in RULES for momentum in (0.3, 0.5, 0.7, 0.9)]
    settings = [setting_of(method, float(EDGES[method](1.0, momentum) / 8), momentum) for method, momentum in points]
    made = Runs(trajectory).made(settings, 2, rng=rng, budget="deep")
    rows = theory("momentum", "gradient descent", grid, np.ones_like(grid))
    rows += theory("way", "the edge", [0, 1500], [8, 8])
    for method, edge in EDGES.items():
        rows += theory("momentum", method, grid, edge(1.0, grid) / 2)
    for setting, runs in zip(settings, made, strict=True):
        values = np.array([list(run.measured.values()) for run in runs])
        steps = np.array(list(runs[0].measured), dtype=float)
        late = values[:, steps > 750].mean(axis=1) * setting["learning_rate"] / 2
        error = np.sqrt(1 / len(runs))
        method, momentum = setting["method"], setting["momentum"]
        rows += measured("momentum", method, momentum, late.mean(), late.std(ddof=1) * error)
        if momentum in (0.5, 0.9):
            way = values.mean(axis=0), values.std(axis=0, ddof=1) * error
            rows += measured("way", f"{method}, b = {momentum}", steps, *way)
    return rows


THEOREM = Theorem(
    id="net.heavy-ball-edge",
    title="with momentum a network trains at its method's edge",
    source="Cohen et al. 2021; the edges are those of Polyak 1964 and Nesterov 1983 on a quadratic",
    kind=TIGHT,
    statement=r"\lambda_{\max}(\nabla^2\ell(w_t)) \approx \frac{2(1 + b)}{\rho}\quad\text{for heavy ball}",
    domain=DOMAIN,
    formula=stability.heavy_ball_sharpness_limit,
    on_problem=on_data,
    simulation=replication("heavy ball", (0.5, 0.3), (0.5, 0.8)),
    mutants={
        "gradient descent's": "2 / learning_rate",
        "with averaged gradients, 2(1 + b)/((1 - b) rho)": "2 * (1 + momentum) / ((1 - momentum) * learning_rate)",
        "gradient descent's at the effective rate": "2 * (1 - momentum) / learning_rate",
        "Nesterov's": stability.nesterov_sharpness_limit,
        "without the 2": "(1 + momentum) / learning_rate",
        "4/rho": "4 / learning_rate",
        "one constant for all momenta": "3.1 / learning_rate",
        "root of the momentum": "2 * (1 + sqrt(momentum)) / learning_rate",
    },
    corollaries=(
        Claim(
            name="Nesterov",
            statement=r"\lambda_{\max}(\nabla^2\ell(w_t)) \approx \frac{2(1 + b)}{(1 + 2b)\rho}",
            kind=TIGHT,
            domain=DOMAIN,
            formula=stability.nesterov_sharpness_limit,
            simulation=replication("Nesterov", (0.35, 0.3), (0.2, 0.9)),
            mutants={
                "heavy ball's": stability.heavy_ball_sharpness_limit,
                "gradient descent's": "2 / learning_rate",
                "gradient descent's at the effective rate": "2 * (1 - momentum) / learning_rate",
                "at momentum one": "4 / (3 * learning_rate)",
                "1 + 2 b alone": "2 / ((1 + 2 * momentum) * learning_rate)",
            },
        ),
    ),
    caveats=(
        "The theory is of a quadratic: it says where the edge is, not that training sharpens the loss up to it.",
        "Heavy ball at b = 0.9 and rate 0.5 swings more: 2 to 4 % below its edge in the second half of 1200 steps, and"
        " up to 15 % below in the first (three networks). It is in the figure, not among the settings.",
        "At b = 0.9 and rate 0.76 one of two networks diverged within 75 steps: the way to the edge can be too fast.",
        "On scikit-learn's diabetes data, a regression, networks diverged at b = 0.8 with edges at 2.25, 3 and 4 times"
        " their first sharpness, and at b = 0.7 at the former two.",
        "Two momenta tell 1 + b from a constant, not from 1 / (1 - b / 2), which is at most 9 % off at both.",
        "At b = 0.9 and rate 0.19 (edge 20) the sharpness was 10.7 and 13.0 after 1500 steps: not there yet.",
        "One data set, one network, tanh, squared error, all examples in every step, training in float32.",
    ),
    figure=Figure(
        data=against_momentum,
        panels=(
            Panel(
                "momentum",
                x_label="momentum b (dimensionless)",
                y_label="sharpness / (2/ρ) (dimensionless)",
                title="Second half of 1500 steps, edges at 8",
            ),
            Panel(
                "way",
                x_label="step",
                y_label="sharpness (loss / parameter²)",
                title="The way there",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

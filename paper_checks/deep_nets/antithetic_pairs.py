"""Weight noise in pairs (e, -e): at small variance a network returns to gradient descent's edge, at large it does not.

Pairs cancel the noise of a quadratic's gradient and keep the smoothing of the loss, so they separate the two ways in
which weight noise flattens. From the same start a network is trained with pairs and with two independent samples.

At variance 1e-4 pairs sit at 2/rho and independent samples well below: there the noise flattens. At variance 1e-3 pairs
are almost as flat as independent samples: there the smoothing does, and pairs are below any edge. In both the formula
H(mean z), with the variance of noise that cancels, gives too low a sharpness. It does not say where between these
variances the one takes over: that moves with the learning rate and with the length of the training.
"""

from dataclasses import replace
from functools import cache, partial

import numpy as np

from quadlab import bridge
from quadlab.report import Figure, Panel, measured, run, theory
from quadlab.theory import stability, variational
from quadlab.theory.intervals import positive
from quadlab.verify import LOWER, TIGHT, UPPER, Claim, Domain, Replication, Runs, Theorem, at_least

# steps before anything is measured, and steps measured
STEPS = {"quick": (275, 100), "standard": (700, 500), "deep": (1000, 1000)}
EXAMPLES = {"quick": 300, "standard": 1000, "deep": 1000}
SEEDS_SHOWN = 2
# the error of an eigenvalue is of the order of the square of its residual, below a tenth of a percent
TOLERANCE = 1e-2
RECORDER = bridge.Recorder(every=25, sharpness=1, tolerance=TOLERANCE)


@cache
def data(examples):
    """The first digits of a permutation."""
    return bridge.digits(examples)


def problem_of(budget, dataset=None):
    """A perceptron with two hidden layers of 50 on the digits, or on another dataset."""
    dataset = data(EXAMPLES[budget]) if dataset is None else dataset
    return dataset.problem([50, 50], dtype="float32")


def trained(setting, seed, budget, dataset=None):
    """Mean sharpness with pairs and with independent samples from one start, and (v'g)^2 with pairs."""
    before, steps = STEPS[budget]
    start, *noises = seed.spawn(3)
    problem = problem_of(budget, dataset)
    first, found = problem.network.initial(np.random.default_rng(start)), {}
    for name, noise in zip(("pairs", "independent"), map(np.random.default_rng, noises), strict=True):
        rule = bridge.variational_gradient_descent(**setting, samples=2, antithetic=name == "pairs")
        settled = bridge.train(problem, rule, first, before, rng=noise).parameters
        history = bridge.train(problem, rule, settled, steps, rng=noise, recorder=RECORDER).history
        if not history["eigenvalues_converged"].values.all():
            raise ArithmeticError("the top eigenvalue did not converge")
        sharpness = history["sharpness"].values
        found[name], found[f"{name} arrived"] = sharpness.mean(), sharpness[: max(1, len(sharpness) // 4)].max()
        found[f"{name} mean_square"] = history["gradient_projections_squared"].values.mean()
    return found


def setting_of(learning_rate, noise_variance):
    return {"learning_rate": learning_rate, "noise_variance": noise_variance}


def edge_of_two(mean_square, learning_rate, noise_variance):
    """H(z) at z = 2 E (v'g)^2 / s^2: that of two independent samples."""
    return variational.descent_sharpness_limit(2 * mean_square / noise_variance, learning_rate)


def flattened(setting, run):
    """The share of the flattening below 2 / rho that pairs keep."""
    edge = stability.gradient_descent_sharpness_limit(setting["learning_rate"])
    return (edge - run["pairs"]) / (edge - run["independent"])


def on_data(dataset):
    """The same experiment on other data, with learning rates and variances in units of 1 / the sharpness at the start.

    The noise along the top eigenvector then moves the outputs of a new network as far as on the digits.
    `quadlab verify net.antithetic-pairs --data mine.npz` runs it.
    """
    unit = bridge.initial_sharpness(problem_of("standard")) / bridge.initial_sharpness(problem_of("standard", dataset))
    scaled = {"learning_rate", "noise_variance"}
    settings = tuple({key: unit * y if key in scaled else y for key, y in s.items()} for s in SMALL)
    return replace(THEOREM.simulation, settings=settings, runs=Runs(partial(trained, dataset=dataset)))


def sharpnesses(rng):
    """Sharpness against the variance, and H(mean z) over the sharpness with pairs."""
    variances = (1e-5, 1e-4, 3e-4, 1e-3)
    made = Runs(trained).made(
        [setting_of(0.4, variance) for variance in variances], SEEDS_SHOWN, rng=rng, budget="standard"
    )
    rows = theory("sharpness", "gradient descent's edge", [1e-5, 1e-3], [5, 5])
    rows += theory("ratio", "H(mean z) = S", [1e-5, 1e-3], [1, 1])
    for name, label in (("pairs", "pairs"), ("independent", "two independent samples")):
        found = np.array([[run.measured[name] for run in row] for row in made])
        squares = np.array([[run.measured[f"{name} mean_square"] for run in row] for row in made])
        limits = edge_of_two(squares, 0.4, np.array(variances)[:, None])
        for panel, values in (("sharpness", found), ("ratio", limits / found)):
            error = values.std(axis=1, ddof=1) / np.sqrt(SEEDS_SHOWN)
            rows += measured(panel, label, variances, values.mean(axis=1), error)
    return rows


RUNS = Runs(trained)
SMALL, LARGE = (setting_of(0.4, 1e-4),), (setting_of(0.4, 1e-3),)
SEEDS = {"quick": 6, "standard": 4, "deep": 8}
RATE = positive.between(0.1, 1)
# without any noise the sharpness circles around 2/rho, up to 5 % above it
MARGIN = 0.1
PAIRS = {
    "runs": RUNS,
    "observed": lambda setting, run: run["pairs"],
    "observable": "sharpness with pairs",
    "units": "loss / parameter²",
    "seeds": SEEDS,
}
OF_RATE = {"predict": lambda formula, setting, run: formula(setting["learning_rate"])}

THEOREM = Theorem(
    id="net.antithetic-pairs",
    title="pairs of weight samples tell noise from smoothing on a network",
    source="derived here",
    kind=TIGHT,
    statement=r"S_{\text{pairs}} = \tfrac2\rho \text{ at } s^2 = 10^{-4},\ \rho = 0.4",
    domain=Domain(learning_rate=RATE),
    formula=stability.gradient_descent_sharpness_limit,
    on_problem=on_data,
    simulation=Replication(
        settings=SMALL,
        premise=at_least(
            "pairs arrived",
            lambda setting, run: (1 - MARGIN) * stability.gradient_descent_sharpness_limit(setting["learning_rate"]),
            "the edge was not reached",
        ),
        margin=MARGIN,
        **OF_RATE,
        **PAIRS,
    ),
    mutants={
        "1 / rho": "1 / learning_rate",
        "4 / rho": "4 / learning_rate",
        "heavy ball's": "3 / learning_rate",
        "three quarters of it": "1.5 / learning_rate",
    },
    corollaries=(
        Claim(
            name="independent samples lie lower",
            statement=r"S_{\text{independent}} < S_{\text{pairs}} \text{ at } s^2 = 10^{-4}",
            kind=UPPER,
            domain=Domain(pairs=positive.between(1, 5)),
            formula=lambda pairs: pairs,
            simulation=Replication(
                settings=SMALL,
                runs=RUNS,
                observed=lambda setting, run: run["independent"],
                predict=lambda formula, setting, run: formula(run["pairs"]),
                margin=0,
                observable="sharpness with independent samples",
                units="loss / parameter²",
                seeds=SEEDS,
            ),
            mutants={"by a half": "pairs / 2", "by a third": "2 * pairs / 3"},
        ),
        Claim(
            name="smoothing flattens at large variance",
            statement=r"S_{\text{pairs}} < \tfrac1\rho \text{ at } s^2 = 10^{-3}",
            kind=UPPER,
            domain=Domain(learning_rate=RATE),
            formula=lambda learning_rate: 1 / learning_rate,
            simulation=Replication(settings=LARGE, margin=0, **OF_RATE, **PAIRS),
            mutants={"a quarter of the edge": "1 / (2 * learning_rate)", "a fifth of it": "2 / (5 * learning_rate)"},
        ),
        Claim(
            name="smoothing gives most of it",
            statement=r"\frac{2/\rho - S_{\text{pairs}}}{2/\rho - S_{\text{independent}}} > \tfrac12"
            r"\text{ at } s^2 = 10^{-3}",
            kind=LOWER,
            domain=Domain(learning_rate=RATE),
            formula=lambda learning_rate: 0.5,
            simulation=Replication(
                settings=LARGE,
                runs=RUNS,
                observed=flattened,
                margin=0,
                observable="share of the flattening that pairs keep",
                seeds=SEEDS,
                **OF_RATE,
            ),
            mutants={"more than all of it": "3 / 2", "twice": "2"},
        ),
        Claim(
            name="the edge of noise that cancels",
            statement=r"S_{\text{pairs}} > H(\bar z),\qquad \bar z = \tfrac{2}{s^2}\,\overline{(v'\nabla\ell)^2}",
            kind=LOWER,
            domain=Domain(
                mean_square=positive.between(1e-5, 1e-2),
                learning_rate=RATE,
                noise_variance=positive.between(1e-5, 1e-3),
            ),
            formula=edge_of_two,
            simulation=Replication(
                settings=SMALL + LARGE,
                predict=lambda formula, setting, run: formula(run["pairs mean_square"], **setting),
                scale=lambda setting, run: run["pairs"],
                # what the formula misses by where the noise is there (net.variational-edge)
                margin=0.1,
                **PAIRS,
            ),
            mutants={
                "4 / rho": "4 / learning_rate",
                "four times H": lambda mean_square, learning_rate, noise_variance: (
                    4 * edge_of_two(mean_square, learning_rate, noise_variance)
                ),
            },
        ),
    ),
    caveats=(
        "At variance 3e-4 both mechanisms act: pairs 3.8, independent samples 3.1 of 5 after 1200 steps, on 2 seeds.",
        "At learning rate 0.2 and variance 3e-4 smoothing gives 0.93 of the flattening after 1400 steps, on 2 seeds:"
        " what counts as large moves with the learning rate.",
        "One learning rate is judged, which tells no power of it from another. At rate 0.5 and variance 1e-4 pairs lay"
        " 7 +- 3 % above 2/rho on 5 seeds of 500 digits, too near the margin to claim.",
        "Pairs that stay below 2/rho are at no edge of the smoothed loss either: at variance 3e-4 its sharpness is 3.80"
        " where that of the loss is 3.84, on one seed.",
        "One network, 1000 digits (300 at the quick budget), squared error.",
    ),
    figure=Figure(
        data=sharpnesses,
        panels=(
            Panel(
                "sharpness",
                x_label="noise variance s² (parameter²)",
                y_label="sharpness S (loss / parameter²)",
                title="Two samples per step, ρ = 0.4",
                x_scale="log",
            ),
            Panel(
                "ratio",
                x_label="noise variance s² (parameter²)",
                y_label="H(mean z) / S",
                title="The formula needs the noise",
                x_scale="log",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""IVON's preconditioned sharpness is the variational descent edge at the measured signal, with P frozen or learned.

IVON learns the diagonal P = h + weight decay that sets both its steps, w - rho P^-1 g, and the covariance of its noise,
P^-1/ess. In the coordinates P^1/2 w the noise has variance 1/ess in every direction, whatever P, so the signal of the
top eigenvector u of P^-1/2 H P^-1/2 is z = ess (u'P^-1/2 g)^2. With P frozen the theorem holds in these coordinates
(vl.posterior-shape). With P learned no threshold is proved; here h is first learned, and then kept or learned on.

Where training starts below 2/rho the formula is met in both, although the learned P comes to spread by a factor of 25.
Where it starts above, at a higher learning rate, the sharpness stays above the formula: see the caveats. As in
net.variational-edge agreement says that the top direction has settled, not what has flattened the network.
"""

from dataclasses import replace
from functools import cache, partial

import numpy as np

from quadlab import bridge
from quadlab.report import Figure, Panel, measured, run, theory
from quadlab.theory import variational
from quadlab.theory.intervals import positive
from quadlab.verify import TIGHT, UPPER, Claim, Domain, Replication, Runs, Theorem, at_least

# steps with P learned, as many before anything is measured, and steps measured
STEPS = {"quick": (150, 150), "standard": (600, 600), "deep": (800, 800)}
EXAMPLES = {"quick": 300, "standard": 1000, "deep": 1000}
BETWEEN_CHECKS = 25
# the error of an eigenvalue is of the order of the square of its residual, below a tenth of a percent
TOLERANCE = 1e-2
WEIGHT_DECAY, INITIAL, LEARNING_DECAY = 1e-3, 0.1, 0.999
NOTHING = dict.fromkeys(("loss", "gradient_norm_squared", "regularizer", "displacement", "accuracy"), 0)


@cache
def data(examples):
    """The first digits of a permutation."""
    return bridge.digits(examples)


def along_top_eigenvector(problem, rule, training, steps):
    """Preconditioned sharpness every 25 steps, and (u'P^-1/2 g)^2 at each step, with the latest P and u.

    The training must have ended at a multiple of 25 steps.
    """
    recorder = bridge.Recorder(
        sharpness=1,
        tolerance=TOLERANCE,
        schedule=NOTHING | {"sharpness": BETWEEN_CHECKS, "gradient_projections": 1},
        preconditioner=lambda state: state["hessian"] + WEIGHT_DECAY,
    )
    end = bridge.train(problem, rule, training, training.step + steps, recorder=recorder)
    if not end.history["eigenvalues_converged"].values.all():
        raise ArithmeticError("the top eigenvalue did not converge")
    return end.history["sharpness"].values[:-1], end.history["gradient_projections"].values[:-1, 0] ** 2, end


def problem_of(budget, dataset=None):
    """A perceptron with two hidden layers of 50 on the digits, or on another dataset."""
    dataset = data(EXAMPLES[budget]) if dataset is None else dataset
    return dataset.problem([50, 50], dtype="float32")


def trained(setting, seed, budget, dataset=None, initial=INITIAL):
    """Means over the last steps of a training, how unequal the learned P is, and the highest sharpness early there."""
    before, steps = STEPS[budget]
    start, noise = map(np.random.default_rng, seed.spawn(2))
    problem = problem_of(budget, dataset)
    rate, ess, decay = setting["learning_rate"], setting["effective_sample_size"], setting["hessian_decay"]
    learning, rule = (
        bridge.ivon(rate, ess, initial, weight_decay=WEIGHT_DECAY, momentum=0.0, hessian_decay=kept)
        for kept in (LEARNING_DECAY, decay)
    )
    learnt = bridge.train(problem, learning, problem.network.initial(start), before, rng=noise)
    settled = bridge.train(problem, rule, learnt, 2 * before)
    sharpness, squares, end = along_top_eigenvector(problem, rule, settled, steps)
    low, high = np.quantile(bridge.host(end.state["hessian"]) + WEIGHT_DECAY, (0.01, 0.99))
    early = sharpness[: max(1, len(sharpness) // 4)]
    means = {"sharpness": sharpness.mean(), "mean_square": squares.mean()}
    return {**means, "spread": high / low, "arrived": early.max()}


def edge(mean_square, learning_rate, effective_sample_size):
    """H(z) at z = ess E (u'P^-1/2 g)^2, in units of 1."""
    return variational.descent_sharpness_limit(effective_sample_size * mean_square, learning_rate)


def with_additive_noise(mean_square, learning_rate, effective_sample_size):
    """The edge where the variance of the sampled gradient does not depend on the curvature."""
    scaled = (learning_rate / 2) ** 2 * effective_sample_size * mean_square
    return 2 / learning_rate * variational.edge_fraction(scaled, 1)


def setting_of(learning_rate, effective_sample_size, hessian_decay):
    return {
        "learning_rate": learning_rate,
        "effective_sample_size": effective_sample_size,
        "hessian_decay": hessian_decay,
    }


def on_data(dataset):
    """The same experiment on other data, with the first h in units of the sharpness of a new network.

    Learning rate and effective sample size have no units then; the weight decay stays, being part of the loss.
    `quadlab verify net.ivon-sharpness --data mine.npz` runs it.
    """
    unit = bridge.initial_sharpness(problem_of("standard", dataset)) / bridge.initial_sharpness(problem_of("standard"))
    return replace(THEOREM.simulation, runs=Runs(partial(trained, dataset=dataset, initial=unit * INITIAL)))


def sharpnesses(rng):
    """Preconditioned sharpness, and H(mean z), against the effective sample size."""
    sizes = (3e4, 1e5, 3e5, 1e6)
    rows = theory("sharpness", "2 / ρ", [sizes[0], sizes[-1]], [50, 50])
    for hessian_decay, name in ((1.0, "P frozen"), (LEARNING_DECAY, "P learned on")):
        settings = [setting_of(0.04, size, hessian_decay) for size in sizes]
        for setting, row in zip(settings, Runs(trained).made(settings, 3, rng=rng, budget="standard"), strict=True):
            found = np.array([run.measured["sharpness"] for run in row])
            square = np.mean([run.measured["mean_square"] for run in row])
            size, error = setting["effective_sample_size"], found.std(ddof=1) / np.sqrt(3)
            rows += theory("sharpness", f"H(mean z), {name}", size, edge(square, 0.04, size))
            rows += measured("sharpness", f"H(mean z), {name}", size, found.mean(), error)
    return rows


SEEDS = {"quick": 6, "standard": 4, "deep": 8}
COMMON = {
    "settings": (setting_of(0.04, 1e5, 1.0), setting_of(0.04, 3e4, LEARNING_DECAY)),
    "runs": Runs(trained),
    "observed": lambda setting, run: run["sharpness"],
    "observable": "preconditioned sharpness of the network",
    "seeds": SEEDS,
}
RATE = positive.between(0.01, 0.1)
# the formula takes S as frozen, while it moves by up to a tenth as it is measured
MARGIN = 0.1

THEOREM = Theorem(
    id="net.ivon-sharpness",
    title="IVON's preconditioned sharpness on a network",
    source="Ghosh et al. 2025, figure 8; frozen preconditioner derived here",
    kind=TIGHT,
    statement=r"\lambda_{\max}(P^{-1/2} H P^{-1/2}) = H(\bar z;\rho),\qquad"
    r" \bar z = \mathrm{ess}\,\overline{(u' P^{-1/2} \nabla\ell)^2}",
    domain=Domain(
        mean_square=positive.between(1e-3, 1),
        learning_rate=RATE,
        effective_sample_size=positive.between(1e4, 1e6),
    ),
    formula=edge,
    on_problem=on_data,
    simulation=Replication(
        predict=lambda formula, setting, run: formula(
            run["mean_square"], setting["learning_rate"], setting["effective_sample_size"]
        ),
        premise=at_least(
            "arrived",
            lambda setting, run: (
                (1 - MARGIN) * edge(run["mean_square"], setting["learning_rate"], setting["effective_sample_size"])
            ),
            "the edge was not reached",
        ),
        margin=MARGIN,
        **COMMON,
    ),
    mutants={
        "plain 2 / rho": "2 / learning_rate",
        "Adam's 38 / rho": "38 / learning_rate",
        "the noise of the first P": lambda mean_square, learning_rate, effective_sample_size: edge(
            mean_square, learning_rate, INITIAL * effective_sample_size
        ),
        "one sharpness for all sizes": "28 + 0 * mean_square",
        "ess squared": lambda mean_square, learning_rate, effective_sample_size: edge(
            mean_square, learning_rate, effective_sample_size**2
        ),
        "additive gradient noise": with_additive_noise,
    },
    corollaries=(
        Claim(
            name="below the edge without noise",
            statement=r"\lambda_{\max}(P^{-1/2} H P^{-1/2}) < \tfrac2\rho",
            kind=UPPER,
            domain=Domain(learning_rate=RATE),
            formula=lambda learning_rate: 2 / learning_rate,
            simulation=Replication(
                predict=lambda formula, setting, run: formula(setting["learning_rate"]),
                margin=0,
                **COMMON,
            ),
            mutants={
                "1 / (2 rho)": "1 / (2 * learning_rate)",
                "without the preconditioner": lambda learning_rate: 2 * INITIAL / learning_rate,
            },
        ),
    ),
    caveats=(
        "At learning rate 0.1 the preconditioned sharpness starts at 23, above 2/rho = 20: after 1200 steps it is 1.05"
        " of H(mean z) with P frozen and 1.09 with P learned, on 3 seeds; after 300 steps 1.14 and 1.19.",
        "At learning rate 0.1 and ess = 1e4 the learned P collapsed on some parameters, whose noise then destroyed the"
        " training, on 3 seeds of 3.",
        "A multiple of the edge between 0.9 and 1.1 is not refuted on 4 seeds, nor one of the signal"
        " between 0.8 and 1.3.",
        "No momentum; with P learned the agreement is an observation, not a theorem.",
        "One network, 1000 digits (300 at the quick budget), squared error.",
    ),
    figure=Figure(
        data=sharpnesses,
        panels=(
            Panel(
                "sharpness",
                x_label="effective sample size",
                y_label="preconditioned sharpness (dimensionless)",
                title="IVON on a network, ρ = 0.04",
                x_scale="log",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""Which batches an epoch of SGD visits is chance too: the part of its penalty that depends on the batch size.

Reshuffled SGD descends a loss with (h/4) mean |g_k|^2 added, and a mean square is a squared mean plus a variance: the
full batch's (h/4) |g|^2, whatever the batches, and the spread of the minibatch gradients about it. A batch of B samples
out of N, drawn without replacement, has a gradient whose variance is 1/B of the samples' variance Gamma, times
(N - B) / (N - 1), because a sample that is in the batch cannot come again. Averaged over random batches the second part
is thus (N - B) / (N - 1) (h / (4B)) Gamma: all of Gamma for single samples, nothing for the full batch.
"""

from itertools import combinations, permutations

import numpy as np
import sympy

from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import flow
from quadlab.theory.elementary import is_symbolic, sqrt
from quadlab.theory.intervals import Interval, positive, real
from quadlab.theory.modified_loss import batch_variance_penalty
from quadlab.verify import IDENTITY, Claim, Derivation, Directions, Domain, ErrorOrder, Theorem

RATE = sympy.Symbol("learning_rate", positive=True)

# Six samples in one dimension, C_i = a_i (w - c_i)^2 / 2, from w = 3.
CURVATURES, MINIMA = np.array([0.5, 1.0, 2.0, 4.0, 1.5, 3.0]), np.array([1.0, -1.0, 0.0, 2.0, -2.0, 0.5])
SAMPLES, START = len(CURVATURES), 3.0


def spread_out(count):
    """`count` numbers of mean 0 and mean square 1."""
    lone = sqrt(count - 1)
    return [lone] + [-1 / lone] * (int(count) - 1)


def variance_penalty(sample_variance, learning_rate, samples, batch_size):
    """The closed form on N gradients with this variance."""
    count = sympy.Integer(samples) if is_symbolic(sample_variance) else samples
    gradients = [[sqrt(sample_variance) * number] for number in spread_out(count)]
    return batch_variance_penalty(gradients, learning_rate, int(batch_size))


def with_replacement(sample_variance, learning_rate, samples, batch_size):
    return learning_rate / (4 * batch_size) * sample_variance


def variance_of_batches(sample_variance, learning_rate, samples, batch_size):
    """(h/4) mean |g_batch - g|^2 over all batches of B out of N samples with this variance."""
    deviations = np.sqrt(sample_variance) * np.array(spread_out(samples))
    batches = np.array(list(combinations(deviations, int(batch_size))))
    return learning_rate / 4 * np.mean(batches.mean(axis=1) ** 2)


def from_all_batches(formula):
    residuals = {}
    for samples, size in ((3, 1), (3, 2), (4, 2), (5, 3), (4, 4)):
        gradients = sympy.symbols(f"g_1:{samples + 1}")
        mean = sum(gradients) / samples
        variance = sum((g - mean) ** 2 for g in gradients) / samples
        batches = list(combinations(gradients, size))
        average = sum((sum(batch) / size - mean) ** 2 for batch in batches) / len(batches)
        residuals[f"{size} of {samples}"] = formula(variance, RATE, samples, size) - RATE / 4 * average
    return Derivation((("(h/4) mean |g_batch - g|^2, enumerated over all batches", RATE / 4 * average),), residuals)


def mean_epoch(batch_size, learning_rate):
    """Mean weight after an epoch over all partitions of the samples into batches, in all orders."""
    orders = np.array(list(permutations(range(SAMPLES))))
    weights = np.full((len(orders), 1), START)
    for batch in np.split(orders, SAMPLES // batch_size, axis=1):
        gradients = CURVATURES[batch] * (weights - MINIMA[batch])
        weights = weights - learning_rate * gradients.mean(axis=1, keepdims=True)
    return weights.mean()


def error_of_epoch(formula, setting, learning_rate):
    """|mean epoch - flow of C + (h/4) |g|^2 + formula|."""
    size = setting["batch_size"]

    def followed(weight):
        gradients = CURVATURES * (weight - MINIMA)
        loss = (gradients * (weight - MINIMA)).mean() / 2 + learning_rate / 4 * gradients.mean() ** 2
        return loss + formula(gradients.var(), learning_rate, SAMPLES, size)

    def velocity(weight, reach=2.0**-6):
        # a central difference is exact on the quadratic that the followed loss is here
        return np.array([followed(weight[0] - reach) - followed(weight[0] + reach)]) / (2 * reach)

    return abs(mean_epoch(size, learning_rate) - flow(velocity, [START], SAMPLES // size * learning_rate)[0])


def two_parts(batch_gradients, loss, learning_rate):
    """(h/4) |g|^2 plus (h/4) times the variance of the minibatch gradients; the loss itself does not enter."""
    mean = sum(batch_gradients) / len(batch_gradients)
    return full_batch_alone(batch_gradients, loss, learning_rate) + variance_about(mean, batch_gradients, learning_rate)


def full_batch_alone(batch_gradients, loss, learning_rate):
    return learning_rate / 4 * (sum(batch_gradients) / len(batch_gradients)) ** 2 + 0 * loss


def variance_about(centre, batch_gradients, learning_rate):
    return learning_rate / 4 * sum((g - centre) ** 2 for g in batch_gradients) / len(batch_gradients)


def loss_subtracted(batch_gradients, loss, learning_rate):
    return full_batch_alone(batch_gradients, loss, learning_rate) + variance_about(loss, batch_gradients, learning_rate)


def mean_square(batch_gradients, loss, learning_rate):
    return learning_rate * np.dot(batch_gradients, batch_gradients) / (4 * len(batch_gradients))


def from_mean_square(formula):
    gradients, loss = sympy.symbols("g_1:4", real=True), sympy.Symbol("loss", real=True)
    total = RATE * sum(g**2 for g in gradients) / 12
    steps = (("(h/(4m)) sum g_k^2 of three batches", total),)
    return Derivation(steps, {"parts": formula(gradients, loss, RATE) - total})


def penalties_and_errors(rng):
    """The penalty against the batch size; errors of the mean epoch of batches of two against the learning rate."""
    rows = []
    for samples in (6, 12):
        sizes = np.arange(1, samples + 1)
        for rows_of, penalty in ((theory, variance_penalty), (computed, variance_of_batches)):
            rows += rows_of("size", f"N = {samples}", sizes, [penalty(1.0, 4.0, samples, size) for size in sizes])
    fine = np.linspace(1, 12, 111)
    rows += theory("size", "with replacement, 1/B", fine, with_replacement(1.0, 4.0, None, fine))
    rates = np.geomspace(1e-4, 8e-4, 7)
    for name, order, penalty in (
        ("no variance", 2, lambda *point: 0.0),
        ("as with replacement", 2, with_replacement),
        ("without replacement", 3, variance_penalty),
    ):
        errors = [error_of_epoch(penalty, {"batch_size": 2}, h) for h in rates]
        rows += theory("epoch", f"{name}: slope {order}", rates, errors[0] * (rates / rates[0]) ** order)
        rows += computed("epoch", f"{name}: slope {order}", rates, errors)
    return rows


def few_ticks(axes, rows):
    axes.set_xticks([1e-4, 2e-4, 4e-4, 8e-4], ["0.0001", "0.0002", "0.0004", "0.0008"])
    axes.minorticks_off()


THEOREM = Theorem(
    id="igr.batch-variance",
    title="random batches add (N - B)/(N - 1) h/(4B) times the variance of the samples' gradients",
    source="Smith, Dherin, Barrett & De 2021",
    kind=IDENTITY,
    statement=r"\tfrac h4\,\mathbb E|g_{\text{batch}} - g|^2 = \tfrac{N - B}{N - 1}\,\tfrac{h}{4B}\,\Gamma,"
    r"\quad \Gamma = \tfrac1N \sum_i |g_i - g|^2",
    domain=Domain(
        "batch_size <= samples",
        sample_variance=positive,
        learning_rate=positive,
        samples=Interval(2, 12, lower_closed=True, upper_closed=True, whole=True, typical=(2, 9)),
        batch_size=Interval(1, 12, lower_closed=True, upper_closed=True, whole=True, typical=(1, 9)),
    ),
    formula=variance_penalty,
    derivation=from_all_batches,
    oracle=variance_of_batches,
    scale=lambda sample_variance, learning_rate, samples, batch_size: learning_rate * sample_variance,
    points=60,
    simulation=ErrorOrder(
        settings=tuple({"batch_size": size} for size in (1, 2, 3)),
        error=error_of_epoch,
        steps=tuple(np.geomspace(2e-4, 4e-3, 9)),
        order=lambda formula, setting: 3,
        observable="order of the error of the mean epoch against the flow of C + (h/4) |g|^2 + penalty",
    ),
    mutants={
        "drawn with replacement": with_replacement,
        "without 1/B": "(samples - batch_size) / (samples - 1) * learning_rate / 4 * sample_variance",
        "N for N - 1": "(samples - batch_size) / samples * learning_rate / (4 * batch_size) * sample_variance",
        "variance divided by N - 1": "(samples - batch_size) * samples / (samples - 1)**2"
        " * learning_rate / (4 * batch_size) * sample_variance",
    },
    corollaries=(
        Claim(
            name="two parts",
            statement=r"\tfrac{h}{4m}\sum_k |g_k|^2 = \tfrac h4 |g|^2 + \tfrac{h}{4m}\sum_k |g_k - g|^2,\quad"
            r" g = \operatorname{grad} C",
            kind=IDENTITY,
            domain=Domain(batch_gradients=Directions(real), loss=real, learning_rate=positive),
            formula=two_parts,
            derivation=from_mean_square,
            oracle=mean_square,
            mutants={
                "the loss C subtracted in place of its gradient": loss_subtracted,
                "full batch alone": full_batch_alone,
            },
        ),
    ),
    caveats=(
        "An average over batch compositions; that the penalty moves the mean of an epoch is igr.reshuffling.",
        "Every composition is enumerated, so formulas are judged for at most 12 samples.",
        "Batches of a partition depend on each other, but only their common law enters the average.",
    ),
    figure=Figure(
        data=penalties_and_errors,
        panels=(
            Panel(
                "size",
                x_label="batch size B (samples)",
                y_label="penalty / (hΓ/4) (dimensionless)",
                title="What random batches add",
            ),
            Panel(
                "epoch",
                x_label="learning rate h (1 / curvature)",
                y_label="|mean epoch − flow| (weight)",
                title="Random batches of 2 out of 6",
                x_scale="log",
                y_scale="log",
                decorate=few_ticks,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

"""SGD with random reshuffling: the mean iterate is pulled towards small minibatch gradients, not only a small gradient.

An epoch visits m fixed minibatches in a uniformly random order. A batch feels the steps of those that came before it,
and every pair comes in both orders equally often: on average each batch meets all others half way, never itself. To
second order the mean of an epoch is therefore that of the flow of C + (h/(4m)) sum_k |g_k|^2. This is the full-batch
penalty (h/4) |g|^2 plus (h/4) times the variance of the minibatch gradients; the latter comes from sampling without
replacement, and independent draws at every step do not have it.
"""

from functools import cache, partial, reduce
from itertools import permutations, product

import numpy as np
import sympy

from quadlab import derive
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import flow
from quadlab.theory.elementary import exp, is_symbolic, sqrt
from quadlab.theory.intervals import Interval, non_negative, positive, real
from quadlab.theory.modified_loss import minibatch_gradient_penalty
from quadlab.verify import (
    ASYMPTOTIC,
    IDENTITY,
    Claim,
    Derivation,
    Directions,
    Domain,
    Equivalence,
    ErrorOrder,
    Measurement,
    Theorem,
    Window,
)

RATE = sympy.Symbol("learning_rate", positive=True)
STATE = sympy.symbols("a b")

# Four batches in one dimension, C_k = a_k (w - c_k)^2 / 2, from w = 3.
CURVATURES, MINIMA, START = np.array([0.5, 1.0, 2.0, 4.0]), np.array([1.0, -1.0, 0.0, 2.0]), 3.0
RATES = tuple(np.geomspace(2e-4, 4e-3, 9))

# what is followed: the parts of (h/4) |g|^2 and of (h/4) times the variance that are added to C
FOLLOWED = {"C": (0, 0), "C + (h/4)|g|²": (1, 0), "C + (h/4) mean |gₖ|²": (1, 1)}


def orders(batches):
    return list(permutations(range(batches)))


def draws(batches):
    return list(product(range(batches), repeat=batches))


def spread_out(count):
    """`count` numbers of mean 0 and mean square 1."""
    lone = sqrt(count - 1)
    return [lone] + [-1 / lone] * (int(count) - 1)


def penalty(gradient_norm, gradient_variance, batches, learning_rate):
    """(h/(4m)) sum_k |g_k|^2 of m gradients with this mean and variance, which vary across the mean's direction."""
    count = sympy.Integer(batches) if is_symbolic(gradient_variance) else batches
    deviations = [sqrt(gradient_variance) * number for number in spread_out(count)]
    return minibatch_gradient_penalty([[gradient_norm, deviation] for deviation in deviations], learning_rate)


@cache
def mean_epoch(count):
    """Full-batch gradient and variance of any batches, as functions of the weights; h^2 of the mean epoch from 0."""
    loss = derive.taylor_loss(STATE, 2)
    own = [{s: sympy.Symbol(f"{s}_{k}", real=True) for s in loss.free_symbols - {*STATE}} for k in range(count)]
    gradients = [sympy.Matrix([loss.diff(w) for w in STATE]).subs(names) for names in own]
    mean = sum(gradients, sympy.zeros(2, 1)) / count
    variance = sum((g - mean).dot(g - mean) for g in gradients) / count
    ends = [end_of_epoch([gradients[k] for k in order]) for order in orders(count)]
    return mean, variance, sum(ends, sympy.zeros(2, 1)) / len(ends)


def end_of_epoch(gradients):
    """h^2 of the weights after steps along these gradients from 0."""
    weights = sympy.zeros(2, 1)
    for gradient in gradients:
        weights -= RATE * gradient.subs(dict(zip(STATE, weights, strict=True)), simultaneous=True)
    return weights.applyfunc(lambda entry: sympy.expand(entry).coeff(RATE, 2))


def from_epochs(formula):
    """One epoch in two dimensions, averaged over all orders, against the flow of C + penalty for the same time."""
    steps, residuals = [], {}
    for count in (2, 3):
        mean, variance, second = mean_epoch(count)
        added = formula(sympy.sqrt(mean.dot(mean)), variance, count, RATE)
        drift = sympy.Matrix([added.diff(RATE).subs(RATE, 0).diff(w) for w in STATE])
        of_flow = (count**2 * mean.jacobian(STATE) * mean / 2 - count * drift).subs(dict.fromkeys(STATE, 0))
        for i in range(2):
            residuals[f"h^2 of epoch minus flow, {count} batches, coordinate {i}"] = second[i] - of_flow[i]
        residuals[f"penalty without a step, {count} batches"] = added.subs(RATE, 0)
        steps.append((f"h^2 of the mean epoch of {count} batches, first coordinate", second[0]))
    return Derivation(tuple(steps), residuals)


def penalty_of_epochs(gradient_norm, gradient_variance, batches, learning_rate, nodes=8):
    """The penalty as it is felt: the drift of the mean epoch beyond the flow of C, integrated along a line.

    The batch losses have slopes g_k u (1 + c_k (1 - u)) on [0, 1], which are 0 at one end and g_k at the other. The c_k
    differ, so that steps on two batches do not commute.
    """
    count = int(batches)
    gradients = gradient_norm + np.sqrt(gradient_variance) * np.array(spread_out(count))
    bends = np.linspace(-1, 1, count)
    positions, weights = np.polynomial.legendre.leggauss(nodes)
    start = (1 + positions) / 2

    def slope(u, k):
        return gradients[k] * u * (1 + bends[k] * (1 - u))

    ends = [reduce(lambda u, k: u - learning_rate * slope(u, k), order, start) for order in orders(count)]
    followed = flow(lambda u: -sum(slope(u, k) for k in range(count)) / count, start, count * learning_rate)
    drift = (np.mean(ends, axis=0) - followed) / (count * learning_rate)
    return -float(drift @ weights) / 2


def run_of(sequence, curvatures, minima, weight, learning_rate):
    """Weight after steps on the batches of a sequence, C_k = a_k (w - c_k)^2 / 2."""
    for k in sequence:
        weight = weight - learning_rate * curvatures[k] * (weight - minima[k])
    return weight


def ends_of(sequences, learning_rate):
    """Weights of the four-batch example after each sequence."""
    return run_of(np.transpose(sequences), CURVATURES, MINIMA, START, learning_rate)


def end_of_flow(added, learning_rate):
    """Where the flow of C plus a penalty, a function of |g| and of the variance, is after an epoch's time."""

    def followed(weight):
        gradients = CURVATURES * (weight - MINIMA)
        return (gradients * (weight - MINIMA)).mean() / 2 + added(abs(gradients.mean()), gradients.var())

    def velocity(weight, reach=2.0**-6):
        # a central difference is exact on the quadratic that the followed loss is here
        return np.array([followed(weight[0] - reach) - followed(weight[0] + reach)]) / (2 * reach)

    return flow(velocity, [START], len(CURVATURES) * learning_rate)[0]


def end_with_parts(learning_rate, full_batch_part, variance_part):
    """The same for parts of (h/4) |g|^2 and of (h/4) times the variance."""
    full, spread = learning_rate / 4 * full_batch_part, learning_rate / 4 * variance_part
    return end_of_flow(lambda norm, variance: full * norm**2 + spread * variance, learning_rate)


def excess(learning_rate):
    """End of an epoch beyond the flow of C + (h/4) |g|^2, for each order."""
    return ends_of(orders(len(CURVATURES)), learning_rate) - end_with_parts(learning_rate, 1, 0)


def measure(setting, replicas, rng, executor=None):
    """Epochs with the same order are alike, so only how often each order comes up has to be drawn."""
    values = excess(**setting)
    counts = np.random.default_rng(rng).multinomial(replicas, np.full(len(values), 1 / len(values)))
    mean = counts @ values / replicas
    deviation = np.sqrt(counts @ (values - mean) ** 2 / (replicas - 1))
    return Measurement(float(mean), float(deviation / np.sqrt(replicas)), replicas)


def predict(formula, setting):
    """The flow of C + formula beyond that of C + (h/4) |g|^2."""
    rate = setting["learning_rate"]
    end = end_of_flow(lambda norm, variance: formula(norm, variance, len(CURVATURES), rate), rate)
    return end - end_with_parts(rate, 1, 0)


def order_of_error(full_batch_part, variance_part, replacement):
    return 2 + full_batch_part * abs(variance_part - replacement)


def error_of_epoch(setting, learning_rate):
    """|mean over all orders (or over all independent draws) of one epoch - flow of C with parts of the penalty|."""
    sequences = (draws if setting["replacement"] else orders)(len(CURVATURES))
    end = end_with_parts(learning_rate, setting["full_batch_part"], setting["variance_part"])
    return abs(ends_of(sequences, learning_rate).mean() - end)


@cache
def exact_ends(sequences):
    """The weights of the four-batch example after each sequence, as polynomials in h."""
    curvatures, minima = ([sympy.Rational(y) for y in values.tolist()] for values in (CURVATURES, MINIMA))
    every = (run_of(one, curvatures, minima, sympy.Rational(START), RATE) for one in sequences(len(curvatures)))
    return [sympy.Poly(end, RATE) for end in every]


@cache
def exact_end_of_flow(full_batch_part, variance_part, terms=4):
    """The flow of C plus parts of the penalty after an epoch's time, below h^terms: it is linear in the weight."""
    w, time = sympy.symbols("w time")
    pairs = zip(CURVATURES.tolist(), MINIMA.tolist(), strict=True)
    gradients = [sympy.Rational(a) * (w - sympy.Rational(c)) for a, c in pairs]
    mean = sum(gradients) / len(gradients)
    square = sum(g**2 for g in gradients) / len(gradients)
    added = RATE / 4 * (full_batch_part * mean**2 + variance_part * (square - mean**2))
    velocity = sympy.expand(-(mean + added.diff(w)))
    end = change = sympy.Rational(START)
    for k in range(1, terms):
        change = velocity.subs(w, end) if k == 1 else velocity.coeff(w, 1) * change
        end += change * time**k / sympy.factorial(k)
    return sympy.Poly(sympy.expand(end.subs(time, len(gradients) * RATE)), RATE)


def least_power(polynomial):
    """Of h."""
    return min(power for (power,), coefficient in polynomial.terms() if coefficient)


def from_expanded_epochs(formula):
    """Mean epoch minus flow, expanded in h; the flow leaves terms from h^4 on."""
    steps, residuals = [], {}
    for full, variance, replacement in product((0, 1), repeat=3):
        ends = exact_ends(draws if replacement else orders)
        power = least_power(sum(ends, sympy.Poly(0, RATE)) / len(ends) - exact_end_of_flow(full, variance))
        name = f"full batch {full}, variance {variance}, replacement {replacement}"
        steps.append((f"first power of h, {name}", power))
        residuals[name] = formula(*map(sympy.Integer, (full, variance, replacement))) - power
    return Derivation(tuple(steps), residuals)


def from_expanded_variance(formula):
    """The variance over all orders of the epoch's end is a polynomial in h; half of its first power is the order."""
    steps, residuals = [], {}
    ends = exact_ends(orders)
    # the permutations come in the order of the dictionary: the reverse of one is found by its place
    places = {order: k for k, order in enumerate(orders(len(CURVATURES)))}
    backwards = [ends[places[order[::-1]]] for order in places]
    for antithetic in (0, 1):
        values = [(a + b) / 2 for a, b in zip(ends, backwards, strict=True)] if antithetic else ends
        mean = sum(values, sympy.Poly(0, RATE)) / len(values)
        power = least_power(sum(((end - mean) ** 2 for end in values), sympy.Poly(0, RATE)))
        steps.append((f"first power of h in the variance, antithetic {antithetic}", power))
        residuals[f"antithetic {antithetic}"] = formula(sympy.Integer(antithetic)) - sympy.Rational(power, 2)
    return Derivation(tuple(steps), residuals)


def spread_of_epoch(setting, learning_rate):
    """Standard deviation over orders of an epoch's end, or of its mean with the reversed order's."""
    every = np.array(orders(len(CURVATURES)))
    ends, backwards = (ends_of(sequences, learning_rate) for sequences in (every, every[:, ::-1]))
    return ((ends + backwards) / 2 if setting["antithetic"] else ends).std()


def full_batch(batch_curvatures, batch_minima, start, learning_rate, step=lambda z: 1 - z):
    """m steps of gradient descent on C, the mean of C_k = a_k (w - c_k)^2 / 2."""
    count, total = len(batch_curvatures), sum(batch_curvatures)
    minimum = np.dot(batch_curvatures, batch_minima) / total
    return minimum + step(learning_rate * total / count) ** count * (start - minimum)


def mean_end(sequences, batch_curvatures, batch_minima, start, learning_rate):
    """The mean weight after an epoch, over all `sequences` of as many batches."""
    every = sequences(len(batch_curvatures))
    return sum(run_of(one, batch_curvatures, batch_minima, start, learning_rate) for one in every) / len(every)


def from_all_draws(formula):
    symbols = sympy.symbols("a_1:3"), sympy.symbols("c_1:3"), sympy.Symbol("start"), RATE
    mean = sympy.expand(mean_end(draws, *symbols))
    return Derivation((("mean over the four draws of two batches", mean),), {"mean": formula(*symbols) - mean})


def errors_against_rate(rng):
    rates, rows = np.geomspace(2.5e-3, 4e-2, 9), []
    for panel, replacement in (("reshuffled", 0), ("independent", 1)):
        for name, (full, variance) in FOLLOWED.items():
            setting = {"full_batch_part": full, "variance_part": variance, "replacement": replacement}
            errors, order = [error_of_epoch(setting, h) for h in rates], order_of_error(**setting)
            rows += theory(panel, f"{name}: slope {order}", rates, errors[0] * (rates / rates[0]) ** order)
            rows += computed(panel, f"{name}: slope {order}", rates, errors)
    return rows


def few_ticks(axes, rows):
    axes.set_xticks([0.0025, 0.005, 0.01, 0.02, 0.04], ["0.0025", "0.005", "0.01", "0.02", "0.04"])
    axes.minorticks_off()
    axes.set_ylim(1e-7, 0.4)


SWITCH = Interval(0, 1, lower_closed=True, upper_closed=True, whole=True, typical=(0, 1))

THEOREM = Theorem(
    id="igr.reshuffling",
    title="reshuffled SGD follows, in the mean, the loss with the average minibatch penalty",
    source="Smith, Dherin, Barrett & De 2021; constants and orders derived here",
    kind=ASYMPTOTIC,
    statement=r"\mathbb E_{\text{orders}}\,w_m = \Phi^{\tilde C}_{mh}(w_0) + O(h^3),\quad"
    r" \tilde C = C + \tfrac{h}{4m}\sum_k |g_k|^2 = C + \tfrac h4 |g|^2 + \tfrac{h}{4m}\sum_k |g_k - g|^2",
    domain=Domain(
        gradient_norm=non_negative.between(0.3, 2),
        gradient_variance=non_negative.between(0.3, 2),
        batches=Interval(2, 6, lower_closed=True, upper_closed=True, whole=True, typical=(2, 5)),
        learning_rate=positive.between(1e-4, 1e-3),
    ),
    window=Window("learning_rate", 1e-4, 1e-3, order=1),
    formula=penalty,
    derivation=from_epochs,
    oracle=penalty_of_epochs,
    points=54,
    simulation=Equivalence(
        settings=({"learning_rate": 2e-5},),
        measure=measure,
        spread=lambda setting: float(np.std(excess(**setting))),
        predict=predict,
        observable="mean displacement of an epoch beyond the flow of C + (h/4) |g|^2",
    ),
    mutants={
        "m h for h, or the sum without 1/m": "batches * learning_rate / 4 * (gradient_norm**2 + gradient_variance)",
        "full-batch penalty alone": "learning_rate / 4 * gradient_norm**2",
        "half of the variance": "learning_rate / 4 * (gradient_norm**2 + gradient_variance / 2)",
        "variance divided by m - 1": "learning_rate / 4"
        " * (gradient_norm**2 + gradient_variance * batches / (batches - 1))",
        "variance subtracted": "learning_rate / 4 * (gradient_norm**2 - gradient_variance)",
        "h/2 for h/4": "learning_rate / 2 * (gradient_norm**2 + gradient_variance)",
    },
    corollaries=(
        Claim(
            name="order of the error",
            statement=r"\text{reshuffled: order 3 with both parts, 2 without either;}\quad"
            r"\text{independent draws: order 3 with } C + \tfrac h4 |g|^2,\ 2 \text{ with } \tilde C",
            kind=IDENTITY,
            domain=Domain(full_batch_part=SWITCH, variance_part=SWITCH, replacement=SWITCH),
            formula=order_of_error,
            derivation=from_expanded_epochs,
            simulation=ErrorOrder(
                settings=tuple(
                    {"full_batch_part": full, "variance_part": variance, "replacement": replacement}
                    for full, variance, replacement in product((0, 1), repeat=3)
                ),
                error=lambda formula, setting, h: error_of_epoch(setting, h),
                steps=RATES,
                order=lambda formula, setting: formula(**setting),
                observable="order of the error of one mean epoch",
            ),
            mutants={
                "with replacement as without": "2 + full_batch_part * variance_part + 0 * replacement",
                "order 2 always": "2 + 0 * replacement",
                "order 3 always": "3 + 0 * replacement",
                "full-batch penalty enough": "2 + full_batch_part",
            },
        ),
        Claim(
            name="spread of orders",
            statement=r"\mathrm{sd}(w_m) = \Theta(h^2);\ \Theta(h^3) \text{ for an order averaged with its reverse}",
            kind=IDENTITY,
            domain=Domain(antithetic=SWITCH),
            formula=lambda antithetic: 2 + antithetic,
            derivation=from_expanded_variance,
            simulation=ErrorOrder(
                settings=({"antithetic": 0}, {"antithetic": 1}),
                error=lambda formula, setting, h: spread_of_epoch(setting, h),
                steps=RATES,
                order=lambda formula, setting: formula(**setting),
                observable="order of the standard deviation over orders",
            ),
            mutants={"reversing without effect": "2 + 0 * antithetic", "one power of h less": "1 + antithetic"},
        ),
        Claim(
            name="independent draws",
            statement=r"C_k \text{ quadratic, batches drawn independently: } \mathbb E\,w_n ="
            r" w_* + (1 - hA)^n (w_0 - w_*)\ \text{exactly}",
            kind=IDENTITY,
            domain=Domain(
                batch_curvatures=Directions(positive.between(0.2, 3), least=2, most=4),
                batch_minima=Directions(real, least=2, most=4),
                start=real,
                learning_rate=positive.between(0.01, 0.1),
            ),
            formula=full_batch,
            derivation=from_all_draws,
            oracle=partial(mean_end, draws),
            reach=1,
            scale=lambda batch_curvatures, batch_minima, start, learning_rate: abs(start) + np.abs(batch_minima).max(),
            points=40,
            mutants={
                "the penalty of reshuffling": partial(mean_end, orders),
                "gradient flow of C": partial(full_batch, step=lambda z: exp(-z)),
            },
        ),
    ),
    caveats=(
        "The mean over orders of one epoch, not a single run; the epoch's steps must be small, m h l << 1.",
        "A fixed order of batches adds a commutator of their fields, which the average over orders removes.",
        "The remainder is of third order in h at fixed m; how it grows with m is not stated.",
        "Every order is enumerated, so formulas are judged for at most 6 batches.",
        "The batches are given; for their average over random compositions see igr.batch-variance.",
    ),
    figure=Figure(
        data=errors_against_rate,
        panels=tuple(
            Panel(
                name,
                x_label="learning rate h (1 / curvature)",
                y_label="|mean epoch − flow| (weight)",
                title=title,
                x_scale="log",
                y_scale="log",
                decorate=few_ticks,
            )
            for name, title in (("reshuffled", "Every batch once per epoch"), ("independent", "Independent draws"))
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

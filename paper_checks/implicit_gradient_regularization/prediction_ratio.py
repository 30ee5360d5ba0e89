"""At equal loss a larger learning rate leaves a smaller gradient and a larger parameter error, on every quadratic.

Along an eigenvector the loss share w = l theta^2 / 2 decays at the modified rate l~ = l phi(h l). The speed-up phi has
positive coefficients, so the ratio of the rates at two learning rates grows with l: the larger rate spends its extra
speed on sharp modes. When both have reached the same loss, the shares of the larger rate have moved from sharp to flat
modes, and they cross those of the smaller rate once. So every weight that grows with l has a smaller sum, such as
|grad E|^2 with weight l, and every weight that falls has a larger one, such as |theta|^2 with weight 1 / l.
"""

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.intervals import non_negative, positive, real, whole_positive
from quadlab.theory.modified_loss import equal_loss_observable, modified_eigenvalue
from quadlab.verify import IDENTITY, LOWER, UPPER, Claim, Derivation, Directions, Domain, Inequality, Theorem


def iterate(eigenvalues, initial_state, learning_rate, steps):
    """Gradient descent on E = sum l theta^2 / 2, step by step."""
    state = np.array(initial_state, dtype=float)
    for _ in range(int(steps)):
        state = state - learning_rate * eigenvalues * state
    return state


def loss_after(eigenvalues, *descent):
    return eigenvalues @ iterate(eigenvalues, *descent) ** 2 / 2


def after_descent(weights):
    """Oracle: sum c theta^2 after gradient descent at the larger rate."""

    def oracle(eigenvalues, initial_state, learning_rate, larger_learning_rate, steps, **others):
        state = iterate(eigenvalues, initial_state, larger_learning_rate, steps)
        return weights(eigenvalues, **others) @ state**2

    return oracle


def at_smaller_rate(weights, rate=lambda smaller, larger: smaller):
    """sum c theta^2 on the flow of the smaller rate, at the loss that gradient descent has at the larger one."""

    def formula(eigenvalues, initial_state, learning_rate, larger_learning_rate, steps, **others):
        loss = loss_after(eigenvalues, initial_state, larger_learning_rate, steps)
        chosen = rate(learning_rate, larger_learning_rate)
        return equal_loss_observable(eigenvalues, initial_state, weights(eigenvalues, **others), loss, chosen)

    return formula


def at_still_larger_rate(weights):
    return at_smaller_rate(weights, lambda smaller, larger: (1 + larger) / 2)


def in_flattest_mode(power):
    """sum l^(1 + power) theta^2 if the flattest mode held all of the loss."""

    def formula(eigenvalues, initial_state, learning_rate, larger_learning_rate, steps):
        return 2 * eigenvalues.min() ** power * loss_after(eigenvalues, initial_state, larger_learning_rate, steps)

    return formula


def at_equal_time(eigenvalues, initial_state, learning_rate, larger_learning_rate, steps):
    rates = modified_eigenvalue(eigenvalues, learning_rate)
    return np.sum((initial_state * np.exp(-rates * larger_learning_rate * steps)) ** 2)


def least_nondecreasing(eigenvalues, weights):
    """l times the least function of l that grows with l and is nowhere below the weights."""
    return eigenvalues * [weights[eigenvalues <= eigenvalue].max() for eigenvalue in eigenvalues]


def least_nonincreasing(eigenvalues, weights):
    return eigenvalues * [weights[eigenvalues >= eigenvalue].max() for eigenvalue in eigenvalues]


def observable_of_iterates(eigenvalues, initial_state, weights, flat_component, learning_rate, steps, flow_rate=None):
    """The closed form at the loss of the iterate, with a mode of eigenvalue zero, which weighs 1."""
    loss = loss_after(eigenvalues, initial_state, learning_rate, steps)
    modes = np.append(eigenvalues, 0), np.append(initial_state, flat_component), np.append(weights, 1)
    return equal_loss_observable(*modes, loss, learning_rate if flow_rate is None else flow_rate)


def from_update_of_one_mode(formula):
    mode, state, rate = sympy.symbols("l theta h", positive=True)
    after = (1 - rate * mode) ** 3 * state
    residual = formula(mode, mode * after**2 / 2, rate) - (mode * after) ** 2
    return Derivation((("after three steps", after),), {"|g|^2": residual})


def gradient_of_one_mode(eigenvalue, loss, learning_rate):
    """From a start uphill that gradient descent takes to this loss in five steps."""
    start = np.sqrt(2 * loss / eigenvalue) / (1 - learning_rate * eigenvalue) ** 5
    return float(eigenvalue * iterate(eigenvalue, start, learning_rate, 5)) ** 2


def rate_of_iterates(eigenvalue, learning_rate):
    return -np.log(iterate(eigenvalue, 1.0, learning_rate, 7)) / (7 * learning_rate)


def sharp_modes_gain(formula):
    """The ratio of the rates at two learning rates is larger for the sharper of two modes, on a range of h l.

    A factor of the rates drops out of that; so they are held between two sums of their series, too.
    """
    for rate in (1, 2):

        def beyond(mode, rate=rate):
            return formula(mode, 0 * mode + rate) - mode - rate * mode**2 / 2

        def below(mode, rate=rate):
            return mode + rate * mode**2 / (2 * (1 - rate * mode)) - formula(mode, 0 * mode + rate)

        box = {"mode": (1 / 32, 7 / 32)}
        yield Inequality(f"the rate exceeds l + h l^2 / 2, h = {rate}", beyond, box)
        yield Inequality(f"and lies below l + h l^2 / (2 (1 - h l)), h = {rate}", below, box)
    for ratio in (2.0, 1.25):

        def gain(z, ratio=ratio):
            sharp, flat = ([formula(mode, 0 * z + rate) for rate in (1, ratio)] for mode in (2 * z, z))
            return sharp[1] * flat[0] - sharp[0] * flat[1]

        yield Inequality(f"a mode twice as sharp, rates in the ratio {ratio:g}", gain, {"z": (1 / 32, 7 / 32)})


EXAMPLE = np.array([0.1, 1.0, 4.0]), np.array([2.0, 1.0, 1.0])


def rate_that_lands_on(loss, steps):
    """The learning rate whose iterate after this many steps has the loss."""
    return brentq(lambda h: loss_after(*EXAMPLE, h, steps) - loss, 1e-6, 0.249, xtol=1e-15)


def along_the_route(rng):
    modes, start = EXAMPLE
    losses, rows = np.geomspace(0.15, 2.7, 60), []
    for rate in (0.0, 0.05, 0.1, 0.2, 0.24):
        name = f"h = {rate:g}" if rate else "gradient flow"
        flow = [equal_loss_observable(modes, start, modes**2, loss, rate) / loss for loss in losses]
        rows += theory("route", name, losses, flow)
        every = max(1, round(0.15 / rate)) if rate else 1
        states = [iterate(modes, start, rate, n) for n in range(every, round(1.5 / rate) if rate else 1, every)]
        states = [state for state in states if modes @ state**2 / 2 > losses[0]]
        reached = np.array([modes @ state**2 / 2 for state in states])
        rows += computed("route", name, reached, [modes**2 @ s**2 / e for s, e in zip(states, reached, strict=True)])
    fine = np.linspace(0, 0.249, 60)
    hits = {steps: rate_that_lands_on(0.3, steps) for steps in (3, 4, 5, 6, 8, 12, 24)}
    for name, c in (("squared gradient |∇E|²", modes**2), ("squared error |θ|²", modes**0)):
        values = np.array([equal_loss_observable(modes, start, c, 0.3, rate) for rate in fine])
        brute = np.array([c @ iterate(modes, start, rate, steps) ** 2 for steps, rate in hits.items()])
        rows += theory("equal", name, fine, values / values[0])
        rows += computed("equal", name, list(hits.values()), brute / values[0])
    return rows


def few_ticks(axes, rows):
    axes.set_xticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
    axes.minorticks_off()


MODEL = {"eigenvalues": Directions(positive.between(0.1, 1)), "initial_state": Directions(real.between(-2, 2))}
LARGE, STEPS = positive.between(0.45, 0.95), {"steps": whole_positive.between(1, 30)}
RATES = {"learning_rate": non_negative.between(0.02, 0.4), "larger_learning_rate": LARGE}
ORDERED = "larger_learning_rate * eigenvalues < 1", "learning_rate < larger_learning_rate"
WEIGHTS = {"weights": Directions(real.between(-1, 1))}

THEOREM = Theorem(
    id="igr.prediction-ratio",
    title="at equal loss a larger learning rate leaves a smaller gradient, on quadratics",
    source="sharp form, derived here, of Barrett & Dherin 2021, Prediction 2.1",
    kind=UPPER,
    statement=r"E = \tfrac12\sum_i l_i\theta_i^2,\ h_1 < h_2,\ h_2 \max_i l_i < 1,\ E^{(1)} = E^{(2)}:\quad"
    r" |\nabla E|^2_{h_2} \le |\nabla E|^2_{h_1},\quad \sum_i c(l_i)\, l_i \theta_i^2\big|_{h_2} \le"
    r" \sum_i c(l_i)\, l_i \theta_i^2\big|_{h_1}\ (c \text{ nondecreasing}),"
    r"\quad |\theta|^2_{h_2} \ge |\theta|^2_{h_1}",
    domain=Domain(*ORDERED, **MODEL, **RATES, **STEPS),
    formula=at_smaller_rate(np.square),
    oracle=after_descent(np.square),
    reach=1,
    points=100,
    mutants={
        "a gradient that a still larger rate leaves": at_still_larger_rate(np.square),
        "half the squared gradient": at_smaller_rate(lambda modes: modes**2 / 2),
        "curvature for its square": at_smaller_rate(lambda modes: modes**3),
        "all of the loss in the flattest mode": in_flattest_mode(1),
    },
    corollaries=(
        Claim(
            name="parameter error",
            statement=r"|\theta|^2_{h_2} \ge |\theta|^2_{h_1}",
            kind=LOWER,
            domain=Domain(*ORDERED, **MODEL, **RATES, **STEPS),
            formula=at_smaller_rate(np.ones_like),
            oracle=after_descent(np.ones_like),
            reach=1,
            points=100,
            mutants={
                "compared at equal time": at_equal_time,
                "an error that a still larger rate leaves": at_still_larger_rate(np.ones_like),
                "twice the loss over the flattest curvature": in_flattest_mode(-1),
            },
        ),
        Claim(
            name="any weights",
            statement=r"\sum_i c_i l_i \theta_i^2\big|_{h_2} \le \sum_i \bar c_i l_i \theta_i^2\big|_{h_1},\quad"
            r" \bar c_i = \max_{l_j \le l_i} c_j\ \ (= c_i \text{ if } c \text{ is nondecreasing})",
            kind=UPPER,
            domain=Domain(*ORDERED, **MODEL, **RATES, **STEPS, **WEIGHTS),
            formula=at_smaller_rate(least_nondecreasing),
            oracle=after_descent(lambda eigenvalues, weights: eigenvalues * weights),
            reach=1,
            scale=after_descent(lambda eigenvalues, weights: eigenvalues),
            points=200,
            mutants={
                "any weights, monotone or not": at_smaller_rate(lambda modes, weights: modes * weights),
                "the least nonincreasing majorant": at_smaller_rate(least_nonincreasing),
            },
        ),
        Claim(
            name="iterates",
            statement=r"\text{gradient descent lies on the flow with } \tilde l_i = -\ln(1 - hl_i)/h"
            r"\text{; a mode with } l = 0 \text{ stays}",
            kind=IDENTITY,
            domain=Domain(
                "learning_rate * eigenvalues < 1", **MODEL, **WEIGHTS, flat_component=real, learning_rate=LARGE, **STEPS
            ),
            formula=observable_of_iterates,
            oracle=lambda eigenvalues, initial_state, weights, flat_component, learning_rate, steps: (
                weights @ iterate(eigenvalues, initial_state, learning_rate, steps) ** 2 + flat_component**2
            ),
            reach=1,
            scale=lambda eigenvalues, initial_state, flat_component, learning_rate, steps, **_: (
                np.sum(iterate(eigenvalues, initial_state, learning_rate, steps) ** 2) + flat_component**2
            ),
            points=100,
            mutants={
                "plain flow": lambda **point: observable_of_iterates(**point, flow_rate=0),
                "zero modes decay too": lambda **point: observable_of_iterates(**{**point, "flat_component": 0}),
                "one step fewer": lambda steps, **point: observable_of_iterates(**point, steps=steps - 1),
            },
        ),
        Claim(
            name="one eigenvalue",
            statement=r"l_i = l:\quad |\nabla E|^2 = 2lE \text{ at every learning rate}",
            kind=IDENTITY,
            domain=Domain(
                "learning_rate * eigenvalue < 1",
                eigenvalue=positive.between(0.1, 1),
                loss=positive,
                learning_rate=LARGE,
            ),
            formula=lambda eigenvalue, loss, learning_rate: 2 * eigenvalue * loss,
            derivation=from_update_of_one_mode,
            oracle=gradient_of_one_mode,
            mutants={
                "strict here too": "2 * eigenvalue * loss * (1 - learning_rate * eigenvalue)",
                "by the modified eigenvalue": "2 * eigenvalue * loss * (1 + learning_rate * eigenvalue / 2)",
                "loss without 1/2": "eigenvalue * loss",
            },
        ),
        Claim(
            name="speed-up",
            statement=r"\tilde l = -\ln(1 - hl)/h,\quad"
            r" \tilde l(l; h_2)/\tilde l(l; h_1) \text{ increases with } l\ (h_1 < h_2)",
            kind=IDENTITY,
            domain=Domain("learning_rate * eigenvalue < 1", eigenvalue=positive.between(0.1, 1), learning_rate=LARGE),
            formula=modified_eigenvalue,
            oracle=rate_of_iterates,
            reach=10,
            enclosure=sharp_modes_gain,
            mutants={
                "plain flow": "eigenvalue",
                "implicit Euler": "log(1 + learning_rate * eigenvalue) / learning_rate",
                "midpoint rule": "-log(1 - learning_rate * eigenvalue + (learning_rate * eigenvalue)**2 / 2)"
                " / learning_rate",
            },
        ),
    ),
    caveats=(
        "The learning rate changes the route to the minimum, not the minimum (igr.quadratic-minima).",
        "The effect is first order in h, and zero where the gradient is an eigenvector of the Hessian.",
        "It ends at h l = 1, and other methods may reverse it (igr.equal-loss-methods).",
    ),
    figure=Figure(
        data=along_the_route,
        panels=(
            Panel(
                "route",
                x_label="loss E (falls to the left)",
                y_label="|∇E|² / E (loss / parameter²)",
                title="Along the route: l = (0.1, 1, 4), start (2, 1, 1)",
                x_scale="log",
                decorate=few_ticks,
            ),
            Panel(
                "equal",
                x_label="learning rate h (parameter² / loss)",
                y_label="value / value of gradient flow",
                title="At equal loss E = 0.3",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

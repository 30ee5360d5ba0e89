"""When a larger learning rate lowers the test loss at equal training loss, and when it raises it.

Let the test loss (1/2) sum tau_i theta_i^2 have the eigenvectors and the minimiser of the training loss
(1/2) sum l_i theta_i^2. At equal training loss a larger learning rate has moved loss from sharp to flat modes
(igr.prediction-ratio), so what decides is the test loss that a mode costs per unit of training loss, tau_i / l_i: if it
grows with l_i a larger rate generalises better, if it falls (isotropic parameter error, tau = 1) worse, and if it is
constant the rate does not matter. At convergence it never does.
"""

from functools import cache

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory.intervals import Interval, non_negative, positive, real, whole_positive
from quadlab.theory.modified_loss import equal_loss_observable, modified_eigenvalue
from quadlab.verify import (
    ASYMPTOTIC,
    IDENTITY,
    LOWER,
    UPPER,
    Claim,
    Derivation,
    Directions,
    Domain,
    Theorem,
    Window,
)

RATE, TIME = sympy.symbols("learning_rate time", positive=True)
DELAY = sympy.Symbol("delay", real=True)
MODES, STATE, TEST = (sympy.symbols(f"{name}_1:3", positive=True) for name in ("l", "theta", "tau"))


def iterate(eigenvalues, initial_state, learning_rate, steps):
    """Gradient descent on the training loss, step by step."""
    state = np.array(initial_state, dtype=float)
    for _ in range(int(steps)):
        state = state - learning_rate * eigenvalues * state
    return state


def training_loss_after(eigenvalues, initial_state, learning_rate, steps):
    return eigenvalues @ (initial_state * (1 - learning_rate * eigenvalues) ** steps) ** 2 / 2


def test_loss_at_smaller_rate(curvatures):
    """On the flow of the smaller rate, at the training loss that gradient descent has at the larger one.

    curvatures(eigenvalues, ratios) are those of the test loss, tau.
    """

    def formula(eigenvalues, initial_state, ratios, learning_rate, larger_learning_rate, steps):
        loss = training_loss_after(eigenvalues, initial_state, larger_learning_rate, steps)
        weights = curvatures(eigenvalues, ratios) / 2
        return equal_loss_observable(eigenvalues, initial_state, weights, loss, learning_rate)

    return formula


def test_loss_after_descent(curvatures):
    def oracle(eigenvalues, initial_state, ratios, learning_rate, larger_learning_rate, steps):
        state = iterate(eigenvalues, initial_state, larger_learning_rate, steps)
        return curvatures(eigenvalues, ratios) @ state**2 / 2

    return oracle


def growing(eigenvalues, ratios):
    """tau with tau / l growing with l: the ratios handed out in the order of the eigenvalues."""
    return eigenvalues * np.sort(ratios)[np.argsort(np.argsort(eigenvalues))]


def falling(eigenvalues, ratios):
    return eigenvalues * np.sort(ratios)[::-1][np.argsort(np.argsort(eigenvalues))]


def unsorted(eigenvalues, ratios):
    """Curvatures that grow with l while the ratio tau / l need not."""
    return np.sort(eigenvalues * ratios)[np.argsort(np.argsort(eigenvalues))]


def at_least(eigenvalues, ratios):
    """The least tau above `unsorted` whose ratio to l grows with l."""
    share = unsorted(eigenvalues, ratios) / eigenvalues
    return eigenvalues * [share[eigenvalues <= mode].max() for mode in eigenvalues]


def at_equal_time(eigenvalues, initial_state, ratios, learning_rate, larger_learning_rate, steps):
    decay = np.exp(-modified_eigenvalue(eigenvalues, learning_rate) * larger_learning_rate * steps)
    return falling(eigenvalues, ratios) @ (initial_state * decay) ** 2 / 2


def state_at_loss(rates, eigenvalues, initial_state, loss):
    """Where a flow with these rates has the training loss, by bracketing."""

    def excess(time):
        return np.log(eigenvalues @ (initial_state * np.exp(-rates * time)) ** 2 / (2 * loss))

    return initial_state * np.exp(-rates * brentq(excess, 0, (1 + excess(0)) / (2 * rates.min()), xtol=1e-15))


def rates_of_iterates(eigenvalues, learning_rate):
    """-log(1 - h l)/h, and l itself at h = 0: gradient flow."""
    return -np.log1p(-learning_rate * eigenvalues) / learning_rate if learning_rate else eigenvalues


def sign_of_change(eigenvalues, initial_state, remaining_loss, learning_rate, larger_learning_rate, exponent):
    """Of the test loss with tau = l^exponent, between the flows of two rates at equal training loss."""
    loss = remaining_loss * (eigenvalues @ initial_state**2) / 2
    before, after = (
        state_at_loss(rates_of_iterates(eigenvalues, rate), eigenvalues, initial_state, loss)
        for rate in (learning_rate, larger_learning_rate)
    )
    change = eigenvalues**exponent @ (after**2 - before**2) / (eigenvalues**exponent @ before**2)
    return np.sign(change) if abs(change) > 1e-12 else 0.0


def first_order_change(eigenvalues, test_curvatures, state, time, learning_rate):
    """-(h t / 2) (sum tau l^2 theta^2 - sum tau l theta^2 sum l^3 theta^2 / sum l^2 theta^2)"""
    modes = list(zip(eigenvalues, test_curvatures, state, strict=True))
    mixed, linear = (sum(tau * mode**k * x**2 for mode, tau, x in modes) for k in (2, 1))
    cubic, square = (sum(mode**k * x**2 for mode, _, x in modes) for k in (3, 2))
    return -learning_rate * time / 2 * (mixed - linear * cubic / square)


@cache
def change_at_equal_loss():
    """Expand (1 - h l)^(t/h) to first order in h and delay it until the training loss is that of gradient flow."""
    small = sympy.Symbol("small")
    rate = sympy.expand(sympy.series(-sympy.log(1 - small), small, 0, 3).removeO() / small)
    rates = [mode * rate.subs(small, small * RATE * mode).expand() for mode in MODES]
    states = [
        x * sympy.exp(mode * TIME - decay * (TIME + small * DELAY))
        for mode, x, decay in zip(MODES, STATE, rates, strict=True)
    ]
    training, test = (
        (sum(w * x**2 for w, x in zip(weights, states, strict=True)) / 2).diff(small).subs(small, 0)
        for weights in (MODES, TEST)
    )
    delay = sympy.solve(training, DELAY)[0]
    return sympy.factor(delay), sympy.factor(test.subs(DELAY, delay))


def from_equal_loss(formula):
    delay, change = change_at_equal_loss()
    return Derivation(
        steps=(("delay per unit of h", delay), ("change of the test loss", change)),
        residuals={
            "change": formula(MODES, TEST, STATE, TIME, RATE) - change,
            "no change where tau = l": formula(MODES, MODES, STATE, TIME, RATE),
        },
    )


def change_between_flows(eigenvalues, test_curvatures, state, time, learning_rate):
    """From the start whose gradient flow is in `state` after `time`; in differences, which rounding spares."""
    rates, weights = rates_of_iterates(eigenvalues, learning_rate), eigenvalues * state**2
    lag = (eigenvalues - rates) * time

    def growth(delay):
        return np.expm1(2 * (lag - rates * delay))

    ends = lag / rates
    delay = brentq(lambda delay: weights @ growth(delay), ends.min(), ends.max(), xtol=1e-25, rtol=1e-15)
    return test_curvatures * state**2 @ growth(delay) / 2


def converged(eigenvalues, initial_state, ratios, flat_component, flat_curvature, learning_rate):
    """Test loss when gradient descent has stopped; a mode without training curvature is left where it was.

    Squaring what one step does gives two steps, then four, ..., until the slowest mode has lost a factor exp(100).
    """
    factors = 1 - learning_rate * np.append(eigenvalues, 0)
    for _ in range(int(np.ceil(np.log2(100 / (learning_rate * eigenvalues.min()))))):
        factors = factors * factors
    return np.append(ratios, flat_curvature) @ (factors * np.append(initial_state, flat_component)) ** 2 / 2


EXAMPLE = np.array([0.1, 1.0, 4.0]), np.array([2.0, 1.0, 1.0])


def rate_that_lands_on(loss, steps):
    """The learning rate whose iterate after this many steps has the training loss."""
    return brentq(lambda h: training_loss_after(*EXAMPLE, h, steps) - loss, 1e-6, 0.249, xtol=1e-15)


def against_rate(rng):
    modes, start = EXAMPLE
    fine, hits = np.linspace(0, 0.249, 60), {n: rate_that_lands_on(0.3, n) for n in (3, 4, 5, 6, 8, 12, 24)}
    rows = []
    for name, tau in (("τ = l²/2", modes**2 / 2), ("τ = l", modes), ("τ = 1", modes**0)):
        values = np.array([equal_loss_observable(modes, start, tau / 2, 0.3, rate) for rate in fine])
        brute = np.array([tau @ iterate(modes, start, rate, steps) ** 2 / 2 for steps, rate in hits.items()])
        rows += theory("test", name, fine, values / values[0])
        rows += computed("test", name, list(hits.values()), brute / values[0])
    return rows


MODEL = {"eigenvalues": Directions(positive.between(0.1, 1)), "initial_state": Directions(real.between(-2, 2)),
         "ratios": Directions(non_negative.between(0.1, 2))}  # fmt: skip
EXCITED = {"eigenvalues": Directions(positive.between(0.1, 1), least=2),
           "initial_state": Directions(real.between(0.3, 2))}  # fmt: skip
LARGE = positive.between(0.45, 0.95)
RATES = {"learning_rate": non_negative.between(0.02, 0.4), "larger_learning_rate": LARGE}
STEPS = {"steps": whole_positive.between(1, 30)}
ORDERED = "larger_learning_rate * eigenvalues < 1", "learning_rate < larger_learning_rate"
# at the minimum there is no loss to be equal at
AWAY = "sum(initial_state**2) > 0"
# the variance of the eigenvalues is not tiny, so that the sign of the change is not lost in rounding
SPREAD = "sum(1 + 0 * eigenvalues) * sum(eigenvalues**2) - sum(eigenvalues)**2 > 0.02"

THEOREM = Theorem(
    id="igr.prediction-test-error",
    title="a larger learning rate lowers the test loss at equal training loss if tau/l grows with l",
    source="made decidable here: Barrett & Dherin 2021, Prediction 2.3",
    kind=UPPER,
    statement=r"E = \tfrac12\sum_i l_i\theta_i^2,\ T = \tfrac12\sum_i \tau_i\theta_i^2,\ h_1 < h_2 < \tfrac1{\max l},"
    r"\ E^{(1)} = E^{(2)}:\quad T_{h_2} \le T_{h_1}\ (\tau/l \text{ nondecreasing in } l),"
    r"\quad T_{h_2} \ge T_{h_1}\ (\tau/l \text{ nonincreasing})",
    domain=Domain(AWAY, *ORDERED, **MODEL, **RATES, **STEPS),
    formula=test_loss_at_smaller_rate(growing),
    oracle=test_loss_after_descent(growing),
    points=100,
    mutants={
        "tau / l falling: always lower": test_loss_at_smaller_rate(falling),
        "the mean ratio": test_loss_at_smaller_rate(lambda eigenvalues, ratios: eigenvalues * ratios.mean()),
        "test loss without the training curvature": test_loss_at_smaller_rate(
            lambda eigenvalues, ratios: eigenvalues * growing(eigenvalues, ratios)
        ),
    },
    corollaries=(
        Claim(
            name="falling ratio",
            statement=r"\tau/l \text{ nonincreasing in } l:\quad T_{h_2} \ge T_{h_1}",
            kind=LOWER,
            domain=Domain(AWAY, *ORDERED, **MODEL, **RATES, **STEPS),
            formula=test_loss_at_smaller_rate(falling),
            oracle=test_loss_after_descent(falling),
            points=100,
            mutants={
                "compared at equal time": at_equal_time,
                "the largest ratio": test_loss_at_smaller_rate(
                    lambda eigenvalues, ratios: eigenvalues * ratios.max() * (1 + 0 * eigenvalues)
                ),
            },
        ),
        Claim(
            name="growing curvature is not enough",
            statement=r"\tau \text{ nondecreasing in } l:\quad T_{h_2} \le \tfrac12\sum_i \bar\tau_i\theta_i^2"
            r"\big|_{h_1},\quad \bar\tau_i = l_i \max_{l_j \le l_i} \tau_j/l_j",
            kind=UPPER,
            domain=Domain(AWAY, *ORDERED, **MODEL, **RATES, **STEPS),
            formula=test_loss_at_smaller_rate(at_least),
            oracle=test_loss_after_descent(unsorted),
            points=200,
            mutants={"tau compared instead of tau / l": test_loss_at_smaller_rate(unsorted)},
        ),
        Claim(
            name="direction",
            statement=r"\tau = l^{q}:\quad \mathrm{sign}(T_{h_2} - T_{h_1}) = \mathrm{sign}(1 - q)"
            r"\ (l \text{ not all equal})",
            kind=IDENTITY,
            domain=Domain(
                SPREAD,
                *ORDERED,
                **EXCITED,
                remaining_loss=Interval(0, 1, typical=(0.02, 0.8)),
                **RATES,
                exponent=Interval(-np.inf, np.inf, whole=True, typical=(-1, 3)),
            ),
            formula=lambda exponent, **_: np.sign(1 - exponent),
            oracle=sign_of_change,
            reach=1,
            points=100,
            mutants={
                "always lower": "-1 + 0 * exponent",
                "lower as soon as tau grows with l": "where(exponent > 0, -1, where(exponent < 0, 1, 0))",
                "reversed": "where(exponent > 1, 1, where(exponent < 1, -1, 0))",
            },
        ),
        Claim(
            name="proportional",
            statement=r"\tau = \kappa l:\quad T = \kappa E \text{ at every } h < \tfrac1{\max l}",
            kind=IDENTITY,
            domain=Domain(
                AWAY,
                "learning_rate * eigenvalues < 1",
                eigenvalues=MODEL["eigenvalues"],
                initial_state=MODEL["initial_state"],
                factor=positive.between(0.1, 2),
                learning_rate=LARGE,
                **STEPS,
            ),
            formula=lambda eigenvalues, initial_state, factor, learning_rate, steps: equal_loss_observable(
                eigenvalues,
                initial_state,
                factor * eigenvalues / 2,
                training_loss_after(eigenvalues, initial_state, learning_rate, steps),
                learning_rate,
            ),
            oracle=lambda eigenvalues, initial_state, factor, learning_rate, steps: (
                factor * (eigenvalues @ iterate(eigenvalues, initial_state, learning_rate, steps) ** 2) / 2
            ),
            points=60,
            mutants={
                "lower by the speed-up": lambda eigenvalues, initial_state, factor, learning_rate, steps: (
                    factor
                    * training_loss_after(eigenvalues, initial_state, learning_rate, steps)
                    * (1 - learning_rate * np.mean(eigenvalues) / 2)
                ),
                "the sum without 1/2": lambda eigenvalues, initial_state, factor, learning_rate, steps: (
                    2 * factor * training_loss_after(eigenvalues, initial_state, learning_rate, steps)
                ),
            },
        ),
        Claim(
            name="first order",
            statement=r"\Delta T = -\tfrac{ht}{2}\Big(\sum_i \tau_i l_i^2\theta_i^2 - \frac{\sum_i \tau_i l_i\theta_i^2"
            r" \sum_i l_i^3\theta_i^2}{\sum_i l_i^2\theta_i^2}\Big)\,(1 + O(h))",
            kind=ASYMPTOTIC,
            domain=Domain(
                SPREAD,
                eigenvalues=EXCITED["eigenvalues"],
                test_curvatures=Directions(positive.between(0.5, 2)),
                state=EXCITED["initial_state"],
                time=positive.between(0.5, 2),
                learning_rate=positive,
            ),
            window=Window("learning_rate", 5e-5, 5e-4, order=1),
            formula=first_order_change,
            derivation=from_equal_loss,
            oracle=change_between_flows,
            points=90,
            mutants={
                "compared at equal time": "-learning_rate * time / 2"
                " * sum(2 * test_curvatures * eigenvalues**2 * state**2)",
                "tau for tau / l": "-learning_rate * time / 2 * (sum(test_curvatures * eigenvalues**3 * state**2)"
                " - sum(test_curvatures * eigenvalues**2 * state**2) * sum(eigenvalues**3 * state**2)"
                " / sum(eigenvalues**2 * state**2))",
                "twice": lambda *point, **named: 2 * first_order_change(*point, **named),
            },
        ),
        Claim(
            name="convergence",
            statement=r"n \to \infty:\quad T \to \tfrac12 \tau_0 \theta_0^2 \text{ of the modes with } l = 0"
            r" \text{, at every } h < \tfrac1{\max l}",
            kind=IDENTITY,
            domain=Domain(
                "learning_rate * eigenvalues < 1",
                **MODEL,
                flat_component=real,
                flat_curvature=positive.between(0.1, 2),
                learning_rate=LARGE,
            ),
            formula=lambda flat_component, flat_curvature, **_: flat_curvature * flat_component**2 / 2,
            oracle=converged,
            scale=lambda flat_component, flat_curvature, **_: flat_curvature * (1 + flat_component**2),
            points=20,
            mutants={
                "a difference of first order remains": "flat_curvature * flat_component**2 / 2"
                " * (1 - learning_rate * sum(ratios * eigenvalues) / sum(ratios))",
                "modes without curvature decay too": "0 * flat_component",
            },
        ),
    ),
    caveats=(
        "With another test minimiser a linear term enters and either sign can occur.",
        "Quadratics with common eigenvectors: no evidence about networks.",
    ),
    figure=Figure(
        data=against_rate,
        panels=(
            Panel(
                "test",
                x_label="learning rate h (parameter² / loss)",
                y_label="test loss / test loss of gradient flow",
                title="At training loss 0.3: l = (0.1, 1, 4), start (2, 1, 1)",
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

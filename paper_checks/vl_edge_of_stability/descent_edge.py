"""In one direction the edge is an if-and-only-if: one step lowers the expected loss exactly below H(z).

The gradient g is held fixed while the curvature varies. The expected change then has the sign of a depressed cubic in
the curvature, lambda^3 + z lambda - 2 z / rho with z = N g^2 / s^2, which has one positive root. Solved for z instead,
the same edge is rational, and a solver for polynomial inequalities certifies it on the whole domain.
"""

import numpy as np
import sympy

from quadlab import derive, dynamics
from quadlab.report import Figure, Panel, measured, run, theory
from quadlab.simulate import simulate
from quadlab.theory import variational
from quadlab.theory.intervals import positive
from quadlab.verify import (
    TIGHT,
    Claim,
    Derivation,
    Domain,
    EdgeBracket,
    Measurement,
    RuleExperiment,
    Statement,
    Theorem,
)

RULE = dynamics.variational_gradient_descent()
CURVATURE, RATE, NOISE, SAMPLES = map(RULE.symbol, ("curvature", "learning_rate", "noise_variance", "samples"))
CHANGE = derive.expected_change(RULE, at_gradient=True)


def from_update_rule(formula):
    """The root must solve the cubic that the update rule gives, for z written as 27 / (rho sinh 3A)^2."""
    angle = sympy.Symbol("A", positive=True)
    signal = 27 / (RATE * sympy.sinh(3 * angle)) ** 2
    cubic = derive.depressed_cubic(derive.descent_polynomial(RULE))
    linear, constant = (c.subs(derive.gradient_symbol, sympy.sqrt(signal * NOISE / SAMPLES)) for c in cubic)
    root = formula(signal, RATE).subs(sympy.asinh(sympy.sinh(3 * angle)), 3 * angle)
    return Derivation(
        steps=(
            ("expected change at fixed gradient", CHANGE),
            ("its sign is that of h^3 + p h + q in the curvature h, with (p, q)", cubic),
            ("p > 0 > q, so there is one positive root; with z = 27 / (rho sinh 3A)^2 it is", root),
        ),
        residuals={"the cubic at the root": root**3 + linear * root + constant},
    )


def root_of_cubic(signal_to_noise, learning_rate):
    """The positive real root of lambda^3 + z lambda - 2 z / rho, from the eigenvalues of its companion matrix.

    In units of the cube root of z / rho, in which the coefficients do not spread.
    """
    unit = np.cbrt(signal_to_noise / learning_rate)
    roots = np.polynomial.polynomial.polyroots([-2.0, signal_to_noise / unit**2, 0.0, 1.0])
    return unit * max(root.real for root in roots)


def at_curvature(setting, curvature):
    """One step at gradient 1 and the setting's signal to noise, with ten samples."""
    noise_variance = 10 / setting["signal_to_noise"]
    return {
        "eigenvalues": np.array([curvature]),
        "initial": 1 / curvature,
        "noise_variance": noise_variance,
        "learning_rate": setting["learning_rate"],
        "samples": 10,
    }


def step_at(curvature):
    return RuleExperiment(RULE, lambda setting: at_curvature(setting, curvature))


def signal_without_change(eigenvalue, learning_rate):
    """The signal at which the moment operator's loss change vanishes; the change is affine in the noise variance."""

    def change(noise_variance):
        return step_at(eigenvalue).exact({"signal_to_noise": 10 / noise_variance, "learning_rate": learning_rate})

    drop, unit = change(1e-300), 2 / (learning_rate * eigenvalue**3)
    slope = (change(unit) - drop) / unit
    return 10 / (-drop / slope)


def certificate(formula):
    """E change < 0 if and only if the signal exceeds the candidate, for all real positive arguments."""
    signal = SAMPLES * derive.gradient_symbol**2 / NOISE
    needed = formula(CURVATURE, RATE)
    yield Statement(
        "descent in expectation if and only if z exceeds the signal needed",
        sympy.Equivalent(CHANGE < 0, signal > needed),
        (RATE * CURVATURE < 2, NOISE > 0, sympy.Ne(derive.gradient_symbol, 0)),
    )


def crossing_curves(rng):
    """Expected change against lambda / H for four ways to the noise, crossing zero together."""
    rows, ratios = [], np.linspace(0.5, 1.5, 101)
    cases = ((1.0, 1), (2.0, 10), (0.08, 4), (50.0, 10))
    for (signal, samples), seed in zip(cases, np.random.SeedSequence(rng).spawn(len(cases)), strict=True):
        name, edge = f"z = {signal:g}, N = {samples}", variational.descent_sharpness_limit(signal, 1.0)
        noise = samples / signal

        def change(curvatures, noise=noise, samples=samples):
            return variational.expected_loss_change(np.reshape(curvatures, (-1, 1)), [1.0], [noise], 1.0, samples)

        rows += theory("change", name, ratios, change(ratios * edge))
        spots = np.linspace(0.5, 1.5, 9)
        for spot, child in zip(spots, seed.spawn(len(spots)), strict=True):
            ensemble = simulate(
                RULE,
                eigenvalues=[spot * edge],
                initial=1 / (spot * edge),
                noise_variance=noise,
                learning_rate=1.0,
                samples=samples,
                steps=1,
                replicas=40_000,
                observables="loss_change",
                rng=child,
            )
            found = Measurement.of(ensemble, "loss_change")
            rows += measured("change", name, spot, found.value, found.standard_error)
    return rows


def zero_line(axes, rows):
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.axvline(1, color="0.5", linewidth=0.8)


THEOREM = Theorem(
    id="vl.descent-edge",
    title="the edge in one direction, both ways",
    source="Ghosh et al. 2025, Theorem 3.1 in one direction; the converse is derived here",
    kind=TIGHT,
    statement=r"\mathbb E\,\ell(m^+) < \ell(m) \iff \lambda < H(z;\rho) = "
    r"2\sqrt{z/3}\,\sinh\!\big(\tfrac13 \operatorname{asinh}(\tfrac3\rho\sqrt{3/z})\big),\quad z = N g^2 / s^2",
    domain=Domain(signal_to_noise=positive.between(1e-6, 1e12), learning_rate=positive),
    formula=variational.descent_sharpness_limit,
    derivation=from_update_rule,
    oracle=root_of_cubic,
    reach=1e3,
    simulation=EdgeBracket(
        settings=(
            {"signal_to_noise": 1.0, "learning_rate": 1.0},
            {"signal_to_noise": 2.0, "learning_rate": 0.5},
        ),
        measure=lambda setting, curvature, *how: step_at(curvature).measure(setting, *how),
        spread=lambda setting, curvature: step_at(curvature).spread(setting),
        effect=lambda setting, curvature: step_at(curvature).exact(setting),
        observable="sign of the mean loss change just below and just above the edge",
    ),
    mutants={
        "edge of gradient noise": "2 / learning_rate * (learning_rate**2 * signal_to_noise / 4)"
        " / (1 + learning_rate**2 * signal_to_noise / 4)",
        "N = 10 below for above": lambda signal_to_noise, learning_rate: variational.descent_sharpness_limit(
            signal_to_noise / 10**2, learning_rate
        ),
        "the factor returned as a curvature": variational.variational_factor,
        "small-gap approximation everywhere": "2 / learning_rate - 8 / (learning_rate**3 * signal_to_noise)",
        "plain 2 / rho": "2 / learning_rate",
    },
    corollaries=(
        Claim(
            name="signal needed",
            statement=r"\mathbb E\,\ell(m^+) < \ell(m) \iff z > \frac{\rho\lambda^3}{2 - \rho\lambda}"
            r"\quad (\rho\lambda < 2)",
            kind=TIGHT,
            domain=Domain(
                "learning_rate * eigenvalue < 2",
                eigenvalue=positive.between(0.03, 30),
                learning_rate=positive.between(0.03, 10),
            ),
            formula=lambda eigenvalue, learning_rate: learning_rate * eigenvalue**3 / (2 - learning_rate * eigenvalue),
            oracle=signal_without_change,
            reach=1,
            certificate=certificate,
            mutants={
                "signal against the noise of the gradient": (
                    "learning_rate * eigenvalue / (2 - learning_rate * eigenvalue)"
                ),
                "curvature squared": "learning_rate * eigenvalue**2 / (2 - learning_rate * eigenvalue)",
                "1 - rho lambda below": "learning_rate * eigenvalue**3 / (1 - learning_rate * eigenvalue)",
                "twice the signal": "2 * learning_rate * eigenvalue**3 / (2 - learning_rate * eigenvalue)",
            },
        ),
    ),
    caveats=(
        "The gradient, not the distance to the minimum, is held fixed while the curvature varies.",
        "A statement about one step in expectation: beyond the edge nothing diverges (the mean-square limit stays at"
        " 2 / rho, see vl.stationarity-identity).",
    ),
    figure=Figure(
        data=crossing_curves,
        panels=(
            Panel(
                "change",
                x_label="curvature / edge, λ / H(z)",
                y_label="expected loss change (units of g²)",
                title="One step at gradient 1, learning rate 1",
                decorate=zero_line,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

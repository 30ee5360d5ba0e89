"""Several directions: where every curvature lies below its edge the expected loss falls, and that is not necessary.

Nor is the second sufficient condition, on the largest curvature and the traces; neither implies the other. The reason
is geometric. With rho lambda_i < 2 throughout, the expected loss falls exactly outside an ellipsoid around the
minimiser, while the first condition asks for a place outside the slab |m_i| <= r_i in every direction. The box of these
slabs has its corners on the ellipsoid; all that lies between the two is given away.

A condition is judged as a bound: 0 where it holds, and elsewhere the expected change without its first-order term.
"""

import numpy as np
import sympy
from scipy.optimize import brentq

from quadlab import derive, dynamics, moments
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.theory import variational
from quadlab.theory.intervals import positive, real, whole_positive
from quadlab.verify import LOWER, TIGHT, UPPER, Claim, Derivation, Directions, Domain, Statement, Theorem, parse

RULE = dynamics.variational_gradient_descent()
CURVATURE, RATE, NOISE, SAMPLES = map(RULE.symbol, ("curvature", "learning_rate", "noise_variance", "samples"))
CURVATURES, NOISES = sympy.symbols("curvature_1:3", positive=True), sympy.symbols("noise_1:3", positive=True)
GRADIENTS, DIRECTION = sympy.symbols("gradient_1:3", real=True), sympy.symbols("direction_1:3", positive=True)

SECOND_ORDER = "learning_rate**2 / 2 * sum(eigenvalues * gradient**2 + noise_variances * eigenvalues**3 / samples)"
FIRST_ORDER = "-learning_rate * sum(gradient**2)"
# lambda < H(z) solved for z, which is rational, so that a solver can decide it for all real numbers
BELOW = "samples * gradient**2 * (2 - learning_rate * eigenvalues) > learning_rate * noise_variances * eigenvalues**3"
# with the same signal in all directions the largest curvature decides
WHOLE = BELOW.replace("gradient**2", "sum(gradient**2)")
TRACES = WHOLE.replace("noise_variances", "sum(noise_variances)")
ELLIPSOID = (
    "sqrt(learning_rate / samples * sum(noise_variances * eigenvalues**3)"
    " / sum(eigenvalues**2 * (2 - learning_rate * eigenvalues) * direction**2))"
)


def every(condition, then, otherwise):
    return f"where(sum(where({condition}, 0, 1)) > 0, {otherwise}, {then})"


def some(condition, then, otherwise):
    return f"where(sum(where({condition}, 1, 0)) > 0, {then}, {otherwise})"


def falls(condition):
    """The bound of a condition(curvatures, gradient, variances, edge), edge being the function of the signal."""
    remainder = parse(SECOND_ORDER, tuple(DOMAIN))

    def bound(eigenvalues, gradient, noise_variances, learning_rate, samples):
        def edge(squared_gradient, noise_variance):
            return variational.descent_sharpness_limit(samples * squared_gradient / noise_variance, learning_rate)

        if condition(eigenvalues, gradient**2, noise_variances, edge):
            return 0.0
        return remainder(eigenvalues, gradient, noise_variances, learning_rate, samples)

    return bound


class NearCorners(Domain):
    """Half of the drawn points lie close to a corner of the box, on either side: there the condition is sharp."""

    def draw(self, rng, count):
        points = super().draw(rng, count)
        for point in points[::2]:
            variances = point["noise_variances"]
            radius = variational.noise_ball_radius(
                point["eigenvalues"], variances, point["learning_rate"], point["samples"]
            )
            sides, away = rng.choice([-1, 1], radius.shape), rng.choice([-1, 1]) * 10 ** rng.uniform(-6, -1)
            point["gradient"] = sides * (1 + away) * point["eigenvalues"] * radius
        return points


def enumerated(eigenvalues, gradient, noise_variances, learning_rate, samples):
    """The expected change as a finite sum, over every outcome of draws of a law with this covariance."""
    eigenvalues, gradient, noise_variances = np.broadcast_arrays(
        *map(np.atleast_1d, (eigenvalues, gradient, noise_variances))
    )
    noise = moments.enumerate_samples(moments.finite_law(np.diag(noise_variances)), int(samples))
    moved = -learning_rate * (gradient + noise * eigenvalues)
    return np.mean(moved @ gradient + moved**2 @ eigenvalues / 2)


def change_at(gradients):
    """The expected change that the update rule gives, summed over two directions."""
    one = derive.expected_change(RULE, at_gradient=True)
    triples = zip(CURVATURES, gradients, NOISES, strict=True)
    places = [{CURVATURE: h, derive.gradient_symbol: g, NOISE: s} for h, g, s in triples]
    return sum(one.subs(place, simultaneous=True) for place in places)


def certificate(relation):
    """The expected change on the right side of its bound in two directions, for all gradients and parameters."""

    def statements(formula):
        bound = formula(CURVATURES, GRADIENTS, NOISES, RATE, SAMPLES)
        yield Statement("change and bound", relation(change_at(GRADIENTS), bound), (sympy.Ne(GRADIENTS[0], 0),))

    return statements


PLACE = [h * u for h, u in zip(CURVATURES, DIRECTION, strict=True)]


def from_update_rule(formula):
    """The expected change vanishes at the distance; the direction of the box's corner reaches it after one unit."""
    distance = formula(CURVATURES, DIRECTION, NOISES, RATE, SAMPLES)
    corner = [variational.noise_ball_radius(h, s, RATE, SAMPLES) for h, s in zip(CURVATURES, NOISES, strict=True)]
    return Derivation(
        steps=(
            ("expected change in two directions", change_at(GRADIENTS)),
            ("at gradient_i = curvature_i * distance * direction_i it vanishes for the distance", distance),
            ("the corner of the box of noise balls is", corner),
        ),
        residuals={
            "change on the ellipsoid": change_at([distance * gradient for gradient in PLACE]),
            "corner of the box": formula(CURVATURES, corner, NOISES, RATE, SAMPLES) - 1,
        },
    )


def outside(formula):
    """Descent in expectation if and only if the ellipsoid is reached before the point, in two directions."""
    distance = formula(CURVATURES, DIRECTION, NOISES, RATE, SAMPLES)
    stable = tuple(RATE * curvature < 2 for curvature in CURVATURES)
    yield Statement("descent exactly outside", sympy.Equivalent(change_at(PLACE) < 0, distance**2 < 1), stable)


def root_along(eigenvalues, direction, noise_variances, learning_rate, samples):
    """The distance along the direction at which the enumerated expected change passes through zero."""

    def change(logarithm):
        gradient = np.exp(logarithm) * np.multiply(eigenvalues, direction)
        return enumerated(eigenvalues, gradient, noise_variances, learning_rate, samples)

    return np.exp(brentq(change, -30, 30, xtol=1e-14))


def quadrant(rng):
    """Ellipse, box and trace condition around the minimiser, for curvatures 1.6 and 0.4 and noise variance 1/2."""
    curvatures, noise, turn = np.array([1.6, 0.4]), np.array([0.5, 0.5]), np.linspace(0, np.pi / 2, 91)
    circle = np.array([np.cos(turn), np.sin(turn)])
    distance = THEOREM.corollaries[-1].formula
    ellipse = circle * [distance(curvatures, along, noise, 1.0, 1) for along in circle.T]
    few = circle[:, 5::10]
    found = few * [root_along(curvatures, along, noise, 1.0, 1) for along in few.T]
    right, upper = variational.noise_ball_radius(curvatures, noise, 1.0, 1)
    gradient = np.sqrt(noise.sum() * 1.6**3 / (2 - 1.6))
    rows = theory("plane", "no expected change", *ellipse) + computed("plane", "no expected change", *found)
    rows += theory("plane", "box of the noise balls", [0, right, right], [upper, upper, 0])
    traces = gradient * circle / curvatures[:, None]
    return rows + theory("plane", "edge of the trace condition (holds outside)", *traces)


def regions(axes, rows):
    """Shade where both curvatures lie below their edges, hatch where the expected loss falls without that."""
    curves = {name: np.array([(r.x, r.y) for r in rows if r.series.startswith(name)]) for name in ("no", "box")}
    (width, height), (right, upper) = (np.max(curve, axis=0) for curve in curves.values())
    across, up = np.meshgrid(np.linspace(0, 3.2, 401), np.linspace(0, 9, 401))
    both = (across > right) & (up > upper)
    beyond = (across / width) ** 2 + (up / height) ** 2 > 1
    axes.contourf(across, up, both, levels=[0.5, 1.5], colors=["#cfe3f0"])
    axes.contourf(across, up, beyond & ~both, levels=[0.5, 1.5], colors="none", hatches=["//"])
    axes.fill([], [], color="#cfe3f0", label="falls: both below their edges")
    axes.plot([], [], "o", color="0.3", fillstyle="none", label="hollow: root of the enumerated change")
    axes.fill([], [], facecolor="none", hatch="//", label="falls: one above its edge")
    axes.legend(loc="upper right", fontsize=9, frameon=True, framealpha=1)


DOMAIN = NearCorners(
    eigenvalues=Directions(positive.between(1, 2), least=2, most=4),
    gradient=Directions(real.between(-2, 2)),
    noise_variances=Directions(positive.between(0.02, 5)),
    learning_rate=positive.between(0.8, 1),
    samples=whole_positive.between(1, 2),
)
STEEP = {
    "eigenvalues": Directions(positive.between(1.4, 2), least=3, most=4),
    "gradient": Directions(real.between(-4, 4)),
    "noise_variances": Directions(positive.between(0.3, 1)),
}

THEOREM = Theorem(
    id="vl.directional-condition",
    title="several directions: sufficient conditions and the exact ellipsoid",
    source="Ghosh et al. 2025, Theorem 3.1; converse, trace condition and geometry are derived here",
    kind=UPPER,
    statement=r"\lambda_i < H\big(N g_i^2 / s_i^2;\rho\big)\ \text{for all } i \;\Longrightarrow\;"
    r" \mathbb E\,\ell(m^+) < \ell(m)",
    domain=DOMAIN,
    formula=falls(lambda h, g2, s, edge: np.all(h < edge(g2, s))),
    oracle=enumerated,
    mutants={
        "any direction suffices": falls(lambda h, g2, s, edge: np.any(h < edge(g2, s))),
        "the top direction alone": falls(lambda h, g2, s, edge: (h < edge(g2, s))[np.argmax(h)]),
        "whole gradient, single variances": falls(lambda h, g2, s, edge: np.all(h < edge(g2.sum(), s))),
        "signal 1.2 times too large": falls(lambda h, g2, s, edge: np.all(h < edge(1.2 * g2, s))),
    },
    corollaries=(
        Claim(
            name="solved for the signal",
            statement=r"N g_i^2 (2 - \rho\lambda_i) > \rho s_i^2 \lambda_i^3\ \text{for all } i \;\Longrightarrow\;"
            r" \mathbb E\,\ell(m^+) < \ell(m)",
            kind=UPPER,
            domain=DOMAIN,
            formula=parse(every(BELOW, 0, SECOND_ORDER), tuple(DOMAIN)),
            oracle=enumerated,
            certificate=certificate(sympy.Lt),
            mutants={
                "any direction suffices": some(BELOW, 0, SECOND_ORDER),
                "whole gradient, single variances": every(WHOLE, 0, SECOND_ORDER),
            },
        ),
        Claim(
            name="converse",
            statement=r"\lambda_i \ge H\big(N g_i^2 / s_i^2;\rho\big)\ \text{for all } i \;\Longrightarrow\;"
            r" \mathbb E\,\ell(m^+) \ge \ell(m)",
            kind=LOWER,
            domain=DOMAIN,
            formula=parse(some(BELOW, FIRST_ORDER, 0), tuple(DOMAIN)),
            oracle=enumerated,
            certificate=certificate(sympy.Ge),
            mutants={
                "if and only if": every(BELOW, FIRST_ORDER, 0),
                "the trace condition is necessary": every(TRACES, FIRST_ORDER, 0),
            },
        ),
        Claim(
            name="trace condition",
            statement=r"\max_i \lambda_i < H\big(N \|g\|^2 / \operatorname{Tr}\Sigma;\rho\big) \;\Longrightarrow\;"
            r" \mathbb E\,\ell(m^+) < \ell(m)",
            kind=UPPER,
            domain=Domain(**{**DOMAIN.intervals, **STEEP}),
            formula=parse(every(TRACES, 0, SECOND_ORDER), tuple(DOMAIN)),
            oracle=enumerated,
            certificate=certificate(sympy.Lt),
            mutants={
                "the largest variance": falls(lambda h, g2, s, edge: h.max() < edge(g2.sum(), s.max())),
                "the mean variance": every(
                    TRACES.replace("samples", "samples * sum(1 + 0 * eigenvalues)"), 0, SECOND_ORDER
                ),
            },
        ),
        Claim(
            name="ellipsoid",
            statement=r"\mathbb E\,\ell(m^+) < \ell(m)\ \text{at } m = t u \iff t^2 >"
            r" \frac{\rho}{N}\frac{\sum s_i^2\lambda_i^3}{\sum \lambda_i^2 (2 - \rho\lambda_i) u_i^2}"
            r"\quad (\rho\lambda_i < 2)",
            kind=TIGHT,
            domain=Domain(
                "learning_rate * eigenvalues < 2",
                eigenvalues=Directions(positive.between(0.1, 2), most=3),
                direction=Directions(real.between(-2, 2)),
                noise_variances=Directions(positive.between(0.05, 1)),
                learning_rate=positive.between(0.1, 1),
                samples=whole_positive.between(1, 3),
            ),
            formula=parse(ELLIPSOID, ("eigenvalues", "direction", "noise_variances", "learning_rate", "samples")),
            derivation=from_update_rule,
            oracle=root_along,
            reach=30,
            certificate=outside,
            points=60,
            mutants={
                "curvature squared in the noise": ELLIPSOID.replace("**3", "**2"),
                "1 - rho lambda": ELLIPSOID.replace(
                    "(2 - learning_rate * eigenvalues)", "abs(1 - learning_rate * eigenvalues)"
                ),
                "without N": ELLIPSOID.replace("/ samples ", ""),
                "curvature for its square": ELLIPSOID.replace("eigenvalues**2", "eigenvalues"),
            },
        ),
    ),
    caveats=(
        "Sufficient, not necessary: with curvatures (1.6, 0.4), variance 1/2 and rho = N = 1 the loss falls in"
        " expectation at m = (1.5, 0), where the second curvature exceeds its edge, 0.",
        "Neither condition implies the other: there the trace condition holds at (2.5, 0) and the first does not; at"
        " (1.5, 0.5) it is the other way.",
        "With repeated eigenvalues the signals depend on the basis chosen inside the eigenspace E; the form without a"
        " basis has z_E = N |P_E g|^2 / Tr(P_E Sigma).",
    ),
    figure=Figure(
        data=quadrant,
        panels=(
            Panel(
                "plane",
                x_label="distance along the first eigenvector, m₁",
                y_label="distance along the second, m₂",
                title="Loss falls: λ = (1.6, 0.4), s² = 0.5, ρ = N = 1",
                decorate=regions,
                legend=False,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

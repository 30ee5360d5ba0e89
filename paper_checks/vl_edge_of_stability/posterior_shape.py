"""The shape of the posterior: of a covariance, one step sees only the variances along the Hessian's eigenvectors.

The covariance Sigma need not commute with the Hessian Q; its entries between eigenvectors do not enter the expected
change. A frozen preconditioner P, m+ = m - rho P^-1 gradient, is the plain rule in the coordinates P^(1/2) m, where the
Hessian is P^(-1/2) Q P^(-1/2), the gradient P^(-1/2) g and the covariance P^(1/2) Sigma P^(1/2). IVON's covariance,
Sigma = P^-1 / ess, becomes isotropic there; at its optimum P = Q, every direction meets the same floor of the loss.
"""

from functools import partial

import numpy as np
import sympy
from scipy.linalg import sqrtm
from scipy.optimize import brentq

from quadlab import derive, dynamics, moments, simulate
from quadlab.problems import Quadratic
from quadlab.report import Figure, Panel, computed, measured, run, theory
from quadlab.theory import variational
from quadlab.theory.intervals import Interval, positive, real, whole_positive
from quadlab.verify import (
    IDENTITY,
    TIGHT,
    Claim,
    Derivation,
    Directions,
    Domain,
    Equivalence,
    Statement,
    SymmetricMatrix,
    Theorem,
    WeightsExperiment,
    parse,
)

RULE = dynamics.variational_gradient_descent()
CURVATURE, RATE, NOISE, SAMPLES = map(RULE.symbol, ("curvature", "learning_rate", "noise_variance", "samples"))
LOSS, DATA = sympy.symbols("loss effective_sample_size", positive=True)


def change_along_eigenvectors(hessian, gradient, noise_covariance, preconditioner, learning_rate, samples):
    """The expected change from projections on the eigenvectors of the preconditioned Hessian."""
    found = variational.hessian_projections(hessian, gradient, noise_covariance, preconditioner)
    directions = found.eigenvalues, found.gradient, found.noise_variances
    return variational.expected_loss_change(*directions, learning_rate, samples)


def along(vectors, matrix):
    return np.sum(vectors * (matrix @ vectors), axis=0)


def mistaken(variances=lambda vectors, covariance, original: along(vectors, covariance), vectors=None, slope=None):
    """change_along_eigenvectors with one of its ingredients replaced."""

    def formula(hessian, gradient, noise_covariance, preconditioner, learning_rate, samples):
        root = sqrtm(preconditioner).real
        inverse, covariance = np.linalg.inv(root), root @ noise_covariance @ root
        values, basis = np.linalg.eigh(inverse @ hessian @ inverse)
        if vectors is not None:
            basis = vectors(np.linalg.solve(preconditioner, hessian))
        projected = basis.T @ (inverse @ gradient if slope is None else slope(gradient))
        spread = variances(basis, covariance, noise_covariance)
        return variational.expected_loss_change(values, projected, spread, learning_rate, samples)

    return formula


def eigenvectors_of_product(matrix):
    """Of P^-1 Q, which is not symmetric: each of length one, in ascending order, but not orthogonal."""
    values, vectors = np.linalg.eig(matrix)
    return vectors.real[:, np.argsort(values.real)]


def weight_noise(covariance, hessian, scaled):
    return np.trace(covariance @ hessian @ scaled @ scaled)


def change_by_traces(hessian, gradient, noise_covariance, preconditioner, learning_rate, samples, noise=weight_noise):
    """-rho g'P^-1 g + rho^2/2 (g'P^-1 Q P^-1 g + tr(Sigma Q P^-1 Q P^-1 Q) / N) for a diagonal P: no eigenvectors."""
    step, scaled = gradient / preconditioner, hessian / np.reshape(preconditioner, (-1, 1))
    curved = step @ hessian @ step + noise(noise_covariance, hessian, scaled) / samples
    return learning_rate * (learning_rate * curved / 2 - gradient @ step)


def from_update_rule(formula):
    """The expectation of g'(m+ - m) + (m+ - m)'Q (m+ - m) / 2, for symbolic matrices in two dimensions."""
    a, b, c, first, second = sympy.symbols("a b c g1 g2", real=True)
    p1, p2, k11, k21, k22 = sympy.symbols("p1 p2 k11 k21 k22", positive=True)
    draws = sympy.symbols("xi1 xi2", real=True)
    hessian, gradient = sympy.Matrix([[a, b], [b, c]]), sympy.Matrix([first, second])
    factor = sympy.Matrix([[k11, 0], [k21, k22]])
    move = -RATE * sympy.diag(1 / p1, 1 / p2) * (gradient + hessian * factor * sympy.Matrix(draws))
    change = (gradient.T * move + move.T * hessian * move / 2)[0]
    expected = derive.expectation(change, [dynamics.Noise(draw, count=SAMPLES) for draw in draws])
    arguments = (np.array(matrix.tolist()) for matrix in (hessian, factor * factor.T))
    stated = formula(next(arguments), np.array([first, second]), next(arguments), np.array([p1, p2]), RATE, SAMPLES)
    steps = (("m+ - m, for a covariance K K' with triangular K, and xi of variance 1 / N", move),)
    return Derivation(steps, {"expected change": stated - expected})


def matrix_of(preconditioner):
    return np.diag(preconditioner) if np.ndim(preconditioner) == 1 else np.asarray(preconditioner)


def enumerated(hessian, gradient, noise_covariance, preconditioner, learning_rate, samples):
    """A finite sum over draws of a law with this covariance, in the original coordinates."""
    noise = moments.enumerate_samples(moments.finite_law(noise_covariance), int(samples))
    moves = -learning_rate * np.linalg.solve(matrix_of(preconditioner), (gradient + noise @ hessian).T).T
    return np.mean(moves @ gradient + np.einsum("ra,ab,rb->r", moves, hessian, moves) / 2)


def first_order(hessian, gradient, noise_covariance, preconditioner, learning_rate, samples):
    """What rounding is measured against: gain and loss may cancel."""
    return learning_rate * gradient @ np.linalg.solve(matrix_of(preconditioner), gradient)


def edge_at(signal):
    """The edge of the preconditioned curvature w = lambda / p along one direction, for a signal given as a text."""
    signal_to_noise = parse(signal, ("gradient", "preconditioner", "effective_sample_size", "samples"))
    return lambda learning_rate, **point: variational.descent_sharpness_limit(signal_to_noise(**point), learning_rate)


def edge_by_enumeration(gradient, preconditioner, effective_sample_size, learning_rate, samples):
    """The preconditioned curvature w at which the enumerated change of one direction vanishes."""
    covariance, diagonal = [[1 / (effective_sample_size * preconditioner)]], np.array([preconditioner])

    def change(w):
        return enumerated(w * diagonal[:, None], np.array([gradient]), covariance, diagonal, learning_rate, samples)

    return brentq(change, 1e-6 / learning_rate, 2.1 / learning_rate, xtol=1e-300, maxiter=1000, rtol=1e-14)


def floor_by_enumeration(effective_sample_size, learning_rate, samples):
    """The loss, the same along three eigenvectors of a Hessian that is its own preconditioner, that does not change."""
    problem = Quadratic.random([0.3, 1.0, 5.0], 0)
    hessian, covariance = problem.hessian, np.linalg.inv(problem.hessian) / effective_sample_size
    gradient = hessian @ problem.eigenvectors @ np.sqrt(2 / problem.eigenvalues)  # where each loss is one
    at_zero, at_one = (
        enumerated(hessian, scale * gradient, covariance, hessian, learning_rate, samples) for scale in (0, 1)
    )
    return at_zero / (at_zero - at_one)  # the change is affine in the loss


# P = Q and Sigma = Q^-1 / ess, along one eigenvector at a given loss: the plain rule in other parameters.
OPTIMUM = {RATE: RATE / CURVATURE, NOISE: 1 / (DATA * CURVATURE), RULE.state[0]: sympy.sqrt(2 * LOSS / CURVATURE)}
AT_FLOOR = {symbol.name: symbol for symbol in (RATE, DATA, SAMPLES)}
AT_OPTIMUM = sympy.factor(derive.expected_change(RULE).subs(OPTIMUM, simultaneous=True))


def floor_from_rule(formula):
    floor = formula(**AT_FLOOR)
    steps = (("expected change at P = Q, Sigma = Q^-1 / ess, in the directional loss", AT_OPTIMUM), ("its zero", floor))
    return Derivation(steps, {"change at the floor": AT_OPTIMUM.subs(LOSS, floor)})


def floor_certificate(formula):
    goal = sympy.Equivalent(AT_OPTIMUM < 0, formula(**AT_FLOOR) < LOSS)
    yield Statement("the expected loss falls if and only if it is above the floor", goal, (RATE < 2,))


SETTING = {
    "hessian": np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 2.0]]),
    "gradient": np.array([4.0, -2.0, 1.0]),
    "noise_covariance": np.array([[2.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 1.0]]),
    "preconditioner": np.array([[2.0, 1.0, 0.0], [1.0, 4.0, 1.0], [0.0, 1.0, 3.0]]),
    "learning_rate": 0.4,
    "samples": 1,
}


def full_matrix_step(hessian, gradient, noise_covariance, preconditioner, learning_rate, samples):
    """One step on the weights, through whole matrices, with the exact deviation of the loss change."""
    mean_move, response = (-learning_rate * np.linalg.solve(preconditioner, side) for side in (gradient, hessian))
    linear, quadratic = response.T @ (gradient + hessian @ mean_move), response.T @ hessian @ response
    optimiser = simulate.VariationalGradientDescent(
        learning_rate, samples, noise_covariance, preconditioner=preconditioner
    )
    spread = moments.gaussian_quadratic_deviation(linear, quadratic, noise_covariance / samples)
    return WeightsExperiment(Quadratic(hessian), optimiser, spread, initial=np.linalg.solve(hessian, gradient))


def random_shapes(rng):
    """Predicted against simulated change for random matrices; the edges of two directions as a covariance turns."""
    generator, rows = np.random.default_rng(rng), []
    for index in range(24):
        point = MATRICES.draw(generator, 1)[0] | {"learning_rate": generator.uniform(0.1, 1), "samples": 1}
        name = "P not diagonal" if index % 2 else "P = 1"
        point["preconditioner"] = point["preconditioner"] if index % 2 else np.eye(3)
        found = full_matrix_step(**point).measure(point, 10_000, generator)
        rows += measured("change", name, change_along_eigenvectors(**point), found.value, found.standard_error)
    ends = [min(row.x for row in rows), max(row.x for row in rows)]
    rows = theory("change", "simulated = predicted", ends, ends) + rows
    fine, coarse = np.linspace(0, 90, 91), np.linspace(0, 90, 7)
    for axis, name in enumerate(("direction 1", "direction 2")):
        variances = [turned(angle)[axis, axis] for angle in fine]
        rows += theory("edge", name, fine, variational.descent_sharpness_limit(1 / np.array(variances), 1.0))
        rows += computed("edge", name, coarse, [edge_of_axis(axis, turned(angle)) for angle in coarse])
    return rows


def turned(degrees):
    """A covariance of variances 4 and 1/4, its long axis at an angle to the first direction."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return turn @ np.diag([4.0, 0.25]) @ turn.T


def edge_of_axis(axis, covariance):
    """The curvature along one axis at which the enumerated change vanishes, at gradient 1, rate 1 and one sample."""
    unit = np.eye(2)[axis]
    return brentq(lambda h: enumerated(h * np.outer(unit, unit), unit, covariance, np.ones(2), 1.0, 1), 1e-6, 2)


MATRICES = Domain(
    hessian=SymmetricMatrix(positive.between(0.2, 3), 3),
    gradient=Directions(real, 3, 3),
    noise_covariance=SymmetricMatrix(positive.between(0.1, 3), 3),
    preconditioner=SymmetricMatrix(positive.between(0.3, 5), 3),
    learning_rate=positive.between(0.05, 2),
    samples=whole_positive.between(1, 3),
)
SCALARS = {"effective_sample_size": positive, "samples": whole_positive.between(1, 3)}
THEOREM = Theorem(
    id="vl.posterior-shape",
    title="a covariance that does not commute with the Hessian, and a frozen preconditioner",
    source="the role of the posterior's shape: Ghosh et al. 2025; projections and preconditioning derived here",
    kind=IDENTITY,
    statement=r"m^+ = m - \rho P^{-1}\hat g:\ \text{replace } Q, g, \Sigma \text{ by }"
    r" P^{-1/2} Q P^{-1/2},\, P^{-1/2} g,\, P^{1/2}\Sigma P^{1/2};\ \text{of } \Sigma \text{ only } v_i'\Sigma v_i"
    r"\text{ enters};\quad \Sigma = P^{-1}/\mathrm{ess}: w_i < H\big(N\,\mathrm{ess}\,(u_i'P^{-1/2}g)^2\big);"
    r"\quad P = Q: \ell_i > \frac{\rho}{2 N\,\mathrm{ess}\,(2 - \rho)}",
    domain=MATRICES,
    formula=change_along_eigenvectors,
    oracle=enumerated,
    reach=100,
    scale=first_order,
    simulation=Equivalence(
        settings=(SETTING,),
        measure=full_matrix_step(**SETTING).measure,
        spread=full_matrix_step(**SETTING).spread,
        observable="loss change in one step",
    ),
    mutants={
        "eigenvalues of the covariance": mistaken(
            variances=lambda vectors, covariance, original: np.linalg.eigvalsh(covariance)
        ),
        "conditional variances instead of marginal ones": mistaken(
            variances=lambda vectors, covariance, original: 1 / along(vectors, np.linalg.inv(covariance))
        ),
        "noise 1 / (ess p): covariance not transformed": mistaken(
            variances=lambda vectors, covariance, original: along(vectors, original)
        ),
        "gradient not transformed": mistaken(slope=lambda gradient: gradient),
        "eigenvectors of P^-1 Q": mistaken(vectors=eigenvectors_of_product),
    },
    corollaries=(
        Claim(
            name="without eigenvectors",
            statement=r"\mathbb E\,\ell(m^+) - \ell(m) = -\rho\,g'P^{-1}g + \tfrac{\rho^2}{2}\big(g'P^{-1}QP^{-1}g"
            r" + \tfrac1N\operatorname{Tr}(\Sigma QP^{-1}QP^{-1}Q)\big)",
            kind=IDENTITY,
            domain=Domain(**{**MATRICES, "preconditioner": Directions(positive.between(0.3, 5), 3, 3)}),
            formula=change_by_traces,
            derivation=from_update_rule,
            oracle=enumerated,
            reach=10,
            scale=first_order,
            mutants={
                "preconditioned once": partial(
                    change_by_traces, noise=lambda covariance, hessian, scaled: np.trace(covariance @ hessian @ scaled)
                ),
                "total variance shared equally": partial(
                    change_by_traces,
                    noise=lambda covariance, hessian, scaled: (
                        np.trace(covariance) * np.trace(hessian @ scaled @ scaled) / len(covariance)
                    ),
                ),
            },
        ),
        Claim(
            name="edge at the covariance P^-1 / ess",
            statement=r"\text{one direction, } w = \lambda / p:\quad \mathbb E\,\ell(m^+) < \ell(m) \iff "
            r"w < H\big(N\,\mathrm{ess}\,g^2 / p;\rho\big)",
            kind=TIGHT,
            domain=Domain(gradient=positive, preconditioner=positive, learning_rate=positive, **SCALARS),
            formula=edge_at("samples * effective_sample_size * gradient**2 / preconditioner"),
            oracle=edge_by_enumeration,
            reach=1,
            points=100,
            mutants={
                "noise 1 / (ess p)": edge_at("samples * effective_sample_size * gradient**2"),
                "gradient divided by p": edge_at("samples * effective_sample_size * gradient**2 / preconditioner**2"),
                "ess below": edge_at("samples * gradient**2 / (effective_sample_size * preconditioner)"),
            },
        ),
        Claim(
            name="floor of the loss at P = Q",
            statement=r"\mathbb E\,\ell_i(m^+) < \ell_i(m) \iff \ell_i(m) > \frac{\rho}{2 N\,\mathrm{ess}\,(2 - \rho)}",
            kind=TIGHT,
            domain=Domain(learning_rate=Interval(0, 2, typical=(0.05, 1.95)), **SCALARS),
            formula=lambda learning_rate, effective_sample_size, samples: (
                learning_rate / (2 * samples * effective_sample_size * (2 - learning_rate))
            ),
            derivation=floor_from_rule,
            oracle=floor_by_enumeration,
            reach=1,
            points=50,
            certificate=floor_certificate,
            mutants={
                "small-rate law": "learning_rate / (4 * samples * effective_sample_size)",
                "without the 2": "learning_rate / (samples * effective_sample_size * (2 - learning_rate))",
                "N ignored": "learning_rate / (2 * effective_sample_size * (2 - learning_rate))",
            },
        ),
    ),
    caveats=(
        "P and Sigma are frozen: for a Sigma that is learned along the path no threshold is proved.",
        "A symmetric eigensolver applied to P^-1 Q, which is not symmetric, gives wrong curvatures.",
    ),
    figure=Figure(
        data=random_shapes,
        panels=(
            Panel(
                "change",
                x_label="predicted expected loss change (units of loss)",
                y_label="simulated, ± 1 standard error",
                title="One step, random Q, Σ, P in three dimensions",
            ),
            Panel(
                "edge",
                x_label="angle of Σ's long axis to direction 1 (degrees)",
                y_label="descent edge H(z), ρ = 1 (curvature)",
                title="Σ of variances 4 and 1/4, g = (1, 1)",
                decorate=lambda axes, rows: axes.set_ylim(0.6, 1.65),
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

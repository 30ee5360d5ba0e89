"""Reshuffling, random batches and heavy ball: their theorem files give numbers that were found elsewhere."""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from quadlab import verify as v
from quadlab.problems import GradientPenalty
from quadlab.simulate import HeavyBall, descend, flow, gradient_flow
from quadlab.theory.modified_loss import heavy_ball_modified_eigenvalue

FOLDER = Path(__file__).resolve().parents[2] / "paper_checks" / "implicit_gradient_regularization"
HALVED = (0.008, 0.004, 0.002, 0.001)


@cache
def functions_of(name):
    """The module of a theorem file."""
    theorem = v.load(str(FOLDER / f"{name}.py"))
    return next(module for module in list(sys.modules.values()) if getattr(module, "THEOREM", None) is theorem)


def slopes(errors):
    """Orders between step sizes that halve."""
    return np.log2(np.divide(errors[:-1], errors[1:]))


@pytest.mark.parametrize(
    ("followed", "errors"),
    [
        ("C", (0.019979, 0.0057104, 0.0015239, 3.9345e-4, 9.9953e-5)),
        ("C + (h/4)|g|²", (0.0034038, 8.7567e-4, 2.1969e-4, 5.4861e-5, 1.3697e-5)),
        ("C + (h/4) mean |gₖ|²", (0.0018599, 2.6324e-4, 3.4922e-5, 4.4942e-6, 5.6992e-7)),
    ],
)
def test_errors_of_one_reshuffled_epoch(followed, errors):
    module = functions_of("reshuffling")
    full, variance = module.FOLLOWED[followed]
    setting = {"full_batch_part": full, "variance_part": variance, "replacement": 0}
    found = [module.error_of_epoch(setting, h) for h in (0.04, 0.02, 0.01, 0.005, 0.0025)]
    assert found == pytest.approx(errors, rel=5e-5)


@pytest.mark.parametrize(
    ("followed", "learning_rate", "order"),
    [("C + (h/4)|g|²", 0.005, 2.98), ("C + (h/4) mean |gₖ|²", 0.00125, 1.98)],
)
def test_independent_draws_swap_the_roles(followed, learning_rate, order):
    module = functions_of("reshuffling")
    full, variance = module.FOLLOWED[followed]
    setting = {"full_batch_part": full, "variance_part": variance, "replacement": 1}
    errors = [module.error_of_epoch(setting, h) for h in (learning_rate, learning_rate / 2)]
    assert slopes(errors) == pytest.approx([order], abs=0.005)


def test_displacement_of_the_mean_epoch_and_its_spread():
    module = functions_of("reshuffling")
    values = module.excess(2e-4)
    assert values.mean() == pytest.approx(-8.75146e-8, rel=1e-5)
    assert values.std() / abs(values.mean()) == pytest.approx(5.53, abs=0.01)
    predicted = module.predict(module.penalty, {"learning_rate": 2e-4})
    assert abs(predicted / values.mean() - 1) == pytest.approx(0.0034, abs=5e-5)


@pytest.mark.parametrize(("batch_size", "penalty"), [(1, 1 / 6), (2, 1 / 15), (3, 1 / 30), (6, 0)])
def test_penalty_of_random_batches_of_six(batch_size, penalty):
    module = functions_of("batch_variance")
    for value in (module.variance_of_batches, module.variance_penalty):
        assert value(20 / 3, 0.1, 6, batch_size) == pytest.approx(penalty, rel=1e-14, abs=1e-16)


def heavy_ball_errors(weight_of, shift=0.0, at_rest=False, since=0.0):
    """Orders of the largest distance from a flow on [since, 0.3], for b = 1/2 on the product model."""
    module, errors = functions_of("heavy_ball"), []
    for h in HALVED:
        steps = int(0.3 / h + 1e-9)
        settled = GradientPenalty(module.MODEL, module.penalty(h, 0.5))
        previous = module.START if at_rest else flow(settled.gradient, module.START, h / (1 - 0.5))
        path = descend(module.MODEL, HeavyBall(h, 0.5), module.START, steps, previous=previous)
        start = module.START + shift * h * module.MODEL.gradient(module.START)
        followed = GradientPenalty(module.MODEL, weight_of(module, h))
        times = h * np.arange(1, steps + 1)
        distances = np.linalg.norm(path[1:] - gradient_flow(followed, start, times / (1 - 0.5)), axis=1)
        errors.append(distances[times >= since - 1e-9].max())
    return slopes(errors)


def test_heavy_ball_follows_its_penalised_loss_to_second_order():
    assert heavy_ball_errors(lambda module, h: module.penalty(h, 0.5)) == pytest.approx([2.16, 2.08, 2.04], abs=0.01)
    assert heavy_ball_errors(lambda module, h: 0.0) == pytest.approx([1.26, 1.12, 1.05], abs=0.01)


def test_heavy_ball_from_rest_needs_the_shifted_start():
    shift = functions_of("heavy_ball").start_shift(gradient=1.0, learning_rate=1.0, momentum=0.5)
    weight = functions_of("heavy_ball").penalty
    shifted = heavy_ball_errors(lambda module, h: weight(h, 0.5), shift=shift, at_rest=True, since=0.1)
    assert shifted == pytest.approx([2.07, 2.04, 2.02], abs=0.01)
    plain = heavy_ball_errors(lambda module, h: weight(h, 0.5), at_rest=True, since=0.1)
    assert (plain < 1).all()
    assert plain[-1] == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(
    ("eigenvalue", "learning_rate", "momentum", "rate"),
    [
        (1, 0.001, 0.9, 11.18915148701052),
        (2.5, 0.001, 0.9, 40.82199452025513),
        (-2, 0.1, 0.5, -2.789180730058),
        (1, 0.1, 0.25, 1.520499011704210),
        (5, 0.1, 0.5, 3.465735902799727 - 7.853981633974483j),
        (29, 0.1, 0.5, 3.465735902799727 - 29.99695598985629j),
        (30, 0.1, 0.5, -31.41592653589793j),
    ],
)
def test_rate_of_the_larger_root_in_every_zone(eigenvalue, learning_rate, momentum, rate):
    found = functions_of("heavy_ball_modes").rate(eigenvalue, learning_rate, momentum)
    assert found == pytest.approx(rate, rel=1e-12)


def test_the_series_of_heavy_ball_diverges_beyond_its_radius_on_either_side():
    module = functions_of("heavy_ball_modes")
    for eigenvalue, converges in ((0.08, True), (-0.08, True), (-0.1, False), (-0.5, False)):
        exact = module.rate(eigenvalue, 1.0, 0.5).real
        missed = abs(heavy_ball_modified_eigenvalue(eigenvalue, 1.0, 0.5, order=160) - exact)
        assert missed < 1e-6 if converges else missed > 0.1


def test_the_radius_of_the_series_is_met_to_seven_digits():
    radius = next(c for c in functions_of("heavy_ball_series").THEOREM.corollaries if c.name == "radius")
    for momentum in (0.05, 0.5, 0.9):
        assert radius.oracle(momentum, 5000) == pytest.approx(radius.formula(momentum, 5000), rel=1e-7)


def test_two_hundred_terms_give_fifteen_digits_at_four_fifths_of_the_radius():
    module = functions_of("heavy_ball_modes")
    curvature = 0.8 * module.boundary(0.001, 0.9)
    summed = heavy_ball_modified_eigenvalue(curvature, 0.001, 0.9, order=200)
    assert summed == pytest.approx(module.rate(curvature, 0.001, 0.9).real, rel=2e-15)

"""Decision rules: their error rates, computed from the normal law, are the stated ones."""

import numpy as np
import pytest
import sympy
from scipy.stats import norm

from quadlab.verify import INCONCLUSIVE, REFUTED, VERIFIED, Verdict
from quadlab.verify.statistics import (
    COMPARISONS,
    CONFIDENCE,
    FAMILY_FALSE_ALARM,
    MISSED,
    decide_equivalence,
    decide_sign,
    one_number,
    resolution,
    sample_size,
)
from quadlab.verify.verdict import combine

MARGIN, SPREAD = 0.01, 1.7


def probability(word, true_value):
    """P(word) of the equivalence decision, by summing over a fine grid of estimates."""
    error = SPREAD / np.sqrt(sample_size(SPREAD, MARGIN))
    grid = true_value + error * np.linspace(-12, 12, 24_001)
    mass = norm.pdf(np.linspace(-12, 12, 24_001)) * 0.001
    words = [decide_equivalence(estimate, error, 1.0, MARGIN).word for estimate in grid]
    return float(np.sum(mass * (np.array(words) == word)))


def test_a_true_statement_is_verified_at_the_designed_sample_size():
    assert 1 - probability(VERIFIED, 1.0) == pytest.approx(MISSED, rel=0.05)


def test_false_alarms_are_shared_out_over_the_run():
    """At the edge of the margin, where it is hardest, a refutation is as rare as half a two-sided comparison."""
    share = FAMILY_FALSE_ALARM / COMPARISONS
    assert probability(REFUTED, 1.0 + MARGIN) == pytest.approx(share / 2, rel=0.2)
    assert probability(REFUTED, 1.0) < 1e-15


def test_a_formula_off_by_two_margins_is_refuted():
    assert probability(REFUTED, 1.0 + 2 * MARGIN) > 0.999


def test_the_needed_sample_would_decide():
    estimate, error = 1.006, 0.001
    verdict = decide_equivalence(estimate, error, 1.0, MARGIN)
    assert verdict.word == INCONCLUSIVE
    enough = error / np.sqrt(verdict.needed * 1.001)
    assert decide_equivalence(estimate, enough, 1.0, MARGIN).word == VERIFIED


@pytest.mark.parametrize("estimate", [float("nan"), float("inf")])
def test_an_estimate_that_is_not_a_number_is_never_verified(estimate):
    assert decide_equivalence(estimate, 0.1, 1.0, MARGIN).word == REFUTED
    assert decide_equivalence(1.0, 0.001, estimate, MARGIN).word == REFUTED


@pytest.mark.parametrize(("sign", "word"), [(1, VERIFIED), (-1, REFUTED)])
def test_signs(sign, word):
    assert decide_sign(1.01 * CONFIDENCE, 1.0, sign).word == word
    assert decide_sign(0.99 * CONFIDENCE, 1.0, sign).word == INCONCLUSIVE


def test_a_nan_has_no_sign():
    assert decide_sign(float("nan"), 1.0, 1).word == REFUTED


@pytest.mark.parametrize(("spread", "margin"), [(-1.0, 0.1), (float("nan"), 0.1), (1.0, 0.0), (float("inf"), 0.1)])
def test_sample_size_refuses_an_impossible_design(spread, margin):
    with pytest.raises(ValueError, match="spread must be non-negative and margin positive"):
        sample_size(spread, margin)


def test_a_verdict_has_no_truth_value():
    with pytest.raises(TypeError, match="compare its word, here REFUTED"):
        bool(Verdict(REFUTED))


def test_a_verdict_is_one_of_six_words():
    with pytest.raises(ValueError, match="got 'PROBABLY'"):
        Verdict("PROBABLY")


@pytest.mark.parametrize(
    ("words", "overall"),
    [
        (["VERIFIED", "SKIPPED"], "VERIFIED"),
        (["VERIFIED", "INCONCLUSIVE"], "INCONCLUSIVE"),
        (["ERROR", "INCONCLUSIVE", "VERIFIED"], "ERROR"),
        (["REFUTED", "ERROR"], "REFUTED"),
        (["VERIFIED", "OUT_OF_DOMAIN"], "OUT_OF_DOMAIN"),
        (["SKIPPED"], "SKIPPED"),
        ([], "SKIPPED"),
    ],
)
def test_the_worst_verdict_decides(words, overall):
    assert combine(map(Verdict, words)).word == overall


def test_a_standard_error_needs_two_replicas():
    assert sample_size(0.0, MARGIN) == 2


def test_the_needed_sample_resolves_the_sign():
    verdict = decide_sign(-1.0, 1.0, -1)
    assert verdict.word == INCONCLUSIVE
    assert decide_sign(-1.0, 1 / np.sqrt(verdict.needed * 1.001), -1).word == VERIFIED


@pytest.mark.parametrize(("threshold", "seen"), [(1 + 1 / 64, 1 / 64), (1.5, 1 / 2), (1 + 1e-9, 1 / 512), (3, None)])
def test_the_resolution_is_the_least_change_seen_with_all_larger_ones(threshold, seen):
    assert resolution(lambda a: a, lambda changed: changed(1.0) >= threshold) == seen
    lucky = resolution(lambda a: a, lambda changed: changed(1.0) >= 1.5 or changed(1.0) == 1 + 1 / 64)
    assert lucky == 1 / 2


def test_one_number_is_real():
    assert one_number("a", np.array([[3.0]])) == one_number("a", 3 + 0j) == one_number("a", sympy.Integer(3)) == 3.0
    assert np.isnan(one_number("a", sympy.I))
    for wrong in (np.ones(2), np.array([]), "3", None, sympy.Symbol("b")):
        with pytest.raises(ValueError, match="a must be"):
            one_number("a", wrong)


def test_no_sample_decides_on_the_edge():
    assert decide_equivalence(MARGIN, 1.0, 0.0, MARGIN).needed == np.inf
    assert decide_sign(0.0, 1.0, 1).needed == np.inf

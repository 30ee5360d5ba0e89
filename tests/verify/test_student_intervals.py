"""Student's intervals over replicated runs: how often they cover, refute and decide."""

from math import inf, sqrt

import numpy as np
import pytest
from scipy.stats import t as student

from quadlab import verify as v
from quadlab.verify.replicated import decide_interval, student_intervals

TRIALS = 40_000


def rates(truth, spread, settings, seeds, allowed=(-1.0, 1.0), confidence=0.99):
    """Shares of trials in which each setting is refuted, in which any is, and in which all are verified."""
    noise = np.random.default_rng(settings * 100 + seeds).standard_normal((TRIALS, settings, seeds))
    mean, _, half = student_intervals(truth + spread * noise, confidence)
    words = np.array(
        [
            [decide_interval(interval, allowed) for interval in zip(*row, strict=True)]
            for row in zip(mean - half, mean + half, strict=True)
        ]
    )
    refuted = words == v.REFUTED
    return refuted.mean(), refuted.any(axis=1).mean(), (words == v.VERIFIED).all(axis=1).mean()


def most(rate, trials=TRIALS):
    """What a share of trials stays below when the probability is `rate`, up to four standard deviations."""
    return rate + 4 * sqrt(rate * (1 - rate) / trials)


@pytest.mark.parametrize("seeds", [2, 4, 8])
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_a_single_setting_is_covered_at_the_stated_confidence(seeds, confidence):
    noise = np.random.default_rng(seeds).standard_normal((TRIALS, 1, seeds))
    mean, _, half = student_intervals(5 + 3 * noise, confidence)
    assert np.mean(abs(mean - 5) > half) == pytest.approx(1 - confidence, abs=most(1 - confidence) - (1 - confidence))


@pytest.mark.parametrize("seeds", [2, 4, 8])
def test_pooled_intervals_cover_at_least_at_the_confidence_and_are_those_of_more_seeds(seeds):
    noise = np.random.default_rng(seeds).standard_normal((TRIALS, 3, seeds))
    mean, error, half = student_intervals(noise, 0.99)
    assert np.mean(abs(mean) > half) < 0.01
    np.testing.assert_allclose(half / error, student.ppf(0.995, 3 * (seeds - 1)))


@pytest.mark.parametrize(("settings", "seeds"), [(1, 2), (1, 4), (3, 2), (3, 4), (3, 8)])
def test_false_refutations_are_as_rare_as_stated(settings, seeds):
    """Half of 1 - confidence where the truth lies at the margin; next to never where the formula is right."""
    assert rates(1.0, 0.5, settings, seeds)[0] <= most(0.005)
    assert rates(0.0, 0.5, settings, seeds)[1] <= 1e-4


@pytest.mark.parametrize(("seeds", "percent"), [(2, 5), (4, 2), (8, 1)])
def test_a_setting_that_scatters_alone_is_judged_by_its_own_scatter(seeds, percent):
    """With the pooled scatter alone it would be refuted at 9, 8, 7 % where the truth lies on the margin."""
    noise = np.random.default_rng(0).standard_normal((TRIALS, 3, seeds)) * np.array([[1e-6], [1e-6], [1.0]])
    mean, error, half = student_intervals(noise, 0.99)
    np.testing.assert_allclose(error[:, 2], noise[:, 2].std(axis=-1, ddof=1) / sqrt(seeds))
    rate = student.sf(student.ppf(0.995, 3 * (seeds - 1)), seeds - 1)
    assert np.mean(mean[:, 2] > half[:, 2]) == pytest.approx(rate, abs=most(rate) - rate)
    assert round(100 * rate) == percent


@pytest.mark.parametrize(("seeds", "percent"), [(2, 2), (4, 8), (8, 9)])
def test_heavy_tails_are_missed_less_often_and_skewed_ones_more(seeds, percent):
    rng = np.random.default_rng(seeds)
    for tails in (rng.standard_t(2, (TRIALS, 1, seeds)), rng.laplace(size=(TRIALS, 1, seeds))):
        mean, _, half = student_intervals(tails, 0.99)
        assert np.mean(abs(mean) > half) < 0.01
    skewed = np.exp(rng.standard_normal((TRIALS, 1, seeds))) - np.exp(0.5)
    mean, _, half = student_intervals(skewed, 0.99)
    # five standard errors of a share of a tenth are less than one per cent
    assert 100 * np.mean(abs(mean) > half) == pytest.approx(percent, abs=1)


@pytest.mark.parametrize(("seeds", "spread"), [(2, 0.1), (4, 0.3), (8, 0.5)])
def test_what_each_budget_decides(seeds, spread):
    """With three settings: the right formula is verified, and one that is two margins off is refuted, 9 in 10 times."""
    assert rates(0.0, spread, 3, seeds)[2] > 0.9
    assert rates(2.0, spread, 3, seeds)[1] > 0.9


@pytest.mark.parametrize("allowed", [(-inf, 1.0), (-1.0, inf)])
def test_one_sided_claims_have_the_same_rates(allowed):
    end = 1.0 if allowed[1] == 1.0 else -1.0
    assert rates(end, 0.5, 3, 4, allowed)[0] <= most(0.005)
    assert rates(2 * end, 0.3, 3, 4, allowed)[1] > 0.9
    assert rates(-5 * end, 0.5, 3, 4, allowed)[2] == 1

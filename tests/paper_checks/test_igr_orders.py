"""Claims that predict an order: it is a whole number, known exactly by expansion and told by runs."""

import pytest

from quadlab import verify as v

RIGHT = {
    ("igr.runge-kutta", "order off quadratics"): "stages",
    ("igr.heavy-ball-series", "truncations"): "order + 1",
    ("igr.reshuffling", "order of the error"): "2 + full_batch_part * abs(variance_part - replacement)",
    ("igr.reshuffling", "spread of orders"): "2 + antithetic",
}
WRONG = ("1.02 * ({})", "({}) + 0.04", "({}) + 0.05", "({}) - 1e-6", "({}) * (1 + 1e-9)", "({}) + 1")


@pytest.mark.parametrize("change", ["{}", "({0}) ** 2 / ({0})", *WRONG])
@pytest.mark.parametrize("place", RIGHT, ids=" ".join)
def test_both_kinds_of_evidence_tell_an_order_from_any_other(place, change):
    theorem, name = place
    result = v.load(theorem).challenge(change.format(RIGHT[place]), claim=name, rng=0, budget="quick")
    words = {item.kind: item.verdict.word for item in result.evidence}
    assert words == dict.fromkeys(("symbolic", "sampled"), v.REFUTED if change in WRONG else v.VERIFIED)

"""Claims that predict an order: it is a whole number, known exactly by expansion and told by runs."""

import numpy as np
import pytest

from quadlab import verify as v
from quadlab.verify.runner import attempt, judges

RIGHT = {
    ("igr.runge-kutta", "order off quadratics"): "stages",
    ("igr.heavy-ball-series", "truncations"): "order + 1",
    ("igr.reshuffling", "order of the error"): "2 + full_batch_part * abs(variance_part - replacement)",
    ("igr.reshuffling", "spread of orders"): "2 + antithetic",
}
WRONG = ("1.02 * ({})", "({}) + 0.04", "({}) + 0.05", "({}) - 1e-6", "({}) * (1 + 1e-9)", "({}) + 1")


@pytest.mark.parametrize("place", RIGHT, ids=" ".join)
def test_both_kinds_of_evidence_tell_an_order_from_any_other(place):
    theorem, name = place
    (claim,) = (entry for entry in v.load(theorem).claims if entry.name == name)
    prepared = {kind: prepare() for kind, prepare in judges(claim, np.random.SeedSequence(0), "quick").items()}
    for change in ("{}", "({0}) ** 2 / ({0})", *WRONG):
        formula = v.parse(change.format(RIGHT[place]), tuple(claim.domain))
        words = {kind: attempt(judge, formula, kind, name).verdict.word for kind, judge in prepared.items()}
        assert words == dict.fromkeys(("symbolic", "sampled"), v.REFUTED if change in WRONG else v.VERIFIED), change

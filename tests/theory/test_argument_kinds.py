"""Every argument of every closed form: what is no number is refused by name, whatever is one counts as it."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import sympy
from modified_loss_calls import GOOD
from variational_oracles import CASES

from quadlab.theory.modified_loss import (
    equal_loss_observable,
    heavy_ball_modified_eigenvalue,
    modified_eigenvalue,
    product_model_noisy_loss,
)
from quadlab.theory.variational import edge_fraction, hessian_projections

CHOICES = ("order", "stages", "batch_size", "multiplicative")
CALLS = {
    **{case.function: case.arguments for case in CASES},
    **GOOD,
    **{
        function: GOOD[function] | {"order": 1}
        for function in (modified_eigenvalue, heavy_ball_modified_eigenvalue, equal_loss_observable)
    },
    product_model_noisy_loss: GOOD[product_model_noisy_loss] | {"multiplicative": True},
    edge_fraction: {"signal": 0.5, "order": 1},
    hessian_projections: {
        "hessian": [[2.0, 0.5], [0.5, 1.0]], "gradient": [1.0, -0.5], "noise_covariance": [[1.0, 0.0], [0.0, 0.5]],
        "preconditioner": [1.0, 2.0],
    },
}  # fmt: skip
CALLS = {
    function: {name: float(x) if isinstance(x, Fraction) else x for name, x in arguments.items()}
    for function, arguments in CALLS.items()
}


def nested(depth):
    return [nested(depth - 1)] if depth else 1.0


HOSTILE = [
    "1", b"1", 1j, {}, {1}, object(), print, [], [[]], [[1], [1, 2]], [1, None], nested(40), np.zeros((2, 0)),
    float("nan"), [float("nan")], Decimal("nan"), Decimal("1e400"), np.longdouble("1e400"), 10**400, -(10**5000),
    Fraction(10**400, 3), np.datetime64("2020"), np.array(["1"]), np.array([1, "1"], dtype=object), np.array([1 + 0j]),
    np.zeros(2, dtype=[("a", float)]), sympy.nan, sympy.zoo, sympy.I, sympy.true,
]  # fmt: skip
every_function = pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)


@every_function
def test_what_is_no_number_is_refused_by_name(function):
    arguments = CALLS[function]
    for name in arguments:
        others = [] if name in CHOICES else [True] if name == "preconditioner" else [True, None]
        for bad in HOSTILE + others:
            try:
                found = function(**(arguments | {name: bad}))
            except ValueError as refused:
                assert name in str(refused)  # noqa: PT017 (the loop needs the rest of the values)
            else:
                assert np.size(getattr(found, "sharpness", found)) == 0, (name, bad)  # nothing in, nothing out


@every_function
@pytest.mark.parametrize(
    "kind", [Fraction, Decimal, np.float32, np.longdouble, np.array, lambda x: np.array(Fraction(x), dtype=object)]
)
def test_numbers_of_every_kind_count_as_doubles(function, kind):
    doubles = {
        name: float(np.float32(x)) if isinstance(x, float) and not x.is_integer() else x
        for name, x in CALLS[function].items()
    }
    others = {name: kind(x) if isinstance(x, float) else x for name, x in doubles.items()}
    assert repr(function(**others)) == repr(function(**doubles))

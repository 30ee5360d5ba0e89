"""Every closed form at arguments of all magnitudes, against itself on balls of thousands of bits.

Rounding one argument by eps changes the result by eps times a condition number, which the balls give too. A
double may err by a few such changes, and by one rounding of the result; never by an overflow on the way.
"""

from contextlib import contextmanager
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from flint import arb, ctx
from modified_loss_calls import GOOD
from variational_oracles import CASES

from quadlab.theory.modified_loss import (
    equal_loss_observable,
    heavy_ball_modified_eigenvalue,
    minibatch_gradient_penalty,
    modified_eigenvalue,
    product_model_drift_exponent,
    product_model_flow_limit,
    product_model_noisy_loss,
    runge_kutta_modified_eigenvalue,
)
from quadlab.theory.variational import (
    descent_probability,
    edge_crossing,
    edge_fraction,
    equilibrium_sharpness,
    hessian_projections,
)

EPS, LARGEST, SMALLEST = np.finfo(float).eps, np.finfo(float).max, np.finfo(float).tiny
ROUNDINGS = 4  # of the result and of each argument, for some twenty operations that each round once
CHOICES = ("order", "stages", "batch_size", "multiplicative")
COUNTS = ("samples", "parameter_count")
DECAYS = ("momentum", "first_decay", "second_decay")
SIGNED = ("mean", "gradient", "explicit_penalty", "residuals", "residual", "data_input", "target",
    "batch_gradients", "sample_gradients", "hessian", "kernel", "third_derivative", "parameters")  # fmt: skip
NUMBERS_ONLY = (equal_loss_observable, product_model_flow_limit, product_model_drift_exponent)


def calls():
    variational = {case.function: case.arguments for case in CASES}
    for function, arguments in (variational | GOOD).items():
        if function not in NUMBERS_ONLY:
            yield function, arguments
    yield from ((edge_fraction, {"signal": 1.0, "order": order}) for order in (1, 2, 3))
    yield from ((modified_eigenvalue, GOOD[modified_eigenvalue] | {"order": order}) for order in (0, 3))
    yield heavy_ball_modified_eigenvalue, GOOD[heavy_ball_modified_eigenvalue] | {"order": 3}
    yield runge_kutta_modified_eigenvalue, GOOD[runge_kutta_modified_eigenvalue] | {"stages": 4}
    yield product_model_noisy_loss, GOOD[product_model_noisy_loss] | {"multiplicative": True}


every_call = pytest.mark.parametrize(
    ("function", "arguments"), list(calls()), ids=lambda value: value.__name__ if callable(value) else ""
)


def converted(arguments, convert):
    """Each number by its argument's name and its own value, so that symmetric arrays stay symmetric."""

    def each(name, value):
        return [each(name, item) for item in value] if isinstance(value, list) else convert(name, value)

    return {name: value if name in CHOICES else each(name, value) for name, value in arguments.items()}


def values(result):
    if is_dataclass(result):
        return [getattr(result, field.name) for field in fields(result)]
    return list(np.asarray(result, dtype=object).flat)


def drawn(rng, function, arguments):
    """Magnitudes of 3, 100 or 300 decades around 1, inside the domain of the function."""
    decades, known = rng.choice([3, 100, 300]), {}

    def draw(name):
        if name in COUNTS:
            return float(np.floor(10 ** rng.uniform(0, 15)))
        if name in DECAYS:
            return float(rng.choice([0, rng.uniform(), 1 - 10 ** rng.uniform(-15, 0), 10 ** rng.uniform(-300, 0)]))
        size = float(10 ** rng.uniform(-decades, decades))
        if name == "degrees_of_freedom":
            return 2 + max(size, 1e-15)
        return float(rng.choice([-1, 1])) * size if name in SIGNED else size

    found = converted(arguments, lambda name, value: known.setdefault((name, value), draw(name)))
    share = float(rng.choice([10 ** rng.uniform(-20, 0), 1 - 10 ** rng.uniform(-8, 0)]))
    if "eigenvalue" in found:
        found["learning_rate"] = share / found["eigenvalue"]
    if "mean" in found:
        found["learning_rate"] = min(found["learning_rate"] * 10 ** rng.uniform(0, 20), LARGEST)
        found["mean"] = float(np.sqrt(found["noise_variance"] / found["samples"])) * 10 ** rng.uniform(-20, 1)
    if function is heavy_ball_modified_eigenvalue:
        found["learning_rate"] *= (1 - np.sqrt(found["momentum"])) ** 2
    if "level" in found:
        found["level"] = found["eigenvalue"] * 10 ** rng.uniform(-3, 1)
    if "sharpening" in found:
        found["noise_variance"] = min(share * found["sharpening"] / found["sharpness_gradient_squared"], LARGEST)
    if "eigenvalue" in found and function in GOOD:
        found["eigenvalue"] *= float(rng.choice([-1, 1]))
    return found


def exact(function, arguments):
    """The values to a hundred bits and more, or None where the number of bits needed is out of reach."""
    for bits in (400, 2500, 12_000):
        with workprec(bits):
            found = values(function(**converted(arguments, lambda _, x: arb(x))))
            if all(value.rel_accuracy_bits() > 100 or abs(value) < 5e-324 for value in map(arb, found)):
                return found
    return None


@contextmanager
def workprec(bits):
    before, ctx.prec = ctx.prec, bits
    try:
        yield
    finally:
        ctx.prec = before


def condition_numbers(function, arguments, reference):
    """sum over the arguments of |d log value / d log argument|, by moving each number a little."""
    step, total = arb(2) ** -200, [0.0] * len(reference)
    known = []
    converted(arguments, lambda name, value: name in COUNTS or known.append((name, value)))
    with workprec(12_000):
        for key in set(known):
            moved = converted(arguments, lambda *pair: arb(pair[1]) * (1 + step * (pair == key)))  # noqa: B023
            for index, (value, there) in enumerate(zip(reference, values(function(**moved)), strict=True)):
                if value != 0:
                    total[index] += float(abs(there / value - 1) / step)
    return total


@every_call
def test_no_intermediate_leaves_the_range_of_doubles(function, arguments):
    rng, compared = np.random.default_rng(0), 0
    for _ in range(30):
        point = drawn(rng, function, arguments)
        reference = exact(function, point)
        if reference is None:
            continue
        try:
            found = values(function(**point))
        except ValueError as refused:
            assert "range of doubles" in str(refused)  # noqa: PT017 (only this refusal is allowed)
            assert any(abs(value) > LARGEST for value in reference)
            continue
        conditions = condition_numbers(function, point, reference)
        for value, expected, condition in zip(found, reference, conditions, strict=True):
            if abs(expected) > LARGEST:
                assert value == float(expected) * np.inf
            else:
                allowed = ROUNDINGS * EPS * (1 + condition) * max(abs(expected), arb(SMALLEST))
                assert value.imag == 0
                assert abs(arb(float(value.real)) - expected) < allowed, point
                compared += abs(expected) > SMALLEST
    assert compared >= 5


FAR_APART = np.diag([1e-300, 1e300])


@pytest.mark.parametrize(
    ("call", "right"),
    [
        (lambda: equilibrium_sharpness(1e308, 1e200, 1e108, 1, 1), 1.0),
        (lambda: edge_crossing(1, 1, 1, 1e-170).gradient_norm, 2e170),
        (lambda: product_model_flow_limit([1e-200, 2e-200], 1, 1e250), (1e125, 1e125)),
        (lambda: minibatch_gradient_penalty([[1e-170]], 1e100), 2.5e-241),
        (lambda: minibatch_gradient_penalty([[1e170]], 1e-100), 2.5e239),
        (lambda: minibatch_gradient_penalty([[1e200]], 0), 0.0),
        (lambda: equal_loss_observable([1.0], [1e200], [1.0], 1, 0.1), 2.0),
        (lambda: descent_probability(1e12, 1, 1, 1, 1), 4.839414490387707e-13),
        (lambda: descent_probability(1e17, 1, 1, 1, 1), 4.839414490382867e-18),
        (lambda: descent_probability(7041.0126, -0.02143, 490.195, 82916.57, 2), 1.8707507803019432e-12),
        (lambda: hessian_projections([[1e308]], [1], [[1e-320]]).eigenvalues, [1e308]),
        (lambda: hessian_projections([[1e308]], [1], [[1e-320]]).noise_variances, [1e-320]),
        (lambda: hessian_projections(FAR_APART, [1e-160, 1e160], np.eye(2), [1e-300, 1e300]).eigenvalues, 1),
        (lambda: hessian_projections(FAR_APART, [0, 1e160], np.eye(2), [1e-300, 1e300]).gradient[1] ** 2, 1e20),
    ],
)  # fmt: skip
def test_values_whose_way_leaves_the_range_of_doubles(call, right):
    found = call()
    np.testing.assert_allclose(found, np.broadcast_to(right, np.shape(found)), rtol=1e-15)

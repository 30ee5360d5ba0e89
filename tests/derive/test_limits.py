"""Stability limits by cases, against the spectral radii of the numeric moment operators."""

import numpy as np
import pytest
import sympy

from quadlab import derive, moments
from quadlab.dynamics import Noise, UpdateRule, parameter
from quadlab.theory.intervals import Interval

X, Y, XI = sympy.symbols("x y xi", real=True)
CURVATURE, RATE, MOMENTUM = map(parameter, ("curvature", "learning_rate", "momentum"))
ASIDE, DAMPING, DECAY, SCALE = map(parameter, ("aside", "damping", "decay", "scale"))
ALPHA, BETA = sympy.symbols("alpha beta", real=True)
AVERAGE = MOMENTUM * Y + (1 - MOMENTUM) * CURVATURE * X
GRADIENT = CURVATURE * X

EXTRAGRADIENT = UpdateRule("extragradient", (X,), (X - RATE * CURVATURE * (X - ASIDE * GRADIENT),))
OPTIMISTIC = UpdateRule("optimistic", (X, Y), (X - (ALPHA + BETA) * GRADIENT + BETA * CURVATURE * Y, X))
QUASI_HYPERBOLIC = UpdateRule(
    "quasi-hyperbolic", (X, Y), (X - RATE * ((1 - SCALE) * GRADIENT + SCALE * AVERAGE), AVERAGE)
)
DAMPED = UpdateRule("damped Newton", (X,), (X - RATE * GRADIENT / (CURVATURE + DAMPING),))
NOISY_NESTEROV = UpdateRule(
    "noisy Nesterov",
    (X, Y),
    ((1 - RATE * CURVATURE * (1 + SCALE * XI)) * (X + MOMENTUM * (X - Y)), X),
    (Noise(XI),),
)
NOISY_DECAY = UpdateRule(
    "noisy decay", (X,), ((1 - DECAY) * X - RATE * GRADIENT + SCALE * GRADIENT * XI,), (Noise(XI),)
)
THIRD_ORDER = UpdateRule(
    "third order", (X,), (X * sum((-RATE * CURVATURE) ** k / sympy.factorial(k) for k in range(4)),)
)
OUTWARDS = UpdateRule("outwards", (X,), (X + RATE * GRADIENT,))
TOUCHING = UpdateRule("touching", (X,), (X * (1 - RATE * (CURVATURE - BETA) ** 2),),
                      domain={"beta": Interval(-1, 1), "learning_rate": Interval(0, 1)})  # fmt: skip
KNOWN = (EXTRAGRADIENT, OPTIMISTIC, QUASI_HYPERBOLIC, DAMPED, TOUCHING, OUTWARDS)


def test_known_limits():
    limits = {rule: (derive.sharpness_limit(rule), derive.mean_square_limit(rule)) for rule in KNOWN}
    for rule, values, expected in (
        (EXTRAGRADIENT, {RATE: 1, ASIDE: 0.01}, 2.041684766872797),
        (EXTRAGRADIENT, {RATE: 1, ASIDE: 1}, 1),
        (EXTRAGRADIENT, {RATE: 8, ASIDE: 1}, 1 / 2),
        (OPTIMISTIC, {ALPHA: 1, BETA: -0.6}, 5 / 3),
        (OPTIMISTIC, {ALPHA: 1, BETA: -0.25}, 4),
        (OPTIMISTIC, {ALPHA: 1, BETA: 1}, 2 / 3),
        (OPTIMISTIC, {ALPHA: 0, BETA: -1}, 0),
        (OPTIMISTIC, {ALPHA: -1, BETA: -1}, 0),
        (QUASI_HYPERBOLIC, {RATE: 1, MOMENTUM: 0.9, SCALE: 1.2}, 5 / 9),
        (QUASI_HYPERBOLIC, {RATE: 1, MOMENTUM: 0.9, SCALE: 1}, 38),
        (DAMPED, {RATE: 4, DAMPING: 3}, 3),
        (DAMPED, {RATE: 2, DAMPING: 3}, np.inf),
        (DAMPED, {RATE: 1, DAMPING: 3}, np.inf),
        (TOUCHING, {RATE: 0.5, BETA: 0.5}, 0.5),
        (TOUCHING, {RATE: 0.5, BETA: -0.5}, 1.5),
        (OUTWARDS, {RATE: 1}, 0),
    ):
        found = [float(limit.subs(values)) for limit in limits[rule]]
        assert found == pytest.approx([expected] * 2, rel=1e-12), (rule.name, values)


@pytest.mark.parametrize(
    "rule",
    [EXTRAGRADIENT, OPTIMISTIC, QUASI_HYPERBOLIC, DAMPED, NOISY_NESTEROV, NOISY_DECAY, THIRD_ORDER],
    ids=lambda rule: rule.name,
)
def test_second_moments_converge_up_to_the_limit_and_not_at_it(rule):
    limit, rng = derive.mean_square_limit(rule), np.random.default_rng(3)
    for _ in range(15):
        draws = {0: rng.exponential, -np.inf: rng.normal}
        values = {name: draws[interval.lower]() for name, interval in rule.domain.items() if name != "curvature"}
        if "momentum" in values:
            values["momentum"] = rng.uniform()
        end = float(limit.subs({rule.symbol(name): value for name, value in values.items()}))
        reach = end if 0 < end < np.inf else 10.0
        radii = [
            moments.second_moment_operator(rule, eigenvalues=[curvature], **values).radius
            for curvature in reach * np.array([0.01, 0.3, 0.6, 0.9, 0.999, 1.001])
        ]
        stable = 6 if end == np.inf else 5 if end > 0 else 0
        assert [radius < 1 for radius in radii] == [True] * stable + [False] * (6 - stable)


def test_the_names_of_parameters_do_not_matter():
    expected = derive.sharpness_limit(EXTRAGRADIENT).subs({RATE: 1, ASIDE: 0.01})
    for first, second in (("a", "z"), ("z", "a"), ("zeta_1", "learning_rate")):
        rate, aside = parameter(first), parameter(second)
        renamed = UpdateRule("renamed", (X,), (X - rate * CURVATURE * (X - aside * GRADIENT),))
        assert float(derive.sharpness_limit(renamed).subs({rate: 1, aside: 0.01})) == pytest.approx(float(expected))


def test_the_domain_of_the_parameters_decides():
    narrow = {"aside": Interval(0.2, 1), "learning_rate": Interval(0, 1)}
    rule = UpdateRule("extragradient", (X,), EXTRAGRADIENT.update, domain=narrow)
    assert derive.sharpness_limit(rule) == 1 / ASIDE
    far = UpdateRule("far", (X,), (X * (1 - RATE + XI * (2 - CURVATURE)),), (Noise(XI),),
                     {"learning_rate": Interval(0.5, 1.5), "curvature": Interval(2, 9)})  # fmt: skip
    assert float(derive.mean_square_limit(far).subs(RATE, 1)) == pytest.approx(3, rel=1e-14)
    late = UpdateRule("late", (X,), (X * (2 - CURVATURE),), domain={"curvature": Interval(0, 1)})
    assert derive.sharpness_limit(late) == 0
    leaking = {"momentum": Interval(0, 1)}
    leaky = UpdateRule("leaky", (X, Y), (X - RATE * GRADIENT, (1 - MOMENTUM) * Y + X), domain=leaking)
    assert derive.sharpness_limit(leaky) == 2 / RATE
    with pytest.raises(ValueError, match="where means of leaky cease to converge has no closed form"):
        derive.sharpness_limit(UpdateRule("leaky", (X, Y), leaky.update))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            UpdateRule("kicked", (X,), (X - RATE * GRADIENT + 0.6 * X * XI,), (Noise(XI),),
                       {"learning_rate": Interval(0.999999, 1.000001)}),
            r"kicked have no limit below which they converge: at learning_rate = 1 they converge for curvatures in "
            r"\(0.2, 1.8\), not from 0 on",
        ),
        (UpdateRule("free", (X,), (2 * X,)), "free has no parameter curvature, so second moments have no limit in it"),
        (UpdateRule("walk", (X, Y), (X - RATE * GRADIENT, X + Y)), "walk converge at no curvature: a part"),
        (
            UpdateRule("root", (X,), (X * (1 - RATE * sympy.sqrt(CURVATURE)),)),
            "the update of root must be rational in the curvature",
        ),
        (
            # its determinant is of degree six with four parameters: roots in radicals and resultants take minutes
            UpdateRule(
                "many", (X, Y),
                (X - CURVATURE * (RATE * X + MOMENTUM * GRADIENT + BETA * CURVATURE * Y) + SCALE * X * XI, AVERAGE),
                (Noise(XI),),
            ),
            "many have no limit below which they converge: at beta = .*, scale = .* they converge for curvatures in",
        ),
        (
            UpdateRule("quintic", (X,), (X * (1 - RATE * CURVATURE * (1 + DECAY * CURVATURE**4)),)),
            "quintic cease to converge has no closed form in decay, learning_rate",
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)  # fmt: skip
def test_there_is_no_limit_without_an_interval_at_the_start_of_the_domain_or_a_closed_form(rule, message):
    with pytest.raises(ValueError, match=message):
        derive.mean_square_limit(rule)

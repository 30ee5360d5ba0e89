"""Rules are data: what they accept, and that each is the optimiser it claims to be."""

import inspect

import numpy as np
import pytest
import sympy

from quadlab import derive, dynamics, simulate
from quadlab.dynamics import Noise, UpdateRule, parameter
from quadlab.dynamics.deterministic import POSITION
from quadlab.dynamics.rule import ARGUMENTS, PARAMETERS
from quadlab.moments import CoupledMoments
from quadlab.problems import Quadratic
from quadlab.theory.intervals import Interval

X, Y, XI = sympy.symbols("x y xi")
NOISE, RATE, CURVATURE = parameter("noise_variance"), parameter("learning_rate"), parameter("curvature")
CURVATURES = np.array([0.3, 0.9, 1.7])
DETERMINISTIC = [
    (dynamics.gradient_descent(), simulate.GradientDescent(0.7), {}),
    (dynamics.heavy_ball(), simulate.HeavyBall(0.7, 0.8), {"momentum": 0.8}),
    (dynamics.nesterov(), simulate.Nesterov(0.7, 0.4), {"momentum": 0.4}),
]


@pytest.mark.parametrize(("rule", "optimiser", "parameters"), DETERMINISTIC, ids=lambda v: getattr(v, "name", ""))
def test_deterministic_rules_follow_the_optimiser_on_full_matrices(rule, optimiser, parameters):
    problem = Quadratic.random(CURVATURES, 0)
    start = np.array([1.0, -2.0, 0.5])
    weights = {"weights": lambda problem, now, first: now.T}
    full = simulate.simulate_weights(
        problem, optimiser, steps=12, replicas=1, initial=start, observables=weights, record=range(13)
    )
    modes = simulate.simulate(
        rule,
        eigenvalues=problem.eigenvalues,
        initial=problem.eigenvectors.T @ start,
        steps=12,
        replicas=1,
        observables="position",
        record=range(13),
        learning_rate=0.7,
        **parameters,
    )
    np.testing.assert_allclose(full.mean["weights"] @ problem.eigenvectors, modes.mean["position"], atol=1e-12)


STOCHASTIC = [
    (dynamics.sgd_additive_noise(), lambda c: simulate.StochasticGradientDescent(0.5, c), {}, True),
    (
        dynamics.sgd_multiplicative_noise(),
        lambda c: simulate.StochasticGradientDescent(0.5, relative_variance=0.3),
        {"relative_variance": 0.3},
        False,
    ),
    (
        dynamics.heavy_ball_multiplicative_noise(),
        lambda c: simulate.StochasticGradientDescent(0.5, relative_variance=0.3, momentum=0.5),
        {"relative_variance": 0.3, "momentum": 0.5},
        False,
    ),
    (
        dynamics.variational_gradient_descent(),
        lambda c: simulate.VariationalGradientDescent(0.5, 3, c),
        {"samples": 3},
        True,
    ),
    (
        dynamics.variational_gradient_descent(3),
        lambda c: simulate.VariationalGradientDescent(0.5, 3, c),
        {},
        True,
    ),
    (
        dynamics.variational_gradient_descent(3, antithetic=True),
        lambda c: simulate.VariationalGradientDescent(0.5, 3, c, antithetic=True),
        {},
        True,
    ),
]


@pytest.mark.parametrize(
    ("rule", "optimiser", "parameters", "additive"), STOCHASTIC, ids=lambda v: getattr(v, "name", "")
)
def test_stochastic_rules_have_the_second_moments_of_the_optimiser(rule, optimiser, parameters, additive):
    """The rule's exact moments on a covariance that does not commute, against the optimiser on full matrices."""
    problem = Quadratic.random(CURVATURES, 1)
    covariance = Quadratic.random([0.5, 1.0, 2.0], 2).hessian
    start = np.array([1.0, -1.0, 2.0])
    operator = CoupledMoments(
        rule,
        hessian=problem.hessian,
        noise_covariance=covariance if additive else None,
        learning_rate=0.5,
        **parameters,
    )
    state = np.concatenate([start] * len(rule.state))
    exact = operator.propagate(np.outer(state, state), 4)[:3, :3]
    products = {"products": lambda problem, now, first: np.einsum("ra,rb->abr", now, now).reshape(9, -1)}
    ensemble = simulate.simulate_weights(
        problem, optimiser(covariance), steps=4, replicas=40_000, initial=start, observables=products, rng=5
    )
    misses = (ensemble.mean["products"][0] - exact.ravel()) / ensemble.standard_error["products"][0]
    assert np.abs(misses).max() < 5


@pytest.mark.parametrize("samples", [2, 4])
def test_antithetic_pairs_walk_like_gradient_descent(samples):
    problem, start = Quadratic.random(CURVATURES, 0), np.ones(3)
    weights = {"weights": lambda problem, now, first: now.T}
    options = {"steps": 5, "replicas": 3, "initial": start, "observables": weights, "rng": 0}
    pairs = simulate.VariationalGradientDescent(0.5, samples, 2.0, antithetic=True)
    noisy = simulate.simulate_weights(problem, pairs, **options)
    plain = simulate.simulate_weights(problem, simulate.GradientDescent(0.5), **options)
    np.testing.assert_allclose(noisy.mean["weights"], plain.mean["weights"], atol=1e-13)
    rule = dynamics.variational_gradient_descent(samples, antithetic=True)
    assert sympy.expand(rule.update[0] - dynamics.gradient_descent().update[0]) == 0


def test_student_t_weights_have_the_stated_variance():
    draws = simulate.simulate_weights(
        Quadratic.diagonal([1.0]),
        simulate.VariationalGradientDescent(1.0, 2, 0.5, degrees_of_freedom=10),
        steps=1,
        replicas=200_000,
        rng=3,
    )
    exact = 0.5 * 0.5 * (10 / 8) / 2
    assert abs(draws.mean["excess_loss"][0] - exact) < 5 * draws.standard_error["excess_loss"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((X, Y), (X,)), "one expression for each of the 2 state symbols"),
        (((X, X), (X, X)), "must be distinct"),
        (((X,), (X * sympy.Symbol("steps"),)), "must not have a name of simulate's own, .*, got 'steps'"),
        (((X,), (X * sympy.Symbol("a", positive=True) + sympy.Symbol("a"),)), "distinct names"),
        (((X,), (X * parameter("\uff52ng"),)), "must not have a name of simulate's own, .*, got '\uff52ng'"),
        (((X,), (X * parameter("\uff43urvature"),)), "must not be read as curvature by Python"),
        (((X,), (X * sympy.oo,)), "update must hold finite expressions, got oo"),
        ((X, (X,)), "state must be a tuple, got x"),
        ((("x",), (X,)), "state must hold objects of the class Symbol, got 'x'"),
        (((X,), (X + XI,), (XI,)), "noises must hold objects of the class Noise, got xi"),
        (((X,), (X * sympy.Symbol("curvature", real=True),)), r"curvature must be parameter\('curvature'\)"),
    ],
)
def test_rules_refuse_what_cannot_be_compiled(arguments, message):
    with pytest.raises(ValueError, match=message):
        UpdateRule("mine", *arguments)


@pytest.mark.parametrize(
    "forgotten",
    [
        *map(sympy.Symbol, ("xi", "noise", "w", "beta")),
        *(
            sympy.Symbol(name, real=True)
            for name in ("xi", "xi_2", "eps1", "epsilon_mean", "gradient_noise", "gradnoise", "\u03f5", "z")
        ),
    ],
    ids=str,
)
def test_a_noise_that_was_not_listed_is_asked_about(forgotten):
    """A symbol may take any sign and nobody says that it is no noise: it must be declared as the one or the other."""
    update = (X - RATE * (CURVATURE * X + forgotten),)
    with pytest.raises(ValueError, match=f"^{forgotten} is neither a state nor a noise. If it is random, list it"):
        UpdateRule("mine", (X,), update)
    assert UpdateRule("mine", (X,), update, (Noise(forgotten),)).parameters == (CURVATURE, RATE)
    declared = UpdateRule("mine", (X,), update, domain={forgotten.name: Interval(-1, 1)})
    assert declared.domain[forgotten.name] == Interval(-1, 1)


@pytest.mark.parametrize("name", ["noise_scale", "beta", "offset", "azimuth", "lexicon"])
def test_a_real_symbol_that_is_not_called_like_a_draw_is_a_parameter(name):
    symbol = sympy.Symbol(name, real=True)
    assert UpdateRule("mine", (X,), (X * symbol,)).parameters == (symbol,)


def test_a_parameter_is_known_by_the_name_that_python_reads():
    symbol = parameter("\u03d5")  # Python turns this letter into the common phi
    rule = UpdateRule("mine", (X,), (X * symbol,))
    assert rule.check_parameters({"\u03c6": 2.0}) == rule.check_parameters({"\u03d5": 2.0}) == {"\u03d5": 2.0}
    assert rule.symbol("\u03c6") == symbol


@pytest.mark.parametrize("interval", [Interval(-1, 1), (0, 1)])
def test_a_domain_is_an_interval_inside_what_its_symbol_assumes(interval):
    with pytest.raises(ValueError, match="domain (of decay must lie inside .*|must give an Interval for decay)"):
        UpdateRule("mine", (X,), (X * parameter("decay"),), domain={"decay": interval})


def test_rule_reports_missing_unknown_and_bad_parameters():
    rule = dynamics.heavy_ball()
    with pytest.raises(ValueError, match="heavy ball needs a value for learning_rate, momentum"):
        rule.check_parameters({"curvature": 1.0})
    with pytest.raises(ValueError, match="heavy ball has no parameter rate, only"):
        rule.check_parameters({"curvature": 1.0, "learning_rate": 0.1, "momentum": 0.1, "rate": 1})
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\), got 1"):
        rule.check_parameters({"curvature": 1.0, "learning_rate": 0.1, "momentum": 1.0})
    with pytest.raises(ValueError, match="has no symbol 'eta', only position"):
        rule.symbol("eta")


def test_variational_rule_refuses_bad_options():
    with pytest.raises(ValueError, match="samples must be a whole number >= 1, got 0"):
        dynamics.variational_gradient_descent(0)
    with pytest.raises(ValueError, match="law must be one of gaussian, student_t, got 'cauchy'"):
        dynamics.variational_gradient_descent(law="cauchy")
    with pytest.raises(ValueError, match="antithetic"):
        dynamics.variational_gradient_descent(antithetic=True)
    with pytest.raises(ValueError, match="samples must be a whole number"):
        dynamics.progressive_sharpening(None)


def test_a_user_states_a_rule_in_a_few_lines():
    """Gradient descent with weight decay and noise: everything else follows from the statement."""
    decay = parameter("decay")
    rate, curvature = parameter("learning_rate"), parameter("curvature")
    rule = UpdateRule("decayed", (X,), (X - rate * ((curvature + decay) * X + XI),), (Noise(XI),))
    assert sympy.simplify(derive.sharpness_limit(rule) - (2 / rate - decay)) == 0


@pytest.mark.parametrize(
    ("rule", "variance"),
    [
        (dynamics.sgd_additive_noise(), NOISE),
        (dynamics.sgd_multiplicative_noise(), parameter("relative_variance") * (CURVATURE * POSITION) ** 2),
        (dynamics.heavy_ball_multiplicative_noise(), parameter("relative_variance") * (CURVATURE * POSITION) ** 2),
        (dynamics.variational_gradient_descent(), CURVATURE**2 * NOISE / parameter("samples")),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_sampled_gradient_has_the_stated_variance(rule, variance):
    gradient = -rule.update[0] / RATE
    second, mean = (derive.expectation(power, rule.noises) for power in (gradient**2, gradient))
    assert sympy.expand(second - mean**2 - variance) == 0


@pytest.mark.parametrize("samples", [1, 2])
def test_progressive_sharpening_descends_its_loss_averaged_over_weights(samples):
    """Differentiate (S_0 + sqrt(b) y) x^2 / 2 - a y / sqrt(b) at the displaced weights; S_0 + sqrt(b) y is S."""
    rule = dynamics.progressive_sharpening(samples)
    x, y, start = sympy.symbols("x y S_0")
    rise, slope = parameter("sharpening"), sympy.sqrt(parameter("sharpness_gradient_squared"))
    loss = (start + slope * y) * x**2 / 2 - rise * y / slope
    scale, (position, sharpness) = sympy.sqrt(NOISE), rule.state
    height = (sharpness - start) / slope
    shifts = [
        {x: position + scale * rule.symbol(f"epsilon_{k}"), y: height + scale * rule.symbol(f"eta_{k}")}
        for k in range(1, samples + 1)
    ]
    down, across = (sum(loss.diff(v).subs(shift, simultaneous=True) for shift in shifts) / samples for v in (x, y))
    assert sympy.expand(rule.update[0] - (position - RATE * down)) == 0
    assert sympy.expand(rule.update[1] - (start + slope * (height - RATE * across))) == 0


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_symbol_is_positive_unless_zero_is_admitted(name):
    try:
        PARAMETERS[name].check(name, 0.0)
    except ValueError:
        assert parameter(name).is_positive
    else:
        assert parameter(name).is_positive or parameter(name).is_nonnegative
        assert (parameter(name).is_positive is True) == (name == "curvature")


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("noise_variance", -0.1, "non-negative"),
        ("sharpening", 0.0, "positive"),
        ("sharpness_gradient_squared", 0.0, "positive"),
        ("degrees_of_freedom", 2.0, "above 2"),
    ],
)
def test_rules_know_the_range_of_their_parameters(name, value, accepted):
    rule = dynamics.progressive_sharpening(1, law="student_t")
    good = {symbol.name: 3.0 for symbol in rule.parameters}
    assert rule.check_parameters(good) == good
    with pytest.raises(ValueError, match=f"{name} must be {accepted}"):
        rule.check_parameters({**good, name: value})


def test_a_rule_may_narrow_a_parameter_and_takes_others_as_their_symbols_say():
    decay, free = parameter("decay"), sympy.Symbol("free", real=True)
    rule = UpdateRule("mine", (X,), ((1 - decay) * X + free,), domain={"decay": Interval(0, 1)})
    assert rule.check_parameters({"decay": 0.5, "free": -2.0}) == {"decay": 0.5, "free": -2.0}
    with pytest.raises(ValueError, match=r"decay must be in \(0, 1\), got 1.5"):
        rule.check_parameters({"decay": 1.5, "free": 0.0})
    averaged = dynamics.with_running_average(rule, X)
    with pytest.raises(ValueError, match="memory must be positive and finite, got -2"):
        averaged.check_parameters({"decay": 0.5, "free": 0.0, "memory": -2.0})
    with pytest.raises(ValueError, match="domain must name parameters of the rule, got deacy"):
        UpdateRule("mine", (X,), ((1 - decay) * X,), domain={"deacy": Interval(0, 1)})


def test_parameters_have_no_name_of_an_argument_of_simulate():
    taken = inspect.signature(simulate.simulate).parameters.values()
    assert {argument.name for argument in taken if argument.kind != argument.VAR_KEYWORD} == ARGUMENTS

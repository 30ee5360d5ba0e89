"""Explicit and implicit gradient penalties add up: training on E + mu |g|^2 follows the flow of E + (mu + h/4) |g|^2.

The learning rate h already penalises the squared gradient with h/4, so an explicit penalty of strength mu comes on top
of it; a negative one, mu = -h/4, takes the implicit penalty away and leaves plain gradient flow, one order more closely
than gradient descent on E follows it. The sum holds to first order for mu proportional to h. A penalty mu that stays
fixed while h shrinks has to go into the loss first: E_mu = E + mu |g|^2 is followed along E_mu + (h/4) |grad E_mu|^2.
"""

from functools import cache

import numpy as np
import sympy

from quadlab import derive
from quadlab.problems import GradientPenalty, LogisticRegression, ProductModel
from quadlab.report import Figure, Panel, computed, run, theory
from quadlab.simulate import GradientDescent, descend, flow, gradient_flow
from quadlab.theory import modified_loss
from quadlab.theory.intervals import Interval, positive, real
from quadlab.verify import ASYMPTOTIC, IDENTITY, Claim, Derivation, Domain, ErrorOrder, Theorem, Window

RATE, EIGENVALUE = sympy.symbols("learning_rate eigenvalue", positive=True)
RATIO, EXPLICIT = sympy.symbols("penalty_ratio explicit_penalty", real=True)
START, TIME = np.array([1.6, 1.9]), 0.4
RATES = tuple(TIME / steps for steps in (400, 320, 250, 200, 160, 125, 100))
RATIOS = (0.0, 0.25, 1.0, -0.25)
FIXED = 0.5


def total_penalty(learning_rate, penalty_ratio):
    """Coefficient of |grad E|^2 for an explicit penalty mu = penalty_ratio * h."""
    return modified_loss.combined_penalty(learning_rate, penalty_ratio * learning_rate)


def total_rate(learning_rate, penalty_ratio, parameter_count):
    """The same where penalties are written as rates of R = |grad E|^2 / P."""
    explicit = penalty_ratio * learning_rate
    return explicit + modified_loss.regularization_rate(learning_rate, parameter_count)


def meets_the_flow(strength, explicit, followed):
    """Residuals: a strength must vanish with h, and its slope at h = 0 must take away the difference of order h^2.

    That is, of the step on E + explicit h |g|^2 from the flow of E + followed h |g|^2 for time h, at the origin.
    """
    slope, state = strength.diff(RATE).subs(RATE, 0), sympy.symbols("a b")
    loss = derive.taylor_loss(state, 3)
    field = -sympy.Matrix([loss]).jacobian(state).T
    penalty_field = -sympy.Matrix([field.dot(field)]).jacobian(state).T
    left = (explicit(slope) - followed(slope)) * penalty_field - field.jacobian(state) * field / 2
    left = left.subs(dict.fromkeys(state, 0)).applyfunc(sympy.expand)
    residuals = {f"order h^2, component {k + 1}": entry for k, entry in enumerate(left)}
    return Derivation((("loss", loss),), {"strength at h = 0": strength.subs(RATE, 0), **residuals})


def rate_in_two_parameters(formula):
    """The rate of R = |g|^2 / 2 is twice the coefficient of |g|^2, on either side."""
    strength = formula(RATE, RATIO, sympy.Integer(2)) / 2
    return meets_the_flow(strength, lambda slope: RATIO / 2, lambda slope: slope)


def penalty_followed(problem, start, explicit, learning_rate):
    """The c for which the flow of E + c |g|^2 meets the step on E + explicit |g|^2, along H g."""
    turned = problem.hessian_product(start, problem.gradient(start))
    step = descend(GradientPenalty(problem, explicit), GradientDescent(learning_rate), start, steps=1)[1]
    miss = step - gradient_flow(problem, start, learning_rate)
    return -(miss @ turned) / (2 * learning_rate * turned @ turned)


def followed_on_product_model(learning_rate, penalty_ratio):
    return penalty_followed(ProductModel(), START, penalty_ratio * learning_rate, learning_rate)


@cache
def classification(parameter_count):
    """Logistic regression of random labels on random features, and weights to start from."""
    generator = np.random.default_rng(parameter_count)
    features = generator.standard_normal((40, parameter_count))
    labels = (generator.random(40) < 0.5).astype(float)
    return LogisticRegression(features, labels, ridge=0.1), 1 + generator.random(parameter_count)


def followed_rate(learning_rate, penalty_ratio, parameter_count):
    """The same on logistic regression, for an explicit penalty mu R with R = |g|^2 / P, as a rate of R."""
    problem, start = classification(int(parameter_count))
    explicit = penalty_ratio * learning_rate / parameter_count
    return parameter_count * penalty_followed(problem, start, explicit, learning_rate)


def counter_penalty_measured(learning_rate):
    """The explicit penalty whose step meets plain gradient flow along H g, found from the step without one."""
    return -penalty_followed(ProductModel(), START, 0.0, learning_rate)


@cache
def compiled_field():
    """Minus the gradient of E_mu + c |grad E_mu|^2, E_mu = E + mu |grad E|^2, as a function of a, b, mu, c."""
    a, b, explicit, further = sympy.symbols("a b explicit further")
    loss = (sympy.Rational(3, 5) - a * b) ** 2 / 2
    for strength in (explicit, further):
        loss += strength * (loss.diff(a) ** 2 + loss.diff(b) ** 2)
    return sympy.lambdify((a, b, explicit, further), [-loss.diff(a), -loss.diff(b)], cse=True)


@cache
def trained(strength, learning_rate):
    """Where gradient descent on E + strength |g|^2 arrives at time 0.4."""
    velocity, theta = compiled_field(), START.tolist()
    for _ in range(round(TIME / learning_rate)):
        theta = [p + learning_rate * v for p, v in zip(theta, velocity(*theta, strength, 0.0), strict=True)]
    return np.array(theta)


def strayed(explicit, followed, learning_rate, further=0.0):
    """Distance at time 0.4 of gradient descent on E + explicit |g|^2 from the flow of E_mu + further |grad E_mu|^2 with
    mu = followed.
    """
    velocity = compiled_field()
    end = flow(lambda theta: np.array(velocity(*theta, followed, further)), START, TIME)
    return float(np.linalg.norm(trained(explicit, learning_rate) - end))


def error_with(formula, setting, rate):
    ratio = setting["penalty_ratio"]
    return strayed(ratio * rate, float(formula(rate, ratio)), rate)


def error_at_fixed_penalty(formula, setting, rate):
    mu = setting["explicit_penalty"]
    return strayed(mu, mu, rate, further=float(formula(rate, mu)))


def error_of_sum(formula, setting, rate):
    explicit = FIXED if setting["fixed"] else rate
    return strayed(explicit, float(modified_loss.combined_penalty(rate, explicit)), rate)


def rate_of_mode(steepness):
    """First order in h of the rate at which gradient descent decays along an eigenvector: -log(1 - h l)/h."""
    return sympy.series(-sympy.log(1 - RATE * steepness) / RATE, RATE, 0, 2).removeO()


def penalised_mode(formula):
    """Along an eigenvector E_mu has the curvature l_mu = l + 2 mu l^2, and c |grad E_mu|^2 adds 2 c l_mu^2."""
    steep = EIGENVALUE + 2 * EXPLICIT * EIGENVALUE**2
    missing = rate_of_mode(steep) - steep - 2 * formula(RATE, EXPLICIT) * steep**2
    return Derivation((("rate of the iterates' decay", rate_of_mode(steep)),), {"first order": missing / RATE})


def order_of_sum(formula):
    """First power of h in which the rate of the iterates differs from that of the flow of E + (mu + h/4) |g|^2."""
    residuals = {}
    for fixed, explicit in enumerate((RATIO * RATE, EXPLICIT)):
        steep = EIGENVALUE + 2 * explicit * EIGENVALUE**2
        flow_rate = EIGENVALUE + 2 * modified_loss.combined_penalty(RATE, explicit) * EIGENVALUE**2
        exact = sum(RATE**k * steep ** (k + 1) / (k + 1) for k in range(3))
        left = sympy.Poly(sympy.expand(exact - flow_rate), RATE)
        first = min(power for (power,) in left.monoms())
        residuals["mu fixed" if fixed else "mu proportional to h"] = formula(sympy.Integer(fixed)) - first
    return Derivation((("curvature of E_mu", EIGENVALUE + 2 * EXPLICIT * EIGENVALUE**2),), residuals)


def errors_of_flows(rng):
    """Distances against h, with the sum and with mu alone; and at one h against the penalty that the flow carries."""
    rates, rows = TIME / np.array((400, 280, 200, 140, 100, 70, 50)), []
    names = ("μ = 0", "μ = h/4", "μ = h", "μ = −h/4")
    cases = [(name, ratio, ratio + 0.25, 2) for name, ratio in zip(names, RATIOS, strict=True)]
    for name, ratio, followed, order in [*cases, ("μ = h/4, flow without h/4", 0.25, 0.25, 1)]:
        errors = [strayed(ratio * rate, followed * rate, rate) for rate in rates]
        rows += theory("step", name, rates, errors[0] * (rates / rates[0]) ** order)
        rows += computed("step", name, rates, errors)
    extra, rate = np.linspace(-0.25, 0.75, 11), TIME / 400
    for name, ratio in zip(names, RATIOS, strict=True):
        errors = [strayed(ratio * rate, (ratio + more) * rate, rate) for more in extra]
        rows += theory("penalty", name, extra, errors[0] * np.abs(extra - 0.25) / 0.5)
        rows += computed("penalty", name, extra, errors)
    return rows


def few_ticks(axes, rows):
    axes.set_xticks([1e-3, 2e-3, 4e-3, 8e-3], ["0.001", "0.002", "0.004", "0.008"])
    axes.minorticks_off()
    axes.set_ylim(1e-6, 1)


def mark_quarter(axes, rows):
    axes.axvline(0.25, ymax=0.55, color="0.5", linewidth=0.8)
    axes.set_ylim(bottom=0)


SMALL = Window("learning_rate", 2e-4, 2e-3, order=1)
ADDED = real.between(-0.15, 2)
COUNT = Interval(1, np.inf, lower_closed=True, whole=True, typical=(2, 6))
THEOREM = Theorem(
    id="igr.explicit-regularization",
    title="implicit and explicit gradient penalties add to mu + h/4",
    source="explicit gradient regularization of Barrett & Dherin 2021; combined strength derived here",
    kind=ASYMPTOTIC,
    statement=r"\mu = ch:\quad \theta^+ = \theta - h\nabla\big(E + \mu|\nabla E|^2\big)\ \text{follows the flow of}\ "
    r"E + \big(\mu + \tfrac h4\big)|\nabla E|^2\ \text{with global error}\ O(h^2)",
    domain=Domain(learning_rate=positive, penalty_ratio=ADDED),
    window=SMALL,
    formula=total_penalty,
    derivation=lambda formula: meets_the_flow(formula(RATE, RATIO), lambda slope: RATIO, lambda slope: slope),
    oracle=followed_on_product_model,
    points=63,
    simulation=ErrorOrder(
        settings=tuple({"penalty_ratio": ratio} for ratio in RATIOS),
        error=error_with,
        steps=RATES,
        order=lambda formula, setting: 2,
        observable="order of the global error with the formula as penalty",
    ),
    mutants={
        "mu + h/2": "penalty_ratio * learning_rate + learning_rate / 2",
        "mu - h/4": "penalty_ratio * learning_rate - learning_rate / 4",
        "mu alone": "penalty_ratio * learning_rate",
        "the larger of the two": "max(penalty_ratio * learning_rate, learning_rate / 4)",
        "mu + h P / 4, right for mu R, with 3 parameters": "penalty_ratio * learning_rate + 3 * learning_rate / 4",
        "h/4 alone": "learning_rate / 4 + 0 * penalty_ratio",
    },
    corollaries=(
        Claim(
            name="counter-regularization",
            statement=r"\mu = -\tfrac h4:\quad \text{plain gradient flow of } E \text{ with global error } O(h^2)",
            kind=ASYMPTOTIC,
            domain=Domain(learning_rate=positive),
            window=SMALL,
            formula=lambda learning_rate: -learning_rate / 4,
            derivation=lambda formula: meets_the_flow(formula(RATE), lambda slope: slope, lambda slope: 0),
            oracle=counter_penalty_measured,
            points=9,
            simulation=ErrorOrder(
                settings=({},),
                error=lambda formula, setting, rate: strayed(float(formula(rate)), 0.0, rate),
                steps=RATES,
                order=lambda formula, setting: 2,
                observable="order of the global error against gradient flow",
            ),
            mutants={
                "the penalty doubled": "learning_rate / 4",
                "-h/2": "-learning_rate / 2",
                "-h/8": "-learning_rate / 8",
                "none": "0 * learning_rate",
            },
        ),
        Claim(
            name="penalty as a rate of R",
            statement=r"R = \tfrac1P |\nabla E|^2:\quad E + \mu R\ \text{follows the flow of}\ "
            r"E + \big(\mu + \tfrac{hP}4\big) R",
            kind=ASYMPTOTIC,
            domain=Domain(learning_rate=positive, penalty_ratio=ADDED, parameter_count=COUNT),
            window=Window("learning_rate", 2e-3, 2e-2, order=1),
            formula=total_rate,
            derivation=rate_in_two_parameters,
            oracle=followed_rate,
            points=45,
            mutants={
                "P forgotten": "penalty_ratio * learning_rate + learning_rate / 4 + 0 * parameter_count",
                "P taken for mu as well": "parameter_count * (penalty_ratio * learning_rate + learning_rate / 4)",
                "h P / 2": "penalty_ratio * learning_rate + learning_rate * parameter_count / 2",
                "h / (4 P)": "penalty_ratio * learning_rate + learning_rate / (4 * parameter_count)",
            },
        ),
        Claim(
            name="fixed penalty",
            statement=r"\mu\ \text{fixed},\ E_\mu = E + \mu|\nabla E|^2:\quad\text{the flow of}\ "
            r"E_\mu + \tfrac h4 |\nabla E_\mu|^2\ \text{is followed with global error}\ O(h^2)",
            kind=IDENTITY,
            domain=Domain(learning_rate=positive, explicit_penalty=real),
            formula=lambda learning_rate, explicit_penalty: modified_loss.combined_penalty(learning_rate, 0),
            derivation=penalised_mode,
            simulation=ErrorOrder(
                settings=tuple({"explicit_penalty": mu} for mu in (FIXED, 0.2)),
                error=error_at_fixed_penalty,
                steps=RATES,
                order=lambda formula, setting: 2,
                observable="order of the global error with the formula as coefficient of |grad E_mu|^2",
            ),
            mutants={
                "mu counted again": "explicit_penalty + learning_rate / 4",
                "no implicit part": "0 * learning_rate",
                "h/2": "learning_rate / 2",
                "opposite sign": "-learning_rate / 4",
                "right at mu = 1/2 alone": "learning_rate * explicit_penalty / 2",
            },
        ),
        Claim(
            name="order of the sum",
            statement=r"\text{flow of}\ E + \big(\mu + \tfrac h4\big)|\nabla E|^2:\quad"
            r" \text{global error of order 2 for}\ \mu = ch,\ \text{of order 1 for}\ \mu\ \text{fixed}",
            kind=IDENTITY,
            domain=Domain(fixed=Interval(0, 1, lower_closed=True, upper_closed=True, whole=True)),
            formula=lambda fixed: 2 - fixed,
            derivation=order_of_sum,
            simulation=ErrorOrder(
                settings=({"fixed": 0}, {"fixed": 1}),
                error=error_of_sum,
                steps=RATES,
                order=lambda formula, setting: formula(setting["fixed"]),
            ),
            mutants={
                "the sum holds for fixed penalties, too": "2 + 0 * fixed",
                "no gain": "1 + 0 * fixed",
                "exact to the next order": "3 - 2 * fixed",
            },
        ),
    ),
    caveats=(
        "At a fixed mu the implicit part vanishes with h: it is then a correction, not a partner, of the penalty.",
        "Strengths such as mu = 0.5 on a loss of curvature 20 are no small perturbation: mu h l^2 must stay small.",
        "Whether the penalty is divided by the parameter count decides between mu + h/4 and mu + h P / 4.",
    ),
    figure=Figure(
        data=errors_of_flows,
        panels=(
            Panel(
                "step",
                x_label="learning rate h (parameter² / loss)",
                y_label="distance at time 0.4 (parameter)",
                title="Descent on E + μ|g|², flow of E + (μ + h/4)|g|²",
                x_scale="log",
                y_scale="log",
                decorate=few_ticks,
            ),
            Panel(
                "penalty",
                x_label="(penalty of the flow − μ) / h (dimensionless)",
                y_label="distance at time 0.4 (parameter)",
                title="The penalty to follow is μ + h/4, h = 0.001",
                decorate=mark_quarter,
            ),
        ),
    ),
)

if __name__ == "__main__":
    raise SystemExit(run(THEOREM))

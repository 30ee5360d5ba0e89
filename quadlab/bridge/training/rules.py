"""Rules that follow gradients at or near the iterate: descent, momentum, sharpness-aware, explicitly regularized."""

from quadlab.bridge.arrays import unit
from quadlab.bridge.training.rule import Rule, batch_size_of, minibatch
from quadlab.theory.intervals import momentum_range, non_negative, positive

__all__ = ["explicit_gradient_regularization", "gradient_descent", "nesterov", "sam"]


def gradient_descent(learning_rate, momentum=0.0, batch_size=None):
    """Gradient descent, and heavy ball where momentum b > 0:  m+ = b m - rho g(w),  w+ = w + m+,  m = 0 at first.

    Parameters
    ----------
    learning_rate : rho > 0. The gradient enters with rho, not with (1 - b) rho as in moving-average momentum.
    momentum : b in [0, 1).
    batch_size : examples in each gradient, drawn without replacement in each epoch; None takes all.

    Source: Polyak 1964.

    >>> from quadlab import bridge
    >>> problem = bridge.Problem(bridge.mlp([1, 1]), [[1.0], [2.0]], [[0.0], [0.0]])
    >>> gradient_descent(0.1)(problem, [2.0, 0.0], {}, None)[0]
    array([ 1.5, -0.3])
    """
    rho = positive.check_one("learning_rate", learning_rate)
    b = momentum_range.check_one("momentum", momentum)
    size = batch_size_of(batch_size)

    def start(problem):
        return {"velocity": problem.backend.zeros((problem.dimension,))} if b else {}

    def step(problem, parameters, state, rng):
        part, epoch = minibatch(problem, size, state, rng)
        velocity = -rho * part.gradient(parameters)
        if not b:
            return parameters + velocity, epoch
        velocity = velocity + b * state["velocity"]
        return parameters + velocity, {"velocity": velocity, **epoch}

    return Rule.named("gradient_descent", step, start, learning_rate=rho, momentum=b, batch_size=size)


def nesterov(learning_rate, momentum, batch_size=None):
    """Nesterov's method with constant momentum:  y = w + b m,  w+ = y - rho g(y),  m+ = w+ - w,  m = 0 at first.

    learning_rate : rho > 0. momentum : b in [0, 1). batch_size : as for `gradient_descent`.

    Source: Nesterov 1983, with constant momentum.

    >>> from quadlab import bridge
    >>> problem = bridge.Problem(bridge.mlp([1, 1]), [[1.0], [2.0]], [[0.0], [0.0]])
    >>> rule = nesterov(0.1, 0.5)
    >>> rule(problem, [2.0, 0.0], rule.start(problem), None)[0]
    array([ 1.5, -0.3])
    """
    rho = positive.check_one("learning_rate", learning_rate)
    b = momentum_range.check_one("momentum", momentum)
    size = batch_size_of(batch_size)

    def start(problem):
        return {"velocity": problem.backend.zeros((problem.dimension,))}

    def step(problem, parameters, state, rng):
        part, epoch = minibatch(problem, size, state, rng)
        ahead = parameters + b * state["velocity"]
        moved = ahead - rho * part.gradient(ahead)
        return moved, {"velocity": moved - parameters, **epoch}

    return Rule.named("nesterov", step, start, learning_rate=rho, momentum=b, batch_size=size)


def sam(learning_rate, ascent_radius, normalize=True, batch_size=None):
    """Sharpness-aware minimization:  w+ = w - rho grad(w + r g / |g|),  g = grad(w).

    Parameters
    ----------
    learning_rate : rho > 0.
    ascent_radius : r >= 0, the length of the ascent, in the units of the parameters.
    normalize : False ascends by r g instead, r then in parameter**2 / loss.
    batch_size : as for `gradient_descent`; both gradients of a step see the same examples.

    Where g = 0 there is no ascent.

    Source: Foret, Kleiner, Mobahi, Neyshabur 2021; without normalization Andriushchenko, Flammarion 2022.

    >>> from quadlab import bridge
    >>> problem = bridge.Problem(bridge.mlp([1, 1]), [[1.0], [2.0]], [[0.0], [0.0]])
    >>> sam(0.1, 0.1, normalize=False)(problem, [2.0, 0.0], {}, None)[0]
    array([ 1.33 , -0.405])
    """
    rho = positive.check_one("learning_rate", learning_rate)
    radius = non_negative.check_one("ascent_radius", ascent_radius)
    size = batch_size_of(batch_size)

    def step(problem, parameters, state, rng):
        part, epoch = minibatch(problem, size, state, rng)
        ascent = part.gradient(parameters)
        if normalize:
            ascent = unit(ascent)
        return parameters - rho * part.gradient(parameters + radius * ascent), epoch

    return Rule.named("sam", step, learning_rate=rho, ascent_radius=radius, normalize=bool(normalize), batch_size=size)


def explicit_gradient_regularization(learning_rate, strength, batch_size=None):
    """Descent on E + mu |grad E|^2 with its exact gradient:  w+ = w - rho (g + 2 mu H g).

    Parameters
    ----------
    learning_rate : rho > 0.
    strength : mu >= 0. Gradient descent alone follows mu = rho / 4 to first order; a penalty written as mu' |g|^2 / n
        has mu' = mu n.
    batch_size : as for `gradient_descent`; E is then the loss of the minibatch.

    Source: Barrett, Dherin 2021, section 5; the derivative of |g|^2 is 2 H g.

    >>> from quadlab import bridge
    >>> problem = bridge.Problem(bridge.mlp([1, 1]), [[1.0], [2.0]], [[0.0], [0.0]])
    >>> explicit_gradient_regularization(0.1, 0.05)(problem, [2.0, 0.0], {}, None)[0]
    array([ 1.33 , -0.405])
    """
    rho = positive.check_one("learning_rate", learning_rate)
    mu = non_negative.check_one("strength", strength)
    size = batch_size_of(batch_size)

    def step(problem, parameters, state, rng):
        part, epoch = minibatch(problem, size, state, rng)
        gradient = part.gradient(parameters)
        penalty = part.hessian_product(parameters, gradient)
        return parameters - rho * (gradient + 2 * mu * penalty), epoch

    return Rule.named("explicit_gradient_regularization", step, learning_rate=rho, strength=mu, batch_size=size)

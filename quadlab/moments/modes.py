"""Moments of a rule on the independent modes of a quadratic: exact, numeric, no sampling."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import sympy

from quadlab.dynamics.rule import checked_rule
from quadlab.moments.arguments import checked_order, checked_steps, finite, numeric
from quadlab.moments.cubature import DEGREE, kronecker_power, noise_points

__all__ = [
    "MomentOperator",
    "Propagated",
    "mode_operator",
    "propagate",
    "stationary_covariance",
    "stationary_mean",
    "stationary_second_moment",
]


@dataclass(frozen=True)
class MomentOperator:
    """E of the k-th Kronecker power of one random step, for each mode.

    matrices : (modes, p^k, p^k), the action on E[u (x) ... (x) u] for the homogeneous part, u the p state variables.
    augmented : (modes, (p+1)^k, (p+1)^k), the same for (u, 1), which carries additive noise and lower moments.
    radius : the largest modulus of the eigenvalues of `matrices`.
    """

    order: int
    matrices: np.ndarray
    augmented: np.ndarray

    @property
    def radius(self):
        return float(finite(np.abs(np.linalg.eigvals(self.matrices)).max(), "matrices"))


def mode_operator(rule, order, eigenvalues, parameters):
    """The moment operator of a given order."""
    maps, weights = _random_maps(rule, order, eigenvalues, parameters)
    return _operator(rule, maps, weights, order)


def _operator(rule, maps, weights, order):
    size = len(rule.state)
    with np.errstate(all="ignore"):
        augmented = np.einsum("mn,mnab->mab", weights, kronecker_power(maps, order))
        linear = np.einsum("mn,mnab->mab", weights, kronecker_power(maps[..., :size, :size], order))
    return MomentOperator(order, linear, finite(augmented, *_arguments(rule)))


def _arguments(rule):
    return ["eigenvalues" if symbol.name == "curvature" else symbol.name for symbol in rule.parameters]


def noise_degree(rule, order):
    """The order of the noise moments that moments of the state need; ValueError above that of `noise_points`."""
    degree = _noise_degree(rule) * order
    if degree > DEGREE:
        raise ValueError(f"the moments of order {order} of {rule.name} need noise moments above order {DEGREE}")
    return degree


def _random_maps(rule, order, eigenvalues, parameters):
    """The random step as matrices on (u, 1), (modes, points, p+1, p+1), and the weights, (modes, points)."""
    degree = noise_degree(checked_rule(rule), order)
    if "curvature" in parameters:
        raise ValueError("the curvature is given by eigenvalues, not by a parameter")
    values = dict(parameters)
    names = [symbol.name for symbol in rule.parameters]
    if "curvature" in names:
        values["curvature"] = np.atleast_1d(numeric("eigenvalues", eigenvalues, rule.domain["curvature"]))
        if values["curvature"].ndim != 1 or values["curvature"].size == 0:
            raise ValueError(f"eigenvalues must be a non-empty vector, got shape {values['curvature'].shape}")
    elif eigenvalues is not None:
        raise ValueError(f"{rule.name} has no curvature, so eigenvalues must be None, got {eigenvalues!r}")
    checked = {name: numeric(name, value) for name, value in rule.check_parameters(values).items()}
    modes = np.size(checked.get("curvature", 0.0))
    for name, value in checked.items():
        if np.shape(value) not in ((), (modes,)):
            raise ValueError(f"{name} must be a number or have shape ({modes},), got shape {np.shape(value)}")
    columns = np.broadcast_arrays(*(np.atleast_1d(checked[name]) for name in names))
    entries, size = _compiled_step(rule), len(rule.state)
    maps, weights = [], []
    for here in zip(*columns, strict=True) if names else [()]:
        points, weight = noise_points(rule, dict(zip(names, map(float, here), strict=True)), degree)
        numbers = finite(_evaluated(entries, points, here), *_arguments(rule))
        step = np.zeros((len(points), size + 1, size + 1))
        step[:, :size, :size] = numbers[:, : size**2].reshape(-1, size, size)
        step[:, :size, size] = numbers[:, size**2 :]
        step[:, size, size] = 1
        maps.append(step)
        weights.append(weight)
    return np.stack(maps), np.stack(weights)


def _evaluated(entries, points, parameters):
    """The entries at each point, NaN where they have no real value."""
    try:
        with np.errstate(all="ignore"):
            return np.array([entries(*point, *parameters) for point in points], dtype=float)
    except (TypeError, ZeroDivisionError, OverflowError):
        return np.array(np.nan)


@lru_cache(maxsize=64)
def _compiled_step(rule):
    """Numbers of the noises and parameters in; entries of the matrix, row by row, and of the offset out."""
    matrix = sympy.Matrix(rule.update).jacobian(rule.state)
    if matrix.free_symbols & set(rule.state):
        raise ValueError(f"the rule must be affine in its state, {rule.name} is not")
    offset = [expression.subs(dict.fromkeys(rule.state, 0)) for expression in rule.update]
    arguments = [*(noise.symbol for noise in rule.noises), *rule.parameters]
    return sympy.lambdify(arguments, [*matrix, *offset], modules="numpy", cse=True, dummify=True)


@lru_cache(maxsize=64)
def _noise_degree(rule):
    """The highest power of one noise in the update."""
    updates, symbols = map(sympy.expand, rule.update), [noise.symbol for noise in rule.noises]
    degrees = [sympy.Poly(update, symbol).degree() for update in updates for symbol in symbols]
    return max(degrees, default=0)


@dataclass(frozen=True)
class Propagated:
    """Exact moments of the state variables after a number of steps, about zero: none is centred.

    mean : (modes, p). second : (modes, p, p). fourth : (modes, p, p, p, p), or None where it was not asked for.
    """

    mean: np.ndarray
    second: np.ndarray
    fourth: np.ndarray | None


def propagate(rule, *, eigenvalues=None, steps, initial, order=2, **parameters):
    """Moments of the state after `steps` steps from the fixed state `initial`, a number, (modes,) or (modes, p).

    order : 2, or 4 for the fourth moments as well.

    ValueError names the argument at fault, also where the moments leave the range of doubles.

    >>> from quadlab.dynamics import variational_gradient_descent
    >>> after = propagate(variational_gradient_descent(), eigenvalues=[1.0], steps=1, initial=1.0,
    ...                   learning_rate=0.5, noise_variance=4.0, samples=2)
    >>> after.second[0, 0, 0].round(12)      # 0.5^2 + 0.25 * 4 / 2
    np.float64(0.75)
    """
    order, steps = checked_order(order), checked_steps(steps)
    operator = mode_operator(rule, order, eigenvalues, parameters)
    modes, size = len(operator.matrices), len(rule.state)
    start = numeric("initial", initial)
    if start.shape not in ((), (modes,), (modes, size)):
        raise ValueError(f"initial must be a number or have shape {(modes,)} or {(modes, size)}, got {start.shape}")
    start = np.broadcast_to(start[:, None] if start.ndim == 1 else start, (modes, size))
    with_one = np.concatenate([start, np.ones((modes, 1))], axis=1)[..., None]
    vector = with_one
    with np.errstate(all="ignore"):
        for _ in range(order - 1):
            vector = np.einsum("mab,mcb->macb", vector, with_one).reshape(modes, -1, 1)
        tensor = np.linalg.matrix_power(operator.augmented, steps) @ vector
    tensor = finite(tensor, "steps", "initial").reshape(modes, *[size + 1] * order)
    rest = (size,) * (order - 2)
    return Propagated(
        mean=tensor[:, :size, size][(..., *rest)],
        second=tensor[:, :size, :size][(..., *rest)],
        fourth=tensor[:, :size, :size, :size, :size] if order == 4 else None,
    )


def stationary_mean(rule, *, eigenvalues=None, **parameters):
    """E u in the stationary state, (modes, p); ValueError where second moments do not converge."""
    mean, _ = _stationary(rule, eigenvalues, parameters)
    return mean


def stationary_covariance(rule, *, eigenvalues=None, **parameters):
    """The covariance of u in the stationary state, (modes, p, p), centred; ValueError as for the second moment."""
    _, covariance = _stationary(rule, eigenvalues, parameters)
    return covariance


def stationary_second_moment(rule, *, eigenvalues=None, **parameters):
    """E[u u'] in the stationary state, (modes, p, p), not centred; ValueError where second moments do not converge.

    >>> from quadlab.dynamics import UpdateRule
    >>> halved = UpdateRule("drifting", (sympy.Symbol("x"),), (sympy.Symbol("x") / 2 + 1,))
    >>> stationary_second_moment(halved), stationary_covariance(halved)
    (array([[[4.]]]), array([[[0.]]]))
    """
    mean, covariance = _stationary(rule, eigenvalues, parameters)
    return covariance + mean[:, :, None] * mean[:, None, :]


def _stationary(rule, eigenvalues, parameters):
    """Mean and covariance. The covariance is that of u - mean, a rule of its own, so that nothing cancels."""
    maps, weights = _random_maps(rule, 2, eigenvalues, parameters)
    operator = _operator(rule, maps, weights, 2)
    if operator.radius >= 1:
        raise ValueError(f"second moments of {rule.name} do not converge: spectral radius {operator.radius:.6g}")
    size = len(rule.state)
    with np.errstate(all="ignore"):
        mean, covariance = _fixed_points(operator, maps, weights, size)
    return mean, finite(covariance, *_arguments(rule))


def _fixed_points(operator, maps, weights, size):
    averaged = np.einsum("mn,mnab->mab", weights, maps)
    mean = np.linalg.solve(np.eye(size) - averaged[:, :size, :size], averaged[:, :size, size:])
    moved = maps[..., :size, :size] @ mean[:, None] + maps[..., :size, size:] - mean[:, None]
    source = np.einsum("mn,mnax,mnbx->mab", weights, moved, moved).reshape(-1, size**2, 1)
    covariance = np.linalg.solve(np.eye(size**2) - operator.matrices, source)
    return mean[..., 0] + 0.0, covariance.reshape(-1, size, size) + 0.0  # + 0.0 makes -0.0 a 0.0

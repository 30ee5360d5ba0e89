"""Moments of a rule on the independent modes of a quadratic: exact, numeric, no sampling."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import sympy

from quadlab.moments.cubature import DEGREE, kronecker_power, noise_points
from quadlab.theory.intervals import Interval, real

__all__ = ["MomentOperator", "Propagated", "mode_operator", "propagate", "stationary_second_moment"]


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
        return float(np.abs(np.linalg.eigvals(self.matrices)).max())


steps_range = Interval(0, np.inf, lower_closed=True, whole=True, words="a whole number >= 0")


def mode_operator(rule, order, eigenvalues, parameters):
    """The moment operator of a given order."""
    require_noise_degree(rule, order)
    maps, weights = _affine_maps(rule, eigenvalues, parameters)
    size = len(rule.state)
    augmented = np.einsum("mn,mnab->mab", weights, kronecker_power(maps, order))
    linear = np.einsum("mn,mnab->mab", weights, kronecker_power(maps[..., :size, :size], order))
    return MomentOperator(order, linear, augmented)


def require_noise_degree(rule, order):
    """ValueError where moments of the state need moments of the noise that `noise_points` do not have."""
    if _noise_degree(rule) * order > DEGREE:
        raise ValueError(f"the moments of order {order} of {rule.name} need noise moments above order {DEGREE}")


def _affine_maps(rule, eigenvalues, parameters):
    """The random step as matrices on (u, 1), (modes, points, p+1, p+1), and the weights, (modes, points)."""
    values = dict(parameters)
    names = [symbol.name for symbol in rule.parameters]
    if "curvature" in names:
        values["curvature"] = np.atleast_1d(rule.domain["curvature"].check("eigenvalues", eigenvalues))
        if values["curvature"].ndim != 1 or values["curvature"].size == 0:
            raise ValueError(f"eigenvalues must be a non-empty vector, got shape {values['curvature'].shape}")
    elif eigenvalues is not None:
        raise ValueError(f"{rule.name} has no curvature, so eigenvalues must be None, got {eigenvalues!r}")
    checked = rule.check_parameters(values)
    modes = np.size(checked.get("curvature", 0.0))
    for name, value in checked.items():
        if np.shape(value) not in ((), (modes,)):
            raise ValueError(f"{name} must be a number or have shape ({modes},), got shape {np.shape(value)}")
    columns = np.broadcast_arrays(*(np.atleast_1d(checked[name]) for name in names))
    entries, size = _compiled_step(rule), len(rule.state)
    maps, weights = [], []
    for here in zip(*columns, strict=True):
        points, weight = noise_points(rule, dict(zip(names, map(float, here), strict=True)))
        numbers = np.array([entries(*point, *here) for point in points], dtype=float)
        step = np.zeros((len(points), size + 1, size + 1))
        step[:, :size, :size] = numbers[:, : size**2].reshape(-1, size, size)
        step[:, :size, size] = numbers[:, size**2 :]
        step[:, size, size] = 1
        maps.append(step)
        weights.append(weight)
    return np.stack(maps), np.stack(weights)


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
    """Exact moments of the state variables after a number of steps.

    mean : (modes, p). second : (modes, p, p). fourth : (modes, p, p, p, p), or None where it was not asked for.
    """

    mean: np.ndarray
    second: np.ndarray
    fourth: np.ndarray | None


def propagate(rule, *, eigenvalues=None, steps, initial, order=2, **parameters):
    """Moments of the state after `steps` steps from the fixed state `initial`, a number, (modes,) or (modes, p).

    order : 2, or 4 for the fourth moments as well.

    >>> from quadlab.dynamics import variational_gradient_descent
    >>> after = propagate(variational_gradient_descent(), eigenvalues=[1.0], steps=1, initial=1.0,
    ...                   learning_rate=0.5, noise_variance=4.0, samples=2)
    >>> after.second[0, 0, 0].round(12)      # 0.5^2 + 0.25 * 4 / 2
    np.float64(0.75)
    """
    if order not in (2, 4):
        raise ValueError(f"order must be 2 or 4, got {order!r}")
    steps = int(steps_range.check("steps", steps))
    operator = mode_operator(rule, order, eigenvalues, parameters)
    modes, size = len(operator.matrices), len(rule.state)
    start = np.asarray(real.check("initial", initial))
    if start.shape not in ((), (modes,), (modes, size)):
        raise ValueError(f"initial must be a number or have shape {(modes,)} or {(modes, size)}, got {start.shape}")
    start = np.broadcast_to(start[:, None] if start.ndim == 1 else start, (modes, size))
    with_one = np.concatenate([start, np.ones((modes, 1))], axis=1)[..., None]
    vector = with_one
    for _ in range(order - 1):
        vector = np.einsum("mab,mcb->macb", vector, with_one).reshape(modes, -1, 1)
    tensor = np.linalg.matrix_power(operator.augmented, steps) @ vector
    tensor = tensor.reshape(modes, *[size + 1] * order)
    rest = (size,) * (order - 2)
    return Propagated(
        mean=tensor[:, :size, size][(..., *rest)],
        second=tensor[:, :size, :size][(..., *rest)],
        fourth=tensor[:, :size, :size, :size, :size] if order == 4 else None,
    )


def stationary_second_moment(rule, *, eigenvalues=None, **parameters):
    """E[u u'] in the stationary state, (modes, p, p); ValueError where second moments do not converge."""
    operator = mode_operator(rule, 2, eigenvalues, parameters)
    if operator.radius >= 1:
        raise ValueError(f"second moments of {rule.name} do not converge: spectral radius {operator.radius:.6g}")
    size = len(rule.state)
    keep = [a * (size + 1) + b for a in range(size) for b in range(size)]
    matrices, offset = operator.augmented[:, keep][:, :, keep], operator.augmented[:, keep, -1:]
    return np.linalg.solve(np.eye(size**2) - matrices, offset).reshape(-1, size, size)

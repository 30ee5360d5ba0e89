"""Moment operators of a rule on a full Hessian: modes coupled by the noise, nothing diagonalised, matrix-free."""

from functools import cached_property, reduce

import numpy as np
import sympy
from scipy.sparse.linalg import LinearOperator

from quadlab.dynamics import normal, parameter
from quadlab.dynamics.rule import checked_rule
from quadlab.moments.arguments import (
    checked_covariance,
    checked_order,
    checked_steps,
    checked_symmetric,
    checked_tensor,
    finite,
    numeric,
)
from quadlab.moments.cubature import noise_points, noise_variance
from quadlab.moments.modes import noise_degree

__all__ = ["CoupledMoments"]

DENSE = 256


class CoupledMoments(LinearOperator):
    """E[u^k] -> E[(T u)^k], k = 2 or 4 tensor factors, for the state u (p d numbers) of a rule on a Hessian H.

    The curvature in the rule becomes H, by matrix polynomials. A noise that multiplies the state is one number
    shared by all directions; an additive noise is a fresh Gaussian vector with covariance `noise_covariance` in
    place of the parameter `noise_variance`, which need not commute with H. No noise may do both.

    matvec : the homogeneous part on the (p d)^k entries of the moment tensor, in k (p d)^(k+1) operations for
        each noise point; no matrix of size (p d)^k is formed.
    source : the (p d, p d) covariance that the additive noise contributes in one step.
    radius : spectral radius of the homogeneous part.
    """

    def __init__(self, rule, *, hessian, noise_covariance=None, order=2, **parameters):
        order = checked_order(order)
        degree = noise_degree(checked_rule(rule), order)
        hessian, covariance = _checked_matrices(rule, hessian, noise_covariance)
        checked = _checked_numbers(rule, parameters)
        self.order, self.size = order, len(rule.state) * len(hessian)
        super().__init__(float, (self.size**order,) * 2)
        bound = {symbol: checked[symbol.name] for symbol in rule.parameters if symbol.name != "curvature"}
        update = sympy.Matrix([sympy.expand(expression.subs(bound)) for expression in rule.update])
        jacobian, additive = _split(rule, update)
        symbols = [noise.symbol for noise in rule.noises]
        points, self.weights = np.zeros((1, len(symbols))), np.ones(1)
        if jacobian.free_symbols & set(symbols):
            points, self.weights = noise_points(rule, checked, degree)
        self.jacobians = [jacobian.subs(dict(zip(symbols, point, strict=True))) for point in points]
        with np.errstate(all="ignore"):
            self.steps = [_on_matrix(jacobian, hessian) for jacobian in self.jacobians]
        self.eigenvalues = np.linalg.eigvalsh(hessian)
        zero = sympy.zeros(len(rule.state), 1)
        self.normal = all(n.law == normal for n, slope in zip(rule.noises, additive, strict=True) if slope != zero)
        self.source = np.zeros((self.size, self.size))
        for noise, slope in zip(rule.noises, additive, strict=True):
            factor = _on_matrix(slope, hessian)
            if slope != zero:
                with np.errstate(all="ignore"):
                    self.source += noise_variance(noise, checked) * factor @ covariance @ factor.T
        self.arguments = ["hessian", *(["noise_covariance"] if noise_covariance is not None else []), *parameters]
        finite([*self.steps, self.source], *self.arguments)

    def _matvec(self, vector):
        tensor = np.asarray(vector, dtype=float).reshape((self.size,) * self.order)
        return sum(w * _on_all_axes(t, tensor) for w, t in zip(self.weights, self.steps, strict=True)).ravel()

    def propagate(self, second, steps, fourth=None):
        """E[u u'] (and E[u u u u], when `fourth` is given and the order is 4) after `steps` steps; neither is centred.

        ValueError: shapes that do not fit, fourth moments where the order is 2 or an additive noise is not normal.
        """
        second, steps = checked_tensor("second", second, (self.size,) * 2), checked_steps(steps)
        if fourth is not None:
            fourth = checked_tensor("fourth", fourth, (self.size,) * 4)
            if self.order != 4:
                raise ValueError(f"fourth must be None for an operator of order {self.order}")
            if not self.normal:
                raise ValueError("fourth must be None where a noise that is added to the state is not normal")
        with np.errstate(all="ignore"):
            for _ in range(steps):
                second, fourth = self._step(second, fourth)
        finite(second, "second", "steps")
        return second if fourth is None else (second, finite(fourth, "fourth", "steps"))

    def _step(self, second, fourth):
        weighted = list(zip(self.weights, self.steps, strict=True))
        if fourth is not None:
            moved = (_on_all_axes(t, fourth) + _mixed_pairings(t @ second @ t.T, self.source) for _, t in weighted)
            image = sum(w * tensor for (w, _), tensor in zip(weighted, moved, strict=True))
            fourth = image + _mixed_pairings(self.source, self.source) / 2
        return self.source + sum(w * (t @ second @ t.T) for w, t in weighted), fourth

    @cached_property
    def radius(self):
        """Largest modulus of the eigenvalues: of the step, where no noise multiplies the state, or of the whole matrix.

        Where that is large, it is the largest radius on a single eigenvalue of the Hessian, which is the same: the
        noise is one number for all directions, and by Cauchy and Schwarz none mix more strongly than each with itself.
        """
        if len(self.steps) == 1:
            return float(self._largest(self.steps[0]) ** self.order)
        if self.shape[0] <= DENSE:
            with np.errstate(all="ignore"):
                return self._largest(self @ np.eye(self.shape[0]))
        return max(self._radius_at(eigenvalue) for eigenvalue in self.eigenvalues)

    def _largest(self, matrix):
        return float(np.abs(np.linalg.eigvals(finite(matrix, *self.arguments))).max())

    def _radius_at(self, eigenvalue):
        steps = [_on_matrix(jacobian, np.atleast_2d(eigenvalue)) for jacobian in self.jacobians]
        with np.errstate(all="ignore"):
            powers = [w * reduce(np.kron, [t] * self.order) for w, t in zip(self.weights, steps, strict=True)]
            return self._largest(sum(powers))


def _checked_matrices(rule, hessian, noise_covariance):
    hessian = checked_symmetric("hessian", hessian)
    needed = any(symbol.name == "noise_variance" for symbol in rule.parameters)
    if noise_covariance is None:
        if needed:
            raise ValueError(f"{rule.name} needs noise_covariance, got None")
        return hessian, np.eye(len(hessian))
    if not needed:
        raise ValueError(f"{rule.name} has no parameter noise_variance, so noise_covariance must be None")
    covariance = checked_covariance("noise_covariance", noise_covariance)
    if covariance.shape != hessian.shape:
        raise ValueError(f"noise_covariance must have the shape {hessian.shape} of hessian, got {covariance.shape}")
    return hessian, covariance


def _checked_numbers(rule, parameters):
    """Values of all parameters of the rule; 0 and 1 for the two that the matrices replace."""
    replaced = {"curvature": ("hessian", 0.0), "noise_variance": ("noise_covariance", 1.0)}
    for name, (matrix, _) in replaced.items():
        if name in parameters:
            raise ValueError(f"{name} is given by {matrix}, not by a parameter")
    stand_in = {s.name: replaced[s.name][1] for s in rule.parameters if s.name in replaced}
    checked = rule.check_parameters({**parameters, **stand_in})
    checked = {name: numeric(name, value) for name, value in checked.items()}
    for name, value in checked.items():
        if np.ndim(value):
            raise ValueError(f"{name} must be one number for all directions, got shape {np.shape(value)}")
    return {name: float(value) for name, value in checked.items()}


def _split(rule, update):
    """What multiplies the state, and what multiplies each noise in the rest."""
    symbols = [noise.symbol for noise in rule.noises]
    jacobian, rest = update.jacobian(rule.state), update.subs(dict.fromkeys(rule.state, 0))
    if jacobian.free_symbols & set(rule.state):
        raise ValueError(f"the rule must be affine in its state, {rule.name} is not")
    if jacobian.free_symbols & rest.free_symbols & set(symbols):
        raise ValueError(f"a noise must either multiply the state or be added to it, one of {rule.name} does both")
    slopes = [rest.diff(symbol) for symbol in symbols]
    drift = (rest - sum((s * x for s, x in zip(slopes, symbols, strict=True)), sympy.zeros(*rest.shape))).expand()
    if drift != sympy.zeros(*rest.shape):
        raise ValueError(f"what {rule.name} adds to the state must be linear in the noise, {drift.T} is not")
    return jacobian, slopes


def _on_all_axes(matrix, tensor):
    for _ in range(tensor.ndim):
        tensor = np.tensordot(tensor, matrix, axes=(0, 1))
    return tensor


def _mixed_pairings(a, b):
    """Sum of a_ij b_kl over the six ways of choosing which two of the four axes belong to a."""
    return sum(
        np.einsum(f"{pair},{rest}->ijkl", a, b)
        for pair, rest in (("ij", "kl"), ("ik", "jl"), ("il", "jk"), ("jk", "il"), ("jl", "ik"), ("kl", "ij"))
    )


def _on_matrix(entries, hessian):
    """Block matrix of the matrix polynomials that the entries are in the curvature."""
    blocks: list[list[np.ndarray]] = []
    for row in range(entries.rows):
        blocks.append([])
        for column in range(entries.cols):
            block = np.zeros_like(hessian)
            for coefficient in sympy.Poly(entries[row, column], parameter("curvature")).all_coeffs():
                block = block @ hessian + float(coefficient) * np.eye(len(hessian))
            blocks[-1].append(block)
    return np.block(blocks)

"""Moment operators of a rule on a full Hessian: modes coupled by the noise, nothing diagonalised, matrix-free."""

from functools import cached_property

import numpy as np
import sympy
from scipy.sparse.linalg import LinearOperator

from quadlab.dynamics import parameter
from quadlab.moments.cubature import noise_moments, noise_points

__all__ = ["CoupledMoments"]


class CoupledMoments(LinearOperator):
    """E[u^k] -> E[(T u)^k], k = 2 or 4 tensor factors, for the state u (p d numbers) of a rule on a Hessian H.

    The curvature in the rule becomes H, by matrix polynomials. A noise that multiplies the state is one number
    shared by all directions; an additive noise is a fresh Gaussian vector with covariance `noise_covariance` in
    place of the parameter `noise_variance`, which need not commute with H.

    matvec : the homogeneous part on the (p d)^k entries of the moment tensor, in k (p d)^(k+1) operations for
        each noise point; no matrix of size (p d)^k is formed.
    source : the (p d, p d) covariance that the additive noise contributes in one step.
    radius : spectral radius of the homogeneous part.
    """

    def __init__(self, rule, *, hessian, noise_covariance=None, order=2, **parameters):
        hessian = np.asarray(hessian, dtype=float)
        if hessian.ndim != 2 or hessian.shape[0] != hessian.shape[1] or not np.allclose(hessian, hessian.T):
            raise ValueError(f"hessian must be a symmetric matrix, got shape {hessian.shape}")
        values = {**parameters, "curvature": 0.0}
        if any(symbol.name == "noise_variance" for symbol in rule.parameters):
            if noise_covariance is None:
                raise ValueError(f"{rule.name} needs noise_covariance, got None")
            values["noise_variance"] = 1.0
        covariance = np.eye(len(hessian)) if noise_covariance is None else np.asarray(noise_covariance, dtype=float)
        if covariance.shape != hessian.shape:
            raise ValueError(f"noise_covariance must have the shape {hessian.shape} of hessian, got {covariance.shape}")
        checked = {name: float(value) for name, value in rule.check_parameters(values).items()}
        self.order, self.size = order, len(rule.state) * len(hessian)
        super().__init__(float, (self.size**order,) * 2)
        bound = {symbol: checked[symbol.name] for symbol in rule.parameters if symbol.name != "curvature"}
        update = sympy.Matrix([sympy.expand(expression.subs(bound)) for expression in rule.update])
        jacobian = update.jacobian(rule.state)
        symbols = [noise.symbol for noise in rule.noises]
        points, self.weights = noise_points(rule, checked)
        if not jacobian.free_symbols & set(symbols):
            points, self.weights = np.zeros((1, len(symbols))), np.ones(1)
        self.steps = [_on_matrix(jacobian.subs(dict(zip(symbols, p, strict=True))), hessian) for p in points]
        additive = update.subs(dict.fromkeys(rule.state, 0))
        self.source = np.zeros((self.size, self.size))
        for noise in rule.noises:
            factor = _on_matrix(additive.diff(noise.symbol), hessian)
            variance, _ = noise_moments(noise, checked)
            self.source += variance * factor @ covariance @ factor.T

    def _matvec(self, vector):
        tensor = np.asarray(vector, dtype=float).reshape((self.size,) * self.order)
        return sum(w * _on_all_axes(t, tensor) for w, t in zip(self.weights, self.steps, strict=True)).ravel()

    def propagate(self, second, steps, fourth=None):
        """E[u u'] (and E[u u u u], when `fourth` is given and the order is 4) after `steps` steps."""
        for _ in range(steps):
            if fourth is not None:
                image = sum(
                    w * (_on_all_axes(t, fourth) + _mixed_pairings(t @ second @ t.T, self.source))
                    for w, t in zip(self.weights, self.steps, strict=True)
                )
                fourth = image + _mixed_pairings(self.source, self.source) / 2
            second = self.source + sum(w * (t @ second @ t.T) for w, t in zip(self.weights, self.steps, strict=True))
        return second if fourth is None else (second, fourth)

    @cached_property
    def radius(self):
        """The limit of a power iteration that starts inside the cone of moments, which the operator preserves."""
        tensor = np.eye(self.size)
        if self.order == 4:
            tensor = _mixed_pairings(tensor, tensor) / 2
        growth, estimate = 0.0, 0.0
        for _ in range(100_000):
            image = self._matvec(tensor).reshape(tensor.shape)
            growth = float(np.linalg.norm(image) / np.linalg.norm(tensor))
            if growth == 0 or abs(growth - estimate) <= 1e-13 * growth:
                break
            tensor, estimate = image / np.linalg.norm(image), growth
        return growth


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

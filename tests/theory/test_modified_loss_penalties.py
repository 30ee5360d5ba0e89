"""Penalties and step errors against gradients, enumerated batches, integrated flows and Adam itself."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from quadlab.theory.modified_loss import (
    adam_modified_field,
    batch_variance_penalty,
    gradient_flow_step_error,
    kernel_gradient_penalty,
    minibatch_gradient_penalty,
    modified_flow_step_error,
)

X, Y = 1.3, 0.6


def gradient(point):
    a, b = point
    return X * (X * a * b - Y) * np.array([b, a])


def modified_gradient(point, rate):
    """Gradient of E (1 + (h/2) x^2 s), which is E + (h/4) |grad E|^2 for the product model."""
    residual, length = X * point[0] * point[1] - Y, point @ point
    return (1 + rate / 2 * X**2 * length) * gradient(point) + rate / 2 * X**2 * residual**2 * point


def flow(field, start, time):
    done = solve_ivp(lambda _, point: field(point), (0, time), start, "DOP853", rtol=3e-14, atol=1e-16)
    return done.y[:, -1]


def test_step_errors_are_the_leading_differences_of_step_and_flow():
    point = np.array([1.1, 1.7])
    a, b = point
    hessian = X * np.array([[X * b**2, 2 * X * a * b - Y], [2 * X * a * b - Y, X * a**2]])
    third = np.zeros((2, 2, 2))
    for index in np.ndindex(2, 2, 2):
        third[index] = {1: 2 * X**2 * b, 2: 2 * X**2 * a}.get(sum(index), 0)
    slope = gradient(point)
    errors = {"flow": [], "modified": []}
    for rate in (4e-3, 2e-3):
        step = point - rate * slope
        plain = step - flow(lambda w: -gradient(w), point, rate)
        better = step - flow(lambda w, h=rate: -modified_gradient(w, h), point, rate)
        errors["flow"].append(plain / gradient_flow_step_error(hessian, slope, rate))
        errors["modified"].append(better / modified_flow_step_error(hessian, slope, third, rate))
    for coarse, fine in errors.values():
        np.testing.assert_allclose(2 * fine - coarse, 1, atol=2e-4)
        assert np.all(abs(fine - 1) > 1e-4)  # the extrapolation is what reaches 1


def test_kernel_form_is_the_squared_gradient():
    rng = np.random.default_rng(2)
    inputs, targets, theta = rng.normal(size=(5, 3)), rng.normal(size=5), rng.normal(size=3)
    residuals = np.sin(inputs @ theta) - targets
    jacobian = np.cos(inputs @ theta)[:, None] * inputs
    for scale in (1, 0.5, 0.2):
        shifted = theta + 1e-30j * np.eye(3)
        losses = scale * np.sum((np.sin(inputs @ shifted.T) - targets[:, None]) ** 2, axis=0)
        slope = losses.imag / 1e-30
        found = kernel_gradient_penalty(residuals, jacobian @ jacobian.T, 0.3, scale)
        np.testing.assert_allclose(found, 0.3 / 4 * slope @ slope, rtol=1e-13)


def test_minibatch_penalty_averaged_over_batches():
    """Over random partitions into batches of size B the mean penalty is (h/4) |g|^2 plus the variance penalty."""
    rng = np.random.default_rng(3)
    samples, rate = rng.normal(size=(6, 2)), 0.1
    full = rate / 4 * np.sum(samples.mean(axis=0) ** 2)
    for size in (1, 2, 3, 6):
        penalties = []
        for order in (rng.permutation(6) for _ in range(1 if size in (1, 6) else 4000)):
            batches = samples[order].reshape(6 // size, size, 2).mean(axis=1)
            penalties.append(minibatch_gradient_penalty(batches, rate))
        error = np.std(penalties) / np.sqrt(len(penalties))
        expected = full + batch_variance_penalty(samples, rate, size)
        assert abs(np.mean(penalties) - expected) <= 5 * error + 1e-15


def test_adam_velocity():
    """The velocity from differences of Adam's own iterates on a smooth loss: second order with the correction."""
    first, second, epsilon = 0.5, 0.8, 0.01

    def slope(w):
        return np.array([w[0] + 0.5 * np.sin(w[1]), 1.5 * w[1] + 0.5 * w[0] * np.cos(w[1]) + 0.3 * w[1] ** 3])

    def curvature(w):
        cross = 0.5 * np.cos(w[1])
        return np.array([[1, cross], [cross, 1.5 - 0.5 * w[0] * np.sin(w[1]) + 0.9 * w[1] ** 2]])

    errors = []
    for rate in (5e-4, 2.5e-4):
        w, mean, square, path = np.array([2.0, -1.5]), 0, 0, []
        for n in range(1, round(0.1 / rate) + 4):
            g = slope(w)
            mean, square = first * mean + (1 - first) * g, second * square + (1 - second) * g**2
            corrected = mean / (1 - first**n), square / (1 - second**n)
            w = w - rate * corrected[0] / np.sqrt(corrected[1] + epsilon)
            path.append(w)
        ahead = np.diff(path[-4:], axis=0)
        velocity = (ahead[0] - np.diff(ahead, axis=0)[0] / 2 + np.diff(ahead, n=2, axis=0)[0] / 3) / rate
        point = path[-4]
        field = adam_modified_field(curvature(point), slope(point), rate, first, second, epsilon)
        errors.append(np.max(abs(velocity - field)))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)

"""The modified-loss closed forms against 50 digits and more, over many decades of their arguments."""

from math import comb, factorial

import numpy as np
import pytest
from mpmath import mp

from quadlab.theory.modified_loss import (
    equal_loss_observable,
    heavy_ball_modified_eigenvalue,
    modified_eigenvalue,
    principal_flow_coefficient,
    product_model_drift_exponent,
    product_model_flow_limit,
    runge_kutta_modified_eigenvalue,
)

EPS, LARGEST, SMALLEST = np.finfo(float).eps, np.finfo(float).max, np.finfo(float).tiny


def well_posed_modes(count):
    """h, l over many decades and both signs, away from h l = 1 and 2 where rounding of h l decides."""
    rng = np.random.default_rng(4)
    rate, z = (
        10 ** (rng.uniform(-9, 9, count) * rng.choice([1, 30], count)),
        10 ** rng.uniform(-20, 3, count) * rng.choice([-1, 1], count),
    )
    kept = (abs(z - 1) > 0.05) & (abs(z - 2) > 0.05)
    return z[kept] / rate[kept], rate[kept]


def relative_error(found, exact):
    return float(abs(mp.mpc(complex(found)) - exact) / abs(exact))


def log_multiplier(multiplier):
    return mp.log(multiplier) if multiplier > 0 else mp.log(-multiplier) + 1j * mp.pi


def test_digits_over_many_decades():
    curvatures, rates = well_posed_modes(400)
    with mp.workdps(50):
        for curvature, rate in zip(curvatures, rates, strict=True):
            z, h = mp.mpf(curvature) * mp.mpf(rate), mp.mpf(rate)
            logarithm = log_multiplier(1 - z)
            assert relative_error(modified_eigenvalue(curvature, rate), -logarithm / h) < 1e-15
            assert relative_error(principal_flow_coefficient(curvature, rate), logarithm / z) < 1e-15
            for stages in (2, 3, 4):
                multiplier = sum((-z) ** k / factorial(k) for k in range(stages + 1))
                if abs(multiplier) > 0.05 and abs(abs(multiplier) - 1) > min(abs(z) / 10, mp.mpf(1) / 10):
                    found = runge_kutta_modified_eigenvalue(curvature, rate, stages)
                    assert relative_error(found, -log_multiplier(multiplier) / h) < 5e-15


def test_heavy_ball_digits_over_many_decades():
    rng = np.random.default_rng(5)
    curvatures, rates = well_posed_modes(600)
    with mp.workdps(140):
        for curvature, rate in zip(curvatures, rates, strict=True):
            momentum = rng.choice([rng.uniform(), 1 - 10 ** rng.uniform(-12, 0), 10 ** rng.uniform(-20, -1)])
            shrunk = curvature * (1 - np.sqrt(momentum)) ** 2 if rng.uniform() < 0.5 else curvature
            z, b = mp.mpf(shrunk) * mp.mpf(rate), mp.mpf(momentum)
            places = (1 - mp.sqrt(b)) ** 2, (1 + mp.sqrt(b)) ** 2, 2 + 2 * b
            if any(abs(z / place - 1) < 0.05 for place in places):
                continue
            spread = mp.sqrt((1 + b - z) ** 2 - 4 * b)
            roots = (1 + b - z + spread) / 2, (1 + b - z - spread) / 2
            dominant = max(roots, key=lambda root: abs(root) if mp.im(spread) == 0 else mp.im(root))
            logarithm = mp.log(dominant) if mp.im(dominant) else log_multiplier(dominant)
            found = heavy_ball_modified_eigenvalue(shrunk, rate, momentum)
            assert relative_error(found, -logarithm / mp.mpf(rate)) < 2e-15
            terms = [
                mp.mpf(shrunk)
                * z**k
                / (k + 1)
                * sum(comb(k, j) ** 2 * b**j for j in range(k + 1))
                / (1 - b) ** (2 * k + 1)
                for k in range(7)
            ]
            truncated = float(heavy_ball_modified_eigenvalue(shrunk, rate, momentum, order=6))
            if abs(sum(terms)) > LARGEST:
                assert truncated == mp.sign(sum(terms)) * np.inf
            else:
                # six ratios from one term to the next, of five rounding errors each
                assert abs(truncated - sum(terms)) < 30 * EPS * sum(map(abs, terms))


def test_product_model_digits_over_many_decades():
    rng = np.random.default_rng(6)
    for decades in [4] * 200 + [150] * 40:
        with mp.workdps(12 * decades):
            a, b, y = rng.normal(size=3) * 10 ** rng.uniform(-decades, decades, 3)
            x = rng.choice([-1, 1]) * 10 ** rng.uniform(-3, 3)
            if rng.uniform() < 0.2:
                b = a * (1 + 10 ** rng.uniform(-14, -8))
            if rng.uniform() < 0.5:
                y = a * b * x * (1 + rng.uniform(-0.9, 0.9))
            gap, product, end = abs(mp.mpf(a) ** 2 - mp.mpf(b) ** 2), mp.mpf(a) * mp.mpf(b), mp.mpf(y) / mp.mpf(x)
            lengths = mp.sqrt(gap**2 + 4 * product**2), mp.sqrt(gap**2 + 4 * end**2)
            angle = mp.asinh(2 * product / gap) - mp.asinh(2 * end / gap)
            drift = mp.mpf(x) ** 2 * ((lengths[0] - lengths[1]) / 4 - end * angle / 2)
            # a b x - y cancels near a minimum, whatever the formula
            rounding = 3e-15 * (1 + abs(end / (product - end)))
            if drift > LARGEST:
                with pytest.raises(ValueError, match="range of doubles"):
                    product_model_drift_exponent((a, b), x, y)
            elif drift > SMALLEST:
                assert relative_error(product_model_drift_exponent((a, b), x, y), drift) < rounding
            larger = mp.sqrt((lengths[1] + gap) / 2)
            limit = (mp.sign(a) * larger, end / (mp.sign(a) * larger))
            if abs(a) < abs(b):
                limit = (end / (mp.sign(b) * larger), mp.sign(b) * larger)
            for found, exact in zip(product_model_flow_limit((a, b), x, y), limit, strict=True):
                assert abs(found - exact) < 2e-15 * max(abs(exact), SMALLEST)


def loss_after(time, shares, rates):
    return sum(share * mp.exp(-2 * rate * time) for share, rate in zip(shares, rates, strict=True))


def decays_until(loss, shares, rates):
    """By bisection in the logarithm of the time."""
    late, early = (mp.log(sum(shares) / loss) / (2 * rate) for rate in (min(rates), max(rates)))
    for _ in range(200):
        middle = mp.sqrt(early * late)
        early, late = (middle, late) if loss_after(middle, shares, rates) > loss else (early, middle)
    return [2 * rate * late for rate in rates]


def test_equal_loss_digits_over_many_decades():
    rng, compared = np.random.default_rng(7), 0
    with mp.workdps(50):
        for decades in np.repeat([1, 40, 140], 15):
            eigenvalues, state, weights = 10 ** rng.uniform(-decades, decades, (3, 3))
            rate = rng.uniform(0, 0.9) / eigenvalues.max()
            shares = [mp.mpf(l) * mp.mpf(w) ** 2 / 2 for l, w in zip(eigenvalues, state, strict=True)]  # noqa: E741
            rates = [-mp.log1p(-mp.mpf(l) * mp.mpf(rate)) / mp.mpf(rate) for l in eigenvalues]  # noqa: E741
            loss = float(min(sum(shares), mp.mpf(LARGEST)) * 10 ** -rng.uniform(0.1, 8))

            def at(loss, shares=shares, rates=rates, state=state, weights=weights):
                decays = decays_until(loss, shares, rates)
                sizes = zip(weights, state, decays, strict=True)
                return decays, [mp.mpf(c) * mp.mpf(w) ** 2 * mp.exp(-decay) for c, w, decay in sizes]

            decays, terms = at(mp.mpf(loss))
            exact, moved = sum(terms), sum(at(mp.mpf(loss) * (1 + mp.mpf(10) ** -20))[1])
            if SMALLEST < exact < LARGEST:
                # exp amplifies the rounding of the time, for the modes that count in the observable or in the loss
                left = [share * mp.exp(-decay) for share, decay in zip(shares, decays, strict=True)]
                counts = [term > exact / 1e20 or part > loss / 1e20 for term, part in zip(terms, left, strict=True)]
                largest = max(decay for decay, count in zip(decays, counts, strict=True) if count)
                condition = 1 + largest + abs(moved / exact - 1) * mp.mpf(10) ** 20
                found = equal_loss_observable(eigenvalues, state, weights, loss, rate)
                assert relative_error(found, exact) < 4 * EPS * condition
                compared += 1
    assert compared > 25

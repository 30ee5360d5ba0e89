"""The trace of an operator from few products, with a standard error."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.linalg import qr_delete
from scipy.stats import t as student

from quadlab.bridge.arrays import host
from quadlab.bridge.spectra.basis import transposed
from quadlab.bridge.spectra.products import check_symmetric, products_of
from quadlab.theory.intervals import whole_positive
from quadlab.theory.seeds import generator

__all__ = ["Trace", "trace"]

FEWEST_PRODUCTS = 4
LEFT_OUT = 3
# four standard errors hold in 999 of 1000 cases
WITHIN, CHANCE = 4, 0.001


@dataclass(frozen=True)
class Trace:
    """An estimate of a trace, its standard error, and how many vectors were multiplied."""

    value: float
    standard_error: float
    products: int


def trace(operator, *, rng=None, products=60):
    """The trace of a symmetric operator by XTrace, which is exchangeable in its random vectors.

    value = mean of t_i = tr(P_i A) + (n - m + 1) u_i^T A u_i / |u_i|^2, unbiased, with Gaussian w_1 … w_m,
    m = products // 2, the projector P_i on the range of all A w_j but A w_i, and u_i = (1 - P_i) w_i. All t_i come from
    A w and A q, q an orthonormal basis of all A w_j. Preferred to Hutch++, in which a vector serves either the
    projector or the remainder: here each serves both.

    The spread of the t_i is no measure of the error: where m vectors meet m outliers, one direction among these is
    often in none of the w_j, and all t_i lack it alike. Let v_r be the variance of one t_i given the others, if r
    vectors, w_i among them, are left out of its projector. As t_i changes by v_2 - v_1 in mean square where another
    vector is left out too, by the inequality of Cauchy and Schwarz the mean has at most the variance

        v_1 / m + v_2 - v_1 <= v_1 / m + (v_3 - v_1) / 2,

    the latter where v_r is convex in r. Of three directions that three vectors are held against, one that hides
    leaves two to be seen.

    Parameters
    ----------
    operator : `.shape` (n, n) and `@` for (n, m) arrays, symmetric; on its `.backend`, or NumPy float64 without one.
    rng : SPEC 7. products : vectors multiplied at most, >= 4; from n on the trace is exact, with standard error 0.

    Returns
    -------
    Trace. standard_error is the root of that bound, in which v_r is the mean of 2 N |B u - c u|^2 / |u|^2, unbiased,
    with B = (1 - P) A (1 - P) on N dimensions and c = u^T B u / |u|^2; times a Student factor for m < 17, so that four
    standard errors hold in 999 of 1000 cases; and never below the rounding. It is close to the spread of the value for
    flat spectra, and several times as large where eigenvalues fall fast or m just exceeds the number of outliers: with
    these products it cannot be known that there is not one more. If the rank is below m, but for rounding, the value
    is that of the range found, and the error bounds what eigenvalues in the rounding add up to.

    Raises
    ------
    ValueError: an argument out of range, or products that are not finite or not those of a symmetric operator.

    Source: Epperly, Tropp and Webber 2024, sections 2 and 4 (normalised vectors).

    >>> trace(np.diag([3.0, 2.0, 1.0]))
    Trace(value=6.0, standard_error=0.0, products=3)
    """
    multiply, random = products_of(operator), generator(rng, "trace")
    products = int(whole_positive.check_one("products", products))
    if multiply.dimension <= products:
        whole = multiply(multiply.backend.array(np.eye(multiply.dimension)))
        whole = host(whole).astype(np.float64)
        check_symmetric(whole, whole.T, whole, multiply.backend)
        return Trace(float(np.trace(whole)) * multiply.scale, 0.0, multiply.count)
    if products < FEWEST_PRODUCTS:
        raise ValueError(f"products must be at least {FEWEST_PRODUCTS}, or n, got {products}")
    value, variance = _estimate(multiply, multiply.random(random, products // 2))
    return Trace(value * multiply.scale, sqrt(variance) * multiply.scale, multiply.count)


def _estimate(multiply, vectors):
    """The mean of the t_i and its variance, from Gaussian rows (m, n)."""
    xp, dimension, count = multiply.backend.namespace, multiply.dimension, vectors.shape[0]
    images = multiply(vectors)
    tall, triangle = xp.linalg.qr(transposed(images), mode="reduced")
    left, sizes, right = np.linalg.svd(_small(triangle))
    eps = float(np.finfo(multiply.backend.dtype).eps)
    rank = int(np.sum(sizes > 10 * count * eps * sizes[0]))
    if not rank:
        return 0.0, 0.0
    basis = multiply.backend.array(left[:, :rank].T) @ transposed(tall)
    again = multiply(basis)
    inner, image = _small(basis @ transposed(again)), sizes[:rank, None] * right[:rank]
    norms = _small(xp.linalg.vector_norm(again, axis=1))
    check_symmetric(_small(again @ transposed(vectors)), image, np.sqrt(count) * norms, multiply.backend)
    # of one quadratic form, as coordinates come from sums over so many vectors
    rounding = count * (eps * float(norms.max())) ** 2
    if rank < count:
        # |tr((1 - P) A (1 - P))| <= sqrt(n) |(1 - P) A|_F, and what was cut off A w has mean square |(1 - P) A|_F^2
        missed = dimension * float(np.sum(sizes[rank:] ** 2)) / (count - rank)
        return float(np.trace(inner)), missed + rank**2 * rounding
    inside = _small(basis @ transposed(vectors))
    rest = [vectors - multiply.backend.array(inside.T) @ basis, again - multiply.backend.array(inner.T) @ basis]
    _, outside = xp.linalg.qr(transposed(xp.concat(rest, axis=0)), mode="reduced")
    outer, again_outer = np.split(_small(outside), 2, axis=1)
    held = _LeftOut(dimension, inner, image, inside, outer, again_outer, *np.linalg.qr(image))
    samples, alone = np.concatenate([held.samples(i, 1) for i in range(count)], axis=1)
    # two of two, as there is nothing else to hold them against; three of four leave one
    together = LEFT_OUT if count > LEFT_OUT else 2
    starts = [min(start, count - together) for start in range(0, count, together)]
    more = [np.mean(held.samples(i, together)[1] - alone[i : i + together]) for i in starts]
    variance = float(np.mean(alone)) / count + max(float(np.mean(more)), 0.0) / (together - 1)
    factor = max(float(student.isf(CHANCE / 2, count)) / WITHIN, 1.0)
    return float(np.mean(samples)), factor**2 * variance + dimension**2 * rounding


@dataclass(frozen=True)
class _LeftOut:
    """All that the t_i depend on, in coordinates in and outside the basis q.

    inner q^T A q, image q^T A w and inside q^T w (m, m); outer (1 - q q^T) w and again_outer (1 - q q^T) A q, in
    coordinates of their own (l, m); left and upper, the factors of the image.
    """

    dimension: int
    inner: np.ndarray
    image: np.ndarray
    inside: np.ndarray
    outer: np.ndarray
    again_outer: np.ndarray
    left: np.ndarray
    upper: np.ndarray

    def samples(self, first, left_out):
        """t_i and the variance of each, (2, r), for w_i … w_(i + r - 1), which are left out of the projector together.

        The projector is on q (1 - d d^T), with the directions d (m, r) orthogonal to the other images.
        """
        chosen = slice(first, first + left_out)
        count = len(self.inner)
        away = qr_delete(self.left, self.upper, first, left_out, which="col")[0][:, count - left_out :]
        free = count - left_out
        kept = self.inside[:, chosen] - away @ (away.T @ self.inside[:, chosen])
        # u, and B u as A w lies in the basis
        probe = np.concatenate([away.T @ self.inside[:, chosen], self.outer[:, chosen]])
        product = np.concatenate([away.T @ (self.image[:, chosen] - self.inner @ kept), -self.again_outer @ kept])
        size, dimensions = np.sum(probe**2, axis=0), self.dimension - free
        quotient = np.sum(probe * product, axis=0) / size
        variance = 2 * dimensions * np.sum((product - quotient * probe) ** 2, axis=0) / size
        known = np.trace(self.inner) - np.sum(away * (self.inner @ away))
        return np.stack([known + dimensions * quotient, variance])


def _small(array):
    return host(array).astype(np.float64)

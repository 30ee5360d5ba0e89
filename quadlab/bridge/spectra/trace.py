"""The trace of an operator from few products, with a standard error."""

from dataclasses import dataclass

import numpy as np

from quadlab.bridge.arrays import host
from quadlab.bridge.spectra.basis import transposed
from quadlab.bridge.spectra.products import products_of
from quadlab.theory.intervals import whole_positive
from quadlab.theory.seeds import generator

__all__ = ["Trace", "trace"]

FEWEST_PRODUCTS = 4
# s_i and s_j are hardly ever closer to parallel than this; it keeps the diagonal i = j finite
PARALLEL = 1e-10


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
    projector or the remainder: here each serves both, and the spread of the t_i measures the error.

    Parameters
    ----------
    operator : `.shape` (n, n) and `@` for (n, m) arrays, symmetric; on its `.backend`, or NumPy float64 without one.
    rng : SPEC 7. products : vectors multiplied at most, >= 4; from n on the trace is exact, with standard error 0.

    Returns
    -------
    Trace. standard_error = sqrt(s^2 / m + c), with the sample variance s^2 of the t_i, which alone is too small, as
    they depend on each other, and c the mean over pairs of (t_i - t_i without w_j) (t_j - t_j without w_i): its square
    is unbiased. If the rank is below m, but for rounding, the value is that of the range found, and the error bounds
    what eigenvalues in the rounding add up to.

    Raises
    ------
    ValueError: an argument out of range, or products that are not finite.

    Source: Epperly, Tropp and Webber 2024, sections 2 and 4 (normalised vectors).

    >>> trace(np.diag([3.0, 2.0, 1.0]))
    Trace(value=6.0, standard_error=0.0, products=3)
    """
    multiply, random = products_of(operator), generator(rng, "trace")
    products = int(whole_positive.check_one("products", products))
    if multiply.dimension <= products:
        whole = multiply(multiply.backend.array(np.eye(multiply.dimension)))
        return Trace(float(np.trace(host(whole).astype(np.float64))) * multiply.scale, 0.0, multiply.count)
    if products < FEWEST_PRODUCTS:
        raise ValueError(f"products must be at least {FEWEST_PRODUCTS}, or n, got {products}")
    samples, covariance = _leave_one_out(multiply, multiply.random(random, products // 2))
    error = np.sqrt(np.var(samples, ddof=1) / len(samples) + max(covariance, 0.0))
    return Trace(float(np.mean(samples)) * multiply.scale, float(error) * multiply.scale, multiply.count)


def _leave_one_out(multiply, vectors):
    """The estimates t_i (m,) from Gaussian rows (m, n), and an unbiased estimate of the covariance of two of them.

    A w = q r with orthonormal q. If r is regular, 1 - P_i has the direction q s_i too, where s_i is orthogonal to the
    other columns of r: column i of r^(-T), normalised. If not, all P_i are the projector on the range of A.
    """
    xp, dimension, count = multiply.backend.namespace, multiply.dimension, vectors.shape[0]
    images = multiply(vectors)
    tall, triangle = xp.linalg.qr(transposed(images), mode="reduced")
    left, sizes, right = np.linalg.svd(_small(triangle))
    rank = int(np.sum(sizes > 10 * count * np.finfo(multiply.backend.dtype).eps * sizes[0]))
    basis = multiply.backend.array(left[:, :rank].T) @ transposed(tall)
    inner = _small(basis @ transposed(multiply(basis))) if rank else np.zeros((0, 0))
    if rank < count:
        # |tr((1 - P) A (1 - P))| <= sqrt(n) |(1 - P) A|_F, and what was cut off A w has mean square |(1 - P) A|_F^2
        return np.full(count, np.trace(inner)), dimension * float(np.sum(sizes[rank:] ** 2)) / (count - rank)
    squared = _small(xp.sum(vectors * vectors, axis=1))
    quadratic = _small(xp.sum(vectors * images, axis=1))
    inside, image = _small(basis @ transposed(vectors)), _small(basis @ transposed(images))
    removed = right / sizes[:, None]
    removed = removed / np.linalg.norm(removed, axis=0)
    inside = inside - removed * _columns(removed, inside)
    # w^T (1 - P) A (1 - P) w with P w = q c, |(1 - P) w|^2, and tr(P A)
    outside = quadratic - _columns(inside, 2 * image - inner @ inside)
    left_over = squared - _columns(inside, inside)
    kept = np.trace(inner) - _columns(removed, inner @ removed)
    samples = kept + (dimension - count + 1) * outside / left_over
    # the same leaving out j too, (i, j): the direction e = (s_j - cosine s_i) / sine leaves P_i as well
    cosine = removed.T @ removed
    sine = np.sqrt(np.maximum(1 - cosine**2, PARALLEL))
    gram = removed.T @ inner @ removed
    square = (gram.diagonal() - 2 * cosine * gram + cosine**2 * gram.diagonal()[:, None]) / sine**2
    along = _crossed(removed, inside, cosine, sine)
    mixed = _crossed(removed, image - inner @ inside, cosine, sine)
    fewer = kept[:, None] - square
    fewer += (
        (dimension - count + 2)
        * (outside[:, None] + 2 * along * mixed + along**2 * square)
        / (left_over[:, None] + along**2)
    )
    # given the other vectors, t_i without j and t_j without i are independent, and t_i - (t_i without j) has mean 0
    change = samples[:, None] - fewer
    np.fill_diagonal(change, 0.0)
    return samples, float(np.sum(change * change.T)) / (count * (count - 1))


def _columns(first, second):
    """Inner products of the columns of two matrices, one by one."""
    return np.sum(first * second, axis=0)


def _crossed(removed, vectors, cosine, sine):
    """e_ij . v_i, (i, j)."""
    products = vectors.T @ removed
    return (products - cosine * products.diagonal()[:, None]) / sine


def _small(array):
    return host(array).astype(np.float64)

"""The spectral density of an operator by Lanczos quadrature, with error bars from independent probes."""

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.special import ndtr

from quadlab.bridge.arrays import host
from quadlab.bridge.spectra.products import check_symmetric, products_of
from quadlab.theory.intervals import Interval, positive, real, whole_positive
from quadlab.theory.seeds import generator

__all__ = ["SpectralDensity", "spectral_density"]

# products of a dense matrix leave a few eps of the norm; a node this far apart has no weight to speak of
ROUNDING = 100
WHOLE = Interval(0, inf, lower_closed=True, whole=True, words="a whole number >= 0")


@dataclass(frozen=True)
class SpectralDensity:
    """The normalised spectrum, of mass 1, as one quadrature rule for each probe.

    nodes, weights (probes, steps), NumPy float64; both are zero where a rule has fewer nodes; weights sum to 1 over
    each row. products : how many vectors were multiplied. residuals (probes, steps), |A v - node v| of the nodes'
    vectors, zero for eigenvalues; rounding : up to what the numbers of the nodes can be trusted.

    Estimates are means over the probes; their standard errors come from the spread over the probes, and are infinite
    for one probe. To their squares comes the square of what a rule leaves open, which may be alike for all probes: the
    weight of a node lies within its residual of it, but no further than the nodes next to it, as the inequalities of
    Chebyshev, Markov and Stieltjes say.
    """

    nodes: np.ndarray
    weights: np.ndarray
    products: int
    residuals: np.ndarray | float = 0.0
    rounding: float = 0.0

    def density(self, points, width):
        """The density smoothed by a Gaussian of standard deviation `width` > 0, at points: values, standard errors.

        >>> found = spectral_density(np.diag([1.0, 1.0]), rng=0)
        >>> found.density([1.0], 0.1)[0].round(3)
        array([3.989])
        """
        width = positive.check_one("width", width)

        def bell(distances):
            return np.exp(-((distances / width) ** 2) / 2) / (width * sqrt(2 * np.pi))

        def least_and_most(below, above):
            most = np.where((below <= 0) & (above >= 0), 0.0, np.minimum(np.abs(below), np.abs(above)))
            return bell(np.maximum(np.abs(below), np.abs(above))), bell(most)

        values, errors = self._mean(points, bell, least_and_most, width)
        if not np.isfinite(values).all():
            raise ValueError(f"width must be large enough for a finite density, got {width}")
        return values, errors

    def cumulative(self, points, width=0.0):
        """The share of the spectrum up to each point, smoothed over `width` >= 0: values, standard errors.

        Without a width, eigenvalues within the rounding of a point count as not above it, and of the weight of nodes
        that may lie on either side half counts. At an eigenvalue a width > 0 gives the mean of both sides.

        >>> spectral_density(np.diag([1.0, 1.0]), rng=0).cumulative([0.9, 1.0, 1.1])[0]
        array([0., 1., 1.])
        """
        width = Interval(0, inf, lower_closed=True, words="non-negative and finite").check_one("width", width)
        if not width:
            points = np.asarray(real.check("points", points)) + self.rounding

        def share(distances):
            return ndtr(distances / width) if width else (distances >= 0).astype(float)

        return self._mean(points, share, lambda below, above: (share(below), share(above)), width)

    def moment(self, power):
        """trace(A^power) / n and its standard error; unbiased up to power 2 steps - 1.

        >>> spectral_density(np.diag([2.0, 2.0]), rng=0).moment(3)[0].round(9)
        np.float64(8.0)
        """
        power = int(WHOLE.check_one("power", power))
        with np.errstate(over="ignore", invalid="ignore"):
            each = np.sum(self.weights * self.nodes**power, axis=1)
            left, right = self._reach()
            largest = np.maximum(np.abs(self.nodes - left), np.abs(self.nodes + right))
            missed = np.sum(self.weights * (largest**power - np.abs(self.nodes) ** power), axis=1)
        if not np.isfinite(each).all():
            raise ValueError(f"power must keep the powers of the nodes finite, got {power}")
        exact = power < 2 * self.nodes.shape[1]
        return self._over_probes(each, np.zeros(len(each)) if exact else missed)

    def _reach(self):
        """How far the weight of each node may reach to the left and to the right, (probes, steps) each."""
        order = np.argsort(np.where(self.weights > 0, self.nodes, inf), axis=1, kind="stable")
        gaps = np.diff(np.take_along_axis(self.nodes, order, axis=1), axis=1)
        gaps = np.where(np.take_along_axis(self.weights, order, axis=1)[:, 1:] > 0, gaps, inf)
        far = np.full((len(self.nodes), 1), inf)
        left, right = np.empty((2, *self.nodes.shape))
        np.put_along_axis(left, order, np.concatenate([far, gaps], axis=1), axis=1)
        np.put_along_axis(right, order, np.concatenate([gaps, far], axis=1), axis=1)
        return np.minimum(left, self.residuals), np.minimum(right, self.residuals)

    def _mean(self, points, function, bounds, width):
        points = np.asarray(real.check("points", points))
        each, missed = np.empty((2, len(self.nodes), points.size))
        # what lies many widths away overflows on its way to 0 or 1
        with np.errstate(over="ignore", invalid="ignore"):
            left, right = self._reach()
            # quadrature by nodes so far apart misses this share of a Gaussian
            share = np.exp(-2 * (np.pi * width / np.maximum(np.maximum(left, right), np.finfo(float).tiny)) ** 2)
            for column, point in enumerate(points.flat):
                distances = point - self.nodes
                least, most = bounds(distances - right, distances + left)
                values = function(distances) if width else (least + most) / 2
                open_ = share * np.maximum(most - values, values - least)
                if width:
                    least, most = bounds(distances - self.rounding, distances + self.rounding)
                    open_ = np.maximum(open_, np.maximum(most - values, values - least))
                each[:, column] = np.sum(self.weights * values, axis=1)
                missed[:, column] = np.sum(self.weights * open_, axis=1)
            values, errors = self._over_probes(each, missed)
        return values.reshape(points.shape), errors.reshape(points.shape)

    def _over_probes(self, each, missed):
        values, count = each.mean(axis=0), len(each)
        if count == 1:
            return values, np.full(values.shape, inf)[()]
        return values, np.hypot(each.std(axis=0, ddof=1) / sqrt(count), missed.mean(axis=0))


def spectral_density(operator, *, rng=None, probes=8, steps=64):
    """The normalised spectrum of a symmetric operator by stochastic Lanczos quadrature.

    For unit vectors q_p, the probes, and any f: trace(f(A)) / n = E q^T f(A) q, of which f(nodes) weights is the Gauss
    quadrature: nodes and weights are the eigenvalues, and the squared first components of the eigenvectors, of the
    tridiagonal matrix of `steps` Lanczos steps.

    Probes are uniform on the sphere (normalised Gaussian vectors). E q q^T = 1/n exactly, so that normalising
    costs no bias, and their error depends on the spectrum alone, whatever the basis; the error of random signs
    depends on the basis. All probes are multiplied together.

    Parameters
    ----------
    operator : `.shape` (n, n) and `@` for (n, m) arrays, symmetric; on its `.backend`, or NumPy float64 without one.
    rng : SPEC 7.
    probes : independent vectors, >= 1. steps : Lanczos steps, >= 1, n at most. probes * steps vectors (n,) are kept, as
        every step is orthogonalised twice against all the earlier ones of its probe.

    Returns
    -------
    SpectralDensity

    Raises
    ------
    ValueError: an argument out of range, or products that are not finite or not those of a symmetric operator.

    Source: Ubaru, Chen and Saad 2017; Golub and Meurant 2010.

    >>> found = spectral_density(np.diag([3.0, -1.0]), rng=0, probes=2)
    >>> found.nodes.round(9)
    array([[-1.,  3.],
           [-1.,  3.]])
    """
    products, random = products_of(operator), generator(rng, "density")
    probes = int(whole_positive.check_one("probes", probes))
    steps = min(int(whole_positive.check_one("steps", steps)), products.dimension)
    diagonals, couplings = _tridiagonal(products, products.random(random, probes), steps)
    nodes, weights, residuals = np.zeros((3, probes, steps))
    for probe, (diagonal, coupling) in enumerate(zip(diagonals, couplings, strict=True)):
        values, vectors = eigh_tridiagonal(diagonal, coupling[:-1])
        nodes[probe], weights[probe] = values * products.scale, vectors[0] ** 2
        residuals[probe] = coupling[-1] * np.abs(vectors[-1]) * products.scale
    rounding = ROUNDING * float(np.finfo(products.backend.dtype).eps) * float(np.abs(nodes).max())
    return SpectralDensity(nodes, weights, products.count, residuals, rounding)


def _tridiagonal(products, rows, steps):
    """Diagonals and couplings (probes, steps) of Lanczos from rows (probes, n); couplings are 0 from breakdown on."""
    xp, where = products.backend.namespace, products.backend
    probes, dimension = rows.shape
    basis = where.zeros((probes, steps, dimension))
    diagonals, couplings = np.zeros((probes, steps)), np.zeros((probes, steps))
    rows = rows / xp.linalg.vector_norm(rows, axis=1, keepdims=True)
    smallest, norms = ROUNDING * np.finfo(where.dtype).eps, np.zeros(probes)
    for step in range(steps):
        basis[:, step, :] = rows
        rest = products(rows)[:, :, None]
        norms = np.maximum(norms, _small(xp.linalg.vector_norm(rest, axis=1))[:, 0])
        done = basis[:, : step + 1, :]
        first = xp.matmul(done, rest)
        _check_recurrence(rows, rest, first, couplings, norms, where)
        rest = rest - xp.matmul(xp.permute_dims(done, (0, 2, 1)), first)
        rest = rest - xp.matmul(xp.permute_dims(done, (0, 2, 1)), xp.matmul(done, rest))
        diagonals[:, step] = _small(first)[:, step, 0]
        lengths = _small(xp.linalg.vector_norm(rest, axis=1))[:, 0]
        alive = lengths > smallest * norms
        couplings[:, step] = np.where(alive, lengths, 0)
        if not alive.any():
            break
        # an ended recurrence goes on with zeros, which its later couplings keep
        rows = rest[:, :, 0] * where.array(np.where(alive, 1 / np.where(alive, lengths, 1), 0))[:, None]
    return diagonals, couplings


def _check_recurrence(rows, images, first, couplings, norms, where):
    """ValueError where the products of the latest rows are not those of a symmetric operator.

    Probe by probe they have a part along the row before alone, which is the coupling; and of two probes, the product
    with one of the rows has the part along the other that it has along the one.
    """
    step = first.shape[1] - 1
    along, expected = _small(first)[:, :step, 0], np.zeros((len(norms), step))
    if step:
        expected[:, -1] = couplings[:, step - 1]
    check_symmetric(along, expected, norms, where)
    mixed = _small(rows @ where.namespace.permute_dims(images[:, :, 0], (1, 0)))
    check_symmetric(mixed, mixed.T, np.sqrt(len(norms)) * norms, where)


def _small(array):
    return host(array).astype(np.float64)

"""The spectral density of an operator by Lanczos quadrature, with error bars from independent probes."""

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.special import ndtr

from quadlab.bridge.arrays import host
from quadlab.bridge.spectra.products import products_of
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
    each row. products : how many vectors were multiplied. Estimates are means over the probes; their standard errors
    come from the spread over the probes, and are infinite for one probe.
    """

    nodes: np.ndarray
    weights: np.ndarray
    products: int

    def density(self, points, width):
        """The density smoothed by a Gaussian of standard deviation `width` > 0, at points: values, standard errors.

        >>> found = spectral_density(np.diag([1.0, 1.0]), rng=0)
        >>> found.density([1.0], 0.1)[0].round(3)
        array([3.989])
        """
        width = positive.check_one("width", width)

        def bell(distances):
            return np.exp(-((distances / width) ** 2) / 2) / (width * sqrt(2 * np.pi))

        values, errors = self._mean(points, bell)
        if not np.isfinite(values).all():
            raise ValueError(f"width must be large enough for a finite density, got {width}")
        return values, errors

    def cumulative(self, points, width=0.0):
        """The share of the spectrum up to each point, smoothed over `width` >= 0: values, standard errors.

        >>> spectral_density(np.diag([1.0, 1.0]), rng=0).cumulative([0.9, 1.1])[0]
        array([0., 1.])
        """
        width = Interval(0, inf, lower_closed=True, words="non-negative and finite").check_one("width", width)
        return self._mean(points, (lambda x: ndtr(x / width)) if width else (lambda x: (x >= 0).astype(float)))

    def moment(self, power):
        """trace(A^power) / n and its standard error; unbiased up to power 2 steps - 1.

        >>> spectral_density(np.diag([2.0, 2.0]), rng=0).moment(3)[0].round(9)
        np.float64(8.0)
        """
        power = int(WHOLE.check_one("power", power))
        with np.errstate(over="ignore", invalid="ignore"):
            each = np.sum(self.weights * self.nodes**power, axis=1)
        if not np.isfinite(each).all():
            raise ValueError(f"power must keep the powers of the nodes finite, got {power}")
        return self._over_probes(each)

    def _mean(self, points, function):
        points = np.asarray(real.check("points", points))
        each = np.empty((len(self.nodes), points.size))
        # what lies many widths away overflows on its way to 0 or 1
        with np.errstate(over="ignore", invalid="ignore"):
            for column, point in enumerate(points.flat):
                each[:, column] = np.sum(self.weights * function(point - self.nodes), axis=1)
            values, errors = self._over_probes(each)
        return values.reshape(points.shape), errors.reshape(points.shape)

    def _over_probes(self, each):
        values, count = each.mean(axis=0), len(each)
        if count == 1:
            return values, np.full(values.shape, inf)[()]
        return values, each.std(axis=0, ddof=1) / sqrt(count)


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
    ValueError: an argument out of range, or products that are not finite.

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
    nodes, weights = np.zeros((probes, steps)), np.zeros((probes, steps))
    for probe, (diagonal, coupling) in enumerate(zip(diagonals, couplings, strict=True)):
        values, vectors = eigh_tridiagonal(diagonal, coupling[:-1])
        nodes[probe], weights[probe] = values * products.scale, vectors[0] ** 2
    return SpectralDensity(nodes, weights, products.count)


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


def _small(array):
    return host(array).astype(np.float64)

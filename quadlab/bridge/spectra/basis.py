"""An orthonormal basis that grows by products of a symmetric operator, and the operator's projection on it.

The projection is computed, entry by entry, from the products themselves: it is right whatever directions the basis
was given, so that breakdown, random directions and restarts need no bookkeeping.
"""

from dataclasses import dataclass

import numpy as np

from quadlab.bridge.arrays import backend_of, host, namespace

__all__ = ["RitzBasis", "RitzPairs", "combined", "orthonormal", "transposed"]

COLUMNS_AT_ONCE = 2**18


@dataclass(frozen=True)
class RitzPairs:
    """Ritz values, most wanted first; columns of coefficients in the basis; norms of the residuals A v - value v."""

    values: np.ndarray
    coefficients: np.ndarray
    residuals: np.ndarray

    def first(self, count):
        """The `count` most wanted pairs."""
        return self.take(range(count))

    def take(self, which):
        """The pairs with these numbers."""
        chosen = list(which)
        return RitzPairs(self.values[chosen], self.coefficients[:, chosen], self.residuals[chosen])


class RitzBasis:
    """Rows (count, n) q with q q^T = 1, and their projection q A q^T (count, count) on the host.

    `norm` is the largest |A row| met, a lower bound of the operator's norm.
    `remainder` (r, b) is a square root of what the products of the last b rows have outside the basis: the residual
    of a combination of the basis with last coefficients c has norm |remainder c|.
    """

    def __init__(self, products, capacity):
        self.products, self.capacity = products, capacity
        self._rows = products.backend.zeros((capacity, products.dimension))
        # the lower triangle counts
        self._projection = np.zeros((capacity, capacity))
        self.count, self.norm, self.remainder = 0, 0.0, np.zeros((0, 0))

    @property
    def rows(self):
        """(count, n)."""
        return self._rows[: self.count, :]

    def expand(self, directions, smallest):
        """Add orthonormal rows; the orthonormal directions (c, n), c <= b, that their products add to the span.

        What is at most `smallest` relative to the operator's norm counts as rounding and adds nothing.
        """
        start, self.count = self.count, self.count + directions.shape[0]
        self._rows[start : self.count, :] = directions
        products = self.products(directions)
        xp = self.products.backend.namespace
        self.norm = max(self.norm, float(xp.max(xp.linalg.vector_norm(products, axis=1))))
        added, coefficients, self.remainder = orthonormal(products, self.rows, smallest * self.norm)
        self._projection[start : self.count, : self.count] = coefficients
        # the products of either row give the same number: their mean
        own = self._projection[start : self.count, start : self.count]
        own[...] = (coefficients[:, start:] + coefficients[:, start:].T) / 2
        return added[: min(added.shape[0], self.products.dimension - self.count), :]

    def pairs(self, key):
        """Ritz pairs in falling order of `key(values)`."""
        values, vectors = np.linalg.eigh(self._projection[: self.count, : self.count])
        order = np.argsort(-key(values), kind="stable")
        values, vectors = values[order], vectors[:, order]
        outside = self.remainder @ vectors[self.count - self.remainder.shape[1] :, :]
        return RitzPairs(values, vectors, np.linalg.norm(outside, axis=0))

    def keep(self, pairs):
        """Replace the basis by the vectors of some of its Ritz pairs."""
        combined(pairs.coefficients.T, self.rows, out=self._rows)
        last = self.count - self.remainder.shape[1]
        self.count, self.remainder = len(pairs.values), self.remainder @ pairs.coefficients[last:, :]
        self._projection[: self.count, : self.count] = np.diag(pairs.values)


def orthonormal(rows, basis, smallest):
    """What rows (b, n) add to the span of orthonormal rows `basis` (m, n).

    Classical Gram-Schmidt twice. After the first pass Q R = rest^T, and the singular values of R show the rank:
    directions with a singular value <= smallest are left out. The second pass follows the normalisation, since the
    rounding of the first is large relative to a direction that is small.

    Returns
    -------
    Orthonormal directions (c, n), c <= b, largest first; the coefficients rows @ basis.T (b, m) on the host;
    the remainder R (min(b, n), b) on the host.
    """
    xp = namespace(basis)
    coefficients, rest = _outside(rows, basis)
    tall, remainder = xp.linalg.qr(transposed(rest), mode="reduced")
    remainder = host(remainder).astype(np.float64)
    left, sizes, _ = np.linalg.svd(remainder)
    turn = left[:, : int(np.sum(sizes > smallest))]
    directions = combined(turn.T, transposed(tall))
    if directions.shape[0]:
        directions = transposed(xp.linalg.qr(transposed(_outside(directions, basis)[1]), mode="reduced")[0])
    return directions, coefficients, remainder


def _outside(rows, basis):
    if not basis.shape[0]:
        return np.zeros((rows.shape[0], 0)), rows
    coefficients = rows @ transposed(basis)
    return host(coefficients).astype(np.float64), rows - coefficients @ basis


def transposed(rows):
    """The transpose, without a copy."""
    return namespace(rows).permute_dims(rows, (1, 0))


def combined(coefficients, rows, out=None):
    """Coefficients (c, m), on the host, times rows (m, n); into the first rows of `out`, which may be `rows` itself.

    A few columns at a time, so that beside the result there is no array of its size.

    >>> combined(np.asarray([[1.0, -1.0]]), np.eye(2))
    array([[ 1., -1.]])
    """
    where, (count, _), dimension = backend_of(rows), coefficients.shape, rows.shape[1]
    matrix = where.array(coefficients)
    out = where.zeros((count, dimension)) if out is None else out
    for start in range(0, dimension, COLUMNS_AT_ONCE):
        columns = slice(start, min(start + COLUMNS_AT_ONCE, dimension))
        out[:count, columns] = matrix @ rows[:, columns]
    return out

"""Extreme eigenpairs of a symmetric operator, with their residuals: block Lanczos with thick restarts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quadlab.bridge.arrays import host
from quadlab.bridge.spectra.basis import RitzBasis, combined, orthonormal, transposed
from quadlab.bridge.spectra.completeness import copies_may_be_missing, nothing_hides, steps_needed, unknown
from quadlab.bridge.spectra.products import Outgrown, here, products_of
from quadlab.theory.intervals import Interval, whole_positive
from quadlab.theory.seeds import generator

__all__ = ["EigenResult", "top_eigenpairs"]

KEYS: dict[str, Callable] = {"largest": np.asarray, "smallest": np.asarray, "magnitude": np.abs}
TOLERANCES = Interval(0, 1, words="in (0, 1)")
PRODUCTS_PER_ROW = 100
# missed eigenvalues are searched for that differ from the wanted ones by more than this, relative to the norm
RESOLUTION = 1e-4


@dataclass(frozen=True)
class EigenResult:
    """Eigenpairs and how good they are.

    values (k,), NumPy float64, in the order asked for; vectors (n, k), orthonormal, on the operator's backend;
    residuals (k,) = |A v - value v| / largest |Ritz value|; iterations, how many blocks were multiplied;
    converged, whether all residuals are within the tolerance and the search for missed eigenvalues was completed;
    products, how many vectors were multiplied.
    """

    values: np.ndarray
    vectors: Any
    residuals: np.ndarray
    iterations: int
    converged: bool
    products: int


def top_eigenpairs(
    operator,
    k=1,
    *,
    rng=None,
    start=None,
    which="largest",
    tolerance=1e-8,
    block=None,
    basis=None,
    max_products=None,
    search=None,
):
    """The k largest, smallest, or largest in magnitude, eigenvalues of a symmetric operator, with eigenvectors.

    Rayleigh-Ritz on a block Krylov space with an orthonormal basis q, restarted with the best Ritz vectors when full:
    q^T A q = s diag(values) s^T, vectors = q s. Residuals cannot tell that a pair was missed. So where the space
    ends early, where the pairs came from outside, and where copies of a repeated eigenvalue may be missing, random
    directions follow, until a missed eigenvalue beyond the k-th would have shown (see `completeness`).

    Parameters
    ----------
    operator : `.shape` (n, n) and `@` for (n, m) arrays, symmetric; on its `.backend`, or NumPy float64 without one.
    k : how many, 1 <= k <= n.
    rng : SPEC 7, for the random directions.
    start : (n,) or (n, j) vectors to begin with, as of a nearby operator; random directions follow. More than `block`
        are combined at random into that many, which takes fewest products; with block = j they are taken as they are,
        which takes fewest blocks.
    which : "largest" and "smallest" (algebraic), or "magnitude". values are in this order.
    tolerance : for the residuals, relative to the largest |Ritz value|; 20 eps of the dtype where it is below.
    block : vectors multiplied together; if None, 1 for k = 1 or with a start, and 2 otherwise.
    basis : vectors (n,) kept at most, max(2 k + 10, 20) more than are multiplied together if None. Beside the basis
        there are a few arrays of the size of the block and of the result.
    max_products : when to give up, 100 times the basis if None. The best pairs are returned with converged = False.
    search : blocks for which random directions are followed at most when the start's pairs have converged; with
        converged = False if that is not enough to say that none is missed. None for as long as it takes.

    Returns
    -------
    EigenResult. Its residuals are computed from products of its vectors, which are counted. An operator that is not
    symmetric shows in them.

    Raises
    ------
    ValueError: an argument out of range, or products that are not finite.

    Source: Wu and Simon 2000 (thick restarts); Kuczynski and Wozniakowski 1992 (random directions).

    >>> found = top_eigenpairs(np.diag([3.0, 1.0, -4.0]), 2, rng=0)
    >>> found.values.round(9), found.converged
    (array([3., 1.]), True)
    """
    if not isinstance(which, str) or which not in KEYS:
        raise ValueError(f'which must be "largest", "smallest" or "magnitude", got {which!r}')
    # the smallest of A are the largest of A divided by a negative scale
    products, random = products_of(operator, sign=-1 if which == "smallest" else 1), generator(rng, "eigenpairs")
    dimension, where = products.dimension, products.backend
    k = int(whole_positive.check_one("k", k))
    if k > dimension:
        raise ValueError(f"k must be at most n = {dimension}, got {k}")
    tolerance = max(TOLERANCES.check_one("tolerance", tolerance), 20 * _eps(where))
    block = min(_whole("block", block, 1 if k == 1 or start is not None else 2), dimension)
    first = where.zeros((0, dimension)) if start is None else _combined_start(start, where, dimension, block, random)
    # beside a start, random directions say nothing yet: they come when the start's pairs have converged
    randoms = 0 if first.shape[0] else block
    if first.shape[0] < block:
        joined, _, _ = orthonormal(products.random(random, block - first.shape[0]), first, 0.0)
        first = where.namespace.concat([first, joined], axis=0)
    capacity = min(_whole("basis", basis, max(2 * k + 10, 20) + block), dimension)
    if capacity < min(k + block, dimension):
        raise ValueError(f"basis must be at least {min(k + block, dimension)} for these k and block, got {basis}")
    limit = np.inf if search is None else _whole("search", search, None)
    least = 2 * k + block
    max_products = _whole("max_products", max_products, max(PRODUCTS_PER_ROW * capacity, least))
    if max_products < least:
        raise ValueError(f"max_products must be at least {least} for these k and block, got {max_products}")
    while True:
        ritz = RitzBasis(products, capacity)
        search = _Search(ritz, k, which, tolerance, block, random, randoms, limit)
        try:
            return search.run(first, max(max_products, products.count + least))
        except Outgrown:
            # a start close to the null space had set the scale; the products know a better one now
            continue


def _whole(name, value, default):
    return default if value is None else int(whole_positive.check_one(name, value))


def _eps(where):
    return float(np.finfo(where.dtype).eps)


def _combined_start(start, where, dimension, block, random):
    """Orthonormal rows, `block` at most: random combinations that span what the columns of `start` span, if more."""
    start = here("start", start, where)
    if start.ndim not in (1, 2) or start.shape[0] != dimension or 0 in start.shape:
        raise ValueError(f"start must have shape ({dimension},) or ({dimension}, j), got {tuple(start.shape)}")
    xp = where.namespace
    rows = start[None, :] if start.ndim == 1 else transposed(start)
    largest = xp.max(xp.abs(rows), axis=1, keepdims=True)
    rows = rows / xp.where(largest > 0, largest, xp.ones_like(largest))
    # columns that depend on others add nothing
    rows, _, _ = orthonormal(rows, where.zeros((0, dimension)), 100 * _eps(where))
    if rows.shape[0] <= block:
        return rows
    return combined(np.linalg.qr(random.standard_normal((rows.shape[0], block)))[0].T, rows)


@dataclass
class _Search:
    """One search in a basis, and what is known of its completeness.

    randoms : random directions that came in last, 0 before any did; known : what had converged then; steps : blocks
    since; restarted : whether the basis was cut since. limit : for `steps` while the converged pairs came from a start
    (`limited`).
    """

    basis: RitzBasis
    k: int
    which: str
    tolerance: float
    block: int
    random: np.random.Generator
    randoms: int
    limit: float
    known: np.ndarray = field(default_factory=lambda: np.zeros(0))
    steps: int = 0
    limited: bool = False
    restarted: bool = False
    complete: bool = False
    norm: float = 0.0

    @property
    def two_sided(self):
        """Whether both ends of the spectrum are searched."""
        return self.which == "magnitude"

    def run(self, directions, max_products):
        """The result, from orthonormal rows to begin with."""
        basis, products, iterations = self.basis, self.basis.products, 0
        # a random direction's component along a missed eigenvector, about 1/sqrt(n), must not pass for rounding
        smallest = max(5 * _eps(products.backend), 0.01 * min(self.tolerance, products.dimension**-0.5))
        while products.count + directions.shape[0] + self.k <= max_products:
            directions = basis.expand(directions, smallest)
            iterations, self.steps = iterations + 1, self.steps + 1
            pairs = basis.pairs(KEYS[self.which])
            self.norm = max(self.norm, basis.norm, float(np.abs(pairs.values).max()))
            converged = self._converged(pairs)
            found, ended = converged >= self.k, not directions.shape[0]
            followed, nothing_missing = self._complete(pairs) if found and self.randoms else (found, False)
            followed = followed or ended
            self.complete = basis.count == products.dimension or (followed and nothing_missing)
            if found and (self.complete or (self.limited and self.steps >= self.limit)):
                break
            if followed:
                kept = pairs.first(min(converged, max(self.k, basis.capacity // 2), basis.capacity - self.block))
                self.known = kept.values
                basis.keep(kept)
                # after a start one will do: it is to find nothing
                self.randoms, self.limited = (self.block, False) if self.randoms else (1, True)
                self.steps, self.restarted = 0, False
                directions, _, _ = orthonormal(products.random(self.random, self.randoms), basis.rows, 0.0)
            elif basis.count + directions.shape[0] > basis.capacity:
                basis.keep(self._kept(pairs, basis.capacity - directions.shape[0]))
                self.restarted = True
        return self._result(basis.pairs(KEYS[self.which]), iterations)

    def _converged(self, pairs):
        """How many leading pairs have converged; to half the tolerance, the rest being for what restarts lose."""
        return int(np.argmin(np.append(pairs.residuals <= self.tolerance / 2 * self.norm, False)))

    def _complete(self, pairs):
        """Whether the random directions were followed for long enough, and whether nothing is missing then."""
        closeness, slack, k = self.tolerance * self.norm, RESOLUTION * self.norm, self.k
        sizes, fresh = KEYS[self.which](pairs.values), unknown(pairs.values, self.known, closeness)
        missing = copies_may_be_missing(pairs.values[:k], sizes[:k], fresh[:k], self.randoms, closeness)
        dimension = self.basis.products.dimension
        followed = nothing_hides(pairs.values, pairs.residuals, fresh, k, dimension, slack, self.two_sided)
        if not (followed or self.restarted or fresh[:k].any()):
            followed = self.steps >= steps_needed(sizes, pairs.residuals, k, dimension, slack, self.two_sided)
        return followed, not missing

    def _kept(self, pairs, room):
        """What a restart keeps: what is known, half of the others, and both ends of these where both are searched."""
        held = max(self.k, len(self.known))
        count = max(self.k, min(room, held + (len(pairs.values) - held) // 2))
        if not self.two_sided:
            return pairs.first(count)
        new = np.flatnonzero(unknown(pairs.values, self.known, self.tolerance * self.norm))
        extremes = {int(new[pairs.values[new].argmin()]), int(new[pairs.values[new].argmax()])} if len(new) else set()
        ends = sorted(end for end in extremes if end >= count)[: count - self.k]
        return pairs.take([*range(count - len(ends)), *ends])

    def _result(self, pairs, iterations):
        """The result, by true products of its vectors."""
        products = self.basis.products
        xp = products.backend.namespace
        rows = combined(pairs.first(self.k).coefficients.T, self.basis.rows)
        images = products(rows)
        small = host(images @ transposed(rows)).astype(np.float64)
        values, turn = np.linalg.eigh((small + small.T) / 2)
        order = np.argsort(-KEYS[self.which](values), kind="stable")
        values, turn = values[order], turn[:, order]
        # in place, as these are as large as the basis
        rows, images = combined(turn.T, rows, out=rows), combined(turn.T, images, out=images)
        images -= products.backend.array(values)[:, None] * rows
        norm = max(self.norm, float(np.abs(values).max()))
        residuals = host(xp.linalg.vector_norm(images, axis=1)).astype(np.float64) / (norm or 1.0)
        converged = self.complete and bool(np.all(residuals <= self.tolerance))
        values = values * products.scale
        return EigenResult(values, transposed(rows), residuals, iterations, converged, products.count)

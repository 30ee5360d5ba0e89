"""When a Krylov space can be trusted to hold every eigenvalue that was asked for: decisions on Ritz values alone.

Residuals say that the pairs found are eigenpairs, never that none was missed. A missed one is orthogonal to what
was known when random directions came in; this module says for how long these must be followed.
"""

from math import acosh, ceil, inf, sqrt

import numpy as np

__all__ = ["copies_may_be_missing", "steps_needed", "unknown"]

UNLIKELY_COMPONENT = 0.1
LEAST_GAP = 0.1
SEPARATE = 0.1


def steps_needed(sizes, residuals, fresh, wanted, dimension, randoms=1, two_sided=False):
    """Steps after which random directions would have shown a missed eigenvalue beyond the last wanted one.

    If the rest of the spectrum consists of d separate eigenvalues and an interval [a, b], s steps with r directions
    amplify a component beyond it by T_{s - d/r}(1 + 2 gap), gap = (last wanted - b) / (b - a), with the Chebyshev
    polynomial T. The component of a random unit vector is above 0.1 / sqrt(n) with probability 0.92, so 10 sqrt(n) is
    asked for, with the d that gives the fewest steps. It is a missed eigenvalue close to the last wanted one
    that takes so long; one further out shows sooner.

    Ritz values are separate, from the largest on, while their residual is below a tenth of the distances to the
    next and to the last wanted one; b is the first that is not, plus its residual; a the least of all less its
    residual. A gap below 0.1 counts as 0.1.

    Parameters
    ----------
    sizes : Ritz values (m,), or their magnitudes, falling. residuals : (m,).
    fresh : (m,), which of them were not known before the random directions; only these count in d.
    wanted : how many of them are wanted, 1 <= wanted <= m. dimension : n. randoms : r.
    two_sided : for magnitudes; then a = -b.

    >>> steps_needed(np.array([10.0, 1.0, -1.0]), np.array([0.0, 2.0, 0.5]), np.array([False, True, True]), 1, 10_000)
    4
    """
    edge, rest, spare = sizes[wanted - 1], sizes[wanted:], residuals[wanted:]
    counted = np.cumsum(fresh)[wanted - 1 :]
    if not len(rest):
        return 1 + ceil(counted[-1] / randoms)
    apart = np.minimum(rest[:-1] - rest[1:], edge - rest[:-1])
    separate = int(np.argmin(np.append(spare[:-1] < SEPARATE * apart, False)))
    upper = np.minimum(rest + spare, edge)[: separate + 1]
    spread = np.maximum(2 * upper if two_sided else upper - np.min(sizes - residuals), 0)
    gap = np.divide(edge - upper, spread, out=np.full(len(upper), inf), where=spread > 0)
    stretch = np.arccosh(1 + 2 * np.maximum(gap, LEAST_GAP))
    amplified = np.maximum(np.ceil(acosh(sqrt(dimension) / UNLIKELY_COMPONENT) / stretch), 1)
    return int(np.min(amplified + np.ceil(counted[: separate + 1] / randoms)))


def copies_may_be_missing(values, sizes, fresh, randoms, closeness):
    """Whether copies of a repeated eigenvalue beyond the last wanted one may be missing.

    r random directions, followed to the end, find r more copies of each eigenvalue than were known when they came
    in, or all there are. So copies may be missing where r of the new wanted values agree.

    Parameters
    ----------
    values : wanted Ritz values (k,), and their sizes (k,), falling. closeness : up to which values agree.
    fresh : (k,), which of them were not known before the random directions.
    randoms : r, how many came in.

    >>> threefold = np.array([3.0, 3.0, 1.0])
    >>> copies_may_be_missing(threefold, threefold, np.array([True, True, True]), 2, 1e-8)
    True
    >>> copies_may_be_missing(threefold, threefold, np.array([False, True, True]), 2, 1e-8)
    False
    """
    new = np.sort(values[fresh & (sizes > sizes[-1] + closeness)])
    return len(new) >= randoms and bool(np.any(new[randoms - 1 :] - new[: len(new) - randoms + 1] <= closeness))


def unknown(values, known, closeness):
    """Which values (m,) are none of the known ones, each of which accounts for one value at most.

    >>> unknown(np.array([3.0, 3.0, 1.0]), np.array([3.0, 2.0]), 1e-8)
    array([False,  True,  True])
    """
    left, fresh = np.array(known, dtype=np.float64), np.ones(len(values), dtype=bool)
    for i, value in enumerate(values):
        distances = np.abs(left - value)
        if len(left) and distances.min() <= closeness:
            fresh[i], left = False, np.delete(left, distances.argmin())
    return fresh

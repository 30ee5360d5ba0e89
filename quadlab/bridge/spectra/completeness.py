"""When a Krylov space can be trusted to hold every eigenvalue that was asked for: decisions on Ritz values alone.

Residuals say that the pairs found are eigenpairs, never that none was missed. A missed one is orthogonal to what
was known when random directions came in; this module says for how long these must be followed.
"""

from math import acosh, ceil, inf, sqrt

import numpy as np

__all__ = ["copies_may_be_missing", "nothing_hides", "steps_needed", "unknown"]

# a random unit vector's component along a direction is below this over sqrt(n) with probability 0.0008
UNLIKELY_COMPONENT = 1e-3


def nothing_hides(values, residuals, fresh, wanted, dimension, slack, two_sided=False):
    """Whether the Ritz values that random directions r found show that these found all larger eigenvalues.

    The vector of such a Ritz value theta is p(A) r, where p vanishes at the others. Beyond these |p| grows, so that an
    eigenvalue mu, of which r has the component c, leaves a residual of at least c (mu - theta), whatever the restarts.
    With c above 0.001 / sqrt(n) nothing is missed that is larger than the last wanted value by more than `slack` if
    the residual is below that times the distance, for the first theta that is fresh and not above the last wanted
    value. Beside a wanted theta that is fresh itself a missed one may be close; of this theta r has but such a
    component too.

    Parameters
    ----------
    values : Ritz values (m,), most wanted first. residuals : (m,).
    fresh : (m,), which of them were not known before the random directions, to which these are not orthogonal.
    wanted : how many are wanted. dimension : n. slack : by how much a value may be wrong.
    two_sided : for values of falling magnitude; then it holds for both ends of the spectrum.

    >>> values, fresh = np.array([10.0, 8.0, 1.0]), np.array([False, True, True])
    >>> [nothing_hides(values, np.array([0, residual, 1.0]), fresh, 1, 100, 0.0) for residual in (1e-4, 1e-3)]
    [True, False]
    """
    if np.any(residuals[:wanted][fresh[:wanted]] > UNLIKELY_COMPONENT * slack):
        return False
    edge = abs(values[wanted - 1]) if two_sided else values[wanted - 1]
    left, spare = values[wanted - 1 :][fresh[wanted - 1 :]], residuals[wanted - 1 :][fresh[wanted - 1 :]]
    if not len(left):
        return False
    for ends in (left, -left) if two_sided else (left,):
        visible = UNLIKELY_COMPONENT * (edge + slack - ends.max())
        if ends.max() < edge - slack:
            visible /= sqrt(dimension)
        if spare[ends.argmax()] > visible:
            return False
    return True


def steps_needed(sizes, residuals, wanted, dimension, slack, two_sided=False):
    """Steps after which random directions would have shown an eigenvalue beyond the last wanted one, all being known.

    If the rest of the spectrum lies in [a, b], s steps amplify a component beyond it by T_s(1 + 2 gap),
    gap = (last wanted + slack - b) / (b - a), with the Chebyshev polynomial T. The component of a random unit vector
    is above 0.001 / sqrt(n) with probability 0.9992, so 1000 sqrt(n) is asked for. It is a missed eigenvalue close to
    the last wanted one that takes so long; one further out shows sooner. Restarts undo it: then see `nothing_hides`.

    b is the first Ritz value beyond the wanted ones plus its residual; a the least of all less its residual.

    Parameters
    ----------
    sizes : Ritz values (m,), or their magnitudes, falling. residuals : (m,).
    wanted : how many of them are wanted, 1 <= wanted <= m. dimension : n.
    slack : how much larger than the last wanted one is no matter.
    two_sided : for magnitudes; then a = -b.

    >>> steps_needed(np.array([10.0, 1.0, -1.0]), np.array([0.0, 2.0, 0.5]), 1, 10_000, 0.0)
    6
    """
    if len(sizes) == wanted:
        return 1
    edge = sizes[wanted - 1] + slack
    upper = min(sizes[wanted] + residuals[wanted], edge)
    spread = 2 * upper if two_sided else upper - np.min(sizes - residuals)
    if spread <= 0 or upper == edge:
        return 1 if upper < edge else inf
    return max(ceil(acosh(sqrt(dimension) / UNLIKELY_COMPONENT) / acosh(1 + 2 * (edge - upper) / spread)), 1)


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

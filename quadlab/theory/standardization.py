"""Columns of data shifted to mean 0 and scaled to variance 1, whatever their size; constant columns told apart."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Standardization", "standardization"]

_CONSTANT = 16


@dataclass(frozen=True)
class Standardization:
    """What gives every column mean 0 and variance 1: called with rows of such columns, it returns them standardized.

    varies : whether each column does
    rounding : largest entry of each column in standard deviations; times eps, what a rounding of the given entries
        moves standardized ones by. 0 for a constant column.
    """

    varies: np.ndarray
    rounding: np.ndarray
    exponents: np.ndarray
    origin: np.ndarray
    centre: np.ndarray
    spread: np.ndarray

    def __call__(self, columns):
        """(x - mean) / standard deviation for each column that varies; constant columns are shifted alone."""
        return self._scaled(columns, self.spread, np.where(self.varies, 0, self.exponents))

    def centred(self, columns):
        """x - mean for each column."""
        return self._scaled(columns, 1.0, self.exponents)

    def _scaled(self, columns, spread, exponents):
        # infinite where other rows, or a difference of the largest numbers, leave the range: for the caller to name
        with np.errstate(over="ignore"):
            shifted = np.ldexp(np.asarray(columns, dtype=np.float64), -self.exponents) - self.origin - self.centre
            return np.ldexp(shifted / spread, exponents).astype(_precision(columns))


def standardization(columns):
    """The shift and scale of columns with numbers of any size, at least one row.

    A column is constant when its largest and smallest entries differ by no more than 16 eps of its largest absolute
    value, with the eps of the columns' own type: 0.3 beside 0.1 + 0.2 is, and so are shares that add up to one.

    Parameters: columns of shape (rows, columns), finite. Returns a `Standardization`.

    >>> columns = np.array([[1e200, 0.3], [3e200, 0.1 + 0.2]])
    >>> standardize = standardization(columns)
    >>> standardize(columns)[:, standardize.varies]
    array([[-1.],
           [ 1.]])
    """
    eps = np.finfo(_precision(columns)).eps
    # powers of two are exact, and keep the squares of very large and very small entries in the floating-point range
    given = np.asarray(columns, dtype=np.float64)
    exponents = np.frexp(np.abs(given).max(axis=0))[1]
    scaled = np.ldexp(given, -exponents)
    largest = np.abs(scaled).max(axis=0)
    varies = np.ptp(scaled, axis=0) > _CONSTANT * eps * largest
    # differences from one entry round in units of the spread, a sum of entries in units of their size
    origin = scaled[0]
    centre = (scaled - origin).mean(axis=0)
    centre += (scaled - origin - centre).mean(axis=0)
    spread = np.where(varies, (scaled - origin - centre).std(axis=0), 1.0)
    return Standardization(varies, np.where(varies, largest / spread, 0.0), exponents, origin, centre, spread)


def _precision(columns):
    dtype = np.asarray(columns).dtype
    return dtype if dtype.kind == "f" else np.dtype(np.float64)

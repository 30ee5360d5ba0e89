"""Least squares on arrays, on real data sets and on CSV files: quadratics whose Hessian comes from data."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from quadlab.problems.arrays import matrix_product, read_only, weighted_squares
from quadlab.problems.csv_data import read_csv
from quadlab.problems.features import bundled_dataset, named_features
from quadlab.problems.quadratic import Quadratic
from quadlab.theory.standardization import standardization

__all__ = ["LeastSquares"]

_DATASETS = ("breast_cancer", "diabetes", "digits")


@dataclass(frozen=True, eq=False, init=False, repr=False)
class LeastSquares(Quadratic):
    """Linear regression with the mean squared error as a quadratic loss.

    loss(w) = |X w - y|^2 / (2 n),   Hessian X'X / n,   minimizer X^+ y (the one of smallest norm)

    Parameters
    ----------
    features : X, shape (n, dimension); more features than rows are fine, the Hessian is then singular
    targets : y, shape (n,)
    feature_names : one distinct name per feature; x1, x2, ... when left out
    name : what reports call the problem
    standardize : shift and scale every feature to mean 0 and variance 1, shift the targets to mean 0, and
        leave out features that are constant up to rounding (16 eps of their largest entry)

    Attributes beyond those of `Quadratic`: `features`, `targets`, `feature_names`, as used after any
    standardizing, and `dropped`, the names of the constant features left out. Directions in which the features vary
    by no more than rounding are flat: their eigenvalues are zero.

    Raises
    ------
    ValueError: an argument has the wrong shape or is not finite, the names do not fit, or every feature is
    constant when standardizing.

    >>> problem = LeastSquares([[1.0, 0.0], [0.0, 2.0]], targets=[1.0, 4.0])
    >>> problem
    LeastSquares('least squares': 2 rows, 2 features)
    >>> problem.minimizer.round(12), problem.eigenvalues.round(12)
    (array([1., 2.]), array([0.5, 2. ]))
    >>> LeastSquares([[1.0, 5.0], [3.0, 5.0]], [0.0, 1.0], standardize=True).dropped
    ('x2',)
    """

    features: np.ndarray = field(init=False)
    targets: np.ndarray = field(init=False)
    feature_names: tuple[str, ...] = field(init=False)
    dropped: tuple[str, ...] = field(init=False)

    def __init__(self, features, targets, *, feature_names=None, name="least squares", standardize=False):
        features = read_only("features", features, dimensions=2)
        targets = read_only("targets", targets, dimensions=1)
        rows = len(features)
        if len(targets) != rows:
            raise ValueError(f"targets must have shape ({rows},) like features, got shape {targets.shape}")
        features, names, dropped, rounding = named_features(features, feature_names, standardize)
        if standardize:
            column = targets[:, None]
            targets = read_only("targets", standardization(column).centred(column)[:, 0], dimensions=1)
        vars(self).update(features=features, targets=targets, feature_names=names, dropped=dropped)
        values, basis, minimizer = _spectrum_and_minimizer(features, targets, rounding)
        hessian = matrix_product(features.T, features, rows)
        size = np.abs(hessian).max()
        held = np.isfinite(hessian).all() and np.isfinite(values).all() and size >= np.finfo(float).tiny
        if features.any() and not held:
            raise ValueError(
                "features must have a Hessian X'X / n in the range of double precision, got entries of size "
                f"{np.abs(features).max():g}; standardize=True scales them"
            )
        residuals = matrix_product(features, minimizer) - targets
        # a power of two near 1 / rows first: the sum of squares may overflow where their mean does not
        power = 0.5 ** rows.bit_length()
        minimum = weighted_squares(residuals, power) / (2 * rows * power)
        if not (np.isfinite(minimizer).all() and np.isfinite(minimum)):
            raise ValueError(
                "targets must have a minimizer and a minimum in the range of double precision, got entries of size "
                f"{np.abs(targets).max():g}"
            )
        spectrum = read_only("eigenvalues", values, dimensions=1), read_only("eigenvectors", basis, dimensions=2)
        vars(self).update(_spectrum=spectrum)
        super().__init__(hessian, minimizer, minimum, name=name)

    def __repr__(self):
        return f"LeastSquares({self.name!r}: {len(self.targets)} rows, {self.dimension} features)"

    @classmethod
    def from_dataset(cls, name, standardize=True):
        """A data set that ships with scikit-learn, its class labels taken as numbers to regress on.

        Parameters
        ----------
        name : "breast_cancer" (569 rows, 30 features), "diabetes" (442, 10) or "digits" (1797, 64)
        standardize : as for `LeastSquares`; digits loses the 3 pixels that are blank in every image

        Raises
        ------
        ValueError: the name is not one of these.

        >>> problem = LeastSquares.from_dataset("diabetes")
        >>> problem
        LeastSquares('diabetes': 442 rows, 10 features)
        >>> round(problem.sharpness, 3), round(problem.condition_number)
        (4.024, 470)
        """
        features, targets, names = bundled_dataset(name, _DATASETS)
        return cls(features, targets, feature_names=names, name=name, standardize=standardize)

    @classmethod
    def from_csv(cls, path, target, standardize=False):
        """A CSV file of finite numbers below one header line; the problem is named after the file.

        Parameters
        ----------
        path : UTF-8 text, comma separated
        target : name of the column to predict; all other columns are features
        standardize : as for `LeastSquares`

        Raises
        ------
        ValueError: the file cannot be used (the sentence says which line and column), or every feature is
        constant when standardizing.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "houses.csv"
        ...     _ = path.write_text("rooms,price\\n1,10\\n3,30\\n")
        ...     LeastSquares.from_csv(path, target="price")
        LeastSquares('houses': 2 rows, 1 features)
        """
        features, targets, names = read_csv(path, target)
        return cls(features, targets, feature_names=names, name=Path(path).stem, standardize=standardize)


def _spectrum_and_minimizer(features, targets, rounding):
    """Eigenvalues and eigenvectors of X'X / n, ascending, and X^+ y, from the singular values of X.

    These keep the digits that squaring into X'X loses, and give exact zeros for the rank: rounding moves a singular
    value by some eps of the largest, and by what moves the features along its direction.
    """
    rows, columns = features.shape
    orthogonal, triangular = np.linalg.qr(features)
    left, singular, basis = np.linalg.svd(triangular)
    moved = np.sqrt(rows) * np.linalg.norm(rounding * basis[: len(singular)], axis=1)
    rank = singular > np.finfo(float).eps * (max(rows, columns) * singular[0] + moved)
    singular[~rank] = 0
    values = np.zeros(columns)
    with np.errstate(over="ignore", under="ignore"):
        values[: len(singular)] = (singular / np.sqrt(rows)) ** 2
        along = matrix_product(matrix_product(targets, orthogonal), left)[rank] / singular[rank]
        minimizer = matrix_product(along, basis[: len(singular)][rank])
    return values[::-1], basis[::-1].T, minimizer

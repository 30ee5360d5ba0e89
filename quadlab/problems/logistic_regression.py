"""Logistic regression on arrays, on real data sets and on CSV files: a convex loss that is not quadratic."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from quadlab.problems.arrays import matrix_product, product, read_only, weighted_squares
from quadlab.problems.csv_data import read_csv
from quadlab.problems.features import bundled_dataset, named_features
from quadlab.problems.smooth import SmoothProblem
from quadlab.theory.intervals import non_negative, real

__all__ = ["LogisticRegression"]

_DATASETS = ("breast_cancer",)
_LABELS = replace(real, words="finite numbers, texts or truth values, all of one kind")


@dataclass(frozen=True, eq=False, init=False, repr=False)
class LogisticRegression(SmoothProblem):
    """Two-class classification with the mean logistic loss, and a ridge penalty on request.

    loss(w) = mean_i log(1 + exp(-s_i x_i'w)) + ridge |w|^2 / 2,   s_i = +1 for the larger label, -1 for the other

    Parameters
    ----------
    features : x, shape (n, dimension); a column of ones gives an intercept
    labels : shape (n,), two distinct values: finite numbers, texts or truth values
    ridge : >= 0, in units of loss / parameter**2
    feature_names : one distinct name per feature; x1, x2, ... when left out
    name : what reports call the problem
    standardize : shift and scale every feature to mean 0 and variance 1, and leave out features that are constant up
        to rounding (16 eps of their largest entry)

    Attributes: `features` and `feature_names`, as used after any standardizing, `dropped`, the names of the
    constant features left out, `classes`, the two labels in sorted order, `signs`, the s_i, and `ridge`.

    Raises
    ------
    ValueError: an argument has the wrong shape or is not finite, there are not two labels, the names do not
    fit, or every feature is constant when standardizing.

    >>> problem = LogisticRegression([[1.0, 0.0], [0.0, 2.0]], labels=["no", "yes"])
    >>> problem
    LogisticRegression('logistic regression': 2 rows, 2 features, classes no and yes)
    >>> problem.loss([0.0, 0.0]).round(12) == np.log(2).round(12)
    np.True_
    >>> problem.gradient([0.0, 0.0])
    array([ 0.25, -0.5 ])
    >>> problem.hessian_product([0.0, 0.0], [1.0, 1.0])
    array([0.125, 0.5  ])
    """

    features: np.ndarray = field(init=False)
    signs: np.ndarray = field(init=False)
    classes: tuple[Any, Any] = field(init=False)
    ridge: float = field(init=False)
    feature_names: tuple[str, ...] = field(init=False)
    dropped: tuple[str, ...] = field(init=False)
    name: str = field(init=False)

    def __init__(
        self, features, labels, *, ridge=0.0, feature_names=None, name="logistic regression", standardize=False
    ):
        features = read_only("features", features, dimensions=2)
        classes, signs = _classes(labels)
        if signs.shape != features.shape[:1]:
            raise ValueError(f"labels must have shape ({len(features)},) like features, got shape {signs.shape}")
        ridge = float(read_only("ridge", ridge, dimensions=0, domain=non_negative))
        features, names, dropped, _ = named_features(features, feature_names, standardize)
        vars(self).update(features=features, signs=signs, classes=classes, ridge=ridge)
        vars(self).update(feature_names=names, dropped=dropped, name=name)

    def __repr__(self):
        rows, columns = self.features.shape
        return (
            f"LogisticRegression({self.name!r}: {rows} rows, {columns} features, "
            f"classes {self.classes[0]} and {self.classes[1]})"
        )

    @classmethod
    def from_dataset(cls, name, standardize=True, *, ridge=0.0):
        """A two-class data set that ships with scikit-learn.

        Parameters
        ----------
        name : "breast_cancer" (569 rows, 30 features; class 1 is benign), the only one with two classes
        standardize, ridge : as for `LogisticRegression`

        Raises
        ------
        ValueError: the name is another, or the ridge is negative or not finite.

        >>> LogisticRegression.from_dataset("breast_cancer", ridge=0.01)
        LogisticRegression('breast_cancer': 569 rows, 30 features, classes 0.0 and 1.0)
        """
        features, labels, names = bundled_dataset(name, _DATASETS)
        return cls(features, labels, ridge=ridge, feature_names=names, name=name, standardize=standardize)

    @classmethod
    def from_csv(cls, path, target, standardize=False, *, ridge=0.0):
        """A CSV file of finite numbers below one header line; the problem is named after the file.

        Parameters
        ----------
        path : UTF-8 text, comma separated
        target : name of the column with the two labels, which are numbers; all other columns are features
        standardize, ridge : as for `LogisticRegression`

        Raises
        ------
        ValueError: the file cannot be used (the sentence says which line and column), there are not two
        labels, or every feature is constant when standardizing.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "visits.csv"
        ...     _ = path.write_text("age,returned\\n40,0\\n60,1\\n")
        ...     LogisticRegression.from_csv(path, target="returned")
        LogisticRegression('visits': 2 rows, 1 features, classes 0.0 and 1.0)
        """
        features, labels, names = read_csv(path, target)
        return cls(features, labels, ridge=ridge, feature_names=names, name=Path(path).stem, standardize=standardize)

    @property
    def dimension(self):
        """Number of weights."""
        return self.features.shape[1]

    def _scores(self, vector):
        return matrix_product(vector, self.features.T)

    def _over_rows(self, per_row):
        return matrix_product(per_row, self.features, len(self.features))

    def _loss(self, weights):
        per_row = np.logaddexp(0, -self.signs * self._scores(weights))
        mean = per_row.mean(axis=-1)
        mean = np.where(np.isfinite(mean), mean, (per_row / len(self.features)).sum(axis=-1))
        return mean + weighted_squares(weights, self.ridge / 2)

    def _gradient(self, weights):
        per_row = -self.signs * expit(-self.signs * self._scores(weights))
        return self._over_rows(per_row) + self.ridge * weights

    def _hessian_product(self, weights, vector):
        # even in the score, so the sign of the label drops out here and below
        scores = self._scores(weights)
        return self._over_rows(product(expit(scores), expit(-scores), self._scores(vector))) + self.ridge * vector

    def _third_derivative_product(self, weights, first, second):
        scores = self._scores(weights)
        slope = (-expit(scores), expit(-scores), np.tanh(scores / 2))
        return self._over_rows(product(*slope, self._scores(first), self._scores(second)))


def _classes(labels):
    """The two labels in sorted order, and +1 for each row with the larger, -1 for each with the smaller."""
    array = np.asarray(labels, dtype=object)
    of_one_kind = [kind for kind in (str, bool | np.bool_) if all(isinstance(label, kind) for label in array.flat)]
    if array.ndim != 1 or not array.size or not of_one_kind:
        array = read_only("labels", array, dimensions=1, domain=_LABELS)
    else:
        array = array.astype(str if of_one_kind == [str] else bool)
    classes, index = np.unique(array, return_inverse=True)
    if len(classes) != 2:
        shown = ", ".join(map(str, classes[:5].tolist())) + (", ..." if len(classes) > 5 else "")
        raise ValueError(f"labels must have two distinct values, got {len(classes)}: {shown}")
    return tuple(classes.tolist()), read_only("labels", 2 * index - 1, dimensions=1)

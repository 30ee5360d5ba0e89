"""Feature matrices from arrays and from scikit-learn's data sets: named, and standardized on request."""

import numpy as np

from quadlab.problems.arrays import read_only
from quadlab.problems.csv_data import closest
from quadlab.theory.standardization import standardization

__all__ = ["bundled_dataset", "named_features"]


def bundled_dataset(name, choices):
    """Features, targets and feature names of a data set that ships with scikit-learn.

    Parameters
    ----------
    name : one of `choices`
    choices : the data sets that suit the problem, as in scikit-learn's load_...

    Raises
    ------
    ValueError: the name is not one of the choices.

    >>> features, targets, names = bundled_dataset("diabetes", ["diabetes", "digits"])
    >>> features.shape, targets.shape, names[:2]
    ((442, 10), (442,), ('age', 'sex'))
    """
    if name not in choices:
        raise ValueError(
            f"name must be one of {', '.join(choices)}, got {name!r}; the closest is {closest(name, choices)!r}"
        )
    from sklearn import datasets

    data = getattr(datasets, f"load_{name}")()
    return data.data, data.target, tuple(str(feature) for feature in data.feature_names)


def named_features(features, feature_names, standardize):
    """Features as a problem keeps them, their names, the constant ones left out, and what rounding moves them by.

    Parameters
    ----------
    features : shape (rows, columns), finite
    feature_names : one distinct name per column; None for x1, x2, ...
    standardize : shift and scale every column to mean 0 and variance 1, and leave out columns that are constant up to
        rounding, as `quadlab.theory.standardization` tells

    Returns
    -------
    features, names, names of the columns left out, and for each column kept what one rounding of the numbers given
    moves the largest of those returned by, in eps.

    Raises
    ------
    ValueError: the names do not fit, or every column is constant when standardizing.

    >>> named_features(np.array([[1.0, 5.0], [3.0, 5.0]]), None, standardize=True)
    (array([[-1.], [ 1.]]), ('x1',), ('x2',), array([3.]))
    """
    columns = features.shape[1]
    try:
        names = tuple(f"x{i + 1}" for i in range(columns)) if feature_names is None else tuple(feature_names)
        distinct = len(set(names))
    except TypeError:
        raise ValueError(f"feature_names must be {columns} distinct names, got {feature_names!r}") from None
    if distinct != columns or len(names) != columns:
        raise ValueError(f"feature_names must be {columns} distinct names, got {names}")
    if not standardize:
        return features, names, (), np.zeros(columns)
    standardized = standardization(features)
    varies = standardized.varies
    if not varies.any():
        raise ValueError(f"features must have a column that varies, got {columns} constant up to rounding")
    dropped = tuple(name for name, keep in zip(names, varies, strict=True) if not keep)
    kept = tuple(name for name, keep in zip(names, varies, strict=True) if keep)
    columns = read_only("features", standardized(features)[:, varies], dimensions=2)
    return columns, kept, dropped, standardized.rounding[varies]

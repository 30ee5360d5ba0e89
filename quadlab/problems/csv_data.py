"""Numeric CSV files: one header line, then finite numbers only, or one sentence about what is wrong."""

import csv
from collections import Counter
from difflib import get_close_matches
from math import isfinite

import numpy as np

__all__ = ["closest", "read_csv"]


def closest(word, choices):
    """The member of `choices` spelled most like `word`.

    >>> closest("diabetis", ["digits", "diabetes"])
    'diabetes'
    """
    return get_close_matches(str(word), choices, n=1, cutoff=0)[0]


def read_csv(path, target):
    """Features, targets and feature names of a CSV file.

    Parameters
    ----------
    path : UTF-8 text, comma separated; the first line names the columns, blank lines are skipped
    target : name of the column to predict

    Returns
    -------
    features of shape (rows, columns - 1), targets of shape (rows,), names of the other columns in order.

    Raises
    ------
    ValueError: the file is missing, not text or empty; a column name is empty or repeated; the target is
    no column or the only one; a row is ragged; a cell is not a finite number; there are fewer than 2 rows.

    >>> from tempfile import TemporaryDirectory
    >>> from pathlib import Path
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "lengths.csv"
    ...     _ = path.write_text("width,price,height\\n1,10,2\\n3,30,5\\n")
    ...     read_csv(path, "price")
    (array([[1., 2.], [3., 5.]]), array([10., 30.]), ('width', 'height'))
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True)
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except OSError as error:
        raise ValueError(f"path must name a readable CSV file, got {str(path)!r}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} must be CSV in UTF-8: {error}") from None
    if not lines:
        raise ValueError(f"{path} must have a header line that names the columns, got an empty file")
    (header_line, header), *rows = lines
    names = _column_names(f"{path} line {header_line}", header)
    if target not in names:
        raise ValueError(
            f"target must be one of the columns {', '.join(names)} of {path}, got {target!r}; "
            f"the closest is {closest(target, names)!r}"
        )
    if len(names) == 1:
        raise ValueError(f"{path} must have a feature column, got the target {target!r} alone")
    if len(rows) < 2:
        raise ValueError(f"{path} must have at least 2 rows below the header, got {len(rows)}")
    table = np.array([_numbers(f"{path} line {line}", names, cells) for line, cells in rows])
    index = names.index(target)
    return np.delete(table, index, axis=1), table[:, index], (*names[:index], *names[index + 1 :])


def _column_names(place, header):
    names = [cell.strip() for cell in header]
    if "" in names:
        raise ValueError(f"{place} must name every column, got an empty name for column {names.index('') + 1}")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{place} must name every column differently, got {name!r} {count} times")
    return names


def _numbers(place, names, cells):
    if len(cells) != len(names):
        raise ValueError(f"{place} must have {len(names)} cells like the header, got {len(cells)}")
    return [_number(place, name, cell) for name, cell in zip(names, cells, strict=True)]


def _number(place, name, cell):
    try:
        number = float(cell)
    except ValueError:
        number = None
    if number is None or not isfinite(number):
        got = repr(cell) if cell.strip() else "an empty cell"
        raise ValueError(f"{place} column {name!r} must be a finite number, got {got}")
    return number

"""Numeric CSV files: one header line, then finite numbers only, or one sentence about what is wrong."""

import csv
import os
import re
from collections import Counter
from difflib import get_close_matches
from io import StringIO
from math import inf, isfinite
from pathlib import Path

import numpy as np

__all__ = ["closest", "read_csv"]

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


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
    path : UTF-8 text, comma separated; the first line names the columns, blank lines are skipped. A number is written
        in the digits 0 to 9, with a decimal point or an exponent if need be: 12, -0.5, 1.5e-3
    target : name of the column to predict

    Returns
    -------
    features of shape (rows, columns - 1), targets of shape (rows,), names of the other columns in order.

    Raises
    ------
    ValueError: the file is missing, not text, empty or not comma separated; a column name is empty or repeated; the
    target is no column or the only one; a row is ragged; a cell is not a finite number; there are fewer than 2 rows.

    >>> from tempfile import TemporaryDirectory
    >>> from pathlib import Path
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "lengths.csv"
    ...     _ = path.write_text("width,price,height\\n1,10,2\\n3,30,5\\n")
    ...     read_csv(path, "price")
    (array([[1., 2.], [3., 5.]]), array([10., 30.]), ('width', 'height'))
    """
    (header_line, header), *rows = _records(path)
    names = _column_names(f"{path} line {header_line}", header, target)
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


def _records(path):
    """Line number and cells of each record that is not blank."""
    reader = csv.reader(StringIO(_text(path), newline=""), skipinitialspace=True, strict=True)
    records, line = [], 1
    try:
        for cells in reader:
            if len(cells) > 1 or any(cell.strip() for cell in cells):
                records.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        reason = "a quote that is not closed" if "end of data" in str(error) else error
        raise ValueError(f"{path} must be CSV in UTF-8: {reason} in line {line}") from None
    if not records:
        raise ValueError(f"{path} must have a header line that names the columns, got an empty file")
    return records


def _text(path):
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path must name a readable CSV file, got {path!r}")
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"path must name a readable CSV file, got {str(path)!r}: {reason}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path} must be CSV in UTF-8: {error.reason} in line {line}") from None


def _column_names(place, header, target):
    names = [" ".join(cell.split()) for cell in header]
    if target not in names:
        parts = {part.strip() for mark in _SEPARATORS for part in ",".join(header).split(mark)}
        _require_commas(place, header, fits=len(names) > 1 and target not in parts)
        if all(_NUMBER.fullmatch(name) for name in names):
            raise ValueError(f"{place} must name the columns, got the numbers {_shown(', '.join(names))}")
    if "" in names:
        raise ValueError(f"{place} must name every column, got an empty name for column {names.index('') + 1}")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{place} must name every column differently, got {name!r} {count} times")
    return names


def _require_commas(place, cells, fits):
    """ValueError that names the separator where cells that do not fit the columns hold another one than the comma."""
    text = ",".join(cells).strip()
    marks = _SEPARATORS if len(cells) > 1 else _SEPARATORS | {" ": "spaces"}
    found = next((words for mark, words in marks.items() if mark in text), None)
    if found and not fits:
        raise ValueError(f"{place} must be comma separated, got {found} in {_shown(text)}")


def _numbers(place, names, cells):
    _require_commas(place, cells, fits=len(cells) == len(names))
    if len(cells) != len(names):
        hint = "; a number takes a decimal point, no comma" if len(cells) > len(names) else ""
        raise ValueError(f"{place} must have {len(names)} cells like the header, got {len(cells)}{hint}")
    return [_number(place, name, cell.strip()) for name, cell in zip(names, cells, strict=True)]


def _number(place, name, cell):
    # float() takes more: underscores, the digits of every script, nan and infinity
    number = float(cell) if _NUMBER.fullmatch(cell) else inf
    if not isfinite(number):
        raise ValueError(
            f"{place} column {name!r} must be a finite number, got {_shown(cell) if cell else 'an empty cell'}; "
            "a number is written like 12, -0.5 or 1.5e-3"
        )
    return number


def _shown(text):
    return repr(text if len(text) <= 60 else text[:57] + "...")

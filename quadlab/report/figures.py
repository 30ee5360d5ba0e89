"""Figures in two stages: rows of data (a CSV, the regression baseline), then the picture (an SVG, for people)."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Figure", "Panel", "Row", "computed", "draw", "measured", "read_rows", "regenerate", "theory", "write_rows"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "svg.hashsalt": "quadlab",
    "figure.constrained_layout.use": True,
}
HEADER = ("panel", "series", "role", "x", "y", "error")


@dataclass(frozen=True)
class Row:
    """One point of a figure. `role`: theory (line), computed (hollow marker), measured (filled, with error bar)."""

    panel: str
    series: str
    role: str
    x: float
    y: float
    error: float = 0.0


@dataclass(frozen=True)
class Panel:
    """One pair of axes. `decorate(axes, rows)` adds what lines and markers cannot say, such as shaded regions."""

    name: str
    x_label: str
    y_label: str
    title: str = ""
    x_scale: str = "linear"
    y_scale: str = "linear"
    decorate: Callable | None = None
    legend: bool = True


@dataclass(frozen=True)
class Figure:
    """What a theorem shows: `data(rng)` makes the rows, `panels` say how they are drawn."""

    data: Callable
    panels: tuple[Panel, ...]


def theory(panel, series, x, y):
    """Rows of a line given by a formula."""
    return _rows(panel, series, "theory", x, y)


def computed(panel, series, x, y):
    """Rows of points found by an exact computation other than the formula."""
    return _rows(panel, series, "computed", x, y)


def measured(panel, series, x, y, error):
    """Rows of simulated points with standard errors."""
    return _rows(panel, series, "measured", x, y, error)


def _rows(panel, series, role, x, y, error=0.0):
    columns = np.broadcast_arrays(*(np.asarray(column, dtype=float) for column in (x, y, error)))
    return [Row(panel, series, role, *map(float, point)) for point in zip(*map(np.ravel, columns), strict=True)]


def write_rows(path, rows):
    """Write rows as CSV with ten significant digits."""
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for row in rows:
            writer.writerow((row.panel, row.series, row.role, *(f"{v:.10g}" for v in (row.x, row.y, row.error))))


def read_rows(path):
    """Read the rows back; ValueError if the file is missing or is not one of ours."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no data to reuse at {path}")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, rows = next(reader := csv.reader(file), ()), list(reader)
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{path} must be a table in UTF-8") from None
    if tuple(header) != HEADER:
        raise ValueError(f"{path} must have the columns {', '.join(HEADER)}")
    try:
        return [Row(panel, series, role, float(x), float(y), float(error)) for panel, series, role, x, y, error in rows]
    except ValueError:
        raise ValueError(f"{path} must hold three texts and three numbers in each row") from None


def draw(figure, rows):
    """The Matplotlib figure of the rows."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(STYLE):
        count = len(figure.panels)
        # one above the other: side by side, letters would shrink with the width of the page
        canvas = Canvas(figsize=(5.8, 3.9 * count))
        for axes, panel in zip(np.atleast_1d(canvas.subplots(count, 1)), figure.panels, strict=True):
            _draw_panel(axes, panel, [row for row in rows if row.panel == panel.name])
    return canvas


def _draw_panel(axes, panel, rows):
    axes.set_xscale(panel.x_scale)
    axes.set_yscale(panel.y_scale)
    axes.set(xlabel=panel.x_label, ylabel=panel.y_label, title=panel.title)
    names = list(dict.fromkeys(row.series for row in rows))
    for name, colour, dash, marker in zip(names, cycle(COLOURS), cycle(DASHES), cycle(MARKERS), strict=False):
        labelled = False
        for role in ("theory", "computed", "measured"):
            points = [row for row in rows if row.series == name and row.role == role]
            if not points:
                continue
            x, y, error = (np.array([getattr(p, key) for p in points]) for key in ("x", "y", "error"))
            label = None if labelled else name
            labelled = True
            if role == "theory":
                axes.plot(x, y, color=colour, linestyle=dash, label=label)
            elif role == "computed":
                axes.plot(x, y, marker, color=colour, fillstyle="none", markersize=6, label=label)
            else:
                axes.errorbar(
                    x, y, error, fmt=marker, color=colour, markersize=4.5, capsize=2.5, linewidth=1.2, label=label
                )
    if panel.decorate is not None:
        panel.decorate(axes, rows)
    if panel.legend and axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=9, title=_roles(rows), title_fontsize=8, alignment="left")


def _roles(rows):
    """What lines and markers mean, where a panel has both."""
    words = {"theory": "lines: theory", "computed": "hollow: exact computation", "measured": "filled: simulation"}
    present = [text for role, text in words.items() if any(row.role == role for row in rows)]
    return "; ".join(present) if len(present) > 1 else None


def regenerate(figure, stem, *, rng=0, reuse_data=False):
    """Write `stem`.csv (unless `reuse_data`) and `stem`.svg; return the two paths.

    The folder is created. Raises ValueError when it cannot be written, or when there is no data to reuse.
    """
    stem = Path(stem)
    data, picture = (stem.with_name(f"{stem.name}.{kind}") for kind in ("csv", "svg"))
    rows = read_rows(data) if reuse_data else figure.data(rng)
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        if not reuse_data:
            write_rows(data, rows)
        # drawn from what the file says, so that --reuse-data gives the same picture to the byte
        canvas = draw(figure, read_rows(data))
        import matplotlib as mpl

        with mpl.rc_context(STYLE):
            canvas.savefig(picture, metadata={"Date": None})
    except OSError as error:
        raise ValueError(f"the figure folder {stem.parent} cannot be written: {error.strerror}") from None
    return data, picture

"""Figures, tables, and what a theorem's file does when run."""

from quadlab.report.figures import Figure, Panel, Row, computed, draw, measured, regenerate, theory
from quadlab.report.script import exit_code, figure_stem, run

__all__ = [
    "Figure",
    "Panel",
    "Row",
    "computed",
    "draw",
    "exit_code",
    "figure_stem",
    "measured",
    "regenerate",
    "run",
    "theory",
]

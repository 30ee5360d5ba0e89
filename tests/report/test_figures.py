"""Figures: data first, then a picture that depends on the data alone."""

from pathlib import Path

import numpy as np
import pytest

from quadlab.report import Figure, Panel, Row, computed, draw, measured, regenerate, theory
from quadlab.report.figures import read_rows, write_rows
from quadlab.report.script import exit_code, figure_stem


def data(rng):
    x = np.linspace(1, 2, 5)
    noise = np.random.default_rng(rng).standard_normal(5)
    return [
        *theory("left", "line", x, x**2),
        *measured("left", "line", x, x**2 + noise, 0.1),
        *computed("right", "roots", x, np.sqrt(x)),
    ]


FIGURE = Figure(data, (Panel("left", "x", "y (units)"), Panel("right", "x", "y", x_scale="log", title="roots")))


def test_rows_survive_the_file(tmp_path):
    rows = [Row("a", 'with "quotes", commas', "theory", 1.0, -2.5e-7), Row("a", "λ", "measured", 3.0, 4.0, 0.25)]
    write_rows(tmp_path / "rows.csv", rows)
    assert read_rows(tmp_path / "rows.csv") == rows


def test_the_picture_is_the_same_when_the_data_are_reused(tmp_path):
    _, picture = regenerate(FIGURE, tmp_path / "figure")
    before = picture.read_bytes()
    picture.unlink()
    regenerate(FIGURE, tmp_path / "figure", rng=99, reuse_data=True)
    assert picture.read_bytes() == before


def test_the_same_seed_gives_the_same_files_and_another_seed_other_ones(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        regenerate(FIGURE, tmp_path / name, rng=seed)
    text = {name: (tmp_path / f"{name}.csv").read_text() for name in ("one", "two", "three")}
    assert text["one"] == text["two"] != text["three"]


def test_roles_become_lines_markers_and_error_bars():
    canvas = draw(FIGURE, data(0))
    left, right = canvas.axes
    assert len(left.lines) >= 2
    assert len(left.containers) == 1
    assert right.lines[0].get_fillstyle() == "none"
    assert left.get_ylabel() == "y (units)"
    assert right.get_xscale() == "log"
    assert left.get_legend().get_title().get_text() == "lines: theory; filled: simulation"


def test_missing_or_foreign_data_are_named(tmp_path):
    with pytest.raises(ValueError, match="there is no data to reuse at"):
        regenerate(FIGURE, tmp_path / "figure", reuse_data=True)
    for damaged in (b"\xff\xfea,b\n", b'"' + b"a" * 200_000):
        (tmp_path / "figure.csv").write_bytes(damaged)
        with pytest.raises(ValueError, match="figure.csv must be a table in UTF-8"):
            regenerate(FIGURE, tmp_path / "figure", reuse_data=True)
    (tmp_path / "figure.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="must have the columns panel, series"):
        regenerate(FIGURE, tmp_path / "figure", reuse_data=True)


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="figure folder .* cannot be written"):
        regenerate(FIGURE, tmp_path / "file" / "figure")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["VERIFIED"], 0),
        (["VERIFIED", "REFUTED", "INCONCLUSIVE"], 1),
        (["VERIFIED", "INCONCLUSIVE"], 2),
        (["REFUTED", "ERROR"], 3),
        (["VERIFIED", "SKIPPED"], 2),
        ([], 0),
    ],
)
def test_exit_codes(words, code):
    assert exit_code(words) == code


def test_figures_go_beside_paper_checks_in_a_checkout(tmp_path):
    (tmp_path / "pyproject.toml").write_text("")
    file = tmp_path / "paper_checks" / "paper" / "theorem.py"
    assert figure_stem(file) == tmp_path / "figures" / "paper" / "theorem"
    (tmp_path / "pyproject.toml").unlink()
    assert figure_stem(file) == Path("figures") / "paper" / "theorem"
    assert figure_stem(file, "elsewhere").parts[-3:] == ("elsewhere", "paper", "theorem")


@pytest.mark.parametrize("line", ["left,line,theory,1.0,2.0", "left,line,theory,1.0,2.0,much", "left"])
def test_a_row_that_is_none_is_named(tmp_path, line):
    (tmp_path / "figure.csv").write_text(f"panel,series,role,x,y,error\n{line}\n")
    with pytest.raises(ValueError, match="figure.csv must hold three texts and three numbers in each row"):
        read_rows(tmp_path / "figure.csv")


def test_numbers_are_written_with_ten_digits(tmp_path):
    write_rows(tmp_path / "rows.csv", [Row("a", "b", "theory", 1 / 3, -2e10 / 3)])
    (row,) = read_rows(tmp_path / "rows.csv")
    assert (row.x, row.y) == pytest.approx((1 / 3, -2e10 / 3), rel=2e-10, abs=0)


def test_a_dot_in_the_name_is_part_of_the_name(tmp_path):
    paths = regenerate(FIGURE, tmp_path / "version.2")
    assert [path.name for path in paths] == ["version.2.csv", "version.2.svg"]


def test_the_picture_holds_no_date_and_no_random_names(tmp_path):
    one, two = (regenerate(FIGURE, tmp_path / name)[1].read_bytes() for name in ("one", "two"))
    assert one == two
    assert b"date" not in one


def test_a_panel_is_drawn_as_it_says():
    """Logarithmic y, decorated with its own rows, without legend; a series has one entry, whatever its roles."""
    seen = []
    panel = Panel("left", "x", "y", y_scale="log", decorate=lambda axes, rows: seen.extend(rows), legend=False)
    (bare,) = draw(Figure(data, (panel,)), data(0)).axes
    assert (bare.get_xscale(), bare.get_yscale(), bare.get_legend()) == ("linear", "log", None)
    assert {row.panel for row in seen} == {"left"}
    left, right = draw(FIGURE, data(0)).axes
    assert left.get_legend_handles_labels()[1] == ["line"]
    assert right.get_legend().get_title().get_text() in ("", "None")

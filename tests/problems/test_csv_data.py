"""CSV files: what is written comes back bit for bit, and every malformed file is named in one sentence."""

import numpy as np
import pytest

from quadlab.problems import LeastSquares
from quadlab.problems.csv_data import closest, read_csv


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "data.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


@pytest.mark.parametrize("position", [0, 1, 3])
def test_round_trip(write, position):
    rng = np.random.default_rng(position)
    features, targets = rng.normal(size=(8, 3)), rng.normal(size=8)
    columns = ["a", "b", "c"]
    columns.insert(position, "target")
    table = np.insert(features, position, targets, axis=1)
    rows = [",".join(map(repr, row)) for row in table.tolist()]
    path = write("\n".join([",".join(columns), *rows]))
    problem = LeastSquares.from_csv(path, "target")
    np.testing.assert_array_equal(problem.features, features)
    np.testing.assert_array_equal(problem.targets, targets)
    assert problem.feature_names == ("a", "b", "c")
    assert problem.name == "data"
    standardized = LeastSquares.from_csv(str(path), "target", standardize=True)
    same = LeastSquares(features, targets, standardize=True)
    np.testing.assert_array_equal(standardized.features, same.features)
    np.testing.assert_array_equal(standardized.targets, same.targets)


@pytest.mark.parametrize(
    "text",
    [
        "a,y\r\n1,2\r\n3,4\r\n",
        "\ufeffa,y\n1,2\n3,4\n",
        "\na,y\n\n1,2\n3,4\n\n\n",
        "a,y\r1,2\r3,4\r",
        ' a , y \n 1 , "2"\n3.0,4e0',
        "a,y\n  \n1,2\n\t\n3,4\n \n",
        '"a","y"\n+1.,"02"\n.3e+1,4E-0\n',
    ],
    ids=["CRLF", "byte order mark", "blank lines", "CR", "spaces and quotes", "lines of blanks", "forms of numbers"],
)
def test_harmless_variations_are_read(write, text):
    features, targets, names = read_csv(write(text), "y")
    np.testing.assert_array_equal(features, [[1], [3]])
    np.testing.assert_array_equal(targets, [2, 4])
    assert names == ("a",)


def test_constant_columns_are_dropped_on_record(write):
    problem = LeastSquares.from_csv(write("a,flat,y\n1,7,2\n3,7,4\n"), "y", standardize=True)
    assert problem.dropped == ("flat",)
    assert problem.feature_names == ("a",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "data.csv must have a header line that names the columns, got an empty file"),
        ("\n\n", "got an empty file"),
        ("a,b\n1,2\n3,4\n", "target must be one of the columns a, b of .*, got 'y'; the closest is '[ab]'"),
        ("yy,b\n1,2\n3,4\n", "target must be one of the columns yy, b of .*, got 'y'; the closest is 'yy'"),
        ("a,y,a,a\n1,2,3,4\n", "line 1 must name every column differently, got 'a' 3 times"),
        ("a,,y\n1,2,3\n", "line 1 must name every column, got an empty name for column 2"),
        ("y\n1\n2\n", "must have a feature column, got the target 'y' alone"),
        ("a,y\n", "must have at least 2 rows below the header, got 0"),
        ("a,y\n1,2\n", "must have at least 2 rows below the header, got 1"),
        ("a,y\n1,2\n3\n", "line 3 must have 2 cells like the header, got 1"),
        ("a,y\n\n1,2\n3,4,5\n", "line 4 must have 2 cells like the header, got 3"),
        ("a,y\n1,2\nsix,4\n", "line 3 column 'a' must be a finite number, got 'six'"),
        ("a,y\n1,\n3,4\n", "line 2 column 'y' must be a finite number, got an empty cell"),
        ("a,y\n1,  \n3,4\n", "line 2 column 'y' must be a finite number, got an empty cell"),
        *[
            (f"a,y\n1,2\n{cell},4\n", f"data.csv line 3 column 'a' must be a finite number, got {cell!r}; a number is")
            for cell in (
                "12_1",
                "2021_05",
                "1_0e1_0",
                "٣",
                "１２",
                "²",
                "½",
                "0x10",
                "1e",
                "1 2",
                "--1",
                "5%",
                "True",
                "−1",
            )
        ],
        (
            'a,y\n1,2\n"1,5",4\n',
            "line 3 column 'a' must be a finite number, got '1,5'; a number is written like 12, -0",
        ),
        ("a;y\n1,5;2\n3,5;4\n", "line 1 must be comma separated, got semicolons in 'a;y'"),
        ("a;b,c;y\n1;2;3\n", "line 1 must be comma separated, got semicolons in 'a;b,c;y'"),
        ("a\ty\n1\t2\n3\t4\n", r"line 1 must be comma separated, got tabs in 'a\\ty'"),
        ("a|y\n1|2\n3|4\n", r"line 1 must be comma separated, got bars in 'a\|y'"),
        ("a y\n1 2\n3 4\n", "line 1 must be comma separated, got spaces in 'a y'"),
        ("a,y\n1,2\n3;4\n", "line 3 must be comma separated, got semicolons in '3;4'"),
        ("a,y\n1,5,2,5\n3,4\n", "line 2 must have 2 cells like the header, got 4; a number takes a decimal point"),
        ("a;b,c\n1,2\n3,4\n", "target must be one of the columns a;b, c of"),
        ("1,2\n3,4\n5,6\n", "line 1 must name the columns, got the numbers '1, 2'"),
        ('a,y\n1,"2\n3,4\n', "must be CSV in UTF-8: a quote that is not closed in line 2"),
        ('a,y\n1,2\n3,"4', "must be CSV in UTF-8: a quote that is not closed in line 3"),
        ('a,"two\nlines",y\n1,2,3\n4,x,6\n', "line 4 column 'two lines' must be a finite number, got 'x'"),
        ("a,y\nnan,2\n3,4\n", "line 2 column 'a' must be a finite number, got 'nan'"),
        ("a,y\n1,2\n3,-inf\n", "line 3 column 'y' must be a finite number, got '-inf'"),
        ("a,y\n1,2\n3,1e999\n", "line 3 column 'y' must be a finite number, got '1e999'"),
        ("a,y\n5,2\n5,4\n", "features must have a column that varies, got 1 constant"),
        (f"a,y\n1,{'2' * 200_000}\n3,4\n", r"data.csv must be CSV in UTF-8: field larger .* in line 2"),
    ],
)
def test_malformed_files_are_refused(write, text, message):
    with pytest.raises(ValueError, match=message) as failure:
        LeastSquares.from_csv(write(text), "y", standardize=True)
    assert "\n" not in str(failure.value)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"readable CSV file, got '.*absent.csv': No such file"):
        LeastSquares.from_csv(tmp_path / "absent.csv", "y")
    for path in (tmp_path, 0, None, "a\0b"):
        with pytest.raises(ValueError, match="path must name a readable CSV file, got "):
            LeastSquares.from_csv(path, "y")


def test_other_encodings_are_refused(write):
    with pytest.raises(ValueError, match=r"data.csv must be CSV in UTF-8: invalid .* in line 1"):
        LeastSquares.from_csv(write("größe,y\n1,2\n3,4\n", encoding="latin-1"), "y")
    with pytest.raises(ValueError, match=r"data.csv must be CSV in UTF-8: invalid .* in line 3"):
        LeastSquares.from_csv(write("a,y\n1,2\n3,4€\n", encoding="cp1252"), "y")
    with pytest.raises(ValueError, match=r"data.csv must be CSV in UTF-8: invalid .* in line 1"):
        LeastSquares.from_csv(write("a,y\n1,2\n3,4\n", encoding="utf-16"), "y")


def test_closest_spelling():
    assert closest("prise", ["rooms", "price"]) == "price"
    assert closest(3, ["rooms", "price"]) in ("rooms", "price")

"""Finding theorems by id, by paper and by file."""

from functools import cache

import pytest

from quadlab import verify as v
from quadlab.verify import library

SOURCE = """
from quadlab.theory.intervals import positive
from quadlab.verify import IDENTITY, Domain, Theorem

THEOREM = Theorem(
    id="mine.square", title="a square", source="me", statement="a^2", kind=IDENTITY,
    domain=Domain(a=positive), formula=lambda a: a**2, oracle=lambda a: a * a, mutants={"cube": "a**3"},
)
"""


def test_ids_are_unique_and_load_themselves():
    assert len(v.theorems()) == len(v.theorem_files())
    for name, theorem in v.theorems().items():
        assert v.load(name) is theorem
        assert v.paper_of(theorem) in v.papers()


def test_a_users_file_is_loaded_and_verified(tmp_path):
    file = tmp_path / "square.py"
    file.write_text(SOURCE)
    theorem = v.load(file)
    assert v.verify(theorem, rng=0).verdict.word == v.VERIFIED
    assert v.paper_of(theorem) == ""
    assert v.file_of(theorem) == file
    assert v.load(str(file)) is theorem


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("vl.nois-ball", "no theorem has the id 'vl.nois-ball' .*vl.noise-ball"),
        ("nothing.like.it", "no theorem has the id 'nothing.like.it'"),
        ("missing.py", "there is no file missing.py"),
    ],
)
def test_unknown_theorems_are_named(target, message):
    with pytest.raises(ValueError, match=message):
        v.load(target)


def test_a_file_without_a_theorem_is_refused(tmp_path):
    file = tmp_path / "empty.py"
    file.write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"must define THEOREM as a quadlab.verify.Theorem, got NoneType"):
        v.load(file)


def test_a_file_that_fails_leaves_nothing_behind(tmp_path):
    file = tmp_path / "later.py"
    file.write_text("raise RuntimeError('not yet')\n")
    for _ in range(2):
        with pytest.raises(ValueError, match="later.py cannot be loaded: RuntimeError: not yet"):
            v.load(file)
    file.write_text(SOURCE)
    assert v.load(file).id == "mine.square"


def test_a_file_that_has_changed_is_loaded_anew(tmp_path):
    """Within the second and in the same length, at which compiled files would be taken for current."""
    file = tmp_path / "square.py"
    file.write_text(SOURCE)
    before = v.load(file)
    file.write_text(SOURCE.replace("lambda a: a**2", "lambda a: a**3"))
    after = v.load(file)
    assert (before.formula(2), after.formula(2)) == (4, 8)
    assert v.file_of(before) == v.file_of(after) == file
    assert v.load(file) is after
    assert list(tmp_path.iterdir()) == [file]


def test_files_of_one_name_and_text_are_two(tmp_path):
    files = [tmp_path / folder / "square.py" for folder in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        file.write_text(SOURCE)
    assert [v.file_of(v.load(file)) for file in files] == files


def test_an_unknown_paper_is_named():
    with pytest.raises(ValueError, match="implicit_gradient_regularization, vl_edge.*got 'vl_edge'"):
        v.theorem_files("vl_edge")


@pytest.fixture
def checks(tmp_path, monkeypatch):
    """A folder paper_checks with one theorem and one experiment."""
    for folder, name in (("a_paper", "mine.square"), ("deep_nets", "net.square")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "square.py").write_text(SOURCE.replace("mine.square", name))
    monkeypatch.setattr(library, "checks_folder", lambda: tmp_path)
    monkeypatch.setattr(library, "theorems", cache(library.theorems.__wrapped__))
    return tmp_path


def test_experiments_are_among_all_theorems_and_can_be_left_out(checks):
    assert list(library.theorems()) == ["mine.square", "net.square"]
    assert list(v.experiments()) == ["net.square"]
    assert v.papers() == ("a_paper", "deep_nets")
    assert v.theorem_files() == (checks / "a_paper" / "square.py", checks / "deep_nets" / "square.py")
    assert v.theorem_files(experiments=False) == (checks / "a_paper" / "square.py",)
    assert v.theorem_files("deep_nets", experiments=False) == (checks / "deep_nets" / "square.py",)
    assert v.load("net.square") is v.experiments()["net.square"]

"""Results survive interruptions, and a run resumes where it stopped."""

import json

import numpy as np
import pytest
import sympy
from test_runner import SAMPLED, theorem

from quadlab import verify as v
from quadlab.problems import Quadratic
from quadlab.verify.store import plain


def ids(entries):
    return [entry["id"] for entry in entries]


def make(*names):
    return [theorem(id=name, simulation=None) for name in names]


def test_records_are_plain_json_with_the_promised_keys(tmp_path):
    (entry,) = v.verify_all([theorem()], v.Store(tmp_path), rng=3)
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    assert json.loads(line) == json.loads(json.dumps(entry))
    for key in ("schema", "version", "id", "paper", "kind", "verdict", "evidence", "mutants", "seconds", "seed"):
        assert key in entry
    assert entry["mutants"] | {"refutations": []} == {"killed": 2, "total": 2, "survivors": [], "refutations": []}
    sampled = entry["evidence"][-1]
    assert set(sampled["comparisons"][0]) == {
        "setting", "estimate", "standard_error", "prediction", "margin", "replicas",
    }  # fmt: skip


def test_an_interrupted_run_resumes_with_its_seed(tmp_path):
    store = v.Store(tmp_path)
    run = v.verify_all(make("one", "two", "three"), store)
    first = next(run)
    run.close()
    rest = list(v.verify_all(make("one", "two", "three"), store, resume=True))
    assert ids(rest) == ["one", "two", "three"]
    assert rest[0] == {**first, "resumed": True}
    assert {entry["seed"] for entry in rest} == {first["seed"]}
    assert ids(store.records()) == ["one", "two", "three"]


def test_a_line_cut_short_is_lost_alone(tmp_path):
    store = v.Store(tmp_path)
    list(v.verify_all(make("one", "two"), store, rng=1))
    text = store.path.read_text()
    store.path.write_text(text[:-40])
    again = list(v.verify_all(make("one", "two", "three"), store, rng=1, resume=True))
    assert ids(again) == ["one", "two", "three"]
    assert ids(store.records()) == ["one", "two", "three"]


def test_other_settings_are_not_resumed(tmp_path):
    store = v.Store(tmp_path)
    list(v.verify_all(make("one"), store, rng=1, budget="quick"))
    seed, finished = store.finished(budget="standard", problem="", seed=None)
    assert (seed, finished) == (None, {})
    assert store.finished(budget="quick", problem="my data")[1] == {}
    assert store.finished(budget="quick", problem="", seed=2) == (2, {})
    assert ids(store.finished(budget="quick", problem="")[1].values()) == ["one"]


def test_errors_are_tried_again(tmp_path):
    store, attempts = v.Store(tmp_path), []

    def flaky(a, b):
        attempts.append(a)
        raise RuntimeError("no")

    broken = [theorem(id="one", oracle=flaky, simulation=None)]
    list(v.verify_all(broken, store, rng=1))
    before = len(attempts)
    list(v.verify_all(broken, store, rng=1, resume=True))
    assert len(attempts) > before


def test_nothing_is_overwritten(tmp_path):
    store = v.Store(tmp_path)
    list(v.verify_all(make("one"), store, rng=1))
    list(v.verify_all(make("one"), store, rng=2))
    assert [entry["seed"] for entry in store.records()] == [1, 2]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"output folder .*file/out cannot be written"):
        v.Store(tmp_path / "file" / "out")


def test_another_seed_is_another_run(tmp_path):
    store = v.Store(tmp_path)
    list(v.verify_all(make("one"), store, rng=1))
    list(v.verify_all(make("one"), store, rng=2, resume=True))
    assert [entry["seed"] for entry in store.records()] == [1, 2]


def test_only_the_latest_run_is_continued(tmp_path):
    store = v.Store(tmp_path)
    list(v.verify_all(make("one", "two"), store, rng=1))
    list(v.verify_all(make("one"), store, rng=2))
    rest = list(v.verify_all(make("one", "two"), store, resume=True))
    assert [entry["seed"] for entry in rest] == [2, 2]
    assert ids(store.records()) == ["one", "two", "one", "two"]


def test_another_problem_is_another_run(tmp_path):
    store, problem = v.Store(tmp_path), Quadratic([[1.0]], name="mine")
    on_problem = [theorem(id="one", on_problem=lambda problem: SAMPLED)]
    (entry,) = v.verify_all(on_problem, store, rng=1, problem=problem)
    assert entry["problem"] == "mine"
    (entry,) = v.verify_all(on_problem, store, rng=1, resume=True)
    assert entry["problem"] == "diabetes"
    list(v.verify_all(on_problem, store, rng=1, problem=problem, resume=True))
    assert [entry["problem"] for entry in store.records()] == ["mine", "diabetes"]


@pytest.mark.parametrize("key", ["version", "schema"])
def test_records_of_another_version_are_not_resumed(tmp_path, key):
    store = v.Store(tmp_path)
    (entry,) = v.verify_all(make("one"), store, rng=1)
    store.path.write_text(json.dumps({**entry, key: "other"}) + "\n")
    assert store.finished(budget="standard", problem="") == (None, {})


def test_lines_that_are_no_records_are_passed_over(tmp_path):
    store = v.Store(tmp_path)
    store.path.write_text('3\n{"key": 1}\n{"id": "one"}\n')
    assert ids(store.records()) == ["one"]


def test_plain_values_are_json():
    value = {"a": np.array([[1.0, np.inf]]), 2: (np.float64("nan"), np.int64(3)), "x": sympy.Rational(1, 3), "n": None}
    expected = {"a": [[1.0, "inf"]], "2": ["nan", 3], "x": "1/3", "n": None}
    assert plain(value) == expected
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == expected


def test_a_theorem_whose_file_changed_is_verified_again(tmp_path):
    file, store = tmp_path / "mine.py", v.Store(tmp_path)
    source = (
        "from quadlab.theory.intervals import positive\n"
        "from quadlab.verify import IDENTITY, Domain, Theorem\n"
        "THEOREM = Theorem(id='mine', title='t', source='s', statement='x', kind=IDENTITY, domain=Domain(a=positive),\n"
        "    formula=lambda a: FACTOR * a, oracle=lambda a: 2 * a, mutants={'cube': 'a**3'})\n"
    )
    words = []
    for name, factor in (("first", "2"), ("second", "3")):
        # another path, as in another session: a module is loaded once
        file = tmp_path / name / "mine.py"
        file.parent.mkdir()
        file.write_text(source.replace("FACTOR", factor))
        (entry,) = v.verify_all([v.load(file)], store, rng=1, resume=True)
        words.append(entry["verdict"])
    assert words == ["VERIFIED", "REFUTED"]


def test_other_data_under_the_same_name_are_verified_again(tmp_path):
    from quadlab.problems import Quadratic

    store = v.Store(tmp_path)
    for curvature in (1.0, 2.0):
        list(v.verify_all(make("one"), store, rng=1, problem=Quadratic([[curvature]], name="d"), resume=True))
    assert ids(store.records()) == ["one", "one"]

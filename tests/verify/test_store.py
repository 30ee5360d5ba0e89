"""Results survive interruptions, and a run resumes where it stopped."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import sympy
from test_runner import SAMPLED, theorem

from quadlab import verify as v
from quadlab.problems import Quadratic
from quadlab.verify.batch import fingerprint
from quadlab.verify.store import plain

SOURCE = """
from quadlab.theory.intervals import positive
from quadlab.verify import IDENTITY, Domain, Theorem

THEOREM = Theorem(
    id="mine", title="t", source="s", statement="x", kind=IDENTITY, domain=Domain(a=positive),
    formula=lambda a: FACTOR * a, oracle=lambda a: 2 * a, mutants={"cube": "a**3"},
)
"""


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
        "setting", "estimate", "standard_error", "prediction", "margin", "replicas", "rounding",
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
    with pytest.warns(UserWarning, match=r"results.jsonl, as no records: line 2 \(not JSON, or cut short\)$"):
        again = list(v.verify_all(make("one", "two", "three"), store, rng=1, resume=True))
    assert ids(again) == ["one", "two", "three"]
    with pytest.warns(UserWarning, match="line 2 "):
        assert ids(store.records()) == ["one", "two", "three"]


def test_other_settings_are_not_resumed(tmp_path):
    store = v.Store(tmp_path)
    list(v.verify_all(make("one"), store, rng=1, budget="quick"))
    seed, finished = store.finished(budget="standard", problem="", seed=None)
    assert (seed, finished) == (None, {})
    assert store.finished(budget="quick", problem="my data")[1] == {}
    assert store.finished(budget="quick", problem="", seed=2) == (2, {})
    assert [name for name, _ in store.finished(budget="quick", problem="")[1]] == ["one"]


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
    list(v.verify_all(make("one", "two"), store, rng=1))
    first, second = store.path.read_bytes().splitlines(keepends=True)
    whole = json.loads(first)

    def changed(**values):
        return json.dumps({**whole, **values}).encode() + b"\n"

    def without(name):
        return json.dumps({key: value for key, value in whole.items() if key != name}).encode() + b"\n"

    nested = b'{"schema": 1, "id": ' + b"[" * 10**5 + b"]" * 10**5 + b"}\n"
    damage = {
        b"\xff\xfe" + first: "not UTF-8",
        first.replace(b"one", b"\xe9ne"): "not UTF-8",
        first[:-40] + b"\n": "not JSON, or cut short",
        b"\0" * 4096 + b"\n": "not JSON, or cut short",
        b"3\n": "a number, not an object",
        b"null\n": "null, not an object",
        b'[{"id": "one"}]\n': "a list, not an object",
        b'"one"\n': "a text, not an object",
        nested: "nested too deeply",
        without("schema"): "no schema",
        without("seed"): "no seed",
        without("verdict"): "no verdict",
        without("mutants"): "no mutants",
        changed(seed=None): "seed is null",
        changed(seed="1"): "seed is a text",
        changed(seed=True): "seed is true or false",
        changed(seed=-1): "seed is negative",
        changed(verdict=3): "verdict is a number",
        changed(verdict="PROVED"): "verdict is not one of quadlab's",
        changed(id=["one"]): "id is a list",
        changed(mutants={"killed": 2}): "no mutants total",
        changed(evidence=[3]): "evidence is a number",
        changed(evidence=[{"kind": "computed"}]): "no evidence verdict",
        changed(witness=float("nan")): "NaN is no number of JSON",
        changed(witness={"a": float("-inf")}): "-Infinity is no number of JSON",
        changed(seconds=10**400): "the number 10000000000000000000 is too large",
        first.replace(b'"seconds": ', b'"more": 1e999, "seconds": '): "the number 1e999 is too large",
        first.replace(
            b'"seconds": ', b'"more": ' + b"1" * 5000 + b', "seconds": '
        ): "a number of 5000 digits is too large",
    }
    blank = [b"\n", b"  \r\n", json.dumps({"schema": "of another version"}).encode() + b"\n"]
    for line, told in damage.items():
        store.path.write_bytes(first + line + second + blank[0])
        with pytest.warns(UserWarning, match=rf"as no records: line 2 \({told}\)$") as caught:
            rest = list(v.verify_all(make("one", "two"), store, resume=True))
        assert len(caught) == 1
        assert [entry["resumed"] for entry in rest] == [True, True], told
        assert store.path.read_bytes() == first + line + second + blank[0]
    store.path.write_bytes(b"\xef\xbb\xbf" + first + b"".join(blank) + second)
    assert ids(store.records()) == ["one", "two"]
    store.path.write_bytes(b"".join(damage))
    with pytest.warns(UserWarning, match=rf"line 5 .* and {len(damage) - 5} more$"):
        assert store.records() == []


def test_plain_values_are_json():
    value = {"a": np.array([[1.0, np.inf]]), 2: (np.float64("nan"), np.int64(3)), "x": sympy.Rational(1, 3), "n": None}
    expected = {"a": [[1.0, "inf"]], "2": ["nan", 3], "x": "1/3", "n": None}
    assert plain(value) == expected
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == expected


def test_a_theorem_whose_file_changed_is_verified_again(tmp_path):
    file, store = tmp_path / "mine.py", v.Store(tmp_path)
    words = []
    for name, factor in (("first", "2"), ("second", "3")):
        # another path, as in another session: a module is loaded once
        file = tmp_path / name / "mine.py"
        file.parent.mkdir()
        file.write_text(SOURCE.replace("FACTOR", factor))
        (entry,) = v.verify_all([v.load(file)], store, rng=1, resume=True)
        words.append(entry["verdict"])
    assert words == ["VERIFIED", "REFUTED"]


def test_other_data_under_the_same_name_are_verified_again(tmp_path):
    from quadlab.problems import Quadratic

    store = v.Store(tmp_path)
    for curvature in (1.0, 2.0):
        list(v.verify_all(make("one"), store, rng=1, problem=Quadratic([[curvature]], name="d"), resume=True))
    assert ids(store.records()) == ["one", "one"]


def test_two_theorems_of_one_name_are_both_finished(tmp_path):
    """As two drafts in two files are; neither is verified again, nor taken for the other."""
    store = v.Store(tmp_path)
    drafts = []
    for factor in ("2", "3"):
        (tmp_path / f"draft{factor}.py").write_text(SOURCE.replace("FACTOR", factor))
        drafts.append(v.load(tmp_path / f"draft{factor}.py"))
    made = list(v.verify_all(drafts, store, rng=1))
    assert [entry["verdict"] for entry in made] == ["VERIFIED", "REFUTED"]
    assert list(v.verify_all(drafts, store, resume=True)) == [{**entry, "resumed": True} for entry in made]
    # what is verified is the text that was loaded, whatever the file says by now
    (tmp_path / "draft2.py").write_text(SOURCE.replace("FACTOR", "4"))
    assert len(list(v.verify_all(drafts, store, resume=True))) == len(store.records()) == 2


def test_the_latest_run_is_continued_even_if_it_ended_in_an_error(tmp_path):
    store, broken = v.Store(tmp_path), theorem(id="one", oracle=lambda a, b: 1 / 0, simulation=None)
    list(v.verify_all(make("one"), store, rng=1))
    list(v.verify_all([broken], store, rng=2))
    (again,) = v.verify_all(make("one"), store, resume=True)
    assert (again["seed"], "resumed" in again) == (2, False)


def test_a_folder_in_the_place_of_the_results_is_named(tmp_path):
    (tmp_path / "results.jsonl").mkdir()
    with pytest.raises(ValueError, match=r"cannot be written: Is a directory \(.*results.jsonl\)"):
        v.Store(tmp_path)


@pytest.mark.parametrize("shape", [(2, 3), (3, 2)])
def test_the_shape_of_data_is_part_of_them(shape):
    data = SimpleNamespace(inputs=np.arange(6.0).reshape(shape), targets=np.arange(3))
    assert fingerprint(data) != fingerprint(SimpleNamespace(inputs=np.arange(6.0), targets=np.arange(3)))
    more = SimpleNamespace(**vars(data), test_inputs=np.ones(2))
    assert fingerprint(data) != fingerprint(more) != fingerprint(SimpleNamespace(**{**vars(more), "test_inputs": None}))

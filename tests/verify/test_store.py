"""Results survive interruptions, and a run resumes where it stopped."""

import json

import pytest
from test_runner import theorem

from quadlab import verify as v


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
    assert rest[0] == first
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

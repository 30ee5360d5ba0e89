"""Functions that travel to worker processes, and what becomes of runs there."""

import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from quadlab import verify as v
from quadlab.verify import library
from quadlab.verify.workers import Portable, processes

SETTINGS = [{"rate": rate} for rate in (0.1, 0.2, 0.4)]

FILE = """
import os
from functools import cache, partial
import numpy as np
from quadlab.verify import Runs

@cache
def loaded():
    return os.urandom(8).hex()

def train(setting, seed, budget, factor=1.0):
    noise = np.random.default_rng(seed).normal()
    return {"found": factor * setting["rate"] + noise, "process": os.getpid(), "loaded": int(loaded(), 16)}

class Trained:
    @staticmethod
    def once(setting, seed, budget):
        return train(setting, seed, budget)

doubled = partial(train, factor=2.0)

if __name__ == "__main__":
    made = Runs(train).made([{"rate": 0.1}, {"rate": 0.2}], 2, rng=0, budget="quick")
    processes = {run.measured["process"] for row in made for run in row}
    print(os.getpid() not in processes, [round(run.measured["found"], 6) for row in made for run in row])
"""


@pytest.fixture
def module(tmp_path):
    (tmp_path / "experiment.py").write_text(FILE)
    return library.load_module(tmp_path / "experiment.py")


def found(made, name="found"):
    return [run.measured[name] for row in made for run in row]


def noisy(setting, seed, budget):
    return {"found": setting["rate"] + np.random.default_rng(seed).normal(), "process": os.getpid()}


def test_runs_go_on_other_processes_and_give_the_same_numbers():
    made = v.Runs(noisy).made(SETTINGS, 3, rng=0, budget="quick")
    assert os.getpid() not in found(made, "process")
    expected = [
        noisy(setting, np.random.SeedSequence(run.seed), "quick")["found"]
        for setting, row in zip(SETTINGS, made, strict=True)
        for run in row
    ]
    assert found(made) == expected


def test_functions_of_a_theorem_file_travel_and_the_file_is_loaded_once_in_a_worker(module):
    made = v.Runs(module.train).made(SETTINGS, 4, rng=0, budget="quick")
    again = v.Runs(module.train).made(SETTINGS[:2], 4, rng=1, budget="quick")
    workers = {(run.measured["process"], run.measured["loaded"]) for row in made + again for run in row}
    assert len(workers) == len({process for process, _ in workers})
    doubled = v.Runs(module.doubled).made(SETTINGS, 4, rng=0, budget="quick")
    assert found(v.Runs(module.Trained.once).made(SETTINGS, 4, rng=0, budget="quick")) == found(made)
    shift = np.subtract(found(doubled), found(made)).reshape(3, 4).mean(axis=1)
    assert shift == pytest.approx([0.1, 0.2, 0.4])


def test_lambdas_closures_and_partials_travel(module):
    offset = 3.0
    for run in (
        lambda setting, seed, budget: {"found": noisy(setting, seed, budget)["found"] + offset},
        partial(lambda shift, *point: {"found": noisy(*point)["found"] + shift}, offset),
        lambda *point: {"found": module.train(*point)["found"] + offset},
    ):
        plain = np.array(found(v.Runs(noisy).made(SETTINGS, 2, rng=0, budget="quick")))
        assert found(v.Runs(run).made(SETTINGS, 2, rng=0, budget="quick")) == (plain + offset).tolist()


def test_a_script_needs_no_guard_of_its_own_for_functions_that_keep_results(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(FILE.replace('if __name__ == "__main__":', "if True:"))
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=100, check=False)
    assert done.stderr == ""
    away, *numbers = done.stdout.strip().split(" ", 1)
    assert (away, done.stdout.count("True")) == ("True", 1)
    assert len(numbers[0].split(",")) == 4


def test_a_portable_function_may_travel_twice():
    once = pickle.loads(pickle.dumps(Portable(lambda a: a + 1)))
    twice = pickle.loads(pickle.dumps(once))
    assert (once(1), twice(1), pickle.loads(pickle.dumps(twice))(1)) == (2, 2, 2)


def test_what_cannot_travel_is_said_to_be_so_and_may_run_on_threads():
    lock = threading.Lock()

    def locked(*point):
        with lock:
            return noisy(*point)

    with pytest.raises(TypeError, match=r"cannot be sent to another process \(cannot pickle '_thread.lock'"):
        v.Runs(locked).made(SETTINGS, 2, rng=0, budget="quick")
    with ThreadPoolExecutor(2) as executor:
        made = v.Runs(locked).made(SETTINGS, 2, rng=0, budget="quick", executor=executor)
    assert found(made) == found(v.Runs(noisy).made(SETTINGS, 2, rng=0, budget="quick"))


def test_a_worker_that_dies_costs_its_run_and_no_later_one():
    with pytest.raises(RuntimeError, match=r"the run at rate = 0.1 with seed \d+ failed: TerminatedWorkerError"):
        v.Runs(lambda *point: os._exit(1)).made(SETTINGS[:1], 1, rng=0, budget="quick")
    assert len(found(v.Runs(noisy).made(SETTINGS, 2, rng=0, budget="quick"))) == 6


def test_no_more_workers_than_tasks():
    assert processes(1)._max_workers == 1

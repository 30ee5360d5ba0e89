"""Functions that travel to worker processes, and what becomes of runs there."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache, partial
from multiprocessing import get_context

import loky
import numpy as np
import pytest

from quadlab import verify as v
from quadlab.verify import library, workers
from quadlab.verify.workers import Portable, portable_error, processes

SETTINGS = [{"rate": rate} for rate in (0.1, 0.2, 0.4)]

FILE = """
import json
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
    print(json.dumps([os.getpid() not in processes, sum(map(len, made))]))
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


def test_a_script_needs_no_guard_of_its_own_and_what_its_runs_print_is_kept_out_of_results(tmp_path):
    path = tmp_path / "script.py"
    printing = FILE.replace("    noise =", "    print('at work')\n    noise =")
    path.write_text(printing.replace('if __name__ == "__main__":', "if True:"))
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=100, check=False)
    assert json.loads(done.stdout) == [True, 4]
    # lines of two processes may mix with each other's ends
    assert done.stderr.replace("\n", "") == "at work" * 4


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


def test_a_worker_that_dies_is_an_error_and_costs_no_later_run():
    told = r"the run at rate = \S+ with seed \d+ failed: a worker process died in it or in a run beside it"
    many = [{"rate": float(rate)} for rate in range(100)]
    with pytest.raises(RuntimeError, match=told):
        v.Runs(lambda *point: os._exit(1)).made(many, 2, rng=0, budget="quick")
    assert len(found(v.Runs(noisy).made(SETTINGS, 2, rng=0, budget="quick"))) == 6


class NeedsTwoError(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def fails(setting, seed, budget):
    raise NeedsTwoError("this", "that")


def leaves(setting, seed, budget):
    sys.exit(0)


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (fails, "RuntimeError: NeedsTwoError: this and that"),
        (leaves, "SystemExit: 0"),
        (lambda *point: 3, "ValueError: a run must return a mapping of names to numbers, got int"),
    ],
)
def test_what_goes_wrong_in_a_worker_comes_home(run, why):
    with pytest.raises(RuntimeError, match=rf"the run at rate = 0.1 with seed \d+ failed: {why}"):
        v.Runs(run).made(SETTINGS, 2, rng=0, budget="quick")


def test_an_error_that_can_travel_is_left_alone():
    error = KeyError("a")
    assert portable_error(error) is error


def test_runs_do_not_change_how_later_ones_compute():
    def sets(setting, seed, budget):
        before = np.geterr()["under"] == "raise"
        np.seterr(under="raise")
        return {"before": before, **noisy(setting, seed, budget)}

    for executor in (None, ThreadPoolExecutor(1)):
        made = v.Runs(sets).made(SETTINGS, 4, rng=0, budget="quick", executor=executor)
        assert set(found(made, "before")) == {0.0}


def test_what_a_function_that_travels_by_value_keeps_is_kept_in_its_worker():
    @cache
    def drawn():
        return int.from_bytes(os.urandom(6), "little")

    def run(setting, seed, budget):
        return {"drawn": drawn(), **noisy(setting, seed, budget)}

    made = v.Runs(run).made(SETTINGS, 8, rng=0, budget="quick")
    assert len(set(found(made, "drawn"))) == len(set(found(made, "process")))


@pytest.mark.parametrize("late", ["changed", "deleted"])
def test_workers_run_the_text_that_was_loaded(tmp_path, late):
    path = tmp_path / "experiment.py"
    path.write_text(FILE)
    first = library.load_module(path)
    expected = found(v.Runs(first.train).made(SETTINGS, 2, rng=0, budget="quick", executor=ThreadPoolExecutor(1)))
    path.write_text(FILE.replace("factor=1.0", "factor=3.0"))
    second = library.load_module(path)
    if late == "deleted":
        path.unlink()
    assert found(v.Runs(first.train).made(SETTINGS, 2, rng=0, budget="quick")) == expected
    shift = np.subtract(found(v.Runs(second.train).made(SETTINGS, 2, rng=0, budget="quick")), expected)
    assert shift == pytest.approx([0.2, 0.2, 0.4, 0.4, 0.8, 0.8])
    through_module = v.Runs(lambda *point: {**first.train(*point)}).made(SETTINGS, 2, rng=0, budget="quick")
    assert found(through_module) == expected


def nested(_):
    return [(run.measured["found"], run.measured["process"] == os.getpid()) for run in made_of_noise()]


def made_of_noise():
    return [run for row in v.Runs(noisy).made(SETTINGS, 2, rng=0, budget="quick") for run in row]


def test_a_process_that_is_a_worker_itself_makes_its_runs_itself():
    expected = [(run.measured["found"], True) for run in made_of_noise()]
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        assert executor.submit(nested, 0).result() == expected
    assert loky.get_reusable_executor(1).submit(nested, 0).result() == expected


# whoever runs the tests in a shell's background has them ignore interrupts, which is inherited
ENDLESS = """
import signal
import time
from pathlib import Path
from quadlab.verify import Runs

signal.signal(signal.SIGINT, signal.default_int_handler)

def endless(setting, seed, budget):
    Path(__file__).with_name(f"started {setting['rate']}").touch()
    time.sleep(600)

try:
    Runs(endless).made([{"rate": rate} for rate in range(9)], 2, rng=0, budget="quick")
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="interrupts of process groups are POSIX")
@pytest.mark.parametrize("interrupt", ["kill", "killpg"])
def test_an_interruption_does_not_wait_for_runs(tmp_path, interrupt):
    """As sent to one process, and as the terminal sends it, to workers too."""
    (tmp_path / "endless.py").write_text(ENDLESS)
    options = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen([sys.executable, str(tmp_path / "endless.py")], **options) as process:
        try:
            until = time.monotonic() + 60
            while not list(tmp_path.glob("started*")) and time.monotonic() < until:
                time.sleep(0.05)
            getattr(os, interrupt)(process.pid, signal.SIGINT)
            assert process.communicate(timeout=60)[0] == "stopped\n"
        finally:
            process.kill()


def test_workers_that_leave_when_idle_are_replaced(monkeypatch):
    monkeypatch.setattr(workers, "IDLE_SECONDS", 0.01)
    runs = v.Runs(lambda *point: time.sleep(0.05) or noisy(*point))
    assert len(found(runs.made(SETTINGS, 8, rng=0, budget="quick"))) == 24
    time.sleep(0.1)
    assert len(found(runs.made(SETTINGS, 16, rng=0, budget="quick"))) == 48


def test_no_more_workers_than_tasks():
    assert processes(1)._max_workers == 1

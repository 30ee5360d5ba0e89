"""Work in a process of its own: results, errors, and ends that nothing inside the process could bring about."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from quadlab.verify import apart as module
from quadlab.verify.apart import Apart, GaveUp, apart

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are copied on POSIX alone")

UNSTOPPABLE = 10**9  # of seven, a power that takes minutes inside one call


def outcome(work, seconds=5.0):
    try:
        return apart(work, seconds=seconds)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda: {"found": [1.5, "text"]}, {"found": [1.5, "text"]}),
        (lambda: "x" * 3_000_000, "x" * 3_000_000),  # more than a pipe holds
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "GaveUp: ended by SIGKILL"),
        (lambda: os._exit(0), "GaveUp: its process ended without an answer"),
    ],
    ids=["result", "large result", "error", "killed", "left"],
)
def test_what_comes_back(work, expected):
    assert outcome(work) == expected


def test_a_result_that_cannot_leave_is_an_error():
    assert "the result cannot leave its process" in outcome(lambda: lambda: 1)


def test_memory_is_limited():
    assert outcome(lambda: len(bytearray(4 * module.LARGEST_GROWTH))).startswith(("MemoryError", "GaveUp"))


def test_a_call_into_c_is_ended_and_the_others_go_on():
    works = [lambda: 1, lambda: pow(7, UNSTOPPABLE), lambda: 3, lambda: pow(7, UNSTOPPABLE), os.getpid]
    first, second, third, fourth, last = Apart(works, seconds=0.1).outcomes()
    assert (first(), third()) == (1, 3)
    assert last() != os.getpid()
    for stopped in (second, fourth):
        with pytest.raises(GaveUp, match=r"gave up after 0\.1 s of processor time"):
            stopped()


def test_the_limit_is_of_processor_time():
    """A process that waits uses none."""
    assert outcome(lambda: threading.Event().wait(0.3), seconds=0.1) is False


def test_stopping_leaves_no_process():
    work = Apart([lambda: pow(7, UNSTOPPABLE)], seconds=600.0)
    child = work._child
    work.stop()
    with pytest.raises(ChildProcessError):
        os.waitpid(child, 0)


def test_an_interruption_ends_the_work_too():
    code = (
        "import os, signal; from quadlab.verify.apart import apart\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "parent = os.getpid()\n"
        "try: apart(lambda: (os.kill(parent, signal.SIGINT), pow(7, 10**9)), seconds=600)\n"
        "except KeyboardInterrupt: print('stopped')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "stopped\n"


def test_another_thread_works_where_it_is():
    found = []
    thread = threading.Thread(target=lambda: found.append(apart(os.getpid, seconds=1)))
    thread.start()
    thread.join()
    assert found == [os.getpid()]

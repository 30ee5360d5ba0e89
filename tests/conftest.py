"""What tests of the command line share: a way to run it, and the text of a small theorem file."""

import gc
import os
import signal

import pytest

# processes that run tests fill the cores, and threads of each would wait for one another; BLAS reads this when loaded
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# a shell that runs the tests in its background has interruptions ignored, by processes that tests start as well
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from quadlab import cli

THEOREM = """
from quadlab.theory.intervals import positive
from quadlab.verify import IDENTITY, Domain, Theorem

THEOREM = Theorem(
    id="mine.square", title="a square", source="me", statement="a^2", kind=IDENTITY,
    domain=Domain(a=positive), formula=lambda a: {formula}, oracle=lambda a: a * a, mutants={{"cube": "a**3"}},
    caveats=("Says nothing of circles.",),
)
"""


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as exit:
            cli.main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return exit.value.code, printed.out, printed.err

    return call


@pytest.fixture
def theorem_text():
    """A file that defines the theorem mine.square; `{formula}` is to be filled in."""
    return THEOREM


def pytest_collection_finish():
    # what imports and collection left stays; collectors of garbage need not look at it again and again
    gc.collect()
    gc.freeze()

"""Work that may run for ever, in a process of its own that can be ended, within a limit of processor time.

A signal cannot interrupt a call into C (a solver, a power of large integers), the end of a process can. Time is that
of the processor, so that a busy machine changes nothing.
"""

import os
import pickle
import signal
import threading
import warnings
from contextlib import suppress

from quadlab.verify.workers import portable_error

__all__ = ["Apart", "GaveUp", "apart"]

LARGEST_GROWTH = 4 << 30  # bytes
PIPE_BYTES = 1 << 20


class GaveUp(RuntimeError):
    """The work was ended; the message says by what."""


def apart(work, *, seconds):
    """The result of `work()`, run in a process of its own; GaveUp after `seconds` of processor time.

    >>> apart(lambda: 6 * 7, seconds=1)
    42
    >>> apart(lambda: pow(7, 10**9), seconds=0.1)
    Traceback (most recent call last):
    ...
    quadlab.verify.apart.GaveUp: gave up after 0.1 s of processor time
    """
    (outcome,) = Apart([work], seconds=seconds).outcomes()
    return outcome()


class Apart:
    """Pieces of work, run one after the other in a process beside this one; each has the same limit.

    Where a process cannot be split in two (Windows, a thread that is not the main one) the work is done here, without
    a limit.
    """

    def __init__(self, works, *, seconds):
        self._works, self._seconds = list(works), seconds
        self._outcomes: list = []
        self._child, self._stream = 0, None
        if self._works and can_fork():
            self._begin()

    def outcomes(self):
        """A function for each piece of work, which returns its result or raises its error; waits for all of them."""
        try:
            while len(self._outcomes) < len(self._works):
                if not self._child:
                    self._outcomes.append(_outcome(self._works[len(self._outcomes)]))
                else:
                    self._collect()
        except BaseException:
            self.stop()
            raise
        return [_raising(value) if failed else _returning(value) for failed, value in self._outcomes]

    def stop(self):
        """End the process in the middle of what it does."""
        if self._child:
            with suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            self._end()

    def _begin(self):
        receiving, sending = os.pipe()
        _widen(sending)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that other threads exist, which hold nothing of ours
            child = os.fork()
        if child == 0:
            os.close(receiving)
            _serve(self._works[len(self._outcomes) :], self._seconds, sending)
        os.close(sending)
        self._child, self._stream = child, os.fdopen(receiving, "rb")

    def _collect(self):
        """Read what the process has done until it ends; go on in another one behind what it did not survive."""
        assert self._stream is not None
        while len(self._outcomes) < len(self._works):
            try:
                self._outcomes.append(pickle.load(self._stream))
            except (EOFError, pickle.UnpicklingError):
                break
        status = self._end()
        if len(self._outcomes) < len(self._works):
            self._outcomes.append((True, GaveUp(_why(status, self._seconds))))
            if len(self._outcomes) < len(self._works):
                self._begin()

    def _end(self):
        assert self._stream is not None
        self._stream.close()
        _, status = os.waitpid(self._child, 0)
        self._child, self._stream = 0, None
        return status


def can_fork():
    """Whether work can go to a process that is a copy of this one."""
    return hasattr(os, "fork") and threading.current_thread() is threading.main_thread()


def _outcome(work):
    try:
        return False, work()
    except Exception as error:
        return True, error


def _serve(works, seconds, sending):
    """Do the work in the copy of the process, and end it without what the original would do at its end."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        _limit_memory()
        for work in works:
            signal.setitimer(signal.ITIMER_PROF, seconds)
            failed, value = _outcome(work)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _write(sending, failed, portable_error(value) if failed else value)
        code = 0
    finally:
        os._exit(code)


def _write(sending, failed, value):
    try:
        encoded = pickle.dumps((failed, value))
    except Exception as error:
        encoded = pickle.dumps((True, TypeError(f"the result cannot leave its process: {error}")))
    while encoded:
        encoded = encoded[os.write(sending, encoded) :]


def _limit_memory():
    """As much more than now as any honest work needs; the rest would take the machine's."""
    try:
        import resource

        with open("/proc/self/statm", "rb") as pages:
            data = int(pages.read().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (data + LARGEST_GROWTH, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    except (ImportError, OSError, ValueError, IndexError):
        return


def _widen(sending):
    """Let small results wait in the pipe, so that the process need not wait for its reader."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(sending, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _why(status, seconds):
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGPROF:
            return f"gave up after {seconds:g} s of processor time"
        return f"ended by {signal.Signals(number).name}"
    return "its process ended without an answer"


def _raising(error):
    def outcome():
        raise error

    return outcome


def _returning(value):
    return lambda: value

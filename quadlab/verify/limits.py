"""A time limit for symbolic work, which may run for ever on a formula it was not made for."""

import signal
import threading
from contextlib import contextmanager

__all__ = ["time_limit"]


@contextmanager
def time_limit(seconds):
    """Raise TimeoutError in the block once `seconds` have passed; 0 for no limit.

    Works in the main thread of systems with interval timers (Linux, macOS); elsewhere the block runs on.

    >>> with time_limit(0.05):
    ...     while True:
    ...         pass
    Traceback (most recent call last):
    ...
    TimeoutError: stopped after 0.05 s
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number, frame):
        raise TimeoutError(f"stopped after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

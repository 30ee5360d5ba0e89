"""Worker processes for expensive runs, and functions that can be sent to them.

Runs that make many small array operations hold the interpreter's lock: two threads gain a tenth, two processes a half.
"""

import io
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from multiprocessing import current_process
from operator import attrgetter
from types import ModuleType

import cloudpickle
import loky

from quadlab.verify.library import in_theorem_file, load_module, text_of

__all__ = ["Portable", "portable_error", "processes", "stop"]

MOST = 8
IDLE_SECONDS = 300
MAIN_PROCESS = "MainProcess"
_CACHED = type(cache(len))


def processes(tasks):
    """An executor on worker processes: one for each task and core, 8 at most, kept while there are calls.

    On one thread in a process that is a worker itself, of `multiprocessing` or joblib: it may not start others, or
    would wait for them when it ends, and those beside it have the cores.
    """
    if current_process().name != MAIN_PROCESS:
        return ThreadPoolExecutor(1)
    return loky.get_reusable_executor(max_workers=max(1, min(tasks, loky.cpu_count(), MOST)), timeout=IDLE_SECONDS)


def stop(executor):
    """End the worker processes of `processes` in the middle of what they run."""
    if isinstance(executor, ThreadPoolExecutor):
        executor.shutdown(wait=False, cancel_futures=True)
    else:
        executor.shutdown(kill_workers=True)


def portable_error(error):
    """The exception, or a RuntimeError that says the same if it would not survive the way to another process.

    >>> portable_error(KeyError("a"))
    KeyError('a')
    """
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class Portable:
    """A function that pickles wherever it was defined: in a theorem file, a script, a notebook, or as a lambda.

    A function of a theorem file is found there by its name, so that a worker loads the file once and what the file
    caches stays cached; any other function that cannot be imported travels by value. A worker decodes it at the first
    call, where what goes wrong is raised, and keeps it. TypeError if it holds what cannot leave its process, a lock.

    >>> import pickle
    >>> pickle.loads(pickle.dumps(Portable(lambda a: a**2)))(3)
    9
    """

    def __init__(self, function):
        self._function = function
        self._encoded = b""

    def __call__(self, *arguments):
        if self._encoded:
            self._function, self._encoded = _decoded(self._encoded), b""
        return self._function(*arguments)

    def __getstate__(self):
        if self._encoded:
            return self._encoded
        encoded = io.BytesIO()
        try:
            _Pickler(encoded).dump(self._function)
        except Exception as error:
            reason = f"the function cannot be sent to another process ({error}); an executor of threads can run it"
            raise TypeError(reason) from error
        return encoded.getvalue()

    def encoded(self):
        """The same function, pickled once and for all."""
        return pickle.loads(pickle.dumps(self))

    def __setstate__(self, encoded):
        self._function, self._encoded = None, encoded


@lru_cache(maxsize=MOST)
def _decoded(encoded):
    return cloudpickle.loads(encoded)


class _Pickler(cloudpickle.Pickler):
    def reducer_override(self, value):
        if isinstance(value, ModuleType) and in_theorem_file(value.__name__):
            return load_module, (value.__file__, text_of(value))
        module, name = str(getattr(value, "__module__", "")), getattr(value, "__qualname__", "")
        if callable(value) and in_theorem_file(module) and _member(sys.modules[module], name) is value:
            return _named, (sys.modules[module], name)
        if isinstance(value, _CACHED) and (module == "__main__" or "<locals>" in name):
            return _cached, (value.__wrapped__, value.cache_parameters())
        return super().reducer_override(value)


def _member(module, name):
    try:
        return attrgetter(name)(module)
    except AttributeError:
        return None


def _named(module, name):
    return attrgetter(name)(module)


def _cached(function, parameters):
    return lru_cache(**parameters)(function)

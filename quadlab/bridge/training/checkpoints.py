"""A training run in a file, from which it continues with the same numbers; arrays and JSON text, nothing executable."""

import json
import os
import tempfile
import zipfile
from pathlib import Path
from zlib import crc32

import numpy as np

from quadlab.bridge.arrays import host
from quadlab.bridge.training.history import History
from quadlab.bridge.training.recorder import MEMORY

__all__ = ["exists", "identity", "load", "save"]

FORMAT = 1


def exists(path):
    """Whether there is a file to continue from."""
    return Path(path).exists()


def identity(problem, rule, averages, recorder):
    """What a continued run must share with the one that it continues."""
    data = crc32(host(problem.inputs).tobytes())
    return {
        "problem": problem.name,
        "dimension": problem.dimension,
        "dtype": problem.backend.dtype,
        "data": f"{crc32(host(problem.targets).tobytes(), data):08x}",
        "rule": rule.name,
        "averages": ", ".join(average.name for average in averages),
        "recorder": "none" if recorder is None else recorder.settings,
    }


def save(path, identity, run):
    """Write the run, in one move: a file that is there is whole."""
    arrays = {"parameters": run.parameters} | {f"average/{name}": array for name, array in run.averages.items()}
    numbers = {}
    for name, value in run.state.items():
        if hasattr(value, "shape"):
            arrays[f"state/{name}"] = value
        elif isinstance(value, (bool, int, float, str)):
            numbers[name] = value
        else:
            raise ValueError(f"a rule's state must hold arrays and numbers to be saved, got {name!r}: {value!r}")
    arrays |= {f"history/{name}": array for name, array in run.recording.log.history().arrays().items()}
    arrays |= run.recording.memory
    text = {"format": FORMAT, "identity": identity, "step": run.step, "state": numbers}
    text["rng"] = run.rng.bit_generator.state
    path = Path(path).absolute()
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            named = {name: host(array) for name, array in arrays.items()}
            np.savez(file, text=json.dumps(text, default=lambda array: array.tolist()), **named)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def load(path, identity, run):
    """Take the run up where the file has it. ValueError: it is of another run, or no checkpoint."""
    try:
        with np.load(path) as file:
            arrays = dict(file)
        text = json.loads(str(arrays.pop("text")))
        form, saved = text["format"], text["identity"]
    except (zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"checkpoint {path} is not a file written by train ({error})") from error
    if form != FORMAT:
        raise ValueError(f"checkpoint {path} must have format {FORMAT}, got {form!r}")
    for name, value in identity.items():
        if saved[name] != value:
            raise ValueError(f"checkpoint {path} is of the {name} {saved[name]}, got {value}")
    here = run.problem.backend
    run.step, run.rng = text["step"], _generator(text["rng"])
    run.parameters = here.array(arrays["parameters"])
    state = {name: _restored(array, here) for name, array in _under("state/", arrays).items()}
    run.state = state | text["state"]
    run.averages = {name: here.array(array) for name, array in _under("average/", arrays).items()}
    memory = {name: here.array(arrays[name]) for name in MEMORY if name in arrays}
    run.recording.go_on(History.of_arrays(_under("history/", arrays)), memory)


def _under(prefix, arrays):
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _restored(array, here):
    """Whole numbers stay on the host, others go where the parameters are, with the precision they had."""
    return here.array(array, str(array.dtype)) if array.dtype.kind == "f" else array


def _generator(state):
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = state
    return np.random.Generator(bits)

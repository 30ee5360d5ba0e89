"""A training run in a file, from which it continues with the same numbers; arrays and JSON text, nothing executable."""

import json
import os
import tempfile
import zlib
from pathlib import Path

import numpy as np

from quadlab.bridge.arrays import host
from quadlab.bridge.training.contents import contents, difference
from quadlab.bridge.training.history import DAMAGED, History
from quadlab.bridge.training.recorder import MEMORY

__all__ = ["exists", "identity", "load", "save"]

FORMAT = 1


def exists(path):
    """Whether there is a file to continue from."""
    return Path(path).exists()


def identity(problem, rule, averages, recorder):
    """What a continued run must share with the one that it continues."""
    data = zlib.crc32(host(problem.inputs).tobytes())
    return {
        "problem": problem.name,
        "dimension": problem.dimension,
        "dtype": problem.backend.dtype,
        "data": f"{zlib.crc32(host(problem.targets).tobytes(), data):08x}",
        "rule": rule.name,
        "averages": ", ".join(average.name for average in averages),
        "recorder": "none" if recorder is None else recorder.settings,
        "contents": {
            "network": contents(problem.network),
            "rule": contents(rule),
            "averages": contents(list(averages)),
            "recorder": {} if recorder is None else contents(recorder.functions),
        },
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
    arrays, text = _read(path, lambda: _parsed(path))
    _check_identity(path, text, identity)
    step, rng, parameters, state, averages, history, memory = _read(path, lambda: _restored(arrays, text, run))
    run.step, run.rng, run.parameters, run.state, run.averages = step, rng, parameters, state, averages
    run.recording.go_on(history, memory)


def _read(path, parse):
    """What `parse` makes of the file; ValueError if it is none that was written by `save`."""
    try:
        return parse()
    except (*DAMAGED, ValueError) as error:
        raise ValueError(f"checkpoint {path} is not a file written by train ({error})") from error


def _parsed(path):
    # a stream of our own, as NumPy leaves a file open that is none of its own
    with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        arrays = dict(file)
    text = json.loads(str(arrays.pop("text")))
    return arrays, {name: text[name] for name in ("format", "identity", "step", "state", "rng")}


def _check_identity(path, text, identity):
    if text["format"] != FORMAT:
        raise ValueError(f"checkpoint {path} must have format {FORMAT}, got {text['format']!r}")
    saved = text["identity"] if isinstance(text["identity"], dict) else {}
    for name, value in identity.items():
        if name != "contents" and saved.get(name) != value:
            raise ValueError(f"checkpoint {path} is of the {name} {saved.get(name)}, got {value}")
    held = saved.get("contents")
    for name, value in identity["contents"].items():
        if not isinstance(held, dict) or not isinstance(held.get(name), dict):
            raise ValueError(f"checkpoint {path} must say what its {name} was made of, got a file that does not")
        differs = difference(held[name], value)
        if differs is not None:
            part, there, here = differs
            raise ValueError(f"checkpoint {path} is of another {name}: its {part} is {there}, got {here}")


def _restored(arrays, text, run):
    """All that a run consists of."""
    where, shape = run.problem.backend, (run.problem.dimension,)
    step = text["step"]
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise ValueError(f"its step is {step!r}")
    averages = _under("average/", arrays)
    for name, array in {"parameters": arrays["parameters"], **averages}.items():
        if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"its {name} are not {shape[0]} finite numbers")
    if set(averages) != {kept.name for kept in run.kept if kept.start <= step}:
        raise ValueError(f"its averages are {', '.join(averages) or 'none'}")
    state = {name: _placed(array, where) for name, array in _under("state/", arrays).items()} | dict(text["state"])
    memory = {name: where.array(arrays[name]) for name in MEMORY if name in arrays}
    return (
        step, _generator(text["rng"]), where.array(arrays["parameters"]), state,
        {name: where.array(array) for name, array in averages.items()},
        History.of_arrays(_under("history/", arrays)), memory,
    )  # fmt: skip


def _under(prefix, arrays):
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _placed(array, here):
    """Whole numbers stay on the host, others go where the parameters are, with the precision they had."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"its state holds {array.dtype}")
    return here.array(array, str(array.dtype)) if array.dtype.kind == "f" else array


def _generator(state):
    kind = getattr(np.random, str(state["bit_generator"]), None)
    if not isinstance(kind, type) or not issubclass(kind, np.random.BitGenerator):
        raise ValueError(f"its generator is {state['bit_generator']!r}")
    bits = kind()
    bits.state = state
    return np.random.Generator(bits)

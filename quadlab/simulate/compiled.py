"""From a rule to a compiled kernel: the recurrence is printed once as source and compiled by Numba.

The source is kept as a file in the user's cache folder, which lets Numba keep the machine code beside it;
where that folder cannot be written, the kernel is compiled anew in each process.
"""

import hashlib
import importlib.util
import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import platformdirs
import sympy
from sympy.printing.pycode import pycode

import quadlab

__all__ = ["kernel", "kernel_source"]

LANES_PER_BLOCK = 2048

_HEADER = """import math

import numba
import numpy as np


@numba.njit(nogil=True{cache})
def advance(rng, state, previous, parameters, steps):
    _width = min(state.shape[2], {block})
{buffers}
    for _start in range(0, state.shape[2], _width):
        _lanes = min(_width, state.shape[2] - _start)
{loops}
"""


def kernel_source(rule):
    """Python source of `advance(rng, state, previous, parameters, steps)` for a rule.

    state and previous: (state variables, modes, replicas), updated in place; previous receives the state before
    the last step. parameters: (parameters, modes). Replicas are innermost, so that the recurrence vectorises.
    """
    shared = [noise for noise in rule.noises if noise.shared]
    own = [noise for noise in rule.noises if not noise.shared]
    lines: list[str] = []

    def emit(depth, *text):
        lines.extend("    " * depth + line for line in text)

    read_parameters = [f"{s.name} = parameters[{k}, _mode]" for k, s in enumerate(rule.parameters)]
    if shared:
        # a shared draw acts on every mode of a replica, so time has to be the outer loop
        emit(2, "for _step in range(steps):", "    _mode = 0")
        emit(3, *read_parameters)
        emit(3, *_draws(shared))
        emit(3, "for _mode in range(state.shape[1]):")
        emit(4, *read_parameters)
    else:
        # without one, a mode stays in the nearest cache for all its steps
        emit(2, "for _mode in range(state.shape[1]):")
        emit(3, *read_parameters)
        emit(3, "for _step in range(steps):")
    emit(4, *_draws(own))
    emit(4, "if _step == steps - 1:")
    emit(5, "previous[:, _mode, _start : _start + _lanes] = state[:, _mode, _start : _start + _lanes]")
    emit(4, *(f"_state_{k} = state[{k}, _mode, _start : _start + _lanes]" for k in range(len(rule.state))))
    emit(4, "for _lane in range(_lanes):")
    emit(5, *(f"{s.name} = _state_{k}[_lane]" for k, s in enumerate(rule.state)))
    emit(
        5,
        *(f"{noise.symbol.name} = _draw_{noise.symbol.name}[_lane]" + _scale(noise) for noise in rule.noises),
    )
    common, update = sympy.cse(rule.update, symbols=sympy.numbered_symbols("_common"))
    emit(5, *(f"{symbol.name} = {pycode(expression)}" for symbol, expression in common))
    emit(5, *(f"_next_{k} = {pycode(expression)}" for k, expression in enumerate(update)))
    emit(5, *(f"_state_{k}[_lane] = _next_{k}" for k in range(len(update))))
    buffers = "\n".join(f"    _draw_{noise.symbol.name} = np.empty(_width)" for noise in rule.noises)
    return _HEADER.format(block=LANES_PER_BLOCK, buffers=buffers, loops="\n".join(lines), cache="{cache}")


def _draws(noises):
    """Fill the buffer of each noise with one step's draws."""
    for noise in noises:
        name = noise.symbol.name
        yield "for _lane in range(_lanes):"
        if noise.count == 1 or noise.law.stable:
            yield f"    _draw_{name}[_lane] = {noise.law.draw}"
        else:
            yield "    _total = 0.0"
            yield f"    for _sample in range(int({pycode(noise.count)})):"
            yield f"        _total += {noise.law.draw}"
            yield f"    _draw_{name}[_lane] = _total"


def _scale(noise):
    """What turns the buffered number into the mean of `count` draws."""
    if noise.count == 1:
        return ""
    count = pycode(sympy.sympify(noise.count))
    return f" / math.sqrt({count})" if noise.law.stable else f" / {count}"


@lru_cache(maxsize=256)
def kernel(source):
    """The compiled `advance` of a kernel source."""
    path = _stored(source.format(cache=", cache=True"))
    if path is not None:
        spec = importlib.util.spec_from_file_location(f"quadlab_kernel_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # Numba's cache finds a kernel's module by its name
        spec.loader.exec_module(module)
        return module.advance
    namespace: dict = {}
    exec(compile(source.format(cache=""), "<quadlab kernel>", "exec"), namespace)
    return namespace["advance"]


def _stored(source):
    """Path of a file that holds exactly this source, or None where none can be written."""
    digest = hashlib.sha256(f"{quadlab.__version__}\n{source}".encode()).hexdigest()[:24]
    try:
        folder = Path(platformdirs.user_cache_dir("quadlab")) / "kernels"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"{digest}.py"
        if path.exists() and path.read_text() == source:
            return path
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
        with os.fdopen(handle, "w") as file:
            file.write(source)
        os.replace(temporary, path)
        return path
    except OSError:
        return None

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

REPLICAS_PER_BLOCK = 2048

_KERNEL = """import math

import numba
import numpy as np


@numba.njit(nogil=True{cache})
def advance(rng, state, previous, parameters, steps):
{body}
"""


def kernel_source(rule):
    """Python source of `advance(rng, state, previous, parameters, steps)` for a rule.

    state and previous: (state variables, modes, replicas), updated in place; previous receives the state before
    the last step. parameters: (parameters, modes). Time is the outermost loop, so that a path does not depend on
    when it is recorded; replicas are innermost, so that the recurrence vectorises, and are taken in blocks whose
    draws stay in the nearest cache.
    """
    own = [noise for noise in rule.noises if not noise.shared]
    shared = [noise for noise in rule.noises if noise.shared]
    lines: list[str] = []

    def emit(depth, *text):
        lines.extend("    " * depth + line for line in text)

    read_parameters = [f"{s.name} = parameters[{k}, _mode]" for k, s in enumerate(rule.parameters)]
    emit(1, "_replicas = state.shape[2]", f"_width = min(_replicas, {REPLICAS_PER_BLOCK})")
    emit(1, *(f"_draw_{noise.symbol.name} = np.empty(_width)" for noise in own))
    emit(1, *(f"_draw_{noise.symbol.name} = np.empty(_replicas)" for noise in shared))
    emit(1, "for _step in range(steps):")
    if shared:
        emit(2, "_mode, _size = 0, _replicas", *read_parameters)
        emit(2, *_draws(shared))
    emit(2, "if _step == steps - 1:", "    previous[:] = state")
    emit(2, "for _mode in range(state.shape[1]):")
    emit(3, *read_parameters)
    emit(3, "for _start in range(0, _replicas, _width):", "    _size = min(_width, _replicas - _start)")
    emit(4, *_draws(own))
    emit(4, *(f"_state_{k} = state[{k}, _mode, _start : _start + _size]" for k in range(len(rule.state))))
    emit(4, "for _lane in range(_size):")
    emit(5, *(f"{s.name} = _state_{k}[_lane]" for k, s in enumerate(rule.state)))
    for noise in rule.noises:
        index = "_start + _lane" if noise.shared else "_lane"
        emit(5, f"{noise.symbol.name} = _draw_{noise.symbol.name}[{index}]{_scale(noise)}")
    common, update = sympy.cse(rule.update, symbols=sympy.numbered_symbols("_common"))
    emit(5, *(f"{symbol.name} = {pycode(expression)}" for symbol, expression in common))
    emit(5, *(f"_next_{k} = {pycode(expression)}" for k, expression in enumerate(update)))
    emit(5, *(f"_state_{k}[_lane] = _next_{k}" for k in range(len(update))))
    return _KERNEL.format(body="\n".join(lines), cache="{cache}")


def _draws(noises):
    """Fill the buffer of each noise with one step's draws."""
    for noise in noises:
        name = noise.symbol.name
        yield "for _lane in range(_size):"
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
    path = _stored(source.replace("{cache}", ", cache=True"))
    if path is not None:
        spec = importlib.util.spec_from_file_location(f"quadlab_kernel_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # Numba's cache finds a kernel's module by its name
        spec.loader.exec_module(module)
        return module.advance
    namespace: dict = {}
    exec(compile(source.replace("{cache}", ""), "<quadlab kernel>", "exec"), namespace)
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

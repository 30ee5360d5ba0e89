"""From a rule to a compiled kernel: the recurrence is printed once as source and compiled by Numba."""

import hashlib
import re
import sys
from functools import lru_cache
from types import ModuleType

import sympy
from sympy.printing.pycode import PythonCodePrinter

from quadlab.simulate.kernels import KernelCache

__all__ = ["kernel", "kernel_source"]

REPLICAS_PER_BLOCK = 2048

_KERNEL = """import math

import numba
import numpy as np


@numba.njit(nogil=True)
def advance(rng, state, previous, parameters, steps):
{body}
"""


class _Printer(PythonCodePrinter):
    """Prints each symbol by a name of its own, so that what it is called by its user never meets Python."""

    def __init__(self, names):
        super().__init__()
        self.names = names

    def _print_Symbol(self, expr):
        return self.names[expr]

    _print_Dummy = _print_Symbol


def kernel_source(rule):
    """Python source of `advance(rng, state, previous, parameters, steps)` for a rule.

    state and previous: (state variables, modes, replicas), updated in place; previous receives the state before
    the last step. parameters: (parameters, modes). Time is the outermost loop, so that a path does not depend on
    when it is recorded; replicas are innermost, so that the recurrence vectorises, and are taken in blocks whose
    draws stay in the nearest cache. In the source p, x and xi are the parameters, states and noises by number.
    """
    names = {symbol: f"p_{k}" for k, symbol in enumerate(rule.parameters)}
    names |= {symbol: f"x_{k}" for k, symbol in enumerate(rule.state)}
    names |= {noise.symbol: f"xi_{k}" for k, noise in enumerate(rule.noises)}
    common, update = sympy.cse(rule.update, symbols=sympy.numbered_symbols("common", cls=sympy.Dummy))
    names |= {symbol: f"common_{k}" for k, (symbol, _) in enumerate(common)}
    text = _Printer(names).doprint
    own = [noise for noise in rule.noises if not noise.shared]
    shared = [noise for noise in rule.noises if noise.shared]
    lines: list[str] = []

    def emit(depth, *added):
        lines.extend("    " * depth + line for line in added)

    read_parameters = [f"{names[symbol]} = parameters[{k}, mode]" for k, symbol in enumerate(rule.parameters)]
    emit(1, "replicas = state.shape[2]", f"width = min(replicas, {REPLICAS_PER_BLOCK})")
    emit(1, *(f"drawn_{names[noise.symbol]} = np.empty(width)" for noise in own))
    emit(1, *(f"drawn_{names[noise.symbol]} = np.empty(replicas)" for noise in shared))
    emit(1, "for step in range(steps):")
    if shared:
        emit(2, "mode, size = 0, replicas", *read_parameters)
        emit(2, *_draws(shared, names, text))
    emit(2, "if step == steps - 1:", "    previous[:] = state")
    emit(2, "for mode in range(state.shape[1]):")
    emit(3, *read_parameters)
    emit(3, "for start in range(0, replicas, width):", "    size = min(width, replicas - start)")
    emit(4, *_draws(own, names, text))
    emit(4, *(f"state_{k} = state[{k}, mode, start : start + size]" for k in range(len(rule.state))))
    emit(4, "for lane in range(size):")
    emit(5, *(f"{names[symbol]} = state_{k}[lane]" for k, symbol in enumerate(rule.state)))
    for noise in rule.noises:
        name, index = names[noise.symbol], "start + lane" if noise.shared else "lane"
        emit(5, f"{name} = drawn_{name}[{index}]{_scale(noise, text)}")
    emit(5, *(f"{names[symbol]} = {text(expression)}" for symbol, expression in common))
    emit(5, *(f"next_{k} = {text(expression)}" for k, expression in enumerate(update)))
    emit(5, *(f"state_{k}[lane] = next_{k}" for k in range(len(update))))
    return _KERNEL.format(body="\n".join(lines))


def _draws(noises, names, text):
    """Fill the buffer of each noise with one step's draws."""
    for noise in noises:
        buffer, draw = f"drawn_{names[noise.symbol]}", _renamed(noise.law, names)
        yield "for lane in range(size):"
        if noise.count == 1 or noise.law.stable:
            yield f"    {buffer}[lane] = {draw}"
        else:
            yield "    total = 0.0"
            yield f"    for sample in range(int({text(sympy.sympify(noise.count))})):"
            yield f"        total += {draw}"
            yield f"    {buffer}[lane] = total"


def _renamed(law, names):
    """The text of a draw with the names that its parameters have in the kernel."""
    fresh = {symbol.name: names[symbol] for symbol in law.parameters}
    longest_first = "|".join(map(re.escape, sorted(fresh, key=len, reverse=True)))
    whole_name = rf"(?<![\w.])(?:{longest_first})(?!\w)"
    return re.sub(whole_name, lambda found: fresh[found[0]], law.draw) if fresh else law.draw


def _scale(noise, text):
    """What turns the buffered number into the mean of `count` draws."""
    if noise.count == 1:
        return ""
    count = text(sympy.sympify(noise.count))
    return f" / math.sqrt({count})" if noise.law.stable else f" / ({count})"


@lru_cache(maxsize=256)
def kernel(source):
    """The compiled `advance` of a kernel source; its machine code is kept in the user's cache folder."""
    # code that was kept finds the module it belongs to by its name
    module = ModuleType(f"quadlab_kernel_{hashlib.sha256(source.encode()).hexdigest()[:24]}")
    sys.modules[module.__name__] = module
    exec(compile(source, "<quadlab kernel>", "exec"), module.__dict__)
    # a plain function where Numba is switched off
    if hasattr(module.advance, "_cache"):
        module.advance._cache = KernelCache(source)
    return module.advance

"""What decides what a function or an object does, as names and short texts that two processes can compare."""

import dataclasses
import functools
import sys
import types
from hashlib import sha256

import array_api_compat
import numpy as np

from quadlab.bridge.arrays import host
from quadlab.bridge.problem import Problem

__all__ = ["contents", "difference"]

PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"
# what changes as a run goes on, without being of its settings
RUNNING = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, np.random.SeedSequence)

# what counts among the globals of a module, beside its functions
DATA = (bool, int, float, complex, str, bytes, np.generic, np.ndarray, tuple, list, dict)


def contents(value):
    """Texts by name: of a function its code, defaults, closure and the data of its module that it uses; of an object
    its attributes; of an array its numbers.

    Functions of quadlab count by their names and what they hold, so that a later quadlab continues the run.

    >>> def descent(rate):
    ...     return lambda weights, gradient: weights - rate * gradient
    >>> difference(contents(descent(0.1)), contents(descent(0.2)))
    ('rate', '0.1', '0.2')
    """
    found: dict[str, str] = {}
    _collect(value, "", found, set())
    return found


def difference(saved, here):
    """The first name under which two contents differ, with both texts; None if they agree.

    Code can be compared in one version of Python alone.
    """
    for name in [*here, *(name for name in saved if name not in here)]:
        one, other = saved.get(name, "nothing"), here.get(name, "nothing")
        if one != other and not (one.startswith("code ") and other.startswith("code ") and _python(one, other)):
            return name or "it", one, other
    return None


def _python(one, other):
    return one.partition("Python")[2] != other.partition("Python")[2]


def _collect(value, name, found, seen):
    """Add what is in a value under its name; `seen` are the objects on the way to it."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        found[name] = repr(value)
    elif isinstance(value, np.generic):
        found[name] = repr(value.item())
    elif array_api_compat.is_array_api_obj(value):
        numbers = np.ascontiguousarray(host(value))
        text = repr(numbers.tolist()) if numbers.dtype.hasobject else f"{numbers.dtype} #{_digest(numbers.tobytes())}"
        found[name] = f"array {tuple(numbers.shape)} {text}"
    elif isinstance(value, type | types.ModuleType):
        found[name] = f"{getattr(value, '__module__', '')} {getattr(value, '__qualname__', value.__name__)}".strip()
    elif id(value) in seen:
        found[name] = "itself"
    else:
        parts = _parts(value, found, name)
        for part, inner in parts.items():
            _collect(inner, f"{name}.{part}".lstrip("."), found, seen | {id(value)})


def _parts(value, found, name):
    """What a value consists of, by name; of what kind it is goes to `found`."""
    kind = type(value)
    if isinstance(value, types.FunctionType):
        return _of_function(value, found, name)
    if isinstance(value, functools.partial):
        return {"function": value.func, "arguments": list(value.args), **value.keywords}
    if isinstance(value, types.MethodType):
        return {"function": value.__func__, "self": value.__self__}
    if isinstance(value, dict | types.MappingProxyType):
        return {str(key): value[key] for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return {str(place): inner for place, inner in enumerate(value)}
    if isinstance(value, set | frozenset):
        return {str(place): inner for place, inner in enumerate(sorted(value, key=repr))}
    found[f"{name}.type".lstrip(".")] = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, Problem):
        return {part: getattr(value, part) for part in ("network", "loss_name", "inputs", "targets")}
    if isinstance(value, RUNNING):
        return {}
    if dataclasses.is_dataclass(value):
        held = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        held = dict(getattr(value, "__dict__", {}))
        slots = [slot for base in kind.__mro__ for slot in np.atleast_1d(getattr(base, "__slots__", ()))]
        held |= {slot: getattr(value, slot) for slot in map(str, slots) if hasattr(value, slot)}
    if callable(value):
        methods = [item for base in reversed(kind.__mro__) for item in vars(base).items()]
        held |= {part: method for part, method in methods if isinstance(method, types.FunctionType)}
    if not held and callable(value):
        # a function of C
        held["name"] = getattr(value, "__qualname__", getattr(value, "__name__", kind.__qualname__))
    return held


def _of_function(function, found, name):
    held = {}
    for cell, variable in zip(function.__closure__ or (), function.__code__.co_freevars, strict=True):
        try:
            held[variable] = cell.cell_contents
        except ValueError:
            # not assigned yet
            continue
    if function.__defaults__ or function.__kwdefaults__:
        held["defaults"] = [*(function.__defaults__ or ()), function.__kwdefaults__ or {}]
    label = f"{name}.code".lstrip(".")
    if function.__module__ and function.__module__.partition(".")[0] == "quadlab":
        found[label] = f"{function.__module__}.{function.__qualname__}"
        return held
    code = _code(function.__code__)
    found[label] = f"code #{_digest(repr(code).encode())} of {PYTHON}"
    for used in sorted(_names(function.__code__)):
        inner = function.__globals__.get(used)
        own = isinstance(inner, types.FunctionType) and inner.__module__ == function.__module__
        if own or isinstance(
            inner, bool | int | float | complex | str | bytes | np.generic | np.ndarray | tuple | list
        ):
            held[used] = inner
    return held


def _code(code):
    """What code does, without where it stands."""
    constants = [_code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return (code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars, code.co_argcount)


def _names(code):
    """The names that code and the code inside it look up."""
    inner = [_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*inner)


def _digest(data):
    return sha256(data).hexdigest()[:16]

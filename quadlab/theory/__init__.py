"""Closed forms. Every function runs on numbers, NumPy arrays, SymPy expressions and Arb balls.

Submodules are loaded when first used.
"""

from importlib import import_module
from pkgutil import iter_modules

_SUBMODULES = sorted(module.name for module in iter_modules(__path__))


def __getattr__(name):
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return _SUBMODULES

"""Machine code of compiled kernels, kept in the user's cache folder. What is damaged there counts as absent."""

import hashlib
import os
import pickle
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import llvmlite
import numba
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

import quadlab
from quadlab.folders import user_folder, warn_once

__all__ = ["KernelCache"]

_UNKEPT = "compiled kernels are not kept, each process compiles them anew"


class KernelCache:
    """What a Numba dispatcher asks for the machine code of a signature, in place of Numba's own cache.

    Numba's ends in an exception where a file is cut short, and runs whatever bytes it finds. Here a file begins with a
    digest of its name and content; its name, of all that the machine code depends on.
    """

    cache_path = None

    def __init__(self, source):
        self.source = source

    def load_overload(self, sig, target_context):
        """The compiled signature, or None where there is none that is whole."""
        target_context.refresh()
        path = self._path(sig, target_context.codegen())
        with suppress(Exception):
            content = path.read_bytes()
            if content[:32] == _digest(path, content[32:]):
                return CompileResult._rebuild(target_context, *pickle.loads(content[32:]))
        return None

    def save_overload(self, sig, result):
        """Keep the compiled signature if that is possible."""
        path = self._path(sig, result.codegen)
        if path is None:
            return
        temporary = None
        try:
            payload = dumps(result._reduce())
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
            with os.fdopen(handle, "wb") as file:
                file.write(_digest(path, payload) + payload)
            os.replace(temporary, path)
        except OSError as error:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
            warn_once(f"the kernel {path} cannot be written ({error.strerror}): {_UNKEPT}")

    def _path(self, sig, codegen):
        folder = user_folder("cache", _UNKEPT)
        versions = (quadlab.__version__, numba.__version__, llvmlite.__version__, sys.version)
        name = hashlib.sha256(repr((self.source, str(sig), codegen.magic_tuple(), versions)).encode()).hexdigest()
        return None if folder is None else folder / "kernels" / f"{name[:32]}.kernel"


def _digest(path, payload):
    return hashlib.sha256(path.name.encode() + payload).digest()

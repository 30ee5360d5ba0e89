"""Runs a command where BLAS, NumPy and Numba compute as on a plain processor, by another BLAS kernel than the usual.

`.ci/plain_machine.py COMMAND ...` ends as the command does; with 1 on x86 if no other kernel came into force.
"""

import os
import platform
import subprocess
import sys

import scipy.linalg  # noqa: F401 (loads SciPy's own BLAS)
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from threadpoolctl import threadpool_info

# what any processor of the architecture runs first; the second where the first is in force anyway
KERNELS = {"x86_64": ["Prescott", "Nehalem"], "amd64": ["Prescott", "Nehalem"], "aarch64": ["ARMV8", "CORTEXA57"]}
NEEDS = {"Nehalem": "SSE42"}


def in_force():
    """The kernels that the loaded OpenBLAS libraries, one of NumPy and one of SciPy, name as theirs."""
    return {library["architecture"] for library in threadpool_info() if library["internal_api"] == "openblas"}


def in_force_under(kernel):
    """The same in a process that asks for a kernel: a library may name it otherwise, or lack it."""
    asked = {**os.environ, "OPENBLAS_CORETYPE": kernel}
    return set(subprocess.check_output([sys.executable, __file__], env=asked, text=True).split())


def plain():
    """Environment variables that take from BLAS, NumPy and Numba what the processor has beyond the plainest."""
    usual, machine = in_force(), platform.machine().lower()
    found = {"NUMBA_CPU_NAME": "generic"}
    if beyond := [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]:
        found["NPY_DISABLE_CPU_FEATURES"] = " ".join(beyond)
    for kernel in KERNELS.get(machine, []) if usual else []:
        if kernel not in NEEDS or __cpu_features__[NEEDS[kernel]]:
            other = in_force_under(kernel)
            if other.isdisjoint(usual):
                print(f"BLAS kernels: {', '.join(sorted(other))} for {', '.join(sorted(usual))}", flush=True)
                return {**found, "OPENBLAS_CORETYPE": kernel}
    told = f"no other BLAS kernel on {machine}, with {', '.join(sorted(usual)) or 'no OpenBLAS'} in force"
    if machine in ("x86_64", "amd64"):
        raise SystemExit(told)
    print(told, flush=True)
    return found


if __name__ == "__main__":
    if command := sys.argv[1:]:
        raise SystemExit(subprocess.call(command, env={**os.environ, **plain()}))
    print(*in_force())

"""Spectra of symmetric operators known by their products: extreme eigenpairs, density, trace, preconditioning.

An operator is anything with `.shape` (n, n) and `@` for arrays (n,) and (n, k): a problem's Hessian, a NumPy matrix, a
SciPy sparse matrix or LinearOperator. With a `.backend` its arrays live there; without one it is NumPy float64.
"""

from quadlab.bridge.spectra.density import SpectralDensity, spectral_density
from quadlab.bridge.spectra.eigenpairs import EigenResult, top_eigenpairs
from quadlab.bridge.spectra.initial import initial_sharpness
from quadlab.bridge.spectra.preconditioned import PreconditionedOperator, preconditioned
from quadlab.bridge.spectra.trace import Trace, trace

__all__ = [
    "EigenResult",
    "PreconditionedOperator",
    "SpectralDensity",
    "Trace",
    "initial_sharpness",
    "preconditioned",
    "spectral_density",
    "top_eigenpairs",
    "trace",
]

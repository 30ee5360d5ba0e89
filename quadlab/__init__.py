"""quadlab: theorems about training dynamics that you can call, derive, simulate, plot and try to break.

    from quadlab.theory import variational
    variational.descent_sharpness_limit(signal_to_noise=1.0, learning_rate=1.0)

Subpackages are loaded when first used, so that `import quadlab` costs nothing:
theory (closed forms), dynamics (update rules), problems, derive (symbolic), moments (exact numeric),
simulate (compiled), estimate (from your own trajectories), verify (evidence and verdicts), report (tables and figures).
"""

from importlib import import_module

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "derive",
    "dynamics",
    "estimate",
    "moments",
    "problems",
    "report",
    "simulate",
    "theory",
    "verify",
]


def __getattr__(name):
    if name in __all__:
        return import_module(f"quadlab.{name}")
    raise AttributeError(f"module 'quadlab' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)

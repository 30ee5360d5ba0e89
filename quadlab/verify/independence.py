"""Whether an oracle computes its value by the very functions that it is to judge."""

import inspect
import sys
from contextlib import contextmanager
from functools import partial

import numpy as np

from quadlab.verify.formula import Formula

__all__ = ["closed_forms_called"]

HELPERS = ("quadlab.theory.elementary", "quadlab.theory.intervals")


def closed_forms_called(formula, oracle, *points):
    """Names of the functions that both call at some point: the formula itself, and closed forms of quadlab.theory.

    >>> square = lambda x: x**2
    >>> closed_forms_called(square, lambda x: square(x) + 0, {"x": 2.0})
    ('the formula',)
    >>> closed_forms_called(square, lambda x: x * x, {"x": 2.0})
    ()
    """
    own = _own(formula)
    with np.errstate(all="ignore"):
        left, right = (set().union(*(_called(f, point) for point in points)) for f in (formula, oracle))
    names = ["the formula"] if own in right else []
    public = {name for name in map(_closed_form, (left & right) - {own}) if name}
    return (*names, *sorted(public))


def _own(formula):
    """What a call of the formula enters: the code below partial, wraps and methods; a text has its own."""
    while True:
        inner = inspect.unwrap(formula)
        inner = inner.func if isinstance(inner, partial) else inner
        if inner is formula:
            break
        formula = inner
    if isinstance(formula, Formula):
        return formula
    return getattr(formula, "__code__", None) or getattr(type(formula).__call__, "__code__", ())


def _called(function, point):
    """Code objects of the Python functions that a call enters, and the texts of formulas that it evaluates."""
    entered = set()

    def notice(frame, event, _):
        if event == "call":
            is_text = frame.f_code is Formula.__call__.__code__
            entered.add(frame.f_locals["self"] if is_text else frame.f_code)

    with _profiled(notice):
        try:
            function(**point)
        except Exception:
            return entered
    return entered


@contextmanager
def _profiled(notice):
    before = sys.getprofile()
    sys.setprofile(notice)
    try:
        yield
    finally:
        sys.setprofile(before)


def _closed_form(code):
    """The name of a public function of quadlab.theory; "" for anything else."""
    module = None if isinstance(code, Formula) else inspect.getmodule(code)
    name = module.__name__ if module is not None else ""
    if not name.startswith("quadlab.theory.") or name in HELPERS:
        return ""
    return code.co_name if code.co_name in getattr(sys.modules[name], "__all__", ()) else ""

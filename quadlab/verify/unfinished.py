"""Runs of a candidate formula that do not come to an end, or leave the numbers: limits of work, and what they say."""

from contextlib import contextmanager

import numpy as np

from quadlab.simulate.flows import WorkLimitReached, work_limit
from quadlab.verify.verdict import INCONCLUSIVE, REFUTED, Verdict

__all__ = ["finite", "limited_runs"]

# of the fields of all flows that a formula is judged by; the largest of the shipped theorems makes 22,135
MOST_EVALUATIONS = 50_000


class NotFinite(ArithmeticError):
    """A formula gave no finite real number."""


@contextmanager
def limited_runs(verdicts, setting):
    """The block's runs within a limit of work; what ends them early is added to the verdicts.

    setting : () -> the setting of the run in progress, the witness.
    INCONCLUSIVE beyond the limit; REFUTED where a run leaves the floating-point range, as for a formula that is not
    finite. Other errors are mistakes of the theorem and pass.
    """
    try:
        with work_limit(MOST_EVALUATIONS):
            yield
    except WorkLimitReached as error:
        verdicts.append(Verdict(INCONCLUSIVE, f"the runs do not end: {error}"))
    except ArithmeticError as error:
        if type(error) not in (ArithmeticError, NotFinite):
            raise
        verdicts.append(Verdict(REFUTED, str(error), dict(setting())))


def finite(formula):
    """The formula, which ends the run that it enters where it is not finite and real."""

    def guarded(*positional, **named):
        value = formula(*positional, **named)
        numbers = np.asarray(value)
        if numbers.dtype.kind in "fc" and not (np.isfinite(numbers).all() and not np.imag(numbers).any()):
            raise NotFinite(f"the formula gives no finite real number, but {value}")
        return value

    return guarded

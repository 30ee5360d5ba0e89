"""Averages of the iterates, kept along the training."""

from collections.abc import Callable
from dataclasses import dataclass

from quadlab.theory.intervals import Interval, momentum_range

__all__ = ["Average", "exponential_average", "tail_average"]

_step = Interval(0, float("inf"), lower_closed=True, whole=True, words="a whole number >= 0")


@dataclass(frozen=True)
class Average:
    """update(step, parameters, average) -> average, called from step `start` on with a copy of that step's iterate.

    name : what `Training.averages` calls it.
    """

    name: str
    start: int
    update: Callable

    def __repr__(self):
        return self.name


def tail_average(start):
    """The mean of the iterates from step `start` on, that one included: (w_s + … + w_t) / (t - s + 1).

    Source: Polyak, Juditsky 1992, from a later start.

    >>> tail_average(2).update(3, 5.0, 1.0)
    3.0
    """
    start = int(_step.check_one("start", start))

    def update(step, parameters, average):
        return average + (parameters - average) / (step - start + 1)

    return Average(f"tail_average({start})", start, update)


def exponential_average(decay):
    """The exponential moving average a_t = d a_{t-1} + (1 - d) w_t, a_0 = w_0; `decay` d lies in [0, 1).

    >>> exponential_average(0.75).update(1, 5.0, 1.0)
    2.0
    """
    kept = momentum_range.check_one("decay", decay)

    def update(step, parameters, average):
        return kept * average + (1 - kept) * parameters

    return Average(f"exponential_average({kept})", 0, update)

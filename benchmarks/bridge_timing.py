"""Times of calls beside each other on one device: each side's fastest way, then medians of calls taken in turn."""

import gc
import statistics
import time
from typing import Any

import numpy as np

__all__ = ["measured", "reason"]

MEMORY_SHARE = 0.75
MOST_ROUNDS = 100


def measured(sides, ways, extra, seconds_each, memory):
    """Medians of the sides' fastest ways, and of extra calls: a mapping of figures, and each side's results.

    ways(side) gives what `fastest` chooses from. An extra call named as a side replaces the side's own, and others
    come with it. memory is the device's, in bytes (0: of no concern).
    """
    tried, results, calls, medians, held = {}, {}, {}, {}, 0
    for side in sides:
        tried[side.name], seconds, call, result, kept = fastest(side, ways(side), seconds_each)
        held += kept
        if call is not None:
            results[side.name] = result
            # a call that takes all the time alone has been timed once, and that counts
            if seconds > seconds_each:
                medians[side.name] = seconds
            else:
                calls[side.name] = call
    calls |= extra if extra.keys() & calls.keys() else {}
    times, failed = in_turn(calls, sides, seconds_each, crowded=held > MEMORY_SHARE * memory > 0)
    for name, why in failed.items():
        tried.setdefault(name, {})["in turn"] = why
    times = {name: of for name, of in times.items() if of}
    medians |= {name: statistics.median(of) for name, of in times.items()}
    rounds = {name: len(of) for name, of in times.items()}
    spread = {name: [min(of), max(of)] for name, of in times.items()}
    return {"seconds": medians, "spread": spread, "rounds": rounds, "tried": tried}, results


def fastest(side, ways, patience):
    """The fastest of a side's ways {name: maker of a call}.

    Returns
    -------
    What was tried {name: seconds, or why not}; the fastest's seconds, call, and first and last row of its result, on
    the host; the most device memory that the side has kept, in bytes.
    """
    tried: dict[str, Any] = {}
    best: tuple[Any, ...] = (np.inf, None, None)
    held = 0
    for way, make in ways.items():
        try:
            call = make()
            # compiles, and gets the memory that later calls reuse
            call()
            started = time.perf_counter()
            result = call()
            seconds = time.perf_counter() - started
            if seconds < best[0]:
                ends = [result] if result.ndim == 1 else [result[0, :], result[-1, :]]
                best = (seconds, call, [side.numbers(end) for end in ends])
            tried[way] = seconds
        except Exception as error:
            tried[way], seconds = reason(error), 0.0
        call = result = None
        held = max(held, side.held())
        # a failed call may leave its arrays in cycles
        gc.collect()
        side.release()
        if seconds > patience:
            break
    return tried, *best, held


def in_turn(calls, sides, seconds, crowded):
    """Seconds of calls {name: call}, taken in turn until the time is used, and three times at least.

    Where the sides' pools do not fit beside each other (`crowded`, or found out when a call fails), they are emptied
    between calls, and each call is made once more, untimed, so that nobody pays for getting memory back.

    Returns
    -------
    {name: [seconds, …]}, and {name: why} for calls that failed even so.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    failed: dict[str, str] = {}
    started, rounds = time.perf_counter(), 0
    while rounds < MOST_ROUNDS and len(failed) < len(calls):
        for name in [name for name in calls if name not in failed]:
            for emptied in dict.fromkeys((crowded, True)):
                try:
                    times[name].append(timed(calls[name], sides, emptied))
                    break
                except Exception as error:
                    why = reason(error)
                gc.collect()
                crowded = True
            else:
                failed[name] = why
        rounds += 1
        spent = time.perf_counter() - started
        if rounds >= 3 and spent * (rounds + 1) / rounds > seconds:
            break
    return times, failed


def timed(call, sides, emptied):
    """Seconds of a call; with all pools emptied first, after one that gets the memory back."""
    if emptied:
        for side in sides:
            side.release()
        call()
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def reason(error):
    """An error in a line; lack of memory has many guises on a card."""
    text = f"{type(error).__name__}: {error}"
    guises = ("out of memory", "resource_exhausted", "alloc_failed")
    if isinstance(error, MemoryError) or any(words in text.lower() for words in guises):
        return f"out of memory ({text.splitlines()[0][:200]})"
    return text.splitlines()[0][:300]

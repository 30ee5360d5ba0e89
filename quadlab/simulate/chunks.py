"""Run a task over chunks of replicas on any executor, with a result that depends on the seed alone."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from quadlab.theory.seeds import seed_number

__all__ = ["chunk_sizes", "recorded_steps", "run_chunks", "seed_number"]

PENDING_BYTES = 64e6


def chunk_sizes(replicas, modes):
    """Fixed division of the replicas, whatever the number of workers: half a megabyte of state each."""
    size = int(np.clip(2**16 // max(modes, 1), 1024, 32768))
    full, rest = divmod(replicas, size)
    return [size] * full + [rest] * (rest > 0)


def recorded_steps(record, steps):
    """The steps at which observables are taken, checked; the last one when `record` is None."""
    recorded = np.atleast_1d(np.asarray(steps if record is None else record))
    whole = recorded.ndim == 1 and recorded.size and recorded.dtype.kind in "iu"
    if not whole or recorded.min() < 0 or recorded.max() > steps or (np.diff(recorded) <= 0).any():
        raise ValueError(f"record must be increasing whole numbers from 0 to steps = {steps}, got {record!r}")
    return recorded


def run_chunks(task, sizes, seeds, *, executor=None, progress=None):
    """Merge `task(size, seed)` over chunks, in their order.

    seeds : a SeedSequence, of which each chunk gets a child.
    task : returns {name: Moments} of its chunk; has to be picklable for executors on other processes.
    executor : any concurrent.futures.Executor; threads, one per core, when None.
    progress : called with (finished, total) replicas after each chunk.
    """
    if executor is None:
        # the chunks already fill the cores: a matrix product that asked for all of them too would make them wait
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
            return run_chunks(task, sizes, seeds, executor=threads, progress=progress)
    jobs = deque(zip(sizes, seeds.spawn(len(sizes)), strict=True))
    total, finished, merged = sum(sizes), 0, None
    pending: deque = deque()
    window = 4
    try:
        while jobs or pending:
            while jobs and len(pending) < window:
                size, seed = jobs.popleft()
                pending.append((size, executor.submit(task, size, seed)))
            size, future = pending.popleft()
            moments = future.result()
            if merged is None:
                merged = moments
                # results wait until those before them are merged: bound what waits by its size
                window = int(np.clip(PENDING_BYTES / _bytes(moments), 4, 1024))
            else:
                merged = {name: merged[name] + moments[name] for name in merged}
            finished += size
            if progress is not None:
                progress(finished, total)
    finally:
        for _, future in pending:
            future.cancel()
    return merged


def _bytes(moments):
    return sum(np.asarray(m.mean).nbytes + np.asarray(m.squares).nbytes for m in moments.values())

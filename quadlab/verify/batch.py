"""Verify several theorems into a store, resuming where an earlier run stopped."""

from quadlab.simulate.chunks import root_seed
from quadlab.verify.library import paper_of
from quadlab.verify.runner import verify
from quadlab.verify.store import record

__all__ = ["verify_all"]


def verify_all(
    theorems, store, *, rng=None, budget="standard", problem=None, resume=False, executor=None, progress=None
):
    """Yield the record of each theorem as it is finished; each is on disk before it is yielded.

    resume : theorems that the latest run with these settings has finished are not verified again, and the others
        continue with its seed.
    progress : called with (theorem, line of text) before each piece of evidence.
    """
    name = getattr(problem, "name", "")
    seed = None if rng is None else int(root_seed(rng).entropy)
    done: dict = {}
    if resume:
        seed, done = store.finished(budget=budget, problem=name, seed=seed)
    if seed is None:
        seed = int(root_seed(None).entropy)
    for theorem in theorems:
        if theorem.id in done:
            yield done[theorem.id]
            continue
        report = verify(
            theorem,
            rng=seed,
            budget=budget,
            problem=problem,
            executor=executor,
            progress=None if progress is None else lambda line, theorem=theorem: progress(theorem, line),
        )
        entry = {**record(report, paper_of(theorem)), "run_problem": name}
        store.append(entry)
        yield entry

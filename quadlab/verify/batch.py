"""Verify several theorems into a store, resuming where an earlier run stopped."""

from hashlib import sha256

from quadlab.simulate.chunks import seed_number
from quadlab.verify.library import file_of, paper_of
from quadlab.verify.runner import verify
from quadlab.verify.store import record
from quadlab.verify.theorem import Theorem

__all__ = ["fingerprint", "verify_all"]


def fingerprint(subject):
    """A text that changes with the file of a theorem, or with the numbers of a problem; "" for None."""
    if subject is None:
        return ""
    if isinstance(subject, Theorem):
        file = file_of(subject)
        content = subject.id.encode() if file is None else file.read_bytes()
    elif hasattr(subject, "hessian"):
        content = subject.hessian.tobytes() + subject.minimizer.tobytes()
    else:
        content = b"".join(array.tobytes() for array in (subject.inputs, subject.targets))
    return sha256(content).hexdigest()[:16]


def verify_all(
    theorems, store, *, rng=None, budget="standard", problem=None, resume=False, executor=None, progress=None
):
    """Yield the record of each theorem as it is finished; each is on disk before it is yielded.

    resume : theorems that the latest run with these settings has finished, and whose files have not changed since,
        are not verified again; the others continue with its seed.
    progress : called with (theorem, line of text) before each piece of evidence.
    """
    name = fingerprint(problem)
    seed = None if rng is None else seed_number(rng)
    done: dict = {}
    if resume:
        seed, done = store.finished(budget=budget, problem=name, seed=seed)
    if seed is None:
        seed = seed_number(None)
    for theorem in theorems:
        if done.get(theorem.id, {}).get("fingerprint") == fingerprint(theorem):
            yield {**done[theorem.id], "resumed": True}
            continue
        report = verify(
            theorem,
            rng=seed,
            budget=budget,
            problem=problem,
            executor=executor,
            progress=None if progress is None else lambda line, theorem=theorem: progress(theorem, line),
        )
        entry = {**record(report, paper_of(theorem)), "run_problem": name, "fingerprint": fingerprint(theorem)}
        store.append(entry)
        yield entry

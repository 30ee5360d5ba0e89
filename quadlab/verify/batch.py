"""Verify several theorems into a store, resuming where an earlier run stopped."""

from hashlib import sha256

import numpy as np

from quadlab.theory.seeds import seed_number
from quadlab.verify.library import module_of, paper_of, text_of
from quadlab.verify.runner import verify
from quadlab.verify.store import record
from quadlab.verify.theorem import Theorem

__all__ = ["fingerprint", "verify_all"]

# of which a quadratic, a least-squares problem or a data set consists
NUMBERS = ("hessian", "minimizer", "minimum", "features", "inputs", "targets", "test_inputs", "test_targets")


def fingerprint(subject):
    """A text that changes with a theorem's file, as it was loaded, or with the numbers of a problem; "" for None."""
    if subject is None:
        return ""
    if isinstance(subject, Theorem):
        module = module_of(subject)
        content = subject.id.encode() if module is None else text_of(module)
    else:
        held = {
            name: np.asarray(getattr(subject, name)) for name in NUMBERS if getattr(subject, name, None) is not None
        }
        content = b"".join(f"{name} {a.dtype} {a.shape} ".encode() + a.tobytes() for name, a in held.items())
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
        content = fingerprint(theorem)
        if (theorem.id, content) in done:
            yield {**done[theorem.id, content], "resumed": True}
            continue
        report = verify(
            theorem,
            rng=seed,
            budget=budget,
            problem=problem,
            executor=executor,
            progress=None if progress is None else lambda line, theorem=theorem: progress(theorem, line),
        )
        entry = {**record(report, paper_of(theorem)), "run_problem": name, "fingerprint": content}
        store.append(entry)
        yield entry

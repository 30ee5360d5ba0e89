"""Seeds: what quadlab draws comes from streams of its own, which no draws of the caller's from the same seed meet."""

from hashlib import sha256

import numpy as np

__all__ = ["generator", "seed_number", "seed_sequence"]


def seed_sequence(rng, purpose):
    """A SeedSequence below `rng` (SPEC 7: None, int, SeedSequence, BitGenerator or Generator), one for each purpose.

    An int or a SeedSequence gives the same one at each call, and stays as it is; a Generator is advanced, and so gives
    a new one.

    >>> mine, yours = seed_sequence(1, "simulate"), np.random.SeedSequence(1)
    >>> bool(mine.generate_state(1) == yours.generate_state(1))
    False
    """
    root = _root(rng)
    # no caller spawns so many children that one of them has this key
    key = int.from_bytes(sha256(f"quadlab {purpose}".encode()).digest()[:16], "little")
    return np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, key), pool_size=root.pool_size)


def generator(rng, purpose):
    """A Generator for `rng`: the caller's own where it is one, which moves on, or one on `seed_sequence`.

    >>> generator(1, "trace").integers(10) == generator(1, "trace").integers(10)
    np.True_
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, np.random.BitGenerator):
        return np.random.Generator(rng)
    return np.random.default_rng(seed_sequence(rng, purpose))


def seed_number(rng):
    """One whole number that stands for `rng` in a record; an int stands for itself.

    >>> seed_number(7), seed_number(np.random.SeedSequence([1, 2])) > 2**64
    (7, True)
    """
    root = _root(rng)
    if rng is None or isinstance(rng, (int, np.integer)):
        return int(root.entropy)
    return int.from_bytes(root.generate_state(4).tobytes(), "little")


def _root(rng):
    if isinstance(rng, np.random.Generator):
        rng = rng.bit_generator
    if isinstance(rng, np.random.BitGenerator):
        # its state decides, not the seed it began with: it may have been moved, or restored
        return np.random.SeedSequence(rng.random_raw(8).tolist())
    if isinstance(rng, np.random.SeedSequence):
        return rng
    if rng is not None and (isinstance(rng, bool) or not isinstance(rng, (int, np.integer)) or rng < 0):
        raise ValueError(f"rng must be None, a non-negative int, a SeedSequence or a Generator, got {rng!r}")
    return np.random.SeedSequence(rng)

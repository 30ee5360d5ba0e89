"""Streams of quadlab's own, beside whatever the caller draws from the same seed."""

import copy

import numpy as np
import pytest

from quadlab.theory.seeds import generator, seed_number, seed_sequence


def drawn(source):
    return tuple(np.random.default_rng(source).integers(2**63, size=2).tolist())


def test_no_stream_is_one_of_the_callers():
    """Neither the root, nor children and grandchildren, nor those of a child that is given."""
    root = np.random.SeedSequence(1)
    children = root.spawn(40)
    mine = [root, *children, *(grandchild for child in children for grandchild in child.spawn(3))]
    given = [1, np.int64(1), np.random.SeedSequence(1), *children]
    own = [seed_sequence(rng, purpose) for rng in given for purpose in ("a", "b")]
    quadlab = [*own, *(child for sequence in own for child in sequence.spawn(5))]
    assert not {drawn(each) for each in mine} & {drawn(each) for each in quadlab}
    # 1 is given three times; everything else is a stream of its own
    assert len({drawn(each) for each in quadlab}) == 6 * 2 * len(given[2:])


def test_a_seed_sequence_is_left_as_it_is_and_decides_in_whole():
    root = np.random.SeedSequence(1, pool_size=8)
    first, second = (seed_sequence(root, "a") for _ in range(2))
    assert root.n_children_spawned == 0
    assert drawn(first) == drawn(second) != drawn(seed_sequence(1, "a"))


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
@pytest.mark.parametrize("wrap", [np.random.Generator, lambda bits: bits])
def test_a_generator_is_advanced_and_its_state_decides(bits, wrap):
    rng = bits(3)
    twin = copy.deepcopy(rng)
    first, second = (seed_sequence(wrap(rng), "a") for _ in range(2))
    assert drawn(first) != drawn(second)
    assert drawn(seed_sequence(wrap(twin), "a")) == drawn(first)
    restored = bits(4)
    restored.state = rng.state
    assert drawn(seed_sequence(wrap(restored), "a")) == drawn(seed_sequence(wrap(rng), "a"))
    assert seed_number(wrap(rng)) != seed_number(wrap(rng))


def test_a_generator_that_is_given_is_used():
    rng = np.random.default_rng(3)
    assert generator(rng, "a") is rng
    assert generator(rng.bit_generator, "a").bit_generator is rng.bit_generator


@pytest.mark.parametrize("rng", [-1, True, np.True_, 1.5, "5", [1, 2], np.random.RandomState(0)])
@pytest.mark.parametrize("ask", [seed_number, lambda rng: seed_sequence(rng, "a"), lambda rng: generator(rng, "a")])
def test_bad_seeds_are_named(rng, ask):
    with pytest.raises(ValueError, match="rng must be None, a non-negative int, a SeedSequence or a Generator, got"):
        ask(rng)

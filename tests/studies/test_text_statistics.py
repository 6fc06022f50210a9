import numpy as np
import pytest

from megalodon_edu.studies.text_statistics import byte_entropy, grams, text_statistics


def of(text, block, reference=b""):
    found = np.frombuffer(text, np.uint8)
    return list(text_statistics(found, block, np.unique(grams(np.frombuffer(reference, np.uint8)))))


def slowly(text, block, reference):
    """The same by sets of byte strings."""
    known = {reference[at : at + 8] for at in range(len(reference) - 7)}
    earlier = set()
    for end in range(block, len(text) + 1, block):
        found = [text[at : at + 8] for at in range(end - block, end - 7)]
        yield tuple(
            sum(one) / len(found)
            for one in ([1] * len(set(found)), [f in earlier for f in found], [f in known for f in found])
        )
        earlier |= set(found)


def test_it_counts_what_sets_of_strings_count():
    generator = np.random.default_rng(0)
    text, reference = (bytes(generator.integers(97, 99, size, dtype=np.uint8)) for size in (600, 300))
    found = of(text, 100, reference)
    assert [one.end for one in found] == [100, 200, 300, 400, 500, 600]
    counted = [(one.distinct, one.repeated, one.known) for one in found]
    np.testing.assert_allclose(counted, list(slowly(text, 100, reference)))


def test_a_loop_and_a_fresh_text_lie_at_the_two_ends():
    loop = of(b"to and fro, " * 100, 400)[1]
    assert (loop.distinct, loop.repeated) == (12 / 393, 1.0)
    fresh = of(bytes(np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8)), 2000)[1]
    assert (fresh.distinct, fresh.repeated, fresh.known) == (1.0, 0.0, 0.0)


def test_entropy_of_known_frequencies():
    assert byte_entropy(np.zeros(9, np.uint8)) == 0
    assert byte_entropy(np.arange(256, dtype=np.uint8)) == 8
    assert byte_entropy(np.frombuffer(b"aaab", np.uint8)) == pytest.approx(0.811278, abs=1e-6)


def test_only_whole_blocks_count_and_a_block_holds_a_gram():
    assert len(of(b"a" * 99, 50)) == 1
    with pytest.raises(ValueError, match="block must be at least 8, got 7"):
        of(b"a" * 99, 7)

import numpy as np
import pytest

from megalodon_edu.data import Document
from megalodon_edu.studies.long_context import LADDER, books
from megalodon_edu.studies.target_windows import target_windows


def book(size):
    return Document("A book", "Nobody", None, "test", b"a" * size, "made up", "public domain", "test/a.txt")


def test_every_window_has_its_own_stretch_behind_the_longest_context_with_room():
    found = target_windows(book(1000), (0, 100, 400, 700), 50, 10)
    assert found.contexts == (0, 100, 400)  # behind 700 bytes, 50 windows of 10 would not fit
    stretches = np.linspace(400, 1000, 51)
    assert (found.starts >= stretches[:-1]).all() and (found.starts + 10 <= stretches[1:]).all()
    assert len(set(found.starts - stretches[:-1].astype(int))) > 1  # the places are random


def test_windows_may_fill_what_is_left():
    found = target_windows(book(1000), (0, 500), 50, 10)
    assert found.contexts == (0, 500) and found.starts.tolist() == list(range(500, 1000, 10))


def test_the_seed_says_where():
    first, again, other = (target_windows(book(1000), (0, 100), 20, 10, seed).starts.tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_a_short_document_has_no_windows():
    assert target_windows(book(599), (0, 100), 50, 10) is None


def test_only_moby_dick_reaches_64_and_100_training_contexts_of_8192():
    ladder = [round(factor * 8192) for factor in LADDER]
    reach = {one.title: target_windows(one, ladder, 100, 512).contexts[-1] // 8192 for one in books()}
    assert reach == {
        "Northanger Abbey": 16, "Macbeth": 4, "Persuasion": 16, "Tempest": 4, "Paradise Lost": 16, "Moby-Dick": 100,
    }  # fmt: skip


@pytest.mark.parametrize("ladder", [(), (5, 4), (4, 4), (-1, 4)])
def test_a_ladder_ascends(ladder):
    with pytest.raises(ValueError, match="ladder must ascend"):
        target_windows(book(1000), ladder, 50, 10)

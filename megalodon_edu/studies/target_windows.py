"""Places in a book to score with more or less of the text before them: the same bytes for every length of context.

    ├── context, the longest of the ladder that leaves room ──┤[ · ■■ · ][ ·· ■■ ][■■ ··· ] ...      ■■ target window

Every window has the book's longest context before it, so that all lengths can be compared on the same bytes, window by
window. What is left of the book is cut into as many equal stretches as there are windows, and each holds one window at
a random place: windows never overlap, lie in the order of the text, and cover all of what is left. Books differ in
length, hence in their longest context: they are not to be pooled.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from megalodon_edu.arguments import require_positive
from megalodon_edu.data import Document


class TargetWindows(NamedTuple):
    """Windows of `length` bytes of one document, each with all of `contexts` before it."""

    document: Document
    starts: Int[np.ndarray, " window"]
    length: int
    contexts: tuple[int, ...]


def target_windows(
    document: Document, ladder: Sequence[int], count: int, length: int, seed: int = 0
) -> TargetWindows | None:
    """`count` windows of the document; None where it has no room for them behind the shortest context above 0.

    ladder: lengths of context in bytes, ascending. Raises TypeError or ValueError for sizes that are not positive and a
    ladder that does not ascend.
    """
    require_positive("count", count)
    require_positive("length", length)
    if list(ladder) != sorted(set(ladder)) or not ladder or ladder[0] < 0:
        raise ValueError(f"ladder must ascend from a number of at least 0, got {tuple(ladder)}")
    contexts = [context for context in ladder if document.size - context >= count * length]
    if not contexts or contexts[-1] == 0:
        return None
    edges = np.linspace(contexts[-1], document.size, count + 1).astype(np.int64)
    room = np.diff(edges) - length + 1
    starts = edges[:-1] + np.random.default_rng(seed).integers(0, np.maximum(room, 1))
    return TargetWindows(document, starts, length, tuple(contexts))

"""Does a long written text stay like the text that was read? Simple numbers of one block after another.

    entropy      -Σ p log2 p over the bytes' frequencies in the block, in bits: falls when few letters are left
    distinct     share of different 8-grams among all of the block: falls when the block repeats itself
    repeated     share of the block's 8-grams that came earlier in the same text, in any block before
    known        share of the block's 8-grams that occur somewhere in a reference text, the training library

An 8-gram is 8 bytes in a row, about a word and a half. None of these numbers knows what is good writing: a text of the
same kind that people wrote, measured in the same blocks, says what to expect.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from megalodon_edu.arguments import require_positive

GRAM = 8
Bytes = npt.NDArray[np.uint8]
Grams = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class BlockStatistics:
    """Numbers of one block, which ends after `end` bytes of the text."""

    end: int
    entropy: float
    distinct: float
    repeated: float
    known: float


def grams(text: Bytes) -> Grams:
    """Every 8 bytes in a row as one number; none of a text that is shorter."""
    if len(text) < GRAM:
        return np.empty(0, np.uint64)
    rows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(text, GRAM))
    return rows.view(np.uint64).ravel()


def byte_entropy(text: Bytes) -> float:
    """Of the bytes' frequencies, in bits per byte."""
    shares = np.bincount(text, minlength=256) / len(text)
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def text_statistics(text: Bytes, block: int, reference: Grams) -> Iterator[BlockStatistics]:
    """The numbers of every whole block of `block` bytes. reference: the 8-grams of the text to compare with, sorted.

    Raises TypeError or ValueError for a block shorter than an 8-gram.
    """
    require_positive("block", block, least=GRAM)
    earlier = np.empty(0, np.uint64)
    for end in range(block, len(text) + 1, block):
        piece = text[end - block : end]
        found = grams(piece)
        different = np.unique(found)
        yield BlockStatistics(
            end,
            byte_entropy(piece),
            len(different) / len(found),
            float(_among(found, earlier).mean()),
            float(_among(found, reference).mean()),
        )
        earlier = np.union1d(earlier, different)


def _among(values: Grams, sorted_values: Grams) -> npt.NDArray[np.bool_]:
    if not len(sorted_values):
        return np.zeros(len(values), bool)
    places = np.searchsorted(sorted_values, values).clip(max=len(sorted_values) - 1)
    return sorted_values[places] == values

"""Multi-query associative recall (MQAR): pairs of a key and a value, then keys whose values are asked for.

    blank 0, keys 1 .. 127, values 128 .. 255
    5 200 9 131   0 0 9 0 0 0 0 0 5 0 ...          after the second 9: 131, after the second 5: 200

A sequence begins with n pairs of different keys and different values. Behind them every key comes once more, in a
random one of the places 2n, 2n + 2, 2n + 4, ...; a place is drawn with a probability in proportion to s^(a - 1), s its
number from 1 and a = 0.01, so that questions are frequent near the pairs and rare far behind. Everything else is blank.

Arora et al. (arXiv:2312.04927), and their released code, which takes 8192 tokens and may fill the blanks with random
ones. With 256 tokens such noise would contradict the pairs, so blanks stay blank here. Whoever guesses among all values
answers 1 of 128.
"""

import numpy as np
import torch

from megalodon_edu.arguments import require_positive
from megalodon_edu.studies.recall_task import RecallBatch

BLANK = 0
VOCABULARY = 256
FIRST_VALUE = VOCABULARY // 2
CHANCE = 1 / (VOCABULARY - FIRST_VALUE)
POWER = 0.01


def associative_recall_batch(count: int, length: int, pairs: int, generator: np.random.Generator) -> RecallBatch:
    """`count` sequences of `length` tokens with `pairs` pairs and as many questions each.

    The answer is not in the sequence behind its question: a blank follows. Raises TypeError or ValueError for sizes
    that allow no such sequence: length is even and at least 4 pairs, pairs at most 127.
    """
    require_positive("count", count)
    require_positive("pairs", pairs)
    require_positive("length", length, least=4 * pairs)
    if length % 2:
        raise ValueError(f"length must be even, got {length}")
    if pairs >= FIRST_VALUE:
        raise ValueError(f"pairs must be at most the {FIRST_VALUE - 1} keys, got {pairs}")
    keys = _draw(generator, np.ones(FIRST_VALUE - 1), count, pairs) + 1
    values = _draw(generator, np.ones(VOCABULARY - FIRST_VALUE), count, pairs) + FIRST_VALUE
    slots = (length - 2 * pairs) // 2
    places = 2 * pairs + 2 * _draw(generator, np.arange(1, slots + 1) ** (POWER - 1), count, pairs)
    tokens = np.full((count, length), BLANK, dtype=np.int64)
    tokens[:, 0 : 2 * pairs : 2], tokens[:, 1 : 2 * pairs : 2] = keys, values
    rows = np.arange(count)[:, None].repeat(pairs, axis=1)
    tokens[rows, places] = keys
    distances = places - (2 * np.arange(pairs) + 1)
    return RecallBatch(
        torch.from_numpy(tokens), *(torch.from_numpy(part.ravel()) for part in (rows, places, values, distances))
    )


def _draw(generator: np.random.Generator, weights: np.ndarray, count: int, size: int) -> np.ndarray:
    """`size` different indices of `weights` for each of `count` rows, drawn one after the other in proportion to them.

    The largest of log w + Gumbel noise is such a draw, and the next largest the next.
    """
    order = np.argsort(-(np.log(weights) + generator.gumbel(size=(count, len(weights)))), axis=1)
    return order[:, :size]

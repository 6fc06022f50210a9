"""Induction heads: the token that followed a special one is asked for when the special one comes again.

    symbols 0 .. 15, trigger 16          a c 16 f b a ... d 16          after the last token: f

Every token is a random symbol but two: the trigger stands at one random place and at the end. To answer, a model finds
the first trigger and copies what followed it, as the attention heads described by Olsson et al. (arXiv:2209.11895) do.
The task as in H3 (arXiv:2212.14052, Section 3.1); 16 symbols, training at length 256 and tests up to 1,048,576 as in
Mamba (arXiv:2312.00752, Section 4.1.2). Whoever guesses answers 1 of 16.
"""

import numpy as np
import torch

from megalodon_edu.arguments import require_positive
from megalodon_edu.studies.recall_task import RecallBatch

SYMBOLS = 16
TRIGGER = SYMBOLS
VOCABULARY = SYMBOLS + 1
CHANCE = 1 / SYMBOLS


def induction_batch(
    count: int, length: int, generator: np.random.Generator, distance: int | None = None
) -> RecallBatch:
    """`count` sequences of `length` tokens with one question each, at the end.

    distance: from the asked answer to the question, 1 .. length - 2; None: any of these with the same probability.
    Raises TypeError or ValueError for sizes that allow no such sequence.
    """
    require_positive("count", count)
    require_positive("length", length, least=3)
    if distance is not None and not 1 <= distance <= length - 2:
        raise ValueError(f"distance must lie in 1 .. length - 2 = {length - 2}, got {distance}")
    tokens = generator.integers(SYMBOLS, size=(count, length), dtype=np.int64)
    rows = np.arange(count)
    distances = generator.integers(1, length - 1, size=count) if distance is None else np.full(count, distance)
    places = length - 1 - distances
    tokens[rows, places - 1] = TRIGGER
    tokens[:, -1] = TRIGGER
    found = tokens[rows, places]
    return RecallBatch(*map(torch.from_numpy, (tokens, rows, np.full(count, length - 1), found, distances)))

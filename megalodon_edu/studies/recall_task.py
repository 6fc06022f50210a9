"""What tasks of recall have in common: sequences with questions, and how many of them a model answers."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from megalodon_edu.models import LanguageModel, Transformer, evaluating

TOKENS_AT_ONCE = 2**18
"""Of all rows together that a model reads in one call. The answers do not depend on it, only speed and memory do."""


class RecallBatch(NamedTuple):
    """Sequences, and the questions in them: after tokens[row, place], answer is the right next token.

    It stood `distance` tokens before that place, and it need not follow in `tokens`.
    """

    tokens: Int[Tensor, "batch time"]
    rows: Int[Tensor, " question"]
    places: Int[Tensor, " question"]
    answers: Int[Tensor, " question"]
    distances: Int[Tensor, " question"]

    def in_one_chunk(self, chunk: int) -> Bool[Tensor, " question"]:
        """Whether question and answer stand in one chunk of a model that cuts its input into chunks of that size."""
        return self.places // chunk == (self.places - self.distances) // chunk


def answers(model: LanguageModel, batch: RecallBatch, tokens_at_once: int = TOKENS_AT_ONCE) -> Int[Tensor, " question"]:
    """The model's likeliest next token at every question, on the CPU. Reads as `logits_at`."""
    found = torch.empty_like(batch.answers)
    for asked, logits in logits_at(model, batch.tokens, batch.rows, batch.places, tokens_at_once):
        found[asked] = logits.argmax(-1).cpu()
    return found


@torch.inference_mode()
def logits_at(
    model: LanguageModel,
    tokens: Int[Tensor, "batch time"],
    rows: Int[Tensor, " question"],
    places: Int[Tensor, " question"],
    tokens_at_once: int = TOKENS_AT_ONCE,
) -> Iterator[tuple[Int[Tensor, " some"], Float[Tensor, "some vocabulary"]]]:
    """Numbers of questions, and the logits after tokens[row, place], until every question has come once.

    Megalodon reads pieces and carries its state on, so that its memory does not grow with the length. The Transformer
    reads every sequence whole. Dropout is off meanwhile.
    """
    count, length = tokens.shape
    device = next(model.parameters()).device
    whole = isinstance(model, Transformer)
    at_once = max(1, min(count, tokens_at_once // length)) if whole else count
    piece = length if whole else max(1, tokens_at_once // at_once)
    with evaluating(model):
        for first in range(0, count, at_once):
            state = None
            for start in range(0, length, piece):
                part = tokens[first : first + at_once, start : start + piece]
                hidden, state = model.hidden(part.to(device), state)
                inside = (rows >= first) & (rows < first + at_once) & (places >= start) & (places < start + piece)
                asked = inside.nonzero()[:, 0]
                if len(asked):
                    flat = (rows[asked] - first) * part.shape[1] + places[asked] - start
                    yield asked, model.logits(hidden.flatten(0, 1)[flat.to(device)])

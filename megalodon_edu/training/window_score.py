"""The score on the second halves of windows, for models of any memory: the same bytes from the same contexts.

Every byte is predicted from at least half a window, and from no more than a whole one, whatever the model remembers.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch.nn import functional as F

from megalodon_edu.arguments import require_positive
from megalodon_edu.data import START, Document, to_tokens
from megalodon_edu.models import LanguageModel, evaluating
from megalodon_edu.training.evaluation import DocumentScore, Evaluation
from megalodon_edu.training.precision import autocast, choose_precision

AT_ONCE = 16


def evaluate_windows(
    model: LanguageModel, documents: Iterable[Document], window: int = 2048, precision: str = "float32"
) -> Evaluation:
    """Score the second half of every window of each document, from an empty state at the window's beginning.

    Windows overlap by half, so that each byte counts once, but for the first half window of a document and what is left
    at its end; a document shorter than a window is left out. The start token stands before each document's first byte.
    Raises ValueError for an odd window, one below 2, and documents that are all shorter than one.
    """
    require_positive("window", window, least=2)
    if window % 2:
        raise ValueError(f"window must be even, so that it has halves, got {window}")
    device = next(model.parameters()).device
    dtype, _ = choose_precision(precision, device)
    with evaluating(model), torch.inference_mode(), autocast(dtype, device):
        found = tuple(score for document in documents if (score := _score(model, document, window)) is not None)
    if not found:
        raise ValueError(f"documents must hold one of at least {window} bytes, got none")
    return Evaluation(found)


def _score(model: LanguageModel, document: Document, window: int) -> DocumentScore | None:
    text = np.concatenate([np.array([START], np.uint8), to_tokens(document.text)])
    if len(text) <= window:
        return None
    half = window // 2
    places = np.arange(0, len(text) - window, half)[:, None] + np.arange(window + 1)
    tokens = torch.from_numpy(text[places]).long().to(next(model.parameters()).device)
    nats = 0.0
    for batch in tokens.split(AT_ONCE):
        logits, _ = model(batch[:, :-1])
        late = logits[:, half:].flatten(0, 1)
        nats += F.cross_entropy(late, batch[:, half + 1 :].flatten(), reduction="sum").double().item()
    scored = len(tokens) * half
    return DocumentScore(document.title, document.author, document.split, document.size, scored, nats / math.log(2))

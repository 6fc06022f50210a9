"""The measure of every model here: bits per byte, total -log2 p over every byte of a text.

    bits per byte = 1 / (number of bytes) · Σ_documents Σ_t -log2 p(byte_t | START, byte_1 .. byte_{t-1})

Each document starts from an empty state, with the start token as the context of its first byte. Every byte counts
once, in every document. Choices (sizes, learning rates, when to stop) are made on the validation split; test and
test-ood are read once, for a model that is final.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from megalodon_edu.arguments import require_positive
from megalodon_edu.data import START, Document, to_tokens
from megalodon_edu.models import LanguageModel, Megalodon, NormTruncation, Transformer, evaluating, read_truncated
from megalodon_edu.training.precision import autocast, choose_precision

PIECE = 4096
"""Bytes that a streaming model reads in one call. The result does not depend on it, only speed and memory do."""

WINDOWS_AT_ONCE = 8
QUICK_DOCUMENTS = 12
QUICK_BYTES = 49_152

Places = Int[Tensor, " time"]
Losses = Float[Tensor, " time"]


@dataclass(frozen=True)
class DocumentScore:
    """How well one document was predicted. `scored` is less than `size` if only its beginning was read."""

    title: str
    author: str
    split: str
    size: int
    scored: int
    bits: float

    @property
    def bits_per_byte(self) -> float:
        """The mean over the bytes that were scored."""
        return self.bits / self.scored


@dataclass(frozen=True)
class Evaluation:
    """The scores of several documents. All their bytes weigh the same, so long documents count for more."""

    scores: tuple[DocumentScore, ...]

    @property
    def scored(self) -> int:
        """Bytes that were scored."""
        return sum(score.scored for score in self.scores)

    @property
    def bits_per_byte(self) -> float:
        """The mean over all bytes that were scored."""
        return sum(score.bits for score in self.scores) / self.scored

    @property
    def complete(self) -> bool:
        """Whether every byte was read; if not, the number is for a quick look, and not to be reported."""
        return all(score.scored == score.size for score in self.scores)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        documents = [{**asdict(score), "bits_per_byte": score.bits_per_byte} for score in self.scores]
        return {
            "bits_per_byte": self.bits_per_byte,
            "scored": self.scored,
            "complete": self.complete,
            "documents": documents,
        }


def evaluate(
    model: LanguageModel,
    documents: Iterable[Document],
    max_bytes: int | None = None,
    precision: str = "float32",
    on_bytes: Callable[[int], object] | None = None,
    truncation: NormTruncation | None = None,
) -> Evaluation:
    """Score every document, or the first `max_bytes` of each.

    Megalodon streams: pieces of the text with the state carried on. The Transformer, whose context is bounded, sees
    windows of `config.context_size` that overlap by half; after the first window only the second half is scored, so
    every byte has at least half a context before it. A Transformer with a sliding window streams, too. `on_bytes` is
    told, after every piece, how many more bytes are scored. `truncation` scores with norm statistics of the recent past
    only, as the authors' code does (see `models.norm_truncation`); by default they are those of the whole document.

    Raises ValueError if there is no document, if one is empty, or if `max_bytes` is not positive; TypeError for a
    truncation with another model than Megalodon.
    """
    if max_bytes is not None:
        require_positive("max_bytes", max_bytes)
    device = next(model.parameters()).device
    dtype, _ = choose_precision(precision, device)
    with evaluating(model), torch.inference_mode(), autocast(dtype, device):
        scores = tuple(_score(model, document, max_bytes, on_bytes, truncation) for document in documents)
    if not scores:
        raise ValueError("documents must hold at least one document, got none")
    return Evaluation(scores)


def byte_losses(
    model: LanguageModel,
    text: bytes,
    on_bytes: Callable[[int], object] | None = None,
    truncation: NormTruncation | None = None,
) -> Losses:
    """Return -ln p of every byte of the text, on the CPU.

    Raises ValueError if the text is empty or holds the start token, TypeError as `evaluate`.
    """
    if not text:
        raise ValueError("text must hold at least one byte, got none; leave empty documents out")
    tokens = torch.from_numpy(np.concatenate([np.array([START], np.uint8), to_tokens(text)])).long()
    tokens = tokens.to(next(model.parameters()).device)
    inputs, targets = tokens[:-1], tokens[1:]
    if truncation is not None:
        if not isinstance(model, Megalodon):
            raise TypeError(f"truncation needs a Megalodon, which has norm statistics, got {type(model).__name__}")
        pieces = _truncated_losses(model, inputs, targets, truncation)
    elif isinstance(model, Transformer) and model.config.window is None:
        pieces = _windowed_losses(model, inputs, targets, model.config.context_size)
    else:
        pieces = _streamed_losses(model, inputs, targets)
    found = []
    for piece in pieces:
        found.append(piece)
        if on_bytes is not None:
            on_bytes(len(piece))
    return torch.cat(found).cpu()


def _streamed_losses(model: LanguageModel, inputs: Places, targets: Places) -> Iterator[Losses]:
    state = None
    for piece, wanted in zip(inputs.split(PIECE), targets.split(PIECE), strict=True):
        logits, state = model(piece[None], state)
        yield F.cross_entropy(logits[0], wanted, reduction="none")


def _truncated_losses(
    model: Megalodon, inputs: Places, targets: Places, truncation: NormTruncation
) -> Iterator[Losses]:
    done = 0
    for logits, _ in read_truncated(model, inputs[None], truncation):
        wanted = targets[done : done + logits.shape[1]]
        done += len(wanted)
        yield F.cross_entropy(logits[0], wanted, reduction="none")


def _windowed_losses(model: LanguageModel, inputs: Places, targets: Places, context: int) -> Iterator[Losses]:
    """The first window scores all its bytes; each later one scores, at its end, those that no window before it held."""
    logits, _ = model(inputs[None, :context])
    yield F.cross_entropy(logits[0], targets[:context], reduction="none")
    length, stride = len(inputs), max(1, context // 2)
    ends = [min(end, length) for end in range(context + stride, length + stride, stride)]
    fresh = [end - before for before, end in pairwise([context, *ends])]
    for at in range(0, len(ends), WINDOWS_AT_ONCE):
        places = torch.tensor([range(end - context, end) for end in ends[at : at + WINDOWS_AT_ONCE]])
        logits, _ = model(inputs[places])
        found = F.cross_entropy(logits.transpose(1, 2), targets[places], reduction="none")
        for window, count in zip(found, fresh[at : at + WINDOWS_AT_ONCE], strict=True):
            yield window[-count:]


def _score(
    model: LanguageModel,
    document: Document,
    max_bytes: int | None,
    on_bytes: Callable[[int], object] | None,
    truncation: NormTruncation | None,
) -> DocumentScore:
    text = document.text[:max_bytes]
    bits = byte_losses(model, text, on_bytes, truncation).double().sum().item() / math.log(2)
    return DocumentScore(document.title, document.author, document.split, document.size, len(text), bits)


def quick_look(model: LanguageModel, documents: Sequence[Document]) -> float:
    """Return the bits per byte of the beginnings of some documents, always the same ones: for a glance while training.

    The first QUICK_DOCUMENTS documents share QUICK_BYTES bytes evenly: a speech then weighs as much as a novel. So this
    number may lie above or below that of the whole split; compare it only with other quick looks.
    """
    some = documents[:QUICK_DOCUMENTS]
    return evaluate(model, some, max_bytes=max(1, QUICK_BYTES // max(1, len(some)))).bits_per_byte

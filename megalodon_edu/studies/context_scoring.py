"""Bits of target windows after so many bytes of context, read from an empty state.

    START  byte[s - L] ... byte[s - 1]  byte[s] ... byte[s + 510]        what the model reads for a window of 512 at s
                                   └─────── predict byte[s] ... byte[s + 511]

With L = 0 the start token alone stands before the window. Where L is a whole number of chunks, the window begins at a
chunk's edge whatever L is: attention inside the chunk then sees the same bytes each time, and what a longer context
brings can come through the moving averages and the norms' statistics only.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from megalodon_edu.data import START
from megalodon_edu.models import LanguageModel, Megalodon, NormTruncation, Transformer, read_truncated
from megalodon_edu.training.precision import autocast, choose_precision

PIECE = 8192
"""Bytes of every row that a model with a bounded state reads in one call."""

TOKENS_AT_ONCE = 2**19
"""Of all rows together in one call. Neither number changes the result, only speed and memory."""

Tokens = Int[Tensor, "window time"]


def window_bits(
    model: LanguageModel,
    text: Int[Tensor, " time"],
    starts: Int[np.ndarray, " window"],
    context: int,
    length: int,
    precision: str = "auto",
    truncation: NormTruncation | None = None,
    tokens_at_once: int = TOKENS_AT_ONCE,
) -> Float[np.ndarray, " window"]:
    """-log2 p of each window's `length` bytes in sum, after `context` bytes. text: a whole book, on any device.

    truncation: Megalodon's norm statistics of the recent past only. Without a window the Transformer reads context and
    target in one call, for which time and memory grow with the context.
    Raises ValueError for a window that has less text before it, or ends outside the text.
    """
    if starts.min() < context or starts.max() + length > len(text):
        raise ValueError(
            f"starts must leave {context} bytes before and {length} bytes in a window of a text of {len(text)}, "
            f"got {starts.min()} to {starts.max()}"
        )
    device = next(model.parameters()).device
    dtype, _ = choose_precision(precision, device)
    whole = isinstance(model, Transformer) and model.config.window is None
    longest = context + length if whole else min(PIECE, context + length)
    parts = math.ceil(len(starts) / max(1, tokens_at_once // longest))
    text, places = text.to(device), torch.from_numpy(starts).to(device)
    found = []
    with torch.inference_mode(), autocast(dtype, device):
        for rows in places.chunk(parts):
            targets = text[rows[:, None] + torch.arange(length, device=device)].long()
            logits = _target_logits(model, text, rows, context, length, whole, truncation)
            losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
            found.append(losses.double().sum(1).cpu() / math.log(2))
    return torch.cat(found).numpy()


def receptive_context(model: LanguageModel, context: int) -> int:
    """How many of `context` bytes can have an influence on what follows them.

    All, but for a Transformer with a sliding window of W: each of its n layers looks W - 1 tokens back, so that n · W
    bytes are enough, and what a rotary embedding sees of positions are distances.
    """
    window = getattr(model.config, "window", None)
    return context if window is None else min(context, model.config.num_layers * window)


def _target_logits(
    model: LanguageModel,
    text: Tensor,
    rows: Tensor,
    context: int,
    length: int,
    whole: bool,
    truncation: NormTruncation | None,
) -> Float[Tensor, "window time vocabulary"]:
    end = context + length
    if truncation is not None:
        assert isinstance(model, Megalodon)
        return _last(length, read_truncated(model, _stream(text, rows, context, 0, end), truncation))
    if whole:
        hidden, _ = model.hidden(_stream(text, rows, context, 0, end))
        return model.logits(hidden[:, context:])
    state = None
    for begin in range(0, context, PIECE):
        _, state = model.hidden(_stream(text, rows, context, begin, min(begin + PIECE, context)), state)
    return model(_stream(text, rows, context, context, end), state)[0]


def _stream(text: Tensor, rows: Tensor, context: int, begin: int, end: int) -> Tokens:
    """Tokens begin .. end - 1 of what the model reads for each row: the start token, then the text from `context` bytes
    before the row's window on."""
    steps = torch.arange(begin, end, device=rows.device)
    tokens = text[(rows[:, None] - context - 1 + steps).clamp(min=0)].long()
    return tokens.masked_fill(steps == 0, START)


def _last(length: int, pieces: Iterator[tuple[Tensor, object]]) -> Tensor:
    """The last `length` steps of logits that come in pieces; earlier pieces are let go."""
    kept: list[Tensor] = []
    for logits, _ in pieces:
        kept.append(logits)
        while sum(part.shape[1] for part in kept[1:]) >= length:
            kept.pop(0)
    return torch.cat(kept, 1)[:, -length:]

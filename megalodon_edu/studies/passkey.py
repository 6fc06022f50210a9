"""What a model of text gains from what it has read before: a number hidden in a book, and a passage that comes twice.

    ... book ... [The pass key is 71432. Remember it.] ... book ... [The pass key is ]71432          passkey
    ... book ... [a passage of 64 bytes] ... book ... [its first 8 bytes]the other 56                copy

The passkey is the test of Mohtashami and Jaggi (arXiv:2305.16300), with a real book around it. In both, bytes of the
book are overwritten, so that texts of one trial differ nowhere else: `given` holds the number or the passage at some
distance before the end, `other` another number in its place, `absent` the book. The bits of the last bytes, absent
minus given, are what the model gains by remembering. Nothing is trained on this: a model that copies learned it from
books.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from megalodon_edu.arguments import require_choice, require_positive
from megalodon_edu.data import START
from megalodon_edu.models import LanguageModel
from megalodon_edu.studies.recall_task import TOKENS_AT_ONCE, logits_at

DIGITS = 5
CUE = b"\n\nThe pass key is "
AFTER = b". Remember it.\n\n"
PASSAGE, SHOWN = 64, 8
PROBES = {"passkey": ("absent", "other", "given"), "copy": ("absent", "given")}


class Probe(NamedTuple):
    """What is planted in a text: `planted` earlier, `ending` at its end, of which the last `asked` bytes are scored.

    They stand in `planted` too (in `other`, with wrong digits) from `source` on.
    """

    planted: bytes
    source: int
    ending: bytes
    asked: int


class Answer(NamedTuple):
    """How the scored bytes of one text came out.

    bits: -log2 of their probability, all together.  right: how many were the likeliest byte.
    rank: the mean over the bytes of 1 + the number of candidates that were likelier, candidates being the ten digits
    of a passkey, all bytes of a copy.  first: how many had rank 1.
    """

    bits: float
    right: int
    rank: float
    first: int


def probe(kind: str, condition: str, book: bytes, generator: np.random.Generator) -> Probe:
    """One probe: the same state of the generator gives the conditions of one trial.

    Raises ValueError for a kind or condition that is not among `PROBES`, and for a book shorter than a passage.
    """
    require_choice("kind", kind, tuple(PROBES))
    require_choice("condition", condition, PROBES[kind])
    if kind == "copy":
        if len(book) < PASSAGE:
            raise ValueError(f"book must hold at least {PASSAGE} bytes, got {len(book)}")
        start = int(generator.integers(len(book) - PASSAGE + 1))
        passage = book[start : start + PASSAGE]
        return Probe(passage if condition == "given" else b"", SHOWN, passage, PASSAGE - SHOWN)
    digits = generator.integers(10, size=DIGITS)
    others = (digits + generator.integers(1, 10, size=DIGITS)) % 10
    number, other = (bytes(int(digit) + ord("0") for digit in row) for row in (digits, others))
    said = {"absent": b"", "given": CUE + number + AFTER, "other": CUE + other + AFTER}[condition]
    return Probe(said, len(CUE), CUE + number, DIGITS)


def least_distance(kind: str) -> int:
    """The distance of a planted text that ends where the ending begins."""
    require_choice("kind", kind, tuple(PROBES))
    return DIGITS + len(AFTER) + len(CUE) if kind == "passkey" else PASSAGE


def plant(background: bytes, probe: Probe, distance: int) -> bytes:
    """The background with its end overwritten, and with `planted`, so that every scored byte stands there `distance`
    bytes earlier.

    Raises ValueError where that does not fit.
    """
    require_positive("distance", distance)
    text = bytearray(background)
    start = len(text) - probe.asked - distance - probe.source
    end = start + len(probe.planted)
    if start < 0 or end > len(text) - len(probe.ending):
        raise ValueError(
            f"distance must leave room for {len(probe.planted)} planted bytes before the ending of "
            f"{len(probe.ending)} in a text of {len(text)}, got {distance}"
        )
    text[start:end] = probe.planted
    text[len(text) - len(probe.ending) :] = probe.ending
    return bytes(text)


def in_one_chunk(distance: int, asked: int, chunk: int) -> bool:
    """Whether attention inside chunks reaches every planted byte that is asked for, in a text of whole chunks.

    Byte t is read one step later than it is predicted, behind the start token.
    """
    return distance - 1 <= chunk - asked


def ask(
    model: LanguageModel,
    texts: Sequence[bytes],
    asked: int,
    candidates: Sequence[int] = range(256),
    tokens_at_once: int = TOKENS_AT_ONCE,
) -> list[Answer]:
    """Score the last `asked` bytes of texts of one length, each byte after all right ones before it."""
    require_positive("asked", asked)
    rows: UInt8[Tensor, "batch time"] = torch.tensor(np.stack([np.frombuffer(text, np.uint8) for text in texts]))
    count, length = rows.shape
    if asked > length:
        raise ValueError(f"asked must be at most the {length} bytes of a text, got {asked}")
    inputs = torch.cat([torch.full((count, 1), START, dtype=torch.uint8), rows[:, :-1]], 1)
    which = torch.arange(count).repeat_interleave(asked)
    places = torch.arange(length - asked, length).repeat(count)
    wanted = rows[:, -asked:].long().flatten()
    bits, rank = torch.zeros(count * asked, dtype=torch.float64), torch.zeros(count * asked)
    right = torch.zeros(count * asked, dtype=torch.bool)
    for some, found in logits_at(model, inputs, which, places, tokens_at_once):
        logits, chosen = found.double().cpu(), wanted[some, None]
        bits[some] = -logits.log_softmax(-1).gather(1, chosen)[:, 0] / math.log(2)
        right[some] = logits.argmax(-1) == chosen[:, 0]
        rank[some] = 1.0 + (logits[:, list(candidates)] > logits.gather(1, chosen)).sum(-1)
    per_text = zip(*(part.unflatten(0, (count, asked)) for part in (bits, right, rank)), strict=True)
    return [Answer(b.sum().item(), int(r.sum()), k.mean().item(), int((k == 1).sum())) for b, r, k in per_text]

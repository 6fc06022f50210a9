"""Random windows of text: the batch of a step is a pure function of the seed and the step's number."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from megalodon_edu.arguments import require_between, require_positive, require_tensor
from megalodon_edu.data import START, Document


def concatenate(documents: Iterable[Document]) -> Tensor:
    """Return the documents as one row of tokens (time,) uint8, each preceded by the start token.

    Raises ValueError if there is no document.
    """
    pieces = [bytes([START]) + document.text for document in documents]
    if not pieces:
        raise ValueError("documents must hold at least one document, got none")
    return torch.frombuffer(bytearray(b"".join(pieces)), dtype=torch.uint8)


@dataclass(frozen=True)
class RandomWindows:
    """Windows of `length + 1` tokens at random places: the inputs and, one further on, the targets.

    A window may begin anywhere and may run from the end of one document into the next, so documents shorter than a
    window need no padding: the start token between them tells the model that a new text begins.
    `windows(step)` depends on the tokens, the seed and the step only. That is why a resumed run sees the same
    batches as one that never stopped, with no generator to store. `source` names the text, for the record.
    """

    tokens: Tensor
    batch: int
    length: int
    seed: int = 0
    source: str = "unnamed"

    def __post_init__(self) -> None:
        """Raise ValueError or TypeError for sizes that do not fit the text."""
        require_tensor("tokens", self.tokens, "time")
        if self.tokens.dtype != torch.uint8:
            raise TypeError(f"tokens must be uint8 (bytes), got {self.tokens.dtype}; build them with concatenate")
        require_positive("batch", self.batch)
        require_positive("length", self.length)
        require_between("seed", self.seed, 0, 2**32 - 1)
        if len(self.tokens) < self.length + 1:
            raise ValueError(
                f"length must be at most {len(self.tokens) - 1}, one less than the text has tokens, got {self.length}; "
                "take a smaller length or more text"
            )

    def __call__(self, step: int) -> Tensor:
        """Return the windows of this step, (batch, length + 1) int64."""
        generator = np.random.default_rng([self.seed, step])
        starts = torch.from_numpy(generator.integers(0, len(self.tokens) - self.length, size=(self.batch, 1)))
        return self.tokens[starts + torch.arange(self.length + 1)].long()

    def description(self) -> dict[str, int | str]:
        """Return what tells these windows from others: sizes, seed, and the name and SHA-256 of the text."""
        digest = hashlib.sha256(self.tokens.numpy().tobytes()).hexdigest()
        return {
            "batch": self.batch,
            "length": self.length,
            "seed": self.seed,
            "source": self.source,
            "text_bytes": len(self.tokens),
            "text_sha256": digest,
        }


def to_device(tokens: Tensor, device: torch.device) -> Tensor:
    """Copy a batch to the device; to a GPU without making the CPU wait."""
    if device.type == "cuda":
        return tokens.pin_memory().to(device, non_blocking=True)
    return tokens.to(device)

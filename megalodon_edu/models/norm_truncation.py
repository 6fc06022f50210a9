"""Norm statistics of the recent past only, as the authors' code takes them while it reads or scores a long text.

The released code (inference.py and generation.py of github.com/XuezheMax/megalodon) reads `step` = 2 chunks at a time.
From `after` = 8 chunks on, it then reads the last `keep` = 6 chunks once more, with an empty state, and puts the norm
statistics which that gives in the place of the cumulative ones, in every layer and at the end; averages and keys stay.
The paper does not mention it. The text is then processed four times over.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from megalodon_edu.arguments import require_instance, require_positive, require_tensor
from megalodon_edu.models.language_model import ModelState
from megalodon_edu.models.megalodon import Megalodon


@dataclass(frozen=True)
class NormTruncation:
    """Chunks that one call reads, chunks that the statistics are taken from, and chunks after which this begins."""

    step: int = 2
    keep: int = 6
    after: int = 8

    def __post_init__(self) -> None:
        for name in ("step", "keep", "after"):
            require_positive(name, getattr(self, name))
        if self.keep > self.after:
            raise ValueError(f"keep must be at most after, got keep={self.keep} and after={self.after} chunks")


def with_statistics_of(state: ModelState, recent: ModelState) -> ModelState:
    """`state` with the norm statistics of `recent`, in every layer and at the end."""
    layers = tuple(layer._replace(norm=other.norm) for layer, other in zip(state.layers, recent.layers, strict=True))
    return ModelState(layers, recent.norm)


def read_truncated(
    model: Megalodon, tokens: Int[Tensor, "batch time"], truncation: NormTruncation | None = None
) -> Iterator[tuple[Float[Tensor, "batch time vocabulary"], ModelState]]:
    """Logits of one piece of the tokens after another, from an empty state, and the state after each.

    The state after a piece has its statistics exchanged already where that is due. Raises TypeError for another kind of
    model, ValueError for tokens of the wrong shape and for a model with norm="layer", which has no statistics.
    """
    require_instance("model", model, Megalodon, "only Megalodon has norm statistics")
    require_tensor("tokens", tokens, "batch time")
    if model.config.norm == "layer":
        raise ValueError("model has norm='layer', which keeps no statistics; take one with norm='timestep'")
    truncation = NormTruncation() if truncation is None else truncation
    chunk = model.config.chunk_size
    state: ModelState | None = None
    end = 0
    for piece in tokens.split(truncation.step * chunk, dim=1):
        end += piece.shape[1]
        logits, state = model(piece, state)
        if end % chunk == 0 and end >= truncation.after * chunk:
            with torch.no_grad():
                _, recent = model(tokens[:, end - truncation.keep * chunk : end])
            state = with_statistics_of(state, recent)
        yield logits, state

"""Writing one token after another: seconds per token and bytes of state, as the text behind it grows."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from megalodon_edu.arguments import require_positive
from megalodon_edu.measure.model_speed import pair
from megalodon_edu.measure.timing import Row, median_seconds
from megalodon_edu.models import LanguageModel, MegalodonConfig, megalodon_state_bytes, state_bytes

PIECE = 2048


def decoding(
    config: MegalodonConfig,
    contexts: Sequence[int],
    device: torch.device,
    tokens: int = 16,
    repeats: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Row]:
    """Yield, for each context, the seconds per new token and the bytes of state of both models, in float32.

    The state is that after `context` random tokens; `tokens` more are read one at a time, always from that state.
    Megalodon drops its keys and values after every whole chunk, so its state swings: `most_bytes` is its upper bound.
    `ratio` is the Transformer's time over Megalodon's: above 1, Megalodon is faster.
    """
    for context in contexts:
        require_positive("context", context)
    models = pair(config, device)
    for context in contexts:
        states = {name: state_after(model.eval(), context, config.vocab_size) for name, model in models.items()}
        functions = {name: _decode(model, states[name], tokens) for name, model in models.items()}
        found = {name: time / tokens for name, time in median_seconds(functions, device, repeats, 1, clock).items()}
        yield {
            "context": context,
            "seconds": found,
            "state_bytes": {name: state_bytes(state) for name, state in states.items()},
            "most_bytes": megalodon_state_bytes(config, config.chunk_size - 1),
            "ratio": found["transformer"] / found["megalodon"],
        }


@torch.inference_mode()
def state_after(model: LanguageModel, context: int, vocabulary: int) -> Any:
    """Return the model's state after `context` random tokens, read in pieces."""
    text = torch.randint(1, vocabulary, (1, context), generator=torch.Generator().manual_seed(0))
    state = None
    for piece in text.to(next(model.parameters()).device).split(PIECE, dim=1):
        _, state = model(piece, state)
    return state


def _decode(model: LanguageModel, start: Any, tokens: int) -> Callable[[], object]:
    device = next(model.parameters()).device

    @torch.inference_mode()
    def decode() -> object:
        state, token = start, torch.ones(1, 1, dtype=torch.int64, device=device)
        for _ in range(tokens):
            logits, state = model(token, state)
            token = logits[:, -1:].argmax(-1)
        return token

    return decode

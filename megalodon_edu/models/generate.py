"""Write text with a model, token by token."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from megalodon_edu.arguments import require_between, require_finite, require_instance, require_number, require_positive
from megalodon_edu.models.decoder import Decoder, has_decoder, make_decoder
from megalodon_edu.models.language_model import LanguageModel, evaluating

PIECE = 4096
"""Tokens of a prompt read in one call, so that a long prompt takes no more memory than a short one."""


class Generation(NamedTuple):
    """The new tokens, the state from which to go on, and whether Ctrl-C cut it short.

    The state has seen every token but the last; pass that one as the next prompt.
    """

    tokens: Int[Tensor, " time"]
    state: Any
    interrupted: bool


@torch.inference_mode()
def generate(
    model: LanguageModel,
    prompt: Int[Tensor, "..."],
    max_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    on_token: Callable[[int], None] | None = None,
    state: Any = None,
    decoder: Decoder | None = None,
) -> Generation:
    """Sample `max_tokens` tokens after `prompt`, a 1-D tensor of at least one token.

    temperature 0 takes the likeliest token. top_k keeps the k likeliest, top_p the smallest set whose probability
    reaches p. on_token is called with each token as it comes. Ctrl-C returns what has been written, which is nothing
    while the prompt is being read.

    The prompt is read by the model, the new tokens by `decoder`, one that `make_decoder` made of this model for a batch
    of 1; without one, a GPU gets a decoder for this call, and a CPU, or a model that has no decoder, calls the model.
    Raises TypeError for a prompt that is no tensor, ValueError for one that is empty or a batch, for values out of
    range, for logits that are not finite and for a decoder of another model.
    """
    require_instance("model", model, LanguageModel, "pass a Megalodon or a Transformer")
    require_positive("max_tokens", max_tokens)
    if decoder is not None and (decoder.model is not model or decoder.batch != 1):
        raise ValueError("decoder must be of this model, for a batch of 1; make one with make_decoder(model)")
    check_sampling(temperature, top_k, top_p)
    device = next(model.parameters()).device
    if not isinstance(prompt, Tensor):
        raise TypeError(
            f"prompt must be a tensor of tokens, got {type(prompt).__name__}; make one with torch.as_tensor(...)"
        )
    if prompt.ndim not in (1, 2) or (prompt.ndim == 2 and prompt.shape[0] != 1):
        raise ValueError(
            f"prompt must have the shape (time) or (1, time), got {tuple(prompt.shape)}: one text at a time"
        )
    if prompt.numel() == 0:
        raise ValueError("prompt must hold at least one token; start a text with token 0")
    require_positive("seed", seed, least=0)
    require_between("seed", seed, 0, 2**63 - 1)
    generator = torch.Generator().manual_seed(seed)
    *earlier, step = prompt.reshape(1, -1).to(device).split(PIECE, dim=1)
    written: list[int] = []
    interrupted = True  # until the last token is there

    def draw(logits: Tensor) -> int:
        return sample(logits.cpu(), generator, temperature, top_k, top_p)

    active: Decoder | None = None
    with evaluating(model), suppress(KeyboardInterrupt):
        for piece in earlier:
            _, state = model(piece, state)
        logits, next_state = model(step, state)
        token = draw(logits[0, -1])
        state = next_state
        while True:
            written.append(token)
            if on_token is not None:
                on_token(token)
            if len(written) == max_tokens:
                break
            step = torch.tensor([token], device=device)
            if active is None and (decoder is not None or (device.type == "cuda" and has_decoder(model))):
                ready = make_decoder(model) if decoder is None else decoder
                ready.load(state)
                active = ready
            if active is None:
                logits, next_state = model(step[None], state)
                token = draw(logits[0, -1])
                state = next_state
            else:
                token = draw(active.step(step)[0])
        interrupted = False
    if active is not None:
        if active.logits is not None and active.steps == len(written):  # Ctrl-C came before the token was drawn
            written.append(draw(active.logits[0]))
        state = active.state()
    return Generation(torch.tensor(written, dtype=torch.int64), state, interrupted)


def sample(
    logits: Float[Tensor, " vocabulary"],
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> int:
    """One token from the logits. Raises ValueError for logits that are not finite."""
    require_finite("logits", logits)
    if temperature == 0:
        return int(logits.argmax())
    scaled = (logits - logits.max()).double() / temperature  # neither overflows nor divides 0 by 0
    ordered, tokens = scaled.to(logits.dtype).sort(descending=True, stable=True)
    if top_k is not None:
        ordered = ordered[:top_k]
    probabilities = ordered.softmax(-1)
    if top_p is not None:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= top_p, 0)
    return int(tokens[torch.multinomial(probabilities, 1, generator=generator)])


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise TypeError for values that are no numbers, ValueError for values out of range."""
    require_number("temperature", temperature)
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be a number of at least 0, got {temperature}")
    if top_k is not None:
        require_positive("top_k", top_k)
    if top_p is None:
        return
    require_number("top_p", top_p)
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie in (0, 1], got {top_p}")

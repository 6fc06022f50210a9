"""How large the logits of a Megalodon's attention are, and how spread out its weights."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from megalodon_edu.arguments import require_tensor
from megalodon_edu.models import Megalodon, evaluating
from megalodon_edu.nn import NormalizedAttention

Logits = Float[Tensor, "... query key"]


class AttentionStatistics(NamedTuple):
    """One layer on one batch: the largest |q·k| of all pairs that attention compares, and `attention_entropy`."""

    largest_logit: float
    entropy: float


@torch.no_grad()
def attention_statistics(model: Megalodon, tokens: Int[Tensor, "batch time"]) -> list[AttentionStatistics]:
    """Run the model on tokens and look at the attention of each of its layers.

    Raises TypeError for another kind of model, ValueError unless the tokens fill whole chunks of at least two.
    """
    if not isinstance(model, Megalodon):
        raise TypeError(f"model must be a Megalodon, whose attention is known here, got {type(model).__name__}")
    require_tensor("tokens", tokens, "batch time")
    if not model.config.attention:
        raise ValueError("model has attention=False: there are no logits to look at; take one with attention")
    chunk = model.config.chunk_size
    if chunk < 2 or tokens.shape[1] == 0 or tokens.shape[1] % chunk:
        raise ValueError(
            f"tokens must fill whole chunks of at least two, got {tokens.shape[1]} tokens and chunk_size={chunk}"
        )
    inputs: list[Tensor] = []
    modules = [module for module in model.modules() if isinstance(module, NormalizedAttention)]
    hooks = [module.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for module in modules]
    try:
        with evaluating(model):
            model(tokens)
            return [_look(module, x) for module, x in zip(modules, inputs, strict=True)]
    finally:
        for hook in hooks:
            hook.remove()


def attention_entropy(logits: Logits) -> Float[Tensor, "... query"]:
    """H / ln n of each causal row of logits: H = -Σ w ln w of its softmax over the n keys up to the query's own.

    1 where the weights are equal, 0 where one key gets all. A row with a single key has no choice: its entropy is NaN.
    """
    visible = _visible(logits)
    logarithms = logits.masked_fill(~visible, float("-inf")).log_softmax(-1)
    entropy = -(logarithms.exp() * logarithms.masked_fill(~visible, 0)).sum(-1)
    return entropy / visible.sum(-1).to(logits.dtype).log()


def attention_logits(module: NormalizedAttention, x: Float[Tensor, "batch time channel"]) -> Logits:
    """q·k of all pairs inside each chunk, (batch, chunk, head, query, key); x fills whole chunks."""
    q, k = module.queries_and_keys(module.averaged(x)[1], held=0)
    q, k = (t.unflatten(1, (-1, module.chunk_size)) for t in (q, k))
    return torch.einsum("b c t h d, b c s h d -> b c h t s", q, k)


def _look(module: NormalizedAttention, x: Tensor) -> AttentionStatistics:
    logits = attention_logits(module, x)
    entropy = attention_entropy(logits)[..., 1:].mean()  # the first query of a chunk has a single key
    return AttentionStatistics(logits[..., _visible(logits)].abs().max().item(), entropy.item())


def _visible(logits: Logits) -> Bool[Tensor, "query key"]:
    return torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()

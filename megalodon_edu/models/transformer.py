"""The baseline: a Llama-style Transformer with RMSNorm, RoPE, SwiGLU, grouped-query attention and a KV cache.

It shares embedding, head, loss and initialisation with Megalodon, so that a comparison measures the architecture.
"""

from dataclasses import replace
from types import NoneType
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from megalodon_edu.arguments import (
    require_device_of,
    require_floating,
    require_instance,
    require_positive,
    require_state,
    require_tensor,
)
from megalodon_edu.models.config import MegalodonConfig, TransformerConfig
from megalodon_edu.models.language_model import LanguageModel
from megalodon_edu.models.megalodon import Megalodon
from megalodon_edu.nn import PreNormBlock, RMSNorm
from megalodon_edu.nn.rotary import Rotary
from megalodon_edu.ops.attention import causal_attention, sliding_attention
from megalodon_edu.ops.rotary import rotate

Sequence = Float[Tensor, "batch time channel"]


class KVCache(NamedTuple):
    """Keys and values of every token so far: it grows with the context."""

    keys: Float[Tensor, "batch time head key"]
    values: Float[Tensor, "batch time head key"]


class WindowedCache(NamedTuple):
    """Keys and values of the last window - 1 tokens, all that later tokens can see, and how many tokens there were."""

    keys: Float[Tensor, "batch time head key"]
    values: Float[Tensor, "batch time head key"]
    seen: int


class CausalSelfAttention(nn.Module):
    """Every token sees all tokens before it, or those in its window; returns the update, without the residual.

    Positions go on with the text, whatever the window: a rotary embedding knows distances only.

    `rotary` is a table of positions that layers may share; None: one for config.context_size.
    """

    def __init__(self, config: TransformerConfig, rotary: Rotary | None = None, backend: str = "auto"):
        super().__init__()
        self.num_heads, self.kv_heads, self.rope_base = config.num_heads, config.kv_heads, config.rope_base
        self.dropout, self.attention_dropout, self.window = config.dropout, config.attention_dropout, config.window
        width = config.model_dim // config.num_heads
        self.rotary = Rotary(width, config.context_size, config.rope_base) if rotary is None else rotary
        self.norm = RMSNorm(config.model_dim, backend=backend)
        self.query = nn.Linear(config.model_dim, config.num_heads * width, bias=False)
        self.key = nn.Linear(config.model_dim, config.kv_heads * width, bias=False)
        self.value = nn.Linear(config.model_dim, config.kv_heads * width, bias=False)
        self.out = nn.Linear(config.num_heads * width, config.model_dim, bias=False)

    def forward(
        self, x: Sequence, state: KVCache | WindowedCache | None = None
    ) -> tuple[Sequence, KVCache | WindowedCache]:
        """The update (batch, time, channel) and the cache with the keys and values of x appended."""
        n = self.norm(x)
        v = self.value(n).unflatten(-1, (self.kv_heads, -1))
        seen = _tokens_seen(state, v, self.window)
        places = seen + torch.arange(x.shape[1], device=x.device)
        q, k = self.query(n).unflatten(-1, (self.num_heads, -1)), self.key(n).unflatten(-1, (self.kv_heads, -1))
        if seen + x.shape[1] <= self.rotary.positions:
            q, k = (self.rotary(t, places).to(v.dtype) for t in (q, k))
        else:
            q, k = (rotate(t, places, self.rope_base).to(v.dtype) for t in (q, k))
        if state is not None:
            k, v = torch.cat([state.keys.to(k.dtype), k], 1), torch.cat([state.values.to(v.dtype), v], 1)
        dropout = self.attention_dropout if self.training else 0.0
        scale = q.shape[-1] ** -0.5
        if self.window is None:
            o = causal_attention(q, k, v, scale, dropout=dropout)
            cache: KVCache | WindowedCache = KVCache(k, v)
        else:
            o = sliding_attention(q, k, v, self.window, scale, dropout)
            start = max(0, k.shape[1] - self.window + 1)
            # Copies: a view would keep what lies outside the window alive.
            cache = WindowedCache(k[:, start:].clone(), v[:, start:].clone(), seen + x.shape[1])
        update = self.out(o.flatten(-2))
        return F.dropout(update, self.dropout, self.training), cache


def _tokens_seen(
    state: KVCache | WindowedCache | None, v: Float[Tensor, "batch time head key"], window: int | None
) -> int:
    """How many tokens came before, from a cache that must fit v."""
    if state is None:
        return 0
    require_state("state", state, KVCache if window is None else WindowedCache)
    batch, _, heads, width = v.shape
    sizes = {"batch": batch, "head": heads, "key": width}
    require_tensor("state.keys", state.keys, "batch time head key", **sizes)
    held = state.keys.shape[1]
    require_tensor("state.values", state.values, "batch time head key", time=held, **sizes)
    for name, tensor in (("state.keys", state.keys), ("state.values", state.values)):
        require_floating(name, tensor)
        require_device_of(name, tensor, v)
    return state.seen if isinstance(state, WindowedCache) else held


class SwiGLU(nn.Module):
    """W_2 (silu(W_1 n) ⊙ W_3 n), n = RMSNorm(x); returns the update, without the residual."""

    def __init__(self, config: TransformerConfig, backend: str = "auto"):
        super().__init__()
        self.dropout, self.hidden_dropout = config.dropout, config.hidden_dropout
        self.norm = RMSNorm(config.model_dim, backend=backend)
        self.fc1 = nn.Linear(config.model_dim, config.ffn_hidden_dim, bias=False)
        self.fc2 = nn.Linear(config.ffn_hidden_dim, config.model_dim, bias=False)
        self.fc3 = nn.Linear(config.model_dim, config.ffn_hidden_dim, bias=False)

    def forward(self, x: Sequence) -> Sequence:
        """The update (batch, time, channel)."""
        n = self.norm(x)
        hidden = F.dropout(F.silu(self.fc1(n)) * self.fc3(n), self.hidden_dropout, self.training)
        return F.dropout(self.fc2(hidden), self.dropout, self.training)


class Transformer(LanguageModel):
    """`forward(tokens, state=None) -> (logits, state)`; the state is the KV cache. `backend`: of norms and loss."""

    config: TransformerConfig
    config_type = TransformerConfig
    norm_state = NoneType

    def __init__(self, config: TransformerConfig, backend: str = "auto"):
        super().__init__(config, backend)
        self.layer_state = KVCache if config.window is None else WindowedCache
        rotary = Rotary(config.model_dim // config.num_heads, config.context_size, config.rope_base)
        for _ in range(config.num_layers):
            self.layers.append(PreNormBlock(CausalSelfAttention(config, rotary, backend), SwiGLU(config, backend)))
        self.final_norm = RMSNorm(config.model_dim, backend=backend)
        self.reset_parameters()

    def run_norm(self, x: Sequence, state: Any) -> tuple[Tensor, Any]:
        """The final RMSNorm, which has no state."""
        return self.final_norm(x), None


def transformer_state_bytes(config: TransformerConfig, context: int, batch: int = 1, activation_bytes: int = 4) -> int:
    """Bytes of the KV cache after `context` tokens; with a window it stops growing.

    Raises TypeError or ValueError for a config of another model and for numbers below 0 (batch and bytes: below 1).
    """
    require_instance("config", config, TransformerConfig, "make one with TransformerConfig(...)")
    require_positive("context", context, least=0)
    require_positive("batch", batch)
    require_positive("activation_bytes", activation_bytes)
    width = config.model_dim // config.num_heads
    held = context if config.window is None else min(context, config.window - 1)
    return batch * config.num_layers * 2 * config.kv_heads * width * held * activation_bytes


def match_transformer(
    config: MegalodonConfig, num_heads: int | None = None, kv_heads: int | None = None, context_size: int | None = None
) -> TransformerConfig:
    """A Transformer of the same depth and width with as many parameters as that Megalodon (within 2 %).

    The feed-forward width makes up the difference. num_heads defaults to heads of 64 features, kv_heads to num_heads,
    context_size to the chunk. Raises TypeError for another config, ValueError where no feed-forward width matches.
    """
    require_instance("config", config, MegalodonConfig, 'take one with MegalodonConfig.preset("tiny")')
    heads = max(1, config.model_dim // 64) if num_heads is None else num_heads
    bare = TransformerConfig(
        num_layers=config.num_layers,
        model_dim=config.model_dim,
        ffn_hidden_dim=1,
        num_heads=heads,
        vocab_size=config.vocab_size,
        rope_base=config.rope_base,
        scale_emb=config.scale_emb,
        share_emb=config.share_emb,
        dropout=config.dropout,
        hidden_dropout=config.hidden_dropout,
        attention_dropout=config.attention_dropout,
        kv_heads=heads if kv_heads is None else kv_heads,
        context_size=config.chunk_size if context_size is None else context_size,
    )
    with torch.device("meta"):
        target, base = Megalodon(config).parameter_count(), Transformer(bare).parameter_count()
    per_width = 3 * config.num_layers * config.model_dim
    exact = 1 + (target - base) / per_width
    width = max(1, round(exact / 8) * 8 if exact >= 64 else round(exact))
    share = (base + (width - 1) * per_width) / target
    if abs(share - 1) > 0.02:
        raise ValueError(
            f"config of {target:,} parameters has no Transformer of the same depth and width: the nearest has "
            f"{share:.2f} times as many; change num_heads, kv_heads or the config's ffn_hidden_dim"
        )
    return replace(bare, ffn_hidden_dim=width)

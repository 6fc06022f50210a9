"""The baseline: a Llama-style Transformer with RMSNorm, RoPE, SwiGLU, grouped-query attention and a KV cache.

It shares embedding, head, loss and initialisation with Megalodon, so that a comparison measures the architecture.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from megalodon_edu.arguments import require_between, require_state, require_tensor
from megalodon_edu.models.config import MegalodonConfig, TransformerConfig
from megalodon_edu.models.language_model import LanguageModel
from megalodon_edu.models.megalodon import Megalodon
from megalodon_edu.nn import PreNormBlock, RMSNorm
from megalodon_edu.ops.attention import causal_mask
from megalodon_edu.ops.rotary import rotate

Sequence = Float[Tensor, "batch time channel"]


class KVCache(NamedTuple):
    """Keys and values of every token so far: it grows with the context."""

    keys: Float[Tensor, "batch time head key"]
    values: Float[Tensor, "batch time head key"]


class CausalSelfAttention(nn.Module):
    """Every token sees all tokens before it; returns the update, without the residual."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.num_heads, self.kv_heads, self.rope_base = config.num_heads, config.kv_heads, config.rope_base
        self.dropout, self.attention_dropout = config.dropout, config.attention_dropout
        width = config.model_dim // config.num_heads
        self.norm = RMSNorm(config.model_dim)
        self.query = nn.Linear(config.model_dim, config.num_heads * width, bias=False)
        self.key = nn.Linear(config.model_dim, config.kv_heads * width, bias=False)
        self.value = nn.Linear(config.model_dim, config.kv_heads * width, bias=False)
        self.out = nn.Linear(config.num_heads * width, config.model_dim, bias=False)

    def forward(self, x: Sequence, state: KVCache | None = None) -> tuple[Sequence, KVCache]:
        """The update (batch, time, channel) and the cache with the keys and values of x appended."""
        n = self.norm(x)
        if state is not None:
            require_state("state", state, KVCache)
        held = state.keys.shape[1] if state is not None else 0
        places = held + torch.arange(x.shape[1], device=x.device)
        v = self.value(n).unflatten(-1, (self.kv_heads, -1))
        q = rotate(self.query(n).unflatten(-1, (self.num_heads, -1)), places, self.rope_base).to(v.dtype)
        k = rotate(self.key(n).unflatten(-1, (self.kv_heads, -1)), places, self.rope_base).to(v.dtype)
        if state is not None:
            require_tensor("state.keys", state.keys, "batch time head key", batch=x.shape[0], head=self.kv_heads)
            k, v = torch.cat([state.keys, k], 1), torch.cat([state.values, v], 1)
        o = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            attn_mask=causal_mask(x.shape[1], k.shape[1], x.device) if held else None,
            dropout_p=self.attention_dropout if self.training else 0.0,
            is_causal=not held,
            enable_gqa=self.kv_heads != self.num_heads,
        )
        update = self.out(o.transpose(1, 2).flatten(-2))
        return F.dropout(update, self.dropout, self.training), KVCache(k, v)


class SwiGLU(nn.Module):
    """W_2 (silu(W_1 n) ⊙ W_3 n), n = RMSNorm(x); returns the update, without the residual."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.dropout, self.hidden_dropout = config.dropout, config.hidden_dropout
        self.norm = RMSNorm(config.model_dim)
        self.fc1 = nn.Linear(config.model_dim, config.ffn_hidden_dim, bias=False)
        self.fc2 = nn.Linear(config.ffn_hidden_dim, config.model_dim, bias=False)
        self.fc3 = nn.Linear(config.model_dim, config.ffn_hidden_dim, bias=False)

    def forward(self, x: Sequence) -> Sequence:
        """The update (batch, time, channel)."""
        n = self.norm(x)
        hidden = F.dropout(F.silu(self.fc1(n)) * self.fc3(n), self.hidden_dropout, self.training)
        return F.dropout(self.fc2(hidden), self.dropout, self.training)


class Transformer(LanguageModel):
    """`forward(tokens, state=None) -> (logits, state)`; the state is the KV cache."""

    config: TransformerConfig

    def __init__(self, config: TransformerConfig):
        super().__init__(config)
        self.layers.extend(PreNormBlock(CausalSelfAttention(config), SwiGLU(config)) for _ in range(config.num_layers))
        self.final_norm = RMSNorm(config.model_dim)
        self.reset_parameters()

    def run_norm(self, x: Sequence, state: Any) -> tuple[Tensor, Any]:
        """The final RMSNorm, which has no state."""
        return self.final_norm(x), None


def transformer_state_bytes(config: TransformerConfig, context: int, batch: int = 1, activation_bytes: int = 4) -> int:
    """Bytes of the KV cache after `context` tokens."""
    width = config.model_dim // config.num_heads
    return batch * config.num_layers * 2 * config.kv_heads * width * context * activation_bytes


def match_transformer(
    config: MegalodonConfig, num_heads: int | None = None, kv_heads: int | None = None, context_size: int | None = None
) -> TransformerConfig:
    """A Transformer of the same depth and width with as many parameters as that Megalodon (within 2 %).

    The feed-forward width makes up the difference. num_heads defaults to heads of 64 features, kv_heads to num_heads,
    context_size to the chunk. Raises ValueError where no width matches.
    """
    heads = num_heads or max(1, config.model_dim // 64)
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
        kv_heads=kv_heads or heads,
        context_size=context_size or config.chunk_size,
    )
    with torch.device("meta"):
        target, base = Megalodon(config).parameter_count(), Transformer(bare).parameter_count()
    per_width = 3 * config.num_layers * config.model_dim
    exact = 1 + (target - base) / per_width
    width = max(1, round(exact / 8) * 8 if exact >= 64 else round(exact))
    share = (base + (width - 1) * per_width) / target
    require_between("parameters of the Transformer / parameters of Megalodon", share, 0.98, 1.02)
    return replace(bare, ffn_hidden_dim=width)

"""Megalodon's normalized attention: CEMA prepares queries and keys, chunks bound the cost.

    x̃ = TimestepNorm(x)          mx = RMSNorm(CEMA(x̃))
    z = RMSNorm per head (mx W_z + b_z)          q, k = z ⊙ (gamma + 1)/√d_z + beta
    v = silu(x̃ W_v + b_v)          r = silu(mx W_r + b_r)
    update = W_h1 mx + b_h1 + W_h2 (softmax(q kᵀ) v ⊙ r)

Megalodon (arXiv:2404.08801), Section 3.3, as the released code computes it. Without the norm on z, for comparison:

    z = mx W_z + b_z          q, k = z ⊙ (gamma + 1)/√√d_z + beta          so that the logits start as z·z / √d_z

Without attention, for comparison, only the path through W_h1 is left: update = W_h1 mx + b_h1.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from megalodon_edu.arguments import (
    require_above_zero,
    require_between,
    require_bool,
    require_choice,
    require_divisor,
    require_positive,
    require_state,
    require_tensor,
)
from megalodon_edu.nn.backend import choose, full_precision, uses_triton
from megalodon_edu.nn.ema import ComplexEMA
from megalodon_edu.nn.norms import RMSNorm, make_norm, run_norm
from megalodon_edu.nn.rotary import Rotary
from megalodon_edu.ops.attention import AttentionCache, chunked_attention, chunked_attention_reference
from megalodon_edu.ops.timestep_decay_norm import MEAN_DECAY, VAR_DECAY
from megalodon_edu.ops.timestep_norm import TimestepNormState

Sequence = Float[Tensor, "batch time channel"]

EMAS = ("complex", "real", "none")
"""What may prepare the queries and keys, see `NormalizedAttention`."""


class NormalizedAttentionState(NamedTuple):
    """What one layer carries from call to call; bounded whatever the context. A part that a variant lacks is None."""

    norm: TimestepNormState | None
    ema: Complex[Tensor, "batch channel mode"] | None
    cache: AttentionCache | None


class NormalizedAttention(nn.Module):
    """The attention sublayer with its Timestep Norm; returns the update, without the residual.

    For comparison, parts can be changed or left out:
    normalize_z=False   no norm on z: nothing then bounds the logits but the weights
    ema                 "complex"; "real": all angles 0; "none": mx = RMSNorm(x̃)
    norm                "timestep"; "decay": Gecko's, with the two decays; "layer": LayerNorm, which has no memory
    attention=False     update = W_h1 mx + b_h1, without queries, keys, values and gate
    """

    def __init__(
        self,
        model_dim: int,
        z_dim: int,
        value_dim: int,
        num_heads: int,
        modes: int,
        chunk_size: int,
        norm_num_groups: int,
        rope_base: float = 10_000.0,
        dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        attention_dropout: float = 0.0,
        backend: str = "auto",
        normalize_z: bool = True,
        ema: str = "complex",
        norm: str = "timestep",
        mean_decay: float = MEAN_DECAY,
        var_decay: float = VAR_DECAY,
        attention: bool = True,
    ):
        super().__init__()
        require_bool("normalize_z", normalize_z)
        require_bool("attention", attention)
        require_choice("ema", ema, EMAS)
        for name, size in (("z_dim", z_dim), ("value_dim", value_dim)):
            require_divisor("num_heads", num_heads, name, size)
        if (z_dim // num_heads) % 2:
            raise ValueError(f"z_dim / num_heads must be even for the rotary embedding, got {z_dim} / {num_heads}")
        require_positive("chunk_size", chunk_size)
        require_above_zero("rope_base", rope_base)
        shares = {"dropout": dropout, "hidden_dropout": hidden_dropout, "attention_dropout": attention_dropout}
        for name, share in shares.items():
            require_between(name, share, 0.0, 1.0)
        self.num_heads, self.chunk_size = num_heads, chunk_size
        self.dropout, self.hidden_dropout, self.attention_dropout = dropout, hidden_dropout, attention_dropout
        self.backend = choose(backend)
        self.model_dim, self.attends = model_dim, attention
        self.timenorm = make_norm(norm, model_dim, norm_num_groups, mean_decay, var_decay, backend)
        self.cema = None if ema == "none" else ComplexEMA(model_dim, modes, backend=backend, rotates=ema == "complex")
        self.rmsnorm = RMSNorm(model_dim, backend=backend)
        parts = {"norm": norm != "layer", "ema": ema != "none", "cache": attention}
        self.stateless = [part for part, there in parts.items() if not there]
        if attention:
            width = z_dim // num_heads
            self.znorm = RMSNorm(width, gain=False, backend=backend) if normalize_z else None
            # A normal z has the length √d_z, which this makes 1. Any other z gets the usual 1/√d_z, half in q, half
            # in k.
            self.z_scale = math.sqrt(width) if normalize_z else math.sqrt(math.sqrt(width))
            self.rotary = Rotary(width, chunk_size, rope_base)
            self.gamma = nn.Parameter(torch.zeros(2, z_dim))
            self.beta = nn.Parameter(torch.zeros(2, z_dim))
            self.wv = nn.Linear(model_dim, value_dim)
            self.wz = nn.Linear(model_dim, z_dim)
            self.wr = nn.Linear(model_dim, value_dim)
        self.wh1 = nn.Linear(model_dim, model_dim)
        if attention:
            self.wh2 = nn.Linear(value_dim, model_dim, bias=False)

    def averaged(
        self,
        x: Sequence,
        norm_state: TimestepNormState | None = None,
        ema_state: Complex[Tensor, "batch channel mode"] | None = None,
    ) -> tuple[Sequence, Sequence, TimestepNormState | None, Complex[Tensor, "batch channel mode"] | None]:
        """x̃ and mx, and the states of norm and average after x."""
        normal, norm_state = run_norm(self.timenorm, x, norm_state)
        mx = normal
        if self.cema is not None:
            mx, ema_state = self.cema(normal, ema_state)
        return normal, self.rmsnorm(mx), norm_state, ema_state

    def queries_and_keys(self, mx: Sequence, held: int = 0) -> tuple[Tensor, Tensor]:
        """q and k, (batch, time, head, key), turned by their place in the chunk; `held` tokens of it came before."""
        places = (held + torch.arange(mx.shape[1], device=mx.device)) % self.chunk_size
        return self.queries_and_keys_at(mx, places)

    def queries_and_keys_at(self, mx: Sequence, places: Int[Tensor, " time"]) -> tuple[Tensor, Tensor]:
        """The same with the place of every token in its chunk given."""
        z = self.wz(mx).unflatten(-1, (self.num_heads, -1))
        z = (z if self.znorm is None else self.znorm(z)).flatten(-2)
        gain = (self.gamma + 1) / self.z_scale
        both = z[..., None, :] * gain + self.beta  # batch time 2 z
        both = self.rotary(both.unflatten(-1, (self.num_heads, -1)).flatten(2, 3), places).to(z.dtype)
        q, k = both.chunk(2, dim=2)
        return q, k

    def forward(
        self, x: Sequence, state: NormalizedAttentionState | None = None
    ) -> tuple[Sequence, NormalizedAttentionState]:
        """The update (batch, time, channel) and the state after x.

        Raises TypeError or ValueError where x or state do not fit.
        """
        require_tensor("x", x, "batch time channel", channel=self.model_dim)
        if state is not None:
            require_state("state", state, NormalizedAttentionState, without=self.stateless)
        norm_state, ema_state, cache = state if state is not None else (None, None, None)
        normal, mx, norm_state, ema_state = self.averaged(x, norm_state, ema_state)
        mx = F.dropout(mx, self.hidden_dropout, self.training)
        if self.attends:
            gated, cache = self.attended(normal, mx, cache)
            update = self.wh1(mx) + self.wh2(gated)
        else:
            update = self.wh1(mx)
        update = F.dropout(update, self.dropout, self.training)
        return update, NormalizedAttentionState(norm_state, ema_state, cache)

    def attended(
        self, normal: Sequence, mx: Sequence, cache: AttentionCache | None
    ) -> tuple[Sequence, AttentionCache | None]:
        """What attention finds for x̃ and mx, times the gate r, (batch, time, value), and the cache after them."""
        q, k = self.queries_and_keys(mx, held=cache.keys.shape[1] if cache is not None else 0)
        v = F.silu(self.wv(normal))
        v = F.dropout(v, self.hidden_dropout, self.training).unflatten(-1, (self.num_heads, -1))
        dropout = self.attention_dropout if self.training else 0.0
        attend = chunked_attention_reference if self.backend == "reference" else chunked_attention
        if not dropout and uses_triton(self.backend, v):  # the kernel knows no dropout
            from megalodon_edu.kernels.attention import chunked_attention_triton as attend
        gate = self.wr(mx).unflatten(-1, (self.num_heads, -1)).to(v.dtype)
        with full_precision(normal):
            gated, cache = attend(q.to(v.dtype), k.to(v.dtype), v, self.chunk_size, cache, dropout=dropout, gate=gate)
        return gated.flatten(-2), cache

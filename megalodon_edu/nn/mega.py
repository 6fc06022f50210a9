"""MEGA's gated attention, the layer that Megalodon grows out of.

    X' = EMA(X)          Z = silu(X' W_z + b_z)          q, k = κ ⊙ Z + μ          V = silu(X W_v + b_v)
    O = softmax(q kᵀ / √z + bias) V          γ = silu(X' W_γ + b_γ)          φ = σ(X' W_φ + b_φ)
    Ĥ = silu(X' W_h + (γ ⊙ O) U_h + b_h)          Y = φ ⊙ Ĥ + (1 - φ) ⊙ X

MEGA (arXiv:2209.10655), Eq 6-15, with attention inside chunks (its Section 3.5) and one bias per distance.
γ is the reset gate, φ the update gate.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from megalodon_edu.arguments import require_positive, require_state, require_tensor
from megalodon_edu.nn.backend import choose, full_precision
from megalodon_edu.nn.ema import DampedEMA
from megalodon_edu.ops.attention import AttentionCache, chunked_attention, chunked_attention_reference

Sequence = Float[Tensor, "batch time channel"]


class MegaGatedAttentionState(NamedTuple):
    """The state of the moving average, and the keys and values of the open chunk."""

    ema: Float[Tensor, "batch channel mode"]
    cache: AttentionCache


class MegaGatedAttention(nn.Module):
    """One head of gated attention inside chunks; returns Y, the gated mixture of its result and its input."""

    def __init__(self, model_dim: int, z_dim: int, value_dim: int, modes: int, chunk_size: int, backend: str = "auto"):
        super().__init__()
        for name, size in (("z_dim", z_dim), ("value_dim", value_dim), ("chunk_size", chunk_size)):
            require_positive(name, size)
        self.chunk_size, self.backend = chunk_size, choose(backend)
        self.ema = DampedEMA(model_dim, modes, backend=backend)
        self.shared = nn.Linear(model_dim, z_dim)
        self.kappa = nn.Parameter(torch.ones(2, z_dim))
        self.mu = nn.Parameter(torch.zeros(2, z_dim))
        self.value = nn.Linear(model_dim, value_dim)
        self.reset_gate = nn.Linear(model_dim, value_dim)
        self.update_gate = nn.Linear(model_dim, model_dim)
        self.candidate = nn.Linear(model_dim, model_dim)
        self.attended = nn.Linear(value_dim, model_dim, bias=False)
        self.distance_bias = nn.Parameter(torch.zeros(chunk_size))

    def bias(self) -> Float[Tensor, "chunk chunk"]:
        """b_rel: row of the query, column of the key, one learnable number per distance."""
        place = torch.arange(self.chunk_size, device=self.distance_bias.device)
        return self.distance_bias[(place[:, None] - place).clamp(min=0)]

    def forward(
        self, x: Sequence, state: MegaGatedAttentionState | None = None
    ) -> tuple[Sequence, MegaGatedAttentionState]:
        """Y and the state after x. Raises TypeError or ValueError where x or state do not fit."""
        require_tensor("x", x, "batch time channel", channel=self.value.in_features)
        if state is not None:
            require_state("state", state, MegaGatedAttentionState)
        ema_state, cache = state if state is not None else (None, None)
        averaged, ema_state = self.ema(x, ema_state)
        z = F.silu(self.shared(averaged))
        q, k = (z * self.kappa[i] + self.mu[i] for i in (0, 1))
        v = F.silu(self.value(x))
        attend = chunked_attention_reference if self.backend == "reference" else chunked_attention
        q, k, v = (t.to(v.dtype).unsqueeze(2) for t in (q, k, v))
        with full_precision(x):
            o, cache = attend(q, k, v, self.chunk_size, cache, scale=q.shape[-1] ** -0.5, bias=self.bias())
        gated = F.silu(self.reset_gate(averaged)) * o.squeeze(2)
        candidate = F.silu(self.candidate(averaged) + self.attended(gated))
        update = self.update_gate(averaged).sigmoid()
        return update * candidate + (1 - update) * x, MegaGatedAttentionState(ema_state, cache)

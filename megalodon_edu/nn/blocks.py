"""Three ways to add attention and feed-forward to the residual stream.

Each block takes an attention module with `forward(x, state) -> (update, state)` and a feed-forward module with
`forward(x) -> update`; both hold their own input norms.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from megalodon_edu.nn.norms import LayerNorm

Sequence = Float[Tensor, "batch time channel"]

RESIDUALS = ("two-hop", "pre-norm")
"""How a Megalodon may join its sublayers: `TwoHopBlock`, or `PreNormBlock` for comparison."""


class PreNormBlock(nn.Module):
    """Ŷ = X + A(X)          Y = Ŷ + F(Ŷ)          the usual block of today's Transformers."""

    def __init__(self, attention: nn.Module, feed_forward: nn.Module):
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward

    def forward(self, x: Sequence, state: Any = None) -> tuple[Sequence, Any]:
        update, state = self.attention(x, state)
        middle = x + update
        return middle + self.feed_forward(middle), state


class PostNormBlock(nn.Module):
    """Ŷ = Norm(X + A(X))          Y = Norm(Ŷ + F(Ŷ))          the block of the first Transformer."""

    def __init__(self, attention: nn.Module, feed_forward: nn.Module, model_dim: int):
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward
        self.attention_norm, self.feed_forward_norm = LayerNorm(model_dim), LayerNorm(model_dim)

    def forward(self, x: Sequence, state: Any = None) -> tuple[Sequence, Any]:
        update, state = self.attention(x, state)
        middle = self.attention_norm(x + update)
        return self.feed_forward_norm(middle + self.feed_forward(middle)), state


class TwoHopBlock(nn.Module):
    """Ŷ = X + A(X)          Y = X + F(Ŷ)          Megalodon's two-hop residual (arXiv:2404.08801, Eq 11).

    The second residual starts at the block's input, so attention reaches the stream through the feed-forward only,
    and a feed-forward that returns 0 makes the block the identity.
    """

    def __init__(self, attention: nn.Module, feed_forward: nn.Module):
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward

    def forward(self, x: Sequence, state: Any = None) -> tuple[Sequence, Any]:
        update, state = self.attention(x, state)
        return x + self.feed_forward(x + update), state

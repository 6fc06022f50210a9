"""The feed-forward sublayer: plain with SiLU, or SwiGLU, behind a LayerNorm. No biases in the products."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from megalodon_edu.arguments import require_between, require_number, require_positive, require_tensor
from megalodon_edu.nn.norms import LayerNorm


class FeedForward(nn.Module):
    """W_2 silu(W_1 n), or with SwiGLU W_2 (silu(W_1 n) ⊙ W_3 n), with n = LayerNorm(x) (arXiv:2404.08801, Section 4).

    Returns the update, without the residual. `rescale` multiplies it by a learnable number per feature that starts at
    that value; None leaves it alone.
    """

    def __init__(
        self,
        model_dim: int,
        ffn_hidden_dim: int,
        swiglu: bool = False,
        rescale: float | None = None,
        dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        backend: str = "auto",
    ):
        super().__init__()
        require_positive("model_dim", model_dim)
        require_positive("ffn_hidden_dim", ffn_hidden_dim)
        if rescale is not None:
            require_number("rescale", rescale)
        for name, share in (("dropout", dropout), ("hidden_dropout", hidden_dropout)):
            require_between(name, share, 0.0, 1.0)
        self.dropout, self.hidden_dropout = dropout, hidden_dropout
        self.norm = LayerNorm(model_dim, backend=backend)
        self.fc1 = nn.Linear(model_dim, ffn_hidden_dim, bias=False)
        self.fc2 = nn.Linear(ffn_hidden_dim, model_dim, bias=False)
        self.fc3 = nn.Linear(model_dim, ffn_hidden_dim, bias=False) if swiglu else None
        self.alpha = None if rescale is None else nn.Parameter(torch.full((model_dim,), rescale))

    def forward(self, x: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch time channel"]:
        """Raises TypeError or ValueError where x does not fit."""
        require_tensor("x", x, "batch time channel", channel=self.norm.width)
        n = self.norm(x)
        hidden = F.silu(self.fc1(n))
        if self.fc3 is not None:
            hidden = hidden * self.fc3(n)
        update = self.fc2(F.dropout(hidden, self.hidden_dropout, self.training))
        update = F.dropout(update, self.dropout, self.training)
        return update if self.alpha is None else update * self.alpha.to(update.dtype)

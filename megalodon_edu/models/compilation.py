"""The loss of a model as one compiled function, and how much it keeps for the backward pass."""

import warnings
from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor
from torch._functorch import config

Loss = Callable[..., Tensor]


def compile_loss(loss: Loss, recompute: bool = False) -> Loss:
    """Return `loss` (a model's, or another) compiled by torch.compile for the shapes that it meets.

    By default PyTorch keeps for the backward pass whatever a product or a kernel of ours reads there. recompute=True
    keeps what such a number was made from, where that takes no product: of silu(v) and v it keeps v. The gradients
    are the same; the memory is smaller, and the backward pass makes some numbers a second time.
    """
    # The only complex numbers are CEMA's, and our kernels compute with them: there is nothing to compile or to warn of.
    warnings.filterwarnings("ignore", "Torchinductor does not support code generation for complex operators")
    compiled = torch.compile(loss, dynamic=False)
    if not recompute:
        return compiled

    @wraps(loss)
    def recomputing(*arguments: Tensor) -> Tensor:
        with config.patch(ban_recompute_materialized_backward=False):
            return compiled(*arguments)

    return recomputing

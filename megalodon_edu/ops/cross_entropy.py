"""The head and its loss in one operator: from what a model has computed of each token to nats per token.

    loss = 1/n Σ_i [log Σ_v exp(z_iv) - z_i,target(i)]          z_i = W x_i, one logit for every word v

With 32,000 words, the logits of a batch are by far the largest tensor of a model, and their gradient is as large. But
the gradient of z_i needs nothing beyond row i:

    ∂loss/∂z_iv = (softmax(z_i)_v - [v = target(i)]) / n          dx_i = Wᵀ ∂loss/∂z_i          dW = Σ_i ∂loss/∂z_i x_iᵀ

So a few tokens at a time can go all the way to dx and dW, already in the forward pass, and their logits be forgotten.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from megalodon_edu.arguments import (
    require_device_of,
    require_filled,
    require_floating,
    require_instance,
    require_integers,
    require_positive,
    require_tensor,
)
from megalodon_edu.ops.recurrence import working_dtype

Features = Float[Tensor, "*token channel"]
Words = Float[Tensor, "vocabulary channel"]
Targets = Int[Tensor, "*token"]

PIECE = 1024
"""Tokens whose logits `linear_cross_entropy_chunked` holds at once."""


def linear_cross_entropy(x: Features, weight: Words, targets: Targets) -> Float[Tensor, ""]:
    """Mean cross-entropy of the logits x Wᵀ in nats per token: all logits, in at least float32.

    Under autocast the product is in its type, as that of any linear layer. Raises TypeError or ValueError for shapes,
    types or devices that do not fit, and, on a CPU, for targets outside the vocabulary.
    """
    check_arguments(x, weight, targets)
    logits = F.linear(x, weight)
    return F.cross_entropy(logits.to(working_dtype(logits)).flatten(0, -2), targets.flatten().long())


def linear_cross_entropy_chunked(x: Features, weight: Words, targets: Targets, piece: int = PIECE) -> Float[Tensor, ""]:
    """The same, `piece` tokens after another, with the gradients of x and weight found on the way. Errors as above."""
    check_arguments(x, weight, targets)
    require_positive("piece", piece)
    wanted = (torch.is_grad_enabled() and tensor.requires_grad for tensor in (x, weight))
    total = _ChunkedLoss.apply(
        x.flatten(0, -2), weight, targets.flatten().long(), product_dtype(x), piece, *wanted
    )  # fmt: skip
    return total / targets.numel()


class _ChunkedLoss(torch.autograd.Function):
    """The sum of the losses of all tokens. What is saved for the backward pass are its gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "token channel"],
        weight: Words,
        targets: Int[Tensor, " token"],
        dtype: torch.dtype,
        piece: int,
        wants_x: bool,
        wants_weight: bool,
    ) -> Float[Tensor, ""]:
        narrow, work = weight.to(dtype), working_dtype(weight.to(dtype))
        total = x.new_zeros((), dtype=work)
        dx, dweight = [], torch.zeros_like(weight, dtype=work) if wants_weight else None
        with torch.autocast(x.device.type, enabled=False):
            for some, wanted in zip(x.to(dtype).split(piece), targets.split(piece), strict=True):
                logits = (some @ narrow.T).to(work)  # token, word
                total += F.cross_entropy(logits, wanted, reduction="sum")
                if wants_x or wants_weight:
                    gradient = logits.softmax(1)
                    gradient[torch.arange(len(wanted), device=x.device), wanted] -= 1
                    gradient = gradient.to(dtype)
                    if wants_x:
                        dx.append(gradient @ narrow)
                    if dweight is not None:
                        dweight += gradient.T @ some
                    del gradient
                del logits
        ctx.types = x.dtype, weight.dtype
        ctx.save_for_backward(torch.cat(dx) if wants_x else None, dweight)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, ""]) -> tuple[Any, ...]:
        pairs = zip(ctx.saved_tensors, ctx.types, strict=True)
        found = (None if saved is None else (saved * gradient).to(dtype) for saved, dtype in pairs)
        return *found, None, None, None, None, None


def product_dtype(x: Tensor) -> torch.dtype:
    """The type in which a product with x is taken: that of autocast where it is on, except for float64."""
    if x.dtype == torch.float64 or not _autocasts(x):
        return x.dtype
    return torch.get_autocast_dtype(x.device.type)


def _autocasts(x: Tensor) -> bool:
    device = x.device.type
    return device != "meta" and torch.is_autocast_enabled(device)  # autocast does not know shapes without numbers


def check_arguments(x: Features, weight: Words, targets: Targets) -> None:
    """Raise for arguments that do not fit, in every face alike."""
    require_instance("x", x, Tensor, "pass a torch tensor")
    require_floating("x", x)
    require_instance("targets", targets, Tensor, "pass a torch tensor")
    require_integers("targets", targets)
    if x.ndim < 2 or x.shape[:-1] != targets.shape:
        raise ValueError(
            f"targets must have the shape of x without its last dimension, got {tuple(targets.shape)} "
            f"and {tuple(x.shape)}: one target for every token"
        )
    require_filled("x", x)
    require_tensor("weight", weight, "vocabulary channel", channel=x.shape[-1])
    require_floating("weight", weight)
    require_filled("weight", weight)
    differ = weight.dtype != x.dtype
    if differ and (torch.float64 in (x.dtype, weight.dtype) or not _autocasts(x)):  # autocast leaves float64 alone
        raise TypeError(f"weight must have the type of x, got {weight.dtype} and {x.dtype}; use weight.to(x.dtype)")
    for name, value in (("weight", weight), ("targets", targets)):
        require_device_of(name, value, x)
    if targets.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = targets.min().item(), targets.max().item()
        if low < 0 or high >= len(weight):
            raise ValueError(f"targets must lie in 0 .. {len(weight) - 1}, got {low} to {high}")

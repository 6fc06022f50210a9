"""Which face of an operator a module runs, and the guard around float32 parameters."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from megalodon_edu.arguments import require_choice

BACKENDS = ("auto", "reference", "torch", "triton")


def choose(backend: str) -> str:
    """Return "reference" (the readable loop) or "torch" (the fast face); "auto" takes torch.

    Raises ValueError for an unknown name and NotImplementedError for "triton": this version has no Triton kernels.
    """
    require_choice("backend", backend, BACKENDS)
    if backend == "triton":
        raise NotImplementedError('backend "triton": this version holds no Triton kernels; use "auto" or "torch"')
    return "torch" if backend == "auto" else backend


class Float32Parameters(nn.Module):
    """A module whose parameters stay in float32 when the model around it moves to a 16-bit type.

    A decay of 0.9999 is 1 in bfloat16: the memory would never fade.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        def keep(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            narrow = moved.is_floating_point() and moved.dtype.itemsize < 4
            return tensor.to(moved.device) if narrow else moved

        return super()._apply(keep, recurse)


def full_precision(x: Tensor) -> AbstractContextManager:
    """A context in which autocast leaves the arithmetic alone."""
    if x.device.type == "meta":  # shapes without numbers, which autocast does not know
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)

"""What every kernel asks at its door: whether it takes the type, and by which of its three entries it is called."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

KERNEL_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def require_kernel_type(name: str, tensor: Tensor) -> None:
    """Raise TypeError unless kernels take the type of the tensor."""
    if tensor.dtype not in KERNEL_TYPES:
        raise TypeError(
            f"{name} must be float32, float16 or bfloat16, got {tensor.dtype}; use {name}.float(), or the torch face"
        )


def wants_gradient(*tensors: Tensor | None) -> bool:
    """Whether autograd records now, and one of the tensors wants a gradient."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def entry(
    launch: Callable[..., Any],
    function: type[torch.autograd.Function],
    operator: Callable[..., Any],
    *tensors: Tensor | None,
) -> Callable[..., Any]:
    """The operator where torch.compile traces, the autograd function where a gradient is wanted, else the launch.

    The operator costs more than it has to on the host, the function keeps more than it has to.
    """
    if torch.compiler.is_compiling():
        return operator
    return function.apply if wants_gradient(*tensors) else launch

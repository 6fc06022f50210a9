"""By which of its three entries a kernel is called: as a registered operator, with gradients, or bare."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


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

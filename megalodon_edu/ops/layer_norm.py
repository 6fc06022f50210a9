"""Norms over the features of one token: nothing of other tokens, so no state.

    RMSNorm:    y = x / sqrt(mean(x²) + eps) · (weight + 1)
    LayerNorm:  y = (x - mean(x)) / sqrt(var(x) + eps) · (weight + 1) + bias

Zhang and Sennrich (arXiv:1910.07467); Ba, Kiros and Hinton (arXiv:1607.06450). Means and the biased variance are taken
over the last dimension. Gains are stored as weight, applied as weight + 1, so that zero means "unchanged".
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from megalodon_edu.arguments import (
    require_above_zero,
    require_device_of,
    require_filled,
    require_floating,
    require_instance,
    require_tensor,
)
from megalodon_edu.ops.recurrence import working_dtype

Features = Float[Tensor, "*token channel"]
Gain = Float[Tensor, " channel"]


def rms_norm(x: Features, weight: Gain | None = None, eps: float = 1e-5) -> Features:
    """RMSNorm in at least float32, y in the type of x; without weight the gain is 1.

    Raises TypeError or ValueError for shapes, types and devices that do not fit.
    """
    check_arguments(x, eps, weight=weight)
    work = working_dtype(x)
    gain = None if weight is None else weight.to(work) + 1
    return F.rms_norm(x.to(work), x.shape[-1:], gain, eps).to(x.dtype)


def layer_norm(x: Features, weight: Gain | None = None, bias: Gain | None = None, eps: float = 1e-5) -> Features:
    """LayerNorm in at least float32, y in the type of x; without weight the gain is 1, without bias nothing is added.

    Raises TypeError or ValueError for shapes, types and devices that do not fit.
    """
    check_arguments(x, eps, weight=weight, bias=bias)
    work = working_dtype(x)
    gain = None if weight is None else weight.to(work) + 1
    return F.layer_norm(x.to(work), x.shape[-1:], gain, None if bias is None else bias.to(work), eps).to(x.dtype)


def check_arguments(x: Features, eps: float, **parameters: Gain | None) -> None:
    """Raise for arguments that do not fit, in every face alike."""
    require_instance("x", x, Tensor, "pass a torch tensor")
    require_floating("x", x)
    if x.ndim == 0:
        raise ValueError("x must have a dimension of features, got a tensor without dimensions")
    require_filled("x", x)
    for name, value in parameters.items():
        if value is not None:
            require_tensor(name, value, "channel", channel=x.shape[-1])
            require_floating(name, value)
            require_device_of(name, value, x)
    require_above_zero("eps", eps)

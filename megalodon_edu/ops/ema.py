"""The exponential moving average: one number of memory per channel.

    h_t = α x_t + (1 - α) h_{t-1}          y_t = h_t

It is MEGA's EMA (arXiv:2209.10655, Eq 3) and the convolution with the kernel K_τ = α (1 - α)^τ.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from megalodon_edu.arguments import require_number, require_tensor, require_unit_interval
from megalodon_edu.ops import recurrence
from megalodon_edu.ops.recurrence import Recurrence, check_sequence, incoming_state

Sequence = Float[Tensor, "batch time channel"]
State = Float[Tensor, "batch channel"]


def ema_reference(x: Sequence, alpha: Float[Tensor, " channel"], state: State | None = None) -> tuple[Sequence, State]:
    """One step at a time. alpha lies in (0, 1]; state is h_{-1}, None for zeros. Returns y and the last state.

    Raises TypeError or ValueError for a wrong shape, an alpha outside (0, 1] and a state that does not fit x.
    """
    h = _check(x, alpha, state)
    alpha, decay = alpha.to(h.dtype), (1 - alpha.double()).to(h.dtype)
    y = []
    for x_t in x.to(h.dtype).unbind(1):
        h = alpha * x_t + decay * h
        y.append(h)
    return torch.stack(y, 1).to(x.dtype), h


def ema_convolution(
    x: Sequence, alpha: Float[Tensor, " channel"], state: State | None = None
) -> tuple[Sequence, State]:
    """The same by FFT, all steps at once, O(L log L). Arguments and errors as `ema_reference`."""
    h = _check(x, alpha, state)
    y, last = recurrence.convolution_face(x, _coefficients(alpha), h[..., None])
    return y.to(x.dtype), last[..., 0]


def ema_chunked(
    x: Sequence, alpha: Float[Tensor, " channel"], state: State | None = None, chunk_size: int = 64
) -> tuple[Sequence, State]:
    """The same by matrix products, chunk by chunk. Arguments and errors as `ema_reference`."""
    h = _check(x, alpha, state)
    y, last = recurrence.chunked_face(x, _coefficients(alpha), h[..., None], chunk_size)
    return y.to(x.dtype), last[..., 0]


def ema_kernel(alpha: Float[Tensor, " channel"], length: int) -> Float[Tensor, "channel length"]:
    """K_τ = α (1 - α)^τ for τ = 0 .. length-1, in float64."""
    require_tensor("alpha", alpha, "channel")
    require_unit_interval("alpha", alpha)
    return recurrence.kernel(_coefficients(alpha), length)


def half_life(decay: Tensor | float) -> Tensor:
    """Steps until a memory that is multiplied by `decay` (|q|, in [0, 1]) at each step has halved: ln 2 / -ln decay.

    A decay of 1 never halves: infinity. Raises TypeError for anything but real numbers, ValueError outside [0, 1].
    """
    if not isinstance(decay, Tensor):
        require_number("decay", decay)
    decay = torch.as_tensor(decay)
    if decay.is_complex():
        raise TypeError(f"decay must be real, got {decay.dtype}; take the absolute value")
    if not bool(((decay >= 0) & (decay <= 1)).all()):
        raise ValueError(f"decay must lie in [0, 1], got {decay.min().item():.4g} to {decay.max().item():.4g}")
    return math.log(2) / decay.log().abs()


def _coefficients(alpha: Float[Tensor, " channel"]) -> Recurrence:
    alpha = alpha.double()[:, None]
    return Recurrence(1 - alpha, None, alpha, torch.ones_like(alpha))


def _check(x: Sequence, alpha: Tensor, state: State | None) -> State:
    require_tensor("alpha", alpha, "channel")
    check_sequence(x, alpha=alpha)
    require_unit_interval("alpha", alpha)
    return incoming_state(state, x)

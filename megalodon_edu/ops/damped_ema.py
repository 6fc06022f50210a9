"""MEGA's damped, multi-dimensional EMA: N fading memories per channel, mixed into one output.

    h_t = α β x_t + (1 - α δ) h_{t-1}          y_t = Σ_mode η h_t

MEGA (arXiv:2209.10655), Eq 4-5. The decay is φ = 1 - α δ, so the convolution kernel is K_τ = Σ η α β φ^τ.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from megalodon_edu.arguments import (
    require_filled,
    require_finite,
    require_floating,
    require_tensor,
    require_unit_interval,
)
from megalodon_edu.ops import recurrence
from megalodon_edu.ops.recurrence import Recurrence, check_sequence, incoming_state

Sequence = Float[Tensor, "batch time channel"]
Modes = Float[Tensor, "channel mode"]
State = Float[Tensor, "batch channel mode"]


def damped_ema_reference(
    x: Sequence, alpha: Modes, delta: Modes, beta: Modes, eta: Modes, state: State | None = None
) -> tuple[Sequence, State]:
    """One step at a time. alpha and delta lie in (0, 1]; state is h_{-1}, None for zeros. Returns y and the last state.

    Raises TypeError or ValueError for a wrong shape or type, an alpha or delta outside (0, 1], coefficients that are
    not finite and a state that does not fit x.
    """
    h = _check(x, alpha, delta, beta, eta, state)
    c = _coefficients(alpha, delta, beta, eta)
    decay, input_weight, eta = (t.to(h.dtype) for t in (c.decay, c.input_weight, c.output_weight))
    y = []
    for x_t in x.to(h.dtype).unbind(1):
        h = input_weight * x_t[..., None] + decay * h
        y.append((eta * h).sum(-1))
    return torch.stack(y, 1).to(x.dtype), h


def damped_ema_convolution(
    x: Sequence, alpha: Modes, delta: Modes, beta: Modes, eta: Modes, state: State | None = None
) -> tuple[Sequence, State]:
    """The same by FFT, all steps at once, O(L log L). Arguments and errors as `damped_ema_reference`."""
    h = _check(x, alpha, delta, beta, eta, state)
    y, last = recurrence.convolution_face(x, _coefficients(alpha, delta, beta, eta), h)
    return y.to(x.dtype), last


def damped_ema_chunked(
    x: Sequence,
    alpha: Modes,
    delta: Modes,
    beta: Modes,
    eta: Modes,
    state: State | None = None,
    chunk_size: int = 64,
) -> tuple[Sequence, State]:
    """The same by matrix products, chunk by chunk. Arguments and errors as `damped_ema_reference`."""
    h = _check(x, alpha, delta, beta, eta, state)
    y, last = recurrence.chunked_face(x, _coefficients(alpha, delta, beta, eta), h, chunk_size)
    return y.to(x.dtype), last


def damped_ema_kernel(
    alpha: Modes, delta: Modes, beta: Modes, eta: Modes, length: int
) -> Float[Tensor, "channel length"]:
    """K_τ = Σ η α β (1 - α δ)^τ for τ = 0 .. length-1, in float64."""
    _check_coefficients(alpha, delta, beta, eta)
    return recurrence.kernel(_coefficients(alpha, delta, beta, eta), length)


def _coefficients(alpha: Modes, delta: Modes, beta: Modes, eta: Modes) -> Recurrence:
    alpha, delta, beta, eta = (c.double() for c in (alpha, delta, beta, eta))
    return Recurrence(1 - alpha * delta, None, alpha * beta, eta)


def _check_coefficients(alpha: Modes, delta: Modes, beta: Modes, eta: Modes) -> None:
    require_tensor("alpha", alpha, "channel mode")
    require_filled("alpha", alpha)
    channels, modes = alpha.shape
    for name, value in (("delta", delta), ("beta", beta), ("eta", eta)):
        require_tensor(name, value, "channel mode", channel=channels, mode=modes)
        require_floating(name, value)
        require_finite(name, value)
    require_unit_interval("alpha", alpha)
    require_unit_interval("delta", delta)


def _check(x: Sequence, alpha: Modes, delta: Modes, beta: Modes, eta: Modes, state: State | None) -> State:
    _check_coefficients(alpha, delta, beta, eta)
    check_sequence(x, alpha=alpha)
    return incoming_state(state, x, alpha.shape[1])

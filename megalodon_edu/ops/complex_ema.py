"""CEMA, the complex exponential moving average: N memories per channel that fade and turn.

    p = α                     q = (1 - α δ) exp(i θ)
    h_t = q h_{t-1} + p x_t   y_t = Re Σ_mode η h_t + skip · x_t

Megalodon (arXiv:2404.08801), Eq 2-3, in the form of the authors' released code. The paper also turns the input,
p = α exp(i θ): `input_phase=True`. From a zero state both are one family (η absorbs the phase).
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from megalodon_edu.arguments import (
    require_filled,
    require_finite,
    require_floating,
    require_positive,
    require_tensor,
    require_unit_interval,
)
from megalodon_edu.ops import recurrence
from megalodon_edu.ops.recurrence import Recurrence, check_sequence, incoming_state, working_dtype

Sequence = Float[Tensor, "batch time channel"]
Modes = Float[Tensor, "channel mode"]
ComplexModes = Complex[Tensor, "channel mode"]
State = Complex[Tensor, "batch channel mode"]


def harmonic_angles(base: Float[Tensor, " channel"], modes: int) -> Modes:
    """θ_k = k · base · 2π / N for k = 1 .. N: the angles of one channel are multiples of one number (Eq 3)."""
    require_tensor("base", base, "channel")
    require_floating("base", base)
    require_finite("base", base)
    require_positive("modes", modes)
    k = torch.arange(1, modes + 1, dtype=base.dtype, device=base.device)
    return base[:, None] * k * (2 * math.pi / modes)


def complex_ema_reference(
    x: Sequence,
    alpha: Modes,
    delta: Modes,
    theta: Modes,
    eta: ComplexModes,
    skip: Float[Tensor, " channel"],
    state: State | None = None,
    input_phase: bool = False,
) -> tuple[Sequence, State]:
    """One step at a time. alpha and delta lie in (0, 1], theta is in radians; state is h_{-1}, None for zeros.

    Returns y and the last state, both in the precision of x (at least float32).
    Raises TypeError or ValueError for a wrong shape or type, an alpha or delta outside (0, 1], coefficients that are
    not finite, an eta that is not complex and a state that does not fit x.
    """
    h = _check(x, alpha, delta, theta, eta, skip, state)
    c = _coefficients(alpha, delta, theta, eta, input_phase)
    q = torch.polar(c.decay, theta.double()).to(h.dtype)
    p, eta = c.input_weight.to(h.dtype), c.output_weight.to(h.dtype)
    skip = skip.to(working_dtype(x))
    y = []
    for x_t in x.to(working_dtype(x)).unbind(1):
        h = q * h + p * x_t[..., None]
        y.append((eta * h).sum(-1).real + skip * x_t)
    return torch.stack(y, 1).to(x.dtype), h


def complex_ema_convolution(
    x: Sequence,
    alpha: Modes,
    delta: Modes,
    theta: Modes,
    eta: ComplexModes,
    skip: Float[Tensor, " channel"],
    state: State | None = None,
    input_phase: bool = False,
) -> tuple[Sequence, State]:
    """The same by FFT, all steps at once, O(L log L). Arguments and errors as `complex_ema_reference`."""
    h = _check(x, alpha, delta, theta, eta, skip, state)
    y, last = recurrence.convolution_face(x, _coefficients(alpha, delta, theta, eta, input_phase), h)
    return (y + skip.to(y.dtype) * x).to(x.dtype), last


def complex_ema_chunked(
    x: Sequence,
    alpha: Modes,
    delta: Modes,
    theta: Modes,
    eta: ComplexModes,
    skip: Float[Tensor, " channel"],
    state: State | None = None,
    input_phase: bool = False,
    chunk_size: int = 64,
) -> tuple[Sequence, State]:
    """The same by matrix products, chunk by chunk. Arguments and errors as `complex_ema_reference`."""
    h = _check(x, alpha, delta, theta, eta, skip, state)
    y, last = recurrence.chunked_face(x, _coefficients(alpha, delta, theta, eta, input_phase), h, chunk_size)
    return (y + skip.to(y.dtype) * x).to(x.dtype), last


def complex_ema_kernel(
    alpha: Modes, delta: Modes, theta: Modes, eta: ComplexModes, length: int, input_phase: bool = False
) -> Float[Tensor, "channel length"]:
    """K_τ = Re Σ η p q^τ for τ = 0 .. length-1, in float64 and without the skip."""
    _check_coefficients(alpha, delta, theta, eta)
    return recurrence.kernel(_coefficients(alpha, delta, theta, eta, input_phase), length)


def _coefficients(alpha: Modes, delta: Modes, theta: Modes, eta: ComplexModes, input_phase: bool) -> Recurrence:
    alpha, delta, theta = alpha.double(), delta.double(), theta.double()
    input_weight = torch.polar(alpha, theta) if input_phase else alpha
    return Recurrence(1 - alpha * delta, theta, input_weight, eta.to(torch.complex128))


def _check_coefficients(alpha: Modes, delta: Modes, theta: Modes, eta: ComplexModes) -> None:
    require_tensor("alpha", alpha, "channel mode")
    require_filled("alpha", alpha)
    channels, modes = alpha.shape
    for name, value in (("delta", delta), ("theta", theta), ("eta", eta)):
        require_tensor(name, value, "channel mode", channel=channels, mode=modes)
        require_finite(name, value)
    require_floating("theta", theta)
    if not eta.is_complex():
        raise TypeError(f"eta must be complex, got {eta.dtype}; use torch.complex(real, imaginary)")
    require_unit_interval("alpha", alpha)
    require_unit_interval("delta", delta)


def _check(
    x: Sequence,
    alpha: Modes,
    delta: Modes,
    theta: Modes,
    eta: ComplexModes,
    skip: Float[Tensor, " channel"],
    state: State | None,
) -> State:
    _check_coefficients(alpha, delta, theta, eta)
    check_sequence(x, alpha=alpha)
    require_tensor("skip", skip, "channel", channel=x.shape[2])
    require_floating("skip", skip)
    require_finite("skip", skip)
    return incoming_state(state, x, alpha.shape[1], is_complex=True)

"""The diagonal linear recurrence behind every moving average of the course, and its two fast faces.

    h_t = q h_{t-1} + p x_t          one number per mode, q = decay · exp(i angle)
    y_t = Re Σ_mode η h_t

A plain EMA has one real mode, MEGA's EMA several, CEMA several complex ones. Unrolled, the recurrence is a convolution
with the kernel K_τ = Re Σ η p q^τ plus what is left of the incoming state, Re Σ η q^{t+1} h_{-1}.

Powers of q are taken in float64 and rounded once to the working precision: at a decay of 0.9999 and 65,536 steps,
rounding q first already costs three digits of the phase.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Num
from torch import Tensor

from megalodon_edu.arguments import (
    require_device_of,
    require_filled,
    require_floating,
    require_positive,
    require_tensor,
)


class Recurrence(NamedTuple):
    """Coefficients of the recurrence, each (channel, mode); `angle` is None when q is real."""

    decay: Float[Tensor, "channel mode"]
    angle: Float[Tensor, "channel mode"] | None
    input_weight: Num[Tensor, "channel mode"]
    output_weight: Num[Tensor, "channel mode"]

    def steps(self, *bounds: int) -> Tensor:
        """torch.arange(*bounds) on the coefficients' device: a CUDA graph can record no copy from the host."""
        return torch.arange(*bounds, device=self.decay.device)

    def powers(self, exponents: Tensor) -> Num[Tensor, "channel mode exponent"]:
        """q^e for every exponent e, in float64 or complex128."""
        exponents = exponents.to(self.decay.device, torch.float64)
        size = self.decay.double()[..., None] ** exponents
        if self.angle is None:
            return size
        return torch.polar(size, self.angle.double()[..., None] * exponents)


def working_dtype(x: Tensor) -> torch.dtype:
    """Float64 for float64 inputs, float32 for everything smaller."""
    return torch.promote_types(x.dtype, torch.float32)


def check_sequence(x: Tensor, **coefficients: Tensor) -> None:
    """Check x (batch, time, channel) and coefficients whose first dimension is the channel."""
    require_tensor("x", x, "batch time channel")
    require_floating("x", x)
    require_filled("x", x)
    for name, value in coefficients.items():
        if value.shape[0] != x.shape[2]:
            raise ValueError(
                f"{name} must have one row per channel ({x.shape[2]}, as x has), got the shape {tuple(value.shape)}"
            )


def incoming_state(
    state: Tensor | None, x: Float[Tensor, "batch time channel"], modes: int | None = None, is_complex: bool = False
) -> Tensor:
    """h_{-1} in the working precision of x: zeros for None, else the state, checked.

    Its shape is (batch, channel), or (batch, channel, mode) where a number of modes is given.
    """
    batch, _, channels = x.shape
    dtype = working_dtype(x)
    if is_complex:
        dtype = torch.promote_types(dtype, torch.complex64)
    if state is None:
        return x.new_zeros((batch, channels) if modes is None else (batch, channels, modes), dtype=dtype)
    if modes is None:
        require_tensor("state", state, "batch channel", batch=batch, channel=channels)
    else:
        require_tensor("state", state, "batch channel mode", batch=batch, channel=channels, mode=modes)
    if state.is_complex() != is_complex or not (is_complex or state.is_floating_point()):
        kind = "complex" if is_complex else "real"
        raise TypeError(f"state must be {kind}, got {state.dtype}; pass the state that this operator returned")
    require_device_of("state", state, x)
    return state.to(dtype)


def kernel(recurrence: Recurrence, length: int) -> Float[Tensor, "channel length"]:
    """K_τ = Re Σ η p q^τ for τ = 0 .. length-1, in float64.

    With τ = a + b·block, q^τ = q^a · q^(b·block): a small matrix product per channel instead of a
    (channel, mode, length) table.
    """
    require_positive("length", length)
    block = max(1, round(length**0.5))
    near = recurrence.powers(recurrence.steps(block))
    far = recurrence.powers(recurrence.steps(0, length, block))
    weight = (recurrence.output_weight * recurrence.input_weight)[..., None]
    product = real_rows(weight * far).mT @ real_columns(near)
    return product.flatten(1)[:, :length]


def convolution_face(
    x: Float[Tensor, "batch time channel"], recurrence: Recurrence, state: Num[Tensor, "batch channel mode"]
) -> tuple[Float[Tensor, "batch time channel"], Num[Tensor, "batch channel mode"]]:
    """The recurrence as one convolution by FFT, O(L log L). y is in the working precision.

    Both signals are padded to 2L: a circular convolution of length L would wrap the end of the sequence into its start.
    """
    work, length = working_dtype(x), x.shape[1]
    response = torch.fft.rfft(kernel(recurrence, length).to(work).mT, n=2 * length, dim=0)
    spectrum = torch.fft.rfft(x.to(work), n=2 * length, dim=1)
    y = torch.fft.irfft(spectrum * response, n=2 * length, dim=1)[:, :length]
    block = max(1, round(length**0.5))
    y = y + fading_state(recurrence, state, length, block, work)
    return y, last_state(x.to(work), recurrence, state, block)


def fading_state(
    recurrence: Recurrence, state: Num[Tensor, "batch channel mode"], length: int, block: int, work: torch.dtype
) -> Float[Tensor, "batch time channel"]:
    """What the incoming state adds to each step: Re Σ η q^{t+1} h_{-1}, with t = a + b·block."""
    jumps = recurrence.powers(recurrence.steps(0, length, block)).to(state.dtype)
    at_blocks = state[..., None] * jumps
    read = read_matrix(recurrence, block).to(work)
    faded = torch.einsum("c t m, b c m k -> b k t c", read, real_columns(at_blocks, dim=2))
    return faded.flatten(1, 2)[:, :length]


def last_state(
    x: Float[Tensor, "batch time channel"], recurrence: Recurrence, state: Num[Tensor, "batch channel mode"], block: int
) -> Num[Tensor, "batch channel mode"]:
    """h_{L-1} = q^L h_{-1} + Σ_s p q^{L-1-s} x_s, the sum taken block by block from the end."""
    length = x.shape[1]
    blocks = -(-length // block)
    padded = torch.nn.functional.pad(x, (0, 0, blocks * block - length, 0))
    write = write_matrix(recurrence, block).to(x.dtype)
    written = torch.einsum("c m t, b k t c -> b c m k", write, padded.unflatten(1, (blocks, block)))
    jumps = recurrence.powers(recurrence.steps(blocks).flip(0) * block).to(state.dtype)
    carried = state * recurrence.powers(recurrence.steps(length, length + 1))[..., 0].to(state.dtype)
    return carried + (complex_modes(written, state, dim=2) * jumps).sum(-1)


def chunked_face(
    x: Float[Tensor, "batch time channel"],
    recurrence: Recurrence,
    state: Num[Tensor, "batch channel mode"],
    chunk_size: int,
) -> tuple[Float[Tensor, "batch time channel"], Num[Tensor, "batch channel mode"]]:
    """The recurrence as matrix products, chunk by chunk of T steps, O(L T). y is in the working precision.

    Per channel and chunk:  y = K x + V h  and  h' = q^T h + W x, where h is the state before the chunk, K the T×T
    Toeplitz matrix of the kernel, V (T × modes) reads the state and W (modes × T) writes it. A short rest at the end
    is one smaller chunk.
    """
    require_positive("chunk_size", chunk_size)
    length = x.shape[1]
    chunk_size = min(chunk_size, length)
    if rest := length % chunk_size:
        y, state = chunked_face(x[:, :-rest], recurrence, state, chunk_size)
        y_rest, state = chunked_face(x[:, -rest:], recurrence, state, rest)
        return torch.cat([y, y_rest], 1), state
    work = working_dtype(x)
    chunks = x.to(work).unflatten(1, (-1, chunk_size)).permute(3, 2, 0, 1)  # channel, step, batch, chunk
    columns = chunks.flatten(2)
    inside = toeplitz(kernel(recurrence, chunk_size)).to(work) @ columns
    written = (write_matrix(recurrence, chunk_size).to(work) @ columns).unflatten(2, chunks.shape[2:])
    written = complex_modes(written, state, dim=1)
    across = recurrence.powers(recurrence.steps(chunk_size, chunk_size + 1))[..., 0].to(state.dtype)
    before = []  # the state before each chunk
    for new in written.unbind(-1):  # channel, mode, batch
        before.append(state)
        state = across * state + new.permute(2, 0, 1)
    carried = torch.stack(before, -1).permute(1, 2, 0, 3).flatten(2)  # channel, mode, batch·chunk
    y = inside + read_matrix(recurrence, chunk_size).to(work) @ real_columns(carried, dim=1)
    y = y.unflatten(2, chunks.shape[2:]).permute(2, 3, 1, 0).flatten(1, 2)
    return y, state


def toeplitz(kernel: Float[Tensor, "channel length"]) -> Float[Tensor, "channel length length"]:
    """The lower triangular matrix with K_{t-s} in row t and column s."""
    steps = torch.arange(kernel.shape[1], device=kernel.device)
    lag = steps[:, None] - steps
    return torch.where(lag >= 0, kernel[:, lag.clamp(min=0)], 0.0)


def read_matrix(recurrence: Recurrence, steps: int) -> Float[Tensor, "channel steps parts"]:
    """V: row t holds η q^{t+1}, as real and imaginary parts side by side."""
    powers = recurrence.powers(recurrence.steps(1, steps + 1))
    return real_rows(recurrence.output_weight[..., None] * powers).mT


def write_matrix(recurrence: Recurrence, steps: int) -> Float[Tensor, "channel parts steps"]:
    """W: column s holds p q^{steps-1-s}, as real and imaginary parts one below the other."""
    powers = recurrence.powers(recurrence.steps(steps).flip(0))
    return real_columns(recurrence.input_weight[..., None] * powers, dim=1)


def real_rows(z: Num[Tensor, "channel mode n"]) -> Float[Tensor, "channel parts n"]:
    """The left factor of a real part: Re(z w) = [Re z, -Im z] · [Re w, Im w]. Real numbers pass unchanged."""
    return torch.cat([z.real, -z.imag], 1) if z.is_complex() else z


def real_columns(w: Num[Tensor, "..."], dim: int = 1) -> Float[Tensor, "..."]:
    """The right factor of a real part, see `real_rows`; `dim` is the dimension of the modes."""
    return torch.cat([w.real, w.imag], dim) if w.is_complex() else w


def complex_modes(parts: Float[Tensor, "..."], state: Tensor, dim: int) -> Num[Tensor, "..."]:
    """Undo `real_columns` where the state is complex."""
    return torch.complex(*parts.chunk(2, dim)) if state.is_complex() else parts

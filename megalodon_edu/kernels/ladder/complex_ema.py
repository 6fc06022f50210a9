"""CEMA in six rungs, each changed in one thing: what a program owns, how it reads, and which unit multiplies.

    h_t = q h_{t-1} + p x_t     y_t = Re Σ_mode η h_t + skip x_t              Megalodon (arXiv:2404.08801), Eq 2-3

    naive               a program for every sequence and channel, step by step
    coalesced           a program for 32 neighbouring channels, so that it reads whole pieces of memory
    segments            time cut into segments, so that there are enough programs
    chunks              16 steps at once by three products, with ordinary multiply-adds
    tensor cores        the same products by tensor cores
    channel tiles       16 neighbouring channels at once, so that it reads whole pieces of memory again

A number of the state is a pair (r, i). Everything that can be 16 is 16: modes, steps of a chunk, columns of a product.
Inside a chunk, with the state h before it, as in `ops.recurrence`:

    y = K x + Re(V h)     h' = q^16 h + W x
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from megalodon_edu.arguments import require_tensor
from megalodon_edu.kernels.availability import interpreting, require_kernels
from megalodon_edu.ops import recurrence
from megalodon_edu.ops.complex_ema import ComplexModes, Modes, Sequence
from megalodon_edu.ops.recurrence import Recurrence

SIDE = 16
"""The least side of a tensor core's product: modes, steps of a chunk, columns and channels of a tile."""

STEPS = 256
"""The steps of a segment."""

ROW = 32
"""Channels of a program that reads rows: 64 bytes in bfloat16."""

States = Float[Tensor, "part column channel mode"]


class Coefficients(NamedTuple):
    """What the kernels read, in float32: the numbers of the recurrence, and the matrices of a chunk of 16 steps."""

    steps: int  # of a segment
    q: Float[Tensor, "part channel mode"]
    p: Float[Tensor, "channel mode"]
    eta: Float[Tensor, "part channel mode"]
    skip: Float[Tensor, " channel"]
    toeplitz: Float[Tensor, "channel step time"]  # K, transposed: from step s to step t
    read: Float[Tensor, "part channel mode time"]  # V, transposed; its imaginary part has its sign changed
    write: Float[Tensor, "part channel step mode"]  # W, transposed
    across: Float[Tensor, "part channel mode"]  # q^16
    jump: Float[Tensor, "part channel mode"]  # q^steps


def prepare(
    alpha: Modes, delta: Modes, theta: Modes, eta: ComplexModes, skip: Float[Tensor, " channel"], steps: int = STEPS
) -> Coefficients:
    """Powers of q in float64, rounded once. Arguments as those of `ops.complex_ema`, with 16 modes."""
    require_tensor("alpha", alpha, "channel mode", mode=SIDE)
    rounded = Recurrence(1 - alpha.double() * delta.double(), theta, alpha.double(), eta.to(torch.complex128))
    q, across, jump = rounded.powers(torch.tensor([1, SIDE, steps])).unbind(-1)
    toeplitz = recurrence.toeplitz(recurrence.kernel(rounded, SIDE)) + skip[:, None, None] * torch.eye(SIDE).to(skip)
    read, write = recurrence.read_matrix(rounded, SIDE).mT, recurrence.write_matrix(rounded, SIDE)
    by_part = [torch.stack(matrix.chunk(2, 1)) for matrix in (read, write)]
    numbers = (_parts(q), alpha, _parts(eta), skip, toeplitz.mT, by_part[0], by_part[1].mT, _parts(across))
    ready: list[Any] = [value.float().contiguous() for value in (*numbers, _parts(jump))]
    return Coefficients(steps, *ready)


def _parts(z: Tensor) -> Tensor:
    return torch.stack([z.real, z.imag])


# --- One program for every sequence and channel ---


@triton.jit
def naive_kernel(x_ptr, y_ptr, q_ptr, p_ptr, eta_ptr, skip_ptr, length, CHANNELS: tl.constexpr, MODES: tl.constexpr):
    """One channel of one sequence, step by step; its modes stay in registers."""
    channel, sequence = tl.program_id(0), tl.program_id(1)
    n = channel * MODES + tl.arange(0, MODES)
    imaginary = CHANNELS * MODES  # how far behind the real parts the imaginary ones lie
    q_r, q_i, p = tl.load(q_ptr + n), tl.load(q_ptr + imaginary + n), tl.load(p_ptr + n)
    eta_r, eta_i = tl.load(eta_ptr + n), tl.load(eta_ptr + imaginary + n)
    skip = tl.load(skip_ptr + channel)
    h_r, h_i = tl.zeros((MODES,), tl.float32), tl.zeros((MODES,), tl.float32)
    for t in range(length):
        at = (sequence * length + t) * CHANNELS + channel
        x = tl.load(x_ptr + at).to(tl.float32)
        h_r, h_i = q_r * h_r - q_i * h_i + p * x, q_r * h_i + q_i * h_r
        tl.store(y_ptr + at, tl.sum(eta_r * h_r - eta_i * h_i, 0) + skip * x)


def naive(x: Sequence, c: Coefficients) -> Sequence:
    """CEMA with a program for every sequence and channel. Raises as every rung does, see `check`."""
    check(x, c)
    y = torch.empty_like(x)
    batch, length, channels = x.shape
    naive_kernel[(channels, batch)](x, y, c.q, c.p, c.eta, c.skip, length, CHANNELS=channels, MODES=SIDE, num_warps=1)
    return y


# --- Neighbouring channels in one program, and segments of time. A column is a segment of a sequence. ---


@triton.jit
def rows_kernel(
    x_ptr, y_ptr, q_ptr, p_ptr, eta_ptr, skip_ptr, starts_ptr, ends_ptr, columns, steps,
    CHANNELS: tl.constexpr, MODES: tl.constexpr, BLOCK: tl.constexpr, OUTPUT: tl.constexpr,
):  # fmt: skip
    """One column, BLOCK neighbouring channels: a tile (mode, channel) of states, a row of x at every step."""
    column = tl.program_id(1)
    channel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    n = channel[None, :] * MODES + tl.arange(0, MODES)[:, None]
    imaginary = CHANNELS * MODES
    q_r, q_i, p = tl.load(q_ptr + n), tl.load(q_ptr + imaginary + n), tl.load(p_ptr + n)
    eta_r, eta_i = tl.load(eta_ptr + n), tl.load(eta_ptr + imaginary + n)
    skip = tl.load(skip_ptr + channel)
    state = column * imaginary + n
    h_r, h_i = tl.zeros((MODES, BLOCK), tl.float32), tl.zeros((MODES, BLOCK), tl.float32)
    if OUTPUT:
        h_r, h_i = tl.load(starts_ptr + state), tl.load(starts_ptr + columns * imaginary + state)
    for t in range(steps):
        at = (column * steps + t) * CHANNELS + channel
        x = tl.load(x_ptr + at).to(tl.float32)
        h_r, h_i = q_r * h_r - q_i * h_i + p * x[None, :], q_r * h_i + q_i * h_r
        if OUTPUT:
            tl.store(y_ptr + at, tl.sum(eta_r * h_r - eta_i * h_i, 0) + skip * x)
    if not OUTPUT:
        tl.store(ends_ptr + state, h_r)
        tl.store(ends_ptr + columns * imaginary + state, h_i)


@triton.jit
def join_kernel(ends_ptr, starts_ptr, jump_ptr, segments, part, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """The state before every segment: start' = q^steps · start + what the segment adds, for some of the SIZE modes."""
    sequence = tl.program_id(1)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    jump_r, jump_i = tl.load(jump_ptr + n), tl.load(jump_ptr + SIZE + n)
    h_r, h_i = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    for segment in range(segments):
        at = (sequence * segments + segment) * SIZE + n
        tl.store(starts_ptr + at, h_r)
        tl.store(starts_ptr + part + at, h_i)
        end_r, end_i = tl.load(ends_ptr + at), tl.load(ends_ptr + part + at)
        h_r, h_i = jump_r * h_r - jump_i * h_i + end_r, jump_r * h_i + jump_i * h_r + end_i


Walk = Callable[[Tensor, Tensor | None, States, States], None]
"""Walk the columns of x (column, time, channel): from `starts` to y, or, where y is None, from zero to `ends`."""


def in_segments(x: Sequence, c: Coefficients, walk: Walk) -> Sequence:
    """Two walks: from zero states, to see what every segment adds; and from the right states, for y."""
    batch, length, channels = x.shape
    columns = x.view(batch * length // c.steps, c.steps, channels)
    starts, ends = x.new_empty(2, 2, len(columns), channels, SIDE, dtype=torch.float32)
    y = torch.empty_like(x)
    if length == c.steps:
        starts.zero_()
    else:
        walk(columns, None, starts, ends)
        size = channels * SIDE
        join_kernel[(size // 256, batch)](
            ends, starts, c.jump, length // c.steps, starts[0].numel(), SIZE=size, BLOCK=256
        )
    walk(columns, y, starts, ends)
    return y


def rows(x: Sequence, c: Coefficients) -> Sequence:
    """CEMA with a program for every column and 32 channels; one segment, or several, as c.steps says."""
    check(x, c)

    def walk(columns: Tensor, y: Tensor | None, starts: States, ends: States) -> None:
        number, steps, channels = columns.shape
        rows_kernel[(channels // ROW, number)](
            columns, y, c.q, c.p, c.eta, c.skip, starts, ends, number, steps,
            CHANNELS=channels, MODES=SIDE, BLOCK=ROW, OUTPUT=y is not None, num_warps=1,
        )  # fmt: skip

    return in_segments(x, c, walk)


# --- Chunks: 16 steps of 16 columns are a matrix (column, step), and three products make y ---


@triton.jit
def chunks_kernel(
    x_ptr, y_ptr, k_ptr, v_ptr, w_ptr, across_ptr, starts_ptr, ends_ptr, columns, steps,
    CHANNELS: tl.constexpr, SIDE: tl.constexpr, OUTPUT: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One channel, 16 columns side by side, chunk after chunk."""
    channel = tl.program_id(0)
    n = tl.arange(0, SIDE)  # of modes, and of the steps of a chunk
    column = tl.program_id(1) * SIDE + tl.arange(0, SIDE)[:, None]
    exists = column < columns
    square = (channel * SIDE + n[:, None]) * SIDE + n[None, :]
    imaginary = CHANNELS * SIDE * SIDE
    k = tl.load(k_ptr + square).to(OPERAND)
    v_r, v_i = tl.load(v_ptr + square).to(OPERAND), tl.load(v_ptr + imaginary + square).to(OPERAND)
    w_r, w_i = tl.load(w_ptr + square).to(OPERAND), tl.load(w_ptr + imaginary + square).to(OPERAND)
    mode = channel * SIDE + n[None, :]
    q_r, q_i = tl.load(across_ptr + mode), tl.load(across_ptr + CHANNELS * SIDE + mode)
    state = column * (CHANNELS * SIDE) + mode
    h_r, h_i = tl.zeros((SIDE, SIDE), tl.float32), tl.zeros((SIDE, SIDE), tl.float32)
    if OUTPUT:
        h_r = tl.load(starts_ptr + state, exists, 0.0)
        h_i = tl.load(starts_ptr + columns * (CHANNELS * SIDE) + state, exists, 0.0)
    for chunk in range(steps // SIDE):
        at = (column * steps + chunk * SIDE + n[None, :]) * CHANNELS + channel
        x = tl.load(x_ptr + at, exists, 0.0).to(OPERAND)
        if OUTPUT:
            y = tl.dot(x, k, input_precision=PRECISION)
            y = tl.dot(h_r.to(OPERAND), v_r, y, input_precision=PRECISION)
            y = tl.dot(h_i.to(OPERAND), v_i, y, input_precision=PRECISION)
            tl.store(y_ptr + at, y, exists)
        new_r, new_i = tl.dot(x, w_r, input_precision=PRECISION), tl.dot(x, w_i, input_precision=PRECISION)
        h_r, h_i = q_r * h_r - q_i * h_i + new_r, q_r * h_i + q_i * h_r + new_i
    if not OUTPUT:
        tl.store(ends_ptr + state, h_r, exists)
        tl.store(ends_ptr + columns * (CHANNELS * SIDE) + state, h_i, exists)


def chunks(x: Sequence, c: Coefficients, tensor_cores: bool) -> Sequence:
    """CEMA with a program for every channel and 16 columns. "ieee" products of float32 are ordinary multiply-adds."""
    check(x, c)
    numbers, precision = (operand(x), "tf32x3") if tensor_cores else (tl.float32, "ieee")

    def walk(columns: Tensor, y: Tensor | None, starts: States, ends: States) -> None:
        number, steps, channels = columns.shape
        chunks_kernel[(channels, triton.cdiv(number, SIDE))](
            columns, y, c.toeplitz, c.read, c.write, c.across, starts, ends, number, steps,
            CHANNELS=channels, SIDE=SIDE, OUTPUT=y is not None, OPERAND=numbers, PRECISION=precision, num_warps=2,
        )  # fmt: skip

    return in_segments(x, c, walk)


# --- Tiles: the same for 16 neighbouring channels at once, a product with three dimensions ---


@triton.jit
def tiles_kernel(
    x_ptr, y_ptr, k_ptr, v_ptr, w_ptr, across_ptr, starts_ptr, ends_ptr, columns, steps,
    CHANNELS: tl.constexpr, SIDE: tl.constexpr, OUTPUT: tl.constexpr, OPERAND: tl.constexpr,
):  # fmt: skip
    """16 channels, 16 columns side by side, chunk after chunk; tiles are (channel, column, step or mode)."""
    n = tl.arange(0, SIDE)
    channel = tl.program_id(0) * SIDE + n
    column = tl.program_id(1) * SIDE + n
    square = (channel[:, None, None] * SIDE + n[None, :, None]) * SIDE + n[None, None, :]
    imaginary = CHANNELS * SIDE * SIDE
    k = tl.load(k_ptr + square).to(OPERAND)
    v_r, v_i = tl.load(v_ptr + square).to(OPERAND), tl.load(v_ptr + imaginary + square).to(OPERAND)
    w_r, w_i = tl.load(w_ptr + square).to(OPERAND), tl.load(w_ptr + imaginary + square).to(OPERAND)
    mode = channel[:, None, None] * SIDE + n[None, None, :]
    q_r, q_i = tl.load(across_ptr + mode), tl.load(across_ptr + CHANNELS * SIDE + mode)
    state, exists = column[None, :, None] * (CHANNELS * SIDE) + mode, (column < columns)[None, :, None]
    h_r, h_i = tl.zeros((SIDE, SIDE, SIDE), tl.float32), tl.zeros((SIDE, SIDE, SIDE), tl.float32)
    if OUTPUT:
        h_r = tl.load(starts_ptr + state, exists, 0.0)
        h_i = tl.load(starts_ptr + columns * (CHANNELS * SIDE) + state, exists, 0.0)
    for chunk in range(steps // SIDE):
        row = column[:, None, None] * steps + chunk * SIDE + n[None, :, None]
        at, inside = row * CHANNELS + channel[None, None, :], (column < columns)[:, None, None]  # as memory holds it
        x = tl.permute(tl.load(x_ptr + at, inside, 0.0), (2, 0, 1)).to(OPERAND)  # channel column step
        if OUTPUT:
            y = tl.dot(x, k, input_precision="tf32x3")
            y = tl.dot(h_r.to(OPERAND), v_r, y, input_precision="tf32x3")
            y = tl.dot(h_i.to(OPERAND), v_i, y, input_precision="tf32x3")
            tl.store(y_ptr + at, tl.permute(y, (1, 2, 0)), inside)
        new_r = tl.dot(x, w_r, input_precision="tf32x3")
        new_i = tl.dot(x, w_i, input_precision="tf32x3")
        h_r, h_i = q_r * h_r - q_i * h_i + new_r, q_r * h_i + q_i * h_r + new_i
    if not OUTPUT:
        tl.store(ends_ptr + state, h_r, exists)
        tl.store(ends_ptr + columns * (CHANNELS * SIDE) + state, h_i, exists)


def tiles(x: Sequence, c: Coefficients) -> Sequence:
    """CEMA with a program for every 16 channels and 16 columns."""
    check(x, c)

    def walk(columns: Tensor, y: Tensor | None, starts: States, ends: States) -> None:
        number, steps, channels = columns.shape
        tiles_kernel[(channels // SIDE, triton.cdiv(number, SIDE))](
            columns, y, c.toeplitz, c.read, c.write, c.across, starts, ends, number, steps,
            CHANNELS=channels, SIDE=SIDE, OUTPUT=y is not None, OPERAND=operand(x), num_warps=8, num_stages=1,
        )  # fmt: skip

    return in_segments(x, c, walk)


def operand(x: Tensor) -> tl.dtype:
    """What tensor cores read: bfloat16 for bfloat16 on a GPU; the interpreter's bfloat16 products are wrong."""
    return tl.bfloat16 if x.dtype == torch.bfloat16 and not interpreting() else tl.float32


def check(x: Sequence, c: Coefficients) -> None:
    """Raise ValueError unless x fits: channels in rows of 32, whole segments, addresses of 32 bits."""
    require_tensor("x", x, "batch time channel", channel=len(c.skip))
    require_kernels(x.device)
    _, length, channels = x.shape
    if channels % ROW:
        raise ValueError(f"x must have a multiple of {ROW} channels, got {channels}; the package's kernel takes any")
    if length % c.steps or c.steps % SIDE:
        raise ValueError(
            f"x must be a whole number of segments of {c.steps} steps, and those of {SIDE}, got length {length}; "
            "the package's kernel takes any"
        )
    if not x.is_contiguous() or x.numel() >= 2**31:
        raise ValueError(f"x must be contiguous and hold fewer than 2³¹ numbers, got {tuple(x.shape)}")

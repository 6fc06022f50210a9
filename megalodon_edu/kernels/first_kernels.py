"""The five kernels of chapter 10: one block, one row, one walk, one memory, and the same memory by matrix products.

Each is written for reading. A kernel is what one program does; the function below it checks the arguments, makes the
outputs and launches as many programs as there are blocks. Tensors are float32 and contiguous unless a text says more.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import math
from collections.abc import Callable

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from megalodon_edu.arguments import require_between, require_choice, require_tensor
from megalodon_edu.kernels.availability import require_kernels

Rows = Float[Tensor, "row column"]
Sequence = Float[Tensor, "batch time channel"]
State = Float[Tensor, "batch channel"]


@triton.jit
def _vector_add_kernel(x_ptr, y_ptr, out_ptr, length, BLOCK: tl.constexpr):
    """One block of out = x + y."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < length
    x = tl.load(x_ptr + at, mask=inside)
    y = tl.load(y_ptr + at, mask=inside)
    tl.store(out_ptr + at, x + y, mask=inside)


def vector_add(x: Float[Tensor, " length"], y: Float[Tensor, " length"]) -> Float[Tensor, " length"]:
    """x + y, a program for every block of 1024. Raises TypeError or ValueError for other tensors."""
    _check("x", x, "length")
    _check("y", y, "length", like=x)
    out = torch.empty_like(x)
    _launch(_vector_add_kernel, (triton.cdiv(len(x), 1024),), x, y, out, len(x), BLOCK=1024)
    return out


@triton.jit
def _softmax_kernel(x_ptr, y_ptr, x_stride, y_stride, columns, BLOCK: tl.constexpr):
    """One row. Lanes behind its end hold -inf, whose exponential is 0."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < columns
    x = tl.load(x_ptr + row * x_stride + column, mask=inside, other=-float("inf"))
    weight = tl.exp(x - tl.max(x, 0))
    tl.store(y_ptr + row * y_stride + column, weight / tl.sum(weight, 0), mask=inside)


def softmax_rows(x: Rows) -> Rows:
    """e^x / Σ e^x over each row, a program for every row, x read once. Rows may lie apart: x may be `wide[:, :n]`.

    Raises TypeError or ValueError for other tensors and for rows whose columns do not lie side by side.
    """
    _check("x", x, "row column", contiguous=False)
    if x.stride(1) != 1:
        raise ValueError(f"x must have its columns side by side, got a stride of {x.stride(1)}; use x.contiguous()")
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    block = triton.next_power_of_2(x.shape[1])
    _launch(_softmax_kernel, (len(x),), x, y, x.stride(0), y.stride(0), x.shape[1], BLOCK=block)
    return y


@triton.jit
def _prefix_sum_kernel(x_ptr, y_ptr, columns, BLOCK: tl.constexpr):
    """One row, block after block; the total so far goes from each block to the next."""
    start = tl.program_id(0).to(tl.int64) * columns
    total = tl.full((), 0.0, tl.float32)
    for first in range(0, columns, BLOCK):
        column = first + tl.arange(0, BLOCK)
        inside = column < columns
        x = tl.load(x_ptr + start + column, mask=inside, other=0.0)
        tl.store(y_ptr + start + column, total + tl.cumsum(x, 0), mask=inside)
        total += tl.sum(x, 0)


def prefix_sum(x: Rows, block: int = 2048) -> Rows:
    """y_j = x_0 + ... + x_j in each row, a program for every row. `block` must be a power of 2."""
    _check("x", x, "row column")
    _check_block("block", block)
    y = torch.empty_like(x)
    _launch(_prefix_sum_kernel, (len(x),), x, y, x.shape[1], BLOCK=block)
    return y


@triton.jit
def _ema_scan_kernel(x_ptr, state_ptr, y_ptr, last_ptr, alpha, length, channels, BLOCK: tl.constexpr):
    """One sequence and BLOCK channels, step by step; the memory h stays in registers."""
    sequence = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    exists = channel < channels
    h = tl.load(state_ptr + sequence * channels + channel, mask=exists)
    for t in range(length):
        at = (sequence * length + t) * channels + channel
        x = tl.load(x_ptr + at, mask=exists)
        h = alpha * x + (1 - alpha) * h
        tl.store(y_ptr + at, h, mask=exists)
    tl.store(last_ptr + sequence * channels + channel, h, mask=exists)


def ema_scan(x: Sequence, alpha: float, state: State | None = None, block: int = 64) -> tuple[Sequence, State]:
    """`ops.ema.ema_reference` with one alpha for all channels: y and the last state.

    A program for every sequence and every `block` channels (a power of 2).
    """
    state = _check_ema(x, alpha, state)
    _check_block("block", block)
    batch, length, channels = x.shape
    y, last = torch.empty_like(x), torch.empty_like(state)
    grid = (batch, triton.cdiv(channels, block))
    _launch(_ema_scan_kernel, grid, x, state, y, last, alpha, length, channels, BLOCK=block)
    return y, last


@triton.jit
def _ema_chunks_kernel(
    x_ptr,
    state_ptr,
    y_ptr,
    last_ptr,
    alpha,
    log2_decay,
    length,
    channels,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One sequence and BLOCK channels, CHUNK steps at a time: y = K x + decay^(t + 1) h, then h = the last y."""
    sequence = tl.program_id(0).to(tl.int64)
    t = tl.arange(0, CHUNK)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    exists = channel < channels
    age = t[:, None] - t[None, :]
    K = tl.where(age >= 0, alpha * tl.exp2(tl.maximum(age, 0) * log2_decay), 0.0)
    fade = tl.exp2((t + 1) * log2_decay)
    h = tl.load(state_ptr + sequence * channels + channel, mask=exists, other=0.0)
    for first in range(0, length, CHUNK):
        at = (sequence * length + first + t)[:, None] * channels + channel[None, :]
        inside = (first + t < length)[:, None] & exists[None, :]
        x = tl.load(x_ptr + at, mask=inside, other=0.0)
        y = tl.dot(K, x, input_precision=PRECISION) + fade[:, None] * h[None, :]
        tl.store(y_ptr + at, y, mask=inside)
        newest = tl.minimum(CHUNK, length - first) - 1
        h = tl.sum(tl.where((t == newest)[:, None], y, 0.0), 0)
    tl.store(last_ptr + sequence * channels + channel, h, mask=exists)


PRECISIONS = ("tf32", "tf32x3", "ieee")
"""How tensor cores multiply float32: with 10 bits behind the point, with three such products, or not at all."""


def ema_in_chunks(
    x: Sequence,
    alpha: float,
    state: State | None = None,
    chunk: int = 32,
    block: int = 64,
    precision: str = "tf32x3",
) -> tuple[Sequence, State]:
    """`ema_scan` by matrix products, `chunk` steps at a time (powers of 2 from 16 on, for the tensor cores)."""
    require_choice("precision", precision, PRECISIONS)
    _check_block("chunk", chunk, 16)
    _check_block("block", block, 16)
    state = _check_ema(x, alpha, state)
    batch, length, channels = x.shape
    y, last = torch.empty_like(x), torch.empty_like(state)
    grid = (batch, triton.cdiv(channels, block))
    log2_decay = math.log2(max(1 - alpha, 1e-30))
    _launch(_ema_chunks_kernel, grid, x, state, y, last, alpha, log2_decay, length, channels,
            CHUNK=chunk, BLOCK=block, PRECISION=precision)  # fmt: skip
    return y, last


def _launch(kernel: Callable, grid: tuple[int, ...], x: Tensor, *arguments: object, **meta: object) -> None:
    """Run the kernel on the device of x."""
    require_kernels(x.device)
    with torch.cuda.device_of(x):
        kernel[grid](x, *arguments, **meta)  # type: ignore[index]


def _check(name: str, x: Tensor, dimensions: str, like: Tensor | None = None, contiguous: bool = True) -> None:
    require_tensor(name, x, dimensions)
    if x.dtype != torch.float32:
        raise TypeError(f"{name} must be float32, got {x.dtype}; use {name}.float()")
    if like is not None and (x.shape, x.device) != (like.shape, like.device):
        raise ValueError(f"{name} must have the shape {tuple(like.shape)} on {like.device}, got {tuple(x.shape)}")
    if contiguous and not x.is_contiguous():
        raise ValueError(f"{name} must be contiguous, got strides {x.stride()}; use {name}.contiguous()")


def _check_block(name: str, value: int, least: int = 1) -> None:
    if value < least or value & (value - 1):
        nearest = max(least, triton.next_power_of_2(value))
        raise ValueError(f"{name} must be a power of 2 from {least} on, got {value}; take {nearest}")


def _check_ema(x: Sequence, alpha: float, state: State | None) -> State:
    """The state to start from: the given one, or zeros."""
    _check("x", x, "batch time channel")
    require_between("alpha", alpha, 0.0, 1.0)
    if state is None:
        return x.new_zeros(x.shape[0], x.shape[2])
    _check("state", state, "batch channel", like=x[:, 0])
    return state

"""CEMA in Triton: matrix products inside chunks, forward and backward.

    h_t = q h_{t-1} + p x_t     y_t = Re Σ_mode η h_t + skip x_t     q = (1 - α δ) exp(i θ), p = α

Megalodon (arXiv:2404.08801), Eq 2-3; with `input_phase`, p = α exp(i θ). Cut time into chunks of T steps. For each
channel, x and y of one chunk and the state h before it obey

    y = K x + Re(V h)           K_{t,s} = Re Σ_mode η p q^{t-s} + skip [t = s]  for s ≤ t       V_t = η q^{t+1}
    h' = q^T h + W x            W_s = p q^{T-1-s}

so that all steps of a chunk are three products for the tensor cores. Other sequences, and other stretches of the same
sequence ("segments"), give the columns of x and h; a program takes 16 channels and 16 columns and walks the chunks of
its segments side by side, with the states in registers. Forward: (1) the matrices, powers of q in float64 rounded once,
(2) a walk from zero states that finds what each segment adds, (3) the state before every segment, (4) a second walk
from those states that writes y. x is read twice, y written once.

Backward. With the gradient g of the state, the transposed equations are a CEMA that runs backwards in time, and the
same walk, with V and W exchanged, does it:

    dx = Kᵀ dy + Re(Wᵀ g')      g = conj(q^T) g' + Vᵀ dy

A last walk, forwards, carries h and its derivative z = ∂h/∂(T log q), which obeys z' = q^T (z + h) + D x with
D_s = (T-1-s)/T W_s, and sums x ⊗ dy, h ⊗ dy and z ⊗ dy over chunks: the gradients of K and V, and, through z, that of
q. What follows a segment enters once, at its end.
p needs no sum of its own: conj(g') W x = conj(g') (h' - q^T h), so the sum over all chunks of a sequence is that of
Re(V h) dy, plus conj(g) h after the last chunk, less that before the first. One more kernel takes all this to alpha,
delta, theta, eta and skip. Every sum has a fixed order: the same input gives the same bits.

Walks for states alone take two chunks as one, with V, W and q^T for 2T steps. So segments are pairs of chunks; a chunk
that is left is a piece of its own, and so is a rest of r < T steps: W_s = p q^{r-1-s}, and q^r for q^T.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from megalodon_edu.arguments import (
    require_bool,
    require_device_of,
    require_finite,
    require_floating,
    require_tensor,
)
from megalodon_edu.kernels.availability import interpreting, require_kernels
from megalodon_edu.kernels.entry import entry, require_kernel_type
from megalodon_edu.ops.complex_ema import ComplexModes, Modes, Sequence, State, _check_coefficients
from megalodon_edu.ops.recurrence import check_sequence

# --- Kernels. Complex numbers are pairs (r, i). Dimensions: channel, column, then time t or mode n. ---


SIZES = ["first", "end", "length", "batch", "segments", "per_segment", "joined"]
"""Arguments that take every value: a kernel compiled for each would be compiled again and again."""


@triton.jit
def _power(decay, angle, exponent):
    """q^exponent in float64, as a pair."""
    size, turn = tl.exp(exponent * tl.log(decay)), exponent * angle
    return size * tl.cos(turn), size * tl.sin(turn)


@triton.jit
def _times(a_r, a_i, b_r, b_i):
    """The product of two complex numbers."""
    return a_r * b_r - a_i * b_i, a_r * b_i + a_i * b_r


@triton.jit
def _powers(q_r, q_i, e, CHUNK: tl.constexpr):
    """q^e for 0 ≤ e < CHUNK by squaring: (n, 1) and (1, e) to (n, e)."""
    power_r, power_i = tl.zeros_like(q_r + e) + 1, tl.zeros_like(q_r + e)
    for bit in tl.static_range(16):
        if 1 << bit < CHUNK:
            more_r, more_i = _times(power_r, power_i, q_r, q_i)
            counts = (e >> bit) % 2 == 1
            power_r, power_i = tl.where(counts, more_r, power_r), tl.where(counts, more_i, power_i)
            q_r, q_i = _times(q_r, q_i, q_r, q_i)
    return power_r, power_i


@triton.jit
def _step_of(e, steps):
    """The step s = steps - 1 - e of a chunk, whose input still counts q^e at its end; past the chunk, e itself."""
    return tl.where(e < steps, steps - 1 - e, e)


@triton.jit
def _coefficients(alpha_ptr, delta_ptr, theta_ptr, eta_ptr, channel, n, MODES: tl.constexpr):
    """alpha, delta, decay, theta and eta of one channel in float64, each (n, 1); padded modes are silent."""
    at, exists = channel * MODES + n[:, None], n[:, None] < MODES
    alpha = tl.load(alpha_ptr + at, exists, 0.0).to(tl.float64)
    delta = tl.load(delta_ptr + at, exists, 0.0).to(tl.float64)
    theta = tl.load(theta_ptr + at, exists, 0.0).to(tl.float64)
    eta_r = tl.load(eta_ptr + 2 * at, exists, 0.0).to(tl.float64)
    eta_i = tl.load(eta_ptr + 2 * at + 1, exists, 0.0).to(tl.float64)
    decay = tl.maximum(1 - alpha * delta, 1e-20)  # 0 or ≥ 1e-16; instead of 0, what float32 and a logarithm can hold
    return alpha, delta, decay, theta, eta_r, eta_i


@triton.jit
def _store_both_orders(
    ptr, channel, n, t, value_r, value_i, CHANNELS: tl.constexpr, TILE_MODES: tl.constexpr, CHUNK: tl.constexpr
):
    """A matrix as (part, channel, t, n), and behind it as (part, channel, n, t): whoever reads it, reads rows."""
    size = CHANNELS * TILE_MODES * CHUNK
    at = channel * (TILE_MODES * CHUNK) + t * TILE_MODES + n
    _store_state(ptr, at, None, value_r, value_i, size)
    at = channel * (TILE_MODES * CHUNK) + n * CHUNK + t
    _store_state(ptr + 2 * size, at, None, value_r, value_i, size)


@triton.jit(do_not_specialize=["steps", "jump_steps"])
def _matrices_kernel(
    alpha_ptr,
    delta_ptr,
    theta_ptr,
    eta_ptr,
    skip_ptr,
    lags_ptr,
    read_ptr,
    write_ptr,
    across_ptr,
    jump_ptr,
    twin_read_ptr,
    twin_write_ptr,
    twin_across_ptr,
    steps,
    jump_steps,
    CHANNELS: tl.constexpr,
    MODES: tl.constexpr,
    PHASE: tl.constexpr,
    TILE_MODES: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """K's first column (lags), V (read), W (write), q^steps (across) and q^jump_steps (jump) of one channel.

    V, W and q^steps of two chunks, too (twin): for walks without outputs.
    """
    channel = tl.program_id(0).to(tl.int64)
    n, e = tl.arange(0, TILE_MODES), tl.arange(0, CHUNK)
    alpha, _, decay, theta, eta_r, eta_i = _coefficients(alpha_ptr, delta_ptr, theta_ptr, eta_ptr, channel, n, MODES)
    q_r, q_i = decay * tl.cos(theta), decay * tl.sin(theta)
    power_r, power_i = _powers(q_r, q_i, e[None, :], CHUNK)  # q^e, (n, e)
    later_r, later_i = _times(power_r, power_i, q_r, q_i)  # q^(e+1)
    if PHASE:
        power_r, power_i = _times(power_r, power_i, tl.cos(theta), tl.sin(theta))

    lags = tl.sum(alpha * (eta_r * power_r - eta_i * power_i), 0)  # e
    skip = tl.load(skip_ptr + channel).to(tl.float64)
    tl.store(lags_ptr + channel * CHUNK + e, lags + tl.where(e == 0, skip, 0.0))

    # Re(V h) = Vr hr + Vi hi
    read_r, read_i = eta_r * later_r - eta_i * later_i, -(eta_r * later_i + eta_i * later_r)
    _store_both_orders(read_ptr, channel, n[:, None], e[None, :], read_r, read_i, CHANNELS, TILE_MODES, CHUNK)
    inside = (e < steps)[None, :]
    write_r, write_i = tl.where(inside, alpha * power_r, 0.0), tl.where(inside, alpha * power_i, 0.0)
    step = _step_of(e, steps)[None, :]
    _store_both_orders(write_ptr, channel, n[:, None], step, write_r, write_i, CHANNELS, TILE_MODES, CHUNK)

    at = channel * TILE_MODES + n[:, None]
    power_r, power_i = _power(decay, theta, steps.to(tl.float64))
    _store_state(across_ptr, at, None, power_r, power_i, CHANNELS * TILE_MODES)

    # Of two chunks, (t, n): V of the second and W of the first have q^CHUNK as one more factor.
    size = CHANNELS * TILE_MODES * (2 * CHUNK)
    twin_at = channel * (TILE_MODES * (2 * CHUNK)) + n[:, None]
    first, second = twin_at + e[None, :] * TILE_MODES, twin_at + (CHUNK + e[None, :]) * TILE_MODES
    _store_state(twin_read_ptr, first, None, read_r, read_i, size)
    more_r, more_i = _times(power_r, -power_i, read_r, read_i)  # read_i is -Im V
    _store_state(twin_read_ptr, second, None, more_r, more_i, size)
    first, second = twin_at + step * TILE_MODES, twin_at + (CHUNK + step) * TILE_MODES
    more_r, more_i = _times(power_r, power_i, write_r, write_i)
    _store_state(twin_write_ptr, first, None, more_r, more_i, size)
    _store_state(twin_write_ptr, second, None, write_r, write_i, size)
    power_r, power_i = _times(power_r, power_i, power_r, power_i)
    _store_state(twin_across_ptr, at, None, power_r, power_i, CHANNELS * TILE_MODES)
    power_r, power_i = _power(decay, theta, jump_steps.to(tl.float64))
    _store_state(jump_ptr, at, None, power_r, power_i, CHANNELS * TILE_MODES)


@triton.jit
def _place(
    CHANNELS: tl.constexpr, columns, TILE_MODES: tl.constexpr, TILE_CHANNELS: tl.constexpr, TILE_COLUMNS: tl.constexpr
):
    """The channels, columns and modes of a program; neighbouring programs share rows of memory."""
    channel = tl.program_id(0) * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    column = tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    return channel, channel < CHANNELS, column, column < columns, tl.arange(0, TILE_MODES)


@triton.jit
def _segment_place(column, first, length, segments, per_segment, CHUNK: tl.constexpr):
    """Time and row of memory of the first chunk's steps, for the segment of every column (column, t)."""
    time = first + (column % segments * per_segment * CHUNK)[:, None] + tl.arange(0, CHUNK)[None, :]
    return time, (column // segments).to(tl.int64)[:, None] * length + time


@triton.jit
def _exists(time, chunk, end, is_column, is_channel, CHUNK: tl.constexpr):
    """Which numbers (column, t, channel) of a chunk exist; `time` is of chunk 0."""
    return ((time + chunk * CHUNK < end) & is_column[:, None])[:, :, None] & is_channel[None, None, :]


@triton.jit
def _load_tile(ptr, exists, WHOLE: tl.constexpr, OPERAND: tl.constexpr):
    """(column, t, channel), as memory holds it, to (channel, column, t): one matrix for every channel.

    WHOLE: all of it exists; without masks the loops are shorter.
    """
    tile = tl.load(ptr) if WHOLE else tl.load(ptr, exists, 0.0)
    return tl.permute(tile.to(OPERAND), (2, 0, 1))


@triton.jit
def _load_matrix(
    ptr,
    channel,
    is_channel,
    CHANNELS: tl.constexpr,
    TILE_MODES: tl.constexpr,
    CHUNK: tl.constexpr,
    BY_TIME: tl.constexpr,
):
    """Both parts of V or W, (channel, t, n) if BY_TIME, or else (channel, n, t)."""
    n, t = tl.arange(0, TILE_MODES), tl.arange(0, CHUNK)
    imaginary = CHANNELS * (TILE_MODES * CHUNK)
    inner = t[:, None] * TILE_MODES + n[None, :] if BY_TIME else 2 * imaginary + n[:, None] * CHUNK + t[None, :]
    at = channel.to(tl.int64)[:, None, None] * (TILE_MODES * CHUNK) + inner[None, :, :]
    exists = is_channel[:, None, None]
    return tl.load(ptr + at, exists, 0.0), tl.load(ptr + imaginary + at, exists, 0.0)


@triton.jit
def _load_across(ptr, channel, is_channel, n, CHANNELS: tl.constexpr, TILE_MODES: tl.constexpr):
    """q^T, (channel, 1, n)."""
    at = channel[:, None, None] * TILE_MODES + n[None, None, :]
    exists = is_channel[:, None, None]
    return tl.load(ptr + at, exists, 0.0), tl.load(ptr + CHANNELS * TILE_MODES + at, exists, 0.0)


@triton.jit
def _state_place(column, is_column, channel, is_channel, n, CHANNELS: tl.constexpr, TILE_MODES: tl.constexpr):
    """Where the states (column, part, channel, mode) of a program lie, as (channel, column, n), and which exist."""
    row = column.to(tl.int64)[None, :, None] * (2 * CHANNELS) + channel[:, None, None]
    return row * TILE_MODES + n[None, None, :], is_column[None, :, None] & is_channel[:, None, None]


@triton.jit
def _complex_place(sequence, is_wanted, channel, is_channel, n, CHANNELS: tl.constexpr, MODES: tl.constexpr):
    """The same for the complex states (sequence, channel, mode) that come in and go out."""
    row = sequence.to(tl.int64)[None, :, None] * CHANNELS + channel[:, None, None]
    exists = is_wanted[None, :, None] & is_channel[:, None, None] & (n < MODES)[None, None, :]
    return 2 * (row * MODES + n[None, None, :]), exists


@triton.jit
def _load_state(ptr, at, exists, IMAGINARY: tl.constexpr):
    """Both parts of states; the imaginary ones lie so many numbers behind the real ones."""
    other = None if exists is None else 0.0
    return tl.load(ptr + at, exists, other), tl.load(ptr + IMAGINARY + at, exists, other)


@triton.jit
def _store_state(ptr, at, exists, state_r, state_i, IMAGINARY: tl.constexpr):
    tl.store(ptr + at, state_r, exists)
    tl.store(ptr + IMAGINARY + at, state_i, exists)


@triton.jit
def _store_sum(
    ptr, channel, is_channel, CHANNELS: tl.constexpr, value_r, value_i, TILE_MODES: tl.constexpr, CHUNK: tl.constexpr
):
    """Both parts of a sum (channel, n, t), one array for every group of columns."""
    n, t = tl.arange(0, TILE_MODES), tl.arange(0, CHUNK)
    row = tl.program_id(1).to(tl.int64) * 2 * CHANNELS + channel[:, None, None]
    at = (row * TILE_MODES + n[None, :, None]) * CHUNK + t[None, None, :]
    _store_state(ptr, at, is_channel[:, None, None], value_r, value_i, CHANNELS * (TILE_MODES * CHUNK))


@triton.jit(do_not_specialize=SIZES)
def _walk_kernel(
    in_ptr,
    out_ptr,
    lags_ptr,
    read_ptr,
    write_ptr,
    across_ptr,
    starts_ptr,
    ends_ptr,
    first,
    end,
    length,
    batch,
    segments,
    per_segment,
    CHANNELS: tl.constexpr,
    MODES: tl.constexpr,
    REVERSED: tl.constexpr,
    OUTPUT: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
    TILE_MODES: tl.constexpr,
    CHUNK: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """Walk the chunks of 16 segments side by side, backwards in time if REVERSED.

    Without OUTPUT: only the states; the first segment starts from the incoming state, the others from zero, and all
    ends are stored. With OUTPUT: every segment has its start, outputs are stored, and the end of the final segment.
    """
    channel, is_channel, column, is_column, n = _place(
        CHANNELS, segments * batch, TILE_MODES, TILE_CHANNELS, TILE_COLUMNS
    )
    t = tl.arange(0, CHUNK)
    write_r, write_i = _load_matrix(write_ptr, channel, is_channel, CHANNELS, TILE_MODES, CHUNK, True)  # channel t n
    across_r, across_i = _load_across(across_ptr, channel, is_channel, n, CHANNELS, TILE_MODES)  # channel 1 n
    if REVERSED:
        across_i = -across_i
    if OUTPUT:
        read_r, read_i = _load_matrix(read_ptr, channel, is_channel, CHANNELS, TILE_MODES, CHUNK, False)  # channel n t
        lag = t[:, None] - t[None, :] if REVERSED else t[None, :] - t[:, None]  # from step (row) to step (column)
        lag_at = channel[:, None, None] * CHUNK + lag[None, :, :]
        toeplitz = tl.load(lags_ptr + lag_at, is_channel[:, None, None] & (lag >= 0)[None, :, :], 0.0)

    segment = column % segments
    state_at, has_state = _state_place(column, is_column, channel, is_channel, n, CHANNELS, TILE_MODES)
    if OUTPUT:
        state_r, state_i = _load_state(starts_ptr, state_at, has_state, CHANNELS * TILE_MODES)  # channel column n
    else:
        is_nearest = is_column & (segment == (segments - 1 if REVERSED else 0))
        incoming_at, comes_in = _complex_place(column // segments, is_nearest, channel, is_channel, n, CHANNELS, MODES)
        state_r, state_i = _load_state(starts_ptr, incoming_at, comes_in, 1)

    time, row = _segment_place(column, first, length, segments, per_segment, CHUNK)
    at = row[:, :, None] * CHANNELS + channel[None, None, :]
    for step in range(per_segment):
        chunk = per_segment - 1 - step if REVERSED else step
        here = at + chunk * (CHUNK * CHANNELS)
        exists = _exists(time, chunk, end, is_column, is_channel, CHUNK)
        x = _load_tile(in_ptr + here, exists, WHOLE, OPERAND)  # channel column t
        operand_r, operand_i = state_r.to(OPERAND), state_i.to(OPERAND)
        if OUTPUT:
            y = tl.dot(x, toeplitz, input_precision=PRECISION)  # channel column t
            y = tl.dot(operand_r, read_r, y, input_precision=PRECISION)
            y = tl.dot(operand_i, read_i, y, input_precision=PRECISION)
            y = tl.permute(y.to(out_ptr.dtype.element_ty), (1, 2, 0))  # column t channel
            tl.store(out_ptr + here, y, None if WHOLE else exists)
        new_r = across_r * state_r - across_i * state_i + tl.dot(x, write_r, input_precision=PRECISION)
        new_i = across_r * state_i + across_i * state_r + tl.dot(x, write_i, input_precision=PRECISION)
        if WHOLE:
            state_r, state_i = new_r, new_i
        else:
            goes_on = (first + (segment * per_segment + chunk) * CHUNK < end)[None, :, None]
            state_r, state_i = tl.where(goes_on, new_r, state_r), tl.where(goes_on, new_i, state_i)

    if OUTPUT:
        is_final = is_column & (segment == (0 if REVERSED else segments - 1))
        final_at, goes_out = _complex_place(column // segments, is_final, channel, is_channel, n, CHANNELS, MODES)
        _store_state(ends_ptr, final_at, goes_out, state_r, state_i, 1)
    else:
        _store_state(ends_ptr, state_at, has_state, state_r, state_i, CHANNELS * TILE_MODES)


@triton.jit
def _load_segment(ptr, step, sequence, segments, SIZE: tl.constexpr, index, exists, REVERSED: tl.constexpr):
    """Where the numbers `index` of a segment's state lie, which exist, and what they are at `ptr`."""
    segment = segments - 1 - step if REVERSED else step
    at, exists = (sequence * segments + segment) * (2 * SIZE) + index, exists & (step < segments)
    if ptr is None:
        state_r, state_i = 0.0, 0.0
    else:
        state_r, state_i = _load_state(ptr, at, exists, SIZE)
    return at, exists, state_r, state_i


@triton.jit(do_not_specialize=["segments"])
def _starts_kernel(
    incoming_ptr,
    ends_ptr,
    starts_ptr,
    jump_ptr,
    segments,
    CHANNELS: tl.constexpr,
    MODES: tl.constexpr,
    REVERSED: tl.constexpr,
    TILE_MODES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The state before every segment: start' = q^(steps of a segment) · start + what the segment adds."""
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)  # channel mode, flat
    SIZE: tl.constexpr = CHANNELS * TILE_MODES
    exists = index < SIZE
    jump_r, jump_i = _load_state(jump_ptr, index, exists, SIZE)
    if REVERSED:
        jump_i = -jump_i
    sequence = tl.program_id(1).to(tl.int64)
    mode = index % TILE_MODES
    at = 2 * ((sequence * CHANNELS + index // TILE_MODES) * MODES + mode)
    state_r, state_i = _load_state(incoming_ptr, at, exists & (mode < MODES), 1)
    for first in range(0, segments, 4):  # four loads under way at a time
        at_0, is_0, r_0, i_0 = _load_segment(ends_ptr, first, sequence, segments, SIZE, index, exists, REVERSED)
        at_1, is_1, r_1, i_1 = _load_segment(ends_ptr, first + 1, sequence, segments, SIZE, index, exists, REVERSED)
        at_2, is_2, r_2, i_2 = _load_segment(ends_ptr, first + 2, sequence, segments, SIZE, index, exists, REVERSED)
        at_3, is_3, r_3, i_3 = _load_segment(ends_ptr, first + 3, sequence, segments, SIZE, index, exists, REVERSED)
        _store_state(starts_ptr, at_0, is_0, state_r, state_i, SIZE)
        state_r, state_i = _times(jump_r, jump_i, state_r, state_i)
        # The end of the first segment holds the incoming state already.
        state_r, state_i = tl.where(first == 0, 0.0, state_r) + r_0, tl.where(first == 0, 0.0, state_i) + i_0
        _store_state(starts_ptr, at_1, is_1, state_r, state_i, SIZE)
        state_r, state_i = _times(jump_r, jump_i, state_r, state_i)
        state_r, state_i = state_r + r_1, state_i + i_1
        _store_state(starts_ptr, at_2, is_2, state_r, state_i, SIZE)
        state_r, state_i = _times(jump_r, jump_i, state_r, state_i)
        state_r, state_i = state_r + r_2, state_i + i_2
        _store_state(starts_ptr, at_3, is_3, state_r, state_i, SIZE)
        state_r, state_i = _times(jump_r, jump_i, state_r, state_i)
        state_r, state_i = state_r + r_3, state_i + i_3


@triton.jit(do_not_specialize=SIZES)
def _sums_kernel(
    x_ptr,
    grad_y_ptr,
    write_ptr,
    across_ptr,
    starts_ptr,
    grad_ends_ptr,
    grad_before_ptr,
    sum_toeplitz_ptr,
    sum_state_ptr,
    sum_slope_ptr,
    sum_ends_ptr,
    first,
    end,
    length,
    batch,
    segments,
    per_segment,
    joined,
    CHANNELS: tl.constexpr,
    MODES: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
    TILE_MODES: tl.constexpr,
    CHUNK: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """Walk forwards with h and z = ∂h/∂(T log q), and sum x ⊗ dy, h ⊗ dy and z ⊗ dy.

    The sums are over the columns and chunks of a program; z starts at 0 in every segment. `sum_ends` gets what happens
    at the ends: conj(g) z of every segment, and conj(g) h after the last step of a sequence less that before its first.
    A segment here is `joined` neighbours of the other walks, whose states lie in `starts` and `grad_ends`.
    """
    channel, is_channel, column, is_column, n = _place(
        CHANNELS, segments * batch, TILE_MODES, TILE_CHANNELS, TILE_COLUMNS
    )
    # States are (channel, n, column) here: so they are ready to be multiplied by dy, without being turned.
    write_r, write_i = _load_matrix(write_ptr, channel, is_channel, CHANNELS, TILE_MODES, CHUNK, False)  # channel n t
    steps = tl.minimum(end - first, CHUNK)
    part = ((steps - 1 - tl.arange(0, CHUNK)) / steps)[None, None, :]  # of the chunk that follows a step
    grows_r, grows_i = (part * write_r).to(OPERAND), (part * write_i).to(OPERAND)  # D
    mode_at = channel[:, None, None] * TILE_MODES + n[None, :, None]
    across_r, across_i = _load_state(across_ptr, mode_at, is_channel[:, None, None], CHANNELS * TILE_MODES)
    state_at = (joined * column.to(tl.int64)[None, None, :] * (2 * CHANNELS) + channel[:, None, None]) * TILE_MODES
    state_at += n[None, :, None]
    has_state = is_column[None, None, :] & is_channel[:, None, None]
    state_r, state_i = _load_state(starts_ptr, state_at, has_state, CHANNELS * TILE_MODES)
    slope_r = tl.zeros((TILE_CHANNELS, TILE_MODES, TILE_COLUMNS), tl.float32)
    slope_i = tl.zeros((TILE_CHANNELS, TILE_MODES, TILE_COLUMNS), tl.float32)
    t = tl.arange(0, CHUNK)
    identity = tl.broadcast_to((t[:, None] == t[None, :])[None, :, :], (TILE_CHANNELS, CHUNK, CHUNK)).to(OPERAND)
    sum_toeplitz = tl.zeros((TILE_CHANNELS, CHUNK, CHUNK), tl.float32)
    sum_state_r = tl.zeros((TILE_CHANNELS, TILE_MODES, CHUNK), tl.float32)
    sum_state_i = tl.zeros((TILE_CHANNELS, TILE_MODES, CHUNK), tl.float32)
    sum_slope_r = tl.zeros((TILE_CHANNELS, TILE_MODES, CHUNK), tl.float32)
    sum_slope_i = tl.zeros((TILE_CHANNELS, TILE_MODES, CHUNK), tl.float32)

    time, row = _segment_place(column, first, length, segments, per_segment, CHUNK)
    at = row[:, :, None] * CHANNELS + channel[None, None, :]
    for chunk in range(per_segment):
        here = at + chunk * (CHUNK * CHANNELS)
        exists = _exists(time, chunk, end, is_column, is_channel, CHUNK)
        x = tl.permute(_load_tile(x_ptr + here, exists, WHOLE, OPERAND), (0, 2, 1))  # channel t column
        grad_y = _load_tile(grad_y_ptr + here, exists, WHOLE, OPERAND)  # channel column t
        # x as a left factor lies otherwise in the registers. A product gets it there sooner than shared memory does.
        left_x = tl.dot(identity, x, input_precision=PRECISION).to(OPERAND)
        sum_toeplitz = tl.dot(left_x, grad_y, sum_toeplitz, input_precision=PRECISION)
        sum_state_r = tl.dot(state_r.to(OPERAND), grad_y, sum_state_r, input_precision=PRECISION)
        sum_state_i = tl.dot(state_i.to(OPERAND), grad_y, sum_state_i, input_precision=PRECISION)
        sum_slope_r = tl.dot(slope_r.to(OPERAND), grad_y, sum_slope_r, input_precision=PRECISION)
        sum_slope_i = tl.dot(slope_i.to(OPERAND), grad_y, sum_slope_i, input_precision=PRECISION)
        new_r, new_i = _times(across_r, across_i, state_r, state_i)
        new_slope_r = new_r + across_r * slope_r - across_i * slope_i
        new_slope_i = new_i + across_r * slope_i + across_i * slope_r
        new_slope_r = tl.dot(grows_r, x, new_slope_r, input_precision=PRECISION)
        new_slope_i = tl.dot(grows_i, x, new_slope_i, input_precision=PRECISION)
        new_r = tl.dot(write_r, x, new_r, input_precision=PRECISION)
        new_i = tl.dot(write_i, x, new_i, input_precision=PRECISION)
        if WHOLE:
            slope_r, slope_i, state_r, state_i = new_slope_r, new_slope_i, new_r, new_i
        else:
            goes_on = (first + (column % segments * per_segment + chunk) * CHUNK < end)[None, None, :]
            slope_r, slope_i = tl.where(goes_on, new_slope_r, slope_r), tl.where(goes_on, new_slope_i, slope_i)
            state_r, state_i = tl.where(goes_on, new_r, state_r), tl.where(goes_on, new_i, state_i)

    group = tl.program_id(1).to(tl.int64)
    inner = (tl.arange(0, CHUNK)[:, None] * CHUNK + tl.arange(0, CHUNK)[None, :])[None, :, :]
    toeplitz_at = (group * CHANNELS + channel)[:, None, None] * (CHUNK * CHUNK) + inner
    tl.store(sum_toeplitz_ptr + toeplitz_at, sum_toeplitz, is_channel[:, None, None])
    _store_sum(sum_state_ptr, channel, is_channel, CHANNELS, sum_state_r, sum_state_i, TILE_MODES, CHUNK)
    _store_sum(sum_slope_ptr, channel, is_channel, CHANNELS, sum_slope_r, sum_slope_i, TILE_MODES, CHUNK)

    end_at = state_at + (joined - 1) * (2 * CHANNELS * TILE_MODES)
    end_r, end_i = _load_state(grad_ends_ptr, end_at, has_state, CHANNELS * TILE_MODES)
    sum_r, sum_i = tl.sum(end_r * slope_r + end_i * slope_i, 2), tl.sum(end_r * slope_i - end_i * slope_r, 2)
    ends_at = (group * 4 * CHANNELS + channel)[:, None] * TILE_MODES + n[None, :]
    _store_state(sum_ends_ptr, ends_at, is_channel[:, None], sum_r, sum_i, CHANNELS * TILE_MODES)
    is_last = (column % segments == segments - 1)[None, None, :]
    out_r = tl.where(is_last, end_r * state_r + end_i * state_i, 0.0)
    out_i = tl.where(is_last, end_r * state_i - end_i * state_r, 0.0)
    state_r, state_i = _load_state(starts_ptr, state_at, has_state, CHANNELS * TILE_MODES)
    before_at = ((column // segments).to(tl.int64)[None, None, :] * CHANNELS + channel[:, None, None]) * MODES
    comes_in = has_state & (column % segments == 0)[None, None, :] & (n < MODES)[None, :, None]
    end_r, end_i = _load_state(grad_before_ptr, 2 * (before_at + n[None, :, None]), comes_in, 1)
    sum_r = tl.sum(out_r - end_r * state_r - end_i * state_i, 2)
    sum_i = tl.sum(out_i - end_r * state_i + end_i * state_r, 2)
    ends_at += 2 * CHANNELS * TILE_MODES
    _store_state(sum_ends_ptr, ends_at, is_channel[:, None], sum_r, sum_i, CHANNELS * TILE_MODES)


@triton.jit
def _through_power(decay, exponent, phase, power_r, power_i, grad_r, grad_i):
    """Gradients of decay and angle (n, 1) from those of power = decay^exponent · exp(i (exponent + phase) angle)."""
    grad_decay = exponent * (grad_r * power_r + grad_i * power_i) / decay
    grad_angle = (exponent + phase) * (grad_i * power_r - grad_r * power_i)
    return tl.sum(grad_decay, 1, keep_dims=True), tl.sum(grad_angle, 1, keep_dims=True)


@triton.jit(do_not_specialize=["groups", "steps"])
def _coefficient_gradients_kernel(
    alpha_ptr,
    delta_ptr,
    theta_ptr,
    eta_ptr,
    sum_toeplitz_ptr,
    sum_state_ptr,
    sum_slope_ptr,
    sum_ends_ptr,
    grad_alpha_ptr,
    grad_delta_ptr,
    grad_theta_ptr,
    grad_eta_ptr,
    grad_skip_ptr,
    groups,
    steps,
    CHANNELS: tl.constexpr,
    MODES: tl.constexpr,
    PHASE: tl.constexpr,
    TILE_MODES: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """From the sums of one channel, over the groups of columns, to the gradients of its coefficients, in float64."""
    channel = tl.program_id(0).to(tl.int64)
    n, e = tl.arange(0, TILE_MODES), tl.arange(0, CHUNK)
    lag, later = e[:, None], e[None, :]
    lags = tl.zeros((CHUNK, CHUNK), tl.float64)
    state_r, state_i = tl.zeros((TILE_MODES, CHUNK), tl.float64), tl.zeros((TILE_MODES, CHUNK), tl.float64)
    slope_r, slope_i = tl.zeros((TILE_MODES, CHUNK), tl.float64), tl.zeros((TILE_MODES, CHUNK), tl.float64)
    end_r, end_i = tl.zeros((TILE_MODES, 1), tl.float64), tl.zeros((TILE_MODES, 1), tl.float64)
    flow_r, flow_i = tl.zeros((TILE_MODES, 1), tl.float64), tl.zeros((TILE_MODES, 1), tl.float64)
    for group in range(groups):
        at = ((group * CHANNELS + channel) * CHUNK + later - lag) * CHUNK + later  # from `later - lag` to `later`
        lags += tl.load(sum_toeplitz_ptr + at, later >= lag, 0.0)
        at = ((group * 2 * CHANNELS + channel) * TILE_MODES + n[:, None]) * CHUNK + e[None, :]
        more_r, more_i = _load_state(sum_state_ptr, at, None, CHANNELS * TILE_MODES * CHUNK)
        state_r, state_i = state_r + more_r, state_i + more_i
        more_r, more_i = _load_state(sum_slope_ptr, at, None, CHANNELS * TILE_MODES * CHUNK)
        slope_r, slope_i = slope_r + more_r, slope_i + more_i
        at = (group * 4 * CHANNELS + channel) * TILE_MODES + n[:, None]
        more_r, more_i = _load_state(sum_ends_ptr, at, None, CHANNELS * TILE_MODES)
        end_r, end_i = end_r + more_r, end_i + more_i
        more_r, more_i = _load_state(sum_ends_ptr + 2 * CHANNELS * TILE_MODES, at, None, CHANNELS * TILE_MODES)
        flow_r, flow_i = flow_r + more_r, flow_i + more_i

    alpha, delta, decay, theta, eta_r, eta_i = _coefficients(
        alpha_ptr, delta_ptr, theta_ptr, eta_ptr, channel, n, MODES
    )
    turn_r, turn_i = tl.cos(theta), tl.sin(theta)
    q_r, q_i = decay * turn_r, decay * turn_i
    power_r, power_i = _powers(q_r, q_i, e[None, :], CHUNK)  # q^e, (n, e)
    later_r, later_i = _times(power_r, power_i, q_r, q_i)  # q^(e+1)
    if PHASE:
        power_r, power_i = _times(power_r, power_i, turn_r, turn_i)

    # In a chunk: K_e = Re(η p q^e), p q^e = α · power.
    lags = tl.sum(lags, 1)  # e
    tl.store(grad_skip_ptr + channel, tl.sum(tl.where(e == 0, lags, 0.0), 0))
    lags, exponent = lags[None, :], e[None, :].to(tl.float64)
    grad_eta_r = tl.sum(lags * alpha * power_r, 1, keep_dims=True)
    grad_eta_i = -tl.sum(lags * alpha * power_i, 1, keep_dims=True)
    grad_alpha = tl.sum(lags * (eta_r * power_r - eta_i * power_i), 1, keep_dims=True)
    grad_decay, grad_theta = _through_power(
        decay, exponent, PHASE, power_r, power_i, lags * alpha * eta_r, -lags * alpha * eta_i
    )

    # From state to output: Vr = Re(η q^(e+1)), Vi = -Im(η q^(e+1)).
    grad_eta_r += tl.sum(state_r * later_r - state_i * later_i, 1, keep_dims=True)
    grad_eta_i -= tl.sum(state_r * later_i + state_i * later_r, 1, keep_dims=True)
    grad_r, grad_i = state_r * eta_r - state_i * eta_i, -state_r * eta_i - state_i * eta_r
    more_decay, more_theta = _through_power(decay, exponent + 1, 0, later_r, later_i, grad_r, grad_i)
    grad_decay, grad_theta = grad_decay + more_decay, grad_theta + more_theta

    # From q to the states, through z: dΦ = Re(slope T d log q), d log q = d|q| / |q| + i dθ.
    read_r, read_i = _times(eta_r, eta_i, later_r, later_i)
    slope_r, slope_i = _times(read_r, read_i, slope_r, slope_i)
    slope_r = tl.sum(slope_r, 1, keep_dims=True) + end_r
    slope_i = tl.sum(slope_i, 1, keep_dims=True) + end_i
    grad_decay += steps * slope_r / decay
    grad_theta -= steps * slope_i

    # From p to the states: dΦ = Re(flow dp / p), and what flows in is what flows out.
    state_r, state_i = _times(read_r, read_i, state_r, state_i)
    flow_r, flow_i = flow_r + tl.sum(state_r, 1, keep_dims=True), flow_i + tl.sum(state_i, 1, keep_dims=True)
    grad_alpha += tl.where(alpha > 0, flow_r / tl.where(alpha > 0, alpha, 1.0), 0.0)
    if PHASE:
        grad_theta -= flow_i

    at, exists = channel * MODES + n[:, None], n[:, None] < MODES
    tl.store(grad_alpha_ptr + at, grad_alpha - delta * grad_decay, exists)
    tl.store(grad_delta_ptr + at, -alpha * grad_decay, exists)
    tl.store(grad_theta_ptr + at, grad_theta, exists)
    _store_state(grad_eta_ptr, 2 * at, exists, grad_eta_r, grad_eta_i, 1)


# --- Launchers ---


class Tiles(NamedTuple):
    """How the work is cut: 16 is the least that a tensor core product takes."""

    channels: int = 16  # of 2 bytes: the 32 bytes that memory hands out at once
    columns: int = 16
    programs: int = 256  # aimed at, by cutting sequences into segments
    least_chunks: int = 8  # in a segment
    chunk: int = 16  # T
    warps: int = 8
    sums_channels: int = 8  # half of those 32 bytes, but two programs share a multiprocessor: one works, one waits


TILES = Tiles()


class Piece(NamedTuple):
    """A stretch of time, first ≤ t < end, in chunks of `steps` steps: all whole chunks, or the rest."""

    first: int
    end: int
    steps: int
    segments: int
    per_segment: int


class Matrices(NamedTuple):
    """What `_matrices_kernel` makes, each flat: parts are (real, imaginary), modes are padded with zeros."""

    lags: Float[Tensor, " channel_chunk"]
    read: Float[Tensor, " order_part_channel_mode_chunk"]
    write: Float[Tensor, " order_part_channel_mode_chunk"]
    across: Float[Tensor, " part_channel_mode"]
    jump: Float[Tensor, " part_channel_mode"]
    twin_read: Float[Tensor, " part_channel_twin_mode"]
    twin_write: Float[Tensor, " part_channel_twin_mode"]
    twin_across: Float[Tensor, " part_channel_mode"]


def _pieces(x: Tensor) -> list[Piece]:
    """Pairs of chunks, which walks without outputs take as one; then a chunk that is left, and the rest."""
    batch, length, channels = x.shape
    chunk, pieces = TILES.chunk, []
    chunks, pairs = length // chunk, length // (2 * chunk)
    if pairs:
        groups = max(1, TILES.programs // triton.cdiv(channels, TILES.channels))
        segments = max(1, min(groups * TILES.columns // batch, 2 * pairs // TILES.least_chunks))
        per_segment = triton.cdiv(pairs, segments)
        pieces.append(Piece(0, 2 * pairs * chunk, chunk, triton.cdiv(pairs, per_segment), 2 * per_segment))
    if chunks % 2:
        pieces.append(Piece(2 * pairs * chunk, chunks * chunk, chunk, 1, 1))
    if length % chunk:
        pieces.append(Piece(chunks * chunk, length, length % chunk, 1, 1))
    return pieces


def _padded(modes: int) -> int:
    """So many modes that the tensor cores take them."""
    return max(16, triton.next_power_of_2(modes))


def _starts_shape(x: Tensor, modes: int) -> tuple[int, int, int, int]:
    """(column, part, channel, mode) for all segments of all sequences."""
    batch, _, channels = x.shape
    return batch * sum(piece.segments for piece in _pieces(x)), 2, channels, _padded(modes)


class _Launches:
    """The kernels on one piece of one call, with the arguments that all of them share."""

    def __init__(self, x: Tensor, coefficients: list[Tensor], phase: bool, piece: Piece):
        self.batch, self.length, self.channels = x.shape
        self.coefficients, self.phase, self.chunk, self.piece = coefficients, phase, TILES.chunk, piece
        self.modes = coefficients[0].shape[1]
        self.padded_modes = _padded(self.modes)
        # A rest, which may be all there is, gets exact products; the interpreter's in bfloat16 are wrong.
        self.narrow = x.dtype == torch.bfloat16 and piece.steps == self.chunk and not interpreting()
        self.tile_channels = self.tile(TILES.channels)
        self.groups = triton.cdiv(piece.segments * self.batch, TILES.columns)
        self.whole = (
            self.channels % self.tile_channels == 0
            and piece.segments * self.batch % TILES.columns == 0
            and piece.end - piece.first == piece.segments * piece.per_segment * self.chunk
        )
        self.device = x.device

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=self.device)

    def tile(self, channels: int) -> int:
        """So many channels; wider operands and more modes need more shared memory for each."""
        return max(1, channels // (1 if self.narrow else 2) * 16 // self.padded_modes)

    def options(self, warps: int, tile_channels: int, chunk: int) -> dict[str, object]:
        return {
            "CHANNELS": self.channels,
            "MODES": self.modes,
            "OPERAND": tl.bfloat16 if self.narrow else tl.float32,
            "PRECISION": "tf32" if self.narrow else "tf32x3",
            "TILE_MODES": self.padded_modes,
            "CHUNK": chunk,
            "TILE_CHANNELS": tile_channels,
            "TILE_COLUMNS": TILES.columns,
            "WHOLE": self.whole,
            "num_warps": min(warps, tile_channels),  # a warp has at least one channel to itself
            "num_stages": 1,  # tiles copied ahead of time lie in shared memory as they come: conflicts in its banks
        }

    def span(self, joined: int = 1, chunks: int = 1) -> tuple[int, ...]:
        """With so many segments as one segment, and so many chunks as one chunk."""
        piece = self.piece
        segments, per_segment = piece.segments // joined, piece.per_segment * joined // chunks
        return piece.first, piece.end, self.length, self.batch, segments, per_segment

    def joined(self) -> int:
        """How many segments the walk with sums takes as one: a program fills a multiprocessor, so half as many do."""
        tiles, groups = self.walk_grid()
        columns = self.piece.segments * self.batch
        halves = self.piece.segments % 2 == 0 and columns % (2 * TILES.columns) == 0
        return 2 if halves and tiles * groups >= TILES.programs else 1

    def walk_grid(self) -> tuple[int, int]:
        return triton.cdiv(self.channels, self.tile_channels), self.groups

    def matrix_sizes(self) -> list[int]:
        """How many bytes each of `Matrices` takes."""
        states = self.channels * self.padded_modes
        operand, matrix, state = 2 if self.narrow else 4, 4 * states * self.chunk, 4 * 2 * states
        lags = self.channels * self.chunk * operand
        return [lags, *(matrix * operand,) * 2, *(state,) * 2, *(matrix * operand,) * 2, state]

    def matrices(self, memory: Tensor) -> Matrices:
        """The matrices that lie in these bytes, one behind the other."""
        operand = torch.bfloat16 if self.narrow else torch.float32
        types = [operand] * 3 + [torch.float32] * 2 + [operand] * 2 + [torch.float32]
        parts = memory.split(self.matrix_sizes())
        return Matrices(*(part.view(dtype) for part, dtype in zip(parts, types, strict=True)))

    def make_matrices(self, memory: Tensor) -> Matrices:
        """The same, filled; they serve the backward pass too."""
        made = self.matrices(memory)
        alpha, delta, theta, eta, skip = self.coefficients
        jump_steps = self.piece.per_segment * self.chunk
        _matrices_kernel[(self.channels,)](
            *(alpha, delta, theta, torch.view_as_real(eta), skip, *made),
            *(self.piece.steps, jump_steps),
            CHANNELS=self.channels,
            MODES=self.modes,
            PHASE=int(self.phase),
            TILE_MODES=self.padded_modes,
            CHUNK=self.chunk,
            num_warps=min(8, self.padded_modes // 8),
        )
        return made

    def starts(self, x: Tensor, matrices: Matrices, incoming: State, starts: Tensor, reverse: bool) -> None:
        """Fill `starts` (column part channel mode): the state with which the walk enters every segment."""
        ends = None
        if self.piece.segments > 1:
            ends = torch.empty_like(starts)
            self.walk(x, None, matrices, incoming, ends, reverse)
        _starts_kernel[(triton.cdiv(self.channels * self.padded_modes, 256), self.batch)](
            *(torch.view_as_real(incoming), ends, starts, matrices.jump, self.piece.segments),
            CHANNELS=self.channels,
            MODES=self.modes,
            REVERSED=reverse,
            TILE_MODES=self.padded_modes,
            BLOCK=256,
        )

    def walk(
        self, x: Tensor, y: Tensor | None, matrices: Matrices, starts: Tensor, ends: Tensor, reverse: bool
    ) -> None:
        """Launch `_walk_kernel`; y None: states only, two chunks at a time, from the incoming one."""
        made = matrices
        if y is None:
            read, write, across, twins = made.twin_read, made.twin_write, made.twin_across, 2
            starts = torch.view_as_real(starts)
        else:
            read, write, across, twins = made.read, made.write, made.across, 1
            ends = torch.view_as_real(ends)
        if reverse:
            read, write = write, read
        _walk_kernel[self.walk_grid()](
            *(x, y, made.lags, read, write, across, starts, ends, *self.span(chunks=twins)),
            REVERSED=reverse,
            OUTPUT=y is not None,
            **self.options(TILES.warps, self.tile_channels, twins * self.chunk),
        )

    def gradients(
        self,
        x: Tensor,
        grad_y: Tensor,
        grad_x: Tensor,
        matrices: Matrices,
        starts: Tensor,
        grad_after: Tensor,
        grad_before: Tensor,
    ) -> list[Tensor]:
        """Fill grad_x and grad_before (of the incoming state); return the gradients of the coefficients."""
        grad_ends = torch.empty_like(starts)
        self.starts(grad_y, matrices, grad_after, grad_ends, reverse=True)
        self.walk(grad_y, grad_x, matrices, grad_ends, grad_before, reverse=True)
        joined, tile_channels = self.joined(), self.tile(TILES.sums_channels)
        grid = triton.cdiv(self.channels, tile_channels), self.groups // joined
        inner = (grid[1], 2, self.channels, self.padded_modes, self.chunk)
        sum_state, sum_slope, sum_ends = self.empty(*inner), self.empty(*inner), self.empty(inner[0], 4, *inner[2:4])
        sum_toeplitz = self.empty(grid[1], self.channels, self.chunk, self.chunk)
        _sums_kernel[grid](
            *(x, grad_y, matrices.write, matrices.across),
            *(starts, grad_ends, torch.view_as_real(grad_before)),
            *(sum_toeplitz, sum_state, sum_slope, sum_ends, *self.span(joined), joined),
            **self.options(TILES.warps, tile_channels, self.chunk),
        )
        gradients = [torch.empty_like(coefficient) for coefficient in self.coefficients]
        alpha, delta, theta, eta, _ = self.coefficients
        grad_alpha, grad_delta, grad_theta, grad_eta, grad_skip = gradients
        _coefficient_gradients_kernel[(self.channels,)](
            *(alpha, delta, theta, torch.view_as_real(eta), sum_toeplitz, sum_state, sum_slope, sum_ends),
            *(grad_alpha, grad_delta, grad_theta, torch.view_as_real(grad_eta), grad_skip),
            *(grid[1], self.piece.steps),
            CHANNELS=self.channels,
            MODES=self.modes,
            PHASE=int(self.phase),
            TILE_MODES=self.padded_modes,
            CHUNK=self.chunk,
            num_warps=4,
        )
        return gradients


def _all_launches(x: Tensor, coefficients: list[Tensor], phase: bool) -> tuple[list[_Launches], list[int]]:
    """The launches of every piece, and how many bytes its matrices take."""
    launches = [_Launches(x, coefficients, phase, piece) for piece in _pieces(x)]
    return launches, [sum(each.matrix_sizes()) for each in launches]


def _launch_forward(
    x: Tensor,
    alpha: Tensor,
    delta: Tensor,
    theta: Tensor,
    eta: Tensor,
    skip: Tensor,
    state: Tensor,
    input_phase: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, the last state; and for the backward pass the state before every segment and the matrices (bytes)."""
    x, state, *coefficients = (t.resolve_conj().contiguous() for t in (x, state, alpha, delta, theta, eta, skip))
    y, last = torch.empty_like(x), torch.empty_like(state)
    starts, slot = torch.empty(_starts_shape(x, state.shape[2]), device=x.device), 0
    all_launches, sizes = _all_launches(x, coefficients, input_phase)
    memory = torch.empty(sum(sizes), dtype=torch.uint8, device=x.device)
    with torch.cuda.device_of(x):
        for launches, part in zip(all_launches, memory.split(sizes), strict=True):
            matrices = launches.make_matrices(part)
            here = starts[slot : slot + launches.piece.segments * len(x)]
            slot += len(here)
            launches.starts(x, matrices, state, here, reverse=False)
            state = last if launches is all_launches[-1] else torch.empty_like(last)
            launches.walk(x, y, matrices, here, state, reverse=False)
    return y, last, starts, memory


def _launch_backward(
    grad_y: Tensor,
    grad_last: Tensor,
    x: Tensor,
    alpha: Tensor,
    delta: Tensor,
    theta: Tensor,
    eta: Tensor,
    skip: Tensor,
    starts: Tensor,
    memory: Tensor,
    input_phase: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, alpha, delta, theta, eta, skip and the incoming state."""
    tensors = (t.resolve_conj().contiguous() for t in (grad_y, grad_last, x, alpha, delta, theta, eta, skip))
    grad_y, grad_state, x, *coefficients = tensors
    grad_x, slot, sums = torch.empty_like(x), len(starts), None
    all_launches, sizes = _all_launches(x, coefficients, input_phase)
    with torch.cuda.device_of(x):
        for launches, part in reversed(list(zip(all_launches, memory.split(sizes), strict=True))):
            here = starts[slot - launches.piece.segments * len(x) : slot]
            slot -= len(here)
            grad_before = torch.empty_like(grad_state)
            matrices = launches.matrices(part)
            gradients = launches.gradients(x, grad_y, grad_x, matrices, here, grad_state, grad_before)
            sums = gradients if sums is None else [a + b for a, b in zip(sums, gradients, strict=True)]
            grad_state = grad_before
    assert sums is not None  # x is never empty
    grad_alpha, grad_delta, grad_theta, grad_eta, grad_skip = sums
    return grad_x, grad_alpha, grad_delta, grad_theta, grad_eta, grad_skip, grad_state


# --- Autograd: a plain function, and two registered operators for torch.compile (they cost more on the host) ---


def _setup_context(ctx, inputs, output):
    *tensors, _, ctx.input_phase = inputs
    ctx.save_for_backward(*tensors, *output[2:])


def _saved(ctx):
    return (*ctx.saved_tensors, ctx.input_phase)


class ComplexEMAFunction(torch.autograd.Function):
    """`_launch_forward` with its gradient."""

    @staticmethod
    def forward(*arguments):
        return _launch_forward(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(*output[2:])
        _setup_context(ctx, inputs, output)

    @staticmethod
    def backward(ctx, grad_y, grad_last, *_):
        return *_launch_backward(grad_y, grad_last, *_saved(ctx)), None


_forward = torch.library.custom_op("megalodon_edu::complex_ema", _launch_forward, mutates_args=())
_backward = torch.library.custom_op("megalodon_edu::complex_ema_backward", _launch_backward, mutates_args=())


@_forward.register_fake
def _(x, alpha, delta, theta, eta, skip, state, input_phase):
    starts = torch.empty(_starts_shape(x, state.shape[2]), device=x.device)
    _, sizes = _all_launches(x, [alpha], input_phase)
    memory = torch.empty(sum(sizes), dtype=torch.uint8, device=x.device)
    return x.new_empty(x.shape), state.new_empty(state.shape), starts, memory


@_backward.register_fake
def _(grad_y, grad_last, x, alpha, delta, theta, eta, skip, *_):
    return tuple(of.new_empty(of.shape) for of in (x, alpha, delta, theta, eta, skip, grad_last))


def _differentiate(ctx, grad_y, grad_last, *_):
    return *_backward(grad_y, grad_last, *_saved(ctx)), None


_forward.register_autograd(_differentiate, setup_context=_setup_context)


def _incoming_state(state: State | None, x: Sequence, modes: int) -> State:
    """As `ops.recurrence.incoming_state`, in the words that torch.compile understands."""
    batch, _, channels = x.shape
    if state is None:
        return torch.zeros(batch, channels, modes, dtype=torch.complex64, device=x.device)
    require_tensor("state", state, "batch channel mode", batch=batch, channel=channels, mode=modes)
    if not state.is_complex():
        raise TypeError(f"state must be complex, got {state.dtype}; pass the state that this operator returned")
    require_device_of("state", state, x)
    return state.to(torch.complex64)


def complex_ema_triton(
    x: Sequence,
    alpha: Modes,
    delta: Modes,
    theta: Modes,
    eta: ComplexModes,
    skip: Float[Tensor, " channel"],
    state: State | None = None,
    input_phase: bool = False,
) -> tuple[Sequence, State]:
    """`ops.complex_ema.complex_ema_reference` in Triton, for x in float32, float16 or bfloat16.

    alpha and delta lie in (0, 1], theta is in radians; state is h_{-1}, None for zeros.
    Returns y in the type of x and the last state in complex64.
    Raises TypeError or ValueError as `ops` does, and for float64; RuntimeError where no Triton kernel runs.
    """
    _check_coefficients(alpha, delta, theta, eta)
    check_sequence(x, alpha=alpha)
    require_kernel_type("x", x)
    require_tensor("skip", skip, "channel", channel=x.shape[2])
    require_floating("skip", skip)
    require_finite("skip", skip)
    require_bool("input_phase", input_phase)
    state = _incoming_state(state, x, alpha.shape[1])
    coefficients = {"alpha": alpha, "delta": delta, "theta": theta, "eta": eta, "skip": skip}
    for name, value in coefficients.items():
        require_device_of(name, value, x)
    require_kernels(x.device)
    tensors = (x, alpha, delta, theta, eta, skip, state)
    y, last, *_ = entry(_launch_forward, ComplexEMAFunction, _forward, *tensors)(*tensors, input_phase)
    return y, last

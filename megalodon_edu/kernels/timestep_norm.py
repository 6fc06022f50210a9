"""Timestep Norm in Triton: three launches forward, three backward and a sum, statistics in float32.

    μ_t  = (n_0 μ_0 + Σ_{s≤t} m_s) / n_t                   m_s, v_s: mean and biased variance of token s in its group
    S_t  = n_0 σ²_0 + Σ_{s≤t} [v_s + (n_{s-1} / n_s) (m_s - μ_{s-1})²]               σ²_t = S_t / n_t
    y_t  = (x_t - μ_t) r_t (weight + 1) + bias             r_t = 1 / sqrt(σ²_t + eps)

Megalodon (arXiv:2404.08801), Eq 4. The second line is Welford's update written as a sum: no term is negative, so
nothing cancels, and a running sum over a block is all that the kernel needs. Spans of tokens obey the same lines, with
n, m and v of the span (Chan, Golub and LeVeque). Means are kept relative to the first token, the origin, as in `ops`.

Time is cut into blocks. Forward: (1) n, m and v of every block, (2) the running sums over blocks, (3) the running sums
inside each block, and y. x is read twice, y written once.

Backward. With g = dy (weight + 1), x̂ = (x - μ) r and Σ_j over the W features of a group:

    dL/dμ_t = -r_t Σ_j g_tj = A_t          dL/dσ²_t = -1/2 r_t² Σ_j g_tj x̂_tj = B_t
    ∂μ_t/∂x_s = 1 / (n_t W)                ∂σ²_t/∂x_s = 2 (x_s - μ_t) / (n_t W)               for every s ≤ t
    dx_s = g_s r_s + (U_s + 2 x_s Q_s) / W
    U_s = Σ_{t≥s} (A_t - 2 B_t μ_t) / n_t        Q_s = Σ_{t≥s} B_t / n_t

U and Q are running sums backwards in time; gradients of the last state join them as one more term after the last token.
∂μ_t/∂μ_0 = n_0 / n_t and ∂σ²_t/∂μ_0 = 2 n_0 (μ_0 - μ_t) / n_t give dL/dμ_0 = n_0 (U + 2 μ_0 Q) and dL/dσ²_0 = n_0 Q
with the whole sums. So: (1) the sums of both terms over each block, and of dy x̂ and dy for weight and bias, (2) the
running sums over blocks, (3) those inside each block, and dx. x and dy are read twice, dx written once.
Every sum has a fixed order: the same input gives the same bits.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# (Kernels have no types: Triton compiles them for those they meet.)

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from megalodon_edu.kernels.availability import require_kernels
from megalodon_edu.kernels.entry import entry, require_kernel_type, wants_gradient
from megalodon_edu.ops.timestep_norm import TimestepNormState, check_arguments

# Kernels. A tile has the shape (time, group, width): some tokens, some groups, all features of a group.


@triton.jit
def _place(program, blocks, GROUP_BLOCKS: tl.constexpr):
    """Which sequence, block of time and block of groups a program works on; neighbours share rows of memory."""
    rest = program // GROUP_BLOCKS
    return (rest // blocks).to(tl.int64), rest % blocks, program % GROUP_BLOCKS


@triton.jit
def _seen(seen_ptr, batch, end, length, HAS_PADDING: tl.constexpr):
    """How many tokens that are no padding stand before position `end`."""
    end = tl.minimum(end, length)
    if HAS_PADDING:
        return tl.load(seen_ptr + batch * length + end - 1, mask=end > 0, other=0)
    else:
        return end


@triton.jit
def _columns(group, GROUPS: tl.constexpr, WIDTH: tl.constexpr, BLOCK_WIDTH: tl.constexpr):
    """Where in a row the features of these groups lie, and which of them exist."""
    feature = tl.arange(0, BLOCK_WIDTH)
    return group[:, None] * WIDTH + feature[None, :], (group < GROUPS)[:, None] & (feature < WIDTH)[None, :]


@triton.jit
def _running_statistics(past_mean, past_square, n_before, n_after, mean, square):
    """μ and S after every row, as in the module's text; a row is a token or a block of n_after - n_before tokens."""
    n_before, n_after = n_before[:, None].to(past_mean.dtype), n_after[:, None].to(past_mean.dtype)
    tokens, at_least_one = n_after - n_before, tl.maximum(n_after, 1)
    pull = tokens * (mean - past_mean[None, :])
    total = tl.cumsum(pull, 0)
    mean_before = past_mean[None, :] + (total - pull) / tl.maximum(n_before, 1)
    share = tokens * n_before / at_least_one
    gain = square + share * (mean - mean_before) * (mean - mean_before)
    return past_mean[None, :] + total / at_least_one, past_square[None, :] + tl.cumsum(gain, 0)


@triton.jit
def _last_row(rows, ROWS: tl.constexpr):
    return tl.sum(tl.where(tl.arange(0, ROWS)[:, None] == ROWS - 1, rows, 0.0), 0)


@triton.jit(do_not_specialize=["length", "blocks"])
def _block_statistics(
    x_ptr,
    seen_ptr,
    first_ptr,
    origin_ptr,
    block_mean_ptr,
    block_square_ptr,
    length,
    blocks,
    GROUPS: tl.constexpr,
    WIDTH: tl.constexpr,
    HAS_PADDING: tl.constexpr,
    BLOCK_TIME: tl.constexpr,
    BLOCK_GROUPS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    GROUP_BLOCKS: tl.constexpr,
):
    """Forward 1: the mean of every block, and the sum over its tokens of the squared distance from that mean."""
    batch, block, group_block = _place(tl.program_id(0), blocks, GROUP_BLOCKS)
    group = group_block * BLOCK_GROUPS + tl.arange(0, BLOCK_GROUPS)
    column, exists = _columns(group, GROUPS, WIDTH, BLOCK_WIDTH)
    step = tl.arange(0, BLOCK_TIME)
    before = _seen(seen_ptr, batch, block * BLOCK_TIME + step, length, HAS_PADDING)
    real = _seen(seen_ptr, batch, block * BLOCK_TIME + step + 1, length, HAS_PADDING) > before
    inside = real[:, None, None] & exists[None, :, :]

    first = tl.load(first_ptr + batch) if HAS_PADDING else 0
    row = x_ptr + (batch * length + first) * (GROUPS * WIDTH)
    first_token = tl.load(row + column, mask=exists & (first < length), other=0.0).to(tl.float32)
    origin = tl.sum(first_token, 1) / WIDTH  # (group,)

    start = x_ptr + (batch * length + block * BLOCK_TIME) * (GROUPS * WIDTH)
    x = tl.load(start + (step * (GROUPS * WIDTH))[:, None, None] + column[None, :, :], mask=inside, other=0.0)
    x = tl.where(inside, x.to(tl.float32) - origin[None, :, None], 0.0)
    tokens = tl.maximum(tl.sum(real.to(tl.int32), 0), 1)
    mean = tl.sum(tl.sum(x, 2), 0) / (tokens * WIDTH)  # (group,)
    x = tl.where(inside, x - mean[None, :, None], 0.0)
    square = tl.sum(tl.sum(x * x, 2), 0) / WIDTH

    out = (batch * blocks + block) * GROUPS + group
    tl.store(block_mean_ptr + out, mean, mask=group < GROUPS)
    tl.store(block_square_ptr + out, square, mask=group < GROUPS)
    if block == 0:
        tl.store(origin_ptr + batch * GROUPS + group, origin, mask=group < GROUPS)


@triton.jit(do_not_specialize=["length", "blocks"])
def _scan_statistics(
    seen_ptr,
    origin_ptr,
    block_mean_ptr,
    block_square_ptr,
    count_ptr,
    mean_ptr,
    var_ptr,
    start_mean_ptr,
    start_square_ptr,
    last_mean_ptr,
    last_var_ptr,
    length,
    blocks,
    GROUPS: tl.constexpr,
    HAS_PADDING: tl.constexpr,
    BLOCK_TIME: tl.constexpr,
    SCAN_ROWS: tl.constexpr,
    SCAN_GROUPS: tl.constexpr,
    GROUP_BLOCKS: tl.constexpr,
):
    """Forward 2: μ and S before every block, and after the last one. Row i of the scan adds block i - 1.

    In float64: a mean near 0 is the small difference of the origin and what lies between.
    """
    batch = (tl.program_id(0) // GROUP_BLOCKS).to(tl.int64)
    group = tl.program_id(0) % GROUP_BLOCKS * SCAN_GROUPS + tl.arange(0, SCAN_GROUPS)
    exists = group < GROUPS
    known = batch * GROUPS + group
    origin = tl.load(origin_ptr + known, mask=exists, other=0.0).to(tl.float64)
    state_mean = tl.load(mean_ptr + known, mask=exists, other=0.0).to(tl.float64)
    state_var = tl.load(var_ptr + known, mask=exists, other=0.0).to(tl.float64)
    count = tl.load(count_ptr + batch)
    mean = tl.where(count > 0, state_mean - origin, 0.0)
    square = tl.where(count > 0, state_var * count.to(tl.float64), 0.0)
    for first in range(0, blocks + 1, SCAN_ROWS):
        row = first + tl.arange(0, SCAN_ROWS)
        added = (batch * blocks + row - 1)[:, None] * GROUPS + group[None, :]
        is_block = ((row > 0) & (row <= blocks))[:, None] & exists[None, :]
        block_mean = tl.load(block_mean_ptr + added, mask=is_block, other=0.0).to(tl.float64)
        block_square = tl.load(block_square_ptr + added, mask=is_block, other=0.0).to(tl.float64)
        n_before = count + _seen(seen_ptr, batch, tl.maximum(row - 1, 0) * BLOCK_TIME, length, HAS_PADDING)
        n_after = count + _seen(seen_ptr, batch, row * BLOCK_TIME, length, HAS_PADDING)
        means, squares = _running_statistics(mean, square, n_before, n_after, block_mean, block_square)
        out = added + GROUPS
        tl.store(start_mean_ptr + out, means, mask=(row < blocks)[:, None] & exists[None, :])
        tl.store(start_square_ptr + out, squares, mask=(row < blocks)[:, None] & exists[None, :])
        mean, square = _last_row(means, SCAN_ROWS), _last_row(squares, SCAN_ROWS)
    n = count + _seen(seen_ptr, batch, length, length, HAS_PADDING)
    last_var = square / tl.maximum(n, 1).to(tl.float64)
    tl.store(last_mean_ptr + known, tl.where(n > 0, mean + origin, state_mean), mask=exists)
    tl.store(last_var_ptr + known, tl.where(n > 0, last_var, state_var), mask=exists)


@triton.jit(do_not_specialize=["length", "blocks"])
def _normalise(
    x_ptr,
    weight_ptr,
    bias_ptr,
    seen_ptr,
    origin_ptr,
    start_mean_ptr,
    start_square_ptr,
    count_ptr,
    y_ptr,
    running_mean_ptr,
    running_rstd_ptr,
    length,
    blocks,
    eps,
    GROUPS: tl.constexpr,
    WIDTH: tl.constexpr,
    HAS_PADDING: tl.constexpr,
    KEEP: tl.constexpr,
    BLOCK_TIME: tl.constexpr,
    BLOCK_GROUPS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    GROUP_BLOCKS: tl.constexpr,
):
    """Forward 3: μ and r of every token, and y. KEEP stores μ and r for the backward pass.

    The last blocks come first: what forward 1 read last may still be in the cache.
    """
    program = tl.num_programs(0) - 1 - tl.program_id(0)
    batch, block, group_block = _place(program, blocks, GROUP_BLOCKS)
    group = group_block * BLOCK_GROUPS + tl.arange(0, BLOCK_GROUPS)
    column, exists = _columns(group, GROUPS, WIDTH, BLOCK_WIDTH)
    step = tl.arange(0, BLOCK_TIME)
    time = block * BLOCK_TIME + step
    before = _seen(seen_ptr, batch, time, length, HAS_PADDING)
    after = _seen(seen_ptr, batch, time + 1, length, HAS_PADDING)
    inside = (after > before)[:, None, None] & exists[None, :, :]
    count = tl.load(count_ptr + batch)

    origin = tl.load(origin_ptr + batch * GROUPS + group, mask=group < GROUPS, other=0.0)
    start = (batch * length + block * BLOCK_TIME) * (GROUPS * WIDTH)
    at = (step * (GROUPS * WIDTH))[:, None, None] + column[None, :, :]
    x = tl.load(x_ptr + start + at, mask=inside, other=0.0)
    x = tl.where(inside, x.to(tl.float32) - origin[None, :, None], 0.0)
    token_mean = tl.sum(x, 2) / WIDTH  # (time, group)
    distance = tl.where(inside, x - token_mean[:, :, None], 0.0)
    token_var = tl.sum(distance * distance, 2) / WIDTH

    past = (batch * blocks + block) * GROUPS + group
    past_mean = tl.load(start_mean_ptr + past, mask=group < GROUPS, other=0.0)
    past_square = tl.load(start_square_ptr + past, mask=group < GROUPS, other=0.0)
    mean, square = _running_statistics(past_mean, past_square, count + before, count + after, token_mean, token_var)
    n = tl.maximum(count + after, 1).to(tl.float32)
    rstd = tl.rsqrt(square / n[:, None] + eps)

    weight = tl.load(weight_ptr + column, mask=exists, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + column, mask=exists, other=0.0).to(tl.float32)
    y = (x - mean[:, :, None]) * rstd[:, :, None] * (weight + 1)[None, :, :] + bias[None, :, :]
    y = tl.where(inside, y, 0.0)
    in_time = (time < length)[:, None, None] & exists[None, :, :]
    tl.store(y_ptr + start + at, y.to(y_ptr.dtype.element_ty), mask=in_time)
    if KEEP:
        out = (batch * GROUPS + group)[None, :] * length + time[:, None]  # stored as (batch, group, time)
        kept = (time < length)[:, None] & (group < GROUPS)[None, :]
        tl.store(running_mean_ptr + out, mean, mask=kept)
        tl.store(running_rstd_ptr + out, rstd, mask=kept)


@triton.jit
def _statistics_gradients(g, normal, mean, rstd, n):
    """The terms of U and Q of every token, (time, group)."""
    by_mean = -rstd * tl.sum(g, 2)
    by_var = -0.5 * rstd * rstd * tl.sum(g * normal, 2)
    return (by_mean - 2 * by_var * mean) / n[:, None], by_var / n[:, None]


@triton.jit(do_not_specialize=["length", "blocks"])
def _block_gradients(
    dy_ptr,
    x_ptr,
    weight_ptr,
    seen_ptr,
    origin_ptr,
    count_ptr,
    running_mean_ptr,
    running_rstd_ptr,
    block_u_ptr,
    block_q_ptr,
    block_weight_ptr,
    block_bias_ptr,
    length,
    blocks,
    GROUPS: tl.constexpr,
    WIDTH: tl.constexpr,
    HAS_PADDING: tl.constexpr,
    BLOCK_TIME: tl.constexpr,
    BLOCK_GROUPS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    GROUP_BLOCKS: tl.constexpr,
):
    """Backward 1: the terms of U and Q summed over every block, and the block's share of dweight and dbias."""
    batch, block, group_block = _place(tl.program_id(0), blocks, GROUP_BLOCKS)
    group = group_block * BLOCK_GROUPS + tl.arange(0, BLOCK_GROUPS)
    column, exists = _columns(group, GROUPS, WIDTH, BLOCK_WIDTH)
    step = tl.arange(0, BLOCK_TIME)
    time = block * BLOCK_TIME + step
    after = _seen(seen_ptr, batch, time + 1, length, HAS_PADDING)
    real = after > _seen(seen_ptr, batch, time, length, HAS_PADDING)
    inside = real[:, None, None] & exists[None, :, :]
    n = tl.maximum(tl.load(count_ptr + batch) + after, 1).to(tl.float32)

    known = (batch * GROUPS + group)[None, :] * length + time[:, None]
    is_known = real[:, None] & (group < GROUPS)[None, :]
    mean = tl.load(running_mean_ptr + known, mask=is_known, other=0.0)
    rstd = tl.load(running_rstd_ptr + known, mask=is_known, other=0.0)
    origin = tl.load(origin_ptr + batch * GROUPS + group, mask=group < GROUPS, other=0.0)
    weight = tl.load(weight_ptr + column, mask=exists, other=0.0).to(tl.float32)

    start = (batch * length + block * BLOCK_TIME) * (GROUPS * WIDTH)
    at = (step * (GROUPS * WIDTH))[:, None, None] + column[None, :, :]
    x = tl.load(x_ptr + start + at, mask=inside, other=0.0).to(tl.float32)
    dy = tl.load(dy_ptr + start + at, mask=inside, other=0.0).to(tl.float32)
    normal = ((x - origin[None, :, None]) - mean[:, :, None]) * rstd[:, :, None]
    u, q = _statistics_gradients(dy * (weight + 1)[None, :, :], normal, mean, rstd, n)

    out = batch * blocks + block
    tl.store(block_u_ptr + out * GROUPS + group, tl.sum(u, 0), mask=group < GROUPS)
    tl.store(block_q_ptr + out * GROUPS + group, tl.sum(q, 0), mask=group < GROUPS)
    tl.store(block_weight_ptr + out * (GROUPS * WIDTH) + column, tl.sum(dy * normal, 0), mask=exists)
    tl.store(block_bias_ptr + out * (GROUPS * WIDTH) + column, tl.sum(dy, 0), mask=exists)


@triton.jit(do_not_specialize=["length", "blocks"])
def _scan_gradients(
    seen_ptr,
    origin_ptr,
    running_mean_ptr,
    block_u_ptr,
    block_q_ptr,
    count_ptr,
    mean_ptr,
    last_mean_grad_ptr,
    last_var_grad_ptr,
    future_u_ptr,
    future_q_ptr,
    mean_grad_ptr,
    var_grad_ptr,
    length,
    blocks,
    GROUPS: tl.constexpr,
    HAS_PADDING: tl.constexpr,
    SCAN_ROWS: tl.constexpr,
    SCAN_GROUPS: tl.constexpr,
    GROUP_BLOCKS: tl.constexpr,
):
    """Backward 2: U and Q after every block, and before the first. Row i of the scan adds block `blocks - i`."""
    batch = (tl.program_id(0) // GROUP_BLOCKS).to(tl.int64)
    group = tl.program_id(0) % GROUP_BLOCKS * SCAN_GROUPS + tl.arange(0, SCAN_GROUPS)
    exists = group < GROUPS
    known = batch * GROUPS + group
    last_mean_grad = tl.load(last_mean_grad_ptr + known, mask=exists, other=0.0)
    last_var_grad = tl.load(last_var_grad_ptr + known, mask=exists, other=0.0)
    last_mean = tl.load(running_mean_ptr + known * length + length - 1, mask=exists, other=0.0)
    count = tl.load(count_ptr + batch)
    n = count + _seen(seen_ptr, batch, length, length, HAS_PADDING)
    u = (last_mean_grad - 2 * last_var_grad * last_mean) / tl.maximum(n, 1).to(tl.float32)
    q = last_var_grad / tl.maximum(n, 1).to(tl.float32)
    for first in range(0, blocks + 1, SCAN_ROWS):
        row = first + tl.arange(0, SCAN_ROWS)
        added = (batch * blocks + blocks - row)[:, None] * GROUPS + group[None, :]
        is_block = ((row > 0) & (row <= blocks))[:, None] & exists[None, :]
        us = u[None, :] + tl.cumsum(tl.load(block_u_ptr + added, mask=is_block, other=0.0), 0)
        qs = q[None, :] + tl.cumsum(tl.load(block_q_ptr + added, mask=is_block, other=0.0), 0)
        out = added - GROUPS
        tl.store(future_u_ptr + out, us, mask=(row < blocks)[:, None] & exists[None, :])
        tl.store(future_q_ptr + out, qs, mask=(row < blocks)[:, None] & exists[None, :])
        u, q = _last_row(us, SCAN_ROWS), _last_row(qs, SCAN_ROWS)
    origin = tl.load(origin_ptr + known, mask=exists, other=0.0)
    mean = tl.where(count > 0, tl.load(mean_ptr + known, mask=exists, other=0.0) - origin, 0.0)
    weight = count.to(tl.float32)
    tl.store(mean_grad_ptr + known, tl.where(n > 0, weight * (u + 2 * mean * q), last_mean_grad), mask=exists)
    tl.store(var_grad_ptr + known, tl.where(n > 0, weight * q, last_var_grad), mask=exists)


@triton.jit(do_not_specialize=["length", "blocks"])
def _input_gradient(
    dy_ptr,
    x_ptr,
    weight_ptr,
    seen_ptr,
    origin_ptr,
    count_ptr,
    running_mean_ptr,
    running_rstd_ptr,
    future_u_ptr,
    future_q_ptr,
    dx_ptr,
    length,
    blocks,
    GROUPS: tl.constexpr,
    WIDTH: tl.constexpr,
    HAS_PADDING: tl.constexpr,
    BLOCK_TIME: tl.constexpr,
    BLOCK_GROUPS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    GROUP_BLOCKS: tl.constexpr,
):
    """Backward 3: U and Q of every token, and dx. The tile holds time backwards: its running sums come from the future.

    The last blocks come first: what backward 1 read last may still be in the cache.
    """
    program = tl.num_programs(0) - 1 - tl.program_id(0)
    batch, block, group_block = _place(program, blocks, GROUP_BLOCKS)
    group = group_block * BLOCK_GROUPS + tl.arange(0, BLOCK_GROUPS)
    column, exists = _columns(group, GROUPS, WIDTH, BLOCK_WIDTH)
    step = BLOCK_TIME - 1 - tl.arange(0, BLOCK_TIME)
    time = block * BLOCK_TIME + step
    after = _seen(seen_ptr, batch, time + 1, length, HAS_PADDING)
    real = after > _seen(seen_ptr, batch, time, length, HAS_PADDING)
    inside = real[:, None, None] & exists[None, :, :]
    n = tl.maximum(tl.load(count_ptr + batch) + after, 1).to(tl.float32)

    known = (batch * GROUPS + group)[None, :] * length + time[:, None]
    is_known = real[:, None] & (group < GROUPS)[None, :]
    mean = tl.load(running_mean_ptr + known, mask=is_known, other=0.0)
    rstd = tl.load(running_rstd_ptr + known, mask=is_known, other=0.0)
    origin = tl.load(origin_ptr + batch * GROUPS + group, mask=group < GROUPS, other=0.0)
    weight = tl.load(weight_ptr + column, mask=exists, other=0.0).to(tl.float32)

    start = (batch * length + block * BLOCK_TIME) * (GROUPS * WIDTH)
    at = (step * (GROUPS * WIDTH))[:, None, None] + column[None, :, :]
    x = tl.load(x_ptr + start + at, mask=inside, other=0.0).to(tl.float32) - origin[None, :, None]
    g = tl.load(dy_ptr + start + at, mask=inside, other=0.0).to(tl.float32) * (weight + 1)[None, :, :]
    u, q = _statistics_gradients(g, (x - mean[:, :, None]) * rstd[:, :, None], mean, rstd, n)

    future = (batch * blocks + block) * GROUPS + group
    u = tl.cumsum(u, 0) + tl.load(future_u_ptr + future, mask=group < GROUPS, other=0.0)[None, :]
    q = tl.cumsum(q, 0) + tl.load(future_q_ptr + future, mask=group < GROUPS, other=0.0)[None, :]
    dx = g * rstd[:, :, None] + (u[:, :, None] + 2 * x * q[:, :, None]) / WIDTH
    dx = tl.where(inside, dx, 0.0)
    in_time = (time < length)[:, None, None] & exists[None, :, :]
    tl.store(dx_ptr + start + at, dx.to(dx_ptr.dtype.element_ty), mask=in_time)


# Launchers.

ROW = 32
"""Features that a program takes of one token, or a whole group."""

TILE = 4096
"""Values in a program's tile, unless one token of one group has more."""

LONGEST_BLOCK = 128
"""Tokens in a block, at most."""

WARPS = 4
"""Warps of 32 threads in a program."""

SCAN_TILE = (128, 4)
"""Blocks and groups that the scan over blocks takes at once."""


class Blocks(NamedTuple):
    """How a launch cuts (time, group, width) into tiles."""

    time: int
    groups: int
    width: int
    group_blocks: int
    number: int

    @classmethod
    def of(cls, length: int, groups: int, width: int) -> "Blocks":
        block_width = triton.next_power_of_2(width)
        block_groups = min(triton.next_power_of_2(groups), max(1, ROW // block_width))
        block_time = max(1, min(LONGEST_BLOCK, TILE // (block_groups * block_width)))
        return cls(block_time, block_groups, block_width, -(-groups // block_groups), -(-length // block_time))

    def launch(self) -> dict[str, int]:
        """The arguments of the kernels that work on tiles."""
        return {
            "BLOCK_TIME": self.time,
            "BLOCK_GROUPS": self.groups,
            "BLOCK_WIDTH": self.width,
            "GROUP_BLOCKS": self.group_blocks,
            "num_warps": WARPS,
        }


def _scan_launch(groups: int) -> dict[str, int]:
    """The arguments of the two kernels that run over blocks."""
    rows, wide = SCAN_TILE
    return {"SCAN_ROWS": rows, "SCAN_GROUPS": wide, "GROUP_BLOCKS": -(-groups // wide), "num_warps": WARPS}


def _count_tokens(padding_mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """How many tokens are no padding, up to every position, and where the first is (length if none is)."""
    if padding_mask is None:
        return None, None
    seen = (~padding_mask).cumsum(1, dtype=torch.int32)
    return seen, (seen == 0).sum(1)


def _launch_forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    count: Tensor,
    mean: Tensor,
    var: Tensor,
    padding_mask: Tensor | None,
    groups: int,
    eps: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """y, the last mean and var, and for the backward pass (if kept) the origin, μ and r of every token."""
    require_kernels(x.device)
    x, weight, bias, count, mean, var = (given.contiguous() for given in (x, weight, bias, count, mean, var))
    batch, length, channels = x.shape
    width = channels // groups
    blocks = Blocks.of(length, groups, width)
    seen, first = _count_tokens(padding_mask)
    y, origin, last_mean, last_var = torch.empty_like(x), *(torch.empty_like(mean) for _ in range(3))
    block_mean, block_square, start_mean, start_square = mean.new_empty(4, batch, blocks.number, groups)
    running_mean, running_rstd = (mean.new_empty(batch, groups, length if keep else 0) for _ in range(2))
    shape = {"GROUPS": groups, "WIDTH": width, "HAS_PADDING": seen is not None, **blocks.launch()}
    scan = {"GROUPS": groups, "HAS_PADDING": seen is not None, "BLOCK_TIME": blocks.time, **_scan_launch(groups)}
    tiles, scans = (batch * blocks.number * blocks.group_blocks,), (batch * scan["GROUP_BLOCKS"],)
    with torch.cuda.device_of(x):
        _block_statistics[tiles](x, seen, first, origin, block_mean, block_square, length, blocks.number, **shape)
        _scan_statistics[scans](
            seen, origin, block_mean, block_square, count, mean, var,
            start_mean, start_square, last_mean, last_var, length, blocks.number, **scan,
        )  # fmt: skip
        _normalise[tiles](
            x, weight, bias, seen, origin, start_mean, start_square, count,
            y, running_mean, running_rstd, length, blocks.number, eps, KEEP=keep, **shape,
        )  # fmt: skip
    return y, last_mean, last_var, origin, running_mean, running_rstd


def _launch_backward(
    dy: Tensor,
    last_mean_grad: Tensor | None,
    last_var_grad: Tensor | None,
    x: Tensor,
    weight: Tensor,
    count: Tensor,
    mean: Tensor,
    padding_mask: Tensor | None,
    groups: int,
    origin: Tensor,
    running_mean: Tensor,
    running_rstd: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, of weight and bias (2, channel), and of the mean and var of the incoming state."""
    dy, x, weight, count, mean = (given.contiguous() for given in (dy, x, weight, count, mean))
    batch, length, channels = x.shape
    width = channels // groups
    blocks = Blocks.of(length, groups, width)
    seen, _ = _count_tokens(padding_mask)
    last = [torch.zeros_like(mean) if grad is None else grad.contiguous() for grad in (last_mean_grad, last_var_grad)]
    dx, dmean, dvar = torch.empty_like(x), torch.empty_like(mean), torch.empty_like(mean)
    block_u, block_q, future_u, future_q = mean.new_empty(4, batch, blocks.number, groups)
    parameters = mean.new_empty(2, batch * blocks.number, channels)
    shape = {"GROUPS": groups, "WIDTH": width, "HAS_PADDING": seen is not None, **blocks.launch()}
    scan = {"GROUPS": groups, "HAS_PADDING": seen is not None, **_scan_launch(groups)}
    tiles, scans = (batch * blocks.number * blocks.group_blocks,), (batch * scan["GROUP_BLOCKS"],)
    with torch.cuda.device_of(x):
        _block_gradients[tiles](
            dy, x, weight, seen, origin, count, running_mean, running_rstd,
            block_u, block_q, *parameters, length, blocks.number, **shape,
        )  # fmt: skip
        _scan_gradients[scans](
            seen, origin, running_mean, block_u, block_q, count, mean, *last,
            future_u, future_q, dmean, dvar, length, blocks.number, **scan,
        )  # fmt: skip
        _input_gradient[tiles](
            dy, x, weight, seen, origin, count, running_mean, running_rstd, future_u, future_q,
            dx, length, blocks.number, **shape,
        )  # fmt: skip
    return dx, parameters.sum(1), dmean, dvar


# Autograd, and the operators by which torch.compile knows the kernels.


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, _, count, mean, _, padding_mask, ctx.groups, _, _ = inputs
    ctx.set_materialize_grads(False)  # μ and r of every token have no gradient: no zeros in their shape
    ctx.save_for_backward(x, weight, count, mean, padding_mask, *output[3:])


def _differentiate(launch: Callable[..., tuple[Tensor, ...]], ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
    x, weight, count, mean, padding_mask, *kept = ctx.saved_tensors
    dy = torch.zeros_like(x) if gradients[0] is None else gradients[0]
    found = launch(dy, *gradients[1:3], x, weight, count, mean, padding_mask, ctx.groups, *kept)
    dx, (dweight, dbias), dmean, dvar = found
    return dx, dweight, dbias, None, dmean, dvar, None, None, None, None


class TimestepNormFunction(torch.autograd.Function):
    """The kernels outside a compiled graph, where the operators below would only add time on the host."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        output = _launch_forward(*inputs)
        _save(ctx, inputs, output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        return _differentiate(_launch_backward, ctx, *gradients)


_forward = torch.library.custom_op("megalodon_edu::timestep_norm", _launch_forward, mutates_args=())
_backward = torch.library.custom_op("megalodon_edu::timestep_norm_backward", _launch_backward, mutates_args=())
_forward.register_autograd(partial(_differentiate, _backward), setup_context=_save)


@_forward.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    count: Tensor,
    mean: Tensor,
    var: Tensor,
    padding_mask: Tensor | None,
    groups: int,
    eps: float,
    keep: bool,
) -> tuple[Tensor, ...]:
    running = (mean.new_empty(x.shape[0], groups, x.shape[1] if keep else 0) for _ in range(2))
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    return y, *(mean.new_empty(mean.shape) for _ in range(3)), *running


@_backward.register_fake
def _(
    dy: Tensor,
    last_mean_grad: Tensor | None,
    last_var_grad: Tensor | None,
    x: Tensor,
    weight: Tensor,
    count: Tensor,
    mean: Tensor,
    padding_mask: Tensor | None,
    groups: int,
    origin: Tensor,
    running_mean: Tensor,
    running_rstd: Tensor,
) -> tuple[Tensor, ...]:
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    return dx, mean.new_empty(2, x.shape[2]), *(mean.new_empty(mean.shape) for _ in range(2))


def timestep_norm_triton(
    x: Float[Tensor, "batch time channel"],
    weight: Float[Tensor, " channel"],
    bias: Float[Tensor, " channel"],
    groups: int,
    state: TimestepNormState | None = None,
    padding_mask: Bool[Tensor, "batch time"] | None = None,
    eps: float = 1e-5,
) -> tuple[Float[Tensor, "batch time channel"], TimestepNormState]:
    """`ops.timestep_norm.timestep_norm_parallel` as Triton kernels; x in float32, float16 or bfloat16.

    Raises its errors, TypeError for float64, and RuntimeError where no kernel runs.
    """
    (count, mean, var), mask = check_arguments(x, weight, bias, groups, state, padding_mask, eps)
    require_kernel_type("x", x)
    tensors = (x, weight, bias, mean, var)
    keep = wants_gradient(*tensors)
    given = None if padding_mask is None else mask
    forward = entry(_launch_forward, TimestepNormFunction, _forward, *tensors)
    y, last_mean, last_var, *_ = forward(x, weight, bias, count, mean, var, given, groups, eps, keep)
    tokens = x.shape[1] if given is None else (~given).sum(1)
    return y, TimestepNormState(count + tokens, last_mean, last_var)

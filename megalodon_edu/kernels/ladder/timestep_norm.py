"""Timestep Norm in two rungs: a walk over tokens, and two passes with the running sums between them.

    μ_t = Σ_{s≤t} m_s / n_t        S_t = Σ_{s≤t} [v_s + (n_{s-1} / n_s) (m_s - μ_{s-1})²]        n_t = t + 1
    y_t = (x_t - μ_t) / sqrt(S_t / n_t + eps) · (weight + 1) + bias

m_s and v_s are mean and biased variance of the features of token s in its group. The second line is Welford's update
written as a sum. Megalodon (arXiv:2404.08801), Eq 4; `kernels.timestep_norm` has more.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from megalodon_edu.arguments import require_divisor, require_tensor
from megalodon_edu.kernels.availability import require_kernels
from megalodon_edu.ops.timestep_norm import Sequence

TOKENS = 64
"""Tokens of a tile."""

Gains = Float[Tensor, " channel"]


@triton.jit
def walk_kernel(x_ptr, y_ptr, weight_ptr, bias_ptr, length, eps, GROUPS: tl.constexpr, WIDTH: tl.constexpr):
    """One group of one sequence, token by token."""
    group, sequence = tl.program_id(0), tl.program_id(1)
    feature = group * WIDTH + tl.arange(0, WIDTH)
    gain, bias = tl.load(weight_ptr + feature) + 1, tl.load(bias_ptr + feature)
    mean, square = tl.full((), 0.0, tl.float32), tl.full((), 0.0, tl.float32)
    for t in range(length):
        at = (sequence * length + t) * (GROUPS * WIDTH) + feature
        x = tl.load(x_ptr + at).to(tl.float32)
        m = tl.sum(x, 0) / WIDTH
        v = tl.sum((x - m) * (x - m), 0) / WIDTH
        square += v + (m - mean) * (m - mean) * (t / (t + 1.0))
        mean += (m - mean) / (t + 1.0)
        tl.store(y_ptr + at, (x - mean) * tl.rsqrt(square / (t + 1.0) + eps) * gain + bias)


def walk(x: Sequence, weight: Gains, bias: Gains, groups: int, eps: float = 1e-5) -> Sequence:
    """Timestep Norm with a program for every sequence and group. Raises as `check` says."""
    width = check(x, groups)
    y = torch.empty_like(x)
    walk_kernel[(groups, len(x))](x, y, weight, bias, x.shape[1], eps, GROUPS=groups, WIDTH=width, num_warps=1)
    return y


@triton.jit
def tokens_kernel(x_ptr, mean_ptr, var_ptr, length, GROUPS: tl.constexpr, WIDTH: tl.constexpr, TOKENS: tl.constexpr):
    """Pass one: mean and variance of every token in one group; a tile (token, feature)."""
    group, sequence = tl.program_id(0), tl.program_id(2)
    t = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    at = (sequence * length + t)[:, None] * (GROUPS * WIDTH) + group * WIDTH + tl.arange(0, WIDTH)[None, :]
    x = tl.load(x_ptr + at, (t < length)[:, None], 0.0).to(tl.float32)
    m = tl.sum(x, 1) / WIDTH
    distance = x - m[:, None]
    out = (sequence * GROUPS + group) * length + t
    tl.store(mean_ptr + out, m, t < length)
    tl.store(var_ptr + out, tl.sum(distance * distance, 1) / WIDTH, t < length)


@triton.jit
def running_kernel(mean_ptr, var_ptr, length, eps, BLOCK: tl.constexpr):
    """Between the passes: m and v of every token become μ and 1/σ, in place, block after block of one group."""
    row = tl.program_id(0) * length
    total, square = tl.full((), 0.0, tl.float32), tl.full((), 0.0, tl.float32)
    for first in range(0, length, BLOCK):
        t = first + tl.arange(0, BLOCK)
        m, v = tl.load(mean_ptr + row + t, t < length, 0.0), tl.load(var_ptr + row + t, t < length, 0.0)
        sums = total + tl.cumsum(m, 0)
        before = (sums - m) / tl.maximum(t, 1)  # μ of the token before
        gains = tl.where(t < length, v + (m - before) * (m - before) * (t / (t + 1.0)), 0.0)
        squares = square + tl.cumsum(gains, 0)
        tl.store(mean_ptr + row + t, sums / (t + 1.0), t < length)
        tl.store(var_ptr + row + t, tl.rsqrt(squares / (t + 1.0) + eps), t < length)
        total += tl.sum(m, 0)
        square += tl.sum(gains, 0)


@triton.jit
def normalise_kernel(
    x_ptr, y_ptr, weight_ptr, bias_ptr, mean_ptr, rstd_ptr, length,
    GROUPS: tl.constexpr, WIDTH: tl.constexpr, TOKENS: tl.constexpr,
):  # fmt: skip
    """Pass two: y of a tile (token, feature)."""
    group, sequence = tl.program_id(0), tl.program_id(2)
    t, feature = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS), group * WIDTH + tl.arange(0, WIDTH)
    at, inside = (sequence * length + t)[:, None] * (GROUPS * WIDTH) + feature[None, :], (t < length)[:, None]
    known = (sequence * GROUPS + group) * length + t
    mean, rstd = tl.load(mean_ptr + known, t < length, 0.0), tl.load(rstd_ptr + known, t < length, 0.0)
    gain, bias = tl.load(weight_ptr + feature) + 1, tl.load(bias_ptr + feature)
    x = tl.load(x_ptr + at, inside, 0.0).to(tl.float32)
    tl.store(y_ptr + at, (x - mean[:, None]) * rstd[:, None] * gain[None, :] + bias[None, :], inside)


def two_passes(x: Sequence, weight: Gains, bias: Gains, groups: int, eps: float = 1e-5) -> Sequence:
    """Timestep Norm with every tile of tokens in a program of its own, and a scan over single tokens between."""
    width = check(x, groups)
    batch, length, _ = x.shape
    y, mean, var = torch.empty_like(x), *x.new_empty(2, batch, groups, length, dtype=torch.float32)
    sizes = {"GROUPS": groups, "WIDTH": width, "TOKENS": TOKENS}
    grid = (groups, triton.cdiv(length, TOKENS), batch)
    tokens_kernel[grid](x, mean, var, length, **sizes, num_warps=2)
    running_kernel[(batch * groups,)](mean, var, length, eps, BLOCK=1024)
    normalise_kernel[grid](x, y, weight, bias, mean, var, length, **sizes, num_warps=2)
    return y


def check(x: Sequence, groups: int) -> int:
    """Return the width of a group; ValueError unless it is a power of 2 and x has addresses of 32 bits."""
    require_tensor("x", x, "batch time channel")
    require_divisor("groups", groups, "channels", x.shape[2])
    require_kernels(x.device)
    width = x.shape[2] // groups
    if width & (width - 1):
        raise ValueError(f"a group must have a power of 2 of features, got {width}; the package's kernel takes any")
    if not x.is_contiguous() or x.numel() >= 2**31:
        raise ValueError(f"x must be contiguous and hold fewer than 2³¹ numbers, got {tuple(x.shape)}")
    return width

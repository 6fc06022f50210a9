"""The memory of one layer, one token on, in one Triton launch: Timestep Norm, then CEMA of what it gives.

    c = 1 / n          μ ← μ + c (m - μ)          σ² ← σ² + c (s² + (1 - c) (m - μ_before)² - σ²)
    normal = (x - μ) / sqrt(σ² + eps) · (weight + 1) + bias
    h ← q h + p normal          average = Re Σ_mode η h + skip · normal

m and s² are mean and variance of the token's features in a group, n counts the token itself. A program takes one group
of one sequence with the averages of its features. Both states change in place. There is no gradient.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from megalodon_edu.arguments import require_device_of, require_divisor, require_tensor
from megalodon_edu.kernels.availability import require_kernels

# Kernel. Features of a group (w), modes (n).


@triton.jit
def _memory_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    count_ptr,
    mean_ptr,
    var_ptr,
    q_r_ptr,
    q_i_ptr,
    p_ptr,
    eta_r_ptr,
    eta_i_ptr,
    skip_ptr,
    ema_r_ptr,
    ema_i_ptr,
    normal_ptr,
    average_ptr,
    eps,
    GROUPS: tl.constexpr,
    WIDTH: tl.constexpr,
    MODES: tl.constexpr,
    TILE_WIDTH: tl.constexpr,
    TILE_MODES: tl.constexpr,
):
    batch, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    feature = tl.arange(0, TILE_WIDTH)
    exists = feature < WIDTH
    channel = group * WIDTH + feature  # w
    row = batch * (GROUPS * WIDTH) + channel

    x = tl.load(x_ptr + row, exists, 0.0).to(tl.float32)
    token_mean = tl.sum(x, 0) / WIDTH
    token_var = tl.sum(tl.where(exists, (x - token_mean) * (x - token_mean), 0.0), 0) / WIDTH
    known = batch * GROUPS + group
    mean, var = tl.load(mean_ptr + known), tl.load(var_ptr + known)
    c = 1 / tl.load(count_ptr + batch).to(tl.float32)
    difference = token_mean - mean
    mean += c * difference
    var += c * (token_var + (1 - c) * difference * difference - var)
    tl.store(mean_ptr + known, mean)
    tl.store(var_ptr + known, var)
    weight = tl.load(weight_ptr + channel, exists, 0.0).to(tl.float32)
    bias = tl.load(bias_ptr + channel, exists, 0.0).to(tl.float32)
    normal = ((x - mean) / tl.sqrt(var + eps) * (weight + 1) + bias).to(normal_ptr.dtype.element_ty)
    tl.store(normal_ptr + row, normal, exists)

    normal = normal.to(tl.float32)
    n = tl.arange(0, TILE_MODES)
    inside = exists[:, None] & (n < MODES)[None, :]
    at = channel[:, None] * MODES + n[None, :]
    state_at = row[:, None] * MODES + n[None, :]
    q_r, q_i = tl.load(q_r_ptr + at, inside, 0.0), tl.load(q_i_ptr + at, inside, 0.0)
    ema_r, ema_i = tl.load(ema_r_ptr + state_at, inside, 0.0), tl.load(ema_i_ptr + state_at, inside, 0.0)
    new_r = q_r * ema_r - q_i * ema_i + tl.load(p_ptr + at, inside, 0.0) * normal[:, None]
    new_i = q_r * ema_i + q_i * ema_r
    tl.store(ema_r_ptr + state_at, new_r, inside)
    tl.store(ema_i_ptr + state_at, new_i, inside)
    eta_r, eta_i = tl.load(eta_r_ptr + at, inside, 0.0), tl.load(eta_i_ptr + at, inside, 0.0)
    average = tl.sum(eta_r * new_r - eta_i * new_i, 1) + tl.load(skip_ptr + channel, exists, 0.0) * normal
    tl.store(average_ptr + row, average.to(average_ptr.dtype.element_ty), exists)


# Launcher.


def memory_step_triton(
    x: Float[Tensor, "batch channel"],
    weight: Float[Tensor, " channel"],
    bias: Float[Tensor, " channel"],
    statistics: tuple[Int[Tensor, " batch"], Float[Tensor, "batch group"], Float[Tensor, "batch group"]],
    coefficients: tuple[Tensor, ...],
    averages: tuple[Float[Tensor, "batch channel mode"], Float[Tensor, "batch channel mode"]],
    eps: float = 1e-5,
) -> tuple[Float[Tensor, "batch channel"], Float[Tensor, "batch channel"]]:
    """Timestep Norm of x, and CEMA of that, each (batch, channel) in the type of x.

    statistics: the count with this token, mean and var; averages: real and imaginary part; mean, var and averages are
    float32 and change in place. coefficients: real and imaginary part of q, p, real and imaginary part of η, each
    (channel, mode), and the skip (channel), all float32.
    Raises TypeError or ValueError for what does not fit, RuntimeError where no kernel runs.
    """
    require_tensor("x", x, "batch channel")
    batch, channels = x.shape
    count, mean, var = statistics
    require_tensor("mean", mean, "batch group", batch=batch)
    groups = mean.shape[1]
    require_divisor("group", groups, "channel", channels)
    require_tensor("averages[0]", averages[0], "batch channel mode", batch=batch, channel=channels)
    modes = averages[0].shape[2]
    parts = {f"coefficients[{index}]": part for index, part in enumerate(coefficients[:-1])}
    for name, part in parts.items():
        require_tensor(name, part, "channel mode", channel=channels, mode=modes)
    states = {"mean": mean, "var": var, "averages[0]": averages[0], "averages[1]": averages[1]}
    for name, tensor in (states | parts).items():
        require_device_of(name, tensor, x)
        if tensor.dtype != torch.float32 or not tensor.is_contiguous():
            raise TypeError(f"{name} must be contiguous and float32, got {tensor.dtype}; use the torch face")
    require_kernels(x.device)
    x = x.contiguous()
    normal, average = torch.empty_like(x), torch.empty_like(x)
    width = channels // groups
    with torch.cuda.device_of(x):
        _memory_kernel[(batch, groups)](
            *(x, weight, bias, count, mean, var, *coefficients, *averages, normal, average, eps),
            GROUPS=groups,
            WIDTH=width,
            MODES=modes,
            TILE_WIDTH=triton.next_power_of_2(width),
            TILE_MODES=triton.next_power_of_2(modes),
            num_warps=4,
        )
    return normal, average

"""CEMA's coefficients from its parameters in Triton: one launch forward, one backward.

    α = σ(alpha)          δ = σ(delta)          θ_k = k · σ(theta) · 2π / N,  k = 1 .. N          η = gamma / √N

Megalodon (arXiv:2404.08801), Eq 3, as the released code parameterises it. The arithmetic is float64 from float32
parameters: over a long memory, 1 - αδ and the angle must not be rounded. PyTorch takes some fifteen launches each way
for these few thousand numbers, which costs more than the moving average itself.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from megalodon_edu.arguments import require_device_of, require_floating, require_tensor
from megalodon_edu.kernels.availability import require_kernels
from megalodon_edu.kernels.entry import entry
from megalodon_edu.ops.complex_ema import ComplexModes, Modes

# Kernels. A program takes some channels with all their modes: (channel, n).


@triton.jit
def _sigmoid(logit):
    return 1 / (1 + tl.exp(-logit.to(tl.float64)))


@triton.jit
def _modes(CHANNELS: tl.constexpr, MODES: tl.constexpr, TILE_CHANNELS: tl.constexpr, TILE_MODES: tl.constexpr):
    """The channels of a program, where their modes lie, and which exist."""
    channel = tl.program_id(0) * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    n = tl.arange(0, TILE_MODES)
    exists = (channel < CHANNELS)[:, None] & (n < MODES)[None, :]
    return channel, channel < CHANNELS, n, channel[:, None] * MODES + n[None, :], exists


@triton.jit
def _coefficients_kernel(
    alpha_logit_ptr,
    delta_logit_ptr,
    theta_logit_ptr,
    gamma_ptr,
    alpha_ptr,
    delta_ptr,
    theta_ptr,
    eta_ptr,
    CHANNELS: tl.constexpr,
    MODES: tl.constexpr,
    STEP: tl.constexpr,
    SCALE: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
    TILE_MODES: tl.constexpr,
):
    """alpha, delta, theta (channel, mode) and eta as pairs; STEP = 2π/N, SCALE = 1/√N."""
    channel, is_channel, n, at, exists = _modes(CHANNELS, MODES, TILE_CHANNELS, TILE_MODES)
    tl.store(alpha_ptr + at, _sigmoid(tl.load(alpha_logit_ptr + at, exists, 0.0)), exists)
    tl.store(delta_ptr + at, _sigmoid(tl.load(delta_logit_ptr + at, exists, 0.0)), exists)
    base = _sigmoid(tl.load(theta_logit_ptr + channel, is_channel, 0.0))  # channel
    turn = (n + 1).to(tl.float64) * tl.full((1,), STEP, tl.float64)  # n
    tl.store(theta_ptr + at, base[:, None] * turn[None, :], exists)
    scale = tl.full((1, 1), SCALE, tl.float64)
    for part in tl.static_range(2):  # real, imaginary
        gamma = tl.load(gamma_ptr + 2 * at + part, exists, 0.0).to(tl.float64)
        tl.store(eta_ptr + 2 * at + part, gamma * scale, exists)


@triton.jit
def _logit_gradients_kernel(
    grad_alpha_ptr,
    grad_delta_ptr,
    grad_theta_ptr,
    grad_eta_ptr,
    alpha_logit_ptr,
    delta_logit_ptr,
    theta_logit_ptr,
    grad_alpha_logit_ptr,
    grad_delta_logit_ptr,
    grad_theta_logit_ptr,
    grad_gamma_ptr,
    CHANNELS: tl.constexpr,
    MODES: tl.constexpr,
    STEP: tl.constexpr,
    SCALE: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
    TILE_MODES: tl.constexpr,
):
    """Back through `_coefficients_kernel`: σ' = σ (1 - σ), and the base angle gathers from all its multiples."""
    channel, is_channel, n, at, exists = _modes(CHANNELS, MODES, TILE_CHANNELS, TILE_MODES)
    alpha = _sigmoid(tl.load(alpha_logit_ptr + at, exists, 0.0))
    grad = tl.load(grad_alpha_ptr + at, exists, 0.0).to(tl.float64) * alpha * (1 - alpha)
    tl.store(grad_alpha_logit_ptr + at, grad.to(tl.float32), exists)
    delta = _sigmoid(tl.load(delta_logit_ptr + at, exists, 0.0))
    grad = tl.load(grad_delta_ptr + at, exists, 0.0).to(tl.float64) * delta * (1 - delta)
    tl.store(grad_delta_logit_ptr + at, grad.to(tl.float32), exists)
    base = _sigmoid(tl.load(theta_logit_ptr + channel, is_channel, 0.0))
    turn = (n + 1).to(tl.float64) * tl.full((1,), STEP, tl.float64)
    grad = tl.sum(tl.load(grad_theta_ptr + at, exists, 0.0).to(tl.float64) * turn[None, :], 1)  # channel
    tl.store(grad_theta_logit_ptr + channel, (grad * base * (1 - base)).to(tl.float32), is_channel)
    scale = tl.full((1, 1), SCALE, tl.float64)
    for part in tl.static_range(2):
        grad = tl.load(grad_eta_ptr + 2 * at + part, exists, 0.0).to(tl.float64)
        tl.store(grad_gamma_ptr + 2 * at + part, (grad * scale).to(tl.float32), exists)


# Launchers.

TILE = 128
"""Modes of all its channels that a program takes: few, so that a narrow model fills the device too."""


def _run(kernel, channels: int, modes: int, *tensors: Tensor) -> None:
    tile_modes = triton.next_power_of_2(modes)
    tile_channels = max(1, TILE // tile_modes)
    with torch.cuda.device_of(tensors[0]):
        kernel[(triton.cdiv(channels, tile_channels),)](
            *tensors,
            CHANNELS=channels,
            MODES=modes,
            STEP=2 * math.pi / modes,
            SCALE=1 / math.sqrt(modes),
            TILE_CHANNELS=tile_channels,
            TILE_MODES=tile_modes,
            num_warps=1,
        )


def _launch_forward(
    alpha: Tensor, delta: Tensor, theta: Tensor, gamma: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """alpha, delta, theta and eta in float64, eta as complex numbers, each (channel, mode)."""
    require_kernels(alpha.device)
    given = [tensor.contiguous() for tensor in (alpha, delta, theta, gamma)]
    channels, modes = alpha.shape[:2]
    made = [torch.empty(channels, modes, dtype=torch.float64, device=alpha.device) for _ in range(3)]
    eta = torch.empty(channels, modes, dtype=torch.complex128, device=alpha.device)
    _run(_coefficients_kernel, channels, modes, *given, *made, torch.view_as_real(eta))
    return made[0], made[1], made[2], eta


def _launch_backward(
    grad_alpha: Tensor,
    grad_delta: Tensor,
    grad_theta: Tensor,
    grad_eta: Tensor,
    alpha: Tensor,
    delta: Tensor,
    theta: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of the four parameters."""
    gradients = [tensor.contiguous() for tensor in (grad_alpha, grad_delta, grad_theta)]
    pairs = torch.view_as_real(grad_eta.resolve_conj().contiguous())
    logits = [tensor.contiguous() for tensor in (alpha, delta, theta)]
    channels, modes = alpha.shape[:2]
    found = [torch.empty_like(tensor) for tensor in logits]
    found.append(alpha.new_empty(channels, modes, 2))
    _run(_logit_gradients_kernel, channels, modes, *gradients, pairs, *logits, *found)
    return found[0], found[1], found[2], found[3]


# Autograd, and the operators by which torch.compile knows the kernels.


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:3])


class CoefficientsFunction(torch.autograd.Function):
    """The kernels outside a compiled graph."""

    @staticmethod
    def forward(ctx, *inputs):
        _save(ctx, inputs, None)
        return _launch_forward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        return _launch_backward(*gradients, *ctx.saved_tensors)


_forward = torch.library.custom_op("megalodon_edu::complex_ema_coefficients", _launch_forward, mutates_args=())
_backward = torch.library.custom_op(
    "megalodon_edu::complex_ema_coefficients_backward", _launch_backward, mutates_args=()
)


@_forward.register_fake
def _(alpha, delta, theta, gamma):
    modes = alpha.shape[:2]
    made = (alpha.new_empty(modes, dtype=torch.float64) for _ in range(3))
    return *made, alpha.new_empty(modes, dtype=torch.complex128)


@_backward.register_fake
def _(grad_alpha, grad_delta, grad_theta, grad_eta, alpha, delta, theta):
    found = [tensor.new_empty(tensor.shape) for tensor in (alpha, delta, theta)]
    return *found, alpha.new_empty(*alpha.shape[:2], 2)


def _differentiate(ctx, *gradients):
    return _backward(*gradients, *ctx.saved_tensors)


_forward.register_autograd(_differentiate, setup_context=_save)


def complex_ema_coefficients_triton(
    alpha: Tensor, delta: Tensor, theta: Tensor, gamma: Tensor
) -> tuple[Modes, Modes, Modes, ComplexModes]:
    """alpha, delta, theta and eta of `ops.complex_ema` in float64, from the float32 parameters of `nn.ComplexEMA`.

    alpha, delta (channel, mode, 1) and theta (channel, 1, 1) are logits, gamma (channel, mode, 2) is η √N.
    Raises TypeError or ValueError for other shapes or types, RuntimeError where no Triton kernel runs.
    """
    require_tensor("alpha", alpha, "channel mode one", one=1)
    channels, modes, _ = alpha.shape
    require_tensor("delta", delta, "channel mode one", channel=channels, mode=modes, one=1)
    require_tensor("theta", theta, "channel one one", channel=channels, one=1)
    require_tensor("gamma", gamma, "channel mode part", channel=channels, mode=modes, part=2)
    parameters = {"alpha": alpha, "delta": delta, "theta": theta, "gamma": gamma}
    for name, value in parameters.items():
        require_floating(name, value)
        require_device_of(name, value, alpha)
        if value.dtype != torch.float32:
            raise TypeError(f"{name} must be float32, got {value.dtype}; use the torch face")
    require_kernels(alpha.device)
    forward = entry(_launch_forward, CoefficientsFunction, _forward, *parameters.values())
    return forward(alpha, delta, theta, gamma)

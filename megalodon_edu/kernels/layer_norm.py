"""RMSNorm and LayerNorm in Triton: one launch forward, one and a sum backward, statistics in float32.

    x̂ = (x - μ) r       r = 1 / sqrt(mean((x - μ)²) + eps)       y = x̂ (weight + 1) + bias       RMSNorm: μ = 0

Backward, with g = dy (weight + 1) and means over the features of a token:

    dx = r (g - mean(g) - x̂ mean(g x̂))       RMSNorm: without mean(g)       dweight = Σ dy x̂       dbias = Σ dy

A program holds whole tokens, so x is read once. The backward pass needs all of x anyway, and finds μ and r anew. Its
programs take tokens in turn and keep their shares of dweight and dbias in registers; a last sum adds the shares up.
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
from torch import Tensor
from torch.autograd.function import once_differentiable

from megalodon_edu.kernels.availability import require_kernels
from megalodon_edu.kernels.entry import entry, require_kernel_type
from megalodon_edu.ops.layer_norm import Features, Gain, check_arguments

# Kernels. A tile has the shape (token, channel): some tokens, all features.


@triton.jit
def _normal(x_ptr, at, inside, eps, WIDTH: tl.constexpr, CENTRED: tl.constexpr):
    """x̂ (token, channel) and r (token)."""
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    if CENTRED:
        x = tl.where(inside, x - (tl.sum(x, 1) / WIDTH)[:, None], 0.0)
    r = tl.rsqrt(tl.sum(x * x, 1) / WIDTH + eps)
    return x * r[:, None], r


@triton.jit
def _gain(weight_ptr, column, exists, HAS_WEIGHT: tl.constexpr, BLOCK_WIDTH: tl.constexpr):
    if HAS_WEIGHT:
        return tl.load(weight_ptr + column, mask=exists, other=0.0).to(tl.float32) + 1
    else:
        return tl.full((BLOCK_WIDTH,), 1.0, tl.float32)


@triton.jit(do_not_specialize=["tokens"])
def _forward_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    y_ptr,
    tokens,
    eps,
    WIDTH: tl.constexpr,
    CENTRED: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
):
    """y of one tile."""
    token = (tl.program_id(0) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)).to(tl.int64)
    column = tl.arange(0, BLOCK_WIDTH)
    inside = (token < tokens)[:, None] & (column < WIDTH)[None, :]
    at = token[:, None] * WIDTH + column[None, :]
    y, _ = _normal(x_ptr, at, inside, eps, WIDTH, CENTRED)
    y = y * _gain(weight_ptr, column, column < WIDTH, HAS_WEIGHT, BLOCK_WIDTH)[None, :]
    if HAS_BIAS:
        y += tl.load(bias_ptr + column, mask=column < WIDTH, other=0.0).to(tl.float32)[None, :]
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["tokens", "tiles"])
def _backward_kernel(
    dy_ptr,
    x_ptr,
    weight_ptr,
    dx_ptr,
    weight_shares_ptr,
    bias_shares_ptr,
    tokens,
    tiles,
    eps,
    WIDTH: tl.constexpr,
    CENTRED: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
):
    """dx of every tile whose turn it is, and this program's shares of dweight and dbias."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    column = tl.arange(0, BLOCK_WIDTH)
    gain = _gain(weight_ptr, column, column < WIDTH, HAS_WEIGHT, BLOCK_WIDTH)
    dweight = tl.zeros((BLOCK_TOKENS, BLOCK_WIDTH), tl.float32)
    dbias = tl.zeros((BLOCK_TOKENS, BLOCK_WIDTH), tl.float32)
    for tile in range(program, tiles, programs):
        token = (tile * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)).to(tl.int64)
        inside = (token < tokens)[:, None] & (column < WIDTH)[None, :]
        at = token[:, None] * WIDTH + column[None, :]
        dy = tl.load(dy_ptr + at, mask=inside, other=0.0).to(tl.float32)
        normal, r = _normal(x_ptr, at, inside, eps, WIDTH, CENTRED)
        if HAS_WEIGHT:
            dweight += dy * normal
        if HAS_BIAS:
            dbias += dy
        g = dy * gain[None, :]
        dx = g - normal * (tl.sum(g * normal, 1) / WIDTH)[:, None]
        if CENTRED:
            dx -= (tl.sum(g, 1) / WIDTH)[:, None]
        tl.store(dx_ptr + at, (dx * r[:, None]).to(dx_ptr.dtype.element_ty), mask=inside)
    share = program * WIDTH + column
    if HAS_WEIGHT:
        tl.store(weight_shares_ptr + share, tl.sum(dweight, 0), mask=column < WIDTH)
    if HAS_BIAS:
        tl.store(bias_shares_ptr + share, tl.sum(dbias, 0), mask=column < WIDTH)


# Launchers.

TILE = 2048
"""Values in a tile, unless one token has more."""

PROGRAMS = 528
"""Programs of the backward pass, at most: four for each multiprocessor of an H100."""

VALUES_PER_WARP = 512
"""Values of a tile that a warp of 32 threads takes."""


MOST_FEATURES = 16_384
"""A token must fit the registers of one program."""


class Tiles(NamedTuple):
    """How a launch cuts (token, channel)."""

    tokens: int
    width: int
    number: int

    @classmethod
    def of(cls, tokens: int, width: int) -> "Tiles":
        block_width = triton.next_power_of_2(width)
        block_tokens = max(1, TILE // block_width)
        return cls(block_tokens, block_width, -(-tokens // block_tokens))

    def launch(self) -> dict[str, int]:
        """The arguments of both kernels."""
        warps = min(16, max(1, self.tokens * self.width // VALUES_PER_WARP))
        return {"BLOCK_TOKENS": self.tokens, "BLOCK_WIDTH": self.width, "num_warps": warps}


def _launch_forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, centred: bool) -> Tensor:
    """y, in the shape and type of x (token, channel)."""
    require_kernels(x.device)
    x = x.contiguous()
    weight, bias = (None if given is None else given.contiguous() for given in (weight, bias))
    tokens, width = x.shape
    tiles = Tiles.of(tokens, width)
    flags = {"CENTRED": centred, "HAS_WEIGHT": weight is not None, "HAS_BIAS": bias is not None}
    y = torch.empty_like(x)
    with torch.cuda.device_of(x):
        _forward_kernel[(tiles.number,)](x, weight, bias, y, tokens, eps, WIDTH=width, **flags, **tiles.launch())
    return y


def _launch_backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, has_bias: bool, eps: float, centred: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias, the last two in float32 and empty where there is none."""
    dy, x = dy.contiguous(), x.contiguous()
    weight = None if weight is None else weight.contiguous()
    tokens, width = x.shape
    tiles = Tiles.of(tokens, width)
    programs = min(tiles.number, PROGRAMS)
    flags = {"CENTRED": centred, "HAS_WEIGHT": weight is not None, "HAS_BIAS": has_bias}
    dx = torch.empty_like(x)
    widths = (width if wanted else 0 for wanted in (weight is not None, has_bias))
    shares = [x.new_empty(programs, size, dtype=torch.float32) for size in widths]
    with torch.cuda.device_of(x):
        _backward_kernel[(programs,)](
            dy, x, weight, dx, *shares, tokens, tiles.number, eps, WIDTH=width, **flags, **tiles.launch()
        )  # fmt: skip
    dweight, dbias = (share.sum(0) for share in shares)
    return dx, dweight, dbias


# Autograd, and the operators by which torch.compile knows the kernels.


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, ctx.eps, ctx.centred = inputs
    ctx.bias_dtype = None if bias is None else bias.dtype
    ctx.save_for_backward(x, weight)


def _differentiate(launch: Callable[..., tuple[Tensor, ...]], ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    x, weight = ctx.saved_tensors
    dx, dweight, dbias = launch(dy, x, weight, ctx.bias_dtype is not None, ctx.eps, ctx.centred)
    weight_gradient = None if weight is None else dweight.to(weight.dtype)
    return dx, weight_gradient, None if ctx.bias_dtype is None else dbias.to(ctx.bias_dtype), None, None


class LayerNormFunction(torch.autograd.Function):
    """The kernels outside a compiled graph, where the operators below would only add time on the host."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        _save(ctx, inputs, y := _launch_forward(*inputs))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        return _differentiate(_launch_backward, ctx, dy)


_forward = torch.library.custom_op("megalodon_edu::layer_norm", _launch_forward, mutates_args=())
_backward = torch.library.custom_op("megalodon_edu::layer_norm_backward", _launch_backward, mutates_args=())
_forward.register_autograd(partial(_differentiate, _backward), setup_context=_save)


@_forward.register_fake
def _(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, centred: bool) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@_backward.register_fake
def _(
    dy: Tensor, x: Tensor, weight: Tensor | None, has_bias: bool, eps: float, centred: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    dweight = x.new_empty(0 if weight is None else x.shape[1], dtype=torch.float32)
    return dx, dweight, x.new_empty(x.shape[1] if has_bias else 0, dtype=torch.float32)


def rms_norm_triton(x: Features, weight: Gain | None = None, eps: float = 1e-5) -> Features:
    """`ops.layer_norm.rms_norm` in Triton; x in float32, float16 or bfloat16, with at most 16,384 features.

    Raises its errors, TypeError for float64, and RuntimeError where no kernel runs.
    """
    check_arguments(x, eps, weight=weight)
    return _norm(x, weight, None, eps, centred=False)


def layer_norm_triton(x: Features, weight: Gain | None = None, bias: Gain | None = None, eps: float = 1e-5) -> Features:
    """`ops.layer_norm.layer_norm` in Triton. Types, sizes and errors as `rms_norm_triton`."""
    check_arguments(x, eps, weight=weight, bias=bias)
    return _norm(x, weight, bias, eps, centred=True)


def _norm(x: Features, weight: Gain | None, bias: Gain | None, eps: float, centred: bool) -> Features:
    require_kernel_type("x", x)
    if x.shape[-1] > MOST_FEATURES:
        raise ValueError(f"x must have at most {MOST_FEATURES} features, got {x.shape[-1]}; use the torch face")
    forward = entry(_launch_forward, LayerNormFunction, _forward, x, weight, bias)
    return forward(x.reshape(-1, x.shape[-1]), weight, bias, eps, centred).view(x.shape)

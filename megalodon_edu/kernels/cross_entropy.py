"""Head and cross-entropy: the products by the vendor's library, one Triton kernel between them.

    z = x Wᵀ        loss_i = log Σ_v exp(z_iv) - z_i,target(i)        g_iv = softmax(z_i)_v - [v = target(i)]
    dx = g W        dW = gᵀ x

As `ops.cross_entropy`, a piece of the tokens after another. The logits of a piece are in the activations' type. The
kernel reads a row of them twice (the second time from the cache), its largest logit and its sum of exponentials in
float32, and overwrites it by g: no other tensor of that size exists. dW is summed over the pieces in float32.

g is left without the factor 1/n of the mean, which float16 could not hold: the sum of all losses is the operator, its
gradients are found with it, and the backward pass multiplies both by the gradient that comes in.
Every sum has a fixed order in the kernel; the products are as repeatable as the library's.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# (Kernels have no types: Triton compiles them for those they meet.)

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from megalodon_edu.kernels.availability import require_kernels
from megalodon_edu.kernels.entry import require_kernel_type, wants_gradient
from megalodon_edu.ops.cross_entropy import Features, Targets, Words, check_arguments, product_dtype

# Kernel.


@triton.jit(do_not_specialize=["tokens"])
def _losses_and_gradients(
    logits_ptr, targets_ptr, losses_ptr, tokens, words, stride, DIFFERENTIATE: tl.constexpr, BLOCK: tl.constexpr
):
    """One token: its loss, and, with DIFFERENTIATE, g in place of its logits. A target that is no word makes NaN."""
    token = tl.program_id(0).to(tl.int64)
    row = logits_ptr + token * stride
    target = tl.load(targets_ptr + token)
    most, total = -float("inf"), 0.0  # the largest logit so far, and Σ exp(z - most)
    for first in range(0, words, BLOCK):
        word = first + tl.arange(0, BLOCK)
        z = tl.load(row + word, mask=word < words, other=-float("inf")).to(tl.float32)
        larger = tl.maximum(most, tl.max(z, 0))
        total = total * tl.exp(most - larger) + tl.sum(tl.exp(z - larger), 0)
        most = larger
    is_word = (target >= 0) & (target < words)
    wanted = tl.load(row + target, mask=is_word, other=float("nan")).to(tl.float32)
    tl.store(losses_ptr + token, tl.log(total) + most - wanted)
    if DIFFERENTIATE:
        tl.debug_barrier()  # the target's logit must be read before it is overwritten
        scale = tl.where(is_word, 1 / total, float("nan"))
        for first in range(0, words, BLOCK):
            word = first + tl.arange(0, BLOCK)
            z = tl.load(row + word, mask=word < words, other=-float("inf")).to(tl.float32)
            g = tl.exp(z - most) * scale - tl.where(word == target, 1.0, 0.0)
            tl.store(row + word, g.to(logits_ptr.dtype.element_ty), mask=word < words)


# Launcher.

PIECE_BYTES = 128 * 2**20
"""Bytes of logits that exist at once: 2048 tokens of 32,000 words in bfloat16."""

BLOCK = 8192
"""Words that a program takes at once, at most."""

WORDS_PER_WARP = 1024
"""Words that a warp of 32 threads takes of them."""

ALIGNED = 64
"""Rows of logits start at multiples of so many numbers, whatever the vocabulary: products and loads want that."""


def piece_tokens(words: int, itemsize: int) -> int:
    """How many tokens' logits fill a piece: a multiple of 128, as the products' tiles are."""
    return max(128, PIECE_BYTES // (words * itemsize) // 128 * 128)


def _add_product(total: Float[Tensor, "row column"], a: Tensor, b: Tensor) -> None:
    """total += a @ b, with the sum in the type of total where a and b are narrower."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    elif a.is_cuda:
        torch.addmm(total, a, b, out_dtype=total.dtype, out=total)
    else:
        total.addmm_(a.to(total.dtype), b.to(total.dtype))


def _launch(
    x: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype, wants_x: bool, wants_weight: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of all losses and its gradients, dx in `dtype` and dweight in float32; empty where not wanted.

    x is (token, channel), targets (token); products are taken in `dtype`.
    """
    require_kernels(x.device)
    tokens, words = len(x), len(weight)
    x, weight, targets = x.to(dtype).contiguous(), weight.to(dtype).contiguous(), targets.contiguous()
    piece = min(tokens, piece_tokens(words, x.element_size()))
    stride = -(-words // ALIGNED) * ALIGNED
    buffer = x.new_empty(piece, stride)
    losses = x.new_empty(tokens, dtype=torch.float32)
    dx = x.new_empty(x.shape if wants_x else 0)
    dweight = weight.new_zeros(weight.shape if wants_weight else 0, dtype=torch.float32)
    block = min(BLOCK, triton.next_power_of_2(words))
    shape = {"DIFFERENTIATE": wants_x or wants_weight, "BLOCK": block, "num_warps": max(1, block // WORDS_PER_WARP)}
    with torch.cuda.device_of(x), torch.autocast(x.device.type, enabled=False):
        for first in range(0, tokens, piece):
            some = x[first : first + piece]
            count, at = len(some), slice(first, first + len(some))
            logits = buffer[:count, :words]
            torch.mm(some, weight.T, out=logits)
            _losses_and_gradients[(count,)](logits, targets[at], losses[at], count, words, stride, **shape)
            if wants_x:
                torch.mm(logits, weight, out=dx[at])
            if wants_weight:
                _add_product(dweight, logits.T, some)
    return losses.sum(), dx, dweight


# Autograd, and the operator by which torch.compile knows the kernel.


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, _, _, *ctx.wanted = inputs
    ctx.types = x.dtype, weight.dtype
    ctx.set_materialize_grads(False)  # the gradients have no gradient: no zeros in their shape
    ctx.save_for_backward(*output[1:])


def _differentiate(ctx: Any, gradient: Tensor | None, *_: None) -> tuple[Any, ...]:
    if gradient is None:
        return (None,) * 6
    triples = zip(ctx.wanted, ctx.saved_tensors, ctx.types, strict=True)
    found = ((saved * gradient).to(dtype) if wanted else None for wanted, saved, dtype in triples)
    return *found, None, None, None, None


class LinearCrossEntropyFunction(torch.autograd.Function):
    """The kernel outside a compiled graph, where the operator below would only add time on the host."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        output = _launch(*inputs)
        _save(ctx, inputs, output)
        return output[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[Any, ...]:
        return _differentiate(ctx, gradient)


_forward = torch.library.custom_op("megalodon_edu::linear_cross_entropy", _launch, mutates_args=())
_forward.register_autograd(_differentiate, setup_context=_save)


@_forward.register_fake
def _(
    x: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype, wants_x: bool, wants_weight: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dx = x.new_empty(x.shape if wants_x else 0, dtype=dtype)
    dweight = weight.new_empty(weight.shape if wants_weight else 0, dtype=torch.float32)
    return x.new_empty((), dtype=torch.float32), dx, dweight


def linear_cross_entropy_triton(x: Features, weight: Words, targets: Targets) -> Float[Tensor, ""]:
    """`ops.cross_entropy.linear_cross_entropy` without the logits of all tokens; x in float32, float16 or bfloat16.

    Raises its errors, TypeError for float64, and RuntimeError where no kernel runs. On a GPU a target outside the
    vocabulary makes the loss NaN.
    """
    check_arguments(x, weight, targets)
    require_kernel_type("x", x)
    wanted = [wants_gradient(tensor) for tensor in (x, weight)]
    inputs: tuple[Any, ...] = (x.flatten(0, -2), weight, targets.flatten().long(), product_dtype(x), *wanted)
    if torch.compiler.is_compiling():
        total = _forward(*inputs)[0]
    elif any(wanted):
        total = LinearCrossEntropyFunction.apply(*inputs)
    else:
        total = _launch(*inputs)[0]
    return total / targets.numel()

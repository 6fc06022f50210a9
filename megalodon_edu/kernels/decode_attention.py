"""Attention of one new token to a buffer of keys and values in Triton, as far as the buffer is filled.

    o = Σ_s softmax_s(scale · q·k_s) v_s          s = 0 .. place

One query is no matrix product, and a program for each head would leave most of the GPU idle. So blocks of keys are
spread over programs, which find o, the largest logit m and the sum l = Σ exp(logit - m) of their block; a second kernel
puts the blocks together: with M = max m, o = Σ exp(m - M) o_block / Σ exp(m - M) l. `place` is read on the device, so a
CUDA graph may hold the launch; programs of blocks beyond it end at once. There is no gradient.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from megalodon_edu.arguments import (
    require_device_of,
    require_divisor,
    require_filled,
    require_floating,
    require_integers,
    require_number,
    require_tensor,
)
from megalodon_edu.kernels.availability import require_kernels
from megalodon_edu.kernels.entry import require_kernel_type

# Kernels. A row is one head of one sequence.


@triton.jit
def _block_kernel(
    q_ptr,
    keys_ptr,
    values_ptr,
    place_ptr,
    part_ptr,
    most_ptr,
    sum_ptr,
    scale,
    heads,
    key_heads,
    capacity,
    blocks,
    WIDTH: tl.constexpr,
    VALUE: tl.constexpr,
    BLOCK: tl.constexpr,
    TILE_WIDTH: tl.constexpr,
    TILE_VALUE: tl.constexpr,
):
    """Unnormalised o of one block of keys (row, block, value), its largest logit and its sum (row, block)."""
    row, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    last = tl.load(place_ptr)
    if block * BLOCK <= last:
        key = block * BLOCK + tl.arange(0, BLOCK)
        visible = key <= last
        shared = row // heads * key_heads + row % heads // (heads // key_heads)  # the head of keys and values
        start = shared * capacity + key
        feature = tl.arange(0, TILE_WIDTH)
        exists = feature < WIDTH
        q = tl.load(q_ptr + row * WIDTH + feature, exists, 0.0).to(tl.float32)
        at = start[:, None] * WIDTH + feature[None, :]
        keys = tl.load(keys_ptr + at, visible[:, None] & exists[None, :], 0.0).to(tl.float32)  # key feature
        logits = tl.where(visible, scale * tl.sum(keys * q[None, :], 1), float("-inf"))
        most = tl.max(logits, 0)
        weights = tl.exp(logits - most)  # key

        value = tl.program_id(2) * TILE_VALUE + tl.arange(0, TILE_VALUE)
        exists = value < VALUE
        at = start[:, None] * VALUE + value[None, :]
        values = tl.load(values_ptr + at, visible[:, None] & exists[None, :], 0.0).to(tl.float32)  # key value
        part = tl.sum(weights[:, None] * values, 0)
        slot = row * blocks + block
        tl.store(part_ptr + slot * VALUE + value, part, exists)
        if tl.program_id(2) == 0:
            tl.store(most_ptr + slot, most)
            tl.store(sum_ptr + slot, tl.sum(weights, 0))


@triton.jit
def _join_kernel(
    part_ptr,
    most_ptr,
    sum_ptr,
    place_ptr,
    out_ptr,
    blocks,
    VALUE: tl.constexpr,
    BLOCK: tl.constexpr,
    TILE_BLOCKS: tl.constexpr,
    TILE_VALUE: tl.constexpr,
):
    """o of one row from its filled blocks, some blocks at a time."""
    row = tl.program_id(0).to(tl.int64)
    filled = tl.load(place_ptr) // BLOCK + 1
    value = tl.program_id(1) * TILE_VALUE + tl.arange(0, TILE_VALUE)
    exists = value < VALUE
    most = tl.full((), float("-inf"), tl.float32)
    total = tl.zeros((), tl.float32)
    o = tl.zeros((TILE_VALUE,), tl.float32)
    for first in range(0, filled, TILE_BLOCKS):
        block = first + tl.arange(0, TILE_BLOCKS)
        is_filled = block < filled
        mosts = tl.load(most_ptr + row * blocks + block, is_filled, float("-inf"))
        new = tl.maximum(most, tl.max(mosts, 0))
        weights = tl.exp(mosts - new)
        sums = tl.load(sum_ptr + row * blocks + block, is_filled, 0.0)
        at = (row * blocks + block)[:, None] * VALUE + value[None, :]
        parts = tl.load(part_ptr + at, is_filled[:, None] & exists[None, :], 0.0)
        fade = tl.exp(most - new)
        total = total * fade + tl.sum(weights * sums, 0)
        o = o * fade + tl.sum(weights[:, None] * parts, 0)
        most = new
    tl.store(out_ptr + row * VALUE + value, (o / total).to(out_ptr.dtype.element_ty), exists)


# Launcher, and the operator by which torch.compile knows it.

BLOCK = 64
"""Keys of a program."""

TILE_VALUE = 256
"""Values of a program, at most."""

TILE_BLOCKS = 16
"""Blocks that are put together at a time."""


def _launch(q: Tensor, keys: Tensor, values: Tensor, place: Tensor, scale: float) -> Tensor:
    """o, (batch, head, value)."""
    require_kernels(q.device)
    q, keys, values = q.contiguous(), keys.contiguous(), values.contiguous()
    batch, heads, width = q.shape
    _, key_heads, capacity, value = values.shape
    rows, blocks = batch * heads, triton.cdiv(capacity, BLOCK)
    tile = min(TILE_VALUE, triton.next_power_of_2(value))
    tiles = triton.cdiv(value, tile)
    part = torch.empty(rows, blocks, value, dtype=torch.float32, device=q.device)
    most, total = torch.empty(2, rows, blocks, dtype=torch.float32, device=q.device)
    out = torch.empty(batch, heads, value, dtype=values.dtype, device=q.device)
    with torch.cuda.device_of(q):
        _block_kernel[(rows, blocks, tiles)](
            *(q, keys, values, place, part, most, total, scale, heads, key_heads, capacity, blocks),
            WIDTH=width,
            VALUE=value,
            BLOCK=BLOCK,
            TILE_WIDTH=triton.next_power_of_2(width),
            TILE_VALUE=tile,
            num_warps=8,
        )
        _join_kernel[(rows, tiles)](
            *(part, most, total, place, out, blocks),
            VALUE=value,
            BLOCK=BLOCK,
            TILE_BLOCKS=TILE_BLOCKS,
            TILE_VALUE=tile,
            num_warps=4,
        )
    return out


_operator = torch.library.custom_op("megalodon_edu::decode_attention", _launch, mutates_args=())


@_operator.register_fake
def _(q, keys, values, place, scale):
    return values.new_empty(*q.shape[:2], values.shape[3])


def decode_attention_triton(
    q: Float[Tensor, "batch head key"],
    keys: Float[Tensor, "batch kv_head capacity key"],
    values: Float[Tensor, "batch kv_head capacity value"],
    place: Int[Tensor, " one"],
    scale: float = 1.0,
) -> Float[Tensor, "batch head value"]:
    """Attention of one query per head to the keys 0 .. place of a buffer; what lies beyond is never read.

    q and the buffers in float32, float16 or bfloat16. Neighbouring heads may share keys and values. place, one integer
    on the device of q, must lie in 0 .. capacity - 1.
    Raises TypeError or ValueError for what does not fit, RuntimeError where no kernel runs.
    """
    require_tensor("q", q, "batch head key")
    require_filled("q", q)
    batch, heads, width = q.shape
    require_tensor("keys", keys, "batch head capacity key", batch=batch, key=width)
    _, key_heads, capacity, _ = keys.shape
    require_tensor("values", values, "batch head capacity value", batch=batch, head=key_heads, capacity=capacity)
    require_filled("values", values)
    require_divisor("kv_head", key_heads, "head", heads)
    require_tensor("place", place, "one", one=1)
    require_integers("place", place)
    require_number("scale", scale)
    for name, tensor in (("keys", keys), ("values", values), ("place", place)):
        require_device_of(name, tensor, q)
    for name, tensor in (("q", q), ("keys", keys), ("values", values)):
        require_floating(name, tensor)
        require_kernel_type(name, tensor)
    launch = _operator if torch.compiler.is_compiling() else _launch
    return launch(q, keys, values, place, float(scale))

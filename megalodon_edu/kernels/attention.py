"""Causal attention inside chunks in Triton: matrix products over panels of the weights, no C × C matrix.

    S = scale · Q Kᵀ          l_t = log2 Σ_{s≤t} 2^{S_ts}          P_ts = 2^{S_ts - l_t}          O = P V

for every chunk of C tokens and every head, S in units of log2 e (powers of 2 are what the hardware has). The sum of
exponentials is kept online, relative to the largest logit so far (Milakov and Gimelshein, arXiv:1805.02867), and l is
all that the backward pass needs to make P again (FlashAttention-2, arXiv:2307.08691):

    dV = Pᵀ dO          D_t = Σ_j o_tj do_tj          dS = scale · P ⊙ (dO Vᵀ - D)          dQ = dS K       dK = dSᵀ Q

With values much wider than keys, what costs is P V, dO Vᵀ and Pᵀ dO. A kernel that keeps a tile of P in registers has
room for some 256 features of values beside it, and would make P again for every 256 of them. So P and dS are written
down, but only a panel at a time. Forward, a panel is some rows of P by all columns, whose O is then complete; backward,
some columns by all rows, whose dV and dK are then complete, while dQ is summed from panel to panel. A panel serves a
limited number of chunks at once, so the memory for panels is bounded, whatever the length. Every sum has a fixed order:
the same input gives the same bits.

A gate multiplies O where it is made, Y = O ⊙ silu(R), and O itself is never written down. The backward pass needs it
only where Y serves as well: D_t = Σ_j y_tj dy_tj, dO = dY ⊙ silu(R), and dR = dY ⊙ O ⊙ silu'(R) with O = Y / silu(R).
A number divided by what it was multiplied by is as exact as it was; so that this holds near R = 0 too, the factor is
never smaller than `FLOORS` says, which changes Y by less than its rounding.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# (Kernels have no types: Triton compiles them for those they meet.)

import math
from collections.abc import Callable
from functools import cache as remember
from functools import partial
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from megalodon_edu.kernels.availability import interpreting, require_kernels
from megalodon_edu.kernels.entry import entry, require_kernel_type
from megalodon_edu.ops.attention import AttentionCache, Bias, Keys, Values, check_arguments, through_chunks

# Kernels. A pair is one chunk of one head of one sequence. Rows are its queries, columns its keys; row x sees the
# columns up to held + x, where `held` keys come before the first query. Panels hold whole tiles and need no masks.

SIZES = ["heads", "chunks", "chunk", "keys", "held", "first_pair", "first_row", "first_column", "row_tiles"]
SIZES += ["column_tiles"]


@triton.jit
def _place(pair, heads, chunks, chunk, keys, held):
    """Sequence and head of a pair, the token where its chunk starts, and how many rows and columns it has."""
    start = pair // heads % chunks * chunk
    columns = tl.minimum(chunk, keys - start)
    batch, head = pair // heads // chunks, pair % heads
    return batch.to(tl.int64), head.to(tl.int64), start.to(tl.int64), columns - held, columns


@triton.jit
def _load(ptr, place, exists, stride, feature, width, OPERAND: tl.constexpr):
    """Tokens (place, feature) of a sequence, 0 where there are none."""
    at = place[:, None] * stride + feature[None, :]
    return tl.load(ptr + at, exists[:, None] & (feature < width)[None, :], 0.0).to(OPERAND)


@triton.jit
def _store_rows(ptr, row, rows, stride, feature, width, values):
    """The inverse of `_load`: rows (row, feature) of a sequence, those that exist."""
    at = row[:, None] * stride + feature[None, :]
    tl.store(ptr + at, values.to(ptr.dtype.element_ty), (row < rows)[:, None] & (feature < width)[None, :])


@triton.jit
def _inner_products(
    a_ptr,
    a_stride,
    row,
    rows,
    b_ptr,
    b_stride,
    column,
    columns,
    WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """A Bᵀ of two runs of tokens, (row, column)."""
    product = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(0, WIDTH, DEPTH):
        feature = first + tl.arange(0, DEPTH)
        a = _load(a_ptr, row, row < rows, a_stride, feature, WIDTH, OPERAND)
        b = _load(b_ptr, column, column < columns, b_stride, feature, WIDTH, OPERAND)
        product = tl.dot(a, tl.trans(b), product, input_precision=PRECISION)
    return product


@triton.jit
def _times_tokens(
    a_ptr,
    a_stride,
    row,
    b_ptr,
    b_stride,
    feature,
    first,
    end,
    columns,
    WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """A B: A (row, column) lies in a panel, B (column, feature) are tokens first ≤ column < end."""
    product = tl.zeros((ROWS, BLOCK_WIDTH), tl.float32)
    for step in range(0, end - first, DEPTH):
        place = step + tl.arange(0, DEPTH)  # in the panel: counted from 0, the compiler knows that rows are aligned
        a = tl.load(a_ptr + row[:, None] * a_stride + place[None, :])
        b = _load(b_ptr, first + place, first + place < columns, b_stride, feature, WIDTH, OPERAND)
        product = tl.dot(a, b, product, input_precision=PRECISION)
    return product


@triton.jit
def _add_columns(
    largest,
    total,
    q,
    q_ptr,
    q_time,
    row,
    rows,
    k_ptr,
    k_time,
    first,
    columns,
    held,
    scale,
    KEY: tl.constexpr,
    DEPTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    MASKED: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One step of the online sum Σ 2^{S - largest}: some more columns. q is used where it holds whole queries."""
    column = first + tl.arange(0, COLUMNS)
    if DEPTH >= KEY:
        k = _load(k_ptr, column, column < columns, k_time, tl.arange(0, DEPTH), KEY, OPERAND)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
    else:
        scores = _inner_products(
            q_ptr, q_time, row, rows, k_ptr, k_time, column, columns, KEY, DEPTH, ROWS, COLUMNS, OPERAND, PRECISION
        )
    scores *= scale
    if MASKED:
        scores = tl.where(column[None, :] <= held + row[:, None], scores, float("-inf"))
    larger = tl.maximum(largest, tl.max(scores, 1))
    total = total * tl.exp2(largest - larger) + tl.sum(tl.exp2(scores - larger[:, None]), 1)
    return larger, total


@triton.jit(do_not_specialize=SIZES)
def _log_sum_kernel(
    q_ptr,
    k_ptr,
    log_sum_ptr,
    q_batch,
    q_time,
    q_head,
    k_batch,
    k_time,
    k_head,
    heads,
    chunks,
    chunk,
    keys,
    held,
    row_tiles,
    scale,
    KEY: tl.constexpr,
    DEPTH: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Forward 1: l of every row. The tiles with the most columns come first."""
    pairs = tl.num_programs(0) // row_tiles
    pair, tile = tl.program_id(0) % pairs, row_tiles - 1 - tl.program_id(0) // pairs
    batch, head, start, rows, columns = _place(pair, heads, chunks, chunk, keys, held)
    first_row = tile * ROWS
    if first_row >= rows:
        return
    row = first_row + tl.arange(0, ROWS)
    q_ptr += batch * q_batch + start * q_time + head * q_head
    k_ptr += batch * k_batch + start * k_time + head * k_head
    q = _load(q_ptr, row, row < rows, q_time, tl.arange(0, DEPTH), KEY, OPERAND)
    largest = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    seen_by_all = (held + first_row + 1) // COLUMNS * COLUMNS
    for first in range(0, seen_by_all, COLUMNS):
        largest, total = _add_columns(
            largest, total, q, q_ptr, q_time, row, rows, k_ptr, k_time, first, columns, held, scale,
            KEY, DEPTH, ROWS, COLUMNS, False, OPERAND, PRECISION,
        )  # fmt: skip
    for first in range(seen_by_all, tl.minimum(columns, held + first_row + ROWS), COLUMNS):
        largest, total = _add_columns(
            largest, total, q, q_ptr, q_time, row, rows, k_ptr, k_time, first, columns, held, scale,
            KEY, DEPTH, ROWS, COLUMNS, True, OPERAND, PRECISION,
        )  # fmt: skip
    length = keys - held  # where keys are held there is one chunk only
    out = (batch * heads + head) * length + start + row
    tl.store(log_sum_ptr + out, largest + tl.log2(total), row < rows)


@triton.jit(do_not_specialize=SIZES)
def _weights_kernel(
    q_ptr,
    k_ptr,
    log_sum_ptr,
    weights_ptr,
    q_batch,
    q_time,
    q_head,
    k_batch,
    k_time,
    k_head,
    panel_pair,
    panel_row,
    heads,
    chunks,
    chunk,
    keys,
    held,
    first_pair,
    first_row,
    first_column,
    row_tiles,
    column_tiles,
    scale,
    KEY: tl.constexpr,
    DEPTH: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Forward 2, backward 2: a tile of P into the panel, unless no row of it sees a column."""
    tile = tl.program_id(0)
    index, tile = tile // (row_tiles * column_tiles), tile % (row_tiles * column_tiles)
    batch, head, start, rows, columns = _place(first_pair + index, heads, chunks, chunk, keys, held)
    panel_x, panel_s = tile // column_tiles * ROWS, tile % column_tiles * COLUMNS
    if first_row + panel_x >= rows or first_column + panel_s >= tl.minimum(columns, held + first_row + panel_x + ROWS):
        return
    row = first_row + panel_x + tl.arange(0, ROWS)
    column = first_column + panel_s + tl.arange(0, COLUMNS)
    q_ptr += batch * q_batch + start * q_time + head * q_head
    k_ptr += batch * k_batch + start * k_time + head * k_head
    scores = _inner_products(
        q_ptr, q_time, row, rows, k_ptr, k_time, column, columns, KEY, DEPTH, ROWS, COLUMNS, OPERAND, PRECISION
    )
    known = (batch * heads + head) * (keys - held) + start + row
    log_sum = tl.load(log_sum_ptr + known, row < rows, 0.0)
    weights = tl.exp2(scores * scale - log_sum[:, None])
    weights = tl.where((column[None, :] <= held + row[:, None]) & (row < rows)[:, None], weights, 0.0)
    x, s = panel_x + tl.arange(0, ROWS), panel_s + tl.arange(0, COLUMNS)
    weights_ptr += index.to(tl.int64) * panel_pair
    tl.store(weights_ptr + x[:, None] * panel_row + s[None, :], weights.to(OPERAND))


@triton.jit
def _gate_factor(gate, FLOOR: tl.constexpr):
    """silu(gate), or FLOOR with its sign where it is smaller; and the gate's logistic function."""
    share = tl.sigmoid(gate)
    factor = gate * share
    return tl.where(tl.abs(factor) < FLOOR, tl.where(factor < 0, -FLOOR, FLOOR), factor), share


@triton.jit(do_not_specialize=SIZES)
def _output_kernel(
    weights_ptr,
    v_ptr,
    gate_ptr,
    o_ptr,
    v_batch,
    v_time,
    v_head,
    gate_batch,
    gate_time,
    gate_head,
    panel_pair,
    panel_row,
    heads,
    chunks,
    chunk,
    keys,
    held,
    first_pair,
    first_row,
    row_tiles,
    VALUE: tl.constexpr,
    BLOCK_VALUE: tl.constexpr,
    VALUE_TILES: tl.constexpr,
    DEPTH: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    FLOOR: tl.constexpr,
):
    """Forward 3: a tile of O = P V, times the gate's factor if there is one. Neighbours share rows of P; the longest
    rows come first.
    """
    tile = tl.program_id(0)
    index, tile = tile // (row_tiles * VALUE_TILES), tile % (row_tiles * VALUE_TILES)
    batch, head, start, rows, columns = _place(first_pair + index, heads, chunks, chunk, keys, held)
    panel_x = (row_tiles - 1 - tile // VALUE_TILES) * ROWS
    if first_row + panel_x >= rows:
        return
    x = panel_x + tl.arange(0, ROWS)
    feature = tile % VALUE_TILES * BLOCK_VALUE + tl.arange(0, BLOCK_VALUE)
    v_ptr += batch * v_batch + start * v_time + head * v_head
    weights_ptr += index.to(tl.int64) * panel_pair
    end = tl.minimum(columns, held + first_row + panel_x + ROWS)
    o = _times_tokens(
        weights_ptr, panel_row, x, v_ptr, v_time, feature, 0, end, columns,
        VALUE, DEPTH, ROWS, BLOCK_VALUE, OPERAND, PRECISION,
    )  # fmt: skip
    row = first_row + x
    o_ptr += ((batch * (keys - held) + start) * heads + head) * VALUE
    if gate_ptr is None:
        _store_rows(o_ptr, row, rows, heads * VALUE, feature, VALUE, o)
    else:  # in halves: O fills the registers, and the gate needs as many
        gate_ptr += batch * gate_batch + start * gate_time + head * gate_head
        left, right = tl.split(tl.permute(tl.reshape(o, (ROWS, 2, BLOCK_VALUE // 2)), (0, 2, 1)))
        feature = tile % VALUE_TILES * BLOCK_VALUE + tl.arange(0, BLOCK_VALUE // 2)
        left *= _gate_factor(_load(gate_ptr, row, row < rows, gate_time, feature, VALUE, tl.float32), FLOOR)[0]
        _store_rows(o_ptr, row, rows, heads * VALUE, feature, VALUE, left)
        feature += BLOCK_VALUE // 2
        right *= _gate_factor(_load(gate_ptr, row, row < rows, gate_time, feature, VALUE, tl.float32), FLOOR)[0]
        _store_rows(o_ptr, row, rows, heads * VALUE, feature, VALUE, right)


@triton.jit(do_not_specialize=["heads", "length", "blocks"])
def _row_products_kernel(
    y_ptr,
    gate_ptr,
    grad_y_ptr,
    row_products_ptr,
    grad_o_ptr,
    grad_gate_ptr,
    gate_batch,
    gate_time,
    gate_head,
    grad_y_batch,
    grad_y_time,
    grad_y_head,
    heads,
    length,
    blocks,
    VALUE: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    FLOOR: tl.constexpr,
):
    """Backward 1: D_t = Σ_j y_tj dy_tj; with a gate dO and dR, too."""
    block, index = tl.program_id(0) % blocks, tl.program_id(0) // blocks
    batch, head = (index // heads).to(tl.int64), (index % heads).to(tl.int64)
    row = block * ROWS + tl.arange(0, ROWS)
    out = ((batch * length + row) * heads + head) * VALUE
    grad_y_ptr += batch * grad_y_batch + head * grad_y_head
    gate_row, grad_y_row = row.to(tl.int64) * gate_time, row.to(tl.int64) * grad_y_time
    if gate_ptr is not None:
        gate_ptr += batch * gate_batch + head * gate_head
    total = tl.zeros((ROWS, WIDTH), tl.float32)
    for first in range(0, VALUE, WIDTH):
        feature = first + tl.arange(0, WIDTH)
        inside = (row < length)[:, None] & (feature < VALUE)[None, :]
        at = out[:, None] + feature[None, :]
        y = tl.load(y_ptr + at, inside, 0.0).to(tl.float32)
        grad_y = tl.load(grad_y_ptr + grad_y_row[:, None] + feature[None, :], inside, 0.0).to(tl.float32)
        total += y * grad_y
        if gate_ptr is not None:
            gate = tl.load(gate_ptr + gate_row[:, None] + feature[None, :], inside, 0.0).to(tl.float32)
            factor, share = _gate_factor(gate, FLOOR)
            tl.store(grad_o_ptr + at, (grad_y * factor).to(grad_o_ptr.dtype.element_ty), inside)
            slope = share * (1 + gate * (1 - share))  # of silu
            tl.store(grad_gate_ptr + at, (grad_y * (y / factor) * slope).to(grad_gate_ptr.dtype.element_ty), inside)
    tl.store(row_products_ptr + (batch * heads + head) * length + row, tl.sum(total, 1), row < length)


@triton.jit(do_not_specialize=SIZES)
def _score_gradients_kernel(
    grad_o_ptr,
    v_ptr,
    row_products_ptr,
    weights_ptr,
    grad_scores_ptr,
    grad_o_batch,
    grad_o_time,
    grad_o_head,
    v_batch,
    v_time,
    v_head,
    panel_pair,
    panel_row,
    heads,
    chunks,
    chunk,
    keys,
    held,
    first_pair,
    first_column,
    row_tiles,
    column_tiles,
    scale,
    VALUE: tl.constexpr,
    DEPTH: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Backward 3: a tile of dS = scale · P ⊙ (dO Vᵀ - D) into its panel."""
    tile = tl.program_id(0)
    index, tile = tile // (row_tiles * column_tiles), tile % (row_tiles * column_tiles)
    batch, head, start, rows, columns = _place(first_pair + index, heads, chunks, chunk, keys, held)
    first_row, panel_s = tile // column_tiles * ROWS, tile % column_tiles * COLUMNS
    if first_row >= rows or first_column + panel_s >= tl.minimum(columns, held + first_row + ROWS):
        return
    row = first_row + tl.arange(0, ROWS)
    s = panel_s + tl.arange(0, COLUMNS)
    column = first_column + s
    grad_o_ptr += batch * grad_o_batch + start * grad_o_time + head * grad_o_head
    v_ptr += batch * v_batch + start * v_time + head * v_head
    grad_weights = _inner_products(
        grad_o_ptr, grad_o_time, row, rows, v_ptr, v_time, column, columns,
        VALUE, DEPTH, ROWS, COLUMNS, OPERAND, PRECISION,
    )  # fmt: skip
    known = (batch * heads + head) * (keys - held) + start + row
    mean = tl.load(row_products_ptr + known, row < rows, 0.0)
    at = index.to(tl.int64) * panel_pair + row[:, None] * panel_row + s[None, :]
    sees = (column[None, :] <= held + row[:, None]) & (row < rows)[:, None]
    weights = tl.load(weights_ptr + at, sees, 0.0).to(tl.float32)
    grad_scores = tl.where(sees, weights * (grad_weights - mean[:, None]) * scale, 0.0)
    tl.store(grad_scores_ptr + at, grad_scores.to(OPERAND))


@triton.jit(do_not_specialize=SIZES)
def _column_gradients_kernel(
    weights_ptr,
    grad_scores_ptr,
    q_ptr,
    grad_o_ptr,
    grad_k_ptr,
    grad_v_ptr,
    q_batch,
    q_time,
    q_head,
    grad_o_batch,
    grad_o_time,
    grad_o_head,
    panel_pair,
    panel_row,
    heads,
    chunks,
    chunk,
    keys,
    held,
    first_pair,
    first_column,
    column_tiles,
    KEY: tl.constexpr,
    VALUE: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    KEY_TILES: tl.constexpr,
    VALUE_TILES: tl.constexpr,
    DEPTH: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Backward 4: a tile of dV = Pᵀ dO, or of dK = dSᵀ Q: the same product of other tensors. The longest come first."""
    tile = tl.program_id(0)
    tiles = column_tiles * (VALUE_TILES + KEY_TILES)
    index, tile = tile // tiles, tile % tiles
    batch, head, start, rows, columns = _place(first_pair + index, heads, chunks, chunk, keys, held)
    panel_s, tile = tile // (VALUE_TILES + KEY_TILES) * COLUMNS, tile % (VALUE_TILES + KEY_TILES)
    if first_column + panel_s >= columns:
        return
    grad_o_ptr += batch * grad_o_batch + start * grad_o_time + head * grad_o_head
    q_ptr += batch * q_batch + start * q_time + head * q_head
    token = (batch * keys + start) * heads + head
    is_value = tile < VALUE_TILES
    a_ptr = tl.where(is_value, weights_ptr, grad_scores_ptr) + index.to(tl.int64) * panel_pair
    b_ptr, b_stride = tl.where(is_value, grad_o_ptr, q_ptr), tl.where(is_value, grad_o_time, q_time)
    out_ptr = tl.where(is_value, grad_v_ptr + token * VALUE, grad_k_ptr + token * KEY)
    width = tl.where(is_value, VALUE, KEY)
    feature = tl.where(is_value, tile, tile - VALUE_TILES) * BLOCK_WIDTH + tl.arange(0, BLOCK_WIDTH)

    s = panel_s + tl.arange(0, COLUMNS)
    total = tl.zeros((COLUMNS, BLOCK_WIDTH), tl.float32)
    for first in range(tl.maximum(first_column + panel_s - held, 0) // ROWS * ROWS, rows, DEPTH):
        row = first + tl.arange(0, DEPTH)
        a = tl.load(a_ptr + row[:, None] * panel_row + s[None, :])
        b = _load(b_ptr, row, row < rows, b_stride, feature, width, OPERAND)
        total = tl.dot(tl.trans(a), b, total, input_precision=PRECISION)
    column = (first_column + s)[:, None]
    at = out_ptr + column * (heads * width) + feature[None, :]
    tl.store(at, total.to(out_ptr.dtype.element_ty), (column < columns) & (feature < width)[None, :])


@triton.jit(do_not_specialize=SIZES)
def _query_gradients_kernel(
    grad_scores_ptr,
    k_ptr,
    partial_ptr,
    grad_q_ptr,
    k_batch,
    k_time,
    k_head,
    panel_pair,
    panel_row,
    heads,
    chunks,
    chunk,
    keys,
    held,
    first_pair,
    first_column,
    row_tiles,
    width,
    KEY: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    KEY_TILES: tl.constexpr,
    DEPTH: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Backward 5: what a panel of `width` columns adds to a tile of dQ = dS K; the last panel it sees writes dQ."""
    tile = tl.program_id(0)
    index, tile = tile // (row_tiles * KEY_TILES), tile % (row_tiles * KEY_TILES)
    batch, head, start, rows, columns = _place(first_pair + index, heads, chunks, chunk, keys, held)
    first_row = (row_tiles - 1 - tile // KEY_TILES) * ROWS
    last = tl.minimum(columns, held + first_row + ROWS)  # of all columns that these rows see
    if first_row >= rows or first_column >= last:
        return
    end = tl.minimum(last, first_column + width)
    row = first_row + tl.arange(0, ROWS)
    feature = tile % KEY_TILES * BLOCK_WIDTH + tl.arange(0, BLOCK_WIDTH)
    inside = (row < rows)[:, None] & (feature < KEY)[None, :]
    k_ptr += batch * k_batch + start * k_time + head * k_head
    grad_scores_ptr += index.to(tl.int64) * panel_pair
    partial_ptr += index.to(tl.int64) * row_tiles * ROWS * KEY
    sum_at = row[:, None] * KEY + feature[None, :]
    total = _times_tokens(
        grad_scores_ptr, panel_row, row, k_ptr, k_time, feature, first_column, end, columns,
        KEY, DEPTH, ROWS, BLOCK_WIDTH, OPERAND, PRECISION,
    )  # fmt: skip
    if first_column > 0:
        total += tl.load(partial_ptr + sum_at, inside, 0.0)
    tl.store(partial_ptr + sum_at, total, inside & (end < last))
    grad_q_ptr += ((batch * (keys - held) + start) * heads + head) * KEY
    at = row[:, None] * (heads * KEY) + feature[None, :]
    tl.store(grad_q_ptr + at, total.to(grad_q_ptr.dtype.element_ty), inside & (end == last))


# Launchers.


class Tiles(NamedTuple):
    """How the work is cut. All are powers of two; a panel holds whole tiles."""

    rows: int = 128
    columns: int = 128  # of P and dV, dK
    score_columns: int = 256  # of dS
    sum_columns: int = 128  # that l takes at once
    sum_depth: int = 256  # features of one step of a product there; all of a key: queries stay where they are
    width: int = 256  # features in a tile of O, dQ, dK, dV
    depth: int = 64  # of one step of a product
    panel: int = 1024  # rows of P forward, columns of P and dS backward
    warps: int = 8
    stages: int = 4  # steps of a product on their way at once
    weights_stages: int = 3
    sum_stages: int = 2


WIDE = Tiles()
"""16-bit operands on a GPU with the shared memory of Hopper."""

NARROW = Tiles(
    rows=64, columns=64, score_columns=64, sum_columns=64, sum_depth=32, width=64, depth=32,
    panel=512, warps=4, stages=2, weights_stages=2, sum_stages=2,
)  # fmt: skip
"""float32 operands, and GPUs with less shared memory."""

FEW_ROWS = 16
"""A call with no more queries than this, as in decoding, takes as few rows in a tile."""

SCRATCH = 32 * 2**20
"""Values that all panels of P hold at once, unless one panel has more; the panels of dS as many again."""


@remember
def _tiles_of(device: torch.device, narrow_type: bool) -> Tiles:
    if narrow_type and device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 9:
        return WIDE
    return NARROW


FLOORS = {torch.float32: 2.0**-40, torch.bfloat16: 2.0**-40, torch.float16: 2.0**-14}
"""The least factor of a gate: times a value, it is no smaller than the type can hold with all its digits."""


class Plan(NamedTuple):
    """Sizes of one call, and how it is cut."""

    tiles: Tiles
    operand: torch.dtype
    batch: int
    heads: int
    chunks: int
    chunk: int
    keys: int
    held: int
    key: int
    value: int

    @classmethod
    def of(cls, q: Tensor, k: Tensor, v: Tensor, chunk_size: int) -> "Plan":
        batch, length, heads, key = q.shape
        keys, value = k.shape[1], v.shape[3]
        chunk = min(chunk_size, keys)
        # The interpreter's products of 16-bit numbers are wrong, or slow.
        operand = torch.float32 if interpreting() else q.dtype
        tiles = _tiles_of(q.device, operand != torch.float32)
        if length <= FEW_ROWS:
            tiles = tiles._replace(rows=16)
        return cls(tiles, operand, batch, heads, triton.cdiv(keys, chunk), chunk, keys, keys - length, key, value)

    @property
    def pairs(self) -> int:
        return self.batch * self.chunks * self.heads

    @property
    def rows(self) -> int:
        """Rows of a pair that is not short, in whole tiles."""
        return triton.cdiv(self.chunk - self.held, self.tiles.rows) * self.tiles.rows

    @property
    def columns(self) -> int:
        """Columns of a pair that is not short, in whole tiles of any kind."""
        tile = max(self.tiles.columns, self.tiles.score_columns)
        return triton.cdiv(self.chunk, tile) * tile

    def sizes(self) -> tuple[int, ...]:
        return self.heads, self.chunks, self.chunk, self.keys, self.held

    def dot(self) -> dict[str, Any]:
        """What all products share."""
        operand = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}[self.operand]
        precision = "tf32x3" if self.operand == torch.float32 and not interpreting() else "ieee"
        return {"OPERAND": operand, "PRECISION": precision, "ROWS": self.tiles.rows, "num_warps": self.tiles.warps}

    def depth(self, width: int) -> int:
        return min(self.tiles.depth, _block(width))

    def groups(self, panel: int) -> list[tuple[int, int]]:
        """The first pair and the number of pairs that panels of so many values serve at once."""
        size = max(1, min(self.pairs, SCRATCH // panel))
        return [(first, min(size, self.pairs - first)) for first in range(0, self.pairs, size)]


def _block(width: int) -> int:
    return max(16, triton.next_power_of_2(width))


def _in_rows(tensor: Tensor) -> Tensor:
    """The tensor, or a copy, with neighbouring features beside each other in memory."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _launch_forward(
    q: Tensor, k: Tensor, v: Tensor, gate: Tensor | None, chunk_size: int, scale: float
) -> tuple[Tensor, Tensor]:
    """Y (batch, time, head, value) and l (batch, head, time); k and v may have tokens before the first of q."""
    require_kernels(q.device)
    q, k, v = _in_rows(q), _in_rows(k), _in_rows(v)
    gate = None if gate is None else _in_rows(gate)
    gate_strides = (0, 0, 0) if gate is None else gate.stride()[:3]
    plan = Plan.of(q, k, v, chunk_size)
    tiles, sizes, dot = plan.tiles, plan.sizes(), plan.dot()
    strides, v_strides = (*q.stride()[:3], *k.stride()[:3]), v.stride()[:3]
    power = scale * math.log2(math.e)
    o = v.new_empty(plan.batch, q.shape[1], plan.heads, plan.value)
    log_sum = q.new_empty(plan.batch, plan.heads, q.shape[1], dtype=torch.float32)
    panel_rows = min(tiles.panel, plan.rows)
    groups = plan.groups(panel_rows * plan.columns)
    weights = q.new_empty(groups[0][1], panel_rows, plan.columns, dtype=plan.operand)
    block = min(tiles.width, _block(plan.value))
    value_tiles = triton.cdiv(plan.value, block)
    with torch.cuda.device_of(q):
        row_tiles = plan.rows // tiles.rows
        _log_sum_kernel[(plan.pairs * row_tiles,)](
            q, k, log_sum, *strides, *sizes, row_tiles, power,
            KEY=plan.key, DEPTH=min(tiles.sum_depth, _block(plan.key)), COLUMNS=tiles.sum_columns,
            num_stages=tiles.sum_stages, **dot,
        )  # fmt: skip
        for first_pair, count in groups:
            for first_row in range(0, plan.rows, panel_rows):
                row_tiles = min(panel_rows, plan.rows - first_row) // tiles.rows
                seen = min(plan.chunk, plan.held + first_row + row_tiles * tiles.rows)
                column_tiles = triton.cdiv(seen, tiles.columns)
                _weights_kernel[(count * row_tiles * column_tiles,)](
                    q, k, log_sum, weights, *strides, *weights.stride()[:2], *sizes,
                    first_pair, first_row, 0, row_tiles, column_tiles, power,
                    KEY=plan.key, DEPTH=plan.depth(plan.key), COLUMNS=tiles.columns,
                    num_stages=tiles.weights_stages, **dot,
                )  # fmt: skip
                _output_kernel[(count * row_tiles * value_tiles,)](
                    weights, v, gate, o, *v_strides, *gate_strides, *weights.stride()[:2], *sizes,
                    first_pair, first_row, row_tiles,
                    VALUE=plan.value, BLOCK_VALUE=block, VALUE_TILES=value_tiles,
                    DEPTH=tiles.depth, FLOOR=FLOORS[v.dtype], num_stages=tiles.stages, **dot,
                )  # fmt: skip
    return o, log_sum


def _launch_backward(
    grad_y: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gate: Tensor | None,
    y: Tensor,
    log_sum: Tensor,
    chunk_size: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of q, k, v and the gate; the last is empty without one."""
    grad_y, q, k, v, y = _in_rows(grad_y), _in_rows(q), _in_rows(k), _in_rows(v), y.contiguous()
    plan = Plan.of(q, k, v, chunk_size)
    tiles, sizes, dot = plan.tiles, plan.sizes(), plan.dot()
    row_products = torch.empty_like(log_sum)
    grad_o, grad_gate = _launch_row_products(plan, grad_y, y, gate, row_products)
    strides, v_strides, o_strides = (*q.stride()[:3], *k.stride()[:3]), v.stride()[:3], grad_o.stride()[:3]
    power = scale * math.log2(math.e)
    grad_q, grad_k, grad_v = (torch.empty(given.shape, dtype=given.dtype, device=given.device) for given in (q, k, v))
    panel_columns = min(tiles.panel, plan.columns)
    groups = plan.groups(plan.rows * panel_columns)
    weights, grad_scores = q.new_empty(2, groups[0][1], plan.rows, panel_columns, dtype=plan.operand)
    panel = weights.stride()[:2]
    partial_shape = (groups[0][1], plan.rows, plan.key) if panel_columns < plan.columns else (0,)
    partial = q.new_empty(partial_shape, dtype=torch.float32)
    block = min(tiles.width, _block(max(plan.key, plan.value)))
    keys = {"KEY": plan.key, "KEY_TILES": triton.cdiv(plan.key, block)}
    values = {"VALUE": plan.value, "VALUE_TILES": triton.cdiv(plan.value, block)}
    row_tiles = plan.rows // tiles.rows
    with torch.cuda.device_of(q):
        for first_pair, count in groups:
            for first_column in range(0, plan.columns, panel_columns):
                width = min(panel_columns, plan.columns - first_column)
                column_tiles, score_tiles = width // tiles.columns, width // tiles.score_columns
                _weights_kernel[(count * row_tiles * column_tiles,)](
                    q, k, log_sum, weights, *strides, *panel, *sizes,
                    first_pair, 0, first_column, row_tiles, column_tiles, power,
                    KEY=plan.key, DEPTH=plan.depth(plan.key), COLUMNS=tiles.columns,
                    num_stages=tiles.weights_stages, **dot,
                )  # fmt: skip
                _score_gradients_kernel[(count * row_tiles * score_tiles,)](
                    grad_o, v, row_products, weights, grad_scores, *o_strides, *v_strides, *panel, *sizes,
                    first_pair, first_column, row_tiles, score_tiles, scale,
                    VALUE=plan.value, DEPTH=plan.depth(plan.value), COLUMNS=tiles.score_columns,
                    num_stages=tiles.stages, **dot,
                )  # fmt: skip
                tiles_of_both = values["VALUE_TILES"] + keys["KEY_TILES"]
                _column_gradients_kernel[(count * column_tiles * tiles_of_both,)](
                    weights, grad_scores, q, grad_o, grad_k, grad_v, *strides[:3], *o_strides, *panel, *sizes,
                    first_pair, first_column, column_tiles, DEPTH=min(tiles.depth, tiles.rows),
                    COLUMNS=tiles.columns, num_stages=tiles.stages, BLOCK_WIDTH=block, **keys, **values, **dot,
                )  # fmt: skip
                _query_gradients_kernel[(count * row_tiles * keys["KEY_TILES"],)](
                    grad_scores, k, partial, grad_q, *strides[3:], *panel, *sizes,
                    first_pair, first_column, row_tiles, width, DEPTH=tiles.depth,
                    num_stages=tiles.stages, BLOCK_WIDTH=block, **keys, **dot,
                )  # fmt: skip
    return grad_q, grad_k, grad_v, grad_gate


def _launch_row_products(
    plan: Plan, grad_y: Tensor, y: Tensor, gate: Tensor | None, row_products: Tensor
) -> tuple[Tensor, Tensor]:
    """Fill D; return dO, which is dY where there is no gate, and the gradient of the gate."""
    length, rows = y.shape[1], 8 if gate is None else 4
    blocks = triton.cdiv(length, rows)
    gate_strides: tuple[int, ...] = (0, 0, 0)
    grad_o, grad_gate = grad_y, y.new_empty(0)
    if gate is not None:
        gate = _in_rows(gate)
        gate_strides, grad_o = gate.stride()[:3], torch.empty_like(y)
        grad_gate = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device)
    with torch.cuda.device_of(y):
        _row_products_kernel[(plan.batch * plan.heads * blocks,)](
            y, gate, grad_y, row_products, grad_o, grad_gate, *gate_strides, *grad_y.stride()[:3],
            plan.heads, length, blocks,
            VALUE=plan.value, ROWS=rows, WIDTH=min(512, _block(plan.value)), FLOOR=FLOORS[y.dtype], num_warps=4,
        )  # fmt: skip
    return grad_o, grad_gate


# Autograd, and the operators by which torch.compile knows the kernels.


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    q, k, v, gate, ctx.chunk_size, ctx.scale = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(q, k, v, gate, *output)


def _differentiate(launch: Callable[..., tuple[Tensor, ...]], ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
    q, k, v, gate, y, log_sum = ctx.saved_tensors
    grad_y = torch.zeros_like(y) if gradients[0] is None else gradients[0]
    *grads, grad_gate = launch(grad_y, q, k, v, gate, y, log_sum, ctx.chunk_size, ctx.scale)
    return *grads, None if gate is None else grad_gate, None, None


class ChunkAttentionFunction(torch.autograd.Function):
    """The kernels outside a compiled graph, where the operators below would only add time on the host."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        output = _launch_forward(*inputs)
        _save(ctx, inputs, output)
        ctx.mark_non_differentiable(output[1])
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        return _differentiate(_launch_backward, ctx, *gradients)


_forward = torch.library.custom_op("megalodon_edu::chunk_attention", _launch_forward, mutates_args=())
_backward = torch.library.custom_op("megalodon_edu::chunk_attention_backward", _launch_backward, mutates_args=())
_forward.register_autograd(partial(_differentiate, _backward), setup_context=_save)


@_forward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, gate: Tensor | None, chunk_size: int, scale: float) -> tuple[Tensor, Tensor]:
    batch, length, heads, _ = q.shape
    return v.new_empty(batch, length, heads, v.shape[3]), q.new_empty(batch, heads, length, dtype=torch.float32)


@_backward.register_fake
def _(
    grad_y: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gate: Tensor | None,
    y: Tensor,
    log_sum: Tensor,
    chunk_size: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_gate = y.new_empty(0) if gate is None else gate.new_empty(gate.shape)
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), grad_gate


def chunked_attention_triton(
    q: Keys,
    k: Keys,
    v: Values,
    chunk_size: int,
    cache: AttentionCache | None = None,
    scale: float = 1.0,
    bias: Bias | None = None,
    dropout: float = 0.0,
    gate: Values | None = None,
) -> tuple[Values, AttentionCache]:
    """`ops.attention.chunked_attention` as Triton kernels; q, k, v and gate in float32, float16 or bfloat16.

    Raises its errors, TypeError for float64, ValueError for a bias or dropout, and RuntimeError where no kernel runs.
    """
    cache = check_arguments(q, k, v, chunk_size, cache, scale, bias, dropout, gate)
    if bias is not None or dropout:
        given = "a bias" if bias is not None else f"dropout={dropout}"
        raise ValueError(f"the attention kernels know no bias and no dropout, got {given}; use the torch face")
    require_kernel_type("q", q)
    if gate is not None and gate.dtype != q.dtype:
        raise TypeError(f"gate must hold {q.dtype} as q does, got {gate.dtype}; use gate.to(q.dtype)")

    def attend(q: Keys, k: Keys, v: Values, tokens: slice) -> Values:
        forward = entry(_launch_forward, ChunkAttentionFunction, _forward, q, k, v, gate)
        return forward(q, k, v, None if gate is None else gate[:, tokens], chunk_size, float(scale))[0]

    return through_chunks(q, k, v, chunk_size, cache, attend)

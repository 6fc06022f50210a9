"""Solutions of chapter 10."""

import triton
import triton.language as tl


@triton.jit
def scale_and_add(x_ptr, y_ptr, out_ptr, scale, length, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < length
    x = tl.load(x_ptr + at, mask=inside)
    y = tl.load(y_ptr + at, mask=inside)
    tl.store(out_ptr + at, scale * x + y, mask=inside)


@triton.jit
def softmax_rows(x_ptr, y_ptr, x_stride, y_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    inside = column < columns
    x = tl.load(x_ptr + row * x_stride + column, mask=inside, other=-float("inf"))
    weight = tl.exp(x - tl.max(x, 0))
    tl.store(y_ptr + row * y_stride + column, weight / tl.sum(weight, 0), mask=inside)


@triton.jit
def row_sums(x_ptr, sums_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * columns + column, mask=column < columns, other=0.0)
    tl.atomic_add(sums_ptr + row, tl.sum(x, 0))


@triton.jit
def ema_scan(x_ptr, state_ptr, y_ptr, last_ptr, alpha, length, channels, BLOCK: tl.constexpr):
    sequence = tl.program_id(0)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    exists = channel < channels
    h = tl.load(state_ptr + sequence * channels + channel, mask=exists)
    for t in range(length):
        at = (sequence * length + t) * channels + channel
        x = tl.load(x_ptr + at, mask=exists)
        h = alpha * x + (1 - alpha) * h
        tl.store(y_ptr + at, h, mask=exists)
    tl.store(last_ptr + sequence * channels + channel, h, mask=exists)


@triton.jit
def ema_in_chunks(x_ptr, state_ptr, y_ptr, last_ptr, alpha, log2_decay, length, channels,
                  CHUNK: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    sequence, t = tl.program_id(0), tl.arange(0, CHUNK)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    exists = channel < channels
    fade = tl.exp2((t + 1) * log2_decay)
    age = t[:, None] - t[None, :]
    K = tl.where(age >= 0, alpha * tl.exp2(tl.maximum(age, 0) * log2_decay), 0.0)
    h = tl.load(state_ptr + sequence * channels + channel, mask=exists, other=0.0)
    for first in range(0, length, CHUNK):
        at = (sequence * length + first + t)[:, None] * channels + channel[None, :]
        inside = (first + t < length)[:, None] & exists[None, :]
        x = tl.load(x_ptr + at, mask=inside, other=0.0)
        y = tl.dot(K, x, input_precision="ieee") + fade[:, None] * h[None, :]
        tl.store(y_ptr + at, y, mask=inside)
        newest = tl.minimum(CHUNK, length - first) - 1
        h = tl.sum(tl.where((t == newest)[:, None], y, 0.0), 0)
    tl.store(last_ptr + sequence * channels + channel, h, mask=exists)

"""Causal attention inside chunks: token t sees the tokens of its own chunk up to itself, O(L C) for a length of L.

    o_t = Σ_s softmax_s(scale · q_t·k_s + bias_{t,s}) v_s          s ≤ t, s and t in the same chunk of C tokens
    y_t = o_t ⊙ silu(gate_t)                                       with a gate; without one y = o

MEGA-chunk (arXiv:2209.10655, Section 3.5) and Megalodon (arXiv:2404.08801, Section 3). A stream carries the keys and
values of the chunk that is not full yet; at a chunk's edge there is nothing to carry. The last chunk may be short.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import dropout as drop
from torch.nn.functional import scaled_dot_product_attention, silu

from megalodon_edu.arguments import (
    require_between,
    require_device_of,
    require_filled,
    require_finite,
    require_floating,
    require_number,
    require_positive,
    require_state,
    require_tensor,
)

Keys = Float[Tensor, "batch time head key"]
Values = Float[Tensor, "batch time head value"]
Bias = Float[Tensor, "chunk chunk"]


class AttentionCache(NamedTuple):
    """Keys and values of the tokens in the chunk that is not full yet: 0 to C - 1 of them."""

    keys: Keys
    values: Values


def chunked_attention_reference(
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
    """All pairs of tokens, a mask, a softmax in float32: O(L²), the truth for `chunked_attention`.

    bias is added to the logits by place in the chunk: row of the query, column of the key. dropout is the probability
    that a weight is dropped. gate, where there is one, comes as it is before silu.
    Raises TypeError or ValueError for wrong shapes or types and a cache that does not fit.
    """
    cache = check_arguments(q, k, v, chunk_size, cache, scale, bias, dropout, gate)
    held = cache.keys.shape[1]
    keys, values = torch.cat([cache.keys, k], 1), torch.cat([cache.values, v], 1)
    position = torch.arange(keys.shape[1], device=q.device)
    row, column = position[held:, None], position
    visible = (row // chunk_size == column // chunk_size) & (column <= row)
    work = torch.promote_types(q.dtype, torch.float32)
    logits = scale * torch.einsum("b t h d, b s h d -> b h t s", q.to(work), keys.to(work))
    if bias is not None:
        logits = logits + bias.to(work)[row % chunk_size, column % chunk_size]
    weights = drop(logits.masked_fill(~visible, float("-inf")).softmax(-1), dropout)
    out = _gated(torch.einsum("b h t s, b s h d -> b t h d", weights, values.to(work)), gate).to(v.dtype)
    left = keys.shape[1] % chunk_size
    start = keys.shape[1] - left
    return out, AttentionCache(keys[:, start:].clone(), values[:, start:].clone())


def chunked_attention(
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
    """The same with PyTorch's fused attention: the rest of the open chunk, then all full chunks as one batch, then
    the short chunk at the end. Arguments and errors as `chunked_attention_reference`.
    """
    cache = check_arguments(q, k, v, chunk_size, cache, scale, bias, dropout, gate)

    def attend(q: Keys, k: Keys, v: Values, tokens: slice) -> Values:
        if k.shape[1] <= chunk_size:
            return causal_attention(q, k, v, scale, bias, dropout)
        end = k.shape[1] - k.shape[1] % chunk_size
        q_, k_, v_ = (t[:, :end].reshape(-1, chunk_size, *t.shape[2:]) for t in (q, k, v))
        out = causal_attention(q_, k_, v_, scale, bias, dropout).reshape(q.shape[0], end, *v.shape[2:])
        if end == k.shape[1]:
            return out
        return torch.cat([out, causal_attention(q[:, end:], k[:, end:], v[:, end:], scale, bias, dropout)], 1)

    out, cache = through_chunks(q, k, v, chunk_size, cache, attend)
    return _gated(out, gate).to(v.dtype), cache


def through_chunks(
    q: Keys, k: Keys, v: Values, chunk_size: int, cache: AttentionCache, attend: Callable[..., Values]
) -> tuple[Values, AttentionCache]:
    """First the rest of the open chunk, if there is one, then all tokens from the next chunk's beginning on.

    attend(q, k, v, tokens) is called for either, with the keys and values that these queries may see, for the rest
    those of the cache, too. `tokens` is where the queries stand in the sequence. Returns output and next cache.
    """
    length, held = q.shape[1], cache.keys.shape[1]
    out, start = [], 0
    if held:
        start = min(chunk_size - held, length)
        cache = AttentionCache(torch.cat([cache.keys, k[:, :start]], 1), torch.cat([cache.values, v[:, :start]], 1))
        out.append(attend(q[:, :start], *cache, slice(0, start)))
    if start < length:
        out.append(attend(q[:, start:], k[:, start:], v[:, start:], slice(start, length)))
    if not held or start == chunk_size - held:  # the chunk that was open is full
        end = length - (length - start) % chunk_size
        cache = AttentionCache(k[:, end:].clone(), v[:, end:].clone())  # a view would keep the whole sequence alive
    return out[0] if len(out) == 1 else torch.cat(out, 1), cache


def _gated(out: Values, gate: Values | None) -> Values:
    """out ⊙ silu(gate), in at least float32."""
    return out if gate is None else out * silu(gate.to(torch.promote_types(gate.dtype, torch.float32)))


def causal_attention(
    q: Keys, k: Keys, v: Values, scale: float, bias: Bias | None = None, dropout: float = 0.0
) -> Values:
    """softmax(scale · q kᵀ + bias) v by PyTorch's fused kernels; the queries are the last of the keys' tokens.

    k and v may have fewer heads than q, each shared by as many neighbouring query heads (grouped-query attention).
    """
    shared = q.shape[2] != k.shape[2]
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    queries, keys = q.shape[2], k.shape[2]
    mask: Tensor | None = None
    if bias is not None or 1 < queries < keys:  # a single query sees every key
        visible = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
        mask = visible
        if bias is not None:
            mask = bias[keys - queries : keys, :keys].to(q.dtype).masked_fill(~visible, float("-inf"))
    out = scaled_dot_product_attention(
        q, k, v, mask, dropout, is_causal=mask is None and queries > 1, scale=scale, enable_gqa=shared
    )
    return out.transpose(1, 2)


def sliding_attention_reference(q: Keys, k: Keys, v: Values, window: int, scale: float, dropout: float = 0.0) -> Values:
    """softmax(scale · q kᵀ) v where every token sees the last `window` tokens, itself among them.

    The queries are the last of the keys' tokens; k and v may have fewer heads than q, as in `causal_attention`.
    Raises TypeError or ValueError for a window that is no integer of at least 1.
    """
    require_positive("window", window)
    queries, keys = q.shape[1], k.shape[1]
    row = torch.arange(keys - queries, keys, device=q.device)[:, None]
    column = torch.arange(keys, device=q.device)
    visible = (column <= row) & (column > row - window)
    shared = q.shape[2] != k.shape[2]
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    out = scaled_dot_product_attention(q, k, v, visible, dropout, scale=scale, enable_gqa=shared)
    return out.transpose(1, 2)


def sliding_attention(q: Keys, k: Keys, v: Values, window: int, scale: float, dropout: float = 0.0) -> Values:
    """The same, O(L window): block by block of `window` queries, which see at most 2 window - 1 keys together.

    Arguments and errors as `sliding_attention_reference`.
    """
    require_positive("window", window)
    queries, keys = q.shape[1], k.shape[1]
    if keys <= window:
        return causal_attention(q, k, v, scale, dropout=dropout)
    out = []
    for start in range(keys - queries, keys, window):
        end, first = min(start + window, keys), max(0, start - window + 1)
        block = q[:, start - (keys - queries) : end - (keys - queries)]
        out.append(sliding_attention_reference(block, k[:, first:end], v[:, first:end], window, scale, dropout))
    return torch.cat(out, 1)


def check_arguments(
    q: Keys,
    k: Keys,
    v: Values,
    chunk_size: int,
    cache: AttentionCache | None,
    scale: float,
    bias: Bias | None,
    dropout: float,
    gate: Values | None = None,
) -> AttentionCache:
    """Return the cache in the dtypes of k and v, empty where none is given; raises TypeError or ValueError."""
    require_tensor("q", q, "batch time head key")
    require_floating("q", q)
    require_filled("q", q)
    batch, time, heads, width = q.shape
    require_tensor("k", k, "batch time head key", batch=batch, time=time, head=heads, key=width)
    require_tensor("v", v, "batch time head value", batch=batch, time=time, head=heads)
    require_filled("v", v)
    for name, tensor in (("k", k), ("v", v)):
        if tensor.dtype != q.dtype:
            raise TypeError(f"{name} must hold {q.dtype} as q does, got {tensor.dtype}; use {name}.to(q.dtype)")
    require_positive("chunk_size", chunk_size)
    require_number("scale", scale)
    require_between("dropout", dropout, 0.0, 1.0)
    if bias is not None:
        require_tensor("bias", bias, "chunk chunk", chunk=chunk_size)
        require_floating("bias", bias)
        require_finite("bias", bias)
    if gate is not None:
        require_tensor("gate", gate, "batch time head value", batch=batch, time=time, head=heads, value=v.shape[-1])
        require_floating("gate", gate)
        require_device_of("gate", gate, q)
    if cache is None:
        return AttentionCache(k[:, :0], v[:, :0])
    require_state("cache", cache, AttentionCache)
    require_tensor("cache.keys", cache.keys, "batch time head key", batch=batch, head=heads, key=width)
    held = cache.keys.shape[1]
    if held >= chunk_size:
        raise ValueError(f"cache must hold fewer than chunk_size={chunk_size} tokens, got {held}")
    require_tensor(
        "cache.values", cache.values, "batch time head value", batch=batch, time=held, head=heads, value=v.shape[-1]
    )
    for name, tensor in (("cache.keys", cache.keys), ("cache.values", cache.values)):
        require_floating(name, tensor)
        require_device_of(name, tensor, q)
    return AttentionCache(cache.keys.to(k.dtype), cache.values.to(v.dtype))

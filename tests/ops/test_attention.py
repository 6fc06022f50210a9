"""Chunked attention and the rotary embedding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from megalodon_edu.ops.attention import AttentionCache, causal_attention, chunked_attention, chunked_attention_reference
from megalodon_edu.ops.rotary import rotate

FACES = (chunked_attention_reference, chunked_attention)


def make(time, chunk=5):
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, time, 2, 4, dtype=torch.float64)
    v = torch.randn(2, time, 2, 6, dtype=torch.float64)
    return q, k, v, torch.randn(chunk, chunk, dtype=torch.float64)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(time=st.integers(1, 40), cuts=st.lists(st.integers(1, 39), max_size=5, unique=True), with_bias=st.booleans())
def test_fused_equals_reference_and_streams(time, cuts, with_bias):
    q, k, v, bias = make(time)
    bias = bias if with_bias else None
    whole, last = chunked_attention_reference(q, k, v, 5, bias=bias)
    assert last.keys.shape[1] == time % 5
    cuts = [cut for cut in sorted(cuts) if cut < time]
    for face in FACES:
        cache, pieces = None, []
        for a, b in zip([0, *cuts], [*cuts, time], strict=True):
            o, cache = face(q[:, a:b], k[:, a:b], v[:, a:b], 5, cache, bias=bias)
            pieces.append(o)
        torch.testing.assert_close(torch.cat(pieces, 1), whole)
        torch.testing.assert_close(cache, last)


def test_gradients_agree():
    gradients = []
    for face in FACES:
        inputs = [t.requires_grad_() for t in make(18)]
        o, _ = face(*inputs[:3], 5, bias=inputs[3])
        gradients.append(torch.autograd.grad((o**2).sum(), inputs))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_token_sees_its_own_chunk_and_no_later_token():
    q, k, v, _ = make(15)
    for face in FACES:
        out = face(q, k, v, 5)[0]
        for s in range(15):
            changed_k, changed_v = k.clone(), v.clone()
            changed_k[:, s] += 1
            changed_v[:, s] += 1
            moved = (face(q, changed_k, changed_v, 5)[0] - out).abs().amax((0, 2, 3)) > 1e-9
            assert moved.tolist() == [t >= s and t // 5 == s // 5 for t in range(15)]


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 7), (3, 7), (7, 7)])
def test_the_queries_are_the_last_tokens_and_heads_may_share_keys(queries, keys):
    torch.manual_seed(0)
    q = torch.randn(2, queries, 6, 4, dtype=torch.float64)
    k, v = torch.randn(2, keys, 2, 4, dtype=torch.float64), torch.randn(2, keys, 2, 5, dtype=torch.float64)
    bias = torch.randn(keys, keys, dtype=torch.float64)
    shared_k, shared_v = (t.repeat_interleave(3, dim=2) for t in (k, v))
    for given_bias in (None, bias):
        found = causal_attention(q, k, v, 0.3, given_bias)
        for i in range(queries):
            seen = keys - queries + i + 1
            logits = 0.3 * torch.einsum("bhd,bshd->bhs", q[:, i], shared_k[:, :seen])
            if given_bias is not None:
                logits = logits + bias[seen - 1, :seen]
            expected = torch.einsum("bhs,bshd->bhd", logits.softmax(-1), shared_v[:, :seen])
            torch.testing.assert_close(found[:, i], expected)


def test_chunks_of_one_token_return_the_values():
    q, k, v, _ = make(9)
    for face in FACES:
        out, cache = face(q, k, v, 1)
        torch.testing.assert_close(out, v)
        assert cache.keys.shape[1] == 0


def test_the_cache_owns_its_memory():
    q, k, v, _ = make(1003)
    for face in FACES:
        cache = face(q[:1], k[:1], v[:1], 5)[1]
        assert cache.keys.untyped_storage().nbytes() == cache.keys.numel() * 8


def test_rotation_keeps_lengths_and_depends_on_distance_only():
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    products = [
        (rotate(q, torch.tensor([9 + s]), 1e4) * rotate(k, torch.tensor([4 + s]), 1e4)).sum() for s in (0, 3, 700)
    ]
    torch.testing.assert_close(products[1:], [products[0]] * 2)
    torch.testing.assert_close(rotate(q, torch.tensor([77]), 1e4).norm(), q.norm())
    pair = rotate(torch.tensor([1.0, 0, 1, 0]).view(1, 1, 1, 4), torch.tensor([2]), 100.0).flatten()
    angles = torch.tensor([2.0, 0.2])  # base^0 and base^(-1/2)
    torch.testing.assert_close(pair, torch.stack([angles.cos(), angles.sin()], 1).flatten())


def test_bad_input_is_named():
    q, k, v, _ = make(7)
    with pytest.raises(ValueError, match=r"k must have the shape .* got"):
        chunked_attention(q, k[:, 1:], v, 5)
    with pytest.raises(ValueError, match="chunk_size must be at least 1, got 0"):
        chunked_attention(q, k, v, 0)
    with pytest.raises(ValueError, match="cache must hold fewer than chunk_size=5 tokens, got 7"):
        chunked_attention(q, k, v, 5, AttentionCache(k, v))
    with pytest.raises(ValueError, match="width must be even"):
        rotate(q[..., :3], torch.arange(7), 1e4)
    with pytest.raises(ValueError, match=r"base must be a finite number above 0, got 0"):
        rotate(q, torch.arange(7), 0.0)
    with pytest.raises(ValueError, match=r"base must be a finite number above 0, got -1"):
        rotate(q, torch.arange(7), -1)
    with pytest.raises(TypeError, match="x must hold floating-point numbers"):
        rotate(q.long(), torch.arange(7), 1e4)
    with pytest.raises(TypeError, match="positions must be integers"):
        rotate(q, torch.arange(7.0), 1e4)
    with pytest.raises(TypeError, match=r"v must hold torch.float64 as q does, got torch.bfloat16; use v.to"):
        chunked_attention(q, k, v.bfloat16(), 5)
    with pytest.raises(ValueError, match=r"q must not be empty, got the shape \(2, 0, 2, 4\)"):
        chunked_attention(q[:, :0], k[:, :0], v[:, :0], 5)
    with pytest.raises(ValueError, match="bias must be finite, got 25 infinite or NaN of 25"):
        chunked_attention(q, k, v, 5, bias=torch.full((5, 5), torch.nan))
    with pytest.raises(TypeError, match=r"cache.keys is None; pass the whole state"):
        chunked_attention(q, k, v, 5, AttentionCache(None, v[:, :2]))
    with pytest.raises(TypeError, match="scale must be a number, got None"):
        chunked_attention(q, k, v, 5, scale=None)
    with pytest.raises(TypeError, match="cache must be None or AttentionCache, got tuple"):
        chunked_attention(q, k, v, 5, (k[:, :2], v[:, :2]))

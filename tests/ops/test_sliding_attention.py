"""A sliding window: the blocked form equals the masked plain form, and both equal one query at a time."""

import pytest
import torch

from megalodon_edu.ops.attention import causal_attention, sliding_attention, sliding_attention_reference

FACES = (sliding_attention_reference, sliding_attention)


def make(queries, keys, heads=4, kv_heads=2):
    torch.manual_seed(0)
    q = torch.randn(2, queries, heads, 6, dtype=torch.float64)
    k, v = (torch.randn(2, keys, kv_heads, width, dtype=torch.float64) for width in (6, 5))
    return q, k, v


@pytest.mark.parametrize("window", [1, 2, 5, 16, 40])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 9), (3, 20), (23, 23), (23, 30), (30, 31)])
def test_every_query_sees_the_last_keys_and_no_others(queries, keys, window):
    q, k, v = make(queries, keys)
    rows = []
    for row in range(queries):
        end = keys - queries + row + 1
        part = slice(max(0, end - window), end)
        rows.append(causal_attention(q[:, row : row + 1], k[:, part], v[:, part], scale=0.4))
    for face in FACES:
        torch.testing.assert_close(face(q, k, v, window, 0.4), torch.cat(rows, 1))


def test_gradients_agree():
    gradients = []
    for face in FACES:
        inputs = [t.requires_grad_() for t in make(23, 30)]
        gradients.append(torch.autograd.grad(face(*inputs, 7, 0.4).square().sum(), inputs))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


def test_a_window_below_one_is_named():
    for face in FACES:
        with pytest.raises(ValueError, match="window must be at least 1, got 0"):
            face(*make(3, 3), 0, 1.0)

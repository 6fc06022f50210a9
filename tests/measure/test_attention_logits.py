import math
from dataclasses import replace

import pytest
import torch

from megalodon_edu.measure.attention_logits import attention_entropy, attention_logits, attention_statistics
from megalodon_edu.models import Megalodon, MegalodonConfig, Transformer, match_transformer

TINY = replace(
    MegalodonConfig.preset("tiny"), model_dim=16, z_dim=8, value_dim=12, ffn_hidden_dim=24, num_heads=2, chunk_size=6
)
TOKENS = torch.randint(1, 256, (3, 18), generator=torch.Generator().manual_seed(0))


def model(**changes):
    torch.manual_seed(0)
    return Megalodon(replace(TINY, **changes))


def test_entropy_is_one_for_equal_weights_and_nothing_for_a_single_winner():
    logits = torch.zeros(3, 3, dtype=torch.float64)
    logits[2, 1] = 1000.0
    logits[1, 2] = 1e9  # the future does not count
    first, second, third = attention_entropy(logits).tolist()
    assert math.isnan(first) and second == pytest.approx(1) and third == pytest.approx(0)


def test_entropy_by_the_definition():
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]], dtype=torch.float64)
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(2)
    assert attention_entropy(logits)[1].item() == pytest.approx(expected)


def test_statistics_are_those_of_each_layers_own_input():
    net = model(normalize_z=False)
    x = net.embed(TOKENS)
    for layer, found in zip(net.layers, attention_statistics(net, TOKENS), strict=True):
        logits = attention_logits(layer.attention, x)
        assert logits.shape == (3, 3, 2, 6, 6)
        rows = [logits[..., t, : t + 1] for t in range(6)]
        assert found.largest_logit == pytest.approx(max(row.abs().max().item() for row in rows))
        entropy = [
            -(row.softmax(-1) * row.log_softmax(-1)).sum(-1) / math.log(t + 1) for t, row in enumerate(rows) if t
        ]
        assert found.entropy == pytest.approx(torch.stack(entropy).mean().item(), rel=1e-5)
        x, _ = layer(x)


def test_logits_are_the_ones_that_attention_uses():
    attention = model().layers[0].attention
    x = torch.randn(2, 6, 16)
    normal, _ = attention.timenorm(x)
    mx = attention.rmsnorm(attention.cema(normal)[0])
    v = torch.nn.functional.silu(attention.wv(normal)).unflatten(-1, (2, -1))
    hidden = torch.ones(6, 6).triu(1).bool()
    weights = attention_logits(attention, x)[:, 0].masked_fill(hidden, -math.inf).softmax(-1)
    o = torch.einsum("b h t s, b s h d -> b t h d", weights, v).flatten(-2)
    update = attention.wh1(mx) + attention.wh2(o * torch.nn.functional.silu(attention.wr(mx)))
    torch.testing.assert_close(update, attention(x)[0])


@pytest.mark.parametrize("training", [True, False])
def test_a_look_leaves_the_model_as_it_was(training):
    net = model(dropout=0.5, hidden_dropout=0.5).train(training)
    assert attention_statistics(net, TOKENS) == attention_statistics(net, TOKENS)
    assert net.training is training
    assert not any(layer.attention._forward_pre_hooks for layer in net.layers)


def test_what_cannot_be_looked_at_is_refused():
    with pytest.raises(TypeError, match="model must be a Megalodon.*got Transformer"):
        attention_statistics(Transformer(match_transformer(TINY)), TOKENS)
    with pytest.raises(ValueError, match="tokens must fill whole chunks.*got 17 tokens and chunk_size=6"):
        attention_statistics(model(), TOKENS[:, :17])
    with pytest.raises(ValueError, match="chunk_size=1"):
        attention_statistics(model(chunk_size=1), TOKENS)

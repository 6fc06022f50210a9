"""The norm on the shared queries and keys, and its absence."""

from dataclasses import replace

import pytest
import torch

from megalodon_edu import nn
from megalodon_edu.models import Megalodon, MegalodonConfig

SIZES = {"model_dim": 8, "z_dim": 8, "value_dim": 6, "num_heads": 2, "modes": 3, "chunk_size": 5, "norm_num_groups": 2}


def attention(**changes):
    torch.manual_seed(0)
    return nn.NormalizedAttention(**(SIZES | changes)).double()


def logits(module, mx):
    q, k = module.queries_and_keys(mx, held=0)
    return torch.einsum("b t h d, b s h d -> b h t s", q, k)


@pytest.mark.parametrize("size", [0.1, 1.0, 100.0])
def test_a_fresh_norm_keeps_every_logit_within_one_whatever_the_size_of_the_weights(size):
    module, mx = attention(), torch.randn(2, 9, 8, dtype=torch.float64)
    before = logits(module, mx)
    with torch.no_grad():
        module.wz.weight *= size
        module.wz.bias.zero_()
    found = logits(module, mx)
    assert found.abs().max() <= 1
    if size > 1:
        assert found.diagonal(dim1=-2, dim2=-1).min() > 0.999
    assert before.shape == found.shape == (2, 2, 9, 9)


def test_without_the_norm_logits_are_the_scaled_products_of_z_and_grow_with_its_square():
    module, mx = attention(normalize_z=False), torch.randn(2, 9, 8, dtype=torch.float64)
    z = module.wz(mx).unflatten(-1, (2, 4))
    torch.testing.assert_close(logits(module, mx).diagonal(dim1=-2, dim2=-1), z.square().sum(-1).mT / 4**0.5)
    with torch.no_grad():
        before = logits(module, mx)
        module.wz.weight *= 3
        module.wz.bias *= 3
        torch.testing.assert_close(logits(module, mx), 9 * before)


def test_both_variants_have_the_same_parameters():
    with_norm, without = attention(), attention(normalize_z=False)
    without.load_state_dict(with_norm.state_dict())


def test_without_the_norm_the_backends_agree_and_pieces_give_one_calls_result():
    module, loop = attention(normalize_z=False), attention(normalize_z=False, backend="reference")
    x = torch.randn(2, 13, 8, dtype=torch.float64)
    whole, _ = module(x)
    torch.testing.assert_close(loop(x)[0], whole)
    state, pieces = None, []
    for piece in x.split([1, 6, 2, 4], dim=1):
        y, state = module(piece, state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole)


def test_a_model_takes_the_choice_from_its_configuration():
    config = replace(MegalodonConfig.preset("tiny"), normalize_z=False)
    assert MegalodonConfig.from_dict(config.to_dict()) == config
    assert all(layer.attention.znorm is None for layer in Megalodon(config).layers)
    assert all(layer.attention.znorm is not None for layer in Megalodon(MegalodonConfig.preset("tiny")).layers)


def test_a_configuration_stored_before_there_was_a_choice_is_normalised():
    values = MegalodonConfig.preset("tiny").to_dict()
    del values["normalize_z"]
    assert MegalodonConfig.from_dict(values) == MegalodonConfig.preset("tiny")


def test_a_choice_that_is_none_is_refused():
    with pytest.raises(TypeError, match="normalize_z must be True or False, got 'no'"):
        attention(normalize_z="no")
    with pytest.raises(TypeError, match="normalize_z must be True or False, got 1"):
        replace(MegalodonConfig.preset("tiny"), normalize_z=1)

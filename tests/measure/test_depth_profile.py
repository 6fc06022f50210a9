"""Profiles of stacks whose sizes can be computed by hand, and of the package's own blocks."""

import math

import pytest
import torch
from torch import nn

from megalodon_edu.measure.depth_profile import VARIANTS, depth_profile, join, megalodon_stack
from megalodon_edu.models import MegalodonConfig
from megalodon_edu.nn import PostNormBlock, PreNormBlock, TwoHopBlock

DEPTH, WIDTH = 3, 8
CONFIG = MegalodonConfig(
    num_layers=DEPTH, model_dim=WIDTH, ffn_hidden_dim=12, num_heads=1, z_dim=4, value_dim=12, cema_ndim=2,
    chunk_size=4, norm_num_groups=2,
)  # fmt: skip


class Times(nn.Module):
    """A sublayer that multiplies by one learnable number; as attention it hands back a state too."""

    def __init__(self, factor, stateful):
        super().__init__()
        self.factor, self.stateful = nn.Parameter(torch.tensor(factor, dtype=torch.float64)), stateful

    def forward(self, x, state=None):
        return (self.factor * x, state) if self.stateful else self.factor * x


@pytest.fixture
def x():
    return torch.randn(2, 6, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def probe():
    return torch.randn(2, 6, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def rms(values):
    return values.square().mean().sqrt().item()


@pytest.mark.parametrize(("variant", "factor"), [("pre-norm", 1.5 * 1.2), ("two-hop", 1 + 0.2 * 1.5)])
def test_linear_blocks_multiply_the_stream_and_the_gradient(x, probe, variant, factor):
    blocks = [join(variant, Times(0.5, True), Times(0.2, False), WIDTH) for _ in range(DEPTH)]
    profile = depth_profile(blocks, x, probe)
    powers = [factor**place for place in range(DEPTH + 1)]
    assert profile.stream == pytest.approx([rms(x) * power for power in powers])
    last = profile.gradient[-1]
    assert profile.gradient == pytest.approx([last * power for power in reversed(powers)])


def test_the_weights_gradients_are_those_of_autograd(x, probe):
    for variant in VARIANTS:
        blocks = megalodon_stack(variant, CONFIG)
        profile = depth_profile(blocks, x, probe)
        assert all(weight.grad is None for block in blocks for weight in block.parameters())
        y = x.clone().requires_grad_()
        stream = y
        for block in blocks:
            stream, _ = block(stream)
        (probe * torch.nn.functional.layer_norm(stream, (WIDTH,))).sum().backward()
        assert profile.gradient[0] == pytest.approx(rms(y.grad))
        assert profile.stream[-1] == pytest.approx(rms(stream))
        for place, block in enumerate(blocks):
            for part, found in (
                (block.attention, profile.attention_gradient),
                (block.feed_forward, profile.feed_forward_gradient),
            ):
                squares = sum(w.grad.square().sum().item() for w in part.parameters() if w.grad is not None)
                assert found[place] == pytest.approx(math.sqrt(squares))


def test_variants_share_their_weights_and_differ_in_their_blocks():
    stacks = {variant: megalodon_stack(variant, CONFIG, seed=3) for variant in VARIANTS}
    kinds = [type(stack[0]) for stack in stacks.values()]
    assert kinds == [PreNormBlock, PostNormBlock, TwoHopBlock]
    first, second, third = (stack[1].attention.wv.weight for stack in stacks.values())
    assert torch.equal(first, second) and torch.equal(first, third)
    assert not torch.equal(first, megalodon_stack("two-hop", CONFIG, seed=4)[1].attention.wv.weight)


def test_making_a_stack_leaves_the_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    megalodon_stack("two-hop", CONFIG)
    assert torch.equal(torch.rand(3), expected)


def test_a_post_norm_stream_keeps_its_size_and_a_two_hop_stream_grows_less_than_a_pre_norm_one(x, probe):
    ends = {variant: depth_profile(megalodon_stack(variant, CONFIG), x, probe).stream[-1] for variant in VARIANTS}
    assert ends["post-norm"] == pytest.approx(1, abs=1e-3)
    assert rms(x) < ends["two-hop"] < ends["pre-norm"]


def test_bad_input_is_named(x, probe):
    with pytest.raises(ValueError, match="variant must be one of pre-norm, post-norm, two-hop, got 'sandwich'"):
        megalodon_stack("sandwich", CONFIG)
    with pytest.raises(TypeError, match="config must be a MegalodonConfig, got int"):
        megalodon_stack("two-hop", 3)
    blocks = megalodon_stack("two-hop", CONFIG)
    with pytest.raises(ValueError, match="blocks must hold at least one block"):
        depth_profile([], x, probe)
    with pytest.raises(ValueError, match="x must have the shape"):
        depth_profile(blocks, x[0], probe)
    with pytest.raises(TypeError, match="x must hold floating-point numbers"):
        depth_profile(blocks, x.long(), probe)
    with pytest.raises(ValueError, match="probe must have the shape"):
        depth_profile(blocks, x, probe[:, 1:])

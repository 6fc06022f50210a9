"""How large the residual stream is along a stack of blocks, and how large the gradient that comes back.

A stack turns x_0 into x_1, ..., x_depth, one block after the other. With the loss Σ probe ⊙ LayerNorm(x_depth), a
stand-in for the head of a model, the profile holds the root mean square (RMS) of every x_l and of every ∂loss/∂x_l.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from megalodon_edu.arguments import require_choice, require_floating, require_instance, require_tensor
from megalodon_edu.models import Megalodon, MegalodonConfig
from megalodon_edu.nn import PostNormBlock, PreNormBlock, TwoHopBlock

VARIANTS = ("pre-norm", "post-norm", "two-hop")
Block = PreNormBlock | PostNormBlock | TwoHopBlock


class DepthProfile(NamedTuple):
    """Sizes along a stack of blocks: at the depth + 1 places of the stream, and in each of the depth blocks.

    stream, gradient: RMS of x_l and of ∂loss/∂x_l.  attention_gradient, feed_forward_gradient: the norm of ∂loss/∂w,
    w all weights of that sublayer of the block together.
    """

    stream: list[float]
    gradient: list[float]
    attention_gradient: list[float]
    feed_forward_gradient: list[float]


def join(variant: str, attention: nn.Module, feed_forward: nn.Module, model_dim: int) -> Block:
    """The block that adds these two sublayers to the stream as the variant says. Raises ValueError for another name."""
    require_choice("variant", variant, VARIANTS)
    if variant == "post-norm":
        return PostNormBlock(attention, feed_forward, model_dim)
    return (PreNormBlock if variant == "pre-norm" else TwoHopBlock)(attention, feed_forward)


def megalodon_stack(variant: str, config: MegalodonConfig, seed: int = 0) -> list[Block]:
    """The fresh float64 blocks of a Megalodon, with the sublayers joined as the variant says.

    The same seed gives all variants the same weights. Raises TypeError for another config, ValueError for a variant
    that is not among `VARIANTS`.
    """
    require_instance("config", config, MegalodonConfig, "make one with MegalodonConfig(...)")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = Megalodon(config).double().layers
    pairs = [(layer.get_submodule("attention"), layer.get_submodule("feed_forward")) for layer in layers]
    return [join(variant, *pair, config.model_dim).double() for pair in pairs]


def depth_profile(
    blocks: Sequence[Block], x: Float[Tensor, "batch time channel"], probe: Float[Tensor, "batch time channel"]
) -> DepthProfile:
    """Send x through the blocks and the gradient of the loss back; the weights' own gradients are left alone.

    Raises TypeError or ValueError where x or the probe do not fit, and where there is no block.
    """
    if not blocks:
        raise ValueError("blocks must hold at least one block, got none")
    require_tensor("x", x, "batch time channel")
    require_floating("x", x)
    batch, time, channel = x.shape
    require_tensor("probe", probe, "batch time channel", batch=batch, time=time, channel=channel)
    stream = [x.detach().requires_grad_()]
    sublayers = [list(part.parameters()) for block in blocks for part in (block.attention, block.feed_forward)]
    weights = [weight for sublayer in sublayers for weight in sublayer]
    with torch.enable_grad():
        for block in blocks:
            stream.append(block(stream[-1])[0])
        loss = (probe * F.layer_norm(stream[-1], (channel,))).sum()
        found = iter(torch.autograd.grad(loss, [*stream, *weights], materialize_grads=True))
    gradient = [_rms(next(found)) for _ in stream]
    norms = [math.sqrt(sum(next(found).square().sum().item() for _ in sublayer)) for sublayer in sublayers]
    return DepthProfile([_rms(x) for x in stream], gradient, norms[0::2], norms[1::2])


def _rms(values: Tensor) -> float:
    return values.square().mean().sqrt().item()

"""The residual explorer: sizes of the stream and of the gradient along a deep stack, for three kinds of block.

The blocks are the package's own; their sublayers are stand-ins that a browser computes at once. Attention is one random
matrix behind a LayerNorm, without a look at other tokens; the feed-forward is a random ReLU network behind a LayerNorm:

    A(x) = a · W n(x)          F(x) = f · W_2 relu(W_1 n(x))          so A has about the RMS a and F about f
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
import traitlets
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from megalodon_edu.explorers.controls import Choice, Range, Switch
from megalodon_edu.explorers.framework import Explorer, Values
from megalodon_edu.measure.depth_profile import VARIANTS, Block, DepthProfile, depth_profile, join
from megalodon_edu.plots import residuals as plots

TOKENS, WIDTH, HIDDEN, DEEPEST = 6, 32, 32, 64
SEED, MULTIPLIER, MODULUS = 1, 48_271, 2**31 - 1

Sequence = Float[Tensor, "batch time channel"]


@cache
def random_numbers(count: int) -> Float[Tensor, " count"]:
    """Numbers of mean 0 and variance 1, the same in the browser: s ← 48271 s mod 2³¹ - 1, spread evenly to ±√3."""

    def states() -> Iterator[int]:
        state = SEED
        while True:
            state = MULTIPLIER * state % MODULUS
            yield state

    drawn = [state for _, state in zip(range(count), states(), strict=False)]
    return math.sqrt(3) * (2 * torch.tensor(drawn, dtype=torch.float64) / MODULUS - 1)


class Mixer(nn.Module):
    """A(x) = size · W LayerNorm(x), with a state that stays None."""

    def __init__(self, weight: Float[Tensor, "channel channel"], size: float) -> None:
        super().__init__()
        self.weight, self.size = nn.Parameter(weight), size

    def forward(self, x: Sequence, state: None = None) -> tuple[Sequence, None]:
        """The update and the state."""
        return self.size * F.layer_norm(x, (WIDTH,)) @ self.weight.mT, state


class ReluNetwork(nn.Module):
    """F(x) = size · W_2 relu(W_1 LayerNorm(x))."""

    def __init__(
        self, first: Float[Tensor, "hidden channel"], second: Float[Tensor, "channel hidden"], size: float
    ) -> None:
        super().__init__()
        self.first, self.second, self.size = nn.Parameter(first), nn.Parameter(second), size

    def forward(self, x: Sequence) -> Sequence:
        """The update."""
        return self.size * torch.relu(F.layer_norm(x, (WIDTH,)) @ self.first.mT) @ self.second.mT


class ResidualExplorer(Explorer):
    """The stream, the gradient that comes back, and the gradient of attention's weights, through up to 64 blocks.

    Controls: `depth`; `variant`, the kind of block that is told about; `attention` and `feed_forward`, the sizes a and
    f of the updates; `start`, the size of the stream before the first block; `rescale`: f · 0.1 · 0.5^block.
    """

    script = "residuals.js"
    depth = Range(32, 4, DEEPEST, whole=True)
    variant = Choice("two-hop", VARIANTS)
    attention = Range(0.6, 0.0, 2.0)
    feed_forward = Range(0.2, 0.0, 2.0)
    start = Range(1.0, 0.05, 4.0)
    rescale = Switch(False)

    @traitlets.default("constants")
    def _constants(self) -> dict[str, Any]:
        return {
            "tokens": TOKENS,
            "width": WIDTH,
            "hidden": HIDDEN,
            "deepest": DEEPEST,
            "seed": SEED,
            "multiplier": MULTIPLIER,
            "modulus": MODULUS,
            "variants": list(VARIANTS),
            "colours": ["vermilion", "grey", "blue"],
        }

    def profiles(self) -> dict[str, DepthProfile]:
        """The profile of each variant's stack; all have the same weights, input and probe."""
        signal, block = TOKENS * WIDTH, WIDTH * WIDTH + 2 * WIDTH * HIDDEN
        numbers = random_numbers(2 * signal + DEEPEST * block)
        x, probe = numbers[: 2 * signal].view(2, 1, TOKENS, WIDTH)
        weights = [numbers[at : at + block] for at in range(2 * signal, len(numbers), block)][: self.depth]
        return {
            variant: depth_profile([self._block(variant, *pair) for pair in enumerate(weights)], self.start * x, probe)
            for variant in VARIANTS
        }

    def values(self) -> Values:
        """Per variant: stream and gradient at depth + 1 places, the norm of attention's weight gradient per block."""
        found = self.profiles().values()
        names = ("stream", "gradient", "attention_gradient")
        return {name: np.array([getattr(profile, name) for profile in found]) for name in names}

    def figure(self) -> Figure:
        """Stream and gradient of the three variants."""
        return plots.stream_and_gradient(self.profiles())

    def description(self) -> str:
        """The picture in words."""
        sizes = "; ".join(
            f"{variant}: the stream ends {profile.stream[-1] / profile.stream[0]:.3g} times as large as it starts, the "
            f"gradient at the first block is {profile.gradient[0] / profile.gradient[-1]:.3g} times that at the end"
            for variant, profile in self.profiles().items()
        )
        return f"The sizes of stream and gradient along {self.depth} blocks, on logarithmic scales. {sizes}."

    def _block(self, variant: str, number: int, weights: Float[Tensor, " weight"]) -> Block:
        """Block `number` from the weights W, W_1, W_2, one after the other."""
        mixer, first, second = weights.split([WIDTH * WIDTH, WIDTH * HIDDEN, WIDTH * HIDDEN])
        scale = 0.1 * 0.5**number if self.rescale else 1.0
        attention = Mixer(mixer.view(WIDTH, WIDTH) / math.sqrt(WIDTH), self.attention)
        feed_forward = ReluNetwork(
            first.view(HIDDEN, WIDTH) / math.sqrt(WIDTH),
            second.view(WIDTH, HIDDEN) * math.sqrt(2 / HIDDEN),
            self.feed_forward * scale,
        )
        return join(variant, attention, feed_forward, WIDTH).double()

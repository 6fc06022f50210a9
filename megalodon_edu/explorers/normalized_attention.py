"""The normalized-attention explorer: logits and attention weights as the width, the gain and the norm change."""

import math
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure

from megalodon_edu.explorers.controls import Choice, Range
from megalodon_edu.explorers.framework import Explorer, Values
from megalodon_edu.nn import RMSNorm
from megalodon_edu.plots import style

TOKENS = "whales, whales"
MOST_WIDTH = 256
EPS = 1e-5
L2, RMS, TWICE, BARE = SCHEMES = (
    "length 1 (Megalodon)",
    "RMS norm, no 1/√d",
    "length 1, 1/√d again",
    "no norm, logits / √d",
)


def fixed_z() -> torch.Tensor:
    """z of each token, (time, key): its letter's direction with some noise, and a length of its own. Always the same.

    The features of a token have a root mean square between 0.6 and 1.6; two equal letters point to similar directions.
    """
    generator = torch.Generator().manual_seed(6)
    letters = {letter: torch.randn(MOST_WIDTH, generator=generator) for letter in dict.fromkeys(TOKENS)}
    noise = torch.randn(len(TOKENS), MOST_WIDTH, generator=generator)
    lengths = 0.6 + torch.rand(len(TOKENS), 1, generator=generator)
    z = lengths * (0.9 * torch.stack([letters[letter] for letter in TOKENS]) + 0.44 * noise)
    return z.double().round(decimals=3)


class NormalizedAttentionExplorer(Explorer):
    """q = k = κ z' of fourteen tokens, with z' made in four ways: their logits, and the causal attention weights.

    Controls: `width` (d_z, the first so many of 256 features), `kappa` (the gain of q and of k), `size` (a factor on
    every z, as a growing W_z would give), `scheme` (what is done to z and to the logits) and `row` (the query looked
    at). Positions and μ are left out.
    """

    script = "normalized_attention.js"
    scheme = Choice(L2, SCHEMES)
    width = Range(64, 2, MOST_WIDTH, whole=True)
    kappa = Range(1.0, 0.25, 8.0)
    size = Range(1.0, 0.1, 10.0)
    row = Range(len(TOKENS) - 1, 1, len(TOKENS) - 1, whole=True)

    @traitlets.default("constants")
    def _constants(self) -> dict[str, Any]:
        return {"z": fixed_z().tolist(), "tokens": list(TOKENS), "eps": EPS}

    def values(self) -> Values:
        """Logits and weights (query, key), the future 0; each row's entropy as a share of ln n; the largest |logit|."""
        z = self.size * fixed_z()[:, : self.width]
        unit = RMSNorm(self.width, EPS, gain=False)(z) / math.sqrt(self.width)
        scale = {L2: 1.0, RMS: self.width, TWICE: 1 / math.sqrt(self.width), BARE: 1 / math.sqrt(self.width)}
        q = self.kappa * (z if self.scheme == BARE else unit)
        logits = scale[self.scheme] * (q @ q.mT)
        future = torch.ones_like(logits).triu(1).bool()
        weights = logits.masked_fill(future, -math.inf).softmax(-1)
        entropy = torch.special.entr(weights).sum(-1)[1:] / torch.arange(2, len(TOKENS) + 1, dtype=torch.float64).log()
        logits = logits.masked_fill(future, 0)
        found = {"logits": logits, "weights": weights, "entropy": entropy, "largest": logits.abs().max()[None]}
        return {name: value.numpy() for name, value in found.items()}

    @style.styled
    def figure(self) -> Figure:
        """All weights as shades, and beside them the logits and the weights of the chosen row."""
        values, places = self.values(), np.arange(len(TOKENS))
        labels = [token if token != " " else "␣" for token in TOKENS]
        figure, (left, top) = style.figure(columns=2, width=8.5, height=3.9, width_ratios=[1.1, 1])
        spec = top.get_subplotspec().subgridspec(2, 1)
        top.remove()
        top, bottom = figure.add_subplot(spec[0]), figure.add_subplot(spec[1])
        seen = np.where(np.tri(len(TOKENS), dtype=bool), values["weights"], np.nan)
        left.imshow(seen, cmap="Blues", vmin=0, vmax=1)
        above, below = self.row - 0.5, self.row + 0.5
        left.plot(
            [-0.5, below, below, -0.5, -0.5],
            [above, above, below, below, above],
            color=style.ACCENT,
            linewidth=1.5,
            clip_on=False,
        )
        left.grid(visible=False)
        left.set_xticks(places, labels)
        left.set_yticks(places, labels)
        left.set(xlabel="key: whom it looks at", ylabel="query: who looks", title="Attention weights")
        for axes, name in ((top, "logits"), (bottom, "weights")):
            row = values[name][self.row, : self.row + 1]
            axes.vlines(places[: len(row)], 0, row, color=style.BLUE, alpha=0.5)
            axes.plot(places[: len(row)], row, "o", color=style.BLUE, markersize=4)
            axes.axhline(0, color=style.GREY, linewidth=0.8)
            axes.set(title=f"{name} of row “{labels[self.row]}”", xlim=(-0.5, len(TOKENS) - 0.5), ylabel=name[:-1])
            axes.set_xticks(places, labels)
        bottom.set(ylim=(0, 1), xlabel="key")
        return figure

    def description(self) -> str:
        """The picture in words."""
        values = self.values()
        weights, entropy = values["weights"][self.row], values["entropy"][self.row - 1]
        return (
            f"Attention among the {len(TOKENS)} letters of “{TOKENS}”: {self.scheme}, {self.width} features, κ = "
            f"{self.kappa:.3g}, z times {self.size:.3g}. The largest logit is {values['largest'].item():.3g}. "
            f"In row {self.row + 1} the strongest weight is {weights.max():.2f} and the entropy {entropy:.2f} of ln n."
        )

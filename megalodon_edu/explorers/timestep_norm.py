"""The Timestep Norm explorer: a signal that steps and drifts, and what four norms make of it."""

from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from megalodon_edu.explorers.controls import Range
from megalodon_edu.explorers.framework import Explorer, Values
from megalodon_edu.ops.timestep_norm import timestep_norm_reference
from megalodon_edu.plots import style
from megalodon_edu.plots import timestep_norm as plots

LENGTH, WIDTH = 160, 8
EPS = 1e-5
LAST = 16
NORMS = {
    "whole": "Whole text, future included",
    "token": "Layer norm: each token alone",
    "timestep": "Timestep Norm: all tokens so far",
    "fading": "Fading statistics: old tokens count less",
}
COLOURS = {"whole": "vermilion", "token": "green", "timestep": "blue", "fading": "orange"}


def whole_norm(x: Tensor) -> Tensor:
    """x (time, feature) with the statistics of the whole text."""
    return (x - x.mean()) / (x.var(correction=0) + EPS).sqrt()


def token_norm(x: Tensor) -> Tensor:
    """x (time, feature), each token with its own statistics."""
    return torch.nn.functional.layer_norm(x, x.shape[1:], eps=EPS)


def timestep_norm(x: Tensor) -> Tensor:
    """x (time, feature) with the statistics of all tokens so far."""
    zeros = x.new_zeros(x.shape[1])
    return timestep_norm_reference(x[None], zeros, zeros, groups=1, eps=EPS)[0][0]


def fading_norm(x: Tensor, half_life: float) -> Tensor:
    """x (time, feature); a token counts half as much after `half_life` tokens: n ← 2^(-1/half_life) n + 1."""
    decay = 0.5 ** (1 / half_life)
    count, mean, var = 0.0, x.new_zeros(()), x.new_zeros(())
    y = []
    for token in x:
        count = decay * count + 1
        c = 1 / count
        difference = token.mean() - mean
        mean = mean + c * difference
        var = var + c * (token.var(correction=0) + (1 - c) * difference**2 - var)
        y.append((token - mean) / (var + EPS).sqrt())
    return torch.stack(y)


class TimestepNormExplorer(Explorer):
    """One group of 8 features over 160 tokens, random, with a step and a slow drift, under four norms.

    Controls: `step_at` (the token where it happens), `step` (how far the level jumps there), `loudness` (by which
    factor the spread changes there), `drift` (how far the level has drifted at the end) and `half_life` (tokens, of
    the fading statistics). Weight is 0 and bias 0 in all norms.
    """

    script = "timestep_norm.js"
    step_at = Range(60, 0, LENGTH - 1, whole=True)
    step = Range(4, -8, 8)
    loudness = Range(1, 0.25, 4)
    drift = Range(0, -8, 8)
    half_life = Range(12, 2, 200)

    @traitlets.default("constants")
    def _constants(self) -> dict[str, Any]:
        return {"noise": _noise().tolist(), "last": LAST, "norms": NORMS, "colours": COLOURS}

    def signal(self, step: float, loudness: float) -> Tensor:
        """The signal (time, feature) with this step and loudness."""
        t = torch.arange(LENGTH, dtype=torch.float64)[:, None]
        after = t >= self.step_at
        spread = torch.where(after, loudness, 1.0)
        return spread * torch.as_tensor(_noise()) + torch.where(after, step, 0.0) + self.drift * t / (LENGTH - 1)

    def values(self) -> Values:
        """The signal and the four outputs (time, feature); and three numbers for each norm, in the order of NORMS.

        `leak`: how much an output before the step moves when the step is taken away. `level` and `size`: mean and
        root mean square of the outputs over the last 16 tokens.
        """
        x, calm = self.signal(self.step, self.loudness), self.signal(0.0, 1.0)
        outputs, without = self._outputs(x), self._outputs(calm)
        moved = [(outputs[name] - without[name])[: self.step_at].abs() for name in NORMS]
        ends = [outputs[name][-LAST:] for name in NORMS]
        return {
            "signal": x.numpy(),
            **{name: y.numpy() for name, y in outputs.items()},
            "leak": np.array([change.max().item() if change.numel() else 0.0 for change in moved]),
            "level": np.array([end.mean().item() for end in ends]),
            "size": np.array([end.square().mean().sqrt().item() for end in ends]),
        }

    @style.styled
    def figure(self) -> Figure:
        """The signal and the four outputs, one below the other."""
        values = self.values()
        rows = {title: torch.as_tensor(values[name]) for name, title in NORMS.items()}
        colors = (style.VERMILION, style.GREEN, style.BLUE, style.ORANGE)
        return plots.drifting(torch.as_tensor(values["signal"]), rows, colors)

    def description(self) -> str:
        """The picture in words."""
        values = self.values()
        levels = ", ".join(f"{title} {level:.2f}" for title, level in zip(NORMS.values(), values["level"], strict=True))
        return (
            f"A random signal of 8 features over 160 tokens whose level steps by {self.step:.3g} at token "
            f"{self.step_at}, with its spread times {self.loudness:.3g}, and drifts by {self.drift:.3g} until the end. "
            f"Below it the outputs of four norms. Their mean levels over the last {LAST} tokens: {levels}."
        )

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        return {
            "whole": whole_norm(x),
            "token": token_norm(x),
            "timestep": timestep_norm(x),
            "fading": fading_norm(x, self.half_life),
        }


def _noise() -> np.ndarray:
    return np.round(np.random.default_rng(4).normal(0, 1, (LENGTH, WIDTH)), 3)

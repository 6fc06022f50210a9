"""The decay-mix explorer: a few fading memories, added up, imitate a target kernel."""

from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure

from megalodon_edu.explorers.controls import Choice, Range, RangeList
from megalodon_edu.explorers.framework import Explorer, Values
from megalodon_edu.ops.damped_ema import damped_ema_kernel
from megalodon_edu.plots import style

LENGTH = 256
MOST_MODES = 6
LARGEST_WEIGHT = 8.0
TARGETS = ("power law 1/(1 + τ)", "window of T steps", "delay by T steps", "two exponentials")


def target_kernel(name: str, length: float) -> np.ndarray:
    """The kernel to imitate, 256 steps long, its largest value about 1; `length` is the T of the last three."""
    tau = np.arange(LENGTH)
    if name == TARGETS[0]:
        return 1 / (1 + tau)
    if name == TARGETS[1]:
        return np.where(tau < length, 1.0, 0.0)
    if name == TARGETS[2]:
        return np.where(tau == length, 1.0, 0.0)
    return 0.7 * 0.5 ** (tau / 2) + 0.3 * 0.5 ** (tau / length)


def least_squares(columns: np.ndarray, target: np.ndarray, largest: float) -> np.ndarray:
    """The weights w that minimise |columns @ w - target|², by the normal equations on columns of length 1.

    Nearly equal columns would take huge weights of opposite signs; a ridge is raised until none exceeds `largest`.
    """
    norms = np.linalg.norm(columns, axis=0)
    unit = columns / norms
    gram, projection, ridge = unit.T @ unit, unit.T @ target, 1e-9
    while True:
        weights = np.linalg.solve(gram + ridge * np.eye(len(gram)), projection) / norms
        if np.abs(weights).max() <= largest:
            return weights
        ridge *= 10


class DecayMixExplorer(Explorer):
    """K_τ = Σ w_k φ_k^τ, MEGA's kernel with w = η α β and φ = 1 - α δ, beside a target kernel.

    Controls: `modes` (how many of the six are used), `half_lives` and `weights` (six numbers each), `target`,
    `target_length` (its T) and `axes`. `solve()` finds the best weights, `spread()` spaces the half-lives evenly.
    """

    script = "damped_ema.js"
    modes = Range(3, 1, MOST_MODES, whole=True)
    half_lives = RangeList((1, 8, 64, 2, 16, 128), 0.5, 512)
    weights = RangeList((0.5, 0.3, 0.2, 0.1, 0.1, 0.1), -LARGEST_WEIGHT, LARGEST_WEIGHT)
    target = Choice(TARGETS[0], TARGETS)
    target_length = Range(32, 4, 128, whole=True)
    axes = Choice("log-log", ("linear", "log-log"))

    @traitlets.default("constants")
    def _constants(self) -> dict[str, Any]:
        return {"length": LENGTH, "colours": ["orange", "green", "pink", "sky", "vermilion", "grey"]}

    def solve(self) -> None:
        """Set the weights to the best ones for the present half-lives and target."""
        columns = self._decays() ** np.arange(LENGTH)[:, None]
        found = least_squares(columns, target_kernel(self.target, self.target_length), LARGEST_WEIGHT)
        self.weights = [*found.tolist(), *self.weights[self.modes :]]

    def spread(self) -> None:
        """Space the half-lives evenly on a logarithmic scale from 1 to 128 steps (a single one is set to 8)."""
        found = np.geomspace(1, 128, self.modes) if self.modes > 1 else np.array([8.0])
        self.half_lives = [*found.tolist(), *self.half_lives[self.modes :]]

    def values(self) -> Values:
        """The target, each mode's kernel (mode, step), their sum, and the error as a share of the target's length."""
        alpha = torch.as_tensor(1 - self._decays())[:, None]
        weights = torch.tensor(self.weights[: self.modes], dtype=torch.float64)[:, None]
        ones = torch.ones_like(alpha)
        modes = damped_ema_kernel(alpha, ones, ones, weights / alpha, LENGTH)
        kernel = damped_ema_kernel(alpha.mT, ones.mT, ones.mT, (weights / alpha).mT, LENGTH)[0].numpy()
        target = target_kernel(self.target, self.target_length)
        error = np.linalg.norm(kernel - target) / np.linalg.norm(target)
        return {"target": target, "modes": modes.numpy(), "kernel": kernel, "error": np.array([error])}

    @style.styled
    def figure(self) -> Figure:
        """The target, the sum and each mode."""
        values = self.values()
        figure, axes = style.figure(width=7.5, height=3.8)
        log = self.axes == "log-log"
        steps = np.arange(LENGTH) + (1 if log else 0)
        colours = (style.ORANGE, style.GREEN, style.PINK, style.SKY, style.VERMILION, style.GREY)
        for index, mode in enumerate(values["modes"]):
            label = f"{self.weights[index]:.2f} × half-life {self.half_lives[index]:.3g}"
            axes.plot(steps, mode, color=colours[index], linewidth=1.2, label=label)
        axes.plot(steps, values["target"], color=style.TARGET, linestyle="--", linewidth=1.5, label="target")
        axes.plot(steps, values["kernel"], color=style.KERNEL, linewidth=2.5, label="sum of the modes")
        axes.set(title=f"{self.target}: error {100 * values['error'].item():.3g} %", ylabel="weight")
        axes.set_xlabel("1 + τ" if log else "τ, steps back")
        if log:
            axes.set(xscale="log", yscale="log", ylim=(1e-4, 10), xlim=(1, LENGTH))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return figure

    def description(self) -> str:
        """The picture in words."""
        parts = ", ".join(
            f"{weight:.2f} with half-life {half_life:.3g}"
            for weight, half_life in zip(self.weights[: self.modes], self.half_lives, strict=False)
        )
        return (
            f"A dashed target kernel, {self.target}, and in blue the sum of {self.modes} decaying exponentials over "
            f"256 steps: {parts}. The error is {100 * self.values()['error'].item():.3g} percent of the target."
        )

    def _decays(self) -> np.ndarray:
        return 0.5 ** (1 / np.array(self.half_lives[: self.modes]))

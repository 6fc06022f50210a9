"""The EMA explorer: one slider decides how fast the past fades."""

from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure

from megalodon_edu.arguments import require_between
from megalodon_edu.explorers.controls import Choice, Range
from megalodon_edu.explorers.framework import Explorer, Values
from megalodon_edu.explorers.signals import LENGTH, signals
from megalodon_edu.ops.ema import ema_kernel, ema_reference, half_life
from megalodon_edu.plots import style

SIGNALS = signals()


class EMAExplorer(Explorer):
    """h_t = α x_t + (1 - α) h_{t-1} on a signal the reader picks, and its kernel with the half-life marked.

    Controls: `alpha`, `signal` and `steps_back` (the token whose weight is read off). `half_life` is alpha on another
    scale: it may be given instead, and setting it sets alpha.
    """

    script = "ema.js"
    alpha = Range(0.1, 0.01, 0.99)
    signal = Choice("noisy sine", list(SIGNALS))
    steps_back = Range(10, 0, LENGTH - 1, whole=True)

    def __init__(self, *, half_life: float | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        if half_life is not None:
            self.half_life = half_life

    @traitlets.default("constants")
    def _constants(self) -> dict[str, Any]:
        return {"signals": {name: values.tolist() for name, values in SIGNALS.items()}}

    @property
    def half_life(self) -> float:
        """Steps until the weight of a token has halved: ln 2 / -ln(1 - α)."""
        return float(half_life(1 - self.alpha))

    @half_life.setter
    def half_life(self, steps: float) -> None:
        longest, shortest = (float(half_life(1 - alpha)) for alpha in self.controls["alpha"])
        require_between("half_life", steps, shortest, longest)
        self.alpha = min(max(-float(np.expm1(-np.log(2) / steps)), 0.01), 0.99)

    def values(self) -> Values:
        """The signal, its EMA, the kernel, the half-life and the weight of the token `steps_back` steps ago."""
        alpha = torch.tensor([self.alpha], dtype=torch.float64)
        signal = torch.as_tensor(SIGNALS[self.signal], dtype=torch.float64)
        memory, _ = ema_reference(signal[None, :, None], alpha)
        kernel = ema_kernel(alpha, LENGTH)[0]
        return {
            "signal": signal.numpy(),
            "memory": memory[0, :, 0].numpy(),
            "kernel": kernel.numpy(),
            "half_life": half_life(1 - alpha).numpy(),
            "weight": kernel[[self.steps_back]].numpy(),
        }

    @style.styled
    def figure(self) -> Figure:
        """The signal with its EMA, and the kernel."""
        values = self.values()
        figure, (left, right) = style.figure(1, 2, width=9, height=3.1)
        steps = np.arange(LENGTH)
        left.vlines(steps, 0, values["signal"], color=style.INPUT, alpha=0.45, linewidth=1.2)
        left.plot(steps, values["signal"], "o", color=style.INPUT, markersize=2.5, label="signal x")
        left.plot(steps, values["memory"], color=style.MEMORY, label="memory h")
        left.set(title=f"The signal and its memory, α = {self.alpha:.3g}", xlabel="time step")
        left.legend(loc="upper right")
        right.fill_between(steps, values["kernel"], color=style.KERNEL, alpha=0.15, linewidth=0)
        right.plot(steps, values["kernel"], color=style.KERNEL)
        half, weight = values["half_life"].item(), values["weight"].item()
        right.axvline(half, color=style.ACCENT, linestyle="--", linewidth=1.5)
        right.plot([self.steps_back], [weight], "o", color=style.BLACK, markersize=6)
        right.set(title="Weight of each past token", xlabel="steps back", ylim=(0, None))
        anchor = {"ha": "right", "xytext": (-4, -12)} if half > LENGTH / 2 else {"xytext": (4, -12)}
        style.label_line(right, half, right.get_ylim()[1], f"half-life {half:.3g} steps", style.ACCENT, **anchor)
        return figure

    def description(self) -> str:
        """The picture in words."""
        values = self.values()
        return (
            f"Left: the signal '{self.signal}' as grey dots and its exponential moving average with alpha "
            f"{self.alpha:.3g} as a blue line. Right: the weight of each past token, which halves every "
            f"{values['half_life'].item():.3g} steps; the token {self.steps_back} steps back weighs "
            f"{values['weight'].item():.3g}."
        )

"""The pole-plane explorer: each complex memory is a point in the unit disc, and its kernel follows the point."""

import math
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure

from megalodon_edu.explorers.controls import Range, RangeList, Switch
from megalodon_edu.explorers.framework import Explorer, Values
from megalodon_edu.ops.complex_ema import complex_ema_kernel
from megalodon_edu.ops.ema import half_life
from megalodon_edu.plots import style

LENGTH = 64
FREQUENCIES = 257
MOST_POLES = 4
LARGEST_RADIUS = 0.995
FLOOR_DECIBEL = -60.0
PI = math.pi


def frequency_response(weights: np.ndarray, poles: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """H(e^{iω}) = Σ_τ K_τ e^{-iωτ} of the kernel K_τ = Re Σ_k w_k q_k^τ, for every ω.

    The real part is half the sum with the conjugates: H = ½ Σ_k [w/(1 - q e^{-iω}) + w̄/(1 - q̄ e^{-iω})].
    """
    delay = np.exp(-1j * omega)[:, None]
    both = weights / (1 - poles * delay) + weights.conj() / (1 - poles.conj() * delay)
    return both.sum(1) / 2


class PolePlaneExplorer(Explorer):
    """CEMA's memories as poles q = |q| e^{iθ} in the unit disc, dragged by mouse or moved by arrow keys.

    Controls: `poles` (how many of the four are used), `radii` |q|, `angles` θ, `eta_sizes` |η| and `eta_phases` arg η
    (four numbers each), and `input_phase`: the paper's form, p = α e^{iθ}, instead of the authors' real p = α.
    The damping δ is 1, so α = 1 - |q|.
    """

    script = "complex_ema.js"
    poles = Range(2, 1, MOST_POLES, whole=True)
    radii = RangeList((0.95, 0.85, 0.9, 0.7), 0.0, LARGEST_RADIUS)
    angles = RangeList((0.3, 1.6, -0.8, 2.6), -PI, PI)
    eta_sizes = RangeList((1.0, 1.0, 1.0, 1.0), 0.0, 4.0)
    eta_phases = RangeList((0.0, 0.0, 0.0, 0.0), -PI, PI)
    input_phase = Switch(False)

    @traitlets.default("constants")
    def _constants(self) -> dict[str, Any]:
        return {
            "length": LENGTH,
            "frequencies": FREQUENCIES,
            "floor": FLOOR_DECIBEL,
            "colours": ["blue", "vermilion", "green", "pink"],
        }

    def values(self) -> Values:
        """The kernel, |H(e^{iω})| in decibels for ω from 0 to π, and each pole's half-life."""
        radius, angle = np.array(self.radii[: self.poles]), np.array(self.angles[: self.poles])
        size, phase = np.array(self.eta_sizes[: self.poles]), np.array(self.eta_phases[: self.poles])
        alpha, eta, pole = 1 - radius, size * np.exp(1j * phase), radius * np.exp(1j * angle)
        a, delta, theta, e = (torch.as_tensor(row)[None] for row in (alpha, np.ones_like(alpha), angle, eta))
        kernel = complex_ema_kernel(a, delta, theta, e, LENGTH, self.input_phase)[0]
        weights = eta * alpha * (np.exp(1j * angle) if self.input_phase else 1)
        response = np.abs(frequency_response(weights, pole, np.linspace(0, PI, FREQUENCIES)))
        return {
            "kernel": kernel.numpy(),
            "response_db": 20 * np.log10(np.maximum(response, 10 ** (FLOOR_DECIBEL / 20))),
            "half_lives": half_life(torch.as_tensor(radius)).numpy(),
        }

    @style.styled
    def figure(self) -> Figure:
        """The poles in the unit disc, the kernel and the frequency response."""
        values = self.values()
        figure, (plane, middle, right) = style.figure(1, 3, width=10.5, height=3.3, width_ratios=[1, 1.25, 1.25])
        turn = np.linspace(0, 2 * PI, 361)
        plane.plot(np.cos(turn), np.sin(turn), color=style.GREY, linewidth=1)
        for index, colour in zip(
            range(self.poles), (style.BLUE, style.VERMILION, style.GREEN, style.PINK), strict=False
        ):
            pole = self.radii[index] * np.exp(1j * self.angles[index])
            plane.plot([pole.real], [pole.imag], "o", color=colour, markersize=9)
            plane.plot([pole.real], [-pole.imag], "o", color=colour, markersize=7, fillstyle="none")
            side = {"xytext": (7, 7)} if pole.real < 0.5 else {"xytext": (-7, 7), "ha": "right"}
            style.label_line(
                plane, pole.real, pole.imag, f"half-life {values['half_lives'][index]:.3g}", colour, **side
            )
        plane.set_anchor("N")
        plane.set(aspect="equal", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), title="Poles q")
        plane.set(xlabel="Re q", ylabel="Im q", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
        steps = np.arange(LENGTH)
        middle.axhline(0, color=style.GREY, linewidth=0.8)
        middle.vlines(steps, 0, values["kernel"], color=style.KERNEL, alpha=0.4, linewidth=1.2)
        middle.plot(steps, values["kernel"], "o", color=style.KERNEL, markersize=3)
        middle.set(title="Kernel", xlabel="τ, steps back", ylabel="weight")
        right.plot(np.linspace(0, 1, FREQUENCIES), values["response_db"], color=style.KERNEL)
        right.set(title="Frequency response", xlabel="frequency ω / π", ylabel="gain, dB", ylim=(FLOOR_DECIBEL, 20))
        return figure

    def description(self) -> str:
        """The picture in words."""
        half_lives = self.values()["half_lives"]
        poles = "; ".join(
            f"pole {index + 1} at radius {self.radii[index]:.3g} and {math.degrees(self.angles[index]):.0f} degrees, "
            f"half-life {half_lives[index]:.3g} steps"
            for index in range(self.poles)
        )
        form = "with the paper's input phase" if self.input_phase else "in the authors' form"
        return (
            f"Left: the unit disc with {poles}, each with its hollow mirror image. "
            f"Middle: the kernel of this complex moving average {form}, 64 steps long. "
            f"Right: its gain in decibels from frequency 0 to pi."
        )

"""Figures of chapter 03: a rotation that fades, poles in the unit disc, their kernel and what frequencies it passes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Complex, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from megalodon_edu.nn import ComplexEMA
from megalodon_edu.ops.complex_ema import complex_ema_kernel
from megalodon_edu.plots import gallery, style

Modes = Float[Tensor, "channel mode"]
ComplexModes = Complex[Tensor, "channel mode"]


@style.styled
def fading_rotation(pole: complex, length: int) -> Figure:
    """The powers q^τ of one pole: left in the complex plane, right their real part against the age τ."""
    figure, (plane, time) = style.figure(columns=2, height=3.2, width_ratios=[1, 1.6])
    powers = [pole**age for age in range(length)]
    _draw_disc(plane)
    plane.plot(
        [power.real for power in powers], [power.imag for power in powers], color=style.MEMORY, marker="o", markersize=4
    )
    plane.set_title("A memory that turns")
    time.axhline(0, color=style.GREY, linewidth=0.8)
    time.plot(range(length), [power.real for power in powers], color=style.KERNEL, marker="o", markersize=4)
    envelope = [abs(pole) ** age for age in range(length)]
    time.plot(range(length), envelope, color=style.GREY, linestyle="--", linewidth=1.2)
    style.label_line(time, min(1, length - 1), envelope[min(1, length - 1)], r"size $|q|^{\tau}$", style.GREY)
    time.set(xlabel="age τ (tokens)", ylabel=r"real part of $q^{\tau}$", title="What the output sees")
    return figure


@style.styled
def pole_plane(decay: Modes, theta: Modes, channel: int = 0) -> Figure:
    """The poles q = decay · exp(i θ) of one channel in the unit disc, each with its mode's number."""
    figure, axes = style.figure(width=4.0, height=4.0)
    _draw_disc(axes)
    poles = torch.polar(decay.double(), theta.double())[channel].detach()
    for mode, pole in enumerate(poles.tolist()):
        color = style.MODES[mode % len(style.MODES)]
        axes.plot([pole.real], [pole.imag], marker="o", linestyle="none", color=color)
        size = max(abs(pole), 1e-9)
        outwards = (11 * pole.real / size, 11 * pole.imag / size)
        style.label_line(axes, pole.real, pole.imag, f"{mode + 1}", color, xytext=outwards, ha="center", va="center")
    axes.set_title("Poles of one channel")
    return figure


@style.styled
def kernel(alpha: Modes, delta: Modes, theta: Modes, eta: ComplexModes, length: int, channel: int = 0) -> Figure:
    """The kernel of each mode of one channel, thin, and their sum, thick."""
    figure, axes = style.figure()
    ages = list(range(length))
    for mode in range(alpha.shape[1]):
        one = (slice(None), slice(mode, mode + 1))
        weights = complex_ema_kernel(alpha[one], delta[one], theta[one], eta[one], length)[channel].detach()
        color = style.MODES[mode % len(style.MODES)]
        axes.plot(ages, weights.numpy(), color=color, linewidth=1.2)
        style.label_line(axes, 0, float(weights[0]), f"mode {mode + 1}", color)
    total = complex_ema_kernel(alpha, delta, theta, eta, length)[channel].detach()
    axes.plot(ages, total.numpy(), color=style.TARGET, linewidth=2.5)
    highest = int(total.argmax())
    style.label_line(axes, highest, float(total[highest]), "sum", style.TARGET)
    axes.axhline(0, color=style.GREY, linewidth=0.8)
    axes.set(xlabel="age τ (tokens)", ylabel="weight", title="Fading waves, mixed")
    return figure


@style.styled
def frequency_response(kernels: Mapping[str, Float[Tensor, " time"]], points: int = 1024) -> Figure:
    """How strongly each kernel passes each rhythm: |Σ_τ K_τ exp(-i ω τ)| for ω from 0 to π, labelled at its peak.

    Raises ValueError when `points` is less than a kernel's length, which would cut the kernel short.
    """
    figure, axes = style.figure()
    highest = 0.0
    for (name, weights), color in zip(kernels.items(), style.MODES, strict=False):
        if points < len(weights):
            raise ValueError(f"points must be at least the kernel's length {len(weights)}, got {points}")
        gain = torch.fft.rfft(weights.detach().double(), n=points).abs()
        cycles = torch.arange(len(gain)) / points
        axes.plot(cycles.numpy(), gain.numpy(), color=color)
        loudest = int(gain.argmax())
        side = "left" if cycles[loudest] < 0.4 else "right"
        style.label_line(axes, float(cycles[loudest]), float(gain[loudest]), name, color, ha=side)
        highest = max(highest, float(gain[loudest]))
    axes.set(xlabel="frequency (cycles per token)", ylabel="gain", title="Which rhythms pass")
    axes.set_ylim(0, 1.15 * highest)
    return figure


@style.styled
def initial_poles(module: ComplexEMA) -> Figure:
    """The poles of all channels and modes of a module, as it stands; fresh, it shows the released initialisation."""
    figure, axes = style.figure(width=4.0, height=4.0)
    _draw_disc(axes)
    alpha, delta, theta, _, _ = module.coefficients()
    poles = torch.polar(1 - alpha * delta, theta).detach().flatten()
    axes.plot(poles.real.numpy(), poles.imag.numpy(), color=style.MEMORY, marker=".", linestyle="none", markersize=3)
    axes.set_title(f"Poles of {alpha.shape[0]} channels, {alpha.shape[1]} modes")
    return figure


@style.styled
def initial_kernels(module: ComplexEMA, channels: Sequence[int], length: int) -> Figure:
    """The kernels of some channels of a module, as it stands, one row each; without the skip."""
    figure, rows = style.figure(len(channels), height=1.15 * len(channels) + 0.4, sharex=True, squeeze=False)
    alpha, delta, theta, eta, _ = (value.detach() for value in module.coefficients())
    kernels = complex_ema_kernel(alpha, delta, theta, eta, length, module.input_phase)
    for axes, channel in zip(rows[:, 0], channels, strict=True):
        axes.axhline(0, color=style.GREY, linewidth=0.8)
        axes.plot(range(length), kernels[channel].numpy(), color=style.KERNEL, marker="o", markersize=3)
        turn = float(2 * math.pi / theta[channel, 0])
        axes.set_title(f"channel {channel}: mode 1 turns once in {turn:.0f} tokens", fontsize=9.5)
    rows[-1, 0].set(xlabel="age τ (tokens)")
    figure.supylabel("weight", fontsize=10)
    return figure


@style.styled
def two_listeners(x: Float[Tensor, " time"], outputs: Mapping[str, Float[Tensor, " time"]]) -> Figure:
    """A signal, and what each of several memories makes of it, in rows on one scale."""
    figure, rows = style.figure(1 + len(outputs), height=1.1 * (1 + len(outputs)) + 0.4, sharex=True, sharey=True)
    everything = {"the tokens": x, **outputs}
    colors = (style.INPUT, *style.MODES)
    for axes, (name, values), color in zip(rows, everything.items(), colors, strict=False):
        axes.axhline(0, color=style.GREY, linewidth=0.8)
        axes.plot(range(len(values)), values.detach().numpy(), color=color, marker="o", markersize=3, linewidth=1.2)
        axes.set_title(name, fontsize=9.5)
    rows[-1].set(xlabel="step t (tokens)")
    figure.supylabel("value", fontsize=10)
    return figure


@style.styled
def six_tokens(tokens: Sequence[str], values: Sequence[float], states: Sequence[complex]) -> Figure:
    """Left the state after each token, as arrows from 0; right the tokens as bars and the real parts as dots."""
    figure, (plane, time) = style.figure(1, 2, width=8.5, height=3.6, width_ratios=[1.1, 1])
    plane.axhline(0, color=style.GREY, linewidth=0.8)
    plane.axvline(0, color=style.GREY, linewidth=0.8)
    for token, state in zip(tokens, states, strict=True):
        arrow = {"arrowstyle": "->", "color": style.MEMORY, "shrinkA": 0, "shrinkB": 0}
        plane.annotate("", (state.real, state.imag), xytext=(0, 0), arrowprops=arrow)
        style.label_line(plane, state.real, state.imag, token, style.MEMORY, fontsize=11)
    plane.plot([h.real for h in states], [h.imag for h in states], ".", color=style.MEMORY)
    plane.set(xlabel="real part", ylabel="imaginary part", title="The memory, an arrow")
    plane.margins(0.12)
    plane.set_aspect("equal", adjustable="datalim")
    steps = range(len(values))
    time.bar(steps, values, width=0.5, color=style.LIGHT_GREY, label="token x")
    time.plot(steps, [h.real for h in states], "o-", color=style.MEMORY, label="real part of h")
    time.axhline(0, color=style.GREY, linewidth=0.8)
    time.set_xticks(list(steps), list(tokens))
    time.set(xlabel="token", ylabel="value", title="What the output sees")
    time.legend(loc="upper right")
    return figure


@style.styled
def around_the_circle(sizes: Sequence[float], theta: float, length: int) -> Figure:
    """The real part of q^τ for poles of one angle and several sizes, side by side, each on its own scale."""
    figure, columns = style.figure(1, len(sizes), width=9.5, height=2.6, squeeze=False)
    for axes, size, color in zip(columns[0], sizes, style.MODES, strict=False):
        axes.axhline(0, color=style.GREY, linewidth=0.8)
        wave = [size**age * math.cos(theta * age) for age in range(length)]
        axes.plot(range(length), wave, color=color, marker="o", markersize=3, linewidth=1.2)
        where = "inside" if size < 1 else "on the circle" if size == 1 else "outside"
        axes.set(xlabel="age τ (tokens)", title=f"|q| = {size:g}: {where}")
    columns[0, 0].set_ylabel(r"real part of $q^{\tau}$")
    return figure


@style.styled
def kernels_compared(kernels: Mapping[str, Float[Tensor, " time"]]) -> Figure:
    """Several kernels over the age, with a legend."""
    figure, axes = style.figure()
    axes.axhline(0, color=style.GREY, linewidth=0.8)
    for (name, weights), color, marker in zip(kernels.items(), (style.BLUE, *style.MODES), "osv^", strict=False):
        axes.plot(range(len(weights)), weights.detach().numpy(), color=color, marker=marker, markersize=4, label=name)
    axes.set(xlabel="age τ (tokens)", ylabel="weight")
    axes.legend()
    return figure


@style.styled
def dial(periods: Float[Tensor, " period"], loudness: Mapping[str, Float[Tensor, " period"]]) -> Figure:
    """How loudly memories tuned to each period answer, one line for each text, labelled at its loudest period."""
    figure, axes = style.figure(height=3.2)
    for (name, values), color in zip(loudness.items(), (style.BLUE, style.VERMILION, style.GREY), strict=False):
        axes.plot(periods.numpy(), values.numpy(), color=color)
        loudest = int(values.argmax())
        style.label_line(axes, float(periods[loudest]), float(values[loudest]), name, color)
    axes.set(xlabel="tuned to a period of … characters", ylabel="swing of the output")
    axes.set_ylim(0, 1.12 * max(float(values.max()) for values in loudness.values()))
    return figure


@style.styled
def swings_along(wave: Float[Tensor, " time"], events: Float[Tensor, " time"]) -> Figure:
    """A memory's output over time, with a vertical line at every step at which an event happens."""
    figure, axes = style.figure(width=9.5, height=2.6)
    for event in torch.nonzero(events)[:, 0].tolist():
        axes.axvline(event, color=style.ACCENT, linewidth=1, alpha=0.7)
    axes.axhline(0, color=style.GREY, linewidth=0.8)
    axes.plot(range(len(wave)), wave.numpy(), color=style.MEMORY)
    axes.set(xlabel="character", ylabel="output y", xlim=(0, len(wave) - 1))
    return figure


@gallery.kept(
    "poles_and_kernels",
    alt="Left, the unit disc with four poles. Right, their kernels: at angle 0 and size 0.9 a plain decay; at 45 "
    "degrees and size 0.8 a wave of eight tokens that fades quickly; at 45 degrees and size 0.97 the same wave, "
    "fading more slowly; at 180 degrees and size 0.9 a weight that changes its sign at every token.",
)
def poles_and_kernels() -> Figure:
    """Four poles in the unit disc and the kernels that belong to them."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    halves: Any = figure.subfigures(1, 2, width_ratios=[1, 1.25])
    left, right = halves
    plane = left.subplots()
    _draw_disc(plane)
    plane.set_title("Where the pole is …")
    rows = right.subplots(4, 1, sharex=True)
    poles = [(0.9, 0.0), (0.8, math.pi / 4), (0.97, math.pi / 4), (0.9, math.pi)]
    for axes, (size, angle), color in zip(rows, poles, style.MODES, strict=False):
        plane.plot([size * math.cos(angle)], [size * math.sin(angle)], "o", color=color, markersize=9)
        axes.axhline(0, color=style.GREY, linewidth=0.8)
        wave = [size**age * math.cos(angle * age) for age in range(33)]
        axes.plot(range(33), wave, color=color, marker="o", markersize=3, linewidth=1.2)
        axes.set(ylim=(-1.1, 1.9), yticks=[-1, 0, 1])
        style.label_line(axes, 32, 1.05, f"|q| = {size:g}, θ = {round(math.degrees(angle))}°", color, ha="right")
    rows[0].set_title("… is how the memory swings")
    rows[-1].set_xlabel("age τ (tokens)")
    right.supylabel(r"real part of $q^{\tau}$", fontsize=10)
    return figure


def _draw_disc(axes: Axes) -> None:
    """The unit circle with equal scales: inside it memories fade."""
    turn = [2 * math.pi * step / 200 for step in range(201)]
    axes.plot([math.cos(angle) for angle in turn], [math.sin(angle) for angle in turn], color=style.GREY, linewidth=1)
    axes.set(aspect="equal", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), xlabel="real part", ylabel="imaginary part")
    axes.set(xticks=[-1, -0.5, 0, 0.5, 1], yticks=[-1, -0.5, 0, 0.5, 1])

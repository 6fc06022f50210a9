"""Figures of chapter 03: a rotation that fades, poles in the unit disc, their kernel and what frequencies it passes."""

import math

import torch
from jaxtyping import Complex, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from megalodon_edu.nn import ComplexEMA
from megalodon_edu.ops.complex_ema import complex_ema_kernel
from megalodon_edu.plots import style

Modes = Float[Tensor, "channel mode"]
ComplexModes = Complex[Tensor, "channel mode"]


@style.styled
def fading_rotation(pole: complex, length: int) -> Figure:
    """The powers q^τ of one pole: left in the complex plane, right their real part against the age τ."""
    figure, (plane, time) = style.figure(columns=2, height=3.2, width_ratios=[1, 1.6])
    powers = [pole**age for age in range(length)]
    _draw_disc(plane)
    plane.plot([power.real for power in powers], [power.imag for power in powers], color=style.MEMORY, marker="o")
    plane.set_title("A memory that turns")
    time.axhline(0, color=style.GREY, linewidth=0.8)
    time.plot(range(length), [power.real for power in powers], color=style.KERNEL, marker="o")
    envelope = [abs(pole) ** age for age in range(length)]
    time.plot(range(length), envelope, color=style.GREY, linestyle="--", linewidth=1.2)
    style.label_line(time, min(1, length - 1), envelope[min(1, length - 1)], "size |q|^τ", style.GREY)
    time.set(xlabel="age τ (tokens)", ylabel="real part of q^τ", title="What the output sees")
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
        style.label_line(axes, pole.real, pole.imag, f"{mode + 1}", color)
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
    style.label_line(axes, length - 1, float(total[-1]), "sum", style.TARGET, ha="right")
    axes.axhline(0, color=style.GREY, linewidth=0.8)
    axes.set(xlabel="age τ (tokens)", ylabel="weight", title="Fading waves, mixed")
    return figure


@style.styled
def frequency_response(weights: Float[Tensor, " time"], points: int = 512) -> Figure:
    """How strongly a kernel passes each rhythm: |Σ_τ K_τ exp(-i ω τ)| for ω from 0 to π.

    Raises ValueError when `points` is less than the kernel's length, which would cut the kernel short.
    """
    if points < len(weights):
        raise ValueError(f"points must be at least the kernel's length {len(weights)}, got {points}")
    figure, axes = style.figure()
    gain = torch.fft.rfft(weights.detach().double(), n=points).abs()
    cycles = torch.arange(len(gain)) / points
    axes.plot(cycles.numpy(), gain.numpy(), color=style.KERNEL)
    axes.set(xlabel="frequency (cycles per token)", ylabel="gain", ylim=(0, None), title="Which rhythms pass")
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


def _draw_disc(axes: Axes) -> None:
    """The unit circle with equal scales: inside it memories fade."""
    turn = [2 * math.pi * step / 200 for step in range(201)]
    axes.plot([math.cos(angle) for angle in turn], [math.sin(angle) for angle in turn], color=style.GREY, linewidth=1)
    axes.set(aspect="equal", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), xlabel="real part", ylabel="imaginary part")

"""Figures of chapter 02: one fading memory alone, several mixed, a target memory fitted, a convolution that wraps."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from megalodon_edu.ops.damped_ema import damped_ema_kernel
from megalodon_edu.plots import style

Modes = Float[Tensor, "channel mode"]


@style.styled
def short_or_weak(decays: Sequence[float], length: int) -> Figure:
    """The kernels (1 - decay) · decay^τ of single averages: each sums to 1, so a longer one is a weaker one."""
    figure, axes = style.figure()
    ages = list(range(length))
    for decay, color in zip(decays, style.MODES, strict=False):
        weights = [(1 - decay) * decay**age for age in ages]
        axes.plot(ages, weights, color=color)
        style.label_line(axes, 0, weights[0], f"decay {decay:g}", color)
    axes.set(xlabel="age τ (tokens)", ylabel="weight", title="One memory: short or weak")
    return figure


@style.styled
def modes_and_sum(alpha: Modes, delta: Modes, beta: Modes, eta: Modes, length: int, channel: int = 0) -> Figure:
    """The kernel of each mode of one channel, thin, and their sum, thick."""
    figure, axes = style.figure()
    ages = list(range(length))
    for mode in range(alpha.shape[1]):
        one = (slice(None), slice(mode, mode + 1))
        weights = damped_ema_kernel(alpha[one], delta[one], beta[one], eta[one], length)[channel]
        color = style.MODES[mode % len(style.MODES)]
        axes.plot(ages, weights.detach().numpy(), color=color, linewidth=1.2)
        style.label_line(axes, 0, float(weights[0]), f"mode {mode + 1}", color)
    total = damped_ema_kernel(alpha, delta, beta, eta, length)[channel]
    axes.plot(ages, total.detach().numpy(), color=style.TARGET, linewidth=2.5)
    style.label_line(axes, length - 1, float(total[-1]), "sum", style.TARGET, ha="right")
    axes.axhline(0, color=style.GREY, linewidth=0.8)
    axes.set(xlabel="age τ (tokens)", ylabel="weight", title="Several memories, mixed")
    return figure


@style.styled
def fitted_memories(target: Float[Tensor, " time"], fits: Mapping[int, Float[Tensor, " time"]]) -> Figure:
    """A wanted kernel, thick, and the best mixtures by number of modes; both axes logarithmic, ages counted from 1."""
    figure, axes = style.figure(height=3.4)
    ages = list(range(1, len(target) + 1))
    axes.plot(ages, target.numpy(), color=style.TARGET, linewidth=4, alpha=0.35)
    style.label_line(axes, ages[-1], float(target[-1]), "wanted", style.TARGET, ha="right")
    for (modes, fit), color in zip(fits.items(), style.MODES, strict=False):
        axes.plot(
            ages, fit.clamp(min=float(target.min()) / 10).numpy(), color=color, label=f"{modes} mode{'s' * (modes > 1)}"
        )
    axes.set(xscale="log", yscale="log", xlabel="age τ + 1 (tokens)", ylabel="weight", title="N modes, one memory")
    axes.legend()
    return figure


@style.styled
def wrapped_convolution(right: Float[Tensor, " time"], wrapped: Float[Tensor, " time"]) -> Figure:
    """The convolution of a sequence, and what an FFT without padding makes of it: its end leaks into its start."""
    figure, axes = style.figure()
    steps = list(range(len(right)))
    axes.plot(steps, wrapped.numpy(), color=style.ACCENT, marker="o")
    axes.plot(steps, right.numpy(), color=style.MEMORY, marker="o")
    style.label_line(axes, 0, float(wrapped[0]), "no padding: the end wraps", style.ACCENT)
    style.label_line(axes, len(right) - 1, float(right[-1]), "padded to 2L", style.MEMORY, ha="right")
    axes.set(xlabel="step t", ylabel="output y", title="Why the FFT needs 2L")
    return figure

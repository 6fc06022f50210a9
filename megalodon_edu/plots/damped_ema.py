"""Figures of chapter 02: the echo of words, one fading memory, several mixed, a convolution that wraps."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from torch import Tensor

from megalodon_edu.ops.damped_ema import damped_ema_kernel
from megalodon_edu.plots import gallery, style

Modes = Float[Tensor, "channel mode"]


@style.styled
def short_or_weak(decays: Sequence[float], length: int) -> Figure:
    """The kernels (1 - decay) · decay^τ of single averages: each sums to 1, so a longer one is a weaker one."""
    figure, axes = style.figure()
    ages = list(range(length))
    for decay, color in zip(decays, style.MODES, strict=False):
        weights = [(1 - decay) * decay**age for age in ages]
        axes.plot(ages, weights, color=color)
        half = next((age for age in ages if weights[age] <= weights[0] / 2), length - 1)
        style.label_line(axes, half, weights[half], f"decay {decay:g}", color)
    axes.set(xlabel="age τ (tokens)", ylabel="weight", title="One memory: short or weak")
    return figure


@style.styled
def six_tokens(
    tokens: str, values: Sequence[float], memories: Mapping[str, Sequence[float]], output: Sequence[float]
) -> Figure:
    """The tokens' numbers as bars, each memory as a thin line, and what is read from all of them as a thick one."""
    figure, axes = style.figure(height=2.9)
    steps = list(range(len(tokens)))
    axes.bar(steps, values, width=0.5, color=style.LIGHT_GREY, label="token x")
    for (name, memory), color in zip(memories.items(), style.MODES, strict=False):
        axes.plot(steps, memory, color=color, marker="o", markersize=4, linewidth=1.2, label=name)
    axes.plot(steps, output, color=style.TARGET, marker="o", linewidth=2.5, label="output y")
    axes.set_xticks(steps, [f'"{token}"\nt = {step}' for step, token in enumerate(tokens)])
    axes.set(ylabel="value", ylim=(0, None))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@style.styled
def damping(alpha: float, deltas: Sequence[float], length: int) -> Figure:
    """Kernels α (1 - αδ)^τ with one α: all start at the same height, and a smaller δ lasts longer."""
    figure, axes = style.figure(height=2.9)
    ages = list(range(length))
    for delta, color in zip(deltas, style.MODES, strict=False):
        weights = [alpha * (1 - alpha * delta) ** age for age in ages]
        axes.plot(ages, weights, color=color)
        low = next((age for age in ages if weights[age] <= alpha / 6), 2 * length // 3)
        style.label_line(axes, low, weights[low], f"δ = {delta:g}", color)
    axes.set(
        xlabel="age τ (tokens)", ylabel="weight", title=f"α = {alpha:g}: equally loud, not equally long", ylim=(0, None)
    )
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
def echo_of_words(
    distances: Float[Tensor, " distance"],
    echo: Float[Tensor, " distance"],
    fits: Mapping[str, Float[Tensor, " distance"]],
) -> Figure:
    """How much likelier than by chance a word comes back, as dots, and kernels that imitate it; both axes logarithmic.

    Values below a quarter of the weakest echo are cut off there.
    """
    figure, axes = style.figure(height=3.4)
    lowest = float(echo.min()) / 4
    axes.plot(distances.numpy(), echo.numpy(), "o", color=style.TARGET, markersize=4.5, label="measured in the novel")
    for (name, fit), color, line in zip(
        fits.items(), (style.VERMILION, style.GREEN, style.BLUE), (":", "--", "-"), strict=False
    ):
        axes.plot(distances.numpy(), fit.clamp(min=lowest).numpy(), color=color, linestyle=line, label=name)
    axes.set(xscale="log", yscale="log", xlabel="words since it was last used", ylabel="echo")
    for axis, values in ((axes.xaxis, (10, 30, 100, 300, 1000)), (axes.yaxis, (0.1, 0.2, 0.5, 1, 2))):
        axis.set_major_locator(FixedLocator(values))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    axes.legend(loc="lower left")
    return figure


@style.styled
def imitation(wanted: Float[Tensor, " age"], kernels: Mapping[str, Float[Tensor, " age"]]) -> Figure:
    """A wanted kernel, dashed, and others that try to be it, by name."""
    figure, axes = style.figure(height=2.9)
    axes.plot(wanted.numpy(), color=style.TARGET, linestyle="--", drawstyle="steps-mid", label="wanted")
    for (name, kernel), color in zip(kernels.items(), (style.GREY, style.KERNEL), strict=False):
        axes.plot(kernel.detach().numpy(), color=color, label=name)
    axes.axhline(0, color=style.GREY, linewidth=0.8)
    axes.set(xlabel="age τ (tokens)", ylabel="weight")
    axes.legend(loc="upper right")
    return figure


@style.styled
def wrapped_convolution(right: Float[Tensor, " time"], wrapped: Float[Tensor, " time"]) -> Figure:
    """The convolution of a sequence, and what an FFT without padding makes of it: its end leaks into its start."""
    figure, axes = style.figure()
    steps = list(range(len(right)))
    axes.plot(steps, wrapped.numpy(), color=style.ACCENT, marker="o")
    axes.plot(steps, right.numpy(), color=style.MEMORY, marker="o")
    style.label_line(axes, 0, float(wrapped[0]), "no padding: the end wraps", style.ACCENT)
    style.label_line(axes, 1, float(right[1]), "padded to 2L", style.MEMORY, xytext=(-4, -8), ha="right")
    axes.set(xlabel="step t", ylabel="output y", title="Why the FFT needs 2L")
    return figure


@gallery.kept(
    "mixed_memories",
    alt="Two fading memories and their mixture. A fast one is subtracted from a slow one; the sum starts at zero, "
    "rises to a top at age 3 and fades slowly: a memory that is not interested in just now.",
)
def mixed_memories() -> Figure:
    """A slow memory minus a fast one."""
    decay = torch.tensor([[0.9, 0.5]], dtype=torch.float64)
    one, eta = torch.ones_like(decay), torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    return modes_and_sum(1 - decay, one, 1 / (1 - decay), eta, length=40)

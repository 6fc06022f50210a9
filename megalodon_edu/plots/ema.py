"""Figures of chapter 01: how a moving average forgets."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from megalodon_edu.ops.ema import half_life
from megalodon_edu.plots import gallery, style
from megalodon_edu.plots.style import styled

COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.PINK)


@styled
def fading_text(text: str, alphas: Sequence[float]) -> Figure:
    """How much each letter of a text still weighs when the last one has been read, the newest letter counting 1."""
    figure, rows = style.figure(len(alphas), width=9.5, height=1.05 * len(alphas) + 0.3, sharex=True, squeeze=False)
    ages = np.arange(len(text))[::-1]
    for axes, alpha, colour in zip(rows[:, 0], alphas, COLOURS, strict=False):
        axes.bar(range(len(text)), (1 - alpha) ** ages, color=colour, width=0.85)
        axes.set(ylim=(0, 1.05), yticks=[0, 1], xlim=(-0.6, len(text) - 0.4))
        axes.grid(False)
        half = float(half_life(1 - alpha))
        every = "letter" if half == 1 else f"{half:.2g} letters"
        axes.set_title(f"α = {alpha:g}: the weight halves every {every}", fontsize=9.5)
        axes.set_xticks(range(len(text)), list(text), family="DejaVu Sans Mono", fontsize=8)
        axes.tick_params(axis="x", length=0, labelbottom=True, pad=1)
    figure.supylabel("weight", fontsize=9.5)
    return figure


@styled
def six_tokens(tokens: Sequence[str], values: Sequence[float], memory: Sequence[float]) -> Figure:
    """Tokens as bars, the memory after each of them as dots with their numbers."""
    figure, axes = style.figure(height=2.8)
    steps = np.arange(len(values))
    axes.bar(steps, values, width=0.5, color=style.LIGHT_GREY, label="token x")
    axes.plot(steps, memory, "o-", color=style.MEMORY, label="memory h")
    for step, h in zip(steps, memory, strict=True):
        axes.annotate(f"{h:g}", (step, h), xytext=(0, 9), textcoords="offset points", ha="center", color=style.MEMORY)
    _token_axis(axes, tokens)
    axes.set(ylabel="value", ylim=(0, max(values) * 1.1))
    axes.legend(loc="upper right")
    return figure


@styled
def contributions(tokens: Sequence[str], values: Sequence[float], alpha: float) -> Figure:
    """The memory after each token, split into what is left of every token before: stacked copies of the kernel."""
    figure, axes = style.figure(height=2.8)
    steps = np.arange(len(values))
    floor = np.zeros(len(values))
    present = [(step, token, x) for step, (token, x) in enumerate(zip(tokens, values, strict=True)) if x != 0]
    for (step, token, x), colour in zip(present, COLOURS, strict=False):
        ages = steps - step
        left = np.where(ages >= 0, x * alpha * (1 - alpha) ** np.maximum(ages, 0), 0.0)
        label = f'left of "{token}" (x = {x:g})'
        axes.bar(steps, left, bottom=floor, width=0.6, color=colour, edgecolor="white", label=label)
        floor = floor + left
    for step, h in enumerate(floor):
        axes.annotate(f"{h:g}", (step, h), xytext=(0, 3), textcoords="offset points", ha="center")
    _token_axis(axes, tokens)
    axes.set(ylabel="memory h", ylim=(0, floor.max() * 1.2))
    axes.legend(loc="upper right")
    return figure


@styled
def kernels(alphas: Sequence[float], length: int) -> Figure:
    """Kernels over age: on a linear scale with the half-lives marked, and on a logarithmic one, as straight lines."""
    figure, (left, right) = style.figure(1, 2, width=9, height=3.1)
    ages = np.arange(length)
    for alpha, colour in zip(alphas, COLOURS, strict=False):
        weights = alpha * (1 - alpha) ** ages
        half = float(half_life(1 - alpha))
        for axes in (left, right):
            axes.plot(ages, weights, color=colour)
            axes.plot([half], [alpha / 2], "o", color=colour, markersize=6)
        style.label_line(left, half, alpha / 2, f"α = {alpha:g}, half-life {half:.1f}", colour, xytext=(7, 3))
    left.set(title="Weight by age", xlabel="age τ in steps", ylabel="weight K", ylim=(0, None))
    right.set(title="The same, logarithmic", xlabel="age τ in steps", ylabel="weight K", yscale="log")
    right.set_ylim(1e-6, 1)
    return figure


@styled
def cold_start(memory: Sequence[float], corrected: Sequence[float]) -> Figure:
    """A memory that starts empty and is fed with ones, and the same divided by the sum of its weights."""
    figure, axes = style.figure(height=2.6)
    steps = np.arange(len(memory))
    axes.plot(steps, memory, color=style.MEMORY)
    axes.plot(steps, corrected, color=style.ACCENT, linestyle="--")
    middle = len(memory) // 3
    style.label_line(axes, middle, memory[middle], "memory, started at 0", style.MEMORY, xytext=(8, -10))
    style.label_line(axes, middle, corrected[middle], "divided by the sum of its weights", style.ACCENT)
    axes.set(xlabel="step t", ylabel="fed with ones", ylim=(0, 1.2))
    return figure


@styled
def after_a_spike(alphas: Sequence[float], length: int) -> Figure:
    """What is left of a single token of size 1, step by step, on a logarithmic scale."""
    figure, axes = style.figure(height=2.9)
    steps = np.arange(length)
    for alpha, colour in zip(alphas, COLOURS, strict=False):
        left = alpha * (1 - alpha) ** steps
        axes.plot(steps, left, color=colour)
        style.label_line(axes, steps[length // 2], left[length // 2], f"α = {alpha:g}", colour, xytext=(6, 5))
    axes.set(xlabel="steps since the spike", ylabel="memory h", yscale="log")
    return figure


@styled
def presence(rates: Mapping[str, Sequence[float]]) -> Figure:
    """How often each name was mentioned lately, in mentions per 1000 words, over the words of a book."""
    figure, rows = style.figure(len(rates), width=9.5, height=0.95 * len(rates) + 0.5, sharex=True, squeeze=False)
    highest = max(max(rate) for rate in rates.values())
    for axes, (name, rate), colour in zip(rows[:, 0], rates.items(), COLOURS, strict=False):
        words = np.arange(len(rate)) / 1000
        axes.plot(words, rate, color=colour, linewidth=1.2)
        axes.fill_between(words, rate, color=colour, alpha=0.3, linewidth=0)
        axes.set(ylim=(0, 1.05 * float(highest)), xlim=(0, words[-1]))
        axes.set_title(name, color=style.readable(colour), fontsize=10, y=0.7, x=0.005)
    rows[-1, 0].set_xlabel("thousand words read")
    figure.supylabel("mentions per 1000 words", fontsize=9.5)
    return figure


@gallery.kept(
    "ema_kernels",
    alt="Weight of a token by its age for alpha 0.3, 0.1 and 0.03. Left, on a linear scale, the larger alpha starts "
    "higher and falls faster. Right, on a logarithmic scale, all three are straight lines.",
)
def ema_kernels() -> Figure:
    """How three moving averages forget."""
    return kernels([0.3, 0.1, 0.03], length=100)


def _token_axis(axes: Axes, tokens: Sequence[str]) -> None:
    axes.set_xticks(range(len(tokens)), [f'"{token}"\nt = {step}' for step, token in enumerate(tokens)])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))

"""Figures of chapter 00: what a Transformer looks at, what it keeps, and what that costs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter

from megalodon_edu.models import MegalodonConfig, megalodon_state_bytes
from megalodon_edu.plots import gallery, style

GPUS = {"24 GB": 24e9, "80 GB": 80e9}


@style.styled
def lengths(texts: Mapping[str, int]) -> Figure:
    """Texts by their number of tokens, as bars on a logarithmic axis."""
    figure, axes = style.figure(width=8, height=0.42 * len(texts) + 0.8)
    places = range(len(texts))
    axes.barh(places, list(texts.values()), color=style.SKY, height=0.65)
    for place, tokens in zip(places, texts.values(), strict=True):
        axes.annotate(f"{tokens:,}", (tokens, place), xytext=(5, 0), textcoords="offset points", va="center")
    axes.set_yticks(places, list(texts))
    axes.set(xscale="log", xlabel="tokens (here: bytes)", xlim=(1, 25 * max(texts.values())))
    axes.set_xticks([10**power for power in range(len(str(max(texts.values()))) + 1)])
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.minorticks_off()
    return figure


@style.styled
def pairs(tokens: Sequence[str]) -> Figure:
    """Which token looks at which: one square for each pair, the newest token's in colour."""
    figure, axes = style.figure(width=4.2, height=3.8)
    for row in range(len(tokens)):
        for column in range(row + 1):
            newest = row == len(tokens) - 1
            color = style.TRANSFORMER if newest else style.LIGHT_GREY
            axes.add_patch(Rectangle((column - 0.45, row - 0.45), 0.9, 0.9, color=color))
        axes.annotate(f"{row + 1}", (row + 0.6, row), va="center", color=style.GREY)
    _square_axes(figure, tokens, "looks at", "the new token")
    return figure


@style.styled
def attention_weights(tokens: Sequence[str], weights: Sequence[Sequence[float]]) -> Figure:
    """The weights that each token gives to those before it: darker is more. Row: who looks. Column: at whom."""
    figure, axes = style.figure(width=4.4, height=4.0)
    for row, given in enumerate(weights):
        for column, weight in enumerate(given[: row + 1]):
            axes.add_patch(Rectangle((column - 0.45, row - 0.45), 0.9, 0.9, color=style.BLUE, alpha=weight, lw=0))
            color = "white" if weight > 0.55 else style.BLACK
            axes.annotate(f"{weight:.3g}", (column, row), ha="center", va="center", color=color, fontsize=9)
    _square_axes(figure, tokens, "looked at", "the new token")
    return figure


def _square_axes(figure: Figure, tokens: Sequence[str], xlabel: str, ylabel: str) -> None:
    """Tokens along both axes, the first one at the top left."""
    (axes,) = figure.axes
    places = range(len(tokens))
    axes.set_xticks(places, list(tokens), fontsize=11)
    axes.set_yticks(places, list(tokens), fontsize=11)
    axes.set(xlim=(-0.6, len(tokens) + 0.1), ylim=(len(tokens) - 0.4, -0.6), xlabel=xlabel, ylabel=ylabel)
    axes.set_aspect("equal")
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)


@style.styled
def growth(contexts: Sequence[int], milliseconds: Sequence[float], size: Sequence[int]) -> Figure:
    """A Transformer's time for one more token, and its cache, against what it has read."""
    figure, panels = style.figure(1, 2, width=9, height=3)
    megabytes = np.asarray(size) / 1e6
    for axes, values, title, unit in (
        (panels[0], milliseconds, "Time for one more token", "milliseconds"),
        (panels[1], megabytes, "Memory for what was read", "megabytes"),
    ):
        axes.plot(contexts, values, "o-", color=style.TRANSFORMER, clip_on=False)
        axes.set(title=title, xlabel="tokens read so far", ylabel=unit, xlim=(0, None), ylim=(0, None))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


@style.styled
def bytes_while_reading(read: Sequence[int], cache: Sequence[int], state: Sequence[int]) -> Figure:
    """What both models keep while they read: the cache climbs, the state starts afresh at the end of each chunk."""
    figure, axes = style.figure(width=8, height=3.4)
    kilobytes = np.asarray(cache) / 1e3
    axes.plot(read, kilobytes, color=style.TRANSFORMER)
    label = {"xytext": (-10, 0), "ha": "right"}
    style.label_line(axes, read[-1], kilobytes[-1], "Transformer: KV cache", style.TRANSFORMER, **label)
    kilobytes = np.asarray(state) / 1e3
    axes.plot(read, kilobytes, color=style.MEGALODON)
    peak = int(np.flatnonzero(kilobytes == kilobytes.max())[-1])
    style.label_line(axes, read[peak], kilobytes[peak], "Megalodon: state", style.MEGALODON)
    axes.set(xlabel="tokens read", ylabel="kilobytes kept", ylim=(0, None), xlim=(0, None))
    return figure


@style.styled
def window_over_a_book(length: int, mentions: Sequence[int], reaches: Mapping[str, int], name: str) -> Figure:
    """A book as a line, the two mentions of a name on it, and how far back a reader with a window sees."""
    figure, axes = style.figure(width=9, height=0.55 * len(reaches) + 1.7)
    first, second = mentions
    axes.plot([0, length], [0, 0], color=style.LIGHT_GREY, linewidth=7, solid_capstyle="butt")
    axes.plot(mentions, [0, 0], "o", color=style.BLACK, markersize=7)
    for place, number in ((first, "first"), (second, "second")):
        text = f"{name}, {number} mention"
        axes.annotate(text, (place, 0), xytext=(0, 9), textcoords="offset points", ha="center")
    colors = (style.ORANGE, style.BLUE, style.GREEN)
    for row, ((label, reach), color) in enumerate(zip(reaches.items(), colors, strict=False), 1):
        axes.barh(-row, reach, left=second - reach, height=0.5, color=color)
        axes.annotate(
            label, (second, -row), xytext=(6, 0), textcoords="offset points", va="center", color=style.readable(color)
        )
    axes.set(xlim=(0, 1.22 * length), ylim=(-len(reaches) - 0.6, 0.9), yticks=[], xlabel="place in the book, bytes")
    axes.set_xticks(range(0, length + 1, 100_000))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.spines["left"].set_visible(False)
    axes.grid(False)
    return figure


@gallery.kept(
    "memory_wall",
    alt="Bytes kept against context on logarithmic axes, for models of 7 billion parameters in bfloat16. A "
    "Transformer's cache rises in a straight line, passes 24 gigabytes near 46 thousand tokens and 80 gigabytes near "
    "153 thousand, and reaches 5 terabytes at 10 million. Megalodon's state stops growing at 1.2 gigabytes.",
    format="svg",
)
def memory_wall() -> Figure:
    """The cache of a Transformer and the state of Megalodon, both as large as the paper's 7B, in bfloat16."""
    config = MegalodonConfig.preset("7.3B")
    contexts = np.unique(np.geomspace(1000, 10_000_000, 121).astype(int))
    cache = 2 * config.num_layers * config.model_dim * 2 * contexts
    most = [megalodon_state_bytes(config, min(int(n), config.chunk_size - 1), activation_bytes=2) for n in contexts]
    figure, axes = style.figure(width=8, height=4)
    for name, size in GPUS.items():
        axes.axhline(size, color=style.GREY, linestyle=":", linewidth=1.2)
        style.label_line(axes, contexts[0], size, f"memory of a GPU with {name}", style.GREY, xytext=(2, 3))
    axes.plot(contexts, cache, color=style.TRANSFORMER, linewidth=2.5)
    axes.plot(contexts, most, color=style.MEGALODON, linewidth=2.5)
    end = int(contexts[-1])
    style.label_line(axes, end, cache[-1], "Transformer: KV cache", style.TRANSFORMER, xytext=(-28, 2), ha="right")
    style.label_line(axes, end, most[-1], "Megalodon: state", style.MEGALODON, xytext=(-4, 8), ha="right")
    axes.set(xscale="log", yscale="log", xlabel="context, tokens", ylabel="bytes kept", xlim=(contexts[0], end))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(EngFormatter(unit="B"))
    axes.minorticks_off()
    return figure

"""Figures of chapter 08: the block, where the parameters are, what a state holds, and what a trained model knows."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch
from matplotlib.ticker import EngFormatter, NullLocator

from megalodon_edu.plots import gallery, style
from megalodon_edu.plots.share_bars import share_bars

Numbers = npt.NDArray[Any]
STATEFUL, STATELESS, INK = style.ORANGE, style.LIGHT_GREY, "#333333"
STREAM, NORM, SKIP, GATE, QUERY, VALUE, ATTENTION = 1.2, 5.0, 2.9, 5.0, 7.9, 10.9, 9.4  # columns of the diagram
PART_COLORS = {
    "embedding and head": style.GREY,
    "CEMA": style.BLUE,
    "norms": style.BLACK,
    "attention's products": style.ORANGE,
    "feed-forward": style.GREEN,
}
STATE_COLORS = {"keys": style.SKY, "values": style.BLUE, "CEMA": style.ORANGE, "norm": style.PINK}
FRESH: dict[str, Any] = {"color": style.ORANGE, "linestyle": (0, (2, 2))}
SURPRISE = LinearSegmentedColormap.from_list("surprise", ["#FFFFFF", "#F7D9A8", style.ORANGE, style.VERMILION])
MOST_BITS = 10.0
LINE = 78  # characters in a line of a page


@gallery.kept(
    "megalodon_block",
    alt="The wiring of a Megalodon block, from the input X at the bottom to the output Y at the top. Beside the stream "
    "X passes Timestep Norm. Its result goes to the values and, through CEMA and an RMSNorm, to four places: a plain "
    "product, the gate r, and the shared z that makes queries and keys. Attention inside the chunk takes queries, keys "
    "and values; its result is multiplied by the gate, the plain product is added, then X: the first hop. LayerNorm "
    "and the feed-forward follow, and their result is added to X on the stream: the second hop. Three parts are "
    "coloured because they carry a state from token to token: Timestep Norm, CEMA and attention.",
)
def megalodon_block() -> Figure:
    """One block from X at the bottom to Y at the top; the three parts with a state are coloured."""
    figure, axes = style.figure(width=6.2, height=8.2)
    axes.set(xlim=(0.4, 14.6), ylim=(-0.4, 19.2), aspect="equal")
    axes.axis("off")
    axes.plot([STREAM, STREAM], [0.6, 18.2], color=style.BLUE, linewidth=5, zorder=1)
    for name, y in (("X", 0.1), ("Y", 18.7)):
        axes.text(STREAM, y, name, ha="center", va="center", fontsize=13)
    _arrow(axes, (STREAM, 1.1), (NORM, 1.1), (NORM, 1.5))
    _box(axes, NORM, 2.0, "Timestep Norm", STATEFUL)
    _arrow(axes, (NORM, 2.5), (NORM, 3.6))
    _arrow(axes, (NORM, 3.0), (VALUE, 3.0), (VALUE, 6.7))
    _box(axes, NORM, 4.1, "CEMA", STATEFUL)
    _arrow(axes, (NORM, 4.6), (NORM, 4.9))
    _box(axes, NORM, 5.4, "RMSNorm", STATELESS)
    axes.plot([NORM, NORM, SKIP, QUERY], [5.9, 6.3, 6.3, 6.3], color=INK, linewidth=1.5, zorder=2)
    _arrow(axes, (SKIP, 6.3), (SKIP, 11.7), (ATTENTION - 0.4, 11.7))
    _arrow(axes, (GATE, 6.3), (GATE, 6.7))
    _arrow(axes, (QUERY, 6.3), (QUERY, 6.7))
    _box(axes, GATE, 7.2, "gate r", STATELESS, width=2.2)
    _box(axes, QUERY, 7.2, "z → q, k", STATELESS, width=2.4)
    _box(axes, VALUE, 7.2, "values v", STATELESS, width=2.4)
    _arrow(axes, (QUERY, 7.7), (QUERY, 8.4))
    _arrow(axes, (VALUE, 7.7), (VALUE, 8.4))
    _box(axes, ATTENTION, 8.9, "attention inside the chunk", STATEFUL, width=5.6)
    _arrow(axes, (ATTENTION, 9.4), (ATTENTION, 10.0))
    _arrow(axes, (GATE, 7.7), (GATE, 10.4), (ATTENTION - 0.4, 10.4))
    for y, sign in ((10.4, "×"), (11.7, "+"), (13.0, "+")):
        _joint(axes, ATTENTION, y, sign)
    _arrow(axes, (ATTENTION, 10.8), (ATTENTION, 11.3))
    _arrow(axes, (ATTENTION, 12.1), (ATTENTION, 12.6))
    _arrow(axes, (STREAM, 13.0), (ATTENTION - 0.4, 13.0), color=style.BLUE, linewidth=3)
    axes.text(ATTENTION + 0.6, 13.0, "Ŷ", ha="left", va="center", fontsize=13)
    _arrow(axes, (ATTENTION, 13.4), (ATTENTION, 13.9))
    _box(axes, ATTENTION, 14.4, "LayerNorm", STATELESS)
    _arrow(axes, (ATTENTION, 14.9), (ATTENTION, 15.3))
    _box(axes, ATTENTION, 15.8, "feed-forward", STATELESS)
    _arrow(axes, (ATTENTION, 16.3), (ATTENTION, 17.2), (STREAM + 0.4, 17.2))
    _joint(axes, STREAM, 17.2, "+")
    blue, amber = style.readable(style.BLUE), style.readable(STATEFUL)
    notes = (
        (5.0, 13.15, "first hop", "bottom", blue), (1.55, 15.2, "second hop", "center", blue),
        (7.0, 2.0, "state: n, m, v", "center", amber), (7.0, 4.1, "state: h", "center", amber),
        (ATTENTION + 0.15, 9.7, "state: the chunk's keys, values", "center", amber), (8.6, 3.3, "x̃", "center", INK),
        (6.85, 5.4, "mx", "center", INK), (3.05, 9.0, "$W_{h1}$ mx", "center", INK),
        (ATTENTION + 0.15, 11.05, "$W_{h2}$", "center", INK),
    )  # fmt: skip
    for x, y, words, va, color in notes:
        axes.text(x, y, words, ha="left", va=va, fontsize=9, color=color)
    return figure


def _box(axes: Axes, x: float, y: float, words: str, color: str, width: float = 3.4) -> None:
    shape = "round,pad=0,rounding_size=0.2"
    box = FancyBboxPatch((x - width / 2, y - 0.5), width, 1.0, boxstyle=shape, edgecolor=INK, facecolor="#F4F4F4")
    if color == STATEFUL:
        box.set(facecolor="#FBE3B5", edgecolor=style.readable(STATEFUL))
    axes.add_patch(box)
    box.set(linewidth=1.5, zorder=3)
    axes.text(x, y, words, ha="center", va="center", fontsize=10, zorder=4)


def _joint(axes: Axes, x: float, y: float, sign: str) -> None:
    axes.add_patch(Circle((x, y), 0.4, facecolor="white", edgecolor=INK, linewidth=1.5, zorder=3))
    axes.text(x, y, sign, ha="center", va="center", fontsize=12, zorder=4)


def _arrow(axes: Axes, *corners: tuple[float, float], color: str = INK, linewidth: float = 1.5) -> None:
    across, up = zip(*corners, strict=True)
    axes.plot(across[:-1], up[:-1], color=color, linewidth=linewidth, zorder=2)
    look = {"arrowstyle": "-|>", "color": color, "linewidth": linewidth, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", corners[-1], corners[-2], arrowprops={**look, "mutation_scale": 11}, zorder=2)


@style.styled
def parameter_shares(parts: Mapping[str, Mapping[str, int]]) -> Figure:
    """A bar per model, cut into the shares of its parts; shares of at least 5 % are written into it."""
    figure, axes = style.figure(height=0.9 + 0.42 * len(parts))
    share_bars(axes, parts, PART_COLORS, ("embedding and head", "CEMA", "norms"), "the parameters")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


@style.styled
def state_over_time(
    axis: Numbers,
    lines: Mapping[str, Numbers],
    window: Numbers,
    parts: Mapping[str, Numbers],
    here: tuple[int, Numbers],
    chunk_size: int,
) -> Figure:
    """Left, bytes of Megalodon's state and of the cache by tokens; right, what one layer keeps, part by part.

    `here` is the token that is looked at, and there first the sizes of `lines`, then those of `parts`.
    """
    figure, (left, right) = style.figure(1, 2, width=9.6, height=3.8)
    tokens, sizes_now = here
    chunks = round((window[-1] + 1 - window[0]) / chunk_size)
    colors = (style.MEGALODON, style.TRANSFORMER)
    for (name, sizes), color, now in zip(lines.items(), colors, sizes_now, strict=False):
        left.plot(axis, sizes, color=color, linewidth=1.8, label=name)
        left.plot([tokens], [now], "o", color=color)
    left.set(xlabel="tokens written", title="The whole model", xlim=(0, axis[-1]), ylim=(0, None))
    left.legend(loc="upper left")
    for (name, sizes), now in zip(parts.items(), sizes_now[len(lines) :], strict=True):
        for first in range(0, len(window), len(window) // chunks):  # chunk by chunk; nothing is no place on this axis
            some = slice(first, first + len(window) // chunks)
            shown = sizes[some] > 0
            label = name if first == 0 else None
            right.plot(window[some][shown], sizes[some][shown], color=STATE_COLORS[name], linewidth=1.8, label=label)
        if now:
            right.plot([tokens], [now], "o", color=STATE_COLORS[name])
    ticks = [edge for edge in range(0, int(window[-1]) + 2, chunk_size) if edge >= window[0]]
    right.set(xlabel="tokens written", title="One layer, part by part", xlim=(window[0], ticks[-1]))
    right.set_yscale("log")
    right.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4)
    left.xaxis.set_major_formatter(EngFormatter(sep=""))
    for axes in (left, right):
        axes.axvline(tokens, color=INK, linewidth=1)
        axes.set_ylabel("bytes kept")
        axes.yaxis.set_major_formatter(EngFormatter(unit="B"))
    right.yaxis.set_minor_locator(NullLocator())
    return figure


@style.styled
def surprise_page(text: bytes, bits: npt.ArrayLike) -> Figure:
    """A page whose every byte has the colour of its surprise in bits, white for none.

    Lines are broken after LINE bytes; a byte that is no printable ASCII shows as "·", a line's end as "↵".
    Raises ValueError unless there is one number for each byte.
    """
    surprise = np.asarray(bits, dtype=float)
    if surprise.shape != (len(text),):
        raise ValueError(f"bits must hold {len(text)} numbers, one for each byte of text, got {surprise.shape}")
    row, column, places = 0, 0, []
    for byte in text:
        if column == LINE:
            row, column = row + 1, 0
        places.append((row, column))
        row, column = (row + 1, 0) if byte == ord("\n") else (row, column + 1)
    rows = places[-1][0] + 1
    figure, axes = style.figure(width=9.0, height=0.7 + 0.185 * rows)
    cells = np.full((rows, LINE), np.nan)
    for (r, c), value in zip(places, surprise, strict=True):
        cells[r, c] = value
    image = axes.imshow(cells, cmap=SURPRISE, vmin=0, vmax=MOST_BITS, aspect="auto", interpolation="nearest")
    for (r, c), byte in zip(places, text, strict=True):
        sign = "↵" if byte == ord("\n") else chr(byte) if 32 <= byte < 127 else "·"
        if sign != " ":
            axes.text(c, r, sign, ha="center", va="center", fontsize=9, family="DejaVu Sans Mono")
    axes.axis("off")
    figure.colorbar(image, ax=axes, shrink=0.9, pad=0.01, label="surprise, bits", extend="max")
    return figure


@style.styled
def half_lives(before: Sequence[npt.ArrayLike], after: Sequence[npt.ArrayLike], chunk_size: int) -> Figure:
    """For each layer, the half-lives of all its modes from the shortest to the longest, before and after training."""
    figure, panels = style.figure(1, len(after), width=9.6, height=3.0, sharey=True)
    for number, (axes, first, last) in enumerate(zip(np.atleast_1d(panels), before, after, strict=True)):
        for lives, name, look in ((last, "trained", {"color": style.BLUE}), (first, "fresh", FRESH)):
            ordered = np.sort(np.ravel(np.asarray(lives, dtype=float)))
            axes.plot(np.linspace(0, 100, len(ordered)), ordered, label=name, **look)
        axes.axhline(chunk_size, color=style.VERMILION, linestyle="--", linewidth=1.2)
        axes.set(title=f"layer {number}", xlabel="share of the modes, %", xlim=(0, 100))
    first_panel = np.atleast_1d(panels)[0]
    first_panel.set_yscale("log")
    first_panel.set(ylabel="half-life, tokens", ylim=(1, 2 * chunk_size))
    style.label_line(first_panel, 3, chunk_size, "one chunk", style.VERMILION, xytext=(0, -12))
    first_panel.legend(loc="center left")
    return figure


@style.styled
def bits_by_place(edges: Sequence[int], curves: Mapping[str, Sequence[float]]) -> Figure:
    """Bits per byte by the place in the chunk: bin i holds the places edges[i] .. edges[i + 1] - 1.

    A curve may have fewer values than there are bins; the last ones are then missing.
    """
    figure, axes = style.figure(width=7.6, height=3.6)
    bins = list(pairwise(edges))
    at = np.arange(len(bins))
    looks = zip(curves.items(), (style.BLUE, style.ORANGE, style.GREEN, style.VERMILION), "os^D", strict=False)
    for (name, values), color, marker in looks:
        axes.plot(at[: len(values)], values, color=color, marker=marker, markersize=5, label=name)
    labels = [str(first) if last - first == 1 else f"{first}-{last - 1}" for first, last in bins]
    axes.set(xticks=at, xticklabels=labels, xlabel="place in the chunk", ylabel="bits per byte", ylim=(0, None))
    axes.legend(loc="upper right", title="lost at the edge", title_fontsize=9, alignment="left")
    return figure

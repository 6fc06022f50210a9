"""Figures of chapter 05: valves, turning pairs, the cost of looking back, and what a token can see."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from megalodon_edu import nn
from megalodon_edu.measure.receptive_field import open_paths, receptive_field
from megalodon_edu.ops.rotary import frequencies
from megalodon_edu.plots import gallery, style

Field = Float[Tensor, "output_time input_time"]

# Light means faint, dark means strong; what is exactly zero stays white.
INFLUENCE = LinearSegmentedColormap.from_list("influence", ["#D6E8F4", style.SKY, style.BLUE, "#00213A"])
FAINTEST = 1e-4
PATHS = {"cache": "attention alone", "ema": "CEMA alone", "norm": "statistics alone"}
PATH_COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.BLACK)


@style.styled
def fields(named: Mapping[str, Field], chunk_size: int | None = None, faintest: float = FAINTEST) -> Figure:
    """Receptive fields side by side: rows are outputs, columns inputs, dark is strong, white is exactly zero.

    Each map is scaled to its own largest entry; what is fainter than `faintest` of it is drawn as faint as that.
    """
    count = len(named)
    figure, grid = style.figure(1, count, width=min(9.5, 1.1 + 2.7 * count), height=3.0, squeeze=False)
    for axes, (name, field) in zip(grid[0], named.items(), strict=True):
        image = draw_field(axes, field, chunk_size, faintest)
        axes.set(title=name, xlabel="input s")
    grid[0, 0].set_ylabel("output t")
    bar = figure.colorbar(image, ax=list(grid[0]), shrink=0.9, label="influence (1 = the strongest)")
    bar.outline.set_visible(False)
    return figure


def draw_field(axes: Axes, field: Field, chunk_size: int | None, faintest: float) -> AxesImage:
    """One receptive field as a heat map on `axes`, with the chunks' edges; see `fields`."""
    values = field.detach().double().numpy()
    share = values / max(values.max(), np.finfo(float).tiny)
    drawn = np.ma.masked_equal(np.where(share > 1e-12, np.maximum(share, faintest), 0.0), 0.0)
    image = axes.imshow(drawn, cmap=INFLUENCE, norm=LogNorm(faintest, 1.0), interpolation="nearest")
    axes.grid(visible=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    time = len(values)
    every = chunk_size if chunk_size is not None and time // chunk_size <= 8 else max(1, time // 6)
    ticks = range(0, time, every)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    if chunk_size is not None:
        for edge in range(chunk_size, time, chunk_size):
            for line in (axes.axhline, axes.axvline):
                line(edge - 0.5, color=style.VERMILION, linewidth=0.8, linestyle=(0, (4, 3)))
    return image


@style.styled
def row_of_fields(named: Mapping[str, Field], token: int, chunk_size: int) -> Figure:
    """What reaches one output, input by input: one row of each field, on a logarithmic scale; zeros are left out."""
    figure, axes = style.figure(height=3.0)
    steps = np.arange(token + 1)
    for order, ((name, field), color) in enumerate(zip(named.items(), PATH_COLOURS, strict=False)):
        row = field[token, : token + 1].detach().double().numpy()
        look = {"markersize": 3.5 + order, "linewidth": 1.2 + 0.4 * order, "zorder": 9 - order}
        axes.plot(steps, np.where(row > 0, row, np.nan), "o-", color=color, label=name, **look)
    edge = token - token % chunk_size - 0.5
    axes.axvline(edge, color=style.VERMILION, linewidth=1.2, linestyle="--")
    axes.annotate(
        "the chunk's edge ",
        (edge, 1),
        xycoords=("data", "axes fraction"),
        va="top",
        ha="right",
        color=style.VERMILION,
        fontsize=9,
    )
    axes.set(yscale="log", xlabel="input s", ylabel="influence", title=f"What reaches output {token}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@style.styled
def six_tokens(
    tokens: str, values: Sequence[float], lines: Mapping[str, Sequence[float]], chunk_size: int | None = None
) -> Figure:
    """The tokens' numbers as bars, what is computed from them as lines, and the edges between chunks."""
    figure, axes = style.figure(height=2.9)
    steps = list(range(len(tokens)))
    axes.bar(steps, values, width=0.5, color=style.LIGHT_GREY, label="token x")
    for (name, line), color in zip(lines.items(), (style.ORANGE, style.BLUE, style.BLACK), strict=False):
        axes.plot(steps, line, color=color, marker="o", markersize=5, label=name)
    for edge in range(chunk_size, len(tokens), chunk_size) if chunk_size else ():
        axes.axvline(edge - 0.5, color=style.VERMILION, linestyle="--", linewidth=1.2)
        style.label_line(axes, edge - 0.5, max(values), "the chunk's edge", style.VERMILION, xytext=(5, -8))
    axes.set_xticks(steps, [f'"{token}"\nt = {step}' for step, token in enumerate(tokens)])
    axes.set(ylabel="value")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@style.styled
def valves() -> Figure:
    """The two gates over their logits: σ goes from shut to open, silu has no upper end and a small dip."""
    figure, axes = style.figure(height=2.8)
    logits = torch.linspace(-6, 4, 201, dtype=torch.float64)
    for values, name, color, at in (
        (logits.sigmoid(), "update gate, σ", style.BLUE, 185),
        (torch.nn.functional.silu(logits), "reset gate, silu", style.ORANGE, 158),
    ):
        axes.plot(logits.numpy(), values.numpy(), color=color)
        style.label_line(axes, float(logits[at]), float(values[at]), name, color, xytext=(-4, 6), ha="right")
    for level, word in ((0, "shut"), (1, "open")):
        axes.axhline(level, color=style.GREY, linewidth=0.8, linestyle=":")
        style.label_line(axes, -6, level, word, style.GREY, xytext=(0, 3))
    axes.set(xlabel="the number that goes in", ylabel="how far the valve opens", ylim=(-0.5, 3))
    return figure


@style.styled
def gate_in_time(gate: Float[Tensor, " time"], asked: Bool[Tensor, " time"]) -> Figure:
    """How far a gate opens at each step; the steps where an answer is asked for stand out."""
    figure, axes = style.figure(height=2.5)
    steps = torch.arange(len(gate))
    for chosen, color, marker, name in (
        (~asked, style.GREY, "o", "a plain token"),
        (asked, style.VERMILION, "D", "a token that asks"),
    ):
        heights = gate[chosen].detach().numpy()
        axes.vlines(steps[chosen].numpy(), 0, heights, color=color, linewidth=1.5)
        axes.plot(steps[chosen].numpy(), heights, marker, color=color, markersize=5, label=name)
    axes.set(xlabel="step t", ylabel="update gate φ", ylim=(0, 1.05), yticks=[0, 0.5, 1])
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@style.styled
def clocks(width: int, base: float, positions: Sequence[int]) -> Figure:
    """One dial for each pair of features and each position: the arrow is (1, 0) turned by the rotary embedding."""
    angles = frequencies(width, base)
    figure, grid = style.figure(len(angles), len(positions), width=7.0, height=0.6 + 0.95 * len(angles), squeeze=False)
    for row, angle in zip(grid, angles.tolist(), strict=True):
        for axes, position in zip(row, positions, strict=True):
            around = np.linspace(0, 2 * math.pi, 100)
            axes.plot(np.cos(around), np.sin(around), color=style.LIGHT_GREY, linewidth=1.2)
            x, y = math.cos(position * angle), math.sin(position * angle)
            axes.plot([0, x], [0, y], color=style.BLUE, linewidth=2)
            axes.plot([x], [y], "o", color=style.BLUE, markersize=4)
            axes.set(aspect="equal", xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set_visible(False)
    for axes, position in zip(grid[-1], positions, strict=True):
        axes.set_xlabel(f"{position}", labelpad=2)
    for index, row in enumerate(grid):
        row[0].set_ylabel(f"features\n{2 * index}, {2 * index + 1}", rotation=0, ha="right", va="center", labelpad=6)
    figure.supxlabel("position in the chunk", fontsize=10)
    return figure


@style.styled
def product_by_distance(products: Mapping[str, Float[Tensor, " distance"]]) -> Figure:
    """The product of one query and one key, turned, against the distance between them."""
    figure, axes = style.figure(height=2.8)
    for (name, values), color in zip(products.items(), (style.BLUE, style.ORANGE, style.GREEN), strict=False):
        axes.plot(values.detach().numpy(), color=color, linewidth=1.5, label=name)
    axes.axhline(0, color=style.GREY, linewidth=0.8)
    axes.set(xlabel="distance (tokens)", ylabel="product")
    axes.legend(loc="upper right")
    return figure


@style.styled
def looks(lengths: Sequence[int], chunk_size: int) -> Figure:
    """How many pairs of tokens attention looks at, for all pairs and inside chunks; both axes logarithmic."""
    figure, axes = style.figure(height=2.9)
    full = [length * (length + 1) / 2 for length in lengths]
    chunked = [_looks_in_chunks(length, chunk_size) for length in lengths]
    for values, name, color, shift in (
        (full, "everything before", style.TRANSFORMER, (-40, -6)),
        (chunked, f"inside chunks of {chunk_size:,}", style.MEGALODON, (0, -34)),
    ):
        axes.plot(lengths, values, color=color)
        style.label_line(axes, lengths[-1], values[-1], name, color, ha="right", xytext=shift)
    axes.axvline(chunk_size, color=style.GREY, linestyle=":", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="length of the text (tokens)", ylabel="looks")
    return figure


def _looks_in_chunks(length: int, chunk_size: int) -> float:
    chunks, rest = divmod(length, chunk_size)
    return chunks * chunk_size * (chunk_size + 1) / 2 + rest * (rest + 1) / 2


@gallery.kept(
    "receptive_field",
    alt="Four heat maps of the influence of 48 inputs on 48 outputs of a Megalodon attention layer with chunks of 12. "
    "Attention alone fills four triangles on the diagonal and nothing outside. CEMA alone fades away from the diagonal "
    "and runs over the edges. The norm's statistics alone are a faint triangle over the whole past. "
    "Together they fill the triangle below the diagonal; above it everything is exactly zero.",
)
def one_layer() -> Figure:
    """The fields of one fresh attention layer, each path alone and all together."""
    layer, x = fresh_layer(chunk_size=12), noise(48)
    named = {name: receptive_field(open_paths(layer, (path,)), x) for path, name in PATHS.items()}
    return fields({**named, "all": receptive_field(layer, x)}, 12)


def fresh_layer(chunk_size: int, seed: int = 0) -> nn.NormalizedAttention:
    """A small attention layer as it is born, in float64; the random numbers of the caller are left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.NormalizedAttention(
            model_dim=8, z_dim=8, value_dim=16, num_heads=1, modes=4, chunk_size=chunk_size, norm_num_groups=2
        )
    return layer.double().eval()


def noise(time: int, seed: int = 0) -> Float[Tensor, "time channel"]:
    """Random tokens for `fresh_layer`."""
    return torch.randn(time, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

"""Figures of chapter 07: three ways to join a block, what a block gives six tokens, sizes along a deep stack."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch
from matplotlib.ticker import FixedLocator, NullLocator

from megalodon_edu.measure.depth_profile import VARIANTS, DepthProfile
from megalodon_edu.plots import gallery, style

VARIANT_COLORS = dict(zip(VARIANTS, (style.VERMILION, style.GREY, style.BLUE), strict=True))
VARIANT_LINES = dict(zip(VARIANTS, ("--", ":", "-"), strict=True))
EQUATIONS = {
    "pre-norm": "Ŷ = X + A(Norm(X))\nY = Ŷ + F(Norm(Ŷ))",
    "post-norm": "Ŷ = Norm(X + A(X))\nY = Norm(Ŷ + F(Ŷ))",
    "two-hop": "Ŷ = X + A(Norm(X))\nY = X + F(Norm(Ŷ))",
}
STREAM, CHAIN = 2.2, 6.6  # the two columns of a diagram
HEIGHT_IN_POINTS = 190  # of the axes that hold one line per variant: about, to keep their labels apart


@gallery.kept(
    "three_blocks",
    alt="Three diagrams of a block, read from bottom to top, with the stream as a thick line. Pre-norm: attention and "
    "feed-forward each branch off the stream, pass a norm and are added back to it. Post-norm: the same without norms "
    "in the branches; instead a norm stands on the stream after each addition. Two-hop: the stream runs from the "
    "block's input X to its end without a stop; beside it attention's result is added to a copy of X, which gives Ŷ, "
    "and only what the feed-forward makes of Ŷ is added to the stream.",
)
def three_blocks() -> Figure:
    """Pre-norm, post-norm and two-hop side by side, each from X at the bottom to Y at the top."""
    figure, panels = style.figure(1, 3, width=9.6, height=6.2)
    for axes, variant, draw in zip(panels, VARIANTS, (_draw_pre_norm, _draw_post_norm, _draw_two_hop), strict=True):
        axes.set(xlim=(0, 9.2), ylim=(-2.5, 13.8), aspect="equal")
        axes.set_title(variant, color=style.readable(VARIANT_COLORS[variant]))
        axes.axis("off")
        axes.plot([STREAM, STREAM], [0.9, 12.6], color=VARIANT_COLORS[variant], linewidth=5, zorder=1)
        axes.text(STREAM, 0.3, "X", ha="center", va="center", fontsize=13)
        axes.text(STREAM, 13.2, "Y", ha="center", va="center", fontsize=13)
        draw(axes)
        axes.text(4.4, -0.7, EQUATIONS[variant], ha="center", va="top", fontsize=10, linespacing=1.6)
    return figure


def _draw_pre_norm(axes: Axes) -> None:
    for low, name, color in ((1.7, "attention", style.ORANGE), (7.3, "feed-forward", style.GREEN)):
        _arrow(axes, [(STREAM, low), (CHAIN, low), (CHAIN, low + 0.6)])
        _box(axes, CHAIN, low + 1.1, "Norm", style.LIGHT_GREY)
        _arrow(axes, [(CHAIN, low + 1.6), (CHAIN, low + 2.1)])
        _box(axes, CHAIN, low + 2.6, name, color)
        _arrow(axes, [(CHAIN, low + 3.1), (CHAIN, low + 4.2), (STREAM + 0.45, low + 4.2)])
        _plus(axes, STREAM, low + 4.2)
    axes.text(STREAM - 0.5, 6.6, "Ŷ", ha="right", va="center", fontsize=13)


def _draw_post_norm(axes: Axes) -> None:
    for low, name, color in ((1.5, "attention", style.ORANGE), (7.1, "feed-forward", style.GREEN)):
        _arrow(axes, [(STREAM, low), (CHAIN, low), (CHAIN, low + 0.9)])
        _box(axes, CHAIN, low + 1.4, name, color)
        _arrow(axes, [(CHAIN, low + 1.9), (CHAIN, low + 3.0), (STREAM + 0.45, low + 3.0)])
        _plus(axes, STREAM, low + 3.0)
        _box(axes, STREAM, low + 4.4, "Norm", style.LIGHT_GREY)
    axes.text(STREAM - 0.5, 6.75, "Ŷ", ha="right", va="center", fontsize=13)


def _draw_two_hop(axes: Axes) -> None:
    _arrow(axes, [(STREAM, 1.5), (CHAIN, 1.5), (CHAIN, 1.9)])
    _box(axes, CHAIN, 2.4, "Norm", style.LIGHT_GREY)
    _arrow(axes, [(CHAIN, 2.9), (CHAIN, 3.3)])
    _box(axes, CHAIN, 3.8, "attention", style.ORANGE)
    _arrow(axes, [(CHAIN, 4.3), (CHAIN, 5.15)])
    _arrow(axes, [(STREAM, 5.6), (CHAIN - 0.45, 5.6)], color=style.BLUE, linewidth=3)
    _plus(axes, CHAIN, 5.6)
    axes.text(CHAIN + 0.55, 6.7, "Ŷ", ha="left", va="center", fontsize=13)
    _arrow(axes, [(CHAIN, 6.05), (CHAIN, 7.3)])
    _box(axes, CHAIN, 7.8, "Norm", style.LIGHT_GREY)
    _arrow(axes, [(CHAIN, 8.3), (CHAIN, 8.7)])
    _box(axes, CHAIN, 9.2, "feed-forward", style.GREEN)
    _arrow(axes, [(CHAIN, 9.7), (CHAIN, 11.5), (STREAM + 0.45, 11.5)])
    _plus(axes, STREAM, 11.5)
    for at, words in (((STREAM + CHAIN) / 2, 5.95), "first hop"), ((STREAM - 0.35, 8.5), "second hop"):
        upright = words == "second hop"
        axes.text(
            *at, words, ha="center", va="center" if upright else "bottom", rotation=90 if upright else 0,
            fontsize=9, color=style.readable(style.BLUE),
        )  # fmt: skip


def _box(axes: Axes, x: float, y: float, words: str, color: str) -> None:
    shape = "round,pad=0,rounding_size=0.25"
    box = FancyBboxPatch((x - 1.75, y - 0.5), 3.5, 1.0, boxstyle=shape, facecolor=_pale(color), edgecolor=color)
    axes.add_patch(box)
    box.set(linewidth=1.5, zorder=3)
    axes.text(x, y, words, ha="center", va="center", fontsize=10, zorder=4)


def _pale(color: str) -> tuple[float, float, float]:
    """The colour, four fifths of the way to white."""
    red, green, blue = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return 0.8 + red / 5, 0.8 + green / 5, 0.8 + blue / 5


def _plus(axes: Axes, x: float, y: float) -> None:
    axes.add_patch(Circle((x, y), 0.45, facecolor="white", edgecolor="#333333", linewidth=1.5, zorder=3))
    axes.text(x, y, "+", ha="center", va="center", fontsize=13, zorder=4)


def _arrow(axes: Axes, corners: list[tuple[float, float]], color: str = "#333333", linewidth: float = 1.5) -> None:
    """A line through the corners with a head at its end."""
    across, up = zip(*corners, strict=True)
    axes.plot(across[:-1], up[:-1], color=color, linewidth=linewidth, zorder=2)
    look = {"arrowstyle": "-|>", "color": color, "linewidth": linewidth, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", corners[-1], corners[-2], arrowprops={**look, "mutation_scale": 12}, zorder=2)


@style.styled
def six_tokens(
    tokens: str, stream: Sequence[float], attended: Sequence[float], outputs: Mapping[str, Sequence[float]]
) -> Figure:
    """X and Ŷ as bars for each token, and what each variant hands on as markers above them."""
    figure, axes = style.figure(height=3.2)
    steps = list(range(len(tokens)))
    axes.bar([step - 0.16 for step in steps], stream, width=0.3, color=style.LIGHT_GREY, label="X, the input")
    axes.bar([step + 0.16 for step in steps], attended, width=0.3, color=style.ORANGE, label="Ŷ = X + A(X)")
    markers: dict[str, dict[str, Any]] = {
        "pre-norm": {"marker": "D", "markersize": 7, "markerfacecolor": "white"},
        "two-hop": {"marker": "o", "markersize": 7},
    }
    for variant, values in outputs.items():
        look = {"color": VARIANT_COLORS[variant], "linestyle": VARIANT_LINES[variant], "linewidth": 1.0}
        axes.plot(steps, values, **look, **markers[variant], label=f"Y, {variant}")
    axes.set_xticks(steps, [f'"{token}"\nt = {step}' for step, token in enumerate(tokens)])
    axes.set(ylabel="value", ylim=(0, None))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@style.styled
def stream_and_gradient(profiles: Mapping[str, DepthProfile]) -> Figure:
    """Along the blocks of one stack per variant: the size of the stream, and of the gradient that comes back to it."""
    figure, (left, right) = style.figure(1, 2, width=9.0, height=3.6)
    for axes, name, title in (
        (left, "stream", "The stream: RMS of x"),
        (right, "gradient", "What comes back: RMS of ∂loss/∂x"),
    ):
        _lines(axes, {variant: getattr(profile, name) for variant, profile in profiles.items()})
        axes.set(title=title, xlabel="blocks passed")
    return figure


@style.styled
def sublayer_gradients(profiles: Mapping[str, DepthProfile]) -> Figure:
    """The norm of the weights' gradient in each block: attention's on the left, the feed-forward's on the right."""
    figure, (left, right) = style.figure(1, 2, width=9.0, height=3.6)
    names = ("attention_gradient", "feed_forward_gradient")
    both = [number for profile in profiles.values() for name in names for number in getattr(profile, name)]
    for axes, name, title in zip(
        (left, right), names, ("Gradient of attention's weights", "Gradient of the feed-forward's weights"), strict=True
    ):
        _lines(axes, {variant: getattr(profile, name) for variant, profile in profiles.items()}, both)
        axes.set(title=title, xlabel="block")
    left.set_ylabel("norm")
    return figure


def _lines(axes: Axes, values: Mapping[str, Sequence[float]], shown: Sequence[float] | None = None) -> None:
    """One line per variant, labelled at its end, on a logarithmic axis that has room for all numbers `shown`."""
    everything = shown if shown is not None else [number for numbers in values.values() for number in numbers]
    low, high = min(everything) / 1.25, max(everything) * 1.25
    last = max(map(len, values.values())) - 1
    free = float("-inf")
    for variant, numbers in sorted(values.items(), key=lambda item: item[1][-1]):
        axes.plot(numbers, color=VARIANT_COLORS[variant], linestyle=VARIANT_LINES[variant])
        height = HEIGHT_IN_POINTS * math.log(numbers[-1] / low) / math.log(high / low)
        free = max(height, free + 12)
        options: Any = {"va": "center", "xytext": (5, free - height)}
        style.label_line(axes, len(numbers) - 1, numbers[-1], variant, VARIANT_COLORS[variant], **options)
    axes.set(yscale="log", ylim=(low, high), xlim=(0, 1.28 * last))
    axes.set_xticks(range(0, last + 1, max(1, round(last / 4))))
    if high / low < 1e3:
        ticks = [factor * 10.0**power for power in range(-6, 6) for factor in (1, 2, 5)]
        axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
        axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())


@style.styled
def rescaled_updates(
    updates: Mapping[str, Sequence[float]], dtypes: Sequence[torch.dtype] = (torch.bfloat16, torch.float32)
) -> Figure:
    """The size of each block's update, and the size below which adding it to a 1 changes nothing in a type."""
    figure, axes = style.figure(height=3.6)
    for (name, sizes), color, line in zip(updates.items(), (style.BLUE, style.VERMILION), ("-", "--"), strict=False):
        axes.plot(sizes, color=color, linestyle=line, marker="o", markersize=3)
        style.label_line(axes, len(sizes) - 1, sizes[-1], name, color, ha="right", va="top", xytext=(-2, -5))
    last = max(map(len, updates.values())) - 1
    for dtype in dtypes:
        lost = torch.finfo(dtype).eps / 2
        axes.axhline(lost, color=style.GREY, linewidth=1)
        words = f"below: lost beside a 1 in {str(dtype).removeprefix('torch.')}"
        style.label_line(axes, last, lost, words, style.GREY, ha="right", xytext=(0, 3))
    low, high = (extreme(map(extreme, updates.values())) for extreme in (min, max))
    axes.set(yscale="log", ylim=(low / 50, 3 * high), xlabel="block", ylabel="RMS of the update")
    axes.set_title("What each block adds at the start")
    axes.yaxis.set_minor_locator(NullLocator())
    return figure

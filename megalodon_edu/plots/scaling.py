"""Figures of chapter 09: what a token costs, measured curves and how they go on, and a text on two GPUs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator

from megalodon_edu.measure import cost_model
from megalodon_edu.measure.cost_model import Flops
from megalodon_edu.models import MegalodonConfig, match_transformer
from megalodon_edu.plots import gallery, style

COLOURS = {"transformer": style.TRANSFORMER, "megalodon": style.MEGALODON}
PARTS = {
    "projections": (style.SKY, "projections"),
    "feed_forward": (style.BLUE, "feed-forward"),
    "average": (style.GREEN, "moving average"),
    "attention": (style.VERMILION, "attention: the looks"),
    "head": (style.ORANGE, "head"),
    "norms": (style.BLACK, "norms"),
}
CLOCK = {1e-3: "1 ms", 1: "1 second", 60: "1 minute", 3600: "1 hour", 86400: "1 day", 31_557_600: "1 year"}

Curves = Mapping[str, Sequence[float]]
"""Values by model: "transformer" and "megalodon"."""


@style.styled
def looks(tokens: str, chunk_size: int) -> Figure:
    """Which token looks at which, in one triangle and in one triangle per chunk."""
    figure, panels = style.figure(1, 2, width=7.4, height=3.7)
    for axes, size, title, colour in (
        (panels[0], len(tokens), "Transformer", style.TRANSFORMER),
        (panels[1], chunk_size, f"Megalodon, chunks of {chunk_size}", style.MEGALODON),
    ):
        for row in range(len(tokens)):
            seen = row % size + 1
            for column in range(row - seen + 1, row + 1):
                axes.add_patch(Rectangle((column - 0.45, row - 0.45), 0.9, 0.9, color=colour))
            axes.annotate(f"{seen}", (row + 0.62, row), va="center", color=style.GREY)
        axes.set_xticks(range(len(tokens)), list(tokens))
        axes.set_yticks(range(len(tokens)), list(tokens))
        axes.set(xlim=(-0.6, len(tokens) + 0.2), ylim=(len(tokens) - 0.4, -0.6), title=title)
        axes.set(xlabel="looks at", ylabel="the new token")
        axes.set_aspect("equal")
        axes.grid(False)
        axes.tick_params(length=0)
        axes.spines[["left", "bottom"]].set_visible(False)
    return figure


@style.styled
def bill_of_a_token(bills: Mapping[str, Flops]) -> Figure:
    """FLOPs of one token as stacked bars, one bar for each named bill, one colour for each part."""
    figure, axes = style.figure(width=9, height=0.5 * len(bills) + 1.3)
    left = np.zeros(len(bills))
    places = np.arange(len(bills))
    for part, (colour, label) in PARTS.items():
        size = np.array([getattr(bill, part) for bill in bills.values()]) / 1e9
        axes.barh(places, size, left=left, height=0.66, color=colour, label=label)
        left += size
    for place, total in zip(places, left, strict=True):
        axes.annotate(f"{total:.1f}", (total, place), xytext=(5, 0), textcoords="offset points", va="center")
    axes.set_yticks(places, list(bills))
    axes.invert_yaxis()
    axes.set(xlabel="GFLOP for one token (1 GFLOP is 10⁹ operations)", xlim=(0, 1.1 * left.max()))
    axes.grid(False, axis="y")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@style.styled
def measured(contexts: Sequence[int], forward: Curves, step: Curves) -> Figure:
    """Seconds of a forward pass and of a training step against the context, on logarithmic axes."""
    figure, panels = style.figure(1, 2, width=9, height=3.2)
    for axes, curves, title in ((panels[0], forward, "Forward pass"), (panels[1], step, "Training step")):
        _measured_lines(axes, contexts, {name: [1e3 * second for second in curves[name]] for name in curves})
        axes.set(title=title, xlabel="context, tokens", ylabel="milliseconds")
    return figure


@style.styled
def writing(contexts: Sequence[int], seconds: Curves, kept: Curves) -> Figure:
    """Seconds for one more token, and bytes of state, against what has been read, on logarithmic axes."""
    figure, panels = style.figure(1, 2, width=9, height=3.2)
    _measured_lines(panels[0], contexts, {name: [1e3 * second for second in seconds[name]] for name in seconds})
    panels[0].set(title="One more token", xlabel="tokens read so far", ylabel="milliseconds")
    _measured_lines(panels[1], contexts, {name: [size / 1e6 for size in kept[name]] for name in kept}, at_end=True)
    panels[1].set(title="State kept (Megalodon: at most)", xlabel="tokens read so far", ylabel="megabytes")
    return figure


def _measured_lines(axes: Axes, contexts: Sequence[int], curves: Curves, at_end: bool = False) -> None:
    """Dots and lines of every curve, each with its name at its first point, or at its last."""
    end = -1 if at_end else 0
    for name, values in curves.items():
        axes.plot(contexts, values, "o-", color=COLOURS[name])
    high = max(curves, key=lambda name: curves[name][end])
    for name, values in curves.items():
        above, below = ((-10, 2), (0, -16)) if at_end else ((2, 12), (2, -15))
        place = {"xytext": above if name == high else below, "ha": "right" if at_end else "left"}
        style.label_line(axes, contexts[end], values[end], name.capitalize(), COLOURS[name], **place)
    axes.set(xscale="log", yscale="log")
    low, top = axes.get_ylim()
    axes.set_ylim(low / 1.5, 1.3 * top)
    axes.set_xticks(list(contexts), [f"{context:,}" for context in contexts])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()


@style.styled
def peaks(contexts: Sequence[int], megabytes: Mapping[str, Sequence[float]]) -> Figure:
    """Peak memory of a training step against the context, one line for each way to compute it."""
    figure, axes = style.figure(width=8, height=3.2)
    colours = (style.MEGALODON, style.TRANSFORMER, style.ORANGE)
    for (name, values), colour in zip(megabytes.items(), colours, strict=False):
        axes.plot(contexts, values, "o-", color=colour)
        style.label_line(axes, contexts[-1], values[-1], name, colour, xytext=(8, -3))
    axes.set(xlabel="context, tokens", ylabel="megabytes at the peak", ylim=(0, None))
    axes.set_xlim(0, 1.62 * contexts[-1])
    axes.set_xticks(list(contexts), [f"{context:,}" for context in contexts])
    return figure


@style.styled
def carried_on(
    panels: Mapping[str, tuple[Sequence[int], Curves]], contexts: Sequence[int], modelled: Mapping[str, Curves]
) -> Figure:
    """Measured seconds as dots and the fitted model as lines that go on, one panel for each thing that was measured.

    panels: name -> (contexts, seconds by model).  modelled: the same names -> seconds at `contexts`.
    """
    figure, all_axes = style.figure(1, len(panels), width=3.4 * len(panels), height=3.4, squeeze=False)
    for axes, (title, (measured_at, seconds)) in zip(all_axes[0], panels.items(), strict=True):
        axes.axvspan(contexts[0], measured_at[-1], color=style.LIGHT_GREY, alpha=0.5, linewidth=0)
        for name, colour in COLOURS.items():
            line = modelled[title][name]
            axes.plot(contexts, line, color=colour)
            axes.plot(measured_at, seconds[name], "o", color=colour, markersize=5)
            highest = line[-1] >= max(curve[-1] for curve in modelled[title].values())
            flat = line[-1] < 2 * line[0]
            place = (-8, -3) if highest else (-6, 6) if flat else (-2, -44)
            style.label_line(axes, contexts[-1], line[-1], name.capitalize(), colour, xytext=place, ha="right")
        axes.set(xscale="log", yscale="log", title=title, xlabel="context, tokens", xlim=(contexts[0], contexts[-1]))
        low, high = axes.get_ylim()
        ticks = {value: text for value, text in CLOCK.items() if low <= value <= high}
        axes.set_yticks(list(ticks), list(ticks.values()))
        axes.set_ylabel("time")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.minorticks_off()
    return figure


@style.styled
def two_ranks(layers: int, share: float = 0.25) -> Figure:
    """A timetable of two GPUs with one half of a text each: a layer of GPU 1 needs one small message from GPU 0.

    `share` is how far into its layer GPU 0 has the state that it sends. Times are drawn, not measured.
    """
    figure, axes = style.figure(width=9, height=2.7)
    for gpu, (start, colour) in enumerate(((0.0, style.SKY), (share, style.ORANGE))):
        for layer in range(layers):
            at = start + layer
            axes.add_patch(Rectangle((at, -gpu - 0.3), 0.94, 0.6, color=colour))
            axes.annotate(f"layer {layer}", (at + 0.47, -gpu), ha="center", va="center", fontsize=9)
    for layer in range(layers):
        ends = (layer + share, -0.3), (layer + share, -0.7)
        axes.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=13, color=style.BLACK, linewidth=1.5))
    axes.annotate("the state", (share, -0.5), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks([0, -1], ["GPU 0: first half", "GPU 1: second half"])
    axes.set(xlim=(-0.1, layers + share + 0.1), ylim=(-1.5, 0.5), xlabel="time →")
    axes.set_xticks([])
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0)
    return figure


@gallery.kept(
    "flops_per_token",
    alt="Operations for one more token against context on logarithmic axes, for models of 7 billion parameters. Both "
    "lines start together near 15 billion. Megalodon's stays flat at 16. The Transformer's bends upward near ten "
    "thousand tokens, is twice as high at 30 thousand, and passes 5 trillion at 10 million.",
    format="svg",
)
def flops_per_token() -> Figure:
    """FLOPs for one more token, for the paper's 7B and the Transformer of its size."""
    config = MegalodonConfig.preset("7.3B")
    rival = match_transformer(config, num_heads=32)
    contexts = np.unique(np.geomspace(1000, 10_000_000, 121).astype(int)).tolist()
    transformer = [cost_model.next_token_flops(rival, n).total for n in contexts]
    megalodon = [cost_model.next_token_flops(config, min(n, config.chunk_size - 1)).total for n in contexts]
    figure, axes = style.figure(width=8, height=4)
    axes.plot(contexts, transformer, color=style.TRANSFORMER, linewidth=2.5)
    axes.plot(contexts, megalodon, color=style.MEGALODON, linewidth=2.5)
    end = contexts[-1]
    style.label_line(axes, end, transformer[-1], "Transformer", style.TRANSFORMER, xytext=(-30, 2), ha="right")
    style.label_line(axes, end, megalodon[-1], "Megalodon", style.MEGALODON, xytext=(-4, 8), ha="right")
    axes.set(xscale="log", yscale="log", xlabel="context, tokens", ylabel="operations for one more token")
    axes.set(xlim=(contexts[0], end), ylim=(5e9, 1e13))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(EngFormatter(unit="FLOP"))
    axes.minorticks_off()
    return figure

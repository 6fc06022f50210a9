"""Loss curves of several runs, one line each, or one line inside a band for several seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, NullFormatter

from megalodon_edu.plots import style
from megalodon_edu.plots.end_labels import label_ends
from megalodon_edu.training.curves import Band


class RunCurve(NamedTuple):
    """A line: its name, its median with its range, its colour; with `looks` a dot at each point."""

    name: str
    band: Band
    colour: str
    dashed: bool = False
    looks: bool = False


@style.styled
def run_curves(
    curves: Sequence[RunCurve],
    *,
    xlabel: str,
    ends: tuple[float, float, float, float],
    scales: tuple[str, str] = ("linear", "linear"),
    position: float | None = None,
) -> Figure:
    """Bits per byte of every curve; the name once, beside the last of its lines.

    ends: left and right end of the horizontal axis, lower and upper end of the vertical.  scales: "linear" or "log"
    for each.  position: where a vertical line stands.  A curve without points is left out.
    """
    figure, axes = style.figure(width=9, height=4.2)
    begin, end, low, high = ends
    axes.set(xscale=scales[0], yscale=scales[1], xlim=(begin, end), ylim=(low, high))
    names: dict[str, tuple[float, float, str, str]] = {}
    for curve in curves:
        x, median, lowest, highest = curve.band
        if not len(x):
            continue
        if not np.array_equal(lowest, highest):
            axes.fill_between(x, lowest, highest, color=curve.colour, alpha=0.2, linewidth=0)
        line = (0, (5, 3)) if curve.dashed else "-"
        if curve.looks:
            axes.plot(x, median, linestyle=line, color=curve.colour, marker="o", markersize=3.5, linewidth=1)
        else:
            axes.plot(x, median, linestyle=line, color=curve.colour, linewidth=2)
        names[curve.name] = (float(x[-1]), float(median[-1]), curve.name, curve.colour)
    if position is not None:
        axes.axvline(position, color=style.BLACK, linewidth=1)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if scales[1] == "log":
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.tick_params(axis="y", which="minor", labelsize=9)
    axes.xaxis.set_minor_formatter(NullFormatter())
    dots = any(curve.looks for curve in curves)
    axes.set(xlabel=xlabel, ylabel="bits per byte", title="Loss" + (" (dots: validation)" if dots else ""))
    label_ends(axes, list(names.values()))
    return figure

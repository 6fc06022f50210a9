"""Figures of chapter 11: which program owns which numbers, the roofline, and the times of a ladder."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from megalodon_edu.measure.ladder import Counted, Device, Time
from megalodon_edu.plots import style

INTENSITIES = (3.0, 500.0)
NEAR = 0.2
"""Rungs whose places differ by less share one label."""

PROGRAMS = (
    *(style.BLUE, style.ORANGE, style.GREEN, style.PINK, style.SKY, style.VERMILION),
    *(style.YELLOW, style.GREY),
)
"""A colour for each of the eight programs that a rung can have here."""


class Owner(NamedTuple):
    """How a rung cuts a sheet (time, channel): segments, channels of a program, and the steps that it reads at once.

    `beside`: a program walks all segments side by side, instead of one.
    """

    title: str
    segments: int
    channels: int
    step: int
    beside: bool = False


OWNERS = (
    Owner("naive", 1, 1, 1),
    Owner("coalesced", 1, 4, 1),
    Owner("segments", 2, 4, 1),
    Owner("chunks", 2, 1, 4, beside=True),
    Owner("channel tiles", 2, 4, 4, beside=True),
)


@style.styled
def owners(steps: int = 16, channels: int = 8) -> Figure:
    """A sheet of time (down) and channels for every rung: a colour for a program, a frame for what it reads at once."""
    figure, panels = style.figure(1, len(OWNERS), width=9.5, height=3.4)
    for axes, owner in zip(panels, OWNERS, strict=True):
        across, segment = channels // owner.channels, steps // owner.segments
        for t in range(steps):
            for channel in range(channels):
                program = (0 if owner.beside else t // segment * across) + channel // owner.channels
                cell = Rectangle((channel, t), 0.9, 0.9, color=PROGRAMS[program], alpha=0.75, linewidth=0)
                axes.add_patch(cell)
        for first in range(owner.segments if owner.beside else 1):
            frame = Rectangle((-0.08, first * segment - 0.08), owner.channels + 0.06, owner.step + 0.06, fill=False)
            frame.set(linewidth=2.2, edgecolor=style.BLACK)
            axes.add_patch(frame)
        axes.set(xlim=(-0.3, channels + 0.2), ylim=(steps + 0.2, -0.3), title=owner.title, xlabel="channel")
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        axes.spines[["left", "bottom"]].set_visible(False)
    panels[0].set_ylabel("time")
    return figure


def _together(counted: Mapping[str, Counted], reached: Mapping[str, float]) -> list[tuple[float, float, str]]:
    """The places of the rungs and the numbers that stand there."""
    places: list[tuple[float, float, str]] = []
    for number, (rung, one) in enumerate(counted.items(), 1):
        if rung not in reached:
            continue
        near = (i for i, (x, y, _) in enumerate(places) if abs(x / one.intensity - 1) < NEAR)
        same = next((i for i in near if abs(places[i][1] / reached[rung] - 1) < NEAR), None)
        if same is None:
            places.append((one.intensity, reached[rung], str(number)))
        else:
            x, y, numbers = places[same]
            places[same] = (x, y, f"{numbers}, {number}")
    return places


@style.styled
def roofline(device: Device, counted: Mapping[str, Counted], milliseconds: Mapping[str, float], title: str) -> Figure:
    """The two roofs of a device, every rung at the best place it can have, and, where it was timed, where it is."""
    figure, axes = style.figure(width=9, height=4.2)
    line = np.geomspace(*INTENSITIES, 121)
    for name, rate, colour, dash in (
        ("tensor cores", device.tensor, style.BLUE, "-"),
        ("ordinary units", device.ordinary, style.ORANGE, "--"),
    ):
        axes.plot(line, np.minimum(line * device.bytes_per_second, rate) / 1e12, dash, color=colour, linewidth=2.5)
        style.label_line(axes, INTENSITIES[1], rate / 1e12, name, colour, xytext=(-4, 5), ha="right")
    best = {rung: one.operations / device.floor(one) / 1e12 for rung, one in counted.items()}
    found = {rung: counted[rung].operations / milliseconds[rung] / 1e9 for rung in counted if rung in milliseconds}
    for reached, colour, size, offset, side in (
        (best, style.BLACK, 7, (-5, 6), "right"),
        (found, style.VERMILION, 6, (6, -5), "left"),
    ):
        for x, y, numbers in _together(counted, reached):
            style.label_line(axes, x, y, numbers, colour, xytext=offset, ha=side)
        axes.plot(
            [counted[rung].intensity for rung in reached], [*reached.values()], "o", color=colour, markersize=size
        )
    names = [f"{number} {rung}" for number, rung in enumerate(counted, 1)]
    key = "black: the roof\nred: measured" if milliseconds else "black: the roof"
    axes.annotate("\n".join([*names, "", key]), (1.02, 1.0), xycoords="axes fraction", va="top", fontsize=9)
    axes.set(xscale="log", yscale="log", xlim=INTENSITIES, ylim=(0.5, 2000), title=title)
    axes.set(xlabel="operations for each byte moved", ylabel="TFLOP/s")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    return figure


@style.styled
def times(rows: Sequence[Time], floors: Mapping[str, float], least: float, title: str) -> Figure:
    """Milliseconds of every rung as bars on a logarithmic axis; a mark at its floor, a line at that of the operator.

    floors: milliseconds by rung.  least: the milliseconds that no kernel of this operator can beat.
    """
    figure, axes = style.figure(width=8, height=0.42 * len(rows) + 1.3)
    places = np.arange(len(rows))
    axes.barh(places, [row.milliseconds for row in rows], height=0.62, color=style.BLUE)
    for place, row in zip(places, rows, strict=True):
        text = f"{row.milliseconds:.3g} ms"
        axes.annotate(text, (row.milliseconds, place), xytext=(5, 0), textcoords="offset points", va="center")
        if row.rung in floors:
            axes.plot([floors[row.rung]] * 2, [place - 0.36, place + 0.36], color=style.VERMILION, linewidth=3)
    axes.axvline(least, color=style.GREY, linestyle=":", linewidth=1.5)
    axes.set_yticks(places, [row.rung for row in rows])
    axes.invert_yaxis()
    longest = max(row.milliseconds for row in rows)
    axes.set(xscale="log", xlim=(least / 2, 3 * longest), xlabel="milliseconds (mark: the rung's floor)", title=title)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(False, axis="y")
    axes.minorticks_off()
    return figure

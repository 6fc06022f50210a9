"""Figures of chapter 10: blocks and their masked lanes, memory in sectors, and kernels beside a copy."""

from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from megalodon_edu.measure.first_kernels import Measurement
from megalodon_edu.plots import gallery, style

LINE = 32
"""Numbers in one line of a picture of memory."""

PROGRAMS = (style.BLUE, style.ORANGE, style.GREEN, style.PINK)


@style.styled
def blocks(tokens: str, values: Sequence[float], block: int) -> Figure:
    """The numbers of a sequence side by side, cut into blocks; lanes without a number are dashed."""
    programs = -(-len(tokens) // block)
    figure, axes = style.figure(width=7.0, height=2.1)
    for program in range(programs):
        color = PROGRAMS[program % len(PROGRAMS)]
        first = program * block
        for at in range(first, first + block):
            exists = at < len(tokens)
            box = Rectangle((at - 0.42, 0), 0.84, 0.84, facecolor=color if exists else "white", alpha=0.9)
            box.set(edgecolor=style.BLACK if exists else style.GREY, linestyle="-" if exists else "--")
            axes.add_patch(box)
            text = f"{values[at]:g}" if exists else "masked"
            shade = "white" if exists and color == style.BLUE else style.BLACK
            axes.text(at, 0.42, text, ha="center", va="center", color=shade, fontsize=11 if exists else 8.5)
            axes.text(at, -0.2, str(at), ha="center", va="center", color=style.GREY, fontsize=9)
            if exists:
                axes.text(at, 1.03, tokens[at], ha="center", va="center", fontsize=11)
        axes.plot([first - 0.42, first + block - 0.58], [1.3, 1.3], color=color, linewidth=3)
        middle = first + block / 2 - 0.5
        axes.text(middle, 1.5, f"program {program}", ha="center", color=style.readable(color), weight="bold")
    axes.text(-0.65, -0.2, "place", ha="right", va="center", color=style.GREY, fontsize=9)
    axes.set(xlim=(-1.3, programs * block - 0.4), ylim=(-0.4, 1.8))
    axes.set_axis_off()
    return figure


def draw_memory(
    axes: Axes, valid: Collection[int], live: Collection[int], masked: Collection[int], in_sector: int, most: int
) -> None:
    """Places of memory in lines of 32: the tensor's pale, those a program touches dark, its masked lanes crossed.

    Sectors of `in_sector` numbers that are touched are underlaid, their edges drawn. `most` is one more than the last
    place that must fit.
    """
    touched = {place // in_sector for place in live}
    lines = -(-max(most, 1) // LINE)
    for place in range(lines * LINE):
        x, y = place % LINE, place // LINE
        if place // in_sector in touched:
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=style.YELLOW, linewidth=0))
        if place in live:
            axes.add_patch(Rectangle((x - 0.4, y - 0.3), 0.8, 0.6, facecolor=style.BLUE, linewidth=0))
        elif place in valid:
            axes.add_patch(Rectangle((x - 0.4, y - 0.3), 0.8, 0.6, facecolor=style.SKY, alpha=0.35, linewidth=0))
    crossed = [place for place in masked if 0 <= place < lines * LINE]
    axes.plot([p % LINE for p in crossed], [p // LINE for p in crossed], "x", color=style.VERMILION, markersize=6)
    for edge in range(0, LINE + 1, in_sector):
        axes.plot([edge - 0.5] * 2, [-0.5, lines - 0.5], color=style.GREY, linewidth=0.8)
    axes.set(xlim=(-0.6, LINE - 0.4), ylim=(lines - 0.45, -0.55), xlabel="place in the line")
    axes.set_xticks(range(0, LINE, 8))
    axes.set_yticks(range(lines), [str(line * LINE) for line in range(lines)])
    axes.grid(False)


@gallery.kept(
    "coalesced_or_strided",
    alt="Two pictures of the memory of a matrix of 8 rows and 32 columns. Above, a program that takes 8 numbers of a "
    "row touches one sector of 32 bytes and uses all of it. Below, one that takes the 8 numbers of a column touches "
    "eight sectors and uses one number in eight of each.",
)
def coalesced_or_strided() -> Figure:
    """Eight numbers of a row, and eight of a column."""
    figure, panels = style.figure(2, 1, width=7.2, height=5.0, sharex=True)
    every = range(8 * LINE)
    for axes, live, title in (
        (panels[0], list(range(3 * LINE + 8, 3 * LINE + 16)), "8 numbers of a row: 1 sector, all of it used"),
        (panels[1], [row * LINE + 10 for row in range(8)], "8 numbers of a column: 8 sectors, an eighth of each used"),
    ):
        draw_memory(axes, every, live, [], in_sector=8, most=8 * LINE)
        axes.set(title=title, ylabel="place of the line")
    panels[0].set_xlabel("")
    return figure


@style.styled
def bandwidth(found: Measurement, label: str) -> Figure:
    """Each kernel's bytes over its time, as a share of the copy's; PyTorch's own as a mark where it was timed."""
    figure, axes = style.figure(width=8.4, height=0.34 * len(found.speeds) + 1.1)
    for row, speed in enumerate(found.speeds):
        share = found.share(speed)
        color = style.ORANGE if "step by step" in speed.kernel else style.BLUE
        axes.barh(row, share, height=0.62, color=color)
        axes.text(1.19, row, f"{share:.0%}", ha="right", va="center", color=style.readable(color), fontsize=9)
        if speed.torch_milliseconds is not None:
            torchs = share * speed.milliseconds / speed.torch_milliseconds
            axes.plot([torchs], [row], "D", color=style.VERMILION, markersize=6, markeredgecolor="white")
    axes.axvline(1, color=style.BLACK, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(found.speeds)), [speed.kernel for speed in found.speeds])
    axes.set(ylim=(len(found.speeds) - 0.4, -0.6), xlim=(0, max(1.2, *axes.get_xlim())))
    axes.set_xticks(np.arange(0, 1.01, 0.25), ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.set(xlabel="share of a copy's bandwidth (dashed); ◆ PyTorch's own", title=label)
    axes.grid(False, axis="y")
    return figure

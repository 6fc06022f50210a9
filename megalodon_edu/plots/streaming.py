"""A long stream: how fast it is written, and what its state takes, from the first byte to the last."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from megalodon_edu.plots import style
from megalodon_edu.plots.end_labels import label_ends
from megalodon_edu.training.curves import Numbers

COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.ORANGE)


class StreamLine(NamedTuple):
    """One stream: bytes written at the end of each block, the block's bytes a second, bytes of state; (block,) each."""

    end: Numbers
    bytes_per_second: Numbers
    state_bytes: Numbers


@style.styled
def streams(lines: Mapping[str, StreamLine]) -> Figure:
    """Two panels by bytes written, all axes logarithmic: bytes a second, and bytes of state.

    A cross marks where a stream stopped before the longest one did.
    Raises ValueError if there is no stream or more than four, arrays differ in length, bytes written do not rise, or a
    number is not above 0.
    """
    if not 1 <= len(lines) <= len(COLOURS):
        raise ValueError(
            f"lines must hold 1 to {len(COLOURS)} streams, got {len(lines)}; draw a figure for some of them"
        )
    for name, line in lines.items():
        if len({len(column) for column in line}) != 1 or not len(line.end):
            raise ValueError(f"lines[{name!r}] must hold arrays of one length, got {[len(column) for column in line]}")
        if (np.diff(line.end) <= 0).any() or min(float(np.min(column)) for column in line) <= 0:
            raise ValueError(f"lines[{name!r}] must hold numbers above 0, and bytes written that rise")
    figure, panels = style.figure(1, 2, width=9.5, height=3.8)
    longest = max(float(line.end[-1]) for line in lines.values())
    for axes, column, title in (
        (panels[0], "bytes_per_second", "Bytes a second"),
        (panels[1], "state_bytes", "Bytes of state"),
    ):
        ends = []
        for colour, (name, line) in zip(COLOURS, lines.items(), strict=False):
            values = np.asarray(getattr(line, column), dtype=float)
            axes.plot(line.end, values, color=colour)
            if line.end[-1] < longest:
                axes.plot([line.end[-1]], [values[-1]], "X", color=colour, markersize=9)
            ends.append((float(line.end[-1]), float(values[-1]), name, colour))
        axes.set(xscale="log", yscale="log", xlabel="bytes written", title=title)
        label_ends(axes, ends)
    return figure

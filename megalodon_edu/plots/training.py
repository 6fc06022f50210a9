"""The loss of a training run, as a figure and while it falls."""

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from megalodon_edu.arguments import require_positive
from megalodon_edu.plots import gallery, style
from megalodon_edu.recordings import recording
from megalodon_edu.training.log import LogRow, read_log

SMOOTH = 50


@style.styled
def loss_curve(log: str | os.PathLike[str] | Sequence[LogRow]) -> Figure:
    """Bits per byte against bytes read: every step, the mean of the last SMOOTH steps, and the looks at validation.

    `log` is the path of a log.csv, or its rows. Raises ValueError if it holds no row.
    """
    rows = read_log(log) if isinstance(log, str | os.PathLike) else log
    if not rows:
        raise ValueError("log must hold at least one row, got none; train a step first")
    read = np.array([row.tokens for row in rows]) / 1e6
    bits = np.array([row.loss for row in rows]) / math.log(2)
    figure, axes = style.figure(height=3.2)
    axes.plot(read, bits, color=style.LIGHT_GREY, linewidth=1)
    axes.plot(read, running_mean(bits), color=style.MEGALODON)
    style.label_line(axes, read[-1], running_mean(bits)[-1], "training", style.MEGALODON, xytext=(0, -18), ha="right")
    looks = [
        (row.tokens / 1e6, row.validation_bits_per_byte) for row in rows if row.validation_bits_per_byte is not None
    ]
    if looks:
        axes.plot(*zip(*looks, strict=True), color=style.ORANGE, marker="o", markersize=4, linewidth=1)
        style.label_line(axes, *looks[-1], "validation (quick look)", style.ORANGE, xytext=(0, 14), ha="right")
    # The first steps fall from 8 bits so fast that, drawn in full, they would flatten all the rest.
    axes.set(ylim=(bits.min() - 0.5, np.quantile(bits, 0.97) + 0.5), xlim=(0, None))
    axes.set(xlabel="text read (million bytes)", ylabel="bits per byte", title="Loss")
    return figure


@gallery.kept(
    "tiny_cpu",
    alt="Bits per byte against million bytes read. The training loss falls steeply within the first half million "
    "bytes to about 2.5, then slowly below 2; the looks at validation follow a little above it.",
)
def tiny_on_a_cpu() -> Figure:
    """The recorded run of the preset tiny on two CPU cores."""
    return loss_curve(recording("tiny_cpu").folder / "log.csv")


def running_mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The mean of each value and the SMOOTH - 1 before it, of fewer at the start."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(sums))
    starts = np.maximum(ends - SMOOTH, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def describe(rows: Sequence[LogRow]) -> str:
    """The figure of `loss_curve` in words."""
    bits = running_mean(np.array([row.loss for row in rows]) / math.log(2))
    return (
        f"A curve of bits per byte that goes from {bits[0]:.2f} to {bits[-1]:.2f} "
        f"while {rows[-1].tokens / 1e6:.2g} million bytes are read."
    )


class LiveLossCurve:
    """A callback for `train` that keeps one figure in a notebook up to date.

        train(model, windows, options, folder, callbacks=[LiveLossCurve()])

    It draws every `every` steps: a drawing takes longer than a step of a small model. `draw()` adds the last steps
    after the run, and `rows` holds them all.
    """

    def __init__(self, every: int = 50):
        """Raise ValueError unless `every` is at least 1."""
        require_positive("every", every)
        self.every = every
        self.rows: list[LogRow] = []
        self._handle: Any = None

    def __call__(self, row: LogRow) -> None:
        """Take in one row of the log."""
        self.rows.append(row)
        if len(self.rows) == 1 or len(self.rows) % self.every == 0:
            self.draw()

    def picture(self) -> tuple[Figure, str]:
        """The figure so far, and its description."""
        return loss_curve(self.rows), describe(self.rows)

    def draw(self) -> None:
        """Show the figure, or replace the one shown before."""
        from IPython.display import display

        data, metadata = style.image_bundle(*self.picture())
        if self._handle is None:
            self._handle = display(data, metadata=metadata, raw=True, display_id=True)
        else:
            self._handle.update(data, metadata=metadata, raw=True)

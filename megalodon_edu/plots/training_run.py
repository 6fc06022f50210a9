"""Figures of chapter 12: seeds and their band, learning rates, and where a training step's time goes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from megalodon_edu.plots import gallery, style
from megalodon_edu.plots.end_labels import label_ends
from megalodon_edu.plots.share_bars import share_bars
from megalodon_edu.plots.training_band import ROOM, healthy_band
from megalodon_edu.training.curves import Numbers
from megalodon_edu.training.recorded_seeds import recorded_seeds
from megalodon_edu.training.situation import situation

PART_COLOURS = {
    "products": style.BLUE,
    "attention": style.ORANGE,
    "CEMA": style.GREEN,
    "norms": style.PINK,
    "loss": style.SKY,
    "update": style.VERMILION,
    "rest": style.LIGHT_GREY,
}
"""Of the parts of a step, in the order of `measure.step_profile.GROUPS`."""


@style.styled
def seeds_and_band(recorded: Sequence[tuple[Numbers, Numbers]]) -> Figure:
    """Left every step of every seed, right the same runs smoothed: their median, and their range made wider by ROOM.

    recorded: (steps, bits) of every seed, each array of the shape (point,). Errors as `healthy_band`.
    """
    band = healthy_band(recorded)
    figure, (left, right) = style.figure(1, 2, width=9.6, height=3.4, sharey=True)
    for steps, bits in recorded:
        left.plot(steps, bits, color=style.GREY, linewidth=0.9)
    left.set(title=f"{len(recorded)} seeds, step by step", xlabel="step", ylabel="bits per byte")
    right.fill_between(band.x, band.low - ROOM, band.high + ROOM, color=style.SKY, alpha=0.3, linewidth=0)
    right.plot(band.x, band.median, color=style.BLUE, linestyle="--", linewidth=1.5)
    at = len(band.x) // 3
    style.label_line(right, band.x[at], band.median[at], "median", style.BLUE, xytext=(0, -22), ha="center")
    style.label_line(right, band.x[at], band.high[at] + ROOM, f"range, ±{ROOM:g}", style.SKY, xytext=(6, 5), ha="left")
    right.set(title="The same, smoothed: the healthy band", xlabel="step")
    for axes in (left, right):
        axes.set_xlim(0, band.x[-1])
    return figure


@gallery.kept(
    "seeds_of_a_run",
    alt="Left, the loss of five seeds step by step: five jagged lines that fall together from almost 9 bits per byte "
    "to about 3. Right, the same runs smoothed: one narrow band around a dashed median.",
)
def seeds_of_a_run() -> Figure:
    """The recorded seeds of the run that chapter 12 makes on a CPU."""
    return seeds_and_band(recorded_seeds(situation("cpu")).curves)


@style.styled
def schedules(rates: Mapping[str, Numbers]) -> Figure:
    """A line for every schedule: the learning rate of step 0, 1, ...; each array has the shape (step,)."""
    figure, axes = style.figure(height=2.8)
    colours = (style.BLUE, style.VERMILION, style.GREEN, style.PINK)
    labels = []
    for (name, values), colour in zip(rates.items(), colours, strict=False):
        axes.plot(np.arange(len(values)), values, color=colour, linewidth=2)
        labels.append((float(len(values) - 1), float(values[-1]), name, colour))
    axes.set(xlabel="step", ylabel="learning rate", xlim=(0, max(map(len, rates.values())) - 1), ylim=(0, None))
    label_ends(axes, labels)
    return figure


@style.styled
def step_time(profiles: Mapping[str, Mapping[str, float]]) -> Figure:
    """A bar for each profile, cut into the shares of its parts; shares of at least 5 % are written into it."""
    figure, axes = style.figure(width=9, height=1.3 + 0.5 * len(profiles))
    share_bars(axes, profiles, PART_COLOURS, ("products", "CEMA", "update"), "a step's time")
    figure.legend(loc="outside upper center", ncols=len(PART_COLOURS))
    return figure

"""A training loss beside those of recorded seeds: inside the healthy band, above or below it, and what to look at."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from megalodon_edu.arguments import require_above_zero
from megalodon_edu.plots import style
from megalodon_edu.plots.training import LiveLossCurve
from megalodon_edu.training.curves import Band, Numbers, across, smoothed
from megalodon_edu.training.log import LogRow

HALF_LIFE = 10
"""Steps: every curve is smoothed before it is compared, for a single step's loss depends on the text it met."""

ROOM = 0.05
"""Bits per byte that the band is wider than the recorded range, on both sides: a few seeds do not show all of it."""

EARLY = 0.05
"""Share of the recorded steps that need not fit into the picture."""

ROSE = 0.3
"""Bits per byte above its own lowest place at which a loss counts as one that rose again."""

UNIFORM = 8.0
"""Bits per byte of a model that gives all 256 bytes the same probability."""


class Verdict(NamedTuple):
    """Where a loss ends, from which step on it has been there, and this in a sentence, with likely causes."""

    place: str
    """"inside", "above", "below", "early" (no step to compare yet) or "not finite"."""
    since: int | None
    sentence: str


def healthy_band(recorded: Sequence[tuple[Numbers, Numbers]], half_life: float = HALF_LIFE) -> Band:
    """Median and range of recorded seeds, each given as (steps, bits) of the shape (point,), smoothed.

    Raises ValueError if there is no run, or no step that all of them took; otherwise as `smoothed`.
    """
    if not recorded:
        raise ValueError("recorded must hold at least one run (steps, bits), got none")
    band = across([(np.asarray(steps, dtype=float), smoothed(bits, steps, half_life)) for steps, bits in recorded])
    if not len(band.x):
        raise ValueError("recorded must hold runs with steps in common, got none; give runs of the same settings")
    return band


def verdict(steps: Numbers, bits: Numbers, band: Band, half_life: float = HALF_LIFE, room: float = ROOM) -> Verdict:
    """Compare the loss of a run with a healthy band.

    steps, bits: (point,), not smoothed.  room: bits per byte that the band is made wider on both sides.
    Only steps that the recorded runs took are compared. Raises ValueError as `smoothed`, and if `room` is not above 0.
    """
    require_above_zero("room", room)
    steps, bits = np.asarray(steps, dtype=float), np.asarray(bits, dtype=float)
    if not np.isfinite(bits).all():
        first = int(steps[~np.isfinite(bits)][0])
        return Verdict(
            "not finite",
            first,
            f"The loss is no finite number at step {first:,}. Likely causes: a learning rate that is too high, no "
            "warm-up, or numbers too large for float16.",
        )
    smooth = smoothed(bits, steps, half_life)
    compared = (steps >= band.x[0]) & (steps <= band.x[-1])
    if not compared.any():
        return Verdict("early", None, f"Too early to say: the recorded runs begin at step {band.x[0]:,.0f}.")
    at, own = steps[compared], smooth[compared]
    over = own - np.interp(at, band.x, band.high) - room
    under = np.interp(at, band.x, band.low) - room - own
    sides = np.where(over > 0, 1, np.where(under > 0, -1, 0))
    changes = np.flatnonzero(sides != sides[-1])
    since = int(at[changes[-1] + 1] if len(changes) else at[0])
    onward = f"from step {since:,} on" if len(changes) else "from its first step on"
    now = f"at step {at[-1]:,.0f}"
    if sides[-1] == 0:
        return Verdict("inside", since, f"Inside the band {onward}.")
    if sides[-1] < 0:
        return Verdict(
            "below",
            since,
            f"Below the band {onward}, by {under[-1]:.2f} bits per byte {now}. Likely causes: easier text, the same "
            "text again and again, a larger model or batch, or a model that sees the byte it is to predict.",
        )
    return Verdict(
        "above", since, f"Above the band {onward}, by {over[-1]:.2f} bits per byte {now}. {_why_above(at, own)}"
    )


def _why_above(steps: Numbers, smooth: Numbers) -> str:
    """Likely causes of a loss that is too high, by the way it took."""
    lowest = int(np.argmin(smooth))
    if smooth[-1] > smooth[lowest] + ROSE:
        return (
            f"It was {smooth[lowest]:.2f} at step {steps[lowest]:,.0f} and rose again. Likely causes: a learning rate "
            "that is too high, no warm-up, or gradients that are not clipped."
        )
    if smooth[-1] > UNIFORM - 1:
        return (
            f"It is at {smooth[-1]:.2f}, near the 8 bits of a model that knows nothing. Likely causes: a learning rate "
            "far too low, an optimiser that does not hold the model's parameters, or targets that do not belong to "
            "the inputs."
        )
    return (
        "It falls, but more slowly. Likely causes: a learning rate that is too low or too high, a long warm-up, "
        "smaller batches, shorter windows, or a smaller model."
    )


@style.styled
def training_band(
    steps: Numbers, bits: Numbers, band: Band, half_life: float = HALF_LIFE, room: float = ROOM
) -> Figure:
    """The loss of a run, smoothed, over the band of recorded seeds; the title is the first sentence of the verdict.

    What falls in the first steps (`EARLY`) may lie above the picture: with it, the band of a long run would be a line.

    steps, bits: (point,), not smoothed.  room: as in `verdict`.
    """
    steps, bits = np.asarray(steps, dtype=float), np.asarray(bits, dtype=float)
    found = verdict(steps, bits, band, half_life, room)
    finite = np.isfinite(bits)
    figure, axes = style.figure(height=3.4)
    axes.fill_between(band.x, band.low - room, band.high + room, color=style.SKY, alpha=0.3, linewidth=0)
    axes.plot(band.x, band.median, color=style.BLUE, linestyle="--", linewidth=1.5)
    if finite.any():
        own = smoothed(bits[finite], steps[finite], half_life)
        axes.plot(steps[finite], bits[finite], color=style.LIGHT_GREY, linewidth=0.8, zorder=1)
        axes.plot(steps[finite], own, color=style.VERMILION)
        style.label_line(axes, steps[finite][-1], own[-1], "this run", style.VERMILION, xytext=(5, 0), va="center")
    drawn = [(band.x, band.low - room), (band.x, band.high + room)] + ([(steps[finite], own)] if finite.any() else [])
    begin = min(EARLY * band.x[-1], drawn[-1][0][-1])
    late = np.concatenate([values[x >= begin] for x, values in drawn])
    low, high = late.min(), late.max()
    edge = 0.1 * (high - low)
    axes.set(xlim=(0, max(band.x[-1], steps[-1] if len(steps) else 0)), ylim=(low - edge, high + edge))
    middle, above = len(band.x) * 2 // 3, found.place == "above"
    side, offset = (band.low - room, -14) if above else (band.high + room, 6)
    name = f"recorded seeds, ±{room:g}"
    style.label_line(axes, band.x[middle], side[middle], name, style.BLUE, xytext=(0, offset), ha="center")
    axes.set(xlabel="step", ylabel="bits per byte", title=found.sentence.split(". ")[0].rstrip("."))
    return figure


class LiveTrainingBand(LiveLossCurve):
    """A callback for `train`, as `LiveLossCurve`, that draws the loss over the band of recorded seeds.

    recorded: (steps, bits) of every seed, each array of the shape (point,).
    """

    def __init__(self, recorded: Sequence[tuple[Numbers, Numbers]], every: int = 50):
        """Raise ValueError as `healthy_band`, and unless `every` is at least 1."""
        super().__init__(every)
        self.band = healthy_band(recorded)

    def verdict(self) -> Verdict:
        """What the rows so far say."""
        return verdict(*_steps_and_bits(self.rows), self.band)

    def picture(self) -> tuple[Figure, str]:
        """The figure so far, and its description."""
        steps, bits = _steps_and_bits(self.rows)
        words = (
            f"Bits per byte against the step. A band of recorded seeds falls from {self.band.median[0]:.2f} to "
            f"{self.band.median[-1]:.2f} at step {self.band.x[-1]:,.0f}. This run: {self.verdict().sentence}"
        )
        return training_band(steps, bits, self.band), words


def _steps_and_bits(rows: Sequence[LogRow]) -> tuple[Numbers, Numbers]:
    return np.array([row.step for row in rows], dtype=float), np.array([row.loss for row in rows]) / math.log(2)

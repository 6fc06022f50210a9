"""Recall by distance: the share of questions that models answer, and what each distance is to a chunk."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from megalodon_edu.arguments import require_between, require_positive
from megalodon_edu.plots import style
from megalodon_edu.plots.end_labels import label_ends
from megalodon_edu.training.curves import Numbers

COLOURS = (style.BLUE, style.SKY, style.VERMILION, style.GREEN)
MARKERS = "osD^"


class RecallLine(NamedTuple):
    """One model: distances in tokens, rising, shape (distance,), and the shares answered, (seed, distance)."""

    distances: Numbers
    shares: Numbers


@style.styled
def recall(models: Mapping[str, RecallLine], chance: float, chunk: int, title: str = "") -> Figure:
    """Share of right answers by distance of what is asked for: the seeds' mean as a line, each seed as a dot.

    Dotted: what guessing gives. Dashed: the length of a chunk; from there on no question has its answer in its own.
    Raises ValueError if there is no model or more than four, shapes do not fit, distances do not rise, or a share is
    outside 0 to 1.
    """
    if not 1 <= len(models) <= len(COLOURS):
        raise ValueError(
            f"models must hold 1 to {len(COLOURS)} models, got {len(models)}; draw a figure for some of them"
        )
    require_between("chance", chance, 0, 1)
    require_positive("chunk", chunk)
    for name, (distances, shares) in models.items():
        if np.ndim(shares) != 2 or np.shape(shares)[1:] != np.shape(distances) or not np.size(shares):
            raise ValueError(
                f"models[{name!r}] must hold distances (distance,) and shares (seed, distance), "
                f"got {np.shape(distances)} and {np.shape(shares)}"
            )
        if (np.diff(distances) <= 0).any() or distances[0] <= 0 or np.min(shares) < 0 or np.max(shares) > 1:
            raise ValueError(f"models[{name!r}] must hold distances that rise above 0, and shares from 0 to 1")
    figure, axes = style.figure(width=8, height=4)
    axes.axhline(chance, color=style.GREY, linestyle=":")
    axes.axvline(chunk, color=style.GREY, linestyle="--")
    ends = []
    for colour, marker, (name, (distances, shares)) in zip(COLOURS, MARKERS, models.items(), strict=False):
        mean = np.mean(shares, axis=0)
        axes.plot(distances, mean, color=colour)
        for seed in shares:
            axes.plot(distances, seed, marker, color=colour, markersize=4, alpha=0.6)
        ends.append((float(distances[-1]), float(mean[-1]), name, colour))
    axes.set_xscale("log", base=2)
    axes.set(ylim=(-0.04, 1.04), xlabel="tokens between question and answer", ylabel="answered", title=title)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    label_ends(axes, [*ends, (float(axes.get_xlim()[1]), chance, "guessing", style.GREY)])
    above = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axes.annotate("one chunk", (chunk, 1), xytext=(4, 2), fontsize=9, color=style.GREY, **above)
    return figure

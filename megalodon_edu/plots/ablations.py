"""What each part is worth: the difference of every variant to the full model, seed by seed, with its interval."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from megalodon_edu.plots import style
from megalodon_edu.training.curves import Numbers


class Difference(NamedTuple):
    """A variant less the full model: of every seed, shape (seed,), and the interval of their mean."""

    seeds: Numbers
    low: float
    high: float


@style.styled
def forest(differences: Mapping[str, Difference], unit: str = "bits per byte", level: str = "95 %") -> Figure:
    """A line for every variant, in the order given: a dot for each seed, the mean, and its interval.

    Right of it the mean and the interval in numbers. A variant whose interval holds 0 is grey: these seeds do not tell
    it from the full model. The differences are in `unit`, above 0 where the variant is worse.
    Raises ValueError if there is no variant, a variant has no seed, or its interval does not hold its mean.
    """
    if not differences:
        raise ValueError("differences must hold at least one variant, got none")
    means = {}
    for name, (seeds, low, high) in differences.items():
        if not len(seeds):
            raise ValueError(
                f"differences[{name!r}].seeds must hold at least one seed, got none; leave the variant out"
            )
        means[name] = float(np.mean(seeds))
        if not low <= means[name] <= high:
            raise ValueError(
                f"differences[{name!r}] must have low <= mean of the seeds <= high, "
                f"got {low:.4g}, {means[name]:.4g}, {high:.4g}; take the interval of the same seeds"
            )
    figure, axes = style.figure(width=8.5, height=0.5 * len(differences) + 1.4)
    axes.axvline(0, color=style.BLACK, linewidth=1)
    for place, (name, (seeds, low, high)) in enumerate(differences.items()):
        colour = style.GREY if low <= 0 <= high else style.BLUE if low > 0 else style.VERMILION
        axes.plot([low, high], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot([means[name]], [place], "D", color=colour, markersize=7)
        axes.plot(seeds, np.full(len(seeds), place + 0.26), "o", color=colour, markersize=4, alpha=0.7)
        words = f"{_signed(means[name])}  ({_signed(low)} to {_signed(high)})"
        axes.annotate(
            words, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=9, annotation_clip=False
        )
    axes.set_yticks(range(len(differences)), list(differences))
    axes.set(ylim=(len(differences) - 0.4, -0.6), xlabel=f"{unit} more than the full model (right: worse)")
    axes.set_title(f"Mean with {level} interval; dots: seeds")
    axes.grid(False, axis="y")
    return figure


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")

"""Names beside the ends of lines, moved apart where they would cover each other."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from megalodon_edu.plots import style

GAP = 13.0
"""Points from one name to the next: a line of text of 9 points."""


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Places in the order of `wanted`, at least `gap` apart, whose squared distances to the wanted ones sum to least.

    Names that would touch form a group around the mean of their wanted places; groups that touch are joined.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    groups: list[list[int]] = []
    for index in order:
        groups.append([index])
        while len(groups) > 1 and _top(groups[-2], wanted, gap) + gap > _bottom(groups[-1], wanted, gap):
            last = groups.pop()
            groups[-1] += last
    places = [0.0] * len(wanted)
    for group in groups:
        for number, index in enumerate(group):
            places[index] = _bottom(group, wanted, gap) + number * gap
    return places


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write a name right of each end (x, y, name, colour), with a thin line to it where it had to move.

    Call it when scales and limits of the axes are set: how far apart two names are depends on them.
    """
    figure = cast(Figure, axes.figure)
    figure.draw_without_rendering()  # the layout decides how many points a bit per byte takes
    pixels_per_point = figure.dpi / 72
    heights = [axes.transData.transform((x, y))[1] / pixels_per_point for x, y, _, _ in ends]
    for (x, y, name, colour), height, place in zip(ends, heights, spread(heights, GAP), strict=True):
        moved = place - height
        arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 2, "relpos": (0, 0.5)}
        options = {"xytext": (12, moved), "va": "center", "annotation_clip": False}
        style.label_line(axes, x, y, name, colour, **options, arrowprops=arrow)


def _bottom(group: Sequence[int], wanted: Sequence[float], gap: float) -> float:
    return float(np.mean([wanted[index] for index in group])) - gap * (len(group) - 1) / 2


def _top(group: Sequence[int], wanted: Sequence[float], gap: float) -> float:
    return _bottom(group, wanted, gap) + gap * (len(group) - 1)

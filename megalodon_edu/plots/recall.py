"""Recall by distance: the share of questions that models answer, or the bits that they save by what they have read."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
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


class GainLine(NamedTuple):
    """One model: distances in chunks, rising, the bits saved per byte, and the interval's ends; (distance,) each."""

    distances: Numbers
    mean: Numbers
    low: Numbers
    high: Numbers


@style.styled
def gains(
    panels: Mapping[str, Mapping[str, GainLine]], controls: Mapping[str, Mapping[str, GainLine]] | None = None
) -> Figure:
    """Bits saved per byte that is asked for, by distance in chunks: a panel for each title, a line for each model.

    controls: for some of the panels what the models save when something else was planted; dotted, with open markers.
    Dashed: one chunk; from there on nothing that was planted lies in the question's own.
    Raises ValueError if there is no panel, the models of two panels or of a control differ, there are none or more than
    four, arrays differ in length, distances do not rise above 0, or a control has no panel.
    """
    models = list(next(iter(panels.values()), {}))
    if not 1 <= len(models) <= len(COLOURS):
        raise ValueError(f"panels must hold panels with 1 to {len(COLOURS)} models, got {len(models)}")
    controls = controls or {}
    if extra := [title for title in controls if title not in panels]:
        raise ValueError(f"controls must be of the panels {', '.join(panels)}, got {', '.join(extra)}")
    for argument, groups in (("panels", panels), ("controls", controls)):
        for title, lines in groups.items():
            _require_lines(f"{argument}[{title!r}]", lines, models)
    figure, row = style.figure(1, len(panels), width=4.6 * len(panels), height=3.9, squeeze=False)
    for axes, (title, lines) in zip(row[0], panels.items(), strict=True):
        axes.axhline(0, color=style.BLACK, linewidth=1)
        axes.axvline(1, color=style.GREY, linestyle="--")
        for colour, marker, name in zip(COLOURS, MARKERS, models, strict=False):
            _draw(axes, lines[name], color=colour, marker=marker, label=name)
            if title in controls:
                _draw(axes, controls[title][name], color=colour, marker=marker, linestyle=":", markerfacecolor="white")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set(title=title, xlabel="distance in chunks")
    row[0][0].set_ylabel("bits per byte saved")
    handles, names = row[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(models), frameon=False)
    return figure


def _require_lines(argument: str, lines: Mapping[str, GainLine], models: Sequence[str]) -> None:
    if list(lines) != list(models):
        raise ValueError(f"{argument} must hold the models {', '.join(models)}, got {', '.join(lines) or 'none'}")
    for name, line in lines.items():
        if len({len(column) for column in line}) != 1 or not len(line.mean):
            lengths = [len(column) for column in line]
            raise ValueError(f"{argument}[{name!r}] must hold arrays of one length, got {lengths}")
        if (np.diff(line.distances) <= 0).any() or line.distances[0] <= 0:
            raise ValueError(f"{argument}[{name!r}] must hold distances that rise above 0")


def _draw(axes: Axes, line: GainLine, **look: Any) -> None:
    distances, mean, low, high = line
    axes.errorbar(
        distances, mean, yerr=[np.subtract(mean, low), np.subtract(high, mean)], markersize=5, capsize=3, **look
    )

"""What more context is worth: the same bytes scored after fewer and more preceding bytes, a line for every book.

And who reads them better: other readers beside one of them, book by book.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from megalodon_edu.arguments import require_positive
from megalodon_edu.plots import style
from megalodon_edu.plots.end_labels import label_ends
from megalodon_edu.studies.bootstrap import Interval
from megalodon_edu.training.curves import Numbers

COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.ORANGE, style.PINK, style.SKY)
MARKERS = "osD^vP"


class BookLine(NamedTuple):
    """One book: numbers of preceding bytes, rising, and the mean paired difference with its interval; (point,) each."""

    preceding: Numbers
    mean: Numbers
    low: Numbers
    high: Numbers


@style.styled
def context_gain(
    books: Mapping[str, BookLine], training_context: int, title: str = "", unit: str = "bits per byte"
) -> Figure:
    """Mean paired difference to the score after T = `training_context` bytes, with its interval, by preceding bytes.

    Below 0 more context helps. Two panels, up to T and from T on, since the first differences are far larger; one panel
    where the books have contexts on one side of T only. The horizontal axes are logarithmic; no context at all stands
    left of them, as 0. Books stand a little beside each other, so that their intervals can be told apart.
    Raises ValueError if there is no book or more than six, an array's length differs, preceding bytes do not rise, or
    no book has two contexts on one side of T.
    """
    require_positive("training_context", training_context)
    if not 1 <= len(books) <= len(COLOURS):
        raise ValueError(f"books must hold 1 to {len(COLOURS)} books, got {len(books)}; draw a figure for some of them")
    for name, book in books.items():
        if len({len(column) for column in book}) != 1 or not len(book.mean):
            raise ValueError(f"books[{name!r}] must hold arrays of one length, got {[len(column) for column in book]}")
        if (np.diff(book.preceding) <= 0).any() or book.preceding[0] < 0:
            raise ValueError(f"books[{name!r}].preceding must rise from 0 or above, got {list(book.preceding)}")
    contexts = np.unique(np.concatenate([np.asarray(book.preceding, dtype=float) for book in books.values()]))
    both = (contexts[contexts <= training_context], contexts[contexts >= training_context])
    sides = [side for side in both if len(side) > 1]
    if not sides:
        raise ValueError(f"books must hold two contexts on one side of {training_context:,} bytes, got {contexts}")
    nothing = min(contexts[contexts > 0].min(), training_context) / 4
    ratios = [float(np.ptp(_places(side, training_context, nothing))) + 1 for side in sides]
    figure, panels = style.figure(1, len(sides), width=9, height=4, width_ratios=ratios, squeeze=False)
    ends: list[list[tuple[float, float, str, str]]] = [[] for _ in sides]
    for number, (name, book) in enumerate(books.items()):
        aside = 0.1 * (number - (len(books) - 1) / 2)
        preceding, mean, low, high = (np.asarray(column, dtype=float) for column in book)
        last = None
        for panel, (axes, side) in enumerate(zip(panels[0], sides, strict=True)):
            here = np.isin(preceding, side)
            if not here.any():
                continue
            x, y = _places(preceding[here], training_context, nothing) + aside, mean[here]
            intervals = [y - low[here], high[here] - y]
            colour, marker = COLOURS[number], MARKERS[number]
            axes.errorbar(x, y, yerr=intervals, color=colour, marker=marker, markersize=5, capsize=3)
            last = panel, (float(x[-1]), float(y[-1]), name, colour)
        if last is not None:
            ends[last[0]].append(last[1])
    for axes, side in zip(panels[0], sides, strict=True):
        axes.axhline(0, color=style.BLACK, linewidth=1)
        places = _places(side, training_context, nothing)
        axes.set_xticks(places, [_in_contexts(int(context), training_context) for context in side])
        axes.set(xlim=(places[0] - 0.5, places[-1] + 0.5))
    panels[0][0].set(ylabel=f"difference, {unit}\n(below 0: more context helps)", title=title)
    figure.supxlabel(f"preceding bytes (T: the training context, {training_context:,} bytes)", fontsize=10)
    for axes, names in zip(panels[0], ends, strict=True):
        label_ends(axes, names)
    return figure


@style.styled
def beside_baseline(
    books: Mapping[str, Mapping[str, Interval]], baseline: str, title: str = "", unit: str = "bits per byte"
) -> Figure:
    """Every reader's mean paired difference to a baseline, with its interval: a row of readers for each book.

    books: by title, the gaps by reader; all of the readers in the first book's order. Left of 0 a reader needs fewer
    bits than the baseline.
    Raises ValueError if there is no book, the readers of two books differ, or there are none or more than six.
    """
    readers = list(next(iter(books.values()), {}))
    if not 1 <= len(readers) <= len(COLOURS):
        raise ValueError(f"books must hold books with 1 to {len(COLOURS)} readers, got {len(readers)}")
    for name, gaps in books.items():
        if list(gaps) != readers:
            raise ValueError(f"books[{name!r}] must hold the readers {', '.join(readers)}, got {', '.join(gaps)}")
    figure, axes = style.figure(width=9, height=0.17 * len(books) * (len(readers) + 1) + 1.4)
    axes.axvline(0, color=style.BLACK, linewidth=1)
    for row, gaps in enumerate(books.values()):
        if row:
            axes.axhline(row - 0.5, color=style.GREY, linewidth=0.5)
        for number, (reader, (mean, low, high)) in enumerate(gaps.items()):
            place = row + (number - (len(readers) - 1) / 2) / (len(readers) + 1)
            axes.errorbar(
                [mean],
                [place],
                xerr=[[mean - low], [high - mean]],
                color=COLOURS[number],
                marker=MARKERS[number],
                linestyle="none",
                markersize=5,
                capsize=3,
                label=reader if row == 0 else None,
            )
    axes.set_yticks(range(len(books)), list(books))
    axes.set(ylim=(len(books) - 0.5, -0.5), xlabel=f"{unit} more than {baseline} (right: worse)", title=title)
    axes.grid(False, axis="y")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def _places(contexts: Numbers, training_context: int, nothing: float) -> Numbers:
    """log2 of the context in training contexts; 0 bytes stand where `nothing` bytes would."""
    return np.log2(np.where(contexts > 0, contexts, nothing) / training_context)


def _in_contexts(context: int, training_context: int) -> str:
    if 0 < context < training_context:
        return f"T/{training_context / context:g}"
    return "0" if context == 0 else "T" if context == training_context else f"{context / training_context:g} T"

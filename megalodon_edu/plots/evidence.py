"""Figures of chapter 13: a model compared with itself, two models by bytes and by seconds, and who may look where."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from megalodon_edu.plots import gallery, style
from megalodon_edu.plots.end_labels import label_ends
from megalodon_edu.studies.bootstrap import student_quantile
from megalodon_edu.training.curves import Band, Numbers

NOISE, EXPERIMENTS, SEEDS = 0.006, 40, 3


def equal_models(experiments: int, seeds: int, seed: int = 0) -> Numbers:
    """Paired differences of two models that are equally good, (experiment, seed): noise of 0.006 around 0."""
    return NOISE * np.random.default_rng(seed).standard_normal((experiments, seeds))


def half_widths(differences: Numbers, factor: float) -> Numbers:
    """factor · s / √n of every row of (experiment, seed), with n - 1 in the standard deviation s."""
    return factor * differences.std(axis=1, ddof=1) / np.sqrt(differences.shape[1])


@gallery.kept(
    "compared_with_itself",
    alt="Forty made-up comparisons of a model with itself, each with three seeds: intervals around their means, and a "
    "line at the true difference 0. Left, with the factor 1.96, eight intervals miss the line and are red. Right, "
    "the same experiments with Student's factor 4.30: the intervals are twice as long, and two miss.",
)
def compared_with_itself() -> Figure:
    """Forty experiments whose truth is known, with the factor of many values and with Student's of three."""
    differences = equal_models(EXPERIMENTS, SEEDS)
    means = differences.mean(axis=1)
    figure, panels = style.figure(1, 2, width=9, height=4.2, sharex=True, sharey=True)
    factors = {"of many values": 1.96, "of three values, Student's": student_quantile(0.975, SEEDS - 1)}
    for axes, (name, factor) in zip(panels, factors.items(), strict=True):
        _intervals(axes, means, half_widths(differences, factor))
        axes.set_title(f"factor {factor:.2f}, {name}")
        axes.set_xlabel("difference, bits per byte")
    panels[0].set(ylabel="experiment", yticks=[])
    return figure


def _intervals(axes: Axes, means: Numbers, half: Numbers) -> None:
    misses = np.abs(means) > half
    axes.axvline(0, color=style.BLACK, linewidth=1)
    for place, (mean, reach, missed) in enumerate(zip(means, half, misses, strict=True)):
        colour = style.VERMILION if missed else style.GREY
        axes.plot([mean - reach, mean + reach], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot([mean], [place], "o", color=colour, markersize=3.5)
    axes.grid(False, axis="y")


@style.styled
def bytes_and_seconds(
    models: Mapping[str, Band], speeds: Mapping[str, float], colours: Mapping[str, str], ylabel: str = "bits per byte"
) -> Figure:
    """Left the scores of every model along its training, against bytes read, right against the seconds these took.

    models: the seeds' median and range; x is bytes read. speeds: bytes in a second, of every model.
    Raises ValueError for no model, and for one without a speed or colour.
    """
    if not models:
        raise ValueError("models must hold at least one model, got none")
    if missing := [name for name in models if name not in speeds or name not in colours]:
        raise ValueError(f"speeds and colours must name every model, got none for {', '.join(missing)}")
    figure, (left, right) = style.figure(1, 2, width=9.6, height=3.8, sharey=True)
    for axes, what in ((left, "bytes read"), (right, "seconds")):
        for name, band in models.items():
            x = band.x if axes is left else band.x / speeds[name]
            axes.fill_between(x, band.low, band.high, color=colours[name], alpha=0.25, linewidth=0)
            axes.plot(x, band.median, color=colours[name], linewidth=2)
        axes.set(xlabel=what, title=f"against {what}", xlim=(0, None))
    left.set_ylabel(ylabel)
    left.xaxis.set_major_formatter(EngFormatter(sep=""))
    ends = [(band.x[-1] / speeds[name], band.median[-1], name, colours[name]) for name, band in models.items()]
    label_ends(right, ends)
    return figure


@style.styled
def who_looks_where(masks: Mapping[str, np.ndarray], tokens: Sequence[str]) -> Figure:
    """A panel for every mask (query, key): a filled square where the query may look.

    Raises ValueError for no mask, and for one that is not square or does not fit the tokens.
    """
    if not masks:
        raise ValueError("masks must hold at least one mask, got none")
    count = len(tokens)
    for name, mask in masks.items():
        if mask.shape != (count, count):
            raise ValueError(f"masks[{name!r}] must have the shape {(count, count)} of the tokens, got {mask.shape}")
    figure, panels = style.figure(1, len(masks), width=3.2 * len(masks), height=3.5, squeeze=False)
    for axes, (name, mask) in zip(panels[0], masks.items(), strict=True):
        axes.imshow(mask, cmap=ListedColormap(["white", style.SKY]), vmin=0, vmax=1, aspect="auto")
        axes.set(title=name, xticks=range(count), yticks=range(count), xticklabels=tokens, yticklabels=tokens)
        axes.set(xlabel="key, looked at", ylabel="query, looking")
        axes.set_xticks(np.arange(-0.5, count), minor=True)
        axes.set_yticks(np.arange(-0.5, count), minor=True)
        axes.grid(False, which="major")
        axes.grid(True, which="minor", color=style.LIGHT_GREY)
        axes.tick_params(which="minor", length=0)
    return figure


@style.styled
def weights_of_the_past(weights: Mapping[str, Numbers], colours: Mapping[str, str], xlabel: str) -> Figure:
    """The weight that a mean gives to a token of every age, against the age in tokens; each array is (age,).

    Raises ValueError for no mean, and for one without a colour.
    """
    if not weights:
        raise ValueError("weights must hold at least one mean, got none")
    if missing := [name for name in weights if name not in colours]:
        raise ValueError(f"colours must name every mean, got none for {', '.join(missing)}")
    figure, axes = style.figure(width=8.5, height=3.0)
    ends = []
    for name, values in weights.items():
        axes.plot(np.arange(len(values)), values, color=colours[name])
        ends.append((float(len(values) - 1), float(values[-1]), name, colours[name]))
    axes.set(xlabel=xlabel, ylabel="weight", xlim=(0, max(map(len, weights.values())) - 1), ylim=(0, None))
    label_ends(axes, ends)
    return figure

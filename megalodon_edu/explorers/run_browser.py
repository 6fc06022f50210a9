"""The run browser: loss curves of training runs side by side, smoothed, on the axes of your choice."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import traitlets
from matplotlib.figure import Figure

from megalodon_edu.explorers.controls import Choice, Range, Subset, Switch
from megalodon_edu.explorers.framework import Explorer, Values
from megalodon_edu.explorers.recorded_runs import RunCollection, recorded_runs
from megalodon_edu.plots import run_curves, style
from megalodon_edu.training.curves import Band, Curve, across, smoothed, training_curve, validation_curve
from megalodon_edu.training.log import LogRow, read_log

POINTS, MOST_POINTS = 300, 2400
"""A run is sent to the page in at most so many points, and all runs of a collection in so many together."""

AXES = {"bytes read": "tokens", "seconds": "seconds"}
KINDS = {"training": ("training",), "validation": ("validation",), "both": ("training", "validation")}
COLOURS = ("blue", "vermilion", "green", "orange", "pink", "sky")
MOST_VARIANTS = 2 * len(COLOURS)

Log = str | os.PathLike[str] | Sequence[LogRow]


class Line(NamedTuple):
    """A line of the picture: whose it is, of which kind, and at each x the median, the lowest and the highest run."""

    label: str
    variant: str
    kind: str
    band: Band


class RunBrowserExplorer(Explorer):
    """Loss curves of training runs in bits per byte; a variant with several seeds as their median inside their range.

        RunBrowserExplorer({"mine": "runs/tiny/log.csv", "recorded": rows})
        RunBrowserExplorer({"full, seed 0": ..., "full, seed 1": ...}, {"full, seed 0": "full", "full, seed 1": "full"})

        RunBrowserExplorer(collection="Megalodon against the Transformer")

    `runs` maps a label to a log: the path of a log.csv or its rows. `variants` maps a run's label to the name of its
    variant; a run that it does not name is a variant of its own. Without `runs`, the recorded runs of the course are
    offered in collections: see `recorded_runs`.
    Controls: `collection` (which of them is looked at), `shown` (the variants in the picture), `against` (the
    horizontal axis; always bytes where a collection has no seconds to compare), `curve` (training, validation or both),
    `half_life` (of the training loss's smoothing, in steps), `start` (the share of the longest run that is left out),
    `log_x`, `log_y`, `grouped` (seeds as a band instead of line by line) and `place` (where the values are read, as a
    share of the picture's width).

    Raises ValueError for no run, a log without rows or with a loss that is no finite number, a variant of a run that is
    not there, or more than 12 variants.
    """

    script = "run_browser.js"
    shown: list[str]
    against = Choice("bytes read", list(AXES))
    curve = Choice("both", list(KINDS))
    half_life = Range(20, 0, 200, whole=True)
    start = Range(0.0, 0, 0.9)
    log_x = Switch(True)
    log_y = Switch(False)
    grouped = Switch(True)
    place = Range(0.65, 0, 1)

    def __init__(
        self, runs: Mapping[str, Log] | None = None, variants: Mapping[str, str] | None = None, **settings: Any
    ) -> None:
        self._collections = recorded_runs() if runs is None else {"given": _given(runs, variants or {})}
        self._curves: dict[str, dict[str, Curve]] = {}
        self._looks: dict[str, tuple[str, bool]] = {}
        for collection in self._collections.values():
            points = max(2, min(POINTS, MOST_POINTS // len(collection.logs)))
            self._curves |= {label: _curves(label, log, points) for label, log in collection.logs.items()}
            self._looks |= _looks(list(dict.fromkeys(collection.variants.values())))
        names = list(self._collections)
        self.add_traits(collection=Choice(names[0], names), shown=Subset(list(self._looks)))
        super().__init__(**settings)

    @traitlets.default("constants")
    def _constants(self) -> dict[str, Any]:
        return {
            "collections": {
                name: {
                    "note": collection.note,
                    "timed": collection.timed,
                    "variants": list(dict.fromkeys(collection.variants.values())),
                }
                for name, collection in self._collections.items()
            },
            "looks": {name: {"colour": colour, "dashed": dashed} for name, (colour, dashed) in self._looks.items()},
            "axes": AXES,
            "kinds": KINDS,
            "runs": [
                {
                    "label": label,
                    "variant": variant,
                    **{
                        kind: {
                            name: list(map(_short, column))
                            for name, column in curve._asdict().items()
                            if collection.timed or name != "seconds"
                        }
                        for kind, curve in self._curves[label].items()
                    },
                }
                for collection in self._collections.values()
                for label, variant in collection.variants.items()
            ],
        }

    @property
    def axis(self) -> str:
        """What the horizontal axis shows: `against`, but bytes where seconds compare nothing."""
        return self.against if self._collections[self.collection].timed else "bytes read"

    def lines(self) -> list[Line]:
        """What is drawn, before anything is left out at the start: variant by variant, training before validation."""
        found = []
        variants = self._collections[self.collection].variants
        for variant in [name for name in self.shown if name in variants.values()]:
            members = [label for label, name in variants.items() if name == variant]
            for kind in KINDS[self.curve]:
                curves = {label: self._line(label, kind) for label in members}
                curves = {label: curve for label, curve in curves.items() if len(curve[0])}
                if self.grouped and curves:
                    found.append(Line(variant, variant, kind, across(list(curves.values()))))
                else:
                    found += [Line(label, variant, kind, Band(x, y, y, y)) for label, (x, y) in curves.items()]
        return [line for line in found if len(line.band.x)]

    def _line(self, label: str, kind: str) -> tuple[np.ndarray, np.ndarray]:
        curve = self._curves[label][kind]
        half_life = self.half_life if kind == "training" else 0
        return getattr(curve, AXES[self.axis]), smoothed(curve.bits, curve.steps, half_life)

    def domain(self) -> tuple[float, float, float, float]:
        """Both ends of both axes."""
        bands = [line.band for line in self.lines()]
        if not bands:
            return 1.0, 10.0, 1.0, 8.0
        end = max(band.x[-1] for band in bands)
        first = min(x for band in bands for x in band.x if x > 0) if self.log_x else 0.0
        begin = max(float(first), self.start * end)
        if begin >= end:
            begin = end / 2
        cut = [_cut(band, begin) for band in bands]
        low = min(band.low.min() for band in cut if len(band.x))
        high = max(band.high.max() for band in cut if len(band.x))
        if self.log_y:
            room = (high / low) ** 0.04 if high > low else 1.1
            return begin, end, low / room, high * room
        room = 0.04 * (high - low) if high > low else 0.5
        return begin, end, low - room, high + room

    def position(self) -> float:
        """Where the values are read, in the unit of the horizontal axis."""
        begin, end, *_ = self.domain()
        at = begin * (end / begin) ** self.place if self.log_x else begin + self.place * (end - begin)
        return min(at, end)

    def readings(self) -> list[tuple[Line, float, float, float]]:
        """Every line that has a value at the position, with its median, lowest and highest there."""
        at, found = self.position(), []
        for line in self.lines():
            if line.band.x[0] <= at <= line.band.x[-1]:
                median, low, high = (float(np.interp(at, line.band.x, values)) for values in line.band[1:])
                found.append((line, median, low, high))
        return found

    def values(self) -> Values:
        """All lines, one behind the other: `counts` points each, x, and the median, lowest and highest in bits.

        Besides `domain` (both ends of both axes), `position`, and what is read there: `here`, three numbers for every
        line (median, lowest, highest), 0 where it has none.
        """
        lines = self.lines()
        begin, *rest = self.domain()
        cut = [_cut(line.band, begin) for line in lines]
        read = {(line.label, line.kind): numbers for line, *numbers in self.readings()}
        return {
            "counts": np.array([len(band.x) for band in cut]),
            **{name: np.concatenate([getattr(band, name) for band in cut] or [[]]) for name in Band._fields},
            "domain": np.array([begin, *rest]),
            "position": np.array([self.position()]),
            "here": np.array([read.get((line.label, line.kind), [0.0] * 3) for line in lines]),
        }

    def figure(self) -> Figure:
        """The curves, with their names beside their ends and a line where they are read."""
        begin, end, low, high = self.domain()
        drawn = []
        for line in self.lines():
            colour, dashed = self._looks[line.variant]
            shade, looks = getattr(style, colour.upper()), line.kind == "validation"
            drawn.append(run_curves.RunCurve(line.variant, _cut(line.band, begin), shade, dashed, looks))
        return run_curves.run_curves(
            drawn,
            xlabel=self.axis,
            ends=(begin, end, low, high),
            scales=("log" if self.log_x else "linear", "log" if self.log_y else "linear"),
            position=self.position(),
        )

    def description(self) -> str:
        """The picture in words."""
        unit = "bytes" if self.axis == "bytes read" else "seconds"
        names = dict.fromkeys(line.variant for line in self.lines())
        read = ", ".join(f"{line.label} ({line.kind}) {median:.3f}" for line, median, _, _ in self.readings())
        return (
            f"Bits per byte against {self.axis} for {', '.join(names) or 'no run'}. "
            f"At {self.position():,.0f} {unit}: {read or 'no run has a value there'}."
        )


def _given(runs: Mapping[str, Log], variants: Mapping[str, str]) -> RunCollection:
    """The runs that the reader gave."""
    if not runs:
        raise ValueError("runs must hold at least one run, got none; leave the argument out for recorded runs")
    if unknown := sorted(set(variants) - set(runs)):
        raise ValueError(f"variants must name runs that are there, got {', '.join(unknown)}; give runs={unknown} too")
    logs = {label: read_log(log) if isinstance(log, str | os.PathLike) else log for label, log in runs.items()}
    return RunCollection(logs, {label: variants.get(label, label) for label in runs})


def _looks(names: Sequence[str]) -> dict[str, tuple[str, bool]]:
    """The colour of every variant, and whether its line is dashed: the second half is where colours do not suffice."""
    if len(names) > MOST_VARIANTS:
        raise ValueError(
            f"runs must belong to at most {MOST_VARIANTS} variants, for more lines cannot be told apart, "
            f"got {len(names)}; pass fewer, or say in variants which runs are seeds of one variant"
        )
    solid = len(names) if len(names) <= len(COLOURS) else -(-len(names) // 2)
    return {name: (COLOURS[index % solid], index >= solid) for index, name in enumerate(names)}


def _curves(label: str, rows: Sequence[LogRow], points: int) -> dict[str, Curve]:
    """The two curves of a run, rounded to what a picture shows, so that a page stays small."""
    if not rows:
        raise ValueError(f"runs[{label!r}] must hold at least one row of a log, got none; train a step first")
    curves = {"training": training_curve(rows, points), "validation": validation_curve(rows, points)}
    for kind, curve in curves.items():
        if not all(np.isfinite(column).all() for column in curve):
            raise ValueError(f"runs[{label!r}] must hold finite numbers, got others in {kind}; cut the log before them")
        curves[kind] = curve._replace(seconds=curve.seconds.round(3), bits=curve.bits.round(4))
    return curves


def _short(value: float) -> float:
    """A whole number without its ".0", so that a page stays small."""
    return int(value) if value == int(value) else float(value)


def _cut(band: Band, begin: float) -> Band:
    """The part of a band from `begin` on, with a point at `begin` itself where the band crosses it."""
    later = band.x >= begin
    if not later.any() or later.all() or begin in band.x:
        return Band(*(values[later] for values in band))
    edge = (np.array([begin]), *(np.array([np.interp(begin, band.x, values)]) for values in band[1:]))
    return Band(*(np.concatenate([first, values[later]]) for first, values in zip(edge, band, strict=True)))

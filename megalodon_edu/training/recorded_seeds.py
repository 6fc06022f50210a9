"""Recorded runs to hold a run against: several seeds of the same settings, thinned so that they ship in few rows.

A recording of seeds is a folder with `seed-N.csv`, a log as `training.log` writes it, for every seed N, and run.json:
the situation, configuration, windows and options of all runs, and in `runs`, by seed, validation score and seconds.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from megalodon_edu.recordings import names, recording
from megalodon_edu.training.curves import Numbers, training_curve
from megalodon_edu.training.log import COLUMNS, LogRow, read_log
from megalodon_edu.training.situation import Situation
from megalodon_edu.training.whole_file import whole_file

POINTS = 150
"""Rows of a thinned log, besides those with a look at validation."""


class RecordedSeeds(NamedTuple):
    """The rows of every recorded run by its label, the recording's name, and whether it is of the very settings."""

    runs: dict[str, list[LogRow]]
    name: str
    same: bool

    @property
    def curves(self) -> list[tuple[Numbers, Numbers]]:
        """(steps, bits per byte) of every run, each array of the shape (point,): what `plots.training_band` reads."""
        return [
            (np.array([row.step for row in rows], dtype=float), np.array([row.loss for row in rows]) / math.log(2))
            for rows in self.runs.values()
        ]

    @property
    def sentence(self) -> str:
        """What the runs are, for a reader who holds a run against them."""
        device = recording(self.name).about["environment"]["device"]
        if self.same:
            return f"Recorded: {len(self.runs)} seeds of this very run, on an {device}."
        return (
            f"Recorded: {self.name}, one run of another size on an {device}. There are no seeds of this run yet; "
            "read the verdict with care."
        )


def recorded_seeds(situation: Situation) -> RecordedSeeds:
    """The seeds of a situation's run where they were recorded, else the run that stands in for them."""
    if situation.band in names():
        return RecordedSeeds(read_seeds(recording(situation.band).folder), situation.band, True)
    log = recording(situation.stand_in).folder / "log.csv"
    return RecordedSeeds({situation.stand_in: read_log(log)}, situation.stand_in, False)


def read_seeds(folder: Path) -> dict[str, list[LogRow]]:
    """The log of every seed in a folder by its label, "seed N", in the order of N. Errors as `read_log`."""
    numbers = sorted(int(path.stem.removeprefix("seed-")) for path in folder.glob("seed-*.csv"))
    return {f"seed {number}": read_log(seed_log(folder, number)) for number in numbers}


def seed_log(folder: Path, seed: int) -> Path:
    """The file of one seed."""
    return folder / f"seed-{seed}.csv"


def thinned(rows: Sequence[LogRow], points: int = POINTS) -> list[LogRow]:
    """A log in fewer rows: those at the points of `training_curve`, and those that looked at validation.

    The loss of a row is the mean since the row before it. Errors as `training_curve`.
    """
    ends = set(training_curve(rows, points).steps.astype(int).tolist())
    kept, losses = [], []
    for row in rows:
        losses.append(row.loss)
        if row.step in ends or row.validation_bits_per_byte is not None:
            kept.append(replace(row, loss=math.fsum(losses) / len(losses)))
            losses = []
    return kept


def save_seed(path: Path, rows: Sequence[LogRow]) -> None:
    """Write a log with numbers of six digits. The file is whole, or not there."""
    with whole_file(path) as file:
        csv.writer(file).writerow(COLUMNS)
        for row in rows:
            csv.writer(file).writerow([f"{v:.6g}" if isinstance(v, float) else v for v in astuple(row)])

"""The bits of every window as lines of a table, and what they say: means, and paired differences with intervals."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from megalodon_edu.studies.bootstrap import RESAMPLES, Interval, block_length, mean_interval
from megalodon_edu.training.whole_file import whole_file


class Line(NamedTuple):
    """The bits of one window."""

    reader: str
    book: str
    split: str
    context: int
    window: int
    start: int
    bits: float


def summary(
    lines: Sequence[Line], baseline: str, training_context: int, length: int, seed: int = 0
) -> list[dict[str, Any]]:
    """A row for each reader, book and context: bits per byte, and paired differences, each as [mean, low, high].

    minus_training_context and minus_nothing: to the same windows after T and after 0 bytes. minus_baseline: to another
    reader after the same context. None: not measured, or the row itself.
    """
    found: dict[tuple[str, str, int], list[float]] = {}
    for line in lines:
        found.setdefault((line.reader, line.book, line.context), []).append(line.bits)
    bits = {key: np.array(row) / length for key, row in found.items()}
    splits = {line.book: line.split for line in lines}

    def difference(own: tuple[str, str, int], other: tuple[str, str, int]) -> list[float] | None:
        if other == own or other not in bits:
            return None
        return _rounded(mean_interval(bits[own] - bits[other], seed=seed))

    rows = []
    for own, row in sorted(bits.items(), key=lambda item: (splits[item[0][1]], item[0][1], item[0][0], item[0][2])):
        reader, book, context = own
        rows.append(
            {
                "reader": reader,
                "book": book,
                "split": splits[book],
                "context": context,
                "windows": len(row),
                "block": block_length(len(row)),
                "resamples": RESAMPLES,
                "bits_per_byte": _rounded(mean_interval(row, seed=seed)),
                "minus_training_context": difference(own, (reader, book, training_context)),
                "minus_nothing": difference(own, (reader, book, 0)),
                "minus_baseline": difference(own, (baseline, book, context)),
            }
        )
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The summary as text: bits per byte, and the difference to T with its interval of 95 %."""
    lines = [f"{'reader':<30} {'book':<18} {'split':<10} {'context':>8}  bits per byte  difference to T"]
    for row in rows:
        change = row["minus_training_context"]
        said = "" if change is None else "{:+.4f} ({:+.4f} .. {:+.4f})".format(*change)
        head = f"{row['reader']:<30} {row['book']:<18} {row['split']:<10} {row['context']:>8,}"
        lines.append(f"{head}  {row['bits_per_byte'][0]:13.4f}  {said}".rstrip())
    return "\n".join(lines)


def save_lines(path: Path, lines: Sequence[Line]) -> None:
    """Write a CSV file. At every moment it is whole, or the one before."""
    with whole_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Line._fields)
        writer.writerows(lines)


def read_lines(path: Path) -> list[Line]:
    """The lines of a windows.csv. Raises ValueError if the file is something else."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    if tuple(header) != Line._fields:
        raise ValueError(f"{path} holds no windows: its first line must be {','.join(Line._fields)}")
    return [
        Line(reader, book, split, int(context), int(window), int(start), float(bits))
        for reader, book, split, context, window, start, bits in rows
    ]


def _rounded(interval: Interval) -> list[float]:
    return [round(value, 6) for value in interval]

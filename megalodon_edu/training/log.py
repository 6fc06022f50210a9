"""The log of a run: one row of CSV for every step."""

import csv
import os
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType


@dataclass(frozen=True)
class LogRow:
    """One step. `step` counts finished steps from 1; `loss` is in nats per byte, the validation score in bits."""

    step: int
    tokens: int
    seconds: float
    loss: float
    learning_rate: float
    gradient_norm: float
    validation_bits_per_byte: float | None = None


COLUMNS = tuple(field.name for field in fields(LogRow))


def read_log(path: str | os.PathLike) -> list[LogRow]:
    """Return the rows of a log. A last line cut short by a crash is left out.

    Raises FileNotFoundError if there is no log, ValueError if the file is something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must name a training log, but there is no file {path}; a run writes log.csv")
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]  # a crash may cut the last line short
    lines = list(csv.reader(whole.splitlines()))
    if not lines or tuple(lines[0]) != COLUMNS:
        raise ValueError(f"{path} is not a training log: its first line must be {','.join(COLUMNS)}")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            step, tokens, seconds, loss, rate, norm, validation = line
            score = float(validation) if validation else None
            rows.append(LogRow(int(step), int(tokens), float(seconds), float(loss), float(rate), float(norm), score))
        except ValueError as error:
            raise ValueError(f"line {number} of {path} is no row of a training log: {','.join(line)!r}") from error
    return rows


class LogWriter:
    """Appends rows to a log, each written out at once, so that a crash loses none.

    A run resumed after step `done` first drops the rows beyond it: those steps will be taken, and written, again.
    """

    def __init__(self, path: Path, done: int = 0) -> None:
        kept = [row for row in read_log(path) if row.step <= done] if done and path.exists() else []
        partial = path.with_name(path.name + ".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *map(astuple, kept)])
        os.replace(partial, path)
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)

    def append(self, row: LogRow) -> None:
        """Write one row."""
        self._writer.writerow(astuple(row))
        self._file.flush()

    def __enter__(self) -> "LogWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

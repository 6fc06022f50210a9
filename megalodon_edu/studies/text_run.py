"""One run on the bundled library: a new model learns from random windows, then all of validation is scored.

    python -m megalodon_edu.studies.text_run '{"name": ..., "model": ..., "config": {...}, ...}' FOLDER

leaves NAME.json, with scores, settings and the environment, and NAME.csv, the log of the training in fewer rows.
There are two scores: of the whole split, each model reading as much before a byte as it can, and of the second halves
of windows as long as those of the training, where every model reads the same.
The seed decides on the initial weights and on the windows: runs of one seed and one `TextBudget` read the same windows
in the same order, whatever their model.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from megalodon_edu.arguments import require_choice, require_positive
from megalodon_edu.data import Document, documents
from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.models import LanguageModel
from megalodon_edu.studies.jobs import Job
from megalodon_edu.training.checkpoint import MODEL_KINDS
from megalodon_edu.training.diagnosis import NonFiniteError
from megalodon_edu.training.evaluation import Evaluation, evaluate, quick_look
from megalodon_edu.training.log import LogRow
from megalodon_edu.training.loop import train
from megalodon_edu.training.options import TrainingOptions
from megalodon_edu.training.recorded_seeds import save_seed
from megalodon_edu.training.window_score import evaluate_windows
from megalodon_edu.training.windows import RandomWindows, concatenate

QUICK_DOCUMENTS, QUICK_BYTES = 2, 600
"""Of each split, for a quick run: so many documents, of the validation split's so many bytes."""


@dataclass(frozen=True)
class TextBudget:
    """How much a run reads: `steps` batches of `batch` windows of `length` bytes, an even number. Every `look_every`
    steps it looks at validation; the log keeps `rows` rows. `quick`: a few documents only, to show that a study works.
    """

    steps: int
    batch: int
    length: int
    warmup_steps: int
    look_every: int
    rows: int = 150
    quick: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "length", "look_every", "rows"):
            require_positive(name, getattr(self, name))
        if self.length % 2:
            raise ValueError(f"length must be even, so that a window has halves, got {self.length}")

    @property
    def tokens(self) -> int:
        """All bytes that the run reads, some of them more than once."""
        return self.steps * self.batch * self.length


@dataclass(frozen=True)
class TextRun:
    """A run before it is made. model: a kind of `training.checkpoint.MODEL_KINDS`, config: its `to_dict()`."""

    name: str
    model: str
    config: dict[str, Any]
    seed: int
    learning_rate: float
    budget: TextBudget
    compile: str = "off"

    def job(self, folder: Path, device: torch.device) -> Job:
        """The run as a process of its own, which leaves its files in the folder."""
        arguments = ("-m", __name__, json.dumps(asdict(self)))
        return Job(self.name, (*arguments, str(folder), "--device", str(device)), folder / f"{self.name}.json")

    def build(self) -> LanguageModel:
        """The new model. Raises ValueError for an unknown kind or a configuration that does not fit it."""
        require_choice("model", self.model, MODEL_KINDS)
        kind, config = MODEL_KINDS[self.model]
        torch.manual_seed(self.seed)
        return kind(config.from_dict(self.config))


def make(run: TextRun, folder: Path, device: torch.device) -> dict[str, Any]:
    """Train and score the model, write both files and return what NAME.json says.

    A loss that is no longer finite ends a run, too: the scores are then None and "diverged" says what happened.
    """
    begin = time.perf_counter()
    budget = run.budget
    few = QUICK_DOCUMENTS if budget.quick else None
    windows = RandomWindows(concatenate(documents("train")[:few]), budget.batch, budget.length, run.seed, "library")
    held_out = documents("validation")[:few]
    options = TrainingOptions(
        steps=budget.steps,
        learning_rate=run.learning_rate,
        warmup_steps=budget.warmup_steps,
        compile=run.compile,
        evaluate_every=budget.look_every,
        checkpoint_steps=budget.steps,
        checkpoint_seconds=1e6,
    )
    model = run.build().to(device)
    rows: list[LogRow] = []
    most = QUICK_BYTES if budget.quick else None
    beginnings = [replace(one, text=one.text[:QUICK_BYTES]) for one in held_out] if budget.quick else held_out
    score: Evaluation | None = None
    halves: Evaluation | None = None
    diverged: str | None = None
    try:
        train_watched(model, windows, options, held_out, rows, most)
        score = evaluate(model, held_out, most)
        halves = evaluate_windows(model, beginnings, budget.length)
    except NonFiniteError as error:
        diverged = str(error)
    if score is not None and not math.isfinite(score.bits_per_byte):
        score, halves, diverged = None, None, "the score of the trained model is not finite"
    if rows:
        save_log(folder / f"{run.name}.csv", rows, budget.rows)
    seconds = rows[-1].seconds if rows else 0.0
    found = {
        "run": asdict(run),
        "parameters": model.parameter_count(),
        "options": asdict(options),
        "windows": windows.description(),
        "tokens": rows[-1].tokens if rows else 0,
        "training_seconds": round(seconds, 3),
        "seconds": round(time.perf_counter() - begin, 3),
        "validation": None if score is None else score.to_dict(),
        "second_halves": None
        if halves is None
        else {"window": budget.length, "scored": halves.scored, "bits_per_byte": halves.bits_per_byte},
        "diverged": diverged,
        "environment": environment(device),
    }
    save_json(folder / f"{run.name}.json", found)
    return found


def train_watched(
    model: LanguageModel,
    windows: RandomWindows,
    options: TrainingOptions,
    held_out: Sequence[Document],
    rows: list[LogRow],
    most: int | None = None,
) -> None:
    """Train the model in place, and append each step's row to `rows`, its seconds without those of the looks.

    most: bytes of every document that a look reads; None: as many as `quick_look`. No checkpoint stays.
    Errors as `train`; the rows before one are there.
    """
    looking = 0.0

    def look(model: LanguageModel) -> float:
        nonlocal looking
        before = time.perf_counter()
        bits = quick_look(model, held_out) if most is None else evaluate(model, held_out, most).bits_per_byte
        looking += time.perf_counter() - before
        return bits

    def keep(row: LogRow) -> None:
        rows.append(replace(row, seconds=row.seconds - looking))

    with tempfile.TemporaryDirectory() as checkpoints:
        train(model, windows, options, checkpoints, [keep], look, progress_bar=False)


def save_log(path: Path, rows: Sequence[LogRow], most: int) -> None:
    """Write at most `most` rows as a training log, each with the mean loss since the one before it.

    Rows with a look at validation are among them, unless there are more than `most`. The file is whole, or not there.
    """
    step = max(1, -(-len(rows) // most))
    kept, losses = [], []
    for number, row in enumerate(rows, start=1):
        losses.append(row.loss)
        if number % step == 0 or number == len(rows) or row.validation_bits_per_byte is not None:
            kept.append(replace(row, loss=math.fsum(losses) / len(losses)))
            losses = []
    save_seed(path, kept)


def read_runs(folder: Path, runs: Sequence[TextRun]) -> dict[str, dict[str, Any]]:
    """What is there of the runs: NAME.json by name. Raises ValueError for one that was made with other settings."""
    found = {}
    for run in runs:
        path = folder / f"{run.name}.json"
        if not path.exists():
            continue
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["run"] != json.loads(json.dumps(asdict(run))):
            differing = [key for key, value in asdict(run).items() if said["run"].get(key) != value]
            raise ValueError(
                f"{path} was made with other settings ({', '.join(differing)}); choose another folder or remove it"
            )
        found[run.name] = said
    return found


def bits(found: dict[str, Any], score: str = "validation") -> float | None:
    """A score of a run in bits per byte, "validation" or "second_halves"; None for a run that diverged."""
    return None if found[score] is None else float(found[score]["bits_per_byte"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Make one run."""
    parser = argparse.ArgumentParser(description="Train a new model on the library and score it on validation.")
    parser.add_argument("run", help="the run's settings as JSON")
    parser.add_argument("folder", type=Path, help="where NAME.json and NAME.csv go")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    args = parser.parse_args(arguments)
    said = json.loads(args.run)
    run = TextRun(**{**said, "budget": TextBudget(**said["budget"])})
    found = make(run, args.folder, args.device)
    score = bits(found)
    ending = found["diverged"] if score is None else f"{score:.4f} bits per byte of validation"
    print(f"{run.name}: {ending}, after {found['training_seconds']:.0f} s of training")


if __name__ == "__main__":
    main()

"""What can be fetched back from the past, inside a chunk and beyond it?

Two tasks are trained at a length of 256 tokens, two chunks of Megalodon's, and asked for at up to 1,048,576: induction
heads (`studies.induction`) and associative recall (`studies.associative_recall`). Megalodon, the same without its
moving average, and a Transformer with as many parameters as the first learn from the same sequences. Each model's
learning rate is chosen with the first seed, by the accuracy at the training length on sequences kept apart; the other
seeds take it over.

Trained models of text are asked for a number hidden in a book, and for passages that come twice (`studies.passkey`).

Written into the folder: runs/*.json, one for every run, which are what a second call goes on from; tests.csv, every
count; run.json, the accuracy of each seed, their mean and 95 % interval, and what the models of text gained.
"""

import csv
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from megalodon_edu.arguments import require_choice
from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.studies.jobs import Job, JobsReport, run_jobs
from megalodon_edu.studies.recall_run import MODELS, TASKS, Tally, sizes
from megalodon_edu.studies.statistics import described
from megalodon_edu.training.whole_file import whole_file

LEARNING_RATES = (1e-3, 4e-3)
SEEDS = (0, 1, 2)
PASSKEY = "passkey"
PARTS = (*TASKS, PASSKEY)


class Recall(NamedTuple):
    """One run of `recall_run`."""

    task: str
    model: str
    seed: int
    rate: float

    @property
    def name(self) -> str:
        """Of its file and its log."""
        return f"{self.task}-{self.model}-{self.seed}-{self.rate:g}"


def record(
    folder: Path,
    device: torch.device,
    *,
    checkpoint: Sequence[str] = ("bookworm",),
    chunk: int | None = None,
    only: Sequence[str] = (),
    seeds: Sequence[int] = SEEDS,
    learning_rates: Sequence[float] = LEARNING_RATES,
    steps: int = 0,
    jobs: int = 1,
    seconds: float | None = None,
    quick: bool = False,
) -> None:
    """Make the runs that are missing and write tests.csv and run.json.

    checkpoint: trained models of text, as after --checkpoint. chunk: in bytes, the unit of distance for those that are
    Transformers. only: some of induction, associative-recall, passkey. seeds: the first chooses the learning rates.
    steps: of training; 0: 4000. jobs: processes at once. seconds: limit of this call. quick: tiny models, a few steps.

    Raises ValueError for an unknown part and a folder with runs of other settings.
    """
    begin = time.perf_counter()
    for part in only:
        require_choice("only", part, PARTS)
    parts = [part for part in PARTS if not only or part in only]
    tasks = [part for part in parts if part != PASSKEY]
    options = ["--device", str(device), *(["--quick"] if quick else [])]
    first = [Recall(task, model, seeds[0], rate) for task in tasks for rate in learning_rates for model in MODELS]
    readers = (["untrained"] if quick else list(checkpoint)) if PASSKEY in parts else []
    asked = [_passkey_job(folder, name, chunk, options) for name in readers]

    def make(runs: Sequence[Recall], others: Sequence[Job]) -> JobsReport:
        left = None if seconds is None else max(0.1, seconds - (time.perf_counter() - begin))
        made = [_recall_job(folder, run, steps, options) for run in runs]
        return run_jobs([*others, *made], jobs, folder / "logs", left)

    _read(folder, first, steps, quick)
    reports = [make(first, asked)]
    chosen = chosen_rates(_read(folder, first, steps, quick))
    rest = [Recall(*pair, seed, rate) for pair, rate in chosen.items() for seed in seeds[1:]]
    _read(folder, rest, steps, quick)
    if not reports[0].unfinished:  # else a rate that was not tried yet might be the better one
        reports.append(make(rest, []))
    found = _read(folder, [*first, *rest], steps, quick)
    answers = {job.name: json.loads(job.result.read_text("utf-8")) for job in asked if job.result.exists()}
    _save_tests(folder / "tests.csv", found)
    about = {
        "study": "retrieval",
        "command": _command(parts, [] if quick else readers, chunk, seeds, learning_rates),
        "seed": seeds[0],
        "complete": all(report.complete for report in reports),
        "failed": [name for report in reports for name in report.failed],
        "unfinished": [name for report in reports for name in report.unfinished],
        "seeds": list(seeds),
        "learning_rates": list(learning_rates),
        "tasks": {task: summary(found, task, chosen) for task in tasks},
        "passkey": {
            name: {key: value for key, value in said.items() if key not in ("columns", "rows")}
            for name, said in answers.items()
        },
        "training_tokens": sum(said["training_tokens"] for said in found.values()),
        "run_seconds": round(sum(said["seconds"] for said in [*found.values(), *answers.values()]), 1),
        "wall_seconds_of_the_last_call": round(time.perf_counter() - begin, 1),
        "environment": environment(device),
    }
    save_json(folder / "run.json", about)
    print(table(about), flush=True)


def _command(
    parts: Sequence[str],
    readers: Sequence[str],
    chunk: int | None,
    seeds: Sequence[int],
    learning_rates: Sequence[float],
) -> str:
    words = ["megalodon-edu study retrieval --out FOLDER"]
    if len(parts) < len(PARTS):
        words.append(f"--only {' '.join(parts)}")
    if parts != [PASSKEY]:
        words.append(f"--seeds {' '.join(map(str, seeds))}")
        words.append(f"--learning-rates {' '.join(f'{rate:g}' for rate in learning_rates)}")
    if readers:
        words.append(f"--checkpoint {' '.join(Path(name).name for name in readers)}")
    if chunk is not None:
        words.append(f"--chunk {chunk}")
    return " ".join(words)


def _recall_job(folder: Path, run: Recall, steps: int, options: Sequence[str]) -> Job:
    result = folder / "runs" / f"{run.name}.json"
    words = ["--task", run.task, "--model", run.model, "--seed", str(run.seed), "--rate", f"{run.rate:g}"]
    words += ["--steps", str(steps), "--out", str(result), *options]
    return Job(run.name, ("-m", "megalodon_edu.studies.recall_run", *words), result)


def _passkey_job(folder: Path, checkpoint: str, chunk: int | None, options: Sequence[str]) -> Job:
    name = f"{PASSKEY}-{Path(checkpoint).name}"
    result = folder / "runs" / f"{name}.json"
    words = ["--checkpoint", checkpoint, "--out", str(result), *options]
    words += [] if chunk is None else ["--chunk", str(chunk)]
    return Job(name, ("-m", "megalodon_edu.studies.passkey_run", *words), result)


def _read(folder: Path, runs: Iterable[Recall], steps: int, quick: bool) -> dict[Recall, dict[str, Any]]:
    """The runs that are there. Raises ValueError for one with another budget."""
    found = {}
    for run in runs:
        file = folder / "runs" / f"{run.name}.json"
        if not file.exists():
            continue
        said = json.loads(file.read_text(encoding="utf-8"))
        budget, config = sizes(run.task, steps, quick)
        if said["steps"] != budget.steps or said["chunk"] != config.chunk_size:
            raise ValueError(f"folder {folder} holds runs of other settings, such as {run.name}; choose another folder")
        found[run] = said
    return found


def chosen_rates(found: Mapping[Recall, Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """For every task and model the learning rate of the highest "choice"; of equals that of the lowest last loss."""
    best: dict[tuple[str, str], tuple[tuple[float, float], float]] = {}
    for run, said in found.items():
        merit = (said["choice"], -said["looks"][-1]["loss"])
        pair = run.task, run.model
        if pair not in best or merit > best[pair][0]:
            best[pair] = merit, run.rate
    return {pair: rate for pair, (_, rate) in best.items()}


def summary(
    found: Mapping[Recall, Mapping[str, Any]], task: str, chosen: Mapping[tuple[str, str], float]
) -> dict[str, Any]:
    """For every model of a task: the learning rates tried, and each seed's accuracy in every test, as `described`.

    "where": all questions, or those with the answer "in" the question's chunk or "beyond" it.
    """
    models = {}
    for model in MODELS:
        runs = {run: said for run, said in found.items() if (run.task, run.model) == (task, model)}
        rate = chosen.get((task, model))
        taken = {run.seed: said for run, said in runs.items() if run.rate == rate}
        if not taken:
            continue
        cells: dict[tuple[Any, ...], dict[int, float]] = defaultdict(dict)
        for seed, said in taken.items():
            for cell, share in accuracies([Tally(**row) for row in said["tests"]]).items():
                cells[cell][seed] = share
        one = next(iter(taken.values()))
        models[model] = {
            "parameters": one["parameters"],
            "config": one["config"],
            "tried": {f"{run.rate:g}": said["choice"] for run, said in runs.items() if run.seed == min(taken)},
            "learning_rate": rate,
            "choice": described({seed: said["choice"] for seed, said in taken.items()}),
            "tests": [
                {
                    "test": test,
                    "length": length,
                    "pairs": pairs,
                    "distance": distance,
                    "where": where,
                    **described(seeds),
                }
                for (test, length, pairs, distance, where), seeds in cells.items()
            ],
        }
    any_run = next((said for run, said in found.items() if run.task == task), None)
    about = {key: any_run[key] for key in ("chance", "budget", "chunk")} if any_run else {}
    return {**about, "models": models}


def accuracies(rows: Iterable[Tally]) -> dict[tuple[Any, ...], float]:
    """The share answered right by test, length, pairs, distance (None where a test mixes them) and "where"."""
    asked: dict[tuple[Any, ...], int] = defaultdict(int)
    right: dict[tuple[Any, ...], int] = defaultdict(int)
    for row in rows:
        distance = row.nearest if row.test == "distance" else None
        for where in ("all", "in" if row.same_chunk else "beyond"):
            cell = row.test, row.length, row.pairs, distance, where
            asked[cell] += row.asked
            right[cell] += row.right
    return {cell: right[cell] / count for cell, count in asked.items()}


def _save_tests(path: Path, found: Mapping[Recall, Mapping[str, Any]]) -> None:
    with whole_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*Recall._fields, *Tally._fields])
        for run, said in found.items():
            writer.writerows([*run, *row.values()] for row in said["tests"])


def table(about: Mapping[str, Any]) -> str:
    """The means as text: a line for every model and test of the tasks, and for every distance of the models of text."""
    lines = []
    for task, said in about["tasks"].items():
        for model, one in said["models"].items():
            lines.append(f"{task}, {model}, learning rate {one['learning_rate']:g}, by chance {said['chance']:.3f}")
            for cell in one["tests"]:
                if cell["where"] == "all":
                    what = (
                        f"{cell['distance']} tokens before" if cell["distance"] else f"{cell['pairs'] or 'one'} asked"
                    )
                    seeds = " ".join(f"{share:.3f}" for share in cell["seeds"].values())
                    lines.append(f"    {cell['length']:>9,} tokens, {what:<22} {cell['mean']:.3f}   seeds {seeds}")
    for name, said in about["passkey"].items():
        lines.append(f"{name}: bits per byte gained, chunks of {said['chunk']}")
        for line in said["gains"]:
            if line["gain"] is not None:
                gain = line["gain"]
                interval = f"{gain['mean']:+.3f} ({gain['low']:+.3f} .. {gain['high']:+.3f})"
                lines.append(
                    f"    {line['probe']}, {line['condition']}, {line['distance']:>7,} bytes before: {interval}"
                )
    return "\n".join(lines)

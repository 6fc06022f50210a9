"""Megalodon against a Transformer with as many parameters: same windows, tokens, head, loss and optimiser.

Each model gets a learning rate of its own. A sweep of runs as long as the others, on a seed that is used for nothing
else, scores each rate on the validation split (shorter runs favour higher rates); while the best one is the lowest or
the highest tried, the sweep goes on by another factor of two, at most `EXTENSIONS` times. Then both models train with
several seeds at their best rates, both of a seed on the same windows in the same order.

Both train on windows of 2048 bytes. The Transformer attends to all of a window; Megalodon to chunks of 512, and beyond
them it has its states. Scored is the whole validation split, as `training.evaluation` says: Megalodon reads it as a
stream, the Transformer in windows of its context that overlap by half. A second score gives both the same bytes to
read: that of the second halves of windows of 2048 bytes.

Runs side by side share the GPU, and their seconds tell of their neighbours as well. So each model's speed is measured
at the end, in runs that have the machine to themselves, uncompiled and, on a GPU, compiled: the mean over the second
half of their steps. Loss against seconds is loss against tokens at that speed.

Written into the folder: for every run NAME.json and .csv, then run.json: both sweeps and choices, for each model the
scores of all seeds, their mean and 95 % interval, the differences Megalodon less Transformer, paired by seed, the
looks at validation along the runs, against tokens, and the speeds.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.models import MegalodonConfig, ModelConfig, match_transformer
from megalodon_edu.studies.ablations import BASE, QUICK_BASE
from megalodon_edu.studies.jobs import JobsReport, run_jobs
from megalodon_edu.studies.statistics import described, paired_differences
from megalodon_edu.studies.text_run import TextBudget, TextRun, bits, read_runs
from megalodon_edu.training.log import read_log

SEEDS = (0, 1, 2)
SWEEP_SEED = 100
RATES = (1e-3, 2e-3, 4e-3, 8e-3)
EXTENSIONS = 2
STEPS, SPEED_STEPS = 1000, 200
MODELS = ("megalodon", "transformer")
WORDS = {"off": "uncompiled", "on": "compiled"}


def configurations(quick: bool = False) -> dict[str, ModelConfig]:
    """Both models' sizes; `quick`: tiny ones."""
    megalodon: MegalodonConfig = QUICK_BASE if quick else replace(BASE, chunk_size=512)
    heads, context = (2, 64) if quick else (4, 2048)
    return {"megalodon": megalodon, "transformer": match_transformer(megalodon, num_heads=heads, context_size=context)}


def sweep_run(model: str, rate: float, budget: TextBudget, compile: str) -> TextRun:
    """One run of the sweep."""
    config = configurations(budget.quick)[model].to_dict()
    return TextRun(f"sweep-{model}-{rate:g}", model, config, SWEEP_SEED, rate, budget, compile)


def speed_runs(budget: TextBudget, device: torch.device) -> list[TextRun]:
    """The runs that are timed alone: each model uncompiled, on a GPU compiled too. Their scores are for nothing."""
    steps = 4 if budget.quick else SPEED_STEPS
    short = replace(budget, steps=steps, look_every=steps, rows=steps, warmup_steps=1)
    return [
        TextRun(f"speed-{model}-{WORDS[how]}", model, config.to_dict(), SWEEP_SEED, 1e-3, short, how)
        for how in (("off", "on") if device.type == "cuda" else ("off",))
        for model, config in configurations(budget.quick).items()
    ]


def next_rate(scores: dict[float, float], tried_at_first: Sequence[float]) -> float | None:
    """The rate to try next: half the lowest or twice the highest tried, where that is the best; else None.

    scores: bits per byte by rate, infinite where a run diverged.
    """
    if len(scores) >= len(tried_at_first) + EXTENSIONS or len(tried_at_first) < 2:
        return None
    best = best_rate(scores)
    if best == min(scores):
        return best / 2
    return best * 2 if best == max(scores) else None


def best_rate(scores: dict[float, float]) -> float:
    """The rate with the fewest bits per byte. Raises ValueError if every run diverged."""
    best = min(scores, key=lambda rate: scores[rate])
    if scores[best] == float("inf"):
        raise ValueError(
            f"every rate of the sweep diverged: {', '.join(f'{rate:g}' for rate in scores)}; try lower ones"
        )
    return best


def record(
    folder: Path,
    device: torch.device,
    *,
    seeds: Sequence[int] = SEEDS,
    rates: Sequence[float] = RATES,
    steps: int = STEPS,
    sweep_steps: int | None = None,
    compile: str = "off",
    jobs: int = 1,
    seconds: float | None = None,
    quick: bool = False,
) -> None:
    """Make the runs that are missing, the sweep first, and write run.json over those that are there.

    rates: of the sweep; a single one is taken as it is. sweep_steps: of its runs; None: as many as steps. compile: "on"
    compiles the training step, "off" does not; see `TrainingOptions`. jobs: processes at once. seconds: limit of this
    call. quick: tiny models, two steps and a few documents.

    Raises ValueError for a folder with runs of other settings, and where every rate of a sweep diverged.
    """
    begin = time.perf_counter()
    sweep_steps = steps if sweep_steps is None else sweep_steps
    budget = TextBudget(steps, batch=32, length=2048, warmup_steps=min(100, steps), look_every=50)
    trial = replace(budget, steps=sweep_steps, warmup_steps=min(100, sweep_steps), look_every=max(1, sweep_steps // 4))
    if quick:
        budget = TextBudget(steps=2, batch=2, length=64, warmup_steps=1, look_every=1, quick=True)
        trial = replace(budget, steps=1)

    def make(runs: list[TextRun], at_once: int = jobs) -> JobsReport:
        read_runs(folder, runs)
        left = None if seconds is None else max(0.1, seconds - (time.perf_counter() - begin))
        return run_jobs([run.job(folder, device) for run in runs], at_once, folder / "logs", left)

    sweeps = {model: [sweep_run(model, rate, trial, compile) for rate in sorted(set(rates))] for model in MODELS}
    report = make([run for runs in sweeps.values() for run in runs])
    scores = {model: sweep_scores(folder, runs) for model, runs in sweeps.items()}
    while report.complete:
        more = {model: rate for model in MODELS if (rate := next_rate(scores[model], sorted(set(rates)))) is not None}
        if not more:
            break
        for model, rate in more.items():
            sweeps[model].append(sweep_run(model, rate, trial, compile))
        report = make([sweeps[model][-1] for model in more])
        scores = {model: sweep_scores(folder, runs) for model, runs in sweeps.items()}
    runs: list[TextRun] = []
    timed = speed_runs(budget, device)
    chosen: dict[str, float] = {}
    if report.complete:
        chosen = {model: best_rate(scores[model]) for model in MODELS}
        for seed in seeds:
            for model, config in configurations(quick).items():
                name = f"{model}-{seed}"
                runs.append(TextRun(name, model, config.to_dict(), seed, chosen[model], budget, compile))
        report = make(runs)
    if report.complete:
        report = make(timed, at_once=1)
    found = read_runs(folder, runs)
    about = {
        "study": "comparison",
        "command": f"megalodon-edu study comparison --seeds {' '.join(map(str, seeds))} "
        f"--rates {' '.join(f'{rate:g}' for rate in rates)} --steps {steps} --sweep-steps {sweep_steps} "
        f"--compile {compile} --out FOLDER",
        "seed": seeds[0],
        "config": {model: config.to_dict() for model, config in configurations(quick).items()},
        "complete": report.complete,
        "failed": list(report.failed),
        "unfinished": list(report.unfinished),
        "seeds": list(seeds),
        "sweep": {
            "seed": SWEEP_SEED,
            "budget": {**asdict(trial), "tokens": trial.tokens},
            "bits_per_byte": {
                model: {f"{rate:g}": None if score == float("inf") else score for rate, score in sorted(tried.items())}
                for model, tried in scores.items()
            },
            "chosen": chosen,
        },
        "budget": {**asdict(budget), "tokens": budget.tokens},
        **summary(folder, found, seeds),
        "speed": speeds(folder, timed),
        "run_seconds": round(sum(said["seconds"] for said in found.values()), 1),
        "wall_seconds_of_the_last_call": round(time.perf_counter() - begin, 1),
        "environment": environment(device),
    }
    save_json(folder / "run.json", about)
    print(table(about), flush=True)


def sweep_scores(folder: Path, runs: Sequence[TextRun]) -> dict[float, float]:
    """Bits per byte of the runs that are there, by rate; infinite where one diverged."""
    found = read_runs(folder, runs)
    scores = {run.learning_rate: bits(found[run.name]) for run in runs if run.name in found}
    return {rate: float("inf") if score is None else score for rate, score in scores.items()}


def summary(folder: Path, found: dict[str, dict[str, Any]], seeds: Sequence[int]) -> dict[str, Any]:
    """Both models' scores and looks, and the paired differences, of the runs that are there."""
    models: dict[str, Any] = {}
    scores: dict[str, dict[int, float]] = {}
    halves: dict[str, dict[int, float]] = {}
    for model in MODELS:
        made = {seed: found[f"{model}-{seed}"] for seed in seeds if f"{model}-{seed}" in found}
        scores[model], halves[model] = (
            {seed: score for seed, said in made.items() if (score := bits(said, which)) is not None}
            for which in ("validation", "second_halves")
        )
        if not made:
            continue
        first = next(iter(made.values()))
        models[model] = {
            "parameters": first["parameters"],
            "config": first["run"]["config"],
            "learning_rate": first["run"]["learning_rate"],
            "diverged": {str(seed): said["diverged"] for seed, said in made.items() if said["diverged"]},
            "bits_per_byte": described(scores[model]) if scores[model] else None,
            "second_halves": described(halves[model]) if halves[model] else None,
            "looks": {str(seed): looks(folder / f"{model}-{seed}.csv") for seed in made},
        }
    return {
        "models": models,
        "megalodon_less_transformer": _difference(scores),
        "megalodon_less_transformer_in_second_halves": _difference(halves),
    }


def _difference(scores: dict[str, dict[int, float]]) -> dict[str, object] | None:
    ours, theirs = (scores[model] for model in MODELS)
    return described(paired_differences(ours, theirs)) if ours.keys() & theirs.keys() else None


def speeds(folder: Path, runs: Sequence[TextRun]) -> dict[str, dict[str, int]]:
    """Bytes a second in training, by model and by "compiled" and "uncompiled", of the timed runs that are there."""
    found: dict[str, dict[str, int]] = {}
    for run in runs:
        if run.name in read_runs(folder, [run]):
            late = read_log(folder / f"{run.name}.csv")[run.budget.steps // 2 - 1 :]
            tokens, seconds = late[-1].tokens - late[0].tokens, late[-1].seconds - late[0].seconds
            found.setdefault(run.model, {})[WORDS[run.compile]] = round(tokens / seconds)
    return found


def looks(log: Path) -> dict[str, list[float]]:
    """The quick looks at validation along a run: tokens read, bits per byte."""
    rows = [row for row in read_log(log) if row.validation_bits_per_byte is not None] if log.exists() else []
    return {
        "tokens": [row.tokens for row in rows],
        "bits_per_byte": [row.validation_bits_per_byte or 0.0 for row in rows],
    }


def table(about: dict[str, Any]) -> str:
    """The sweeps, the scores and the difference as text."""
    lines = []
    for model, tried in about["sweep"]["bits_per_byte"].items():
        said = ", ".join(f"{rate}: {'diverged' if score is None else f'{score:.4f}'}" for rate, score in tried.items())
        lines.append(f"{model}, sweep: {said}")
    for model, said in about["models"].items():
        score = said["bits_per_byte"]
        seeds = "-" if score is None else ", ".join(f"{value:.4f}" for value in score["seeds"].values())
        lines.append(
            f"{model}, {said['parameters']:,} parameters, rate {said['learning_rate']:g}: {seeds} bits per byte"
        )
    for name, what in (("", "whole texts"), ("_in_second_halves", "second halves of windows")):
        if difference := about[f"megalodon_less_transformer{name}"]:
            lines.append(f"Megalodon less Transformer, {what}: {difference['mean']:+.4f}")
            if difference["low"] is not None:
                lines[-1] += f" (95 % interval {difference['low']:+.4f} .. {difference['high']:+.4f})"
    for model, measured in about["speed"].items():
        said = ", ".join(f"{speed:,} bytes a second {how}" for how, speed in measured.items())
        lines.append(f"{model} alone: {said}")
    return "\n".join(lines)

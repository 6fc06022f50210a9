"""Does each part of Megalodon earn its place? One part changed or left out at a time, equal tokens, several seeds.

All variants train on the same number of bytes with the same options, and variants of one seed on the same windows in
the same order, so differences to the full model are paired by seed. One learning rate for all: it suits the full model,
and a variant might do better at another. Leaving a part out takes its parameters along, see "parameters".

Written into the folder: for every run NAME-SEED.json and .csv, then run.json: for every variant the score (bits per
byte of the whole validation split) of each seed, their mean and 95 % interval, and the same of the differences to
"full".
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from megalodon_edu.arguments import require_choice
from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.models import Megalodon, MegalodonConfig
from megalodon_edu.studies.jobs import run_jobs
from megalodon_edu.studies.statistics import described, paired_differences
from megalodon_edu.studies.text_run import TextBudget, TextRun, bits, read_runs

SEEDS = (0, 1, 2)
LEARNING_RATE = 3e-3
STEPS = 1000
FULL = "full"

BASE = MegalodonConfig(
    num_layers=4,
    model_dim=256,
    ffn_hidden_dim=512,
    num_heads=1,
    z_dim=128,
    value_dim=512,
    cema_ndim=16,
    chunk_size=256,
    norm_num_groups=16,
    swiglu=True,
)
QUICK_BASE = replace(
    BASE, num_layers=1, model_dim=16, ffn_hidden_dim=24, z_dim=8, value_dim=16, cema_ndim=2, chunk_size=16,
    norm_num_groups=4,
)  # fmt: skip


class Variant(NamedTuple):
    """What differs from the full model, as changes of its configuration, and in words."""

    changes: dict[str, Any]
    about: str


VARIANTS = {
    FULL: Variant({}, "Megalodon: CEMA, Timestep Norm, normalized attention, two-hop residual, chunks of 256"),
    "real-ema": Variant({"ema": "real"}, "the moving average without rotation: angles 0, real output weights"),
    "no-ema": Variant({"ema": "none"}, "no moving average; beyond its chunk it sees the past through the norm only"),
    "layer-norm": Variant({"norm": "layer"}, "LayerNorm for Timestep Norm; it sees the past through CEMA only"),
    "decay-norm": Variant({"norm": "decay"}, "Gecko's timestep decay norm for Timestep Norm"),
    "unnormalized": Variant({"normalize_z": False}, "no norm on the shared queries and keys"),
    "pre-norm": Variant({"residual": "pre-norm"}, "the usual two residuals for the two-hop residual"),
    "no-attention": Variant({"attention": False}, "no attention: update = W_h1 mx + b, with its parameters gone"),
    "no-attention-wide": Variant({"attention": False}, "the same with a feed-forward wide enough for equal parameters"),
    "chunk-64": Variant({"chunk_size": 64}, "chunks of 64"),
    "chunk-1024": Variant({"chunk_size": 1024}, "chunks of 1024"),
}


def configuration(name: str, base: MegalodonConfig = BASE) -> MegalodonConfig:
    """The configuration of a variant. Raises ValueError for one that is not among `VARIANTS`."""
    require_choice("name", name, VARIANTS)
    changed = replace(base, **VARIANTS[name].changes)
    return as_large(changed, base) if name.endswith("-wide") else changed


def as_large(config: MegalodonConfig, model: MegalodonConfig) -> MegalodonConfig:
    """`config` with the feed-forward width that brings its parameters nearest to those of `model`."""
    with torch.device("meta"):
        missing = Megalodon(model).parameter_count() - Megalodon(config).parameter_count()
    per_width = (3 if config.swiglu else 2) * config.num_layers * config.model_dim
    return replace(config, ffn_hidden_dim=max(1, config.ffn_hidden_dim + round(missing / per_width)))


def runs_of(names: Sequence[str], seeds: Sequence[int], budget: TextBudget, rate: float, compile: str) -> list[TextRun]:
    """All runs, those of the first seed first: a study that is stopped has whole seeds."""
    base = QUICK_BASE if budget.quick else BASE
    return [
        TextRun(f"{name}-{seed}", "megalodon", configuration(name, base).to_dict(), seed, rate, budget, compile)
        for seed in seeds
        for name in names
    ]


def record(
    folder: Path,
    device: torch.device,
    *,
    seeds: Sequence[int] = SEEDS,
    only: Sequence[str] = (),
    steps: int = STEPS,
    learning_rate: float = LEARNING_RATE,
    compile: str = "off",
    jobs: int = 1,
    seconds: float | None = None,
    quick: bool = False,
) -> None:
    """Make the runs that are missing and write run.json over those that are there.

    only: some of `VARIANTS`; "full" joins them, for they are compared with it. compile: "on" compiles the training
    step, "off" does not; see `TrainingOptions`. jobs: processes at once. seconds: limit of this call. quick: a tiny
    model, two steps and a few documents.

    Raises ValueError for an unknown variant, and for a folder with runs of other settings.
    """
    begin = time.perf_counter()
    for name in only:
        require_choice("only", name, VARIANTS)
    names = [name for name in VARIANTS if not only or name == FULL or name in only]
    budget = TextBudget(steps, batch=32, length=2048, warmup_steps=min(100, steps), look_every=50)
    if quick:
        budget = TextBudget(steps=2, batch=2, length=64, warmup_steps=1, look_every=1, quick=True)
    runs = runs_of(names, seeds, budget, learning_rate, compile)
    read_runs(folder, runs)
    report = run_jobs([run.job(folder, device) for run in runs], jobs, folder / "logs", seconds)
    found = read_runs(folder, runs)
    about = {
        "study": "ablations",
        "command": f"megalodon-edu study ablations --seeds {' '.join(map(str, seeds))} --steps {steps} "
        f"--learning-rate {learning_rate:g} --compile {compile} --out FOLDER",
        "seed": seeds[0],
        "complete": report.complete,
        "failed": list(report.failed),
        "unfinished": list(report.unfinished),
        "seeds": list(seeds),
        "learning_rate": learning_rate,
        "budget": {**asdict(budget), "tokens": budget.tokens},
        "config": (QUICK_BASE if quick else BASE).to_dict(),
        "variants": summary(found, names, seeds),
        "run_seconds": round(sum(said["seconds"] for said in found.values()), 1),
        "wall_seconds_of_the_last_call": round(time.perf_counter() - begin, 1),
        "environment": environment(device),
    }
    save_json(folder / "run.json", about)
    print(table(about["variants"]), flush=True)


def summary(found: dict[str, dict[str, Any]], names: Sequence[str], seeds: Sequence[int]) -> dict[str, dict[str, Any]]:
    """For every variant with a run: what it is, its parameters, its scores, its differences to "full".

    Seeds that diverged are named and left out of the means.
    """
    runs = {name: {seed: found[f"{name}-{seed}"] for seed in seeds if f"{name}-{seed}" in found} for name in names}
    scores = {
        name: {seed: score for seed, said in made.items() if (score := bits(said)) is not None}
        for name, made in runs.items()
    }
    described_variants: dict[str, dict[str, Any]] = {}
    for name, made in runs.items():
        if not made:
            continue
        shared = scores[name].keys() & scores[FULL].keys()
        differences = paired_differences(scores[name], scores[FULL]) if shared and name != FULL else None
        first = next(iter(made.values()))
        described_variants[name] = {
            **VARIANTS[name]._asdict(),
            "parameters": first["parameters"],
            "config": first["run"]["config"],
            "diverged": {str(seed): said["diverged"] for seed, said in made.items() if said["diverged"]},
            "bits_per_byte": described(scores[name]) if scores[name] else None,
            "difference_to_full": described(differences) if differences else None,
        }
    return described_variants


def table(variants: dict[str, dict[str, Any]]) -> str:
    """The scores and differences as text."""
    lines = [f"{'variant':<18} {'parameters':>10}  bits per byte             difference to full (95 % interval)"]
    for name, said in variants.items():
        lines.append(
            f"{name:<18} {said['parameters']:>10,}  {_words(said['bits_per_byte'], '.4f'):<24}  "
            f"{_words(said['difference_to_full'], '+.4f')}"
            + (f"  diverged: seeds {', '.join(said['diverged'])}" if said["diverged"] else "")
        )
    return "\n".join(lines)


def _words(said: dict[str, Any] | None, form: str) -> str:
    if said is None:
        return "-"
    if said["low"] is None:
        return f"{said['mean']:{form}}"
    return f"{said['mean']:{form}} ({said['low']:{form}} .. {said['high']:{form}})"

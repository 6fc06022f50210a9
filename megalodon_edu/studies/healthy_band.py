"""How far apart do runs lie that differ in nothing but the seed? Several seeds of the run that chapter 12 makes.

The seed decides on the initial weights and on the windows. The learning rate follows the steps alone, without a limit
of time. Written into the folder: for every seed a thinned log, seed-N.csv, and run.json with the settings and, for each
seed, the score (bits per byte of the whole validation split; of the run "cpu" the beginnings of twelve documents) and
the seconds. The folder is a recording: it ships as
megalodon_edu/recordings/NAME, with the name that the situation gives it (small_band, plain_gpu_band or cpu_band).
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from megalodon_edu.arguments import require_above_zero
from megalodon_edu.data import documents
from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.studies.text_run import QUICK_BYTES, QUICK_DOCUMENTS, train_watched
from megalodon_edu.training.evaluation import evaluate
from megalodon_edu.training.log import LogRow
from megalodon_edu.training.recorded_seeds import save_seed, seed_log, thinned
from megalodon_edu.training.situation import CPU, KERNELS, Situation, situation

CPU_DOCUMENTS, CPU_BYTES = 12, 4096
"""Scored of the validation split by the run "cpu": so many documents, so many bytes of each.

The whole split would take longer than the run.
"""


def record(
    folder: Path,
    device: torch.device,
    *,
    run: str = KERNELS,
    seeds: Sequence[int] = (0, 1, 2),
    seconds: float | None = None,
    quick: bool = False,
) -> None:
    """Make the seeds that are missing, one after another, and write run.json after each.

    run: "kernels" (preset small), "plain" (a GPU without the kernels) or "cpu". seconds: begin no further seed after so
    many. quick: two steps of the run "cpu".

    Raises ValueError for an unknown run, and for a folder with seeds of other settings.
    """
    if seconds is not None:
        require_above_zero("seconds", seconds)
    chosen = situation(CPU if quick else run)
    settings = replace(chosen.options, max_seconds=None, checkpoint_seconds=1e6, checkpoint_steps=10**6)
    if quick:
        settings = replace(settings, steps=2, evaluate_every=1)
    chosen = replace(chosen, options=settings, device=device.type)
    path, begin = folder / "run.json", time.perf_counter()
    about = _about(chosen, seeds, device)
    if path.exists():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        for name in ("situation", "config", "options", "windows"):
            if earlier[name] != json.loads(json.dumps(about[name])):
                raise ValueError(f"{path} has other settings ({name}); choose another folder or remove it")
        about["runs"] = earlier["runs"]
    for seed in seeds:
        if str(seed) in about["runs"] or (seconds is not None and time.perf_counter() - begin > seconds):
            continue
        rows, about["runs"][str(seed)] = _one(chosen, seed, device, quick)
        save_seed(seed_log(folder, seed), thinned(rows))
        save_json(path, about)
        said = about["runs"][str(seed)]
        print(f"seed {seed}: {said['bits_per_byte']:.4f} bits per byte of validation,", end=" ")
        print(f"{said['training_seconds']:.0f} s of training, {said['seconds']:.0f} s in all", flush=True)
    if missing := [seed for seed in seeds if str(seed) not in about["runs"]]:
        print(f"The time is up; call again for seeds {', '.join(map(str, missing))}")


def _about(chosen: Situation, seeds: Sequence[int], device: torch.device) -> dict[str, Any]:
    windows = chosen.windows().description()
    del windows["seed"]
    return {
        "study": "band",
        "command": f"megalodon-edu study band --run {chosen.name} --seeds {' '.join(map(str, seeds))} --out FOLDER",
        "seed": seeds[0],
        "situation": chosen.name,
        "backend": chosen.backend,
        "config": chosen.config.to_dict(),
        "options": asdict(chosen.options),
        "windows": windows,
        "environment": environment(device),
        "runs": {},
    }


def _one(chosen: Situation, seed: int, device: torch.device, quick: bool) -> tuple[list[LogRow], dict[str, Any]]:
    """One run: its rows without the time of the looks, and what run.json says of it."""
    begin = time.perf_counter()
    few, most = (QUICK_DOCUMENTS, QUICK_BYTES) if quick else (None, None)
    if chosen.name == CPU and not quick:
        few, most = CPU_DOCUMENTS, CPU_BYTES
    held_out = documents("validation")[:few]
    model = chosen.model(seed).to(device)
    rows: list[LogRow] = []
    train_watched(model, chosen.windows(seed), chosen.options, held_out, rows, QUICK_BYTES if quick else None)
    score = evaluate(model, held_out, most)
    return rows, {
        "bits_per_byte": score.bits_per_byte,
        "scored": score.scored,
        "complete": score.complete,
        "parameters": model.parameter_count(),
        "tokens": rows[-1].tokens,
        "training_seconds": round(rows[-1].seconds, 3),
        "seconds": round(time.perf_counter() - begin, 3),
    }

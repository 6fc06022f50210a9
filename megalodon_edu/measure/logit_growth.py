"""How attention's logits grow while a model trains, with and without the norm on the queries and keys.

    python -m megalodon_edu.measure.logit_growth FOLDER

repeats the recording `logit_growth`: four runs of the preset `tiny`, about 12 minutes of one free core.
"""

import argparse
import csv
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from megalodon_edu.data import documents
from megalodon_edu.measure.attention_logits import attention_statistics
from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.models import Megalodon, MegalodonConfig
from megalodon_edu.training.log import LogRow
from megalodon_edu.training.loop import train
from megalodon_edu.training.options import TrainingOptions
from megalodon_edu.training.windows import RandomWindows, concatenate

LEARNING_RATES = (4e-3, 2e-2)
STEPS, EVERY, BATCH, LENGTH, SEED = 1200, 50, 4, 256, 0
PROBE_BATCH, PROBE_SEED = 16, 1


class Look(NamedTuple):
    """One layer after `step` steps of one run; `bits` is the whole model's loss on the probe, in bits per byte."""

    normalize_z: bool
    learning_rate: float
    step: int
    layer: int
    largest_logit: float
    entropy: float
    bits: float


def logit_growth(
    config: MegalodonConfig,
    windows: RandomWindows,
    probe: Int[Tensor, "batch time"],
    options: TrainingOptions,
    every: int,
) -> list[Look]:
    """Train a new model (initial weights from the windows' seed) and look at the probe before and every `every` steps.

    The probe holds one token more than it predicts from. Errors as `train` and `attention_statistics`.
    """
    torch.manual_seed(windows.seed)
    model = Megalodon(config)
    looks: list[Look] = []

    def look(step: int) -> None:
        with torch.no_grad():
            bits = model.loss(probe).item() / math.log(2)
        for layer, found in enumerate(attention_statistics(model, probe[:, :-1])):
            looks.append(Look(config.normalize_z, options.learning_rate, step, layer, *found, bits))

    def after(row: LogRow) -> None:
        if row.step % every == 0:
            look(row.step)

    look(0)
    with tempfile.TemporaryDirectory() as folder:
        train(model, windows, options, folder, callbacks=[after], progress_bar=False)
    return looks


def save_looks(path: Path, looks: Sequence[Look]) -> None:
    """Write the looks as CSV, numbers with five significant digits."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Look._fields)
        writer.writerows([f"{value:.5g}" if isinstance(value, float) else value for value in look] for look in looks)


def read_looks(path: Path) -> list[Look]:
    """The inverse of `save_looks`. Raises ValueError if the file is something else."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    if tuple(header) != Look._fields:
        raise ValueError(f"{path} holds no looks: its first line must be {','.join(Look._fields)}")
    return [
        Look(normal == "True", float(rate), int(step), int(layer), float(largest), float(entropy), float(bits))
        for normal, rate, step, layer, largest, entropy, bits in lines
    ]


def record(folder: Path) -> None:
    """Make the four runs, one after the other, and write looks.csv and run.json."""
    windows = RandomWindows(concatenate(documents("train")), BATCH, LENGTH, SEED, "library")
    probe = RandomWindows(concatenate(documents("validation")), PROBE_BATCH, LENGTH, PROBE_SEED, "library")
    options = TrainingOptions(steps=STEPS, precision="float32")
    start, looks = time.perf_counter(), []
    for rate in LEARNING_RATES:
        for normalize_z in (False, True):
            config = replace(MegalodonConfig.preset("tiny"), normalize_z=normalize_z)
            looks += logit_growth(config, windows, probe(0), replace(options, learning_rate=rate), EVERY)
            print(f"learning rate {rate:g}, normalize_z={normalize_z}: {looks[-1]}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    save_looks(folder / "looks.csv", looks)
    about = {
        "command": f"python -m {__spec__.name} {folder.name}",
        "environment": environment(torch.device("cpu")),
        "seed": SEED,
        "wall_seconds": round(time.perf_counter() - start, 1),
        "learning_rates": LEARNING_RATES,
        "config": MegalodonConfig.preset("tiny").to_dict(),
        "options": {name: value for name, value in asdict(options).items() if name != "learning_rate"},
        "windows": windows.description(),
        "probe": probe.description(),
    }
    save_json(folder / "run.json", about)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record how attention's logits grow in training.")
    parser.add_argument("folder", type=Path, help="where looks.csv and run.json go")
    record(parser.parse_args().folder)

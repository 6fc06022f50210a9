"""A trained model as it ships: weights without an optimiser, in bfloat16, in files that any host takes.

    folder/run.json                         how the model was trained, what it is, its scores
    folder/weights-00001-of-00002.safetensors, ...

The parameters of the moving averages stay in float32: a long memory lies in the last digits of alpha and delta.
"""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from megalodon_edu.arguments import require_positive
from megalodon_edu.models import LanguageModel
from megalodon_edu.nn import ComplexEMA
from megalodon_edu.training.checkpoint import Checkpoint

SHARD_BYTES = 15_500_000
"""Of the tensors in one file, at most, unless a single one is larger."""

SCORES = "validation.json"


def shipped_weights(model: LanguageModel) -> dict[str, Tensor]:
    """Every parameter by its name on the CPU: bfloat16, those of the moving averages float32."""
    averages = {
        f"{name}.{part}" if name else part
        for name, module in model.named_modules()
        if isinstance(module, ComplexEMA)
        for part, _ in module.named_parameters()
    }
    return {
        name: tensor.detach().to("cpu", torch.float32 if name in averages else torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
    }


def shards(weights: dict[str, Tensor], most_bytes: int = SHARD_BYTES) -> list[dict[str, Tensor]]:
    """The weights in their order, cut so that no part holds more than `most_bytes`, unless a tensor alone does.

    Raises ValueError or TypeError unless `most_bytes` is an integer of at least 1.
    """
    require_positive("most_bytes", most_bytes)
    parts: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in weights.items():
        size = tensor.numel() * tensor.itemsize
        if parts[-1] and used + size > most_bytes:
            parts.append({})
            used = 0
        parts[-1][name] = tensor
        used += size
    return parts


def export(checkpoint: Checkpoint, folder: str | os.PathLike) -> Path:
    """Write a checkpoint's model into a new folder, as it ships; `load_trained` reads it. Return the folder.

    run.json holds what the checkpoint knows, and what the run's own validation.json says of its command and machine.
    Raises FileExistsError if the folder is there already.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"folder {folder} exists already; choose another, or remove it")
    partial = folder.with_name(f"partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    parts = shards(shipped_weights(checkpoint.model))
    for number, part in enumerate(parts, 1):
        save_file(part, partial / f"weights-{number:05}-of-{len(parts):05}.safetensors")
    description = json.dumps(_description(checkpoint), indent=2)
    (partial / "run.json").write_text(description + "\n", encoding="utf-8")
    os.rename(partial, folder)
    return folder


def _description(checkpoint: Checkpoint) -> dict[str, Any]:
    state, model = checkpoint.state, checkpoint.model
    found: dict[str, Any] = {}
    for place in (checkpoint.path, checkpoint.path.parent):
        if (place / SCORES).is_file():
            told = json.loads((place / SCORES).read_text(encoding="utf-8"))
            if told.get("step") == state.step:
                found = {name: told[name] for name in ("command", "environment") if name in told}
    return {
        **found,
        "model": checkpoint.kind,
        "seed": state.windows["seed"],
        "config": model.config.to_dict(),
        "parameters": model.parameter_count(),
        "options": asdict(state.options),
        "windows": state.windows,
        "steps": state.step,
        "seconds": state.seconds,
        "weights": "bfloat16, moving averages float32",
    }

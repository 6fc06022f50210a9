"""Trained models that ship with the course, for those who want to read, generate and look inside without training.

recordings/<name>/run.json               how it was trained, its configuration and its scores
recordings/<name>/*.safetensors          the weights in bfloat16, those of the moving averages in float32
"""

from pathlib import Path

import torch
from safetensors.torch import load_file

from megalodon_edu import recordings
from megalodon_edu.arguments import require_choice
from megalodon_edu.models.config import MegalodonConfig
from megalodon_edu.models.megalodon import Megalodon

WEIGHTS = "*.safetensors"


def pretrained_names() -> list[str]:
    """The recordings that hold weights, in alphabetical order."""
    return [name for name in recordings.names() if _shards(recordings.recording(name).folder)]


def pretrained(name: str, backend: str = "auto") -> Megalodon:
    """A trained Megalodon on the CPU, in evaluation mode, its parameters in float32.

    Raises ValueError for a name that is not among `pretrained_names()`.
    """
    require_choice("name", name, pretrained_names())
    folder, about = recordings.recording(name)
    model = Megalodon(MegalodonConfig.from_dict(about["config"]), backend=backend)
    model.load_state_dict(read_weights(folder))
    return model.eval()


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Every parameter by its name, from all shards in the folder; empty where there are none."""
    weights: dict[str, torch.Tensor] = {}
    for shard in _shards(folder):
        weights |= load_file(shard)
    return weights


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob(WEIGHTS))

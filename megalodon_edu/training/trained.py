"""A trained model by its name: a run, a folder with weights alone, or a model that ships with the course."""

import json
from pathlib import Path

import torch

from megalodon_edu.arguments import require_choice, require_device
from megalodon_edu.models import pretrained_names
from megalodon_edu.models.pretrained import WEIGHTS, read_weights
from megalodon_edu.recordings import recording
from megalodon_edu.training.checkpoint import MODEL_KINDS, Checkpoint, TrainingState, load_checkpoint
from megalodon_edu.training.options import TrainingOptions


def load_trained(name: str, device: torch.device | str = "cpu", backend: str = "auto") -> Checkpoint:
    """Load the checkpoint in the folder `name`, else the shipped model of that name, in evaluation mode.

    The folder may also be one like those that ship: run.json and weights, without an optimiser.
    Raises FileNotFoundError if there is neither, ValueError if a file is not what it should be.
    """
    folder = Path(name)
    if name in pretrained_names() and not folder.exists():
        folder = recording(name).folder
    if (folder / "run.json").is_file() and any(folder.glob(WEIGHTS)):
        return _load_recorded(folder, require_device("device", device), backend)
    try:
        return load_checkpoint(folder, device, backend)
    except FileNotFoundError as error:
        shipped = " or ".join(f"--checkpoint {name}" for name in pretrained_names())
        raise FileNotFoundError(f"{error}. Or take a model that ships with the course: {shipped}") from error


def _load_recorded(folder: Path, device: torch.device, backend: str) -> Checkpoint:
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    kind = about.get("model", "megalodon")
    require_choice(f"{folder / 'run.json'}: model", kind, MODEL_KINDS)
    model_class, config_class = MODEL_KINDS[kind]
    model = model_class(config_class.from_dict(about["config"]), backend=backend)
    model.load_state_dict(read_weights(folder))
    state = TrainingState(about["steps"], about["seconds"], TrainingOptions(**about["options"]), about["windows"])
    return Checkpoint(folder, kind, model.to(device).eval(), state)

"""The trained model that --checkpoint names: a run of the reader's, or a model that ships with the course."""

from pathlib import Path

import torch

from megalodon_edu.arguments import require_device
from megalodon_edu.models import pretrained, pretrained_names
from megalodon_edu.recordings import recording
from megalodon_edu.training.checkpoint import Checkpoint, TrainingState, load_checkpoint
from megalodon_edu.training.options import TrainingOptions

CHECKPOINT_HELP = (
    f"folder of a run or of a checkpoint, or a model that ships with the course: {', '.join(pretrained_names())} "
    "[runs/tiny]"
)


def load_trained(name: str, device: torch.device | str = "cpu", backend: str = "auto") -> Checkpoint:
    """Load the checkpoint in the folder `name`, else the shipped model of that name, in evaluation mode.

    Raises FileNotFoundError if there is neither, ValueError if a file is not what it should be.
    """
    if name in pretrained_names() and not Path(name).exists():
        folder, about = recording(name)
        model = pretrained(name, backend).to(require_device("device", device))
        state = TrainingState(about["steps"], about["seconds"], TrainingOptions(**about["options"]), about["windows"])
        return Checkpoint(folder, "megalodon", model, state)
    try:
        return load_checkpoint(name, device, backend)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}. Or take a model that ships with the course: --checkpoint {pretrained_names()[0]}"
        ) from error

"""The words after --device and --backend."""

import argparse

import torch

from megalodon_edu.arguments import require_device
from megalodon_edu.nn.backend import BACKENDS


def add_backend(parser: argparse._ActionsContainer) -> None:
    """Add the option --backend."""
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="what runs the operators: auto (Triton kernels on a GPU that runs them, else PyTorch), torch, triton, or "
        "reference (the loop of the formulas, slow) [auto]",
    )


def chosen_device(word: str | None) -> torch.device:
    """Return the device a reader named, or without a name the GPU if there is one, else the CPU.

    Raises ValueError for a word that names no device, a kind that is not supported, and a GPU that is not there.
    """
    if word is None:
        word = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(word)
    except RuntimeError as error:
        raise ValueError(f"device must be cpu or cuda, got {word!r}") from error
    require_device("device", device)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {word}: PyTorch finds {torch.cuda.device_count()} GPUs here; take --device cpu")
    return device

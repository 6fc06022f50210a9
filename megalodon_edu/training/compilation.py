"""Whether torch.compile makes the training step: on a GPU it merges what PyTorch does between the kernels."""

from importlib.util import find_spec

import torch

from megalodon_edu.arguments import require_choice
from megalodon_edu.kernels.availability import why_not
from megalodon_edu.training.options import COMPILE


def choose_compile(word: str, device: torch.device) -> tuple[bool, str]:
    """Return the answer for "auto", "on" or "off", and one sentence that says why.

    "auto" compiles on a GPU that runs Triton kernels: there the minute that it takes is soon earned back.
    Raises ValueError for another word, and for "on" where torch.compile has no Triton for a GPU.
    """
    require_choice("compile", word, COMPILE)
    if word == "on":
        if device.type == "cuda" and find_spec("triton") is None:
            raise ValueError('compile "on" needs the package triton for a GPU: pip install triton, or choose "off"')
        return True, "The training step is compiled first, as asked; that can take some minutes."
    if word == "off" or device.type != "cuda" or why_not(device) is not None:
        return False, "The training step runs uncompiled."
    return True, "The training step is compiled first; that takes about a minute."

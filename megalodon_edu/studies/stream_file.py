"""A stream in the middle of its text, as one file: what was written, the model's state, and what is known of both.

The file is whole at every moment, or the one before: whoever is killed goes on from the last one. Nothing in it is
executable (no pickle).
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils import _pytree as pytree


class SavedStream(NamedTuple):
    """The bytes written so far, the state after all of them but the last, and plain values for JSON."""

    written: UInt8[Tensor, " time"]
    state: Any
    about: dict[str, Any]


def save_stream(path: Path, stream: SavedStream) -> None:
    """Write the file, and its folder where there is none."""
    tensors = {"written": stream.written}
    for number, leaf in enumerate(pytree.tree_leaves(stream.state)):
        real = torch.view_as_real(leaf.resolve_conj()) if leaf.is_complex() else leaf
        tensors[_name(number)] = real.detach().cpu().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata={"about": json.dumps(stream.about)})
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def load_stream(path: Path, like: Any) -> SavedStream:
    """The inverse. like: a state of the same model, which says how the parts belong together and on which device.

    Raises ValueError if the file is damaged or holds the state of another model.
    """
    leaves, structure = pytree.tree_flatten(like)
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
            written = file.get_tensor("written")
            parts = [file.get_tensor(_name(number)) for number in range(len(leaves))]
            if len(file.keys()) != len(leaves) + 1:
                raise ValueError(f"{path} holds the state of another model; remove it to begin anew")
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is damaged or of another model: {error}; remove it to begin anew") from error
    state = [
        (torch.view_as_complex(part) if leaf.is_complex() else part).to(leaf.device)
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return SavedStream(written, pytree.tree_unflatten(state, structure), about)


def _name(number: int) -> str:
    return f"state.{number:03d}"

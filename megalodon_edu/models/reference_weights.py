"""Load a state dict in the tensor names of the authors' released code into our Megalodon."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from megalodon_edu.arguments import require_instance
from megalodon_edu.models.megalodon import Megalodon
from megalodon_edu.ops.rotary import frequencies

_RENAMED = (
    (".attention.", ".mega."),
    (".feed_forward.", ".nffn."),
    ("final_norm.", "output.final_norm."),
    ("output.weight", "output.output.weight"),
)
_PRIORS = ("prior_count", "prior_mean", "prior_logv")


def reference_name(name: str) -> str:
    """The released code's name of one of our parameters."""
    for ours, theirs in _RENAMED:
        if ours in name:
            return name.replace(ours, theirs)
    return name


def load_reference_weights(model: Megalodon, state_dict: Mapping[str, Tensor]) -> None:
    """Copy every tensor into the model, in place, or change nothing and raise.

    Buffers (rope frequencies, priors of Timestep Norm) are checked against the model where they are present. With tied
    embeddings the head must repeat the embedding. Raises TypeError for another model or no mapping, ValueError listing
    unknown or missing weights, wrong shapes and buffers that contradict the model.
    """
    require_instance("model", model, Megalodon, "only Megalodon has a released form")
    require_instance("state_dict", state_dict, Mapping, "pass a dict of tensors")
    own = {reference_name(name): tensor for name, tensor in model.state_dict().items()}
    problems: list[str] = []
    for name, tensor in state_dict.items():
        if not isinstance(tensor, Tensor):
            problems.append(f"{name} is a {type(tensor).__name__}, not a tensor")
        elif name not in own:
            problems.extend(_check_extra(model, name, tensor, state_dict))
        elif own[name].shape != tensor.shape:
            problems.append(f"{name} has the shape {tuple(tensor.shape)}, the model wants {tuple(own[name].shape)}")
    if missing := [name for name in own if name not in state_dict]:
        problems.append(f"missing: {', '.join(missing)}")
    if problems:
        raise ValueError("state_dict does not fit the model: " + "; ".join(problems))
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state_dict[name])


def _check_extra(model: Megalodon, name: str, tensor: Tensor, state_dict: Mapping[str, Tensor]) -> Iterator[str]:
    """What is wrong with a tensor that is no parameter of the model, if anything."""
    config = model.config
    norms = [f"layers.{layer}.mega.timenorm" for layer in range(config.num_layers)] + ["output.final_norm"]
    module, _, last = name.rpartition(".")
    if name == "output.output.weight" and config.share_emb:
        embedding = state_dict.get("embed.weight")
        if embedding is None or not torch.equal(embedding, tensor):
            yield f"{name} differs from embed.weight, but the model shares them"
    elif name == "rope.freqs":
        expected = frequencies(config.z_dim // config.num_heads, config.rope_base)
        # Either the frequencies, or for every position (row) the rotations exp(i · position · frequency).
        found = tensor.angle()[1] if tensor.is_complex() and tensor.ndim == 2 and len(tensor) > 1 else tensor
        if found.shape != expected.shape or not torch.allclose(found.double().cpu(), expected, rtol=1e-2, atol=0):
            yield f"{name} is not that of rope_base={config.rope_base}"
    elif last in _PRIORS and module in norms:
        if tensor.any():
            yield f"{name} is not 0, but the model has no prior"
    else:
        yield f"unknown: {name}"

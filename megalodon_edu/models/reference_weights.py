"""Load a state dict in the tensor names of the authors' released code into our Megalodon."""

from collections.abc import Mapping

import torch
from torch import Tensor

from megalodon_edu.models.megalodon import Megalodon
from megalodon_edu.ops.rotary import frequencies

_RENAMED = (
    (".mega.", ".attention."),
    (".nffn.", ".feed_forward."),
    ("output.final_norm.", "final_norm."),
    ("output.output.", "output."),
)
_PRIORS = {"prior_count": 0.0, "prior_mean": 0.0, "prior_logv": 0.0}


def load_reference_weights(model: Megalodon, state_dict: Mapping[str, Tensor]) -> None:
    """Copy every tensor into the model, in place, or change nothing and raise.

    Buffers (rope frequencies, priors of Timestep Norm) are checked against the model where they are present. With tied
    embeddings the head must repeat the embedding. Raises ValueError listing unknown or missing weights, wrong shapes
    and buffers that contradict the model.
    """
    own = dict(model.state_dict())
    found: dict[str, Tensor] = {}
    problems = []
    for name, tensor in state_dict.items():
        ours = name
        for theirs, mine in _RENAMED:
            ours = ours.replace(theirs, mine)
        if ours in own:
            if own[ours].shape != tensor.shape:
                problems.append(f"{name} has the shape {tuple(tensor.shape)}, the model wants {tuple(own[ours].shape)}")
            found[ours] = tensor
        elif problem := _check_extra(model, name, ours, tensor, state_dict):
            problems.append(problem)
    if missing := sorted(set(own) - set(found)):
        problems.append(f"missing: {', '.join(missing)}")
    if problems:
        raise ValueError("state_dict does not fit the model: " + "; ".join(problems))
    with torch.no_grad():
        for name, tensor in found.items():
            own[name].copy_(tensor)


def _check_extra(
    model: Megalodon, name: str, ours: str, tensor: Tensor, state_dict: Mapping[str, Tensor]
) -> str | None:
    """What is wrong with a tensor that is no parameter of the model, or None."""
    if ours == "output.weight" and model.output is None:
        embedding = state_dict.get("embed.weight")
        same = embedding is not None and torch.equal(embedding, tensor)
        return None if same else f"{name} differs from embed.weight, but the model shares them"
    if name == "rope.freqs":
        expected = frequencies(model.config.z_dim // model.config.num_heads, model.config.rope_base)
        angles = tensor.angle()[1] if tensor.is_complex() and tensor.ndim == 2 else tensor
        same = angles.shape == expected.shape and torch.allclose(angles.double().cpu(), expected, rtol=1e-3)
        return None if same else f"{name} is not that of rope_base={model.config.rope_base}"
    module, _, last = ours.rpartition(".")
    if last in _PRIORS and module in dict(model.named_modules()):
        same = bool((tensor == _PRIORS[last]).all())
        return None if same else f"{name} is not 0, but the model has no prior"
    return f"unknown: {name}"

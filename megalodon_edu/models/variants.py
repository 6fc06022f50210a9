"""The same weights under another configuration: what a model does at inference with one of its parts exchanged."""

from dataclasses import replace
from typing import Any, TypeVar

from megalodon_edu.arguments import require_instance
from megalodon_edu.models.language_model import LanguageModel

Model = TypeVar("Model", bound=LanguageModel)


def with_config(model: Model, **changes: Any) -> Model:
    """A new model with the fields of its configuration changed and the parameters of `model`, shared with it.

        faded = with_config(megalodon, norm="decay")           Gecko's fading statistics instead of cumulative ones
        near = with_config(transformer, window=2048)           the last 2048 tokens only, from a bounded cache

    Raises TypeError for another kind of model, and for a field that the configuration does not have; ValueError where
    the new configuration needs other parameters.
    """
    require_instance("model", model, LanguageModel, "pass a Megalodon or a Transformer")
    changed = type(model)(replace(model.config, **changes), backend=model.backend)
    changed.to(next(model.parameters()).device)
    own, given = changed.state_dict(), model.state_dict()
    differing = sorted(name for name in own.keys() | given.keys() if not _same_shape(own.get(name), given.get(name)))
    if differing:
        what = ", ".join(f"{name}={value!r}" for name, value in changes.items())
        raise ValueError(
            f"changes must leave the parameters as they are, but {what} needs others: {', '.join(differing[:3])}"
            f"{' ...' if differing[3:] else ''}; train such a model instead"
        )
    changed.load_state_dict(given, assign=True)
    return changed.train(model.training)


def with_norm(model: Model, norm: str, **decays: float) -> Model:
    """`with_config` for Megalodon's norms: "timestep", "decay" or "layer".

    decays: norm_mean_decay and norm_var_decay, of "decay". Errors as `with_config`.
    """
    return with_config(model, norm=norm, **decays)


def _same_shape(first: Any, second: Any) -> bool:
    return first is not None and second is not None and first.shape == second.shape

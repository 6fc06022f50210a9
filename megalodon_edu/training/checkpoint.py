"""Checkpoints: a folder with everything a run needs to go on, which exists whole or not at all.

    runs/tiny/step-00000500/
        model.safetensors        the parameters
        optimizer.safetensors    AdamW's two averages and its count, named <parameter>/<average>
        config.json              the kind of model and its configuration
        state.json               steps done, seconds spent, options, windows, versions

The folder is written under another name, forced to the disk, then renamed, and only then are older ones removed. So a
crash at any moment leaves a readable checkpoint behind. Nothing in it is executable (no pickle).
"""

import json
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn

from megalodon_edu import __version__
from megalodon_edu.arguments import require_device
from megalodon_edu.models import LanguageModel, Megalodon, MegalodonConfig, ModelConfig, Transformer, TransformerConfig
from megalodon_edu.training.options import TrainingOptions

MODEL_KINDS: dict[str, tuple[type[LanguageModel], type[ModelConfig]]] = {
    "megalodon": (Megalodon, MegalodonConfig),
    "transformer": (Transformer, TransformerConfig),
}
FILES = ("model.safetensors", "optimizer.safetensors", "config.json", "state.json")


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands: steps done, seconds spent, and the choices it was started with."""

    step: int
    seconds: float
    options: TrainingOptions
    windows: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A model as it stood at some step of its training."""

    path: Path
    kind: str
    model: LanguageModel
    state: TrainingState


def checkpoints(folder: str | os.PathLike) -> list[Path]:
    """Return the whole checkpoints in the folder of a run, the oldest first."""
    return sorted(path for path in Path(folder).glob("step-*") if path.is_dir())


def locate(folder: str | os.PathLike) -> Path:
    """Return the checkpoint that a path names: a checkpoint itself, or the newest one of a run's folder.

    Raises FileNotFoundError if there is none, or a file of it is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"checkpoint must name the folder of a run, but there is no folder {folder}; "
            f"train a model first: `megalodon-edu train --out {folder}`"
        )
    found = checkpoints(folder)
    path = found[-1] if found else folder
    missing = [name for name in FILES if not (path / name).is_file()]
    if len(missing) == len(FILES):
        raise FileNotFoundError(f"{folder} holds no checkpoint; train one with `megalodon-edu train`")
    if missing:
        raise FileNotFoundError(f"the checkpoint {path} lacks {', '.join(missing)}; copy the whole folder")
    return path


def save_checkpoint(
    folder: str | os.PathLike, model: LanguageModel, optimizer: torch.optim.Optimizer, state: TrainingState
) -> Path:
    """Write a checkpoint into the folder of a run, remove older ones, and return its path.

    Raises TypeError if the model is none of the kinds that can be loaded again.
    """
    folder = Path(folder)
    target = folder / f"step-{state.step:08d}"
    if target.exists():
        return target
    partial = folder / f"partial-{state.step:08d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_model(model, str(partial / "model.safetensors"))
    save_file(_optimizer_tensors(model, optimizer), partial / "optimizer.safetensors")
    _write_json(partial / "config.json", {"model": _kind(model), "config": model.config.to_dict()})
    _write_json(partial / "state.json", {**asdict(state), "versions": _versions()})
    for name in FILES:
        _force_to_disk(partial / name)
    _force_to_disk(partial)
    os.rename(partial, target)
    _force_to_disk(folder)
    for path in checkpoints(folder):
        if path != target:
            shutil.rmtree(path)
    return target


def load_checkpoint(folder: str | os.PathLike, device: torch.device | str = "cpu", backend: str = "auto") -> Checkpoint:
    """Load a checkpoint, or the newest one of a run's folder, with its model in evaluation mode on that backend.

    Raises FileNotFoundError if there is none or a file is missing, ValueError if a file is not what it should be.
    """
    path = locate(folder)
    kind, model = _build_model(path / "config.json", backend)
    load_weights(path, model)
    return Checkpoint(path, kind, model.to(require_device("device", device)).eval(), read_state(path))


def read_state(path: Path) -> TrainingState:
    """Return where the run stood at a checkpoint.

    Raises ValueError if its state.json is damaged or of another version.
    """
    file = path / "state.json"
    values = _read_json(file)
    try:
        options = TrainingOptions(**values["options"])
        return TrainingState(values["step"], values["seconds"], options, values["windows"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged, or of another version of megalodon-edu: {error}") from error


def _build_model(file: Path, backend: str) -> tuple[str, LanguageModel]:
    values = _read_json(file)
    kind = values.get("model")
    if kind not in MODEL_KINDS:
        raise ValueError(f"{file} names the model {kind!r}; known are {', '.join(MODEL_KINDS)}")
    model_class, config_class = MODEL_KINDS[kind]
    try:
        config = config_class.from_dict(values["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged, or of another version of megalodon-edu: {error}") from error
    return kind, model_class(config, backend=backend)


def load_weights(path: Path, model: LanguageModel) -> None:
    """Fill the model with a checkpoint's parameters.

    Raises ValueError if they do not fit the model or the file is damaged.
    """
    try:
        load_model(model, str(path / "model.safetensors"))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path / 'model.safetensors'} does not fit the model of its config.json: {error}") from error


def restore_optimizer(path: Path, model: LanguageModel, optimizer: torch.optim.Optimizer) -> None:
    """Fill an optimiser, built over this model, with a checkpoint's averages.

    Raises ValueError if they do not fit or the file is damaged.
    """
    file = path / "optimizer.safetensors"
    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    state = optimizer.state_dict()
    for index, (name, parameter) in enumerate(_in_optimizer_order(model, optimizer)):
        try:
            entry = {key: tensors.pop(f"{name}/{key}") for key in ("step", "exp_avg", "exp_avg_sq")}
        except KeyError as error:
            raise ValueError(f"{file} does not fit the model: it lacks {error}") from error
        if entry["exp_avg"].shape != parameter.shape:
            found = tuple(entry["exp_avg"].shape)
            raise ValueError(
                f"{file} does not fit the model: {name} has the shape {tuple(parameter.shape)}, got {found}"
            )
        state["state"][index] = entry
    if tensors:
        raise ValueError(f"{file} does not fit the model: it also holds {', '.join(sorted(tensors)[:3])}")
    optimizer.load_state_dict(state)


def _optimizer_tensors(model: LanguageModel, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{key}": value.contiguous()
        for name, parameter in _in_optimizer_order(model, optimizer)
        for key, value in optimizer.state[parameter].items()
    }


def _in_optimizer_order(model: LanguageModel, optimizer: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
    """Return (name, parameter) in the order in which the optimiser numbers its parameters."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [(names[id(p)], p) for group in optimizer.param_groups for p in group["params"]]


def _kind(model: LanguageModel) -> str:
    for kind, (model_class, _) in MODEL_KINDS.items():
        if type(model) is model_class:
            return kind
    raise TypeError(f"model must be one of {', '.join(MODEL_KINDS)} to be saved, got {type(model).__name__}")


def _versions() -> dict[str, str]:
    return {
        "megalodon-edu": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object")
    return value


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _force_to_disk(path: Path) -> None:
    """Wait until the file or folder is on the disk (Windows cannot be asked this of a folder)."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Weights alone, as they ship, can be loaded from any folder; so can those of the Transformer."""

import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import build_megalodon, build_transformer

from megalodon_edu.training.options import TrainingOptions
from megalodon_edu.training.trained import load_trained


@pytest.fixture
def ship(tmp_path):
    def ship(model, /, **more):
        weights = [{name: tensor} for name, tensor in model.state_dict().items()]
        for number, part in enumerate(weights):
            save_file(part, tmp_path / f"part-{number:03d}.safetensors")
        options = asdict(TrainingOptions())
        run = {
            "config": model.config.to_dict(),
            "steps": 7,
            "seconds": 1.5,
            "options": options,
            "windows": {"length": 16},
        }
        (tmp_path / "run.json").write_text(json.dumps({**run, **more}))
        return str(tmp_path)

    return ship


@pytest.mark.parametrize(("build", "more"), [(build_megalodon, {}), (build_transformer, {"model": "transformer"})])
def test_a_folder_with_weights_alone_gives_the_same_model(ship, build, more):
    model = build().eval()
    found = load_trained(ship(model, **more))
    tokens = torch.arange(12)[None]
    assert torch.equal(found.model(tokens)[0], model(tokens)[0])
    assert (found.kind, found.state.step, found.state.windows) == (more.get("model", "megalodon"), 7, {"length": 16})
    assert not found.model.training


def test_an_unknown_kind_of_model_is_refused(ship):
    with pytest.raises(ValueError, match="model must be one of megalodon, transformer, got 'mamba'"):
        load_trained(ship(build_megalodon(), model="mamba"))

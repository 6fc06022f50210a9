import json
import shutil
from dataclasses import replace

import pytest
import torch
from tiny_models import build_megalodon, build_transformer

from megalodon_edu.training import checkpoint as module
from megalodon_edu.training.checkpoint import (
    FILES,
    TrainingState,
    checkpoints,
    load_checkpoint,
    locate,
    restore_optimizer,
    save_checkpoint,
)
from megalodon_edu.training.optimizer import build_optimizer


@pytest.fixture
def state(options, windows):
    return TrainingState(3, 1.5, options, windows.description())


def stepped(model, options):
    """An optimiser that has taken one step."""
    optimizer = build_optimizer(model, options)
    model.loss(torch.arange(10).reshape(2, 5)).backward()
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("build", [build_megalodon, build_transformer, lambda: build_megalodon(share_emb=True)])
def test_model_and_state_come_back_whole(build, options, state, tmp_path):
    model = build()
    path = save_checkpoint(tmp_path / "run", model, stepped(model, options), state)
    assert sorted(file.name for file in path.iterdir()) == sorted(FILES)
    loaded = load_checkpoint(tmp_path / "run")
    assert loaded.path == path and loaded.kind == type(model).__name__.lower()
    assert loaded.model.config == model.config and not loaded.model.training
    assert loaded.state == state
    for name, parameter in model.named_parameters():
        assert torch.equal(loaded.model.get_parameter(name), parameter), name


def test_the_optimiser_comes_back_whole(megalodon, options, state, tmp_path):
    optimizer = stepped(megalodon, options)
    path = save_checkpoint(tmp_path, megalodon, optimizer, state)
    model = load_checkpoint(path).model
    restored = build_optimizer(model, options)
    restore_optimizer(path, model, restored)
    for before, after in zip(megalodon.named_parameters(), model.named_parameters(), strict=True):
        assert before[0] == after[0]
        entry, expected = restored.state[after[1]], optimizer.state[before[1]]
        assert entry.keys() == expected.keys()
        assert all(torch.equal(entry[key], expected[key]) for key in expected)


def test_only_the_newest_stays(megalodon, options, state, tmp_path):
    optimizer = stepped(megalodon, options)
    save_checkpoint(tmp_path, megalodon, optimizer, state)
    newest = save_checkpoint(tmp_path, megalodon, optimizer, replace(state, step=20))
    assert list(tmp_path.iterdir()) == checkpoints(tmp_path) == [newest]
    assert load_checkpoint(tmp_path).state.step == 20


@pytest.mark.parametrize("place", ["save_model", "save_file", "_write_json", "_force_to_disk", "os.rename"])
def test_a_crash_in_the_middle_leaves_the_checkpoint_before(place, megalodon, options, state, tmp_path, monkeypatch):
    optimizer = stepped(megalodon, options)
    save_checkpoint(tmp_path, megalodon, optimizer, state)

    def crash(*arguments):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"megalodon_edu.training.checkpoint.{place}", crash)
        with pytest.raises(OSError, match="no space left"):
            save_checkpoint(tmp_path, megalodon, optimizer, replace(state, step=20))
    assert load_checkpoint(tmp_path).state.step == 3
    save_checkpoint(tmp_path, megalodon, optimizer, replace(state, step=20))
    assert load_checkpoint(tmp_path).state.step == 20
    assert list(tmp_path.iterdir()) == checkpoints(tmp_path)


def test_a_crash_while_the_older_one_is_removed_leaves_the_newer(megalodon, options, state, tmp_path, monkeypatch):
    optimizer = stepped(megalodon, options)
    older = save_checkpoint(tmp_path, megalodon, optimizer, state)

    def crash_halfway(path, ignore_errors=False):
        if path == older:
            (path / "model.safetensors").unlink()
            raise OSError("power cut")

    monkeypatch.setattr(module.shutil, "rmtree", crash_halfway)
    with pytest.raises(OSError, match="power cut"):
        save_checkpoint(tmp_path, megalodon, optimizer, replace(state, step=20))
    assert load_checkpoint(tmp_path).state.step == 20


def test_a_stranger_cannot_be_saved(options, state, tmp_path):
    model = torch.nn.Linear(2, 2)
    with pytest.raises(TypeError, match="model must be one of megalodon, transformer to be saved, got Linear"):
        save_checkpoint(tmp_path, model, build_optimizer(model, options), state)


def test_a_missing_folder_or_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere"):
        locate(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no checkpoint; train one"):
        locate(tmp_path)


@pytest.fixture
def saved(megalodon, options, state, tmp_path):
    return save_checkpoint(tmp_path, megalodon, stepped(megalodon, options), state)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(name, saved):
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"the checkpoint .* lacks {name}"):
        load_checkpoint(saved)


@pytest.mark.parametrize("name", ["config.json", "state.json"])
@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_damaged_json_is_named(name, text, saved):
    (saved / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        load_checkpoint(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_damaged_tensors_are_named(name, saved, options):
    (saved / name).write_bytes((saved / name).read_bytes()[:-5])
    with pytest.raises(ValueError, match=f"{name} "):
        model = load_checkpoint(saved).model
        restore_optimizer(saved, model, build_optimizer(model, options))


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_an_unknown_model_is_named(saved):
    edit(saved / "config.json", model="mamba")
    with pytest.raises(ValueError, match="names the model 'mamba'; known are megalodon, transformer"):
        load_checkpoint(saved)


def test_another_versions_fields_are_named(saved, megalodon):
    edit(saved / "config.json", config={**megalodon.config.to_dict(), "colour": 1})
    with pytest.raises(ValueError, match=r"config.json .* another version of megalodon-edu.*colour"):
        load_checkpoint(saved)


def test_another_versions_options_are_named(saved):
    edit(saved / "state.json", options={"colour": 1})
    with pytest.raises(ValueError, match=r"state.json .* another version of megalodon-edu.*colour"):
        load_checkpoint(saved)


def test_weights_of_other_sizes_are_refused(saved, megalodon):
    edit(saved / "config.json", config={**megalodon.config.to_dict(), "num_layers": 3})
    with pytest.raises(ValueError, match=r"model.safetensors does not fit the model"):
        load_checkpoint(saved)


def test_averages_of_another_model_are_refused(saved, transformer, options, tmp_path, state):
    other = save_checkpoint(tmp_path / "other", transformer, stepped(transformer, options), state)
    shutil.copy(other / "optimizer.safetensors", saved)
    model = load_checkpoint(saved).model
    with pytest.raises(ValueError, match=r"optimizer.safetensors does not fit the model: it lacks"):
        restore_optimizer(saved, model, build_optimizer(model, options))

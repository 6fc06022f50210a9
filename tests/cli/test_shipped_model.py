"""A model that ships with the course stands in wherever a trained one is wanted."""

import json

import pytest
from test_generate_command import SIZES, save

from megalodon_edu import cli
from megalodon_edu.models import Transformer, TransformerConfig, pretrained_names
from megalodon_edu.recordings import recording

SHIPPED = ("bookworm", "librarian")


def test_two_models_ship():
    assert tuple(pretrained_names()) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_it_writes_without_any_training(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["generate", "--checkpoint", name, "--prompt", "It was", "--max-tokens", "4"]) == 0
    assert capsys.readouterr().out.startswith("It was")


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_scored_on_what_it_was_trained_on(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", "--checkpoint", name, "--max-bytes", "16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["data"]) == ("megalodon", "library")
    assert found["step"] == recording(name).about["steps"]
    assert 0.5 < found["bits_per_byte"] < 4


def test_a_folder_of_the_readers_goes_before_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(Transformer(TransformerConfig(**SIZES, context_size=32)), tmp_path / "bookworm")
    assert cli.main(["evaluate", "--checkpoint", "bookworm", "--max-bytes", "60", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "transformer"


@pytest.mark.parametrize("command", ["generate", "evaluate"])
@pytest.mark.parametrize("wanted", [[], ["--checkpoint", "mammoth"]])
def test_who_names_no_trained_model_is_told_of_both(command, wanted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([command, *wanted]) != 0
    assert "--checkpoint bookworm or --checkpoint librarian" in capsys.readouterr().err

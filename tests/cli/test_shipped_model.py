"""A model that ships with the course stands in wherever a trained one is wanted."""

import json

from test_generate_command import SIZES, save

from megalodon_edu import cli
from megalodon_edu.models import Transformer, TransformerConfig
from megalodon_edu.recordings import recording


def test_it_writes_without_any_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["generate", "--checkpoint", "bookworm", "--prompt", "It was", "--max-tokens", "4"]) == 0
    assert capsys.readouterr().out.startswith("It was")


def test_it_is_scored_on_what_it_was_trained_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", "--checkpoint", "bookworm", "--max-bytes", "60", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["data"]) == ("megalodon", "library")
    assert found["step"] == recording("bookworm").about["steps"]
    assert 0.5 < found["bits_per_byte"] < 4


def test_a_folder_of_the_readers_goes_before_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(Transformer(TransformerConfig(**SIZES, context_size=32)), tmp_path / "bookworm")
    assert cli.main(["evaluate", "--checkpoint", "bookworm", "--max-bytes", "60", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "transformer"


def test_who_has_trained_nothing_is_told_of_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["generate"]) != 0
    assert "--checkpoint bookworm" in capsys.readouterr().err

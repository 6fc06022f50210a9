import argparse
import json
import signal
from pathlib import Path

import pytest
import torch

from megalodon_edu import cli
from megalodon_edu.cli import train as command
from megalodon_edu.models import Megalodon, MegalodonConfig, Transformer
from megalodon_edu.training import loop
from megalodon_edu.training.checkpoint import load_checkpoint
from megalodon_edu.training.log import read_log
from megalodon_edu.training.recipes import RECIPES

TEXT = "It is a truth universally acknowledged, that a single man in possession of a good fortune. " * 60
SMALL = [
    *["--set", "num_layers=1", "--set", "model_dim=16", "--set", "ffn_hidden_dim=16", "--set", "value_dim=16"],
    *["--set", "z_dim=8", "--set", "chunk_size=16", "--batch", "2", "--length", "16", "--precision", "float32"],
]


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text(TEXT)
    return "book.txt"


def train(*arguments):
    return cli.main(["train", *map(str, arguments)])


def test_a_run_leaves_log_checkpoint_and_score(book, capsys):
    assert train("--data", book, "--steps", 5, "--out", "run", *SMALL) == 0
    assert len(read_log("run/log.csv")) == 5
    assert load_checkpoint("run").state.step == 5
    score = json.loads(Path("run/validation.json").read_text())
    assert (score["step"], score["checkpoint"], score["split"]) == (5, "step-00000005", "validation")
    assert 7 < score["bits_per_byte"] < 10 and score["complete"] is True
    checkpoint = load_checkpoint("run")
    assert MegalodonConfig.from_dict(score["config"]) == checkpoint.model.config
    assert score["parameters"] == checkpoint.model.parameter_count() and score["seconds"] == checkpoint.state.seconds
    assert score["options"]["steps"] == 5 and score["windows"] == checkpoint.state.windows
    assert {"device", "threads", "python", "torch", "commit"} <= score["environment"].keys()
    said = capsys.readouterr().out
    assert "Megalodon with" in said and "parameters on cpu" in said and "Finished at step 5" in said
    assert f"Validation, all {score['scored']:,} bytes: {score['bits_per_byte']:.3f} bits per byte" in said


def test_the_folder_follows_preset_and_model(book):
    train("--data", book, "--steps", 1, *SMALL)
    train("--data", book, "--steps", 1, "--model", "transformer", *SMALL)
    first, second = load_checkpoint("runs/tiny"), load_checkpoint("runs/tiny-transformer")
    assert isinstance(first.model, Megalodon) and isinstance(second.model, Transformer)
    assert second.model.config.context_size == 16
    counts = [checkpoint.model.parameter_count() for checkpoint in (first, second)]
    assert counts[0] == pytest.approx(counts[1], rel=0.02)


def test_both_models_read_the_same_windows(book):
    train("--data", book, "--steps", 1, *SMALL)
    train("--data", book, "--steps", 1, "--model", "transformer", *SMALL)
    assert load_checkpoint("runs/tiny").state.windows == load_checkpoint("runs/tiny-transformer").state.windows


def test_every_choice_reaches_the_run(book):
    given = ["--lr", 0.5, "--warmup", 7, "--accumulate", 2, "--seed", 9, "--decay-all", "--minutes", 3]
    train("--data", book, "--steps", 1, *SMALL, *given)
    state = load_checkpoint("runs/tiny").state
    options = state.options
    assert (options.steps, options.learning_rate, options.warmup_steps) == (1, 0.5, 7)
    assert (options.accumulate, options.decay_all, options.max_seconds) == (2, True, 180)
    assert (options.precision, state.windows["seed"], state.windows["batch"]) == ("float32", 9, 2)
    assert state.windows["source"] == book


def test_without_choices_the_recipe_holds():
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    model, options, sizes = command.beginning(parser.parse_args([]), None)
    recipe = RECIPES["tiny"]
    assert options == recipe.options and model.config == MegalodonConfig.preset("tiny")
    assert sizes == {"source": "library", "batch": recipe.batch, "length": recipe.length, "seed": 0}
    assert command.beginning(parser.parse_args(["--minutes", "0"]), None)[1].max_seconds is None


def test_the_seed_decides_the_weights(book):
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train("--data", book, "--steps", 1, "--minutes", 0, "--seed", seed, "--out", name, *SMALL)
        weights.append(load_checkpoint(name).model.embed.weight)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(book, monkeypatch, capsys):
    arguments = ["--data", book, "--steps", 6, "--minutes", 0, *SMALL]
    train(*arguments, "--out", "whole")
    write = loop.LogWriter.append

    def press_ctrl_c(log, row):
        write(log, row)
        if row.step == 4:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(loop.LogWriter, "append", press_ctrl_c)
        assert train(*arguments, "--out", "pieces") == 130
    assert "Go on: megalodon-edu train --resume --out pieces" in capsys.readouterr().out
    assert train("--resume", "--out", "pieces") == 0
    whole, pieces = load_checkpoint("whole").model, load_checkpoint("pieces").model
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), pieces.parameters(), strict=True))
    assert [row.loss for row in read_log("whole/log.csv")] == [row.loss for row in read_log("pieces/log.csv")]


def test_ctrl_c_at_the_last_step_leaves_the_score_to_the_resumed_run(book, monkeypatch):
    write = loop.LogWriter.append

    def press_ctrl_c(log, row):
        write(log, row)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(loop.LogWriter, "append", press_ctrl_c)
        assert train("--data", book, "--steps", 1, "--out", "run", *SMALL) == 130
    assert load_checkpoint("run").state.step == 1 and not Path("run/validation.json").exists()
    assert train("--resume", "--out", "run") == 0
    assert json.loads(Path("run/validation.json").read_text())["step"] == 1


def test_ctrl_c_while_scoring_keeps_the_trained_model(book, monkeypatch, capsys):
    monkeypatch.setattr(command, "evaluate_with_bar", lambda *args: signal.raise_signal(signal.SIGINT))
    assert train("--data", book, "--steps", 2, "--out", "run", *SMALL) == 130
    assert "score it: megalodon-edu evaluate --checkpoint run" in capsys.readouterr().out
    assert load_checkpoint("run").state.step == 2
    assert sorted(path.name for path in Path("run").iterdir()) == ["log.csv", "step-00000002"]


def test_what_cannot_work_leaves_no_folder(book):
    assert train("--data", book, *SMALL, "--out", "run", "--accumulate", 3) == 1
    assert not Path("run").exists()


def test_a_resumed_run_may_be_longer_but_not_another(book, capsys):
    train("--data", book, "--steps", 2, "--minutes", 0, *SMALL)
    assert train("--resume", "--steps", 3) == 0
    assert load_checkpoint("runs/tiny").state.step == 3
    assert train("--resume", "--lr", 1, "--decay-all") == 1
    assert "--resume goes on as the run began, without --lr, --decay-all" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "depth=3"], "--set must be NAME=VALUE with a NAME out of num_layers, "),
        (["--set", "num_layers"], "got 'num_layers'"),
        (["--set", "num_layers=x"], "--set num_layers must be of type int, got 'x'"),
        (["--set", "swiglu=maybe"], "--set swiglu must be true or false, got 'maybe'"),
        (["--device", "mps"], "device must be cpu or cuda, got mps"),
        (["--data", "nowhere"], "no such file"),
        (["--steps", "0"], "steps must be at least 1, got 0"),
        (["--minutes", "-1"], "--minutes must be a number of at least 0 (0: no limit), got -1"),
        (["--minutes", "nan"], "--minutes must be a number of at least 0 (0: no limit), got nan"),
        (["--out", "book.txt"], "--out must lie in a folder, got 'book.txt'"),
        (["--out", "book.txt/run"], "book.txt is a file; choose another place"),
        (["--length", "100000"], "length must be at most"),
        (
            ["--resume", "--out", "nowhere"],
            "there is no folder nowhere; train a model first: `megalodon-edu train --out n",
        ),
        (["--accumulate", "3"], "accumulate must divide the batch of 2 windows, got 3"),
        (["--seed", "-1"], "seed must lie between 0 and"),
        (["--device", "gpu"], "device must be cpu or cuda, got 'gpu'"),
        (["--device", "cuda:99"], "device cuda:99: PyTorch finds "),
        (["--lr", "1e4", "--steps", "5", "--warmup", "0"], "Try a learning rate of"),
    ],
)
def test_what_cannot_work_ends_with_one_message(arguments, message, book, capsys):
    data = [] if "--resume" in arguments or "--data" in arguments else ["--data", book]
    size = [] if "--resume" in arguments else SMALL
    assert train(*data, *size, *arguments) == 1
    said = capsys.readouterr().err
    assert message in said and said.splitlines()[-1].startswith("megalodon-edu train: ")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "config.json", "state.json"])
def test_a_damaged_checkpoint_is_named_and_left_alone(name, book, capsys):
    train("--data", book, "--steps", 1, "--out", "run", *SMALL)
    file = Path("run/step-00000001") / name
    damaged = file.read_bytes()[:-9]
    file.write_bytes(damaged)
    assert train("--resume", "--steps", 2, "--out", "run") == 1
    said = capsys.readouterr().err
    assert str(file) in said and said.splitlines()[-1].startswith("megalodon-edu train: ")
    assert file.read_bytes() == damaged


def test_a_run_is_not_overwritten(book, capsys):
    train("--data", book, "--steps", 1, *SMALL)
    assert train("--data", book, "--steps", 1, *SMALL) == 1
    assert "holds a run already; go on with it by --resume, or choose another --out" in capsys.readouterr().err

"""`megalodon-edu study`: the options of a study are the arguments of its `record`."""

import inspect
import re
import shlex
import types
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest
import torch

from megalodon_edu import cli
from megalodon_edu.cli import study


def test_every_study_can_be_called_and_shows_its_options(capsys):
    for name, module in study.STUDIES.items():
        parameters = inspect.signature(import_module(module).record).parameters
        assert list(parameters)[:2] == ["folder", "device"] and "quick" in parameters
        with pytest.raises(SystemExit) as done:
            cli.main(["study", name, "--help"])
        said = capsys.readouterr().out
        assert done.value.code == 0 and f"megalodon-edu study {name}" in said
        for option in list(parameters)[2:]:
            assert f"--{option.replace('_', '-')}" in said


def test_help_without_a_name_and_every_example_parses(capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["study", "--help"])
    said = capsys.readouterr().out
    assert done.value.code == 0 and "examples:" in said
    examples = [line.strip() for line in study.EPILOG.splitlines() if line.startswith("  megalodon-edu")]
    assert len(examples) >= 3
    for example in examples:
        _, _, name, _, _, *rest = shlex.split(re.split("  +", example)[0])
        if rest[:1] == ["--device"]:
            rest = rest[2:]
        study.options_of(name).parse_args(rest)


def test_options_have_the_types_of_the_arguments(monkeypatch, tmp_path):
    called = {}

    def record(
        folder: Path,
        device: torch.device,
        *,
        seeds: Sequence[int] = (0, 1),
        rate: float = 0.1,
        seconds: float | None = None,
        name: str = "",
        compiled: bool | None = None,
        quick: bool = False,
    ) -> None:
        called.update(folder=folder, device=device, seeds=seeds, rate=rate, seconds=seconds, name=name)
        called.update(compiled=compiled, quick=quick)

    module = types.SimpleNamespace(__doc__="A study.", record=record)
    monkeypatch.setattr(study, "import_module", lambda name: module)
    monkeypatch.setitem(study.STUDIES, "ablations", "made.up")
    out = str(tmp_path / "out")
    assert cli.main(["study", "ablations", "--out", out, "--device", "cpu"]) == 0
    assert (called["seeds"], called["seconds"], called["compiled"], called["quick"]) == ((0, 1), None, None, False)
    words = ["--seeds", "3", "4", "--seconds", "2.5", "--rate", "1e-3", "--quick", "--no-compiled", "--name", "x"]
    assert cli.main(["study", "ablations", *words, "--out", out, "--device", "cpu"]) == 0
    assert called == {
        "folder": Path(out),
        "device": torch.device("cpu"),
        "seeds": [3, 4],
        "rate": 1e-3,
        "seconds": 2.5,
        "name": "x",
        "compiled": False,
        "quick": True,
    }


def test_what_is_wrong_is_said(tmp_path, capsys):
    assert cli.main(["study", "ablations", "--out", str(tmp_path), "--device", "cpu", "--only", "nothing"]) == 1
    assert "only must be one of full, real-ema" in capsys.readouterr().err
    for words in (["study", "no-such"], ["study", "ablations", "--out", str(tmp_path), "--no-such-option"]):
        with pytest.raises(SystemExit) as done:
            cli.main(words)
        assert done.value.code == 2

"""The seeds of a run: made one after another, taken up again, and kept apart from those of other settings."""

import json

import pytest
import torch

from megalodon_edu.studies import healthy_band
from megalodon_edu.studies.healthy_band import record
from megalodon_edu.training.recorded_seeds import read_seeds
from megalodon_edu.training.situation import situation

DEVICE = torch.device("cpu")


def test_seeds_are_made_once_and_later_ones_join_them(tmp_path, capsys, monkeypatch):
    record(tmp_path, DEVICE, seeds=(0, 1), quick=True)
    first = json.loads((tmp_path / "run.json").read_text())
    monkeypatch.setattr(healthy_band, "QUICK_BYTES", 1)  # nothing of seeds 0 and 1 is made again
    record(tmp_path, DEVICE, seeds=(0, 1, 2), quick=True)
    about = json.loads((tmp_path / "run.json").read_text())
    assert list(about["runs"]) == ["0", "1", "2"]
    assert {seed: about["runs"][seed] for seed in ("0", "1")} == first["runs"]
    rows = read_seeds(tmp_path)
    assert list(rows) == ["seed 0", "seed 1", "seed 2"]
    assert [row.step for row in rows["seed 1"]] == [1, 2]
    assert rows["seed 0"][0].loss != rows["seed 1"][0].loss
    assert "seed 2: " in capsys.readouterr().out


def test_it_says_what_was_run(tmp_path):
    record(tmp_path, DEVICE, seeds=(3,), quick=True)
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["config"] == situation("cpu").config.to_dict() and about["seed"] == 3
    assert about["options"]["max_seconds"] is None
    run = about["runs"]["3"]
    assert run["parameters"] == situation("cpu").model().parameter_count()
    assert run["tokens"] == 2 * situation("cpu").batch * situation("cpu").length and not run["complete"]


def test_without_time_the_rest_is_named(tmp_path, capsys, monkeypatch):
    clock = iter(range(0, 10**6, 100))
    monkeypatch.setattr(healthy_band.time, "perf_counter", lambda: float(next(clock)))
    record(tmp_path, DEVICE, seeds=(0, 1, 2), seconds=150, quick=True)
    assert "call again for seeds 1, 2" in capsys.readouterr().out
    assert list(json.loads((tmp_path / "run.json").read_text())["runs"]) == ["0"]


def test_other_settings_are_refused(tmp_path):
    record(tmp_path, DEVICE, seeds=(0,), quick=True)
    path = tmp_path / "run.json"
    about = json.loads(path.read_text())
    about["options"]["learning_rate"] = 1.0
    path.write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"run.json has other settings \(options\); choose another folder or remove"):
        record(tmp_path, DEVICE, seeds=(1,), quick=True)
    with pytest.raises(ValueError, match="seconds must be"):
        record(tmp_path, DEVICE, seconds=0, quick=True)
    with pytest.raises(ValueError, match="name must be one of kernels, plain, cpu, got 'huge'"):
        record(tmp_path / "other", DEVICE, run="huge")

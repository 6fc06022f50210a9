"""The comparison: equal parameters, a rate of its own for each model, differences paired by seed."""

import json

import pytest
import torch

from megalodon_edu.models import Megalodon, Transformer
from megalodon_edu.studies import comparison
from megalodon_edu.studies.comparison import best_rate, configurations, next_rate, record, speed_runs, speeds
from megalodon_edu.studies.text_run import TextBudget, save_log
from megalodon_edu.training.log import LogRow

CPU = torch.device("cpu")
INFINITE = float("inf")


@pytest.mark.parametrize("quick", [False, True])
def test_both_models_have_as_many_parameters(quick):
    found = configurations(quick)
    with torch.device("meta"):
        ours, theirs = (kind(found[name]).parameter_count() for name, kind in
                        (("megalodon", Megalodon), ("transformer", Transformer)))  # fmt: skip
    assert theirs == pytest.approx(ours, rel=0.02)
    assert found["transformer"].context_size == (64 if quick else 2048)


def test_a_sweep_goes_on_while_its_best_rate_is_at_an_end():
    tried = (1e-3, 2e-3)
    assert next_rate({1e-3: 1.7, 2e-3: 1.6}, tried) == 4e-3
    assert next_rate({1e-3: 1.6, 2e-3: 1.7}, tried) == 5e-4
    assert next_rate({1e-3: 1.7, 2e-3: 1.6, 4e-3: 1.65}, tried) is None
    assert next_rate({1e-3: 1.7, 2e-3: 1.6, 4e-3: INFINITE}, tried) is None
    assert next_rate({1e-3: 1.7, 2e-3: 1.6, 4e-3: 1.5, 8e-3: 1.4}, tried) is None  # both extensions are used
    assert next_rate({3e-3: 1.7}, (3e-3,)) is None
    assert best_rate({1e-3: 1.7, 2e-3: 1.6, 4e-3: INFINITE}) == 2e-3
    with pytest.raises(ValueError, match="every rate of the sweep diverged: 0.001, 0.002; try lower ones"):
        best_rate({1e-3: INFINITE, 2e-3: INFINITE})


def test_a_quick_study_from_nothing_to_its_table(tmp_path, in_this_process, capsys):
    record(tmp_path, CPU, seeds=[0, 1], rates=[1e-3, 2e-3], quick=True)
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["complete"] and set(about["models"]) == {"megalodon", "transformer"}
    for model, said in about["models"].items():
        sweep = about["sweep"]["bits_per_byte"][model]
        rate = about["sweep"]["chosen"][model]
        assert sweep[f"{rate:g}"] == min(sweep.values()) and said["learning_rate"] == rate
        # An untrained model learns faster with every larger rate, so both extensions are used.
        assert set(sweep) == {"0.001", "0.002", "0.004", "0.008"}
        one = json.loads((tmp_path / f"{model}-1.json").read_text())
        assert one["run"]["learning_rate"] == rate and one["windows"]["seed"] == 1
        assert said["bits_per_byte"]["seeds"]["1"] == one["validation"]["bits_per_byte"]
        assert len(said["looks"]["0"]["bits_per_byte"]) == len(said["looks"]["0"]["tokens"]) == 2
        assert said["second_halves"]["seeds"]["1"] == one["second_halves"]["bits_per_byte"]
        assert about["speed"][model]["uncompiled"] > 0
    difference = about["megalodon_less_transformer"]
    scores = [about["models"][model]["bits_per_byte"]["seeds"]["0"] for model in ("megalodon", "transformer")]
    assert difference["seeds"]["0"] == pytest.approx(scores[0] - scores[1])
    assert difference["low"] < difference["mean"] < difference["high"]
    halves = [about["models"][model]["second_halves"]["seeds"]["0"] for model in ("megalodon", "transformer")]
    assert about["megalodon_less_transformer_in_second_halves"]["seeds"]["0"] == pytest.approx(halves[0] - halves[1])
    text = capsys.readouterr().out
    assert "Megalodon less Transformer, second halves of windows: " in text and "transformer alone: " in text
    assert len(in_this_process) == 14 and in_this_process[-1] == "speed-transformer-uncompiled"

    in_this_process.clear()
    record(tmp_path, CPU, seeds=[0, 1, 2], rates=[1e-3, 2e-3], quick=True)
    assert in_this_process == ["megalodon-2", "transformer-2"]


def test_the_speed_is_that_of_the_second_half_of_a_run_alone(tmp_path, monkeypatch):
    budget = TextBudget(1000, batch=2, length=64, warmup_steps=9, look_every=50)
    here, on_gpu = ([run.name for run in speed_runs(budget, torch.device(kind))] for kind in ("cpu", "cuda"))
    assert here == ["speed-megalodon-uncompiled", "speed-transformer-uncompiled"]
    assert on_gpu == [*here, "speed-megalodon-compiled", "speed-transformer-compiled"]
    run = speed_runs(budget, torch.device("cuda"))[-1]
    assert (run.compile, run.budget.rows) == ("on", run.budget.steps) == ("on", run.budget.look_every)
    # The first half takes a second a step, the second half a tenth.
    half = run.budget.steps // 2
    times = [min(step, half) + max(0, step - half) / 10 for step in range(1, 2 * half + 1)]
    rows = [LogRow(step, step * 128, seconds, 1.0, 1e-3, 1.0, None) for step, seconds in enumerate(times, 1)]
    save_log(tmp_path / f"{run.name}.csv", rows, run.budget.rows)
    monkeypatch.setattr(comparison, "read_runs", lambda folder, runs: {one.name: {} for one in runs})
    assert speeds(tmp_path, [run]) == {"transformer": {"compiled": 1280}}

"""One run: repeatable, its windows the same for every model, its files whole, its end told also when it diverges."""

import json
import math
from dataclasses import asdict, replace
from itertools import pairwise

import pytest
import torch

from megalodon_edu.models import Transformer, match_transformer
from megalodon_edu.studies import text_run
from megalodon_edu.studies.ablations import QUICK_BASE
from megalodon_edu.studies.jobs import run_jobs
from megalodon_edu.studies.text_run import TextBudget, TextRun, bits, make, read_runs, save_log
from megalodon_edu.training.log import LogRow, read_log

CPU = torch.device("cpu")
BUDGET = TextBudget(steps=4, batch=2, length=64, warmup_steps=1, look_every=2, quick=True)
RUN = TextRun("one", "megalodon", QUICK_BASE.to_dict(), 0, 3e-3, BUDGET)
SMALL = TextRun("other", "transformer", match_transformer(QUICK_BASE, 2, context_size=64).to_dict(), 0, 3e-3, BUDGET)


def test_a_run_leaves_its_score_its_settings_and_its_log(tmp_path):
    found = make(RUN, tmp_path, CPU)
    said = json.loads((tmp_path / "one.json").read_text())
    assert said == json.loads(json.dumps(found)) and said["run"] == asdict(RUN)
    assert said["tokens"] == BUDGET.tokens == 4 * 2 * 64
    assert 0 < said["training_seconds"] < said["seconds"]
    assert 7 < bits(said) < 10 and said["diverged"] is None
    # Of two texts of 600 bytes, which the start token makes 601: 17 windows of 64 that overlap by half.
    assert said["second_halves"]["window"] == 64 and said["second_halves"]["scored"] == 2 * 17 * 32
    assert 7 < bits(said, "second_halves") < 10 and bits(said, "second_halves") != bits(said)
    assert said["parameters"] == RUN.build().parameter_count()
    assert said["environment"]["torch"] == torch.__version__
    rows = read_log(tmp_path / "one.csv")
    assert [row.step for row in rows] == [1, 2, 3, 4]
    assert [row.validation_bits_per_byte is not None for row in rows] == [False, True, False, True]
    assert rows[-1].seconds == pytest.approx(said["training_seconds"], abs=1e-3)


def test_the_same_run_gives_the_same_score_and_another_seed_another(tmp_path):
    first, again = (make(RUN, tmp_path / name, CPU) for name in ("a", "b"))
    other = make(replace(RUN, seed=1), tmp_path / "c", CPU)
    assert bits(first) == bits(again) != bits(other)


def test_models_of_one_seed_read_the_same_windows(tmp_path):
    found = [make(run, tmp_path, CPU) for run in (RUN, SMALL)]
    assert found[0]["windows"] == found[1]["windows"]
    assert isinstance(SMALL.build(), Transformer)


def test_a_run_is_a_process_of_its_own(tmp_path):
    report = run_jobs([RUN.job(tmp_path, CPU)], 1, tmp_path / "logs", seconds=200)
    assert report.complete
    assert "bits per byte of validation" in (tmp_path / "logs" / "one.log").read_text()
    assert set(read_runs(tmp_path, [RUN, SMALL])) == {"one"}


def test_a_run_that_diverges_says_so(tmp_path):
    found = make(replace(RUN, learning_rate=1e30), tmp_path, CPU)
    assert found["validation"] is found["second_halves"] is bits(found) is bits(found, "second_halves") is None
    assert "Training stopped at step" in found["diverged"]
    assert found["tokens"] < BUDGET.tokens


def test_looking_at_validation_takes_no_seconds_of_training(tmp_path, monkeypatch):
    """On a clock that goes on by 1 at every glance: a step glances once, a look twice more."""
    monkeypatch.setattr(text_run.time, "perf_counter", iter(range(10**6)).__next__)
    found = make(RUN, tmp_path, CPU)
    seconds = [row.seconds for row in read_log(tmp_path / "one.csv")]
    assert max(after - before for before, after in pairwise(seconds)) <= 2
    assert found["training_seconds"] == seconds[-1]


def test_a_thinned_log_keeps_the_means_and_the_looks(tmp_path):
    rows = [LogRow(i, i * 10, i * 0.5, float(i), 1e-3, 1.0, 2.0 if i == 5 else None) for i in range(1, 13)]
    save_log(tmp_path / "log.csv", rows, most=3)
    kept = read_log(tmp_path / "log.csv")
    assert [row.step for row in kept] == [4, 5, 8, 12]
    assert [row.loss for row in kept] == [2.5, 5, 7, 10.5]
    assert math.fsum(row.loss * n for row, n in zip(kept, (4, 1, 3, 4), strict=True)) == sum(range(1, 13))


def test_runs_of_other_settings_are_refused(tmp_path):
    make(RUN, tmp_path, CPU)
    with pytest.raises(ValueError, match=r"one.json was made with other settings \(learning_rate\); choose another"):
        read_runs(tmp_path, [replace(RUN, learning_rate=1e-3)])
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        replace(BUDGET, steps=0)
    with pytest.raises(ValueError, match="length must be even, so that a window has halves, got 63"):
        replace(BUDGET, length=63)
    with pytest.raises(ValueError, match="model must be one of megalodon, transformer, got 'mamba'"):
        replace(RUN, model="mamba").build()

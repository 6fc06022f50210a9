"""What the recordings of seeds hold: logs of one run that differ in the seed, and lie close together."""

import pytest

from megalodon_edu.plots.training_band import healthy_band
from megalodon_edu.recordings import names, recording
from megalodon_edu.training.recorded_seeds import read_seeds, recorded_seeds
from megalodon_edu.training.situation import SITUATIONS, situation

RECORDED = [name for name in SITUATIONS if situation(name).band in names()]


def test_the_run_of_a_cpu_has_five_seeds():
    assert "cpu" in RECORDED and len(recorded_seeds(situation("cpu")).runs) == 5


@pytest.mark.parametrize("name", RECORDED)
def test_they_are_of_the_run_that_the_package_makes_today(name):
    chosen = situation(name)
    about = recording(chosen.band).about
    assert about["situation"] == name and about["config"] == chosen.config.to_dict()
    for option in ("steps", "learning_rate", "warmup_steps", "final_fraction", "precision", "compile"):
        assert about["options"][option] == getattr(chosen.options, option)
    assert about["options"]["max_seconds"] is None
    windows = chosen.windows().description()
    assert about["windows"] == {key: windows[key] for key in windows if key != "seed"}


@pytest.mark.parametrize("name", RECORDED)
def test_every_seed_has_its_log_and_its_score_and_they_lie_close_together(name):
    chosen = situation(name)
    about = recording(chosen.band).about
    logs = read_seeds(recording(chosen.band).folder)
    assert list(logs) == [f"seed {seed}" for seed in about["runs"]] and len(logs) >= 3
    tokens = chosen.options.steps * chosen.batch * chosen.length
    for rows, run in zip(logs.values(), about["runs"].values(), strict=True):
        assert rows[-1].step == chosen.options.steps and rows[-1].tokens == run["tokens"] == tokens
    scores = [run["bits_per_byte"] for run in about["runs"].values()]
    assert len(set(scores)) == len(scores) and max(scores) - min(scores) < 0.2
    band = healthy_band(recorded_seeds(chosen).curves)
    assert band.median[0] > 8 and band.median[-1] < 3.5 and (band.high - band.low)[-1] < 0.2

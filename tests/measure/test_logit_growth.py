from dataclasses import replace

import pytest
import torch

from megalodon_edu.measure.logit_growth import Look, logit_growth, read_looks, save_looks
from megalodon_edu.models import MegalodonConfig
from megalodon_edu.training.options import TrainingOptions
from megalodon_edu.training.windows import RandomWindows

TINY = replace(
    MegalodonConfig.preset("tiny"), model_dim=16, z_dim=8, value_dim=12, ffn_hidden_dim=24, chunk_size=8, vocab_size=32
)
TEXT = torch.randint(1, 32, (2000,), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
WINDOWS = RandomWindows(TEXT, 2, 16)


def grown(normalize_z):
    options = TrainingOptions(steps=5, learning_rate=0.05, warmup_steps=0, precision="float32")
    return logit_growth(replace(TINY, normalize_z=normalize_z), WINDOWS, WINDOWS(0), options, every=2)


def test_a_run_is_looked_at_before_it_and_at_every_other_step():
    looks = grown(True)
    assert [(look.step, look.layer) for look in looks] == [(step, layer) for step in (0, 2, 4) for layer in (0, 1)]
    assert all(look.normalize_z and look.learning_rate == 0.05 for look in looks)
    assert looks == grown(True), "the same seed gives another run"


def test_the_model_learns_and_its_configuration_decides_about_the_norm():
    normal, bare = grown(True), grown(False)
    assert normal[0].largest_logit == pytest.approx(1, abs=1e-3)  # a token with itself
    assert abs(bare[0].largest_logit - 1) > 0.1
    for looks in (normal, bare):
        assert looks[-1].bits < looks[0].bits


def test_looks_are_read_as_they_were_saved(tmp_path):
    looks = [Look(True, 0.004, 0, 0, 0.99998, 0.5, 8.1234), Look(False, 0.02, 50, 1, 815.25, 0.017, 2.5)]
    save_looks(tmp_path / "looks.csv", looks)
    assert read_looks(tmp_path / "looks.csv") == looks
    (tmp_path / "other.csv").write_text("step,loss\n1,2\n")
    with pytest.raises(ValueError, match="other.csv holds no looks: its first line must be normalize_z,"):
        read_looks(tmp_path / "other.csv")

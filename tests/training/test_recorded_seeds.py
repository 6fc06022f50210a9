"""Recorded seeds: thinned without a shift, read back, and a stand-in where they are missing."""

import math

import numpy as np
import pytest

from megalodon_edu.plots.training_band import healthy_band, verdict
from megalodon_edu.training import recorded_seeds as module
from megalodon_edu.training.curves import smoothed
from megalodon_edu.training.log import LogRow, read_log
from megalodon_edu.training.recorded_seeds import read_seeds, recorded_seeds, save_seed, seed_log, thinned
from megalodon_edu.training.situation import SITUATIONS, situation


def falling(count, shift=0.0):
    """A log that falls from 8 bits to 2, with a look at validation every 100 steps."""
    bits = [2 + shift + 6 * math.exp(-step / 40) for step in range(1, count + 1)]
    return [
        LogRow(n, 10 * n, 0.1 * n, value * math.log(2), 1e-3, 1.0, value if n % 100 == 0 else None)
        for n, value in enumerate(bits, start=1)
    ]


def curve(rows):
    return np.array([row.step for row in rows], float), np.array([row.loss for row in rows]) / math.log(2)


def test_a_short_log_stays_as_it_is():
    rows = falling(80)
    assert thinned(rows) == rows


def test_a_thinned_log_is_the_same_curve_in_few_rows_with_every_look():
    rows = falling(1000)
    few = thinned(rows)
    assert len(few) <= 150 + 10 and few[-1].step == 1000
    assert [row.step for row in few if row.validation_bits_per_byte is not None] == list(range(100, 1001, 100))
    ends = [row.step for row in few]
    for before, row in zip([0, *ends], few, strict=False):
        assert row.loss == pytest.approx(np.mean([row.loss for row in rows[before : row.step]]))
    whole = smoothed(curve(rows)[1], curve(rows)[0], 10)
    found = smoothed(curve(few)[1], curve(few)[0], 10)
    assert np.abs(found - whole[[end - 1 for end in ends]]).max() < 0.04  # bits: less than the band is widened by


def test_a_run_lies_inside_the_band_of_its_own_thinned_seeds():
    seeds = [curve(thinned(falling(1000, shift))) for shift in (-0.02, 0.0, 0.02)]
    band = healthy_band(seeds)
    assert verdict(*curve(falling(1000)), band).place == "inside"
    assert verdict(*curve(falling(1000, 0.2)), band).place == "above"


def test_seeds_are_read_in_the_order_of_their_numbers(tmp_path):
    for seed in (10, 2):
        save_seed(seed_log(tmp_path, seed), falling(3, shift=seed))
    found = read_seeds(tmp_path)
    assert list(found) == ["seed 2", "seed 10"]
    assert found["seed 2"][0].loss == pytest.approx(falling(3, 2)[0].loss, rel=1e-5)
    assert read_log(seed_log(tmp_path, 10))[0].loss > found["seed 2"][0].loss


@pytest.mark.parametrize("name", SITUATIONS)
def test_every_situation_has_something_to_be_held_against(name):
    found = recorded_seeds(situation(name))
    assert found.runs and all(found.runs.values())
    assert len(healthy_band(found.curves).x)
    assert found.sentence.startswith("Recorded: ")
    assert ("another size" in found.sentence) == (not found.same)


def test_without_its_seeds_a_situation_gets_the_run_that_stands_in(monkeypatch):
    monkeypatch.setattr(module, "names", lambda: ["bookworm", "tiny_cpu"])
    found = recorded_seeds(situation("kernels"))
    assert (found.name, found.same, list(found.runs)) == ("bookworm", False, ["bookworm"])
    assert "read the verdict with care" in found.sentence

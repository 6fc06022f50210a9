"""Seeds, schedules and the time of a step: the figures hold the numbers that they are given."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from megalodon_edu.measure.step_profile import GROUPS
from megalodon_edu.plots.training_band import ROOM, healthy_band
from megalodon_edu.plots.training_run import PART_COLOURS, schedules, seeds_and_band, seeds_of_a_run, step_time

STEPS = np.arange(1.0, 41)
SEEDS = [(STEPS, 2 + 6 * np.exp(-STEPS / 10) + shift) for shift in (-0.2, 0.0, 0.3)]


def test_every_seed_is_a_line_and_the_band_is_theirs():
    left, right = seeds_and_band(SEEDS).axes
    assert len(left.lines) == 3 and "3 seeds" in left.get_title(loc="left")
    for line, (steps, bits) in zip(left.lines, SEEDS, strict=True):
        np.testing.assert_array_equal(line.get_data(), (steps, bits))
    band = healthy_band(SEEDS)
    np.testing.assert_array_equal(right.lines[0].get_data(), (band.x, band.median))
    edges = right.collections[0].get_paths()[0].vertices
    assert edges[:, 1].min() == pytest.approx(band.low.min() - ROOM)
    assert edges[:, 1].max() == pytest.approx(band.high.max() + ROOM)


def test_the_kept_figure_shows_the_five_recorded_seeds():
    left, right = seeds_of_a_run().axes
    assert len(left.lines) == 5 and "5 seeds" in left.get_title(loc="left")
    assert all(line.get_ydata()[0] > 8 and 2.5 < line.get_ydata()[-1] < 3.6 for line in left.lines)
    assert right.lines[0].get_ydata()[-1] < 3.3


def test_a_schedule_is_drawn_from_step_0_with_its_name():
    axes = schedules({"rise and fall": np.array([0.5, 1.0, 0.2]), "flat": np.ones(5)}).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_data(), ([0, 1, 2], [0.5, 1.0, 0.2]))
    assert axes.get_xlim() == (0, 4)
    assert {"rise and fall", "flat"} <= {text.get_text() for text in axes.texts}


def test_shares_of_a_step_add_up_in_the_order_of_the_groups():
    assert tuple(PART_COLOURS) == GROUPS
    parts = dict(zip(GROUPS, (40.0, 20.0, 20.0, 10.0, 4.0, 4.0, 2.0), strict=True))
    figure = step_time({"here": parts, "there": {**parts, "CEMA": 120.0}})
    axes = figure.axes[0]
    first, second = axes.patches[:7], axes.patches[7:]
    assert [bar.get_width() for bar in first] == [40, 20, 20, 10, 4, 4, 2]
    assert second[2].get_width() == pytest.approx(60) and sum(bar.get_width() for bar in second) == pytest.approx(100)
    assert [bar.get_facecolor() for bar in first] == [to_rgba(colour) for colour in PART_COLOURS.values()]
    assert [text.get_text() for text in axes.texts] == [
        "40 %", "20 %", "20 %", "10 %", "20 %", "10 %", "60 %", "5 %",
    ]  # fmt: skip
    assert [label.get_text() for label in axes.get_yticklabels()] == ["here", "there"]

"""The healthy band: who is inside, since when, what is said of the others, and what is drawn."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from megalodon_edu.plots import style
from megalodon_edu.plots.training_band import LiveTrainingBand, healthy_band, training_band, verdict
from megalodon_edu.training.log import LogRow

STEPS = np.arange(1.0, 401)
HEALTHY = 2 + 6 * np.exp(-STEPS / 40)
SEEDS = [(STEPS, HEALTHY + shift) for shift in (-0.02, 0.0, 0.04)]
BAND = healthy_band(SEEDS, half_life=0)


def said(bits, steps=STEPS, **options):
    return verdict(steps, bits, BAND, **{"half_life": 0, **options})


def test_the_band_is_the_seeds_median_and_range():
    np.testing.assert_allclose(BAND.median, HEALTHY)
    np.testing.assert_allclose([BAND.low - HEALTHY, BAND.high - HEALTHY], [[-0.02] * 400, [0.04] * 400])


def test_a_run_like_the_recorded_ones_is_inside_from_its_first_step():
    found = said(HEALTHY + 0.01)
    assert (found.place, found.since) == ("inside", 1) and found.sentence == "Inside the band from its first step on."


def test_a_late_run_is_inside_from_the_step_where_it_enters():
    found = said(np.where(STEPS < 200, HEALTHY + 1, HEALTHY))
    assert (found.place, found.since) == ("inside", 200) and found.sentence == "Inside the band from step 200 on."


def test_room_is_what_the_band_is_wider():
    assert said(HEALTHY + 0.08).place == "inside" and said(HEALTHY + 0.08, room=0.03).place == "above"
    assert said(HEALTHY - 0.06).place == "inside" and said(HEALTHY - 0.06, room=0.03).place == "below"


@pytest.mark.parametrize(
    "bits, words",
    [
        (np.full(400, 8.3), "near the 8 bits of a model that knows nothing"),
        (2.5 + 6 * np.exp(-STEPS / 90), "It falls, but more slowly"),
        (np.where(STEPS < 100, HEALTHY, 5.0), "rose again. Likely causes: a learning rate that is too high"),
    ],
)
def test_a_run_above_the_band_is_told_why_by_the_way_it_took(bits, words):
    found = said(bits)
    assert found.place == "above" and words in found.sentence and "Likely causes" in found.sentence
    assert found.sentence.count("Likely causes") == 1


def test_how_far_above_the_band_is_said():
    assert "by 0.41 bits per byte at step 400" in said(HEALTHY + 0.5).sentence  # 0.5 less 0.04 less 0.05


def test_a_run_below_the_band_may_see_what_it_predicts():
    found = said(np.where(STEPS < 150, HEALTHY, 0.5))
    assert (found.place, found.since) == ("below", 150) and "sees the byte it is to predict" in found.sentence


def test_a_loss_that_is_no_number_is_named_with_its_step():
    found = said(np.where(STEPS == 77, math.nan, HEALTHY))
    assert (found.place, found.since) == ("not finite", 77) and "at step 77" in found.sentence


def test_only_steps_that_the_recorded_runs_took_are_compared():
    band = healthy_band([(STEPS[99:], HEALTHY[99:])], half_life=0)
    assert verdict(STEPS[:50], HEALTHY[:50], band).place == "early"
    longer = np.arange(1.0, 801)
    assert said(np.where(longer <= 400, 2 + 6 * np.exp(-longer / 40), 9), steps=longer).place == "inside"


def test_noise_of_single_steps_is_smoothed_away():
    noisy = HEALTHY + np.random.default_rng(0).normal(0, 0.15, 400)
    assert said(noisy).since > 380
    band = healthy_band(SEEDS, half_life=20)
    found = verdict(STEPS, noisy, band, half_life=20)
    assert found.place == "inside" and found.since < 200


def test_the_figure_holds_the_run_over_the_band():
    bits = HEALTHY + 0.5
    axes = training_band(STEPS, bits, BAND, half_life=0).axes[0]
    (band,) = axes.collections
    corners = {tuple(np.round(corner, 6)) for corner in band.get_paths()[0].vertices}
    assert (400, round(BAND.high[-1] + 0.05, 6)) in corners and (400, round(BAND.low[-1] - 0.05, 6)) in corners
    median, _, own = axes.lines
    np.testing.assert_array_equal(median.get_ydata(), BAND.median)
    np.testing.assert_array_equal(own.get_xydata(), np.stack([STEPS, bits], axis=1))
    assert to_rgba(own.get_color()) == to_rgba(style.VERMILION)
    assert axes.get_title(loc="left") == "Above the band from its first step on, by 0.41 bits per byte at step 400"
    assert {text.get_text() for text in axes.texts} == {"this run", "recorded seeds, ±0.05"}
    low, high = axes.get_ylim()
    assert low < BAND.low.min() - 0.05 and bits[20:].max() < high < bits.max()


def test_the_first_steps_of_a_run_are_all_in_the_picture():
    low, high = training_band(STEPS[:3], HEALTHY[:3] + 2, BAND, half_life=0).axes[0].get_ylim()
    assert low < BAND.low.min() and high > HEALTHY[2] + 2


def test_a_run_that_broke_is_drawn_as_far_as_it_went():
    bits = np.where(STEPS > 100, math.nan, HEALTHY)
    axes = training_band(STEPS, bits, BAND, half_life=0).axes[0]
    assert axes.lines[-1].get_xdata()[-1] == 100 and "no finite number at step 101" in axes.get_title(loc="left")
    assert len(training_band(STEPS, np.full(400, math.inf), BAND).axes[0].lines) == 1


def test_a_live_band_takes_rows_of_a_log_and_says_what_they_mean():
    live = LiveTrainingBand(SEEDS)
    live.rows = [LogRow(int(n), 0, 0.0, bits * math.log(2), 0, 0) for n, bits in zip(STEPS, HEALTHY, strict=True)]
    assert live.verdict().place == "inside"
    figure, words = live.picture()
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), HEALTHY)
    assert live.verdict().sentence in words and "recorded seeds" in words


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: healthy_band([]), "recorded must hold at least one run"),
        (lambda: healthy_band([(STEPS[:5], HEALTHY[:5]), (STEPS[9:], HEALTHY[9:])]), "steps in common, got none"),
        (lambda: said(HEALTHY, room=0), "room must be a finite number above 0, got 0"),
        (lambda: said(HEALTHY[:3]), "bits and steps must have the same shape"),
        (lambda: LiveTrainingBand(SEEDS, every=0), "every must be at least 1, got 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""Figures of chapter 13: intervals that miss, curves by bytes and by seconds, masks, and the weights of means."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from megalodon_edu.plots import evidence, style
from megalodon_edu.studies.statistics import mean_interval
from megalodon_edu.training.curves import Band

FAST = Band(np.array([0.0, 50, 100]), np.array([3.0, 2.0, 1.8]), np.array([2.9, 1.9, 1.7]), np.array([3.1, 2.1, 1.9]))
SLOW = FAST._replace(median=FAST.median - 0.2)
COLOURS = {"fast": style.BLUE, "slow": style.VERMILION}


def test_equal_models_differ_by_luck_alone():
    found = evidence.equal_models(experiments=20_000, seeds=3)
    assert found.shape == (20_000, 3)
    assert found.mean() == pytest.approx(0, abs=1e-4) and found.std() == pytest.approx(evidence.NOISE, rel=0.02)


def test_a_half_width_is_that_of_the_studies():
    differences = evidence.equal_models(experiments=5, seeds=4)
    for row, half in zip(differences, evidence.half_widths(differences, 3.1824), strict=True):
        assert half == pytest.approx(mean_interval(row.tolist()).high - row.mean(), rel=1e-4)


def test_an_interval_is_red_where_it_misses_the_truth_and_students_miss_less_often():
    red = []
    for axes in evidence.compared_with_itself().axes:
        _, *lines = axes.lines
        intervals = [(line.get_xdata(), to_rgba(line.get_color())) for line in lines[::2]]
        assert len(intervals) == evidence.EXPERIMENTS
        for (low, high), colour in intervals:
            assert colour == to_rgba(style.GREY if low <= 0 <= high else style.VERMILION)
        red.append(sum(colour == to_rgba(style.VERMILION) for _, colour in intervals))
    assert red == [8, 2], "the alt text says eight and two"


def test_seconds_are_bytes_at_each_models_own_speed():
    bytes_read, seconds = evidence.bytes_and_seconds(
        {"fast": FAST, "slow": SLOW}, {"fast": 50, "slow": 10}, COLOURS
    ).axes
    for axes, last in ((bytes_read, [100, 100]), (seconds, [2, 10])):
        assert [line.get_xdata()[-1] for line in axes.lines] == last
        np.testing.assert_array_equal(axes.lines[1].get_ydata(), SLOW.median)
    assert [text.get_text() for text in seconds.texts] == ["fast", "slow"]


def test_a_square_is_filled_where_the_query_may_look():
    mask = np.tril(np.ones((3, 3), dtype=bool))
    axes = evidence.who_looks_where({"causal": mask}, "abc").axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), mask)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]


def test_the_weights_of_every_mean_are_drawn():
    flat, fading = np.full(4, 0.25), 0.5 ** np.arange(1, 5)
    axes = evidence.weights_of_the_past(
        {"flat": flat, "fading": fading}, {"flat": "grey", "fading": "blue"}, "ago"
    ).axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == [list(flat), list(fading)]
    assert axes.get_xlabel() == "ago" and [text.get_text() for text in axes.texts] == ["flat", "fading"]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: evidence.bytes_and_seconds({}, {}, {}), "models must hold at least one model"),
        (lambda: evidence.bytes_and_seconds({"fast": FAST}, {}, COLOURS), "got none for fast"),
        (lambda: evidence.who_looks_where({}, "ab"), "masks must hold at least one mask"),
        (lambda: evidence.who_looks_where({"m": np.ones((2, 3))}, "ab"), r"shape \(2, 2\) of the tokens, got \(2, 3\)"),
        (lambda: evidence.weights_of_the_past({}, {}, "ago"), "weights must hold at least one mean"),
        (lambda: evidence.weights_of_the_past({"m": np.ones(2)}, {}, "ago"), "got none for m"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()

"""Ablations as a forest plot, and what more context is worth: the figures hold the numbers that they are given."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from megalodon_edu.plots import style
from megalodon_edu.plots.ablations import Difference, forest
from megalodon_edu.plots.long_context import BookLine, beside_baseline, context_gain
from megalodon_edu.studies.bootstrap import Interval

DIFFERENCES = {
    "no attention": Difference(np.array([0.2, 0.22, 0.24]), 0.18, 0.26),
    "real EMA": Difference(np.array([-0.01, 0.02]), -0.03, 0.04),
    "long chunks": Difference(np.array([-0.05]), -0.06, -0.04),
}
T = 8192
LONG = BookLine(
    np.array([0, T // 4, T, 4 * T, 100 * T]),
    np.array([0.5, 0.03, 0, -0.01, -0.02]),
    np.array([0.4, 0.02, 0, -0.02, -0.03]),
    np.array([0.7, 0.05, 0, 0.0, -0.01]),
)
SHORT = BookLine(*(column[:3] for column in LONG))


def test_every_variant_has_its_interval_its_mean_and_a_dot_for_each_seed():
    axes = forest(DIFFERENCES).axes[0]
    zero, *lines = axes.lines
    assert list(zero.get_xdata()) == [0, 0] and len(lines) == 9
    for place, (name, (seeds, low, high)) in enumerate(DIFFERENCES.items()):
        interval, mean, dots = lines[3 * place : 3 * place + 3]
        assert list(interval.get_xdata()) == [low, high] and list(interval.get_ydata()) == [place, place]
        assert mean.get_xdata()[0] == pytest.approx(seeds.mean()) and mean.get_ydata()[0] == place
        np.testing.assert_array_equal(dots.get_xdata(), seeds)
        assert axes.get_yticklabels()[place].get_text() == name and axes.get_yticks()[place] == place
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first variant stands on top"


def test_a_variant_that_cannot_be_told_from_the_full_model_is_grey():
    colours = [line.get_color() for line in forest(DIFFERENCES).axes[0].lines[1::3]]
    assert [to_rgba(colour) for colour in colours] == [to_rgba(c) for c in (style.BLUE, style.GREY, style.VERMILION)]


def test_the_numbers_stand_beside_the_intervals():
    texts = [text.get_text() for text in forest(DIFFERENCES).axes[0].texts]
    assert texts[0] == "+0.220  (+0.180 to +0.260)" and texts[2] == "−0.050  (−0.060 to −0.040)"


@pytest.mark.parametrize(
    "differences, message",
    [
        ({}, "differences must hold at least one variant"),
        ({"a": Difference(np.array([]), 0, 1)}, r"differences\['a'\].seeds must hold at least one seed"),
        ({"a": Difference(np.array([1.0, 3.0]), 0, 1)}, "low <= mean of the seeds <= high, got 0, 2, 1"),
        ({"a": Difference(np.array([np.nan]), 0, 1)}, "low <= mean of the seeds <= high, got 0, nan, 1"),
    ],
)
def test_differences_that_cannot_be_drawn_are_refused(differences, message):
    with pytest.raises(ValueError, match=message):
        forest(differences)


def drawn(axes):
    """Of every book: the line, and the ends of its intervals (point, 2)."""
    found = []
    for line, _, (bars,) in axes.containers:
        found.append((line, np.array([segment[:, 1] for segment in bars.get_segments()])))
    return found


def test_more_context_has_a_panel_of_its_own():
    before, after = context_gain({"Moby-Dick": LONG, "Persuasion": SHORT}, T, title="a title").axes
    for axes, part in ((before, slice(0, 3)), (after, slice(2, 5))):
        line, intervals = drawn(axes)[0]
        np.testing.assert_array_equal(line.get_ydata(), LONG.mean[part])
        np.testing.assert_allclose(intervals, np.stack([LONG.low[part], LONG.high[part]], axis=1), atol=1e-12)
    assert [label.get_text() for label in before.get_xticklabels()] == ["0", "T/4", "T"]
    assert [label.get_text() for label in after.get_xticklabels()] == ["T", "4 T", "100 T"]
    np.testing.assert_allclose(after.get_xticks(), np.log2([1, 4, 100]))
    np.testing.assert_allclose(before.get_xticks(), np.log2([1 / 16, 1 / 4, 1]))
    assert before.get_title(loc="left") == "a title" and "difference" in before.get_ylabel()


def test_every_book_has_its_name_once_where_it_ends():
    before, after = context_gain({"Moby-Dick": LONG, "Persuasion": SHORT}, T).axes
    assert not before.texts and [text.get_text() for text in after.texts] == ["Moby-Dick", "Persuasion"]
    moby, persuasion = (text.xy for text in after.texts)
    assert moby[1] == -0.02 and persuasion[1] == 0 and moby[0] > persuasion[0]


def test_books_stand_beside_each_other():
    (first, _), (second, _) = drawn(context_gain({"a": SHORT, "b": SHORT}, T).axes[0])
    assert (second.get_xdata() > first.get_xdata()).all() and (second.get_ydata() == first.get_ydata()).all()


def test_without_more_context_there_is_one_panel():
    (axes,) = context_gain({"a": SHORT}, T).axes
    assert [text.get_text() for text in axes.texts] == ["a"]


@pytest.mark.parametrize(
    "books, message",
    [
        ({}, "books must hold 1 to 6 books, got 0"),
        ({str(n): SHORT for n in range(7)}, "books must hold 1 to 6 books, got 7"),
        ({"a": SHORT._replace(low=np.zeros(2))}, r"books\['a'\] must hold arrays of one length, got \[3, 3, 2, 3\]"),
        ({"a": SHORT._replace(preceding=np.array([4, 2, 9]))}, r"books\['a'\].preceding must rise from 0 or above"),
        ({"a": BookLine(*(column[2:3] for column in LONG))}, "two contexts on one side of 8,192 bytes"),
    ],
)
def test_books_that_cannot_be_drawn_are_refused(books, message):
    with pytest.raises(ValueError, match=message):
        context_gain(books, T)


BESIDE = {
    "novel": {"a": Interval(0.1, 0.05, 0.15), "b": Interval(-0.2, -0.3, -0.1)},
    "play": {"a": Interval(0.0, -0.1, 0.1), "b": Interval(0.3, 0.2, 0.4)},
}


def test_every_reader_stands_beside_the_baseline_in_a_row_of_its_book():
    figure = beside_baseline(BESIDE, "ours")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["novel", "play"]
    assert "more than ours" in axes.get_xlabel()
    drawn = [(bar.lines[0].get_xdata()[0], bar.lines[0].get_ydata()[0]) for bar in axes.containers]
    gaps = [(row, gap) for row, found in enumerate(BESIDE.values()) for gap in found.values()]
    for (x, y), bar, (row, gap) in zip(drawn, axes.containers, gaps, strict=True):
        assert x == gap.mean and abs(y - row) < 0.5
        np.testing.assert_allclose(bar.lines[2][0].get_segments()[0][:, 0], [gap.low, gap.high])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


@pytest.mark.parametrize(
    ("books", "message"),
    [
        ({}, "with 1 to 6 readers, got 0"),
        ({**BESIDE, "poem": {"a": Interval(0, 0, 0)}}, r"books\['poem'\] must hold the readers a, b, got a"),
    ],
)
def test_readers_that_cannot_be_drawn_are_refused(books, message):
    with pytest.raises(ValueError, match=message):
        beside_baseline(books, "ours")

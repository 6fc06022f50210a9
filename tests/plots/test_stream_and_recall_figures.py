"""Figures of long streams and of recall: they hold what they are given, and refuse what cannot be drawn."""

import numpy as np
import pytest

from megalodon_edu.plots.recall import GainLine, RecallLine, gains, recall
from megalodon_edu.plots.streaming import StreamLine, streams

END = np.array([10, 20, 30])
LONG = StreamLine(END, np.array([5.0, 5, 5]), np.array([7, 8, 7]))
SHORT = StreamLine(END[:2], np.array([6.0, 1]), np.array([9, 18]))
NEAR_AND_FAR = RecallLine(np.array([1, 8]), np.array([[1.0, 0.5], [0.8, 0.1]]))


def test_a_stream_is_drawn_twice_and_one_that_stopped_early_is_crossed():
    speed, state = streams({"ours": LONG, "theirs": SHORT}).axes
    assert [len(axes.lines) for axes in (speed, state)] == [3, 3]
    for axes, column in ((speed, "bytes_per_second"), (state, "state_bytes")):
        ours, theirs, cross = axes.lines
        np.testing.assert_array_equal(ours.get_ydata(), getattr(LONG, column))
        np.testing.assert_array_equal(theirs.get_ydata(), getattr(SHORT, column))
        assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (20, getattr(SHORT, column)[-1])
        assert axes.get_xscale() == axes.get_yscale() == "log"
        assert {text.get_text() for text in axes.texts} == {"ours", "theirs"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({}, "lines must hold 1 to 4 streams, got 0"),
        ({"a": LONG._replace(end=END[:2])}, r"lines\['a'\] must hold arrays of one length, got \[2, 3, 3\]"),
        ({"a": LONG._replace(end=END[::-1])}, "bytes written that rise"),
        ({"a": LONG._replace(state_bytes=np.zeros(3))}, "numbers above 0"),
    ],
)
def test_streams_that_cannot_be_drawn_are_refused(lines, message):
    with pytest.raises(ValueError, match=message):
        streams(lines)


def test_recall_shows_the_mean_every_seed_the_chunk_and_what_guessing_gives():
    axes = recall({"ours": NEAR_AND_FAR}, chance=0.0625, chunk=4).axes[0]
    guessing, chunk, mean, *seeds = axes.lines
    assert set(guessing.get_ydata()) == {0.0625} and set(chunk.get_xdata()) == {4}
    np.testing.assert_allclose(mean.get_ydata(), [0.9, 0.3])
    for dots, seed in zip(seeds, NEAR_AND_FAR.shares, strict=True):
        np.testing.assert_array_equal(dots.get_ydata(), seed)
    assert {text.get_text() for text in axes.texts} == {"ours", "guessing", "one chunk"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (NEAR_AND_FAR._replace(distances=np.array([1])), r"got \(1,\) and \(2, 2\)"),
        (NEAR_AND_FAR._replace(distances=np.array([8, 1])), "distances that rise above 0"),
        (NEAR_AND_FAR._replace(shares=np.full((2, 2), 1.5)), "shares from 0 to 1"),
    ],
)
def test_recall_that_cannot_be_drawn_is_refused(line, message):
    with pytest.raises(ValueError, match=message):
        recall({"ours": line}, chance=0.1, chunk=4)


def test_no_model_is_refused():
    with pytest.raises(ValueError, match="models must hold 1 to 4 models, got 0"):
        recall({}, chance=0.1, chunk=4)


SAVED = GainLine(np.array([0.5, 2]), np.array([0.4, 0.0]), np.array([0.3, -0.1]), np.array([0.6, 0.1]))
MORE = SAVED._replace(mean=SAVED.mean + 1, low=SAVED.low + 1, high=SAVED.high + 1)


def test_gains_are_drawn_with_their_intervals_and_a_control_is_dotted():
    figure = gains({"copy": {"ours": SAVED}, "number": {"ours": MORE}}, {"number": {"ours": SAVED}})
    copy, number = figure.axes
    assert [len(axes.containers) for axes in (copy, number)] == [1, 2]
    for bar, line in zip([*copy.containers, *number.containers], (SAVED, MORE, SAVED), strict=True):
        np.testing.assert_array_equal(bar.lines[0].get_xdata(), line.distances)
        np.testing.assert_array_equal(bar.lines[0].get_ydata(), line.mean)
        ends = np.array([segment[:, 1] for segment in bar.lines[2][0].get_segments()])
        np.testing.assert_allclose(ends, np.array([line.low, line.high]).T, atol=1e-12)
    assert [bar.lines[0].get_linestyle() for bar in number.containers] == ["-", ":"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ours"]


@pytest.mark.parametrize(
    ("panels", "controls", "message"),
    [
        ({}, {}, "panels must hold panels with 1 to 4 models, got 0"),
        ({"a": {"m": SAVED}, "b": {"n": SAVED}}, {}, r"panels\['b'\] must hold the models m, got n"),
        ({"a": {"m": SAVED}}, {"b": {"m": SAVED}}, "controls must be of the panels a, got b"),
        ({"a": {"m": SAVED}}, {"a": {}}, r"controls\['a'\] must hold the models m, got none"),
        ({"a": {"m": SAVED._replace(low=np.zeros(1))}}, {}, r"arrays of one length, got \[2, 2, 1, 2\]"),
        ({"a": {"m": SAVED._replace(distances=np.array([2, 1]))}}, {}, "distances that rise above 0"),
    ],
)
def test_gains_that_cannot_be_drawn_are_refused(panels, controls, message):
    with pytest.raises(ValueError, match=message):
        gains(panels, controls)

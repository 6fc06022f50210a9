"""The figures of chapter 01 show what they claim: their data against numbers computed here by other means."""

import numpy as np
import pytest

from megalodon_edu.plots import ema as plots


def heights(axes):
    return np.array([bar.get_height() for bar in axes.patches])


def lines(axes):
    return [np.asarray(line.get_ydata(), float) for line in axes.lines]


def test_letters_fade_towards_the_left():
    figure = plots.fading_text("whales", [0.5, 0.1])
    first, second = figure.axes
    np.testing.assert_allclose(heights(first), [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1])
    np.testing.assert_allclose(heights(second)[::-1], np.cumprod([1, 0.9, 0.9, 0.9, 0.9, 0.9]))
    assert "".join(label.get_text() for label in first.get_xticklabels()) == "whales"
    assert first.get_title(loc="left").endswith("halves every letter")
    assert second.get_title(loc="left").endswith("halves every 6.6 letters")


def test_six_tokens_show_values_and_memory():
    (axes,) = plots.six_tokens("whales", (4, 0, 0, 2, 0, 0), (2, 1, 0.5, 1.25, 0.625, 0.3125)).axes
    np.testing.assert_allclose(heights(axes), [4, 0, 0, 2, 0, 0])
    np.testing.assert_allclose(lines(axes)[0], [2, 1, 0.5, 1.25, 0.625, 0.3125])
    assert [text.get_text() for text in axes.texts] == ["2", "1", "0.5", "1.25", "0.625", "0.3125"]


def test_contributions_stack_up_to_the_loops_memory():
    (axes,) = plots.contributions("whales", (4, 0, 0, 2, 0, 0), alpha=0.25).axes
    h, memory = 0.0, []
    for x in (4, 0, 0, 2, 0, 0):
        h = 0.25 * x + 0.75 * h
        memory.append(h)
    stacks = heights(axes).reshape(2, 6)
    np.testing.assert_allclose(stacks.sum(0), memory)
    np.testing.assert_allclose(stacks[1], [0, 0, 0, 0.5, 0.375, 0.28125])
    np.testing.assert_allclose([bar.get_y() for bar in axes.patches][6:], stacks[0])


def test_kernels_carry_their_half_lives():
    left, right = plots.kernels([0.3, 0.1], length=50).axes
    assert right.get_yscale() == "log"
    for axes in (left, right):
        weights, dot = lines(axes)[:2]
        np.testing.assert_allclose(weights[1:] / weights[:-1], 0.7)
        assert weights[0] == dot[0] * 2 == 0.3
    halves = [line.get_xdata()[0] for line in left.lines[1::2]]
    np.testing.assert_allclose([0.7 ** halves[0], 0.9 ** halves[1]], 0.5, rtol=1e-5)
    assert [text.get_text() for text in left.texts] == ["α = 0.3, half-life 1.9", "α = 0.1, half-life 6.6"]


def test_a_cold_start_is_drawn_as_given():
    (axes,) = plots.cold_start([0.5, 0.75, 0.875], [1, 1, 1]).axes
    np.testing.assert_allclose(lines(axes), [[0.5, 0.75, 0.875], [1, 1, 1]])


def test_the_lines_after_a_spike_cross():
    (axes,) = plots.after_a_spike([0.1, 0.01], length=101).axes
    fast, slow = lines(axes)
    assert fast[0] == pytest.approx(0.1) and slow[100] == pytest.approx(0.01 * 0.99**100)
    assert (fast > slow).nonzero()[0].tolist() == list(range(25))
    assert axes.get_yscale() == "log"


def test_presence_gives_each_name_a_row_with_the_same_scale():
    figure = plots.presence({"Darcy": [0.0, 2.0, 4.0], "Lydia": [1.0, 0.0, 0.0]})
    darcy, lydia = figure.axes
    np.testing.assert_allclose(lines(darcy)[0], [0, 2, 4])
    np.testing.assert_allclose(darcy.lines[0].get_xdata(), [0, 0.001, 0.002])
    np.testing.assert_allclose(lines(lydia)[0], [1, 0, 0])
    assert darcy.get_ylim() == lydia.get_ylim()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Darcy", "Lydia"]

"""The figures of chapter 09 hold the numbers that they are given, and those that their words name."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from megalodon_edu.measure.cost_model import Flops
from megalodon_edu.plots import scaling, style

CONTEXTS = [100, 200, 400]
FAST = {"transformer": [0.1, 0.3, 0.9], "megalodon": [0.2, 0.25, 0.3]}


def squares(axes):
    return len(axes.patches)


def lines(axes):
    return [line.get_ydata().tolist() for line in axes.lines]


def test_looks_are_one_triangle_or_one_for_each_chunk():
    one, many = scaling.looks("whales", 3).axes
    assert (squares(one), squares(many)) == (21, 12)
    assert [text.get_text() for text in many.texts] == list("123123")


def test_a_bill_is_as_long_as_its_parts_together():
    bills = {"short": Flops(1, 2, 3, 0, 4, 5), "long": Flops(10, 20, 30, 7, 40, 50)}
    axes = scaling.bill_of_a_token(
        {name: Flops(*(10**9 * part for part in bill)) for name, bill in bills.items()}
    ).axes[0]
    ends = {bar.get_y(): 0.0 for bar in axes.patches}
    for bar in axes.patches:
        ends[bar.get_y()] = max(ends[bar.get_y()], bar.get_x() + bar.get_width())
    assert sorted(ends.values()) == pytest.approx([15, 157])
    assert [text.get_text() for text in axes.texts] == ["15.0", "157.0"]


def test_measured_curves_are_drawn_in_milliseconds_and_in_their_colours():
    forward, step = scaling.measured(
        CONTEXTS, FAST, {name: [10 * t for t in times] for name, times in FAST.items()}
    ).axes
    assert lines(forward) == [[1e3 * t for t in FAST[name]] for name in FAST]
    assert lines(step)[0] == pytest.approx([1000, 3000, 9000])
    assert [to_rgba(line.get_color()) for line in forward.lines] == [
        to_rgba(colour) for colour in (style.TRANSFORMER, style.MEGALODON)
    ]


def test_writing_draws_time_and_bytes():
    time, state = scaling.writing(CONTEXTS, FAST, {"transformer": [1e6, 2e6, 4e6], "megalodon": [3e5] * 3}).axes
    assert lines(time) == [[1e3 * t for t in FAST[name]] for name in FAST]
    assert lines(state) == [[1, 2, 4], [0.3] * 3]


def test_peaks_draws_a_line_for_each_name():
    axes = scaling.peaks(CONTEXTS, {"one": [1, 2, 3], "two": [2, 4, 6]}).axes[0]
    assert lines(axes) == [[1, 2, 3], [2, 4, 6]]
    assert [text.get_text() for text in axes.texts] == ["one", "two"]


def test_the_model_goes_on_where_the_measurement_ends():
    contexts = [100, 1000, 10_000]
    modelled = {"transformer": [0.1, 1.0, 100.0], "megalodon": [0.1, 0.2, 0.9]}
    axes = scaling.carried_on({"read": (CONTEXTS, FAST)}, contexts, {"read": modelled}).axes[0]
    assert lines(axes) == [modelled["transformer"], FAST["transformer"], modelled["megalodon"], FAST["megalodon"]]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["1 second", "1 minute"]


def test_each_layer_gets_one_message_and_starts_with_it():
    axes = scaling.two_ranks(3, share=0.25).axes[0]
    boxes = [patch for patch in axes.patches if hasattr(patch, "get_x")]
    assert [box.get_x() for box in boxes] == [0, 1, 2, 0.25, 1.25, 2.25]
    assert len(axes.patches) - len(boxes) == 3


def test_the_kept_figure_shows_what_its_words_say():
    transformer, megalodon = (line.get_xydata() for line in scaling.flops_per_token().axes[0].lines)
    assert 14e9 < transformer[0, 1] < 16e9 and 14e9 < megalodon[0, 1] < 16e9
    assert megalodon[-1, 1] == megalodon[40, 1] and round(megalodon[-1, 1] / 1e9) == 16
    ratio = np.interp(30_000, transformer[:, 0], transformer[:, 1] / megalodon[:, 1])
    assert 1.8 < ratio < 2.3
    assert transformer[-1, 1] > 5e12

"""The figures of chapter 11 hold the numbers that they are given."""

import pytest
from matplotlib.colors import to_rgba

from megalodon_edu.measure.ladder import CEMA_RUNGS, Case, Device, Time, count
from megalodon_edu.plots import roofline, style

DEVICE = Device(bytes_per_second=2e12, ordinary=4e13, tensor=6e14, multiprocessors=100)
COUNTED = {rung: count(rung, Case()) for rung in CEMA_RUNGS}


def colours(axes, row, channels):
    return [patch.get_facecolor() for patch in axes.patches[row * channels : (row + 1) * channels]]


def test_a_sheet_has_a_colour_for_every_program_and_a_frame_for_what_it_reads():
    sheets = dict(zip([owner.title for owner in roofline.OWNERS], roofline.owners(8, 4).axes, strict=True))
    assert len(set(colours(sheets["naive"], 0, 4))) == 4 and len(set(colours(sheets["coalesced"], 0, 4))) == 1
    assert colours(sheets["coalesced"], 0, 4) == colours(sheets["coalesced"], 7, 4)
    assert colours(sheets["segments"], 0, 4) != colours(sheets["segments"], 7, 4)
    assert colours(sheets["channel tiles"], 0, 4) == colours(sheets["channel tiles"], 7, 4)
    frames = {name: [p for p in axes.patches if not p.get_fill()] for name, axes in sheets.items()}
    assert {name: len(found) for name, found in frames.items()} == {
        "naive": 1, "coalesced": 1, "segments": 1, "chunks": 2, "channel tiles": 2,
    }  # fmt: skip
    assert round(frames["channel tiles"][0].get_width()) == 4 and round(frames["chunks"][0].get_height()) == 4


def test_no_two_programs_share_a_colour():
    naive, _, segments, *_ = roofline.owners().axes
    assert len(set(colours(naive, 0, 8))) == 8
    assert len({*colours(segments, 0, 8), *colours(segments, 15, 8)}) == 4


def test_the_roof_is_a_slope_and_two_flats():
    tensor, ordinary, best, _ = roofline.roofline(DEVICE, COUNTED, {}, "a title").axes[0].lines
    for line, rate in ((tensor, 600), (ordinary, 40)):
        x, y = line.get_xydata().T
        assert y[0] == pytest.approx(2 * x[0]) and y[-1] == pytest.approx(rate)
    for (x, y), one in zip(best.get_xydata(), COUNTED.values(), strict=True):
        rate = 600 if one.unit == "tensor" else 40
        assert (x, y) == pytest.approx((one.intensity, min(2 * one.intensity, rate)))


def test_a_measured_rung_stands_where_its_time_puts_it():
    red = roofline.roofline(DEVICE, COUNTED, {"naive": 10.0}, "a title").axes[0].lines[-1]
    assert to_rgba(red.get_color()) == to_rgba(style.VERMILION)
    ((_, y),) = red.get_xydata()
    assert y == pytest.approx(COUNTED["naive"].operations / 10e-3 / 1e12)


def test_rungs_at_one_place_share_a_label():
    axes = roofline.roofline(DEVICE, COUNTED, {"chunks": 1.0, "tensor cores": 1.01, "naive": 3.0}, "a title").axes[0]
    found = [text.get_text() for text in axes.texts]
    assert {"1", "4, 5"} < set(found) and "5" not in found


def test_the_roofline_is_drawn_in_the_style_of_the_course():
    axes = roofline.roofline(DEVICE, COUNTED, {}, "a title").axes[0]
    assert axes.get_title(loc="left") == "a title"
    assert axes.xaxis.get_label().get_color() == style.RC["axes.labelcolor"]


def test_bars_are_times_and_marks_are_floors():
    rows = [Time("CEMA", "naive", (8, 4096, 1024), 3.0, 0.1), Time("CEMA", "the package's", (8, 4096, 1024), 0.2, 0.1)]
    axes = roofline.times(rows, {"naive": 0.15}, least=0.05, title="CEMA").axes[0]
    assert [bar.get_width() for bar in axes.patches] == [3.0, 0.2]
    assert [line.get_xdata()[0] for line in axes.lines] == [0.15, 0.05]
    assert [text.get_text() for text in axes.texts] == ["3 ms", "0.2 ms"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["naive", "the package's"]

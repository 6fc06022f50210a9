from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from megalodon_edu.measure.first_kernels import Measurement, Speed
from megalodon_edu.plots import first_kernels as plots
from megalodon_edu.plots import style


def boxes(axes, color):
    return [p for p in axes.patches if isinstance(p, Rectangle) and p.get_facecolor()[:3] == to_rgba(color)[:3]]


def test_masked_lanes_are_dashed_and_every_program_has_its_colour():
    (axes,) = plots.blocks("whales", (4, 0, 0, 2, 0, 0), block=4).axes
    assert [patch.get_linestyle() for patch in axes.patches] == 6 * ["-"] + 2 * ["--"]
    assert len(boxes(axes, style.BLUE)) == 4 and len(boxes(axes, style.ORANGE)) == 2
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("masked") == 2 and {"program 0", "program 1"} <= set(texts)


def test_touched_sectors_are_underlaid():
    _, axes = style.figure()
    plots.draw_memory(axes, range(40), live=[3, 9, 33], masked=[40, 41], in_sector=8, most=42)
    assert len(boxes(axes, style.YELLOW)) == 3 * 8 and len(boxes(axes, style.BLUE)) == 3
    (crosses,) = [line for line in axes.lines if line.get_marker() == "x"]
    assert crosses.get_xydata().tolist() == [[8, 1], [9, 1]]
    assert len(boxes(axes, style.SKY)) == 40 - 3


def test_a_row_touches_one_sector_and_a_column_eight():
    above, below = plots.coalesced_or_strided().axes
    assert len(boxes(above, style.YELLOW)) == 8 and len(boxes(below, style.YELLOW)) == 64
    assert len(boxes(above, style.BLUE)) == len(boxes(below, style.BLUE)) == 8


def test_bars_are_shares_of_the_copy():
    copy = Speed("copy", (1000,), 0, 8000, 0.004, None)
    speeds = [Speed("vector add", (1000,), 1, 8000, 0.005, 0.004), Speed("EMA step by step", (1,), 1, 8000, 0.04, None)]
    (axes,) = plots.bandwidth(Measurement("a GPU", copy, speeds, {}), "a title").axes
    assert [round(bar.get_width(), 6) for bar in axes.patches] == [0.8, 0.1]
    marks = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
    assert [round(mark, 6) for mark in marks] == [1.0]
    assert axes.get_title(loc="left") == "a title"

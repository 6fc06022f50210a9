import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Circle, FancyBboxPatch

from megalodon_edu.plots import assembled as plots
from megalodon_edu.plots import style


def test_three_parts_of_the_block_are_coloured_those_with_a_state():
    (axes,) = plots.megalodon_block().axes
    boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    plain = boxes[-1].get_facecolor()
    centres = [
        (box.get_x() + box.get_width() / 2, box.get_y() + box.get_height() / 2)
        for box in boxes
        if box.get_facecolor() != plain
    ]
    words = {text.get_position(): text.get_text() for text in axes.texts}
    found = [text for at, text in words.items() if any(np.allclose(at, centre) for centre in centres)]
    assert found == ["Timestep Norm", "CEMA", "attention inside the chunk"]
    assert len(boxes) == 9 and sum(isinstance(patch, Circle) for patch in axes.patches) == 4


def test_nothing_of_the_block_is_cut_off():
    figure = plots.megalodon_block()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for text in figure.axes[0].texts:
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height, text.get_text()


def test_shares_add_up_and_small_ones_stay_unwritten():
    counts = dict(zip(plots.PART_COLORS, (10, 1, 1, 48, 40), strict=True))
    (axes,) = plots.parameter_shares({"a": counts, "b": counts}).axes
    assert [bar.get_width() for bar in axes.patches[:5]] == [10, 1, 1, 48, 40]
    assert [text.get_text() for text in axes.texts[:3]] == ["10 %", "48 %", "40 %"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


def test_every_byte_of_a_page_has_its_cell():
    text = b"ab\nc" + b"d" * plots.LINE
    bits = np.arange(len(text))
    axes = plots.surprise_page(text, bits).axes[0]
    cells = axes.images[0].get_array().filled(np.nan)
    assert cells[0, :3].tolist() == [0, 1, 2] and np.isnan(cells[0, 3:]).all()
    assert cells[1].tolist() == bits[3 : 3 + plots.LINE].tolist()
    assert cells[2, 0] == bits[-1] and np.isnan(cells[2, 1:]).all()
    assert [text.get_text() for text in axes.texts[:4]] == ["a", "b", "↵", "c"]


def test_a_page_without_a_number_for_each_byte_is_refused():
    with pytest.raises(ValueError, match=r"bits must hold 6 numbers, one for each byte of text, got \(5,\)"):
        plots.surprise_page(b"whales", np.zeros(5))


def test_half_lives_are_in_order_and_one_chunk_is_marked():
    figure = plots.half_lives([[3, 1, 2]] * 2, [[9, 4, 5]] * 2, chunk_size=64)
    for axes in figure.axes:
        trained, fresh, chunk = (list(line.get_ydata()) for line in axes.lines)
        assert (trained, fresh, chunk) == ([4, 5, 9], [1, 2, 3], [64, 64])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["layer 0", "layer 1"]


def test_a_curve_may_end_before_the_last_place():
    (axes,) = plots.bits_by_place([0, 1, 4, 8], {"nothing": [3.0, 2.0, 1.0], "both": [4.0]}).axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[0, 3], [1, 2], [2, 1]], [[0, 4]]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1-3", "4-7"]


def test_a_part_is_drawn_chunk_by_chunk_and_only_where_it_is_kept():
    window = np.array([0, 1, 3, 4, 5, 7])
    keys, norm = np.array([0, 2, 6, 0, 2, 6]), np.full(6, 9)
    axis, sizes = np.array([0, 3, 4, 7]), np.array([9, 15, 9, 15])
    figure = plots.state_over_time(
        axis,
        {"state": sizes, "cache": 4 * axis},
        window,
        {"keys": keys, "norm": norm},
        (6, np.array([13, 24, 4, 9])),
        4,
    )
    left, right = figure.axes
    drawn = [line.get_xydata().tolist() for line in right.lines if line.get_color() == style.SKY]
    assert drawn == [[[1, 2], [3, 6]], [[5, 2], [7, 6]], [[6, 4]]]
    assert [6, 13] in [line.get_xydata()[0].tolist() for line in left.lines]

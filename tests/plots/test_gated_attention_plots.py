import math

import numpy as np
import pytest
import torch

from megalodon_edu.measure.receptive_field import receptive_field
from megalodon_edu.plots import gated_attention as plots
from megalodon_edu.plots import style


def maps(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images and axes.get_title(loc="left")]


def test_a_field_is_drawn_as_a_share_of_its_largest_entry_and_zeros_stay_white():
    field = torch.tensor([[2.0, 0.0], [1e-9, 4.0]])
    figure = plots.fields({"one": field, "other": field / 2}, chunk_size=1, faintest=1e-3)
    one, other = maps(figure)
    assert np.ma.allclose(one, [[0.5, 0], [1e-3, 1]])
    assert one.mask.tolist() == [[False, True], [False, False]]
    assert np.ma.allclose(one, other)
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["one", "other"]
    edges = [line for line in figure.axes[0].lines if line.get_color() == style.VERMILION]
    assert sorted((line.get_xdata()[0], line.get_ydata()[0]) for line in edges) == [(0, 0.5), (0.5, 0)]


def test_the_kept_picture_shows_the_wall_and_what_passes_it():
    attention, cema, statistics, everything = maps(plots.one_layer())
    same_chunk = np.arange(48)[:, None] // 12 == np.arange(48) // 12
    past = np.tri(48, dtype=bool)
    for drawn, seen in ((attention, past & same_chunk), (cema, past), (statistics, past), (everything, past)):
        assert np.array_equal(~np.ma.getmaskarray(drawn), seen)


def test_a_row_leaves_zeros_out_and_marks_the_edge():
    field = torch.tensor([[1.0, 0, 0], [0.5, 1, 0], [0, 0.25, 1]])
    (axes,) = plots.row_of_fields({"a": field}, token=2, chunk_size=2).axes
    drawn, edge = axes.lines
    np.testing.assert_array_equal(drawn.get_ydata(), [np.nan, 0.25, 1])
    assert edge.get_xdata()[0] == 1.5 and axes.get_yscale() == "log"


def test_six_tokens_and_their_wall():
    (axes,) = plots.six_tokens("whales", [4, 0, 0, 2, 0, 0], {"memory": [2, 1, 0.5, 1.25, 0.625, 0.3125]}, 3).axes
    memory, wall = axes.lines
    assert list(memory.get_ydata()) == [2, 1, 0.5, 1.25, 0.625, 0.3125]
    assert wall.get_xdata()[0] == 2.5
    assert [bar.get_height() for bar in axes.patches] == [4, 0, 0, 2, 0, 0]
    assert len(plots.six_tokens("wh", [4, 0], {"memory": [2, 1]}).axes[0].lines) == 1


def test_the_valves_are_sigmoid_and_silu():
    update, reset, *_ = plots.valves().axes[0].lines
    x = update.get_xdata()
    assert update.get_ydata() == pytest.approx(1 / (1 + np.exp(-x)))
    assert reset.get_ydata() == pytest.approx(x / (1 + np.exp(-x)))


def test_gates_stand_where_they_belong():
    gate, asked = torch.tensor([0.1, 0.9, 0.2]), torch.tensor([False, True, False])
    plain, asking = plots.gate_in_time(gate, asked).axes[0].lines
    assert list(plain.get_xdata()) == [0, 2] and list(plain.get_ydata()) == pytest.approx([0.1, 0.2])
    assert list(asking.get_xdata()) == [1] and list(asking.get_ydata()) == pytest.approx([0.9])


def test_clocks_turn_by_position_times_frequency():
    figure = plots.clocks(4, 100.0, [0, 3])
    tips = [axes.lines[2].get_xydata()[0] for axes in figure.axes]
    expected = [(math.cos(a), math.sin(a)) for a in (0, 3, 0, 0.3)]
    np.testing.assert_allclose(tips, expected)


def test_products_by_distance_are_drawn():
    (axes,) = plots.product_by_distance({"base 10": torch.tensor([1.0, 0.5]), "base 100": torch.ones(2)}).axes
    assert list(axes.lines[0].get_ydata()) == [1, 0.5]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["base 10", "base 100"]


def test_looks_are_counted():
    full, chunked, _ = plots.looks([2, 4, 11], chunk_size=4).axes[0].lines
    assert list(full.get_ydata()) == [3, 10, 66]
    assert list(chunked.get_ydata()) == [3, 10, 10 + 10 + 6]


def test_a_fresh_layer_leaves_the_readers_dice_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second = plots.fresh_layer(4), plots.fresh_layer(4)
    assert torch.rand(1) == expected
    x = plots.noise(6)
    torch.testing.assert_close(receptive_field(first, x), receptive_field(second, x))

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from megalodon_edu.plots import style
from megalodon_edu.plots import timestep_norm as plots


def cells(name):
    return plots.cells_that_matter(plots.six_norms()[name], (2, 6, 4), (0, 3, 1))


def expected(batches, times, channels):
    full = torch.zeros(2, 6, 4, dtype=torch.bool)
    full[batches, times, channels] = True
    return full


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("batch norm", expected(slice(2), slice(6), slice(1, 2))),
        ("layer norm", expected(slice(1), slice(3, 4), slice(4))),
        ("group norm, token", expected(slice(1), slice(3, 4), slice(2))),
        ("instance norm", expected(slice(1), slice(6), slice(1, 2))),
        ("group norm, text", expected(slice(1), slice(6), slice(2))),
        ("Timestep Norm", expected(slice(1), slice(4), slice(2))),
    ],
)
def test_which_cells_share_statistics(name, shared):
    assert torch.equal(cells(name), shared)


def test_later_tokens_are_hatched_and_the_chosen_cell_is_outlined():
    (axes,) = plots.shared_cells({"whole": cells("group norm, text")}, (0, 3, 1), columns=1).axes
    *grid, outline = axes.patches
    coloured = {p.get_xy(): (to_hex(p.get_facecolor()), p.get_hatch()) for p in grid}
    assert coloured[(2, 0)] == (style.SKY.lower(), None)
    assert coloured[(4, 0)] == (style.VERMILION.lower(), "////")
    assert coloured[(4, 3)] == (plots.UNUSED.lower(), None)
    assert outline.get_xy() == (3, 1) and not outline.get_fill()


def test_the_running_mean_and_its_band_are_drawn():
    features = torch.tensor([[4.0, 0.0], [0.0, 2.0]])
    figure = plots.running_statistics("ab", features, torch.tensor([2.0, 1.5]), torch.tensor([2.0, 1.0]))
    (axes,) = figure.axes
    mean, first, second = (list(line.get_ydata()) for line in axes.lines)
    assert (mean, first, second) == ([2, 1.5], [4, 0], [0, 2])
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert {0.0, 4.0, 0.5, 2.5} <= set(heights.tolist())


def test_series_over_time_keep_their_names_and_numbers():
    series = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0, 4.0])}
    (axes,) = plots.over_time(series, "y", "title", first=1).axes
    assert [list(line.get_xydata()[1]) for line in axes.lines] == [[2, 2], [2, 4]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    (axes,) = plots.over_time(series, "y", "title", logarithmic=True, first=1).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_losses_by_position_start_at_one_character():
    (axes,) = plots.loss_by_position({"leaky": torch.tensor([2.0, 1.0]), "streamed": torch.tensor([3.0, 3.0])}).axes
    assert list(axes.lines[0].get_xdata()) == [1, 2] and list(axes.lines[1].get_ydata()) == [3, 3]


@pytest.mark.parametrize(("length", "rounds"), [(2, 1), (6, 3), (8, 3), (9, 4)])
def test_the_scan_ends_with_every_prefix_after_log2_rounds(length, rounds):
    (axes,) = plots.scan(length).axes
    texts = [text.get_text() for text in axes.texts]
    assert len(texts) == length * (rounds + 1)
    assert texts[-length:] == ["0", *(f"0–{t}" for t in range(1, length))]
    merges = len(axes.lines) // 2
    assert merges == sum(length - 2**r for r in range(rounds))


def test_a_drifting_signal_is_drawn_above_what_norms_make_of_it():
    x = torch.tensor([[0.0, 2.0], [4.0, 6.0]])
    figure = plots.drifting(x, {"halved": x / 2})
    signal, halved = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["the signal x", "halved"]
    assert np.allclose(signal.lines[2].get_ydata(), [1, 5])
    assert np.allclose(halved.lines[2].get_ydata(), [0.5, 2.5])

"""The figures of chapter 00 show what they claim: their data against numbers computed here by other means."""

import numpy as np

from megalodon_edu.plots import gallery
from megalodon_edu.plots import memory_wall as plots


def lines(axes):
    return [np.asarray(line.get_ydata(), float) for line in axes.lines]


def squares(axes):
    return [(patch.get_x() + 0.45, patch.get_y() + 0.45) for patch in axes.patches]


def test_lengths_are_written_beside_their_bars():
    (axes,) = plots.lengths({"whales": 6, "a novel": 684707}).axes
    assert axes.get_xscale() == "log"
    assert [bar.get_width() for bar in axes.patches] == [6, 684707]
    assert [text.get_text() for text in axes.texts] == ["6", "684,707"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["whales", "a novel"]


def test_there_is_one_square_for_each_pair_and_the_newest_stand_out():
    (axes,) = plots.pairs("whales").axes
    expected = [(column, row) for row in range(6) for column in range(6) if column <= row]
    np.testing.assert_allclose(squares(axes), expected)
    colors = [patch.get_facecolor() for patch in axes.patches]
    assert len(set(colors[:15])) == 1 and len(set(colors[15:])) == 1 and colors[0] != colors[-1]
    assert [text.get_text() for text in axes.texts] == list("123456")


def test_weights_are_written_and_shaded():
    (axes,) = plots.attention_weights("wha", [[1], [0.5, 0.5], [0.4, 0.4, 0.2]]).axes
    assert [text.get_text() for text in axes.texts] == ["1", "0.5", "0.5", "0.4", "0.4", "0.2"]
    assert [patch.get_alpha() for patch in axes.patches] == [1, 0.5, 0.5, 0.4, 0.4, 0.2]
    np.testing.assert_allclose(squares(axes), [(0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2)])


def test_growth_shows_milliseconds_and_megabytes():
    time, memory = plots.growth([1000, 4000], [2.0, 5.0], [4_096_000, 16_384_000]).axes
    np.testing.assert_allclose(lines(time)[0], [2, 5])
    np.testing.assert_allclose(lines(memory)[0], [4.096, 16.384])
    assert time.get_ylim()[0] == memory.get_ylim()[0] == 0


def test_bytes_while_reading_are_drawn_in_kilobytes():
    (axes,) = plots.bytes_while_reading([1, 2, 3], [1000, 2000, 3000], [900, 1800, 700]).axes
    np.testing.assert_allclose(lines(axes), [[1, 2, 3], [0.9, 1.8, 0.7]])
    assert [text.get_text() for text in axes.texts] == ["Transformer: KV cache", "Megalodon: state"]


def test_windows_end_at_the_second_mention():
    reaches = {"one layer": 4096, "32 layers": 131072}
    (axes,) = plots.window_over_a_book(684707, [90388, 581475], reaches, "Nicholls").axes
    ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    np.testing.assert_allclose(ends, [(577379, 581475), (450403, 581475)])
    book, mentions = axes.lines
    assert list(book.get_xdata()) == [0, 684707]
    assert list(mentions.get_xdata()) == [90388, 581475]
    assert [text.get_text() for text in axes.texts][2:] == list(reaches)


def test_the_memory_wall_by_hand():
    figure = plots.memory_wall()
    (axes,) = figure.axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    small, large, cache, state = lines(axes)
    assert (small[0], large[0]) == (24e9, 80e9)
    contexts = np.asarray(axes.lines[2].get_xdata())
    np.testing.assert_allclose(cache, 524_288.0 * contexts)  # keys and values, 32 layers, 4096 features, 2 bytes
    # A full chunk's keys and values, CEMA's complex state, count, mean and variance; and the last norm.
    per_layer = 2047 * (1024 + 8192) * 2 + 4096 * 16 * 8 + (8 + 2 * 64 * 4)
    assert set(state[contexts >= 2048]) == {32 * per_layer + (8 + 2 * 64 * 4)}
    passed = [contexts[cache > size][0] for size in (24e9, 80e9)]  # the points lie 8 % apart
    np.testing.assert_allclose(passed, [46e3, 153e3], rtol=0.08)


def test_the_memory_wall_is_kept_as_a_file():
    (kept,) = [figure for figure in gallery.all_kept() if figure.name == "memory_wall"]
    assert kept.file_name == "memory_wall.svg"
    assert kept.draw().axes[0].has_data()

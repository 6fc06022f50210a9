import math

import numpy as np
import pytest
import torch

from megalodon_edu.measure.logit_growth import Look
from megalodon_edu.plots import normalized_attention as plots
from megalodon_edu.plots import style

SIX = torch.tensor([[4, 3], [0, 1], [0, -1], [2, 1.5], [0, -2], [0, 0.5]], dtype=torch.float64)


def test_arrows_keep_their_direction_and_lose_their_length():
    left, right = plots.arrows("whales", SIX).axes
    (before,), (after,) = left.collections, right.collections
    np.testing.assert_allclose(np.stack([before.U, before.V], 1), SIX)
    unit = np.stack([after.U, after.V], 1)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1)
    np.testing.assert_allclose(unit[0], [0.8, 0.6])
    assert [text.get_text() for text in right.texts] == ["w, l", "h, s", "a, e"]
    for axes, arrows in ((left, before), (right, after)):
        assert axes.get_xlim()[1] > max(arrows.U) and axes.get_ylim()[0] < min(arrows.V)


def test_weights_are_written_in_every_cell_that_is_not_the_future():
    table = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    first, second = plots.weights_of_tokens("ab", {"one": table, "two": table}).axes
    assert [text.get_text() for text in first.texts] == ["1.00", "0.25", "0.75"]
    assert second.get_title(loc="left") == "two"
    shades = first.images[0].get_array()
    assert np.ma.getmaskarray(shades)[0, 1] or math.isnan(shades[0, 1])
    assert shades[1, 0] == pytest.approx(0.25)


def looks():
    return [
        Look(normal, 0.01, step, layer, (1 if normal else 10) * (step + 1) + layer, 0.5 + 0.1 * layer, 3.0)
        for normal in (False, True)
        for step in (0, 50)
        for layer in (0, 1)
    ]


def test_growth_shows_the_largest_logit_and_the_smallest_entropy_of_the_layers():
    logits, entropy = plots.growth(looks(), "a run").axes
    without, with_norm = logits.lines[:2]
    assert list(without.get_ydata()) == [11, 511] and without.get_color() == plots.WITHOUT == style.VERMILION
    assert list(with_norm.get_ydata()) == [2, 52] and with_norm.get_color() == plots.WITH
    assert list(with_norm.get_xdata()) == [0, 50]
    assert [list(line.get_ydata()) for line in entropy.lines] == [[0.5, 0.5]] * 2
    assert logits.get_yscale() == "log" and logits.get_title(loc="left") == "a run"


def test_growth_needs_both_variants():
    with pytest.raises(ValueError, match="looks must hold both variants, got none with normalize_z=True"):
        plots.growth([look for look in looks() if not look.normalize_z])


def test_schemes_differ_by_the_width_and_its_root():
    z = torch.randn(3, 5, 16, dtype=torch.float64)
    found = plots.schemes(z)
    right = found["length 1 (Megalodon)"]
    torch.testing.assert_close(right.diagonal(dim1=1, dim2=2), torch.ones(3, 5, dtype=torch.float64))
    torch.testing.assert_close(found["RMS norm, 1/√d forgotten"], 16 * right)
    torch.testing.assert_close(found["length 1, then 1/√d again"], right / 4)
    torch.testing.assert_close(found["no norm, logits / √d"], z @ z.mT / 4)


def test_entropy_at_the_start_stays_high_only_with_the_length_one():
    (axes,) = plots.entropy_at_the_start().axes
    twice, right, bare, forgotten = (line.get_ydata() for line in axes.lines)
    assert min(right) > 0.9 and all(np.array(twice) > np.array(right))
    assert bare[-1] < 0.01 and forgotten[-1] < 1e-6
    assert list(axes.lines[0].get_xdata()) == [2, 4, 8, 16, 32, 64, 128, 256]
    assert [text.get_text() for text in axes.get_legend().get_texts()][1] == "length 1 (Megalodon)"


def test_the_recording_is_read_by_its_learning_rate():
    assert {look.normalize_z for look in plots.recorded_growth(0.004)} == {True, False}
    with pytest.raises(ValueError, match="learning_rate must be one of 0.004, 0.02, got 0.1"):
        plots.recorded_growth(0.1)

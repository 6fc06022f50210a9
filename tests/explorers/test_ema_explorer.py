import numpy as np
import pytest

from megalodon_edu.explorers import EMAExplorer


def test_half_life_and_alpha_are_one_control():
    explorer = EMAExplorer(half_life=1)
    assert explorer.alpha == pytest.approx(0.5)
    explorer.alpha = 0.1
    assert explorer.half_life == pytest.approx(6.5788, rel=1e-4)
    explorer.half_life = 8
    kernel = explorer.values()["kernel"]
    np.testing.assert_allclose(kernel[8:] / kernel[:-8], 0.5)
    with pytest.raises(ValueError, match="half_life must lie between 0.15.* and 68.9.*, got 900"):
        explorer.half_life = 900


def test_the_six_tokens_by_hand():
    explorer = EMAExplorer(signal='six tokens: "whales"', alpha=0.5, steps_back=3)
    values = explorer.values()
    np.testing.assert_allclose(values["memory"][:6], [2, 1, 0.5, 1.25, 0.625, 0.3125])
    assert values["weight"] == pytest.approx(0.5 * 0.5**3)


def test_the_figure_draws_the_values():
    explorer = EMAExplorer(signal="step")
    values = explorer.values()
    left, right = explorer.figure().axes
    np.testing.assert_array_equal(left.lines[1].get_ydata(), values["memory"])
    np.testing.assert_array_equal(right.lines[0].get_ydata(), values["kernel"])
    assert right.lines[1].get_xdata()[0] == pytest.approx(explorer.half_life)

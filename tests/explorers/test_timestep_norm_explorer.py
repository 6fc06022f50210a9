import numpy as np
import pytest
import torch

from megalodon_edu.explorers import TimestepNormExplorer
from megalodon_edu.explorers.timestep_norm import NORMS, fading_norm, timestep_norm

WHOLE, TOKEN, TIMESTEP, FADING = range(4)


def test_only_the_whole_text_moves_what_came_before_the_step():
    leak = TimestepNormExplorer(step=5).values()["leak"]
    assert leak[WHOLE] > 0.1
    assert leak[[TOKEN, TIMESTEP, FADING]] == pytest.approx(0, abs=1e-12)


def test_without_a_step_nothing_is_moved():
    assert TimestepNormExplorer(step=0, loudness=1).values()["leak"] == pytest.approx(0, abs=1e-12)
    assert TimestepNormExplorer(step_at=0).values()["leak"] == pytest.approx(0, abs=1e-12)


def test_a_single_token_has_no_level_and_a_long_past_keeps_a_step():
    level = TimestepNormExplorer(step_at=140, step=5, half_life=5).values()["level"]
    assert level[TOKEN] == pytest.approx(0, abs=1e-9)
    assert level[TIMESTEP] > 1.5 > 0.5 > abs(level[FADING])


def test_the_signal_steps_spreads_and_drifts():
    calm = TimestepNormExplorer(step=0).values()["signal"]
    moved = TimestepNormExplorer(step_at=100, step=3, loudness=2, drift=8).values()["signal"]
    t = np.arange(160)[:, None]
    np.testing.assert_allclose(moved[:100], (calm + 8 * t / 159)[:100])
    np.testing.assert_allclose(moved[100:], (2 * calm + 3 + 8 * t / 159)[100:])


def test_statistics_that_never_fade_are_timestep_norm():
    x = torch.randn(50, 4, dtype=torch.float64)
    torch.testing.assert_close(fading_norm(x, 1e12), timestep_norm(x))


def test_fading_statistics_weigh_a_token_half_after_one_half_life():
    x = torch.zeros(4, 1, dtype=torch.float64)
    x[0] = 7.0
    weights = 0.5 ** (torch.tensor([3.0, 2, 1, 0]) / 1)
    mean = (weights[:, None] * x).sum() / weights.sum()
    var = (weights[:, None] * (x - mean) ** 2).sum() / weights.sum()
    assert fading_norm(x, 1.0)[-1].item() == pytest.approx((-mean / (var + 1e-5).sqrt()).item())


def test_the_figure_shows_the_signal_and_every_norm():
    explorer = TimestepNormExplorer()
    titles = [axes.get_title(loc="left") for axes in explorer.figure().axes]
    assert titles == ["the signal x", *NORMS.values()]
    assert "steps by 4 at token 60" in explorer.description()

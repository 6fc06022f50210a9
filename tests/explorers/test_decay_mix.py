import numpy as np
import pytest

from megalodon_edu.explorers import DecayMixExplorer
from megalodon_edu.explorers.damped_ema import LARGEST_WEIGHT, TARGETS, least_squares, target_kernel


def test_the_sum_is_the_sum_of_the_modes():
    values = DecayMixExplorer(modes=3).values()
    np.testing.assert_allclose(values["kernel"], values["modes"].sum(0))
    tau = np.arange(256)
    by_hand = 0.5 * 0.5**tau + 0.3 * 0.5 ** (tau / 8) + 0.2 * 0.5 ** (tau / 64)
    np.testing.assert_allclose(values["kernel"], by_hand)


@pytest.mark.parametrize("target", TARGETS)
def test_solving_never_makes_the_fit_worse_and_equals_numpy(target):
    explorer = DecayMixExplorer(target=target, modes=4, half_lives=[1, 5, 25, 125, 2, 2])
    before = explorer.values()["error"]
    unused = explorer.weights[4:]
    explorer.solve()
    assert explorer.values()["error"] <= before
    assert explorer.weights[4:] == unused
    columns = 0.5 ** (np.arange(256)[:, None] / np.array(explorer.half_lives[:4]))
    best = np.linalg.lstsq(columns, target_kernel(target, 32), rcond=None)[0]
    np.testing.assert_allclose(explorer.weights[:4], best, rtol=1e-4, atol=1e-7)


def test_two_exponentials_are_found_exactly():
    explorer = DecayMixExplorer(target="two exponentials", target_length=32, modes=2, half_lives=[2, 32, 1, 1, 1, 1])
    explorer.solve()
    assert explorer.weights[:2] == pytest.approx([0.7, 0.3], abs=1e-6)
    assert explorer.values()["error"] < 1e-6


def test_equal_decays_do_not_blow_up():
    columns = 0.5 ** (np.arange(256)[:, None] / np.array([16, 16, 16.01]))
    weights = least_squares(columns, target_kernel(TARGETS[1], 32), LARGEST_WEIGHT)
    assert np.abs(weights).max() <= LARGEST_WEIGHT


def test_spreading_spaces_the_half_lives_evenly():
    explorer = DecayMixExplorer(modes=4)
    explorer.spread()
    ratios = np.divide(explorer.half_lives[1:4], explorer.half_lives[:3])
    np.testing.assert_allclose(ratios, 128 ** (1 / 3))
    assert explorer.half_lives[4:] == [16, 128]
    explorer.modes = 1
    explorer.spread()
    assert explorer.half_lives[0] == 8


def test_more_decays_fit_the_power_law_better():
    errors = []
    for modes in (1, 2, 4, 6):
        explorer = DecayMixExplorer(modes=modes)
        explorer.spread()
        explorer.solve()
        errors.append(explorer.values()["error"].item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.06

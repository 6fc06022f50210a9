import math

import numpy as np
import pytest
import torch

from megalodon_edu.nn import ComplexEMA
from megalodon_edu.ops.complex_ema import complex_ema_kernel
from megalodon_edu.plots import complex_ema as plots

ALPHA = torch.tensor([[0.5, 0.2], [0.9, 0.3]], dtype=torch.float64)
DELTA = torch.tensor([[1.0, 0.5], [0.4, 0.2]], dtype=torch.float64)
THETA = torch.tensor([[0.3, 0.6], [math.pi / 2, math.pi]], dtype=torch.float64)
ETA = torch.tensor([[1.0 + 1j, -1.0], [2.0, 3.0j]], dtype=torch.complex128)


def points(line):
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


def test_a_quarter_turn_visits_the_four_axes_and_its_real_part_skips_every_second_step():
    plane, time = plots.fading_rotation(0.5j, 5).axes
    real, imaginary = points(plane.lines[1])
    assert real == pytest.approx([1, 0, -0.25, 0, 0.0625])
    assert imaginary == pytest.approx([0, 0.5, 0, -0.125, 0])
    _, wave, envelope = time.lines
    assert points(wave)[1] == pytest.approx([1, 0, -0.25, 0, 0.0625])
    assert points(envelope)[1] == pytest.approx([1, 0.5, 0.25, 0.125, 0.0625])


def test_poles_lie_at_their_decay_and_angle():
    (axes,) = plots.pole_plane(1 - ALPHA * DELTA, THETA, channel=1).axes
    _, first, second = (points(line) for line in axes.lines)
    assert (*first[0], *first[1]) == pytest.approx((0, 0.64))
    assert (*second[0], *second[1]) == pytest.approx((-0.94, 0))
    assert [text.get_text() for text in axes.texts] == ["1", "2"]


def test_the_modes_add_up_to_the_package_kernel():
    (axes,) = plots.kernel(ALPHA, DELTA, THETA, ETA, 6, channel=1).axes
    first, second, total, _ = (points(line)[1] for line in axes.lines)
    assert total == pytest.approx(complex_ema_kernel(ALPHA, DELTA, THETA, ETA, 6)[1].numpy())
    assert first + second == pytest.approx(total)
    assert first[:3] == pytest.approx([1.8, 0, -1.8 * 0.64**2])


def test_a_turning_memory_passes_its_own_rhythm_best():
    ages = torch.arange(64)
    (axes,) = plots.frequency_response({"wave": 0.9**ages * torch.cos(ages * 2 * math.pi / 8)}).axes
    cycles, gain = points(axes.lines[0])
    assert cycles[gain.argmax()] == pytest.approx(1 / 8, abs=0.01)
    assert (cycles[0], cycles[-1]) == (0, 0.5)
    assert [text.get_text() for text in axes.texts] == ["wave"]


def test_the_gain_of_each_kernel_is_the_size_of_its_fourier_sum():
    decay, alternating = 0.5 ** torch.arange(32), (-0.5) ** torch.arange(32)
    (axes,) = plots.frequency_response({"decay": decay, "alternating": alternating}, points=32).axes
    low, high = (points(line)[1] for line in axes.lines)
    assert (low[0], low[-1]) == pytest.approx((2, 2 / 3))
    assert (high[0], high[-1]) == pytest.approx((2 / 3, 2))


def test_a_kernel_is_never_cut_short():
    with pytest.raises(ValueError, match="points must be at least the kernel's length 8, got 4"):
        plots.frequency_response({"ones": torch.ones(8)}, points=4)


def test_every_initial_pole_is_drawn_inside_the_disc():
    torch.manual_seed(0)
    (axes,) = plots.initial_poles(ComplexEMA(32, 4)).axes
    real, imaginary = points(axes.lines[1])
    size = np.hypot(real, imaginary)
    assert len(real) == 32 * 4
    assert size.max() < 1
    assert size.mean() == pytest.approx(0.75, abs=0.02)


def test_initial_kernels_are_the_response_to_a_single_one_without_the_skip():
    torch.manual_seed(0)
    module = ComplexEMA(4, 3)
    impulse = torch.zeros(1, 6, 4)
    impulse[:, 0] = 1
    response = (module(impulse)[0] - module.omega[:, 0] * impulse)[0].detach()
    rows = plots.initial_kernels(module, [2, 0], 6).axes
    for axes, channel in zip(rows, (2, 0), strict=True):
        assert points(axes.lines[1])[1] == pytest.approx(response[:, channel].numpy(), abs=1e-6)
        assert axes.get_title(loc="left").startswith(f"channel {channel}: ")


def test_listeners_share_a_scale_below_their_tokens():
    x, quiet = torch.tensor([1.0, -1.0]), torch.tensor([0.1, 0.0])
    tokens, listener = plots.two_listeners(x, {"quiet": quiet}).axes
    assert points(tokens.lines[1])[1] == pytest.approx([1, -1])
    assert points(listener.lines[1])[1] == pytest.approx([0.1, 0])
    assert tokens.get_ylim() == listener.get_ylim()
    assert listener.get_title(loc="left") == "quiet"


def test_six_tokens_are_arrows_and_their_real_parts():
    plane, time = plots.six_tokens("ab", [4.0, 0.0], [2 + 0j, 1j]).axes
    assert [text.get_text() for text in plane.texts if text.get_text()] == ["a", "b"]
    assert [np.asarray(line.get_ydata()).tolist() for line in plane.lines][2] == [0, 1]
    assert points(time.lines[0])[1] == pytest.approx([2, 0])
    assert [bar.get_height() for bar in time.patches] == [4, 0]


def test_around_the_circle_waves_fade_stay_or_grow():
    inside, on, outside = plots.around_the_circle([0.5, 1.0, 2.0], math.pi / 2, 5).axes
    assert points(inside.lines[1])[1] == pytest.approx([1, 0, -0.25, 0, 0.0625])
    assert points(on.lines[1])[1] == pytest.approx([1, 0, -1, 0, 1])
    assert points(outside.lines[1])[1] == pytest.approx([1, 0, -4, 0, 16])
    assert [axes.get_title(loc="left") for axes in (inside, on, outside)] == [
        "|q| = 0.5: inside",
        "|q| = 1: on the circle",
        "|q| = 2: outside",
    ]


def test_compared_kernels_are_drawn_as_given():
    (axes,) = plots.kernels_compared({"one": torch.tensor([1.0, 0.5]), "two": torch.tensor([0.0, -0.5])}).axes
    assert points(axes.lines[1])[1] == pytest.approx([1, 0.5])
    assert points(axes.lines[2])[1] == pytest.approx([0, -0.5])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two"]


def test_the_dial_names_each_text_at_its_loudest_period():
    periods = torch.tensor([20.0, 40.0, 60.0])
    (axes,) = plots.dial(periods, {"verse": torch.tensor([1.0, 3.0, 2.0])}).axes
    assert points(axes.lines[0])[0] == pytest.approx([20, 40, 60])
    assert axes.texts[0].xy == (40, 3)


def test_events_stand_where_they_happened():
    (axes,) = plots.swings_along(torch.tensor([0.0, 1.0, 0.5]), torch.tensor([0.0, 0.0, 1.0])).axes
    assert points(axes.lines[0])[0] == pytest.approx([2, 2])
    assert points(axes.lines[-1])[1] == pytest.approx([0, 1, 0.5])


def test_the_kept_figure_shows_four_poles_and_their_kernels():
    plane, *rows = plots.poles_and_kernels().axes
    places = [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in plane.lines[1:]]
    side = math.sqrt(0.5)
    assert np.ravel(places) == pytest.approx([0.9, 0, 0.8 * side, 0.8 * side, 0.97 * side, 0.97 * side, -0.9, 0])
    decay, wave, slower, alternating = (points(axes.lines[1])[1] for axes in rows)
    assert decay[:3] == pytest.approx([1, 0.9, 0.81])
    assert (wave[8], slower[8]) == pytest.approx((0.8**8, 0.97**8))
    assert alternating[:3] == pytest.approx([1, -0.9, 0.81])

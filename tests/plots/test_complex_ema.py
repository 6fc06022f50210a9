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
    (axes,) = plots.frequency_response(0.9**ages * torch.cos(ages * 2 * math.pi / 8)).axes
    cycles, gain = points(axes.lines[0])
    assert cycles[gain.argmax()] == pytest.approx(1 / 8, abs=0.01)
    assert (cycles[0], cycles[-1]) == (0, 0.5)


def test_a_kernel_is_never_cut_short():
    with pytest.raises(ValueError, match="points must be at least the kernel's length 8, got 4"):
        plots.frequency_response(torch.ones(8), points=4)


def test_every_initial_pole_is_drawn_inside_the_disc():
    torch.manual_seed(0)
    (axes,) = plots.initial_poles(ComplexEMA(32, 4)).axes
    real, imaginary = points(axes.lines[1])
    size = np.hypot(real, imaginary)
    assert len(real) == 32 * 4
    assert size.max() < 1
    assert size.mean() == pytest.approx(0.75, abs=0.02)

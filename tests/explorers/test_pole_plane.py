import math

import numpy as np
import pytest

from megalodon_edu.explorers import PolePlaneExplorer
from megalodon_edu.explorers.complex_ema import frequency_response


@pytest.mark.parametrize("input_phase", [False, True])
def test_the_response_is_the_spectrum_of_the_kernel(input_phase):
    radii, angles = [0.9, 0.6, 0.3, 0.8], [0.4, -1.3, 3.0, 0.0]
    explorer = PolePlaneExplorer(
        poles=4,
        radii=radii,
        angles=angles,
        eta_sizes=[1, 2, 0.5, 1],
        eta_phases=[0.2, 1, -2, 3],
        input_phase=input_phase,
    )
    kernel = explorer.values()["kernel"]
    tau = np.arange(64)
    alpha, poles = 1 - np.array(radii), np.array(radii) * np.exp(1j * np.array(angles))
    eta = np.array([1, 2, 0.5, 1]) * np.exp(1j * np.array([0.2, 1, -2, 3]))
    weights = eta * alpha * (np.exp(1j * np.array(angles)) if input_phase else 1)
    np.testing.assert_allclose(kernel, (weights * poles ** tau[:, None]).sum(1).real, atol=1e-12)
    long = (weights * poles ** np.arange(4096)[:, None]).sum(1).real
    spectrum = np.fft.rfft(long)
    omega = 2 * np.pi * np.arange(2049) / 4096
    np.testing.assert_allclose(frequency_response(weights, poles, omega), spectrum, atol=1e-9)
    gain = 20 * np.log10(np.maximum(np.abs(spectrum[:: 2048 // 256]), 1e-3))
    np.testing.assert_allclose(explorer.values()["response_db"], gain, atol=1e-6)


def test_a_real_pole_is_a_plain_average():
    explorer = PolePlaneExplorer(poles=1, radii=[0.5] * 4, angles=[0.0] * 4)
    values = explorer.values()
    np.testing.assert_allclose(values["kernel"], 0.5 ** np.arange(1, 65))
    assert values["half_lives"] == pytest.approx([1.0])
    assert values["response_db"][0] == pytest.approx(0.0)


def test_the_gain_peaks_where_the_pole_points():
    explorer = PolePlaneExplorer(poles=1, radii=[0.98] * 4, angles=[-math.pi / 2] * 4)
    assert explorer.values()["response_db"].argmax() == 128


def test_the_figure_draws_the_values():
    explorer = PolePlaneExplorer()
    values = explorer.values()
    plane, middle, right = explorer.figure().axes
    points = [line.get_xydata()[0] for line in plane.lines[1:]]
    pole = explorer.radii[0] * np.exp(1j * explorer.angles[0])
    np.testing.assert_allclose(points[0], [pole.real, pole.imag])
    np.testing.assert_allclose(points[1], [pole.real, -pole.imag])
    np.testing.assert_array_equal(middle.lines[1].get_ydata(), values["kernel"])
    np.testing.assert_array_equal(right.lines[0].get_ydata(), values["response_db"])

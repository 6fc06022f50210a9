import numpy as np
import pytest
import torch

from megalodon_edu.ops.damped_ema import damped_ema_kernel
from megalodon_edu.plots import damped_ema as plots
from megalodon_edu.plots import style


def lines(figure):
    (axes,) = figure.axes
    return axes.lines


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_single_memories_that_last_longer_weigh_less():
    figure = plots.short_or_weak([0.5, 0.9], 200)
    short, long = (line.get_ydata() for line in lines(figure))
    assert short[:3] == pytest.approx([0.5, 0.25, 0.125])
    assert [sum(short), sum(long)] == pytest.approx([1, 1])
    assert long[0] < short[0] and long[10] > short[10]
    assert texts(figure) == ["decay 0.5", "decay 0.9"]


def test_the_sum_is_the_package_kernel_and_the_modes_add_up_to_it():
    alpha, delta = torch.tensor([[0.5, 0.2], [0.9, 0.3]]).double(), torch.tensor([[1.0, 0.5], [0.4, 0.2]]).double()
    beta, eta = torch.tensor([[1.0, 2.0], [0.5, 1.0]]).double(), torch.tensor([[1.0, -1.0], [2.0, 3.0]]).double()
    figure = plots.modes_and_sum(alpha, delta, beta, eta, 6, channel=1)
    first, second, total, _ = (np.asarray(line.get_ydata(), float) for line in lines(figure))
    assert total == pytest.approx(damped_ema_kernel(alpha, delta, beta, eta, 6)[1].numpy())
    assert first + second == pytest.approx(total)
    assert second[0] == pytest.approx(3.0 * 0.3 * 1.0)
    assert texts(figure) == ["mode 1", "mode 2", "sum"]


def test_fits_are_drawn_on_logarithmic_axes_and_stay_positive():
    target = torch.tensor([1.0, 0.5, 0.25])
    figure = plots.fitted_memories(target, {1: torch.tensor([0.9, 0.4, -0.1]), 4: target})
    wanted, one, four = (line.get_ydata() for line in lines(figure))
    assert wanted == pytest.approx(target.numpy())
    assert four == pytest.approx(target.numpy())
    assert one == pytest.approx([0.9, 0.4, 0.025])
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["1 mode", "4 modes"]


def test_the_wrapped_and_the_right_output_are_told_apart():
    right, wrapped = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([2.0, 1.0, 2.0])
    red, blue = lines(plots.wrapped_convolution(right, wrapped))
    assert list(red.get_ydata()) == [2, 1, 2] and red.get_color() == style.ACCENT
    assert list(blue.get_ydata()) == [0, 1, 2] and blue.get_color() == style.MEMORY

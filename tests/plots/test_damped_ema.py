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


def test_memories_and_their_mixture_are_drawn_over_the_tokens():
    figure = plots.six_tokens("ab", [4.0, 0.0], {"fast": [2.0, 1.0], "slow": [2.0, 1.5]}, [4.0, 2.5])
    fast, slow, output = (list(line.get_ydata()) for line in lines(figure))
    assert (fast, slow, output) == ([2, 1], [2, 1.5], [4, 2.5])
    assert [bar.get_height() for bar in figure.axes[0].patches] == [4, 0]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ['"a"\nt = 0', '"b"\nt = 1']


def test_damped_kernels_start_alike_and_fade_by_one_minus_alpha_delta():
    figure = plots.damping(0.5, [1.0, 0.4], 30)
    full, damped = (line.get_ydata() for line in lines(figure))
    assert full[:3] == pytest.approx([0.5, 0.25, 0.125])
    assert damped[:3] == pytest.approx([0.5, 0.4, 0.32])
    assert texts(figure) == ["δ = 1", "δ = 0.4"]


def test_the_echo_and_its_imitations_are_drawn_on_logarithmic_axes_and_stay_positive():
    distances, echo = torch.tensor([10.0, 100.0, 1000.0]), torch.tensor([1.0, 0.5, 0.25])
    figure = plots.echo_of_words(distances, echo, {"1 mode": torch.tensor([0.9, 0.4, -0.1]), "2 modes": echo})
    measured, one, two = (line.get_ydata() for line in lines(figure))
    assert measured == pytest.approx(echo.numpy())
    assert two == pytest.approx(echo.numpy())
    assert one == pytest.approx([0.9, 0.4, 0.0625])
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["measured in the novel", "1 mode", "2 modes"]


def test_a_wanted_kernel_stands_beside_those_that_imitate_it():
    wanted, learned = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.4, 0.3, 0.1], requires_grad=True)
    first, second, _ = (line.get_ydata() for line in lines(plots.imitation(wanted, {"learned": learned})))
    assert list(first) == [0.5, 0.5, 0]
    assert second == pytest.approx([0.4, 0.3, 0.1])


def test_the_kept_mixture_subtracts_a_fast_memory_from_a_slow_one():
    slow, fast, total, _ = (np.asarray(line.get_ydata(), float) for line in lines(plots.mixed_memories()))
    ages = np.arange(40)
    assert slow == pytest.approx(0.9**ages)
    assert fast == pytest.approx(-(0.5**ages))
    assert total == pytest.approx(0.9**ages - 0.5**ages)
    assert total.argmax() == 3


def test_the_wrapped_and_the_right_output_are_told_apart():
    right, wrapped = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([2.0, 1.0, 2.0])
    red, blue = lines(plots.wrapped_convolution(right, wrapped))
    assert list(red.get_ydata()) == [2, 1, 2] and red.get_color() == style.ACCENT
    assert list(blue.get_ydata()) == [0, 1, 2] and blue.get_color() == style.MEMORY

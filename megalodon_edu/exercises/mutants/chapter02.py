"""Plausible wrong answers to the exercises of chapter 02."""

import torch

from megalodon_edu.exercises.framework import mutant
from megalodon_edu.exercises.solutions import chapter02 as solutions


@mutant(of="damped_ema", says="fade by 1 - α")
def delta_forgotten(x, alpha, delta, beta, eta, state=None):
    return solutions.damped_ema(x, alpha, torch.ones_like(delta), beta, eta, state)


@mutant(of="damped_ema", says="β is missing")
def beta_forgotten(x, alpha, delta, beta, eta, state=None):
    return solutions.damped_ema(x, alpha, delta, torch.ones_like(beta), eta, state)


@mutant(of="damped_ema", says="its share is α β")
def token_not_weighed(x, alpha, delta, beta, eta, state=None):
    return solutions.damped_ema(x, alpha, delta, beta / alpha, eta, state)


@mutant(of="damped_ema", says="η is missing")
def modes_added(x, alpha, delta, beta, eta, state=None):
    return solutions.damped_ema(x, alpha, delta, beta, torch.ones_like(eta), state)


@mutant(of="damped_ema", says="mean over the modes")
def modes_averaged(x, alpha, delta, beta, eta, state=None):
    return solutions.damped_ema(x, alpha, delta, beta, eta / eta.shape[1], state)


@mutant(of="damped_ema", says="δ also scales what you write")
def delta_in_both_places(x, alpha, delta, beta, eta, state=None):
    return solutions.damped_ema(x, alpha, delta, beta * delta, eta, state)


@mutant(of="damped_ema", says="one step late")
def read_before_written(x, alpha, delta, beta, eta, state=None):
    h = torch.zeros(x.shape[0], *alpha.shape, dtype=x.dtype) if state is None else state
    y = []
    for t in range(x.shape[1]):
        y.append((eta * h).sum(-1))
        h = alpha * beta * x[:, t, :, None] + (1 - alpha * delta) * h
    return torch.stack(y, 1), h


@mutant(of="damped_ema", says="the one you started from")
def returns_the_first_state(x, alpha, delta, beta, eta, state=None):
    y, h = solutions.damped_ema(x, alpha, delta, beta, eta, state)
    return y, torch.zeros_like(h) if state is None else state


@mutant(of="damped_ema", says="multiplied by η")
def returns_the_state_as_read(x, alpha, delta, beta, eta, state=None):
    y, h = solutions.damped_ema(x, alpha, delta, beta, eta, state)
    return y, eta * h


@mutant(of="damped_ema", says="the incoming state is not used")
def forgets_the_first_piece(x, alpha, delta, beta, eta, state=None):
    return solutions.damped_ema(x, alpha, delta, beta, eta)


@mutant(of="damped_ema", says="the second piece")
def state_counted_twice(x, alpha, delta, beta, eta, state=None):
    return solutions.damped_ema(x, alpha, delta, beta, eta, None if state is None else 2 * state)


@mutant(of="damped_ema", says="sees the future")
def runs_backwards(x, alpha, delta, beta, eta, state=None):
    y, h = solutions.damped_ema(x.flip(1), alpha, delta, beta, eta, state)
    return y.flip(1), h


@mutant(of="kernel_of_modes", says="they keep 1 - αδ")
def kernel_fades_by_alpha_alone(alpha, delta, beta, eta, length):
    return solutions.kernel_of_modes(alpha, torch.ones_like(delta), beta, eta, length)


@mutant(of="kernel_of_modes", says="lacks the factor α")
def kernel_without_alpha(alpha, delta, beta, eta, length):
    return solutions.kernel_of_modes(alpha, delta, beta / alpha, eta, length)


@mutant(of="kernel_of_modes", says="lacks η")
def kernel_without_eta(alpha, delta, beta, eta, length):
    return solutions.kernel_of_modes(alpha, delta, beta, torch.ones_like(eta), length)


@mutant(of="kernel_of_modes", says="lacks β")
def kernel_without_beta(alpha, delta, beta, eta, length):
    return solutions.kernel_of_modes(alpha, delta, torch.ones_like(beta), eta, length)


@mutant(of="kernel_of_modes", says="one step too old")
def kernel_one_step_late(alpha, delta, beta, eta, length):
    return solutions.kernel_of_modes(alpha, delta, beta, eta, length + 1)[:, 1:]


@mutant(of="kernel_of_modes", says="backwards")
def kernel_backwards(alpha, delta, beta, eta, length):
    return solutions.kernel_of_modes(alpha, delta, beta, eta, length).flip(1)


@mutant(of="kernel_of_modes", says="sum to 1")
def kernel_normalised(alpha, delta, beta, eta, length):
    kernel = solutions.kernel_of_modes(alpha, delta, beta, eta, length)
    return kernel / kernel.sum(1, keepdim=True)


@mutant(of="kernel_of_modes", says="subtracts a mode")
def kernel_of_positive_weights(alpha, delta, beta, eta, length):
    return solutions.kernel_of_modes(alpha, delta, beta, eta.abs(), length)


@mutant(of="kernel_of_modes", says="size of the weights")
def kernel_made_positive(alpha, delta, beta, eta, length):
    return solutions.kernel_of_modes(alpha, delta, beta, eta, length).abs()


@mutant(of="kernel_of_modes", says="one row per mode")
def modes_not_summed(alpha, delta, beta, eta, length):
    phi = 1 - alpha * delta
    return (eta * alpha * beta)[..., None] * phi[..., None] ** torch.arange(length)


@mutant(of="convolve_fft", says="wraps into its start")
def not_padded(x, kernel):
    product = torch.fft.rfft(x, dim=1) * torch.fft.rfft(kernel.T, dim=0)
    return torch.fft.irfft(product, n=x.shape[1], dim=1)


@mutant(of="convolve_fft", says="the second half")
def second_half_kept(x, kernel):
    length = x.shape[1]
    product = torch.fft.rfft(x, n=2 * length, dim=1) * torch.fft.rfft(kernel.T, n=2 * length, dim=0)
    return torch.fft.irfft(product, n=2 * length, dim=1)[:, length:]


@mutant(of="convolve_fft", says="runs backwards")
def kernel_reversed(x, kernel):
    return solutions.convolve_fft(x, kernel.flip(1))


@mutant(of="convolve_fft", says="kernel of channel 0")
def one_kernel_for_all(x, kernel):
    return solutions.convolve_fft(x, kernel[:1].expand_as(kernel))


@mutant(of="convolve_fft", says="y is complex")
def left_complex(x, kernel):
    length = x.shape[1]
    product = torch.fft.fft(x, n=2 * length, dim=1) * torch.fft.fft(kernel.T, n=2 * length, dim=0)
    return torch.fft.ifft(product, dim=1)[:, :length]


@mutant(of="convolve_fft", says="one step late")
def output_one_step_late(x, kernel):
    y = solutions.convolve_fft(x, kernel)
    return torch.cat([torch.zeros_like(y[:, :1]), y[:, :-1]], 1)


@mutant(of="convolve_fft", says="yours has (2, 24, 3)")
def padding_kept(x, kernel):
    length = x.shape[1]
    product = torch.fft.rfft(x, n=2 * length, dim=1) * torch.fft.rfft(kernel.T, n=2 * length, dim=0)
    return torch.fft.irfft(product, n=2 * length, dim=1)


def in_pieces(x, alpha, delta, beta, eta, size, entering, leaving):
    """The solution with two places to go wrong: the entering state at each place, and what leaves a piece."""
    state, y = torch.zeros_like(alpha), []
    for piece in x.split(size):
        inside = torch.zeros_like(alpha)
        for place, x_t in enumerate(piece):
            inside = alpha * beta * x_t + (1 - alpha * delta) * inside
            y.append((eta * (inside + entering(state, place))).sum())
        state = inside + leaving(state, len(piece))
    return torch.stack(y)


@mutant(of="damped_ema_in_pieces", says="fades by 1 - α per step")
def the_planted_bug(x, alpha, delta, beta, eta, size):
    return in_pieces(
        x, alpha, delta, beta, eta, size,
        entering=lambda state, place: (1 - alpha) ** (place + 1) * state,
        leaving=lambda state, steps: (1 - alpha * delta) ** steps * state,
    )  # fmt: skip


@mutant(of="damped_ema_in_pieces", says="counts twice")
def counted_twice_at_the_edge(x, alpha, delta, beta, eta, size):
    phi = 1 - alpha * delta
    return in_pieces(
        x, alpha, delta, beta, eta, size,
        entering=lambda state, place: 2 * phi ** (place + 1) * state,
        leaving=lambda state, steps: phi**steps * state,
    )  # fmt: skip


@mutant(of="damped_ema_in_pieces", says="lost at the edge")
def lost_at_the_edge(x, alpha, delta, beta, eta, size):
    return in_pieces(x, alpha, delta, beta, eta, size, lambda state, place: 0 * state, lambda state, steps: 0 * state)


@mutant(of="damped_ema_in_pieces", says="one time too few")
def not_faded_at_place_0(x, alpha, delta, beta, eta, size):
    phi = 1 - alpha * delta
    return in_pieces(
        x, alpha, delta, beta, eta, size, lambda state, place: phi**place * state, lambda state, n: phi**n * state
    )


@mutant(of="damped_ema_in_pieces", says="one time too often")
def faded_twice_at_place_0(x, alpha, delta, beta, eta, size):
    phi = 1 - alpha * delta
    return in_pieces(x, alpha, delta, beta, eta, size, lambda h, place: phi ** (place + 2) * h, lambda h, n: phi**n * h)


@mutant(of="damped_ema_in_pieces", says="the state that piece 1 hands on is wrong")
def handed_on_without_what_came_in(x, alpha, delta, beta, eta, size):
    phi = 1 - alpha * delta
    return in_pieces(
        x, alpha, delta, beta, eta, size, lambda state, place: phi ** (place + 1) * state, lambda state, n: 0 * state
    )

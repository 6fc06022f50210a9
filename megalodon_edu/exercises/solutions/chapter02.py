"""Solutions of chapter 02, damped, multi-dimensional EMA."""

import torch


def damped_ema(x, alpha, delta, beta, eta, state=None):
    h = torch.zeros(x.shape[0], *alpha.shape, dtype=x.dtype) if state is None else state
    y = []
    for t in range(x.shape[1]):
        h = alpha * beta * x[:, t, :, None] + (1 - alpha * delta) * h
        y.append((eta * h).sum(-1))
    return torch.stack(y, dim=1), h


def kernel_of_modes(alpha, delta, beta, eta, length):
    phi = 1 - alpha * delta
    ages = torch.arange(length)
    modes = (eta * alpha * beta)[..., None] * phi[..., None] ** ages  # channel, mode, age
    return modes.sum(1)


def convolve_fft(x, kernel):
    length = x.shape[1]
    x_spectrum = torch.fft.rfft(x, n=2 * length, dim=1)
    kernel_spectrum = torch.fft.rfft(kernel.T, n=2 * length, dim=0)
    y = torch.fft.irfft(x_spectrum * kernel_spectrum, n=2 * length, dim=1)
    return y[:, :length]


def damped_ema_in_pieces(x, alpha, delta, beta, eta, size):
    phi = 1 - alpha * delta
    state, y = torch.zeros_like(alpha), []
    for piece in x.split(size):
        inside = torch.zeros_like(alpha)
        for place, x_t in enumerate(piece):
            inside = alpha * beta * x_t + phi * inside
            entered = phi ** (place + 1) * state
            y.append((eta * (inside + entered)).sum())
        state = inside + phi ** len(piece) * state
    return torch.stack(y)

"""Solutions to the exercises of chapter 03."""

import math

import torch


def complex_ema(x, alpha, delta, theta, eta, skip, state=None):
    q = torch.polar(1 - alpha * delta, theta)
    h = torch.zeros(x.shape[0], *q.shape, dtype=q.dtype) if state is None else state
    y = []
    for t in range(x.shape[1]):
        h = q * h + alpha * x[:, t, :, None]
        y.append((eta * h).sum(-1).real + skip * x[:, t])
    return torch.stack(y, dim=1), h


def pole(alpha, delta, theta):
    return torch.polar(1 - alpha * delta, theta)


def half_life_of_pole(q):
    return math.log(0.5) / math.log(abs(q))


def kernel_real_part(p, q, eta, length):
    waves = (eta * p)[..., None] * q[..., None] ** torch.arange(length)
    return waves.sum(1).real


def mix_modes(x, p, q, eta):
    h, y = torch.zeros_like(q), []
    for token in x:
        h = q * h + p * token
        y.append((eta * h).sum().real)
    return torch.stack(y)

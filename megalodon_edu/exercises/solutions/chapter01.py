"""Solutions of chapter 01, exponential moving averages."""

import torch


def ema(x, alpha, state=None):
    h = torch.zeros(x.shape[0], x.shape[2], dtype=x.dtype) if state is None else state
    y = []
    for t in range(x.shape[1]):
        h = alpha * x[:, t] + (1 - alpha) * h
        y.append(h)
    return torch.stack(y, dim=1), h


def alpha_for_half_life(steps):
    return 1 - 0.5 ** (1 / steps)


def ema_kernel(alpha, length):
    ages = torch.arange(length)
    return alpha * (1 - alpha) ** ages


def ema_in_chunks(x, alpha, chunk_size):
    state, y = 0.0, []
    for chunk in x.split(chunk_size):
        steps = torch.arange(len(chunk))
        age = steps[:, None] - steps
        weights = torch.where(age >= 0, alpha * (1 - alpha) ** age, 0.0).to(x.dtype)
        inside = weights @ chunk
        carried = (1 - alpha) ** (steps + 1) * state
        y.append(inside + carried)
        state = y[-1][-1]
    return torch.cat(y)


def mean_so_far(x, state=None):
    count, mean = (0, torch.zeros(x.shape[0], x.shape[2], dtype=x.dtype)) if state is None else state
    y = []
    for t in range(x.shape[1]):
        count = count + 1
        mean = mean + (x[:, t] - mean) / count
        y.append(mean)
    return torch.stack(y, dim=1), (count, mean)

"""Solutions of chapter 13."""

import math

import torch


def paired_interval(a, b, t):
    d = torch.tensor(a, dtype=torch.float64) - torch.tensor(b, dtype=torch.float64)
    half = t * d.std().item() / math.sqrt(len(d))
    return d.mean().item(), d.mean().item() - half, d.mean().item() + half


def block_places(count, block, generator):
    starts = torch.randint(0, count - block + 1, (-(-count // block),), generator=generator)
    return (starts[:, None] + torch.arange(block)).flatten()[:count]


def sliding_chunks(length, chunk):
    row, column = torch.arange(length)[:, None], torch.arange(length)
    return (column <= row) & (row // chunk - column // chunk <= 1)


def decay_means(tokens, decay):
    h, means = 0.0, []
    for n, token in enumerate(tokens, start=1):
        h = decay * h + (1 - decay) * token
        means.append(h / (1 - decay**n))
    return torch.stack(means)

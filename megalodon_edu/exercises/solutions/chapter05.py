"""Solutions of chapter 05, gated, chunked attention."""

import torch
from torch.nn.functional import silu

from megalodon_edu.ops.rotary import rotate


def turn(x, positions):
    return rotate(x[None, :, None], positions, 10_000.0)[0, :, 0]


def rotate_pairs(x, positions, base):
    width = x.shape[-1]
    angles = positions[:, None] * base ** (-torch.arange(0, width, 2) / width)
    even, odd = x[..., 0::2], x[..., 1::2]
    y = torch.empty_like(x)
    y[..., 0::2] = even * angles.cos() - odd * angles.sin()
    y[..., 1::2] = even * angles.sin() + odd * angles.cos()
    return y


def attend_in_chunks(q, k, v, chunk_size):
    place = torch.arange(q.shape[1])
    visible = (place[:, None] // chunk_size == place // chunk_size) & (place <= place[:, None])
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    return scores.masked_fill(~visible, float("-inf")).softmax(-1) @ v


def mega_gates(x, h, o, reset, update, U):
    gamma, phi = silu(reset), update.sigmoid()
    candidate = silu(h + (gamma * o) @ U)
    return phi * candidate + (1 - phi) * x


def influence(function, x):
    x = x.detach().clone().requires_grad_()
    y = function(x)
    squares = torch.zeros(len(y), len(x), dtype=x.dtype)
    for t in range(y.shape[0]):
        for c in range(y.shape[1]):
            (gradient,) = torch.autograd.grad(y[t, c], x, retain_graph=True)
            squares[t] += gradient.square().sum(1)
    return squares.sqrt()


def attend_in_pieces(q, k, v, chunk_size, size):
    keys, values, outputs = k[:0], v[:0], []
    for start in range(0, len(q), size):
        piece = slice(start, start + size)
        if start % chunk_size == 0:
            keys, values = k[:0], v[:0]
        positions = (start + torch.arange(len(q[piece]))) % chunk_size
        keys = torch.cat([keys, turn(k[piece], positions)])
        values = torch.cat([values, v[piece]])
        scores = turn(q[piece], positions) @ keys.T
        future = torch.ones(scores.shape, dtype=torch.bool).triu(1 + len(keys) - len(positions))
        outputs.append(scores.masked_fill(future, float("-inf")).softmax(-1) @ values)
    return torch.cat(outputs)

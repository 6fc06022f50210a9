"""Plausible wrong answers to the exercises of chapter 05."""

import torch
from torch.nn.functional import silu

from megalodon_edu.exercises.framework import mutant
from megalodon_edu.exercises.solutions import chapter05 as solutions


def turned_by(x, angles):
    y = torch.empty_like(x)
    y[..., 0::2] = x[..., 0::2] * angles.cos() - x[..., 1::2] * angles.sin()
    y[..., 1::2] = x[..., 0::2] * angles.sin() + x[..., 1::2] * angles.cos()
    return y


@mutant(of="rotate_pairs", says="i and i + width/2")
def halves_paired(x, positions, base):
    width = x.shape[-1]
    angles = positions[:, None] * base ** (-torch.arange(0, width, 2) / width)
    first, second = x[..., : width // 2], x[..., width // 2 :]
    return torch.cat(
        [first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos()], dim=-1
    )


@mutant(of="rotate_pairs", says="the other way round")
def turned_backwards(x, positions, base):
    return solutions.rotate_pairs(x, -positions, base)


@mutant(of="rotate_pairs", says="count the positions yourself")
def own_positions(x, positions, base):
    return solutions.rotate_pairs(x, torch.arange(x.shape[1]), base)


@mutant(of="rotate_pairs", says="equally fast")
def one_pace(x, positions, base):
    return turned_by(x, positions[:, None].double())


@mutant(of="rotate_pairs", says="-i/width")
def half_the_exponent(x, positions, base):
    width = x.shape[-1]
    return turned_by(x, positions[:, None] * base ** (-torch.arange(width // 2) / width))


@mutant(of="rotate_pairs", says="the exponent is negative")
def exponent_positive(x, positions, base):
    width = x.shape[-1]
    return turned_by(x, positions[:, None] * base ** (torch.arange(0, width, 2) / width))


@mutant(of="rotate_pairs", says="in the wrong places")
def not_interleaved(x, positions, base):
    y = solutions.rotate_pairs(x, positions, base)
    return torch.cat([y[..., 0::2], y[..., 1::2]], dim=-1)


def attended(q, k, v, visible, scale=None):
    scores = q @ k.transpose(1, 2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return scores.masked_fill(~visible, float("-inf")).softmax(-1) @ v


def places(q, chunk_size):
    place = torch.arange(q.shape[1])
    return place[:, None], place, place[:, None] // chunk_size, place // chunk_size


@mutant(of="attend_in_chunks", says="chunks are missing")
def no_chunks(q, k, v, chunk_size):
    row, column, _, _ = places(q, chunk_size)
    return attended(q, k, v, column <= row)


@mutant(of="attend_in_chunks", says="Mask the future there, too")
def not_causal(q, k, v, chunk_size):
    _, _, row_chunk, column_chunk = places(q, chunk_size)
    return attended(q, k, v, row_chunk == column_chunk)


@mutant(of="attend_in_chunks", says="sliding window")
def window(q, k, v, chunk_size):
    row, column, _, _ = places(q, chunk_size)
    return attended(q, k, v, (column <= row) & (row - column < chunk_size))


@mutant(of="attend_in_chunks", says="the chunk before its own")
def two_chunks(q, k, v, chunk_size):
    row, column, row_chunk, column_chunk = places(q, chunk_size)
    return attended(q, k, v, (column <= row) & (row_chunk - column_chunk <= 1))


@mutant(of="attend_in_chunks", says="not divided")
def scale_forgotten(q, k, v, chunk_size):
    return solutions.attend_in_chunks(q * q.shape[-1] ** 0.5, k, v, chunk_size)


@mutant(of="attend_in_chunks", says="its square root")
def scale_without_root(q, k, v, chunk_size):
    return solutions.attend_in_chunks(q / q.shape[-1] ** 0.5, k, v, chunk_size)


@mutant(of="attend_in_chunks", says="swapped")
def roles_swapped(q, k, v, chunk_size):
    return solutions.attend_in_chunks(k, q, v, chunk_size)


@mutant(of="attend_in_chunks", says="short chunk at the end is lost")
def short_chunk_lost(q, k, v, chunk_size):
    full = q.shape[1] // chunk_size * chunk_size
    o = torch.zeros_like(v)
    o[:, :full] = solutions.attend_in_chunks(q[:, :full], k[:, :full], v[:, :full], chunk_size)
    return o


@mutant(of="attend_in_chunks", says="holds NaN")
def blind_to_itself(q, k, v, chunk_size):
    row, column, row_chunk, column_chunk = places(q, chunk_size)
    return attended(q, k, v, (column < row) & (row_chunk == column_chunk))


@mutant(of="mega_gates", says="the wrong way round")
def update_upside_down(x, h, o, reset, update, U):
    return solutions.mega_gates(x, h, o, reset, -update, U)


@mutant(of="mega_gates", says="no upper end")
def reset_by_sigmoid(x, h, o, reset, update, U):
    phi = update.sigmoid()
    return phi * silu(h + (reset.sigmoid() * o) @ U) + (1 - phi) * x


@mutant(of="mega_gates", says="between 0 and 1")
def update_by_silu(x, h, o, reset, update, U):
    phi = silu(update)
    return phi * silu(h + (silu(reset) * o) @ U) + (1 - phi) * x


@mutant(of="mega_gates", says="bare numbers")
def bare_gates(x, h, o, reset, update, U):
    return update * silu(h + (reset * o) @ U) + (1 - update) * x


@mutant(of="mega_gates", says="goes in unchecked")
def reset_unused(x, h, o, reset, update, U):
    phi = update.sigmoid()
    return phi * silu(h + o @ U) + (1 - phi) * x


@mutant(of="mega_gates", says="lacks its silu")
def linear_candidate(x, h, o, reset, update, U):
    phi = update.sigmoid()
    return phi * (h + (silu(reset) * o) @ U) + (1 - phi) * x


@mutant(of="mega_gates", says="h is missing")
def attention_only(x, h, o, reset, update, U):
    return solutions.mega_gates(x, torch.zeros_like(h), o, reset, update, U)


@mutant(of="mega_gates", says="share one valve")
def plain_residual(x, h, o, reset, update, U):
    return x + update.sigmoid() * silu(h + (silu(reset) * o) @ U)


def blocks(function, x):
    return torch.autograd.functional.jacobian(function, x)


@mutant(of="influence", says="rows and columns are swapped")
def transposed(function, x):
    return solutions.influence(function, x).T


@mutant(of="influence", says="forgot the square root")
def root_forgotten(function, x):
    return solutions.influence(function, x).square()


@mutant(of="influence", says="plus and minus cancel")
def summed(function, x):
    return blocks(function, x).sum((1, 3))


@mutant(of="influence", says="sum the sizes")
def sizes_summed(function, x):
    return blocks(function, x).abs().sum((1, 3))


@mutant(of="influence", says="before you differentiate")
def outputs_added(function, x):
    return blocks(lambda x: function(x).sum(1), x).norm(dim=2)


@mutant(of="influence", says="first channel of y only")
def first_channel(function, x):
    return blocks(lambda x: function(x)[:, 0], x).norm(dim=2)


@mutant(of="influence", says="the largest derivative")
def largest(function, x):
    return blocks(function, x).abs().amax((1, 3))


def streamed(q, k, v, chunk_size, size, positions, empties):
    """As the solution, with the positions of a piece and the moment to empty the cache decided by the caller."""
    keys, values, outputs = k[:0], v[:0], []
    for start in range(0, len(q), size):
        piece = slice(start, start + size)
        if empties(start):
            keys, values = k[:0], v[:0]
        places = positions(start, len(q[piece]))
        keys = torch.cat([keys, solutions.turn(k[piece], places)])
        values = torch.cat([values, v[piece]])
        scores = solutions.turn(q[piece], places) @ keys.T
        future = torch.ones(scores.shape, dtype=torch.bool).triu(1 + len(keys) - len(places))
        outputs.append(scores.masked_fill(future, float("-inf")).softmax(-1) @ values)
    return torch.cat(outputs)


@mutant(of="attend_in_pieces", says="restart in every piece")
def restarted_in_every_piece(q, k, v, chunk_size, size):
    return streamed(q, k, v, chunk_size, size, lambda start, n: torch.arange(n), lambda start: start % chunk_size == 0)


@mutant(of="attend_in_pieces", says="over the chunk's edge")
def cache_kept(q, k, v, chunk_size, size):
    return streamed(
        q, k, v, chunk_size, size, lambda start, n: (start + torch.arange(n)) % chunk_size, lambda start: False
    )


@mutant(of="attend_in_pieces", says="thrown away after every piece")
def cache_emptied(q, k, v, chunk_size, size):
    return streamed(
        q, k, v, chunk_size, size, lambda start, n: (start + torch.arange(n)) % chunk_size, lambda start: True
    )


@mutant(of="attend_in_pieces", says="nothing is turned")
def not_turned(q, k, v, chunk_size, size):
    return streamed(
        q, k, v, chunk_size, size, lambda start, n: torch.zeros(n).long(), lambda start: start % chunk_size == 0
    )

"""Plausible wrong answers to the exercises of chapter 13."""

import math

import torch

from megalodon_edu.exercises.framework import mutant
from megalodon_edu.exercises.solutions import chapter13 as solutions


def around(mean, half):
    return mean, mean - half, mean + half


def differences(a, b):
    return torch.tensor(a, dtype=torch.float64) - torch.tensor(b, dtype=torch.float64)


@mutant(of="paired_interval", says="add their variances")
def unpaired(a, b, t):
    variance = torch.tensor(a, dtype=torch.float64).var() + torch.tensor(b, dtype=torch.float64).var()
    return around(differences(a, b).mean().item(), t * math.sqrt(variance / len(a)))


@mutant(of="paired_interval", says="the factor 1.96 of very many values")
def normal_factor(a, b, t):
    return solutions.paired_interval(a, b, 1.96)


@mutant(of="paired_interval", says="Divide by n - 1")
def spread_by_n(a, b, t):
    d = differences(a, b)
    return around(d.mean().item(), t * d.std(correction=0).item() / math.sqrt(len(d)))


@mutant(of="paired_interval", says="where a single seed lies")
def without_the_root(a, b, t):
    d = differences(a, b)
    return around(d.mean().item(), t * d.std().item())


@mutant(of="paired_interval", says="you divide by n instead of √n")
def by_n(a, b, t):
    d = differences(a, b)
    return around(d.mean().item(), t * d.std().item() / len(d))


@mutant(of="paired_interval", says="that is the standard error")
def standard_error(a, b, t):
    return solutions.paired_interval(a, b, 1)


@mutant(of="paired_interval", says="s is the standard deviation")
def variance(a, b, t):
    d = differences(a, b)
    return around(d.mean().item(), t * d.var().item() / math.sqrt(len(d)))


@mutant(of="paired_interval", says="halved once more")
def half_of_the_half(a, b, t):
    return solutions.paired_interval(a, b, t / 2)


@mutant(of="paired_interval", says="the sign is turned round")
def other_way_round(a, b, t):
    return solutions.paired_interval(b, a, t)


@mutant(of="paired_interval", says="the mean difference is")
def first_seed_alone(a, b, t):
    return around(a[0] - b[0], t * differences(a, b).std().item() / math.sqrt(len(a)))


@mutant(of="paired_interval", says="as far below the mean as above it")
def ends_swapped(a, b, t):
    mean, low, high = solutions.paired_interval(a, b, t)
    return mean, high, low


@mutant(of="paired_interval", says="return three numbers")
def half_width_alone(a, b, t):
    mean, _, high = solutions.paired_interval(a, b, t)
    return mean, high - mean


@mutant(of="paired_interval", says="the half width is t · s / √n")
def root_of_one_less(a, b, t):
    d = differences(a, b)
    return around(d.mean().item(), t * d.std().item() / math.sqrt(len(d) + 1))


def glued(starts, block):
    return (starts[:, None] + torch.arange(block)).flatten()


@mutant(of="block_places", says="neighbours are torn apart")
def one_by_one(count, block, generator):
    return torch.randint(0, count, (count,), generator=generator)


@mutant(of="block_places", says="goes on at the beginning")
def wrapped(count, block, generator):
    return glued(torch.randint(0, count, (-(-count // block),), generator=generator), block)[:count] % count


@mutant(of="block_places", says="repeats the last measurement")
def clamped(count, block, generator):
    starts = torch.randint(0, count, (-(-count // block),), generator=generator)
    return glued(starts, block)[:count].clamp(max=count - 1)


@mutant(of="block_places", says="does not exist")
def beyond_the_end(count, block, generator):
    return glued(torch.randint(0, count, (-(-count // block),), generator=generator), block)[:count]


@mutant(of="block_places", says="the row should have the shape")
def blocks_cut_short(count, block, generator):
    starts = torch.randint(0, count, (-(-count // block),), generator=generator)
    places = glued(starts, block)
    return places[places < count][:count]


@mutant(of="block_places", says="Cut it to 11")
def not_cut(count, block, generator):
    return glued(torch.randint(0, count - block + 1, (-(-count // block),), generator=generator), block)


@mutant(of="block_places", says="Moving blocks begin anywhere")
def side_by_side(count, block, generator):
    return glued(block * torch.randint(0, count // block, (-(-count // block),), generator=generator), block)[:count]


@mutant(of="block_places", says="no block begins at 7, though one fits there")
def last_start_left_out(count, block, generator):
    return glued(torch.randint(0, count - block, (-(-count // block),), generator=generator), block)[:count]


@mutant(of="block_places", says="all blocks of a row are the same one")
def one_start(count, block, generator):
    start = torch.randint(0, count - block + 1, (1,), generator=generator)
    return glued(start.expand(-(-count // block)), block)[:count]


@mutant(of="block_places", says="pass `generator` on")
def own_dice(count, block, generator):
    return glued(torch.randint(0, count - block + 1, (-(-count // block),)), block)[:count]


@mutant(of="block_places", says="yours are floats")
def floats(count, block, generator):
    return solutions.block_places(count, block, generator).double()


@mutant(of="block_places", says="every call gives the same row")
def always_the_same(count, block, generator):
    return solutions.block_places(count, block, torch.Generator().manual_seed(1))


def pairs(length, chunk):
    row, column = torch.arange(length)[:, None], torch.arange(length)
    return row, column, row // chunk - column // chunk


@mutant(of="sliding_chunks", says="your tokens see the future")
def both_sides(length, chunk):
    return pairs(length, chunk)[2].abs() <= 1


@mutant(of="sliding_chunks", says="inside its own chunk a token sees later ones")
def whole_own_chunk(length, chunk):
    back = pairs(length, chunk)[2]
    return (back == 0) | (back == 1)


@mutant(of="sliding_chunks", says="rows and columns are swapped")
def swapped(length, chunk):
    return solutions.sliding_chunks(length, chunk).T


@mutant(of="sliding_chunks", says="That is Megalodon's chunked attention")
def own_chunk_alone(length, chunk):
    row, column, back = pairs(length, chunk)
    return (column <= row) & (back == 0)


@mutant(of="sliding_chunks", says="and not its own")
def other_chunk_alone(length, chunk):
    return pairs(length, chunk)[2] == 1


@mutant(of="sliding_chunks", says="a sliding window of the last `chunk` tokens")
def window(length, chunk):
    row, column, _ = pairs(length, chunk)
    return (column <= row) & (row - column < chunk)


@mutant(of="sliding_chunks", says="a sliding window of the last 2 · `chunk` tokens")
def window_of_two(length, chunk):
    row, column, _ = pairs(length, chunk)
    return (column <= row) & (row - column < 2 * chunk)


@mutant(of="sliding_chunks", says="each token sees everything before it")
def everything(length, chunk):
    row, column, _ = pairs(length, chunk)
    return column <= row


@mutant(of="sliding_chunks", says="each token sees two chunks before its own")
def two_before(length, chunk):
    row, column, back = pairs(length, chunk)
    return (column <= row) & (back <= 2)


@mutant(of="sliding_chunks", says="query 0 may look at key 0")
def not_itself(length, chunk):
    row, column, back = pairs(length, chunk)
    return (column < row) & (back <= 1)


@mutant(of="sliding_chunks", says="the mask holds True and False")
def numbers(length, chunk):
    return solutions.sliding_chunks(length, chunk).float()


def fading(tokens, first, step):
    h, means = first, []
    for token in tokens:
        h = h + step * (token - h)
        means.append(h)
    return torch.stack(means)


@mutant(of="decay_means", says="pulled down by it")
def uncorrected(tokens, decay):
    return fading(tokens, torch.zeros_like(tokens[0]), 1 - decay)


@mutant(of="decay_means", says="all the weight of the past before it")
def from_the_first_token(tokens, decay):
    return fading(tokens, tokens[0], 1 - decay)


@mutant(of="decay_means", says="the old average keeps `decay`")
def decay_swapped(tokens, decay):
    return solutions.decay_means(tokens, 1 - decay)


@mutant(of="decay_means", says="swapped, and the start at 0")
def decay_swapped_uncorrected(tokens, decay):
    return fading(tokens, torch.zeros_like(tokens[0]), decay)


@mutant(of="decay_means", says="corrected again and again")
def correction_fed_back(tokens, decay):
    h, means = 0.0, []
    for n, token in enumerate(tokens, start=1):
        h = (decay * h + (1 - decay) * token) / (1 - decay**n)
        means.append(h)
    return torch.stack(means)


@mutant(of="decay_means", says="nothing fades")
def plain_mean(tokens, decay):
    return tokens.cumsum(0) / torch.arange(1, len(tokens) + 1)


@mutant(of="decay_means", says="the first mean is no number")
def counted_from_zero(tokens, decay):
    raw = fading(tokens, torch.zeros_like(tokens[0]), 1 - decay)
    return raw / (1 - decay ** torch.arange(len(tokens)))


@mutant(of="decay_means", says="one power too many")
def counted_from_two(tokens, decay):
    raw = fading(tokens, torch.zeros_like(tokens[0]), 1 - decay)
    return raw / (1 - decay ** torch.arange(2, len(tokens) + 2))


@mutant(of="decay_means", says="you multiply by 1 - decayⁿ")
def multiplied(tokens, decay):
    raw = fading(tokens, torch.zeros_like(tokens[0]), 1 - decay)
    return raw * (1 - decay ** torch.arange(1, len(tokens) + 1))


@mutant(of="decay_means", says="the means should have the shape")
def last_mean_alone(tokens, decay):
    return solutions.decay_means(tokens, decay)[-1:]

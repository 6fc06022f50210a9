"""Plausible wrong answers to the exercises of chapter 11."""

import torch

from megalodon_edu.exercises.framework import mutant
from megalodon_edu.exercises.solutions import chapter11 as solutions


def parts(batch, length, channels, modes, itemsize, segments):
    return batch * length * channels * itemsize, batch * segments * channels * modes * 8


@mutant(of="bytes_of_walks", says="The first walk reads all of x too")
def x_read_once(*sizes):
    one, _ = parts(*sizes)
    return solutions.bytes_of_walks(*sizes) - (one if sizes[-1] > 1 else 0)


@mutant(of="bytes_of_walks", says="the first walk writes no y")
def y_written_twice(*sizes):
    one, _ = parts(*sizes)
    return solutions.bytes_of_walks(*sizes) + (one if sizes[-1] > 1 else 0)


@mutant(of="bytes_of_walks", says="the states between the segments are missing")
def no_states(*sizes):
    one, _ = parts(*sizes)
    return 3 * one


@mutant(of="bytes_of_walks", says="each state is written and read twice")
def states_once(*sizes):
    one, states = parts(*sizes)
    return 3 * one + states


@mutant(of="bytes_of_walks", says="states stay in float32")
def narrow_states(batch, length, channels, modes, itemsize, segments):
    return 3 * batch * length * channels * itemsize + 4 * batch * segments * channels * modes * itemsize


@mutant(of="bytes_of_walks", says="There are two kinds of them")
def states_out_and_back(*sizes):
    one, states = parts(*sizes)
    return 3 * one + 2 * states


@mutant(of="bytes_of_walks", says="for every segment of every sequence")
def one_state_for_a_sequence(*sizes):
    one, states = parts(*sizes)
    return 3 * one + 4 * states // sizes[-1]


@mutant(of="bytes_of_walks", says="you count numbers")
def numbers(*sizes):
    return solutions.bytes_of_walks(*sizes) / sizes[4]


@mutant(of="bytes_of_walks", says="with one segment the first walk is not needed")
def always_two_walks(*sizes):
    one, states = parts(*sizes)
    return 3 * one + 4 * states


def joined(ends, step, after=False):
    state, starts = torch.zeros_like(ends[:, 0]), []
    for end in ends.unbind(1):
        new = step(state, end)
        starts.append(new if after else state)
        state = new
    return torch.stack(starts, dim=1)


@mutant(of="join", says="A walk needs the state before it")
def states_after(ends, jump):
    return joined(ends, lambda state, end: jump * state + end, after=True)


@mutant(of="join", says="only the segment just before is remembered")
def one_segment_back(ends, jump):
    return joined(ends, lambda state, end: end)


@mutant(of="join", says="nothing fades")
def no_jump(ends, jump):
    return joined(ends, lambda state, end: state + end)


@mutant(of="join", says="turns the wrong way round")
def conjugated(ends, jump):
    return joined(ends, lambda state, end: jump.conj() * state + end)


@mutant(of="join", says="It has faded already, inside its segment")
def end_faded_again(ends, jump):
    return joined(ends, lambda state, end: jump * (state + end))


@mutant(of="join", says="lost their imaginary part")
def real_states(ends, jump):
    return solutions.join(ends, jump).real


@mutant(of="join", says="these are the ends themselves")
def ends_as_they_are(ends, jump):
    return ends.clone()


def reversed_chunk(dy, g_after, K, V, W, across, dx=None, g=None):
    right_dx, right_g = solutions.reverse_chunk(dy, g_after, K, V, W, across)
    return (right_dx if dx is None else dx), (right_g if g is None else g)


@mutant(of="reverse_chunk", says="K is not transposed")
def k_as_it_is(dy, g_after, K, V, W, across):
    return reversed_chunk(dy, g_after, K, V, W, across, dx=K @ dy + (W.mH @ g_after).real)


@mutant(of="reverse_chunk", says="the way through the state is missing")
def only_k(dy, g_after, K, V, W, across):
    return reversed_chunk(dy, g_after, K, V, W, across, dx=K.mT @ dy)


@mutant(of="reverse_chunk", says="the way through K is missing")
def only_w(dy, g_after, K, V, W, across):
    return reversed_chunk(dy, g_after, K, V, W, across, dx=(W.mH @ g_after).real)


@mutant(of="reverse_chunk", says="W is transposed, but not conjugated")
def w_not_conjugated(dy, g_after, K, V, W, across):
    return reversed_chunk(dy, g_after, K, V, W, across, dx=K.mT @ dy + (W.mT @ g_after).real)


@mutant(of="reverse_chunk", says="V has read into dx")
def v_for_w(dy, g_after, K, V, W, across):
    return reversed_chunk(dy, g_after, K, V, W, across, dx=K.mT @ dy + (V.conj() @ g_after).real)


@mutant(of="reverse_chunk", says="dx should be real")
def complex_dx(dy, g_after, K, V, W, across):
    return reversed_chunk(dy, g_after, K, V, W, across, dx=K.mT @ dy + W.mH @ g_after)


@mutant(of="reverse_chunk", says="across is not conjugated")
def across_as_it_is(dy, g_after, K, V, W, across):
    return reversed_chunk(dy, g_after, K, V, W, across, g=across * g_after + V.mH @ dy.to(V.dtype))


@mutant(of="reverse_chunk", says="V is transposed, but not conjugated")
def v_not_conjugated(dy, g_after, K, V, W, across):
    return reversed_chunk(dy, g_after, K, V, W, across, g=across.conj() * g_after + V.mT @ dy.to(V.dtype))


@mutant(of="reverse_chunk", says="what comes from later chunks is lost")
def state_dropped(dy, g_after, K, V, W, across):
    return reversed_chunk(dy, g_after, K, V, W, across, g=V.mH @ dy.to(V.dtype))


@mutant(of="reverse_chunk", says="the way through V is missing")
def never_read(dy, g_after, K, V, W, across):
    return reversed_chunk(dy, g_after, K, V, W, across, g=across.conj() * g_after)


@mutant(of="reverse_chunk", says="goes on without fading")
def not_faded(dy, g_after, K, V, W, across):
    return reversed_chunk(dy, g_after, K, V, W, across, g=g_after + V.mH @ dy.to(V.dtype))


@mutant(of="chunked_ema", says="it sees the future")
def the_planted_bug(x, alpha, chunk):
    decay, steps = 1 - alpha, torch.arange(chunk, dtype=x.dtype)
    K = alpha * decay ** (steps[:, None] - steps).abs()
    V, W = decay ** (steps + 1), alpha * decay ** (chunk - 1 - steps)
    state, pieces = torch.zeros_like(x[:, 0]), []
    for piece in x.split(chunk, dim=1):
        pieces.append(K @ piece + V[:, None] * state[:, None])
        state = decay**chunk * state + W @ piece
    return torch.cat(pieces, dim=1)


@mutant(of="chunked_ema", says="the state is lost at the edge")
def every_chunk_alone(x, alpha, chunk):
    return torch.cat([solutions.chunked_ema(piece, alpha, chunk) for piece in x.split(chunk, dim=1)], dim=1)


def with_powers(x, alpha, chunk, first, keep):
    decay, steps = 1 - alpha, torch.arange(chunk, dtype=x.dtype)
    W, state, pieces = alpha * decay ** (chunk - 1 - steps), torch.zeros_like(x[:, 0]), []
    for piece in x.split(chunk, dim=1):
        inside = solutions.chunked_ema(piece, alpha, chunk)
        pieces.append(inside + (decay ** (steps + first))[:, None] * state[:, None])
        state = keep * decay**chunk * state + W @ piece
    return torch.cat(pieces, dim=1)


@mutant(of="chunked_ema", says="the state is one step too strong")
def read_one_step_early(x, alpha, chunk):
    return with_powers(x, alpha, chunk, first=0, keep=1)


@mutant(of="chunked_ema", says="remembers one chunk only")
def old_state_dropped(x, alpha, chunk):
    return with_powers(x, alpha, chunk, first=1, keep=0)


@mutant(of="chunked_ema", says="y first differs")
def state_in_bfloat16(x, alpha, chunk):
    decay, steps = 1 - alpha, torch.arange(chunk, dtype=x.dtype)
    W, state, pieces = alpha * decay ** (chunk - 1 - steps), torch.zeros_like(x[:, 0]), []
    for piece in x.split(chunk, dim=1):
        inside = solutions.chunked_ema(piece, alpha, chunk)
        pieces.append(inside + (decay ** (steps + 1))[:, None] * state[:, None])
        state = (decay**chunk * state + W @ piece).bfloat16().to(x.dtype)
    return torch.cat(pieces, dim=1)


def blocks(tokens, means, squares, apart=True, new_mean=False, own=True):
    n, mean, square = 0, torch.zeros_like(means[0]), torch.zeros_like(squares[0])
    rows = []
    for m, b, inner in zip(tokens, means, squares, strict=True):
        rows.append((mean, square))
        after = mean + (b - mean) * m / (n + m)
        distance = b - (after if new_mean else mean)
        square = square + (inner if own else 0) + (distance**2 * n * m / (n + m) if apart else 0)
        n, mean = n + m, after
    return torch.stack([row[0] for row in rows]), torch.stack([row[1] for row in rows])


@mutant(of="before_blocks", says="the kernel needs those before it")
def means_after(tokens, means, squares):
    weights = tokens[:, None]
    return (weights * means).cumsum(0) / weights.cumsum(0), blocks(tokens, means, squares)[1]


@mutant(of="before_blocks", says="each block counts as one token")
def blocks_as_tokens(tokens, means, squares):
    plain = torch.zeros_like(means)
    plain[1:] = means.cumsum(0)[:-1] / torch.arange(1, len(means))[:, None]
    return plain, blocks(tokens, means, squares)[1]


@mutant(of="before_blocks", says="but not the squared distance")
def sums_only(tokens, means, squares):
    return blocks(tokens, means, squares, apart=False)


@mutant(of="before_blocks", says="not from the one after it")
def distance_from_the_new_mean(tokens, means, squares):
    return blocks(tokens, means, squares, new_mean=True)


@mutant(of="before_blocks", says="what varies inside each block is missing")
def distances_only(tokens, means, squares):
    return blocks(tokens, means, squares, own=False)


@mutant(of="before_blocks", says="you return variances")
def variances(tokens, means, squares):
    mean, square = blocks(tokens, means, squares)
    n = torch.cat([torch.ones(1), tokens.cumsum(0)[:-1]])
    return mean, square / n[:, None]

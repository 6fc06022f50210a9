"""Plausible wrong answers to the exercises of chapter 01."""

import math

import torch

from megalodon_edu.exercises.framework import mutant
from megalodon_edu.exercises.solutions import chapter01 as solutions


def zeros(x):
    return torch.zeros(x.shape[0], x.shape[2], dtype=x.dtype)


def loop(x, h, update):
    y = []
    for t in range(x.shape[1]):
        h = update(h, x[:, t])
        y.append(h)
    return torch.stack(y, 1), h


@mutant(of="ema", says="the other way round")
def weights_swapped(x, alpha, state=None):
    return loop(x, zeros(x) if state is None else state, lambda h, x_t: (1 - alpha) * x_t + alpha * h)


@mutant(of="ema", says="the whole token")
def token_not_weighed(x, alpha, state=None):
    return loop(x, zeros(x) if state is None else state, lambda h, x_t: x_t + (1 - alpha) * h)


@mutant(of="ema", says="one step late")
def output_before_update(x, alpha, state=None):
    h, y = zeros(x) if state is None else state, []
    for t in range(x.shape[1]):
        y.append(h)
        h = alpha * x[:, t] + (1 - alpha) * h
    return torch.stack(y, 1), h


@mutant(of="ema", says="start from the first token")
def starts_from_the_first_token(x, alpha, state=None):
    return loop(x, x[:, 0] if state is None else state, lambda h, x_t: alpha * x_t + (1 - alpha) * h)


@mutant(of="ema", says="the incoming state is not used")
def state_ignored(x, alpha, state=None):
    return solutions.ema(x, alpha)


@mutant(of="ema", says="the one you started from")
def returns_the_old_state(x, alpha, state=None):
    state = zeros(x) if state is None else state
    return solutions.ema(x, alpha, state)[0], state


@mutant(of="ema", says="each has its own")
def one_alpha_for_all(x, alpha, state=None):
    return solutions.ema(x, alpha[0], state)


@mutant(of="ema", says="return two things")
def state_not_returned(x, alpha, state=None):
    return solutions.ema(x, alpha, state)[0]


@mutant(of="ema", says="it sees the future")
def runs_backwards(x, alpha, state=None):
    y, h = solutions.ema(x.flip(1), alpha, state)
    return y.flip(1), h


@mutant(of="ema", says="changes its argument `x` in place")
def written_into_the_input(x, alpha, state=None):
    h = zeros(x) if state is None else state
    for t in range(x.shape[1]):
        h = alpha * x[:, t] + (1 - alpha) * h
        x[:, t] = h
    return x, h


@mutant(of="ema", says="should have the shape (batch, time, channel)")
def time_stacked_first(x, alpha, state=None):
    y, h = solutions.ema(x, alpha, state)
    return y.transpose(0, 1), h


@mutant(of="ema", says="your code stopped with IndexError")
def one_step_too_many(x, alpha, state=None):
    h, y = zeros(x), []
    for t in range(x.shape[1] + 1):
        h = alpha * x[:, t] + (1 - alpha) * h
        y.append(h)
    return torch.stack(y, 1), h


@mutant(of="ema", says="the second piece is not what one call gives there")
def state_added_twice(x, alpha, state=None):
    y, h = solutions.ema(x, alpha, state)
    return (y, h) if state is None else (y + (1 - alpha) * state[:, None], h)


@mutant(of="alpha_for_half_life", says="is the decay")
def decay_instead_of_alpha(steps):
    return 0.5 ** (1 / steps)


@mutant(of="alpha_for_half_life", says="the time constant")
def time_constant(steps):
    return 1 - math.exp(-1 / steps)


@mutant(of="alpha_for_half_life", says="ln 2 / n")
def first_order(steps):
    return math.log(2) / steps


@mutant(of="alpha_for_half_life", says="one over the number of steps")
def one_over_steps(steps):
    return 1 / steps


@mutant(of="alpha_for_half_life", says="whatever half-life I ask for")
def always_a_half(steps):
    return 0.5


@mutant(of="alpha_for_half_life", says="of the memory is left")
def squared(steps):
    return 1 - 0.5**steps


@mutant(of="alpha_for_half_life", says="should be a number")
def returns_text(steps):
    return f"{1 - 0.5 ** (1 / steps):.3f}"


@mutant(of="ema_kernel", says="lacks the factor α")
def no_factor(alpha, length):
    return (1 - alpha) ** torch.arange(length)


@mutant(of="ema_kernel", says="one step too old")
def ages_from_one(alpha, length):
    return alpha * (1 - alpha) ** torch.arange(1, length + 1)


@mutant(of="ema_kernel", says="backwards")
def oldest_first(alpha, length):
    return solutions.ema_kernel(alpha, length).flip(0)


@mutant(of="ema_kernel", says="fade by α")
def fades_by_alpha(alpha, length):
    return (1 - alpha) * alpha ** torch.arange(length)


@mutant(of="ema_kernel", says="divide the kernel by its sum")
def made_to_sum_to_one(alpha, length):
    weights = solutions.ema_kernel(alpha, length)
    return weights / weights.sum()


@mutant(of="ema_kernel", says="should have the shape")
def one_age_too_few(alpha, length):
    return alpha * (1 - alpha) ** torch.arange(1, length)


@mutant(of="ema_kernel", says="should be a tensor")
def returns_a_list(alpha, length):
    return [alpha * (1 - alpha) ** age for age in range(length)]


@mutant(of="ema_kernel", says="first differs at age 2")
def fades_linearly(alpha, length):
    return (alpha * (1 - alpha * torch.arange(length))).clamp(min=0)


def chunks(x, alpha, chunk_size, carry, update):
    state, y = 0.0, []
    for chunk in x.split(chunk_size):
        fresh = solutions.ema_in_chunks(chunk, alpha, len(chunk))
        y.append(fresh + carry(torch.arange(len(chunk))) * state)
        state = update(y[-1], fresh, state)
    return torch.cat(y)


@mutant(of="ema_in_chunks", says="should count 0.75 times; in yours it counts 1 times")
def state_enters_unfaded(x, alpha, chunk_size):
    return chunks(x, alpha, chunk_size, lambda step: (1 - alpha) ** step, lambda y, fresh, state: y[-1])


@mutant(of="ema_in_chunks", says="the state is lost at the edge")
def state_lost(x, alpha, chunk_size):
    return chunks(x, alpha, chunk_size, lambda step: 0 * step, lambda y, fresh, state: y[-1])


@mutant(of="ema_in_chunks", says="the state that enters chunk 2")
def state_of_this_chunk_only(x, alpha, chunk_size):
    return chunks(x, alpha, chunk_size, lambda step: (1 - alpha) ** (step + 1), lambda y, fresh, state: fresh[-1])


@mutant(of="ema_in_chunks", says="(place 1 in chunk 1, both counted from 0)")
def state_does_not_fade_on(x, alpha, chunk_size):
    return chunks(x, alpha, chunk_size, lambda step: (1 - alpha) * torch.ones(len(step)), lambda y, fresh, state: y[-1])


@mutant(of="ema_in_chunks", says="counts 1.5 times")
def state_counted_twice(x, alpha, chunk_size):
    return chunks(x, alpha, chunk_size, lambda step: 2 * (1 - alpha) ** (step + 1), lambda y, fresh, state: y[-1])


@mutant(of="ema_in_chunks", says="y for a single chunk first differs at time 1")
def no_memory_inside(x, alpha, chunk_size):
    return alpha * x


@mutant(of="mean_so_far", says="it sees the future")
def mean_of_everything(x, state=None):
    mean = x.mean(1)
    return mean[:, None].expand_as(x), (x.shape[1], mean)


@mutant(of="mean_so_far", says="one too many")
def zero_counted_as_a_token(x, state=None):
    count, mean = (1, zeros(x)) if state is None else state
    return solutions.mean_so_far(x, (count, mean))


@mutant(of="mean_so_far", says="these are sums")
def never_divided(x, state=None):
    y = x.cumsum(1)
    return y, (x.shape[1], y[:, -1])


@mutant(of="mean_so_far", says="a fixed α")
def moving_average(x, state=None):
    y, h = solutions.ema(x, 0.5, None if state is None else state[1])
    return y, (x.shape[1], h)


@mutant(of="mean_so_far", says="the incoming state is not used")
def forgets_the_first_piece(x, state=None):
    return solutions.mean_so_far(x)


@mutant(of="mean_so_far", says="the second piece is not what one call gives there")
def old_mean_counts_once(x, state=None):
    return solutions.mean_so_far(x, None if state is None else (1, state[1]))


@mutant(of="mean_so_far", says="the last state differs")
def count_of_this_piece(x, state=None):
    y, (_, mean) = solutions.mean_so_far(x, state)
    return y, (x.shape[1], mean)

"""Plausible wrong answers to the exercises of chapter 00."""

import math

import torch

from megalodon_edu.exercises.framework import mutant
from megalodon_edu.exercises.solutions import chapter00 as solutions


def grown(k, v, cache):
    return (k, v) if cache is None else (torch.cat([cache[0], k], 1), torch.cat([cache[1], v], 1))


def seen(new, total):
    return torch.ones(new, total, dtype=torch.bool).tril(total - new)


def attention(q, k, v, cache, scale=None, mask=seen, softmax=torch.softmax):
    keys, values = grown(k, v, cache)
    scores = q @ keys.transpose(1, 2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    scores = scores.masked_fill(~mask(q.shape[1], keys.shape[1]), float("-inf"))
    return softmax(scores, -1) @ values, (keys, values)


@mutant(of="attend", says="it sees the future")
def no_mask(q, k, v, cache=None):
    return attention(q, k, v, cache, mask=lambda new, total: torch.ones(new, total, dtype=torch.bool))


@mutant(of="attend", says="the other 6, its future")
def mask_only_without_a_cache(q, k, v, cache=None):
    full = seen if cache is None else lambda new, total: torch.ones(new, total, dtype=torch.bool)
    return attention(q, k, v, cache, mask=full)


@mutant(of="attend", says="counts the places of the new tokens from 0")
def mask_from_zero(q, k, v, cache=None):
    return attention(q, k, v, cache, mask=lambda new, total: torch.ones(new, total, dtype=torch.bool).tril())


@mutant(of="attend", says="not divided by the square root of the width")
def unscaled(q, k, v, cache=None):
    return attention(q, k, v, cache, scale=1.0)


@mutant(of="attend", says="you divide the scores by the width; it is its square root")
def divided_by_the_width(q, k, v, cache=None):
    return attention(q, k, v, cache, scale=1 / q.shape[-1])


@mutant(of="attend", says="square root of the width of v")
def width_of_the_values(q, k, v, cache=None):
    return attention(q, k, v, cache, scale=v.shape[-1] ** -0.5)


@mutant(of="attend", says="instead of dividing")
def multiplied(q, k, v, cache=None):
    return attention(q, k, v, cache, scale=q.shape[-1] ** 0.5)


@mutant(of="attend", says="q and k are swapped")
def roles_swapped(q, k, v, cache=None):
    return attention(k, q, v, cache)


@mutant(of="attend", says="weights should sum to 1")
def not_normalised(q, k, v, cache=None):
    return attention(q, k, v, cache, softmax=lambda scores, dim: scores.exp())


@mutant(of="attend", says="the cache is not used")
def cache_ignored(q, k, v, cache=None):
    y, _ = solutions.attend(q, k, v)
    return y, grown(k, v, cache)


@mutant(of="attend", says="your cache holds 7 keys instead of 12")
def hands_on_the_new_tokens_only(q, k, v, cache=None):
    y, _ = solutions.attend(q, k, v, cache)
    return y, (k, v)


@mutant(of="attend", says="the cache belongs in front")
def cache_behind(q, k, v, cache=None):
    if cache is None:
        return solutions.attend(q, k, v)
    keys, values = torch.cat([k, cache[0]], 1), torch.cat([v, cache[1]], 1)
    scores = q @ keys.transpose(1, 2) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~seen(q.shape[1], keys.shape[1]), float("-inf"))
    return scores.softmax(-1) @ values, (keys, values)


@mutant(of="attend", says="return two things")
def cache_not_returned(q, k, v, cache=None):
    return solutions.attend(q, k, v, cache)[0]


@mutant(of="attend", says="softmax runs over the queries")
def softmax_over_the_queries(q, k, v, cache=None):
    return attention(q, k, v, cache, softmax=lambda scores, dim: torch.softmax(scores, 1))


@mutant(of="attend", says="your output holds NaN")
def blind_to_itself(q, k, v, cache=None):
    return attention(
        q, k, v, cache, mask=lambda new, total: torch.ones(new, total, dtype=torch.bool).tril(total - new - 1)
    )


@mutant(of="cache_bytes", says="a key and a value")
def keys_only(layers, heads, head_width, queries_per_key, context, batch, bytes_per_number):
    return layers * heads // queries_per_key * head_width * context * batch * bytes_per_number


@mutant(of="cache_bytes", says="number of numbers")
def not_in_bytes(layers, heads, head_width, queries_per_key, context, batch, bytes_per_number):
    return 2 * layers * heads // queries_per_key * head_width * context * batch


@mutant(of="cache_bytes", says="every text in the batch")
def batch_forgotten(layers, heads, head_width, queries_per_key, context, batch, bytes_per_number):
    return 2 * layers * heads // queries_per_key * head_width * context * bytes_per_number


@mutant(of="cache_bytes", says="there are fewer key heads")
def sharing_forgotten(layers, heads, head_width, queries_per_key, context, batch, bytes_per_number):
    return 2 * layers * heads * head_width * context * batch * bytes_per_number


@mutant(of="cache_bytes", says="each layer keeps its own")
def one_layer(layers, heads, head_width, queries_per_key, context, batch, bytes_per_number):
    return 2 * heads // queries_per_key * head_width * context * batch * bytes_per_number


@mutant(of="cache_bytes", says="but sharing divides")
def sharing_multiplies(layers, heads, head_width, queries_per_key, context, batch, bytes_per_number):
    return 2 * layers * heads * queries_per_key * head_width * context * batch * bytes_per_number


@mutant(of="cache_bytes", says="as the number of key heads")
def sharing_taken_for_key_heads(layers, heads, head_width, queries_per_key, context, batch, bytes_per_number):
    return 2 * layers * queries_per_key * head_width * context * batch * bytes_per_number


@mutant(of="cache_bytes", says="quadratic in the context")
def squared(layers, heads, head_width, queries_per_key, context, batch, bytes_per_number):
    return 2 * layers * heads // queries_per_key * head_width * context**2 * batch * bytes_per_number


@mutant(of="cache_bytes", says="I expect 160,160 bytes")
def in_bits(layers, heads, head_width, queries_per_key, context, batch, bytes_per_number):
    return 8 * solutions.cache_bytes(layers, heads, head_width, queries_per_key, context, batch, bytes_per_number)


def step(q, keys, values):
    return (keys @ q / q.shape[0] ** 0.5).softmax(0) @ values


@mutant(of="windowed_step", says="step 3 should look at 3 tokens, itself included; yours looks at 4 tokens")
def one_too_many(q, k, v, cache, window):
    keys, values = torch.cat([cache[0][-window:], k[None]]), torch.cat([cache[1][-window:], v[None]])
    return step(q, keys, values), (keys, values)


@mutant(of="windowed_step", says="with a window of 1, step 1 should look at itself alone")
def minus_zero(q, k, v, cache, window):
    keep = window - 1
    keys, values = torch.cat([cache[0][-keep:], k[None]]), torch.cat([cache[1][-keep:], v[None]])
    return step(q, keys, values), (keys, values)


@mutant(of="windowed_step", says="yours looks at 2 tokens, from step 1 to step 2")
def one_too_few(q, k, v, cache, window):
    keys, values = torch.cat([cache[0], k[None]]), torch.cat([cache[1], v[None]])
    keys, values = (keys[-(window - 1) :], values[-(window - 1) :]) if window > 1 else (keys[-1:], values[-1:])
    return step(q, keys, values), (keys, values)


@mutant(of="windowed_step", says="it goes on growing")
def cut_only_for_the_output(q, k, v, cache, window):
    keys, values = torch.cat([cache[0], k[None]]), torch.cat([cache[1], v[None]])
    return step(q, keys[-window:], values[-window:]), (keys, values)


@mutant(of="windowed_step", says="from step 0 to step 2")
def oldest_instead_of_newest(q, k, v, cache, window):
    keys, values = torch.cat([cache[0], k[None]])[:window], torch.cat([cache[1], v[None]])[:window]
    return step(q, keys, values), (keys, values)


@mutant(of="windowed_step", says="not what any run of tokens gives")
def values_not_cut(q, k, v, cache, window):
    keys, values = torch.cat([cache[0], k[None]])[-window:], torch.cat([cache[1], v[None]])
    return step(q, keys, values[: len(keys)]), (keys, values)


@mutant(of="windowed_step", says="that part was right")
def scale_dropped(q, k, v, cache, window):
    keys, values = torch.cat([cache[0], k[None]])[-window:], torch.cat([cache[1], v[None]])[-window:]
    return (keys @ q).softmax(0) @ values, (keys, values)


@mutant(of="longest_context", says="the weights need room too")
def weights_forgotten(memory, weights, bytes_per_token, batch):
    return memory // (bytes_per_token * batch)


@mutant(of="longest_context", says="room for one text only")
def one_text(memory, weights, bytes_per_token, batch):
    return max(0, memory - weights) // bytes_per_token


@mutant(of="longest_context", says="multiplies by the batch")
def times_the_batch(memory, weights, bytes_per_token, batch):
    return max(0, memory - weights) * batch // bytes_per_token


@mutant(of="longest_context", says="its own weights")
def weights_for_every_text(memory, weights, bytes_per_token, batch):
    return (memory - batch * weights) // (bytes_per_token * batch)


@mutant(of="longest_context", says="adds the weights")
def weights_added(memory, weights, bytes_per_token, batch):
    return (memory + weights) // (bytes_per_token * batch)


@mutant(of="longest_context", says="the room in bytes")
def bytes_not_tokens(memory, weights, bytes_per_token, batch):
    return max(0, memory - weights) // batch


@mutant(of="longest_context", says="rounded up")
def rounded_up(memory, weights, bytes_per_token, batch):
    return math.ceil(max(0, memory - weights) / (bytes_per_token * batch))


@mutant(of="longest_context", says="is no whole number")
def not_rounded(memory, weights, bytes_per_token, batch):
    return max(0, memory - weights) / (bytes_per_token * batch)


@mutant(of="longest_context", says="not even the weights fit")
def below_zero(memory, weights, bytes_per_token, batch):
    return (memory - weights) // (bytes_per_token * batch)


@mutant(of="longest_context", says="I expect 41 tokens")
def one_token_spare(memory, weights, bytes_per_token, batch):
    return max(0, solutions.longest_context(memory, weights, bytes_per_token, batch) - 1)

"""Chapter 00, the memory wall: what the checks look at and what they say."""

import math
from random import Random
from typing import Any

import torch
from torch import Tensor

from megalodon_edu.exercises.framework import Diagnosis, exercise
from megalodon_edu.exercises.fresh import cases
from megalodon_edu.exercises.probes import (
    expect_causal,
    expect_close,
    expect_number,
    expect_pair,
    expect_shape,
    expect_streams,
    signal,
)

KEY, VALUE = 4, 3


@exercise(
    success="token by token, in pieces or all at once: with your cache, nobody can tell the difference.",
    hints=[
        "First make the cache: `torch.cat([old_keys, k], dim=1)`, and the same for the values. From then on, work with "
        "these longer keys and values.",
        "All scores at once: `q @ keys.transpose(1, 2)` has the shape (batch, new tokens, all tokens). Divide by the "
        "square root of the width of a key.",
        "The new tokens are the last ones. With `new` of them and `total` keys, new token i stands at place "
        "total - new + i, and may look at that place and everything before it.",
        "`torch.ones(new, total, dtype=torch.bool).tril(total - new)` is True where a token may look. Use "
        '`scores.masked_fill(~mask, float("-inf"))`, then `.softmax(-1)`, then `@ values`.',
    ],
)
def attend(answer: Any) -> None:
    """`attend(q, k, v, cache=None)` on (batch, time, width) returns the outputs and the cache (keys, values)."""
    x = _features()
    q, k, v = _split(x)
    y, cache = expect_pair(answer(q, k, v), "the outputs and the cache (keys, values)")
    expect_shape(y, (2, 12, VALUE), "the output", "batch time width")
    keys, values = expect_pair(cache, "the keys and the values, as the cache")
    expect_shape(keys, (2, 12, KEY), "the cached keys", "batch time width")
    expect_shape(values, (2, 12, VALUE), "the cached values", "batch time width")
    _check_weights(answer(q, k, torch.ones_like(v))[0])
    expect_causal(lambda x: answer(*_split(x))[0], x)
    expect_close(y, _attention(q, k, v), "the output", "batch time width", mistakes={
        "your scores are not divided by the square root of the width; long vectors would make the softmax "
        "all or nothing.": _attention(q, k, v, scale=1.0),
        "you divide the scores by the width; it is its square root.": _attention(q, k, v, scale=1 / KEY),
        "you divide the scores by the square root of the width of v. Scores are products of q and k: it is their "
        "width that counts.": _attention(q, k, v, scale=1 / math.sqrt(VALUE)),
        "you multiply the scores by the square root of the width instead of dividing.":
            _attention(q, k, v, scale=math.sqrt(KEY)),
        "q and k are swapped: you mix with the scores of each key against earlier queries.": _attention(k, q, v),
    })  # fmt: skip
    expect_close(keys, k, "the cached keys", "batch time width")
    expect_close(values, v, "the cached values", "batch time width")
    _diagnose_second_piece(answer, q, k, v)
    expect_streams(lambda x, cache: answer(*_split(x), cache), x)


def _features() -> Tensor:
    """Queries, keys and values side by side in one signal, so that the probes can cut and change them together."""
    return 2 * signal(channel=2 * KEY + VALUE)


def _split(x: Tensor) -> tuple[Tensor, ...]:
    return x.split([KEY, KEY, VALUE], dim=-1)


def _check_weights(y: Tensor) -> None:
    """The outputs for values that are all 1: weights that sum to 1 give 1 everywhere."""
    if y.isnan().any():
        raise Diagnosis(
            "your output holds NaN. A token that may look at nothing has no weights to share out: "
            "every token may look at itself."
        )
    if torch.allclose(y, torch.ones_like(y)):
        return
    if torch.allclose(y.sum(1), torch.full_like(y.sum(1), y.shape[1])):
        raise Diagnosis(
            "your softmax runs over the queries; each query shares out its weights over the keys, the last dimension."
        )
    raise Diagnosis(
        f"a token's weights should sum to 1. I set all values to 1, and your last output is {float(y[0, -1, 0]):.4g}."
    )


def _attention(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """Causal attention of (batch, time, width); the queries are the last tokens of the keys."""
    scores = q @ k.transpose(1, 2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    mask = torch.ones(scores.shape[1:], dtype=torch.bool).tril(k.shape[1] - q.shape[1])
    return scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v


def _diagnose_second_piece(answer: Any, q: Tensor, k: Tensor, v: Tensor, cut: int = 5) -> None:
    """Feed five tokens, then seven; say what the seven look at if it is not everything so far."""
    _, cache = answer(q[:, :cut], k[:, :cut], v[:, :cut], None)
    y, grown = expect_pair(answer(q[:, cut:], k[:, cut:], v[:, cut:], cache))
    expect_shape(y, (2, 12 - cut, VALUE), "the output of the second piece", "batch time width")
    held = grown[0].shape[1]
    right = _attention(q[:, cut:], k, v)
    new, total = 12 - cut, 12
    blind = torch.ones(new, total, dtype=torch.bool).tril()
    scores = (q[:, cut:] @ k.transpose(1, 2) / math.sqrt(KEY)).masked_fill(~blind, float("-inf"))
    everything = (q[:, cut:] @ k.transpose(1, 2) / math.sqrt(KEY)).softmax(-1) @ v
    order = torch.cat([k[:, cut:], k[:, :cut]], 1), torch.cat([v[:, cut:], v[:, :cut]], 1)
    expect_close(y, right, "fed in two pieces, the second output", "batch time width", mistakes={
        "fed in two pieces, the second piece starts as if nothing had happened before it: the cache is not used.":
            _attention(q[:, cut:], k[:, cut:], v[:, cut:]),
        "your mask counts the places of the new tokens from 0. Behind a cache of 5 tokens, the first new one stands at "
        "place 5: yours does not even see itself.": scores.softmax(-1) @ v,
        "with a cache you use no mask at all: in a piece of 7 tokens, the first sees the other 6, its future.":
            everything,
        "you put the new tokens before the old ones; the cache belongs in front.": _attention(q[:, cut:], *order),
    })  # fmt: skip
    if held != total:
        raise Diagnosis(
            f"after pieces of 5 and 7 tokens your cache holds {held} keys instead of 12; hand on the old ones too, "
            "or the next piece will miss them."
        )


@exercise(
    success="you can now read the price of a context off a model's description.",
    hints=[
        "How many numbers does one token leave behind in one layer? A key and a value for every key head.",
        "`heads // queries_per_key` key heads, each with `head_width` numbers. Twice: keys and values.",
        "Multiply by the layers, by the tokens, by the texts, and by the bytes of one number.",
    ],
)
def cache_bytes(answer: Any) -> None:
    """`cache_bytes(layers, heads, head_width, queries_per_key, context, batch, bytes_per_number)` returns bytes."""
    names = ["layers", "heads", "head_width", "queries_per_key", "context", "batch", "bytes_per_number"]
    mistakes = {
        "half of what I expect: each token leaves a key and a value.":
            lambda n, h, w, g, t, b, s: n * h // g * w * t * b * s,
        "the number of numbers; each of them takes `bytes_per_number` bytes.":
            lambda n, h, w, g, t, b, s: 2 * n * h // g * w * t * b,
        "right for one text; every text in the batch has its own cache.":
            lambda n, h, w, g, t, b, s: 2 * n * h // g * w * t * s,
        "right without sharing; where several query heads share a key head, there are fewer key heads.":
            lambda n, h, w, g, t, b, s: 2 * n * h * w * t * b * s,
        "right for one layer; each layer keeps its own keys and values.":
            lambda n, h, w, g, t, b, s: 2 * h // g * w * t * b * s,
        "too much: you multiply by `queries_per_key`, but sharing divides.":
            lambda n, h, w, g, t, b, s: 2 * n * h * g * w * t * b * s,
        "too little: you use `queries_per_key` as the number of key heads. It is how many query heads share one.":
            lambda n, h, w, g, t, b, s: 2 * n * g * w * t * b * s,
        "quadratic in the context. The scores are, but nobody keeps them; keys and values are one row per token.":
            lambda n, h, w, g, t, b, s: 2 * n * h // g * w * t * t * b * s,
    }  # fmt: skip
    known: list[tuple[int, ...]] = [(5, 12, 7, 3, 11, 13, 4), (32, 32, 128, 8, 4096, 2, 2), (1, 1, 1, 1, 1, 1, 1)]
    for sizes in cases(known, _sizes):
        got = expect_number(answer(*sizes), "the number of bytes")
        layers, heads, width, shared, context, batch, size = sizes
        if got == 2 * layers * heads // shared * width * context * batch * size:
            continue
        told = ", ".join(f"{name}={value}" for name, value in zip(names, sizes, strict=True))
        for sentence, wrong in mistakes.items():
            if got == wrong(*sizes):
                raise Diagnosis(f"for {told} you return {got:,.0f}, which is {sentence}")
        right = 2 * layers * heads // shared * width * context * batch * size
        raise Diagnosis(f"for {told} I expect {right:,} bytes, yours are {got:,.4g}.")


def _sizes(numbers: Random) -> tuple[int, ...]:
    layers, key_heads, width, shared, context, batch = (numbers.randint(2, 40) for _ in range(6))
    return layers, key_heads * shared, width, shared, context, batch, numbers.choice((1, 2, 4, 8))


@exercise(
    success="the bug is gone: the window holds the newest tokens, this one included, and never one more.",
    hints=[
        "Call it six times with a window of 2, starting from an empty cache, and print how many keys it attends to.",
        "Count again: how many old tokens may stay, if the new one needs a place too?",
        "The tempting repair `[-(window - 1):]` fails for a window of 1: `[-0:]` is everything. Could you cut at a "
        "later moment?",
        "Put the new token in first, then keep the last `window` of all.",
    ],
)
def windowed_step(answer: Any) -> None:
    """The repaired `windowed_step(q, k, v, cache, window)`, q, k, v of one token (width,); returns output and cache."""
    for window in (3, 1, 20):
        _check_window(answer, window)


def _check_window(answer: Any, window: int) -> None:
    """Feed twelve tokens one at a time and name the first whose output does not belong to the window."""
    q, k, v = (part[0] for part in _split(_features()))
    cache = k[:0], v[:0]
    for step in range(12):
        y, cache = expect_pair(answer(q[step], k[step], v[step], cache, window), "the output and the cache")
        y = expect_shape(y, (VALUE,), f"the output of step {step}", "width").double()
        keys, _ = expect_pair(cache, "the keys and the values, as the cache")
        start = max(0, step - window + 1)
        if not torch.allclose(y, _one_step(q[step], k[start : step + 1], v[start : step + 1])):
            _diagnose_window(y, q[step], k, v, step, window)
        if len(keys) > window:
            raise Diagnosis(
                f"the outputs are right so far, but with a window of {window} your cache holds {len(keys)} keys after "
                f"step {step}: it goes on growing, and memory was what the window should save."
            )


def _diagnose_window(y: Tensor, q: Tensor, k: Tensor, v: Tensor, step: int, window: int) -> None:
    """Find the run of tokens that gives this output, and say how it differs from the window."""
    start = max(0, step - window + 1)
    size = min(window, step + 1)
    wanted = f"{size} tokens, itself included" if size > 1 else "itself alone"
    width = f"with a window of {window}, step {step} should look at {wanted}"
    if torch.allclose(y, _one_step(q, k[start : step + 1], v[start : step + 1], scale=1.0)):
        raise Diagnosis("your scores are no longer divided by the square root of the width; that part was right.")
    for last in (step, step - 1):
        for first in range(last + 1):
            if torch.allclose(y, _one_step(q, k[first : last + 1], v[first : last + 1])):
                seen = f"{last - first + 1} token{'s' * (last > first)}, from step {first} to step {last}"
                raise Diagnosis(f"{width}; yours looks at {seen}.")
    raise Diagnosis(f"{width}; your output is not what any run of tokens gives there.")


def _one_step(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """The output of one query over these keys and values."""
    return _attention(q[None, None], k[None, -len(k) :], v[None], scale)[0, 0]


@exercise(
    success="whoever rents a GPU needs this line, and few have it at hand.",
    hints=[
        "What is left of the memory when the weights have moved in?",
        "Each token of each text takes `bytes_per_token`. How many tokens fit into what is left, if every text gets "
        "the same number?",
        "Round down with `//`, and let `max(0, ...)` answer when not even the weights fit.",
    ],
)
def longest_context(answer: Any) -> None:
    """`longest_context(memory, weights, bytes_per_token, batch)` returns the whole number of tokens that fit."""
    mistakes = {
        "forgets that the weights need room too.": lambda m, w, p, b: m // (p * b),
        "leaves room for one text only; each text of the batch has its own cache.": lambda m, w, p, b: (m - w) // p,
        "multiplies by the batch. More texts leave less room for each.": lambda m, w, p, b: (m - w) * b // p,
        "gives every text its own weights. They share one copy.": lambda m, w, p, b: (m - b * w) // (p * b),
        "adds the weights to the memory; they take it up.": lambda m, w, p, b: (m + w) // (p * b),
        "is the room in bytes for each text; divide by the bytes of a token.": lambda m, w, p, b: (m - w) // b,
        "is rounded up: the last of these tokens no longer fits.": lambda m, w, p, b: -((w - m) // (p * b)),
        "is no whole number; a token either fits or it does not.": lambda m, w, p, b: (m - w) / (p * b),
    }  # fmt: skip
    for case in cases(((1000, 120, 7, 3), (80_000_000_000, 14_771_634_176, 524_288, 1), (100, 120, 7, 3)), _memory):
        memory, weights, per_token, batch = case
        right = max(0, (memory - weights) // (per_token * batch))
        got = expect_number(answer(*case), "the number of tokens")
        if got == right:
            continue
        told = f"for memory={memory:,}, weights={weights:,}, bytes_per_token={per_token:,}, batch={batch}"
        if right == 0:
            raise Diagnosis(f"{told} not even the weights fit, and no token does: the answer is 0, yours is {got:g}.")
        for sentence, wrong in mistakes.items():
            if math.isclose(got, wrong(*case), rel_tol=1e-12):
                raise Diagnosis(f"{told} you return {got:,.6g}, which {sentence}")
        raise Diagnosis(f"{told} I expect {right:,} tokens, yours are {got:,.6g}.")


def _memory(numbers: Random) -> tuple[int, int, int, int]:
    weights = numbers.randint(100, 10**9)
    return weights + numbers.randint(1, 10**9), weights, numbers.randint(2, 4096), numbers.randint(2, 9)

"""Chapter 13, does each part earn its place?: what the checks look at and what they say."""

import math
from typing import Any

import torch
from torch import Tensor

from megalodon_edu.exercises.framework import Diagnosis, exercise, kind_of
from megalodon_edu.exercises.fresh import cases, generator, varied_number
from megalodon_edu.exercises.probes import expect_close, expect_number, expect_shape

STUDENT = 2.776  # five values, 95 %


@exercise(
    success="paired by seed, with n - 1 in the spread, √n below it and Student's factor before it.",
    hints=[
        "Seed i of one model and seed i of the other read the same text. Take their differences first, and forget the "
        "scores.",
        "The mean of the differences, and their standard deviation s with n - 1: three differences have a mean between "
        "them, so only two of them are free.",
        "The half width is `t * s / math.sqrt(n)`.",
        "`torch.tensor(d).std()` divides by n - 1 by itself; `np.std(d)` does so only with `ddof=1`.",
    ],
)
def paired_interval(answer: Any) -> None:
    """`paired_interval(a, b, t)`: mean, low and high of a - b, two lists of scores, seed by seed."""
    draw = generator(0)
    level = 1.6 + 0.3 * torch.rand(5, dtype=torch.float64, generator=draw)
    a = level + 0.02 * torch.rand(5, dtype=torch.float64, generator=draw)
    b = level + 0.02 * torch.rand(5, dtype=torch.float64, generator=draw)
    result = answer(a.tolist(), b.tolist(), STUDENT)
    if not isinstance(result, tuple | list) or len(result) != 3:
        got = f"{len(result)} things" if isinstance(result, tuple | list) else kind_of(result)
        raise Diagnosis(f"return three numbers, the mean, the lower and the upper end; yours returns {got}.")
    mean, low, high = (expect_number(part, "each of mean, low and high") for part in result)
    differences = a - b
    right, spread = differences.mean().item(), differences.std().item()
    if not _near(mean, right):
        if _near(mean, -right):
            raise Diagnosis("the sign is turned round: the difference is a - b.")
        raise Diagnosis(f"the mean difference is {right:.4f}; yours is {mean:.4f}.")
    if not _near(mean - low, high - mean) or high < low:
        raise Diagnosis(
            f"the interval should reach as far below the mean as above it; yours is {low:.4f} .. {high:.4f}."
        )
    half, root = high - mean, math.sqrt(len(a))
    apart = math.sqrt(a.var().item() + b.var().item())
    few = differences.std(correction=0).item()
    mistakes = {
        "you take the scores of both models as unrelated and add their variances. Pair them: take the differences "
        "seed by seed, and the spread of those.": STUDENT * apart / root,
        "that is the factor 1.96 of very many values. With five seeds the spread is a guess itself: use t.":
            1.96 * spread / root,
        "your spread divides by n. Divide by n - 1: the mean was made from the same values, and lies too near to them.":
            STUDENT * few / root,
        "that is where a single seed lies. The mean of n seeds is known better, by √n.": STUDENT * spread,
        "you divide by n instead of √n.": STUDENT * spread / len(a),
        "that is the standard error, s/√n. Multiply it by t.": spread / root,
        "the variance stands where its root should: s is the standard deviation.": STUDENT * spread**2 / root,
        "the half width is halved once more: t counts from the middle to one end.": STUDENT * spread / root / 2,
    }  # fmt: skip
    if _near(half, STUDENT * spread / root):
        return
    for sentence, wrong in mistakes.items():
        if _near(half, wrong):
            raise Diagnosis(sentence)
    raise Diagnosis(f"the half width is t · s / √n = {STUDENT * spread / root:.4f}; yours is {half:.4f}.")


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-9)


@exercise(
    success="blocks of neighbours from anywhere, glued together, and cut to the row's length.",
    hints=[
        "How many blocks make a row? Enough for `count` places: `-(-count // block)`, rounded up.",
        "Where can a block begin? At 0, and at the latest where it still fits: `count - block`. Both may be drawn.",
        "`torch.randint(0, places, (blocks,), generator=generator)` draws 0 .. places - 1.",
        "`(starts[:, None] + torch.arange(block)).flatten()` glues them; then cut: `[:count]`.",
    ],
)
def block_places(answer: Any) -> None:
    """`block_places(count, block, generator)`: which measurement stands at each place of one resampled row."""
    for count, block in cases([(11, 4)], lambda numbers: (numbers.randint(12, 30), numbers.randint(3, 5))):
        _examine_places(answer, count, block)


def _examine_places(answer: Any, count: int, block: int, rows: int = 1000) -> None:
    drawn = [answer(count, block, generator(10 + row)) for row in range(rows)]
    whole = -(-count // block) * block
    if whole > count and isinstance(drawn[0], Tensor) and drawn[0].shape == (whole,):
        raise Diagnosis(
            f"your row has {whole} places, whole blocks. Cut it to {count}, the number of measurements, or its mean is "
            "surer than theirs."
        )
    places = torch.stack([expect_shape(row, (count,), "the row", "place") for row in drawn])
    if places.is_floating_point():
        raise Diagnosis("the places are whole numbers, to be used as an index; yours are floats.")
    if places.min() < 0 or places.max() >= count:
        raise Diagnosis(f"place {int(places.max())} does not exist: the measurements are numbered 0 to {count - 1}.")
    inside = torch.arange(1, count) % block != 0
    steps = places.diff(dim=1)[:, inside]
    if bool((steps == 0).any()) and bool(
        ((steps == 1) | ((steps == 0) & (places[:, 1:][:, inside] == count - 1))).all()
    ):
        raise Diagnosis(
            "a block that runs over the end repeats the last measurement. Let it begin early enough to fit."
        )
    if bool(((steps == 1) | (steps == 1 - count)).all()) and bool((steps == 1 - count).any()):
        raise Diagnosis(
            "a block runs over the end and goes on at the beginning: those two are no neighbours in the text."
        )
    if not bool((steps == 1).all()):
        raise Diagnosis(
            "neighbours are torn apart: inside a block each place is the one before plus 1. Drawn one by one, "
            "neighbours that resemble each other would be taken for independent news."
        )
    starts = places[:, ::block]
    if bool((starts == starts[:, :1]).all()):
        raise Diagnosis("all blocks of a row are the same one. Draw a start for each of them.")
    if all(torch.equal(row, drawn[0]) for row in drawn):
        raise Diagnosis("every call gives the same row. Draw from the generator that you are given.")
    seen = sorted(set(starts.flatten().tolist()))
    if all(start % block == 0 for start in seen):
        raise Diagnosis(
            f"your blocks begin at {', '.join(map(str, seen))} only. Moving blocks begin anywhere: there are "
            f"{count - block + 1} of them."
        )
    missing = [start for start in range(count - block + 1) if start not in seen]
    if missing:
        raise Diagnosis(f"no block begins at {missing[0]}, though one fits there.")
    if not torch.equal(answer(count, block, generator(2)), answer(count, block, generator(2))):
        raise Diagnosis("the same generator state should give the same row: pass `generator` on to torch.randint.")


@exercise(
    success="its own chunk and the one before, and never the future.",
    hints=[
        "Number the chunks: token t lies in chunk t // chunk.",
        "`row = torch.arange(length)[:, None]` and `column = torch.arange(length)` give all pairs at once.",
        "Two conditions: the column's chunk is the row's or the one before, and the column is not later than the row.",
        "`(column <= row) & (row // chunk - column // chunk <= 1)`.",
    ],
)
def sliding_chunks(answer: Any) -> None:
    """`sliding_chunks(length, chunk)`: a mask (query, key), True where the query may look."""
    for length, chunk in cases([(11, 3), (8, 4)], lambda numbers: (numbers.randint(12, 20), numbers.randint(2, 5))):
        found = expect_shape(answer(length, chunk), (length, length), "the mask", "query key")
        if found.dtype is not torch.bool:
            raise Diagnosis(f"the mask holds True and False; yours is of the type {found.dtype}.")
        place = torch.arange(length)
        row, column = place[:, None], place
        past, back = column <= row, row // chunk - column // chunk
        right = past & (back <= 1)
        if torch.equal(found, right):
            continue
        mistakes = {
            "your tokens see the future. A key may not be later than its query.": back.abs() <= 1,
            "inside its own chunk a token sees later ones, too.": (back == 0) | (back == 1),
            "rows and columns are swapped: the row is the query, the one that looks.": right.T,
            "each token sees its own chunk only. That is Megalodon's chunked attention; Gecko's adds the chunk before.":
                past & (back == 0),
            "each token sees the chunk before and not its own, not even itself.": past & (back == 1),
            "that is a sliding window of the last `chunk` tokens. Here the edges are fixed: the first token of a chunk "
            "sees the whole chunk before.": past & (row - column < chunk),
            "that is a sliding window of the last 2 · `chunk` tokens. Here the edges are fixed: only the last token of "
            "a chunk sees so many.": past & (row - column < 2 * chunk),
            "each token sees everything before it.": past,
            "each token sees two chunks before its own. Only one is kept.": past & (back <= 2),
        }  # fmt: skip
        for sentence, wrong in mistakes.items():
            if torch.equal(found, wrong):
                raise Diagnosis(sentence)
        query, key = (found != right).nonzero()[0].tolist()
        may = "may" if right[query, key] else "may not"
        raise Diagnosis(f"in chunks of {chunk}, query {query} {may} look at key {key}; your mask says otherwise.")


@exercise(
    success="the average fades, and its start at zero is made good at every step.",
    hints=[
        "Keep the uncorrected average h, from 0: `h = decay * h + (1 - decay) * token`.",
        "How full is it after n tokens? The weights it has given add up to 1 - decayⁿ.",
        "What goes out is h / (1 - decayⁿ); what goes on to the next token is h itself.",
        "The same in one line: `m = m + (1 - decay) / (1 - decay**n) * (token - m)`, with n = 1 for the first token.",
    ],
)
def decay_means(answer: Any) -> None:
    """`decay_means(tokens, decay)`: (time,), the corrected fading mean after each token."""
    tokens = 3 + torch.randn(9, dtype=torch.float64, generator=generator(0))
    decay = varied_number(0.8)
    found = expect_shape(answer(tokens, decay), (9,), "the means", "time")
    n = torch.arange(1, 10, dtype=torch.float64)
    filled = 1 - decay**n

    def faded(first: Tensor, step: float, correct: bool = False) -> Tensor:
        h, out = first, []
        for token, full in zip(tokens, filled, strict=True):
            h = h + step * (token - h)
            h = h / full if correct else h
            out.append(h)
        return torch.stack(out)

    zero = torch.zeros((), dtype=torch.float64)
    raw = faded(zero, 1 - decay)
    swapped = faded(zero, decay)
    if not bool(found.isfinite().all()):
        raise Diagnosis("the first mean is no number: you divide by 1 - decay⁰ = 0. After the first token n is 1.")
    expect_close(found, raw / filled, "the mean", "time", mistakes={
        "the average starts at 0 and is pulled down by it: the first mean should be the first token. Divide by "
        "1 - decayⁿ.": raw,
        "you start from the first token and give it all the weight of the past before it. It should count once, and "
        "the average be divided by 1 - decayⁿ.": faded(tokens[0], 1 - decay),
        "the decay is swapped: the old average keeps `decay`, the new token gets 1 - decay.":
            swapped / (1 - (1 - decay) ** n),
        "the decay is swapped, and the start at 0 is not corrected.": swapped,
        "the corrected mean is fed back into the average, so it is corrected again and again. Keep h as it is and "
        "divide only what goes out.": faded(zero, 1 - decay, correct=True),
        "that is the mean of all tokens so far, Timestep Norm's: nothing fades.": tokens.cumsum(0) / n,
        "you divide by one power too many: after the first token n is 1, not 2.": raw / (1 - decay ** (n + 1)),
        "you multiply by 1 - decayⁿ; divide by it.": raw * filled,
    })  # fmt: skip

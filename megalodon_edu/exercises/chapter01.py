"""Chapter 01, exponential moving averages: what the checks look at and what they say."""

import math
from typing import Any

import torch
from torch import Tensor

from megalodon_edu.exercises.framework import Diagnosis, exercise
from megalodon_edu.exercises.fresh import cases, varied_number
from megalodon_edu.exercises.probes import (
    expect_causal,
    expect_close,
    expect_number,
    expect_pair,
    expect_shape,
    expect_streams,
    signal,
)
from megalodon_edu.ops import ema as ops

SIX = torch.tensor([4.0, 0.0, 0.0, 2.0, 0.0, 0.0], dtype=torch.float64)[None, :, None]


@exercise(
    success="your moving average keeps one number per channel, takes a state in and hands it on.",
    hints=[
        "Two things happen at each step: the memory fades, and a share of the new token comes in.",
        "Start with `h = torch.zeros(x.shape[0], x.shape[2], dtype=x.dtype)`, or with the state if there is one. "
        "Then go through `t` and update `h` from `x[:, t]`, which has the shape (batch, channel).",
        "Collect `h` after each update in a list. At the end, `torch.stack(list, dim=1)` puts time back in the middle.",
        "The update itself is `h = alpha * x[:, t] + (1 - alpha) * h`.",
    ],
)
def ema(answer: Any) -> None:
    """`ema(x, alpha, state=None)` returns y (batch, time, channel) and the last state (batch, channel)."""
    alpha = torch.tensor([0.25], dtype=torch.float64)
    y, state = expect_pair(answer(SIX, alpha))
    expect_shape(y, (1, 6, 1))
    expect_shape(state, (1, 1), "the last state", "batch channel")
    expect_causal(lambda x: answer(x, alpha)[0], SIX, changed=3)
    right, last = ops.ema_reference(SIX, alpha)
    late = torch.cat([torch.zeros_like(right[:, :1]), right[:, :-1]], 1)
    expect_close(y, right, mistakes={
        "your memory fades by α and takes in 1 - α of each token; it is the other way round. "
        "(With α = 0.5 nobody would notice, so I tried 0.25.)": ops.ema_reference(SIX, 1 - alpha)[0],
        "you add the whole token and not its share α: fed with a constant 1, your memory would climb to 1/α "
        "instead of 1.": right / alpha,
        "your outputs come one step late: y at step t should already contain the token of step t.": late,
        "you start from the first token instead of from an empty memory: the state before step 0 is zero, "
        "so the first output is α times the first token.": ops.ema_reference(SIX, alpha, SIX[:, 0])[0],
    })  # fmt: skip
    expect_close(state, last, "the last state", "batch channel", mistakes={
        "the state you return is the one you started from; the next call needs the one after the last step.":
            torch.zeros_like(last),
    })  # fmt: skip
    x, alphas = signal(), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    y, _ = expect_pair(answer(x, alphas))
    expect_close(expect_shape(y, tuple(x.shape)), ops.ema_reference(x, alphas)[0], mistakes={
        "every channel fades with the α of channel 0; each has its own.": ops.ema_reference(x, alphas[:1].repeat(3))[0],
    })  # fmt: skip
    expect_streams(lambda x, state: answer(x, alphas, state), x)


@exercise(
    success="you can now order a memory by its half-life.",
    hints=[
        "After n steps a token still weighs (1 - α)ⁿ of what it weighed at first. When is that one half?",
        "Solve (1 - α)ⁿ = ½ for α: take the n-th root of both sides.",
    ],
)
def alpha_for_half_life(answer: Any) -> None:
    """`alpha_for_half_life(steps)` returns the α whose memory halves in that many steps."""
    mistakes = {
        "is the decay 1 - α, what is kept at each step. I asked for α, what is taken in.": lambda n: 0.5 ** (1 / n),
        "lets the memory fade to 1/e = 37 % in that time, not to one half: that is the time constant.":
            lambda n: 1 - math.exp(-1 / n),
        "is an approximation, ln 2 / n. It is good for long half-lives and poor for short ones.":
            lambda n: math.log(2) / n,
        "is one over the number of steps: over long times that leaves 37 % of the memory, not one half.":
            lambda n: 1 / n,
        "halves the memory at every step, whatever half-life I ask for.": lambda n: 0.5,
    }  # fmt: skip
    for steps in cases((3, 1, 100), lambda numbers: numbers.randint(2, 60)):
        alpha = expect_number(answer(steps), f"alpha_for_half_life({steps})")
        if math.isclose(alpha, 1 - 0.5 ** (1 / steps), rel_tol=1e-6):
            continue
        for sentence, wrong in mistakes.items():
            if math.isclose(alpha, wrong(steps), rel_tol=1e-6):
                raise Diagnosis(f"for a half-life of {steps} you return {alpha:.4g}, which {sentence}")
        left = (1 - alpha) ** steps
        raise Diagnosis(f"with your α = {alpha:.4g}, after {steps} steps {left:.4g} of the memory is left, not 0.5.")


@exercise(
    success="these are the weights of the past: the whole average in one list.",
    hints=[
        "Feed the loop a single 1 followed by zeros and write down what comes out.",
        "The token of this very step has the age τ = 0 and the weight α. Each step further back multiplies by 1 - α.",
        "`torch.arange(length)` gives all ages at once; a number to the power of a tensor works.",
    ],
)
def ema_kernel(answer: Any) -> None:
    """`ema_kernel(alpha, length)` returns the weights for the ages 0 .. length-1, alpha a plain number."""
    alpha, length = varied_number(0.25), 6
    weights = expect_shape(answer(alpha, length), (length,), "your kernel", "age")
    decay, ages = 1 - alpha, torch.arange(length, dtype=torch.float64)
    right = alpha * decay**ages
    expect_close(weights, right, "your kernel", "age", mistakes={
        "your kernel lacks the factor α: it starts at 1, so its weights sum to 1/α instead of 1.": decay**ages,
        "your kernel is one step too old: the token of this very step has the age 0 and is not faded yet.":
            alpha * decay ** (ages + 1),
        "your kernel is the right one backwards: entry 0 belongs to the newest token.": right.flip(0),
        "your weights fade by α at each step; what is kept at each step is 1 - α.": decay * alpha**ages,
        "you divide the kernel by its sum. The true weights sum to a little less than 1: "
        "what is missing belongs to the empty start.": right / right.sum(),
    })  # fmt: skip


@exercise(
    success="the bug is gone: chunks of any size give what the loop gives.",
    hints=[
        "Run it with a chunk as long as the text, then with chunks of one token. Which steps are right?",
        "Look at the first step of a chunk. How often must the state have faded by then?",
        "The state is the memory at the last step of the chunk before. One step later it has faded once already.",
    ],
)
def ema_in_chunks(answer: Any) -> None:
    """The repaired `ema_in_chunks(x, alpha, chunk_size)`, x a one-dimensional tensor; returns y of the same length."""
    x, alpha, size = signal(1, 14, 1)[0, :, 0], 0.25, 4
    right = ops.ema_reference(x[None, :, None], torch.tensor([alpha]).double())[0][0, :, 0]
    alone = expect_shape(answer(x[:size], alpha, size), (size,), "y for a single chunk", "time")
    expect_close(alone, right[:size], "y for a single chunk", "time")
    y = expect_shape(answer(x, alpha, size), (14,), "y", "time").double()
    _diagnose_chunks(y, right, alpha, size)
    for size in (1, 5, 14):
        y = expect_shape(answer(x, alpha, size), (14,), f"y in chunks of {size}", "time")
        expect_close(y, right, f"y in chunks of {size}", "time")


def _diagnose_chunks(y: Tensor, right: Tensor, alpha: float, size: int) -> None:
    """Say what is off at the first wrong step, in terms of the state that enters its chunk."""
    wrong = (~torch.isclose(y, right, rtol=1e-6, atol=1e-6)).nonzero().flatten()
    if len(wrong) == 0:
        return
    step = int(wrong[0])
    chunk, place = divmod(step, size)
    state = right[chunk * size - 1]
    where = f"step {step} (place {place} in chunk {chunk}, both counted from 0)"
    share = float((y[step] - right[step]) / state)
    expected = (1 - alpha) ** (place + 1)
    if chunk == 1 and math.isclose(share, -expected, rel_tol=1e-6):
        raise Diagnosis(f"chunk 0 is right, but at {where} nothing is left of chunk 0: the state is lost at the edge.")
    raise Diagnosis(
        f"everything before {where} is right. There the state that enters chunk {chunk} should count "
        f"{expected:.4g} times; in yours it counts {expected + share:.4g} times."
    )


@exercise(
    success="a mean that never looks back: chapter 04 builds a norm on it.",
    hints=[
        "At each token the mean moves a little towards it. How far, if all n tokens so far count the same?",
        "It is an exponential moving average whose α changes: at the n-th token α is 1/n.",
        "Two numbers must be carried: how many tokens have been seen, and their mean.",
    ],
)
def mean_so_far(answer: Any) -> None:
    """`mean_so_far(x, state=None)` returns the mean of all tokens up to each step, and the state (count, mean)."""
    x = signal(seed=1)
    y, state = expect_pair(answer(x), "the means y and the state (count, mean)")
    expect_shape(y, tuple(x.shape))
    expect_pair(state, "count and mean, as the state")
    expect_causal(lambda x: answer(x)[0], x)
    total, count = x.cumsum(1), torch.arange(1, 13, dtype=torch.float64)[:, None]
    expect_close(y, total / count, mistakes={
        "your mean is divided by one too many, as if there had been a zero before the first token.":
            total / (count + 1),
        "these are sums; divide by the number of tokens seen so far.": total,
        "this is an average with a fixed α: late tokens count more than early ones. In a mean all count the same.":
            ops.ema_reference(x, torch.full((3,), 0.5).double())[0],
    })  # fmt: skip
    expect_streams(answer, x)

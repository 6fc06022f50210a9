"""Chapter 07, two-hop residuals: what the checks look at and what they say."""

from collections.abc import Callable
from random import Random
from typing import Any

import torch
from torch import Tensor

from megalodon_edu.exercises.framework import Diagnosis, exercise
from megalodon_edu.exercises.fresh import cases
from megalodon_edu.exercises.probes import (
    expect_close,
    expect_number,
    expect_pair,
    expect_shape,
    expect_streams,
    signal,
)
from megalodon_edu.ops.ema import ema_reference


def attention(x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    """A stand-in that looks back and has a state: the average of chapter 01, doubled."""
    alpha = torch.tensor([0.5, 0.25, 0.8], dtype=x.dtype)
    y, state = ema_reference(x, alpha, state)
    return 2 * y, state


def feed_forward(x: Tensor) -> Tensor:
    """A stand-in without memory: channels are mixed, then squeezed."""
    return torch.tanh(x @ signal(1, 3, 3, seed=5)[0].to(x.dtype))


@exercise(
    success="attention speaks to the feed-forward, the feed-forward speaks to the stream.",
    hints=[
        "Attention returns two things, the update and its new state. Hand it the state that came in.",
        "First hop: Ŷ is X plus attention's update.",
        "Second hop: Y is X plus what the feed-forward makes of Ŷ.",
        "The last line is `return x + feed_forward(x + update), state`.",
    ],
)
def two_hop_block(answer: Any) -> None:
    """`two_hop_block(x, attention, feed_forward, state=None)` returns Y (batch, time, channel) and the last state."""
    x = signal()
    y, state = expect_pair(answer(x, attention, feed_forward))
    expect_shape(y, tuple(x.shape), "Y")
    update, last = attention(x)
    y_hat = x + update
    right = x + feed_forward(y_hat)
    expect_close(y, right, "Y", mistakes={
        "your second residual starts at Ŷ: that is the pre-norm block. Two-hop starts again at X, the block's input.":
            y_hat + feed_forward(y_hat),
        "your feed-forward reads X. It reads Ŷ = X + A(X); otherwise nobody hears attention.": x + feed_forward(x),
        "your sublayers stand side by side, both reading X and both writing into the stream. In a two-hop block the "
        "feed-forward reads Ŷ, and it alone writes.": x + update + feed_forward(x),
        "the first hop is missing: your feed-forward reads attention's update alone. It reads X plus the update.":
            x + feed_forward(update),
        "X arrives twice. The two hops are not two skips added at the end: one X goes into Ŷ, the other into Y.":
            x + right,
        "you add X to a pre-norm block. Ŷ is what the feed-forward reads; it is not part of Y.":
            x + y_hat + feed_forward(y_hat),
        "the second hop is missing: nothing carries X over the feed-forward.": feed_forward(y_hat),
        "that is Ŷ. The feed-forward is still to come.": y_hat,
    })  # fmt: skip
    if not isinstance(state, Tensor):
        raise Diagnosis("the second thing you return should be the state that attention returned.")
    expect_close(state, last, "the last state", "batch channel")
    expect_streams(lambda x, state: answer(x, attention, feed_forward, state), x)
    silent, _ = expect_pair(answer(x, attention, torch.zeros_like))
    expect_close(silent, x, "with a feed-forward that returns 0, Y")


@exercise(
    success="the same measurement that drew the figures of this chapter.",
    hints=[
        "Keep every x_l in a list while you go through the blocks. The first one needs `requires_grad_()`.",
        "`torch.autograd.grad(loss, stream)` returns one gradient for each tensor in the list.",
        "RMS is `gradient.square().mean().sqrt()`, over all numbers of the tensor.",
        "Stack the depth + 1 numbers in the order of the list, x_0 first.",
    ],
)
def gradient_profile(answer: Any) -> None:
    """`gradient_profile(x, blocks, probe)`: the RMS of ∂loss/∂x_l for l = 0..depth, where loss = Σ probe · x_depth."""
    x, probe = signal(), signal(seed=3)
    matrices = signal(4, 3, 3, seed=4)
    blocks = [_linear(matrix) for matrix in matrices]
    stream, gradient = [x], [probe]
    for matrix in matrices:
        stream.append(stream[-1] @ matrix)
    for matrix in matrices.flip(0):
        gradient.insert(0, gradient[0] @ matrix.T)
    what, dimensions, sizes = "your profile", "place", (5,)
    result = answer(x, blocks, probe)
    if isinstance(result, list):
        raise Diagnosis("return one tensor, not a list: `torch.stack` makes a tensor of a list of numbers.")
    if isinstance(result, Tensor) and tuple(result.shape) == (4,):
        raise Diagnosis(
            "your profile has 4 numbers for 4 blocks. There are 5 places: before each block, and after the last."
        )
    values = expect_shape(result, sizes, what, dimensions)
    right = torch.stack([_rms(part) for part in gradient])
    alone = [probe @ matrix.T for matrix in matrices]
    expect_close(values, right, what, dimensions, mistakes={
        "your profile is the right one backwards: its first number belongs to x_0, the input.": right.flip(0),
        "that is the size of the stream. What is asked for is the size of the gradient that comes back to it.":
            torch.stack([_rms(part) for part in stream]),
        "you take the norm, which grows with the number of entries. The RMS is the root of their mean square.":
            torch.stack([part.norm() for part in gradient]),
        "you take the mean of the sizes. The RMS squares first, then takes the mean, then the root.":
            torch.stack([part.abs().mean() for part in gradient]),
        "the root is missing: you return mean squares.": right.square(),
        "your gradient stops at each block: every number looks as if the loss stood right behind its own block.":
            torch.stack([_rms(part) for part in (*alone, probe)]),
    })  # fmt: skip


@exercise(
    success="from there on a fresh block is not only nearly the identity, it is the identity.",
    hints=[
        "Try it: put a 1 and the update into tensors of that dtype, add them, and look whether the sum is 1.",
        "Block `layer` multiplies the update by 0.1 * 0.5**layer. Start with layer 0 and count up.",
        "`torch.tensor(value, dtype=dtype)` rounds to the dtype, and so does the sum of two such tensors.",
        "`while one + torch.tensor(0.1 * 0.5**layer * update, dtype=dtype) != one: layer += 1`.",
    ],
)
def first_silent_block(answer: Any) -> None:
    """`first_silent_block(update, dtype)`: the first layer whose rescaled update, added to a 1, changes nothing."""
    known = ((0.17, torch.float32), (1.0, torch.bfloat16), (3.0, torch.float16), (0.17, torch.bfloat16))
    for update, dtype in cases(known, _update):
        name = str(dtype).removeprefix("torch.")
        layer = expect_number(answer(update, dtype), "the layer")
        right = _silent(0.1 * update, dtype)
        asked = f"for an update of {update:g} in {name}"
        mistakes = {
            f"{asked} you name the last block that is still heard; the first silent one is the next.": right - 1,
            f"{asked} your sum is a Python float, with 53 bits. Round the update and the sum to {name}.":
                _silent(0.1 * update, torch.float64),
            f"{asked} the factor 0.1 is missing: the scale starts at 0.1 · 0.5^layer.":
                _silent(update, dtype),
            f"{asked} the update itself is missing: you look at the scale 0.1 · 0.5^layer alone.":
                _silent(0.1, dtype),
            f"{asked} you wait until the update is 0. Long before, it is too small to move a 1.":
                _zero_from(update, dtype),
        }  # fmt: skip
        for sentence, wrong in mistakes.items():
            if layer == wrong != right:
                raise Diagnosis(sentence)
        if layer != right:
            raise Diagnosis(f"{asked} the first silent block is not {layer:g}. Add up and look.")


@exercise(
    success="the bug is gone: every block starts both hops at its own input.",
    hints=[
        "Run it with one block, then with two. Which of the two is right?",
        "In block 1, print what `before` is: is it that block's input?",
        "Both hops of a block start at the same X: the input of this block.",
        "Without `before`, one line of the loop is `x = x + feed_forward(x + attention(x))`.",
    ],
)
def two_hop_stack(answer: Any) -> None:
    """The repaired `two_hop_stack(x, blocks)`; blocks are pairs of functions (attention, feed_forward)."""
    x = signal()
    first, second, third = (_pair(seed) for seed in (1, 2, 3))
    one = _two_hop(x, first)
    two = _two_hop(one, second)
    y = expect_shape(answer(x, [first]), tuple(x.shape), "the stack's output")
    y_hat = x + first[0](x)
    expect_close(y, one, "with a single block, the output", mistakes={
        "with a single block you have a pre-norm block: the second residual starts at Ŷ, and should start at X.":
            y_hat + first[1](y_hat),
        "with a single block, X arrives twice. One X goes into Ŷ, the other into Y.": x + one,
        "with a single block, nothing carries X over the feed-forward.": first[1](y_hat),
    })  # fmt: skip
    y = expect_shape(answer(x, [first, second]), tuple(x.shape), "the stack's output")
    from_one = second[1](one + second[0](one))
    expect_close(y, two, "one block is right; with two, the output", mistakes={
        "one block is right; in the second, the last hop starts at the input of the block before it, so what that "
        "block added is gone. Two-hop spans the two sublayers of one block, not two blocks.": x + from_one,
        "one block is right; the second reads the stack's input again and never hears the first.":
            _two_hop(x, second),
        "one block is right; with two, the output of the first is added twice.": two + one,
        "one block is right; with two, the stack's input is added once more.": two + x,
    })  # fmt: skip
    three = expect_shape(answer(x, [first, second, third]), tuple(x.shape), "the stack's output")
    expect_close(three, _two_hop(two, third), "two blocks are right; with three, the output")


def _update(numbers: Random) -> tuple[float, torch.dtype]:
    return numbers.uniform(0.05, 20), numbers.choice((torch.float32, torch.bfloat16, torch.float16))


def _linear(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: x @ matrix


def _rms(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()


def _silent(size: float, dtype: torch.dtype) -> int:
    """The first layer where size · 0.5^layer, added to a 1, leaves it a 1."""
    one = torch.ones((), dtype=dtype)
    return next(layer for layer in range(100) if one + torch.tensor(size * 0.5**layer, dtype=dtype) == one)


def _zero_from(update: float, dtype: torch.dtype) -> int:
    return next(layer for layer in range(200) if torch.tensor(0.1 * 0.5**layer * update, dtype=dtype) == 0)


def _pair(seed: int) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """A stand-in for attention and one for the feed-forward."""
    mix, other = signal(2, 3, 3, seed=seed)
    return lambda x: x.cumsum(1) @ mix / 3, lambda x: torch.tanh(x @ other)


def _two_hop(x: Tensor, pair: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]) -> Tensor:
    return x + pair[1](x + pair[0](x))

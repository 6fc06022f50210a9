"""Chapter 11, Triton for Megalodon: what the checks look at and what they say."""

from random import Random
from typing import Any

import torch
from torch import Tensor

from megalodon_edu.exercises.framework import Diagnosis, exercise
from megalodon_edu.exercises.fresh import cases, generator
from megalodon_edu.exercises.probes import (
    expect_causal,
    expect_close,
    expect_number,
    expect_pair,
    expect_shape,
    signal,
)
from megalodon_edu.measure.ladder import SEGMENTS, Case, count
from megalodon_edu.ops.ema import ema_reference
from megalodon_edu.ops.timestep_norm import TimestepNormState, merge


@exercise(
    success="two walks read x, one writes y, and every state between segments crosses the memory four times.",
    hints=[
        "The first walk reads x, the second reads x again and writes y: three passes over batch · length · channels.",
        "A state is one complex number of 8 bytes for every mode, channel and segment of every sequence.",
        "The first walk writes what each segment adds; the joining kernel reads that and writes the starts; the second "
        "walk reads those.",
        "With a single segment there is nothing to join: x is read once, y written once.",
    ],
)
def bytes_of_walks(answer: Any) -> None:
    """`bytes_of_walks(batch, length, channels, modes, itemsize, segments)`: bytes that CEMA in segments moves."""
    known = ((3, 60, 5, 7, 1, 5), (8, 4096, 1024, 16, 2, 16))
    for batch, length, channels, modes, itemsize, segments in cases(known, _walks):
        case = Case(batch, length, channels, itemsize, modes, segment=length // segments)
        _check_bytes(answer, case, segments)
    case = Case(2, 64, 4, 2, 3, segment=64)
    _check_bytes(answer, case, 1)


def _walks(numbers: Random) -> tuple[int, int, int, int, int, int]:
    batch, channels, modes, segments, long = (numbers.randint(2, 40) for _ in range(5))
    return batch, segments * long, channels, modes, numbers.choice((2, 4)), segments


def _check_bytes(answer: Any, case: Case, segments: int) -> None:
    found = answer(case.batch, case.length, case.channels, case.modes, case.itemsize, segments)
    value, right = expect_number(found, "the number of bytes"), count(SEGMENTS, case).moved
    one = case.values * case.itemsize
    states = case.batch * segments * case.channels * case.modes * 8
    if segments == 1:
        right, wrong = 2 * one, {3 * one + 4 * states, 3 * one}
        if value in wrong:
            raise Diagnosis("with one segment the first walk is not needed: its state before the start is zero.")
    if value == right:
        return
    mistakes = {
        right - one: "one pass over x is missing. The first walk reads all of x too.",
        right + one: "the first walk writes no y: it looks for the states alone.",
        3 * one: "the states between the segments are missing.",
        3 * one + states: "each state is written and read twice: what a segment adds, and what it starts from.",
        3 * one + 2 * states: "you count the states once out and once back. There are two kinds of them: what a "
        "segment adds, and what it starts from.",
        3 * one + 4 * (states // 8) * case.itemsize: "states stay in float32 whatever x is in, and they are complex: 8 "
        "bytes each.",
        3 * one + 4 * states // segments: "there is a state for every segment of every sequence.",
        right / case.itemsize: "you count numbers; the question is bytes.",
    }
    if value in mistakes:
        raise Diagnosis(mistakes[value])
    raise Diagnosis(
        f"for x of {case[:3]}, {case.modes} modes, {case.itemsize} bytes and {segments} segments it is {right:,.0f} "
        f"bytes; yours says {value:,.0f}."
    )


def _states(seed: int, *shape: int) -> Tensor:
    draw = generator(seed)
    return torch.randn(*shape, dtype=torch.complex128, generator=draw)


@exercise(
    success="every segment starts from all that came before it, faded by the right number of steps.",
    hints=[
        "The first segment starts from zero: nothing came before.",
        "After segment s the state is jump · start + ends[s]: its start has faded, and the segment has added its part.",
        "That state is the start of segment s + 1. Store the start before you update it.",
        "Collect the starts in a list and put them together with `torch.stack(starts, dim=1)`.",
    ],
)
def join(answer: Any) -> None:
    """`join(ends, jump)`: the state before every segment, from what each adds to a zero state."""
    ends = _states(0, 2, 5, 3, 4)
    jump = 0.9 * torch.exp(1j * torch.linspace(0.2, 2.5, 12, dtype=torch.float64)).reshape(3, 4)
    found = expect_shape(answer(ends, jump), tuple(ends.shape), "the starts", "batch segment channel mode")
    if not found.is_complex():
        raise Diagnosis("the starts should be complex, as the ends are; yours have lost their imaginary part.")

    def walk(jump: Tensor, after: bool = False, faded_end: bool = False) -> Tensor:
        state, starts = torch.zeros_like(ends[:, 0]), []
        for end in ends.unbind(1):
            new = jump * (state + end) if faded_end else jump * state + end
            starts.append(new if after else state)
            state = new
        return torch.stack(starts, 1)

    right = walk(jump)
    shifted = torch.cat([torch.zeros_like(ends[:, :1]), ends[:, :-1]], 1)
    mistakes = {
        "you return the state after each segment. A walk needs the state before it.": walk(jump, after=True),
        "only the segment just before is remembered; what came before that is lost.": shifted,
        "nothing fades: the state must be multiplied by jump once for every segment it passes.": walk(
            torch.ones_like(jump)
        ),
        "the jump turns the wrong way round: that is its conjugate.": walk(jump.conj()),
        "the end of a segment is multiplied by jump too. It has faded already, inside its segment.": walk(
            jump, faded_end=True
        ),
        "these are the ends themselves. What does segment 2 know of segment 0?": ends,
    }
    for sentence, wrong in mistakes.items():
        if torch.allclose(found.to(wrong.dtype), wrong, rtol=1e-9, atol=1e-9):
            raise Diagnosis(sentence)
    expect_close(torch.view_as_real(found), torch.view_as_real(right), "the starts", "batch time channel mode part")


@exercise(
    success="each matrix is transposed, reading and writing have changed places, and q is conjugated.",
    hints=[
        "Forward: y = K x + Re(V h) and h' = across · h + W x. `g_after` is the gradient of h', `dy` that of y.",
        "x reaches the loss through y, by K, and through h', by W. So dx has two terms.",
        "h reaches it through y, by V, and through h', by across. So g_before has two terms.",
        "The gradient of a complex h of a real loss goes through the conjugate: of V, of W and of across. Transposed "
        "and conjugated is `.mH`.",
        "dx = K.mT @ dy + (W.mH @ g_after).real and g_before = across.conj() * g_after + V.mH @ dy. Give dy the type "
        "of V before you multiply it by V.",
    ],
)
def reverse_chunk(answer: Any) -> None:
    """`reverse_chunk(dy, g_after, K, V, W, across)`: dx and the gradient of the state before the chunk."""
    steps, modes = 5, 3
    draw = generator(0)
    k = torch.randn(steps, steps, dtype=torch.float64, generator=draw).tril()
    v, w, across = _states(1, steps, modes), _states(2, modes, steps), _states(3, modes)
    x = torch.randn(steps, dtype=torch.float64, generator=draw).requires_grad_()
    h = _states(4, modes).requires_grad_()
    dy, after = torch.randn(steps, dtype=torch.float64, generator=draw), _states(5, modes)
    y, new = k @ x + (v @ h).real, across * h + w @ x.to(w.dtype)
    dx, before = torch.autograd.grad((y, new), (x, h), (dy, after))

    found = expect_pair(answer(dy, after, k, v, w, across), "dx and the gradient of the state before the chunk")
    mine = expect_shape(found[0], (steps,), "dx", "time")
    state = expect_shape(found[1], (modes,), "the gradient of the state", "mode")
    if mine.is_complex():
        raise Diagnosis("dx should be real: x is. Take the real part of what comes through the state.")
    through = (w.mH @ after).real
    expect_close(mine, dx, "dx", "time", mistakes={
        "K is not transposed: step t of y depends on step s of x, so dx at s collects from t.": k @ dy + through,
        "the way through the state is missing: x also writes into h'.": k.mT @ dy,
        "the way through K is missing.": through,
        "W is transposed, but not conjugated: that turns the gradient the wrong way round.":
            k.mT @ dy + (w.mT @ after).real,
        "V has read into dx. Backwards, the matrix that wrote the state is the one that is read.":
            k.mT @ dy + (v.conj() @ after).real,
    })  # fmt: skip
    read = v.mH @ dy.to(v.dtype)
    if not state.is_complex():
        raise Diagnosis("the gradient of the state should be complex, as the state is.")
    mistakes = {
        "across is not conjugated.": across * after + read,
        "V is transposed, but not conjugated.": across.conj() * after + v.mT @ dy.to(v.dtype),
        "what comes from later chunks is lost: g_after must go on, times the conjugate of across.": read,
        "the way through V is missing: the state is read in this chunk too.": across.conj() * after,
        "g_after goes on without fading: multiply it by the conjugate of across.": after + read,
    }
    for sentence, wrong in mistakes.items():
        if torch.allclose(state.to(wrong.dtype), wrong, rtol=1e-9, atol=1e-9):
            raise Diagnosis(sentence)
    expect_close(torch.view_as_real(state), torch.view_as_real(before), "the gradient of the state", "mode part")


@exercise(
    success="K is triangular, every chunk starts from the state of the one before, and the sum is exact.",
    hints=[
        "Change x at step 7 and look at the outputs before it. Which matrix lets them move?",
        "An entry of K in row t and column s says what step t takes from step s. What should stand where s > t?",
        "`torch.tril` keeps the lower triangle and sets the rest to 0.",
    ],
)
def chunked_ema(answer: Any) -> None:
    """`chunked_ema(x, alpha, chunk)`: an EMA by matrix products; x is (batch, time, channel), time in whole chunks."""
    x, alpha, chunk = signal(2, 12, 3), 0.3, 4
    right, _ = ema_reference(x, torch.full((3,), alpha, dtype=x.dtype))
    y = expect_shape(answer(x, alpha, chunk), tuple(x.shape))
    expect_causal(lambda x: answer(x, alpha, chunk), x)

    def walk(read_from: int = 1, written: float = 1.0, forget: bool = False) -> Tensor:
        decay, pieces = 1 - alpha, []
        state = torch.zeros_like(x[:, 0])
        for piece in x.split(chunk, 1):
            inside, _ = ema_reference(piece, torch.full((3,), alpha, dtype=x.dtype))
            powers = decay ** torch.arange(read_from, read_from + chunk, dtype=x.dtype)
            pieces.append(inside + powers[:, None] * state[:, None])
            new = inside[:, -1] + decay**chunk * state
            state = inside[:, -1] if forget else written * new
        return torch.cat(pieces, 1)

    alone = torch.cat(
        [ema_reference(piece, torch.full((3,), alpha, dtype=x.dtype))[0] for piece in x.split(chunk, 1)], 1
    )
    expect_close(y, right, "y", mistakes={
        "every chunk starts from zero: the state is lost at the edge.": alone,
        "the state is one step too strong: at step t of a chunk it has faded t + 1 times.": walk(read_from=0),
        "the state remembers one chunk only: q^T times the old state is missing.": walk(forget=True),
    }, tolerance=1e-9)  # fmt: skip


@exercise(
    success="sums over the blocks before, and a term for the distance of each block from what was there.",
    hints=[
        "Keep three numbers: n tokens, their mean, and their sum S of squared distances. At the start all are 0.",
        "A block of m tokens with mean b pulls the mean: mean + (b - mean) · m / (n + m).",
        "S grows by the block's own S, and by (b - mean)² · n · m / (n + m): the two spans stand apart.",
        "Store mean and S before you add the block. Use the old mean in both lines.",
    ],
)
def before_blocks(answer: Any) -> None:
    """`before_blocks(tokens, means, squares)`: mean and S of everything before each block."""
    draw = generator(0)
    tokens = torch.tensor([3, 1, 4, 2, 5])
    means = torch.randn(5, 2, dtype=torch.float64, generator=draw)
    squares = torch.rand(5, 2, dtype=torch.float64, generator=draw) * tokens[:, None]
    found = expect_pair(answer(tokens, means, squares), "the means and the sums S before each block")
    mean = expect_shape(found[0], (5, 2), "the means", "time group")
    square = expect_shape(found[1], (5, 2), "the sums S", "time group")

    def running(apart: bool = True, new_mean: bool = False, own: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        n, mu, s = 0.0, torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
        rows = []
        for m, b, inner in zip(tokens.tolist(), means, squares, strict=True):
            after = mu + (b - mu) * m / (n + m)
            distance = b - after if new_mean else b - mu
            rows.append((mu, s))
            s = s + (inner if own else 0) + (distance**2 * n * m / (n + m) if apart else 0)
            n, mu = n + m, after
        return torch.stack([row[0] for row in rows]), torch.stack([row[1] for row in rows]), mu

    right_mean, right_square, last = running()
    weights = tokens[:, None].double()
    plain = torch.cat([torch.zeros(1, 2, dtype=torch.float64), means.cumsum(0)[:-1] / torch.arange(1, 5)[:, None]])
    after = torch.cat([right_mean[1:], last[None]])
    expect_close(mean, right_mean, "the mean", "time group", mistakes={
        "you return the means after each block; the kernel needs those before it.": after,
        "each block counts as one token. A block of more tokens pulls harder.": plain,
    })  # fmt: skip
    counts = torch.cat([torch.zeros(1, dtype=torch.int64), tokens.cumsum(0)[:-1]])
    expect_close(square, right_square, "S", "time group", mistakes={
        "the blocks' own S are added, but not the squared distance between a block and what was there.":
            running(apart=False)[1],
        "the squared distance must be taken from the mean before the block, not from the one after it.":
            running(new_mean=True)[1],
        "what varies inside each block is missing: add its own S.": running(own=False)[1],
        "you return variances, S / n. The kernel adds sums, and divides at the end.":
            right_square / counts.clamp(min=1)[:, None],
    })  # fmt: skip
    _same_as_chan(tokens, means, squares / weights, right_mean)


def _same_as_chan(tokens: Tensor, means: Tensor, variances: Tensor, found: Tensor) -> None:
    """What the check expects is Chan's merge of chapter 04."""
    span = TimestepNormState(tokens[:1], means[:1], variances[:1])
    for block in range(1, len(tokens)):
        assert torch.allclose(span.mean[0], found[block])
        one = slice(block, block + 1)
        span = merge(span, TimestepNormState(tokens[one], means[one], variances[one]))

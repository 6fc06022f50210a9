"""Chapter 05, gated, chunked attention: what the checks look at and what they say."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from megalodon_edu.exercises.framework import Diagnosis, exercise
from megalodon_edu.exercises.fresh import generator
from megalodon_edu.exercises.probes import expect_causal, expect_close, expect_shape, signal
from megalodon_edu.ops.rotary import frequencies, rotate

WIDTH, BASE = 6, 100.0
FIELD = "output_time input_time"


@exercise(
    success="each pair turns at its own pace; lengths stay, and products depend on the distance alone.",
    hints=[
        "Pair i has the features 2i and 2i + 1. It turns by `positions * base ** (-2 * i / width)` radians.",
        "All angles at once: `positions[:, None] * base ** (-torch.arange(0, width, 2) / width)` is (time, pair).",
        "`x[..., 0::2]` are the first members of all pairs, `x[..., 1::2]` the second. A turn by the angle a makes "
        "(e, o) into (e cos a - o sin a, e sin a + o cos a).",
        "Write the results back to where they came from: into `y[..., 0::2]` and `y[..., 1::2]` of a new tensor.",
    ],
)
def rotate_pairs(answer: Any) -> None:
    """`rotate_pairs(x, positions, base)` turns the pairs of x (batch, time, channel) by their positions (time)."""
    x = signal(channel=WIDTH)
    positions = torch.arange(12) % 5
    y = expect_shape(answer(x, positions, BASE), tuple(x.shape))
    expect_close(y, _turned(x, positions), mistakes={
        "your pairs are the features i and i + width/2. That is another convention, and also a sound one; here "
        "neighbours make a pair, 2i and 2i + 1. Weights trained with one do not work with the other.":
            _turned_halves(x, positions),
        "your pairs turn the other way round: (1, 0) turned by a small angle should end at (cos, +sin).":
            _turned(x, -positions),
        "you count the positions yourself. They are given, for they restart in every chunk.":
            _turned(x, torch.arange(12)),
        "all your pairs turn equally fast. Pair i turns base^(-2i/width) times as fast as pair 0.":
            _turned(x, positions, torch.ones(3)),
        "your exponent is -i/width for pair i; it is -2i/width, so that the slowest pair comes close to 1/base.":
            _turned(x, positions, BASE ** (-torch.arange(3) / WIDTH)),
        "your later pairs turn faster than the first: the exponent is negative.":
            _turned(x, positions, BASE ** (2 * torch.arange(3) / WIDTH)),
        "the numbers are right and in the wrong places: first all even features, then all odd ones. "
        "Each belongs where it came from.": _sorted_apart(_turned(x, positions)),
    })  # fmt: skip


def _turned(x: Tensor, positions: Tensor, pace: Tensor | None = None) -> Tensor:
    """x (batch, time, channel) with neighbouring pairs turned; `pace` is one number of radians for each pair."""
    pace = frequencies(x.shape[-1], BASE) if pace is None else pace.double()
    turns = torch.polar(torch.ones(1, dtype=torch.float64), positions[:, None] * pace)
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turns).flatten(-2)


def _turned_halves(x: Tensor, positions: Tensor) -> Tensor:
    paired = x.unflatten(-1, (2, -1)).mT.flatten(-2)
    return _turned(paired, positions).unflatten(-1, (-1, 2)).mT.flatten(-2)


def _sorted_apart(y: Tensor) -> Tensor:
    return torch.cat([y[..., 0::2], y[..., 1::2]], -1)


@exercise(
    success="each token looks at its own chunk up to itself, whatever the length.",
    hints=[
        "All pairs and one mask are enough here: speed is not asked for.",
        "With `place = torch.arange(time)`, the chunk of each token is `place // chunk_size`. A query may see a key "
        "where both have the same chunk and the key is not later.",
        "`visible = (place[:, None] // chunk_size == place // chunk_size) & (place <= place[:, None])`.",
        'Scores are `q @ k.transpose(1, 2) / width ** 0.5`; then `.masked_fill(~visible, float("-inf"))`, '
        "`.softmax(-1)`, and `@ v`. The short chunk at the end needs nothing special.",
    ],
)
def attend_in_chunks(answer: Any) -> None:
    """`attend_in_chunks(q, k, v, chunk_size)`: causal attention inside chunks of (batch, time, width)."""
    width, chunk = 4, 5
    for time in (15, 17, 3):
        q, k, v = 2 * signal(time=time, channel=width), 2 * signal(time=time, channel=width, seed=1), signal(time=time)
        what = f"the output for {time} tokens in chunks of {chunk}"
        o = expect_shape(answer(q, k, v, chunk), tuple(v.shape), what)
        place = torch.arange(time)
        row, column = place[:, None], place
        same, past = row // chunk == column // chunk, column <= row
        if o.isnan().any():
            raise Diagnosis(
                f"{what} holds NaN. A token that sees nothing has no weights to share out: it always sees itself."
            )
        expect_close(o, _attended(q, k, v, same & past), what, mistakes={
            "the chunks are missing: each token sees everything before it.": _attended(q, k, v, past),
            "inside a chunk your tokens see all others, also later ones. Mask the future there, too.":
                _attended(q, k, v, same),
            "you use a sliding window: each token sees the last C tokens. A chunk has fixed edges, and its first "
            "token sees itself alone.": _attended(q, k, v, past & (row - column < chunk)),
            "each token also sees the chunk before its own; that is sliding chunk attention, not this.":
                _attended(q, k, v, past & (row // chunk - column // chunk <= 1)),
            "your scores are not divided by √width.": _attended(q, k, v, same & past, 1.0),
            "you divide the scores by the width; it is its square root.": _attended(q, k, v, same & past, 1 / width),
            "the roles of q and k are swapped.": _attended(k, q, v, same & past),
            f"the short chunk at the end is lost: from token {time - time % chunk} on you return zeros.":
                _attended(q, k, v, same & past) * (column < time - time % chunk)[:, None],
        })  # fmt: skip
    expect_causal(lambda x: answer(x[..., :2], x[..., 2:4], x[..., 4:], chunk), signal(channel=6), changed=7)


def _attended(q: Tensor, k: Tensor, v: Tensor, visible: Tensor, scale: float | None = None) -> Tensor:
    scores = q @ k.transpose(1, 2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return scores.masked_fill(~visible, float("-inf")).softmax(-1) @ v


@exercise(
    success="one gate decides what attention may add, the other how much of the old token is replaced.",
    hints=[
        "The reset gate is γ = silu(reset). It multiplies what attention brings, before U mixes it.",
        "The candidate is Ĥ = silu(h + (γ ⊙ o) U).",
        "The update gate is φ = σ(update), and the result Y = φ ⊙ Ĥ + (1 - φ) ⊙ x.",
    ],
)
def mega_gates(answer: Any) -> None:
    """`mega_gates(x, h, o, reset, update, U)`: MEGA's equations behind the attention, from the gates' logits."""
    x, h, update = (signal(channel=3, seed=seed) for seed in (0, 1, 2))
    o, reset = (signal(channel=5, seed=seed) for seed in (3, 4))
    U = torch.randn(5, 3, generator=generator(5), dtype=torch.float64)
    y = expect_shape(answer(x, h, o, reset, update, U), tuple(x.shape))
    right = _gated(x, h, o, silu(reset), update.sigmoid(), U)
    expect_close(y, right, mistakes={
        "your update gate works the wrong way round: where φ is 1, the candidate takes the token's place.":
            _gated(x, h, o, silu(reset), 1 - update.sigmoid(), U),
        "your reset gate is σ of its logit; MEGA takes silu, which has no upper end.":
            _gated(x, h, o, reset.sigmoid(), update.sigmoid(), U),
        "your update gate is silu of its logit. It mixes two things, so it must lie between 0 and 1: σ.":
            _gated(x, h, o, silu(reset), silu(update), U),
        "both gates are the bare numbers. Send reset through silu and update through σ.":
            _gated(x, h, o, reset, update, U),
        "the reset gate is not used: attention's result goes in unchecked.":
            _gated(x, h, o, torch.ones_like(reset), update.sigmoid(), U),
        "the candidate lacks its silu: Ĥ = silu(h + (γ ⊙ o) U).":
            update.sigmoid() * (h + (silu(reset) * o) @ U) + (1 - update.sigmoid()) * x,
        "h is missing in the candidate: it is what the moving average brings, also where attention is shut out.":
            _gated(x, 0 * h, o, silu(reset), update.sigmoid(), U),
        "you add x to the gated candidate. The two share one valve: what φ lets in, 1 - φ takes from x.":
            right + update.sigmoid() * x,
    })  # fmt: skip


def _gated(x: Tensor, h: Tensor, o: Tensor, reset: Tensor, update: Tensor, U: Tensor) -> Tensor:
    return update * silu(h + (reset * o) @ U) + (1 - update) * x


@exercise(
    success="your microscope works. Point it at any layer: what lies above the diagonal is the future.",
    hints=[
        "Make a copy of x that autograd watches: `x = x.detach().clone().requires_grad_()`. Then `y = function(x)`.",
        "For one output number, `torch.autograd.grad(y[t, c], x, retain_graph=True)[0]` is (time, channel): how this "
        "number moves with every input number.",
        "Square these, sum over the input's channels, and add up over the output's channels c. That is row t.",
        "At the end take the square root of everything.",
    ],
)
def influence(answer: Any) -> None:
    """`influence(function, x)` for a function of x (time, channel): the norms of dy_t/dx_s as (time, time)."""
    x = signal(1, 6, 3)[0]
    over_time, over_channels = signal(1, 6, 6, seed=1)[0], signal(1, 3, 2, seed=2)[0]

    def function(x: Tensor) -> Tensor:
        return (over_time @ x @ over_channels).tanh()

    field = expect_shape(answer(function, x), (6, 6), "the field", FIELD)
    blocks = torch.autograd.functional.jacobian(function, x)  # output time, output channel, input time, input channel
    right = blocks.norm(dim=(1, 3))
    expect_close(field, right, "the field", FIELD, mistakes={
        "rows and columns are swapped: row t belongs to output t.": right.T,
        "you forgot the square root: a norm is the root of the sum of squares.": right.square(),
        "you sum the derivatives as they are, so that plus and minus cancel. Square them first.": blocks.sum((1, 3)),
        "you sum the sizes of the derivatives; the norm sums their squares and takes the root.":
            blocks.abs().sum((1, 3)),
        "you add up the channels of y before you differentiate: what they do to x may cancel. Take one at a time.":
            blocks.sum(1).norm(dim=2),
        "you look at the first channel of y only.": blocks[:, 0].norm(dim=2),
        "you take the largest derivative of each block; the norm sums the squares of all and takes the root.":
            blocks.abs().amax((1, 3)),
    })  # fmt: skip


@exercise(
    success="the bug is gone: pieces of any size that divides the chunk give what one call gives.",
    hints=[
        "Run it with pieces as large as a chunk, then with smaller ones. Which tokens change?",
        "The first piece of each chunk is right. What does the second one not know?",
        "Print `positions` for every piece. Which position should the first token of the second piece have?",
        "The place in the chunk is `(start + torch.arange(...)) % chunk_size`.",
    ],
)
def attend_in_pieces(answer: Any) -> None:
    """The repaired `attend_in_pieces(q, k, v, chunk_size, size)` on (time, width), with pieces of `size` tokens."""
    chunk, time = 6, 15
    q, k, v = (2 * signal(1, time, 4, seed)[0] for seed in (0, 1, 2))
    for size in (6, 3, 2, 1):
        what = f"the output in pieces of {size}"
        o = expect_shape(answer(q, k, v, chunk, size), (time, 4), what, "time width")
        place = torch.arange(time)
        row, column = place[:, None], place
        past = column <= row
        seen = past & (row // chunk == column // chunk)
        start = f"in pieces of {size} with chunks of {chunk}: "
        expect_close(o, _rotary(q, k, v, place % chunk, seen), what, "time width", mistakes={
            f"{start}the positions restart in every piece. They restart in every chunk: a token that comes {size} "
            "after another must be turned further, also when a new call has begun.":
                _rotary(q, k, v, place % size, seen),
            f"{start}the keys and values are never thrown away, so tokens see over the chunk's edge.":
                _rotary(q, k, v, place % chunk, past),
            f"{start}the keys and values are thrown away after every piece; they belong to the chunk until it is full.":
                _rotary(q, k, v, place % chunk, past & (row // size == column // size)),
            f"{start}nothing is turned at all, so attention cannot tell the order of the tokens.":
                _rotary(q, k, v, 0 * place, seen),
        })  # fmt: skip


def _rotary(q: Tensor, k: Tensor, v: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
    q, k = (rotate(x[None, :, None], positions, 10_000.0)[0, :, 0] for x in (q, k))
    return (q @ k.T).masked_fill(~visible, -math.inf).softmax(-1) @ v

"""Chapter 09, memory and compute scaling: what the checks look at and what they say."""

from collections.abc import Callable
from random import Random
from typing import Any

import torch
from torch import Tensor

from megalodon_edu.exercises.framework import Diagnosis, exercise
from megalodon_edu.exercises.fresh import cases
from megalodon_edu.exercises.probes import expect_close, expect_number, expect_pair, expect_shape, signal
from megalodon_edu.measure import cost_model
from megalodon_edu.models import MegalodonConfig
from megalodon_edu.ops.ema import ema_reference

SIZES = (
    {"dim": 8, "z": 4, "value": 12, "ffn": 20, "swiglu": False},
    {"dim": 128, "z": 64, "value": 256, "ffn": 208, "swiglu": True},
)


def products(dim: int, z: int, value: int, ffn: int, swiglu: bool, chunk: int, place: int) -> dict[str, int]:
    """FLOPs of one layer for one token with `place` tokens before it in its chunk, from the package's cost model."""
    config = MegalodonConfig(
        num_layers=1, model_dim=dim, ffn_hidden_dim=ffn, num_heads=1, vocab_size=1, z_dim=z, value_dim=value,
        chunk_size=chunk, norm_num_groups=2, swiglu=swiglu,
    )  # fmt: skip
    return cost_model.next_token_flops(config, place)._asdict()


@exercise(
    success="projections, feed-forward and attention, and the last of them bounded by the chunk.",
    hints=[
        "A product of a vector with an (m × k) matrix takes 2 m k FLOPs. List the matrices of one layer first.",
        "Around the attention: W_z (dim × z), W_v and W_r (dim × value), W_h1 (dim × dim), W_h2 (value × dim).",
        "The feed-forward part has two matrices of dim × ffn, and with SwiGLU a third.",
        "At place `context % chunk` of its chunk the token sees that many tokens and itself. Each takes a dot product "
        "of width z, and adds a value of width `value` to the sum: 2 (z + value) FLOPs.",
    ],
)
def layer_flops(answer: Any) -> None:
    """`layer_flops(dim, z, value, ffn, swiglu, chunk, context)`: one layer, one token after `context` tokens."""
    for sizes in cases(SIZES, _sizes):
        for chunk, context in ((6, 4), (6, 0), (6, 5), (6, 6), (6, 100)):
            _check_layer(answer, sizes, chunk, context)


def _sizes(numbers: Random) -> dict[str, Any]:
    names = ("dim", "z", "value", "ffn")
    return {name: 4 * numbers.randint(2, 50) for name in names} | {"swiglu": numbers.random() < 0.5}


def _check_layer(answer: Any, sizes: dict[str, Any], chunk: int, context: int) -> None:
    value = expect_number(answer(**sizes, chunk=chunk, context=context), "the number of FLOPs")
    parts = products(**sizes, chunk=chunk, place=context)
    projections, feed_forward, attention = (parts[name] for name in ("projections", "feed_forward", "attention"))
    right = projections + feed_forward + attention
    if value == right:
        return
    dim, z, width, ffn = (sizes[name] for name in ("dim", "z", "value", "ffn"))
    look, seen = 2 * (z + width), context % chunk
    other = 2 * dim * ffn
    mistakes = {
        right / 2: "your count is half of it. A multiplication and an addition are two operations: 2 m k per product.",
        projections + feed_forward + look * (context + 1): "your attention looks at the whole context. "
        "Megalodon's stops at the chunk's edge.",
        projections + feed_forward + look * chunk: "your attention always looks at a whole chunk; "
        f"after {context} tokens and with chunks of {chunk} there are {seen + 1} tokens to see.",
        projections + feed_forward + look * seen: "the token also looks at itself.",
        projections + feed_forward + 2 * (seen + 1) * 2 * z: "the sum over the values is as wide as the values, "
        "not as the keys.",
        projections + feed_forward + 2 * (seen + 1) * z: "you count q·k; adding up the values is missing.",
        projections + attention: "the feed-forward part is missing.",
        feed_forward + attention: "the projections around the attention are missing.",
        projections + feed_forward: "the attention itself is missing.",
        right - other: "one matrix of the feed-forward part is missing (SwiGLU has three, the plain form two).",
        right + other: "one matrix of the feed-forward part is too many (SwiGLU has three, the plain form two).",
        right - 2 * dim * dim: "W_h1, which is dim × dim, is missing.",
        right - 2 * dim * width: "one of the three matrices of dim × value is missing: W_v, W_r and W_h2.",
        right - 2 * dim * z: "W_z, which is dim × z, is missing.",
        right + 2 * dim * z: "queries and keys share one projection, W_z; you count two.",
    }
    if value in mistakes:
        raise Diagnosis(mistakes[value])
    shown = ", ".join(f"{name}={size}" for name, size in {**sizes, "chunk": chunk, "context": context}.items())
    raise Diagnosis(
        f"with {shown} it is {right:,} FLOPs (projections {projections:,}, feed-forward {feed_forward:,}, "
        f"attention {attention:,}); yours says {value:,.0f}."
    )


@exercise(
    success="the peak is where most was alive at once, and it may lie far above what is kept.",
    hints=[
        "Go through the events in order and keep one number: the bytes that are alive now.",
        "An event of +n adds n, an event of -n takes n away. The peak is the largest value that this number ever had.",
        "Nothing is alive before the first event, so the peak is never below 0.",
    ],
)
def peak_and_kept(answer: Any) -> None:
    """`peak_and_kept(events)`: from bytes taken (+) and given back (-), the peak and what is left at the end."""
    more: list[list[int]] = [[10, 20, -10, 5, -20, 1], [7, -7, 2, 2, -4, 6]]
    for events in cases([[4, 4, -4, 8, -8], [5], [], [3, -3, 3, -3], *more], _events):
        alive, peak = 0, 0
        for event in events:
            alive += event
            peak = max(peak, alive)
        found = expect_pair(answer(list(events)), "the peak and what is kept")
        mine, kept = expect_number(found[0], "the peak"), expect_number(found[1], "what is kept")
        if (mine, kept) == (peak, alive):
            continue
        shown = f"[{', '.join(f'{event:+d}' for event in events)}]"
        if (mine, kept) == (alive, peak):
            raise Diagnosis(f"for {shown} you return kept first and the peak second; the stub asks for the peak first.")
        if kept != alive:
            raise Diagnosis(f"for {shown} the bytes left at the end are {alive}, yours says {kept:g}.")
        if mine == sum(event for event in events if event > 0):
            raise Diagnosis(
                f"for {shown} you add up everything that was ever taken, {mine:g}. What was given back in between can "
                f"be taken again: at most {peak} bytes were alive at once."
            )
        if mine == max(events, default=0):
            raise Diagnosis(
                f"for {shown} you return the largest single event, {mine:g}. Several can be alive at the same time: "
                f"at most {peak} bytes."
            )
        if mine == alive:
            raise Diagnosis(f"for {shown} you return what is alive at the end, {alive}; on the way it was {peak}.")
        raise Diagnosis(f"for {shown} the peak is {peak} bytes, yours says {mine:g}.")


def _events(numbers: Random) -> list[int]:
    """Pieces of memory, some given back."""
    events: list[int] = []
    alive: list[int] = []
    for _ in range(numbers.randint(5, 15)):
        if alive and numbers.random() < 0.5:
            events.append(-alive.pop(numbers.randrange(len(alive))))
        else:
            alive.append(numbers.randint(1, 99))
            events.append(alive[-1])
    return events


def averaging(alpha: float = 0.5) -> Callable[..., tuple[Tensor, Tensor]]:
    """A layer with a streaming state: the average of chapter 01."""

    def layer(x: Tensor, state: Any = None) -> tuple[Tensor, Tensor]:
        return ema_reference(x, torch.full((x.shape[2],), alpha, dtype=x.dtype), state)

    return layer


@exercise(
    success="every rank computed its own span, and only states went from one to the next.",
    hints=[
        "`x.tensor_split(ranks, dim=1)` cuts the time into spans of nearly equal length.",
        "The first rank starts from None. Each later one starts from the state that the rank before it returned.",
        "Put the outputs together with `torch.cat(..., dim=1)`.",
        "A message is one state. The last rank sends none, so count `state.numel()` for all ranks but the last.",
    ],
)
def run_on_ranks(answer: Any) -> None:
    """`run_on_ranks(layer, x, ranks)`: outputs of all ranks together, and the numbers that were sent."""
    x, layer = signal(), averaging()
    right, _ = layer(x)
    for ranks in (2, 1, 5):
        spans: list[int] = []

        def watched(x: Tensor, state: Any = None, spans: list[int] = spans) -> tuple[Tensor, Tensor]:
            spans.append(x.shape[1])
            return layer(x, state)

        y, sent = expect_pair(answer(watched, x, ranks), "the outputs and the numbers that were sent")
        expect_shape(y, tuple(x.shape), "the outputs")
        if max(spans, default=0) > -(-x.shape[1] // ranks) or sum(spans) != x.shape[1]:
            raise Diagnosis(
                f"with {ranks} ranks and {x.shape[1]} steps the layer was called on spans of {spans} steps. Each rank "
                "should compute its own span, nearly equal ones, and no step twice."
            )
        lengths = [part.shape[1] for part in x.tensor_split(ranks, dim=1)]
        alone = torch.cat([layer(part)[0] for part in x.split(lengths, dim=1)], 1)
        first = layer(x[:, : lengths[0]])[1]
        same = [layer(part, first if at else None)[0] for at, part in enumerate(x.split(lengths, dim=1))]
        expect_close(y, right, "the output", mistakes={
            "every rank starts from nothing: no state went from one rank to the next.": alone,
            "all later ranks got the state of the first one. Each needs the one of the rank just before it.":
                torch.cat(same, 1),
        })  # fmt: skip
        numbers, states = expect_number(sent, "the numbers that were sent"), x.shape[0] * x.shape[2]
        if numbers == (ranks - 1) * states:
            continue
        if numbers == ranks * states:
            raise Diagnosis(f"you count {ranks} messages. The last of {ranks} ranks has nobody to send to.")
        if numbers == x.numel():
            raise Diagnosis("you count the outputs. Those stay where they are; only the states are sent.")
        raise Diagnosis(
            f"{ranks} ranks send {ranks - 1} states of {states} numbers, {(ranks - 1) * states} in all; "
            f"yours says {numbers:g}."
        )


@exercise(
    success="the short chunk at the end has a small triangle of its own.",
    hints=[
        "Draw the triangles for 7 tokens in chunks of 3, as in the section by hand. How many squares has the last one?",
        "How many whole chunks are there, and how many tokens are left? `divmod(tokens, chunk)` says both.",
        "A chunk of n tokens has n (n + 1) / 2 pairs. The rest is a chunk too, a shorter one.",
    ],
)
def chunked_pairs(answer: Any) -> None:
    """`chunked_pairs(tokens, chunk)`: the pairs of query and key that chunked attention compares."""
    known = ((6, 3), (6, 6), (7, 3), (1, 4), (5, 8), (100, 7))
    for tokens, chunk in cases(known, lambda numbers: (numbers.randint(1, 999), numbers.randint(2, 50))):
        found = expect_number(answer(tokens, chunk), "the number of pairs")
        right = cost_model.attended_pairs(tokens, chunk)
        if found == right:
            continue
        full, rest = divmod(tokens, chunk)
        whole = chunk * (chunk + 1) // 2
        shown = f"for {tokens} tokens in chunks of {chunk}"
        if found == -(-tokens // chunk) * whole:
            raise Diagnosis(f"{shown} you count the last chunk as full. It holds {rest} of {chunk} tokens.")
        if found == full * whole:
            raise Diagnosis(f"{shown} the {rest} tokens after the last full chunk are not counted.")
        if found == full * whole + rest * chunk:
            raise Diagnosis(f"{shown} each token of the rest looks at a whole chunk; it sees only those before it.")
        if found == full * chunk**2 + rest**2:
            raise Diagnosis(f"{shown} you count squares. A token does not look at those behind it: triangles.")
        if found == full * chunk * (chunk - 1) // 2 + rest * (rest - 1) // 2:
            raise Diagnosis(f"{shown} you leave out the pairs of a token with itself.")
        if found == tokens * (tokens + 1) // 2:
            raise Diagnosis(f"{shown} you count the whole triangle, across the edges of the chunks.")
        raise Diagnosis(f"{shown} it is {right} pairs, yours says {found:g}.")

"""One token after another at chosen positions, by the decoders: is Megalodon's step the same after any context?

The positions are reached by a state, not by a text: what a step costs depends on the sizes of the state and on the
place in the open chunk, not on the numbers in it. So the state is random, with an empty chunk and the count of tokens
set to the position. The Transformer's state has as many random keys and values as tokens.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from megalodon_edu.arguments import require_positive
from megalodon_edu.measure.device_timing import release
from megalodon_edu.measure.failed import why_it_failed
from megalodon_edu.measure.timing import Row, seconds
from megalodon_edu.models import (
    Megalodon,
    MegalodonConfig,
    ModelState,
    Transformer,
    TransformerConfig,
    make_decoder,
    match_transformer,
)
from megalodon_edu.models.decoder import Decoder
from megalodon_edu.models.transformer import KVCache

AROUND = 64
"""The Transformer's steps: so many before its position and as many after, half a chunk at most."""

TURN = 64
"""Steps of one decoder before the next one's."""


def decoding_steps(
    config: MegalodonConfig,
    chunks: Sequence[int],
    device: torch.device,
    dtype: torch.dtype,
    compiled: Sequence[bool] = (False,),
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Row]:
    """Yield the median seconds of a step: the Transformer's around one chunk of text, then Megalodon's.

    Megalodon reads one whole chunk from each position, given in chunks; the positions take turns. Parameters in
    `dtype`, batch 1. `over_first` is the time over that from the first position, `ratio` the Transformer's over this
    one: above 1, Megalodon is faster.
    """
    for number in chunks:
        require_positive("chunks", number)
    for way in compiled:
        baseline = None
        for name, positions in (("Transformer", [1]), ("Megalodon", chunks)):
            rows: list[Row] = [
                {"model": name, "compiled": way, "position": number * config.chunk_size} for number in positions
            ]
            try:
                found = _measured(
                    _decoders(name, config, device, dtype, way, len(rows)), rows, config.chunk_size, clock
                )
            except Exception as error:
                found = [{"note": why_it_failed(error, compiling=way)} for _ in rows]
            first = found[0].get("seconds")
            if name == "Transformer":
                baseline = first
            for row, numbers in zip(rows, found, strict=True):
                seconds = numbers.get("seconds")
                over_first = seconds / first if seconds and first else None
                ratio = baseline / seconds if seconds and baseline else None
                yield {**row, **numbers, "over_first": over_first, "ratio": ratio}
            release(device)


def _decoders(
    name: str, config: MegalodonConfig, device: torch.device, dtype: torch.dtype, compiled: bool, number: int
) -> list[Decoder]:
    """So many decoders of one model."""
    torch.manual_seed(0)
    chunk = config.chunk_size
    with torch.device(device):
        if name == "Megalodon":
            model: Megalodon | Transformer = Megalodon(config)
        else:
            model = Transformer(match_transformer(config, context_size=2 * chunk))
        model.to(dtype).eval()
        capacity = chunk + min(AROUND, chunk // 2) + 1
        return [make_decoder(model, compiled=compiled, capacity=capacity) for _ in range(number)]


def _measured(decoders: Sequence[Decoder], rows: Sequence[Row], chunk: int, clock: Callable[[], float]) -> list[Row]:
    """The numbers of every row, whose decoders take turns: what changes on the device meanwhile, changes for all."""
    around = min(AROUND, chunk // 2)
    growing = isinstance(decoders[0].model, Transformer)
    starts = [row["position"] - around if growing else row["position"] for row in rows]
    steps = 2 * around if growing else chunk
    token = torch.ones(1, dtype=torch.int64, device=decoders[0].device)
    for decoder, start in zip(decoders, starts, strict=True):
        state = _random_state(decoder, start)
        decoder.load(state)
        decoder.step(token)  # records the graph
        decoder.load(state)
    taken: list[list[float]] = [[] for _ in decoders]
    for done in range(0, steps, TURN):
        for decoder, seconds_of in zip(decoders, taken, strict=True):
            seconds_of += _step_seconds(decoder, token, min(TURN, steps - done), clock)
    return [
        {
            "seconds": statistics.median(found),
            "most_seconds": max(found),
            "first": start,
            "steps": steps,
            "buffer_bytes": sum(buffer.numel() * buffer.itemsize for buffer in decoder.buffers()),
            "graph": decoder.graphed,
        }
        for decoder, start, found in zip(decoders, starts, taken, strict=True)
    ]


def _random_state(decoder: Decoder, tokens: int) -> ModelState:
    config = decoder.model.config
    if isinstance(config, TransformerConfig):
        width = config.model_dim // config.num_heads
        kind = next(decoder.model.parameters()).dtype
        parts = torch.randn(2, 1, tokens, config.kv_heads, width, device=decoder.device, dtype=kind)
        return ModelState(tuple(KVCache(*parts) for _ in range(config.num_layers)), None)

    def random(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if leaf.dtype == torch.int64:
            return torch.full_like(leaf, tokens)
        return torch.randn_like(leaf) if leaf.is_complex() else 0.5 + torch.rand_like(leaf)  # variances are positive

    decoder.load(None)
    return pytree.tree_map(random, decoder.state())


def _step_seconds(decoder: Decoder, token: Tensor, steps: int, clock: Callable[[], float]) -> list[float]:
    """The seconds of every step: by CUDA events on a GPU, between which the host does not wait, else by the clock."""
    if decoder.device.type != "cuda":
        return [seconds(lambda: decoder.step(token), decoder.device, clock) for _ in range(steps)]
    pairs = [tuple(torch.cuda.Event(enable_timing=True) for _ in range(2)) for _ in range(steps)]
    for before, after in pairs:
        before.record()
        decoder.step(token)
        after.record()
    torch.cuda.synchronize(decoder.device)
    return [before.elapsed_time(after) / 1e3 for before, after in pairs]

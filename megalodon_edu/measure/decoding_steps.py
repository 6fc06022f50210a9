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


def decoding_steps(
    config: MegalodonConfig,
    chunks: Sequence[int],
    device: torch.device,
    dtype: torch.dtype,
    compiled: Sequence[bool] = (False,),
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Row]:
    """Yield the median seconds of a step: the Transformer's around one chunk of text, then Megalodon's.

    Megalodon reads one whole chunk from each position, given in chunks. Parameters in `dtype`, batch 1. `over_first` is
    the time over that from the first position, `ratio` the Transformer's over this one: above 1, Megalodon is faster.
    """
    for number in chunks:
        require_positive("chunks", number)
    for way in compiled:
        baseline = None
        for name, positions in (("Transformer", [1]), ("Megalodon", chunks)):
            first = None
            decoder = None
            for number in positions:
                row: Row = {"model": name, "compiled": way, "position": number * config.chunk_size}
                try:
                    decoder = decoder or _decoder(name, config, device, dtype, way)
                    row |= _measured(decoder, row["position"], config.chunk_size, clock)
                except Exception as error:
                    row["note"] = why_it_failed(error, compiling=way)
                found = row.get("seconds")
                first = first or found
                if name == "Transformer":
                    baseline = found
                row["over_first"] = found / first if found and first else None
                row["ratio"] = baseline / found if found and baseline else None
                yield row
            del decoder
            release(device)


def _decoder(name: str, config: MegalodonConfig, device: torch.device, dtype: torch.dtype, compiled: bool) -> Decoder:
    torch.manual_seed(0)
    chunk = config.chunk_size
    with torch.device(device):
        if name == "Megalodon":
            return make_decoder(Megalodon(config).to(dtype).eval(), compiled=compiled)
        model = Transformer(match_transformer(config, context_size=2 * chunk)).to(dtype).eval()
    return make_decoder(model, compiled=compiled, capacity=chunk + min(AROUND, chunk // 2) + 1)


def _measured(decoder: Decoder, position: int, chunk: int, clock: Callable[[], float]) -> Row:
    around = min(AROUND, chunk // 2)
    growing = isinstance(decoder.model, Transformer)
    start, steps = (position - around, 2 * around) if growing else (position, chunk)
    state = _random_state(decoder, start)
    token = torch.ones(1, dtype=torch.int64, device=decoder.device)
    decoder.load(state)
    decoder.step(token)  # records the graph
    decoder.load(state)
    taken = _step_seconds(decoder, token, steps, clock)
    return {
        "seconds": statistics.median(taken),
        "most_seconds": max(taken),
        "first": start,
        "steps": steps,
        "buffer_bytes": sum(buffer.numel() * buffer.itemsize for buffer in decoder.buffers()),
        "graph": decoder.graphed,
    }


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

"""One stream writes a million bytes. Does it slow down, does its memory grow, does its text fall apart?

The model begins at the start token and reads each byte that it has drawn: `models.decoder`, a CUDA graph on a GPU.
Bytes are drawn by the Gumbel trick: the largest of logits + temperature · noise is a draw from softmax(logits /
temperature). The noise of a block of 10,000 bytes depends on the seed and the block's number only, so that nothing of
it need be stored, and the draw stays on the device.

After each block the numbers are saved, and Megalodon's state with them. A stream that was killed, or stopped by its
limit of time, goes on from its last block and ends with the very bytes of one that never stopped, on the same machine.
The Transformer keeps a key and a value of every byte. It writes until it is done, fails, is ten times as slow as in its
first block, or its time is up; it is never saved, because its state is as long as its text.

run.json: for every block, bytes per second, bytes of state, peak memory of the GPU; the first and last 2000 bytes of
the text, the SHA-256 of all of it, and `text_statistics` beside those of Moby-Dick, which the model never read.
"""

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from megalodon_edu.arguments import require_between, require_divisor, require_positive
from megalodon_edu.data import START, VOCABULARY, documents
from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.failed import why_it_failed
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.models import (
    LanguageModel,
    MegalodonConfig,
    Transformer,
    make_decoder,
    match_transformer,
    state_bytes,
    transformer_state_bytes,
)
from megalodon_edu.models.decoder import Decoder
from megalodon_edu.studies.quick_model import quick_megalodon
from megalodon_edu.studies.stream_file import SavedStream, load_stream, save_stream
from megalodon_edu.studies.text_statistics import grams, text_statistics
from megalodon_edu.studies.weights import weights_digest
from megalodon_edu.training.trained import load_trained
from megalodon_edu.training.windows import concatenate

TOTAL, BLOCK, PARTS = 1_000_000, 10_000, 10
"""Bytes of the stream and of a block; parts of a block that are timed one by one."""

QUICK_TOTAL, QUICK_BLOCK = 120, 20
FIRST_BUCKET = 16_384
"""Keys and values in the Transformer's first buffer, which doubles when it is full."""

TENFOLD = 10.0
KEPT = 2000
HUMAN = "Moby-Dick"
STATE_NAME = "megalodon.stream.safetensors"


@dataclass(frozen=True)
class StreamOptions:
    """What a stream is: the same options and weights write the same text on the same machine."""

    block: int = BLOCK
    temperature: float = 1.0
    seed: int = 0
    compiled: bool = False

    def __post_init__(self) -> None:
        require_positive("block", self.block)
        require_divisor("PARTS", PARTS, "block", self.block)
        require_between("temperature", self.temperature, 0.0, 100.0)
        require_positive("seed", self.seed, least=0)


@dataclass(frozen=True)
class Block:
    """One block of the stream, which ends after `end` bytes.

    bytes_per_second: by the median part of the block, so that a graph recorded in another part does not count;
    seconds: of all parts. state_bytes: keys, values, averages and statistics after the block; buffer_bytes: what the
    decoder holds for them. peak_memory_bytes: of the GPU during the block, the weights included; None on a CPU.
    """

    end: int
    seconds: float
    bytes_per_second: float
    state_bytes: int
    buffer_bytes: int
    peak_memory_bytes: int | None


def noise(options: StreamOptions, block: int) -> Float[Tensor, "time vocabulary"]:
    """temperature · Gumbel noise for every step of block number `block`, on the CPU: the same on every machine."""
    generator = torch.Generator().manual_seed(options.seed * 1_000_003 + block)
    waiting = torch.empty(options.block, VOCABULARY).exponential_(generator=generator)
    return waiting.clamp_(min=torch.finfo(torch.float32).tiny).log_().mul_(-options.temperature)


@torch.no_grad()
def write_block(
    decoder: Decoder, token: Int[Tensor, " one"], gumbel: Float[Tensor, "time vocabulary"]
) -> tuple[Int[Tensor, " time"], list[float]]:
    """Draw a byte for every row of the noise, the first after `token`; the bytes, and the seconds of each part."""
    found = torch.empty(len(gumbel), dtype=torch.int64, device=decoder.device)
    taken = []
    for part, row in zip(gumbel.chunk(PARTS), found.chunk(PARTS), strict=True):
        start = time.perf_counter()
        for step in range(len(row)):
            token = (decoder.step(token) + part[step]).argmax(-1)
            row[step : step + 1] = token
        if decoder.device.type == "cuda":
            torch.cuda.synchronize(decoder.device)
        taken.append(time.perf_counter() - start)
    return found, taken


def stream(
    model: LanguageModel,
    options: StreamOptions,
    total: int,
    file: Path | None = None,
    limit: float | None = None,
    on_block: Callable[[Sequence[Block]], object] | None = None,
) -> tuple[list[Block], Tensor, str]:
    """Write until `total` bytes; the blocks, the bytes (uint8, on the CPU), and why it ended.

    file: where the state is saved after each block and found again, so that a second call goes on; None: nowhere.
    limit: seconds for writing in this call; None: no limit. on_block: told, after each block, of all so far.
    Raises ValueError for a total that is not a number of whole blocks, and for a file of other options or weights.
    """
    require_divisor("block", options.block, "total", total)
    decoder = make_decoder(model, compiled=options.compiled, capacity=FIRST_BUCKET)
    known = {"options": asdict(options), "weights_sha256": weights_digest(model)}
    blocks: list[Block] = []
    written = torch.empty(0, dtype=torch.uint8)
    start = None
    if file is not None and file.exists():
        saved = load_stream(file, decoder.state())
        if {name: saved.about[name] for name in known} != known:
            raise ValueError(f"{file} holds a stream of other options or weights; choose another folder")
        written, start = saved.written, saved.state
        blocks = [Block(**values) for values in saved.about["blocks"]]
    token = torch.tensor([written[-1].item() if len(written) else START], device=decoder.device)
    decoder.step(token)  # compiles and records the graph
    decoder.load(start)

    spent = 0.0
    while len(written) < total:
        if limit is not None and spent > limit:
            return blocks, written, f"stopped after {limit:g} seconds"
        if blocks and blocks[-1].bytes_per_second * TENFOLD <= blocks[0].bytes_per_second:
            return blocks, written, "ten times as slow as in the first block"
        try:
            gumbel = noise(options, len(blocks)).to(decoder.device)
            _forget_peak(decoder.device)
            found, taken = write_block(decoder, token, gumbel)
            token = found[-1:]
            written = torch.cat([written, found.to("cpu", torch.uint8)])
            blocks.append(_block(decoder, options.block, len(written), taken))
        except RuntimeError as error:
            return blocks, written, why_it_failed(error)
        spent += blocks[-1].seconds
        if file is not None:
            about = {**known, "blocks": [asdict(block) for block in blocks]}
            save_stream(file, SavedStream(written, decoder.state(), about))
        if on_block is not None:
            on_block(blocks)
    return blocks, written, "finished"


def _block(decoder: Decoder, size: int, end: int, taken: Sequence[float]) -> Block:
    on_gpu = decoder.device.type == "cuda"
    memory = torch.cuda.max_memory_allocated(decoder.device) if on_gpu else None
    buffers = decoder.buffers()
    if isinstance(decoder.model, Transformer):  # a copy of its state may not fit beside it
        held = transformer_state_bytes(decoder.model.config, decoder.held, activation_bytes=buffers[0].itemsize)
    else:
        held = state_bytes(decoder.state())
    speed = size / PARTS / statistics.median(taken)
    room = sum(buffer.numel() * buffer.itemsize for buffer in buffers)
    return Block(end, round(sum(taken), 6), round(speed, 3), held, room, memory)


def record(
    folder: Path,
    device: torch.device,
    *,
    checkpoint: str = "",
    transformer: str = "",
    total: int = TOTAL,
    block: int = BLOCK,
    temperature: float = 1.0,
    seed: int = 0,
    seconds: float | None = None,
    compiled: bool | None = None,
    quick: bool = False,
) -> None:
    """Let a Megalodon and then a Transformer write, and keep run.json up to date; what is finished there stays.

    checkpoint, transformer: as after --checkpoint. Without a Transformer an untrained one of the same size writes: its
    speed and memory are the same, its text means nothing and is left out. seconds: limit for each of the two in this
    call. compiled: fuse each layer's operations by torch.compile; None: on a GPU. quick: an untrained Megalodon writes
    a few bytes.

    Raises ValueError for a folder with a stream of other options or weights.
    """
    megalodon: LanguageModel
    if quick:
        total, block, length = QUICK_TOTAL, QUICK_BLOCK, QUICK_BLOCK
        megalodon, source = quick_megalodon(chunk_size=16).to(device), "untrained"
    else:
        if not checkpoint:
            raise ValueError("checkpoint must name a trained Megalodon, got none; librarian is one")
        loaded = load_trained(checkpoint, device)
        megalodon, source, length = loaded.model, checkpoint, int(loaded.state.windows["length"])
    options = StreamOptions(block, temperature, seed, device.type == "cuda" if compiled is None else compiled)
    about = _begin(folder, options, total)
    reference = np.unique(grams(concatenate(documents("train")[: 2 if quick else None]).numpy()))
    file = folder / STATE_NAME
    if not _ended(about, "megalodon", "finished"):
        written = _write(folder, about, "megalodon", megalodon, source, options, total, file, seconds)
        about["streams"]["megalodon"]["text"] = _described(written.numpy(), options.block, reference)
        save_json(folder / "run.json", about)
    if not _ended(about, "transformer"):
        if transformer:
            other = load_trained(transformer, device).model
        else:
            assert isinstance(megalodon.config, MegalodonConfig)
            torch.manual_seed(seed)
            other = Transformer(match_transformer(megalodon.config, context_size=length)).to(device).eval()
        source = transformer or "untrained"
        written = _write(folder, about, "transformer", other, source, options, total, None, seconds)
        if transformer:
            about["streams"]["transformer"]["text"] = _described(written.numpy(), options.block, reference)
    book = next(one for one in documents("test-ood") if one.title == HUMAN)
    human = np.frombuffer(book.text[:total], np.uint8)
    about["human"] = {"title": HUMAN, **_described(human, options.block, reference)}
    save_json(folder / "run.json", about)
    if _ended(about, "megalodon", "finished"):
        file.unlink(missing_ok=True)


def _write(
    folder: Path,
    about: dict[str, Any],
    name: str,
    model: LanguageModel,
    source: str,
    options: StreamOptions,
    total: int,
    file: Path | None,
    seconds: float | None,
) -> Tensor:
    """One stream, run.json saved after every block; the bytes. The caller saves how it ended, with the text."""
    device = next(model.parameters()).device
    said: dict[str, Any] = {
        "checkpoint": source,
        "config": model.config.to_dict(),
        "parameters": model.parameter_count(),
        "weights_sha256": weights_digest(model),
        "environment": environment(device),
    }
    about["streams"][name] = said

    def save(blocks: Sequence[Block]) -> None:
        said["bytes"], said["seconds"] = blocks[-1].end, round(sum(one.seconds for one in blocks), 3)
        said["blocks"] = [asdict(one) for one in blocks]
        save_json(folder / "run.json", about)
        speed, held = blocks[-1].bytes_per_second, blocks[-1].state_bytes
        print(f"{name} · {said['bytes']:,} bytes: {speed:,.0f} a second, the state {held:,} bytes", flush=True)

    _, written, said["ended"] = stream(model, options, total, file, seconds, save)
    print(f"{name}: {said['ended']}, {len(written):,} bytes", flush=True)
    return written


def _begin(folder: Path, options: StreamOptions, total: int) -> dict[str, Any]:
    settings = {"total": total, "options": asdict(options)}
    file = folder / "run.json"
    if not file.exists():
        return {"command": "megalodon-edu study streaming", **settings, "streams": {}}
    about: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if {name: about.get(name) for name in settings} != settings:
        raise ValueError(f"folder {folder} holds streams of other options; choose another folder")
    return about


def _ended(about: dict[str, Any], name: str, how: str | None = None) -> bool:
    ended = about["streams"].get(name, {}).get("ended")
    return ended is not None if how is None else ended == how


def _described(text: np.ndarray, block: int, reference: np.ndarray) -> dict[str, Any]:
    """A text's beginning and end, the SHA-256 of all of it, and its statistics, block by block."""
    first, last = (piece.tobytes().decode("utf-8", errors="replace") for piece in (text[:KEPT], text[-KEPT:]))
    blocks = [asdict(one) for one in text_statistics(text, block, reference)]
    rounded = [{name: round(value, 5) for name, value in one.items()} for one in blocks]
    return {"first": first, "last": last, "sha256": hashlib.sha256(text.tobytes()).hexdigest(), "statistics": rounded}


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

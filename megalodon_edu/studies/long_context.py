"""Does a text long gone help to predict? The same bytes of every held-out book, after ever more of what precedes them.

In each book at least 100 fixed windows of 512 bytes are scored after L = 0, T/4, T/2, T, 4T, 16T, 64T and 100T bytes,
as far as the book reaches; T is the length of the sequences in training. T/2 is the longest of them at which the whole
window lies inside that length: at L = T its bytes stand up to 512 places beyond, which matters to the Transformer that
attends to everything. Differences to L = T and to L = 0 are taken window by window, with intervals by the moving-block
bootstrap inside each book. A line per book: books are never pooled, because their longest contexts differ, and
Northanger Abbey and Macbeth, on which choices were made, are named as validation. An interval speaks of other windows
of the same book and the same model, not of other books or seeds.

Who reads:
    megalodon                        as it was trained
    megalodon-recent-statistics      norm statistics of the last 6 chunks, as the authors' code takes them
    megalodon-fading-statistics      Gecko's decaying statistics, exchanged for the cumulative ones after training
    fading-megalodon                 a model trained with decaying statistics, if there is one
    transformer                      attends to everything, beyond the length it was trained on, too
    transformer-sliding-window       attends to the last T bytes; what lies further back reaches it through its layers

windows.csv holds every window's bits, run.json what was read by whom and the summary. Both grow line by line, and a
second call with the same folder goes on where the first ended, or adds other readers.
"""

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from megalodon_edu.arguments import require_choice, require_positive
from megalodon_edu.data import Document, documents
from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.failed import why_it_failed
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.models import (
    LanguageModel,
    NormTruncation,
    Transformer,
    match_transformer,
    with_config,
    with_norm,
)
from megalodon_edu.studies.context_lines import Line, read_lines, save_lines, summary, table
from megalodon_edu.studies.context_scoring import receptive_context, window_bits
from megalodon_edu.studies.quick_model import quick_megalodon
from megalodon_edu.studies.target_windows import TargetWindows, target_windows
from megalodon_edu.studies.weights import weights_digest
from megalodon_edu.training.trained import load_trained

LADDER = (0.0, 0.25, 0.5, 1.0, 4.0, 16.0, 64.0, 100.0)
"""Lengths of context as multiples of T."""

HELD_OUT = ("validation", "test", "test-ood")
BOOK_BYTES = 65_536
"""Books and plays are longer, the speeches among the held-out documents shorter."""

WINDOWS, LENGTH, SEED = 100, 512, 0
MOST = 16.0
"""Contexts above so many T are left to the readers for whom they cost least."""

AS_TRAINED, RECENT, FADING, TRAINED_FADING = (
    "megalodon",
    "megalodon-recent-statistics",
    "megalodon-fading-statistics",
    "fading-megalodon",
)
WHOLE, SLIDING = "transformer", "transformer-sliding-window"
READERS = (AS_TRAINED, SLIDING, WHOLE, RECENT, FADING, TRAINED_FADING)
"""In the order in which they are measured."""

QUICK_CONTEXT, QUICK_WINDOWS, QUICK_LENGTH = 16, 20, 8
CSV_NAME = "windows.csv"


class Reader(NamedTuple):
    """A model, and how it reads. most: its longest context in T; source: the checkpoint."""

    model: LanguageModel
    source: str
    truncation: NormTruncation | None
    most: float


def books(splits: Sequence[str] = HELD_OUT) -> tuple[Document, ...]:
    """The held-out books and plays of the library."""
    return tuple(book for split in splits for book in documents(split) if book.size >= BOOK_BYTES)


def readers(
    megalodon: LanguageModel,
    transformer: LanguageModel | None,
    fading: LanguageModel | None,
    context: int,
    sources: Sequence[str],
    most: float = MOST,
) -> dict[str, Reader]:
    """Who reads, from a Megalodon, and a Transformer and a Megalodon trained with norm="decay" if they are given.

    context: T, the sliding window. sources: what `Reader` calls source, of the three.
    """
    found = {
        AS_TRAINED: Reader(megalodon, sources[0], None, LADDER[-1]),
        RECENT: Reader(megalodon, sources[0], NormTruncation(), most),
        FADING: Reader(with_norm(megalodon, "decay"), sources[0], None, most),
    }
    if transformer is not None:
        found[WHOLE] = Reader(transformer, sources[1], None, most)
        found[SLIDING] = Reader(with_config(transformer, window=context), sources[1], None, LADDER[-1])
    if fading is not None:
        found[TRAINED_FADING] = Reader(fading, sources[2], None, most)
    return {name: found[name] for name in READERS if name in found}


def record(
    folder: Path,
    device: torch.device,
    *,
    checkpoint: str = "",
    transformer: str = "",
    fading: str = "",
    only: Sequence[str] = (),
    context: int = 0,
    most: float = MOST,
    windows: int = WINDOWS,
    length: int = LENGTH,
    seed: int = SEED,
    precision: str = "auto",
    seconds: float | None = None,
    quick: bool = False,
) -> None:
    """Score every book and write windows.csv and run.json; what is there already stays.

    checkpoint, transformer, fading: a Megalodon, a Transformer and a Megalodon trained with norm="decay", as after
    --checkpoint. only: some of `READERS`. context: T; 0: the length of the checkpoint's training windows. most: longest
    context in T of the readers for whom length is dear. seconds: begin nothing more after so many; run.json then names
    what is unfinished, and what failed, such as for lack of memory. quick: untrained models of a few thousand
    parameters on the validation books, which shows that everything runs.

    Raises ValueError for an unknown reader, one whose model is not given, and a folder with other settings or weights.
    """
    end = math.inf if seconds is None else time.perf_counter() + seconds
    for name in only:
        require_choice("only", name, READERS)
    require_positive("windows", windows, least=4)
    models: list[LanguageModel | None]
    held_out: tuple[str, ...] = HELD_OUT
    if quick:
        windows, length = QUICK_WINDOWS, QUICK_LENGTH
        models, context = _quick_models(device), QUICK_CONTEXT
        sources, held_out = ("untrained", "untrained", "untrained"), ("validation",)
    else:
        if not checkpoint:
            raise ValueError("checkpoint must name a trained Megalodon, got none; librarian is one")
        loaded = [load_trained(name, device) if name else None for name in (checkpoint, transformer, fading)]
        assert loaded[0] is not None
        context = context or int(loaded[0].state.windows["length"])
        models = [None if one is None else one.model for one in loaded]
        sources = (checkpoint, transformer, fading)
    assert models[0] is not None
    chosen = readers(models[0], models[1], models[2], context, sources, most)
    if missing := [name for name in only if name not in chosen]:
        raise ValueError(f"only names {missing[0]!r}, for which no model is given; name a checkpoint")
    measured = {name: reader for name, reader in chosen.items() if not only or name in only}

    ladder = [round(factor * context) for factor in LADDER]
    places = [found for book in books(held_out) if (found := target_windows(book, ladder, windows, length, seed))]
    about = _begin(folder, places, context, seed, precision)
    about["failed"] = []
    lines = _finished_lines(folder / CSV_NAME, about["cells"])
    for name, reader in measured.items():
        _introduce(about, name, reader, device)
    for place in places:
        text = torch.frombuffer(bytearray(place.document.text), dtype=torch.uint8).to(device)
        for name, reader in measured.items():
            lines = _score(folder, about, lines, name, reader, text, place, context, precision, end)
    about["unfinished"] = [
        {"reader": name, "book": place.document.title, "context": length_before}
        for place in places
        for name, reader in measured.items()
        for length_before in _missing(about, name, reader, place, context)
    ]
    about["bytes"] = sum(cell["bytes"] for cell in about["cells"])
    about["seconds"] = round(sum(cell["seconds"] for cell in about["cells"]), 1)
    about["summary"] = summary(lines, AS_TRAINED, context, length, seed)
    save_json(folder / "run.json", about)
    print(table(about["summary"]), flush=True)
    if about["unfinished"]:
        print(f"Not finished: {len(about['unfinished'])} of the contexts. Call again.", flush=True)


def _quick_models(device: torch.device) -> list[LanguageModel | None]:
    megalodon = quick_megalodon(chunk_size=4)
    transformer = Transformer(match_transformer(megalodon.config, context_size=QUICK_CONTEXT))
    return [model.to(device).eval() for model in (megalodon, transformer, with_norm(megalodon, "decay"))]


def _begin(folder: Path, places: Sequence[TargetWindows], context: int, seed: int, precision: str) -> dict[str, Any]:
    """What run.json says before anything is scored, or what it said at the end of the last call."""
    settings = {
        "training_context": context,
        "ladder": list(LADDER),
        "seed": seed,
        "precision": precision,
        "books": [
            {
                "title": place.document.title,
                "split": place.document.split,
                "bytes": place.document.size,
                "sha256": hashlib.sha256(place.document.text).hexdigest(),
                "window_bytes": place.length,
                "contexts": list(place.contexts),
                "starts": place.starts.tolist(),
            }
            for place in places
        ],
    }
    file = folder / "run.json"
    if not file.exists():
        command = "megalodon-edu study long-context"
        return {"command": command, "settings": settings, "readers": {}, "cells": [], "summary": []}
    about: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if about.get("settings") != settings:
        raise ValueError(f"folder {folder} holds measurements with other settings; choose another folder")
    return about


def _introduce(about: dict[str, Any], name: str, reader: Reader, device: torch.device) -> None:
    """Say in run.json who reads. Raises ValueError if the same name was another model before."""
    known = {
        "checkpoint": reader.source,
        "config": reader.model.config.to_dict(),
        "parameters": reader.model.parameter_count(),
        "weights_sha256": weights_digest(reader.model),
        "truncation": None if reader.truncation is None else asdict(reader.truncation),
    }
    earlier = about["readers"].get(name)
    if earlier is not None and earlier["weights_sha256"] != known["weights_sha256"]:
        raise ValueError(f"checkpoint of {name!r} had other weights when the folder was begun; choose another folder")
    about["readers"][name] = known | {"environment": environment(device)}


def _score(
    folder: Path,
    about: dict[str, Any],
    lines: list[Line],
    name: str,
    reader: Reader,
    text: torch.Tensor,
    place: TargetWindows,
    training_context: int,
    precision: str,
    end: float,
) -> list[Line]:
    """Score one book by one reader, as far as that is not done, and save each length of context; begin none after the
    time `end`, nor one longer than one that failed.
    """
    title = place.document.title
    read: dict[int, np.ndarray] = {}
    for context in _missing(about, name, reader, place, training_context):
        if time.perf_counter() >= end:
            break
        start, needed = time.perf_counter(), receptive_context(reader.model, context)
        fresh = needed not in read
        if fresh:
            try:
                read[needed] = window_bits(
                    reader.model, text, place.starts, needed, place.length, precision, reader.truncation
                )
            except RuntimeError as error:  # out of memory: longer contexts would be, too
                why = why_it_failed(error)
                about["failed"].append({"reader": name, "book": title, "context": context, "why": why})
                print(f"{name} · {title} · {context:,} bytes before: {why}", flush=True)
                break
        seconds = time.perf_counter() - start
        lines = lines + [
            Line(name, title, place.document.split, context, number, int(at), round(float(bits), 4))
            for number, (at, bits) in enumerate(zip(place.starts, read[needed], strict=True))
        ]
        total = (needed + place.length) * len(place.starts) if fresh else 0
        about["cells"].append(
            {"reader": name, "book": title, "context": context, "read": needed, "bytes": total, "seconds": seconds}
        )
        save_lines(folder / CSV_NAME, lines)
        save_json(folder / "run.json", about)
        mean = read[needed].mean() / place.length
        print(f"{name} · {title} · {context:,} bytes before: {mean:.4f} bits per byte, {seconds:.1f} s", flush=True)
    return lines


def _missing(
    about: dict[str, Any], name: str, reader: Reader, place: TargetWindows, training_context: int
) -> list[int]:
    """The lengths of context after which this reader is still to score this book."""
    done = {(cell["reader"], cell["book"], cell["context"]) for cell in about["cells"]}
    return [
        context
        for context in place.contexts
        if context <= reader.most * training_context and (name, place.document.title, context) not in done
    ]


def _finished_lines(path: Path, cells: Sequence[dict[str, Any]]) -> list[Line]:
    """The lines of what run.json knows as finished."""
    keys = {(cell["reader"], cell["book"], cell["context"]) for cell in cells}
    return [line for line in read_lines(path) if (line.reader, line.book, line.context) in keys] if keys else []

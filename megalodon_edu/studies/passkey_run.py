"""Ask one trained model for numbers hidden in a book and for passages that come twice, near and far.

    python -m megalodon_edu.studies.passkey_run --checkpoint bookworm --out passkey.json

A distance is given in chunks: below 1 attention can reach what was planted, from 1 on only the moving averages and the
norms' statistics can tell of it. Every text is as long as the longest distance needs, a whole number of chunks, and the
texts of a trial are the same but for what is planted. A Transformer is asked at those distances whose texts are no
longer than what it was trained on. Everything is scored in float32.
"""

import argparse
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from megalodon_edu.arguments import require_positive
from megalodon_edu.data import Document, documents
from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.models import LanguageModel, Megalodon, Transformer
from megalodon_edu.studies.passkey import PASSAGE, PROBES, ask, in_one_chunk, least_distance, plant, probe
from megalodon_edu.studies.quick_model import quick_megalodon
from megalodon_edu.studies.statistics import mean_interval
from megalodon_edu.studies.weights import weights_digest
from megalodon_edu.training.trained import load_trained

DISTANCES = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0)
TRIALS, SEED = 32, 0
BOOK = "Northanger Abbey"
DIGITS = tuple(range(ord("0"), ord("9") + 1))


def passkey_rows(
    model: LanguageModel, book: bytes, chunk: int, distances: Sequence[float], trials: int, seed: int
) -> list[dict[str, Any]]:
    """The answer of every text: one without anything planted a trial, and one for each other condition and distance.

    distances: in chunks; those too short for what is planted are left out. Raises ValueError for a book that is shorter
    than a text and a passage.
    """
    require_positive("chunk", chunk)
    require_positive("trials", trials)
    length = _text_length(chunk, max(distances))
    if len(book) < length + PASSAGE:
        raise ValueError(
            f"book must hold at least {length + PASSAGE} bytes for these distances and chunks, got {len(book)}"
        )
    starts = np.random.default_rng([seed, 0]).integers(len(book) - length + 1, size=trials)
    outside = [book[:at] + book[at + length :] for at in starts]  # a passage from inside would be there unplanted
    rows: list[dict[str, Any]] = []
    for number, kind in enumerate(PROBES):
        far = sorted({places for share in distances if (places := round(share * chunk)) >= least_distance(kind)})
        for condition in PROBES[kind]:
            for distance in far[-1:] if condition == "absent" else far:
                probes = [
                    probe(kind, condition, outside[trial], np.random.default_rng([seed, 1 + number, trial]))
                    for trial in range(trials)
                ]
                texts = [plant(book[at : at + length], p, distance) for at, p in zip(starts, probes, strict=True)]
                asked = probes[0].asked
                found = ask(model, texts, asked, DIGITS if kind == "passkey" else range(256))
                about = {
                    "probe": kind,
                    "condition": condition,
                    "distance": None if condition == "absent" else distance,
                    "same_chunk": condition != "absent" and in_one_chunk(distance, asked, chunk),
                    "asked": asked,
                }
                rows += [{**about, "trial": trial, **answer._asdict()} for trial, answer in enumerate(found)]
    return rows


def _text_length(chunk: int, distance: float) -> int:
    """Bytes of a text in which something is planted so many chunks before the end: whole chunks."""
    return chunk * (math.ceil(distance) + 1)


def gains(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """For every probe, condition and distance: bits per asked byte that the planted text saves, with an interval of
    95 % over the trials (Student's t; each trial is paired with its own text without), and the shares answered right.
    """
    groups: dict[tuple[str, str, int | None, bool], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["probe"], row["condition"], row["distance"], row["same_chunk"]), []).append(row)
    absent = {kind: [row["bits"] for row in group] for (kind, name, *_), group in groups.items() if name == "absent"}
    found = []
    for (kind, condition, distance, same_chunk), group in groups.items():
        asked = group[0]["asked"]
        saved = [(before - row["bits"]) / asked for before, row in zip(absent[kind], group, strict=True)]
        count = asked * len(group)
        found.append(
            {
                "probe": kind,
                "condition": condition,
                "distance": distance,
                "same_chunk": same_chunk,
                "trials": len(group),
                "bits_per_byte": sum(row["bits"] for row in group) / count,
                "gain": None if condition == "absent" else mean_interval(saved)._asdict(),
                "right": sum(row["right"] for row in group) / count,
                "rank": sum(row["rank"] for row in group) / len(group),
                "first": sum(row["first"] for row in group) / count,
            }
        )
    return found


def passkey_run(
    model: LanguageModel,
    chunk: int | None = None,
    distances: Sequence[float] = DISTANCES,
    trials: int = TRIALS,
    book: str = BOOK,
) -> dict[str, Any]:
    """Ask a trained model; what the run's file holds but for where the model is from.

    chunk: None: the model's own; the Transformer has none and must be given one, such as that of the Megalodon beside
    it. Raises ValueError without one, or with one that leaves it no distance, and for a book that is not in the
    validation split.
    """
    start = time.perf_counter()
    if isinstance(model, Megalodon):
        chunk = model.config.chunk_size
    elif chunk is None:
        raise ValueError("chunk must be given for a Transformer; take that of the Megalodon beside it")
    if isinstance(model, Transformer):
        room = model.config.context_size
        distances = [share for share in distances if _text_length(chunk, share) <= room]
        if not distances:
            raise ValueError(f"chunk must be at most half of the Transformer's context of {room}, got {chunk}")
    rows = passkey_rows(model, _text(documents("validation"), book), chunk, distances, trials, SEED)
    return {
        "parameters": model.parameter_count(),
        "config": model.config.to_dict(),
        "weights_sha256": weights_digest(model),
        "chunk": chunk,
        "text_bytes": _text_length(chunk, max(distances)),
        "book": book,
        "seed": SEED,
        "gains": gains(rows),
        "columns": list(rows[0]),
        "rows": [" ".join(_short(value) for value in row.values()) for row in rows],
        "seconds": round(time.perf_counter() - start, 1),
        "environment": environment(next(model.parameters()).device),
    }


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _text(split: Sequence[Document], title: str) -> bytes:
    for document in split:
        if document.title == title:
            return document.text
    raise ValueError(f"book must be one of {', '.join(document.title for document in split)}, got {title!r}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask one model and write the file."""
    parser = argparse.ArgumentParser(description="Ask a trained model for what is hidden in a book.")
    parser.add_argument("--checkpoint", required=True, help="folder of a run, or a model that ships with the course")
    parser.add_argument("--chunk", type=int, help="in bytes, the unit of distance for a Transformer")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--quick", action="store_true", help="an untrained model, two trials, two distances")
    args = parser.parse_args(arguments)
    if args.quick:
        source: dict[str, Any] = {"checkpoint": "untrained", "model": "megalodon", "step": 0}
        found = passkey_run(quick_megalodon(chunk_size=128).to(args.device), distances=(0.75, 1.0), trials=2)
    else:
        loaded = load_trained(args.checkpoint, args.device)
        source = {"checkpoint": args.checkpoint, "model": loaded.kind, "step": loaded.state.step}
        found = passkey_run(loaded.model, args.chunk)
    save_json(args.out, {**source, **found})


if __name__ == "__main__":
    main()

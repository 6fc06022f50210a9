"""`megalodon-edu export`: write a trained model's weights as they ship, with its scores."""

import argparse
import json
from pathlib import Path
from typing import Any

from megalodon_edu.cli.devices import add_backend, chosen_device
from megalodon_edu.cli.failures import explained
from megalodon_edu.cli.scoring import evaluate_with_bar
from megalodon_edu.cli.texts import texts
from megalodon_edu.cli.trained import CHECKPOINT_HELP
from megalodon_edu.data import SPLITS
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.training.export import export
from megalodon_edu.training.trained import load_trained
from megalodon_edu.training.window_score import evaluate_windows

HELP = "write a trained model as it ships: bfloat16 weights in small files, and its scores"

EPILOG = """\
what happens:
  The folder receives the weights without the optimiser, in bfloat16 (the moving averages in float32), in files of at
  most 16 MB, and run.json: sizes, options, seed, text, machine. --checkpoint takes such a folder wherever it takes a
  run's. The scores that --score asks for are those of the weights as they ship, in float32: bits per byte of whole
  documents, and of the second halves of windows of 2048 bytes.

examples:
  megalodon-edu export --checkpoint runs/small --out small
  megalodon-edu export --checkpoint runs/small --out small --score validation test test-ood
"""

WINDOW = 2048


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `export`."""
    parser.epilog = EPILOG
    parser.add_argument("--checkpoint", default="runs/tiny", help=CHECKPOINT_HELP)
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument(
        "--score", nargs="+", choices=SPLITS, default=[], metavar="SPLIT", help=f"out of {', '.join(SPLITS)} [none]"
    )
    parser.add_argument("--device", help="cpu or cuda; default: cuda if there is one")
    add_backend(parser)


def run(args: argparse.Namespace) -> int:
    """Export, then load what was written and score it."""
    with explained():
        device = chosen_device(args.device)
        folder = export(load_trained(args.checkpoint, "cpu", args.backend), args.out)
        files = sorted(folder.glob("*.safetensors"))
        size = sum(file.stat().st_size for file in files)
        print(f"{folder}: {size:,} bytes of weights in {len(files)} files.")
        shipped = load_trained(str(folder), device, args.backend)
        about: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        for split in args.score:
            documents = texts(shipped.state.windows["source"], split)
            whole = evaluate_with_bar(shipped.model, documents)
            scores: dict[str, Any] = {"precision": "float32", **whole.to_dict()}
            print(f"{split}: {whole.bits_per_byte:.4f} bits per byte, {whole.scored:,} bytes.", flush=True)
            if any(len(document.text) >= WINDOW for document in documents):
                late = evaluate_windows(shipped.model, documents, WINDOW)
                scores["windows"] = {"window": WINDOW, **late.to_dict()}
                print(f"{split}, second halves of windows of {WINDOW}: {late.bits_per_byte:.4f} bits per byte.")
            about[split] = scores
            save_json(folder / "run.json", about)
    return 0

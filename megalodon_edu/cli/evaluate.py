"""`megalodon-edu evaluate`: how many bits a model needs for a byte of text it has not seen."""

import argparse
import json
import sys

from megalodon_edu.cli.devices import add_backend, chosen_device
from megalodon_edu.cli.failures import explained
from megalodon_edu.cli.scoring import evaluate_with_bar
from megalodon_edu.cli.texts import DATA_HELP, texts
from megalodon_edu.cli.trained import CHECKPOINT_HELP
from megalodon_edu.data import SPLITS
from megalodon_edu.training.evaluation import Evaluation
from megalodon_edu.training.options import PRECISIONS
from megalodon_edu.training.trained import load_trained

HELP = "score a trained model: bits per byte of held-out text"

EPILOG = """\
what happens:
  The model predicts every byte of every document from the bytes before it, starting with an empty state. A byte that
  was given the probability p costs -log2 p bits; the score is the mean over all bytes. A model that knows nothing
  needs 8 bits per byte.
  Megalodon reads each document as one stream. The Transformer sees windows of its context that overlap by half.

which split:
  Choose sizes and settings by the validation split, as often as you like. test (the same kind of books) and test-ood
  (Moby-Dick, unlike all others) tell the truth only while nothing was chosen by them: read them once, for a model
  that is final.

examples:
  megalodon-edu evaluate
  megalodon-edu evaluate --checkpoint bookworm      a model that ships with the course; librarian is the other
  megalodon-edu evaluate --max-bytes 10000          a quick look at the beginning of each document
  megalodon-edu evaluate --split test --json        the final model's number, for a program to read
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `evaluate`."""
    parser.epilog = EPILOG
    parser.add_argument("--checkpoint", default="runs/tiny", help=CHECKPOINT_HELP)
    parser.add_argument("--split", choices=SPLITS, default="validation", help="[validation]")
    parser.add_argument("--data", help=f"default: what the model was trained on. {DATA_HELP}")
    parser.add_argument("--max-bytes", type=int, help="read only so many bytes of each document [all]")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="[float32, the same everywhere]")
    parser.add_argument("--device", help="cpu or cuda; default: cuda if there is one")
    add_backend(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Print a table, or JSON."""
    with explained():
        checkpoint = load_trained(args.checkpoint, chosen_device(args.device), args.backend)
        source = args.data or checkpoint.state.windows["source"]
        documents = texts(source, args.split)
        if args.split.startswith("test"):
            print(f"note: {args.split} is read once, for a final model; choose by validation", file=sys.stderr)
        result = evaluate_with_bar(checkpoint.model, documents, args.max_bytes, args.precision)
    if args.json:
        about = {
            "checkpoint": str(checkpoint.path),
            "model": checkpoint.kind,
            "step": checkpoint.state.step,
            "data": source,
            "split": args.split,
            "precision": args.precision,
        }
        print(json.dumps({**about, **result.to_dict()}, indent=2))
    else:
        print(table(result, args.split))
    return 0


def table(result: Evaluation, split: str) -> str:
    """Return one line a document, and the total."""
    width = max(len(score.title) for score in result.scores)
    lines = [f"{'document':<{width}}  {'bytes':>10}  bits per byte"]
    lines += [f"{s.title:<{width}}  {s.scored:>10,}  {s.bits_per_byte:13.3f}" for s in result.scores]
    lines += [f"{'all of ' + split:<{width}}  {result.scored:>10,}  {result.bits_per_byte:13.3f}"]
    if not result.complete:
        lines.append("A quick look: only the beginnings were read. Report the score of whole documents.")
    return "\n".join(lines)

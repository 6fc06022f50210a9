"""`megalodon-edu bench`: measure speed and memory, beside a peer in the same run."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from megalodon_edu.cli.devices import chosen_device
from megalodon_edu.cli.failures import explained
from megalodon_edu.cli.files import require_file_to_write, save_json
from megalodon_edu.measure.decoding import decoding
from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.model_speed import model_speed
from megalodon_edu.measure.operator_speed import FACES, operator_speed
from megalodon_edu.measure.timing import Row
from megalodon_edu.models import PRESETS, MegalodonConfig
from megalodon_edu.training.options import PRECISIONS
from megalodon_edu.training.precision import choose_precision

HELP = "measure speed and memory beside a peer: Megalodon and Transformer, loop and FFT"

EPILOG = """\
what is measured:
  model    a forward pass and a training step, at several contexts, with the same number of tokens in every batch
  decode   writing: seconds per new token and bytes of state, after so many tokens of text. Megalodon's state is small
           right after a whole chunk and grows until the next; "at most" is its bound
  ops      the complex EMA alone, at the preset's width: the loop of the formula, the FFT, and chunk by chunk
  Both models have as many parameters. All that is compared runs on the same device in the same run, and takes turns;
  each number is the median of --repeats rounds after a warm-up. Read the ratios: seconds belong to one machine, on
  one day, with whatever else it was doing.

examples:
  megalodon-edu bench model
  megalodon-edu bench decode --contexts 256 4096 65536
  megalodon-edu bench ops
  megalodon-edu bench model --preset small --device cuda --out model_speed.json
"""


class Bench(NamedTuple):
    """One thing to measure: its default contexts, how to measure it, and its table, a line for every row."""

    contexts: Sequence[int]
    measure: Callable[[argparse.Namespace, torch.device], Iterator[Row]]
    header: str
    line: Callable[[Row], str]
    footer: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bench`."""
    parser.epilog = EPILOG
    parser.add_argument("what", choices=tuple(BENCHES), help="what to measure")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny", help="sizes of Megalodon [tiny]")
    parser.add_argument("--contexts", type=int, nargs="+", help="lengths of text, in tokens")
    parser.add_argument("--repeats", type=int, default=7, help="rounds that count [7]")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of `model`; the others take float32")
    parser.add_argument("--device", help="cpu or cuda; default: cuda if there is one")
    parser.add_argument("--out", type=Path, help="also save the numbers, with device, versions and commit, as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure, print each line of the table as it comes, and save a recording if one is wanted."""
    with explained():
        device = chosen_device(args.device)
        if args.out is not None:
            require_file_to_write("--out", args.out)
        bench = BENCHES[args.what]
        args.contexts = args.contexts or list(bench.contexts)
        about = environment(device)
        print(f"{args.what}, preset {args.preset}, on {about['device']} ({about['threads']} threads)")
        measured = bench.measure(args, device)
        rows: list[Row] = []
        for row in measured:
            if not rows:
                print(bench.header)
            print(bench.line(row), flush=True)
            rows.append(row)
        print(bench.footer)
        if args.out is not None:
            settings = {name: getattr(args, name) for name in ("preset", "contexts", "repeats", "precision")}
            save_json(args.out, {"bench": args.what, "settings": settings, "environment": about, "rows": rows})
            print(f"saved {args.out}")
    return 0


def measure_model(args: argparse.Namespace, device: torch.device) -> Iterator[Row]:
    """Measure forward passes and training steps."""
    dtype, sentence = choose_precision(args.precision, device)
    print(sentence)
    return model_speed(MegalodonConfig.preset(args.preset), args.contexts, device, dtype, repeats=args.repeats)


def measure_decoding(args: argparse.Namespace, device: torch.device) -> Iterator[Row]:
    """Measure writing."""
    return decoding(MegalodonConfig.preset(args.preset), args.contexts, device, repeats=args.repeats)


def measure_operator(args: argparse.Namespace, device: torch.device) -> Iterator[Row]:
    """Measure the faces of the complex EMA."""
    config = MegalodonConfig.preset(args.preset)
    return operator_speed(args.contexts, config.model_dim, config.cema_ndim, device, repeats=args.repeats)


def model_line(row: Row) -> str:
    """One row of `model_speed` as text."""
    times = "  ".join(_milliseconds(row["seconds"][name]) for name in MODELS)
    return f"{row['context']:>8,}  {row['batch']:>5}  {row['what']:<14}  {times}  {row['ratio']:5.2f}"


def decoding_line(row: Row) -> str:
    """One row of `decoding` as text."""
    times = "  ".join(_milliseconds(row["seconds"][name]) for name in MODELS)
    held = f"{row['state_bytes']['megalodon']:>11,}  {row['most_bytes']:>11,}  {row['state_bytes']['transformer']:>13,}"
    return f"{row['context']:>8,}  {times}  {row['ratio']:5.2f}  {held}"


def operator_line(row: Row) -> str:
    """One row of `operator_speed` as text."""
    times = "  ".join(_milliseconds(row["seconds"][name]) for name in FACES)
    ratios = "  ".join(f"{row['ratio'][name]:>7.1f}" for name in FACES if name != "loop")
    return f"{row['context']:>8,}  {row['what']:<14}  {times}  {ratios}"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:>8.2f} ms"


MODELS = ("megalodon", "transformer")
_TIMES = f"{'Megalodon':>11}  {'Transformer':>11}  ratio"
_RATIO = "ratio: the Transformer's time over Megalodon's; above 1, Megalodon is faster"
BENCHES = {
    "model": Bench(
        (256, 512, 1024, 2048, 4096),
        measure_model,
        f"{'context':>8}  {'batch':>5}  {'what':<14}  {_TIMES}",
        model_line,
        _RATIO,
    ),
    "decode": Bench(
        (256, 1024, 4096, 16384),
        measure_decoding,
        f"{'context':>8}  {_TIMES}  {'state bytes':>11}  {'at most':>11}  {'KV cache':>13}",
        decoding_line,
        f"times per token; {_RATIO}",
    ),
    "ops": Bench(
        (64, 256, 1024, 4096),
        measure_operator,
        f"{'context':>8}  {'what':<14}  {'loop':>11}  {'FFT':>11}  {'chunked':>11}  {'FFT':>7}  {'chunked':>7}",
        operator_line,
        "last two columns: how many times faster than the loop",
    ),
}

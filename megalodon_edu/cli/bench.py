"""`megalodon-edu bench`: measure speed and memory beside a peer in the same run, and the errors of kernels."""

import argparse
import shlex
import time
from pathlib import Path

from megalodon_edu.arguments import require_above_zero
from megalodon_edu.cli.bench_tables import BY_CONTEXT, BY_SHAPE, choose_bench
from megalodon_edu.cli.devices import chosen_device
from megalodon_edu.cli.failures import explained
from megalodon_edu.cli.files import require_file_to_write
from megalodon_edu.measure.environment import environment
from megalodon_edu.measure.json_file import save_json
from megalodon_edu.measure.timing import Row
from megalodon_edu.models import PRESETS
from megalodon_edu.training.options import PRECISIONS

HELP = "measure speed and memory beside a peer: models, decoding, kernels, operators; and errors of kernels"

EPILOG = """\
what is measured:
  model    on a CPU, or with --contexts: a forward pass and a training step, at several contexts, with the same number
           of tokens in every batch. On a GPU, or with --shapes: forward and backward pass with the loss of Megalodon
           on its kernels and of its peers, tokens per second and peak memory
  decode   on a CPU, or with --contexts: seconds per new token and bytes of state, after so many tokens of text.
           Megalodon's state is small right after a whole chunk and grows until the next; "at most" is its bound. On a
           GPU, or with --shapes: the median step over one chunk, early in a text and a million tokens later
  ops      the complex EMA alone, at the preset's width: the loop of the formula, the FFT, and chunk by chunk
  kernels  every Triton kernel beside PyTorch, eager and compiled, and beside the floor: the time that its bytes or its
           products take at least on this device. On a CPU in Triton's interpreter, where TRITON_INTERPRET=1 is set
  errors   every Triton kernel beside float64, at lengths from 1 to 65,536: the worst of its outputs, last states and
           gradients, and whether a second run gives the same bits. Ends with status 1 where a row is above its limit
  Both models have as many parameters. All that is compared runs on the same device in the same run; each number is a
  median after a warm-up. Read the ratios: seconds belong to one machine, on one day, with whatever else it was doing.

examples:
  megalodon-edu bench model
  megalodon-edu bench decode --contexts 256 4096 65536
  megalodon-edu bench ops
  megalodon-edu bench kernels --no-compile
  megalodon-edu bench errors
  megalodon-edu bench kernels --out megalodon_edu/recordings/kernels_h200/run.json
  megalodon-edu bench model --shapes full --preset 200M --device cuda --out model_speed.json
"""

SETTINGS = ("preset", "contexts", "shapes", "repeats", "precision", "compile")
SEED = 0
"""Of every random input and parameter."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bench`."""
    parser.epilog = EPILOG
    parser.add_argument("what", choices=tuple(BY_CONTEXT | BY_SHAPE), help="what to measure")
    parser.add_argument("--preset", choices=tuple(PRESETS), help="sizes of Megalodon [tiny; with --shapes full 200M]")
    parser.add_argument("--contexts", type=int, nargs="+", help="lengths of text, in tokens")
    parser.add_argument(
        "--shapes", choices=("small", "full"), help="fixed shapes [a GPU: full; kernels, errors on a CPU: small]"
    )
    parser.add_argument(
        "--repeats",
        type=int,
        help="rounds that count [7; kernels 20; model with --shapes 5; errors 1, compared bit by bit]",
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of what is computed, except in `ops`")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, help="with --shapes, compiled peers too [on a GPU]"
    )
    parser.add_argument("--limit", type=float, help="begin no further row after so many seconds")
    parser.add_argument("--device", help="cpu or cuda; default: cuda if there is one")
    parser.add_argument("--out", type=Path, help="also save the numbers, with device, versions and commit, as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure, print each line of the table as it comes, and save a recording if one is wanted.

    Returns 1 where a row is not as it must be.
    """
    with explained():
        device = chosen_device(args.device)
        if args.out is not None:
            require_file_to_write("--out", args.out)
        if args.limit is not None:
            require_above_zero("--limit", args.limit)
        bench = choose_bench(args, device)
        about, start = environment(device), time.perf_counter()
        sizes = f"shapes {args.shapes}" if args.preset is None else f"preset {args.preset}"
        print(f"{args.what}, {sizes}, on {about['device']} ({about['threads']} threads)")
        config, measured = bench.measure(args, device)
        rows: list[Row] = []
        for row in measured:
            if not rows:
                print(bench.header)
            print(bench.line(row), flush=True)
            rows.append(row)
            if args.limit is not None and time.perf_counter() - start > args.limit:
                print(f"the limit of {args.limit:g} seconds is reached: what would follow is left out")
                break
        print(bench.footer)
        if args.out is not None:
            recording = {
                "command": _command(args, device.type),
                "bench": args.what,
                "settings": {name: getattr(args, name) for name in SETTINGS},
                "seed": SEED,
                "config": config,
                "environment": about,
                "wall_seconds": round(time.perf_counter() - start, 1),
                "rows": rows,
            }
            save_json(args.out, recording)
            print(f"saved {args.out}")
        missed = sum(not bench.holds(row) for row in rows)
        if missed:
            print(f"{missed} of {len(rows)} rows are not within their limits")
    return 1 if missed else 0


def _command(args: argparse.Namespace, device: str) -> str:
    """The command that measures the same again."""
    words = ["megalodon-edu", "bench", args.what, "--device", device]
    for name in SETTINGS:
        value = getattr(args, name)
        if name == "compile":
            words.append("--compile" if value else "--no-compile")
        elif value is not None and not (name == "contexts" and args.shapes):
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)

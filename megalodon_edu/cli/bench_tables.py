"""What `megalodon-edu bench` measures: for each table its defaults, how it is measured, and its lines."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from megalodon_edu.kernels.availability import why_not
from megalodon_edu.measure.decoding import decoding
from megalodon_edu.measure.decoding_steps import decoding_steps
from megalodon_edu.measure.device_floor import measure_rates
from megalodon_edu.measure.error_cases import PLANS
from megalodon_edu.measure.kernel_errors import kernel_errors
from megalodon_edu.measure.kernel_speed import FACES as KERNEL_FACES
from megalodon_edu.measure.kernel_speed import kernel_speed
from megalodon_edu.measure.model_speed import model_speed
from megalodon_edu.measure.operator_cases import SHAPES
from megalodon_edu.measure.operator_speed import FACES, operator_speed
from megalodon_edu.measure.timing import Row
from megalodon_edu.measure.training_speed import LLAMA, entries, training_speed
from megalodon_edu.models import MegalodonConfig
from megalodon_edu.training.precision import choose_precision


class Measured(NamedTuple):
    """The sizes behind a table, for the recording, and its rows as they come."""

    config: dict[str, Any]
    rows: Iterator[Row]


class Bench(NamedTuple):
    """One table: defaults, how to measure it, header, a text for every row, and what the columns mean.

    `holds` says whether a row is as it must be; where one is not, the command fails.
    """

    preset: str | None
    contexts: Sequence[int] | None
    repeats: int
    measure: Callable[[argparse.Namespace, torch.device], Measured]
    header: str
    line: Callable[[Row], str]
    footer: str
    holds: Callable[[Row], bool] = lambda row: True


def choose_bench(args: argparse.Namespace, device: torch.device) -> Bench:
    """The table for `args.what`: on a GPU, or where --shapes asks for it, that of fixed shapes; else over contexts.

    Fills in what args leaves open. Raises ValueError for options that do not go together.
    """
    choice = device.type == "cuda" or args.shapes is not None
    only_by_shape = args.what not in BY_CONTEXT
    by_shape = only_by_shape or (args.what in BY_SHAPE and args.contexts is None and choice)
    if args.contexts is not None and (args.shapes is not None or only_by_shape):
        raise ValueError(
            f"--contexts must go with model, decode or ops, and without --shapes, got {args.contexts}; drop it"
        )
    if args.preset is not None and only_by_shape:
        raise ValueError(f"--preset must go with model, decode or ops, got {args.preset}; {args.what} take --shapes")
    if args.shapes is not None and not by_shape:
        raise ValueError(f"--shapes must go with {', '.join(BY_SHAPE)}, got {args.shapes} for {args.what}; drop it")
    bench = BY_SHAPE[args.what] if by_shape else BY_CONTEXT[args.what]
    if by_shape:
        args.shapes = args.shapes or ("full" if device.type == "cuda" else "small")
    args.contexts = args.contexts or (None if bench.contexts is None else list(bench.contexts))
    if bench.preset is not None:
        args.preset = args.preset or ("tiny" if args.shapes == "small" else bench.preset)
    args.repeats = bench.repeats if args.repeats is None else args.repeats
    args.compile = device.type == "cuda" if args.compile is None else args.compile
    return bench


# --- Over contexts: Megalodon beside the Transformer, and the faces of one operator ---


def measure_model(args: argparse.Namespace, device: torch.device) -> Measured:
    """Measure forward passes and training steps."""
    dtype, sentence = choose_precision(args.precision, device)
    print(sentence)
    config = MegalodonConfig.preset(args.preset)
    return Measured(config.to_dict(), model_speed(config, args.contexts, device, dtype, repeats=args.repeats))


def measure_decoding(args: argparse.Namespace, device: torch.device) -> Measured:
    """Measure writing."""
    config = MegalodonConfig.preset(args.preset)
    return Measured(config.to_dict(), decoding(config, args.contexts, device, repeats=args.repeats))


def measure_operator(args: argparse.Namespace, device: torch.device) -> Measured:
    """Measure the faces of the complex EMA."""
    config = MegalodonConfig.preset(args.preset)
    rows = operator_speed(args.contexts, config.model_dim, config.cema_ndim, device, repeats=args.repeats)
    return Measured(config.to_dict(), rows)


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


# --- At fixed shapes: the kernels and the whole models of a GPU ---


def measure_kernels(args: argparse.Namespace, device: torch.device) -> Measured:
    """Measure the kernels and their peers, and before them the device."""
    narrow = args.precision == "bfloat16" or (args.precision == "auto" and device.type == "cuda")
    dtype = torch.bfloat16 if narrow else torch.float32
    rates = measure_rates(device, dtype)
    print(
        f"This device copies {rates.bytes_per_second / 1e12:.3g} TB/s (read + written) and multiplies "
        f"{rates.flops_per_second / 1e12:.3g} TFLOP/s in {str(dtype).removeprefix('torch.')}."
    )
    faces: tuple[str, ...] = KERNEL_FACES if args.compile else KERNEL_FACES[:-1]
    if reason := why_not(device):
        print(f"No kernels: {reason}.")
        faces = faces[1:]
    elif device.type == "cpu":
        print("Triton's interpreter runs the kernels here: their times say nothing about a GPU.")
    sizes = SHAPES[args.shapes]
    config = {**sizes._asdict(), "dtype": str(dtype).removeprefix("torch."), "rates": rates._asdict()}
    return Measured(config, kernel_speed(sizes, device, dtype, rates, faces, args.repeats))


def measure_errors(args: argparse.Namespace, device: torch.device) -> Measured:
    """Compare the kernels with float64. Raises ValueError where no kernel runs, or not in the type asked for."""
    if reason := why_not(device):
        raise ValueError(f"errors of kernels need a place where kernels run: {reason}")
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)
    if device.type == "cpu":
        if args.precision == "bfloat16":
            raise ValueError(
                "--precision must be float32 or auto for errors on a CPU, got bfloat16: Triton's interpreter does not "
                "multiply it"
            )
        dtypes = dtypes[:1]
    elif args.precision != "auto":
        dtypes = (getattr(torch, args.precision),)
    plan = PLANS[args.shapes]
    config = {**plan._asdict(), "dtypes": [str(dtype).removeprefix("torch.") for dtype in dtypes]}
    return Measured(config, kernel_errors(plan, device, dtypes, args.repeats))


def measure_training(args: argparse.Namespace, device: torch.device) -> Measured:
    """Measure forward and backward passes of whole models with their loss."""
    dtype, sentence = choose_precision(args.precision, device)
    print(sentence)
    config = MegalodonConfig.preset(args.preset)
    reason = why_not(device)
    if reason is not None:
        print(f"No kernels: {reason}.")
    lines = entries(args.compile, reason is None)
    if any(line.model == LLAMA for line in lines):
        print(f"{LLAMA} makes the logits of all tokens before its loss; the others share our head and loss.")
    shapes = TRAINING_SHAPES[args.shapes]
    described = {**config.to_dict(), "shapes": shapes, "dtype": str(dtype).removeprefix("torch.")}
    return Measured(described, training_speed(config, shapes, device, dtype, lines, args.repeats))


def measure_steps(args: argparse.Namespace, device: torch.device) -> Measured:
    """Measure the decoders' steps."""
    dtype, sentence = choose_precision(args.precision, device)
    print(sentence)
    print("Positions are reached by a random state of the right sizes and count, not by reading a text.")
    config = MegalodonConfig.preset(args.preset)
    described = {**config.to_dict(), "chunks": CHUNKS, "dtype": str(dtype).removeprefix("torch.")}
    ways = (False, True) if args.compile else (False,)
    return Measured(described, decoding_steps(config, CHUNKS, device, dtype, ways))


def kernel_line(row: Row) -> str:
    """One row of `kernel_speed` as text, with a line for each face that is missing or was timed in another way."""
    times = "".join(_cell(row["seconds"].get(name), 1e3, "10.3f") for name in KERNEL_FACES)
    peaks = "".join(_cell(row["peak_bytes"].get(name), 2**-20, "10.1f") for name in KERNEL_FACES)
    shape = " x ".join(map(str, row["shape"]))
    authors = _cell(AUTHORS.get((row["work"], row["shape"], row["what"])), 1, "10.2f")
    ratios = f"{_cell(row['floor']['seconds'], 1e3, '10.3f')}{_cell(row['over_floor'], 1, '9.2f')}"
    first = f"{row['work']:<21}{shape:<23}{row['what']:<17}{times}{ratios}{_cell(row['ratio'], 1, '9.2f')}{peaks}"
    more = [f"    {name}: {note}" for name, note in row["notes"].items()]
    events = [name for name, how in row["how"].items() if how == "CUDA events"]
    if events:
        more.append(f"    launched from Python, not as a graph: {', '.join(events)}")
    return "\n".join([first + authors, *more])


def error_line(row: Row) -> str:
    """One row of `kernel_errors` as text: "above" in the last column, or what else is wrong."""
    shape = " x ".join(map(str, row["shape"]))
    first = f"{row['work']:<23}{row['dtype']:<10}{shape:<25}{row['past']:<16}"
    if "note" in row:
        return f"{first}{row['note']}"
    worst = row["errors"][row["worst"]]
    error = f"{'not finite' if worst is None else f'{worst:.1e}':>11}{row['limit']:>9.0e}"
    wrong = "" if row["within"] else "  above" if row["same_bits"] else "  other bits in a second run"
    return f"{first}{row['worst']:<12}{error}{wrong}"


def training_line(row: Row) -> str:
    """One row of `training_speed` as text."""
    first = f"{row['batch']:>5} x {row['context']:<8}{_name(row)}"
    if "note" in row:
        return f"{first}  {row['note']}"
    speed = f"{1e3 * row['seconds']:>10.2f}{row['tokens_per_second'] / 1e3:>12.1f}"
    return f"{first}{speed}{_cell(row['peak_bytes'], 2**-30, '11.2f')}{_cell(row['ratio'], 1, '9.2f')}"


def steps_line(row: Row) -> str:
    """One row of `decoding_steps` as text."""
    first = f"{row['position']:>12,}  {_name(row)}"
    if "note" in row:
        return f"{first}  {row['note']}"
    times = f"{1e3 * row['seconds']:>10.3f}{1e3 * row['most_seconds']:>10.3f}{row['steps']:>8}"
    return (
        f"{first}{times}{row['buffer_bytes'] / 2**20:>10.1f}{row['over_first']:>10.3f}{_cell(row['ratio'], 1, '9.2f')}"
    )


def _name(row: Row) -> str:
    way = ", compiled" if row["compiled"] else ""
    return f"{row['model'] + way + (', less kept' if row.get('recompute') else ''):<38}"


def _cell(value: float | None, factor: float, form: str) -> str:
    """A number, or a dash where there is none, as wide."""
    return f"{'-':>{int(form.partition('.')[0])}}" if value is None else f"{value * factor:>{form}}"


MODELS = ("megalodon", "transformer")
TRAINING_SHAPES = {"full": ((8, 4096), (1, 32_768)), "small": ((2, 64), (1, 128))}
"""(batch, context)"""
CHUNKS = (1, 488)
"""Where the decoders' steps begin, in chunks: with 2048 tokens, right after the first and near a million."""
AUTHORS = {
    ("CEMA", (8, 4096, 1024), "forward"): 0.98,
    ("CEMA", (2, 16384, 1024), "forward"): 1.52,
    ("CEMA", (8, 4096, 1024), "forward+backward"): 2.33,
    ("CEMA", (2, 16384, 1024), "forward+backward"): 3.50,
    ("Timestep Norm", (8, 4096, 1024), "forward"): 0.84,
    ("Timestep Norm", (2, 16384, 1024), "forward"): 1.12,
    ("Timestep Norm", (8, 4096, 1024), "forward+backward"): 2.36,
    ("Timestep Norm", (2, 16384, 1024), "forward+backward"): 3.43,
    ("chunk attention", (8, 4096, 256, 2048), "forward"): 0.52,
    ("chunk attention", (8, 4096, 256, 2048), "forward+backward"): 1.52,
}
"""Milliseconds of the authors' CUDA kernels, measured on an H100 with PyTorch 2.11, in another run than this."""

_TIMES = f"{'Megalodon':>11}  {'Transformer':>11}  ratio"
_RATIO = "ratio: the Transformer's time over Megalodon's; above 1, Megalodon is faster"
BY_CONTEXT = {
    "model": Bench(
        "tiny",
        (256, 512, 1024, 2048, 4096),
        7,
        measure_model,
        f"{'context':>8}  {'batch':>5}  {'what':<14}  {_TIMES}",
        model_line,
        _RATIO,
    ),
    "decode": Bench(
        "tiny",
        (256, 1024, 4096, 16384),
        7,
        measure_decoding,
        f"{'context':>8}  {_TIMES}  {'state bytes':>11}  {'at most':>11}  {'KV cache':>13}",
        decoding_line,
        f"times per token; {_RATIO}",
    ),
    "ops": Bench(
        "tiny",
        (64, 256, 1024, 4096),
        7,
        measure_operator,
        f"{'context':>8}  {'what':<14}  {'loop':>11}  {'FFT':>11}  {'chunked':>11}  {'FFT':>7}  {'chunked':>7}",
        operator_line,
        "last two columns: how many times faster than the loop",
    ),
}
BY_SHAPE = {
    "kernels": Bench(
        None,
        None,
        20,
        measure_kernels,
        f"{'':<61}{'milliseconds':^40}{'':<18}{'peak MiB':^30}\n"
        f"{'work':<21}{'shape':<23}{'pass':<17}{'Triton':>10}{'torch':>10}{'compiled':>10}{'floor':>10}"
        f"{'x floor':>9}{'ratio':>9}{'Triton':>10}{'torch':>10}{'compiled':>10}{'authors*':>10}",
        kernel_line,
        "x floor: the kernel's time in floors; ratio: the better peer's time over the kernel's, above 1 the kernel is "
        "faster\npeak: above the inputs; times: medians, the faces one after the other, on a GPU by CUDA events around "
        "replays of a\nCUDA graph, the second-level cache emptied before each\n"
        "* the authors' CUDA kernels in milliseconds, measured on an H100 with PyTorch 2.11 in another run: no part of "
        "any ratio",
    ),
    "errors": Bench(
        None,
        None,
        1,
        measure_errors,
        f"{'work':<23}{'type':<10}{'batch x length x width':<25}{'past':<16}{'worst':<12}{'error':>11}{'limit':>9}",
        error_line,
        "worst: of all outputs, last states and gradients (dx is the gradient of x) that whose error is largest, "
        "|a - b| / |b|\nwith the truth b in float64; further runs must give the same bits",
        lambda row: row["within"],
    ),
    "model": Bench(
        "200M",
        None,
        5,
        measure_training,
        f"{'batch x context':<16}{'model':<28}{'ms':>10}{'K tokens/s':>12}{'peak GiB':>11}{'ratio':>9}",
        training_line,
        "forward and backward pass with the loss; ratio: tokens a second over those of our Transformer, the better of "
        "its lines so far",
    ),
    "decode": Bench(
        "200M",
        None,
        1,
        measure_steps,
        f"{'position':>12}  {'model':<28}{'ms':>10}{'most ms':>10}{'steps':>8}{'MiB':>10}{'x first':>10}{'ratio':>9}",
        steps_line,
        "ms: median of a step, batch 1; x first: over the time at the first position; ratio: the Transformer's time "
        "over this one",
    ),
}

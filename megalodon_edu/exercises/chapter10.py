"""Chapter 10, first Triton kernels: what the checks look at and what they say.

A kernel is run by `kernels.tracing`, which writes down every address that every program touches, so a check can name
the program and the place. It works on any machine with Triton, with or without a GPU.
"""

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from megalodon_edu.exercises.framework import Answer, Diagnosis, NotYet, exercise
from megalodon_edu.exercises.probes import expect_close, signal
from megalodon_edu.kernels.availability import require_installed
from megalodon_edu.ops.ema import ema_reference


def launch(answer: Any, grid: tuple[int, ...], tensors: dict[str, Tensor], *numbers: Any, **sizes: Any) -> Any:
    """Run the student's kernel and return its trace; what is no kernel yet, or stops, becomes a verdict."""
    require_installed()
    from megalodon_edu.kernels.tracing import trace

    kernel = answer.function if isinstance(answer, Answer) else answer
    if (elsewhere := getattr(kernel, "trace", None)) is not None:  # it runs in another process, where it is graded
        return _expect_stored(elsewhere(grid, tensors, *numbers, **sizes))
    function = getattr(kernel, "fn", None)
    if function is None:
        raise NotYet("that is no kernel yet. Keep the line `@triton.jit` above your function.")
    try:
        found = trace(kernel, grid, *tensors.values(), *numbers, **sizes)
    except Exception as error:
        lines = [frame for frame in traceback.extract_tb(error.__traceback__) if _belongs(frame, function)]
        if not lines and isinstance(error, TypeError):
            raise Diagnosis(f"your kernel does not take the stub's arguments ({error}). Keep its first line.") from None
        if isinstance(error, NotImplementedError) and lines and "NotImplementedError" in (lines[-1].line or ""):
            raise NotYet from None
        where = f", in line {lines[-1].lineno}: `{lines[-1].line}`" if lines else ""
        message = str(error).strip().partition("\n")[0]
        raise Diagnosis(f"your kernel stopped with {type(error).__name__}: {message}{where}") from None
    return _expect_stored(found)


def _expect_stored(found: Any) -> Any:
    if not found.of("write") and not found.of("atomic"):
        raise NotYet("your kernel stores nothing yet. Let it end with a `tl.store`.")
    return found


def _belongs(frame: traceback.FrameSummary, function: Callable[..., Any]) -> bool:
    return frame.filename == function.__code__.co_filename and frame.name == function.__name__


def expect_inside(found: Any, tensors: Mapping[str, Tensor]) -> None:
    """No lane may lie outside the tensors."""
    for access in found.outside():
        place = access.outside[0]
        size = tensors[access.tensor].numel()
        verb, call = ("reads", "tl.load") if access.kind == "read" else ("writes", "tl.store")
        side = f"behind its end: there are {size} numbers" if place >= size else "before its beginning"
        raise Diagnosis(
            f"program {_name(access.program)} {verb} {access.tensor}[{place}], {side}. On a GPU that is somebody "
            f"else's memory. Does the mask of `{call}` hold back every lane without a number?"
        )


def expect_written(found: Any, tensor: str, size: int) -> None:
    """Every place of an output must be written."""
    missing = sorted(set(range(size)) - set(found.places("write", tensor)) - set(found.places("atomic", tensor)))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise Diagnosis(f"nobody writes {tensor}[{missing[0]}]{more}. Which program should?")


def expect_alone(found: Any, remedy: str) -> None:
    """No two programs may meet in one place."""
    for race in found.races():
        first, second = map(_name, race.programs)
        if race.kinds[1] == "read":
            what = f"program {first} writes {race.tensor}[{race.place}], and program {second} reads it"
        else:
            what = f"programs {first} and {second} both write {race.tensor}[{race.place}]"
        raise Diagnosis(f"{what}. On a GPU they run at the same time, and nobody knows who comes first. {remedy}")


def expect_numbers(value: Tensor, remedy: str) -> None:
    """Not-a-number is what undefined lanes and overflows leave behind."""
    if not value.isfinite().all():
        raise Diagnosis(remedy)


def _name(program: tuple[int, ...]) -> str:
    """(2,) as "2", (1, 3) as "(1, 3)"."""
    return str(program[0]) if len(program) == 1 else str(program)


@exercise(
    success="every number is read once and written once, and nothing beyond the end is touched.",
    hints=[
        "Which places belong to this program? Its number is `tl.program_id(0)`, and each program has BLOCK of them.",
        "`at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)` are the places, a whole block of them at once.",
        "The last block may reach beyond the end. `inside = at < length` is True for the lanes that have a number.",
        "`x = tl.load(x_ptr + at, mask=inside)`, the same for y, and `tl.store(out_ptr + at, ..., mask=inside)`.",
    ],
)
def scale_and_add(answer: Any) -> None:
    """`scale_and_add(x_ptr, y_ptr, out_ptr, scale, length, BLOCK)`: out = scale · x + y, a block for each program."""
    for length, block in ((10, 4), (8, 4), (5, 8)):
        x, y = (signal(1, length, 1, seed=seed)[0, :, 0].float() for seed in (0, 1))
        tensors = {"x": x, "y": y, "out": torch.full((length,), torch.nan)}
        found = launch(answer, (-(-length // block),), tensors, 3.0, length, BLOCK=block)
        expect_inside(found, tensors)
        expect_alone(found, f"Program 1 should begin at place {block}, where the block of program 0 ends.")
        expect_written(found, "out", length)
        expect_numbers(tensors["out"], "a masked lane reached the output: its value is undefined.")
        what = f"with {length} numbers and BLOCK = {block}, out"
        expect_close(tensors["out"], 3 * x + y, what, "place", {
            "you scale y; the stub asks for scale · x + y.": x + 3 * y,
            "you scale the sum; the stub asks for scale · x + y.": 3 * (x + y),
            "the scale is missing: out = scale · x + y.": x + y,
        }, tolerance=1e-5)  # fmt: skip


@exercise(
    success="one program a row, each row read once, wherever it begins.",
    hints=[
        "The program's number is its row. Row r of x begins at `x_ptr + r * x_stride`, row r of y at "
        "`y_ptr + r * y_stride`.",
        "`column = tl.arange(0, BLOCK)`; only lanes with `column < columns` exist.",
        "A lane that does not exist must not win the maximum, nor add to the sum. Which number has the exponential 0?",
        "Subtract the maximum before `tl.exp`, as in chapter 00: `tl.max(x, 0)`. Then divide by `tl.sum(..., 0)`.",
    ],
)
def softmax_rows(answer: Any) -> None:
    """`softmax_rows(x_ptr, y_ptr, x_stride, y_stride, columns, BLOCK)`: rows that lie apart, a program for each."""
    rows, columns, x_stride, y_stride, block = 4, 5, 9, 7, 8
    logits = signal(1, rows, columns)[0].float()
    x, y = torch.zeros(rows, x_stride), torch.full((rows, y_stride), torch.nan)
    x[:, :columns] = logits - 1
    views = {"x": x[:, :columns], "y": y[:, :columns]}

    def run() -> Any:
        return launch(answer, (rows,), views, x_stride, y_stride, columns, BLOCK=block)

    found = run()
    for tensor, kind, stride, other in (("x", "read", x_stride, y_stride), ("y", "write", y_stride, x_stride)):
        _check_row(found, tensor, kind, stride, other, columns)
    for access in found.outside():
        verb, place = ("reads" if access.kind == "read" else "writes"), int(access.outside[0])
        stride = {"x": x_stride, "y": y_stride}[access.tensor]
        raise Diagnosis(
            f"program {access.program[0]} {verb} column {place - access.program[0] * stride} of its row of "
            f"{access.tensor}, which has {columns}. What lies behind belongs to somebody else: mask it."
        )
    expect_numbers(views["y"], "y is not a number: lanes behind the end of the row are undefined and reached the "
                   "maximum or the sum. Give `tl.load` an `other` that changes neither.")  # fmt: skip
    shifted = views["x"].double()
    extra = block - columns
    expect_close(views["y"], shifted.softmax(1), "y", "row column", {
        "the lanes behind the row's end hold 0, and e⁰ = 1 is added to the sum for each. "
        "Fill them with -float('inf'), whose exponential is 0.": shifted.exp() / (shifted.exp().sum(1, True) + extra),
        "the lanes behind the row's end hold 0 after the maximum is subtracted, and e⁰ = 1 is added for each. "
        "Fill them with -float('inf') when you load.": (shifted - shifted.amax(1, True)).exp()
            / ((shifted - shifted.amax(1, True)).exp().sum(1, True) + extra),
        "your rows do not sum to 1: the division by the sum is missing.": shifted.exp(),
        "your rows do not sum to 1: divide by the sum of the exponentials.": (shifted - shifted.amax(1, True)).exp(),
        "you divide by the largest exponential; divide by their sum.": shifted.exp() / shifted.exp().amax(1, True),
        "you normalise without exponentials.": shifted / shifted.sum(1, True),
    }, tolerance=1e-5)  # fmt: skip
    views["x"].add_(200.0)
    run()
    expect_numbers(views["y"], "with logits around 200 the result is not a number: e²⁰⁰ is too large for float32. "
                   "Subtract the row's maximum first; the result does not change.")  # fmt: skip
    expect_close(views["y"], views["x"].double().softmax(1), "with logits around 200, y", "row column", tolerance=1e-4)


def _check_row(found: Any, tensor: str, kind: str, stride: int, other: int, columns: int) -> None:
    """Does program 1 touch its row of the tensor where that row begins?"""
    accesses = found.of(kind, tensor, program=1)
    if not accesses:
        raise Diagnosis(f"program 1 never {kind}s {tensor}.")
    begins = int(min(accesses[0].places))
    if begins == stride:
        return
    words = {"read": "begins to read", "write": "begins to write"}[kind]
    reasons = {
        0: "Every program works on row 0: where does its number come in?",
        1: "Programs should be a whole row apart, not one column.",
        columns: f"You multiply by `columns`, but these rows lie {stride} apart: there is a gap behind each.",
        other: f"x and y have strides of their own; for {tensor} it is `{tensor}_stride`.",
    }
    reason = reasons.get(begins, f"Rows of {tensor} begin at multiples of `{tensor}_stride`.")
    raise Diagnosis(f"program 1 {words} at place {begins} of {tensor}; its row begins at {stride}. {reason}")


@exercise(
    success="the order of the programs does not matter any more.",
    hints=[
        "The sums are right in the interpreter, where programs run one after the other. Who guarantees that on a GPU?",
        "Two programs read sums[row], both add their own part, both write. What is in sums[row] if they read before "
        "either has written?",
        "`tl.atomic_add(pointer, value)` reads, adds and writes in one step that nobody can interrupt.",
    ],
)
def row_sums(answer: Any) -> None:
    """The repaired `row_sums(x_ptr, sums_ptr, columns, BLOCK)`, grid (row, block), sums filled with zeros."""
    rows, columns, block = 3, 10, 4
    x = signal(1, rows, columns)[0].float()
    tensors = {"x": x, "sums": torch.zeros(rows)}
    found = launch(answer, (rows, -(-columns // block)), tensors, columns, BLOCK=block)
    expect_inside(found, tensors)
    expect_written(found, "sums", rows)
    last = x[:, columns - columns % block :].sum(1)
    sums = tensors["sums"]
    expect_numbers(sums, "the sums are not numbers: the lanes behind the end of a row are undefined and were added. "
                   "Give `tl.load` an `other` that adds nothing.")  # fmt: skip
    if torch.allclose(sums, last, atol=1e-5):
        raise Diagnosis(
            "each program overwrites what the one before it stored: only the last block of each row is left. "
            "All blocks of a row must add up."
        )
    expect_alone(found, "Reading, adding and writing must be one step: `tl.atomic_add`.")
    expect_close(sums, x.sum(1), "sums", "row", {
        "you count only the first block of each row.": x[:, :block].sum(1),
        "every row has the sum of row 0: where does its number come in?": x[:1].sum(1).expand(rows),
    }, tolerance=1e-4)  # fmt: skip


def _sequence(length: int, channels: int) -> dict[str, Tensor]:
    """Two sequences, a state for each, and outputs to be filled."""
    x, state = signal(2, length, channels).float(), signal(1, 2, channels, seed=1)[0].float()
    return {"x": x, "state": state, "y": torch.full_like(x, torch.nan), "last": torch.full_like(state, torch.nan)}


def _check_ema(
    found: Any, tensors: dict[str, Tensor], alpha: float, block: int, mistakes: Mapping[str, Tensor], chunk: int = 1
) -> None:
    """What both EMA kernels must do."""
    x, y, last = (tensors[name] for name in ("x", "y", "last"))
    _, length, channels = x.shape
    if not found.places("read", "state"):
        raise Diagnosis("the incoming state is never read: every sequence starts from nothing.")
    if found.places("write", "y", program=1) and min(found.places("write", "y", program=1)) == 0:
        raise Diagnosis(
            f"the programs of sequence 1 write into sequence 0. Each sequence begins {length * channels} numbers "
            "(length · channels) behind the one before."
        )
    begun = set()
    for access in found.of("write", "y"):
        mine = range(access.program[1] * block, min(channels, (access.program[1] + 1) * block))
        strange = [place % channels for place in access.places.tolist() if place % channels not in mine]
        who = f"program {_name(access.program)} owns the channels {mine.start} to {mine.stop - 1}"
        if strange and access.program in begun:
            raise Diagnosis(
                f"{who}, and comes to channel {strange[0]}. From one step to the next it is {channels} places."
            )
        if strange:
            raise Diagnosis(f"{who}, and writes channel {strange[0]} too. Lanes without a channel must be masked.")
        begun.add(access.program)
    expect_inside(found, tensors)
    expect_alone(found, "Each program should write its own sequence and channels.")
    expect_written(found, "y", y.numel())
    expect_written(found, "last", last.numel())
    expect_numbers(y, "y is not a number in places: an undefined, masked lane was used. Give `tl.load` an `other`.")
    every = torch.full((channels,), alpha, dtype=torch.float64)
    right, end = ema_reference(x.double(), every, tensors["state"].double())
    alone, _ = ema_reference(x.double(), every)
    swapped, _ = ema_reference(x.double(), 1 - every, tensors["state"].double())
    late = torch.cat([tensors["state"].double()[:, None], right[:, :-1]], 1)
    expect_close(y, right, "y", mistakes={
        "the incoming state has no effect: h should start from it.": alone,
        "α and 1 - α have changed places: α is the share of the new token.": swapped,
        "your outputs come one step late: y at step t should already contain the token of step t.": late,
        **mistakes,
    }, tolerance=1e-4)  # fmt: skip
    expect_close(last, end, "the last state", "batch channel", {
        "the last state is the one that came in; store h after the last step.": tensors["state"].double(),
        f"the last chunk has only {length % chunk} steps, and you take its row {chunk - 1}. Behind the end the memory "
        "goes on fading.": end * (1 - alpha) ** (-length % chunk),
    }, tolerance=1e-4)  # fmt: skip


@exercise(
    success="one memory a channel, carried in registers from the first step to the last.",
    hints=[
        "`sequence = tl.program_id(0)`, and a block of channels: "
        "`channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)`.",
        "The number of step t, channel c of a sequence stands at `(sequence * length + t) * channels + c`; that of the "
        "state at `sequence * channels + c`.",
        "Load h once, from state_ptr. In `for t in range(length)`: load x, `h = alpha * x + (1 - alpha) * h`, store h.",
        "After the loop store h once more, into last_ptr. Every load and store needs `mask=channel < channels`.",
    ],
)
def ema_scan(answer: Any) -> None:
    """`ema_scan(x_ptr, state_ptr, y_ptr, last_ptr, alpha, length, channels, BLOCK)`, grid (sequence, channel block)."""
    alpha, block = 0.25, 4
    tensors = _sequence(length=5, channels=6)
    found = launch(answer, (2, 2), tensors, alpha, 5, 6, BLOCK=block)
    _check_ema(found, tensors, alpha, block, {})


@exercise(
    success="a chunk at a time, and no step notices where a chunk begins.",
    hints=[
        "Inside a chunk, step t sees step s with the weight α (1 - α)^(t - s). Those weights are the matrix K.",
        "`age = t[:, None] - t[None, :]`. Where age is negative, the weight must be 0: that would be the future.",
        "What came before the chunk is h. At its step t it has faded t + 1 times: `fade[:, None] * h[None, :]`.",
        "The memory after a chunk is its last output, row CHUNK - 1; in the last, short chunk it is an earlier row. "
        "`tl.sum(tl.where((t == newest)[:, None], y, 0.0), 0)` picks a row.",
    ],
)
def ema_in_chunks(answer: Any) -> None:
    """`ema_in_chunks(x_ptr, state_ptr, y_ptr, last_ptr, alpha, log2_decay, length, channels, CHUNK, BLOCK)`."""
    alpha, chunk, block, length, channels = 0.25, 16, 16, 37, 20
    log2_decay = torch.tensor(1 - alpha, dtype=torch.float64).log2().item()
    tensors = _sequence(length, channels)
    found = launch(answer, (2, 2), tensors, alpha, log2_decay, length, channels, CHUNK=chunk, BLOCK=block)
    x, start = tensors["x"].double(), tensors["state"].double()
    every = torch.full((channels,), alpha, dtype=torch.float64)

    def carried(shift: int, carry: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """y where the state fades t + shift times, and a chunk hands on carry(y, inside, h)."""
        h, pieces = start, []
        for piece in x.split(chunk, 1):
            inside, _ = ema_reference(piece, every)
            fades = (1 - alpha) ** (torch.arange(piece.shape[1], dtype=torch.float64) + shift)
            pieces.append(inside + fades[:, None] * h[:, None])
            h = carry(pieces[-1][:, -1], inside[:, -1], h)
        return torch.cat(pieces, 1)

    edge = f"the first chunk is right; from step {chunk} on "
    _check_ema(found, tensors, alpha, block, {
        "y is 0 everywhere: K holds the weights α (1 - α)^(t - s).": torch.zeros_like(x),
        "y lacks what came in with h: add what is left of it at each step of the chunk.":
            torch.cat([ema_reference(piece, every)[0] for piece in x.split(chunk, 1)], 1),
        f"{edge}the memory is lost: every chunk starts from nothing.": carried(1, lambda y, inside, h: 0 * h),
        f"{edge}every chunk starts from the state that came in. Change h at the end of a chunk.":
            carried(1, lambda y, inside, h: h),
        f"{edge}only the tokens of the chunk just before are remembered: what h held must fade and stay.":
            carried(1, lambda y, inside, h: inside),
        "h fades one time too few: at step 0 of a chunk it has already faded once.":
            carried(0, lambda y, inside, h: y),
        "h fades one time too often: at step 0 of a chunk it has faded once.":
            carried(2, lambda y, inside, h: y),
        "your outputs contain the future: K must be 0 where s > t.": _both_sides(x, start, alpha, chunk),
    }, chunk)  # fmt: skip


def _both_sides(x: Tensor, h: Tensor, alpha: float, chunk: int) -> Tensor:
    """A chunked EMA whose K is not cut off above its diagonal."""
    pieces = []
    for piece in x.split(chunk, 1):
        step = torch.arange(piece.shape[1], dtype=torch.float64)
        K = alpha * (1 - alpha) ** (step[:, None] - step)
        pieces.append(K @ piece + (1 - alpha) ** (step + 1)[:, None] * h[:, None])
        h = pieces[-1][:, -1]
    return torch.cat(pieces, 1)

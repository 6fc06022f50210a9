"""Plausible wrong answers to the exercises of chapter 10: each is the solution with a few words replaced."""

import inspect
import linecache

import triton
import triton.language as tl

from megalodon_edu.exercises.framework import Mutant
from megalodon_edu.exercises.solutions import chapter10 as solutions


def wrong(of, name, says, *changes):
    """A mutant: the solution of exercise `of` with every (old, new) of `changes` replaced, as a kernel of its own."""
    source = inspect.getsource(getattr(solutions, of).fn)
    for old, new in changes:
        if old not in source:
            raise ValueError(f"{name}: the solution of {of} holds no {old!r}")
        source = source.replace(old, new)
    file = f"<mutant {name} of {of}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    names = {"triton": triton, "tl": tl, "__name__": __name__}
    exec(compile(source, file, "exec"), names)
    return Mutant(of, says, name, names[of])


no_mask = wrong("scale_and_add", "no_mask", "reads x[10], behind its end", ("inside = at < length", "inside = at >= 0"))
no_mask_at_the_load = wrong(
    "scale_and_add", "no_mask_at_the_load", "reads y[10]", ("y_ptr + at, mask=inside", "y_ptr + at")
)
no_mask_at_the_store = wrong(
    "scale_and_add", "no_mask_at_the_store", "writes out[10]", ("scale * x + y, mask=inside", "scale * x + y")
)
one_lane_too_few = wrong(
    "scale_and_add", "one_lane_too_few", "nobody writes out[9].", ("at < length", "at < length - 1")
)
every_program_the_same = wrong(
    "scale_and_add", "every_program_the_same", "both write out[0]", ("tl.program_id(0) * BLOCK + ", "")
)
blocks_overlap = wrong(
    "scale_and_add", "blocks_overlap", "both write out[1]", ("tl.program_id(0) * BLOCK", "tl.program_id(0)")
)
scales_y = wrong("scale_and_add", "scales_y", "you scale y", ("scale * x + y", "x + scale * y"))
scales_the_sum = wrong("scale_and_add", "scales_the_sum", "you scale the sum", ("scale * x + y", "scale * (x + y)"))
no_scale = wrong("scale_and_add", "no_scale", "the scale is missing", ("scale * x + y", "x + y"))
stops = wrong("scale_and_add", "stops", "your kernel stopped with", ("scale * x + y", "scale * x + z"))
stores_nothing_right = wrong(
    "scale_and_add", "stores_nothing_right", "first differs at place 0", ("scale * x + y", "scale * x - y")
)

stride_is_columns = wrong(
    "softmax_rows", "stride_is_columns", "You multiply by `columns`", ("row * x_stride", "row * columns")
)
strides_exchanged = wrong(
    "softmax_rows", "strides_exchanged", "for y it is `y_stride`", ("row * y_stride", "row * x_stride")
)
row_zero = wrong("softmax_rows", "row_zero", "Every program works on row 0", ("tl.program_id(0)", "tl.program_id(1)"))
one_column_apart = wrong("softmax_rows", "one_column_apart", "not one column", ("row * x_stride", "row"))
reads_the_gap = wrong(
    "softmax_rows", "reads_the_gap", "reads column 5 of its row", (', mask=inside, other=-float("inf")', "")
)
writes_the_gap = wrong(
    "softmax_rows",
    "writes_the_gap",
    "writes column 5 of its row",
    ("tl.sum(weight, 0), mask=inside", "tl.sum(weight, 0)"),
)
no_other = wrong("softmax_rows", "no_other", "y is not a number", (', other=-float("inf")', ""))
other_is_zero = wrong(
    "softmax_rows", "other_is_zero", "after the maximum is subtracted", ('-float("inf")', "float('-inf')"),
    ("tl.exp(x - tl.max(x, 0))", "tl.exp(tl.where(inside, x - tl.max(x, 0), 0.0))"),
)  # fmt: skip
zeros_without_maximum = wrong(
    "softmax_rows", "zeros_without_maximum", "e⁰ = 1 is added to the sum for each", ('-float("inf")', "0.0"),
    ("x - tl.max(x, 0)", "x"),
)  # fmt: skip
no_maximum = wrong("softmax_rows", "no_maximum", "e²⁰⁰ is too large", ("x - tl.max(x, 0)", "x"))
no_division = wrong(
    "softmax_rows", "no_division", "divide by the sum of the exponentials", ("weight / tl.sum(weight, 0)", "weight")
)

the_race = wrong(
    "row_sums", "the_race", "Reading, adding and writing must be one step",
    ("tl.atomic_add(sums_ptr + row, tl.sum(x, 0))",
     "tl.store(sums_ptr + row, tl.load(sums_ptr + row) + tl.sum(x, 0))"),
)  # fmt: skip
the_last_one_wins = wrong("row_sums", "the_last_one_wins", "overwrites", ("tl.atomic_add", "tl.store"))
sums_beyond_the_row = wrong(
    "row_sums", "sums_beyond_the_row", "behind its end", ("mask=column < columns, other=0.0", "")
)
sums_undefined_lanes = wrong("row_sums", "sums_undefined_lanes", "the sums are not numbers", (", other=0.0", ""))
the_first_block_only = wrong(
    "row_sums", "the_first_block_only", "only the first block", ("mask=column < columns", "mask=column < BLOCK")
)
the_first_row_only = wrong("row_sums", "the_first_row_only", "the sum of row 0", ("row * columns + column", "column"))
sums_of_the_blocks = wrong(
    "row_sums", "sums_of_the_blocks", "first differs at row 0", ("sums_ptr + row", "sums_ptr + tl.program_id(1)")
)

no_state = wrong(
    "ema_scan", "no_state", "state is never read",
    ("h = tl.load(state_ptr + sequence * channels + channel, mask=exists)", "h = tl.zeros((BLOCK,), tl.float32)"),
)  # fmt: skip
state_is_overwritten = wrong(
    "ema_scan",
    "state_is_overwritten",
    "incoming state has no effect",
    ("for t in range", "h = 0.0 * h\n    for t in range"),
)
sequences_meet = wrong(
    "ema_scan", "sequences_meet", "write into sequence 0", ("(sequence * length + t) * channels", "t * channels")
)
channels_that_are_none = wrong(
    "ema_scan",
    "channels_that_are_none",
    "Lanes without a channel must be masked",
    ("channel < channels", "channel >= 0"),
)
steps_too_near = wrong(
    "ema_scan",
    "steps_too_near",
    "comes to channel 4",
    ("(sequence * length + t) * channels", "sequence * length * channels + t"),
)
weights_exchanged = wrong(
    "ema_scan", "weights_exchanged", "changed places", ("alpha * x + (1 - alpha) * h", "(1 - alpha) * x + alpha * h")
)
one_step_late = wrong(
    "ema_scan", "one_step_late", "one step late",
    ("        h = alpha * x + (1 - alpha) * h\n        tl.store(y_ptr + at, h, mask=exists)",
     "        tl.store(y_ptr + at, h, mask=exists)\n        h = alpha * x + (1 - alpha) * h"),
)  # fmt: skip
no_last_state = wrong(
    "ema_scan", "no_last_state", "nobody writes last[0]",
    ("    tl.store(last_ptr + sequence * channels + channel, h, mask=exists)\n", ""),
)  # fmt: skip
the_first_state_again = wrong(
    "ema_scan", "the_first_state_again", "the one that came in",
    ("    tl.store(last_ptr + sequence * channels + channel, h,",
     "    first = tl.load(state_ptr + sequence * channels + channel, mask=exists)\n"
     "    tl.store(last_ptr + sequence * channels + channel, first,"),
)  # fmt: skip

NEWEST = "h = tl.sum(tl.where((t == newest)[:, None], y, 0.0), 0)"
lost_at_the_edge = wrong("ema_in_chunks", "lost_at_the_edge", "the memory is lost", (NEWEST, "h = 0.0 * h"))
never_handed_on = wrong("ema_in_chunks", "never_handed_on", "the state that came in", (f"        {NEWEST}\n", ""),
                        ("        newest = tl.minimum(CHUNK, length - first) - 1\n", ""))  # fmt: skip
only_the_chunk_before = wrong(
    "ema_in_chunks", "only_the_chunk_before", "only the tokens of the chunk just before",
    (NEWEST, NEWEST.replace("y, 0.0", "y - fade[:, None] * h[None, :], 0.0")),
)  # fmt: skip
fades_too_little = wrong("ema_in_chunks", "fades_too_little", "one time too few", ("(t + 1) * log2", "t * log2"))
fades_too_much = wrong("ema_in_chunks", "fades_too_much", "one time too often", ("(t + 1) * log2", "(t + 2) * log2"))
sees_the_future = wrong(
    "ema_in_chunks", "sees_the_future", "contain the future",
    ("tl.where(age >= 0, alpha * tl.exp2(tl.maximum(age, 0) * log2_decay), 0.0)", "alpha * tl.exp2(age * log2_decay)"),
)  # fmt: skip
the_last_row = wrong(
    "ema_in_chunks",
    "the_last_row",
    "the last chunk has only 5 steps",
    ("tl.minimum(CHUNK, length - first) - 1", "CHUNK - 1"),
)
undefined_steps = wrong(
    "ema_in_chunks", "undefined_steps", "an undefined, masked lane", ("x = tl.load(x_ptr + at, mask=inside, other=0.0)",
                                                                "x = tl.load(x_ptr + at, mask=inside)"),
)  # fmt: skip
steps_beyond_the_end = wrong(
    "ema_in_chunks",
    "steps_beyond_the_end",
    "behind its end: there are 1480",
    ("(first + t < length)[:, None] &", "(t >= 0)[:, None] &"),
)

no_weights = wrong(
    "ema_in_chunks",
    "no_weights",
    "y is 0 everywhere",
    ("tl.where(age >= 0, alpha *", "tl.where(age >= 0, 0.0 *"),
    ("+ fade[:, None] * h[None, :]", ""),
)
no_memory = wrong("ema_in_chunks", "no_memory", "y lacks what came in with h", ("+ fade[:, None] * h[None, :]", ""))

"""What chapter 10 says of the kernels that were timed on a GPU."""

import pytest

from megalodon_edu.measure.first_kernels import CHUNKS, LENGTH, ROWS, SEQUENCES, from_json
from megalodon_edu.recordings import recording

FOUND = from_json(recording("first_kernels").about)
SPEEDS = {speed.kernel: speed for speed in FOUND.speeds}
SHARES = {name: round(100 * FOUND.share(speed)) for name, speed in SPEEDS.items()}


def test_it_is_what_the_code_measures_today():
    names = ["EMA step by step", *(f"EMA in chunks of {chunk}" for chunk in CHUNKS)]
    expected = ["vector add", "softmax", "prefix sum", *(f"{name}, {where}" for where in SEQUENCES for name in names)]
    assert list(SPEEDS) == expected
    assert SPEEDS["vector add"].shape == (LENGTH,) and SPEEDS["softmax"].shape == ROWS
    assert {SPEEDS[f"EMA step by step, {where}"].shape for where in SEQUENCES} == set(SEQUENCES.values())


def test_three_kernels_are_as_fast_as_the_copy():
    assert [SHARES[name] for name in ("vector add", "softmax", "prefix sum")] == [101, 98, 96]
    beaten = [name for name, speed in SPEEDS.items() if speed.milliseconds < speed.torch_milliseconds]
    assert "vector add" not in beaten and {"softmax", "prefix sum"} < set(beaten)


def test_steps_wait_and_chunks_do_not():
    slow, many = (SPEEDS[f"EMA step by step, {where}"] for where in SEQUENCES)
    assert (slow.programs, many.programs) == (128, 16 * 128)
    assert round(1e6 * slow.milliseconds / 4096) == 390
    assert slow.milliseconds / many.milliseconds == pytest.approx(10, abs=0.5)
    assert [SHARES[f"EMA step by step, {where}"] for where in SEQUENCES] == [6, 57]
    assert [SHARES[f"EMA in chunks of 32, {where}"] for where in SEQUENCES] == [73, 85]
    for where in SEQUENCES:
        assert SHARES[f"EMA in chunks of 64, {where}"] < SHARES[f"EMA in chunks of 32, {where}"]


def test_tf32_loses_digits_that_three_products_keep():
    assert FOUND.errors["tf32"] > 1e-4 and max(FOUND.errors["tf32x3"], FOUND.errors["ieee"]) < 1e-6

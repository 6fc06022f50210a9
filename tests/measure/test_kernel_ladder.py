"""What the rungs of chapter 11 move and compute, by hand, and the recording's form."""

import json

import pytest
import torch

from megalodon_edu.measure import ladder
from megalodon_edu.measure.ladder import CEMA_RUNGS, NORM_RUNGS, Case, Counted, Device, Ladder, Time, count, least

CASE = Case()  # (8, 4096, 1024) in bfloat16: 67 MB for a pass
PASS = 8 * 4096 * 1024 * 2


def test_passes_by_hand():
    states = 8 * 16 * 1024 * 16 * 8  # 16 segments in each sequence, 16 complex modes
    assert [count(rung, CASE).moved for rung in CEMA_RUNGS] == [
        *[2 * PASS] * 2,
        *[3 * PASS + 4 * states] * 4,
    ]
    assert count("walk", CASE).moved == 2 * PASS == least(CASE)
    assert count("two passes", CASE).moved == 3 * PASS + 8 * 8 * 4096 * 32 * 4


def test_a_number_on_its_own_costs_a_sector():
    for rung in ("naive", "chunks", "tensor cores"):
        passes = 2 if rung == "naive" else 3
        states = count(rung, CASE).moved - passes * PASS
        assert count(rung, CASE).asked == 16 * passes * PASS + states
    for rung in ("coalesced", "segments", "channel tiles", *NORM_RUNGS):
        assert count(rung, CASE).asked == count(rung, CASE).moved


def test_operations_and_programs_by_hand():
    values = CASE.values
    assert count("naive", CASE).operations == 2 * values * (7 * 16 + 1)
    assert count("segments", CASE).operations == 2 * values * (12 * 16 + 1)
    assert count("channel tiles", CASE).operations == 2 * values * (16 + 6 * 16 + 2 * 4)
    programs = [count(rung, CASE).programs for rung in CEMA_RUNGS]
    assert programs == [8 * 1024, 8 * 32, 8 * 16 * 32, 8 * 1024, 8 * 1024, 8 * 64]
    assert [count(rung, CASE).programs for rung in NORM_RUNGS] == [8 * 32, 8 * 32 * 64]
    assert [count(rung, CASE).unit for rung in CEMA_RUNGS] == ["ordinary"] * 4 + ["tensor"] * 2


def test_one_segment_needs_no_first_walk():
    whole = CASE._replace(segment=CASE.length)
    assert count("channel tiles", whole).moved == 2 * PASS
    assert count("channel tiles", whole).operations == 2 * whole.values * (16 + 4 * 16 + 4)


def test_the_floor_is_the_larger_of_two_times():
    device = Device(bytes_per_second=2.0, ordinary=3.0, tensor=30.0, multiprocessors=1)
    assert device.floor(Counted(10, 10, 3, 1, "ordinary")) == 5
    assert device.floor(Counted(10, 10, 30, 1, "ordinary")) == 10
    assert device.floor(Counted(10, 10, 30, 1, "tensor")) == 5


def test_a_recording_comes_back_from_its_file():
    found = Ladder(
        Device(3e12, 5e13, 7e14, 132), "a card", [Time("CEMA", "naive", (8, 4096, 1024), 1.5, 1e-3)],
        {"sum": 1e-4}, [{"backend": "torch", "shape": [1, 8], "loss": 3.25}],
    )  # fmt: skip
    assert ladder.from_json(json.loads(json.dumps(ladder.to_json(found)))) == found


def test_it_is_measured_on_a_gpu_only():
    with pytest.raises(ValueError, match="device must be a CUDA GPU, got cpu; the interpreter's times mean nothing"):
        ladder.ladder(torch.device("cpu"))

"""What chapter 11 says of the ladder that was timed on a GPU."""

import pytest

from megalodon_edu.measure.ladder import (
    BACKWARD,
    CEMA_RUNGS,
    NORM_RUNGS,
    PACKAGE,
    SHAPES,
    Case,
    count,
    recorded,
)

FOUND = recorded()
TIMES = {(time.operator, time.rung, time.shape): time for time in FOUND.times}
RUNGS = {"CEMA": CEMA_RUNGS, "Timestep Norm": NORM_RUNGS}


def milliseconds(operator, rung, shape=SHAPES[0]):
    return TIMES[operator, rung, shape].milliseconds


def test_it_is_what_the_code_measures_today():
    expected = {
        (operator, rung, shape)
        for operator in RUNGS
        for rung in (*RUNGS[operator], PACKAGE, BACKWARD)
        for shape in SHAPES
    }
    assert set(TIMES) == expected
    assert all(time.error is None or time.error < 1e-2 for time in FOUND.times)
    assert "H100" in FOUND.name and FOUND.device.multiprocessors == 132


@pytest.mark.parametrize("operator", RUNGS)
def test_no_rung_beats_its_floor(operator):
    for rung in RUNGS[operator]:
        floor = 1e3 * FOUND.device.floor(count(rung, Case()))
        assert milliseconds(operator, rung) > 0.9 * floor  # the cache may have part of what a rung reads twice


@pytest.mark.parametrize("shape", SHAPES)
def test_the_ladder_leads_up(shape):
    assert milliseconds("CEMA", "naive") > 3e3 * FOUND.device.floor(count("naive", Case()))  # "far from its floor"
    assert milliseconds("CEMA", "segments", shape) < milliseconds("CEMA", "coalesced", shape)  # "the time fell"
    for operator, rungs in RUNGS.items():
        assert milliseconds(operator, PACKAGE, shape) < milliseconds(operator, rungs[0], shape) / 3
        assert milliseconds(operator, PACKAGE, shape) < milliseconds(operator, BACKWARD, shape)


def test_a_sum_over_products_is_rounded_as_tf32():
    errors = FOUND.product_errors
    assert min(errors["sum"], errors["tf32"]) > 1e-5 and max(errors["ieee"], errors["tf32x3"]) < 1e-6


def test_the_tensor_cores_roof_is_more_than_ten_times_as_high():
    assert FOUND.device.tensor > 10 * FOUND.device.ordinary


def test_the_model_is_the_same_and_faster():
    plain, fast = FOUND.model
    assert (plain["backend"], fast["backend"]) == ("torch", "triton")
    assert abs(plain["loss"] - fast["loss"]) < 0.05
    assert fast["milliseconds"] < plain["milliseconds"] and fast["peak_bytes"] < plain["peak_bytes"]

"""What a trace sees of kernels that are right, wrong, and at war with each other."""

import pytest

pytest.importorskip("triton", reason="the tracer runs Triton's interpreter")
import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from megalodon_edu.kernels import first_kernels as kernels
from megalodon_edu.kernels.availability import interpreting
from megalodon_edu.kernels.tracing import trace


@triton.jit
def shift(x_ptr, y_ptr, length, by, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + at, tl.load(x_ptr + at + by), mask=at < length)


@triton.jit
def add_to_one(x_ptr, total_ptr, BLOCK: tl.constexpr, ATOMIC: tl.constexpr):
    total = tl.sum(tl.load(x_ptr + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)), 0)
    if ATOMIC:
        tl.atomic_add(total_ptr, total)
    else:
        tl.store(total_ptr, tl.load(total_ptr) + total)


@triton.jit
def copy_column(x_ptr, y_ptr, stride, BLOCK: tl.constexpr):
    row = tl.arange(0, BLOCK)
    tl.store(y_ptr + row, tl.load(x_ptr + row * stride))


@triton.jit
def first_load_is_undefined(x_ptr, y_ptr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(y_ptr + at, tl.load(x_ptr + at, mask=at > 0))


def numbers(*shape):
    return torch.arange(1.0, 1 + torch.Size(shape).numel()).reshape(shape)


def test_results_are_those_of_the_kernel_and_every_program_is_named():
    x, y, out = numbers(10), numbers(10), torch.zeros(10)
    found = trace(kernels._vector_add_kernel, (3,), x, y, out, 10, BLOCK=4)
    assert torch.equal(out, x + y)
    assert [access.program for access in found.of("write")] == [(0,), (1,), (2,)]
    assert found.places("write", "out", program=2) == [8, 9] and found.of("write", program=2)[0].lanes == 4
    assert (found.bytes, found.sectors) == (3 * 40, 3 * 3)
    assert not found.outside() and not found.races()
    assert "3 programs, 120 bytes, 9 sectors" in repr(found)


def test_backwards_begins_with_the_last_program():
    out = torch.zeros(8)
    found = trace(shift, (2,), numbers(8), out, 8, 0, BLOCK=4, backwards=True)
    assert [access.program for access in found.of("write")] == [(1,), (0,)] and torch.equal(out, numbers(8))


@pytest.mark.parametrize(("by", "wrong"), [(3, [8, 9, 10]), (-2, [-2, -1]), (100, list(range(100, 108)))])
def test_lanes_outside_are_seen_and_do_no_harm(by, wrong):
    out = torch.zeros(8)
    found = trace(shift, (2,), numbers(8), out, 8, by, BLOCK=4)
    assert sorted(place for access in found.outside() for place in access.outside.tolist()) == wrong
    assert {access.tensor for access in found.outside()} == {"x"}
    assert out.isnan().sum() == len(wrong) and "lanes outside the tensors" in repr(found)


def test_the_gap_between_rows_is_outside():
    wide = numbers(2, 6)
    found = trace(shift, (1,), wide[:, :4], torch.zeros(8), 8, 0, BLOCK=8)
    assert found.outside()[0].outside.tolist() == [4, 5]


def test_a_store_outside_changes_nothing_and_one_inside_a_view_lands_in_its_base():
    base = torch.zeros(3, 4)
    trace(shift, (1,), numbers(8), base[1], 8, 0, BLOCK=8)
    assert base.tolist() == [[0] * 4, [1, 2, 3, 4], [0] * 4]


def test_a_race_is_found_although_the_interpreter_gets_it_right():
    for atomic, races in ((False, 1), (True, 0)):
        total = torch.zeros(1)
        found = trace(add_to_one, (2,), numbers(8), total, BLOCK=4, ATOMIC=atomic)
        assert total.item() == 36 and len(found.races()) == races
    race = trace(add_to_one, (2,), numbers(8), torch.zeros(1), BLOCK=4, ATOMIC=False).races()[0]
    assert (race.tensor, race.place, race.programs, race.kinds) == ("total", 0, ((0,), (1,)), ("write", "write"))


def test_strides_cost_sectors_not_bytes():
    apart, side_by_side = (
        trace(copy_column, (1,), numbers(32, 16), torch.zeros(32), stride, BLOCK=32).of("read")[0] for stride in (16, 1)
    )
    assert apart.bytes == side_by_side.bytes == 128
    assert (apart.sectors, side_by_side.sectors) == (32, 4)


def test_a_masked_lane_without_other_is_undefined():
    out = torch.zeros(4)
    trace(first_load_is_undefined, (1,), numbers(4), out, BLOCK=4)
    assert out[0].isnan() and out[1:].tolist() == [2, 3, 4]


def test_library_functions_and_loops_work_in_every_process():
    x, y = numbers(2, 40), torch.zeros(2, 40)
    trace(kernels._prefix_sum_kernel, (2,), x, y, 40, BLOCK=16)
    torch.testing.assert_close(y, x.cumsum(1))


def test_what_a_kernel_raises_comes_through():
    with pytest.raises(TypeError, match="missing"):
        trace(shift, (1,), numbers(8))


@pytest.mark.skipif(interpreting(), reason="this process interprets every kernel")
def test_kernels_are_compiled_as_before_after_a_trace():
    def ptx():
        source = ASTSource(add_to_one, {"x_ptr": "*fp32", "total_ptr": "*fp32", "BLOCK": "constexpr",
                                        "ATOMIC": "constexpr"}, {(2,): 64, (3,): True})  # fmt: skip
        return triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]

    before = ptx()
    trace(add_to_one, (2,), numbers(8), torch.zeros(1), BLOCK=4, ATOMIC=True)
    assert isinstance(tl.sum, triton.JITFunction) and ptx() == before

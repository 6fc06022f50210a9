"""The tile stepper's addresses are those of a real kernel."""

import numpy as np
import pytest

pytest.importorskip("triton", reason="a kernel is traced")
import torch
import triton
import triton.language as tl

from megalodon_edu.explorers import TileStepperExplorer
from megalodon_edu.explorers.tile_stepper import ORDERS
from megalodon_edu.kernels.tracing import trace

ALONG, DOWN, THROUGH = ORDERS


@triton.jit
def copy(x_ptr, y_ptr, outer_stride, inner_stride, inner, pieces, BLOCK: tl.constexpr):
    at = tl.program_id(0) % pieces * BLOCK + tl.arange(0, BLOCK)
    place = tl.program_id(0) // pieces * outer_stride + at * inner_stride
    tl.store(y_ptr + place, tl.load(x_ptr + place, mask=at < inner), mask=at < inner)


@pytest.mark.parametrize("order", ORDERS)
def test_it_shows_what_a_kernel_does(order):
    gap = 0 if order == THROUGH else 3
    explorer = TileStepperExplorer(rows=6, columns=13, gap=gap, block=4, order=order)
    values, stride = explorer.values(), 13 + gap
    outer, inner, strides = {
        ALONG: (6, 13, (stride, 1)), DOWN: (13, 6, (1, stride)), THROUGH: (1, 6 * 13, (0, 1))
    }[order]  # fmt: skip
    x, pieces = torch.zeros(6, stride), -(-inner // 4)
    found = trace(copy, (outer * pieces,), x[:, :13], x.clone()[:, :13], *strides, inner, pieces, BLOCK=4)
    loads = found.of("read")
    assert not found.outside()
    np.testing.assert_array_equal(values["sectors"], [load.sectors for load in loads])
    row, column, exists = explorer.lanes()
    for load, places, some in zip(loads, row * stride + column, exists, strict=True):
        assert load.places.tolist() == places[some].tolist()

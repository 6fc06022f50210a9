"""The kernels of chapter 10 against PyTorch and the loop in float64."""

import pytest
import torch

from megalodon_edu.kernels import first_kernels as kernels
from megalodon_edu.measure.first_kernels import first_kernels, from_json, precision_errors, to_json
from megalodon_edu.ops.ema import ema_reference


def normal(device, *shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


@pytest.mark.parametrize("length", [1, 1023, 1024, 2500])
def test_vector_add(device, length):
    x, y = normal(device, length), normal(device, length, seed=1)
    assert torch.equal(kernels.vector_add(x, y), x + y)


@pytest.mark.parametrize("columns", [1, 33, 64])
def test_softmax_of_rows_that_lie_apart(device, columns):
    wide = 100 * normal(device, 5, 64)
    torch.testing.assert_close(kernels.softmax_rows(wide[:, :columns]), wide[:, :columns].softmax(1))


@pytest.mark.parametrize("columns", [1, 16, 40])
def test_prefix_sum_walks_over_blocks(device, columns):
    x = normal(device, 3, columns)
    torch.testing.assert_close(kernels.prefix_sum(x, block=16), x.cumsum(1))


@pytest.mark.parametrize("form", [kernels.ema_scan, kernels.ema_in_chunks])
@pytest.mark.parametrize("alpha", [0.001, 0.3, 1.0])
@pytest.mark.parametrize(("length", "channels"), [(1, 5), (37, 70)])
def test_ema(device, form, alpha, length, channels):
    x, state = normal(device, 2, length, channels), normal(device, 2, channels, seed=1)
    every = torch.full((channels,), alpha, dtype=torch.float64)
    for given in (None, state):
        start = given if given is None else given.cpu().double()
        expected = ema_reference(x.cpu().double(), every, start)
        for found, truth in zip(form(x, alpha, given), expected, strict=True):
            assert (found.cpu() - truth).norm() <= 1e-5 * truth.norm()


@pytest.mark.parametrize("form", [kernels.ema_scan, kernels.ema_in_chunks])
def test_ema_streams_in_pieces(device, form):
    x = normal(device, 2, 50, 20)
    whole, last = form(x, 0.2)
    first, state = form(x[:, :21].contiguous(), 0.2)
    second, streamed = form(x[:, 21:].contiguous(), 0.2, state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(streamed, last)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: kernels.vector_add(x[0], x[0].double()), "y must be float32, got torch.float64"),
        (lambda x: kernels.vector_add(x[0], x[0, :3]), r"y must have the shape \(8,\) on cpu, got \(3,\)"),
        (lambda x: kernels.softmax_rows(x.T), "x must have its columns side by side, got a stride of 8"),
        (lambda x: kernels.prefix_sum(x.T), r"x must be contiguous, got strides \(1, 8\)"),
        (lambda x: kernels.prefix_sum(x, block=12), "block must be a power of 2 from 1 on, got 12; take 16"),
        (lambda x: kernels.ema_scan(x[None], 1.5), "alpha must lie between 0.0 and 1.0, got 1.5"),
        (lambda x: kernels.ema_scan(x[None], 0.5, x), r"state must have the shape \(1, 8\) on cpu, got \(4, 8\)"),
        (lambda x: kernels.ema_in_chunks(x[None], 0.5, chunk=8), "chunk must be a power of 2 from 16 on, got 8"),
        (lambda x: kernels.ema_in_chunks(x[None], 0.5, precision="half"), "precision must be one of tf32"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(torch.ones(4, 8))


def test_errors_by_precision_are_small_without_tensor_cores(device):
    found = precision_errors(device)
    assert found["ieee"] < 1e-6 and found["tf32x3"] < 1e-5
    assert set(found) == set(kernels.PRECISIONS)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="times kernels on a CUDA GPU")
def test_every_kernel_is_measured():
    found = first_kernels(torch.device("cuda"), repeats=2, scale=16)
    assert len(found.speeds) == 11 and all(speed.milliseconds > 0 for speed in found.speeds)
    assert [speed.bytes for speed in from_json(to_json(found)).speeds] == [speed.bytes for speed in found.speeds]

"""Timestep Norm in Triton: values, last state and every gradient against the loop in float64."""

import pytest
import torch

from megalodon_edu.kernels import timestep_norm_triton
from megalodon_edu.kernels.timestep_norm import Blocks, _backward, _forward
from megalodon_edu.ops.timestep_norm import TimestepNormState, timestep_norm_parallel, timestep_norm_reference

NAMES = ("y", "mean", "var", "dx", "dweight", "dbias", "dmean", "dvar")
TILE = Blocks.of(1000, 5, 33)
"""The tiles of 5 groups of 33 features: several of them across time and across groups, none of them filled."""


def make(device, batch, time, groups, width, dtype=torch.float32):
    torch.manual_seed(time)
    x = (3 + torch.randn(batch, time, groups * width)).to(dtype)
    weight, bias = torch.randn(2, groups * width)
    mean, var = torch.randn(batch, groups), 0.1 + torch.rand(batch, groups)
    return [tensor.to(device) for tensor in (x, weight, bias, mean, var)]


def run(face, inputs, groups, with_state=True, mask=None):
    """Return y, the last mean and var, every gradient (by random weights), and the last count."""
    x, weight, bias, mean, var = (tensor.detach().clone().requires_grad_() for tensor in inputs)
    count = torch.arange(len(x), device=x.device) * 5  # 0 for the first sequence: a state that knows nothing
    state = TimestepNormState(count, mean, var) if with_state else None
    y, last = face(x, weight, bias, groups, state, mask)
    torch.manual_seed(1)
    parts = (y, last.mean, last.var)
    draws = [torch.randn(part.shape).to(part) for part in parts]
    loss = sum((part * draw).sum() for part, draw in zip(parts, draws, strict=True))
    wanted = (x, weight, bias, mean, var) if with_state else (x, weight, bias)
    return [*parts, *torch.autograd.grad(loss, wanted)], last.count


def assert_close(inputs, groups, limit=1e-5, truth=timestep_norm_reference, **how):
    found, count = run(timestep_norm_triton, inputs, groups, **how)
    expected, expected_count = run(truth, [tensor.double() for tensor in inputs], groups, **how)
    assert torch.equal(count, expected_count)
    for name, a, b in zip(NAMES, found, expected, strict=False):
        error, size = (a.double() - b).norm(), b.norm()  # a state of no tokens has gradients of exactly 0
        assert error <= limit * size, f"{name}: {error / size:.2e}"


@pytest.mark.parametrize("with_state", [True, False], ids=["state", "no state"])
@pytest.mark.parametrize("time", [1, 2, TILE.time + 1, 2 * TILE.time + 9])
def test_against_the_loop(device, time, with_state):
    assert TILE.group_blocks > 1
    assert_close(make(device, 2, time, 5, 33), 5, with_state=with_state)


def test_a_last_mean_near_zero_keeps_its_digits(device):
    """It is the small difference of the state's mean, far away, and of what the tokens add."""
    torch.manual_seed(1)
    x, weight, bias = torch.randn(1, 2600, 32, device=device), *torch.zeros(2, 32, device=device)
    count, mean, var = torch.tensor([5]), torch.randn(1, 4), torch.ones(1, 4)
    state = TimestepNormState(*(part.to(device) for part in (count, mean, var)))
    _, last = timestep_norm_triton(x, weight, bias, 4, state)
    wide = TimestepNormState(state.count, state.mean.double(), state.var.double())
    _, truth = timestep_norm_parallel(x.double(), weight.double(), bias.double(), 4, wide)
    assert (last.mean - truth.mean).norm() <= 1e-5 * truth.mean.norm()


@pytest.mark.parametrize(("groups", "width"), [(1, 5), (6, 1), (3, 2)])
def test_few_and_narrow_groups(device, groups, width):
    assert_close(make(device, 2, 70, groups, width), groups)


def test_a_group_wider_than_a_row_of_a_tile(device):
    assert Blocks.of(9, 1, 300).time < TILE.time
    assert_close(make(device, 1, 2 * Blocks.of(9, 1, 300).time + 1, 2, 300), 2)


@pytest.mark.parametrize("with_state", [True, False], ids=["state", "no state"])
def test_padding_anywhere(device, with_state):
    inputs = make(device, 4, TILE.time + 20, 3, 2)
    mask = torch.rand(inputs[0].shape[:2], device=device) < 0.4
    mask[1, : TILE.time + 3] = True  # a whole block of padding, then a late first token
    mask[2], mask[3, 5:] = True, True  # nothing but padding, and an early last token
    if with_state:
        assert_close(inputs, 3, mask=mask)
    else:
        kept = [0, 1, 3]  # a sequence of padding without a past has no statistics to compare: all are 0
        assert_close(
            [inputs[0][kept], *inputs[1:3], *(t[kept] for t in inputs[3:])], 3, with_state=False, mask=mask[kept]
        )


def test_what_stands_at_padding_is_never_read(device):
    x, weight, bias, _, _ = make(device, 2, 30, 3, 2)
    mask = torch.zeros(2, 30, dtype=torch.bool, device=device)
    mask[0, :4], mask[1, 10:13], mask[1, 29] = True, True, True
    results = []
    for filler in (0.0, torch.nan):
        filled = x.masked_fill(mask[..., None], filler).requires_grad_()
        y, last = timestep_norm_triton(filled, weight, bias, 3, None, mask)
        dy = torch.ones_like(y).masked_fill(mask[..., None], filler)
        results.append([y, last.mean, last.var, *torch.autograd.grad(y, filled, dy)])
        assert (y[mask] == 0).all() and (results[-1][-1][mask] == 0).all()
    for zero, nan in zip(*results, strict=True):
        assert torch.equal(zero, nan)


def test_a_sequence_of_padding_leaves_the_state_alone(device):
    x, weight, bias, mean, var = make(device, 2, 3, 3, 2)
    mask = torch.ones(2, 3, dtype=torch.bool, device=device)
    given = TimestepNormState(torch.tensor([0, 7], device=device), mean.requires_grad_(), var)
    y, last = timestep_norm_triton(x, weight, bias, 3, given, mask)
    torch.testing.assert_close(tuple(last), tuple(given))
    assert (y == 0).all()
    (gradient,) = torch.autograd.grad(last.mean.sum(), mean)
    torch.testing.assert_close(gradient, torch.ones_like(mean))


def test_streamed_in_pieces_equals_one_call(device):
    x, weight, bias, mean, var = make(device, 2, TILE.time + 30, 3, 2)
    start = TimestepNormState(torch.tensor([0, 4], device=device), mean, var)
    whole, last = timestep_norm_triton(x, weight, bias, 3, start)
    state, pieces = start, []
    for piece in x.split([1, 7, TILE.time, 22], 1):
        y, state = timestep_norm_triton(piece, weight, bias, 3, state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(tuple(state), tuple(last), rtol=1e-5, atol=1e-6)


def test_no_output_and_no_gradient_crosses_time_the_wrong_way(device):
    x, weight, bias, _, _ = make(device, 1, TILE.time + 30, 3, 2)
    plain, _ = timestep_norm_triton(x, weight, bias, 3)
    x[:, 20] += 1e6
    x.requires_grad_()
    y, _ = timestep_norm_triton(x, weight, bias, 3)
    assert torch.equal(y[:, :20], plain[:, :20])
    assert not torch.equal(y[:, 20:], plain[:, 20:])
    (gradient,) = torch.autograd.grad(y[:, :25].square().sum(), x)
    assert (gradient[:, 25:] == 0).all() and (gradient[:, :25] != 0).any()


def test_a_mean_of_1000_cancels_nothing(device):
    x, weight, bias, mean, var = make(device, 2, 2 * TILE.time + 9, 3, 2)
    assert_close([x + 1000, weight, bias, mean, var], 3, with_state=False)


def test_an_outlier_costs_no_digits(device):
    for position in (0, 5, TILE.time + 3):
        x, weight, bias, _, _ = make(device, 1, 2 * TILE.time + 9, 3, 2)
        x[:, position] += 1e4
        y, last = timestep_norm_triton(x, weight, bias, 3)
        truth, true_last = timestep_norm_parallel(x.double(), weight.double(), bias.double(), 3)
        torch.testing.assert_close(y.double(), truth, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(last.var.double(), true_last.var, rtol=1e-5, atol=0)


def test_more_blocks_than_the_scan_takes_at_once(device, monkeypatch):
    monkeypatch.setattr("megalodon_edu.kernels.timestep_norm.SCAN_TILE", (4, 2))
    monkeypatch.setattr("megalodon_edu.kernels.timestep_norm.LONGEST_BLOCK", 16)
    inputs = make(device, 2, 16 * 9 + 5, 3, 2)
    assert_close(inputs, 3)
    mask = torch.rand(inputs[0].shape[:2], device=device) < 0.4
    assert_close(inputs, 3, mask=mask)


def test_dtypes_go_through(device):
    inputs = make(device, 2, 5, 3, 2)
    x, weight, bias, mean, var = (tensor.half().requires_grad_() for tensor in inputs)
    state = TimestepNormState(torch.full((2,), 3, dtype=torch.int32, device=device), mean, var)
    y, last = timestep_norm_triton(x.mT.contiguous().mT, weight, bias, 3, state)
    assert (y.dtype, last.mean.dtype, last.var.dtype) == (torch.float16, torch.float32, torch.float32)
    gradients = torch.autograd.grad(y.sum() + last.mean.sum(), (x, weight, bias, mean, var))
    assert {gradient.dtype for gradient in gradients} == {torch.float16}
    with pytest.raises(TypeError, match="x must be float32, float16 or bfloat16, got torch.float64"):
        timestep_norm_triton(inputs[0].double(), *inputs[1:3], 3)
    with pytest.raises(ValueError, match="groups must divide channels, got groups=4 and channels=6"):
        timestep_norm_triton(*inputs[:3], 4)


def test_the_operators_are_registered_whole(device):
    """Schema, shapes without numbers, autograd, and a graph of the compiler."""
    x, weight, bias, mean, var = (t.requires_grad_() for t in make(device, 2, 5, 3, 2))
    count, mask = torch.tensor([0, 4], device=device), torch.zeros(2, 5, dtype=torch.bool, device=device)
    arguments = (x, weight, bias, count, mean, var, mask, 3, 1e-5, True)
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(_forward, arguments, test_utils=tests)
    y, *_, origin, running_mean, running_rstd = (part.detach() for part in _forward(*arguments))
    x, weight, mean = x.detach(), weight.detach(), mean.detach()
    arguments = (y, None, mean, x, weight, count, mean, None, 3, origin, running_mean, running_rstd)
    torch.library.opcheck(_backward, arguments, test_utils=tests[:2])


def test_a_compiled_function_gives_the_same(device):
    inputs = make(device, 2, 9, 3, 2)
    compiled = torch.compile(timestep_norm_triton, backend="aot_eager", fullgraph=True)
    for found, expected in zip(run(compiled, inputs, 3)[0], run(timestep_norm_triton, inputs, 3)[0], strict=True):
        assert torch.equal(found, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("shape", [(3, 4095, 32, 32), (2, 1000, 7, 96), (64, 37, 32, 32)])
def test_big_shapes_on_a_gpu(device, shape, dtype, limit):
    inputs = make(device, *shape, dtype)
    assert_close(inputs, shape[2], limit, timestep_norm_parallel)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_same_bits_every_time(device):
    inputs = make(device, 4, 4096, 32, 32, torch.bfloat16)
    first, _ = run(timestep_norm_triton, inputs, 32)
    for _ in range(5):
        for a, b in zip(first, run(timestep_norm_triton, inputs, 32)[0], strict=True):
            assert torch.equal(a, b)

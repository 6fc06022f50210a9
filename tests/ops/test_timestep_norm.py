"""Timestep Norm: parallel equals loop, streaming, padding, precision, and the errors people make."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timestep_norm_cases import assert_same, make

from megalodon_edu.nn import TimestepNorm
from megalodon_edu.ops.timestep_norm import TimestepNormState, timestep_norm_parallel, timestep_norm_reference

FACES = (timestep_norm_reference, timestep_norm_parallel)


def test_against_the_definition():
    x, weight, bias, groups, _ = make()
    for face in FACES:
        y, state = face(x, weight, bias, groups)
        for t in (0, 1, 17, 29):
            seen = x[:, : t + 1].unflatten(2, (groups, -1))
            mean, var = seen.mean((1, 3)), seen.var((1, 3), correction=0)
            normal = (x[:, t].unflatten(1, (groups, -1)) - mean[..., None]) / (var[..., None] + 1e-5).sqrt()
            torch.testing.assert_close(y[:, t], normal.flatten(1) * (weight + 1) + bias)
        torch.testing.assert_close((state.mean, state.var), (mean, var))
        assert state.count.tolist() == [30, 30]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(time=st.integers(1, 70), groups=st.integers(1, 3), seed=st.integers(0, 9), with_state=st.booleans())
def test_parallel_equals_loop_with_padding(time, groups, seed, with_state):
    x, weight, bias, groups, state = make(3, time, groups)
    torch.manual_seed(seed)
    mask = torch.rand(3, time) < 0.4
    mask[2] = True
    state = state if with_state else None
    assert_same(
        timestep_norm_parallel(x, weight, bias, groups, state, mask),
        timestep_norm_reference(x, weight, bias, groups, state, mask),
    )


def test_gradients_agree():
    x, weight, bias, groups, state = make()
    mask = torch.zeros(2, 30, dtype=torch.bool)
    mask[0, :4] = True
    gradients = []
    for face in FACES:
        inputs = [t.clone().requires_grad_() for t in (x, weight, bias, state.mean, state.var)]
        y, last = face(*inputs[:3], groups, TimestepNormState(state.count, *inputs[3:]), mask)
        torch.manual_seed(1)
        loss = (y * torch.randn(y.shape)).sum() + (last.mean * torch.randn(last.mean.shape)).sum() + last.var.sum()
        gradients.append(torch.autograd.grad(loss, inputs))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(cuts=st.lists(st.integers(1, 29), max_size=4, unique=True))
def test_streaming_in_any_pieces_equals_one_call(cuts):
    x, weight, bias, groups, _ = make()
    for face in FACES:
        whole = face(x, weight, bias, groups)
        state, pieces = None, []
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 30], strict=True):
            y, state = face(x[:, start:end], weight, bias, groups, state)
            pieces.append(y)
        assert_same((torch.cat(pieces, 1), state), whole)


def test_no_output_depends_on_a_later_input():
    x, weight, bias, groups, _ = make()
    changed = x.clone()
    changed[:, 20] += 100
    for face in FACES:
        difference = (face(changed, weight, bias, groups)[0] - face(x, weight, bias, groups)[0]).abs().amax((0, 2))
        assert difference[:20].max() < 1e-9
        assert difference[20:].min() > 1e-3


def test_padding_is_zero_and_leaves_the_state_alone():
    x, weight, bias, groups, state = make()
    mask = torch.zeros(2, 30, dtype=torch.bool)
    mask[:, 10:15] = True
    poisoned = x.masked_fill(mask[..., None], torch.nan)
    kept = x[:, ~mask[0]]
    for face in FACES:
        y, last = face(poisoned, weight, bias, groups, state, mask)
        assert (y[:, 10:15] == 0).all()
        assert_same((y[:, ~mask[0]], last), face(kept, weight, bias, groups, state))


def test_a_mean_of_1000_cancels_nothing_in_float32():
    torch.manual_seed(0)
    x = 1000 + torch.randn(1, 100_000, 4)
    zeros = torch.zeros(4)
    y, state = timestep_norm_parallel(x, zeros, zeros, 2)
    wide = x.double().unflatten(2, (2, 2))
    n = torch.arange(1, 100_001)[:, None]
    mean = wide.mean(-1).cumsum(1) / n
    var = ((wide - 1000) ** 2).mean(-1).cumsum(1) / n - (mean - 1000) ** 2
    truth = ((wide - mean[..., None]) / (var[..., None] + 1e-5).sqrt()).flatten(2)
    assert (y - truth).abs().max() < 1e-5
    torch.testing.assert_close(state.mean.double(), mean[:, -1], rtol=1e-6, atol=0)
    torch.testing.assert_close(state.var.double(), var[:, -1], rtol=1e-5, atol=0)


def test_gradients_at_a_mean_of_1000_in_float32():
    torch.manual_seed(0)
    x, weights = 1000 + torch.randn(2, 5000, 4), torch.randn(2, 5000, 4)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        inputs = x.to(dtype).requires_grad_()
        y, _ = timestep_norm_parallel(inputs, torch.zeros(4, dtype=dtype), torch.zeros(4, dtype=dtype), 2)
        gradients.append(torch.autograd.grad((y * weights).sum(), inputs)[0])
    assert (gradients[0] - gradients[1]).norm() / gradients[1].norm() < 1e-6


def test_an_outlier_at_the_first_token_costs_no_digits():
    torch.manual_seed(0)
    x = torch.randn(1, 3000, 4)
    x[:, 0] += 1e6
    zeros = torch.zeros(4)
    y, _ = timestep_norm_parallel(x, zeros, zeros, 1)
    truth, _ = timestep_norm_parallel(x.double(), zeros, zeros, 1)
    assert (y - truth).abs().max() < 1e-5 * truth.abs().max()


def test_state_stays_wide_in_bfloat16_and_under_autocast():
    norm = TimestepNorm(8, 2).bfloat16()
    y, state = norm(torch.randn(2, 600, 8).bfloat16())
    assert y.dtype == torch.bfloat16
    assert (state.count.dtype, state.mean.dtype, state.var.dtype) == (torch.int64, torch.float32, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        _, state = TimestepNorm(8, 2)(torch.randn(2, 600, 8))
    assert state.mean.dtype == torch.float32


def test_first_token_equals_group_norm_and_prior_joins_in():
    x = torch.randn(3, 1, 8)
    torch.testing.assert_close(TimestepNorm(8, 2)(x)[0][:, 0], torch.nn.functional.group_norm(x[:, 0], 2))
    prior = TimestepNorm(8, 8, prior_count=4)
    _, state = prior(x)
    assert state.count.tolist() == [5, 5, 5]
    torch.testing.assert_close(state.mean, x[:, 0] / 5)


def test_a_prior_counts_as_tokens_that_were_seen_and_streams():
    torch.manual_seed(0)
    prior = TimestepNorm(6, 3, prior_count=4).double()
    torch.nn.init.normal_(prior.prior_mean)
    torch.nn.init.normal_(prior.prior_logv)
    loop = TimestepNorm(6, 3, prior_count=4, backend="reference").double()
    loop.load_state_dict(prior.state_dict())
    x = torch.randn(2, 9, 6, dtype=torch.float64)
    whole, last = prior(x)
    seen = x.unflatten(2, (3, 2))
    mean, second = prior.prior_mean, prior.prior_mean**2 + prior.prior_logv.exp()
    mean = (4 * mean + 9 * seen.mean((1, 3))) / 13
    torch.testing.assert_close(last.mean, mean)
    torch.testing.assert_close(last.var, (4 * second + 9 * (seen**2).mean((1, 3))) / 13 - mean**2)
    first, state = prior(x[:, :4])
    rest, state = prior(x[:, 4:], state)
    assert_same((torch.cat([first, rest], 1), state), (whole, last))
    gradients = []
    for module in (prior, loop):
        (module(x)[0] * torch.arange(6)).square().sum().backward()
        gradients.append({n: p.grad for n, p in module.named_parameters()})
    assert gradients[0]["prior_mean"].abs().min() > 0 and gradients[0]["prior_logv"].abs().min() > 0
    torch.testing.assert_close(gradients[0], gradients[1])


def test_bad_input_is_named():
    x, weight, bias, groups, state = make()
    with pytest.raises(ValueError, match="groups must divide channels, got groups=4 and channels=6"):
        timestep_norm_parallel(x, weight, bias, 4)
    with pytest.raises(TypeError, match="padding_mask must be bool"):
        timestep_norm_parallel(x, weight, bias, groups, None, torch.zeros(2, 30))
    with pytest.raises(ValueError, match=r"state.count must have the shape \(batch=2\), got \(1,\)"):
        timestep_norm_parallel(x, weight, bias, groups, TimestepNormState(*(s[:1] for s in state)))
    with pytest.raises(TypeError, match="state must be None or TimestepNormState, got tuple"):
        timestep_norm_parallel(x, weight, bias, groups, tuple(state))
    with pytest.raises(TypeError, match=r"state.count must be integers, got torch.float64"):
        timestep_norm_parallel(x, weight, bias, groups, state._replace(count=state.count.double()))
    with pytest.raises(TypeError, match=r"state.mean is None; pass the whole state"):
        timestep_norm_parallel(x, weight, bias, groups, state._replace(mean=None))
    with pytest.raises(TypeError, match=r"weight must hold floating-point numbers, got torch.int64"):
        timestep_norm_parallel(x, weight.long(), bias, groups)
    with pytest.raises(ValueError, match=r"x must not be empty, got the shape \(0, 30, 6\)"):
        timestep_norm_parallel(x[:0], weight, bias, groups)
    with pytest.raises(ValueError, match="prior_count must be at least 2 when groups equals model_dim"):
        TimestepNorm(8, 8)
    with pytest.raises(ValueError, match="groups must divide model_dim, got groups=3 and model_dim=8"):
        TimestepNorm(8, 3)

"""Timestep decay norm: the definition, parallel equals loop, streaming, padding, precision, and its limit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timestep_norm_cases import assert_same, make

from megalodon_edu.nn import TimestepDecayNorm, TimestepNorm
from megalodon_edu.ops.timestep_decay_norm import timestep_decay_norm_parallel, timestep_decay_norm_reference
from megalodon_edu.ops.timestep_norm import TimestepNormState, timestep_norm_reference

FACES = (timestep_decay_norm_reference, timestep_decay_norm_parallel)
DECAYS = (0.9, 0.97)


def adams_average(values, decay):
    """The average of (batch, time, group) as the released code keeps it: uncorrected, divided where it is used."""
    raw, found = torch.zeros_like(values[:, 0]), []
    for n, value in enumerate(values.unbind(1), start=1):
        raw = decay * raw + (1 - decay) * value
        found.append(raw / (1 - decay**n))
    return torch.stack(found, 1)


def test_against_the_definition():
    x, weight, bias, groups, _ = make(time=600)
    tokens = x.unflatten(2, (groups, -1))
    mean = adams_average(tokens.mean(-1), DECAYS[0])
    var = adams_average(tokens.var(-1, correction=0), DECAYS[1])
    expected = ((tokens - mean[..., None]) / (var[..., None] + 1e-5).sqrt()).flatten(2) * (weight + 1) + bias
    for face in FACES:
        y, state = face(x, weight, bias, groups, *DECAYS)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close((state.mean, state.var), (mean[:, -1], var[:, -1]))
        assert state.count.tolist() == [600, 600]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(time=st.sampled_from([1, 2, 7, 60, 255, 256, 300]), seed=st.integers(0, 9), with_state=st.booleans())
def test_parallel_equals_loop_with_padding(time, seed, with_state):
    x, weight, bias, groups, state = make(3, time, 2)
    torch.manual_seed(seed)
    mask = torch.rand(3, time) < 0.4
    mask[2] = True
    state = state if with_state else None
    found, expected = (face(x, weight, bias, groups, *DECAYS, state, mask) for face in reversed(FACES))
    assert_same(found, expected)
    assert_same(
        timestep_decay_norm_parallel(x, weight, bias, groups, *DECAYS, state),
        timestep_decay_norm_reference(x, weight, bias, groups, *DECAYS, state),
    )


def test_gradients_agree():
    x, weight, bias, groups, state = make()
    mask = torch.zeros(2, 30, dtype=torch.bool)
    mask[0, :4] = True
    for padding in (mask, None):
        gradients = []
        for face in FACES:
            inputs = [t.clone().requires_grad_() for t in (x, weight, bias, state.mean, state.var)]
            y, last = face(*inputs[:3], groups, *DECAYS, TimestepNormState(state.count, *inputs[3:]), padding)
            torch.manual_seed(1)
            loss = (y * torch.randn(y.shape)).sum() + (last.mean * torch.randn(last.mean.shape)).sum()
            gradients.append(torch.autograd.grad(loss + last.var.sum(), inputs))
        for found, expected in zip(*gradients, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(cuts=st.lists(st.integers(1, 29), max_size=4, unique=True))
def test_streaming_in_any_pieces_equals_one_call(cuts):
    x, weight, bias, groups, _ = make()
    for face in FACES:
        whole = face(x, weight, bias, groups, *DECAYS)
        state, pieces = None, []
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 30], strict=True):
            y, state = face(x[:, start:end], weight, bias, groups, *DECAYS, state)
            pieces.append(y)
        assert_same((torch.cat(pieces, 1), state), whole)


def test_no_output_depends_on_a_later_input():
    x, weight, bias, groups, _ = make()
    changed = x.clone()
    changed[:, 20] += 100
    for face in FACES:
        difference = face(changed, weight, bias, groups)[0] - face(x, weight, bias, groups)[0]
        assert difference[:, :20].abs().max() < 1e-9
        assert difference[:, 20:].abs().amax((0, 2)).min() > 1e-3


def test_padding_is_zero_and_leaves_the_state_alone():
    x, weight, bias, groups, state = make()
    mask = torch.zeros(2, 30, dtype=torch.bool)
    mask[:, :3] = mask[:, 10:15] = mask[:, 28:] = True
    poisoned = x.masked_fill(mask[..., None], torch.nan)
    for face in FACES:
        for before in (state, None):
            y, last = face(poisoned, weight, bias, groups, *DECAYS, before, mask)
            assert (y[:, mask[0]] == 0).all()
            kept = face(x[:, ~mask[0]], weight, bias, groups, *DECAYS, before)
            assert_same((y[:, ~mask[0]], last), kept)


def test_the_past_fades_as_fast_as_its_decay_says():
    """After a jump of the mean, what is left of the old one is β to the number of steps."""
    x = torch.zeros(1, 5000, 2, dtype=torch.float64)
    x[:, 2500:] = 1
    zeros = torch.zeros(2)
    _, before = timestep_decay_norm_parallel(x[:, :2500], zeros, zeros, 1, 0.99, 0.99)
    _, after = timestep_decay_norm_parallel(x[:, 2500:2600], zeros, zeros, 1, 0.99, 0.99, before)
    assert 1 - after.mean.item() == pytest.approx(0.99**100)


def test_its_mean_is_timestep_norms_where_nothing_fades_and_one_token_is_the_same():
    x, weight, bias, groups, _ = make()
    _, cumulative = timestep_norm_reference(x, weight, bias, groups)
    for face in FACES:
        _, slow = face(x, weight, bias, groups, 1 - 1e-9, 1 - 1e-9)
        torch.testing.assert_close(slow.mean, cumulative.mean)
        assert (slow.var < cumulative.var).all()  # the spread of the tokens' means is left out
        first, _ = face(x[:, :1], weight, bias, groups)
        torch.testing.assert_close(first, timestep_norm_reference(x[:, :1], weight, bias, groups)[0])


@pytest.mark.parametrize("shift", [0, 1000])
def test_float32_is_close_to_float64_also_far_from_zero(shift):
    torch.manual_seed(0)
    x = (shift + torch.randn(1, 20_000, 4)).double()
    zeros = torch.zeros(4)
    truth, state = timestep_decay_norm_parallel(x, zeros, zeros, 2)
    found, narrow = timestep_decay_norm_parallel(x.float(), zeros, zeros, 2)
    rounded, _ = timestep_decay_norm_parallel(x.float().double(), zeros, zeros, 2)
    assert (found - rounded).norm() / truth.norm() < 1e-5
    assert narrow.mean.dtype == torch.float32
    torch.testing.assert_close(narrow.mean.double(), state.mean, rtol=1e-6, atol=1e-6)


def test_the_module_takes_timestep_norms_weights_and_keeps_its_state_wide():
    torch.manual_seed(0)
    cumulative, fading = TimestepNorm(8, 2), TimestepDecayNorm(8, 2, 0.9, 0.95)
    torch.nn.init.normal_(cumulative.weight)
    fading.load_state_dict(cumulative.state_dict())
    x = torch.randn(2, 40, 8)
    y, state = fading(x)
    assert not torch.allclose(y, cumulative(x)[0], atol=1e-2)
    narrow, state = fading.bfloat16()(x.bfloat16())
    assert narrow.dtype == torch.bfloat16
    assert (state.count.dtype, state.mean.dtype, state.var.dtype) == (torch.int64, torch.float32, torch.float32)


def test_bad_input_is_named():
    x, weight, bias, groups, state = make()
    for face in FACES:
        with pytest.raises(ValueError, match="mean_decay must lie between 0 and 1 and be neither, got 1"):
            face(x, weight, bias, groups, 1)
        with pytest.raises(TypeError, match="var_decay must be a number, got 'slow'"):
            face(x, weight, bias, groups, 0.5, "slow")
        with pytest.raises(ValueError, match="groups must divide channels, got groups=4 and channels=6"):
            face(x, weight, bias, 4)
        with pytest.raises(TypeError, match="state must be None or TimestepNormState, got tuple"):
            face(x, weight, bias, groups, state=tuple(state))
    with pytest.raises(ValueError, match="groups must be smaller than model_dim, got 8 for both"):
        TimestepDecayNorm(8, 8)

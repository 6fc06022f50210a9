"""The modules: shapes of the parameters, precision, streaming, causality, backends."""

import pytest
import torch

from megalodon_edu import nn

MODULES = {
    "damped": lambda **k: nn.DampedEMA(8, 3, **k),
    "complex": lambda **k: nn.ComplexEMA(8, 3, **k),
    "norm": lambda **k: nn.TimestepNorm(8, 2, **k),
    "mega": lambda **k: nn.MegaGatedAttention(8, 4, 6, 3, 5, **k),
    "normalized": lambda **k: nn.NormalizedAttention(8, 4, 6, 2, 3, 5, 2, **k),
}


def perturbed(module):
    """Away from the zeros of the initialisation, in float64."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return module.double()


@pytest.mark.parametrize("name", MODULES)
def test_backends_agree_and_stream(name):
    torch.manual_seed(0)
    module = perturbed(MODULES[name]())
    loop = MODULES[name](backend="reference").double()
    loop.load_state_dict(module.state_dict())
    x = torch.randn(2, 23, 8, dtype=torch.float64)
    whole, _ = module(x)
    torch.testing.assert_close(loop(x)[0], whole)
    state, pieces = None, []
    for a, b in ((0, 1), (1, 5), (5, 6), (6, 18), (18, 23)):
        y, state = module(x[:, a:b], state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole)


@pytest.mark.parametrize("name", MODULES)
def test_no_output_depends_on_a_later_input(name):
    torch.manual_seed(0)
    module = perturbed(MODULES[name]())
    x = torch.randn(1, 23, 8, dtype=torch.float64)
    changed = x.clone()
    changed[:, 13] += torch.randn(8)
    difference = (module(changed)[0] - module(x)[0]).abs().amax((0, 2))
    assert difference[:13].max() < 1e-10
    assert difference[13] > 1e-6


@pytest.mark.parametrize("name", MODULES)
def test_every_parameter_gets_a_gradient(name):
    torch.manual_seed(0)
    module = perturbed(MODULES[name]())
    y, _ = module(torch.randn(2, 11, 8, dtype=torch.float64))
    (y**3).sum().backward()
    missing = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert missing == []


@pytest.mark.parametrize("name", ["complex", "damped"])
def test_moving_averages_survive_bfloat16_and_autocast(name):
    torch.manual_seed(0)
    module = MODULES[name]()
    x = torch.randn(2, 40, 8)
    y, _ = module(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(module(x)[0], y)
    before = {n: p.clone() for n, p in module.named_parameters()}
    module.to(torch.bfloat16)
    for n, p in module.named_parameters():
        assert p.dtype == torch.float32 and torch.equal(p, before[n])
    narrow, state = module(x.bfloat16())
    assert narrow.dtype == torch.bfloat16
    assert state.dtype == (torch.complex64 if name == "complex" else torch.float32)


def test_both_backends_of_attention_agree_under_autocast():
    torch.manual_seed(0)
    module = MODULES["normalized"]()
    module.gamma.data.fill_(30)  # large logits: rounded to bfloat16 they would be far off
    loop = MODULES["normalized"](backend="reference")
    loop.load_state_dict(module.state_dict())
    x = torch.randn(2, 23, 8)
    with torch.autocast("cpu", torch.bfloat16):
        fast, slow = module(x)[0], loop(x)[0]
    assert (fast - slow).norm() / fast.norm() < 1e-3


def test_damped_ema_starts_as_published():
    torch.manual_seed(0)
    ema = nn.DampedEMA(256, 8)
    alpha, delta, beta, eta = ema.coefficients()
    assert 0.7 < (1 - alpha * delta).mean() < 0.8
    signs = torch.tensor([1.0, -1] * 4, dtype=torch.float64)
    torch.testing.assert_close(beta.mean(0), signs, rtol=0, atol=0.01)
    assert eta.std().item() == pytest.approx(8**-0.5, rel=0.05)


def test_complex_ema_has_the_released_shapes_and_start():
    torch.manual_seed(0)
    ema = nn.ComplexEMA(64, 16)
    shapes = {n: tuple(p.shape) for n, p in ema.named_parameters()}
    assert shapes == {
        "alpha": (64, 16, 1),
        "delta": (64, 16, 1),
        "theta": (64, 1, 1),
        "gamma": (64, 16, 2),
        "omega": (64, 1),
    }
    alpha, delta, theta, eta, _ = ema.coefficients()
    assert 0.7 < (1 - alpha * delta).mean() < 0.8
    assert (eta.imag == 0).all()
    base = theta[:, 0] * 16 / (2 * torch.pi)
    expected = torch.exp(-torch.arange(1, 65) * torch.log(torch.tensor(64.0)) / 64).double()
    torch.testing.assert_close(base.sort(descending=True).values, expected, rtol=1e-5, atol=0)
    _, state = ema(torch.randn(2, 5, 64))
    assert state.shape == (2, 64, 16) and state.is_complex()


def test_one_channel_works():
    y, state = nn.ComplexEMA(1, 1)(torch.randn(1, 6, 1))
    assert y.isfinite().all() and state.isfinite().all()


def test_norms_against_torch():
    x = torch.randn(3, 8)
    torch.testing.assert_close(nn.RMSNorm(8)(x), torch.nn.functional.rms_norm(x, (8,), eps=1e-5))
    torch.testing.assert_close(nn.LayerNorm(8)(x), torch.nn.functional.layer_norm(x, (8,)))
    norm = nn.RMSNorm(8)
    norm.weight.data += 1
    torch.testing.assert_close(norm(x), 2 * nn.RMSNorm(8)(x))


def test_logits_of_normalized_attention_are_at_most_one_at_the_start():
    torch.manual_seed(0)
    attention = nn.NormalizedAttention(8, 4, 6, 2, 3, 16, 2)
    q, k = attention.queries_and_keys(1000 * torch.randn(1, 16, 8), held=0)
    logits = torch.einsum("bthd,bshd->bhts", q, k)
    assert logits.abs().max() <= 1 + 1e-5


def test_two_hop_is_the_identity_when_the_feed_forward_is_silent():
    torch.manual_seed(0)
    attention, feed_forward = nn.NormalizedAttention(8, 4, 6, 2, 3, 5, 2), nn.FeedForward(8, 16, swiglu=True)
    feed_forward.fc2.weight.data.zero_()
    x = torch.randn(2, 9, 8)
    assert torch.equal(nn.TwoHopBlock(attention, feed_forward)(x)[0], x)
    assert not torch.equal(nn.PreNormBlock(attention, feed_forward)(x)[0], x)


def test_blocks_follow_their_equations():
    torch.manual_seed(0)
    a, f = nn.NormalizedAttention(8, 4, 6, 2, 3, 5, 2), nn.FeedForward(8, 16, rescale=0.1)
    x = torch.randn(2, 9, 8)
    middle = x + a(x)[0]
    torch.testing.assert_close(nn.TwoHopBlock(a, f)(x)[0], x + f(middle))
    torch.testing.assert_close(nn.PreNormBlock(a, f)(x)[0], middle + f(middle))
    post = nn.LayerNorm(8)(middle)
    torch.testing.assert_close(nn.PostNormBlock(a, f, 8)(x)[0], nn.LayerNorm(8)(post + f(post)))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="backend must be one of auto, reference, torch, triton, got 'cuda'"):
        nn.ComplexEMA(4, 2, backend="cuda")
    with pytest.raises(ValueError, match="modes must be at least 1, got 0"):
        nn.ComplexEMA(4, 0)
    with pytest.raises(ValueError, match="num_heads must divide z_dim"):
        nn.NormalizedAttention(8, 5, 6, 2, 3, 5, 2)
    with pytest.raises(ValueError, match="num_heads must be at least 1, got 0"):
        nn.NormalizedAttention(8, 4, 6, 0, 3, 5, 2)
    with pytest.raises(ValueError, match="attention_dropout must lie between 0.0 and 1.0, got 2.0"):
        nn.NormalizedAttention(8, 4, 6, 2, 3, 5, 2, attention_dropout=2.0)
    with pytest.raises(ValueError, match="rope_base must be a finite number above 0, got nan"):
        nn.NormalizedAttention(8, 4, 6, 2, 3, 5, 2, rope_base=float("nan"))
    with pytest.raises(ValueError, match="hidden_dropout must lie between 0.0 and 1.0, got -1"):
        nn.FeedForward(8, 16, hidden_dropout=-1.0)
    with pytest.raises(TypeError, match="rescale must be a number, got 'a'"):
        nn.FeedForward(8, 16, rescale="a")
    with pytest.raises(ValueError, match=r"x must have the shape \(batch, time, channel=8\)"):
        MODULES["normalized"]()(torch.randn(2, 5, 7))
    with pytest.raises(ValueError, match="x must have 8 features in its last dimension"):
        nn.RMSNorm(8)(torch.randn(2, 7))
    for norm in (nn.RMSNorm(8), nn.LayerNorm(8), nn.FeedForward(8, 16)):
        with pytest.raises(
            TypeError, match="x must be a .*ensor, got NoneType|x must be a torch tensor .*got NoneType"
        ):
            norm(None)
        with pytest.raises(TypeError, match="x must hold floating-point numbers, got torch.int64"):
            norm(torch.ones(1, 2, 8, dtype=torch.long))
    with pytest.raises(ValueError, match=r"x must have 8 features in its last dimension, got the shape \(\)"):
        nn.RMSNorm(8)(torch.tensor(1.0))
    with pytest.raises(TypeError, match="x must be a torch tensor"):
        nn.ComplexEMA(4, 2)(None)
    _, state = MODULES["normalized"]()(torch.randn(2, 3, 8))
    for field in state._fields:
        with pytest.raises(TypeError, match=f"state.{field} is None; pass the whole state"):
            MODULES["normalized"]()(torch.randn(2, 5, 8), state._replace(**{field: None}))
    with pytest.raises(ValueError, match="eps must be a finite number above 0, got 0"):
        nn.TimestepNorm(8, 2, eps=0.0)
    with pytest.raises(TypeError, match="state must be None or NormalizedAttentionState, got tuple"):
        MODULES["normalized"]()(torch.randn(2, 5, 8), (None, None, None))

"""The microscope on operators whose derivative is known, on layers of the package, and on a layer that cheats."""

import pytest
import torch

from megalodon_edu import nn
from megalodon_edu.measure.receptive_field import future_influence, open_paths, receptive_field
from megalodon_edu.ops.attention import chunked_attention
from megalodon_edu.ops.ema import ema_reference

TIME, CHUNK = 14, 5


@pytest.fixture
def x():
    return torch.randn(TIME, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def megalodon():
    torch.manual_seed(0)
    sizes = {"model_dim": 4, "z_dim": 4, "value_dim": 6, "num_heads": 1, "modes": 3}
    return nn.NormalizedAttention(**sizes, chunk_size=CHUNK, norm_num_groups=2).double().eval()


@pytest.fixture
def mega():
    torch.manual_seed(0)
    return nn.MegaGatedAttention(model_dim=4, z_dim=4, value_dim=6, modes=3, chunk_size=CHUNK).double().eval()


def test_a_matrix_over_time_and_one_over_channels_are_found(x):
    torch.manual_seed(1)
    over_time = torch.randn(TIME, TIME, dtype=torch.float64)
    over_channels = torch.randn(4, 7, dtype=torch.float64)
    field = receptive_field(lambda x: torch.einsum("t s, b s c, c d -> b t d", over_time, x, over_channels), x)
    torch.testing.assert_close(field, over_time.abs() * over_channels.norm())


def test_the_field_of_an_average_is_its_kernel(x):
    alpha = torch.tensor([0.5, 0.25, 0.1, 0.9], dtype=torch.float64)
    field = receptive_field(lambda x: ema_reference(x, alpha), x)
    age = torch.arange(TIME)[:, None] - torch.arange(TIME)
    kernel = alpha * (1 - alpha) ** age.clamp(min=0)[..., None]
    torch.testing.assert_close(field, kernel.norm(dim=-1).tril())


def test_the_field_is_the_jacobian_of_any_function(x):
    def function(x):
        return (x.cumsum(1) * x.flip(1)).tanh()[..., :3]

    blocks = torch.autograd.functional.jacobian(lambda x: function(x[None])[0], x)
    torch.testing.assert_close(receptive_field(function, x), blocks.norm(dim=(1, 3)))


def test_equal_weights_inside_a_chunk(x):
    zeros = torch.zeros(TIME, TIME, 1, 2, dtype=torch.float64)
    field = receptive_field(lambda x: chunked_attention(zeros, zeros, x[:, :, None], CHUNK)[0].squeeze(2), x[:, :1])
    for t in range(TIME):
        start = t - t % CHUNK
        expected = [1 / (t - start + 1) if start <= s <= t else 0 for s in range(TIME)]
        assert field[t].tolist() == pytest.approx(expected)


def test_a_layer_that_sees_the_future_is_caught(x):
    def leaky(x):
        return x - 0.01 * x.roll(-3, 1)

    leaks = future_influence(receptive_field(leaky, x))
    assert leaks == [(t, t + 3) for t in range(TIME - 3)]
    assert future_influence(receptive_field(lambda x: x - x.mean(1, keepdim=True), x))[0] == (0, 1)
    assert future_influence(torch.eye(3)) == []


def test_the_layers_of_the_package_are_causal(x, mega, megalodon):
    for layer in (mega, megalodon, nn.ComplexEMA(4, 2), nn.DampedEMA(4, 2), nn.TimestepNorm(4, 2)):
        assert future_influence(receptive_field(layer.double(), x)) == [], type(layer).__name__


def test_attention_alone_stops_at_the_edge_and_the_two_states_cross_it(x, megalodon):
    same_chunk = torch.arange(TIME)[:, None] // CHUNK == torch.arange(TIME) // CHUNK
    past = torch.ones(TIME, TIME, dtype=torch.bool).tril()
    seen = {path: receptive_field(open_paths(megalodon, (path,)), x) > 1e-9 for path in ("cache", "ema", "norm")}
    assert torch.equal(seen["cache"], same_chunk & past)
    assert torch.equal(seen["ema"], past)
    assert torch.equal(seen["norm"], past)
    assert torch.equal(receptive_field(open_paths(megalodon, ()), x) > 1e-9, torch.eye(TIME, dtype=torch.bool))


def test_with_every_path_open_the_stream_is_the_layer(x, mega, megalodon):
    for layer, paths in ((mega, ("ema", "cache")), (megalodon, ("norm", "ema", "cache"))):
        torch.testing.assert_close(receptive_field(open_paths(layer, paths), x), receptive_field(layer, x))
        torch.testing.assert_close(open_paths(layer, ())(x[None]), layer(x[None])[0])


def test_an_ignored_step_is_zero_and_parameters_get_no_gradient(x, megalodon):
    field = receptive_field(lambda x: x[:, :1].expand_as(x), x)
    assert field[:, 0].tolist() == [2.0] * TIME and not field[:, 1:].any()
    receptive_field(megalodon, x)
    assert all(parameter.grad is None for parameter in megalodon.parameters())
    with torch.no_grad():
        assert receptive_field(lambda x: 3 * x, x)[2, 2] == 6


def test_bad_input_is_named(x, megalodon):
    with pytest.raises(ValueError, match=r"x must have the shape \(time, channel\), got \(1, 14, 4\)"):
        receptive_field(megalodon, x[None])
    with pytest.raises(TypeError, match="x must hold floating-point numbers, got torch.int64"):
        receptive_field(megalodon, x.long())
    with pytest.raises(ValueError, match="x must not be empty"):
        receptive_field(megalodon, x[:0])
    with pytest.raises(ValueError, match=r"y must have the shape \(batch, time=14, channel\), got .*: time is 13"):
        receptive_field(lambda x: x[:, 1:], x)
    with pytest.raises(TypeError, match="y must be a torch tensor .* got int"):
        receptive_field(lambda x: 3, x)
    with pytest.raises(ValueError, match="function must return what autograd can follow back to x"):
        receptive_field(lambda x: x.detach(), x)
    with pytest.raises(ValueError, match="field must have the shape"):
        future_influence(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"paths must name parts of the state, \('norm', 'ema', 'cache'\), got cema"):
        open_paths(megalodon, ("cema",))(x[None])

"""Megalodon and the Transformer: counts, streaming, state size, weights, generation."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from megalodon_edu.models import (
    Megalodon,
    MegalodonConfig,
    Transformer,
    TransformerConfig,
    generate,
    load_reference_weights,
    match_transformer,
    megalodon_state_bytes,
    state_bytes,
    transformer_state_bytes,
)
from megalodon_edu.models.generate import sample

COUNTS = {
    "200M": 220_627_968,
    "1.3B": 1_342_832_640,
    "1.3B-PG19": 1_327_628_288,
    "7.1B": 7_117_381_632,
    "7.3B": 7_385_817_088,
}
TINY = MegalodonConfig(
    num_layers=2,
    model_dim=16,
    num_heads=2,
    z_dim=8,
    value_dim=12,
    ffn_hidden_dim=24,
    cema_ndim=3,
    chunk_size=7,
    norm_num_groups=4,
    vocab_size=32,
    rescale_nffn=True,
    swiglu=True,
)


def megalodon(**changes):
    torch.manual_seed(0)
    return Megalodon(replace(TINY, **changes)).double().eval()


def transformer(**changes):
    torch.manual_seed(0)
    sizes = {"num_layers": 2, "model_dim": 16, "num_heads": 4, "kv_heads": 2, "ffn_hidden_dim": 24, "vocab_size": 32}
    return Transformer(TransformerConfig(**(sizes | changes))).double().eval()


@pytest.mark.parametrize("name", COUNTS)
def test_presets_have_the_published_number_of_parameters(name):
    with torch.device("meta"):
        assert Megalodon(MegalodonConfig.preset(name)).parameter_count() == COUNTS[name]


def test_our_presets_and_their_matched_transformers():
    for name, most in (("tiny", 1_000_000), ("small", 16_000_000)):
        config = MegalodonConfig.preset(name)
        with torch.device("meta"):
            ours = Megalodon(config).parameter_count()
            theirs = Transformer(match_transformer(config)).parameter_count()
        assert ours <= most
        assert abs(theirs / ours - 1) < 0.02


@pytest.mark.parametrize("make", [megalodon, transformer])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(cuts=st.lists(st.integers(1, 39), max_size=6, unique=True))
def test_any_split_gives_the_logits_of_one_call(make, cuts):
    model = make()
    tokens = torch.randint(0, 32, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole, _ = model(tokens)
        state, pieces = None, []
        for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 40], strict=True):
            logits, state = model(tokens[:, a:b], state)
            pieces.append(logits)
    assert (torch.cat(pieces, 1) - whole).abs().max() < 1e-9


@pytest.mark.parametrize("make", [megalodon, transformer])
def test_no_logit_depends_on_a_later_token(make):
    model = make()
    tokens = torch.randint(0, 32, (1, 30), generator=torch.Generator().manual_seed(1))
    changed = tokens.clone()
    changed[0, 17] = (changed[0, 17] + 1) % 32
    difference = (model(changed)[0] - model(tokens)[0]).abs().amax((0, 2))
    assert difference[:17].max() < 1e-10
    assert difference[17] > 1e-6


def test_backends_agree():
    model = megalodon()
    loop = Megalodon(model.config, backend="reference").double()
    loop.load_state_dict(model.state_dict())
    tokens = torch.randint(0, 32, (2, 20))
    torch.testing.assert_close(loop(tokens)[0], model(tokens)[0])


@pytest.mark.parametrize("length", [1, 6, 7, 8, 700, 703])
def test_state_bytes_are_as_computed_and_bounded(length):
    model = megalodon().float()
    with torch.inference_mode():
        _, state = model(torch.randint(0, 32, (2, length)))
        assert state_bytes(state) == megalodon_state_bytes(TINY, length, batch=2)
        baseline = transformer().float()
        _, cache = baseline(torch.randint(0, 32, (2, length)))
    assert state_bytes(cache) == transformer_state_bytes(baseline.config, length, batch=2)
    assert state_bytes(state) <= megalodon_state_bytes(TINY, TINY.chunk_size - 1, batch=2)


def test_bfloat16_model_runs_and_keeps_its_averages_wide():
    model = megalodon().float().bfloat16()
    logits, state = model(torch.randint(0, 32, (2, 20)))
    assert logits.dtype == torch.float32 and logits.isfinite().all()
    assert state.layers[0].ema.dtype == torch.complex64
    assert state.norm.mean.dtype == torch.float32


def reference_names(model):
    """The model's weights under the released code's names, buffers included."""
    renamed = {}
    for name, tensor in model.state_dict().items():
        name = name.replace(".attention.", ".mega.").replace(".feed_forward.", ".nffn.")
        for ours, theirs in (("final_norm.", "output.final_norm."), ("output.weight", "output.output.weight")):
            name = theirs + name.removeprefix(ours) if name.startswith(ours) else name
        renamed[name] = tensor.clone()
    renamed["layers.0.mega.timenorm.prior_count"] = torch.tensor(0)
    renamed["output.final_norm.prior_mean"] = torch.zeros(4)
    return renamed


def test_reference_weights_load_by_name():
    source, target = megalodon(), Megalodon(TINY).double()
    weights = reference_names(source)
    load_reference_weights(target, weights)
    tokens = torch.randint(0, 32, (1, 20))
    torch.testing.assert_close(target(tokens)[0], source(tokens)[0])


def test_reference_weights_that_do_not_fit_change_nothing():
    source, target = megalodon(), Megalodon(TINY).double()
    before = {n: t.clone() for n, t in target.state_dict().items()}
    weights = reference_names(source)
    del weights["layers.1.mega.wz.bias"]
    weights["layers.9.mega.wz.bias"] = torch.zeros(8)
    weights["rope.freqs"] = torch.ones(2)
    with pytest.raises(ValueError) as error:
        load_reference_weights(target, weights)
    for part in ("missing: layers.1.mega.wz.bias", "unknown: layers.9.mega.wz.bias", "rope.freqs is not that of"):
        assert part in str(error.value)
    assert all(torch.equal(before[n], t) for n, t in target.state_dict().items())


def test_only_the_released_names_and_values_that_fit_the_model_are_taken():
    model = megalodon()
    with pytest.raises(
        ValueError, match=r"unknown: layers.0.attention.timenorm.weight.*missing: .*mega.timenorm.weight"
    ):
        load_reference_weights(model, model.state_dict())
    weights = reference_names(model)
    frequencies = 1e4 ** -torch.tensor([0.0, 0.5])
    turns = torch.polar(torch.ones(7, 2), torch.arange(7.0)[:, None] * frequencies)
    for freqs in (frequencies, frequencies.bfloat16(), turns):
        load_reference_weights(model, weights | {"rope.freqs": freqs})
    for name, value, message in (
        ("rope.freqs", 1e5 ** -torch.tensor([0.0, 0.5]), "rope.freqs is not that of rope_base=10000.0"),
        ("rope.freqs", turns[:1], "rope.freqs is not that of"),
        ("output.final_norm.prior_mean", torch.ones(4), "output.final_norm.prior_mean is not 0"),
        ("embed.prior_mean", torch.zeros(4), "unknown: embed.prior_mean"),
        ("embed.weight", torch.zeros(32, 8), r"embed.weight has the shape \(32, 8\), the model wants \(32, 16\)"),
        ("embed.weight", [1.0], "embed.weight is a list, not a tensor"),
    ):
        with pytest.raises(ValueError, match=message):
            load_reference_weights(model, weights | {name: value})
    with pytest.raises(TypeError, match="model must be a Megalodon, got Transformer"):
        load_reference_weights(transformer(), weights)
    with pytest.raises(TypeError, match="state_dict must be a Mapping, got str"):
        load_reference_weights(model, "weights.pt")


def test_tied_head_must_repeat_the_embedding():
    source, target = megalodon(share_emb=True), Megalodon(replace(TINY, share_emb=True)).double()
    weights = reference_names(source) | {"output.output.weight": source.embed.weight.clone()}
    load_reference_weights(target, weights)
    weights["output.output.weight"] += 1
    with pytest.raises(ValueError, match=r"output.output.weight differs from embed.weight"):
        load_reference_weights(target, weights)


@pytest.mark.parametrize("make", [megalodon, transformer])
def test_generation_is_seeded_streams_and_goes_on(make):
    model, prompt = make(), torch.tensor([1, 2, 3])
    seen = []
    first = generate(model, prompt, 12, seed=5, on_token=seen.append)
    assert seen == first.tokens.tolist()
    assert torch.equal(first.tokens, generate(model, prompt, 12, seed=5).tokens)
    greedy = generate(model, prompt, 12, temperature=0).tokens
    assert torch.equal(greedy, generate(model, prompt, 12, top_k=1).tokens)
    assert torch.equal(greedy, generate(model, prompt, 12, top_p=1e-9).tokens)
    part = generate(model, prompt, 5, temperature=0)
    rest = generate(model, part.tokens[-1:], 7, temperature=0, state=part.state)
    assert torch.equal(greedy, torch.cat([part.tokens, rest.tokens]))


def test_ctrl_c_returns_what_was_written():
    def stop(token, seen=[]):  # noqa: B006
        seen.append(token)
        if len(seen) == 4:
            raise KeyboardInterrupt

    result = generate(megalodon(), torch.tensor([1]), 100, on_token=stop)
    assert result.interrupted and len(result.tokens) == 4


def test_loss_is_the_cross_entropy_of_the_next_token():
    model, tokens = megalodon(), torch.randint(0, 32, (2, 12))
    expected = torch.nn.functional.cross_entropy(model(tokens[:, :-1])[0].flatten(0, 1), tokens[:, 1:].flatten())
    torch.testing.assert_close(model.loss(tokens), expected)
    torch.testing.assert_close(model.loss(tokens[:, :-1], tokens[:, 1:]), expected)


def test_bad_input_is_named():
    model = megalodon()
    with pytest.raises(ValueError, match=r"tokens must lie in 0 \.\. 31, got 0 to 40"):
        model(torch.tensor([[0, 40]]))
    with pytest.raises(TypeError, match="tokens must be integers"):
        model(torch.rand(1, 4))
    with pytest.raises(ValueError, match=r"tokens must not be empty, got the shape \(1, 0\)"):
        model(torch.zeros(1, 0, dtype=torch.long))
    with pytest.raises(ValueError, match="name must be one of 200M"):
        MegalodonConfig.preset("huge")
    with pytest.raises(ValueError, match="unknown fields of MegalodonConfig: depth"):
        MegalodonConfig.from_dict(TINY.to_dict() | {"depth": 3})
    assert MegalodonConfig.from_dict(TINY.to_dict()) == TINY
    with pytest.raises(ValueError, match=r"dropout must lie between 0.0 and 1.0, got 2"):
        replace(TINY, dropout=2.0)
    with pytest.raises(ValueError, match="prompt must hold at least one token"):
        generate(model, torch.tensor([], dtype=torch.long), 3)
    with pytest.raises(ValueError, match="top_p must lie in"):
        generate(model, torch.tensor([1]), 3, top_p=0.0)
    with pytest.raises(ValueError, match="temperature must be"):
        generate(model, torch.tensor([1]), 3, temperature=-1.0)
    _, state = model(torch.tensor([[1, 2]]))
    with pytest.raises(ValueError, match="state must come from this model"):
        model(torch.tensor([[3]]), state._replace(layers=state.layers[:1]))
    with pytest.raises(TypeError, match="state must be a ModelState, got int"):
        model(torch.tensor([[3]]), 3)
    with pytest.raises(TypeError, match=r"state.layers\[0\] must be a KVCache, got NormalizedAttentionState"):
        transformer()(torch.tensor([[3]]), state)
    with pytest.raises(TypeError, match=r"state.norm must be a TimestepNormState, got NoneType"):
        model(torch.tensor([[3]]), state._replace(norm=None))
    with pytest.raises(ValueError, match=r"state.count must have the shape \(batch=2\), got \(1,\)"):
        model(torch.tensor([[3], [4]]), state)
    with pytest.raises(TypeError, match="prompt must be a tensor of tokens, got str"):
        generate(model, "abc", 3)
    with pytest.raises(ValueError, match=r"prompt must have the shape \(time\) or \(1, time\), got \(2, 1\)"):
        generate(model, torch.tensor([[1], [2]]), 3)


def test_a_cache_that_does_not_fit_the_transformer_is_named():
    model, tokens = transformer(), torch.tensor([[1, 2]])
    _, state = model(tokens)
    cache = state.layers[0]
    for changed, message in (
        (cache._replace(keys=cache.keys[..., :2]), r"state.keys must have the shape .*key=4\), got .*key is 2"),
        (cache._replace(values=cache.values[:, :1]), r"state.values must have the shape \(batch=1, time=2"),
        (cache._replace(keys=cache.keys.long()), r"state.keys must hold floating-point numbers, got torch.int64"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            model(tokens, state._replace(layers=(changed, cache)))


def test_bad_sizes_are_named_before_a_model_is_built():
    for changes, message in (
        ({"z_dim": 6}, r"z_dim / num_heads must be even for the rotary embedding, got 6 / 2"),
        ({"num_heads": 3}, r"num_heads must divide z_dim, got num_heads=3 and z_dim=8; change one of them"),
        ({"norm_num_groups": 16}, r"norm_num_groups must be smaller than model_dim, got 16 for both"),
        ({"rope_base": float("inf")}, r"rope_base must be a finite number above 0, got inf"),
        ({"hidden_dropout": "half"}, r"hidden_dropout must be a number, got 'half'"),
        ({"share_emb": "yes"}, r"share_emb must be True or False, got 'yes'"),
        ({"swiglu": 1}, r"swiglu must be True or False, got 1"),
        ({"model_dim": 16.0}, r"model_dim must be an integer, got 16.0"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            replace(TINY, **changes)
    with pytest.raises(ValueError, match="missing fields of MegalodonConfig: ffn_hidden_dim, model_dim, num_heads"):
        MegalodonConfig.from_dict({"num_layers": 2})
    with pytest.raises(ValueError, match="kv_heads must divide num_heads, got kv_heads=3 and num_heads=4"):
        transformer(kv_heads=3)
    with pytest.raises(TypeError, match="config must be a MegalodonConfig, got str; make one with"):
        Megalodon("tiny")
    with pytest.raises(TypeError, match="config must be a TransformerConfig, got MegalodonConfig"):
        Transformer(TINY)


def test_what_a_helper_cannot_do_is_said():
    with pytest.raises(ValueError, match="num_heads must be at least 1, got 0"):
        match_transformer(TINY, num_heads=0)
    with pytest.raises(
        ValueError, match=r"no Transformer of the same depth and width: the nearest has .* times as many"
    ):
        match_transformer(replace(TINY, model_dim=128, ffn_hidden_dim=1, z_dim=2, value_dim=2, num_heads=1))
    with pytest.raises(ValueError, match="context must be at least 0, got -1"):
        megalodon_state_bytes(TINY, -1)
    with pytest.raises(TypeError, match="config must be a TransformerConfig, got MegalodonConfig"):
        transformer_state_bytes(TINY, 5)
    with pytest.raises(TypeError, match="model must be a LanguageModel, got NoneType"):
        generate(None, torch.tensor([1]), 3)
    with pytest.raises(TypeError, match="seed must be an integer, got 1.5"):
        generate(megalodon(), torch.tensor([1]), 3, seed=1.5)
    with pytest.raises(TypeError, match="temperature must be a number, got 'hot'"):
        generate(megalodon(), torch.tensor([1]), 3, temperature="hot")
    broken = megalodon()
    torch.nn.init.constant_(broken.embed.weight, torch.nan)
    for temperature in (0, 1.0):
        with pytest.raises(ValueError, match="logits must be finite, got 32 infinite or NaN of 32"):
            generate(broken, torch.tensor([1]), 3, temperature=temperature)
    with pytest.raises(ValueError, match=r"targets must lie in 0 \.\. 31, got 32 to 32"):
        megalodon().loss(torch.tensor([[1]]), torch.tensor([[32]]))
    with pytest.raises(TypeError, match=r"targets must be integers, got torch.float32"):
        megalodon().loss(torch.tensor([[1]]), torch.tensor([[2.0]]))


@pytest.mark.parametrize("make", [megalodon, transformer])
def test_bytes_may_come_in_any_integer_type(make):
    model, tokens = make(), torch.tensor([[3, 1, 30]])
    for dtype in (torch.uint8, torch.int16, torch.int32):
        assert torch.equal(model(tokens.to(dtype))[0], model(tokens)[0])


def test_temperature_near_zero_takes_the_likeliest_token():
    model, prompt = megalodon().float(), torch.tensor([1, 2])
    greedy = generate(model, prompt, 9, temperature=0).tokens
    for temperature in (1e-30, 1e-40, 1e-300):
        assert torch.equal(generate(model, prompt, 9, temperature=temperature).tokens, greedy)


def test_top_k_and_top_p_keep_the_likeliest_tokens_and_temperature_their_odds():
    logits, generator = torch.tensor([0.5, 0.2, 0.05, 0.25]).log(), torch.Generator().manual_seed(0)

    def shares(**options):
        drawn = torch.tensor([sample(logits, generator, **options) for _ in range(4000)])
        return torch.bincount(drawn, minlength=4) / 4000

    def close(found, expected):
        return (found - torch.tensor(expected)).abs().max() < 0.03

    assert close(shares(), [0.5, 0.2, 0.05, 0.25])
    assert close(shares(temperature=0.5), [0.70, 0.11, 0.01, 0.18])  # squares, scaled to 1
    assert close(shares(top_k=2), [2 / 3, 0, 0, 1 / 3])
    assert close(shares(top_p=0.75), [2 / 3, 0, 0, 1 / 3])
    assert close(shares(top_p=0.76), [0.5 / 0.95, 0.2 / 0.95, 0, 0.25 / 0.95])


def test_initialisation_is_that_of_the_released_code():
    torch.manual_seed(0)
    sizes = {"model_dim": 128, "num_heads": 1, "z_dim": 64, "value_dim": 256, "ffn_hidden_dim": 192, "vocab_size": 300}
    model = Megalodon(replace(TINY, **sizes, cema_ndim=16))
    block = model.layers[1]
    for module in block.modules():
        if isinstance(module, torch.nn.Linear):
            assert module.weight.std().item() == pytest.approx((3 * module.in_features) ** -0.5, rel=0.03)
            assert module.weight.abs().max() > 3 * module.weight.std()  # normal, not uniform
            assert module.bias is None or not module.bias.any()
    for table in (model.embed.weight, model.output.weight):
        assert table.std().item() == pytest.approx(0.986 * 128**-0.5, rel=0.03)  # the tails beyond 3 are cut off
        assert table.abs().max() <= 3 * 128**-0.5
    assert torch.equal(block.feed_forward.alpha, torch.full((128,), 0.05))
    assert torch.equal(model.layers[0].feed_forward.alpha, torch.full((128,), 0.1))
    zeros = ("gamma", "beta", "timenorm.weight", "timenorm.bias", "rmsnorm.weight")
    assert not any(block.attention.get_parameter(name).any() for name in zeros)
    cema = block.attention.cema
    for logits in (cema.alpha, cema.delta):
        assert logits.mean().abs() < 0.02 and logits.std().item() == pytest.approx(0.2, rel=0.05)
    assert cema.gamma[..., 0].std().item() == pytest.approx(1, rel=0.05) and not cema.gamma[..., 1].any()
    assert cema.omega.std().item() == pytest.approx(0.25, rel=0.2) and cema.omega.abs().max() <= 1


def test_one_layer_by_hand():
    """The whole model from its parameters, in plain formulas: a second reading of the paper."""
    model = megalodon(num_layers=1, chunk_size=50, scale_emb=True, share_emb=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    w = dict(model.named_parameters())
    tokens = torch.randint(0, 32, (1, 12))

    def timestep_norm(x, name):
        out = []
        for t in range(12):
            seen = x[: t + 1].unflatten(1, (4, 4))
            mean, var = seen.mean((0, 2)), seen.var((0, 2), correction=0)
            normal = (x[t].unflatten(0, (4, 4)) - mean[:, None]) / (var[:, None] + 1e-5).sqrt()
            out.append(normal.flatten() * (w[name + ".weight"] + 1) + w[name + ".bias"])
        return torch.stack(out)

    def linear(x, name):
        return x @ w[name + ".weight"].T + w.get(name + ".bias", 0)

    def rms(x):
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    a = "layers.0.attention."
    x = 4 * w["embed.weight"][tokens[0]]
    normal = timestep_norm(x, a + "timenorm")
    alpha, delta = (w[a + f"cema.{n}"].sigmoid()[..., 0] for n in ("alpha", "delta"))
    turn = torch.arange(1, 4) * w[a + "cema.theta"].sigmoid()[..., 0] * 2 * torch.pi / 3
    q = (1 - alpha * delta) * torch.exp(1j * turn)
    eta = torch.view_as_complex(w[a + "cema.gamma"]) / 3**0.5
    h, averaged = torch.zeros(16, 3, dtype=torch.complex128), []
    for x_t in normal:
        h = q * h + alpha * x_t[:, None]
        averaged.append((eta * h).sum(-1).real + w[a + "cema.omega"][:, 0] * x_t)
    mx = rms(torch.stack(averaged)) * (w[a + "rmsnorm.weight"] + 1)
    z = rms(linear(mx, a + "wz").unflatten(1, (2, 4)))
    gain, offset = (w[a + n].unflatten(1, (2, 4)) for n in ("gamma", "beta"))
    q, k = (z * (gain[i] + 1) / 2 + offset[i] for i in (0, 1))
    angles = torch.arange(12)[:, None] * 1e4 ** -torch.tensor([0.0, 0.5]).double()
    q, k = (torch.view_as_complex(t.unflatten(-1, (2, 2))) * torch.exp(1j * angles)[:, None] for t in (q, k))
    logits = torch.einsum("thp,shp->hts", q, k.conj()).real
    weights = logits.masked_fill(~torch.ones(12, 12).tril().bool(), -torch.inf).softmax(-1)
    silu = torch.nn.functional.silu
    v = silu(linear(normal, a + "wv")).unflatten(1, (2, 6))
    o = torch.einsum("hts,shd->thd", weights, v).flatten(1)
    middle = x + linear(mx, a + "wh1") + linear(o * silu(linear(mx, a + "wr")), a + "wh2")
    f = "layers.0.feed_forward."
    n = (middle - middle.mean(1, keepdim=True)) / (middle.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    n = n * (w[f + "norm.weight"] + 1) + w[f + "norm.bias"]
    update = linear(silu(linear(n, f + "fc1")) * linear(n, f + "fc3"), f + "fc2") * w[f + "alpha"]
    expected = timestep_norm(x + update, "final_norm") @ w["embed.weight"].T
    torch.testing.assert_close(model(tokens)[0][0], expected)


def test_shapes_without_numbers():
    with torch.device("meta"):
        model = Megalodon(MegalodonConfig.preset("7.3B"))
        logits, state = model(torch.zeros(1, 3, dtype=torch.long))
    assert logits.shape == (1, 3, 32_000)
    assert state.layers[31].ema.shape == (1, 4096, 16)


def test_the_attention_of_the_transformer_by_hand():
    torch.manual_seed(0)
    attention = transformer().layers[0].attention
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    found, cache = attention(x)
    n = attention.norm(x)
    angles = torch.arange(9)[:, None, None] * 1e4 ** -torch.tensor([0.0, 0.5], dtype=torch.float64)

    def turned(t):
        pairs = torch.view_as_complex(t.unflatten(-1, (2, 2)))
        return torch.view_as_real(pairs * torch.exp(1j * angles)).flatten(-2)

    q, k, v = (getattr(attention, part)(n).unflatten(-1, (-1, 4)) for part in ("query", "key", "value"))
    q, k = turned(q), turned(k)
    torch.testing.assert_close((cache.keys, cache.values), (k, v))
    heads = []
    for head in range(4):  # two query heads share a key head
        logits = q[:, :, head] @ k[:, :, head // 2].mT / 2
        weights = logits.masked_fill(~torch.ones(9, 9).tril().bool(), -torch.inf).softmax(-1)
        heads.append(weights @ v[:, :, head // 2])
    torch.testing.assert_close(found, attention.out(torch.cat(heads, -1)))

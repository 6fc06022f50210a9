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
    for part in ("missing: layers.1.attention.wz.bias", "unknown: layers.9.mega.wz.bias", "rope.freqs is not that of"):
        assert part in str(error.value)
    assert all(torch.equal(before[n], t) for n, t in target.state_dict().items())


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
    with pytest.raises(ValueError, match="tokens must hold at least one step"):
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
    with pytest.raises(TypeError, match="state must be None or ModelState, got int"):
        model(torch.tensor([[3]]), 3)
    with pytest.raises(TypeError, match="state must be None or KVCache, got NormalizedAttentionState"):
        transformer()(torch.tensor([[3]]), state)
    with pytest.raises(TypeError, match="prompt must be a tensor of tokens, got str"):
        generate(model, "abc", 3)
    with pytest.raises(ValueError, match=r"prompt must have the shape \(time\) or \(1, time\), got \(2, 1\)"):
        generate(model, torch.tensor([[1], [2]]), 3)
